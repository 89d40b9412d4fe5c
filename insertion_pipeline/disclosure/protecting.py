"""The only way to a table that may be published.

Belongs here: protecting a table of values from end to end, the certificate that says what was done and what was
checked, the type that publication asks for. Does not belong here: each of the steps (`thresholds`, `equations`,
`suppression`, `attacker`), files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure import attacker, thresholds
from insertion_pipeline.disclosure.attacker import Knowledge
from insertion_pipeline.disclosure.equations import HEADLINE_LEVELS, UNCUT, AddedUp, added_up, compositions, is_additive
from insertion_pipeline.disclosure.hierarchies import territory_links
from insertion_pipeline.disclosure.suppression import Booleans, Integers, Suppressor
from insertion_pipeline.disclosure.thresholds import (
    ABSENT,
    PUBLISHED,
    SHOWN,
    SUPPRESSED,
    TOO_FEW,
    Texts,
    Verdicts,
    texts,
)
from insertion_pipeline.lake import in_memory
from insertion_pipeline.registry import Registry

#: The columns of a protected table, in the order that readers are promised (`indicator_values`, less the release).
COLUMNS: Final = (
    "month", "country", "territory_level", "territory_code", "axis", "indicator_code", "breakdown", "modality",
    "numerator", "denominator", "value", "unit", "counted_unit", "kind", "status", "coverage",
    "n_units_expected", "n_units_received", "n_partners_expected", "n_partners_received", "as_of", "maturity",
)  # fmt: skip
#: Rows stand in this order, whatever order they came in.
ORDER: Final = ("month", "indicator_code", "breakdown", "modality", "country", "territory_level", "territory_code")
#: How wide the interval of a sensitive sum (hours, ETP, euros) must be, as a share of the sum.
SUM_WIDTH_SHARE: Final = 0.10
#: A part of the table is left out when so many of its values, and a larger share of them than this, are too small.
SPARSE_VALUES: Final = 10
SPARSE_SHARE: Final = 0.5
#: What the result depends on beside the values: part of the certificate, and of a release's identity.
PARAMETERS: Final[Mapping[str, Any]] = {
    "threshold": thresholds.DEFAULT_THRESHOLD,
    "threshold_structures": thresholds.DEFAULT_THRESHOLDS["structures"],
    "threshold_sensitive_breakdowns": thresholds.SENSITIVE_BREAKDOWN_THRESHOLD,
    "dominance_share": thresholds.DOMINANCE_SHARE,
    "minimum_denominator": thresholds.MINIMUM_DENOMINATOR,
    "minimum_quantile": thresholds.MINIMUM_QUANTILE,
    "sum_width_share": SUM_WIDTH_SHARE,
    "sparse_share": SPARSE_SHARE,
    "sparse_values": SPARSE_VALUES,
    "zeros_published": True,
}
_MAKER: Final = object()


class NotProtected(Exception):
    """Somebody tried to make a table for publication without protecting it."""


class CannotProtect(Exception):
    """Nothing is left to hide and a sensitive cell still shows: the block that it stands in may not be published."""


@dataclass(frozen=True)
class SafeTable:
    """Values in which nobody can be recognised. Only `protect` makes one, and publication accepts nothing else.

    `table` has one row per value and the columns `COLUMNS`, sorted by `ORDER`. `knowledge` is what anybody may be told
    about how it adds up. `certificate` says what was hidden and what was checked; it holds no hidden number.
    """

    table: pa.Table
    knowledge: Knowledge
    certificate: Mapping[str, Any]

    def __init__(self, table: pa.Table, knowledge: Knowledge, certificate: Mapping[str, Any], *, maker: object) -> None:
        if maker is not _MAKER:
            raise NotProtected("a table for publication is made by disclosure.protect, and by nothing else")
        object.__setattr__(self, "table", table)
        object.__setattr__(self, "knowledge", knowledge)
        object.__setattr__(self, "certificate", certificate)


def protect(values: pa.Table, registry: Registry) -> SafeTable:
    """Protect unprotected values (`COLUMNS` and `contributors`, `threshold`, optionally `largest_share`).

    Small cells are hidden, then what would give them away; the attacker audits the result and what it finds is hidden
    too, until it finds nothing. Raises `CannotProtect` when there is nothing left to hide, `ForbiddenBreakdown`.
    """
    values = values.sort_by([(name, "ascending") for name in ORDER])
    values, withheld = _on_the_menu(values, registry)
    links = territory_links(registry, values)
    verdicts = thresholds.judge(values, registry)
    system = added_up(values, verdicts, registry, links, SUM_WIDTH_SHARE)
    knowledge = _knowledge(values, verdicts, registry, system, links)
    suppressor = Suppressor(system.system)
    hidden: Booleans = suppressor.complete(verdicts.statuses == SUPPRESSED)
    blocks = system.system.blocks()
    everywhere = np.ones(len(values), dtype=bool)
    concerned, rounds, stalled, least = everywhere, 1, 0, len(values)
    while True:
        table = _published(values, _statuses(verdicts, hidden)).filter(pa.array(concerned))
        with in_memory() as connection:
            audit = attacker.audit(connection, table, knowledge)
        exposed = _exposed(audit, system)
        if len(exposed):
            stalled, least = (0, len(exposed)) if len(exposed) < least else (stalled + 1, least)
            extended = hidden
            for _ in range(2**stalled):  # one row at a time hides least; where that leads nowhere, more at once
                extended = suppressor.extend(extended, exposed)
            extended = suppressor.complete(extended)
            if np.array_equal(extended, hidden):
                raise CannotProtect(_block(audit, system, exposed))
            hidden, rounds = extended, rounds + 1
            concerned = np.isin(blocks, np.unique(blocks[system.system.rows_showing(exposed)]))
        elif not concerned.all():
            concerned, least = everywhere, len(values)  # the last word is an audit of everything together
        else:
            break
    certificate = {**_certificate(table, verdicts, system, audit, rounds), "withheld": withheld}
    return SafeTable(table, knowledge, certificate, maker=_MAKER)


def _on_the_menu(values: pa.Table, registry: Registry) -> tuple[pa.Table, list[dict[str, str]]]:
    """The rows that are worth publishing, and the parts of the table that are not published at all.

    A part is an indicator at one level of a country, uncut or by one breakdown. Where more than half of its values, ten
    at least, are too small, the part is left out: it would say little but which places are not empty, and that alone
    would cost the figures of departments and countries. Uncut figures of large territories are never left out.
    """
    columns = [texts(values, name) for name in ("indicator_code", "country", "territory_level", "breakdown")]
    parts, part = np.unique(np.stack(columns).astype(str), axis=1, return_inverse=True)
    verdicts = thresholds.judge(values, registry)
    shows = ~np.isin(verdicts.statuses, ABSENT)
    present = np.bincount(part, weights=shows, minlength=parts.shape[1])
    small = np.bincount(part, weights=verdicts.statuses == SUPPRESSED, minlength=parts.shape[1])
    is_headline = np.isin(parts[2], HEADLINE_LEVELS) & (parts[3] == UNCUT)
    left_out = (small >= SPARSE_VALUES) & (small > SPARSE_SHARE * present) & ~is_headline
    names = ("indicator_code", "country", "territory_level", "breakdown")
    withheld = [dict(zip(names, one.tolist(), strict=True)) for one in parts.T[left_out]]
    return values.filter(pa.array(~left_out[part])), withheld


def _published(values: pa.Table, statuses: Texts) -> pa.Table:
    """The values with their final statuses; what the status says is not shown is not there."""
    status = pa.array(statuses, pa.string())
    shows_terms = pc.is_in(status, pa.array(SHOWN))
    is_quantile = pc.equal(values["kind"], "quantile")
    shows_terms = pc.and_(shows_terms, pc.invert(pc.and_(is_quantile, pc.equal(status, TOO_FEW))))
    columns = {name: values[name] for name in COLUMNS}
    for name in ("numerator", "denominator"):
        columns[name] = pc.if_else(shows_terms, values[name].cast(pa.float64()), pa.scalar(None, pa.float64()))
    shows_value = pc.equal(status, PUBLISHED)
    columns["value"] = pc.if_else(shows_value, values["value"].cast(pa.float64()), pa.scalar(None, pa.float64()))
    columns["status"] = status
    return pa.table(columns)


def _statuses(verdicts: Verdicts, hidden: Booleans) -> Texts:
    return np.where(hidden, SUPPRESSED, verdicts.statuses).astype(object)


def _knowledge(values: pa.Table, verdicts: Verdicts, registry: Registry, system: AddedUp, links: pa.Table) -> Knowledge:
    codes = texts(values, "indicator_code")
    least: dict[str, float] = {}  # of an indicator cut in sensitive ways too, the threshold of its other rows
    for code, threshold in zip(codes.tolist(), verdicts.thresholds.tolist(), strict=True):
        least[code] = min(threshold, least.get(code, threshold))
    names = sorted(least)
    declared = registry.indicators
    indicators = pa.table(
        {
            "indicator_code": pa.array(names, pa.string()),
            "numerator_quantity": pa.array([system.quantities[name, "numerator"] for name in names], pa.string()),
            "denominator_quantity": pa.array([system.quantities[name, "denominator"] for name in names], pa.string()),
            "adds_up_over_territories": pa.array(
                [name not in declared or declared[name].additive_over_territories for name in names], pa.bool_()
            ),
            "threshold": pa.array([least[name] for name in names], pa.float64()),
        }
    )
    cuts = sorted(set(texts(values, "breakdown").tolist()))
    breakdowns = pa.table(
        {
            "breakdown": pa.array(cuts, pa.string()),
            "adds_up": pa.array([is_additive(registry, name) for name in cuts], pa.bool_()),
        }
    )
    return Knowledge(indicators, breakdowns, links, system.open_sums, compositions(registry, system.quantities))


def _exposed(audit: attacker.Audit, system: AddedUp) -> Integers:
    """The cells that the attacker finds exactly."""
    return np.array(sorted(set(_cells(audit.breaches, system))), dtype=np.int64)


def _narrow(audit: attacker.Audit, system: AddedUp) -> int:
    """How many sensitive cells the attacker bounds more closely than their width."""
    width = audit.cells["high"].to_numpy() - audit.cells["low"].to_numpy()
    needed = system.system.widths[np.array(_cells(audit.cells, system), dtype=np.int64)]
    return int((width < needed - 1e-6).sum())


def _cells(found: pa.Table, system: AddedUp) -> list[int]:
    columns = [found[name].to_pylist() for name in ("quantity", "month", "territory_code", "breakdown", "modality")]
    return [system.cells[key] for key in zip(*columns, strict=True)]


def _block(audit: attacker.Audit, system: AddedUp, exposed: Integers) -> str:
    words = {cell: key for key, cell in system.cells.items()}
    quantity, month, territory, breakdown, _ = words[int(exposed[0])]
    return f"{len(exposed)} cells cannot be protected; the first: {quantity}, {month}, {territory}, by {breakdown}"


def _certificate(
    table: pa.Table, verdicts: Verdicts, system: AddedUp, audit: attacker.Audit, rounds: int
) -> dict[str, Any]:
    """What was hidden and what was checked, in words and numbers that give nothing away."""
    statuses = texts(table, "status")
    hidden = statuses == SUPPRESSED
    sensitive_cells = int((system.system.widths > 0).sum())
    zeros = pc.sum(pc.equal(audit.cells["solution"], 0.0)).as_py() or 0
    return {
        "method": {
            "primary": "threshold on terms and complement of counts and rates, on contributors of sums and means",
            "secondary": "line by line over territories, additive breakdowns, indicators that sum to another, rates;"
            " then whatever the attacker still reached",
            "attacker": "elimination over all equations of the release (exact); intervals by bound propagation,"
            " hidden counts being at least 1",
        },
        "not_claimed": [
            "room: it is made below the department only; `sensitive_cells_under_width` have less than their threshold",
            "intervals are propagated, not optimised: a linear program may find narrower ones",
            "each release is audited by itself: earlier releases of the same month are not part of the system",
            "no optimality of the number of hidden cells; no rule against group disclosure",
        ],
        "parameters": dict(PARAMETERS),
        "rows": len(table),
        "statuses": {name: int((statuses == name).sum()) for name in sorted(set(statuses.tolist()))},
        "primary_rows": int(verdicts.is_sensitive.sum()),
        "secondary_rows": int((hidden & (verdicts.statuses != SUPPRESSED)).sum()),
        "cells": system.system.cell_count,
        "sensitive_cells": sensitive_cells,
        "equations": system.system.line_count,
        "open_sums": len(system.open_sums),
        "audit": {
            "equations_with_unknowns": audit.equations,
            "hidden_cells": len(audit.cells),
            "recomputable_cells": len(audit.breaches),
            "recomputable_zeros": int(zeros),
            "sensitive_cells_under_width": _narrow(audit, system),
            "rounds": rounds,
        },
    }
