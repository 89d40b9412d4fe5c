"""The thresholds in force in a person space: the model's, or those that somebody adopted from reviewers' labels.

Belongs here: keeping what was adopted, as part of a release's name. Does not belong here: what labels say of thresholds
(`reviewing`), what thresholds decide (`scoring`).

They stand beside the verdicts that they come from, are kept with what cannot be made again, and hold from the next run
on, until others are adopted.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from insertion_pipeline.identity.scoring import Thresholds, frozen_model
from insertion_pipeline.lake import Lake, canonical_json


def file(lake: Lake, space: str) -> Path:
    """Where the adopted thresholds of a space lie. Two weights: nothing to seal."""
    return lake.landing / "decisions" / f"thresholds-{space}.json"


def in_force(lake: Lake, space: str) -> Thresholds:
    """What decides in this space now."""
    given = frozen_model().thresholds
    try:
        adopted = json.loads(lake.read_kept(file(lake, space)))
    except FileNotFoundError:
        return given
    return replace(given, join=adopted["join"], neighbours=adopted["join"], review=adopted["review"])


def adopt(lake: Lake, space: str, *, join: float, review: float) -> Thresholds:
    """Let these hold from now on. The mean between two groups must reach what a single pair must: `join`."""
    content = canonical_json({"join": join, "review": review}) + b"\n"
    lake.update(file(lake, space), lambda _: content)
    return in_force(lake, space)


def digests(lake: Lake) -> tuple[str, ...]:
    """What was adopted, as part of a release's name; nothing where the model's own thresholds hold."""
    return tuple(
        f"{space}: join {one.join:g}, review {one.review:g}"
        for space in ("be", "fr")
        if (one := in_force(lake, space)) != frozen_model().thresholds
    )
