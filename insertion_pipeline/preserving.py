"""Copies of a home: what cannot be made again, in one file that proves itself whole.

Belongs here: which parts of a home a backup holds, writing one, checking one, bringing one back. Does not belong here:
what those parts mean; the keys, which are copied by hand and kept elsewhere: a backup without them opens nothing.

A backup holds the deliveries with their receipts and conformed rows (of a delivery that somebody was erased from, the
bytes are gone), the person register with its decisions, the releases, the state of Dagster and of the portal, and the
proofs of erasure. Linked persons, facts and values are made again by the next run. Deposits may go on meanwhile:
receipts are listed first, each written after its bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import shutil
import sqlite3
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from insertion_pipeline.lake import HOME_VERSION, Lake, canonical_json, replacing, sha256_of, version_of
from insertion_pipeline.migrating import migrate
from insertion_pipeline.remote import Remote, is_remote

#: In the order in which they are read: what commits (receipts, the list of releases) before what it names.
PRESERVED = (
    *("VERSION", "landing", "sealed/conformed", "releases.json", "releases", "runs"),
    *("release-readers.jsonl", "tombstones", "portal", "dagster"),
)
#: Written to the archive first, so that whoever opens it reads what it should hold.
MANIFEST = "BACKUP.json"
#: Where copies of earlier layouts hold what lies in one of these parts now.
_FORMERLY = ("sealed/identity",)
#: Kept from the home that a backup replaces: keys are not in backups, and a later erasure outlives an earlier copy.
_OUTLIVING = ("secrets", "tombstones")
_SQLITE = {".db", ".sqlite"}
_PASSING = {".lock", ".partial"}
_CHUNK = 1 << 20


class DamagedBackup(Exception):
    """The archive is not what its manifest says, or not a backup. The message names the member."""


@dataclass(frozen=True)
class Backup:
    """What an archive holds: how many files and bytes, and the newest receipt."""

    files: int
    bytes: int
    newest_receipt: int

    def to_json(self) -> dict[str, Any]:
        """What `backup --json` and `restore --json` say."""
        return asdict(self)


def back_up(home: Path, archive: Path) -> Backup:
    """Write a backup of a home, of whatever version, to `archive` (tar), whole or not at all.

    The caller holds the writer's lock. Raises `FileExistsError` when the archive exists: a backup never replaces
    another.
    """
    if archive.exists():
        raise FileExistsError(archive)
    sealed = home / "sealed"
    sealed.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=sealed) as aside:
        files = {name: _still(home / name, Path(aside)) for name in _names(home)}
        digests = {name: sha256_of(path) for name, path in files.items()}
        manifest = {"home_version": version_of(home), "files": digests}
        with replacing(archive) as partial, tarfile.open(partial, "w") as tar:
            _add(tar, MANIFEST, canonical_json(manifest))
            for name, path in files.items():
                tar.add(path, name, recursive=False, filter=_anonymous)
        return _summary(digests, sum(path.stat().st_size for path in files.values()))


def gather(lake: Lake) -> None:
    """Have everything here that the home keeps in an object store: a copy of it is a copy of all."""
    for part in ("landing", "tombstones", "releases"):
        lake.fetch_all(lake.home / part)
    lake.fetch(lake.home / "releases.json", changes=True)
    for space in ("fr", "be"):
        lake.fetch(lake.landing / "register" / space / "register.json", changes=True)
        for decided in (f"{space}.parquet", f"thresholds-{space}.json"):
            lake.fetch(lake.landing / "decisions" / decided, changes=True)


def back_up_to(home: Path, archive: str) -> Backup:
    """`back_up`, to a file or to an object store (`s3://bucket/folder/name.tar`)."""
    if not is_remote(archive):
        return back_up(home, Path(archive))
    place, name = _split(archive)
    if place.exists(name):
        raise FileExistsError(archive)
    with tempfile.TemporaryDirectory(dir=home.parent, prefix=f"{home.name}.copy-") as folder:
        made = back_up(home, Path(folder) / name)
        place.put(name, Path(folder) / name)
    return made


def restore_from(archive: str, home: Path) -> Backup:
    """`restore`, from a file or from an object store. Raises `FileNotFoundError`, and what `restore` raises."""
    if not is_remote(archive):
        return restore(Path(archive), home)
    place, name = _split(archive)
    parent = home.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=parent, prefix=f"{home.name}.copy-") as folder:
        place.download(name, Path(folder) / name)
        return restore(Path(folder) / name, home)


def _split(archive: str) -> tuple[Remote, str]:
    place, _, name = archive.rpartition("/")
    return Remote(place), name


def restore(archive: Path, home: Path) -> Backup:
    """Make `home` what the backup holds; keys and proofs of erasure of a home that is there stay as they are.

    A backup of an earlier layout becomes a home of this one. The caller holds the lock of that home, which is put aside
    (`<home>.before-1` …), never deleted. Raises `DamagedBackup`, and leaves everything as it was, when a single byte is
    not as the manifest says.
    """
    home = home.resolve()
    home.parent.mkdir(parents=True, exist_ok=True)
    coming = Path(tempfile.mkdtemp(prefix=f"{home.name}.coming-", dir=home.parent))
    try:
        digests = _unpack(archive, coming)
        brought = _summary(digests, sum((coming / name).stat().st_size for name in digests))
        _keep_what_outlives(home, coming)
        list(migrate(coming))
        if home.exists():
            home.rename(_aside(home))
        coming.rename(home)
    except BaseException:
        shutil.rmtree(coming, ignore_errors=True)
        raise
    return brought


# -- writing -----------------------------------------------------------------------------------------------------------


def _names(home: Path) -> Iterator[str]:
    """The files of a backup, in the order of `PRESERVED`."""
    for part in (*PRESERVED, *_FORMERLY):
        place = home / part
        found = [place] if place.is_file() else sorted(place.rglob("*"), key=_receipts_first)
        for path in found:
            name = path.relative_to(home)
            if path.is_file() and not _is_passing(name):
                yield name.as_posix()


def _is_passing(name: Path) -> bool:
    """What a run makes again, or a program leaves beside its work: `sealed/identity/fr/persons.parquet`, locks."""
    is_made_again = name.is_relative_to("sealed/identity") and "register" not in name.parts
    return is_made_again or name.suffix in _PASSING or name.name.endswith(("-wal", "-shm"))


def _receipts_first(path: Path) -> tuple[bool, str]:
    return "receipts" not in path.parts, path.as_posix()


def _still(path: Path, aside: Path) -> Path:
    """The file itself; of a SQLite database, which may be written to at this moment, a copy made by SQLite."""
    if path.suffix not in _SQLITE:
        return path
    copy = aside / f"{len(list(aside.iterdir()))}{path.suffix}"
    with (
        contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as source,
        contextlib.closing(sqlite3.connect(copy)) as target,
    ):
        source.backup(target)
    return copy


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    member.mode = 0o600
    tar.addfile(member, io.BytesIO(content))


def _anonymous(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Without the account that wrote it: a home is brought back on another machine."""
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    return member


# -- bringing back -----------------------------------------------------------------------------------------------------


def _unpack(archive: Path, folder: Path) -> dict[str, str]:
    """Unpack and check every member; returns their digests."""
    try:
        with tarfile.open(archive, "r:") as tar:
            members = iter(tar)
            digests = _manifest(tar, next(members, None))
            missing = set(digests)
            for member in members:
                if member.name not in missing or not member.isfile():
                    raise DamagedBackup(member.name)
                _put(tar, member, folder, digests[member.name])
                missing.remove(member.name)
    except (tarfile.TarError, EOFError) as error:
        raise DamagedBackup(archive.name) from error
    if missing:
        raise DamagedBackup(min(missing))
    return digests


def _manifest(tar: tarfile.TarFile, member: tarfile.TarInfo | None) -> dict[str, str]:
    content = tar.extractfile(member) if member is not None and member.name == MANIFEST else None
    if content is None:
        raise DamagedBackup(MANIFEST)
    try:
        manifest = json.load(content)
        version, digests = manifest["home_version"], dict(manifest["files"])
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedBackup(MANIFEST) from error
    if version not in range(1, HOME_VERSION + 1) or not all(_is_preserved(name) for name in digests):
        raise DamagedBackup(MANIFEST)
    return digests


def _is_preserved(name: str) -> bool:
    path = PurePosixPath(name)
    inside = any(path.is_relative_to(part) for part in (*PRESERVED, *_FORMERLY))
    return inside and not path.is_absolute() and ".." not in path.parts


def _put(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: Path, digest: str) -> None:
    content = tar.extractfile(member)
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    counting = hashlib.sha256()
    with target.open("wb") as file:
        while content is not None and (chunk := content.read(_CHUNK)):
            counting.update(chunk)
            file.write(chunk)
    if counting.hexdigest() != digest:
        raise DamagedBackup(member.name)


def _keep_what_outlives(home: Path, coming: Path) -> None:
    """Copy the keys and every proof of erasure of the home that goes over what comes: an erasure is never undone."""
    for part in _OUTLIVING:
        if (home / part).is_dir():
            shutil.copytree(home / part, coming / part, dirs_exist_ok=True)


def _aside(home: Path) -> Path:
    number = 1
    while (place := home.with_name(f"{home.name}.before-{number}")).exists():
        number += 1
    return place


def _summary(digests: dict[str, str], size: int) -> Backup:
    receipts = [PurePosixPath(name) for name in digests if name.startswith("landing/receipts/")]
    newest = max((int(path.stem) for path in receipts if path.stem.isdecimal()), default=0)
    return Backup(len(digests), size, newest)
