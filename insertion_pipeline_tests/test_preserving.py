"""A backup proves itself whole, comes back byte for byte, and never undoes an erasure."""

from __future__ import annotations

import contextlib
import io
import shutil
import sqlite3
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.ingestion import content, tombstones
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.month import Month
from insertion_pipeline.preserving import MANIFEST, DamagedBackup, back_up, restore
from insertion_pipeline.registry import Registry

SEPTEMBER = Month(2026, 9)


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Lake]:
    """A home with a delivery, a database that is open, a release, a proof of erasure."""
    lake = Lake.open(tmp_path_factory.mktemp("preserving") / "home")
    (sample,) = (registry.folder / "siae" / "samples" / "2026-09" / "siae-10").iterdir()
    deliver(sample, "siae-10", "siae_monthly", SEPTEMBER, registry, lake)
    tombstones.write(lake, "fr", "erasure", pa.table({"nir": ["299999999999959"]}))
    for name in ("releases/2026-09-0/MANIFEST.json", "lake/facts/a/2026-09.parquet"):
        (lake.home / name).parent.mkdir(parents=True)
        (lake.home / name).write_text(name)
    (lake.home / "portal").mkdir()
    database = sqlite3.connect(lake.home / "portal" / "portal.sqlite")
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("CREATE TABLE accounts AS SELECT 1 AS account")
    database.commit()
    yield lake
    database.close()


@pytest.fixture(scope="module")
def archive(used: Lake) -> Path:
    path = used.home.parent / "copy.tar"
    back_up(used.home, path)
    return path


def altered(archive: Path, target: Path, name: str, content: bytes | None) -> Path:
    """The archive with one member replaced, or without it."""
    with tarfile.open(archive) as source, tarfile.open(target, "w") as written:
        for member in source:
            if member.name != name:
                written.addfile(member, source.extractfile(member))
            elif content is not None:
                member.size = len(content)
                written.addfile(member, io.BytesIO(content))
    return target


def names_in(archive: Path) -> set[str]:
    with tarfile.open(archive) as tar:
        return set(tar.getnames())


def test_a_backup_holds_what_cannot_be_made_again_and_no_key(archive: Path, used: Lake) -> None:
    held = names_in(archive)
    assert {"landing/receipts/00000001.json", "releases/2026-09-0/MANIFEST.json", "portal/portal.sqlite"} <= held
    assert any(name.startswith("landing/content/") for name in held)
    assert not any(name.startswith(("secrets", "lake", "portal/portal.sqlite-")) for name in held)


def test_a_home_that_was_lost_is_there_again_with_its_keys_copied_back(
    archive: Path, used: Lake, registry: Registry, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    brought = restore(archive, home)
    shutil.copytree(used.keyring.folder, home / "secrets")
    (receipt,) = receipts(Lake.open(home))
    assert (receipt, brought.newest_receipt) == (receipts(used)[0], 1)
    (sample,) = (registry.folder / "siae" / "samples" / "2026-09" / "siae-10").iterdir()
    again = deliver(sample, "siae-10", "siae_monthly", SEPTEMBER, registry, Lake.open(home))
    assert again.is_repeated
    with contextlib.closing(sqlite3.connect(home / "portal" / "portal.sqlite")) as accounts:
        assert accounts.execute("SELECT * FROM accounts").fetchall() == [(1,)]


def test_an_erasure_outlives_the_copy_made_before_it(archive: Path, tmp_path: Path) -> None:
    home = Lake.open(tmp_path / "home").home
    (home / "tombstones").mkdir()
    (home / "tombstones" / "00000002.json").write_text("later")
    restore(archive, home)
    assert sorted(path.name for path in (home / "tombstones").iterdir()) == ["00000001.json", "00000002.json"]


def test_somebody_erased_since_the_copy_is_gone_as_soon_as_it_is_back(
    archive: Path, used: Lake, registry: Registry, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    restore(archive, home)
    shutil.copytree(used.keyring.folder, home / "secrets")
    lake = Lake.open(home)
    (receipt,) = receipts(lake)
    numbers = stored_numbers(lake, registry, receipt)
    tombstones.write(lake, "fr", "erasure", pa.table({"nir": [numbers[0]]}))
    result = CliRunner().invoke(app, ["--home", str(home), "restore", str(archive)])
    assert result.exit_code == 0, result.output
    again = Lake.open(home)
    assert stored_numbers(again, registry, receipt) == numbers[1:]
    assert not content.has_bytes(again, registry.partner(receipt.partner), receipt.sha256)


def stored_numbers(lake: Lake, registry: Registry, receipt: Receipt) -> list[str]:
    key = content.existing_data_key(lake, registry.partner(receipt.partner), receipt.sha256)
    (path,) = (lake.sealed / "conformed" / "siae_monthly").rglob("salaries.parquet")
    numbers: list[str] = lake.read_parquet(ParquetFile(path, key), columns=["nir"])["nir"].to_pylist()
    return numbers


def test_what_was_there_is_put_aside(archive: Path, tmp_path: Path) -> None:
    home = Lake.open(tmp_path / "home").home
    (home / "mine").write_text("kept")
    restore(archive, home)
    assert not (home / "mine").exists()
    assert (tmp_path / "home.before-1" / "mine").read_text() == "kept"


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("releases/2026-09-0/MANIFEST.json", b"another", "releases/2026-09-0/MANIFEST.json"),
        ("releases/2026-09-0/MANIFEST.json", None, "releases/2026-09-0/MANIFEST.json"),
        (MANIFEST, b"{}", MANIFEST),
        (MANIFEST, b'{"home_version": 1, "files": {"../../etc/cron.d/x": "0"}}', MANIFEST),
        (MANIFEST, b'{"home_version": 999, "files": {}}', MANIFEST),
    ],
)
def test_a_damaged_copy_changes_nothing_and_is_named(
    archive: Path, tmp_path: Path, name: str, content: bytes | None, named: str
) -> None:
    damaged = altered(archive, tmp_path / "damaged.tar", name, content)
    home = Lake.open(tmp_path / "home").home
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DamagedBackup, match=named):
        restore(damaged, home)
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("content", [b"", b"not an archive", b"\0" * 2048])
def test_what_is_no_copy_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.tar").write_bytes(content)
    with pytest.raises(DamagedBackup):
        restore(tmp_path / "x.tar", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_truncated_copy_is_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "cut.tar").write_bytes(archive.read_bytes()[:-20_000])
    with pytest.raises(DamagedBackup):
        restore(tmp_path / "cut.tar", tmp_path / "home")
    assert not (tmp_path / "home").exists()


def test_a_copy_never_replaces_another(archive: Path, used: Lake) -> None:
    before = archive.read_bytes()
    with pytest.raises(FileExistsError):
        back_up(used.home, archive)
    assert archive.read_bytes() == before
