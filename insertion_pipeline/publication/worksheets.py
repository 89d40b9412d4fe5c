"""Tables as worksheets: the frame of a workbook drawn by XlsxWriter, its rows written column by column with Arrow.

Belongs here: how many rows become the XML of a worksheet, filters, panes, styles of columns. Does not belong here:
which sheets a workbook has and what they say (`workbook`). No cell is ever a formula.

XlsxWriter spends eight microseconds a cell in Python. Here it writes each sheet's heading and one blank row that shows
the styles; the rows are strings that Arrow joins, a column at a time, and take their place in the archive (measured:
2.5 s of processor time for the 260 000 cells of the demonstration become 0.4 s).
"""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal
from xml.sax.saxutils import escape

import pyarrow as pa
import pyarrow.compute as pc
import xlsxwriter
from xlsxwriter.utility import xl_col_to_name

#: What a worksheet can hold below its heading; more rows go on to a second sheet, none is cut.
SHEET_ROWS: Final = 1_048_575
#: Of the name of a sheet, in characters.
_NAME_LENGTH: Final = 31
#: Rows that are text at the same time: memory stays bounded whatever the size of the sheet.
_ROWS_AT_ONCE: Final = 50_000
_CREATED: Final = datetime(2000, 1, 1)  # noqa: DTZ001 (the format has no time zone; a workbook has no date of its own)
_MOMENT: Final = (1980, 1, 1, 0, 0, 0)
_STRINGS: Final = "xl/sharedStrings.xml"
_STYLED_ROW: Final = re.compile(rb'<row r="2".*?</row>', re.DOTALL)
_STYLE: Final = re.compile(rb'<c r="([A-Z]+)2" s="(\d+)"/>')
_SHARED: Final = re.compile(rb"<si>.*?</si>", re.DOTALL)
#: What XML cannot say, in any spelling.
_UNSPEAKABLE: Final = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]")

Style = Literal["text", "wrapped", "number", "decimal", "share"]
_NUMBER_FORMATS: Final[Mapping[Style, Mapping[str, Any]]] = {
    "text": {},
    "wrapped": {"text_wrap": True, "valign": "top"},
    "number": {"num_format": "#,##0.##"},
    "decimal": {"num_format": "#,##0.0"},
    "share": {"num_format": "0%"},
}


@dataclass(frozen=True)
class SheetColumn:
    """One column of a sheet: its heading, its width in characters, how its cells look."""

    heading: str
    width: int
    style: Style = "text"


@dataclass
class Book:
    """A workbook being made. `xlsx` draws what is not a table; `close` writes the file."""

    path: Path
    title: str
    xlsx: Any = field(init=False)
    _frame: io.BytesIO = field(init=False, default_factory=io.BytesIO)
    _styles: dict[str, Any] = field(init=False)
    _rows: dict[str, pa.Table] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        options = {"in_memory": True, "strings_to_formulas": False, "strings_to_urls": False}
        self.xlsx = xlsxwriter.Workbook(self._frame, options)
        self.xlsx.set_properties({"title": self.title, "created": _CREATED})
        heading = {"bold": True, "bg_color": "#1B3A57", "font_color": "#FFFFFF", "text_wrap": True, "valign": "top"}
        self._styles = {name: self.xlsx.add_format(dict(look)) for name, look in _NUMBER_FORMATS.items()}
        self._styles["heading"] = self.xlsx.add_format(heading)

    def add_table(self, name: str, columns: Sequence[SheetColumn], rows: pa.Table) -> None:
        """A sheet with a frozen heading, filters, and one line per row; a second one where they do not fit in one."""
        for number, start in enumerate(range(0, max(len(rows), 1), SHEET_ROWS), start=1):
            part = rows.slice(start, SHEET_ROWS)
            sheet = self.xlsx.add_worksheet(_sheet_name(name if number == 1 else f"{name} ({number})"))
            sheet.freeze_panes(1, 0)
            for rank, column in enumerate(columns):
                sheet.set_column(rank, rank, column.width)
                sheet.write_string(0, rank, column.heading, self._styles["heading"])
                sheet.write_blank(1, rank, None, self._styles[column.style])
            sheet.autofilter(0, 0, len(part), len(columns) - 1)
            self._rows[f"xl/worksheets/sheet{len(self.xlsx.worksheets())}.xml"] = part

    def close(self) -> None:
        """Write the file: the frame, with every table's rows in their place."""
        self.xlsx.close()
        with (
            zipfile.ZipFile(self._frame) as frame,
            zipfile.ZipFile(self.path, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            strings = _SharedStrings.of(frame.read(_STRINGS))
            for name in frame.namelist():
                if name == _STRINGS:
                    continue
                with archive.open(_entry(name), "w") as file:
                    content = frame.read(name)
                    if name in self._rows:
                        _write_sheet(file, content, self._rows[name], strings)
                    else:
                        file.write(content)
            with archive.open(_entry(_STRINGS), "w") as file:
                file.write(strings.xml())


@dataclass
class _SharedStrings:
    """The texts of a workbook, each once: cells hold their numbers."""

    entries: list[bytes]
    numbers: dict[str, int] = field(default_factory=dict)
    uses: int = 0

    @classmethod
    def of(cls, xml: bytes) -> _SharedStrings:
        entries = _SHARED.findall(xml)
        return cls(entries, uses=len(entries))

    def number_of(self, text: str) -> int:
        if (number := self.numbers.get(text)) is None:
            number = self.numbers[text] = len(self.entries)
            spoken = escape(_UNSPEAKABLE.sub("\ufffd", text))
            space = ' xml:space="preserve"' if spoken != spoken.strip() else ""
            self.entries.append(f"<si><t{space}>{spoken}</t></si>".encode())
        return number

    def numbers_of(self, texts: pa.Array) -> pa.Array:
        """The number of each text, as text; null for null."""
        encoded = texts.dictionary_encode()
        numbers = [str(self.number_of(text)) for text in encoded.dictionary.to_pylist()]
        self.uses += len(texts) - texts.null_count
        return pa.array(numbers, pa.string()).take(encoded.indices)

    def xml(self) -> bytes:
        head = (
            '<?xml version="1.0" encoding="UTF-8" standalone="yes"?>\n'
            '<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
            f' count="{self.uses}" uniqueCount="{len(self.entries)}">'
        )
        return head.encode() + b"".join(self.entries) + b"</sst>"


def _write_sheet(file: Any, frame: bytes, rows: pa.Table, strings: _SharedStrings) -> None:
    """The frame's heading, then the rows instead of the one that shows the styles."""
    styled = _STYLED_ROW.search(frame)
    assert styled is not None  # noqa: S101 (`add_table` wrote it)
    styles = {name.decode(): number.decode() for name, number in _STYLE.findall(styled[0])}
    file.write(frame[: styled.start()])
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        file.write(_rows_xml(rows.slice(start, _ROWS_AT_ONCE), start + 2, styles, strings))
    file.write(frame[styled.end() :])


def _rows_xml(rows: pa.Table, first: int, styles: Mapping[str, str], strings: _SharedStrings) -> memoryview:
    numbers = pc.cast(pa.array(range(first, first + len(rows)), pa.int64()), pa.string())
    cells: list[Any] = ['<row r="', numbers, '">']
    for rank, column in enumerate(rows.columns):
        letters = xl_col_to_name(rank)
        style = f' s="{styles[letters]}"' if styles.get(letters, "0") != "0" else ""
        cells.append(_cells_xml(column.combine_chunks(), f'<c r="{letters}', numbers, style, strings))
    cells.append("</row>")
    joined = pc.binary_join_element_wise(*cells, "")
    _, offsets, content = joined.buffers()
    ends = memoryview(offsets).cast("i")
    return memoryview(content)[ends[joined.offset] : ends[joined.offset + len(joined)]]


def _cells_xml(column: pa.Array, opening: str, numbers: pa.Array, style: str, strings: _SharedStrings) -> pa.Array:
    if pa.types.is_boolean(column.type):
        column = pc.if_else(column, "oui", "non")
    if pa.types.is_string(column.type):
        kind, content = ' t="s"', strings.numbers_of(column)
    else:
        kind, content = "", pc.cast(column, pa.string())
    written = pc.binary_join_element_wise(opening, numbers, f'"{style}{kind}><v>', content, "</v></c>", "")
    return pc.fill_null(written, "")


def _entry(name: str) -> zipfile.ZipInfo:
    """A member without a date of its own: the same bytes at each run."""
    entry = zipfile.ZipInfo(name, _MOMENT)
    entry.compress_type = zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry


def _sheet_name(title: str) -> str:
    """A title that a spreadsheet accepts: 31 characters, whole words, none of ``[]:*?/\\``."""
    name = "".join("-" if character in "[]:*?/\\" else character for character in title)
    return name if len(name) <= _NAME_LENGTH else name[: _NAME_LENGTH + 1].rpartition(" ")[0] or name[:_NAME_LENGTH]
