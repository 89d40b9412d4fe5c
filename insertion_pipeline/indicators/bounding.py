"""What cannot be a sum has bounds all the same, and what is cut has its parts.

Belongs here: parts and wholes that are missing, the largest part, the union and the sum of what is recounted. Does not
belong here: what must add up exactly (`additivity`), hiding (`disclosure`).

Persons recounted over territories, or over modalities of which they may have two, are at least as many as in the
largest part and at most as many as in all of them together. Of what is not zero, every declared cut and level says
something: a part that a fault took away altogether leaves no row to compare.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from insertion_pipeline.indicators.catalogue import CompiledIndicator
from insertion_pipeline.indicators.territories import LEVELS, NESTED, UNKNOWN

_CUTS_SCHEMA = pa.schema(
    [
        ("indicator_code", pa.string()),
        ("breakdown", pa.string()),
        ("level", pa.string()),
        ("is_recounted", pa.bool_()),
        ("is_multivalued", pa.bool_()),
    ]
)
_LEVELS_SCHEMA = pa.schema(
    [
        ("indicator_code", pa.string()),
        ("country", pa.string()),
        ("level", pa.string()),
        ("above", pa.string()),
        ("is_recounted", pa.bool_()),
    ]
)


def what_is_out_of_bounds(
    connection: duckdb.DuckDBPyConnection, values: pa.Table, catalogue: Sequence[CompiledIndicator]
) -> list[str]:
    """Where values lack a part or a whole, or a recount leaves its bounds: indicator and place, never a number.

    Needs `rollup` in `connection`. Quantiles have no parts and are left out.
    """
    counted = [one for one in catalogue if one.indicator.kind != "quantile"]
    tables = {
        "bounded_cuts": pa.Table.from_pylist(_cuts(counted), schema=_CUTS_SCHEMA),
        "bounded_levels": pa.Table.from_pylist(_levels(counted), schema=_LEVELS_SCHEMA),
        "bounded_values": values,
    }
    for name, table in tables.items():
        connection.register(name, table)
    found = [
        *(f"{code} by {cut} at {place}" for code, cut, place in connection.execute(_CUTS_OUT).fetchall()),
        *(f"{code} of {level} at {place}" for code, level, place in connection.execute(_LEVELS_OUT).fetchall()),
    ]
    for name in tables:
        connection.unregister(name)
    return found


def _cuts(catalogue: Sequence[CompiledIndicator]) -> list[dict[str, object]]:
    return [
        {
            "indicator_code": one.indicator.code,
            "breakdown": name,
            "level": level,
            "is_recounted": not one.is_additive(name),
            "is_multivalued": cut.multivalued,
        }
        for one in catalogue
        for name, cut in one.breakdowns.items()
        for level in cut.levels or one.indicator.levels
        if level in one.indicator.levels
    ]


def _levels(catalogue: Sequence[CompiledIndicator]) -> list[dict[str, object]]:
    """Every level of an indicator with those above it: the next one where levels nest, and the country."""
    rows: dict[tuple[str, str, str, str], dict[str, object]] = {}
    for one in catalogue:
        for country in one.indicator.countries:
            known = set(LEVELS[country]) & set(one.indicator.levels)
            nested = [level for level in NESTED[country] if level in known]
            pairs = {*itertools.pairwise(nested), *((level, "country") for level in known if "country" in known)}
            for level, above in sorted(pairs):
                if level != above:
                    rows[one.indicator.code, country, level, above] = {
                        "indicator_code": one.indicator.code,
                        "country": country,
                        "level": level,
                        "above": above,
                        "is_recounted": not (one.adds_up and one.indicator.additive_over_territories),
                    }
    return list(rows.values())


_CUTS_OUT = """
WITH wholes AS (
    SELECT indicator_code, territory_code, territory_level AS level, numerator, coalesce(denominator, 0) AS denominator
    FROM bounded_values
    WHERE breakdown = 'total'
),
due AS (
    SELECT wholes.*, breakdown, is_recounted, is_multivalued
    FROM wholes JOIN bounded_cuts USING (indicator_code, level)
),
parts AS (
    SELECT indicator_code, territory_code, breakdown, max(denominator) AS largest, sum(denominator) AS together
    FROM bounded_values
    JOIN (SELECT DISTINCT indicator_code, breakdown FROM bounded_cuts) USING (indicator_code, breakdown)
    GROUP BY ALL
)
SELECT coalesce(due.indicator_code, parts.indicator_code) AS indicator_code,
    coalesce(due.breakdown, parts.breakdown) AS breakdown, coalesce(due.territory_code, parts.territory_code) AS place
FROM due
FULL JOIN parts
    ON parts.indicator_code = due.indicator_code AND parts.breakdown = due.breakdown
    AND parts.territory_code = due.territory_code
WHERE CASE
    WHEN due.indicator_code IS NULL THEN true  -- parts of no whole, or at a level that is not cut so
    WHEN parts.indicator_code IS NULL THEN due.numerator <> 0 OR due.denominator <> 0
    WHEN due.is_recounted THEN
        coalesce(parts.largest, 0) > due.denominator + 1e-6 OR due.denominator > coalesce(parts.together, 0) + 1e-6
    ELSE false
END
ORDER BY ALL
"""

# A row may carry a larger place than a commune: it is then « sans commune connue » below, and counted above.
_LEVELS_OUT = f"""
WITH here AS (
    SELECT indicator_code, country, territory_level AS level, territory_code, breakdown, modality, numerator,
        coalesce(denominator, 0) AS denominator
    FROM bounded_values
),
inside AS (  -- the territory of each level above that a territory lies in
    SELECT DISTINCT below.level, below.territory, above.level AS above, above.territory AS whole
    FROM rollup AS below
    JOIN (SELECT DISTINCT country, level, above FROM bounded_levels WHERE above <> 'country') AS pairs
        ON pairs.level = below.level AND pairs.country = substr(below.territory, 1, 2)
    JOIN rollup AS above ON above.leaf = below.leaf AND above.level = pairs.above
    WHERE below.territory NOT LIKE '%-{UNKNOWN}'
        AND (below.leaf = below.territory
            OR below.level <> 'commune' AND below.leaf LIKE substr(below.leaf, 1, 3) || 'COM-%')
),
parts AS (
    SELECT indicator_code, above, whole, false AS is_whole_level, is_recounted, breakdown, modality, here.level,
        max(numerator) AS largest, sum(numerator) AS together, max(denominator) AS largest_under,
        sum(denominator) AS together_under
    FROM here
    JOIN bounded_levels USING (indicator_code, country, level)
    JOIN inside USING (level, above)
    WHERE inside.territory = here.territory_code AND (bounded_levels.is_recounted OR breakdown = 'total')
    GROUP BY ALL
    UNION ALL
    SELECT indicator_code, above, country, true, is_recounted, breakdown, modality, here.level,
        max(numerator), sum(numerator), max(denominator), sum(denominator)
    FROM here
    JOIN bounded_levels USING (indicator_code, country, level)
    WHERE above = 'country' AND (bounded_levels.is_recounted OR breakdown = 'total')
    GROUP BY ALL
),
due AS (  -- the whole of a country and the levels that must say something of it
    SELECT here.indicator_code, here.country AS whole, bounded_levels.level
    FROM here JOIN bounded_levels USING (indicator_code, country)
    WHERE here.level = 'country' AND bounded_levels.above = 'country' AND here.breakdown = 'total'
        AND (here.numerator <> 0 OR here.denominator <> 0)
)
SELECT parts.indicator_code, parts.level, parts.whole
FROM parts
LEFT JOIN here AS wholes
    ON wholes.indicator_code = parts.indicator_code AND wholes.territory_code = parts.whole
    AND wholes.breakdown = parts.breakdown AND wholes.modality = parts.modality
WHERE CASE
    WHEN wholes.indicator_code IS NULL
        THEN parts.breakdown = 'total' AND (parts.together <> 0 OR parts.together_under <> 0)
    WHEN NOT parts.is_recounted THEN false
    ELSE parts.largest > wholes.numerator + 1e-6 OR parts.largest_under > wholes.denominator + 1e-6
        OR parts.is_whole_level AND (
            wholes.numerator > parts.together + 1e-6 OR wholes.denominator > parts.together_under + 1e-6
        )
END
UNION
SELECT indicator_code, level, whole
FROM due ANTI JOIN parts USING (indicator_code, level, whole)
ORDER BY ALL
"""
