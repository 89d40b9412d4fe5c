"""Territories: from the place a row carries to every territory that counts it.

Belongs here: keys, levels, hierarchies and their changes over time. Does not belong here: the lists themselves
(`data_sources/nomenclatures/communes.csv`, `territories.csv`), who lives where (`identity`).

A key carries its country (`FR-COM-08362`, `BE-COM-92094`): 208 Walloon codes are French commune codes too. Levels that
do not nest are hierarchies of their own. Every level has two more members, « sans commune connue » and « hors
territoire », so that each level adds up to its country.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa

from insertion_pipeline.month import Month
from insertion_pipeline.registry import Level, Nomenclature, Registry

#: Levels of each country. Those of `NESTED` form a chain; the others stand by themselves under the country.
LEVELS: Mapping[str, tuple[Level, ...]] = {
    "FR": ("commune", "epci", "clpe", "employment_zone", "department", "council", "region", "country"),
    "BE": ("commune", "arrondissement", "province", "region", "country"),
}
NESTED: Mapping[str, tuple[Level, ...]] = {
    "FR": ("commune", "department", "region", "country"),
    "BE": ("commune", "arrondissement", "province", "region", "country"),
}
UNKNOWN, OUTSIDE = "INCONNU", "HORS"

#: One row per (place that a row may carry, level, territory that counts it).
ROLLUP_SCHEMA = pa.schema([("leaf", pa.string()), ("level", pa.string()), ("territory", pa.string())])

# A Walloon commune that merged is itself until the day before: its row says until when. A French former code has no
# dates: it always counts for the commune that it became.
_ROLLUP = """
WITH codes AS (
    SELECT
        country,
        code,
        CASE WHEN valid_until >= $last_day THEN code ELSE current_code END AS commune
    FROM communes
),
placed AS (
    SELECT
        codes.country || '-COM-' || codes.code AS leaf,
        codes.country AS country,
        codes.country || '-COM-' || codes.commune AS commune,
        'FR-EPCI-' || nullif(home.epci, '') AS epci,
        'FR-CLPE-' || nullif(replace(home.clpe, 'CLPE', ''), '') AS clpe,
        'FR-ZE-' || nullif(home.employment_zone, '') AS employment_zone,
        'FR-DEP-' || nullif(home.department, '') AS department,
        'FR-CON-' || nullif(home.council, '') AS council,
        'BE-ARR-' || nullif(home.arrondissement, '') AS arrondissement,
        'BE-PRV-' || nullif(home.province, '') AS province
    FROM codes
    JOIN communes AS home ON home.country = codes.country AND home.code = codes.commune
),
communes_placed AS (
    SELECT placed.*, coalesce(above_department.parent, above_province.parent) AS region
    FROM placed
    LEFT JOIN territories AS above_department ON above_department.code = placed.department
    LEFT JOIN territories AS above_province ON above_province.code = placed.province
),
chains AS (  -- a row may carry a larger place: a department, a council, a region
    SELECT
        here.code AS leaf,
        here.country,
        here.level,
        here.code AS itself,
        above.level AS parent_level,
        above.code AS parent,
        above_that.level AS grandparent_level,
        above_that.code AS grandparent
    FROM territories AS here
    LEFT JOIN territories AS above ON above.code = here.parent
    LEFT JOIN territories AS above_that ON above_that.code = above.parent
),
councils AS (  -- a department of one council, a council of one department, stand for each other
    SELECT department, council,
        count(*) OVER (PARTITION BY department) AS councils_of_department,
        count(*) OVER (PARTITION BY council) AS departments_of_council
    FROM (SELECT DISTINCT department, council FROM communes_placed WHERE department IS NOT NULL)
),
larger_placed AS (
    SELECT chains.leaf, chains.country, levels.level,
        CASE levels.level
            WHEN chains.level THEN chains.itself
            WHEN chains.parent_level THEN chains.parent
            WHEN chains.grandparent_level THEN chains.grandparent
        END AS territory
    FROM chains
    JOIN levels ON levels.country = chains.country
),
bridged AS (
    SELECT larger_placed.leaf, larger_placed.country, larger_placed.level,
        CASE
            WHEN larger_placed.territory IS NOT NULL THEN larger_placed.territory
            WHEN larger_placed.level = 'council' THEN of_department.council
            WHEN larger_placed.level = 'department' THEN of_council.department
            WHEN larger_placed.level = 'region' THEN region_of_council.parent
        END AS territory
    FROM larger_placed
    LEFT JOIN councils AS of_department
        ON of_department.department = larger_placed.leaf AND of_department.councils_of_department = 1
    LEFT JOIN councils AS of_council
        ON of_council.council = larger_placed.leaf AND of_council.departments_of_council = 1
    LEFT JOIN (
        SELECT councils.council, min(above.parent) AS parent
        FROM councils JOIN territories AS above ON above.code = councils.department
        GROUP BY councils.council
    ) AS region_of_council ON region_of_council.council = larger_placed.leaf
),
long_communes AS (
    SELECT leaf, levels.country, levels.level,
        CASE levels.level
            WHEN 'commune' THEN commune WHEN 'epci' THEN epci WHEN 'clpe' THEN clpe
            WHEN 'employment_zone' THEN employment_zone WHEN 'department' THEN department
            WHEN 'council' THEN council WHEN 'arrondissement' THEN arrondissement
            WHEN 'province' THEN province WHEN 'region' THEN region
        END AS territory
    FROM communes_placed JOIN levels ON levels.country = communes_placed.country
),
every AS (SELECT * FROM long_communes UNION ALL SELECT * FROM bridged)
SELECT every.leaf, every.level,
    CASE
        WHEN every.level = 'country' THEN every.country
        WHEN every.territory IS NOT NULL THEN every.territory
        WHEN every.leaf LIKE '%-HORS' THEN every.country || '-' || levels.abbreviation || '-HORS'
        ELSE every.country || '-' || levels.abbreviation || '-INCONNU'
    END AS territory
FROM every
JOIN levels ON levels.country = every.country AND levels.level = every.level
ORDER BY every.leaf, every.level
"""

_TERRITORIES = """
SELECT
    communes.country || '-COM-' || communes.code AS territory_code,
    communes.country,
    'commune' AS territory_level,
    communes.name AS label,
    CASE communes.country
        WHEN 'FR' THEN 'FR-DEP-' || communes.department
        ELSE 'BE-ARR-' || communes.arrondissement
    END AS parent_code,
    try_cast(nullif(communes.population, '') AS BIGINT) AS population
FROM communes
WHERE (communes.code = communes.current_code OR communes.valid_until >= $last_day)
    AND communes.valid_from <= $last_day
UNION ALL
SELECT code, country, level, label, nullif(parent, ''), NULL
FROM territories
ORDER BY territory_code
"""

_ABBREVIATIONS: Mapping[Level, str] = {
    "commune": "COM",
    "epci": "EPCI",
    "clpe": "CLPE",
    "employment_zone": "ZE",
    "department": "DEP",
    "council": "CON",
    "region": "REG",
    "arrondissement": "ARR",
    "province": "PRV",
    "country": "",
}


def rollup(connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month) -> pa.Table:
    """Which territories count a place in `month`: one row per (leaf, level, territory) of `ROLLUP_SCHEMA`.

    Leaves are communes (former codes and municipal arrondissements included) and every larger territory. A leaf has
    exactly one territory per level of its country. Months between two changes of communes share one table.
    """
    last_day = month.last_day.isoformat()
    communes, territories = registry.nomenclature("communes"), registry.nomenclature("territories")
    standing = frozenset(until for until in _ends_of_communes(communes) if until >= last_day)
    kept = (communes.sha256, territories.sha256, standing)
    with _ROLLING_UP:
        if kept not in _ROLLUPS:
            with _lists(connection, registry):
                _ROLLUPS[kept] = connection.sql(_ROLLUP, params={"last_day": last_day}).to_arrow_table()
        return _ROLLUPS[kept]


#: The roll-ups already made in this process: the lists, and the communes that have yet to merge.
_ROLLUPS: dict[tuple[str, str, frozenset[str]], pa.Table] = {}
#: Months computed side by side need the same one at the same moment.
_ROLLING_UP = threading.Lock()


@functools.lru_cache(maxsize=8)
def _ends_of_communes(communes: Nomenclature) -> frozenset[str]:
    """The days on which communes ended, or will."""
    ends = communes.columns.index("valid_until")
    return frozenset(row[ends] for row in communes.rows if row[ends])


def territories_table(connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month) -> pa.Table:
    """The territories that count in `month`, for readers: one row per territory.

    Columns: `territory_code, country, territory_level, label, parent_code` (the next one up where levels nest, else
    the country; null for a country), `population` (communes only).
    """
    with _lists(connection, registry):
        return connection.sql(_TERRITORIES, params={"last_day": month.last_day.isoformat()}).to_arrow_table()


@contextlib.contextmanager
def _lists(connection: duckdb.DuckDBPyConnection, registry: Registry) -> Iterator[None]:
    levels = [(country, level, _ABBREVIATIONS[level]) for country, names in LEVELS.items() for level in names]
    names = ("country", "level", "abbreviation")
    tables = {
        "communes": registry.nomenclature("communes").table,
        "territories": registry.nomenclature("territories").table,
        "levels": pa.table({name: [row[rank] for row in levels] for rank, name in enumerate(names)}),
    }
    for name, table in tables.items():
        connection.register(name, table)
    try:
        yield
    finally:
        for name in tables:
            connection.unregister(name)


def leaf_sql(place: str, space: str, known_leaf: str) -> str:
    """SQL giving the leaf that counts a place: the place itself when known, else outside or unknown in its space.

    `known_leaf` is the column of a LEFT JOIN on the roll-up's leaves. Outside: the other country, abroad and the
    collectivities without RSA (codes 98, 99), Brussels and Flanders.
    """
    country, code = f"upper({space})", f"substr({place}, 8)"
    return f"""CASE
        WHEN {place} IS NULL THEN {country} || '-COM-{UNKNOWN}'
        WHEN substr({place}, 1, 2) <> {country} THEN {country} || '-COM-{OUTSIDE}'
        WHEN {known_leaf} IS NOT NULL THEN {place}
        WHEN {country} = 'FR' AND substr({code}, 1, 2) IN ('98', '99') THEN 'FR-COM-{OUTSIDE}'
        WHEN {country} = 'BE' AND substr({code}, 1, 1) IN ('1', '2', '3', '4', '7') THEN 'BE-COM-{OUTSIDE}'
        ELSE {country} || '-COM-{UNKNOWN}'
    END"""
