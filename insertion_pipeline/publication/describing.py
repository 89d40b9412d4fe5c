"""What a release says of itself to machines: its data package, its DCAT-AP record, the software that made it.

Belongs here: descriptions of files, columns, licences and components. Does not belong here: the files themselves
(`writing`, `workbook`, `sdmx`, `report`), the manifest (`releasing`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Final

import pyarrow as pa

import insertion_pipeline
from insertion_pipeline.lake import sha256_of
from insertion_pipeline.publication import sdmx
from insertion_pipeline.publication.tables import TABLES, PublishedTable
from insertion_pipeline.registry import Registry
from insertion_pipeline.settings import REPOSITORY

TITLE: Final = "Indicateurs partagés du réseau de l'insertion professionnelle"
DESCRIPTION: Final = (
    "Indicateurs mensuels sur les personnes accompagnées vers l'emploi par les agences locales pour l'emploi, les"
    " structures d'insertion, les départements et les services publics de l'emploi ; secret statistique appliqué."
)
#: Under which the tables are given: Licence Ouverte 2.0 of Etalab.
LICENCE: Final = {"name": "etalab-2.0", "title": "Licence Ouverte 2.0", "path": "https://spdx.org/licenses/etalab-2.0"}
_MEDIA: Final[Mapping[str, str]] = {
    "csv": "text/csv",
    "parquet": "application/vnd.apache.parquet",
    "duckdb": "application/vnd.duckdb",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "html": "text/html",
    "json": "application/json",
    "jsonld": "application/ld+json",
}
_LOCKED: Final = re.compile(r"^([A-Za-z0-9_.\-]+)(?:\[[^\]]*\])?==([^\s;\\]+)", re.MULTILINE)
#: What other people made and the report carries: name, version, licence, where it lives.
_VENDORED: Final = (("echarts", "5.6.0", "Apache-2.0", "pkg:npm/echarts@5.6.0"),)


@dataclass(frozen=True)
class Described:
    """A file that a reader may open: where it is, what it holds."""

    name: str
    title: str
    path: str
    format: str
    holds: str
    table: PublishedTable | None = None


def files_of(tables: Mapping[str, pa.Table], workbooks: Mapping[str, str]) -> tuple[Described, ...]:
    """The files of a release that a reader may open, and what each holds."""
    described = [
        Described(
            f"{declared.name}_{kind}".replace("_", "-"),
            declared.title,
            f"{kind}/{declared.name}.{kind}",
            kind,
            f"{len(tables[declared.name])} lignes, toutes",
            declared,
        )
        for declared in TABLES
        for kind in ("csv", "parquet")
    ]
    rows = len(tables["indicator_values"])
    return (
        *described,
        Described(
            "insertion-duckdb", "Toutes les tables, base DuckDB", "insertion.duckdb", "duckdb",
            "toutes les tables, toutes les lignes ; lisible par DuckDB 1.0 et suivants",
        ),
        Described(
            "sdmx-csv", "Valeurs des indicateurs, SDMX-CSV 2.0", sdmx.VALUES, "csv",
            f"{rows} lignes, toutes : termes, valeur, statut, couverture ; sans les effectifs d'unités attendues",
        ),
        Described(
            "sdmx-structure", "Structure du SDMX-CSV, SDMX-JSON 2.0", sdmx.STRUCTURE, "json",
            "dimensions, attributs, listes de codes",
        ),
        *(
            Described(path.removesuffix(".xlsx").replace("/", "-").lower(), "Classeur", path, "xlsx", holds)
            for path, holds in sorted(workbooks.items())
        ),
        Described(
            "report", "Rapport", "report/index.html", "html",
            "pays, régions, départements et provinces : dix vues, séries, cartes ; couverture, révisions, dictionnaire",
        ),
    )  # fmt: skip


def data_package(
    folder: Path, release_id: str, files: Sequence[Described], registry: Registry, months: Sequence[str]
) -> dict[str, Any]:
    """The Frictionless description of the release: every file, what it holds, the schema of every table."""
    return {
        "profile": "data-package",
        "name": f"insertion-{release_id}",
        "title": TITLE,
        "description": DESCRIPTION,
        "id": release_id,
        "version": release_id,
        "temporal": {"start": months[0], "end": months[-1]} if months else {},
        "licenses": [LICENCE],
        "sources": [
            {"title": one["attribution"], "path": one["url"], "license": one["license"], "covers": one["label"]}
            for one in attributions(registry)
        ],
        "resources": [_resource(folder, one) for one in files],
    }


def attributions(registry: Registry) -> list[dict[str, str]]:
    """Whose open data the release is built with: one row per source, with its licence."""
    return list(registry.nomenclature("attributions").records())


def _resource(folder: Path, described: Described) -> dict[str, Any]:
    is_table = described.table is not None
    resource: dict[str, Any] = {
        "name": described.name,
        "title": described.title,
        "path": described.path,
        "format": described.format,
        "mediatype": _MEDIA[described.format],
        "profile": "tabular-data-resource" if is_table and described.format == "csv" else "data-resource",
        "holds": described.holds,
    }
    if described.format != "duckdb":  # the one file whose bytes may differ between two runs
        resource["bytes"] = (folder / described.path).stat().st_size
        resource["hash"] = f"sha256:{sha256_of(folder / described.path)}"
    if described.table is not None:
        resource |= {"description": described.table.description, "schema": _schema(described.table)}
        if described.format == "csv":
            resource |= {"encoding": "utf-8", "dialect": {"delimiter": ";", "header": True, "bom": True}}
    return resource


def _schema(declared: PublishedTable) -> dict[str, Any]:
    fields = [
        {"name": column.name, "type": column.type, "description": column.description} for column in declared.columns
    ]
    return {"fields": fields, "primaryKey": list(declared.key), "missingValues": [""]}


def dcat_record(release_id: str, files: Sequence[Described], registry: Registry, months: Sequence[str]) -> Any:
    """The release as a DCAT-AP 3 catalogue of one dataset, in JSON-LD; addresses are relative to the record."""
    licence = {"@id": LICENCE["path"]}
    return {
        "@context": {
            "dcat": "http://www.w3.org/ns/dcat#",
            "dct": "http://purl.org/dc/terms/",
            "foaf": "http://xmlns.com/foaf/0.1/",
            "xsd": "http://www.w3.org/2001/XMLSchema#",
            "prov": "http://www.w3.org/ns/prov#",
            "spdx": "http://spdx.org/rdf/terms#",
        },
        "@id": "#catalogue",
        "@type": "dcat:Catalog",
        "dct:title": _french(TITLE),
        "dct:description": _french(DESCRIPTION),
        "dct:publisher": {
            "@id": "#publisher",
            "@type": "foaf:Agent",
            "foaf:name": _french("Réseau de l'insertion professionnelle"),
        },
        "dcat:dataset": {
            "@id": "#dataset",
            "@type": "dcat:Dataset",
            "dct:identifier": release_id,
            "dct:title": _french(f"{TITLE}, publication {release_id}"),
            "dct:description": _french(DESCRIPTION),
            "dct:publisher": {"@id": "#publisher"},
            "dct:language": {"@id": "http://publications.europa.eu/resource/authority/language/FRA"},
            "dct:accrualPeriodicity": {"@id": "http://publications.europa.eu/resource/authority/frequency/MONTHLY"},
            "dct:accessRights": {"@id": "http://publications.europa.eu/resource/authority/access-right/PUBLIC"},
            "dct:spatial": [
                {"@id": "http://publications.europa.eu/resource/authority/country/FRA"},
                {"@id": "http://publications.europa.eu/resource/authority/country/BEL"},
            ],
            "dct:temporal": {
                "@type": "dct:PeriodOfTime",
                "dcat:startDate": {"@type": "xsd:gYearMonth", "@value": months[0]},
                "dcat:endDate": {"@type": "xsd:gYearMonth", "@value": months[-1]},
            } if months else [],
            "dcat:theme": {"@id": "http://publications.europa.eu/resource/authority/data-theme/SOCI"},
            "dcat:keyword": [_french(word) for word in ("insertion", "emploi", "RSA", "IAE", "ALE", "chômage")],
            "dct:source": [{"@id": url} for url in sorted({one["url"] for one in attributions(registry)})],
            "dct:provenance": [
                {"@type": "dct:ProvenanceStatement", "dct:description": _french(one["attribution"])}
                for one in attributions(registry)
            ],
            "dcat:distribution": [
                {
                    "@id": f"#{one.name}",
                    "@type": "dcat:Distribution",
                    "dct:title": _french(one.title),
                    "dct:description": _french(one.holds),
                    "dcat:accessURL": {"@id": one.path},
                    "dcat:downloadURL": {"@id": one.path},
                    "dct:license": licence,
                    "dcat:mediaType": {"@id": f"https://www.iana.org/assignments/media-types/{_MEDIA[one.format]}"},
                }
                for one in files
            ],
        },
    }  # fmt: skip


def _french(text: str) -> dict[str, str]:
    return {"@language": "fr", "@value": text}


def bill_of_materials() -> dict[str, Any]:
    """The software that a release is made with, as CycloneDX 1.6: without date and serial number, so always the same.

    The components are those of `requirements.lock`; of an installation without its lock file, those installed.
    """
    lock = REPOSITORY / "requirements.lock"
    versions = _LOCKED.findall(lock.read_text(encoding="utf-8")) if lock.exists() else _installed()
    own = f"pkg:pypi/insertion-pipeline@{insertion_pipeline.__version__}"
    components = [
        *(_component(name, version, f"pkg:pypi/{name.lower()}@{version}") for name, version in sorted(versions)),
        *(
            _component(name, version, address) | {"licenses": [{"license": {"id": licence}}]}
            for name, version, licence, address in _VENDORED
        ),
    ]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                **_component("insertion-pipeline", insertion_pipeline.__version__, own),
                "type": "application",
                "licenses": [{"license": {"id": "Apache-2.0"}}],
            }
        },
        "components": components,
        "dependencies": [{"ref": own, "dependsOn": [one["bom-ref"] for one in components]}],
    }


def _component(name: str, version: str, address: str) -> dict[str, Any]:
    return {"type": "library", "bom-ref": address, "name": name, "version": version, "purl": address}


def _installed() -> list[tuple[str, str]]:
    return [(one.metadata["Name"], one.version) for one in metadata.distributions() if one.metadata["Name"]]
