"""What was answered to each deposit, in order, for ever.

Belongs here: the receipt, its JSON, looking receipts up. Does not belong here: numbers and files (`numbered`), the
bytes (`content`), which deliveries count for a month (`deliveries`), deciding anything (`landing`).

A receipt holds counts, codes and digests: no value, no name that came with a file. Its file appears whole under a
number that nobody else has (`Lake.claim` never overwrites), and is the commit point of a delivery: what was written
before it is invisible until it stands there. Order is that number, never a clock.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import json
from collections.abc import Callable, Iterator, Mapping
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


def receipts(lake: Lake) -> tuple[Receipt, ...]:
    """All receipts, in order; those that the lake's run knows."""
    return tuple(receipts_after(lake, 0))


def receipts_after(lake: Lake, sequence: int) -> Iterator[Receipt]:
    """The receipts numbered above `sequence`, in order."""
    place = str(folder(lake))
    for number in numbered.taken(lake, folder(lake)):
        if number > sequence and (lake.newest_receipt is None or number <= lake.newest_receipt):
            yield _receipt(f"{place}/{numbered.name_of(number)}")


def as_of_now(lake: Lake) -> Lake:
    """The lake for one run: it goes on knowing the receipts that are there now, and no later one."""
    if lake.newest_receipt is not None:
        return lake
    return replace(lake, newest_receipt=max(numbered.taken(lake, folder(lake)), default=0))


def append(lake: Lake, receipt: Receipt) -> Receipt:
    """Give the receipt the next number and let it stand. Nobody ever overwrites a receipt.

    Raises `Overtaken` where another machine gave that number to another receipt meanwhile (`committing`).
    """
    number = max(numbered.taken(lake, folder(lake)), default=0) + 1
    receipt = replace(receipt, sequence=number)
    if not numbered.take(lake, folder(lake), number, receipt.to_json()):
        raise Overtaken(numbered.name_of(number))
    return receipt


def committing(lake: Lake, decide: Callable[[tuple[Receipt, ...]], T]) -> T:
    """What `decide` answers, given all receipts, under the lock of this home; it may add a receipt.

    Where another machine added one meanwhile, it decides again, knowing it.
    """
    with commit_lock(lake):
        while True:
            with contextlib.suppress(Overtaken):
                return decide(receipts(lake))


@contextlib.contextmanager
def commit_lock(lake: Lake) -> Iterator[None]:
    """Held for the moment between looking at the receipts and adding one; the lock of runs has no part in it."""
    lake.landing.mkdir(parents=True, exist_ok=True, mode=0o700)
    with (lake.landing / "receipts.lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@functools.lru_cache(maxsize=100_000)
def _receipt(path: str) -> Receipt:
    """A receipt never changes: it is read once per process. Thousands are asked for by name: no Path for each."""
    return Receipt.from_json(json.loads(Path(path).read_bytes()))
