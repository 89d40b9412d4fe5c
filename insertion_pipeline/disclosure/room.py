"""The room that hidden cells have: how far each can be from the truth while every equation holds.

Belongs here: linear programs over what is hidden; what else would have to be hidden where there is too little room.
Does not belong here: choosing it (`covering`, `suppression`), the audit of the result (`attacker`).

Every program is written around the truth: a point says by how much each hidden cell moves. Points are shared: what is
feasible is convex, so two points certify for every cell at once that it may lie anywhere between its two values. Only
what many points together leave too narrow is asked by a program of its own, and its dual is a *cut*: moving cell p by
the width that it needs takes hiding enough of the cells of the cut, whatever else is hidden (Fischetti and Salazar).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from insertion_pipeline.disclosure.circuits import Movements
from insertion_pipeline.disclosure.solving import Booleans, Entries, Integers, LinearProgram, Numbers, at_once
from insertion_pipeline.disclosure.system import System, connected

#: Programs are solved for parts of the system that nothing hidden links, as many together as make up this many cells.
_BATCH: Final = 400
#: Parts of more cells than this are not searched: one point takes longer than helping many cells one by one (`nearby`).
LARGEST: Final = 25_000
#: Points tried before cells are asked one by one, …
_POINTS: Final = 12
#: … unless there are so few of them.
_FEW: Final = 20
_SLIGHTLY: Final = 1e-6
_DIRECTIONS: Final = (1.0, -1.0)


@dataclass(frozen=True)
class Cuts:
    """Conditions on what must be hidden: for each, the coefficients of the cells of a condition sum to its need."""

    condition: Integers  # one entry per (condition, cell)
    cell: Integers
    coefficient: Numbers
    need: Numbers  # one per condition
    target: Integers  # one per condition: the sensitive cell that it is about

    @classmethod
    def none(cls) -> Cuts:
        """No condition at all."""
        nothing, nowhere = np.zeros(0), np.zeros(0, dtype=np.int64)
        return cls(nowhere, nowhere, nothing, nothing, nowhere)

    @classmethod
    def together(cls, parts: list[Cuts]) -> Cuts:
        """The conditions of all `parts`."""
        parts = [Cuts.none(), *parts]
        starts = np.cumsum([0, *(len(part.need) for part in parts[:-1])])
        return cls(
            np.concatenate([part.condition + start for part, start in zip(parts, starts, strict=True)]),
            np.concatenate([part.cell for part in parts]),
            np.concatenate([part.coefficient for part in parts]),
            np.concatenate([part.need for part in parts]),
            np.concatenate([part.target for part in parts]),
        )


class Spread:
    """How far from the truth some solution has each cell: what all points found so far say together.

    It stays true as long as nothing hidden is shown again: what is feasible only grows. `among`: the sensitive cells
    of interest, all by default; `least`: the room that any other hidden cell needs too, none at first.
    """

    def __init__(self, system: System, among: Booleans | None = None) -> None:
        self.low, self.high = np.zeros(system.cell_count), np.zeros(system.cell_count)
        self.least = 0.0
        self._points: list[tuple[Integers, Numbers]] = []
        #: Small movements, apart from the points: solutions that only few cells differ in from the truth.
        self.movements = Movements.none()
        self.needs: Numbers = np.where(True if among is None else among, system.widths, 0.0)

    def concern(self, system: System, box: Box) -> None:
        """From here on, every cell that moves and that a row could show needs the least room too, if there is one."""
        if self.least:
            can_show = np.zeros(system.cell_count, dtype=bool)
            can_show[system.shown_cell] = True
            concerned = box.moves & can_show & (system.values > 0)
            self.needs = np.where(concerned, np.maximum(self.needs, self.least), self.needs)

    def add(self, cells: Integers, point: Numbers) -> None:
        """One more solution: by how much each of `cells` moves in it."""
        moving = point != 0
        cells, point = cells[moving], point[moving]
        self.low[cells] = np.minimum(self.low[cells], point)
        self.high[cells] = np.maximum(self.high[cells], point)
        self._points.append((cells, point))

    def join(self, other: Spread) -> None:
        """The solutions of `other` too."""
        for cells, point in other._points:
            self.add(cells, point)
        self.movements = self.movements.and_(other.movements)

    def solutions(self) -> Iterator[Numbers]:
        """Every point again, as movements of all cells: points that move different cells are one solution."""
        layer = np.zeros(len(self.low), dtype=np.int64)
        layers: list[list[tuple[Integers, Numbers]]] = []
        for cells, point in self._points:
            first = int(layer[cells].max(initial=0))
            layer[cells] = first + 1
            layers.extend([] for _ in range(first + 1 - len(layers)))
            layers[first].append((cells, point))
        for points in layers:
            together = np.zeros(len(self.low))
            for cells, point in points:
                together[cells] = point
            yield together

    @property
    def narrow(self) -> Booleans:
        """The sensitive cells that have not been seen to have the room that they need."""
        return (self.needs > 0) & (self.high - self.low < self.needs - _SLIGHTLY)


@dataclass(frozen=True)
class Box:
    """How far each cell may move from the truth, by what is hidden."""

    least: Numbers
    most: Numbers

    @classmethod
    def hiding(cls, system: System, hidden_rows: Booleans) -> Box:
        """Hidden cells fall to what anybody would assume of them at least, and rise without end."""
        unknown = ~system.visible(hidden_rows)
        return cls(np.where(unknown, system.floors - system.values, 0.0), np.where(unknown, np.inf, 0.0))

    @classmethod
    def hiding_in_part(cls, system: System, fractions: Numbers) -> Box:
        """Cells hidden in part only (one fraction per cell) move in proportion, by the widest need at most."""
        widest = float(system.widths.max(initial=0.0))
        rooms = np.maximum(system.values - system.floors, 0.0)
        whole = fractions > 1.0 - _SLIGHTLY
        least = np.where(whole, rooms, np.minimum(rooms, widest) * fractions)
        return cls(-least, np.where(whole, np.inf, widest * fractions))

    @property
    def moves(self) -> Booleans:
        """Which cells move at all."""
        return (self.most > _SLIGHTLY) | (self.least < -_SLIGHTLY)


def search(system: System, box: Box, spread: Spread, *, each: int, points: int = _POINTS) -> Cuts:
    """Find room for the cells that `spread` has narrow, adding to it; cuts for some that have too little.

    Tries `points` at most, then asks until `each` cells of every part that nothing movable links have failed; a few
    cells are asked at once. Very large parts are left out.
    """
    spread.concern(system, box)
    if not spread.narrow.any():
        return Cuts.none()
    linked = _Linked.of(system, box, spread)
    tried = [batch for batch in _batches(system, box, spread, linked) if not each or batch.wanting > _FEW]
    at_once(lambda batch: batch.try_points(points), tried)
    _tell(spread, tried)
    asked = _batches(system, box, spread, linked) if each else []
    cuts = at_once(lambda batch: batch.ask(each), asked)
    _tell(spread, asked)
    return Cuts.together(cuts)


def _tell(spread: Spread, batches: list[_Batch]) -> None:
    """Add what was found batch by batch, always in the same order."""
    for batch in batches:
        for point in batch.found:
            spread.add(batch.cells, point)


def parts(system: System, hidden_rows: Booleans) -> Integers:
    """Per cell, the number of the part that hidden cells link it to; a visible cell is a part of its own."""
    used = ~system.visible(hidden_rows)[system.line_cell] & ~system.implied[system.line]
    count = system.cell_count
    return connected(count + system.line_count, system.line_cell[used], system.line[used] + count)[:count]


@dataclass(frozen=True)
class _Linked:
    """What movable cells link, whichever of the cells are still asked about: one that cannot move stays narrow."""

    cells: Integers  # that can move, or are asked about
    lines: Integers  # that hold one of them
    of_cell: Integers  # the number of the part that each of `cells` is in
    of_line: Integers  # the number of the part that each of `lines` links

    @classmethod
    def of(cls, system: System, box: Box, spread: Spread) -> _Linked:
        taken = box.moves | spread.narrow  # the lines of a cell that cannot move tell what would have to be hidden
        used = taken[system.line_cell] & ~system.implied[system.line]
        count = system.cell_count
        label = connected(count + system.line_count, system.line_cell[used], system.line[used] + count)
        has_cells = np.zeros(system.line_count, dtype=bool)
        has_cells[system.line[used]] = True
        cells, lines = np.flatnonzero(taken), np.flatnonzero(has_cells)
        return cls(cells, lines, label[cells], label[lines + count])


def _batches(system: System, box: Box, spread: Spread, linked: _Linked) -> list[_Batch]:
    """The parts that nothing movable links and that hold a cell asked about, some parts to a batch."""
    wanted = np.zeros(system.cell_count + system.line_count, dtype=bool)
    wanted[linked.of_cell[spread.narrow[linked.cells]]] = True
    wanted[np.bincount(linked.of_cell, minlength=len(wanted)) > LARGEST] = False
    own, within = wanted[linked.of_cell], wanted[linked.of_line]
    cells, lines = linked.cells[own], linked.lines[within]
    labels, part, size = np.unique(linked.of_cell[own], return_inverse=True, return_counts=True)
    line_part = np.searchsorted(labels, linked.of_line[within])
    batch = np.cumsum(size) // _BATCH
    of_cell, of_line = batch[part], batch[line_part]
    return [
        _Batch(
            system, cells[of_cell == one], part[of_cell == one], lines[of_line == one], line_part[of_line == one],
            box, spread,
        )
        for one in np.unique(batch)
    ]  # fmt: skip


class _Batch:
    """Parts of the system that nothing movable links, solved together: one program moves cells in all of them.

    `found`: the points met, as movements of `cells`; the spread that they are to join is read at the start only.
    """

    def __init__(
        self,
        system: System,
        cells: Integers,
        part: Integers,
        lines: Integers,
        line_part: Integers,
        box: Box,
        spread: Spread,
    ) -> None:
        self._system, self.cells, self._part = system, cells, part
        self._line_part = line_part
        at_cell = np.full(system.cell_count, -1, dtype=np.int64)
        at_cell[cells] = np.arange(len(cells))
        first, end = (np.searchsorted(system.line, lines, side=side) for side in ("left", "right"))
        self._entry_line = np.repeat(np.arange(len(lines)), end - first)
        entries = np.arange(len(self._entry_line)) + (end - np.cumsum(end - first))[self._entry_line]
        self._entry_cell = system.line_cell[entries]
        self._entry_sign = system.line_sign[entries]
        column = at_cell[self._entry_cell]
        moving = column >= 0
        matrix = Entries(self._entry_line[moving], column[moving], self._entry_sign[moving], len(lines), len(cells))
        self._sensitive = np.flatnonzero(spread.narrow[cells])
        self._need = spread.needs[cells[self._sensitive]]
        self._low, self._high = spread.low[cells[self._sensitive]], spread.high[cells[self._sensitive]]
        self.found: list[Numbers] = []
        self.least, self._most = box.least[cells], box.most[cells]
        most = self._most.copy()
        most[self._sensitive] = np.minimum(most[self._sensitive], self._need)
        zero = np.zeros(len(lines))
        self._program = LinearProgram(matrix, zero, zero, self.least, most)

    @property
    def wanting(self) -> int:
        """How many cells have not been seen to have the room that they need."""
        return int(self._wanting().sum())

    def ask(self, each: int) -> Cuts:
        """Find room for one cell after the other; cuts for `each` of those in every part that have too little."""
        asked = np.zeros(len(self._sensitive), dtype=bool)
        cuts: list[Cuts] = []
        parts = self._part[self._sensitive]
        failures = np.zeros(int(self._part.max(initial=0)) + 1, dtype=np.int64)
        while True:
            open_ = self._wanting() & ~asked & (failures[parts] < each)
            if not open_.any():
                break
            positions = np.flatnonzero(open_)
            _, first = np.unique(parts[positions], return_index=True)
            targets = positions[first]  # one in each part: they do not disturb each other
            asked[targets] = True
            wide, cut = self._ask(targets)
            failures[parts[targets[~wide]]] += 1
            cuts.append(cut)
        return Cuts.together(cuts)

    def _wanting(self) -> Booleans:
        return self._high - self._low < self._need - _SLIGHTLY

    def _add(self, point: Numbers) -> None:
        self.found.append(point)
        self._low = np.minimum(self._low, point[self._sensitive])
        self._high = np.maximum(self._high, point[self._sensitive])

    def try_points(self, count: int) -> None:
        """So many points that move as many cells as possible, up or down by turns that never change from run to run."""
        names = self.cells[self._sensitive]
        before = len(names)
        for turn in range(count):
            wanting = self._wanting()
            if not wanting.any():
                return
            if turn > 3 and wanting.sum() > 0.9 * before:
                return
            before = int(wanting.sum())
            upwards = coin(names, turn // 2) ^ bool(turn % 2)
            objective = np.zeros(len(self.cells))
            objective[self._sensitive] = np.where(wanting, np.where(upwards, 1.0, -1.0) / self._need, 0.0)
            self._add(self._program.maximise(objective).point)

    def _ask(self, targets: Integers) -> tuple[Booleans, Cuts]:
        """The exact room of `targets`, one in each part: which have enough, and a cut for each of the others."""
        columns = self._sensitive
        most = self._most[columns].copy()
        most[targets] = np.minimum(most[targets], self._need[targets])
        self._program.rebox(columns, self.least[columns], most)
        multipliers: list[Numbers] = []
        for direction in _DIRECTIONS:
            objective = np.zeros(len(self.cells))
            objective[columns[targets]] = direction
            best = self._program.maximise(objective)
            self._add(best.point)
            multipliers.append(best.duals)
        self._program.rebox(columns, self.least[columns], np.minimum(self._most[columns], self._need))
        narrow = self._wanting()[targets]
        return ~narrow, self._cuts(targets[narrow], multipliers)

    def _cuts(self, targets: Integers, multipliers: list[Numbers]) -> Cuts:
        """What the duals of both directions say: how much each cell, hidden, could contribute to the width."""
        system = self._system
        if not len(targets):
            return Cuts.none()
        condition_of_part = np.full(int(self._part.max()) + 1, -1, dtype=np.int64)
        condition_of_part[self._part[self._sensitive[targets]]] = np.arange(len(targets))
        condition = condition_of_part[self._line_part[self._entry_line]]
        at = condition >= 0
        key = condition[at] * system.cell_count + self._entry_cell[at]
        own = np.arange(len(targets)) * system.cell_count + self.cells[self._sensitive[targets]]
        keys, where = np.unique(np.concatenate([key, own]), return_inverse=True)
        of_condition, cell = keys // system.cell_count, keys % system.cell_count
        need = self._need[targets]
        total = np.zeros(len(keys))
        room_below = np.maximum(system.values - system.floors, 0.0)[cell]
        for duals, direction in zip(multipliers, _DIRECTIONS, strict=True):
            weights = np.concatenate([-(duals[self._entry_line] * self._entry_sign)[at], np.full(len(own), direction)])
            rest = np.bincount(where, weights=weights, minlength=len(keys))
            rest[np.abs(rest) < 1e-9] = 0.0
            total += np.where(rest > 0, need[of_condition], -rest * room_below)
        return condensed(system, of_condition, cell, total, need, self.cells[self._sensitive[targets]])


def condensed(
    system: System, condition: Integers, cell: Integers, coefficient: Numbers, need: Numbers, target: Integers
) -> Cuts:
    """The same conditions with no coefficient above the need; what is never published contributes in any case."""
    can_show = system.derived_from[:, 0] >= 0
    can_show[system.shown_cell] = True
    free = ~can_show[cell]
    left = need - np.bincount(condition[free], weights=coefficient[free], minlength=len(need))
    capped = np.minimum(coefficient, left[condition])
    kept = ~free & (capped > 1e-9)
    return Cuts(condition[kept], cell[kept], capped[kept], left, target)


def coin(names: Integers, turn: int) -> Booleans:
    """A toss for each name, the same in every run (splitmix64)."""
    with np.errstate(over="ignore"):
        mixed = (names.astype(np.uint64) * np.uint64(64) + np.uint64(turn + 1)) * np.uint64(0x9E3779B97F4A7C15)
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray((mixed >> np.uint64(63)).astype(bool))
