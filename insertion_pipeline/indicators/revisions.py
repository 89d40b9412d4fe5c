"""Why a value moved between two releases: in words, never in numbers.

Belongs here: the causes of a revision, drawn from what both releases were made from. Does not belong here: which values
moved, and the limits beyond which somebody must look (`publication.revising`).

A cause is a fact about inputs: a file that had not come, a file that came again with other bytes, a definition that
changed; what is left is who was recognised, which any new file may change (domain rule 23).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from insertion_pipeline.indicators.catalogue import facts
from insertion_pipeline.indicators.provenance import Delivery, lineage
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

Cause = Literal["late_delivery", "correction", "definition", "identity"]

#: What readers are told, most telling cause first.
LABELS: Final[Mapping[Cause, str]] = {
    "definition": "définition ou calcul modifiés",
    "late_delivery": "dépôt tardif",
    "correction": "fichier corrigé ou photographie plus récente",
    "identity": "rapprochement des personnes",
}


@dataclass(frozen=True)
class MadeFrom:
    """What a release was made from, as its manifest records it.

    `deliveries`: month to texts `source partner month sha256`; `definitions`: indicator to digest (`definitions`);
    `code`: the version of the program.
    """

    deliveries: Mapping[str, Sequence[str]]
    definitions: Mapping[str, str]
    code: str = ""


def definitions(registry: Registry) -> dict[str, str]:
    """A digest of what each indicator counts: its declaration, its breakdowns, and the SQL of the facts behind it.

    Labels and other words for readers are left out: a better sentence is not a revision.
    """
    told: dict[str, str] = {}
    for code, indicator in sorted(registry.indicators.items()):
        made_of = lineage(indicator.fact)[0] if indicator.fact in facts() else ()
        counted = indicator.model_dump(mode="json", exclude=_WORDS)
        cuts = {name: registry.breakdowns[name].model_dump(mode="json", exclude={"label", "modalities"})
                for name in indicator.breakdowns}  # fmt: skip
        text = json.dumps([counted, cuts, [facts()[name].sql for name in made_of]], sort_keys=True, ensure_ascii=False)
        told[code] = hashlib.sha256(text.encode()).hexdigest()[:16]
    return told


_WORDS = {
    "label", "definition", "numerator_label", "denominator_label", "exclusions", "reference", "status_of_definition",
    "purposes", "aliases", "families",
}  # fmt: skip


def causes(
    registry: Registry, before: MadeFrom, now: MadeFrom, moved: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], tuple[Cause, ...]]:
    """(indicator, month) to the causes of its revision, the most telling first; never none.

    Deliveries are compared over the months that the indicator's facts read. A partner and source that had not
    delivered for a month is late; one that had, with other bytes, corrects. Without either, and with the same
    definition and program, only the persons recognised can have changed.
    """
    changed: dict[tuple[str, tuple[str, ...], int], frozenset[Cause]] = {}
    found: dict[tuple[str, str], tuple[Cause, ...]] = {}
    for code, month in sorted(set(moved)):
        indicator = registry.indicators.get(code)
        if indicator is None or indicator.fact not in facts():
            found[code, month] = ("definition",)
            continue
        _, read, back = lineage(indicator.fact)
        sources = tuple(source for source in read if source in indicator.sources) or indicator.sources
        key = (month, sources, back)
        if key not in changed:
            changed[key] = _changes_of_deliveries(before, now, *key)
        known = set(changed[key])
        if code in before.definitions and before.definitions[code] != now.definitions.get(code):
            known.add("definition")
        found[code, month] = tuple(cause for cause in LABELS if cause in known) or (
            ("identity",) if before.code == now.code else ("definition",)
        )
    return found


def _changes_of_deliveries(
    before: MadeFrom, now: MadeFrom, month: str, sources: tuple[str, ...], back: int
) -> frozenset[Cause]:
    found: set[Cause] = set()
    for lag in range(back):
        read = str(Month.parse(month).plus(-lag))
        then, since = _by_depositor(before, read, sources), _by_depositor(now, read, sources)
        if since.keys() - then.keys():
            found.add("late_delivery")
        if any(then[one] != since.get(one) for one in then):
            found.add("correction")
    return frozenset(found)


def _by_depositor(made_from: MadeFrom, month: str, sources: tuple[str, ...]) -> dict[tuple[str, str], frozenset[str]]:
    digests: dict[tuple[str, str], set[str]] = {}
    for delivery in map(Delivery.parse, made_from.deliveries.get(month, ())):
        if delivery.source in sources:
            digests.setdefault((delivery.source, delivery.partner), set()).add(delivery.sha256)
    return {depositor: frozenset(found) for depositor, found in digests.items()}
