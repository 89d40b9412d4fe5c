"""Whose numbers are one and the same: who stands alone behind several hidden cells, as the attacker finds it.

Belongs here: which numbers are equal by the attacker's own equations. Does not belong here: what somebody works out who
knows some of them (`inference`); the protector finds its `insiders` in a way of its own.

Each number gets an arbitrary name that adds up as the number does. What an equation leaves for a number, once the names
of the others are taken off, is a name of that number too; numbers that share a name are one. What is zero has no name.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from insertion_pipeline.disclosure.inference import linked

_NOTHING: Final = 1e-9


def alike(
    equation: NDArray[np.int64],
    cell: NDArray[np.int64],
    sign: NDArray[np.float64],
    number: NDArray[np.float64],
    count: int,
) -> NDArray[np.int64]:
    """Per cell, the group of those that are the same number whatever it is. An entry per (equation, cell), `sign` ±1.

    `number`: of each entry; an equation with a number that nobody knows (NaN) says nothing here.
    """
    silent = np.isin(equation, np.unique(equation[np.isnan(number)]))
    kept = np.flatnonzero(~silent & (np.abs(number) > _NOTHING))
    kept = kept[np.argsort(equation[kept], kind="stable")]
    _, first, length = np.unique(equation[kept], return_index=True, return_counts=True)
    cell, is_added = cell[kept], sign[kept] > 0
    group = np.arange(count)
    while len(kept):
        names = _names(group)
        own = names[cell]
        left = np.repeat(np.add.reduceat(np.where(is_added, own, -own), first), length)
        for_it = own - np.where(is_added, left, -left)
        _, name = np.unique(np.concatenate([names, for_it]), return_inverse=True)
        found = linked(np.concatenate([np.arange(count), cell]), name.astype(np.int64), count)
        if np.array_equal(found, group):
            break
        group = found
    return group


def _names(numbers: NDArray[np.int64]) -> NDArray[np.uint64]:
    """A name for each of some numbers, scattered over 64 bits, the same in every run (splitmix64)."""
    mixed = (numbers.astype(np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(mixed ^ (mixed >> np.uint64(31)), dtype=np.uint64)
