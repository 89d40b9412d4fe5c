"""Unknown bytes are read by a process of its own, with little memory and little time.

Belongs here: that process's work and limits, what passes between it and its parent, what its death means. Does not
belong here: starting the nursery (`nursery`), reading (`cutting`), judging what was read.

A *nursery* is started once per process, with a fresh interpreter, so that it may fork whatever threads its parent has
(a Dagster worker, a web server); it has imported the readers and waits. For each delivery it forks a *warden*, and that
a *reader* with limits: forking costs milliseconds. The reader sends pieces as JSON and Arrow, never as pickles: what
comes back is data, whatever happened to the reader. The warden tells how the reader ended and what it used.

Time is earned: a reader may work `_PATIENCE_SECONDS` for a start, and more for every byte that it has read or unpacked
(`allowance`), so that six million honest lines take the time they take and a small file cannot.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import importlib
import io
import json
import os
import pickle
import resource
import signal
import socket
import struct
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import pyarrow as pa

from insertion_pipeline.contracts.findings import FINDINGS_SCHEMA, Finding
from insertion_pipeline.ingestion import allowance
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.extracts import (
    UNREADABLE_SCHEMA,
    Batch,
    Closing,
    Extract,
    Opening,
    Piece,
    Pieces,
    UnreadableDelivery,
    refusal,
)
from insertion_pipeline.ingestion.nursery import NURSERY, do_without_pandas
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Source

if TYPE_CHECKING:
    from insertion_pipeline.ingestion.cutting import Task
    from insertion_pipeline.ingestion.spreadsheet import Cell
    from insertion_pipeline.ingestion.transcribing import Leaf

#: What a reader may take beyond what the interpreter and its libraries hold (about 100 MB): 512 MB are never reached.
_MEMORY_BYTES = 384 << 20
_PATIENCE_SECONDS = 4
_MOST_OPEN_FILES = 64
#: Than reading: telling the encoding of a text goes through all of it before its first line is read.
_LOOKING_IS_FASTER = 4
_PIPE_BYTES = 1 << 20
#: A header is a line of JSON about one piece; findings about two hundred columns take far less.
_MOST_HEADER_BYTES = 16 << 20
_SIZES = struct.Struct("<Q")
_OUT_OF_MEMORY = 3


class _Stream(Protocol):
    """What comes back from a reader."""

    def read(self, size: int, /) -> bytes: ...


class ReadingFailed(Exception):
    """The reader has a defect. The message says where in the code, and nothing of the delivery."""


@dataclass(frozen=True)
class Usage:
    """What a reader used: its peak of resident memory and its processor time."""

    peak_bytes: int
    cpu_seconds: float


#: What the last reader of this process used: for measuring, in tests and benchmarks.
last_usage: Usage | None = None


def cut(task: Task, source: Source, month: Month | None) -> Pieces:
    """`cutting.cut` in a confined process. Raises `UnreadableDelivery` also for what it could not bear."""
    with _reader(("cut", task, (source, month))) as stream:
        for header in _headers(stream):
            if header["kind"] == "end":
                return
            yield _piece(header, stream)


def best(task: Task, candidates: Sequence[Source]) -> str | None:
    """`cutting.best` in a confined process."""
    with _reader(("best", task, (tuple(candidates),))) as stream:
        for header in _headers(stream):
            name: str | None = header["name"]
            return name
    return None


def transcribe(task: Task, source: Source, month: Month | None) -> Iterator[Leaf]:
    """`transcribing.transcribe` in a confined process: the rows of a leaf are gone through before the next is taken."""
    from insertion_pipeline.ingestion.transcribing import Leaf

    with _reader(("transcribe", task, (source, month))) as stream:
        messages = _headers(stream)
        header = next(messages)
        while header["kind"] == "leaf":
            rows = _Rows(messages)
            yield Leaf(header["file"], header["table"], header["columns"], header["header"], header["lines"], rows)
            header = rows.following()


# -- the parent's side -------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _reader(request: tuple[str, Task, tuple[Any, ...]]) -> Iterator[_Stream]:
    """A reader at work on the request, as the stream of what it sends."""
    ours, theirs = socket.socketpair()
    report, reported = socket.socketpair()
    with contextlib.closing(report), contextlib.closing(ours):
        with theirs, reported:
            NURSERY.ask(theirs, reported)
        ours.sendall(_framed(pickle.dumps(request)))
        with io.BufferedReader(socket.SocketIO(ours, "r"), _PIPE_BYTES) as stream:
            try:
                yield stream
            except _Ended:
                raise _death(report) from None
            except (UnreadableDelivery, ReadingFailed):
                _note_usage(report)
                raise
        ours.close()
        _note_usage(report)


class _Ended(Exception):
    """The reader ended in the middle of a sentence."""


def _headers(stream: _Stream) -> Iterator[dict[str, Any]]:
    """The headers of what comes back, until the last. Raises what the reader raised."""
    while True:
        (size,) = _SIZES.unpack(_exactly(stream, _SIZES.size))
        if size > _MOST_HEADER_BYTES:
            raise _Ended
        header: dict[str, Any] = json.loads(_exactly(stream, size))
        if header["kind"] == "refused":
            raise UnreadableDelivery(Finding(**header["finding"]))
        if header["kind"] == "failed":
            raise ReadingFailed(header["where"])
        yield header


def _exactly(stream: _Stream, size: int) -> bytes:
    content = stream.read(size)
    if len(content) != size:
        raise _Ended
    return content


def _death(report: socket.socket) -> Exception:
    """What it means that the reader is gone."""
    told = _note_usage(report)
    if told.get("signal") == signal.SIGXCPU:
        return refusal(
            "limit-exceeded",
            "La lecture du fichier demande trop de travail pour ce qu'il contient : elle a été arrêtée.",
            remedy="Enregistrez de nouveau le fichier dans un format simple (CSV), puis déposez-le.",
        )
    return refusal(
        "limit-exceeded",
        "Le fichier demande trop de mémoire pour être lu : la lecture a été arrêtée.",
        expected="un classeur de moins de 300 000 lignes, ou un fichier CSV de n'importe quelle longueur",
        remedy="Enregistrez le contenu en CSV, puis déposez-le de nouveau.",
    )


def _note_usage(report: socket.socket) -> dict[str, Any]:
    global last_usage
    with report.makefile("rb") as stream:
        told: dict[str, Any] = json.loads(stream.read() or b"{}")
    if told:
        last_usage = Usage(told["peak_bytes"], told["cpu_seconds"])
    return told


def _framed(content: bytes) -> bytes:
    return _SIZES.pack(len(content)) + content


# -- the other side ----------------------------------------------------------------------------------------------------


_READING = ("cutting", "delimited", "json_elements", "spreadsheet", "transcribing", "xml")


def serve() -> NoReturn:
    """The life of a nursery: forking a warden for each pair of ends, until its parent is gone."""
    do_without_pandas()
    for room in _READING:  # here, once: each reader is forked with them, and none may write what it has compiled
        importlib.import_module(f"insertion_pipeline.ingestion.{room}")

    pa.set_memory_pool(pa.system_memory_pool())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(fileno=os.dup(0)) as control:
        while True:
            message, ends, _, _ = socket.recv_fds(control, 1, 2)
            if not message:
                os._exit(0)
            if os.fork() == 0:
                control.close()
                os.close(0)
                _guard(*ends)
            for end in ends:
                os.close(end)


def _guard(end: int, report: int) -> NoReturn:
    """Fork the reader, wait for it, tell how it ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    reader = os.fork()
    if reader == 0:
        os.close(report)
        _work(end)
    os.close(end)
    _, status, usage = os.wait4(reader, 0)
    told = {
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0,
        "peak_bytes": usage.ru_maxrss * 1024,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
    }
    with contextlib.suppress(OSError):
        os.write(report, json.dumps(told).encode())
    os._exit(0)


def _work(end: int) -> NoReturn:
    """Read one delivery under limits, and end."""
    with socket.socket(fileno=end) as connection, connection.makefile("rb") as questions:
        (size,) = _SIZES.unpack(questions.read(_SIZES.size))
        request = pickle.loads(questions.read(size))  # noqa: S301 (from the parent, which is ourselves)
        code = 0
        try:
            _limit(request[1])
            _answer(request, connection)
        except MemoryError:
            code = _OUT_OF_MEMORY
        except UnreadableDelivery as refused:
            _send(connection, {"kind": "refused", "finding": asdict(refused.finding)})
        except BrokenPipeError:
            pass  # whoever asked no longer wants to know
        except Exception as error:  # noqa: BLE001 (a defect: where it is goes to the parent, its words may quote the file)
            _send(connection, {"kind": "failed", "where": _where(error)})
    os._exit(code)


def _limit(task: Task) -> None:
    """From here on the process may grow by so much, and work for so long."""
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + _MEMORY_BYTES, held + _MEMORY_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN_FILES, _MOST_OPEN_FILES))
    most = task.limits.unpacked_bytes
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    allowance.start(_PATIENCE_SECONDS)
    allowance.earn(sum(path.stat().st_size for path in task.paths) // _LOOKING_IS_FASTER)


def _answer(request: tuple[str, Task, tuple[Any, ...]], connection: socket.socket) -> None:
    from insertion_pipeline.ingestion import cutting, transcribing

    question, task, arguments = request
    if question == "best":
        _send(connection, {"kind": "best", "name": cutting.best(task, *arguments)})
        return
    if question == "cut":
        for piece in cutting.cut(task, *arguments):
            _send_piece(connection, piece)
    else:
        for leaf in transcribing.transcribe(task, *arguments):
            _send_leaf(connection, leaf)
    _send(connection, {"kind": "end"})


def _where(error: Exception) -> str:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"


# -- pieces as data ----------------------------------------------------------------------------------------------------


def _send(connection: socket.socket, header: dict[str, Any], *contents: pa.Buffer) -> None:
    connection.sendall(_framed(json.dumps(header).encode()))
    for content in contents:
        connection.sendall(content)


def _send_piece(connection: socket.socket, piece: Piece | Closing) -> None:
    if isinstance(piece, Batch):
        contents = [_streamed(table) for table in (piece.rows, piece.unreadable, piece.oddities)]
        sizes = [content.size for content in contents]
        _send(connection, {"kind": "batch", "rank": piece.rank, "table": piece.table, "sizes": sizes}, *contents)
        allowance.earn(sum(sizes))
        return
    header: dict[str, Any] = {"findings": [asdict(finding) for finding in piece.findings]}
    if isinstance(piece, Opening):
        header |= {"kind": "opening", "rank": piece.rank, "table": piece.table}
        header |= {"columns": piece.columns, "own": piece.own}
    elif isinstance(piece, Extract):
        month = str(piece.stated_month) if piece.stated_month is not None else None
        header |= {"kind": "extract", "rank": piece.rank, "table": piece.table, "account": asdict(piece.account)}
        header |= {"stated_month": month, "stated_territory": piece.stated_territory}
    else:
        header |= {"kind": "closing"}
    _send(connection, header)


def _piece(header: dict[str, Any], stream: _Stream) -> Piece | Closing:
    if header["kind"] == "batch":
        rows, unreadable, oddities = (_table(_exactly(stream, size)) for size in header["sizes"])
        return Batch(
            header["rank"],
            header["table"],
            rows,
            unreadable.cast(UNREADABLE_SCHEMA),
            oddities.cast(FINDINGS_SCHEMA),
        )
    findings = tuple(Finding(**finding) for finding in header["findings"])
    if header["kind"] == "opening":
        return Opening(header["rank"], header["table"], tuple(header["columns"]), findings, tuple(header["own"]))
    if header["kind"] == "closing":
        return Closing(findings)
    month = Month.parse(header["stated_month"]) if header["stated_month"] is not None else None
    account = Account(**header["account"])
    return Extract(header["rank"], header["table"], account, findings, month, header["stated_territory"])


def _streamed(table: pa.Table) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    return sink.getvalue()


def _table(content: bytes) -> pa.Table:
    """A table out of what a reader sent, which may be anything: nothing in it points outside of itself."""
    table = pa.ipc.open_stream(io.BytesIO(content)).read_all()
    table.validate(full=True)
    return table


# -- leaves as data ----------------------------------------------------------------------------------------------------

#: Rows are sent together up to so many characters.
_ROWS_CHARACTERS = 1 << 19
#: The cells of a workbook that JSON has no word for, by the name of their type: as text, and back.
_TO_TEXT: Mapping[str, Callable[[Any], str]] = {
    "date": dt.date.isoformat,
    "datetime": dt.datetime.isoformat,
    "time": dt.time.isoformat,
    "timedelta": lambda cell: str(cell.total_seconds()),
}
_FROM_TEXT: Mapping[str, Callable[[str], Cell]] = {
    "date": dt.date.fromisoformat,
    "datetime": dt.datetime.fromisoformat,
    "time": dt.time.fromisoformat,
    "timedelta": lambda text: dt.timedelta(seconds=float(text)),
}


def _send_leaf(connection: socket.socket, leaf: Leaf) -> None:
    header = {"file": leaf.file, "table": leaf.table, "columns": dict(leaf.columns)}
    _send(connection, {"kind": "leaf", **header, "header": leaf.header, "lines": leaf.lines})
    rows: list[tuple[int, list[Any]]] = []
    size = 0
    for number, cells in leaf.rows:
        rows.append((number, [_cell_sent(cell) for cell in cells]))
        size += sum(len(cell) if isinstance(cell, str) else 8 for cell in cells)
        if size > _ROWS_CHARACTERS:
            _send(connection, {"kind": "rows", "rows": rows})
            allowance.earn(size)
            rows, size = [], 0
    _send(connection, {"kind": "rows", "rows": rows})


def _cell_sent(cell: Cell) -> Any:
    kind = type(cell).__name__
    return {kind: _TO_TEXT[kind](cell)} if kind in _TO_TEXT else cell


class _Rows:
    """The rows of one leaf, as they come; they end where the reader does, however it ended."""

    def __init__(self, messages: Iterator[dict[str, Any]]) -> None:
        self._messages = messages
        self._following: dict[str, Any] = {"kind": "end"}
        self._rows = self._received()

    def __iter__(self) -> Iterator[tuple[int, Sequence[Cell]]]:
        return self._rows

    def _received(self) -> Iterator[tuple[int, Sequence[Cell]]]:
        with contextlib.suppress(_Ended, UnreadableDelivery):
            for message in self._messages:
                if message["kind"] != "rows":
                    self._following = message
                    return
                for number, cells in message["rows"]:
                    yield number, [_cell_received(cell) for cell in cells]

    def following(self) -> dict[str, Any]:
        """What was sent after the rows, those passed over that nobody wanted to see."""
        for _ in self._rows:
            pass
        return self._following


def _cell_received(cell: Any) -> Cell:
    if isinstance(cell, dict):
        ((kind, text),) = cell.items()
        return _FROM_TEXT[kind](text)
    received: Cell = cell
    return received
