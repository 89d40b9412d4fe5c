"""A contract as pandera schemas: the same rules of a cell as the SQL, written apart, for data frames.

Belongs here: the schema of a table of text, the schema of its typed rows, and what their failures mean as findings.
Does not belong here: deciding rows (`ingestion.conforming` does, in SQL), rules over several cells (SQL by nature).

The two renderings are held together by a test that compares their findings cell by cell. pandas and pandera take
seconds to import and are imported when a schema is made.
"""

from __future__ import annotations

import functools
import math
import re
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from insertion_pipeline.contracts.cells import (
    DROPPED_ZEROS,
    NIR_FORM,
    NISS_FORM,
    NTT_FORM,
    OTHER_DATE_FORMS,
    SPREADSHEET_EPOCH,
    WHITE_SPACE,
    Cell,
    Flaw,
    bounds,
    date_regex,
    folded,
)
from insertion_pipeline.contracts.rules import TableRules
from insertion_pipeline.registry import ContractField

if TYPE_CHECKING:
    import pandas as pd
    import pandera.pandas as pandera

_Value = str | int | float | bool | date | datetime | None
_MONTH = re.compile("[0-9]{4}-(0[1-9]|1[0-2])")
_SCIENTIFIC = re.compile(r"([1-9])(?:[.,]([0-9]+))?[eE]\+?([0-9]{1,2})")
_TRAILING_ZERO = re.compile("([+-]?[0-9]+)[.,]0+")
_SERIAL = re.compile(r"([1-9][0-9]{4})([.,]0+)?")
_DTYPES = {
    "string": "str", "any": "str", "yearmonth": "str", "integer": "Int64", "number": "float64", "boolean": "boolean",
    "date": "datetime64[us]", "datetime": "datetime64[us]",
}  # fmt: skip


def text_schema(rules: TableRules) -> pandera.DataFrameSchema:
    """The schema of the table as text, one check per flaw that a field can have.

    Validate lazily; the check's name is the flaw's, so that `flaws_of` can say what failed.
    """
    import pandera.pandas as pandera

    columns = {
        cell.field.name: pandera.Column(
            "str",
            checks=[_check_of(cell, flaw) for flaw in cell.possible_flaws()],
            nullable=True,
            required=False,
            title=cell.field.label,
            description=cell.field.description,
        )
        for cell in rules.cells
    }
    return pandera.DataFrameSchema(columns, name=rules.table.name, strict=False)


def typed_schema(rules: TableRules) -> pandera.DataFrameSchema:
    """The schema of the table's accepted rows: types, codes, bounds, and no null where a value is required."""
    import pandera.pandas as pandera

    columns = {}
    for cell in rules.cells:
        low, high = bounds(cell.field)
        checks = [pandera.Check.isin(_typed_codes(cell))] if cell.codes is not None else []
        if low is not None and not isinstance(low, str):
            checks.append(pandera.Check.ge(_comparable(low)))
        if high is not None and not isinstance(high, str):
            checks.append(pandera.Check.le(_comparable(high)))
        is_required = cell.field.constraints.required and cell.field.severity == "blocking"
        columns[cell.field.name] = pandera.Column(
            _DTYPES[cell.field.type], checks=checks, nullable=not is_required, coerce=True, title=cell.field.label
        )
    return pandera.DataFrameSchema(columns, name=rules.table.name, strict=False)


def _typed_codes(cell: Cell) -> list[str | int | float]:
    """The codes of a field as its values are: a code list may be one of numbers."""
    codes = cell.codes or ()
    if cell.field.type == "integer":
        return [int(code) for code in codes]
    return [float(code) for code in codes] if cell.field.type == "number" else list(codes)


def flaws_of(rules: TableRules, frame: pd.DataFrame) -> set[tuple[int, str, Flaw]]:
    """(position of the row, field, flaw) for every cell of a frame of text that pandera finds wrong, or repaired."""
    import pandera.errors

    try:
        text_schema(rules).validate(frame.reset_index(drop=True), lazy=True)
    except pandera.errors.SchemaErrors as errors:
        failures = errors.failure_cases
        cells = zip(failures["index"], failures["column"], failures["check"], strict=True)
        return {(int(row), str(field), Flaw[str(check)]) for row, field, check in cells}
    return set()


def _check_of(cell: Cell, flaw: Flaw) -> pandera.Check:
    import pandera.pandas as pandera

    def is_free_of_it(texts: pd.Series[Any]) -> pd.Series[Any]:
        found = {text: flaw_of(cell, text) for text in texts.unique()}
        return texts.map(lambda text: found[text] is not flaw)

    return pandera.Check(is_free_of_it, name=flaw.name, ignore_na=False)


def flaw_of(cell: Cell, raw: str | float | None) -> Flaw:
    """What is wrong with one cell, or how it was mended: the steps of `cells`, in Python."""
    cleaned = raw.strip(WHITE_SPACE) if isinstance(raw, str) else ""
    if cleaned in cell.missing:
        return Flaw.REQUIRED if cell.field.constraints.required else Flaw.NONE
    text = _text(cell, cleaned)
    value, is_repaired = _value(cell, text)
    if value is None:
        return Flaw.TYPE
    constraints, identifier = cell.field.constraints, cell.field.insertion.identifier
    if cell.codes is not None and text not in cell.codes:
        return Flaw.CODE
    if identifier is not None:
        if (flaw := _flaw_of_number(identifier, text)) is not Flaw.NONE:
            return flaw
    elif constraints.pattern is not None and re.fullmatch(constraints.pattern, text, re.ASCII) is None:
        return Flaw.PATTERN
    if not (constraints.minLength or 0) <= len(text) <= (constraints.maxLength or math.inf):
        return Flaw.LENGTH
    if _is_out_of_bounds(cell.field, value):
        return Flaw.RANGE
    return _repair_made(cell, cleaned, text, is_repaired=is_repaired)


def _text(cell: Cell, cleaned: str) -> str:
    if cell.spellings:
        if cell.codes is not None and cleaned in cell.codes:
            return cleaned
        return cell.spellings.get(folded(cleaned)) or _mended(cell, cleaned)
    if cell.tests_plainness and re.fullmatch(cell.plain_form or "", cleaned, re.ASCII):
        return cleaned
    return _mended(cell, cleaned)


def _mended(cell: Cell, text: str) -> str:
    if cell.field.insertion.identifier is not None:
        text = text.upper()
    if (mark := cell.field.groupChar) is not None:
        marks = " \u00a0\u202f" if mark == " " else mark
        if re.fullmatch(f"[+-]?[0-9]{{1,3}}([{re.escape(marks)}][0-9]{{3}})+([.,][0-9]+)?", text, re.ASCII):
            text = text.translate(dict.fromkeys(map(ord, marks)))
    if "scientific" in cell.repairs and (match := _SCIENTIFIC.fullmatch(text)):
        digits, exponent = match[1] + (match[2] or ""), int(match[3])
        if 0 <= exponent - (len(digits) - 1) <= DROPPED_ZEROS:
            text = digits.ljust(exponent + 1, "0")
    if "trailing-zero" in cell.repairs and (match := _TRAILING_ZERO.fullmatch(text)):
        text = match[1]
    if "separators" in cell.repairs:
        text = text.translate(dict.fromkeys(map(ord, " .-/\u00a0\u202f")))
    length = cell.field.constraints.minLength
    if "leading-zeros" not in cell.repairs or length is None:
        return text
    has_lost_zeros = re.fullmatch(f"[0-9]{{{-(-length // 2)},{length - 1}}}", text, re.ASCII) is not None
    return text.zfill(length) if has_lost_zeros else text


def _value(cell: Cell, text: str) -> tuple[_Value, bool]:
    """The value, none when there is none in the text, and whether only a repair finds it."""
    field = cell.field
    match field.type:
        case "integer" | "number":
            if re.fullmatch(cell.number_form, text, re.ASCII) is None:
                return None, False
            return (int(text) if field.type == "integer" else float(text.replace(field.decimalChar, "."))), False
        case "boolean":
            known = {spelling.lower(): True for spelling in field.trueValues}
            known |= {spelling.lower(): False for spelling in field.falseValues if spelling.lower() not in known}
            return known.get(text.lower()), False
        case "date" | "datetime":
            found = _date(text, cell.date_forms)
            if found is None and "excel-serial" in cell.repairs and (match := _SERIAL.fullmatch(text)):
                return SPREADSHEET_EPOCH + timedelta(days=int(match[1])), True
            if found is None and "date-forms" in cell.repairs:
                found = _date(text, OTHER_DATE_FORMS)
                return (found.date() if found is not None else None), True
            return (found.date() if found is not None and field.type == "date" else found), False
        case "yearmonth":
            if _MONTH.fullmatch(text):
                return text, False
            found = _date(text, tuple(form for form in cell.date_forms if form != "%Y-%m"))
            if found is not None:
                return f"{found:%Y-%m}", False
            if "first-of-month" in cell.repairs:
                found = _date(text, ("%Y-%m-%d", "%d/%m/%Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S"))
                return (f"{found:%Y-%m}" if found is not None and found.day == 1 else None), True
            return None, False
        case _:
            return text, False


def _date(text: str, forms: tuple[str, ...]) -> datetime | None:
    for form in forms:
        if _compiled(form).fullmatch(text):
            try:
                return datetime.strptime(text, form)  # noqa: DTZ007 (a calendar day has no time zone)
            except ValueError:
                continue
    return None


@functools.lru_cache(maxsize=256)
def _compiled(form: str) -> re.Pattern[str]:
    return re.compile(date_regex(form), re.ASCII)


def _is_out_of_bounds(field: ContractField, value: _Value) -> bool:
    low, high = bounds(field)
    if isinstance(value, datetime):
        low, high = (datetime.combine(bound, datetime.min.time()) if isinstance(bound, date) else bound
                     for bound in (low, high))  # fmt: skip
    comparable: Any = value
    return (low is not None and comparable < low) or (high is not None and comparable > high)


def _flaw_of_number(identifier: str, text: str) -> Flaw:
    is_nir = re.fullmatch(NIR_FORM, text, re.ASCII) is not None
    if identifier == "nir":
        if is_nir:
            return Flaw.NONE if _has_good_nir_key(text) else Flaw.CHECKSUM
        if _is_good_niss(text):
            return Flaw.FOREIGN
        is_ntt = len(text) not in (13, 15) and re.fullmatch(NTT_FORM, text, re.ASCII) is not None
        return Flaw.NONE if is_ntt else Flaw.PATTERN
    if is_nir and _has_good_nir_key(text):
        return Flaw.FOREIGN
    if re.fullmatch("[0-9]{11}", text, re.ASCII) is None:
        return Flaw.PATTERN
    return Flaw.NONE if _is_good_niss(text) else Flaw.CHECKSUM


def _has_good_nir_key(text: str) -> bool:
    digits = text[:5] + text[5:7].replace("2A", "19").replace("2B", "18") + text[7:13]
    return len(text) == 13 or int(text[13:]) == 97 - int(digits) % 97


def _is_good_niss(text: str) -> bool:
    if re.fullmatch(NISS_FORM, text, re.ASCII) is None:
        return False
    return int(text[9:]) in (97 - int(text[:9]) % 97, 97 - int("2" + text[:9]) % 97)


def _repair_made(cell: Cell, cleaned: str, text: str, *, is_repaired: bool) -> Flaw:
    if is_repaired:
        if "excel-serial" in cell.repairs and _SERIAL.fullmatch(text):
            return Flaw.EXCEL_SERIAL
        return Flaw.FIRST_OF_MONTH if "first-of-month" in cell.repairs else Flaw.DATE_FORMS
    if text == cleaned or cell.field.type in ("date", "datetime", "yearmonth"):
        return Flaw.NONE
    if "scientific" in cell.repairs and _SCIENTIFIC.fullmatch(cleaned):
        return Flaw.SCIENTIFIC
    if "trailing-zero" in cell.repairs and re.fullmatch("[+-]?[0-9]+[.,]0+", cleaned, re.ASCII):
        return Flaw.TRAILING_ZERO
    if "leading-zeros" in cell.repairs and text.startswith("0") and not cleaned.startswith("0"):
        return Flaw.LEADING_ZEROS
    return Flaw.NONE


def _comparable(bound: float | date) -> Any:
    import pandas as pd

    return pd.Timestamp(bound) if isinstance(bound, date) else bound
