"""How a partner's month differs from its own earlier ones: volumes, empty cells, codes, orders of magnitude.

Belongs here: the comparison of deliveries' profiles and the great-expectations suite that judges it. Does not belong
here: counting (`profiling`), what makes one row wrong (`conforming`), the pages that show it (`drift_pages`).

great-expectations sees how many there are, never a value: a field whose codes moved is named, its codes are not. All
sources of the months asked for are judged by one validation: preparing one costs a quarter of a second, whatever it
holds (measured), and the library takes five seconds to import.
"""

from __future__ import annotations

import contextlib
import functools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from insertion_pipeline.ingestion import content, deliveries
from insertion_pipeline.ingestion.profiling import profile
from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Registry, Source
from insertion_pipeline.settings import silence_telemetry

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuite
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.data_context import EphemeralDataContext

#: A thin file has fewer than 70 % and fewer than N - 10 rows of the month it is compared with (domain rule 11).
THIN_SHARE, THIN_ROWS = 0.70, 10
#: The mirror image: a file that suddenly holds half as much again was often exported without its filter.
SWOLLEN_SHARE = 1.50
#: Points of empty cells that a column may gain in a month, and the half-sum of the changes of its codes' shares.
EMPTY_SHARE_CHANGE, CODE_SHARE_SHIFT = 0.15, 0.25
#: The share of rows that bear a code which none of the partner's earlier deliveries had.
NEW_CODE_SHARE = 0.05
#: How far the median of a number may move, as a share of what it was: hours given in minutes, euros in cents.
MEDIAN_SHIFT, SMALL_NUMBER = 0.60, 5.0
#: Below this many rows shares move by themselves: volumes alone are judged.
ROWS_FOR_SHARES = 30
#: How far back a partner's own history goes.
HISTORY_MONTHS = 12

#: One row per month, partner and table (`field` is empty), and per stored field of it.
COMPARISON_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("source", pa.string()),
        ("partner", pa.string()),
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
        ("new_code_share", pa.float64()),
        ("median_shift", pa.float64()),
    ]
)
PLACE = ("month", "source", "partner", "table", "field")


@dataclass(frozen=True)
class Drift:
    """Something that moved more than months usually move. Never blocking: it is a question to ask the partner."""

    table: str
    field: str
    measure: str
    message: str
    partner: str = ""


@dataclass(frozen=True)
class DriftReport:
    """The verdict of the suite on one source for one month."""

    source: str
    month: Month
    rows: int
    expectations: int
    drifts: tuple[Drift, ...]

    @property
    def passed(self) -> bool:
        return not self.drifts


def judge_drift(lake: Lake, registry: Registry, source: Source, months: Sequence[Month]) -> tuple[DriftReport, ...]:
    """One report per month on `source`. Imports great-expectations (seconds).

    The first question about these months is answered for all sources at once, and remembered until the next receipt.
    """
    return _together(lake, registry, months)[source.name]


def judge_all(lake: Lake, registry: Registry, months: Sequence[Month]) -> tuple[DriftReport, ...]:
    """The reports on every source, in the order of sources, then of months."""
    return tuple(report for reports in _together(lake, registry, months).values() for report in reports)


def _together(lake: Lake, registry: Registry, months: Sequence[Month]) -> Mapping[str, tuple[DriftReport, ...]]:
    last = max((receipt.sequence for receipt in receipts(lake)), default=0)
    return _reports(_Question(tuple(months), last, lake.home.as_posix(), registry.digest, lake, registry))


@dataclass(frozen=True)
class _Question:
    """What reports are remembered by; the lake and its declarations come along."""

    months: tuple[Month, ...]
    last_receipt: int
    home: str
    declarations: str
    lake: Lake = field(compare=False)
    registry: Registry = field(compare=False)


@functools.lru_cache(maxsize=4)
def _reports(asked: _Question) -> Mapping[str, tuple[DriftReport, ...]]:
    compared = compare(asked.lake, asked.registry, asked.months)
    outcome = validate(compared)
    drifts: dict[tuple[str, str], list[Drift]] = defaultdict(list)
    for place, drift in drifts_of(outcome):
        drifts[place["source"], place["month"]].append(drift)
    volumes: Counter[tuple[str, str]] = Counter()
    for row in compared.select(["source", "month", "field", "rows"]).to_pylist():
        volumes[row["source"], row["month"]] += 0 if row["field"] else row["rows"]
    return {
        name: tuple(
            DriftReport(name, month, volumes[name, str(month)], len(outcome.results), tuple(drifts[name, str(month)]))
            for month in asked.months
        )
        for name in asked.registry.sources
    }


# -- the comparison ----------------------------------------------------------------------------------------------------


@dataclass
class _Shape:
    """The profiles of a partner's deliveries of one source for one month, summed."""

    rows: Counter[str] = field(default_factory=Counter)
    filled: Counter[tuple[str, str]] = field(default_factory=Counter)
    codes: dict[tuple[str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    medians: dict[tuple[str, str], float] = field(default_factory=dict)

    def add(self, counted: pa.Table) -> None:
        for row in counted.to_pylist():
            place = (row["table"], row["field"])
            if not row["field"]:
                self.rows[row["table"]] += row["count"]
            elif row["code"]:
                self.codes[place][row["code"]] += row["count"]
            else:
                self.filled[place] += row["count"]
                if row["median"] is not None:
                    self.medians[place] = row["median"]


def compare(lake: Lake, registry: Registry, months: Iterable[Month], sources: Iterable[str] | None = None) -> pa.Table:
    """Each delivery of `months` beside the partner's own earlier ones: rows of `COMPARISON_SCHEMA`, no value in them.

    A month is compared with the same month last year, or else with the latest one before it; its codes with those of
    all the months of `HISTORY_MONTHS` before it.
    """
    wanted = set(registry.sources if sources is None else sources)
    applied = [one for one in receipts(lake) if one.status == "applied" and one.source in wanted]
    by_partner: dict[tuple[str, str], list[Receipt]] = defaultdict(list)
    for receipt in applied:
        by_partner[receipt.source, receipt.partner].append(receipt)
    rows: list[dict[str, Any]] = []
    asked = sorted(set(months))
    for (name, partner), own in sorted(by_partner.items()):
        source = registry.source(name)
        shapes: dict[Month, _Shape] = {}
        for month in asked:
            past = [month.plus(-distance) for distance in range(1, HISTORY_MONTHS + 1)]
            for one in (month, *past):
                if one not in shapes and (shape := _shape(lake, registry, source, own, one)) is not None:
                    shapes[one] = shape
            if month in shapes:
                history = [shapes[one] for one in past if one in shapes]
                reference = shapes.get(past[-1]) or (history[0] if history else None)
                place = {"month": str(month), "source": name, "partner": partner}
                for table in source.version_for(max(month, source.first_month)).resources:
                    found = _compared(table, shapes[month], reference, history)
                    rows.extend({**place, "table": table.name, **row} for row in found)
    return pa.Table.from_pylist(rows, schema=COMPARISON_SCHEMA)


def _shape(lake: Lake, registry: Registry, source: Source, own: Sequence[Receipt], month: Month) -> _Shape | None:
    """What the partner delivered for the month itself, whatever a later snapshot says of it."""
    shape = _Shape()
    for receipt in deliveries.effective([one for one in own if one.month == month], source, month):
        with contextlib.suppress(deliveries.CannotRebuild, content.ContentErased):
            shape.add(profile(lake, registry, receipt))
    return shape if shape.rows else None


def _compared(
    table: ContractTable, now: _Shape, before: _Shape | None, history: Sequence[_Shape]
) -> Iterator[dict[str, Any]]:
    if table.name not in now.rows:
        return
    rows, rows_before = now.rows[table.name], before.rows[table.name] if before is not None else 0
    yield {"field": "", "rows": rows, "rows_before": rows_before, **(_bounds(rows_before) if rows_before else {})}
    is_comparable = before is not None and min(rows, rows_before) >= ROWS_FOR_SHARES
    for one in table.stored_fields:
        place = (table.name, one.name)
        empty = 1 - now.filled[place] / rows if rows else None
        row: dict[str, Any] = {
            "field": one.name,
            "is_required": one.constraints.required and one.severity == "blocking",
            "empty_share": empty,
        }
        if before is not None and is_comparable and empty is not None:
            row["empty_share_change"] = empty - (1 - before.filled[place] / rows_before)
            row["code_share_shift"] = _shift(now.codes.get(place), before.codes.get(place))
            row["new_code_share"] = _new_share(now.codes.get(place), [past.codes.get(place) for past in history])
            row["median_shift"] = _relative(now.medians.get(place), before.medians.get(place))
        yield row


def _bounds(rows_before: int) -> dict[str, int]:
    """The volumes between which a month is ordinary: outside both the share and the number of rows, it is not."""
    return {
        "rows_floor": min(math.ceil(THIN_SHARE * rows_before), max(rows_before - THIN_ROWS, 0)),
        "rows_ceiling": max(math.floor(SWOLLEN_SHARE * rows_before), rows_before + THIN_ROWS),
    }


def _shift(now: Counter[str] | None, before: Counter[str] | None) -> float | None:
    """The total variation distance between two distributions of codes; null where they are too few to have one."""
    if not now or not before or min(now.total(), before.total()) < ROWS_FOR_SHARES:
        return None
    of_now, of_before = now.total(), before.total()
    return sum(abs(now[code] / of_now - before[code] / of_before) for code in {*now, *before}) / 2


def _new_share(now: Counter[str] | None, history: Iterable[Counter[str] | None]) -> float | None:
    """The share of filled cells whose code no earlier delivery had; null where they are too few to tell."""
    known = sum((past for past in history if past), Counter[str]())
    if not now or min(now.total(), known.total()) < ROWS_FOR_SHARES:
        return None
    return sum(count for code, count in now.items() if code not in known) / now.total()


def _relative(now: float | None, before: float | None) -> float | None:
    """How far a median moved, as a share of what it was, or of `SMALL_NUMBER` where it was less: 1 child is not 2."""
    if now is None or before is None:
        return None
    return abs(now - before) / max(abs(before), SMALL_NUMBER)


# -- great-expectations ------------------------------------------------------------------------------------------------


def expectation_suite() -> ExpectationSuite:
    """What every month of every source must be: as its contract promises, and not far from the partner's own past.

    It is stated over the columns of `COMPARISON_SCHEMA`, whose bounds come from the contract and from history.
    """
    silence_telemetry()
    import great_expectations as gx
    import great_expectations.expectations.core as expect
    from great_expectations.expectations.row_conditions import Column

    def judging(measure: str, message: str) -> dict[str, str]:
        return {"measure": measure, "message": message}

    def at_most(measure: str, bound: float, message: str) -> expect.ExpectColumnValuesToBeBetween:
        return expect.ExpectColumnValuesToBeBetween(column=measure, max_value=bound, meta=judging(measure, message))

    return gx.ExpectationSuite(
        name="month on month",
        expectations=[
            expect.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="rows",
                column_B="rows_floor",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                meta=judging("rows", "moins de lignes"),
            ),
            expect.ExpectColumnPairValuesAToBeGreaterThanB(
                column_A="rows_ceiling",
                column_B="rows",
                or_equal=True,
                ignore_row_if="either_value_is_missing",
                meta=judging("rows", "plus de lignes"),
            ),
            expect.ExpectColumnValuesToBeBetween(
                column="empty_share",
                max_value=0.0,
                row_condition=Column("is_required") == True,  # noqa: E712
                meta=judging("empty_share", "une valeur obligatoire manque"),
            ),
            at_most("empty_share_change", EMPTY_SHARE_CHANGE, "plus de cellules vides"),
            at_most("code_share_shift", CODE_SHARE_SHIFT, "une autre répartition des codes"),
            at_most("new_code_share", NEW_CODE_SHARE, "des codes jamais vus chez ce partenaire"),
            at_most("median_shift", MEDIAN_SHIFT, "un autre ordre de grandeur"),
        ],
    )


def validate(compared: pa.Table) -> ExpectationSuiteValidationResult:
    """Validate a comparison, whatever it holds, in one batch."""
    data_source = _context().data_sources.add_or_update_pandas("deliveries")
    definition = data_source.add_dataframe_asset("comparison").add_batch_definition_whole_dataframe("months")
    return definition.get_batch({"dataframe": compared.to_pandas()}).validate(
        expectation_suite(),
        result_format={"result_format": "COMPLETE", "unexpected_index_column_names": list(PLACE)},
    )


def drifts_of(outcome: ExpectationSuiteValidationResult) -> Iterator[tuple[Mapping[str, str], Drift]]:
    """Each drift with its place, in order of place."""
    for result in outcome.results:
        meta = _meta(result)
        for place in result.result.get("unexpected_index_list") or []:
            yield place, Drift(place["table"], place["field"], meta["measure"], meta["message"], place["partner"])


def _meta(result: ExpectationValidationResult) -> Mapping[str, str]:
    return dict(result.expectation_config.meta or {}) if result.expectation_config is not None else {}


@functools.cache
def _context() -> EphemeralDataContext:
    """A great-expectations context that lives in memory, draws no progress bar and calls nobody."""
    silence_telemetry()
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False, metric_calculations=False)
    return context
