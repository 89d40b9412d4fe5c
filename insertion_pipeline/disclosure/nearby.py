"""Ways round in parts of the system that are too large for one program: cell after cell, close by.

Belongs here: a program that holds a few hundred of the cells around a target, and grows where its prices say that a
cell is missing. Does not belong here: the whole of a small part at once (`detours`), the order of the search
(`suppression`).

The target moves by what it lacks, whatever equations that breaks; breaking one costs more than anything. The duals of
the broken equations say which cells would mend most of them at the least price: those are taken in, and the program is
solved again, until no equation is broken. What was never taken in stays where it is, so the movement is true of the
whole system. This is column generation, stopped at the first movement that holds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np

from insertion_pipeline.disclosure import room
from insertion_pipeline.disclosure.detours import movable_cells, prices_of_moving
from insertion_pipeline.disclosure.room import Spread
from insertion_pipeline.disclosure.solving import Booleans, GrowingProgram, Integers, Numbers, Unsolved
from insertion_pipeline.disclosure.system import System, connected

_SLIGHTLY: Final = 1e-7
#: What it costs to break an equation by one, in terms of prices: more than any way round.
_BREAKING: Final = 1e3
#: A cell that brings a new equation with it is preferred by so much less, as a share of what breaking it would cost.
_HESITATION: Final = 0.3
#: What a unit of movement of another cell that lacks room is worth: less than what it costs to hide something for it.
_ENCOURAGEMENT: Final = 0.2
#: So many cells are taken in at once for each equation with a dual.
_PER_LINE: Final = 2
_ROUNDS: Final = 60
#: In parts of more cells than this, a program of all of them takes as long as helping one cell for so many by itself.
_SIZEABLE: Final = 8_000
_WORTH: Final = 40


def better_nearby(system: System) -> Callable[[Integers], Booleans]:
    """Which of some wanting cells are sooner helped one by one than in a program of all that they are linked to.

    All in parts that are too large for one program, however little of them is hidden yet; in sizeable parts, those that
    are few for the size of the part.
    """
    used = ~system.always_visible()[system.line_cell] & ~system.implied[system.line]
    count = system.cell_count
    part = connected(count + system.line_count, system.line_cell[used], system.line[used] + count)[:count]
    size = np.bincount(part, minlength=count)[part]

    def better(cells: Integers) -> Booleans:
        together = np.bincount(part[cells], minlength=count)[part[cells]]
        few = (size[cells] > _SIZEABLE) & (together * _WORTH < size[cells])
        return np.asarray((size[cells] > room.LARGEST) | few, dtype=bool)

    return better


def helped_nearby(
    system: System, hidden_rows: Booleans, spread: Spread, targets: Integers, prices: Numbers, most: Integers
) -> Booleans:
    """`hidden_rows` and what must be hidden beside them so that `targets` can move by what they lack, one by one.

    Adds the movements to `spread`: what it still has narrow found no way among the cells that it was given, `most` for
    each target. `prices`: what hiding each row is to cost here.
    """
    visible = system.visible(hidden_rows)
    movable = movable_cells(system, hidden_rows, visible)
    around = _Surroundings(system, movable, prices_of_moving(system, hidden_rows, visible, prices))
    lacking = np.where(spread.narrow, spread.needs + spread.low, 0.0)
    moved = np.zeros(system.cell_count, dtype=bool)
    for target, size in zip(targets.tolist(), most.tolist(), strict=True):
        for downwards in (False, True):
            need, low, high = spread.needs[target], spread.low[target], spread.high[target]
            if high - low >= need - _SLIGHTLY:
                break
            by = need + low
            if downwards:
                by = -min(system.values[target] - system.floors[target], need - high)
                if by > low - _SLIGHTLY:
                    break
            way = around.way(target, float(by), lacking, size)
            if way is None:
                continue
            spread.add(way.cells, way.moves)
            width = spread.high[way.cells] - spread.low[way.cells]
            need = spread.needs[way.cells]
            lacking[way.cells] = np.where(width < need - _SLIGHTLY, need + spread.low[way.cells], 0.0)
            moved[way.cells] = True
            around.paid(way.cells)
    return hidden_rows | system.rows_showing(np.flatnonzero(moved & visible))


@dataclass(frozen=True)
class _Movement:
    """By how much each of some cells moves."""

    cells: Integers
    moves: Numbers


class _Surroundings:
    """The equations between cells that may move, and what moving each costs; what was paid for once is free."""

    def __init__(self, system: System, movable: Booleans, price: Numbers) -> None:
        entries = np.flatnonzero(movable[system.line_cell] & ~system.implied[system.line])
        self._line, self._cell = system.line[entries], system.line_cell[entries]
        self._cells_of_line = np.searchsorted(self._line, np.arange(system.line_count + 1))
        order = np.argsort(self._cell, kind="stable")
        self._line_of, self._sign_of = self._line[order], system.line_sign[entries][order]
        self._lines_of_cell = np.searchsorted(self._cell[order], np.arange(system.cell_count + 1))
        self._room = np.maximum(system.values - system.floors, 0.0)
        self._price = price.copy()
        self._column = np.full(system.cell_count, -1, dtype=np.int64)
        self._row = np.full(system.line_count, -1, dtype=np.int64)

    def paid(self, cells: Integers) -> None:
        """Moving `cells` costs nothing from here on."""
        self._price[cells] = 0.0

    def way(self, target: int, by: float, lacking: Numbers, most: int) -> _Movement | None:
        """A movement in which `target` moves by `by` (downwards where negative); None where `most` cells show none.

        Other cells that are `lacking` something rise with it, as far as they lack it and what is hidden lets them.
        """
        program = GrowingProgram()
        cells, lines = np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64)
        new = np.array([target], dtype=np.int64)
        try:
            for _ in range(_ROUNDS):
                entry, owner = _ranges(self._lines_of_cell, new)
                opened = np.unique(self._line_of[entry])
                opened = opened[self._row[opened] < 0]
                self._row[opened] = len(lines) + np.arange(len(opened))
                self._column[new] = len(cells) + np.arange(len(new))
                first, (cells, lines) = not len(cells), (np.append(cells, new), np.append(lines, opened))
                typical = abs(by)
                price, rooms = self._price[new], self._room[new]
                up, down = price / typical, price / np.clip(rooms, 1.0, typical)
                most_up, most_down = np.full(len(new), np.inf), rooms
                if first:
                    most_up, most_down = np.array([max(by, 0.0)]), np.array([max(-by, 0.0)])
                program.grow(
                    len(opened), _BREAKING, self._row[self._line_of[entry]], owner, self._sign_of[entry],
                    up, down, most_up, most_down, forced=first,
                )  # fmt: skip
                moves, duals, broken = program.solved()
                if broken < _SLIGHTLY:
                    others = np.flatnonzero((lacking[cells] > 0) & (cells != target))
                    if len(others):
                        program.encourage(others, _ENCOURAGEMENT, lacking[cells[others]])
                        together, _, broken = program.solved()
                        moves = together if broken < _SLIGHTLY else moves
                    moving = np.abs(moves) > _SLIGHTLY
                    return _Movement(cells[moving], moves[moving])
                if len(cells) > most:
                    return None
                new = self._missing(lines, duals, typical)
                if not len(new):
                    return None
            return None
        except Unsolved:
            return None
        finally:
            self._column[cells] = -1
            self._row[lines] = -1

    def _missing(self, lines: Integers, duals: Numbers, typical: float) -> Integers:
        """The cells that would mend most of what is broken for the least price, some for each equation."""
        telling = np.flatnonzero(np.abs(duals) > _SLIGHTLY)
        entry, line = _ranges(self._cells_of_line, lines[telling])
        of_line = self._cell[entry]
        candidates, position = np.unique(of_line, return_inverse=True)
        entry, owner = _ranges(self._lines_of_cell, candidates)
        row = self._row[self._line_of[entry]]
        count = len(candidates)
        gain = np.bincount(owner, weights=self._sign_of[entry] * np.where(row >= 0, duals[row], 0.0), minlength=count)
        opened = np.bincount(owner[row < 0], minlength=count)
        price, rooms = self._price[candidates], self._room[candidates]
        down = np.where(rooms > 0, price / np.clip(rooms, 1.0, typical) + gain, 0.0) * np.minimum(rooms / typical, 1.0)
        reduced = np.minimum(price / typical - gain, down)
        useful = (reduced < -_SLIGHTLY) & (self._column[candidates] < 0)
        kept = np.flatnonzero(useful[position])
        line, position = line[kept], position[kept]
        order = np.lexsort((position, (reduced + _HESITATION * _BREAKING * opened)[position], line))
        line, position = line[order], position[order]
        rank = np.arange(len(line)) - np.searchsorted(line, line)
        return candidates[np.unique(position[rank < _PER_LINE])]


def _ranges(starts: Integers, chosen: Integers) -> tuple[Integers, Integers]:
    """The positions from `starts` of each chosen one to the next, and which of the chosen each belongs to."""
    first = starts[chosen]
    length = starts[chosen + 1] - first
    owner = np.repeat(np.arange(len(chosen)), length)
    return np.arange(len(owner)) + (first - np.cumsum(length) + length)[owner], owner
