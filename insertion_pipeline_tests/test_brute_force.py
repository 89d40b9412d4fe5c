"""The attacker against every possibility counted out: nothing of the package's own arithmetic."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import pyarrow as pa
import pytest

from insertion_pipeline.disclosure import attacker, protect
from insertion_pipeline.disclosure.protecting import COLUMNS
from insertion_pipeline.lake import in_memory
from insertion_pipeline_tests.protected_values import small_registry, value, values_of

PLACES = ("FR-COM-08362", "FR-COM-08105", "FR-COM-08409")
WHOLE = "FR-DEP-08"
SEXES = ("F", "M")
TOTAL = "TOTAL"
THRESHOLD = 5
Cell = tuple[str, str]
Sum = tuple[Cell, tuple[Cell, ...]]

SUMS: tuple[Sum, ...] = (
    *(((place, TOTAL), tuple((place, sex) for sex in SEXES)) for place in (*PLACES, WHOLE)),
    *(((WHOLE, sex), tuple((place, sex) for place in PLACES)) for sex in (*SEXES, TOTAL)),
)


def counts_of(seed: int) -> dict[Cell, int]:
    chance = random.Random(seed)
    counts = {(place, sex): chance.choice((0, 1, 2, 3, 4, 6, 7, 9)) for place in PLACES for sex in SEXES}
    for place in PLACES:
        counts[place, TOTAL] = sum(counts[place, sex] for sex in SEXES)
    for sex in (*SEXES, TOTAL):
        counts[WHOLE, sex] = sum(counts[place, sex] for place in PLACES)
    return counts


def table_of(counts: dict[Cell, int]) -> pa.Table:
    rows = []
    for (place, sex), count in counts.items():
        level = "department" if place == WHOLE else "commune"
        cut = {} if sex == TOTAL else {"breakdown": "sex", "modality": sex}
        rows.append(value("known", place, level, count, **cut))
    return values_of(rows)


def possibilities(shown: dict[Cell, int], hidden: Sequence[Cell]) -> Iterator[dict[Cell, int]]:
    """Every way to fill what is hidden with whole numbers of 1 at least so that all sums hold."""
    highest = max([*shown.values(), 1]) + THRESHOLD

    def settled(told: dict[Cell, int], rest: Sequence[Cell]) -> Iterator[dict[Cell, int]]:
        for whole, parts in SUMS:
            unknown = [cell for cell in (whole, *parts) if cell not in told]
            if len(unknown) == 1:
                (cell,) = unknown
                known = sum(told[part] for part in parts if part in told)
                number = known if cell == whole else told[whole] - known
                if number < 1:
                    return
                yield from settled({**told, cell: number}, [one for one in rest if one != cell])
                return
        for whole, parts in SUMS:
            least = sum(told.get(part, 1) for part in parts)  # a hidden one is 1 at least
            is_complete = all(part in told for part in parts)
            if whole in told and (least > told[whole] or (is_complete and least < told[whole])):
                return
        if not rest:
            yield told
            return
        for number in range(1, highest + 1):
            yield from settled({**told, rest[0]: number}, rest[1:])

    return settled(shown, hidden)


@pytest.mark.parametrize("seed", [0, 3, 4])
def test_counting_out_every_possibility_finds_what_the_attacker_finds(seed: int) -> None:
    counts = counts_of(seed)
    safe = protect(table_of(counts), small_registry())
    cell_of = {
        (row["territory_code"], row["modality"]): row["status"]
        for row in safe.table.to_pylist()
        if row["status"] in ("published", "suppressed")
    }
    hidden = [cell for cell, status in cell_of.items() if status == "suppressed"]
    sensitive = [cell for cell in hidden if 0 < counts[cell] < THRESHOLD]
    assert {cell for cell, count in counts.items() if 0 < count < THRESHOLD} == set(sensitive)
    assert under_width(counts, hidden, sensitive) == set()
    secondary = sorted(set(hidden) - set(sensitive))
    for given_back in secondary:  # the fault: one of them shown after all
        left = [cell for cell in hidden if cell != given_back]
        assert told_by_the_attacker(counts, left, sensitive) == under_width(counts, left, sensitive)


def under_width(counts: dict[Cell, int], hidden: Sequence[Cell], sensitive: Sequence[Cell]) -> set[Cell]:
    """Which sensitive cells lie between values less than a threshold apart, whatever the truth."""
    if not sensitive:
        return set()
    low, high = dict.fromkeys(sensitive, 10**9), dict.fromkeys(sensitive, 0)
    shown = {cell: count for cell, count in counts.items() if cell not in hidden}
    for possible in possibilities(shown, hidden):
        for cell in sensitive:
            low[cell], high[cell] = min(low[cell], possible[cell]), max(high[cell], possible[cell])
        if all(high[cell] - low[cell] >= THRESHOLD for cell in sensitive):
            return set()
    return {cell for cell in sensitive if high[cell] - low[cell] < THRESHOLD}


def told_by_the_attacker(counts: dict[Cell, int], hidden: Sequence[Cell], sensitive: Sequence[Cell]) -> set[Cell]:
    truth = table_of(counts)
    knowledge = protect(truth, small_registry()).knowledge
    rows = [
        {**row, "numerator": None, "value": None, "status": "suppressed"}
        if (row["territory_code"], row["modality"]) in hidden
        else row
        for row in truth.to_pylist()
    ]
    needs = pa.Table.from_pylist(
        [
            {
                "quantity": "known.numerator", "month": "2026-09", "territory_code": place,
                "breakdown": "total" if sex == TOTAL else "sex", "modality": sex, "need": float(THRESHOLD),
            }
            for place, sex in sensitive
        ],
        schema=attacker.NEEDS_SCHEMA,
    )  # fmt: skip
    with in_memory() as connection:
        found = attacker.audit(connection, values_of(rows).select(list(COLUMNS)), knowledge, needs)
    assert found.undecided_in_whole == 0
    exposed = [*found.narrow.to_pylist(), *found.narrow_in_whole.to_pylist()]
    return {(row["territory_code"], row["modality"]) for row in exposed}
