"""A delivery once more, as its partner wrote it: every line, every column, in its own cells.

Belongs here: the pages of a delivery and their rows, for the copy that is handed back to its depositor. Does not belong
here: cutting them (`transcribing`, in the confined process), what is wrong in them (`judging`), how a copy looks
(`reporting`), keeping anything.

A page shows what the partner wrote, columns that the contract does not know included. A flow (XML, JSON) has no lines
of its own: its page holds one row per unit of account, under the titles of the contract.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.compute as pc

from insertion_pipeline.ingestion import confining
from insertion_pipeline.ingestion.cutting import Task, tables_of
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import UnreadableDelivery, label
from insertion_pipeline.ingestion.reading import read
from insertion_pipeline.ingestion.spreadsheet import Cell
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Source


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
    paths = [delivery] if isinstance(delivery, Path) else list(delivery)
    password = archive_password or lake.archive_password
    with lake.sealed_spill() as folder:
        task = Task(tuple(path.absolute() for path in paths), folder, limits or Limits(), password)
        try:
            if source.insertion.envelope in ("cnaf_xml", "json"):
                yield from _flow(task, source, month)
                return
            tables = {table.name: table for table in tables_of(source, month)}
            for leaf in confining.transcribe(task, source, month):
                yield Page(leaf.file, tables[leaf.table], leaf.columns, leaf.rows, leaf.header, leaf.lines)
        except UnreadableDelivery:
            return


# -- flows -------------------------------------------------------------------------------------------------------------


def _flow(task: Task, source: Source, month: Month | None) -> Iterator[Page]:
    reading = read(
        task.paths, source, month=month, archive_password=task.password, limits=task.limits, spill=task.folder
    )
    tables = {table.name: table for table in tables_of(source, month)}
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
