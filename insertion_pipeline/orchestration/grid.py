"""The grid of partners and months: what was expected, and what came.

Belongs here: partitions, and the events that fill the grid from receipts. Does not belong here: reading a delivery.

Months are partitions, partners are rows: one run handles a month of every partner (measured: 18 s for 110 files,
against 659 s with a run for each). The grid stays visible as external assets, which no run materialises.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import dagster as dg

from insertion_pipeline.ingestion.receipts import Receipt, receipts_after
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry, Source

MONTHS, PARTNERS = "month", "partner"


def monthly(registry: Registry, through: Month | None = None) -> dg.MonthlyPartitionsDefinition:
    """The months from the first contract to the current one, or to `through` when that is later.

    The current month stands there because a snapshot may be deposited before its month ends.
    """
    first = min((source.first_month for source in registry.sources.values()), default=Month(2020, 1))
    current = Month.of(datetime.now(UTC).date())
    last = max(current, through or current)
    return dg.MonthlyPartitionsDefinition(start_date=str(first), fmt="%Y-%m", end_offset=last.months_since(current) + 1)


def delivery_key(source: str) -> dg.AssetKey:
    """The grid of a source."""
    return dg.AssetKey(["deliveries", source])


def delivered_sources(registry: Registry) -> list[Source]:
    """The sources that some partner delivers, or once did: a contract alone is not yet a flow."""
    names = {name for partner in registry.partners.values() for name in partner.sources}
    return [registry.sources[name] for name in sorted(names)]


def delivery_grid(source: Source, registry: Registry, months: dg.MonthlyPartitionsDefinition) -> dg.AssetSpec:
    """The external asset of one source: a cell per partner that delivers it, now or once, and month."""
    partners = sorted(partner.code for partner in registry.partners.values() if source.name in partner.sources)
    return dg.AssetSpec(
        key=delivery_key(source.name),
        description=f"{source.title} : ce que les partenaires ont déposé, mois par mois.",
        group_name="deliveries",
        kinds={"file"},
        tags={"family": source.family},
        metadata={"expected_by_day": source.insertion.deadline_day, "extent": source.insertion.extent},
        partitions_def=dg.MultiPartitionsDefinition(
            {PARTNERS: dg.StaticPartitionsDefinition(partners), MONTHS: months}
        ),
    )


def grid_events(receipt: Receipt, registry: Registry) -> Iterator[dg.AssetMaterialization | dg.AssetObservation]:
    """What a receipt changes on the grid: one that counts fills its cell, any other is a note beside it."""
    partner = registry.partners.get(receipt.partner)
    if receipt.month is None or partner is None or receipt.source not in partner.sources:
        return
    cell = dg.MultiPartitionKey({PARTNERS: receipt.partner, MONTHS: str(receipt.month)})
    metadata: dict[str, dg.MetadataValue] = {
        "sequence": dg.MetadataValue.int(receipt.sequence),
        "sha256": dg.MetadataValue.text(receipt.sha256),
        "status": dg.MetadataValue.text(receipt.status),
        "verdict": dg.MetadataValue.int(receipt.verdict),
        "lines": dg.MetadataValue.int(receipt.account.lines),
        "dagster/partition_row_count": dg.MetadataValue.int(receipt.account.accepted),
        "rejected": dg.MetadataValue.int(receipt.account.rejected),
        "findings": dg.MetadataValue.json(dict(receipt.findings)),
    }
    event = dg.AssetMaterialization if receipt.counts else dg.AssetObservation
    yield event(asset_key=delivery_key(receipt.source), partition=cell, metadata=metadata)


_REPORTED = "insertion-newest-receipt-reported"


def newest_reported(instance: dg.DagsterInstance) -> int:
    """The newest sequence number already on the grid, whoever put it there."""
    return int(instance.daemon_cursor_storage.get_cursor_values({_REPORTED}).get(_REPORTED, 0))


def mark_reported(instance: dg.DagsterInstance, sequence: int) -> None:
    """Remember that receipts up to `sequence` are on the grid."""
    instance.daemon_cursor_storage.set_cursor_values({_REPORTED: str(sequence)})


def report_new_receipts(instance: dg.DagsterInstance, lake: Lake, registry: Registry) -> None:
    """Put the receipts that the sensor has not seen on the grid, from a run started by hand."""
    newest = newest_reported(instance)
    for receipt in receipts_after(lake, newest):
        for event in grid_events(receipt, registry):
            instance.report_runless_asset_event(event)
        newest = receipt.sequence
    mark_reported(instance, newest)
