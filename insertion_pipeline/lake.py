"""The only module that touches storage: where things lie, how they are written, how DuckDB is opened.

Belongs here: the layout of a home, atomic writes, Parquet open and sealed, DuckDB connections, the writer's lock, the
version of a home. Does not belong here: what any file means.

Everything that holds a person lies under `sealed/` or `landing/`, encrypted at rest; what lies under `lake/` holds
pseudonyms only; what lies under `releases/` holds no person at all.

Where an object store is set, it has what cannot be made again: it decides what was first, and the files of the home are
a copy of what it has, fetched when they are wanted. `keep`, `claim`, `fetch` and the like do nothing more than the file
system does where none is set.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import json
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any, Protocol

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

from insertion_pipeline.instances import lend
from insertion_pipeline.remote import Overtaken, Remote
from insertion_pipeline.sealing import Keyring

#: What earlier versions had elsewhere: `migrating`.
HOME_VERSION = 3

#: Every DuckDB since 1.0 opens it.
PUBLISHED_STORAGE_VERSION = "v1.0.0"


class HomeTooNew(Exception):
    """The home was written by a later version of this program (exit code 4)."""


class HomeNeedsMigration(Exception):
    """The home was written by an earlier version: `insertion migrate` first (exit code 4)."""


class AnotherRunHoldsTheLock(Exception):
    """One writer per home: another run is at work (exit code 7)."""


class Clock(Protocol):
    """The injected clock. Times that are stored are UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


@dataclass(frozen=True)
class ParquetFile:
    """A Parquet file and, when it is sealed, the key that opens it."""

    path: Path
    key: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Lake:
    """One home: landing, sealed area, lake, releases, runs, secrets.

    `archive_password` opens the encrypted archives that partners send, whenever they are read: at their deposit, and
    when their rows are made again from the bytes that landed. `newest_receipt`: the last one that a run knows, so that
    all its steps work on the same deliveries whatever is deposited meanwhile; nothing is hidden where it is null.
    """

    home: Path
    keyring: Keyring
    memory_limit_mb: int = 4096
    threads: int = 2
    clock: Clock = field(default_factory=SystemClock)
    archive_password: str | None = field(default=None, repr=False)
    remote: Remote | None = None
    newest_receipt: int | None = None

    @classmethod
    def open(
        cls,
        home: Path,
        *,
        may_create_keys: bool = True,
        memory_limit_mb: int = 4096,
        threads: int = 2,
        clock: Clock | None = None,
        archive_password: str | None = None,
        store: str | None = None,
    ) -> Lake:
        """The lake of `home`, created when absent. Raises `HomeTooNew` or `HomeNeedsMigration`.

        `store`: the address of the object store that has what cannot be made again, where there is one.
        """
        home = home.resolve()
        home.mkdir(parents=True, exist_ok=True)
        version = version_of(home)
        if version is None:
            write_atomically(home / "VERSION", f"{HOME_VERSION}\n".encode())
            version = HOME_VERSION
        if version > HOME_VERSION:
            raise HomeTooNew(f"home version {version}, this program knows {HOME_VERSION}")
        if version < HOME_VERSION:
            raise HomeNeedsMigration(f"home version {version}, this program writes {HOME_VERSION}")
        keyring = Keyring(home / "secrets", may_create=may_create_keys)
        remote = Remote(store) if store else None
        return cls(home, keyring, memory_limit_mb, threads, clock or SystemClock(), archive_password, remote)

    @property
    def landing(self) -> Path:
        return self.home / "landing"

    @property
    def sealed(self) -> Path:
        return self.home / "sealed"

    @property
    def open_area(self) -> Path:
        """Pseudonymised facts and aggregates: nothing above identity reads anything else."""
        return self.home / "lake"

    @property
    def releases(self) -> Path:
        return self.home / "releases"

    @property
    def runs(self) -> Path:
        return self.home / "runs"

    def identity_key(self, space: str) -> bytes:
        """The key under which what is known of the persons of a space is sealed, kept wrapped beside the deliveries."""
        return self.stored_key(space, self.landing / "identity" / f"{space}.key")

    # -- what cannot be made again ---------------------------------------------------------------------------------

    def stored_key(self, space: str, path: Path, prepared: bytes | None = None) -> bytes:
        """The data key wrapped in `path`, `prepared` or a new one when there is none. The first maker wins."""
        remote, name = self._shared(path)
        if remote is None:
            return self.keyring.stored_key(space, path, prepared)
        try:
            wrapped, _ = remote.read(name)
        except FileNotFoundError:
            wrapped = self.keyring.new_data_key(space, prepared)[1]
            if not remote.create(name, wrapped):
                wrapped, _ = remote.read(name)
        return self.keyring.unwrap(space, wrapped)

    def read_kept(self, path: Path) -> bytes:
        """The bytes of a small file that others may have replaced or destroyed. Raises `FileNotFoundError`."""
        remote, name = self._shared(path)
        return path.read_bytes() if remote is None else remote.read(name)[0]

    def is_kept(self, path: Path) -> bool:
        """Whether a file is there, for everybody. What was destroyed elsewhere is destroyed here."""
        remote, name = self._shared(path)
        if remote is None:
            return path.exists()
        there = remote.exists(name)
        if not there:
            path.unlink(missing_ok=True)
        return there

    def kept_below(self, folder: Path) -> list[str]:
        """The files in a folder and in its folders, by their path from there, sorted."""
        remote, prefix = self._shared(folder)
        if remote is not None:
            return sorted(name.removeprefix(f"{prefix}/") for name in remote.names(prefix))
        return sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())

    def keep(self, path: Path, place: Path | None = None) -> None:
        """Let a file that was written stand for everybody, or a folder's files in order; under `place` if given."""
        remote, name = self._shared(place or path)
        if remote is not None:
            for one in sorted(path.rglob("*")) if path.is_dir() else [path]:
                if one.is_file():
                    remote.put((PurePosixPath(name) / one.relative_to(path)).as_posix(), one)

    def claim(self, partial: Path, path: Path) -> bool:
        """Let the file `partial` be the file `path`. False where there is one already, which stays as it is."""
        remote, name = self._shared(path)
        if remote is not None and not remote.create(name, partial.read_bytes()):
            self.fetch(path)
            return False
        try:
            os.link(partial, path)
        except FileExistsError:
            return remote is not None  # fetched by a neighbour between the two lines above
        return True

    def fetch(self, path: Path, *, changes: bool = False) -> bool:
        """Have a file here; whether there is one. One that `changes` is fetched although it is here."""
        remote, name = self._shared(path)
        if remote is None or (path.exists() and not changes):
            return path.exists()
        try:
            with replacing(path, durable=False) as partial:
                remote.download(name, partial)
        except FileNotFoundError:
            return False
        return True

    def fetch_all(self, folder: Path, *, after: str | None = None, last: str | None = None) -> None:
        """Have every file of a folder here, or those after the one named `after`.

        The file named `last` comes last: where it is, the others are.
        """
        remote, prefix = self._shared(folder)
        if remote is None:
            return
        names = remote.names(prefix, None if after is None else f"{prefix}/{after}")
        for name in sorted(names, key=lambda name: (Path(name).name == last, name)):
            self.fetch(self.home / name)

    def update(self, path: Path, change: Callable[[bytes | None], bytes]) -> None:
        """Replace a small file by what `change` makes of the one that is there, null where there is none.

        Where another machine replaced it meanwhile, `change` is asked again. What it raises ends the update.
        """
        remote, name = self._shared(path)
        if remote is None:
            write_atomically(path, change(path.read_bytes() if path.exists() else None))
            return
        while True:
            seen: str | None = None
            before: bytes | None = None
            with contextlib.suppress(FileNotFoundError):
                before, seen = remote.read(name)
            after = change(before)
            with contextlib.suppress(Overtaken):
                remote.exchange(name, after, seen)
                return

    def remove(self, path: Path) -> None:
        """Destroy a file for everybody, or every file of a folder."""
        remote, name = self._shared(path)
        if remote is not None:
            for one in list(remote.names(name)) or [name]:
                remote.remove(one)
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)

    def _shared(self, path: Path) -> tuple[Remote | None, str]:
        """The store and the name of a file in it; no store for what lies outside of the home."""
        is_inside = path.is_relative_to(self.home)
        return (self.remote, path.relative_to(self.home).as_posix()) if is_inside else (None, "")

    # -- Parquet ---------------------------------------------------------------------------------------------------

    def write_parquet(self, path: Path, table: pa.Table, *, key: bytes | None = None, durable: bool = True) -> None:
        """Write `table` whole or not at all; under seal when a key is given. `durable`: see `replacing`."""
        with self.parquet_writer(path, table.schema, key=key, durable=durable) as writer:
            writer.write_table(table)

    @contextlib.contextmanager
    def parquet_writer(
        self, path: Path, schema: pa.Schema, *, key: bytes | None = None, durable: bool = True, bounds: bool = True
    ) -> Iterator[pq.ParquetWriter]:
        """A writer for tables that come in chunks. The file appears, complete, when the block ends well.

        `bounds`: with the least and the greatest value of each column of each chunk, which take a quarter of the time.
        """
        properties = encryption.create_encryption_properties(footer_key=key) if key is not None else None
        with (
            replacing(path, durable=durable) as partial,
            pq.ParquetWriter(
                partial, schema, compression="zstd", write_statistics=bounds, encryption_properties=properties
            ) as writer,
        ):
            yield writer

    def write_query(self, connection: duckdb.DuckDBPyConnection, query: str, path: Path) -> int:
        """Write what a query gives as one open Parquet file, in any order, with every thread; returns its rows.

        The file appears, complete, when all is written. It can be made again: it is not forced to the disk.
        """
        with replacing(path, durable=False) as partial:
            (n_rows,) = connection.execute(
                f"COPY ({query}\n) TO {_literal(partial)} "
                "(FORMAT parquet, PARQUET_VERSION v2, COMPRESSION zstd, COMPRESSION_LEVEL 1, USE_TMP_FILE false)"
            ).fetchone() or (0,)
        return int(n_rows)

    def read_parquet(self, file: ParquetFile, *, columns: Sequence[str] | None = None) -> pa.Table:
        """The whole file as an Arrow table."""
        properties = encryption.create_decryption_properties(footer_key=file.key) if file.key is not None else None
        with pq.ParquetFile(file.path, decryption_properties=properties) as parquet:
            return parquet.read(columns=list(columns) if columns is not None else None)

    def parquet_batches(
        self, file: ParquetFile, *, columns: Sequence[str] | None = None, batch_rows: int = 65_536
    ) -> Iterator[pa.RecordBatch]:
        """The file batch by batch, or some of its columns."""
        properties = encryption.create_decryption_properties(footer_key=file.key) if file.key is not None else None
        with pq.ParquetFile(file.path, decryption_properties=properties) as parquet:
            yield from parquet.iter_batches(batch_rows, columns=list(columns) if columns is not None else None)

    # -- DuckDB ----------------------------------------------------------------------------------------------------

    def connect(
        self, *, memory_limit_mb: int | None = None, sealed_spill: bool = False
    ) -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
        """Inside the block, an in-memory DuckDB, deterministic, without extensions from outside.

        `sealed_spill`: spill into the sealed area (use it wherever identifiers are processed). DuckDB makes its folder
        when it first spills, and it is gone after the block.
        """
        spill = self._unused_spill(self.sealed if sealed_spill else self.home)
        return lend(threads=self.threads, memory_limit_mb=memory_limit_mb or self.memory_limit_mb, spill=spill)

    def shared_by(self, workers: int) -> Lake:
        """This lake for one of several workers at once: an equal part of the memory and of the threads."""
        return replace(
            self,
            memory_limit_mb=max(self.memory_limit_mb // workers, 256),
            threads=max(self.threads // workers, 1),
        )

    def scan(self, connection: duckdb.DuckDBPyConnection, files: Sequence[ParquetFile]) -> str:
        """SQL that reads `files` as one table, by column name.

        Sealed files are opened by Arrow, which streams them, projections and filters included: DuckDB 2.0 refuses a
        sealed column of more than one page (20 000 rows), and any filter, join or top-n on a sealed file. Raises
        `ValueError` for no file: the caller knows the columns of an empty table, the lake does not.
        """
        if not files:
            raise ValueError("nothing to scan")
        ordered = sorted(files, key=lambda one: str(one.path))
        selects = []
        if unsealed := [_literal(file.path) for file in ordered if file.key is None]:
            # one scan of many files: a union of as many scans takes longer to plan than small months take to read
            selects.append(f"SELECT * FROM read_parquet([{', '.join(unsealed)}], union_by_name = true)")
        for file in ordered:
            if file.key is None:
                continue
            name = f"sealed_{hashlib.sha256(str(file.path).encode()).hexdigest()[:24]}"
            connection.register(name, _sealed_dataset(file.path, file.key))
            selects.append(f"SELECT * FROM {name}")
        return "(" + "\nUNION ALL BY NAME\n".join(selects) + ")"

    def scan_sealed(
        self, connection: duckdb.DuckDBPyConnection, files: Mapping[int, ParquetFile], number: str
    ) -> list[tuple[str, frozenset[str]]]:
        """Relations that read sealed files with the number of each row's file in the column `number`; their columns.

        Files with the same columns are one relation, whatever their keys: a union of a scan per file takes thirty
        milliseconds a file to plan, and the files of a month are several hundred.
        """
        relations = []
        for schema, fragments in _fragments(files, number).items():
            paths = "\n".join(fragment.path for fragment in fragments)
            name = f"sealed_{hashlib.sha256(paths.encode()).hexdigest()[:24]}"
            connection.register(name, _dataset(fragments, schema.append(pa.field(number, pa.int64()))))
            relations.append((name, frozenset(schema.names)))
        return relations

    @contextlib.contextmanager
    def sealed_spill(self) -> Iterator[Path]:
        """A folder of one's own in the sealed area for what must not outlive the block: unpacked or opened bytes."""
        with self._spilling(self.sealed) as folder:
            yield folder

    @contextlib.contextmanager
    def open_spill(self, *, is_sealed: bool = False) -> Iterator[Path]:
        """A folder of one's own, for rows that must not outlive the block: pseudonymised ones, unless it is sealed."""
        with self._spilling(self.sealed if is_sealed else self.home) as folder:
            yield folder

    @contextlib.contextmanager
    def _spilling(self, area: Path) -> Iterator[Path]:
        folder = self._unused_spill(area)
        folder.mkdir(mode=0o700)
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def empty_spill(self) -> None:
        """Remove what processes that are gone left in the spill folders. Called at the start of a run."""
        for folder in (self.home / "spill", self.sealed / "spill"):
            for left in folder.glob("*-*"):
                if not _is_alive(left.name.split("-")[0]):
                    shutil.rmtree(left, ignore_errors=True)

    @staticmethod
    def _unused_spill(area: Path) -> Path:
        """A folder that is not there yet, in one that nobody else enters, whoever makes the folder."""
        spill = area / "spill"
        area.mkdir(parents=True, exist_ok=True)
        spill.mkdir(exist_ok=True, mode=0o700)
        if spill.stat().st_mode & 0o077:  # one of an earlier version
            spill.chmod(0o700)
        return spill / f"{os.getpid()}-{secrets.token_hex(4)}"

    @contextlib.contextmanager
    def writer_lock(self, *, wait: bool = False, holder: str = "") -> Iterator[None]:
        """The advisory lock of runs. Raises `AnotherRunHoldsTheLock`, naming the holder, unless told to wait."""
        with locked(self.home, wait=wait, holder=holder):
            yield


def version_of(home: Path) -> int | None:
    """The version of the layout of a home, null where there is none yet."""
    try:
        return int((home / "VERSION").read_text(encoding="ascii").strip() or "0")
    except FileNotFoundError:
        return None


@contextlib.contextmanager
def locked(home: Path, *, wait: bool = False, holder: str = "") -> Iterator[None]:
    """The lock of the one writer of a home, whatever its version: see `Lake.writer_lock`.

    The folder is locked beside the file that names the holder: whoever removes that file lets nobody in.
    """
    how = fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB)
    with (home / "run.lock").open("a+") as file, _descriptor_of(home) as folder:
        try:
            fcntl.flock(file, how)
            _lock_folder(folder, how)
        except BlockingIOError:
            file.seek(0)
            raise AnotherRunHoldsTheLock(file.read().strip() or "unnamed run") from None
        file.seek(0)
        file.truncate()
        file.write(holder)
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()


def holder_of(home: Path) -> str | None:
    """Who writes to a home now, null for nobody. A killed process leaves its name, and not its lock."""
    try:
        with (home / "run.lock").open() as file:
            named = file.read().strip()
            if not named:
                return None
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return named
    return None


def _lock_folder(descriptor: int, how: int) -> None:
    """Lock a folder where its file system can: those over a network lock what is open for writing, files alone."""
    try:
        fcntl.flock(descriptor, how)
    except OSError as error:
        if error.errno not in (errno.EBADF, errno.EINVAL, errno.ENOTSUP):
            raise


@contextlib.contextmanager
def _descriptor_of(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _literal(path: Path) -> str:
    """A path as a SQL literal."""
    return "'" + str(path).replace("'", "''") + "'"


def in_memory() -> contextlib.AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Inside the block, a DuckDB for aggregates and nomenclatures: no home, no spill, nothing from outside."""
    return lend(threads=2)


@contextlib.contextmanager
def writing_database(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Inside the block, `connection` works in the new database file `path`; afterwards the file is whole and closed.

    The storage version is an old one, so that the tools that analysts have can open it. Nothing is compressed: the
    string compression of DuckDB leaves different bytes at each run (measured on 2.0.0), plain storage does not.
    """
    literal = "'" + str(path).replace("'", "''") + "'"
    before = connection.execute("SELECT current_database()").fetchone()
    assert before is not None  # noqa: S101 (a query of one row)
    connection.execute("SET force_compression = 'uncompressed'")
    connection.execute(f"ATTACH {literal} AS published (STORAGE_VERSION '{PUBLISHED_STORAGE_VERSION}')")
    try:
        connection.execute("USE published")
        yield
        connection.execute("CHECKPOINT published")
    finally:
        connection.execute(f'USE "{before[0]}"')
        connection.execute("DETACH published")
        connection.execute("RESET force_compression")


@contextlib.contextmanager
def reading_database(connection: duckdb.DuckDBPyConnection, path: Path) -> Iterator[None]:
    """Inside the block, `published` is the database file `path`, read only."""
    literal = "'" + str(path).replace("'", "''") + "'"
    connection.execute(f"ATTACH {literal} AS published (READ_ONLY)")
    try:
        yield
    finally:
        connection.execute("DETACH published")


def _is_alive(process: str) -> bool:
    """Whether the process that a spill folder is named after still runs."""
    return process.isdigit() and Path("/proc", process).exists()


def _sealed_dataset(path: Path, key: bytes) -> Any:
    from pyarrow import dataset

    return dataset.dataset(path, format=_sealed_format(key))


def _sealed_format(key: bytes) -> Any:
    from pyarrow import dataset  # imports pandas: 0.7 s that a command which opens no sealed table need not wait

    properties = encryption.create_decryption_properties(footer_key=key)
    options = dataset.ParquetFragmentScanOptions(decryption_properties=properties)
    return dataset.ParquetFileFormat(default_fragment_scan_options=options)


def _fragments(files: Mapping[int, ParquetFile], number: str) -> dict[pa.Schema, list[Any]]:
    """Sealed files to read as one, by their columns: each is opened with its own key, and says its number."""
    from pyarrow import dataset, fs

    disk = fs.LocalFileSystem()
    found: dict[pa.Schema, list[Any]] = {}
    for rank, file in sorted(files.items()):
        if file.key is None:
            raise ValueError(f"{file.path.name} is not sealed")
        says = dataset.field(number) == pa.scalar(rank, pa.int64())
        fragment = _sealed_format(file.key).make_fragment(str(file.path), disk, partition_expression=says)
        found.setdefault(fragment.physical_schema.remove_metadata(), []).append(fragment)
    return found


def _dataset(fragments: Sequence[Any], schema: pa.Schema) -> Any:
    from pyarrow import dataset

    first = fragments[0]
    return dataset.FileSystemDataset(fragments, schema, first.format, first.filesystem)


@contextlib.contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """A temporary path beside `path` that replaces it when the block ends well, and vanishes when it does not.

    `durable`: on the disk before it replaces anything. What can be made again, and is seen to be broken, need not be.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        yield partial
        if durable:
            with partial.open("rb") as written:
                os.fsync(written.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` whole or not at all."""
    with replacing(path) as partial:
        partial.write_bytes(content)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as canonical JSON (sorted keys, UTF-8, final newline), whole or not at all."""
    write_atomically(path, canonical_json(value) + b"\n")


def canonical_json(value: Any) -> bytes:
    """The one JSON text of a value: the text that digests are taken of."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, indent=1, separators=(",", ": ")).encode()


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, in lower-case hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def remembered_sha256_of(path: Path) -> str:
    """The SHA-256 of a file's bytes, read once per process as long as the file stays the one that was read.

    A file that was written less than two seconds ago is read again: its times could not tell it from one written since.
    """
    seen = path.stat()
    if abs(time.time_ns() - seen.st_ctime_ns) < _SETTLED_NS:
        return sha256_of(path)
    return _sha256_of_state(path, seen.st_dev, seen.st_ino, seen.st_size, seen.st_mtime_ns, seen.st_ctime_ns)


#: File systems note times by the tick of the kernel or by the second, and FAT by two.
_SETTLED_NS = 2_000_000_000


@functools.lru_cache(maxsize=65_536)
def _sha256_of_state(path: Path, *state: int) -> str:
    """The SHA-256 of a file in one state of it: what its folder says of it is part of the question."""
    return sha256_of(path)
