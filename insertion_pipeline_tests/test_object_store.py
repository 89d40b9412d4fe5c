"""A home whose deliveries, registers and releases an S3 server has: two machines that share nothing else.

The server is a real one, on loopback; what it decides (`If-None-Match`, `If-Match`) is what is tested.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.disclosure import SafeTable
from insertion_pipeline.identity import decisions, rotating
from insertion_pipeline.identity.register import Register
from insertion_pipeline.ingestion import content, deliveries, landing, tombstones
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.publication import approving, releasing
from insertion_pipeline.publication.releasing import Release
from insertion_pipeline.publication.verifying import verify
from insertion_pipeline.registry import Registry
from insertion_pipeline.remote import Overtaken, Remote
from insertion_pipeline_tests.protected_values import small_registry
from insertion_pipeline_tests.test_judging import listing
from insertion_pipeline_tests.test_releases import inputs
from insertion_pipeline_tests.test_releases import safe as safe

SEPTEMBER, OCTOBER = Month(2026, 9), Month(2026, 10)


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket of a real S3 server."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    assert httpx.put(f"{endpoint}/network").status_code == 200
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("AWS_ENDPOINT_URL", endpoint)
        environment.setenv("AWS_ALLOW_HTTP", "true")
        environment.setenv("AWS_ACCESS_KEY_ID", "anybody")
        environment.setenv("AWS_SECRET_ACCESS_KEY", "anything")
        environment.setenv("AWS_REGION", "eu-west-3")
        yield "s3://network"
    server.stop()


@dataclass(frozen=True)
class Machines:
    """Two homes with the same keys and the same store, and the address of that store."""

    one: Lake
    other: Lake
    store: str

    def another(self, folder: Path) -> Lake:
        """A third machine, which has nothing but the keys."""
        shutil.copytree(self.other.keyring.folder, folder / "secrets")
        return Lake.open(folder, store=self.store)


def two_machines(store: str, folder: Path) -> Machines:
    one = Lake.open(folder / "one", store=store)
    for space in ("fr", "be"):
        one.keyring.space_key(space)
    shutil.copytree(one.keyring.folder, folder / "other" / "secrets")
    return Machines(one, Lake.open(folder / "other", store=store), store)


@pytest.fixture
def machines(bucket: str, tmp_path: Path) -> Machines:
    return two_machines(f"{bucket}/{tmp_path.name}", tmp_path)


@pytest.fixture(scope="module")
def published(bucket: str, tmp_path_factory: pytest.TempPathFactory, safe: SafeTable) -> tuple[Machines, Release]:
    """Two machines, and a release that the first one made."""
    made = two_machines(f"{bucket}/published", tmp_path_factory.mktemp("published"))
    return made, releasing.release(made.one, small_registry(), inputs(), safe)


def send(path: Path, registry: Registry, lake: Lake, month: Month = SEPTEMBER) -> landing.Answer:
    return deliver(path, "dep-52", "department_list", month, registry, lake)


def rows(lake: Lake, registry: Registry, month: Month = SEPTEMBER) -> list[dict[str, Any]]:
    with lake.connect(sealed_spill=True) as connection:
        relation = deliveries.conformed_rows(lake, connection, registry, "department_list", "beneficiaires", [month])
        return connection.sql(f"SELECT * FROM {relation} ORDER BY _line").to_arrow_table().to_pylist()


# -- deposits ----------------------------------------------------------------------------------------------------------


def test_what_is_deposited_on_one_machine_counts_on_the_other(
    machines: Machines, registry: Registry, tmp_path: Path
) -> None:
    receipt = send(listing(tmp_path / "x"), registry, machines.one).receipt
    assert receipts(machines.other) == (receipt,)
    assert rows(machines.other, registry) == rows(machines.one, registry)
    assert len(rows(machines.other, registry)) == receipt.rows["beneficiaires"]
    again = send(listing(tmp_path / "x"), registry, machines.other)
    assert (again.receipt, again.is_repeated) == (receipt, True)


def test_nothing_of_a_file_can_be_read_in_the_store(machines: Machines, registry: Registry, tmp_path: Path) -> None:
    path = listing(tmp_path / "x")
    send(path, registry, machines.one)
    store = Remote(machines.store)
    names = list(store.names(""))
    assert {name.split("/")[1] for name in names if name.startswith("landing/")} == {"content", "receipts"}
    words = [word for word in path.read_bytes().split(b";") if len(word) > 6]
    assert words
    assert not any(word in store.read(name)[0] for name in names for word in words)
    assert not any(name.startswith("secrets") for name in names)


def test_a_deposit_that_breaks_before_its_receipt_is_seen_by_nobody(
    machines: Machines, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = listing(tmp_path / "x")

    def cut(*_: object) -> bool:
        raise OSError("no network")

    with monkeypatch.context() as broken:
        broken.setattr(Remote, "create", cut)
        with pytest.raises(OSError, match="no network"):
            send(path, registry, machines.one)
    assert receipts(machines.other) == receipts(machines.one) == ()
    assert send(path, registry, machines.one).receipt.sequence == 1
    assert len(receipts(machines.other)) == 1


def test_machines_that_deposit_at_once_share_one_order(machines: Machines, registry: Registry) -> None:
    def declare(number: int) -> int:
        lake = (machines.one, machines.other)[number % 2]
        return landing.declare_nothing(
            "dep-52", "department_list", Month(2025, 1).plus(number), registry, lake
        ).sequence

    with ThreadPoolExecutor(4) as pool:
        numbers = list(pool.map(declare, range(8)))
    assert sorted(numbers) == list(range(1, 9))
    assert receipts(machines.one) == receipts(machines.other)
    assert len({receipt.month for receipt in receipts(machines.one)}) == 8


def test_a_deposit_that_was_overtaken_is_decided_again(
    machines: Machines, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both machines receive the same file at the same time: the second learns it at the moment of its receipt."""
    path, claim = listing(tmp_path / "x"), Lake.claim
    first: list[landing.Answer] = []

    def overtaken(lake: Lake, partial: Path, place: Path) -> bool:
        if lake is machines.one and not first:
            first.append(send(path, registry, machines.other))
        return claim(lake, partial, place)

    monkeypatch.setattr(Lake, "claim", overtaken)
    second = send(path, registry, machines.one)
    assert second.is_repeated
    assert second.receipt == first[0].receipt
    assert receipts(machines.one) == (second.receipt,)


def test_a_refusal_keeps_its_reasons_for_everybody(machines: Machines, registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "strange.csv"
    path.write_bytes(b"\x00\x01\x02")
    refused = send(path, registry, machines.one).receipt
    assert refused.status == "refused"
    told = machines.other.read_kept(landing.refusal_path(machines.other, refused.sequence))
    assert refused.sha256.encode() in told


# -- persons -----------------------------------------------------------------------------------------------------------


def test_what_is_erased_on_one_machine_opens_on_none(machines: Machines, registry: Registry, tmp_path: Path) -> None:
    receipt = send(listing(tmp_path / "x"), registry, machines.one).receipt
    partner = registry.partner("dep-52")
    with content.opened(machines.other, partner, receipt.sha256) as clear:
        assert clear.read_bytes() == listing(tmp_path / "x").read_bytes()
    content.discard(machines.one, partner, receipt.sha256)
    with pytest.raises(content.ContentErased), content.opened(machines.other, partner, receipt.sha256):
        pass
    assert not content.has_bytes(machines.other, partner, receipt.sha256)
    assert not [path for path in (machines.other.landing / "content").rglob("*") if path.is_file()]
    assert not list(Remote(machines.store).names("landing/content"))


def test_a_tombstone_holds_on_every_machine(machines: Machines) -> None:
    put_up = tombstones.write(machines.one, "fr", "erasure", pa.table({"nir": ["299999999999959"]}))
    assert tombstones.load(machines.other).version == tombstones.load(machines.one).version
    second = tombstones.write(machines.other, "fr", "erasure", pa.table({"nir": ["199999999999928"]}))
    assert (put_up.number, second.number) == (1, 2)
    assert len(tombstones.load(machines.one).entries) == 2


def test_the_register_is_one_and_a_late_writer_changes_nothing(machines: Machines) -> None:
    def named(register: Register, person: str) -> Register:
        ids = pa.Table.from_pylist([{"person_id": person}], schema=register.ids.schema)
        return register.write(register.members, ids, register.events)

    late = Register.opened(machines.other, "fr")
    named(Register.opened(machines.one, "fr"), "first")
    with pytest.raises(Overtaken):
        named(late, "second")
    assert Register.opened(machines.other, "fr").ids["person_id"].to_pylist() == ["first"]
    named(Register.opened(machines.other, "fr"), "third")
    after = Register.opened(machines.one, "fr")
    assert (after.generation, after.ids["person_id"].to_pylist()) == (2, ["third"])
    tables = [name for name in Remote(machines.store).names("landing/register") if name.endswith(".parquet")]
    assert len(tables) == 3, "neither those of the former generation nor those of the late writer are left"


def test_what_reviewers_decide_is_known_everywhere(machines: Machines) -> None:
    decided = pa.Table.from_pylist([{"number": 1, "pair": "a b", "verdict": "same"}], schema=decisions.SCHEMA)
    decisions._write(machines.one, "fr", decided)
    assert decisions.load(machines.other, "fr")["pair"].to_pylist() == ["a b"]
    assert decisions.digests(machines.other) == decisions.digests(machines.one)


def test_a_key_that_is_replaced_opens_everything_again(machines: Machines, registry: Registry, tmp_path: Path) -> None:
    receipt = send(listing(tmp_path / "x"), registry, machines.one).receipt
    done = rotating.rotate_space(machines.other, "fr", by="tests")
    assert done.data_keys == 1
    with content.opened(machines.another(tmp_path / "third"), registry.partner("dep-52"), receipt.sha256) as clear:
        assert clear.stat().st_size == receipt.size


# -- releases ----------------------------------------------------------------------------------------------------------


def test_a_release_is_the_same_on_the_other_machine(published: tuple[Machines, Release], safe: SafeTable) -> None:
    machines, made = published
    (found,) = releasing.releases(machines.other)
    assert (found.release_id, found.manifest) == (made.release_id, made.manifest)
    assert not verify(machines.other, found).problems
    assert releasing.release(machines.other, small_registry(), inputs(), safe).folder == found.folder


def test_a_signature_counts_for_both(published: tuple[Machines, Release]) -> None:
    machines, made = published
    found = releasing.chosen(machines.other)
    approving.sign(machines.other, found.folder, found.manifest, name="Camille Martin", role="statisticienne")
    assert releasing.chosen(machines.one, made.release_id).to_json()["signed"] is True


def test_a_release_that_came_half_way_is_brought_whole(published: tuple[Machines, Release], tmp_path: Path) -> None:
    machines, made = published
    third = machines.another(tmp_path / "third")
    third.fetch_all(third.releases / made.release_id / "csv")
    assert releasing.opened(third.releases / made.release_id) is None
    assert not verify(third, releasing.chosen(third)).problems


def test_names_that_are_added_at_once_are_all_there(machines: Machines) -> None:
    def add(number: int) -> None:
        releasing._remember((machines.one, machines.other)[number % 2], f"2026-{number:02d}")

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(add, range(1, 9)))
    assert sorted(releasing._noted(machines.one)) == [f"2026-{number:02d}" for number in range(1, 9)]


# -- copies ------------------------------------------------------------------------------------------------------------


def test_a_machine_that_is_lost_loses_nothing(machines: Machines, registry: Registry, tmp_path: Path) -> None:
    receipt = send(listing(tmp_path / "x"), registry, machines.one).receipt
    expected = rows(machines.one, registry)
    third = machines.another(tmp_path / "third")
    shutil.rmtree(machines.one.home)
    assert receipts(third) == (receipt,)
    assert rows(third, registry) == expected


def test_a_copy_in_the_store_comes_back_on_a_disk(
    machines: Machines, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receipt = send(listing(tmp_path / "x"), registry, machines.one).receipt
    archive = f"{machines.store}-copies/monday.tar"
    monkeypatch.setenv("INSERTION_STORE", machines.store)
    run = CliRunner()
    made = run.invoke(app, ["--home", str(machines.other.home), "backup", archive])
    assert made.exit_code == 0, made.output
    refused = run.invoke(app, ["--home", str(machines.other.home), "backup", archive])
    assert refused.exit_code == 4, "a copy never replaces another"
    monkeypatch.delenv("INSERTION_STORE")
    home = tmp_path / "disk"
    brought = run.invoke(app, ["--home", str(home), "restore", archive])
    assert brought.exit_code == 0, brought.output
    shutil.copytree(machines.one.keyring.folder, home / "secrets")
    assert receipts(Lake.open(home)) == (receipt,)
    assert len(rows(Lake.open(home), registry)) == receipt.rows["beneficiaires"]
    assert run.invoke(app, ["--home", str(home), "restore", f"{archive}.absent"]).exit_code == 4
