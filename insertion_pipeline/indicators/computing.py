"""Facts from pseudonymised rows, values from facts: set-based, one pass per fact.

Belongs here: laying the pseudonymised tables out for the fact queries, running those in order, computing every
indicator, breakdown and level of a fact together, and giving each value its status. Does not belong here: what a fact
or an indicator is (`facts/*.sql`, the catalogue), who should have delivered (`coverage`), hiding (`disclosure`).

Counts and sums are taken once per place and breakdown, then added up along the hierarchies; distinct counts and
quantiles are recounted at every level. Sums are decimals, so that no value depends on the order of rows.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from graphlib import TopologicalSorter

import duckdb
import pyarrow as pa
import sqlglot
from sqlglot import exp

from insertion_pipeline.indicators import coverage, territories
from insertion_pipeline.indicators.catalogue import (
    AXIS_COLUMNS,
    DIALECT,
    Aggregate,
    CompiledIndicator,
    Fact,
    compile_catalogue,
    facts,
)
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Registry

#: How far back facts look: the twelve rolling months of exits, whose hours count over two calendar years.
MONTHS_BACK = 24

#: Ratios need a denominator of at least `minimum_denominator`, quantiles this many contributors (domain rule 14).
QUANTILE_CONTRIBUTORS = 20

_SEX = "CASE person_sex WHEN '1' THEN 'M' WHEN '2' THEN 'F' END"
_AGE_BAND = (
    "CASE WHEN person_age < 26 THEN 'Y_LT26' WHEN person_age < 50 THEN 'Y26T49' WHEN person_age >= 50 THEN 'Y_GE50' END"
)

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
        return {name: cut.column for one in self.indicators for name, cut in one.breakdowns.items()}

    @property
    def levels(self) -> frozenset[str]:
        return frozenset(level for one in self.indicators for level in one.indicator.levels)


# -- facts -------------------------------------------------------------------------------------------------------


def compute_facts(lake: Lake, registry: Registry, month: Month) -> Mapping[str, int]:
    """Write `lake/facts/<fact>/<month>.parquet` for every fact; returns the number of rows of each."""
    connection = lake.connect()
    try:
        open_pseudonymised(connection, lake, registry, month)
        build_facts(connection, registry, month)
        rows: dict[str, int] = {}
        for name in facts():
            reader = connection.sql(f"SELECT * FROM {name}").to_arrow_reader()
            with lake.parquet_writer(fact_path(lake, name, month).path, reader.schema) as writer:
                rows[name] = 0
                for batch in reader:
                    writer.write_batch(batch)
                    rows[name] += batch.num_rows
        return rows
    finally:
        connection.close()


def fact_path(lake: Lake, fact: str, month: Month) -> ParquetFile:
    """Where the rows of a fact for a month are."""
    return ParquetFile(lake.open_area / "facts" / fact / f"{month}.parquet")


def open_pseudonymised(connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, month: Month) -> None:
    """Create the views `<source>__<table>`: every pseudonymised row of the `MONTHS_BACK` months up to `month`.

    A view has every column of its contract's pseudonymised schema; a table that nobody delivered is an empty view.
    """
    for source in registry.sources.values():
        if month < source.first_month:
            continue
        for table in source.version_for(month).resources:
            folder = lake.open_area / "pseudonymised" / source.name / table.name
            files = [
                ParquetFile(path)
                for path in sorted(folder.glob("*.parquet"))
                if month.plus(1 - MONTHS_BACK) <= Month.parse(path.stem) <= month
            ]
            create_view(
                connection, f"{source.name}__{table.name}", table, lake.scan(connection, files) if files else ""
            )


def create_view(connection: duckdb.DuckDBPyConnection, name: str, table: ContractTable, rows: str) -> None:
    """Create the view `name` over the relation `rows` (SQL; empty for no row), completed to its contract's columns.

    Two columns are added, `sex` (M, F) and `age_band` at the last day of the row's month: < 26, 26–49, >= 50.
    """
    from insertion_pipeline.identity import pseudonymising

    connection.register(f"{name}__columns", pseudonymising.schema(table).empty_table())
    union = f" UNION ALL BY NAME SELECT * FROM {rows}" if rows else ""
    connection.execute(
        f"CREATE VIEW {name} AS SELECT *, {_SEX} AS sex, {_AGE_BAND} AS age_band "
        f"FROM (SELECT * FROM {name}__columns{union})"
    )


def build_facts(
    connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month, names: Iterable[str] | None = None
) -> None:
    """Create one temporary table per fact (all of them, or `names` and what they read) from the open views."""
    _register_context(connection, registry, month)
    known = facts()
    dependencies = {name: {read for read in _tables_read(fact.sql) if read in known} for name, fact in known.items()}
    wanted = set(known) if names is None else _with_dependencies(names, dependencies)
    for name in TopologicalSorter(dependencies).static_order():
        if name in wanted:
            connection.execute(f"CREATE TEMP TABLE {name} AS {known[name].sql}")


def _with_dependencies(names: Iterable[str], dependencies: Mapping[str, set[str]]) -> set[str]:
    wanted: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in wanted:
            wanted.add(name)
            waiting.extend(dependencies[name])
    return wanted


@functools.cache
def _tables_read(sql: str) -> frozenset[str]:
    return frozenset(table.name for table in sqlglot.parse_one(sql, dialect=DIALECT).find_all(exp.Table))


def _register_context(connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month) -> None:
    """The small relations that every fact may read: `period`, `parameters`, `reporting_units`, code lists."""
    connection.register(
        "period",
        pa.table(
            {
                "month": [str(month)],
                "previous_month": [str(month.plus(-1))],
                "first_day": [month.first_day],
                "last_day": [month.last_day],
                "rolling_year_start": [month.plus(-11).first_day],
            }
        ),
    )
    parameters = {
        row["code"]: [float(row["value"])] for row in registry.nomenclature("indicator_parameters").records(month)
    }
    connection.register("parameters", pa.table(parameters))
    connection.register("etp_reference_hours", _dated(registry, "etp_reference_hours", month))
    partners = list(registry.partners.values())
    connection.register(
        "reporting_units",
        pa.table(
            {
                "unit": pa.array([one.code for one in partners], pa.string()),
                "family": pa.array([one.family for one in partners], pa.string()),
                "siret": pa.array([one.siret for one in partners], pa.string()),
                "territory_code": pa.array([one.territory_code for one in partners], pa.string()),
            }
        ),
    )


def _dated(registry: Registry, name: str, month: Month) -> pa.Table:
    nomenclature = registry.nomenclature(name)
    rows = list(nomenclature.records(month))
    return pa.table({column: pa.array([row[column] for row in rows], pa.string()) for column in nomenclature.columns})


# -- values ------------------------------------------------------------------------------------------------------


def compute_values(lake: Lake, registry: Registry, month: Month, *, as_of: Month | None = None) -> pa.Table:
    """Compute every indicator of `month` from the facts of the lake; write and return `lake/values/<month>.parquet`.

    `as_of` is the last month known when the value is computed (default: `month` itself): it decides its maturity.
    Writes `lake/coverage/<month>.parquet` beside it. Raises `InvalidDataSources` when the catalogue is refused and
    `ValuesDoNotAddUp` when an additive breakdown does not.
    """
    from insertion_pipeline.indicators.additivity import refuse_what_does_not_add_up

    catalogue = compile_catalogue(registry)
    connection = lake.connect()
    try:
        for name in facts():
            rows = lake.scan(connection, [fact_path(lake, name, month)])
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {rows}")
        grid = coverage.coverage_grid(connection, lake, registry, month)
        lake.write_parquet(coverage_path(lake, month).path, grid)
        values = values_of(connection, registry, catalogue, month, grid, as_of=as_of)
        refuse_what_does_not_add_up(connection, values, catalogue)
    finally:
        connection.close()
    lake.write_parquet(values_path(lake, month).path, values)
    return values


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
) -> pa.Table:
    """Every value of `month`, from the facts open in `connection` and the coverage grid, as `VALUES_SCHEMA`.

    Sorted by indicator, breakdown, modality, territory. An indicator begins at its `valid_from`. `places` is the
    month's roll-up, for a caller that has it already.
    """
    in_force = tuple(one for one in catalogue if one.indicator.valid_from <= month)
    connection.register("places", territories.rollup(connection, registry, month) if places is None else places)
    connection.execute("CREATE OR REPLACE TEMP TABLE rollup AS SELECT * FROM places")
    connection.execute("CREATE OR REPLACE TEMP TABLE leaves AS SELECT DISTINCT leaf FROM rollup")
    connection.register("coverage_grid", grid)
    need_of = coverage.create_territory_coverage(connection, registry, [one.indicator for one in in_force])
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE terms (indicator_code VARCHAR, level VARCHAR, territory VARCHAR, "
        "breakdown VARCHAR, modality VARCHAR, numerator DECIMAL(24, 6), denominator DECIMAL(24, 6), "
        "contributors BIGINT, error DECIMAL(24, 6))"
    )
    for one_pass in _passes(in_force):
        _run_pass(connection, one_pass)
    _register_declarations(connection, in_force, need_of, month, as_of or month)
    return connection.sql(_VALUES).to_arrow_table().cast(VALUES_SCHEMA)


def _passes(catalogue: Sequence[CompiledIndicator]) -> Iterable[_Pass]:
    together: dict[tuple[str, str], list[CompiledIndicator]] = {}
    for one in catalogue:
        together.setdefault((one.indicator.fact, one.indicator.axis), []).append(one)
    for (fact, axis), indicators in together.items():
        yield _Pass(facts()[fact], axis, tuple(indicators))


def _run_pass(connection: duckdb.DuckDBPyConnection, one_pass: _Pass) -> None:
    """Compute the terms of the indicators of one pass and append them to `terms`."""
    summed = [aggregate for aggregate in one_pass.aggregates if aggregate.adds_up]
    recounted = [aggregate for aggregate in one_pass.aggregates if not aggregate.adds_up]
    parts = []
    if summed:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE at_leaves AS {_grouped(one_pass, summed, ('leaf',))}")
        sums = ", ".join(f"sum({aggregate.column}) AS {aggregate.column}" for aggregate in summed)
        parts.append(
            f"SELECT level, territory, breakdown, modality, {sums} FROM at_leaves JOIN rollup USING (leaf) "
            f"WHERE level IN ({_texts(one_pass.levels)}) GROUP BY ALL"
        )
    if recounted:
        parts.append(_grouped(one_pass, recounted, ("level", "territory")))
    joined = " JOIN ".join(f"({part})" for part in parts)
    using = " USING (level, territory, breakdown, modality)" if len(parts) > 1 else ""
    connection.execute(f"CREATE OR REPLACE TEMP TABLE aggregates AS SELECT * FROM {joined}{using}")
    for one in one_pass.indicators:
        connection.execute(f"INSERT INTO terms {_terms(one)}")


def _grouped(one_pass: _Pass, aggregates: Sequence[Aggregate], keys: Sequence[str]) -> str:
    """SELECT of `aggregates` for each key alone and each key with each breakdown: one pass over the fact."""
    cuts = one_pass.breakdown_columns
    names = " ".join(f"WHEN grouping({column}) = 0 THEN '{name}'" for name, column in cuts.items())
    modalities = " ".join(
        f"WHEN grouping({column}) = 0 THEN coalesce(CAST({column} AS VARCHAR), '{territories.UNKNOWN}')"
        for column in cuts.values()
    )
    breakdown = f"CASE {names} ELSE 'total' END" if cuts else "'total'"
    modality = f"CASE {modalities} ELSE 'TOTAL' END" if cuts else "'TOTAL'"
    place = AXIS_COLUMNS[one_pass.axis]
    leaf = territories.leaf_sql(f"rows.{place}", "rows.space", "leaves.leaf")
    levels = "" if keys == ("leaf",) else f"JOIN rollup USING (leaf) WHERE level IN ({_texts(one_pass.levels)})"
    here = ", ".join(keys)
    sets = ", ".join([f"({here})", *(f"({here}, {column})" for column in cuts.values())])
    calls = ", ".join(f"{aggregate.sql} AS {aggregate.column}" for aggregate in aggregates)
    return f"""
        SELECT {here}, {breakdown} AS breakdown, {modality} AS modality, {calls}
        FROM (
            SELECT rows.*, {leaf} AS leaf
            FROM {one_pass.fact.name} AS rows
            LEFT JOIN leaves ON leaves.leaf = rows.{place}
        ) {levels}
        GROUP BY GROUPING SETS ({sets})
    """


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
    catalogue: Sequence[CompiledIndicator],
    need_of: Mapping[str, int],
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
                "need_rank": pa.array([need_of[one.code] for one in indicators], pa.int64()),
                "levels": pa.array([list(one.levels) for one in indicators], pa.list_(pa.string())),
                "countries": pa.array([list(one.countries) for one in indicators], pa.list_(pa.string())),
                "axis": [one.axis for one in indicators],
                "unit": [one.unit for one in indicators],
                "counted_unit": [one.counted_unit for one in indicators],
                "kind": [one.kind for one in indicators],
                "threshold": pa.array([one.threshold for one in indicators], pa.int64()),
                "minimum_denominator": pa.array([one.minimum_denominator for one in indicators], pa.int64()),
                "minimum_families": pa.array([one.minimum_families for one in indicators], pa.int64()),
            }
        ),
    )
    connection.register(
        "release_terms",
        pa.table({"month": [str(month)], "as_of": [str(as_of)], "maturity": [maturity(month, as_of)]}),
    )


def maturity(month: Month, as_of: Month) -> str:
    """CNAF's practice, for every source: semi-definitive at two months, definitive at six."""
    known_for = as_of.months_since(month)
    return "définitif" if known_for >= 6 else "semi-définitif" if known_for >= 2 else "provisoire"


# Exact half-even rounding to one decimal, in integers: terms are decimals of six places, so `scaled` and `unit_of`
# are whole numbers, and the value in tenths is their quotient.
_VALUES = f"""
WITH expected AS (  -- where files were expected and none came, the absence is said even without a row
    SELECT indicator_code, level, territory, 'total' AS breakdown, 'TOTAL' AS modality,
        CAST(0 AS DECIMAL(24, 6)) AS numerator, CAST(0 AS DECIMAL(24, 6)) AS denominator, 0 AS contributors,
        CAST(NULL AS DECIMAL(24, 6)) AS error
    FROM territory_coverage
    JOIN declarations USING (need_rank)
    ANTI JOIN terms USING (indicator_code, territory)
    WHERE is_not_received AND NOT is_unavailable AND level <> 'commune'
        AND list_contains(declarations.levels, level) AND list_contains(countries, substr(territory, 1, 2))
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
    LEFT JOIN territory_coverage AS here
        ON here.need_rank = declarations.need_rank
        AND here.territory = CASE
            WHEN every.territory LIKE '%-INCONNU' OR every.territory LIKE '%-HORS' THEN substr(every.territory, 1, 2)
            ELSE every.territory
        END
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
    n_partners_received, release_terms.as_of, release_terms.maturity, contributors, threshold,
    CAST(error AS DOUBLE) AS error
FROM rounded CROSS JOIN release_terms
ORDER BY indicator_code, breakdown, modality, territory_code
"""
