"""The whole way, as its users walk it: the real command, a real home, the samples of the repository."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import random
import re
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import duckdb
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from insertion_pipeline.identity import records
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.orchestration.metrics import read_all
from insertion_pipeline.registry import FAMILIES, Registry, load_registry
from insertion_pipeline_tests.artefacts import shown_texts
from insertion_pipeline_tests.conftest import REPOSITORY

#: Loaded by every Python of the child's tree: any connection that leaves the machine is written down and refused.
_NETWORK_CUT = """
import os, socket
def refuse(self, address):
    if self.family in (socket.AF_INET, socket.AF_INET6):
        with open(os.environ["CONNECTIONS"], "a") as file:
            file.write(f"{address}\\n")
        raise OSError("the network is cut")
    return connect(self, address)
connect = socket.socket.connect
socket.socket.connect = refuse
socket.socket.connect_ex = refuse
"""


@dataclass(frozen=True)
class Outcome:
    """What a command left behind."""

    code: int
    output: str
    errors: str

    @property
    def answer(self) -> object:
        return json.loads(self.output)


@dataclass(frozen=True)
class Home:
    """A home and the command at its door."""

    folder: Path
    connections: Path

    def insertion(self, *arguments: str) -> Outcome:
        hook = self.connections.parent / "hook"
        hook.mkdir(exist_ok=True)
        (hook / "sitecustomize.py").write_text(_NETWORK_CUT)
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join([str(hook), str(REPOSITORY)]),
            "CONNECTIONS": str(self.connections),
            "INSERTION_HOME": str(self.folder),
        }
        environment.pop("DAGSTER_HOME", None)
        command = [str(Path(sys.executable).with_name("insertion")), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900, check=False)
        return Outcome(done.returncode, done.stdout, done.stderr)

    def lake(self) -> Lake:
        return Lake.open(self.folder)

    def release(self) -> Path:
        (folder,) = (self.folder / "releases").iterdir()
        return folder


def new_home(folder: Path) -> Home:
    return Home(folder / "home", folder / "connections.txt")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Outcome]:
    home = new_home(tmp_path_factory.mktemp("demo"))
    return home, home.insertion("demo", "--json")


def values_of(release: Path) -> list[dict[str, object]]:
    return pq.read_table(release / "parquet" / "indicator_values.parquet").to_pylist()


def digests_of(release: Path) -> dict[str, str]:
    """The sha256 of what is promised identical byte for byte."""
    promised = [
        *release.glob("parquet/*"),
        *release.glob("csv/*"),
        release / "indicateurs.xlsx",
        release / "datapackage.json",
    ]
    return {path.relative_to(release).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest() for path in promised}


# -- the first release -----------------------------------------------------------------------------------------------


def test_the_demo_ends_with_a_release(demo: tuple[Home, Outcome]) -> None:
    home, outcome = demo
    assert outcome.code in (0, 1), outcome.errors
    release = home.release()
    assert {path.name for path in release.iterdir()} >= {
        "insertion.duckdb", "parquet", "csv", "indicateurs.xlsx", "datapackage.json", "report", "MANIFEST.json",
    }  # fmt: skip
    assert release.name.startswith("2026-10-")
    published = [row for row in values_of(release) if row["status"] == "published"]
    assert len(published) > 500
    assert len({row["indicator_code"] for row in published}) >= 15
    assert len({row["territory_level"] for row in published}) >= 4
    assert {row["month"] for row in published} == {"2026-09", "2026-10"}
    assert {row["country"] for row in published} == {"FR", "BE"}


def test_what_the_run_took_stands_outside_of_the_release(demo: tuple[Home, Outcome]) -> None:
    home, outcome = demo
    (run,) = read_all(home.folder / "runs")
    assert (run.run_id, run.outcome) == (outcome.answer["run_id"], "success")
    told = {step.step: step for step in run.steps}
    assert {"conformed__fluxiae", "identity", "facts", "indicator_values", "release"} <= set(told)
    assert (told["conformed__fluxiae"].rows or 0) > 1000
    assert (run.peak_memory_mb or 0) > 100


def test_each_family_and_the_network_have_three_indicators(demo: tuple[Home, Outcome], registry: Registry) -> None:
    home, _ = demo
    published = {row["indicator_code"] for row in values_of(home.release()) if row["status"] == "published"}
    by_family = {
        family.family: {indicator.code for indicator in family.indicators} & published
        for family in registry.indicator_families
    }
    for family in (*FAMILIES, "network"):
        assert len(by_family[family]) >= 3, (family, by_family[family])


def test_the_manifest_answers_for_every_file_and_every_delivery(demo: tuple[Home, Outcome]) -> None:
    home, _ = demo
    release = home.release()
    manifest = json.loads((release / "MANIFEST.json").read_text(encoding="utf-8"))
    on_disk = {
        path.relative_to(release).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in release.rglob("*")
        if path.is_file() and not path.name.startswith("MANIFEST.")
    }
    assert manifest["files"] == on_disk
    text = json.dumps(manifest)
    newest = {(receipt["partner"], receipt["source"]): receipt for receipt in receipts_of(home)}
    assert len(newest) >= 20
    for receipt in newest.values():
        assert receipt["status"] == "applied"
        assert receipt["sha256"] in text, receipt["partner"]


def receipts_of(home: Home) -> list[dict[str, object]]:
    return [json.loads(path.read_text()) for path in sorted((home.folder / "landing" / "receipts").glob("*.json"))]


def test_every_sample_was_delivered_and_its_account_balances(demo: tuple[Home, Outcome], registry: Registry) -> None:
    home, _ = demo
    listed = [
        row
        for family in FAMILIES
        for row in csv.DictReader((registry.folder / family / "samples" / "deliveries.csv").open(encoding="utf-8"))
    ]
    receipts = receipts_of(home)
    assert len(listed) >= 30
    assert len(receipts) == len(listed)
    for receipt in receipts:
        assert receipt["lines"] == sum(receipt[part] for part in ("blank", "header_footer", "accepted", "rejected"))
        assert receipt["lines"] > 0


def test_no_small_cell_is_shown(demo: tuple[Home, Outcome]) -> None:
    home, _ = demo
    persons = [row for row in values_of(home.release()) if row["counted_unit"] == "persons"]
    assert len(persons) > 500
    for row in persons:
        terms = [row["numerator"], row["denominator"]]
        assert not any(term is not None and 0 < term < 5 for term in terms), row
        assert row["status"] in ("published", "PS", "NC") or terms == [None, None], row


def test_the_formats_hold_the_same_numbers(demo: tuple[Home, Outcome]) -> None:
    home, _ = demo
    release = home.release()
    parquet = pq.read_table(release / "parquet" / "indicator_values.parquet")
    with duckdb.connect(str(release / "insertion.duckdb"), read_only=True) as connection:
        count, total = connection.execute("SELECT count(*), sum(numerator) FROM indicator_values").fetchone()
        from_csv = connection.execute(
            "SELECT count(*), sum(numerator::DOUBLE) FROM read_csv(?, delim=';', header=true, all_varchar=true)",
            [str(release / "csv" / "indicator_values.csv")],
        ).fetchone()
    assert count == parquet.num_rows == from_csv[0]
    assert total == pytest.approx(pc.sum(parquet["numerator"]).as_py())
    assert from_csv[1] == pytest.approx(total)


def test_a_second_run_does_no_work_and_says_so(demo: tuple[Home, Outcome]) -> None:
    home, _ = demo
    before = {path: path.stat().st_mtime_ns for path in home.folder.rglob("*.parquet")}
    again = home.insertion("demo")
    assert again.code in (0, 1), again.errors
    assert "rien de nouveau" in again.output.lower()
    assert {path: path.stat().st_mtime_ns for path in home.folder.rglob("*.parquet")} == before


def test_nothing_connects_outwards(demo: tuple[Home, Outcome]) -> None:
    home, outcome = demo
    assert outcome.code in (0, 1)
    assert not home.connections.exists(), home.connections.read_text()


def test_another_home_with_other_keys_and_another_order_of_deposits_gives_the_same_release(
    demo: tuple[Home, Outcome], tmp_path: Path, registry: Registry
) -> None:
    home, _ = demo
    rows = [
        row | {"path": str(registry.folder / family / "samples" / row["path"])}
        for family in FAMILIES
        for row in csv.DictReader((registry.folder / family / "samples" / "deliveries.csv").open(encoding="utf-8"))
    ]
    random.Random(7).shuffle(rows)
    rows.sort(key=lambda row: row["month"])
    listing = tmp_path / "deliveries.csv"
    with listing.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    other = new_home(tmp_path)
    assert other.insertion("deliver", "--from", str(listing), "--json").code in (0, 1, 3)
    ran = other.insertion("run", "--months", "2026-09..2026-10", "--json")
    assert ran.code in (0, 1), ran.errors
    assert other.release().name == home.release().name
    assert digests_of(other.release()) == digests_of(home.release())


# -- persons ---------------------------------------------------------------------------------------------------------


def test_nothing_outside_the_sealed_area_names_a_person(demo: tuple[Home, Outcome]) -> None:
    """Every birth name with a first name, number, e-mail and telephone of the sealed area is looked for elsewhere."""
    home, outcome = demo
    names, identifiers = direct_identifiers(home)
    assert len(names) > 200
    assert len(identifiers) > 500
    words = {path: _WORD.findall(text.casefold()) for path, text in shown_texts(home.folder)}
    words[Path("stdout")] = _WORD.findall(outcome.output.casefold())
    words[Path("stderr")] = _WORD.findall(outcome.errors.casefold())
    assert any(path.suffix == ".db" for path in words), "Dagster's own storage is looked through too"
    for path, found in words.items():
        assert identifiers.isdisjoint(found), path
        assert names.isdisjoint(pairwise(found)), path


_WORD = re.compile(r"[\w@.+-]+")


def direct_identifiers(home: Home) -> tuple[set[tuple[str, str]], set[str]]:
    """Of the persons that the home knows: (birth name, first name) in both orders, one word each; long identifiers."""
    lake, registry = home.lake(), load_registry(REPOSITORY / "data_sources")
    months = [Month(2026, 9), Month(2026, 10)]
    names: set[tuple[str, str]] = set()
    identifiers: set[str] = set()
    with lake.connect(sealed_spill=True) as connection:
        for source in registry.sources.values():
            for table in records.tables_with_persons(source, months[-1]):
                relation = records.described_rows(lake, connection, registry, source, table, months)
                for name, first, *numbers in connection.execute(
                    f"""SELECT DISTINCT coalesce(p_birth_name, p_used_name), p_first_names,
                               p_nir, p_niss, p_email, p_phone, p_caf_matricule
                        FROM {relation}"""
                ).fetchall():
                    if name and first:
                        surname, given = name.casefold().split(), first.casefold().split()
                        names |= {(surname[-1], given[0]), (given[-1], surname[0])}
                    identifiers |= {number.casefold() for number in numbers if number and len(number) >= 9}
    return names, identifiers
