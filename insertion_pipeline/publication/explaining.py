"""A published value, walked back to the deliveries behind it.

Belongs here: finding the value among published ones, its provenance from the release's own manifest. Does not belong
here: how facts and sources hang together (`indicators.provenance`), any number that is not published.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow.compute as pc

from insertion_pipeline.disclosure.equations import UNCUT
from insertion_pipeline.indicators.provenance import Provenance
from insertion_pipeline.indicators.provenance import explain as provenance_of
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import InvalidMonth, Month
from insertion_pipeline.publication.releasing import Release
from insertion_pipeline.registry import Registry


class NotPublished(ValueError):
    """The release shows no such value. The message is French and does not say why."""


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

    Raises `NotPublished` for a value that the release does not show: hidden, absent or unknown are told alike.
    """
    values = release.table("indicator_values")
    wanted = {"indicator_code": code, "territory_code": territory, "month": month, "breakdown": UNCUT,
              "status": "published"}  # fmt: skip
    for column, text in wanted.items():
        values = values.filter(pc.equal(values[column], text))
    if len(values) != 1 or code not in registry.indicators:
        raise NotPublished(f"{release.release_id} ne publie pas {code} pour {territory} en {month}.")
    (row,) = values.to_pylist()
    try:
        parsed = Month.parse(month)
    except InvalidMonth as error:
        raise NotPublished(str(error)) from None
    with in_memory() as connection:
        found = provenance_of(connection, registry, release.manifest["inputs"]["deliveries"], code, territory, parsed)
    return Explained(
        release.release_id, row["value"], row["unit"], row["coverage"], row["maturity"], row["as_of"], found
    )
