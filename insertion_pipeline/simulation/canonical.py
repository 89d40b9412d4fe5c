"""The population as canonical person records, with the truth: what record linkage is trained and measured on.

Belongs here: which partner knows whom, in the canonical schema. Does not belong here: files (`simulating` writes
those), linkage itself (`identity`).

`records` has one row per (person, channel) in which the person is known; `truth` gives the person of each record.
"""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.observing import Channel, Observed, observe
from insertion_pipeline.simulation.places import Gazetteer, gazetteer
from insertion_pipeline.simulation.population import ROLES, Population, populate
from insertion_pipeline.simulation.randomness import Booleans, Draws, Integers

#: The canonical person record: text everywhere, null allowed but in `record_id` and `person_space`.
PERSON_RECORD_COLUMNS = (
    "record_id", "person_space", "partner_family", "partner", "nir", "niss", "france_travail_id", "caf_matricule",
    "caf_role", "department_person_id", "birth_name", "used_name", "first_names", "sex", "birth_date",
    "birth_place_code", "birth_place_name", "address", "postal_code", "residence_code", "email", "phone",
)  # fmt: skip

RECORDS_SCHEMA = pa.schema([(name, pa.string()) for name in PERSON_RECORD_COLUMNS])
TRUTH_SCHEMA = pa.schema([("record_id", pa.string()), ("person_id", pa.string()), ("person_space", pa.string())])

#: Share of the adults that each channel knows: two records a person on average, more than half known twice or more.
_KNOWN: dict[Channel, float] = {
    "department": 0.62, "employment_service": 0.78, "siae": 0.34, "ale": 0.45, "forem": 0.92,
}  # fmt: skip
_FAMILY: dict[Channel, str] = {
    "department": "department",
    "employment_service": "employment_service",
    "siae": "siae",
    "ale": "ale",
    "forem": "employment_service",
}
_BELGIAN: frozenset[Channel] = frozenset({"ale", "forem"})


def person_records(
    persons: int,
    seed: int,
    error_factor: float = 1.0,
    names: str = "default",
    *,
    belgian_share: float = 0.15,
    reference: date = date(2026, 9, 30),
    places: Gazetteer | None = None,
) -> tuple[pa.Table, pa.Table]:
    """The records of `persons` people, and who is behind each record.

    Returns `(records, truth)`: `RECORDS_SCHEMA` and `TRUTH_SCHEMA`, in the same shuffled order. About 1.5 records per
    person. `error_factor` scales every error rate; `names` is `default` or `alternative`.
    """
    draws = Draws(seed)
    population = populate(
        persons, draws, places or gazetteer(), names=names, reference=reference, belgian_share=belgian_share
    )
    parts = [_channel_records(population, channel, error_factor) for channel in _KNOWN]
    records = pa.concat_tables([part for part, _ in parts]).combine_chunks()
    person = np.concatenate([chosen for _, chosen in parts])
    order = np.argsort(draws.bits("order of records", np.arange(len(person), dtype=np.int64)), kind="stable")
    record_id = spelling.joined("r", spelling.digits_text(spelling.digits(np.arange(len(person), dtype=np.int64), 9)))
    records = records.take(pa.array(order)).set_column(0, "record_id", record_id)
    truth = pa.table(
        {
            "record_id": record_id,
            "person_id": population.person_ids(person[order]),
            "person_space": records["person_space"],
        },
        schema=TRUTH_SCHEMA,
    )
    return records, truth


def _channel_records(population: Population, channel: Channel, factor: float) -> tuple[pa.Table, Integers]:
    draws = population.draws
    known = (
        population.is_adult
        & (population.is_belgian == (channel in _BELGIAN))
        & draws.chance(f"{channel}: known", population.rows, _KNOWN[channel])
    )
    persons = population.rows[known]
    return records_of(population, persons, channel, observe(population, persons, channel, factor=factor)), persons


def records_of(population: Population, persons: Integers, channel: Channel, observed: Observed) -> pa.Table:
    """Observed persons as canonical records with an empty `record_id`, written in the manner of the channel.

    The employment service of France knows the used name only; Walloon partners write the birth name only.
    """
    in_capitals = channel in ("department", "employment_service", "siae")
    write = spelling.capitals if in_capitals else _as_is
    towns = pa.array(observed.home.town)
    places = population.gazetteer
    department = channel == "department"
    all_names = department
    values = {
        "person_space": population.spaces(persons),
        "partner_family": _constant(_FAMILY[channel], len(persons)),
        "partner": _partner(population, persons, channel),
        "nir": observed.nir,
        "niss": observed.niss,
        "france_travail_id": _france_travail_id(population, persons, channel),
        "caf_matricule": spelling.where(_all(persons, department), caf_matricule(population, persons), None),
        "caf_role": spelling.where(_all(persons, department), spelling.picked(ROLES, population.role[persons]), None),
        "department_person_id": spelling.where(
            _all(persons, department), spelling.text(population.draws.below("department id", persons, 10**8)), None
        ),
        "birth_name": spelling.where(_all(persons, channel != "employment_service"), write(observed.birth_name), None),
        "used_name": spelling.where(_all(persons, channel not in _BELGIAN), write(observed.used_name), None),
        "first_names": write(observed.first_names if all_names else observed.given_name),
        "sex": spelling.text(observed.sex),
        "birth_date": spelling.day_text(observed.birth_day),
        "birth_place_code": spelling.where(_all(persons, not department), observed.birth_place_code, None),
        "birth_place_name": spelling.capitals(observed.birth_place_name),
        "address": address_line(observed),
        "postal_code": places.postal_codes.take(towns),
        "residence_code": places.codes.take(towns),
        "email": observed.email,
        "phone": observed.phone,
    }
    empty = _constant(None, len(persons))
    return pa.table([empty, *(values[name] for name in PERSON_RECORD_COLUMNS[1:])], schema=RECORDS_SCHEMA)


def address_line(observed: Observed) -> pa.Array:
    """Number, kind and name of the street."""
    home = observed.home
    return spelling.joined(spelling.text(home.number), " ", home.street_type, " ", home.street_name)


def caf_matricule(population: Population, persons: Integers) -> pa.Array:
    """The seven digits of the household's benefit file: the same for all its members."""
    number = population.draws.below("benefit file", population.file[persons], 9_000_000) + 1_000_000
    return spelling.text(number)


def france_travail_number(population: Population, persons: Integers) -> pa.Array:
    """Eleven characters: seven digits, a letter or digit, three digits; one person in four keeps the eight of old."""
    draws = population.draws
    number = draws.below("employment service number", persons, 10**7)
    letter = spelling.picked(tuple("ABCDEFGHJKLMNPRSTUVWXYZ0123456789"), draws.below("its letter", persons, 33))
    tail = spelling.digits_text(spelling.digits(draws.below("its region", persons, 1000), 3))
    short = draws.chance("its old form", persons, 0.25)
    return spelling.joined(spelling.digits_text(spelling.digits(number, 7)), letter, spelling.where(short, "", tail))


def uuids(draws: Draws, purpose: str, index: Integers) -> pa.Array:
    """A universally unique identifier for each index: 32 hexadecimal digits in five groups."""
    halves = np.stack([draws.bits(f"{purpose} {half}", index) for half in range(2)])
    nibbles = (halves[:, :, None] >> (np.arange(16, dtype=np.uint64) * np.uint64(4))) & np.uint64(15)
    letters = np.frombuffer(b"0123456789abcdef", dtype=np.uint8)[nibbles.astype(np.int64)]
    text = spelling.digits_text(np.concatenate([letters[0], letters[1]], axis=1))
    cuts = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))
    return spelling.joined(*(pc.utf8_slice_codeunits(text, start, stop) for start, stop in cuts), separator="-")


def _france_travail_id(population: Population, persons: Integers, channel: Channel) -> pa.Array:
    """Known to the employment service itself, and to half of the others."""
    draws = population.draws
    if channel in _BELGIAN:
        return _constant(None, len(persons))
    share = {"department": 0.35, "siae": 0.45}.get(channel, 1.0)
    knows = draws.chance(f"{channel}: knows the employment service number", persons, share)
    return spelling.where(knows, france_travail_number(population, persons), None)


def _partner(population: Population, persons: Integers, channel: Channel) -> pa.Array:
    draws = population.draws
    if channel == "department":
        departments = spelling.picked(population.gazetteer.departments, population.home.town[persons])
        return spelling.joined("dep-", departments)
    if channel == "employment_service":
        return _constant("france-travail", len(persons))
    if channel == "forem":
        return _constant("forem", len(persons))
    if channel == "siae":
        return spelling.joined("siae-", spelling.text(draws.between("structure", persons, 1, 2000)))
    return spelling.joined("ale-", population.gazetteer.codes.take(pa.array(population.home.town[persons])))


def _constant(value: str | None, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)


def _all(persons: Integers, value: bool) -> Booleans:
    return np.full(len(persons), value)


def _as_is(values: pa.Array) -> pa.Array:
    return values
