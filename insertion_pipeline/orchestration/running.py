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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Span
from insertion_pipeline.orchestration import grid
from insertion_pipeline.orchestration.assets import LAST_MONTH_TAG
from insertion_pipeline.orchestration.location import MONTHLY_JOB, code_location
from insertion_pipeline.registry import Registry
from insertion_pipeline.settings import REPOSITORY, Settings, silence_telemetry

if TYPE_CHECKING:
    from dagster._core.events.log import EventLogEntry


class RunFailed(Exception):
    """A step or a blocking check failed; nothing was published. The message names it, and no value."""


@dataclass(frozen=True)
class Progress:
    """How far a run is: steps ended, steps in all, the step that just began or ended."""

    done: int
    total: int
    step: str


@dataclass(frozen=True)
class CheckOutcome:
    """What a check said in this run."""

    asset: str
    check: str
    passed: bool
    is_blocking: bool
    description: str

    def to_json(self) -> dict[str, Any]:
        """One check in `run --json`."""
        return asdict(self)


@dataclass(frozen=True)
class RunOutcome:
    """A run that ended well."""

    run_id: str
    checks: tuple[CheckOutcome, ...]


def dagster_home(lake: Lake) -> Path:
    """`DAGSTER_HOME`, or `HOME/dagster` made ready on first use."""
    chosen = os.environ.get("DAGSTER_HOME")
    folder = Path(chosen) if chosen else lake.home / "dagster"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "dagster.yaml").exists() and (REPOSITORY / "dagster.yaml").exists():
        shutil.copyfile(REPOSITORY / "dagster.yaml", folder / "dagster.yaml")
    os.environ["DAGSTER_HOME"] = str(folder)
    return folder


def run_months(
    lake: Lake,
    registry: Registry,
    settings: Settings,
    span: Span,
    *,
    on_progress: Callable[[Progress], None] | None = None,
) -> RunOutcome:
    """Run the monthly job over `span` as one in-process Dagster run. The caller holds the writer's lock.

    Raises `RunFailed` when a blocking check stops it, and whatever a step raises.
    """
    silence_telemetry()
    dagster_home(lake)
    definitions = code_location(settings, through=span.last, lock_is_held=True)
    run_id = str(uuid.uuid4())
    with warnings.catch_warnings(), dg.DagsterInstance.get() as instance:
        warnings.simplefilter("ignore")
        grid.report_new_receipts(instance, lake, registry)
        if on_progress is not None:
            instance.add_event_listener(run_id, _listener(on_progress))
        result = definitions.resolve_job_def(MONTHLY_JOB).execute_in_process(
            instance=instance,
            run_id=run_id,
            raise_on_error=True,
            tags={
                "dagster/asset_partition_range_start": str(span.first),
                "dagster/asset_partition_range_end": str(span.last),
                LAST_MONTH_TAG: str(span.last),
            },
            run_config={"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}},
        )
    checks = tuple(
        CheckOutcome(
            asset=evaluation.asset_key.to_user_string(),
            check=evaluation.check_name,
            passed=evaluation.passed,
            is_blocking=bool(evaluation.blocking),
            description=evaluation.description or "",
        )
        for evaluation in result.get_asset_check_evaluations()
    )
    return RunOutcome(run_id, checks)


def _listener(on_progress: Callable[[Progress], None]) -> Callable[[EventLogEntry], None]:
    """Turns the run's events into progress. Steps in all are counted as the plan names them."""
    planned: set[str] = set()
    ended: set[str] = set()

    def listen(entry: EventLogEntry) -> None:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            return
        planned.add(event.step_key)
        if event.is_step_success:
            ended.add(event.step_key)
        if event.is_step_start or event.is_step_success:
            on_progress(Progress(len(ended), len(planned), event.step_key))

    return listen
