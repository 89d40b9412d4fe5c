"""A delivery once more, as its partner wrote it: every line, every column, in its own cells.

Belongs here: the pages of a delivery and their rows, for the copy that is handed back to its depositor. Does not belong
here: what is wrong in them (`judging`), how a copy looks (`reporting`), keeping anything.

A page shows what the partner wrote, columns that the contract does not know included. A flow (XML, JSON) has no lines
of its own: its page holds one row per unit of account, under the titles of the contract.
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from insertion_pipeline.ingestion import decoding, delimited, envelopes, fluxiae, headers, spreadsheet
from insertion_pipeline.ingestion.delimited import Dialect, Header
from insertion_pipeline.ingestion.envelopes import Limits, Unpacked
from insertion_pipeline.ingestion.extracts import UnreadableDelivery, label
from insertion_pipeline.ingestion.reading import read
from insertion_pipeline.ingestion.spreadsheet import Cell
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Source

#: A record over several lines is looked for no further than this, as in reading.
_LONGEST_RECORD_LINES = 256


@dataclass(frozen=True)
class Page:
    """One member of a delivery.

    `file`: how findings call it. `columns`: field → position, of the columns that were read. `rows`: (line, cells) in
    order, lines that hold nothing left out; to be gone through once, before the next page is asked for.
    `header`: the line of the column titles. `lines`: how many lines there are at most, null when that is not known.
    """

    file: str
    table: ContractTable
    columns: Mapping[str, int]
    rows: Iterable[tuple[int, Sequence[Cell]]] = field(repr=False)
    header: int
    lines: int | None = None


def pages(
    delivery: Path | Sequence[Path],
    source: Source,
    month: Month | None,
    lake: Lake,
    *,
    archive_password: str | None = None,
    limits: Limits | None = None,
) -> Iterator[Page]:
    """The members that the contract has a table for. What cannot be opened gives no page."""
    limits = limits or Limits()
    is_covered = month is not None and month >= source.first_month
    tables = source.version_for(month if month is not None and is_covered else source.latest_month).resources
    paths = [delivery] if isinstance(delivery, Path) else list(delivery)
    password = archive_password or lake.archive_password
    with lake.sealed_spill() as folder:
        try:
            if source.insertion.envelope in ("cnaf_xml", "json"):
                yield from _flow(paths, source, month, folder, limits, password)
                return
            rank = itertools.count(1)
            for unpacked in envelopes.unpack(paths, folder, limits=limits, password=password):
                if unpacked.kind == "spreadsheet":
                    yield from _sheets(unpacked, tables, rank, limits)
                elif unpacked.kind == "text":
                    yield from _text(unpacked, source, tables, next(rank), limits)
        except UnreadableDelivery:
            return


# -- text --------------------------------------------------------------------------------------------------------------


def _text(
    unpacked: Unpacked, source: Source, tables: Sequence[ContractTable], rank: int, limits: Limits
) -> Iterator[Page]:
    path = unpacked.path
    told = headers.told_apart(tables, unpacked.name)
    encoding = decoding.encoding_of(path)
    first = delimited.beginning(decoding.blocks(path, encoding, limits))
    if source.insertion.envelope == "fluxiae":
        view = fluxiae.view_of(first)
        told = tuple(table for table in told if table.insertion.member == view) or told
        header = delimited.find_header(first, told, [fluxiae.DIALECT])
    else:
        header = delimited.find_header(first, told, [Dialect(mark) for mark in delimited.SEPARATORS])
    if header is None or header.table is None:
        return
    blocks = decoding.blocks(path, encoding, limits)
    lines = (line for block in blocks for line in block[:-1].split(b"\n"))
    file = label(rank, header.table)
    columns = headers.columns_of(header.cells, header.table, file=file, line=header.lines)
    fields = {name: position for position, name in columns.fields.items()}
    yield Page(file, header.table, fields, _records(lines, header), header.lines)


def _records(lines: Iterator[bytes], header: Header) -> Iterator[tuple[int, Sequence[str]]]:
    """(line, cells) of every record that holds anything; a line whose quotes are wrong is cut at its separators."""
    waiting: deque[bytes] = deque()
    dialect, expected, number = header.dialect, len(header.cells), 1
    while waiting or (waiting := deque(itertools.islice(lines, 1))):
        line = waiting.popleft()
        cells, units = line.decode().split(dialect.separator), 1
        if dialect.quoting and b'"' in line:
            waiting.extend(itertools.islice(lines, _LONGEST_RECORD_LINES - len(waiting)))
            run = [line, *itertools.takewhile(lambda one: not _is_whole(one, dialect, expected), waiting)]
            record, taken = delimited.record_at(run, dialect)
            if record is not None and (taken == 1 or len(record) == expected):
                cells, units = record, taken
        if any(cell.strip() for cell in cells):
            yield number, cells
        for _ in range(units - 1):
            waiting.popleft()
        number += units


def _is_whole(line: bytes, dialect: Dialect, expected: int) -> bool:
    cells, _ = delimited.record_at([line], dialect)
    return cells is not None and len(cells) == expected


# -- workbooks ---------------------------------------------------------------------------------------------------------


def _sheets(unpacked: Unpacked, tables: Sequence[ContractTable], rank: Iterator[int], limits: Limits) -> Iterator[Page]:
    for sheet, table in spreadsheet.sheets_of(unpacked.path, tables, limits):
        file = label(next(rank), table)
        if table is None:
            continue
        columns = headers.columns_of(sheet.cells, table, file=file, line=sheet.header + 1)
        fields = {name: position for position, name in columns.fields.items()}
        rows = ((number, row) for number, row in enumerate(sheet.rows, start=1) if any(cell != "" for cell in row))
        yield Page(file, table, fields, rows, sheet.header + 1, len(sheet.rows))


# -- flows -------------------------------------------------------------------------------------------------------------


def _flow(
    paths: Sequence[Path], source: Source, month: Month | None, folder: Path, limits: Limits, password: str | None
) -> Iterator[Page]:
    reading = read(paths, source, month=month, archive_password=password, limits=limits, spill=folder)
    version = source.version_for(month if month is not None else source.latest_month)
    tables = {table.name: table for table in version.resources}
    for member in reading.members:
        if member.table is None:
            continue
        table, read_rows = tables[member.table], reading.tables[member.table]
        rows = read_rows.filter(pc.equal(read_rows["_member"], member.rank))
        names = [name for name in rows.column_names if not name.startswith("_")]
        titles = [(0, [table.field(name).label for name in names])]
        cells = (
            (row["_line"], [row[name] or "" for name in names])
            for batch in rows.to_batches(max_chunksize=10_000)
            for row in batch.to_pylist()
        )
        fields = {name: position for position, name in enumerate(names)}
        yield Page(label(member.rank, table), table, fields, itertools.chain(titles, cells), 0, rows.num_rows)
