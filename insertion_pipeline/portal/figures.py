"""« Mes chiffres »: what a partner sent, beside what was published of its territory, and which release used its file.

Belongs here: counting a partner's own lines by month, picking published values. Does not belong here: computing any
indicator. Every number of a territory stands in a public release.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from insertion_pipeline.disclosure.equations import UNCUT
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.month import Month
from insertion_pipeline.publication.releasing import Release
from insertion_pipeline.registry import Partner, Registry, Source

MONTHS_SHOWN = 6


@dataclass(frozen=True)
class OwnMonth:
    """What a partner sent of one source for one month. `release_id`: the newest public release that used it."""

    source: Source
    month: Month
    accepted: int
    rejected: int
    is_nothing: bool
    release_id: str | None


@dataclass(frozen=True)
class Series:
    """A published indicator of the territory, month by month; null where the status says why."""

    code: str
    label: str
    unit: str
    values: tuple[tuple[Month, float | None, str], ...]


def own_months(
    partner: Partner, registry: Registry, flow: Sequence[Receipt], releases: Sequence[Release], last: Month
) -> list[OwnMonth]:
    """One row per source and month of the last six, newest first, where something was sent."""
    found = []
    for back in range(MONTHS_SHOWN):
        month = last.plus(-back)
        for name in partner.sources:
            counting = deliveries.effective(flow, registry.sources[name], month)
            own = [receipt for receipt in counting if receipt.month == month]
            if own:
                found.append(
                    OwnMonth(
                        registry.sources[name],
                        month,
                        sum(receipt.account.accepted for receipt in own),
                        sum(receipt.account.rejected for receipt in own),
                        all(receipt.status == "nothing" for receipt in own),
                        _used_by(own[-1], releases),
                    )
                )
    return found


def _used_by(receipt: Receipt, releases: Sequence[Release]) -> str | None:
    told = f"{receipt.source} {receipt.partner} {receipt.month} {receipt.sha256}"
    for release in reversed(releases):
        if told in release.manifest["inputs"]["deliveries"].get(str(receipt.month), ()):
            return release.release_id
    return None


def territory_series(partner: Partner, registry: Registry, release: Release) -> list[Series]:
    """The uncut indicators that the partner's files feed, for its territory, over the release's last months."""
    months = [Month.parse(month) for month in release.months[-MONTHS_SHOWN:]]
    fed = {one.code for one in registry.indicators.values() if set(one.sources) & set(partner.sources)}
    found: dict[str, dict[str, tuple[float | None, str]]] = {}
    units: dict[str, str] = {}
    for row in _rows_of(release.folder, release.release_id, partner.territory_code):
        if row["indicator_code"] in fed:
            value = row["value"] if row["status"] == "published" else None
            found.setdefault(row["indicator_code"], {})[row["month"]] = (value, row["status"])
            units[row["indicator_code"]] = row["unit"]
    return [
        Series(
            code,
            registry.indicators[code].label,
            units[code],
            tuple((month, *by_month.get(str(month), (None, "ND"))) for month in months),
        )
        for code, by_month in sorted(found.items())
    ]


@functools.lru_cache(maxsize=32)
def _rows_of(folder: Path, release_id: str, territory: str) -> list[dict[str, Any]]:
    """The uncut values of one territory; a release never changes."""
    import pyarrow.parquet as pq

    table = pq.read_table(folder / "parquet" / "indicator_values.parquet", filters=[("territory_code", "=", territory)])
    rows: list[dict[str, Any]] = table.filter(pc.equal(table["breakdown"], UNCUT)).to_pylist()
    return rows
