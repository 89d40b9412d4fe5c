"""What follows from equations with unknowns: the attacker's arithmetic.

Belongs here: the one possible value of an unknown, the interval that it lies in, for real and for whole numbers. Does
not belong here: what the equations are (`attacker`, `cube_attacker` read them off what is published), the protector's
programs, which are written around a truth that nobody knows here.

Three ways, each exact in what it says. *Points*: two solutions that differ in an unknown prove that it is not
determined, and that it may lie anywhere between; whoever brings a solution, it is put into every equation first.
*Intervals*: the least and the greatest value by linear programming, or, among whole numbers, by integer programming.
*Elimination*, modulo a prime, for the unknowns that no two points tell apart.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from insertion_pipeline.disclosure.solving import Entries, LinearProgram, Unsolved, at_once, least_cost

_PRIME: Final = (1 << 61) - 1
#: Hidden sums have decimals: elimination works on whole multiples of this.
_GRAIN: Final = 1_000_000
_SAME: Final = 1e-6
#: Unknowns solved in one program: parts that no equation links, as many as make up this.
_BATCH: Final = 4_000
#: Points tried before unknowns are asked one by one.
_POINTS: Final = 10
#: So few unknowns of a part of which some solution is known are asked at once.
_FEW: Final = 20
#: Integer programs are solved for so many unknowns at most that no solution in whole numbers was seen to spread.
_WHOLE_SAMPLE: Final = 25
#: How often insiders are told their numbers together, all of them and then half, …
_INSIDER_TURNS: Final = 8
#: … and how many of one part of the system are asked by themselves at most.
_INSIDERS_ASKED: Final = 1_000
#: So few pairs are not told together.
_FEW_PAIRS: Final = 20
#: No unknown is looked for beyond this: where nothing bounds it, its interval is as wide as anybody needs.
_FAR: Final = 1e7
_DIRECTIONS: Final = (1.0, -1.0)


class NoSolution(Exception):
    """What is published contradicts itself."""


@dataclass(frozen=True)
class Intervals:
    """Per unknown, two values that it takes in some solution, least and greatest of those that were looked at.

    Exact where `is_exact`; elsewhere the true interval is wider still. `whole_low` and `whole_high` are the same among
    the solutions in which everything that is counted is a whole number (exact where `is_exact_in_whole`); the first
    above the second where none was seen. What is as wide as asked is looked at no further.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    is_exact: NDArray[np.bool_]
    whole_low: NDArray[np.float64]
    whole_high: NDArray[np.float64]
    is_exact_in_whole: NDArray[np.bool_]


@dataclass(frozen=True)
class Betrayals:
    """What insiders find: one entry per pair of an insider and an unknown that he knows more closely than he may."""

    insider: NDArray[np.int64]
    unknown: NDArray[np.int64]
    #: How many insiders share a part of the system with an unknown of somebody else's.
    insiders: int
    #: Pairs that were neither seen to be safe nor asked about: there were too many.
    undecided: int


@dataclass(frozen=True)
class Moves:
    """Solutions that somebody claims: the numbers `around`, and others in which only few unknowns differ from them.

    One entry per (move, unknown that differs), and by how much.
    """

    around: NDArray[np.float64]
    move: NDArray[np.int64]
    unknown: NDArray[np.int64]
    by: NDArray[np.float64]


@dataclass(frozen=True)
class Unknowns:
    """Equations with unknowns: one entry per (equation, unknown), the right-hand sides, the least value of each.

    `whole`: which unknowns are counts.
    """

    equation: NDArray[np.int64]
    unknown: NDArray[np.int64]
    sign: NDArray[np.float64]
    right: NDArray[np.float64]
    floors: NDArray[np.float64]
    whole: NDArray[np.bool_]

    @property
    def count(self) -> int:
        return len(self.floors)

    def intervals(
        self, needs: NDArray[np.float64], claimed: Iterable[NDArray[np.float64]] = (), *, in_whole: float = np.inf
    ) -> Intervals:
        """The interval of each unknown, looked at until it is seen to be `needs` wide, or to be narrower.

        A need of zero: not asked about. Among whole numbers, a sample is asked of the counts that need more than
        `in_whole` and were not seen to be so wide. `claimed`: what somebody says are solutions; each counts for the
        parts of the system where it fulfils every equation, and for nothing elsewhere. Raises `NoSolution`.
        """
        settled = self._settled()
        open_ = np.isnan(settled)
        low, high, is_exact = settled.copy(), settled.copy(), ~open_
        whole_low, whole_high = settled.copy(), settled.copy()
        rest = self._without(settled)
        part = rest._parts()
        found = _Found(needs[open_], part, rest.whole)
        for point in claimed:
            solves = rest._solves(point[open_], part)
            found.add(np.flatnonzero(solves), point[open_][solves])
        wanting = np.bincount(part[found.wanting], minlength=rest.count + 1)
        unclear = _batches(part, np.isin(part, part[(wanting[part] > _FEW) | ~found.seen]))
        at_once(lambda unknowns: _Batch(rest, unknowns, part, found).look(), unclear)
        narrow = _batches(part, np.isin(part, part[found.wanting]))
        at_once(lambda unknowns: _Batch(rest, unknowns, part, found).ask(), narrow)
        sample = _sampled(np.flatnonzero(found.wanting_in_whole & (found.needs > in_whole))).tolist()
        for unknown, (cells, points) in zip(sample, at_once(partial(rest._in_whole, found), sample), strict=True):
            for point in points:
                found.add(cells, point)
            found.is_exact_in_whole[unknown] = len(points) == len(_DIRECTIONS)
        low[open_], high[open_], is_exact[open_] = found.low, found.high, found.is_exact
        whole_low[open_], whole_high[open_] = found.whole_low, found.whole_high
        is_exact_in_whole = ~open_
        is_exact_in_whole[open_] = found.is_exact_in_whole
        return Intervals(low, high, is_exact, whole_low, whole_high, is_exact_in_whole)

    def betrayals(
        self,
        who: NDArray[np.int64],
        alone: NDArray[np.float64],
        needs: NDArray[np.float64],
        claimed: Iterable[NDArray[np.float64]] = (),
        moves: Moves | None = None,
    ) -> Betrayals:
        """What those find who know some unknowns for certain: `who` that is (-1: nobody), and the number `alone`.

        `claimed` as above, and `moves` likewise; halves of all insiders who are left are told their numbers at once;
        whoever is not shown to be safe by that is told his by himself.
        """
        part = self._parts()
        inside, sought = np.flatnonzero(who >= 0), np.flatnonzero(needs > 0)
        inside = inside[np.isin(part[inside], part[sought])]
        sought = sought[np.isin(part[sought], part[inside])]
        names, number = np.unique(who[inside], return_inverse=True)
        if not len(names):
            return Betrayals(np.zeros(0, dtype=np.int64), np.zeros(0, dtype=np.int64), 0, 0)
        fits = np.zeros(self.count, dtype=bool)
        if moves is not None:  # where they start is one thing that may be when all know their own
            is_another = (who >= 0) & (np.abs(moves.around - alone) > _SAME)
            fits = self._solves(np.where(is_another, np.nan, moves.around), part)
        wanted = np.where((who >= 0) | fits, 0.0, needs)
        whole = self._told(inside, alone, wanted, part) if wanted.any() else _Found(wanted, part, self.whole)
        reference = np.where(whole.seen, whole.low, np.nan)
        if moves is not None:
            reference[fits] = moves.around[fits]
        still, apart = [np.ones(len(inside), dtype=bool)], [((wanted > 0) & ~whole.wanting)[sought]]
        for point in claimed:
            with np.errstate(invalid="ignore"):
                solves = self._solves(point, part)
                moved = np.isin(number, number[~(solves[inside] & (np.abs(point - alone) < _SAME)[inside])])
                still.append(~moved)
                apart.append((solves & (np.abs(point - reference) >= needs - _SAME))[sought])
        pairs = _Pairs.unseen(part[inside], who[inside], part[sought], who[sought], np.array(still), np.array(apart))
        if moves is not None:
            pairs = self._unmoved(pairs, inside, number, sought, needs, part, moves, fits)
        for turn in range(_INSIDER_TURNS):
            if len(pairs.known) <= _FEW_PAIRS:
                break
            wanted = np.zeros(self.count)
            wanted[sought[pairs.sought]] = needs[sought[pairs.sought]]
            asking = inside[np.isin(number, number[pairs.known])]
            held = asking[_tossed(who[asking], turn)]
            wanted[held] = 0.0
            if wanted.any():
                found = self._told(held, alone, wanted, part)
                safe = (wanted > 0) & ~found.wanting
                pairs = pairs.filter(~(np.isin(inside, held)[pairs.known] & safe[sought[pairs.sought]]))
        return self._asked(names, inside, number, sought, alone, needs, part, pairs)

    def still_betrayed(
        self,
        pairs: Sequence[tuple[int, int]],
        who: NDArray[np.int64],
        alone: NDArray[np.float64],
        needs: NDArray[np.float64],
    ) -> set[tuple[int, int]]:
        """Which `pairs` of an insider and an unknown that he knows elsewhere he knows here too; the rest as above."""
        inside = np.flatnonzero(np.isin(who, [insider for insider, _ in pairs]))
        sought = np.unique(np.array([unknown for _, unknown in pairs], dtype=np.int64))
        names, number = np.unique(who[inside], return_inverse=True)
        part, nothing = self._parts(), np.zeros((1, 1), dtype=bool)
        every = _Pairs.unseen(
            part[inside], who[inside], part[sought], who[sought],
            nothing.repeat(len(inside), axis=1), nothing.repeat(len(sought), axis=1),
        )  # fmt: skip
        found = zip(who[inside[every.known]].tolist(), sought[every.sought].tolist(), strict=True)
        asked = every.filter(np.array([pair in set(pairs) for pair in found], dtype=bool))
        told = self._asked(names, inside, number, sought, alone, needs, part, asked)
        return set(zip(told.insider.tolist(), told.unknown.tolist(), strict=True))

    def _unmoved(
        self,
        pairs: _Pairs,
        inside: NDArray[np.int64],
        number: NDArray[np.int64],
        sought: NDArray[np.int64],
        needs: NDArray[np.float64],
        part: NDArray[np.int64],
        moves: Moves,
        fits: NDArray[np.bool_],
    ) -> _Pairs:
        """The pairs for which no move leaves the insider's numbers as they are and makes the number sought another."""
        move, unknown, by = self._refuted(moves, part, fits)
        person = np.full(self.count, -1, dtype=np.int64)
        person[inside] = number
        starts = np.searchsorted(unknown, np.arange(self.count + 1))  # sorted by unknown
        far = np.abs(by) >= needs[unknown] - _SAME
        held = np.unique(move[person[unknown] >= 0] * (len(number) + 1) + person[unknown[person[unknown] >= 0]])
        left = np.ones(len(pairs.known), dtype=bool)
        length = (starts[1:] - starts[:-1])[sought[pairs.sought]]
        pair = np.repeat(np.arange(len(length)), length)
        entry = np.arange(len(pair)) - np.repeat(np.cumsum(length) - length, length)
        entry += starts[sought[pairs.sought]][pair]
        moving = np.isin(move[entry] * (len(number) + 1) + number[pairs.known][pair], held)
        left[pair[far[entry] & ~moving]] = False
        return pairs.filter(left)

    def _refuted(
        self, moves: Moves, part: NDArray[np.int64], fits: NDArray[np.bool_]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """What is left of `moves`, by unknown, less those that break an equation or fall below a least value."""
        order = np.argsort(moves.unknown, kind="stable")
        move, unknown, by = moves.move[order], moves.unknown[order], moves.by[order]
        sorted_by = np.argsort(self.unknown, kind="stable")
        starts = np.searchsorted(self.unknown[sorted_by], np.arange(self.count + 1))
        length = (starts[1:] - starts[:-1])[unknown]
        at = np.repeat(np.arange(len(length)), length)
        entry = sorted_by[np.arange(len(at)) - np.repeat(np.cumsum(length) - length, length) + starts[unknown][at]]
        sums, of_entry = np.unique(move[at] * len(self.right) + self.equation[entry], return_inverse=True)
        change = np.bincount(of_entry, weights=self.sign[entry] * by[at], minlength=len(sums))
        refuted = np.zeros(int(move.max(initial=-1)) + 1, dtype=bool)
        refuted[(sums // max(len(self.right), 1))[np.abs(change) > _SAME]] = True
        with np.errstate(invalid="ignore"):
            refuted[move[~fits[unknown] | ~(moves.around[unknown] + by >= self.floors[unknown] - _SAME)]] = True
        kept = ~refuted[move]
        return move[kept], unknown[kept], by[kept]

    def _told(
        self,
        held: NDArray[np.int64],
        alone: NDArray[np.float64],
        needs: NDArray[np.float64],
        part: NDArray[np.int64],
        *,
        exactly: bool = False,
    ) -> _Found:
        """What is seen of the unknowns in the parts asked about by somebody who is told those `held`."""
        asked = np.isin(part, part[needs > 0])
        known = np.where(asked, np.nan, 0.0)
        known[held] = alone[held]
        rest = self._without(known)
        open_ = np.isnan(known)
        inner = _Found(needs[open_], rest._parts(), rest.whole)

        def look(unknowns: NDArray[np.int64]) -> None:
            batch = _Batch(rest, unknowns, inner.part, inner)
            if not exactly or np.count_nonzero(inner.needs[unknowns]) > 1:
                batch.look()
            if exactly:
                batch.ask()

        asked = np.isin(inner.part, inner.part[inner.needs > 0]) if exactly else np.ones(rest.count, dtype=bool)
        at_once(look, _batches(inner.part, asked))
        found = _Found(needs, part, self.whole)
        found.low[open_], found.high[open_] = inner.low, inner.high
        found.low[held] = found.high[held] = alone[held]
        return found

    def _asked(
        self,
        names: NDArray[np.int64],
        inside: NDArray[np.int64],
        number: NDArray[np.int64],
        sought: NDArray[np.int64],
        alone: NDArray[np.float64],
        needs: NDArray[np.float64],
        part: NDArray[np.int64],
        pairs: _Pairs,
    ) -> Betrayals:
        """One insider of every part at a time is told his number, and his exact intervals are looked at."""
        at, victim = pairs.known, pairs.sought
        keys, of_pair = np.unique(np.stack([part[inside[at]], number[at]]), axis=1, return_inverse=True)
        of_pair = of_pair.reshape(-1)
        _, first = np.unique(keys[0], return_index=True)
        turn = np.arange(keys.shape[1]) - np.repeat(first, np.diff([*first, keys.shape[1]]))

        def betrayed(now: int) -> list[tuple[int, int]]:
            chosen = np.flatnonzero(turn == now)
            mine = np.isin(of_pair, chosen)
            own = np.isin(part[inside], keys[0, chosen]) & np.isin(number, keys[1, chosen])
            wanted = np.zeros(self.count)
            wanted[sought[victim[mine]]] = needs[sought[victim[mine]]]
            found = self._told(inside[own], alone, wanted, part, exactly=True)
            narrow = found.wanting[sought[victim]] & mine
            return list(zip(names[number[at[narrow]]].tolist(), sought[victim[narrow]].tolist(), strict=True))

        turns = at_once(betrayed, range(min(int(turn.max(initial=-1)) + 1, _INSIDERS_ASKED)))
        insider, unknown = np.array([pair for found in turns for pair in found], dtype=np.int64).reshape(-1, 2).T
        return Betrayals(insider, unknown, len(names), int((turn[of_pair] >= _INSIDERS_ASKED).sum()))

    def _solves(self, point: NDArray[np.float64], part: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which unknowns stand in parts where `point` is a solution; NaN solves nothing."""
        with np.errstate(invalid="ignore"):
            left = np.bincount(self.equation, weights=self.sign * point[self.unknown], minlength=len(self.right))
            broken = ~(np.abs(left - self.right) <= _SAME * np.maximum(1.0, np.abs(self.right)))
            refuted = ~(point >= self.floors - _SAME)
        bad = np.zeros(int(part.max(initial=-1)) + 1, dtype=bool)
        bad[part[self.unknown[broken[self.equation]]]] = True
        bad[part[refuted]] = True
        return ~bad[part]

    def _settled(self) -> NDArray[np.float64]:
        """What single equations give away, one after the other: an unknown alone, or all of them at their least."""
        value = np.full(self.count, np.nan)
        right, count = self.right.astype(np.float64), len(self.right)
        while True:
            at = np.isnan(value[self.unknown])
            equation, sign = self.equation[at], self.sign[at]
            floors = self.floors[self.unknown[at]]
            unknowns = np.bincount(equation, minlength=count)
            upwards = np.bincount(equation[sign > 0], minlength=count)
            spare = np.abs(right - np.bincount(equation, weights=sign * floors, minlength=count))
            least = ((upwards == 0) | (upwards == unknowns)) & (unknowns > 0) & (spare < _SAME)
            told = (least | (unknowns == 1))[equation]
            if not told.any():
                return value
            given = np.where(least[equation], floors, right[equation] / sign)
            found, first = np.unique(self.unknown[at][told], return_index=True)
            value[found] = given[told][first]
            if (value[found] < self.floors[found] - _SAME).any():
                raise NoSolution("an unknown alone in its equation is below its least value")
            now = at & ~np.isnan(value[self.unknown])
            right -= np.bincount(self.equation[now], weights=self.sign[now] * value[self.unknown[now]], minlength=count)

    def _without(self, settled: NDArray[np.float64]) -> Unknowns:
        """The equations that are left when some unknowns are settled (not NaN)."""
        open_ = np.isnan(settled)
        known = ~open_[self.unknown]
        taken = np.bincount(
            self.equation[known],
            weights=self.sign[known] * settled[self.unknown[known]],
            minlength=len(self.right),
        )
        equations, equation = np.unique(self.equation[~known], return_inverse=True)
        return Unknowns(
            equation.astype(np.int64),
            (np.cumsum(open_) - 1)[self.unknown[~known]],
            self.sign[~known],
            (self.right - taken)[equations],
            self.floors[open_],
            self.whole[open_],
        )

    def whole_interval(self, unknown: int) -> tuple[float, float]:
        """The least and greatest value of an unknown where counts are whole numbers; infinite where none are."""
        found = _Found(np.full(self.count, _FAR), self._parts(), self.whole)
        cells, points = self._in_whole(found, unknown)
        for point in points:
            found.add(cells, point)
        return float(found.whole_low[unknown]), float(found.whole_high[unknown])

    def _in_whole(self, found: _Found, unknown: int) -> tuple[NDArray[np.int64], Sequence[NDArray[np.float64]]]:
        """The unknowns of the part of `unknown`, and solutions of least and greatest value of it in whole numbers."""
        cells = np.flatnonzero(found.part == found.part[unknown])
        batch = _Batch(self, cells, found.part, found)
        return cells, batch.ends_in_whole(int(np.searchsorted(cells, unknown)))

    def _parts(self) -> NDArray[np.int64]:
        """The number of the part that equations link each unknown to."""
        return linked(self.unknown, self.equation, self.count)

    def solutions(self, doubtful: NDArray[np.bool_]) -> NDArray[np.float64]:
        """The one possible value of each `doubtful` unknown by elimination, NaN when there are several."""
        part = self._parts()
        concerned = np.isin(part, np.unique(part[doubtful]))
        smaller = self._without(np.where(concerned, np.nan, 0.0))
        solved = np.full(self.count, np.nan)
        solved[concerned] = smaller._solved()
        return np.where(doubtful, solved, np.nan)

    def _solved(self) -> NDArray[np.float64]:
        pivots = self._eliminated()
        first, second = (self._solution(pivots, seed) for seed in (1, 2))
        solved = np.full(self.count, np.nan)
        for unknown in range(self.count):
            if first[unknown] == second[unknown]:
                number = first[unknown]
                solved[unknown] = (number if number < _PRIME // 2 else number - _PRIME) / _GRAIN
        return solved

    def _eliminated(self) -> list[tuple[int, dict[int, int]]]:
        """The equations in echelon form: (pivot unknown, coefficients modulo the prime; key -1 is the constant).

        An equation that alone holds one of its unknowns needs no elimination: it is peeled off, which leaves others
        alone in turn. Only the core that remains is eliminated.
        """
        rows = self._rows()
        holders: list[set[int]] = [set() for _ in range(self.count)]
        for number, row in enumerate(rows):
            for unknown in row.keys() - {-1}:
                holders[unknown].add(number)
        pivots: list[tuple[int, dict[int, int]]] = []
        alone = [unknown for unknown, held in enumerate(holders) if len(held) == 1]
        while alone:
            pivot = alone.pop()
            if len(holders[pivot]) != 1:
                continue
            (number,) = holders[pivot]
            pivots.append((pivot, rows[number]))
            for unknown in rows[number].keys() - {-1}:
                holders[unknown].discard(number)
                if len(holders[unknown]) == 1:
                    alone.append(unknown)
        core = sorted(set().union(*holders), key=lambda number: (len(rows[number]), number))
        return pivots + _echelon([rows[number] for number in core], [len(held) for held in holders])

    def _rows(self) -> list[dict[int, int]]:
        """Each equation as coefficients modulo the prime; key -1 is the constant."""
        starts = np.searchsorted(self.equation, np.arange(len(self.right) + 1)).tolist()
        unknowns, signs = self.unknown.tolist(), self.sign.tolist()
        rows: list[dict[int, int]] = []
        for number, right in enumerate(self.right.tolist()):
            row = {-1: -round(right * _GRAIN) % _PRIME}
            for entry in range(starts[number], starts[number + 1]):
                row[unknowns[entry]] = (row.get(unknowns[entry], 0) + int(signs[entry])) % _PRIME
            rows.append({unknown: factor for unknown, factor in row.items() if factor})
        return rows

    def _solution(self, pivots: list[tuple[int, dict[int, int]]], seed: int) -> list[int]:
        """One solution, the free unknowns set to fixed scattered numbers: two of them agree only where there is one."""
        solution = [_scattered(unknown, seed) for unknown in range(self.count)]
        for pivot, row in reversed(pivots):
            total = row.get(-1, 0)
            for unknown, factor in row.items():
                if unknown not in (-1, pivot):
                    total += factor * solution[unknown]
            solution[pivot] = -total * pow(row[pivot], -1, _PRIME) % _PRIME
        return solution


def linked(member: NDArray[np.int64], group: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """The number of the part of each of `count` things, those of one group being in the same; an entry per member."""
    label = np.arange(count)
    of_group = np.full(int(group.max(initial=-1)) + 1, count, dtype=np.int64)
    while True:
        before = label.copy()
        np.minimum.at(of_group, group, label[member])
        np.minimum.at(label, member, of_group[group])
        label = label[label]
        if np.array_equal(label, before):
            return np.unique(label, return_inverse=True)[1].astype(np.int64)


def _sampled(unknowns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Some of them, evenly chosen."""
    step = -(-len(unknowns) // _WHOLE_SAMPLE) or 1
    return unknowns[::step]


def _batches(part: NDArray[np.int64], chosen: NDArray[np.bool_]) -> Iterator[NDArray[np.int64]]:
    """The chosen unknowns, those of one part together, some parts to a batch."""
    unknowns = np.flatnonzero(chosen)
    _, number, size = np.unique(part[unknowns], return_inverse=True, return_counts=True)
    batch = (np.cumsum(size) // _BATCH)[number] if len(unknowns) else number
    for one in np.unique(batch):
        yield unknowns[batch == one]


class _Found:
    """What points have shown of each unknown so far. Batches of different unknowns may add at the same time."""

    def __init__(self, needs: NDArray[np.float64], part: NDArray[np.int64], whole: NDArray[np.bool_]) -> None:
        count = len(needs)
        self.low, self.high = np.full(count, np.inf), np.full(count, -np.inf)
        self.whole_low, self.whole_high = self.low.copy(), self.high.copy()
        self.is_exact, self.is_exact_in_whole = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        self.needs, self.part, self._whole = needs, part, whole

    def add(self, unknowns: NDArray[np.int64], point: NDArray[np.float64]) -> None:
        """One more solution of the parts that `unknowns` are all of."""
        self.low[unknowns] = np.minimum(self.low[unknowns], point)
        self.high[unknowns] = np.maximum(self.high[unknowns], point)
        part = self.part[unknowns]
        broken = np.zeros(int(part.max(initial=-1)) + 1, dtype=bool)
        broken[part[self._whole[unknowns] & ~_is_whole(point)]] = True
        at = ~broken[part]
        unknowns, point = unknowns[at], point[at]
        self.whole_low[unknowns] = np.minimum(self.whole_low[unknowns], point)
        self.whole_high[unknowns] = np.maximum(self.whole_high[unknowns], point)

    @property
    def seen(self) -> NDArray[np.bool_]:
        """The unknowns of which some solution is known."""
        return np.asarray(self.low <= self.high, dtype=bool)

    @property
    def wanting(self) -> NDArray[np.bool_]:
        """The unknowns not seen to be as wide as asked."""
        with np.errstate(invalid="ignore"):
            return np.asarray((self.needs > 0) & ~(self.high - self.low >= self.needs - _SAME), dtype=bool)

    @property
    def wanting_in_whole(self) -> NDArray[np.bool_]:
        """The counts not seen to be as wide as asked among whole numbers."""
        with np.errstate(invalid="ignore"):
            is_wide = self.whole_high - self.whole_low >= self.needs - _SAME
        return np.asarray((self.needs > 0) & self._whole & ~is_wide, dtype=bool)

    def width(self, unknowns: NDArray[np.int64]) -> NDArray[np.float64]:
        return np.asarray(self.high[unknowns] - self.low[unknowns], dtype=np.float64)


@dataclass(frozen=True)
class _Pairs:
    """Positions among what insiders know and among what they may seek: pairs of which nothing shows that it is safe."""

    known: NDArray[np.int64]
    sought: NDArray[np.int64]

    @classmethod
    def unseen(
        cls,
        part_known: NDArray[np.int64],
        who_knows: NDArray[np.int64],
        part_sought: NDArray[np.int64],
        who_is_sought: NDArray[np.int64],
        still: NDArray[np.bool_],
        apart: NDArray[np.bool_],
    ) -> _Pairs:
        """The pairs of one part, of two different persons, of which no solution has the one `still`, the other `apart`.

        One row of `still` and `apart` per solution.
        """
        known, sought = [np.zeros(0, dtype=np.int64)], [np.zeros(0, dtype=np.int64)]
        order = np.argsort(part_sought, kind="stable")
        ordered = part_sought[order]
        stood, moved = np.packbits(still, axis=0), np.packbits(apart, axis=0)  # eight solutions in a byte
        for part in np.unique(part_known).tolist():
            own = np.flatnonzero(part_known == part)
            theirs = order[np.searchsorted(ordered, part) : np.searchsorted(ordered, part, side="right")]
            unseen = who_knows[own][:, None] != who_is_sought[theirs][None, :]
            for one, other in zip(stood[:, own], moved[:, theirs], strict=True):
                unseen &= (one[:, None] & other[None, :]) == 0
            at, other = np.nonzero(unseen)
            known.append(own[at])
            sought.append(theirs[other])
        return cls(np.concatenate(known), np.concatenate(sought))

    def filter(self, kept: NDArray[np.bool_]) -> _Pairs:
        """Some of the pairs."""
        return _Pairs(self.known[kept], self.sought[kept])


class _Batch:
    """The program of parts that no equation links."""

    def __init__(self, system: Unknowns, unknowns: NDArray[np.int64], part: NDArray[np.int64], found: _Found) -> None:
        self._unknowns, self._part, self._found = unknowns, part[unknowns], found
        column = np.full(system.count, -1, dtype=np.int64)
        column[unknowns] = np.arange(len(unknowns))
        kept = column[system.unknown] >= 0
        equations, row = np.unique(system.equation[kept], return_inverse=True)
        self._right = system.right[equations]
        self._matrix = Entries(
            row.astype(np.int64), column[system.unknown[kept]], system.sign[kept], len(equations), len(unknowns)
        )
        self._floors, self._whole = system.floors[unknowns], system.whole[unknowns]
        self._far = np.full(len(unknowns), _FAR)

    def look(self) -> None:
        found, unknowns = self._found, self._unknowns
        needs = found.needs[unknowns]
        first = self._first_point()
        found.add(unknowns, first)
        # near the first point many unknowns move at once; far from it few would take all the room
        reach = np.maximum(needs, 1.0)
        program = self._program(np.maximum(self._floors, first - reach), np.where(needs > 0, first + reach, self._far))
        before = len(unknowns)
        for turn in range(_POINTS):
            open_ = found.width(unknowns) < needs - _SAME
            wanting = int(open_.sum())
            if not wanting or (turn > 3 and wanting > 0.8 * before):
                return  # done, or the few that are left are better asked one by one
            before = wanting
            upwards = _tossed(unknowns[open_], turn // 2) ^ bool(turn & 1)
            objective = np.zeros(len(unknowns))
            objective[open_] = np.where(upwards, 1.0, -1.0) / reach[open_]
            found.add(unknowns, program.maximise(objective).point)

    def ask(self) -> None:
        """Each unknown that is not seen to be wide enough, one of each part at a time: its exact interval."""
        found, unknowns = self._found, self._unknowns
        asked = np.zeros(len(unknowns), dtype=bool)
        program = self._program(self._floors, self._far)
        while True:
            needs = found.needs[unknowns]
            open_ = np.flatnonzero((needs > 0) & (found.width(unknowns) < needs - _SAME) & ~asked)
            if not len(open_):
                return
            _, first = np.unique(self._part[open_], return_index=True)
            targets = open_[first]
            asked[targets] = True
            for direction in _DIRECTIONS:
                objective = np.zeros(len(unknowns))
                objective[targets] = direction
                found.add(unknowns, program.maximise(objective).point)
            found.is_exact[unknowns[targets]] = True

    def ends_in_whole(self, column: int) -> list[NDArray[np.float64]]:
        """Solutions of least and greatest value of one unknown where counts are whole numbers, if they are found.

        No farther apart, or from what was seen of it, than it needs to be: that is sooner found than how far it goes.
        """
        both = Entries(
            np.concatenate([self._matrix.row, self._matrix.row + self._matrix.rows]),
            np.tile(self._matrix.column, 2),
            np.concatenate([self._matrix.value, -self._matrix.value]),
            2 * self._matrix.rows,
            self._matrix.columns,
        )
        right, points = np.concatenate([self._right, -self._right]), []
        unknown = self._unknowns[column]
        need = np.ceil(self._found.needs[unknown])
        low, high = self._found.whole_low[unknown], self._found.whole_high[unknown]
        for direction in _DIRECTIONS:
            cost = np.zeros(len(self._unknowns))
            cost[column] = direction
            least, most = self._floors.copy(), self._far.copy()
            if low <= high:  # some solution is known
                least[column] = max(least[column], high - need)
                most[column] = min(most[column], low + need)
            try:
                point = self._program(least, most).maximise(-cost).point  # often whole by itself, and soon found
                if not _is_whole(point[self._whole]).all():
                    point = least_cost(both, right, cost, least, most, self._whole, gap=0.0, nodes=1000).point
            except Unsolved:
                break
            points.append(point)
            low, high = min(low, point[column]), max(high, point[column])
        return points

    def _first_point(self) -> NDArray[np.float64]:
        program = LinearProgram(self._matrix, self._right, self._right, self._floors, self._far)
        try:
            return program.maximise(np.zeros(len(self._unknowns))).point
        except Unsolved as error:
            raise NoSolution(str(error)) from error

    def _program(self, least: NDArray[np.float64], most: NDArray[np.float64]) -> LinearProgram:
        return LinearProgram(self._matrix, self._right, self._right, least, most)


def _is_whole(numbers: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.abs(numbers - np.rint(numbers)) <= _SAME, dtype=bool)


def _echelon(rows: list[dict[int, int]], degree: list[int]) -> list[tuple[int, dict[int, int]]]:
    """Gauss: each row with a pivot that no later row has. Rows with nothing left say nothing new."""
    order: dict[int, int] = {}
    pivots: list[tuple[int, dict[int, int]]] = []
    for row in rows:
        standing = [order[unknown] for unknown in row if unknown in order]
        heapq.heapify(standing)
        while standing:
            pivot, other = pivots[heapq.heappop(standing)]
            if pivot in row:
                for unknown in _subtract(row, pivot, other):
                    if unknown in order:
                        heapq.heappush(standing, order[unknown])
        if free := [unknown for unknown in row if unknown >= 0]:
            pivot = min(free, key=lambda unknown: (degree[unknown], unknown))
            order[pivot] = len(pivots)
            pivots.append((pivot, row))
    return pivots


def _subtract(row: dict[int, int], pivot: int, other: dict[int, int]) -> list[int]:
    """Take the multiple of `other` from `row` that clears `pivot`; returns the unknowns that are new in `row`."""
    factor = row[pivot] * pow(other[pivot], -1, _PRIME) % _PRIME
    new = [unknown for unknown in other if unknown not in row]
    for unknown, coefficient in other.items():
        rest = (row.get(unknown, 0) - factor * coefficient) % _PRIME
        if rest:
            row[unknown] = rest
        else:
            row.pop(unknown, None)
    return new


def _tossed(unknowns: NDArray[np.int64], turn: int) -> NDArray[np.bool_]:
    """A toss for each unknown, the same in every run."""
    with np.errstate(over="ignore"):
        mixed = (unknowns.astype(np.uint64) + np.uint64(turn + 1) * np.uint64(0xD1B54A32D192ED03)) * np.uint64(
            0x9E3779B97F4A7C15
        )
        mixed = (mixed ^ (mixed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
    return np.asarray((mixed >> np.uint64(62)).astype(np.int64) & 1, dtype=bool)


def _scattered(unknown: int, seed: int) -> int:
    """A number that looks arbitrary but is always the same (splitmix64 over the position)."""
    number = (unknown * 2 + seed) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (number ^ number >> 31) % _PRIME
