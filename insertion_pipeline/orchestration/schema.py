"""Whether Dagster's own databases are those of the Dagster that is installed.

Belongs here: asking them, which creates nothing. Does not belong here: bringing them up to date, which
`dagster instance migrate` does.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import yaml
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.sql import AlembicVersion
from dagster._serdes import ConfigurableClassData

#: What SQLite keeps of each storage, in its `base_dir`.
_SQLITE_FILES = {"runs": "runs.db", "event log": "index.db", "schedules": "schedules.db"}


def outdated_databases(dagster_home: Path) -> list[str] | None:
    """Which of `runs`, `event log`, `schedules` an earlier Dagster made; null where none has been made yet.

    Raises whatever the database does that does not answer.
    """
    if not (dagster_home / "dagster.yaml").exists():
        return None
    reference = InstanceRef.from_dir(str(dagster_home))
    storages = {
        "runs": reference.run_storage_data,
        "event log": reference.event_storage_data,
        "schedules": reference.schedule_storage_data,
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        versions = {name: _version(name, data) for name, data in storages.items() if data is not None}
    made = {name: version for name, version in versions.items() if version is not None and version[0] is not None}
    return [name for name, (found, head) in made.items() if found != head] if made else None


def _version(name: str, declared: ConfigurableClassData) -> AlembicVersion | None:
    """The revision of a database and that of the program; of a file that is not there, none.

    A storage makes its tables when it is opened, unless it is told not to, which SQLite's cannot be.
    """
    config = declared.config_dict
    if declared.class_name.startswith("Sqlite"):
        if not (Path(config["base_dir"]) / _SQLITE_FILES[name]).exists():
            return None
    else:
        config = {**config, "should_autocreate_tables": False}
    asked = ConfigurableClassData(declared.module_name, declared.class_name, yaml.safe_dump(config))
    storage: Any = asked.rehydrate()
    try:
        if hasattr(storage, "_engine"):
            storage._engine.connect().close()  # once: Dagster itself tries for thirteen seconds, and tells of each
        version: AlembicVersion = storage.alembic_version()
    finally:
        storage.dispose()
    return version
