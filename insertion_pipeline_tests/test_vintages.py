"""Several releases of one month, attacked together: what was hidden, what was shown, what moved in between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from insertion_pipeline.disclosure import SafeTable, attacker, protect
from insertion_pipeline.lake import in_memory
from insertion_pipeline_tests.protected_values import population, small_registry, value, values_of

COMMUNES = ("FR-COM-08362", "FR-COM-08105", "FR-COM-08409", "FR-COM-08480")
DEPARTMENT, OTHER, REGION = "FR-DEP-08", "FR-DEP-52", "FR-REG-44"


def month_of(*counts: int, other: int = 500) -> pa.Table:
    """Four communes, their department, another one and the region of both."""
    rows = [value("known", code, "commune", count) for code, count in zip(COMMUNES, counts, strict=True)]
    whole = sum(counts)
    rows += [value("known", DEPARTMENT, "department", whole), value("known", OTHER, "department", other)]
    return values_of([*rows, value("known", REGION, "region", whole + other)])


def hidden(safe: SafeTable) -> set[str]:
    return {row["territory_code"] for row in safe.table.to_pylist() if row["status"] == "suppressed"}


def after(earlier: pa.Table, now: pa.Table) -> SafeTable:
    return protect(now, small_registry(), [protect(earlier, small_registry()).table])


def test_what_was_hidden_stays_hidden_however_large_it_has_become() -> None:
    revised = month_of(30, 20, 40, 60)
    assert hidden(protect(revised, small_registry())) == set()
    safe = after(month_of(3, 20, 40, 60), revised)
    assert hidden(safe) == {COMMUNES[0], COMMUNES[1]}
    assert safe.certificate["over_time"] == {
        "earlier_releases": 1,
        "attacked_together": 1,
        "rows_that_stay_hidden": 2,
        "cells_known_from_earlier": 3,  # two communes and the other department
        "cells_hidden_again": 0,
    }


def test_what_was_shown_and_has_not_moved_protects_nobody() -> None:
    """One commune falls to 3: hiding a neighbour that everybody has seen would not help, its moved totals do."""
    revised = month_of(3, 20, 40, 60)
    assert hidden(protect(revised, small_registry())) == {COMMUNES[0], COMMUNES[1]}
    assert hidden(after(month_of(10, 20, 40, 60), revised)) == {COMMUNES[0], DEPARTMENT, REGION}


def test_what_moved_may_be_hidden_for_another() -> None:
    assert hidden(after(month_of(10, 27, 40, 60), month_of(3, 34, 40, 60))) == {COMMUNES[0], COMMUNES[1]}


def test_a_sum_of_the_earlier_release_binds_what_it_hid() -> None:
    """Then 3 and 20 were hidden, known to be 23 together; with them the third, now 4, would be known from the total."""
    assert hidden(after(month_of(3, 20, 40, 60), month_of(3, 20, 4, 60))) == {*COMMUNES[:3], DEPARTMENT, REGION}


def test_a_zero_is_shown_even_where_a_number_was_hidden() -> None:
    assert COMMUNES[0] not in hidden(after(month_of(3, 20, 40, 60), month_of(0, 20, 40, 60)))


def test_a_part_that_was_left_out_of_a_month_stays_out_of_it() -> None:
    """A sparse level is withheld; a revision does not add it to totals that everybody has seen."""
    rows = month_of(30, 20, 40, 60).to_pylist()
    before = values_of(row for row in rows if row["territory_level"] != "commune")
    safe = protect(values_of(rows), small_registry(), [protect(before, small_registry()).table])
    assert {row["territory_level"] for row in safe.table.to_pylist()} == {"department", "region"}
    assert safe.certificate["withheld_as_before"] == [
        {"indicator_code": "known", "country": "FR", "territory_level": "commune", "breakdown": "total"}
    ]
    assert after(values_of(before.to_pylist()), before).certificate["withheld_as_before"] == []


def test_where_only_what_everybody_has_seen_could_help_it_is_hidden_again_and_the_certificate_counts_it() -> None:
    """Two persons turn out to live elsewhere: 6 and 0 become 4 and 2, beside numbers that have not moved."""
    safe = after(month_of(6, 0, 40, 60), month_of(4, 2, 40, 60))
    assert hidden(safe) >= set(COMMUNES[:2])
    assert len(hidden(safe)) == 3
    assert safe.certificate["over_time"] == {
        "earlier_releases": 1,
        "attacked_together": 1,
        "rows_that_stay_hidden": 0,
        "cells_known_from_earlier": 2,  # the other department and the region
        "cells_hidden_again": 1,
    }


def fallen(*rows: tuple[str, str]) -> pa.Table:
    names = ("quantity", "month", "territory_code", "breakdown", "modality", "along")
    return pa.Table.from_pylist(
        [
            dict(zip(names, ("known.numerator", "2026-09", code, "total", "TOTAL", along), strict=True))
            for code, along in rows
        ],
        schema=pa.schema([(name, pa.string()) for name in names]),
    )


@pytest.mark.parametrize("remembers", [True, False])
def test_the_attacker_needs_the_earlier_release_to_find_what_it_gives_away(remembers: bool) -> None:
    """The fault: a revision protected as if nothing had been published before."""
    before = protect(month_of(10, 20, 40, 60), small_registry())
    faulty = protect(month_of(3, 20, 40, 60), small_registry())
    moved = fallen(*((code, "value") for code in (COMMUNES[0], DEPARTMENT, REGION)))
    with in_memory() as connection:
        earlier = [attacker.Earlier(before.table, moved)] if remembers else []
        found = attacker.audit(connection, faulty.table, faulty.knowledge, earlier=earlier)
    told = [(row["territory_code"], row["low"]) for row in found.breaches.to_pylist()]
    assert told == ([(COMMUNES[0], 3.0)] if remembers else [])


def rows_of(safe: SafeTable) -> dict[tuple[str, str, str], Any]:
    return {
        (row["territory_code"], row["breakdown"], row["modality"]): row["numerator"]
        for row in safe.table.to_pylist()
        if row["indicator_code"] == "known" and row["status"] in ("published", "suppressed")
    }


def determined(before: SafeTable, now: SafeTable, truth: dict[tuple[str, str, str], float]) -> int:
    """How many hidden cells have one value, by the rank of every sum that holds in either release (another road)."""
    then, shown = rows_of(before), rows_of(now)
    unknown = [key for key, number in shown.items() if number is None and then.get(key) != truth[key]]
    column = {key: at for at, key in enumerate(unknown)}
    lines = []
    wholes: dict[tuple[Any, ...], list[tuple[str, str, str]]] = {}
    links = {(row["part"], row["part_level"], row["whole"]) for row in now.knowledge.links.to_pylist()}
    for part, level, whole in links:
        for key in shown:
            if key[0] == part and (whole, *key[1:]) in shown:
                wholes.setdefault(((whole, *key[1:]), level), []).append(key)
    for key in shown:
        if key[1] != "total":
            wholes.setdefault(((key[0], "total", "TOTAL"), key[1]), []).append(key)
    for (whole, _), parts in wholes.items():
        if abs(sum(truth[key] for key in parts) - truth[whole]) > 1e-6:
            continue
        signs = [(key, 1.0) for key in parts] + [(whole, -1.0)]
        for told in (shown, then):
            numbers = {key: truth[key] if told.get(key) is None else told[key] for key, _ in signs}
            if abs(sum(sign * numbers[key] for key, sign in signs)) < 1e-6:
                line = np.zeros(len(unknown))
                for key, sign in signs:
                    if key in column and told.get(key) is None:
                        line[column[key]] += sign
                lines.append(line)
    _, singular, space = np.linalg.svd(np.array(lines), full_matrices=False)
    return int((np.abs((space[singular > 1e-9] ** 2).sum(axis=0) - 1.0) < 1e-6).sum())


@pytest.mark.parametrize("late", [20, 100])
def test_no_hidden_cell_is_known_from_two_releases_of_a_month_with_late_arrivals(late: int) -> None:
    first, second = population(500, spread=15), population(500 + late, spread=15)
    before = protect(first, small_registry())
    naive = protect(second, small_registry())
    careful = protect(second, small_registry(), [before.table])
    truth = {
        (row["territory_code"], row["breakdown"], row["modality"]): row["numerator"]
        for row in second.to_pylist()
        if row["indicator_code"] == "known"
    }
    assert determined(before, naive, truth) > 0
    assert determined(before, careful, truth) == 0
    kept = {key for key, number in rows_of(before).items() if number is None}
    assert {key for key in kept if rows_of(careful)[key] is not None} == set()
    assert careful.certificate["audit"]["recomputable_cells"] == 0
