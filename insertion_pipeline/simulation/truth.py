"""What the indicators should find, counted on the population itself.

Belongs here: true counts and sums per reporting unit and month, where they follow from the situations alone. Does not
belong here: the definitions of published indicators (`data_sources/indicators`), which also decide what to do with
what partners got wrong or have not entered yet.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np
import pyarrow as pa

from insertion_pipeline.month import Month
from insertion_pipeline.simulation.ale import activity
from insertion_pipeline.simulation.population import CHILD, Population
from insertion_pipeline.simulation.situations import NOT_ON_FILE, OPEN, Situations

#: One row per month, measure and unit. `unit` is a department's territory key, a partner's code or a person space.
MEASURES_SCHEMA = pa.schema(
    [("month", pa.string()), ("measure", pa.string()), ("unit", pa.string()), ("value", pa.int64())]
)


def measures_of(population: Population, situations: Situations, month: Month) -> pa.Table:
    """True counts of the month, rows of `MEASURES_SCHEMA`:

    `rsa_adults_open` and `rsa_subject_payable` (adults whose file is in state 2; those of them subject to rights and
    duties) per department of residence; `jobseekers` per space; `siae_employees` (an hour at least) and `siae_hours`
    per structure, as finally entered; `ale_workers` and `ale_hours` per agency.
    """
    rows = [
        *_minimum_income(population, situations, month),
        ("jobseekers", "fr", int(situations.job_search.in_month(month).sum())),
        ("jobseekers", "be", int(situations.forem.in_month(month).sum())),
        *_structures(population, situations, month),
        *_agencies(population, situations, month),
    ]
    columns = zip(*((str(month), *row) for row in rows), strict=True)
    return pa.table([list(column) for column in columns], schema=MEASURES_SCHEMA)


def persons_by_family(truth: pa.Table, family_of: Mapping[str, str]) -> pa.Table:
    """Distinct persons in the month's files, and those in the files of two families or more, per space.

    `truth`: rows of `delivering.TRUTH_SCHEMA`. A bundle counts for the month of its deposit, whatever it restates.
    """
    family = pa.array([family_of[source] for source in truth["source"].to_pylist()], pa.string())
    seen = truth.select(["month", "person_space", "true_person_id"]).append_column("family", family)
    per_person = (
        seen.group_by(["month", "person_space", "true_person_id"]).aggregate([("family", "count_distinct")]).to_pydict()
    )
    counts: dict[tuple[str, str, str], int] = {}
    for month, space, families in zip(
        per_person["month"], per_person["person_space"], per_person["family_count_distinct"], strict=True
    ):
        for measure in ("persons", "persons_in_two_families")[: 2 if families > 1 else 1]:
            counts[month, measure, space] = counts.get((month, measure, space), 0) + 1
    rows = [(*key, counts[key]) for key in sorted(counts)]
    return pa.table([list(column) for column in zip(*rows, strict=True)] or [[], [], [], []], schema=MEASURES_SCHEMA)


def _minimum_income(population: Population, situations: Situations, month: Month) -> Iterator[tuple[str, str, int]]:
    income = situations.income
    state = income.state(population, month)
    adults = (state != NOT_ON_FILE) & (state == OPEN) & (population.role != CHILD)
    departments = np.array(population.gazetteer.departments)[population.home.town]
    for measure, counted in (("rsa_adults_open", adults), ("rsa_subject_payable", adults & income.is_subject)):
        codes, count = np.unique(departments[counted], return_counts=True)
        for code, number in zip(codes.tolist(), count.tolist(), strict=True):
            yield measure, f"FR-DEP-{code}", number


def _structures(population: Population, situations: Situations, month: Month) -> Iterator[tuple[str, str, int]]:
    spells = situations.employment
    hours = np.where(spells.in_month(month), spells.hours(population, month), 0)
    for rank, structure in enumerate(situations.structures):
        own = (spells.structure == rank) & (hours > 0)
        yield "siae_employees", structure.code, len(np.unique(spells.person[own]))
        yield "siae_hours", structure.code, int(hours[own].sum())


def _agencies(population: Population, situations: Situations, month: Month) -> Iterator[tuple[str, str, int]]:
    for rank, code in enumerate(situations.agencies):
        spells, hours, _ = activity(population, situations, rank, month)
        yield "ale_workers", code, len(np.unique(spells[hours > 0]))
        yield "ale_hours", code, int(hours.sum())
