"""Receiving deliveries: judged, kept under seal, answered with a receipt.

Belongs here: what happens to a delivery from its bytes to its receipt, « néant », holding and confirming. Does not
belong here: the judgement (`judging`), what counts for a month (`deliveries`), where bytes lie (`content`).

The order of writing is bytes, conformed tables, receipt: the receipt is the commit point, what was written before it
and has none is invisible, and writing it again gives the same. Deliveries never wait for the lock of a run.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa

from insertion_pipeline.ingestion import content, deliveries, tombstones
from insertion_pipeline.ingestion.conforming import Conformed
from insertion_pipeline.ingestion.content import Content
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.gathering import Store
from insertion_pipeline.ingestion.judging import Judgement, judge
from insertion_pipeline.ingestion.receipts import Receipt, Received, append, committing, received
from insertion_pipeline.ingestion.receipts import receipts as receipts
from insertion_pipeline.ingestion.receipts import receipts_after as receipts_after
from insertion_pipeline.ingestion.seats import Seats
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake, write_json
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import Registry, Source

#: A thin file has fewer than 70 % and fewer than N - 10 rows of the month it is compared with (domain rule 11).
THIN_SHARE, THIN_ROWS = 0.70, 10
#: Deposits judged before their turn, for each that is being judged: findings wait in memory.
_AHEAD = 2


class NothingToConfirm(Exception):
    """`--confirm` names a delivery that nobody received, or that does not wait."""


@dataclass(frozen=True)
class Deposit:
    """One deposit to receive: `deliveries.csv` has one per line."""

    delivery: Path | Sequence[Path]
    partner: str
    source: str | None = None
    month: Month | None = None


@dataclass(frozen=True)
class Answer:
    """What a deposit is answered: the receipt, and the findings with their values, for the depositor alone.

    `is_repeated`: the same bytes had been received already. `findings` is null for what was accepted then: they were
    given the first time, and `deliveries.findings_of` has them.
    """

    receipt: Receipt
    findings: pa.Table | None = None
    is_repeated: bool = False

    def to_json(self, findings: pa.Table | None = None) -> dict[str, Any]:
        """The answer of `insertion deliver --json`: the receipt, and in `details` each finding, as `check` tells it."""
        told = self.findings if self.findings is not None else findings
        return self.receipt.to_json() | {"details": told.to_pylist() if told is not None else []}


def deliver(
    delivery: Path | Sequence[Path],
    partner: str,
    source: str | None,
    month: Month | None,
    registry: Registry,
    lake: Lake,
    *,
    archive_password: str | None = None,
    limits: Limits | None = None,
    confirm: str | None = None,
    statements: Statements | None = None,
) -> Answer:
    """Receive a file, or the files of a bundle. The same bytes for the same month give the same receipt again.

    `confirm`: the sha256 of these bytes, from the depositor: apply them even if they would be held, or if they were
    replaced since.
    """
    prepared = _prepared(
        Deposit(delivery, partner, source, month), registry, lake,
        archive_password=archive_password, limits=limits, confirm=confirm, statements=statements,
    )  # fmt: skip
    return prepared()


def deliver_many(
    deposits: Sequence[Deposit],
    registry: Registry,
    lake: Lake,
    *,
    archive_password: str | None = None,
    limits: Limits | None = None,
) -> Iterator[Answer]:
    """Receive deposits: judged side by side, numbered one after the other, in their order."""
    workers = max(min(lake.threads, len(deposits)), 1)
    seats = Seats(lake.shared_by(workers), workers)
    with closing(seats), ThreadPoolExecutor(workers) as pool:

        def prepared(one: Deposit) -> Callable[[], Answer]:
            with seats.taken() as statements:
                return _prepared(
                    one, registry, lake, archive_password=archive_password, limits=limits, statements=statements
                )

        waiting: deque[Future[Callable[[], Answer]]] = deque()
        try:
            for one in deposits:
                waiting.append(pool.submit(prepared, one))
                if len(waiting) > _AHEAD * workers:
                    yield waiting.popleft().result()()
            while waiting:
                yield waiting.popleft().result()()
        finally:
            for future in waiting:
                future.cancel()


def _prepared(
    deposit: Deposit,
    registry: Registry,
    lake: Lake,
    *,
    archive_password: str | None = None,
    limits: Limits | None = None,
    confirm: str | None = None,
    statements: Statements | None = None,
) -> Callable[[], Answer]:
    """Judge a delivery and keep its rows; what comes back lets it stand, or notes its refusal.

    What a delivery is worth depends on its bytes alone, so that several are judged at once; what it replaces and
    whether it is held depend on those before it.
    """
    partner, source, month = deposit.partner, deposit.source, deposit.month
    bytes_sent = Content.of(deposit.delivery)
    confirms = confirm is not None and confirm.lower() == bytes_sent.sha256
    known = None if confirms else _already_received(received(lake), bytes_sent.sha256, partner, source, month)
    if known is not None and known.status != "refused":  # what was refused is judged again, and told why again
        return partial(Answer, known, is_repeated=True)
    who = registry.partners.get(partner)
    key = content.prepared_key(lake, who, bytes_sent.sha256) if who is not None else None
    with Store.opened(lake, key) as store:
        judgement = judge(
            bytes_sent.paths, partner, source, month, registry, lake,
            archive_password=archive_password, limits=limits, statements=statements, store=store,
        )  # fmt: skip
        receipt = _receipt(judgement, bytes_sent, registry, lake)
        if judgement.is_refused or judgement.conformed is None or judgement.source is None:
            return partial(_refuse, receipt, judgement.findings, registry, lake)
        _keep(judgement.conformed, receipt, bytes_sent, key, registry, lake)
    return partial(_commit, receipt, judgement.findings, registry.source(judgement.source), lake, confirms=confirms)


def declare_nothing(partner: str, source: str, month: Month, registry: Registry, lake: Lake) -> Receipt:
    """Receive « néant »: the partner says that it has nothing to declare for the month.

    Raises `KeyError` for a partner or a source that is not declared, or a source that the partner does not deliver.
    """
    if not registry.partner(partner).expects(source, month):
        raise KeyError(f"{partner} delivers no {source!r} for {month}")
    digest = hashlib.sha256(f"nothing {partner} {source} {month}".encode()).hexdigest()

    def decide(everything: Received) -> Receipt:
        replaced = _replaced(everything, partner, registry.source(source), month)
        if replaced is not None and replaced.status == "nothing":
            return replaced
        return append(
            lake,
            Receipt(
                0, digest, partner, source, month, Span.single(month), 0, _now(lake), "nothing", 0,
                months=(month,), replaces=replaced.sequence if replaced is not None else None,
            ),
        )  # fmt: skip

    return committing(lake, decide)


def confirm(sha256: str, partner: str, registry: Registry, lake: Lake) -> Receipt:
    """Apply a delivery that was held, from its digest alone. Raises `NothingToConfirm`."""

    def decide(everything: Received) -> Receipt:
        same = everything.of_bytes(sha256.lower(), partner)
        held = next((one for one in reversed(same) if one.status == "held"), None)
        if held is None:
            raise NothingToConfirm(f"no delivery {sha256[:12]} of {partner} waits for a confirmation")
        done = next((one for one in same if one.confirms == held.sequence), None)
        if done is not None:
            return done
        replaced = _replaced(everything, partner, registry.source(held.source), held.month)
        return append(
            lake,
            replace(
                held,
                status="applied",
                confirms=held.sequence,
                received_at=_now(lake),
                replaces=replaced.sequence if replaced is not None else None,
            ),
        )

    return committing(lake, decide)


# -- repeated ----------------------------------------------------------------------------------------------------------


def _already_received(
    everything: Received, sha256: str, partner: str, source: str | None, month: Month | None
) -> Receipt | None:
    """The newest receipt of these bytes for this partner, source and month."""
    for receipt in reversed(everything.of_bytes(sha256, partner)):
        if (source is None or receipt.source == source) and (month is None or receipt.month == month):
            return receipt
    return None


def _contract(registry: Registry, source: str, partner: str) -> str:
    """The digest of what judges; of all the declarations where partner or source are not known."""
    if source in registry.sources and partner in registry.partners:
        return deliveries.contract_digest(registry, registry.sources[source], registry.partners[partner])
    return registry.digest


# -- refused -----------------------------------------------------------------------------------------------------------


def _refuse(judged: Receipt, findings: pa.Table, registry: Registry, lake: Lake) -> Answer:
    """Keep the refusal: digest, size, time, codes. Neither the bytes nor any value.

    The same bytes refused by the same contract for the same reasons have the same receipt.
    """
    partner = judged.partner if judged.partner in registry.partners else ""
    source = judged.source if judged.source in registry.sources else ""
    receipt = replace(judged, partner=partner, source=source, status="refused", rows={}, months=(), span=None)

    def decide(everything: Received) -> Answer:
        for earlier in reversed(everything.of_bytes(receipt.sha256, receipt.partner)):
            if replace(earlier, sequence=0, received_at=receipt.received_at) == receipt:
                return Answer(earlier, findings, is_repeated=True)
        return Answer(append(lake, receipt), findings)

    answer = committing(lake, decide)
    if not answer.is_repeated:
        number, path = answer.receipt.sequence, refusal_path(lake, answer.receipt.sequence)
        told = {"receipt": number, "sha256": receipt.sha256, "findings": _without_values(findings)}
        write_json(path, told)
        lake.keep(path)
    return answer


def refusal_path(lake: Lake, number: int) -> Path:
    """Where the reasons of the refusal with that receipt lie."""
    return lake.landing / "refusals" / f"{number:08d}.json"


def _without_values(findings: pa.Table) -> list[dict[str, object]]:
    """Findings by code, field and place, without any text that came with the file."""
    kept = findings.select(["code", "severity", "file", "table", "line", "field", "rule", "count"])
    rows: list[dict[str, object]] = kept.slice(0, 10_000).to_pylist()
    return rows


# -- accepted ----------------------------------------------------------------------------------------------------------


def _keep(
    conformed: Conformed,
    receipt: Receipt,
    bytes_sent: Content,
    prepared: bytes | None,
    registry: Registry,
    lake: Lake,
) -> None:
    """Write the bytes, then their rows, under the delivery's key. Nothing of it counts before the receipt stands.

    Tombstones come first: nothing of a person who was erased is written, not even for a moment.
    """
    source, partner = registry.source(receipt.source), registry.partner(receipt.partner)
    entombed = tombstones.load(lake).for_source(source, partner.space)
    kept = tombstones.remaining(lake, entombed, conformed, source, partner, receipt.month)
    key = content.data_key(lake, partner, receipt.sha256, prepared)
    if kept.is_whole:  # else the bytes hold somebody who was erased: their tables alone are kept
        content.store(lake, partner, bytes_sent)
    deliveries.keep(lake, partner, receipt, kept, key, receipt.contract, entombed)


def _commit(receipt: Receipt, findings: pa.Table, source: Source, lake: Lake, *, confirms: bool) -> Answer:
    """Number the receipt and let it stand, applied or held; or give back the one that a racer put there before."""

    def decide(everything: Received) -> Answer:
        replaced = _replaced(everything, receipt.partner, source, receipt.month)
        known = _already_received(everything, receipt.sha256, receipt.partner, receipt.source, receipt.month)
        if known is not None and known.status != "refused" and (known is replaced or not confirms):
            return Answer(known, is_repeated=True)
        held_for = () if confirms else tuple(_reasons_to_hold(receipt, everything, source))
        decided = replace(
            receipt,
            status="held" if held_for else "applied",
            held_for=held_for,
            replaces=replaced.sequence if replaced is not None else None,
            confirms=known.sequence if known is not None and known.status == "held" else None,
        )
        return Answer(append(lake, decided), findings)

    return committing(lake, decide)


def _receipt(judgement: Judgement, bytes_sent: Content, registry: Registry, lake: Lake) -> Receipt:
    conformed = judgement.conformed
    counted = judgement.findings.group_by("code").aggregate([("count", "sum")]).to_pylist()
    return Receipt(
        0,
        bytes_sent.sha256,
        judgement.partner,
        judgement.source or "",
        judgement.month,
        judgement.span,
        bytes_sent.size,
        _now(lake),
        "applied",
        judgement.verdict,
        judgement.account,
        conformed.months if conformed is not None else (),
        {name: rows.num_rows for name, rows in sorted(conformed.accepted.parts.items())} if conformed else {},
        {row["code"]: row["count_sum"] for row in sorted(counted, key=lambda row: str(row["code"]))},
        _contract(registry, judgement.source or "", judgement.partner),
        members=tuple(member.table or "" for member in judgement.members),
    )


def _replaced(everything: Received, partner: str, source: Source, month: Month | None) -> Receipt | None:
    """The receipt that counts until now for the partner, source and month."""
    if month is None:
        return None
    counting = deliveries.effective(everything.of_flow(partner, source.name), source, month)
    return counting[-1] if counting else None


def _now(lake: Lake) -> str:
    now: datetime = lake.clock.now()
    return now.astimezone(UTC).isoformat(timespec="seconds")


# -- held --------------------------------------------------------------------------------------------------------------


def _reasons_to_hold(receipt: Receipt, everything: Received, source: Source) -> Iterator[str]:
    """Why a delivery waits for a confirmation: `thin-file`, `drops-old-months`, `older-snapshot` (domain rule 11).

    A delta adds to what is there: it may be as small as it likes.
    """
    if source.insertion.extent == "delta":
        return
    own = [one for one in everything.of_flow(receipt.partner, source.name) if one.counts]
    comparison = compared(receipt, own, source)
    if comparison is not None and comparison.is_thin:
        yield "thin-file"
    if source.insertion.extent == "snapshot" and _drops_old_months(receipt, own):
        yield "drops-old-months"
    if source.insertion.extent == "snapshot" and _is_older(receipt, own):
        yield "older-snapshot"


@dataclass(frozen=True)
class Comparison:
    """Rows of a delivery beside those of the month that it is compared with."""

    month: Month
    before: int
    rows: int

    @property
    def is_thin(self) -> bool:
        """Fewer than 70 % and fewer than N - 10 rows."""
        return self.rows < THIN_SHARE * self.before and self.rows < self.before - THIN_ROWS


def compared(receipt: Receipt, own: Sequence[Receipt], source: Source) -> Comparison | None:
    """The delivery beside the same month last year, or else the previous month; null when there is neither.

    `own`: receipts of its partner. Tables are compared with themselves, so that a view delivered alone is not a thin
    bundle.
    """
    if receipt.month is None:
        return None
    for distance in (-12, -1):
        month = receipt.month.plus(distance)
        earlier = [
            one
            for one in deliveries.effective(own, source, month)
            if one.status == "applied" and one.month is not None and one.month < receipt.month
        ]
        if not earlier:
            continue
        before = {name: rows for one in earlier for name, rows in one.rows.items() if name in receipt.rows}
        return Comparison(month, sum(before.values()), sum(receipt.rows[name] for name in before))
    return None


def _drops_old_months(receipt: Receipt, own: Sequence[Receipt]) -> bool:
    """Whether a snapshot no longer has a month, older than its newest, that the snapshot before it had."""
    previous = next((one for one in reversed(own) if set(one.rows) & set(receipt.rows) and one.months), None)
    if previous is None or not receipt.months:
        return False
    return any(month not in receipt.months and month < receipt.months[-1] for month in previous.months)


def _is_older(receipt: Receipt, own: Sequence[Receipt]) -> bool:
    """Whether a snapshot would put what was known earlier in the place of what a newer one says of the same months."""
    return any(
        one.status == "applied"
        and one.month is not None
        and receipt.month is not None
        and one.month > receipt.month
        and set(one.rows) & set(receipt.rows)
        and set(one.months) & set(receipt.months)
        for one in own
    )
