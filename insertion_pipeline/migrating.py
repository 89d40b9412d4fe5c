"""Homes of earlier versions of this program, made into homes of this one.

Belongs here: what changed from each layout to the next, doing it in order, saying what would be done. Does not belong
here: refusing a home of another version (`lake`), copying it first (`preserving`).

A step may be killed at any moment: it is done again, from where it is, and the version is written after it. Steps move
what cannot be made again; what a run makes is made again where it belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insertion_pipeline.lake import HOME_VERSION, HomeTooNew, version_of, write_atomically


@dataclass(frozen=True)
class Migration:
    """The step to `version` from the one before it. `what` is told to the operator, in French."""

    version: int
    what: str
    move: Callable[[Path], None]

    def to_json(self) -> dict[str, Any]:
        """One step of `migrate --json`."""
        return {"version": self.version, "what": self.what}


def _move_registers(home: Path) -> None:
    """Person registers lie in the landing since version 2, with all that cannot be made again."""
    for former in sorted((home / "sealed" / "identity").glob("*/register")):
        place = home / "landing" / "register" / former.parent.name
        place.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        former.rename(place)


MIGRATIONS = (
    Migration(2, "le registre des personnes rejoint les dépôts, avec tout ce qui ne se recalcule pas", _move_registers),
)


def pending(home: Path) -> tuple[Migration, ...]:
    """The steps that separate a home from this version, in order; none where there is no home yet.

    Raises `HomeTooNew`.
    """
    version = version_of(home)
    if version is None:
        return ()
    if version > HOME_VERSION:
        raise HomeTooNew(f"home version {version}, this program knows {HOME_VERSION}")
    return tuple(step for step in MIGRATIONS if step.version > version)


def migrate(home: Path) -> Iterator[Migration]:
    """Take the steps, each given back when it is done. The caller holds the writer's lock, and has a copy."""
    for step in pending(home):
        step.move(home)
        write_atomically(home / "VERSION", f"{step.version}\n".encode())
        yield step
