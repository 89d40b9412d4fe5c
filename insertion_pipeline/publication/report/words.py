"""Numbers, months and codes as French readers write them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from insertion_pipeline.month import Month
from insertion_pipeline.publication.workbook import LEVEL_LABELS, STATUS_LABELS, UNIT_LABELS

COUNTRIES: Final[Mapping[str, str]] = {"FR": "France", "BE": "Belgique (Wallonie)"}
FAMILIES: Final[Mapping[str, str]] = {
    "ale": "Agences locales pour l'emploi",
    "siae": "Structures d'insertion",
    "department": "Départements",
    "employment_service": "Services publics de l'emploi",
}
AXES: Final[Mapping[str, str]] = {
    "residence": "la résidence de la personne",
    "structure": "le lieu de la structure",
    "paying_council": "la collectivité qui verse le RSA",
    "deposit": "le territoire du déposant",
}
PERIODS: Final[Mapping[str, str]] = {"end_of_month": "en fin de mois", "during_month": "au cours du mois"}


def month_of(text: str) -> str:
    """`2026-10` → `octobre 2026`."""
    return Month.parse(text).in_french


def number(value: float | None, unit: str = "") -> str:
    """Narrow space for thousands, comma for decimals; a percentage always has one; nothing for none."""
    if value is None:
        return ""
    text = f"{value:,.1f}"
    return (text if unit == "%" else text.removesuffix(".0")).replace(",", "\u202f").replace(".", ",")


def share(value: float | None) -> str:
    """A share of one as a percentage."""
    return "" if value is None else f"{number(round(100 * value))}\u00a0%"


def unit(code: str) -> str:
    """The unit after a number; nothing for a count without a unit."""
    return "" if code == "count" else UNIT_LABELS.get(code, code)


def status(code: str) -> str:
    """Why there is no number."""
    return STATUS_LABELS.get(code, code)


def level(code: str) -> str:
    """The level of a territory."""
    return LEVEL_LABELS.get(code, code)
