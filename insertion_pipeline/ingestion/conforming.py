"""From batches of text to typed rows and findings: what is accepted, what is rejected, and why.

Belongs here: judging a delivery by its contract, the account of every unit, the months that the content speaks of, the
verdict. Does not belong here: judging one row (`sifting`), cutting files (`reading`), who may deliver what (`judging`).

A delivery is judged batch by batch, in one pass, in memory that does not grow with it; what concerns rows together
(keys, references) is decided over the keys of all of them. The verdict does not depend on where batches are cut. A
cell that warns loses its value and keeps its row; a cell, a rule or a month that blocks rejects the row, kept as it
was read.
"""

from __future__ import annotations

import contextlib
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.contracts.findings import Finding, findings_table
from insertion_pipeline.contracts.rules import TableRules, duplicates_query, orphans_query, repeats_query, table_rules
from insertion_pipeline.contracts.storage import accepted_schema
from insertion_pipeline.expressions import columns_of
from insertion_pipeline.ingestion.accounts import Account, AccountsDoNotBalance, Member
from insertion_pipeline.ingestion.extracts import (
    ORIGIN_FIELDS,
    Batch,
    Closing,
    Extract,
    Opening,
    Piece,
    Pieces,
    encoded,
    label,
    refusal,
)
from insertion_pipeline.ingestion.gathering import Gathered, Store, Tables
from insertion_pipeline.ingestion.noting import Notes
from insertion_pipeline.ingestion.sifting import Sieve
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import ContractTable, Registry, Source

#: Without these there is no table whose rows could be judged; other refusals come with all that is wrong in the rows.
NOTHING_TO_CONFORM = frozenset(
    {"empty-file", "wrong-source", "missing-header", "duplicate-header", "missing-table", "duplicate-table"}
)
#: A cumulative file dropped in a month may already hold the first rows of the next one.
_MONTHS_AHEAD = 1
#: A row whose month nothing in it states is of the delivered month, which the statement is given.
_DELIVERED_MONTH = "strftime(_month_start, '%Y-%m')"
#: How much of a line that could not be cut is shown to the depositor.
_SHOWN_CHARACTERS = 200
#: A file with more findings than that is not worth listing them: it is refused, by one.
_MOST_FINDINGS = 5_000_000

_WORD = re.compile(r"[a-z_][a-z0-9_]*")

Places = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Unjudged:
    """A delivery whose rows nobody judged: its members, all their data still `accepted`, and what was found."""

    members: tuple[Member, ...]
    findings: pa.Table
    codes: frozenset[str]
    stated_month: Month | None

    @property
    def account(self) -> Account:
        return sum((member.account for member in self.members), Account()).checked()


@dataclass(frozen=True)
class Conformed:
    """A delivery judged.

    `accepted`: per contract table found, the columns of `accepted_schema`, one row per accepted row, in file order.
    `rejected`: per contract table found, its stored fields as they were read (null where the file has no such column),
    then `_line` and `_member`.
    `findings`: rows of `FINDINGS_SCHEMA`: files and headers first, then in the order of members and lines.
    `members`, `account`: where every unit of the files went, balanced.
    `month`: the delivered month; `span`: the months that the delivery covers; null when nothing says them.
    `months`: those that accepted rows state, in order.
    `territories`: what the content itself says of the territory it is about, as `FR-DEP-52`.
    """

    accepted: Tables
    rejected: Tables
    findings: pa.Table
    members: tuple[Member, ...]
    month: Month | None
    span: Span | None
    months: tuple[Month, ...]
    territories: frozenset[str]
    stated_territory: str | None = None

    @property
    def account(self) -> Account:
        return sum((member.account for member in self.members), Account()).checked()


def conform(
    pieces: Pieces,
    source: Source,
    month: Month | None,
    registry: Registry,
    lake: Lake,
    *,
    statements: Statements | None = None,
    store: Store | None = None,
) -> Conformed | Unjudged:
    """The delivery that `pieces` are read from, judged by the contract of `source` in force in `month`.

    `month` may be null for a source whose content states it. `statements`: those of the deliveries before this one,
    which then need not be planned again. `store`: where rows are gathered; without one they stay in memory. Rows of a
    month before the first contract are judged by that one: whoever asked refuses the month. `Unjudged` when there is no
    table whose rows could be judged. Raises `AccountsDoNotBalance` when rows and accounts disagree.
    """
    with contextlib.ExitStack() as stack:
        at_work = stack.enter_context((statements or stack.enter_context(Statements.opened(lake))).at_work())
        return _Conforming(at_work, source, registry, store).run(pieces, month)


def count(pieces: Pieces) -> Unjudged:
    """The delivery counted, its rows passed over."""
    return _counted(pieces, [], [], Notes())


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


def _refuses(finding: Finding) -> bool:
    return finding.severity == "blocking" and finding.line is None and finding.code in NOTHING_TO_CONFORM


def _counted(pieces: Pieces, members: list[Member], findings: list[Finding], notes: Notes) -> Unjudged:
    month = None
    for piece in pieces:
        if isinstance(piece, Batch):
            notes.note_rows(piece.oddities, piece.rank)
            continue
        findings.extend(piece.findings)
        if isinstance(piece, Extract):
            members.append(Member(piece.rank, piece.table, piece.account))
            month = month or piece.stated_month
    codes = frozenset(one.code for one in findings if one.severity == "blocking" and one.line is None)
    told = pa.concat_tables([findings_table(findings), notes.table()])
    return Unjudged(tuple(members), told, codes, month)


# -- one delivery ------------------------------------------------------------------------------------------------------


@dataclass
class _Table:
    """One table of a delivery at work."""

    contract: ContractTable
    rules: TableRules
    sieve: Sieve
    accepted: Gathered
    rejected: Gathered
    keeps_all: bool  # rejecting rows late needs the text of all of them
    columns: set[str] = field(default_factory=set)
    is_rejected: list[Mask] = field(default_factory=list)
    dated: int = 0
    misdated: list[tuple[int, Places, pa.Array]] = field(default_factory=list)

    @property
    def keys(self) -> list[tuple[str, ...]]:
        """The columns of which no two rows may have the same values."""
        keys = [self.contract.schema_.primaryKey] if self.contract.schema_.primaryKey else []
        return [*keys, *((one.name,) for one in self.contract.stored_fields if one.constraints.unique)]


class _Conforming:
    """Judges one delivery."""

    def __init__(self, statements: Statements, source: Source, registry: Registry, store: Store | None) -> None:
        self._statements = statements
        self._source = source
        self._registry = registry
        self._store = store
        self._tables: dict[str, _Table] = {}
        self._members: list[Member] = []
        self._findings: list[Finding] = []
        self._notes = Notes()
        self._judged: Counter[int] = Counter()  # units per member
        self._rejected: Counter[int] = Counter()
        self._months: set[str] = set()
        self._month: Month | None = None
        self._territory: str | None = None

    def run(self, pieces: Pieces, month: Month | None) -> Conformed | Unjudged:
        """Everything, in one pass; where the month stands in the content, the text waits until all of it is seen."""
        if month is None:
            waiting = _Waiting(pieces, self._store)
            month = waiting.stated_month or self._month_of_content(waiting)
            pieces = waiting.again()
        self._month = month
        remaining = iter(pieces)
        for piece in remaining:
            if isinstance(piece, Batch):
                self._take(piece)
                if self._notes.count > _MOST_FINDINGS:
                    raise refusal(
                        "limit-exceeded",
                        f"Le fichier a plus de {_MOST_FINDINGS // 1_000_000} millions de défauts.",
                        remedy="Vérifiez que le fichier est bien celui que vous vouliez déposer, et l'export.",
                    )
                continue
            self._findings.extend(piece.findings)
            if any(_refuses(finding) for finding in piece.findings):
                if isinstance(piece, Extract):
                    self._end(piece)
                return _counted(remaining, self._members, self._findings, self._notes)
            if isinstance(piece, Opening):
                self._open(piece)
            elif isinstance(piece, Extract):
                self._end(piece)
        return self._conformed()

    # -- pieces ------------------------------------------------------------------------------------------------------

    def _contracts(self) -> Iterable[ContractTable]:
        stated, source = self._month, self._source
        return source.version_for(max(stated, source.first_month) if stated else source.latest_month).resources

    def _open(self, opening: Opening) -> None:
        if opening.table not in self._tables:
            contract = next((one for one in self._contracts() if one.name == opening.table), None)
            if contract is None:
                return
            self._tables[opening.table] = self._new_table(contract)
        self._tables[opening.table].columns.update(opening.columns)

    def _new_table(self, contract: ContractTable) -> _Table:
        otherwise = _DELIVERED_MONTH if self._source.insertion.extent == "month" else None
        has_keys = contract.schema_.primaryKey or any(one.constraints.unique for one in contract.stored_fields)
        keeps_all = bool(has_keys) and contract.insertion.unique_severity == "blocking"
        texts = [(one.name, pa.string()) for one in contract.stored_fields]
        origin = [one for one in ORIGIN_FIELDS if one[0] != "_units" or keeps_all]
        rules = table_rules(contract, self._registry, self._month)
        expression = _month_expression(self._source, contract) or otherwise
        return _Table(
            contract,
            rules,
            Sieve(rules, self._month, expression, self._statements),
            self._gathered(accepted_schema(contract)),
            self._gathered(pa.schema([*texts, *origin])),
            keeps_all,
        )

    def _gathered(self, schema: pa.Schema) -> Gathered:
        return Gathered(schema) if self._store is None else self._store.gather(schema)

    def _take(self, batch: Batch) -> None:
        """Judge a batch: its rows go to the accepted or to the rejected, what is wrong with them to the notes."""
        self._notes.note_rows(batch.oddities, batch.rank)
        table = self._tables.get(batch.table)
        if table is None:
            return
        self._note_unreadable(batch, table)
        sifted = table.sieve.sift(batch.rows)
        lines, units = batch.rows["_line"].to_numpy(), batch.rows["_units"].to_numpy()
        file = label(batch.rank, table.contract)
        for flaws in sifted.flaws:
            verdict = table.rules.verdicts[flaws.subject, flaws.flaw]
            finding = Finding(
                verdict.code, verdict.severity, verdict.wording.message, verdict.wording.expected,
                verdict.wording.remedy, file, table.contract.name, field=verdict.field, rule=verdict.rule,
            )  # fmt: skip
            self._notes.note(finding, batch.rank, lines[flaws.rows], flaws.texts)
        is_rejected = sifted.is_rejected | self._misdated(table, batch.rank, lines, sifted.values["_month"])
        accepted = sifted.values.filter(pa.array(~is_rejected)) if is_rejected.any() else sifted.values
        table.accepted.append(accepted)
        self._months.update(text for text in pc.unique(accepted["_month"]).to_pylist() if text)
        self._judged[batch.rank] += int(units.sum())
        self._rejected[batch.rank] += int(units[is_rejected].sum())
        if table.keeps_all:
            table.is_rejected.append(is_rejected)
            table.rejected.append(_as_read(batch.rows, table.rejected.schema))
        elif is_rejected.any():
            table.rejected.append(_as_read(batch.rows.filter(pa.array(is_rejected)), table.rejected.schema))

    def _end(self, extract: Extract) -> None:
        self._members.append(Member(extract.rank, extract.table, extract.account))
        self._territory = self._territory or extract.stated_territory

    def _note_unreadable(self, batch: Batch, table: _Table) -> None:
        """A finding for each record that could not be cut into cells."""
        for row in batch.unreadable.to_pylist():
            finding = Finding(
                row["code"],
                "blocking",
                row["message"],
                remedy="Corrigez la ligne dans le fichier d'origine ou dans l'export.",
                file=label(batch.rank, table.contract),
                table=table.contract.name,
            )
            shown = pa.array([row["raw"][:_SHOWN_CHARACTERS]])
            self._notes.note(finding, batch.rank, np.array([row["_line"]], np.int64), shown)

    # -- months ------------------------------------------------------------------------------------------------------

    def _month_of_content(self, waiting: _Waiting) -> Month | None:
        """The month that the rows speak of, where the contract says that the content states it.

        A monthly file may hold some rows of other months, as many as may be rejected: they will be.
        """
        if self._source.insertion.period.stated_by != "content":
            return None
        spoken: Counter[str] = Counter()
        for contract in self._source.version_for(self._source.latest_month).resources:
            expression = _month_expression(self._source, contract)
            if expression is None:
                continue
            rules = table_rules(contract, self._registry, None)
            words = set(_WORD.findall(expression))
            cells = tuple(cell for cell in rules.cells if cell.field.name in words)
            sieve = Sieve(TableRules(contract, cells, ()), None, expression, self._statements)
            for rows in waiting.rows_of(contract.name):
                months = sieve.sift(rows).values["_month"]
                for counted in pc.value_counts(months.drop_null()).to_pylist():
                    spoken[counted["values"]] += counted["counts"]
        if not spoken:
            return None
        (text, rows_of_it), *others = spoken.most_common()
        strays = spoken.total() - rows_of_it
        allowed = self._source.insertion.max_rejected_share if self._source.insertion.extent == "month" else 0
        is_clear = strays <= allowed * spoken.total() and all(count < rows_of_it for _, count in others)
        return Month.parse(text) if is_clear else None

    def _misdated(self, table: _Table, rank: int, lines: Places, months: pa.ChunkedArray) -> Mask:
        """Which rows are of another month than the delivered one; a cumulative file may hold any past month."""
        month = self._month
        if month is None or _month_expression(self._source, table.contract) is None:
            return np.zeros(len(lines), np.bool_)
        if self._source.insertion.extent == "month":
            is_wrong = pc.not_equal(months, str(month))
        else:
            is_wrong = pc.greater(months, str(month.plus(_MONTHS_AHEAD)))
        mask: Mask = pc.fill_null(is_wrong, False).to_numpy()
        table.dated += len(months) - months.null_count
        if mask.any():
            table.misdated.append((rank, lines[mask], months.filter(pa.array(mask)).combine_chunks()))
        return mask

    def _note_misdated(self, table: _Table) -> None:
        """A file in which no row is of the month is refused whole, by one finding; else one for each wrong row."""
        wrong = sum(len(lines) for _, lines, _ in table.misdated)
        if not wrong or self._month is None:
            return
        expression = _month_expression(self._source, table.contract) or ""
        is_monthly = self._source.insertion.extent == "month"
        finding = Finding(
            "period-mismatch",
            "blocking",
            "La ligne porte un autre mois que celui du dépôt.",
            f"`{self._month}`" if is_monthly else f"au plus tard `{self._month.plus(_MONTHS_AHEAD)}`",
            "Retirez la ligne, ou déposez-la avec les autres lignes de son mois.",
            table=table.contract.name,
            field=", ".join(sorted(columns_of(expression))),
        )
        if wrong == table.dated:
            message = f"Le fichier ne parle pas de {self._month} : aucune de ses lignes n'est de ce mois."
            remedy = "Vérifiez le mois annoncé, ou choisissez le bon fichier."
            self._findings.append(replace(finding, message=message, remedy=remedy, count=wrong))
            return
        for rank, lines, months in table.misdated:
            self._notes.note(replace(finding, file=label(rank, table.contract)), rank, lines, months)

    # -- rows together -----------------------------------------------------------------------------------------------

    def _note_duplicates(self, table: _Table) -> None:
        """Rows whose key another row has. They are rejected only where the contract says so."""
        severity, late = table.contract.insertion.unique_severity, [pa.array([], pa.int64())]
        for key in table.keys:
            held = [name for name in key if name in table.columns]
            if not held:
                continue
            keys = self._statements.place("keys", table.accepted.select(key))
            if not self._statements.run_over_all(repeats_query(keys, key)).num_rows:
                continue
            columns = [one.name for one in table.contract.stored_fields]
            relation = self._statements.place("survivors", table.accepted)
            rows = self._statements.run_over_all(duplicates_query(relation, key, columns))
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
            self._note_places(finding, table.contract, rows)
            if severity == "blocking":
                table.accepted = table.accepted.where(_outside(_places(rows)))
                late.append(pa.array(_places(rows)))
        if table.keeps_all:
            self._reject_late(table, pa.chunked_array(late).to_numpy())

    def _reject_late(self, table: _Table, late: Places) -> None:
        """Leave the rejected rows alone among the texts that were kept; those rejected late change their account."""
        is_rejected, first = np.concatenate([np.zeros(0, np.bool_), *table.is_rejected]), 0

        def keeps(rows: pa.Table) -> pa.Array:
            nonlocal first
            was = is_rejected[first : first + rows.num_rows]
            first += rows.num_rows
            now = np.isin(_places(rows), late)
            members, units = rows["_member"].to_numpy(), rows["_units"].to_numpy()
            for member in np.unique(members[now]).tolist():
                self._rejected[member] += int(units[now & (members == member)].sum())
            return pa.array(was | now)

        table.rejected = table.rejected.where(keeps).without(["_units"])
        if len(late):
            self._months = {text for one in self._tables.values() for text in _months_in(one.accepted)}

    def _note_orphans(self, table: _Table) -> None:
        """Accepted rows that refer to a row that is not there. They stay: it may come in a later delivery."""
        for key in table.contract.schema_.foreignKeys:
            referenced = self._tables.get(key.reference.resource)
            if referenced is None or not set(key.fields) <= table.columns:
                continue
            children = self._statements.place("children", table.accepted.select([*key.fields, "_member", "_line"]))
            parents = self._statements.place("parents", referenced.accepted.select(key.reference.fields))
            query = orphans_query(children, key.fields, parents, key.reference.fields)
            rows = self._statements.run_over_all(query)
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
            self._note_places(finding, table.contract, rows, rows["value"])

    def _note_places(
        self, finding: Finding, contract: ContractTable, rows: pa.Table, values: pa.ChunkedArray | None = None
    ) -> None:
        """The same finding for each of `rows` (`_member`, `_line`)."""
        members, lines = rows["_member"].to_numpy(), rows["_line"].to_numpy()
        for rank in np.unique(members).tolist():
            mine = members == rank
            texts = None if values is None else values.filter(pa.array(mine)).combine_chunks()
            self._notes.note(replace(finding, file=label(rank, contract)), rank, lines[mine], texts)

    # -- the whole ---------------------------------------------------------------------------------------------------

    def _conformed(self) -> Conformed:
        tables = self._tables.values()
        if self._month is None:
            self._findings.append(_month_is_missing(self._source))
        for table in tables:
            self._note_misdated(table)
        for table in tables:
            self._note_duplicates(table)
        for table in tables:
            self._note_orphans(table)
        months = tuple(Month.parse(text) for text in sorted(self._months))
        return Conformed(
            accepted=Tables({name: table.accepted for name, table in self._tables.items()}),
            rejected=Tables({name: table.rejected for name, table in self._tables.items()}),
            findings=pa.concat_tables([findings_table(self._findings), self._notes.table()]),
            members=self._closed_members(),
            month=self._month,
            span=self._span(months),
            months=months,
            territories=self._territories(),
            stated_territory=self._territory,
        )

    def _closed_members(self) -> tuple[Member, ...]:
        """The members with their accounts closed: data that nobody had judged is now accepted or rejected."""
        closed = []
        for member in self._members:
            account, judged, rejected = member.account, self._judged[member.rank], self._rejected[member.rank]
            if member.table is not None and judged != account.accepted:
                raise AccountsDoNotBalance(
                    f"member {member.rank}: {account.accepted} units of data announced, {judged} judged"
                )
            account = replace(account, accepted=account.accepted - rejected, rejected=account.rejected + rejected)
            closed.append(replace(member, account=account.checked()))
        return tuple(closed)

    def _span(self, months: tuple[Month, ...]) -> Span | None:
        """The delivered month for a monthly file; for a cumulative one, from the first month in it to the last."""
        if self._month is None:
            return None
        if self._source.insertion.extent == "month":
            return Span.single(self._month)
        return Span(min(self._month, *months), max(self._month, *months)) if months else Span.single(self._month)

    def _territories(self) -> frozenset[str]:
        expression, name = self._source.insertion.territory_expression, self._source.insertion.period.table
        if expression is None or name is None or name not in self._tables:
            return frozenset()
        stating = self._statements.place("stating", self._tables[name].accepted)
        rows = self._statements.run_over_all(f"SELECT DISTINCT {expression} AS territory FROM {stating}")
        return frozenset(text for text in rows["territory"].to_pylist() if text is not None)


class _Waiting:
    """A delivery read whole before any of it is judged: its month stands somewhere in it."""

    def __init__(self, pieces: Pieces, store: Store | None) -> None:
        self.findings: list[Finding] = []
        self.stated_month: Month | None = None
        self._pieces: list[Piece | Closing] = []
        self._rows: dict[int, tuple[str, Gathered]] = {}
        for piece in pieces:
            if isinstance(piece, Opening):
                schema = pa.schema([*((name, pa.string()) for name in piece.columns), *ORIGIN_FIELDS])
                gathered = Gathered(schema) if store is None else store.gather(schema)
                self._rows[piece.rank] = (piece.table, gathered)
            if isinstance(piece, Batch):
                gathered = self._rows[piece.rank][1]
                gathered.append(piece.rows.cast(gathered.schema))
                piece = replace(piece, rows=gathered.schema.empty_table())
            else:
                self.findings.extend(piece.findings)
            if isinstance(piece, Extract):
                self.stated_month = self.stated_month or piece.stated_month
            self._pieces.append(piece)

    def rows_of(self, table: str) -> Iterator[pa.Table]:
        """The rows of every member that is read as `table`."""
        for name, gathered in self._rows.values():
            if name == table:
                yield from (encoded(pa.Table.from_batches([batch])) for batch in gathered.batches())

    def again(self) -> Iterator[Piece | Closing]:
        """The pieces once more."""
        for piece in self._pieces:
            yield piece
            if isinstance(piece, Opening):
                for batch in self._rows[piece.rank][1].batches():
                    yield Batch(piece.rank, piece.table, encoded(pa.Table.from_batches([batch])))


def _month_expression(source: Source, contract: ContractTable) -> str | None:
    """The SQL of a row's own month, when the contract says it for this table."""
    period = source.insertion.period
    if period.month_expression is None or period.table not in (None, contract.name):
        return None
    words = set(_WORD.findall(period.month_expression))
    return period.month_expression if words & {one.name for one in contract.stored_fields} else None


def _as_read(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows as text; a column that their file does not have is null."""
    columns = [
        rows[one.name].cast(one.type) if one.name in rows.column_names else pa.nulls(rows.num_rows, one.type)
        for one in schema
    ]
    return pa.table(columns, schema=schema)


def _places(rows: pa.Table) -> Places:
    """Where each row stands in the delivery, as one number that ascends with member and line."""
    places: Places = (rows["_member"].to_numpy().astype(np.int64) << 40) | rows["_line"].to_numpy()
    return places


def _outside(places: Places) -> Callable[[pa.Table], pa.Array]:
    return lambda rows: pa.array(~np.isin(_places(rows), places))


def _months_in(rows: Gathered) -> set[str]:
    return {text for batch in rows.batches(["_month"]) for text in pc.unique(batch["_month"]).to_pylist() if text}


def _month_is_missing(source: Source) -> Finding:
    if source.insertion.period.stated_by == "content":
        message = "Les lignes du fichier ne disent pas toutes le même mois."
    else:
        message = "Rien dans le fichier ne dit de quel mois il parle."
    return Finding("period-missing", "blocking", message, "un mois, comme `2026-09`", "Indiquez le mois du dépôt.")
