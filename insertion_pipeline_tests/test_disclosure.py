from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest

from insertion_pipeline.disclosure import (
    CannotProtect,
    ForbiddenBreakdown,
    NotProtected,
    SafeTable,
    attacker,
    menus,
    protect,
    protecting,
    room,
    small_cells,
    solving,
    suppression,
    thresholds,
)
from insertion_pipeline.disclosure.circuits import smallest
from insertion_pipeline.disclosure.covering import Cover, Covering
from insertion_pipeline.disclosure.detours import movable_cells
from insertion_pipeline.disclosure.equations import quantities_of
from insertion_pipeline.disclosure.inference import Moves, Unknowns
from insertion_pipeline.disclosure.insiders import Guarded, Insiders, Pairs
from insertion_pipeline.disclosure.persons import alike
from insertion_pipeline.disclosure.protecting import COLUMNS
from insertion_pipeline.disclosure.room import Cuts
from insertion_pipeline.disclosure.system import System
from insertion_pipeline.lake import in_memory
from insertion_pipeline.registry import Breakdown, Registry
from insertion_pipeline_tests.protected_values import FAMILY, population, small_registry, value, values_of

COMMUNES = ("FR-COM-08362", "FR-COM-08105", "FR-COM-08409", "FR-COM-08480")


def statuses(table: pa.Table, code: str = "known") -> dict[str, str]:
    rows = [row for row in table.to_pylist() if row["indicator_code"] == code]
    return {row["territory_code"]: row["status"] for row in rows}


def protected(*rows: dict[str, object]) -> pa.Table:
    return protect(values_of(rows), small_registry()).table


@pytest.fixture(scope="module")
def truth() -> pa.Table:
    return population(1500, spread=25)


@pytest.fixture(scope="module")
def safe(truth: pa.Table) -> SafeTable:
    return protect(truth, small_registry())


# -- primary -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "status"), [(0, "published"), (1, "suppressed"), (4, "suppressed"), (5, "published"), (6, "published")]
)
def test_counts_of_one_to_four_persons_are_hidden_and_zeros_are_not(count: int, status: str) -> None:
    (row,) = protected(value("known", "FR-COM-08362", "commune", count)).to_pylist()
    assert row["status"] == status
    assert row["numerator"] == (None if status == "suppressed" else count)
    assert row["value"] == row["numerator"]


@pytest.mark.parametrize(
    ("numerator", "denominator", "status", "terms"),
    [
        (12, 40, "published", (12, 40)),
        (3, 40, "suppressed", (None, None)),
        (38, 40, "suppressed", (None, None)),
        (0, 4, "suppressed", (None, None)),
        (0, 40, "published", (0, 40)),
        (40, 40, "published", (40, 40)),
        (10, 20, "PS", (10, 20)),
        (0, 0, "NC", (0, 0)),
    ],
)
def test_a_rate_is_hidden_with_its_terms_and_its_complement(
    numerator: int, denominator: int, status: str, terms: tuple[int | None, int | None]
) -> None:
    (row,) = protected(value("share", "FR-DEP-08", "department", numerator, denominator)).to_pylist()
    assert row["status"] == status
    assert (row["numerator"], row["denominator"]) == terms
    assert (row["value"] is not None) == (status == "published")


@pytest.mark.parametrize(("contributors", "status"), [(4, "suppressed"), (5, "published"), (None, "suppressed")])
def test_a_sum_is_hidden_with_its_contributors_or_when_nobody_counted_them(
    contributors: int | None, status: str
) -> None:
    (row,) = protected(value("hours", "FR-DEP-08", "department", 900.5, contributors=contributors)).to_pylist()
    assert (row["status"], row["numerator"]) == (status, None if status == "suppressed" else 900.5)


def test_a_sum_that_one_contributor_dominates_is_hidden() -> None:
    rows = [value("hours", "FR-DEP-08", "department", 900.5, contributors=50)]
    shares = values_of(rows).append_column("largest_share", pa.array([0.86]))
    assert protect(shares, small_registry()).table["status"].to_pylist() == ["suppressed"]


def test_a_mean_is_hidden_with_the_persons_behind_it() -> None:
    table = protected(
        value("mean", "FR-DEP-08", "department", 900, 4, contributors=4),
        value("mean", "FR-DEP-52", "department", 900, 40, contributors=40),
    )
    assert statuses(table, "mean") == {"FR-DEP-08": "suppressed", "FR-DEP-52": "published"}


def test_a_quantile_of_fewer_than_twenty_means_nothing_and_shows_nothing() -> None:
    table = protected(
        value("delay", "FR-DEP-08", "department", 41, contributors=19),
        value("delay", "FR-DEP-52", "department", 41, contributors=20),
    )
    by_code = {row["territory_code"]: row for row in table.to_pylist()}
    assert (by_code["FR-DEP-08"]["status"], by_code["FR-DEP-08"]["numerator"]) == ("PS", None)
    assert (by_code["FR-DEP-52"]["status"], by_code["FR-DEP-52"]["value"]) == ("published", 41)


def test_structures_have_a_threshold_of_three() -> None:
    table = protected(
        value("structures", "FR-DEP-08", "department", 2), value("structures", "FR-DEP-52", "department", 3)
    )
    assert statuses(table, "structures") == {"FR-DEP-08": "suppressed", "FR-DEP-52": "published"}


def test_a_sensitive_breakdown_has_a_threshold_of_eleven() -> None:
    cut = {"breakdown": "health", "modality": "yes"}
    table = protected(
        value("known", "FR-REG-44", "region", 10, **cut), value("known", "FR-REG-32", "region", 11, **cut)
    )
    assert statuses(table) == {"FR-REG-44": "suppressed", "FR-REG-32": "published"}


def test_where_everybody_is_of_one_sensitive_kind_the_full_cell_is_hidden_and_no_zero() -> None:
    """All 40 of a region are in ill health: the 40 and their total are hidden; by sex alone they are not."""
    rows = [value("known", code, "region", count) for code, count in (("FR-REG-44", 40), ("FR-REG-32", 60))]
    rows.append(value("known", "FR", "country", 100))
    for code, level, ill, well in (("FR-REG-44", "region", 40, 0), ("FR-REG-32", "region", 25, 35)):
        for breakdown in ("health", "sex"):
            rows += [
                value("known", code, level, count, breakdown=breakdown, modality=kind)
                for kind, count in (("ill" if breakdown == "health" else "F", ill), ("well", well))
            ]
    table = protected(*rows)
    hidden = {
        (row["territory_code"], row["breakdown"], row["modality"])
        for row in table.to_pylist()
        if row["status"] == "suppressed"
    }
    assert {("FR-REG-44", "health", "ill"), ("FR-REG-44", "total", "TOTAL"), ("FR-REG-44", "sex", "F")} <= hidden
    assert not {place for place in hidden if place[2] == "well" and place[0] == "FR-REG-44"}
    ordinary = protected(*(row for row in rows if row["breakdown"] != "health"))
    assert set(ordinary["status"].to_pylist()) == {"published"}


def test_a_forbidden_breakdown_is_refused() -> None:
    forbidden = {"origin": Breakdown(column="origin", label="Origine", sensitivity="forbidden")}
    family = FAMILY.model_copy(update={"breakdowns": forbidden})
    registry = Registry(small_registry().folder, {}, {}, (family,), "")
    with pytest.raises(ForbiddenBreakdown, match="origin"):
        protect(values_of([value("known", "FR", "country", 100, breakdown="origin", modality="x")]), registry)


def test_what_was_not_received_shows_nothing_and_keeps_its_status() -> None:
    table = protected(
        value("known", "FR", "country", 100, status="NR"), value("share", "FR", "country", 10, 90, status="ND")
    )
    assert [(row["status"], row["numerator"], row["value"]) for row in table.to_pylist()] == [
        ("NR", None, None),
        ("ND", None, None),
    ]


# -- secondary ---------------------------------------------------------------------------------------------------------


def test_one_small_commune_is_not_found_by_subtraction() -> None:
    counts = dict(zip(COMMUNES, (3, 20, 40, 60), strict=True))
    rows = [value("known", code, "commune", count) for code, count in counts.items()]
    table = protected(*rows, value("known", "FR-DEP-08", "department", sum(counts.values())))
    assert statuses(table) == {
        COMMUNES[0]: "suppressed",
        COMMUNES[1]: "suppressed",  # the cheapest neighbour
        COMMUNES[2]: "published",
        COMMUNES[3]: "published",
        "FR-DEP-08": "published",
    }


def test_two_hidden_cells_of_one_are_not_known_to_be_one_each() -> None:
    counts = dict(zip(COMMUNES, (1, 1, 20, 40), strict=True))
    rows = [value("known", code, "commune", count) for code, count in counts.items()]
    table = protected(*rows, value("known", "FR-DEP-08", "department", 62))
    hidden = [code for code, status in statuses(table).items() if status == "suppressed"]
    assert sum(counts[code] - 1 for code in hidden if code in counts) >= 5


def test_a_cell_hidden_in_one_indicator_is_hidden_in_the_other_that_shows_it() -> None:
    rows = []
    for code, count in zip(COMMUNES, (3, 40, 50, 60), strict=True):
        rows += [value("known", code, "commune", count), value("share", code, "commune", 0, count)]
    rows += [value("known", "FR-DEP-08", "department", 153), value("share", "FR-DEP-08", "department", 0, 153)]
    table = protected(*rows)
    assert statuses(table, "known") == statuses(table, "share")
    assert list(statuses(table).values()).count("suppressed") == 2


def test_a_zero_is_never_hidden_in_a_count(safe: SafeTable, truth: pa.Table) -> None:
    rows = [value("known", code, "commune", count) for code, count in zip(COMMUNES, (3, 0, 0, 9), strict=True)]
    table = protected(*rows, value("known", "FR-DEP-08", "department", 12))
    assert [statuses(table)[code] for code in COMMUNES[1:3]] == ["published", "published"]


def test_no_small_number_is_left_to_see(safe: SafeTable) -> None:
    assert len(small_cells(safe.table, small_registry())) == 0


def test_the_check_of_small_cells_sees_what_it_must(truth: pa.Table) -> None:
    table = truth.select(COLUMNS)
    small = small_cells(table, small_registry())
    count = pc.sum(pc.and_(pc.equal(table["indicator_code"], "known"), pc.less(table["numerator"], 5))).as_py()
    assert pc.sum(pc.equal(small["indicator_code"], "known")).as_py() == count > 4


def test_what_is_shown_is_the_truth(safe: SafeTable, truth: pa.Table) -> None:
    keys = ("indicator_code", "territory_code", "breakdown", "modality")
    true = {tuple(row[key] for key in keys): row for row in truth.to_pylist()}
    shown = 0
    for row in safe.table.to_pylist():
        if row["status"] in ("published", "PS"):
            shown += 1
            assert row["numerator"] == true[tuple(row[key] for key in keys)]["numerator"]
        elif row["status"] == "suppressed":
            assert (row["numerator"], row["denominator"], row["value"]) == (None, None, None)
    assert shown > 200


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_no_hidden_cell_can_be_worked_out_by_linear_algebra(seed: int) -> None:
    """An attack by another road: dense rank by SVD over the whole table of one indicator."""
    safe = protect(population(700, spread=18, seed=seed), small_registry())
    rows = [row for row in safe.table.to_pylist() if row["indicator_code"] == "known"]
    position = {(row["territory_code"], row["breakdown"], row["modality"]): at for at, row in enumerate(rows)}
    hidden_keys = [key for key, at in position.items() if rows[at]["status"] == "suppressed"]
    equations: dict[object, dict[int, float]] = {}
    wholes: dict[str, set[str]] = {}
    for link in safe.knowledge.links.to_pylist():
        wholes.setdefault(link["part"], set()).add(link["whole"] + "|" + link["part_level"])
    for (territory, breakdown, modality), at in position.items():
        for whole in wholes.get(territory, ()):
            above = (whole.split("|")[0], breakdown, modality)
            if above in position:
                equations.setdefault(("territory", whole, breakdown, modality), {position[above]: -1.0})[at] = 1.0
        if breakdown != "total":
            above = (territory, "total", "TOTAL")
            equations.setdefault(("cut", territory, breakdown), {position[above]: -1.0})[at] = 1.0
    columns = {position[key]: rank for rank, key in enumerate(hidden_keys)}
    matrix = np.zeros((len(equations), len(columns)))
    for number, terms in enumerate(equations.values()):
        for at, sign in terms.items():
            if at in columns:
                matrix[number, columns[at]] = sign
    _, singular, rows_space = np.linalg.svd(matrix, full_matrices=False)
    basis = rows_space[singular > 1e-9]
    determined = np.abs((basis**2).sum(axis=0) - 1.0) < 1e-6
    assert len(columns) > 10
    assert not determined.any()


@pytest.mark.parametrize("zeros_known", [True, False])
def test_every_small_number_keeps_its_width_for_an_attacker_who_knows_every_equation(
    safe: SafeTable, truth: pa.Table, zeros_known: bool
) -> None:
    keys = ("indicator_code", "territory_code", "breakdown", "modality")
    true = {tuple(row[key] for key in keys): row for row in truth.to_pylist()}
    quantities = {row["indicator_code"]: row["numerator_quantity"] for row in safe.knowledge.indicators.to_pylist()}
    needs = [
        {"quantity": quantities[row["indicator_code"]], **{name: row[name] for name in attacker.KEY[1:]}, "need": 5.0}
        for row in safe.table.to_pylist()
        if row["indicator_code"] in ("known", "share") and 0 < true[tuple(row[key] for key in keys)]["numerator"] < 5
    ]
    with in_memory() as connection:
        examined = pa.Table.from_pylist(needs, schema=attacker.NEEDS_SCHEMA)
        found = attacker.audit(connection, safe.table, safe.knowledge, examined, zeros_known=zeros_known)
    bounded = [row for row in found.cells.to_pylist() if row["need"] == 5.0]
    assert len(bounded) == len(needs) > 20
    assert all(row["high"] - row["low"] >= 5.0 - 1e-6 for row in bounded)
    assert len(found.breaches) == 0


def test_the_attacker_bounds_what_it_cannot_find() -> None:
    """Two hidden communes sum to 5 and each is at least 1: each lies between 1 and 4, whatever the attacker tries."""
    rows = [value("known", code, "commune", count) for code, count in zip(COMMUNES, (3, 2, 40, 60), strict=True)]
    made = protect(values_of([*rows, value("known", "FR-DEP-08", "department", 105)]), small_registry())
    faulty = made.table.to_pylist()
    for row in faulty:
        count = {COMMUNES[2]: 40.0, COMMUNES[3]: 60.0, "FR-DEP-08": 105.0}.get(row["territory_code"])
        row |= {"numerator": count, "value": count, "status": "published" if count else "suppressed"}
    needs = [
        {"quantity": "known.numerator", **{name: row[name] for name in attacker.KEY[1:]}, "need": 5.0}
        for row in faulty
        if row["status"] == "suppressed"
    ]
    with in_memory() as connection:
        table = pa.Table.from_pylist(faulty, schema=made.table.schema)
        examined = pa.Table.from_pylist(needs, schema=attacker.NEEDS_SCHEMA)
        found = attacker.audit(connection, table, made.knowledge, examined)
        false = [np.array([3.0, 9.0]), np.array([6.0, -1.0]), np.array([np.nan, 2.0])]
        misled = attacker.audit(connection, table, made.knowledge, examined, false)
    assert [(row["low"], row["high"]) for row in found.narrow.to_pylist()] == [(1.0, 4.0), (1.0, 4.0)]
    assert len(found.breaches) == 0
    assert misled.cells.equals(found.cells)  # solutions that do not solve its own equations are not believed


def test_protection_does_not_depend_on_the_order_of_rows(safe: SafeTable, truth: pa.Table) -> None:
    shuffled = truth.take(pa.array(np.random.default_rng(3).permutation(len(truth))))
    again = protect(shuffled, small_registry())
    assert again.table.equals(safe.table)
    assert again.certificate == safe.certificate


def test_what_is_too_large_for_one_program_is_protected_cell_after_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "LARGEST", 0)  # no part is searched …
    monkeypatch.setattr(suppression, "detoured", None)  # … or given one program
    values = population(300, spread=12)
    safe = protect(values, small_registry())
    audit = safe.certificate["audit"]
    assert audit["sensitive_cells_bounded"] == safe.certificate["sensitive_cells"] > 0
    assert (audit["sensitive_cells_under_width"], audit["recomputable_cells"]) == (0, 0)
    assert protect(values.take(pa.array(range(len(values))[::-1])), small_registry()).table.equals(safe.table)


def exits_by_class() -> Registry:
    """Exits, and three indicators that sum to them."""
    classes = ("lasting", "passing", "other")
    indicators = tuple(
        FAMILY.indicators[0].model_copy(update={"code": code, "parts": classes if code == "exits" else ()})
        for code in ("exits", *classes)
    )
    return Registry(small_registry().folder, {}, {}, (FAMILY.model_copy(update={"indicators": indicators}),), "")


def test_indicators_that_sum_to_another_are_protected_together() -> None:
    counts = {"exits": 45, "lasting": 3, "passing": 12, "other": 30}
    rows = [
        {**value("known", "FR-DEP-08", "department", count), "indicator_code": code} for code, count in counts.items()
    ]
    table = protect(values_of(rows), exits_by_class()).table
    shown = {row["indicator_code"]: row["status"] for row in table.to_pylist()}
    assert shown == {"exits": "published", "lasting": "suppressed", "passing": "suppressed", "other": "published"}


def combined(**counts: int) -> tuple[pa.Table, Registry]:
    """Persons by disjoint combinations of families, and the share of those that two families follow."""
    breakdown = Breakdown(column="x", label="x", modalities=dict.fromkeys(counts, "x"))
    several = tuple(f"known[families={name}]" for name in counts if "+" in name)
    rate = FAMILY.indicators[1].model_copy(update={"parts": several})
    family = FAMILY.model_copy(
        update={"breakdowns": {"families": breakdown}, "indicators": (FAMILY.indicators[0], rate)}
    )
    whole, two = sum(counts.values()), sum(count for name, count in counts.items() if "+" in name)
    rows = [value("known", "FR", "country", whole), value("share", "FR", "country", two, whole)]
    rows += [
        value("known", "FR", "country", count, breakdown="families", modality=name) for name, count in counts.items()
    ]
    return values_of(rows), Registry(small_registry().folder, {}, {}, (family,), "")


def test_a_union_of_disjoint_combinations_is_an_equation_of_the_system() -> None:
    """Two families or more: 3 + 30, shown as 33 of 233. Hiding the 3 with a single family would leave 33 - 30."""
    values, registry = combined(**{"ale": 20, "siae": 180, "ale+siae": 3, "ale+siae+department": 30})
    table = protect(values, registry).table
    hidden = {row["modality"] for row in table.to_pylist() if row["status"] == "suppressed"}
    assert hidden == {"ale+siae", "ale+siae+department"}
    forgetful = Registry(registry.folder, {}, {}, (FAMILY.model_copy(update={"breakdowns": registry.breakdowns}),), "")
    naive = protect(values, forgetful)  # the fault: the equation is not in the system
    knowing = protect(values, registry).knowledge
    with in_memory() as connection:
        found = attacker.audit(connection, naive.table, knowing).breaches.to_pylist()
    assert [(row["modality"], row["low"]) for row in found] == [("ale", 20.0), ("ale+siae", 3.0)]


def test_a_breakdown_that_need_not_add_up_is_an_equation_where_it_does() -> None:
    """Nobody is of two kinds in the one department, ten are in the other: 3 of 33 would follow from the 30 beside."""
    kinds = {"ai": (3, 40), "aci": (30, 50), "ei": (40, 60)}
    rows = [value("known", "FR-DEP-08", "department", 73), value("known", "FR-DEP-52", "department", 140)]
    for kind, (here, there) in kinds.items():
        cut = {"breakdown": "kind", "modality": kind}
        rows += [value("known", "FR-DEP-08", "department", here, **cut)]
        rows += [value("known", "FR-DEP-52", "department", there, **cut)]
    kind = Breakdown(column="kind", label="Type", modalities=dict.fromkeys(kinds, "x"), additive=False)
    family = FAMILY.model_copy(update={"breakdowns": {**FAMILY.breakdowns, "kind": kind}})
    safe = protect(values_of(rows), replace(small_registry(), indicator_families=(family,)))
    hidden = {
        (row["territory_code"], row["modality"]) for row in safe.table.to_pylist() if row["status"] == "suppressed"
    }
    assert hidden == {("FR-DEP-08", "ai"), ("FR-DEP-08", "aci")}
    assert [(row["territory_code"], row["along"]) for row in safe.knowledge.open_sums.to_pylist()] == [
        ("FR-DEP-52", "kind")
    ]


def test_counts_are_one_where_all_that_are_one_agree() -> None:
    """Both others are `known` in the one place where that stands; where it does not, they are not each other."""
    counts = {
        "known": {"FR-DEP-08": 20},
        "also": {"FR-DEP-08": 20, "FR-DEP-52": 40},
        "other": {"FR-DEP-08": 20, "FR-DEP-52": 50},
    }
    rows = [
        value("known", place, "department", count, indicator_code=code)
        for code, places in counts.items()
        for place, count in places.items()
    ]
    declared = tuple(FAMILY.indicators[0].model_copy(update={"code": code}) for code in counts)
    registry = replace(small_registry(), indicator_families=(FAMILY.model_copy(update={"indicators": declared}),))
    found = quantities_of(values_of(rows), thresholds.judge(values_of(rows), registry))
    known, also, other = (found[code, "numerator"] for code in counts)
    assert known == also != other


def test_counts_of_councils_and_of_departments_are_one_unless_that_contradicts_the_others() -> None:
    """Equal in the country by chance; the one stands in departments, the other in councils."""
    rows = [value("known", "FR", "country", 40), value("share", "FR", "country", 40, 100)]
    rows += [value("known", "FR-DEP-08", "department", 40), value("known", "FR-DEP-54", "department", 0)]
    rows += [value("share", "FR-CON-08", "council", 0, 50), value("share", "FR-CON-54", "council", 40, 50)]
    beside = value("share", "FR-DEP-08", "department", 40, 50)
    for told, across_levels, are_one in ((rows, True, True), (rows, False, False), ([*rows, beside], False, True)):
        values = values_of(told)
        found = quantities_of(values, thresholds.judge(values, small_registry()), across_levels=across_levels)
        assert (found["known", "numerator"] == found["share", "numerator"]) is are_one
    safe = protect(values_of(rows), small_registry())
    assert set(safe.table["status"].to_pylist()) == {"published"}


def test_a_total_that_its_parts_do_not_make_binds_nobody() -> None:
    rows = [value("known", code, "commune", count) for code, count in zip(COMMUNES, (3, 20, 40, 60), strict=True)]
    safe = protect(values_of([*rows, value("known", "FR-DEP-08", "department", 500)]), small_registry())
    assert list(statuses(safe.table).values()).count("suppressed") == 1
    assert safe.knowledge.open_sums.to_pylist()[0]["along"] == "commune<department"


def test_where_every_commune_is_tiny_communes_are_left_out_and_country_figures_stay() -> None:
    communes = [
        row["code"] for row in small_registry().nomenclature("communes").records() if row["department"] == "08"
    ][:12]
    above = (("FR-DEP-08", "department"), ("FR-REG-44", "region"), ("FR", "country"))
    rows = [value("known", f"FR-COM-{code}", "commune", 1) for code in communes]
    safe = protect(values_of([*rows, *(value("known", code, level, 12) for code, level in above)]), small_registry())
    assert statuses(safe.table) == {code: "published" for code, _ in above}
    assert safe.certificate["withheld"] == [
        {"indicator_code": "known", "country": "FR", "territory_level": "commune", "breakdown": "total"}
    ]


def test_where_too_much_hangs_together_the_sparsest_part_goes_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Communes (one of four too small) go before the cut of the department by sex; its uncut figure never does."""
    monkeypatch.setattr(menus, "TOGETHER", 4)
    cut = [
        value("known", "FR-DEP-08", "department", count, breakdown="sex", modality=sex)
        for sex, count in (("F", 60), ("M", 63))
    ]
    communes = [value("known", code, "commune", count) for code, count in zip(COMMUNES, (3, 20, 40, 60), strict=True)]
    apart = [value("hours", code, "commune", 900.5, contributors=50) for code in COMMUNES]
    rows = [*communes, *cut, value("known", "FR-DEP-08", "department", 123), *apart]
    safe = protect(values_of(rows), small_registry())
    assert safe.certificate["withheld"] == []
    assert safe.certificate["withheld_as_too_many"] == [
        {"indicator_code": "known", "country": "FR", "territory_level": "commune", "breakdown": "total"}
    ]
    shown = {(row["indicator_code"], row["territory_level"], row["modality"]) for row in safe.table.to_pylist()}
    assert shown == {("known", "department", name) for name in ("F", "M", "TOTAL")} | {("hours", "commune", "TOTAL")}


def test_what_would_give_back_a_term_that_is_left_out_goes_with_it() -> None:
    """Exits less those to passing and to other jobs are the lasting ones, one in each commune."""
    communes = [
        row["code"] for row in small_registry().nomenclature("communes").records() if row["department"] == "08"
    ][:12]
    counts = {"exits": 31, "lasting": 1, "passing": 10, "other": 20}
    rows = [
        {**value("known", territory, level, count * times), "indicator_code": code}
        for code, count in counts.items()
        for territory, level, times in [
            *((f"FR-COM-{commune}", "commune", 1) for commune in communes), ("FR-DEP-08", "department", 12),
        ]
    ]  # fmt: skip
    safe = protect(values_of(rows), exits_by_class())
    left_out = {(one["indicator_code"], one["territory_level"]) for one in safe.certificate["withheld"]}
    assert left_out == {(code, "commune") for code in ("lasting", "passing", "other")}
    shown = {(row["indicator_code"], row["territory_level"], row["status"]) for row in safe.table.to_pylist()}
    assert shown == {("exits", "commune", "published"), *((code, "department", "published") for code in counts)}


def test_programs_two_at_a_time_hide_what_one_after_the_other_do(
    safe: SafeTable, truth: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(solving, "_AT_ONCE", 1)
    alone = protect(truth, small_registry())
    assert alone.table.equals(safe.table)
    assert alone.certificate == safe.certificate


def test_what_was_shown_before_is_never_left_out_for_being_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    communes = [value("known", code, "commune", count) for code, count in zip(COMMUNES, (8, 20, 40, 60), strict=True)]
    before = protect(values_of(communes), small_registry())
    monkeypatch.setattr(menus, "TOGETHER", 2)
    assert len(protect(values_of(communes), small_registry()).table) == 0
    assert len(protect(values_of(communes), small_registry(), [before.table]).table) == len(COMMUNES)


def test_an_empty_table_is_safe() -> None:
    safe = protect(values_of([]), small_registry())
    assert len(safe.table) == 0
    assert safe.certificate["rows"] == 0


# -- the audit and the certificate ---------------------------------------------------------------------------------


def test_the_attacker_sees_a_secondary_that_was_dropped(safe: SafeTable, truth: pa.Table) -> None:
    rows = [value("known", code, "commune", count) for code, count in zip(COMMUNES, (3, 20, 40, 60), strict=True)]
    made = protect(values_of([*rows, value("known", "FR-DEP-08", "department", 123)]), small_registry())
    faulty = made.table.to_pylist()
    for row in faulty:
        if row["territory_code"] == COMMUNES[1]:
            row |= {"status": "published", "numerator": 20.0, "value": 20.0}
    with in_memory() as connection:
        found = attacker.audit(connection, pa.Table.from_pylist(faulty, schema=made.table.schema), made.knowledge)
    breaches = found.breaches.to_pylist()
    assert [(one["territory_code"], one["solution"]) for one in breaches] == [(COMMUNES[0], 3.0)]


def test_the_attacker_sees_what_somebody_alone_behind_a_hidden_number_is_told() -> None:
    """One person of the first commune knows its 1; of two hidden numbers more, one is shown again."""
    counts = dict(zip(COMMUNES, (1, 4, 20, 40), strict=True))
    rows = [value("known", code, "commune", count) for code, count in counts.items()]
    made = protect(values_of([*rows, value("known", "FR-DEP-08", "department", 65)]), small_registry())
    assert made.certificate["audit"]["insiders"] == {"cells_found_where_hiding_helps": 0, "not_decided": 0}
    assert list(statuses(made.table).values()).count("suppressed") == 3
    found = {}
    for shown in (None, COMMUNES[2]):
        told = made.table.to_pylist()
        for row in told:
            if row["territory_code"] == shown:
                row |= {"status": "published", "numerator": 20.0, "value": 20.0}
        needs = [
            {"quantity": "known.numerator", **{name: row[name] for name in attacker.KEY[1:]}, "need": 1.0}
            | {"need_of_insiders": float(row["territory_code"] == COMMUNES[1])}
            | ({"is_alone": True, "number": 1.0} if row["territory_code"] == COMMUNES[0] else {})
            for row in told
            if row["status"] == "suppressed"
        ]
        moves = Moves(np.array([1.0, 4.0, 20.0][: len(needs)]), np.array([0]), np.array([1]), np.array([1.0]))
        with in_memory() as connection:
            table = pa.Table.from_pylist(told, schema=made.table.schema)
            examined = pa.Table.from_pylist(needs, schema=attacker.NEEDS_SCHEMA)
            audit = attacker.audit(connection, table, made.knowledge, examined, moves=moves)
        assert len(audit.narrow) == len(audit.breaches) == 0
        found[shown] = audit.betrayed["territory_code"].to_pylist()
    assert found == {None: [], COMMUNES[2]: [COMMUNES[1]]}  # the move, which solves nothing, was not believed


def test_a_release_in_which_an_insider_finds_another_is_refused_and_the_block_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The fault: a protector that has forgotten insiders hides the hours of one person and of two, and no others."""
    behind = zip(COMMUNES, (300, 310, 320, 330), (1, 2, 9, 9), strict=True)
    rows = [value("hours", code, "commune", hours, contributors=persons) for code, hours, persons in behind]
    values = values_of([*rows, value("hours", "FR-DEP-08", "department", 1260, contributors=21)])
    assert list(statuses(protect(values, small_registry()).table, "hours").values()).count("suppressed") == 3
    nobody = Guarded(np.zeros(len(values), dtype=bool), Pairs.none(), Cuts.none())
    monkeypatch.setattr(suppression, "conditions", lambda *_: Cuts.none())
    monkeypatch.setattr(suppression, "guarded", lambda _, __, hidden, *___: replace(nobody, hidden=hidden))
    with pytest.raises(CannotProtect, match=f"^1 cells .*: hours.numerator, 2026-09, {COMMUNES[1]}, by total$"):
        protect(values, small_registry())


def test_a_bound_above_what_was_paid_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: the integer program says that more must be paid than it pays itself."""
    cheapest = Covering.cheapest

    def boasting(covering: Covering, *given: Any) -> Cover:
        found = cheapest(covering, *given)
        return replace(found, bound=found.bound * 1.01)

    rows = [value("known", code, "commune", count) for code, count in zip(COMMUNES, (3, 20, 40, 60), strict=True)]
    values = values_of([*rows, value("known", "FR-DEP-08", "department", 123)])
    assert protect(values, small_registry()).certificate["secondary_rows"] == 1
    monkeypatch.setattr(Covering, "cheapest", boasting)
    with pytest.raises(suppression.InvalidBound, match=r"4\.47\d* was paid, and less than 4\.51"):
        protect(values, small_registry())


def test_what_others_count_of_a_rate_is_its_complement_in_protector_and_attacker() -> None:
    """103 known, 100 of them without what the rate counts: an indicator of its own would tell the 3."""
    counts = {"FR-DEP-08": (3, 103), "FR-DEP-52": (40, 100), "FR-DEP-54": (50, 120), "FR-REG-44": (93, 323)}
    rows = []
    for place, (over, under) in counts.items():
        level = "region" if "REG" in place else "department"
        rows += [value("known", place, level, under), value("share", place, level, over, under)]
        rows += [value("known", place, level, under - over, indicator_code="without")]
    safe = {}
    for balance in ((), ("share.denominator", "-share")):
        without = FAMILY.indicators[0].model_copy(update={"code": "without", "balance": balance})
        family = FAMILY.model_copy(update={"indicators": (*FAMILY.indicators, without)})
        safe[balance] = protect(values_of(rows), replace(small_registry(), indicator_families=(family,)))
    faulty, linked = safe.values()
    with in_memory() as connection:
        told = attacker.audit(connection, faulty.table, linked.knowledge).breaches.to_pylist()
        still = attacker.audit(connection, linked.table, linked.knowledge).breaches.to_pylist()
    assert ("share.numerator", "FR-DEP-08", 3.0) in [
        (one["quantity"], one["territory_code"], one["solution"]) for one in told
    ]
    assert still == []


def test_two_differences_of_the_same_numbers_have_the_same_person_behind_them() -> None:
    """The others of a rate, and an indicator that counts the others: 1 and 1, of 8 less 7."""
    nothing = np.zeros(0, dtype=np.int64)
    system = System(
        values=np.array([8.0, 7, 1, 1, 1]), floors=np.ones(5), widths=np.ones(5), derived_from=np.full((5, 2), -1),
        alone=np.array([False, False, True, True, True]), known=np.zeros(5, dtype=bool), costs=np.zeros(0),
        must_show=np.zeros(0, dtype=bool), shown_row=nothing, shown_cell=nothing, line=np.repeat(np.arange(2), 3),
        line_cell=np.array([0, 1, 2, 0, 1, 3]), line_sign=np.array([-1.0, 1, 1, 1, -1, -1]),
        implied=np.zeros(2, dtype=bool),
    )  # fmt: skip
    one, same, another = Insiders.of(system).who.tolist()
    assert one == same != another
    assert len(set(Insiders.of(system, [np.array([2, 4])]).who.tolist())) == 1  # as somebody else found


def test_a_difference_that_somebody_knows_stays_where_it_is() -> None:
    """A whole and a part of it may both move; what is left of the one without the other is an insider's own number."""
    system = System(
        values=np.array([4.0, 3, 1]), floors=np.ones(3), widths=np.ones(3), known=np.array([False, False, True]),
        derived_from=np.array([[-1, -1], [-1, -1], [0, 1]]), alone=np.array([False, False, True]), costs=np.ones(2),
        must_show=np.zeros(2, dtype=bool), shown_row=np.arange(2), shown_cell=np.arange(2), line=np.zeros(3, dtype=int),
        line_cell=np.arange(3), line_sign=np.array([-1.0, 1, 1]), implied=np.zeros(1, dtype=bool),
    )  # fmt: skip
    nothing, everything = np.zeros(2, dtype=bool), np.ones(2, dtype=bool)
    for hidden in (nothing, everything):
        assert movable_cells(system, hidden, system.visible(hidden)).tolist() == [True, True, False]
    nobody = replace(system, known=np.zeros(3, dtype=bool))
    assert movable_cells(nobody, everything, nobody.visible(everything)).all()


def test_whom_the_attacker_finds_to_be_one_person_the_protector_takes_for_one(
    monkeypatch: pytest.MonkeyPatch, truth: pa.Table
) -> None:
    """The attacker is made to say once that behind two hidden numbers there is one person, who finds a third."""
    audit, suppress = attacker.audit, protecting.suppress
    told: list[list[list[int]]] = []

    def finding(*given: Any, **named: Any) -> attacker.Audit:
        found = audit(*given, **named)
        keys = found.cells.select(list(attacker.KEY))
        of_one = keys.slice(0, 2).append_column("insider", pa.array([7, 7]))
        return replace(found, betrayed=keys.slice(2, 1), persons_betraying=of_one) if len(told) == 1 else found

    def noting(*given: Any, persons: Sequence[np.ndarray[Any, Any]], **named: Any) -> suppression.Suppression:
        told.append([cells.tolist() for cells in persons])
        return suppress(*given, persons=persons, **named)

    monkeypatch.setattr(attacker, "audit", finding)
    monkeypatch.setattr(protecting, "suppress", noting)
    safe = protect(truth, small_registry())
    assert safe.certificate["audit"]["insiders"]["cells_found_where_hiding_helps"] == 0
    assert [[len(cells) for cells in persons] for persons in told] == [[], [2]]


def test_the_attacker_finds_by_itself_whose_numbers_are_one() -> None:
    """Cells 0 = 1 + 2 + 3, the last empty; 0 = 4 + 5 with 5 = 1 by name of what 6 leaves: 6 = 1 + 7, 6 = 5 + 7."""
    equations = ([0, 1, 2, 3], [0, 4, 5], [6, 1, 7], [6, 5, 7], [8, 9])
    numbers = np.array([9.0, 8, 1, 0, 1, 8, 20, 12, 3, np.nan])
    cell = np.array([cell for line in equations for cell in line])
    line = np.repeat(np.arange(len(equations)), [len(one) for one in equations])
    sign = np.where(np.isin(np.arange(len(cell)), np.flatnonzero(np.diff(line, prepend=-1))), -1.0, 1.0)
    group = alike(line, cell, sign, numbers[cell], 10)
    assert group[1] == group[5]
    assert group[2] == group[4]  # what is left of 0 is one number, seen twice
    assert len(set(group.tolist())) == 8  # and of what nobody knows nothing is said
    full = np.where(numbers == 0, 2.0, numbers)
    assert len(set(alike(line, cell, sign, full[cell], 10).tolist())) == 9


def test_what_an_insider_finds_is_excused_only_where_he_finds_it_whatever_is_hidden() -> None:
    """He counts 1. The 4 beside him is what a total leaves; the 6 is his own and 5 that must be shown."""
    line, cell = np.array([0, 0, 1, 1]), np.array([0, 1, 0, 2])
    floors, whole = np.ones(3), np.ones(3, dtype=bool)
    sees = Unknowns(line, cell, np.array([1.0, 1, -1, 1]), np.array([5.0, 5.0]), floors, whole)
    told = np.array([0, -1, -1]), np.array([1.0, np.nan, np.nan]), np.array([0.0, 1.0, 1.0])
    found = sees.betrayals(*told)
    pairs = list(zip(found.insider.tolist(), found.unknown.tolist(), strict=True))
    assert sorted(pairs) == [(0, 1), (0, 2)]
    total_hidden = Unknowns(line[2:] - 1, cell[2:], np.array([-1.0, 1]), np.array([5.0]), floors, whole)
    assert total_hidden.still_betrayed(pairs, *told) == {(0, 2)}


def test_the_smallest_movements_keep_every_sum_and_let_nothing_fall_too_low() -> None:
    """A table of 3 × 3 with its margins shown: four cells are free, and each moves in a rectangle, or not at all."""
    values = np.array([1.0, 5, 7, 6, 1, 8, 9, 2, 4])
    lines = [[3 * row + column for column in range(3)] for row in range(3)]
    lines += [[3 * row + column for row in range(3)] for column in range(3)]
    nothing, nobody = np.zeros(0, dtype=np.int64), np.zeros(9, dtype=bool)
    system = System(
        values=values, floors=np.ones(9), widths=np.ones(9), derived_from=np.full((9, 2), -1), alone=nobody,
        known=nobody, costs=np.zeros(0), must_show=np.zeros(0, dtype=bool), shown_row=nothing, shown_cell=nothing,
        line=np.repeat(np.arange(6), 3), line_cell=np.array(lines).reshape(-1), line_sign=np.ones(18),
        implied=np.zeros(6, dtype=bool),
    )  # fmt: skip
    found = smallest(system, ~nobody, np.zeros(9, dtype=np.int64), np.ones(9), nobody)
    moved = np.zeros((found.count, 9))
    moved[found.movement, found.cell] = found.by
    assert np.linalg.matrix_rank(moved) == found.count == 4
    assert all((moved[:, line].sum(axis=1) == 0).all() for line in lines)
    assert (values + moved >= 1).all()
    assert (found.by[found.cell == 0] > 0).all()  # what cannot fall rises
    shown = np.arange(9) == found.cell[0]
    assert found.among(~shown).count == int((moved[:, found.cell[0]] == 0).sum()) < 4


def test_the_certificate_says_what_was_hidden_and_what_it_does_not_claim(safe: SafeTable) -> None:
    certificate = safe.certificate
    assert certificate["statuses"]["suppressed"] == pc.sum(pc.equal(safe.table["status"], "suppressed")).as_py()
    assert certificate["statuses"]["suppressed"] >= certificate["secondary_rows"] > 0
    assert certificate["audit"]["recomputable_cells"] == 0
    assert certificate["audit"]["sensitive_cells_under_width"] == 0
    assert certificate["audit"]["sensitive_cells_bounded"] == certificate["sensitive_cells"] > 20
    assert certificate["cost"]["times_the_proven_lower_bound"] >= 1.0


def test_only_protection_makes_a_safe_table(safe: SafeTable) -> None:
    with pytest.raises(NotProtected):
        SafeTable(safe.table, safe.knowledge, safe.certificate, maker=object())
