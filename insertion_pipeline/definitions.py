"""Dagster's door: `build_defs()`, nothing else. Nothing happens when this module is imported.

A test calls `build_defs(settings)` on a home of its own; `dagster-webserver -w workspace.yaml` and `dg dev` call
`defs`.
"""

from __future__ import annotations

import dagster as dg

from insertion_pipeline.month import Month
from insertion_pipeline.settings import Settings, silence_telemetry


@dg.definitions
def defs() -> dg.Definitions:
    """The code location, from the environment."""
    return build_defs()


def build_defs(settings: Settings | None = None, *, through: Month | None = None) -> dg.Definitions:
    """Assets, checks, jobs and sensors for the declarations of `settings`, with months up to now or `through`."""
    silence_telemetry()
    from insertion_pipeline.orchestration.location import code_location

    return code_location(settings or Settings(), through=through)
