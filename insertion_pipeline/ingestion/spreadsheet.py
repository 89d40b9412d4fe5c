"""Workbooks (XLSX, XLS, ODS) to tables of text.

Belongs here: choosing the sheets, writing a typed cell as the text that the contract expects. Does not belong here:
repairing what Excel did to a value (`conforming`), opening archives (`envelopes` has measured the workbook's parts).

A number that is whole is written without decimals (a SIRET is not `12345.0`), others with the 15 digits that
spreadsheets hold and the decimal mark of their field; a date is written as ISO text, or in the first format of a field
that does not take ISO. The unit of account is the row of the sheet.
"""

from __future__ import annotations

import datetime as dt
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.contracts.templates import OWN_SHEETS, OWN_TITLES
from insertion_pipeline.ingestion import headers
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import (
    ORIGIN_FIELDS,
    Batch,
    Extract,
    Opening,
    Piece,
    UnreadableDelivery,
    encoded,
    label,
    oddities_of,
    refusal,
)
from insertion_pipeline.registry import ContractField, ContractTable

Cell = str | float | int | bool | dt.date | dt.datetime | dt.time | dt.timedelta

_HEADER_SEARCH_ROWS = 15
_BATCH_ROWS = 50_000
_EXACT_WHOLE_NUMBERS = 10**15
#: Cells that one sheet may span, counted as the rectangle that holds them (the library lays the whole of it out).
_MOST_CELLS = 30_000_000
#: Beginnings and ends in the list of texts that cells share, four for each text: three million texts.
_MOST_SHARED_TAGS = 12_000_000
#: What of an XLSX or an ODS holds cells.
_PARTS = re.compile(r"(xl/worksheets/[^/]+\.xml)|xl/sharedStrings\.xml|content\.xml")
#: How a cell that holds an error is marked.
_ERROR = b' t="e"'
_CHUNK = 1 << 20
_REFERENCE = re.compile(rb"""\sr=["']([A-Z]{0,3})([0-9]{1,7})["']""")


@dataclass(frozen=True)
class Sheet:
    """A sheet with its header found: `header` is its index in `rows`, `cells` its text without what trails empty."""

    rows: Sequence[Sequence[Cell]]
    header: int
    cells: tuple[str, ...]
    table: ContractTable | None
    fit: int
    candidates: Sequence[ContractTable] = ()


def read_workbook(path: Path, tables: Sequence[ContractTable], rank: int, limits: Limits) -> Iterator[Piece]:
    """One member per contract table found, and one for each other sheet that holds anything."""
    found = False
    told = _errors_told(path)
    for number, (sheet, table) in enumerate(sheets_of(path, tables, limits), start=rank):
        found = True
        if table is not None:
            for piece in _read_sheet(sheet, table, number, limits):
                if isinstance(piece, Extract):
                    piece, told = replace(piece, findings=(*piece.findings, *told)), ()
                yield piece
        else:
            yield Extract(number, None, Account(lines=len(sheet.rows), header_footer=len(sheet.rows)))
    if not found:
        yield Extract(rank, None, Account())


def sheets_of(
    path: Path, tables: Sequence[ContractTable], limits: Limits
) -> Iterator[tuple[Sheet, ContractTable | None]]:
    """The sheets that hold anything, in order, each with the table that it is read as: the best fit of several."""
    sheets = [_looked_at(rows, headers.told_apart(tables, name)) for name, rows in _sheets(path, limits)]
    filled = [sheet for sheet in sheets if sheet is not None]
    best = {
        table.name: max((sheet for sheet in filled if sheet.table is table), key=lambda sheet: sheet.fit)
        for table in tables
        if any(sheet.table is table for sheet in filled)
    }
    for sheet in filled:
        is_read = sheet.table is not None and best[sheet.table.name] is sheet
        yield sheet, sheet.table if is_read else None


def header_of(path: Path, tables: Sequence[ContractTable], limits: Limits) -> tuple[str, ...]:
    """The header of the sheet that fits the tables best; empty when every sheet is."""
    sheets = (_looked_at(rows, tables) for _, rows in _sheets(path, limits))
    best = max((sheet for sheet in sheets if sheet is not None), key=lambda sheet: sheet.fit, default=None)
    return best.cells if best is not None else ()


def _sheets(path: Path, limits: Limits) -> Iterator[tuple[str, Sequence[Sequence[Cell]]]]:
    from python_calamine import CalamineError, CalamineWorkbook, PasswordError

    _refuse_vast_parts(path, limits)
    try:
        workbook = CalamineWorkbook.from_path(path)
        for name in (name for name in workbook.sheet_names if name not in OWN_SHEETS):
            sheet = workbook.get_sheet_by_name(name)
            if sheet.total_height * sheet.total_width > _MOST_CELLS:
                raise _too_wide(limits)
            rows = sheet.to_python(skip_empty_area=False)
            if not (rows and rows[0] and rows[0][0] in OWN_TITLES):
                yield name, rows
    except PasswordError:
        raise refusal(
            "archive-password",
            "Le classeur est protégé par un mot de passe.",
            remedy="Retirez le mot de passe dans le tableur, enregistrez, puis déposez de nouveau.",
        ) from None
    except (CalamineError, zipfile.BadZipFile) as error:
        raise _damaged() from error
    except UnreadableDelivery:
        raise
    except BaseException as error:
        if type(error).__name__ != "PanicException":  # what the library raises where its own assumptions fail
            raise
        raise _damaged() from None


def _refuse_vast_parts(path: Path, limits: Limits) -> None:
    """Refuse before the library lays it out: a cell at the end of the last row costs gigabytes, a huge one seconds."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            part = _PARTS.fullmatch(entry.filename)
            if part is None:
                continue
            highest = tags = 0
            letters: set[bytes] = set()
            with archive.open(entry) as stream:
                rest = b""
                while chunk := stream.read(limits.line_bytes):
                    if len(chunk) == limits.line_bytes and b"<" not in chunk:
                        raise _too_long_a_cell(limits)
                    if part[1] is None:
                        tags += chunk.count(b"<")
                        if tags > _MOST_SHARED_TAGS:
                            raise _too_many_texts()
                        continue
                    found = _REFERENCE.findall(rest + chunk)
                    letters.update(column for column, _ in found)
                    highest = max(highest, max((int(row) for _, row in found), default=0))
                    rest = chunk[-32:]
            widest = max((_column_number(column) for column in letters), default=0)
            if widest * highest > _MOST_CELLS:
                raise _too_wide(limits)


def _errors_told(path: Path) -> tuple[Finding, ...]:
    """A warning when cells of an XLSX hold an error (`#N/A`, `#REF!`): the library gives them as empty ones."""
    if not zipfile.is_zipfile(path):
        return ()
    count = 0
    with zipfile.ZipFile(path) as archive:
        for entry in archive.infolist():
            part = _PARTS.fullmatch(entry.filename)
            if part is None or part[1] is None:
                continue
            with archive.open(entry) as stream:
                rest = b""
                while chunk := stream.read(_CHUNK):
                    count += (rest + chunk).count(_ERROR)
                    rest = chunk[1 - len(_ERROR) :]
    if not count:
        return ()
    return (
        Finding(
            "error-cell",
            "warning",
            "Des cellules du classeur affichent une erreur (#N/A, #REF!, #VALEUR!…) ; elles sont lues comme vides.",
            expected="une valeur, ou une cellule vide",
            remedy="Corrigez les formules, ou collez leurs valeurs, puis déposez de nouveau.",
            count=count,
        ),
    )


def _too_many_texts() -> UnreadableDelivery:
    return refusal(
        "limit-exceeded",
        "Le classeur contient trop de textes pour être lu.",
        expected="un classeur de moins de 300 000 lignes, ou un fichier CSV de n'importe quelle longueur",
        remedy="Enregistrez le contenu en CSV, puis déposez-le de nouveau.",
    )


def _too_long_a_cell(limits: Limits) -> UnreadableDelivery:
    return refusal(
        "limit-exceeded",
        "Une cellule du classeur contient un texte démesuré.",
        expected=f"moins de {limits.line_bytes >> 20} Mo par cellule",
        remedy="Retrouvez cette cellule, raccourcissez-la ou videz-la, puis déposez de nouveau.",
    )


def _too_wide(limits: Limits) -> UnreadableDelivery:
    return refusal(
        "limit-exceeded",
        "La feuille s'étend sur trop de cellules.",
        expected=f"au plus {limits.columns} colonnes et {_MOST_CELLS // 1_000_000} millions de cellules par feuille",
        remedy="Copiez les seules lignes et colonnes remplies dans un nouveau classeur, ou déposez un fichier CSV.",
    )


def _damaged() -> UnreadableDelivery:
    return refusal(
        "unreadable-archive",
        "Le classeur est abîmé : il ne s'ouvre pas.",
        remedy="Ouvrez le classeur dans un tableur, enregistrez-le de nouveau, puis déposez-le.",
    )


def _column_number(letters: bytes) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + letter - 64
    return number


def _looked_at(rows: Sequence[Sequence[Cell]], tables: Sequence[ContractTable]) -> Sheet | None:
    """The sheet with its header found, as in a delimited text; null when it holds nothing."""
    best: Sheet | None = None
    seen = 0
    for number, row in enumerate(rows):
        if _is_blank(row):
            continue
        cells = tuple(_plain(cell) for cell in row)
        while cells and not cells[-1].strip():
            cells = cells[:-1]
        found = headers.best_table(cells, tables)
        table, fit = found if found is not None else (None, 0)
        if table is not None and fit < min(2, sum(1 for one in table.fields if not one.insertion.header_optional)):
            table, fit = None, 0
        if best is None or fit > best.fit:
            best = Sheet(rows, number, cells, table, fit, tables)
        seen += 1
        if seen == _HEADER_SEARCH_ROWS:
            break
    return best


def _read_sheet(sheet: Sheet, table: ContractTable, rank: int, limits: Limits) -> Iterator[Piece]:
    file = label(rank, table)
    if len(sheet.cells) > limits.columns:
        raise refusal(
            "limit-exceeded",
            f"La feuille a {len(sheet.cells)} colonnes.",
            expected=f"au plus {limits.columns} colonnes",
            file=file,
        )
    columns = headers.columns_of(sheet.cells, table, file=file, line=sheet.header + 1)
    findings = [*columns.findings, *headers.guess(table, sheet.candidates, file)]
    yield Opening(rank, table.name, tuple(columns.stored.values()), tuple(findings), columns.own)
    width = len(sheet.cells)
    outside: list[Finding] = []
    titles = sheet.rows[sheet.header]
    filled = repeated = 0
    for first in range(sheet.header + 1, len(sheet.rows), _BATCH_ROWS):
        rows = enumerate(sheet.rows[first : first + _BATCH_ROWS], start=first + 1)
        numbered = [(number, row) for number, row in rows if not _is_blank(row)]
        again = [number for number, row in numbered if row == titles]
        outside.extend(headers.repeated(table, number, file) for number in again)
        numbered = [(number, row) for number, row in numbered if row != titles] if again else numbered
        repeated += len(again)
        filled += len(numbered)
        outside.extend(_outside(number, width, file, table) for number, row in numbered if not _is_blank(row[width:]))
        if numbered:
            yield _batch(numbered, columns, rank, file, limits)
    blank_before = sum(1 for row in sheet.rows[: sheet.header] if _is_blank(row))
    account = Account(
        lines=len(sheet.rows),
        blank=blank_before + len(sheet.rows) - sheet.header - 1 - filled - repeated,
        header_footer=sheet.header + 1 - blank_before + repeated,
        accepted=filled,
    ).checked()
    yield Extract(rank, table.name, account, tuple(outside))


def _batch(
    numbered: Sequence[tuple[int, Sequence[Cell]]], columns: headers.Columns, rank: int, file: str, limits: Limits
) -> Batch:
    """Rows of a sheet, each with its number, as text."""
    table = columns.table
    values: dict[str, list[str]] = {}
    for position, name in columns.stored.items():
        field = table.field(name)
        values[name] = [_text(row[position], field) if position < len(row) else "" for _, row in numbered]
        if max(map(len, values[name])) > limits.line_bytes:
            raise refusal(
                "limit-exceeded",
                "Une cellule dépasse la longueur permise.",
                expected=f"au plus {limits.line_bytes // 1024} Ko par cellule",
                file=file,
            )
    rows = pa.table({name: pa.array(cells, pa.string()) for name, cells in values.items()})
    origins = ([number for number, _ in numbered], [1] * len(numbered), [rank] * len(numbered))
    for (name, kind), column in zip(ORIGIN_FIELDS, origins, strict=True):
        rows = rows.append_column(pa.field(name, kind), pa.array(column, kind))
    return Batch(rank, table.name, encoded(rows), oddities=oddities_of(rows, list(values), file=file, table=table.name))


def _outside(line: int, width: int, file: str, table: ContractTable) -> Finding:
    return Finding(
        "extra-cell",
        "warning",
        f"La ligne est remplie au-delà de la colonne {width}, qui est la dernière à porter un titre.",
        expected="une valeur sous un titre de colonne",
        remedy="Déplacez la valeur dans sa colonne, ou effacez-la.",
        file=file,
        table=table.name,
        line=line,
    )


def _is_blank(row: Sequence[Cell]) -> bool:
    return all(cell == "" or (isinstance(cell, str) and not cell.strip()) for cell in row)


# -- one cell ----------------------------------------------------------------------------------------------------------


def _text(cell: Cell, field: ContractField) -> str:
    """The cell as the text that its field expects."""
    if isinstance(cell, bool):
        return _boolean(cell, field)
    if isinstance(cell, float) and not cell.is_integer() and field.type == "number":
        return _plain(cell).replace(".", field.decimalChar)
    if isinstance(cell, dt.date):  # a datetime is one too
        return _day(cell, field)
    return _plain(cell)


def _plain(cell: Cell) -> str:
    if isinstance(cell, str):
        return cell
    if isinstance(cell, bool):
        return "true" if cell else "false"
    if isinstance(cell, float | int):
        return str(int(cell)) if float(cell).is_integer() and abs(cell) < _EXACT_WHOLE_NUMBERS else f"{cell:.15g}"
    if isinstance(cell, dt.datetime):
        return cell.date().isoformat() if cell.time() == dt.time() else cell.isoformat(sep=" ", timespec="seconds")
    if isinstance(cell, dt.timedelta):
        minutes = round(cell.total_seconds() / 60)
        return f"{minutes // 60:02d}:{minutes % 60:02d}"
    return cell.strftime("%H:%M") if isinstance(cell, dt.time) else cell.isoformat()


def _boolean(cell: bool, field: ContractField) -> str:
    plain = _plain(cell)
    known = field.trueValues if cell else field.falseValues
    return known[0] if field.type == "boolean" and known and plain not in known else plain


def _day(cell: dt.date, field: ContractField) -> str:
    if field.type == "yearmonth":
        return cell.strftime("%Y-%m")
    formats = (field.format, *field.insertion.formats)
    if field.type == "date" and field.format.startswith("%") and "%Y-%m-%d" not in formats:
        return cell.strftime(field.format)
    return _plain(cell)
