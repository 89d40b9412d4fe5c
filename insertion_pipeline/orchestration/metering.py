"""Taking the figures of a run: what its steps told Dagster, and the memory that they held meanwhile.

Belongs here: sampling memory, reading the run's own events. Does not belong here: what is kept of it (`metrics`).

One place for the command line and for Dagster's processes: the resource that every run holds from its first step to its
last. Steps come one after the other, so what is held while one is at work is that step's.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import dagster as dg

from insertion_pipeline.orchestration.metrics import Outcome, RunMetrics, StepMetrics, keep
from insertion_pipeline.orchestration.metrics_page import write_page
from insertion_pipeline.orchestration.planning import ENGINE_TAG

#: Often enough for a step of a second, seldom enough to cost nothing: a sample takes less than a millisecond.
_EVERY_SECONDS = 0.25
_MEGABYTE = 1 << 20
_READ = {
    dg.DagsterEventType.STEP_START,
    dg.DagsterEventType.STEP_SUCCESS,
    dg.DagsterEventType.STEP_FAILURE,
    dg.DagsterEventType.ASSET_MATERIALIZATION,
    dg.DagsterEventType.ASSET_CHECK_EVALUATION,
}
_FINDINGS = "findings"
_ROWS_OF_A_PARTITION, _ROWS = "dagster/partition_row_count", "dagster/row_count"


@contextlib.contextmanager
def metered(folder: Path, run: dg.DagsterRun, instance: dg.DagsterInstance) -> Iterator[None]:
    """Keep in `folder` the figures of the run that lasts as long as the block, and write the page of all runs again."""
    memory = MemoryWatch()
    try:
        with memory:
            yield
    finally:
        entries = instance.all_logs(run.run_id, of_type=_READ)
        with contextlib.suppress(OSError):  # a disk that is full now does not undo what the run has done
            keep(folder, _measured(run, entries, memory))
            write_page(folder)


# -- memory ------------------------------------------------------------------------------------------------------------


@dataclass
class MemoryWatch:
    """Samples what this process and those below it hold, in a thread, while the block lasts."""

    samples: list[tuple[float, int]] = field(default_factory=list)
    _ended: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> MemoryWatch:
        self.began = time.time()
        self._sample()
        self._thread = threading.Thread(target=self._watch, name="memory watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        self.ended = time.time()

    def peak_mb(self, since: float, until: float) -> int | None:
        """The most that was held between two times, the last sample before them included."""
        before = [held for when, held in self.samples if when <= since][-1:]
        during = [held for when, held in self.samples if since < when <= until]
        return max([*before, *during], default=0) // _MEGABYTE or None

    def _watch(self) -> None:
        while not self._ended.wait(_EVERY_SECONDS):
            self._sample()

    def _sample(self) -> None:
        self.samples.append((time.time(), resident_bytes()))


def resident_bytes(process: str = "self") -> int:
    """What a process and those that it started hold in memory, shared pages in each; zero where /proc is not."""
    held = 0
    with contextlib.suppress(OSError):  # it has ended meanwhile, or this is not Linux
        folder = Path("/proc", process)
        status = (folder / "status").read_text(encoding="ascii", errors="replace")
        held = next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")), 0) << 10
        for thread in (folder / "task").iterdir():
            held += sum(resident_bytes(child) for child in (thread / "children").read_text(encoding="ascii").split())
    return held


# -- events ------------------------------------------------------------------------------------------------------------


def _measured(run: dg.DagsterRun, entries: Iterable[dg.EventLogEntry], memory: MemoryWatch) -> RunMetrics:
    """The figures of a run from the events of its steps, which carry the wall clock as the samples do."""
    by_step: dict[str, _Step] = {}
    failed_checks: list[str] = []
    has_failed = False
    for entry in entries:
        event = entry.dagster_event
        if event is None or event.step_key is None:
            continue
        step = by_step.setdefault(event.step_key, _Step(event.step_key))
        step.hear(event, entry.timestamp)
        if event.event_type is dg.DagsterEventType.ASSET_CHECK_EVALUATION:
            told = event.asset_check_evaluation_data
            if not told.passed:
                failed_checks.append(f"{told.asset_key.to_user_string()}: {told.check_name}")
                has_failed |= bool(told.blocking)
    steps = tuple(step.metrics(memory) for step in sorted(by_step.values(), key=lambda step: step.began))
    has_failed |= any(step.outcome == "failure" for step in steps)
    partition = run.tags.get("dagster/partition", "")
    months = [run.tags.get(f"dagster/asset_partition_range_{end}", partition) for end in ("start", "end")]
    return RunMetrics(
        run_id=run.run_id,
        began=datetime.fromtimestamp(memory.began, UTC).isoformat(timespec="seconds"),
        months=tuple(month for month in months if month),
        engine=run.tags.get(ENGINE_TAG, "duckdb"),
        outcome="failure" if has_failed else "success",
        seconds=round(max(memory.ended - memory.began, 0.0), 3),
        peak_memory_mb=memory.peak_mb(memory.began, memory.ended),
        failed_checks=tuple(sorted(failed_checks)),
        steps=steps,
    )


@dataclass
class _Step:
    """One step while its events are read."""

    key: str
    began: float = 0.0
    ended: float | None = None
    outcome: Outcome = "failure"
    rows: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    findings: int | None = None

    def hear(self, event: dg.DagsterEvent, when: float) -> None:
        if event.is_step_start:
            self.began = when
        elif event.is_step_success or event.is_step_failure:
            self.ended, self.outcome = when, "success" if event.is_step_success else "failure"
        elif event.is_step_materialization:
            self._count(event.materialization)

    def _count(self, materialization: dg.AssetMaterialization) -> None:
        told = {name: value.value for name, value in materialization.metadata.items()}
        asset = materialization.asset_key.to_user_string()
        if isinstance(rows := told.get(_ROWS_OF_A_PARTITION), int):
            self.rows[asset].append(rows)
        elif isinstance(rows := told.get(_ROWS), int):  # of the whole asset, told again for each partition
            self.rows[asset] = [rows]
        if isinstance(found := told.get(_FINDINGS), dict):
            self.findings = (self.findings or 0) + sum(found.values())

    def metrics(self, memory: MemoryWatch) -> StepMetrics:
        """The figures of the step. One that never ended lasted as long as its run."""
        ended = memory.ended if self.ended is None else self.ended
        return StepMetrics(
            step=self.key,
            outcome=self.outcome,
            began_after_seconds=round(max(self.began - memory.began, 0.0), 3),
            seconds=round(max(ended - self.began, 0.0), 3),
            rows=sum(sum(rows) for rows in self.rows.values()) if self.rows else None,
            findings=self.findings,
            peak_memory_mb=memory.peak_mb(self.began, ended),
        )
