"""How a month of a source differs from the month before: volumes, empty cells, distributions of codes.

Belongs here: the profile of a source (counts and shares only) and the great-expectations suite that judges it, both
generated from the contract and the previous month. Does not belong here: what makes one row wrong (`conforming`).

The profile is computed in DuckDB and holds no value of any field, only how many there are: great-expectations never
sees a person. A code whose share moved is named by its field, not by its code.
"""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa

from insertion_pipeline.ingestion.deliveries import conformed_rows
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, ContractTable, Registry, Source
from insertion_pipeline.settings import silence_telemetry

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite
    from great_expectations.core.expectation_validation_result import ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext

#: A thin file has fewer than 70 % and fewer than N - 10 rows of the month it is compared with (domain rule 11).
THIN_SHARE, THIN_ROWS = 0.70, 10
#: The mirror image: a file that suddenly holds half as much again was often exported without its filter.
SWOLLEN_SHARE = 1.50
#: Points of empty cells that a column may gain in a month, and the half-sum of the changes of its codes' shares.
EMPTY_SHARE_CHANGE, CODE_SHARE_SHIFT = 0.15, 0.25
#: Below this many rows shares move by themselves: volumes alone are judged.
ROWS_FOR_SHARES = 30

#: One row per month and table (`field` is empty), and per stored field of it.
PROFILE_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("table", pa.string()),
        ("field", pa.string()),
        ("is_required", pa.bool_()),
        ("rows", pa.int64()),
        ("rows_before", pa.int64()),
        ("rows_floor", pa.int64()),
        ("rows_ceiling", pa.int64()),
        ("empty_share", pa.float64()),
        ("empty_share_change", pa.float64()),
        ("code_share_shift", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Drift:
    """Something that moved more than months usually move. Never blocking: it is a question to ask the partner."""

    table: str
    field: str
    measure: str
    message: str


@dataclass(frozen=True)
class DriftReport:
    """The verdict of one source's suite for one month."""

    source: str
    month: Month
    rows: int
    expectations: int
    drifts: tuple[Drift, ...]

    @property
    def passed(self) -> bool:
        return not self.drifts


def profile(lake: Lake, registry: Registry, source: Source, months: Sequence[Month]) -> pa.Table:
    """The shape of `source` in each month beside the month before: a table of `PROFILE_SCHEMA`, without any value."""
    rows: list[dict[str, Any]] = []
    read = sorted({month.plus(step) for month in months for step in (-1, 0)})
    with lake.connect(sealed_spill=True) as connection:
        for table in source.version_for(read[-1]).resources:
            relation = conformed_rows(lake, connection, registry, source.name, table.name, read)
            connection.execute(f"CREATE OR REPLACE TEMP TABLE conformed AS FROM {relation}")
            for month in months:
                rows.extend(
                    {"month": str(month), **row} for row in _profile_of_table(connection, "conformed", table, month)
                )
    return pa.Table.from_pylist(rows, schema=PROFILE_SCHEMA)


def judge_drift(lake: Lake, registry: Registry, source: Source, months: Sequence[Month]) -> tuple[DriftReport, ...]:
    """One report per month: the profile of `source`, validated by the suite. Imports great-expectations (seconds)."""
    shape = profile(lake, registry, source, months)
    data_source = _context().data_sources.add_or_update_pandas(source.name)
    definition = data_source.add_dataframe_asset("profile").add_batch_definition_whole_dataframe("months")
    suite = expectation_suite(source, max(months))
    outcome = definition.get_batch({"dataframe": shape.to_pandas()}).validate(
        suite, result_format={"result_format": "COMPLETE", "unexpected_index_column_names": ["month", "table", "field"]}
    )
    drifts = tuple(_drifts(outcome.results))
    volumes: Counter[str] = Counter()
    for row in shape.to_pylist():
        volumes[row["month"]] += 0 if row["field"] else row["rows"]
    return tuple(
        DriftReport(
            source.name,
            month,
            volumes[str(month)],
            len(suite.expectations),
            tuple(drift for told, drift in drifts if told in (str(month), "")),
        )
        for month in months
    )


def expectation_suite(source: Source, month: Month) -> ExpectationSuite:
    """What every month of a source must be: as its contract promises, and not far from the month before.

    It is stated over the columns of `PROFILE_SCHEMA`, whose bounds come from the contract and the previous month.
    """
    silence_telemetry()
    import great_expectations as gx
    import great_expectations.expectations.core as expect
    from great_expectations.expectations.row_conditions import Column

    def judging(measure: str, message: str) -> dict[str, str]:
        return {"measure": measure, "message": message}

    tables = [table.name for table in source.version_for(month).resources]
    enough_rows, too_many_rows = judging("rows", "moins de lignes"), judging("rows", "plus de lignes")
    return gx.ExpectationSuite(
        name=f"{source.name}, month on month",
        expectations=[
            expect.ExpectColumnDistinctValuesToEqualSet(
                column="table", value_set=tables, meta=judging("table", "une table du contrat manque au profil")
            ),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="rows",
                column_B="rows_floor",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                meta=enough_rows,
            ),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="rows_ceiling",
                column_B="rows",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                meta=too_many_rows,
            ),
            expect.ExpectColumnValuesToBeBetween(
                column="empty_share",
                max_value=0.0,
                row_condition=Column("is_required") == True,  # noqa: E712
                meta=judging("empty_share", "une valeur obligatoire manque"),
            ),
            expect.ExpectColumnValuesToBeBetween(
                column="empty_share_change",
                max_value=EMPTY_SHARE_CHANGE,
                meta=judging("empty_share_change", "plus de cellules vides"),
            ),
            expect.ExpectColumnValuesToBeBetween(
                column="code_share_shift",
                max_value=CODE_SHARE_SHIFT,
                meta=judging("code_share_shift", "une autre répartition des codes"),
            ),
        ],
    )


@functools.cache
def _context() -> EphemeralDataContext:
    """A great-expectations context that lives in memory, draws no progress bar and calls nobody."""
    silence_telemetry()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context


def _drifts(results: Sequence[ExpectationValidationResult]) -> Iterator[tuple[str, Drift]]:
    """Each drift with the month that it is of; no month for what is wrong with the profile itself."""
    for result in results:
        if result.success:
            continue
        meta = result.expectation_config.meta if result.expectation_config is not None else {}
        for place in result.result.get("unexpected_index_list") or [{"month": "", "table": "", "field": ""}]:
            yield place["month"], Drift(place["table"], place["field"], meta["measure"], meta["message"])


def _profile_of_table(
    connection: duckdb.DuckDBPyConnection, relation: str, table: ContractTable, month: Month
) -> Iterator[dict[str, Any]]:
    fields, before = table.stored_fields, month.plus(-1)
    filled = ", ".join(f'count("{field.name}")' for field in fields)
    counts = {
        month_text: counted
        for month_text, *counted in connection.execute(
            f"SELECT _month, count(*), {filled} FROM {relation} GROUP BY _month"
        ).fetchall()
    }
    empty_month = [0] * (len(fields) + 1)
    now, then = counts.get(str(month), empty_month), counts.get(str(before), empty_month)
    shifts = _code_share_shifts(connection, relation, fields, month, before)
    rows, rows_before = now[0], then[0]
    yield {
        "table": table.name,
        "field": "",
        "rows": rows,
        "rows_before": rows_before,
        **(_bounds(rows_before) if rows_before else {}),
    }
    for field, filled_now, filled_then in zip(fields, now[1:], then[1:], strict=True):
        is_comparable = min(rows, rows_before) >= ROWS_FOR_SHARES
        empty = 1 - filled_now / rows if rows else None
        yield {
            "table": table.name,
            "field": field.name,
            "is_required": field.constraints.required and field.severity == "blocking",
            "empty_share": empty,
            "empty_share_change": empty - (1 - filled_then / rows_before)
            if empty is not None and is_comparable
            else None,
            "code_share_shift": shifts.get(field.name) if is_comparable else None,
        }


def _bounds(rows_before: int) -> dict[str, int]:
    """The volumes between which a month is ordinary: outside both the share and the number of rows, it is not."""
    return {
        "rows_floor": min(math.ceil(THIN_SHARE * rows_before), max(rows_before - THIN_ROWS, 0)),
        "rows_ceiling": max(math.floor(SWOLLEN_SHARE * rows_before), rows_before + THIN_ROWS),
    }


def _code_share_shifts(
    connection: duckdb.DuckDBPyConnection, relation: str, fields: Sequence[ContractField], month: Month, before: Month
) -> dict[str, float]:
    """Total variation distance between the two months' distributions, per coded field that is no personal datum."""
    coded = [
        field.name
        for field in fields
        if (field.insertion.code_list or field.constraints.enum)
        and field.insertion.use != "link"
        and not field.insertion.personal
    ]
    if not coded:
        return {}
    texts = ", ".join(f'"{name}"::VARCHAR AS "{name}"' for name in coded)
    names = ", ".join(f'"{name}"' for name in coded)
    rows = connection.execute(
        f"""
        WITH cells AS (UNPIVOT (SELECT _month, {texts} FROM {relation}) ON {names} INTO NAME field VALUE code),
        months AS (
            SELECT field, code,
                   count(*) FILTER (_month = $month) AS n_now,
                   count(*) FILTER (_month = $before) AS n_before
            FROM cells GROUP BY ALL
        ),
        shares AS (
            SELECT field,
                   n_now / nullif(sum(n_now) OVER (PARTITION BY field), 0) AS share_now,
                   n_before / nullif(sum(n_before) OVER (PARTITION BY field), 0) AS share_before
            FROM months
        )
        SELECT field, sum(abs(share_now - share_before)) / 2 FROM shares GROUP BY field
        """,
        {"month": str(month), "before": str(before)},
    ).fetchall()
    return dict(rows)
