"""Releases: a folder of tables that appears whole, never changes, and is the same for the same inputs.

Belongs here: the identity of a release, building its folder, the list of releases and their headline figures. Does not
belong here: each format (`writing`, `workbook`, `report`), the check of a release (`verifying`), what may be shown
(`disclosure`: nothing but its `SafeTable` is accepted).
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from insertion_pipeline.disclosure import SafeTable
from insertion_pipeline.disclosure.equations import UNCUT
from insertion_pipeline.disclosure.protecting import PARAMETERS
from insertion_pipeline.identity import decisions, thresholds
from insertion_pipeline.indicators import revisions as causes
from insertion_pipeline.indicators.computing import coverage_path, values_path
from insertion_pipeline.indicators.trends import trends
from insertion_pipeline.ingestion import tombstones
from insertion_pipeline.ingestion.deliveries import delivery_digests
from insertion_pipeline.lake import Lake, SystemClock, canonical_json, in_memory, sha256_of, write_json
from insertion_pipeline.month import Month
from insertion_pipeline.program import code_version
from insertion_pipeline.publication import (
    approving,
    cataloguing,
    describing,
    report,
    revising,
    sdmx,
    signing,
    workbook,
    writing,
)
from insertion_pipeline.publication.tables import INDICATOR_VALUES, TABLES, TRENDS
from insertion_pipeline.registry import Registry

MANIFEST: Final = "MANIFEST.json"
CERTIFICATE: Final = "certificate.json"
DATABASE: Final = "insertion.duckdb"
#: A release holds all months of the last three years.
MONTHS: Final = 36


class UnknownRelease(Exception):
    """There is no release of that name."""


class CannotCombine(Exception):
    """These releases may not be brought together (exit code 3). The message is French."""


def name_of(inputs: Mapping[str, Any]) -> str:
    """The name of a release from its inputs as the manifest records them; a combined one is named by its parts."""
    text = canonical_json(inputs.get("combined", inputs))
    return f"{inputs['months'][-1]}-{hashlib.sha256(text).hexdigest()[:12]}"


@dataclass(frozen=True)
class Inputs:
    """Everything that a release is made from, and that its name is made of.

    `follows`: the last signed release before this one. What was published binds what may be published after it; what
    was only a candidate was seen by nobody, and leaves no trace in a name.
    """

    months: tuple[Month, ...]
    deliveries: Mapping[str, Sequence[str]]
    data_sources: str
    decisions: tuple[str, ...] = ()
    tombstones: tuple[str, ...] = ()
    follows: str | None = None
    code: str = field(default_factory=code_version)
    parameters: Mapping[str, Any] = field(default_factory=lambda: dict(PARAMETERS))

    @property
    def release_id(self) -> str:
        """`<last month>-<12 hexadecimal digits>`: the same for the same inputs, whatever the clock and the keys."""
        return name_of(self.to_json())

    def to_json(self) -> dict[str, Any]:
        """The inputs as the manifest records them."""
        return {
            "months": [str(month) for month in self.months],
            "deliveries": {month: list(digests) for month, digests in sorted(self.deliveries.items())},
            "decisions": list(self.decisions),
            "tombstones": list(self.tombstones),
            "follows": self.follows,
            "code": self.code,
            "data_sources": self.data_sources,
            "parameters": dict(self.parameters),
        }


@dataclass(frozen=True)
class Release:
    """A release on disk."""

    release_id: str
    folder: Path
    manifest: Mapping[str, Any]

    @property
    def months(self) -> tuple[str, ...]:
        return tuple(self.manifest["inputs"]["months"])

    def stage(self, now: datetime) -> approving.Stage:
        """Where it stands between candidate and public."""
        return approving.stage_of(self.folder, self.manifest, now)

    def table(self, name: str) -> pa.Table:
        """One of its tables, from its Parquet file; empty when it was made before there was such a table."""
        if name not in self.manifest["tables"]:
            return next(declared for declared in TABLES if declared.name == name).schema.empty_table()
        return pq.read_table(self.folder / "parquet" / f"{name}.parquet")

    def to_json(self, now: datetime | None = None) -> dict[str, Any]:
        """What `release list --json` says of it, at `now` (the machine's clock by default)."""
        values = self.manifest["tables"]["indicator_values"]
        approval = approving.approval_of(self.folder)
        return {
            "release_id": self.release_id,
            "folder": str(self.folder),
            "first_month": self.months[0],
            "last_month": self.months[-1],
            "rows": values["rows"],
            "statuses": self.manifest["certificate"]["statuses"],
            "stage": self.stage(now or SystemClock().now()),
            "signed": approval is not None,
            "approval": approval.to_json() if approval else None,
            "held_because": list(approving.held_because(self.folder, self.manifest)),
        }


@dataclass(frozen=True)
class Headline:
    """One figure worth showing first: an uncut indicator of a whole country in the last month."""

    country: str
    indicator_code: str
    label: str
    value: float | None
    unit: str
    status: str
    coverage: float | None


# -- identity ------------------------------------------------------------------------------------------------------


def inputs_of(
    lake: Lake, registry: Registry, months: Iterable[Month], *, read: Iterable[Month] | None = None
) -> Inputs:
    """The inputs of the release of `months`, from receipts alone: known before anything is computed.

    `read`: the months whose deliveries the values depend on, when there are more than those published.
    """
    inputs = drawn_from(lake, registry, months, read=read)
    return replace(inputs, follows=_followed(lake, inputs))


def drawn_from(
    lake: Lake, registry: Registry, months: Iterable[Month], *, read: Iterable[Month] | None = None
) -> Inputs:
    """The inputs of the values of `months`: those of their release, but for the one that it follows."""
    published = tuple(sorted(months))[-MONTHS:]
    deliveries = delivery_digests(lake, registry, sorted(set(read or ()) | set(published)))
    entombed = tombstones.load(lake)
    told = () if entombed.is_empty else (entombed.version,)
    decided = (*decisions.digests(lake), *thresholds.digests(lake))
    return Inputs(published, deliveries, registry.digest, decisions=decided, tombstones=told)


def values_to_publish(lake: Lake, months: Iterable[Month]) -> pa.Table:
    """The unprotected values of `months` that the lake holds, as one table."""
    files = [values_path(lake, month) for month in sorted(months)]
    return pa.concat_tables([lake.read_parquet(file) for file in files if file.path.exists()])


def coverage_to_publish(lake: Lake, months: Iterable[Month]) -> pa.Table | None:
    """The coverage grids of `months` that the lake holds, null when it holds none."""
    files = [file for month in sorted(months) if (file := coverage_path(lake, month)).path.exists()]
    return pa.concat_tables([lake.read_parquet(file) for file in files]) if files else None


# -- making ----------------------------------------------------------------------------------------------------------


def release(
    lake: Lake,
    registry: Registry,
    inputs: Inputs,
    safe: SafeTable,
    *,
    coverage: pa.Table | None = None,
    connection: duckdb.DuckDBPyConnection | None = None,
) -> Release:
    """Publish a protected table: the folder `releases/<release_id>/` appears whole, or not at all.

    The same inputs give the same release; one that exists is returned as it is. `connection` writes the database file
    (an in-memory DuckDB by default). Raises `TypeError` for anything that `disclosure.protect` did not make.
    """
    if not isinstance(safe, SafeTable):
        raise TypeError("a release is made of what disclosure.protect returned, and of nothing else")
    existing = find(lake, inputs.release_id)
    if existing is not None:
        return existing
    previous = _previous(lake, inputs)
    tables = _tables(registry, inputs, safe, coverage, previous)
    with _building(lake, inputs.release_id) as folder:
        write_files(folder, registry, inputs.release_id, tables, safe.certificate, connection)
        held = revising.reasons_to_hold(tables["indicator_values"], tables["revisions"], inputs.months[-1])
        about = {
            "inputs": inputs.to_json(),
            "compared_with": previous.release_id if previous else None,
            "definitions": causes.definitions(registry),
            "held": list(held),
        }
        manifest = _seal(lake, folder, inputs.release_id, tables, safe.certificate, about)
    _remember(lake, inputs.release_id)
    return Release(inputs.release_id, lake.releases / inputs.release_id, manifest)


def combine(lake: Lake, registry: Registry, parts: Sequence[Release]) -> Release:
    """One release of several signed ones of different countries: where the two person spaces meet, and nowhere else.

    Every row keeps the `release_id` that it was published under. Raises `CannotCombine`.
    """
    _refuse_strange_parts(parts)
    signed = {one.release_id: sha256_of(one.folder / MANIFEST) for one in sorted(parts, key=lambda one: one.release_id)}
    months = sorted({month for one in parts for month in one.months})
    inputs = {"months": months, "combined": signed, "deliveries": _deliveries_together(parts)}
    release_id = name_of(inputs)
    existing = find(lake, release_id)
    if existing is not None:
        return existing
    tables = {
        declared.name: declared.united([part.table(declared.name) for part in parts]) for declared in TABLES
    }  # fmt: skip
    certificates = {one.release_id: dict(one.manifest["certificate"]) for one in parts}
    certificate = _certificates_together(certificates)
    with _building(lake, release_id) as folder:
        write_files(folder, registry, release_id, tables, certificate)
        about: dict[str, Any] = {"inputs": inputs, "compared_with": None, "held": []}
        manifest = _seal(lake, folder, release_id, tables, certificate, about)
    _remember(lake, release_id)
    return Release(release_id, lake.releases / release_id, manifest)


def _refuse_strange_parts(parts: Sequence[Release]) -> None:
    if len(parts) < 2:
        raise CannotCombine("Il faut au moins deux publications.")
    countries: set[str] = set()
    for one in parts:
        if approving.approval_of(one.folder) is None:
            raise CannotCombine(f"{one.release_id} n'est pas signée.")
        own = set(cataloguing.distinct(one.table("indicator_values"), "country"))
        if own & countries:
            raise CannotCombine(f"Deux publications portent sur le même pays : {', '.join(sorted(own & countries))}.")
        countries |= own


def _deliveries_together(parts: Sequence[Release]) -> dict[str, list[str]]:
    """The deliveries behind the parts, by month: every number can still be walked back."""
    together: dict[str, set[str]] = {}
    for one in parts:
        for month, deliveries in one.manifest["inputs"]["deliveries"].items():
            together.setdefault(month, set()).update(deliveries)
    return {month: sorted(deliveries) for month, deliveries in sorted(together.items())}


def _certificates_together(parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The certificates side by side, and their statuses added up: countries share no equation."""
    statuses: Counter[str] = Counter()
    for one in parts.values():
        statuses.update(one["statuses"])
    left_out = {
        name: [part for one in parts.values() for part in one.get(name, ())]
        for name in ("withheld", "withheld_as_too_many", "withheld_as_before")
    }
    return {"combined": dict(parts), "statuses": dict(sorted(statuses.items())), **left_out}


def _tables(
    registry: Registry, inputs: Inputs, safe: SafeTable, coverage: pa.Table | None, previous: Release | None
) -> dict[str, pa.Table]:
    stamp = pa.array([inputs.release_id] * len(safe.table), pa.string())
    values = INDICATOR_VALUES.conform(safe.table.append_column("release_id", stamp))
    grid = cataloguing.coverage(registry, coverage)
    named = [table for table in (values, grid) if len(table)] or [values]
    indicators = cataloguing.indicators(registry, safe, inputs.months[-1])
    links = cataloguing.territory_links(safe.knowledge.links)
    return {
        "indicator_values": values,
        "indicators": indicators,
        "breakdowns": cataloguing.breakdowns(registry, values),
        "territories": cataloguing.territories_named(registry, inputs.months[-1], *named),
        "territory_links": links,
        "territory_pieces": cataloguing.territory_pieces(safe.knowledge.pieces),
        "open_sums": cataloguing.open_sums(safe),
        "coverage": grid,
        "revisions": revising.revisions(
            values,
            previous.table("indicator_values") if previous else None,
            functools.partial(_why, registry, inputs, previous),
        ),
        "trends": TRENDS.conform(trends(values, links, indicators)),
    }


def _why(
    registry: Registry, inputs: Inputs, previous: Release | None, moved: set[tuple[str, str]]
) -> Mapping[tuple[str, str], str]:
    """The cause of each (indicator, month) that moved, in French, from what both releases were made from."""
    if previous is None:
        return {}
    before = previous.manifest
    found = causes.causes(
        registry,
        causes.MadeFrom(before["inputs"]["deliveries"], before.get("definitions", {}), before["inputs"]["code"]),
        causes.MadeFrom(inputs.deliveries, causes.definitions(registry), inputs.code),
        moved,
    )
    return {place: " ; ".join(causes.LABELS[cause] for cause in told) for place, told in found.items()}


def write_files(
    folder: Path,
    registry: Registry,
    release_id: str,
    tables: Mapping[str, pa.Table],
    certificate: Mapping[str, Any],
    connection: duckdb.DuckDBPyConnection | None = None,
) -> None:
    """Every file of a release but its manifest and what is said of it, in an empty folder."""
    for name in ("parquet", "csv", "report"):
        (folder / name).mkdir()
    for name, table in tables.items():
        writing.write_parquet(folder / "parquet", name, table)
        writing.write_csv(folder / "csv", name, table)
    with contextlib.ExitStack() as stack:
        writing.write_duckdb(connection or stack.enter_context(in_memory()), folder / DATABASE, tables)
    sdmx.write_sdmx(folder, tables["indicator_values"], _labels(tables))
    workbooks = workbook.write_workbooks(folder, release_id, tables, registry)
    report.write_report(folder / "report", release_id, tables, certificate, registry, workbooks)
    months = cataloguing.distinct(tables["indicator_values"], "month")
    files = describing.files_of(tables, workbooks)
    write_json(folder / "datapackage.json", describing.data_package(folder, release_id, files, registry, months))
    write_json(folder / "dcat.jsonld", describing.dcat_record(release_id, files, registry, months))
    write_json(folder / "bom.cdx.json", describing.bill_of_materials())
    write_json(folder / CERTIFICATE, dict(certificate))


def _labels(tables: Mapping[str, pa.Table]) -> dict[str, dict[str, str]]:
    """The French name of each code, by what it names."""
    return {
        name: dict(zip(tables[name][code].to_pylist(), tables[name]["label"].to_pylist(), strict=True))
        for name, code in (("territories", "territory_code"), ("indicators", "code"), ("breakdowns", "breakdown"))
    }


def _seal(
    lake: Lake,
    folder: Path,
    release_id: str,
    tables: Mapping[str, pa.Table],
    certificate: Mapping[str, Any],
    about: Mapping[str, Any],
) -> dict[str, Any]:
    """Write the manifest of what is in `folder`, and sign it with the home's key."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    manifest = {
        "release_id": release_id,
        **about,
        "tables": {
            name: {"rows": len(table), "sha256": writing.digest_of(table), "totals": writing.totals_of(table)}
            for name, table in tables.items()
        },
        "certificate": dict(certificate),
        "files": {path.relative_to(folder).as_posix(): sha256_of(path) for path in files},
    }
    write_json(folder / MANIFEST, manifest)
    digests = {**manifest["files"], MANIFEST: sha256_of(folder / MANIFEST)}
    signing.sign(folder, digests, lake.keyring)
    return manifest


@contextlib.contextmanager
def _building(lake: Lake, release_id: str) -> Iterator[Path]:
    """A folder beside its final place, moved there when the block ends well, gone when it does not."""
    lake.releases.mkdir(parents=True, exist_ok=True)
    partial = lake.home / "spill" / f"release-{release_id}-{os.getpid()}-{secrets.token_hex(4)}"
    partial.mkdir(parents=True)
    try:
        yield partial
        for path in sorted(partial.rglob("*")):
            if path.is_file():
                path.chmod(0o444)
                with path.open("rb") as written:
                    os.fsync(written.fileno())
        if lake.remote is not None:  # there first: a release that is here and nowhere else is one that others miss
            lake.keep(partial, lake.releases / release_id)
            _remember(lake, release_id)
        os.rename(partial, lake.releases / release_id)  # noqa: PTH104 (fails when it exists, where replace would not)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


# -- finding ---------------------------------------------------------------------------------------------------------


def find(lake: Lake, release_id: str) -> Release | None:
    """The release of that name, null when there is none."""
    if lake.remote is not None and release_id in _noted(lake):
        _bring(lake, release_id)
    return opened(lake.releases / release_id)


def opened(folder: Path) -> Release | None:
    """The release in a folder, wherever it came from; null when there is none.

    One whose manifest nobody can read has an empty one: there is nothing to do with it but `verify` it.
    """
    try:
        text = (folder / MANIFEST).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        manifest = json.loads(text)
    except ValueError:
        manifest = {}
    return Release(folder.name, folder, manifest if isinstance(manifest, dict) else {})


def releases(lake: Lake) -> tuple[Release, ...]:
    """Every release of the home whose manifest can be read, in the order of publication."""
    found = (find(lake, release_id) for release_id in _history(lake))
    return tuple(one for one in found if one is not None and one.manifest)


def chosen(lake: Lake, release_id: str | None = None) -> Release:
    """The release asked for, by name or the beginning of it; the latest published by default.

    Raises `UnknownRelease`.
    """
    if release_id is not None and (named := find(lake, release_id)) is not None:
        return named
    every = releases(lake)
    matching = [one for one in every if release_id is None or one.release_id.startswith(release_id)]
    if not matching or (release_id is not None and len(matching) > 1):
        raise UnknownRelease(release_id or "no release yet")
    return matching[-1]


def published_before(lake: Lake, inputs: Inputs) -> tuple[Release, ...]:
    """The signed releases that show months of `inputs`, oldest first: the one that it follows, the one before, …"""
    found = _chain(lake, [inputs.follows] if inputs.follows else [])
    wanted = {str(month) for month in inputs.months}
    return tuple(one for one in reversed(found.values()) if wanted & set(one.months))


def signed_since(lake: Lake, candidate: Release) -> tuple[Release, ...]:
    """The signed releases that show months of a candidate and that it was not protected together with."""
    if approving.approval_of(candidate.folder):
        return ()
    known = {candidate.release_id, *_chain(lake, _followed_by(candidate))}
    others = [one for one in releases(lake) if one.release_id not in known and set(one.months) & set(candidate.months)]
    return tuple(one for one in others if approving.approval_of(one.folder))


def _chain(lake: Lake, names: list[str]) -> dict[str, Release]:
    """The releases of these names, those that they follow and those that they bring together, by name."""
    found: dict[str, Release] = {}
    pending = list(names)
    while pending:
        one = find(lake, pending.pop(0))
        if one is not None and one.release_id not in found:
            found[one.release_id] = one
            pending += _followed_by(one)
    return found


def _followed_by(one: Release) -> list[str]:
    made_from = one.manifest["inputs"]
    return [*made_from.get("combined", ()), *([made_from["follows"]] if made_from.get("follows") else [])]


def headlines(published: Release) -> tuple[Headline, ...]:
    """The uncut country values of the last month, in the order of the catalogue."""
    names = {row["code"]: (position, row["label"]) for position, row in enumerate(_catalogue_order(published))}
    rows = [
        row
        for row in published.table("indicator_values").to_pylist()
        if row["month"] == published.months[-1] and row["territory_level"] == "country" and row["breakdown"] == UNCUT
    ]
    rows.sort(key=lambda row: (names.get(row["indicator_code"], (len(names), ""))[0], row["country"]))
    return tuple(
        Headline(
            row["country"],
            row["indicator_code"],
            names.get(row["indicator_code"], (0, row["indicator_code"]))[1],
            row["value"],
            row["unit"],
            row["status"],
            row["coverage"],
        )
        for row in rows
    )


def _catalogue_order(published: Release) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = published.table("indicators").to_pylist()
    order = {"network": 0}
    return sorted(rows, key=lambda row: (order.get(row["family"], 1), row["family"], row["code"]))


def _previous(lake: Lake, inputs: Inputs) -> Release | None:
    """What this release is compared with: the one that it follows, else the latest candidate that ends no later."""
    if inputs.follows is not None:
        return find(lake, inputs.follows)
    before = [one for one in releases(lake) if one.months[-1] <= str(inputs.months[-1])]
    return before[-1] if before else None


def _followed(lake: Lake, inputs: Inputs) -> str | None:
    """The signed release before this one; the same when the same inputs have made a release already."""
    every = releases(lake)
    without = _without_follows(inputs.to_json())
    for one in reversed(every):
        if _without_follows(one.manifest["inputs"]) == without:
            followed: str | None = one.manifest["inputs"].get("follows")
            return followed
    wanted, last = {str(month) for month in inputs.months}, str(inputs.months[-1])
    concerned = [one for one in every if one.months[-1] <= last or wanted & set(one.months)]
    signed = [one for one in concerned if approving.approval_of(one.folder)]
    return signed[-1].release_id if signed else None


def _without_follows(inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in inputs.items() if name != "follows"}


def _history(lake: Lake) -> list[str]:
    """Names of releases in order of publication; one that a crash kept from being noted comes last."""
    noted = _noted(lake)
    for name in noted:
        _bring(lake, name)
    there = {entry.name for entry in lake.releases.iterdir()} if lake.releases.is_dir() else set()
    return [name for name in noted if name in there] + sorted(there - set(noted))


def _noted(lake: Lake) -> list[str]:
    try:
        noted: list[str] = json.loads(lake.read_kept(lake.home / "releases.json"))
    except FileNotFoundError:
        return []
    return noted


def _bring(lake: Lake, release_id: str) -> None:
    """Have a release that another machine made, and what was said of it since."""
    folder = lake.releases / release_id
    if lake.remote is not None and not (folder / MANIFEST).exists():
        lake.fetch_all(folder, last=MANIFEST)
    for statement in (approving.APPROVAL, approving.CONFIRMATION):
        lake.fetch(folder / statement)


def _remember(lake: Lake, release_id: str) -> None:
    def noted(before: bytes | None) -> bytes:
        others = _history(lake) if before is None or lake.remote is None else json.loads(before)
        return canonical_json([*(name for name in others if name != release_id), release_id]) + b"\n"

    lake.update(lake.home / "releases.json", noted)
