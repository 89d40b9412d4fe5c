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
    ORIGIN_FIELDS,
    Extract,
    label,
    no_findings,
    oddities_of,
    refusal,
    unreadable_table,
)
from insertion_pipeline.registry import ContractTable

SEPARATORS = (";", ",", "\t", "|")

_NEWLINE, _QUOTE, _SPACE = 10, 34, 32
_HEADER_SEARCH_LINES = 15
_LONGEST_RECORD_LINES = 256
#: Suspect lines at the end of a block wait for the next one, which may end their record; not more than this.
_LONGEST_CARRY_BYTES = 4 << 20

Bytes = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.intp]

_IS_SIGN = bytes(byte in b"=+-@" for byte in range(256))
_CONTROL = bytes([*range(9), 11, 12, *range(14, 32), 127])
_IS_CONTROL = bytes(byte in _CONTROL for byte in range(256))


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


def read_delimited(path: Path, tables: Sequence[ContractTable], rank: int, limits: Limits) -> Extract:
    """One delimited text file under the contract table that its header fits best."""
    encoding = decoding.encoding_of(path, file=str(rank))
    lines = decoding.blocks(path, encoding, line_bytes=limits.line_bytes, file=str(rank))
    first = next(lines, b"")
    header = find_header(first, tables, [Dialect(separator) for separator in SEPARATORS])
    if header is None:
        blank = first.count(b"\n") + sum(block.count(b"\n") for block in lines)
        return Extract(None, None, Account(lines=blank, blank=blank), unreadable_table(()))
    return read_table(_chained(first, lines), header, rank, limits, settle_quoted)


def read_table(
    blocks: Iterator[bytes], header: Header, rank: int, limits: Limits, settle: Settle, footer: Footer | None = None
) -> Extract:
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
        return _unknown_table(blocks, footer)
    columns = headers.columns_of(header.cells, header.table, file=file, line=header.lines)
    reader = _TableReader(columns, header.dialect, rank, settle, header.lines)
    skipped = 0
    for block in blocks:
        if skipped < header.lines:
            block, passed = _without_lines(block, header.lines - skipped)
            skipped += passed
        reader.take(block)
    reader.finish()
    return reader.extract(header, columns.findings, footer)


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
            header = Header(dialect, tuple(cells), number + units, blank, table if enough else None)
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
    if line.translate(None, delete=dialect.separator.encode() + (b' \t"' if dialect.quoting else b" \t")):
        return False
    if not dialect.quoting:
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


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest


def _unknown_table(blocks: Iterator[bytes], footer: Footer) -> Extract:
    """A text that no table of the contract fits: its lines are counted as header, none is kept."""
    lines = sum(block.count(b"\n") for block in blocks) + footer.lines
    return Extract(None, None, Account(lines=lines, header_footer=lines), unreadable_table(()))


# -- the records -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Lines:
    """A block seen as lines: where each begins and ends, and what is known of it."""

    starts: Positions
    ends: Positions
    clean: Mask
    blank: Mask
    separators: Positions
    before: Positions  # separators before each line's first byte


class _TableReader:
    """Takes blocks, gives back one extract. Memory: what is kept of the table, and one block."""

    def __init__(
        self, columns: headers.Columns, dialect: Dialect, rank: int, settle: Settle, lines_before: int
    ) -> None:
        self._columns = columns
        self._dialect = dialect
        self._rank = rank
        self._settle = settle
        self._separator = ord(dialect.separator)
        self._stored = columns.stored
        self._carry = b""
        self._line = lines_before
        self._blank = 0
        self._accepted = 0
        self._batches: list[pa.Table] = []
        self._broken: list[Broken] = []
        self._oddities: list[pa.Table] = []

    def take(self, block: bytes) -> None:
        """Read the block, but for the suspect lines at its end: they wait for what follows them."""
        block = self._carry + block
        self._carry = b""
        if not block:
            return
        lines = self._look(block)
        settled = np.flatnonzero(lines.clean)
        cut = int(lines.ends[settled[-1]]) + 1 if len(settled) else 0
        if len(block) - cut > _LONGEST_CARRY_BYTES:
            cut = len(block)
        self._carry = block[cut:]
        if cut:
            self._read(block[:cut], lines if cut == len(block) else self._look(block[:cut]))

    def finish(self) -> None:
        """Read what waited."""
        if self._carry:
            block, self._carry = self._carry, b""
            self._read(block, self._look(block))

    # -- looking at a block ------------------------------------------------------------------------------------------

    def _look(self, block: bytes) -> _Lines:
        data = np.frombuffer(block, np.uint8)
        ends = np.flatnonzero(data == _NEWLINE)
        starts = np.concatenate(([0], ends[:-1] + 1))
        separators = np.flatnonzero(data == self._separator)
        sound: Mask | None = None
        if self._dialect.quoting and b'"' in block:
            separators, sound = self._outside_quotes(data, ends, separators)
        until = np.searchsorted(separators, ends)
        before = np.concatenate(([0], until[:-1]))
        counts = until - before
        clean = counts == self._columns.count - 1
        if sound is not None:
            clean &= sound
        blank = self._blank_lines(data, starts, ends, separators, counts)
        return _Lines(starts, ends, clean & ~blank, blank, separators, before)

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
        small = lengths - counts <= 2 * self._columns.count
        if bool((small & ~blank).any()):
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

    def _read(self, block: bytes, lines: _Lines) -> None:
        clean = lines.clean
        everything_is_clean = bool(clean.all())
        rows = self._cells(block if everything_is_clean else _bytes_of(block, lines, clean), int(clean.sum()))
        numbers = np.flatnonzero(clean) + self._line + 1
        table = self._with_origin(rows, numbers, np.ones(len(numbers), np.int32))
        self._note_oddities(table, self._odd_columns(block, lines) if len(numbers) else [])
        records = [] if everything_is_clean else self._settled(block, lines)
        if records:
            table = pa.concat_tables([table, self._looked_at(records)]).sort_by("_line")
        if table.num_rows:
            self._batches.append(table)
            self._accepted += len(numbers) + sum(record.units for record in records)
        self._line += len(clean)

    def _cells(self, block: bytes, count: int) -> pa.Table:
        """The stored columns of clean lines. Every cell is text; an empty one is the empty string."""
        names = [str(position) for position in range(self._columns.count)]
        wanted = [str(position) for position in self._stored]
        if not count or not wanted:
            return pa.table({name: pa.array([""] * count, pa.string()) for name in self._stored.values()})
        table = arrow_csv.read_csv(
            pa.BufferReader(block),
            read_options=arrow_csv.ReadOptions(column_names=names, block_size=max(len(block) // 4, 1 << 20)),
            parse_options=arrow_csv.ParseOptions(
                delimiter=self._dialect.separator,
                quote_char='"' if self._dialect.quoting else False,
                double_quote=True,
                escape_char=False,
                newlines_in_values=False,
                ignore_empty_lines=False,
            ),
            convert_options=arrow_csv.ConvertOptions(
                column_types={name: pa.string() for name in wanted},
                include_columns=wanted,
                strings_can_be_null=False,
                check_utf8=False,
            ),
        )
        if table.num_rows != count:
            raise AssertionError(f"{count} clean lines gave {table.num_rows} rows")
        return table.rename_columns(list(self._stored.values()))

    def _with_origin(self, rows: pa.Table, lines: npt.NDArray[np.int64], units: npt.NDArray[np.int32]) -> pa.Table:
        ranks = np.full(len(lines), self._rank, np.int32)
        for (name, kind), column in zip(ORIGIN_FIELDS, (lines.astype(np.int64), units, ranks), strict=True):
            array = pa.Array.from_buffers(kind, len(lines), [None, pa.py_buffer(column)])
            rows = rows.append_column(pa.field(name, kind), array)
        return rows

    def _settled(self, block: bytes, lines: _Lines) -> list[Record]:
        """The records among the lines that are not clean; the others of these lines are counted."""
        records: list[Record] = []
        for first, last in _runs(~lines.clean):
            if bool(lines.blank[first : last + 1].all()):
                self._blank += last - first + 1
                continue
            text = block[int(lines.starts[first]) : int(lines.ends[last])].split(b"\n")
            outcome = self._settle(text, self._line + first + 1, self._columns.count, self._dialect)
            self._blank += outcome.blank
            self._broken.extend(outcome.broken)
            records.extend(outcome.records)
        return records

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
        table = self._with_origin(rows, lines, units)
        self._note_oddities(table, list(self._stored.values()))
        self._note_remarks(records)
        return table

    # -- unusual characters ------------------------------------------------------------------------------------------

    def _odd_columns(self, block: bytes, lines: _Lines) -> list[str]:
        """The stored columns in which a clean line may hold a formula or invisible characters: a cheap first look."""
        data = np.frombuffer(block, np.uint8)
        signs = np.flatnonzero(np.frombuffer(block.translate(_IS_SIGN), np.bool_))
        previous = data[signs - 1]
        if self._dialect.quoting:
            previous = np.where(previous == _QUOTE, data[signs - 2], previous)
        places = [signs[(previous == self._separator) | (previous == _NEWLINE) | (signs < 2)]]
        if len(block.translate(None, delete=_CONTROL)) < len(block):
            places.append(np.flatnonzero(np.frombuffer(block.translate(_IS_CONTROL), np.bool_)))
        if any(lead in block for lead in (b"\xe2\x80", b"\xe2\x81", b"\xc2", b"\xef")):
            places.append(_invisible_letters(data))
        found = np.concatenate(places)
        line = np.searchsorted(lines.ends, found)
        column = np.searchsorted(lines.separators, found) - lines.before[line]
        return [self._stored[int(one)] for one in np.unique(column[lines.clean[line]]) if int(one) in self._stored]

    def _note_oddities(self, table: pa.Table, columns: Sequence[str]) -> None:
        if columns:
            contract = self._columns.table
            found = oddities_of(table, columns, file=label(self._rank, contract), table=contract.name)
            if found.num_rows:
                self._oddities.append(found)

    def _note_remarks(self, records: Sequence[Record]) -> None:
        table = self._columns.table
        remarks = [
            Finding(
                record.remark[0],
                "warning",
                record.remark[1],
                expected=f"{self._columns.count} cellules sur une ligne",
                remedy="La ligne est lue telle quelle, rien n'en est perdu ; corrigez l'export si possible.",
                file=label(self._rank, table),
                table=table.name,
                line=record.line,
            )
            for record in records
            if record.remark is not None
        ]
        if remarks:
            self._oddities.append(findings_table(remarks))

    # -- the extract -------------------------------------------------------------------------------------------------

    def extract(self, header: Header, findings: Sequence[Finding], footer: Footer) -> Extract:
        """Everything read."""
        schema = pa.schema([*((name, pa.string()) for name in self._stored.values()), *ORIGIN_FIELDS])
        rows = pa.concat_tables(self._batches).cast(schema) if self._batches else schema.empty_table()
        oddities = pa.concat_tables(self._oddities) if self._oddities else no_findings()
        rejected = sum(broken.units for broken in self._broken)
        account = Account(
            lines=self._line + footer.lines,
            blank=header.blank + self._blank + footer.blank,
            header_footer=header.lines - header.blank + footer.lines - footer.blank,
            accepted=self._accepted,
            rejected=rejected,
        ).checked()
        broken = unreadable_table(
            (self._rank, one.line, one.units, one.raw, one.code, one.message) for one in self._broken
        )
        return Extract(
            self._columns.table.name,
            rows,
            account,
            broken,
            tuple(findings),
            oddities,
        )


def _bytes_of(block: bytes, lines: _Lines, chosen: Mask) -> bytes:
    """The chosen lines of a block, end to end."""
    view = memoryview(block)
    return b"".join(view[int(lines.starts[first]) : int(lines.ends[last]) + 1] for first, last in _runs(chosen))


def _runs(mask: Mask) -> Iterator[tuple[int, int]]:
    """First and last index of every unbroken run of true values."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], mask, [False])).view(np.int8)))
    return zip(edges[0::2].tolist(), (edges[1::2] - 1).tolist(), strict=True)


def _invisible_letters(data: Bytes) -> Positions:
    """Where a UTF-8 letter of the blocks that hold invisible characters begins (a superset of the odd ones)."""
    lead = data[:-2]
    second, third = data[1:-1], data[2:]
    general = (lead == 0xE2) & (
        ((second == 0x80) & (((third >= 0x8B) & (third <= 0x8F)) | ((third >= 0xAA) & (third <= 0xAE))))
        | ((second == 0x81) & (third >= 0xA0) & (third <= 0xA9))
    )
    controls = (lead == 0xC2) & (second >= 0x80) & (second <= 0x9F)
    marks = (lead == 0xEF) & (second == 0xBB) | (lead == 0xEF) & (second == 0xBF) & (third == 0xBD)
    return np.flatnonzero(general | controls | marks)


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
