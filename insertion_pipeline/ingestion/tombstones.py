"""Tombstones: who was erased, or objects, and must not come back with any later delivery.

Belongs here: the tombstone and its marks, writing and loading them, taking the rows of a delivery that speak of such a
person out of what is kept. Does not belong here: deciding on a request, removing what indicators hold already
(`identity`).

A mark is HMAC-SHA-256 under a key of its own (`purpose-tombstones` of the keyring) of a trusted number, of name and
birth date, of a name, or of a partner's own key for the person: without that key nobody can ask whether someone is
here. A person's trusted number decides; name and birth date hide a row that states none, or one of a person whose
number nobody knew, so that a namesake with a number of her own stays. Where a row states neither number nor birth date,
the name alone hides it, and so it does in rejected rows, whose dates may be unreadable and which count nowhere.

Tombstones lie apart from everything that a backup brings back: one file each, numbered, never overwritten.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC
from pathlib import Path
from typing import Final, Literal

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.contracts.cells import NIR_FORM, NISS_FORM, literal, quoted
from insertion_pipeline.ingestion import numbered
from insertion_pipeline.ingestion.conforming import Conformed
from insertion_pipeline.ingestion.extracts import label
from insertion_pipeline.ingestion.gathering import Gathered, Tables
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Partner, Source
from insertion_pipeline.sealing import PersonSpace

#: An erasure holds for every source; an objection for those whose contract honours objections.
Reason = Literal["erasure", "objection"]
Kind = Literal["number", "name_and_birth", "name", "local"]

KEY_PURPOSE: Final = "tombstones"
#: What is said of the person: canonical person columns, text, null allowed. One row per record of the person.
PERSON_COLUMNS = ("nir", "niss", "birth_name", "used_name", "first_names", "birth_date")
LOCAL_KEYS_SCHEMA = pa.schema([("source", pa.string()), ("partner", pa.string()), ("key", pa.string())])

_BLOCK_BYTES = 64
_BIRTH_FORMS = ("%Y-%m-%d", "%d/%m/%Y", "%d-%m-%Y", "%d.%m.%Y", "%d/%m/%y", "%Y%m%d", "%Y-%m-%d %H:%M:%S.%g")


@dataclass(frozen=True)
class Tombstone:
    """One person who must not come back. `marks`: keyed hashes by kind; nothing here names anybody."""

    number: int
    space: PersonSpace
    reason: Reason
    recorded_at: str
    marks: Mapping[Kind, tuple[str, ...]]

    def holds_for(self, source: Source, space: str) -> bool:
        """Whether it hides rows of `source` in this person space."""
        return self.space == space and (self.reason == "erasure" or source.insertion.objection == "honoured")


@dataclass(frozen=True)
class Tombstones:
    """The tombstones of a home, in order; or those of them that hold for one source."""

    entries: tuple[Tombstone, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.entries

    @property
    def version(self) -> str:
        """Which tombstones these are: a digest without keys, the same in every home where the same were decided."""
        told = "\n".join(f"{one.number} {one.space} {one.reason}" for one in self.entries)
        return hashlib.sha256(told.encode()).hexdigest() if self.entries else ""

    def for_source(self, source: Source, space: str) -> Tombstones:
        """Those that hide rows of `source` in this person space."""
        return Tombstones(tuple(one for one in self.entries if one.holds_for(source, space)))


@dataclass(frozen=True)
class Remaining:
    """A judged delivery as it may be kept.

    `hidden`: how many accepted rows per table were taken out of it. `is_whole`: nothing was, not even a rejected row.
    """

    conformed: Conformed
    hidden: Mapping[str, int]
    is_whole: bool


# -- writing and loading -----------------------------------------------------------------------------------------------


def folder(lake: Lake) -> Path:
    """Where tombstones lie. Backups copy it; restoring one never takes any away."""
    return lake.home / "tombstones"


def load(lake: Lake) -> Tombstones:
    """All tombstones of the home, in order."""
    numbers = numbered.taken(lake, folder(lake))
    return Tombstones(tuple(_read(folder(lake) / numbered.name_of(number)) for number in numbers))


def write(
    lake: Lake, space: PersonSpace, reason: Reason, persons: pa.Table, local_keys: pa.Table | None = None
) -> Tombstone:
    """Put up a tombstone for one person. It stands, on the disk, when this returns.

    `persons`: the person's records, with columns of `PERSON_COLUMNS` (others are ignored, absent ones unknown).
    `local_keys`: what partners call the person, rows of `LOCAL_KEYS_SCHEMA`; needed where one source names the persons
    of another (the actions of France Travail those of its SPIE extract).
    Raises `ValueError` when the records say nothing by which anybody could be recognised.
    """
    with lake.connect(sealed_spill=True) as connection:
        _prepare(connection, lake)
        columns = [
            persons[name].cast(pa.string()) if name in persons.column_names else pa.nulls(len(persons), pa.string())
            for name in PERSON_COLUMNS
        ]
        connection.register("persons", pa.table(columns, names=list(PERSON_COLUMNS)))
        traits = _Traits.of_person()
        marks: dict[Kind, tuple[str, ...]] = {}
        for kind, expression in traits.by_kind.items():
            rows = connection.execute(
                f"SELECT DISTINCT unnest({expression}) AS mark FROM persons ORDER BY 1"
            ).fetchall()
            marks[kind] = tuple(str(mark) for (mark,) in rows if mark is not None)
        if local_keys is not None and local_keys.num_rows:
            connection.register("local_keys", local_keys.select(LOCAL_KEYS_SCHEMA.names).cast(LOCAL_KEYS_SCHEMA))
            rows = connection.execute(
                f"SELECT DISTINCT {_local_mark('source', 'partner', 'key')} FROM local_keys WHERE key IS NOT NULL"
                " ORDER BY 1"
            ).fetchall()
            marks["local"] = tuple(str(mark) for (mark,) in rows)
    if not any(marks.values()):
        raise ValueError("the records hold neither a number, nor a name, nor a key: nobody could be recognised")
    now = lake.clock.now().astimezone(UTC).isoformat(timespec="seconds")
    return _append(lake, Tombstone(0, space, reason, now, {kind: values for kind, values in marks.items() if values}))


def _append(lake: Lake, tombstone: Tombstone) -> Tombstone:
    number = max(numbered.taken(lake, folder(lake)), default=0) + 1
    while not numbered.take(lake, folder(lake), number, _stored(tombstone, number)):
        number += 1
    return replace(tombstone, number=number)


def _stored(tombstone: Tombstone, number: int) -> Mapping[str, object]:
    return {
        "number": number,
        "space": tombstone.space,
        "reason": tombstone.reason,
        "recorded_at": tombstone.recorded_at,
        "marks": {kind: list(values) for kind, values in tombstone.marks.items()},
    }


@functools.lru_cache(maxsize=100_000)
def _read(path: Path) -> Tombstone:
    """A tombstone never changes: it is read once per process."""
    value = json.loads(path.read_bytes())
    marks = {kind: tuple(marks) for kind, marks in value["marks"].items()}
    return Tombstone(value["number"], value["space"], value["reason"], value["recorded_at"], marks)


# -- taking rows out ---------------------------------------------------------------------------------------------------


def remaining(
    lake: Lake, tombstones: Tombstones, conformed: Conformed, source: Source, partner: Partner, month: Month | None
) -> Remaining:
    """What may be kept of a judged delivery: no accepted or rejected row of a hidden person, no finding about one.

    `tombstones` are those of the home. The months, accounts and verdict of the delivery stay what they were: nobody
    learns from a receipt who was erased. Rows of other tables that name a hidden person by the partner's own key go
    with that person's.
    """
    holding = tombstones.for_source(source, partner.space)
    if holding.is_empty:
        return Remaining(conformed, {}, is_whole=True)
    contracts = {table.name: table for version in source.versions for table in version.resources}
    if month is not None and month >= source.first_month:
        contracts |= {table.name: table for table in source.version_for(month).resources}
    with lake.connect(sealed_spill=True) as connection:
        _prepare(connection, lake)
        _register(connection, holding)
        tables = [(contracts[name], rows, True) for name, rows in conformed.accepted.parts.items()]
        tables += [(contracts[name], rows, False) for name, rows in conformed.rejected.parts.items()]
        hidden = _hidden_rows(connection, tables, source, partner)
    accepted = Tables({name: _without(rows, hidden.get(name)) for name, rows in conformed.accepted.parts.items()})
    rejected = Tables({name: _without(rows, hidden.get(name)) for name, rows in conformed.rejected.parts.items()})
    findings = _findings_without(conformed.findings, hidden, contracts)
    before = conformed.accepted.parts.items()
    counts = {name: rows.num_rows - accepted.parts[name].num_rows for name, rows in before}
    kept = replace(conformed, accepted=accepted, rejected=rejected, findings=findings)
    return Remaining(kept, {name: count for name, count in counts.items() if count}, is_whole=not hidden)


def _hidden_rows(
    connection: duckdb.DuckDBPyConnection,
    tables: Sequence[tuple[ContractTable, Gathered, bool]],
    source: Source,
    partner: Partner,
) -> dict[str, pa.Table]:
    """(`_member`, `_line`) of the rows to hide, per table: by what they say of the person, then by the local key."""
    found: dict[str, list[pa.Table]] = {}
    keys: list[pa.Table] = []
    for contract, rows, is_accepted in tables:
        traits = _Traits.of_table(contract, rows.schema.names)
        if not rows.num_rows or traits.is_empty:
            continue
        connection.register("judged", rows)
        own_key = _local_key(contract, rows.schema.names) or "NULL::VARCHAR"
        matched = connection.sql(
            f"SELECT _member, _line, {own_key} AS key FROM judged WHERE {traits.matches(is_accepted=is_accepted)}"
        ).to_arrow_table()
        found.setdefault(contract.name, []).append(matched.select(["_member", "_line"]))
        keys.append(matched.select(["key"]))
    connection.register("hidden_keys", pa.concat_tables([pa.table({"key": pa.array([], pa.string())}), *keys]))
    for contract, rows, _ in tables:
        key = _local_key(contract, rows.schema.names)
        if key is None or not rows.num_rows:
            continue
        owner = contract.insertion.local_person_source or source.name
        own = f"({key}) IN (SELECT key FROM hidden_keys)" if owner == source.name else "false"
        connection.register("judged", rows)
        matched = connection.sql(
            f"SELECT _member, _line FROM judged WHERE {own}"
            f" OR {_local_mark(literal(owner), literal(partner.code), key)} IN (SELECT mark FROM local_marks)"
        ).to_arrow_table()
        found.setdefault(contract.name, []).append(matched)
    return {name: pa.concat_tables(parts) for name, parts in found.items() if any(len(part) for part in parts)}


def _without(rows: Gathered, hidden: pa.Table | None) -> Gathered:
    if hidden is None:
        return rows
    places = _places(hidden).combine_chunks()
    return rows.where(lambda batch: pc.invert(pc.is_in(_places(batch), value_set=places)))


def _places(rows: pa.Table) -> pa.ChunkedArray:
    """Where each row stands in its delivery, as one text."""
    return pc.binary_join_element_wise(rows["_member"].cast(pa.string()), rows["_line"].cast(pa.string()), "/")


def _findings_without(
    findings: pa.Table, hidden: Mapping[str, pa.Table], contracts: Mapping[str, ContractTable]
) -> pa.Table:
    """The findings about the rows that stay. Lines that could not be cut may say anything: their text goes."""
    gone = [
        f"{name}/{label(member, contracts[name])}/{line}"
        for name, rows in hidden.items()
        for member, line in zip(rows["_member"].to_pylist(), rows["_line"].to_pylist(), strict=True)
    ]
    lines = pc.fill_null(findings["line"].cast(pa.string()), "")
    places = pc.binary_join_element_wise(findings["table"], findings["file"], lines, "/")
    is_uncut = pc.and_(pc.is_valid(findings["line"]), pc.equal(findings["field"], ""))
    values = pc.if_else(is_uncut, pa.scalar(None, pa.string()), findings["value"])
    masked = findings.set_column(findings.schema.get_field_index("value"), "value", values)
    return masked.filter(pc.invert(pc.is_in(places, value_set=pa.array(gone, pa.string())))).cast(findings.schema)


# -- marks -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Traits:
    """What a row says of a person, as SQL expressions of text, by canonical person column."""

    texts: Mapping[str, tuple[str, ...]]

    @classmethod
    def of_person(cls) -> _Traits:
        return cls({name: (quoted(name),) for name in PERSON_COLUMNS})

    @classmethod
    def of_table(cls, table: ContractTable, present: Iterable[str]) -> _Traits:
        there, found = set(present), dict[str, list[str]]()
        for field in table.stored_fields:
            meaning = field.insertion.identifier or field.insertion.person
            if meaning in PERSON_COLUMNS and field.name in there:
                found.setdefault(meaning, []).append(f"CAST({quoted(field.name)} AS VARCHAR)")
        return cls({name: tuple(texts) for name, texts in found.items()})

    @property
    def is_empty(self) -> bool:
        return not any(self.texts.values())

    @property
    def numbers(self) -> tuple[str, ...]:
        """Each trusted number in its one form, null where the text is none."""
        nirs = [f"nir_in({text})" for text in self.texts.get("nir", ())]
        return (*nirs, *(f"niss_in({text})" for text in self.texts.get("niss", ())))

    @property
    def birth(self) -> str:
        return _first_of([f"birth_in({text})" for text in self.texts.get("birth_date", ())])

    @property
    def by_kind(self) -> Mapping[Kind, str]:
        """Per kind, the list of the row's marks."""
        given = f"given_in({_first_of(self.texts.get('first_names', ()))})"
        names = [f"name_in({text})" for column in ("birth_name", "used_name") for text in self.texts.get(column, ())]
        pairs = [f"least({name}, {given}) || ' ' || greatest({name}, {given})" for name in names]  # may be swapped
        return {
            "number": _marks("number", self.numbers),
            "name_and_birth": _marks("name_and_birth", [f"{pair} || ' ' || {self.birth}" for pair in pairs]),
            "name": _marks("name", pairs),
        }

    def matches(self, *, is_accepted: bool) -> str:
        """SQL: whether the row speaks of somebody who is hidden."""
        marks = self.by_kind
        by_name = f"list_has_any({marks['name']}, (SELECT marks FROM names))"
        by_birth = f"""
            list_has_any({marks["name_and_birth"]}, (SELECT marks FROM traits_alone))
            OR ({_first_of(self.numbers)} IS NULL AND (
                list_has_any({marks["name_and_birth"]}, (SELECT marks FROM traits_of_all))
                OR ({self.birth} IS NULL AND {by_name})))
        """
        return (
            f"coalesce(list_has_any({marks['number']}, (SELECT marks FROM numbers)), false)"
            f" OR coalesce({by_birth if is_accepted else by_name}, false)"
        )


def _first_of(texts: Sequence[str]) -> str:
    return f"coalesce({', '.join([*texts, 'CAST(NULL AS VARCHAR)'])})"


def _marks(kind: Kind, texts: Sequence[str]) -> str:
    listed = ", ".join(f"mark('{kind}', {text})" for text in texts)
    return f"list_filter([{listed}], lambda one: one IS NOT NULL)" if listed else "CAST([] AS VARCHAR[])"


def _local_mark(source: str, partner: str, key: str) -> str:
    return f"mark('local', {source} || ' ' || {partner} || ' ' || {key})"


def _local_key(table: ContractTable, present: Iterable[str]) -> str | None:
    """The partner's own key of the person, as text, as identity spells it; nothing where the table has none."""
    fields = table.insertion.local_person_key
    if not fields or not set(fields) <= set(present):
        return None
    return " || '|' || ".join(f"CAST({quoted(name)} AS VARCHAR)" for name in fields)


def _prepare(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """The macros that make marks. The key comes as a value: no text of a query ever holds it."""
    key = lake.keyring.purpose_key(KEY_PURPOSE).ljust(_BLOCK_BYTES, b"\0")
    connection.execute(
        "CREATE TEMP TABLE pads AS SELECT CAST($inside AS BLOB) AS inside, CAST($outside AS BLOB) AS outside",
        {"inside": bytes(byte ^ 0x36 for byte in key), "outside": bytes(byte ^ 0x5C for byte in key)},
    )
    forms = ", ".join(literal(form) for form in _BIRTH_FORMS)
    connection.execute(f"""
        CREATE TEMP MACRO mark(kind, text) AS sha256((SELECT outside FROM pads) ||
            unhex(sha256((SELECT inside FROM pads) || encode(kind || chr(31) || text))));
        CREATE TEMP MACRO figures(text) AS regexp_replace(upper(text), '[^0-9A-Z]', '', 'g');
        CREATE TEMP MACRO nir_in(text) AS
            CASE WHEN regexp_full_match(figures(text), {literal(NIR_FORM)}) THEN figures(text)[1:13] END;
        CREATE TEMP MACRO niss_in(text) AS
            CASE WHEN regexp_full_match(figures(text), {literal(NISS_FORM)}) THEN figures(text) END;
        CREATE TEMP MACRO plain(text) AS upper(strip_accents(text));
        CREATE TEMP MACRO name_in(text) AS
            nullif(coalesce(nullif(regexp_replace(plain(text), '[^A-Z]', '', 'g'), ''), trim(upper(text))), '');
        CREATE TEMP MACRO given_in(text) AS
            nullif(coalesce(nullif(regexp_extract(plain(text), '[A-Z]+'), ''), trim(upper(text))), '');
        CREATE TEMP MACRO birth_in(text) AS CAST(CAST(try_strptime(text, [{forms}]) AS DATE) AS VARCHAR);
    """)


def _register(connection: duckdb.DuckDBPyConnection, tombstones: Tombstones) -> None:
    """The marks to look for, as one-row tables of lists; local marks, of which there may be many, as rows."""

    def marks(kind: Kind, entries: Iterable[Tombstone]) -> pa.Table:
        every = sorted({mark for one in entries for mark in one.marks.get(kind, ())})
        return pa.table({"marks": pa.array([every], pa.list_(pa.string()))})

    without_number = [one for one in tombstones.entries if not one.marks.get("number")]
    connection.register("numbers", marks("number", tombstones.entries))
    connection.register("traits_alone", marks("name_and_birth", without_number))
    connection.register("traits_of_all", marks("name_and_birth", tombstones.entries))
    connection.register("names", marks("name", tombstones.entries))
    local = sorted({mark for one in tombstones.entries for mark in one.marks.get("local", ())})
    connection.register("local_marks", pa.table({"mark": pa.array(local, pa.string())}))
