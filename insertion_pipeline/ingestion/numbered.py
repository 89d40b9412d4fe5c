"""Files numbered one after the other, that nobody ever overwrites.

Belongs here: their names, the numbers that are taken, taking one. Does not belong here: what they hold (`receipts`,
`tombstones`).

Each appears whole, under a number that nobody else has: `Lake.claim` never overwrites, here or in the store that
several machines share.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator, Mapping
from itertools import count, takewhile
from pathlib import Path
from typing import Any

from insertion_pipeline.lake import Lake, canonical_json

_NAME = re.compile(r"[0-9]{8}\.json")


def name_of(number: int) -> str:
    """The name of the file with this number."""
    return f"{number:08d}.json"


def taken(lake: Lake, folder: Path) -> list[int]:
    """The numbers that are taken, in order; those of other machines, where there is a store, are fetched first."""
    numbers = _taken_here(folder)
    if lake.remote is None:
        return numbers
    lake.fetch_all(folder, after=name_of(max(numbers, default=0)))
    return _taken_here(folder)


def taken_after(lake: Lake, folder: Path, number: int) -> Iterator[int]:
    """The numbers that were taken one after the other since `number` was the last one: nothing is listed for them."""
    lake.fetch_all(folder, after=name_of(number))
    place = str(folder)
    return takewhile(lambda one: os.path.exists(f"{place}/{name_of(one)}"), count(number + 1))  # noqa: PTH110


def take(lake: Lake, folder: Path, number: int, value: Mapping[str, Any]) -> bool:
    """Write `value` under a number, unless somebody has it already. Returns whether it was free."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    partial = folder / f".{number:08d}.{os.getpid()}.{secrets.token_hex(4)}"
    try:
        with partial.open("xb") as file:
            file.write(canonical_json(value) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return lake.claim(partial, folder / name_of(number))
    finally:
        partial.unlink(missing_ok=True)


def _taken_here(folder: Path) -> list[int]:
    try:
        names = os.listdir(folder)  # noqa: PTH208 (no Path object for each of thousands)
    except FileNotFoundError:
        return []
    return sorted(int(name[:8]) for name in names if _NAME.fullmatch(name))
