"""The person register: ids that stay with a person from one linkage to the next.

Belongs here: giving each person of a partition the id that it had, retiring and restoring ids, the events that say so.
Does not belong here: the partition itself (`linkage`), which is a function of records, decisions and model alone; the
pseudonyms that stand for ids above the seal (`pseudonymising`).

Only naming has memory. Of several persons that claim an id, it goes to the one that carries its trusted number, then to
the one with most of the records that were first known under it, then to the one with most of those known under it now;
of several ids that one person claims, as many records speaking for each, it has the oldest. Two persons that become one
keep the id that wins the same contest; the other is retired, leads to it for ever, and is never given to anybody else.
When a correction parts them again, the records that were first known under the retired id take it back: both are who
they were.

Ids depend on history, the partition never does: the same records in one delivery or in ten, in any order, end as the
same persons, under ids that each keep what they were first called.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC
from pathlib import Path
from typing import Final, NamedTuple

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.identity.identifiers import SQL_MACROS
from insertion_pipeline.lake import Lake, ParquetFile, canonical_json, write_json
from insertion_pipeline.remote import Overtaken
from insertion_pipeline.sealing import define_hmac

MEMBERS_SCHEMA = pa.schema([("record_id", pa.string()), ("person_id", pa.string()), ("first_id", pa.string())])
IDS_SCHEMA = pa.schema(
    [("person_id", pa.string()), ("number_token", pa.string()), ("successor", pa.string()), ("since", pa.int64())]
)
EVENTS_SCHEMA = pa.schema(
    [
        ("generation", pa.int64()),
        ("event", pa.string()),
        ("person_id", pa.string()),
        ("other_id", pa.string()),
        ("records", pa.int64()),
        ("reason", pa.string()),
        ("model", pa.string()),
        ("at", pa.string()),
    ]
)
_SCHEMAS = {"members": MEMBERS_SCHEMA, "ids": IDS_SCHEMA, "events": EVENTS_SCHEMA}
#: The key of the tokens by which an id knows its trusted number again.
REGISTER_PURPOSE: Final = "register"


class _Claim(NamedTuple):
    """Why a person may have an id, best first when sorted."""

    other_number: bool
    minus_native: int
    minus_records: int
    since: int
    person: str
    person_id: str


@dataclass(frozen=True)
class Register:
    """The register of one person space, on disk, under the space's seal.

    `members`: one row per record ever named and not forgotten (`person_id` now, `first_id` when it was first seen).
    `ids`: one row per id (`successor` is null while it is in use). `events`: one row per create, merge, split, move.
    """

    lake: Lake = field(repr=False)
    space: str
    folder: Path
    generation: int
    #: What the tables of this generation are called: two writers of the same generation write other files.
    stem: str = ""

    @classmethod
    def opened(cls, lake: Lake, space: str, folder: Path | None = None) -> Register:
        """The register of a space: the home's own, or the one in `folder`. One that is not there yet is empty."""
        place = (folder / space) if folder is not None else lake.landing / "register" / space
        try:
            pointer = json.loads(lake.read_kept(place / "register.json"))
        except FileNotFoundError:
            return cls(lake, space, place, 0)
        generation = int(pointer["generation"])
        return cls(lake, space, place, generation, str(pointer.get("stem", generation)))

    @property
    def members(self) -> pa.Table:
        return self._table("members")

    @property
    def ids(self) -> pa.Table:
        return self._table("ids")

    @property
    def events(self) -> pa.Table:
        return self._table("events")

    def current(self, person_id: str) -> str | None:
        """The id that now stands for `person_id`, itself while it is in use, null for one that nobody ever had."""
        successors = dict(zip(*(self.ids[name].to_pylist() for name in ("person_id", "successor")), strict=True))
        while person_id in successors and successors[person_id] is not None:
            person_id = successors[person_id]
        return person_id if person_id in successors else None

    def write(self, members: pa.Table, ids: pa.Table, events: pa.Table) -> Register:
        """The next generation: its tables first, then the pointer to them, then the former ones go."""
        following = self.generation + 1
        after = replace(self, generation=following, stem=f"{following}-{secrets.token_hex(4)}")
        for name, table in (("members", members), ("ids", ids), ("events", events)):
            file = after._file(name)
            self.lake.write_parquet(file.path, table.cast(_SCHEMAS[name]), key=file.key)
            self.lake.keep(file.path)
        try:
            self.lake.update(self.folder / "register.json", after._in_place_of_this)
        except Overtaken:
            self._clear(lambda name: name.endswith(f"-{after.stem}.parquet"))
            raise
        self._clear(lambda name: name.endswith(".parquet") and not name.endswith(f"-{after.stem}.parquet"))
        return after

    def _clear(self, is_past: Callable[[str], bool]) -> None:
        for name in self.lake.kept_below(self.folder):
            if is_past(name):
                self.lake.remove(self.folder / name)

    def _in_place_of_this(self, before: bytes | None) -> bytes:
        """The pointer to this generation. Raises `Overtaken` where another machine has written one of this number."""
        known = 0 if before is None else int(json.loads(before)["generation"])
        if known != self.generation - 1:
            raise Overtaken(f"register of {self.space}, generation {known}")
        return canonical_json({"generation": self.generation, "stem": self.stem}) + b"\n"

    def forget(self, records: Iterable[str], persons: Iterable[str]) -> Register:
        """The register without these records and without a trace of these persons, events included."""
        gone_records, gone = pa.array(sorted(set(records)), pa.string()), pa.array(sorted(set(persons)), pa.string())
        with _at_work(self) as connection:
            connection.register("gone_records", pa.table({"record_id": gone_records}))
            connection.register("gone", pa.table({"person_id": gone}))
            members = connection.sql(
                """FROM members WHERE record_id NOT IN (FROM gone_records) AND person_id NOT IN (FROM gone)
                ORDER BY record_id"""
            ).to_arrow_table()
            ids = connection.sql(
                """FROM ids WHERE person_id NOT IN (FROM gone) AND coalesce(successor, '') NOT IN (FROM gone)
                ORDER BY person_id"""
            ).to_arrow_table()
            events = connection.sql(
                """FROM events WHERE person_id NOT IN (FROM gone) AND coalesce(other_id, '') NOT IN (FROM gone)"""
            ).to_arrow_table()
        unchanged = (len(members), len(ids)) == (len(self.members), len(self.ids))
        return self if unchanged else self.write(members, ids, events)

    def erase(self, records: Iterable[str], persons: Iterable[str]) -> Register:
        """`forget`, for good: what is gone stays gone from a register that a copy brings back (`without_erased`)."""
        records, persons = sorted(set(records)), sorted(set(persons))
        key, folder = self.lake.keyring.purpose_key(REGISTER_PURPOSE), _erased_folder(self.lake)
        tokens = sorted(_token(key, one) for one in (*records, *persons))
        if tokens:
            name = hashlib.sha256("".join(tokens).encode()).hexdigest()[:32]
            write_json(folder / f"{name}.json", tokens)
            self.lake.keep(folder / f"{name}.json")
        return self.forget(records, persons)

    def without_erased(self) -> Register:
        """The register without whoever was erased since it was written: one that a copy brought back still has them."""
        self.lake.fetch_all(_erased_folder(self.lake))
        erased = {path.stem: json.loads(path.read_bytes()) for path in sorted(_erased_folder(self.lake).glob("*.json"))}
        tokens = {token for one in erased.values() for token in one}
        if not tokens or not self.generation:
            return self
        key = self.lake.keyring.purpose_key(REGISTER_PURPOSE)
        members = self.members.to_pydict()
        known = zip(members["record_id"], members["person_id"], strict=True)
        gone = [(record, person) for record, person in known if tokens & {_token(key, record), _token(key, person)}]
        persons = {person for _, person in gone if _token(key, person) in tokens}
        return self.forget([record for record, _ in gone], persons)

    def _file(self, name: str) -> ParquetFile:
        return ParquetFile(self.folder / f"{name}-{self.stem}.parquet", self.lake.identity_key(self.space))

    def _table(self, name: str) -> pa.Table:
        if not self.generation:
            return _SCHEMAS[name].empty_table()
        file = self._file(name)
        self.lake.fetch(file.path)
        return self.lake.read_parquet(file)


def _erased_folder(lake: Lake) -> Path:
    """Beside the tombstones, which no copy brought back takes away."""
    return lake.home / "tombstones" / "erased"


def _token(key: bytes, one: str) -> str:
    return hmac.digest(key, one.encode(), "sha256").hex()


def name_persons(register: Register, linked: pa.Table, records: pa.Table, *, model: str) -> tuple[pa.Table, Register]:
    """`linked` (`record_id, person_id, …`) with the ids of the register in place of the linkage's own.

    `records`: the canonical records that were linked, for their numbers. Writes the next generation of the register
    when anything changed: the same partition again writes nothing.
    """
    with _at_work(register) as connection:
        connection.register("linked", linked)
        connection.register("records", records.select(["record_id", "nir", "niss", "birth_date"]))
        connection.execute("CREATE TEMP TABLE partition AS SELECT record_id, person_id AS person FROM linked")
        connection.execute(_CLAIMS)
        if _is_unchanged(connection):
            return _named(connection, "settled").cast(linked.schema), register
        connection.execute(SQL_MACROS)
        define_hmac(connection, "token", register.lake.keyring.purpose_key(REGISTER_PURPOSE))
        connection.execute(_NUMBERS, {"space": register.space})
        _assign(connection, register.space)
        return _named(connection, "given").cast(linked.schema), _remember(connection, register, model)


def name_all(lake: Lake, folder: Path, linked: pa.Table, records: pa.Table, *, model: str) -> pa.Table:
    """`name_persons` for a table that holds both spaces, with the registers kept in `folder`, one for each."""
    parts = []
    for space in ("fr", "be"):
        of_space = records.filter(pc.equal(records["person_space"], space))
        own = linked.filter(pc.is_in(linked["record_id"], value_set=of_space["record_id"].combine_chunks()))
        if len(own):
            parts.append(name_persons(Register.opened(lake, space, folder), own, of_space, model=model)[0])
    return pa.concat_tables([linked.schema.empty_table(), *parts]).sort_by("record_id")


@contextmanager
def _at_work(register: Register) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection in which a register's tables are `members`, `ids` and `events`."""
    with register.lake.connect(sealed_spill=True) as connection:
        for name in _SCHEMAS:
            connection.register(name, register._table(name))
        yield connection


# -- claims ------------------------------------------------------------------------------------------------------------

# A number that may be trusted: a NIR with its key, definitive and not of a foreign-born person; a NISS, not a bis one.
# A person's is the one that most of its records carry.
_NUMBERS = """
CREATE OR REPLACE TEMP TABLE numbers AS
WITH written AS (
    SELECT person, CASE WHEN $space = 'fr' THEN compacted(nir) ELSE compacted(niss) END AS number,
        TRY_CAST(left(birth_date, 4) AS SMALLINT) AS year
    FROM records JOIN partition USING (record_id) JOIN doubtful USING (person)
    WHERE CASE WHEN $space = 'fr' THEN nir ELSE niss END IS NOT NULL
), carried AS (
    SELECT person, CASE
            WHEN $space = 'fr' AND length(number) = 15 AND number[1] IN ('1', '2') AND substring(number, 6, 2) <> '99'
                THEN nir_of_compacted(number)
            WHEN $space = 'be' AND number[3] IN ('0', '1') THEN niss_of_compacted(number, year)
        END AS number
    FROM written
), counted AS (
    SELECT person, number, count(*) AS records FROM carried WHERE number IS NOT NULL GROUP BY ALL
)
SELECT person, token('number ' || $space || ' ' || number) AS number_token FROM counted
QUALIFY row_number() OVER (PARTITION BY person ORDER BY records DESC, number) = 1
"""

# Which ids the records of a person had until now, and which one its number had.
_CLAIMS = """
CREATE OR REPLACE TEMP TABLE known AS
SELECT person, person_id, first_id FROM partition JOIN members USING (record_id);
CREATE OR REPLACE TEMP TABLE held AS
SELECT person, person_id, count(*) AS records, count(*) FILTER (first_id = person_id) AS native
FROM known GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE settled AS
WITH plain AS (
    SELECT any_value(person_id) AS person_id, person FROM held GROUP BY person HAVING count(*) = 1
)
SELECT person, person_id FROM plain
WHERE person_id IN (SELECT person_id FROM held GROUP BY person_id HAVING count(*) = 1);
CREATE OR REPLACE TEMP TABLE doubtful AS
SELECT DISTINCT person FROM partition WHERE person NOT IN (
    SELECT person FROM settled JOIN ids USING (person_id) WHERE number_token IS NOT NULL);
"""

_CONTESTED = """
WITH by_number AS (
    SELECT person, person_id FROM numbers JOIN ids USING (number_token) WHERE successor IS NULL
), claims AS (
    SELECT person, person_id FROM held UNION SELECT person, person_id FROM by_number
)
SELECT numbers.number_token IS DISTINCT FROM ids.number_token OR ids.number_token IS NULL, -coalesce(native, 0),
    -coalesce(records, 0), since, person, person_id
FROM claims JOIN ids USING (person_id) LEFT JOIN held USING (person, person_id) LEFT JOIN numbers USING (person)
WHERE person NOT IN (SELECT person FROM settled) AND person_id NOT IN (SELECT person_id FROM settled)
"""

_TAKEN_BACK = """
SELECT numbers.number_token IS DISTINCT FROM ids.number_token OR ids.number_token IS NULL, -count(*), 0, since, person,
    known.first_id
FROM known JOIN ids ON ids.person_id = known.first_id LEFT JOIN numbers USING (person)
WHERE (person NOT IN (SELECT person FROM given)) AND known.first_id NOT IN (SELECT person_id FROM given)
    AND successor IS NOT NULL
GROUP BY ALL
"""


def _is_unchanged(connection: duckdb.DuckDBPyConnection) -> bool:
    """Whether every record is known, and every person made of the records of one id that nobody else claims."""
    ((unknown, contested),) = connection.execute(
        """SELECT (SELECT count(*) FROM partition ANTI JOIN members USING (record_id)),
            (SELECT count(*) FROM partition ANTI JOIN settled USING (person))"""
    ).fetchall()
    return not unknown and not contested


def _named(connection: duckdb.DuckDBPyConnection, names: str) -> pa.Table:
    """The linkage with the ids of the table `names` (person, person_id)."""
    return connection.sql(
        f"""SELECT linked.* REPLACE (named.person_id AS person_id)
        FROM linked JOIN {names} AS named ON named.person = linked.person_id ORDER BY record_id"""
    ).to_arrow_table()


def _contest(claims: Sequence[_Claim]) -> dict[str, str]:
    """Person to id: the best claim first, each person and each id once."""
    given: dict[str, str] = {}
    taken: set[str] = set()
    for claim in sorted(claims):
        if claim.person not in given and claim.person_id not in taken:
            given[claim.person] = claim.person_id
            taken.add(claim.person_id)
    return given


def _assign(connection: duckdb.DuckDBPyConnection, space: str) -> None:
    """Make `given` (person, person_id, how): one row per person of the partition."""
    connection.execute("CREATE OR REPLACE TEMP TABLE given AS SELECT person, person_id, 'kept' AS how FROM settled")
    for query, how in ((_CONTESTED, "kept"), (_TAKEN_BACK, "restored")):
        won = _contest([_Claim(*row) for row in connection.execute(query).fetchall()])
        if won:
            connection.register("won", pa.table({"person": list(won), "person_id": list(won.values())}))
            connection.execute("INSERT INTO given SELECT person, person_id, $how FROM won", {"how": how})
            connection.unregister("won")
    connection.execute(_NEW, {"space": space})
    while _collide(connection):
        connection.execute(
            "UPDATE given SET person_id = 'p' || left(sha256(person_id), 32)"
            " WHERE how = 'new' AND person_id IN (SELECT person_id FROM ids)"
        )


# A new id is named after the person's first record; one that somebody had already is never given again.
_NEW = """
INSERT INTO given
SELECT person, 'p' || left(sha256($space || ' ' || min(record_id)), 32), 'new'
FROM partition WHERE person NOT IN (SELECT person FROM given) GROUP BY person
"""


def _collide(connection: duckdb.DuckDBPyConnection) -> bool:
    return bool(
        connection.execute("SELECT count(*) FROM given JOIN ids USING (person_id) WHERE how = 'new'").fetchall()[0][0]
    )


# -- what changed ------------------------------------------------------------------------------------------------------

_CHANGES = """
CREATE OR REPLACE TEMP TABLE passed AS -- records that had an id, and the one they have now
SELECT known.person_id AS former, given.person_id AS latter, count(*) AS records
FROM known JOIN given USING (person) GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE retired AS
SELECT former AS person_id, latter AS successor, sum(records) OVER (PARTITION BY former) AS records
FROM passed
WHERE former NOT IN (SELECT person_id FROM given)
QUALIFY row_number() OVER (PARTITION BY former ORDER BY passed.records DESC, latter) = 1;
CREATE OR REPLACE TEMP TABLE parted AS
SELECT latter AS person_id, former AS other_id, sum(records) OVER (PARTITION BY latter) AS records
FROM passed
WHERE latter IN (SELECT person_id FROM given WHERE how <> 'kept')
QUALIFY row_number() OVER (PARTITION BY latter ORDER BY passed.records DESC, former) = 1
"""

_HAPPENED = """
WITH sized AS (
    SELECT person_id, how, number_token, count(*) AS records
    FROM given JOIN partition USING (person) LEFT JOIN numbers USING (person) GROUP BY ALL
), happened AS (
    SELECT 1 AS rank, 'create' AS event, person_id, NULL AS other_id, records, 'first seen' AS reason
    FROM sized WHERE how = 'new' AND person_id NOT IN (SELECT person_id FROM parted)
    UNION ALL
    SELECT 2, 'split', person_id, other_id, parted.records,
        CASE how WHEN 'restored' THEN 'takes back its former id' ELSE 'was never apart' END
    FROM parted JOIN sized USING (person_id)
    UNION ALL
    SELECT 3, 'merge', retired.person_id, retired.successor, retired.records,
        CASE
            WHEN own.number_token IS DISTINCT FROM kept.number_token AND kept.number_token IS NOT NULL
                THEN 'the other id has the trusted number'
            ELSE 'the other id has more of the records, or is older' END
    FROM retired JOIN ids AS own USING (person_id) LEFT JOIN ids AS kept
        ON kept.person_id = retired.successor
    UNION ALL
    SELECT 4, 'move', former, latter, records, 'records are of another person'
    FROM passed
    WHERE former <> latter AND (former, latter) NOT IN (SELECT (person_id, successor) FROM retired)
        AND (latter, former) NOT IN (SELECT (person_id, other_id) FROM parted)
)
SELECT $generation AS generation, event, person_id, other_id, records, reason, $model AS model, $at AS at
FROM happened ORDER BY rank, person_id, other_id
"""

_MEMBERS = """
WITH present AS (
    SELECT record_id, given.person_id, coalesce(first_id, given.person_id) AS first_id
    FROM partition JOIN given USING (person) LEFT JOIN members USING (record_id)
), absent AS (
    SELECT record_id, coalesce(successor, person_id) AS person_id, first_id
    FROM members LEFT JOIN retired USING (person_id) WHERE record_id NOT IN (SELECT record_id FROM partition)
)
FROM present UNION ALL FROM absent ORDER BY record_id
"""

_IDS = """
WITH numbered AS (
    SELECT person_id, number_token FROM given JOIN numbers USING (person)
), older AS (
    SELECT ids.person_id, coalesce(numbered.number_token, ids.number_token) AS number_token,
        CASE WHEN given.person_id IS NULL THEN coalesce(retired.successor, ids.successor) END AS successor, since
    FROM ids LEFT JOIN retired USING (person_id) LEFT JOIN given USING (person_id) LEFT JOIN numbered USING (person_id)
)
FROM older
UNION ALL
SELECT person_id, number_token, NULL, $generation FROM given LEFT JOIN numbered USING (person_id) WHERE how = 'new'
ORDER BY person_id
"""


def _remember(connection: duckdb.DuckDBPyConnection, register: Register, model: str) -> Register:
    """Write what is known now, when it differs from what was known."""
    connection.execute(_CHANGES)
    generation = register.generation + 1
    at = register.lake.clock.now().astimezone(UTC).isoformat(timespec="seconds")
    facts = {"generation": generation, "model": model, "at": at}
    happened = connection.sql(_HAPPENED, params=facts).to_arrow_table().cast(EVENTS_SCHEMA)
    ((unknown,),) = connection.execute("SELECT count(*) FROM partition ANTI JOIN members USING (record_id)").fetchall()
    if not len(happened) and not unknown:
        return register
    members = connection.sql(_MEMBERS).to_arrow_table()
    ids = connection.sql(_IDS, params={"generation": generation}).to_arrow_table()
    return register.write(members, ids, pa.concat_tables([register.events, happened]))
