"""How many files are judged at once, and what the next one finds ready.

Belongs here: waiting for a turn, the statements that stay open from one judgement to the next. Does not belong here:
judging (`judging`), refusing who asks too often (`portal.throttling`).

Opening a database and planning the queries of a source takes longer than judging a small file with them: a seat keeps
both for whoever comes next. Nothing of a delivery stays behind (`statements`).
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from insertion_pipeline.ingestion.nursery import NURSERY
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake

#: A connection keeps every query that it has planned: after so many deliveries another one begins afresh.
_DELIVERIES_PER_CONNECTION = 500


@dataclass
class _Seat:
    statements: Statements
    closing: contextlib.ExitStack
    taken: int = 0


@dataclass
class Seats:
    """`count` files at the same time; whoever comes next waits."""

    lake: Lake
    count: int
    _free: threading.Semaphore = field(init=False, repr=False)
    _kept: list[_Seat] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        self._free = threading.Semaphore(self.count)

    def prepare(self) -> None:
        """Have the first depositor wait for nothing: the reading process is there, and one seat is open."""
        NURSERY.start()
        with self.taken():
            pass

    @contextlib.contextmanager
    def taken(self) -> Iterator[Statements]:
        """A seat, while the block lasts. One in which something failed is not used again."""
        with self._free:
            seat = self._kept.pop() if self._kept else self._opened()
            try:
                seat.taken += 1
                yield seat.statements
            except BaseException:
                seat.closing.close()
                raise
            if seat.taken < _DELIVERIES_PER_CONNECTION:
                self._kept.append(seat)
            else:
                seat.closing.close()

    def close(self) -> None:
        """Close what is kept."""
        while self._kept:
            self._kept.pop().closing.close()

    def _opened(self) -> _Seat:
        closing = contextlib.ExitStack()
        return _Seat(closing.enter_context(Statements.opened(self.lake)), closing)
