"""The menu: which parts of a table are published at all, before anything in them is hidden.

Belongs here: leaving out what would say nothing, and what is too much to be protected together. Does not belong here:
hiding values of what is left (`suppression`), which values are sensitive (`thresholds`).

A part is an indicator at one level of a country, uncut or by one breakdown. Two kinds are left out. *Sparse* parts:
more than half of their values, ten at least, are too small; they would say little but which places are not empty, and
that alone would cost the figures of departments and countries. *Crowded* ones: indicators that share terms or sum to
each other are protected together, and where more values than `TOGETHER` hang so, the parts in which the largest share
of what is not zero is too small go first, until no more are left. What nobody can prove safe is not shown.

Uncut figures of large territories are never left out, nor is a part of which an earlier release showed a row.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    return Menu(~(sparse | crowded)[parts.part], parts.named(sparse), parts.named(crowded))


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
