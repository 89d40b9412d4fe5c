"""A PostgreSQL of this machine alone, in a folder, until it is told to end: `deploy/start` without one of its own.

    python deploy/postgresql.py FOLDER

Prints its address, a socket that no other machine reaches. Whoever has a PostgreSQL needs none of this.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import pgserver


def main() -> None:
    """Start, say where, wait."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    with pgserver.get_server(folder, cleanup_mode="stop") as server:
        sys.stdout.write(f"{server.get_uri()}\n")
        sys.stdout.flush()
        while True:
            signal.pause()


if __name__ == "__main__":
    main()
