"""What the side process is asked: core checks by the name of a source, so that question and answer can be sent.

Belongs here: functions of a lake and its declarations. Does not belong here: Dagster, which that process does not load.
"""

from __future__ import annotations

from insertion_pipeline.ingestion import deliveries, drift
from insertion_pipeline.ingestion.counterchecking import Countercheck, countercheck
from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry


def contract_holds(lake: Lake, registry: Registry, source: str, months: tuple[Month, ...]) -> Countercheck:
    """What pandera says of the deliveries of `source` that count in these months."""
    return countercheck(lake, registry, registry.source(source), counting(lake, registry, source, months))


def month_is_ordinary(
    lake: Lake, registry: Registry, source: str, months: tuple[Month, ...]
) -> tuple[drift.DriftReport, ...]:
    """What great-expectations says of `source` in these months."""
    return drift.judge_drift(lake, registry, registry.source(source), months)


def counting(lake: Lake, registry: Registry, source: str, months: tuple[Month, ...]) -> list[Receipt]:
    """The deliveries that count in these months, each once, whatever month they were made for."""
    everything, declared = receipts(lake), registry.source(source)
    numbers = {one.sequence for month in months for one in deliveries.effective(everything, declared, month)}
    return [one for one in everything if one.sequence in numbers and one.status == "applied"]
