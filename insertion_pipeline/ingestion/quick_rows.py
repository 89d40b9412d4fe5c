"""A worksheet that takes a row at a time: text and numbers go into the file as they are, the rest through XlsxWriter.

Belongs here: the XML of a row of a sheet. Does not belong here: what the cells say, how they look (`report_workbook`).

XlsxWriter spends a dozen microseconds on each cell that it is handed: two seconds of processor for the ten thousand
rows of a report. A row with nothing delicate in it is one string here (measured: a quarter of that); a row with a day,
a line break or a control character is handed over cell by cell. The file is the same, byte for byte.
"""

from __future__ import annotations

import datetime as dt
import functools
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from xlsxwriter.utility import xl_col_to_name
from xlsxwriter.worksheet import Worksheet

from insertion_pipeline.contracts.templates import workbook_text

if TYPE_CHECKING:
    from xlsxwriter.format import Format

Value = str | float | bool | dt.date | None

#: What XlsxWriter writes in a way of its own: controls, what looks like its markup or escapes, space at an end, a line
#: break (which the count of line breaks tells, since texts are joined by one).
_DELICATE = re.compile(r"[\x00-\x09\x0b-\x1f\ufffe\uffff]|_x[0-9a-fA-F]{4}_|^<r>|^[^\S\n]|[^\S\n]$", re.MULTILINE)
_MARKUP = re.compile("[&<>]")
#: Half of what a cell can hold: shorter texts need no counting of surrogates.
_SURELY_FITS = 16_000


class QuickSheet(Worksheet):  # type: ignore[misc]
    """A worksheet of a workbook with `constant_memory`, to be given to `add_worksheet`. Rows come in their order."""

    #: The last row that was written in one piece: XlsxWriter has nothing left to do about it.
    _done = -1
    #: XlsxWriter's own: the row that it has not written yet.
    previous_row: int

    def write_cells(self, row: int, cells: Sequence[Value], looks: Sequence[Format | None]) -> None:
        """Write the cells of a row, each with its look. An empty cell without a look is no cell."""
        if row > self.previous_row:
            self._write_single_row(row)
        if (parts := _parts(str(row + 1), cells, looks)) is None:
            self._write_one_by_one(row, cells, looks)
        elif parts:
            self._check_dimensions(row, min(parts))
            self._check_dimensions(row, max(parts))
            self._write_row(row, None, self.row_info.get(row))
            self.fh.write(f"{''.join(parts.values())}</row>")
            self._done = row

    def link(self, row: int, column: int, target: str, text: str) -> None:
        """Make a link of a cell that is written, and says `text`."""
        self.ignore_write_string = True  # of `write_url`, which would write the cell again
        self.write_url(row, column, target, string=text)

    def _write_single_row(self, current_row_num: int = 0) -> None:
        if self.previous_row == self._done:
            self.previous_row = current_row_num
        else:
            super()._write_single_row(current_row_num)

    def _write_one_by_one(self, row: int, cells: Sequence[Value], looks: Sequence[Format | None]) -> None:
        for column, (cell, look) in enumerate(zip(cells, looks, strict=True)):
            if isinstance(cell, bool):
                self.write_boolean(row, column, cell, look)
            elif isinstance(cell, int | float):
                self.write_number(row, column, cell, look)
            elif isinstance(cell, dt.date):
                self.write_datetime(row, column, cell, look)
            elif cell:
                self.write_string(row, column, workbook_text(cell), look)
            elif look is not None:
                self.write_blank(row, column, None, look)


def _parts(number: str, cells: Sequence[Value], looks: Sequence[Format | None]) -> dict[int, str] | None:
    """Column → what it says in XML; null for a row that holds something delicate."""
    texts = [cell for cell in cells if isinstance(cell, str)]
    joined = "\n".join(texts)
    if len(joined) > _SURELY_FITS or joined.count("\n") >= max(len(texts), 1) or _DELICATE.search(joined):
        return None
    has_markup = _MARKUP.search(joined) is not None
    parts = {}
    for column, (cell, look) in enumerate(zip(cells, looks, strict=True)):
        if cell == "" or cell is None:
            if look is not None:
                parts[column] = f'<c r="{_letters(column)}{number}" s="{look._get_xf_index()}"/>'
            continue
        style = "" if look is None else f' s="{look._get_xf_index()}"'
        if isinstance(cell, str):
            said = escape(cell) if has_markup else cell
            parts[column] = f'<c r="{_letters(column)}{number}"{style} t="inlineStr"><is><t>{said}</t></is></c>'
        elif type(cell) is float or type(cell) is int:
            parts[column] = f'<c r="{_letters(column)}{number}"{style}><v>{cell:.16G}</v></c>'
        else:
            return None
    return parts


_letters = functools.cache(xl_col_to_name)
