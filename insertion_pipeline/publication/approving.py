"""Who vouches for a release, and from when everybody may read it.

Belongs here: the stages of a release (held, candidate, signed, public), the statements of the persons who confirmed
or signed it, who may read it before its hour. Does not belong here: making a release (`releasing`), whether its files
are what was published (`verifying`).

Statements stand beside the manifest, in files of their own that the manifest does not list: a release never changes,
what is said of it comes after. Each is signed with the home's key and names the manifest by its digest. Rule 22 of the
domain: candidate, then signed by a named person with a role, a note and a checklist, then public at its hour; before
that only named early readers, and every copy they take is written down.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from insertion_pipeline.lake import Lake, sha256_of
from insertion_pipeline.publication import signing

Stage = Literal["held", "candidate", "signed", "public"]
APPROVAL: Final = "APPROVAL.json"
CONFIRMATION: Final = "CONFIRMATION.json"
STATEMENTS: Final = (APPROVAL, CONFIRMATION)
ACCESS_LOG: Final = "release-readers.jsonl"
_MANIFEST: Final = "MANIFEST.json"
_LOCAL_TIME: Final = ZoneInfo("Europe/Paris")
#: What whoever signs has read, and says so.
CHECKLIST: Final[Mapping[str, str]] = {
    "intact": "fichiers, formats et totaux vérifiés par le programme",
    "certificate": "audit de l'attaquant refait par le programme, aucune valeur masquée recalculable",
    "coverage": "couverture lue : qui n'a pas déposé est connu",
    "revisions": "révisions lues : celles qui dépassent le seuil sont confirmées",
}


class NotReadable(Exception):
    """The release may not leave the home yet: unsigned, or before its hour (exit code 3). The message is French."""


class HeldForConfirmation(Exception):
    """Its revisions wait for somebody to confirm them (exit code 6). The message is French."""


@dataclass(frozen=True)
class Approval:
    """The signature of a person under a release."""

    name: str
    role: str
    note: str
    checklist: tuple[str, ...]
    early_readers: tuple[str, ...]
    signed_at: datetime
    public_at: datetime

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Approval:
        return cls(
            content["name"],
            content["role"],
            content["note"],
            tuple(content["checklist"]),
            tuple(content["early_readers"]),
            datetime.fromisoformat(content["signed_at"]),
            datetime.fromisoformat(content["public_at"]),
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "role": self.role,
            "note": self.note,
            "checklist": list(self.checklist),
            "early_readers": list(self.early_readers),
            "signed_at": self.signed_at.isoformat(),
            "public_at": self.public_at.isoformat(),
        }


def local_hour(text: str) -> datetime:
    """An hour as an operator writes it, `2026-11-30T09:00`: Paris and Brussels time unless it says otherwise; in UTC.

    Raises `ValueError`.
    """
    hour = datetime.fromisoformat(text)
    return (hour if hour.tzinfo else hour.replace(tzinfo=_LOCAL_TIME)).astimezone(UTC)


def approval_of(folder: Path) -> Approval | None:
    """The signature under a release, null when nobody signed this manifest."""
    content = _statement(folder, APPROVAL)
    return Approval.of(content) if content else None


def holds(folder: Path, file: str) -> bool:
    """Whether a statement is what its key signed, about this manifest."""
    return _statement(folder, file) is not None


def held_because(folder: Path, manifest: Mapping[str, Any]) -> tuple[str, ...]:
    """Why the release waits for a confirmation; nothing when it does not, or was confirmed."""
    reasons = tuple(manifest.get("held", ()))
    return () if reasons and _statement(folder, CONFIRMATION) else reasons


def stage_of(folder: Path, manifest: Mapping[str, Any], now: datetime) -> Stage:
    """Where a release stands at `now`."""
    if held_because(folder, manifest):
        return "held"
    approval = approval_of(folder)
    if approval is None:
        return "candidate"
    return "public" if now >= approval.public_at else "signed"


def confirm(lake: Lake, folder: Path, *, name: str, note: str) -> None:
    """Say that the revisions of a held release are right."""
    content = {"name": name, "note": note, "confirmed_at": lake.clock.now().isoformat()}
    _state(lake, folder, CONFIRMATION, content)


def sign(
    lake: Lake,
    folder: Path,
    manifest: Mapping[str, Any],
    *,
    name: str,
    role: str,
    note: str = "",
    public_at: datetime | None = None,
    early_readers: Iterable[str] = (),
) -> Approval:
    """Vouch for a release that `verifying` found intact; it is public at once unless an hour is given.

    Raises `HeldForConfirmation`.
    """
    if reasons := held_because(folder, manifest):
        raise HeldForConfirmation("Révisions à confirmer avant de signer : " + " ; ".join(reasons))
    now = lake.clock.now()
    approval = Approval(name, role, note, tuple(CHECKLIST), tuple(early_readers), now, public_at or now)
    _state(lake, folder, APPROVAL, approval.to_json())
    return approval


def admit(lake: Lake, folder: Path, manifest: Mapping[str, Any], reader: str | None = None) -> None:
    """Let a release leave the home: anybody once it is public, named early readers before. Each early copy is noted.

    Raises `HeldForConfirmation`, `NotReadable`.
    """
    stage = stage_of(folder, manifest, lake.clock.now())
    if stage == "public":
        return
    if stage == "held":
        raise HeldForConfirmation("Révisions à confirmer : " + " ; ".join(held_because(folder, manifest)))
    approval = approval_of(folder)
    if approval is None:
        raise NotReadable("Publication non signée : « insertion release sign » d'abord.")
    if reader is None or reader not in approval.early_readers:
        hour = approval.public_at.astimezone(_LOCAL_TIME).strftime("%d/%m/%Y à %Hh%M")
        raise NotReadable(f"Publication sous embargo jusqu'au {hour}.")
    entry = {"time": lake.clock.now().isoformat(), "release_id": manifest["release_id"], "reader": reader}
    with (lake.home / ACCESS_LOG).open("a", encoding="utf-8") as log:
        log.write(json.dumps(entry, ensure_ascii=False) + "\n")


def _state(lake: Lake, folder: Path, file: str, content: Mapping[str, Any]) -> None:
    about = {"release_id": folder.name, "manifest_sha256": sha256_of(folder / _MANIFEST)}
    signing.write_statement(folder / file, {**about, **content}, lake.keyring)
    lake.keep(folder / file)


def _statement(folder: Path, file: str) -> Mapping[str, Any] | None:
    """A statement about this very manifest, null when there is none that holds."""
    content = signing.read_statement(folder / file)
    if content is None or content.get("manifest_sha256") != sha256_of(folder / _MANIFEST):
        return None
    return content
