"""The numbers that persons carry, their canonical form and what they say, in Python and in SQL.

Belongs here: NIR, NTT, NISS and bis number, France Travail id, CAF matricule and role; grammar, keys, placeholders.
Does not belong here: whether a number may be believed of the record that carries it (`linkage`).

`SQL_MACROS` and the functions say the same thing twice because two engines need it; a test compares them value by
value, and both with python-stdnum.

- NIR: 13 characters and a key, 97 − (number mod 97), 2A read as 19 and 2B as 18; first digit 1, 2, 3, 4, 7, 8, of which
  3, 4, 7, 8 are provisional; months 01–12, and 20–42 or 50–99 where the civil status is incomplete.
- NISS: YYMMDD, a counter (odd for men), a key on nine digits, or on "2" and nine digits for births from 2000 on. A bis
  number adds 20 to the month (sex unknown) or 40 (sex known). Month or day 00 is legitimate.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

Sex = Literal["1", "2"]

#: Numbers that stand in documents and test files, never a person's.
PLACEHOLDER_NIRS = frozenset({"2690549588157", "1234567890123", "1111111111111", "2222222222222"})

_FLOAT = re.compile(r"(?P<unit>[1-9])(?:[.,](?P<decimals>[0-9]*))?E\+?(?P<exponent>[0-9]{1,2})")
#: A spreadsheet that shows a number in scientific notation has lost digits, save for dropped final zeros: how many of
#: them are believed. The shortest text of a float drops one zero in ten numbers, two in a hundred.
_DROPPED_ZEROS = 2
_NIR = re.compile(
    r"(?P<sex>[123478])(?P<year>[0-9]{2})(?P<month>0[1-9]|1[0-2]|[23][0-9]|4[0-2]|[5-9][0-9])"
    r"(?P<department>[0-9]{2}|2[AB])(?P<rest>[0-9]{6})(?P<key>[0-9]{2})?"
)
_NTT = re.compile(r"[12][0-9]{9}[0-9A-Z]{1,30}")
_NISS = re.compile(r"(?P<year>[0-9]{2})(?P<month>[0-9]{2})(?P<day>[0-9]{2})(?P<counter>[0-9]{3})(?P<key>[0-9]{2})")
_FRANCE_TRAVAIL = re.compile(r"[0-9]{7}[0-9A-Z](?:[0-9]{3})?")


@dataclass(frozen=True, slots=True)
class PersonNumber:
    """A number whose grammar holds, and what it says of its holder.

    `number` is canonical: 13 characters for a NIR, 11 for a NISS. `is_checked`: a key came with it and is right.
    `birth_year` has two digits for a NIR, four for a NISS, and is null where the number does not say.
    """

    number: str
    is_checked: bool
    is_definitive: bool
    sex: Sex | None
    birth_year: int | None
    birth_month: int | None
    is_foreign_born: bool = False


def compact(text: str | None) -> str | None:
    """Upper-case letters and digits only; a number that a spreadsheet turned into a float is read back when exact."""
    if text is None:
        return None
    stripped = re.sub(r"\s", "", text.upper())
    as_float = _FLOAT.fullmatch(stripped)
    if as_float is not None:
        decimals, exponent = as_float["decimals"] or "", int(as_float["exponent"])
        if not len(decimals) <= exponent <= len(decimals) + _DROPPED_ZEROS:
            return None
        return as_float["unit"] + decimals.ljust(exponent, "0")
    return re.sub(r"[^0-9A-Z]", "", re.sub(r"[.,]0+$", "", stripped)) or None


def nir_key(number: str) -> str:
    """The two-digit key of 13 characters."""
    digits = number[:5] + number[5:7].replace("2A", "19").replace("2B", "18") + number[7:]
    return f"{97 - int(digits) % 97:02d}"


def parse_nir(text: str | None) -> PersonNumber | None:
    """The NIR in `text` (13 characters, or 15 with the right key), or nothing."""
    number = compact(text)
    match = _NIR.fullmatch(number) if number is not None else None
    if number is None or match is None or number[:13] in PLACEHOLDER_NIRS:
        return None
    if match["key"] is not None and match["key"] != nir_key(number[:13]):
        return None
    month = int(match["month"])
    return PersonNumber(
        number=number[:13],
        is_checked=match["key"] is not None,
        is_definitive=match["sex"] in "12",
        sex="1" if match["sex"] in "137" else "2",
        birth_year=int(match["year"]),
        birth_month=month if month <= 12 else None,
        is_foreign_born=match["department"] == "99",
    )


def canonical_ntt(text: str | None) -> str | None:
    """A temporary number made by an employer: evidence, never proof. Nothing when it could be a NIR."""
    number = compact(text)
    if number is None or len(number) in (13, 15) or _NTT.fullmatch(number) is None:
        return None
    return number


def niss_keys(nine_digits: str) -> tuple[str, str]:
    """The keys of nine digits for a birth before 2000 and from 2000 on."""
    return f"{97 - int(nine_digits) % 97:02d}", f"{97 - int('2' + nine_digits) % 97:02d}"


def parse_niss(text: str | None, birth_year: int | None = None) -> PersonNumber | None:
    """The NISS or bis number in `text`, or nothing. A known birth year says which of the two keys must hold."""
    number = compact(text)
    match = _NISS.fullmatch(number) if number is not None else None
    if number is None or match is None or number[:9] == "000000000":
        return None
    before_2000, from_2000 = niss_keys(number[:9])
    fits_before = match["key"] == before_2000 and (birth_year is None or birth_year < 2000)
    fits_from = match["key"] == from_2000 and (birth_year is None or birth_year >= 2000)
    month = int(match["month"])
    if not (fits_before or fits_from) or not (month <= 12 or 20 <= month <= 32 or 40 <= month <= 52):
        return None
    says_nothing = number[:6] in ("000001", "002001", "004001", "200001", "400001")
    century = 1900 if fits_before else 2000
    return PersonNumber(
        number=number,
        is_checked=True,
        is_definitive=month <= 12,
        sex=None if 20 <= month <= 32 else "1" if int(match["counter"]) % 2 else "2",
        birth_year=None if says_nothing else century + int(match["year"]),
        birth_month=None if says_nothing else month % 20 or None,
    )


def canonical_france_travail_id(text: str | None) -> str | None:
    """The first eight characters of an id of 8 or 11: what stays when the region's suffix comes and goes."""
    number = compact(text)
    if number is None:
        return None
    if len(number) in (7, 10):  # a leading zero lost to a spreadsheet
        number = "0" + number
    if _FRANCE_TRAVAIL.fullmatch(number) is None or not number.strip("0"):
        return None
    return number[:8]


def canonical_caf_matricule(text: str | None) -> str | None:
    """Seven digits for the CAF (also when they came padded to fifteen), up to fifteen for the MSA."""
    number = compact(text)
    if number is None or not number.isdecimal() or len(number) > 15 or not number.strip("0"):
        return None
    if len(number) <= 7:
        return number.zfill(7)
    padded = number.zfill(15)
    return padded[:7] if padded.endswith("00000000") else padded


def canonical_caf_role(text: str | None) -> str | None:
    """`DEM` (who applied), `CJT` (spouse), `ENF`, `AUT`, `RDO`, or nothing."""
    role = re.sub(r"[^A-Z]", "", text.upper()) if text is not None else ""
    if role.startswith(("CONJ", "CONCUB", "PACS", "CJT")):
        return "CJT"
    if role.startswith(("DEM", "ALLOC", "USAG")):
        return "DEM"
    return role if role in {"ENF", "AUT", "RDO"} else None


_PLACEHOLDERS = ", ".join(f"'{number}'" for number in sorted(PLACEHOLDER_NIRS))
_NIR_SQL = "[123478][0-9]{2}(0[1-9]|1[0-2]|[23][0-9]|4[0-2]|[5-9][0-9])([0-9]{2}|2[AB])[0-9]{6}"

#: The same grammar for DuckDB, one macro a thought, each built on the former ones.
SQL_MACROS = f"""
CREATE OR REPLACE TEMP MACRO squeezed(text) AS regexp_replace(upper(text), '\\s', '', 'g');
CREATE OR REPLACE TEMP MACRO float_digits(text) AS
    regexp_extract(text, '^([1-9])(?:[.,]([0-9]*))?E\\+?([0-9]{{1,2}})$', 1)
    || regexp_extract(text, '^([1-9])(?:[.,]([0-9]*))?E\\+?([0-9]{{1,2}})$', 2);
CREATE OR REPLACE TEMP MACRO float_exponent(text) AS
    TRY_CAST(regexp_extract(text, 'E\\+?([0-9]{{1,2}})$', 1) AS INTEGER);
CREATE OR REPLACE TEMP MACRO compacted(text) AS CASE
    WHEN regexp_full_match(text, '[0-9]+[A-DF-Z]?[0-9]*') THEN text -- as nearly all are: nothing to do
    WHEN regexp_full_match(squeezed(text), '[1-9]([.,][0-9]*)?E\\+?[0-9]{{1,2}}') THEN CASE
        WHEN float_exponent(squeezed(text)) BETWEEN length(float_digits(squeezed(text))) - 1
             AND length(float_digits(squeezed(text))) - 1 + {_DROPPED_ZEROS}
        THEN rpad(float_digits(squeezed(text)), float_exponent(squeezed(text)) + 1, '0') END
    ELSE nullif(regexp_replace(regexp_replace(squeezed(text), '[.,]0+$', ''), '[^0-9A-Z]', '', 'g'), '')
END;
CREATE OR REPLACE TEMP MACRO nir_key_of(number) AS 97 - CASE
    WHEN number[7] BETWEEN '0' AND '9' THEN TRY_CAST(left(number, 13) AS BIGINT)
    ELSE TRY_CAST(left(number, 5) || replace(replace(substring(number, 6, 2), '2A', '19'), '2B', '18')
        || substring(number, 8, 6) AS BIGINT)
END % 97;
CREATE OR REPLACE TEMP MACRO nir_of_compacted(number) AS CASE
    WHEN NOT regexp_full_match(number, '{_NIR_SQL}([0-9]{{2}})?') OR left(number, 13) IN ({_PLACEHOLDERS}) THEN NULL
    WHEN length(number) = 15 AND TRY_CAST(right(number, 2) AS BIGINT) <> nir_key_of(number) THEN NULL
    ELSE left(number, 13)
END;
CREATE OR REPLACE TEMP MACRO canonical_nir(text) AS nir_of_compacted(compacted(text));
CREATE OR REPLACE TEMP MACRO ntt_of_compacted(number) AS CASE
    WHEN length(number) NOT IN (13, 15) AND regexp_full_match(number, '[12][0-9]{{9}}[0-9A-Z]{{1,30}}') THEN number END;
CREATE OR REPLACE TEMP MACRO canonical_ntt(text) AS ntt_of_compacted(compacted(text));
CREATE OR REPLACE TEMP MACRO niss_of_compacted(number, birth_year) AS CASE
    WHEN NOT regexp_full_match(number, '[0-9]{{2}}(0[0-9]|1[0-2]|2[0-9]|3[0-2]|4[0-9]|5[0-2])[0-9]{{7}}')
         OR number[1:9] = '000000000' THEN NULL
    WHEN (birth_year IS NULL OR birth_year < 2000)
         AND TRY_CAST(number[10:11] AS INTEGER) = 97 - TRY_CAST(number[1:9] AS BIGINT) % 97 THEN number
    WHEN (birth_year IS NULL OR birth_year >= 2000)
         AND TRY_CAST(number[10:11] AS INTEGER) = 97 - TRY_CAST('2' || number[1:9] AS BIGINT) % 97 THEN number
END;
CREATE OR REPLACE TEMP MACRO canonical_niss(text, birth_year) AS niss_of_compacted(compacted(text), birth_year);
CREATE OR REPLACE TEMP MACRO with_lost_zero(number) AS
    CASE WHEN length(number) IN (7, 10) THEN '0' || number ELSE number END;
CREATE OR REPLACE TEMP MACRO france_travail_id_of_compacted(number) AS CASE
    WHEN regexp_full_match(with_lost_zero(number), '[0-9]{{7}}[0-9A-Z]([0-9]{{3}})?') AND regexp_matches(number, '[^0]')
    THEN with_lost_zero(number)[1:8] END;
CREATE OR REPLACE TEMP MACRO canonical_france_travail_id(text) AS france_travail_id_of_compacted(compacted(text));
CREATE OR REPLACE TEMP MACRO caf_matricule_of_compacted(number) AS CASE
    WHEN NOT regexp_full_match(number, '[0-9]{{1,15}}') OR NOT regexp_matches(number, '[^0]') THEN NULL
    WHEN length(number) <= 7 THEN lpad(number, 7, '0')
    WHEN lpad(number, 15, '0')[8:15] = '00000000' THEN lpad(number, 15, '0')[1:7]
    ELSE lpad(number, 15, '0')
END;
CREATE OR REPLACE TEMP MACRO canonical_caf_matricule(text) AS caf_matricule_of_compacted(compacted(text));
CREATE OR REPLACE TEMP MACRO caf_role_letters(text) AS regexp_replace(upper(text), '[^A-Z]', '', 'g');
CREATE OR REPLACE TEMP MACRO canonical_caf_role(text) AS CASE
    WHEN regexp_matches(caf_role_letters(text), '^(CONJ|CONCUB|PACS|CJT)') THEN 'CJT'
    WHEN regexp_matches(caf_role_letters(text), '^(DEM|ALLOC|USAG)') THEN 'DEM'
    WHEN caf_role_letters(text) IN ('ENF', 'AUT', 'RDO') THEN caf_role_letters(text)
END;
"""
