"""From the bytes of an upload to a verdict: quotas, antivirus, then the functions of the command line.

Belongs here: what every way in (page, API, drop folder) has in common. Does not belong here: judging and receiving
(`ingestion`), answering (the routes).

Nothing of a name that came with a file becomes part of a path but its letters, digits, dots and hyphens.
"""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from insertion_pipeline.contracts.findings import TITLES
from insertion_pipeline.ingestion import content, deliveries
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.judging import Judgement, judge, together
from insertion_pipeline.ingestion.landing import Answer, deliver, refusal_path
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.month import Month
from insertion_pipeline.portal import antivirus, throttling
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.languages import Sentence, marked

_LONGEST_NAME = 100
#: What reading a delivery again raises when its bytes are past their retention.
GONE = (content.ContentErased, deliveries.CannotRebuild)


class UploadRefused(Exception):
    """The upload cannot be judged at all: no file, too many, too large, infected. `sentence` tells its depositor."""

    def __init__(self, code: str, text: str, **values: object) -> None:
        self.code, self.sentence = code, Sentence(text, values)
        super().__init__(str(self.sentence))


@dataclass(frozen=True)
class Upload:
    """Files of one upload, in the sealed area's spill. `names`: as their depositor calls them."""

    paths: tuple[Path, ...]
    names: tuple[str, ...]
    size: int


@contextlib.contextmanager
def received(portal: Portal, files: Sequence[tuple[str, BinaryIO]]) -> Iterator[Upload]:
    """The files of an upload, written to the spill while the block lasts. Raises `UploadRefused`."""
    settings = portal.settings
    if not files:
        raise UploadRefused("no-file", marked("Choisissez un fichier avant de continuer."))
    if len(files) > settings.files_at_once:
        most = settings.files_at_once
        raise UploadRefused("too-many-files", marked("Déposez au plus %(most)s fichiers à la fois."), most=most)
    with portal.lake.sealed_spill() as spill:
        paths, size = [], 0
        for rank, (name, stream) in enumerate(files):
            (spill / str(rank)).mkdir()
            paths.append(spill / str(rank) / safe_name(name))
            with paths[-1].open("xb") as target:
                shutil.copyfileobj(stream, target, 1 << 20)
            size += paths[-1].stat().st_size
        if size > settings.upload_bytes:
            told = marked("Le dépôt dépasse %(limit)s. Compressez-le (zip), ou déposez-le en plusieurs fois.")
            raise UploadRefused("too-large", told, limit=megabytes(settings.upload_bytes))
        yield Upload(tuple(paths), tuple(name for name, _ in files), size)


def safe_name(name: str) -> str:
    """What a name tells of the kind of file, and nothing that a file system would obey."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^A-Za-z0-9._-]+", "-", plain.replace("\\", "/").rsplit("/", 1)[-1]).strip(".-")
    return kept[-_LONGEST_NAME:].lstrip(".-") or "fichier"


def megabytes(size: int) -> str:
    """`20 Mo`."""
    return f"{size / (1 << 20):.0f}\u00a0Mo"


def check(portal: Portal, upload: Upload, partner: str, source: str | None, month: Month | None) -> Judgement:
    """The verdict, nothing stored. Raises `UploadRefused`, `AntivirusAbsent`."""
    with portal.seats.taken() as statements:
        return judge(
            _one_delivery(portal, upload, partner, source), partner, source, month, portal.registry, portal.lake,
            limits=limits(portal), statements=statements,
        )  # fmt: skip


def deposit(portal: Portal, upload: Upload, partner: str, source: str | None, month: Month | None) -> Answer:
    """Receive a delivery, as `insertion deliver` does. Raises `UploadRefused`, `TooMany`, `AntivirusAbsent`."""
    throttling.count_deposit(portal.store, portal.now, partner, upload.size, portal.settings)
    with portal.seats.taken() as statements:
        return deliver(
            _one_delivery(portal, upload, partner, source), partner, source, month, portal.registry, portal.lake,
            limits=limits(portal), statements=statements,
        )  # fmt: skip


def limits(portal: Portal) -> Limits:
    """What the portal accepts: less than the command line."""
    settings = portal.settings
    return Limits(file_bytes=settings.upload_bytes, unpacked_bytes=settings.unpacked_bytes, ratio=settings.ratio)


def _one_delivery(portal: Portal, upload: Upload, partner: str, source: str | None) -> tuple[Path, ...]:
    """The files as one delivery, seen by the antivirus. Raises `UploadRefused`, `AntivirusAbsent`."""
    if portal.settings.clamd is not None:
        for path in upload.paths:
            if antivirus.is_infected(path, portal.settings.clamd):
                raise UploadRefused("malware", marked("L'antivirus refuse ce fichier. Rien n'en est gardé."))
    found = together(upload.paths, partner, source, portal.registry, portal.lake)
    if len(found) > 1:
        told = marked("Ces fichiers ne vont pas ensemble : déposez-les l'un après l'autre.")
        raise UploadRefused("several-deliveries", told)
    return found[0]


# -- the verdict of what was received ---------------------------------------------------------------------------------


def answer_of(portal: Portal, receipt: Receipt, *, is_erased: bool = False) -> dict[str, Any]:
    """The verdict on a delivery, in the form of `insertion check --json`; for its depositor alone.

    Of a refusal, and of a delivery whose bytes are past their retention (`is_erased`), codes and counts remain.
    """
    told = receipt.to_json()
    answer = {name: told[name] for name in ("verdict", "lines", "accepted", "rejected", "blank", "header_footer")}
    answer |= {
        "source": receipt.source or None,
        "period": told["month"],
        "span": told["span"],
        "members": [],
        "own_titles": [],
    }
    if is_erased:
        findings = [_remaining(code, count) for code, count in receipt.findings.items()]
    elif receipt.status in ("applied", "held"):
        findings = deliveries.findings_of(portal.lake, portal.registry, receipt).to_pylist()
    else:
        findings = _refusal_of(portal, receipt)
    return answer | {"findings": findings}


def _remaining(code: str, count: int) -> dict[str, Any]:
    empty = dict.fromkeys(("expected", "remedy", "file", "table", "field", "rule"), "")
    told = {"code": code, "severity": "warning", "message": TITLES.get(code, code), "line": None, "value": None}
    return empty | told | {"count": count}


def _refusal_of(portal: Portal, receipt: Receipt) -> list[dict[str, Any]]:
    """What stays of a refusal: codes, places and counts, with the title of each code for a message."""
    path = refusal_path(portal.lake, receipt.sequence)
    try:
        kept = json.loads(portal.lake.read_kept(path))["findings"]
    except FileNotFoundError:
        return []
    nothing = {"message": "", "expected": "", "remedy": "", "value": None}
    return [nothing | {"message": TITLES.get(one["code"], one["code"])} | one for one in kept]
