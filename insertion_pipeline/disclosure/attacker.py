"""The attacker: what can be worked out of a published table by somebody who knows how it adds up.

Belongs here: an audit that sees only what a reader of the release sees, with its own cells and its own equations.
Does not belong here: hiding anything. It shares no code with `equations` and `suppression`, so that a mistake there is
not repeated here.

Two attackers: one knows that zeros are published, so that a hidden count is at least 1; the other only that nothing is
negative. Both know every equation. What follows from them is worked out in `inference`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insertion_pipeline.disclosure.inference import Moves, Unknowns
from insertion_pipeline.disclosure.persons import alike

#: What names a cell.
KEY = ("quantity", "month", "territory_code", "breakdown", "modality")
Numbers = NDArray[np.float64]
_SAME = 1e-6
#: Two solutions so far apart show that an unknown has more than one possible value.
APART = 0.01

#: One row per hidden cell. Its interval holds `low` and `high`: all of it where that is narrower than `need`.
#: `solution` is its only possible value, null when there are more. `whole_low` and `whole_high`: what was seen of it
#: among the solutions in which all counts are whole numbers, null where it is no count; `is_exact_in_whole`: it was
#: asked about by integer programs.
FINDINGS_SCHEMA = pa.schema(
    [
        ("quantity", pa.string()),
        ("month", pa.string()),
        ("territory_code", pa.string()),
        ("breakdown", pa.string()),
        ("modality", pa.string()),
        ("threshold", pa.float64()),
        ("is_derived", pa.bool_()),
        ("need", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("solution", pa.float64()),
        ("whole_low", pa.float64()),
        ("whole_high", pa.float64()),
        ("is_exact_in_whole", pa.bool_()),
    ]
)


#: One row per cell that must not be known more closely than `need`. Where somebody stands alone behind it
#: (`is_alone`), he knows its `number`, and who else does not must not know it more closely than `need_of_insiders`. The
#: numbers of the other rows say only which cells are empty: whose numbers are one is found out by that (`persons`).
NEEDS_SCHEMA = pa.schema(
    [
        *(FINDINGS_SCHEMA.field(name) for name in KEY),
        ("need", pa.float64()),
        ("number", pa.float64()),
        ("is_alone", pa.bool_()),
        ("need_of_insiders", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Earlier:
    """An earlier release, the rows being those of the release attacked: what it did not show is hidden in it.

    `fallen` is what the reader need not believe any more (quantity, month, territory_code, breakdown, modality, along):
    sums that do not hold between what was shown then and what is true now, `rate` for the line of a complement,
    `value` for a number that is another one now. The strongest reader knows just what has not moved.
    """

    published: pa.Table
    fallen: pa.Table


@dataclass(frozen=True)
class Knowledge:
    """What the reader of a release is told beside the values. Column names as in the release's own tables."""

    #: indicator_code, numerator_quantity, denominator_quantity, adds_up_over_territories, threshold
    indicators: pa.Table
    #: breakdown, adds_up
    breakdowns: pa.Table
    #: month, part, part_level, whole, whole_level
    links: pa.Table
    #: month, levels, piece, whole, whole_level: what territories at these levels have in common, where they cross
    pieces: pa.Table
    #: quantity, month, territory_code, breakdown, modality, along: sums known not to hold
    open_sums: pa.Table
    #: whole_quantity, part_quantity, part_breakdown, part_modality, sign, months_before, along: quantities that sum to
    #: another one, cut like it, or, where a breakdown is named, by one modality each to a whole that is not cut; of the
    #: same month, of so many before, or of every month of the `year` so far
    compositions: pa.Table


@dataclass(frozen=True)
class Audit:
    """What the attacker found: one row per hidden cell (`FINDINGS_SCHEMA`), and the size of the system.

    `betrayed`: the cells that somebody finds who stands alone behind another one, though he would not if more were
    hidden, one row each (columns `KEY`). `persons_betraying`: the cells that each of these stands alone behind (`KEY`,
    `insider`). `undecided_by_insiders`: how many pairs of an insider and a cell were left undecided.
    """

    cells: pa.Table
    equations: int
    betrayed: pa.Table
    persons_betraying: pa.Table
    undecided_by_insiders: int

    @property
    def narrow(self) -> pa.Table:
        """Sensitive cells known more closely than they need."""
        width, need = pc.subtract(self.cells["high"], self.cells["low"]), self.cells["need"]
        return self.cells.filter(pc.and_(pc.greater(need, APART), pc.less(width, pc.subtract(need, _SAME))))

    @property
    def narrow_in_whole(self) -> pa.Table:
        """Sensitive counts that are known more closely than they need by who knows that counts are whole numbers."""
        return self.cells.filter(pc.and_(self._wants_in_whole, self.cells["is_exact_in_whole"]))

    @property
    def undecided_in_whole(self) -> int:
        """How many sensitive counts were neither seen to be wide enough among whole numbers, nor asked about."""
        return int(pc.sum(pc.and_not(self._wants_in_whole, self.cells["is_exact_in_whole"])).as_py() or 0)

    @property
    def _wants_in_whole(self) -> pa.ChunkedArray:
        width, need = pc.subtract(self.cells["whole_high"], self.cells["whole_low"]), self.cells["need"]
        wants = pc.and_(pc.greater(need, APART), pc.less(width, pc.subtract(need, _SAME)))
        return pc.fill_null(wants, False)

    @property
    def breaches(self) -> pa.Table:
        """Cells that the table gives away, judged without knowing the truth.

        A hidden term with one possible value other than zero, be it by elimination or because its bounds meet, or the
        complement of a rate found to be smaller than the threshold.
        """
        low, high, threshold = (self.cells[name].to_numpy() for name in ("low", "high", "threshold"))
        solution = self.cells["solution"].to_numpy(zero_copy_only=False)
        derived = self.cells["is_derived"].to_numpy(zero_copy_only=False).astype(bool)
        with np.errstate(invalid="ignore"):
            found = np.where(np.isnan(solution) & (high - low < _SAME), low, solution)
            breached = ~np.isnan(found) & (np.abs(found) > _SAME) & (~derived | (found < threshold))
        return self.cells.filter(pa.array(np.asarray(breached, dtype=bool)))


_CELLS = """
CREATE OR REPLACE TEMP TABLE term_cell AS
WITH received AS (  -- what is not there counts for nothing in any sum
    SELECT *, kind = 'count' OR (unit = '%' AND counted_unit IN ('persons', 'structures')) AS is_whole,
        coalesce(numerator = 0 AND (kind <> 'ratio' OR denominator = 0), false) AS is_empty
    FROM published JOIN indicators USING (indicator_code)
    WHERE kind <> 'quantile' AND status NOT IN ('NR', 'ND')
),
term AS (
    SELECT
        numerator_quantity AS quantity, month, territory_code, breakdown, modality,
        status, numerator AS shown, kind = 'count' AS is_count, is_whole, is_empty, threshold,
        adds_up_over_territories AS adds_up
    FROM received
    UNION ALL
    SELECT
        denominator_quantity, month, territory_code, breakdown, modality,
        status, denominator, true, is_whole, is_empty, threshold, adds_up_over_territories
    FROM received
    WHERE kind = 'ratio'
),
merged AS (  -- one quantity is shown by several indicators: seen in one, known in all
    SELECT
        quantity, month, territory_code, breakdown, modality,
        max(shown) AS shown,
        bool_or(is_count) AS is_at_least_one,
        bool_or(is_whole) AS is_whole,
        bool_or(is_empty) AS must_show,
        bool_or(status = 'suppressed') AS is_hidden,
        max(threshold) AS threshold,
        bool_or(adds_up) AS adds_up
    FROM term
    GROUP BY ALL
)
SELECT row_number() OVER (ORDER BY quantity, month, territory_code, breakdown, modality) - 1 AS cell,
    * REPLACE (  -- a quantity of which a fraction is shown is no count, whatever its unit
        is_whole AND bool_and(coalesce(shown = round(shown), true)) OVER (PARTITION BY quantity) AS is_whole
    )
FROM merged
"""

_COMPLEMENTS = """
CREATE OR REPLACE TEMP TABLE other_cell AS
WITH rate AS (
    SELECT numerator_quantity, denominator_quantity, month, territory_code, breakdown, modality,
        max(threshold) AS threshold, bool_and(adds_up_over_territories) AS adds_up
    FROM published JOIN indicators USING (indicator_code)
    WHERE kind = 'ratio' AND unit = '%' AND counted_unit IN ('persons', 'structures')
        AND numerator_quantity <> denominator_quantity AND status NOT IN ('NR', 'ND')
    GROUP BY ALL
)
SELECT
    (SELECT count(*) FROM term_cell) + row_number() OVER (
        ORDER BY numerator_quantity, denominator_quantity, month, territory_code, breakdown, modality
    ) - 1 AS cell,
    '~' || numerator_quantity || '|' || denominator_quantity AS quantity,
    month, territory_code, breakdown, modality,
    below.shown - above.shown AS shown, false AS is_at_least_one, below.is_whole AND above.is_whole AS is_whole,
    below.is_hidden OR above.is_hidden AS is_hidden, below.must_show AND above.must_show AS must_show,
    rate.threshold, rate.adds_up, above.cell AS above_cell, below.cell AS below_cell
FROM rate
JOIN (SELECT *, quantity AS numerator_quantity FROM term_cell) AS above
    USING (numerator_quantity, month, territory_code, breakdown, modality)
JOIN (SELECT *, quantity AS denominator_quantity FROM term_cell) AS below
    USING (denominator_quantity, month, territory_code, breakdown, modality)
"""

_ALL_CELLS = """
CREATE OR REPLACE TEMP TABLE cell AS
SELECT *, false AS is_derived FROM term_cell
UNION ALL BY NAME
SELECT *, true AS is_derived FROM other_cell
"""

_PARTS_IN_COMMON = """
CREATE OR REPLACE TEMP TABLE in_common AS
WITH place AS (SELECT DISTINCT territory_code, territory_level AS level, country FROM published),
summed AS (SELECT * FROM term_cell JOIN place USING (territory_code) WHERE adds_up),
seen AS (  -- the levels at which a quantity is shown say which pieces its territories are made of
    SELECT quantity, month, breakdown, country, array_to_string(list_sort(list(DISTINCT level)), '+') AS levels
    FROM summed WHERE level <> 'country' GROUP BY ALL
),
candidate AS (
    SELECT DISTINCT seen.* EXCLUDE (country), modality, piece
    FROM seen JOIN summed USING (quantity, month, breakdown, country) JOIN pieces USING (month, levels)
    WHERE summed.territory_code = pieces.whole
),
spelled AS (
    SELECT candidate.*, whole.cell AS whole, own.cell AS own,
        candidate.levels || '<' || pieces.whole_level AS along,
        bool_and(whole.cell IS NOT NULL) OVER piece_of_cell AS is_everywhere,
        bool_or(place.territory_code IS NOT NULL) OVER piece_of_cell AS is_place
    FROM candidate
    JOIN pieces USING (month, levels, piece)
    LEFT JOIN summed AS whole ON whole.territory_code = pieces.whole AND whole.quantity = candidate.quantity
        AND whole.month = candidate.month AND whole.breakdown = candidate.breakdown
        AND whole.modality = candidate.modality
    LEFT JOIN summed AS own ON own.territory_code = candidate.piece AND own.quantity = candidate.quantity
        AND own.month = candidate.month AND own.breakdown = candidate.breakdown AND own.modality = candidate.modality
    LEFT JOIN place ON place.territory_code = candidate.piece
    WINDOW piece_of_cell AS (
        PARTITION BY candidate.quantity, candidate.month, candidate.breakdown, candidate.modality, candidate.piece
    )
)
SELECT * FROM spelled WHERE whole IS NOT NULL AND (own IS NOT NULL OR (is_everywhere AND NOT is_place))
"""

#: What nobody shows of a quantity: at least nothing, a whole number where the quantity is.
_PIECE_CELLS = """
INSERT INTO cell BY NAME
SELECT
    (SELECT count(*) FROM cell) - 1
        + row_number() OVER (ORDER BY quantity, month, piece, breakdown, modality) AS cell,
    quantity, month, piece AS territory_code, breakdown, modality, false AS is_at_least_one, is_whole,
    false AS is_hidden, false AS must_show, threshold, false AS adds_up, false AS is_derived
FROM (
    SELECT in_common.quantity, in_common.month, piece, in_common.breakdown, in_common.modality,
        bool_and(term_cell.is_whole) AS is_whole, max(threshold) AS threshold
    FROM in_common JOIN term_cell ON term_cell.cell = in_common.whole
    WHERE own IS NULL GROUP BY ALL
)
"""

_EQUATIONS = """
CREATE OR REPLACE TEMP TABLE entry AS
WITH shown_cell AS (
    SELECT * FROM cell WHERE cell < (SELECT count(*) FROM term_cell) + (SELECT count(*) FROM other_cell)
),
crossing AS (
    SELECT in_common.whole, coalesce(own, cell.cell) AS part, along
    FROM in_common JOIN cell ON cell.quantity = in_common.quantity AND cell.month = in_common.month
        AND cell.territory_code = in_common.piece AND cell.breakdown = in_common.breakdown
        AND cell.modality = in_common.modality
),
territorial AS (
    SELECT whole.cell AS whole, part.cell AS part, link.part_level || '<' || link.whole_level AS along
    FROM shown_cell AS part
    JOIN links AS link ON link.month = part.month AND link.part = part.territory_code
    JOIN shown_cell AS whole ON whole.territory_code = link.whole AND whole.quantity = part.quantity
        AND whole.month = part.month AND whole.breakdown = part.breakdown AND whole.modality = part.modality
    WHERE part.adds_up
),
cut AS (
    SELECT whole.cell AS whole, part.cell AS part, part.breakdown AS along
    FROM shown_cell AS part
    JOIN breakdowns ON breakdowns.breakdown = part.breakdown AND breakdowns.adds_up
    JOIN shown_cell AS whole ON whole.quantity = part.quantity AND whole.month = part.month
        AND whole.territory_code = part.territory_code
    WHERE part.breakdown <> 'total' AND part.modality <> 'TOTAL'
        AND whole.breakdown = 'total' AND whole.modality = 'TOTAL'
),
composed AS (
    SELECT compositions.*, part.cell AS part, whole.cell AS whole,
        part.month AS part_month, whole.month AS whole_month,
        datediff('month', (part.month || '-01')::DATE, (whole.month || '-01')::DATE)::VARCHAR AS months
    FROM compositions
    JOIN shown_cell AS part ON part.quantity = compositions.part_quantity AND (
        compositions.part_breakdown = ''
        OR (part.breakdown = compositions.part_breakdown AND part.modality = compositions.part_modality))
    JOIN shown_cell AS whole ON whole.quantity = compositions.whole_quantity
        AND whole.territory_code = part.territory_code
        AND whole.breakdown = CASE compositions.part_breakdown WHEN '' THEN part.breakdown ELSE 'total' END
        AND whole.modality = CASE compositions.part_breakdown WHEN '' THEN part.modality ELSE 'TOTAL' END
        AND (part.month = whole.month OR compositions.months_before <> '0')
),
timely AS (
    SELECT * FROM composed
    WHERE CASE months_before WHEN 'year' THEN part_month <= whole_month AND part_month[:4] = whole_month[:4]
        ELSE months = months_before END
),
size AS (
    SELECT along, bool_or(months_before <> '0') AS is_over_time,
        count(*) FILTER (months_before <> 'year') AS once, count(*) FILTER (months_before = 'year') AS monthly
    FROM compositions GROUP BY along
),
complete AS (  -- over months, a sum that lacks a part says nothing
    SELECT along, whole FROM timely JOIN size USING (along)
    GROUP BY along, whole, is_over_time, once, monthly, whole_month
    HAVING NOT is_over_time OR count(*) = once + monthly * whole_month[6:7]::INTEGER
),
sums AS (
    SELECT *, 1.0 AS sign FROM territorial
    UNION ALL SELECT whole, part, along, 1.0 FROM crossing
    UNION ALL SELECT *, 1.0 FROM cut
    UNION ALL SELECT whole, part, along, sign FROM timely JOIN complete USING (along, whole)
),
binding AS (
    SELECT sums.* FROM sums
    JOIN cell AS total ON total.cell = sums.whole
    ANTI JOIN open_sums ON open_sums.quantity = total.quantity AND open_sums.month = total.month
        AND open_sums.territory_code = total.territory_code AND open_sums.breakdown = total.breakdown
        AND open_sums.modality = total.modality AND open_sums.along = sums.along
),
signed AS (
    SELECT along, whole, part AS cell, sign FROM binding
    UNION ALL
    SELECT DISTINCT along, whole, whole, -1.0 FROM binding
    UNION ALL
    SELECT 'rate', cell, unnest([cell, above_cell, below_cell]), unnest([1.0, 1.0, -1.0]) FROM other_cell
)
SELECT dense_rank() OVER (ORDER BY along, whole) - 1 AS equation, along, whole, cell, sign::DOUBLE AS sign
FROM signed
"""
_ENTRIES = "SELECT equation, cell, sign FROM entry ORDER BY equation, cell"
_SHOWN = "SELECT shown FROM cell ORDER BY cell"
_FALLEN_CELLS = "SELECT cell FROM cell JOIN fallen USING (quantity, month, territory_code, breakdown, modality)"
_FALLEN_EQUATIONS = f"""
SELECT DISTINCT entry.equation
FROM entry
JOIN ({_FALLEN_CELLS.replace("SELECT cell", "SELECT cell, along")}) AS fallen
    ON fallen.cell = entry.whole AND fallen.along = entry.along
"""

_HIDDEN = """
SELECT cell.*, coalesce(needs.need, 0) AS need, needs.place, needs.number, coalesce(needs.is_alone, false) AS is_alone,
    coalesce(needs.need_of_insiders, 0) AS need_of_insiders
FROM cell LEFT JOIN needs USING (quantity, month, territory_code, breakdown, modality)
ORDER BY cell
"""


def audit(
    connection: duckdb.DuckDBPyConnection,
    published: pa.Table,
    knowledge: Knowledge,
    needs: pa.Table | None = None,
    claimed: Iterable[Numbers] = (),
    moves: Moves | None = None,
    *,
    earlier: Sequence[Earlier] = (),
    zeros_known: bool = True,
) -> Audit:
    """Attack `published` (columns of `indicator_values`) with nothing but it, `earlier` releases and `knowledge`.

    `needs` (`NEEDS_SCHEMA`) says which cells to bound, until they are seen to be so wide or to be narrower; any other
    hidden cell is only told apart from one that has a single possible value. `claimed`: values of the cells of `needs`
    that are said to be solutions, as `moves` are, which insiders are held against; where they do not fulfil the
    attacker's own equations they are not believed. Raises `NoSolution`.
    """
    needs = NEEDS_SCHEMA.empty_table() if needs is None else needs
    tables = {
        "indicators": knowledge.indicators,
        "breakdowns": knowledge.breakdowns,
        "links": knowledge.links,
        "pieces": knowledge.pieces,
        "open_sums": knowledge.open_sums,
        "compositions": knowledge.compositions,
        "needs": needs.append_column("place", pa.array(np.arange(len(needs)))),
    }
    for name, table in tables.items():
        connection.register(name, table)
    try:
        _make_cells(connection, published)
        connection.execute(_EQUATIONS)
        entries = connection.sql(_ENTRIES).to_arrow_table()
        cells = connection.sql(_HIDDEN).to_arrow_table()
        past = [_remembered(connection, one) for one in earlier]
    finally:
        for name in tables:
            connection.unregister(name)
    return _inferred(entries, cells, past, claimed, moves, zeros_known=zeros_known)


def _make_cells(connection: duckdb.DuckDBPyConnection, published: pa.Table) -> None:
    connection.register("published", published)
    for step in (_CELLS, _COMPLEMENTS, _ALL_CELLS, _PARTS_IN_COMMON, _PIECE_CELLS):
        connection.execute(step)
    connection.unregister("published")


@dataclass(frozen=True)
class _Remembered:
    """An earlier release in the cells of the one attacked."""

    shown: Numbers  # one per cell; NaN where it was hidden
    moved: NDArray[np.int64]  # cells that were shown and are another number now
    fallen: NDArray[np.int64]  # equations that do not hold with what was shown then


def _remembered(connection: duckdb.DuckDBPyConnection, earlier: Earlier) -> _Remembered:
    _make_cells(connection, earlier.published)
    connection.register("fallen", earlier.fallen)
    shown = connection.sql(_SHOWN).to_arrow_table()["shown"].to_numpy().astype(np.float64)
    moved = connection.sql(f"{_FALLEN_CELLS} WHERE along = 'value'").to_arrow_table()["cell"].to_numpy()
    fallen = connection.sql(_FALLEN_EQUATIONS).to_arrow_table()["equation"].to_numpy()
    connection.unregister("fallen")
    return _Remembered(shown, moved, fallen)


@dataclass(frozen=True)
class _Equations:
    """One entry per (equation, cell), with the number that the cell has in it, NaN where it is unknown."""

    equation: NDArray[np.int64]
    cell: NDArray[np.int64]
    sign: Numbers
    number: Numbers
    shown: Numbers  # one per cell: now, or earlier and unmoved; NaN where it is unknown
    of_now: int  # so many entries, the first, are of the release itself

    @classmethod
    def of(cls, entries: pa.Table, cells: pa.Table, past: Sequence[_Remembered]) -> _Equations:
        """The equations of now, and those of earlier releases that say something else of what they hid."""
        shown = cells["shown"].to_numpy().astype(np.float64)
        for one in past:
            still = ~np.isnan(one.shown)
            still[one.moved] = False
            shown = np.where(np.isnan(shown) & still, one.shown, shown)
        equation, cell, sign = (entries[name].to_numpy() for name in ("equation", "cell", "sign"))
        first = int(equation.max(initial=-1)) + 1
        found = [(equation, cell, sign, shown[cell])]
        for number, one in enumerate(past, start=1):
            then = np.where(np.isnan(one.shown), shown, one.shown)
            other = np.zeros(first, dtype=bool)
            other[equation[then[cell] != shown[cell]]] = True
            other[one.fallen] = False
            at = other[equation]
            found.append((equation[at] + number * first, cell[at], sign[at], then[cell[at]]))
        equation, cell, sign, told = (np.concatenate(columns) for columns in zip(*found, strict=True))
        return cls(equation, cell, sign, told, shown, len(entries))

    @property
    def unknown(self) -> NDArray[np.bool_]:
        """Which cells are neither shown nor remembered."""
        return np.isnan(self.shown)

    def unknowns(self, cells: pa.Table, *, zeros_known: bool) -> Unknowns:
        """The equations that have an unknown, and the unknown cells in their order."""
        open_ = np.isnan(self.number)
        asking = np.isin(self.equation, np.unique(self.equation[open_]))
        names, equation = np.unique(self.equation[asking], return_inverse=True)
        sign, number, open_ = self.sign[asking], self.number[asking], open_[asking]
        known = ~open_
        right = -np.bincount(equation[known], weights=(sign * number)[known], minlength=len(names)).astype(np.float64)
        at_least_one, is_whole = (
            cells[name].to_numpy(zero_copy_only=False).astype(bool)[self.unknown]
            for name in ("is_at_least_one", "is_whole")
        )
        return Unknowns(
            equation[open_].astype(np.int64),
            (np.cumsum(self.unknown) - 1)[self.cell[asking][open_]],
            sign[open_],
            right,
            np.where(at_least_one & zeros_known, 1.0, 0.0),
            is_whole,
        )

    def persons(self, told: Numbers) -> NDArray[np.int64]:
        """Per cell, the number of who stands alone behind it, if somebody does; `told`: the numbers of the others."""
        numbers = np.where(self.unknown, told, self.shown)
        now = slice(self.of_now)
        return alike(self.equation[now], self.cell[now], self.sign[now], numbers[self.cell[now]], len(numbers))


def _inferred(
    entries: pa.Table,
    cells: pa.Table,
    past: Sequence[_Remembered],
    claimed: Iterable[Numbers],
    moves: Moves | None,
    *,
    zeros_known: bool,
) -> Audit:
    equations = _Equations.of(entries, cells, past)
    system = equations.unknowns(cells, zeros_known=zeros_known)
    hidden = cells.filter(pa.array(equations.unknown))
    is_hidden = hidden["is_hidden"].to_numpy(zero_copy_only=False).astype(bool)
    needs = np.where(is_hidden, np.maximum(hidden["need"].to_numpy(), APART), 0.0)
    place = np.nan_to_num(hidden["place"].to_numpy().astype(np.float64), nan=-1.0).astype(np.int64)
    points = [np.append(point, np.nan)[place] for point in claimed]
    intervals = system.intervals(needs, points, in_whole=APART)
    solution = system.solutions(is_hidden & (intervals.high - intervals.low < _SAME))
    hidden = hidden.set_column(hidden.column_names.index("need"), "need", pa.array(needs))
    found = {name: hidden[name] for name in FINDINGS_SCHEMA.names if name in hidden.column_names}
    found |= {"low": pa.array(intervals.low), "high": pa.array(intervals.high)}
    found["solution"] = pa.array(solution, from_pandas=True)
    found |= {
        name: pa.array(np.where(system.whole, getattr(intervals, name), np.nan), from_pandas=True)
        for name in ("whole_low", "whole_high")
    }
    found["is_exact_in_whole"] = pa.array(intervals.is_exact_in_whole)
    table = pa.table({name: found[name] for name in FINDINGS_SCHEMA.names}).cast(FINDINGS_SCHEMA)
    insiders = _Insiders.of(equations, cells)
    told = insiders.of_unknowns(equations)
    betrayals = system.betrayals(*told, points, moves and _placed(moves, place))
    at = np.flatnonzero(equations.unknown)
    pairs = set(zip(betrayals.insider.tolist(), at[betrayals.unknown].tolist(), strict=True))
    if pairs:  # is it because too little is hidden?
        pairs -= insiders.knowing_anyhow(pairs, _Equations.of(entries, _hidden_wherever_allowed(cells), past), cells)
    keys = cells.select(list(KEY))
    betrayed = keys.take(pa.array(sorted({cell for _, cell in pairs}), pa.int64()))
    own = np.isin(insiders.who, sorted({insider for insider, _ in pairs}))
    betraying = keys.filter(pa.array(own)).append_column("insider", pa.array(insiders.who[own]))
    found_in = len(np.unique(system.equation))
    return Audit(table.filter(hidden["is_hidden"]), found_in, betrayed, betraying, betrayals.undecided)


def _hidden_wherever_allowed(cells: pa.Table) -> pa.Table:
    """The cells as if only the rows were shown that tell nothing but zeros."""
    shown = pc.if_else(cells["must_show"], cells["shown"], None)
    return cells.set_column(cells.column_names.index("shown"), "shown", shown)


@dataclass(frozen=True)
class _Insiders:
    """One entry per cell: who stands alone behind it (-1: nobody), its number, how little others may know it."""

    who: NDArray[np.int64]
    number: Numbers
    needs: Numbers

    @classmethod
    def of(cls, equations: _Equations, cells: pa.Table) -> _Insiders:
        number, needs = (cells[name].to_numpy().astype(np.float64) for name in ("number", "need_of_insiders"))
        is_alone = cells["is_alone"].to_numpy(zero_copy_only=False).astype(bool)
        who = np.where(is_alone, equations.persons(number), -1) if is_alone.any() else np.full(len(cells), -1)
        return cls(who, number, needs)

    def of_unknowns(self, equations: _Equations) -> tuple[NDArray[np.int64], Numbers, Numbers]:
        """The same, of unknown cells alone."""
        return self.who[equations.unknown], self.number[equations.unknown], self.needs[equations.unknown]

    def knowing_anyhow(
        self, pairs: Collection[tuple[int, int]], equations: _Equations, cells: pa.Table
    ) -> set[tuple[int, int]]:
        """Which pairs of an insider and a cell he knows as much by these equations too, where nothing more can hide."""
        position, at = np.cumsum(equations.unknown) - 1, np.flatnonzero(equations.unknown)
        system = equations.unknowns(cells, zeros_known=True)
        asked = [(insider, int(position[cell])) for insider, cell in sorted(pairs)]
        found = system.still_betrayed(asked, *self.of_unknowns(equations))
        return {(insider, int(at[unknown])) for insider, unknown in found}


def _placed(moves: Moves, place: NDArray[np.int64]) -> Moves:
    """Claims about the rows of the needs as claims about unknowns: `place` is the row of each, -1 where it has none."""
    unknown = np.full(len(moves.around), -1, dtype=np.int64)
    unknown[place[place >= 0]] = np.flatnonzero(place >= 0)
    at = unknown[moves.unknown]
    known = at >= 0  # whatever else would move is shown: the equations tell
    return Moves(np.append(moves.around, np.nan)[place], moves.move[known], at[known], moves.by[known])
