"""Steps that run on Spark, in a process of their own, through Dagster Pipes.

Belongs here: starting that process and hearing what it did. Does not belong here: what it does (`spark_job`).
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import dagster as dg

from insertion_pipeline.month import Month
from insertion_pipeline.orchestration.planning import ENGINE_TAG
from insertion_pipeline.orchestration.resources import Writer

_JOB = "insertion_pipeline.orchestration.spark_job"


def is_on_spark(context: dg.AssetExecutionContext) -> bool:
    """Whether the run was asked to compute on Spark: `insertion run --engine spark`, or its tag in Dagster."""
    return context.run.tags.get(ENGINE_TAG) == "spark"


def on_spark(
    context: dg.AssetExecutionContext,
    writer: Writer,
    work: Literal["facts", "values"],
    months: Sequence[Month],
    as_of: Month,
) -> Iterator[tuple[Month, Any]]:
    """Have `work` done for `months` by a Spark session; gives each month with its rows, by fact or in all.

    Raises `DagsterPipesExecutionError` when the process fails. It was given paths and months: no key, no row.
    """
    home = writer.home
    invocation = dg.PipesSubprocessClient().run(
        context=context.op_execution_context,
        command=[sys.executable, "-m", _JOB],
        extras={
            "work": work,
            "home": home.folder,
            "store": home.store,
            "newest_receipt": writer.lake().newest_receipt,
            "data_sources": home.data_sources,
            "declared": writer.registry().digest,
            "months": [str(month) for month in months],
            "as_of": str(as_of),
            "master": home.spark_master,
            "memory_limit_mb": home.memory_limit_mb,
            "threads": home.threads,
        },
    )
    for done in invocation.get_custom_messages():
        yield Month.parse(done["month"]), done["rows"]
