"""Replacing keys: a person space's key, and the key of pseudonyms.

Belongs here: the order in which a key is replaced so that a process killed at any moment leaves everything readable.
Does not belong here: key material (`sealing`).

A space's key only wraps data keys. Each is wrapped again by the next key, which then takes the place of the former; in
between both open. What is cut short is taken up again. The key of the marks by which erased persons are kept out, and
that of the register, are never replaced: what was made with them could not be made again.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

from insertion_pipeline.identity import ledger
from insertion_pipeline.ingestion.receipts import commit_lock
from insertion_pipeline.lake import Lake, write_atomically
from insertion_pipeline.registry import Space


@dataclass(frozen=True)
class Rotation:
    """What was replaced: `key`, and how many data keys were wrapped again."""

    key: str
    data_keys: int


def rotate_space(lake: Lake, space: Space, *, by: str) -> Rotation:
    """Replace the key of a person space. No sealed byte changes. The caller holds the writer's lock."""
    former = lake.keyring.space_key(space)
    following = lake.keyring.next_key(space, create=True)
    if following is None:
        raise AssertionError("a key that was just made is there")
    with commit_lock(lake):
        wrapped = sum(_wrap_again(lake, path, former, following) for path in _wrapped_keys(lake))
        lake.keyring.adopt_next_key(space)
        # a deposit that began before may have wrapped its key by the former one
        wrapped += sum(_wrap_again(lake, path, former, following) for path in _wrapped_keys(lake))
    ledger.append(lake, "rotation", by, key=f"space-{space}", data_keys=wrapped)
    return Rotation(f"space-{space}", wrapped)


def rotate_pseudonyms(lake: Lake, *, by: str) -> Rotation:
    """Replace the key of pseudonyms. The tables that hold the former ones go; the next run makes them again.

    The caller holds the writer's lock.
    """
    for name in ("pseudonymised", "facts"):
        shutil.rmtree(lake.open_area / name, ignore_errors=True)
    lake.keyring.replace_purpose_key("facts")
    ledger.append(lake, "rotation", by, key="purpose-facts", data_keys=0)
    return Rotation("purpose-facts", 0)


def _wrapped_keys(lake: Lake) -> Iterator[Path]:
    for folder in ("content", "identity"):
        for name in lake.kept_below(lake.landing / folder):
            if name.endswith(".key"):
                yield lake.landing / folder / name


def _wrap_again(lake: Lake, path: Path, former: bytes, following: bytes) -> bool:
    """Whether the data key in `path` was wrapped by the former key; it now is by the following one."""
    try:
        key = aes_key_unwrap(former, lake.read_kept(path))
    except InvalidUnwrap:
        return False  # another space's, or done before a process was cut short
    write_atomically(path, aes_key_wrap(following, key))
    lake.keep(path)
    return True
