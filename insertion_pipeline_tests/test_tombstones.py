"""Tombstones: an erased person does not come back, whatever is delivered, replayed or restored."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from insertion_pipeline.identity.identifiers import nir_key
from insertion_pipeline.ingestion import content, deliveries, tombstones
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.test_landing import rows, tree

SEPTEMBER, OCTOBER = Month(2026, 9), Month(2026, 10)
HERS, ANOTHERS = ("2800452121001" + nir_key("2800452121001"), "2800454395002" + nir_key("2800454395002"))
HEADER = "Identifiant dans le SI*;Prénom*;Nom*;Date de naissance*;NIR;Droits RSA"
PERSON = {"nir": HERS, "birth_name": "Modèle", "first_names": "Élodie Marie", "birth_date": "1980-04-05"}


def persons(*records: dict[str, str]) -> pa.Table:
    return pa.Table.from_pylist([{name: one.get(name) for name in tombstones.PERSON_COLUMNS} for one in records])


def listing(path: Path, *lines: str) -> Path:
    path.write_text("\n".join([HEADER, *lines, ""]), encoding="utf-8")
    return path


EVERYBODY = (
    f"1;Élodie;MODELE;05/04/1980;{HERS};rsa_clos",  # her number
    f"2;ELODIE;MODÈLE;05/04/1980;{ANOTHERS};rsa_clos",  # a namesake with a number of her own
    "3;elodie;modele;05/04/1980;;rsa_clos",  # her name and birth date, without any number
    "4;MODELE;ELODIE;1980-04-05;;rsa_clos",  # the same, swapped
    "5;Élodie;MODELE;06/04/1980;;rsa_clos",  # another birth date
    f"6;Paul;ESSAI;01/02/1970;{HERS[:13]};rsa_clos",  # her number without its key, under another name
)


def deposit(path: Path, registry: Registry, lake: Lake, month: Month = SEPTEMBER) -> Any:
    return deliver(path, "dep-52", "department_list", month, registry, lake).receipt


def left(lake: Lake, registry: Registry, *months: Month) -> list[object]:
    return [row["department_internal_id"] for row in rows(lake, registry, *(months or (SEPTEMBER,)))]


def test_an_erased_person_does_not_come_back_with_a_later_delivery(
    tmp_path: Path, registry: Registry, lake: Lake
) -> None:
    tombstones.write(lake, "fr", "erasure", persons(PERSON))
    receipt = deposit(listing(tmp_path / "x", *EVERYBODY), registry, lake)
    assert left(lake, registry) == ["2", "5"]
    assert (receipt.status, dict(receipt.rows), receipt.account.accepted) == ("applied", {"beneficiaires": 6}, 6)
    assert deliveries.stored_rows(lake, registry, receipt) == {"beneficiaires": 6}


def test_bytes_that_hold_an_erased_person_are_not_kept(tmp_path: Path, registry: Registry, lake: Lake) -> None:
    tombstones.write(lake, "fr", "erasure", persons(PERSON))
    with_her = deposit(listing(tmp_path / "x", *EVERYBODY), registry, lake)
    without_her = deposit(listing(tmp_path / "y", EVERYBODY[1]), registry, lake, OCTOBER)
    partner = registry.partner("dep-52")
    assert not content.has_bytes(lake, partner, with_her.sha256)
    assert content.has_bytes(lake, partner, without_her.sha256)


def test_an_erasure_reaches_what_is_kept_already(tmp_path: Path, registry: Registry, lake: Lake) -> None:
    receipt = deposit(listing(tmp_path / "x", *EVERYBODY), registry, lake)
    deposit(listing(tmp_path / "y", EVERYBODY[1], EVERYBODY[4]), registry, lake, OCTOBER)
    assert len(left(lake, registry)) == 6
    tombstones.write(lake, "fr", "erasure", persons(PERSON))
    assert deliveries.forget(lake, registry) == 1
    assert deliveries.forget(lake, registry) == 0
    assert left(lake, registry) == ["2", "5"]
    assert left(lake, registry, OCTOBER) == ["2", "5"]
    assert deliveries.stored_rows(lake, registry, receipt) == {"beneficiaires": 6}
    assert not content.has_bytes(lake, registry.partner("dep-52"), receipt.sha256)


def test_restoring_an_older_backup_brings_nobody_back(tmp_path: Path, registry: Registry, lake: Lake) -> None:
    path = listing(tmp_path / "x", *EVERYBODY)
    deposit(path, registry, lake)
    for name in ("landing", "sealed"):
        shutil.copytree(lake.home / name, tmp_path / "backup" / name)
    tombstones.write(lake, "fr", "erasure", persons(PERSON))
    deliveries.forget(lake, registry)
    for name in ("landing", "sealed"):
        shutil.rmtree(lake.home / name)
        shutil.copytree(tmp_path / "backup" / name, lake.home / name)
    assert left(lake, registry) == ["2", "5"]
    assert deposit(path, registry, lake).sequence == 1  # the same bytes: the same receipt, and nothing more
    assert left(lake, registry) == ["2", "5"]


def test_tables_whose_bytes_are_gone_outlive_a_change_of_contract(
    tmp_path: Path, registry: Registry, lake: Lake
) -> None:
    tombstones.write(lake, "fr", "erasure", persons(PERSON))
    receipt = deposit(listing(tmp_path / "x", *EVERYBODY), registry, lake)
    folder = deliveries.conformed_folder(lake, receipt.source, receipt.sha256, "dep-52", SEPTEMBER)
    summary = folder / "summary.json"
    summary.write_text(summary.read_text().replace(receipt.contract, "0" * 64))
    assert left(lake, registry) == ["2", "5"]


def test_rejected_rows_and_findings_hold_nothing_of_an_erased_person(
    tmp_path: Path, registry: Registry, lake: Lake
) -> None:
    tombstones.write(lake, "fr", "erasure", persons(PERSON))
    lines = ("1;Élodie;MODELE;le 5 avril;;rsa_inconnu", "2;Paul;ESSAI;le 6 mai;;rsa_inconnu", ";;;01/02/1970;;")
    receipt = deposit(
        listing(tmp_path / "x", *lines, *(f"{n};Paul;ESSAI{n};01/02/1970;;" for n in "345")), registry, lake
    )
    found = deliveries.findings_of(lake, registry, receipt).to_pylist()
    assert receipt.findings["type-error"] == 2
    assert {one["value"] for one in found if one["code"] == "type-error"} == {"le 6 mai"}
    partner = registry.partner("dep-52")
    key = content.existing_data_key(lake, partner, receipt.sha256)
    folder = deliveries.conformed_folder(lake, receipt.source, receipt.sha256, "dep-52", SEPTEMBER)
    from insertion_pipeline.lake import ParquetFile

    for path in folder.glob("*.parquet"):
        assert "MODELE" not in str(lake.read_parquet(ParquetFile(path, key)).to_pylist()), path.name


def test_views_lose_the_rows_that_name_an_erased_person_by_her_local_key(
    tmp_path: Path, registry: Registry, lake: Lake
) -> None:
    uuids = [f"00000000-0000-4000-8000-00000000000{rank}" for rank in (1, 2)]
    path = tmp_path / "actions.csv"
    path.write_text(
        "identifiant_unique_de;codeaction;lblaction;date_prescription\n"
        + "".join(f"{uuid};A23;UNE ACTION;2026-09-02 00:00:00.0\n" for uuid in uuids)
    )
    keys = pa.table({"source": ["ft_spie"], "partner": ["france-travail"], "key": [uuids[0]]})
    tombstones.write(lake, "fr", "erasure", persons(PERSON), keys)
    own = registry.partner("france-travail")
    declared = {**registry.partners, own.code: own.model_copy(update={"sources": (*own.sources, "ft_actions")})}
    both = Registry(registry.folder, declared, registry.sources, registry.indicator_families, registry.digest)
    deliver(path, "france-travail", "ft_actions", SEPTEMBER, both, lake)
    kept = rows(lake, both, SEPTEMBER, source="ft_actions", table="actions")
    assert [row["identifiant_unique_de"] for row in kept] == [uuids[1]]


def test_an_objection_holds_where_the_contract_honours_objections(registry: Registry, lake: Lake) -> None:
    objection = tombstones.write(lake, "fr", "objection", persons(PERSON))
    erasure = tombstones.write(lake, "fr", "erasure", persons(PERSON))
    listed, bundle = registry.source("department_list"), registry.source("fluxiae")
    every = tombstones.load(lake)
    assert every.entries == (objection, erasure)
    assert every.for_source(listed, "fr").entries == (objection, erasure)
    assert every.for_source(bundle, "fr").entries == (erasure,)
    assert every.for_source(listed, "be").is_empty


def test_tombstones_say_nothing_without_their_key(tmp_path: Path, lake: Lake) -> None:
    other = Lake.open(tmp_path / "other")
    mine, theirs = (tombstones.write(one, "fr", "erasure", persons(PERSON)) for one in (lake, other))
    assert set(mine.marks["number"]).isdisjoint(theirs.marks["number"])
    assert tombstones.load(lake).version == tombstones.load(other).version  # no key byte in what a release is named by
    text = "".join(path.read_text() for path in tombstones.folder(lake).iterdir())
    assert all(value not in text for value in (HERS, HERS[:13], "Modèle", "MODELE", "1980"))
    assert {path for path in tree(lake) if path.startswith("tombstones")} == {"tombstones/00000001.json"}


def test_a_tombstone_of_nobody_is_refused(lake: Lake) -> None:
    with pytest.raises(ValueError, match="nobody could be recognised"):
        tombstones.write(lake, "fr", "erasure", persons({"birth_date": "1980-04-05"}))
    assert tombstones.load(lake).is_empty
