"""Which program this is: its version, and the digest of its own source files.

Belongs here: what tells this program from another one. Does not belong here: what depends on it.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Final

import insertion_pipeline

_PACKAGE: Final = Path(insertion_pipeline.__file__).parent


@functools.cache
def code_version() -> str:
    """The version of the package, and the digest of its own source files."""
    digest = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*")):
        if path.is_file() and "__pycache__" not in path.parts:
            digest.update(path.relative_to(_PACKAGE).as_posix().encode() + b"\0")
            digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{insertion_pipeline.__version__}+{digest.hexdigest()[:16]}"
