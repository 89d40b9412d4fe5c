"""The catalogue, checked and cut into the aggregates that the engine computes.

Belongs here: what a fact promises (its columns and grain), what an indicator may declare of it, refusing the rest with
file and line. Does not belong here: what SQL a formula may hold (`formulas`), running anything (`computing`), the YAML
types (`registry`).

An expression is an SQL aggregate over one fact. It is taken apart into its aggregate calls: counts and sums are
computed once per place and added up along the hierarchies; distinct counts and quantiles are recounted at each level.
"""

from __future__ import annotations

import functools
import hashlib
import operator
import re
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import sqlglot
import yaml
from sqlglot import exp

from insertion_pipeline.expressions import ForbiddenExpression
from insertion_pipeline.indicators import formulas
from insertion_pipeline.indicators.coverage import known_column
from insertion_pipeline.indicators.formulas import DIALECT
from insertion_pipeline.indicators.territories import LEVELS
from insertion_pipeline.registry import Breakdown, Indicator, InvalidDataSources, Registry, Summand, lines_of_indicator

FACTS_FOLDER = Path(__file__).parent / "facts"

#: The column of a fact that holds the place, for each axis.
AXIS_COLUMNS: Mapping[str, str] = {
    "residence": "residence",
    "structure": "structure_territory",
    "paying_council": "paying_council",
    "deposit": "deposit_territory",
}

#: A fact's rows of earlier months, for a fact that follows persons over the months: `<fact>__earlier`.
EARLIER = "__earlier"

#: How far back facts look: the twelve rolling months of exits, whose hours count over two calendar years.
MONTHS_BACK = 24

#: How far back persons are followed from one month's facts to another's.
MONTHS_FOLLOWED = 12

#: Columns that stand for one person, or for one record of a person: they are counted, never shown nor compared.
PSEUDONYMS = frozenset({"person", "referent", "application", "contract_id"})

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
    adds_up: bool  # numerator and denominator are counts and sums of rows, not distinct counts, and sums of these

    def is_additive(self, breakdown: str) -> bool:
        """Whether the parts of a breakdown sum to the whole: rows of one modality, or a distinct count declared so."""
        cut = self.breakdowns[breakdown]
        return self.indicator.kind != "quantile" and not cut.multivalued and (self.adds_up or cut.additive)


class _Refused(ValueError):
    """An indicator declares something that the catalogue does not allow."""


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


def with_dependencies(names: Iterable[str]) -> frozenset[str]:
    """The facts of these names and those that they read of the same month, one after another."""
    return _reached(names, lambda table: table)


def made_of(fact: str) -> frozenset[str]:
    """The fact, those that it reads, and those whose earlier months it reads."""
    return _reached({fact}, lambda table: table.removesuffix(EARLIER))


def _reached(names: Iterable[str], fact_of: Callable[[str], str]) -> frozenset[str]:
    """The facts of these names and those that they read, one after another; `fact_of` tells which fact a table is."""
    known: set[str] = set()
    waiting = set(names)
    while waiting:
        known |= waiting
        waiting = ({fact_of(table) for name in waiting for table in facts()[name].reads} & facts().keys()) - known
    return frozenset(known)


def months_read(fact: str) -> int:
    """How many months of deliveries the rows of a fact may depend on, its own included."""
    parts = [facts()[name] for name in made_of(fact)]
    looks_back = any(part.reads_over_months for part in parts)
    follows = any(part.is_history for part in parts)
    return max(MONTHS_BACK if looks_back else 1, MONTHS_FOLLOWED + 1 if follows else 1)


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
    key = (registry.folder, registry.digest)
    with _COMPILING:
        if key not in _COMPILED:
            breakdowns = _breakdowns(registry)
            families = registry.indicator_families
            _COMPILED[key] = tuple(
                _compile(one, registry, breakdowns) for family in families for one in family.indicators
            )
        compiled = _COMPILED[key]
    return tuple(_with_measured_error(one, registry, measured) for one in compiled) if measured else compiled


_COMPILED: dict[tuple[Path, str], tuple[CompiledIndicator, ...]] = {}
_COMPILING = threading.Lock()


def _with_measured_error(
    compiled: CompiledIndicator, registry: Registry, measured: Mapping[tuple[str, str], float]
) -> CompiledIndicator:
    indicator = compiled.indicator
    if not indicator.error_between:
        return compiled
    one, other = indicator.error_between
    share = measured.get((one, other), measured.get((other, one)))
    if share is None:
        return compiled
    parameters = {**indicator.parameters, LINKAGE_MISS_SHARE: share}
    return _compile(indicator.model_copy(update={"parameters": parameters}), registry, compiled.breakdowns)


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


def refusal(registry: Registry, indicator: Indicator, reason: str) -> InvalidDataSources:
    """What is wrong with an indicator, with the file and the line that declare it."""
    (family,) = (one.family for one in registry.indicator_families if indicator.code in map(_code, one.indicators))
    path = registry.folder / "indicators" / f"{family}.yaml"
    line = lines_of_indicator(path, indicator.code)[0]
    return InvalidDataSources(f"{path}, line {line}: indicator {indicator.code!r}: {reason}")


_code = operator.attrgetter("code")


def _compile(indicator: Indicator, registry: Registry, breakdowns: Mapping[str, Breakdown]) -> CompiledIndicator:
    try:
        fact = facts().get(indicator.fact)
        if fact is None:
            raise _Refused(f"unknown fact {indicator.fact!r}")
        _check_declarations(indicator, registry, breakdowns, fact)
        return _decompose(indicator, {name: breakdowns[name] for name in indicator.breakdowns}, fact)
    except (_Refused, ForbiddenExpression) as error:
        raise refusal(registry, indicator, str(error)) from error


def _check_declarations(
    indicator: Indicator, registry: Registry, breakdowns: Mapping[str, Breakdown], fact: Fact
) -> None:
    """Raise `_Refused` for what an indicator says, formulas aside, that its fact, sources or likes contradict."""
    _check_places(indicator)
    _check_sources(indicator, registry)
    _check_terms(indicator, registry)
    axis = AXIS_COLUMNS[indicator.axis]
    if axis not in fact.columns:
        raise _Refused(f"axis {indicator.axis!r}: fact {fact.name!r} has no column {axis!r}")
    for name in indicator.breakdowns:
        _check_breakdown(name, breakdowns, fact)
    if indicator.complete_months > (known := months_read(fact.name)):
        raise _Refused(f"complete_months: {indicator.complete_months}, fact {fact.name!r} looks at {known} at most")
    is_confined = set(indicator.levels) <= {"region", "country"} and indicator.threshold >= 11
    if indicator.sensitivity == "sensitive" and (indicator.breakdowns or not is_confined):
        raise _Refused("a sensitive indicator stops at the region, threshold 11, and is never crossed")


def _check_breakdown(name: str, breakdowns: Mapping[str, Breakdown], fact: Fact) -> None:
    if name not in breakdowns:
        raise _Refused(f"unknown breakdown {name!r}")
    breakdown = breakdowns[name]
    if breakdown.column not in fact.columns:
        raise _Refused(f"breakdown {name!r}: fact {fact.name!r} has no column {breakdown.column!r}")
    if breakdown.column in PSEUDONYMS:
        raise _Refused(f"breakdown {name!r}: {breakdown.column!r} stands for one person, no modality of many")
    if breakdown.multivalued and breakdown.additive:
        raise _Refused(f"breakdown {name!r}: a row with several modalities does not add up: additive: false")
    if breakdown.sensitivity == "forbidden":
        raise _Refused(f"breakdown {name!r} is forbidden")
    is_confined = breakdown.levels is not None and set(breakdown.levels) <= {"region", "country"}
    if breakdown.sensitivity == "sensitive" and not is_confined:
        raise _Refused(f"breakdown {name!r} is sensitive: its levels are region and country")


def _check_places(indicator: Indicator) -> None:
    for name in ("countries", "levels", "purposes", "sources"):
        _refuse_empty_or_repeated(name, getattr(indicator, name))
    if len(set(indicator.breakdowns)) < len(indicator.breakdowns):
        raise _Refused("breakdowns: one is named twice")
    known = {level for country in indicator.countries for level in LEVELS[country]}
    if strange := sorted(set(indicator.levels) - known):
        raise _Refused(f"level {strange[0]!r} is not one of {', '.join(indicator.countries)}")


def _refuse_empty_or_repeated(name: str, given: Sequence[str]) -> None:
    if not given:
        raise _Refused(f"{name}: none is named")
    if len(set(given)) < len(given):
        raise _Refused(f"{name}: one is named twice")


def _check_sources(indicator: Indicator, registry: Registry) -> None:
    of_groups = {source for group in indicator.requires_one_of for source in group}
    for name in sorted({*indicator.sources, *of_groups, *indicator.exhaustive_sources, *indicator.error_between}):
        if name not in registry.sources:
            raise _Refused(f"unknown source {name!r}")
        if not set(indicator.purposes) <= set(registry.sources[name].insertion.purposes):
            raise _Refused(f"source {name!r} does not allow the purposes {sorted(indicator.purposes)}")
    if indicator.error_between and (len(set(indicator.error_between)) != 2 or indicator.error is None):
        raise _Refused("error_between names two sources, of which error is the number of false counts")
    if indicator.minimum_families > len(indicator.families):
        raise _Refused(f"minimum_families: {indicator.minimum_families} of {len(indicator.families)} families")


def _check_terms(indicator: Indicator, registry: Registry) -> None:
    if indicator.kind == "ratio" and indicator.denominator is None:
        raise _Refused("a ratio has a denominator")
    if indicator.kind != "ratio" and indicator.denominator is not None:
        raise _Refused(f"a {indicator.kind} has no denominator: only a ratio does")
    for name, text in {"label": indicator.label, "definition": indicator.definition}.items():
        if not text.strip():
            raise _Refused(f"no {name}: every indicator is told in French")
    told = " ".join(filter(None, (getattr(indicator, name) for name in _FORMULAS)))
    for name in sorted(indicator.parameters):
        if not re.search(rf":{name}\b", told):
            raise _Refused(f"parameter {name!r} is in no formula")
    for text in indicator.parts:
        if not _is_part(text, registry):
            raise _Refused(f"parts: {text!r} is neither an indicator nor a modality of one")
    for text in indicator.balance:
        summand = Summand.read(text)
        if summand is None or summand.breakdown or summand.code not in registry.indicators:
            raise _Refused(f"balance: {text!r} names no indicator")
        if summand.is_denominator and registry.indicators[summand.code].denominator is None:
            raise _Refused(f"balance: {text!r} names a denominator that is not there")


def _is_part(text: str, registry: Registry) -> bool:
    summand = Summand.read(text)
    if summand is None or not summand.is_plain or summand.code not in registry.indicators:
        return False
    is_cut_so = summand.breakdown in registry.indicators[summand.code].breakdowns
    return not summand.breakdown or (
        is_cut_so and summand.modality in registry.breakdowns[summand.breakdown].modalities
    )


#: What an indicator says in SQL.
_FORMULAS = ("where", "numerator", "denominator", "contributors", "error")


def _decompose(indicator: Indicator, breakdowns: Mapping[str, Breakdown], fact: Fact) -> CompiledIndicator:
    found: dict[Aggregate, None] = {}
    where = _condition(indicator, fact) if indicator.where else None
    if (known := known_column(indicator)) is not None:
        is_known = exp.column(known)
        where = is_known if where is None else exp.and_(where, is_known)

    def over_aggregates(text: str) -> str:
        tree = _formula(text, indicator, fact)
        for call in list(formulas.aggregate_calls(tree)):
            filtered = formulas.filtered(call, where)
            told = formulas.distinct(filtered)
            aggregate = Aggregate(filtered.sql(dialect=DIALECT), formulas.adds_up(filtered), *told)
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
        if formulas.is_nothing(_formula(indicator.denominator, indicator, fact)):
            raise _Refused(f"the denominator is always zero: {indicator.denominator!r}")
        denominator = over_aggregates(indicator.denominator)
    terms = [_formula(text, indicator, fact) for text in (indicator.numerator, indicator.denominator) if text]
    adds_up = all(aggregate.adds_up for aggregate in found) and all(map(formulas.is_linear, terms))
    contributors = over_aggregates(indicator.contributors or indicator.denominator or indicator.numerator)
    error = over_aggregates(indicator.error) if indicator.error is not None else None
    return CompiledIndicator(indicator, breakdowns, tuple(found), numerator, denominator, contributors, error, adds_up)


def _formula(text: str, indicator: Indicator, fact: Fact) -> exp.Expr:
    tree = formulas.formula(text, indicator.parameters)
    _refuse_strange_columns(tree, fact)
    return tree


def _condition(indicator: Indicator, fact: Fact) -> exp.Expr:
    tree = formulas.condition(indicator.where or "", indicator.parameters)
    _refuse_strange_columns(tree, fact)
    return tree


def _refuse_strange_columns(tree: exp.Expr, fact: Fact) -> None:
    unknown = sorted({column.name for column in tree.find_all(exp.Column) if column.name not in fact.columns})
    if unknown:
        raise _Refused(f"fact {fact.name!r} has no column {', '.join(map(repr, unknown))}")
    for column in tree.find_all(exp.Column):
        if column.name in PSEUDONYMS and not _is_only_counted(column):
            raise _Refused(f"{column.name!r} stands for one person: it is counted, never measured nor compared")


def _is_only_counted(column: exp.Column) -> bool:
    """Whether a column says nothing but how many: in `count(…)`, distinct or not, or asked whether it is null."""
    node: exp.Expr = column
    while isinstance(node.parent, (exp.Paren, exp.If, exp.Case)) and node.arg_key != "this":  # what a CASE gives
        node = node.parent
    match node.parent:
        case exp.Is():
            return isinstance(node.parent.expression, exp.Null)
        case exp.Distinct():
            return isinstance(node.parent.parent, exp.Count)
        case other:
            return isinstance(other, exp.Count)
