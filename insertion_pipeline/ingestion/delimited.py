"""Delimited text to tables of text.

Belongs here: finding the header and the separator, cutting lines into cells, resynchronising after a bad quote,
accounting for every physical line. Does not belong here: bytes and encodings (`decoding`), what a header means
(`headers`), the lines around a fluxIAE view (`fluxiae`).

A block of whole lines is looked at as an array of bytes. A line is *clean* when its quotes stand where quotes may
stand, are balanced within the line, and leave as many cells as the header: clean lines go to Arrow's CSV reader
untouched, which then cannot fail nor guess. The other lines, a run of them at a time, are looked at one by one; a
record over several lines never takes in a clean line, so a quote that nobody closed costs its own line and no other.
"""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv as arrow_csv

from insertion_pipeline.contracts.findings import Finding, findings_table
from insertion_pipeline.ingestion import decoding, headers
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import (
    ENCODED,
    ORIGIN_FIELDS,
    Batch,
    Extract,
    Opening,
    Piece,
    is_repetitive,
    label,
    oddities_of,
    refusal,
    unreadable_table,
)
from insertion_pipeline.registry import ContractTable

SEPARATORS = (";", ",", "\t", "|")

_NEWLINE, _QUOTE, _SPACE = 10, 34, 32
_HEADER_SEARCH_LINES = 15
_LONGEST_RECORD_LINES = 256
#: So many files put end to end may be one.
_MOST_HEADERS = 1_000
#: Suspect lines at the end of a block wait for the next one, which may end their record; not more than this.
_LONGEST_CARRY_BYTES = 4 << 20

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]

#: What a line that holds nothing may hold beside its separators: white space and control characters.
_INVISIBLE = bytes(range(_SPACE + 1))
#: Bytes with which a line that holds nothing may begin.
_SILENT = np.isin(np.arange(256), [*range(_SPACE + 1), _QUOTE, *(ord(mark) for mark in SEPARATORS)])


@dataclass(frozen=True, slots=True)
class Dialect:
    """How cells are separated. `quoting`: whether a `"` at the start of a cell opens a quoted cell."""

    separator: str
    quoting: bool = True


@dataclass(frozen=True)
class Header:
    """Where a table begins in a text, and what its columns are called. `lines`: physical lines up to and with it."""

    dialect: Dialect
    cells: tuple[str, ...]
    lines: int
    blank: int
    table: ContractTable | None
    raw: bytes = b""  # its one line with its end; empty for titles that are broken over lines


@dataclass(frozen=True, slots=True)
class Record:
    """A record that took a closer look: its first line, how many it spans, its cells."""

    line: int
    units: int
    cells: Sequence[str]
    remark: tuple[str, str] | None = None  # the code and sentence of what was mended, exactly, in its structure


@dataclass(frozen=True, slots=True)
class Broken:
    """A line that could not be cut into cells."""

    line: int
    units: int
    raw: str
    code: str
    message: str


@dataclass
class Footer:
    """Lines taken off the end of a text by whoever feeds its blocks; known once the blocks have all been read."""

    lines: int = 0
    blank: int = 0


@dataclass
class RunOutcome:
    """What a run of lines that are not clean turned out to be."""

    records: list[Record] = field(default_factory=list)
    broken: list[Broken] = field(default_factory=list)
    blank: int = 0


#: Settles a run: its lines, the number of its first line, how many cells are expected, the dialect.
Settle = Callable[[Sequence[bytes], int, int, Dialect], RunOutcome]


def read_delimited(path: Path, tables: Sequence[ContractTable], rank: int, limits: Limits) -> Iterator[Piece]:
    """One delimited text file under the contract table that its header fits best."""
    encoding = decoding.encoding_of(path, file=str(rank))
    blocks = decoding.blocks(path, encoding, limits, file=str(rank))
    first = beginning(blocks)
    header = find_header(first, tables, [Dialect(separator) for separator in SEPARATORS])
    if header is None:
        blank = first.count(b"\n") + sum(block.count(b"\n") for block in blocks)
        yield Extract(rank, None, Account(lines=blank, blank=blank))
        return
    yield from read_table(itertools.chain([first], blocks), header, rank, limits, settle_quoted)


def beginning(blocks: Iterator[bytes]) -> bytes:
    """The first block, or as many as the search of a header looks through."""
    first = next(blocks, b"")
    while first.count(b"\n") < 4 * _HEADER_SEARCH_LINES and (following := next(blocks, b"")):
        first += following
    return first


def read_table(
    blocks: Iterator[bytes], header: Header, rank: int, limits: Limits, settle: Settle, footer: Footer | None = None
) -> Iterator[Piece]:
    """The records after `header` in `blocks`. Raises `UnreadableDelivery` for too many columns."""
    footer = footer or Footer()
    file = label(rank, header.table)
    if len(header.cells) > limits.columns:
        raise refusal(
            "limit-exceeded",
            f"Le fichier a {len(header.cells)} colonnes.",
            expected=f"au plus {limits.columns} colonnes",
            file=file,
        )
    if header.table is None:
        yield _unknown_table(blocks, rank, footer)
        return
    columns = headers.columns_of(header.cells, header.table, file=file, line=header.lines)
    reader = _TableReader(columns, header, rank, settle)
    yield Opening(rank, header.table.name, tuple(columns.stored.values()), columns.findings, columns.own)
    skipped = 0
    for block in blocks:
        if skipped < header.lines:
            block, passed = _without_lines(block, header.lines - skipped)
            skipped += passed
        yield from reader.take(block)
    if (batch := reader.finish()) is not None:
        yield batch
    yield reader.extract(footer)


# -- the header --------------------------------------------------------------------------------------------------------


def find_header(block: bytes, tables: Sequence[ContractTable], dialects: Sequence[Dialect]) -> Header | None:
    """The line that names the most fields of a table, among the first lines; null when every line is blank.

    A title above the header is passed over; a file whose header fits nothing is given the first line that is not blank.
    """
    lines = block.split(b"\n", 4 * _HEADER_SEARCH_LINES)[: 4 * _HEADER_SEARCH_LINES]
    best: tuple[tuple[int, int, int], Header] | None = None
    nothing_but_separators = False
    for dialect in dialects:
        number = seen = blank = 0
        while number < len(lines) and seen < _HEADER_SEARCH_LINES:
            if is_blank(lines[number], dialect):
                number, blank = number + 1, blank + (1 if number < len(lines) - 1 else 0)
                continue
            cells, units = _header_cells(lines[number : number + 8], dialect)
            found = headers.best_table(cells, tables)
            table, fields = found if found is not None else (None, 0)
            required = sum(1 for one in table.fields if not one.insertion.header_optional) if table is not None else 1
            enough = fields >= min(2, required)
            raw = lines[number] + b"\n" if units == 1 else b""
            header = Header(dialect, tuple(cells), number + units, blank, table if enough else None, raw)
            merit = (fields if enough else 0, -seen, len(cells))
            if best is None or merit > best[0]:
                best = (merit, header)
            number, seen = number + units, seen + 1
        nothing_but_separators |= seen == 0
    if best is None or (best[1].table is None and nothing_but_separators):
        return None
    return best[1]


def _header_cells(lines: Sequence[bytes], dialect: Dialect) -> tuple[list[str], int]:
    text = [line.decode() + "\n" for line in lines]
    if not dialect.quoting:
        return text[0].rstrip("\n").split(dialect.separator), 1
    reader = csv.reader(iter(text), delimiter=dialect.separator, strict=True)
    try:
        return next(reader), reader.line_num
    except (csv.Error, StopIteration):
        return text[0].rstrip("\n").split(dialect.separator), 1


def is_blank(line: bytes, dialect: Dialect) -> bool:
    """Whether every cell of the line is empty."""
    if line.translate(None, delete=dialect.separator.encode() + _INVISIBLE + (b'"' if dialect.quoting else b"")):
        return False
    if not dialect.quoting or b'"' not in line:
        return True
    cells, _ = record_at([line], dialect)
    return cells is not None and not any(cell.strip() for cell in cells)


def _without_lines(block: bytes, count: int) -> tuple[bytes, int]:
    """The block without its first `count` lines, and how many were there to take."""
    position = taken = 0
    while taken < count and position < len(block):
        position = block.index(b"\n", position) + 1
        taken += 1
    return block[position:], taken


def _unknown_table(blocks: Iterator[bytes], rank: int, footer: Footer) -> Extract:
    """A text that no table of the contract fits: its lines are counted as header, none is kept."""
    lines = sum(block.count(b"\n") for block in blocks) + footer.lines
    return Extract(rank, None, Account(lines=lines, header_footer=lines))


# -- the records -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lines:
    """A block seen as lines: where each begins and ends, and what is known of it."""

    starts: Positions
    ends: Positions
    clean: Mask
    blank: Mask


class _TableReader:
    """Takes blocks, gives a batch for each. Memory: one block, and the suspect lines at the end of the one before."""

    def __init__(self, columns: headers.Columns, header: Header, rank: int, settle: Settle) -> None:
        self._columns = columns
        self._table = columns.table.name
        self._file = label(rank, columns.table)
        self._dialect = header.dialect
        self._header = header
        self._rank = rank
        self._settle = settle
        self._separator = ord(header.dialect.separator)
        self._stored = columns.stored
        self._encoded: set[str] | None = None
        self._carry = b""
        self._line = header.lines
        self._blank = self._accepted = self._rejected = self._repeated = 0

    def take(self, block: bytes) -> Iterator[Batch]:
        """The batches of a block; suspect lines at its end wait for what follows them.

        A line that is the header once more is none of the data, and ends whatever record was open before it.
        """
        repeated: list[Finding] = []
        start = 0
        while (place := _place_of_line(self._header.raw, block, start)) is not None:
            if self._repeated == _MOST_HEADERS:
                raise refusal(
                    "limit-exceeded",
                    f"Le fichier répète ses titres de colonnes plus de {_MOST_HEADERS} fois.",
                    expected="les titres une seule fois, au début",
                    remedy="Refaites l'export en une fois, puis déposez-le de nouveau.",
                    file=self._file,
                    line=self._line + block.count(b"\n", start, place) + 1,
                )
            yield from filter(None, (self._take(block[start:place]), self.finish()))
            self._line += 1
            self._repeated += 1
            repeated.append(headers.repeated(self._columns.table, self._line, self._file))
            start = place + len(self._header.raw)
        if (batch := self._take(block[start:] if start else block)) is not None:
            yield batch
        if repeated:
            nothing = self._with_origin(self._cells(b"", 0), np.zeros(0, np.int64), np.zeros(0, np.int32))
            yield Batch(self._rank, self._table, nothing, oddities=findings_table(repeated))

    def _take(self, block: bytes) -> Batch | None:
        block = self._carry + block
        self._carry = b""
        if not block:
            return None
        if self._is_plain(block) and (batch := self._read_plain(block)) is not None:
            return batch
        lines = self._look(block)
        settled = np.flatnonzero(lines.clean)
        cut = int(lines.ends[settled[-1]]) + 1 if len(settled) else 0
        if len(block) - cut > _LONGEST_CARRY_BYTES:
            cut = len(block)
        self._carry = block[cut:]
        return self._read(block[:cut], lines if cut == len(block) else self._look(block[:cut])) if cut else None

    def finish(self) -> Batch | None:
        """Read what waited."""
        if not self._carry:
            return None
        block, self._carry = self._carry, b""
        return self._read(block, self._look(block))

    # -- a plain block -----------------------------------------------------------------------------------------------

    def _is_plain(self, block: bytes) -> bool:
        """Whether a few counts say of a whole block that it is plain: no cell is quoted, or every cell is.

        As many separators between cells as that many lines need, no quote that is not at the edge of a cell, no blank
        line: most blocks of most files. A line may still have too many cells where another has too few; Arrow's reader
        then says so.
        """
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        starts = np.concatenate(([0], ends[:-1] + 1))
        is_separator = data == self._separator
        is_quoted = self._dialect.quoting and data[0] == _QUOTE
        if is_quoted:
            is_regular = self._is_quoted_throughout(data, starts, ends, is_separator)
        else:
            is_cut = np.count_nonzero(is_separator) == len(ends) * (self._columns.count - 1)
            is_regular = is_cut and not (self._dialect.quoting and b'"' in block)
        if not is_regular:
            return False
        if not _SILENT[data[starts + 1 if is_quoted else starts]].any():
            return True
        visible = (data > _SPACE) & ~is_separator & (data != _QUOTE)
        return bool(np.logical_or.reduceat(visible, starts).all())

    def _is_quoted_throughout(self, data: Bytes, starts: Positions, ends: Positions, is_separator: Mask) -> bool:
        """Whether every quote of a block is at the edge of a cell, and every cell begins and ends with one.

        The edges that two cells share (`";"`), those that two lines share, the first and the last quote of the block
        make up all of its quotes, when no quote belongs to two edges.
        """
        is_quote = data == _QUOTE
        lines, width = len(ends), self._columns.count
        if np.count_nonzero(is_quote) != 2 * lines * width or not (ends - starts >= 2).all():
            return False
        if not (is_quote[starts].all() and is_quote[ends - 1].all()):
            return False
        edges = is_quote[:-2] & is_separator[1:-1] & is_quote[2:]
        if np.count_nonzero(edges) != lines * (width - 1):
            return False
        is_shared = (edges[:-2] & edges[2:]).any() or edges[starts].any() or edges[np.maximum(ends - 3, 0)].any()
        return not is_shared

    def _read_plain(self, block: bytes) -> Batch | None:
        """The batch of a plain block; null when its lines have not all as many cells as the header."""
        count = decoding.count_of(_NEWLINE, block)
        try:
            rows = self._cells(block, count)
        except pa.ArrowInvalid:
            return None
        numbers = np.arange(self._line + 1, self._line + 1 + count)
        table = self._with_origin(rows, numbers, np.ones(count, np.int32))
        self._line += count
        self._accepted += count
        oddities = oddities_of(table, list(self._stored.values()), file=self._file, table=self._table)
        return Batch(self._rank, self._table, table, oddities=oddities)

    # -- looking at a block ------------------------------------------------------------------------------------------

    def _look(self, block: bytes) -> _Lines:
        """Where the lines of a block are, and which can be cut without a closer look."""
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        starts = np.concatenate(([0], ends[:-1] + 1))
        separators = np.flatnonzero(data == self._separator)
        sound: Mask | None = None
        if self._dialect.quoting and b'"' in block:
            separators, sound = self._outside_quotes(data, ends, separators)
        counts = np.diff(np.searchsorted(separators, ends), prepend=0)
        clean = counts == self._columns.count - 1
        if sound is not None:
            clean &= sound
        blank = self._blank_lines(data, starts, ends, separators, counts)
        return _Lines(starts, ends, clean & ~blank, blank)

    def _outside_quotes(self, data: Bytes, ends: Positions, separators: Positions) -> tuple[Positions, Mask]:
        """The separators outside quotes opened on their own line, and which lines have sound quotes."""
        is_quote = data == _QUOTE
        parity = np.cumsum(is_quote, dtype=np.uint8) & 1  # a sum that overflows at 256 keeps its parity
        at_end = parity[ends]
        at_start = np.concatenate((np.zeros(1, np.uint8), at_end[:-1]))
        sound: Mask = at_start == at_end
        quotes = np.flatnonzero(is_quote)
        inside, opening = parity[separators], parity[quotes]
        if not bool(sound.all()):  # the parity counts from the start of the block: set it back at each line
            inside = inside ^ np.repeat(at_start, np.diff(np.searchsorted(separators, ends), prepend=0))
            opening = opening ^ np.repeat(at_start, np.diff(np.searchsorted(quotes, ends), prepend=0))
        opens, closes = quotes[opening == 1], quotes[opening == 0]
        previous = data[opens - 1]
        following = data[closes + 1]  # a line ends with a newline: there is always one
        well_opened = (previous == self._separator) | (previous == _NEWLINE) | (previous == _QUOTE) | (opens == 0)
        well_closed = (following == self._separator) | (following == _NEWLINE) | (following == _QUOTE)
        wrong = np.concatenate((opens[~well_opened], closes[~well_closed]))
        if len(wrong):
            sound[np.searchsorted(ends, wrong)] = False
        return separators[inside == 0], sound

    def _blank_lines(
        self, data: Bytes, starts: Positions, ends: Positions, separators: Positions, counts: Positions
    ) -> Mask:
        """Which lines hold nothing but separators, white space and empty quotes."""
        lengths = ends - starts
        blank: Mask = lengths == 0
        begins_empty = _SILENT[data[starts]]
        if bool((begins_empty & ~blank & (lengths - counts <= 2 * self._columns.count)).any()):
            visible = data > _SPACE
            visible[separators] = False
            if self._dialect.quoting:
                visible &= data != _QUOTE
            silent = np.add.reduceat(visible, starts, dtype=np.int64) == 0
            blank |= silent & (lengths == counts)
            for line in np.flatnonzero(silent & ~blank):  # white space, or quotes that may hold a quote
                blank[line] = is_blank(data[starts[line] : ends[line]].tobytes(), self._dialect)
        return blank

    # -- reading a block ---------------------------------------------------------------------------------------------

    def _read(self, block: bytes, lines: _Lines) -> Batch | None:
        clean = lines.clean
        everything_is_clean = bool(clean.all())
        rows = self._cells(block if everything_is_clean else _bytes_of(block, lines, clean), int(clean.sum()))
        numbers = np.flatnonzero(clean) + self._line + 1
        table = self._with_origin(rows, numbers, np.ones(len(numbers), np.int32))
        outcome = RunOutcome() if everything_is_clean else self._settled(block, lines)
        if outcome.records:
            table = self._in_order(table, self._looked_at(outcome.records))
        self._line += len(clean)
        self._blank += outcome.blank
        self._accepted += len(numbers) + sum(record.units for record in outcome.records)
        self._rejected += sum(broken.units for broken in outcome.broken)
        if not table.num_rows and not outcome.broken:
            return None
        oddities = [
            oddities_of(table, list(self._stored.values()), file=self._file, table=self._table),
            self._remarks(outcome.records),
        ]
        broken = unreadable_table(
            (self._rank, one.line, one.units, one.raw, one.code, one.message) for one in outcome.broken
        )
        return Batch(self._rank, self._table, table, broken, pa.concat_tables(oddities))

    def _cells(self, block: bytes, count: int) -> pa.Table:
        """The stored columns of clean lines. Every cell is text; an empty one is the empty string."""
        names = [str(position) for position in range(self._columns.count)]
        kinds = {str(position): self._kind(name) for position, name in self._stored.items()}
        if not count or not kinds:
            return pa.table({name: pa.array([""] * count, self._kind(name)) for name in self._stored.values()})
        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=len(block) + 1, use_threads=False),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._dialect.separator,
                quote_char='"' if self._dialect.quoting and b'"' in block else False,
                double_quote=True,
                escape_char=False,
                newlines_in_values=False,
                ignore_empty_lines=False,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types=kinds,
                include_columns=list(kinds),
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        if table.num_rows != count:
            raise AssertionError(f"{count} clean lines gave {table.num_rows} rows")
        table = table.rename_columns(list(self._stored.values()))
        if self._encoded is None:
            self._encoded = {name for name in table.column_names if is_repetitive(table[name].chunk(0))}
            table = table.cast(pa.schema([(name, self._kind(name)) for name in table.column_names]))
        return table

    def _kind(self, column: str) -> pa.DataType:
        """How a column is handed over: as a dictionary where it repeats itself, which the first block tells."""
        return ENCODED if self._encoded is None or column in self._encoded else pa.string()

    def _with_origin(self, rows: pa.Table, lines: npt.NDArray[np.int64], units: npt.NDArray[np.int32]) -> pa.Table:
        ranks = np.full(len(lines), self._rank, np.int32)
        for (name, kind), column in zip(ORIGIN_FIELDS, (lines.astype(np.int64), units, ranks), strict=True):
            array = pa.Array.from_buffers(kind, len(lines), [None, pa.py_buffer(column)])
            rows = rows.append_column(pa.field(name, kind), array)
        return rows

    def _settled(self, block: bytes, lines: _Lines) -> RunOutcome:
        """What the lines that are not clean turned out to be."""
        settled = RunOutcome()
        for first, last in _runs(~lines.clean):
            if bool(lines.blank[first : last + 1].all()):
                settled.blank += last - first + 1
                continue
            text = block[int(lines.starts[first]) : int(lines.ends[last])].split(b"\n")
            outcome = self._settle(text, self._line + first + 1, self._columns.count, self._dialect)
            settled.blank += outcome.blank
            settled.broken.extend(outcome.broken)
            settled.records.extend(outcome.records)
        return settled

    def _looked_at(self, records: Sequence[Record]) -> pa.Table:
        """The records that took a closer look, as rows."""
        rows = pa.table(
            {
                name: pa.array([record.cells[position] for record in records], pa.string())
                for position, name in self._stored.items()
            }
        )
        lines = np.array([record.line for record in records], np.int64)
        units = np.array([record.units for record in records], np.int32)
        return self._with_origin(rows, lines, units)

    def _in_order(self, clean: pa.Table, records: pa.Table) -> pa.Table:
        """The clean rows and the others, by line; all of them text: dictionaries of two origins do not join."""
        both = pa.concat_tables([clean.cast(records.schema), records])
        return both.take(pa.array(np.argsort(both["_line"].to_numpy(), kind="stable")))

    def _remarks(self, records: Sequence[Record]) -> pa.Table:
        """A warning for each record that was mended in its structure."""
        return findings_table(
            Finding(
                record.remark[0],
                "warning",
                record.remark[1],
                expected=f"{self._columns.count} cellules sur une ligne",
                remedy="La ligne est lue telle quelle, rien n'en est perdu ; corrigez l'export si possible.",
                file=self._file,
                table=self._table,
                line=record.line,
            )
            for record in records
            if record.remark is not None
        )

    # -- the end -----------------------------------------------------------------------------------------------------

    def extract(self, footer: Footer) -> Extract:
        """The account of everything read."""
        header = self._header
        account = Account(
            lines=self._line + footer.lines,
            blank=header.blank + self._blank + footer.blank,
            header_footer=header.lines - header.blank + self._repeated + footer.lines - footer.blank,
            accepted=self._accepted,
            rejected=self._rejected,
        ).checked()
        return Extract(self._rank, self._table, account)


def _place_of_line(line: bytes, block: bytes, start: int) -> int | None:
    """Where the line, which ends with its newline, begins in the block; null where it is no line of it."""
    while line:
        start = block.find(line, start)
        if start < 0:
            return None
        if start == 0 or block[start - 1] == _NEWLINE:
            return start
        start += 1
    return None


def _bytes_of(block: bytes, lines: _Lines, chosen: Mask) -> bytes:
    """The chosen lines of a block, end to end."""
    view = memoryview(block)
    return b"".join(view[int(lines.starts[first]) : int(lines.ends[last]) + 1] for first, last in _runs(chosen))


def _runs(mask: Mask) -> Iterator[tuple[int, int]]:
    """First and last index of every unbroken run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).view(np.int8)))
    return zip(edges[0::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


# -- lines that are not clean ------------------------------------------------------------------------------------------


def settle_quoted(lines: Sequence[bytes], first_line: int, expected: int, dialect: Dialect) -> RunOutcome:
    """Settle a run of quoted text: records over several lines, stray quotes, missing and extra cells, blank lines."""
    outcome = RunOutcome()
    csv.field_size_limit(_LONGEST_CARRY_BYTES)
    index = 0
    while index < len(lines):
        if is_blank(lines[index], dialect):
            outcome.blank += 1
            index += 1
            continue
        cells, units = record_at(lines[index : index + _LONGEST_RECORD_LINES], dialect)
        record = _fitted(first_line + index, units, cells, expected) if cells is not None else None
        if record is not None:
            outcome.records.append(record)
            index += units
            continue
        raw = lines[index].decode()
        if cells is None or units > 1:
            code, message = "unbalanced-quote", "Un guillemet n'est pas refermé, ou se referme au milieu d'une cellule."
        else:
            code, message = cell_count_problem(len(cells), expected)
        outcome.broken.append(Broken(first_line + index, 1, raw, code, message))
        index += 1
    return outcome


def _fitted(line: int, units: int, cells: Sequence[str], expected: int) -> Record | None:
    """The record when it has as many cells as the header, or differs by empty cells at its end alone, which is said."""
    if len(cells) == expected:
        return Record(line, units, cells)
    filled = len(cells)
    while filled and not cells[filled - 1].strip():
        filled -= 1
    missing = expected - len(cells)
    if filled > expected or missing > len(cells) - filled or (units > 1 and missing):
        return None
    return Record(line, units, (*cells[:expected], *[""] * missing), cell_count_problem(len(cells), expected))


def cell_count_problem(found: int, expected: int) -> tuple[str, str]:
    """The code and the sentence for a line with too few or too many cells."""
    code = "missing-cell" if found < expected else "extra-cell"
    return code, f"La ligne a {found} cellule{'s' if found > 1 else ''} au lieu de {expected}."


def record_at(lines: Sequence[bytes], dialect: Dialect) -> tuple[list[str] | None, int]:
    """The record that begins with the first line, and how many lines it takes; null when its quotes are wrong."""
    if b'"' not in lines[0]:
        return lines[0].decode().split(dialect.separator), 1
    reader = csv.reader((line.decode() + "\n" for line in lines), delimiter=dialect.separator, strict=True)
    try:
        return next(reader), reader.line_num
    except (csv.Error, StopIteration):
        return None, 1
