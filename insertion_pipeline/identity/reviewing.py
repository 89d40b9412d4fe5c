"""The review: pairs of records that a person looks at, in the order in which looking at them is worth most.

Belongs here: the queue, its order, what a reviewer is shown, deciding, the random sample and what its labels say of the
thresholds. Does not belong here: keeping and obeying decisions (`decisions`), screens.

A reviewer sees how two records compare, level by level; the values on demand only, and every such look is a line of the
ledger. A pair is known by a keyed token. Nothing but levels, weights and verdicts ever leaves the sealed area.

A pair is worth as much as it is uncertain and as much depends on it: the months in which somebody would be counted
twice, and those in which the person would be known to more families of partners.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.identity import constraints, decisions, ledger, records, resolving, scoring
from insertion_pipeline.identity import thresholds as adopted_thresholds
from insertion_pipeline.identity.decisions import VERDICTS as VERDICTS
from insertion_pipeline.identity.decisions import Verdict as Verdict
from insertion_pipeline.identity.normalising import PERSON_SCHEMA, cells_of, show_faces, standardise
from insertion_pipeline.identity.register import REGISTER_PURPOSE
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.registry import Registry, Space

#: What a weight leaves open in each state, where no reviewer has told yet: the share of pairs that are one person, as
#: measured on simulated populations. A guard at a great weight is wrong in a third of the cases.
_SHARE_SAME: Mapping[str, Callable[[float], float]] = {
    "linked": lambda weight: 0.9996 if weight >= 12 else 0.97,
    "grey": lambda weight: 0.93,
    "guarded": lambda weight: 0.32 if weight >= 12 else 0.07,
    "vetoed": lambda weight: 0.002,
    "refused": lambda weight: 0.5,
}
#: How many labels of reviewers weigh as much as that measurement.
_PRIOR_LABELS = 20
#: A family more in a month changes who is followed by whom, the figures that steer: it counts as two double counts.
_FAMILY_WORTH = 2
#: Lower ends of the bands of weight in which the sample is drawn and labels are counted.
BANDS = (3.0, 6.0, 9.0, 12.0, 16.0, 24.0)

SAMPLE_SCHEMA = pa.schema(
    [
        ("pair", pa.string()),
        ("record_id_l", pa.string()),
        ("record_id_r", pa.string()),
        ("weight", pa.float64()),
        ("state", pa.string()),
        ("reason", pa.string()),
        ("stands_for", pa.float64()),
    ]
)


#: What reviewers call the states of a pair, and the comparisons of the model.
STATES: Mapping[str, str] = {
    "grey": "zone grise", "guarded": "garde", "vetoed": "deux numéros", "refused": "refusée", "linked": "réunie",
}  # fmt: skip
COMPARISONS: Mapping[str, str] = {
    "surname": "nom", "given": "prénom", "birth": "naissance", "sex": "sexe", "birth_place": "lieu de naissance",
    "residence": "résidence", "address": "adresse", "email": "adresse électronique", "phone": "téléphone",
    "number": "numéro", "france_travail_id": "id. France Travail", "household": "foyer",
}  # fmt: skip


class UnknownPair(Exception):
    """No pair of the queue or of the sample has that name."""


class TooFewLabels(Exception):
    """The labels of the sample do not reach the precision that was asked for."""


@dataclass(frozen=True)
class ReviewedPair:
    """One pair as a reviewer first sees it: no value of any record.

    `levels`: comparison to level (`exact`, `close` … `else`, `null` where a side says nothing). `partners`: who
    delivered either. `verdicts`: what was said of it until now, oldest first. `is_waiting`: a second reviewer must
    agree.
    """

    pair: str
    space: Space
    state: str
    reason: str | None
    weight: float | None
    usefulness: float
    months_counted_twice: int
    months_with_more_families: int
    levels: Mapping[str, str]
    partners: tuple[str, str]
    verdicts: tuple[str, ...] = ()
    is_waiting: bool = False

    def to_json(self) -> dict[str, Any]:
        """One pair of `review list --json`."""
        return asdict(self)


@dataclass(frozen=True)
class Backlog:
    """How much waits, by state, and how much was decided."""

    waiting: Mapping[str, int]
    decided: int


# -- the queue ---------------------------------------------------------------------------------------------------------


def queue(lake: Lake, space: Space, *, limit: int | None = 50, state: str | None = None) -> list[ReviewedPair]:
    """The pairs that wait, the most useful first. One that was decided waits no more, unless a second must agree."""
    doubtful = _read(lake, resolving.review_file(lake, space))
    if doubtful is None:
        return []
    verdicts = decisions.load(lake, space)
    said = _by_pair(verdicts)
    shares = _shares(verdicts)
    open_pairs: list[tuple[float, str, dict[str, Any]]] = []
    for row in doubtful.to_pylist():
        name = _name(lake, row)
        if row["reason"] == "decision" or (state is not None and row["state"] != state):
            continue
        if name in said and not decisions.is_waiting(said[name]):
            continue
        open_pairs.append((-_usefulness(row, shares), name, row))
    chosen = sorted(open_pairs, key=lambda one: one[:2])[:limit]
    known = _read(lake, resolving.review_records_file(lake, space))
    return _shown(lake, space, [row for _, _, row in chosen], known, said, shares)


def backlog(lake: Lake, space: Space) -> Backlog:
    """How many pairs wait, by state, and on how many somebody has decided."""
    doubtful = _read(lake, resolving.review_file(lake, space))
    said = _by_pair(decisions.load(lake, space))
    waiting: dict[str, int] = {}
    for row in doubtful.to_pylist() if doubtful is not None else ():
        name = _name(lake, row)
        if row["reason"] != "decision" and (name not in said or decisions.is_waiting(said[name])):
            waiting[row["state"]] = waiting.get(row["state"], 0) + 1
    return Backlog(dict(sorted(waiting.items())), len(said))


def _usefulness(row: Mapping[str, Any], shares: Mapping[tuple[str, float], float]) -> float:
    weight = float(row["weight"] or 0.0)
    same = shares.get((row["state"], _band(weight)), _SHARE_SAME[row["state"]](weight))
    depends = int(row.get("months_counted_twice", 0)) + _FAMILY_WORTH * int(row.get("months_with_more_families", 0))
    return round(4 * same * (1 - same) * (1 + depends), 6)


def _shares(verdicts: pa.Table) -> dict[tuple[str, float], float]:
    """State and band of weight to the share of pairs that are one person, as measured and as reviewers said since."""
    told: dict[tuple[str, float], list[bool]] = {}
    for row in decisions.holding(verdicts):
        if row["verdict"] != "unsure" and row["state"] in _SHARE_SAME:
            told.setdefault((row["state"], _band(row["weight"] or 0.0)), []).append(row["verdict"] == "same")
    return {
        (state, band): (sum(labels) + _PRIOR_LABELS * _SHARE_SAME[state](band)) / (len(labels) + _PRIOR_LABELS)
        for (state, band), labels in told.items()
    }


def _band(weight: float) -> float:
    return max((one for one in BANDS if one <= weight), default=BANDS[0])


# -- looking -----------------------------------------------------------------------------------------------------------


def look(lake: Lake, space: Space, pair: str, *, by: str) -> list[dict[str, str | None]]:
    """The two records of a pair, left first, with their values. The look is noted. Raises `UnknownPair`."""
    _, sides = _found(lake, space, pair)
    ledger.append(lake, "look", by, space=space, pair=pair)
    return list(sides.to_pylist())


def shown(lake: Lake, space: Space, pair: str) -> ReviewedPair:
    """One pair, level by level, without any value. Raises `UnknownPair`."""
    row, sides = _found(lake, space, pair)
    verdicts = decisions.load(lake, space)
    (only,) = _shown(lake, space, [row], sides, _by_pair(verdicts), _shares(verdicts))
    return only


def decide(lake: Lake, space: Space, pair: str, verdict: Verdict, *, by: str) -> ReviewedPair:
    """Keep a reviewer's verdict; the next linkage obeys it. Raises `UnknownPair`.

    The caller holds the writer's lock. The answer `is_waiting` when a second reviewer must say the same.
    """
    row, sides = _found(lake, space, pair)
    decisions.add(lake, space, pair, sides, verdict, by=by, state=row["state"], weight=row["weight"])
    ledger.append(lake, "verdict", by, space=space, pair=pair, verdict=verdict)
    return shown(lake, space, pair)


def _found(lake: Lake, space: Space, pair: str) -> tuple[dict[str, Any], pa.Table]:
    """The row of a pair and its two canonical records, left first."""
    for rows, known in (
        (resolving.review_file(lake, space), resolving.review_records_file(lake, space)),
        (_sample_file(lake, space), _sample_records_file(lake, space)),
    ):
        listed, described = _read(lake, rows), _read(lake, known)
        if listed is None or described is None:
            continue
        for row in listed.to_pylist():
            if _name(lake, row) == pair:
                ends = pa.array([row["record_id_l"], row["record_id_r"]], pa.string())
                places = pc.index_in(ends, value_set=described["record_id"].combine_chunks())
                return row, described.take(places)
    raise UnknownPair(pair)


def _shown(
    lake: Lake,
    space: Space,
    rows: list[dict[str, Any]],
    known: pa.Table | None,
    said: Mapping[str, list[dict[str, Any]]],
    shares: Mapping[tuple[str, float], float],
) -> list[ReviewedPair]:
    if not rows or known is None:
        return []
    levels = _levels(lake, space, rows, known)
    partners = dict(zip(known["record_id"].to_pylist(), known["partner"].to_pylist(), strict=True))
    shown = []
    for row in rows:
        name = _name(lake, row)
        before = said.get(name, [])
        shown.append(
            ReviewedPair(
                name,
                space,
                row["state"],
                row["reason"],
                row["weight"],
                _usefulness(row, shares),
                row.get("months_counted_twice", 0),
                row.get("months_with_more_families", 0),
                levels[row["record_id_l"], row["record_id_r"]],
                (str(partners[row["record_id_l"]]), str(partners[row["record_id_r"]])),
                tuple(one["verdict"] for one in before),
                bool(before) and decisions.is_waiting(before),
            )
        )
    return shown


def _levels(
    lake: Lake, space: Space, rows: list[dict[str, Any]], known: pa.Table
) -> dict[tuple[str, str], dict[str, str]]:
    """How the two records of each pair compare, by the comparisons of the model."""
    ends = pa.array(sorted({row[side] for row in rows for side in ("record_id_l", "record_id_r")}), pa.string())
    chosen = known.filter(pc.is_in(known["record_id"], value_set=ends)).select(PERSON_SCHEMA.names)
    comparisons = scoring.levels_sql()
    with lake.connect(sealed_spill=True) as connection:
        constraints.register(connection, constraints.Decisions())
        standardise(connection, cells_of(chosen), space)
        show_faces(connection, "faces", "SELECT node FROM nodes")
        pairs = pa.table({name: [row[name] for row in rows] for name in ("record_id_l", "record_id_r")})
        connection.register("pairs", pairs)
        connection.register(
            "ranks", pa.table({"record_id": chosen["record_id"].combine_chunks().sort(), "record": range(len(chosen))})
        )
        found = connection.execute(
            f"""
            WITH shown AS (
                SELECT record_id, faces.* FROM ranks JOIN record_nodes USING (record) JOIN faces USING (node)
            ), l AS (
                SELECT COLUMNS('(.*)') AS '\\1_l' FROM shown
            ), r AS (
                SELECT COLUMNS('(.*)') AS '\\1_r' FROM shown
            )
            SELECT record_id_l, record_id_r, {", ".join(comparisons.values())}
            FROM pairs JOIN l USING (record_id_l) JOIN r USING (record_id_r)
            """
        ).fetchall()
    return {(left, right): dict(zip(comparisons, levels, strict=True)) for left, right, *levels in found}


# -- the sample --------------------------------------------------------------------------------------------------------


def draw_sample(
    lake: Lake, registry: Registry, space: Space, size: int, *, seed: int = 1, rows: records.Rows | None = None
) -> int:
    """Draw about `size` pairs to label, as many from each state and band of weight; returns how many were drawn.

    At random, and the same for the same seed and home: pairs are drawn in the order of keyed tokens. One that stands in
    the sample already stays. `stands_for` says how many pairs of its band each one stands for.
    """
    pairs = _read(lake, resolving.pairs_file(lake, space))
    if pairs is None or not len(pairs):
        return 0
    strata: dict[tuple[str, float], list[tuple[str, dict[str, Any]]]] = {}
    key = lake.keyring.purpose_key(REGISTER_PURPOSE)
    for row in pairs.to_pylist():
        name = _name(lake, row)
        drawn = hmac.digest(key, f"{seed} {name}".encode(), "sha256").hex()
        strata.setdefault((row["state"], _band(row["weight"] or 0.0)), []).append((drawn, {**row, "pair": name}))
    each = max(1, size // len(strata))
    chosen = [
        {**row, "stands_for": len(members) / min(each, len(members))}
        for _, members in sorted(strata.items())
        for _, row in sorted(members, key=lambda one: one[0])[:each]
    ]
    table = pa.Table.from_pylist(chosen, schema=SAMPLE_SCHEMA)
    wanted = pa.chunked_array([*table["record_id_l"].chunks, *table["record_id_r"].chunks], pa.string())
    described = _canonical(lake, registry, space, wanted.combine_chunks(), rows or records.conformed_rows)
    for file, content in ((_sample_records_file(lake, space), described), (_sample_file(lake, space), table)):
        lake.write_parquet(file.path, content, key=file.key)
    return len(table)


def sample(lake: Lake, space: Space) -> list[ReviewedPair]:
    """The pairs of the sample, those that nobody has labelled first."""
    drawn = _read(lake, _sample_file(lake, space))
    if drawn is None:
        return []
    verdicts = decisions.load(lake, space)
    said = _by_pair(verdicts)
    known = _read(lake, _sample_records_file(lake, space))
    shown = _shown(lake, space, drawn.to_pylist(), known, said, _shares(verdicts))
    return sorted(shown, key=lambda one: (bool(one.verdicts), one.pair))


@dataclass(frozen=True)
class Thresholds:
    """What the labels of the sample say of the two thresholds, beside those in force.

    `join_from`: the lowest band from which so many of the pairs that no guard stops are one person that `precision` is
    reached; null when the labels do not reach it. `review_from`: the lowest band in which anybody was found to be one
    person. `bands`: per state and band, labels, pairs they stand for, share that are one person.
    """

    labels: int
    precision: float
    join_from: float | None
    review_from: float | None
    join_from_in_force: float
    review_from_in_force: float
    bands: tuple[Mapping[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The answer of `review thresholds --json`: bands and shares, no pair."""
        return asdict(self)


def thresholds(lake: Lake, space: Space, *, precision: float = 0.999) -> Thresholds:
    """Recompute the thresholds from the labels of the sample; each label stands for the pairs that it was drawn from.

    States that a guard or a veto decides are told, and do not move the threshold of joining.
    """
    drawn = _read(lake, _sample_file(lake, space))
    verdicts = {row["pair"]: row["verdict"] for row in decisions.holding(decisions.load(lake, space))}
    strata: dict[tuple[str, float], list[tuple[bool, float]]] = {}
    for row in drawn.to_pylist() if drawn is not None else ():
        if verdicts.get(row["pair"]) in ("same", "different"):
            label = (verdicts[row["pair"]] == "same", row["stands_for"])
            strata.setdefault((row["state"], _band(row["weight"] or 0.0)), []).append(label)
    bands = tuple(
        {
            "state": state,
            "from": band,
            "labels": len(labels),
            "pairs": round(sum(stands_for for _, stands_for in labels)),
            "share_same": round(_share_same(labels), 4),
        }
        for (state, band), labels in sorted(strata.items())
    )
    free = {
        band: [
            label for (state, at), labels in strata.items() if at == band and state in _UNGUARDED for label in labels
        ]
        for band in BANDS
    }
    join_from = None
    for band in reversed(BANDS):
        above = [label for at, labels in free.items() if at >= band for label in labels]
        if not above or not free[band]:
            continue
        if _share_same(above) < precision:
            break
        join_from = band
    found_same = [band for band, labels in free.items() if any(is_same for is_same, _ in labels)]
    labels = sum(len(one) for one in strata.values())
    in_force = adopted_thresholds.in_force(lake, space)
    return Thresholds(
        labels,
        precision,
        join_from,
        min(found_same, default=None),
        in_force.join,
        in_force.review,
        bands,
    )


def adopt(lake: Lake, space: Space, *, precision: float, by: str) -> Thresholds:
    """Let the thresholds that the labels give hold from the next run on; the ledger notes who and which.

    Raises `TooFewLabels`. The caller holds the writer's lock.
    """
    told = thresholds(lake, space, precision=precision)
    if told.join_from is None:
        raise TooFewLabels(space)
    review_from = told.review_from_in_force if told.review_from is None else told.review_from
    adopted = adopted_thresholds.adopt(lake, space, join=told.join_from, review=min(review_from, told.join_from))
    ledger.append(
        lake, "thresholds", by, space=space, labels=told.labels, precision=f"{precision:g}",
        join=f"{adopted.join:g}", review=f"{adopted.review:g}",
    )  # fmt: skip
    return thresholds(lake, space, precision=precision)


_UNGUARDED = ("linked", "grey", "refused")


def _share_same(labels: list[tuple[bool, float]]) -> float:
    return sum(stands_for for is_same, stands_for in labels if is_same) / sum(stands_for for _, stands_for in labels)


def _canonical(lake: Lake, registry: Registry, space: Space, wanted: pa.Array, rows: records.Rows) -> pa.Table:
    """The canonical records of these ids, gathered again from the deliveries that count."""
    columns = ", ".join(f"any_value({name}) AS {name}" for name in PERSON_SCHEMA.names if name != "record_id")
    with lake.connect(sealed_spill=True) as connection:
        resolving.gather(connection, lake, registry, resolving.months_told(lake), rows)
        connection.register("wanted", pa.table({"record_id": wanted}))
        return connection.sql(
            f"SELECT record_id, {columns} FROM sightings SEMI JOIN wanted USING (record_id)"
            " WHERE person_space = $space GROUP BY record_id ORDER BY record_id",
            params={"space": space},
        ).to_arrow_table()


# -- files and names ---------------------------------------------------------------------------------------------------


def _sample_file(lake: Lake, space: Space) -> ParquetFile:
    return ParquetFile(lake.sealed / "identity" / space / "sample.parquet", lake.identity_key(space))


def _sample_records_file(lake: Lake, space: Space) -> ParquetFile:
    return ParquetFile(lake.sealed / "identity" / space / "sample_records.parquet", lake.identity_key(space))


def _read(lake: Lake, file: ParquetFile) -> pa.Table | None:
    return lake.read_parquet(file) if file.path.exists() else None


def _name(lake: Lake, row: Mapping[str, Any]) -> str:
    """A pair's name: a keyed token of its two records, the same as long as they say the same."""
    key = lake.keyring.purpose_key(REGISTER_PURPOSE)
    return hmac.digest(key, f"{row['record_id_l']} {row['record_id_r']}".encode(), "sha256").hex()[:16]


def _by_pair(verdicts: pa.Table) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in verdicts.to_pylist():
        found.setdefault(row["pair"], []).append(row)
    return found
