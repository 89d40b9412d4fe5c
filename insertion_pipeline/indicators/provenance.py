"""From a value back to the deliveries that it came from.

Belongs here: which facts and sources an indicator is drawn from, which deliveries of a release concern a territory.
Does not belong here: the value itself, any contribution of a delivery to it (domain rule 23), the screen.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import pyarrow as pa

from insertion_pipeline.indicators import territories
from insertion_pipeline.indicators.building import STATUSES, parameters_told
from insertion_pipeline.indicators.catalogue import EARLIER, facts, made_of, months_read
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry


@dataclass(frozen=True, order=True)
class Delivery:
    """One delivery that a release was made from, as its manifest names it."""

    source: str
    partner: str
    month: str
    sha256: str

    @classmethod
    def parse(cls, text: str) -> Delivery:
        """The delivery written `source partner month sha256`."""
        source, partner, month, digest = text.split(" ")
        return cls(source, partner, month, digest)


@dataclass(frozen=True)
class Provenance:
    """How a value came about: its rules in French, the facts it counts, the deliveries that could bear on it."""

    indicator_code: str
    territory_code: str
    month: str
    rules: Mapping[str, str]
    facts: tuple[str, ...]
    sources: tuple[str, ...]
    deliveries: tuple[Delivery, ...]


def lineage(fact: str) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """The facts that a fact is made of, the sources that they read, and how many months back they look."""
    parts = sorted(made_of(fact))
    reads = {table for name in parts for table in facts()[name].reads}
    sources = sorted({table.partition("__")[0] for table in reads if "__" in table and not table.endswith(EARLIER)})
    return tuple(parts), tuple(sources), months_read(fact)


def explain(
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    deliveries: Mapping[str, Sequence[str]],
    code: str,
    territory: str,
    month: Month,
) -> Provenance:
    """Where the value of `code` at `territory` in `month` comes from, `deliveries` being those of a release's manifest.

    A delivery is named when its source is one of the indicator's, its month one that the facts read, and the territory
    of a unit that it speaks for shares a commune with `territory`. Raises `KeyError` for an unknown code.
    """
    indicator = registry.indicators[code]
    parts, read, back = lineage(indicator.fact)
    sources = tuple(source for source in read if source in indicator.sources) or indicator.sources
    months = {str(month.plus(-lag)) for lag in range(back)}
    near = _places_sharing_a_commune(connection, registry, territory, month)
    named = {
        delivery
        for delivered_for, texts in deliveries.items()
        if delivered_for in months
        for delivery in map(Delivery.parse, texts)
        if delivery.source in sources and _speaks_for(registry, delivery.partner) & near
    }
    return Provenance(code, territory, str(month), _rules(registry, code, month), parts, sources, tuple(sorted(named)))


def _rules(registry: Registry, code: str, month: Month) -> Mapping[str, str]:
    indicator = registry.indicators[code]
    told = {
        "label": indicator.label,
        "definition": indicator.definition.strip(),
        "numerator": indicator.numerator_label,
        "denominator": indicator.denominator_label,
        "exclusions": indicator.exclusions.strip(),
        "reference": indicator.reference.strip(),
        "status": STATUSES[indicator.status_of_definition],
        "parameters": parameters_told(registry, indicator, month),
        "series_breaks": indicator.told_breaks,
    }
    return {name: text for name, text in told.items() if text}


def _speaks_for(registry: Registry, partner: str) -> set[str]:
    """The territories of the units that a partner delivers for; nothing for a partner since forgotten."""
    declared = registry.partners.get(partner)
    if declared is None:
        return set()
    return {registry.partners[unit].territory_code for unit in declared.delivers_for or (declared.code,)}


def _places_sharing_a_commune(
    connection: duckdb.DuckDBPyConnection, registry: Registry, territory: str, month: Month
) -> set[str]:
    rollup: pa.Table = territories.rollup(connection, registry, month)
    connection.register("rollup_of_month", rollup)
    rows = connection.execute(
        """SELECT DISTINCT other.territory FROM rollup_of_month AS here JOIN rollup_of_month AS other USING (leaf)
        WHERE here.territory = ? OR here.territory = substr(?, 1, 2) AND ? SIMILAR TO '.*-(INCONNU|HORS)'""",
        [territory, territory, territory],
    ).fetchall()
    connection.unregister("rollup_of_month")
    return {place for (place,) in rows}
