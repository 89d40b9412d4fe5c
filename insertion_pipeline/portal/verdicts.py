"""A verdict on bytes that are not kept, for the browser that sent them and for half an hour.

Belongs here: keeping the answer and the bytes of a test or of a refusal until the depositor has seen them, opening them
again. Does not belong here: verdicts of deliveries that were received (their findings lie beside them, `deliveries`).

What is kept is sealed with a key drawn from the session's cookie, which the server does not store: after the sign-out,
or after half an hour, nobody opens it, and it is removed.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

from insertion_pipeline.lake import Lake
from insertion_pipeline.portal.sessions import verdict_key
from insertion_pipeline.sealing import SealBroken, seal, unsealed

_NAME = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class Verdict:
    """What was answered. `kind`: `test` or `refused`; `names`: the files as their depositor calls them."""

    name: str
    kind: str
    answer: dict[str, Any]
    partner: str
    source: str | None
    month: str | None
    names: tuple[str, ...]
    sequence: int | None = None


class NoSuchVerdict(Exception):
    """It was removed, or belongs to another browser."""


def keep(
    lake: Lake,
    secret: str,
    paths: Sequence[Path],
    *,
    kind: str,
    answer: dict[str, Any],
    partner: str,
    source: str | None,
    month: str | None,
    names: Sequence[str],
    sequence: int | None = None,
) -> str:
    """Keep an answer and its bytes for the browser of `secret`; the name under which it finds them."""
    name = secrets.token_hex(16)
    key = verdict_key(secret, name)
    folder = _folder(lake) / name
    folder.mkdir(parents=True, mode=0o700)
    for rank, path in enumerate(paths):
        with path.open("rb") as source_file, (folder / str(rank)).open("xb") as target:
            seal(source_file, target, key)
    told = {
        "kind": kind, "answer": answer, "partner": partner, "source": source, "month": month, "names": list(names),
        "sequence": sequence,
    }  # fmt: skip
    with (folder / "answer").open("xb") as target:
        seal(BytesIO(json.dumps(told, ensure_ascii=False).encode()), target, key)
    return name


def find(lake: Lake, secret: str, name: str) -> Verdict:
    """Raises `NoSuchVerdict`."""
    told = json.loads(b"".join(_opened(lake, secret, name, "answer")))
    return Verdict(name=name, **(told | {"names": tuple(told["names"])}))


@contextlib.contextmanager
def opened(lake: Lake, secret: str, verdict: Verdict, names: Sequence[str]) -> Iterator[list[Path]]:
    """The bytes in the clear, in the sealed area's spill, while the block lasts. Raises `NoSuchVerdict`."""
    with lake.sealed_spill() as spill:
        paths = []
        for rank, name in enumerate(names):
            place = spill / str(rank)
            place.mkdir()
            paths.append(place / name)
            with paths[-1].open("xb") as target:
                for segment in _opened(lake, secret, verdict.name, str(rank)):
                    target.write(segment)
        yield paths


def remove_old(lake: Lake, now: datetime, minutes: int) -> None:
    """Remove what has lasted long enough."""
    before = (now - timedelta(minutes=minutes)).timestamp()
    for folder in _folder(lake).glob("*"):
        with contextlib.suppress(FileNotFoundError):
            if folder.stat().st_mtime < before:
                shutil.rmtree(folder, ignore_errors=True)


def _opened(lake: Lake, secret: str, name: str, part: str) -> Iterator[bytes]:
    if not _NAME.fullmatch(name):
        raise NoSuchVerdict
    try:
        with (_folder(lake) / name / part).open("rb") as file:
            yield from unsealed(file, verdict_key(secret, name))
    except (FileNotFoundError, SealBroken):
        raise NoSuchVerdict from None


def _folder(lake: Lake) -> Path:
    return lake.sealed / "verdicts"
