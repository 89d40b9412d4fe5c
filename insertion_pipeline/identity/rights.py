"""The rights of persons: to be erased, to object, to be told what is held.

Belongs here: finding whom a request speaks of, taking that person out of everything that is kept, gathering what is
held. Does not belong here: keeping somebody out of later deliveries (`ingestion.tombstones`), publications, which hold
no person.

An erasure puts up the tombstone first: from then on nothing of the person is written, whatever is cut short after it.
Then the person goes from the deliveries, from the register and the tables of identity, and from every table above the
seal that has a row under the person's pseudonym; what is computed from those is made again by the next run. A line of
the ledger stays, in counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from insertion_pipeline.identity import decisions, ledger, pseudonyms, records, resolving
from insertion_pipeline.identity.identifiers import SQL_MACROS, parse_nir, parse_niss
from insertion_pipeline.identity.normalising import PERSON_SCHEMA
from insertion_pipeline.identity.records import Rows
from insertion_pipeline.identity.register import Register
from insertion_pipeline.ingestion import deliveries, tombstones
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.registry import Registry, Space


class UnclearRequest(Exception):
    """The request says too little to recognise anybody: a number, or a name, a first name and a birth date."""


class SeveralPersons(Exception):
    """The request fits several persons. `persons` are their ids; the message names nobody."""

    def __init__(self, persons: Sequence[str]) -> None:
        super().__init__(f"{len(persons)} persons fit")
        self.persons = tuple(persons)


@dataclass(frozen=True)
class Request:
    """Whom a request speaks of: a number, or name, first name and birth date (ISO); or an id, to choose among several.

    Not shown by `repr`: it names somebody.
    """

    space: Space
    nir: str | None = None
    niss: str | None = None
    name: str | None = None
    first_name: str | None = None
    birth_date: str | None = None
    person_id: str | None = None

    def __repr__(self) -> str:
        told = [one.name for one in fields(self) if one.name != "space" and getattr(self, one.name)]
        return f"Request({self.space}: {', '.join(told)})"

    @property
    def number(self) -> str | None:
        """The number in its canonical form. Raises `UnclearRequest` for one that is none."""
        written = self.nir if self.space == "fr" else self.niss
        if written is None:
            return None
        year = int(self.birth_date[:4]) if self.birth_date else None
        parsed = parse_nir(written) if self.space == "fr" else parse_niss(written, year)
        if parsed is None:
            raise UnclearRequest("the number is not one")
        return parsed.number

    @property
    def has_traits(self) -> bool:
        return bool(self.name and self.first_name and self.birth_date)


@dataclass(frozen=True)
class Found:
    """One person as the home knows them.

    `persons`: the ids (none for somebody whom no run has met yet). `records`: canonical records with `source`;
    `local_keys`: rows of `tombstones.LOCAL_KEYS_SCHEMA`.
    """

    persons: tuple[str, ...]
    records: pa.Table
    local_keys: pa.Table

    @property
    def record_ids(self) -> list[str]:
        found: list[str] = pc.unique(self.records["record_id"]).to_pylist()
        return found


@dataclass(frozen=True)
class Removal:
    """What an erasure or an objection took away, in counts."""

    tombstone: int
    records: int
    persons: int
    deliveries: int
    tables: int

    def to_json(self) -> dict[str, int]:
        """The answer of `insertion erase --json`."""
        return {one.name: getattr(self, one.name) for one in fields(self)}


# -- finding -----------------------------------------------------------------------------------------------------------

# Folded as people compare: letters only, without accents; the first of the given names.
_SEEDS = """
SELECT DISTINCT record_id FROM sightings
WHERE person_space = $space AND CASE
    WHEN $number IS NOT NULL AND coalesce(
        CASE WHEN $space = 'fr' THEN canonical_nir(nir) ELSE canonical_niss(niss, NULL) END = $number, false) THEN true
    WHEN $number IS NOT NULL AND (SELECT bool_or(carries) FROM carriers) THEN false
    ELSE coalesce(letters($name) IN (letters(birth_name), letters(used_name))
        AND first_letters($first_name) = first_letters(first_names) AND birth_date = $birth_date, false)
END
"""
_CARRIERS = """
CREATE OR REPLACE TEMP TABLE carriers AS
SELECT coalesce(CASE WHEN $space = 'fr' THEN canonical_nir(nir) ELSE canonical_niss(niss, NULL) END = $number, false)
    AS carries
FROM sightings WHERE person_space = $space
"""


def find(lake: Lake, registry: Registry, request: Request, *, rows: Rows = records.conformed_rows) -> Found:
    """Whom the request speaks of, with every record of theirs in the deliveries that count.

    Records that carry the number, or else the name with the birth date, and all those that the last run took for the
    same person. Raises `UnclearRequest`, `SeveralPersons`.
    """
    if request.number is None and not request.has_traits and request.person_id is None:
        raise UnclearRequest("a number, or a name, a first name and a birth date")
    with lake.connect(sealed_spill=True) as connection:
        _gather(connection, lake, registry, request.space, rows)
        if request.person_id is not None:
            persons = [request.person_id]
            seeds: list[str] = []
        else:
            seeds = _seeds(connection, request)
            persons = _persons_of(connection, seeds)
        if len(persons) > 1:
            raise SeveralPersons(persons)
        connection.register("seeds", pa.table({"record_id": pa.array(seeds, pa.string())}))
        connection.register("chosen", pa.table({"person_id": pa.array(persons, pa.string())}))
        connection.execute(
            """CREATE TEMP TABLE theirs AS
            SELECT record_id FROM known SEMI JOIN chosen USING (person_id) UNION SELECT record_id FROM seeds"""
        )
        columns = ", ".join(f"sightings.{name}" for name in PERSON_SCHEMA.names)
        found = connection.sql(
            f"SELECT DISTINCT {columns}, source, month FROM sightings SEMI JOIN theirs USING (record_id)"
            " WHERE person_space = $space ORDER BY source, partner, record_id, month",
            params={"space": request.space},
        ).to_arrow_table()
        keys = connection.sql(
            "SELECT DISTINCT source, partner, key FROM local_keys SEMI JOIN theirs USING (record_id) ORDER BY ALL"
        ).to_arrow_table()
    return Found(tuple(persons), found, keys.cast(tombstones.LOCAL_KEYS_SCHEMA))


def _gather(connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, space: Space, rows: Rows) -> None:
    """Make `sightings`, `local_keys` (record_id, source, partner, key) and `known` (record_id, person_id)."""
    months = resolving.months_told(lake)
    resolving.gather(connection, lake, registry, months, rows)
    connection.execute("CREATE TEMP TABLE local_keys (record_id VARCHAR, source VARCHAR, partner VARCHAR, key VARCHAR)")
    for source in registry.sources.values():
        for together in resolving.months_by_version(source, months):
            for table in records.tables_with_persons(source, together[-1]):
                if table.insertion.local_person_key:
                    relation = records.described_rows(lake, connection, registry, source, table, together, rows)
                    connection.execute(
                        f"INSERT INTO local_keys SELECT DISTINCT record_id, '{source.name}', _partner, p_key"
                        f" FROM {relation} WHERE p_key IS NOT NULL AND _space = $space",
                        {"space": space},
                    )
    connection.register("known", Register.opened(lake, space).members)


def _seeds(connection: duckdb.DuckDBPyConnection, request: Request) -> list[str]:
    connection.execute(SQL_MACROS)
    connection.execute(
        """
        CREATE OR REPLACE TEMP MACRO letters(text) AS
            nullif(regexp_replace(upper(strip_accents(text)), '[^A-Z]', '', 'g'), '');
        CREATE OR REPLACE TEMP MACRO first_letters(text) AS
            nullif(regexp_extract(upper(strip_accents(text)), '[A-Z]+'), '')
        """
    )
    about = {"space": request.space, "number": request.number}
    connection.execute(_CARRIERS, about)
    traits = {"name": request.name, "first_name": request.first_name, "birth_date": request.birth_date}
    return [str(record) for (record,) in connection.execute(_SEEDS, about | traits).fetchall()]


def _persons_of(connection: duckdb.DuckDBPyConnection, seeds: Sequence[str]) -> list[str]:
    connection.register("asked", pa.table({"record_id": pa.array(seeds, pa.string())}))
    rows = connection.execute("SELECT DISTINCT person_id FROM known SEMI JOIN asked USING (record_id) ORDER BY 1")
    return [str(person) for (person,) in rows.fetchall()]


# -- leaving -----------------------------------------------------------------------------------------------------------


def erase(lake: Lake, registry: Registry, request: Request, *, by: str, rows: Rows = records.conformed_rows) -> Removal:
    """Take a person out of everything, and keep them out. Raises `UnclearRequest`, `SeveralPersons`.

    Somebody whom nobody has delivered yet gets the tombstone that the request alone gives.
    """
    return _leave(lake, registry, find(lake, registry, request, rows=rows), request, "erasure", by)


def object_to(
    lake: Lake, registry: Registry, request: Request, *, by: str, rows: Rows = records.conformed_rows
) -> Removal:
    """Take a person out of the sources whose contract honours objections, and keep them out of those.

    Raises `UnclearRequest`, `SeveralPersons`.
    """
    return _leave(lake, registry, find(lake, registry, request, rows=rows), request, "objection", by)


def _leave(
    lake: Lake, registry: Registry, found: Found, request: Request, reason: tombstones.Reason, by: str
) -> Removal:
    leaving = found.records
    if reason == "objection":
        honoured = [name for name, one in registry.sources.items() if one.insertion.objection == "honoured"]
        leaving = leaving.filter(pc.is_in(leaving["source"], value_set=pa.array(honoured, pa.string())))
    tombstone = tombstones.write(lake, request.space, reason, _described(found, request), found.local_keys)
    changed = deliveries.forget(lake, registry)
    gone = pc.unique(leaving["record_id"]).to_pylist()
    staying = set(found.record_ids) - set(gone)
    standing_for = _pseudonyms(lake, found)
    Register.opened(lake, request.space).erase(gone, () if staying else found.persons)
    tables = resolving.withdraw(lake, request.space, gone, () if staying else found.persons)
    tables += _take_out(lake, standing_for) + (decisions.forget(lake, request.space, gone) > 0)
    removal = Removal(tombstone.number, len(gone), len(found.persons) if not staying else 0, changed, tables)
    ledger.append(lake, reason, by, space=request.space, **removal.to_json())
    return removal


def _described(found: Found, request: Request) -> pa.Table:
    """What the person is known by: every record, and the request itself."""
    asked = {
        "nir": request.nir, "niss": request.niss, "birth_name": request.name, "first_names": request.first_name,
        "birth_date": request.birth_date,
    }  # fmt: skip
    names = list(tombstones.PERSON_COLUMNS)
    said = pa.Table.from_pylist(
        [{name: asked.get(name) for name in names}], pa.schema([(n, pa.string()) for n in names])
    )
    return pa.concat_tables([said, found.records.select(names)])


def _pseudonyms(lake: Lake, found: Found) -> list[str]:
    """What stands for the person above the seal: the id's pseudonym, and that of a key that no record describes."""
    key = lake.keyring.purpose_key("facts")
    strangers = [f"{row['source']}\x1f{row['partner']}\x1f{row['key']}" for row in found.local_keys.to_pylist()]
    return [pseudonyms.of(key, text) for text in (*found.persons, *strangers)]


def _take_out(lake: Lake, standing_for: Sequence[str]) -> int:
    """Remove the rows of these pseudonyms from every table above the seal; returns how many tables had any."""
    changed, gone = 0, pa.array(standing_for, pa.string())
    for path in sorted(lake.open_area.rglob("*.parquet")):
        if "person" not in pq.read_schema(path).names:
            continue
        held = pc.is_in(pq.read_table(path, columns=["person"])["person"], value_set=gone)
        if pc.any(held).as_py():
            lake.write_parquet(path, lake.read_parquet(ParquetFile(path)).filter(pc.invert(held)))
            changed += 1
    return changed


# -- being told --------------------------------------------------------------------------------------------------------


def held_on(
    lake: Lake, registry: Registry, request: Request, *, by: str, rows: Rows = records.conformed_rows
) -> dict[str, Any]:
    """Everything that is held on one person, for that person alone: rows as delivered, ids and their history.

    Raises `UnclearRequest`, `SeveralPersons`. The ledger notes that it was looked at.
    """
    found = find(lake, registry, request, rows=rows)
    register = Register.opened(lake, request.space)
    told = {
        "space": request.space,
        "persons": list(found.persons),
        "records": found.records.to_pylist(),
        "rows": _rows_held(lake, registry, found, rows),
        "events": [
            event
            for event in register.events.to_pylist()
            if event["person_id"] in found.persons or event["other_id"] in found.persons
        ],
        "sources": {
            name: {
                "controller": registry.sources[name].insertion.controller,
                "legal_basis": registry.sources[name].insertion.legal_basis,
                "purposes": list(registry.sources[name].insertion.purposes),
                "objection": registry.sources[name].insertion.objection,
                "retention_months": {
                    str(kind): kept for kind, kept in registry.sources[name].insertion.retention_months.items()
                },
            }
            for name in sorted(set(found.records["source"].to_pylist()))
        },
    }
    ledger.append(lake, "access", by, space=request.space, records=len(found.record_ids), persons=len(found.persons))
    return told


def _rows_held(lake: Lake, registry: Registry, found: Found, rows: Rows) -> list[Mapping[str, Any]]:
    """The rows of every source that speak of the person, through their own traits or through the partner's key."""
    held: list[Mapping[str, Any]] = []
    months = resolving.months_told(lake)
    whose = "_partner, unnest(_months) AS _month"
    with lake.connect(sealed_spill=True) as connection:
        connection.register("theirs", pa.table({"record_id": pa.array(found.record_ids, pa.string())}))
        connection.register("keys", found.local_keys)
        for source in registry.sources.values():
            for together in resolving.months_by_version(source, months):
                for table in source.version_for(together[-1]).resources:
                    stored = ", ".join(f'"{field.name}"' for field in table.stored_fields)
                    if table.insertion.persons:
                        relation = records.described_rows(lake, connection, registry, source, table, together, rows)
                        query = f"SELECT {stored}, {whose} FROM {relation} SEMI JOIN theirs USING (record_id)"
                    elif (key := records.local_key(table)) is not None:
                        owner = table.insertion.local_person_source or source.name
                        relation = rows(lake, connection, registry, source.name, table.name, together)
                        query = (
                            f"SELECT {stored}, {whose} FROM {relation} AS given WHERE (_partner, {key}) IN"
                            f" (SELECT (partner, key) FROM keys WHERE source = '{owner}')"
                        )
                    else:
                        continue
                    held.extend(
                        {"source": source.name, "table": table.name, **row}
                        for row in connection.sql(query).to_arrow_table().to_pylist()
                    )
    return held
