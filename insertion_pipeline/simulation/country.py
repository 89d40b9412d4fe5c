"""A country's partners, when those of `partners.csv` are too few for the population asked for.

Belongs here: writing a `data_sources/` of its own, with a line for every department, ALE and SIAE. Does not belong
here: contracts and nomenclatures, which are copied as they are.
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline.simulation.places import Gazetteer, gazetteer

#: Orders of magnitude of the network: 244 ALE in Wallonia (2023), about 4 500 structures in the ASP's flow.
LOCAL_AGENCIES = 244
STRUCTURES = 4500
#: One structure in forty deposits its own monthly file; the others stand in the ASP's bundle only.
_DEPOSITING_STRUCTURE = 40

#: What one department delivers besides its list and the flow of the CNAF.
_OWN_SOURCES = ("department_contacts", "department_pathways", "department_appointments")

_COLUMNS = (
    "code", "name", "family", "space", "territory_code", "sources", "delivers_for", "since", "until", "siret", "nir",
)  # fmt: skip


def write_country(registry: Registry, folder: Path, since: Month) -> Path:
    """Copy the declarations of `registry` to `folder`, with a country's `partners.csv`. Returns `folder`."""
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(registry.folder, folder, ignore=shutil.ignore_patterns("samples"))
    text = io.StringIO()
    writer = csv.DictWriter(text, _COLUMNS, restval="", lineterminator="\n")
    writer.writeheader()
    for row in _partners(gazetteer(registry), since):
        writer.writerow(row)
    (folder / "partners.csv").write_text(text.getvalue(), encoding="utf-8")
    return folder


def _partners(places: Gazetteer, since: Month) -> Iterator[dict[str, str]]:
    structures = list(_structures(places, since))
    begun = min(str(since), "2020-01")
    yield {
        "code": "les-emplois", "name": "Les emplois de l'inclusion", "family": "siae", "space": "fr",
        "territory_code": "FR", "sources": "emplois_applications fiche_salarie", "since": begun, "nir": "allowed",
    }  # fmt: skip
    yield {
        "code": "asp", "name": "Agence de services et de paiement", "family": "siae", "space": "fr",
        "territory_code": "FR", "sources": "fluxiae", "since": begun, "nir": "allowed",
        "delivers_for": " ".join(row["code"] for row in structures if not row["sources"]),
    }  # fmt: skip
    yield from structures
    for department in sorted({code for code in places.departments if code}):
        others = " ".join(_OWN_SOURCES) + " " if department == "52" else ""
        yield {
            "code": f"dep-{department.lower()}", "name": f"Département {department}", "family": "department",
            "space": "fr", "territory_code": f"FR-DEP-{department}", "since": begun, "nir": "allowed",
            "sources": f"department_list {others}cnaf_vrsb0801",
        }  # fmt: skip
    for code, name, space, territory, source in (
        ("france-travail", "France Travail", "fr", "FR", "ft_spie ft_actions ft_diagnosis"),
        ("france-travail-52", "France Travail 52", "fr", "FR-DEP-52", "ft_registrations"),
        ("gip-mds", "GIP Modernisation des déclarations sociales", "fr", "FR", "dsn_outcomes"),
        ("forem", "FOREm", "be", "BE-REG-03000", "forem_jobseekers"),
    ):
        yield {
            "code": code, "name": name, "family": "employment_service", "space": space, "territory_code": territory,
            "sources": source, "since": begun, "nir": "allowed",
        }  # fmt: skip
    for row in _largest(places, "be", LOCAL_AGENCIES):
        commune = places.codes[int(row)].as_py()
        yield {
            "code": f"ale-{commune}", "name": f"ALE de {places.names[int(row)].as_py()}", "family": "ale",
            "space": "be", "territory_code": f"BE-COM-{commune}", "sources": "ale_activity", "since": begun,
            "nir": "allowed",
        }  # fmt: skip


def _largest(places: Gazetteer, country: str, count: int) -> list[int]:
    """The most populated communes of a country, in order of their codes."""
    rows = np.array([row for row, one in enumerate(places.countries) if one == country])
    chosen = rows[np.argsort(-places.population[rows], kind="stable")[:count]]
    return sorted(int(row) for row in chosen)


def _structures(places: Gazetteer, since: Month) -> Iterator[dict[str, str]]:
    """Structures in proportion to the square root of each department's population."""
    departments = sorted({code for code in places.departments if code})
    weight = np.zeros(len(departments))
    np.add.at(
        weight,
        [departments.index(code) for code in places.departments if code],
        places.population[[row for row, code in enumerate(places.departments) if code]],
    )
    weight = np.sqrt(weight)
    counts = np.maximum(np.floor(STRUCTURES * weight / weight.sum()).astype(int), 2)
    rank = 0
    for department, count in zip(departments, counts.tolist(), strict=True):
        for _ in range(count):
            rank += 1
            yield {
                "code": f"siae-{rank:04d}", "name": f"Structure d'insertion {rank}", "family": "siae", "space": "fr",
                "territory_code": f"FR-DEP-{department}", "since": min(str(since), "2020-01"), "siret": _siret(rank),
                "nir": "allowed", "sources": "siae_monthly" if rank % _DEPOSITING_STRUCTURE == 0 else "",
            }  # fmt: skip


def _siret(rank: int) -> str:
    """A SIREN and a SIRET with valid keys, in a range that INSEE has not given out."""
    siren = _with_luhn_key(f"1{rank:07d}")
    return _with_luhn_key(f"{siren}0001")


def _with_luhn_key(figures: str) -> str:
    total = sum(
        _luhn_value(int(figure), doubled=position % 2 == 0) for position, figure in enumerate(reversed(figures))
    )
    return figures + str(-total % 10)


def _luhn_value(figure: int, *, doubled: bool) -> int:
    value = figure * 2 if doubled else figure
    return value - 9 if value > 9 else value
