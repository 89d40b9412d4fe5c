"""Pseudonyms: what stands for a person in every table above the seal.

Belongs here: how a pseudonym is made, and that it stands for one person alone. Does not belong here: who is who
(`resolving`), which tables carry pseudonyms (`pseudonymising`), the key of the purpose (`sealing`).

A pseudonym is the first 72 bits of HMAC-SHA-256 under the key of the purpose, in twelve characters of base64: text that
engines hold in place and compare at once, on which the cost of a national history hangs. Two of ten million persons
share one with a probability of one in a hundred million; such a table is refused, never counted.
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc

#: A multiple of three, which base64 writes without padding.
_BYTES = 9


class SharedPseudonym(Exception):
    """Two persons have one pseudonym: numbers of persons would be wrong."""

    def __init__(self) -> None:
        super().__init__("two persons have the same pseudonym: replace its key (insertion keys rotate pseudonyms)")


def of(key: bytes, told: str) -> str:
    """The pseudonym of whoever is told so: a person's id, or a key that a partner gave and no record describes."""
    return shortened(hmac.digest(key, told.encode(), "sha256"))


def each_of(key: bytes, told: Sequence[str]) -> pa.Array:
    """The pseudonym of each of different ones. Raises `SharedPseudonym`."""
    made = pa.array([of(key, one) for one in told], pa.string())
    if pc.count_distinct(made).as_py() < len(made):
        raise SharedPseudonym
    return made


def shortened(digest: bytes) -> str:
    """The pseudonym that a whole digest is cut to."""
    return base64.b64encode(digest[:_BYTES]).decode()
