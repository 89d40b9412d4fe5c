"""The journal: who did what, when; lines are added, never changed, and each carries the hash of the one before.

Belongs here: adding a line, verifying the chain, dropping what is past its retention. Does not belong here: deciding
what is worth a line (each route does).

It names people by number and files by digest: no name, no address, no value of a file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta

import sqlalchemy as sql
from sqlalchemy.engine import Connection

from insertion_pipeline.portal import store
from insertion_pipeline.portal.store import Store, written

#: Where a chain begins.
GENESIS = "0" * 64
#: Segments go after a year (domain rule 7).
KEPT_DAYS = 366


@dataclass(frozen=True)
class Line:
    """One line of the journal. `actor`: `account:12`, `token:3`, `portal`."""

    sequence: int
    at: str
    actor: str
    action: str
    object: str
    detail: str
    previous: str
    hash: str

    @property
    def is_genuine(self) -> bool:
        """Whether the line is what its hash was taken of."""
        return self.hash == _hash_of(
            self.sequence, self.at, self.actor, self.action, self.object, self.detail, self.previous
        )


def record(database: Store, now: datetime, actor: str, action: str, what: str = "", **detail: object) -> None:
    """Add a line. It stands when the call returns."""
    with database.writing_alone() as connection:
        last, previous = _end_of(connection)
        fields = (last + 1, written(now), actor, action, what, json.dumps(detail, sort_keys=True, ensure_ascii=False))
        line = Line(*fields, previous, _hash_of(*fields, previous))
        connection.execute(sql.insert(store.audit).values(**asdict(line)))


def lines(database: Store, *, newest: int | None = None) -> list[Line]:
    """The lines in order, or the `newest` of them, newest first."""
    query = sql.select(store.audit).order_by(store.audit.c.sequence)
    if newest is not None:
        query = sql.select(store.audit).order_by(store.audit.c.sequence.desc()).limit(newest)
    with database.reading() as connection:
        return [Line(**row) for row in connection.execute(query).mappings()]


def altered(database: Store) -> Iterator[int]:
    """The numbers of the lines that were altered, or before which one is missing. Nothing for a whole chain."""
    with database.reading() as connection:
        last, previous = _kept_end(connection)
        for row in connection.execute(sql.select(store.audit).order_by(store.audit.c.sequence)).mappings():
            line = Line(**row)
            if line.sequence <= last:
                continue
            if line.sequence != last + 1 or line.previous != previous or not line.is_genuine:
                yield line.sequence
            last, previous = line.sequence, line.hash


def drop_old(database: Store, now: datetime) -> int:
    """Drop the lines past their retention; the hash of the last one stays, and the chain goes on from it."""
    before = written(now - timedelta(days=KEPT_DAYS))
    with database.writing_alone() as connection:
        old = connection.execute(
            sql.select(store.audit).where(store.audit.c.at < before).order_by(store.audit.c.sequence.desc()).limit(1)
        ).first()
        if old is None:
            return 0
        connection.execute(
            sql.insert(store.audit_segments).values(
                last_sequence=old.sequence, last_hash=old.hash, dropped_at=written(now)
            )
        )
        return connection.execute(sql.delete(store.audit).where(store.audit.c.sequence <= old.sequence)).rowcount


def _end_of(connection: Connection) -> tuple[int, str]:
    newest = connection.execute(
        sql.select(store.audit.c.sequence, store.audit.c.hash).order_by(store.audit.c.sequence.desc()).limit(1)
    ).first()
    return (newest.sequence, newest.hash) if newest is not None else _kept_end(connection)


def _kept_end(connection: Connection) -> tuple[int, str]:
    """Where the dropped segments ended."""
    segment = connection.execute(
        sql.select(store.audit_segments).order_by(store.audit_segments.c.last_sequence.desc()).limit(1)
    ).first()
    return (segment.last_sequence, segment.last_hash) if segment is not None else (0, GENESIS)


def _hash_of(*fields: object) -> str:
    return hashlib.sha256(json.dumps(fields, ensure_ascii=False).encode()).hexdigest()
