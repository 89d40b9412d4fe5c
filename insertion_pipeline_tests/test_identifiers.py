"""The numbers that persons carry: Python and SQL say the same, and python-stdnum agrees where it has an opinion."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Iterator

import duckdb
import pytest
import stdnum.be.bis
import stdnum.be.nn
import stdnum.fr.nir

from insertion_pipeline.identity.identifiers import (
    SQL_MACROS,
    canonical_caf_matricule,
    canonical_caf_role,
    canonical_france_travail_id,
    canonical_ntt,
    compact,
    nir_key,
    niss_keys,
    parse_nir,
    parse_niss,
)
from insertion_pipeline.lake import Lake


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with Lake.open(tmp_path_factory.mktemp("home")).connect() as connection:
        connection.execute(SQL_MACROS)
        yield connection


def in_sql(connection: duckdb.DuckDBPyConnection, macro: str, texts: list[str | None]) -> list[str | None]:
    rows = connection.execute(
        f"SELECT {macro}"
        " FROM (SELECT unnest($texts::VARCHAR[]) AS text, generate_subscripts($texts::VARCHAR[], 1) AS rank)"
        " ORDER BY rank",
        {"texts": texts},
    ).fetchall()
    return [value for (value,) in rows]


def random_nirs(count: int, seed: int = 1) -> list[str]:
    pick = random.Random(seed)
    months = [*range(1, 13), *range(20, 43), *range(50, 100)]
    numbers = []
    for _ in range(count):
        department = pick.choice(("2A", "2B", "99", f"{pick.randint(1, 98):02d}"))
        thirteen = (
            f"{pick.choice('123478')}{pick.randint(0, 99):02d}{pick.choice(months):02d}{department}"
            f"{pick.randint(1, 999):03d}{pick.randint(1, 999):03d}"
        )
        numbers.append(thirteen + nir_key(thirteen))
    return numbers


def damaged(texts: list[str], seed: int = 2) -> list[str]:
    """One character changed, two neighbours swapped, one lost, one added, separators."""
    pick = random.Random(seed)
    spoilt = []
    for text in texts:
        at = pick.randrange(len(text) - 1)
        spoilt += [
            text[:at] + pick.choice(string.digits + "AB") + text[at + 1 :],
            text[:at] + text[at + 1] + text[at] + text[at + 2 :],
            text[:at] + text[at + 1 :],
            text[:at] + pick.choice(string.digits) + text[at:],
            " ".join((text[:1], text[1:3], text[3:5], text[5:])),
        ]
    return spoilt


ODDITIES = [
    None, "", " ", "0", "abc", "NULL", "1.803331476872E12", "1,803331476872e+12", "1.80333147687E12", "1.8E12", "1E5",
    "1803331476872.0", "2.69054958815780E14", "E12", "1.E12", "300000L", "1253359X", "1253359X051", "00000000",
    "2055990",
    "205599000000000", "55990",
    "123456789012345678", "é1803331476872",
    "1 80 03 33 314 768 72", "85.07.30-033.28",
]  # fmt: skip


def test_every_grammar_is_the_same_in_python_and_in_sql(connection: duckdb.DuckDBPyConnection) -> None:
    nirs = random_nirs(400)
    texts: list[str | None] = [*ODDITIES, *nirs, *(one[:13] for one in nirs), *damaged(nirs), *random_nisses(200)]
    texts += damaged(random_nisses(200, seed=4))
    cases: list[tuple[str, Callable[[str | None], str | None]]] = [
        ("compacted(text)", compact),
        ("canonical_nir(text)", lambda text: found.number if (found := parse_nir(text)) else None),
        ("canonical_ntt(text)", canonical_ntt),
        ("canonical_niss(text, NULL)", lambda text: found.number if (found := parse_niss(text)) else None),
        ("canonical_niss(text, 1975)", lambda text: found.number if (found := parse_niss(text, 1975)) else None),
        ("canonical_niss(text, 2004)", lambda text: found.number if (found := parse_niss(text, 2004)) else None),
        ("canonical_france_travail_id(text)", canonical_france_travail_id),
        ("canonical_caf_matricule(text)", canonical_caf_matricule),
        ("canonical_caf_role(text)", canonical_caf_role),
    ]
    for macro, in_python in cases:
        found = in_sql(connection, macro, texts)
        differing = [
            (text, sql, in_python(text)) for text, sql in zip(texts, found, strict=True) if sql != in_python(text)
        ]
        assert differing == [], macro


class TestNir:
    def test_the_key_is_that_of_python_stdnum(self) -> None:
        for number in random_nirs(500):
            assert stdnum.fr.nir.is_valid(number)
            parsed = parse_nir(number)
            assert parsed is not None
            assert (parsed.number, parsed.is_checked) == (number[:13], True)

    def test_one_wrong_digit_or_two_swapped_are_caught(self) -> None:
        pick = random.Random(9)
        for number in random_nirs(500):
            at = pick.randrange(13)
            if number[at] not in "AB":
                wrong = number[:at] + str((int(number[at]) + pick.randint(1, 9)) % 10) + number[at + 1 :]
                assert parse_nir(wrong) is None
        assert parse_nir("1803331476872" + nir_key("1803331476872")) is not None
        assert parse_nir("8103331476872" + nir_key("1803331476872")) is None

    def test_it_says_sex_year_and_month_where_it_knows_them(self) -> None:
        parsed = parse_nir("2820251108030")
        assert parsed is not None
        assert (parsed.sex, parsed.birth_year, parsed.birth_month) == ("2", 82, 2)
        assert (parsed.is_checked, parsed.is_definitive, parsed.is_foreign_born) == (False, True, False)
        incomplete = parse_nir("7823099108030")
        assert incomplete is not None
        assert (incomplete.sex, incomplete.birth_month) == ("1", None)
        assert (incomplete.is_definitive, incomplete.is_foreign_born) == (False, True)

    @pytest.mark.parametrize("number", ["5820251108030", "0820251108030", "2821351108030", "2824351108030"])
    def test_first_digits_and_months_that_nobody_has_are_refused(self, number: str) -> None:
        assert parse_nir(number) is None

    def test_the_number_of_the_test_files_is_nobody(self) -> None:
        assert parse_nir("269054958815780") is None

    @pytest.mark.parametrize(
        ("written", "number"),
        [
            ("1.803331476872E12", "1803331476872"),
            ("1,803331476872E+12", "1803331476872"),
            ("1.80333147687E12", "1803331476870"),
            ("1803331476872.0", "1803331476872"),
            (" 1 80 33 31 476 872 ", "1803331476872"),
            ("1.80.33.31.476.872", "1803331476872"),
            ("1.80333E+12", None),
        ],
    )
    def test_a_spreadsheet_float_is_read_back_when_it_is_exact(self, written: str, number: str | None) -> None:
        parsed = parse_nir(written)
        assert (parsed.number if parsed else None) == number

    def test_a_temporary_number_is_never_mistaken_for_a_nir(self) -> None:
        assert canonical_ntt("1123456789ABC12") is None
        assert canonical_ntt("1123456789ABC1234") == "1123456789ABC1234"


def random_nisses(count: int, seed: int = 3) -> list[str]:
    pick = random.Random(seed)
    numbers = []
    for _ in range(count):
        year = pick.randint(1930, 2008)
        month = pick.randint(1, 12) + pick.choice((0, 0, 20, 40))
        nine = f"{year % 100:02d}{month:02d}{pick.randint(1, 28):02d}{pick.randint(1, 997):03d}"
        numbers.append(nine + niss_keys(nine)[year >= 2000])
    return numbers


class TestNiss:
    def test_python_stdnum_agrees(self) -> None:
        for number in random_nisses(500):
            assert stdnum.be.nn.is_valid(number) or stdnum.be.bis.is_valid(number)
            assert parse_niss(number) is not None

    def test_the_century_of_the_birth_date_chooses_the_key(self) -> None:
        before_2000, from_2000 = niss_keys("040315123")
        assert before_2000 != from_2000
        assert parse_niss("040315123" + from_2000, 2004) is not None
        assert parse_niss("040315123" + before_2000, 2004) is None
        assert parse_niss("040315123" + before_2000, 1904) is not None

    def test_a_bis_number_says_the_sex_only_when_it_was_known(self) -> None:
        for shift, sex in ((20, None), (40, "1")):
            nine = f"79{11 + shift:02d}20123"
            parsed = parse_niss(nine + niss_keys(nine)[0], 1979)
            assert parsed is not None
            assert (parsed.sex, parsed.birth_month, parsed.is_definitive) == (sex, 11, False)

    def test_an_unknown_birth_day_is_legitimate(self) -> None:
        nine = "790000123"
        parsed = parse_niss(nine + niss_keys(nine)[0])
        assert parsed is not None
        assert (parsed.birth_year, parsed.birth_month) == (1979, None)


class TestLocalNumbers:
    @pytest.mark.parametrize(
        ("written", "canonical"),
        [
            ("1253359X", "1253359X"),
            ("1253359x051", "1253359X"),
            ("300000L", "0300000L"),
            ("12533591051", "12533591"),
            ("00000000", None),
            ("12X", None),
        ],
    )
    def test_a_france_travail_id_keeps_what_stays(self, written: str, canonical: str | None) -> None:
        assert canonical_france_travail_id(written) == canonical

    @pytest.mark.parametrize(
        ("written", "canonical"),
        [
            ("205599000000000", "2055990"),
            ("2055990", "2055990"),
            ("55990", "0055990"),
            ("5599000000000", "0055990"),
            ("123456789012345", "123456789012345"),
            ("0000000", None),
        ],
    )
    def test_a_matricule_is_the_same_padded_or_not(self, written: str, canonical: str | None) -> None:
        assert canonical_caf_matricule(written) == canonical

    @pytest.mark.parametrize(
        ("written", "role"),
        [("DEM", "DEM"), ("usager", "DEM"), ("CONJOINT/CONCUBIN/PACSE", "CJT"), ("CONJOINT(E)", "CJT"), ("?", None)],
    )
    def test_roles_come_in_many_spellings(self, written: str, role: str | None) -> None:
        assert canonical_caf_role(written) == role
