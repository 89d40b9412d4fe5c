"""A contract table as SQL: its cells, its row rules, its keys and its references, each a rule that can be broken.

Belongs here: the queries that judge a table of text, the numbered list of rules that their results point into. Does
not belong here: one cell's SQL (`cells`), running the queries and keeping accounts (`ingestion.conforming`), checking
that the contract's own SQL is harmless (`expressions`).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

from insertion_pipeline.contracts.cells import (
    Cell,
    Flaw,
    cell_of,
    cleaned_sql,
    flaw_sql,
    quoted,
    text_sql,
    typed_sql,
)
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
    """Everything that a row of one table must be, for one month.

    `cells` are the stored fields in the contract's order; `verdicts[i]` is what the number `i` in a query's list of
    flaws means.
    """

    table: ContractTable
    cells: tuple[Cell, ...]
    rules: tuple[Rule, ...]

    @functools.cached_property
    def verdicts(self) -> tuple[Verdict, ...]:
        return tuple(verdict for _, _, verdict in self._numbered)

    @functools.cached_property
    def _numbered(self) -> tuple[tuple[str, Flaw | None, Verdict], ...]:
        """(field or rule, flaw or none, verdict), in the order of their numbers."""
        numbered: list[tuple[str, Flaw | None, Verdict]] = []
        for cell in self.cells:
            for flaw in cell.possible_flaws():
                verdict = Verdict(
                    flaw.finding_code, cell.severity_of(flaw), cell.field.name, flaw.repair, wording_of_flaw(cell, flaw)
                )
                numbered.append((cell.field.name, flaw, verdict))
        for rule in self.rules:
            verdict = Verdict("rule-error", rule.severity, ", ".join(rule.fields), rule.code, wording_of_rule(rule))
            numbered.append((rule.code, None, verdict))
        return tuple(numbered)

    def query(self, relation: str, present: Sequence[str], month: Month | None, month_expression: str | None) -> str:
        """SQL that judges `relation` in one pass, without sorting.

        One row per row of `relation`, in its order: the typed fields (null where the cell has a flaw), `_line`,
        `_member`, `_units`, `_month` (from `month_expression`, over the typed fields), `_is_rejected`, and, for rows
        with anything to say, `_flaws`: a list of {verdict: index into `verdicts`, value: the text as read}.
        """
        cells = {cell.field.name: cell for cell in self.cells}
        names = list(cells)
        raw = {name: quoted(name) if name in present else "CAST(NULL AS VARCHAR)" for name in names}
        cleaned = [
            f"{cleaned_sql(cells[name]) if name in present else raw[name]} AS {quoted(name)}, "
            f"{raw[name]} AS {quoted(name + '.raw')}"
            for name in names
        ]
        texts = [f"{text_sql(cells[name], quoted(name))} AS {quoted(name + '.text')}" for name in names]
        typed = [f"{typed_sql(cells[name], quoted(name + '.text'))} AS {quoted(name + '.typed')}" for name in names]
        flaws = [
            flaw_sql(cells[name], quoted(name), quoted(name + ".text"), quoted(name + ".typed"))
            + f" AS {quoted(name + '.flaw')}"
            for name in names
        ]
        first_repair = int(Flaw.EXCEL_SERIAL)
        values = [
            f"CASE WHEN {quoted(name + '.flaw')} = 0 OR {quoted(name + '.flaw')} >= {first_repair}"
            f" THEN {quoted(name + '.typed')} END AS {quoted(name)}"
            for name in names
        ]
        kept = [f"{quoted(name + '.raw')}, {quoted(name + '.flaw')}" for name in names]
        broken = [f"({rule.expression}) IS FALSE AS {quoted(rule.code + '.broken')}" for rule in self.rules]
        bounds = _month_bounds(month)
        tests = self._tests()
        is_rejected = " OR ".join(test for test, _, severity in tests if severity == "blocking") or "false"
        any_flaw = " OR ".join(
            [f"{quoted(name + '.flaw')} <> 0" for name in names]
            + [quoted(rule.code + ".broken") for rule in self.rules]
        )
        listed = ", ".join(f"CASE WHEN {test} THEN {entry} END" for test, entry, _ in tests)
        outputs = ", ".join(quoted(name) for name in names)
        return f"""
WITH cleaned AS (SELECT _line, _member, _units, {", ".join(cleaned)} FROM {relation}),
texts AS (SELECT *, {", ".join(texts)} FROM cleaned),
typed AS (SELECT *, {", ".join(typed)} FROM texts),
judged AS (SELECT *, {", ".join(flaws)} FROM typed),
valued AS (SELECT _line, _member, _units, {", ".join(values)}, {", ".join(kept)}, {bounds} FROM judged),
ruled AS (SELECT *{"".join(", " + test for test in broken)} FROM valued)
SELECT {outputs}, _line, _member, _units, {month_expression or "CAST(NULL AS VARCHAR)"} AS _month,
    {is_rejected} AS _is_rejected,
    CASE WHEN {any_flaw} THEN list_filter([{listed}], lambda flaw: flaw IS NOT NULL) END AS _flaws
FROM ruled
"""

    def _tests(self) -> list[tuple[str, str, Severity]]:
        """(test that the verdict was found, entry for the list of flaws, severity), in the order of their numbers."""
        tests: list[tuple[str, str, Severity]] = []
        for number, (name, flaw, verdict) in enumerate(self._numbered):
            if flaw is None:
                test, value = quoted(name + ".broken"), "CAST(NULL AS VARCHAR)"
            else:
                test, value = f"{quoted(name + '.flaw')} = {int(flaw)}", quoted(name + ".raw")
            tests.append((test, f"{{'verdict': {number}, 'value': {value}}}", verdict.severity))
        return tests


def table_rules(table: ContractTable, registry: Registry, month: Month | None) -> TableRules:
    """The rules of `table` for `month`: which codes of dated lists hold. Null month: every code that ever held."""
    missing = table.schema_.missingValues
    cells = tuple(cell_of(field, missing, registry, month) for field in table.stored_fields)
    return TableRules(table, cells, table.insertion.rules)


def _month_bounds(month: Month | None) -> str:
    """What row rules may compare dates with: the delivered month's first and last day, null when none is known."""
    if month is None:
        return "CAST(NULL AS DATE) AS _month_start, CAST(NULL AS DATE) AS _month_end"
    return f"DATE '{month.first_day}' AS _month_start, DATE '{month.last_day}' AS _month_end"


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
