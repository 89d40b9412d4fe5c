"""Retention: what is past its time goes.

Belongs here: which bytes, rows and tables are past the months that their source's contract allows (domain rule 1), and
removing them. Does not belong here: erasing one person (`rights`).

Bytes go first, and with them the possibility to judge a delivery again; then its rows and its data key; then the
pseudonymised tables. What the next release still reads is kept until it no longer does: the contract's months are those
after which nothing needs it.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from insertion_pipeline.identity import ledger
from insertion_pipeline.ingestion import content, deliveries
from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry


@dataclass(frozen=True)
class Retired:
    """What went, in numbers: contents whose bytes went, deliveries whose rows and key went, monthly tables above."""

    bytes_of: int
    rows_of: int
    tables: int

    def to_json(self) -> dict[str, int]:
        """The answer of `insertion retention --json`."""
        return asdict(self)


def retain(
    lake: Lake, registry: Registry, now: Month, still_read: Month, *, by: str, only_say: bool = False
) -> Retired:
    """Remove what is past its retention in the month `now`. The caller holds the writer's lock.

    `still_read`: the first month that the next release reads; rows from then on stay, whatever their age. `only_say`:
    count, and remove nothing.
    """
    bytes_of = rows_of = 0
    everything = receipts(lake)
    for receipt in everything:
        if receipt.status not in ("applied", "held") or receipt.source not in registry.sources:
            continue
        kept, newest = registry.sources[receipt.source].insertion.retention_months, _newest(receipt)
        partner = registry.partners.get(receipt.partner)
        if partner is None or newest is None:
            continue
        if newest < now.plus(-kept["raw"]) and content.has_bytes(lake, partner, receipt.sha256):
            bytes_of += 1
            if not only_say:
                content.discard_bytes(lake, partner, receipt.sha256)
        if newest < min(now.plus(-kept["identifiers"]), still_read):
            folder = deliveries.conformed_folder(lake, receipt.source, receipt.sha256, receipt.partner, receipt.month)
            rows_of += folder.exists()
            if not only_say and not _is_needed(receipt, everything, newest):
                shutil.rmtree(folder, ignore_errors=True)
                content.discard(lake, partner, receipt.sha256)
    tables = list(_old_tables(lake, registry, now))
    if not only_say:
        for path in tables:
            path.unlink(missing_ok=True)
    retired = Retired(bytes_of, rows_of, len(tables))
    if not only_say:
        ledger.append(lake, "retention", by, month=str(now), **retired.to_json())
    return retired


def _newest(receipt: Receipt) -> Month | None:
    """The last month that a delivery says anything of."""
    return max((month for month in (receipt.month, *receipt.months) if month is not None), default=None)


def _is_needed(receipt: Receipt, everything: tuple[Receipt, ...], newest: Month) -> bool:
    """Whether the same bytes were delivered for a later month too: one data key seals both."""
    return any(
        (later := _newest(other)) is not None and later > newest
        for other in everything
        if (other.sha256, other.partner) == (receipt.sha256, receipt.partner)
    )


def _old_tables(lake: Lake, registry: Registry, now: Month) -> Iterator[Path]:
    """Monthly tables above the seal past the longest retention of facts; a source's own tables past its own."""
    longest = max((one.insertion.retention_months["facts"] for one in registry.sources.values()), default=60)
    for path in sorted(lake.open_area.rglob("????-??.parquet")):
        area, name = path.relative_to(lake.open_area).parts[:2]
        kept = longest
        if area == "pseudonymised" and name in registry.sources:
            kept = registry.sources[name].insertion.retention_months["facts"]
        if Month.parse(path.stem) < now.plus(-kept):
            yield path
