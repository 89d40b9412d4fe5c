"""Which releases a person may see, and which of their files.

Belongs here: the public releases, those of early readers, the files of a release by name. Does not belong here: making,
signing or publishing a release (`publication`).
"""

from __future__ import annotations

from pathlib import Path

from insertion_pipeline.portal.accounts import Account
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.publication import approving, releasing
from insertion_pipeline.publication.releasing import Release


def public(portal: Portal) -> list[Release]:
    """The releases that everybody signed in may read, oldest first: signed by a named person, and past their hour."""
    return [one for one in releasing.releases(portal.lake) if _stage(portal, one) == "public"]


def before_embargo(portal: Portal, account: Account) -> list[Release]:
    """The signed releases that this person was named to read before the others."""
    found = []
    for release in releasing.releases(portal.lake):
        approval = approving.approval_of(release.folder)
        if approval is not None and _stage(portal, release) == "signed":
            named = {reader.strip().casefold() for reader in approval.early_readers}
            if account.email in named:
                found.append(release)
    return found


def read_early(portal: Portal, account: Account, release: Release, path: str) -> None:
    """Write an early reading down, in the journal and where the command line writes its own."""
    approval = approving.approval_of(release.folder)
    name = next(
        (one for one in (approval.early_readers if approval else ()) if one.strip().casefold() == account.email), ""
    )
    approving.admit(portal.lake, release.folder, release.manifest, name)
    portal.note(account.actor, "early reading", release.release_id, path=path)


def file_of(release: Release, name: str) -> Path | None:
    """A file that the manifest lists; null for any other name, whatever it looks like."""
    return release.folder / name if name in release.manifest["files"] else None


def _stage(portal: Portal, release: Release) -> approving.Stage:
    return approving.stage_of(release.folder, release.manifest, portal.now)
