"""What reviewers decided about pairs of records, kept for ever and obeyed by every later linkage.

Belongs here: the rows of decisions, which of them hold, finding their records again after a redelivery. Does not belong
here: which pairs are worth a look (`reviewing`), how linkage obeys (`constraints`).

A record is known by the digest of what it says, and says something else once its person has moved. So a decision also
keeps, for either side, keyed tokens of the partner's own key and of the person's number: it holds for every record that
carries one of them on one side only. Rows are added, never changed; the newest of a pair counts.

Saying « same » of two persons who each have a trusted number takes two reviewers: one alone decides nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import UTC
from typing import Any, Literal, get_args

import duckdb
import pyarrow as pa

from insertion_pipeline.identity.constraints import DECISIONS_SCHEMA
from insertion_pipeline.identity.identifiers import SQL_MACROS
from insertion_pipeline.identity.register import REGISTER_PURPOSE
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.sealing import define_hmac

Verdict = Literal["same", "different", "unsure"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

#: One row per verdict given. `state` and `weight` are what the machine said of the pair at that time.
SCHEMA = pa.schema(
    [
        ("number", pa.int64()),
        ("pair", pa.string()),
        ("record_id_l", pa.string()),
        ("record_id_r", pa.string()),
        ("anchors_l", pa.list_(pa.string())),
        ("anchors_r", pa.list_(pa.string())),
        ("verdict", pa.string()),
        ("by", pa.string()),
        ("at", pa.string()),
        ("state", pa.string()),
        ("weight", pa.float64()),
    ]
)


def file(lake: Lake, space: str) -> ParquetFile:
    """Every verdict of a person space, under its seal, beside the deliveries: it cannot be made again either."""
    return ParquetFile(lake.landing / "decisions" / f"{space}.parquet", lake.identity_key(space))


def load(lake: Lake, space: str) -> pa.Table:
    """Every verdict of a space, in order (`SCHEMA`)."""
    kept = file(lake, space)
    return lake.read_parquet(kept) if lake.fetch(kept.path, changes=True) else SCHEMA.empty_table()


def add(
    lake: Lake, space: str, pair: str, sides: pa.Table, verdict: Verdict, *, by: str, state: str, weight: float | None
) -> dict[str, Any]:
    """Keep a verdict. `sides`: the two canonical records, left first. The caller holds the writer's lock."""
    before = load(lake, space)
    with lake.connect(sealed_spill=True) as connection:
        anchors = _anchors(connection, lake, space, sides)
    left, right = sides["record_id"].to_pylist()
    row = {
        "number": len(before) + 1,
        "pair": pair,
        "record_id_l": left,
        "record_id_r": right,
        "anchors_l": anchors.get(left, []),
        "anchors_r": anchors.get(right, []),
        "verdict": verdict,
        "by": by,
        "at": lake.clock.now().astimezone(UTC).isoformat(timespec="seconds"),
        "state": state,
        "weight": weight,
    }
    after = pa.concat_tables([before, pa.Table.from_pylist([row], schema=SCHEMA)])
    _write(lake, space, after)
    return row


def _write(lake: Lake, space: str, verdicts: pa.Table) -> None:
    kept = file(lake, space)
    lake.write_parquet(kept.path, verdicts, key=kept.key)
    lake.keep(kept.path)


def forget(lake: Lake, space: str, record_ids: Iterable[str]) -> int:
    """Remove the verdicts on records of somebody who was erased; returns how many."""
    before, gone = load(lake, space), set(record_ids)
    kept = [row for row in before.to_pylist() if not gone & {row["record_id_l"], row["record_id_r"]}]
    if len(kept) < len(before):
        _write(lake, space, pa.Table.from_pylist(kept, schema=SCHEMA))
    return len(before) - len(kept)


def holding(verdicts: pa.Table) -> list[dict[str, Any]]:
    """The verdicts that hold, one row per pair, in the order of the pairs.

    The newest of each pair; « same » of two trusted numbers once two reviewers agree, with nothing else said between.
    """
    by_pair: dict[str, list[dict[str, Any]]] = {}
    for row in verdicts.to_pylist():
        by_pair.setdefault(row["pair"], []).append(row)
    return [rows[-1] for _, rows in sorted(by_pair.items()) if not is_waiting(rows)]


def is_waiting(rows: Sequence[dict[str, Any]]) -> bool:
    """Whether the newest verdict of a pair needs a second reviewer who has not agreed yet."""
    last = rows[-1]
    if last["verdict"] != "same" or last["state"] != "vetoed":
        return False
    agreeing: set[str] = set()
    for row in reversed(rows):
        if row["verdict"] != "same":
            break
        agreeing.add(row["by"])
    return len(agreeing) < 2


def digests(lake: Lake) -> tuple[str, ...]:
    """What was decided, as part of a release's name: how much, and one digest of it all. No key, time or name enters.

    One digest, because a record's own is one of what it says, which somebody could guess.
    """
    told = sorted(
        f"{space} {row['record_id_l']} {row['record_id_r']} {row['verdict']}"
        for space in ("be", "fr")
        for row in holding(load(lake, space))
        if row["verdict"] != "unsure"
    )
    return (f"{len(told)} {hashlib.sha256(chr(10).join(told).encode()).hexdigest()}",) if told else ()


def constraints(lake: Lake, space: str, records: pa.Table) -> pa.Table | None:
    """The decisions that hold, as linkage takes them (`constraints.DECISIONS_SCHEMA`), null when there are none.

    `records`: the canonical records to be linked. Each side of a decision is its own record and those that carry a
    token of this side and none of the other.
    """
    decided = [row for row in holding(load(lake, space)) if row["verdict"] != "unsure"]
    if not decided:
        return None
    with lake.connect(sealed_spill=True) as connection:
        anchors = _anchors(connection, lake, space, records)
    bearers: dict[str, list[str]] = {}
    for record, tokens in anchors.items():
        for token in tokens:
            bearers.setdefault(token, []).append(record)
    pairs: set[tuple[str, str, str]] = set()
    for row in decided:
        left = _side(row["record_id_l"], row["anchors_l"], row["anchors_r"], bearers)
        right = _side(row["record_id_r"], row["anchors_r"], row["anchors_l"], bearers)
        pairs |= {(one, other, row["verdict"]) for one in left for other in right if one != other}
    columns = list(zip(*sorted(pairs), strict=True)) or [(), (), ()]
    return pa.table([pa.array(column, pa.string()) for column in columns], schema=DECISIONS_SCHEMA)


def _side(record: str, own: Sequence[str], others: Sequence[str], bearers: dict[str, list[str]]) -> set[str]:
    telling = set(own) - set(others)
    return {record} | {one for token in telling for one in bearers.get(token, ())}


def _anchors(connection: duckdb.DuckDBPyConnection, lake: Lake, space: str, records: pa.Table) -> dict[str, list[str]]:
    """Record to the keyed tokens of the partner's own key for the person, and of the person's number."""
    connection.execute(SQL_MACROS)
    define_hmac(connection, "token", lake.keyring.purpose_key(REGISTER_PURPOSE))
    connection.register("records", records)
    rows = connection.execute(
        """
        WITH said AS (
            SELECT record_id, partner || ' ' || nullif(trim(department_person_id), '') AS local,
                CASE WHEN $space = 'fr' THEN canonical_nir(nir) ELSE canonical_niss(niss, NULL) END AS number
            FROM records
        )
        SELECT record_id, token('local ' || local), token('number ' || $space || ' ' || number) FROM said
        WHERE local IS NOT NULL OR number IS NOT NULL
        """,
        {"space": space},
    ).fetchall()
    return {record: [token for token in tokens if token is not None] for record, *tokens in rows}
