"""How good the linkage is, each month: what was measured on simulated truth beside what this month's records show.

Belongs here: the measures by pattern stored with the model, the month's figures, the estimated false non-matches of
each pair of sources. Does not belong here: the page (`quality_page`), precision and recall themselves (`evaluating`).

Nobody knows the truth of real files, so misses are estimated: of the pairs of records of one simulated person, the
share that linkage did not bring together, apart for two records that both carry a number, one that does, and none. The
misses between two sources are those shares, each weighing as much as persons known to both have that pattern. They say
nothing of errors that the simulation does not make; reviewers' labels (`reviewing.thresholds`) stand beside them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import duckdb
import pyarrow as pa

from insertion_pipeline.identity.evaluating import evaluate
from insertion_pipeline.identity.identifiers import SQL_MACROS
from insertion_pipeline.identity.scoring import MODEL_PATH
from insertion_pipeline.lake import Lake, ParquetFile, in_memory, write_json

#: What was measured with the model of this version of the program.
MEASURED_PATH: Final = MODEL_PATH.with_name("quality.json")
#: Bands of weight in which pairs are counted, to see them drift from one month to the next.
WEIGHT_BANDS: Final = (3, 6, 9, 12, 16, 24, 40)
#: Shares of fewer records than this are not shown: they would be about persons.
FEWEST_SHOWN: Final = 11
#: Nor are groups of fewer persons, or records, than this.
FEWEST_TOLD: Final = 5

#: One row per pair of sources, `source_a` < `source_b`: persons known to both, by how many of the two sides carry a
#: number, and the estimated share of persons of both who were taken for two.
MISSES_SCHEMA = pa.schema(
    [
        ("space", pa.string()),
        ("source_a", pa.string()),
        ("source_b", pa.string()),
        ("persons_in_both", pa.int64()),
        ("with_two_numbers", pa.int64()),
        ("with_one_number", pa.int64()),
        ("without_number", pa.int64()),
        ("share", pa.float64()),
    ]
)

#: One row per partner, source and month told: records, and those that a pair to review keeps uncertain.
DOUBTS_SCHEMA = pa.schema(
    [
        ("space", pa.string()),
        ("partner", pa.string()),
        ("source", pa.string()),
        ("month", pa.string()),
        ("records", pa.int64()),
        ("uncertain_records", pa.int64()),
    ]
)

#: Traits whose absence makes a record harder to recognise, and what says that they are there.
_TRAITS: Final[Mapping[str, str]] = {
    "number": "number IS NOT NULL",
    "birth_date": "birth_date IS NOT NULL",
    "given_name": "first_names IS NOT NULL",
    "sex": "sex IS NOT NULL",
    "residence": "coalesce(residence_code, postal_code) IS NOT NULL",
    "contact": "coalesce(email, phone) IS NOT NULL",
}
_NUMBERED = """
SELECT *, CASE WHEN person_space = 'fr' THEN canonical_nir(nir) ELSE canonical_niss(niss, NULL) END AS number
FROM {records}
"""
_MISSING = (
    "concat_ws(', ', "
    + ", ".join(f"CASE WHEN NOT ({there}) THEN '{name}' END" for name, there in _TRAITS.items())
    + ")"
)


@dataclass(frozen=True)
class MeasuredQuality:
    """What `insertion link --evaluate` measured on simulated truth with a model.

    `evaluation`: precision and recall of pairs, persons and B³. `misses`: share of the pairs of records of one person
    that stayed apart, by how many of the two carry a number (`two`, `one`, `none`). `by_missing`: missing traits of a
    record to (records, B³ recall).
    """

    model: str
    evaluation: Mapping[str, int | float]
    misses: Mapping[str, float]
    by_missing: Mapping[str, tuple[int, float]] = field(default_factory=dict)

    def save(self, path: Path = MEASURED_PATH) -> None:
        """Write it beside the model."""
        content = {
            "model": self.model,
            "evaluation": dict(self.evaluation),
            "misses": dict(self.misses),
            "by_missing": {name: list(told) for name, told in self.by_missing.items()},
        }
        write_json(path, content)

    @classmethod
    def load(cls, path: Path = MEASURED_PATH) -> MeasuredQuality:
        """What is stored with the model."""
        content = json.loads(path.read_bytes())
        by_missing = {name: (records, recall) for name, (records, recall) in content["by_missing"].items()}
        return cls(content["model"], content["evaluation"], content["misses"], by_missing)


# -- measuring on the truth --------------------------------------------------------------------------------------------

_TRUE_PAIRS = """
WITH described AS (
    SELECT records.record_id, truth.person_id AS real, found.person_id AS found, number IS NOT NULL AS has_number
    FROM numbered AS records JOIN truth USING (record_id) JOIN found USING (record_id)
)
SELECT CASE WHEN l.has_number AND r.has_number THEN 'two' WHEN l.has_number OR r.has_number THEN 'one'
        ELSE 'none' END AS pattern,
    count(*), count(*) FILTER (l.found <> r.found)
FROM described AS l JOIN described AS r ON l.real = r.real AND l.record_id < r.record_id
GROUP BY ALL ORDER BY ALL
"""
_BY_MISSING = f"""
WITH cells AS (
    SELECT truth.person_id AS real, found.person_id AS found, count(*) AS n
    FROM truth JOIN found USING (record_id) GROUP BY ALL
), sized AS (
    SELECT *, n / sum(n) OVER (PARTITION BY real) AS recall FROM cells
)
SELECT {_MISSING} AS missing, count(*) AS records, avg(recall)
FROM numbered JOIN truth USING (record_id) JOIN found USING (record_id)
JOIN sized ON sized.real = truth.person_id AND sized.found = found.person_id
GROUP BY ALL HAVING count(*) >= 50 ORDER BY records DESC, missing
"""


def measure(linked: pa.Table, truth: pa.Table, records: pa.Table, *, model: str) -> MeasuredQuality:
    """Measure a linkage of simulated records, canonical columns all there, against their truth."""
    evaluation = evaluate(linked, truth)
    with in_memory() as connection:
        connection.execute(SQL_MACROS)
        connection.register("records", records)
        connection.register("truth", truth.select(["record_id", "person_id"]))
        connection.register("found", linked.select(["record_id", "person_id"]))
        connection.execute(f"CREATE TEMP TABLE numbered AS {_NUMBERED.format(records='records')}")
        misses = {
            pattern: round(missed / pairs, 6) for pattern, pairs, missed in connection.execute(_TRUE_PAIRS).fetchall()
        }
        by_missing = {
            missing or "nothing": (int(count), round(float(recall), 6))
            for missing, count, recall in connection.execute(_BY_MISSING).fetchall()
        }
    return MeasuredQuality(model, evaluation.as_dict(), misses, by_missing)


# -- the month ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MonthlyQuality:
    """The month's figures of one person space: sizes and shares, nothing about a person or a small group.

    `by_partner` and `by_missing`: rows of (name, records, share linked with another record, share to review), and by
    partner the share without a number. `weights`: pairs by state and band of weight. `crowded`: rule or identifier to
    the size of its greatest key that made no pairs. `measured`: the model's quality on simulated truth. `doubts`:
    `DOUBTS_SCHEMA`, which indicators count and no page shows.
    """

    month: str
    space: str
    model: str
    records: int
    persons: int
    share_without_number: float
    by_method: Mapping[str, int]
    by_size: Mapping[str, int]
    by_partner: tuple[Mapping[str, Any], ...]
    by_missing: tuple[Mapping[str, Any], ...]
    by_number: Mapping[str, Mapping[str, Any]]
    misses: tuple[Mapping[str, Any], ...]
    weights: Mapping[str, Mapping[str, int]]
    to_review: Mapping[str, int]
    decided: int
    drift: float | None = None
    crowded: Mapping[str, int] = field(default_factory=dict)
    measured: Mapping[str, int | float] = field(default_factory=dict)
    doubts: pa.Table = field(default_factory=DOUBTS_SCHEMA.empty_table)

    def to_json(self) -> dict[str, Any]:
        """As it is stored beside the page, for the next month to compare with; null where a group is of one to four."""
        figures = {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "doubts"}
        for name in ("by_partner", "by_missing"):
            figures[name] = [{**row, "records": _told(row["records"])} for row in figures[name]]
        figures["by_number"] = {
            name: {**row, "records": _told(row["records"])} for name, row in figures["by_number"].items()
        }
        figures["misses"] = [
            {
                **{name: row[name] for name in ("source_a", "source_b", "share")},
                "persons_in_both": _told(row["persons_in_both"]),
            }
            for row in self.misses
        ]
        return figures

    def metadata(self) -> dict[str, int | float]:
        """The figures that an operator watches, flat."""
        watched: dict[str, int | float] = {
            "records": self.records,
            "persons": self.persons,
            "share without number": round(self.share_without_number, 4),
            "pairs to review": sum(self.to_review.values()),
            "pairs decided": self.decided,
            "persons of several records": self.persons - self.by_size.get("1", 0),
            "crowded keys": len(self.crowded),
            **{f"model {name}": value for name, value in self.measured.items() if name.startswith("cluster_")},
        }
        worst = max((row["share"] for row in self.misses if row["share"] is not None), default=None)
        if worst is not None:
            watched["greatest share of false non-matches"] = round(worst, 4)
        if self.drift is not None:
            watched["drift of weights"] = round(self.drift, 4)
        return {f"{self.space} {name}": value for name, value in watched.items()}


_SIGHTED = (
    """
CREATE OR REPLACE TEMP TABLE described AS
WITH once AS (
    SELECT record_id, source, any_value(partner) AS partner, any_value(person_space) AS person_space,
        any_value(nir) AS nir, any_value(niss) AS niss, any_value(birth_date) AS birth_date,
        any_value(first_names) AS first_names, any_value(sex) AS sex, any_value(residence_code) AS residence_code,
        any_value(postal_code) AS postal_code, any_value(email) AS email, any_value(phone) AS phone
    FROM sightings WHERE person_space = $space GROUP BY record_id, source
), sizes AS (
    SELECT person_id, count(*) AS size, count(DISTINCT partner) AS partners
    FROM linked JOIN once USING (record_id) GROUP BY person_id
), numbered AS (
"""
    + _NUMBERED.format(records="once")
    + f"""
)
SELECT record_id, source, partner, number IS NOT NULL AS has_number, {_MISSING} AS missing, person_id, needs_review,
    partners > 1 AS is_known_elsewhere
FROM numbered JOIN linked USING (record_id) JOIN sizes USING (person_id)
"""
)
_GROUPED = """
SELECT {by} AS name, count(*) AS records, avg(is_known_elsewhere::INTEGER) AS share_known_elsewhere,
    avg(needs_review::INTEGER) AS share_to_review, avg((NOT has_number)::INTEGER) AS share_without_number
FROM described GROUP BY ALL ORDER BY records DESC, name
"""
_DOUBTS = """
SELECT $space AS space, partner, source, month,
    count(*) AS records, count(*) FILTER (linked.needs_review) AS uncertain_records
FROM (SELECT DISTINCT record_id, partner, source, month FROM sightings WHERE person_space = $space)
JOIN linked USING (record_id)
GROUP BY ALL ORDER BY ALL
"""
_BETWEEN = """
WITH known AS (
    SELECT person_id, source, bool_or(has_number) AS has_number FROM described GROUP BY ALL
)
SELECT l.source AS source_a, r.source AS source_b, count(*) AS persons_in_both,
    count(*) FILTER (l.has_number AND r.has_number) AS with_two_numbers,
    count(*) FILTER (l.has_number <> r.has_number) AS with_one_number,
    count(*) FILTER (NOT l.has_number AND NOT r.has_number) AS without_number
FROM known AS l JOIN known AS r ON l.person_id = r.person_id AND l.source < r.source
GROUP BY ALL ORDER BY ALL
"""


def of_month(
    connection: duckdb.DuckDBPyConnection,
    pairs: pa.Table,
    space: str,
    month: str,
    measured: MeasuredQuality,
    *,
    decided: int,
    before: Mapping[str, Any] | None,
    crowded: Mapping[str, int] | None = None,
) -> MonthlyQuality:
    """The figures of a space from `sightings` and `linked`, which stand in `connection` with the macros of numbers, and
    from its weighed pairs.

    `before`: the stored figures of the month before, null when there are none. `crowded`: see `MonthlyQuality`.
    """
    connection.execute(_SIGHTED, {"space": space})
    connection.register("weighed_pairs", pairs)
    counts = dict(connection.execute("SELECT match_method, count(*) FROM linked GROUP BY ALL ORDER BY ALL").fetchall())
    sizes = connection.execute(
        """SELECT CASE WHEN size < 10 THEN size::VARCHAR ELSE '10+' END AS band, count(*)
        FROM (SELECT count(*) AS size FROM linked GROUP BY person_id) GROUP BY band ORDER BY min(size)"""
    ).fetchall()
    between = connection.sql(_BETWEEN).to_arrow_table().to_pylist()
    weights: dict[str, dict[str, int]] = {}
    for state, band, count in connection.execute(
        f"""SELECT state, list_max(list_filter({list(WEIGHT_BANDS)}, lambda one: one <= weight)) AS band, count(*)
        FROM weighed_pairs WHERE weight >= {WEIGHT_BANDS[0]} GROUP BY ALL ORDER BY ALL"""
    ).fetchall():
        weights.setdefault(state, {})[str(band)] = count
    by_number = {
        "with number" if row["name"] else "without number": _shown_share(row)
        for row in _grouped(connection, "has_number")
    }
    quality = MonthlyQuality(
        month=month,
        space=space,
        model=measured.model,
        records=sum(counts.values()),
        persons=sum(count for _, count in sizes),
        share_without_number=_one(connection, "SELECT coalesce(avg((NOT has_number)::INTEGER), 0) FROM described"),
        by_method=counts,
        by_size=dict(sizes),
        by_partner=tuple(_shown_share(row) for row in _grouped(connection, "partner")),
        by_missing=tuple(_shown_share(row) for row in _grouped(connection, "missing")[:12]),
        by_number=by_number,
        misses=tuple({"space": space, **row, "share": _missed(row, measured)} for row in between),
        weights=weights,
        to_review={state: sum(bands.values()) for state, bands in weights.items() if state != "linked"},
        decided=decided,
        drift=_drift(weights, before["weights"]) if before else None,
        crowded=crowded or {},
        measured=measured.evaluation,
        doubts=connection.sql(_DOUBTS, params={"space": space}).to_arrow_table().cast(DOUBTS_SCHEMA),
    )
    connection.unregister("weighed_pairs")
    return quality


def _grouped(connection: duckdb.DuckDBPyConnection, by: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(_GROUPED.format(by=by)).to_arrow_table().to_pylist()
    return rows


def _one(connection: duckdb.DuckDBPyConnection, query: str) -> float:
    return float(connection.execute(query).fetchall()[0][0])


def _told(size: int) -> int | None:
    """The size of a group, unless it is of a few."""
    return None if 0 < size < FEWEST_TOLD else size


def _shown_share(row: Mapping[str, Any]) -> dict[str, Any]:
    """The row, without shares where it is of too few records."""
    is_shown = row["records"] >= FEWEST_SHOWN
    return {
        name: value if not name.startswith("share") else round(value, 4) if is_shown else None
        for name, value in row.items()
    }


def _missed(row: Mapping[str, int], measured: MeasuredQuality) -> float | None:
    """The estimated share of persons of both sources who were taken for two: those found stand for those missed."""
    expected = missed = 0.0
    for column, pattern in (("with_two_numbers", "two"), ("with_one_number", "one"), ("without_number", "none")):
        share = measured.misses.get(pattern, 0.0)
        really = row[column] / (1 - share) if share < 1 else 0.0
        expected += really
        missed += really * share
    return round(missed / expected, 6) if expected else None


def _drift(now: Mapping[str, Mapping[str, int]], before: Mapping[str, Mapping[str, int]]) -> float:
    """Population stability index of the weights of linked pairs: under 0.1 nothing moved, above 0.25 much did."""
    index = 0.0
    sums = [sum(one.get("linked", {}).values()) or 1 for one in (now, before)]
    for band in map(str, WEIGHT_BANDS):
        share, former = (
            max(one.get("linked", {}).get(band, 0) / total, 1e-4)
            for one, total in zip((now, before), sums, strict=True)
        )
        index += (share - former) * math.log(share / former)
    return round(index, 6)


# -- files -------------------------------------------------------------------------------------------------------------


def misses_file(lake: Lake) -> ParquetFile:
    """The estimated false non-matches of each pair of sources, which indicators state beside their values."""
    return ParquetFile(lake.open_area / "linkage" / "false_non_matches.parquet")


def doubts_file(lake: Lake) -> ParquetFile:
    """How many records of each partner, source and month are uncertain, which indicators count."""
    return ParquetFile(lake.open_area / "linkage" / "uncertain_records.parquet")


def folder(lake: Lake) -> Path:
    """The monthly reports, one page and one file of figures a month."""
    return lake.home / "quality"


def before(lake: Lake, space: str, month: str) -> Mapping[str, Any] | None:
    """The stored figures of the last report before `month`."""
    earlier = sorted(path for path in folder(lake).glob(f"*.{space}.json") if path.name[:7] < month)
    return json.loads(earlier[-1].read_bytes()) if earlier else None


def keep(lake: Lake, spaces: list[MonthlyQuality]) -> list[Path]:
    """Write the figures of the month, and the misses and doubts where indicators read them; returns the files."""
    rows = [row for one in spaces for row in one.misses]
    lake.write_parquet(misses_file(lake).path, pa.Table.from_pylist(rows, schema=MISSES_SCHEMA))
    doubts = pa.concat_tables([DOUBTS_SCHEMA.empty_table(), *(one.doubts for one in spaces)])
    lake.write_parquet(doubts_file(lake).path, doubts)
    figures = {folder(lake) / f"{one.month}.{one.space}.json": one for one in spaces}
    for path, one in figures.items():
        write_json(path, one.to_json())
    return [misses_file(lake).path, doubts_file(lake).path, *figures]
