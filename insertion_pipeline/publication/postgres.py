"""A release in a PostgreSQL database: a schema that changes all at once, for readers who may only read.

Belongs here: tables, keys, comments, the role of readers, the exchange of schemas. Does not belong here: which release
may be published (`approving`).
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.csv as pv

from insertion_pipeline.publication.releasing import Release
from insertion_pipeline.publication.tables import TABLES, PublishedTable

SCHEMA: Final = "insertion"
PREVIOUS: Final = "insertion_previous"
READER: Final = "insertion_reader"
_COMING: Final = "insertion_coming"
_TYPES: Final[Mapping[str, str]] = {
    "string": "text",
    "integer": "bigint",
    "number": "double precision",
    "boolean": "boolean",
}
#: One publication at a time in a database: the second waits. The number is ours alone.
_LOCK: Final = 0x496E7365
_ROWS_AT_ONCE: Final = 50_000


class PasswordInAddress(Exception):
    """A password stood in the command: it would stay in the shell's history (exit code 4)."""


class NoDriver(Exception):
    """The extra `postgresql` is not installed (exit code 4)."""


class Unreachable(Exception):
    """The database does not answer, or refuses (exit code 4). The message is PostgreSQL's."""


def publish(release: Release, address: str) -> dict[str, int]:
    """Make the release the schema `insertion` of a database; returns the rows of each table.

    Everything happens in one transaction: readers see the release before until it ends, and this one from then on. The
    schema before stays as `insertion_previous`, views on it included, until the next publication. The role
    `insertion_reader` may read and nothing else. The password comes from PGPASSWORD or from ~/.pgpass. Raises
    `PasswordInAddress`, `NoDriver`, `Unreachable`.
    """
    if urlsplit(address).password or "password" in parse_qs(urlsplit(address).query):
        raise PasswordInAddress("mot de passe dans l'adresse")
    try:
        import psycopg
    except ImportError:
        raise NoDriver("pip install 'insertion-pipeline[postgresql]'") from None

    try:
        with psycopg.connect(address) as connection, connection.cursor() as cursor:
            return _exchanged(release, cursor)
    except (psycopg.OperationalError, psycopg.errors.InsufficientPrivilege) as error:
        raise Unreachable(str(error).splitlines()[0]) from None


def _exchanged(release: Release, cursor: Any) -> dict[str, int]:
    from psycopg import sql

    cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
    cursor.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(_COMING)))
    comment = f"Indicateurs partagés de l'insertion professionnelle, publication {release.release_id}."
    cursor.execute(sql.SQL("COMMENT ON SCHEMA {} IS {}").format(sql.Identifier(_COMING), sql.Literal(comment)))
    rows = {declared.name: _copied(cursor, declared, release.table(declared.name)) for declared in TABLES}
    _let_read(cursor)
    cursor.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(PREVIOUS)))
    cursor.execute("SELECT 1 FROM pg_namespace WHERE nspname = %s", (SCHEMA,))
    if cursor.fetchone():
        _rename(cursor, SCHEMA, PREVIOUS)
    _rename(cursor, _COMING, SCHEMA)
    return rows


def _copied(cursor: Any, declared: PublishedTable, table: pa.Table) -> int:
    from psycopg import sql

    name = sql.Identifier(_COMING, declared.name)
    columns = sql.SQL(", ").join(
        sql.SQL("{} {}").format(sql.Identifier(column.name), sql.SQL(_TYPES[column.type]))
        for column in declared.columns
    )
    key = sql.SQL(", ").join(map(sql.Identifier, declared.key))
    cursor.execute(sql.SQL("CREATE TABLE {} ({}, PRIMARY KEY ({}))").format(name, columns, key))
    without_heading = pv.WriteOptions(include_header=False, quoting_style="needed")
    with cursor.copy(sql.SQL("COPY {} FROM STDIN (FORMAT csv)").format(name)) as copy:
        for batch in table.to_batches(max_chunksize=_ROWS_AT_ONCE):
            text = io.BytesIO()
            pv.write_csv(batch, text, without_heading)
            copy.write(text.getvalue())
    cursor.execute(sql.SQL("COMMENT ON TABLE {} IS {}").format(name, sql.Literal(declared.description)))
    for column in declared.columns:
        place = sql.Identifier(_COMING, declared.name, column.name)
        cursor.execute(sql.SQL("COMMENT ON COLUMN {} IS {}").format(place, sql.Literal(column.description)))
    return len(table)


def _let_read(cursor: Any) -> None:
    from psycopg import sql

    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (READER,))
    if not cursor.fetchone():
        cursor.execute(sql.SQL("CREATE ROLE {} NOLOGIN").format(sql.Identifier(READER)))
    for grant in ("GRANT USAGE ON SCHEMA {} TO {}", "GRANT SELECT ON ALL TABLES IN SCHEMA {} TO {}"):
        cursor.execute(sql.SQL(grant).format(sql.Identifier(_COMING), sql.Identifier(READER)))


def _rename(cursor: Any, name: str, to: str) -> None:
    from psycopg import sql

    cursor.execute(sql.SQL("ALTER SCHEMA {} RENAME TO {}").format(sql.Identifier(name), sql.Identifier(to)))
