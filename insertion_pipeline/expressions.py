"""The SQL that declarations may hold: one scalar expression over the columns of its own row.

Belongs here: refusing everything else before it reaches an engine. Does not belong here: running it, knowing which
columns there are.

A contract or a catalogue is data that a correspondent may write: its expressions cannot read a table, a file, the
clock or the environment, nor look at another row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sqlglot.expressions import Expr

#: What an expression may call, as sqlglot names it; `SIRET_HOLDS` is the contracts' own.
_FUNCTIONS = frozenset(
    {
        "ABS", "AND", "CASE", "CAST", "CEIL", "COALESCE", "CONCAT", "CONCAT_WS", "CONTAINS", "DATEDIFF", "DATE_DIFF",
        "DAY", "ENDS_WITH", "FLOOR", "GREATEST", "IF", "LEAST", "LEFT", "LENGTH", "LOWER", "LPAD", "MONTH", "NULLIF",
        "OR", "PAD", "PRINTF", "REGEXP_EXTRACT", "REGEXP_FULL_MATCH", "REGEXP_LIKE", "REPLACE", "RIGHT", "ROUND",
        "SIRET_HOLDS", "STARTS_WITH", "STR_TO_TIME", "SUBSTRING", "TIME_TO_STR", "TRIM", "TRY_CAST", "UPPER", "XOR",
        "YEAR",
    }
)  # fmt: skip


class ForbiddenExpression(ValueError):
    """The text is not one scalar expression over its own row; the message says what it holds instead."""


@functools.lru_cache(maxsize=1024)
def columns_of(expression: str) -> frozenset[str]:
    """The columns that a harmless expression reads. Raises `ForbiddenExpression` for any other text."""
    import sqlglot  # half a second: only who loads declarations pays for it
    from sqlglot import exp

    try:
        statements = sqlglot.parse(expression, dialect="duckdb")
    except sqlglot.ParseError as error:
        raise ForbiddenExpression("not a SQL expression") from error
    tree = statements[0] if len(statements) == 1 else None
    if tree is None or not isinstance(tree, exp.Expression):
        raise ForbiddenExpression("not one expression")
    if not isinstance(tree, exp.Condition | exp.Func | exp.Between | exp.DPipe):
        raise ForbiddenExpression(f"{tree.key.upper()} is not an expression over a row")
    refuse_beyond_the_row(tree.walk())
    return frozenset(column.name for column in tree.find_all(exp.Column))


def refuse_beyond_the_row(nodes: Iterable[Expr]) -> None:
    """Raise `ForbiddenExpression` for the first node that reads anything beside the columns of its own row."""
    from sqlglot import exp

    for node in nodes:
        if isinstance(node, exp.Query | exp.Exists | exp.Table):
            raise ForbiddenExpression("it reads another table")
        if isinstance(node, exp.Window | exp.AggFunc):
            raise ForbiddenExpression("it reads other rows")
        if isinstance(node, exp.Star | exp.Placeholder | exp.Parameter):
            raise ForbiddenExpression(f"{node.sql(dialect='duckdb')} is not a column")
        if isinstance(node, exp.Column) and node.table:
            raise ForbiddenExpression(f"{node.sql(dialect='duckdb')} is qualified: columns are those of the row")
        if isinstance(node, exp.Func):
            name = (node.name if isinstance(node, exp.Anonymous) else node.sql_name()).upper()
            if name not in _FUNCTIONS:
                raise ForbiddenExpression(f"{name} may not be called")
