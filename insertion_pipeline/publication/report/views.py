"""The ten views on which a territory opens, as `data_sources/report/views.yaml` declares them."""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

from insertion_pipeline.registry import Registry


class Cut(BaseModel):
    """A chart: one indicator of the last month by the modalities of one breakdown."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    indicator: str
    breakdown: str


class View(BaseModel):
    """One view: a question, the indicators that answer it, what may and may not be concluded."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    code: str
    title: str
    question: str
    indicators: tuple[str, ...]
    charts: tuple[Cut, ...]
    error: str
    conclude: str
    avoid: str
    shows: tuple[Literal["coverage", "revisions"], ...] = ()

    def of(self, codes: Iterable[str]) -> list[str]:
        """The codes that belong to the view, in its order; several that one pattern takes in stand in their own."""
        known = list(codes)
        found = [code for pattern in self.indicators for code in known if fnmatchcase(code, pattern)]
        return list(dict.fromkeys(found))


def load(registry: Registry) -> tuple[View, ...]:
    """The declared views. Raises pydantic's `ValidationError` for a key that does not exist."""
    content = yaml.safe_load(registry.content("report/views.yaml"))
    return tuple(View.model_validate(one) for one in content["views"])
