"""When things run by themselves: the condition, the sensor that watches deposits.

Belongs here: policies, applied once to selections. Does not belong here: what a run does (`assets`).
"""

import itertools

import dagster as dg

from insertion_pipeline.ingestion.receipts import receipts_after
from insertion_pipeline.orchestration.grid import grid_events, mark_reported, newest_reported
from insertion_pipeline.orchestration.resources import Home

#: Events that one tick of the sensor may report: 500 take about 2 s on SQLite, a tick may last 60.
RECEIPTS_PER_TICK = 500


def whenever_delivered() -> dg.AutomationCondition[dg.AssetKey]:
    """Run when something upstream changed, whatever the month, without waiting for the last late partner.

    `eager()` would ignore a new delivery of an old month, wait until every partner has delivered, and run past a
    blocking check that failed in another run.
    """
    eager = dg.AutomationCondition.eager()
    return (
        eager.without(dg.AutomationCondition.in_latest_time_window()).without(
            ~dg.AutomationCondition.any_deps_missing()
        )
        & dg.AutomationCondition.all_deps_blocking_checks_passed()
    ).with_label("whenever_delivered")


@dg.sensor(
    name="deliveries",
    minimum_interval_seconds=30,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Reports new receipts on the grids. The cursor is the newest receipt seen, never the clock.",
)
def delivery_sensor(context: dg.SensorEvaluationContext, home: Home) -> dg.SensorResult | dg.SkipReason:
    """Read the receipts after the cursor, at most `RECEIPTS_PER_TICK`; the automation condition does the rest."""
    seen = max(int(context.cursor or 0), newest_reported(context.instance))
    registry = home.registry()
    receipts = list(itertools.islice(receipts_after(home.lake(), seen), RECEIPTS_PER_TICK))
    if not receipts:
        return dg.SkipReason(f"Aucun dépôt après le n° {seen}.")
    mark_reported(context.instance, receipts[-1].sequence)
    return dg.SensorResult(
        asset_events=[event for receipt in receipts for event in grid_events(receipt, registry)],
        cursor=str(receipts[-1].sequence),
    )
