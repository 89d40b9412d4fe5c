"""The attacker: what can be worked out of a published table by somebody who knows how it adds up.

Belongs here: an audit that sees only what a reader of the release sees, with its own cells and its own equations.
Does not belong here: hiding anything. It shares no code with `equations` and `suppression`, so that a mistake there is
not repeated here.

Two attacks. *Elimination*: is a hidden cell the only solution of the equations, whatever the others are? Exact, over
the whole system, modulo a prime. *Bounds*: the interval of each hidden cell when nothing is negative and a hidden
count is at least 1 (zeros are published), narrowed equation by equation until nothing moves. Bounds are what a patient
reader finds; they are not the narrowest interval that linear programming would give.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

_PRIME = (1 << 61) - 1
#: Hidden sums have decimals: elimination works on whole multiples of this.
_GRAIN = 1_000_000
_ROUNDS = 200
_SAME = 1e-6

#: One row per hidden cell. `low` and `high` bound it; `solution` is its only possible value, null when there are more.
FINDINGS_SCHEMA = pa.schema(
    [
        ("quantity", pa.string()),
        ("month", pa.string()),
        ("territory_code", pa.string()),
        ("breakdown", pa.string()),
        ("modality", pa.string()),
        ("threshold", pa.float64()),
        ("is_derived", pa.bool_()),
        ("low", pa.float64()),
        ("high", pa.float64()),
        ("solution", pa.float64()),
    ]
)


@dataclass(frozen=True)
class Knowledge:
    """What the reader of a release is told beside the values. Column names as in the release's own tables."""

    #: indicator_code, numerator_quantity, denominator_quantity, adds_up_over_territories, threshold
    indicators: pa.Table
    #: breakdown, adds_up
    breakdowns: pa.Table
    #: month, part, part_level, whole, whole_level
    links: pa.Table
    #: quantity, month, territory_code, breakdown, modality, along: sums known not to hold
    open_sums: pa.Table
    #: whole_quantity, part_quantity, along: quantities that sum to another one
    compositions: pa.Table


@dataclass(frozen=True)
class Audit:
    """What the attacker found: one row per hidden cell (`FINDINGS_SCHEMA`), and the size of the system."""

    cells: pa.Table
    equations: int

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
WITH term AS (
    SELECT
        indicators.numerator_quantity AS quantity, month, territory_code, breakdown, modality,
        status, numerator AS shown, kind = 'count' AS is_count, threshold, adds_up_over_territories AS adds_up
    FROM published JOIN indicators USING (indicator_code)
    WHERE kind <> 'quantile'
    UNION ALL
    SELECT
        indicators.denominator_quantity, month, territory_code, breakdown, modality,
        status, denominator, status NOT IN ('NR', 'ND'), threshold, adds_up_over_territories
    FROM published JOIN indicators USING (indicator_code)
    WHERE kind = 'ratio'
),
merged AS (  -- one quantity is shown by several indicators: seen in one, known in all
    SELECT
        quantity, month, territory_code, breakdown, modality,
        max(shown) AS shown,
        bool_or(is_count AND status NOT IN ('NR', 'ND')) AS is_at_least_one,
        bool_or(status = 'suppressed') AS is_hidden,
        max(threshold) AS threshold,
        bool_or(adds_up) AS adds_up
    FROM term
    GROUP BY ALL
)
SELECT row_number() OVER (ORDER BY quantity, month, territory_code, breakdown, modality) - 1 AS cell, *
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
    below.shown - above.shown AS shown, false AS is_at_least_one,
    below.is_hidden OR above.is_hidden AS is_hidden,
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

_EQUATIONS = """
CREATE OR REPLACE TEMP TABLE entry AS
WITH territorial AS (
    SELECT whole.cell AS whole, part.cell AS part, link.part_level || '<' || link.whole_level AS along
    FROM cell AS part
    JOIN links AS link ON link.month = part.month AND link.part = part.territory_code
    JOIN cell AS whole ON whole.territory_code = link.whole AND whole.quantity = part.quantity
        AND whole.month = part.month AND whole.breakdown = part.breakdown AND whole.modality = part.modality
    WHERE part.adds_up
),
cut AS (
    SELECT whole.cell AS whole, part.cell AS part, part.breakdown AS along
    FROM cell AS part
    JOIN breakdowns ON breakdowns.breakdown = part.breakdown AND breakdowns.adds_up
    JOIN cell AS whole ON whole.quantity = part.quantity AND whole.month = part.month
        AND whole.territory_code = part.territory_code
    WHERE part.breakdown <> 'total' AND part.modality <> 'TOTAL'
        AND whole.breakdown = 'total' AND whole.modality = 'TOTAL'
),
composed AS (
    SELECT whole.cell AS whole, part.cell AS part, compositions.along
    FROM compositions
    JOIN cell AS part ON part.quantity = compositions.part_quantity
    JOIN cell AS whole ON whole.quantity = compositions.whole_quantity AND whole.month = part.month
        AND whole.territory_code = part.territory_code AND whole.breakdown = part.breakdown
        AND whole.modality = part.modality
),
sums AS (SELECT * FROM territorial UNION ALL SELECT * FROM cut UNION ALL SELECT * FROM composed),
binding AS (
    SELECT sums.* FROM sums
    JOIN cell AS total ON total.cell = sums.whole
    ANTI JOIN open_sums ON open_sums.quantity = total.quantity AND open_sums.month = total.month
        AND open_sums.territory_code = total.territory_code AND open_sums.breakdown = total.breakdown
        AND open_sums.modality = total.modality AND open_sums.along = sums.along
),
signed AS (
    SELECT along || ' ' || whole AS equation, part AS cell, 1.0 AS sign FROM binding
    UNION ALL
    SELECT DISTINCT along || ' ' || whole, whole, -1.0 FROM binding
    UNION ALL
    SELECT 'rate ' || cell, unnest([cell, above_cell, below_cell]), unnest([1.0, 1.0, -1.0]) FROM other_cell
)
SELECT
    dense_rank() OVER (ORDER BY equation) - 1 AS equation, cell, sign, shown,
    bool_or(shown IS NULL) OVER (PARTITION BY equation) AS has_unknown
FROM signed JOIN cell USING (cell)
"""


def audit(connection: duckdb.DuckDBPyConnection, published: pa.Table, knowledge: Knowledge) -> Audit:
    """Attack `published` (columns of `indicator_values`) with nothing but it and `knowledge`."""
    tables = {
        "published": published,
        "indicators": knowledge.indicators,
        "breakdowns": knowledge.breakdowns,
        "links": knowledge.links,
        "open_sums": knowledge.open_sums,
        "compositions": knowledge.compositions,
    }
    for name, table in tables.items():
        connection.register(name, table)
    try:
        for step in (_CELLS, _COMPLEMENTS, _ALL_CELLS, _EQUATIONS):
            connection.execute(step)
        entries = connection.sql(
            "SELECT equation, cell, sign::DOUBLE AS sign, shown FROM entry WHERE has_unknown ORDER BY equation, cell"
        ).to_arrow_table()
        hidden = connection.sql(
            "SELECT cell, is_at_least_one, is_hidden, quantity, month, territory_code, breakdown, modality,"
            " threshold, is_derived FROM cell WHERE shown IS NULL ORDER BY cell"
        ).to_arrow_table()
    finally:
        for name in tables:
            connection.unregister(name)
    return _solved(entries, hidden)


def _solved(entries: pa.Table, hidden: pa.Table) -> Audit:
    equations, equation = np.unique(entries["equation"].to_numpy(), return_inverse=True)
    shown, sign = entries["shown"].to_numpy(), entries["sign"].to_numpy()
    known = ~np.isnan(shown)
    right = -np.bincount(equation[known], weights=(sign * shown)[known], minlength=len(equations)).astype(np.float64)
    cells = hidden["cell"].to_numpy()
    unknown = np.searchsorted(cells, entries["cell"].to_numpy()[~known])
    system = _Unknowns(equation[~known].astype(np.int64), unknown.astype(np.int64), sign[~known], right, len(cells))
    floors = np.where(hidden["is_at_least_one"].to_numpy(zero_copy_only=False).astype(bool), 1.0, 0.0)
    low, high = system.bounds(floors)
    found = {name: hidden[name] for name in FINDINGS_SCHEMA.names if name in hidden.column_names}
    found |= {"low": pa.array(low), "high": pa.array(high), "solution": pa.array(system.solutions(), from_pandas=True)}
    table = pa.table({name: found[name] for name in FINDINGS_SCHEMA.names}).cast(FINDINGS_SCHEMA)
    return Audit(table.filter(hidden["is_hidden"]), len(equations))


@dataclass(frozen=True)
class _Unknowns:
    """The equations that still have unknowns: one entry per (equation, unknown), and the right-hand sides."""

    equation: NDArray[np.int64]
    unknown: NDArray[np.int64]
    sign: NDArray[np.float64]
    right: NDArray[np.float64]
    count: int

    def bounds(self, floors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Least and greatest value of each unknown, by narrowing one equation after the other."""
        low, high = floors.copy(), np.full(self.count, np.inf)
        plus = self.sign > 0
        for _ in range(_ROUNDS):
            least = np.where(plus, low[self.unknown], -high[self.unknown])
            most = np.where(plus, high[self.unknown], -low[self.unknown])
            at_most = self.right[self.equation] - self._others(least, -np.inf)
            at_least = self.right[self.equation] - self._others(most, np.inf)
            narrowed_low, narrowed_high = low.copy(), high.copy()
            np.minimum.at(narrowed_high, self.unknown, np.where(plus, at_most, -at_least))
            np.maximum.at(narrowed_low, self.unknown, np.where(plus, at_least, -at_most))
            with np.errstate(invalid="ignore"):
                moved = (narrowed_low > low + 1e-6) | (narrowed_high < high - 1e-6)
            low, high = narrowed_low, narrowed_high
            if not moved.any():
                break
        return low, high

    def _others(self, value: NDArray[np.float64], infinite: float) -> NDArray[np.float64]:
        """Per entry, the sum of the other entries of its equation; `infinite` when one of them is."""
        finite = np.where(np.isinf(value), 0.0, value)
        sums = np.bincount(self.equation, weights=finite, minlength=len(self.right))
        infinities = np.bincount(self.equation, weights=np.isinf(value), minlength=len(self.right))
        others = infinities[self.equation] - np.isinf(value)
        return np.where(others > 0, infinite, sums[self.equation] - finite)

    def solutions(self) -> NDArray[np.float64]:
        """The one possible value of each unknown by elimination, NaN when there are several."""
        pivots = self._eliminated()
        first, second = (self._solution(pivots, seed) for seed in (1, 2))
        solved = np.full(self.count, np.nan)
        for unknown in range(self.count):
            if first[unknown] == second[unknown]:
                number = first[unknown]
                solved[unknown] = (number if number < _PRIME // 2 else number - _PRIME) / _GRAIN
        return solved

    def _eliminated(self) -> list[tuple[int, dict[int, int]]]:
        """The equations in echelon form: (pivot unknown, coefficients modulo the prime; key -1 is the constant).

        An equation that alone holds one of its unknowns needs no elimination: it is peeled off, which leaves others
        alone in turn. Only the core that remains is eliminated.
        """
        rows = self._rows()
        holders: list[set[int]] = [set() for _ in range(self.count)]
        for number, row in enumerate(rows):
            for unknown in row.keys() - {-1}:
                holders[unknown].add(number)
        pivots: list[tuple[int, dict[int, int]]] = []
        alone = [unknown for unknown, held in enumerate(holders) if len(held) == 1]
        while alone:
            pivot = alone.pop()
            if len(holders[pivot]) != 1:
                continue
            (number,) = holders[pivot]
            pivots.append((pivot, rows[number]))
            for unknown in rows[number].keys() - {-1}:
                holders[unknown].discard(number)
                if len(holders[unknown]) == 1:
                    alone.append(unknown)
        core = sorted(set().union(*holders), key=lambda number: (len(rows[number]), number))
        return pivots + _echelon([rows[number] for number in core], [len(held) for held in holders])

    def _rows(self) -> list[dict[int, int]]:
        """Each equation as coefficients modulo the prime; key -1 is the constant."""
        starts = np.searchsorted(self.equation, np.arange(len(self.right) + 1)).tolist()
        unknowns, signs = self.unknown.tolist(), self.sign.tolist()
        rows: list[dict[int, int]] = []
        for number, right in enumerate(self.right.tolist()):
            row = {-1: -round(right * _GRAIN) % _PRIME}
            for entry in range(starts[number], starts[number + 1]):
                row[unknowns[entry]] = (row.get(unknowns[entry], 0) + int(signs[entry])) % _PRIME
            rows.append({unknown: factor for unknown, factor in row.items() if factor})
        return rows

    def _solution(self, pivots: list[tuple[int, dict[int, int]]], seed: int) -> list[int]:
        """One solution, the free unknowns set to fixed scattered numbers: two of them agree only where there is one."""
        solution = [_scattered(unknown, seed) for unknown in range(self.count)]
        for pivot, row in reversed(pivots):
            total = row.get(-1, 0)
            for unknown, factor in row.items():
                if unknown not in (-1, pivot):
                    total += factor * solution[unknown]
            solution[pivot] = -total * pow(row[pivot], -1, _PRIME) % _PRIME
        return solution


def _echelon(rows: list[dict[int, int]], degree: list[int]) -> list[tuple[int, dict[int, int]]]:
    """Gauss: each row with a pivot that no later row has. Rows with nothing left say nothing new."""
    order: dict[int, int] = {}
    pivots: list[tuple[int, dict[int, int]]] = []
    for row in rows:
        standing = [order[unknown] for unknown in row if unknown in order]
        heapq.heapify(standing)
        while standing:
            pivot, other = pivots[heapq.heappop(standing)]
            if pivot in row:
                for unknown in _subtract(row, pivot, other):
                    if unknown in order:
                        heapq.heappush(standing, order[unknown])
        if free := [unknown for unknown in row if unknown >= 0]:
            pivot = min(free, key=lambda unknown: (degree[unknown], unknown))
            order[pivot] = len(pivots)
            pivots.append((pivot, row))
    return pivots


def _subtract(row: dict[int, int], pivot: int, other: dict[int, int]) -> list[int]:
    """Take the multiple of `other` from `row` that clears `pivot`; returns the unknowns that are new in `row`."""
    factor = row[pivot] * pow(other[pivot], -1, _PRIME) % _PRIME
    new = [unknown for unknown in other if unknown not in row]
    for unknown, coefficient in other.items():
        rest = (row.get(unknown, 0) - factor * coefficient) % _PRIME
        if rest:
            row[unknown] = rest
        else:
            row.pop(unknown, None)
    return new


def _scattered(unknown: int, seed: int) -> int:
    """A number that looks arbitrary but is always the same (splitmix64 over the position)."""
    number = (unknown * 2 + seed) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    number = (number ^ number >> 27) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF
    return (number ^ number >> 31) % _PRIME
