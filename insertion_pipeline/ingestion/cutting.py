"""A delivery cut into pieces: its wrappings opened, each member given to the reader that its contract names.

Belongs here: what runs in the confined process, over bytes that nobody has looked at yet. Does not belong here: the
limits of that process (`confining`), how one envelope is cut (`envelopes`, `delimited`, `spreadsheet`, `xml`,
`fluxiae`, `json_elements`), what a value means (`conforming`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.ingestion import decoding, delimited, envelopes, fluxiae, headers
from insertion_pipeline.ingestion.delimited import Dialect
from insertion_pipeline.ingestion.envelopes import Limits, Unpacked
from insertion_pipeline.ingestion.extracts import (
    Closing,
    Extract,
    Opening,
    Piece,
    Pieces,
    UnreadableDelivery,
    label,
    refusal,
)
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Source

_XML_ROOT = "Racine"


@dataclass(frozen=True)
class Task:
    """What to cut: the files of one delivery, where to unpack them, how.

    `names`: what each member is known to be, for bytes that have lost the names that they came under.
    """

    paths: tuple[Path, ...]
    folder: Path
    limits: Limits
    password: str | None = None
    names: tuple[str, ...] = ()


def cut(task: Task, source: Source, month: Month | None) -> Pieces:
    """The pieces of a delivery under the contract of `source` in force in `month`.

    Without a month, or for one before the contract, the newest version is used: judging refuses the month by itself.
    Raises `UnreadableDelivery` when the delivery is refused whole.
    """
    tables = tables_of(source, month)
    extracts: list[Extract] = []
    for number, unpacked in enumerate(unpacked_files(task)):
        name = task.names[number] if len(task.names) > number else unpacked.name
        told = headers.told_apart(tables, name)
        for piece in _pieces(unpacked, source, told, len(extracts) + 1, task.limits):
            if isinstance(piece, Extract):
                extracts.append(piece)
            yield piece
    yield Closing(tuple(_about_members(extracts, source, tables)))


def best(task: Task, candidates: Sequence[Source]) -> str | None:
    """The name of the one among `candidates` whose contract the content fits best, the first of equals; or null.

    Raises `UnreadableDelivery` for a delivery that cannot be opened.
    """
    merits: dict[str, tuple[float, int]] = {}
    for unpacked in unpacked_files(task):
        for source in candidates:
            merit = _merit(unpacked, source, task.limits)
            merits[source.name] = max(merits.get(source.name, (0.0, 0)), merit)
    names = [source.name for source in candidates]
    found = max(names, key=lambda name: merits.get(name, (0.0, 0)), default=None)
    return found if found is not None and merits.get(found, (0.0, 0)) > (0.0, 0) else None


# -- members -----------------------------------------------------------------------------------------------------------


def unpacked_files(task: Task) -> Iterator[Unpacked]:
    """The files of a delivery out of their wrappings, each gone when the next is taken. Refuses one that is empty."""
    if not any(path.stat().st_size for path in task.paths):
        raise refusal(
            "empty-file",
            "Le fichier est vide.",
            remedy="Vérifiez l'export ; s'il n'y a rien à déclarer ce mois-ci, dites-le par un dépôt « néant ».",
        )
    for unpacked in envelopes.unpack(task.paths, task.folder, limits=task.limits, password=task.password):
        yield unpacked
        if unpacked.path.is_relative_to(task.folder):
            unpacked.path.unlink(missing_ok=True)


def _pieces(
    unpacked: Unpacked, source: Source, tables: Sequence[ContractTable], rank: int, limits: Limits
) -> Iterator[Piece]:
    """The pieces of one file; a workbook has several members."""
    envelope = source.insertion.envelope
    if envelope == "cnaf_xml":
        from insertion_pipeline.ingestion import xml

        if unpacked.kind != "xml":
            raise _wrong_kind(source, "un flux XML")
        yield from xml.read_flow(unpacked.path, tables, rank, source.insertion.totals)
    elif envelope == "json":
        from insertion_pipeline.ingestion import json_elements

        if unpacked.kind != "text" or not json_elements.is_json(unpacked.path):
            raise _wrong_kind(source, "un fichier JSON")
        array = source.insertion.options["elements"]
        yield from json_elements.read_elements(unpacked.path, tables, array, rank, limits)
    elif unpacked.kind == "xml":
        raise _wrong_kind(source, "un fichier CSV ou un classeur")
    elif unpacked.kind == "spreadsheet":
        from insertion_pipeline.ingestion import spreadsheet

        if envelope not in ("tabular", "fluxiae"):
            raise _wrong_kind(source, "un fichier CSV")
        yield from spreadsheet.read_workbook(unpacked.path, tables, rank, limits)
    elif envelope == "fluxiae":
        yield from fluxiae.read_view(unpacked.path, tables, rank, limits)
    elif envelope in ("delimited", "tabular"):
        for piece in delimited.read_delimited(unpacked.path, tables, rank, limits):
            if isinstance(piece, Opening):
                table = next(one for one in tables if one.name == piece.table)
                guess = headers.guess(table, tables, label(rank, table))
                piece = replace(piece, findings=(*piece.findings, *guess))
            yield piece
    else:
        raise refusal("unsupported-format", "Ce type de fichier ne se lit pas encore.")


def tables_of(source: Source, month: Month | None) -> tuple[ContractTable, ...]:
    """The tables of the contract in force; of the newest one without a month, or for one before the first contract."""
    newest = max(source.versions, key=lambda version: version.valid_from)
    if month is None or month < source.first_month:
        return newest.resources
    return source.version_for(month).resources


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
    tables = tables_of(source, None)
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
    first = delimited.beginning(decoding.blocks(unpacked.path, encoding, limits))
    if source.insertion.envelope == "fluxiae":
        view = fluxiae.view_of(first)
        dialects = [fluxiae.DIALECT]
        tables = [table for table in tables if table.insertion.member == view] or tables
    else:
        dialects = [Dialect(separator) for separator in delimited.SEPARATORS]
    header = delimited.find_header(first, tables, dialects)
    return header.cells if header is not None else ()
