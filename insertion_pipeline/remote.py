"""The object store in which a home keeps what cannot be made again, where one is set (S3 and what speaks like it).

Belongs here: objects by name: making one that nobody has made, exchanging one that nobody has exchanged since, getting,
listing, removing. Does not belong here: which files of a home are kept there, and when (`lake` and its callers).

An object appears whole or not at all. « Only if it is not there » and « only if it is still the one that was read » are
decided by the store itself (`If-None-Match`, `If-Match`): machines that share nothing but the store do not overwrite
each other. Credentials, region and endpoint are those of the environment (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT_URL` …).
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from obstore.store import ObjectStore

_CHUNK_BYTES = 8 << 20


class Overtaken(Exception):
    """Another machine was there first: what was decided is to be decided again."""


class StoreNotInstalled(Exception):
    """The extra `s3` is not installed (exit code 4)."""


@dataclass(frozen=True)
class Remote:
    """The objects under one address, `s3://bucket/folder`."""

    address: str

    @property
    def _store(self) -> ObjectStore:
        return _opened(self.address)

    def create(self, name: str, content: bytes) -> bool:
        """Make an object, whole; false when there is one of that name, which stays as it is."""
        from obstore.exceptions import AlreadyExistsError

        try:
            self._store.put(name, content, mode="create", use_multipart=False)
        except AlreadyExistsError:
            return False
        return True

    def put(self, name: str, path: Path) -> None:
        """Make or replace an object, whole, from a file of any size."""
        with path.open("rb") as file:
            self._store.put(name, file, mode="overwrite", chunk_size=_CHUNK_BYTES)

    def exchange(self, name: str, content: bytes, seen: str | None) -> None:
        """Replace an object that is still the one `seen`, or make one that is not there. Raises `Overtaken`."""
        from obstore.exceptions import PreconditionError

        if seen is None:
            if not self.create(name, content):
                raise Overtaken(name)
            return
        try:
            self._store.put(name, content, mode={"e_tag": seen}, use_multipart=False)
        except (PreconditionError, FileNotFoundError):
            raise Overtaken(name) from None

    def read(self, name: str) -> tuple[bytes, str]:
        """The bytes of an object and the mark of its state. Raises `FileNotFoundError`."""
        answer = self._store.get(name)
        return bytes(answer.bytes()), str(answer.meta["e_tag"])

    def download(self, name: str, path: Path) -> None:
        """Copy an object into a file. Raises `FileNotFoundError`."""
        answer = self._store.get(name)
        with path.open("wb") as file:
            for chunk in answer.stream(min_chunk_size=_CHUNK_BYTES):
                file.write(chunk)

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        try:
            self._store.head(name)
        except FileNotFoundError:
            return False
        return True

    def remove(self, name: str) -> None:
        """Remove an object; one that is not there is removed already."""
        try:
            self._store.delete(name)
        except FileNotFoundError:
            return

    def names(self, folder: str, after: str | None = None) -> Iterator[str]:
        """The names under a folder, those after `after` alone when it is given."""
        listed: Any = self._store.list(folder, offset=after)
        for one in itertools.chain.from_iterable(listed):
            yield one["path"]


def is_remote(address: str) -> bool:
    """Whether an address names an object store rather than a file."""
    return "://" in address


@functools.cache
def _opened(address: str) -> ObjectStore:
    """One client per process and address."""
    try:
        from obstore.store import from_url
    except ImportError:
        raise StoreNotInstalled("pip install 'insertion-pipeline[s3]'") from None
    return from_url(address)
