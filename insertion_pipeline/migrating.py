"""Homes of earlier versions of this program, made into homes of this one.

Belongs here: what changed from each layout to the next, doing it in order, saying what would be done. Does not belong
here: refusing a home of another version (`lake`), copying it first (`preserving`).

A step may be killed at any moment: it is done again, from where it is, and the version is written after it. Steps move
what cannot be made again, and rows of months that no run computes any more; what a run makes is made again where it
belongs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from insertion_pipeline.identity import pseudonyms
from insertion_pipeline.lake import HOME_VERSION, HomeTooNew, replacing, version_of, write_atomically


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


def _shorten_pseudonyms(home: Path) -> None:
    """Persons have pseudonyms of twelve characters since version 3: the beginnings of the former ones.

    Rows of months that are not computed any more are compared with those that are: both must have the same form.
    """
    for room in ("pseudonymised", "facts"):
        for path in sorted((home / "lake" / room).rglob("*.parquet")):
            if "person" not in pq.read_schema(path).names:
                continue
            with pq.ParquetFile(path) as parquet:
                table = parquet.read()
            with replacing(path) as partial:
                pq.write_table(_with_short_pseudonyms(table), partial, compression="zstd")


def _with_short_pseudonyms(table: pa.Table) -> pa.Table:
    encoded = table["person"].combine_chunks().dictionary_encode()
    former = encoded.dictionary.to_pylist()
    short = [pseudonyms.shortened(bytes.fromhex(one)) if len(one) == _FORMER_LENGTH else one for one in former]
    persons = pa.array(short, pa.string()).take(encoded.indices)
    return table.set_column(table.column_names.index("person"), table.schema.field("person"), persons)


#: Of a pseudonym before version 3: a whole digest in hexadecimal.
_FORMER_LENGTH = 64

MIGRATIONS = (
    Migration(2, "le registre des personnes rejoint les dépôts, avec tout ce qui ne se recalcule pas", _move_registers),
    Migration(3, "les pseudonymes des personnes sont raccourcis à douze caractères", _shorten_pseudonyms),
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
