"""Comparisons over time, at constant scope: from published numbers only.

Belongs here: differences with the month before and the same month of the year before, over the territories known in
both. Does not belong here: what may be published (`disclosure`), graphs (`publication`).

A rate is computed again from the sums of its terms, never from rates. A total whose coverage is under four fifths
carries no trend, and no trend crosses a break in a series (domain rule 21). Figures are « données brutes ».
"""

from __future__ import annotations

import pyarrow as pa

from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

#: An aggregate that covers less of the population carries no trend.
MINIMUM_COVERAGE = 0.8

#: Months between the two values compared.
LAGS = (1, 12)

#: One row per (month, territory, indicator, lag) that has a trend, of uncut values. `n_territories`: those of the level
#: below (or the territory itself) that are published in both months; `value_then`, `value_now` are over these alone.
TRENDS_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("territory_code", pa.string()),
        ("indicator_code", pa.string()),
        ("lag_months", pa.int64()),
        ("value_then", pa.float64()),
        ("value_now", pa.float64()),
        ("n_territories", pa.int64()),
    ]
)

_TRENDS = """
WITH shown AS (
    SELECT month, territory_code, indicator_code, kind, unit, numerator, denominator, coverage,
        CAST(month || '-01' AS DATE) AS day
    FROM published
    WHERE breakdown = 'total' AND status = 'published' AND kind <> 'quantile'
),
parts AS (  -- a territory is compared over its parts where it has some, else by itself
    SELECT DISTINCT links.whole AS territory_code, links.part
    FROM links
    WHERE links.part_level = CASE links.whole_level
        WHEN 'country' THEN 'region'
        WHEN 'region' THEN CASE substr(links.whole, 1, 2) WHEN 'FR' THEN 'department' ELSE 'province' END
        WHEN 'province' THEN 'arrondissement'
    END
),
compared AS (
    SELECT now.month, now.territory_code, now.indicator_code, now.kind, now.unit, lags.lag,
        parts.part IS NOT NULL AS has_parts,
        coalesce(part_then.numerator, then_.numerator) AS then_over,
        coalesce(part_then.denominator, then_.denominator) AS then_under,
        coalesce(part_now.numerator, now.numerator) AS now_over,
        coalesce(part_now.denominator, now.denominator) AS now_under,
        part_then.territory_code IS NOT NULL AND part_now.territory_code IS NOT NULL AS part_in_both
    FROM shown AS now
    CROSS JOIN lags
    JOIN shown AS then_
        ON then_.territory_code = now.territory_code AND then_.indicator_code = now.indicator_code
        AND then_.day = now.day - to_months(CAST(lags.lag AS INTEGER))
    LEFT JOIN parts ON parts.territory_code = now.territory_code
    LEFT JOIN shown AS part_now
        ON part_now.territory_code = parts.part AND part_now.indicator_code = now.indicator_code
        AND part_now.day = now.day
    LEFT JOIN shown AS part_then
        ON part_then.territory_code = parts.part AND part_then.indicator_code = now.indicator_code
        AND part_then.day = then_.day
    WHERE now.coverage >= $minimum AND then_.coverage >= $minimum
        AND NOT EXISTS (
            SELECT 1 FROM breaks
            WHERE breaks.indicator_code = now.indicator_code AND breaks.day > then_.day AND breaks.day <= now.day
        )
)
SELECT month, territory_code, indicator_code, lag AS lag_months,
    CASE WHEN any_value(kind) = 'ratio'
        THEN CASE any_value(unit) WHEN '%' THEN 100 ELSE 1 END * sum(then_over) / nullif(sum(then_under), 0)
        ELSE sum(then_over) END AS value_then,
    CASE WHEN any_value(kind) = 'ratio'
        THEN CASE any_value(unit) WHEN '%' THEN 100 ELSE 1 END * sum(now_over) / nullif(sum(now_under), 0)
        ELSE sum(now_over) END AS value_now,
    count(*) AS n_territories
FROM compared
WHERE part_in_both OR NOT has_parts
GROUP BY month, territory_code, indicator_code, lag
HAVING value_then IS NOT NULL AND value_now IS NOT NULL
ORDER BY ALL
"""


def trends(published: pa.Table, links: pa.Table, registry: Registry) -> pa.Table:
    """The trends of a protected table (`indicator_values` of a release), as `TRENDS_SCHEMA`.

    `links` says which territory contains which (`part, part_level, whole, whole_level`), as a release publishes it.
    Distinct persons over several months are never added: each month is compared with one other.
    """
    breaks = [
        {"indicator_code": code, "day": Month.parse(month).first_day}
        for code, indicator in registry.indicators.items()
        for month in indicator.series_breaks
    ]
    with in_memory() as connection:
        connection.register("published", published)
        connection.register("links", links)
        connection.register("lags", pa.table({"lag": pa.array(LAGS, pa.int64())}))
        schema = pa.schema([("indicator_code", pa.string()), ("day", pa.date32())])
        connection.register("breaks", pa.Table.from_pylist(breaks, schema=schema))
        found = connection.sql(_TRENDS, params={"minimum": MINIMUM_COVERAGE}).to_arrow_table()
    return found.cast(TRENDS_SCHEMA)
