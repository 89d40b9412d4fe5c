"""A small file filled in on the page: under fifty rows nobody needs a spreadsheet.

Belongs here: the grid of a source, its rows (typed, pasted, last month's, or those of a file to correct), the file that
they make. Does not belong here: what is wrong in them (judged as any other file), the page.

The grid makes the workbook that the template is, so that what is typed is an ordinary delivery: the same rows give the
same bytes, and the same receipt.
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from insertion_pipeline.contracts.cells import Cell
from insertion_pipeline.contracts.messages import expected_form
from insertion_pipeline.contracts.rules import table_rules
from insertion_pipeline.contracts.templates import choices, workbook_template
from insertion_pipeline.ingestion import content, deliveries
from insertion_pipeline.ingestion.headers import field_of
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.ingestion.replaying import pages
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, Partner, Registry, Source

#: Up to here the page is enough (domain rule 28).
MOST_ROWS = 50
#: Rows to begin with when there is nothing to begin from.
_EMPTY_ROWS = 3
_FILLED_ENVELOPES = ("tabular", "delimited")


@dataclass(frozen=True)
class Column:
    """One column of a grid, with its help."""

    name: str
    label: str
    description: str
    expected: str
    example: str
    choices: tuple[str, ...]
    is_required: bool
    is_quantity: bool


@dataclass(frozen=True)
class Sheet:
    """One table of a grid. `lines`: where each row stands in the file that findings speak of."""

    name: str
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Mapping[str, str], ...]
    lines: tuple[int, ...]


@dataclass(frozen=True)
class Grid:
    """What the page shows for one source and month."""

    source: Source
    month: Month
    sheets: tuple[Sheet, ...]

    @property
    def is_empty(self) -> bool:
        return not any(sheet.rows for sheet in self.sheets)


class TooManyRows(Exception):
    """More rows than a page can hold: a file is the better way."""


def can_be_filled(source: Source) -> bool:
    """Whether the source is one that people fill in, rather than a program's export."""
    return source.insertion.envelope in _FILLED_ENVELOPES


def empty_grid(source: Source, month: Month, registry: Registry) -> Grid:
    """A few empty rows, the month already in."""
    empty: Mapping[str, str] = {}
    rows = {table.name: [(None, empty)] * _EMPTY_ROWS for table in source.version_for(month).resources}
    return _grid(source, month, registry, rows)


# -- what was typed ---------------------------------------------------------------------------------------------------


def typed_grid(source: Source, month: Month, registry: Registry, fields: Iterable[tuple[str, str]]) -> Grid:
    """The grid of a form whose fields are named `table.row.column`; rows where only the month stands are left out."""
    typed: dict[str, dict[int, dict[str, str]]] = {}
    known = {(table.name, field.name) for table in source.version_for(month).resources for field in table.stored_fields}
    for name, value in fields:
        table, _, rest = name.partition(".")
        row, _, column = rest.partition(".")
        if (table, column) in known and row.isdecimal() and len(row) < 4:
            typed.setdefault(table, {}).setdefault(int(row), {})[column] = value.strip()
    stated = month_column(source)
    rows = {
        table: [
            (None, row)
            for _, row in sorted(numbered.items())
            if any(value for column, value in row.items() if column != stated)
        ]
        for table, numbered in typed.items()
    }
    return _grid(source, month, registry, rows)


def pasted_grid(source: Source, month: Month, registry: Registry, table: str, text: str, before: Grid) -> Grid:
    """`before` with the lines that were pasted from a spreadsheet: with titles on the first one, or in our order."""
    mark = "\t" if "\t" in text else ";"
    lines = [line for line in csv.reader(io.StringIO(text), delimiter=mark) if any(cell.strip() for cell in line)]
    contract = next(one for one in source.version_for(month).resources if one.name == table)
    kept = [field.name for field in contract.stored_fields]
    columns: list[str | None] = list(kept)
    if lines and sum(field_of(cell, contract) in kept for cell in lines[0]) > len(lines[0]) / 2:
        columns = [field_of(cell, contract) for cell in lines.pop(0)]
    added = [
        {name: cell.strip() for name, cell in zip(columns, line, strict=False) if name is not None} for line in lines
    ]
    rows = {sheet.name: [(None, row) for row in sheet.rows] for sheet in before.sheets}
    rows[table] = [*rows.get(table, []), *((None, row) for row in added)]
    return _grid(source, month, registry, rows)


def file_of(grid: Grid, registry: Registry) -> bytes:
    """The workbook that the grid is: the template of the month, filled in."""
    return workbook_template(grid.source, registry, grid.month, {sheet.name: sheet.rows for sheet in grid.sheets})


# -- what was delivered -----------------------------------------------------------------------------------------------


def rows_to_carry_over(
    lake: Lake, registry: Registry, flow: Sequence[Receipt], partner: Partner, source: Source, month: Month
) -> dict[str, list[dict[str, str]]]:
    """The rows of the month before, as text, the month changed and every quantity empty: hours are never « les mêmes ».

    Nothing when the month before has no delivery, or more rows than a page holds.
    """
    counting = deliveries.effective(flow, source, month.plus(-1))
    applied = [receipt for receipt in counting if receipt.status == "applied"]
    if not applied or any(sum(one.rows.values()) > MOST_ROWS for one in applied):
        return {}
    found: dict[str, list[dict[str, str]]] = {}
    for receipt in applied:
        try:
            key = content.existing_data_key(lake, partner, receipt.sha256)
            folder = deliveries.ensure(lake, registry, receipt)
        except (content.ContentErased, deliveries.CannotRebuild):
            continue
        for table in source.version_for(month).resources:
            if table.name not in receipt.rows:
                continue
            rows = lake.read_parquet(ParquetFile(folder / f"{table.name}.parquet", key))
            found.setdefault(table.name, []).extend(
                {
                    field.name: _text_of(row.get(field.name), field)
                    for field in table.stored_fields
                    if not _is_quantity(field)
                }
                for row in rows.sort_by("_line").to_pylist()
            )
    stated = month_column(source)
    for row in (row for some in found.values() for row in some):
        if stated in row:
            row[stated] = str(month)
    return found


def carried_over_grid(
    source: Source, month: Month, registry: Registry, rows: Mapping[str, list[dict[str, str]]]
) -> Grid:
    """The grid that last month's rows begin."""
    filled = {table.name: rows.get(table.name) or [{}] * _EMPTY_ROWS for table in source.version_for(month).resources}
    return _grid(source, month, registry, {name: [(None, row) for row in some] for name, some in filled.items()})


def grid_of_file(paths: Sequence[Path], source: Source, month: Month, registry: Registry, lake: Lake) -> Grid:
    """The rows of a file, to correct them on the page. Raises `TooManyRows`."""
    rows: dict[str, list[tuple[int | None, dict[str, str]]]] = {}
    for page in pages(paths, source, month, lake):
        for line, cells in page.rows:
            if line <= page.header:
                continue
            row = {
                name: _text_of(cells[position], page.table.field(name)) if position < len(cells) else ""
                for name, position in page.columns.items()
            }
            rows.setdefault(page.table.name, []).append((line, row))
            if sum(map(len, rows.values())) > MOST_ROWS:
                raise TooManyRows
    return _grid(source, month, registry, rows)


# -- pieces -----------------------------------------------------------------------------------------------------------


def month_column(source: Source) -> str | None:
    """The column where rows state their month, when it is one column."""
    expression = source.insertion.period.month_expression
    return expression if expression is not None and expression.isidentifier() else None


def _grid(
    source: Source,
    month: Month,
    registry: Registry,
    rows: Mapping[str, Sequence[tuple[int | None, Mapping[str, str]]]],
) -> Grid:
    if sum(map(len, rows.values())) > MOST_ROWS:
        raise TooManyRows
    stated, sheets = month_column(source), []
    for table in source.version_for(month).resources:
        columns = tuple(_columns(table_rules(table, registry, month).cells))
        names = [column.name for column in columns]
        numbered = rows.get(table.name, ())
        filled = tuple(
            {name: row.get(name, "") or (str(month) if name == stated else "") for name in names} for _, row in numbered
        )
        lines = tuple(line if line is not None else rank + 2 for rank, (line, _) in enumerate(numbered))
        sheets.append(Sheet(table.name, table.title or table.name, columns, filled, lines))
    return Grid(source, month, tuple(sheets))


def _columns(cells: Iterable[Cell]) -> Iterator[Column]:
    for cell in cells:
        field = cell.field
        yield Column(
            field.name,
            field.label,
            field.description,
            expected_form(cell).replace("`", ""),
            field.example or "",
            choices(cell),
            field.constraints.required,
            _is_quantity(field),
        )


def _is_quantity(field: ContractField) -> bool:
    """Hours, days, amounts: what changes from month to month."""
    return field.type in ("number", "integer")


def _text_of(value: object, field: ContractField) -> str:
    """A typed value as its column is written."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return (field.trueValues if value else field.falseValues)[0]
    if isinstance(value, dt.datetime) and field.type == "date":
        value = value.date()
    if isinstance(value, dt.date):
        form = field.format if "%" in field.format else "%Y-%m-%d"
        return value.strftime(form)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    if field.type == "number":
        return str(value).replace(".", field.decimalChar)
    return str(value)
