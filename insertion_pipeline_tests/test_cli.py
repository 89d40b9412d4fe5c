"""The command line as people and programs meet it: exit codes, JSON, sentences, silence."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import sqlite3
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from insertion_pipeline.cli import app, hoisted
from insertion_pipeline.ingestion import content, judging
from insertion_pipeline.lake import Lake
from insertion_pipeline.orchestration.event_log import instance_of
from insertion_pipeline.portal.store import Store
from insertion_pipeline.registry import Registry


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    output: str
    errors: str

    @property
    def answer(self) -> Any:
        return json.loads(self.output)


@dataclass(frozen=True)
class Door:
    """The command, on a home of its own."""

    home: Path

    def __call__(self, *arguments: str | Path) -> Ended:
        result = CliRunner().invoke(app, ["--home", str(self.home), *map(str, arguments)])
        return Ended(result.exit_code, result.stdout, result.stderr)


@pytest.fixture
def insertion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Door:
    for name in ("INSERTION_HOME", "INSERTION_DATA_SOURCES", "INSERTION_ENV", "DAGSTER_HOME"):
        monkeypatch.delenv(name, raising=False)
    return Door(tmp_path / "home")


@pytest.fixture(scope="session")
def structure_file(registry: Registry) -> Path:
    """September of a structure that fills in the small declared file, some fifty employees."""
    (path,) = (registry.folder / "siae" / "samples" / "2026-09" / "siae-10").iterdir()
    return path


@pytest.fixture(scope="session")
def next_file(registry: Registry) -> Path:
    (path,) = (registry.folder / "siae" / "samples" / "2026-10" / "siae-10").iterdir()
    return path


def thinned(path: Path, into: Path, rows: int) -> Path:
    """The header and the first rows of a delimited file."""
    into.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[: rows + 1]))
    return into


# -- check -------------------------------------------------------------------------------------------------------------


def test_check_gives_the_verdict_and_the_account(insertion: Door, structure_file: Path) -> None:
    ended = insertion("check", structure_file, "--partner", "siae-10", "--month", "2026-09", "--json")
    answer = ended.answer
    assert answer["source"] == "siae_monthly"
    assert answer["period"] == "2026-09"
    assert answer["lines"] == answer["accepted"] + answer["rejected"] + answer["blank"] + answer["header_footer"]
    assert answer["lines"] == len(structure_file.read_bytes().splitlines()) > 40
    assert answer["header_footer"] == 1
    assert ended.code == (0 if answer["verdict"] == 0 else 1)
    expected = {"code", "severity", "file", "line", "field", "value", "rule", "expected", "message", "remedy", "count"}
    assert all(expected <= finding.keys() for finding in answer["findings"])


def test_check_stores_nothing_but_keys(insertion: Door, structure_file: Path) -> None:
    insertion("check", structure_file, "--partner", "siae-10", "--month", "2026-09")
    assert not (insertion.home / "landing" / "receipts").exists()
    assert not list(insertion.home.rglob("*.parquet"))


def test_the_keys_are_announced_once(insertion: Door, structure_file: Path) -> None:
    command = ("check", structure_file, "--partner", "siae-10", "--month", "2026-09", "--json")
    assert "Clés créées" in insertion(*command).errors
    again = insertion(*command)
    assert again.errors == ""
    assert again.answer["period"] == "2026-09"


@pytest.mark.parametrize(
    ("arguments", "finding"),
    [
        (("--partner", "nobody", "--month", "2026-09"), "unknown-partner"),
        (("--partner", "france-travail", "--month", "2026-09"), "wrong-source"),
        (("--partner", "siae-10", "--source", "fluxiae", "--month", "2026-09"), "wrong-source"),
        (("--partner", "siae-10", "--month", "2026-10"), "period-mismatch"),
        (("--partner", "siae-10", "--month", "2019-01"), "month-outside-contract"),
    ],
)
def test_what_is_refused_ends_with_3_and_says_why(
    insertion: Door, structure_file: Path, arguments: tuple[str, ...], finding: str
) -> None:
    ended = insertion("check", structure_file, *arguments, "--json")
    assert ended.code == 3
    assert ended.answer["verdict"] == 3
    assert finding in {one["code"] for one in ended.answer["findings"]}


def test_people_read_sentences(insertion: Door, structure_file: Path) -> None:
    ended = insertion("check", structure_file, "--partner", "siae-10", "--month", "2026-10")
    assert ended.code == 3
    assert "Refusé" in ended.output
    assert "2026-09" in ended.output


# -- wrong usage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("check", "absent.csv", "--partner", "siae-10"), "Fichier absent : absent.csv"),
        (("check", "absent.csv"), "Option manquante"),
        (("check", "--partner", "siae-10"), "Argument manquant"),
        (("check", "x", "--partner", "siae-10", "--mois", "2026-09"), "Option inconnue"),
        (("vérifier",), "Commande inconnue"),
        (("run", "--month", "septembre"), "écrivez-le AAAA-MM"),
        (("run", "--months", "2026-10..2026-09"), "écrivez-le AAAA-MM"),
        (("run", "--month", "2026-09", "--months", "2026-09..2026-10"), "pas les deux"),
        (("run", "--month", "2026-09"), "Rien à traiter"),
        (("run", "--until", "facts"), "release ou values"),
        (("deliver", "--partner", "siae-10"), "Aucun fichier"),
        (("deliver", "--from", "absent.csv"), "Fichier absent"),
        (("deliver", "--partner", "siae-10", "--confirm", "0" * 64), "n'attend de confirmation"),
        (("release", "show"), "Aucune publication"),
        (("release", "verify", "2026-09-000000000000"), "Publication inconnue"),
        (("--lang", "en", "doctor"), "Langue"),
        (("--data-sources", "/nowhere", "validate"), "/nowhere/partners.csv"),
    ],
)
def test_wrong_usage_ends_with_4_and_a_french_sentence(
    insertion: Door, arguments: tuple[str, ...], sentence: str
) -> None:
    ended = insertion(*arguments)
    assert ended.code == 4
    assert sentence in ended.errors


def test_wrong_usage_is_json_too(insertion: Door) -> None:
    ended = insertion("check", "absent.csv", "--partner", "siae-10", "--json")
    assert ended.answer == {"exit_code": 4, "error": "Fichier absent : absent.csv"}


def test_global_options_stand_before_or_after_the_command(insertion: Door, structure_file: Path) -> None:
    command = ("check", structure_file, "--partner", "siae-10", "--month", "2026-09")
    assert insertion("--json", *command).answer == insertion(*command, "--json").answer


def test_hoisting_leaves_what_follows_a_double_dash_alone() -> None:
    assert hoisted(["check", "--json", "--", "--json"]) == ["--json", "check", "--", "--json"]
    assert hoisted(["run", "--home=x", "--month", "2026-09", "--home", "y"]) == [
        "--home=x", "--home", "y", "run", "--month", "2026-09",
    ]  # fmt: skip


def test_production_never_invents_keys(insertion: Door, structure_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSERTION_ENV", "production")
    ended = insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09")
    assert ended.code == 4
    assert "Clés absentes" in ended.errors
    assert not list(insertion.home.rglob("*.key"))
    assert not (insertion.home / "landing").exists()


def test_a_home_of_a_later_version_is_left_alone(insertion: Door, structure_file: Path) -> None:
    insertion.home.mkdir()
    (insertion.home / "VERSION").write_text("99\n")
    ended = insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09")
    assert ended.code == 4
    assert "plus récente" in ended.errors


# -- deliver -----------------------------------------------------------------------------------------------------------


def test_a_delivery_is_answered_with_a_receipt(insertion: Door, structure_file: Path) -> None:
    ended = insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09", "--json")
    assert ended.code in (0, 1)
    receipt = ended.answer
    assert receipt["sequence"] == 1
    assert receipt["status"] == "applied"
    assert len(receipt["sha256"]) == 64
    assert receipt["received_at"].endswith("+00:00")
    again = insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09", "--json")
    assert again.answer == receipt


def test_a_thin_file_waits_for_its_confirmation(
    insertion: Door, structure_file: Path, next_file: Path, tmp_path: Path
) -> None:
    assert insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09").code in (0, 1)
    thin = thinned(next_file, tmp_path / "thin.csv", rows=4)
    held = insertion("deliver", thin, "--partner", "siae-10", "--month", "2026-10", "--json")
    assert (held.code, held.answer["status"], held.answer["held_for"]) == (6, "held", ["thin-file"])
    confirmed = insertion("deliver", "--partner", "siae-10", "--confirm", held.answer["sha256"], "--json")
    assert confirmed.code in (0, 1)
    assert confirmed.answer["status"] == "applied"


def test_nothing_to_declare_is_a_receipt_too(insertion: Door) -> None:
    ended = insertion("deliver", "--partner", "siae-10", "--month", "2026-09", "--nothing-to-declare", "--json")
    assert (ended.code, ended.answer["status"], ended.answer["source"]) == (0, "nothing", "siae_monthly")
    assert insertion("deliver", "--partner", "nobody", "--month", "2026-09", "--nothing-to-declare").code == 3


def test_a_list_of_deliveries_goes_in_one_process(
    insertion: Door, structure_file: Path, next_file: Path, tmp_path: Path
) -> None:
    listing = tmp_path / "deliveries.csv"
    (tmp_path / structure_file.name).write_bytes(structure_file.read_bytes())
    listing.write_text(
        "path,source,partner,month\n"
        f"{structure_file.name},siae_monthly,siae-10,2026-09\n"
        f"{next_file},,siae-10,2026-10\n"
        f"{next_file},siae_monthly,siae-10,2026-09\n"
    )
    ended = insertion("deliver", "--from", listing, "--json")
    assert ended.code == 3
    assert [receipt["status"] for receipt in ended.answer] == ["applied", "applied", "refused"]


# -- link --------------------------------------------------------------------------------------------------------------


def person(record: str, partner: str, number: str | None, first_names: str) -> dict[str, str | None]:
    return {
        "record_id": record, "person_space": "fr", "partner_family": "siae", "partner": partner, "nir": number,
        "birth_name": "SAINTE-MARIE", "first_names": first_names, "sex": "2", "birth_date": "1985-02-14",
    }  # fmt: skip


def test_link_writes_a_row_per_record_and_measures_itself(insertion: Door, tmp_path: Path) -> None:
    number = "285025211200194"
    rows = [
        person("a", "siae-01", number, "ANNE"),
        person("b", "dep-52", number, "ANNE"),
        person("c", "dep-52", None, "PAUL"),
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "records.parquet")
    truth = pa.table({"record_id": ["a", "b", "c"], "person_id": ["1", "1", "2"]})
    pq.write_table(truth, tmp_path / "truth.parquet")
    ended = insertion(
        "link", tmp_path / "records.parquet", "--out", tmp_path / "persons.parquet",
        "--evaluate", tmp_path / "truth.parquet", "--json",
    )  # fmt: skip
    assert ended.code == 0
    assert (ended.answer["records"], ended.answer["persons"]) == (3, 2)
    assert ended.answer["evaluation"]["records"] == 3
    written = pq.read_table(tmp_path / "persons.parquet")
    assert written.column_names == ["record_id", "person_id", "match_method", "match_weight", "needs_review"]
    persons = dict(zip(written["record_id"].to_pylist(), written["person_id"].to_pylist(), strict=True))
    assert persons["a"] == persons["b"] != persons["c"]


def test_link_refuses_what_is_no_table_of_persons(insertion: Door, tmp_path: Path) -> None:
    pq.write_table(pa.table({"x": [1]}), tmp_path / "records.parquet")
    ended = insertion("link", tmp_path / "records.parquet", "--out", tmp_path / "persons.parquet")
    assert ended.code == 4
    assert "fiches personnes" in ended.errors
    assert not (tmp_path / "persons.parquet").exists()


# -- failures and locks ------------------------------------------------------------------------------------------------


def test_an_internal_failure_ends_with_5_and_quotes_nothing(
    insertion: Door, structure_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise ValueError("Could not convert string 'MARTIN Zoé' to INT32")

    monkeypatch.setattr(judging, "judge", fail)
    ended = insertion("check", structure_file, "--partner", "siae-10", "--month", "2026-09")
    assert ended.code == 5
    assert "ValueError" in ended.errors
    assert "MARTIN" not in ended.errors + ended.output
    assert "Traceback" not in ended.errors + ended.output


def test_a_full_disk_is_called_by_its_name(
    insertion: Door, structure_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/somewhere/MARTIN.csv")

    monkeypatch.setattr(content, "store", fail)
    ended = insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09")
    assert ended.code == 5
    assert "Le disque est plein, rien n'a été modifié." in ended.errors
    assert "MARTIN" not in ended.errors + ended.output


def test_a_second_run_names_the_first_and_ends_with_7(insertion: Door, structure_file: Path) -> None:
    insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09")
    with Lake.open(insertion.home).writer_lock(holder="la nuit, processus 4242"):
        ended = insertion("run", "--month", "2026-09")
    assert ended.code == 7
    assert "la nuit, processus 4242" in ended.errors


# -- start-up ----------------------------------------------------------------------------------------------------------


def loaded_after(script: str) -> set[str]:
    """The top-level modules that a fresh Python has loaded once the script is done."""
    ending = "\nimport sys; print(' '.join(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", script + ending], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split())


@pytest.mark.parametrize("module", ["insertion_pipeline", "insertion_pipeline.cli"])
def test_the_program_is_there_under_its_modules_too(module: str) -> None:
    command = [sys.executable, "-m", module, "release", "nothing"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, "Commande inconnue" in ended.stderr) == (4, True)


def test_help_loads_no_engine() -> None:
    heavy = {"duckdb", "pyarrow", "pandas", "pydantic", "dagster", "pandera", "great_expectations", "splink", "sqlglot"}
    assert not heavy & loaded_after("import insertion_pipeline.cli")


def test_check_loads_nothing_of_the_night(insertion: Door, structure_file: Path) -> None:
    arguments = [
        "--home",
        str(insertion.home),
        "check",
        str(structure_file),
        "--partner",
        "siae-10",
        "--month",
        "2026-09",
    ]
    script = f"""
from insertion_pipeline.cli import app
try:
    app({arguments!r})
except SystemExit:
    pass
"""
    loaded = loaded_after(script)
    assert "duckdb" in loaded
    assert not {"dagster", "pandera", "great_expectations", "splink"} & loaded


# -- the installation --------------------------------------------------------------------------------------------------


def test_the_doctor_says_what_to_do(insertion: Door, structure_file: Path) -> None:
    assert insertion("doctor").code == 0
    insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09")
    for key in (insertion.home / "secrets").glob("*.key"):
        key.chmod(0o644)
    ended = insertion("doctor", "--json")
    assert ended.code == 1
    (wrong,) = [point for point in ended.answer if not point["is_well"]]
    assert wrong["point"] == "Clés"
    assert wrong["remedy"].startswith("chmod 600")


def test_the_doctor_sees_databases_that_an_earlier_version_made(insertion: Door) -> None:
    seen = points(insertion)
    assert {seen[name]["state"] for name in ("Bases de Dagster", "Base du portail")} == {"aucune encore"}
    folder, portal = insertion.home / "dagster", insertion.home / "portal" / "portal.sqlite"
    folder.mkdir(parents=True)
    (folder / "dagster.yaml").write_text("telemetry:\n  enabled: false\n", encoding="utf-8")
    assert points(insertion)["Bases de Dagster"]["state"] == "aucune encore"
    assert [path.name for path in insertion.home.rglob("*") if path.is_file()] == ["dagster.yaml"], "it only looks"
    with instance_of(folder):
        Store.beside(insertion.home).close()
    seen = points(insertion)
    assert (seen["Bases de Dagster"]["state"], seen["Base du portail"]["state"]) == ("à jour", "SQLite, à jour")
    for path, change in (
        (folder / "history" / "runs.db", "UPDATE alembic_version SET version_num = '567bc23fd1ac'"),
        (portal, "ALTER TABLE accounts DROP COLUMN absent_until"),
    ):
        with contextlib.closing(sqlite3.connect(path)) as database, database:
            database.execute(change)
    seen = points(insertion)
    assert seen["Bases de Dagster"]["state"] == "d'une version antérieure : runs"
    assert seen["Bases de Dagster"]["remedy"].endswith("dagster instance migrate ».")
    assert seen["Base du portail"]["state"] == "SQLite, il manque accounts.absent_until"


def test_the_doctor_sees_an_alert_that_nobody_would_get(insertion: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def alerts() -> tuple[bool, str]:
        (point,) = [point for point in insertion("doctor", "--json").answer if point["point"] == "Alertes"]
        return point["is_well"], point["remedy"] or point["state"]

    assert alerts() == (True, "aucune")
    monkeypatch.setenv("INSERTION_ALERT_MAIL", "astreinte@exemple.fr")
    assert alerts() == (False, "Donnez le serveur de messagerie : INSERTION_SMTP_HOST.")
    monkeypatch.setenv("INSERTION_SMTP_HOST", "smtp.exemple.fr")
    assert alerts() == (True, "courriel")


def points(insertion: Door) -> dict[str, Any]:
    return {point["point"]: point for point in insertion("doctor", "--json").answer}


def test_the_doctor_names_who_is_at_work(insertion: Door) -> None:
    with Lake.open(insertion.home).writer_lock(holder="la nuit, processus 4242"):
        assert points(insertion)["Traitement en cours"]["state"] == "la nuit, processus 4242"
    (insertion.home / "run.lock").write_text("un processus tué, qui n'a rien effacé")
    assert points(insertion)["Traitement en cours"]["state"] == "aucun"


def test_the_doctor_sees_a_clock_that_was_set_back(insertion: Door) -> None:
    receipt = insertion.home / "landing" / "receipts" / "00000001.json"
    receipt.parent.mkdir(parents=True)
    receipt.touch()
    assert points(insertion)["Horloge"]["is_well"]
    later = receipt.stat().st_mtime + 7200
    os.utime(receipt, (later, later))
    clock = points(insertion)["Horloge"]
    assert (clock["is_well"], clock["remedy"][:22]) == (False, "Mettez la machine à l'")
    assert "minutes avant le dernier dépôt" in clock["state"]


@pytest.mark.parametrize(("address", "is_well"), [("memory:///", True), ("nowhere://absent", False)])
def test_the_doctor_asks_the_object_store(
    insertion: Door, monkeypatch: pytest.MonkeyPatch, address: str, is_well: bool
) -> None:
    assert "Stockage d'objets" not in points(insertion)
    monkeypatch.setenv("INSERTION_STORE", address)
    store = points(insertion)["Stockage d'objets"]
    assert (store["is_well"], store["remedy"] == "") == (is_well, is_well)


def test_a_home_for_production_has_its_keys_made_beforehand(
    insertion: Door, structure_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INSERTION_ENV", "production")
    assert "purpose-portal" in points(insertion)["Clés"]["state"]
    refused = insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09")
    assert (refused.code, "insertion keys create" in refused.errors) == (4, True)
    assert len(insertion("keys", "create", "--json").answer["created"]) == 8
    assert insertion("keys", "create", "--json").answer["created"] == []
    assert points(insertion)["Clés"]["is_well"]
    assert insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09").code in (0, 1)


def test_keys_that_were_lost_are_not_replaced_by_others(insertion: Door, structure_file: Path) -> None:
    insertion("deliver", structure_file, "--partner", "siae-10", "--month", "2026-09")
    (insertion.home / "secrets" / "space-fr.key").unlink()
    refused = insertion("keys", "create")
    assert (refused.code, "space-fr" in refused.errors) == (3, True)
    assert not (insertion.home / "secrets" / "space-fr.key").exists()
    assert not points(insertion)["Clés"]["is_well"]


def test_releases_of_a_new_home_are_none(insertion: Door) -> None:
    ended = insertion("release", "list", "--json")
    assert (ended.code, ended.answer) == (0, [])
