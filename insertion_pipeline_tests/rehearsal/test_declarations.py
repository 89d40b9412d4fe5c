"""Declarations edited while a run is at work: what it has read stays, what it had yet to read ends it."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home

SAMPLE = next((REPOSITORY / "data_sources" / "siae" / "samples" / "2026-09" / "siae-10").iterdir())
#: What a run reads at its beginning, and what it reads last.
READ, UNREAD = "department/department_list.yaml", "report/views.yaml"


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A home with a deposit and its release."""
    home = Home(tmp_path_factory.mktemp("undisturbed") / "home")
    assert home.run("deliver", str(SAMPLE), "--partner", "siae-10", "--month", "2026-09")[0] in (0, 1)
    assert home.run("run")[0] == 0
    return home


@pytest.mark.parametrize(("edited", "code"), [(READ, 0), (UNREAD, 5)])
def test_a_run_never_mixes_two_versions(undisturbed: Home, tmp_path: Path, edited: str, code: int) -> None:
    declared = tmp_path / "data_sources"
    shutil.copytree(REPOSITORY / "data_sources", declared, ignore=shutil.ignore_patterns("samples"))
    home = Home(tmp_path / "home")
    assert home.run("deliver", str(SAMPLE), "--partner", "siae-10", "--month", "2026-09")[0] in (0, 1)
    running = home.start("run", "--json", "--data-sources", str(declared))
    while running.poll() is None and not (home.folder / "lake" / "facts").exists():
        time.sleep(0.01)
    with (declared / edited).open("a", encoding="utf-8") as file:
        file.write("# said otherwise\n")
    told, _ = running.communicate(timeout=600)
    assert running.returncode == code, told
    assert home.releases() == (undisturbed.releases() if code == 0 else {})
    assert home.run("run", "--data-sources", str(declared))[0] == 0
    assert not home.releases().keys() <= undisturbed.releases().keys(), "another name for another version"
    assert home.run("release", "verify")[0] == 0
