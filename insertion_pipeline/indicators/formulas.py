"""What an indicator's SQL may say: read into a tree, or refused before anything runs.

Belongs here: the aggregates that there are, a formula's aggregate calls, its divisions by nothing. Does not belong
here: which columns a fact has and what else an indicator declares (`catalogue`), running anything (`computing`).

A formula is aggregate calls over the rows of one fact, and arithmetic over what they give. Inside a call, and in a
condition, stands what any declaration may hold (`insertion_pipeline.expressions`): no table, file, clock, environment,
chance or other row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from typing import Final, Literal

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.simplify import simplify

from insertion_pipeline.expressions import ForbiddenExpression, refuse_beyond_the_row

DIALECT: Final = "duckdb"

#: What a formula may count with; `kaplan_meier_median(days, is_over)` is the catalogue's own.
_AGGREGATES = (exp.Count, exp.Sum, exp.CountIf, exp.Min, exp.Max, exp.Avg, exp.Median, exp.PercentileDisc)
_AGGREGATE_NAMES = "count, sum, count_if, min, max, avg, median, quantile_disc, kaplan_meier_median"
_KAPLAN_MEIER = "kaplan_meier_median"


def formula(text: str, parameters: Mapping[str, object]) -> exp.Expr:
    """The tree of one formula, its `:name` replaced by parameters. Raises `ForbiddenExpression` for any other text."""
    tree = _with_parameters(_one_expression(text), parameters)
    if isinstance(tree, exp.Query) or tree.find(exp.Query, exp.Subquery):
        raise ForbiddenExpression(f"a query inside an expression: {text!r}")
    if tree.find(exp.Window):
        raise ForbiddenExpression(f"a window inside an expression: {text!r}")
    calls = [node for node in tree.walk(prune=_is_call) if _is_call(node)]
    if not calls:
        raise ForbiddenExpression(f"no aggregate in {text!r}")
    beside = [node for node in tree.walk(prune=_is_call) if not _is_call(node)]
    if outside := {node.name for node in beside if isinstance(node, exp.Column)}:
        raise ForbiddenExpression(f"columns outside an aggregate: {sorted(outside)}")
    refuse_beyond_the_row(beside)
    for call in calls:
        _refuse_strange_call(call)
    _refuse_division_by_nothing(tree)
    return tree.transform(_as_the_engines_macro)


def condition(text: str, parameters: Mapping[str, object]) -> exp.Expr:
    """The tree of one condition on a row of a fact. Raises `ForbiddenExpression` for any other text."""
    tree = _with_parameters(_one_expression(text), parameters)
    _refuse_strange_condition(tree)
    _refuse_division_by_nothing(tree)
    if _never_holds(tree):
        raise ForbiddenExpression(f"where: no row ever: {text!r}")
    return tree


def aggregate_calls(tree: exp.Expr) -> Iterator[exp.Expr]:
    """The outermost aggregate calls, each with its FILTER clause when it has one."""
    if isinstance(tree, (exp.Filter, exp.AggFunc)):
        yield tree
        return
    for child in tree.iter_expressions():
        yield from aggregate_calls(child)


def filtered(call: exp.Expr, where: exp.Expr | None) -> exp.Expr:
    """The call with a condition added to its own filter."""
    if where is None:
        return call.copy()
    if isinstance(call, exp.Filter):
        own = call.expression.this
        return exp.Filter(this=call.this.copy(), expression=exp.Where(this=exp.and_(where.copy(), own.copy())))
    return exp.Filter(this=call.copy(), expression=exp.Where(this=where.copy()))


def adds_up(call: exp.Expr) -> bool:
    """Whether the values of a call at places can be summed: rows counted, quantities summed, nothing made distinct."""
    function = call.this if isinstance(call, exp.Filter) else call
    return isinstance(function, (exp.Count, exp.Sum, exp.CountIf)) and function.find(exp.Distinct) is None


def distinct(call: exp.Expr) -> tuple[str | None, str]:
    """The column whose distinct values a call counts, and in which rows; null for any other call."""
    count, condition = (
        (call.this, call.expression.this.sql(dialect=DIALECT)) if isinstance(call, exp.Filter) else (call, "")
    )
    if not isinstance(count, exp.Count) or not isinstance(count.this, exp.Distinct):
        return None, ""
    counted = count.this.expressions
    return (counted[0].name, condition) if len(counted) == 1 and isinstance(counted[0], exp.Column) else (None, "")


def is_linear(tree: exp.Expr) -> bool:
    """Whether a formula of sums is the sum of that formula over parts: sums added, or multiplied by a constant."""
    match tree:
        case exp.Filter() | exp.AggFunc() | exp.Column():
            return True
        case exp.Paren() | exp.Neg() | exp.Cast():
            return is_linear(tree.this)
        case exp.Add() | exp.Sub():
            return is_linear(tree.left) and is_linear(tree.right)
        case exp.Mul():
            left, right = _constant(tree.left) is not None, _constant(tree.right) is not None
            return (left and is_linear(tree.right)) or (right and is_linear(tree.left))
        case exp.Div():
            return is_linear(tree.left) and _constant(tree.right) is not None
        case exp.Coalesce():
            return is_linear(tree.this) and all(_constant(one) == 0 for one in tree.expressions)
    return False


def is_nothing(tree: exp.Expr) -> bool:
    """Whether an expression is zero or null whatever the rows: `0`, `1 - 1`, `sum(0)`, `nullif(0, 0)`…"""
    return _constant(simplify(tree.copy())) in (0, "null")


def _one_expression(text: str) -> exp.Expr:
    try:
        statements = sqlglot.parse(text, dialect=DIALECT)
    except SqlglotError as error:
        raise ForbiddenExpression(f"not a SQL expression: {text!r}: {str(error).splitlines()[0]}") from error
    if len(statements) != 1 or statements[0] is None:
        raise ForbiddenExpression(f"not one expression: {text!r}")
    return statements[0]


def _with_parameters(tree: exp.Expr, parameters: Mapping[str, object]) -> exp.Expr:
    for placeholder in list(tree.find_all(exp.Placeholder)):
        if placeholder.name not in parameters:
            raise ForbiddenExpression(f"no parameter {placeholder.name!r}")
        placeholder.replace(exp.convert(parameters[placeholder.name]))
    return tree


def _is_call(node: exp.Expr) -> bool:
    return isinstance(node, (exp.Filter, exp.AggFunc)) or _is_kaplan_meier(node)


def _is_kaplan_meier(node: exp.Expr) -> bool:
    return isinstance(node, exp.Anonymous) and node.name.lower() == _KAPLAN_MEIER


def _refuse_strange_call(call: exp.Expr) -> None:
    function = call.this if isinstance(call, exp.Filter) else call
    if isinstance(call, exp.Filter):
        _refuse_strange_condition(call.expression.this)
    if _is_kaplan_meier(function):
        if len(function.expressions) != 2 or function is not call:
            raise ForbiddenExpression(f"{_KAPLAN_MEIER} takes the days waited and whether the wait is over")
    elif not isinstance(function, _AGGREGATES):
        raise ForbiddenExpression(f"{function.sql(dialect=DIALECT)!r} is none of {_AGGREGATE_NAMES}")
    for argument in function.iter_expressions():
        if isinstance(argument, exp.Star) and isinstance(function, exp.Count):
            continue
        refuse_beyond_the_row(argument.walk())


def _refuse_strange_condition(tree: exp.Expr) -> None:
    if tree.find(exp.Query, exp.Subquery, exp.AggFunc, exp.Window):
        raise ForbiddenExpression(f"where: a condition on one row: {tree.sql(dialect=DIALECT)!r}")
    refuse_beyond_the_row(tree.walk())
    holds = tree.unnest()
    is_arithmetic = isinstance(holds, exp.Binary) and not isinstance(holds, (exp.Predicate, exp.Connector))
    if is_arithmetic or isinstance(holds, (exp.Literal, exp.Neg, exp.Star)):
        raise ForbiddenExpression(f"where: neither true nor false: {tree.sql(dialect=DIALECT)!r}")


def _as_the_engines_macro(node: exp.Expr) -> exp.Expr:
    """`kaplan_meier_median(days, is_over)` as the engine's macro over the list of waits."""
    if not _is_kaplan_meier(node):
        return node
    days, is_over = (one.sql(dialect=DIALECT) for one in node.expressions)
    return sqlglot.parse_one(
        f"median_of_waits(list({{'days': {days}, 'is_over': {is_over}}}) FILTER (WHERE {days} >= 0))", dialect=DIALECT
    )


# -- what is always the same ---------------------------------------------------------------------------------------


def _refuse_division_by_nothing(tree: exp.Expr) -> None:
    for division in tree.find_all(exp.Div, exp.IntDiv, exp.Mod):
        if is_nothing(division.expression):
            raise ForbiddenExpression(f"divides by a constant zero: {division.sql(dialect=DIALECT)}")


def _never_holds(tree: exp.Expr) -> bool:
    simplified = simplify(tree.copy()).unnest()
    return isinstance(simplified, exp.Null) or (isinstance(simplified, exp.Boolean) and not simplified.this)


#: What an expression is whatever the rows: a number, null, or None when it depends on them.
_Constant = Fraction | Literal["null"] | None


def _constant(tree: exp.Expr) -> _Constant:
    match tree:
        case exp.Null():
            return "null"
        case exp.Literal() if tree.is_number:
            return Fraction(tree.name)
        case exp.Paren() | exp.Cast():
            return _constant(tree.this)
        case exp.Neg():
            return _constant(exp.Literal.number(0) - tree.this)
        case exp.Coalesce() | exp.Nullif() | exp.Case():
            return _chosen(tree)
        case exp.Binary():
            return _combined(tree)
        case exp.AggFunc() | exp.Filter():
            return _aggregated(tree)
        case exp.Abs() | exp.Round() | exp.Floor() | exp.Ceil():
            inner = _constant(tree.this)
            return inner if inner in (0, "null") else None
    return None


def _chosen(tree: exp.Coalesce | exp.Nullif | exp.Case) -> _Constant:
    if isinstance(tree, exp.Coalesce):
        known = (_constant(one) for one in (tree.this, *tree.expressions))
        return next((one for one in known if one != "null"), "null")
    if isinstance(tree, exp.Nullif):
        one, other = _constant(tree.this), _constant(tree.expression)
        is_same = tree.this == tree.expression or (one is not None and one == other)
        return "null" if is_same else one
    branches = [branch.args["true"] for branch in tree.args["ifs"]] + [tree.args.get("default") or exp.null()]
    values = {_constant(branch) for branch in branches}
    return Fraction(0) if values <= {Fraction(0), "null"} else None


def _combined(tree: exp.Binary) -> _Constant:
    left, right = _constant(tree.left), _constant(tree.right)
    if "null" in (left, right):
        return "null"
    match tree:
        case exp.Sub() if tree.left == tree.right:
            return Fraction(0)
        case exp.Mul() | exp.Div() | exp.IntDiv() | exp.Mod() if left == 0:
            return Fraction(0)
        case exp.Mul() if right == 0:
            return Fraction(0)
    if not isinstance(left, Fraction) or not isinstance(right, Fraction):
        return None
    match tree:
        case exp.Add():
            return left + right
        case exp.Sub():
            return left - right
        case exp.Mul():
            return left * right
        case exp.Div() if right:
            return left / right
    return None


def _aggregated(tree: exp.AggFunc | exp.Filter) -> _Constant:
    if isinstance(tree, exp.Filter):
        is_count = isinstance(tree.this, (exp.Count, exp.CountIf))
        return (Fraction(0) if is_count else "null") if _never_holds(tree.expression.this) else _constant(tree.this)
    if isinstance(tree, exp.CountIf):
        return Fraction(0) if _never_holds(tree.this) else None
    counted = tree.this.expressions if isinstance(tree.this, exp.Distinct) else [tree.this]
    values = {_constant(one) for one in counted}
    if isinstance(tree, exp.Count):
        return Fraction(0) if values == {"null"} else None
    return values.pop() if values <= {Fraction(0)} or values <= {"null"} else None
