"""The bytes that partners sent, immutable and under seal.

Belongs here: where they lie, their data keys, bundles of several files as one content, opening them again. Does not
belong here: who delivered them when (`receipts`), what is in them (`reading`).

Each content has a data key of its own, wrapped by the key of the partner's person space; destroying that small file
erases the content, and every conformed table that it sealed, while receipts and digests stay.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from insertion_pipeline.lake import Lake, replacing, sha256_of
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Partner
from insertion_pipeline.sealing import seal, unsealed


class ContentErased(Exception):
    """The data key of this content was destroyed, or its bytes are past their retention."""


@dataclass(frozen=True)
class Content:
    """Bytes to deliver: one file as it is, or several as one bundle. Its digest does not depend on their order."""

    paths: tuple[Path, ...]
    sha256: str
    size: int

    @classmethod
    def of(cls, delivery: Path | Sequence[Path]) -> Content:
        """The content of one file, or of the files of a bundle."""
        paths = (delivery,) if isinstance(delivery, Path) else tuple(delivery)
        if len(paths) == 1:
            return cls(paths, sha256_of(paths[0]), paths[0].stat().st_size)
        ordered = sorted((sha256_of(path), path) for path in paths)
        digest = hashlib.sha256("\n".join(sha for sha, _ in ordered).encode()).hexdigest()
        return cls(tuple(path for _, path in ordered), digest, sum(path.stat().st_size for path in paths))

    def copy_to(self, target: BinaryIO) -> None:
        """Write the bytes: those of the file, or a plain archive of the bundle whose members have no names."""
        if len(self.paths) == 1:
            with self.paths[0].open("rb") as source:
                shutil.copyfileobj(source, target, 1 << 20)
            return
        with tarfile.open(fileobj=target, mode="w|", format=tarfile.USTAR_FORMAT) as archive:
            for rank, path in enumerate(self.paths, start=1):
                entry = tarfile.TarInfo(str(rank))
                entry.size = path.stat().st_size
                with path.open("rb") as source:
                    archive.addfile(entry, source)


def prepared_key(lake: Lake, partner: Partner, sha256: str) -> bytes:
    """The key that a content has, or the one that it will have when it is kept; nothing is written."""
    try:
        return existing_data_key(lake, partner, sha256)
    except ContentErased:
        return lake.keyring.new_data_key(partner.space)[0]


def data_key(lake: Lake, partner: Partner, sha256: str, prepared: bytes | None = None) -> bytes:
    """The key of a content: `prepared`, or a new one, when it has none; of several makers, the first one's counts."""
    return lake.stored_key(partner.space, _path(lake, partner.code, sha256, ".key"), prepared)


def existing_data_key(lake: Lake, partner: Partner, sha256: str) -> bytes:
    """The key of a content that was stored. Raises `ContentErased`."""
    try:
        wrapped = lake.read_kept(_path(lake, partner.code, sha256, ".key"))
    except FileNotFoundError:
        raise ContentErased(sha256) from None
    return lake.keyring.unwrap(partner.space, wrapped)


def store(lake: Lake, partner: Partner, content: Content) -> bytes:
    """Keep the bytes under seal and return their data key. Bytes that are there already are left alone."""
    key = data_key(lake, partner, content.sha256)
    path = _path(lake, partner.code, content.sha256)
    if lake.is_kept(path):
        return key
    with replacing(path) as partial:
        with partial.open("xb") as target:
            if len(content.paths) == 1:
                with content.paths[0].open("rb") as source:
                    seal(source, target, key)
            else:
                with lake.sealed_spill() as folder:
                    bundle = folder / "bundle"
                    with bundle.open("xb") as file:
                        content.copy_to(file)
                    with bundle.open("rb") as source:
                        seal(source, target, key)
        lake.keep(partial, path)
    return key


@contextlib.contextmanager
def opened(lake: Lake, partner: Partner, sha256: str) -> Iterator[Path]:
    """The bytes in the clear, in the sealed area's spill, while the block lasts. Raises `ContentErased`."""
    key = existing_data_key(lake, partner, sha256)
    sealed = _path(lake, partner.code, sha256)
    if not lake.fetch(sealed):
        raise ContentErased(sha256)
    with lake.sealed_spill() as folder:
        clear = folder / "content"
        with sealed.open("rb") as source, clear.open("xb") as target:
            for segment in unsealed(source, key):
                target.write(segment)
        yield clear


def has_bytes(lake: Lake, partner: Partner, sha256: str) -> bool:
    """Whether the bytes of a content can still be opened."""
    return all(lake.is_kept(_path(lake, partner.code, sha256, suffix)) for suffix in ("", ".key"))


def discard_bytes(lake: Lake, partner: Partner, sha256: str) -> None:
    """Destroy the bytes alone: the tables that were made of them stay, under the same key."""
    lake.remove(_path(lake, partner.code, sha256))


def tables_folder(lake: Lake, partner: Partner, sha256: str, month: Month | None) -> Path:
    """Where a delivery's tables lie that stand for its bytes, once these hold somebody who was erased."""
    return _path(lake, partner.code, sha256, f".{month}.tables")


def discard(lake: Lake, partner: Partner, sha256: str) -> None:
    """Destroy the key, then the bytes: nothing sealed with that key opens again."""
    for suffix in (".key", ""):
        lake.remove(_path(lake, partner.code, sha256, suffix))
    beside = _path(lake, partner.code, sha256).parent
    for folder in {name.partition("/")[0] for name in lake.kept_below(beside)}:
        if folder.startswith(f"{sha256}.{partner.code}.") and folder.endswith(".tables"):
            lake.remove(beside / folder)


def _path(lake: Lake, partner: str, sha256: str, suffix: str = "") -> Path:
    """Per partner: two partners who send the same bytes are erased apart."""
    return lake.landing / "content" / sha256[:2] / f"{sha256}.{partner}{suffix}"
