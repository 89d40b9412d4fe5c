"""A second attacker over time: two months and two vintages of both, every table that was published as one program.

It shares nothing with the first: every sum that holds, then and now, is a row of a matrix written down here, and HiGHS
says how little and how much each small number may be. The reader is the strongest that is considered: somebody told him
of every number whether it has moved between the vintages.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import highspy
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from insertion_pipeline.disclosure import protect
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.protected_values import FAMILY, small_registry, value, values_of

COMMUNES = {
    "FR-COM-08362": "FR-DEP-08", "FR-COM-08105": "FR-DEP-08", "FR-COM-08409": "FR-DEP-08", "FR-COM-08480": "FR-DEP-08",
    "FR-COM-52121": "FR-DEP-52", "FR-COM-52448": "FR-DEP-52", "FR-COM-52269": "FR-DEP-52",
}  # fmt: skip
LEVELS = {"COM": "commune", "DEP": "department", "REG": "region"}
MONTHS = ("2026-09", "2026-10")
FLOWS = ("stock", "entries", "exits")
THRESHOLD = 5.0

#: A count of persons: what is counted, month, commune, sex.
Atom = tuple[str, str, str, str]
#: What a row of a table shows: what is counted, month, territory, modality.
Cell = tuple[str, str, str, str]
Counts = Mapping[Atom, int]


def registry(*, linked: bool = True) -> Registry:
    """Three counts by commune and sex, and what the catalogue says of how they are linked from month to month."""
    flows = tuple(
        FAMILY.indicators[0].model_copy(
            update={"code": code, "balance": ("stock@1", "entries", "-exits") if linked and code == "stock" else ()}
        )
        for code in FLOWS
    )
    return replace(small_registry(), indicator_families=(FAMILY.model_copy(update={"indicators": flows}),))


def counted(seed: int) -> Counts:
    """Who is followed, comes and goes in two months; some communes are small."""
    chance = random.Random(seed)
    first, second = MONTHS
    found: dict[Atom, int] = {}
    for place, sex in itertools.product(COMMUNES, "FM"):
        size = chance.choice((6, 40, 90))
        found["entries", first, place, sex], found["exits", first, place, sex] = (
            chance.randint(0, size // 3) for _ in range(2)
        )
        found["stock", first, place, sex] = chance.randint(1, size)
        found["entries", second, place, sex] = chance.randint(0, size // 3)
        found["exits", second, place, sex] = chance.randint(0, found["stock", first, place, sex] // 2)
        found["stock", second, place, sex] = _stock(found, place, sex)
    return found


def revised(counts: Counts, seed: int) -> Counts:
    """The same once some have come in late, in either month."""
    chance = random.Random(seed)
    found = dict(counts)
    for place, sex in chance.sample([*itertools.product(COMMUNES, "FM")], 3):
        found["entries", MONTHS[1], place, sex] += chance.randint(1, 4)
        found["stock", MONTHS[0], place, sex] += chance.randint(0, 2)
        found["stock", MONTHS[1], place, sex] = _stock(found, place, sex)
    return found


def _stock(counts: Counts, place: str, sex: str) -> int:
    before, entries, exits = (
        counts["stock", MONTHS[0], place, sex],
        *(counts[flow, MONTHS[1], place, sex] for flow in FLOWS[1:]),
    )
    return before + entries - exits


def holding(atom: Atom) -> Iterator[Cell]:
    """The cells that a count of persons is part of."""
    flow, month, commune, sex = atom
    for place, kind in itertools.product((commune, COMMUNES[commune], "FR-REG-44"), (sex, "TOTAL")):
        yield flow, month, place, kind


def summed(counts: Counts) -> dict[Cell, int]:
    found: dict[Cell, int] = {}
    for atom, count in counts.items():
        for cell in holding(atom):
            found[cell] = found.get(cell, 0) + count
    return found


def table(counts: Counts) -> pa.Table:
    rows = []
    for (flow, month, place, kind), count in summed(counts).items():
        named: dict[str, Any] = {"indicator_code": flow, "month": month, "modality": kind}
        named["breakdown"] = "total" if kind == "TOTAL" else "sex"
        rows.append(value("known", place, LEVELS[place.split("-")[1]], count, **named))
    return values_of(rows)


def told(published: pa.Table) -> dict[Cell, float | None]:
    """What a table says of each of its cells; nothing of one that is hidden."""
    return {
        (row["indicator_code"], row["month"], row["territory_code"], row["modality"]): row["numerator"]
        for row in published.to_pylist()
    }


def sums() -> Iterator[dict[Cell, float]]:
    """Every sum that holds of true numbers, as what adds up to nothing."""
    places = {"FR-DEP-08": "FR-REG-44", "FR-DEP-52": "FR-REG-44", **COMMUNES}
    for flow, month in itertools.product(FLOWS, MONTHS):
        for whole, kind in itertools.product(sorted(set(places.values())), ("F", "M", "TOTAL")):
            parts = [part for part, above in places.items() if above == whole]
            yield {(flow, month, part, kind): 1.0 for part in parts} | {(flow, month, whole, kind): -1.0}
        for place in {*places, "FR-REG-44"}:
            yield {(flow, month, place, sex): 1.0 for sex in "FM"} | {(flow, month, place, "TOTAL"): -1.0}
    for place, kind in itertools.product({*places, "FR-REG-44"}, ("F", "M", "TOTAL")):
        terms = (("stock", MONTHS[0], 1.0), ("entries", MONTHS[1], 1.0), ("exits", MONTHS[1], -1.0))
        yield {(flow, month, place, kind): sign for flow, month, sign in terms} | {
            ("stock", MONTHS[1], place, kind): -1.0
        }


@dataclass(frozen=True)
class Vintage:
    """What was true, and what was published of it."""

    counts: Counts
    published: pa.Table


def too_closely_known(*vintages: Vintage, remembering: bool = False) -> set[Cell]:
    """The small numbers of the last vintage that everything published bounds by less than the threshold.

    `remembering`: he also reckons with numbers that were hidden then and are others now, whatever they were.
    """
    truth = [summed(one.counts) for one in vintages]
    shown = [told(one.published) for one in vintages]
    last = len(vintages) - 1
    rows: list[tuple[dict[tuple[int, Cell], float], float]] = []

    def still(at: int, cell: Cell) -> bool:
        return truth[at][cell] == truth[last][cell]

    def known(at: int, cell: Cell) -> float | None:
        seen = [shown[then].get(cell) for then in range(len(vintages)) if truth[then][cell] == truth[at][cell]]
        return next((number for number in seen if number is not None), None)

    for at, sum_ in itertools.product(range(len(vintages)), sums()):
        if not set(sum_) <= set(shown[at]):
            continue  # a part of the table that is not published
        if not remembering and any(known(at, cell) is None and not still(at, cell) for cell in sum_):
            continue
        numbers = {cell: known(at, cell) for cell in sum_}
        unknown = {(last if still(at, cell) else at, cell): sum_[cell] for cell in sum_ if numbers[cell] is None}
        if unknown:
            rows.append((unknown, -sum(sum_[cell] * number for cell, number in numbers.items() if number is not None)))
    column = {name: rank for rank, name in enumerate(sorted({name for row, _ in rows for name in row}))}
    small = [cell for cell in shown[last] if 0 < truth[last][cell] < THRESHOLD and (last, cell) in column]
    widths = _widths(rows, column, [column[last, cell] for cell in small])
    return {cell for cell, width in zip(small, widths, strict=True) if width < THRESHOLD - 1e-6}


def _widths(
    rows: list[tuple[dict[tuple[int, Cell], float], float]], column: Mapping[tuple[int, Cell], int], asked: list[int]
) -> Iterator[float]:
    """How far each of the unknowns `asked` about can move, what is hidden being at least 1."""
    right = np.array([number for _, number in rows])
    program = highspy.HighsLp()
    program.num_col_, program.num_row_ = len(column), len(rows)
    program.col_cost_, program.col_lower_ = np.zeros(len(column)), np.ones(len(column))
    program.col_upper_, program.row_lower_, program.row_upper_ = np.full(len(column), 10_000.0), right, right
    program.a_matrix_.format_ = highspy.MatrixFormat.kRowwise
    program.a_matrix_.start_ = np.cumsum([0, *(len(row) for row, _ in rows)])
    program.a_matrix_.index_ = np.array([column[name] for row, _ in rows for name in row])
    program.a_matrix_.value_ = np.array([sign for row, _ in rows for sign in row.values()])
    solver = highspy.Highs()
    solver.setOptionValue("output_flag", False)
    solver.passModel(program)
    for one in asked:
        ends = []
        for sign in (1.0, -1.0):
            solver.changeColCost(one, sign)
            solver.run()
            assert solver.getModelStatus() == highspy.HighsModelStatus.kOptimal
            ends.append(sign * solver.getObjectiveValue())
        solver.changeColCost(one, 0.0)
        yield ends[1] - ends[0]


@pytest.fixture(scope="module", params=[1, 2])
def vintages(request: pytest.FixtureRequest) -> tuple[Vintage, Vintage]:
    """Two months, and the same months once some have come in late."""
    first = counted(request.param)
    second = revised(first, request.param)
    before = protect(table(first), registry()).table
    return Vintage(first, before), Vintage(second, protect(table(second), registry(), [before]).table)


def test_no_small_number_is_known_too_closely_from_two_months_and_two_vintages(
    vintages: tuple[Vintage, Vintage],
) -> None:
    before, now = vintages
    assert sum(0 < count < THRESHOLD for count in summed(now.counts).values()) > 20
    assert before.published["status"].to_pylist().count("suppressed") > 40
    assert too_closely_known(before) == set()
    assert too_closely_known(before, now) == set()


def test_a_vintage_protected_as_if_there_had_been_none_is_caught(vintages: tuple[Vintage, Vintage]) -> None:
    before, now = vintages
    faulty = replace(now, published=protect(table(now.counts), registry()).table)
    assert too_closely_known(faulty) == set()
    assert too_closely_known(before, faulty)


def test_a_number_shown_again_in_the_second_vintage_is_caught(vintages: tuple[Vintage, Vintage]) -> None:
    before, now = vintages
    truth = summed(now.counts)
    hidden = {cell: truth[cell] for cell, number in told(now.published).items() if number is None}
    again = min((cell for cell in hidden if hidden[cell] >= THRESHOLD), key=lambda cell: (hidden[cell], cell))
    assert told(before.published)[again] is None
    rows = [
        row | {"numerator": float(truth[again]), "status": "published"}
        if (row["indicator_code"], row["month"], row["territory_code"], row["modality"]) == again
        else row
        for row in now.published.to_pylist()
    ]
    faulty = replace(now, published=pa.Table.from_pylist(rows, schema=now.published.schema))
    assert too_closely_known(before, faulty)


def test_what_is_not_claimed_of_numbers_that_were_hidden_and_have_moved() -> None:
    """Hidden stocks of then, 3 and 2, are 4 and 7 now; whoever reckons with both finds the 4 who came between."""
    first = counted(1)
    second = revised(first, 1)
    before = protect(table(first), registry())
    now = protect(table(second), registry(), [before.table])
    vintages = Vintage(first, before.table), Vintage(second, now.table)
    assert too_closely_known(*vintages, remembering=True) == {("entries", MONTHS[1], "FR-COM-52121", "M")}
    assert (
        "what a number was that was hidden then and has moved since: sums of then around it are not put together"
        in (now.certificate["not_claimed"])
    )


def test_another_pattern_in_the_second_month_is_caught(vintages: tuple[Vintage, Vintage]) -> None:
    """The fault: each month by itself, as if the one before had not been published."""
    before, _ = vintages
    values = table(before.counts)
    apart = [protect(values.filter(pc.equal(values["month"], month)), registry()).table for month in MONTHS]
    assert too_closely_known(Vintage(before.counts, pa.concat_tables(apart)))
