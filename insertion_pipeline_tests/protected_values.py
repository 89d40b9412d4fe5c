"""Hand-built values for the tests of disclosure and publication: a small population, counted at every level."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from insertion_pipeline.indicators.computing import VALUES_SCHEMA
from insertion_pipeline.registry import IndicatorFamily, Registry

DATA_SOURCES = Path(__file__).resolve().parent.parent / "data_sources"

_COMMON: dict[str, Any] = {
    "definition": "Personnes distinctes.",
    "fact": "anything",
    "numerator_label": "Personnes",
    "axis": "residence",
    "reference_period": "during_month",
    "countries": ["FR", "BE"],
    "levels": ["commune", "epci", "department", "region", "country"],
    "breakdowns": ["sex", "age"],
    "sources": [],
    "purposes": ["pilotage"],
    "valid_from": "2026-01",
}

FAMILY = IndicatorFamily.model_validate(
    {
        "family": "network",
        "title": "Réseau",
        "breakdowns": {
            "sex": {"column": "sex", "label": "Sexe", "modalities": {"F": "Femmes", "M": "Hommes"}},
            "age": {"column": "age", "label": "Âge"},
            "health": {"column": "health", "label": "Santé", "sensitivity": "sensitive"},
        },
        "indicators": [
            {
                **_COMMON, "code": "known", "label": "Personnes connues", "kind": "count", "numerator": "count(*)",
                "unit": "persons", "counted_unit": "persons",
            },
            {
                **_COMMON, "code": "share", "label": "Part suivie", "kind": "ratio", "numerator": "count(*)",
                "denominator": "count(*)", "denominator_label": "Personnes connues", "unit": "%",
                "counted_unit": "persons",
            },
            {
                **_COMMON, "code": "hours", "label": "=Heures", "kind": "sum", "numerator": "sum(hours)",
                "unit": "hours", "counted_unit": "hours", "contributors": "count(*)",
            },
        ],
    }
)  # fmt: skip


def small_registry() -> Registry:
    """Three indicators, the real territories."""
    return Registry(DATA_SOURCES, {}, {}, (FAMILY,), "a digest")


def value(
    indicator: str,
    territory: str,
    level: str,
    numerator: float | None,
    denominator: float | None = None,
    *,
    breakdown: str = "total",
    modality: str = "TOTAL",
    contributors: int | None = None,
    month: str = "2026-09",
    status: str = "published",
    **others: Any,
) -> dict[str, Any]:
    """One row of `VALUES_SCHEMA`."""
    kind, unit, counted = {
        "known": ("count", "persons", "persons"),
        "share": ("ratio", "%", "persons"),
        "hours": ("sum", "hours", "hours"),
        "mean": ("ratio", "hours", "hours"),
        "delay": ("quantile", "days", "days"),
        "structures": ("count", "count", "structures"),
    }[indicator]
    ratio = None if numerator is None or not denominator else numerator / denominator * (100 if unit == "%" else 1)
    return {
        "month": month, "country": territory[:2], "territory_level": level, "territory_code": territory,
        "axis": "residence", "indicator_code": indicator, "breakdown": breakdown, "modality": modality,
        "numerator": numerator, "denominator": denominator, "value": ratio if kind == "ratio" else numerator,
        "unit": unit, "counted_unit": counted, "kind": kind, "status": status, "coverage": 1.0,
        "n_units_expected": 1, "n_units_received": 1, "n_partners_expected": 1, "n_partners_received": 1,
        "as_of": month, "maturity": "provisoire", "contributors": contributors, **others,
    }  # fmt: skip


def values_of(rows: Iterable[dict[str, Any]]) -> pa.Table:
    """Rows as a table of values."""
    return pa.Table.from_pylist(list(rows), schema=VALUES_SCHEMA)


def population(persons: int, *, spread: int = 30, seed: int = 1, months: tuple[str, ...] = ("2026-09",)) -> pa.Table:
    """The values of a population of two departments: a count, a rate and a sum, by sex and by age, on five levels.

    `spread` is the number of communes that it lives in.
    """
    communes = [
        row for row in small_registry().nomenclature("communes").records()
        if row["country"] == "FR" and row["department"] in ("08", "52") and row["epci"]
    ]  # fmt: skip
    chance = random.Random(seed)
    communes = chance.sample(communes, spread)
    rows: list[dict[str, Any]] = []
    for month in months:
        known: Counter[tuple[str, ...]] = Counter()
        followed: Counter[tuple[str, ...]] = Counter()
        for _ in range(persons):
            commune = communes[int(chance.random() ** 3 * len(communes))]
            cells = list(_cells(commune, chance.choice("FM"), chance.choice("abc")))
            known.update(cells)
            if chance.random() < 0.3:
                followed.update(cells)
        for (level, code, breakdown, modality), count in known.items():
            cut = {"breakdown": breakdown, "modality": modality, "month": month}
            some = followed[level, code, breakdown, modality]
            rows.append(value("known", code, level, count, contributors=count, **cut))
            rows.append(value("share", code, level, some, count, contributors=count, **cut))
            rows.append(value("hours", code, level, 37.5 * some, contributors=some, **cut))
    return values_of(rows)


def _cells(commune: dict[str, str], sex: str, age: str) -> Iterator[tuple[str, str, str, str]]:
    places = (
        ("commune", "FR-COM-" + commune["code"]),
        ("epci", "FR-EPCI-" + commune["epci"]),
        ("department", "FR-DEP-" + commune["department"]),
        ("region", "FR-REG-44"),
        ("country", "FR"),
    )
    for level, code in places:
        for breakdown, modality in (("total", "TOTAL"), ("sex", sex), ("age", age)):
            yield level, code, breakdown, modality
