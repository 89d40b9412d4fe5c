"""Canonical person records, made from what partners delivered by what the contracts declare.

Belongs here: which fields of which tables describe a person, and the identity of a record. Does not belong here: what
the records say (`normalising`), who they are (`linkage`).

A record is what one partner says of one person: the same content in twelve monthly files is one record, known by a
digest of its source, partner, local key and person fields. Fields of other tables of the same source (the France
Travail id of a fluxIAE contract) complete it through the local key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import duckdb

from insertion_pipeline.identity.normalising import PERSON_COLUMNS, SEX_MACRO
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Registry, Source

#: Gives the accepted rows of a table as a relation in SQL: its fields, `_partner, _space, _delivery, _months, …`.
Rows = Callable[[Lake, duckdb.DuckDBPyConnection, Registry, str, str, Sequence[Month]], str]

#: What a source may say beyond the canonical record: the name of the commune, where no code is given.
RESIDENCE_NAME = "residence_name"

_DESCRIBED = tuple(name for name in PERSON_COLUMNS if name not in ("person_space", "partner_family", "partner"))
_SEPARATOR, _ABSENT = "chr(31)", "chr(30)"


def conformed_rows(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    source: str,
    table: str,
    months: Sequence[Month],
) -> str:
    """The accepted rows of the deliveries in force: the `Rows` of production."""
    return deliveries.counting_rows(lake, connection, registry, source, table, months)


def tables_with_persons(source: Source, month: Month) -> tuple[ContractTable, ...]:
    """The tables of a source whose rows describe a person, under the contract in force."""
    if month < source.first_month:
        return ()
    return tuple(table for table in source.version_for(month).resources if table.insertion.persons)


def described_rows(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    source: Source,
    table: ContractTable,
    months: Sequence[Month],
    rows: Rows = conformed_rows,
) -> str:
    """A relation in SQL: the rows of a table with persons, `record_id` and the canonical columns (`p_…`) beside them.

    One row per conformed row. `months` stand under one version of the contract.
    """
    connection.execute(SEX_MACRO)
    described = _columns(table)
    supplements = [
        (name, _supplement(lake, connection, registry, source, other, months, rows, name))
        for other in source.version_for(max(months)).resources
        if not other.insertion.persons and other.insertion.local_person_key and table.insertion.local_person_key
        for name in _columns(other)
    ]
    key = local_key(table) or "NULL"
    expressions: dict[str, list[str]] = {name: [expression] for name, expression in described.items()}
    joins = []
    for rank, (name, relation) in enumerate(supplements):
        expressions.setdefault(name, []).append(f"s{rank}.value")
        joins.append(
            f"LEFT JOIN {relation} AS s{rank} ON s{rank}._delivery = given._delivery AND s{rank}.key = given.p_key"
        )
    values = {
        name: f"nullif(trim(coalesce({', '.join(expressions[name])})), '')" if name in expressions else "NULL::VARCHAR"
        for name in (*_DESCRIBED, RESIDENCE_NAME)
    }
    if table.insertion.local_person_key:
        values["department_person_id"] = f"coalesce({values['department_person_id']}, '{source.name} ' || given.p_key)"
    digest = f", {_SEPARATOR}, ".join(
        [f"'{source.name}'", "_partner", *(f"coalesce(p_{name}, {_ABSENT})" for name in (*_DESCRIBED, RESIDENCE_NAME))]
    )
    relation = rows(lake, connection, registry, source.name, table.name, months)
    return f"""(
        WITH given AS (
            SELECT *, {key} AS p_key FROM {relation}
        ), described AS (
            SELECT given.*, {", ".join(f"{value} AS p_{name}" for name, value in values.items())}
            FROM given {" ".join(joins)}
        )
        SELECT *, sha256(concat({digest}))[1:40] AS record_id FROM described
    )"""


def local_key(table: ContractTable) -> str | None:
    """The partner's own key of the person in a row of the table, as a text expression, or nothing."""
    fields = table.insertion.local_person_key
    return " || '|' || ".join(f'CAST("{field}" AS VARCHAR)' for field in fields) if fields else None


def _columns(table: ContractTable) -> Mapping[str, str]:
    """Canonical column to the expression that gives it, as text, over the fields of the table."""
    found: dict[str, list[str]] = {}
    for name, expression in table.insertion.person_context.items():
        found.setdefault(name, []).append(f"CAST(({expression}) AS VARCHAR)")
    for field in table.stored_fields:
        if field.insertion.person is not None:
            found.setdefault(field.insertion.person, []).append(f'CAST("{field.name}" AS VARCHAR)')
    return {
        name: f"canonical_sex(coalesce({', '.join(given)}))" if name == "sex" else f"coalesce({', '.join(given)})"
        for name, given in found.items()
    }


def _supplement(
    lake: Lake,
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    source: Source,
    table: ContractTable,
    months: Sequence[Month],
    rows: Rows,
    name: str,
) -> str:
    """A relation (_delivery, key, value): what another table of the source says of the person with that local key."""
    relation = rows(lake, connection, registry, source.name, table.name, months)
    return f"""(
        SELECT _delivery, {local_key(table)} AS key, max({_columns(table)[name]}) AS value
        FROM {relation} GROUP BY ALL
    )"""
