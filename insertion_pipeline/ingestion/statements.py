"""SQL that is planned once and run over one delivery after the other.

Belongs here: a connection kept open over many deliveries, the places through which its prepared statements read
Arrow tables. Does not belong here: any SQL, any rule.

Planning the query that judges a wide table takes DuckDB three times longer than running it over a small file
(measured: 60 ms and 20 ms for 24 columns), and most files of a month have the columns of the one before. Statements
have no parameters: one that has some is planned anew at each call. Nothing of a delivery stays behind: places are
emptied when its judgement ends.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Protocol

import duckdb
import pyarrow as pa

from insertion_pipeline.contracts.macros import MACROS
from insertion_pipeline.lake import Lake

#: Optimising the query over a wide table takes a second; below this many rows, running it as it is takes less.
_WORTH_OPTIMISING = 200_000


class Readable(Protocol):
    """Rows that Arrow streams as often as they are asked for."""

    @property
    def schema(self) -> pa.Schema: ...

    @property
    def num_rows(self) -> int: ...

    def __arrow_c_stream__(self, requested_schema: object = None) -> object: ...


class _Place:
    """What a statement reads under one name: whatever table lies here when it runs. Arrow streams it to DuckDB."""

    def __init__(self, name: str, schema: pa.Schema) -> None:
        self.name = name
        self.nothing = schema.empty_table()
        self.table: Readable = self.nothing

    def __arrow_c_schema__(self) -> object:
        return self.table.schema.__arrow_c_schema__()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        return self.table.__arrow_c_stream__(requested_schema)


class Statements:
    """A connection, its places and its prepared statements. For one thread at a time."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, threads: int) -> None:
        self._connection = connection
        self._threads = threads
        self._places: dict[tuple[str, pa.Schema], _Place] = {}
        self._prepared: dict[str, str] = {}
        connection.execute(MACROS)
        connection.execute("PRAGMA disable_optimizer")
        connection.execute("SET threads = 1")  # a second one has nothing to do in a small file, and waits busily

    @classmethod
    @contextlib.contextmanager
    def opened(cls, lake: Lake) -> Iterator[Statements]:
        """Statements over a connection of their own, which spills into the sealed area."""
        with lake.connect(sealed_spill=True) as connection:
            yield cls(connection, lake.threads)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[Statements]:
        """The block judges one delivery; no table of it can be read afterwards."""
        try:
            yield self
        finally:
            for place in self._places.values():
                place.table = place.nothing

    def place(self, name: str, table: Readable) -> str:
        """Where `table` can be read from: a SQL name, the same for every table of this name and these columns."""
        key = (name, table.schema)
        if key not in self._places:
            self._places[key] = _Place(f"{name}_{len(self._places)}", table.schema)
            self._connection.register(self._places[key].name, self._places[key])
        self._places[key].table = table
        return self._places[key].name

    def run(self, query: str) -> pa.Table:
        """What `query` gives over the tables that lie in the places which it reads; one thread, so rows keep order."""
        if query not in self._prepared:
            name = f"statement_{len(self._prepared)}"
            self._connection.execute(f"PREPARE {name} AS {query}")
            self._prepared[query] = name
        return self._connection.sql(f"EXECUTE {self._prepared[query]}").to_arrow_table()

    def run_over_all(self, query: str) -> pa.Table:
        """The same for a query over whole tables, which may be large: planned with care and by all threads then."""
        rows = max((place.table.num_rows for place in self._places.values()), default=0)
        return self._run_once(query) if rows >= _WORTH_OPTIMISING else self.run(query)

    def _run_once(self, query: str) -> pa.Table:
        self._connection.execute("PRAGMA enable_optimizer")
        self._connection.execute(f"SET threads = {self._threads}")
        try:
            return self._connection.sql(query).to_arrow_table()
        finally:
            self._connection.execute("SET threads = 1")
            self._connection.execute("PRAGMA disable_optimizer")
