"""Rows that come in batches: in memory while they are few, in a sealed file of the spill when they are many.

Belongs here: gathering batches, reading them again as often as is wanted, keeping them for good. Does not belong here:
what the rows mean, where they are kept.

A national file does not fit in memory. Its rows wait under seal, under the key that they will be kept with: keeping
them is then a change of name.
"""

from __future__ import annotations

import contextlib
import itertools
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from insertion_pipeline.lake import Lake, ParquetFile

#: What all that one delivery gathers may hold in memory together.
_MEMORY_BYTES = 128 << 20
_BATCH_ROWS = 65_536


class Store:
    """Where the rows of one delivery are gathered while it is judged and kept. For one thread."""

    def __init__(self, lake: Lake, folder: Path, key: bytes, memory_bytes: int = _MEMORY_BYTES) -> None:
        self.lake = lake
        self.key = key
        self._folder = folder
        self._memory_left = memory_bytes
        self._serial = itertools.count(1)

    @classmethod
    @contextlib.contextmanager
    def opened(cls, lake: Lake, key: bytes | None = None, *, memory_bytes: int = _MEMORY_BYTES) -> Iterator[Store]:
        """A store in the sealed spill. Without a key, what spills is under one that nobody keeps."""
        with lake.sealed_spill() as folder:
            yield cls(lake, folder, key or secrets.token_bytes(16), memory_bytes)

    def gather(self, schema: pa.Schema) -> Gathered:
        """An empty gathering of rows of this schema."""
        return Gathered(schema, self)

    def take(self, size: int) -> bool:
        """Whether `size` bytes more may stay in memory; they count when they may."""
        if size > self._memory_left:
            return False
        self._memory_left -= size
        return True

    def give_back(self, size: int) -> None:
        """So many bytes are no longer in memory."""
        self._memory_left += size

    def new_file(self) -> Path:
        """A path of the spill that nothing has."""
        return self._folder / f"{next(self._serial)}.parquet"


class Gathered:
    """Rows of one schema, in the order in which they came. Arrow streams them to whoever reads, DuckDB included."""

    def __init__(self, schema: pa.Schema, store: Store | None = None) -> None:
        self.schema = schema
        self.num_rows = 0
        self._store = store
        self._batches: list[pa.Table] = []
        self._held = 0
        self._file: ParquetFile | None = None
        self._is_kept = False
        self._writing: pq.ParquetWriter | None = None
        self._stack = contextlib.ExitStack()

    @classmethod
    def of(cls, table: pa.Table) -> Gathered:
        """A table that is in memory anyway."""
        gathered = cls(table.schema)
        gathered.append(table)
        return gathered

    def append(self, rows: pa.Table) -> None:
        """Add rows of the schema."""
        if not rows.num_rows:
            return
        self.num_rows += rows.num_rows
        if self._writing is not None:
            self._writing.write_table(rows)
        elif self._store is None or self._store.take(rows.nbytes):
            self._held += rows.nbytes
            self._batches.append(rows)
        else:
            self._spill(self._store, rows)

    def _spill(self, store: Store, rows: pa.Table) -> None:
        self._file = ParquetFile(store.new_file(), store.key)
        writer = store.lake.parquet_writer(self._file.path, self.schema, key=store.key, durable=False, bounds=False)
        self._writing = self._stack.enter_context(writer)
        for batch in (*self._batches, rows):
            self._writing.write_table(batch)
        self._batches = []
        store.give_back(self._held)
        self._held = 0

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The rows again, or some of their columns. Nothing more can be added to what has spilled."""
        if self._file is None or self._store is None:
            for table in self._batches:
                yield from (table if columns is None else table.select(columns)).to_batches()
            return
        self._finish()
        yield from self._store.lake.parquet_batches(self._file, columns=columns, batch_rows=_BATCH_ROWS)

    def table(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All of them in memory."""
        return pa.Table.from_batches(self.batches(columns), self._schema_of(columns))

    def where(self, keep: Callable[[pa.Table], pa.ChunkedArray | pa.Array]) -> Gathered:
        """The rows that `keep` is true of, gathered anew."""
        kept = Gathered(self.schema, self._store)
        for batch in self.batches():
            rows = pa.Table.from_batches([batch])
            kept.append(rows.filter(keep(rows)))
        return kept

    def save(self, lake: Lake, path: Path, key: bytes) -> None:
        """Keep the rows in a sealed file. What has spilled is moved there, and read from there afterwards."""
        self._finish()
        if self._file is not None and self._file.key == key and not self._is_kept:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file.path.replace(path)
            self._file, self._is_kept = ParquetFile(path, key), True
            return
        with lake.parquet_writer(path, self.schema, key=key, durable=False) as writer:
            for batch in self.batches():
                writer.write_batch(batch)

    def without(self, columns: Sequence[str]) -> Gathered:
        """The same rows without some of their columns."""
        kept = Gathered(pa.schema([field for field in self.schema if field.name not in columns]), self._store)
        for batch in self.batches(kept.schema.names):
            kept.append(pa.Table.from_batches([batch]))
        return kept

    def select(self, columns: Sequence[str]) -> Projected:
        """Some of the columns, to be streamed."""
        return Projected(self, tuple(columns))

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return pa.RecordBatchReader.from_batches(self.schema, self.batches()).__arrow_c_stream__(requested_schema)

    def _schema_of(self, columns: Sequence[str] | None) -> pa.Schema:
        return self.schema if columns is None else pa.schema([self.schema.field(name) for name in columns])

    def _finish(self) -> None:
        self._writing = None
        self._stack.close()


class Projected:
    """Some columns of gathered rows, streamed anew each time that they are read."""

    def __init__(self, gathered: Gathered, columns: tuple[str, ...]) -> None:
        self.schema = pa.schema([gathered.schema.field(name) for name in columns])
        self.num_rows = gathered.num_rows
        self._gathered = gathered

    def __arrow_c_schema__(self) -> object:
        return self.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        batches = self._gathered.batches(self.schema.names)
        return pa.RecordBatchReader.from_batches(self.schema, batches).__arrow_c_stream__(requested_schema)


class Tables(Mapping[str, pa.Table]):
    """Gathered rows by table name. Taking one by its name brings all of it into memory; `parts` does not."""

    def __init__(self, parts: Mapping[str, Gathered]) -> None:
        self.parts = dict(parts)

    @classmethod
    def of(cls, tables: Mapping[str, pa.Table] | Iterable[tuple[str, pa.Table]]) -> Tables:
        """Tables that are in memory anyway."""
        return cls({name: Gathered.of(table) for name, table in dict(tables).items()})

    def __getitem__(self, name: str) -> pa.Table:
        return self.parts[name].table()

    def __iter__(self) -> Iterator[str]:
        return iter(self.parts)

    def __len__(self) -> int:
        return len(self.parts)
