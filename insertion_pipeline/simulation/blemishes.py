"""Cells that nobody would type on purpose: the few rows of every real file that a partner has to be told about.

Belongs here: spoiling cells of a file after it was rendered. Does not belong here: mistakes about a person's identity
(`observing`), which no check of a single file can see.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.delivering import Columns
from insertion_pipeline.simulation.randomness import Draws, Integers


@dataclass(frozen=True)
class Blemish:
    """A wrong value, null for an emptied cell, standing in a share of the rows."""

    value: str | None
    share: float


def blemished(
    columns: Columns, draws: Draws, purpose: str, key: Integers, blemishes: Mapping[str, Sequence[Blemish]]
) -> Columns:
    """The columns with some cells spoiled, by header. A header that the file does not have is passed over."""
    values = list(columns.values)
    for header, wrongs in blemishes.items():
        if header not in columns.headers:
            continue
        rank = columns.headers.index(header)
        for number, wrong in enumerate(wrongs):
            rows = draws.chance(f"blemish: {purpose}: {header}: {number}", key, wrong.share)
            values[rank] = spelling.where(rows, wrong.value, values[rank])
    return Columns(columns.headers, tuple(values))
