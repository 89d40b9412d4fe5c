"""The project's SQL, written for DuckDB, said in Spark's words with DuckDB's meaning.

Belongs here: every difference between the two engines, once. Does not belong here: a query, a Spark session.

sqlglot translates the words; what follows are the places where the same word means something else. Spark runs with its
ANSI rules, as DuckDB does: an overflow or a failed cast is an error, never a null.
"""

from __future__ import annotations

import unicodedata

from sqlglot import exp, parse_one

_DUCKDB = "duckdb"
_SPARK = "spark"

#: Letters that DuckDB's `strip_accents` changes, among those that names and texts of the two countries are written in.
_ACCENTED = {
    chr(code): letters[0]
    for code in range(0xC0, 0x250)
    if len(letters := unicodedata.normalize("NFD", chr(code))) > 1
    and letters[0].isascii()
    and all(unicodedata.combining(mark) for mark in letters[1:])
}

#: `median_of_waits`, the macro of ours, over an array of (days, is_over). Ends come before those who still wait on the
#: same day, so that the product over persons is the product over days.
_MEDIAN_OF_WAITS = """
aggregate(
    array_sort(transform(waits, wait -> struct(wait.days AS days, NOT wait.is_over AS still_waits))),
    named_struct(
        'at_risk', CAST(size(waits) AS DOUBLE), 'share', CAST(1 AS DOUBLE), 'median', get(waits, 0).days
    ),
    (seen, wait) -> named_struct(
        'at_risk', seen.at_risk - 1,
        'share', CASE WHEN wait.still_waits THEN seen.share ELSE seen.share * (1 - 1 / seen.at_risk) END,
        'median', CASE WHEN seen.share <= 0.5 + 1e-9 THEN seen.median ELSE wait.days END
    ),
    seen -> CASE WHEN seen.share <= 0.5 + 1e-9 THEN seen.median END
)
"""


def to_spark(sql: str) -> str:
    """One query in Spark's SQL, with the meaning that it has in DuckDB. Raises `ValueError` for what has none."""
    tree = parse_one(sql, dialect=_DUCKDB)
    for node in reversed(list(tree.walk())):  # what stands inside first
        same = _same_meaning(node)
        if same is not node:
            node.replace(same)
    return tree.sql(dialect=_SPARK, comments=False)


def _same_meaning(node: exp.Expr) -> exp.Expr:
    match node:
        case exp.DateDiff():
            return _boundaries_crossed(node)
        case exp.ArgMax() | exp.ArgMin():
            return _of_known_values(node)
        case exp.Div():
            return exp.Div(this=_as_double(node.this), expression=_as_double(node.expression), typed=True, safe=False)
        case exp.Filter(this=exp.ArrayAgg()):
            return _null_when_empty(node)
        case exp.ArrayAgg() if not isinstance(node.parent, exp.Filter):
            raise ValueError(f"{node.sql()}: a list keeps its nulls in DuckDB, not in Spark: filter them out")
        case exp.Window(this=exp.Filter()):
            return _filtered_window(node)
        case exp.RegexpReplace():
            return _last_match_replaced(node)
        case exp.RegexpFullMatch():
            whole = exp.Literal.string(f"^(?:{node.expression.name})$")
            return exp.RegexpLike(this=node.this.copy(), expression=whole)
        case exp.PercentileDisc():
            order = exp.Order(expressions=[exp.Ordered(this=node.this.copy(), nulls_first=True)])
            return exp.WithinGroup(
                this=exp.Anonymous(this="percentile_disc", expressions=[node.expression.copy()]), expression=order
            )
        case exp.Anonymous():
            return _own_function(node)
    return node


def _own_function(node: exp.Anonymous) -> exp.Expr:
    """Functions that sqlglot does not know."""
    given = [argument.copy() for argument in node.expressions]
    match node.name.lower():
        case "strip_accents":
            letters, plain = (exp.Literal.string("".join(each)) for each in (_ACCENTED.keys(), _ACCENTED.values()))
            return exp.Anonymous(this="translate", expressions=[*given, letters, plain])
        case "to_months":
            return exp.Anonymous(this="make_ym_interval", expressions=[exp.Literal.number(0), *given])
        case "median_of_waits":
            return _median_of_waits(given[0])
    return node


def _boundaries_crossed(node: exp.DateDiff) -> exp.Expr:
    """DuckDB counts the ends of months between two days; Spark, whole months."""
    unit = node.args["unit"].name.upper()
    end, start = node.this, node.expression
    if unit == "DAY":
        return exp.Anonymous(this="datediff", expressions=[end, start])
    if unit != "MONTH":
        raise ValueError(f"date_diff in {unit} has no translation")
    text = "(year(e) - year(s)) * 12 + month(e) - month(s)"
    places = {"e": end, "s": start}
    counted: exp.Expr = exp.paren(parse_one(text, dialect=_SPARK)).transform(
        lambda part: places[part.name].copy() if isinstance(part, exp.Column) and part.name in places else part
    )
    return counted


def _of_known_values(node: exp.ArgMax | exp.ArgMin) -> exp.Expr:
    """DuckDB's `max_by` leaves rows without a value aside; Spark's gives their null."""
    is_known = exp.Is(this=node.this.copy(), expression=exp.null()).not_()
    known = exp.Case(ifs=[exp.If(this=is_known, true=node.expression.copy())])
    return type(node)(this=node.this.copy(), expression=known)


def _null_when_empty(node: exp.Expr) -> exp.Expr:
    """A list of nothing is null in DuckDB."""
    is_filled = exp.GT(this=exp.ArraySize(this=node.copy()), expression=exp.Literal.number(0))
    return exp.Case(ifs=[exp.If(this=is_filled, true=node.copy())])


def _filtered_window(node: exp.Window) -> exp.Expr:
    """Spark filters no aggregate over a window: what is filtered out becomes null, which aggregates leave aside."""
    window = node.copy()
    call, condition = window.this.this, window.this.expression.this
    counted = exp.Literal.number(1) if isinstance(call.this, exp.Star) else call.this
    call.set("this", exp.Case(ifs=[exp.If(this=condition, true=counted)]))
    window.set("this", call)
    return window


def _as_double(node: exp.Expr) -> exp.Expr:
    """The operand as DuckDB divides it."""
    return exp.cast(node.copy(), exp.DataType.Type.DOUBLE)


def _last_match_replaced(node: exp.RegexpReplace) -> exp.Expr:
    """DuckDB replaces the first match, Spark all of them: the same for a pattern that can match at the end alone."""
    pattern = node.expression
    if not (isinstance(pattern, exp.Literal) and pattern.name.endswith("$")):
        raise ValueError(f"regexp_replace of {pattern.sql()}: only a pattern that ends with $ means the same")
    return node


def _median_of_waits(waits: exp.Expr) -> exp.Expr:
    formula = parse_one(_MEDIAN_OF_WAITS, dialect=_SPARK)
    return formula.transform(
        lambda part: waits.copy() if isinstance(part, exp.Column) and part.sql() == "waits" else part
    )
