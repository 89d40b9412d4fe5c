"""How often: failed sign-ins, requests, deposits.

Belongs here: counting and refusing. Does not belong here: what is counted (the routes say).
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta

import sqlalchemy as sql

from insertion_pipeline.portal import store
from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.portal.store import Store, digest_of, written

#: Five failures in a quarter of an hour, then wait; an address shared by an office has room for its colleagues.
FAILURES, FAILURES_OF_ADDRESS, FAILURE_MINUTES = 5, 50, 15


class TooMany(Exception):
    """Asked too often. `seconds`: when to come back."""

    def __init__(self, seconds: int) -> None:
        super().__init__(f"too many, come back in {seconds} s")
        self.seconds = seconds


def refuse_after_failures(database: Store, now: datetime, who: str, address: str) -> None:
    """Raises `TooMany` when there were too many failures for this account, or from this address."""
    since = written(now - timedelta(minutes=FAILURE_MINUTES))
    with database.reading() as connection:
        for subject, most in ((f"who {who}", FAILURES), (f"from {address}", FAILURES_OF_ADDRESS)):
            count = connection.execute(
                sql.select(sql.func.count())
                .select_from(store.failures)
                .where((store.failures.c.subject == digest_of(subject)) & (store.failures.c.at > since))
            ).scalar_one()
            if count >= most:
                raise TooMany(FAILURE_MINUTES * 60)


def count_failure(database: Store, now: datetime, who: str, address: str) -> None:
    """Remember a failure, and forget those that no longer count."""
    with database.writing() as connection:
        connection.execute(
            sql.delete(store.failures).where(store.failures.c.at < written(now - timedelta(minutes=FAILURE_MINUTES)))
        )
        for subject in (f"who {who}", f"from {address}"):
            connection.execute(sql.insert(store.failures).values(subject=digest_of(subject), at=written(now)))


def forgive(database: Store, who: str) -> None:
    """A right answer clears the failures of an account."""
    with database.writing() as connection:
        connection.execute(sql.delete(store.failures).where(store.failures.c.subject == digest_of(f"who {who}")))


def count_deposit(database: Store, now: datetime, partner: str, size: int, settings: PortalSettings) -> None:
    """Count a file against its partner's daily share. Raises `TooMany`."""
    since = written(now - timedelta(days=1))
    with database.writing_alone() as connection:
        connection.execute(sql.delete(store.deposits).where(store.deposits.c.at < since))
        files, total = connection.execute(
            sql.select(sql.func.count(), sql.func.coalesce(sql.func.sum(store.deposits.c.bytes), 0)).where(
                store.deposits.c.partner == partner
            )
        ).one()
        if files >= settings.daily_deposits or total + size > settings.daily_bytes:
            raise TooMany(3600)
        connection.execute(sql.insert(store.deposits).values(partner=partner, bytes=size, at=written(now)))


class RequestRate:
    """Requests per minute of each address or token, in memory: a bucket that refills steadily."""

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._buckets: dict[str, tuple[float, float]] = {}
        self._lock = threading.Lock()

    def take(self, subject: str) -> None:
        """One request. Raises `TooMany` when the bucket is empty."""
        now = time.monotonic()
        with self._lock:
            if len(self._buckets) > 10_000:
                self._buckets = {who: bucket for who, bucket in self._buckets.items() if now - bucket[1] < 60}
            left, at = self._buckets.get(subject, (float(self._per_minute), now))
            left = min(float(self._per_minute), left + (now - at) * self._per_minute / 60)
            if left < 1:
                self._buckets[subject] = (left, now)
                raise TooMany(max(1, round(60 / self._per_minute)))
            self._buckets[subject] = (left - 1, now)
