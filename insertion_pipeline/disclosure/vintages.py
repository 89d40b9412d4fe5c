"""What earlier releases said of the values that are published again.

Belongs here: the rows of earlier releases beside those of now. Does not belong here: which releases those are
(`publication.releasing`), what follows from them (`equations` for the protector, `attacker` for everybody else).

Rule: what was hidden or left out stays so, and what was shown and has not moved since is no secret any more, so that
hiding it protects nothing. A number that moved is another number; the sums of the earlier release still bind what did
not move. That is the strongest reader, told of every hidden number whether it moved; nothing that is published tells
him. Where he alone leaves no way to protect a cell, a number beside it is hidden again and counted as one that may
have moved (`Doubt`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers
from insertion_pipeline.disclosure.system import System
from insertion_pipeline.disclosure.thresholds import ABSENT, PUBLISHED, SHOWN, SUPPRESSED, numbers
from insertion_pipeline.lake import in_memory

_BESIDE: Final = """
WITH parts AS (SELECT DISTINCT month, country, indicator_code, territory_level, breakdown FROM earlier),
counted AS (SELECT DISTINCT month, country, indicator_code FROM earlier)
SELECT
    counted.month IS NOT NULL AND parts.month IS NULL AS was_left_out,
    coalesce(earlier.status = 'suppressed', false) AS was_hidden,
    CASE WHEN list_contains($shown, earlier.status) THEN earlier.numerator END AS numerator,
    CASE WHEN list_contains($shown, earlier.status) THEN earlier.denominator END AS denominator
FROM now
LEFT JOIN earlier USING (month, territory_code, indicator_code, breakdown, modality)
LEFT JOIN counted ON counted.month = now.month AND counted.country = now.country
    AND counted.indicator_code = now.indicator_code
LEFT JOIN parts ON parts.month = now.month AND parts.country = now.country
    AND parts.indicator_code = now.indicator_code AND parts.territory_level = now.territory_level
    AND parts.breakdown = now.breakdown
ORDER BY row
"""


@dataclass(frozen=True)
class Vintage:
    """What one earlier release said of each row of now, one entry per row, in the order of the rows."""

    was_left_out: Booleans  # it showed the indicator in that month, but not at that level or by that breakdown
    was_hidden: Booleans
    numerator: Numbers  # NaN where it was not shown
    denominator: Numbers

    @property
    def was_shown(self) -> Booleans:
        return ~np.isnan(self.numerator) | ~np.isnan(self.denominator)

    def filter(self, rows: Booleans) -> Vintage:
        """The same of some of the rows."""
        return Vintage(self.was_left_out[rows], self.was_hidden[rows], self.numerator[rows], self.denominator[rows])

    def as_shown(self, table: pa.Table) -> pa.Table:
        """The rows of `table` as the earlier release showed them: what it did not show is hidden."""
        absent = pc.is_in(table["status"], pa.array(ABSENT))
        status = pc.if_else(absent, table["status"], pc.if_else(pa.array(self.was_shown), PUBLISHED, SUPPRESSED))
        columns = {name: table[name] for name in table.column_names}
        columns |= {name: pa.array(getattr(self, name), from_pandas=True) for name in ("numerator", "denominator")}
        return pa.table({**columns, "status": status, "value": pa.nulls(len(table), pa.float64())})


def beside(values: pa.Table, earlier: Sequence[pa.Table]) -> tuple[Vintage, ...]:
    """What each earlier table of published values said of the rows of `values`."""
    keys = values.select(
        ["month", "country", "territory_level", "territory_code", "indicator_code", "breakdown", "modality"]
    )
    found = []
    with in_memory() as connection:
        connection.register("now", keys.append_column("row", pa.array(np.arange(len(keys)))))
        for table in earlier:
            connection.register("earlier", table)
            told = connection.sql(_BESIDE, params={"shown": list(SHOWN)}).to_arrow_table()
            connection.unregister("earlier")
            left_out, hidden = (
                told[name].to_numpy(zero_copy_only=False).astype(bool) for name in ("was_left_out", "was_hidden")
            )
            found.append(Vintage(left_out, hidden, numbers(told, "numerator"), numbers(told, "denominator")))
    return tuple(found)


def ever_hidden(past: Sequence[Vintage], rows: int) -> Booleans:
    """Which rows any earlier release hid."""
    return np.asarray(np.any([np.zeros(rows, dtype=bool), *(one.was_hidden for one in past)], axis=0), dtype=bool)


def ever_shown(past: Sequence[Vintage], rows: int) -> Booleans:
    """Which rows any earlier release showed."""
    return np.asarray(np.any([np.zeros(rows, dtype=bool), *(one.was_shown for one in past)], axis=0), dtype=bool)


@dataclass(frozen=True)
class Doubt:
    """What no reader is told, one entry per cell: where nothing else can protect a cell, others count as moved too."""

    values: Booleans  # what was shown of it may be another number now
    sums: Booleans  # what it summed to, or was a part of, may not hold any more

    @classmethod
    def none(cls, count: int) -> Doubt:
        """The strongest reader: somebody told him of each of `count` cells whether it has moved."""
        return cls(np.zeros(count, dtype=bool), np.zeros(count, dtype=bool))

    def grown(self, system: System, lost: Sequence[int]) -> Doubt | None:
        """The same and what stands around the cells that are `lost`; null where nothing is left to doubt.

        First what is known in their equations, then the sums of then that they stand in, then what is known further
        and further around.
        """
        reached = around = self._around(system, np.array(lost))
        while True:
            fresh = reached & system.known & ~self.values
            if fresh.any():
                return Doubt(self.values | fresh, self.sums)
            if (around & ~self.sums).any():
                return Doubt(self.values, self.sums | around)
            further = self._around(system, np.flatnonzero(reached))
            if (further == reached).all():
                return None
            reached = further

    @staticmethod
    def _around(system: System, cells: Integers) -> Booleans:
        """`cells` and those that stand in an equation with one of them."""
        among = np.zeros(system.cell_count, dtype=bool)
        among[cells] = True
        lines = np.zeros(system.line_count, dtype=bool)
        lines[system.line[among[system.line_cell]]] = True
        among[system.line_cell[lines[system.line]]] = True
        return among


@dataclass(frozen=True)
class Bond:
    """What of an earlier release still binds the cells of now."""

    known: Booleans  # one per cell: it was shown, has not moved, and the reader may take that for granted
    moved: Booleans  # one per cell: it was shown, and is another number now, or may be for all that the reader knows
    fallen: Booleans  # one per equation: it does not hold between what was shown then and what is true now
    line: Integers  # one entry per (equation of then that binds what it hid, cell that it hid), equations from 0 …
    line_cell: Integers  # … the cell
    line_sign: Numbers  # … its coefficient: the signed sum of the movements is zero


def bond(
    shown: Numbers,
    truth: Numbers,
    line: Integers,
    line_cell: Integers,
    line_sign: Numbers,
    same: float,
    doubt: Doubt,
) -> Bond:
    """What follows from cells that were `shown` with these values (NaN: hidden), equations being as they are now.

    An equation of then says more than it does now where a cell that was shown has moved: what it hid sums to what it
    summed to then, unless some of that has moved as well. `doubt`: what the reader cannot
    take for granted.
    """
    told = ~np.isnan(shown)
    moved = told & (np.abs(np.where(told, shown, 0.0) - truth) > same * np.maximum(1.0, np.abs(truth)))
    moved |= told & doubt.values
    count = int(line[-1]) + 1 if len(line) else 0
    then = np.where(told, shown, truth)[line_cell]
    left = np.bincount(line, weights=line_sign * then, minlength=count)
    size = np.bincount(line, weights=np.abs(then), minlength=count)
    fallen = np.abs(left) > same * np.maximum(1.0, size)
    fallen[line[doubt.sums[line_cell]]] = True
    touched = np.bincount(line, weights=moved[line_cell], minlength=count) > 0
    entries = np.flatnonzero((touched & ~fallen)[line] & ~told[line_cell])
    _, number = np.unique(line[entries], return_inverse=True)
    return Bond(told & ~moved, moved, fallen, number.astype(np.int64), line_cell[entries], line_sign[entries])


def ever_left_out(past: Sequence[Vintage], rows: int) -> Booleans:
    """Which rows belong to a part of the table that an earlier release left out of a month that it showed."""
    left_out = np.any([np.zeros(rows, dtype=bool), *(one.was_left_out for one in past)], axis=0)
    return np.asarray(left_out & ~ever_shown(past, rows), dtype=bool)
