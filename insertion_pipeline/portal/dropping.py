"""A shared or SFTP folder as a way in: the same verdict, the same receipt, the answer written beside.

Belongs here: which files are ready, what becomes of them. Does not belong here: judging and receiving.

`FOLDER/<partner>/[<source>/][<month>/]file`: the folder says who delivers, and what it can of the rest; the file
says the other things itself. A file is taken once it has not changed for a moment, and goes after its receipt. The
answer stays in `reponses/`: the receipt as JSON, and the report for whoever reads that folder, the depositor alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insertion_pipeline.ingestion.replaying import pages
from insertion_pipeline.ingestion.reporting import About, write_report
from insertion_pipeline.lake import write_json
from insertion_pipeline.month import InvalidMonth, Month
from insertion_pipeline.portal import depositing
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.depositing import Upload, UploadRefused

ANSWERS = "reponses"
#: A transfer that is still going on has touched its file more recently.
_QUIET_SECONDS = 10
_PARTIAL = re.compile(r"^\.|\.(part|partial|tmp|filepart|crdownload)$", re.IGNORECASE)


@dataclass(frozen=True)
class Collected:
    """One file taken. `sequence` and `verdict` are null when it could not be judged at all."""

    partner: str
    sequence: int | None
    verdict: int | None
    status: str

    def to_json(self) -> dict[str, Any]:
        return {"partner": self.partner, "sequence": self.sequence, "verdict": self.verdict, "status": self.status}


def collect(portal: Portal, folder: Path) -> list[Collected]:
    """Take every file that is ready, in the order of their names. What is not a partner's folder is left alone."""
    return [
        _take(portal, partner, path)
        for partner in sorted(portal.registry.partners)
        for path in _ready(portal, folder / partner)
    ]


def _ready(portal: Portal, folder: Path) -> Iterator[Path]:
    """Plain files that have come to rest; never a link, which may lead out of the folder."""
    if not folder.is_dir() or folder.is_symlink():
        return
    now = portal.now.timestamp()
    for path in sorted(folder.rglob("*")):
        within = path.relative_to(folder).parts
        if (
            ANSWERS in within
            or path.is_symlink()
            or any((folder / Path(*within[:n])).is_symlink() for n in range(1, len(within)))
        ):
            continue
        if path.is_file() and not _PARTIAL.search(path.name) and now - path.stat().st_mtime >= _QUIET_SECONDS:
            yield path


def _take(portal: Portal, partner: str, path: Path) -> Collected:
    within = path.parts[-3:-1]
    own = portal.registry.partner(partner).sources
    source = next((part for part in within if part in own), None)
    month = next((found for found in map(_month, within) if found is not None), None)
    answers = _answers_of(path, partner)
    try:
        with path.open("rb") as file, depositing.received(portal, [(path.name, file)]) as upload:
            answer = depositing.deposit(portal, upload, partner, source, month)
            receipt = answer.receipt
            name = f"recepisse-{receipt.sequence:08d}"
            write_json(answers / f"{name}.json", receipt.to_json())
            if answer.findings is not None and answer.findings.num_rows:
                _write_report(portal, answers / f"{name}.xlsx", upload, partner, receipt.to_json(), answer.findings)
    except UploadRefused as refused:
        write_json(
            answers / f"refus-{depositing.safe_name(path.name)}.json", {"code": refused.code, "message": str(refused)}
        )
        portal.note("portal", "drop refused", partner, code=refused.code)
        path.unlink()
        return Collected(partner, None, None, refused.code)
    if not answer.is_repeated:
        portal.note("portal", "drop", f"receipt:{receipt.sequence}", status=receipt.status, sha256=receipt.sha256)
    path.unlink()  # after the receipt and the answer: a crash before this takes it again, and gives the same receipt
    return Collected(partner, receipt.sequence, receipt.verdict, receipt.status)


def _write_report(
    portal: Portal, target: Path, upload: Upload, partner: str, receipt: dict[str, Any], findings: Any
) -> None:
    who, registry = portal.registry.partner(partner), portal.registry
    source = registry.source_of(who, receipt["source"]) if receipt["source"] in registry.sources else None
    month = _month(receipt["month"] or "")
    answer = receipt | {"period": receipt["month"], "findings": findings.to_pylist(), "members": []}
    replayed = pages(upload.paths, source, month, portal.lake) if source is not None else ()
    about = About.of(receipt["source"], partner, upload.paths, registry)
    write_report(target, answer, about, portal.lake, replayed)


def _answers_of(path: Path, partner: str) -> Path:
    """`reponses/` of the partner's own folder."""
    parents = [path.parent, *path.parents]
    return next(one for one in parents if one.name == partner) / ANSWERS


def _month(text: str) -> Month | None:
    try:
        return Month.parse(text)
    except InvalidMonth:
        return None
