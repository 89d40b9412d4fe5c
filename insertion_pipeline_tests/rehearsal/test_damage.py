"""A disk that gives back other bytes than it was given: what can be made again is, and the release is the same."""

from __future__ import annotations

import shutil
from pathlib import Path

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home

SAMPLES = REPOSITORY / "data_sources" / "siae" / "samples"
#: What a run makes from the deposits: conformed tables, linked persons, pseudonyms, facts, values.
MADE_AGAIN = ("sealed", "lake")


def deposit(home: Home, path: Path, month: str) -> None:
    asked = ("deliver", str(path), "--partner", "siae-10", "--source", "siae_monthly", "--month", month)
    assert home.run(*asked)[0] in (0, 1)


def damage(path: Path) -> None:
    """Turn one byte in the middle of a file over: its size and its name say nothing."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


def test_a_correction_over_damaged_tables_makes_the_release_that_sound_ones_make(tmp_path: Path) -> None:
    sound = Home(tmp_path / "sound")
    for month in ("2026-09", "2026-10"):
        (sample,) = (SAMPLES / month / "siae-10").iterdir()
        deposit(sound, sample, month)
    assert sound.run("run")[0] in (0, 1)
    damaged = Home(Path(shutil.copytree(sound.folder, tmp_path / "damaged")))
    tables = [path for area in MADE_AGAIN for path in (damaged.folder / area).rglob("*.parquet")]
    for table in tables:
        damage(table)
    rooms = {table.relative_to(damaged.folder).parts[1] for table in tables}
    assert rooms >= {"conformed", "identity", "pseudonymised", "facts", "values"}
    corrected = tmp_path / "corrected.csv"
    corrected.write_bytes(b"".join(sample.read_bytes().splitlines(keepends=True)[:-3]))
    for home in (sound, damaged):
        deposit(home, corrected, "2026-10")
        assert home.run("run")[0] in (0, 1)
    assert len(sound.releases()) == 2
    assert damaged.releases() == sound.releases()
    assert damaged.run("release", "verify")[0] == 0
