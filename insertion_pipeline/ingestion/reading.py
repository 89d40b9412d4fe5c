"""From the bytes of a delivery to tables of text: nothing lost, every line numbered.

Belongs here: what a reading is, opening a delivery with the reader that its contract names, recognising a source from
its content. Does not belong here: how one envelope is cut (`envelopes`, `delimited`, `spreadsheet`, `xml`,
`fluxiae`), what a value means (`conforming`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.ingestion import decoding, delimited, envelopes, fluxiae, headers
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.delimited import Dialect
from insertion_pipeline.ingestion.envelopes import Limits, Unpacked
from insertion_pipeline.ingestion.extracts import UNREADABLE_SCHEMA as UNREADABLE_SCHEMA
from insertion_pipeline.ingestion.extracts import Extract, label, no_findings, refusal
from insertion_pipeline.ingestion.extracts import UnreadableDelivery as UnreadableDelivery
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Source

_XML_ROOT = "Racine"


@dataclass(frozen=True, slots=True)
class Member:
    """One physical file (or sheet) inside the delivery.

    `table` is null for a member that the contract has no table for. `account.accepted` counts the units of data that
    nobody has judged yet.
    """

    rank: int
    table: str | None
    account: Account


@dataclass(frozen=True)
class Reading:
    """A delivery as text.

    `tables`: one per contract table found, all `string` columns named as the contract's fields (those that the file
    holds and that may be kept: `use` is not `none`; an empty cell is the empty string, never null), then `_line`
    int64 (1-based physical line, sheet row or rank of the `Personne`), `_units` int32 (physical lines that the record
    spans) and `_member` int32. A contract table that no member holds is absent.
    `unreadable`: rows of `UNREADABLE_SCHEMA`; their findings are not among `findings` nor `oddities`.
    `findings`: about files and headers; one that is blocking and has no line refuses the delivery.
    `oddities`: warnings about rows that are read all the same (`suspicious-text`, a structure mended exactly), as
    rows of `FINDINGS_SCHEMA`.
    `stated_month`, `stated_territory`: only what the envelope itself states (CNAF: DTREF, IDEPARTE).
    """

    source: str
    tables: Mapping[str, pa.Table]
    unreadable: pa.Table
    members: tuple[Member, ...]
    findings: tuple[Finding, ...]
    oddities: pa.Table
    stated_month: Month | None = None
    stated_territory: str | None = None

    @property
    def account(self) -> Account:
        """The sum over the members; `accepted` is data that nobody has judged yet."""
        return sum((member.account for member in self.members), Account()).checked()


def read(
    delivery: Path | Sequence[Path],
    source: Source,
    *,
    month: Month | None = None,
    archive_password: str | None = None,
    limits: Limits | None = None,
    spill: Path | None = None,
    names: Sequence[str] = (),
) -> Reading:
    """The delivery (one file, or the files of a bundle) read under the contract of `source` in force in `month`.

    `names`: what each member is known to be, for bytes that have lost the names that they came under.
    Without a month, or for one before the contract, the newest version is used: judging refuses the month by itself.
    `spill` is where archives are unpacked; what is put there is gone when this returns. Raises `UnreadableDelivery`
    when the delivery is refused whole.
    """
    limits = limits or Limits()
    tables = _tables(source, month)
    extracts: list[Extract] = []
    for unpacked in _unpacked(delivery, limits, archive_password, spill):
        name = names[len(extracts)] if len(names) > len(extracts) else unpacked.name
        extracts.extend(_extracts(unpacked, source, headers.told_apart(tables, name), len(extracts) + 1, limits))
    findings = [finding for extract in extracts for finding in extract.findings]
    findings.extend(_about_members(extracts, source, tables))
    odd = [extract.oddities for extract in extracts if extract.oddities is not None]
    return Reading(
        source.name,
        _gathered(extracts),
        pa.concat_tables([UNREADABLE_SCHEMA.empty_table(), *(extract.unreadable for extract in extracts)]),
        tuple(Member(rank, extract.table, extract.account) for rank, extract in enumerate(extracts, start=1)),
        tuple(findings),
        pa.concat_tables([no_findings(), *odd]),
        next((extract.stated_month for extract in extracts if extract.stated_month is not None), None),
        next((extract.stated_territory for extract in extracts if extract.stated_territory is not None), None),
    )


def recognise(
    delivery: Path | Sequence[Path],
    candidates: Sequence[Source],
    *,
    archive_password: str | None = None,
    limits: Limits | None = None,
    spill: Path | None = None,
) -> Source | None:
    """The one among `candidates` whose contract the content fits best, the first of those that fit as well; or null.

    Raises `UnreadableDelivery` for a delivery that cannot be opened.
    """
    limits = limits or Limits()
    merits: dict[str, tuple[float, int]] = {}
    for unpacked in _unpacked(delivery, limits, archive_password, spill):
        for source in candidates:
            merit = _merit(unpacked, source, limits)
            merits[source.name] = max(merits.get(source.name, (0.0, 0)), merit)
    best = max(candidates, key=lambda source: merits.get(source.name, (0.0, 0)), default=None)
    return best if best is not None and merits.get(best.name, (0.0, 0)) > (0.0, 0) else None


# -- members -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _folder(spill: Path | None) -> Iterator[Path]:
    if spill is not None:
        spill.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="reading-", dir=spill) as name:
        yield Path(name)


def _unpacked(
    delivery: Path | Sequence[Path], limits: Limits, password: str | None, spill: Path | None
) -> Iterator[Unpacked]:
    paths = [delivery] if isinstance(delivery, Path) else list(delivery)
    if not any(path.stat().st_size for path in paths):
        raise refusal(
            "empty-file",
            "Le fichier est vide.",
            remedy="Vérifiez l'export ; s'il n'y a rien à déclarer ce mois-ci, dites-le par un dépôt « néant ».",
        )
    with _folder(spill) as folder:
        for unpacked in envelopes.unpack(paths, folder, limits=limits, password=password):
            yield unpacked
            if unpacked.path.is_relative_to(folder):
                unpacked.path.unlink(missing_ok=True)


def _extracts(
    unpacked: Unpacked, source: Source, tables: Sequence[ContractTable], rank: int, limits: Limits
) -> Iterator[Extract]:
    """One extract per member; a workbook has several."""
    envelope = source.insertion.envelope
    if envelope == "cnaf_xml":
        from insertion_pipeline.ingestion import xml

        if unpacked.kind != "xml":
            raise _wrong_kind(source, "un flux XML")
        yield xml.read_flow(unpacked.path, tables, rank, limits)
    elif envelope == "json":
        from insertion_pipeline.ingestion import json_elements

        if unpacked.kind != "text" or not json_elements.is_json(unpacked.path):
            raise _wrong_kind(source, "un fichier JSON")
        yield json_elements.read_elements(unpacked.path, tables, source.insertion.options["elements"], rank, limits)
    elif unpacked.kind == "xml":
        raise _wrong_kind(source, "un fichier CSV ou un classeur")
    elif unpacked.kind == "spreadsheet":
        from insertion_pipeline.ingestion import spreadsheet

        if envelope not in ("tabular", "fluxiae"):
            raise _wrong_kind(source, "un fichier CSV")
        yield from spreadsheet.read_workbook(unpacked.path, tables, rank, limits)
    elif envelope == "fluxiae":
        yield fluxiae.read_view(unpacked.path, tables, rank, limits)
    elif envelope in ("delimited", "tabular"):
        extract = delimited.read_delimited(unpacked.path, tables, rank, limits)
        table = next((one for one in tables if one.name == extract.table), None)
        yield replace(extract, findings=(*extract.findings, *headers.guess(table, tables, label(rank, table))))
    else:
        raise refusal("unsupported-format", "Ce type de fichier ne se lit pas encore.")


def _tables(source: Source, month: Month | None) -> tuple[ContractTable, ...]:
    newest = max(source.versions, key=lambda version: version.valid_from)
    if month is None or month < source.first_month:
        return newest.resources
    return source.version_for(month).resources


def _gathered(extracts: Sequence[Extract]) -> dict[str, pa.Table]:
    """One table of text per contract table: a column that only some members hold is empty for the others."""
    found: dict[str, list[pa.Table]] = {}
    for extract in extracts:
        if extract.table is not None and extract.rows is not None:
            found.setdefault(extract.table, []).append(extract.rows)
    return {name: parts[0] if len(parts) == 1 else _concatenated(parts) for name, parts in found.items()}


def _concatenated(parts: Sequence[pa.Table]) -> pa.Table:
    names = list(dict.fromkeys(name for part in parts for name in part.column_names if not name.startswith("_")))
    origins = [name for name in parts[0].column_names if name.startswith("_")]
    completed = []
    for part in parts:
        for name in names:
            if name not in part.column_names:
                part = part.append_column(name, pa.array([""] * part.num_rows, pa.string()))
        completed.append(part.select([*names, *origins]))
    return pa.concat_tables(completed)


def _about_members(extracts: Sequence[Extract], source: Source, tables: Sequence[ContractTable]) -> Iterator[Finding]:
    """Findings about which members are there, whatever is in them."""
    held = [extract.table for extract in extracts if extract.table is not None]
    filled = [extract for extract in extracts if extract.account.lines > extract.account.blank]
    if not filled:
        yield Finding(
            "empty-file",
            "blocking",
            "Le fichier est vide.",
            remedy="Vérifiez l'export ; s'il n'y a rien à déclarer, dites-le par un dépôt « néant ».",
        )
        return
    if not held:
        yield Finding(
            "wrong-source",
            "blocking",
            f"Le contenu n'est pas celui d'un fichier « {source.title} » : aucune de ses colonnes n'a été trouvée.",
            expected=", ".join(field.label for field in tables[0].fields if not field.insertion.header_optional),
            remedy="Vérifiez le type de fichier annoncé, et que les titres des colonnes sont sur la première ligne.",
        )
        return
    if source.insertion.envelope == "fluxiae":
        yield from _about_views(held, tables, len(extracts))
    for rank, extract in enumerate(extracts, start=1):
        if extract.table is None and source.insertion.envelope != "fluxiae" and extract in filled:
            yield Finding(
                "extra-table",
                "warning",
                f"Le fichier ou la feuille n° {rank} du dépôt n'est pas prévu ; il n'est pas lu.",
                remedy="Ne faites rien s'il s'agit d'une notice, sinon corrigez les titres de ses colonnes.",
                file=label(rank, None),
            )
    if all(extract.account.accepted + extract.account.rejected == 0 for extract in extracts if extract.table):
        yield Finding(
            "empty-file",
            "blocking",
            "Le fichier ne contient que des titres de colonnes.",
            remedy="S'il n'y a rien à déclarer ce mois-ci, dites-le par un dépôt « néant ».",
        )


def _about_views(held: Sequence[str], tables: Sequence[ContractTable], members: int) -> Iterator[Finding]:
    """A bundle holds each required view once; a view delivered alone is a delivery of that view."""
    for table in tables:
        name = table.insertion.member or table.name
        if held.count(table.name) > 1:
            yield Finding(
                "duplicate-table",
                "blocking",
                f"La vue {name} se trouve {held.count(table.name)} fois dans le lot.",
                expected="chaque vue une seule fois",
                remedy="Gardez la plus récente.",
                table=table.name,
            )
        elif table.name not in held and table.insertion.required and members > 1:
            yield Finding(
                "missing-table",
                "blocking",
                f"La vue {name} manque dans le lot.",
                expected="toutes les vues du lot",
                remedy="Ajoutez la vue, ou déposez une vue seule.",
                table=table.name,
            )


def _wrong_kind(source: Source, expected: str) -> UnreadableDelivery:
    return refusal(
        "wrong-source",
        f"Le contenu n'est pas celui d'un fichier « {source.title} ».",
        expected=expected,
        remedy="Vérifiez le type de fichier annoncé.",
    )


# -- recognising -------------------------------------------------------------------------------------------------------


def _merit(unpacked: Unpacked, source: Source, limits: Limits) -> tuple[float, int]:
    """How well one file fits a contract: share of the required columns found, then how many columns of the table."""
    tables = _tables(source, None)
    is_flow = source.insertion.envelope == "cnaf_xml"
    if unpacked.kind == "xml" or is_flow:
        if not (unpacked.kind == "xml" and is_flow):
            return (0.0, 0)
        from insertion_pipeline.ingestion import xml

        return (1.0, 1) if xml.root_of(unpacked.path) == _XML_ROOT else (0.0, 0)
    if source.insertion.envelope == "json":
        from insertion_pipeline.ingestion import json_elements

        if unpacked.kind != "text" or not json_elements.is_json(unpacked.path):
            return (0.0, 0)
        return json_elements.fit(unpacked.path, tables, source.insertion.options["elements"], limits)
    header = _header(unpacked, source, tables, limits)
    found = headers.best_table(header, tables)
    if found is None:
        return (0.0, 0)
    table, fields = found
    required = [field for field in table.fields if not field.insertion.header_optional]
    present = headers.fields_named(header, table)
    share = sum(field.name in present for field in required) / len(required) if required else 1.0
    if (
        (fields < 2 and len(table.fields) > 1)
        or share < 0.5
        or 2 * fields < len([cell for cell in header if cell.strip()])
    ):
        return (0.0, 0)
    return (share, fields)


def _header(unpacked: Unpacked, source: Source, tables: Sequence[ContractTable], limits: Limits) -> Sequence[str]:
    if unpacked.kind == "spreadsheet":
        from insertion_pipeline.ingestion import spreadsheet

        return spreadsheet.header_of(unpacked.path, tables, limits)
    encoding = decoding.encoding_of(unpacked.path)
    first = next(decoding.blocks(unpacked.path, encoding, line_bytes=limits.line_bytes), b"")
    if source.insertion.envelope == "fluxiae":
        view = fluxiae.view_of(first)
        dialects = [fluxiae.DIALECT]
        tables = [table for table in tables if table.insertion.member == view] or tables
    else:
        dialects = [Dialect(separator) for separator in delimited.SEPARATORS]
    header = delimited.find_header(first, tables, dialects)
    return header.cells if header is not None else ()
