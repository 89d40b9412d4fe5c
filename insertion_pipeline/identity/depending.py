"""What the identity tables depend on, and what the pseudonymised tables of a source and month do.

Belongs here: all that linkage is given, as digests; which months of a source are read together, digests of what is
known of the persons in them. Does not belong here: who is who (`resolving`), writing tables (`pseudonymising`), keeping
notes (`making`).

Months are read together where one delivery counts for them: an export of thirteen months describes its persons once,
whatever the month of the row. A source whose rows name persons by the key of another one depends on that one too.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

import duckdb
import pyarrow as pa

from insertion_pipeline.identity import decisions, quality, thresholds
from insertion_pipeline.identity.register import REGISTER_PURPOSE
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.ingestion.receipts import Receipt, received
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry, Source, Space


def linked_of(
    connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, months: Sequence[Month], space: Space
) -> Sequence[Any]:
    """All that the identity tables of a space are made of but the register, as values that JSON can hold.

    `sightings` stand in the connection. A record's id is a digest of all that it says: who says it when is the rest.
    """
    keys = {purpose: lake.keyring.purpose_key(purpose) for purpose in ("facts", REGISTER_PURPOSE)}
    told = {purpose: hmac.digest(key, b"made of", "sha256").hex() for purpose, key in keys.items()}
    seen = connection.execute(_SEEN, {"space": space, "salt": told[REGISTER_PURPOSE]}).fetchall()
    month = str(months[-1])
    return [
        registry.digest, space, told, month, [[str(one) for one in row] for row in seen],
        asdict(thresholds.in_force(lake, space)), decisions.load(lake, space).to_pylist(),
        quality.before(lake, space, month),
    ]  # fmt: skip


# The order of rows says nothing. Nobody can choose records whose numbers make up for each other: the salt is a secret.
_SEEN = """
SELECT count(*), bit_xor(md5_number(concat_ws(' ', $salt, record_id, source, month, partner_family, partner)))
FROM (SELECT DISTINCT record_id, source, month, partner_family, partner FROM sightings WHERE person_space = $space)
"""


@dataclass(frozen=True)
class Dependencies:
    """Per source and month, digests of who its records are, and of where its persons lived."""

    persons: Mapping[tuple[str, str], str] = field(default_factory=dict)
    residences: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True)
class Reading:
    """How a source is read over months: with which sources, and which months together.

    `counting`: the deliveries that count, by source and month; a month without any stands alone.
    """

    lake: Lake
    registry: Registry
    source: Source
    sources: tuple[Source, ...]
    months: tuple[Month, ...]
    counting: Mapping[tuple[str, Month], tuple[Receipt, ...]]

    @classmethod
    def of(cls, lake: Lake, registry: Registry, source: Source, months: Iterable[Month]) -> Reading:
        chosen, everything = tuple(sorted(set(months))), received(lake)
        sources = (source, *(registry.source(name) for name in _described_by(source)))
        own = {one.name: everything.of_source(one.name) for one in sources}
        counting = {
            (one.name, month): deliveries.effective(own[one.name], one, month) for one in sources for month in chosen
        }
        return cls(lake, registry, source, sources, chosen, counting)

    @cached_property
    def together(self) -> Mapping[Month, tuple[Month, ...]]:
        """Per month, those that are read with it, itself included."""
        groups = {month: {month} for month in self.months}
        spans: dict[str, set[Month]] = {}  # by content: rows of the same bytes describe each other
        for (_, month), counting in self.counting.items():
            for receipt in counting:
                spans.setdefault(receipt.sha256, set()).add(month)
        for months in spans.values():
            joined = set().union(*(groups[month] for month in months))
            for month in joined:
                groups[month] = joined
        return {month: tuple(sorted(group)) for month, group in groups.items()}

    @cached_property
    def tables(self) -> Mapping[int, Mapping[str, str]]:
        """Per delivery, the digests of its tables as they must be today: without whoever was erased since.

        Raises `CannotRebuild` where tables are missing and cannot be made again.
        """
        counting = {receipt.sequence: receipt for group in self.counting.values() for receipt in group}
        for receipt in counting.values():
            if any(receipt.rows.values()):
                deliveries.ensure(self.lake, self.registry, receipt)
        return {number: deliveries.tables_kept(self.lake, receipt) for number, receipt in counting.items()}

    def made_of(self, month: Month, known: Dependencies) -> Sequence[Any]:
        """All that the pseudonymised tables of a month are made of, as values that JSON can hold."""
        keys = [self.lake.keyring.purpose_key(purpose) for purpose in ("facts", "referents")]
        place = (self.source.name, str(month))
        return [
            self.registry.digest,
            *place,
            [hmac.digest(key, b"made of", "sha256").hex() for key in keys],
            known.persons.get(place),
            known.residences.get(place),
            [
                [one.name, str(read), *(self._told(receipt) for receipt in self.counting[one.name, read])]
                for read in self.together[month]
                for one in self.sources
            ],
        ]

    def _told(self, receipt: Receipt) -> Sequence[Any]:
        return [receipt.partner, receipt.sha256, receipt.status, self.tables[receipt.sequence]]


def _described_by(source: Source) -> list[str]:
    """Other sources by whose keys rows of this one name persons."""
    tables = [table for version in source.versions for table in version.resources]
    return sorted({table.insertion.local_person_source or source.name for table in tables} - {source.name})


def dependencies(
    connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, months: Sequence[Month]
) -> Dependencies:
    """The digests of `months`, from `sightings`, `persons` and `residences` in the connection.

    A digest does not depend on the order of rows: the 128 bits of each are added without carry.
    """
    rows = [
        {"source": source.name, "seen_in": one.name, "month": str(month), "first": str(reading.together[month][0])}
        for source in registry.sources.values()
        for reading in [Reading.of(lake, registry, source, months)]
        for one in reading.sources
        for month in reading.months
    ]
    connection.register("reading", pa.Table.from_pylist(rows, _READING))
    connection.execute(_NAMED)
    persons, residences = (
        {(source, month): digest for source, month, digest in connection.execute(query).fetchall()}
        for query in (_WHO, _WHERE)
    )
    connection.execute("DROP TABLE named_together")
    connection.unregister("reading")
    return Dependencies(persons, residences)


#: `first`: the first of the months that are read together, which names them.
_READING = pa.schema([(name, pa.string()) for name in ("source", "seen_in", "month", "first")])

_NAMED = """
CREATE OR REPLACE TEMP TABLE named_together AS
WITH seen AS (
    SELECT DISTINCT reading.source, first, record_id
    FROM sightings JOIN reading ON reading.seen_in = sightings.source AND reading.month = sightings.month
)
SELECT source, first, record_id, person_id, person, person_sex, person_birth_date
FROM seen JOIN persons USING (record_id)
"""

_WHO = """
WITH told AS (
    SELECT source, first, hex(bit_xor(md5_number(concat(
        record_id, ' ', person, ' ', coalesce(person_sex, '-'), ' ', coalesce(person_birth_date::VARCHAR, '-')
    )))) || ' ' || count(*) AS digest
    FROM named_together GROUP BY ALL
)
SELECT DISTINCT source, month, digest FROM told JOIN reading USING (source, first)
"""

_WHERE = """
WITH theirs AS (
    SELECT DISTINCT source, first, person_id, person FROM named_together
), months AS (
    SELECT DISTINCT source, first, month FROM reading
)
SELECT source, month, hex(bit_xor(md5_number(concat(person, ' ', person_residence)))) || ' ' || count(*) AS digest
FROM theirs JOIN months USING (source, first) JOIN residences USING (person_id, month)
GROUP BY ALL
"""
