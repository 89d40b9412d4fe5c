"""A release outside its home: a copy for a reader, as a folder or as one archive.

Belongs here: copies, whole or not there. Does not belong here: who may have one (`approving`), databases (`postgres`).
"""

from __future__ import annotations

import os
import secrets
import shutil
import zipfile
from pathlib import Path
from typing import Final

_MOMENT: Final = (1980, 1, 1, 0, 0, 0)


class TargetExists(Exception):
    """There is something of that name already; a copy never replaces anything (exit code 4)."""


def export(folder: Path, target: Path) -> Path:
    """Copy a release to `target`: an archive when it ends in `.zip`, else a folder of the release's name inside it.

    Signatures and statements go with it. Raises `TargetExists`.
    """
    is_archive = target.suffix == ".zip"
    place = target if is_archive else target / folder.name
    if place.exists():
        raise TargetExists(str(place))
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        if is_archive:
            _archive(folder, partial)
        else:
            shutil.copytree(folder, partial)
        partial.rename(place)
    finally:
        shutil.rmtree(partial, ignore_errors=True) if partial.is_dir() else partial.unlink(missing_ok=True)
    return place


def _archive(folder: Path, target: Path) -> None:
    """The same bytes for the same release: members in order, without dates."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            entry = zipfile.ZipInfo(f"{folder.name}/{path.relative_to(folder).as_posix()}", _MOMENT)
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            with path.open("rb") as source, archive.open(entry, "w") as member:
                shutil.copyfileobj(source, member, 1 << 20)
