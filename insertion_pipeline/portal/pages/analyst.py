"""The analyst's path: the releases, their files, their report.

Belongs here: listing, downloading, reading, with a line in the journal for who read before the embargo. Does not belong
here: which releases a person may see (`publishing`).
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from insertion_pipeline.portal import publishing
from insertion_pipeline.portal.access import NotFound, account_of, open_to, portal_of
from insertion_pipeline.portal.rendering import page
from insertion_pipeline.publication.releasing import Release

router = APIRouter(include_in_schema=False)

#: The report of a release brings its own style and script along, in the page: it may use them, and nothing else.
_REPORT_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; sandbox allow-scripts allow-downloads"
)


#: Files of a release as an analyst looks for them, by how their names begin; the last shelf takes the others.
SHELVES: Mapping[str, tuple[str, ...]] = {
    "Pour lire": ("indicateurs.xlsx", "report/", "communes/"),
    "Tables": ("csv/", "parquet/", "insertion.duckdb", "sdmx/"),
    "Descriptions et preuves": (),
}


@router.get("/publications")
@open_to("analyst", "animator", "depositor")
def releases_page(request: Request) -> Response:
    """The releases, newest first; before their embargo for the readers who were named."""
    portal, account = portal_of(request), account_of(request)
    return page(
        request, "releases.html",
        releases=list(reversed(publishing.public(portal))),
        early=list(reversed(publishing.before_embargo(portal, account))),
    )  # fmt: skip


@router.get("/publications/{release_id}")
@open_to("analyst", "animator", "depositor")
def release_page(request: Request, release_id: str) -> Response:
    """What a release holds, and its files."""
    release = _seen(request, release_id)
    shelves: dict[str, list[tuple[str, int, str]]] = {label: [] for label in SHELVES}
    placed = sorted((*_place_of(name), name, digest) for name, digest in release.manifest["files"].items())
    for shelf, _, name, digest in placed:
        shelves[list(SHELVES)[shelf]].append((name, (release.folder / name).stat().st_size, digest))
    shown = [(label, files) for label, files in shelves.items() if files]
    return page(request, "release.html", release=release, shelves=shown)


def _place_of(name: str) -> tuple[int, int]:
    """The shelf of a file, and its rank there."""
    for shelf, beginnings in enumerate(SHELVES.values()):
        for rank, beginning in enumerate(beginnings):
            if name.startswith(beginning):
                return shelf, rank
    return len(SHELVES) - 1, 0


@router.get("/publications/{release_id}/rapport")
@open_to("analyst", "animator", "depositor")
def report(request: Request, release_id: str) -> Response:
    """The report, read in place: a page of its own, which may do nothing but show itself."""
    path = publishing.file_of(_seen(request, release_id), "report/index.html")
    if path is None:
        raise NotFound
    return FileResponse(path, headers={"Content-Security-Policy": _REPORT_POLICY}, media_type="text/html")


@router.get("/publications/{release_id}/fichiers/{name:path}")
@open_to("analyst", "animator", "depositor")
def release_file(request: Request, release_id: str, name: str) -> Response:
    """One file of a release, as its manifest names it."""
    release = _seen(request, release_id)
    path = publishing.file_of(release, name)
    if path is None:
        raise NotFound
    media_type = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
    return FileResponse(path, filename=f"{release_id}-{path.name}", media_type=media_type)


def _seen(request: Request, release_id: str) -> Release:
    """A release that this person may read; reading it before the others is noted. Raises `NotFound`."""
    portal, account = portal_of(request), account_of(request)
    for release in publishing.public(portal):
        if release.release_id == release_id:
            return release
    for release in publishing.before_embargo(portal, account):
        if release.release_id == release_id:
            publishing.read_early(portal, account, release, request.url.path)
            return release
    raise NotFound
