"""The process that readers are forked from: started once, early, and found dead or alive.

Belongs here: its life as its parent sees it, its environment, without any import that takes time: who knows that a file
is coming starts it first, and imports what judging needs meanwhile. Does not belong here: what it does (`confining`).
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading


class Nursery:
    """The process that forks readers; one per process, for all its threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> socket.socket:
        """Start it, unless it is there: the first delivery then need not wait for it."""
        with self._lock:
            alive = self._process is not None and self._process.poll() is None and self._owner == os.getpid()
            if self._control is None or not alive:
                self._control = self._started()
            return self._control

    def _started(self) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        program = "from insertion_pipeline.ingestion.confining import serve; serve()"
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (this interpreter, our own words)
                [sys.executable, "-c", program],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **_QUIET},
            )
        if self._owner != os.getpid():
            atexit.register(self._stop)
        self._owner = os.getpid()
        return ours

    def _stop(self) -> None:
        if self._owner == os.getpid() and self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait()

    def ask(self, *ends: socket.socket) -> None:
        """Have a reader forked that talks through `ends`."""
        for attempt in (1, 2):
            control = self.start()
            try:
                socket.send_fds(control, [b"r"], [end.fileno() for end in ends])
                return
            except OSError:  # the nursery is gone: one more is started
                if attempt == 2:
                    raise


#: Threads and arenas that a reader of one file has no use for: they would count against its memory. The memory of a
#: block goes to the next one instead of back to the system (measured: an eighth of a reader's time).
_QUIET = {
    "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20), "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}  # fmt: skip

#: That of this process.
NURSERY = Nursery()


class WithoutPandas:
    """pyarrow imports pandas, where it can, at the first list that it meets: half a second for nothing."""

    @staticmethod
    def find_spec(name: str, path: object = None, target: object = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("this process does without", name=name)


def do_without_pandas() -> None:
    """From here on nothing in this process can import pandas: for one that lives for one file."""
    sys.meta_path.insert(0, WithoutPandas)
