"""The stages of a release, each on what the one before made of the same inputs.

Belongs here: noting that a stage stands, refusing to go on from one that does not. Does not belong here: what a stage
makes, and which of its files stay (`making`).

The steps of one run share their inputs. A run may begin in the middle, though: one that is tried again after a failure,
or one asset started by hand. Deposits, decisions or declarations may have come meanwhile, and a release is named after
them: it must not hold values that know nothing of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from insertion_pipeline import making
from insertion_pipeline.lake import Lake
from insertion_pipeline.orchestration.planning import Plan
from insertion_pipeline.publication import releasing
from insertion_pipeline.registry import Registry

Stage = Literal["persons", "facts", "values", "release"]

_BEFORE: dict[Stage, Stage] = {"facts": "persons", "values": "facts", "release": "values"}


class OtherInputs(Exception):
    """What came before was made of other deposits, decisions or declarations. The message is French."""


@contextmanager
def stage(name: Stage, lake: Lake, registry: Registry, planned: Plan) -> Iterator[None]:
    """The work of a stage, over every month of the plan. Raises `OtherInputs` where the one before is not of today."""
    made_of = _inputs(lake, registry, planned)
    before = _BEFORE.get(name)
    if before is not None and making.recall(lake, f"stages/{before}", made_of) is None:
        raise OtherInputs(
            f"dépôts, décisions ou déclarations ont changé depuis l'étape précédente ({before}) : "
            "relancez le traitement entier"
        )
    yield
    making.remember(lake, f"stages/{name}", made_of, ())


def _inputs(lake: Lake, registry: Registry, planned: Plan) -> str:
    inputs = releasing.drawn_from(lake, registry, planned.published, read=planned.read)
    return making.digest_of({name: value for name, value in inputs.to_json().items() if name != "follows"})
