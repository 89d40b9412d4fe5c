"""From the bytes of a delivery to text: nothing lost, every line numbered.

Belongs here: what the rest of the house knows of reading, a delivery read whole, recognising a source from its content.
Does not belong here: cutting bytes (`cutting`, in the confined process), what a value means (`conforming`).
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pyarrow as pa

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.ingestion import confining
from insertion_pipeline.ingestion.accounts import Account, Member
from insertion_pipeline.ingestion.cutting import Task
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import (
    ORIGIN_FIELDS,
    UNREADABLE_SCHEMA,
    Batch,
    Closing,
    Extract,
    Opening,
    Piece,
    Pieces,
    no_findings,
)
from insertion_pipeline.ingestion.extracts import UnreadableDelivery as UnreadableDelivery
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Source


@dataclass(frozen=True)
class Reading:
    """A delivery as text, whole: what `conform` judges, and what copies and tests look at."""

    source: str
    pieces: tuple[Piece | Closing, ...]

    def __iter__(self) -> Iterator[Piece | Closing]:
        return iter(self.pieces)

    @cached_property
    def tables(self) -> Mapping[str, pa.Table]:
        """One table per contract table found, all `string` columns named as the contract's fields.

        Those that the file holds and that may be kept (`use` is not `none`); an empty cell is the empty string, never
        null. Then `_line` int64 (1-based physical line, sheet row or rank of the `Personne`), `_units` int32 (physical
        lines that the record spans) and `_member` int32. A contract table that no member holds is absent.
        """
        found: dict[str, list[pa.Table]] = {}
        for piece in self.pieces:
            if isinstance(piece, Opening):
                schema = pa.schema([*((name, pa.string()) for name in piece.columns), *ORIGIN_FIELDS])
                found.setdefault(piece.table, []).append(schema.empty_table())
            elif isinstance(piece, Batch):
                text = pa.schema([(name, pa.string()) for name in piece.rows.column_names[: -len(ORIGIN_FIELDS)]])
                found[piece.table].append(piece.rows.cast(pa.schema([*text, *ORIGIN_FIELDS])))
        return {name: _concatenated(parts) for name, parts in found.items()}

    @cached_property
    def unreadable(self) -> pa.Table:
        """Rows of `UNREADABLE_SCHEMA`; their findings are not among `findings` nor `oddities`."""
        parts = [piece.unreadable for piece in self.pieces if isinstance(piece, Batch)]
        return pa.concat_tables([UNREADABLE_SCHEMA.empty_table(), *parts])

    @cached_property
    def oddities(self) -> pa.Table:
        """Warnings about rows that are read all the same, as rows of `FINDINGS_SCHEMA`."""
        parts = [piece.oddities for piece in self.pieces if isinstance(piece, Batch)]
        return pa.concat_tables([no_findings(), *parts])

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """About files and headers; one that is blocking and has no line refuses the delivery."""
        return tuple(one for piece in self.pieces if not isinstance(piece, Batch) for one in piece.findings)

    @cached_property
    def members(self) -> tuple[Member, ...]:
        """The files and sheets; `account.accepted` counts the units of data that nobody has judged yet."""
        return tuple(Member(one.rank, one.table, one.account) for one in self._extracts)

    @property
    def account(self) -> Account:
        """The sum over the members."""
        return sum((member.account for member in self.members), Account()).checked()

    @property
    def stated_month(self) -> Month | None:
        """What the envelope itself states (CNAF: DTREF)."""
        return next((one.stated_month for one in self._extracts if one.stated_month is not None), None)

    @property
    def stated_territory(self) -> str | None:
        """What the envelope itself states (CNAF: IDEPARTE)."""
        return next((one.stated_territory for one in self._extracts if one.stated_territory is not None), None)

    @property
    def _extracts(self) -> Iterator[Extract]:
        return (piece for piece in self.pieces if isinstance(piece, Extract))


def read(
    delivery: Path | Sequence[Path],
    source: Source,
    *,
    month: Month | None = None,
    archive_password: str | None = None,
    limits: Limits | None = None,
    spill: Path | None = None,
    names: Sequence[str] = (),
) -> Reading:
    """The delivery (one file, or the files of a bundle) read whole under the contract of `source` in force in `month`.

    Raises `UnreadableDelivery` when the delivery is refused whole.
    """
    found = pieces(
        delivery, source, month=month, archive_password=archive_password, limits=limits, spill=spill, names=names
    )
    return Reading(source.name, tuple(found))


def pieces(
    delivery: Path | Sequence[Path],
    source: Source,
    *,
    month: Month | None = None,
    archive_password: str | None = None,
    limits: Limits | None = None,
    spill: Path | None = None,
    names: Sequence[str] = (),
) -> Pieces:
    """The delivery piece by piece, as a process with limits cuts it.

    `names`: what each member is known to be, for bytes that have lost the names that they came under. `spill` is where
    archives are unpacked; what is put there is gone when the last piece was taken.
    """
    with _folder(spill) as folder:
        yield from confining.cut(_task(delivery, folder, limits, archive_password, names), source, month)


def recognise(
    delivery: Path | Sequence[Path],
    candidates: Sequence[Source],
    *,
    archive_password: str | None = None,
    limits: Limits | None = None,
    spill: Path | None = None,
) -> Source | None:
    """The one among `candidates` whose contract the content fits best, the first of those that fit as well; or null.

    Raises `UnreadableDelivery` for a delivery that cannot be opened.
    """
    with _folder(spill) as folder:
        name = confining.best(_task(delivery, folder, limits, archive_password, ()), candidates)
    return next((source for source in candidates if source.name == name), None)


def _task(
    delivery: Path | Sequence[Path], folder: Path, limits: Limits | None, password: str | None, names: Sequence[str]
) -> Task:
    paths = (delivery,) if isinstance(delivery, Path) else tuple(delivery)
    return Task(tuple(path.absolute() for path in paths), folder, limits or Limits(), password, tuple(names))


@contextlib.contextmanager
def _folder(spill: Path | None) -> Iterator[Path]:
    if spill is not None:
        spill.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.TemporaryDirectory(prefix="reading-", dir=spill) as name:
        yield Path(name).absolute()


def _concatenated(parts: Sequence[pa.Table]) -> pa.Table:
    """One table of text per contract table: a column that only some members hold is empty for the others."""
    origins = [name for name, _ in ORIGIN_FIELDS]
    names = list(dict.fromkeys(name for part in parts for name in part.column_names if name not in origins))
    completed = []
    for part in parts:
        for name in names:
            if name not in part.column_names:
                part = part.append_column(name, pa.array([""] * part.num_rows, pa.string()))
        completed.append(part.select([*names, *origins]))
    return pa.concat_tables(completed)
