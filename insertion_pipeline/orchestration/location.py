"""The code location: every asset, check, job and sensor of one registry, assembled.

Belongs here: putting the parts together and the policies that hold for all of them. Does not belong here: the parts.
"""

from __future__ import annotations

import warnings

import dagster as dg

from insertion_pipeline.month import Month
from insertion_pipeline.orchestration import assets, automation, checks, grid, lateness
from insertion_pipeline.orchestration.alerting import failure_sensor
from insertion_pipeline.orchestration.resources import Home, PublishingDatabase, Writer, registry_of
from insertion_pipeline.settings import Settings

OWNERS = ("team:data",)
MONTHLY_JOB = "monthly"


def code_location(
    settings: Settings, *, through: Month | None = None, lock_is_held: bool = False, newest_receipt: int | None = None
) -> dg.Definitions:
    """What Dagster loads. `lock_is_held`, `newest_receipt`: the caller holds the writer's lock, and planned with it."""
    registry = registry_of(settings.data_sources)
    months = grid.monthly(registry, through)
    home = Home.of(settings)
    sources = grid.delivered_sources(registry)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", category=dg.BetaWarning)  # single-run backfills: in beta for three years
        materialised = [
            *(assets.conformed_asset(source, months) for source in sources),
            assets.identity_assets(sources, months),
            assets.fact_assets(sources, months),
            assets.indicator_values_asset(months),
            assets.release_asset(),
        ]
        calendar = lateness.deadline_checks(sources)
        made = dg.AssetSelection.assets(*(key for one in materialised for key in one.keys))
        monthly = dg.define_asset_job(
            MONTHLY_JOB,
            selection=made - dg.AssetSelection.checks(calendar),
            description="Tout ce que les dépôts d'un mois, ou d'une suite de mois, demandent de refaire.",
        )
        morning = dg.define_asset_job(
            lateness.DEADLINES_JOB,
            selection=dg.AssetSelection.checks(calendar),
            description="Qui est en retard, et si la publication est à jour.",
        )
        grids = [grid.delivery_grid(source, registry, months) for source in sources]
        return dg.Definitions(
            assets=[
                *(spec.replace_attributes(owners=OWNERS) for spec in grids),
                *(definition.map_asset_specs(_under_policy) for definition in materialised),
            ],
            asset_checks=[
                *(check for source in sources for check in checks.source_checks(source)),
                *checks.value_checks(),
                *checks.release_checks(),
                calendar,
            ],
            jobs=[monthly, morning],
            schedules=[automation.monthly_schedule(MONTHLY_JOB), lateness.deadlines_schedule()],
            sensors=[automation.delivery_sensor, automation.automation_sensor(), failure_sensor(settings)],
            resources={
                "home": home,
                "writer": Writer(home=home, holds_lock_already=lock_is_held, newest_receipt=newest_receipt),
                "publishing": PublishingDatabase(),
            },
            executor=dg.in_process_executor,
        )


def _under_policy(spec: dg.AssetSpec) -> dg.AssetSpec:
    """The policies of everything that runs make."""
    return spec.replace_attributes(owners=OWNERS, automation_condition=automation.whenever_delivered())
