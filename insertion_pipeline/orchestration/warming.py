"""The night's libraries, loaded beside the work that comes before they are needed.

Belongs here: importing in the background. Does not belong here: anything that a run would not load anyway.

Dagster, pandas, pandera and great-expectations take ten seconds to import on two cores; reading and judging deliveries
happens in DuckDB meanwhile, which leaves Python free.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import threading

#: In the order in which a run asks for them.
_HEAVY = ("dagster", "alembic.command", "dagster_duckdb", "pandas", "pandera.pandas", "great_expectations")


@functools.cache
def warm_up() -> threading.Thread:
    """Start importing, once per process. Whoever needs a library imports it as ever, and waits for it if need be."""
    thread = threading.Thread(target=_import_all, name="warming up", daemon=True)
    thread.start()
    return thread


def _import_all() -> None:
    for name in _HEAVY:
        with contextlib.suppress(Exception):  # whoever needs it meets the same error, and says it
            importlib.import_module(name)
