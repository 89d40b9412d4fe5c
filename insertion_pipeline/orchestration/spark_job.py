"""The process that computes facts or values on Spark, told by Dagster Pipes what to do and telling it what it did.

    python -m insertion_pipeline.orchestration.spark_job

Belongs here: the other end of `piping`. Does not belong here: Dagster (this process does not load it), what is computed
(`indicators.engines.spark`).

Only counts are reported, and errors lose their text: Spark quotes the value that it could not read.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from dagster_pipes import open_dagster_pipes

from insertion_pipeline.indicators.engines.spark import SparkEngine, spark_session
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.orchestration.discretion import without_values
from insertion_pipeline.registry import DeclarationsChanged, load_registry


def main() -> None:
    """Do what the asset asks for, month by month."""
    with open_dagster_pipes() as pipes, without_values():
        for done in compute(pipes.extras):
            pipes.report_custom_message(done)


def compute(asked: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """`facts` or `values` of the months asked for, oldest first; tells the month and its rows, by fact or in all.

    Facts that follow persons read those of every month: they come after.
    """
    months = [Month.parse(month) for month in asked["months"]]
    opened = Lake.open(
        Path(asked["home"]),
        may_create_keys=False,
        memory_limit_mb=asked["memory_limit_mb"],
        threads=asked["threads"],
        store=asked["store"] or None,
    )
    lake = replace(opened, newest_receipt=asked["newest_receipt"])
    registry = load_registry(Path(asked["data_sources"])).held()
    if registry.digest != asked["declared"]:
        raise DeclarationsChanged(f"{registry.folder}: edited since the run began")
    with spark_session(lake, asked["master"]) as session:
        engine = SparkEngine(session)
        if asked["work"] == "facts":
            for compute_some in (engine.compute_facts, engine.compute_histories):
                for month in months:
                    yield {"month": str(month), "rows": dict(compute_some(lake, registry, month))}
            return
        for month in months:
            values = engine.compute_values(lake, registry, month, as_of=max(Month.parse(asked["as_of"]), month))
            yield {"month": str(month), "rows": values.num_rows}


if __name__ == "__main__":
    main()
