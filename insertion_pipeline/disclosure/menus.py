"""The menu: which parts of a table are published at all, before anything in them is hidden.

Belongs here: leaving out what would say nothing, and what is too much to be protected together. Does not belong here:
hiding values of what is left (`suppression`), which values are sensitive (`thresholds`).

A part is an indicator at one level of a country, uncut or by one breakdown. Two kinds are left out. *Sparse* parts:
more than half of their values, ten at least, are too small; they would say little but which places are not empty, and
that alone would cost the figures of departments and countries. *Crowded* ones: indicators that share terms or sum to
each other are protected together, and where more values than `TOGETHER` hang so, the parts in which the largest share
of what is not zero is too small go first, until no more are left. What nobody can prove safe is not shown.

Uncut figures of large territories are never left out, nor is a part of which an earlier release showed a row, nor one
that what is published would give back while the terms beside it may not be left out. Otherwise they go with it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure.equations import UNCUT, compositions, quantities_of
from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers
from insertion_pipeline.disclosure.system import connected
from insertion_pipeline.disclosure.thresholds import ABSENT, SUPPRESSED, Verdicts, numbers
from insertion_pipeline.registry import Registry

#: Levels whose own figures are never left out for being sparse.
HEADLINE_LEVELS: Final = ("department", "council", "province", "region", "country")
#: A part that has at least so many values too small, making up more than this share, says nothing.
SPARSE_VALUES: Final = 10
SPARSE_SHARE: Final = 0.5
#: So many values other than zero are protected together at most: the pieces of territories that cross each other come
#: on top, and the programs of a part of the system hold some 25 000 cells (`room.LARGEST`).
TOGETHER: Final = 10_000
_Place = tuple[str, str, str]
_KEYS: Final = ("indicator_code", "country", "territory_level", "breakdown")


@dataclass(frozen=True)
class Menu:
    """Which rows are published (one entry per row), and the parts that are left out, by what they have too much of."""

    rows: Booleans
    sparse: list[dict[str, str]]
    crowded: list[dict[str, str]]


def menu_of(values: pa.Table, verdicts: Verdicts, registry: Registry, was_shown: Booleans) -> Menu:
    """The menu of a table of values; `was_shown`: rows that an earlier release showed."""
    parts = _Parts.of(values, verdicts, was_shown)
    sparse = (parts.small >= SPARSE_VALUES) & (parts.small > SPARSE_SHARE * parts.present) & ~parts.kept
    crowded = np.zeros_like(sparse)
    if parts.filled[~sparse].sum() > TOGETHER:
        dense = ~sparse[parts.part]
        of_indicator = _hanging_together(values.filter(pa.array(dense)), verdicts.filter(dense), registry)
        crowded = _crowded(parts, ~sparse, of_indicator)
    left_out = sparse | crowded
    if left_out.any():
        quantities = quantities_of(values, verdicts)
        left_out = _told_by_sums(parts, left_out, quantities, compositions(registry, quantities).to_pylist())
    return Menu(~left_out[parts.part], parts.named(left_out & ~crowded), parts.named(left_out & crowded))


def parts_of(values: pa.Table) -> list[dict[str, str]]:
    """The parts that the rows of a table belong to, in order."""
    found: list[dict[str, str]] = values.select(_KEYS).group_by(_KEYS).aggregate([]).to_pylist()
    return sorted(found, key=lambda part: tuple(part.values()))


@dataclass(frozen=True)
class _Parts:
    """One entry per part, in the order of its numbers."""

    keys: list[dict[str, str]]
    part: Integers  # one per row
    present: Numbers  # values that are there
    filled: Numbers  # those that are not zero
    small: Numbers  # those that are hidden for themselves
    kept: Booleans

    @classmethod
    def of(cls, values: pa.Table, verdicts: Verdicts, was_shown: Booleans) -> _Parts:
        columns = [pc.dictionary_encode(values[name].combine_chunks()) for name in _KEYS]
        sizes = [max(len(column.dictionary), 1) for column in columns]
        packed = np.ravel_multi_index([column.indices.to_numpy(zero_copy_only=False) for column in columns], sizes)
        parts, part = np.unique(packed, return_inverse=True)
        keys = [
            {name: column.dictionary[int(at)].as_py() for name, column, at in zip(_KEYS, columns, place, strict=True)}
            for place in zip(*np.unravel_index(parts, sizes), strict=True)
        ]
        is_headline = np.array(
            [key["territory_level"] in HEADLINE_LEVELS and key["breakdown"] == UNCUT for key in keys], dtype=bool
        )
        present = ~np.isin(verdicts.statuses, ABSENT)
        terms = np.nan_to_num([numbers(values, name) for name in ("numerator", "denominator")])

        def count(rows: Booleans) -> Numbers:
            return np.bincount(part, weights=rows, minlength=len(parts)).astype(np.float64)

        return cls(
            keys, part.astype(np.int64), count(present), count(present & (terms != 0).any(axis=0)),
            count(verdicts.statuses == SUPPRESSED), is_headline | (count(was_shown) > 0),
        )  # fmt: skip

    def named(self, chosen: Booleans) -> list[dict[str, str]]:
        return sorted((key for key, at in zip(self.keys, chosen, strict=True) if at), key=lambda key: (*key.values(),))


def _crowded(parts: _Parts, served: Booleans, of_indicator: Mapping[str, int]) -> Booleans:
    """The sparsest of the parts that are `served`, wherever more than `TOGETHER` values hang together."""
    left_out = np.zeros(len(parts.keys), dtype=bool)
    groups: dict[tuple[str, int], list[int]] = {}
    for at in np.flatnonzero(served).tolist():
        key = parts.keys[at]
        groups.setdefault((key["country"], of_indicator[key["indicator_code"]]), []).append(at)
    for group in groups.values():
        held = parts.filled[group].sum()
        share = parts.small / np.maximum(parts.filled, 1.0)
        for at in sorted(group, key=lambda at: (-share[at], -parts.filled[at], at)):
            if held <= TOGETHER:
                break
            if not parts.kept[at]:
                left_out[at] = True
                held -= parts.filled[at]
    return left_out


def _told_by_sums(
    parts: _Parts, left_out: Booleans, quantities: Mapping[tuple[str, str], str], composed: Sequence[Mapping[str, Any]]
) -> Booleans:
    """`left_out`, and what would give some of it back: terms that stand with it against a whole that is shown.

    A whole of which all terms are shown may be left out: it is as large as they are. Where a term may not be left out
    (`kept`), those beside it are published after all, and protected with it.
    """
    carriers: dict[tuple[_Place, str], list[int]] = {}
    equations = _equations_of(composed)
    for at, key in enumerate(parts.keys):
        place = key["country"], key["territory_level"], key["breakdown"]
        terms = [quantities.get((key["indicator_code"], term)) for term in ("numerator", "denominator")]
        for quantity in terms:
            if quantity is not None:
                carriers.setdefault((place, quantity), []).append(at)
        numerator, denominator = terms
        if left_out[at] and numerator is not None and denominator is not None:
            equations.append(_Equation({(numerator, ""): -1.0, (denominator, ""): 1.0}, at, place))
    places = sorted({place for place, _ in carriers})
    left_out, kept = left_out.copy(), parts.kept.copy()
    changed = True
    while changed:
        changed = False
        for equation in equations:
            for place in places if equation.place is None else [equation.place]:
                missing, beside, is_told = equation.looked_at(place, carriers, left_out)
                if not (missing and beside and is_told):
                    continue
                changed = True
                if kept[beside].any():
                    left_out[missing], kept[missing] = False, True
                else:
                    left_out[beside] = True
    return left_out


@dataclass(frozen=True)
class _Equation:
    """Quantities that sum to zero, each with its sign: by quantity, and breakdown of its own if it has one.

    The terms of a rate do with the rest, which its part alone tells of, at the `place` of that part.
    """

    signs: Mapping[tuple[str, str], float]
    rest: int | None = None
    place: _Place | None = None

    def looked_at(
        self, place: _Place, carriers: Mapping[tuple[_Place, str], list[int]], left_out: Booleans
    ) -> tuple[list[int], list[int], bool]:
        """At a place: parts left out on one side, parts shown beside them, and whether the other side is all shown."""
        country, level, breakdown = place
        if breakdown != UNCUT and any(own for _, own in self.signs):
            return [], [], False  # one modality of another indicator is a term of the whole uncut
        sides: dict[bool, list[list[int]]] = {True: [], False: []}
        for (quantity, own), sign in self.signs.items():
            if found := carriers.get(((country, level, own or breakdown), quantity)):
                sides[sign > 0].append(found)
        if self.rest is not None and left_out[self.rest]:
            shown = [at for found in sides[False] for at in found if not left_out[at]]
            return [self.rest], shown, bool(sides[True]) and not _some_left_out(sides[True], left_out)
        for side in (True, False):
            missing = [at for found in sides[side] if left_out[found].all() for at in found]
            shown = [at for found in sides[side] for at in found if not left_out[at]]
            if missing and shown and sides[not side]:
                return missing, shown, not _some_left_out(sides[not side], left_out)
        return [], [], False


def _some_left_out(quantities: Sequence[Sequence[int]], left_out: Booleans) -> bool:
    """Whether some of the quantities are shown by no part."""
    return any(left_out[list(found)].all() for found in quantities)


def _equations_of(composed: Sequence[Mapping[str, Any]]) -> list[_Equation]:
    """One equation per sum that the catalogue declares (`COMPOSITIONS_SCHEMA`)."""
    found: dict[tuple[str, str], dict[tuple[str, str], float]] = {}
    for row in composed:
        whole = row["whole_quantity"]
        signs = found.setdefault((row["along"], whole), {(whole, ""): 1.0})
        signs[row["part_quantity"], row["part_breakdown"]] = -row["sign"]
    return [_Equation(signs) for signs in found.values()]


def _hanging_together(values: pa.Table, verdicts: Verdicts, registry: Registry) -> dict[str, int]:
    """Indicators that share a term or sum to each other have the same number."""
    quantities = quantities_of(values, verdicts)
    at = {name: number for number, name in enumerate(sorted(set(quantities.values())))}
    composed: list[dict[str, Any]] = compositions(registry, quantities).to_pylist()
    codes = sorted({code for code, _ in quantities})
    pairs = [
        *((at[quantities[code, "numerator"]], at[quantities[code, "denominator"]]) for code in codes),
        *((at[row["whole_quantity"]], at[row["part_quantity"]]) for row in composed),
    ]
    one, other = np.array(pairs, dtype=np.int64).reshape(-1, 2).T
    label = connected(len(at), one, other)
    return {code: int(label[at[quantities[code, "numerator"]]]) for code in codes}
