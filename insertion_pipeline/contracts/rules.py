"""A contract table as SQL: its cells, its row rules, its keys and its references, each a rule that can be broken.

Belongs here: the queries that judge a table of text, the numbered list of rules that their results point into. Does
not belong here: one cell's SQL (`cells`), running the queries and keeping accounts (`ingestion.conforming`), checking
that the contract's own SQL is harmless (`expressions`).
"""

from __future__ import annotations

import functools
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from insertion_pipeline.contracts.cells import (
    Cell,
    Flaw,
    cell_of,
    cleaned_sql,
    flaw_sql,
    plain_sql,
    quoted,
    repaired_sql,
    text_sql,
    typed_sql,
)
from insertion_pipeline.contracts.messages import Wording, wording_of_flaw, wording_of_rule
from insertion_pipeline.contracts.storage import sql_type
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

    def query(
        self,
        relation: str,
        present: Collection[str],
        month: Month | Literal["stated"] | None,
        month_expression: str | None,
    ) -> str:
        """SQL that judges `relation`, whose columns of text are `present`, in one pass and without sorting.

        With `stated` for a month, `relation` has its bounds too, as columns of `MONTH_BOUNDS`: the text of the query
        is then the same for every month.

        One row per row of `relation`, in its order: the typed fields (null where the cell has a flaw), `_line`,
        `_member`, `_units`, `_month` (from `month_expression`, over the typed fields), `_is_rejected`, and, for rows
        with anything to say, `_flaws`: a list of {subject, flaw, value}, value being the text as read.
        """
        steps = [_Steps(cell, subject) for subject, cell in enumerate(self.cells) if cell.field.name in present]
        absent = [
            f"CAST(NULL AS {sql_type(cell.field)}) AS {quoted(cell.field.name)}"
            for cell in self.cells
            if cell.field.name not in present
        ]
        judged = [step for step in steps if step.is_judged]
        broken = [f"({rule.expression}) IS FALSE AS {_broken(rule)}" for rule in self.rules]
        is_rejected = [test for step in judged for test in step.blocking_tests()]
        is_rejected += [_broken(rule) for rule in self.rules if rule.severity == "blocking"]
        is_flawed = [f"{step.flaw} <> 0" for step in judged] + [_broken(rule) for rule in self.rules]
        entries = [step.entry for step in judged] + [
            f"{{'subject': {subject}, 'flaw': CAST({_broken(rule)} AS UTINYINT), 'value': NULL::VARCHAR}}"
            for subject, rule in enumerate(self.rules, start=len(self.cells))
        ]
        raw_columns = "".join(f", {quoted(step.name)} AS {step.raw}" for step in judged)
        flaws = f"list_filter([{', '.join(entries)}], lambda entry: entry.flaw <> 0)"
        return f"""
WITH cleaned AS (
    SELECT _line, _member, _units{_also(MONTH_BOUNDS if month == "stated" else ())}
        {_also(step.clean for step in steps)}{raw_columns}
    FROM {relation}
),
tested AS (SELECT *{_also(step.test for step in steps if step.plain)} FROM cleaned),
texts AS (SELECT *{_also(step.mend for step in steps if step.cell.changes_text)} FROM tested),
typed AS (SELECT *{_also(step.parse for step in judged)} FROM texts),
repaired AS (SELECT *{_also(step.repair for step in judged if step.repair)} FROM typed),
judged AS (SELECT *{_also(step.judge for step in judged)} FROM repaired),
valued AS (
    SELECT _line, _member, _units{_also(step.settle for step in steps)}{_also(absent)}{_also(_month_bounds(month))}
        {"".join(f", {step.raw}, {step.flaw}" for step in judged)}
    FROM judged
),
ruled AS (SELECT *{_also(broken)} FROM valued)
SELECT {", ".join(quoted(cell.field.name) for cell in self.cells)}, _line, _member, _units,
    {month_expression or "CAST(NULL AS VARCHAR)"} AS _month,
    {" OR ".join(is_rejected) or "false"} AS _is_rejected,
    {f"CASE WHEN {' OR '.join(is_flawed)} THEN {flaws} END" if is_flawed else NO_FLAWS} AS _flaws
FROM ruled
"""


@dataclass(frozen=True)
class _Steps:
    """The names and definitions of one cell's columns, step by step. A step that changes nothing adds no column."""

    cell: Cell
    subject: int

    @property
    def name(self) -> str:
        return self.cell.field.name

    @property
    def raw(self) -> str:
        return quoted(f"{self.name}.raw")

    @property
    def text(self) -> str:
        return quoted(f"{self.name}.text") if self.cell.changes_text else quoted(self.name)

    @property
    def typed(self) -> str:
        return quoted(f"{self.name}.typed")

    @property
    def flaw(self) -> str:
        return quoted(f"{self.name}.flaw")

    @property
    def is_judged(self) -> bool:
        return bool(self.cell.possible_flaws())

    @property
    def clean(self) -> str:
        return f"{cleaned_sql(self.cell)} AS {quoted(self.name)}"

    @property
    def plain(self) -> str | None:
        return quoted(f"{self.name}.plain") if self.cell.tests_plainness else None

    @property
    def test(self) -> str:
        return f"{plain_sql(self.cell, quoted(self.name))} AS {self.plain}"

    @property
    def mend(self) -> str:
        return f"{text_sql(self.cell, quoted(self.name), self.plain)} AS {self.text}"

    @property
    def parse(self) -> str:
        return f"{typed_sql(self.cell, self.text, self.plain)} AS {self.typed}"

    @property
    def repair(self) -> str | None:
        repaired = repaired_sql(self.cell, self.text, self.typed)
        return None if repaired is None else f"{repaired} AS {quoted(self.name + '.repaired')}"

    @property
    def value(self) -> str:
        return quoted(f"{self.name}.repaired") if self.repair else self.typed

    @property
    def judge(self) -> str:
        flaw = flaw_sql(self.cell, quoted(self.name), self.text, self.typed, self.value, self.plain)
        return f"{flaw} AS {self.flaw}"

    @property
    def settle(self) -> str:
        """The final value: none where the cell has a flaw that no repair mended."""
        if not self.is_judged:
            return f"{self.text} AS {quoted(self.name)}"
        is_good = f"{self.flaw} NOT BETWEEN 1 AND {Flaw.EXCEL_SERIAL - 1}"
        return f"CASE WHEN {is_good} THEN {self.value} END AS {quoted(self.name)}"

    @property
    def entry(self) -> str:
        return f"{{'subject': {self.subject}, 'flaw': {self.flaw}, 'value': {self.raw}}}"

    def blocking_tests(self) -> Iterator[str]:
        flaws = [str(int(flaw)) for flaw in self.cell.possible_flaws() if self.cell.severity_of(flaw) == "blocking"]
        if flaws:
            yield f"{self.flaw} IN ({', '.join(flaws)})"


#: What row rules may compare dates with: the first and the last day of the delivered month.
MONTH_BOUNDS = ("_month_start", "_month_end")
#: The flaw of a row rule: it does not hold.
BROKEN = 1
NO_FLAWS = "CAST(NULL AS STRUCT(subject INTEGER, flaw UTINYINT, value VARCHAR)[])"


def _broken(rule: Rule) -> str:
    return quoted(f"{rule.code}.broken")


def _also(columns: Iterable[str]) -> str:
    return "".join(f", {column}" for column in columns)


def table_rules(table: ContractTable, registry: Registry, month: Month | None) -> TableRules:
    """The rules of `table` for `month`: which codes of dated lists hold. Null month: every code that ever held."""
    missing = table.schema_.missingValues
    cells = tuple(cell_of(field, missing, registry, month) for field in table.stored_fields)
    return TableRules(table, cells, table.insertion.rules)


def _month_bounds(month: Month | Literal["stated"] | None) -> tuple[str, ...]:
    """What row rules may compare dates with: the delivered month's first and last day, null when none is known."""
    if month == "stated":
        return MONTH_BOUNDS
    if month is None:
        return "CAST(NULL AS DATE) AS _month_start", "CAST(NULL AS DATE) AS _month_end"
    return f"DATE '{month.first_day}' AS _month_start", f"DATE '{month.last_day}' AS _month_end"


def duplicates_query(relation: str, key: Sequence[str], columns: Sequence[str]) -> str:
    """SQL giving `_member` and `_line` of each row of `relation` but one of those whose keys are equal, not all null.

    The row that stays is the least by content (`columns`), so that the order of rows in a file never chooses; between
    rows of equal content the choice makes no difference.
    """
    names = [quoted(name) for name in key]
    fingerprint = f"hash({', '.join(names)})"
    some = " OR ".join(f"{name} IS NOT NULL" for name in names)
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
