"""The review: what waits, in which order, what a reviewer sees, and decisions that hold for ever."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.identity import decisions, ledger, resolving, reviewing, rights, rotating, thresholds
from insertion_pipeline.identity.scoring import frozen_model
from insertion_pipeline.lake import Lake
from insertion_pipeline_tests.artefacts import shown_texts
from insertion_pipeline_tests.reviewed_home import NUMBERS, ROWS, Home


@pytest.fixture
def home(resolved: Home, tmp_path: Path) -> Home:
    return Home.copy_of(resolved, tmp_path)


FOUND = {frozenset("1"), frozenset("2"), frozenset("35"), frozenset("4")}


def test_what_the_machine_leaves_open_waits_with_levels_and_no_value(home: Home) -> None:
    assert home.together() == FOUND
    waiting = home.waiting()
    assert set(waiting) == {"guarded", "vetoed"}
    twins = waiting["guarded"]
    assert (twins.levels["surname"], twins.levels["birth"], twins.levels["given"]) == ("exact", "exact", "else")
    assert twins.partners == ("dep-52", "dep-52")
    assert twins.months_counted_twice == 1
    shown = json.dumps([pair.to_json() for pair in waiting.values()])
    assert not any(value in shown.upper() for value in ("GARMONTET", "VALBRUNOT", "ODILE", NUMBERS[0], "1985"))


def test_the_most_uncertain_pair_on_which_most_depends_comes_first(home: Home) -> None:
    first, second = reviewing.queue(home.lake, "fr")
    assert (first.state, second.state) == ("guarded", "vetoed")
    assert first.usefulness > second.usefulness
    assert [pair.state for pair in reviewing.queue(home.lake, "fr", state="vetoed")] == ["vetoed"]
    assert reviewing.backlog(home.lake, "fr") == reviewing.Backlog({"guarded": 1, "vetoed": 1}, 0)


def test_same_holds_for_ever_after_a_redelivery_that_says_something_else_and_after_a_rebuild(home: Home) -> None:
    reviewing.decide(home.lake, "fr", home.waiting()["guarded"].pair, "same", by="anne")
    assert "guarded" not in home.waiting()
    home.run()
    together = {frozenset("12"), frozenset("35"), frozenset("4")}
    assert home.together() == together
    changed = ["1;Chloé;GARMONTET;07/03/1985;;chloe@exemple.fr;rsa_clos", *ROWS[1:]]
    home.deliver(*changed)
    home.run()
    assert home.together() == together, "the record is another, the person is the same"
    for path in (home.lake.sealed / "identity").rglob("*.parquet"):
        path.unlink()
    (home.lake.landing / "register" / "fr" / "register.json").unlink()
    home.run()
    assert home.together() == together


def test_different_parts_what_the_machine_would_join(home: Home) -> None:
    home.deliver(
        "6;Odile;VALBRUNOT;11/02/1982;;odile@exemple.fr;rsa_clos",
        "7;ODILE;Valbrunot;11/02/1982;;odile@exemple.fr;rsa_clos",
    )
    home.run()
    assert home.together() == {frozenset("67")}
    reviewing.draw_sample(home.lake, home.registry, "fr", 10)
    (pair,) = reviewing.sample(home.lake, "fr")
    assert pair.state == "linked"
    reviewing.decide(home.lake, "fr", pair.pair, "different", by="anne")
    home.run()
    assert home.together() == {frozenset("6"), frozenset("7")}


def test_same_of_two_trusted_numbers_takes_two_reviewers(home: Home) -> None:
    pair = home.waiting()["vetoed"].pair
    assert reviewing.decide(home.lake, "fr", pair, "same", by="anne").is_waiting
    assert reviewing.decide(home.lake, "fr", pair, "same", by="anne").is_waiting
    home.run()
    assert home.together() == FOUND
    assert home.waiting()["vetoed"].is_waiting
    assert not reviewing.decide(home.lake, "fr", pair, "same", by="bruno").is_waiting
    home.run()
    assert home.together() == {frozenset("1"), frozenset("2"), frozenset("3"), frozenset("45")}


def test_the_newest_verdict_counts_and_unsure_decides_nothing(home: Home) -> None:
    pair = home.waiting()["guarded"].pair
    for verdict in ("same", "unsure"):
        reviewing.decide(home.lake, "fr", pair, verdict, by="anne")
    assert (
        decisions.constraints(home.lake, "fr", home.lake.read_parquet(resolving.review_records_file(home.lake, "fr")))
        is None
    )
    assert decisions.digests(home.lake) == ()
    assert reviewing.backlog(home.lake, "fr").decided == 1


def test_values_are_shown_on_demand_and_every_look_is_noted(home: Home) -> None:
    pair = home.waiting()["guarded"].pair
    left, right = reviewing.look(home.lake, "fr", pair, by="anne")
    assert {left["first_names"], right["first_names"]} == {"Chloé", "Manon"}
    (noted,) = ledger.entries(home.lake.home)
    assert (noted.act, noted.by, noted.facts["pair"]) == ("look", "anne", pair)
    with pytest.raises(reviewing.UnknownPair):
        reviewing.look(home.lake, "fr", "0" * 16, by="anne")


def test_nothing_of_a_review_an_erasure_or_a_report_names_anybody_outside_the_seal(home: Home) -> None:
    """Recognisable values, planted by the list above, are looked for in every artefact of the home."""
    waiting = home.waiting()
    reviewing.look(home.lake, "fr", waiting["guarded"].pair, by="anne")
    reviewing.decide(home.lake, "fr", waiting["guarded"].pair, "same", by="anne")
    reviewing.draw_sample(home.lake, home.registry, "fr", 10)
    sampled = reviewing._sample_records_file(home.lake, "fr")
    assert NUMBERS[0] in home.lake.read_parquet(sampled)["nir"].to_pylist()
    rights.erase(home.lake, home.registry, rights.Request("fr", nir=NUMBERS[0]), by="dpo")
    assert NUMBERS[0] not in home.lake.read_parquet(sampled)["nir"].to_pylist()
    rotating.rotate_space(home.lake, "fr", by="operator")
    home.run()
    planted = ["GARMONTET", "VALBRUNOT", "ODILE", "CHLOÉ", "ODILE@EXEMPLE.FR", *NUMBERS, *(one[:13] for one in NUMBERS)]
    shown = {path.relative_to(home.lake.home): text.upper() for path, text in shown_texts(home.lake.home)}
    assert {path.parts[0] for path in shown} >= {"landing", "tombstones", "quality", "lake"}
    for path, text in shown.items():
        assert not any(value in text for value in planted), path
    for path in home.lake.sealed.rglob("*"):
        content = path.read_bytes().decode("utf-8", "replace").upper() if path.is_file() else ""
        assert not any(value in content for value in planted), path


def test_thresholds_come_from_labels_each_standing_for_its_band(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow as pa

    rows = [
        {"pair": f"{state}{weight}{rank}", "record_id_l": "a", "record_id_r": "b", "weight": weight, "state": state,
         "reason": None, "stands_for": stands_for}
        for state, weight, stands_for in (
            ("linked", 30.0, 100.0), ("linked", 13.0, 10.0), ("linked", 9.5, 5.0), ("grey", 4.0, 2.0),
        )
        for rank in range(10)
    ]  # fmt: skip
    same = {"linked30.0": 10, "linked13.0": 10, "linked9.5": 8, "grey4.0": 3}
    table = pa.Table.from_pylist(rows, schema=reviewing.SAMPLE_SCHEMA)
    file = reviewing._sample_file(lake, "fr")
    lake.write_parquet(file.path, table, key=file.key)
    verdicts = [
        {"pair": row["pair"], "verdict": "same" if int(row["pair"][-1]) < same[row["pair"][:-1]] else "different",
         "state": row["state"], "number": rank, "by": "anne"}
        for rank, row in enumerate(rows)
    ]  # fmt: skip
    file = decisions.file(lake, "fr")
    lake.write_parquet(file.path, pa.Table.from_pylist(verdicts, schema=decisions.SCHEMA), key=file.key)
    told = reviewing.thresholds(lake, "fr", precision=0.999)
    assert (told.labels, told.join_from, told.review_from) == (40, 12.0, 3.0)
    shares: Mapping[float, float] = {band["from"]: band["share_same"] for band in told.bands}
    assert shares == {3.0: 0.3, 9.0: 0.8, 12.0: 1.0, 24.0: 1.0}
    assert reviewing.thresholds(lake, "fr", precision=0.99).join_from == 9.0

    adopted = reviewing.adopt(lake, "fr", precision=0.999, by="anne")
    assert (adopted.join_from_in_force, adopted.review_from_in_force) == (12.0, 3.0)
    assert thresholds.in_force(lake, "fr") == replace(frozen_model().thresholds, join=12.0, neighbours=12.0)
    assert thresholds.digests(lake) == ("fr: join 12, review 3",)
    with pytest.raises(reviewing.TooFewLabels):
        reviewing.adopt(lake, "be", precision=0.999, by="anne")


def test_adopted_thresholds_are_obeyed_and_stand_in_the_name_of_releases(home: Home) -> None:
    assert home.together() == FOUND
    assert thresholds.digests(home.lake) == ()
    thresholds.adopt(home.lake, "fr", join=200.0, review=3.0)
    home.run()
    assert home.together() == {frozenset(one) for one in "12345"}, "no weight is that great"
    assert {pair.state for pair in reviewing.queue(home.lake, "fr")} == {"guarded", "grey"}
    assert thresholds.digests(home.lake) == ("fr: join 200, review 3",)


def test_the_commands_answer_with_codes(home: Home) -> None:
    runner, place = CliRunner(), ["--home", str(home.lake.home), "--json"]
    listed = runner.invoke(app, [*place, "review", "list"])
    pairs = {pair["state"]: pair["pair"] for pair in json.loads(listed.output)}
    assert (
        runner.invoke(app, [*place, "review", "decide", pairs["guarded"], "different", "--by", "anne"]).exit_code == 0
    )
    assert runner.invoke(app, [*place, "review", "decide", pairs["vetoed"], "same", "--by", "anne"]).exit_code == 6
    assert runner.invoke(app, [*place, "review", "decide", "nothing", "same"]).exit_code == 4
    assert runner.invoke(app, [*place, "review", "decide", pairs["vetoed"], "perhaps"]).exit_code == 4
    assert runner.invoke(app, [*place, "review", "thresholds"]).exit_code == 0
    assert runner.invoke(app, [*place, "review", "thresholds", "--adopt", "--by", "anne"]).exit_code == 3
