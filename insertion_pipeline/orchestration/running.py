"""The monthly job, run here and now by the command line.

Belongs here: the Dagster instance of a home, one in-process run over a span of months, its progress. Does not belong
here: deciding whether a run is needed (`publication`), saying anything to anybody (`screen`).
"""

from __future__ import annotations

import os
import shutil
import uuid
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import dagster as dg
from dagster._core.errors import DagsterAssetCheckFailedError
from dagster._core.storage.dagster_run import NOT_FINISHED_STATUSES

from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Span
from insertion_pipeline.orchestration import grid
from insertion_pipeline.orchestration.assets import RELEASE
from insertion_pipeline.orchestration.event_log import instance_of
from insertion_pipeline.orchestration.location import MONTHLY_JOB, code_location
from insertion_pipeline.orchestration.outcomes import CheckOutcome
from insertion_pipeline.orchestration.planning import span_tags
from insertion_pipeline.orchestration.resources import work_with
from insertion_pipeline.orchestration.side_process import side_process
from insertion_pipeline.registry import Registry
from insertion_pipeline.settings import REPOSITORY, Settings, silence_telemetry

if TYPE_CHECKING:
    from dagster import AssetCheckEvaluation, EventLogEntry


#: The tag of a run of the command line, which holds the writer's lock from its beginning to its end.
LOCK_TAG = "insertion/holds_the_lock"


class RunFailed(Exception):
    """A step or a blocking check failed; nothing was published. The message names it, and no value."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps ended, steps in all, the step that just began or ended."""

    done: int
    total: int
    step: str


def dagster_home(lake: Lake) -> Path:
    """`DAGSTER_HOME`, or `HOME/dagster` made ready on first use."""
    chosen = os.environ.get("DAGSTER_HOME")
    folder = Path(chosen) if chosen else lake.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists() and (REPOSITORY / "dagster.yaml").exists():
        shutil.copyfile(REPOSITORY / "dagster.yaml", folder / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def monthly_job(definitions: dg.Definitions, *, publishes: bool = True) -> dg.JobDefinition:
    """The job of the months; where it does not publish, up to the values and their checks."""
    job = definitions.resolve_job_def(MONTHLY_JOB)
    if publishes:
        return job
    return job.get_subset(asset_selection=set(job.asset_layer.selected_asset_keys) - {RELEASE})


def run_months(
    lake: Lake,
    registry: Registry,
    settings: Settings,
    span: Span,
    *,
    engine: str = "duckdb",
    publishes: bool = True,
    on_progress: Callable[[Progress], None] | None = None,
) -> tuple[str, tuple[CheckOutcome, ...]]:
    """Run the monthly job over `span` as one in-process Dagster run; returns its id and what its checks said.

    `engine` computes facts and values: duckdb or spark. Where it does not publish it stops at the values. The caller
    holds the writer's lock, and a lake that knows no later receipt than the plan did. Raises `RunFailed` when a
    blocking check stops the run, `DeclarationsChanged` when `registry` is not any more what its folder says, and
    whatever a step raises.
    """
    silence_telemetry()
    registry = work_with(registry)
    folder = dagster_home(lake)
    definitions = code_location(settings, through=span.last, lock_is_held=True, newest_receipt=lake.newest_receipt)
    run_id = str(uuid.uuid4())
    steps = _Steps(on_progress)
    try:
        with warnings.catch_warnings(), instance_of(folder) as instance:
            warnings.simplefilter("ignore")
            close_what_was_killed(instance)
            grid.report_new_receipts(instance, lake, registry)
            instance.add_event_listener(run_id, steps.listen)
            result = monthly_job(definitions, publishes=publishes).execute_in_process(
                instance=instance,
                run_id=run_id,
                tags={**span_tags(span, engine), LOCK_TAG: "true"},
                run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
            )
    except DagsterAssetCheckFailedError:
        raise RunFailed(f"contrôle bloquant non tenu à l'étape {steps.current}, run {run_id}") from None
    finally:
        side_process().forget(run_id)
    return run_id, tuple(_outcome(evaluation) for evaluation in result.get_asset_check_evaluations())


def close_what_was_killed(instance: dg.DagsterInstance) -> None:
    """Take runs for failed whose process is dead, and free their places in pools: one would wait for them for ever.

    For who holds the writer's lock: no other run of the command line is alive then. A run of the daemon that loses its
    place waits for the lock as any other does.
    """
    killed = dg.RunsFilter(statuses=list(NOT_FINISHED_STATUSES), tags={LOCK_TAG: "true"})
    for run in instance.get_runs(filters=killed):
        instance.report_run_failed(run, "its process ended before it did")
    for run_id in instance.event_log_storage.get_concurrency_run_ids():
        instance.event_log_storage.free_concurrency_slots_for_run(run_id)


def _outcome(evaluation: AssetCheckEvaluation) -> CheckOutcome:
    return CheckOutcome(
        asset=evaluation.asset_key.to_user_string(),
        check=evaluation.check_name,
        passed=evaluation.passed,
        is_blocking=bool(evaluation.blocking),
        description=evaluation.description or "",
    )


class _Steps:
    """Listens to a run: which step is at work, how many are left."""

    def __init__(self, on_progress: Callable[[Progress], None] | None) -> None:
        self.on_progress = on_progress
        self.planned: set[str] = set()
        self.ended: set[str] = set()
        self.current = ""

    def listen(self, entry: EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            return
        self.planned.add(event.step_key)
        if event.is_step_start:
            self.current = event.step_key
        elif event.is_step_success or event.is_step_failure:
            self.ended.add(event.step_key)
        else:
            return
        if self.on_progress is not None:
            self.on_progress(Progress(len(self.ended), len(self.planned), self.current))
