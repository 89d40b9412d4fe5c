"""What a partner writes down about a person: the truth, with the mistakes of real files.

Belongs here: the error rates of each channel and their effect on identity fields. Does not belong here: the layout of
any file, who stands in which file.

The rates are those that the sector's matching work reports, as lower bounds; a factor scales all of them (× 0.5, 1,
1.7, 3 in the quality report). A record keeps its mistakes from month to month: they are drawn from its key, not from
the month.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.population import Home, Population, with_nir_key
from insertion_pipeline.simulation.randomness import Booleans, Draws, Integers

#: The ways in which persons reach the network: one per kind of partner.
Channel: TypeAlias = Literal["department", "employment_service", "siae", "ale", "forem"]

#: One woman in 2.6 uses another name than her birth name; the rate of the reference is per woman's record.
_SHARE_OF_WOMEN_WITH_TWO_NAMES = 0.38
#: Two persons in three have a relative in the population; the rate of the reference is per record.
_SHARE_WITH_A_RELATIVE = 0.68


@dataclass(frozen=True)
class ErrorRates:
    """Probability of each mistake, per record."""

    number_missing: float
    number_mistyped: float = 0.01
    number_of_a_relative: float = 0.0015
    number_provisional: float = 0.10  # of those born abroad
    number_without_key: float = 0.0  # 13 characters
    name_mistyped: float = 0.012  # each name
    second_given_name: float = 0.02
    married_name_as_birth_name: float = 0.08  # of women
    names_swapped: float = 0.006
    birth_date_wrong: float = 0.015
    birth_date_missing: float = 0.004
    sex_wrong: float = 0.003
    former_address: float = 0.5  # of those who moved (12 %)
    transliterated: float = 0.25  # of those born abroad
    hyphen_lost: float = 0.20  # of compound given names
    mail_missing: float = 0.25
    phone_missing: float = 0.15

    def times(self, factor: float) -> ErrorRates:
        """Every rate scaled, none beyond 0.95."""
        return ErrorRates(**{one.name: min(getattr(self, one.name) * factor, 0.95) for one in fields(self)})


RATES: dict[Channel, ErrorRates] = {
    "department": ErrorRates(number_missing=0.12, number_without_key=0.20),
    "employment_service": ErrorRates(number_missing=0.08),
    "siae": ErrorRates(number_missing=0.15),
    "ale": ErrorRates(number_missing=0.40),
    "forem": ErrorRates(number_missing=0.08),
}


@dataclass(frozen=True)
class Observed:
    """Persons as written down, one row per record; null where the partner does not know."""

    birth_name: pa.Array
    used_name: pa.Array
    given_name: pa.Array
    other_given_names: tuple[pa.Array, pa.Array]
    sex: Integers
    birth_day: Integers  # UNKNOWN_DAY where missing
    birth_place_code: pa.Array
    birth_place_name: pa.Array
    nir: pa.Array  # 15 or 13 characters, French space
    niss: pa.Array  # 11 characters, Belgian space
    home: Home
    email: pa.Array
    phone: pa.Array

    @property
    def first_names(self) -> pa.Array:
        """All given names, the first one as written down."""
        second, third = self.other_given_names
        return spelling.joined(self.given_name, " ", second, " ", third)


def observe(
    population: Population, persons: Integers, channel: Channel, *, key: Integers | None = None, factor: float = 1.0
) -> Observed:
    """The records of `persons` in a channel. `key` tells several records of one person apart."""
    record = persons if key is None else key
    rates = RATES[channel].times(factor)
    draws = population.draws
    rows = pa.array(persons)
    sex = _sex(draws, channel, record, population.sex[persons], rates)
    given = _given_name(population, draws, channel, record, persons, rates)
    birth_name, used_name = _surnames(population, draws, channel, record, persons, rates)
    swapped = draws.chance(f"{channel}: names swapped", record, rates.names_swapped)
    birth_name, used_name, given = (
        spelling.where(swapped, given, birth_name),
        spelling.where(swapped, given, used_name),
        spelling.where(swapped, used_name, given),
    )
    moved = population.has_moved[persons] & draws.chance(f"{channel}: former home", record, rates.former_address)
    mail = draws.chance(f"{channel}: no e-mail", record, rates.mail_missing)
    phone = draws.chance(f"{channel}: no telephone", record, rates.phone_missing)
    return Observed(
        birth_name=birth_name,
        used_name=used_name,
        given_name=given,
        other_given_names=(
            spelling.picked(population.lexicon.given_names, population.given[1][persons]),
            spelling.picked(population.lexicon.given_names, population.given[2][persons]),
        ),
        sex=sex,
        birth_day=_birth_day(draws, channel, record, population.birth_day[persons], rates),
        birth_place_code=population.birth_place_code.take(rows),
        birth_place_name=population.birth_place_name.take(rows),
        nir=_nir(population, draws, channel, record, persons, rates),
        niss=_niss(population, draws, channel, record, persons, rates),
        home=_either(moved, population.former_home.take(persons), population.home.take(persons)),
        email=spelling.where(mail, None, population.email.take(rows)),
        phone=spelling.where(phone, None, population.phone.take(rows)),
    )


# -- names -------------------------------------------------------------------------------------------------------


def _given_name(
    population: Population, draws: Draws, channel: str, record: Integers, persons: Integers, rates: ErrorRates
) -> pa.Array:
    rank = population.given[0][persons]
    uses_second = draws.chance(f"{channel}: second given name", record, rates.second_given_name)
    rank = np.where(uses_second, population.given[1][persons], rank)
    by_ear = population.is_foreign_born[persons] & draws.chance(
        f"{channel}: transliterated", record, rates.transliterated
    )
    name = spelling.where(
        by_ear,
        spelling.picked(population.lexicon.other_spellings, rank),
        spelling.picked(population.lexicon.given_names, rank),
    )
    hyphen_lost = draws.chance(f"{channel}: hyphen lost", record, rates.hyphen_lost)
    name = spelling.where(hyphen_lost, pc.replace_substring(name, "-", " "), name)
    return _mistyped(draws, f"{channel}: given name", record, name, rates.name_mistyped)


def _surnames(
    population: Population, draws: Draws, channel: str, record: Integers, persons: Integers, rates: ErrorRates
) -> tuple[pa.Array, pa.Array]:
    rows = pa.array(persons)
    birth, used = population.birth_name.take(rows), population.used_name.take(rows)
    confused = (population.sex[persons] == 2) & draws.chance(
        f"{channel}: married name",
        record,
        min(rates.married_name_as_birth_name / _SHARE_OF_WOMEN_WITH_TWO_NAMES, 0.95),
    )
    birth = spelling.where(confused, used, birth)
    birth_as_written = _mistyped(draws, f"{channel}: birth name", record, birth, rates.name_mistyped)
    same = np.asarray(pc.equal(birth, used))
    used_as_written = _mistyped(draws, f"{channel}: used name", record, used, rates.name_mistyped)
    return birth_as_written, spelling.where(same, birth_as_written, used_as_written)


def _mistyped(draws: Draws, purpose: str, record: Integers, values: pa.Array, rate: float) -> pa.Array:
    wrong = draws.chance(f"{purpose} mistyped", record, rate)
    chosen = record[wrong]
    position = draws.below(f"{purpose}: letter", chosen, 30)
    kind = draws.below(f"{purpose}: mistake", chosen, 4)
    return spelling.replaced(values, wrong, spelling.mistyped_words(values.filter(pa.array(wrong)), position, kind))


# -- civil status ------------------------------------------------------------------------------------------------


def _sex(draws: Draws, channel: str, record: Integers, sex: Integers, rates: ErrorRates) -> Integers:
    return np.where(draws.chance(f"{channel}: sex wrong", record, rates.sex_wrong), 3 - sex, sex)


def _birth_day(draws: Draws, channel: str, record: Integers, birth_day: Integers, rates: ErrorRates) -> Integers:
    """Day and month swapped where that is a date, else one of the three parts wrong, or the first of January."""
    years, months, days = spelling.parts_of_day(birth_day)
    wrong = draws.chance(f"{channel}: birth date wrong", record, rates.birth_date_wrong)
    kind = draws.uniform(f"{channel}: birth date mistake", record)
    step = draws.between(f"{channel}: birth date step", record, 1, 9)
    swaps = (kind < 0.4) & (days <= 12) & (days != months)
    january = ~swaps & (kind > 0.92)
    other_year = ~swaps & ~january & (kind > 0.65)
    other_month = ~swaps & ~january & ~other_year & (kind > 0.5)
    other_day = ~swaps & ~january & ~other_year & ~other_month
    year = np.where(other_year, years + np.where(step > 7, 10, np.where(step > 3, 1, -1)), years)
    month = np.where(swaps, days, np.where(january, 1, np.where(other_month, (months + step - 1) % 12 + 1, months)))
    day = np.where(swaps, months, np.where(january, 1, np.where(other_day, (days + step - 1) % 28 + 1, days)))
    observed = np.where(wrong, spelling.days_of(year, month, day), birth_day)
    missing = draws.chance(f"{channel}: birth date missing", record, rates.birth_date_missing)
    return np.where(missing, spelling.UNKNOWN_DAY, observed)


# -- numbers -----------------------------------------------------------------------------------------------------


def _holder(
    population: Population, draws: Draws, channel: str, record: Integers, persons: Integers, rates: ErrorRates
) -> Integers:
    """Whose number stands in the record: at times a relative's of the same household."""
    relative = population.relative[persons]
    rate = min(rates.number_of_a_relative / _SHARE_WITH_A_RELATIVE, 0.95)
    confused = (relative >= 0) & draws.chance(f"{channel}: relative's number", record, rate)
    return np.where(confused, relative, persons)


def _with_mistakes(
    draws: Draws, channel: str, record: Integers, rows: spelling.Digits, rates: ErrorRates
) -> spelling.Digits:
    wrong = draws.chance(f"{channel}: number mistyped", record, rates.number_mistyped)
    chosen = record[wrong]
    rows = rows.copy()
    rows[wrong] = spelling.mistyped_number(
        rows[wrong], draws.below(f"{channel}: digit", chosen, 13), draws.below(f"{channel}: digit shift", chosen, 10)
    )
    return rows


def _nir(
    population: Population, draws: Draws, channel: str, record: Integers, persons: Integers, rates: ErrorRates
) -> pa.Array:
    rows = population.nir[_holder(population, draws, channel, record, persons, rates)]
    provisional = population.is_foreign_born[persons] & draws.chance(
        f"{channel}: provisional number", record, rates.number_provisional
    )
    rows[provisional] = _provisional(rows[provisional], draws.below(f"{channel}: order", record[provisional], 999))
    rows = _with_mistakes(draws, channel, record, rows, rates)
    missing = draws.chance(f"{channel}: number missing", record, rates.number_missing)
    short = draws.chance(f"{channel}: number without key", record, rates.number_without_key)
    number = spelling.digits_text(rows)
    number = spelling.where(short, pc.utf8_slice_codeunits(number, 0, 13), number)
    return spelling.where(missing | population.is_belgian[persons], None, number)


def _provisional(rows: spelling.Digits, order: Integers) -> spelling.Digits:
    """The number that a fund invents while the real one is asked for: first digit 7 or 8, another order."""
    stem = rows[:, :13].copy()
    stem[:, 0] += ord("7") - ord("1")
    stem[:, 10:13] = spelling.digits(order + 1, 3)
    return with_nir_key(stem)


def _niss(
    population: Population, draws: Draws, channel: str, record: Integers, persons: Integers, rates: ErrorRates
) -> pa.Array:
    rows = population.niss[_holder(population, draws, channel, record, persons, rates)]
    rows = _with_mistakes(draws, channel, record, rows, rates)
    missing: Booleans = draws.chance(f"{channel}: number missing", record, rates.number_missing)
    return spelling.where(missing | ~population.is_belgian[persons], None, spelling.digits_text(rows))


def _either(first: Booleans, former: Home, current: Home) -> Home:
    return Home(
        np.where(first, former.town, current.town),
        np.where(first, former.number, current.number),
        spelling.where(first, former.street_type, current.street_type),
        spelling.where(first, former.street_name, current.street_name),
    )
