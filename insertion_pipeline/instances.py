"""DuckDB in memory: instances made once and lent, each connection alone in a database of its own.

Belongs here: how an instance is configured, lent, taken back and thrown away. Does not belong here: what is computed,
and where a home lies.

An instance costs 28 ms of processor time (2.0.0), a database attached to one that is there 4 ms. What is lent knows
nothing of what was there before: tables, views, macros and variables go with their connection, settings are set anew.
"""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path

import duckdb

#: How every DuckDB is configured: nothing comes from outside.
OFFLINE: Mapping[str, bool] = {"autoinstall_known_extensions": False, "autoload_known_extensions": False}

#: As many as a process has at work side by side; an idle one holds no rows.
_KEPT = 4

_idle: deque[duckdb.DuckDBPyConnection] = deque()
_numbers = itertools.count(1)


@contextlib.contextmanager
def lend(
    *, threads: int, memory_limit_mb: int | None = None, spill: Path | None = None
) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an instance that nobody else has inside the block, in UTC, without progress bars.

    It works in an empty database in memory. `spill`: where it may write what does not fit, a folder that is not there
    yet and is gone afterwards; nowhere without one. `memory_limit_mb`: DuckDB's own limit without one.
    """
    instance = _taken() or duckdb.connect(":memory:", config=dict(OFFLINE))
    name = f"lent_{next(_numbers)}"
    for statement in (
        f"SET threads = {threads}",
        f"SET memory_limit = '{memory_limit_mb}MB'" if memory_limit_mb else "RESET memory_limit",
        f"SET temp_directory = {_literal(str(spill or ''))}",
        "RESET preserve_insertion_order",
        f"ATTACH ':memory:' AS {name}",
    ):
        instance.execute(statement)
    try:
        with _connected(instance, name) as connection:
            yield connection
    finally:
        _take_back(instance, name, spill)


def beside(connection: duckdb.DuckDBPyConnection) -> duckdb.DuckDBPyConnection:
    """Another connection to the database of one that was lent. Temporary objects are not shared.

    Make it before the thread that uses it begins: a connection refuses what is asked of it from two threads at once.
    """
    name = connection.execute("SELECT current_database()").fetchone()
    assert name is not None  # noqa: S101 (a query of one row)
    return _connected(connection, name[0])


def _connected(instance: duckdb.DuckDBPyConnection, name: str) -> duckdb.DuckDBPyConnection:
    connection = instance.cursor()
    connection.execute(f"USE {name}")
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute("SET enable_progress_bar = false")
    return connection


def _taken() -> duckdb.DuckDBPyConnection | None:
    try:
        return _idle.pop()
    except IndexError:
        return None


def _take_back(instance: duckdb.DuckDBPyConnection, name: str, spill: Path | None) -> None:
    """Empty an instance and keep it, unless it has spilled: its folder goes with it."""
    try:
        instance.execute(f"DETACH {name}")
    except duckdb.Error:
        instance.close()
        return
    if len(_idle) >= _KEPT or (spill is not None and spill.exists()):
        instance.close()
    else:
        _idle.append(instance)


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
