"""Statements planned once give each delivery its own answer, and keep nothing of it."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from insertion_pipeline.ingestion import statements as module
from insertion_pipeline.ingestion.landing import Deposit, deliver, deliver_many
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry


def table(*names: str) -> pa.Table:
    return pa.table({"name": pa.array(names, pa.string())})


def test_a_statement_reads_what_lies_in_its_place_at_each_run(lake: Lake) -> None:
    with Statements.opened(lake) as statements:
        for names in (("Ada",), ("Blaise", "Cyrano"), ()):
            query = f"SELECT upper(name) AS name FROM {statements.place('people', table(*names))}"
            assert statements.run(query)["name"].to_pylist() == [name.upper() for name in names]


def test_tables_with_other_columns_have_another_place(lake: Lake) -> None:
    with Statements.opened(lake) as statements:
        first = statements.place("people", table("Ada"))
        second = statements.place("people", pa.table({"age": pa.array([36], pa.int64())}))
        assert first != second
        assert statements.run(f"SELECT age FROM {second}")["age"].to_pylist() == [36]
        assert statements.run(f"SELECT name FROM {first}")["name"].to_pylist() == ["Ada"]


def test_nothing_of_a_delivery_can_be_read_after_its_judgement(lake: Lake) -> None:
    with Statements.opened(lake) as statements:
        with statements.at_work():
            place = statements.place("people", table("Ada"))
        assert statements.run(f"SELECT * FROM {place}").num_rows == 0


def test_large_tables_are_planned_for_themselves_with_the_same_answer(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = "SELECT name, count(*) AS count FROM {} GROUP BY name ORDER BY name"
    people = table("Ada", "Blaise", "Ada")
    with Statements.opened(lake) as statements:
        small = statements.run_over_all(query.format(statements.place("people", people)))
        monkeypatch.setattr(module, "_WORTH_OPTIMISING", 3)
        large = statements.run_over_all(query.format(statements.place("people", people)))
    assert small.to_pylist() == large.to_pylist() == [{"name": "Ada", "count": 2}, {"name": "Blaise", "count": 1}]


def test_deliveries_received_together_are_judged_as_if_alone(registry: Registry, tmp_path: Path) -> None:
    samples = registry.folder / "siae" / "samples"
    with (samples / "deliveries.csv").open(encoding="utf-8", newline="") as file:
        deposits = [
            Deposit(samples / row["path"], row["partner"], row["source"], Month.parse(row["month"]))
            for row in csv.DictReader(file)
            if row["source"] == "siae_monthly"
        ]
    together = list(deliver_many(deposits, registry, Lake.open(tmp_path / "together")))
    alone = Lake.open(tmp_path / "alone")
    for one, answer in zip(deposits, together, strict=True):
        by_itself = deliver(one.delivery, one.partner, one.source, one.month, registry, alone)
        assert answer.receipt == replace(by_itself.receipt, received_at=answer.receipt.received_at)
        assert answer.findings == by_itself.findings
    assert {answer.receipt.month for answer in together} == {Month(2026, 9), Month(2026, 10)}
