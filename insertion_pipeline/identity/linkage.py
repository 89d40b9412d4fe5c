"""Record linkage: which canonical person records speak of the same person.

Belongs here: the order of the passes, the trust that a number deserves, the guards, the output table. Does not belong
here: traits (`normalising`), candidate pairs (`blocking`, `foreseeing`), weights (`scoring`), unions (`clustering`),
naming persons over time (`resolving`).

1. *Number pass.* Records with the same number are one person when two of given name, surname and birth date agree.
   Otherwise the number is kept by those of its holders that it fits, and hidden from the scorer for the others, who go
   to review: spouses share a number in real files. A number is *trusted* when its key is right, it is neither
   provisional nor of a foreign-born person, and sex, year and month of birth say the same as its record, two of three
   at least. A trusted number forbids unions. One that fits several of its holders joins nobody, and forbids still:
   where a union brings two of them together, it is that person's own.
2. *Other identifiers* (France Travail, local id, household and given name) join under the same agreement, as weights.
3. *Scored pass.* Splink weighs what has no trusted number against everything.
4. *Guards.* Another given name (twins), another birth date (father and son) or sex never merges without a number.
5. *Clustering* without chains; two trusted numbers never meet in one person.

The result is a function of the set of records and of the model: no row order, clock or randomness enters it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from insertion_pipeline.identity import constraints, scoring
from insertion_pipeline.identity.blocking import PAIRS_PER_KEY, CrowdedKey, block
from insertion_pipeline.identity.clustering import Edge, cluster, components
from insertion_pipeline.identity.foreseeing import forget_the_light
from insertion_pipeline.identity.guarding import guard, tell
from insertion_pipeline.identity.normalising import (
    CODES,
    NAMES_AND_BIRTH,
    PERSON_SCHEMA,
    REPEATED_COLUMNS,
    Remembered,
    Standardised,
    cells_of,
    in_order,
    is_ascending,
    show_faces,
    standardise,
)
from insertion_pipeline.identity.scoring import Model, Thresholds, Weighing, weigh_here
from insertion_pipeline.instances import beside
from insertion_pipeline.lake import Lake, in_memory

#: The weight of an identifier other than the person's number, when the traits agree with it.
_IDENTIFIER_WEIGHT = 40.0
#: A number in more hands than this is a filler, not a number.
_HOLDERS = 60
_SPACES = ("fr", "be")
#: Namesakes born this many years apart are relatives, whatever number they share.
_GENERATION_YEARS = 12

LINK_SCHEMA = pa.schema(
    [
        ("record_id", pa.string()),
        ("person_id", pa.string()),
        ("match_method", pa.string()),
        ("match_weight", pa.float64()),
        ("needs_review", pa.bool_()),
    ]
)
#: A pair that was weighed or that shares a number. `state`: `linked` (one person), `grey` (too light to join, too heavy
#: to forget), `guarded` (a trait forbids it), `vetoed` (two trusted numbers), `refused` (the neighbours contradict it,
#: the number is another's, or somebody decided). `reason` says which trait or which refusal; null where linked.
PAIRS_SCHEMA = pa.schema(
    [
        ("record_id_l", pa.string()),
        ("record_id_r", pa.string()),
        ("weight", pa.float64()),
        ("state", pa.string()),
        ("reason", pa.string()),
    ]
)


class UnusableRecords(Exception):
    """The table is not one of canonical person records: a column is missing, or a record id is null or repeated."""


@dataclass(frozen=True)
class Linkage:
    """Who is who in one person space.

    `persons`: one row per record (`LINK_SCHEMA`), ordered by record. `pairs`: what was weighed and what became of it
    (`PAIRS_SCHEMA`), the heaviest first. `counts`: sizes for the quality report. `crowded`: keys that would have made
    too many pairs. `remembered`: what the next run need not standardise again, where it was asked for.
    """

    persons: pa.Table
    pairs: pa.Table
    counts: Mapping[str, int]
    crowded: tuple[CrowdedKey, ...]
    remembered: Remembered | None = None

    @property
    def review(self) -> pa.Table:
        """The pairs that are not one person: those for a human eye."""
        return self.pairs.filter(pc.not_equal(self.pairs["state"], "linked"))


def link(
    records: pa.Table,
    lake: Lake,
    *,
    model: Model | None = None,
    train: bool = False,
    decisions: pa.Table | None = None,
    weighing: Weighing = weigh_here,
) -> pa.Table:
    """Link a table of canonical person records. One row per input row (`LINK_SCHEMA`), ordered by `record_id`.

    The two person spaces are linked apart. `train` learns a model from these very records first. `decisions`: pairs
    that must be one person or must not (`constraints.DECISIONS_SCHEMA`). `weighing`: the engine that weighs pairs.
    Raises `UnusableRecords` or `UnusableDecisions`.
    """
    checked = canonical(records)
    del records  # each space takes its own: nobody needs a country's records twice
    by_space = {space: _records_of(checked, space) for space in _SPACES}
    places = checked.select(["record_id", "person_space"])
    del checked

    def linked(space: str, connection: duckdb.DuckDBPyConnection) -> pa.Table:
        theirs = by_space.pop(space)
        if len(theirs) == 0:
            return LINK_SCHEMA.empty_table()
        cells = cells_of(theirs)
        del theirs
        return _put_together(
            connection, cells, space, model=model, train=train, decisions=decisions, weighing=weighing
        ).persons

    found = []
    if train:  # Splink names the tables that it learns from, and shares them with nobody
        for space in _SPACES:
            with _workspace(lake) as connection:
                found.append(linked(space, connection))
    else:  # what one space does by one thread leaves a core to the other
        with _workspace(lake) as engine, ExitStack() as lent, ThreadPoolExecutor(len(_SPACES)) as pool:
            engines = [lent.enter_context(beside(engine)) for _ in _SPACES]
            found = list(pool.map(linked, _SPACES, engines))
    parts = [one for one in found if len(one)]
    return parts[0] if len(parts) == 1 else _merged(places, found)


def persons_in(linked: pa.Table) -> int:
    """How many persons the records that were linked are. DuckDB counts millions of ids four times as fast as Arrow."""
    with in_memory() as connection:
        connection.register("linked", linked)
        found = connection.execute("SELECT count(DISTINCT person_id) FROM linked").fetchall()
    return int(found[0][0])


def _records_of(records: pa.Table, space: str) -> pa.Table:
    """The records of a space, each column in one piece. Arrow filters a column by one thread: two at a time."""
    is_theirs = pc.equal(records["person_space"], space)
    with ThreadPoolExecutor(2) as pool:
        columns = pool.map(lambda column: column.filter(is_theirs).combine_chunks(), records.columns)
        return pa.table(list(columns), schema=records.schema)


def _merged(records: pa.Table, found: Sequence[pa.Table]) -> pa.Table:
    """What was found in each space, each in the order of its records, in the order of all of them."""
    order = in_order(records["record_id"].combine_chunks())
    places, before = np.empty(len(records), dtype=np.int64), 0
    for space, part in zip(_SPACES, found, strict=True):
        is_theirs = pc.equal(records["person_space"], space).to_numpy()[order]
        places[is_theirs] = before + np.arange(len(part), dtype=np.int64)
        before += len(part)
    table, takes = pa.concat_tables(found), pa.array(places)
    with ThreadPoolExecutor(2) as pool:
        columns = pool.map(lambda column: column.combine_chunks().take(takes), table.columns)
        return pa.table(list(columns), schema=LINK_SCHEMA)


def canonical(records: pa.Table) -> pa.Table:
    """`records` as text in the canonical columns, what many share as codes where it comes so; absent ones are null.

    Raises `UnusableRecords`.
    """
    if "record_id" not in records.column_names or "person_space" not in records.column_names:
        raise UnusableRecords("canonical person records have a record_id and a person_space")
    columns = {name: _text(records, name) for name in PERSON_SCHEMA.names}
    table = pa.table(columns)
    ids = table["record_id"].combine_chunks()
    if ids.null_count or not (is_ascending(ids) or len(pc.unique(ids)) == len(ids)):
        raise UnusableRecords("each canonical person record has a record_id of its own")
    unknown = pc.invert(pc.is_in(table["person_space"], value_set=pa.array(_SPACES)))
    if pc.any(unknown).as_py():
        raise UnusableRecords("person_space is fr or be in every canonical person record")
    return table


def _text(records: pa.Table, name: str) -> pa.ChunkedArray:
    """A column as text, or as codes of text where it comes so and its texts are told one by one."""
    if name not in records.column_names:
        return pa.chunked_array([pa.nulls(len(records), pa.string())])
    column = records[name]
    if name not in REPEATED_COLUMNS or column.type != CODES or any(one.dictionary.null_count for one in column.chunks):
        return column.cast(pa.string())
    return column


def link_space(
    records: pa.Table,
    space: str,
    lake: Lake,
    *,
    model: Model | None = None,
    train: bool = False,
    decisions: pa.Table | None = None,
    weighing: Weighing = weigh_here,
    pairs_per_key: int = PAIRS_PER_KEY,
    remembered: Remembered | None = None,
) -> Linkage:
    """Link the records of one person space, which are canonical already. Arguments: see `link`.

    `remembered`: what was standardised before, nothing to begin with; it changes what a run costs and nothing that it
    says.
    """
    if len(records) == 0:
        return Linkage(LINK_SCHEMA.empty_table(), PAIRS_SCHEMA.empty_table(), {"records": 0, "persons": 0}, ())
    with _workspace(lake) as connection:
        cells = cells_of(records)
        del records  # their traits are in `nodes` soon
        made = _put_together(
            connection,
            cells,
            space,
            model=model,
            train=train,
            decisions=decisions,
            weighing=weighing,
            pairs_per_key=pairs_per_key,
            remembered=remembered,
        )
        counts = {**_counts(connection), "standardised": made.standard.fresh}
        return Linkage(made.persons, _pairs(connection), counts, made.crowded, made.standard.remembered)


@dataclass(frozen=True)
class _Made:
    """The persons of a space, and what was noticed while they were put together."""

    persons: pa.Table
    crowded: tuple[CrowdedKey, ...]
    standard: Standardised


def _put_together(
    connection: duckdb.DuckDBPyConnection,
    cells: dict[str, pa.Array],
    space: str,
    *,
    model: Model | None,
    train: bool,
    decisions: pa.Table | None,
    weighing: Weighing,
    pairs_per_key: int = PAIRS_PER_KEY,
    remembered: Remembered | None = None,
) -> _Made:
    """All the passes. What `_pairs` and `_counts` tell of them stands in the connection afterwards.

    `cells`: see `standardise`, which empties it. The other arguments: see `link_space`.
    """
    ids = cells["record_id"]
    record_ids = ids if is_ascending(ids) else ids.take(pa.array(in_order(ids)))
    constraints.register(connection, constraints.ranked(decisions, record_ids))
    del ids
    standard = standardise(connection, cells, space, remembered)
    pa.default_memory_pool().release_unused()
    fillers = _number_pass(connection)
    constraints.apply(connection)
    crowded = block(connection, pairs_per_key=pairs_per_key, is_unknown=train)
    thresholds = _score(connection, model, train=train, weighing=weighing)
    _cluster(connection, thresholds)
    persons = _persons(connection, record_ids, space, thresholds)
    return _Made(persons, (*crowded, *fillers), standard)


@contextmanager
def _workspace(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with lake.connect(sealed_spill=True) as connection:
        # nothing outlives the block: tidying up what was dropped costs 2 s in a million records (2.0.0)
        connection.execute("SET checkpoint_threshold = '1TB'")
        try:
            yield connection
        finally:
            connection.execute("RESET checkpoint_threshold")


# -- numbers -----------------------------------------------------------------------------------------------------

# What two faces (`l`, `r`) say of each other. Swapped names: the given names begin with the other's surname, and the
# other way round, one of the two to a letter. A CASE stops where the answer is found, what is cheap comes first; a
# disjunction in a column would compare everything with everything.
_AGREEMENTS = f"""
CREATE OR REPLACE TEMP MACRO given_holds_surname(l, r) AS
    starts_with(l.given, r.surname) OR starts_with(l.given, r.used_surname);
CREATE OR REPLACE TEMP MACRO given_nears_surname(l, r) AS
    jaro_winkler_similarity(l.given, r.surname) >= 0.85 OR jaro_winkler_similarity(l.given, r.used_surname) >= 0.85
    OR jaro_winkler_similarity(l.given_first, r.surname) >= 0.85
    OR jaro_winkler_similarity(l.given_first, r.used_surname) >= 0.85;
CREATE OR REPLACE TEMP MACRO names_are_swapped(l, r) AS CASE
    WHEN given_holds_surname(l, r) AND (given_nears_surname(r, l)) THEN true
    WHEN given_holds_surname(r, l) AND (given_nears_surname(l, r)) THEN true
    ELSE false END;
CREATE OR REPLACE TEMP MACRO same_surname(l, r) AS CASE
    WHEN l.surname = r.surname OR l.surname = r.used_surname OR l.used_surname = r.surname
        OR l.used_surname = r.used_surname THEN true
    WHEN list_has_any(l.surname_parts, r.surname_parts) THEN true
    WHEN jaro_winkler_similarity(l.surname, r.surname) >= 0.9 THEN true
    ELSE names_are_swapped(l, r) END;
CREATE OR REPLACE TEMP MACRO same_given(l, r) AS CASE
    WHEN l.given_first = r.given_first OR starts_with(l.given, r.given) OR starts_with(r.given, l.given) THEN true
    WHEN list_contains(l.given_tokens, r.given_first) OR list_contains(r.given_tokens, l.given_first) THEN true
    WHEN jaro_winkler_similarity(l.given_first, r.given_first) >= 0.85 THEN true
    WHEN list_has_any(l.given_skeletons, r.given_skeletons) THEN true
    ELSE names_are_swapped(l, r) END;
CREATE OR REPLACE TEMP MACRO same_day(l, r) AS
    coalesce(l.year = r.year AND l.month = r.month AND l.day = r.day, false);
CREATE OR REPLACE TEMP MACRO same_birth(l, r) AS coalesce(
    (l.year = r.year AND (l.month = r.month OR l.day = r.day OR l.is_approximate OR r.is_approximate
        OR (l.month = r.day AND l.day = r.month)))
    OR (l.month = r.month AND l.day = r.day AND abs(l.year - r.year) < {_GENERATION_YEARS}), false);
CREATE OR REPLACE TEMP MACRO a_generation_apart(l, r) AS coalesce(abs(l.year - r.year) >= {_GENERATION_YEARS}, false);
CREATE OR REPLACE TEMP MACRO number_agreements(n) AS
    coalesce(n.number_sex = n.sex, false)::INTEGER + coalesce(n.number_year = n.year % 100, false)::INTEGER
    + coalesce(n.number_month = n.month, false)::INTEGER;
"""

_IDENTIFIERS = {
    "number": "number",
    "ntt": "ntt",
    "france_travail_id": "france_travail_id",
    "local_id": "local_id",
    "household": "caf_matricule",
}
# Identifiers in several hands, one row per holder. Text is read once: an identifier is known by its hash from here on,
# and two that shared one would still have to agree on who their holders are.
_HOLDINGS = f"""
CREATE OR REPLACE TEMP TABLE holdings AS
WITH held AS (
    {
    " UNION ALL ".join(
        f"SELECT '{kind}' AS kind, hash('{kind}', {column}) AS value, node FROM nodes WHERE {column} IS NOT NULL"
        for kind, column in _IDENTIFIERS.items()
    )
}
), several AS (
    SELECT value, count(*) AS hands FROM held GROUP BY value HAVING hands > 1
)
SELECT kind, value, node, hands FROM held JOIN several USING (value)
"""

# Pairs of holders. Most are plain: the same spellings and the same day. The rest is read letter by letter.
_SHARED_PAIRS = """
CREATE OR REPLACE TEMP TABLE shared_pairs AS
WITH held AS (
    SELECT kind, value, nodes.* FROM holdings JOIN nodes USING (node) WHERE hands <= $hands
)
SELECT l.kind, l.value, l.node AS node_l, r.node AS node_r,
    coalesce(l.surname IN (r.surname, r.used_surname) OR l.used_surname IN (r.surname, r.used_surname), false)
        AND coalesce(l.given_first = r.given_first, false)
        AND same_day(l, r) AS is_plain,
    same_birth(l, r) AS birth_agrees, a_generation_apart(l, r) AS generation,
    same_day(l, r) AND NOT l.is_approximate AND l.number_is_checked AND r.number_is_checked
        AND number_agreements(l) = 3 AND number_agreements(r) = 3 AS number_says_it_all
FROM held AS l JOIN held AS r ON l.value = r.value AND l.node < r.node
"""

# A number with its key that says sex, year and month of both, and one birth day to the letter: the same person under
# other names. Everything else needs two of surname, given name and birth date.
_SHARED = """
CREATE OR REPLACE TEMP TABLE shared_numbers AS
SELECT kind, value, node_l, node_r, true AS agrees FROM shared_pairs WHERE is_plain
UNION ALL
SELECT kind, value, node_l, node_r, NOT generation
    AND NOT (coalesce(l.sex <> r.sex, false) AND NOT same_given(l, r) AND NOT same_day(l, r)) AND CASE
        WHEN kind = 'household' THEN birth_agrees AND same_given(l, r)
        WHEN kind = 'number' AND number_says_it_all THEN true
        ELSE same_surname(l, r)::INTEGER + same_given(l, r)::INTEGER + birth_agrees::INTEGER >= 2
    END
FROM shared_pairs JOIN holder_faces AS l ON l.node = node_l JOIN holder_faces AS r ON r.node = node_r
WHERE NOT is_plain
"""

# Numbers whose holders do not all agree, one by one.
_SCATTERED = """
CREATE OR REPLACE TEMP TABLE scattered AS
WITH agreed AS (
    SELECT value, count(*) FILTER (agrees) AS pairs FROM shared_numbers WHERE kind = 'number' GROUP BY value
)
SELECT DISTINCT value FROM holdings JOIN agreed USING (value)
WHERE kind = 'number' AND pairs < hands * (hands - 1) // 2
"""

# One row per holder of a number in several hands: its group of agreeing holders, and whether the group keeps it. A
# number that fits several groups is in dispute, and known by its first holder: nobody is trusted with it.
_KEEPERS = """
CREATE OR REPLACE TEMP TABLE keepers AS
WITH wholes AS (
    SELECT value, min(node) AS first_node FROM holdings WHERE kind = 'number' GROUP BY value
), holders AS (
    SELECT value, first_node, node, coalesce(part, first_node) AS part, hands > $hands AS is_filler
    FROM holdings JOIN wholes USING (value) LEFT JOIN scattered_parts USING (node)
    WHERE kind = 'number'
), parts AS (
    SELECT value, part, bool_or(is_filler) AS is_filler, count(*) FILTER (number_agreements(nodes) >= 2) AS fitting,
        count(*) AS holders, bool_or(number_is_checked) AS is_checked,
        bool_and(number_is_definitive AND NOT number_is_foreign_born) AS is_definitive
    FROM holders JOIN nodes USING (node)
    GROUP BY value, part
), ranked AS (
    SELECT *,
        row_number() OVER standing = 1
            AND (fitting, holders) IS DISTINCT FROM lead((fitting, holders)) OVER standing AS is_first,
        sum(fitting) OVER (PARTITION BY value) - fitting AS fitting_elsewhere,
        bool_or(is_checked) OVER (PARTITION BY value) AS is_checked_somewhere
    FROM parts WHERE value IN (SELECT value FROM parts GROUP BY value HAVING count(*) > 1)
    WINDOW standing AS (PARTITION BY value ORDER BY fitting DESC, holders DESC, part)
    UNION ALL
    SELECT *, true, 0, is_checked FROM parts WHERE value IN (SELECT value FROM parts GROUP BY value HAVING count(*) = 1)
)
SELECT holders.node, holders.part, ranked.holders, is_first AND NOT ranked.is_filler AS keeps,
    is_first AND NOT ranked.is_filler AND is_checked AND is_definitive AND fitting > 0 AND fitting_elsewhere = 0
        AS is_trusted,
    CASE WHEN NOT ranked.is_filler AND is_checked_somewhere AND is_definitive AND fitting > 0 AND fitting_elsewhere > 0
        THEN first_node END AS disputed_number
FROM holders JOIN ranked ON holders.value = ranked.value AND holders.part = ranked.part
"""

# A number in one hand is its holder's.
_GROUPS = """
CREATE OR REPLACE TEMP TABLE groups AS
WITH trusted AS (
    SELECT node, records, number, keeps, holders, disputed_number,
        CASE WHEN keeps THEN part ELSE node END AS person_group,
        CASE WHEN keeps IS NOT NULL THEN is_trusted
            ELSE number IS NOT NULL AND number_is_checked AND number_is_definitive AND NOT number_is_foreign_born
                AND number_agreements(nodes) >= 2
        END AS is_trusted
    FROM nodes LEFT JOIN keepers USING (node)
)
SELECT node, person_group, is_trusted, CASE WHEN is_trusted THEN person_group END AS trusted_number,
    disputed_number, coalesce(NOT keeps, false) AS is_demoted,
    coalesce(keeps AND holders > 1, false) OR (number IS NOT NULL AND keeps IS NOT false AND records > 1)
        AS is_joined_by_number,
    false AS is_decided
FROM trusted;
UPDATE nodes SET number_as_written = NULL WHERE node IN (SELECT node FROM groups WHERE is_demoted)
"""


def _number_pass(connection: duckdb.DuckDBPyConnection) -> tuple[CrowdedKey, ...]:
    """Make `shared_numbers` (pairs that carry the same identifier, and whether they agree) and `groups` (one row per
    node: the group that its number makes, the number that it is trusted with, known by the group's first node, the one
    that it disputes with others, known by its first holder).

    Returns the identifiers in more hands than one person has."""
    connection.execute(_AGREEMENTS)
    connection.execute(_HOLDINGS)
    connection.execute(_SHARED_PAIRS, {"hands": _HOLDERS})
    doubtful = "SELECT unnest([node_l, node_r]) FROM shared_pairs WHERE NOT is_plain"
    show_faces(connection, "holder_faces", doubtful, traits=NAMES_AND_BIRTH)
    connection.execute(_SHARED)
    connection.execute(_SCATTERED)
    nodes = connection.execute(
        "SELECT node FROM holdings SEMI JOIN scattered USING (value) WHERE kind = 'number' AND hands <= $hands",
        {"hands": _HOLDERS},
    ).fetchall()
    pairs = connection.execute(
        "SELECT node_l, node_r FROM shared_numbers SEMI JOIN scattered USING (value) WHERE kind = 'number' AND agrees"
    ).fetchall()
    parts = components(pairs, (node for (node,) in nodes))
    connection.register(
        "scattered_parts",
        pa.table({"node": pa.array(parts.keys(), pa.int64()), "part": pa.array(parts.values(), pa.int64())}),
    )
    connection.execute(_KEEPERS, {"hands": _HOLDERS})
    connection.unregister("scattered_parts")
    connection.execute(_GROUPS)
    fillers = _fillers(connection)
    for table in ("holdings", "shared_pairs", "holder_faces", "scattered", "keepers"):
        connection.execute(f"DROP TABLE {table}")
    return fillers


# -- weights -----------------------------------------------------------------------------------------------------

_EDGES = """
CREATE OR REPLACE TEMP TABLE weighed AS
SELECT node_l, node_r, weight, 'scored' AS method, guard FROM scored LEFT JOIN guarded USING (node_l, node_r)
UNION ALL
SELECT DISTINCT node_l, node_r, $identifier, 'identifier', NULL
FROM shared_numbers WHERE agrees AND (kind <> 'number' OR (node_l IN (FROM dissolved) AND node_r IN (FROM dissolved)))
"""

# A strong pair whose two groups have no other strong pair needs no second look, unless somebody decided on one of them.
_GROUP_EDGES = """
CREATE OR REPLACE TEMP TABLE group_edges AS
SELECT max(weight) AS weight, least(l.person_group, r.person_group) AS group_l,
    greatest(l.person_group, r.person_group) AS group_r,
    coalesce(bool_or(l.trusted_number <> r.trusted_number), false) AS contradicts
FROM weighed JOIN groups AS l ON l.node = node_l JOIN groups AS r ON r.node = node_r
WHERE guard IS NULL AND l.person_group <> r.person_group
GROUP BY ALL;
CREATE OR REPLACE TEMP TABLE decided_groups AS
SELECT DISTINCT person_group FROM groups
WHERE is_decided OR node IN (SELECT unnest([node_l, node_r]) FROM must_part);
CREATE OR REPLACE TEMP TABLE lone_edges AS
WITH strong AS (
    FROM group_edges WHERE weight >= $join
), ends AS (
    SELECT unnest([group_l, group_r]) AS person_group FROM strong
), single AS (
    SELECT person_group FROM ends GROUP BY ALL HAVING count(*) = 1
    EXCEPT FROM decided_groups
)
FROM strong WHERE group_l IN (FROM single) AND group_r IN (FROM single);
CREATE OR REPLACE TEMP TABLE tangled_groups AS
WITH ends AS (SELECT unnest([group_l, group_r]) AS person_group FROM group_edges WHERE weight >= $join)
SELECT DISTINCT person_group FROM ends
WHERE person_group NOT IN (SELECT unnest([group_l, group_r]) FROM lone_edges)
"""


def _score(
    connection: duckdb.DuckDBPyConnection, model: Model | None, *, train: bool, weighing: Weighing
) -> Thresholds:
    """Make `weighed` (node_l, node_r, weight, method, guard: the traits that forbid the union) and `faces`, the nodes
    that were compared."""
    scoring.count_frequencies(connection)
    if train:
        show_faces(connection, "faces", "SELECT node FROM nodes", rarities=scoring.RARITIES)
        model = scoring.train(connection)
    model = model or scoring.frozen_model()
    forget_the_light(connection, model, above=model.thresholds.unscored)
    tell(connection)
    compared = "SELECT unnest([join_key_l, join_key_r]) FROM candidates UNION SELECT unnest([node_l, node_r]) FROM told"
    show_faces(connection, "faces", compared, rarities=scoring.RARITIES)
    scoring.score(connection, model, above=model.thresholds.unscored, weighing=weighing)
    guard(connection, above=model.thresholds.review, number_reliability=model.number_reliability)
    connection.execute(_EDGES, {"identifier": _IDENTIFIER_WEIGHT})
    return model.thresholds


def _held(numbers: Iterable[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Each group to the numbers that stand beside it."""
    found: dict[int, set[int]] = {}
    for group, number in numbers:
        found.setdefault(group, set()).add(number)
    return {group: frozenset(held) for group, held in found.items()}


def _cluster(connection: duckdb.DuckDBPyConnection, thresholds: Thresholds) -> None:
    """Make `clusters` (person_group, cluster, weight): the groups that were joined.

    A strong pair whose two groups have no other strong pair is joined at once; the rest goes through `cluster`.
    """
    connection.execute(_GROUP_EDGES.replace("$join", str(thresholds.join)))
    tangled = connection.execute(
        """
        SELECT weight, group_l, group_r FROM group_edges
        WHERE group_l IN (FROM tangled_groups) AND group_r IN (FROM tangled_groups)
        """
    ).fetchall()
    trusted, disputed = (
        _held(
            connection.execute(
                f"SELECT DISTINCT person_group, {number} FROM groups"
                f" WHERE {number} IS NOT NULL AND person_group IN (FROM tangled_groups)"
            ).fetchall()
        )
        for number in ("trusted_number", "disputed_number")
    )
    apart = connection.execute(
        "SELECT DISTINCT l.person_group, r.person_group"
        " FROM must_part JOIN groups AS l ON l.node = node_l JOIN groups AS r ON r.node = node_r"
    ).fetchall()
    clusters, _ = cluster(
        (Edge(*row) for row in tangled),
        trusted,
        threshold=thresholds.join,
        neighbours=thresholds.neighbours,
        unscored=thresholds.unscored,
        forbidden=constraints.against(apart),
        disputed=disputed,
    )
    joined = sorted(clusters.of)
    connection.register(
        "joined_groups",
        pa.table(
            {
                "person_group": pa.array(joined, pa.int64()),
                "cluster": pa.array([clusters.of[one] for one in joined], pa.int64()),
                "weight": pa.array([clusters.joined[one] for one in joined], pa.float64()),
            }
        ),
    )
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE clusters AS
        FROM joined_groups
        UNION ALL
        SELECT unnest([group_l, group_r]), group_l, weight FROM lone_edges WHERE NOT contradicts
        """
    )
    connection.unregister("joined_groups")


# -- what comes out ----------------------------------------------------------------------------------------------

# A node is named by its first record, a group by its first node, a cluster by its first group: a cluster's name is its
# first record. Pairs: what was weighed, and what shares a number without agreeing, with what became of it.
_MEMBERS = """
CREATE OR REPLACE TEMP TABLE members AS
SELECT node, coalesce(cluster, person_group) AS cluster, weight, is_demoted, is_joined_by_number, is_decided
FROM groups LEFT JOIN clusters USING (person_group);
CREATE OR REPLACE TEMP TABLE pairs AS
WITH judged AS (
    SELECT node_l, node_r, weight, guard, false AS is_number_of_another FROM weighed WHERE weight >= $review
    UNION ALL
    SELECT node_l, node_r, $review, NULL, true FROM shared_numbers WHERE kind = 'number' AND NOT agrees
), best AS (
    SELECT node_l, node_r, max(weight) AS weight, CASE WHEN bool_and(guard IS NOT NULL) THEN max(guard) END AS guard,
        bool_and(is_number_of_another) AS is_number_of_another
    FROM judged GROUP BY node_l, node_r
), placed AS (
    SELECT best.*, l.cluster AS cluster_l, r.cluster AS cluster_r
    FROM best JOIN members AS l ON l.node = node_l JOIN members AS r ON r.node = node_r
), numbers AS (
    SELECT cluster, list_sort(list_distinct(list(trusted_number))) AS numbers
    FROM groups JOIN members USING (node)
    WHERE trusted_number IS NOT NULL
        AND cluster IN (SELECT unnest([cluster_l, cluster_r]) FROM placed WHERE cluster_l <> cluster_r)
    GROUP BY cluster
), parted AS (
    SELECT DISTINCT least(l.cluster, r.cluster) AS cluster_l, greatest(l.cluster, r.cluster) AS cluster_r, true AS must
    FROM must_part JOIN members AS l ON l.node = node_l JOIN members AS r ON r.node = node_r
)
SELECT node_l, node_r, weight,
    CASE WHEN placed.cluster_l = placed.cluster_r THEN 'linked'
        WHEN must THEN 'refused'
        WHEN coalesce(l.numbers <> r.numbers, false) THEN 'vetoed'
        WHEN guard IS NOT NULL THEN 'guarded'
        WHEN is_number_of_another THEN 'refused'
        WHEN weight >= $join THEN 'refused'
        ELSE 'grey' END AS state,
    CASE WHEN placed.cluster_l = placed.cluster_r THEN NULL
        WHEN must THEN 'decision'
        WHEN coalesce(l.numbers <> r.numbers, false) THEN 'trusted_numbers'
        WHEN guard IS NOT NULL THEN guard
        WHEN is_number_of_another THEN 'number_of_another'
        WHEN weight >= $join THEN 'neighbours'
        ELSE 'weight' END AS reason
FROM placed
LEFT JOIN numbers AS l ON l.cluster = placed.cluster_l
LEFT JOIN numbers AS r ON r.cluster = placed.cluster_r
LEFT JOIN parted ON parted.cluster_l = least(placed.cluster_l, placed.cluster_r)
    AND parted.cluster_r = greatest(placed.cluster_l, placed.cluster_r)
"""

#: How a record came to its person, the first that holds.
_METHODS = {
    "decision": "is_decided",
    "number": "is_joined_by_number",
    "identifier": "weight >= $identifier",
    "scored": "weight IS NOT NULL",
    "identical": "records > 1",
    "alone": "true",
}
# One row per record, in no order: sorting millions costs more than to put each in its place.
_DESCRIBED = f"""
WITH reviewed AS (
    SELECT unnest([node_l, node_r]) FROM pairs WHERE state NOT IN ('linked', 'vetoed') AND reason <> 'decision'
        AND reason <> 'number_of_another'
), described AS (
    SELECT node, cluster,
        CASE {" ".join(f"WHEN {condition} THEN {code}" for code, condition in enumerate(_METHODS.values()))}
            END::TINYINT AS match_method,
        CASE WHEN weight < $identifier THEN weight END AS match_weight,
        is_demoted OR node IN (FROM reviewed) AS needs_review
    FROM members JOIN (SELECT node, records FROM nodes) USING (node)
)
SELECT record, cluster, match_method, match_weight, needs_review FROM record_nodes JOIN described USING (node)
"""
_NAMES_OF_PERSONS = "SELECT record, 'p' || left(sha256($space || ' ' || record_id), 32) AS person_id FROM first_records"


def _persons(
    connection: duckdb.DuckDBPyConnection, record_ids: pa.Array, space: str, thresholds: Thresholds
) -> pa.Table:
    """One row per record (`LINK_SCHEMA`), in the order of `record_ids`, which stay registered for `_pairs`."""
    connection.execute(_MEMBERS.replace("$join", str(thresholds.join)).replace("$review", str(thresholds.review)))
    described = connection.sql(_DESCRIBED, params={"identifier": _IDENTIFIER_WEIGHT}).to_arrow_table().combine_chunks()
    described = described.take(pa.array(_places(described["record"])))
    clusters, ranks = described["cluster"].to_numpy(), np.arange(len(record_ids))
    firsts = np.flatnonzero(clusters == ranks)
    connection.register("first_records", pa.table({"record": firsts, "record_id": record_ids.take(pa.array(firsts))}))
    named = connection.sql(_NAMES_OF_PERSONS, params={"space": space}).to_arrow_table().combine_chunks()
    connection.unregister("first_records")
    name_of = np.empty(len(record_ids), dtype=np.int64)
    name_of[named["record"].to_numpy()] = np.arange(len(named))
    connection.register("record_ids", pa.table({"record": ranks, "record_id": record_ids}))
    methods = pa.DictionaryArray.from_arrays(described["match_method"].combine_chunks(), list(_METHODS))
    return pa.table(
        [
            record_ids,
            named["person_id"].combine_chunks().take(pa.array(name_of[clusters])),
            methods.cast(pa.string()),
            described["match_weight"],
            described["needs_review"],
        ],
        schema=LINK_SCHEMA,
    )


def _places(ranks: pa.ChunkedArray) -> NDArray[np.int64]:
    """Where each rank from 0 on stands in a column that holds them all once."""
    places = np.empty(len(ranks), dtype=np.int64)
    places[ranks.to_numpy()] = np.arange(len(ranks))
    return places


def _pairs(connection: duckdb.DuckDBPyConnection) -> pa.Table:
    pairs = connection.sql(
        """
        SELECT l.record_id AS record_id_l, r.record_id AS record_id_r, weight, state, reason
        FROM pairs JOIN record_ids AS l ON l.record = node_l JOIN record_ids AS r ON r.record = node_r
        ORDER BY weight DESC, record_id_l, record_id_r
        """
    )
    return pairs.to_arrow_table().cast(PAIRS_SCHEMA)


def _fillers(connection: duckdb.DuckDBPyConnection) -> tuple[CrowdedKey, ...]:
    """Identifiers in more hands than one person has: no pair was made of them."""
    found = connection.execute(
        """
        SELECT kind || ' in many hands', count(*), 0 FROM holdings WHERE hands > $hands
        GROUP BY kind, value ORDER BY kind, count(*) DESC
        """,
        {"hands": _HOLDERS},
    ).fetchall()
    return tuple(CrowdedKey(kind.replace("_", " "), nodes, pairs) for kind, nodes, pairs in found)


def _counts(connection: duckdb.DuckDBPyConnection) -> dict[str, int]:
    row = connection.execute(
        """
        SELECT (SELECT count(*) FROM record_nodes), (SELECT count(DISTINCT cluster) FROM members),
            (SELECT count(*) FROM nodes), (SELECT count(*) FROM candidates),
            (SELECT count(*) FROM pairs WHERE state <> 'linked'), (SELECT count(*) FROM groups WHERE is_demoted),
            (SELECT sum(records) FROM nodes WHERE number IS NULL)
        """
    ).fetchall()[0]
    names = ("records", "persons", "nodes", "candidate_pairs", "pairs_to_review", "demoted_numbers", "without_number")
    return {name: int(value or 0) for name, value in zip(names, row, strict=True)}
