"""The report as a workbook: the verdict, every finding, and the partner's own file with its cells marked.

Belongs here: sheets, colours, comments, links. Does not belong here: the sentences (`reporting`), the partner's rows
(`replaying`). No cell is ever a formula: text is written as text, and a number as a number.
"""

from __future__ import annotations

import datetime as dt
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import xlsxwriter
from xlsxwriter.utility import xl_rowcol_to_cell

from insertion_pipeline.contracts.templates import FINDINGS_TITLE, VERDICT_TITLE, sheet_name, workbook_text
from insertion_pipeline.ingestion.quick_rows import QuickSheet, Value
from insertion_pipeline.ingestion.replaying import Page
from insertion_pipeline.ingestion.reporting import (
    COLUMNS,
    SEVERITIES,
    VERDICTS,
    About,
    Answer,
    Row,
    account_of,
    grouped,
    outcome,
    own_titles_of,
    several,
    spelled,
    told,
)
from insertion_pipeline.ingestion.spreadsheet import Cell

#: Longer pages come back without the lines that nothing is said of: a spreadsheet would not open them with pleasure.
_WHOLE_PAGE_LINES = 20_000
#: What a worksheet can hold.
_SHEET_ROWS, _SHEET_COLUMNS = 1_048_576, 16_384
#: Beyond these a workbook opens slowly, or not at all (65 530 links): cells keep their colour, findings their line.
_MOST_COMMENTS, _MOST_LINKS = 5_000, 50_000


def write_workbook(target: Path, answer: Answer, about: About, pages: Iterable[Page], spill: Path) -> None:
    """Write the report as a workbook: « Verdict », « Constats », then the partner's own file, coloured and commented.

    The same answer and pages give the same cells. `spill` takes the sheets while they are written.
    """
    options = {
        "constant_memory": True,
        "strings_to_formulas": False,
        "strings_to_urls": False,
        "tmpdir": str(spill),
    }
    with xlsxwriter.Workbook(target, options) as book:
        epoch = dt.datetime(2000, 1, 1, tzinfo=dt.UTC).replace(tzinfo=None)
        book.set_properties({"title": VERDICT_TITLE, "created": epoch})
        styles = _Styles(book)
        first, listed = _landscape(book.add_worksheet("Verdict")), _Listed(book)
        copies = [_copied(book, styles, page, answer["findings"]) for page in pages]
        listed.write(styles, answer["findings"], about, copies)
        _verdict_sheet(first, styles, answer, about, copies)


_LOOKS: Mapping[str, Mapping[str, object]] = {
    "blocking": {"bg_color": "#F4B6B6", "font_color": "#7F0000", "bold": True, "border": 1},
    "warning": {"bg_color": "#FFE599", "font_color": "#5F4B00", "border": 1},
    "blocking-line": {"bg_color": "#FBE3E3"},
    "warning-line": {"bg_color": "#FFF8E1"},
    "header": {"bold": True, "bg_color": "#E8EDF3", "border": 1, "text_wrap": True, "valign": "top"},
}


class _Styles:
    """Every look of a cell. A colour never speaks alone: cells have a comment, findings their line."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self.title = book.add_format({"bold": True, "font_size": 16})
        self.label = book.add_format({"bold": True, "valign": "top", "text_wrap": True})
        self.section = book.add_format({"bold": True, "font_size": 12})
        self.text = book.add_format({"text_wrap": True, "valign": "top"})
        self.head = book.add_format({"bold": True, "bg_color": "#1B3A57", "font_color": "#FFFFFF", "text_wrap": True})
        self.link = book.add_format({"font_color": "#0B5394", "underline": 1, "valign": "top"})
        self.verdicts = [
            book.add_format({"bold": True, "font_size": 14, "bg_color": colour})
            for colour in ("#D9EAD3", "#D9EAD3", "#FFE599", "#F4B6B6")
        ]
        self._cells: dict[tuple[str, bool], Any] = {}

    def cell(self, mark: str, *, is_date: bool = False) -> Any:
        """`mark`: blocking, warning, blocking-line, warning-line, header, or nothing."""
        if (mark, is_date) not in self._cells:
            form = {"num_format": "dd/mm/yyyy"} if is_date else {}
            self._cells[mark, is_date] = self._book.add_format({**_LOOKS.get(mark, {}), **form})
        return self._cells[mark, is_date]

    def plain(self, value: Value) -> Any:
        """How a cell looks of which nothing is said: null, unless it is a day."""
        return self.cell("", is_date=True) if isinstance(value, dt.date) else None


@dataclass
class _Marks:
    """What is said of one line: of its cells, and of the line itself."""

    cells: dict[int, list[Row]] = field(default_factory=dict)
    line: list[Row] = field(default_factory=list)


@dataclass
class _Copy:
    """A page written into the workbook. `rows`: line of the file → row of the sheet, where they differ."""

    file: str
    sheet: str
    columns: Mapping[str, int]
    is_whole: bool
    rows: dict[int, int]
    comments_left: int

    @property
    def margin(self) -> int:
        """How many columns stand before those of the file: one that numbers lines, where lines are left out."""
        return 0 if self.is_whole else 1

    def place(self, finding: Row) -> tuple[int, int] | None:
        """Where in the sheet the finding stands, 0-based."""
        if finding["line"] is None or finding["file"] != self.file:
            return None
        row = finding["line"] - 1 if self.is_whole else self.rows.get(finding["line"])
        if row is None or row >= _SHEET_ROWS:
            return None
        name = finding["field"].split(", ")[0]
        return row, self.columns.get(name, 0) + self.margin


def _copied(book: Any, styles: _Styles, page: Page, findings: Sequence[Row]) -> _Copy:
    """Write one page: line n of the file in row n, or, of a long file, the lines that something is said of."""
    marks = _marks(page, findings)
    rows = iter(page.rows)
    beginning = list(itertools.islice(rows, _WHOLE_PAGE_LINES + 1))
    is_whole = len(beginning) <= _WHOLE_PAGE_LINES and page.header > 0
    is_long = len(beginning) > _WHOLE_PAGE_LINES
    name = _free_name(sheet_name(page.table), book)
    copy = _Copy(page.file, name, page.columns, is_whole, {}, _MOST_COMMENTS)
    sheet = _landscape(book.add_worksheet(copy.sheet, worksheet_class=QuickSheet))
    sheet.ignore_errors({"number_stored_as_text": f"A1:XFD{_SHEET_ROWS}"})
    numbers = {page.columns[one.name] for one in page.table.fields if one.type in ("integer", "number")
               and one.name in page.columns}  # fmt: skip
    next_row, width = 0, 0
    sheet.set_column(0, 60, 18)
    for line, cells in itertools.chain(beginning, rows):
        if is_long and line != page.header and line not in marks:
            continue
        row = line - 1 if is_whole else next_row
        if row >= _SHEET_ROWS:
            break
        if not is_whole:
            copy.rows[line], next_row = row, next_row + 1
        shown = cells[: _SHEET_COLUMNS - 1]
        if is_whole and line != page.header and line not in marks:
            values = _values(shown, numbers)
            sheet.write_cells(row, values, [styles.plain(value) for value in values])
        else:
            label = "Ligne" if line == page.header else line
            _write_line(sheet, styles, copy, _Line(row, shown, marks.get(line, _Marks()), label), numbers)
        width = max(width, len(cells) + copy.margin)
        if line == page.header:
            sheet.freeze_panes(row + 1, copy.margin)
    last = max(copy.rows.values(), default=0) if not is_whole else (beginning[-1][0] - 1 if beginning else 0)
    top = 0 if not is_whole else page.header - 1
    if width and last > top:
        sheet.autofilter(top, 0, min(last, _SHEET_ROWS - 1), width - 1)
    return copy


def _free_name(name: str, book: Any) -> str:
    """The name, with a number when another sheet has it: spreadsheets tell names apart without regard to case."""
    taken = {sheet.get_name().lower() for sheet in book.worksheets()}
    names = (name if number == 1 else f"{name[:26]} ({number})" for number in itertools.count(1))
    return next(one for one in names if one.lower() not in taken)


def _marks(page: Page, findings: Sequence[Row]) -> dict[int, _Marks]:
    """What is said of each line of the page. A finding about at most three columns marks them, others the line."""
    found: dict[int, _Marks] = {}
    for finding in findings:
        if finding["line"] is None or finding["file"] != page.file:
            continue
        marks = found.setdefault(finding["line"], _Marks())
        names = finding["field"].split(", ") if finding["field"] else []
        positions = [page.columns[name] for name in names if name in page.columns]
        if positions and len(names) <= _MOST_MARKED_CELLS:
            for position in positions:
                marks.cells.setdefault(position, []).append(finding)
        else:
            marks.line.append(finding)
    return found


#: A rule about more columns than that is about the line (a key of eight columns, a person whom nothing identifies).
_MOST_MARKED_CELLS = 3


@dataclass(frozen=True)
class _Line:
    """A line of a page on its way into the sheet, at `row`. `label`: what a margin calls it."""

    row: int
    cells: Sequence[Cell]
    said: _Marks
    label: str | int

    @property
    def is_header(self) -> bool:
        return isinstance(self.label, str)


def _write_line(sheet: Any, styles: _Styles, copy: _Copy, line: _Line, numbers: set[int]) -> None:
    """Write a line: cells as their partner has them, coloured where something is said of them, and commented."""
    cells, said = line.cells, line.said
    if line.is_header:  # findings about a column title give it as their value
        titled = {finding["value"]: finding for finding in said.line}
        marked = {place: [titled[cell]] for place, cell in enumerate(cells) if cell and cell in titled}
        said = _Marks(marked, [one for one in said.line if one["value"] not in cells])
    of_line = f"{_gravest(said.line)}-line" if said.line else ("header" if line.is_header else "")
    width = max([len(cells) - 1, *said.cells, 0 if said.line else -1]) + 1
    padded = [*cells, *[""] * (width - len(cells))]
    values = _values(padded, numbers)
    marks = [of_line] * width
    for position, about in said.cells.items():
        marks[position] = _gravest(about)
    looks = [
        styles.cell(mark, is_date=isinstance(value, dt.date)) if mark else styles.plain(value)
        for mark, value in zip(marks, values, strict=True)
    ]
    if copy.margin:
        values, looks = [line.label, *values], [styles.cell("header"), *looks]
    sheet.write_cells(line.row, values, looks)
    for position in sorted({*said.cells, 0} if said.line else said.cells):
        if not copy.comments_left:
            return
        copy.comments_left -= 1
        comment = [*said.cells.get(position, ()), *(said.line if position == 0 else ())]
        text = "\n\n".join(dict.fromkeys(f"{one['message']}\n→ {one['remedy']}".rstrip("\n→ ") for one in comment))
        height = min(12, 2 + len(text) // 38 + text.count("\n")) * 18
        box = {"author": "", "width": 300, "height": height}
        sheet.write_comment(line.row, position + copy.margin, _comment(text), box)


def _gravest(findings: Sequence[Row]) -> str:
    return max((one["severity"] for one in findings), key=lambda one: one == "blocking", default="")


def _comment(text: str) -> str:
    return text if len(text) <= 2_000 else text[:1_999] + "…"


def _values(cells: Sequence[Cell], numbers: set[int]) -> list[Value]:
    """The cells as their partner has them: text as text, a number as a number, a day as a day."""
    values: list[Value] = [cell if type(cell) is str else _value(cell) for cell in cells]
    for position in numbers:
        if position < len(values) and isinstance(text := values[position], str):
            number = _as_number(text)
            values[position] = text if number is None else number
    return values


def _value(cell: Cell | None) -> Value:
    if isinstance(cell, float) and not math.isfinite(cell):
        return str(cell)
    return cell if isinstance(cell, str | bool | int | float | dt.date | None) else str(cell)


def _as_number(text: str) -> float | None:
    """The number that a text of a number column is, when a spreadsheet holds all of it."""
    return float(text.replace(",", ".")) if _NUMBER.fullmatch(text) else None


_NUMBER = re.compile(r"-?(0|[1-9][0-9]{0,9})([.,][0-9]{1,4})?")


def _landscape(sheet: Any) -> Any:
    """The sheet, to be printed on the width of one page."""
    sheet.set_landscape()
    sheet.set_paper(9)  # A4
    sheet.fit_to_pages(1, 0)
    return sheet


def _fit(sheet: Any, row: int, cells: Iterable[tuple[object, int]]) -> None:
    """Make the row as high as its longest cell needs: (what the cell holds, how wide its column is)."""
    lines = max(-(-len(cell) // width) if isinstance(cell, str) else 1 for cell, width in cells)
    sheet.set_row(row, 15 * max(1, min(lines, 12)))


class _Listed:
    """The sheets of findings: as many as they need, none is cut."""

    def __init__(self, book: Any) -> None:
        self._book = book
        self._first = _landscape(book.add_worksheet("Constats", worksheet_class=QuickSheet))

    def write(self, styles: _Styles, findings: Sequence[Row], about: About, copies: Sequence[_Copy]) -> None:
        """Write every finding, each with a link to its cell."""
        by_file = {copy.file: copy for copy in copies}
        room, links = _SHEET_ROWS - _HEAD_ROWS, _MOST_LINKS
        for part, begin in enumerate(range(0, max(len(findings), 1), room), start=1):
            sheet = self._first if part == 1 else self._further(part)
            sheet.write_string(0, 0, FINDINGS_TITLE, styles.title)
            for column, (name, width) in enumerate((*COLUMNS, ("Voir", 8))):
                sheet.set_column(column, column, width)
                sheet.write_string(_HEAD_ROWS - 1, column, name, styles.head)
            shown = findings[begin : begin + room]
            for row, finding in enumerate(shown, start=_HEAD_ROWS):
                cells = told(finding, about)
                _fit(sheet, row, zip(cells, (width for _, width in COLUMNS), strict=True))
                looks = [styles.text if cell or isinstance(cell, int) else None for cell in cells]
                copy = by_file.get(finding["file"])
                place = copy.place(finding) if copy is not None and links else None
                if copy is None or place is None:
                    sheet.write_cells(row, cells, looks)
                else:
                    links -= 1
                    name = _cell_name(*place)
                    sheet.write_cells(row, [*cells, name], [*looks, styles.link])
                    sheet.link(row, len(COLUMNS), f"internal:'{copy.sheet}'!{name}", name)
            sheet.freeze_panes(_HEAD_ROWS, 0)
            if shown:
                sheet.autofilter(_HEAD_ROWS - 1, 0, _HEAD_ROWS - 1 + len(shown), len(COLUMNS) - 1)

    def _further(self, part: int) -> Any:
        return _landscape(self._book.add_worksheet(f"Constats ({part})", worksheet_class=QuickSheet))


#: The title, a blank row, the column titles.
_HEAD_ROWS = 3


def _cell_name(row: int, column: int) -> str:
    name: str = xl_rowcol_to_cell(row, column)
    return name


def _verdict_sheet(sheet: Any, styles: _Styles, answer: Answer, about: About, copies: Sequence[_Copy]) -> None:
    said, groups = outcome(answer), grouped(answer["findings"])
    sheet.hide_gridlines(2)
    widths = (20, 70, 24, 9, 26, 30, 30, 50)
    for column, width in enumerate(widths):
        sheet.set_column(column, column, width)
    sheet.write_string(0, 0, VERDICT_TITLE, styles.title)
    sheet.write_string(2, 0, VERDICTS[answer["verdict"]], styles.verdicts[answer["verdict"]])
    sheet.write_blank(2, 1, None, styles.verdicts[answer["verdict"]])
    lines = [
        ("Fichier", ", ".join(about.files)),
        ("Partenaire", about.partner),
        ("Type de fichier", about.source),
        ("Mois", answer["period"] or "non précisé"),
        ("Ce qui est pris", said.taken),
        ("Ce qui ne l'est pas", said.left),
        ("Pourquoi", said.why),
        ("Que faire", said.to_do),
        ("Compte des lignes", account_of(answer)),
        *((f"  dont {one['file']}", account_of(one)) for one in _members(answer)),
        *([("Vos titres", own_titles_of(answer))] if answer.get("own_titles") else []),
        *_legend(answer, copies),
    ]
    row = 4
    for name, text in lines:
        _fit(sheet, row, [(text, widths[1])])
        sheet.write_string(row, 0, workbook_text(name), styles.label)
        sheet.write_string(row, 1, workbook_text(text), styles.text)
        row += 1
    if not groups:
        return
    row += 1
    total = sum(group.count for group in groups)
    sheet.write_string(row, 0, f"{several(total, 'constat')}, ceux qui disent la même chose réunis", styles.section)
    row += 1
    heads = ("Gravité", "Ce qui ne va pas", "Colonne", "Nombre", "Lignes", "Valeurs", "Attendu", "Que faire")
    for column, name in enumerate(heads):
        sheet.write_string(row, column, name, styles.head)
    for rank, group in enumerate(groups, start=1):
        first = group.first
        texts = (
            SEVERITIES[first["severity"]], first["message"], about.column(first), group.count, group.where(),
            group.examples(), group.expected, first["remedy"],
        )  # fmt: skip
        _fit(sheet, row + rank, zip(texts, widths, strict=True))
        for column, cell in enumerate(texts):
            if isinstance(cell, int):
                sheet.write_number(row + rank, column, cell, styles.text)
            else:
                sheet.write_string(row + rank, column, workbook_text(cell), styles.text)


def _members(answer: Answer) -> Iterator[Row]:
    """The members of a delivery of several."""
    members = answer.get("members", ())
    return iter(members if len(members) > 1 else ())


def _legend(answer: Answer, copies: Sequence[_Copy]) -> Iterator[tuple[str, str]]:
    if copies:
        sheets = ", ".join(f"« {copy.sheet} »" for copy in copies)
        yield "Votre fichier", f"Feuille {sheets}. {_COLOURS}"
    for copy in copies:
        if not copy.is_whole and len(copy.rows) and max(copy.rows) > len(copy.rows) + 1:
            yield "Attention", f"Feuille « {copy.sheet} » : seules les lignes signalées de ce long fichier y sont."
        if not copy.comments_left:
            yield "Attention", f"Feuille « {copy.sheet} » : {_FEW_COMMENTS}"


_COLOURS = (
    "En rouge, ce qui fait rejeter une ligne ; en jaune, ce qui est à vérifier. Passez la souris sur la cellule pour"
    " lire pourquoi. La feuille « Constats » donne tout, ligne par ligne."
)
_FEW_COMMENTS = (
    f"seules les {spelled(_MOST_COMMENTS)} premières cellules signalées portent un commentaire ; toutes sont colorées."
)
