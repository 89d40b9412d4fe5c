"""What the portal remembers between two requests: SQLite in the home, or PostgreSQL by setting.

Belongs here: the tables, connections, transactions. Does not belong here: what a row means (each module that writes
it), deliveries and receipts (`ingestion`: they live in the home, whatever the database).

Times are UTC, ISO text, so that they order as text in both databases. A secret is stored as its digest alone.
"""

from __future__ import annotations

import contextlib
import hashlib
import secrets
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import sqlalchemy as sql
from sqlalchemy.engine import Connection, Engine

metadata = sql.MetaData()

_NUMBER = sql.BigInteger().with_variant(sql.Integer, "sqlite")  # SQLite counts up `INTEGER PRIMARY KEY` only

accounts = sql.Table(
    "accounts",
    metadata,
    sql.Column("id", _NUMBER, primary_key=True),
    sql.Column("email", sql.Text, nullable=False, unique=True),
    sql.Column("name", sql.Text, nullable=False),
    sql.Column("password_hash", sql.Text),
    sql.Column("totp_secret", sql.LargeBinary),
    sql.Column("totp_last_step", _NUMBER, nullable=False, server_default="0"),
    sql.Column("oidc_issuer", sql.Text),
    sql.Column("oidc_subject", sql.Text),
    sql.Column("created_at", sql.Text, nullable=False),
    sql.Column("disabled_at", sql.Text),
    sql.Column("absent_from", sql.Text),
    sql.Column("absent_until", sql.Text),
    sql.UniqueConstraint("oidc_issuer", "oidc_subject"),
)

grants = sql.Table(
    "grants",
    metadata,
    sql.Column("id", _NUMBER, primary_key=True),
    sql.Column("account_id", _NUMBER, sql.ForeignKey("accounts.id"), nullable=False),
    sql.Column("role", sql.Text, nullable=False),
    sql.Column("scope", sql.Text, nullable=False),
    sql.UniqueConstraint("account_id", "role", "scope"),
)

links = sql.Table(
    "links",
    metadata,
    sql.Column("digest", sql.Text, primary_key=True),
    sql.Column("account_id", _NUMBER, sql.ForeignKey("accounts.id"), nullable=False),
    sql.Column("kind", sql.Text, nullable=False),
    sql.Column("expires_at", sql.Text, nullable=False),
    sql.Column("used_at", sql.Text),
)

recovery_codes = sql.Table(
    "recovery_codes",
    metadata,
    sql.Column("digest", sql.Text, primary_key=True),
    sql.Column("account_id", _NUMBER, sql.ForeignKey("accounts.id"), nullable=False, index=True),
    sql.Column("used_at", sql.Text),
)

sessions = sql.Table(
    "sessions",
    metadata,
    sql.Column("digest", sql.Text, primary_key=True),
    sql.Column("account_id", _NUMBER, sql.ForeignKey("accounts.id"), nullable=False),
    sql.Column("is_complete", sql.Boolean, nullable=False),
    sql.Column("created_at", sql.Text, nullable=False),
    sql.Column("seen_at", sql.Text, nullable=False),
)

tokens = sql.Table(
    "tokens",
    metadata,
    sql.Column("id", _NUMBER, primary_key=True),
    sql.Column("digest", sql.Text, nullable=False, unique=True),
    sql.Column("account_id", _NUMBER, sql.ForeignKey("accounts.id"), nullable=False),
    sql.Column("partner", sql.Text, nullable=False),
    sql.Column("label", sql.Text, nullable=False),
    sql.Column("scopes", sql.Text, nullable=False),
    sql.Column("created_at", sql.Text, nullable=False),
    sql.Column("expires_at", sql.Text, nullable=False),
    sql.Column("used_at", sql.Text),
    sql.Column("revoked_at", sql.Text),
)

failures = sql.Table(
    "failures",
    metadata,
    sql.Column("id", _NUMBER, primary_key=True),
    sql.Column("subject", sql.Text, nullable=False, index=True),
    sql.Column("at", sql.Text, nullable=False),
)

repeatable = sql.Table(
    "repeatable",
    metadata,
    sql.Column("token_id", _NUMBER, primary_key=True),
    sql.Column("key", sql.Text, primary_key=True),
    sql.Column("digest", sql.Text, nullable=False),
    sql.Column("at", sql.Text, nullable=False),
)

deposits = sql.Table(
    "deposits",
    metadata,
    sql.Column("id", _NUMBER, primary_key=True),
    sql.Column("partner", sql.Text, nullable=False, index=True),
    sql.Column("bytes", _NUMBER, nullable=False),
    sql.Column("at", sql.Text, nullable=False),
)

notices = sql.Table(
    "notices",
    metadata,
    sql.Column("key", sql.Text, primary_key=True),
    sql.Column("account_id", _NUMBER, sql.ForeignKey("accounts.id"), nullable=False),
    sql.Column("month", sql.Text, nullable=False),
    sql.Column("is_reminder", sql.Boolean, nullable=False),
    sql.Column("subject", sql.Text, nullable=False),
    sql.Column("text", sql.Text, nullable=False),
    sql.Column("created_at", sql.Text, nullable=False),
    sql.Column("sent_at", sql.Text),
)

audit = sql.Table(
    "audit",
    metadata,
    sql.Column("sequence", _NUMBER, primary_key=True, autoincrement=False),
    sql.Column("at", sql.Text, nullable=False),
    sql.Column("actor", sql.Text, nullable=False),
    sql.Column("action", sql.Text, nullable=False),
    sql.Column("object", sql.Text, nullable=False),
    sql.Column("detail", sql.Text, nullable=False),
    sql.Column("previous", sql.Text, nullable=False),
    sql.Column("hash", sql.Text, nullable=False),
)

#: What a dropped segment of the journal leaves behind: where it ended, and the hash that the next line continues.
audit_segments = sql.Table(
    "audit_segments",
    metadata,
    sql.Column("last_sequence", _NUMBER, primary_key=True, autoincrement=False),
    sql.Column("last_hash", sql.Text, nullable=False),
    sql.Column("dropped_at", sql.Text, nullable=False),
)

#: A line of the journal is never changed, and goes only with a segment that was sealed before.
_SQLITE_APPEND_ONLY = (
    (
        "CREATE TRIGGER IF NOT EXISTS audit_never_changes BEFORE UPDATE ON audit "
        "BEGIN SELECT RAISE(ABORT, 'append only'); END"
    ),
    (
        "CREATE TRIGGER IF NOT EXISTS audit_never_goes BEFORE DELETE ON audit "
        "WHEN NOT EXISTS (SELECT 1 FROM audit_segments WHERE last_sequence >= OLD.sequence) "
        "BEGIN SELECT RAISE(ABORT, 'append only'); END"
    ),
)
_POSTGRESQL_APPEND_ONLY = (
    (
        "CREATE OR REPLACE FUNCTION audit_append_only() RETURNS trigger AS $body$ BEGIN "
        "IF TG_OP = 'DELETE' AND EXISTS (SELECT 1 FROM audit_segments WHERE last_sequence >= OLD.sequence) "
        "THEN RETURN OLD; END IF; RAISE EXCEPTION 'append only'; END $body$ LANGUAGE plpgsql"
    ),
    (
        "CREATE OR REPLACE TRIGGER audit_append_only BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_append_only()"
    ),
)
_LOCK_OF_THE_PORTAL = 0x1_45E4


def path_beside(home: Path) -> Path:
    """Where the SQLite database of a home lies."""
    return home / "portal" / "portal.sqlite"


def missing_columns(url: str) -> list[str]:
    """Columns that this program wants of tables that are there, as `table.column`: an earlier one made them.

    A table that is not there is made at the next start. Raises `SQLAlchemyError` where the database does not answer.
    """
    engine = sql.create_engine(url)
    try:
        looked_at = sql.inspect(engine)
        tables = [name for name in looked_at.get_table_names() if name in metadata.tables]
        there = {name: {column["name"] for column in looked_at.get_columns(name)} for name in tables}
    finally:
        engine.dispose()
    return sorted(
        f"{table.name}.{column.name}"
        for table in metadata.tables.values()
        for column in table.columns
        if column.name not in there.get(table.name, {column.name})
    )


class Store:
    """The database. `reading` and `writing` are transactions: whole or not at all."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def opened(cls, url: str) -> Store:
        """The database at `url`, its tables made when they are not there."""
        is_sqlite = url.startswith("sqlite")
        engine = sql.create_engine(
            url,
            pool_size=10,
            max_overflow=60,
            pool_pre_ping=not is_sqlite,
            connect_args={"timeout": 60, "isolation_level": None} if is_sqlite else {},
        )
        if is_sqlite:
            _speak_sqlite(engine)
        with engine.begin() as connection:
            if not is_sqlite:
                connection.execute(sql.text(f"SELECT pg_advisory_xact_lock({_LOCK_OF_THE_PORTAL})"))
            metadata.create_all(connection)
            for statement in _SQLITE_APPEND_ONLY if is_sqlite else _POSTGRESQL_APPEND_ONLY:
                connection.execute(sql.text(statement))
        return cls(engine)

    @classmethod
    def beside(cls, home: Path) -> Store:
        """The SQLite database of a home, readable by its owner alone."""
        path = path_beside(home)
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        path.touch(mode=0o600)
        return cls.opened(f"sqlite:///{path}")

    @contextlib.contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that changes nothing."""
        with self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing(self) -> Iterator[Connection]:
        """A transaction that writes; one at a time in SQLite."""
        with self.engine.connect().execution_options(writes=True) as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def writing_alone(self) -> Iterator[Connection]:
        """A transaction that no other of its kind overlaps, in either database: for chains and counters."""
        with self.writing() as connection:
            if self.engine.dialect.name == "postgresql":
                connection.execute(sql.text(f"SELECT pg_advisory_xact_lock({_LOCK_OF_THE_PORTAL})"))
            yield connection

    def close(self) -> None:
        self.engine.dispose()


def _speak_sqlite(engine: Engine) -> None:
    """Write-ahead log, foreign keys; a writer takes its lock at once, or SQLite would refuse to upgrade it later."""

    @sql.event.listens_for(engine, "connect")
    def prepare(connection: object, _record: object) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "busy_timeout = 60000"):
            connection.execute(f"PRAGMA {pragma}")  # type: ignore[attr-defined]

    @sql.event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def new_secret() -> str:
    """A secret that nobody guesses: 256 bits, as URL-safe text."""
    return secrets.token_urlsafe(32)


def digest_of(secret: str) -> str:
    """What is stored of a secret: of 256 random bits, one round is enough."""
    return hashlib.sha256(secret.encode()).hexdigest()


def written(moment: datetime) -> str:
    """A moment as it is stored."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
