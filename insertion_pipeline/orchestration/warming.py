"""The night's libraries, loaded beside the work that comes before they are needed.

Belongs here: importing in the background. Does not belong here: anything that a run would not load anyway.

Dagster takes three seconds to import, and the checks of the side process as much again before it is ready; reading and
judging deliveries happens in DuckDB meanwhile, which leaves Python free.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import importlib
import threading

from insertion_pipeline.orchestration.side_process import side_process

#: In the order in which a run asks for them.
_HEAVY = ("dagster", "alembic.command", "dagster_duckdb")

#: These libraries are half a million objects that stay: walking them every 700 new ones takes a twentieth of a run.
_OBJECTS_BEFORE_COLLECTING = 100_000


@functools.cache
def warm_up() -> threading.Thread:
    """Start importing, once per process. Whoever needs one of these libraries joins the thread first.

    Two threads that import a package and a module inside it may each see the other's work half done.
    """
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTING)
    side_process().start()
    thread = threading.Thread(target=_import_all, name="warming up", daemon=True)
    thread.start()
    return thread


def _import_all() -> None:
    for name in _HEAVY:
        with contextlib.suppress(Exception):  # whoever needs it meets the same error, and says it
            importlib.import_module(name)
