"""A full disk is known whoever meets it: each library is made to meet one."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sqlalchemy

from insertion_pipeline.disk import is_full
from insertion_pipeline.orchestration.discretion import without_values

MANY = pa.table({"name": [f"MARTIN {number}" for number in range(10_000)]})


def full(folder: Path) -> Path:
    """A device on which no byte finds room, by a name that a library may remove when it fails."""
    (folder / "full").symlink_to("/dev/full")
    return folder / "full"


def python(folder: Path) -> None:
    full(folder).write_text("MARTIN")


def arrow(folder: Path) -> None:
    pq.write_table(MANY, full(folder))


def engine(folder: Path) -> None:
    rows = "SELECT hash(range) AS n FROM range(1000000)"
    duckdb.connect().execute(f"COPY ({rows}) TO '{full(folder)}' (FORMAT parquet, USE_TMP_FILE false)")


def sqlite(folder: Path) -> None:
    with sqlite3.connect(folder / "small.db") as connection:
        connection.execute("PRAGMA max_page_count = 3")
        connection.execute("CREATE TABLE names (name TEXT)")
        connection.executemany("INSERT INTO names VALUES (?)", [("MARTIN" * 1000,)] * 10)


def alchemy(folder: Path) -> None:
    with sqlalchemy.create_engine(f"sqlite:///{folder}/small.db").begin() as connection:
        connection.execute(sqlalchemy.text("PRAGMA max_page_count = 3"))
        connection.execute(sqlalchemy.text("CREATE TABLE names AS SELECT hex(randomblob(99999)) AS name"))


@pytest.mark.parametrize("meeting", [python, arrow, engine, sqlite, alchemy])
def test_every_library_s_full_disk_is_known_and_a_step_says_no_more(
    meeting: Callable[[Path], None], tmp_path: Path
) -> None:
    with pytest.raises(Exception) as met:
        meeting(tmp_path)
    assert is_full(met.value)
    with pytest.raises(OSError) as told, without_values():
        raise met.value
    assert str(told.value) == "[Errno 28] No space left on device"


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), ValueError("No space left on device"), duckdb.IOException("no file")]
)
def test_another_error_is_not_taken_for_one(error: Exception) -> None:
    assert not is_full(error)


def test_what_went_wrong_while_a_full_disk_was_dealt_with_is_a_full_disk(tmp_path: Path) -> None:
    def telling() -> None:
        try:
            python(tmp_path)
        except OSError:
            raise KeyError("step") from None

    with pytest.raises(KeyError) as told:
        telling()
    assert is_full(told.value)
