"""Cells, the rows that show them, and the equations between them: what is protected, whatever it counts.

Belongs here: the system and what can be read off it. Does not belong here: what a cell means (`equations`, `cubes`),
hiding (`suppression`); the attacker has a system of its own.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers


@dataclass(frozen=True)
class System:
    """Cells, the published rows that show them, and the equations between them.

    A row may show several cells (a rate shows its terms) and a cell may stand in several rows. A cell that stands in
    none is never published. A derived cell is known as soon as the two cells that it is the difference of are known.
    """

    values: Numbers  # one per cell: the truth
    floors: Numbers  # one per cell: the least value that anybody would assume of it when hidden
    widths: Numbers  # one per cell: the width that the interval of a sensitive cell must have; 0 = not sensitive
    derived_from: Integers  # cells × 2: the cells whose difference a derived cell is; -1 elsewhere
    alone: Booleans  # one per cell: one person or structure stands behind it, and knows it
    known: Booleans  # one per cell: an earlier release shows it, whatever is hidden now
    costs: Numbers  # one per row: what hiding it costs
    must_show: Booleans  # one per row: never hidden (a zero; what is known already)
    shown_row: Integers  # one entry per (row, cell shown by it) …
    shown_cell: Integers  # … the cell
    line: Integers  # one entry per (equation, cell), sorted by equation …
    line_cell: Integers  # … the cell
    line_sign: Numbers  # … its coefficient: the signed sum of a line is zero
    implied: Booleans  # one per equation: the others together say it already

    @property
    def row_count(self) -> int:
        return len(self.costs)

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

    def always_visible(self) -> Booleans:
        """Which cells stand in a row that must show, or follow from two that do."""
        return self.visible(~self.must_show)

    def visible(self, hidden_rows: Booleans) -> Booleans:
        """Which cells anybody knows, can read off the rows that are left, or take the difference of."""
        shown = self.known.copy()
        shown[self.shown_cell[~hidden_rows[self.shown_row]]] = True
        derived = np.flatnonzero(self.derived_from[:, 0] >= 0)
        whole, part = self.derived_from[derived].T
        shown[derived] |= shown[whole] & shown[part]
        return shown


def connected(count: int, one: Integers, other: Integers) -> Integers:
    """The number of the group of each of `count` things, those of a pair (`one`, `other`) being in the same."""
    label = np.arange(count)
    while True:
        before = label.copy()
        np.minimum.at(label, one, label[other])
        np.minimum.at(label, other, label[one])
        label = label[label]  # the least name known to the one whose name it is
        if np.array_equal(label, before):
            return label
