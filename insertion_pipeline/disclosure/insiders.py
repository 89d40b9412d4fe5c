"""Who stands alone behind a hidden number knows it: what that gives away of the others, and what to hide against it.

Belongs here: the insiders of a system, the numbers that each could work out, the rows that keep them from it. Does not
belong here: readers who know nothing of their own (`room`, `detours`); the attacker has insiders of its own.

An insider knows the cells behind which nobody but himself stands, and everything published. Of every other sensitive
cell he must be left at least two values `INSIDER_WIDTH` apart. Solutions in which his own cells do not move show that:
movements of few cells first (`circuits`), then halves of all insiders are held still at once, by tosses that never
change, and only who is left is asked by himself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from insertion_pipeline.disclosure.circuits import Movements, smallest
from insertion_pipeline.disclosure.detours import detoured
from insertion_pipeline.disclosure.room import Box, Cuts, Spread, coin, condensed, parts, search
from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers, at_once
from insertion_pipeline.disclosure.system import System, connected

#: How far apart two values of a sensitive cell must be that an insider cannot tell from each other.
INSIDER_WIDTH: Final = 1.0
#: How often half of the insiders are held still together.
_TOSSES: Final = 16
#: Tossing ends when it leaves more than this share of the pairs.
_WORTH_TOSSING: Final = 0.75
#: Points tried of those who are held still, before cells are asked about one by one.
_POINTS: Final = 6
#: So few cells are not held together, but each by itself.
_FEW: Final = 20
#: So many insiders are looked at before anything is hidden against them.
_AHEAD: Final = 8
_SLIGHTLY: Final = 1e-6
_ENOUGH: Final = 1_000_000


_Turn = tuple[Integers, Integers]  # cells to hold still, cells to ask about


@dataclass(frozen=True)
class Insiders:
    """One entry per cell behind which somebody stands alone: the cell, and the number of who that is."""

    cell: Integers
    who: Integers

    @classmethod
    def of(cls, system: System, persons: Sequence[Integers] = ()) -> Insiders:
        """The insiders of a system, one behind all cells that sums make one number.

        A sum of one part that is not zero is that part; two differences of the same two numbers are one. `persons`:
        cells that are known to be of one person each.
        """
        present = (system.values != 0)[system.line_cell]
        count = np.bincount(system.line[present], minlength=system.line_count)
        one, other = np.flatnonzero(present & (count == 2)[system.line]).reshape(-1, 2).T
        same = system.line_sign[one] * system.line_sign[other] < 0
        first, second = system.line_cell[one[same]], system.line_cell[other[same]]
        who = connected(system.cell_count, first, second)
        terms = np.flatnonzero(present & (count == 3)[system.line]).reshape(-1, 3)
        cell, others = _differences(system, terms, who)
        again = np.flatnonzero((others[1:] == others[:-1]).all(axis=1))
        who = connected(
            system.cell_count,
            np.concatenate([first, cell[again], *(cells[:-1] for cells in persons)]),
            np.concatenate([second, cell[again + 1], *(cells[1:] for cells in persons)]),
        )
        cells = np.flatnonzero(system.alone)
        return cls(cells.astype(np.int64), who[cells])

    def of_each_cell(self, system: System) -> Integers:
        """Per cell, who stands alone behind it; -1 where nobody does."""
        who = np.full(system.cell_count, -1, dtype=np.int64)
        who[self.cell] = self.who
        return who


def _differences(system: System, terms: Integers, who: Integers) -> tuple[Integers, Integers]:
    """Each of three `terms` as what the two others make it: the cell, and those two with their signs, in order."""
    found = []
    for turn in range(3):
        own, *rest = (terms[:, (turn + step) % 3] for step in range(3))
        signed = [
            who[system.line_cell[term]] * 2 + (system.line_sign[term] * system.line_sign[own] > 0) for term in rest
        ]
        found.append((system.line_cell[own], np.sort(np.stack(signed, axis=1), axis=1)))
    cell, others = (np.concatenate(columns) for columns in zip(*found, strict=True))
    order = np.lexsort((cell, others[:, 1], others[:, 0]))
    return cell[order], others[order]


@dataclass(frozen=True)
class Pairs:
    """Insiders, each with a sensitive cell that he may be able to work out: one entry per pair."""

    who: Integers
    part: Integers  # the part of the system that both are in
    victim: Integers

    @classmethod
    def none(cls) -> Pairs:
        """No pair at all."""
        nobody = np.zeros(0, dtype=np.int64)
        return cls(nobody, nobody, nobody)

    def beside(self, others: Pairs) -> Pairs:
        """The pairs less those of the same two as one of the `others`, in whatever part they are."""
        least = 1 + max(int(one.victim.max(initial=0)) for one in (self, others))
        return self.filter(~np.isin(self.who * least + self.victim, others.who * least + others.victim))

    def filter(self, kept: Booleans) -> Pairs:
        """Some of the pairs."""
        return Pairs(self.who[kept], self.part[kept], self.victim[kept])


@dataclass(frozen=True)
class Guarded:
    """Rows that keep insiders away, the pairs that nothing can keep apart, and conditions met on the way."""

    hidden: Booleans
    lost: Pairs
    cuts: Cuts


def conditions(system: System, insiders: Insiders, hidden_rows: Booleans) -> Cuts:
    """What lines demand in which nothing is hidden but an insider's cell and a sensitive one: a third cell."""
    who = insiders.of_each_cell(system)
    unknown = ~system.visible(hidden_rows)
    at = np.flatnonzero(unknown[system.line_cell])
    count = np.bincount(system.line[at], minlength=system.line_count)
    at = at[(count == 2)[system.line[at]]]
    pairs = system.line_cell[at].reshape(-1, 2)
    first = np.concatenate([pairs[:, 0], pairs[:, 1]])
    second = np.concatenate([pairs[:, 1], pairs[:, 0]])
    line = np.tile(system.line[at].reshape(-1, 2)[:, 0], 2)
    kept = (who[first] >= 0) & (system.widths[second] > 0) & (who[first] != who[second])
    line, target = line[kept], second[kept]
    starts = np.searchsorted(system.line, np.arange(system.line_count + 1))
    length = starts[line + 1] - starts[line]
    condition = np.repeat(np.arange(len(line)), length)
    entry = np.arange(int(length.sum())) + np.repeat(starts[line] - np.cumsum(length) + length, length)
    cell = system.line_cell[entry]
    third = ~unknown[cell] & (system.values[cell] != 0) & ~system.always_visible()[cell]
    cuts = condensed(system, condition[third], cell[third], np.ones(int(third.sum())), np.ones(len(line)), target)
    return _possible(cuts)


def _possible(cuts: Cuts) -> Cuts:
    """The conditions that hiding can fulfil: what must be shown may leave an insider where nothing helps."""
    reach = np.bincount(cuts.condition, weights=cuts.coefficient, minlength=len(cuts.need))
    met = np.flatnonzero(reach >= cuts.need - _SLIGHTLY)
    kept = np.isin(cuts.condition, met)
    condition = np.searchsorted(met, cuts.condition[kept])
    return Cuts(condition, cuts.cell[kept], cuts.coefficient[kept], cuts.need[met], cuts.target[met])


def doubtful(system: System, insiders: Insiders, hidden_rows: Booleans, spread: Spread, *, among: Booleans) -> Pairs:
    """The pairs that no solution shows to be safe, of the sensitive cells `among`; adds its own to `spread`."""
    if not len(insiders.cell):
        return Pairs.none()
    unknown = ~system.visible(hidden_rows)
    part = parts(system, hidden_rows)
    who = insiders.of_each_cell(system)
    victims = np.flatnonzero(among & (system.widths > 0) & unknown)
    known = insiders.cell[unknown[insiders.cell] & np.isin(part[insiders.cell], part[victims])]
    victims = victims[np.isin(part[victims], part[known])]
    keys, of_known = np.unique(part[known] * system.cell_count + who[known], return_inverse=True)
    if not len(keys):
        return Pairs.none()
    needs = np.minimum(system.widths[victims], INSIDER_WIDTH)
    still: list[Booleans] = []  # per solution: which insiders' cells do not move …
    apart: list[Booleans] = []  # … and which victims do, far enough
    for solution in spread.solutions():
        moving = solution != 0
        if not (moving & ~unknown).any():
            moved = np.zeros(len(keys), dtype=bool)
            moved[of_known[moving[known]]] = True
            still.append(~moved)
            apart.append(np.abs(solution[victims]) >= needs - _SLIGHTLY)
    pairs = _unseen(keys, part, who, victims, still, apart, system.cell_count)
    pairs = _unmoved(system, who, pairs, spread.movements.among(unknown))
    wanted = np.where(_only(system, victims), np.minimum(system.widths, INSIDER_WIDTH), 0.0)
    for free in (who >= 0, who < 0):  # an insider's cell that is free moves in one movement only
        found = smallest(system, unknown & np.isin(part, pairs.part), part, wanted, free)
        spread.movements = spread.movements.and_(found)
        pairs = _unmoved(system, who, pairs, found)
    for toss in range(_TOSSES + 1):
        own = known[np.isin(keys[of_known], pairs.part * system.cell_count + pairs.who)]
        held = own if not toss else own[coin(who[own], toss)]
        is_held, asked = _only(system, held), _only(system, pairs.victim)
        asked &= ~is_held
        if len(held) > _FEW and asked.any():
            seen, _ = _held(system, hidden_rows, held, asked, each=0)
            spread.join(seen)
            is_still = np.isin(pairs.part * system.cell_count + pairs.who, keys[of_known[is_held[known]]])
            before = len(pairs.victim)
            pairs = pairs.filter(~(is_still & (asked & ~seen.narrow)[pairs.victim]))
            if toss and len(pairs.victim) > _WORTH_TOSSING * before:
                break
    return pairs


def guarded(system: System, insiders: Insiders, hidden_rows: Booleans, spread: Spread, prices: Numbers) -> Guarded:
    """`hidden_rows` and what keeps every insider from every sensitive cell."""
    everything = np.ones(system.cell_count, dtype=bool)
    pairs = doubtful(system, insiders, hidden_rows, spread, among=everything)
    who = insiders.of_each_cell(system)
    lost = np.zeros(len(pairs.who), dtype=bool)
    cuts: list[Cuts] = []
    for held, seen, found in _met(system, hidden_rows, list(_in_turns(system, insiders, hidden_rows, pairs))):
        cuts.append(found)
        narrow = np.flatnonzero(seen.narrow)
        if not len(narrow):
            spread.join(seen)
            continue
        known = system.known.copy()
        known[held] = True
        informed = replace(system, known=known)
        hidden_rows = detoured(informed, hidden_rows, seen, narrow, prices)
        for victim in np.flatnonzero(seen.narrow).tolist():  # not together with the others: by itself
            hidden_rows = detoured(informed, hidden_rows, seen, np.array([victim], dtype=np.int64), prices)
        spread.join(seen)
        lost |= seen.narrow[pairs.victim] & np.isin(pairs.who, who[held])
    return Guarded(hidden_rows, pairs.filter(lost), Cuts.together(cuts))


def exposed(
    system: System, insiders: Insiders, hidden_rows: Booleans, spread: Spread, among: Booleans, lost: Pairs
) -> Booleans:
    """Which of the sensitive cells `among` some insider could work out to whom they are not `lost` anyhow."""
    found = np.zeros(system.cell_count, dtype=bool)
    pairs = doubtful(system, insiders, hidden_rows, spread, among=among).beside(lost)
    turns = _in_turns(system, insiders, hidden_rows, pairs)

    def narrow(turn: _Turn) -> Booleans:
        return _held(system, hidden_rows, turn[0], _only(system, turn[1]), each=1)[0].narrow

    for one in at_once(narrow, turns):
        found |= one
    return found


def _met(system: System, hidden_rows: Booleans, turns: Sequence[_Turn]) -> Iterator[tuple[Integers, Spread, Cuts]]:
    """What each turn meets with these rows hidden, some turns ahead: it stays true while more is hidden."""

    def met(turn: _Turn) -> tuple[Integers, Spread, Cuts]:
        return turn[0], *_held(system, hidden_rows, turn[0], _only(system, turn[1]), each=_ENOUGH)

    for start in range(0, len(turns), _AHEAD):
        yield from at_once(met, turns[start : start + _AHEAD])


def _held(system: System, hidden_rows: Booleans, held: Integers, asked: Booleans, *, each: int) -> tuple[Spread, Cuts]:
    """How far the cells `asked` about are seen to move while those `held` do not; what too little room demands."""
    box = Box.hiding(system, hidden_rows)
    least, most = box.least.copy(), box.most.copy()
    least[held] = most[held] = 0.0
    seen = Spread(system)
    seen.needs = np.where(asked, np.minimum(system.widths, INSIDER_WIDTH), 0.0)
    cuts = search(system, Box(least, most), seen, each=each, points=_POINTS)
    kept = ~np.isin(cuts.cell, held) & ~system.always_visible()[cuts.cell]  # his own leaves him in no doubt
    left = replace(cuts, condition=cuts.condition[kept], cell=cuts.cell[kept], coefficient=cuts.coefficient[kept])
    return seen, _possible(left)


def _only(system: System, cells: Integers) -> Booleans:
    chosen = np.zeros(system.cell_count, dtype=bool)
    chosen[cells] = True
    return chosen


def _in_turns(system: System, insiders: Insiders, hidden_rows: Booleans, pairs: Pairs) -> Iterator[_Turn]:
    """Cells to hold still and cells to ask about then: one insider of every part at a time."""
    keys, number = np.unique(pairs.part * system.cell_count + pairs.who, return_inverse=True)
    of_insider = parts(system, hidden_rows)[insiders.cell] * system.cell_count + insiders.who
    _, first = np.unique(keys // system.cell_count, return_index=True)
    turn = np.arange(len(keys)) - np.repeat(first, np.diff([*first, len(keys)]))
    for one in range(int(turn.max(initial=-1)) + 1):
        now = turn == one
        held = insiders.cell[np.isin(of_insider, keys[now])]
        yield held, np.unique(pairs.victim[now[number]])


def _unmoved(system: System, who: Integers, pairs: Pairs, movements: Movements) -> Pairs:
    """The pairs of which no movement moves the victim far enough and leaves the insider's cells where they are."""
    needs = np.minimum(system.widths, INSIDER_WIDTH)[movements.cell]
    at = np.flatnonzero(np.abs(movements.by) >= np.maximum(needs, _SLIGHTLY) - _SLIGHTLY)
    at = at[np.argsort(movements.cell[at], kind="stable")]
    starts, ends = (np.searchsorted(movements.cell[at], pairs.victim, side=side) for side in ("left", "right"))
    pair = np.repeat(np.arange(len(starts)), ends - starts)
    entry = at[np.arange(len(pair)) + np.repeat(ends - np.cumsum(ends - starts), ends - starts)]
    known = who[movements.cell] >= 0
    moved = np.unique(movements.movement[known] * system.cell_count + who[movements.cell[known]])
    asked = movements.movement[entry] * system.cell_count + pairs.who[pair]
    found = np.searchsorted(moved, asked)
    still = np.append(moved, -1)[found] != asked
    kept = np.ones(len(pairs.victim), dtype=bool)
    kept[pair[still]] = False
    return pairs.filter(kept)


def _unseen(
    keys: Integers,
    part: Integers,
    who: Integers,
    victims: Integers,
    still: list[Booleans],
    apart: list[Booleans],
    count: int,
) -> Pairs:
    """The pairs of one part that are never seen together: the insider still, the victim apart."""
    held = np.packbits(np.array(still, dtype=bool).reshape(len(still), len(keys)), axis=0)
    wide = np.packbits(np.array(apart, dtype=bool).reshape(len(apart), len(victims)), axis=0)
    part_of_key, name = keys // count, keys % count
    order = np.argsort(part[victims], kind="stable")
    ordered = part[victims][order]
    found: list[tuple[Integers, Integers]] = []
    for one in np.unique(part_of_key).tolist():
        own = np.flatnonzero(part_of_key == one)
        theirs = order[np.searchsorted(ordered, one) : np.searchsorted(ordered, one, side="right")]
        unseen = name[own][:, None] != who[victims[theirs]][None, :]
        for of_key, of_victim in zip(held[:, own], wide[:, theirs], strict=True):  # eight solutions at a time
            unseen &= (of_key[:, None] & of_victim[None, :]) == 0
        at, victim = np.nonzero(unseen)
        found.append((own[at], theirs[victim]))
    key, victim = (np.concatenate([np.zeros(0, dtype=np.int64), *column]) for column in zip(*found, strict=True))
    return Pairs(name[key], part_of_key[key], victims[victim])
