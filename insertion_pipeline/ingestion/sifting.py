"""A batch of rows of text, judged: its typed values, the rows that its contract rejects, everything that is wrong.

Belongs here: judging every cell and every rule over one row, in SQL, once per distinct text. Does not belong here: what
concerns rows together, several batches, files or the month of a delivery (`conforming`), the SQL itself (`contracts`).

What a contract says of a cell depends on its text alone. A column of codes, dates or hours has a few hundred texts in
a hundred thousand rows: the reader hands it over with its texts apart (a dictionary), and each text is judged once
(measured over a monthly statement of 18 columns: 1.0 µs a row, where judging every cell takes 4.8). The same holds for
a rule over columns that have few combinations of values.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from insertion_pipeline.contracts.cells import Cell, Flaw, cell_query
from insertion_pipeline.contracts.rules import BROKEN, MONTH_BOUNDS, TableRules
from insertion_pipeline.contracts.storage import ORIGIN_COLUMNS, arrow_type
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Rule

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

#: Combinations of values that a rule is tried on, at most, and how many times fewer than rows they must be.
_MOST_COMBINATIONS, _WORTH_COMBINING = 1 << 16, 4
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True)
class Flaws:
    """One thing wrong in some rows: what (a key of `TableRules.verdicts`), where, and the texts as read, if any."""

    subject: int
    flaw: int
    rows: Positions
    texts: pa.Array | None


@dataclass(frozen=True)
class Sifted:
    """A batch judged. `values`: the typed cells and `ORIGIN_COLUMNS`, all rows. `is_rejected`: by a cell or a rule."""

    values: pa.Table
    is_rejected: Mask
    flaws: tuple[Flaws, ...]


@dataclass(frozen=True)
class _Column:
    """The values of a column: `distinct[indices]`, or `distinct` itself where every row has its own."""

    distinct: pa.Array
    indices: pa.Array | None

    @classmethod
    def of(cls, column: pa.ChunkedArray) -> _Column:
        whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if pa.types.is_dictionary(whole.type):
            return cls(whole.dictionary, whole.indices)
        return cls(whole, None)

    def spread(self, values: pa.Array) -> pa.Array:
        """One value per row, from one per distinct text."""
        return values if self.indices is None else values.take(self.indices)

    @property
    def positions(self) -> Positions:
        """For each row, where its value stands in `distinct`."""
        assert self.indices is not None  # noqa: S101 (asked of dictionaries alone)
        positions: Positions = self.indices.to_numpy(zero_copy_only=False).astype(np.int64)
        return positions


def sift(
    rules: TableRules, rows: pa.Table, month: Month | None, month_expression: str | None, statements: Statements
) -> Sifted:
    """The rows judged by `rules`. Columns of the contract that the file does not have are null and not judged.

    `rows`: columns of text, plain or as dictionaries, never null, then `_line`, `_units`, `_member`.
    `month_expression` says a row's own month, over the typed values; null leaves `_month` null.
    """
    present = set(rows.column_names)
    is_rejected = np.zeros(rows.num_rows, np.bool_)
    typed: dict[str, _Column] = {}
    flaws: list[Flaws] = []
    for subject, cell in enumerate(rules.cells):
        if cell.field.name not in present:
            typed[cell.field.name] = _absent(cell, rows.num_rows)
            continue
        column = _Column.of(rows[cell.field.name])
        values, found = _judged(cell, column.distinct, statements)
        typed[cell.field.name] = _Column(values, column.indices)
        for flaw in (np.flatnonzero(np.bincount(found, minlength=1)[1:]) + 1).tolist():
            where = _where(found == flaw, column)
            flaws.append(Flaws(subject, flaw, where, column.spread(column.distinct).take(pa.array(where))))
            if cell.severity_of(Flaw(flaw)) == "blocking":
                is_rejected[where] = True
    found_broken = _broken(rules, typed, month, month_expression, rows.num_rows, statements)
    for subject, broken in enumerate(found_broken.rules, start=len(rules.cells)):
        if broken.any():
            flaws.append(Flaws(subject, BROKEN, np.flatnonzero(broken), None))
            if rules.rules[subject - len(rules.cells)].severity == "blocking":
                is_rejected |= broken
    origin = {"_line": rows["_line"], "_member": rows["_member"], "_month": found_broken.months}
    columns = {name: column.spread(column.distinct) for name, column in typed.items()} | origin
    schema = pa.schema([*((cell.field.name, arrow_type(cell.field)) for cell in rules.cells), *ORIGIN_COLUMNS])
    return Sifted(pa.table(columns, schema=schema), is_rejected, tuple(flaws))


def _absent(cell: Cell, count: int) -> _Column:
    return _Column(pa.nulls(1, arrow_type(cell.field)), pa.repeat(pa.scalar(0, pa.int32()), count))


def _judged(cell: Cell, texts: pa.Array, statements: Statements) -> tuple[pa.Array, npt.NDArray[np.uint8]]:
    """The value of each text, and its flaw."""
    judged = statements.run(cell_query(cell, statements.place("cell", pa.table({"raw": texts}))))
    if judged.num_rows != len(texts):
        raise AssertionError(f"{len(texts)} texts gave {judged.num_rows} values")
    kind = arrow_type(cell.field)
    value = judged["value"].combine_chunks()
    return value if value.type == kind else value.cast(kind), judged["flaw"].to_numpy()


def _where(is_flawed: Mask, column: _Column) -> Positions:
    return np.flatnonzero(is_flawed if column.indices is None else is_flawed[column.positions])


# -- rules over a row --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Rows:
    """What expressions say of each row: its month, and which rows break each rule."""

    months: pa.Array
    rules: Sequence[Mask]


def _broken(
    rules: TableRules,
    typed: Mapping[str, _Column],
    month: Month | None,
    month_expression: str | None,
    count: int,
    statements: Statements,
) -> _Rows:
    broken: dict[int, Mask] = {}
    months = pa.nulls(count, pa.string())
    for combined in _combined(rules, typed, month_expression, count):
        chosen = [rules.rules[rank] for rank in combined.rules]
        expression = month_expression if combined.says_month else None
        said = _said(rules, combined.values, month, chosen, expression, statements)
        for place, rank in enumerate(combined.rules):
            mask = said[f"broken_{place}"].combine_chunks().fill_null(False).to_numpy(zero_copy_only=False)
            broken[rank] = mask if combined.positions is None else mask[combined.positions]
        if expression is not None:
            months = said["_month"].combine_chunks()
            months = months if combined.positions is None else months.take(pa.array(combined.positions))
    return _Rows(months, [broken[rank] for rank in range(len(rules.rules))])


@dataclass(frozen=True)
class _Combined:
    """Values that some expressions are tried on: `positions` says which combination each row has, null for its own."""

    rules: tuple[int, ...]
    says_month: bool
    values: pa.Table
    positions: Positions | None


def _combined(
    rules: TableRules, typed: Mapping[str, _Column], month_expression: str | None, count: int
) -> Iterator[_Combined]:
    """The expressions, each over the combinations of its columns where they are few, the others together over rows."""
    expressions: list[tuple[tuple[int, ...], bool, list[str]]] = [
        ((rank,), False, _named(rule.expression, typed)) for rank, rule in enumerate(rules.rules)
    ]
    if month_expression is not None:
        expressions.append(((), True, _named(month_expression, typed)))
    over_rows: list[tuple[tuple[int, ...], bool, list[str]]] = []
    for ranks, says_month, names in expressions:
        columns = [typed[name] for name in names]
        many = np.prod([len(column.distinct) for column in columns], dtype=np.float64)
        if all(column.indices is not None for column in columns) and many <= min(
            _MOST_COMBINATIONS, count // _WORTH_COMBINING
        ):
            yield _Combined(ranks, says_month, *_combinations(names, columns, count))
        else:
            over_rows.append((ranks, says_month, names))
    if over_rows:
        names = sorted({name for _, _, names in over_rows for name in names})
        values = {name: typed[name].spread(typed[name].distinct) for name in names}
        ranks = tuple(rank for ranks, _, _ in over_rows for rank in ranks)
        table = pa.table(values) if values else pa.table({"_row": pa.nulls(count, pa.int8())})
        yield _Combined(ranks, any(says for _, says, _ in over_rows), table, None)


def _combinations(names: Sequence[str], columns: Sequence[_Column], count: int) -> tuple[pa.Table, Positions]:
    """The combinations of values that the rows have, and which one each row has."""
    code = np.zeros(count, np.int64)
    for column in columns:
        code = code * len(column.distinct) + column.positions
    found, positions = np.unique(code, return_inverse=True) if count else (code, code)
    values: dict[str, pa.Array] = {} if columns else {"_row": pa.nulls(len(found), pa.int8())}
    rest = found
    for name, column in zip(reversed(names), reversed(columns), strict=True):
        values[name] = column.distinct.take(pa.array(rest % len(column.distinct)))
        rest = rest // len(column.distinct)
    return pa.table(values), positions


def _named(expression: str, typed: Mapping[str, Any]) -> list[str]:
    """The columns whose names stand in the expression; a word in one of its texts makes no difference."""
    return sorted(set(_WORD.findall(expression)) & set(typed))


def _said(
    rules: TableRules,
    values: pa.Table,
    month: Month | None,
    chosen: Sequence[Rule],
    month_expression: str | None,
    statements: Statements,
) -> pa.Table:
    for name, day in zip(MONTH_BOUNDS, (month.first_day, month.last_day) if month else (None, None), strict=True):
        values = values.append_column(name, pa.repeat(pa.scalar(day, pa.date32()), values.num_rows))
    said = statements.run(rules.row_query(statements.place("rows", values), chosen, month_expression))
    if said.num_rows != values.num_rows:
        raise AssertionError(f"{values.num_rows} rows gave {said.num_rows} answers")
    return said
