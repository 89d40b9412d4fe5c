"""Which deliveries count for a month, and their rows.

Belongs here: the effective deliveries, their conformed tables under seal (written once, verified, rebuilt from landing
when missing or altered), the SQL that reads them together. Does not belong here: accepting a delivery (`landing`).

The newest receipt counts: for an extent of a month or a snapshot, per table, the newest applied delivery of a partner
that covers the month; for a delta, all of them. A bundle's view delivered alone replaces that view and no other.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from insertion_pipeline import __version__
from insertion_pipeline.contracts.findings import FINDINGS_SCHEMA
from insertion_pipeline.contracts.storage import sql_type
from insertion_pipeline.ingestion import content, tombstones
from insertion_pipeline.ingestion.conforming import Conformed
from insertion_pipeline.ingestion.gathering import Gathered, Store, Tables
from insertion_pipeline.ingestion.receipts import Receipt as Receipt
from insertion_pipeline.ingestion.receipts import receipts as receipts
from insertion_pipeline.ingestion.receipts import receipts_after as receipts_after
from insertion_pipeline.ingestion.receipts import received as received
from insertion_pipeline.ingestion.tombstones import Remaining, Tombstones, remaining
from insertion_pipeline.lake import Lake, ParquetFile, remembered_sha256_of, sha256_of, write_json
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, ContractTable, Partner, Registry, Source

#: Written last of a delivery's tables: what they are, and that they are all there.
SUMMARY = "summary.json"


class CannotRebuild(Exception):
    """A delivery's rows are gone and its bytes no longer give them. The message holds its sequence number alone."""


# -- which count -------------------------------------------------------------------------------------------------------


def effective(deposits: Lake | Iterable[Receipt], source: Source | str, month: Month) -> tuple[Receipt, ...]:
    """The receipts that count for `source` in `month`, a « néant » included, in order."""
    name = source if isinstance(source, str) else source.name
    extent_is_delta = isinstance(source, Source) and source.insertion.extent == "delta"
    counting = [
        receipt
        for receipt in _all(deposits, name)
        if receipt.counts and receipt.source == name and receipt.covers(month)
    ]
    if extent_is_delta:
        return tuple(counting)
    return tuple(reversed(list(_still_counting(counting))))


def _still_counting(counting: Sequence[Receipt]) -> Iterator[Receipt]:
    """Those to which later ones of their partner leave something, all or tables of theirs; the newest first."""
    said_since: dict[str, set[str] | None] = {}  # null: nothing to declare
    for receipt in reversed(counting):
        is_newest = receipt.partner not in said_since
        since = said_since.get(receipt.partner)
        if is_newest or (since is not None and set(receipt.rows) - since):
            yield receipt
        is_over = receipt.status == "nothing" or (since is None and not is_newest)
        said_since[receipt.partner] = None if is_over else {*(since or ()), *receipt.rows}


def _effective_for_table(receipts_of_month: Sequence[Receipt], table: str, *, is_delta: bool) -> list[Receipt]:
    """The receipts whose rows of `table` count, among those effective in one month."""
    if is_delta:
        return [receipt for receipt in receipts_of_month if receipt.rows.get(table)]
    newest: dict[str, Receipt] = {}
    for receipt in receipts_of_month:
        if receipt.status == "nothing":
            newest.pop(receipt.partner, None)
        elif table in receipt.rows:
            newest[receipt.partner] = receipt
    return [newest[partner] for partner in sorted(newest)]


def _all(deposits: Lake | Iterable[Receipt], source: str) -> Iterable[Receipt]:
    if isinstance(deposits, Lake):
        return received(deposits).of_source(source)
    return sorted(deposits, key=lambda one: one.sequence)


def delivery_digests(lake: Lake, registry: Registry, months: Iterable[Month]) -> dict[str, list[str]]:
    """Per month, what was delivered for it: one text per effective delivery, sorted. Part of a release's identity."""
    everything = received(lake)
    of_source = {source.name: everything.of_source(source.name) for source in registry.sources.values()}
    return {
        str(month): sorted(
            f"{receipt.source} {receipt.partner} {receipt.month} {receipt.sha256}"
            for source in registry.sources.values()
            for receipt in effective(of_source[source.name], source, month)
        )
        for month in months
    }


# -- their rows --------------------------------------------------------------------------------------------------------


def conformed_rows(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    source: Source | str,
    table: ContractTable | str,
    months: Iterable[Month],
) -> str:
    """`counting_rows`, repeated for each month that they count for: `_month` in the place of `_months`."""
    relation = counting_rows(lake, connection, registry, source, table, months)
    repeated = f"SELECT * REPLACE (unnest(_months) AS _months) FROM {relation} AS counting"
    return f"(SELECT * RENAME (_months AS _month) FROM ({repeated}) AS repeated)"


def counting_rows(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    source: Source | str,
    table: ContractTable | str,
    months: Iterable[Month],
) -> str:
    """SQL of the accepted rows of `table` in the effective deliveries of `months`; a relation to stand after FROM.

    The table's typed columns, `_line, _member`, `_months` (texts: those of `months` that the row counts for), then
    `_partner, _space, _delivery` (sha256) and `_sequence`. A row that states its month counts for that one, another for
    all those in which its delivery counts: an export of thirteen months is read once. Empty, but typed, without
    deliveries. Rows come in no order: whoever needs one asks for it by `_sequence, _member, _line`.
    """
    contract = registry.source(source) if isinstance(source, str) else source
    wanted = sorted(set(months))
    name = table if isinstance(table, str) else table.name
    newest = _contract_table(contract, name, wanted)
    is_delta = contract.insertion.extent == "delta"
    everything = received(lake).of_source(contract.name)
    by_receipt: dict[int, tuple[Receipt, list[Month]]] = {}
    for month in wanted:
        for receipt in _effective_for_table(effective(everything, contract, month), name, is_delta=is_delta):
            by_receipt.setdefault(receipt.sequence, (receipt, []))[1].append(month)
    told = {number: counted for number, counted in by_receipt.items() if counted[0].rows.get(name)}
    if not told:
        return f"({_empty(newest)})"
    files = {number: _stored(lake, registry, receipt, name) for number, (receipt, _) in told.items()}
    counting = _counting(connection, registry, told.values())
    selects = (
        _select(relation, newest, stored, counting)
        for relation, stored in lake.scan_sealed(connection, files, "_sequence")
    )
    return "(" + "\nUNION ALL BY NAME\n".join(selects) + ")"


def _stored(lake: Lake, registry: Registry, receipt: Receipt, table: str) -> ParquetFile:
    """The accepted rows of a delivery, whole, with the key that opens them."""
    folder = ensure(lake, registry, receipt)
    key = content.existing_data_key(lake, registry.partner(receipt.partner), receipt.sha256)
    return ParquetFile(folder / f"{table}.parquet", key)


def _contract_table(source: Source, name: str, months: Sequence[Month]) -> ContractTable:
    """The table of the newest version in force in `months`: older rows are read with its columns."""
    versions = sorted(source.versions, key=lambda version: version.valid_from, reverse=True)
    last = months[-1] if months else None
    for version in versions:
        if last is None or version.valid_from <= last:
            for table in version.resources:
                if table.name == name:
                    return table
    raise KeyError(f"{source.name} has no table {name!r}")


def _counting(
    connection: duckdb.DuckDBPyConnection, registry: Registry, told: Iterable[tuple[Receipt, Sequence[Month]]]
) -> str:
    """The name of a table of who delivered what, one row per delivery, and the months in which it counts."""
    rows = [
        {
            "_sequence": receipt.sequence,
            "months": [str(month) for month in months],
            "_partner": receipt.partner,
            "_space": registry.partner(receipt.partner).space,
            "_delivery": receipt.sha256,
        }
        for receipt, months in told
    ]
    name = f"counting_{hashlib.sha256(json.dumps(rows).encode()).hexdigest()[:24]}"
    connection.register(name, pa.Table.from_pylist(rows, _COUNTING))
    return name


_COUNTING = pa.schema(
    [
        ("_sequence", pa.int64()),
        ("months", pa.list_(pa.string())),
        *((name, pa.string()) for name in ("_partner", "_space", "_delivery")),
    ]
)


def _select(relation: str, table: ContractTable, stored: Set[str], counting: str) -> str:
    columns = ", ".join(_column(field, stored) for field in table.stored_fields)
    return (
        f"SELECT {columns}, rows._line, rows._member, "
        "CASE WHEN rows._month IS NULL THEN counting.months ELSE [rows._month] END AS _months, "
        "counting._partner, counting._space, counting._delivery, rows._sequence "
        f"FROM {relation} AS rows JOIN {counting} AS counting ON rows._sequence = counting._sequence "
        "WHERE rows._month IS NULL OR list_contains(counting.months, rows._month)"
    )


def _column(field: ContractField, stored: Set[str]) -> str:
    """The field's column; null where the contract of the delivery's time did not have it."""
    return f'rows."{field.name}"' if field.name in stored else f'NULL::{sql_type(field)} AS "{field.name}"'


def _empty(table: ContractTable) -> str:
    columns = [f'NULL::{sql_type(field)} AS "{field.name}"' for field in table.stored_fields]
    origin = "NULL::BIGINT AS _line, NULL::INTEGER AS _member, NULL::VARCHAR[] AS _months"
    delivery = (
        "NULL::VARCHAR AS _partner, NULL::VARCHAR AS _space, NULL::VARCHAR AS _delivery, NULL::BIGINT AS _sequence"
    )
    return f"SELECT {', '.join([*columns, origin, delivery])} WHERE false"


# -- conformed tables under seal ---------------------------------------------------------------------------------------


def contract_digest(registry: Registry, source: Source, partner: Partner) -> str:
    """What judged a delivery: the contract, its code lists, the partner's own titles and permissions, this program."""
    whose = partner.code if source.name in partner.own.headers else ""
    key = (registry.folder, registry.digest, source.name, whose)
    if key not in _CONTRACTS:
        _CONTRACTS[key] = _Contract.of(source.called_by(partner))
    contract = _CONTRACTS[key]
    lists = " ".join(registry.nomenclature(name).sha256 for name in contract.code_lists)
    return hashlib.sha256(f"{__version__} {contract.sha256} {lists} {partner.nir}".encode()).hexdigest()


@dataclass(frozen=True)
class _Contract:
    """A contract of 100 kB of JSON, by its digest, and the code lists that it names."""

    sha256: str
    code_lists: tuple[str, ...]

    @classmethod
    def of(cls, source: Source) -> _Contract:
        tables = [table for version in source.versions for table in version.resources]
        lists = {field.insertion.code_list for table in tables for field in table.fields}
        digest = hashlib.sha256(source.model_dump_json(by_alias=True).encode()).hexdigest()
        return cls(digest, tuple(sorted(name for name in lists if name is not None)))


#: Contracts already gone through, by declarations, and by partner where it has titles of its own.
_CONTRACTS: dict[tuple[Path, str, str, str], _Contract] = {}


def conformed_folder(lake: Lake, source: str, sha256: str, partner: str, month: Month | None) -> Path:
    """Where the tables of one delivery lie: the same bytes give other rows to another partner, or for another month."""
    return lake.sealed / "conformed" / source / sha256 / f"{partner}.{month}"


def write_conformed(folder: Path, lake: Lake, kept: Remaining, key: bytes, contract: str, entombed: Tombstones) -> None:
    """Keep a delivery's tables under its own key; `summary.json`, written last, says that all are there.

    `entombed`: the tombstones that `kept` obeys. A loss of power may leave the tables incomplete: `ensure` sees it by
    their digests and makes them again.
    """
    conformed = kept.conformed
    files = {f"{name}.parquet": rows for name, rows in conformed.accepted.parts.items()}
    files |= {f"{name}.rejected.parquet": rows for name, rows in conformed.rejected.parts.items()}
    files["findings.parquet"] = Gathered.of(conformed.findings.cast(FINDINGS_SCHEMA))
    for name, rows in files.items():
        rows.save(lake, folder / name, key)
    digests = {name: sha256_of(folder / name) for name in sorted(files)}
    summary = {"contract": contract, "files": digests, "hidden": dict(kept.hidden), "tombstones": entombed.version}
    write_json(folder / SUMMARY, summary)


def keep(
    lake: Lake, partner: Partner, receipt: Receipt, kept: Remaining, key: bytes, contract: str, entombed: Tombstones
) -> None:
    """Write what may be kept of a delivery. Where somebody was taken out, its tables take the place of its bytes.

    The tables are in their place before the bytes go, and the bytes are gone before the tables count.
    """
    if not kept.is_whole:
        place = content.tables_folder(lake, partner, receipt.sha256, receipt.month)
        write_conformed(place, lake, kept, key, contract, entombed)
        lake.keep(place)
        content.discard_bytes(lake, partner, receipt.sha256)
    folder = conformed_folder(lake, receipt.source, receipt.sha256, receipt.partner, receipt.month)
    write_conformed(folder, lake, kept, key, contract, entombed)


def ensure(lake: Lake, registry: Registry, receipt: Receipt) -> Path:
    """The folder of a kept delivery's tables: whole, judged by the contract of today, without whoever was erased.

    Made again from the bytes when tables are missing, altered or outdated; where the bytes are gone, tables that are
    whole stay as they were judged. Raises `CannotRebuild`.
    """
    source, partner = registry.source(receipt.source), registry.partner(receipt.partner)
    folder = conformed_folder(lake, receipt.source, receipt.sha256, receipt.partner, receipt.month)
    contract = contract_digest(registry, source, partner)
    summary = _summary(folder)
    has_bytes = content.has_bytes(lake, partner, receipt.sha256)
    if summary is None or not _is_whole(folder, summary) or (summary.get("contract") != contract and has_bytes):
        summary = None if has_bytes else _put_back(lake, partner, receipt, folder)
    if summary is None:
        rebuild(lake, registry, receipt, contract)
        return folder
    entombed = tombstones.load(lake).for_source(source, partner.space)
    if summary.get("tombstones", "") != entombed.version:
        _forget(lake, registry, receipt, folder, summary, entombed)
    return folder


def ensure_conformed(lake: Lake, registry: Registry, source: Source | str, month: Month) -> tuple[Receipt, ...]:
    """The effective deliveries of a source and month, each with its tables in place."""
    contract = registry.source(source) if isinstance(source, str) else source
    counting = effective(lake, contract, month)
    for receipt in counting:
        if receipt.status == "applied":
            ensure(lake, registry, receipt)
    return counting


def tables_kept(lake: Lake, receipt: Receipt) -> Mapping[str, str]:
    """The digests of a delivery's tables, as they were written; none where it has no rows, or they are to be made."""
    folder = conformed_folder(lake, receipt.source, receipt.sha256, receipt.partner, receipt.month)
    summary = _summary(folder)
    return {} if summary is None else dict(summary["files"])


def stored_rows(lake: Lake, registry: Registry, receipt: Receipt) -> dict[str, int]:
    """How many accepted rows of each table of an applied delivery are accounted for, opened with its key.

    Those of persons who were erased since are counted, and are not there.
    """
    key = content.existing_data_key(lake, registry.partner(receipt.partner), receipt.sha256)
    folder = ensure(lake, registry, receipt)
    hidden = (_summary(folder) or {}).get("hidden", {})
    return {
        name: lake.read_parquet(ParquetFile(folder / f"{name}.parquet", key), columns=[]).num_rows + hidden.get(name, 0)
        for name in receipt.rows
    }


def _put_back(lake: Lake, partner: Partner, receipt: Receipt, folder: Path) -> dict[str, Any] | None:
    """Copy the tables that stand for a delivery's bytes; what was written down of them, or nothing without them."""
    tables = content.tables_folder(lake, partner, receipt.sha256, receipt.month)
    lake.fetch_all(tables, last=SUMMARY)
    summary = _summary(tables)
    if summary is None or not _is_whole(tables, summary):
        return None
    shutil.copytree(tables, folder, dirs_exist_ok=True)
    return summary


def rebuild(lake: Lake, registry: Registry, receipt: Receipt, contract: str) -> None:
    """Judge the landed bytes again. Raises `CannotRebuild` when they no longer give rows."""
    from insertion_pipeline.ingestion.judging import judge

    partner = registry.partner(receipt.partner)
    try:
        key = content.existing_data_key(lake, partner, receipt.sha256)
        with content.opened(lake, partner, receipt.sha256) as path, Store.opened(lake, key) as store:
            judgement = judge(
                path, partner.code, receipt.source, receipt.month, registry, lake, names=receipt.members, store=store
            )
            if judgement.conformed is None:
                raise CannotRebuild(f"delivery {receipt.sequence}: its contract no longer reads it")
            source = registry.source(receipt.source)
            entombed = tombstones.load(lake).for_source(source, partner.space)
            kept = remaining(lake, entombed, judgement.conformed, source, partner, receipt.month)
            keep(lake, partner, receipt, kept, key, contract, entombed)
    except content.ContentErased:
        raise CannotRebuild(f"delivery {receipt.sequence}: its bytes were erased") from None


def forget(lake: Lake, registry: Registry) -> int:
    """Take whoever has a tombstone out of every delivery that is kept, at once; returns how many deliveries changed.

    Runs and reports do it by themselves for the deliveries that they open (`ensure`); an erasure does it for all.
    """
    changed = 0
    for receipt in receipts(lake):
        if receipt.status not in ("applied", "held") or receipt.source not in registry.sources:
            continue
        folder = conformed_folder(lake, receipt.source, receipt.sha256, receipt.partner, receipt.month)
        before = _summary(folder)
        with contextlib.suppress(CannotRebuild, content.ContentErased):
            ensure(lake, registry, receipt)
            after = _summary(folder)
            changed += before is not None and after is not None and before["files"] != after["files"]
    return changed


def _forget(
    lake: Lake, registry: Registry, receipt: Receipt, folder: Path, summary: Mapping[str, Any], entombed: Tombstones
) -> None:
    """Take persons out of tables that are there. The bytes they came from, which hold them too, are destroyed."""
    source, partner = registry.source(receipt.source), registry.partner(receipt.partner)
    key = content.existing_data_key(lake, partner, receipt.sha256)
    tables = {name: lake.read_parquet(ParquetFile(folder / name, key)) for name in summary["files"]}
    findings = tables.pop("findings.parquet")
    rejected = {
        name.removesuffix(".rejected.parquet"): tables.pop(name) for name in sorted(tables) if ".rejected." in name
    }
    accepted = {name.removesuffix(".parquet"): rows for name, rows in tables.items()}
    stored = Conformed(
        Tables.of(accepted), Tables.of(rejected), findings, (), receipt.month, receipt.span, (), frozenset()
    )
    kept = remaining(lake, entombed, stored, source, partner, receipt.month)
    if kept.is_whole:
        write_json(folder / SUMMARY, {**summary, "tombstones": entombed.version})
        return
    hidden = Counter(kept.hidden) + Counter(summary.get("hidden", {}))
    keep(lake, partner, receipt, replace(kept, hidden=dict(hidden)), key, str(summary["contract"]), entombed)


def findings_of(lake: Lake, registry: Registry, receipt: Receipt) -> pa.Table:
    """The findings of an applied or held delivery, values included: for its depositor alone."""
    partner = registry.partner(receipt.partner)
    key = content.existing_data_key(lake, partner, receipt.sha256)
    return lake.read_parquet(ParquetFile(ensure(lake, registry, receipt) / "findings.parquet", key))


def _summary(folder: Path) -> dict[str, Any] | None:
    """What was written down when the tables of a delivery were complete, or nothing."""
    try:
        summary = json.loads((folder / SUMMARY).read_bytes())
    except (FileNotFoundError, ValueError):
        return None
    return summary if isinstance(summary, dict) and isinstance(summary.get("files"), dict) else None


def _is_whole(folder: Path, summary: Mapping[str, Any]) -> bool:
    """Whether every table that the summary names is there, unaltered."""
    return all(
        (folder / name).is_file() and remembered_sha256_of(folder / name) == digest
        for name, digest in summary["files"].items()
    )
