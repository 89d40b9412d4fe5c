"""What part of the network a value covers: who should have delivered, who did, for how many inhabitants.

Belongs here: the grid reporting unit × source × month, and what it makes of every territory and indicator. Does not
belong here: deadlines and reminders (`ingestion`), the status of a value (`computing`).

A reporting unit (a structure, a department, an agency) is distinct from the partner that delivers for it; units are
counted, and weighed by the inhabitants of the territory that they answer for. Where several payers tell of a unit's
population in one kind of file (CAF, MSA), each is expected, and weighed by its share of that population: the shares are
parameters (`payers.csv`), so that no coverage tells how many persons a payer has in a small territory.
"""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from insertion_pipeline.indicators.territories import OUTSIDE, UNKNOWN
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Indicator, Partner, Registry

#: A family is in when its units received answer for this share of the inhabitants (domain rules 12 and 21).
FAMILY_IN = 0.8

#: One row per (reporting unit, source, payer) expected for the month; `payer` is empty where nobody tells payers apart.
GRID_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("country", pa.string()),
        ("unit", pa.string()),
        ("family", pa.string()),
        ("source", pa.string()),
        ("partner", pa.string()),
        ("territory_code", pa.string()),
        ("is_received", pa.bool_()),
        ("payer", pa.string()),
        ("population_share", pa.float64()),
    ]
)

#: A payer whose persons came in one of so many months before is expected.
_PAYER_MONTHS = 12

#: The fact that tells who pays whom, by paying council.
_PAYMENTS = "rsa_person_months"


@dataclass(frozen=True)
class Need:
    """What one or more indicators require of a territory: one source of each group, for so many months.

    `known`: the column of `leaves` that says where all of it is known; null when whatever came is counted.
    """

    rank: int
    groups: tuple[tuple[str, ...], ...]
    is_partial: bool
    complete_months: int
    known: str | None


def known_column(indicator: Indicator) -> str | None:
    """The column of `leaves` that says where both terms of an indicator are known.

    Whoever needs two sources counts only where both came, or the one that did not would look like a zero; whoever
    needs several complete months, only where every expected file of each came. Null for anybody else.
    """
    if len(indicator.required_groups) < 2 and indicator.complete_months == 1:
        return None
    text = f"{_groups_of(indicator)} {indicator.complete_months}"
    return f"known_{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def _groups_of(indicator: Indicator) -> tuple[tuple[str, ...], ...]:
    return tuple(sorted(tuple(sorted(group)) for group in indicator.required_groups))


def coverage_grid(lake: Lake, registry: Registry, month: Month) -> pa.Table:
    """Who was expected for `month` and who came: `GRID_SCHEMA`, sorted. The facts of the month must be written.

    A unit that a national depositor delivers for has come when the deposit holds its monthly statement.
    """
    delivered = _delivered(lake, registry, month)
    stated = _structures_stated(lake, month)
    payers = list(registry.nomenclature("payers").records(month))
    known = payers_known(lake, month)
    rows: list[dict[str, object]] = []
    for partner, source, unit in expected_units(registry, month):
        has_come = (partner.code, source) in delivered
        if has_come and unit.code != partner.code and unit.siret is not None:
            has_come = unit.siret in stated
        row = expected_row(registry, month, partner, source, unit)
        told = [
            {
                "is_received": has_come and known[unit.territory_code, payer["code"]],
                "payer": payer["code"],
                "population_share": float(payer["population_share"]),
            }
            for payer in payers
            if payer["source"] == source and (unit.territory_code, payer["code"]) in known
        ]
        rows += [row | one for one in told or [{"is_received": has_come, "payer": "", "population_share": 1.0}]]
    rows.sort(key=lambda row: tuple(str(row[name]) for name in ("unit", "source", "partner", "payer")))
    return pa.Table.from_pylist(rows, schema=GRID_SCHEMA)


def expected_row(registry: Registry, month: Month, partner: Partner, source: str, unit: Partner) -> dict[str, object]:
    """What the grid of a month says of one whom `expected_units` names, but for what came."""
    return {
        "month": str(month),
        "country": unit.territory_code[:2],
        "unit": unit.code,
        "family": registry.source(source).family,
        "source": source,
        "partner": partner.code,
        "territory_code": unit.territory_code,
    }


def payers_known(lake: Lake, month: Month) -> Mapping[tuple[str, str], bool]:
    """The (paying council, payer) whose persons came in `month` or in a year before it: whether in the month itself."""
    now = _payers_of(lake, month)
    before = {one for back in range(1, _PAYER_MONTHS + 1) for one in _payers_of(lake, month.plus(-back))}
    return {one: one in now for one in sorted(before | now)}


def _payers_of(lake: Lake, month: Month) -> frozenset[tuple[str, str]]:
    path = lake.open_area / "facts" / _PAYMENTS / f"{month}.parquet"
    try:
        written = path.stat()
    except FileNotFoundError:
        return frozenset()
    return _payers_in(path, written.st_mtime_ns, written.st_size)


@functools.lru_cache(maxsize=64)
def _payers_in(path: Path, written_ns: int, size: int) -> frozenset[tuple[str, str]]:
    """The pairs of a file that stands as it was written: months that look back at it read it once."""
    names = ["paying_council", "payer"]
    rows = pq.read_table(path, columns=names, read_dictionary=names).unify_dictionaries()
    pairs = rows.group_by(names).aggregate([]).to_pydict()
    both = zip(pairs["paying_council"], pairs["payer"], strict=True)
    return frozenset((council, payer) for council, payer in both if council is not None and payer is not None)


def expected_units(registry: Registry, month: Month) -> Iterator[tuple[Partner, str, Partner]]:
    """(partner that delivers, source, unit reported on) expected for `month`."""
    for partner in registry.partners.values():
        for source in partner.sources:
            if not partner.expects(source, month):
                continue
            for code in partner.delivers_for or (partner.code,):
                unit = registry.partner(code)
                if unit.since <= month and (unit.until is None or month <= unit.until):
                    yield partner, source, unit


def _delivered(lake: Lake, registry: Registry, month: Month) -> set[tuple[str, str]]:
    """The (partner, source) whose delivery counts for `month`, a « néant » included."""
    everything = deliveries.received(lake)
    return {
        (receipt.partner, source.name)
        for source in registry.sources.values()
        for receipt in deliveries.effective(everything.of_source(source.name), source, month)
    }


def _structures_stated(lake: Lake, month: Month) -> set[str]:
    """The structures of which the ASP's flow holds a statement for the month."""
    path = lake.open_area / "facts" / "siae_work_months" / f"{month}.parquet"
    if not path.exists():
        return set()
    rows = pq.read_table(path, columns=["structure", "source"])
    return set(pc.unique(rows.filter(pc.equal(rows["source"], "fluxiae"))["structure"]).to_pylist())


def register_grids(connection: duckdb.DuckDBPyConnection, grids: Sequence[pa.Table]) -> None:
    """Register `coverage_grids`: the grids of this month and of months before it, `lag` 0, 1, 2…"""
    lagged = [
        grid.select(GRID_SCHEMA.names).append_column("lag", pa.array([lag] * len(grid), pa.int64()))
        for lag, grid in enumerate(grids)
    ]
    connection.register("coverage_grids", pa.concat_tables(lagged))


def create_territory_coverage(
    connection: duckdb.DuckDBPyConnection, registry: Registry, indicators: Sequence[Indicator], rollup: pa.Table
) -> Mapping[str, Need]:
    """Create the tables `territory_coverage`, `answered_alike` and `known_leaves`, and say what each indicator needs.

    `territory_coverage` has one row per (need, territory where a unit is expected), of those that differ: the communes
    of a department that the same units answer for are covered alike, and `answered_alike` gives each `territory` the
    one that `stands_for` it. A need is what one or more indicators require. Columns: `need_rank, level, territory,
    coverage, n_units_expected, n_units_received, n_partners_expected, n_partners_received, n_families_received,
    is_not_received, is_unavailable`. An indicator that requires several groups of sources is covered as its least
    covered group. `known_leaves` has one row per (need, leaf) where everything needed is in. Needs the relations
    `rollup` (the table given) and `coverage_grids`.
    """
    group_ranks: dict[tuple[str, ...], int] = {}
    needs: dict[tuple[object, ...], Need] = {}
    need_of: dict[str, Need] = {}
    for indicator in indicators:
        exhaustive = {registry.source(name).insertion.population for name in indicator.exhaustive_sources}
        groups, months = _groups_of(indicator), indicator.complete_months
        key = (groups, "partial" in exhaustive, months)
        need_of[indicator.code] = needs.setdefault(
            key, Need(len(needs), groups, "partial" in exhaustive, months, known_column(indicator))
        )
        for group in groups:
            group_ranks.setdefault(group, len(group_ranks))
    needed = [
        {
            "need_rank": need.rank,
            "country": country,
            "group_rank": group_ranks[group],
            "is_partial": need.is_partial,
            "n_months": need.complete_months,
        }
        for need in needs.values()
        for group in need.groups
        for country in sorted({space.upper() for name in group for space in registry.source(name).insertion.spaces})
    ]
    group_sources = [{"group_rank": rank, "source": source} for group, rank in group_ranks.items() for source in group]
    connection.register("needs", pa.Table.from_pylist(needed, schema=_NEEDS_SCHEMA))
    connection.register("group_sources", pa.Table.from_pylist(group_sources, schema=_GROUP_SOURCES_SCHEMA))
    connection.execute(_CREATE_UNITS_NEEDED)
    for name, table in _answered_for(connection, registry, rollup).items():
        connection.register(name, table)
    connection.execute(_CREATE_KNOWN_LEAVES)
    connection.execute(_CREATE_TERRITORY_COVERAGE)
    return need_of


#: Inhabitants shared by places and territories, already counted in this process: roll-up, places, tables.
_ANSWERED: list[tuple[pa.Table, frozenset[str], Mapping[str, pa.Table]]] = []
_ANSWERS_KEPT = 8
#: Months computed side by side ask the same at the same moment.
_ANSWERING = threading.Lock()


def _answered_for(
    connection: duckdb.DuckDBPyConnection, registry: Registry, rollup: pa.Table
) -> Mapping[str, pa.Table]:
    """`answered_for`: inhabitants that each place of a unit shares with each territory; and `answered_alike`.

    Months with the same units share the count.
    """
    places = frozenset(place for (place,) in connection.execute("SELECT DISTINCT place FROM units_needed").fetchall())
    with _ANSWERING:
        for known, known_places, answer in _ANSWERED:
            if known is rollup and known_places == places:
                return answer
        connection.register("communes", registry.nomenclature("communes").table)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE answered AS {_ANSWERED_FOR}")
        connection.execute(f"CREATE OR REPLACE TEMP TABLE alike AS {_ANSWERED_ALIKE}")
        answer = {
            "answered_for": connection.sql(
                "SELECT answered.* FROM answered SEMI JOIN alike ON alike.stands_for = answered.territory"
            ).to_arrow_table(),
            "answered_alike": connection.table("alike").to_arrow_table(),
        }
        connection.execute("DROP TABLE answered")
        connection.execute("DROP TABLE alike")
        connection.unregister("communes")
        _ANSWERED.append((rollup, places, answer))
        del _ANSWERED[:-_ANSWERS_KEPT]
        return answer


def create_leaves(connection: duckdb.DuckDBPyConnection, needs: Mapping[str, Need]) -> None:
    """Create the temporary table `leaves`: every place that a row may carry, and where each need is known.

    Nobody delivers for « sans commune connue » and « hors territoire »: rows there count, except where months must be
    complete, which nobody can say of them.
    """
    restricted = {need.known: need for need in needs.values() if need.known is not None}
    known = "".join(
        f", coalesce(bool_or(known_leaves.need_rank = {need.rank}), false)"
        f" OR ({str(need.complete_months == 1).lower()}"
        f" AND (rollup.leaf LIKE '%-{UNKNOWN}' OR rollup.leaf LIKE '%-{OUTSIDE}')) AS {name}"
        for name, need in sorted(restricted.items())
    )
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE leaves AS SELECT rollup.leaf{known} "
        "FROM (SELECT DISTINCT leaf FROM rollup) AS rollup LEFT JOIN known_leaves USING (leaf) GROUP BY rollup.leaf"
    )


_NEEDS_SCHEMA = pa.schema(
    [
        ("need_rank", pa.int64()),
        ("country", pa.string()),
        ("group_rank", pa.int64()),
        ("is_partial", pa.bool_()),
        ("n_months", pa.int64()),
    ]
)
_GROUP_SOURCES_SCHEMA = pa.schema([("group_rank", pa.int64()), ("source", pa.string())])

_CREATE_UNITS_NEEDED = """
CREATE OR REPLACE TEMP TABLE units_needed AS
-- a unit has come with one of the sources of the group that it owes; for complete months, with all of them
SELECT monthly.group_rank, monthly.n_months, monthly.unit, min(monthly.family) AS family,
    min(monthly.place) AS place, bool_and(monthly.is_received) AS is_received,
    min(monthly.population_share) AS population_share
FROM (
    SELECT wanted.group_rank, wanted.n_months, grid.lag, grid.unit, min(grid.family) AS family,
        min(grid.territory_code) AS place,
        CASE WHEN wanted.n_months > 1 THEN bool_and(grid.is_received) ELSE bool_or(grid.is_received) END AS is_received,
        max(grid.received_share) AS population_share
    FROM (  -- of the payers of a file, those that came, by their share of the population
        SELECT lag, unit, source, min(family) AS family, min(territory_code) AS territory_code,
            bool_or(is_received) AS is_received,
            CAST(
                coalesce(sum(coalesce(population_share, 1)) FILTER (WHERE is_received), 0)
                    / sum(coalesce(population_share, 1)) AS DECIMAL(9, 6)
            ) AS received_share
        FROM coverage_grids
        GROUP BY lag, unit, source
    ) AS grid
    JOIN group_sources ON group_sources.source = grid.source
    JOIN (SELECT DISTINCT group_rank, n_months FROM needs) AS wanted ON wanted.group_rank = group_sources.group_rank
    WHERE grid.lag < wanted.n_months
    GROUP BY wanted.group_rank, wanted.n_months, grid.lag, grid.unit
) AS monthly
GROUP BY monthly.group_rank, monthly.n_months, monthly.unit
"""

_CREATE_KNOWN_LEAVES = """
CREATE OR REPLACE TEMP TABLE known_leaves AS
WITH at_places AS (
    SELECT group_rank, n_months, place,
        CASE WHEN n_months > 1 THEN bool_and(is_received) ELSE bool_or(is_received) END AS is_known
    FROM units_needed
    GROUP BY group_rank, n_months, place
),
at_leaves AS (  -- of several places that answer for a leaf, one is enough for a month, all for complete months
    SELECT group_rank, n_months, here.leaf,
        CASE WHEN n_months > 1 THEN bool_and(at_places.is_known) ELSE bool_or(at_places.is_known) END AS is_known
    FROM at_places JOIN rollup AS here ON here.territory = at_places.place
    GROUP BY group_rank, n_months, here.leaf
),
needed AS (
    SELECT need_rank, country, n_months, count(*) AS n_groups
    FROM needs
    GROUP BY need_rank, country, n_months
    HAVING count(*) > 1 OR n_months > 1
)
SELECT needed.need_rank, at_leaves.leaf
FROM needed
JOIN needs USING (need_rank, country, n_months)
JOIN at_leaves USING (group_rank, n_months)
WHERE substr(at_leaves.leaf, 1, 2) = needed.country
GROUP BY needed.need_rank, at_leaves.leaf, needed.n_groups
HAVING bool_and(at_leaves.is_known) AND count(*) = needed.n_groups
"""

_ANSWERED_FOR = """
WITH inhabited AS (  -- communes that count, with their inhabitants
    SELECT rollup.leaf, greatest(coalesce(try_cast(nullif(communes.population, '') AS BIGINT), 1), 1) AS inhabitants
    FROM rollup
    JOIN communes ON rollup.leaf = communes.country || '-COM-' || communes.code
    WHERE rollup.level = 'commune' AND rollup.leaf = rollup.territory
),
places AS (SELECT DISTINCT place FROM units_needed),
within AS (  -- the communes of each place: a place that is a commune, a department, a country
    SELECT places.place, here.leaf, inhabited.inhabitants
    FROM places
    JOIN rollup AS here ON here.territory = places.place
    JOIN inhabited ON inhabited.leaf = here.leaf
)
SELECT within.place, above.level, above.territory, sum(within.inhabitants) AS inhabitants
FROM within JOIN rollup AS above ON above.leaf = within.leaf
GROUP BY ALL
"""

_ANSWERED_ALIKE = """
WITH told AS (  -- who answers for a territory, and for how many of its inhabitants where that is not for all of them
    SELECT level, territory,
        list_sort(list(place)) AS places,
        CASE WHEN min(inhabitants) <> max(inhabitants) THEN list_sort(list(place || ' ' || inhabitants)) END AS shares
    FROM answered
    GROUP BY level, territory
)
SELECT level, territory,
    min(territory) OVER (PARTITION BY level, substr(territory, 1, 2), places, shares) AS stands_for
FROM told
"""

_CREATE_TERRITORY_COVERAGE = f"""
CREATE OR REPLACE TEMP TABLE territory_coverage AS
WITH partners AS (
    SELECT group_sources.group_rank, grid.partner, grid.territory_code AS place,
        bool_or(grid.is_received) AS is_received
    FROM coverage_grids AS grid JOIN group_sources USING (source)
    WHERE grid.lag = 0
    GROUP BY ALL
),
units_by_territory AS (
    SELECT group_rank, n_months, level, territory,
        count(*) AS n_units_expected,
        count(*) FILTER (WHERE is_received) AS n_units_received,
        round(CAST(sum(CAST(inhabitants AS DECIMAL(18, 0)) * population_share) AS DOUBLE) / sum(inhabitants), 9)
            AS coverage
    FROM units_needed JOIN answered_for USING (place)
    GROUP BY ALL
),
families_by_territory AS (
    SELECT group_rank, n_months, territory, count(*) AS n_families_received
    FROM (
        SELECT group_rank, n_months, territory, family
        FROM units_needed JOIN answered_for USING (place)
        GROUP BY ALL
        HAVING coalesce(sum(inhabitants) FILTER (WHERE is_received), 0) >= {FAMILY_IN} * sum(inhabitants)
    )
    GROUP BY ALL
),
partners_by_territory AS (
    SELECT group_rank, territory,
        count(DISTINCT partner) AS n_partners_expected,
        count(DISTINCT partner) FILTER (WHERE is_received) AS n_partners_received
    FROM partners JOIN answered_for USING (place)
    GROUP BY ALL
),
groups_by_territory AS (
    SELECT units_by_territory.*,
        coalesce(partners_by_territory.n_partners_expected, 0) AS n_partners_expected,
        coalesce(partners_by_territory.n_partners_received, 0) AS n_partners_received,
        coalesce(families_by_territory.n_families_received, 0) AS n_families_received
    FROM units_by_territory
    LEFT JOIN partners_by_territory USING (group_rank, territory)
    LEFT JOIN families_by_territory USING (group_rank, n_months, territory)
),
needed AS (
    SELECT need_rank, country, count(*) AS n_groups, bool_or(is_partial) AS is_partial,
        count(*) > 1 OR max(n_months) > 1 AS is_counted_where_known
    FROM needs
    GROUP BY ALL
),
known_territories AS (  -- where not one place is known, nothing was counted: that is no zero
    SELECT DISTINCT known_leaves.need_rank, here.territory
    FROM known_leaves
    JOIN rollup AS here USING (leaf)
    SEMI JOIN groups_by_territory ON groups_by_territory.territory = here.territory
)
SELECT
    needs.need_rank, here.level, here.territory,
    CASE WHEN count(*) = any_value(needed.n_groups) THEN min(coalesce(here.coverage, 0)) ELSE 0 END AS coverage,
    CAST(sum(here.n_units_expected) AS BIGINT) AS n_units_expected,
    CAST(sum(here.n_units_received) AS BIGINT) AS n_units_received,
    CAST(sum(here.n_partners_expected) AS BIGINT) AS n_partners_expected,
    CAST(sum(here.n_partners_received) AS BIGINT) AS n_partners_received,
    CAST(max(here.n_families_received) AS BIGINT) AS n_families_received,
    bool_or(here.n_units_received = 0
        OR (needed.is_counted_where_known AND known_territories.territory IS NULL)) AS is_not_received,
    count(*) < any_value(needed.n_groups) OR any_value(needed.is_partial) AS is_unavailable
FROM needs
JOIN needed USING (need_rank, country)
JOIN groups_by_territory AS here
    ON here.group_rank = needs.group_rank AND here.n_months = needs.n_months
    AND substr(here.territory, 1, 2) = needs.country
LEFT JOIN known_territories
    ON known_territories.need_rank = needs.need_rank AND known_territories.territory = here.territory
GROUP BY ALL
"""
