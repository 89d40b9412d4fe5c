"""Which pairs of nodes are worth weighing.

Belongs here: the blocking rules, their budget, the report on keys that broke it. Does not belong here: weighing
(`scoring`).

Only pairs with at least one node outside the trusted numbers are made. A key that would make too many pairs (ten
thousand records under one filler name and birth date) makes none, and is reported by rule and size, never by value.
Where nodes are many, what a key in several hands finds alone is no pair.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb

#: Rule to the parts of its key. A key with a missing part is no key. `surname` stands for the birth name and for the
#: used name: a node has a key for each, and the one may meet the other. Sum and distance say which two values, in
#: whichever order.
_RULES: dict[str, tuple[str, ...]] = {
    "surname and birth date": ("surname", "year", "month", "day"),
    "given name, birth date and department": ("given_first", "year", "month", "day", "department"),
    "full name and birth year": ("surname", "given_first", "year"),
    "full name and birthday": ("surname", "given_first", "month", "day"),
    "full name and residence": ("surname", "given_first", "residence"),
    "surname, birth year and residence": ("surname", "year", "residence"),
    "swapped names": ("surname + given", "abs(surname - given)", "year"),
    "birth date, residence and initials": ("year", "month", "day", "residence", "initials"),
    "birth date, birth place and initials": ("year", "month", "day", "birth_place_name", "initials"),
    "address and birth year": ("address", "residence", "year"),
    "address and given name": ("address", "residence", "given_first"),
    "number as written": ("number_as_written",),
    "France Travail id": ("france_travail_id",),
    "household and given name": ("caf_matricule", "given_first"),
    "e-mail": ("email",),
    "telephone": ("phone",),
}

#: Rules that a country cannot afford and a town can: used while the nodes are few.
_WIDE_RULES: dict[str, tuple[str, ...]] = {
    "surname and residence": ("surname", "residence"),
    "given name and residence": ("given_first", "residence"),
    "full name": ("surname", "given_first"),
    "birth date": ("year", "month", "day"),
    "given name and birth date": ("given_first", "year", "month", "day"),
    "given name and birth place": ("given_first", "birth_place_name"),
    "surname and birth place": ("surname", "birth_place_name"),
}
#: Rules for data of which nothing is known yet but that they are few: a model is learnt from them.
_WIDEST_RULES: dict[str, tuple[str, ...]] = {
    "surname": ("surname",),
    "residence": ("residence",),
    "address": ("address",),
    "swapped names at any age": ("surname + given", "abs(surname - given)"),
    "beginnings of names": ("surname_start", "given_start"),
    "initials and birth day": ("initials", "month", "day"),
    "initials and birth year": ("initials", "year"),
    "beginning of the number": ("number_start",),
    "end of the number": ("number_end",),
}
#: How many nodes are few.
_FEW_NODES = 20_000

#: A key in more hands than this says little of two of them: a pair of it counts where another rule finds it too.
#: Namesakes of one birth year grow with the square of a population, and nearly none of them is one person.
_CROWD = 5
#: What finds every pair that another rule finds says nothing more than that one.
_ECHOES = {"swapped names": "full name and birth year"}

#: Pairs that one key may make: a hundred namesakes born in one year, not ten thousand fillers.
PAIRS_PER_KEY = 20_000


# What keys are made of, texts by their hash: each stands in several keys. A pair of which both sides have a trusted
# number is not worth weighing.
_GROUPED = """
CREATE OR REPLACE TEMP TABLE grouped AS
WITH placed AS (
    SELECT *, coalesce(postal_code, residence_code) AS place FROM nodes
)
SELECT node, person_group, is_trusted, surname, nullif(used_surname, surname) AS other_surname, given, given_first,
    year, month, day, known(place) AS residence, hash(left(place, 2)) AS department,
    known(birth_place_name) AS birth_place_name, known(number_as_written) AS number_as_written,
    known(france_travail_id) AS france_travail_id, known(caf_matricule) AS caf_matricule,
    known(email) AS email, known(phone) AS phone, address,
    CASE WHEN used_initial < given_initial THEN 32 * used_initial + given_initial
        ELSE 32 * given_initial + used_initial END AS initials
    {starts}
FROM placed JOIN groups USING (node)
"""
_KNOWN = "CREATE OR REPLACE TEMP MACRO known(text) AS CASE WHEN text IS NOT NULL THEN hash(text) END"
_STARTS = """,
    (SELECT left(text, 3) FROM spellings WHERE code = surname) AS surname_start,
    (SELECT left(text, 3) FROM spellings WHERE code = given) AS given_start,
    left(placed.number_as_written, 4) AS number_start, right(placed.number_as_written, 4) AS number_end
"""

# Only those that a doubtful node has too.
_TRUSTED_KEYS = """
CREATE OR REPLACE TEMP TABLE trusted_keys AS
SELECT * FROM ({keys}) WHERE key IN (SELECT key FROM doubtful_keys)
"""

_KEY_SIZES = """
CREATE OR REPLACE TEMP TABLE key_sizes AS
WITH held AS (
    SELECT rule, key, 1 AS doubtful FROM doubtful_keys UNION ALL SELECT rule, key, 0 FROM trusted_keys
), counted AS (
    SELECT min(rule) AS rule, key, count(*) AS nodes, sum(doubtful)::BIGINT AS doubtful FROM held GROUP BY key
    HAVING nodes > 1
)
SELECT rule, key, nodes, doubtful * (nodes - doubtful) + doubtful * (doubtful - 1) // 2 AS pairs
FROM counted
"""

# Each key votes by bits: that of its rule where it is crowded, more than one where it is not. Two bits make a pair.
_CANDIDATES = """
CREATE OR REPLACE TEMP TABLE candidates AS
WITH doubtful AS (
    SELECT key, node, person_group, vote
    FROM doubtful_keys JOIN (
        SELECT key, CASE WHEN nodes > $crowd THEN {votes}[rule + 1] ELSE 3 END::UINTEGER AS vote
        FROM key_sizes WHERE pairs <= $budget
    ) USING (key)
), pairs AS (
    SELECT doubtful.node, other.node AS other, vote
    FROM doubtful JOIN trusted_keys AS other USING (key)
    WHERE doubtful.person_group <> other.person_group
    UNION ALL
    SELECT doubtful.node, other.node AS other, doubtful.vote
    FROM doubtful JOIN doubtful AS other USING (key)
    WHERE doubtful.person_group <> other.person_group AND doubtful.node < other.node
)
SELECT '0' AS match_key, least(node, other) AS join_key_l, greatest(node, other) AS join_key_r
FROM pairs GROUP BY join_key_l, join_key_r HAVING bit_count(bit_or(vote)) > 1
"""


@dataclass(frozen=True, slots=True)
class CrowdedKey:
    """A key whose pairs were not made. It names a rule or a kind of identifier, and a size; the value stays inside."""

    rule: str
    nodes: int
    pairs: int


def block(
    connection: duckdb.DuckDBPyConnection, *, pairs_per_key: int = PAIRS_PER_KEY, is_unknown: bool = False
) -> tuple[CrowdedKey, ...]:
    """Make the temporary table `candidates`: distinct pairs of `nodes` (join_key_l < join_key_r), as Splink takes them.

    `is_unknown`: a model is learnt from these very data. Reads `nodes` and `groups` (node, person_group, is_trusted).
    Returns the keys that broke the budget.
    """
    are_few = connection.execute("SELECT count(*) FROM nodes").fetchall()[0][0] <= _FEW_NODES
    rules = {**_RULES, **(_WIDE_RULES if are_few else {}), **(_WIDEST_RULES if are_few and is_unknown else {})}
    connection.execute(_KNOWN)
    connection.execute(_GROUPED.format(starts=_STARTS if is_unknown else ""))
    connection.execute("CREATE OR REPLACE TEMP TABLE doubtful_keys AS " + _keys(rules, "NOT is_trusted"))
    connection.execute(_TRUSTED_KEYS.format(keys=_keys(rules, "is_trusted")))
    connection.execute(_KEY_SIZES)
    names = list(rules)
    votes = [1 << names.index(_ECHOES.get(rule, rule)) for rule in rules]
    connection.execute(
        _CANDIDATES.format(votes=votes),
        {"budget": pairs_per_key, "crowd": pairs_per_key + 1 if are_few else _CROWD},
    )
    crowded = connection.execute(
        "SELECT rule, nodes, pairs FROM key_sizes WHERE pairs > $budget ORDER BY rule, pairs DESC, nodes DESC",
        {"budget": pairs_per_key},
    ).fetchall()
    connection.execute("DROP TABLE grouped; DROP TABLE doubtful_keys; DROP TABLE trusted_keys; DROP TABLE key_sizes")
    return tuple(CrowdedKey(names[rule], nodes, pairs) for rule, nodes, pairs in crowded)


def _keys(rules: Mapping[str, tuple[str, ...]], chosen: str) -> str:
    """The keys of the chosen nodes, all rules."""
    selects = []
    for rank, parts in enumerate(rules.values()):
        variants = [parts]
        if any("surname" in part and "start" not in part for part in parts):
            variants.append(tuple(part.replace("surname", "other_surname") for part in parts))
        for variant in variants:
            key = f"hash({rank}, {', '.join(variant)})"
            present = " AND ".join(f"{part} IS NOT NULL" for part in variant)
            selects.append(
                f"SELECT {rank} AS rule, {key} AS key, node, person_group FROM grouped WHERE {chosen} AND {present}"
            )
    return " UNION ALL ".join(selects)
