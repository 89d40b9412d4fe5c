"""The smallest movements of hidden cells: what can move with hardly anything else moving along.

Belongs here: elimination among the lines of a system, and the movements that it shows to be possible. Does not belong
here: what they are good for (`insiders`), movements of many cells at once (`room`), the attacker's elimination.

Where every line is solved for one of its cells, the others are free: each free cell, moved by one, moves the solved
cells that depend on it and no other free one. Cells that cannot fall are kept free as far as can be: then such a
movement holds one of them at most, and is possible upwards.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers
from insertion_pipeline.disclosure.system import System

#: A part of the system is left out once solving it takes so many steps for each of its entries.
_STEPS: Final = 40
_NOTHING: Final = 1e-9
_FAR: Final = 1e6

_Row = dict[int, float]


@dataclass(frozen=True)
class Movements:
    """Movements from the truth, each a solution: one entry per (movement, cell that moves), and by how much."""

    movement: Integers
    cell: Integers
    by: Numbers

    @property
    def count(self) -> int:
        return int(self.movement.max(initial=-1)) + 1

    @classmethod
    def none(cls) -> Movements:
        """No movement at all."""
        nowhere = np.zeros(0, dtype=np.int64)
        return cls(nowhere, nowhere, np.zeros(0))

    def among(self, unknown: Booleans) -> Movements:
        """Those that no cell moves in but `unknown` ones: what is shown again stays where it is."""
        broken = np.zeros(self.count, dtype=bool)
        broken[self.movement[~unknown[self.cell]]] = True
        kept = ~broken[self.movement]
        return Movements((np.cumsum(~broken) - 1)[self.movement[kept]], self.cell[kept], self.by[kept])

    def and_(self, other: Movements) -> Movements:
        """These and the `other` ones."""
        return Movements(
            np.concatenate([self.movement, other.movement + self.count]),
            np.concatenate([self.cell, other.cell]),
            np.concatenate([self.by, other.by]),
        )


def smallest(system: System, unknown: Booleans, part: Integers, needs: Numbers, free: Booleans) -> Movements:
    """Movements of the `unknown` cells, each by what its cells need as far as it can be; `part`: of each cell.

    Cells without room below stay free first, then those that are wanted `free`.
    """
    wish = 2 * (system.values - system.floors < 1.0) + free.astype(np.int64)
    found = [_combinations(rows, wish) for rows in _rows(system, unknown, part)]
    sizes = [len(movement) for one in found for movement in one]
    cell = np.array([name for one in found for movement in one for name in movement], dtype=np.int64)
    by = np.array([value for one in found for movement in one for value in movement.values()], dtype=np.float64)
    movement = np.repeat(np.arange(len(sizes)), sizes)
    scale = _scales(len(sizes), movement, by, (system.values - system.floors)[cell], needs[cell])
    possible = np.abs(scale) > _NOTHING
    kept = possible[movement]
    return Movements((np.cumsum(possible) - 1)[movement[kept]], cell[kept], (scale[movement] * by)[kept])


def _scales(count: int, movement: Integers, by: Numbers, rooms: Numbers, needs: Numbers) -> Numbers:
    """How far each movement goes, up or down: as far as its cells need it to, or can."""
    upwards, downwards, wanted = np.full(count, _FAR), np.full(count, _FAR), np.zeros(count)
    falling, rising, size = by < 0, by > 0, np.abs(by)
    np.minimum.at(upwards, movement[falling], (rooms / size)[falling])
    np.minimum.at(downwards, movement[rising], (rooms / size)[rising])
    np.maximum.at(wanted, movement, needs / size)
    wanted = np.where(wanted > 0, wanted, 1.0)
    upwards, downwards = np.minimum(upwards, wanted), np.minimum(downwards, wanted)
    return np.asarray(np.where(upwards >= downwards, upwards, -downwards), dtype=np.float64)


def _rows(system: System, unknown: Booleans, part: Integers) -> Iterator[list[_Row]]:
    """The lines of each part that have an unknown cell, as coefficients of those."""
    entries = np.flatnonzero(unknown[system.line_cell] & ~system.implied[system.line])
    if not len(entries):
        return
    line, cell = system.line[entries], system.line_cell[entries]
    order = np.lexsort((cell, line, part[cell]))
    cell, sign, own = cell[order].tolist(), system.line_sign[entries][order].tolist(), part[cell][order]
    starts = np.flatnonzero(np.concatenate([[True], line[order][1:] != line[order][:-1]]))
    ends = [*starts[1:].tolist(), len(order)]
    rows = [dict(zip(cell[a:b], sign[a:b], strict=True)) for a, b in zip(starts.tolist(), ends, strict=True)]
    _, first = np.unique(own[starts], return_index=True)
    for a, b in zip(first.tolist(), [*first[1:].tolist(), len(rows)], strict=True):
        yield rows[a:b]


def _combinations(rows: list[_Row], wish: Integers) -> list[_Row]:
    """Per free cell, by how much it and what depends on it move; none where finding that takes too many steps."""
    steps = _STEPS * sum(len(row) for row in rows)
    cells = sorted({cell for row in rows for cell in row})
    solved = _solved(rows, {cell: int(wish[cell]) for cell in cells}, steps)
    depends: dict[int, _Row] = {}  # of each solved cell: on which free ones, and how
    for cell, row in reversed(solved):
        own: _Row = {}
        for other, factor in row.items():
            if other == cell:
                continue
            on = depends.get(other, {other: 1.0})
            steps -= len(on)
            for free, share in on.items():
                own[free] = own.get(free, 0.0) - factor / row[cell] * share
        if steps < 0:
            return []
        depends[cell] = {free: share for free, share in own.items() if abs(share) > _NOTHING}
    movements: dict[int, _Row] = {cell: {cell: 1.0} for cell in cells if cell not in depends}
    for cell, on in depends.items():
        for free, share in on.items():
            movements[free][cell] = share
    return list(movements.values()) if solved else []


def _solved(rows: list[_Row], wish: dict[int, int], steps: int) -> list[tuple[int, _Row]]:
    """The cell that each row is solved for; no later row holds it. Nothing where that takes too many steps."""
    holders: dict[int, set[int]] = {cell: set() for cell in wish}
    for number, row in enumerate(rows):
        for cell in row:
            holders[cell].add(number)
    degree = {cell: len(numbers) for cell, numbers in holders.items()}
    solved: list[tuple[int, _Row]] = []
    alone = [cell for cell, numbers in holders.items() if len(numbers) == 1 and not wish[cell]]
    while alone:  # a row that alone holds a cell is solved for it as it is
        cell = alone.pop()
        if len(holders[cell]) != 1:
            continue
        (number,) = holders[cell]
        solved.append((cell, rows[number]))
        for held in rows[number]:
            holders[held].discard(number)
            if len(holders[held]) == 1 and not wish[held]:
                alone.append(held)
    place: dict[int, int] = {}
    core: list[tuple[int, _Row]] = []
    for number in sorted(set().union(*holders.values()), key=lambda number: (len(rows[number]), number)):
        row = dict(rows[number])
        standing = [place[cell] for cell in row if cell in place]
        heapq.heapify(standing)
        while standing:
            cell, other = core[heapq.heappop(standing)]
            if cell in row:
                steps -= len(other)
                for new in _subtract(row, cell, other):
                    if new in place:
                        heapq.heappush(standing, place[new])
        if steps < 0:
            return []
        if row:
            cell = min(row, key=lambda cell: (wish[cell], degree[cell], cell))
            place[cell] = len(core)
            core.append((cell, row))
    return solved + core


def _subtract(row: _Row, cell: int, other: _Row) -> list[int]:
    """Take the multiple of `other` from `row` that clears `cell`; returns the cells that are new in `row`."""
    factor = row[cell] / other[cell]
    new = [name for name in other if name not in row]
    for name, coefficient in other.items():
        rest = row.get(name, 0.0) - factor * coefficient
        if abs(rest) > _NOTHING:
            row[name] = rest
        else:
            row.pop(name, None)
    return new
