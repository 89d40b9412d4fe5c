"""Randomness without state: every draw is a pure function of (seed, purpose, index).

Belongs here: turning indices into uniform numbers, choices and shuffled digits. Does not belong here: what is drawn.

A counter-based generator (the finaliser of SplitMix64 over a keyed counter) rather than a sequential one: a person's
attributes do not depend on how many persons are drawn, in which order, or in which chunk.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Integers: TypeAlias = npt.NDArray[np.int64]
Floats: TypeAlias = npt.NDArray[np.float64]
Booleans: TypeAlias = npt.NDArray[np.bool_]

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


@dataclass(frozen=True)
class Draws:
    """The draws of one seed."""

    seed: int

    def bits(self, purpose: str, index: Integers) -> npt.NDArray[np.uint64]:
        """64 uniform bits for each index."""
        digest = hashlib.blake2b(f"{self.seed}/{purpose}".encode(), digest_size=8).digest()
        key = np.uint64(int.from_bytes(digest, "little"))
        value = index.astype(np.uint64) * _GOLDEN + key
        value = (value ^ (value >> np.uint64(30))) * _FIRST
        value = (value ^ (value >> np.uint64(27))) * _SECOND
        return value ^ (value >> np.uint64(31))

    def uniform(self, purpose: str, index: Integers) -> Floats:
        """A number in [0, 1) for each index."""
        return (self.bits(purpose, index) >> np.uint64(11)).astype(np.float64) * 2.0**-53

    def chance(self, purpose: str, index: Integers, probability: float | Floats) -> Booleans:
        """Whether what happens with this probability happens to each index."""
        return self.uniform(purpose, index) < probability

    def below(self, purpose: str, index: Integers, bound: int | Integers) -> Integers:
        """An integer in [0, bound) for each index."""
        return np.floor(self.uniform(purpose, index) * bound).astype(np.int64)

    def between(self, purpose: str, index: Integers, low: int | Integers, high: int | Integers) -> Integers:
        """An integer in [low, high], both ends included, for each index."""
        width = np.broadcast_to(np.asarray(high) - np.asarray(low) + 1, index.shape).astype(np.int64)
        return self.below(purpose, index, width) + np.asarray(low, dtype=np.int64)

    def choose(self, purpose: str, index: Integers, weights: Floats) -> Integers:
        """The position of a weight for each index, drawn in proportion to the weights."""
        cumulative = np.cumsum(weights)
        drawn = self.uniform(purpose, index) * cumulative[-1]
        position = np.searchsorted(cumulative, drawn, side="right")
        return np.asarray(np.minimum(position, len(weights) - 1), dtype=np.int64)


def zipf_weights(count: int, *, flatness: float = 8.0) -> Floats:
    """Weights that fall as names do: the n-th in proportion to 1 / (n + flatness)."""
    return 1.0 / (np.arange(count, dtype=np.float64) + flatness)
