"""Facts and passes of indicators on Spark: the queries that DuckDB runs on one machine, on as many as there are.

Belongs here: sessions, what a session reads, writing facts. Does not belong here: what differs between the two engines'
SQL (`dialect`), how values are made of passes (`computing`).

Spark reads pseudonymised tables and facts alone: they lie open in the lake, by design. Nothing sealed, no key and no
identifier reaches a session. What it writes has the columns, the types and the place that DuckDB would have given it:
whoever reads a fact does not know which engine made it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa

from insertion_pipeline.indicators import building, computing
from insertion_pipeline.indicators.catalogue import EARLIER, Fact, facts
from insertion_pipeline.indicators.engines.dialect import to_spark
from insertion_pipeline.lake import Lake, ParquetFile, in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

#: What results and discretion depend on, whatever the cluster. Anything else is said in `spark-defaults.conf`.
_RESULTS: Mapping[str, str] = {
    "spark.sql.ansi.enabled": "true",
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.caseSensitive": "false",
    "spark.sql.parquet.compression.codec": "zstd",
    "spark.log.level": "OFF",  # its errors quote values
}


@contextmanager
def spark_session(
    lake: Lake, master: str, extra: Mapping[str, str] | None = None, *, is_sealed: bool = False
) -> Iterator[SparkSession]:
    """A session, stopped at the end of the block. On this machine (`local[…]`) it listens on loopback alone.

    Spark reads `spark-defaults.conf` of `SPARK_CONF_DIR` first; `extra` comes last but for what results depend on.
    `is_sealed`: for rows with identities, which spill into the sealed area.
    """
    from pyspark.sql import SparkSession

    with lake.open_spill(is_sealed=is_sealed) as spill:
        builder = SparkSession.builder.master(master).appName("insertion-pipeline")
        here = {
            "spark.driver.host": "127.0.0.1",
            "spark.driver.bindAddress": "127.0.0.1",
            "spark.driver.memory": f"{lake.memory_limit_mb}m",
            "spark.sql.shuffle.partitions": str(2 * lake.threads),
            "spark.local.dir": str(spill),
            "spark.sql.warehouse.dir": str(spill),
            "spark.ui.enabled": "false",
            "spark.ui.showConsoleProgress": "false",
        }
        for name, value in {**(here if master.startswith("local") else {}), **(extra or {}), **_RESULTS}.items():
            builder = builder.config(name, value)
        session: SparkSession = builder.getOrCreate()
        try:
            yield session
        finally:
            session.stop()


@dataclass(frozen=True)
class SparkEngine:
    """The three things that are computed from pseudonymised rows, on one session."""

    session: SparkSession

    def compute_facts(self, lake: Lake, registry: Registry, month: Month) -> Mapping[str, int]:
        """`building.compute_facts`, here."""
        self.open_pseudonymised(lake, registry, month)
        return self.write_facts(lake, registry, month, [one for one in facts().values() if not one.is_history])

    def compute_histories(self, lake: Lake, registry: Registry, month: Month) -> Mapping[str, int]:
        """`building.compute_histories`, here."""
        for name, files in building.facts_followed(lake, month).items():
            rows = self._read(files or [building.fact_path(lake, name.removesuffix(EARLIER), month)])
            (rows if files else rows.limit(0)).createOrReplaceTempView(name)
        return self.write_facts(lake, registry, month, [one for one in facts().values() if one.is_history])

    def compute_values(self, lake: Lake, registry: Registry, month: Month, *, as_of: Month | None = None) -> pa.Table:
        """`computing.compute_values`, its passes here; what follows them is small and stays with DuckDB."""
        for name in facts():
            self._read([building.fact_path(lake, name, month)]).createOrReplaceTempView(name)
        return computing.compute_values(lake, registry, month, as_of=as_of, passes=self)

    # -- `computing.Passes` ----------------------------------------------------------------------------------------

    def lay_out(self, places: Mapping[str, pa.Table]) -> None:
        """The small tables that passes read beside the facts."""
        self._register(places)

    def table(self, sql: str) -> pa.Table:
        """What a query gives, brought to the driver: aggregates, never rows of persons."""
        return self.session.sql(to_spark(sql)).toArrow()

    # -- rows ------------------------------------------------------------------------------------------------------

    def _open_rows(self, rows: building.PseudonymisedRows) -> None:
        """The view of a pseudonymised table, completed to its contract's columns and the bands of persons."""
        from pyspark.sql import functions

        from insertion_pipeline.identity import pseudonymising

        wanted = pseudonymising.schema(rows.table)
        if rows.files:
            frame = self._read(rows.files)
            given = [
                (functions.col(name) if name in frame.columns else functions.lit(None)).cast(kind).alias(name)
                for name, kind in _spark_types(wanted).items()
            ]
            frame.select(given).createOrReplaceTempView("given")
        else:
            self.session.createDataFrame(wanted.empty_table()).createOrReplaceTempView("given")
        completed = self.session.sql(to_spark(f"SELECT *, {building.PERSON_BANDS} FROM given"))
        completed.createOrReplaceTempView(rows.name)

    def _read(self, files: Sequence[ParquetFile]) -> DataFrame:
        paths = [str(file.path) for file in files]
        return self.session.read.option("mergeSchema", str(len(paths) > 1).lower()).parquet(*paths)

    def _register(self, tables: Mapping[str, pa.Table]) -> None:
        for name, table in tables.items():
            self.session.createDataFrame(table).createOrReplaceTempView(name)

    def open_pseudonymised(self, lake: Lake, registry: Registry, month: Month) -> None:
        """The views that facts of a month read, but for the small tables that every fact may read."""
        for rows in building.pseudonymised_rows(lake, registry, month):
            self._open_rows(rows)
        self._register({"delivered_accounts": building.delivered_accounts(lake, registry, month)})

    def write_facts(self, lake: Lake, registry: Registry, month: Month, wanted: Iterable[Fact]) -> Mapping[str, int]:
        """Build facts in order, each to its file, from which those that come after read it; gives their rows."""
        from pyspark.sql import functions

        self._register(building.context(registry, month))
        schemas = fact_schemas(lake, registry, month)
        rows: dict[str, int] = {}
        for fact in building.in_order(wanted):
            frame = self.session.sql(to_spark(fact.sql))
            typed = [functions.col(name).cast(kind) for name, kind in _spark_types(schemas[fact.name]).items()]
            path = building.fact_path(lake, fact.name, month)
            rows[fact.name] = _write_fact(lake, frame.select(typed), path, schemas[fact.name])
            self._read([path]).createOrReplaceTempView(fact.name)
        return rows


def _write_fact(lake: Lake, frame: DataFrame, path: ParquetFile, schema: pa.Schema) -> int:
    """Write a frame as one file of the lake; returns its number of rows.

    Executors write their parts beside; the driver passes them through, batch by batch, into the file that readers know.
    """
    from pyarrow import dataset

    n_rows = 0
    with lake.open_spill() as spill:
        frame.write.parquet(str(spill / "parts"))
        parts = dataset.dataset(spill / "parts", format="parquet", schema=schema)
        with lake.parquet_writer(path.path, schema, durable=False) as writer:
            for batch in parts.to_batches():
                writer.write_batch(batch)
                n_rows += batch.num_rows
    return n_rows


def _spark_types(schema: pa.Schema) -> Mapping[str, str]:
    """Column to the type that Spark casts it to."""
    from pyspark.sql.pandas.types import from_arrow_schema

    return {field.name: field.dataType.simpleString() for field in from_arrow_schema(schema).fields}


def fact_schemas(lake: Lake, registry: Registry, month: Month) -> Mapping[str, pa.Schema]:
    """The columns of every fact with the types that DuckDB gives them: those that the lake's facts have."""
    with in_memory() as connection:
        for rows in building.pseudonymised_rows(lake, registry, month):
            building.create_view(connection, rows.name, rows.table, "")
        building.register_context(connection, registry, month)
        connection.register("delivered_accounts", building.ACCOUNTS_SCHEMA.empty_table())
        schemas = {}
        of_a_month = [fact for fact in facts().values() if not fact.is_history]
        histories = [fact for fact in facts().values() if fact.is_history]
        for fact in (*building.in_order(of_a_month), *building.in_order(histories)):
            connection.execute(f"CREATE TEMP TABLE {fact.name} AS {fact.sql}")
            connection.execute(f"CREATE TEMP VIEW {fact.name}{EARLIER} AS SELECT * FROM {fact.name}")
            schemas[fact.name] = connection.table(fact.name).to_arrow_table().schema
    return schemas
