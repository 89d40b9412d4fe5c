"""Errors without values: what Dagster stores of a failure is what anybody who sees its pages may read.

Belongs here: stripping exceptions at the border of a step. Does not belong here: handling errors.
"""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from pathlib import Path

from insertion_pipeline.disk import disk_full, is_full


class StepFailed(Exception):
    """A step failed. The message says which exception, where; never with what value."""


@contextlib.contextmanager
def without_values() -> Iterator[None]:
    """Replace an exception, whose text may quote a cell (DuckDB's do), by its type and place.

    Exceptions of ours are written without values, and pass; a full disk stays one.
    """
    try:
        yield
    except Exception as error:
        if is_full(error):
            raise disk_full() from None
        if type(error).__module__.startswith("insertion_pipeline."):
            raise
        frames = [
            frame for frame in traceback.extract_tb(error.__traceback__) if "insertion_pipeline" in frame.filename
        ]
        places = " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))
        raise StepFailed(f"{type(error).__module__}.{type(error).__qualname__} at {places}") from None
