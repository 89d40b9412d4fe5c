"""A published value, walked back to the deliveries behind it.

Belongs here: finding the value among published ones, its provenance from the release's own manifest. Does not belong
here: how facts and sources hang together (`indicators.provenance`), any number that is not published.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from insertion_pipeline.disclosure.equations import UNCUT
from insertion_pipeline.disclosure.thresholds import PUBLISHED
from insertion_pipeline.indicators.provenance import Provenance
from insertion_pipeline.indicators.provenance import explain as provenance_of
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import InvalidMonth, Month
from insertion_pipeline.publication.releasing import Release
from insertion_pipeline.publication.report import words
from insertion_pipeline.registry import Registry


class NotPublished(ValueError):
    """The release shows no such value. The message is French and says why, as far as the release's own table does."""


@dataclass(frozen=True)
class Explained:
    """What a release shows of a value, and where it comes from."""

    release_id: str
    value: float
    unit: str
    coverage: float | None
    maturity: str
    as_of: str
    provenance: Provenance


def explain(release: Release, registry: Registry, code: str, territory: str, month: str) -> Explained:
    """The uncut value of `code` at `territory` in `month`, and its provenance.

    Raises `NotPublished` for a value that the release does not show. Why is the status of its row; of a row that is not
    there, only what the catalogue says is told.
    """
    try:
        parsed = Month.parse(month)
    except InvalidMonth as error:
        raise NotPublished(str(error)) from None
    values = release.table("indicator_values")
    wanted = {"indicator_code": code, "territory_code": territory, "month": month, "breakdown": UNCUT}
    for column, text in wanted.items():
        values = values.filter(pc.equal(values[column], text))
    status = values["status"][0].as_py() if len(values) == 1 else None
    if status != PUBLISHED or code not in registry.indicators:
        why = _why_absent(registry, code, parsed) if status in (None, PUBLISHED) else words.status(status)
        raise NotPublished(f"{release.release_id} ne publie pas {code} pour {territory} en {month} : {why}.")
    (row,) = values.to_pylist()
    with in_memory() as connection:
        found = provenance_of(connection, registry, release.manifest["inputs"]["deliveries"], code, territory, parsed)
    return Explained(
        release.release_id, row["value"], row["unit"], row["coverage"], row["maturity"], row["as_of"], found
    )


def _why_absent(registry: Registry, code: str, month: Month) -> str:
    """Why a release may have no row of an indicator, from the catalogue alone."""
    indicator = registry.indicators.get(code)
    if indicator is None:
        return "le catalogue n'a pas cet indicateur"
    if month < indicator.valid_from:
        return f"l'indicateur commence en {indicator.valid_from}"
    return "rien n'y est compté, ou la publication n'a pas ce mois, ce territoire ou ce niveau"
