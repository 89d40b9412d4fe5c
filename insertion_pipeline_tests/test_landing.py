"""Landing: bytes under seal, receipts in order, what counts for a month, what waits for a confirmation."""

from __future__ import annotations

import gzip
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from insertion_pipeline.ingestion import content, deliveries, landing, numbered, receipts
from insertion_pipeline.ingestion.landing import Answer, Deposit, deliver
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.test_judging import listing

AUGUST, SEPTEMBER, OCTOBER = Month(2026, 8), Month(2026, 9), Month(2026, 10)


def send(path: Path, registry: Registry, lake: Lake, *, month: Month = SEPTEMBER, partner: str = "dep-52") -> Answer:
    return deliver(path, partner, "department_list", month, registry, lake)


def tree(lake: Lake) -> set[str]:
    return {str(path.relative_to(lake.home)) for path in lake.home.rglob("*") if path.is_file()}


def rows(
    lake: Lake, registry: Registry, *months: Month, source: str = "department_list", table: str = "beneficiaires"
) -> list[dict[str, object]]:
    with lake.connect(sealed_spill=True) as connection:
        relation = deliveries.conformed_rows(lake, connection, registry, source, table, months)
        found = connection.sql(f"SELECT * FROM {relation} ORDER BY _month, _sequence, _member, _line")
        result: list[dict[str, object]] = found.to_arrow_table().to_pylist()
        return result


def a_receipt(sha256: str, partner: str, source: str = "department_list") -> Receipt:
    at = "2026-10-05T08:00:00+00:00"
    return Receipt(0, sha256, partner, source, SEPTEMBER, Span.single(SEPTEMBER), 1, at, "applied", 0)


def view(folder: Path, name: str, header: str, *lines: str) -> Path:
    """A fluxIAE view as the ASP sends it, with all the columns of the header given."""
    count = header.count("|")
    text = "\n".join([f"DEB{name}01102026_010203" + "|" * count, header, *lines, f"FIN{len(lines)}" + "|" * count, ""])
    path = folder / f"{name}-{len(lines)}"
    path.write_bytes(gzip.compress(text.encode(), mtime=0))
    return path


class TestReceipts:
    def test_a_delivery_is_kept_under_seal_and_acknowledged(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        path = listing(tmp_path / "x")
        answer = send(path, registry, lake)
        receipt = answer.receipt
        assert (receipt.sequence, receipt.status, receipt.verdict) == (1, "applied", 0)
        assert (receipt.size, dict(receipt.rows), receipt.months) == (
            path.stat().st_size,
            {"beneficiaires": 3},
            (SEPTEMBER,),
        )
        stored = lake.landing / "content" / receipt.sha256[:2] / f"{receipt.sha256}.dep-52"
        assert b"NOM1" not in stored.read_bytes()
        with content.opened(lake, registry.partner("dep-52"), receipt.sha256) as opened:
            assert opened.read_bytes() == path.read_bytes()
        for file in (path for path in lake.home.rglob("*") if path.is_file()):
            assert b"NOM1" not in file.read_bytes(), file

    def test_it_reads_back_as_it_was_written(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        receipt = send(listing(tmp_path / "x"), registry, lake).receipt
        assert Receipt.from_json(json.loads(json.dumps(receipt.to_json()))) == receipt
        assert receipts.receipts(lake) == (receipt,)

    def test_the_same_bytes_give_the_same_receipt(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        first = send(listing(tmp_path / "x"), registry, lake)
        before = tree(lake)
        again = send(listing(tmp_path / "other name"), registry, lake)
        assert again.receipt == first.receipt
        assert again.is_repeated
        assert tree(lake) == before
        assert send(listing(tmp_path / "x"), registry, lake, month=OCTOBER).receipt.sequence == 2

    def test_racing_deposits_get_numbers_of_their_own(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        template = send(listing(tmp_path / "x"), registry, lake).receipt
        with ThreadPoolExecutor(8) as pool:
            added = pool.map(lambda _: receipts.committing(lake, lambda _: receipts.append(lake, template)), range(40))
            numbers = [receipt.sequence for receipt in added]
        assert sorted(numbers) == list(range(2, 42))
        assert [receipt.sequence for receipt in receipts.receipts_after(lake, 39)] == [40, 41]

    def test_each_is_read_once_and_those_of_others_are_known_at_once(
        self, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        read: list[int] = []
        reading = receipts._read

        def noted(place: Path, number: int) -> Receipt:
            read.append(number)
            return reading(place, number)

        monkeypatch.setattr(receipts, "_read", noted)
        assert receipts.received(lake) == receipts.Received()
        for digest, partner in (("a", "dep-52"), ("b", "dep-52"), ("a", "dep-67")):
            receipts.append(lake, a_receipt(digest, partner))
        others = a_receipt("a", "dep-52", "ft_spie").to_json() | {"sequence": 4}
        assert numbered.take(lake, receipts.folder(lake), 4, others)
        known = receipts.received(lake)
        assert read == [1, 2, 3, 4]
        assert [one.sequence for one in known.of_bytes("a", "dep-52")] == [1, 4]
        assert [one.sequence for one in known.of_source("department_list")] == [1, 2, 3]
        assert [one.sequence for one in known.of_flow("dep-52", "department_list")] == [1, 2]
        a_run = receipts.received(replace(lake, newest_receipt=2))
        assert (a_run.last, [one.sequence for one in a_run.of_source("department_list")]) == (2, [1, 2])
        assert a_run.of_flow("dep-52", "ft_spie") == ()
        assert receipts.append(replace(lake, newest_receipt=2), a_receipt("c", "dep-52")).sequence == 5
        assert known.last == 4  # what was known at a moment stays

    def test_a_home_put_in_the_place_of_another_is_not_taken_for_it(self, lake: Lake, tmp_path: Path) -> None:
        for digest in ("a", "b"):
            receipts.append(lake, a_receipt(digest, "dep-52"))
        assert [one.sha256 for one in receipts.receipts(lake)] == ["a", "b"]
        receipts.folder(lake).rename(tmp_path / "former")
        assert receipts.receipts(lake) == ()
        receipts.append(lake, a_receipt("c", "dep-52"))
        assert [(one.sequence, one.sha256) for one in receipts.receipts(lake)] == [(1, "c")]
        assert receipts.received(lake).of_bytes("a", "dep-52") == ()

    def test_a_deposit_does_not_wait_for_a_run(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        with lake.writer_lock():
            assert send(listing(tmp_path / "x"), registry, lake).receipt.status == "applied"

    def test_many_in_one_process(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        deposits = [
            Deposit(listing(tmp_path / str(number), rows=number + 5), "dep-52", None, Month(2025, 1).plus(number))
            for number in range(5)
        ]
        found = [answer.receipt for answer in landing.deliver_many(deposits, registry, lake)]
        assert [(one.sequence, one.rows["beneficiaires"]) for one in found] == [(1, 5), (2, 6), (3, 7), (4, 8), (5, 9)]


class TestRefused:
    def test_a_refused_delivery_changes_nothing(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        send(listing(tmp_path / "x"), registry, lake)
        before, rows_before = tree(lake), rows(lake, registry, SEPTEMBER)
        digests = deliveries.delivery_digests(lake, registry, [SEPTEMBER])
        bad = tmp_path / "bad"
        bad.write_text("Prénom;Durand Secret\nLéa;Jeanne Confidente\n", encoding="utf-8")
        answer = send(bad, registry, lake)
        assert (answer.receipt.status, answer.receipt.verdict) == ("refused", 3)
        added = tree(lake) - before
        assert added == {"landing/receipts/00000002.json", "landing/refusals/00000002.json"}
        for name in added:
            text = (lake.home / name).read_text()
            assert "Durand" not in text
            assert "Confidente" not in text
        assert rows(lake, registry, SEPTEMBER) == rows_before
        assert deliveries.delivery_digests(lake, registry, [SEPTEMBER]) == digests
        assert deliveries.effective(lake, "department_list", SEPTEMBER)[-1].sequence == 1

    def test_the_same_refusal_is_given_again(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        bad = tmp_path / "bad"
        bad.write_text("Prénom\nLéa\n", encoding="utf-8")
        first, again = send(bad, registry, lake), send(bad, registry, lake)
        assert again.receipt == first.receipt
        assert again.is_repeated
        assert again.findings is not None, "and why, again"
        assert again.to_json() == first.to_json()

    def test_an_unknown_partner_leaves_a_refusal_without_its_name(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        answer = deliver(listing(tmp_path / "x"), "Mme Durand", None, SEPTEMBER, registry, lake)
        assert answer.receipt.status == "refused"
        assert "Durand" not in json.dumps(answer.receipt.to_json())
        assert {name.split("/")[0] for name in tree(lake)} <= {"landing", "VERSION", "secrets"}


class TestWhatCounts:
    def test_the_newest_replaces_the_month(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        send(listing(tmp_path / "a"), registry, lake)
        second = send(listing(tmp_path / "b", rows=4), registry, lake).receipt
        assert second.replaces == 1
        assert [row["_sequence"] for row in rows(lake, registry, SEPTEMBER)] == [2, 2, 2, 2]
        assert rows(lake, registry, OCTOBER) == []

    def test_partners_and_months_stand_side_by_side(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        send(listing(tmp_path / "a"), registry, lake)
        send(listing(tmp_path / "a"), registry, lake, partner="dep-08")
        send(listing(tmp_path / "b", rows=2), registry, lake, month=OCTOBER)
        found = [(row["_month"], row["_partner"], row["_space"]) for row in rows(lake, registry, SEPTEMBER, OCTOBER)]
        assert (
            found
            == [("2026-09", "dep-52", "fr")] * 3 + [("2026-09", "dep-08", "fr")] * 3 + [("2026-10", "dep-52", "fr")] * 2
        )

    def test_nothing_to_declare_replaces_what_was_declared(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        send(listing(tmp_path / "a"), registry, lake)
        nothing = landing.declare_nothing("dep-52", "department_list", SEPTEMBER, registry, lake)
        assert (nothing.status, nothing.replaces) == ("nothing", 1)
        assert landing.declare_nothing("dep-52", "department_list", SEPTEMBER, registry, lake) == nothing
        assert rows(lake, registry, SEPTEMBER) == []
        assert deliveries.effective(lake, "department_list", SEPTEMBER) == (nothing,)
        with pytest.raises(KeyError):
            landing.declare_nothing("dep-52", "ale_activity", SEPTEMBER, registry, lake)

    def test_an_empty_relation_is_typed(self, registry: Registry, lake: Lake) -> None:
        with lake.connect() as connection:
            relation = deliveries.conformed_rows(lake, connection, registry, "cnaf_vrsb0801", "personnes", [SEPTEMBER])
            schema = connection.sql(f"SELECT * FROM {relation}").to_arrow_table().schema
        assert schema.field("dtnai").type == pa.date32()
        assert schema.names[-7:] == ["_line", "_member", "_month", "_partner", "_space", "_delivery", "_sequence"]

    def test_a_view_delivered_alone_replaces_that_view_alone(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        categories = view(
            tmp_path, "RefCategorieSort", "rcs_id|rcs_code|rcs_libelle", "1|1|Emploi durable", "2|5|Retrait"
        )
        motives = view(tmp_path, "RefMotifSort", "rms_id|rms_code|rms_libelle|rcs_id", "7|96|CDI inclusion|1")
        for path in (
            categories,
            motives,
            view(tmp_path, "RefCategorieSort", "rcs_id|rcs_code|rcs_libelle", "1|1|Durable"),
        ):
            answer = deliver(path, "asp", None, SEPTEMBER, registry, lake)
            if answer.receipt.status == "held":
                landing.confirm(answer.receipt.sha256, "asp", registry, lake)
        found = rows(lake, registry, SEPTEMBER, source="fluxiae", table="ref_categorie_sort")
        assert [row["rcs_libelle"] for row in found] == ["Durable"]
        assert len(rows(lake, registry, SEPTEMBER, source="fluxiae", table="ref_motif_sort")) == 1


class TestHeld:
    def test_a_thin_file_waits_for_a_confirmation(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        send(listing(tmp_path / "august", rows=100), registry, lake, month=AUGUST)
        held = send(listing(tmp_path / "september", rows=69), registry, lake).receipt
        assert (held.status, held.held_for) == ("held", ("thin-file",))
        assert rows(lake, registry, SEPTEMBER) == []
        assert send(listing(tmp_path / "september", rows=69), registry, lake).receipt == held
        applied = landing.confirm(held.sha256, "dep-52", registry, lake)
        assert (applied.sequence, applied.status, applied.confirms) == (3, "applied", 2)
        assert landing.confirm(held.sha256, "dep-52", registry, lake) == applied
        assert len(rows(lake, registry, SEPTEMBER)) == 69

    @pytest.mark.parametrize(
        ("before", "after", "status"), [(100, 70, "applied"), (20, 10, "applied"), (20, 9, "held")]
    )
    def test_thin_is_under_seventy_percent_and_ten_rows_less(
        self, tmp_path: Path, registry: Registry, lake: Lake, before: int, after: int, status: str
    ) -> None:
        send(listing(tmp_path / "a", rows=before), registry, lake, month=SEPTEMBER.plus(-12))
        assert send(listing(tmp_path / "b", rows=after), registry, lake).receipt.status == status

    def test_the_bytes_may_be_sent_again_with_their_digest(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        first = listing(tmp_path / "a", rows=30)
        sha = send(first, registry, lake).receipt.sha256
        send(listing(tmp_path / "b", rows=31), registry, lake)
        assert send(first, registry, lake).is_repeated  # a repeat does not undo what came after it
        assert len(rows(lake, registry, SEPTEMBER)) == 31
        again = deliver(first, "dep-52", "department_list", SEPTEMBER, registry, lake, confirm=sha)
        assert (again.receipt.sequence, again.receipt.replaces) == (3, 2)
        assert len(rows(lake, registry, SEPTEMBER)) == 30

    def test_nothing_waits_under_an_unknown_digest(self, registry: Registry, lake: Lake) -> None:
        with pytest.raises(landing.NothingToConfirm):
            landing.confirm("0" * 64, "dep-52", registry, lake)


class TestConformedTables:
    def folder(self, lake: Lake, receipt: Receipt) -> Path:
        return deliveries.conformed_folder(lake, receipt.source, receipt.sha256, receipt.partner, receipt.month)

    @pytest.mark.parametrize("damage", ["missing", "altered", "no summary"])
    def test_are_rebuilt_from_landing(self, tmp_path: Path, registry: Registry, lake: Lake, damage: str) -> None:
        receipt = send(listing(tmp_path / "x"), registry, lake).receipt
        expected = rows(lake, registry, SEPTEMBER)
        table = self.folder(lake, receipt) / "beneficiaires.parquet"
        if damage == "missing":
            table.unlink()
        elif damage == "altered":
            table.write_bytes(table.read_bytes()[:-7])
        else:
            (self.folder(lake, receipt) / "summary.json").unlink()
        assert rows(lake, registry, SEPTEMBER) == expected
        assert table.exists()

    def test_do_not_outlive_their_key(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        receipt = send(listing(tmp_path / "x"), registry, lake).receipt
        content.discard(lake, registry.partner("dep-52"), receipt.sha256)
        with pytest.raises(content.ContentErased):
            rows(lake, registry, SEPTEMBER)
        (self.folder(lake, receipt) / "summary.json").unlink()
        with pytest.raises(deliveries.CannotRebuild, match="1"):
            rows(lake, registry, SEPTEMBER)
        assert receipts.receipts(lake) == (receipt,)

    def test_what_was_written_before_a_crash_is_invisible_and_written_again(
        self, tmp_path: Path, registry: Registry, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        monkeypatch.setattr(landing, "append", killed)
        with pytest.raises(KeyboardInterrupt):
            send(listing(tmp_path / "x"), registry, lake)
        monkeypatch.undo()
        assert receipts.receipts(lake) == ()
        assert rows(lake, registry, SEPTEMBER) == []
        assert send(listing(tmp_path / "x"), registry, lake).receipt.sequence == 1
        assert len(rows(lake, registry, SEPTEMBER)) == 3

    def test_a_bundle_of_files_is_one_delivery_whatever_their_order(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        paths = [listing(tmp_path / "a", rows=2), listing(tmp_path / "b", rows=3)]
        first = deliver(paths, "dep-52", "department_list", SEPTEMBER, registry, lake).receipt
        again = deliver(paths[::-1], "dep-52", "department_list", SEPTEMBER, registry, lake).receipt
        assert again == first
        assert first.account.lines == 7
        before = rows(lake, registry, SEPTEMBER)
        os.remove(self.folder(lake, first) / "summary.json")  # noqa: PTH107
        assert rows(lake, registry, SEPTEMBER) == before
