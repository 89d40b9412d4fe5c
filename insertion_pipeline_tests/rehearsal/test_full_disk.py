"""A disk that fills up during a deposit and during a run: said by its name, nothing lost, taken up where there is room.

The home lies on a disk of its own in memory, as small as the test asks for: what is written there really finds no room.
Mounting one needs the rights of root; without them the rehearsal says so and plays the rest.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home

SAMPLES = REPOSITORY / "data_sources" / "siae" / "samples"
FULL = "Le disque est plein, rien n'a été modifié. Libérez de la place, puis recommencez."
#: How much of what a run writes finds room: too little at its beginning, in its middle, and just before its end.
SHARES = (0.02, 0.25, 0.5, 0.75, 0.95)


def deposit(home: Home, month: str) -> tuple[int, object]:
    (sample,) = (SAMPLES / month / "siae-10").iterdir()
    return home.run("deliver", str(sample), "--partner", "siae-10", "--source", "siae_monthly", "--month", month)


def taken(folder: Path) -> int:
    """Bytes that a disk in memory gives to the files of a folder: whole pages, and one for each name."""
    pages = (-(-path.stat().st_size // 4096) + 1 if path.is_file() else 1 for path in folder.rglob("*"))
    return 4096 * sum(pages)


@dataclass(frozen=True)
class SmallDisk:
    """A disk in memory whose size can be changed while it is used."""

    folder: Path

    def resize(self, size: int) -> None:
        subprocess.run(["mount", "-o", f"remount,size={size}", self.folder], check=True)

    def used(self) -> int:
        """Bytes that are taken on it; what a name takes is no page of its own."""
        state = os.statvfs(self.folder)
        return (state.f_blocks - state.f_bfree) * state.f_frsize

    def home(self) -> Home:
        return Home(self.folder / "home")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1g", "none", folder], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no disk may be mounted here: {mounted.stderr.decode().strip()}")
    yield SmallDisk(folder)
    subprocess.run(["umount", "--lazy", folder], check=True)


@pytest.fixture(scope="module")
def homes(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, Home]:
    """A home with a release and a later month to run, and the same after an undisturbed run."""
    folder = tmp_path_factory.mktemp("full disk")
    before = Home(folder / "before")
    assert deposit(before, "2026-09")[0] in (0, 1)
    assert before.run("run")[0] in (0, 1)
    assert deposit(before, "2026-10")[0] in (0, 1)
    after = Home(Path(shutil.copytree(before.folder, folder / "after")))
    assert after.run("run")[0] in (0, 1)
    assert set(before.releases()) < set(after.releases())
    return before, after


@pytest.mark.parametrize("share", SHARES)
def test_a_run_that_finds_no_room_leaves_the_release_that_was_there_and_is_taken_up(
    homes: tuple[Home, Home], disk: SmallDisk, share: float
) -> None:
    before, after = homes
    shutil.copytree(before.folder, disk.home().folder)
    has, needs = taken(before.folder), taken(after.folder) - taken(before.folder)
    disk.resize(has + int(needs * share))
    code, told = disk.home().run("run")
    assert (code, told) == (5, {"exit_code": 5, "error": FULL})
    assert disk.home().releases() == before.releases()
    disk.resize(4 * (has + needs))
    assert disk.home().run("release", "verify")[0] == 0
    assert disk.home().run("run")[0] in (0, 1)
    assert disk.home().releases() == after.releases()
    assert disk.home().run("release", "verify")[0] == 0


def test_a_deposit_that_finds_no_room_is_not_acknowledged(homes: tuple[Home, Home], disk: SmallDisk) -> None:
    before, _ = homes
    shutil.copytree(before.folder, disk.home().folder)
    (sample,) = (SAMPLES / "2026-09" / "siae-09").iterdir()
    asked = ("deliver", str(sample), "--partner", "siae-09", "--source", "siae_monthly", "--month", "2026-09")
    disk.resize(disk.used())
    code, told = disk.home().run(*asked)
    assert (code, told) == (5, {"exit_code": 5, "error": FULL})
    assert disk.home().receipts() == before.receipts()
    disk.resize(1 << 30)
    assert disk.home().run(*asked)[0] in (0, 1)
    assert len(disk.home().receipts()) == len(before.receipts()) + 1
