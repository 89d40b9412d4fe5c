"""A home of an earlier version becomes one of this version, once, whatever interrupts it, and nothing is lost."""

from __future__ import annotations

import hmac
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from insertion_pipeline import migrating
from insertion_pipeline.cli import app
from insertion_pipeline.doctoring import examine
from insertion_pipeline.identity import pseudonyms
from insertion_pipeline.identity.register import Register
from insertion_pipeline.lake import HOME_VERSION, HomeNeedsMigration, HomeTooNew, Lake, ParquetFile
from insertion_pipeline.preserving import restore
from insertion_pipeline.settings import Settings


def persons(register: Register) -> dict[str, list[dict[str, Any]]]:
    return {"members": register.members.to_pylist(), "ids": register.ids.to_pylist()}


def made_former(home: Path) -> None:
    """Lay a home out as version 1 did: a register per space beside what runs make of persons."""
    for register in (home / "landing" / "register").iterdir():
        place = home / "sealed" / "identity" / register.name / "register"
        place.parent.mkdir(parents=True)
        register.rename(place)
    (home / "landing" / "register").rmdir()
    (home / "VERSION").write_text("1\n")


@pytest.fixture
def former(tmp_path: Path) -> tuple[Path, dict[str, list[dict[str, Any]]]]:
    """A home of version 1 with two registers, and whom they name."""
    lake = Lake.open(tmp_path / "home")
    for space in ("fr", "be"):
        register = Register.opened(lake, space)
        ids = pa.Table.from_pylist([{"person_id": f"{space}-1"}], schema=register.ids.schema)
        register.write(register.members, ids, register.events)
    known = persons(Register.opened(lake, "fr"))
    made_former(lake.home)
    return lake.home, known


def run(*arguments: object) -> tuple[int, Any]:
    result = CliRunner().invoke(app, [str(one) for one in arguments])
    return result.exit_code, result.output


def test_a_former_home_is_refused_until_it_is_migrated(former: tuple[Path, Any]) -> None:
    home, known = former
    with pytest.raises(HomeNeedsMigration):
        Lake.open(home)
    code, output = run("migrate", "--home", home, "--json")
    assert code == 0
    told = json.loads(output)
    assert (told["from"], [step["version"] for step in told["steps"]], told["done"]) == (1, [2, 3], True)
    assert persons(Register.opened(Lake.open(home), "fr")) == known
    assert not list((home / "sealed" / "identity").glob("*/register"))


def test_what_would_be_done_can_be_asked_without_doing_it(former: tuple[Path, Any]) -> None:
    home, _ = former
    before = sorted(home.rglob("*"))
    code, output = run("migrate", "--home", home, "--dry-run", "--json")
    assert (code, json.loads(output)["done"]) == (0, False)
    assert sorted(home.rglob("*")) == before
    assert list(home.parent.iterdir()) == [home]


def test_a_copy_is_made_first_and_brings_the_same_home_back(former: tuple[Path, Any], tmp_path: Path) -> None:
    home, known = former
    copy = tmp_path / "before.tar"
    assert run("migrate", "--home", home, "--backup", copy)[0] == 0
    again = tmp_path / "again"
    restore(copy, again)
    shutil.copytree(home / "secrets", again / "secrets")
    assert persons(Register.opened(Lake.open(again), "fr")) == known, "a copy of version 1 comes back as this one"


def test_nothing_is_done_where_the_copy_cannot_be_made(former: tuple[Path, Any], tmp_path: Path) -> None:
    home, _ = former
    copy = tmp_path / "before.tar"
    copy.write_bytes(b"another copy")
    assert run("migrate", "--home", home, "--backup", copy)[0] == 4
    assert (home / "VERSION").read_text() == "1\n"
    assert copy.read_bytes() == b"another copy"


def test_a_migration_that_is_killed_goes_on_where_it_was(
    former: tuple[Path, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    home, known = former
    moves = []
    rename = Path.rename

    def killed_at_the_second(path: Path, target: Path) -> Path:
        moves.append(path)
        if len(moves) == 2:
            raise KeyboardInterrupt
        return rename(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "rename", killed_at_the_second)
        with pytest.raises(KeyboardInterrupt):
            list(migrating.migrate(home))
    with pytest.raises(HomeNeedsMigration):
        Lake.open(home)
    assert [step.version for step in migrating.migrate(home)] == [2, 3]
    assert persons(Register.opened(Lake.open(home), "fr")) == known
    assert Register.opened(Lake.open(home), "be").generation == 1


def test_a_second_time_there_is_nothing_to_do(former: tuple[Path, Any]) -> None:
    home, _ = former
    assert run("migrate", "--home", home)[0] == 0
    code, output = run("migrate", "--home", home, "--json")
    assert (code, json.loads(output)["steps"]) == (0, [])


def test_a_home_from_the_future_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("99\n")
    with pytest.raises(HomeTooNew):
        migrating.pending(tmp_path)
    code, output = run("migrate", "--home", tmp_path, "--json")
    assert (code, json.loads(output.splitlines()[0])["exit_code"]) == (4, 4)
    assert [path.name for path in tmp_path.iterdir()] == ["VERSION"]


@pytest.mark.parametrize(
    ("version", "is_well", "remedy"), [("1", False, "insertion migrate"), ("99", False, "version")]
)
def test_doctor_says_what_to_do(tmp_path: Path, version: str, is_well: bool, remedy: str) -> None:
    (tmp_path / "VERSION").write_text(f"{version}\n")
    (point,) = [one for one in examine(Settings(home=tmp_path)) if one.point == "Base"]
    assert point.is_well is is_well
    assert remedy in point.remedy


def test_former_pseudonyms_stand_for_the_persons_that_new_ones_stand_for(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path)
    key = lake.keyring.purpose_key("facts")
    former = [hmac.digest(key, told, "sha256").hex() for told in (b"fr-1", b"fr-2")]
    path = lake.open_area / "facts" / "network_closings" / "2025-01.parquet"
    lake.write_parquet(path, pa.table({"month": ["2025-01"] * 4, "person": [former[0], None, former[1], former[0]]}))
    (tmp_path / "VERSION").write_text("2\n")
    expected = [pseudonyms.of(key, "fr-1"), None, pseudonyms.of(key, "fr-2"), pseudonyms.of(key, "fr-1")]
    for _ in range(2):  # a second time, as after a kill, it changes nothing
        (tmp_path / "VERSION").write_text("2\n")
        assert [step.version for step in migrating.migrate(tmp_path)] == [3]
        migrated = lake.read_parquet(ParquetFile(path))
        assert migrated.to_pydict() == {"month": ["2025-01"] * 4, "person": expected}


def test_every_version_has_its_step() -> None:
    assert [step.version for step in migrating.MIGRATIONS] == list(range(2, HOME_VERSION + 1))
