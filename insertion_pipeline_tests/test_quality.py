"""The monthly report on linkage quality: what was measured, what is estimated, what the page shows and does not."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from insertion_pipeline.identity import quality, resolving
from insertion_pipeline.identity.identifiers import SQL_MACROS
from insertion_pipeline.identity.linkage import PAIRS_SCHEMA
from insertion_pipeline.identity.normalising import PERSON_SCHEMA
from insertion_pipeline.identity.quality import MeasuredQuality, MonthlyQuality
from insertion_pipeline.identity.quality_page import page
from insertion_pipeline.identity.scoring import frozen_model
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.test_identity import Delivered, delivered, nir  # noqa: F401 (a fixture)

MEASURED = MeasuredQuality(
    "test",
    {"records": 10}
    | {f"{key}_{what}": 0.99 for key in ("pair", "cluster", "b3") for what in ("precision", "recall", "f1")},
    {"none": 0.1, "one": 0.05, "two": 0.01},
    {"number, contact": (120, 0.97)},
)


def records(*rows: dict[str, str | None]) -> pa.Table:
    defaults = {"person_space": "fr", "partner": "dep-08"}
    return pa.Table.from_pylist([{**defaults, **row} for row in rows], schema=PERSON_SCHEMA)


def test_misses_are_counted_apart_for_pairs_with_two_numbers_one_and_none() -> None:
    number = nir("2850308105123")
    given = records(
        {"record_id": "a", "nir": number}, {"record_id": "b", "nir": number}, {"record_id": "c"}, {"record_id": "d"}
    )
    truth = pa.table({"record_id": list("abcd"), "person_id": ["1"] * 4})
    linked = pa.table({"record_id": list("abcd"), "person_id": ["x", "x", "x", "y"]})
    measured = quality.measure(linked, truth, given, model="test")
    # a–b share a number and are together; a–c, b–c together, a–d, b–d apart; c–d apart
    assert measured.misses == {"two": 0.0, "one": 0.5, "none": 1.0}
    assert measured.evaluation["pair_recall"] == 0.5


def test_the_quality_of_the_model_in_use_is_stored_with_it() -> None:
    measured = MeasuredQuality.load()
    assert measured.model == frozen_model().version
    assert measured.evaluation["cluster_f1"] >= 0.99
    assert set(measured.misses) == {"two", "one", "none"}
    assert measured.misses["two"] < measured.misses["none"] < 0.05


def monthly(
    lake: Lake, sightings: list[tuple[str, str, str, str | None, str]], month: str = "2026-10"
) -> MonthlyQuality:
    """The figures of records (record, source, partner, number, person)."""
    with lake.connect() as connection:
        connection.execute(SQL_MACROS)
        rows = [
            {"record_id": record, "source": source, "partner": partner, "nir": number, "person_space": "fr",
             "birth_date": "1985-03-07", "first_names": "X", "sex": "2", "postal_code": "08000", "month": month}
            for record, source, partner, number, _ in sightings
        ]  # fmt: skip
        schema = pa.schema([*PERSON_SCHEMA, ("source", pa.string()), ("month", pa.string())])
        connection.register("sightings", pa.Table.from_pylist(rows, schema=schema))
        linked = [
            {"record_id": record, "person_id": person, "match_method": "scored", "needs_review": record == "c"}
            for record, *_, person in sightings
        ]
        connection.register("linked", pa.Table.from_pylist(linked))
        pairs = pa.Table.from_pylist(
            [{"record_id_l": "a", "record_id_r": "b", "weight": 13.5, "state": "linked"},
             {"record_id_l": "a", "record_id_r": "c", "weight": 5.0, "state": "grey"}],
            schema=PAIRS_SCHEMA,
        )  # fmt: skip
        return quality.of_month(
            connection, pairs, "fr", month, MEASURED, decided=2, before=quality.before(lake, "fr", month)
        )


NUMBER = "2850308105123"
SIGHTINGS = [
    ("a", "department_list", "dep-08", nir(NUMBER), "p"), ("b", "ft_spie", "france-travail", None, "p"),
    ("c", "department_list", "dep-08", None, "q"), ("d", "ft_spie", "france-travail", None, "q"),
    ("e", "ft_spie", "france-travail", None, "r"),
]  # fmt: skip


def test_the_false_non_matches_of_two_sources_follow_their_share_of_numbers(lake: Lake) -> None:
    told = monthly(lake, SIGHTINGS)
    (between,) = told.misses
    assert (between["source_a"], between["source_b"], between["persons_in_both"]) == ("department_list", "ft_spie", 2)
    assert (between["with_two_numbers"], between["with_one_number"], between["without_number"]) == (0, 1, 1)
    found, really = 2, 1 / 0.95 + 1 / 0.9
    assert between["share"] == pytest.approx((really - found) / really, abs=1e-6)
    quality.keep(lake, [told])
    stored = lake.read_parquet(quality.misses_file(lake))
    assert stored.schema.equals(quality.MISSES_SCHEMA)
    assert stored["share"].to_pylist() == [between["share"]]


def test_persons_are_counted_by_their_records_from_few_to_many(lake: Lake) -> None:
    many = [(f"m{rank}", "ft_spie", "france-travail", None, "m") for rank in range(10)]
    assert list(monthly(lake, [*SIGHTINGS, *many]).by_size.items()) == [("1", 1), ("2", 2), ("10+", 1)]


def test_weights_that_stay_do_not_drift_and_the_figures_watched_are_flat(lake: Lake) -> None:
    first = monthly(lake, SIGHTINGS, "2026-09")
    assert first.drift is None
    quality.keep(lake, [first])
    second = monthly(lake, SIGHTINGS)
    assert second.drift == 0
    assert second.weights == {"linked": {"12": 1}, "grey": {"3": 1}}
    assert second.metadata()["fr pairs to review"] == 1
    assert second.metadata()["fr pairs decided"] == 2
    assert all(isinstance(value, int | float) for value in second.metadata().values())


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.opened: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.opened.append((tag, dict(attrs)))


def test_the_page_is_whole_french_and_fetches_nothing(lake: Lake) -> None:
    text = page([monthly(lake, SIGHTINGS)], MEASURED)
    tags = _Tags()
    tags.feed(text)
    names = [tag for tag, _ in tags.opened]
    assert ("html", {"lang": "fr"}) in tags.opened
    assert names.count("svg") >= 3
    assert not {"script", "link", "img", "iframe"} & set(names)
    assert not re.search(r"https?:|url\(|@import", text)
    assert all(attributes.get("aria-label") for tag, attributes in tags.opened if tag == "svg")
    assert "moins de 5" in text
    assert "<td>sans numéro</td>" in text
    shares = re.findall(r"<tr><td>dep-08</td>(.*?)</tr>", text)
    assert len(shares) == 1
    assert shares[0].count("—") == 3, "no share of fewer than eleven records"


def test_neither_the_page_nor_the_figures_beside_it_tell_how_many_a_few_are(lake: Lake) -> None:
    """Two persons in both sources, two records of a department, six of an employment service beside one more."""
    more = [(f"m{rank}", "ft_spie", "france-travail", None, f"m{rank}") for rank in range(3)]
    told = monthly(lake, [*SIGHTINGS, *more])
    quality.keep(lake, [told])
    figures = json.loads((quality.folder(lake) / "2026-10.fr.json").read_bytes())
    assert [(row["name"], row["records"]) for row in figures["by_partner"]] == [("france-travail", 6), ("dep-08", None)]
    assert {name: row["records"] for name, row in figures["by_number"].items()} == {
        "with number": None, "without number": 7,
    }  # fmt: skip
    assert [sorted(row) for row in figures["misses"]] == [["persons_in_both", "share", "source_a", "source_b"]]
    assert figures["misses"][0]["persons_in_both"] is None
    (row,) = re.findall(r"<tr><td>dep-08</td>(.*?)</tr>", page([told], MEASURED))
    assert re.findall(r">([^<]+)<", row) == ["moins de 5", "—", "—", "—"]


def test_a_run_leaves_the_page_the_figures_and_what_indicators_read(
    lake: Lake,
    registry: Registry,
    delivered: Delivered,  # noqa: F811
) -> None:
    resolution = resolving.resolve(lake, registry, (Month(2026, 9), Month(2026, 10)), rows=delivered)
    assert resolution.watched["fr persons"] == 2
    text = (quality.folder(lake) / "2026-10.html").read_text(encoding="utf-8")
    assert "France" in text
    assert not re.search("VALBRUNOT|ODILE|DORSET", text.upper())
    figures = json.loads((quality.folder(lake) / "2026-10.fr.json").read_bytes())
    assert figures["persons"] == 2
    assert figures["measured"]["cluster_f1"] == resolution.watched["fr model cluster_f1"] > 0.99
    assert resolution.watched["fr crowded keys"] == 0
    misses = lake.read_parquet(quality.misses_file(lake))
    assert misses.num_rows == 3
    assert pc.min(misses["share"]).as_py() > 0
