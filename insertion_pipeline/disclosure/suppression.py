"""Complementary suppression over any system of cells and equations, with a proven bound of what it costs at least.

Belongs here: the search for rows to hide so that every sensitive cell has the room that it needs. Does not belong here:
what a cell means, which cells are sensitive (`thresholds`), which equations hold (`equations`, `cubes`), and the audit
of the result (`attacker`, which shares no equation with this module).

The search: the cheapest rows that fulfil the necessary conditions (`covering`); linear programs that show which cells
still have too little room, and cuts that say why (`room`), which are more conditions; for what remains, the cheapest
way round (`detours`; `nearby` in parts too large for that), then what keeps those who stand alone behind a number from
the others (`insiders`); last, whatever of it was not needed after all is shown again. Nothing depends on the clock.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np

from insertion_pipeline.disclosure.covering import Cover, Covering, Impossible
from insertion_pipeline.disclosure.detours import detoured
from insertion_pipeline.disclosure.inference import Moves
from insertion_pipeline.disclosure.insiders import Insiders, Pairs, conditions, exposed, guarded
from insertion_pipeline.disclosure.nearby import better_nearby, helped_nearby
from insertion_pipeline.disclosure.room import Box, Spread, coin, parts, search
from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers
from insertion_pipeline.disclosure.system import System

_ROUNDS: Final = 200
#: So many turns of helping several at once may help nobody, before they are helped one by one.
_PATIENCE: Final = 3
#: How many cells around a target are taken in at most (`nearby`), the first time that it is tried, the second …
_AROUND: Final = (500, 2_000, 8_000)


@dataclass(frozen=True)
class Effort:
    """How long to look for a cheaper way of protecting, in rounds and nodes: never in seconds."""

    gap: float  # relative, of each integer program
    nodes: int  # of the tree of each integer program
    together: int  # entries of parts that are solved in one program; 1 = each part by itself
    in_company: bool  # whether the conditions say that no cell is hidden alone in a line
    relaxed_rounds: int  # how often cuts are sought for what would be hidden if parts of a cell could be
    settling: int  # how often the conditions are solved with the cuts of their last solution, before it is completed
    rounds: int  # how often a solution is completed, the conditions knowing what the last one came upon
    growing_rounds: int  # how often cuts only add to what is hidden, before ways round are sought
    each: int  # cuts for each part of the system in a round
    alone: int  # so many wanting cells are helped one by one; more are helped half at a time
    trials: int  # how many rows of each part are tried at the end whether they were needed


#: A month of a small network is protected while its indicators are published.
QUICK: Final = Effort(
    gap=0.05, nodes=1, together=500, in_company=False, relaxed_rounds=0, settling=1,
    rounds=1, growing_rounds=0, each=0, alone=4, trials=0,
)  # fmt: skip
#: A large table that is protected once.
LARGE: Final = Effort(
    gap=0.005, nodes=50, together=1, in_company=True, relaxed_rounds=0, settling=6,
    rounds=2, growing_rounds=4, each=200, alone=40, trials=20,
)  # fmt: skip
#: A table that is protected once, and whose cost is compared with the bound.
THOROUGH: Final = Effort(
    gap=0.005, nodes=50, together=1, in_company=True, relaxed_rounds=50, settling=1,
    rounds=4, growing_rounds=0, each=30, alone=40, trials=400,
)  # fmt: skip
#: A table with few sensitive cells.
PATIENT: Final = replace(THOROUGH, rounds=12)


#: The cost of fewer rows could tell what they hold.
_ENOUGH_TO_TELL: Final = 30
#: By so much, as a share, a cost may be less than its bound.
_ROUNDING: Final = 1e-6


class InvalidBound(Exception):
    """A protection costs less than was proven that any must: some condition that was taken to be necessary is not."""


@dataclass(frozen=True)
class Suppression:
    """Which rows are hidden, what those beyond the given ones cost, and what any protection must cost at least.

    `room`: solutions that were seen on the way. They stand for what is hidden unless some of it was shown again.
    """

    hidden: Booleans
    cost: float
    bound: float
    room: Spread

    def claims(self, system: System, cells: Integers) -> tuple[Iterator[Numbers], Moves]:
        """What was seen to be possible, as numbers of these `cells`, for an attacker to put to the test."""
        place = np.full(system.cell_count, -1, dtype=np.int64)
        place[cells] = np.arange(len(cells))
        small = self.room.movements
        told = place[small.cell] >= 0
        moves = Moves(system.values[cells], small.movement[told], place[small.cell[told]], small.by[told])
        return ((system.values + moved)[cells] for moved in self.room.solutions()), moves


def paid_for(cost: float, bound: float, rows: int) -> dict[str, Any]:
    """The cost of so many `rows` as a certificate tells it: against its bound, by hundredths, rounded up.

    The cost itself is made of the numbers that were hidden: of a few of them it would tell which they are, and so would
    the ratio. None is told of fewer than thirty rows, nor where nothing had to be paid.
    """
    is_told = bound > 0 and rows >= _ENOUGH_TO_TELL
    ratio = math.ceil(round(100.0 * cost / bound, 6)) / 100.0 if is_told else None
    return {
        "unit": "sum of the square roots of the values hidden beside the sensitive ones",
        "times_the_proven_lower_bound": ratio,
    }


def suppress(
    system: System, hidden_rows: Booleans, effort: Effort, *, least: float = 0.0, persons: Sequence[Integers] = ()
) -> Suppression:
    """`hidden_rows` and what must be hidden beside them. Raises `Impossible`, `InvalidBound`.

    `least`: the room that hidden cells need that are not sensitive. Deterministic: the same system, the same rows. The
    bound holds for every protection that hides `hidden_rows`. `persons`: cells that are known to be of one person each,
    beside what the system says of that.
    """
    can_hide = np.zeros(system.cell_count, dtype=bool)
    can_hide[system.shown_cell] = True
    base = hidden_rows | system.rows_showing(np.flatnonzero((system.widths > 0) & can_hide))
    covering, insiders = Covering(system, base, in_company=effort.in_company), Insiders.of(system, persons)
    covering.add(conditions(system, insiders, base))
    bound, prices = _relaxed(system, covering, base, effort)
    found = [
        _protected(system, covering, insiders, base, base, Spread(system), price, effort, least, bound)
        for price in prices
    ]
    for _ in range(effort.rounds):
        conditions_met = covering.count
        cover, spread = _settled(system, covering, base, effort)
        bound = max(bound, cover.bound)
        found.append(
            _protected(system, covering, insiders, base, cover.hidden, spread, system.costs, effort, least, bound)
        )
        paid = min(_cost(system, one.hidden & ~base) for one in found)
        if covering.count == conditions_met or paid <= bound * (1.0 + effort.gap):
            break
    best = min(found, key=lambda one: _cost(system, one.hidden))
    cost = _cost(system, best.hidden & ~base)
    if bound > cost + _ROUNDING * max(1.0, cost):
        raise InvalidBound(f"{cost} was paid, and less than {bound} should not be enough")
    return Suppression(best.hidden, cost, min(bound, cost), best.room)  # but for rounding it is less


@dataclass(frozen=True)
class _Protection:
    hidden: Booleans
    room: Spread


def _relaxed(system: System, covering: Covering, base: Booleans, effort: Effort) -> tuple[float, list[Numbers]]:
    """The bound where parts of cells can be hidden, and prices by which its solution is nearly free."""
    least, prices = 0.0, []
    for _ in range(effort.relaxed_rounds):
        fractions, value = covering.fractions(base)
        spread = Spread(system)
        cuts = search(system, Box.hiding_in_part(system, fractions), spread, each=effort.each)
        least = max(least, value)
        if not len(cuts.need):
            break
        covering.add(cuts)
    if effort.relaxed_rounds:
        in_rows = np.ones(system.row_count)
        np.minimum.at(in_rows, system.shown_row, fractions[system.shown_cell])
        prices = [system.costs * np.maximum(1.0 - in_rows, 0.01)]
    return least, prices


def _settled(system: System, covering: Covering, base: Booleans, effort: Effort) -> tuple[Cover, Spread]:
    """The cheapest rows that fulfil the conditions, which grow by what those rows lack; and the room that they give."""
    for _ in range(effort.settling):
        cover, spread = covering.cheapest(base, effort.gap, effort.nodes, effort.together), Spread(system)
        cuts = search(system, Box.hiding(system, cover.hidden), spread, each=effort.each)
        covering.add(cuts)
        if not len(cuts.need):
            break
    return cover, spread


def _protected(
    system: System,
    covering: Covering,
    insiders: Insiders,
    base: Booleans,
    hidden: Booleans,
    spread: Spread,
    prices: Numbers,
    effort: Effort,
    least: float,
    bound: float,
) -> _Protection:
    """`hidden` and what gives every cell its room, less what is not needed for it; and `spread`, where it is seen.

    `bound`: what it costs at least; rows that are not needed are no longer looked for where little is paid beyond that.
    """
    stuck = np.zeros(system.cell_count, dtype=bool)  # cells that nothing helped when they were tried by themselves
    is_better_nearby = better_nearby(system)
    tried = np.zeros(system.cell_count, dtype=np.int64)  # how often a cell found no way round nearby
    fruitless = 0  # turns in which helping several at once helped nobody
    for turn in range(_ROUNDS):
        by_cuts = turn < effort.growing_rounds
        patience = turn - effort.growing_rounds
        each = effort.each if by_cuts else min(max(patience - 1, 0), 5)
        cuts = search(system, Box.hiding(system, hidden), spread, each=each)
        wanting = np.flatnonzero(spread.narrow)
        if not len(wanting) and spread.least < least:
            spread.least = least  # sensitive cells are safe: now those that are hidden for their sake
            continue
        if not len(wanting):
            safe = guarded(system, insiders, hidden, spread, prices)
            covering.add(safe.cuts)
            if (safe.hidden == hidden).all():
                thinned = _thinned(system, insiders, base, hidden, safe.lost, spread, effort, bound)
                return _Protection(thinned, spread)
            hidden = safe.hidden
            continue
        if by_cuts:
            covering.add(cuts)
            hidden = covering.cheapest(hidden, effort.gap, effort.nodes, effort.together).hidden
            continue
        hopeful = wanting[~stuck[wanting]]
        if not len(hopeful):
            break
        if len(scattered := hopeful[is_better_nearby(hopeful) & (tried[hopeful] < len(_AROUND))]):
            around = np.array(_AROUND)[tried[scattered]]
            hidden = helped_nearby(system, hidden, spread, scattered, prices, around)
            tried[scattered[spread.narrow[scattered]]] += 1
            continue
        before = hidden
        if len(hopeful) > effort.alone and fruitless < _PATIENCE:
            tossed = coin(hopeful, turn)
            some = hopeful[tossed] if tossed.any() else hopeful
            hidden = detoured(system, hidden, spread, some, prices)
            helped = not spread.narrow[some].all()
            fruitless += 1
        else:  # whoever found room on the way of another one needs no way of his own
            for target in hopeful.tolist():
                if spread.narrow[target]:
                    hidden = detoured(system, hidden, spread, np.array([target], dtype=np.int64), prices)
            helped = not spread.narrow[hopeful].all()
            stuck[hopeful[spread.narrow[hopeful]]] = True
        if helped or (hidden > before).any():
            stuck[:], fruitless = False, 0
    raise Impossible(wanting.tolist())


def _thinned(
    system: System,
    insiders: Insiders,
    base: Booleans,
    hidden: Booleans,
    lost: Pairs,
    seen: Spread,
    effort: Effort,
    bound: float,
) -> Booleans:
    """`hidden` less the dearest rows that turn out not to be needed, tried one at a time in each part of the system."""
    hidden = hidden.copy()
    of_cell = parts(system, hidden)
    first_cell = np.zeros(system.row_count, dtype=np.int64)
    first_cell[system.shown_row[::-1]] = system.shown_cell[::-1]
    candidates = np.flatnonzero(hidden & ~base)
    candidates = candidates[np.lexsort((candidates, -system.costs[candidates]))]
    solutions = Spread(system)
    solutions.join(seen)
    for _ in range(effort.trials):
        if not len(candidates) or _cost(system, hidden & ~base) <= bound * (1.0 + effort.gap):
            break
        part = of_cell[first_cell[candidates]]
        _, first = np.unique(part, return_index=True)
        tried = candidates[first]
        trial = hidden.copy()
        trial[tried] = False
        spread = Spread(system, np.isin(of_cell, part[first]))
        search(system, Box.hiding(system, trial), spread, each=1)
        solutions.join(spread)
        concerned = np.isin(of_cell, part[first]) & ~np.isin(of_cell, of_cell[spread.narrow])
        found = exposed(system, insiders, trial, solutions, concerned, lost)
        needed = np.isin(part[first], of_cell[spread.narrow | found])
        hidden[tried[~needed]] = False
        candidates = np.delete(candidates, first)
    return hidden


def _cost(system: System, rows: Booleans) -> float:
    return float(system.costs[rows].sum())
