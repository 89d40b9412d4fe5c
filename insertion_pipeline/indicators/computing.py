"""Values from facts: set-based, one pass per fact.

Belongs here: computing every indicator, breakdown and level of a fact together, and giving each value its status. Does
not belong here: what a fact or an indicator is (`facts/*.sql`, the catalogue), making facts (`building`), who should
have delivered (`coverage`), hiding (`disclosure`).

Counts and sums are taken once per place and breakdown, then added up along the hierarchies; distinct counts and
quantiles are recounted at every level. Sums are decimals, so that no value depends on the order of rows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline import making
from insertion_pipeline.indicators import coverage, territories
from insertion_pipeline.indicators.building import fact_path
from insertion_pipeline.indicators.catalogue import (
    AXIS_COLUMNS,
    Aggregate,
    CompiledIndicator,
    Fact,
    compile_catalogue,
    facts,
)
from insertion_pipeline.lake import Lake, ParquetFile, remembered_sha256_of
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Breakdown, Registry

#: Ratios need a denominator of at least `minimum_denominator`, quantiles this many contributors (domain rule 14).
QUANTILE_CONTRIBUTORS = 20

#: One row per (month, territory, indicator, breakdown, modality), before protection. `value` is null unless `status`
#: is `published`; `numerator`, `denominator` and `contributors` are always there: protection needs them, and
#: publication drops them wherever the value is not published. `error` is the estimated number of false counts.
VALUES_SCHEMA = pa.schema(
    [
        ("month", pa.string()),
        ("country", pa.string()),
        ("territory_level", pa.string()),
        ("territory_code", pa.string()),
        ("axis", pa.string()),
        ("indicator_code", pa.string()),
        ("breakdown", pa.string()),
        ("modality", pa.string()),
        ("numerator", pa.float64()),
        ("denominator", pa.float64()),
        ("value", pa.float64()),
        ("unit", pa.string()),
        ("counted_unit", pa.string()),
        ("kind", pa.string()),
        ("status", pa.string()),
        ("coverage", pa.float64()),
        ("n_units_expected", pa.int64()),
        ("n_units_received", pa.int64()),
        ("n_partners_expected", pa.int64()),
        ("n_partners_received", pa.int64()),
        ("as_of", pa.string()),
        ("maturity", pa.string()),
        ("contributors", pa.int64()),
        ("threshold", pa.int64()),
        ("error", pa.float64()),
    ]
)


@dataclass(frozen=True)
class _Pass:
    """What is computed together: the indicators of one fact that share an axis."""

    fact: Fact
    axis: str
    indicators: tuple[CompiledIndicator, ...]

    @property
    def aggregates(self) -> tuple[Aggregate, ...]:
        return tuple(dict.fromkeys(aggregate for one in self.indicators for aggregate in one.aggregates))

    @property
    def breakdown_columns(self) -> Mapping[str, str]:
        """Breakdown to column, of those that give a row one modality."""
        return {name: cut.column for name, cut in self._breakdowns.items() if not cut.multivalued}

    @property
    def list_columns(self) -> Mapping[str, str]:
        """Breakdown to column, of those that give a row any number of modalities."""
        return {name: cut.column for name, cut in self._breakdowns.items() if cut.multivalued}

    @property
    def _breakdowns(self) -> Mapping[str, Breakdown]:
        return {name: cut for one in self.indicators for name, cut in one.breakdowns.items()}

    @property
    def levels(self) -> frozenset[str]:
        return frozenset(level for one in self.indicators for level in one.indicator.levels)


class Passes(Protocol):
    """Whoever groups the rows of facts in DuckDB's place: each pass is one query over a fact and two small tables."""

    def lay_out(self, places: Mapping[str, pa.Table]) -> None:
        """Make the small tables readable by name, beside the facts."""

    def table(self, sql: str) -> pa.Table:
        """What a query written for DuckDB gives, in any order."""


def compute_values(
    lake: Lake, registry: Registry, month: Month, *, as_of: Month | None = None, passes: Passes | None = None
) -> pa.Table:
    """Every indicator of `month` from the facts of the lake, in `lake/values/<month>.parquet` too.

    `as_of` is the last month known when the value is computed (default: `month` itself): it decides its maturity. Where
    the facts are those that the values were made of (`making`), only that is told anew.
    `passes` groups the rows of facts elsewhere than in DuckDB.
    Writes `lake/coverage/<month>.parquet` beside it. Raises `InvalidDataSources` when the catalogue is refused and
    `ValuesDoNotAddUp` when an additive breakdown does not.
    """
    from insertion_pipeline.indicators.additivity import refuse_what_does_not_add_up

    misses, known = measured_misses(lake), as_of or month
    catalogue = compile_catalogue(registry, misses)
    grid = coverage.coverage_grid(lake, registry, month)
    lake.write_parquet(coverage_path(lake, month).path, grid, durable=False)
    earlier = [
        coverage.coverage_grid(lake, registry, month.plus(-back))
        for back in range(1, max(one.indicator.complete_months for one in catalogue))
    ]
    made_of = making.digest_of(
        str(month),
        registry.digest,
        [remembered_sha256_of(fact_path(lake, name, month).path) for name in facts()],
        [grid.to_pylist() for grid in (grid, *earlier)],
        sorted([*pair, share] for pair, share in misses.items()),
    )
    name, path = f"values/{month}", values_path(lake, month).path
    made = making.recall(lake, name, made_of)
    if made is not None:
        values = lake.read_parquet(values_path(lake, month))
        if made.counted["as_of"] == str(known):
            return values
        values = _as_known(values, registry, catalogue, month, known)
    else:
        with lake.connect() as connection:
            for fact in facts():
                rows = lake.scan(connection, [fact_path(lake, fact, month)])
                connection.execute(f"CREATE VIEW {fact} AS SELECT * FROM {rows}")
            values = values_of(
                connection, registry, catalogue, month, grid, as_of=known, earlier_grids=earlier, passes=passes
            )
            refuse_what_does_not_add_up(connection, values, catalogue)
    lake.write_parquet(path, values)
    making.remember(lake, name, made_of, [path], {"as_of": str(known)})
    return values


def _as_known(
    values: pa.Table, registry: Registry, catalogue: Iterable[CompiledIndicator], month: Month, as_of: Month
) -> pa.Table:
    """The values of a month as a later month knows them: the same numbers, further settled."""
    settled = {one.indicator.code: maturity(registry, one.indicator.sources, month, as_of) for one in catalogue}
    codes = values["indicator_code"].combine_chunks().dictionary_encode()
    words = pa.array([settled[code] for code in codes.dictionary.to_pylist()], pa.string())
    told = {"as_of": pa.repeat(str(as_of), len(values)), "maturity": pc.take(words, codes.indices)}
    return pa.table({name: told.get(name, values[name]) for name in VALUES_SCHEMA.names}).cast(VALUES_SCHEMA)


def measured_misses(lake: Lake) -> Mapping[tuple[str, str], float]:
    """The measured share of false non-matches of pairs of sources, empty before anybody measured them."""
    from insertion_pipeline.identity.quality import misses_file  # drags the linkage in

    file = misses_file(lake)
    if not file.path.exists():
        return {}
    rows = lake.read_parquet(file, columns=["source_a", "source_b", "share"]).to_pylist()
    return {(row["source_a"], row["source_b"]): row["share"] for row in rows if row["share"] is not None}


def values_path(lake: Lake, month: Month) -> ParquetFile:
    """Where the values of a month are, before protection."""
    return ParquetFile(lake.open_area / "values" / f"{month}.parquet")


def coverage_path(lake: Lake, month: Month) -> ParquetFile:
    """Where the coverage grid of a month is."""
    return ParquetFile(lake.open_area / "coverage" / f"{month}.parquet")


def values_of(
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    catalogue: Sequence[CompiledIndicator],
    month: Month,
    grid: pa.Table,
    *,
    as_of: Month | None = None,
    places: pa.Table | None = None,
    earlier_grids: Sequence[pa.Table] = (),
    passes: Passes | None = None,
) -> pa.Table:
    """Every value of `month`, from the facts open in `connection` and the coverage grid, as `VALUES_SCHEMA`.

    Sorted by indicator, breakdown, modality, territory. An indicator begins at its `valid_from`. `places` is the
    month's roll-up, for a caller that has it already; `earlier_grids`, the coverage grids of the months before, the
    nearest first, for indicators that need several complete months (one that is not given was not complete).
    """
    in_force = tuple(one for one in catalogue if one.indicator.valid_from <= month)
    places = territories.rollup(connection, registry, month) if places is None else places
    connection.register("places", places)
    connection.execute("CREATE OR REPLACE TEMP TABLE rollup AS SELECT * FROM places")
    coverage.register_grids(connection, [grid, *earlier_grids])
    needs = coverage.create_territory_coverage(connection, registry, [one.indicator for one in in_force], places)
    coverage.create_leaves(connection, needs)
    for statement in (*AGGREGATE_MACROS, *_CREATE_NUMBERS, _CREATE_TERMS):
        connection.execute(statement)
    needed = [one_pass for one_pass in _passes(in_force) if _has_rows(connection, one_pass.fact)]
    _create_places_carried(connection, needed)
    if passes is not None:
        passes.lay_out({name: connection.table(name).to_arrow_table() for name in ("places_carried", "rollup_carried")})
    numbers = _Numbers.of(in_force)
    for one_pass in needed:
        _run_pass(connection, one_pass, numbers, passes)
    declared = _declarations(registry, in_force, needs, month, as_of or month)
    connection.register("declarations", declared)
    numbered = connection.sql(_VALUES.format(total=numbers.breakdowns[TOTAL])).to_arrow_table()
    return _told(connection, numbered, declared, numbers, month, as_of or month)


#: The breakdown that is none.
TOTAL = "total"


@dataclass(frozen=True)
class _Numbers:
    """What stands for indicators and breakdowns until values are told: their rank in the order of their names."""

    indicators: Mapping[str, int]
    breakdowns: Mapping[str, int]

    @classmethod
    def of(cls, catalogue: Iterable[CompiledIndicator]) -> _Numbers:
        known = list(catalogue)
        cuts = {TOTAL, *(name for one in known for name in one.breakdowns)}
        return cls(
            {code: rank for rank, code in enumerate(sorted(one.indicator.code for one in known))},
            {name: rank for rank, name in enumerate(sorted(cuts))},
        )


def _passes(catalogue: Sequence[CompiledIndicator]) -> Iterable[_Pass]:
    together: dict[tuple[str, str], list[CompiledIndicator]] = {}
    for one in catalogue:
        together.setdefault((one.indicator.fact, one.indicator.axis), []).append(one)
    for (fact, axis), indicators in together.items():
        yield _Pass(facts()[fact], axis, tuple(indicators))


def _has_rows(connection: duckdb.DuckDBPyConnection, fact: Fact) -> bool:
    return connection.execute(f"SELECT 1 FROM {fact.name} LIMIT 1").fetchone() is not None


#: Levels of countries. A number stands for each, and for each territory, until values are told.
_LAYERS: Sequence[tuple[str, str]] = [
    (country, level) for country, levels in territories.LEVELS.items() for level in levels
]


def _layers(levels: Iterable[str], countries: Iterable[str] = territories.LEVELS) -> str:
    """The numbers of these levels of these countries, for `layer IN (…)`."""
    wanted, there = set(levels), set(countries)
    ranks = [str(rank) for rank, (country, level) in enumerate(_LAYERS) if country in there and level in wanted]
    return ", ".join(ranks) or "NULL"


# `numbered_territories`: every territory by its rank in the order of codes, with the one whose coverage it has: « sans
# commune connue », « hors territoire » are as covered as their country. `modalities`: those met so far, in any order.
_CREATE_NUMBERS = (
    f"""CREATE OR REPLACE TEMP TABLE numbered_territories AS
    SELECT code, level, country, layer,
        CAST(row_number() OVER (ORDER BY code) - 1 AS INTEGER) AS territory,
        CASE
            WHEN code LIKE '%-{territories.UNKNOWN}' OR code LIKE '%-{territories.OUTSIDE}' THEN country
            ELSE code
        END AS covered_as
    FROM (SELECT DISTINCT territory AS code, level, substr(territory, 1, 2) AS country FROM rollup)
    JOIN (VALUES {", ".join(str((*layer, rank)) for rank, layer in enumerate(_LAYERS))}) AS layers
        (country, level, layer) USING (country, level)""",
    """CREATE OR REPLACE TEMP TABLE numbered_coverage AS
    SELECT covered.territory AS stands_for, territory_coverage.* EXCLUDE (level, territory),
        CAST(row_number() OVER () - 1 AS INTEGER) AS rank
    FROM territory_coverage JOIN numbered_territories AS covered ON covered.code = territory_coverage.territory""",
    """CREATE OR REPLACE TEMP TABLE covered_territories AS
    SELECT here.territory, standing.territory AS stands_for
    FROM numbered_territories AS here
    JOIN answered_alike AS alike ON alike.territory = here.covered_as
    JOIN numbered_territories AS standing ON standing.code = alike.stands_for""",
    "CREATE OR REPLACE TEMP TABLE modalities AS SELECT 'TOTAL' AS name, CAST(0 AS INTEGER) AS modality",
)

_CREATE_TERMS = """
CREATE OR REPLACE TEMP TABLE terms (
    indicator INTEGER, territory INTEGER, breakdown INTEGER, modality INTEGER,
    numerator DECIMAL(24, 6), denominator DECIMAL(24, 6), contributors BIGINT, error DECIMAL(24, 6)
)
"""


def _create_places_carried(connection: duckdb.DuckDBPyConnection, passes: Iterable[_Pass]) -> None:
    """Create `places_carried` and `rollup_carried`: the places that the facts carry, few beside those that they could.

    `places_carried` has one row per (space, place), with the `leaf` that counts it and what is known there;
    `rollup_carried`, one per leaf and `layer`, with its `territory`. `stems` gives each leaf one of those that have its
    territories above the commune: leaves become stems, which are few, before they are added up level by level.
    """
    carried = {(one.fact.name, AXIS_COLUMNS[one.axis]) for one in passes}
    places = " UNION ".join(
        f"SELECT space, {column} AS place FROM {fact} GROUP BY ALL" for fact, column in sorted(carried)
    )
    leaf = territories.leaf_sql("carried.place", "carried.space", "leaves.leaf")
    for statement in (
        f"""CREATE OR REPLACE TEMP TABLE leaves_carried AS
        WITH named AS (
            SELECT carried.space, carried.place, {leaf} AS code
            FROM ({places or "SELECT 'fr' AS space, NULL AS place"}) AS carried
            LEFT JOIN leaves ON leaves.leaf = carried.place
        )
        SELECT named.*, leaves.* EXCLUDE (leaf) FROM named LEFT JOIN leaves ON leaves.leaf = named.code""",
        """CREATE OR REPLACE TEMP TABLE stems AS
        SELECT code, leaf, min(leaf) OVER (PARTITION BY above) AS stem
        FROM (
            SELECT rollup.leaf AS code, CAST(row_number() OVER () AS INTEGER) AS leaf,
                list_sort(list(here.territory) FILTER (WHERE here.level <> 'commune')) AS above
            FROM rollup JOIN numbered_territories AS here ON here.code = rollup.territory
            WHERE rollup.leaf IN (SELECT code FROM leaves_carried)
            GROUP BY rollup.leaf
        )""",
        """CREATE OR REPLACE TEMP TABLE rollup_carried AS
        SELECT stems.leaf, here.layer, here.territory
        FROM stems
        JOIN rollup ON rollup.leaf = stems.code
        JOIN numbered_territories AS here ON here.code = rollup.territory""",
        """CREATE OR REPLACE TEMP TABLE places_carried AS
        SELECT stems.leaf, leaves_carried.* EXCLUDE (code) FROM leaves_carried JOIN stems USING (code)""",
    ):
        connection.execute(statement)


def _run_pass(connection: duckdb.DuckDBPyConnection, one_pass: _Pass, numbers: _Numbers, passes: Passes | None) -> None:
    """Compute the terms of the indicators of one pass and append them to `terms`."""
    summed = [aggregate for aggregate in one_pass.aggregates if aggregate.adds_up]
    parts = []
    if summed:
        _create(connection, "at_leaves", _grouped(one_pass, numbers, _calls(summed), ("leaf",)), passes)
        _number_modalities(connection, "at_leaves")
        connection.execute(_at_stems(summed))
        parts.append(_added_up(one_pass, summed))
    for rank, query in enumerate(_recounted(one_pass, numbers)):
        _create(connection, f"at_territories_{rank}", query, passes)
        _number_modalities(connection, f"at_territories_{rank}")
        parts.append(f"SELECT * EXCLUDE (name) FROM at_territories_{rank} JOIN modalities USING (name)")
    # what is added up has every breakdown and level; what is recounted, those for which it is asked
    joined = " LEFT JOIN ".join(
        f"({part})" + (" USING (layer, territory, breakdown, modality)" if rank else "")
        for rank, part in enumerate(parts)
    )
    connection.execute(f"CREATE OR REPLACE TEMP TABLE aggregates AS SELECT * FROM {joined}")
    connection.execute("INSERT INTO terms " + " UNION ALL ".join(_terms(one, numbers) for one in one_pass.indicators))


def _recounted(one_pass: _Pass, numbers: _Numbers) -> Iterator[str]:
    """SELECTs of what does not add up, at every territory: distinct values column by column, then all the rest."""
    asking = tuple(one for one in one_pass.indicators if any(not aggregate.adds_up for aggregate in one.aggregates))
    asked = replace(one_pass, indicators=asking)
    by_column: dict[str | None, list[Aggregate]] = {}
    for aggregate in asked.aggregates:
        if not aggregate.adds_up:
            by_column.setdefault(aggregate.distinct, []).append(aggregate)
    for column, aggregates in by_column.items():
        if column is None:
            yield _grouped(asked, numbers, _calls(aggregates), ("layer", "territory"))
        else:
            yield _distinct_counts(asked, numbers, column, aggregates)


def _distinct_counts(one_pass: _Pass, numbers: _Numbers, column: str, aggregates: Sequence[Aggregate]) -> str:
    """SELECT of how many values a column has: each is met once at a territory and modality, for all the conditions."""
    met = {aggregate.column: f"bool_or({aggregate.condition or 'true'})" for aggregate in aggregates}
    values = _grouped(one_pass, numbers, met, ("layer", "territory", column))
    counts = ", ".join(
        f"count({column}) FILTER (WHERE {aggregate.column}) AS {aggregate.column}" for aggregate in aggregates
    )
    return f"""SELECT layer, territory, breakdown, name, {counts}
        FROM ({values}) AS every_value GROUP BY layer, territory, breakdown, name"""


def _at_stems(summed: Sequence[Aggregate]) -> str:
    """The sums of `at_leaves`, once for all leaves with the same territories above the commune."""
    return f"""CREATE OR REPLACE TEMP TABLE at_stems AS
        SELECT stems.stem AS leaf, breakdown, modality, {_sums(summed)}
        FROM at_leaves JOIN modalities USING (name) JOIN stems ON stems.leaf = at_leaves.leaf
        GROUP BY stems.stem, breakdown, modality"""


def _added_up(one_pass: _Pass, summed: Sequence[Aggregate]) -> str:
    """SELECT of the sums at every territory: at communes those of their leaves, above them those of stems."""
    every = [(one_pass.levels - {"commune"}, "at_stems")]
    if "commune" in one_pass.levels:
        every.append((frozenset({"commune"}), "at_leaves JOIN modalities USING (name)"))
    return " UNION ALL ".join(
        f"""SELECT layer, territory, breakdown, modality, {_sums(summed)}
        FROM {relation} JOIN rollup_carried USING (leaf)
        WHERE layer IN ({_layers(levels)})
        GROUP BY layer, territory, breakdown, modality"""
        for levels, relation in every
    )


def _calls(aggregates: Iterable[Aggregate]) -> Mapping[str, str]:
    return {aggregate.column: aggregate.sql for aggregate in aggregates}


def _sums(summed: Sequence[Aggregate]) -> str:
    return ", ".join(f"sum({aggregate.column}) AS {aggregate.column}" for aggregate in summed)


def _number_modalities(connection: duckdb.DuckDBPyConnection, relation: str) -> None:
    """Give a number to each modality of `relation` that was not met before."""
    connection.execute(
        f"""INSERT INTO modalities
        SELECT name, (SELECT count(*) FROM modalities) + row_number() OVER () - 1
        FROM (SELECT DISTINCT name FROM {relation}) ANTI JOIN modalities USING (name)"""
    )


def _create(connection: duckdb.DuckDBPyConnection, name: str, sql: str, passes: Passes | None) -> None:
    """Create the relation `name` from a query over a fact, run here or elsewhere."""
    if passes is None:
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS {sql}")
    else:
        connection.register(name, passes.table(sql))


def _grouped(one_pass: _Pass, numbers: _Numbers, aggregates: Mapping[str, str], keys: Sequence[str]) -> str:
    """SELECT of `aggregates` (SQL by name) for each key alone and each key with each breakdown: one pass over the fact.

    A breakdown that gives a row several modalities takes a pass of its own, in which the row stands for each of them.
    """
    cuts = one_pass.breakdown_columns
    total = numbers.breakdowns[TOTAL]
    ranks = " ".join(f"WHEN grouping({column}) = 0 THEN {numbers.breakdowns[name]}" for name, column in cuts.items())
    modalities = " ".join(
        f"WHEN grouping({column}) = 0 THEN coalesce(CAST({column} AS VARCHAR), '{territories.UNKNOWN}')"
        for column in cuts.values()
    )
    breakdown = f"CASE {ranks} ELSE {total} END" if cuts else str(total)
    modality = f"CASE {modalities} ELSE 'TOTAL' END" if cuts else "'TOTAL'"
    here = ", ".join(keys)
    sets = ", ".join([f"({here})", *(f"({here}, {column})" for column in cuts.values())])
    calls = ", ".join(f"{sql} AS {column}" for column, sql in aggregates.items())
    selects = [
        f"""SELECT {here}, {breakdown} AS breakdown, {modality} AS name, {calls}
        FROM {_placed(one_pass, keys)} GROUP BY GROUPING SETS ({sets})""",
        *(
            f"""SELECT {here}, {numbers.breakdowns[name]} AS breakdown, name, {calls}
            FROM {_placed(one_pass, keys, column)} GROUP BY {here}, name"""
            for name, column in one_pass.list_columns.items()
        ),
    ]
    return " UNION ALL ".join(selects)


def _placed(one_pass: _Pass, keys: Sequence[str], list_column: str | None = None) -> str:
    """The rows of the fact with their leaf, at each of their territories unless leaves are all that is asked for."""
    modality = f", unnest(rows.{list_column}) AS name" if list_column else ""
    every = f"""(
        SELECT rows.*{modality}, carried.* EXCLUDE (space, place)
        FROM {one_pass.fact.name} AS rows
        JOIN places_carried AS carried
            ON carried.space = rows.space AND carried.place IS NOT DISTINCT FROM rows.{AXIS_COLUMNS[one_pass.axis]}
    )"""
    at_territories = f"{every} JOIN rollup_carried USING (leaf) WHERE layer IN ({_layers(one_pass.levels)})"
    return at_territories if "territory" in keys else every


def _terms(one: CompiledIndicator, numbers: _Numbers) -> str:
    """SELECT of the terms of one indicator over the aggregates of its pass. An empty sum is zero; a quantile, null."""
    indicator = one.indicator
    cuts = [f"breakdown = {numbers.breakdowns[TOTAL]}"]
    for name, cut in one.breakdowns.items():
        layers = _layers(cut.levels or indicator.levels)
        cuts.append(f"(breakdown = {numbers.breakdowns[name]} AND layer IN ({layers}))")
    empty = "NULL" if indicator.kind == "quantile" else "0"
    return f"""
        SELECT {numbers.indicators[indicator.code]}, territory, breakdown, modality,
            coalesce({one.numerator}, {empty}),
            {f"coalesce({one.denominator}, 0)" if one.denominator else "NULL"},
            coalesce({one.contributors}, 0),
            {one.error or "NULL"}
        FROM aggregates
        WHERE layer IN ({_layers(indicator.levels, indicator.countries)}) AND ({" OR ".join(cuts)})
    """


def _declarations(
    registry: Registry,
    catalogue: Iterable[CompiledIndicator],
    needs: Mapping[str, coverage.Need],
    month: Month,
    as_of: Month,
) -> pa.Table:
    """What the catalogue says of each indicator: one row each, in the order of their numbers."""
    indicators = sorted((one.indicator for one in catalogue), key=lambda one: one.code)
    return pa.table(
        {
            "indicator": pa.array(range(len(indicators)), pa.int32()),
            "indicator_code": pa.array([one.code for one in indicators], pa.string()),
            "need_rank": pa.array([needs[one.code].rank for one in indicators], pa.int64()),
            "levels": pa.array([list(one.levels) for one in indicators], pa.list_(pa.string())),
            "countries": pa.array([list(one.countries) for one in indicators], pa.list_(pa.string())),
            "axis": pa.array([one.axis for one in indicators], pa.string()),
            "unit": pa.array([one.unit for one in indicators], pa.string()),
            "counted_unit": pa.array([one.counted_unit for one in indicators], pa.string()),
            "kind": pa.array([one.kind for one in indicators], pa.string()),
            "threshold": pa.array([one.threshold for one in indicators], pa.int64()),
            "minimum_denominator": pa.array([one.minimum_denominator for one in indicators], pa.int64()),
            "minimum_families": pa.array([one.minimum_families for one in indicators], pa.int64()),
            "maturity": pa.array([maturity(registry, one.sources, month, as_of) for one in indicators], pa.string()),
        }
    )


def _told(
    connection: duckdb.DuckDBPyConnection,
    numbered: pa.Table,
    declared: pa.Table,
    numbers: _Numbers,
    month: Month,
    as_of: Month,
) -> pa.Table:
    """Numbered values in words, as `VALUES_SCHEMA`, in the order given."""
    places = connection.sql("SELECT * FROM numbered_territories ORDER BY territory").to_arrow_table()
    covered = connection.sql("SELECT * FROM numbered_coverage ORDER BY rank").to_arrow_table()
    modalities = connection.sql("SELECT * FROM modalities ORDER BY modality").to_arrow_table()
    columns: dict[str, pa.ChunkedArray | pa.Array] = {name: numbered[name] for name in _NUMBERED}
    columns |= {name: pa.repeat(str(value), len(numbered)) for name, value in (("month", month), ("as_of", as_of))}
    columns |= {name: pc.take(declared[name].combine_chunks(), numbered["indicator"]) for name in _DECLARED}
    for name, told in (("country", "country"), ("level", "territory_level"), ("code", "territory_code")):
        columns[told] = pc.take(places[name].combine_chunks(), numbered["territory"])
    columns["breakdown"] = pc.take(pa.array(numbers.breakdowns, pa.string()), numbered["breakdown"])
    columns["modality"] = pc.take(modalities["name"].combine_chunks(), numbered["modality"])
    columns["coverage"] = pc.take(covered["coverage"].combine_chunks(), numbered["covered"])
    for name in _UNITS:
        columns[name] = pc.take(covered[name].combine_chunks(), numbered["covered"]).fill_null(0)
    return pa.table({name: columns[name] for name in VALUES_SCHEMA.names}).cast(VALUES_SCHEMA)


#: Columns of values: those that each row has of its own, its indicator's, and those of its territory's coverage.
_NUMBERED = ("numerator", "denominator", "value", "status", "contributors", "error")
_DECLARED = ("axis", "indicator_code", "unit", "counted_unit", "kind", "maturity", "threshold")
_UNITS = ("n_units_expected", "n_units_received", "n_partners_expected", "n_partners_received")


def maturity(registry: Registry, sources: Iterable[str], month: Month, as_of: Month) -> str:
    """How settled a value of `month` is when `as_of` is known: as settled as the slowest of its sources.

    Each source has its months to « semi-définitif » and « définitif » in `maturity_rules.csv` (`*`: any other source).
    """
    rules = {row["code"]: row for row in registry.nomenclature("maturity_rules").records(month)}
    known_for = as_of.months_since(month)
    concerned = [rules.get(source, rules["*"]) for source in sources]
    for word, column in (("définitif", "definitive_after"), ("semi-définitif", "semi_definitive_after")):
        if all(known_for >= int(rule[column]) for rule in concerned):
            return word
    return "provisoire"


#: Aggregates that the catalogue may use and the engine does not have. `kaplan_meier_median(days, is_over)`: the first
#: delay at which half of a cohort or fewer still wait, those who wait until the end of observation (`is_over` false,
#: `days` so far) included; null when more than half still wait. The product of shares is compared with one half up to
#: rounding of doubles. Waits are counted by day before any is looked at: ends first (even keys), as on Spark.
AGGREGATE_MACROS = (
    """CREATE OR REPLACE TEMP MACRO last_of_waits(waits) AS list_reduce(
        list_transform(
            list_sort(map_entries(list_aggregate(
                list_transform(waits, lambda wait: 2 * wait.days + CASE WHEN wait.is_over THEN 0 ELSE 1 END),
                'histogram'
            ))),
            lambda counted: {
                'days': counted.key // 2, 'is_over': counted.key % 2 = 0, 'persons': CAST(counted.value AS BIGINT),
                'at_risk': CAST(0 AS BIGINT), 'share': CAST(1 AS DOUBLE)
            }
        ),
        lambda seen, wait: CASE WHEN seen.share <= 0.5 + 1e-9 THEN seen ELSE {
            'days': wait.days, 'is_over': wait.is_over, 'persons': wait.persons,
            'at_risk': seen.at_risk - wait.persons,
            'share': CASE WHEN wait.is_over THEN seen.share * (1 - wait.persons / seen.at_risk) ELSE seen.share END
        } END,
        {
            'days': CAST(NULL AS BIGINT), 'is_over': NULL, 'persons': CAST(0 AS BIGINT),
            'at_risk': CAST(len(waits) AS BIGINT), 'share': CAST(1 AS DOUBLE)
        }
    )""",
    """CREATE OR REPLACE TEMP MACRO median_of_waits(waits) AS (
        CASE WHEN last_of_waits(waits).share <= 0.5 + 1e-9 THEN last_of_waits(waits).days END
    )""",
)


# Exact half-even rounding to one decimal, in integers: terms are decimals of six places, so `scaled` and `unit_of`
# are whole numbers, and the value in tenths is their quotient.
_VALUES = f"""
WITH expected AS (  -- where files were expected and none came, the absence is said even without a row
    SELECT declarations.indicator, here.territory, {{total}} AS breakdown, 0 AS modality,
        CAST(0 AS DECIMAL(24, 6)) AS numerator, CAST(0 AS DECIMAL(24, 6)) AS denominator, 0 AS contributors,
        CAST(NULL AS DECIMAL(24, 6)) AS error
    FROM territory_coverage
    JOIN answered_alike AS alike ON alike.stands_for = territory_coverage.territory
    JOIN numbered_territories AS here ON here.code = alike.territory
    JOIN declarations USING (need_rank)
    LEFT JOIN (
        SELECT need_rank, territory AS country FROM territory_coverage WHERE level = 'country' AND is_not_received
    ) AS nowhere
        ON nowhere.need_rank = territory_coverage.need_rank AND nowhere.country = here.country
    ANTI JOIN terms ON terms.indicator = declarations.indicator AND terms.territory = here.territory
    WHERE is_not_received AND NOT is_unavailable AND alike.level <> 'commune'
        -- nothing came from anywhere: said once per department, not for each of hundreds of committees and zones
        AND (nowhere.country IS NULL OR alike.level NOT IN ('epci', 'clpe', 'employment_zone'))
        AND list_contains(declarations.levels, alike.level)
        AND list_contains(countries, here.country)
),
covered AS (
    SELECT every.*, unit, kind, minimum_denominator, minimum_families,
        here.rank AS covered,
        coalesce(here.n_families_received, 0) AS n_families_received,
        coalesce(here.is_not_received, false) AS is_not_received,
        coalesce(here.is_unavailable, true) AS is_unavailable
    FROM (SELECT * FROM terms UNION ALL SELECT * FROM expected) AS every
    JOIN declarations USING (indicator)
    LEFT JOIN covered_territories AS place USING (territory)
    LEFT JOIN numbered_coverage AS here
        ON here.need_rank = declarations.need_rank AND here.stands_for = place.stands_for
),
judged AS (
    SELECT *,
        CASE
            WHEN is_unavailable THEN 'ND'
            WHEN is_not_received OR n_families_received < minimum_families THEN 'NR'
            WHEN error * 3 > abs(numerator) THEN 'ND'
            WHEN kind = 'ratio' AND denominator = 0 THEN 'NC'
            WHEN kind = 'ratio' AND denominator < minimum_denominator THEN 'PS'
            WHEN kind = 'quantile' AND contributors < {QUANTILE_CONTRIBUTORS} THEN 'PS'
            WHEN numerator IS NULL THEN 'ND'  -- a median not reached yet
            ELSE 'published'
        END AS status,
        CAST(numerator * 1000000 AS HUGEINT) * CASE WHEN unit = '%' THEN 1000 ELSE 10 END AS scaled,
        CASE WHEN kind = 'ratio' THEN CAST(denominator * 1000000 AS HUGEINT) ELSE 1000000 END AS unit_of
    FROM covered
),
divided AS (
    SELECT *, CASE WHEN status = 'published' THEN abs(scaled) // unit_of END AS whole FROM judged
),
rounded AS (
    SELECT *,
        CASE
            WHEN 2 * (abs(scaled) - whole * unit_of) > unit_of THEN whole + 1
            WHEN 2 * (abs(scaled) - whole * unit_of) = unit_of THEN whole + whole % 2
            ELSE whole
        END AS tenths
    FROM divided
)
SELECT indicator, territory, breakdown, modality, covered,
    CAST(numerator AS DOUBLE) AS numerator,
    CASE WHEN kind <> 'count' AND kind <> 'sum' THEN CAST(denominator AS DOUBLE) END AS denominator,
    CAST(sign(scaled) * tenths AS DOUBLE) / 10 AS value,
    status, contributors,
    CAST(error AS DOUBLE) AS error
FROM rounded
JOIN (SELECT modality, row_number() OVER (ORDER BY name) AS place FROM modalities) AS named USING (modality)
ORDER BY indicator, breakdown, named.place, territory
"""
