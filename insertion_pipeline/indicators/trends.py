"""Comparisons over time, at constant scope: from published numbers only.

Belongs here: what a value is beside the month before and the same month of the year before, over the territories known
in both. Does not belong here: what may be published (`disclosure`), graphs (`publication`).

Whoever holds the published tables can compute a trend again: nothing here knows anything else. A rate is computed from
the sums of its terms, never from rates; persons counted once in each territory are not summed over territories. A total
whose coverage is under four fifths carries no trend, and no trend crosses a break in a series (domain rule 21). Figures
are « données brutes ».
"""

from __future__ import annotations

import pyarrow as pa

from insertion_pipeline.lake import in_memory

#: An aggregate that covers less of the population carries no trend.
MINIMUM_COVERAGE = 0.8

#: Months between the two values compared.
LAGS = (1, 12)

#: One row per (month, territory, indicator, lag) that has a trend, of uncut values above the commune. `n_territories`:
#: those that both values are summed over, 1 for the territory itself.
TRENDS_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("territory_code", pa.string()),
        ("indicator_code", pa.string()),
        ("lag_months", pa.int64()),
        ("earlier_month", pa.string()),
        ("value_then", pa.float64()),
        ("value_now", pa.float64()),
        ("unit", pa.string()),
        ("n_territories", pa.int64()),
    ]
)

_TRENDS = """
WITH shown AS (
    SELECT month, territory_code, indicator_code, kind, unit, coverage,
        CAST(numerator AS DECIMAL(24, 6)) AS over, CAST(denominator AS DECIMAL(24, 6)) AS under,
        CAST(month || '-01' AS DATE) AS day
    FROM published
    WHERE breakdown = 'total' AND status = 'published' AND kind <> 'quantile' AND territory_level <> 'commune'
),
pairs AS (  -- the two months of a territory, covered enough, with no break between them
    SELECT now.*, lags.lag, then_.month AS earlier_month, then_.over AS then_over, then_.under AS then_under,
        then_.coverage AS then_coverage, indicators.adds_up_over_territories AS adds_up
    FROM shown AS now
    CROSS JOIN lags
    JOIN shown AS then_
        ON then_.territory_code = now.territory_code AND then_.indicator_code = now.indicator_code
        AND then_.day = now.day - to_months(CAST(lags.lag AS INTEGER))
    JOIN indicators ON indicators.code = now.indicator_code
    WHERE now.coverage >= $minimum AND then_.coverage >= $minimum
        AND len(list_filter(
            regexp_extract_all(indicators.series_breaks, '([0-9]{4}-[0-9]{2}) : ', 1),
            lambda begins: begins > then_.month AND begins <= now.month
        )) = 0
),
parts AS (  -- the territories that files are due from, inside a larger one; `choice`: the level taken first
    SELECT part, whole, first_month, last_month,
        CASE part_level WHEN 'department' THEN 1 WHEN 'province' THEN 2 WHEN 'council' THEN 3 ELSE 4 END AS choice
    FROM links
    WHERE (whole_level = 'country' AND part_level IN ('department', 'province', 'council', 'region'))
        OR (whole_level = 'region' AND part_level IN ('department', 'province'))
),
whole AS (  -- nothing is missing in either month, or nothing smaller is known: the territory itself
    SELECT pairs.* EXCLUDE (coverage, then_coverage, adds_up, territory_code), territory_code
    FROM pairs
    WHERE (coverage = 1 AND then_coverage = 1) OR territory_code NOT IN (SELECT whole FROM parts)
),
in_parts AS (  -- else those of its parts that are there in both months
    SELECT inside.* EXCLUDE (coverage, then_coverage, adds_up, territory_code),
        around.territory_code, parts.choice
    FROM pairs AS around
    JOIN parts ON parts.whole = around.territory_code AND around.month BETWEEN parts.first_month AND parts.last_month
    JOIN pairs AS inside
        ON inside.territory_code = parts.part AND inside.indicator_code = around.indicator_code
        AND inside.month = around.month AND inside.lag = around.lag
    WHERE around.adds_up AND NOT (around.coverage = 1 AND around.then_coverage = 1)
    QUALIFY choice = min(choice) OVER (
        PARTITION BY around.territory_code, around.indicator_code, around.month, around.lag
    )
),
compared AS (
    SELECT month, territory_code, indicator_code, lag, earlier_month, any_value(kind) = 'ratio' AS is_ratio,
        any_value(unit) AS unit, sum(then_over) AS then_over, sum(then_under) AS then_under, sum(over) AS now_over,
        sum(under) AS now_under, count(*) AS n_territories
    FROM (SELECT * FROM whole UNION ALL BY NAME SELECT * EXCLUDE (choice) FROM in_parts)
    GROUP BY month, territory_code, indicator_code, lag, earlier_month
)
SELECT month, territory_code, indicator_code, lag AS lag_months, earlier_month,
    round(CASE WHEN is_ratio THEN factor * CAST(then_over AS DOUBLE) / nullif(then_under, 0) ELSE then_over END, 1)
        AS value_then,
    round(CASE WHEN is_ratio THEN factor * CAST(now_over AS DOUBLE) / nullif(now_under, 0) ELSE now_over END, 1)
        AS value_now,
    unit, n_territories
FROM (SELECT *, CASE unit WHEN '%' THEN 100 ELSE 1 END AS factor FROM compared)
WHERE value_then IS NOT NULL AND value_now IS NOT NULL
ORDER BY month, territory_code, indicator_code, lag_months
"""


def trends(published: pa.Table, links: pa.Table, indicators: pa.Table) -> pa.Table:
    """The trends of a release, as `TRENDS_SCHEMA`, from three of its tables.

    `published` is `indicator_values`, `links` is `territory_links`, `indicators` says which counts add up over
    territories and where series break. Distinct persons over several months are never added: each month is compared
    with one other.
    """
    with in_memory() as connection:
        connection.register("published", published)
        connection.register("links", links)
        connection.register("indicators", indicators.select(["code", "adds_up_over_territories", "series_breaks"]))
        connection.register("lags", pa.table({"lag": pa.array(LAGS, pa.int64())}))
        found = connection.sql(_TRENDS, params={"minimum": MINIMUM_COVERAGE}).to_arrow_table()
    return found.cast(TRENDS_SCHEMA)
