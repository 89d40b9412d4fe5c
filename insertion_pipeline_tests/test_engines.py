"""Spark says what DuckDB says: the places where the two differ, some facts and their indicators, row by row.

The whole way, all facts and a release, is rehearsed in `rehearsal/test_spark.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from insertion_pipeline.identity import pseudonymising
from insertion_pipeline.identity.linkage import link
from insertion_pipeline.indicators import building, computing
from insertion_pipeline.indicators.catalogue import CompiledIndicator, facts, with_dependencies
from insertion_pipeline.indicators.engines.dialect import to_spark
from insertion_pipeline.lake import Lake, in_memory
from insertion_pipeline.registry import Registry
from insertion_pipeline.simulation.canonical import person_records
from insertion_pipeline_tests.indicator_rows import OCTOBER, Row, completed, grid_of, listed, siae, statement, work
from insertion_pipeline_tests.small_spark import QUICK, need_spark

if TYPE_CHECKING:
    from insertion_pipeline.indicators.engines.spark import SparkEngine


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(tmp_path_factory.mktemp("spark") / "home", memory_limit_mb=1024)


@pytest.fixture(scope="module")
def spark(home: Lake) -> Iterator[SparkEngine]:
    """One session for every test of this file."""
    need_spark()
    from insertion_pipeline.identity.spark_weighing import session_settings
    from insertion_pipeline.indicators.engines.spark import SparkEngine, spark_session

    with spark_session(home, "local[2]", {**QUICK, **session_settings()}) as session:
        yield SparkEngine(session)


#: What each of the two engines would say in its own way, left to itself.
DIFFERENCES = """
SELECT
    date_diff('month', DATE '2026-01-31', DATE '2026-02-01') AS month_ends_crossed,
    date_diff('month', DATE '2026-03-01', DATE '2025-12-31') AS month_ends_crossed_backwards,
    date_diff('day', DATE '2024-02-28', DATE '2024-03-01') AS days_of_a_leap_year,
    DATE '2026-03-31' - INTERVAL 1 MONTH AS last_day_of_february,
    lower(strip_accents('ÉLÈVE Œuvre Łódź ça')) AS plain,
    regexp_replace('ACI001A1M2', 'A[0-9](M[0-9])?$', '') AS without_amendment,
    regexp_extract('EITI12', '^(EITI|EI)', 1) AS kind,
    regexp_extract('none', '^(EITI|EI)', 1) AS no_kind,
    regexp_full_match('2026-T45', '[0-9]{4}-T[1-4]') AS is_whole_match,
    CAST(7 AS DECIMAL(18, 6)) / 3 AS quotient,
    CAST(CAST(100 AS DECIMAL(18, 6)) * 12 / 1607 AS DECIMAL(18, 6)) AS etp,
    concat_ws('+', 'ale', NULL, 'siae') AS without_null,
    DATE '2026-10-31' + to_months(CAST(-8 AS INTEGER)) AS months_later
"""

AGGREGATES = """
SELECT grp,
    max_by(sex, month) AS last_known_sex,
    min_by(sex, month) AS first_known_sex,
    bool_or(sex = 'M') AS is_any_man,
    CAST(quantile_disc(days, 0.5) AS BIGINT) AS median_day,
    CAST(quantile_disc(days, 0.5) FILTER (WHERE days > 20) AS BIGINT) AS median_long,
    median_of_waits(list({'days': days, 'is_over': is_over}) FILTER (WHERE days >= 0)) AS median_wait,
    list_sort(list(DISTINCT sex) FILTER (WHERE sex <> '')) AS sexes,
    count(DISTINCT sex) FILTER (WHERE days > 10) AS n_sexes,
    min(month) AS first_month
FROM rows
GROUP BY GROUPING SETS ((grp), (grp, is_over))
ORDER BY ALL
"""

WINDOWS = """
SELECT grp, days, min(month) FILTER (WHERE is_over) OVER (PARTITION BY grp) AS first_over,
    row_number() OVER (PARTITION BY grp ORDER BY sex, month DESC, days) AS rank
FROM rows ORDER BY grp, rank
"""


def test_pairs_weigh_the_same_and_make_the_same_persons(spark: SparkEngine, home: Lake) -> None:
    from insertion_pipeline.identity.spark_weighing import SparkWeighing

    records, _ = person_records(600, 7, 3.0)
    here = link(records, home)
    assert "scored" in here["match_method"].to_pylist()
    assert link(records, home, weighing=SparkWeighing(spark.session)).equals(here)


def test_words_that_the_engines_share_mean_the_same(spark: SparkEngine) -> None:
    with in_memory() as connection:
        (said,) = connection.sql(DIFFERENCES).to_arrow_table().to_pylist()
    (told,) = spark.table(DIFFERENCES).to_pylist()
    assert told["month_ends_crossed"] == said["month_ends_crossed"] == 1
    assert told["month_ends_crossed_backwards"] == said["month_ends_crossed_backwards"] == -3
    for name in ("last_day_of_february", "months_later"):  # DuckDB makes a moment of a day and an interval
        said[name] = said[name].date()
    assert told == said


def test_aggregates_and_windows_mean_the_same(spark: SparkEngine) -> None:
    rows = pa.table(
        {
            "grp": ["a"] * 5 + ["b"] * 4 + ["c"],
            "sex": ["M", None, "F", "", "M", None, None, None, None, "F"],
            "month": [None if month is None else f"2026-{month:02}" for month in (1, 3, 2, None, 12, 1, 2, None, 3, 1)],
            "days": [10, 20, 30, 30, -1, 5, 5, 8, 9, -2],
            "is_over": [True, False, True, True, True, True, False, False, False, True],
        }
    )  # fmt: skip
    spark.lay_out({"rows": rows})
    with in_memory() as connection:
        connection.register("rows", rows)
        for statement_ in computing.AGGREGATE_MACROS:
            connection.execute(statement_)
        for query in (AGGREGATES, WINDOWS):
            said = connection.sql(query).to_arrow_table().to_pylist()
            by_text = sorted(spark.table(query).to_pylist(), key=str)
            assert by_text == sorted(said, key=str)
    assert {row["median_wait"] for row in said if "median_wait" in row} <= {None, 30, 20, 5, 8, 9}


def test_every_fact_and_pass_has_a_translation(catalogue: Sequence[CompiledIndicator]) -> None:
    for fact in facts().values():
        assert to_spark(fact.sql).startswith(("WITH ", "SELECT "))
    for one in catalogue:
        for aggregate in one.aggregates:
            assert to_spark(f"SELECT {aggregate.sql} AS value FROM {one.indicator.fact}").startswith("SELECT ")


@pytest.mark.parametrize(
    ("sql", "reason"),
    [
        ("SELECT date_diff('week', a, b) FROM t", "WEEK"),
        ("SELECT regexp_replace(a, 'x', '') FROM t", "ends with"),
        ("SELECT list(a) FROM t", "nulls"),
    ],
)
def test_what_would_mean_something_else_is_refused(sql: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        to_spark(sql)


# -- facts and indicators ----------------------------------------------------------------------------------------------

CHOSEN = ("rsa_cohorts", "siae_annex_months", "siae_work_months", "ale_exits")


@pytest.fixture(scope="module")
def rows_laid(home: Lake, registry: Registry) -> Lake:
    """Forty persons of a department's list, three employees, three workers of agencies, in the lake."""
    beneficiaries = [
        listed(
            f"p{number}",
            person_sex="1" if number % 3 else "2",
            person_age=20 + number,
            rights_opening_date=date(2026, 4, 1 + number % 28),
            orientation_date=date(2026, 4, 1 + number % 28) + timedelta(days=3 * number) if number % 4 else None,
            orientation_type="social" if number % 2 else "pro",
            person_residence=None if number == 7 else "FR-COM-08409",
        )
        for number in range(40)
    ]
    workers = [
        work("anne", 12.25, _month="2026-05"), work("anne", 3, _month="2026-10"),
        work("bill", 8, _month="2026-04", person_sex=None), work("bill", 0, _month="2026-06", person_sex="1"),
        work("carl", 1, _month="2026-10", date_sortie=date(2026, 10, 5), motif_sortie="Départ"),
    ]  # fmt: skip
    hours = [
        statement("anne", 33.33),
        statement("bob", 91, emi_pph_id=2, emi_ctr_id=2),
        statement(None, 7, emi_pph_id=3),
    ]
    _lay(home, registry, siae(hours) | {
        "department_list__beneficiaires": beneficiaries, "ale_activity__prestations": workers,
    })  # fmt: skip
    return home


def _lay(lake: Lake, registry: Registry, tables: Mapping[str, Sequence[Row]]) -> None:
    for name, rows in tables.items():
        source_name, _, table_name = name.partition("__")
        source = registry.source(source_name)
        (table,) = (one for one in source.version_for(OCTOBER).resources if one.name == table_name)
        complete = [completed(row, source.insertion.spaces[0]) for row in rows]
        for month in {row["_month"] for row in complete}:
            of_month = [row for row in complete if row["_month"] == month]
            path = lake.open_area / "pseudonymised" / source_name / table_name / f"{month}.parquet"
            lake.write_parquet(path, pa.Table.from_pylist(of_month, schema=pseudonymising.schema(table)))


def test_facts_and_indicators_are_the_same_row_by_row(
    spark: SparkEngine,
    rows_laid: Lake,
    registry: Registry,
    catalogue: Sequence[CompiledIndicator],
    places: pa.Table,
) -> None:
    names = with_dependencies(CHOSEN)
    spark.open_pseudonymised(rows_laid, registry, OCTOBER)
    n_rows = spark.write_facts(rows_laid, registry, OCTOBER, [facts()[name] for name in names])
    with rows_laid.connect() as connection:
        building.open_pseudonymised(connection, rows_laid, registry, OCTOBER)
        building.build_facts(connection, registry, OCTOBER, CHOSEN)
        for name in sorted(names):
            here = connection.table(name).to_arrow_table()
            there = rows_laid.read_parquet(building.fact_path(rows_laid, name, OCTOBER))
            assert there.schema.equals(here.schema), name
            assert sorted(map(str, there.to_pylist())) == sorted(map(str, here.to_pylist())), name
            assert n_rows[name] == here.num_rows
        assert n_rows["rsa_cohorts"] == 40
        assert n_rows["siae_work_months"] == 3
        assert n_rows["ale_exits"] == 2
    wanted = [one for one in catalogue if one.indicator.fact in CHOSEN]
    said, told = (_values(rows_laid, registry, wanted, places, passes) for passes in (None, spark))
    assert said.num_rows == 273
    assert told.equals(said)


def _values(
    lake: Lake,
    registry: Registry,
    wanted: Sequence[CompiledIndicator],
    places: pa.Table,
    passes: computing.Passes | None,
) -> pa.Table:
    with lake.connect() as connection:
        for name in CHOSEN:
            rows = lake.scan(connection, [building.fact_path(lake, name, OCTOBER)])
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {rows}")
        grid = grid_of(registry, ())
        return computing.values_of(connection, registry, wanted, OCTOBER, grid, places=places, passes=passes)
