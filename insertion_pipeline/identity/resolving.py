"""Persons resolved: from the deliveries in force to the sealed tables that say who is who.

Belongs here: gathering the canonical records of a span of months, linking each person space apart, writing what the
link says under the space's seal, and a summary in counts. Does not belong here: linkage itself (`linkage`), tables
without identities (`pseudonymising`).

Under `sealed/identity/<space>/`: `persons.parquet`, one row per record; `residences.parquet`, one row per person and
month; `review.parquet`, the pairs that a human should look at and what depends on them, `review_records.parquet`, their
records; `pairs.parquet`, every pair that was weighed; `quality.json`, counts only; `register/` (see `register`);
`standard/` (see `remembering`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline import making
from insertion_pipeline.identity import (
    decisions,
    depending,
    linkage,
    pseudonyms,
    quality,
    records,
    remembering,
    thresholds,
)
from insertion_pipeline.identity.depending import Dependencies
from insertion_pipeline.identity.identifiers import SQL_MACROS
from insertion_pipeline.identity.normalising import PERSON_SCHEMA
from insertion_pipeline.identity.quality import MeasuredQuality, MonthlyQuality
from insertion_pipeline.identity.quality_page import write_page
from insertion_pipeline.identity.records import Rows
from insertion_pipeline.identity.register import Register, name_persons
from insertion_pipeline.identity.scoring import frozen_model
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.instances import beside
from insertion_pipeline.lake import Lake, ParquetFile, write_json
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry, Source, Space

SPACES: tuple[Space, ...] = ("fr", "be")

#: Which source is believed first about where somebody lives (domain rule 9): who pays a benefit there, then who follows
#: the person, then who employs. A source that is not named comes last, by name.
RESIDENCE_PRIORITY = (
    "cnaf_vrsb0801", "department_list", "forem_jobseekers", "ft_spie", "fluxiae", "siae_monthly", "ale_activity",
)  # fmt: skip

PERSONS_SCHEMA = pa.schema(
    [
        *linkage.LINK_SCHEMA,
        ("person", pa.string()),
        ("person_sex", pa.string()),
        ("person_birth_date", pa.date32()),
    ]
)
#: A pair in doubt, and what depends on it: the months in which one person would be counted twice, and those in which
#: one person would be known to more families of partners than either of the two is.
REVIEW_SCHEMA = pa.schema(
    [*linkage.PAIRS_SCHEMA, ("months_counted_twice", pa.int64()), ("months_with_more_families", pa.int64())]
)
RESIDENCES_SCHEMA = pa.schema([("person_id", pa.string()), ("month", pa.string()), ("person_residence", pa.string())])


@dataclass(frozen=True)
class SpaceQuality:
    """Counts about one person space; they name no value and nobody."""

    records: int
    persons: int
    by_match_method: Mapping[str, int]
    cluster_sizes: Mapping[str, int]
    without_number_by_partner: Mapping[str, Sequence[int]]
    pairs_to_review: Mapping[str, int]
    demoted_numbers: int
    candidate_pairs: int
    crowded_keys: Mapping[str, int]


@dataclass(frozen=True)
class Resolution:
    """What `resolve` wrote: the months that it drew on, counts per person space, what operators watch, and digests of
    what it says of whom (`depending`).
    """

    months: tuple[Month, ...]
    spaces: Mapping[Space, SpaceQuality]
    watched: Mapping[str, int | float]
    known: Dependencies

    @property
    def persons(self) -> int:
        return sum(space.persons for space in self.spaces.values())

    @property
    def records(self) -> int:
        return sum(space.records for space in self.spaces.values())


def persons_file(lake: Lake, space: Space) -> ParquetFile:
    """Who is who in one person space, under its seal."""
    return ParquetFile(_folder(lake, space) / "persons.parquet", lake.identity_key(space))


def residences_file(lake: Lake, space: Space) -> ParquetFile:
    """Who lived where at the end of which month, under the space's seal."""
    return ParquetFile(_folder(lake, space) / "residences.parquet", lake.identity_key(space))


def review_file(lake: Lake, space: Space) -> ParquetFile:
    """The pairs of records that a human should look at, under the space's seal."""
    return ParquetFile(_folder(lake, space) / "review.parquet", lake.identity_key(space))


def review_records_file(lake: Lake, space: Space) -> ParquetFile:
    """The canonical records of those pairs, under the space's seal."""
    return ParquetFile(_folder(lake, space) / "review_records.parquet", lake.identity_key(space))


def pairs_file(lake: Lake, space: Space) -> ParquetFile:
    """Every pair that was weighed and what became of it (`linkage.PAIRS_SCHEMA`), under the space's seal."""
    return ParquetFile(_folder(lake, space) / "pairs.parquet", lake.identity_key(space))


def resolve(
    lake: Lake, registry: Registry, months: Sequence[Month], *, rows: Rows = records.conformed_rows
) -> Resolution:
    """Link every record of `months` and write the sealed identity tables of both person spaces.

    The outcome depends on the deliveries in force for these months, on what reviewers decided and on the model: give it
    all the months whose tables must agree on who is who. Where all of it is what it was, so are the tables, and nobody
    is linked again.
    """
    chosen = tuple(sorted(set(months)))
    with lake.connect(sealed_spill=True) as connection:
        gather(connection, lake, registry, chosen, rows)
        registers = {space: Register.opened(lake, space).without_erased() for space in SPACES}
        given = [depending.linked_of(connection, lake, registry, chosen, space) for space in SPACES]
        made = making.recall(lake, _NOTE, _made_of(given, registers))
        if made is None:
            told = _link(connection, registry, registers, str(chosen[-1]))
            reports = [report for report, _ in told.values() if report is not None]
            files = [path for space in SPACES for path in _files(lake, space)]
            files += [*quality.keep(lake, reports), *write_page(lake, reports, MeasuredQuality.load())]
            watched = {name: value for report in reports for name, value in report.metadata().items()}
            # naming the same persons once more changes nothing in the register that they were written to
            made_of = _made_of(given, {space: register for space, (_, register) in told.items()})
            made = making.remember(lake, _NOTE, made_of, files, {"watched": watched})
        with beside(connection) as telling:
            open_identities(telling, lake)
            known = depending.dependencies(telling, lake, registry, chosen)
    return Resolution(chosen, {space: _counts(lake, space) for space in SPACES}, made.counted["watched"], known)


#: The note that says of what the identity tables were made.
_NOTE = "identity"


def _made_of(given: Sequence[Sequence[Any]], registers: Mapping[Space, Register]) -> str:
    return making.digest_of(*given, [[one.space, one.generation, one.stem] for one in registers.values()])


def _link(
    connection: duckdb.DuckDBPyConnection, registry: Registry, registers: Mapping[Space, Register], month: str
) -> Mapping[Space, tuple[MonthlyQuality | None, Register]]:
    """Link the `sightings` of both spaces and write their identity tables."""
    communes = registry.nomenclature("communes").table
    with ExitStack() as beside_it, ThreadPoolExecutor(len(SPACES)) as pool:  # they share no person, and no file
        connections = {space: beside_it.enter_context(beside(connection)) for space in SPACES}

        def resolved(space: Space) -> tuple[MonthlyQuality | None, Register]:
            return _resolve_space(connections[space], space, registers[space], communes, month)

        return dict(zip(SPACES, pool.map(resolved, SPACES), strict=True))


def _files(lake: Lake, space: Space) -> list[Path]:
    """What `_resolve_space` writes."""
    of = (persons_file, residences_file, review_file, review_records_file, pairs_file)
    return [*(file(lake, space).path for file in of), _quality_path(lake, space)]


def _quality_path(lake: Lake, space: Space) -> Path:
    return _folder(lake, space) / "quality.json"


def _counts(lake: Lake, space: Space) -> SpaceQuality:
    """The counts of a space, as they were written."""
    told = json.loads(_quality_path(lake, space).read_bytes())
    return SpaceQuality(**told)


def open_identities(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Create the views `persons` and `residences` over both spaces' sealed tables."""
    for name, files in (
        ("persons", [persons_file(lake, space) for space in SPACES]),
        ("residences", [residences_file(lake, space) for space in SPACES]),
    ):
        connection.execute(f"CREATE TEMP VIEW {name} AS SELECT * FROM {lake.scan(connection, files)}")


def withdraw(lake: Lake, space: Space, record_ids: Sequence[str], person_ids: Sequence[str]) -> int:
    """Take records and persons out of the identity tables of a space; returns how many tables had any of them."""
    remembering.forget(lake, space)
    gone = {"record": pa.array(record_ids, pa.string()), "person": pa.array(person_ids, pa.string())}
    changed = 0
    for path in sorted(_folder(lake, space).glob("*.parquet")):
        file = ParquetFile(path, lake.identity_key(space))
        rows = lake.read_parquet(file)
        held = pa.array([False] * len(rows), pa.bool_())
        for name in rows.column_names:
            if name.startswith(("record_id", "person_id")):
                held = pc.or_(held, pc.fill_null(pc.is_in(rows[name], value_set=gone[name.split("_")[0]]), False))
        if pc.any(held).as_py():
            lake.write_parquet(file.path, rows.filter(pc.invert(held)), key=file.key)
            changed += 1
    return changed


def _folder(lake: Lake, space: Space) -> Path:
    return lake.sealed / "identity" / space


def gather(
    connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, months: Sequence[Month], rows: Rows
) -> None:
    """Make `sightings`: one row per record, source and month, with the canonical columns."""
    columns = [
        field.name
        for field in PERSON_SCHEMA
        if field.name not in ("record_id", "person_space", "partner_family", "partner")
    ]
    connection.execute(
        f"""CREATE TABLE sightings (
            record_id VARCHAR, source VARCHAR, month VARCHAR, person_space VARCHAR, partner_family VARCHAR,
            partner VARCHAR, {", ".join(f"{name} VARCHAR" for name in columns)}, residence_name VARCHAR
        )"""
    )
    for source in registry.sources.values():
        for version_months in months_by_version(source, months):
            for table in records.tables_with_persons(source, version_months[-1]):
                relation = records.described_rows(lake, connection, registry, source, table, version_months, rows)
                connection.execute(
                    f"""INSERT INTO sightings
                    SELECT DISTINCT record_id, '{source.name}', unnest(_months), _space, '{source.family}', _partner,
                        {", ".join(f"p_{name}" for name in columns)}, p_residence_name
                    FROM {relation}"""
                )


def months_told(lake: Lake) -> list[Month]:
    """Every month that a delivery that counts speaks of."""
    counting = [receipt for receipt in deliveries.receipts(lake) if receipt.counts]
    return sorted(
        {month for receipt in counting for month in receipt.months}
        | {receipt.month for receipt in counting if receipt.month is not None}
    )


def months_by_version(source: Source, months: Sequence[Month]) -> list[list[Month]]:
    """The months grouped by the version of the contract in force, those before the first one left out."""
    groups: dict[Month, list[Month]] = {}
    for month in months:
        if month >= source.first_month:
            groups.setdefault(source.version_for(month).valid_from, []).append(month)
    return [groups[valid_from] for valid_from in sorted(groups)]


def _resolve_space(
    connection: duckdb.DuckDBPyConnection, space: Space, register: Register, communes: pa.Table, month: str
) -> tuple[MonthlyQuality | None, Register]:
    """Write a space's identity tables and counts; the figures of the month, where there is anybody, and who is known
    from now on.
    """
    lake = register.lake
    connection.execute(SQL_MACROS)
    columns = ", ".join(
        f"any_value({field.name}) AS {field.name}" for field in PERSON_SCHEMA if field.name != "record_id"
    )
    canonical = connection.sql(
        f"SELECT record_id, {columns} FROM sightings WHERE person_space = $space GROUP BY record_id ORDER BY record_id",
        params={"space": space},
    ).to_arrow_table()
    if len(canonical) == 0:
        _nobody(lake, space)
        return None, register
    model = replace(frozen_model(), thresholds=thresholds.in_force(lake, space))
    decided = decisions.constraints(lake, space, canonical)
    remembered = remembering.recall(lake, space)
    linked = linkage.link_space(canonical, space, lake, model=model, decisions=decided, remembered=remembered)
    if linked.remembered is not None and linked.remembered is not remembered:
        remembering.keep(lake, space, linked.remembered)
    named, register = name_persons(register, linked.persons, canonical, model=model.version)
    key = lake.identity_key(space)
    connection.register("linked", named)
    connection.register("pseudonyms", _pseudonyms(named, lake.keyring.purpose_key("facts")))
    _register_communes(connection, communes)
    persons = connection.sql(_PERSONS).to_arrow_table().cast(PERSONS_SCHEMA)
    residences = connection.sql(_RESIDENCES, params={"country": space.upper()}).to_arrow_table().cast(RESIDENCES_SCHEMA)
    folder = _folder(lake, space)
    lake.write_parquet(folder / "persons.parquet", persons, key=key)
    lake.write_parquet(folder / "residences.parquet", residences, key=key)
    connection.register("review", linked.review)
    review = connection.sql(_REVIEW).to_arrow_table().cast(REVIEW_SCHEMA)
    in_doubt = pa.chunked_array([*review["record_id_l"].chunks, *review["record_id_r"].chunks], pa.string())
    lake.write_parquet(folder / "review.parquet", review, key=key)
    lake.write_parquet(
        folder / "review_records.parquet",
        canonical.filter(pc.is_in(canonical["record_id"], value_set=in_doubt.combine_chunks())),
        key=key,
    )
    lake.write_parquet(folder / "pairs.parquet", linked.pairs, key=key)
    counts = _quality(connection, linked, space)
    write_json(_quality_path(lake, space), asdict(counts))
    report = quality.of_month(
        connection,
        linked.pairs,
        space,
        month,
        MeasuredQuality.load(),
        decided=len(decisions.holding(decisions.load(lake, space))),
        before=quality.before(lake, space, month),
        crowded=counts.crowded_keys,
    )
    return report, register


def _nobody(lake: Lake, space: Space) -> None:
    """Write the identity tables of a space without a record."""
    for file, schema in (
        (persons_file(lake, space), PERSONS_SCHEMA),
        (residences_file(lake, space), RESIDENCES_SCHEMA),
        (review_file(lake, space), REVIEW_SCHEMA),
        (review_records_file(lake, space), PERSON_SCHEMA),
        (pairs_file(lake, space), linkage.PAIRS_SCHEMA),
    ):
        lake.write_parquet(file.path, schema.empty_table(), key=file.key)
    write_json(_quality_path(lake, space), asdict(SpaceQuality(0, 0, {}, {}, {}, {}, 0, 0, {})))


def _pseudonyms(linked: pa.Table, key: bytes) -> pa.Table:
    """One row per person: the id and its pseudonym."""
    persons = linked["person_id"].unique().to_pylist()
    return pa.table(
        {"person_id": persons, "person": pseudonyms.each_of(key, persons)},
        schema=pa.schema([("person_id", pa.string()), ("person", pa.string())]),
    )


# What most of a person's records say; the earlier value where as many say one thing as the other.
_PERSONS = """
WITH spoken AS (
    SELECT DISTINCT record_id, person_id, sex, TRY_CAST(birth_date AS DATE) AS birth_date
    FROM linked JOIN sightings USING (record_id)
), sexes AS (
    SELECT person_id, sex FROM spoken WHERE sex IS NOT NULL GROUP BY person_id, sex
    QUALIFY row_number() OVER (PARTITION BY person_id ORDER BY count(*) DESC, sex) = 1
), births AS (
    SELECT person_id, birth_date FROM spoken WHERE birth_date IS NOT NULL GROUP BY person_id, birth_date
    QUALIFY row_number() OVER (
        PARTITION BY person_id
        ORDER BY month(birth_date) = 1 AND day(birth_date) = 1, count(*) DESC, birth_date) = 1
)
SELECT record_id, person_id, match_method, match_weight, needs_review, person, sex AS person_sex,
    birth_date AS person_birth_date
FROM linked JOIN pseudonyms USING (person_id) LEFT JOIN sexes USING (person_id) LEFT JOIN births USING (person_id)
ORDER BY record_id
"""

# The commune where a code says it, or a postal code that only one commune has, or a postal code and a name; else the
# department (province) that all communes of the postal code lie in.
_RESIDENCES = f"""
WITH postal AS (
    SELECT country, unnest(string_split(postal_codes, ' ')) AS postal_code, code,
        coalesce(nullif(department, ''), province) AS around, folded_name
    FROM communes WHERE current_code = code
), by_postal AS (
    SELECT country, postal_code, CASE WHEN count(*) = 1 THEN min(code) END AS code,
        CASE WHEN count(DISTINCT around) = 1 THEN min(around) END AS around
    FROM postal GROUP BY ALL
), by_name AS (
    SELECT country, postal_code, folded_name, min(code) AS code FROM postal GROUP BY ALL HAVING count(*) = 1
), written AS (
    SELECT person_id, month, source, record_id, upper(residence_code) AS code,
        lpad(postal_code, CASE $country WHEN 'FR' THEN 5 ELSE 4 END, '0') AS postal_code,
        folded_place(residence_name) AS folded_name
    FROM sightings JOIN linked USING (record_id)
    WHERE month IS NOT NULL
), placed AS (
    SELECT person_id, month, source, record_id, coalesce(
            $country || '-COM-' || known.code,
            $country || '-COM-' || by_name.code,
            $country || '-COM-' || by_postal.code,
            CASE WHEN $country = 'FR' THEN 'FR-DEP-' ELSE 'BE-PRV-' END || by_postal.around) AS residence
    FROM written
    LEFT JOIN (SELECT DISTINCT country, code FROM communes) AS known
        ON known.country = $country AND known.code = written.code
    LEFT JOIN by_name ON by_name.country = $country AND by_name.postal_code = written.postal_code
        AND by_name.folded_name = written.folded_name
    LEFT JOIN by_postal ON by_postal.country = $country AND by_postal.postal_code = written.postal_code
)
SELECT person_id, month, residence AS person_residence
FROM placed
WHERE residence IS NOT NULL
QUALIFY row_number() OVER (
    PARTITION BY person_id, month
    ORDER BY residence LIKE '%-COM-%' DESC,
        coalesce(list_position({list(RESIDENCE_PRIORITY)}, source), 99), source, record_id, residence) = 1
ORDER BY person_id, month
"""


_REVIEW = """
WITH doubtful AS (
    SELECT review.*, l.person_id AS person_l, r.person_id AS person_r
    FROM review JOIN linked AS l ON l.record_id = record_id_l JOIN linked AS r ON r.record_id = record_id_r
), known AS (
    SELECT DISTINCT person_id, month, partner_family
    FROM sightings JOIN linked USING (record_id)
    WHERE person_id IN (SELECT unnest([person_l, person_r]) FROM doubtful)
), sides AS (
    SELECT record_id_l, record_id_r, 'l' AS side, month, partner_family FROM doubtful JOIN known ON person_id = person_l
    UNION ALL
    SELECT record_id_l, record_id_r, 'r', month, partner_family FROM doubtful JOIN known ON person_id = person_r
), monthly AS (
    SELECT record_id_l, record_id_r, month, count(DISTINCT side) = 2 AS is_both,
        count(DISTINCT partner_family) > greatest(count(DISTINCT partner_family) FILTER (side = 'l'),
            count(DISTINCT partner_family) FILTER (side = 'r')) AS is_more
    FROM sides GROUP BY ALL
), counted AS (
    SELECT record_id_l, record_id_r, count(*) FILTER (is_both) AS twice, count(*) FILTER (is_more) AS more
    FROM monthly GROUP BY ALL
)
SELECT review.*, coalesce(twice, 0) AS months_counted_twice, coalesce(more, 0) AS months_with_more_families
FROM review LEFT JOIN counted USING (record_id_l, record_id_r)
ORDER BY weight DESC, record_id_l, record_id_r
"""


def _register_communes(connection: duckdb.DuckDBPyConnection, communes: pa.Table) -> None:
    """Register `communes`, with a name folded for comparison."""
    connection.register("communes_as_listed", communes)
    connection.execute(
        """
        CREATE OR REPLACE TEMP MACRO folded_place(name) AS regexp_replace(
            regexp_replace(upper(strip_accents(name)), '\\bS(AIN)?T(E)?\\b', 'ST\\2', 'g'), '[^A-Z]|CEDEX.*', '', 'g');
        CREATE OR REPLACE TEMP VIEW communes AS SELECT *, folded_place(name) AS folded_name FROM communes_as_listed
        """
    )


def _quality(connection: duckdb.DuckDBPyConnection, linked: linkage.Linkage, space: Space) -> SpaceQuality:
    def counted(query: str) -> list[tuple[str, int]]:
        return connection.execute(query).fetchall()

    partners = connection.execute(
        """
        SELECT partner, count(*) FILTER (nir IS NULL AND niss IS NULL), count(*)
        FROM (SELECT DISTINCT record_id, partner, nir, niss FROM sightings WHERE person_space = $space)
        GROUP BY partner ORDER BY partner
        """,
        {"space": space},
    ).fetchall()
    connection.register("reviewed", linked.review)
    quality = SpaceQuality(
        records=linked.counts["records"],
        persons=linked.counts["persons"],
        by_match_method=dict(counted("SELECT match_method, count(*) FROM linked GROUP BY ALL ORDER BY ALL")),
        cluster_sizes=dict(
            counted(
                """
                SELECT CASE WHEN size < 10 THEN size::VARCHAR ELSE '10+' END AS band, count(*)
                FROM (SELECT count(*) AS size FROM linked GROUP BY person_id) GROUP BY band ORDER BY band
                """
            )
        ),
        without_number_by_partner={partner: (without, all_) for partner, without, all_ in partners},
        pairs_to_review=dict(counted("SELECT state, count(*) FROM reviewed GROUP BY ALL ORDER BY ALL")),
        demoted_numbers=linked.counts.get("demoted_numbers", 0),
        candidate_pairs=linked.counts.get("candidate_pairs", 0),
        crowded_keys={one.rule: one.nodes for one in reversed(linked.crowded)},
    )
    connection.unregister("reviewed")
    return quality
