"""Which months a run works on: those that it publishes, those that it reads to do so.

Belongs here: months, from receipts alone. Does not belong here: Dagster (the command line plans before loading it),
what a month costs, whether a release exists already (`publication`).
"""

from __future__ import annotations

from dataclasses import dataclass

from insertion_pipeline.indicators.catalogue import MONTHS_BACK
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span

#: A release holds all months of the last three years (`interfaces`).
MONTHS_PUBLISHED = 36


@dataclass(frozen=True)
class Plan:
    """The months of a release, oldest first.

    `published`: delivered months. `read`: those, and the months before them that deliveries speak of and facts look
    back at: a fluxIAE export of October tells of January too.
    """

    published: tuple[Month, ...]
    read: tuple[Month, ...]

    @property
    def last(self) -> Month:
        return self.published[-1]

    @property
    def span(self) -> Span:
        return Span(self.published[0], self.published[-1])


#: The tag of a run that says in which month its release ends.
LAST_MONTH_TAG = "insertion/last_month"

#: The tag of a run that says what computes facts and values.
ENGINE_TAG = "insertion/engine"


def span_tags(span: Span, engine: str = "duckdb") -> dict[str, str]:
    """The tags of one run over a span of months. Those of its two ends are Dagster's own."""
    return {
        "dagster/asset_partition_range_start": str(span.first),
        "dagster/asset_partition_range_end": str(span.last),
        LAST_MONTH_TAG: str(span.last),
        ENGINE_TAG: engine,
    }


class NothingDelivered(Exception):
    """No delivery counts for the months asked for: there is nothing to publish."""


def plan(lake: Lake, last: Month | None = None) -> Plan:
    """The months of the release that ends in `last`, by default the newest delivered month.

    The plan depends on the receipts and on `last` alone, so that a rerun is the same run. Raises `NothingDelivered`.
    """
    counting = [receipt for receipt in receipts(lake) if receipt.counts and receipt.month is not None]
    delivered = {receipt.month for receipt in counting if receipt.month is not None}
    newest = max((month for month in delivered if last is None or month <= last), default=None)
    if newest is None:
        raise NothingDelivered(f"aucun dépôt jusqu'à {last}" if last else "aucun dépôt")
    published = {month for month in delivered if newest.plus(-MONTHS_PUBLISHED) < month <= newest}
    earliest = min(published).plus(1 - MONTHS_BACK)
    told = {month for receipt in counting for month in receipt.months if earliest <= month <= newest}
    return Plan(tuple(sorted(published)), tuple(sorted(published | told)))
