"""What must add up, does: the blocking check on values before protection.

Belongs here: parts against wholes, along breakdowns and along nested territories. Does not belong here: hiding what
adds up (`disclosure`).

An additive breakdown's parts sum to the whole. Any other one only bounds it: the largest part, the union, the sum.
Territories bound the ones that they lie in, and each level adds up to its country.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import duckdb
import pyarrow as pa

from insertion_pipeline.indicators.catalogue import CompiledIndicator, compile_catalogue
from insertion_pipeline.indicators.territories import NESTED, UNKNOWN, rollup
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

#: What the check finds: one row per (indicator, territory, breakdown) that does not hold.
_SPEC_SCHEMA = pa.schema(
    [
        ("indicator_code", pa.string()),
        ("breakdown", pa.string()),
        ("is_additive", pa.bool_()),
    ]
)


class ValuesDoNotAddUp(Exception):
    """Parts that are declared additive do not sum to their whole (the message says where, never a small number)."""


def refuse_what_does_not_add_up(
    connection: duckdb.DuckDBPyConnection, values: pa.Table, catalogue: Sequence[CompiledIndicator]
) -> None:
    """Raise `ValuesDoNotAddUp` unless every breakdown and every nested hierarchy of `values` holds.

    Needs `rollup` in `connection`. Quantiles have no parts and are left out.
    """
    found = _what_does_not_add_up(connection, values, catalogue)
    if found:
        places = "; ".join(found[:5])
        raise ValuesDoNotAddUp(f"{len(found)} totals do not hold: {places}")


def totals_that_do_not_hold(values: pa.Table, registry: Registry, month: Month) -> list[str]:
    """Where the stored values of a month do not add up: indicator and territory, never a number."""
    with in_memory() as connection:
        connection.register("rollup", rollup(connection, registry, month))
        return _what_does_not_add_up(connection, values, compile_catalogue(registry))


def _what_does_not_add_up(
    connection: duckdb.DuckDBPyConnection, values: pa.Table, catalogue: Sequence[CompiledIndicator]
) -> list[str]:
    return [*_breakdowns(connection, values, catalogue), *_hierarchies(connection, values, catalogue)]


def _breakdowns(
    connection: duckdb.DuckDBPyConnection, values: pa.Table, catalogue: Sequence[CompiledIndicator]
) -> list[str]:
    rows = [
        {"indicator_code": one.indicator.code, "breakdown": name, "is_additive": one.is_additive(name)}
        for one in catalogue
        if one.indicator.kind != "quantile"
        for name in one.breakdowns
    ]
    connection.register("checked_breakdowns", pa.Table.from_pylist(rows, schema=_SPEC_SCHEMA))
    connection.register("checked_values", values)
    return [
        f"{code} by {breakdown} at {territory}"
        for code, breakdown, territory in connection.execute(_BREAKDOWNS_THAT_FAIL).fetchall()
    ]


def _hierarchies(
    connection: duckdb.DuckDBPyConnection, values: pa.Table, catalogue: Sequence[CompiledIndicator]
) -> list[str]:
    chains = [
        {"country": country, "level": level, "above": above}
        for country, levels in NESTED.items()
        for level, above in itertools.pairwise(levels)
    ]
    additive = [
        one.indicator.code
        for one in catalogue
        if one.adds_up and one.indicator.additive_over_territories and one.indicator.kind != "quantile"
    ]
    connection.register("chains", pa.Table.from_pylist(chains))
    connection.register("additive_indicators", pa.table({"indicator_code": pa.array(additive, pa.string())}))
    connection.register("checked_values", values)
    return [
        f"{code} of {level} at {territory}"
        for code, level, territory in connection.execute(_HIERARCHIES_THAT_FAIL).fetchall()
    ]


_BREAKDOWNS_THAT_FAIL = """
WITH parts AS (
    SELECT indicator_code, territory_code, breakdown,
        sum(numerator) AS numerator, max(numerator) AS largest, sum(denominator) AS denominator
    FROM checked_values
    WHERE breakdown <> 'total'
    GROUP BY ALL
)
SELECT parts.indicator_code, parts.breakdown, parts.territory_code
FROM parts
JOIN checked_breakdowns USING (indicator_code, breakdown)
JOIN checked_values AS whole
    ON whole.indicator_code = parts.indicator_code AND whole.territory_code = parts.territory_code
    AND whole.breakdown = 'total'
WHERE CASE
    WHEN checked_breakdowns.is_additive THEN
        abs(parts.numerator - whole.numerator) > 1e-6
        OR abs(coalesce(parts.denominator, 0) - coalesce(whole.denominator, 0)) > 1e-6
    ELSE parts.largest > whole.numerator + 1e-6 OR whole.numerator > parts.numerator + 1e-6
END
ORDER BY ALL
"""

# A row may carry a larger place than a commune: it is then « sans commune connue » below, and counted above. So parts
# bound the territory above them, while the members of a level, unknown ones included, add up to the country.
_HIERARCHIES_THAT_FAIL = f"""
WITH up AS (
    SELECT DISTINCT here.level, here.territory, above.territory AS parent
    FROM rollup AS here
    JOIN chains ON chains.level = here.level AND chains.country = substr(here.territory, 1, 2)
    JOIN rollup AS above ON above.leaf = here.leaf AND above.level = chains.above
    -- where a place lies is said by a place of the same kind or below, not by a larger one
    WHERE (here.leaf = here.territory OR here.level <> 'commune' AND here.leaf LIKE substr(here.leaf, 1, 3) || 'COM-%')
        AND here.territory NOT LIKE '%-{UNKNOWN}'
),
parts AS (
    SELECT indicator_code, up.level, up.parent AS whole, breakdown, modality, false AS is_whole_level,
        sum(numerator) AS numerator, sum(denominator) AS denominator
    FROM checked_values AS value
    JOIN additive_indicators USING (indicator_code)
    JOIN up ON up.level = value.territory_level AND up.territory = value.territory_code
    GROUP BY ALL
    UNION ALL
    SELECT indicator_code, territory_level, country, breakdown, modality, true, sum(numerator), sum(denominator)
    FROM checked_values
    JOIN additive_indicators USING (indicator_code)
    GROUP BY ALL
),
compared AS (
    SELECT parts.*, parts.numerator - whole.numerator AS over,
        coalesce(parts.denominator, 0) - coalesce(whole.denominator, 0) AS over_below
    FROM parts
    JOIN checked_values AS whole
        ON whole.indicator_code = parts.indicator_code AND whole.territory_code = parts.whole
        AND whole.breakdown = parts.breakdown AND whole.modality = parts.modality
)
SELECT DISTINCT indicator_code, level, whole
FROM compared
WHERE greatest(over, over_below) > 1e-6 OR (is_whole_level AND least(over, over_below) < -1e-6)
ORDER BY ALL
"""
