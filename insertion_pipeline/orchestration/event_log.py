"""Dagster's SQLite event log, with its databases kept open for the length of one run.

Belongs here: how the command line writes its events to a home on a laptop. Does not belong here: what is logged; the
web server and the daemon, which watch the files and keep Dagster's own class; a shared instance (PostgreSQL).

`SqliteEventLogStorage` makes an engine and a connection for every statement, and SQLite empties its write-ahead log to
the disk whenever the last connection closes: 35 ms an event, of which a run has several hundred, against 3.5 ms here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy
from dagster import DagsterInstance
from dagster._core.instance.ref import InstanceRef
from dagster._core.storage.event_log import SqliteEventLogStorage
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._serdes import ConfigurableClassData
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import StaticPool


def instance_of(dagster_home: Path) -> DagsterInstance:
    """The instance that `dagster_home/dagster.yaml` describes; its SQLite event log, if it has one, stays open."""
    reference = InstanceRef.from_dir(str(dagster_home))
    storage = reference.event_storage_data
    if storage is not None and storage.class_name == SqliteEventLogStorage.__name__:
        opened = {"module": __name__, "class": OpenEventLog.__name__, "config": {"base_dir": str(dagster_home)}}
        reference = InstanceRef.from_dir(str(dagster_home), overrides={"event_log_storage": opened})
    return DagsterInstance.from_ref(reference)


class OpenEventLog(SqliteEventLogStorage):
    """The event log under one `DAGSTER_HOME`: one connection per database, used under the storage's own lock."""

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        self._engines: dict[str, Engine] = {}
        super().__init__(base_dir, inst_data)

    @classmethod
    def from_config_value(cls, inst_data: ConfigurableClassData | None, config_value: Any) -> OpenEventLog:
        """The log of the `DAGSTER_HOME` given as `base_dir`, in the folder that Dagster's default uses."""
        return cls(str(Path(config_value["base_dir"]) / "history" / "runs"), inst_data)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        with self._db_lock:
            engine = self._engines.get(shard) or self._opened(shard)
            if shard not in self._initialized_dbs:
                self._initdb(engine)
                self._initialized_dbs.add(shard)
            with engine.connect() as connection, connection.begin():
                yield connection

    def _opened(self, shard: str) -> Engine:
        engine = sqlalchemy.create_engine(
            self.conn_string_for_shard(shard),
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
            poolclass=StaticPool,
        )
        sqlalchemy.event.listen(engine, "connect", _commit_without_waiting_for_the_disk)
        self._engines[shard] = engine
        return engine

    def dispose(self) -> None:
        """Close the databases."""
        for engine in self._engines.values():
            engine.dispose()
        self._engines.clear()
        super().dispose()


def _commit_without_waiting_for_the_disk(connection: Any, record: object) -> None:
    """With a write-ahead log, a crash of the program loses nothing; one of the machine, the last events at most."""
    connection.execute("PRAGMA synchronous = NORMAL")
