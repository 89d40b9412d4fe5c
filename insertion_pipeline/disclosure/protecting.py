"""The only way to a table that may be published.

Belongs here: protecting a table of values from end to end, the certificate that says what was done and what was
checked, the type that publication asks for. Does not belong here: each of the steps (`thresholds`, `equations`,
`suppression`, `attacker`), files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure import attacker, menus, thresholds, vintages
from insertion_pipeline.disclosure.attacker import Knowledge
from insertion_pipeline.disclosure.covering import Impossible
from insertion_pipeline.disclosure.equations import UNCUT, AddedUp, Frame, added_up, compositions, frame_of
from insertion_pipeline.disclosure.inference import Moves, NoSolution
from insertion_pipeline.disclosure.insiders import INSIDER_WIDTH
from insertion_pipeline.disclosure.menus import menu_of
from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers
from insertion_pipeline.disclosure.suppression import QUICK, Suppression, paid_for, suppress
from insertion_pipeline.disclosure.thresholds import (
    PUBLISHED,
    SHOWN,
    SUPPRESSED,
    TOO_FEW,
    Texts,
    Verdicts,
    texts,
)
from insertion_pipeline.disclosure.vintages import Doubt, Vintage
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
#: How wide the interval of a hidden value must be that is not sensitive, but that the attacker would find exactly.
LEAST_WIDTH: Final = 1.0
#: By how much more than it needs the interval of a count is widened at most, where whole numbers narrow it.
_MOST_FOR_WHOLE: Final = 2.0
#: How wide the interval of a sensitive sum (hours, ETP, euros) must be, as a share of the sum.
SUM_WIDTH_SHARE: Final = 0.10
#: What the result depends on beside the values: part of the certificate, and of a release's identity.
PARAMETERS: Final[Mapping[str, Any]] = {
    "threshold": thresholds.DEFAULT_THRESHOLD,
    "threshold_structures": thresholds.DEFAULT_THRESHOLDS["structures"],
    "threshold_sensitive_breakdowns": thresholds.SENSITIVE_BREAKDOWN_THRESHOLD,
    "dominance_share": thresholds.DOMINANCE_SHARE,
    "minimum_denominator": thresholds.MINIMUM_DENOMINATOR,
    "minimum_quantile": thresholds.MINIMUM_QUANTILE,
    "sum_width_share": SUM_WIDTH_SHARE,
    "sparse_share": menus.SPARSE_SHARE,
    "sparse_values": menus.SPARSE_VALUES,
    "values_together": menus.TOGETHER,
    "zeros_published": True,
}
_MAKER: Final = object()


class NotProtected(Exception):
    """Somebody tried to make a table for publication without protecting it."""


class CannotProtect(Exception):
    """Nothing is left to hide and a sensitive cell still shows: the block that it stands in may not be published."""


class _Lost(Exception):
    """These cells show whatever else is hidden, as far as readers know what they are taken to know."""

    def __init__(self, cells: Sequence[int]) -> None:
        super().__init__()
        self.cells = tuple(cells)


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


def protect(values: pa.Table, registry: Registry, earlier: Sequence[pa.Table] = ()) -> SafeTable:
    """Protect unprotected values (`COLUMNS` and `contributors`, `threshold`, optionally `largest_share`).

    Small cells are hidden, then what would give them away; the attacker audits the result and what it finds is hidden
    too, until it finds nothing. `earlier`: tables already published; what they hid stays hidden, and they are attacked
    together with this one. Raises `CannotProtect` when there is nothing left to hide, `ForbiddenBreakdown`.
    """
    values = values.sort_by([(name, "ascending") for name in ORDER])
    verdicts = thresholds.judge(values, registry)
    past = vintages.beside(values, earlier)
    menu = menu_of(values, verdicts, registry, vintages.ever_shown(past, len(values)))
    left_out_before = menu.rows & vintages.ever_left_out(past, len(values))
    on_the_menu = menu.rows & ~left_out_before
    left_out = {
        "withheld": menu.sparse,
        "withheld_as_too_many": menu.crowded,
        "withheld_as_before": menus.parts_of(values.filter(pa.array(left_out_before))),
    }
    values, verdicts = values.filter(pa.array(on_the_menu)), verdicts.filter(on_the_menu)
    past = tuple(one.filter(on_the_menu) for one in past)
    try:
        table, knowledge, certificate = _protected(
            values, verdicts, registry, past, frame_of(values, verdicts, registry)
        )
    except NoSolution:  # numbers that are equal by chance were taken for one, and others show that they are not
        frame = frame_of(values, verdicts, registry, across_levels=False)
        table, knowledge, certificate = _protected(values, verdicts, registry, past, frame)
        certificate["not_claimed"].append(_NOT_ACROSS_LEVELS)
    return SafeTable(table, knowledge, {**certificate, **left_out}, maker=_MAKER)


_NOT_ACROSS_LEVELS: Final = (
    "numbers that are equal wherever both stand: they are taken for one only where one stands at all levels of the"
    " other, since all of them together contradict each other"
)


def _protected(
    values: pa.Table,
    verdicts: Verdicts,
    registry: Registry,
    past: Sequence[Vintage],
    frame: Frame,
) -> tuple[pa.Table, Knowledge, dict[str, Any]]:
    """The table, what is known of it and its certificate; what `past` releases hid stays hidden in any case.

    All releases are one system, and the reader is told which numbers have not moved since. Where that alone gives a
    cell away, numbers around it are hidden again, and he is not told that of them: the certificate counts them.
    """
    doubt: Doubt | None = None
    wider: dict[int, float] = {}
    while True:
        system = added_up(values, verdicts, registry, frame, SUM_WIDTH_SHARE, past, doubt)
        knowledge = _knowledge(values, verdicts, registry, system, frame)
        frozen = vintages.ever_hidden(past, len(values)) & ~system.system.must_show & np.isin(verdicts.statuses, SHOWN)
        try:
            hidden, audit, suppression, rounds = _hidden(values, verdicts, system, knowledge, frozen, past, wider)
            break
        except _Lost as lost:
            doubt = doubt or Doubt.none(system.system.cell_count)
            doubt = doubt.grown(system.system, lost.cells) if past else None
            if doubt is None:
                raise CannotProtect(_block(system, lost.cells)) from lost
    table = _published(values, _statuses(verdicts, hidden))
    certificate = _certificate(table, verdicts, system, suppression, audit, rounds)
    hidden_again = (doubt.values if doubt else False) & ~system.system.visible(hidden)
    certificate["over_time"] = {
        "earlier_releases": len(past),
        "attacked_together": len(past),
        "rows_that_stay_hidden": int(frozen.sum()),
        "cells_known_from_earlier": int(system.system.known.sum()),
        "cells_hidden_again": int(np.sum(hidden_again)),
    }
    return table, knowledge, certificate


def _hidden(
    values: pa.Table,
    verdicts: Verdicts,
    system: AddedUp,
    knowledge: Knowledge,
    frozen: Booleans,
    past: Sequence[Vintage],
    wider: dict[int, float],
) -> tuple[Booleans, attacker.Audit, Suppression, int]:
    """What to hide, once the attacker finds nothing.

    Hidden cells that have one possible value need room too, and counts that are too narrow among whole numbers a little
    more: they go to `wider` as the attacker finds them. So do the cells that it knows to be one person's, where the
    protector had not put them together. Raises `_Lost`.
    """
    widths = system.system.widths
    persons: dict[tuple[int, ...], Integers] = {}  # of whom the attacker found out that they are one
    hidden, rounds, paid, bound = (verdicts.statuses == SUPPRESSED) | frozen, 0, 0.0, 0.0
    while True:
        rounds += 1
        protected = replace(system.system, widths=_widened(widths, wider))
        try:
            suppression = suppress(protected, hidden, QUICK, least=LEAST_WIDTH, persons=list(persons.values()))
        except Impossible as error:
            raise _Lost(error.cells) from error
        hidden, paid = suppression.hidden, paid + suppression.cost
        bound = bound if rounds > 1 else suppression.bound  # of what is hidden first: later rounds only add to it
        table = _published(values, _statuses(verdicts, hidden))
        with in_memory() as connection:
            needs, claimed, moves = _told(system, suppression)
            earlier = [
                attacker.Earlier(one.as_shown(table), fallen) for one, fallen in zip(past, system.fallen, strict=True)
            ]
            audit = attacker.audit(connection, table, knowledge, needs, claimed, moves, earlier=earlier)
        exposed = {*_cells(audit.breaches, system), *_cells(audit.narrow, system)}
        found = {cell: LEAST_WIDTH for cell in exposed if protected.widths[cell] == 0}
        for cell in set(_cells(audit.narrow_in_whole, system)) - exposed:
            if protected.widths[cell] < widths[cell] + _MOST_FOR_WHOLE:
                found[cell] = float(protected.widths[cell]) + LEAST_WIDTH
            exposed.add(cell)
        if not exposed:
            if not len(audit.betrayed):
                return hidden, audit, replace(suppression, cost=paid, bound=bound), rounds
            met = {tuple(one.tolist()): one for one in _persons(audit.persons_betraying, system)}
            if met.keys() <= persons.keys():
                raise _Lost(_cells(audit.betrayed, system))  # the protector has kept these away by its own equations
            persons |= met
            continue
        if not found:
            raise _Lost(sorted(exposed))  # they had room by the protector's own equations
        wider.update(found)


def _widened(widths: Numbers, wider: Mapping[int, float]) -> Numbers:
    widened = widths.copy()
    cells = list(wider)
    widened[cells] = np.maximum(widened[cells], list(wider.values()))
    return widened


def _told(system: AddedUp, suppression: Suppression) -> tuple[pa.Table, Iterator[Numbers], Moves]:
    """What the attacker is told: how wide the intervals of cells must be, behind which of them somebody stands alone,
    and solutions for it to put to the test."""
    cells = system.system
    concerned = (cells.widths > 0) | ~cells.visible(suppression.hidden)
    keys = [key for key, cell in system.cells.items() if concerned[cell]]
    at = np.array([system.cells[key] for key in keys], dtype=np.int64)
    columns = [list(column) for column in zip(*keys, strict=True)] or [[]] * len(attacker.KEY)
    of_insiders = np.minimum(cells.widths, INSIDER_WIDTH)
    of_each = [pa.array(column[at]) for column in (cells.widths, cells.values, cells.alone, of_insiders)]
    needs = pa.table([*columns, *of_each], schema=attacker.NEEDS_SCHEMA)
    return needs, *suppression.claims(cells, at)


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


def _knowledge(values: pa.Table, verdicts: Verdicts, registry: Registry, system: AddedUp, frame: Frame) -> Knowledge:
    codes = texts(values, "indicator_code")
    least: dict[str, float] = {}  # of an indicator cut in sensitive ways too, the threshold of its other rows
    for code, threshold in zip(codes.tolist(), verdicts.thresholds.tolist(), strict=True):
        least[code] = min(threshold, least.get(code, threshold))
    names = sorted(least)
    declared = registry.indicators
    indicators = pa.table(
        {
            "indicator_code": pa.array(names, pa.string()),
            "numerator_quantity": pa.array([frame.quantities[name, "numerator"] for name in names], pa.string()),
            "denominator_quantity": pa.array([frame.quantities[name, "denominator"] for name in names], pa.string()),
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
            "adds_up": pa.array([name != UNCUT for name in cuts], pa.bool_()),
        }
    )
    composed = compositions(registry, frame.quantities)
    return Knowledge(indicators, breakdowns, frame.links, frame.pieces.geography, system.open_sums, composed)


def _cells(found: pa.Table, system: AddedUp) -> list[int]:
    columns = [found[name].to_pylist() for name in attacker.KEY]
    return [system.cells[key] for key in zip(*columns, strict=True)]


def _persons(found: pa.Table, system: AddedUp) -> list[Integers]:
    """The cells of each insider."""
    cells, insider = np.array(_cells(found, system), dtype=np.int64), found["insider"].to_numpy()
    return [cells[insider == one] for one in np.unique(insider)]


def _block(system: AddedUp, cells: Sequence[int]) -> str:
    words = {cell: key for key, cell in system.cells.items()}
    quantity, month, territory, breakdown, _ = words[cells[0]]
    return f"{len(cells)} cells cannot be protected; the first: {quantity}, {month}, {territory}, by {breakdown}"


def _certificate(
    table: pa.Table,
    verdicts: Verdicts,
    system: AddedUp,
    suppression: Suppression,
    audit: attacker.Audit,
    rounds: int,
) -> dict[str, Any]:
    """What was hidden and what was checked, in words and numbers that give nothing away."""
    statuses = texts(table, "status")
    hidden = statuses == SUPPRESSED
    secondary = int((hidden & (verdicts.statuses != SUPPRESSED)).sum())
    zeros = pc.sum(pc.equal(audit.cells["solution"], 0.0)).as_py() or 0
    return {
        "method": {
            "primary": "threshold on terms and complement of counts and rates, on contributors of sums and means; all"
            " of a group where the breakdown or the rate is sensitive",
            "secondary": "integer program on the necessary conditions of every line, then the cheapest way round"
            " for each cell that still lacks room; jointly over territories, those that cross each other included,"
            " breakdowns wherever they add up,"
            " indicators that sum to another, in the month or over months, and the terms of rates",
            "attacker": "own equations; interval of every sensitive cell by linear programming, hidden counts being at"
            " least 1 (a reader who does not know that finds wider ones: what solves for the one solves for the other);"
            " the same among whole numbers, by solutions in whole numbers and by integer programs; elimination modulo a"
            " prime where no two solutions differ",
        },
        "not_claimed": [
            "months are linked by what the catalogue declares (`balance`), and by nothing else",
            "what a number was that was hidden then and has moved since: sums of then around it are not put together",
            "where a breakdown does not add up: that its whole lies between the largest modality and the sum of all",
            "pieces that territories have in common are bounded by these territories, and by nothing else",
            "insiders are considered one by one: each knows what he stands alone behind and what sums make equal to it",
            "what must be shown (zeros), or was earlier, may tell an insider a number: nothing is hidden for it",
            "who stands alone behind which hidden number is in no release: `verify` cannot attack as they do",
            "who runs the method again on what he supposes was hidden is not considered",
            "nor who holds the counts of this certificate against a handful of hidden rows",
            "group disclosure in breakdowns and rates that are not sensitive: there zeros may describe a whole group",
        ],
        "parameters": dict(PARAMETERS),
        "rows": len(table),
        "statuses": {name: int((statuses == name).sum()) for name in sorted(set(statuses.tolist()))},
        "primary_rows": int(verdicts.is_sensitive.sum()),
        "secondary_rows": secondary,
        "cells": system.system.cell_count,
        "sensitive_cells": int((system.system.widths > 0).sum()),
        "equations": system.system.line_count,
        "open_sums": len(system.open_sums),
        "cost": paid_for(suppression.cost, suppression.bound, secondary),
        "audit": {
            "equations_with_unknowns": audit.equations,
            "hidden_cells": len(audit.cells),
            "recomputable_cells": len(audit.breaches),
            "recomputable_zeros": int(zeros),
            "sensitive_cells_bounded": int((audit.cells["need"].to_numpy() > attacker.APART).sum()),
            "sensitive_cells_under_width": len(audit.narrow),
            "whole_numbers": {
                "sensitive_counts_under_width": len(audit.narrow_in_whole),
                "not_decided": audit.undecided_in_whole,
            },
            "insiders": {  # how many there are would tell how many hidden numbers are 1
                "cells_found_where_hiding_helps": len(audit.betrayed),
                "not_decided": audit.undecided_by_insiders,
            },
            "rounds": rounds,
        },
    }
