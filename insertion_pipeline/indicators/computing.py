"""Values from facts: set-based, one pass per fact.

Belongs here: computing every indicator, breakdown and level of a fact together, and giving each value its status. Does
not belong here: what a fact or an indicator is (`facts/*.sql`, the catalogue), making facts (`building`), who should
have delivered (`coverage`), hiding (`disclosure`).

Counts and sums are taken once per place and breakdown, then added up along the hierarchies; distinct counts and
quantiles are recounted at every level. Sums are decimals, so that no value depends on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import duckdb
import pyarrow as pa

from insertion_pipeline.indicators import coverage, territories
from insertion_pipeline.indicators.building import fact_path
from insertion_pipeline.indicators.catalogue import (
    AXIS_COLUMNS,
    Aggregate,
    CompiledIndicator,
    Fact,
    compile_catalogue,
    facts,
)
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Breakdown, Registry

#: Ratios need a denominator of at least `minimum_denominator`, quantiles this many contributors (domain rule 14).
QUANTILE_CONTRIBUTORS = 20

#: One row per (month, territory, indicator, breakdown, modality), before protection. `value` is null unless `status`
#: is `published`; `numerator`, `denominator` and `contributors` are always there: protection needs them, and
#: publication drops them wherever the value is not published. `error` is the estimated number of false counts.
VALUES_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("country", pa.string()),
        ("territory_level", pa.string()),
        ("territory_code", pa.string()),
        ("axis", pa.string()),
        ("indicator_code", pa.string()),
        ("breakdown", pa.string()),
        ("modality", pa.string()),
        ("numerator", pa.float64()),
        ("denominator", pa.float64()),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("counted_unit", pa.string()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("coverage", pa.float64()),
        ("n_units_expected", pa.int64()),
        ("n_units_received", pa.int64()),
        ("n_partners_expected", pa.int64()),
        ("n_partners_received", pa.int64()),
        ("as_of", pa.string()),
        ("maturity", pa.string()),
        ("contributors", pa.int64()),
        ("threshold", pa.int64()),
        ("error", pa.float64()),
    ]
)


@dataclass(frozen=True)
class _Pass:
    """What is computed together: the indicators of one fact that share an axis."""

    fact: Fact
    axis: str
    indicators: tuple[CompiledIndicator, ...]

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        return tuple(dict.fromkeys(aggregate for one in self.indicators for aggregate in one.aggregates))

    @property
    def breakdown_columns(self) -> Mapping[str, str]:
        """Breakdown to column, of those that give a row one modality."""
        return {name: cut.column for name, cut in self._breakdowns.items() if not cut.multivalued}

    @property
    def list_columns(self) -> Mapping[str, str]:
        """Breakdown to column, of those that give a row any number of modalities."""
        return {name: cut.column for name, cut in self._breakdowns.items() if cut.multivalued}

    @property
    def _breakdowns(self) -> Mapping[str, Breakdown]:
        return {name: cut for one in self.indicators for name, cut in one.breakdowns.items()}

    @property
    def levels(self) -> frozenset[str]:
        return frozenset(level for one in self.indicators for level in one.indicator.levels)


class Passes(Protocol):
    """Whoever groups the rows of facts in DuckDB's place: each pass is one query over a fact and two small tables."""

    def lay_out(self, places: Mapping[str, pa.Table]) -> None:
        """Make the small tables readable by name, beside the facts."""

    def table(self, sql: str) -> pa.Table:
        """What a query written for DuckDB gives, in any order."""


def compute_values(
    lake: Lake, registry: Registry, month: Month, *, as_of: Month | None = None, passes: Passes | None = None
) -> pa.Table:
    """Compute every indicator of `month` from the facts of the lake; write and return `lake/values/<month>.parquet`.

    `as_of` is the last month known when the value is computed (default: `month` itself): it decides its maturity.
    `passes` groups the rows of facts elsewhere than in DuckDB.
    Writes `lake/coverage/<month>.parquet` beside it. Raises `InvalidDataSources` when the catalogue is refused and
    `ValuesDoNotAddUp` when an additive breakdown does not.
    """
    from insertion_pipeline.indicators.additivity import refuse_what_does_not_add_up

    catalogue = compile_catalogue(registry, measured_misses(lake))
    with lake.connect() as connection:
        for name in facts():
            rows = lake.scan(connection, [fact_path(lake, name, month)])
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {rows}")
        grid = coverage.coverage_grid(lake, registry, month)
        lake.write_parquet(coverage_path(lake, month).path, grid, durable=False)
        earlier = [
            coverage.coverage_grid(lake, registry, month.plus(-back))
            for back in range(1, max(one.indicator.complete_months for one in catalogue))
        ]
        values = values_of(
            connection, registry, catalogue, month, grid, as_of=as_of, earlier_grids=earlier, passes=passes
        )
        refuse_what_does_not_add_up(connection, values, catalogue)
    lake.write_parquet(values_path(lake, month).path, values)
    return values


def measured_misses(lake: Lake) -> Mapping[tuple[str, str], float]:
    """The measured share of false non-matches of pairs of sources, empty before anybody measured them."""
    from insertion_pipeline.identity.quality import misses_file  # drags the linkage in

    file = misses_file(lake)
    if not file.path.exists():
        return {}
    rows = lake.read_parquet(file, columns=["source_a", "source_b", "share"]).to_pylist()
    return {(row["source_a"], row["source_b"]): row["share"] for row in rows if row["share"] is not None}


def values_path(lake: Lake, month: Month) -> ParquetFile:
    """Where the values of a month are, before protection."""
    return ParquetFile(lake.open_area / "values" / f"{month}.parquet")


def coverage_path(lake: Lake, month: Month) -> ParquetFile:
    """Where the coverage grid of a month is."""
    return ParquetFile(lake.open_area / "coverage" / f"{month}.parquet")


def values_of(
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    catalogue: Sequence[CompiledIndicator],
    month: Month,
    grid: pa.Table,
    *,
    as_of: Month | None = None,
    places: pa.Table | None = None,
    earlier_grids: Sequence[pa.Table] = (),
    passes: Passes | None = None,
) -> pa.Table:
    """Every value of `month`, from the facts open in `connection` and the coverage grid, as `VALUES_SCHEMA`.

    Sorted by indicator, breakdown, modality, territory. An indicator begins at its `valid_from`. `places` is the
    month's roll-up, for a caller that has it already; `earlier_grids`, the coverage grids of the months before, the
    nearest first, for indicators that need several complete months (one that is not given was not complete).
    """
    in_force = tuple(one for one in catalogue if one.indicator.valid_from <= month)
    places = territories.rollup(connection, registry, month) if places is None else places
    connection.register("places", places)
    connection.execute("CREATE OR REPLACE TEMP TABLE rollup AS SELECT * FROM places")
    coverage.register_grids(connection, [grid, *earlier_grids])
    needs = coverage.create_territory_coverage(connection, registry, [one.indicator for one in in_force], places)
    coverage.create_leaves(connection, needs)
    for statement in AGGREGATE_MACROS:
        connection.execute(statement)
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE terms (indicator_code VARCHAR, level VARCHAR, territory VARCHAR, "
        "breakdown VARCHAR, modality VARCHAR, numerator DECIMAL(24, 6), denominator DECIMAL(24, 6), "
        "contributors BIGINT, error DECIMAL(24, 6))"
    )
    needed = [one_pass for one_pass in _passes(in_force) if _has_rows(connection, one_pass.fact)]
    _create_places_named(connection, needed)
    if passes is not None:
        passes.lay_out({name: connection.table(name).to_arrow_table() for name in ("leaves_named", "rollup_named")})
    for one_pass in needed:
        _run_pass(connection, one_pass, passes)
    _register_declarations(connection, registry, in_force, needs, month, as_of or month)
    return connection.sql(_VALUES).to_arrow_table().cast(VALUES_SCHEMA)


def _passes(catalogue: Sequence[CompiledIndicator]) -> Iterable[_Pass]:
    together: dict[tuple[str, str], list[CompiledIndicator]] = {}
    for one in catalogue:
        together.setdefault((one.indicator.fact, one.indicator.axis), []).append(one)
    for (fact, axis), indicators in together.items():
        yield _Pass(facts()[fact], axis, tuple(indicators))


def _has_rows(connection: duckdb.DuckDBPyConnection, fact: Fact) -> bool:
    return connection.execute(f"SELECT 1 FROM {fact.name} LIMIT 1").fetchone() is not None


def _create_places_named(connection: duckdb.DuckDBPyConnection, passes: Iterable[_Pass]) -> None:
    """Create `leaves_named` and `rollup_named`: the places that the facts carry, few beside those that they could."""
    named = {(one.fact.name, AXIS_COLUMNS[one.axis]) for one in passes}
    places = " UNION ".join(f"SELECT {column} AS leaf FROM {fact} GROUP BY ALL" for fact, column in sorted(named))
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE leaves_named AS
        SELECT leaves.* FROM leaves
        WHERE leaf IN (SELECT leaf FROM ({places or "SELECT NULL AS leaf"}))
            OR leaf LIKE '%-{territories.UNKNOWN}' OR leaf LIKE '%-{territories.OUTSIDE}'"""
    )
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE rollup_named AS SELECT rollup.* FROM rollup SEMI JOIN leaves_named USING (leaf)"
    )


def _run_pass(connection: duckdb.DuckDBPyConnection, one_pass: _Pass, passes: Passes | None) -> None:
    """Compute the terms of the indicators of one pass and append them to `terms`."""
    summed = [aggregate for aggregate in one_pass.aggregates if aggregate.adds_up]
    recounted = [aggregate for aggregate in one_pass.aggregates if not aggregate.adds_up]
    parts = []
    if summed:
        _create(connection, "at_leaves", _grouped(one_pass, summed, ("leaf",)), passes)
        sums = ", ".join(f"sum({aggregate.column}) AS {aggregate.column}" for aggregate in summed)
        parts.append(
            f"SELECT level, territory, breakdown, modality, {sums} FROM at_leaves JOIN rollup_named USING (leaf) "
            f"WHERE level IN ({_texts(one_pass.levels)}) GROUP BY ALL"
        )
    if recounted:
        _create(connection, "at_territories", _grouped(one_pass, recounted, ("level", "territory")), passes)
        parts.append("SELECT * FROM at_territories")
    joined = " JOIN ".join(f"({part})" for part in parts)
    using = " USING (level, territory, breakdown, modality)" if len(parts) > 1 else ""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE aggregates AS SELECT * FROM {joined}{using}")
    connection.execute("INSERT INTO terms " + " UNION ALL ".join(_terms(one) for one in one_pass.indicators))


def _create(connection: duckdb.DuckDBPyConnection, name: str, sql: str, passes: Passes | None) -> None:
    """Create the relation `name` from a query over a fact, run here or elsewhere."""
    if passes is None:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")
    else:
        connection.register(name, passes.table(sql))


def _grouped(one_pass: _Pass, aggregates: Sequence[Aggregate], keys: Sequence[str]) -> str:
    """SELECT of `aggregates` for each key alone and each key with each breakdown: one pass over the fact.

    A breakdown that gives a row several modalities takes a pass of its own, in which the row stands for each of them.
    """
    cuts = one_pass.breakdown_columns
    names = " ".join(f"WHEN grouping({column}) = 0 THEN '{name}'" for name, column in cuts.items())
    modalities = " ".join(
        f"WHEN grouping({column}) = 0 THEN coalesce(CAST({column} AS VARCHAR), '{territories.UNKNOWN}')"
        for column in cuts.values()
    )
    breakdown = f"CASE {names} ELSE 'total' END" if cuts else "'total'"
    modality = f"CASE {modalities} ELSE 'TOTAL' END" if cuts else "'TOTAL'"
    here = ", ".join(keys)
    sets = ", ".join([f"({here})", *(f"({here}, {column})" for column in cuts.values())])
    calls = ", ".join(f"{aggregate.sql} AS {aggregate.column}" for aggregate in aggregates)
    selects = [
        f"""SELECT {here}, {breakdown} AS breakdown, {modality} AS modality, {calls}
        FROM {_placed(one_pass, keys)} GROUP BY GROUPING SETS ({sets})""",
        *(
            f"""SELECT {here}, '{name}' AS breakdown, modality, {calls}
            FROM {_placed(one_pass, keys, column)} GROUP BY {here}, modality"""
            for name, column in one_pass.list_columns.items()
        ),
    ]
    return " UNION ALL ".join(selects)


def _placed(one_pass: _Pass, keys: Sequence[str], list_column: str | None = None) -> str:
    """The rows of the fact with their leaf, at each of their territories unless leaves are all that is asked for."""
    place = AXIS_COLUMNS[one_pass.axis]
    leaf = territories.leaf_sql(f"rows.{place}", "rows.space", "leaves.leaf")
    modality = f", unnest(rows.{list_column}) AS modality" if list_column else ""
    every = f"""(
        SELECT rows.*, {leaf} AS leaf{modality}, leaves.* EXCLUDE (leaf)
        FROM {one_pass.fact.name} AS rows
        LEFT JOIN leaves_named AS leaves ON leaves.leaf = rows.{place}
    )"""
    return (
        every
        if keys == ("leaf",)
        else f"{every} JOIN rollup_named USING (leaf) WHERE level IN ({_texts(one_pass.levels)})"
    )


def _terms(one: CompiledIndicator) -> str:
    """SELECT of the terms of one indicator over the aggregates of its pass. An empty sum is zero; a quantile, null."""
    indicator = one.indicator
    cuts = ["breakdown = 'total'"]
    for name, cut in one.breakdowns.items():
        cuts.append(f"(breakdown = '{name}' AND level IN ({_texts(cut.levels or indicator.levels)}))")
    empty = "NULL" if indicator.kind == "quantile" else "0"
    return f"""
        SELECT '{indicator.code}', level, territory, breakdown, modality,
            coalesce({one.numerator}, {empty}),
            {f"coalesce({one.denominator}, 0)" if one.denominator else "NULL"},
            coalesce({one.contributors}, 0),
            {one.error or "NULL"}
        FROM aggregates
        WHERE level IN ({_texts(indicator.levels)}) AND substr(territory, 1, 2) IN ({_texts(indicator.countries)})
            AND ({" OR ".join(cuts)})
    """


def _texts(values: Iterable[str]) -> str:
    return ", ".join(f"'{value}'" for value in sorted(values))


def _register_declarations(
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    catalogue: Sequence[CompiledIndicator],
    needs: Mapping[str, coverage.Need],
    month: Month,
    as_of: Month,
) -> None:
    """The relation `declarations`: what the catalogue says of each indicator, one row each."""
    indicators = [one.indicator for one in catalogue]
    connection.register(
        "declarations",
        pa.table(
            {
                "indicator_code": [one.code for one in indicators],
                "need_rank": pa.array([needs[one.code].rank for one in indicators], pa.int64()),
                "levels": pa.array([list(one.levels) for one in indicators], pa.list_(pa.string())),
                "countries": pa.array([list(one.countries) for one in indicators], pa.list_(pa.string())),
                "axis": [one.axis for one in indicators],
                "unit": [one.unit for one in indicators],
                "counted_unit": [one.counted_unit for one in indicators],
                "kind": [one.kind for one in indicators],
                "threshold": pa.array([one.threshold for one in indicators], pa.int64()),
                "minimum_denominator": pa.array([one.minimum_denominator for one in indicators], pa.int64()),
                "minimum_families": pa.array([one.minimum_families for one in indicators], pa.int64()),
                "maturity": [maturity(registry, one.sources, month, as_of) for one in indicators],
            }
        ),
    )
    connection.register("release_terms", pa.table({"month": [str(month)], "as_of": [str(as_of)]}))


def maturity(registry: Registry, sources: Iterable[str], month: Month, as_of: Month) -> str:
    """How settled a value of `month` is when `as_of` is known: as settled as the slowest of its sources.

    Each source has its months to « semi-définitif » and « définitif » in `maturity_rules.csv` (`*`: any other source).
    """
    rules = {row["code"]: row for row in registry.nomenclature("maturity_rules").records(month)}
    known_for = as_of.months_since(month)
    concerned = [rules.get(source, rules["*"]) for source in sources]
    for word, column in (("définitif", "definitive_after"), ("semi-définitif", "semi_definitive_after")):
        if all(known_for >= int(rule[column]) for rule in concerned):
            return word
    return "provisoire"


#: Aggregates that the catalogue may use and the engine does not have. `kaplan_meier_median(days, is_over)`: the first
#: delay at which half of a cohort or fewer still wait, those who wait until the end of observation (`is_over` false,
#: `days` so far) included; null when more than half still wait. The product of shares is compared with one half up to
#: rounding of doubles.
AGGREGATE_MACROS = (
    """CREATE OR REPLACE TEMP MACRO median_of_waits(waits) AS (
        SELECT min(days)
        FROM (
            SELECT days, product(1 - over / at_risk) OVER (ORDER BY days) AS still_waiting
            FROM (
                SELECT days, over, sum(everybody) OVER (ORDER BY days DESC) AS at_risk
                FROM (
                    SELECT wait.days AS days, count(*) FILTER (WHERE wait.is_over) AS over, count(*) AS everybody
                    FROM (SELECT unnest(waits) AS wait)
                    GROUP BY wait.days
                )
            )
        )
        WHERE still_waiting <= 0.5 + 1e-9
    )""",
)


# Exact half-even rounding to one decimal, in integers: terms are decimals of six places, so `scaled` and `unit_of`
# are whole numbers, and the value in tenths is their quotient.
_VALUES = f"""
WITH expected AS (  -- where files were expected and none came, the absence is said even without a row
    SELECT indicator_code, alike.level, alike.territory, 'total' AS breakdown, 'TOTAL' AS modality,
        CAST(0 AS DECIMAL(24, 6)) AS numerator, CAST(0 AS DECIMAL(24, 6)) AS denominator, 0 AS contributors,
        CAST(NULL AS DECIMAL(24, 6)) AS error
    FROM territory_coverage
    JOIN answered_alike AS alike ON alike.stands_for = territory_coverage.territory
    JOIN declarations USING (need_rank)
    LEFT JOIN (
        SELECT need_rank, territory AS country FROM territory_coverage WHERE level = 'country' AND is_not_received
    ) AS nowhere
        ON nowhere.need_rank = territory_coverage.need_rank AND nowhere.country = substr(alike.territory, 1, 2)
    ANTI JOIN terms ON terms.indicator_code = declarations.indicator_code AND terms.territory = alike.territory
    WHERE is_not_received AND NOT is_unavailable AND alike.level <> 'commune'
        -- nothing came from anywhere: said once per department, not for each of hundreds of committees and zones
        AND (nowhere.country IS NULL OR alike.level NOT IN ('epci', 'clpe', 'employment_zone'))
        AND list_contains(declarations.levels, alike.level)
        AND list_contains(countries, substr(alike.territory, 1, 2))
),
covered AS (
    SELECT every.*, declarations.* EXCLUDE (indicator_code, levels, countries, need_rank),
        substr(every.territory, 1, 2) AS country,
        here.coverage,
        coalesce(here.n_units_expected, 0) AS n_units_expected,
        coalesce(here.n_units_received, 0) AS n_units_received,
        coalesce(here.n_partners_expected, 0) AS n_partners_expected,
        coalesce(here.n_partners_received, 0) AS n_partners_received,
        coalesce(here.n_families_received, 0) AS n_families_received,
        coalesce(here.is_not_received, false) AS is_not_received,
        coalesce(here.is_unavailable, true) AS is_unavailable
    FROM (SELECT * FROM terms UNION ALL SELECT * FROM expected) AS every
    JOIN declarations USING (indicator_code)
    -- « sans commune connue », « hors territoire » are as covered as their country
    LEFT JOIN answered_alike AS alike
        ON alike.territory = CASE
            WHEN every.territory LIKE '%-INCONNU' OR every.territory LIKE '%-HORS' THEN substr(every.territory, 1, 2)
            ELSE every.territory
        END
    LEFT JOIN territory_coverage AS here
        ON here.need_rank = declarations.need_rank AND here.territory = alike.stands_for
),
judged AS (
    SELECT *,
        CASE
            WHEN is_unavailable THEN 'ND'
            WHEN is_not_received OR n_families_received < minimum_families THEN 'NR'
            WHEN error * 3 > abs(numerator) THEN 'ND'
            WHEN kind = 'ratio' AND denominator = 0 THEN 'NC'
            WHEN kind = 'ratio' AND denominator < minimum_denominator THEN 'PS'
            WHEN kind = 'quantile' AND contributors < {QUANTILE_CONTRIBUTORS} THEN 'PS'
            WHEN numerator IS NULL THEN 'ND'  -- a median not reached yet
            ELSE 'published'
        END AS status,
        CAST(numerator * 1000000 AS HUGEINT) * CASE WHEN unit = '%' THEN 1000 ELSE 10 END AS scaled,
        CASE WHEN kind = 'ratio' THEN CAST(denominator * 1000000 AS HUGEINT) ELSE 1000000 END AS unit_of
    FROM covered
),
rounded AS (
    SELECT *,
        CASE
            WHEN status <> 'published' THEN NULL
            WHEN 2 * (abs(scaled) % unit_of) > unit_of THEN abs(scaled) // unit_of + 1
            WHEN 2 * (abs(scaled) % unit_of) = unit_of THEN abs(scaled) // unit_of + (abs(scaled) // unit_of) % 2
            ELSE abs(scaled) // unit_of
        END AS tenths
    FROM judged
)
SELECT release_terms.month, country, level AS territory_level, territory AS territory_code, axis, indicator_code,
    breakdown, modality,
    CAST(numerator AS DOUBLE) AS numerator,
    CASE WHEN kind <> 'count' AND kind <> 'sum' THEN CAST(denominator AS DOUBLE) END AS denominator,
    CAST(sign(scaled) * tenths AS DOUBLE) / 10 AS value,
    unit, counted_unit, kind, status, coverage, n_units_expected, n_units_received, n_partners_expected,
    n_partners_received, release_terms.as_of, maturity, contributors, threshold,
    CAST(error AS DOUBLE) AS error
FROM rounded CROSS JOIN release_terms
ORDER BY indicator_code, breakdown, modality, territory_code
"""
