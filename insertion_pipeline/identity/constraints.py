"""What people decided about pairs of records, as linkage obeys it.

Belongs here: the table of decisions that linkage takes, the records that must keep a node of their own, the groups that
must be one, the pairs that must never be. Does not belong here: who may decide, the queue, the log (`reviewing`).

« Same » joins two records whatever their traits and numbers say. « Different » keeps them apart whatever joins their
neighbours, the number that they share included. Where decisions contradict each other along a chain, « different »
holds. A decision on a record that is not there says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

#: One row per decided pair, in either order. `decision` is `same` or `different`.
DECISIONS_SCHEMA = pa.schema([("record_id_l", pa.string()), ("record_id_r", pa.string()), ("decision", pa.string())])


class UnusableDecisions(Exception):
    """The table is not one of decisions: a column is missing, or says something else than same or different."""


@dataclass(frozen=True)
class Decisions:
    """The decided pairs of one person space, by the rank of their records: sorted, each pair once, left < right."""

    same: tuple[tuple[int, int], ...] = ()
    different: tuple[tuple[int, int], ...] = ()

    @property
    def records(self) -> list[int]:
        """Every record that somebody decided on: it is not merged with its likes before the decision is applied."""
        return sorted({record for pair in (*self.same, *self.different) for record in pair})


def ranked(decisions: pa.Table | None, record_ids: pa.Array) -> Decisions:
    """The decisions on these records, which are known by their rank in `record_ids`. Raises `UnusableDecisions`."""
    if decisions is None:
        return Decisions()
    if missing := set(DECISIONS_SCHEMA.names) - set(decisions.column_names):
        raise UnusableDecisions(f"decisions lack {', '.join(sorted(missing))}")
    verdicts = decisions["decision"]
    if not pc.all(pc.is_in(verdicts, value_set=pa.array(["same", "different"]))).as_py():
        raise UnusableDecisions("a decision is « same » or « different »")
    left, right = (pc.index_in(decisions[name], value_set=record_ids) for name in ("record_id_l", "record_id_r"))
    pairs: dict[str, set[tuple[int, int]]] = {"same": set(), "different": set()}
    for one, other, verdict in zip(left.to_pylist(), right.to_pylist(), verdicts.to_pylist(), strict=True):
        if one is not None and other is not None and one != other:
            pairs[verdict].add((min(one, other), max(one, other)))
    return Decisions(tuple(sorted(pairs["same"] - pairs["different"])), tuple(sorted(pairs["different"])))


@dataclass
class Unions:
    """A partition that grows by ordered unions and refuses those that would bring a forbidden pair together."""

    forbidden: Mapping[int, frozenset[int]]
    members: dict[int, set[int]] = field(default_factory=dict)
    of: dict[int, int] = field(default_factory=dict)

    def join(self, left: int, right: int) -> None:
        one, other = sorted((self.of.get(left, left), self.of.get(right, right)))
        ours, theirs = self.members.get(one, {one}), self.members.get(other, {other})
        if one == other or any(not self.forbidden.get(member, frozenset()).isdisjoint(theirs) for member in ours):
            return
        self.members[one] = ours | theirs
        self.members.pop(other, None)
        self.of.update(dict.fromkeys(self.members[one], one))


def against(pairs: list[tuple[int, int]]) -> dict[int, frozenset[int]]:
    """Each end of a pair to those it must not meet."""
    found: dict[int, set[int]] = {}
    for left, right in pairs:
        found.setdefault(left, set()).add(right)
        found.setdefault(right, set()).add(left)
    return {one: frozenset(others) for one, others in found.items()}


def register(connection: duckdb.DuckDBPyConnection, decisions: Decisions) -> None:
    """Make `decided` (record, one row per record that somebody decided on), `must_join` and `must_part` (node_l,
    node_r): a decided record is its own node, so a record's rank is its node's name."""
    tables = {
        "decided": pa.table({"record": pa.array(decisions.records, pa.int64())}),
        "must_join": _pairs(decisions.same),
        "must_part": _pairs(decisions.different),
    }
    for name, table in tables.items():
        connection.register("arriving", table)
        connection.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS FROM arriving")
        connection.unregister("arriving")


def _pairs(pairs: Sequence[tuple[int, int]]) -> pa.Table:
    ends = ([pair[0] for pair in pairs], [pair[1] for pair in pairs])
    return pa.table({name: pa.array(end, pa.int64()) for name, end in zip(("node_l", "node_r"), ends, strict=True)})


# Holders of one number of whom somebody said that they are two: each stands for itself, and what agrees among them is
# weighed again. The number that they were trusted with goes along.
_DISSOLVED = """
CREATE OR REPLACE TEMP TABLE dissolved AS
SELECT node FROM groups WHERE person_group IN (
    SELECT l.person_group
    FROM must_part JOIN groups AS l ON l.node = node_l JOIN groups AS r ON r.node = node_r
    WHERE l.person_group = r.person_group
);
UPDATE groups SET person_group = node WHERE node IN (FROM dissolved)
"""

_UNITED = """
UPDATE groups SET is_decided = true, person_group = united FROM arriving WHERE groups.person_group = arriving.lone
"""


def apply(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the groups of the number pass obey the decisions: apart what must be, together what must be."""
    connection.execute(_DISSOLVED)
    wanted, unwanted = (
        connection.execute(
            f"""
            SELECT DISTINCT least(l.person_group, r.person_group), greatest(l.person_group, r.person_group)
            FROM {name} JOIN groups AS l ON l.node = node_l JOIN groups AS r ON r.node = node_r
            WHERE l.person_group <> r.person_group ORDER BY ALL
            """
        ).fetchall()
        for name in ("must_join", "must_part")
    )
    unions = Unions(against(unwanted))
    for left, right in wanted:
        unions.join(left, right)
    united = sorted(unions.of.items())
    connection.register(
        "arriving",
        pa.table(
            {
                "lone": pa.array([lone for lone, _ in united], pa.int64()),
                "united": pa.array([whole for _, whole in united], pa.int64()),
            }
        ),
    )
    connection.execute(_UNITED)
    connection.unregister("arriving")
