"""kill -9 at random points of deposits and of a run: nothing half done, and the release of an undisturbed home.

A delivery of each country, for one month: every step of a run has work, and a kill costs seconds. A home that was
killed is started again and killed in what is left; when a run ends before its kill, the next ones fall on a copy of the
deposited home.
"""

from __future__ import annotations

import csv
import os
import random
import shutil
import time
from collections import Counter
from pathlib import Path

import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home

#: How often a run is killed. One that ends before it is killed is not counted: the next kills fall on another home.
KILLS = int(os.environ.get("REHEARSAL_KILLS", "50"))
SEED = int(os.environ.get("REHEARSAL_SEED", "7"))


#: Python takes as long to start as the first tenth of a run: nothing is at work yet that a kill could disturb.
EARLIEST, LATEST = 0.1, 0.95
#: One kill in five falls on the release while it is written, moved to its place and noted: no chance would meet that.
AIMED, RELEASE_SECONDS = 0.2, 3.0
MONTH = "2026-10"
#: Both spaces of persons: fifty kills in a quarter of an hour.
SOURCES = {"ale_activity", "siae_monthly"}


@pytest.fixture(scope="module")
def deposits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sample of each source, as one list of deposits."""
    chosen: dict[str, dict[str, str]] = {}
    for index in sorted((REPOSITORY / "data_sources").glob("*/samples/deliveries.csv")):
        with index.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["month"] == MONTH and row["source"] in SOURCES:
                    chosen.setdefault(row["source"], row | {"path": str(index.parent / row["path"])})
    path = tmp_path_factory.mktemp("deposits") / "deliveries.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, ("path", "source", "partner", "month"))
        writer.writeheader()
        writer.writerows(chosen.values())
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, deposits: Path) -> tuple[Home, float, float]:
    """A home that nothing happened to, and how long its deposits and its run took."""
    home = Home(tmp_path_factory.mktemp("undisturbed") / "home")
    began = time.monotonic()
    assert home.run("deliver", "--from", str(deposits))[0] in (0, 1)
    deposited = time.monotonic()
    code, told = home.run("run")
    assert code in (0, 1), told
    return home, deposited - began, time.monotonic() - deposited


def test_a_home_that_is_killed_again_and_again_makes_the_same_release(
    undisturbed: tuple[Home, float, float], deposits: Path, tmp_path: Path
) -> None:
    calm, deposit_seconds, run_seconds = undisturbed
    chance = random.Random(SEED)
    deposited = Home(tmp_path / "deposited")
    for _ in range(KILLS // 5):
        deposited.killed(chance.uniform(0, deposit_seconds), "deliver", "--from", str(deposits))
        assert deposited.receipts() == [f"{number:08d}" for number in range(1, len(deposited.receipts()) + 1)]
    assert deposited.run("deliver", "--from", str(deposits))[0] in (0, 1)
    assert deposited.receipts() == calm.receipts()
    killed, homes = Counter[str](), 0
    while killed.total() < KILLS:
        homes += 1
        home = Home(Path(shutil.copytree(deposited.folder, tmp_path / f"home-{homes}")))
        while killed.total() < KILLS and killed_somewhere(home, chance, run_seconds):
            killed[furthest(home)] += 1
            assert home.releases() in ({}, calm.releases())
        assert home.run("run")[0] in (0, 1)
        assert home.releases() == calm.releases()
        assert home.run("release", "verify")[0] == 0
        shutil.rmtree(home.folder)
    print(f"{KILLS} kills of runs in {homes} homes, {KILLS // 5} of deposits; they had come to: {dict(killed)}")  # noqa: T201


def killed_somewhere(home: Home, chance: random.Random, run_seconds: float) -> bool:
    """A run that is killed at random, or while it writes its release; whether it was still at work."""
    if chance.random() < AIMED:
        return home.killed(chance.uniform(0, RELEASE_SECONDS), "run", once_there="spill/release-*")
    return home.killed(run_seconds * chance.uniform(EARLIEST, LATEST), "run")


#: What stands after each stage of a run, the last one first.
STAGES = ("releases/*", "spill/release-*", "lake/values/*", "lake/facts/*", "lake/pseudonymised/*", "sealed/identity/*")


def furthest(home: Home) -> str:
    """How far the runs of a home have come: what the last of its stages leaves."""
    return next((pattern for pattern in STAGES if any(home.folder.glob(pattern))), "deposits")


def test_a_correction_that_is_killed_leaves_the_release_that_was_there(
    undisturbed: tuple[Home, float, float], deposits: Path, tmp_path: Path
) -> None:
    home, _, run_seconds = undisturbed
    before = home.releases()
    with deposits.open(encoding="utf-8", newline="") as file:
        (told,) = (row for row in csv.DictReader(file) if row["source"] == "siae_monthly")
    delivered = Path(told["path"])
    shorter = tmp_path / delivered.name
    shorter.write_bytes(b"\n".join(delivered.read_bytes().splitlines()[:-1]) + b"\n")
    asked = ("--partner", told["partner"], "--source", "siae_monthly", "--month", MONTH)
    assert home.run("deliver", str(shorter), *asked)[0] in (0, 1)
    chance = random.Random(SEED)
    for _ in range(max(KILLS // 10, 2)):
        if home.killed(run_seconds * chance.uniform(EARLIEST, LATEST), "run"):
            assert {name: home.releases()[name] for name in before} == before
    assert home.run("release", "verify", next(iter(before)))[0] == 0
    assert home.run("run")[0] in (0, 1)
    assert len(home.releases()) == len(before) + 1
