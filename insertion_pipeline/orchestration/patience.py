"""What passes by itself is tried again, later each time: a store or a network disk that does not answer.

Belongs here: which failures pass, and how long a step waits. Does not belong here: failures of the data or of the
program, which a second attempt would only repeat; runs that were killed (`run_retries` of the instance).
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

import dagster as dg

from insertion_pipeline.orchestration.discretion import without_values

RETRIES = 3
#: Then twice as long each time: an object store that was restarted answers within two minutes.
_FIRST_WAIT_SECONDS = 15
_PASSING = {
    errno.EAGAIN, errno.EIO, errno.ESTALE, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTUNREACH, errno.ETIMEDOUT,
}  # fmt: skip


@contextlib.contextmanager
def trying_again(context: dg.AssetExecutionContext) -> Iterator[None]:
    """The work of a step: a failure that passes asks for another attempt, any other ends it; both without values."""
    does_pass = False
    try:
        with without_values():
            try:
                yield
            except Exception as error:
                does_pass = passes(error)
                raise
    except Exception:
        attempts = context.op_execution_context.retry_number
        if does_pass and attempts < RETRIES:
            raise dg.RetryRequested(RETRIES, seconds_to_wait=_FIRST_WAIT_SECONDS * 2**attempts) from None
        raise


def passes(error: Exception) -> bool:
    """Whether the same work may well succeed in a minute."""
    if isinstance(error, OSError):
        return isinstance(error, ConnectionError | TimeoutError) or error.errno in _PASSING
    # what obstore raises once it has tried for itself; the extra that brings it may be absent
    return type(error).__module__.partition(".")[0] == "obstore" and type(error).__name__ == "GenericError"
