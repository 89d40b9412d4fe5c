"""What a run came to, in plain values that the command line can show without loading Dagster.

Belongs here: the outcome of a run and of its checks. Does not belong here: running (`running`), showing (`screen`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from insertion_pipeline.publication.releasing import Release


@dataclass(frozen=True)
class CheckOutcome:
    """What a check said in a run."""

    asset: str
    check: str
    passed: bool
    is_blocking: bool
    description: str

    def to_json(self) -> dict[str, Any]:
        """One check of `run --json`."""
        return asdict(self)


@dataclass(frozen=True)
class ComputedValues:
    """What a run came to that stopped at the values: nothing is protected, nothing published."""

    run_id: str
    months: tuple[str, ...]
    checks: tuple[CheckOutcome, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The answer of `run --until values --json`."""
        return {"run_id": self.run_id, "months": list(self.months), "checks": [one.to_json() for one in self.checks]}


@dataclass(frozen=True)
class RunOutcome:
    """The release that a run led to. Without `run_id` there was nothing to do: the release was there already."""

    release: Release
    run_id: str | None = None
    checks: tuple[CheckOutcome, ...] = ()

    @property
    def is_new(self) -> bool:
        return self.run_id is not None

    def to_json(self) -> dict[str, Any]:
        """The answer of `run --json`."""
        return {
            **self.release.to_json(),
            "months": list(self.release.months),
            "is_new": self.is_new,
            "run_id": self.run_id,
            "checks": [one.to_json() for one in self.checks],
        }
