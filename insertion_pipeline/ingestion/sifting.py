"""Batches of rows of text, judged: their typed values, the rows that the contract rejects, everything that is wrong.

Belongs here: judging every cell and every rule over one row, in SQL, once per distinct text. Does not belong here: what
concerns rows together, files or the month of a delivery (`conforming`), the SQL itself (`contracts`).

What a contract says of a cell depends on its text alone. A column of codes, dates or hours has a few hundred texts in
a million rows: the reader hands it over with its texts apart (a dictionary), and each text is judged once, in the first
batch that has it. The same holds for a rule over columns that have few combinations of values. (Measured over 30
columns and 25 rules: 8.5 µs a row where every batch is judged anew.) What is remembered is bounded, and forgotten with
the table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.contracts.cells import Cell, Flaw, cell_query
from insertion_pipeline.contracts.rules import BROKEN, MONTH_BOUNDS, TableRules
from insertion_pipeline.contracts.storage import ORIGIN_COLUMNS, arrow_type
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Rule

Mask = npt.NDArray[np.bool_]
Positions = npt.NDArray[np.int64]

#: The texts of a column that are remembered, at most; a column of more is judged batch by batch.
_MOST_REMEMBERED = 1 << 16
#: The combinations of values that a rule is tried on, at most. The rows of the first batch, which may be the only one,
#: must be so many times more: it is cheaper otherwise to judge all rules together over them.
_MOST_COMBINATIONS, _WORTH_COMBINING = 1 << 18, 4
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NO_TEXTS = pa.table({"raw": pa.array([], pa.string())})


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
    """The values of a column: `distinct[positions]`, or `distinct` itself where every row has its own.

    `is_remembered`: later batches of the column have the same `distinct`, or more at its end.
    """

    distinct: pa.Array
    positions: Positions | None
    is_remembered: bool = False

    @cached_property
    def values(self) -> pa.Array:
        """One value per row."""
        return self.distinct if self.positions is None else self.distinct.take(pa.array(self.positions))

    def at(self, rows: Positions) -> pa.Array:
        """The values of some rows."""
        return self.distinct.take(pa.array(rows if self.positions is None else self.positions[rows]))


class Sieve:
    """Judges the batches of one table of a delivery, one after the other. For one thread."""

    def __init__(
        self, rules: TableRules, month: Month | None, month_expression: str | None, statements: Statements
    ) -> None:
        """`month_expression` says a row's own month, over the typed values; null leaves `_month` null."""
        self._rules = rules
        self._month = month
        self._statements = statements
        self._cells = [_JudgedCell(cell, statements) for cell in rules.cells]
        names = [cell.field.name for cell in rules.cells]
        tried = [_Tried(rule, _named(rule.expression, names)) for rule in rules.rules]
        self._tried = tried if month_expression is None else [*tried, _Tried(None, _named(month_expression, names))]
        self._month_expression = month_expression
        self._schema = pa.schema([*((one.field.name, arrow_type(one.field)) for one in rules.cells), *ORIGIN_COLUMNS])
        self._is_first = True

    def sift(self, rows: pa.Table) -> Sifted:
        """The rows judged. Columns of the contract that the file does not have are null and not judged.

        `rows`: columns of text, plain or as dictionaries, never null, then `_line`, `_units`, `_member`.
        """
        is_rejected = np.zeros(rows.num_rows, np.bool_)
        typed: dict[str, _Column] = {}
        flaws: list[Flaws] = []
        present = [judged for judged in self._cells if judged.cell.field.name in rows.column_names]
        asked = [(judged, judged.take(rows[judged.cell.field.name])) for judged in present]
        self._judge([(judged, texts) for judged, texts in asked if texts is not None])
        for subject, judged in enumerate(self._cells):
            name = judged.cell.field.name
            if name not in rows.column_names:
                typed[name] = judged.absent(rows.num_rows)
                continue
            typed[name], texts, found = judged.judged
            flawed = np.flatnonzero(found)
            for flaw in np.flatnonzero(np.bincount(found[flawed])).tolist() if len(flawed) else ():
                where = flawed[found[flawed] == flaw]
                flaws.append(Flaws(subject, flaw, where, texts.at(where)))
                if judged.cell.severity_of(Flaw(flaw)) == "blocking":
                    is_rejected[where] = True
        said = self._said(typed, rows.num_rows)
        for rank, rule in enumerate(self._rules.rules):
            broken = np.flatnonzero(said[rank])
            if len(broken):
                flaws.append(Flaws(len(self._cells) + rank, BROKEN, broken, None))
                if rule.severity == "blocking":
                    is_rejected[broken] = True
        months = pa.nulls(rows.num_rows, pa.string())
        if self._month_expression is not None:
            months = self._tried[-1].months.take(pa.array(said[-1] - 1, mask=said[-1] == 0))
        origin = {"_line": rows["_line"], "_member": rows["_member"], "_month": months}
        columns = {name: column.values for name, column in typed.items()} | origin
        return Sifted(pa.table(columns, schema=self._schema), is_rejected, tuple(flaws))

    def _judge(self, asked: Sequence[tuple[_JudgedCell, pa.Array]]) -> None:
        """Judge texts; those of all cells with the same rules by one statement."""
        alike: dict[str, list[tuple[_JudgedCell, pa.Array]]] = {}
        for judged, texts in asked:
            alike.setdefault(judged.query, []).append((judged, texts))
        for query, group in alike.items():
            together = group[0][1] if len(group) == 1 else pa.concat_arrays([texts for _, texts in group])
            self._statements.place("cell", pa.table({"raw": together}))
            found = self._statements.run(query)
            if found.num_rows != len(together):
                raise AssertionError(f"{len(together)} texts gave {found.num_rows} values")
            values, flaws, start = found["value"].combine_chunks(), found["flaw"].to_numpy(), 0
            for judged, texts in group:
                judged.learn(values.slice(start, len(texts)), flaws[start : start + len(texts)])
                start += len(texts)

    # -- rules over a row --------------------------------------------------------------------------------------------

    def _said(self, typed: Mapping[str, _Column], count: int) -> list[npt.NDArray[np.int32]]:
        """What each expression says of each row."""
        said: dict[int, npt.NDArray[np.int32]] = {}
        over_rows: list[int] = []
        for rank, tried in enumerate(self._tried):
            columns = [typed[name] for name in tried.columns]
            many = np.prod([len(column.distinct) for column in columns], dtype=np.float64)
            worth = count // _WORTH_COMBINING if self._is_first else _MOST_COMBINATIONS
            if many > min(worth, _MOST_COMBINATIONS) or any(column.positions is None for column in columns):
                over_rows.append(rank)
                continue
            codes = _codes(columns, count)
            answers = tried.answers([len(column.distinct) for column in columns], _are_remembered(columns))
            unknown = np.unique(codes[answers[codes] < 0])
            if len(unknown):
                values = _combinations(tried.columns, columns, unknown)
                (answers[unknown],) = self._asked([tried], values, len(unknown))
            said[rank] = answers[codes]
        if over_rows:
            chosen = [self._tried[rank] for rank in over_rows]
            names = sorted({name for tried in chosen for name in tried.columns})
            answered = self._asked(chosen, {name: typed[name].values for name in names}, count)
            said |= dict(zip(over_rows, answered, strict=True))
        self._is_first = False
        return [said[rank] for rank in range(len(self._tried))]

    def _asked(
        self, chosen: Sequence[_Tried], values: Mapping[str, pa.Array], count: int
    ) -> list[npt.NDArray[np.int32]]:
        """What some expressions say of each combination of values, by one statement."""
        month = self._month
        bounds = (month.first_day, month.last_day) if month is not None else (None, None)
        days = [pa.repeat(pa.scalar(day, pa.date32()), count) for day in bounds]
        table = pa.table(dict(values) | dict(zip(MONTH_BOUNDS, days, strict=True)))
        rules = [tried.rule for tried in chosen if tried.rule is not None]
        expression = self._month_expression if len(rules) < len(chosen) else None
        place = self._statements.place("rows", table)
        said = self._statements.run(self._rules.row_query(place, rules, expression))
        if said.num_rows != count:
            raise AssertionError(f"{count} rows gave {said.num_rows} answers")
        names = iter(f"broken_{place}" for place in range(len(rules)))
        return [
            tried.noted(said["_month"] if tried.rule is None else said[next(names)]).astype(np.int32, copy=False)
            for tried in chosen
        ]


# -- cells -------------------------------------------------------------------------------------------------------------


class _JudgedCell:
    """What a contract says of the texts of one column, those that were seen.

    For each batch: `take` its column, `learn` what is asked, then look at what is `judged`.
    """

    def __init__(self, cell: Cell, statements: Statements) -> None:
        self.cell = cell
        self.query = cell_query(cell, statements.place("cell", _NO_TEXTS))
        self._kind = arrow_type(cell.field)
        self._texts = pa.array([], pa.string())
        self._values = pa.array([], self._kind)
        self._flaws = np.zeros(0, np.uint8)
        self._taken = _Column(self._texts, None)
        self._answer = self._values, self._flaws

    def absent(self, count: int) -> _Column:
        """The column of a file that does not have it."""
        return _Column(pa.nulls(1, self._kind), np.zeros(count, np.int64), is_remembered=True)

    def take(self, column: pa.ChunkedArray) -> pa.Array | None:
        """The texts of the next batch that must be judged; null when all of them were."""
        whole = column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
        if not pa.types.is_dictionary(whole.type):
            self._taken = _Column(whole, None)
            return whole
        indices = whole.indices.to_numpy(zero_copy_only=False)
        places = pc.index_in(whole.dictionary, value_set=self._texts)
        new = whole.dictionary.filter(places.is_null())
        if len(self._texts) + len(new) > _MOST_REMEMBERED:
            self._taken = _Column(whole.dictionary, indices.astype(np.int64))
            return whole.dictionary
        if len(new):
            self._texts = pa.concat_arrays([self._texts, new])
            places = pc.index_in(whole.dictionary, value_set=self._texts)
        self._taken = _Column(self._texts, places.to_numpy().astype(np.int64)[indices], is_remembered=True)
        return new if len(new) else None

    def learn(self, values: pa.Array, flaws: npt.NDArray[np.uint8]) -> None:
        """The value and the flaw of each text that was asked."""
        typed = values if values.type == self._kind else values.cast(self._kind)
        if self._taken.is_remembered:
            self._values = pa.concat_arrays([self._values, typed])
            self._flaws = np.concatenate([self._flaws, flaws])
        else:
            self._answer = typed, flaws

    @property
    def judged(self) -> tuple[_Column, _Column, npt.NDArray[np.uint8]]:
        """The values, the texts, and the flaw of each row of the batch that was taken last."""
        positions = self._taken.positions
        if positions is not None and self._taken.is_remembered:
            found = self._flaws[positions] if self._flaws.any() else np.zeros(len(positions), np.uint8)
            return _Column(self._values, positions, is_remembered=True), self._taken, found
        values, flaws = self._answer
        return _Column(values, positions), self._taken, flaws if positions is None else flaws[positions]


# -- expressions over a row --------------------------------------------------------------------------------------------


class _Tried:
    """What an expression says of the combinations of values that were seen.

    An answer is a number: of a rule, whether it is broken; of the expression of a month, 0 for none, or else one more
    than the month's place in `months`; -1 when the combination was never seen.
    """

    def __init__(self, rule: Rule | None, columns: Sequence[str]) -> None:
        self.rule = rule
        self.columns = columns
        self.months = pa.array([], pa.string())
        self._answers = np.full([0] * len(columns), -1, np.int32)

    def answers(self, sizes: Sequence[int], is_remembered: bool) -> npt.NDArray[np.int32]:
        """The answers, by the number of the combination, of columns with so many distinct values."""
        if not is_remembered:
            return np.full(int(np.prod(sizes)), -1, np.int32)
        if self._answers.shape != tuple(sizes):
            grown = np.full(sizes, -1, np.int32)
            grown[tuple(slice(size) for size in self._answers.shape)] = self._answers
            self._answers = grown
        return self._answers.reshape(-1)

    def noted(self, said: pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """What a statement said, as answers."""
        if self.rule is not None:
            broken: npt.NDArray[np.int32] = pc.fill_null(said.cast(pa.int32()), 0).to_numpy()
            return broken
        found = pc.unique(said).drop_null()
        new = found.filter(pc.invert(pc.is_in(found, value_set=self.months)))
        self.months = pa.concat_arrays([self.months, new])
        places: npt.NDArray[np.int32] = pc.fill_null(pc.add(pc.index_in(said, value_set=self.months), 1), 0).to_numpy()
        return places


def _are_remembered(columns: Sequence[_Column]) -> bool:
    return all(column.is_remembered for column in columns)


def _codes(columns: Sequence[_Column], count: int) -> Positions:
    """The number of the combination of values that each row has."""
    codes = np.zeros(count, np.int64)
    for column in columns:
        assert column.positions is not None  # noqa: S101 (asked of columns with few values alone)
        codes = codes * len(column.distinct) + column.positions
    return codes


def _combinations(names: Sequence[str], columns: Sequence[_Column], codes: Positions) -> dict[str, pa.Array]:
    """The combinations of values that have these numbers."""
    values: dict[str, pa.Array] = {}
    rest = codes
    for name, column in zip(reversed(names), reversed(columns), strict=True):
        values[name] = column.distinct.take(pa.array(rest % len(column.distinct)))
        rest = rest // len(column.distinct)
    return values


def _named(expression: str, columns: Sequence[str]) -> list[str]:
    """The columns whose names stand in the expression; a word in one of its texts makes no difference."""
    return sorted(set(_WORD.findall(expression)) & set(columns))
