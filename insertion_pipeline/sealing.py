"""Keys, and bytes under seal.

Belongs here: creating and loading key material, wrapping the data key of a delivery with its person space's key,
sealing and opening streams (AES-256-GCM), keyed pseudonyms' raw material. Does not belong here: where sealed things
lie (`lake`), what a pseudonym means (`identity.pseudonymising`).

The streams are cut into segments, each with a nonce of its own made of a random prefix, a counter and an
end-of-stream mark, so that a truncated or reordered stream does not open.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Literal, get_args

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.keywrap import InvalidUnwrap, aes_key_unwrap, aes_key_wrap

if TYPE_CHECKING:
    import duckdb

PersonSpace = Literal["fr", "be"]
Purpose = Literal["facts", "portal", "referents", "register", "release-signature", "tombstones"]

_KEY_BYTES = 32
#: Made together with the first key of a home, so that a copy of its keys is one of all of them: the marks by which an
#: erased person is kept out mean nothing under another key, and production makes none when it first wants it.
_KEYS = (*(f"space-{space}" for space in get_args(PersonSpace)), *(f"purpose-{name}" for name in get_args(Purpose)))
#: What a home without them has not used yet: those of earlier versions may come later than the others.
_LATE_KEYS = {"purpose-portal", "purpose-referents"}
_HASH_BLOCK_BYTES = 64
_SEGMENT_BYTES = 1 << 20
_PREFIX_BYTES = 7
_MAGIC = b"INSEAL1\n"


class KeysMissing(Exception):
    """Production was asked for the named key, which nobody installed; it never invents its own (exit code 4)."""


class SealBroken(Exception):
    """Sealed bytes were altered, truncated, or belong to another key."""


@dataclass(frozen=True)
class Keyring:
    """The keys of one home, one file of 32 random bytes each, readable by their owner alone."""

    folder: Path
    may_create: bool = True

    def space_key(self, space: str) -> bytes:
        """The key that wraps the data keys of one person space (`fr` or `be`); it seals nothing else."""
        return self._key(f"space-{space}")

    def purpose_key(self, purpose: Purpose) -> bytes:
        """The key of one pseudonymisation purpose: pseudonyms of two purposes cannot be joined."""
        return self._key(f"purpose-{purpose}")

    def new_data_key(self, space: str, key: bytes | None = None) -> tuple[bytes, bytes]:
        """A data key, fresh unless it is given, and the same key wrapped for storage (RFC 3394)."""
        key = key or secrets.token_bytes(_KEY_BYTES)
        return key, aes_key_wrap(self.space_key(space), key)

    def unwrap(self, space: str, wrapped: bytes) -> bytes:
        """The data key inside `wrapped`. Raises `SealBroken` when it was not wrapped for this space.

        While the space's key is being replaced, data keys may be wrapped by the one or the other.
        """
        for key in filter(None, (self.space_key(space), self.next_key(space))):
            with contextlib.suppress(InvalidUnwrap):
                return aes_key_unwrap(key, wrapped)
        raise SealBroken("this data key was not wrapped by the key of this home")

    def stored_key(self, space: str, path: Path, prepared: bytes | None = None) -> bytes:
        """The data key wrapped in the file `path`: `prepared`, or a new one, when there is none.

        Of several makers the first one wins.
        """
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _, wrapped = self.new_data_key(space, prepared)
            partial = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
            with partial.open("xb") as file:
                file.write(wrapped)
                file.flush()
                os.fsync(file.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(partial, path)
            partial.unlink()
        return self.unwrap(space, path.read_bytes())

    def next_key(self, space: str, *, create: bool = False) -> bytes | None:
        """The key that is about to replace a space's key, null outside a replacement."""
        name = f"next-space-{space}"
        if create:
            return self._key(name)
        path = self.folder / f"{name}.key"
        return path.read_bytes() if path.exists() else None

    def adopt_next_key(self, space: str) -> None:
        """Let the next key of a space be its key."""
        (self.folder / f"next-space-{space}.key").replace(self.folder / f"space-{space}.key")

    def replace_purpose_key(self, purpose: Purpose) -> None:
        """A fresh key for a purpose: what was made with the former one cannot be told any more."""
        self._create(f"purpose-{purpose}", over=True)

    @property
    def is_empty(self) -> bool:
        return not self.folder.is_dir() or not any(self.folder.glob("*.key"))

    @property
    def missing(self) -> tuple[str, ...]:
        """The names of the keys that are not there."""
        return tuple(name for name in _KEYS if not (self.folder / f"{name}.key").exists())

    @property
    def lost(self) -> tuple[str, ...]:
        """Those of the missing keys that a home which was used had: others in their place would open nothing."""
        return tuple(name for name in self.missing if name not in _LATE_KEYS)

    def create_missing(self) -> tuple[str, ...]:
        """Make the keys that are not there, and give their names; those that are there stay."""
        missing = self.missing
        for name in missing:
            self._create(name)
        return missing

    def _key(self, name: str) -> bytes:
        path = self.folder / f"{name}.key"
        try:
            return path.read_bytes()
        except FileNotFoundError:
            if not self.may_create:
                raise KeysMissing(f"{name}.key") from None
        for first in _KEYS if self.is_empty else ():
            self._create(first)
        return self._create(name)

    def _create(self, name: str, *, over: bool = False) -> bytes:
        path = self.folder / f"{name}.key"
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        candidate = self.folder / f".{name}.{os.getpid()}.{secrets.token_hex(4)}"
        descriptor = os.open(candidate, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        if over:
            candidate.replace(path)
            return path.read_bytes()
        try:
            os.link(candidate, path)  # no overwrite: the first of several racers wins, all read its key
        except FileExistsError:
            pass
        finally:
            candidate.unlink()
        return path.read_bytes()


def define_hmac(connection: duckdb.DuckDBPyConnection, name: str, key: bytes) -> None:
    """Make `name(text)` in SQL: HMAC-SHA-256 under `key`, in hexadecimal. The key stands in no statement."""
    padded = key.ljust(_HASH_BLOCK_BYTES, b"\0")
    for variable, mask in ((f"{name}_inner", 0x36), (f"{name}_outer", 0x5C)):
        connection.execute(f"SET VARIABLE {variable} = $1::BLOB", [bytes(byte ^ mask for byte in padded)])
    connection.execute(
        f"""CREATE OR REPLACE TEMP MACRO {name}(text) AS sha256(
            getvariable('{name}_outer') || unhex(sha256(getvariable('{name}_inner') || encode(text))))"""
    )


def seal(source: BinaryIO, target: BinaryIO, key: bytes) -> None:
    """Copy `source` to `target` under seal, one segment of 1 MiB at a time."""
    cipher = AESGCM(key)
    prefix = secrets.token_bytes(_PREFIX_BYTES)
    target.write(_MAGIC + prefix)
    counter = 0
    segment = source.read(_SEGMENT_BYTES)
    while True:
        following = source.read(_SEGMENT_BYTES)
        target.write(cipher.encrypt(_nonce(prefix, counter, is_last=not following), segment, None))
        if not following:
            return
        segment, counter = following, counter + 1


def unsealed(source: BinaryIO, key: bytes) -> Iterator[bytes]:
    """The sealed bytes, segment by segment. Raises `SealBroken` when they are not whole or not ours."""
    cipher = AESGCM(key)
    if source.read(len(_MAGIC)) != _MAGIC:
        raise SealBroken("not a sealed stream")
    prefix = source.read(_PREFIX_BYTES)
    counter = 0
    segment = source.read(_SEGMENT_BYTES + 16)
    while True:
        following = source.read(_SEGMENT_BYTES + 16)
        try:
            yield cipher.decrypt(_nonce(prefix, counter, is_last=not following), segment, None)
        except InvalidTag:
            raise SealBroken("the sealed bytes were altered or cut, or the key is another's") from None
        if not following:
            return
        segment, counter = following, counter + 1


def _nonce(prefix: bytes, counter: int, *, is_last: bool) -> bytes:
    return prefix + counter.to_bytes(4, "big") + (b"\x01" if is_last else b"\x00")
