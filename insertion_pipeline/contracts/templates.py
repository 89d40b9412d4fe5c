"""The empty file that a partner fills in: a workbook with its lists, or a CSV header, made from the contract.

Belongs here: what the template shows and allows. Does not belong here: reading it back (any file of the format is read
alike), the page that explains the format (`pages`).

The same contract gives the same bytes: nothing of the day or the machine goes in.
"""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from insertion_pipeline.contracts.cells import Cell
from insertion_pipeline.contracts.messages import expected_form, written_date_form
from insertion_pipeline.contracts.rules import TableRules, table_rules
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, ContractTable, Registry, Source

#: The format of a cell that must stay as it is typed: no lost zero, no scientific notation.
_TEXT = "@"
#: Rows that carry formats and lists: a monthly file of a small partner, and to spare.
_PREPARED_ROWS = 5_000
_LISTS, _NOTICE = "Listes du modèle", "Notice du modèle"
#: The sheets that are ours: whoever reads a filled template, or a corrected report, passes over them. A report's sheets
#: have names that a partner may use too: they are known by the title in their first cell.
OWN_SHEETS = frozenset({_LISTS, _NOTICE})
VERDICT_TITLE, FINDINGS_TITLE = "Verdict du contrôle", "Constats du contrôle"
OWN_TITLES = frozenset({VERDICT_TITLE, FINDINGS_TITLE})
#: What one cell of a workbook can hold.
_LONGEST_TEXT = 32_767


def csv_template(table: ContractTable) -> bytes:
    """The header line of one table: UTF-8 with BOM, `;`, CRLF, as spreadsheets open it without asking."""
    return ("\ufeff" + ";".join(_csv_cell(field.label) for field in table.stored_fields) + "\r\n").encode()


def workbook_template(
    source: Source, registry: Registry, month: Month, rows: Mapping[str, Sequence[Mapping[str, str]]] | None = None
) -> bytes:
    """An XLSX with one sheet per table of the source, the code lists as drop-down lists, and a notice.

    `rows`: text to fill in beforehand, by table and field; written as text, never as a formula.
    """
    import xlsxwriter

    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True, "strings_to_formulas": False}) as book:
        version = source.version_for(month)
        epoch = datetime(version.valid_from.year, version.valid_from.month, 1, tzinfo=UTC).replace(tzinfo=None)
        book.set_properties({"title": source.title, "comments": _stamp(source, month), "created": epoch})
        tables = [table_rules(table, registry, month) for table in version.resources]
        sheets = [book.add_worksheet(sheet_name(rules.table)) for rules in tables]
        lists = _write_lists(book, tables)
        for rules, sheet in zip(tables, sheets, strict=True):
            _write_table(book, sheet, rules, lists)
            for row, texts in enumerate((rows or {}).get(rules.table.name, ()), start=1):
                for column, cell in enumerate(rules.cells):
                    sheet.write_string(row, column, workbook_text(texts.get(cell.field.name, "")))
        _write_notice(book, source, month, tables)
    return content.getvalue()


def workbook_text(text: str) -> str:
    """The text as `write_string` may be given it: cut where a cell ends, and never taken for markup.

    xlsxwriter writes a string between `<r>` and `</r>` into the sheet unescaped, a formula with it.
    """
    cut = text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"
    return f"{cut} " if cut.startswith("<r>") else cut


def sheet_name(table: ContractTable) -> str:
    """The name of a table's sheet: 31 characters at most, none that spreadsheets refuse."""
    name = table.insertion.sheet or table.title or table.name
    return "".join(mark for mark in name if mark not in "[]:*?/\\'")[:31]


def choices(cell: Cell) -> tuple[str, ...]:
    """What a drop-down list offers: « Professionnelle » rather than `pro`, « HOMME » rather than `1`, oui or non.

    For each code, the first spelling of the contract that is a word; the code itself where it has none.
    """
    field = cell.field
    if field.type == "boolean":
        return (field.trueValues[0], field.falseValues[0])
    words: dict[str, str] = {}
    for is_long in (True, False):
        for spelling, code in field.insertion.values.items():
            if len(spelling) > (max(2, len(code)) if is_long else 2):
                words.setdefault(code, spelling)
    return tuple(words.get(code, code) for code in cell.codes or ())


def _write_lists(book: Any, tables: list[TableRules]) -> Mapping[tuple[str, str], str]:
    """Write each field's choices in one hidden column; the ranges that hold them, by (table, field)."""
    sheet, ranges, column = book.add_worksheet(_LISTS), {}, 0
    for rules in tables:
        for cell in rules.cells:
            offered = choices(cell)
            if not offered:
                continue
            sheet.write_string(0, column, cell.field.name)
            for row, choice in enumerate(offered, start=1):
                sheet.write_string(row, column, choice)
            letters = _column_letters(column)
            ranges[rules.table.name, cell.field.name] = f"='{_LISTS}'!${letters}$2:${letters}${len(offered) + 1}"
            column += 1
    sheet.hide()
    return ranges


def _write_table(book: Any, sheet: Any, rules: TableRules, lists: Mapping[tuple[str, str], str]) -> None:
    needed = book.add_format({"bold": True, "bg_color": "#DDE5F3", "border": 1, "text_wrap": True})
    optional = book.add_format({"italic": True, "bg_color": "#F2F2F2", "border": 1, "text_wrap": True})
    formats = {form: book.add_format({"num_format": form}) for form in (_TEXT, "dd/mm/yyyy", "0.00", "0")}
    sheet.freeze_panes(1, 0)
    for column, cell in enumerate(rules.cells):
        field = cell.field
        sheet.write_string(0, column, field.label, needed if not field.insertion.header_optional else optional)
        sheet.write_comment(0, column, f"{field.description}\nAttendu : {expected_form(cell)}", {"author": ""})
        sheet.set_column(column, column, max(12, min(40, len(field.label) + 2)), formats[_cell_format(field)])
        if (where := lists.get((rules.table.name, field.name))) is not None:
            told = {
                "error_type": "warning",
                "error_title": "Valeur inconnue",
                "error_message": "Choisissez dans la liste.",
            }
            sheet.data_validation(1, column, _PREPARED_ROWS, column, {"validate": "list", "source": where, **told})


def _write_notice(book: Any, source: Source, month: Month, tables: list[TableRules]) -> None:
    sheet = book.add_worksheet(_NOTICE)
    bold = book.add_format({"bold": True})
    sheet.write_string(0, 0, source.title, bold)
    sheet.write_string(1, 0, source.description)
    sheet.write_string(2, 0, _stamp(source, month))
    for column, title in enumerate(("Feuille", "Colonne", "Obligatoire", "Description", "Attendu", "Exemple")):
        sheet.write_string(4, column, title, bold)
    row = 5
    for rules in tables:
        for cell in rules.cells:
            field = cell.field
            told = (
                sheet_name(rules.table), field.label, "oui" if field.constraints.required else "non",
                field.description, expected_form(cell), field.example or "",
            )  # fmt: skip
            for column, text in enumerate(told):
                sheet.write_string(row, column, text)
            row += 1
    sheet.set_column(0, 5, 28)


def _cell_format(field: ContractField) -> str:
    if field.type == "date":
        return "dd/mm/yyyy" if written_date_form(field.format).startswith("jj") else _TEXT
    return {"number": "0.00", "integer": "0"}.get(field.type, _TEXT)


def _stamp(source: Source, month: Month) -> str:
    """What makes a template recognisable: the source and the month from which its version holds."""
    return f"{source.name}, modèle valable depuis {source.version_for(month).valid_from}"


def _column_letters(column: int) -> str:
    letters = ""
    while column >= 0:
        column, rest = divmod(column, 26)
        letters, column = chr(ord("A") + rest) + letters, column - 1
    return letters


def _csv_cell(text: str) -> str:
    return '"' + text.replace('"', '""') + '"' if set(text) & set(';"\n') else text
