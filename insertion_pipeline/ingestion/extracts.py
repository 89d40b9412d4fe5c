"""What a reader brings back from one member of a delivery: its opening, its rows batch by batch, its account.

Belongs here: these three pieces, the refusal of a whole delivery, the way a member is named in findings, the detection
of unusual characters in cells. Does not belong here: cutting any envelope (one module each), summing members
(`reading`), bringing pieces from one process to another (`confining`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
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
    r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f\x{80}-\x{9f}\x{ad}\x{61c}\x{180e}\x{200b}-\x{200f}\x{2028}-\x{202e}"
    r"\x{2060}-\x{206f}\x{feff}\x{fff9}-\x{fffb}\x{fffd}\x{e0000}-\x{e007f}"
)
#: A formula, or characters that do not show. A sign before a telephone or another number is neither.
ODDITY = rf"^[=@\t\r]|^[+-][{_NUMBER_LIKE}]*[^{_NUMBER_LIKE}]|[{_INVISIBLE}]"


#: Bytes that no invisible character holds: visible ASCII, and leads and ends of the letters of French.
_VISIBLE = bytes([*range(0x20, 0x7F), 0xC3, *range(0xA0, 0xC0)])
_SIGNS = np.frombuffer(b"=@+-\t\r", np.uint8)


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


def _no_unreadable() -> pa.Table:
    return UNREADABLE_SCHEMA.empty_table()


def no_findings() -> pa.Table:
    """An empty table of findings."""
    return FINDINGS_SCHEMA.empty_table()


@dataclass(frozen=True)
class Opening:
    """The beginning of a member that the contract has a table for: the columns that it holds and that may be kept.

    `own`: the fields, kept or not, that a title of the partner's own declaration told.
    """

    rank: int
    table: str
    columns: tuple[str, ...]
    findings: tuple[Finding, ...] = ()
    own: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Some rows of a member, in order: those read, those that could not be cut, warnings about those read.

    `rows`: the columns of the opening, as text or as dictionaries of text, never null; then `ORIGIN_FIELDS`.
    """

    rank: int
    table: str
    rows: pa.Table
    unreadable: pa.Table = field(default_factory=_no_unreadable)
    oddities: pa.Table = field(default_factory=no_findings)


@dataclass(frozen=True)
class Extract:
    """The end of a member: where its units went, and what was found in it but for its opening and its batches.

    `table` is null when the contract has no table for it; it then has no opening and no batch.
    """

    rank: int
    table: str | None
    account: Account
    findings: tuple[Finding, ...] = ()
    stated_month: Month | None = None
    stated_territory: str | None = None


@dataclass(frozen=True)
class Closing:
    """The end of a delivery, and what was found about its members together. Always the last piece."""

    findings: tuple[Finding, ...] = ()


Piece = Opening | Batch | Extract
#: What a whole delivery is read as.
Pieces = Iterable[Piece | Closing]

ENCODED = pa.dictionary(pa.int32(), pa.string())
#: A column of fewer distinct texts than this share of its rows is handed over as a dictionary.
_DICTIONARY_SHARE = 0.25


def is_repetitive(encoded: pa.DictionaryArray) -> bool:
    """Whether a column has so few distinct texts that they are better judged apart."""
    return len(encoded.dictionary) <= max(_DICTIONARY_SHARE * len(encoded), 1)


def encoded(rows: pa.Table) -> pa.Table:
    """The rows with the columns of text that repeat themselves as dictionaries."""
    for position, name in enumerate(rows.column_names):
        if rows.schema.field(name).type == pa.string():
            column = rows[name].combine_chunks().dictionary_encode()
            if is_repetitive(column):
                rows = rows.set_column(position, name, column)
    return rows


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


def oddities_of(rows: pa.Table, columns: Sequence[str], *, file: str, table: str) -> pa.Table:
    """One warning per cell of `columns` that holds a formula or characters that do not show; the text is kept as is."""
    found = []
    for column in columns:
        odd = _odd(rows[column])
        if odd is None:
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
        value = cells[column].cast(pa.string())
        found.append(repeated.set_column(FINDINGS_SCHEMA.get_field_index("value"), "value", value))
    return pa.concat_tables(found).cast(FINDINGS_SCHEMA) if found else no_findings()


def _odd(column: pa.ChunkedArray) -> pa.ChunkedArray | None:
    """Which cells are odd; null when none is. The distinct texts of a dictionary are looked at once each."""
    masks = []
    for chunk in column.chunks:
        is_encoded = pa.types.is_dictionary(chunk.type)
        texts = chunk.dictionary if is_encoded else chunk
        odd = pc.match_substring_regex(texts, ODDITY) if _may_be_odd(texts) else pa.repeat(False, len(texts))
        masks.append(odd.take(chunk.indices) if is_encoded else odd)
    mask = pa.chunked_array(masks, pa.bool_())
    return mask if pc.any(mask).as_py() else None


def _may_be_odd(texts: pa.Array) -> bool:
    """A cheap first look: whether any text begins with a sign or holds a byte of an invisible character."""
    _, offsets, content = texts.buffers()
    if content is None or not len(texts):
        return False
    starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1]
    held = content[int(starts[0]) : int(starts[-1])].to_pybytes()
    if held.translate(None, delete=_VISIBLE):
        return True
    data = np.frombuffer(held, np.uint8)
    begins = starts[:-1][starts[1:] > starts[:-1]] - starts[0]
    signs: npt.NDArray[np.bool_] = np.isin(data[begins], _SIGNS)
    return bool(signs.any())
