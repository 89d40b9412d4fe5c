"""kill -9 at random points of deposits and of a run: nothing half done, and the release of an undisturbed home."""

from __future__ import annotations

import os
import random
import shutil
import time
from pathlib import Path

import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home

#: How often a run is killed. One that ends before it is killed is not counted: the next kills fall on another home.
KILLS = int(os.environ.get("REHEARSAL_KILLS", "50"))
SEED = int(os.environ.get("REHEARSAL_SEED", "7"))


@pytest.fixture(scope="module")
def deposits(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The samples of every family, as one list of deposits."""
    lines = ["path,source,partner,month"]
    for index in sorted((REPOSITORY / "data_sources").glob("*/samples/deliveries.csv")):
        _, *rows = index.read_text().splitlines()
        lines += [f"{index.parent / row}" for row in rows]
    path = tmp_path_factory.mktemp("deposits") / "deliveries.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, deposits: Path) -> tuple[Home, float, float]:
    """A home that nothing happened to, and how long its deposits and its run took."""
    home = Home(tmp_path_factory.mktemp("undisturbed") / "home")
    began = time.monotonic()
    assert home.run("deliver", "--from", str(deposits))[0] in (0, 1)
    deposited = time.monotonic()
    assert home.run("run")[0] in (0, 1)
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
    killed = homes = 0
    while killed < KILLS:
        homes += 1
        home = Home(Path(shutil.copytree(deposited.folder, tmp_path / f"home-{homes}")))
        while killed < KILLS and home.killed(chance.uniform(0, run_seconds * 0.9), "run"):
            killed += 1
            assert home.releases() in ({}, calm.releases())
        assert home.run("run")[0] in (0, 1)
        assert home.releases() == calm.releases()
        assert home.run("release", "verify")[0] == 0
        shutil.rmtree(home.folder)
    print(f"{killed} kills of runs in {homes} homes, {KILLS // 5} of deposits")  # noqa: T201


def test_a_correction_that_is_killed_leaves_the_release_that_was_there(
    undisturbed: tuple[Home, float, float], tmp_path: Path
) -> None:
    home, _, run_seconds = undisturbed
    before = home.releases()
    corrected = next((REPOSITORY / "data_sources" / "siae" / "samples" / "2026-09" / "siae-10").iterdir())
    shorter = tmp_path / corrected.name
    shorter.write_bytes(b"\n".join(corrected.read_bytes().splitlines()[:-1]) + b"\n")
    told = ("--partner", "siae-10", "--source", "siae_monthly", "--month", "2026-09")
    assert home.run("deliver", str(shorter), *told)[0] in (0, 1)
    chance = random.Random(SEED)
    for _ in range(max(KILLS // 10, 2)):
        if home.killed(chance.uniform(0, run_seconds * 0.8), "run"):
            assert {name: home.releases()[name] for name in before} == before
            assert home.run("release", "verify", next(iter(before)))[0] == 0
    assert home.run("run")[0] in (0, 1)
    assert len(home.releases()) == len(before) + 1
