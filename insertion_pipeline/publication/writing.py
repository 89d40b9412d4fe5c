"""The tables of a release as files: Parquet, CSV, DuckDB.

Belongs here: the same rows in each format, byte for byte the same at each run. Does not belong here: the workbook
(`workbook`), the report (`report`), SDMX (`sdmx`), what is in the tables (`cataloguing`, `disclosure`), what describes
the files (`describing`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq

from insertion_pipeline.lake import writing_database
from insertion_pipeline.publication.tables import TABLES

_BOM = b"\xef\xbb\xbf"
#: Text that a spreadsheet would take for a formula.
_FORMULA = r"^([=+\-@\t\r])"


def write_parquet(folder: Path, name: str, table: pa.Table) -> Path:
    """`folder/<name>.parquet`, compressed with zstd."""
    path = folder / f"{name}.parquet"
    pq.write_table(table, path, compression="zstd")
    return path


def write_csv(folder: Path, name: str, table: pa.Table) -> Path:
    """`folder/<name>.csv`: UTF-8 with BOM, `;`, decimal point, text that looks like a formula behind an apostrophe."""
    path = folder / f"{name}.csv"
    with path.open("wb") as file:
        file.write(_BOM)
        pv.write_csv(harmless(table), file, pv.WriteOptions(delimiter=";", quoting_style="needed"))
    return path


def fill(connection: duckdb.DuckDBPyConnection, tables: Mapping[str, pa.Table]) -> None:
    """Create the published tables, with their comments, in the connection's current database."""
    for declared in TABLES:
        connection.register("rows_to_publish", tables[declared.name])
        connection.execute(f'CREATE TABLE "{declared.name}" AS SELECT * FROM rows_to_publish')
        connection.unregister("rows_to_publish")
        connection.execute(f'COMMENT ON TABLE "{declared.name}" IS {_quoted(declared.description)}')
        for column in declared.columns:
            connection.execute(f'COMMENT ON COLUMN "{declared.name}"."{column.name}" IS {_quoted(column.description)}')


def write_duckdb(connection: duckdb.DuckDBPyConnection, path: Path, tables: Mapping[str, pa.Table]) -> Path:
    """The database file at `path`, written through `connection`."""
    with writing_database(connection, path):
        fill(connection, tables)
    return path


def digest_of(table: pa.Table) -> str:
    """SHA-256 of the rows in order: the same whatever file they were read from.

    Of each column: its name and a zero byte, one byte per row (1 where there is a value), then the values with nothing
    for null: of text the lengths as 64-bit integers and the UTF-8 bytes, of numbers 64-bit values, all little-endian.
    """
    whole = hashlib.sha256()
    for name in table.column_names:
        column = table[name].combine_chunks()
        whole.update(name.encode() + b"\0")
        whole.update(_bytes_of(pc.is_valid(column).cast(pa.uint8())))
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            texts = pc.fill_null(column, "").cast(pa.large_binary())
            whole.update(_bytes_of(pc.binary_length(texts)))
            whole.update(_content_of(texts))
        else:
            wide = pa.float64() if pa.types.is_floating(column.type) else pa.int64()
            whole.update(_bytes_of(pc.fill_null(column.cast(wide), 0)))
    return whole.hexdigest()


def _bytes_of(numbers: pa.Array) -> bytes:
    content: bytes = numbers.to_numpy(zero_copy_only=False).tobytes()
    return content


def _content_of(texts: pa.Array) -> memoryview:
    """The bytes of an array of texts, one after the other."""
    _, offsets, content = texts.buffers()
    if content is None:
        return memoryview(b"")
    ends = memoryview(offsets).cast("q")
    return memoryview(content)[ends[texts.offset] : ends[texts.offset + len(texts)]]


def totals_of(table: pa.Table) -> dict[str, float]:
    """Number of rows and the sum of each column of numbers: what `verify` adds up again."""
    sums = {
        name: round(float(pc.sum(table[name]).as_py() or 0.0), 6)
        for name in table.column_names
        if pa.types.is_floating(table[name].type) or pa.types.is_integer(table[name].type)
    }
    return {"rows": float(len(table)), **sums}


def harmless(table: pa.Table) -> pa.Table:
    """The same table, text that a spreadsheet would take for a formula behind an apostrophe."""
    columns = [
        pc.replace_substring_regex(column, pattern=_FORMULA, replacement=r"'\1")
        if pa.types.is_string(column.type)
        else column
        for column in table.columns
    ]
    return pa.table(columns, names=table.column_names)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
