"""Territories that cross each other: groupings, employment zones, committees and departments, communes not shown."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from scipy.optimize import linprog

from insertion_pipeline.disclosure import attacker, protect
from insertion_pipeline.disclosure.pieces import PIECES_SCHEMA, fitting
from insertion_pipeline.disclosure.protecting import LEAST_WIDTH
from insertion_pipeline.indicators import territories
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.protected_values import small_registry, value, values_of


def without_communes(counts: Mapping[str, int], *levels: str) -> pa.Table:
    """What a count of persons by commune gives at larger levels, however these lie across each other."""
    registry = small_registry()
    with in_memory() as connection:
        rollup = territories.rollup(connection, registry, Month.parse("2026-09")).to_pylist()
    found: Counter[tuple[str, str]] = Counter()
    for row in rollup:
        if row["level"] in levels:
            found[row["level"], row["territory"]] += counts.get(row["leaf"], 0)
    return values_of(value("known", code, level, count) for (level, code), count in found.items() if count)


#: Communes of the Ardennes and of the Meuse, in five groupings; one of them is known by Rethel alone.
RETHEL = "FR-EPCI-200043156"
HOMES = {
    "FR-COM-08105": 40, "FR-COM-08362": 3, "FR-COM-08409": 25, "FR-COM-08081": 14, "FR-COM-08480": 9,
    "FR-COM-55029": 31, "FR-COM-55545": 22,
}  # fmt: skip


def test_a_grouping_is_not_found_by_subtraction_from_its_department() -> None:
    """The groupings of a department are not parts of it in any list of levels, but everybody knows that they are."""
    safe = protect(without_communes(HOMES, "epci", "department", "region"), small_registry())
    hidden = {row["territory_code"] for row in safe.table.to_pylist() if row["status"] == "suppressed"}
    assert hidden == {RETHEL, "FR-EPCI-200067759"}
    pieces = safe.knowledge.pieces
    assert pieces.filter(pc.equal(pieces["piece"], RETHEL)).to_pylist() == [
        {"month": "2026-09", "levels": "department+epci+region", "piece": RETHEL, "whole": whole, "whole_level": level}
        for whole, level in (("FR-DEP-08", "department"), ("FR-REG-44", "region"))
    ]


def test_the_attacker_needs_to_know_how_territories_cross() -> None:
    """The fault: a table protected as if groupings and departments had nothing in common."""
    safe = protect(without_communes(HOMES, "epci", "department", "region"), small_registry())
    shown_again = {"status": "published", "numerator": 14.0, "value": 14.0}
    faulty = [
        row | shown_again if row["territory_code"] == "FR-EPCI-200067759" else row for row in safe.table.to_pylist()
    ]
    published = pa.Table.from_pylist(faulty, schema=safe.table.schema)
    with in_memory() as connection:
        told = attacker.audit(connection, published, safe.knowledge).breaches
        untold = attacker.audit(
            connection, published, replace(safe.knowledge, pieces=PIECES_SCHEMA.empty_table())
        ).breaches
    assert [(row["territory_code"], row["low"]) for row in told.to_pylist()] == [(RETHEL, 3.0)]
    assert len(untold) == 0


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_small_number_of_crossing_territories_is_known_by_another_attacker(seed: int) -> None:
    """Communes are what everything is made of: least and most of each hidden number by scipy, from the raw lists."""
    chance = random.Random(seed)
    registry = small_registry()
    homes = [
        "FR-COM-" + row["code"] for row in registry.nomenclature("communes").records()
        if row["country"] == "FR" and row["department"] in ("08", "52", "55") and row["code"] == row["current_code"]
    ]  # fmt: skip
    counts = {code: int(chance.paretovariate(1.1)) for code in chance.sample(homes, 40)}
    levels = ("epci", "clpe", "employment_zone", "department", "region", "country")
    truth = without_communes(counts, *levels)
    safe = protect(truth, registry)
    intervals = bounds_of_hidden(safe.table, registry)
    small = {row["territory_code"] for row in truth.to_pylist() if row["numerator"] < 5}
    assert small
    for code, (low, high) in intervals.items():
        assert high - low >= (5 if code in small else LEAST_WIDTH) - 1e-6, code


def bounds_of_hidden(published: pa.Table, registry: Registry) -> dict[str, tuple[float, float]]:
    """Least and most of each hidden territory: every commune of the lists is an unknown that is nowhere negative."""
    rows = {row["territory_code"]: row for row in published.to_pylist()}
    with in_memory() as connection:
        rollup = territories.rollup(connection, registry, Month.parse("2026-09"))
        connection.register("rollup", rollup)
        alike = connection.sql(
            "SELECT list(territory) FROM rollup WHERE list_contains($here, territory) GROUP BY leaf",
            params={"here": list(rows)},
        ).fetchall()
    levels = {row["territory_level"] for row in rows.values()}
    places = sorted({tuple(sorted(one)) for (one,) in alike if len(one) == len(levels)})
    names = sorted(rows)
    matrix = np.array([[float(name in one) for one in places] for name in names])
    shown = np.array([rows[name]["status"] == "published" for name in names])
    numbers = np.array([rows[name]["numerator"] or 0.0 for name in names])
    found = {}
    for at in np.flatnonzero(~shown):
        ends = [
            linprog(
                sign * matrix[at], A_eq=matrix[shown], b_eq=numbers[shown], A_ub=-matrix[~shown],
                b_ub=-np.ones(int((~shown).sum())),
            )
            for sign in (1.0, -1.0)
        ]  # fmt: skip
        low, high = ends[0].fun, np.inf if ends[1].status == 3 else -ends[1].fun
        found[names[at]] = (low, high)
    return found


def test_what_is_known_of_a_department_without_its_commune_is_a_piece_of_it() -> None:
    """Of the department's 40, 36 are in communes shown, 2 in one that is hidden: the others have no commune."""
    counts = {"FR-COM-08105": 20, "FR-COM-08409": 16, "FR-COM-08362": 2, "FR-DEP-08": 2, "FR-DEP-52": 30}
    safe = protect(without_communes(counts, "commune", "department", "region"), small_registry())
    for code, (low, high) in bounds_of_hidden(safe.table, small_registry()).items():
        assert high - low >= LEAST_WIDTH, code
    assert set(safe.knowledge.open_sums["along"].to_pylist()) == {"commune<department", "commune<region"}


def test_numbers_are_found_that_fit_every_whole() -> None:
    """Three pieces of two wholes that share one; what cannot fit misses as little as can be."""
    line, piece = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 2])
    unknown = np.full(3, np.nan)
    found = fitting(unknown, line, piece, np.array([7.0, 4.0]))
    assert np.bincount(line, weights=found[piece]).tolist() == [7.0, 4.0]
    assert (found >= 0).all()
    assert fitting(unknown, line, piece, np.array([0.0, 4.0])).tolist() == [0.0, 0.0, 4.0]
