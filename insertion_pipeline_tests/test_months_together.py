"""Months as one system: stocks and flows, totals since January, cohorts; in the protector and in the attacker."""

from __future__ import annotations

from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from insertion_pipeline.disclosure import SafeTable, attacker, protect
from insertion_pipeline.lake import in_memory
from insertion_pipeline.registry import Indicator, Registry
from insertion_pipeline_tests.protected_values import FAMILY, small_registry, value, values_of

DEPARTMENTS = ("FR-DEP-08", "FR-DEP-52", "FR-DEP-54")
REGION = "FR-REG-44"
BALANCES = {
    "stock": ("stock@1", "entries", "-exits"),
    "since_january": ("entries@year",),
    "cohort": ("entries@2",),
}
#: Entries and exits of each department, month by month, and who was there before.
ENTRIES = {"2026-01": (20, 30, 40), "2026-02": (22, 3, 41), "2026-03": (25, 35, 45)}
EXITS = {"2026-01": (11, 12, 13), "2026-02": (12, 14, 15), "2026-03": (16, 17, 18)}
BEFORE = (300, 400, 500)


def registry_of(balances: dict[str, tuple[str, ...]]) -> Registry:
    """Counts by department, with what the catalogue says of how they are linked over the months."""

    def count(code: str) -> Indicator:
        return FAMILY.indicators[0].model_copy(
            update={"code": code, "levels": ("department", "region"), "balance": balances.get(code, ())}
        )

    codes = ("stock", "entries", "exits", "since_january", "cohort")
    family = FAMILY.model_copy(update={"indicators": tuple(count(code) for code in codes)})
    return replace(small_registry(), indicator_families=(family,))


def rows_of(code: str, month: str, counts: tuple[int, ...]) -> list[dict[str, object]]:
    named = {"indicator_code": code, "month": month}
    rows = [value("known", place, "department", n, **named) for place, n in zip(DEPARTMENTS, counts, strict=True)]
    return [*rows, value("known", REGION, "region", sum(counts), **named)]


def months(*codes: str) -> pa.Table:
    stock, since, rows = list(BEFORE), [0, 0, 0], []
    for month, entries in ENTRIES.items():
        stock = [n + i - o for n, i, o in zip(stock, entries, EXITS[month], strict=True)]
        since = [n + i for n, i in zip(since, entries, strict=True)]
        shown = {"stock": stock, "entries": entries, "exits": EXITS[month], "since_january": since}
        if month == "2026-03":
            shown["cohort"] = ENTRIES["2026-01"]
        rows += [row for code in codes if code in shown for row in rows_of(code, month, tuple(shown[code]))]
    return values_of(rows)


def attacked(safe: SafeTable, knowing: SafeTable) -> list[tuple[str, str, float]]:
    """What is found in `safe` by somebody who knows how `knowing` adds up."""
    with in_memory() as connection:
        found = attacker.audit(connection, safe.table, replace(knowing.knowledge, indicators=safe.knowledge.indicators))
    rows = found.breaches.select(["month", "territory_code", "low"]).to_pylist()
    return [(row["month"], row["territory_code"], row["low"]) for row in rows]


@pytest.mark.parametrize("codes", [("stock", "entries", "exits"), ("entries", "since_january")])
def test_what_a_difference_of_months_gives_away_is_hidden_and_found_where_it_is_not(codes: tuple[str, ...]) -> None:
    values = months(*codes)
    linked, faulty = protect(values, registry_of(BALANCES)), protect(values, registry_of({}))
    assert attacked(linked, linked) == []
    assert linked.certificate["audit"]["sensitive_cells_under_width"] == 0
    assert linked.certificate["equations"] > faulty.certificate["equations"]
    assert attacked(faulty, faulty) == []  # within each month all is well …
    assert ("2026-02", DEPARTMENTS[1], 3.0) in attacked(faulty, linked)  # … but not from one month to the next


def test_a_cohort_is_the_entrants_of_a_month_before() -> None:
    small = {**ENTRIES, "2026-01": (20, 3, 40)}
    rows = [row for month, counts in small.items() for row in rows_of("entries", month, counts)]
    rows += rows_of("cohort", "2026-03", (20, 3, 40))
    table = protect(values_of(rows), registry_of(BALANCES)).table
    shown = {
        (row["indicator_code"], row["month"]): row["status"]
        for row in table.to_pylist()
        if row["territory_code"] == DEPARTMENTS[0]
    }
    assert shown["cohort", "2026-03"] == shown["entries", "2026-01"]


def test_months_that_do_not_follow_from_each_other_bind_nobody_and_are_told() -> None:
    """A late arrival is in the stock and in no flow: the balance of that month is an open sum."""
    late = values_of(
        {**row, "numerator": row["numerator"] + 7, "value": row["value"] + 7}
        if (row["indicator_code"], row["month"]) == ("stock", "2026-03")
        and row["territory_code"] in (DEPARTMENTS[2], REGION)
        else row
        for row in months("stock", "entries", "exits").to_pylist()
    )
    safe = protect(late, registry_of(BALANCES))
    open_sums = safe.knowledge.open_sums.filter(pc.equal(safe.knowledge.open_sums["along"], "balance of stock"))
    told = [(row["month"], row["territory_code"]) for row in open_sums.to_pylist()]
    assert told == [("2026-03", DEPARTMENTS[2]), ("2026-03", REGION)]


def test_a_balance_needs_all_its_months() -> None:
    """March alone: nothing is known of February, and no sum is broken for it."""
    march = months("stock", "entries", "exits", "since_january")
    march = march.filter(pc.equal(march["month"], "2026-03"))
    safe = protect(march, registry_of(BALANCES))
    assert safe.certificate["open_sums"] == 0
    assert safe.certificate["secondary_rows"] == 0
