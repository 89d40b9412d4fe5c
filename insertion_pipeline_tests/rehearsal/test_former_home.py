"""A home that an earlier version left, migrated and run again, makes the release that it had made."""

from __future__ import annotations

import shutil
from pathlib import Path

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home
from insertion_pipeline_tests.test_migrating import made_former

SAMPLES = REPOSITORY / "data_sources" / "siae" / "samples"


def test_a_migrated_home_makes_the_same_release(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    for month in ("2026-09", "2026-10"):
        (sample,) = (SAMPLES / month / "siae-10").iterdir()
        told = ("--partner", "siae-10", "--source", "siae_monthly", "--month", month)
        assert home.run("deliver", str(sample), *told)[0] in (0, 1)
    assert home.run("run")[0] == 0
    before = home.releases()
    shutil.rmtree(home.folder / "sealed" / "identity")
    made_former(home.folder)
    for made_again in ("lake", "sealed/conformed", "releases"):
        shutil.rmtree(home.folder / made_again)
    (home.folder / "releases.json").unlink()
    assert home.run("run")[0] == 4
    assert home.run("migrate")[0] == 0
    assert home.run("run")[0] == 0
    assert home.releases() == before
