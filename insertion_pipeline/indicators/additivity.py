"""What must add up, does: the blocking check on values before protection.

Belongs here: parts against wholes, along breakdowns and along nested territories. Does not belong here: the bounds of
what is recounted, parts that are missing (`bounding`), hiding what adds up (`disclosure`).

An additive breakdown's parts sum to the whole. Any other one only bounds it: the largest part, the union, the sum.
Territories bound the ones that they lie in, and each level adds up to its country.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from insertion_pipeline import making
from insertion_pipeline.indicators.bounding import what_is_out_of_bounds
from insertion_pipeline.indicators.catalogue import CompiledIndicator, compile_catalogue
from insertion_pipeline.indicators.computing import values_path
from insertion_pipeline.indicators.territories import NESTED, UNKNOWN, rollup
from insertion_pipeline.lake import Lake, in_memory, remembered_sha256_of
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


def totals_that_fail(lake: Lake, registry: Registry, month: Month) -> list[str]:
    """`totals_that_do_not_hold` of the lake's values: looked for once, as long as they and the declarations stay."""
    file, name = values_path(lake, month), f"totals/{month}"
    made_of = making.digest_of(registry.digest, remembered_sha256_of(file.path))
    made = making.recall(lake, name, made_of)
    if made is None:
        failing = totals_that_do_not_hold(lake.read_parquet(file), registry, month)
        made = making.remember(lake, name, made_of, [file.path], {"failing": failing})
    return list(made.counted["failing"])


def totals_that_do_not_hold(values: pa.Table, registry: Registry, month: Month) -> list[str]:
    """Where the stored values of a month do not add up: indicator and territory, never a number."""
    with in_memory() as connection:
        connection.register("rollup", rollup(connection, registry, month))
        return _what_does_not_add_up(connection, values, compile_catalogue(registry))


def _what_does_not_add_up(
    connection: duckdb.DuckDBPyConnection, values: pa.Table, catalogue: Sequence[CompiledIndicator]
) -> list[str]:
    for name, table in _numbered(values).items():
        connection.register(name, table)
    found = [*_breakdowns(connection, catalogue), *_hierarchies(connection, catalogue)]
    return list(dict.fromkeys([*found, *what_is_out_of_bounds(connection, values, catalogue)]))


def _numbered(values: pa.Table) -> Mapping[str, pa.Table]:
    """`checked_values`, with a number for each word, and `checked_<column>`, the word that it stands for."""
    tables: dict[str, pa.Table] = {}
    numbers: dict[str, pa.ChunkedArray] = {name: values[name] for name in ("numerator", "denominator")}
    for name in ("indicator_code", "country", "territory_level", "territory_code", "breakdown", "modality"):
        words = values[name].dictionary_encode().unify_dictionaries()
        known = words.chunk(0).dictionary if words.num_chunks else pa.array([], pa.string())
        numbers[name] = pa.chunked_array([chunk.indices for chunk in words.chunks], pa.int32())
        tables[f"checked_{name}"] = pa.table({"word": known, "number": pa.array(range(len(known)), pa.int32())})
    return tables | {"checked_values": pa.table(numbers)}


def _breakdowns(connection: duckdb.DuckDBPyConnection, catalogue: Sequence[CompiledIndicator]) -> list[str]:
    rows = [
        {"indicator_code": one.indicator.code, "breakdown": name, "is_additive": one.is_additive(name)}
        for one in catalogue
        if one.indicator.kind != "quantile"
        for name in one.breakdowns
    ]
    connection.register("checked_cuts", pa.Table.from_pylist(rows, schema=_SPEC_SCHEMA))
    return [
        f"{code} by {breakdown} at {territory}"
        for code, breakdown, territory in connection.execute(_BREAKDOWNS_THAT_FAIL).fetchall()
    ]


def _hierarchies(connection: duckdb.DuckDBPyConnection, catalogue: Sequence[CompiledIndicator]) -> list[str]:
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
    return [
        f"{code} of {level} at {territory}"
        for code, level, territory in connection.execute(_HIERARCHIES_THAT_FAIL).fetchall()
    ]


_BREAKDOWNS_THAT_FAIL = """
WITH cuts AS (
    SELECT code.number AS indicator_code, breakdown.number AS breakdown, is_additive
    FROM checked_cuts
    JOIN checked_indicator_code AS code ON code.word = checked_cuts.indicator_code
    JOIN checked_breakdown AS breakdown ON breakdown.word = checked_cuts.breakdown
),
parts AS (
    SELECT indicator_code, territory_code, breakdown,
        sum(numerator) AS numerator, max(numerator) AS largest, sum(denominator) AS denominator
    FROM checked_values
    WHERE breakdown <> (SELECT number FROM checked_breakdown WHERE word = 'total')
    GROUP BY ALL
),
failing AS (
    SELECT parts.indicator_code, parts.breakdown, parts.territory_code
    FROM parts
    JOIN cuts USING (indicator_code, breakdown)
    JOIN checked_values AS whole
        ON whole.indicator_code = parts.indicator_code AND whole.territory_code = parts.territory_code
        AND whole.breakdown = (SELECT number FROM checked_breakdown WHERE word = 'total')
    WHERE CASE
        WHEN cuts.is_additive THEN
            abs(parts.numerator - whole.numerator) > 1e-6
            OR abs(coalesce(parts.denominator, 0) - coalesce(whole.denominator, 0)) > 1e-6
        ELSE parts.largest > whole.numerator + 1e-6 OR whole.numerator > parts.numerator + 1e-6
    END
)
SELECT code.word, breakdown.word, territory.word
FROM failing
JOIN checked_indicator_code AS code ON code.number = failing.indicator_code
JOIN checked_breakdown AS breakdown ON breakdown.number = failing.breakdown
JOIN checked_territory_code AS territory ON territory.number = failing.territory_code
ORDER BY ALL
"""

# A row may carry a larger place than a commune: it is then « sans commune connue » below, and counted above. So parts
# bound the territory above them, while the members of a level, unknown ones included, add up to the country.
_HIERARCHIES_THAT_FAIL = f"""
WITH up AS (
    SELECT DISTINCT level.number AS level, territory.number AS territory, parent.number AS parent
    FROM rollup AS here
    JOIN chains ON chains.level = here.level AND chains.country = substr(here.territory, 1, 2)
    JOIN rollup AS above ON above.leaf = here.leaf AND above.level = chains.above
    JOIN checked_territory_level AS level ON level.word = here.level
    JOIN checked_territory_code AS territory ON territory.word = here.territory
    JOIN checked_territory_code AS parent ON parent.word = above.territory
    -- where a place lies is said by a place of the same kind or below, not by a larger one
    WHERE (here.leaf = here.territory OR here.level <> 'commune' AND here.leaf LIKE substr(here.leaf, 1, 3) || 'COM-%')
        AND here.territory NOT LIKE '%-{UNKNOWN}'
),
counted AS (
    SELECT checked_values.*
    FROM checked_values
    JOIN checked_indicator_code AS code ON code.number = checked_values.indicator_code
    JOIN additive_indicators ON additive_indicators.indicator_code = code.word
),
parts AS (
    SELECT counted.indicator_code, up.level, up.parent AS whole, breakdown, modality, false AS is_whole_level,
        sum(numerator) AS numerator, sum(denominator) AS denominator
    FROM counted JOIN up ON up.level = counted.territory_level AND up.territory = counted.territory_code
    GROUP BY ALL
    UNION ALL
    SELECT counted.indicator_code, territory_level, territory.number, breakdown, modality, true,
        sum(numerator), sum(denominator)
    FROM counted
    JOIN checked_country AS country ON country.number = counted.country
    JOIN checked_territory_code AS territory ON territory.word = country.word
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
SELECT DISTINCT code.word, level.word, territory.word
FROM compared
JOIN checked_indicator_code AS code ON code.number = compared.indicator_code
JOIN checked_territory_level AS level ON level.number = compared.level
JOIN checked_territory_code AS territory ON territory.number = compared.whole
WHERE greatest(over, over_below) > 1e-6 OR (is_whole_level AND least(over, over_below) < -1e-6)
ORDER BY ALL
"""
