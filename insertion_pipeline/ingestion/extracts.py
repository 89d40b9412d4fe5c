"""What a reader brings back from one member of a delivery.

Belongs here: the extract, the refusal of a whole delivery, the way a member is named in findings, the detection of
unusual characters in cells. Does not belong here: cutting any envelope (one module each), summing members (`reading`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.contracts.findings import FINDINGS_SCHEMA, Finding, findings_table
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable

#: One row per record that could not be cut into cells: rejected, kept verbatim beside its reason.
UNREADABLE_SCHEMA = pa.schema(
    [
        ("_member", pa.int32()),
        ("_line", pa.int64()),
        ("_units", pa.int32()),
        ("raw", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
    ]
)

#: The columns that every table of text carries after the contract's own.
ORIGIN_FIELDS = (("_line", pa.int64()), ("_units", pa.int32()), ("_member", pa.int32()))

_NUMBER_LIKE = r"0-9 .,()/-"
_INVISIBLE = (
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{80}-\x{9f}\x{200b}-\x{200f}\x{202a}-\x{202e}\x{2060}-\x{2069}\x{feff}\x{fffd}"
)
#: A formula, or characters that do not show. A sign before a telephone or another number is neither.
ODDITY = rf"^[=@\t\r]|^[+-][{_NUMBER_LIKE}]*[^{_NUMBER_LIKE}]|[{_INVISIBLE}]"


class UnreadableDelivery(Exception):
    """The delivery is refused whole; `finding` says why, for the partner. The exception's text is its code alone."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


def refusal(
    code: str, message: str, *, expected: str = "", remedy: str = "", file: str = "", line: int | None = None
) -> UnreadableDelivery:
    """The exception that refuses a delivery whole."""
    return UnreadableDelivery(Finding(code, "blocking", message, expected, remedy, file=file, line=line))


@dataclass(frozen=True)
class Extract:
    """One member as text. `table` is null when the contract has no table for it; `rows` is then null too."""

    table: str | None
    rows: pa.Table | None
    account: Account
    unreadable: pa.Table
    findings: tuple[Finding, ...] = ()
    oddities: pa.Table | None = None
    stated_month: Month | None = None
    stated_territory: str | None = None


def label(rank: int, table: ContractTable | None) -> str:
    """How a member is called in findings: its rank and the contract's name for it, never a name that came with it."""
    return str(rank) if table is None else f"{rank} {table.insertion.member or table.name}"


def unreadable_table(rows: Iterable[tuple[int, int, int, str, str, str]]) -> pa.Table:
    """Rows of `UNREADABLE_SCHEMA` from tuples in its order."""
    columns = list(zip(*rows, strict=True)) or [()] * len(UNREADABLE_SCHEMA)
    return pa.table(
        [pa.array(values, field.type) for values, field in zip(columns, UNREADABLE_SCHEMA, strict=True)],
        schema=UNREADABLE_SCHEMA,
    )


def no_findings() -> pa.Table:
    """An empty table of findings."""
    return FINDINGS_SCHEMA.empty_table()


def oddities_of(rows: pa.Table, columns: Sequence[str], *, file: str, table: str) -> pa.Table:
    """One warning per cell of `columns` that holds a formula or characters that do not show; the text is kept as is."""
    found = []
    for column in columns:
        odd = pc.match_substring_regex(rows[column], ODDITY)
        if not pc.any(odd).as_py():
            continue
        cells = rows.select([column, "_line"]).filter(odd)
        pattern = Finding(
            "suspicious-text",
            "warning",
            "La cellule contient une formule ou des caractères invisibles ; elle est gardée comme du texte.",
            expected="un texte ordinaire",
            remedy="Vérifiez la cellule dans le fichier d'origine et retirez ces caractères s'ils sont là par erreur.",
            file=file,
            table=table,
            field=column,
        )
        repeated = findings_table([pattern]).take(pa.array([0] * cells.num_rows, pa.int64()))
        repeated = repeated.set_column(FINDINGS_SCHEMA.get_field_index("line"), "line", cells["_line"])
        found.append(repeated.set_column(FINDINGS_SCHEMA.get_field_index("value"), "value", cells[column]))
    return pa.concat_tables(found).cast(FINDINGS_SCHEMA) if found else no_findings()
