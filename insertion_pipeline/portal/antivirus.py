"""Asking the antivirus before anything is read: clamd's own protocol, over a socket.

Belongs here: sending bytes, understanding the answer. Does not belong here: what to do about it (`depositing`).
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path

_CHUNK = 1 << 16
_SECONDS = 30


class AntivirusAbsent(Exception):
    """The antivirus does not answer: nothing is accepted until it does."""


def is_infected(path: Path, address: str) -> bool:
    """Whether clamd at `address` (`unix:/path`, `tcp:host:port`) recognises something. Raises `AntivirusAbsent`."""
    try:
        with _connected(address) as clamd, path.open("rb") as file:
            clamd.sendall(b"zINSTREAM\0")
            while chunk := file.read(_CHUNK):
                clamd.sendall(struct.pack("!L", len(chunk)) + chunk)
            clamd.sendall(struct.pack("!L", 0))
            answer = b""
            while b"\0" not in answer and (more := clamd.recv(4096)):
                answer += more
    except OSError as error:
        raise AntivirusAbsent(type(error).__name__) from None
    answer = answer.rstrip(b"\0\n")
    if answer.endswith(b" FOUND"):
        return True
    if answer.endswith(b": OK"):
        return False
    raise AntivirusAbsent("unexpected answer")


def _connected(address: str) -> socket.socket:
    kind, _, where = address.partition(":")
    if kind == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(_SECONDS)
        try:
            connection.connect(where)
        except OSError:
            connection.close()
            raise
        return connection
    host, _, port = where.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=_SECONDS)
