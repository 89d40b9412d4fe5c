"""Is a release what was published? Everything that it says of itself, checked again.

Belongs here: digests, signature, the agreement of the formats, totals, thresholds and the attacker's audit of a
release on disk. Does not belong here: mending anything.

A release is held to what its own manifest declares: one made before a table or a format existed lacks nothing.
"""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

from insertion_pipeline.disclosure import attacker, small_cells
from insertion_pipeline.disclosure.equations import composed
from insertion_pipeline.disclosure.pieces import PIECES_SCHEMA
from insertion_pipeline.indicators.trends import trends
from insertion_pipeline.lake import Lake, in_memory, reading_database, sha256_of
from insertion_pipeline.month import Month
from insertion_pipeline.program import code_version
from insertion_pipeline.publication import approving, revising, sdmx, signing, writing
from insertion_pipeline.publication.releasing import (
    CERTIFICATE,
    DATABASE,
    MANIFEST,
    Release,
    name_of,
    write_files,
)
from insertion_pipeline.publication.tables import INDICATOR_VALUES, TABLES, TERRITORY_PIECES, TRENDS
from insertion_pipeline.registry import Registry

State = Literal["intact", "unsigned", "altered"]
#: The tables that every release has had, and without which it cannot be attacked.
_ALWAYS: Final = frozenset(
    declared.name for declared in TABLES if declared.name not in (TRENDS.name, TERRITORY_PIECES.name)
)


#: What the attacker of a certificate must have found none of.
_FOUND: Final = (
    ("recomputable_cells",),
    ("sensitive_cells_under_width",),
    ("whole_numbers", "sensitive_counts_under_width"),
    ("insiders", "cells_found_where_hiding_helps"),
)


@dataclass(frozen=True)
class Problem:
    """One thing that is not as it was published: the file, and what is wrong with it, in French."""

    file: str
    message: str


@dataclass(frozen=True)
class Verification:
    """What became of a release. `unsigned`: whole, but nobody vouches for it."""

    release_id: str
    state: State
    stage: approving.Stage
    problems: tuple[Problem, ...]

    def to_json(self) -> dict[str, Any]:
        """What `release verify --json` says."""
        problems = [{"file": one.file, "message": one.message} for one in self.problems]
        return {"release_id": self.release_id, "state": self.state, "stage": self.stage, "problems": problems}


def verify(
    lake: Lake, release: Release, *, registry: Registry | None = None, trusted: Collection[str] = ()
) -> Verification:
    """Check a release: files against manifest and signature, formats against each other, the audit against the tables.

    A file is named even when its digest was edited in the manifest: the signature keeps a list of its own, and each
    format must hold what the others hold. Where no signature vouches for them and `registry` is the one that the
    release was made with, all files are made again from its tables. `trusted`: public keys of other homes whose
    signature is accepted.
    """
    folder = release.folder
    signature = signing.read_signature(folder)
    unvouched = [*_signature(lake, folder, signature, trusted, release.manifest.get("files", {}))]
    if not release.manifest:
        problems = [Problem(MANIFEST, "manifeste illisible"), *unvouched]
    else:
        problems = [*_files(folder, release.manifest), *unvouched, *_statements(folder)]
        problems += _contents(folder, release.manifest)
        if (signature is None or unvouched) and registry is not None:
            problems += _made_again(folder, release.manifest, registry)
    distinct = tuple(dict.fromkeys(problems))
    state: State = "altered" if distinct else ("intact" if signature is not None else "unsigned")
    return Verification(release.release_id, state, release.stage(lake.clock.now()), distinct)


def _files(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Problem]:
    listed: Mapping[str, str] = manifest.get("files", {})
    there = _names(folder) - {MANIFEST}
    for name in sorted(set(listed) - there):
        yield Problem(name, "fichier absent")
    for name in sorted(there - set(listed)):
        yield Problem(name, "fichier ajouté après la publication")
    for name in sorted(set(listed) & there):
        if sha256_of(folder / name) != listed[name]:
            yield Problem(name, "contenu différent de celui du manifeste")
    if manifest.get("release_id") != folder.name:
        yield Problem(MANIFEST, "le manifeste est celui d'une autre publication")
    inputs = manifest.get("inputs", {})
    if not inputs.get("months") or name_of(inputs) != folder.name:
        yield Problem(MANIFEST, "le nom de la publication n'est pas celui de ce dont le manifeste la dit faite")


def _names(folder: Path) -> set[str]:
    """The files of a release, less those that are said of it afterwards."""
    there = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return there - {signing.SIGNATURE_FILE, *approving.STATEMENTS}


def _signature(
    lake: Lake,
    folder: Path,
    signature: signing.Signature | None,
    trusted: Collection[str],
    listed: Collection[str],
) -> Iterator[Problem]:
    if signature is None:
        return
    if not signature.is_valid:
        yield Problem(signing.SIGNATURE_FILE, "signature fausse")
        return
    own = signing.public_key(lake.keyring)
    if signature.public_key != own and signature.public_key not in trusted and (own is not None or trusted):
        yield Problem(
            signing.SIGNATURE_FILE, f"signé par une autre clé que celle de cette installation ({signature.public_key})"
        )
    there = _names(folder)
    for name in sorted((there & set(listed)) - set(signature.digests)):
        yield Problem(name, "fichier ajouté au manifeste après la signature")
    for name, digest in sorted(signature.digests.items()):
        if name not in there:
            yield Problem(name, "fichier signé, absent")
        elif sha256_of(folder / name) != digest:
            yield Problem(name, "contenu différent de celui qui a été signé")


def _statements(folder: Path) -> Iterator[Problem]:
    for name in approving.STATEMENTS:
        if (folder / name).exists() and not approving.holds(folder, name):
            yield Problem(name, "déclaration fausse, ou faite d'un autre manifeste")


def _contents(folder: Path, manifest: Mapping[str, Any]) -> Iterator[Problem]:
    """The tables of each format against each other, the manifest's totals, and the audit of what they show."""
    noted: Mapping[str, Any] = manifest.get("tables", {})
    read: dict[str, pa.Table] = {}
    for name, told in noted.items():
        file = f"parquet/{name}.parquet"
        try:
            read[name] = pq.read_table(folder / file)
        except (OSError, pa.ArrowInvalid):
            yield Problem(file, "fichier illisible")
            continue
        if told.get("totals") != writing.totals_of(read[name]):
            yield Problem(file, "totaux différents de ceux du manifeste")
        if told.get("sha256") != writing.digest_of(read[name]):
            yield Problem(file, "table différente de celle du manifeste")
    if missing := sorted(_ALWAYS - set(noted)):
        yield Problem(MANIFEST, f"tables non déclarées : {', '.join(missing)}")
    yield from _other_formats(folder, read, manifest.get("files", {}))
    if set(read) >= _ALWAYS:
        yield from _audit(read)
    if set(read) >= _ALWAYS | {TRENDS.name}:
        yield from _derived(read)
    yield from _certificate(folder, manifest, read.get(INDICATOR_VALUES.name))


def _certificate(folder: Path, manifest: Mapping[str, Any], values: pa.Table | None) -> Iterator[Problem]:
    """No certificate, no release; and none that says something else than the values do."""
    certificate: Mapping[str, Any] = manifest.get("certificate") or {}
    path = folder / CERTIFICATE
    if not certificate or not path.exists():
        yield Problem(CERTIFICATE, "certificat absent")
        return
    if _json(path) != certificate:
        yield Problem(CERTIFICATE, "différent du certificat du manifeste")
    if values is not None:
        counted = Counter(values["status"].to_pylist())
        if dict(counted) != certificate.get("statuses") or certificate.get("rows", len(values)) != len(values):
            yield Problem(CERTIFICATE, "nombre de valeurs publiées et masquées différent de celui de la table")
    parameters = manifest.get("inputs", {}).get("parameters")
    for one in certificate.get("combined", {"": certificate}).values():
        if parameters is not None and one.get("parameters") != parameters:
            yield Problem(CERTIFICATE, "paramètres différents de ceux de la publication")
        if any(_told(one.get("audit", {}), names) for names in _FOUND):
            yield Problem(CERTIFICATE, "l'attaque a trouvé des valeurs masquées")


def _told(audit: Mapping[str, Any], names: Sequence[str]) -> Any:
    """What an audit says under these names, one within the other; nothing where it is older than the question."""
    told: Any = audit
    for name in names:
        told = told.get(name, {}) if isinstance(told, Mapping) else {}
    return told


def _other_formats(folder: Path, read: Mapping[str, pa.Table], listed: Collection[str]) -> Iterator[Problem]:
    for name, table in read.items():
        try:
            same = writing.digest_of(_from_csv(folder / "csv" / f"{name}.csv", table.schema))
        except (OSError, pa.ArrowInvalid):
            same = ""
        if same != writing.digest_of(writing.harmless(table)):
            yield Problem(f"csv/{name}.csv", "contenu différent du Parquet")
    if sdmx.VALUES in listed and (values := read.get(INDICATOR_VALUES.name)) is not None:
        try:
            told = sdmx.read_values(folder)
            is_same = writing.digest_of(told) == writing.digest_of(values.select(told.column_names))
        except (OSError, pa.ArrowInvalid, KeyError):
            is_same = False
        if not is_same:
            yield Problem(sdmx.VALUES, "contenu différent du Parquet")
    try:
        with in_memory() as connection, reading_database(connection, folder / DATABASE):
            for name, table in read.items():
                found = connection.sql(f'SELECT * FROM published."{name}"').to_arrow_table()
                if writing.digest_of(found) != writing.digest_of(table):
                    yield Problem(DATABASE, f"table {name} différente du Parquet")
    except Exception as error:  # noqa: BLE001 (whatever DuckDB says of a broken file)
        yield Problem(DATABASE, f"base illisible ({type(error).__name__})")


def _made_again(folder: Path, manifest: Mapping[str, Any], registry: Registry) -> Iterator[Problem]:
    """Files that are not what the release's tables make, where the same program reads the same data sources."""
    inputs = manifest.get("inputs", {})
    if inputs.get("code") != code_version() or inputs.get("data_sources") != registry.digest:
        return
    try:
        tables = {declared.name: pq.read_table(folder / "parquet" / f"{declared.name}.parquet") for declared in TABLES}
    except (OSError, pa.ArrowInvalid):
        return  # said already
    with tempfile.TemporaryDirectory() as scratch:
        again = Path(scratch) / folder.name
        again.mkdir()
        write_files(again, registry, folder.name, tables, manifest.get("certificate", {}))
        made, there = _names(again), _names(folder) - {MANIFEST}
        for name in sorted(made - there):
            yield Problem(name, "absent, et les tables de la publication le donnent")
        for name in sorted(there - made):
            yield Problem(name, "les tables de la publication ne le donnent pas")
        for name in sorted((made & there) - {DATABASE}):  # equal table by table, never byte by byte
            if sha256_of(folder / name) != sha256_of(again / name):
                yield Problem(name, "différent de ce que donnent les tables de la publication")
    last = Month.parse(inputs["months"][-1])
    held = (
        () if "combined" in inputs else revising.reasons_to_hold(tables["indicator_values"], tables["revisions"], last)
    )
    if list(held) != manifest.get("held"):
        yield Problem(MANIFEST, "ce qui est à confirmer n'est pas ce que disent les révisions")


def _from_csv(path: Path, schema: pa.Schema) -> pa.Table:
    options = pv.ConvertOptions(
        column_types=schema, strings_can_be_null=True, quoted_strings_can_be_null=False, null_values=[""]
    )
    return pv.read_csv(path, parse_options=pv.ParseOptions(delimiter=";"), convert_options=options)


def _audit(read: Mapping[str, pa.Table]) -> Iterator[Problem]:
    file = "parquet/indicator_values.parquet"
    values = read["indicator_values"]
    if len(small_cells(_with_thresholds(read))):
        yield Problem(file, "effectif sous le seuil visible")
    with in_memory() as connection:
        knowledge = _knowledge(read)
        breaches = attacker.audit(connection, values, knowledge).breaches
    if len(breaches):
        yield Problem(file, "valeur masquée recalculable")


def _derived(read: Mapping[str, pa.Table]) -> Iterator[Problem]:
    """What is computed from published values alone is what these values give."""
    found = TRENDS.conform(trends(read["indicator_values"], read["territory_links"], read["indicators"]))
    if writing.digest_of(found) != writing.digest_of(read["trends"]):
        yield Problem("parquet/trends.parquet", "évolutions différentes de celles que donnent les valeurs publiées")


def _with_thresholds(read: Mapping[str, pa.Table]) -> pa.Table:
    least = {row["code"]: row["threshold"] for row in read["indicators"].to_pylist()}
    sensitive = {row["breakdown"]: row["threshold"] for row in read["breakdowns"].to_pylist()}
    values = read["indicator_values"]
    pairs = zip(values["indicator_code"].to_pylist(), values["breakdown"].to_pylist(), strict=True)
    thresholds = [max(least.get(code, 0.0), sensitive.get(breakdown, 0.0)) or None for code, breakdown in pairs]
    return values.append_column("threshold", pa.array(thresholds, pa.float64()))


def _knowledge(read: Mapping[str, pa.Table]) -> attacker.Knowledge:
    """What the release itself tells an attacker."""
    indicators = read["indicators"].select(
        ["code", "numerator_quantity", "denominator_quantity", "adds_up_over_territories", "threshold"]
    )
    links = read["territory_links"].to_pylist()
    months = sorted(set(read["indicator_values"]["month"].to_pylist()))
    spread = [
        {"month": month, **{name: link[name] for name in ("part", "part_level", "whole", "whole_level")}}
        for link in links
        for month in months
        if link["first_month"] <= month <= link["last_month"]
    ]
    schema = pa.schema([(name, pa.string()) for name in ("month", "part", "part_level", "whole", "whole_level")])
    cuts = read["breakdowns"].group_by(["breakdown", "adds_up"]).aggregate([])
    return attacker.Knowledge(
        indicators.rename_columns({"code": "indicator_code"}),
        cuts,
        pa.Table.from_pylist(spread, schema=schema),
        _pieces(read.get(TERRITORY_PIECES.name), months),
        read["open_sums"],
        _compositions(read["indicators"].to_pylist()),
    )


def _pieces(told: pa.Table | None, months: list[str]) -> pa.Table:
    """The pieces of territories, month by month; none where a release does not tell them."""
    names = ("levels", "piece", "whole", "whole_level")
    spread = [
        {"month": month, **{name: row[name] for name in names}}
        for row in (told.to_pylist() if told is not None else ())
        for month in months
        if row["first_month"] <= month <= row["last_month"]
    ]
    return pa.Table.from_pylist(spread, schema=PIECES_SCHEMA)


def _compositions(indicators: list[dict[str, Any]]) -> pa.Table:
    quantities = {
        (row["code"], term): row[f"{term}_quantity"]
        for row in indicators
        for term in ("numerator", "denominator")
        if row[f"{term}_quantity"]
    }
    parts, balances = (
        {row["code"]: (row.get(name) or "").split() for row in sorted(indicators, key=lambda row: row["code"])}
        for name in ("parts", "balance")
    )
    return composed(parts, balances, quantities)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None
