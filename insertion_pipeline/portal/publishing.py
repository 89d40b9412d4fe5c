"""Which releases a person may see, and which of their files.

Belongs here: the public releases, those of early readers, the files of a release by name. Does not belong here: making,
signing or publishing a release (`publication`).
"""

from __future__ import annotations

from pathlib import Path

import sqlalchemy as sql

from insertion_pipeline.portal import store
from insertion_pipeline.portal.accounts import Account
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.publication import releasing
from insertion_pipeline.publication.releasing import Release


def public(portal: Portal) -> list[Release]:
    """The releases that everybody signed in may read, oldest first."""
    return list(releasing.releases(portal.lake))


def before_embargo(portal: Portal, account: Account) -> list[Release]:
    """The releases that this person was named to read before the others."""
    with portal.store.reading() as connection:
        named = set(
            connection.execute(
                sql.select(store.early_readers.c.release_id).where(store.early_readers.c.account_id == account.number)
            ).scalars()
        )
    seen = {one.release_id for one in public(portal)}
    return [one for one in releasing.releases(portal.lake) if one.release_id in named - seen]


def file_of(release: Release, name: str) -> Path | None:
    """A file that the manifest lists; null for any other name, whatever it looks like."""
    return release.folder / name if name in release.manifest["files"] else None
