"""What adds up in a table of values: its cells, and the equations between them, as a system to protect.

Belongs here: which terms of which rows are one and the same cell, which cells sum to which. Does not belong here:
hiding anything (`suppression`); the attacker builds its own equations from the published table (`attacker`).

A cell is one quantity at one (month, territory, breakdown, modality). Two terms are the same quantity when they are
equal wherever both stand: the denominator of one rate is often the numerator of a count, and would give it away.
Equations: a territory is the sum of its parts, along each hierarchy apart; the whole is the sum of the modalities of
an additive breakdown; a denominator is its numerator and the others. An equation that the values themselves do not
fulfil (a part was not received, or lies outside the table) binds nobody: it is left out, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from insertion_pipeline.disclosure import vintages
from insertion_pipeline.disclosure.hierarchies import LINKS_SCHEMA, territory_links
from insertion_pipeline.disclosure.pieces import Pieces, fitting, territory_pieces
from insertion_pipeline.disclosure.solving import Booleans, Integers, Numbers
from insertion_pipeline.disclosure.system import System
from insertion_pipeline.disclosure.thresholds import ABSENT, Texts, Verdicts, numbers, texts
from insertion_pipeline.disclosure.vintages import Bond, Doubt, Vintage
from insertion_pipeline.registry import Registry, Summand

#: Breakdown and modality of a row that is not cut.
UNCUT: Final = "total"
TOTAL: Final = "TOTAL"
#: Decimal sums of hours or euros may differ from the sum of their parts by so much.
TOLERANCE: Final = 1e-6
#: One row per whole that is not the sum of its parts; `along` is `part level<whole level`, or a breakdown.
OPEN_SUMS_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("quantity", "month", "territory_code", "breakdown", "modality", "along")]
)
#: One row per quantity that is a part of another one: cut in the same way, or, of a whole that is not cut, at one
#: modality of a breakdown of its own (empty otherwise). `sign` is -1 where it is taken off. `months_before`: how long
#: before the whole (`0`, `1` …), or `year`: in every month of its year up to it.
COMPOSITIONS_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("whole_quantity", "part_quantity", "part_breakdown", "part_modality")),
        ("sign", pa.float64()),
        ("months_before", pa.string()),
        ("along", pa.string()),
    ]
)
#: In tables of what an earlier release said: its numbers, and the lines denominator = numerator + others.
VALUE: Final = "value"
RATE: Final = "rate"
_NUMERATOR, _DENOMINATOR = "numerator", "denominator"
_SAME_MONTH, _WHOLE_YEAR = "0", "year"


@dataclass(frozen=True)
class Frame:
    """What the cells of a table are cells of."""

    quantities: Mapping[tuple[str, str], str]  # (indicator, term) → name of the quantity
    links: pa.Table  # `hierarchies.LINKS_SCHEMA`
    pieces: Pieces


@dataclass(frozen=True)
class AddedUp:
    """The system of a table of values, and what somebody else needs to see the same cells in it."""

    system: System
    cells: Mapping[tuple[str, str, str, str, str], int]  # (quantity, month, territory, breakdown, modality)
    open_sums: pa.Table  # `OPEN_SUMS_SCHEMA`: sums declared, but not fulfilled by the values
    #: One per earlier release (`OPEN_SUMS_SCHEMA`): what it said that is not true of the values any more. `along` is
    #: `VALUE` for a number that moved, `RATE` for the line of a complement.
    fallen: tuple[pa.Table, ...]


def added_up(
    values: pa.Table,
    verdicts: Verdicts,
    registry: Registry,
    frame: Frame,
    sum_width_share: float,
    past: Sequence[Vintage] = (),
    doubt: Doubt | None = None,
) -> AddedUp:
    """The system of cells and equations of `values`, whose rows stand in canonical order, and of earlier releases.

    A sensitive count needs an interval as wide as its threshold, a sensitive sum one of `sum_width_share` of itself;
    what is known already needs none. `doubt`, one entry per cell: what is not taken to be known (`vintages`).
    """
    quantities, links = frame.quantities, frame.links
    entries = _entries(values, verdicts, quantities, sum_width_share)
    keyring = _CellKeys.of(entries, frame.pieces.fallen)
    cell = keyring.cell_of_entry
    truth, floors, widths = np.full(keyring.count, np.nan), np.zeros(keyring.count), np.zeros(keyring.count)
    truth[cell] = entries.value
    np.maximum.at(floors, cell, entries.floor)
    np.maximum.at(widths, cell, entries.width)
    alone = np.zeros(keyring.count, dtype=bool)
    alone[cell[entries.is_alone]] = True

    composed = compositions(registry, quantities)
    in_pieces = _in_pieces(keyring, frame.pieces.fallen, _shown_empty(entries, cell, truth))
    truth = _pieces_valued(truth, in_pieces)
    sums = _sums(keyring, _additive(registry, quantities, keyring.names[0]), registry, links, composed, in_pieces)
    derived, rate_line = _complements(entries, cell, keyring.count)
    lines, open_sums = _lines(sums, keyring, truth, derived)
    lines = lines.and_rates(rate_line)
    doubt = doubt or Doubt.none(keyring.count)
    bonds = [
        vintages.bond(
            _shown_then(entries, cell, derived, one), truth, lines.line, lines.cell, lines.sign, TOLERANCE, doubt
        )
        for one in past
    ]
    fallen = tuple(_fallen(keyring, lines, one) for one in bonds)
    for one in bonds:
        lines = lines.and_bound(one)
    known = np.any([np.zeros(keyring.count, dtype=bool), *(one.known for one in bonds)], axis=0)
    is_shown = ~entries.is_derived
    shown_row, shown_cell = entries.row[is_shown], cell[is_shown]
    system = System(
        values=truth,
        floors=np.minimum(floors, truth),
        widths=np.where(known, 0.0, widths),
        derived_from=derived,
        alone=alone,
        known=known,
        **_worth_showing(len(values), shown_row, truth[shown_cell], known[shown_cell]),
        shown_row=shown_row,
        shown_cell=shown_cell,
        line=lines.line,
        line_cell=lines.cell,
        line_sign=lines.sign,
        implied=lines.implied,
    )
    return AddedUp(system, keyring.index(), open_sums, fallen)


def _worth_showing(rows: int, shown_row: Integers, shown: Numbers, known: Booleans) -> dict[str, Any]:
    """What hiding each row costs, and which rows are never hidden: they show only zeros, or only what is known."""
    largest, shows, tells = np.zeros(rows), np.zeros(rows, dtype=bool), np.zeros(rows, dtype=bool)
    np.maximum.at(largest, shown_row, shown)
    shows[shown_row] = True
    tells[shown_row[~known]] = True
    return {"costs": np.sqrt(np.maximum(largest, 0.25)), "must_show": shows & ((largest == 0) | ~tells)}


def frame_of(values: pa.Table, verdicts: Verdicts, registry: Registry, *, across_levels: bool = True) -> Frame:
    """The quantities of a table of values (`quantities_of`), its territories and what they have in common."""
    quantities = quantities_of(values, verdicts, across_levels=across_levels)
    links = territory_links(registry, values)
    codes, kind = texts(values, "indicator_code"), texts(values, "kind")
    present = ~np.isin(verdicts.statuses, ABSENT) & (kind != "quantile")
    keys = ("month", "territory_code", "breakdown", "modality")
    cells = []
    for term, has_term in ((_NUMERATOR, present), (_DENOMINATOR, present & (kind == "ratio"))):
        names = np.array([quantities[code, term] for code in codes.tolist()], dtype=object)
        rows = has_term & _additive(registry, quantities, names.tolist())
        shown = (
            values.filter(pa.array(rows)).select(keys).rename_columns(["month", "territory", "breakdown", "modality"])
        )
        cells.append(shown.add_column(0, "quantity", pa.array(names[rows], pa.string())))
    distinct = pa.concat_tables(cells)
    distinct = distinct.group_by(distinct.column_names).aggregate([])
    places = values.select(["month", "territory_code", "country", "territory_level"])
    places = places.rename_columns(["month", "territory", "country", "level"])
    places = places.group_by(places.column_names).aggregate([])
    return Frame(quantities, links, territory_pieces(registry, distinct, places, links))


def quantities_of(values: pa.Table, verdicts: Verdicts, *, across_levels: bool = True) -> dict[tuple[str, str], str]:
    """(indicator, term) → the quantity that it shows, named after its first appearance: `code.term`.

    Terms of the same unit that are equal in every cell where both stand, and not zero in all of them, are one: so is
    each with all that are one already, for two that meet in no cell may differ wherever a third stands with either.
    Unless `across_levels`, only where one of them stands at all levels of the other: a number of councils and one of
    departments may be equal by chance in the country, where both stand.
    """
    codes, cell = _numbered([texts(values, "indicator_code")])
    terms = [(code, term) for (code,) in codes for term in (_NUMERATOR, _DENOMINATOR)]
    places, place = _numbered([texts(values, name) for name in ("month", "territory_code", "breakdown", "modality")])
    grid = np.full((len(terms), len(places)), np.nan)
    present = ~np.isin(verdicts.statuses, ABSENT) & (texts(values, "kind") != "quantile")
    counts_units = np.zeros(len(terms), dtype=bool)
    of_units = (verdicts.counts, verdicts.counts | verdicts.is_mean_of_units)
    for offset, (term, is_counted) in enumerate(zip((_NUMERATOR, _DENOMINATOR), of_units, strict=True)):
        grid[cell[present] * 2 + offset, place[present]] = numbers(values, term)[present]
        counts_units[cell[is_counted] * 2 + offset] = True
    root = np.arange(len(terms))
    levels = _levels_of(values, place, grid)
    for later in range(len(terms)):
        own = np.flatnonzero(~np.isnan(grid[later]))
        earlier = np.flatnonzero((root[:later] == np.arange(later)) & (counts_units[:later] == counts_units[later]))
        if not across_levels:
            shared = (levels[earlier] & levels[later]).sum(axis=1)
            earlier = earlier[shared == np.minimum(levels[earlier].sum(axis=1), levels[later].sum())]
        same = earlier[_coinciding(grid[np.ix_(earlier, own)], grid[later, own])]
        if len(same):
            root[later] = same[0]
            grid[same[0], own] = grid[later, own]
            levels[same[0]] |= levels[later]
    return {term: ".".join(terms[root[position]]) for position, term in enumerate(terms)}


def _levels_of(values: pa.Table, place: Integers, grid: Numbers) -> Booleans:
    """At which territorial levels each row of `grid` has a number: a column per level."""
    _, level = _numbered([texts(values, "territory_level")])
    level_of_place = np.zeros(grid.shape[1], dtype=np.int64)
    level_of_place[place] = level
    found = np.zeros((len(grid), int(level.max(initial=-1)) + 1), dtype=bool)
    for one in range(found.shape[1]):
        found[:, one] = ~np.isnan(grid[:, level_of_place == one]).all(axis=1)
    return found


def compositions(registry: Registry, quantities: Mapping[tuple[str, str], str]) -> pa.Table:
    """Which quantities sum to which, by the word of the catalogue: one row per part (`COMPOSITIONS_SCHEMA`)."""
    declared = sorted(registry.indicators.items())
    return composed(
        {code: one.parts for code, one in declared}, {code: one.balance for code, one in declared}, quantities
    )


def composed(
    parts: Mapping[str, Sequence[str]],
    balances: Mapping[str, Sequence[str]],
    quantities: Mapping[tuple[str, str], str],
) -> pa.Table:
    """One row per part of each indicator all of whose parts have a quantity (`COMPOSITIONS_SCHEMA`).

    A part is the code of an indicator, or `code[breakdown=modality]`: disjoint combinations and their unions. In a
    balance it may be a denominator (`code.denominator`), be taken off (`-code`) and be of another month: `code@1` one
    month before, `code@year` all of the year so far. `quantities`: by code and term.
    """
    rows = []
    for name, lists in (("parts", parts), ("balance", balances)):
        for code, named in lists.items():
            summands = [(one, quantities.get(_quantity(one))) for text in named if (one := Summand.read(text))]
            whole = quantities.get((code, _NUMERATOR))
            if not summands or len(summands) != len(named) or None in (whole, *(part for _, part in summands)):
                continue
            rows += [
                {
                    "whole_quantity": whole,
                    "part_quantity": part,
                    "part_breakdown": one.breakdown,
                    "part_modality": one.modality,
                    "sign": -1.0 if one.is_taken_off else 1.0,
                    "months_before": one.before or _SAME_MONTH,
                    "along": f"{name} of {code}",
                }
                for one, part in summands
            ]
    return pa.Table.from_pylist(rows, schema=COMPOSITIONS_SCHEMA)


def _quantity(summand: Summand) -> tuple[str, str]:
    return summand.code, _DENOMINATOR if summand.is_denominator else _NUMERATOR


def is_additive(registry: Registry, breakdown: str) -> bool:
    """Whether the modalities of `breakdown` sum to the uncut row; assumed of a breakdown that nobody declared."""
    declared = registry.breakdowns.get(breakdown)
    return breakdown != UNCUT and (declared is None or declared.additive)


def _coinciding(lines: Numbers, numbers: Numbers) -> Booleans:
    """Which of `lines` are `numbers` wherever they are numbers themselves, and not only zero."""
    absent = np.isnan(lines)
    differs = ~absent & (lines != numbers)
    return np.asarray(~differs.any(axis=1) & (~absent & (lines != 0)).any(axis=1), dtype=bool)


@dataclass(frozen=True)
class _Entries:
    """One entry per (row, term) that is a number, the complement of a rate being a term of its own."""

    row: Integers
    quantity: Texts
    month: Texts
    territory: Texts
    breakdown: Texts
    modality: Texts
    value: Numbers
    floor: Numbers
    width: Numbers
    is_alone: Booleans  # one person or structure stands behind it
    is_derived: Booleans
    rates: Integers  # per rate row: entries of its denominator, numerator and complement
    term: Integers  # 0 = numerator, 1 = denominator, 2 = complement


def _entries(
    values: pa.Table, verdicts: Verdicts, quantities: Mapping[tuple[str, str], str], sum_width_share: float
) -> _Entries:
    codes, kind = texts(values, "indicator_code"), texts(values, "kind")
    numerator, denominator = numbers(values, _NUMERATOR), numbers(values, _DENOMINATOR)
    present = ~np.isin(verdicts.statuses, ABSENT) & (kind != "quantile")
    names = {
        term: np.array([quantities[code, term] for code in codes], dtype=object) for term in (_NUMERATOR, _DENOMINATOR)
    }
    over = np.flatnonzero(present)
    under = np.flatnonzero(present & (kind == "ratio"))
    # where both terms are one quantity there are no others to count
    rates = np.flatnonzero(verdicts.has_complement & (names[_NUMERATOR] != names[_DENOMINATOR]))
    others = np.array([f"~{names[_NUMERATOR][row]}|{names[_DENOMINATOR][row]}" for row in rates], dtype=object)
    row = np.concatenate([over, under, rates]).astype(np.int64)
    at_least_one = np.where(kind[over] == "count", 1.0, 0.0)
    share = sum_width_share * np.abs(numerator[over])
    needed = np.where(verdicts.counts[over], verdicts.thresholds[over], share)
    under_at = np.full(len(codes), -1, dtype=np.int64)
    under_at[under] = len(over) + np.arange(len(under))
    over_at = np.full(len(codes), -1, dtype=np.int64)
    over_at[over] = np.arange(len(over))
    complement_at = len(over) + len(under) + np.arange(len(rates))
    return _Entries(
        row=row,
        quantity=np.concatenate([names[_NUMERATOR][over], names[_DENOMINATOR][under], others]),
        month=texts(values, "month")[row],
        territory=texts(values, "territory_code")[row],
        breakdown=texts(values, "breakdown")[row],
        modality=texts(values, "modality")[row],
        value=np.concatenate([numerator[over], denominator[under], (denominator - numerator)[rates]]),
        floor=np.concatenate([at_least_one, np.ones(len(under)), np.zeros(len(rates))]),
        width=np.concatenate(
            [
                np.where(verdicts.numerator_is_sensitive[over], needed, 0.0),
                np.where(verdicts.denominator_is_sensitive[under], verdicts.thresholds[under], 0.0),
                np.where(verdicts.complement_is_sensitive[rates], verdicts.thresholds[rates], 0.0),
            ]
        ),
        is_alone=np.concatenate(
            [
                (verdicts.numerator_is_sensitive & verdicts.of_one)[over],
                verdicts.denominator_is_sensitive[under] & (denominator[under] == 1),
                verdicts.complement_is_sensitive[rates] & ((denominator - numerator)[rates] == 1),
            ]
        ),
        is_derived=np.arange(len(row)) >= len(over) + len(under),
        rates=np.stack([under_at[rates], over_at[rates], complement_at], axis=1).astype(np.int64),
        term=np.repeat(np.arange(3), [len(over), len(under), len(rates)]),
    )


@dataclass(frozen=True)
class _CellKeys:
    """The cells of the entries, each a number; the same numbers find the cell of another territory or total."""

    names: tuple[list[str], ...]  # distinct quantities, months, territories, breakdowns, modalities
    parts: tuple[Integers, ...]  # per cell: position of its quantity, month, territory, breakdown, modality
    codes: Integers  # per cell, ascending
    cell_of_entry: Integers
    is_piece: Booleans  # per cell: no row can show it

    @classmethod
    def of(cls, entries: _Entries, pieces: pa.Table) -> _CellKeys:
        own = (entries.quantity, entries.month, entries.territory, entries.breakdown, entries.modality)
        fallen = (texts(pieces, name) for name in ("quantity", "month", "piece", "breakdown", "modality"))
        columns = [np.concatenate(both) for both in zip(own, fallen, strict=True)]
        numbered = [_numbered([column]) for column in columns]
        lists = [[name for (name,) in names] for names, _ in numbered]
        sizes = [max(len(names), 1) for names in lists]
        codes = _packed([positions for _, positions in numbered], sizes)
        unique, cell_of_entry = np.unique(codes, return_inverse=True)
        cell_of_entry = cell_of_entry[: len(entries.row)].astype(np.int64)
        is_piece = np.ones(len(unique), dtype=bool)
        is_piece[cell_of_entry] = False
        return cls((*lists,), _unpacked(unique, sizes), unique, cell_of_entry, is_piece)

    @property
    def count(self) -> int:
        return len(self.codes)

    def find(
        self, quantity: Integers, month: Integers, territory: Integers, breakdown: Integers, modality: Integers
    ) -> Integers:
        """The cells at these positions, -1 where there is none."""
        sizes = [max(len(names), 1) for names in self.names]
        wanted = _packed([quantity, month, territory, breakdown, modality], sizes)
        if not self.count:
            return np.full(len(wanted), -1, dtype=np.int64)
        at = np.minimum(np.searchsorted(self.codes, wanted), self.count - 1)
        return np.where(self.codes[at] == wanted, at, -1).astype(np.int64)

    def named(self, columns: Sequence[Texts]) -> Integers:
        """The cells of these quantities, months, territories, breakdowns and modalities, -1 where there is none."""
        positions = []
        for names, column in zip(self.names, columns, strict=True):
            at = {name: position for position, name in enumerate(names)}
            positions.append(np.array([at[name] for name in column.tolist()], dtype=np.int64))
        return self.find(*positions)

    def index(self) -> dict[tuple[str, str, str, str, str], int]:
        """Each cell by its key in words."""
        return {key: cell for cell, key in enumerate(zip(*self.words(np.arange(self.count)), strict=True))}

    def words(self, cells: Integers) -> list[list[str]]:
        """The keys of `cells` in words: quantities, months, territories, breakdowns, modalities."""
        return [
            [names[position] for position in part[cells].tolist()]
            for names, part in zip(self.names, self.parts, strict=True)
        ]


@dataclass(frozen=True)
class _Sums:
    """One entry per part of a sum: its cell, the cell of the whole, which of `names` it adds up along, its sign."""

    part: Integers
    whole: Integers
    along: Integers
    sign: Numbers
    names: tuple[str, ...]


def _shown_empty(entries: _Entries, cell: Integers, truth: Numbers) -> Booleans:
    """Which cells stand in a row that shows nothing but zeros, and is therefore always shown."""
    at = np.flatnonzero(~entries.is_derived)
    row, shown = entries.row[at], cell[at]
    full = np.zeros(int(row.max(initial=-1)) + 1, dtype=bool)
    full[row[truth[shown] != 0]] = True
    empty = np.zeros(len(truth), dtype=bool)
    empty[shown[~full[row]]] = True
    return empty


def _in_pieces(keys: _CellKeys, fallen: pa.Table, empty: Booleans) -> _Sums:
    """The pieces of territories, each with the wholes that it is a part of; none of those that lie in an empty one."""
    names, along = _numbered([texts(fallen, "along")])
    part, whole = (
        keys.named([texts(fallen, name) for name in ("quantity", "month", territory, "breakdown", "modality")])
        for territory in ("piece", "whole")
    )
    nothing = empty.copy()
    nothing[part[empty[whole]]] = True
    kept = ~nothing[part]
    return _Sums(part[kept], whole[kept], along[kept], np.ones(int(kept.sum())), tuple(name for (name,) in names))


def _pieces_valued(truth: Numbers, in_pieces: _Sums) -> Numbers:
    """The truth, and numbers that fit for the pieces, of which no table says anything."""
    wholes, line = np.unique(in_pieces.along * (len(truth) + 1) + in_pieces.whole, return_inverse=True)
    right = truth[wholes % (len(truth) + 1)]
    return np.nan_to_num(fitting(truth, line.astype(np.int64), in_pieces.part, right))


def _sums(
    keys: _CellKeys, additive: Booleans, registry: Registry, links: pa.Table, composed: pa.Table, in_pieces: _Sums
) -> _Sums:
    """Every sum that the table is read by; pieces of territories are bound by nothing but their territories."""
    quantity, month, territory, breakdown, modality = keys.parts
    *_, breakdowns, modalities = keys.names
    found: list[tuple[Integers, Integers, Integers, Numbers]] = []

    def add(at: Integers, whole: Integers, along: Integers, sign: float = 1.0) -> None:
        there = whole >= 0
        found.append((at[there], whole[there], along[there], np.full(int(there.sum()), sign)))

    relations = _relations(keys, links)
    for rank, whole_of in enumerate(relations.values()):
        above = whole_of[month, territory]
        at = np.flatnonzero((above >= 0) & additive[quantity])
        whole = keys.find(quantity[at], month[at], above[at], breakdown[at], modality[at])
        add(at, whole, np.full(len(at), rank, dtype=np.int64))
    if UNCUT in breakdowns and TOTAL in modalities:
        uncut, every = breakdowns.index(UNCUT), modalities.index(TOTAL)
        adds_up = np.array([name != UNCUT for name in breakdowns], dtype=bool)  # unless the values say otherwise
        at = np.flatnonzero(adds_up[breakdown] & (modality != every) & ~keys.is_piece)
        whole = keys.find(quantity[at], month[at], territory[at], np.full_like(at, uncut), np.full_like(at, every))
        add(at, whole, len(relations) + breakdown[at])
    first = len(relations) + len(breakdowns)
    names = sorted(set(composed["along"].to_pylist()))
    for rank, name in enumerate(names):
        for part, whole, sign in _composed(keys, [row for row in composed.to_pylist() if row["along"] == name]):
            add(part, whole, np.full_like(part, first + rank), sign)
    add(in_pieces.part, in_pieces.whole, first + len(names) + in_pieces.along)
    nothing, none = np.zeros(0, dtype=np.int64), np.zeros(0)
    part, whole, along, signs = (
        np.concatenate(columns) for columns in zip((nothing, nothing, nothing, none), *found, strict=True)
    )
    return _Sums(
        part, whole, along, signs, (*("<".join(levels) for levels in relations), *breakdowns, *names, *in_pieces.names)
    )


def _composed(keys: _CellKeys, parts: list[dict[str, Any]]) -> list[tuple[Integers, Integers, float]]:
    """The parts of one composition with their wholes, and their sign; over months, only where all parts are there."""
    quantity, _, territory, breakdown, modality = keys.parts
    quantities, months, _, breakdowns, modalities = keys.names
    found: list[tuple[Integers, Integers, float]] = []
    for row in parts:
        if not {row["part_quantity"], row["whole_quantity"]} <= set(quantities):
            continue  # an indicator without a single cell this time: nothing shows it
        at = np.flatnonzero((quantity == quantities.index(row["part_quantity"])) & ~keys.is_piece)
        cut, kind = breakdown, modality
        if row["part_breakdown"]:
            if not (
                {row["part_breakdown"], UNCUT} <= set(breakdowns) and {row["part_modality"], TOTAL} <= set(modalities)
            ):
                continue
            own = (cut == breakdowns.index(row["part_breakdown"])) & (kind == modalities.index(row["part_modality"]))
            at = at[own[at]]
            cut = np.full_like(cut, breakdowns.index(UNCUT))
            kind = np.full_like(kind, modalities.index(TOTAL))
        at, when = _later(keys, at, row["months_before"])
        above = np.full_like(at, quantities.index(row["whole_quantity"]))
        whole = keys.find(above, when, territory[at], cut[at], kind[at])
        found.append((at[whole >= 0], whole[whole >= 0], row["sign"]))
    if all(row["months_before"] == _SAME_MONTH for row in parts):
        return found
    expected = np.zeros(keys.count, dtype=np.int64)
    for row in parts:
        in_year = np.array([int(month[5:7]) for month in months], dtype=np.int64)[keys.parts[1]]
        expected += in_year if row["months_before"] == _WHOLE_YEAR else 1
    there = np.bincount(
        np.concatenate([np.zeros(0, np.int64), *(whole for _, whole, _ in found)]), minlength=keys.count
    )
    complete = there == expected
    return [(at[complete[whole]], whole[complete[whole]], sign) for at, whole, sign in found]


def _later(keys: _CellKeys, cells: Integers, months_before: str) -> tuple[Integers, Integers]:
    """`cells` and, for each, the month of the whole that it is a part of; once for each where there are several."""
    month = keys.parts[1][cells]
    if months_before == _SAME_MONTH:
        return cells, month
    ordinal = np.array([int(name[:4]) * 12 + int(name[5:7]) - 1 for name in keys.names[1]], dtype=np.int64)
    apart = ordinal[None, :] - ordinal[:, None]  # months from a part to a whole
    if months_before == _WHOLE_YEAR:
        fits = (apart >= 0) & (ordinal[None, :] // 12 == ordinal[:, None] // 12)
    else:
        fits = apart == int(months_before)
    at, whole = np.nonzero(fits[month])
    return cells[at], whole.astype(np.int64)


def _relations(keys: _CellKeys, links: pa.Table) -> dict[tuple[str, str], Integers]:
    """Per pair of levels (part, whole): month × territory → position of the territory that contains it, -1 = none."""
    month = {name: position for position, name in enumerate(keys.names[1])}
    territory = {name: position for position, name in enumerate(keys.names[2])}
    relations: dict[tuple[str, str], Integers] = {}
    columns = [links[name].to_pylist() for name in LINKS_SCHEMA.names]
    for when, part, part_level, whole, whole_level in zip(*columns, strict=True):
        if when in month and part in territory and whole in territory:
            nowhere = np.full((len(month), len(territory)), -1, dtype=np.int64)
            at = relations.setdefault((part_level, whole_level), nowhere)
            at[month[when], territory[part]] = territory[whole]
    return {levels: relations[levels] for levels in sorted(relations)}


def _additive(registry: Registry, quantities: Mapping[tuple[str, str], str], names: list[str]) -> Booleans:
    """Per quantity (complements included): does it add up over territories, by the word of any of its indicators?"""
    adding = {
        quantity
        for (code, _), quantity in quantities.items()
        if code not in registry.indicators or registry.indicators[code].additive_over_territories
    }
    return np.array([all(term in adding for term in name.removeprefix("~").split("|")) for name in names], dtype=bool)


@dataclass(frozen=True)
class _Lines:
    """Equations: one entry per (line, cell), sorted by line; what each line is the sum of and along what."""

    line: Integers
    cell: Integers
    sign: Numbers
    implied: Booleans  # one per line: it follows from others
    whole: Integers  # one per line that is no bond
    along: tuple[str, ...]

    def and_rates(self, rate_lines: Integers) -> _Lines:
        """The same and one line (denominator, numerator, others) per complement."""
        first, count = len(self.implied), len(rate_lines)
        return _Lines(
            np.concatenate([self.line, np.repeat(np.arange(count), 3) + first]).astype(np.int64),
            np.concatenate([self.cell, rate_lines.ravel()]).astype(np.int64),
            np.concatenate([self.sign, np.tile([-1.0, 1.0, 1.0], count)]),
            np.concatenate([self.implied, np.zeros(count, dtype=bool)]),
            np.concatenate([self.whole, rate_lines[:, 2]]).astype(np.int64),
            (*self.along, *(RATE for _ in range(count))),
        )

    def and_bound(self, bond: Bond) -> _Lines:
        """The same and the equations of an earlier release that bind what it hid."""
        first = len(self.implied)
        count = int(bond.line[-1]) + 1 if len(bond.line) else 0
        return _Lines(
            np.concatenate([self.line, bond.line + first]),
            np.concatenate([self.cell, bond.line_cell]),
            np.concatenate([self.sign, bond.line_sign]),
            np.concatenate([self.implied, np.zeros(count, dtype=bool)]),
            self.whole,
            self.along,
        )


def _lines(sums: _Sums, keys: _CellKeys, truth: Numbers, derived: Integers) -> tuple[_Lines, pa.Table]:
    """The sums that the values fulfil, and which of them are implied by others; the sums that they do not fulfil."""
    base = len(truth) + 1
    unique, line = np.unique(sums.along * base + sums.whole, return_inverse=True)
    whole = (unique % base).astype(np.int64)
    summed = np.bincount(line, weights=sums.sign * truth[sums.part], minlength=len(unique))
    holds = np.abs(summed - truth[whole]) <= TOLERANCE * np.maximum(1.0, np.abs(summed))
    renumbered, kept = np.cumsum(holds) - 1, holds[line]
    lines = np.concatenate([renumbered[line[kept]], renumbered[holds]]).astype(np.int64)
    cells = np.concatenate([sums.part[kept], whole[holds]]).astype(np.int64)
    signs = np.concatenate([sums.sign[kept], -np.ones(int(holds.sum()))])
    order = np.lexsort((cells, lines))
    words = keys.words(whole[~holds])
    along = np.array(sums.names, dtype=object)[unique // base] if len(unique) else np.zeros(0, dtype=object)
    open_sums = pa.table([pa.array(column, pa.string()) for column in (*words, along[~holds])], schema=OPEN_SUMS_SCHEMA)
    implied = _implied(unique, np.bincount(line, minlength=len(unique)), holds, derived)[holds]
    return _Lines(lines[order], cells[order], signs[order], implied, whole[holds], (*along[holds],)), open_sums


def _shown_then(entries: _Entries, cell: Integers, derived: Integers, past: Vintage) -> Numbers:
    """Per cell, the number that an earlier release showed of it; NaN where it showed none."""
    shown = np.full(len(derived), np.nan)
    terms = np.stack([past.numerator, past.denominator, past.denominator - past.numerator])
    told = terms[entries.term, entries.row]
    at = ~np.isnan(told)
    shown[cell[at]] = told[at]
    complement = np.flatnonzero(derived[:, 0] >= 0)
    whole, part = derived[complement].T
    shown[complement] = shown[whole] - shown[part]
    return shown


def _fallen(keys: _CellKeys, lines: _Lines, bond: Bond) -> pa.Table:
    """What an earlier release said that is not true any more: numbers and equations, by their keys."""
    fallen, moved = np.flatnonzero(bond.fallen), np.flatnonzero(bond.moved)
    words = keys.words(np.concatenate([lines.whole[fallen], moved]))
    along = [*(lines.along[at] for at in fallen.tolist()), *(VALUE for _ in range(len(moved)))]
    return pa.table([pa.array(column, pa.string()) for column in (*words, along)], schema=OPEN_SUMS_SCHEMA)


def _implied(keys: Integers, parts: Integers, holds: Booleans, derived: Integers) -> Booleans:
    """Which sums of derived cells follow from the same sums, over as many parts, of the two cells of the difference."""
    base = len(derived) + 1
    along, whole = np.divmod(keys, base)
    origins = derived[whole]
    implied = origins[:, 0] >= 0
    for side in (0, 1):
        wanted = along * base + origins[:, side]
        at = np.minimum(np.searchsorted(keys, wanted), max(len(keys) - 1, 0))
        implied &= (keys[at] == wanted) & holds[at] & (parts[at] == parts)
    return np.asarray(implied, dtype=bool)


def _complements(entries: _Entries, cell: Integers, count: int) -> tuple[Integers, Integers]:
    """Per cell what it is derived from, and one line (denominator, numerator, others) per complement cell."""
    derived = np.full((count, 2), -1, dtype=np.int64)
    lines = np.unique(cell[entries.rates].reshape(-1, 3), axis=0)
    derived[lines[:, 2]] = lines[:, :2]
    return derived, lines


def _numbered(columns: list[Texts]) -> tuple[list[tuple[str, ...]], Integers]:
    """The distinct tuples of the columns in order, and the position of each row's among them."""
    positions, sizes, names = [], [], []
    for column in columns:
        encoded = pa.array(column, pa.string()).dictionary_encode()
        distinct = sorted(encoded.dictionary.to_pylist())
        at = {name: position for position, name in enumerate(distinct)}
        place = np.array([at[name] for name in encoded.dictionary.to_pylist()], dtype=np.int64)
        positions.append(place[encoded.indices.to_numpy()])
        sizes.append(max(len(distinct), 1))
        names.append(distinct)
    unique, inverse = np.unique(_packed(positions, sizes), return_inverse=True)
    parts = _unpacked(unique, sizes)
    tuples = [tuple(names[rank][part[row]] for rank, part in enumerate(parts)) for row in range(len(unique))]
    return tuples, inverse.astype(np.int64)


def _packed(positions: list[Integers], sizes: list[int]) -> Integers:
    packed = np.zeros(len(positions[0]), dtype=np.int64)
    for position, size in zip(positions, sizes, strict=True):
        packed = packed * size + position
    return packed


def _unpacked(packed: Integers, sizes: list[int]) -> tuple[Integers, ...]:
    parts: list[Integers] = []
    rest = packed
    for size in reversed(sizes):
        parts.append(rest % size)
        rest = rest // size
    return tuple(reversed(parts))
