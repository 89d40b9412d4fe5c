"""From tables of text to typed rows and findings: what is accepted, what is rejected, and why.

Belongs here: judging a reading by its contract, the account of every unit, the months that the content speaks of, the
verdict. Does not belong here: the rules themselves (`contracts`), cutting files (`reading`), who may deliver what
(`judging`).

DuckDB decides, in one pass over each table and without a sort; rows keep the order of the file. A cell that warns
loses its value and keeps its row; a cell, a rule or a month that blocks rejects the row, kept as it was read.
"""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.contracts.findings import FINDINGS_SCHEMA, Finding, findings_table
from insertion_pipeline.contracts.rules import MONTH_BOUNDS, TableRules, duplicates_query, orphans_query, table_rules
from insertion_pipeline.contracts.storage import accepted_schema
from insertion_pipeline.expressions import columns_of
from insertion_pipeline.ingestion.accounts import Account, AccountsDoNotBalance
from insertion_pipeline.ingestion.extracts import label
from insertion_pipeline.ingestion.reading import Member, Reading
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import ContractTable, Registry, Source

#: A cumulative file dropped in a month may already hold the first rows of the next one.
_MONTHS_AHEAD = 1
#: A row whose month nothing in it states is of the delivered month, which the statement is given.
_DELIVERED_MONTH = "strftime(_month_start, '%Y-%m')"
#: How much of a line that could not be cut is shown to the depositor.
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Conformed:
    """A reading judged.

    `accepted`: per contract table found, the columns of `accepted_schema`, one row per accepted row, in file order.
    `rejected`: per contract table found, the text as read, then `_line` and `_member`.
    `findings`: rows of `FINDINGS_SCHEMA`: files and headers first, then in the order of members and lines.
    `members`, `account`: where every unit of the files went, balanced.
    `month`: the delivered month; `span`: the months that the delivery covers; null when nothing says them.
    `territories`: what the content itself says of the territory it is about, as `FR-DEP-52`.
    """

    accepted: Mapping[str, pa.Table]
    rejected: Mapping[str, pa.Table]
    findings: pa.Table
    members: tuple[Member, ...]
    month: Month | None
    span: Span | None
    territories: frozenset[str]

    @property
    def account(self) -> Account:
        return sum((member.account for member in self.members), Account()).checked()


@dataclass
class _Table:
    """One table at work: its rows as read and as judged, side by side in the same order."""

    contract: ContractTable
    rules: TableRules
    read: pa.Table
    judged: pa.Table
    is_rejected: pa.ChunkedArray

    @property
    def survivors(self) -> pa.Table:
        """The rows accepted so far, typed."""
        schema = accepted_schema(self.contract)
        rows = self.judged.select(schema.names)
        return (rows.filter(pc.invert(self.is_rejected)) if pc.any(self.is_rejected).as_py() else rows).cast(schema)

    def reject(self, mask: pa.ChunkedArray | pa.Array) -> None:
        """Reject the rows of `mask` too."""
        self.is_rejected = pc.or_(self.is_rejected, mask)


def conform(
    reading: Reading,
    source: Source,
    month: Month | None,
    registry: Registry,
    lake: Lake,
    *,
    statements: Statements | None = None,
) -> Conformed:
    """The reading judged by the contract of `source` in force in `month`.

    `month` may be null for a source whose content states it. `statements`: those of the deliveries before this one,
    which then need not be planned again. Rows of a month before the first contract are judged by that one: whoever
    asked refuses the month. Raises `AccountsDoNotBalance` when the reading's rows and accounts disagree.
    """
    with contextlib.ExitStack() as stack:
        at_work = stack.enter_context((statements or stack.enter_context(Statements.opened(lake))).at_work())
        return _conformed(at_work, reading, source, month, registry)


def _conformed(
    statements: Statements, reading: Reading, source: Source, month: Month | None, registry: Registry
) -> Conformed:
    findings: list[pa.Table] = [findings_table(reading.findings)]
    stated = month or reading.stated_month or _month_of_content(statements, reading, source, registry)
    if stated is None:
        findings.append(findings_table([_month_is_missing(source)]))
    contract = source.version_for(max(stated, source.first_month) if stated else source.latest_month)
    tables = {
        table.name: _judged(statements, table, reading.tables[table.name], source, stated, registry)
        for table in contract.resources
        if table.name in reading.tables
    }
    of_rows = [_unreadable(reading, source)]
    for table in tables.values():
        of_rows.append(_cell_findings(table))
        about_months, about_rows = _wrong_months(table, source, stated)
        findings.append(about_months)
        of_rows.append(about_rows)
    of_rows.extend([_duplicates(statements, table) for table in tables.values()])
    survivors = {name: table.survivors for name, table in tables.items()}
    for table in tables.values():
        of_rows.extend(_orphans(statements, table, survivors))
    ordered = _in_file_order(statements, [*of_rows, _oddities(reading)])
    return Conformed(
        accepted=survivors,
        rejected={name: _as_read(table) for name, table in tables.items()},
        findings=pa.concat_tables([*findings, ordered]),
        members=_accounts(reading, tables),
        month=stated,
        span=_span(source, stated, survivors),
        territories=_territories(statements, source, survivors),
    )


def verdict_of(conformed: Conformed, source: Source) -> int:
    """0 nothing found; 1 warnings or repairs only; 2 some rows rejected; 3 refused, or more rejected than allowed."""
    findings, account = conformed.findings, conformed.account
    refuses = pc.and_(pc.equal(findings["severity"], "blocking"), pc.is_null(findings["line"]))
    if pc.any(refuses).as_py():
        return 3
    if account.rejected > source.insertion.max_rejected_share * (account.accepted + account.rejected):
        return 3
    if account.rejected:
        return 2
    return 1 if findings.num_rows else 0


# -- one table ---------------------------------------------------------------------------------------------------------


def _judged(
    statements: Statements,
    contract: ContractTable,
    read: pa.Table,
    source: Source,
    month: Month | None,
    registry: Registry,
) -> _Table:
    rules = table_rules(contract, registry, month)
    otherwise = _DELIVERED_MONTH if source.insertion.extent == "month" else None
    judged = _in_order_of(
        read, _answer(statements, rules, read, month, _month_expression(source, contract) or otherwise)
    )
    return _Table(contract, rules, read, judged, judged["_is_rejected"])


def _answer(
    statements: Statements, rules: TableRules, read: pa.Table, month: Month | None, month_expression: str | None
) -> pa.Table:
    """What the rules say of each row, in no order."""
    present = read.column_names
    for name, day in zip(MONTH_BOUNDS, (month.first_day, month.last_day) if month else (None, None), strict=True):
        read = read.append_column(name, pa.repeat(pa.scalar(day, pa.date32()), read.num_rows))
    return statements.run(rules.query(statements.place("reading", read), present, "stated", month_expression))


def _in_order_of(read: pa.Table, judged: pa.Table) -> pa.Table:
    """`judged` with its rows in the order of `read`: threads hand in whole runs of rows, not always in order.

    Runs are put back by reference; nothing is sorted or copied. Raises `AccountsDoNotBalance` when a row is missing.
    """
    keys = ["_member", "_line"]
    if judged.select(keys).equals(read.select(keys)):
        return judged
    rank = _places(read).searchsorted(_places(judged))
    breaks = ((rank[1:] - rank[:-1]) != 1).nonzero()[0] + 1
    edges = [0, *breaks.tolist(), judged.num_rows]
    runs = sorted(itertools.pairwise(edges), key=lambda run: rank[run[0]])
    ordered = pa.concat_tables([judged.slice(begin, end - begin) for begin, end in runs])
    if not ordered.select(keys).equals(read.select(keys)):
        raise AccountsDoNotBalance("rows were lost, or not numbered in order, while they were judged")
    return ordered


def _places(table: pa.Table) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Where each row stands in the delivery, as one number that ascends with member and line."""
    member, line = (table[name].combine_chunks().to_numpy().astype(np.int64) for name in ("_member", "_line"))
    places: np.ndarray[Any, np.dtype[np.int64]] = (member << 40) | line
    return places


def _month_expression(source: Source, contract: ContractTable) -> str | None:
    """The SQL of a row's own month, when the contract says it for this table."""
    period = source.insertion.period
    if period.month_expression is None or period.table not in (None, contract.name):
        return None
    words = set(re.findall(r"[a-z_][a-z0-9_]*", period.month_expression))
    return period.month_expression if words & {field.name for field in contract.stored_fields} else None


def _month_of_content(statements: Statements, reading: Reading, source: Source, registry: Registry) -> Month | None:
    """The one month that the rows speak of, when the contract says that the content states it and it does."""
    if source.insertion.period.stated_by != "content":
        return None
    spoken: set[str] = set()
    for contract in source.version_for(source.latest_month).resources:
        expression = _month_expression(source, contract)
        if contract.name not in reading.tables or expression is None:
            continue
        judged = _answer(
            statements, table_rules(contract, registry, None), reading.tables[contract.name], None, expression
        )
        spoken |= {text for text in pc.unique(judged["_month"]).to_pylist() if text}
    months = [Month.parse(text) for text in sorted(spoken)]
    return months[0] if len(months) == 1 else None


def _wrong_months(table: _Table, source: Source, month: Month | None) -> tuple[pa.Table, pa.Table]:
    """Rows of another month than the delivered one: (a finding about the file, findings about rows).

    A file in which no row is of the month is refused whole, by one finding; a cumulative file may hold any past month.
    """
    nothing = FINDINGS_SCHEMA.empty_table()
    expression = _month_expression(source, table.contract)
    if month is None or expression is None:
        return nothing, nothing
    months = table.judged["_month"]
    if source.insertion.extent == "month":
        is_wrong = pc.fill_null(pc.not_equal(months, str(month)), False)
        expected = f"`{month}`"
    else:
        is_wrong = pc.fill_null(pc.greater(months, str(month.plus(_MONTHS_AHEAD))), False)
        expected = f"au plus tard `{month.plus(_MONTHS_AHEAD)}`"
    known = pc.sum(pc.is_valid(months)).as_py() or 0
    wrong = pc.sum(is_wrong).as_py() or 0
    if not wrong:
        return nothing, nothing
    table.reject(is_wrong)
    finding = Finding(
        "period-mismatch",
        "blocking",
        "La ligne porte un autre mois que celui du dépôt.",
        expected,
        "Retirez la ligne, ou déposez-la avec les autres lignes de son mois.",
        table=table.contract.name,
        field=", ".join(sorted(columns_of(expression))),
    )
    if wrong == known:
        whole = replace(
            finding,
            message=f"Le fichier ne parle pas de {month} : aucune de ses lignes n'est de ce mois.",
            remedy="Vérifiez le mois annoncé, ou choisissez le bon fichier.",
            count=wrong,
        )
        return findings_table([whole]), nothing
    rows = table.judged.select(["_member", "_line", "_month"]).filter(is_wrong)
    return nothing, _repeated(finding, table.contract, rows, value="_month")


def _cell_findings(table: _Table) -> pa.Table:
    """One finding per flaw of a cell and per broken row rule."""
    flagged = table.judged.select(["_member", "_line", "_flaws"]).filter(pc.is_valid(table.judged["_flaws"]))
    if not flagged.num_rows:
        return FINDINGS_SCHEMA.empty_table()
    flagged = flagged.combine_chunks()
    flaws = pc.list_flatten(flagged["_flaws"]).combine_chunks()
    rows = flagged.select(["_member", "_line"]).take(pc.list_parent_indices(flagged["_flaws"]))
    subject, flaw = flaws.field("subject"), flaws.field("flaw")
    said = _findings_of_verdicts(table).take(
        pc.index_in(_verdict_key(subject, flaw), value_set=_verdict_keys(table.rules))
    )
    columns = {"file": _labels(table.contract, rows["_member"]), "line": rows["_line"], "value": flaws.field("value")}
    return _with_columns(said, columns)


def _verdict_key(subject: pa.Array, flaw: pa.Array) -> pa.Array:
    """Subject and flaw as one number."""
    return pc.add(pc.multiply(subject.cast(pa.int32()), pa.scalar(256, pa.int32())), flaw.cast(pa.int32()))


def _verdict_keys(rules: TableRules) -> pa.Array:
    return pa.array([256 * subject + flaw for subject, flaw in rules.verdicts], pa.int32())


def _findings_of_verdicts(table: _Table) -> pa.Table:
    """One row per verdict that the rules can give: what its findings say, but for where and of which value."""
    return findings_table(
        Finding(
            verdict.code,
            verdict.severity,
            verdict.wording.message,
            verdict.wording.expected,
            verdict.wording.remedy,
            table=table.contract.name,
            field=verdict.field,
            rule=verdict.rule,
        )
        for verdict in table.rules.verdicts.values()
    )


def _labels(contract: ContractTable, members: pa.ChunkedArray) -> pa.ChunkedArray:
    """How findings call the member of each row."""
    ranks = pc.unique(members)
    names = pa.array([label(rank, contract) for rank in ranks.to_pylist()], pa.string())
    return names.take(pc.index_in(members, value_set=ranks).combine_chunks())


def _duplicates(statements: Statements, table: _Table) -> pa.Table:
    """Rows whose key another row has. They are rejected only where the contract says so."""
    keys = [table.contract.schema_.primaryKey] if table.contract.schema_.primaryKey else []
    keys += [(field.name,) for field in table.contract.stored_fields if field.constraints.unique]
    severity, found = table.contract.insertion.unique_severity, [FINDINGS_SCHEMA.empty_table()]
    for key in keys:
        held = [name for name in key if name in table.read.column_names]
        if not held:
            continue
        columns = [field.name for field in table.contract.stored_fields]
        survivors = statements.place("survivors", table.survivors)
        rows = statements.run(duplicates_query(survivors, key, columns))
        if not rows.num_rows:
            continue
        labels = ", ".join(f"« {table.contract.field(name).label} »" for name in held)
        finding = Finding(
            "duplicate-key",
            severity,
            f"Une autre ligne du fichier a les mêmes valeurs pour {labels}.",
            "une seule ligne par personne ou par objet",
            "Supprimez la ligne en trop, ou réunissez les deux lignes en une.",
            table=table.contract.name,
            field=", ".join(key),
        )
        found.append(_repeated(finding, table.contract, rows))
        if severity == "blocking":
            table.reject(_mask_of(table, rows))
    return pa.concat_tables(found)


def _orphans(statements: Statements, table: _Table, survivors: Mapping[str, pa.Table]) -> Iterator[pa.Table]:
    """Accepted rows that refer to a row that is not there. They stay: the reference may come in a later delivery."""
    for key in table.contract.schema_.foreignKeys:
        referenced = survivors.get(key.reference.resource)
        if referenced is None or not set(key.fields) <= set(table.read.column_names):
            continue
        children = statements.place("child_rows", survivors[table.contract.name])
        parents = statements.place("parent_rows", referenced)
        rows = statements.run(orphans_query(children, key.fields, parents, key.reference.fields))
        if not rows.num_rows:
            continue
        labels = ", ".join(f"« {table.contract.field(name).label} »" for name in key.fields)
        finding = Finding(
            "reference-error",
            "warning",
            f"{labels} renvoie à une ligne absente de la table « {key.reference.resource} ».",
            f"une valeur présente dans « {key.reference.resource} »",
            "Vérifiez que le lot est complet, et que l'identifiant est le bon.",
            table=table.contract.name,
            field=", ".join(key.fields),
        )
        yield _repeated(finding, table.contract, rows, value="value")


def _mask_of(table: _Table, rows: pa.Table) -> pa.ChunkedArray:
    """Which rows of the table stand among `rows` (`_member`, `_line`)."""
    every, some = _places(table.judged), _places(rows)
    return pa.chunked_array([pa.array(np.isin(every, some))])


# -- findings ----------------------------------------------------------------------------------------------------------


def _repeated(finding: Finding, contract: ContractTable, rows: pa.Table, *, value: str | None = None) -> pa.Table:
    """The same finding for each row of `rows` (`_member`, `_line`, and the column `value` when it is named)."""
    repeated = findings_table([finding]).take(pa.repeat(pa.scalar(0, pa.int64()), rows.num_rows))
    columns = {"file": _labels(contract, rows["_member"]), "line": rows["_line"]}
    return _with_columns(repeated, columns | ({} if value is None else {"value": rows[value]}))


def _with_columns(findings: pa.Table, columns: Mapping[str, pa.ChunkedArray | pa.Array]) -> pa.Table:
    """The findings with other columns in place of their own."""
    for name, column in columns.items():
        findings = findings.set_column(FINDINGS_SCHEMA.get_field_index(name), name, column)
    return findings.cast(FINDINGS_SCHEMA)


def _unreadable(reading: Reading, source: Source) -> pa.Table:
    """A finding for each record that could not be cut into cells."""
    tables = {table.name: table for version in source.versions for table in version.resources}
    names = {member.rank: member.table for member in reading.members}
    found = []
    for row in reading.unreadable.to_pylist():
        table = names.get(row["_member"])
        found.append(
            Finding(
                row["code"],
                "blocking",
                row["message"],
                remedy="Corrigez la ligne dans le fichier d'origine ou dans l'export.",
                file=label(row["_member"], tables[table] if table is not None else None),
                table=table or "",
                line=row["_line"],
                value=row["raw"][:_SHOWN_CHARACTERS],
            )
        )
    return findings_table(found)


def _oddities(reading: Reading) -> pa.Table:
    return reading.oddities.cast(FINDINGS_SCHEMA)


def _in_file_order(statements: Statements, findings: Sequence[pa.Table]) -> pa.Table:
    """The findings by member, line, field: the order in which a person goes through the file."""
    everything = pa.concat_tables(findings)
    if everything.num_rows < 2:
        return everything
    found = statements.place("found", everything)
    ordered = statements.run(
        f"""
        SELECT * FROM {found}
        ORDER BY TRY_CAST(split_part(file, ' ', 1) AS INTEGER), file, line, "table", field, code, rule, value
        """
    )
    return ordered.cast(FINDINGS_SCHEMA)


def _month_is_missing(source: Source) -> Finding:
    if source.insertion.period.stated_by == "content":
        message = "Les lignes du fichier ne disent pas toutes le même mois."
    else:
        message = "Rien dans le fichier ne dit de quel mois il parle."
    return Finding("period-missing", "blocking", message, "un mois, comme `2026-09`", "Indiquez le mois du dépôt.")


# -- the whole ---------------------------------------------------------------------------------------------------------


def _as_read(table: _Table) -> pa.Table:
    """The rejected rows, verbatim."""
    return table.read.filter(table.is_rejected).drop_columns(["_units"])


def _accounts(reading: Reading, tables: Mapping[str, _Table]) -> tuple[Member, ...]:
    """The members with their accounts closed: data that nobody had judged is now accepted or rejected."""
    rejected, judged = _units(tables, only_rejected=True), _units(tables, only_rejected=False)
    closed = []
    for member in reading.members:
        account, units = member.account, rejected.get(member.rank, 0)
        if member.table is not None and judged.get(member.rank, 0) != account.accepted:
            raise AccountsDoNotBalance(
                f"member {member.rank}: {account.accepted} units of data announced, {judged.get(member.rank, 0)} judged"
            )
        account = replace(account, accepted=account.accepted - units, rejected=account.rejected + units)
        closed.append(replace(member, account=account.checked()))
    return tuple(closed)


def _units(tables: Mapping[str, _Table], *, only_rejected: bool) -> dict[int, int]:
    """Units per member: the physical lines that the records span."""
    totals: dict[int, int] = {}
    for table in tables.values():
        rows = table.judged.select(["_member", "_units"])
        rows = rows.filter(table.is_rejected) if only_rejected else rows
        for entry in rows.group_by("_member").aggregate([("_units", "sum")]).to_pylist():
            totals[entry["_member"]] = totals.get(entry["_member"], 0) + entry["_units_sum"]
    return totals


def _span(source: Source, month: Month | None, accepted: Mapping[str, pa.Table]) -> Span | None:
    """The delivered month for a monthly file; for a cumulative one, from the first month in it to the last."""
    if month is None:
        return None
    if source.insertion.extent == "month":
        return Span.single(month)
    bounds = [pc.min_max(rows["_month"]).as_py() for rows in accepted.values()]
    texts = [text for bound in bounds for text in bound.values() if text is not None]
    months = [month, *(Month.parse(text) for text in texts)]
    return Span(min(months), max(months))


def _territories(statements: Statements, source: Source, accepted: Mapping[str, pa.Table]) -> frozenset[str]:
    expression, table = source.insertion.territory_expression, source.insertion.period.table
    if expression is None or table is None or table not in accepted:
        return frozenset()
    stating = statements.place("stating", accepted[table])
    rows = statements.run(f"SELECT DISTINCT {expression} AS territory FROM {stating}")
    return frozenset(text for text in rows["territory"].to_pylist() if text is not None)
