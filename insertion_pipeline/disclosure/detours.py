"""The cheapest way round: what to hide so that cells with too little room can move.

Belongs here: one linear program over everything that may be hidden. Does not belong here: finding the cells
(`room`), parts too large for one program (`nearby`), the order of the search (`suppression`).

The program moves each wanting cell up by what it lacks; a visible cell that moves along pays for how far it moves, a
hidden one does not. The cells that moved are then hidden, and the movement itself proves that the room is there.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from insertion_pipeline.disclosure.room import Spread
from insertion_pipeline.disclosure.solving import Booleans, Entries, Integers, LinearProgram, Numbers, at_once
from insertion_pipeline.disclosure.system import System, connected

_SLIGHTLY: Final = 1e-7
#: Parts of the system that nothing movable links are solved in programs of so many cells.
_BATCH: Final = 1_000
#: What it costs to leave a unit of movement out: more than any way round.
_GIVING_UP: Final = 1e4


def detoured(system: System, hidden_rows: Booleans, spread: Spread, targets: Integers, prices: Numbers) -> Booleans:
    """`hidden_rows` and what must be hidden beside them so that `targets` can all rise at once by what they lack.

    Adds the movement to `spread`: a target that it still has narrow cannot be helped together with the others, or not
    at all. `prices`: what hiding each row is to cost here.
    """
    visible = system.visible(hidden_rows)
    movable = movable_cells(system, hidden_rows, visible)
    price = prices_of_moving(system, hidden_rows, visible, prices)
    rises = np.zeros(system.cell_count)
    rises[targets] = spread.needs[targets] + spread.low[targets]
    used = movable[system.line_cell] & ~system.implied[system.line]
    count = system.cell_count
    label = connected(count + system.line_count, system.line_cell[used], system.line[used] + count)
    wanted = np.zeros(count + system.line_count, dtype=bool)
    wanted[label[targets]] = True
    cells = np.flatnonzero(movable & wanted[label[:count]])
    lines = np.unique(system.line[used & wanted[label[system.line + count]]])
    labels, part, size = np.unique(label[cells], return_inverse=True, return_counts=True)
    batch = np.cumsum(size) // _BATCH
    line_batch = batch[np.searchsorted(labels, label[lines + count])]
    moved = np.zeros(count, dtype=bool)
    batches = [(cells[batch[part] == one], lines[line_batch == one]) for one in np.unique(batch)]
    found = at_once(lambda one: _moves(system, *one, rises[one[0]], price[one[0]]), batches)
    for (own, _), moves in zip(batches, found, strict=True):
        spread.add(own, moves)
        moved[own[np.abs(moves) > _SLIGHTLY]] = True
    return hidden_rows | system.rows_showing(np.flatnonzero(moved & visible))


def movable_cells(system: System, hidden_rows: Booleans, visible: Booleans) -> Booleans:
    """Which cells are hidden or may be."""
    return ~(visible & _blocked(system, hidden_rows, visible))


def prices_of_moving(system: System, hidden_rows: Booleans, visible: Booleans, prices: Numbers) -> Numbers:
    """What hiding each cell costs: the prices of all rows that show it; nothing where it is hidden, or derived."""
    price = np.zeros(system.cell_count)
    unpaid = ~hidden_rows[system.shown_row]
    np.add.at(price, system.shown_cell[unpaid], prices[system.shown_row[unpaid]])
    price[~visible | (system.derived_from[:, 0] >= 0)] = 0.0
    return price


def _blocked(system: System, hidden_rows: Booleans, visible: Booleans) -> Booleans:
    """Which cells are known, stand in a row that must show, or follow from two visible ones that do."""
    blocked = system.known.copy()
    closed = ~hidden_rows & system.must_show
    blocked[system.shown_cell[closed[system.shown_row]]] = True
    derived = system.derived_from[:, 0] >= 0
    blocked[derived] = False
    blocked[derived] = system.known[derived] | (blocked & visible)[system.derived_from[derived]].all(axis=1)
    return blocked


def _moves(system: System, cells: Integers, lines: Integers, rises: Numbers, price: Numbers) -> Numbers:
    """By how much each cell moves when those with a rise rise by it, as cheaply as can be."""
    at = np.full(system.cell_count, -1, dtype=np.int64)
    at[cells] = np.arange(len(cells))
    row_at = np.full(system.line_count, -1, dtype=np.int64)
    row_at[lines] = np.arange(len(lines))
    entries = np.flatnonzero((row_at[system.line] >= 0) & (at[system.line_cell] >= 0))
    row, column, sign = row_at[system.line[entries]], at[system.line_cell[entries]], system.line_sign[entries]
    target = np.flatnonzero(rises)
    aim = len(lines) + np.arange(len(target))
    number, n = np.arange(len(target)), len(cells)
    # columns: what each cell moves up, what it moves down, what each target is left without
    matrix = Entries(
        np.concatenate([row, row, aim, aim, aim]),
        np.concatenate([column, column + n, target, target + n, 2 * n + number]),
        np.concatenate([sign, -sign, np.ones(len(target)), -np.ones(len(target)), np.ones(len(target))]),
        len(lines) + len(target),
        2 * n + len(target),
    )
    rooms = np.maximum(system.values - system.floors, 0.0)[cells]
    typical = float(rises.max(initial=1.0))
    cost = np.concatenate([price / typical, price / np.clip(rooms, 1.0, typical), np.full(len(target), _GIVING_UP)])
    sums = np.concatenate([np.zeros(len(lines)), rises[target]])
    most = np.concatenate([np.full(n, np.inf), rooms, rises[target]])
    point = LinearProgram(matrix, sums, sums, np.zeros(len(cost)), most, at_a_vertex=True).maximise(-cost).point
    return point[:n] - point[n : 2 * n]
