"""Whether Dagster's own databases are those of the Dagster that is installed.

Belongs here: asking Dagster. Does not belong here: bringing them up to date, which `dagster instance migrate` does.
"""

from __future__ import annotations

import warnings
from pathlib import Path

from insertion_pipeline.orchestration.event_log import instance_of


def outdated_databases(dagster_home: Path) -> list[str] | None:
    """Which of `runs`, `event log`, `schedules` an earlier Dagster made; null where there is no instance yet.

    Raises whatever the database does that does not answer.
    """
    if not (dagster_home / "dagster.yaml").exists():
        return None
    with warnings.catch_warnings(), instance_of(dagster_home) as instance:
        warnings.simplefilter("ignore")
        storages = {
            "runs": instance.run_storage,
            "event log": instance.event_log_storage,
            "schedules": instance.schedule_storage,
        }
        versions = {name: storage.alembic_version() for name, storage in storages.items() if storage is not None}
    return [name for name, version in versions.items() if version is not None and version[0] != version[1]]
