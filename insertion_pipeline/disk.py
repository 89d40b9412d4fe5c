"""A disk that is full, whoever met it: Python, Arrow, DuckDB or SQLite.

Belongs here: knowing it among errors. Does not belong here: what is said and done about it.
"""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator

_FULL = {errno.ENOSPC, errno.EDQUOT}
#: DuckDB gives no number, only the sentence of the system.
_SENTENCES = tuple(os.strerror(number) for number in sorted(_FULL))


def is_full(error: BaseException) -> bool:
    """Whether an error, or one that led to it, is that of a disk (or a quota) that takes no more."""
    return any(_says_so(one) for one in _led_to(error))


def disk_full() -> OSError:
    """The error of a full disk without the name of a file, which may be a person's."""
    return OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _says_so(error: BaseException) -> bool:
    if isinstance(error, OSError):
        return error.errno in _FULL or (error.errno is None and _is_written_in(error))
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
    return type(error).__module__.partition(".")[0] in ("duckdb", "_duckdb") and _is_written_in(error)


def _is_written_in(error: BaseException) -> bool:
    return any(sentence in str(error) for sentence in _SENTENCES)


def _led_to(error: BaseException) -> Iterator[BaseException]:
    """The error and those before it, whatever they are wrapped in (SQLAlchemy keeps the driver's as `orig`)."""
    waiting: list[BaseException | None] = [error]
    seen: set[int] = set()
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__cause__, one.__context__, getattr(one, "orig", None)]
