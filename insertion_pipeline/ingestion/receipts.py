"""What was answered to each deposit, in order, for ever.

Belongs here: the receipt, its JSON, looking receipts up by what they are of. Does not belong here: numbers and files
(`numbered`), the bytes (`content`), which deliveries count for a month (`deliveries`), deciding anything (`landing`).

A receipt holds counts, codes and digests: no value, no name that came with a file. Its file appears whole under a
number that nobody else has (`Lake.claim` never overwrites), and is the commit point of a delivery: what was written
before it is invisible until it stands there. Order is that number, never a clock.

A process reads each receipt once, and knows them by bytes, source and partner from then on: a deposit costs the same in
the third year as on the first day. What it knows is kept nowhere: the files are all that there is to lose.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import itertools
import json
import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeVar

from insertion_pipeline.ingestion import numbered
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.remote import Overtaken

T = TypeVar("T")

Status = Literal["applied", "held", "refused", "nothing"]


@dataclass(frozen=True)
class Receipt:
    """The answer to one deposit.

    `sequence`: its place in the order of receipts (0 before it is given one). `sha256`: of the bytes, or of the
    declaration for « néant ». `months`: those that accepted rows speak of. `rows`: accepted rows per table.
    `findings`: how many per code. `contract`: digest of all that judged it. `replaces`: the receipt that counted until
    then for its partner, source and month. `held_for`: why it waits for a confirmation. `confirms`: the receipt that
    it confirms. `members`: the contract's name of each member of the delivery, empty for one that is not read.
    """

    sequence: int
    sha256: str
    partner: str
    source: str
    month: Month | None
    span: Span | None
    size: int
    received_at: str
    status: Status
    verdict: int
    account: Account = field(default_factory=Account)
    months: tuple[Month, ...] = ()
    rows: Mapping[str, int] = field(default_factory=dict)
    findings: Mapping[str, int] = field(default_factory=dict)
    contract: str = ""
    replaces: int | None = None
    held_for: tuple[str, ...] = ()
    confirms: int | None = None
    members: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether it takes part in what is computed: its rows, or its having nothing to declare."""
        return self.status in ("applied", "nothing")

    def covers(self, month: Month) -> bool:
        """Whether it says something of `month`: the delivered month, and those between the months of its rows."""
        return month == self.month or (self.span is not None and month in self.span)

    def to_json(self) -> dict[str, Any]:
        """The stored form, and the answer of `insertion deliver --json`."""
        return {
            "sequence": self.sequence,
            "sha256": self.sha256,
            "partner": self.partner,
            "source": self.source,
            "month": _text(self.month),
            "span": _text(self.span),
            "size": self.size,
            "received_at": self.received_at,
            "status": self.status,
            "verdict": self.verdict,
            "lines": self.account.lines,
            "accepted": self.account.accepted,
            "rejected": self.account.rejected,
            "blank": self.account.blank,
            "header_footer": self.account.header_footer,
            "months": [str(month) for month in self.months],
            "rows": dict(self.rows),
            "findings": dict(self.findings),
            "contract": self.contract,
            "replaces": self.replaces,
            "held_for": list(self.held_for),
            "confirms": self.confirms,
            "members": list(self.members),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Receipt:
        """The receipt whose stored form `value` is."""
        return cls(
            sequence=value["sequence"],
            sha256=value["sha256"],
            partner=value["partner"],
            source=value["source"],
            month=Month.parse(value["month"]) if value["month"] else None,
            span=Span.parse(value["span"]) if value["span"] else None,
            size=value["size"],
            received_at=value["received_at"],
            status=value["status"],
            verdict=value["verdict"],
            account=Account(
                value["lines"], value["blank"], value["header_footer"], value["accepted"], value["rejected"]
            ),
            months=tuple(Month.parse(month) for month in value["months"]),
            rows=dict(value["rows"]),
            findings=dict(value["findings"]),
            contract=value["contract"],
            replaces=value["replaces"],
            held_for=tuple(value["held_for"]),
            confirms=value["confirms"],
            members=tuple(value.get("members", ())),
        )


def _text(value: Month | Span | None) -> str | None:
    return None if value is None else str(value)


def folder(lake: Lake) -> Path:
    """Where receipts lie."""
    return lake.landing / "receipts"


@dataclass(frozen=True)
class Received:
    """The receipts that stood at one moment, or those that the lake's run knows.

    What they are looked up in is shared by all moments: each sees those up to its last one.
    """

    everything: tuple[Receipt, ...] = ()
    _by_bytes: dict[tuple[str, str], list[Receipt]] = field(default_factory=dict)
    _by_source: dict[str, list[Receipt]] = field(default_factory=dict)
    _by_flow: dict[tuple[str, str], list[Receipt]] = field(default_factory=dict)

    @property
    def last(self) -> int:
        """The number of the last one, 0 before there is any."""
        return self.everything[-1].sequence if self.everything else 0

    def of_bytes(self, sha256: str, partner: str) -> tuple[Receipt, ...]:
        """Those of the same bytes from the same partner, in order."""
        return self._standing(self._by_bytes.get((sha256, partner), ()))

    def of_source(self, source: str) -> tuple[Receipt, ...]:
        """Those of one source, in order."""
        return self._standing(self._by_source.get(source, ()))

    def of_flow(self, partner: str, source: str) -> tuple[Receipt, ...]:
        """Those of one source from one partner, in order."""
        return self._standing(self._by_flow.get((partner, source), ()))

    def _standing(self, known: Sequence[Receipt]) -> tuple[Receipt, ...]:
        last = self.last
        return tuple(receipt for receipt in known if receipt.sequence <= last)

    def until(self, number: int) -> Received:
        """As it was when `number` was the last."""
        return replace(self, everything=self.everything[: bisect_right(self.everything, number, key=_sequence)])

    def and_then(self, new: Sequence[Receipt]) -> Received:
        """With those that were added since, in order."""
        for receipt in new:
            self._by_bytes.setdefault((receipt.sha256, receipt.partner), []).append(receipt)
            self._by_source.setdefault(receipt.source, []).append(receipt)
            self._by_flow.setdefault((receipt.partner, receipt.source), []).append(receipt)
        return replace(self, everything=(*self.everything, *new))


class _Known:
    """The receipts in one folder, as far as this process has read them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._received = Received()
        self._state: tuple[int, int] | None = None

    def now(self, lake: Lake, place: Path) -> Received:
        """All that stand now: those that are new are read."""
        with self._lock:
            if _state(place, self._received.last) != self._state:  # another home lies where this one was
                self._received = Received()
            last = self._received.last
            numbers = numbered.taken_after(lake, place, last) if last else numbered.taken(lake, place)
            if new := [_read(place, number) for number in numbers]:
                self._received = self._received.and_then(new)
            self._state = _state(place, self._received.last)
            return self._received


@functools.lru_cache(maxsize=16)
def _known(place: str) -> _Known:
    """What this process knows of the receipts in a folder."""
    return _Known()


def _state(place: Path, number: int) -> tuple[int, int] | None:
    """By what the file of a receipt is told from another one of that number, null where there is none."""
    try:
        seen = (place / numbered.name_of(number)).stat()
    except FileNotFoundError:
        return None
    return seen.st_ino, seen.st_mtime_ns


def _read(place: Path, number: int) -> Receipt:
    return Receipt.from_json(json.loads((place / numbered.name_of(number)).read_bytes()))


def _sequence(receipt: Receipt) -> int:
    return receipt.sequence


def received(lake: Lake) -> Received:
    """The receipts, to be looked up; those that the lake's run knows."""
    place = folder(lake)
    standing = _known(str(place)).now(lake, place)
    return standing if lake.newest_receipt is None else standing.until(lake.newest_receipt)


def receipts(lake: Lake) -> tuple[Receipt, ...]:
    """All receipts, in order; those that the lake's run knows."""
    return received(lake).everything


def receipts_after(lake: Lake, sequence: int) -> Iterator[Receipt]:
    """The receipts numbered above `sequence`, in order."""
    everything = receipts(lake)
    return itertools.islice(everything, bisect_right(everything, sequence, key=_sequence), None)


def as_of_now(lake: Lake) -> Lake:
    """The lake for one run: it goes on knowing the receipts that are there now, and no later one."""
    if lake.newest_receipt is not None:
        return lake
    return replace(lake, newest_receipt=received(lake).last)


def append(lake: Lake, receipt: Receipt) -> Receipt:
    """Give the receipt the next number and let it stand. Nobody ever overwrites a receipt.

    Raises `Overtaken` where another machine gave that number to another receipt meanwhile (`committing`).
    """
    number = received(replace(lake, newest_receipt=None)).last + 1
    receipt = replace(receipt, sequence=number)
    if not numbered.take(lake, folder(lake), number, receipt.to_json()):
        raise Overtaken(numbered.name_of(number))
    return receipt


def committing(lake: Lake, decide: Callable[[Received], T]) -> T:
    """What `decide` answers, given all receipts, under the lock of this home; it may add a receipt.

    Where another machine added one meanwhile, it decides again, knowing it.
    """
    with commit_lock(lake):
        while True:
            with contextlib.suppress(Overtaken):
                return decide(received(lake))


@contextlib.contextmanager
def commit_lock(lake: Lake) -> Iterator[None]:
    """Held for the moment between looking at the receipts and adding one; the lock of runs has no part in it."""
    lake.landing.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (lake.landing / "receipts.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
