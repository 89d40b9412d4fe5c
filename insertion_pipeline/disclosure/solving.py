"""Linear and integer programs, as HiGHS solves them.

Belongs here: handing numbers to the solver and taking its answer, always the same for the same numbers: one thread for
each program, a fixed seed, limits in nodes and gaps and never in seconds. Does not belong here: what the numbers mean;
protection and attack each write their own equations.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import numpy as np
from numpy.typing import NDArray

Integers = NDArray[np.int64]
Numbers = NDArray[np.float64]
Booleans = NDArray[np.bool_]

_SEED: Final = 1
_PRIMAL_SIMPLEX: Final = 4
#: Programs with more columns than this are solved by interior points: the simplex method crawls on them.
_LARGE: Final = 6_000
#: So many programs that do not need each other are solved at the same time.
_AT_ONCE: Final = 2

_BUSY: Final = threading.local()
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class Unsolved(Exception):
    """The solver gave up, or there is no solution."""


@dataclass(frozen=True)
class Entries:
    """A sparse matrix; entries at the same row and column add up. Rows and columns are numbered from 0."""

    row: Integers
    column: Integers
    value: Numbers
    rows: int
    columns: int


@dataclass(frozen=True)
class Optimum:
    """A solution. `bound` is proven: no solution of a minimisation costs less."""

    point: Numbers
    duals: Numbers  # one per row; empty for an integer program
    reduced: Numbers  # one per column; empty for an integer program
    value: float
    bound: float


def at_once(solve: Callable[[_Task], _Result], tasks: Iterable[_Task]) -> list[_Result]:
    """What `solve` makes of each of the tasks, in their order; none may touch what another one reads.

    A task that has tasks of its own does them one after the other.
    """

    def solved(task: _Task) -> _Result:
        _BUSY.is_within = True
        return solve(task)

    if getattr(_BUSY, "is_within", False):
        return [solve(task) for task in tasks]
    with ThreadPoolExecutor(_AT_ONCE) as threads:  # the solver holds no lock of Python's while it works
        return list(threads.map(solved, tasks))


class LinearProgram:
    """`low ≤ matrix · x ≤ high` for x within its box, with one objective after the other: each starts from the last.

    `at_a_vertex`: the optimum is to move as few columns as it can, and is looked for anew each time.
    """

    def __init__(
        self, matrix: Entries, low: Numbers, high: Numbers, least: Numbers, most: Numbers, *, at_a_vertex: bool = False
    ) -> None:
        self._highs = _loaded(matrix, low, high, least, most, np.zeros(matrix.columns))
        if matrix.columns > _LARGE and not at_a_vertex:
            self._highs.setOptionValue("solver", "ipm")
            self._highs.setOptionValue("run_crossover", "off")
        elif not at_a_vertex:  # x = 0 or the last optimum is a good place to start
            self._highs.setOptionValue("presolve", "off")
            self._highs.setOptionValue("simplex_strategy", _PRIMAL_SIMPLEX)
        self._columns = np.arange(matrix.columns, dtype=np.int32)

    def rebox(self, columns: Integers, least: Numbers, most: Numbers) -> None:
        """Give `columns` another box."""
        self._highs.changeColsBounds(len(columns), columns.astype(np.int32), least, most)

    def maximise(self, objective: Numbers) -> Optimum:
        """The optimum of `objective`. Raises `Unsolved`."""
        self._highs.changeColsCost(len(objective), self._columns, -objective)
        self._highs.run()
        if self._highs.modelStatusToString(self._highs.getModelStatus()) != "Optimal":
            self._highs.clearSolver()  # from scratch: a basis carried over may be hopeless for another objective
            self._highs.setOptionValue("solver", "simplex")  # interior points end short of some optima without a vertex
            self._highs.run()
        status = self._highs.modelStatusToString(self._highs.getModelStatus())
        if status != "Optimal":
            raise Unsolved(status)
        solution = self._highs.getSolution()
        duals, reduced = (-np.array(values, dtype=np.float64) for values in (solution.row_dual, solution.col_dual))
        point = np.array(solution.col_value, dtype=np.float64)
        value = float(objective @ point)
        return Optimum(point, duals, reduced, value, value)


class GrowingProgram:
    """Equations that may be broken at a cost, between columns that move up and down from zero; both may be added.

    Each solution starts from the last.
    """

    def __init__(self) -> None:
        import highspy

        highs: Any = highspy.Highs  # untyped
        self._highs = highs()
        for option, value in (
            ("output_flag", False), ("threads", 1), ("random_seed", _SEED), ("presolve", "off"),
            ("simplex_strategy", _PRIMAL_SIMPLEX),
        ):  # fmt: skip
            self._highs.setOptionValue(option, value)
        self._blocks: list[tuple[int, int]] = []  # columns and rows added at a time

    def grow(
        self,
        rows: int,
        breaking: float,
        row: Integers,
        column: Integers,
        value: Numbers,
        up: Numbers,
        down: Numbers,
        most_up: Numbers,
        most_down: Numbers,
        *,
        forced: bool = False,
    ) -> None:
        """Add so many `rows` and a column for each entry of `up`, what a unit costs; `row` and `value` by `column`.

        `forced`: the new columns move by the most that they may.
        """
        count = len(up)
        zeros, nowhere = np.zeros(rows), np.zeros(0, dtype=np.int32)
        before = self._highs.getNumRow()
        if rows:
            self._highs.addRows(rows, zeros, zeros, 0, np.zeros(rows, dtype=np.int32), nowhere, np.zeros(0))
        starts = np.searchsorted(column, np.arange(count)).astype(np.int32)
        at = row.astype(np.int32)
        for cost, most, sign in ((up, most_up, 1.0), (down, most_down, -1.0)):
            least = most if forced else np.zeros(count)
            self._highs.addCols(count, cost, least, most, len(at), starts, at, sign * value)
        own = np.arange(rows, dtype=np.int32)
        for sign in (1.0, -1.0):
            self._highs.addCols(
                rows, np.full(rows, breaking), zeros, np.full(rows, np.inf), rows, own, own + before,
                np.full(rows, sign),
            )  # fmt: skip
        self._blocks.append((count, rows))

    def encourage(self, columns: Integers, worth: float, most_up: Numbers) -> None:
        """Let `columns` rise by so much at most, each unit being worth something from here on."""
        first = np.concatenate([[0], np.cumsum([2 * (count + rows) for count, rows in self._blocks])])
        count = np.array([count for count, _ in self._blocks])
        start = np.concatenate([[0], np.cumsum(count)])
        block = np.searchsorted(start, columns, side="right") - 1
        up = (first[block] + columns - start[block]).astype(np.int32)
        down = (up + count[block]).astype(np.int32)
        size = len(columns)
        self._highs.changeColsCost(size, up, np.full(size, -worth))
        self._highs.changeColsCost(size, down, np.full(size, worth))
        self._highs.changeColsBounds(size, up, np.zeros(size), most_up)

    def solved(self) -> tuple[Numbers, Numbers, float]:
        """By how much each column moves, the duals of the rows, by how much rows are broken. Raises `Unsolved`."""
        self._highs.run()
        status = self._highs.modelStatusToString(self._highs.getModelStatus())
        if status != "Optimal":
            raise Unsolved(status)
        solution = self._highs.getSolution()
        point = np.array(solution.col_value, dtype=np.float64)
        moves, broken, first = [], 0.0, 0
        for count, rows in self._blocks:
            moves.append(point[first : first + count] - point[first + count : first + 2 * count])
            first += 2 * (count + rows)
            broken += float(point[first - 2 * rows : first].sum())
        return np.concatenate(moves), np.array(solution.row_dual, dtype=np.float64), broken


def least_cost(
    matrix: Entries,
    low: Numbers,
    cost: Numbers,
    least: Numbers,
    most: Numbers,
    is_integer: Booleans,
    *,
    gap: float,
    nodes: int,
    start: Numbers | None = None,
) -> Optimum:
    """The cheapest x within its box with `matrix · x ≥ low`, whole where it must be. Raises `Unsolved`.

    Stops at a relative `gap` or after `nodes` of the tree: the bound says how far the solution may be from the best.
    """
    import highspy

    highs = _loaded(matrix, low, np.full(matrix.rows, np.inf), least, most, cost)
    kinds = np.where(is_integer, 1, 0).astype(np.uint8)
    columns = np.arange(matrix.columns, dtype=np.int32)
    highs.changeColsIntegrality(matrix.columns, columns, kinds)
    highs.setOptionValue("mip_rel_gap", gap)
    highs.setOptionValue("mip_max_nodes", nodes)
    highs.setOptionValue("mip_allow_restart", False)  # restarts take long here and gain little
    if start is not None:
        solution = highspy.HighsSolution()
        solution.col_value = start.tolist()
        highs.setSolution(solution)
    highs.run()
    info = highs.getInfo()
    if info.primal_solution_status != highspy.SolutionStatus.kSolutionStatusFeasible:
        raise Unsolved(highs.modelStatusToString(highs.getModelStatus()))
    point = np.array(highs.getSolution().col_value, dtype=np.float64)
    empty = np.zeros(0)
    return Optimum(point, empty, empty, float(cost @ point), float(info.mip_dual_bound))


def _loaded(matrix: Entries, low: Numbers, high: Numbers, least: Numbers, most: Numbers, cost: Numbers) -> Any:
    import highspy

    places, at = np.unique(matrix.column * max(matrix.rows, 1) + matrix.row, return_inverse=True)
    values = np.bincount(at, weights=matrix.value, minlength=len(places))
    column, row = np.divmod(places, max(matrix.rows, 1))
    model = highspy.HighsLp()
    model.num_col_, model.num_row_ = matrix.columns, matrix.rows
    model.col_cost_, model.col_lower_, model.col_upper_ = cost, least, most
    model.row_lower_, model.row_upper_ = low, high
    model.a_matrix_.format_ = highspy.MatrixFormat.kColwise
    model.a_matrix_.start_ = np.searchsorted(column, np.arange(matrix.columns + 1)).astype(np.int32)
    model.a_matrix_.index_ = row.astype(np.int32)
    model.a_matrix_.value_ = values.astype(np.float64)
    highs: Any = highspy.Highs  # untyped
    highs = highs()
    highs.setOptionValue("output_flag", False)
    highs.setOptionValue("threads", 1)
    highs.setOptionValue("random_seed", _SEED)
    highs.passModel(model)
    return highs
