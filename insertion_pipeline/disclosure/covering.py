"""What is cheapest to hide: necessary conditions, as an integer program whose bound is proven.

Belongs here: the conditions that any protection fulfils, line by line; the cheapest rows that fulfil a set of them, and
a proven lower bound of their cost. Does not belong here: whether that is enough (`room`), the search (`suppression`).

A condition says: the coefficients of the cells that are hidden sum to a need at least. Each line gives some for the
sensitive cells in it; the cuts of `room` are more of the same kind. All of those are necessary. That nothing is hidden
alone is a condition of the cheapest protection only. The bound holds for any way of protecting the table.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from insertion_pipeline.disclosure.room import Cuts, condensed
from insertion_pipeline.disclosure.solving import Booleans, Entries, Integers, LinearProgram, Numbers, least_cost
from insertion_pipeline.disclosure.system import System, connected

_SLIGHTLY: Final = 1e-6


class Impossible(Exception):
    """Hiding everything that may be hidden is not enough for these cells."""

    def __init__(self, cells: Sequence[int]) -> None:
        super().__init__(f"cells {', '.join(map(str, cells))}")
        self.cells = tuple(cells)


@dataclass(frozen=True)
class Cover:
    """Rows that fulfil the conditions, and the least that any such rows cost beyond those that were given."""

    hidden: Booleans
    bound: float


@dataclass(frozen=True)
class _Program:
    matrix: Entries
    low: Numbers  # one per row of the matrix


def line_conditions(system: System, hidden_rows: Booleans) -> Cuts:
    """What each line by itself demands for the sensitive cells in it, beyond `hidden_rows`, which hide them all.

    Cell p of width w can fall by p - floor. It must be able to rise by the rest, its need: that takes hidden cells on
    its own side that can fall as much together, or any hidden cell on the other side. Cells of one line with the same
    need demand the same of the others.
    """
    unknown = ~system.visible(hidden_rows)
    rooms = np.maximum(system.values - system.floors, 0.0)
    at_unknown = unknown[system.line_cell]
    forward = system.line_sign > 0
    count = system.line_count
    target = np.flatnonzero(system.widths[system.line_cell] > 0)
    line, cell, side = system.line[target], system.line_cell[target], forward[target]
    width = system.widths[cell]
    rise = width - rooms[cell]
    need = np.where(rise > _SLIGHTLY, rise, width)
    demanding = rise > _SLIGHTLY  # the others only have to be there when the cell can fall far enough by itself

    def per_line(chosen: Booleans, weights: Numbers | None = None) -> Numbers:
        entries = at_unknown & chosen
        return np.bincount(
            system.line[entries], weights=None if weights is None else weights[entries], minlength=count
        ).astype(np.float64)

    across = np.where(side, per_line(~forward)[line], per_line(forward)[line])
    room_beside = np.where(
        side, per_line(forward, rooms[system.line_cell])[line], per_line(~forward, rooms[system.line_cell])[line]
    )
    beside = np.where(side, per_line(forward)[line], per_line(~forward)[line])
    own = unknown[cell]
    room_beside, beside = room_beside - np.where(own, rooms[cell], 0.0), beside - own
    met = (across > 0) | np.where(demanding, room_beside >= need - _SLIGHTLY, beside > 0)
    left = np.where(demanding, need - room_beside, need)
    _, first = np.unique(np.stack([line, side, demanding, np.round(left, 6)])[:, ~met], axis=1, return_index=True)
    chosen = np.flatnonzero(~met)[first]
    return _expanded(system, ~at_unknown, rooms, target[chosen], left[chosen], demanding[chosen])


def _expanded(
    system: System, open_entries: Booleans, rooms: Numbers, target: Integers, left: Numbers, demanding: Booleans
) -> Cuts:
    starts = np.searchsorted(system.line, np.arange(system.line_count + 1))
    first, last = starts[system.line[target]], starts[system.line[target] + 1]
    length = last - first
    condition = np.repeat(np.arange(len(target)), length)
    entry = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length) + np.repeat(first, length)
    kept = open_entries[entry]
    condition, entry = condition[kept], entry[kept]
    cell = system.line_cell[entry]
    beside = system.line_sign[entry] == system.line_sign[target][condition]
    coefficient = np.where(beside & demanding[condition], rooms[cell], left[condition])
    return condensed(system, condition, cell, coefficient, left, system.line_cell[target])


class Covering:
    """The conditions found so far, and the cheapest rows that fulfil them."""

    def __init__(self, system: System, hidden_rows: Booleans, *, in_company: bool = False) -> None:
        self._system = system
        self._cuts = line_conditions(system, hidden_rows)
        self._in_company = in_company
        self._rows_of_cell = np.bincount(system.shown_cell, minlength=system.cell_count)
        self._only_row = np.full(system.cell_count, -1, dtype=np.int64)
        self._only_row[system.shown_cell] = system.shown_row

    @property
    def count(self) -> int:
        """How many conditions there are."""
        return len(self._cuts.need)

    def add(self, cuts: Cuts) -> None:
        """More conditions."""
        self._cuts = Cuts.together([self._cuts, cuts])

    def cheapest(self, hidden_rows: Booleans, gap: float, nodes: int, together: int = 1) -> Cover:
        """`hidden_rows` and the cheapest rows beside them that fulfil every condition.

        Stops at a relative `gap` or after `nodes` of each tree. Parts that no condition links are solved apart, or as
        many `together` as have so many entries. Raises `Impossible`.
        """
        program = self._program(hidden_rows)
        matrix = program.matrix
        hidden, bound = hidden_rows.copy(), 0.0
        if not len(matrix.row):
            return Cover(hidden, bound)
        number = matrix.row + matrix.columns
        _, label, size = np.unique(
            connected(matrix.columns + matrix.rows, matrix.column, number)[number],
            return_inverse=True,
            return_counts=True,
        )
        if together > 1:
            label = (np.cumsum(size) // together)[label]
        order = np.argsort(label, kind="stable")
        for part in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
            chosen, least = self._part(program, part, gap, nodes)
            hidden[chosen] = True
            bound += least
        return Cover(hidden, bound)

    def fractions(self, hidden_rows: Booleans) -> tuple[Numbers, float]:
        """How much of each cell to hide where parts of a cell can be hidden, and what that costs."""
        system, program = self._system, self._program(hidden_rows)
        matrix = program.matrix
        used, column = np.unique(matrix.column, return_inverse=True)
        numbers, row = np.unique(matrix.row, return_inverse=True)
        fractions = (~system.visible(hidden_rows)).astype(np.float64)
        if not len(used):
            return fractions, 0.0
        cost = self._costs(used)
        smaller = Entries(row.astype(np.int64), column.astype(np.int64), matrix.value, len(numbers), len(used))
        most = np.ones(len(used))
        low = program.low[numbers]
        solver = LinearProgram(smaller, low, np.full(len(low), np.inf), np.zeros(len(used)), most, at_a_vertex=True)
        best = solver.maximise(-cost)
        of_column = np.zeros(matrix.columns)
        of_column[used] = best.point
        of_column[: system.row_count] = np.maximum(of_column[: system.row_count], hidden_rows)
        visible = np.flatnonzero(fractions == 0)
        derived = system.derived_from[visible, 0] >= 0
        fractions[visible] = of_column[self._column(visible)]
        of_cell = np.full(system.cell_count, np.inf)  # a cell is hidden as far as each row that shows it is
        np.minimum.at(of_cell, system.shown_cell, of_column[system.shown_row])
        fractions = np.where(np.isfinite(of_cell), of_cell, fractions)
        origins = system.derived_from[visible[derived]]
        fractions[visible[derived]] = np.minimum(fractions[origins].sum(axis=1), 1.0)
        fractions[system.known] = 0.0
        return fractions, -best.value

    def _program(self, hidden_rows: Booleans) -> _Program:
        """What the conditions still ask for. Columns: rows, then cells that are not one row's alone."""
        system, cuts = self._system, self._cuts
        unknown = ~system.visible(hidden_rows)
        fixed = system.always_visible()
        met = np.bincount(
            cuts.condition, weights=np.where(unknown[cuts.cell], cuts.coefficient, 0.0), minlength=len(cuts.need)
        )
        left = cuts.need - met
        open_ = left > _SLIGHTLY
        entries = np.flatnonzero(open_[cuts.condition] & ~unknown[cuts.cell] & ~fixed[cuts.cell])
        condition, cell = cuts.condition[entries], cuts.cell[entries]
        coefficient = np.minimum(cuts.coefficient[entries], left[condition])
        reach = np.bincount(condition, weights=coefficient, minlength=len(cuts.need))
        lost = np.flatnonzero(open_ & (reach < left - _SLIGHTLY))
        if len(lost):
            raise Impossible(np.unique(cuts.target[lost]).tolist())
        ties = self._ties(hidden_rows, np.unique(cell))
        company = self._company(unknown)
        count = len(cuts.need)
        matrix = Entries(
            np.concatenate([condition, ties.row + count, company.row + count + ties.rows]),
            np.concatenate([self._column(cell), ties.column, company.column]),
            np.concatenate([coefficient, ties.value, company.value]),
            count + ties.rows + company.rows,
            system.row_count + system.cell_count,
        )
        return _Program(matrix, np.concatenate([left, np.zeros(ties.rows + company.rows)]))

    def _column(self, cells: Integers) -> Integers:
        alone = self._rows_of_cell[cells] == 1
        return np.where(alone, self._only_row[cells], self._system.row_count + cells)

    def _ties(self, hidden_rows: Booleans, cells: Integers) -> Entries:
        """What hides a cell: each of the rows that show it, or an origin of one that is derived."""
        system = self._system
        derived = cells[system.derived_from[cells, 0] >= 0]
        origins = system.derived_from[derived]
        several = np.zeros(system.cell_count, dtype=bool)
        several[np.concatenate([cells, origins.ravel()])] = True
        several &= self._rows_of_cell > 1
        shown = np.flatnonzero(several[system.shown_cell] & ~hidden_rows[system.shown_row])
        one = np.arange(len(shown), dtype=np.int64)
        other = np.arange(len(derived), dtype=np.int64) + len(shown)
        row = np.concatenate([one, one, other, other, other])
        column = np.concatenate(
            [
                system.shown_row[shown],
                system.row_count + system.shown_cell[shown],
                self._column(origins[:, 0]),
                self._column(origins[:, 1]),
                system.row_count + derived,
            ]
        )
        rows, derivations = np.ones(len(shown)), np.ones(len(derived))
        value = np.concatenate([rows, -rows, derivations, derivations, -derivations])
        return Entries(row, column, value, len(shown) + len(derived), system.row_count + system.cell_count)

    def _company(self, unknown: Booleans) -> Entries:
        """No cell is hidden alone in a line: it would follow from the others, and could be shown as well.

        Of lines where nothing is unknown yet, and of cells that one row shows, which shows nothing else: hiding that
        row for the sake of another cell is not in question. The cheapest protection fulfils it, hence the bound holds.
        """
        system = self._system
        if not self._in_company or not system.row_count:
            nowhere = np.zeros(0, dtype=np.int64)
            return Entries(nowhere, nowhere, np.zeros(0), 0, system.row_count + system.cell_count)
        row_shows = np.bincount(system.shown_row, minlength=system.row_count)
        is_simple = (self._rows_of_cell == 1) & (row_shows[self._only_row] == 1)
        is_simple[system.derived_from[system.derived_from[:, 0] >= 0].ravel()] = False
        asking = np.bincount(system.line[unknown[system.line_cell]], minlength=system.line_count) == 0
        kept = np.flatnonzero(asking[system.line] & ~system.always_visible()[system.line_cell])
        line, cell = system.line[kept], system.line_cell[kept]
        starts = np.searchsorted(line, np.arange(system.line_count + 1))
        hermit = np.flatnonzero(is_simple[cell])
        length = np.diff(starts)[line[hermit]]
        row = np.repeat(np.arange(len(hermit)), length)
        entry = np.arange(len(row)) + np.repeat(starts[line[hermit]] - np.cumsum(length) + length, length)
        value = np.where(entry == hermit[row], -1.0, 1.0)
        return Entries(row, self._column(cell[entry]), value, len(hermit), system.row_count + system.cell_count)

    def _costs(self, columns: Integers) -> Numbers:
        rows = self._system.row_count
        return np.where(columns < rows, self._system.costs[np.minimum(columns, rows - 1)], 0.0)

    def _part(self, program: _Program, entries: Integers, gap: float, nodes: int) -> tuple[Integers, float]:
        """The rows to hide of a part of the program that no condition links to the rest, and their least cost."""
        system, matrix = self._system, program.matrix
        used, column = np.unique(matrix.column[entries], return_inverse=True)
        numbers, row = np.unique(matrix.row[entries], return_inverse=True)
        is_row = used < system.row_count
        part = Entries(row.astype(np.int64), column.astype(np.int64), matrix.value[entries], len(numbers), len(used))
        ones = np.ones(len(used))
        ones[is_row] -= system.must_show[used[is_row]]
        low, cost = program.low[numbers], self._costs(used)
        best = least_cost(part, low, cost, np.zeros(len(used)), ones, is_row, gap=gap, nodes=nodes)
        return used[is_row & (best.point > 0.5)], max(best.bound, 0.0)
