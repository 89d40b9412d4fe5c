"""Primary suppression: which values may not be shown because too few stand behind them.

Belongs here: the statuses of a value, the thresholds, the rule that makes a value sensitive, the check that no small
cell is visible. Does not belong here: what must be hidden beside a sensitive value (`suppression`), and the only way
to a table that may be published (`protecting`).

Rules: a count of 1 to t-1 persons is sensitive (t = 5, 3 for structures, 11 for a sensitive breakdown, or what the
catalogue declares); so is a rate whose numerator, denominator or complement is; so is a sum or a mean to which fewer
than t contribute, or to which one contributes more than 85 % where that share is known. Zeros are published. Where
everybody is of one kind in a sensitive breakdown, or counted by a sensitive rate, that number is sensitive however
large: hidden with its whole, it is told of nobody in particular (group disclosure), and no zero is hidden for it.
A rate over fewer than 30, or a quantile of fewer than 20, is `PS`: its terms may be shown, its value means nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insertion_pipeline.registry import Registry

Numbers = NDArray[np.float64]
Booleans = NDArray[np.bool_]
Texts = NDArray[np.object_]

PUBLISHED: Final = "published"
SUPPRESSED: Final = "suppressed"
TOO_FEW: Final = "PS"
NOT_RECEIVED: Final = "NR"
ZERO_DENOMINATOR: Final = "NC"
UNAVAILABLE: Final = "ND"
#: Statuses of a row that shows its terms.
SHOWN: Final = (PUBLISHED, TOO_FEW, ZERO_DENOMINATOR)
#: Statuses that indicators decide and disclosure keeps: there is nothing to show.
ABSENT: Final = (NOT_RECEIVED, UNAVAILABLE)

#: Smallest count that may be shown, by what is counted (`disclosure_control`, thresholds seen in public texts).
DEFAULT_THRESHOLDS: Final = {"structures": 3}
DEFAULT_THRESHOLD: Final = 5
SENSITIVE_BREAKDOWN_THRESHOLD: Final = 11
#: Largest share that one contributor may have of a sum.
DOMINANCE_SHARE: Final = 0.85
MINIMUM_DENOMINATOR: Final = 30
MINIMUM_QUANTILE: Final = 20


class ForbiddenBreakdown(Exception):
    """The values are cut by a breakdown that may never be published."""


@dataclass(frozen=True)
class Verdicts:
    """What the thresholds say of each row, one entry per row, in the order of the rows."""

    statuses: Texts  # before anything is hidden to protect something else
    thresholds: Numbers
    numerator_is_sensitive: Booleans
    denominator_is_sensitive: Booleans
    complement_is_sensitive: Booleans
    has_complement: Booleans  # denominator - numerator counts the others: rates of persons and of structures
    counts: Booleans  # the numerator counts persons or structures: a hidden one is at least 1 where it stands alone
    is_mean_of_units: Booleans  # the denominator counts persons or structures, the numerator does not
    of_one: Booleans  # one person or structure is all that the numerator counts, or sums

    def filter(self, rows: Booleans) -> Verdicts:
        """The verdicts on some of the rows."""
        return Verdicts(**{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    @property
    def is_sensitive(self) -> Booleans:
        return self.numerator_is_sensitive | self.denominator_is_sensitive | self.complement_is_sensitive


def judge(values: pa.Table, registry: Registry) -> Verdicts:
    """The verdict on each row of unprotected values. Raises `ForbiddenBreakdown`."""
    kind, unit, counted = (texts(values, name) for name in ("kind", "unit", "counted_unit"))
    numerator, denominator = numbers(values, "numerator"), numbers(values, "denominator")
    has_contributors = "contributors" in values.column_names
    contributors = numbers(values, "contributors") if has_contributors else np.full(len(kind), np.nan)
    threshold = _thresholds(values, registry)

    of_units = np.isin(counted, ("persons", "structures"))
    is_rate = (kind == "ratio") & (unit == "%") & of_units
    is_mean = (kind == "ratio") & ~is_rate
    counts = (kind == "count") | is_rate
    with np.errstate(invalid="ignore"):
        few = _between(contributors, threshold)
        few_below = _between(denominator, threshold) & (is_rate | (is_mean & (unit != "%")))
        dominated = _dominated(values)
        # a sum of which nobody said how many contribute is hidden: closed unless shown to be open
        unvouched = ((kind == "sum") | (is_mean & (unit == "%"))) & np.isnan(contributors) & (numerator != 0)
        small = _between(numerator, threshold) | _everybody(values, registry, numerator, denominator, is_rate)
        sensitive_numerator = np.where(counts, small, few | unvouched | few_below | dominated)
        sensitive_complement = is_rate & _between(denominator - numerator, threshold)
    sensitive = sensitive_numerator | few_below | sensitive_complement
    statuses = _statuses(values, registry, sensitive, contributors, is_rate)
    present = ~np.isin(statuses, ABSENT)
    return Verdicts(
        statuses=statuses,
        thresholds=threshold,
        numerator_is_sensitive=np.asarray(sensitive_numerator & present, dtype=bool),
        denominator_is_sensitive=few_below & present,
        complement_is_sensitive=sensitive_complement & present,
        has_complement=is_rate & present,
        counts=counts,
        is_mean_of_units=is_mean & (unit != "%"),
        of_one=np.where(counts, numerator, contributors) == 1,
    )


def small_cells(table: pa.Table, registry: Registry | None = None) -> pa.Table:
    """The rows of a table made for publication that show what may not be shown; empty when all is well.

    One row per offending row, keys only: month, territory_code, indicator_code, breakdown, modality, status. It sees
    what a reader sees (no contributors), so it is a check of what stands in the table, not of how it came there.
    Without a registry the thresholds are those of a column `threshold`, or the defaults.
    """
    numerator, denominator, value = (numbers(table, name) for name in ("numerator", "denominator", "value"))
    kind, unit, counted, status = (texts(table, name) for name in ("kind", "unit", "counted_unit", "status"))
    threshold = _thresholds(table, registry)
    of_units = np.isin(counted, ("persons", "structures"))
    is_rate = (kind == "ratio") & (unit == "%") & of_units
    with np.errstate(invalid="ignore"):
        small = _between(numerator, threshold) & ((kind == "count") | is_rate)
        small |= _between(denominator, threshold) & (kind == "ratio") & (is_rate | (unit != "%"))
        small |= _between(denominator - numerator, threshold) & is_rate
    shows = ~(np.isnan(numerator) & np.isnan(denominator) & np.isnan(value))
    small |= shows & ~np.isin(status, SHOWN)
    small |= ~np.isnan(value) & (status != PUBLISHED)
    keys = ["month", "territory_code", "indicator_code", "breakdown", "modality", "status"]
    return table.select(keys).filter(pa.array(small))


def texts(table: pa.Table, name: str) -> Texts:
    """A column of text as a NumPy array; null becomes the empty text."""
    return np.asarray(pc.fill_null(table[name].cast(pa.string()), "").to_numpy(zero_copy_only=False), dtype=object)


def numbers(table: pa.Table, name: str) -> Numbers:
    """A column of numbers as a NumPy array; null becomes NaN."""
    return np.asarray(table[name].cast(pa.float64()).to_numpy(zero_copy_only=False), dtype=np.float64)


def _between(counts: Numbers, threshold: Numbers) -> Booleans:
    return np.asarray((counts > 0) & (counts < threshold), dtype=bool)


def _thresholds(values: pa.Table, registry: Registry | None) -> Numbers:
    """The threshold of each row: what the catalogue declares, else the default; 11 at least where sensitive."""
    indicators = registry.indicators if registry else {}
    declared = {code: float(indicator.threshold) for code, indicator in indicators.items()}
    threshold = _looked_up(values, "indicator_code", declared, np.nan)
    if "threshold" in values.column_names:
        stated = numbers(values, "threshold")
        threshold = np.where(np.isnan(stated), threshold, stated)
    default = _looked_up(values, "counted_unit", DEFAULT_THRESHOLDS, DEFAULT_THRESHOLD)
    threshold = np.where(np.isnan(threshold), default, threshold)
    cuts = registry.breakdowns if registry else {}
    sensitivities = {name: breakdown.sensitivity for name, breakdown in cuts.items()}
    used = pc.unique(values["breakdown"]).to_pylist()
    forbidden = sorted(name for name in used if sensitivities.get(name) == "forbidden")
    if forbidden:
        raise ForbiddenBreakdown(f"never published: breakdown {', '.join(forbidden)}")
    sensitive_cuts = {name: SENSITIVE_BREAKDOWN_THRESHOLD for name in used if sensitivities.get(name) == "sensitive"}
    sensitive_codes = {
        code: SENSITIVE_BREAKDOWN_THRESHOLD for code, one in indicators.items() if one.sensitivity == "sensitive"
    }
    for column, least in (("breakdown", sensitive_cuts), ("indicator_code", sensitive_codes)):
        threshold = np.maximum(threshold, _looked_up(values, column, least, 0.0))
    return threshold


def _looked_up(values: pa.Table, name: str, numbers_of: Mapping[str, float], default: float) -> Numbers:
    """The number of each row's code."""
    column = values[name].combine_chunks().dictionary_encode()
    found = np.array([numbers_of.get(code, default) for code in column.dictionary.to_pylist()], dtype=np.float64)
    return np.asarray(found[column.indices.to_numpy(zero_copy_only=False)], dtype=np.float64)


def _everybody(
    values: pa.Table, registry: Registry, numerator: Numbers, denominator: Numbers, is_rate: Booleans
) -> Booleans:
    """Rows that count all of their group where the kind is sensitive: one modality of a breakdown, or a rate."""
    codes, breakdowns, modalities = (texts(values, name) for name in ("indicator_code", "breakdown", "modality"))
    cuts = {name for name, one in registry.breakdowns.items() if one.sensitivity == "sensitive"}
    rates = {code for code, one in registry.indicators.items() if one.sensitivity == "sensitive"}
    everybody = is_rate & np.isin(codes, list(rates)) & (numerator == denominator)
    is_cut = np.isin(breakdowns, list(cuts))
    if is_cut.any():
        keys = ("month", "territory_code", "indicator_code")
        places = list(zip(*(values[name].to_pylist() for name in keys), strict=True))
        uncut = {places[row]: numerator[row] for row in np.flatnonzero(modalities == "TOTAL").tolist()}
        everybody[is_cut] |= [numerator[row] == uncut.get(places[row]) for row in np.flatnonzero(is_cut).tolist()]
    return np.asarray(everybody & (numerator > 0), dtype=bool)


def _dominated(values: pa.Table) -> Booleans:
    if "largest_share" not in values.column_names:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(numbers(values, "largest_share") > DOMINANCE_SHARE, dtype=bool)


def _statuses(
    values: pa.Table, registry: Registry, sensitive: Booleans, contributors: Numbers, is_rate: Booleans
) -> Texts:
    kind, given = texts(values, "kind"), texts(values, "status")
    numerator, denominator, value = (numbers(values, name) for name in ("numerator", "denominator", "value"))
    declared = {code: float(indicator.minimum_denominator) for code, indicator in registry.indicators.items()}
    minimum = _looked_up(values, "indicator_code", declared, MINIMUM_DENOMINATOR)
    behind = np.where(is_rate | np.isnan(contributors), denominator, contributors)  # how many stand behind the value
    is_ratio, is_quantile = kind == "ratio", kind == "quantile"
    with np.errstate(invalid="ignore"):
        too_few = (is_ratio & (behind < minimum)) | (is_quantile & ~(behind >= MINIMUM_QUANTILE))
    statuses = np.full(len(kind), PUBLISHED, dtype=object)
    statuses[too_few] = TOO_FEW
    statuses[sensitive] = SUPPRESSED
    statuses[is_ratio & (denominator == 0)] = ZERO_DENOMINATOR
    statuses[np.isnan(np.where(is_quantile, value, numerator)) | (is_ratio & np.isnan(denominator))] = UNAVAILABLE
    absent = np.isin(given, ABSENT)
    statuses[absent] = given[absent]
    return statuses
