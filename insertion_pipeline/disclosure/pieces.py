"""Pieces of territories: what territories that cross each other have in common, and no table shows.

Belongs here: the pieces that the territories of a table are made of, the quantities that fall into them, numbers for
them that fit. Does not belong here: levels that nest (`hierarchies`), hiding (`suppression`); the attacker finds by
itself which quantities fall into which pieces (`attacker`).

Groupings of communes, employment zones, local committees and departments cross each other: none is a part of another,
but each is the sum of what it has in common with the others. Where communes are not shown, the reader knows that all
the same. A piece is the places that lie alike at every level that a quantity is shown at; what is known of a department
only, without its commune, is a piece too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
import pyarrow as pa

from insertion_pipeline.disclosure.hierarchies import nesting, rollups
from insertion_pipeline.disclosure.solving import Entries, Integers, LinearProgram, Numbers
from insertion_pipeline.disclosure.system import connected
from insertion_pipeline.lake import in_memory
from insertion_pipeline.registry import Registry

#: One row per (month, levels shown, piece, territory that it is a part of). `levels`: those below the country, in
#: order, joined by `+`. A piece that is the whole of some territory has its code.
PIECES_SCHEMA = pa.schema([(name, pa.string()) for name in ("month", "levels", "piece", "whole", "whole_level")])
#: One row per (cell of a piece, cell that it is a part of).
FALLEN_SCHEMA = pa.schema(
    [
        *((name, pa.string()) for name in ("quantity", "month", "breakdown", "modality", "piece", "whole", "along")),
        ("is_shown", pa.bool_()),
    ]
)
_SLIGHTLY: Final = 1e-9
#: Parts that no piece links are given numbers in programs of so many pieces.
_BATCH: Final = 2_000

#: Which levels each quantity is shown at, where they cross or leave something over.
_MENUS = """
CREATE TEMP TABLE menu AS
WITH shown AS (
    SELECT quantity, month, breakdown, country, string_agg(DISTINCT level, '+' ORDER BY level) AS levels
    FROM cell JOIN place USING (month, territory)
    WHERE level <> 'country'
    GROUP BY quantity, month, breakdown, country
),
left_over AS (
    SELECT month, country, list(DISTINCT level) AS levels FROM place
    WHERE ends_with(territory, '-INCONNU') OR ends_with(territory, '-HORS') GROUP BY month, country
),
chains AS (SELECT country, list(level) AS levels FROM nesting GROUP BY country)
SELECT shown.*
FROM shown
LEFT JOIN left_over USING (month, country)
LEFT JOIN chains USING (country)
WHERE contains(shown.levels, '+') AND (
    coalesce(list_has_any(string_split(shown.levels, '+'), left_over.levels), false)
    OR (NOT contains(shown.levels, 'commune') AND NOT list_has_all(chains.levels, string_split(shown.levels, '+')))
)
"""
_PIECES = """
WITH asked AS (
    SELECT DISTINCT month, country, levels, string_split(levels, '+') AS each
    FROM menu WHERE list_contains($months, month)
),
lying AS (  -- the territories of the table that each place lies in
    SELECT place.month, place.country, list_sort(list({'level': place.level, 'code': place.territory})) AS around
    FROM rollup JOIN place ON place.territory = rollup.territory
    WHERE place.level <> 'country' AND list_contains($months, place.month)
    GROUP BY place.month, place.country, leaf
),
around AS (
    SELECT asked.month, levels, [one.code FOR one IN around IF list_contains(each, one.level)] AS wholes, each
    FROM asked JOIN (SELECT DISTINCT * FROM lying) USING (month, country)
),
membership AS (  -- places of which a territory is in no row of the table are left out: nobody is counted there
    SELECT month, levels, wholes, unnest(wholes) AS whole
    FROM (SELECT DISTINCT month, levels, wholes FROM around WHERE len(wholes) = len(each))
),
counted AS (SELECT *, count(*) OVER (PARTITION BY month, levels, whole) AS pieces FROM membership),
named AS (
    SELECT month, levels, whole, coalesce(
        min(whole) FILTER (pieces = 1) OVER (PARTITION BY month, levels, wholes), array_to_string(wholes, '+')
    ) AS piece
    FROM counted
)
SELECT named.month, levels, piece, named.whole, place.level AS whole_level
FROM named
JOIN place ON place.month = named.month AND place.territory = named.whole
LEFT JOIN links ON links.month = named.month AND links.part = piece AND links.whole = named.whole
WHERE piece <> named.whole
QUALIFY NOT bool_and(links.part IS NOT NULL) OVER (PARTITION BY named.month, levels, named.whole)
ORDER BY ALL
"""
_FALLEN = """
WITH crossing AS MATERIALIZED (
    SELECT cell.*, levels
    FROM cell JOIN place USING (month, territory) JOIN menu USING (quantity, month, breakdown, country)
),
met AS MATERIALIZED (
    SELECT quantity, month, breakdown, modality, levels, piece, whole, whole_level
    FROM crossing JOIN pieces USING (month, levels) WHERE whole = territory
),
sizes AS (SELECT month, levels, piece, count(*) AS wholes FROM pieces GROUP BY ALL)
SELECT quantity, month, breakdown, modality, piece, whole, levels || '<' || whole_level AS along,
    own.territory IS NOT NULL AS is_shown
FROM met
JOIN sizes USING (month, levels, piece)
LEFT JOIN (SELECT *, territory AS piece FROM cell) AS own USING (quantity, month, breakdown, modality, piece)
LEFT JOIN (SELECT month, territory AS piece, true AS is_place FROM place) AS itself USING (month, piece)
QUALIFY is_shown OR (is_place IS NULL AND wholes = count(*) OVER (
    PARTITION BY quantity, month, breakdown, modality, levels, piece
))
ORDER BY ALL
"""


@dataclass(frozen=True)
class Pieces:
    """The pieces of the territories of a table (`PIECES_SCHEMA`), and what falls into them (`FALLEN_SCHEMA`)."""

    geography: pa.Table
    fallen: pa.Table


def territory_pieces(registry: Registry, cells: pa.Table, places: pa.Table, links: pa.Table) -> Pieces:
    """The pieces that the cells of a table fall into; wholes all of whose parts are `links` already have none.

    `cells`: quantity, month, territory, breakdown, modality of what adds up over territories. `places`: month,
    territory, country, level of every row.
    """
    geography = [PIECES_SCHEMA.empty_table()]
    with in_memory() as connection:
        for name, table in (("cell", cells), ("place", places), ("links", links), ("nesting", nesting())):
            connection.register(name, table)
        connection.execute(_MENUS)
        asked = [month for (month,) in connection.execute("SELECT DISTINCT month FROM menu ORDER BY month").fetchall()]
        for months, rollup in rollups(connection, registry, asked):
            connection.register("rollup", rollup)
            found = connection.sql(_PIECES, params={"months": months}).to_arrow_table()
            geography.append(found.cast(PIECES_SCHEMA))
            connection.unregister("rollup")
        together = pa.concat_tables(geography)
        connection.register("pieces", together)
        fallen = connection.sql(_FALLEN).to_arrow_table().cast(FALLEN_SCHEMA)
    return Pieces(together, fallen)


def fitting(values: Numbers, line: Integers, cell: Integers, right: Numbers) -> Numbers:
    """`values` with numbers in the place of NaN, none negative, so that the `cell`s of each `line` sum to its `right`.

    First what follows (nothing is left for the parts of a whole; only one of them is open), then any solution; where
    there is none, one that misses as little as can be.
    """
    values = values.copy()
    count = len(right)
    while True:
        open_ = np.isnan(values[cell])
        left = right - np.bincount(line, weights=np.where(open_, 0.0, values[cell]), minlength=count)
        unknowns = np.bincount(line[open_], minlength=count)
        told = open_ & ((unknowns == 1) | (left <= _SLIGHTLY))[line]
        if not told.any():
            return _completed(values, line, cell, left)
        given = np.where(unknowns[line[told]] == 1, np.maximum(left[line[told]], 0.0), 0.0)
        values[cell[told]] = np.inf
        np.minimum.at(values, cell[told], given)


def _completed(values: Numbers, line: Integers, cell: Integers, left: Numbers) -> Numbers:
    open_ = np.isnan(values[cell])
    line, cell = line[open_], cell[open_]
    size = len(values)
    labels, label, sizes = np.unique(
        connected(size + len(left), cell, line + size)[cell], return_inverse=True, return_counts=True
    )
    batch = (np.cumsum(sizes) // _BATCH)[label] if len(labels) else label
    for one in np.unique(batch):
        at = batch == one
        columns, column = np.unique(cell[at], return_inverse=True)
        rows, row = np.unique(line[at], return_inverse=True)
        values[columns] = _solution(row.astype(np.int64), column.astype(np.int64), left[rows], len(columns))
    return values


def _solution(row: Integers, column: Integers, right: Numbers, count: int) -> Numbers:
    """Numbers for `count` columns that make the sums `right`, or miss them by as little as can be."""
    lines = np.arange(len(right))
    matrix = Entries(
        np.concatenate([row, lines, lines]),
        np.concatenate([column, count + lines, count + len(right) + lines]),
        np.concatenate([np.ones(len(row) + len(right)), -np.ones(len(right))]),
        len(right),
        count + 2 * len(right),
    )
    cost = np.concatenate([np.zeros(count), np.ones(2 * len(right))])
    least, most = np.zeros(matrix.columns), np.full(matrix.columns, np.inf)
    point = LinearProgram(matrix, right, right, least, most, at_a_vertex=True).maximise(-cost).point
    return np.maximum(point[:count], 0.0)
