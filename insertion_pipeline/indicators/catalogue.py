"""The catalogue, checked and cut into the aggregates that the engine computes.

Belongs here: what a fact promises (its columns and grain), what an indicator's expressions may say, refusing the rest
with file and line. Does not belong here: running anything (`computing`), the YAML types (`registry`).

An expression is an SQL aggregate over one fact. It is taken apart into its aggregate calls: counts and sums are
computed once per place and added up along the hierarchies; distinct counts and quantiles are recounted at each level.
"""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.simplify import simplify

from insertion_pipeline.registry import Breakdown, Indicator, InvalidDataSources, Registry, lines_of_indicator

FACTS_FOLDER = Path(__file__).parent / "facts"
DIALECT = "duckdb"

#: The column of a fact that holds the place, for each axis.
AXIS_COLUMNS: Mapping[str, str] = {
    "residence": "residence",
    "structure": "structure_territory",
    "paying_council": "paying_council",
    "deposit": "deposit_territory",
}

_GRAIN = re.compile(r"^-- grain: (?P<columns>[a-z_, ]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Fact:
    """One table of things to count: one file `facts/<name>.sql`, whose header says what one row is."""

    name: str
    sql: str
    grain: tuple[str, ...]
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Aggregate:
    """One aggregate call over a fact. `adds_up`: its values at places can be summed along the hierarchies."""

    sql: str
    adds_up: bool

    @property
    def column(self) -> str:
        """The name that the same call has in every expression of the catalogue."""
        return f"aggregate_{hashlib.sha256(self.sql.encode()).hexdigest()[:12]}"


@dataclass(frozen=True)
class CompiledIndicator:
    """An indicator whose expressions are written over the columns of its aggregates."""

    indicator: Indicator
    breakdowns: Mapping[str, Breakdown]
    aggregates: tuple[Aggregate, ...]
    numerator: str
    denominator: str | None
    contributors: str
    error: str | None
    adds_up: bool  # numerator and denominator are counts and sums of rows, not distinct counts

    def is_additive(self, breakdown: str) -> bool:
        """Whether the parts of a breakdown sum to the whole: always for rows, by declaration for distinct counts."""
        return self.indicator.kind != "quantile" and (self.adds_up or self.breakdowns[breakdown].additive)


class _Refused(ValueError):
    """An expression says something that the catalogue does not allow."""


@functools.cache
def facts() -> Mapping[str, Fact]:
    """Every fact, by name. Raises `InvalidDataSources` for a file without a grain or that is not one query."""
    return {path.stem: _fact(path) for path in sorted(FACTS_FOLDER.glob("*.sql"))}


def _fact(path: Path) -> Fact:
    text = path.read_text(encoding="utf-8")
    grain = _GRAIN.search(text)
    if grain is None:
        raise InvalidDataSources(f"{path}: a fact says what one row is: `-- grain: column, column`")
    query = sqlglot.parse_one(text, dialect=DIALECT)
    if not isinstance(query, exp.Query):
        raise InvalidDataSources(f"{path}: a fact is one query")
    columns = tuple(query.named_selects)
    stated = tuple(column.strip() for column in grain["columns"].split(","))
    if missing := [column for column in stated if column not in columns]:
        raise InvalidDataSources(f"{path}: the grain names columns that the query does not give: {missing}")
    return Fact(path.stem, text, stated, columns)


def compile_catalogue(registry: Registry) -> tuple[CompiledIndicator, ...]:
    """Every indicator, checked. Raises `InvalidDataSources` with file and line of the first one refused."""
    breakdowns = _breakdowns(registry)
    return tuple(
        _compile(indicator, registry, breakdowns, registry.folder / "indicators" / f"{family.family}.yaml")
        for family in registry.indicator_families
        for indicator in family.indicators
    )


def _breakdowns(registry: Registry) -> Mapping[str, Breakdown]:
    found: dict[str, tuple[str, Breakdown]] = {}
    for family in registry.indicator_families:
        for name, breakdown in family.breakdowns.items():
            if name in found:
                path = registry.folder / "indicators" / f"{family.family}.yaml"
                raise InvalidDataSources(f"{path}: breakdown {name!r} already stands in {found[name][0]}.yaml")
            if breakdown.column in {other.column for _, other in found.values()}:
                path = registry.folder / "indicators" / f"{family.family}.yaml"
                raise InvalidDataSources(f"{path}: breakdown {name!r}: column {breakdown.column!r} has one already")
            found[name] = (family.family, breakdown)
    return {name: breakdown for name, (_, breakdown) in found.items()}


def _compile(
    indicator: Indicator, registry: Registry, breakdowns: Mapping[str, Breakdown], path: Path
) -> CompiledIndicator:
    try:
        fact = facts().get(indicator.fact)
        if fact is None:
            raise _Refused(f"unknown fact {indicator.fact!r}")
        _check_declarations(indicator, registry, breakdowns, fact)
        return _decompose(indicator, {name: breakdowns[name] for name in indicator.breakdowns}, fact)
    except (_Refused, SqlglotError) as error:
        line = lines_of_indicator(path, indicator.code)[0]
        reason = str(error).splitlines()[0]
        raise InvalidDataSources(f"{path}, line {line}: indicator {indicator.code!r}: {reason}") from error


def _check_declarations(
    indicator: Indicator, registry: Registry, breakdowns: Mapping[str, Breakdown], fact: Fact
) -> None:
    axis = AXIS_COLUMNS[indicator.axis]
    if axis not in fact.columns:
        raise _Refused(f"axis {indicator.axis!r}: fact {fact.name!r} has no column {axis!r}")
    for name in indicator.breakdowns:
        if name not in breakdowns:
            raise _Refused(f"unknown breakdown {name!r}")
        breakdown = breakdowns[name]
        if breakdown.column not in fact.columns:
            raise _Refused(f"breakdown {name!r}: fact {fact.name!r} has no column {breakdown.column!r}")
        if breakdown.sensitivity == "forbidden":
            raise _Refused(f"breakdown {name!r} is forbidden")
        if breakdown.sensitivity == "sensitive" and not set(breakdown.levels or ()) <= {"region", "country"}:
            raise _Refused(f"breakdown {name!r} is sensitive: its levels are region and country")
    is_confined = set(indicator.levels) <= {"region", "country"} and indicator.threshold >= 11
    if indicator.sensitivity == "sensitive" and (indicator.breakdowns or not is_confined):
        raise _Refused("a sensitive indicator stops at the region, threshold 11, and is never crossed")
    for name in {*indicator.sources, *(source for group in indicator.requires_one_of for source in group)}:
        if name not in registry.sources:
            raise _Refused(f"unknown source {name!r}")
        if not set(indicator.purposes) <= set(registry.sources[name].insertion.purposes):
            raise _Refused(f"source {name!r} does not allow the purposes {sorted(indicator.purposes)}")
    if indicator.kind == "ratio" and indicator.denominator is None:
        raise _Refused("a ratio has a denominator")


def _decompose(indicator: Indicator, breakdowns: Mapping[str, Breakdown], fact: Fact) -> CompiledIndicator:
    found: dict[Aggregate, None] = {}
    where = _condition(indicator, fact) if indicator.where else None

    def over_aggregates(text: str) -> str:
        tree = _parsed(text, indicator, fact)
        _refuse_zero_division(tree)
        for call in list(_aggregate_calls(tree)):
            filtered = _filtered(call, where)
            aggregate = Aggregate(filtered.sql(dialect=DIALECT), _adds_up(filtered))
            found[aggregate] = None
            replaced = exp.column(aggregate.column)
            if call is tree:
                tree = replaced
            else:
                call.replace(replaced)
        return tree.sql(dialect=DIALECT)

    numerator = over_aggregates(indicator.numerator)
    denominator = None
    if indicator.denominator is not None:
        if _is_zero(_parsed(indicator.denominator, indicator, fact)):
            raise _Refused("the denominator is always zero")
        denominator = over_aggregates(indicator.denominator)
    adds_up = all(aggregate.adds_up for aggregate in found)
    contributors = over_aggregates(indicator.contributors or indicator.denominator or indicator.numerator)
    error = over_aggregates(indicator.error) if indicator.error is not None else None
    return CompiledIndicator(indicator, breakdowns, tuple(found), numerator, denominator, contributors, error, adds_up)


def _parsed(text: str, indicator: Indicator, fact: Fact) -> exp.Expr:
    """The expression, checked: one aggregate expression over columns of the fact, nothing else."""
    tree = _with_parameters(sqlglot.parse_one(text, dialect=DIALECT), indicator)
    if isinstance(tree, exp.Query) or tree.find(exp.Query, exp.Subquery):
        raise _Refused(f"a query inside an expression: {text!r}")
    if tree.find(exp.Window):
        raise _Refused(f"a window inside an expression: {text!r}")
    if isinstance(tree, (exp.DDL, exp.DML, exp.Command)):
        raise _Refused(f"not an expression: {text!r}")
    _refuse_unknown_columns(tree, fact)
    calls = list(_aggregate_calls(tree))
    if not calls and not isinstance(tree, exp.Literal):
        raise _Refused(f"no aggregate in {text!r}")
    inside = {id(column) for call in calls for column in call.find_all(exp.Column)}
    if outside := [column.name for column in tree.find_all(exp.Column) if id(column) not in inside]:
        raise _Refused(f"columns outside an aggregate: {sorted(set(outside))}")
    return tree


def _condition(indicator: Indicator, fact: Fact) -> exp.Expr:
    tree = _with_parameters(sqlglot.parse_one(indicator.where or "", dialect=DIALECT), indicator)
    if tree.find(exp.Query, exp.Subquery, exp.AggFunc, exp.Window):
        raise _Refused(f"where: a condition on one row: {indicator.where!r}")
    _refuse_unknown_columns(tree, fact)
    return tree


def _with_parameters(tree: exp.Expr, indicator: Indicator) -> exp.Expr:
    """The expression with each `:name` replaced by the indicator's parameter of that name."""
    for placeholder in list(tree.find_all(exp.Placeholder)):
        if placeholder.name not in indicator.parameters:
            raise _Refused(f"no parameter {placeholder.name!r}")
        placeholder.replace(exp.convert(indicator.parameters[placeholder.name]))
    return tree


def _refuse_unknown_columns(tree: exp.Expr, fact: Fact) -> None:
    unknown = sorted({column.name for column in tree.find_all(exp.Column) if column.name not in fact.columns})
    if unknown:
        raise _Refused(f"fact {fact.name!r} has no column {', '.join(map(repr, unknown))}")


def _aggregate_calls(tree: exp.Expr) -> Iterator[exp.Expr]:
    """The outermost aggregate calls, each with its FILTER clause when it has one."""
    if isinstance(tree, (exp.Filter, exp.AggFunc)):
        yield tree
        return
    for child in tree.iter_expressions():
        yield from _aggregate_calls(child)


def _filtered(call: exp.Expr, where: exp.Expr | None) -> exp.Expr:
    """The call with the indicator's `where` added to its own filter."""
    if where is None:
        return call.copy()
    if isinstance(call, exp.Filter):
        own = call.expression.this
        return exp.Filter(this=call.this.copy(), expression=exp.Where(this=exp.and_(where.copy(), own.copy())))
    return exp.Filter(this=call.copy(), expression=exp.Where(this=where.copy()))


def _adds_up(call: exp.Expr) -> bool:
    function = call.this if isinstance(call, exp.Filter) else call
    return isinstance(function, (exp.Count, exp.Sum, exp.CountIf)) and function.find(exp.Distinct) is None


def _refuse_zero_division(tree: exp.Expr) -> None:
    for division in tree.find_all(exp.Div, exp.IntDiv, exp.Mod):
        if _is_zero(division.expression):
            raise _Refused(f"divides by a constant zero: {division.sql(dialect=DIALECT)}")


def _is_zero(tree: exp.Expr) -> bool:
    simplified = simplify(tree.copy().unnest())
    return isinstance(simplified, exp.Literal) and simplified.is_number and float(simplified.name) == 0
