"""In which order a run takes the steps that are ready, where Dagster leaves the choice.

Belongs here: priorities, as tags of steps. Does not belong here: what depends on what.

The rows of every source come first: the side process can then check them all. What blocks comes next; what only asks a
question of a partner comes last, when it has long been answered.
"""

from __future__ import annotations

from collections.abc import Mapping

_PRIORITY = "dagster/priority"

FIRST: Mapping[str, str] = {_PRIORITY: "3"}
SECOND: Mapping[str, str] = {_PRIORITY: "2"}
THIRD: Mapping[str, str] = {_PRIORITY: "1"}
LAST: Mapping[str, str] = {_PRIORITY: "-1"}
