"""The processor time that a confined process may still use: it earns more by reading.

Belongs here: the soft limit of this process. Does not belong here: the other limits, the process itself (`confining`).

A limit of the system, not a count of our own: it also stops a library that never comes back. In a process without one
nothing happens.
"""

from __future__ import annotations

import resource

#: Reading does forty megabytes in a second even of the most intricate text, unpacking several times more.
_BYTES_PER_SECOND = 16 << 20

_left_over = 0


def start(seconds: int) -> None:
    """From here on the process may use so many seconds more."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    limit = int(used.ru_utime + used.ru_stime) + seconds
    resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))


def earn(size: int) -> None:
    """So many bytes were read or unpacked: the process may work a little longer."""
    global _left_over
    soft, hard = resource.getrlimit(resource.RLIMIT_CPU)
    if soft == resource.RLIM_INFINITY:
        return
    seconds, _left_over = divmod(_left_over + size, _BYTES_PER_SECOND)
    if seconds:
        resource.setrlimit(resource.RLIMIT_CPU, (soft + seconds, hard))
