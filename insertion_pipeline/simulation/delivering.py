"""Bytes that partners send: delimited text, workbooks, archives. The same content always gives the same bytes.

Belongs here: envelopes, quoting, archives without clocks, and what is remembered of each file (`Delivery`). Does not
belong here: what stands in the columns (one module per family).
"""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.month import Month
from insertion_pipeline.registry import Partner, Registry, Source
from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.population import Population
from insertion_pipeline.simulation.randomness import Integers

_SLICE = 200_000
#: Archives and workbooks carry no clock: the first moment that a ZIP can state.
_NO_TIME = (1980, 1, 1, 0, 0, 0)
_NO_DATE = datetime(1980, 1, 1)  # noqa: DTZ001 (a workbook's date has no time zone)

#: One row per person's row of a delivery: `line` is the physical line of a text, the row of a sheet (headers counted),
#: the rank of the `Personne`. `local_key` is what the partner calls the person, null when it has no name for it.
TRUTH_SCHEMA = pa.schema(
    [
        ("path", pa.string()),
        ("partner", pa.string()),
        ("source", pa.string()),
        ("month", pa.string()),
        ("table", pa.string()),
        ("line", pa.int64()),
        ("local_key", pa.string()),
        ("true_person_id", pa.string()),
        ("person_space", pa.string()),
    ]
)


@dataclass(frozen=True)
class Deposit:
    """What a partner is asked for: one source for one month, in a folder; paths are told relative to `root`.

    `factor` scales the rates of mistakes about persons.
    """

    registry: Registry
    partner: Partner
    source: Source
    month: Month
    folder: Path
    root: Path
    factor: float

    def key(self, index: Integers) -> Integers:
        """Indices to draw what changes from month to month."""
        return index * 1000 + (self.month.year * 12 + self.month.month) % 1000

    def made(
        self, path: Path, population: Population, persons: Integers, *, table: str, first_line: int = 2,
        local_key: pa.Array | None = None,
    ) -> Delivery:  # fmt: skip
        """The delivery of the file at `path`, on whose lines `persons` stand, from the first line of data on."""
        truth = truth_of(
            population, persons, path=path.relative_to(self.root).as_posix(), partner=self.partner.code,
            source=self.source.name, month=self.month, table=table, first_line=first_line, local_key=local_key,
        )  # fmt: skip
        return Delivery(path, self.source.name, self.partner.code, self.month, truth)

    def made_without_persons(self, path: Path) -> Delivery:
        """The delivery of a file that speaks of nobody in particular."""
        return Delivery(path, self.source.name, self.partner.code, self.month, TRUTH_SCHEMA.empty_table())


@dataclass(frozen=True)
class Delivery:
    """A file as a partner would deposit it, and who stands on each of its lines."""

    path: Path
    source: str
    partner: str
    month: Month
    truth: pa.Table


@dataclass(frozen=True)
class Columns:
    """Columns of text side by side, under the headers that the file shows. One row per record."""

    headers: tuple[str, ...]
    values: tuple[pa.Array, ...]

    @classmethod
    def of(cls, columns: Mapping[str, pa.Array | str | None], count: int) -> Columns:
        """Columns by header; a single text, or nothing, stands on every row."""
        return cls(
            tuple(columns),
            tuple(
                value if isinstance(value, pa.Array) else pa.repeat(pa.scalar(value, pa.string()), count)
                for value in columns.values()
            ),
        )

    def __len__(self) -> int:
        return len(self.values[0])

    def take(self, rows: Integers) -> Columns:
        index = pa.array(rows)
        return Columns(self.headers, tuple(value.take(index) for value in self.values))


def delimited(
    columns: Columns, *, separator: str = ";", end_of_line: str = "\r\n", null: str = "", quoted: bool = True
) -> Iterable[bytes]:
    """The header, then the rows, as UTF-8."""
    header = [_quoted_text(name, separator) if quoted else name for name in columns.headers]
    yield (separator.join(header) + end_of_line).encode()
    for start in range(0, len(columns), _SLICE):
        cells = [pc.fill_null(value.slice(start, _SLICE), null) for value in columns.values]
        if quoted:
            cells = [_quoted(cell, separator) for cell in cells]
        yield text_bytes(pc.binary_join_element_wise(*cells, separator), end_of_line)


def text_bytes(lines: pa.Array, end_of_line: str) -> bytes:
    """All the texts, each followed by the end of line."""
    ended = spelling.column(pc.binary_join_element_wise(lines, end_of_line, ""))
    if len(ended) == 0:
        return b""
    offsets = np.frombuffer(ended.buffers()[1], dtype=np.int32)
    first, last = int(offsets[ended.offset]), int(offsets[ended.offset + len(ended)])
    return bytes(memoryview(ended.buffers()[2])[first:last])


def _quoted(cells: pa.Array, separator: str) -> pa.Array:
    needs = pc.match_substring_regex(cells, f'[{separator}"\r\n]')
    if not pc.any(needs).as_py():
        return cells
    doubled = pc.binary_join_element_wise('"', pc.replace_substring(cells, '"', '""'), '"', "")
    return pc.if_else(needs, doubled, cells)


def _quoted_text(text: str, separator: str) -> str:
    return '"' + text.replace('"', '""') + '"' if any(mark in text for mark in (separator, '"', "\n", "\r")) else text


def write(path: Path, parts: Iterable[bytes]) -> Path:
    """Write the parts one after the other."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        for part in parts:
            file.write(part)
    return path


# -- archives ----------------------------------------------------------------------------------------------------


def zipped(name: str, content: bytes) -> bytes:
    """A ZIP of one file."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        _add(archive, name, content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def gzipped(content: bytes) -> bytes:
    """A gzip without a clock."""
    return gzip.compress(content, compresslevel=6, mtime=0)


def write_archive(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A ZIP of members that are already compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            _add(archive, name, content, zipfile.ZIP_STORED)
    return path


def zipped_many(path: Path, members: Iterable[tuple[str, bytes]]) -> Path:
    """A ZIP of files that are not compressed yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members:
            _add(archive, name, content, zipfile.ZIP_DEFLATED)
    return path


def _add(archive: zipfile.ZipFile, name: str, content: bytes, method: int) -> None:
    entry = zipfile.ZipInfo(name, _NO_TIME)
    entry.compress_type = method
    entry.external_attr = 0o600 << 16
    archive.writestr(entry, content)


# -- workbooks ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class HeaderGroup:
    """A title merged over several columns, in the row above theirs."""

    title: str
    width: int


@dataclass(frozen=True)
class Sheet:
    """One sheet: its columns, which are kept as numbers, and how many empty rows Excel leaves at the end.

    `groups`: the titles of a first header row, from left to right.
    """

    name: str
    columns: Columns
    numeric: frozenset[str] = frozenset()
    blank_rows: int = 0
    groups: tuple[HeaderGroup, ...] = ()


def write_workbook(path: Path, sheets: Sequence[Sheet]) -> Path:
    """An XLSX. Numeric columns are written as numbers: what Excel makes of identifiers and of serial dates."""
    import xlsxwriter

    path.parent.mkdir(parents=True, exist_ok=True)
    with xlsxwriter.Workbook(path, {"constant_memory": False, "strings_to_urls": False}) as workbook:
        workbook.set_properties({"created": _NO_DATE, "author": ""})
        for sheet in sheets:
            page = workbook.add_worksheet(sheet.name)
            titles = _write_groups(page, sheet.groups)
            page.write_row(titles, 0, sheet.columns.headers)
            for rank, (header, values) in enumerate(zip(sheet.columns.headers, sheet.columns.values, strict=True)):
                write_cell = page.write_number if header in sheet.numeric else page.write_string
                convert = float if header in sheet.numeric else str
                for row, value in enumerate(values.to_pylist(), start=titles + 1):
                    if value is not None:
                        write_cell(row, rank, convert(value))
            first_blank = len(sheet.columns) + titles + 1
            for row in range(first_blank, first_blank + sheet.blank_rows):
                page.write_string(row, 0, " ")
    return path


def _write_groups(page: Any, groups: Sequence[HeaderGroup]) -> int:
    """Write the merged titles of a first header row, if there are any; returns the row of the columns' own titles."""
    column = 0
    for group in groups:
        page.merge_range(0, column, 0, column + group.width - 1, group.title)
        column += group.width
    return 1 if groups else 0


# -- truth -------------------------------------------------------------------------------------------------------


def truth_of(
    population: Population, persons: Integers, *, path: str, partner: str, source: str, month: Month, table: str,
    first_line: int, local_key: pa.Array | None = None,
) -> pa.Table:  # fmt: skip
    """Who stands on each line of a table, from its first line of data on."""
    count = len(persons)

    def constant(value: str | None) -> pa.Array:
        return pa.repeat(pa.scalar(value, pa.string()), count)

    return pa.table(
        [
            constant(path),
            constant(partner),
            constant(source),
            constant(str(month)),
            constant(table),
            pa.array(np.arange(first_line, first_line + count, dtype=np.int64)),
            local_key if local_key is not None else constant(None),
            population.person_ids(persons),
            population.spaces(persons),
        ],
        schema=TRUTH_SCHEMA,
    )
