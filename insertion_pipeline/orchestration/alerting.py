"""Telling somebody that a run failed.

Belongs here: what is said, to whom, and what happens when it cannot be said. Does not belong here: why a step failed,
which stays in the run.

The message holds the run, its job and a link: nothing of what the run was working on.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import dagster as dg
import httpx

from insertion_pipeline.mailing import MailServer, composed
from insertion_pipeline.settings import Settings

#: A webhook that does not answer must not hold the daemon up.
_SECONDS = 10

#: Dagster calls the sensor once per failed run, whatever comes of it: what does not leave is tried again at once.
ATTEMPTS = 3


class AlertNotSent(Exception):
    """Nobody could be told by this way. Names the way and the kind of error, no address and no password."""


def failure_sensor(settings: Settings, *, wait: Callable[[float], None] = time.sleep) -> dg.SensorDefinition:
    """Tells of every failed run by `INSERTION_ALERT_WEBHOOK` and `INSERTION_ALERT_MAIL`; stopped where neither is set.

    Raises `AlertNotSent` after every way was tried: the tick is red in Dagster, and the other way has said it.
    """
    ways = dict(_ways(settings))

    @dg.run_failure_sensor(
        name="failed_runs",
        default_status=dg.DefaultSensorStatus.RUNNING if ways else dg.DefaultSensorStatus.STOPPED,
        minimum_interval_seconds=30,
        description="Annonce un run en échec : son numéro et un lien, rien de plus.",
    )
    def failed_runs(context: dg.RunFailureSensorContext) -> None:
        message = failure_message(context.dagster_run, settings.dagster_url)
        errors = {name: _told(tell, message, wait) for name, tell in ways.items()}
        if failed := ", ".join(f"{name} ({error})" for name, error in errors.items() if error):
            raise AlertNotSent(failed)

    return failed_runs


def failure_message(run: dg.DagsterRun, dagster_url: str) -> dict[str, str]:
    """What is posted: JSON that chat services show as it is (`text`), and its parts."""
    link = f"{dagster_url.rstrip('/')}/runs/{run.run_id}"
    return {"text": f"Run en échec : {link}", "run_id": run.run_id, "job": run.job_name, "url": link}


def _told(tell: Callable[[dict[str, str]], None], message: dict[str, str], wait: Callable[[float], None]) -> str:
    """Say it, a few times if need be; the kind of the last error when nobody heard."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            tell(message)
        except (OSError, httpx.HTTPError) as error:
            kind = type(error).__name__
        else:
            return ""
        if attempt < ATTEMPTS:
            wait(2.0**attempt)
    return kind


def _ways(settings: Settings) -> Iterator[tuple[str, Callable[[dict[str, str]], None]]]:
    """The ways that are set, by name."""
    if (webhook := settings.alert_webhook) is not None:
        address = webhook.get_secret_value()
        yield "webhook", lambda message: _post(address, message)
    readers = [reader.strip() for reader in settings.alert_mail.split(",") if reader.strip()]
    if readers and settings.smtp_host is not None:
        server = MailServer(
            settings.smtp_host,
            settings.smtp_port,
            settings.smtp_starttls,
            settings.smtp_user,
            settings.smtp_password,
        )
        yield "mail", lambda message: _write(server, settings.mail_from, readers, message)


def _post(address: str, message: dict[str, str]) -> None:
    httpx.post(address, json=message, timeout=_SECONDS).raise_for_status()


def _write(server: MailServer, sender: str, readers: list[str], message: dict[str, str]) -> None:
    subject = f"Run en échec : {message['run_id'][:8]}"
    text = f"{message['text']}\n"
    server.send(composed(f"failed run {message['run_id']}", sender, ", ".join(readers), subject, text))
