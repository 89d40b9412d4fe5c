"""A contract table as SQL: its cells, its row rules, its keys and its references, each a rule that can be broken.

Belongs here: the queries over rows of typed values, the numbered list of everything that can be wrong in a row. Does
not belong here: one cell's SQL (`cells`), running the queries (`ingestion.sifting`, `ingestion.conforming`), checking
that the contract's own SQL is harmless (`expressions`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from insertion_pipeline.contracts.cells import Cell, cell_of, quoted
from insertion_pipeline.contracts.messages import Wording, wording_of_flaw, wording_of_rule
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Registry, Rule, Severity


@dataclass(frozen=True)
class Verdict:
    """One thing that may be found wrong in a row: what a finding says, apart from where and of which value."""

    code: str
    severity: Severity
    field: str
    rule: str
    wording: Wording


@dataclass(frozen=True)
class TableRules:
    """Everything that a row of one table must be, for one month; `cells` are the stored fields, in contract order."""

    table: ContractTable
    cells: tuple[Cell, ...]
    rules: tuple[Rule, ...]

    @functools.cached_property
    def verdicts(self) -> Mapping[tuple[int, int], Verdict]:
        """What an entry of `_flaws` means: (subject, flaw) → verdict. Subjects are the cells, then the row rules."""
        found: dict[tuple[int, int], Verdict] = {}
        for subject, cell in enumerate(self.cells):
            for flaw in cell.possible_flaws():
                wording, name = wording_of_flaw(cell, flaw), cell.field.name
                found[subject, flaw] = Verdict(flaw.finding_code, cell.severity_of(flaw), name, flaw.repair, wording)
        for subject, rule in enumerate(self.rules, start=len(self.cells)):
            fields = ", ".join(rule.fields)
            found[subject, BROKEN] = Verdict("rule-error", rule.severity, fields, rule.code, wording_of_rule(rule))
        return found

    @staticmethod
    def row_query(relation: str, rules: Sequence[Rule], month_expression: str | None) -> str:
        """SQL over typed rows, in their order: `_month` from `month_expression`, and which of `rules` each row breaks.

        One BOOLEAN column per rule, named `broken_0` and so on. A rule that compares with nothing (null) holds.
        `relation` has the columns that the expressions name, and `MONTH_BOUNDS`.
        """
        broken = [f"({rule.expression}) IS FALSE AS broken_{rank}" for rank, rule in enumerate(rules)]
        month = [] if month_expression is None else [f"{month_expression} AS _month"]
        return f"SELECT {', '.join([*month, *broken])} FROM {relation}"


#: What row rules may compare dates with: the first and the last day of the delivered month.
MONTH_BOUNDS = ("_month_start", "_month_end")
#: The flaw of a row rule: it does not hold.
BROKEN = 1


def table_rules(table: ContractTable, registry: Registry, month: Month | None) -> TableRules:
    """The rules of `table` for `month`: which codes of dated lists hold. Null month: every code that ever held."""
    missing = table.schema_.missingValues
    cells = tuple(cell_of(field, missing, registry, month) for field in table.stored_fields)
    return TableRules(table, cells, table.insertion.rules)


def repeats_query(relation: str, key: Sequence[str]) -> str:
    """SQL giving one row when two rows of `relation`, which has the columns of the key, may have the same key.

    What few files have is looked for in the key alone, before all columns are read to choose which row stays.
    """
    fingerprint, some = _key_sql(key)
    return f"SELECT {fingerprint} FROM {relation} WHERE {some} GROUP BY ALL HAVING count(*) > 1 LIMIT 1"


def duplicates_query(relation: str, key: Sequence[str], columns: Sequence[str]) -> str:
    """SQL giving `_member` and `_line` of each row of `relation` but one of those whose keys are equal, not all null.

    The row that stays is the least by content (`columns`), so that the order of rows in a file never chooses; between
    rows of equal content the choice makes no difference.
    """
    names = [quoted(name) for name in key]
    fingerprint, some = _key_sql(key)
    content = ", ".join([*(quoted(name) for name in columns), "_member", "_line"])
    return f"""
WITH keyed AS (SELECT {fingerprint} AS fingerprint FROM {relation} WHERE {some}),
suspect AS (SELECT fingerprint FROM keyed GROUP BY fingerprint HAVING count(*) > 1),
candidates AS (
    SELECT _member, _line, row_number() OVER (PARTITION BY {", ".join(names)} ORDER BY {content}) AS rank
    FROM {relation} WHERE ({some}) AND {fingerprint} IN (FROM suspect)
)
SELECT _member, _line FROM candidates WHERE rank > 1
"""


def _key_sql(key: Sequence[str]) -> tuple[str, str]:
    """The fingerprint of a row's key, and whether any of it is filled."""
    names = [quoted(name) for name in key]
    return f"hash({', '.join(names)})", " OR ".join(f"{name} IS NOT NULL" for name in names)


def orphans_query(relation: str, fields: Sequence[str], referenced: str, keys: Sequence[str]) -> str:
    """SQL giving `_member`, `_line` and the first key field as text of each row that refers to nothing."""
    matched = " AND ".join(
        f"child.{quoted(field)} = parent.{quoted(key)}" for field, key in zip(fields, keys, strict=True)
    )
    filled = " AND ".join(f"child.{quoted(field)} IS NOT NULL" for field in fields)
    return f"""
SELECT _member, _line, CAST(child.{quoted(fields[0])} AS VARCHAR) AS value
FROM {relation} AS child WHERE {filled} AND NOT EXISTS (FROM {referenced} AS parent WHERE {matched})
"""
