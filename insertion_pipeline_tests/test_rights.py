"""The rights of persons, end to end: erased is away for good, objecting is away where that is honoured."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from insertion_pipeline import doctoring
from insertion_pipeline.identity import ledger, remembering, resolving, rights, rotating
from insertion_pipeline.identity.normalising import Remembered
from insertion_pipeline.identity.register import Register
from insertion_pipeline.identity.rights import Request, SeveralPersons, UnclearRequest
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.registry import Registry
from insertion_pipeline.settings import Settings
from insertion_pipeline_tests.artefacts import shown_texts
from insertion_pipeline_tests.department_home import (
    HER_ROWS,
    HERS,
    OCTOBER,
    OTHER_ROWS,
    SEPTEMBER,
    Home,
    listing,
)

HER = Request("fr", nir=HERS)


@pytest.fixture
def home(department: Home) -> Home:
    return department


def test_who_was_erased_stays_away_whatever_is_delivered_rebuilt_or_restored(
    home: Home, tmp_path: Path, registry: Registry
) -> None:
    backup = tmp_path / "backup"
    shutil.copytree(home.folder, backup)
    removal = rights.erase(home.lake, registry, HER, by="dpo")
    assert (removal.records, removal.persons, removal.deliveries) == (1, 1, 1)
    assert (home.known(), home.persons(), home.pseudonymised()) == (["77002", "77003"], 2, 2)
    # the same snapshot again, then others that hold her
    home.deliver(tmp_path / "list.csv")
    home.deliver(listing(tmp_path / "more.csv", *OTHER_ROWS, *HER_ROWS))
    home.deliver(listing(tmp_path / "september.csv", *HER_ROWS), SEPTEMBER)
    home.run(SEPTEMBER, OCTOBER)
    assert (home.known(), home.persons(), home.pseudonymised()) == (["77002", "77003"], 2, 2)
    # everything made again from what landed
    for folder in ("sealed", "lake"):
        shutil.rmtree(home.folder / folder)
    home.run(OCTOBER)
    assert (home.known(), home.persons(), home.pseudonymised()) == (["77002", "77003"], 2, 2)
    # a copy from before the erasure put back
    shutil.copytree(home.folder / "tombstones", backup / "tombstones")
    shutil.rmtree(home.folder)
    shutil.copytree(backup, home.folder)
    home.run()
    assert (home.known(), home.persons(), home.pseudonymised()) == (["77002", "77003"], 2, 2)
    members = Register.opened(home.lake, "fr").members
    assert len(members) == 2, "the register that came back forgets her too"


def test_a_proof_stays_and_says_nothing_of_the_person(home: Home, registry: Registry) -> None:
    (her,) = rights.find(home.lake, registry, HER).persons
    rights.erase(home.lake, registry, HER, by="dpo")
    assert [entry.act for entry in ledger.entries(home.lake.home)] == ["erasure"]
    assert ledger.first_break(home.lake.home) is None
    told = ledger.path(home.lake.home).read_text()
    assert not any(value in told for value in (HERS, HERS[:13], "VALBRUNOT", "77001", her))
    ledger.path(home.lake.home).write_text(told.replace('"dpo"', '"nobody"'))
    assert ledger.first_break(home.lake.home) == 1
    points = {point.point: point for point in doctoring.examine(Settings(home=home.folder))}
    assert not points["Journal des personnes"].is_well


def test_nothing_of_the_erased_person_is_left_in_any_file(home: Home, registry: Registry) -> None:
    (her,) = rights.find(home.lake, registry, HER).persons
    rights.erase(home.lake, registry, HER, by="dpo")
    register = Register.opened(home.lake, "fr")
    assert her not in str([register.members, register.ids, register.events])
    for path, text in shown_texts(home.folder):
        assert not any(value in text for value in (HERS, "Zéphirine", her)), path
    for path in (home.folder / "sealed").rglob("*.parquet"):
        partner = registry.partner("dep-52")
        keys = [*map(home.lake.identity_key, ("fr", "be")), *_data_keys(home, partner.code)]
        opened = [text for key in keys if (text := _opened(home.lake, path, key)) is not None]
        assert opened, path
        assert not any(HERS in text or "77001" in text for text in opened), path


def test_what_standardisation_remembers_is_of_the_records_read_and_goes_with_who_is_erased(
    home: Home, registry: Registry
) -> None:
    remembered = remembering.recall(home.lake, "fr").records
    assert remembered is not None
    persons = home.lake.read_parquet(resolving.persons_file(home.lake, "fr"))
    assert remembered["record_id"].to_pylist() == persons["record_id"].to_pylist()
    rotating.rotate_space(home.lake, "fr", by="dpo")
    assert remembering.recall(home.lake, "fr").records == remembered
    rights.erase(home.lake, registry, HER, by="dpo")
    assert remembering.recall(home.lake, "fr") == Remembered()
    home.run()
    left = remembering.recall(home.lake, "fr").records
    assert left is not None
    assert len(left) == len(remembered) - 1


def _data_keys(home: Home, partner: str) -> list[bytes]:
    wrapped = (home.folder / "landing" / "content").rglob(f"*.{partner}.key")
    return [home.lake.keyring.unwrap("fr", path.read_bytes()) for path in wrapped]


def _opened(lake: Lake, path: Path, key: bytes) -> str | None:
    try:
        return str(lake.read_parquet(ParquetFile(path, key)).to_pylist())
    except (OSError, ValueError):
        return None


def test_a_namesake_with_a_number_of_her_own_stays(home: Home, registry: Registry) -> None:
    with pytest.raises(SeveralPersons) as several:
        rights.find(
            home.lake, registry, Request("fr", name="Valbrunot", first_name="zephirine", birth_date="1980-04-05")
        )
    assert len(several.value.persons) == 2
    (her,) = rights.find(home.lake, registry, HER).persons
    assert her in several.value.persons
    assert "VALBRUNOT" not in str(several.value).upper()


def test_an_objection_holds_where_it_is_honoured_only(home: Home, registry: Registry, tmp_path: Path) -> None:
    source = registry.source("department_list")
    assert source.insertion.objection == "honoured"
    removal = rights.object_to(home.lake, registry, HER, by="dpo")
    assert removal.records == 1
    assert home.known() == ["77002", "77003"]
    home.run()
    assert home.persons() == 2


def test_an_access_request_is_answered_with_everything_and_noted(home: Home, registry: Registry) -> None:
    told = rights.held_on(home.lake, registry, HER, by="dpo")
    (row,) = told["rows"]
    assert (row["source"], row["first_name"], row["nir"]) == ("department_list", "Zéphirine", HERS)
    assert [event["event"] for event in told["events"]] == ["create"]
    assert told["sources"]["department_list"]["retention_months"] == {"raw": 13, "identifiers": 24, "facts": 60}
    assert "77002" not in json.dumps(told, default=str)
    assert [entry.act for entry in ledger.entries(home.lake.home)] == ["access"]


def test_a_request_that_says_too_little_is_refused_and_shown_without_values(home: Home, registry: Registry) -> None:
    with pytest.raises(UnclearRequest):
        rights.find(home.lake, registry, Request("fr", name="Valbrunot"))
    with pytest.raises(UnclearRequest):
        rights.find(home.lake, registry, Request("fr", nir="12"))
    assert HERS not in repr(HER)


def test_somebody_nobody_has_delivered_yet_is_kept_out_too(tmp_path: Path, registry: Registry) -> None:
    home = Home(tmp_path / "home", registry)
    removal = rights.erase(home.lake, registry, HER, by="dpo")
    assert (removal.records, removal.persons) == (0, 0)
    home.deliver(listing(tmp_path / "list.csv", *HER_ROWS, *OTHER_ROWS))
    assert home.known() == ["77002", "77003"]
