"""Pairs weighed on Spark: the model that DuckDB applies on one machine, on as many as there are.

Belongs here: what a session needs to know of Splink, the way of pairs and faces to it and of weights back. Does not
belong here: the session (`indicators.engines.spark`), the model and its SQL (`scoring`).

Splink writes the SQL in Spark's words and brings the functions of similarity. Its Jaro-Winkler and DuckDB's differ in
the last digits: a pair exactly on a limit may reach another level. What is weighed names persons: the session spills
into the sealed area (`spark_session(…, is_sealed=True)`), and belongs on machines that may see it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import duckdb

from insertion_pipeline.identity.scoring import Model, weighing_sql

if TYPE_CHECKING:
    from pyspark.sql import SparkSession


def session_settings() -> Mapping[str, str]:
    """What a session must be started with: the functions of similarity that come with Splink."""
    from splink.internals.spark.jar_location import similarity_jar_location

    return {"spark.jars": similarity_jar_location()}


@dataclass(frozen=True)
class SparkWeighing:
    """Weighs on one session (`scoring.Weighing`), one person space after the other: its tables have one name."""

    session: SparkSession
    turn: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def __call__(self, connection: duckdb.DuckDBPyConnection, model: Model) -> str:
        from splink.internals.spark.database_api import SparkAPI

        logging.getLogger("SQLQueryContextLogger").setLevel(logging.CRITICAL)  # its errors quote values
        with self.turn:
            SparkAPI(spark_session=self.session)  # type: ignore[no-untyped-call]  # brings the functions of similarity
            for name in ("faces", "candidates"):
                rows = connection.sql(f"FROM {name}").to_arrow_table()
                self.session.createDataFrame(rows).createOrReplaceTempView(name)
            connection.register("weighed_on_spark", self.session.sql(weighing_sql(model, "spark")).toArrow())
        return "weighed_on_spark"
