"""Which territory lies in which, for the territories of a table.

Belongs here: choosing, among the places that count a territory, those of which it is a part. Does not belong here: the
lists and their changes over time (`indicators.territories`).
"""

from __future__ import annotations

from collections.abc import Iterator

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.indicators import territories
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

#: One row per (month, territory, larger territory that contains it): where each territory adds up.
LINKS_SCHEMA = pa.schema([(name, pa.string()) for name in ("month", "part", "part_level", "whole", "whole_level")])

_LINKS = """
WITH here AS (  -- a place that is a territory itself says at which level
    SELECT leaf, level FROM rollup WHERE leaf = territory
),
nested AS (SELECT * FROM chains)
SELECT month.month, here.leaf AS part, here.level AS part_level, rollup.territory AS whole, rollup.level AS whole_level
FROM months AS month
JOIN used USING (month)
JOIN here ON here.leaf = used.territory_code
JOIN rollup ON rollup.leaf = here.leaf AND rollup.territory <> here.leaf
JOIN used AS above ON above.month = month.month AND above.territory_code = rollup.territory
LEFT JOIN nested AS low ON low.country = substr(here.leaf, 1, 2) AND low.level = here.level
LEFT JOIN nested AS high ON high.country = low.country AND high.level = rollup.level
WHERE rollup.level = 'country' OR here.level = 'commune' OR low.rank < high.rank
ORDER BY ALL
"""


def territory_links(registry: Registry, values: pa.Table) -> pa.Table:
    """One row per (month, territory, larger territory that contains it), both standing in `values`.

    Every pair of levels that nest is there, not only neighbours: a table need not show the levels between.
    """
    used = values.select(["month", "territory_code"]).group_by(["month", "territory_code"]).aggregate([])
    if len(pc.unique(used["territory_code"])) < 2:
        return LINKS_SCHEMA.empty_table()
    months = sorted(pc.unique(used["month"]).to_pylist())
    found = [LINKS_SCHEMA.empty_table()]
    with in_memory() as connection:
        for era, rollup in rollups(connection, registry, months):
            tables = {"rollup": rollup, "used": used, "months": pa.table({"month": era}), "chains": nesting()}
            for name, table in tables.items():
                connection.register(name, table)
            found.append(connection.sql(_LINKS).to_arrow_table().cast(LINKS_SCHEMA))
            for name in tables:
                connection.unregister(name)
    return pa.concat_tables(found)


def nesting() -> pa.Table:
    """The levels of each country that nest: country, level, rank, the smallest first."""
    return pa.Table.from_pylist(
        [
            {"country": country, "level": level, "rank": rank}
            for country, levels in territories.NESTED.items()
            for rank, level in enumerate(levels)
        ]
    )


def rollups(
    connection: duckdb.DuckDBPyConnection, registry: Registry, months: list[str]
) -> Iterator[tuple[list[str], pa.Table]]:
    """Which territories count a place: the months between two changes of territories share one table."""
    ends = pc.unique(registry.nomenclature("communes").table["valid_until"]).to_pylist()
    changes = sorted({end[:7] for end in ends if end})
    for era in _eras(months, changes):
        yield era, territories.rollup(connection, registry, Month.parse(era[0]))


def _eras(months: list[str], changes: list[str]) -> list[list[str]]:
    """The months between two changes of territories share their hierarchies."""
    eras: dict[int, list[str]] = {}
    for month in months:
        eras.setdefault(sum(change < month for change in changes), []).append(month)
    return [eras[era] for era in sorted(eras)]
