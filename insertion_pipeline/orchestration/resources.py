"""What assets are given: the home, the writer's lock, the connection that publishes.

Belongs here: Dagster resources, each a thin cover over the core. Does not belong here: anything that computes.
"""

from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import duckdb
from dagster_duckdb import DuckDBResource
from pydantic import PrivateAttr

from insertion_pipeline.ingestion.receipts import as_of_now
from insertion_pipeline.instances import OFFLINE
from insertion_pipeline.lake import Lake
from insertion_pipeline.orchestration.metering import metered
from insertion_pipeline.registry import Registry, load_registry
from insertion_pipeline.settings import Settings


class Home(dg.ConfigurableResource["Home"]):
    """One home and the declarations it is run with."""

    folder: str
    data_sources: str
    may_create_keys: bool = True
    memory_limit_mb: int = 4096
    threads: int = 2
    store: str = ""
    spark_master: str = "local[*]"

    @classmethod
    def of(cls, settings: Settings) -> Home:
        return cls(
            folder=str(settings.home.resolve()),
            data_sources=str(settings.data_sources.resolve()),
            may_create_keys=not settings.is_production,
            memory_limit_mb=settings.memory_limit_mb,
            threads=settings.threads,
            store=settings.store or "",
            spark_master=settings.spark_master,
        )

    def lake(self) -> Lake:
        return Lake.open(
            Path(self.folder),
            may_create_keys=self.may_create_keys,
            memory_limit_mb=self.memory_limit_mb,
            threads=self.threads,
            archive_password=Settings().archive_password_text,  # never a field: Dagster keeps those with its runs
            store=self.store or None,
        )

    def registry(self) -> Registry:
        return registry_of(Path(self.data_sources))


_REGISTRIES: dict[Path, Registry] = {}


def registry_of(folder: Path) -> Registry:
    """Read once per process: a code location reloads in a process of its own, and sees the new declarations.

    What a run reads of them later must be what it was then: see `Registry.held`.
    """
    known = _REGISTRIES.get(folder.resolve())
    return known if known is not None else work_with(load_registry(folder))


def work_with(registry: Registry) -> Registry:
    """Have every step from now on use these declarations. Raises `DeclarationsChanged` where they are no more."""
    held = _REGISTRIES[registry.folder.resolve()] = registry.held()
    return held


class Writer(dg.ConfigurableResource["Writer"]):
    """The home in the hands of its one writer: locked, and metered, from the first step of a run to its last.

    `holds_lock_already`: the command line took the lock before starting the run. `newest_receipt`: the last receipt
    that it planned with. Otherwise a run knows those that are there when it begins.
    """

    home: Home
    holds_lock_already: bool = False
    newest_receipt: int | None = None
    _known: int | None = PrivateAttr(default=None)

    @contextlib.contextmanager
    def yield_for_execution(self, context: dg.InitResourceContext) -> Generator[Writer]:
        self._known = self.newest_receipt
        run = context.run
        with contextlib.ExitStack() as held:
            if not self.holds_lock_already:
                lake = self.lake()
                named = run.run_id if run is not None else "?"
                held.enter_context(lake.writer_lock(wait=True, holder=f"Dagster, run {named}"))
                lake.empty_spill()
                self._known = as_of_now(lake).newest_receipt
            if run is not None and context.instance is not None:
                held.enter_context(metered(self.lake().runs, run, context.instance))
            yield self

    def lake(self) -> Lake:
        return replace(self.home.lake(), newest_receipt=self._known)

    def registry(self) -> Registry:
        return self.home.registry()


class PublishingDatabase(dg.ConfigurableResource["PublishingDatabase"]):
    """dagster-duckdb's connection, for the one DuckDB file that is written: a release's, attached while it is built."""

    memory_limit_mb: int = 4096
    threads: int = 2

    @contextlib.contextmanager
    def connected(self) -> Iterator[duckdb.DuckDBPyConnection]:
        """The connection, closed however the block ends: `DuckDBResource` leaves it open after an error."""
        resource = DuckDBResource(
            database=":memory:",
            connection_config={
                "memory_limit": f"{self.memory_limit_mb}MB",
                "threads": self.threads,
                **OFFLINE,
            },
        )
        with resource.get_connection() as connection:
            try:
                yield connection
            finally:
                connection.close()
