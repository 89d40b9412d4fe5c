"""When things run by themselves: the condition and who evaluates it, the sensor that watches deposits, the calendar.

Belongs here: policies, applied once to selections. Does not belong here: what a run does (`assets`).
"""

import itertools

import dagster as dg

from insertion_pipeline.ingestion.receipts import receipts_after
from insertion_pipeline.month import Month
from insertion_pipeline.orchestration.grid import grid_events, mark_reported, newest_reported
from insertion_pipeline.orchestration.planning import NothingDelivered, plan, span_tags
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


def automation_sensor() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the condition of every asset, from the first start of the daemon on."""
    return dg.AutomationConditionSensorDefinition(
        "whenever_delivered",
        target=dg.AssetSelection.all(),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Lance ce que les nouveaux dépôts demandent, contrôles bloquants compris.",
    )


def monthly_schedule(job: str) -> dg.ScheduleDefinition:
    """The whole job once a month, the day after most sources are due, for whoever prefers a date to each delivery."""

    @dg.schedule(
        name="monthly_release",
        job_name=job,
        cron_schedule="0 6 16 * *",
        execution_timezone="Europe/Paris",
        default_status=dg.DefaultScheduleStatus.STOPPED,
        description="Une publication par mois, le lendemain de la plupart des échéances.",
    )
    def monthly_release(context: dg.ScheduleEvaluationContext, home: Home) -> dg.RunRequest | dg.SkipReason:
        last_due = Month.of(context.scheduled_execution_time.date()).plus(-1)
        try:
            planned = plan(home.lake(), last_due)
        except NothingDelivered as nothing:
            return dg.SkipReason(str(nothing))
        return dg.RunRequest(run_key=str(last_due), tags=span_tags(planned.span))

    return monthly_release


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
