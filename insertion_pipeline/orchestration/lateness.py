"""What the calendar says, once a day: which partners are late, whether the release is as recent as it can be.

Belongs here: the checks of deadlines, their job and its hour. Does not belong here: deadlines (`ingestion.deadlines`),
the checks of what was delivered (`checks`). Nothing waits for these checks: they ask, and people call.
"""

from collections.abc import Iterator, Sequence

import dagster as dg

from insertion_pipeline.ingestion import deadlines
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.month import Month
from insertion_pipeline.orchestration.assets import RELEASE
from insertion_pipeline.orchestration.grid import delivery_key
from insertion_pipeline.orchestration.resources import Home
from insertion_pipeline.publication import releasing
from insertion_pipeline.registry import Source

DEADLINES_JOB = "deadlines"
_WARN = dg.AssetCheckSeverity.WARN


def deadline_checks(sources: Sequence[Source]) -> dg.AssetChecksDefinition:
    """One check per source, with the names of those who are late, and one of the release, all in one step.

    A run that makes the release by itself asks for that one alone.
    """
    specs = [
        dg.AssetCheckSpec(
            "nobody_is_late",
            asset=delivery_key(source.name),
            description="Les partenaires attendus ont déposé à temps : qui manque, et depuis combien de jours.",
        )
        for source in sources
    ]
    fresh = dg.AssetCheckSpec(
        "is_fresh", asset=RELEASE, description="La dernière publication va jusqu'au dernier mois déposé."
    )

    @dg.multi_asset_check(name="deadlines_of_the_month", specs=[*specs, fresh], can_subset=True)
    def deadlines_of_the_month(context: dg.AssetCheckExecutionContext, home: Home) -> Iterator[dg.AssetCheckResult]:
        lake, registry, asked = home.lake(), home.registry(), context.selected_asset_check_keys
        now, everything = lake.clock.now(), receipts(lake)
        month = deadlines.collected_month(now.date())
        late = deadlines.late(registry, everything, month, now)
        for source in (one for one in sources if dg.AssetCheckKey(delivery_key(one.name), "nobody_is_late") in asked):
            own = [one for one in late if one.source.name == source.name]
            records = [
                dg.TableRecord({"partner": one.partner.name, "due": one.due.isoformat(), "days": one.days})
                for one in own
            ]
            yield dg.AssetCheckResult(
                passed=not own,
                asset_key=delivery_key(source.name),
                check_name="nobody_is_late",
                severity=_WARN,
                description=f"{month} : {len(own)} en retard" if own else f"{month} : personne en retard",
                metadata={"late": dg.MetadataValue.table(records)} if records else {},
            )
        if fresh.key in asked:
            yield _freshness(
                max((one.month for one in everything if one.counts and one.month is not None), default=None),
                max((Month.parse(one.months[-1]) for one in releasing.releases(lake)), default=None),
            )

    return deadlines_of_the_month


def _freshness(delivered: Month | None, published: Month | None) -> dg.AssetCheckResult:
    told = (
        "rien n'est déposé" if delivered is None else f"déposé jusqu'à {delivered}, publié jusqu'à {published or '—'}"
    )
    return dg.AssetCheckResult(
        passed=delivered is None or (published is not None and published >= delivered),
        asset_key=RELEASE,
        check_name="is_fresh",
        severity=_WARN,
        description=told,
    )


def deadlines_schedule() -> dg.ScheduleDefinition:
    """Every morning, before people come to work."""
    return dg.ScheduleDefinition(
        name="every_morning",
        job_name=DEADLINES_JOB,
        cron_schedule="0 7 * * *",
        execution_timezone="Europe/Paris",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Les retards du mois, chaque matin.",
    )
