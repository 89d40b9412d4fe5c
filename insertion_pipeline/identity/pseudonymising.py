"""What leaves the sealed area: every contract's tables, with a pseudonym in the place of whoever a row speaks of.

Belongs here: the pseudonymised tables, their schema, the allow-list of their columns. Does not belong here: who is who
(`resolving`), what is counted (`indicators`).

Columns pass because the contract says `use: fact` or `both`, never because nobody thought of forbidding them; a direct
identifier does not pass even then. The pseudonym is made of the person's id under the key of the purpose. Who follows a
person is another pseudonym, under another key: caseloads are counted, nobody's is known (domain rule 20).
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence

import duckdb
import pyarrow as pa

from insertion_pipeline import making
from insertion_pipeline.contracts.storage import arrow_type
from insertion_pipeline.identity import pseudonyms, records
from insertion_pipeline.identity.depending import Reading
from insertion_pipeline.identity.records import Rows
from insertion_pipeline.identity.resolving import (
    Resolution,
    months_by_version,
    open_identities,
)
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, ContractTable, Registry, Source

#: Person columns that name somebody, or nearly: never beyond the seal, whatever a contract says.
DIRECT_IDENTIFIERS = frozenset(
    {
        "nir", "niss", "france_travail_id", "caf_matricule", "department_person_id", "birth_name", "used_name",
        "first_names", "birth_date", "birth_place_code", "birth_place_name", "address", "email", "phone",
    }
)  # fmt: skip

_PERSON_COLUMNS = (
    ("person", pa.string()),
    ("person_sex", pa.string()),
    ("person_age", pa.int32()),
    ("person_residence", pa.string()),
    ("_partner", pa.string()),
    ("_space", pa.string()),
    ("_month", pa.string()),
    ("_delivery", pa.string()),
)


def passing_fields(table: ContractTable) -> tuple[ContractField, ...]:
    """The fields that leave the sealed area, in the contract's order."""
    return tuple(
        field
        for field in table.fields
        if field.insertion.use in ("fact", "both") and field.insertion.person not in DIRECT_IDENTIFIERS
    )


def schema(table: ContractTable) -> pa.Schema:
    """The pseudonymised columns of a contract's table: its facts, by whom, then who, where from and when."""
    facts = [(field.name, arrow_type(field)) for field in passing_fields(table)]
    by_whom = [(REFERENT, pa.string())] if _naming_referent(table) else []
    return pa.schema([*facts, *by_whom, *_PERSON_COLUMNS])


#: Who follows the person, in tables whose contract names a referent.
REFERENT = "referent_pseudonym"


def _naming_referent(table: ContractTable) -> tuple[str, ...]:
    return tuple(field.name for field in table.fields if field.insertion.names_referent)


def pseudonymised_file(lake: Lake, source: str, table: str, month: Month) -> ParquetFile:
    """Where the pseudonymised rows of a table for a month are."""
    return ParquetFile(lake.open_area / "pseudonymised" / source / table / f"{month}.parquet")


def pseudonymise(
    lake: Lake,
    registry: Registry,
    resolution: Resolution,
    source: str,
    month: Month,
    *,
    rows: Rows = records.conformed_rows,
) -> Mapping[str, int]:
    """Write the pseudonymised tables of a source for one month; returns the number of rows of each."""
    return pseudonymise_months(lake, registry, resolution, source, [month], rows=rows).get(month, {})


def pseudonymise_months(
    lake: Lake,
    registry: Registry,
    resolution: Resolution,
    source: str,
    months: Sequence[Month],
    *,
    read: Sequence[Month] = (),
    rows: Rows = records.conformed_rows,
) -> Mapping[Month, Mapping[str, int]]:
    """Write the pseudonymised tables of a source, a file per table and month; returns their numbers of rows.

    `read`: months that are read with them and not written. One row per conformed row, in the order of partner, delivery
    and line. Months before the first contract have none.
    Raises `ValueError` for a month that the resolution did not draw on: nobody would be known there.
    """
    _require_known(resolution, months)
    declared = registry.source(source)
    written: dict[Month, dict[str, int]] = {}
    with lake.connect(sealed_spill=True) as connection:
        open_identities(connection, lake)
        for together in months_by_version(declared, sorted({*months, *read})):
            if not set(together) & set(months):
                continue
            for table in declared.version_for(together[-1]).resources:
                _name_persons(connection, lake, registry, declared, table, together, rows)
                for month in sorted(set(together) & set(months)):
                    content = connection.sql(_of_month(table, month)).to_arrow_table().cast(schema(table))
                    lake.write_parquet(pseudonymised_file(lake, source, table.name, month).path, content)
                    written.setdefault(month, {})[table.name] = content.num_rows
    return written


def have_pseudonymised(
    lake: Lake, registry: Registry, resolution: Resolution, source: str, months: Sequence[Month]
) -> Mapping[Month, Mapping[str, int]]:
    """`pseudonymise_months` for those months whose tables were made of other deliveries or persons than today's."""
    _require_known(resolution, months)
    reading = Reading.of(lake, registry, registry.source(source), resolution.months)
    made_of = {month: making.digest_of(reading.made_of(month, resolution.known)) for month in months}
    recalled = {month: making.recall(lake, _note(source, month), made_of[month]) for month in months}
    told: dict[Month, Mapping[str, int]] = {month: made.counted for month, made in recalled.items() if made is not None}
    stale = [month for month in months if month not in told]
    if not stale:
        return told
    read = sorted({other for month in stale for other in reading.together[month]})
    written = pseudonymise_months(lake, registry, resolution, source, stale, read=read)
    for month, counted in written.items():
        files = [pseudonymised_file(lake, source, table, month).path for table in counted]
        making.remember(lake, _note(source, month), made_of[month], files, counted)
    return told | dict(written)


def _require_known(resolution: Resolution, months: Sequence[Month]) -> None:
    if unknown := sorted(set(months) - set(resolution.months)):
        raise ValueError(f"{unknown[0]} is not among the resolved months")


def _note(source: str, month: Month) -> str:
    return f"pseudonymised/{source}/{month}"


def withdraw(lake: Lake, registry: Registry, source: str, month: Month) -> None:
    """Take back the pseudonymised tables of a source for a month in which no delivery counts any more."""
    tables = {table.name for version in registry.source(source).versions for table in version.resources}
    for name in tables:
        pseudonymised_file(lake, source, name, month).path.unlink(missing_ok=True)


def _name_persons(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    registry: Registry,
    source: Source,
    table: ContractTable,
    months: Sequence[Month],
    rows: Rows,
) -> None:
    """Make `named`, the rows of `months` with who they speak of, and `lived`, where these persons lived when.

    A row stands once in `named`, whatever the months that it counts for: an export of thirteen months is gone through
    once. `months` stand under one version of the contract.
    """
    relation = rows(lake, connection, registry, source.name, table.name, months)
    if table.insertion.persons:
        relation = records.described_rows(lake, connection, registry, source, table, months, rows)
        known = f"(SELECT * FROM {relation} AS described JOIN persons USING (record_id))"
    elif table.insertion.local_person_key:
        known = _through_local_key(connection, lake, registry, source, table, months, rows, relation)
    else:
        known = f"(SELECT *, {_NOBODY} FROM {relation})"
    fields = "".join(f'"{field.name}", ' for field in passing_fields(table))
    naming = _naming_referent(table)
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE named AS
        SELECT {fields}{f"{_referent_name(naming)} AS referent_name, " if naming else ""}
            person_id, person, person_sex, person_birth_date, _partner, _space, _delivery, _member, _line, _months
        FROM {known} AS known"""
    )
    speaks_of_somebody = table.insertion.persons or table.insertion.local_person_key
    connection.execute(
        f"""CREATE OR REPLACE TEMP TABLE lived AS
        SELECT person_id, month, person_residence
        FROM residences {"SEMI JOIN named USING (person_id)" if speaks_of_somebody else "WHERE false"}"""
    )
    if naming:
        _open_referents(connection, lake)


_NOBODY = (
    "NULL::VARCHAR AS person_id, NULL::VARCHAR AS person, NULL::VARCHAR AS person_sex, NULL::DATE AS person_birth_date"
)


def _of_month(table: ContractTable, month: Month) -> str:
    """SQL of the pseudonymised rows of a month, in the order of partner, delivery and line."""
    fields = "".join(f'"{field.name}", ' for field in passing_fields(table))
    followed = ""
    if _naming_referent(table):
        fields += f"{REFERENT}, "
        followed = "LEFT JOIN referents USING (_partner, referent_name)"
    last_day = f"DATE '{month.last_day.isoformat()}'"
    return f"""
        SELECT {fields}person, person_sex,
            CASE WHEN person_birth_date <= {last_day} THEN date_sub('year', person_birth_date, {last_day}) END
                AS person_age,
            person_residence, _partner, _space, '{month}' AS _month, _delivery
        FROM (SELECT * FROM named WHERE list_contains(_months, '{month}')) AS named
        {followed}
        LEFT JOIN (SELECT person_id, person_residence FROM lived WHERE month = '{month}') AS lived USING (person_id)
        ORDER BY _partner, _delivery, _member, _line
    """


def _referent_name(naming: Sequence[str]) -> str:
    """SQL of one spelling of a referent's name: the first address where there is one, else its words in any order."""
    told = f"lower(strip_accents(concat_ws(' ', {', '.join(f'{name}' for name in naming)})))"
    words = f"list_sort(list_filter(string_split_regex({told}, '[^a-z0-9]+'), lambda word: word <> ''))"
    return (
        f"nullif(CASE WHEN contains({told}, '@') THEN regexp_extract({told}, '[^\\s,;]+@[^\\s,;]+')"
        f" ELSE array_to_string({words}, ' ') END, '')"
    )


def _open_referents(connection: duckdb.DuckDBPyConnection, lake: Lake) -> None:
    """Register `referents`: a pseudonym per partner and name, under a key that no person's pseudonym is made with."""
    named = connection.execute(
        "SELECT DISTINCT _partner, referent_name FROM named WHERE referent_name IS NOT NULL ORDER BY ALL"
    ).fetchall()
    key = lake.keyring.purpose_key("referents")
    connection.register(
        "referents",
        pa.table(
            {
                "_partner": pa.array([partner for partner, _ in named], pa.string()),
                "referent_name": pa.array([told for _, told in named], pa.string()),
                REFERENT: pa.array(
                    [hmac.digest(key, f"{partner}\x1f{told}".encode(), "sha256").hex() for partner, told in named],
                    pa.string(),
                ),
            }
        ),
    )


def _through_local_key(
    connection: duckdb.DuckDBPyConnection,
    lake: Lake,
    registry: Registry,
    source: Source,
    table: ContractTable,
    months: Sequence[Month],
    rows: Rows,
    relation: str,
) -> str:
    """Rows that name a person by the partner's own key. One that no table describes is a person nobody else knows.

    A key of this source holds within its delivery; one of another source of the partner (France Travail's actions name
    the persons of its SPIE extract) within what the partner delivered for the month: a row then stands once a month.
    """
    described = registry.source(table.insertion.local_person_source or source.name)
    is_own = described.name == source.name
    within = "_delivery" if is_own else "_partner, _month"
    relation = relation if is_own else _once_a_month(relation)
    describing = [
        other for other in records.tables_with_persons(described, months[-1]) if other.insertion.local_person_key
    ]
    holding = [
        records.described_rows(lake, connection, registry, described, other, months, rows) for other in describing
    ]
    selects = [
        f"""SELECT {within}, p_key,
            min_by(struct_pack(person_id, person, person_sex, person_birth_date), record_id) AS who
        FROM {rows_of if is_own else _once_a_month(rows_of)} JOIN persons USING (record_id)
        WHERE p_key IS NOT NULL GROUP BY ALL"""
        for rows_of in holding
    ]
    if not selects:
        selects = [
            f"""SELECT {within}, NULL::VARCHAR AS p_key,
            NULL::STRUCT(person_id VARCHAR, person VARCHAR, person_sex VARCHAR, person_birth_date DATE) AS who
            FROM {relation} AS nobody WHERE false"""
        ]
    key = records.local_key(table)
    keyed = f"(SELECT *, {key} AS p_key FROM {relation})"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE key_holders AS {' UNION ALL BY NAME '.join(selects)}")
    strangers = connection.execute(
        f"SELECT DISTINCT _partner, p_key FROM {keyed} AS keyed ANTI JOIN key_holders USING ({within}, p_key)"
        " WHERE p_key IS NOT NULL ORDER BY ALL"
    ).fetchall()
    purpose = lake.keyring.purpose_key("facts")
    connection.register(
        "strangers",
        pa.table(
            {
                "_partner": [partner for partner, _ in strangers],
                "p_key": [name for _, name in strangers],
                "stranger": pseudonyms.each_of(
                    purpose, [f"{described.name}\x1f{partner}\x1f{name}" for partner, name in strangers]
                ),
            },
            schema=pa.schema([("_partner", pa.string()), ("p_key", pa.string()), ("stranger", pa.string())]),
        ),
    )
    if strangers and connection.execute("SELECT 1 FROM persons JOIN strangers ON stranger = person LIMIT 1").fetchone():
        raise pseudonyms.SharedPseudonym
    return f"""(
        SELECT keyed.*, who.person_id AS person_id, coalesce(who.person, stranger) AS person,
            who.person_sex AS person_sex, who.person_birth_date AS person_birth_date
        FROM {keyed} AS keyed
        LEFT JOIN key_holders USING ({within}, p_key)
        LEFT JOIN strangers ON strangers._partner = keyed._partner AND strangers.p_key = keyed.p_key
    )"""


def _once_a_month(relation: str) -> str:
    """The rows of a relation, once for each month that they count for, which is in `_month` too."""
    return (
        "(SELECT * REPLACE ([_month] AS _months)"
        f" FROM (SELECT *, unnest(_months) AS _month FROM {relation}) AS counted)"
    )
