"""The lines of a delivery as its partner wrote them, cut in the confined process.

Belongs here: every line and column of the members that a contract has a table for, known or not. Does not belong here:
what the parent makes of them (`replaying`), what the contract keeps of them (`cutting`), how they pass from one process
to the other (`confining`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from insertion_pipeline.ingestion import decoding, delimited, fluxiae, headers, spreadsheet
from insertion_pipeline.ingestion.cutting import Task, tables_of, unpacked_files
from insertion_pipeline.ingestion.delimited import Dialect, Header
from insertion_pipeline.ingestion.envelopes import Limits, Unpacked
from insertion_pipeline.ingestion.extracts import label
from insertion_pipeline.ingestion.spreadsheet import Cell
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Source

#: A record over several lines is looked for no further than this, as in reading.
_LONGEST_RECORD_LINES = 256


@dataclass(frozen=True)
class Leaf:
    """One member. `table` is the contract table's name; what else it holds is what `replaying.Page` says of it."""

    file: str
    table: str
    columns: Mapping[str, int]
    header: int
    lines: int | None
    rows: Iterable[tuple[int, Sequence[Cell]]] = field(repr=False)


def transcribe(task: Task, source: Source, month: Month | None) -> Iterator[Leaf]:
    """The members that the contract has a table for, in order; the rows of one are gone through before the next.

    Raises `UnreadableDelivery` for what cannot be opened.
    """
    tables = tables_of(source, month)
    rank = itertools.count(1)
    for unpacked in unpacked_files(task):
        if unpacked.kind == "spreadsheet":
            yield from _sheets(unpacked, tables, rank, task.limits)
        elif unpacked.kind == "text":
            yield from _text(unpacked, source, tables, next(rank), task.limits)


# -- text --------------------------------------------------------------------------------------------------------------


def _text(
    unpacked: Unpacked, source: Source, tables: Sequence[ContractTable], rank: int, limits: Limits
) -> Iterator[Leaf]:
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
    yield Leaf(file, header.table.name, fields, header.lines, None, _records(lines, header))


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


def _sheets(unpacked: Unpacked, tables: Sequence[ContractTable], rank: Iterator[int], limits: Limits) -> Iterator[Leaf]:
    for sheet, table in spreadsheet.sheets_of(unpacked.path, tables, limits):
        file = label(next(rank), table)
        if table is None:
            continue
        columns = headers.columns_of(sheet.cells, table, file=file, line=sheet.header + 1)
        fields = {name: position for position, name in columns.fields.items()}
        rows = ((number, row) for number, row in enumerate(sheet.rows, start=1) if any(cell != "" for cell in row))
        yield Leaf(file, table.name, fields, sheet.header + 1, len(sheet.rows), rows)
