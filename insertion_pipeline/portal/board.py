"""What was expected, what came, and what is still to be done: one cell per partner, source and month.

Belongs here: the state of a cell, drawn from receipts and deadlines alone. Does not belong here: values of a file, what
a page looks like.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Literal

from insertion_pipeline.ingestion import deadlines, deliveries
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Nomenclature, Partner, Registry, Source

State = Literal["awaited", "late", "refused", "held", "corrections", "warnings", "received", "nothing"]

#: What still asks something of the partner.
OPEN_STATES: frozenset[State] = frozenset({"awaited", "late", "refused", "held", "corrections"})


@dataclass(frozen=True)
class Cell:
    """One file expected of one partner for one month. `receipt`: the one that gives the state, if any."""

    partner: Partner
    source: Source
    month: Month
    deadline: date
    state: State
    is_late: bool
    receipt: Receipt | None = None

    @property
    def is_open(self) -> bool:
        return self.state in OPEN_STATES


@dataclass(frozen=True)
class Ledger:
    """Receipts by partner and source, so that a board does not go through all of them for each cell."""

    by_flow: Mapping[tuple[str, str], Sequence[Receipt]]

    @classmethod
    def of(cls, receipts: Iterable[Receipt]) -> Ledger:
        flows: dict[tuple[str, str], list[Receipt]] = {}
        for receipt in receipts:
            flows.setdefault((receipt.partner, receipt.source), []).append(receipt)
        return cls(flows)

    def cell(self, partner: Partner, source: Source, month: Month, day: date) -> Cell:
        """The cell as it stands on `day`."""
        due = deadlines.deadline(source, month, partner.space)
        flow = self.by_flow.get((partner.code, source.name), ())
        counting = deliveries.effective(flow, source, month)
        newest = next((one for one in reversed(flow) if one.month == month), None)
        unnamed = self.by_flow.get((partner.code, ""), ())
        state, receipt = _state(counting, newest, next((one for one in reversed(unnamed) if one.month == month), None))
        is_late = day > due and state in ("awaited", "refused", "held")
        return Cell(partner, source, month, due, "late" if is_late and state == "awaited" else state, is_late, receipt)


def _state(
    counting: Sequence[Receipt], newest: Receipt | None, unnamed: Receipt | None
) -> tuple[State, Receipt | None]:
    """`unnamed`: a refusal whose kind of file was not recognised."""
    current = counting[-1] if counting else None
    if newest is not None and newest.status == "held" and (current is None or newest.sequence > current.sequence):
        return "held", newest
    if current is None:
        refused = newest or unnamed
        return ("refused", refused) if refused is not None and refused.status == "refused" else ("awaited", None)
    if current.status == "nothing":
        return "nothing", current
    return (("received", "warnings", "corrections", "corrections")[current.verdict]), current


def expected(registry: Registry, ledger: Ledger, partners: Iterable[Partner], month: Month, day: date) -> list[Cell]:
    """The cells of a month: one per partner and source that it is expected to deliver."""
    return [
        ledger.cell(partner, registry.sources[name], month, day)
        for partner in partners
        for name in partner.sources
        if partner.expects(name, month) and registry.sources[name].first_month <= month
    ]


def partners_within(registry: Registry, scopes: Iterable[str], month: Month) -> list[Partner]:
    """The partners of an animator: those that lie in one of these territories (`FR`, `FR-REG-44`, `FR-DEP-08` …)."""
    wanted, parents = frozenset(scopes), _parents(registry)
    return [
        partner
        for partner in sorted(registry.partners.values(), key=lambda one: (one.family, one.name))
        if not wanted.isdisjoint(_with_those_above(partner.territory_code, parents))
        and partner.since <= month
        and (partner.until is None or month <= partner.until)
    ]


def _with_those_above(territory: str, parents: Mapping[str, str]) -> Iterator[str]:
    yield territory
    while territory := parents.get(territory, ""):
        yield territory


@functools.lru_cache(maxsize=4)
def _parents_of(communes: Nomenclature, territories: Nomenclature) -> Mapping[str, str]:
    parents = {row["code"]: row["parent"] for row in territories.records()}
    for row in communes.records():
        above = f"FR-DEP-{row['department']}" if row["country"] == "FR" else f"BE-ARR-{row['arrondissement']}"
        parents[f"{row['country']}-COM-{row['code']}"] = above
    return parents


def _parents(registry: Registry) -> Mapping[str, str]:
    return _parents_of(registry.nomenclature("communes"), registry.nomenclature("territories"))
