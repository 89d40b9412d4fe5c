"""Keys that are replaced, and what is past its time."""

from __future__ import annotations

from pathlib import Path

import pytest

from insertion_pipeline.identity import ledger, retaining, rotating
from insertion_pipeline.ingestion import content
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline.sealing import Keyring, SealBroken
from insertion_pipeline_tests.department_home import OCTOBER, Home


@pytest.fixture
def home(department: Home) -> Home:
    return department


def pseudonyms(home: Home) -> set[str]:
    from insertion_pipeline.identity import pseudonymising

    file = pseudonymising.pseudonymised_file(home.lake, "department_list", "beneficiaires", OCTOBER)
    return set(home.lake.read_parquet(file)["person"].to_pylist())


def test_another_space_key_opens_everything_and_the_former_one_nothing(home: Home, tmp_path: Path) -> None:
    wrapped = [path.read_bytes() for path in rotating._wrapped_keys(home.lake)]
    former = home.lake.keyring.space_key("fr")
    done = rotating.rotate_space(home.lake, "fr", by="operator")
    assert done.data_keys == 2, "the delivery's and that of the persons"
    assert home.lake.keyring.space_key("fr") != former
    assert home.lake.keyring.next_key("fr") is None
    assert (home.known(), home.persons()) == (["77001", "77002", "77003"], 3)
    with home.lake.keyring.folder.joinpath("space-fr.key").open("wb") as file:
        file.write(former)
    stolen = Keyring(home.lake.keyring.folder)
    for path in (home.folder / "landing" / "content").rglob("*.key"):
        with pytest.raises(SealBroken):
            stolen.unwrap("fr", path.read_bytes())
    assert wrapped != [path.read_bytes() for path in rotating._wrapped_keys(home.lake)]


def test_a_replacement_cut_short_leaves_everything_readable_and_is_taken_up_again(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> bool:
        if done:
            raise KeyboardInterrupt
        done.append(True)
        return wrap(*_)  # type: ignore[arg-type]

    done: list[bool] = []
    wrap = rotating._wrap_again
    with monkeypatch.context() as patched:
        patched.setattr(rotating, "_wrap_again", cut)
        with pytest.raises(KeyboardInterrupt):
            rotating.rotate_space(home.lake, "fr", by="operator")
    assert (home.known(), home.persons()) == (["77001", "77002", "77003"], 3)
    rotating.rotate_space(home.lake, "fr", by="operator")
    assert (home.known(), home.persons()) == (["77001", "77002", "77003"], 3)


def test_other_pseudonyms_after_another_key_and_the_same_persons(home: Home) -> None:
    before = pseudonyms(home)
    rotating.rotate_pseudonyms(home.lake, by="operator")
    assert not list((home.folder / "lake").rglob("pseudonymised/**/*.parquet"))
    home.run()
    assert len(pseudonyms(home)) == 3
    assert not pseudonyms(home) & before
    assert [entry.act for entry in ledger.entries(home.lake.home)] == ["rotation"]


def test_bytes_go_after_thirteen_months_and_rows_stay_while_a_release_reads_them(
    home: Home, registry: Registry
) -> None:
    partner, (receipt,) = registry.partner("dep-52"), receipts(home.lake)

    def retained(now: Month, still_read: Month = OCTOBER) -> tuple[int, int, int]:
        gone = retaining.retain(home.lake, registry, now, still_read, by="operator")
        return gone.bytes_of, gone.rows_of, gone.tables

    assert retained(OCTOBER.plus(13)) == (0, 0, 0)
    assert content.has_bytes(home.lake, partner, receipt.sha256)
    assert retaining.retain(home.lake, registry, OCTOBER.plus(14), OCTOBER, by="o", only_say=True).bytes_of == 1
    assert content.has_bytes(home.lake, partner, receipt.sha256)
    assert retained(OCTOBER.plus(14)) == (1, 0, 0)
    assert not content.has_bytes(home.lake, partner, receipt.sha256)
    assert home.known() == ["77001", "77002", "77003"]
    assert retained(OCTOBER.plus(30)) == (0, 0, 0), "the next release still reads them"
    assert retained(OCTOBER.plus(40), OCTOBER.plus(5)) == (0, 1, 0)
    with pytest.raises(content.ContentErased):
        content.existing_data_key(home.lake, partner, receipt.sha256)
    assert home.pseudonymised() == 3
    gone = retaining.retain(home.lake, registry, OCTOBER.plus(61), OCTOBER.plus(30), by="operator")
    assert gone.tables >= 1
    assert not list((home.folder / "lake" / "pseudonymised").rglob("*.parquet"))


def test_a_fresh_home_replaces_keys_too(lake: Lake) -> None:
    assert rotating.rotate_space(lake, "be", by="operator").data_keys == 0
