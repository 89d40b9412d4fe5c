"""Which pairs of nodes are worth weighing.

Belongs here: the blocking rules, their budget, the report on keys that broke it. Does not belong here: weighing
(`scoring`).

Only pairs with at least one node outside the trusted numbers are made. A key that would make too many pairs (ten
thousand records under one filler name and birth date) makes none, and is reported by rule and size, never by value.
"""

from __future__ import annotations

from dataclasses import dataclass

import duckdb

#: Rule to the parts of its key. A key with a missing part is no key.
_RULES: dict[str, tuple[str, ...]] = {
    "surname and birth date": ("surname", "year", "month", "day"),
    "used name and birth date": ("used_surname", "year", "month", "day"),
    "given name and birth date": ("given_first", "year", "month", "day"),
    "full name and birth year": ("surname", "given_first", "year"),
    "full name and birthday": ("surname", "given_first", "month", "day"),
    "used full name and birth year": ("used_surname", "given_first", "year"),
    "swapped names": ("least(surname, given_first)", "greatest(surname, given_first)", "year"),
    "swapped used names": ("least(used_surname, given_first)", "greatest(used_surname, given_first)", "year"),
    "sounds and birth month": ("surname[1:3]", "given_skeleton", "year", "month"),
    "day and month swapped": ("surname", "year", "least(month, day)", "greatest(month, day)"),
    "full name and residence": ("surname", "given_first", "coalesce(postal_code, residence_code)"),
    "number as written": ("number_as_written",),
    "France Travail id": ("france_travail_id",),
    "household and given name": ("caf_matricule", "given_first"),
    "e-mail": ("email",),
    "telephone and given name": ("phone", "given_skeleton"),
}

#: Pairs that one key may make: a hundred namesakes born in one year, not ten thousand fillers.
PAIRS_PER_KEY = 20_000


@dataclass(frozen=True, slots=True)
class CrowdedKey:
    """A key whose pairs were not made. It names a rule and a size; the value stays inside."""

    rule: str
    nodes: int
    pairs: int


def block(connection: duckdb.DuckDBPyConnection, *, pairs_per_key: int = PAIRS_PER_KEY) -> tuple[CrowdedKey, ...]:
    """Make the temporary table `candidates`: distinct pairs of `nodes` (join_key_l < join_key_r), as Splink takes them.

    Reads `nodes` and `groups` (node, person_group, is_trusted). Returns the keys that broke the budget.
    """
    selects = [
        f"SELECT {rank} AS rule, hash({', '.join(parts)}) AS key, node, person_group, is_trusted FROM grouped"
        f" WHERE {' AND '.join(f'{part} IS NOT NULL' for part in parts)}"
        for rank, parts in enumerate(_RULES.values())
    ]
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE keys AS
        WITH grouped AS (FROM nodes JOIN groups USING (node))
        {" UNION ALL ".join(selects)}
        """
    )
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE key_sizes AS
        SELECT rule, key, count(*) AS nodes, count(*) FILTER (NOT is_trusted) AS doubtful,
            count(*) FILTER (NOT is_trusted) * (count(*) FILTER (is_trusted))
                + count(*) FILTER (NOT is_trusted) * (count(*) FILTER (NOT is_trusted) - 1) // 2 AS pairs
        FROM keys GROUP BY rule, key
        HAVING count(*) > 1 AND count(*) FILTER (NOT is_trusted) > 0
        """
    )
    connection.execute(
        """
        CREATE OR REPLACE TEMP TABLE candidates AS
        WITH workable AS (
            SELECT rule, key, node, person_group, is_trusted
            FROM keys SEMI JOIN (FROM key_sizes WHERE pairs <= $budget) AS sizes
                ON keys.rule = sizes.rule AND keys.key = sizes.key
        )
        SELECT DISTINCT '0' AS match_key, least(doubtful.node, other.node) AS join_key_l,
            greatest(doubtful.node, other.node) AS join_key_r
        FROM workable AS doubtful
        JOIN workable AS other ON doubtful.rule = other.rule AND doubtful.key = other.key
            AND doubtful.person_group <> other.person_group
        WHERE NOT doubtful.is_trusted AND (other.is_trusted OR doubtful.node < other.node)
        """,
        {"budget": pairs_per_key},
    )
    crowded = connection.execute(
        "SELECT rule, nodes, pairs FROM key_sizes WHERE pairs > $budget ORDER BY rule, pairs DESC, nodes DESC, key",
        {"budget": pairs_per_key},
    ).fetchall()
    connection.execute("DROP TABLE keys; DROP TABLE key_sizes")
    names = list(_RULES)
    return tuple(CrowdedKey(names[rule], nodes, pairs) for rule, nodes, pairs in crowded)
