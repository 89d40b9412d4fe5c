"""The ledger of what was done to and with persons: append-only, one line per act, each bound to the one before.

Belongs here: the lines, their chain, checking it. Does not belong here: the acts themselves (`rights`, `reviewing`,
`rotating`, `retaining`).

A line says who did what and when, in counts and codes: no value, no name, no person's id. Its digest covers the digest
of the line before, so that a line altered, removed or put in between is seen. No copy brought back replaces it.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import Any

from insertion_pipeline.lake import Lake

_BEGINNING = "0" * 64


@dataclass(frozen=True)
class Entry:
    """One act. `by`: who did it, as the operator named them. `facts`: counts and codes."""

    number: int
    at: str
    act: str
    by: str
    facts: Mapping[str, Any]
    before: str
    digest: str

    def to_json(self) -> dict[str, Any]:
        """The stored form."""
        return {
            "number": self.number, "at": self.at, "act": self.act, "by": self.by, "facts": dict(self.facts),
            "before": self.before, "digest": self.digest,
        }  # fmt: skip


def path(home: Path) -> Path:
    """Where the ledger of a home lies, apart from everything that a backup brings back."""
    return home / "tombstones" / "ledger.jsonl"


def append(lake: Lake, act: str, by: str, **facts: int | str | list[int] | list[str]) -> Entry:
    """Write one line. It stands, on the disk, when this returns."""
    place = path(lake.home)
    place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with place.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        last: dict[str, Any] = {}
        for line in file:
            last = json.loads(line)
        at = lake.clock.now().astimezone(UTC).isoformat(timespec="seconds")
        told = {"number": last.get("number", 0) + 1, "at": at, "act": act, "by": by, "facts": facts}
        before = str(last.get("digest", _BEGINNING))
        entry = Entry(**told, before=before, digest=_digest(told, before))
        file.write(json.dumps(entry.to_json(), ensure_ascii=False, sort_keys=True).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return entry


def entries(home: Path) -> Iterator[Entry]:
    """Every line, in order, whatever the chain says of it."""
    if path(home).exists():
        for line in path(home).read_bytes().splitlines():
            yield Entry(**json.loads(line))


def first_break(home: Path) -> int | None:
    """The number of the first line that does not follow from those before it; null while the chain holds."""
    before, number = _BEGINNING, 0
    try:
        for entry in entries(home):
            number += 1
            told = {name: value for name, value in entry.to_json().items() if name not in ("before", "digest")}
            if entry.number != number or entry.before != before or entry.digest != _digest(told, before):
                return number
            before = entry.digest
    except (ValueError, TypeError):
        return number + 1
    return None


def _digest(told: Mapping[str, Any], before: str) -> str:
    text = json.dumps(told, ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(f"{before}\n{text}".encode()).hexdigest()
