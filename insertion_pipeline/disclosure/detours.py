"""The cheapest way round: what to hide so that cells with too little room can move.

Belongs here: one linear program over everything that may be hidden. Does not belong here: finding the cells
(`room`), the order of the search (`suppression`).

The program moves each wanting cell up by what it lacks; a visible cell that moves along pays for how far it moves, a
hidden one does not. The cells that moved are then hidden, and the movement itself proves that the room is there.
"""

from __future__ import annotations

from typing import Final

import numpy as np

from insertion_pipeline.disclosure.room import Spread
from insertion_pipeline.disclosure.solving import Booleans, Entries, Integers, LinearProgram, Numbers
from insertion_pipeline.disclosure.system import System, connected

_SLIGHTLY: Final = 1e-7
#: What it costs to leave a unit of movement out: more than any way round.
_GIVING_UP: Final = 1e4


def detoured(system: System, hidden_rows: Booleans, spread: Spread, targets: Integers, prices: Numbers) -> Booleans:
    """`hidden_rows` and what must be hidden beside them so that `targets` can all rise at once by what they lack.

    Adds the movement to `spread`: a target that it still has narrow cannot be helped together with the others, or not
    at all. `prices`: what hiding each row is to cost here.
    """
    rises = spread.needs[targets] + spread.low[targets]
    visible = system.visible(hidden_rows)
    blocked = np.zeros(system.cell_count, dtype=bool)
    closed = ~hidden_rows & system.must_show
    blocked[system.shown_cell[closed[system.shown_row]]] = True
    derived = system.derived_from[:, 0] >= 0
    blocked[derived] = False
    blocked[derived] = (blocked & visible)[system.derived_from[derived]].all(axis=1)
    movable = ~(visible & blocked)
    used = movable[system.line_cell] & ~system.implied[system.line]
    count = system.cell_count
    label = connected(count + system.line_count, system.line_cell[used], system.line[used] + count)
    wanted = np.zeros(count + system.line_count, dtype=bool)
    wanted[label[targets]] = True
    cells = np.flatnonzero(movable & wanted[label[:count]])
    lines = np.unique(system.line[used & wanted[label[system.line + count]]])
    at = np.full(count, -1, dtype=np.int64)
    at[cells] = np.arange(len(cells))
    row_at = np.full(system.line_count, -1, dtype=np.int64)
    row_at[lines] = np.arange(len(lines))
    entries = np.flatnonzero((row_at[system.line] >= 0) & (at[system.line_cell] >= 0))
    row, column, sign = row_at[system.line[entries]], at[system.line_cell[entries]], system.line_sign[entries]
    aim = len(lines) + np.arange(len(targets))
    number, n = np.arange(len(targets)), len(cells)
    # columns: what each cell moves up, what it moves down, what each target is left without
    matrix = Entries(
        np.concatenate([row, row, aim, aim, aim]),
        np.concatenate([column, column + n, at[targets], at[targets] + n, 2 * n + number]),
        np.concatenate([sign, -sign, np.ones(len(targets)), -np.ones(len(targets)), np.ones(len(targets))]),
        len(lines) + len(targets),
        2 * n + len(targets),
    )
    rooms = np.maximum(system.values - system.floors, 0.0)[cells]
    price = np.zeros(count)
    unpaid = ~hidden_rows[system.shown_row]
    np.add.at(price, system.shown_cell[unpaid], prices[system.shown_row[unpaid]])
    price = np.where(visible & ~derived, price, 0.0)[cells]
    typical = float(rises.max(initial=1.0))
    cost = np.concatenate([price / typical, price / np.clip(rooms, 1.0, typical), np.full(len(targets), _GIVING_UP)])
    low = np.concatenate([np.zeros(len(lines)), rises])
    high = np.concatenate([np.zeros(len(lines)), rises])
    most = np.concatenate([np.full(n, np.inf), rooms, rises])
    point = LinearProgram(matrix, low, high, np.zeros(len(cost)), most, at_a_vertex=True).maximise(-cost).point
    moves = point[:n] - point[n : 2 * n]
    spread.add(cells, moves)
    return hidden_rows | system.rows_showing(cells[(np.abs(moves) > _SLIGHTLY) & visible[cells]])
