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
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import sqlglot
import yaml
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.simplify import simplify

from insertion_pipeline.indicators.coverage import known_column
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

#: A fact's rows of earlier months, for a fact that follows persons over the months: `<fact>__earlier`.
EARLIER = "__earlier"

#: The parameter of an indicator's error that a measure of the pair of sources replaces.
LINKAGE_MISS_SHARE = "linkage_miss_share"

_GRAIN = re.compile(r"^-- grain: (?P<columns>[a-z_, ]+)$", re.MULTILINE)
_OVER_MONTHS = re.compile(r"^-- over months: (?P<tables>[a-z0-9_, ]+)$", re.MULTILINE)
_DICTIONARY = "columns.yaml"


@dataclass(frozen=True)
class Fact:
    """One table of things to count: one file `facts/<name>.sql`, whose header says what one row is.

    `reads`: the pseudonymised tables, facts and small relations that the query reads; `reads_over_months`: those
    pseudonymised tables of which it needs more than the month. `columns` are told in French by `facts/columns.yaml`.
    """

    name: str
    sql: str
    grain: tuple[str, ...]
    columns: tuple[str, ...]
    reads: frozenset[str] = frozenset()
    reads_over_months: frozenset[str] = frozenset()

    @property
    def is_history(self) -> bool:
        """Whether it follows persons over the months: it reads facts of earlier months."""
        return any(table.endswith(EARLIER) for table in self.reads)


@dataclass(frozen=True)
class Aggregate:
    """One aggregate call over a fact. `adds_up`: its values at places can be summed along the hierarchies.

    One that counts the distinct values of a column says of which, and of which rows (`condition`, all when empty).
    """

    sql: str
    adds_up: bool
    distinct: str | None = None
    condition: str = ""

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
        """Whether the parts of a breakdown sum to the whole: rows of one modality, or a distinct count declared so."""
        cut = self.breakdowns[breakdown]
        return self.indicator.kind != "quantile" and not cut.multivalued and (self.adds_up or cut.additive)


class _Refused(ValueError):
    """An expression says something that the catalogue does not allow."""


@functools.cache
def facts() -> Mapping[str, Fact]:
    """Every fact, by name. Raises `InvalidDataSources` for a file that is not one documented query with a grain."""
    found = {path.stem: _fact(path) for path in sorted(FACTS_FOLDER.glob("*.sql"))}
    told = column_descriptions()
    for name, fact in found.items():
        if missing := sorted(set(fact.columns) - told.keys()):
            raise InvalidDataSources(f"{FACTS_FOLDER / _DICTIONARY}: no description of {missing[0]!r} ({name}.sql)")
    if unknown := sorted(told.keys() - {column for fact in found.values() for column in fact.columns}):
        raise InvalidDataSources(f"{FACTS_FOLDER / _DICTIONARY}: no fact has a column {unknown[0]!r}")
    return found


@functools.cache
def column_descriptions() -> Mapping[str, str]:
    """What each column of the facts means, in French: a name means the same in every fact that has it."""
    content = yaml.load((FACTS_FOLDER / _DICTIONARY).read_text(encoding="utf-8"), yaml.CSafeLoader)
    return {str(name): str(text) for name, text in content.items()}


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
    named = {expression.alias_or_name for expression in query.find_all(exp.CTE)}
    reads = frozenset(table.name for table in query.find_all(exp.Table)) - named
    over = _OVER_MONTHS.search(text)
    over_months = frozenset(table.strip() for table in over["tables"].split(",")) if over else frozenset()
    if strange := sorted(over_months - reads):
        raise InvalidDataSources(f"{path}: over months: the query does not read {strange[0]!r}")
    return Fact(path.stem, text, stated, columns, reads, over_months)


def compile_catalogue(
    registry: Registry, measured: Mapping[tuple[str, str], float] | None = None
) -> tuple[CompiledIndicator, ...]:
    """Every indicator, checked. Raises `InvalidDataSources` with file and line of the first one refused.

    `measured`: the share of false non-matches of pairs of sources, which takes the place of the parameter declared.
    The catalogue of a folder that has not changed is compiled once in a process, whatever months ask for it at once.
    """
    key = (registry.folder, registry.digest, tuple(sorted((measured or {}).items())))
    with _COMPILING:
        if key not in _COMPILED:
            breakdowns = _breakdowns(registry)
            _COMPILED[key] = tuple(
                _compile(
                    _with_measured_error(indicator, measured or {}),
                    registry,
                    breakdowns,
                    registry.folder / "indicators" / f"{family.family}.yaml",
                )
                for family in registry.indicator_families
                for indicator in family.indicators
            )
        return _COMPILED[key]


_COMPILED: dict[tuple[object, ...], tuple[CompiledIndicator, ...]] = {}
_COMPILING = threading.Lock()


def _with_measured_error(indicator: Indicator, measured: Mapping[tuple[str, str], float]) -> Indicator:
    if not indicator.error_between:
        return indicator
    one, other = indicator.error_between
    share = measured.get((one, other), measured.get((other, one)))
    if share is None:
        return indicator
    return indicator.model_copy(update={"parameters": {**indicator.parameters, LINKAGE_MISS_SHARE: share}})


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
        if breakdown.multivalued and breakdown.additive:
            raise _Refused(f"breakdown {name!r}: a row with several modalities does not add up: additive: false")
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
    if indicator.error_between and (
        not set(indicator.error_between) <= registry.sources.keys() or len(set(indicator.error_between)) != 2
    ):
        raise _Refused("error_between names two sources")
    for name, text in {"label": indicator.label, "definition": indicator.definition}.items():
        if not text.strip():
            raise _Refused(f"no {name}: every indicator is told in French")


def _decompose(indicator: Indicator, breakdowns: Mapping[str, Breakdown], fact: Fact) -> CompiledIndicator:
    found: dict[Aggregate, None] = {}
    where = _condition(indicator, fact) if indicator.where else None
    if (known := known_column(indicator)) is not None:
        is_known = exp.column(known)
        where = is_known if where is None else exp.and_(where, is_known)

    def over_aggregates(text: str) -> str:
        tree = _parsed(text, indicator, fact)
        _refuse_zero_division(tree)
        for call in list(_aggregate_calls(tree)):
            filtered = _filtered(call, where)
            aggregate = Aggregate(filtered.sql(dialect=DIALECT), _adds_up(filtered), *_distinct(filtered))
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
    tree = _with_parameters(sqlglot.parse_one(text, dialect=DIALECT), indicator).transform(_kaplan_meier)
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


def _kaplan_meier(node: exp.Expr) -> exp.Expr:
    """`kaplan_meier_median(days, is_over)` as the engine's macro over the list of waits."""
    if not isinstance(node, exp.Anonymous) or node.name.lower() != "kaplan_meier_median":
        return node
    if len(node.expressions) != 2:
        raise _Refused("kaplan_meier_median takes the days waited and whether the wait is over")
    days, is_over = (one.sql(dialect=DIALECT) for one in node.expressions)
    return sqlglot.parse_one(
        f"median_of_waits(list({{'days': {days}, 'is_over': {is_over}}}) FILTER (WHERE {days} >= 0))", dialect=DIALECT
    )


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


def _distinct(call: exp.Expr) -> tuple[str | None, str]:
    """The column whose distinct values a call counts, and in which rows; null for any other call."""
    count, condition = (
        (call.this, call.expression.this.sql(dialect=DIALECT)) if isinstance(call, exp.Filter) else (call, "")
    )
    if not isinstance(count, exp.Count) or not isinstance(count.this, exp.Distinct):
        return None, ""
    counted = count.this.expressions
    return (counted[0].name, condition) if len(counted) == 1 and isinstance(counted[0], exp.Column) else (None, "")


def _refuse_zero_division(tree: exp.Expr) -> None:
    for division in tree.find_all(exp.Div, exp.IntDiv, exp.Mod):
        if _is_zero(division.expression):
            raise _Refused(f"divides by a constant zero: {division.sql(dialect=DIALECT)}")


def _is_zero(tree: exp.Expr) -> bool:
    simplified = simplify(tree.copy().unnest())
    return isinstance(simplified, exp.Literal) and simplified.is_number and float(simplified.name) == 0
