"""Reading back what a home shows outside its sealed area, whatever the format: for tests that look for leaks."""

from __future__ import annotations

import sqlite3
import zipfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

#: What holds persons, under seal, and the keys.
SEALED = ("landing/content", "sealed", "secrets")


def shown_texts(home: Path) -> Iterator[tuple[Path, str]]:
    """Every file outside the sealed area with the text it holds once decoded."""
    for path in sorted(home.rglob("*")):
        relative = path.relative_to(home).as_posix()
        if path.is_file() and not relative.startswith(SEALED):
            yield path, relative + "\n" + text_of(path)


def text_of(path: Path) -> str:
    """The text inside a file: Parquet, DuckDB, SQLite and ZIP (XLSX) are opened, everything else is decoded."""
    head = path.open("rb").read(16)
    if head.startswith(b"PAR1"):
        return _values(pq.read_table(path))
    if path.suffix == ".duckdb":
        with duckdb.connect(str(path), read_only=True) as connection:
            names = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
            return "\n".join(_values(connection.table(f'"{name}"').to_arrow_table()) for name in names)
    if head.startswith(b"SQLite format 3"):
        with sqlite3.connect(path) as database:
            return "\n".join(database.iterdump())
    if head.startswith(b"PK\x03\x04"):
        with zipfile.ZipFile(path) as archive:
            return "\n".join(archive.read(name).decode("utf-8", "replace") for name in archive.namelist())
    return path.read_bytes().decode("utf-8", "replace")


def _values(table: pa.Table) -> str:
    """The names of the columns and every value that stands in each, once, with a line between two."""
    told: list[object] = []
    for name in table.column_names:
        column = table[name]
        told += [name, *(column if pa.types.is_nested(column.type) else column.unique()).to_pylist()]
    return "\n_\n".join(map(str, told))
