"""Storage and seals."""

from __future__ import annotations

import io
import os
import stat
import time
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pytest

from insertion_pipeline.lake import (
    AnotherRunHoldsTheLock,
    HomeNeedsMigration,
    HomeTooNew,
    Lake,
    ParquetFile,
    remembered_sha256_of,
    replacing,
    sha256_of,
    write_atomically,
)
from insertion_pipeline.sealing import Keyring, KeysMissing, PersonSpace, Purpose, SealBroken, seal, unsealed

KEY = bytes(range(32))


def test_a_home_of_another_version_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "VERSION").write_text("99\n")
    with pytest.raises(HomeTooNew):
        Lake.open(tmp_path)
    (tmp_path / "VERSION").write_text("0\n")
    with pytest.raises(HomeNeedsMigration):
        Lake.open(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["VERSION"]


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "table.txt"
    write_atomically(target, b"old")

    def be_interrupted() -> None:
        with replacing(target) as partial:
            partial.write_bytes(b"half of the n")
            raise RuntimeError("power cut")

    with pytest.raises(RuntimeError):
        be_interrupted()
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_sealed_parquet_opens_with_its_key_in_arrow_and_in_duckdb(lake: Lake) -> None:
    path = lake.sealed / "persons.parquet"
    lake.write_parquet(path, pa.table({"name": ["DURAND-TEMOIN"], "n": [3]}), key=KEY)
    assert b"DURAND" not in path.read_bytes()
    assert lake.read_parquet(ParquetFile(path, KEY)).to_pylist() == [{"name": "DURAND-TEMOIN", "n": 3}]
    with lake.connect(sealed_spill=True) as connection:
        scan = lake.scan(connection, [ParquetFile(path, KEY)])
        assert connection.execute(f"SELECT n FROM {scan}").fetchall() == [(3,)]
    with pytest.raises(OSError):
        lake.read_parquet(ParquetFile(path, bytes(32)))


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_sealed_stream_gives_back_its_bytes(size: int) -> None:
    content = os.urandom(size)
    sealed = io.BytesIO()
    seal(io.BytesIO(content), sealed, KEY)
    sealed.seek(0)
    assert b"".join(unsealed(sealed, KEY)) == content


@pytest.mark.parametrize("damage", ["cut", "flipped", "reordered", "other key"])
def test_a_damaged_seal_does_not_open(damage: str) -> None:
    target = io.BytesIO()
    seal(io.BytesIO(bytes(2_500_000)), target, KEY)
    raw = bytearray(target.getvalue())
    key = KEY
    if damage == "cut":
        raw = raw[: 15 + (1 << 20) + 16]  # a whole first segment: only the end mark tells
    elif damage == "flipped":
        raw[100] ^= 1
    elif damage == "reordered":
        step = (1 << 20) + 16
        raw[15 : 15 + 2 * step] = raw[15 + step : 15 + 2 * step] + raw[15 : 15 + step]
    else:
        key = bytes(32)
    with pytest.raises(SealBroken):
        b"".join(unsealed(io.BytesIO(bytes(raw)), key))


def test_keys_are_made_once_and_only_their_owner_reads_them(lake: Lake) -> None:
    first = lake.keyring.space_key("fr")
    assert len(first) == 32
    assert lake.keyring.space_key("fr") == first
    assert lake.keyring.space_key("be") != first
    path = lake.home / "secrets" / "space-fr.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert sorted(file.stem for file in path.parent.iterdir()) == [
        "purpose-facts", "purpose-portal", "purpose-referents", "purpose-register", "purpose-release-signature",
        "purpose-tombstones", "space-be", "space-fr",
    ], "the first key brings the others: a copy of the keys is one of all of them"  # fmt: skip


def test_production_never_invents_keys(tmp_path: Path) -> None:
    lake = Lake.open(tmp_path, may_create_keys=False)
    with pytest.raises(KeysMissing, match=r"^space-fr\.key$"):
        lake.keyring.space_key("fr")
    assert not (tmp_path / "secrets").exists()


def test_keys_made_beforehand_are_all_that_production_ever_asks_for(tmp_path: Path) -> None:
    made = Keyring(tmp_path).create_missing()
    assert len(made) == 8
    assert Keyring(tmp_path).create_missing() == ()
    production = Keyring(tmp_path, may_create=False)
    keys = [production.space_key(space) for space in get_args(PersonSpace)]
    keys += [production.purpose_key(purpose) for purpose in get_args(Purpose)]
    assert sorted(keys) == sorted(path.read_bytes() for path in tmp_path.iterdir())


def test_a_home_of_an_earlier_version_may_have_its_later_keys_afterwards(tmp_path: Path) -> None:
    Keyring(tmp_path).create_missing()
    for name in ("purpose-portal", "purpose-referents"):
        (tmp_path / f"{name}.key").unlink()
    assert Keyring(tmp_path).lost == ()
    (tmp_path / "space-fr.key").unlink()
    assert Keyring(tmp_path).lost == ("space-fr",)


def test_a_data_key_opens_only_in_its_own_space(lake: Lake) -> None:
    key, wrapped = lake.keyring.new_data_key("fr")
    assert lake.keyring.unwrap("fr", wrapped) == key
    with pytest.raises(SealBroken):
        lake.keyring.unwrap("be", wrapped)


def test_one_writer_per_home_and_the_second_learns_who_it_is(lake: Lake) -> None:
    with (
        lake.writer_lock(holder="run 42"),
        pytest.raises(AnotherRunHoldsTheLock, match="run 42"),
        lake.writer_lock(holder="run 43"),
    ):
        pass
    with lake.writer_lock(holder="run 43"):
        assert (lake.home / "run.lock").read_text() == "run 43"


def test_a_lock_whose_file_is_lost_is_still_held(lake: Lake) -> None:
    with lake.writer_lock(holder="run 42"):
        (lake.home / "run.lock").unlink()
        with pytest.raises(AnotherRunHoldsTheLock), lake.writer_lock(holder="run 43"):
            pass
    with lake.writer_lock(holder="run 43"):
        pass


def test_duckdb_is_offline_and_reproducible(lake: Lake) -> None:
    with lake.connect() as connection:
        settings = dict(
            connection.execute(
                "SELECT name, value FROM duckdb_settings() WHERE name IN "
                "('autoinstall_known_extensions', 'autoload_known_extensions', 'TimeZone')"
            ).fetchall()
        )
    assert settings == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "TimeZone": "UTC",
    }


@pytest.mark.parametrize("area", ["home", "sealed"])
def test_what_duckdb_spills_is_behind_a_closed_door_and_gone_with_its_connection(lake: Lake, area: str) -> None:
    spill = getattr(lake, area) / "spill"
    with lake.connect(memory_limit_mb=48, sealed_spill=area == "sealed") as connection:
        assert list(spill.iterdir()) == [], "what never spills leaves nothing"
        connection.execute("CREATE TABLE wide AS SELECT repeat('x', 60) || range AS text FROM range(900_000)")
        assert [folder.name.partition("-")[0] for folder in spill.iterdir()] == [str(os.getpid())]
        assert spill.stat().st_mode & 0o777 == 0o700
    assert list(spill.iterdir()) == []


def test_a_spill_folder_that_others_could_enter_is_closed(lake: Lake) -> None:
    (lake.sealed / "spill").mkdir(parents=True, mode=0o755)
    with lake.sealed_spill() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert (lake.sealed / "spill").stat().st_mode & 0o777 == 0o700


def test_a_digest_is_told_again_without_reading_as_long_as_the_file_stays_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, read = tmp_path / "table.parquet", []
    monkeypatch.setattr("insertion_pipeline.lake.sha256_of", lambda path: read.append(path) or sha256_of(path))
    path.write_bytes(b"first")
    assert [remembered_sha256_of(path) for _ in range(2)] == [sha256_of(path)] * 2
    assert len(read) == 2, "what was just written is read each time"
    now = time.time_ns()
    monkeypatch.setattr("insertion_pipeline.lake.time.time_ns", lambda: now + 10**10)
    assert [remembered_sha256_of(path) for _ in range(3)] == [sha256_of(path)] * 3
    assert len(read) == 3
    path.write_bytes(b"other")
    assert remembered_sha256_of(path) == sha256_of(path)
    assert len(read) == 4
