"""What moved since the release before, and whether somebody has to look before it is shown.

Belongs here: the rows of `revisions`, the limits beyond which a release is held. Does not belong here: why a value
moved (`indicators`), the confirmation (`approving`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from typing import Final

import pyarrow as pa

from insertion_pipeline.disclosure.equations import UNCUT
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.publication import tables

#: An uncut figure of one of these levels that moves further than both limits is looked at by a person first.
WATCHED_LEVELS: Final = ("country", "region", "province", "department", "council")
REVISED_SHARE: Final = 0.10
REVISED_QUANTITY: Final = 10.0
#: A share in percent: the limit is in points.
REVISED_POINTS: Final = 5.0
#: Regular revisions reopen so many months; an older one is a correction, announced and confirmed (domain rule 22).
REOPENED_MONTHS: Final = 6

_MOVED = """
SELECT
    month, territory_code, indicator_code, breakdown, modality,
    previous.release_id AS previous_release_id, previous.status AS previous_status, now.status,
    CASE WHEN now.status = 'published' THEN previous.value END AS previous_value,
    now.value
FROM now JOIN previous USING (month, territory_code, indicator_code, breakdown, modality)
WHERE (previous.status, previous.value) IS DISTINCT FROM (now.status, now.value)
"""
_BEYOND = """
WITH shown_twice AS (
    SELECT revisions.*, abs(revisions.value - previous_value) AS moved, now.unit
    FROM revisions JOIN now USING (month, territory_code, indicator_code, breakdown, modality)
    WHERE revisions.breakdown = $uncut AND now.territory_level IN (SELECT unnest($levels))
        AND revisions.value IS NOT NULL AND previous_value IS NOT NULL
)
SELECT
    month < $reopened AS is_correction,
    indicator_code
FROM shown_twice
WHERE month < $reopened
    OR (unit = '%' AND moved > $points)
    OR (unit <> '%' AND moved > $quantity AND moved > $share * abs(previous_value))
"""


def revisions(
    values: pa.Table, previous: pa.Table | None, why: Callable[[set[tuple[str, str]]], Mapping[tuple[str, str], str]]
) -> pa.Table:
    """What moved since the previous release: published numbers only, on both sides, and why, in words.

    What is hidden now was hidden for a reason: the number that stood there is not said again. `why` gives the cause of
    each (indicator, month) that moved.
    """
    if previous is None:
        return tables.REVISIONS.schema.empty_table()
    with in_memory() as connection:
        connection.register("now", values)
        connection.register("previous", previous)
        moved = connection.sql(_MOVED).to_arrow_table()
    places = list(zip(moved["indicator_code"].to_pylist(), moved["month"].to_pylist(), strict=True))
    causes = why(set(places))
    told = pa.array([causes[place] for place in places], pa.string())
    return tables.REVISIONS.conform(moved.append_column("cause", told))


def reasons_to_hold(values: pa.Table, moved: pa.Table, last: Month) -> tuple[str, ...]:
    """What a person has to confirm before the release is signed, in French; nothing when all is ordinary."""
    if not len(moved):
        return ()
    limits = {
        "uncut": UNCUT, "levels": list(WATCHED_LEVELS), "reopened": str(last.plus(1 - REOPENED_MONTHS)),
        "points": REVISED_POINTS, "quantity": REVISED_QUANTITY, "share": REVISED_SHARE,
    }  # fmt: skip
    with in_memory() as connection:
        connection.register("revisions", moved)
        connection.register("now", values)
        beyond = connection.execute(_BEYOND, limits).fetchall()
    corrections = Counter(code for is_correction, code in beyond if is_correction)
    large = Counter(code for is_correction, code in beyond if not is_correction)
    return (
        *(f"{code} : {_figures(count)} au-delà du seuil de révision" for code, count in sorted(large.items())),
        *(f"{code} : {_figures(count)} d'un mois fermé aux révisions" for code, count in sorted(corrections.items())),
    )


def _figures(count: int) -> str:
    return f"{count} chiffres" if count > 1 else "un chiffre"
