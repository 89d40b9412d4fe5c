"""DuckDB instances that are lent one after the other: quick, and nobody finds what another left."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from insertion_pipeline.instances import beside, lend


def _everything(connection: duckdb.DuckDBPyConnection) -> list[object]:
    """All settings but the name of the database, and all names but DuckDB's own."""
    settings = connection.execute(
        "SELECT name, value FROM duckdb_settings() WHERE name <> 'search_path' ORDER BY name"
    ).fetchall()
    names = connection.execute("""
        SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal
        UNION ALL SELECT function_name FROM duckdb_functions() WHERE NOT internal
    """).fetchall()
    return [*settings, *names]


def test_nothing_of_one_loan_is_there_in_the_next() -> None:
    with lend(threads=2, memory_limit_mb=300) as first:
        clean = _everything(first)
        instance = first.execute("SELECT current_database()").fetchone()
        first.execute("CREATE TABLE persons AS SELECT 'Ines' AS name")
        first.execute("CREATE TEMP TABLE others AS SELECT 1 AS one")
        first.execute("CREATE VIEW seen AS SELECT * FROM persons")
        first.execute("CREATE MACRO twice(x) AS 2 * x")
        first.execute("SET VARIABLE told = 'secret'")
        first.execute("SET threads = 1")
        first.execute("SET preserve_insertion_order = false")
        first.execute("PRAGMA disable_optimizer")
        first.register("given", pa.table({"a": [1]}))
    with lend(threads=2, memory_limit_mb=300) as second:
        assert second.execute("SELECT current_database()").fetchone() != instance
        assert _everything(second) == clean
        assert second.execute("SELECT getvariable('told')").fetchone() == (None,)
        with pytest.raises(duckdb.CatalogException):
            second.execute("SELECT * FROM given")


def test_two_loans_at_once_share_nothing() -> None:
    with lend(threads=1) as one, lend(threads=2) as two:
        one.execute("CREATE TABLE rows AS SELECT 1 AS a")
        two.execute("CREATE TABLE rows AS SELECT 2 AS a")
        assert one.execute("SELECT a, current_setting('threads') FROM rows").fetchone() == (1, 1)
        assert two.execute("SELECT a, current_setting('threads') FROM rows").fetchone() == (2, 2)


def test_a_connection_beside_another_sees_its_tables_and_not_its_temporary_ones() -> None:
    with lend(threads=2) as one:
        one.execute("CREATE TABLE rows AS SELECT 1 AS a")
        one.execute("CREATE TEMP TABLE notes AS SELECT 1 AS a")
        with beside(one) as other:
            assert other.execute("SELECT a FROM rows").fetchone() == (1,)
            with pytest.raises(duckdb.CatalogException):
                other.execute("SELECT a FROM notes")


def test_what_was_spilled_is_gone_when_the_connection_is(tmp_path: Path) -> None:
    spill = tmp_path / "spill"
    with lend(threads=1, memory_limit_mb=60, spill=spill) as connection:
        connection.execute("CREATE TABLE rows AS SELECT hash(range)::VARCHAR || range AS a FROM range(4000000)")
        assert list(spill.iterdir())
    assert not spill.exists()
