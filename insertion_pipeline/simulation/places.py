"""Where people live and were born: towns read from the dated nomenclature of communes.

Belongs here: the gazetteer, the weights of its towns, which towns lie in a partner's territory. Does not belong here:
the nomenclature itself (`data_sources/nomenclatures/communes.csv`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from insertion_pipeline.registry import Registry
from insertion_pipeline.settings import REPOSITORY
from insertion_pipeline.simulation.randomness import Floats, Integers


@dataclass(frozen=True)
class Gazetteer:
    """The communes of both countries in force today, one row each, in order of country and code."""

    countries: tuple[str, ...]
    codes: pa.Array
    names: pa.Array
    postal_codes: pa.Array
    departments: tuple[str, ...]
    committees: pa.Array  # CLPE, the local committee for employment; null where there is none
    employment_zones: tuple[str, ...]
    areas: tuple[frozenset[str], ...]  # the territory keys that each commune belongs to
    population: Floats

    def inside(self, territory: str) -> Integers:
        """The rows of the communes inside a territory key (`FR`, `FR-DEP-52`, `BE-COM-92094`, `BE-REG-03000` …)."""
        return self._inside.get(territory, np.array([], dtype=np.int64))

    @functools.cached_property
    def _inside(self) -> Mapping[str, Integers]:
        rows: dict[str, list[int]] = {}
        for row, areas in enumerate(self.areas):
            for area in areas:
                rows.setdefault(area, []).append(row)
        return {area: np.array(found, dtype=np.int64) for area, found in rows.items()}

    def weights(self, territories: Sequence[str], *, concentration: float = 1.25, balance: float = 0.5) -> Floats:
        """The weight of each commune when people live in these territories, zero elsewhere.

        A territory weighs its population to the power of `balance`, so that small departments are not lost beside
        large ones. Inside it, towns weigh their population to the power of `concentration`: people on minimum income
        live in towns more than others do.
        """
        weights = np.zeros(len(self.countries))
        for territory in territories:
            rows = self.inside(territory)
            towns = self.population[rows] ** concentration
            if len(rows):
                weights[rows] += towns / towns.sum() * float(self.population[rows].sum()) ** balance
        return weights


def gazetteer(registry: Registry | None = None) -> Gazetteer:
    """The gazetteer of a registry, or of the repository's own `data_sources/`."""
    return _read((registry.folder if registry is not None else REPOSITORY / "data_sources").resolve())


@functools.lru_cache(maxsize=4)
def _read(folder: Path) -> Gazetteer:
    nomenclature = Registry(folder, {}, {}, (), "").nomenclature("communes")
    rows = sorted(
        (
            row
            for row in nomenclature.records()
            if not row["valid_until"] and row["current_code"] == row["code"] and row["population"] not in ("", "0")
        ),
        key=lambda row: (row["country"], row["code"]),
    )
    rows = [row for row in rows if row["country"] == "BE" or row["department"]]
    population = np.array([int(row["population"]) for row in rows], dtype=np.float64)
    return Gazetteer(
        countries=tuple(row["country"].lower() for row in rows),
        codes=pa.array([row["code"] for row in rows], pa.string()),
        names=pa.array([row["name"] for row in rows], pa.string()),
        postal_codes=pa.array([row["postal_codes"].split(" ")[0] for row in rows], pa.string()),
        departments=tuple(row["department"] for row in rows),
        committees=pa.array([row["clpe"] or None for row in rows], pa.string()),
        employment_zones=tuple(row["employment_zone"] for row in rows),
        areas=tuple(_areas(row) for row in rows),
        population=population,
    )


def _areas(row: dict[str, str]) -> frozenset[str]:
    country = row["country"]
    keys = {country, f"{country}-COM-{row['code']}"}
    if country == "BE":
        keys |= {"BE-REG-03000", f"BE-ARR-{row['arrondissement']}", f"BE-PRV-{row['province']}"}
    else:
        keys |= {f"FR-DEP-{row['department']}", f"FR-EPCI-{row['epci']}", f"FR-COU-{row['council']}"}
    return frozenset(keys)
