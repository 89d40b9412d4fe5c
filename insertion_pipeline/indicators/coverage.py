"""What part of the network a value covers: who should have delivered, who did, for how many inhabitants.

Belongs here: the grid reporting unit × source × month, and what it makes of every territory and indicator. Does not
belong here: deadlines and reminders (`ingestion`), the status of a value (`computing`).

A reporting unit (a structure, a department, an agency) is distinct from the partner that delivers for it; units are
counted, and weighed by the inhabitants of the territory that they answer for.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from insertion_pipeline.indicators.territories import as_arrow
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Indicator, Partner, Registry

#: A family is in when its units received answer for this share of the inhabitants (domain rules 12 and 21).
FAMILY_IN = 0.8

#: One row per (reporting unit, source) expected for the month.
GRID_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("country", pa.string()),
        ("unit", pa.string()),
        ("family", pa.string()),
        ("source", pa.string()),
        ("partner", pa.string()),
        ("territory_code", pa.string()),
        ("is_received", pa.bool_()),
    ]
)


def coverage_grid(connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, month: Month) -> pa.Table:
    """Who was expected for `month` and who came: `GRID_SCHEMA`, sorted. `siae_work_months` must be open.

    A unit that a national depositor delivers for has come when the deposit holds its monthly statement.
    """
    delivered = _delivered(lake, registry, month)
    stated = {
        siret
        for (siret,) in connection.execute(
            "SELECT DISTINCT structure FROM siae_work_months WHERE source = 'fluxiae'"
        ).fetchall()
    }
    rows = []
    for partner, source, unit in expected_units(registry, month):
        has_come = (partner.code, source) in delivered
        if has_come and unit.code != partner.code and unit.siret is not None:
            has_come = unit.siret in stated
        rows.append(
            {
                "month": str(month),
                "country": unit.territory_code[:2],
                "unit": unit.code,
                "family": registry.source(source).family,
                "source": source,
                "partner": partner.code,
                "territory_code": unit.territory_code,
                "is_received": has_come,
            }
        )
    rows.sort(key=lambda row: (str(row["unit"]), str(row["source"]), str(row["partner"])))
    return pa.Table.from_pylist(rows, schema=GRID_SCHEMA)


def expected_units(registry: Registry, month: Month) -> Iterator[tuple[Partner, str, Partner]]:
    """(partner that delivers, source, unit reported on) expected for `month`."""
    for partner in registry.partners.values():
        for source in partner.sources:
            if not partner.expects(source, month):
                continue
            for code in partner.delivers_for or (partner.code,):
                unit = registry.partner(code)
                if unit.since <= month and (unit.until is None or month <= unit.until):
                    yield partner, source, unit


def _delivered(lake: Lake, registry: Registry, month: Month) -> set[tuple[str, str]]:
    """The (partner, source) whose delivery counts for `month`, a « néant » included."""
    everything = deliveries.receipts(lake)
    return {
        (receipt.partner, source.name)
        for source in registry.sources.values()
        for receipt in deliveries.effective(everything, source, month)
    }


def create_territory_coverage(
    connection: duckdb.DuckDBPyConnection, registry: Registry, indicators: Sequence[Indicator]
) -> Mapping[str, int]:
    """Create the temporary table `territory_coverage`, and say which of its needs each indicator has.

    One row per (need, territory where a unit is expected); a need is what one or more indicators require. Columns:
    `need_rank, level, territory, coverage, n_units_expected, n_units_received, n_partners_expected,
    n_partners_received, n_families_received, is_not_received, is_unavailable`. Needs `rollup` and `coverage_grid`.
    An indicator that requires several groups of sources is covered as its least covered group.
    """
    groups: dict[tuple[str, ...], int] = {}
    needs: dict[tuple[tuple[tuple[str, ...], ...], bool], int] = {}
    need_of: dict[str, int] = {}
    for indicator in indicators:
        exhaustive = {registry.source(name).insertion.population for name in indicator.exhaustive_sources}
        required = tuple(sorted(tuple(sorted(group)) for group in indicator.required_groups))
        need_of[indicator.code] = needs.setdefault((required, "partial" in exhaustive), len(needs))
        for group in required:
            groups.setdefault(group, len(groups))
    needed = [
        {"need_rank": rank, "country": country, "group_rank": groups[group], "is_partial": is_partial}
        for (required, is_partial), rank in needs.items()
        for group in required
        for country in sorted({space.upper() for name in group for space in registry.source(name).insertion.spaces})
    ]
    group_sources = [{"group_rank": rank, "source": source} for group, rank in groups.items() for source in group]
    connection.register("needs", pa.Table.from_pylist(needed, schema=_NEEDS_SCHEMA))
    connection.register("group_sources", pa.Table.from_pylist(group_sources, schema=_GROUP_SOURCES_SCHEMA))
    connection.register("communes", as_arrow(registry.nomenclature("communes")))
    connection.execute(_CREATE_TERRITORY_COVERAGE)
    connection.unregister("communes")
    return need_of


_NEEDS_SCHEMA = pa.schema(
    [("need_rank", pa.int64()), ("country", pa.string()), ("group_rank", pa.int64()), ("is_partial", pa.bool_())]
)
_GROUP_SOURCES_SCHEMA = pa.schema([("group_rank", pa.int64()), ("source", pa.string())])

_CREATE_TERRITORY_COVERAGE = f"""
CREATE OR REPLACE TEMP TABLE territory_coverage AS
WITH inhabited AS (  -- communes that count, with their inhabitants
    SELECT rollup.leaf, greatest(coalesce(try_cast(nullif(communes.population, '') AS BIGINT), 1), 1) AS inhabitants
    FROM rollup
    JOIN communes ON rollup.leaf = communes.country || '-COM-' || communes.code
    WHERE rollup.level = 'commune' AND rollup.leaf = rollup.territory
),
answered_for AS (  -- inhabitants that each place of a unit shares with each territory
    SELECT here.territory AS place, above.level, above.territory, sum(inhabited.inhabitants) AS inhabitants
    FROM inhabited
    JOIN rollup AS here ON here.leaf = inhabited.leaf
    JOIN rollup AS above ON above.leaf = inhabited.leaf
    WHERE here.territory IN (SELECT territory_code FROM coverage_grid)
    GROUP BY ALL
),
units AS (  -- a unit has come when one of the sources of the group that it owes has come
    SELECT group_sources.group_rank, grid.unit, any_value(grid.family) AS family,
        any_value(grid.territory_code) AS place, bool_or(grid.is_received) AS is_received
    FROM coverage_grid AS grid JOIN group_sources USING (source)
    GROUP BY ALL
),
partners AS (
    SELECT group_sources.group_rank, grid.partner, grid.territory_code AS place,
        bool_or(grid.is_received) AS is_received
    FROM coverage_grid AS grid JOIN group_sources USING (source)
    GROUP BY ALL
),
units_by_territory AS (
    SELECT group_rank, level, territory,
        count(*) AS n_units_expected,
        count(*) FILTER (WHERE is_received) AS n_units_received,
        sum(inhabitants) FILTER (WHERE is_received) / sum(inhabitants) AS coverage
    FROM units JOIN answered_for USING (place)
    GROUP BY ALL
),
families_by_territory AS (
    SELECT group_rank, territory, count(*) AS n_families_received
    FROM (
        SELECT group_rank, territory, family
        FROM units JOIN answered_for USING (place)
        GROUP BY ALL
        HAVING coalesce(sum(inhabitants) FILTER (WHERE is_received), 0) >= {FAMILY_IN} * sum(inhabitants)
    )
    GROUP BY ALL
),
partners_by_territory AS (
    SELECT group_rank, territory,
        count(DISTINCT partner) AS n_partners_expected,
        count(DISTINCT partner) FILTER (WHERE is_received) AS n_partners_received
    FROM partners JOIN answered_for USING (place)
    GROUP BY ALL
),
groups_by_territory AS (
    SELECT units_by_territory.*, partners_by_territory.n_partners_expected, partners_by_territory.n_partners_received,
        coalesce(families_by_territory.n_families_received, 0) AS n_families_received
    FROM units_by_territory
    JOIN partners_by_territory USING (group_rank, territory)
    LEFT JOIN families_by_territory USING (group_rank, territory)
),
needed AS (
    SELECT need_rank, country, count(*) AS n_groups, bool_or(is_partial) AS is_partial
    FROM needs
    GROUP BY ALL
)
SELECT
    needs.need_rank, here.level, here.territory,
    CASE WHEN count(*) = any_value(needed.n_groups) THEN min(coalesce(here.coverage, 0)) ELSE 0 END AS coverage,
    CAST(sum(here.n_units_expected) AS BIGINT) AS n_units_expected,
    CAST(sum(here.n_units_received) AS BIGINT) AS n_units_received,
    CAST(sum(here.n_partners_expected) AS BIGINT) AS n_partners_expected,
    CAST(sum(here.n_partners_received) AS BIGINT) AS n_partners_received,
    CAST(max(here.n_families_received) AS BIGINT) AS n_families_received,
    bool_or(here.n_units_received = 0) AS is_not_received,
    count(*) < any_value(needed.n_groups) OR any_value(needed.is_partial) AS is_unavailable
FROM needs
JOIN needed USING (need_rank, country)
JOIN groups_by_territory AS here
    ON here.group_rank = needs.group_rank AND substr(here.territory, 1, 2) = needs.country
GROUP BY ALL
"""
