"""Complementary suppression over any system of cells and equations.

Belongs here: which further rows to hide so that no hidden cell can be worked out along one equation. Does not belong
here: what a cell means, which cells are sensitive (`thresholds`), which equations hold (`equations`), and the audit of
the result (`attacker`, which shares no code with this module).

The method is line by line, iterated to a fixed point. A line (one equation) gives a hidden cell away when it is the
only hidden one, or when all hidden cells of the line stand on the same side and together leave less room than the
widest sensitive one needs. The cheapest visible row of the line is then hidden. Then the lines are read one after the
other, each narrowing the intervals that the others left; where a sensitive cell ends up with too little room, the
cheapest rows around it are hidden. This is necessary for protection, not sufficient: equations combined can say more
than each alone, which is what the audit is for.

Nothing is spared against a cell that is found exactly. Room beyond that is made by hiding rows that are not `headlines`
only: where nearly every commune is small, the room that each would need could cost the figures of whole countries.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Booleans = NDArray[np.bool_]

#: How often each line is read again with what the others said, at most.
_PASSES = 15
_SLIGHTLY = 1e-6
#: How often room is made for cramped cells; some cannot have it without hiding headline figures.
_PATIENCE = 12


@dataclass(frozen=True)
class System:
    """Cells, the published rows that show them, and the equations between them.

    A row may show several cells (a rate shows its terms) and a cell may stand in several rows. A derived cell stands
    in none: it is known as soon as the two cells that it is the difference of are known.
    """

    values: Numbers  # one per cell: the truth
    floors: Numbers  # one per cell: the least value that anybody would assume of it when hidden
    widths: Numbers  # one per cell: the width that the interval of a sensitive cell must have; 0 = not sensitive
    derived_from: Integers  # cells × 2: the cells whose difference a derived cell is; -1 elsewhere
    headlines: Booleans  # one per row: hidden only when a cell would be found exactly
    shown_row: Integers  # one entry per (row, cell shown by it) …
    shown_cell: Integers  # … the cell
    line: Integers  # one entry per (equation, cell), sorted by equation …
    line_cell: Integers  # … the cell
    line_sign: Numbers  # … its coefficient: the signed sum of a line is zero

    @property
    def row_count(self) -> int:
        return len(self.headlines)

    @property
    def cell_count(self) -> int:
        return len(self.values)

    @property
    def line_count(self) -> int:
        return int(self.line[-1]) + 1 if len(self.line) else 0

    def rows_showing(self, cells: Integers) -> Booleans:
        """Which rows show any of `cells`."""
        wanted = np.zeros(self.cell_count, dtype=bool)
        wanted[cells] = True
        rows = np.zeros(self.row_count, dtype=bool)
        rows[self.shown_row[wanted[self.shown_cell]]] = True
        return rows

    def blocks(self) -> Integers:
        """Per row, the number of its block: no equation, rate or difference links the cells of two blocks."""
        derived = np.flatnonzero(self.derived_from[:, 0] >= 0)
        label = np.arange(self.cell_count)
        row_label = np.full(self.row_count, self.cell_count, dtype=np.int64)
        line_label = np.full(self.line_count, self.cell_count, dtype=np.int64)
        while True:
            before = label.copy()
            np.minimum.at(line_label, self.line, label[self.line_cell])
            np.minimum.at(label, self.line_cell, line_label[self.line])
            np.minimum.at(row_label, self.shown_row, label[self.shown_cell])
            np.minimum.at(label, self.shown_cell, row_label[self.shown_row])
            for side in (0, 1):
                origin = self.derived_from[derived, side]
                least = np.minimum(label[derived], label[origin])
                np.minimum.at(label, derived, least)
                np.minimum.at(label, origin, least)
            if np.array_equal(label, before):
                return row_label

    def visible(self, hidden_rows: Booleans) -> Booleans:
        """Which cells anybody can read off the rows that are left."""
        shown = np.zeros(self.cell_count, dtype=bool)
        shown[self.shown_cell[~hidden_rows[self.shown_row]]] = True
        derived = np.flatnonzero(self.derived_from[:, 0] >= 0)
        whole, part = self.derived_from[derived].T
        shown[derived] = shown[whole] & shown[part]
        return shown


class Suppressor:
    """Hides rows of one system until no line gives a hidden cell away."""

    def __init__(self, system: System) -> None:
        self._system = system
        self._rank = self._ranked()
        spared = np.zeros(system.cell_count, dtype=bool)
        spared[system.shown_cell[system.headlines[system.shown_row]]] = True
        self._spared: Booleans = spared
        starts = np.searchsorted(system.line, np.arange(system.line_count))
        self._starts: Integers = starts.astype(np.int64)

    def complete(self, hidden_rows: Booleans, *, patience: int = _PATIENCE) -> Booleans:
        """`hidden_rows` and what must be hidden beside them. Deterministic: ties fall by the order of the rows.

        `patience`: how often room is made for cramped cells.
        """
        hidden = self._lines_closed(hidden_rows)
        for attempt in itertools.count():
            found, cramped = self._exposed(self._system.visible(hidden))
            extended = self.extend(hidden, found)
            if attempt < patience:
                extended = self._roomier(extended, cramped)
            extended = self._lines_closed(extended)
            if np.array_equal(extended, hidden):
                break
            hidden = extended
        return hidden

    def extend(self, hidden_rows: Booleans, exposed: Integers) -> Booleans:
        """`hidden_rows` and, for each exposed cell, the cheapest visible row around it: in its lines, else beyond."""
        visible = self._system.visible(hidden_rows)
        return hidden_rows | self._system.rows_showing(self._nearest_visible(exposed, visible))

    def _roomier(self, hidden_rows: Booleans, cramped: Integers) -> Booleans:
        """`hidden_rows` and, for each cramped cell, the cheapest visible row of its own lines that is no headline."""
        visible = self._system.visible(hidden_rows) & ~self._spared
        return hidden_rows | self._system.rows_showing(self._nearest_visible(cramped, visible, reach=0))

    def _lines_closed(self, hidden_rows: Booleans) -> Booleans:
        hidden = hidden_rows.copy()
        while True:
            visible = self._system.visible(hidden)
            alone, tight = self._telling(visible)
            chosen = np.union1d(self._cheapest(visible, alone), self._cheapest(visible & ~self._spared, tight))
            if not len(chosen):
                return hidden
            hidden |= self._system.rows_showing(chosen)

    def _exposed(self, visible: Booleans) -> tuple[Integers, Integers]:
        """The sensitive cells that bounds, narrowed line after line, find exactly; and those left too little room."""
        system = self._system
        if not system.line_count:
            return np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        low = np.where(visible, system.values, system.floors)
        high = np.where(visible, system.values, np.inf)
        forward = system.line_sign > 0
        for _ in range(_PASSES):
            above = np.where(forward, high[system.line_cell], -low[system.line_cell])
            below = np.where(forward, low[system.line_cell], -high[system.line_cell])
            most, least = -self._sum_of_others(below), -self._sum_of_others(above)
            new_low, new_high = low.copy(), high.copy()
            np.minimum.at(new_high, system.line_cell, np.where(forward, most, -least))
            np.maximum.at(new_low, system.line_cell, np.where(forward, least, -most))
            new_low[visible], new_high[visible] = low[visible], high[visible]
            settled = np.array_equal(new_low, low) and np.array_equal(new_high, high)
            low, high = new_low, new_high
            if settled:
                break
        sensitive, width = system.widths > 0, high - low
        found = sensitive & (width < _SLIGHTLY)
        cramped = sensitive & (width < system.widths - _SLIGHTLY) & ~found
        return np.flatnonzero(found).astype(np.int64), np.flatnonzero(cramped).astype(np.int64)

    def _sum_of_others(self, entries: Numbers) -> Numbers:
        """Per entry, the sum of the other entries of its line; infinite when one of them is."""
        line = self._system.line
        infinite = np.isinf(entries)
        finite = np.where(infinite, 0.0, entries)
        sums = np.add.reduceat(finite, self._starts)[line] - finite
        infinities = np.add.reduceat(infinite.astype(np.int64), self._starts)[line] - infinite
        sign = 1.0 if not infinite.any() else np.sign(entries[infinite][0])
        return np.where(infinities > 0, sign * np.inf, sums)

    def _telling(self, visible: Booleans) -> tuple[Booleans, Booleans]:
        """Per line: does it give a hidden cell away exactly; does it leave a sensitive one too little room?"""
        system = self._system
        if not system.line_count:
            return np.zeros(0, dtype=bool), np.zeros(0, dtype=bool)
        unknown = ~visible | (system.widths > 0)
        at = unknown[system.line_cell]
        count = np.add.reduceat(at.astype(np.int64), self._starts)
        minus = np.add.reduceat((at & (system.line_sign < 0)).astype(np.int64), self._starts)
        room = np.where(at, np.maximum(system.values - system.floors, 0)[system.line_cell], 0.0)
        slack = np.add.reduceat(room, self._starts)
        need = np.maximum.reduceat(np.where(at, system.widths[system.line_cell], 0.0), self._starts)
        one_sided = (minus == 0) | (minus == count)
        exact = (count == 1) | ((count > 1) & one_sided & (need > 0) & (slack < _SLIGHTLY))
        return np.asarray(exact), np.asarray((count > 1) & one_sided & (slack < need) & ~exact)

    def _cheapest(self, visible: Booleans, telling: Booleans) -> Integers:
        """Per telling line, the cheapest visible cell that is worth hiding."""
        if not telling.any():
            return np.zeros(0, dtype=np.int64)
        rank = np.where(visible, self._rank, self._none)[self._system.line_cell]
        least = np.minimum.reduceat(rank, self._starts)[telling]
        chosen: Integers = self._by_rank[np.unique(least[least < self._none])]
        return chosen

    def _nearest_visible(self, cells: Integers, visible: Booleans, reach: int | None = None) -> Integers:
        """For each of `cells`, the cheapest visible cell of its lines; where there is none, of the lines around.

        `reach`: how many lines away to look, as far as it takes by default.
        """
        system = self._system
        if not system.line_count or not len(cells):
            return np.zeros(0, dtype=np.int64)
        rank = np.where(visible, self._rank, self._none)[system.line_cell]
        of_line = np.minimum.reduceat(rank, self._starts)
        best = np.full(system.cell_count, self._none, dtype=np.int64)
        np.minimum.at(best, system.line_cell, of_line[system.line])
        for _ in itertools.count() if reach is None else range(reach):
            wanting = cells[best[cells] == self._none]
            around = np.minimum.reduceat(best[system.line_cell], self._starts)
            wider = best.copy()
            np.minimum.at(wider, system.line_cell, around[system.line])
            if not len(wanting) or np.array_equal(wider, best):
                break
            best = np.where(best == self._none, wider, best)
        found = np.unique(best[cells])
        nearest: Integers = self._by_rank[found[found < self._none]]
        return nearest

    def _ranked(self) -> Integers:
        """Cells from the cheapest to hide to the dearest; a zero, or a cell that no row shows, is never a candidate.

        The cost of a cell is the largest value that goes with it when its rows are hidden, so that the numerator and
        the denominator of one rate rank alike and two lines over the same rows choose the same row. Rows that would
        take a zero with them come last.
        """
        system = self._system
        largest = np.zeros(system.row_count)
        np.maximum.at(largest, system.shown_row, system.values[system.shown_cell])
        with_zero = np.zeros(system.row_count, dtype=bool)
        with_zero[system.shown_row[system.values[system.shown_cell] == 0]] = True
        cost = np.zeros(system.cell_count)
        np.maximum.at(cost, system.shown_cell, largest[system.shown_row])
        takes_zero = np.zeros(system.cell_count, dtype=bool)
        takes_zero[system.shown_cell[with_zero[system.shown_row]]] = True
        first_row = np.full(system.cell_count, system.row_count, dtype=np.int64)
        np.minimum.at(first_row, system.shown_cell, system.shown_row)
        order = np.lexsort((np.arange(system.cell_count), first_row, cost, takes_zero))
        self._by_rank: Integers = order.astype(np.int64)
        self._none = system.cell_count
        rank = np.empty(system.cell_count, dtype=np.int64)
        rank[order] = np.arange(system.cell_count)
        rank[(first_row == system.row_count) | ~(system.values > 0)] = self._none
        return rank
