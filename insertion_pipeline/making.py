"""What was made of what: a derived file stays as long as what it was made of stays.

Belongs here: notes beside derived files, and whether they still hold. Does not belong here: what a file depends on,
which whoever makes it says; the program itself (`program`).

A note is `lake/made/<name>.json`: the digest of all that went in, and the digest of each file that came out. It holds
only where both are as they were, so that a file that is missing or altered is made again. Notes may be thrown away:
everything is then made once more, to the same values.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

from insertion_pipeline.lake import Lake, canonical_json, remembered_sha256_of, replacing
from insertion_pipeline.program import code_version

#: What computes beside this program: another version may give other bytes, or mend a wrong number.
_ENGINES: Final = tuple(f"{name} {metadata.version(name)}" for name in ("duckdb", "pyarrow", "pandera"))


@dataclass(frozen=True)
class Made:
    """Files that were made of something, by their path in the home, with their digests; what was counted meanwhile."""

    files: Mapping[str, str]
    counted: Mapping[str, Any]


def digest_of(*parts: Any) -> str:
    """One digest of all that something is made of, this program and its engines included: values that JSON can hold."""
    return hashlib.sha256(canonical_json([code_version(), *_ENGINES, *parts])).hexdigest()


def recall(lake: Lake, name: str, made_of: str) -> Made | None:
    """What was made of these inputs under that name, if every file of it is still there, unaltered."""
    try:
        note = json.loads(_note(lake, name).read_bytes())
        if note["of"] != made_of:
            return None
        made = Made(note["files"], note["counted"])
        if all(remembered_sha256_of(lake.home / path) == digest for path, digest in made.files.items()):
            return made
    except (FileNotFoundError, ValueError, KeyError):
        pass
    return None


def remember(
    lake: Lake, name: str, made_of: str, files: Iterable[Path], counted: Mapping[str, Any] | None = None
) -> Made:
    """Note what was made, once all of it stands."""
    digests = {path.relative_to(lake.home).as_posix(): remembered_sha256_of(path) for path in sorted(files)}
    made = Made(digests, counted or {})
    note = {"of": made_of, "files": made.files, "counted": made.counted}
    with replacing(_note(lake, name), durable=False) as partial:  # one that is lost or cut short is made again
        partial.write_bytes(canonical_json(note) + b"\n")
    return made


def _note(lake: Lake, name: str) -> Path:
    return lake.open_area / "made" / f"{name}.json"
