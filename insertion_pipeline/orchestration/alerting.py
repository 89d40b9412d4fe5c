"""Telling somebody that a run failed.

Belongs here: what is said, and to which address. Does not belong here: why a step failed, which stays in the run.

The message holds the run, its job and a link: nothing of what the run was working on.
"""

from __future__ import annotations

import dagster as dg
import httpx

from insertion_pipeline.settings import Settings

#: A webhook that does not answer must not hold the daemon up.
_SECONDS = 10


def failure_sensor(settings: Settings) -> dg.SensorDefinition:
    """Posts every failed run to `INSERTION_ALERT_WEBHOOK`; stopped where no webhook is set."""
    webhook = settings.alert_webhook

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING if webhook else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description="Annonce un run en échec : son numéro et un lien, rien de plus.",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        if webhook is not None:
            message = failure_message(context.dagster_run, settings.dagster_url)
            httpx.post(webhook.get_secret_value(), json=message, timeout=_SECONDS).raise_for_status()

    return failed_runs


def failure_message(run: dg.DagsterRun, dagster_url: str) -> dict[str, str]:
    """What is posted: JSON that chat services show as it is (`text`), and its parts."""
    link = f"{dagster_url.rstrip('/')}/runs/{run.run_id}"
    return {"text": f"Run en échec : {link}", "run_id": run.run_id, "job": run.job_name, "url": link}
