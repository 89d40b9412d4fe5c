"""The attacker of a table of counts: what its published cells and its hierarchies give away.

Belongs here: equations built from the published table alone, in SQL of their own. Does not belong here: hiding
anything; nothing of `cubes` is used, so that a mistake there is not repeated here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace

import duckdb
import numpy as np
import pyarrow as pa

from insertion_pipeline.disclosure.inference import Betrayals, Intervals, Moves, Unknowns
from insertion_pipeline.disclosure.persons import alike

Numbers = np.ndarray[tuple[int], np.dtype[np.float64]]
Integers = np.ndarray[tuple[int], np.dtype[np.int64]]

#: Crosses with more cells than this are not filled up: sums that lack a part are only bounds then.
_LARGEST_CROSS = 3_000_000


@dataclass(frozen=True)
class Hierarchy:
    """One tree over a dimension of the published table: `tree` has one row per code, with its parent."""

    dimension: str
    tree: pa.Table  # code, parent


@dataclass(frozen=True)
class Insiders:
    """One entry per row: who stands alone behind it (-1: nobody), its number, how wide it must stay for the others."""

    who: Integers
    numbers: Numbers
    needs: Numbers


@dataclass(frozen=True)
class Inferred:
    """What the attacker found: per hidden cell, in the order of the rows, its interval and its only value (or NaN)."""

    rows: np.ndarray[tuple[int], np.dtype[np.int64]]
    intervals: Intervals
    solution: np.ndarray[tuple[int], np.dtype[np.float64]]
    equations: int
    unknowns: Unknowns
    position: np.ndarray[tuple[int], np.dtype[np.int64]]  # of each hidden cell among the unknowns
    entries: pa.Table  # equation, unknown (null where it is known), sign, value

    def betrayals(
        self,
        told: Insiders,
        claimed: Iterable[Numbers] = (),
        moves: Moves | None = None,
    ) -> Betrayals:
        """What insiders find, as rows of the table: `insider` is a number for each of them, `unknown` a row.

        `claimed` and `moves`: values of the hidden cells that are said to be solutions; those that solve nothing help
        nobody.
        """
        points = (self._placed(point) for point in claimed)
        if moves is not None:
            moves = replace(moves, around=self._placed(moves.around), unknown=self.position[moves.unknown])
        found = self.unknowns.betrayals(*self._of_unknowns(told), points, moves)
        row = np.full(self.unknowns.count, -1, dtype=np.int64)
        row[self.position] = self.rows
        return replace(found, unknown=row[found.unknown])

    def still_betrayed(self, pairs: Sequence[tuple[int, int]], told: Insiders) -> set[tuple[int, int]]:
        """Which pairs of an insider and a row that he knows where less is hidden he knows here too."""
        unknown = dict(zip(self.rows.tolist(), self.position.tolist(), strict=True))
        row = {at: own for own, at in unknown.items()}
        asked = [(insider, unknown[own]) for insider, own in pairs]
        found = self.unknowns.still_betrayed(asked, *self._of_unknowns(told))
        return {(insider, row[at]) for insider, at in found}

    def persons(self, numbers: Numbers) -> Integers:
        """Per row, the number of who stands alone behind it, if somebody does; `numbers`: of every row."""
        told = np.full(self.unknowns.count, np.nan)
        told[self.position] = numbers[self.rows]
        unknown = np.nan_to_num(self.entries["unknown"].to_numpy().astype(np.float64), nan=-1.0).astype(np.int64)
        value = np.where(
            unknown < 0, self.entries["value"].to_numpy().astype(np.float64), np.append(told, np.nan)[unknown]
        )
        equation, cell, sign = (self.entries[name].to_numpy() for name in ("equation", "cell", "sign"))
        names, at = np.unique(cell, return_inverse=True)
        group = alike(equation, at.astype(np.int64), sign, value, len(names))
        of_unknown = len(names) + np.arange(self.unknowns.count)  # in no equation: nobody else's
        of_unknown[unknown[unknown >= 0]] = group[at[unknown >= 0]]
        persons = np.full(len(numbers), -1, dtype=np.int64)
        persons[self.rows] = of_unknown[self.position]
        return persons

    def _of_unknowns(self, told: Insiders) -> tuple[Integers, Numbers, Numbers]:
        count = self.unknowns.count
        who, numbers, needs = np.full(count, -1, dtype=np.int64), np.full(count, np.nan), np.zeros(count)
        for ours, theirs in ((who, told.who), (numbers, told.numbers), (needs, told.needs)):
            ours[self.position] = theirs[self.rows]
        return who, numbers, needs

    def _placed(self, point: Numbers) -> Numbers:
        """Values of the hidden cells as values of the unknowns; nothing is said of the others."""
        placed = np.full(self.unknowns.count, np.nan)
        placed[self.position] = point
        return placed


def attack(
    connection: duckdb.DuckDBPyConnection,
    published: pa.Table,
    dimensions: Sequence[str],
    hierarchies: Sequence[Hierarchy],
    *,
    zeros_known: bool,
    need: float,
    needs: pa.Array | None = None,
) -> Inferred:
    """Attack `published`: one row per cell, its codes, `value` null where hidden.

    `needs`: per row how wide its interval must be, where it is not `need`. `zeros_known`: zeros are published, so that
    what is hidden is at least 1. Raises `NoSolution`.
    """
    with_needs = published.select([*dimensions, "value"]).append_column("row", pa.array(np.arange(len(published))))
    wanted = pa.array(np.full(len(published), need)) if needs is None else needs
    connection.register("published", with_needs.append_column("need", wanted))
    for number, hierarchy in enumerate(hierarchies):
        connection.register(f"tree_{number}", hierarchy.tree)
    columns = {name: f"d{number}" for number, name in enumerate(dimensions)}
    try:
        _cells(connection, columns, hierarchies)
        _entries(connection, columns, hierarchies)
        entries = connection.sql("SELECT equation, cell, sign, value FROM entry ORDER BY equation, cell")
        found = entries.to_arrow_table()
        cells = connection.sql("SELECT * FROM cell WHERE value IS NULL ORDER BY cell").to_arrow_table()
    finally:
        for name in ("published", *(f"tree_{number}" for number in range(len(hierarchies)))):
            connection.unregister(name)
    return _inferred(found, cells, zeros_known=zeros_known)


def _cells(connection: duckdb.DuckDBPyConnection, columns: dict[str, str], hierarchies: Sequence[Hierarchy]) -> None:
    """Table `cell`: every cell of the cross, or the published ones where there would be too many."""
    lists = []
    for name, column in columns.items():
        trees = [number for number, one in enumerate(hierarchies) if one.dimension == name]
        codes = " UNION ".join([f"SELECT code FROM tree_{number}" for number in trees] + ["SELECT 'TOTAL' AS code"])
        connection.execute(f"CREATE OR REPLACE TEMP TABLE codes_{column} AS {codes}")
        lists.append(f"codes_{column}")
    sizes = [connection.sql(f"SELECT count(*) FROM {name}").fetchall()[0][0] for name in lists]
    selected = ", ".join(f'"{name}" AS {column}' for name, column in columns.items())
    shown = f"SELECT {selected}, value, need, row FROM published"
    if float(np.prod([float(size) for size in sizes])) <= _LARGEST_CROSS:
        cross = " CROSS JOIN ".join(f"(SELECT code AS {column} FROM codes_{column})" for column in columns.values())
        keys = ", ".join(columns.values())
        shown = f"SELECT * FROM ({cross}) LEFT JOIN ({shown}) USING ({keys})"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE cell AS SELECT row_number() OVER () - 1 AS cell, * FROM ({shown})"
    )


def _entries(connection: duckdb.DuckDBPyConnection, columns: dict[str, str], hierarchies: Sequence[Hierarchy]) -> None:
    """Table `entry`: one row per cell of each sum that has an unknown; a sum that lacks parts has an unknown more."""
    sums = []
    for number, hierarchy in enumerate(hierarchies):
        along = columns[hierarchy.dimension]
        others = [column for column in columns.values() if column != along]
        same = "".join(f" AND whole.{column} = part.{column}" for column in others)
        sums.append(
            f"""SELECT '{number} ' || whole.cell AS equation, part.cell AS part, whole.cell AS whole, children
            FROM cell AS part
            JOIN tree_{number} AS tree ON tree.code = part.{along} AND tree.code <> 'TOTAL'
            JOIN (SELECT parent, count(*) AS children FROM tree_{number} WHERE code <> 'TOTAL' GROUP BY parent) AS size
                ON size.parent = tree.parent
            JOIN cell AS whole ON whole.{along} = tree.parent{same}"""
        )
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE entry AS
        WITH sums AS ({" UNION ALL ".join(sums)}),
        lacking AS (
            SELECT equation, any_value(whole) AS whole, -1 - row_number() OVER (ORDER BY equation) AS remainder
            FROM sums GROUP BY equation HAVING count(*) < any_value(children)
        ),
        signed AS (
            SELECT equation, part AS cell, 1.0::DOUBLE AS sign FROM sums
            UNION ALL SELECT DISTINCT equation, whole, -1.0 FROM sums
            UNION ALL SELECT equation, remainder, 1.0 FROM lacking
        ),
        valued AS (SELECT signed.*, cell.value FROM signed LEFT JOIN cell USING (cell))
        SELECT dense_rank() OVER (ORDER BY equation) - 1 AS equation, cell, sign, value
        FROM valued
        QUALIFY bool_or(value IS NULL) OVER (PARTITION BY equation)"""
    )


def _inferred(entries: pa.Table, cells: pa.Table, *, zeros_known: bool) -> Inferred:
    equations, equation = np.unique(entries["equation"].to_numpy(), return_inverse=True)
    value, sign = entries["value"].to_numpy(), entries["sign"].to_numpy()
    known = ~np.isnan(value)
    right = -np.bincount(equation[known], weights=(sign * value)[known], minlength=len(equations)).astype(np.float64)
    names, unknown = np.unique(
        np.concatenate([cells["cell"].to_numpy(), entries["cell"].to_numpy()[~known]]), return_inverse=True
    )
    own, unknown = unknown[: len(cells)], unknown[len(cells) :]
    row = np.full(len(names), -1, dtype=np.int64)
    row[own] = np.nan_to_num(cells["row"].to_numpy().astype(np.float64), nan=-1.0).astype(np.int64)
    needs = np.zeros(len(names))
    needs[own] = np.nan_to_num(cells["need"].to_numpy().astype(np.float64))
    hidden = row >= 0
    system = Unknowns(
        equation[~known].astype(np.int64),
        unknown.astype(np.int64),
        sign[~known],
        right,
        np.where(hidden & zeros_known, 1.0, 0.0),
        np.ones(len(names), dtype=bool),
    )
    intervals = system.intervals(needs)
    solution = system.solutions(hidden & (intervals.high - intervals.low < 1e-6))
    position = np.flatnonzero(hidden)[np.argsort(row[hidden])]
    of_entry = np.full(len(entries), -1, dtype=np.int64)
    of_entry[~known] = unknown
    entries = entries.append_column("unknown", pa.array(of_entry, mask=known))
    seen = Intervals(*(getattr(intervals, field.name)[position] for field in fields(intervals)))
    return Inferred(row[position], seen, solution[position], len(equations), system, position, entries)
