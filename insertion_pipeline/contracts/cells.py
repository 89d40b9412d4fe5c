"""One cell: from the text of a file to a typed value, or to the reason why not. Rendered as DuckDB SQL.

Belongs here: what each type accepts, which repairs are exact, the order in which a cell's checks are made. Does not
belong here: rules over several cells, keys, references (`rules`), the sentences (`messages`), the same in pandas
(`dataframes`, which a test holds to this module).

The steps, each a column of the next query, so that a value is parsed once (`cell_query` puts them together):

1. *cleaned*: white space around it removed; null when it is one of the field's missing values;
2. *text*: an accepted spelling becomes its code, separators of a number go, an exact repair is made;
3. *typed*: null unless the text has exactly a form that the type accepts. Every cast stands behind a regular
   expression, because casts alone are too kind: DuckDB reads '1.7' as the integer 2, '1_000' as 1000, '1e3' as 1000
   and '24' as a four-digit year;
4. *repaired*: dates in forms that read in one way only, a spreadsheet's serial date;
5. *flaw*: the first thing wrong, or the repair made. A cell never has two findings.
"""

from __future__ import annotations

import enum
import functools
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, Registry, Severity

#: White space in the wide sense: what spreadsheets and web forms leave around a value.
WHITE_SPACE = " \t\r\n\f\v\u00a0\u202f\u2007\u200b\ufeff"
#: Dates outside these bounds are typing accidents (0002-08-06 was seen) that break every tool downstream.
EARLIEST_DATE, LATEST_DATE = date(1900, 1, 1), date(2199, 12, 31)
#: Forms that a person may write, and that read in one way only.
OTHER_DATE_FORMS = (
    "%d.%m.%Y", "%d %m %Y", "%Y/%m/%d", "%Y%m%d", "%d/%m/%Y %H:%M:%S", "%d/%m/%Y %H:%M", "%Y-%m-%d %H:%M:%S",
    "%Y-%m-%dT%H:%M:%S",
)  # fmt: skip
#: Day 0 of a spreadsheet's serial dates (its 29 February 1900 lies before every date that is accepted).
SPREADSHEET_EPOCH = date(1899, 12, 30)
#: The shortest text of a float drops final zeros: that many are believed. Fewer digits than that were lost.
DROPPED_ZEROS = 2

REPAIRS = frozenset(
    {"separators", "scientific", "trailing-zero", "leading-zeros", "excel-serial", "date-forms", "first-of-month"}
)

NIR_FORM = "[123478][0-9]{2}(0[1-9]|1[0-2]|[23][0-9]|4[0-2]|[5-9][0-9])([0-9]{2}|2[AB])[0-9]{6}([0-9]{2})?"
NTT_FORM = "[12][0-9]{9}[0-9A-Z]{1,30}"
NISS_FORM = "[0-9]{2}(0[0-9]|1[0-2]|2[0-9]|3[0-2]|4[0-9]|5[0-2])[0-9]{7}"

_SCIENTIFIC = r"[1-9]([.,][0-9]+)?[eE]\+?[0-9]{1,2}"
_TRAILING_ZERO = "[+-]?[0-9]+[.,]0+"
_SERIAL = r"[1-9][0-9]{4}([.,]0+)?"
_SEPARATORS = " .-/\u00a0\u202f"
_DIRECTIVES = {"%Y": "[0-9]{4}", "%m": "[0-9]{1,2}", "%d": "[0-9]{1,2}", "%H": "[0-9]{1,2}", "%M": "[0-9]{2}",
               "%S": "[0-9]{2}", "%f": "[0-9]{1,6}"}  # fmt: skip


class Flaw(enum.IntEnum):
    """What may be said of a cell. From `EXCEL_SERIAL` on the value was read after an exact repair."""

    NONE = 0
    REQUIRED = 1
    TYPE = 2
    PATTERN = 3
    CODE = 4
    LENGTH = 5
    RANGE = 6
    CHECKSUM = 7
    FOREIGN = 8
    EXCEL_SERIAL = 20
    SCIENTIFIC = 21
    TRAILING_ZERO = 22
    LEADING_ZEROS = 23
    DATE_FORMS = 24
    FIRST_OF_MONTH = 25

    @property
    def is_repair(self) -> bool:
        return self >= Flaw.EXCEL_SERIAL

    @property
    def finding_code(self) -> str:
        return "repaired-value" if self.is_repair else _FINDING_CODES[self]

    @property
    def repair(self) -> str:
        """The repair's name, as contracts write it; empty for what is not a repair."""
        return self.name.lower().replace("_", "-") if self.is_repair else ""


_FINDING_CODES = {
    Flaw.REQUIRED: "required-value",
    Flaw.TYPE: "type-error",
    Flaw.PATTERN: "pattern-error",
    Flaw.CODE: "code-error",
    Flaw.LENGTH: "length-error",
    Flaw.RANGE: "range-error",
    Flaw.CHECKSUM: "number-checksum",
    Flaw.FOREIGN: "foreign-number",
}


@dataclass(frozen=True)
class Cell:
    """The rules of one field, for one month: what `cells` and `dataframes` both render."""

    field: ContractField
    missing: tuple[str, ...]
    codes: tuple[str, ...] | None
    spellings: Mapping[str, str]

    @property
    def repairs(self) -> tuple[str, ...]:
        return self.field.insertion.repair

    @functools.cached_property
    def date_forms(self) -> tuple[str, ...]:
        """The forms that are no repair: the declared ones, and the ISO one, which spreadsheets' own dates come in."""
        iso = {"date": ("%Y-%m-%d",), "datetime": ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d"), "yearmonth": ("%Y-%m",)}
        declared = (self.field.format,) if self.field.format != "default" else ()
        return tuple(dict.fromkeys((*declared, *self.field.insertion.formats, *iso[self.field.type])))

    @functools.cached_property
    def plain_form(self) -> str | None:
        """The regular expression of a text that needs no repair, or nothing when any text may stand."""
        field = self.field
        if field.insertion.identifier is not None:
            return NIR_FORM if field.insertion.identifier == "nir" else "[0-9]{11}"
        return self.number_form if field.type in ("integer", "number") else field.constraints.pattern

    @functools.cached_property
    def number_form(self) -> str:
        """The regular expression of an integer or a number. A point is always understood as the decimal mark."""
        if self.field.type == "integer":
            return "[+-]?[0-9]{1,18}"
        mark = "[.]" if self.field.decimalChar == "." else f"[.{re.escape(self.field.decimalChar)}]"
        return f"[+-]?([0-9]{{1,15}}({mark}[0-9]{{1,15}})?|{mark}[0-9]{{1,15}})"

    def severity_of(self, flaw: Flaw) -> Severity:
        """Repairs and doubtful numbers warn; the rest is as severe as the contract says."""
        return "warning" if flaw.is_repair or flaw in (Flaw.CHECKSUM, Flaw.FOREIGN) else self.field.severity

    @functools.cached_property
    def changes_text(self) -> bool:
        """Whether step 2 can do anything."""
        return bool(self.spellings or _mends_text(self))

    @functools.cached_property
    def tests_plainness(self) -> bool:
        """Whether it pays to see first that a text has its plain form, which nothing then has to mend."""
        return not self.spellings and (_mends_text(self) or self.is_numeric) and self.plain_form is not None

    @functools.cached_property
    def plain_is_clean(self) -> bool:
        """Whether a text of the plain form has neither white space around it nor the sense of a missing value."""
        form = self.plain_form if self.is_numeric or self.field.insertion.identifier is not None else None
        return form is not None and not any(re.fullmatch(form, text) for text in self.missing)

    @property
    def is_numeric(self) -> bool:
        return self.field.type in ("integer", "number")

    def possible_flaws(self) -> tuple[Flaw, ...]:
        """The flaws that this field's rules can find."""
        field, constraints = self.field, self.field.constraints
        found = {Flaw[name.replace("-", "_").upper()] for name in self.repairs if name != "separators"}
        if constraints.required:
            found.add(Flaw.REQUIRED)
        if field.type not in ("string", "any"):
            found.add(Flaw.TYPE)
        if constraints.pattern is not None or field.insertion.identifier is not None:
            found.add(Flaw.PATTERN)
        if self.codes is not None:
            found.add(Flaw.CODE)
        if constraints.minLength is not None or constraints.maxLength is not None:
            found.add(Flaw.LENGTH)
        if field.type in ("date", "datetime") or constraints.minimum is not None or constraints.maximum is not None:
            found.add(Flaw.RANGE)
        if field.insertion.identifier is not None:
            found |= {Flaw.CHECKSUM, Flaw.FOREIGN}
        return tuple(sorted(found))


def cell_of(field: ContractField, missing: Sequence[str], registry: Registry, month: Month | None) -> Cell:
    """The rules of `field`; `missing` is the table's, `month` says which codes of a dated list hold."""
    codes: tuple[str, ...] | None = field.constraints.enum
    if field.insertion.code_list is not None:
        codes = tuple(sorted(registry.nomenclature(field.insertion.code_list).codes(month)))
    spellings = {folded(code): code for code in codes or ()}
    spellings |= {folded(spelling): code for spelling, code in field.insertion.values.items()}
    absent = field.missingValues if field.missingValues is not None else tuple(missing)
    return Cell(field, tuple(dict.fromkeys(("", *absent))), codes, spellings)


def folded(text: str) -> str:
    """The form in which spellings of a code are compared: no case, no accents."""
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(mark for mark in decomposed if unicodedata.category(mark) != "Mn").lower()


def date_regex(form: str) -> str:
    """The regular expression of a strptime form, strict on the number of digits."""
    pieces = re.split("(%[A-Za-z])", form)
    return "".join(_DIRECTIVES[piece] if piece in _DIRECTIVES else re.escape(piece) for piece in pieces)


# -- SQL ---------------------------------------------------------------------------------------------------------------


def literal(text: str) -> str:
    """A SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


def quoted(name: str) -> str:
    """A SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def cell_query(cell: Cell, relation: str) -> str:
    """SQL that judges the texts of `relation`, in their order: a `value` and a `flaw` for each `raw`.

    The value is null where the cell has a flaw that no repair mended. Nothing in the query names the field: cells with
    the same rules have the same query, which is planned once. `raw` is never null.
    """
    plain = "plain" if cell.tests_plainness else None
    before_cleaning = plain is not None and cell.plain_is_clean
    is_plain = plain_sql(cell, "raw" if before_cleaning else "cleaned") if plain else ""
    text = "text" if cell.changes_text else "cleaned"
    repaired = repaired_sql(cell, text, "typed")
    value = "typed" if repaired is None else "repaired"
    steps = [
        f"SELECT raw, {is_plain} AS plain FROM {relation}" if before_cleaning else f"SELECT raw FROM {relation}",
        f"SELECT *, {cleaned_sql(cell, 'raw', 'plain' if before_cleaning else None)} AS cleaned",
        f"SELECT *, {is_plain} AS plain" if plain and not before_cleaning else None,
        f"SELECT *, {text_sql(cell, 'cleaned', plain)} AS text" if cell.changes_text else None,
        f"SELECT *, {typed_sql(cell, text, plain)} AS typed",
        None if repaired is None else f"SELECT *, {repaired} AS repaired",
        f"SELECT {value} AS value, {flaw_sql(cell, 'cleaned', text, 'typed', value, plain)} AS flaw",
        f"SELECT CASE WHEN flaw NOT BETWEEN 1 AND {Flaw.EXCEL_SERIAL - 1} THEN value END AS value, flaw",
    ]
    first, *others = [step for step in steps if step is not None]
    query = first
    for step in others:
        query = f"{step}\nFROM ({query})"
    return query


def cleaned_sql(cell: Cell, raw: str, plain: str | None) -> str:
    """Step 1, over the raw text. `plain`: the column that says which raw texts have a plain form, where it is known.

    Trimming costs twenty times more than seeing that there is nothing to trim: most cells begin and end with a
    visible ASCII character.
    """
    if plain is not None:
        return f"CASE WHEN {plain} THEN {raw} ELSE {cleaned_sql(cell, raw, None)} END"
    trimmed = f"trim({raw}, {literal(WHITE_SPACE)})"
    is_trim = f"{raw} >= '!' AND {raw} < chr(127) AND {raw}[-1] BETWEEN '!' AND '~'"
    if cell.missing == ("",):
        return f"CASE WHEN {raw} = '' THEN NULL WHEN {is_trim} THEN {raw} ELSE nullif({trimmed}, '') END"
    missing = _list(cell.missing)
    return (
        f"CASE WHEN {raw} = '' THEN NULL WHEN {is_trim} THEN CASE WHEN {raw} NOT IN ({missing}) THEN {raw} END"
        f" WHEN {trimmed} NOT IN ({missing}) THEN {trimmed} END"
    )


def plain_sql(cell: Cell, cleaned: str) -> str:
    """Whether the cleaned text has its plain form: what most cells have, so that the rest is not looked at."""
    return _is(cleaned, cell.plain_form or "")


def text_sql(cell: Cell, cleaned: str, plain: str | None) -> str:
    """Step 2, over the cleaned text. `plain` is the column of `plain_sql`, where the cell tests it."""
    if cell.spellings:
        cases = " ".join(f"WHEN {literal(text)} THEN {literal(code)}" for text, code in sorted(cell.spellings.items()))
        known = _list(cell.codes) if cell.codes else "''"
        return (
            f"CASE WHEN {cleaned} IN ({known}) THEN {cleaned}"
            f" ELSE coalesce(CASE lower(strip_accents({cleaned})) {cases} END, {_mended(cell, cleaned)}) END"
        )
    mended = _mended(cell, cleaned)
    return mended if plain is None else f"CASE WHEN {plain} THEN {cleaned} ELSE {mended} END"


def typed_sql(cell: Cell, text: str, plain: str | None) -> str:
    """Step 3, over the text of step 2."""
    field = cell.field
    is_number = f"{plain} OR {_is(text, cell.number_form)}" if plain else _is(text, cell.number_form)
    match field.type:
        case "integer":
            return f"CASE WHEN {is_number} THEN TRY_CAST({text} AS BIGINT) END"
        case "number":
            pointed = text if field.decimalChar == "." else f"replace({text}, {literal(field.decimalChar)}, '.')"
            return f"CASE WHEN {is_number} THEN TRY_CAST({pointed} AS DOUBLE) END"
        case "boolean":
            return (
                f"CASE WHEN lower({text}) IN ({_list(_lower(field.trueValues))}) THEN true"
                f" WHEN lower({text}) IN ({_list(_lower(field.falseValues))}) THEN false END"
            )
        case "date" | "datetime":
            date_time = f"CASE WHEN {_is(text, _any_form(cell.date_forms))} THEN {_parsed(text, cell.date_forms)} END"
            return f"CAST({date_time} AS DATE)" if field.type == "date" else date_time
        case "yearmonth":
            others = tuple(form for form in cell.date_forms if form != "%Y-%m")
            cases = [f"CASE WHEN {_is(text, '[0-9]{4}-(0[1-9]|1[0-2])')} THEN {text}"]
            if others:
                cases.append(f"WHEN {_is(text, _any_form(others))} THEN strftime({_parsed(text, others)}, '%Y-%m')")
            return " ".join(cases) + " END"
        case _:
            return text


def repaired_sql(cell: Cell, text: str, typed: str) -> str | None:
    """Step 4, for dates and months in a form that only a repair reads; nothing where the contract allows none."""
    cases = []
    if "excel-serial" in cell.repairs:
        days = f"CAST(regexp_extract({text}, '^[0-9]+') AS INTEGER)"
        cases.append(f"WHEN {_is(text, _SERIAL)} THEN DATE '{SPREADSHEET_EPOCH}' + {days}")
    if "date-forms" in cell.repairs:
        parsed = _parsed(text, OTHER_DATE_FORMS)
        cases.append(f"WHEN {_is(text, _any_form(OTHER_DATE_FORMS))} THEN CAST({parsed} AS DATE)")
    if "first-of-month" in cell.repairs:
        day, is_date = _parsed(text, _FULL_DATES), _is(text, _any_form(_FULL_DATES))
        cases.append(f"WHEN {is_date} AND day({day}) = 1 THEN strftime({day}, '%Y-%m')")
    return f"CASE WHEN {typed} IS NOT NULL THEN {typed} {' '.join(cases)} END" if cases else None


def flaw_sql(cell: Cell, cleaned: str, text: str, typed: str, value: str, plain: str | None) -> str:
    """Step 5: a `Flaw` as UTINYINT. `value` is `typed`, or what a repair made of the text where that is null."""
    field, constraints = cell.field, cell.field.constraints
    empty = Flaw.REQUIRED if constraints.required else Flaw.NONE
    cases: list[tuple[str, Flaw | str]] = [(f"{cleaned} IS NULL", empty)]
    if field.type not in ("string", "any"):
        cases.append((f"{value} IS NULL", Flaw.TYPE))
    if cell.codes is not None:
        cases.append((f"{text} NOT IN ({_list(cell.codes)})", Flaw.CODE))
    if field.insertion.identifier is not None:
        cases.extend(_identifier_flaws(field.insertion.identifier, text))
    elif constraints.pattern is not None:
        is_good = _is(text, constraints.pattern)
        is_plain = plain if plain and cell.plain_form == constraints.pattern else None
        cases.append((f"NOT ({is_plain} OR {is_good})" if is_plain else f"NOT {is_good}", Flaw.PATTERN))
    if constraints.minLength is not None:
        cases.append((f"length({text}) < {constraints.minLength}", Flaw.LENGTH))
    if constraints.maxLength is not None:
        cases.append((f"length({text}) > {constraints.maxLength}", Flaw.LENGTH))
    low, high = bounds(field)
    if low is not None:
        cases.append((f"{value} < {_bound(low)}", Flaw.RANGE))
    if high is not None:
        cases.append((f"{value} > {_bound(high)}", Flaw.RANGE))
    cases.extend(_repairs_made(cell, cleaned, text, typed))
    return "CAST(CASE " + " ".join(f"WHEN {test} THEN {int(flaw)}" for test, flaw in cases) + " ELSE 0 END AS UTINYINT)"


def bounds(field: ContractField) -> tuple[float | str | date | None, float | str | date | None]:
    """The least and the greatest value that a field accepts, of the type that its values compare with."""
    low, high = field.constraints.minimum, field.constraints.maximum
    if field.type in ("date", "datetime"):
        return (
            date.fromisoformat(str(low)) if low is not None else EARLIEST_DATE,
            date.fromisoformat(str(high)) if high is not None else LATEST_DATE,
        )
    if field.type in ("integer", "number"):
        return (None if low is None else float(low)), (None if high is None else float(high))
    return (None if low is None else str(low)), (None if high is None else str(high))


def nir_key_sql(number: str) -> str:
    """The key of the first thirteen characters, as an integer: 97 − (number mod 97), 2A read as 19 and 2B as 18."""
    digits = f"{number}[1:5] || replace(replace({number}[6:7], '2A', '19'), '2B', '18') || {number}[8:13]"
    return f"97 - TRY_CAST({digits} AS BIGINT) % 97"


def _is_good_nir(text: str) -> str:
    key = f"(length({text}) = 13 OR TRY_CAST({text}[14:15] AS BIGINT) = {nir_key_sql(text)})"
    return f"{_is(text, NIR_FORM)} AND {key}"


def _is_good_niss(text: str) -> str:
    key, nine = f"TRY_CAST({text}[10:11] AS BIGINT)", f"{text}[1:9]"
    holds = f"{key} IN (97 - TRY_CAST({nine} AS BIGINT) % 97, 97 - TRY_CAST('2' || {nine} AS BIGINT) % 97)"
    return f"{_is(text, NISS_FORM)} AND {holds}"


def _identifier_flaws(identifier: str, text: str) -> list[tuple[str, Flaw]]:
    """A NIR is 13 characters, or 15 with its key, or an employer's number (NTT); a NISS is 11 digits with their key."""
    if identifier == "nir":
        is_nir = _is(text, NIR_FORM)
        return [
            (f"{is_nir} AND NOT ({_is_good_nir(text)})", Flaw.CHECKSUM),
            (f"NOT {is_nir} AND {_is_good_niss(text)}", Flaw.FOREIGN),
            (f"NOT {is_nir} AND (length({text}) IN (13, 15) OR NOT {_is(text, NTT_FORM)})", Flaw.PATTERN),
        ]
    return [
        (_is_good_nir(text), Flaw.FOREIGN),
        (f"NOT {_is(text, '[0-9]{11}')}", Flaw.PATTERN),
        (f"NOT ({_is_good_niss(text)})", Flaw.CHECKSUM),
    ]


def _repairs_made(cell: Cell, cleaned: str, text: str, typed: str) -> list[tuple[str, Flaw]]:
    """Which repair the text owes its sense to; the value is known to be good when these cases are reached."""
    repairs = cell.repairs
    if cell.field.type in ("date", "datetime", "yearmonth"):
        found: list[tuple[str, Flaw]] = [(f"{typed} IS NOT NULL", Flaw.NONE)]
        if "excel-serial" in repairs:
            found.append((_is(text, _SERIAL), Flaw.EXCEL_SERIAL))
        others = {"first-of-month": Flaw.FIRST_OF_MONTH, "date-forms": Flaw.DATE_FORMS}
        return found + [("true", flaw) for name, flaw in others.items() if name in repairs]
    found = [(f"{text} = {cleaned}", Flaw.NONE)]
    if "scientific" in repairs:
        found.append((_is(cleaned, _SCIENTIFIC), Flaw.SCIENTIFIC))
    if "trailing-zero" in repairs:
        found.append((_is(cleaned, _TRAILING_ZERO), Flaw.TRAILING_ZERO))
    if "leading-zeros" in repairs:
        found.append((f"starts_with({text}, '0') AND NOT starts_with({cleaned}, '0')", Flaw.LEADING_ZEROS))
    return found


#: The forms in which a spreadsheet writes the first day of a month for the month.
_FULL_DATES = ("%Y-%m-%d", "%d/%m/%Y", "%Y-%m-%d %H:%M:%S", "%Y-%m-%dT%H:%M:%S")


def _mends_text(cell: Cell) -> bool:
    textual = {"separators", "scientific", "trailing-zero", "leading-zeros"}
    return bool(textual & set(cell.repairs)) or cell.field.groupChar is not None or _is_number_of_person(cell)


def _is_number_of_person(cell: Cell) -> bool:
    return cell.field.insertion.identifier is not None


def _mended(cell: Cell, cleaned: str) -> str:
    """The text after every repair of the contract: each leaves a text alone that is not of its form."""
    text = f"upper({cleaned})" if _is_number_of_person(cell) else cleaned
    if cell.field.groupChar is not None:
        grouped = f"[+-]?[0-9]{{1,3}}([{_group_class(cell)}][0-9]{{3}})+([.,][0-9]+)?"
        joined = f"translate({text}, {literal(_group_marks(cell))}, '')"
        text = f"CASE WHEN {_is(text, grouped)} THEN {joined} ELSE {text} END"
    if "scientific" in cell.repairs:
        digits = f"translate(split_part(upper({text}), 'E', 1), '.,', '')"
        exponent = f"TRY_CAST(ltrim(split_part(upper({text}), 'E', 2), '+') AS INTEGER)"
        text = (
            f"CASE WHEN {_is(text, _SCIENTIFIC)}"
            f" AND {exponent} BETWEEN length({digits}) - 1 AND length({digits}) - 1 + {DROPPED_ZEROS}"
            f" THEN rpad({digits}, {exponent} + 1, '0') ELSE {text} END"
        )
    if "trailing-zero" in cell.repairs:
        text = f"regexp_replace({text}, '^([+-]?[0-9]+)[.,]0+$', '\\1')"
    if "separators" in cell.repairs:
        text = f"translate({text}, {literal(_SEPARATORS)}, '')"
    length = cell.field.constraints.minLength
    if "leading-zeros" in cell.repairs and length is not None:
        form = f"[0-9]{{{-(-length // 2)},{length - 1}}}"
        text = f"CASE WHEN {_is(text, form)} THEN lpad({text}, {length}, '0') ELSE {text} END"
    return text


def _group_marks(cell: Cell) -> str:
    mark = cell.field.groupChar or ""
    return " \u00a0\u202f" if mark == " " else mark


def _group_class(cell: Cell) -> str:
    return "".join(re.escape(mark) for mark in _group_marks(cell))


def _parsed(text: str, forms: Sequence[str]) -> str:
    return f"try_strptime({text}, [{_list(forms)}])"


def _any_form(forms: Sequence[str]) -> str:
    return "|".join(date_regex(form) for form in forms)


def _is(text: str, pattern: str) -> str:
    return f"regexp_full_match({text}, {literal(pattern)})"


def _list(values: Iterable[str]) -> str:
    return ", ".join(literal(value) for value in values)


def _lower(values: Iterable[str]) -> tuple[str, ...]:
    return tuple(value.lower() for value in values)


def _bound(value: float | str | date) -> str:
    if isinstance(value, date):
        return f"DATE '{value.isoformat()}'"
    return literal(value) if isinstance(value, str) else repr(value)
