"""What a run cost, in plain values: `runs/<run_id>/metrics.json`, outside every release.

Belongs here: the figures of a run and of its steps, how they are kept and read again. Does not belong here: taking them
(`metering`), showing them (`metrics_page`, `screen`). Sizes of the work only: no partner, no value, no person.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from insertion_pipeline.lake import write_json

Outcome = Literal["success", "failure"]

METRICS = "metrics.json"


@dataclass(frozen=True)
class StepMetrics:
    """What one step took. `rows` and `findings` are null where a step makes none.

    `peak_memory_mb` is what the process and those that it started held together, sampled while the step was at work;
    what they share counts in each.
    """

    step: str
    outcome: Outcome
    began_after_seconds: float
    seconds: float
    rows: int | None
    findings: int | None
    peak_memory_mb: int | None


@dataclass(frozen=True)
class RunMetrics:
    """What one run took, step after step. `began` is UTC; `months` are the first and the last of its span."""

    run_id: str
    began: str
    months: tuple[str, ...]
    engine: str
    outcome: Outcome
    seconds: float
    peak_memory_mb: int | None
    failed_checks: tuple[str, ...]
    steps: tuple[StepMetrics, ...]

    @property
    def slowest(self) -> StepMetrics | None:
        return max(self.steps, key=lambda step: step.seconds, default=None)

    @property
    def findings(self) -> int:
        return sum(step.findings or 0 for step in self.steps)

    def to_json(self) -> dict[str, Any]:
        """The content of `metrics.json`, and one run of `runs --json`."""
        return asdict(self)

    @classmethod
    def of_json(cls, told: Mapping[str, Any]) -> RunMetrics:
        """What `to_json` told."""
        steps = tuple(StepMetrics(**step) for step in told["steps"])
        lists = {"months": tuple(told["months"]), "failed_checks": tuple(told["failed_checks"]), "steps": steps}
        return cls(**{**told, **lists})


def keep(folder: Path, run: RunMetrics) -> Path:
    """Write the figures of a run below `folder`, the `runs/` of a home. Returns where."""
    path = folder / run.run_id / METRICS
    write_json(path, run.to_json())
    return path


def read_all(folder: Path) -> Sequence[RunMetrics]:
    """The runs below `folder` that ended, newest first. One that was killed left no figures."""
    kept = (json.loads(path.read_bytes()) for path in folder.glob(f"*/{METRICS}"))
    return sorted((RunMetrics.of_json(told) for told in kept), key=lambda run: (run.began, run.run_id), reverse=True)
