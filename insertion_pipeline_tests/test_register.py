"""Ids over time: what keeps its id, what changes hands, what a correction gives back."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
import pytest

from insertion_pipeline.identity.identifiers import nir_key
from insertion_pipeline.identity.linkage import LINK_SCHEMA, link
from insertion_pipeline.identity.normalising import PERSON_SCHEMA
from insertion_pipeline.identity.register import Register, name_persons
from insertion_pipeline.lake import Lake
from insertion_pipeline.simulation.canonical import person_records


class Months:
    """A register that is told a partition a month, as `record: person`, and answers with `record: id`."""

    def __init__(self, lake: Lake) -> None:
        self.register = Register.opened(lake, "fr")

    def told(self, partition: Mapping[str, str], numbers: Mapping[str, str] | None = None) -> dict[str, str]:
        linked = pa.Table.from_pylist(
            [{"record_id": record, "person_id": person} for record, person in partition.items()], schema=LINK_SCHEMA
        )
        records = pa.Table.from_pylist(
            [{"record_id": record, "nir": (numbers or {}).get(record)} for record in partition], schema=PERSON_SCHEMA
        )
        named, self.register = name_persons(self.register, linked, records, model="test")
        return dict(zip(named["record_id"].to_pylist(), named["person_id"].to_pylist(), strict=True))

    def events(self) -> list[tuple[str, str, str | None]]:
        return [(row["event"], row["person_id"], row["other_id"]) for row in self.register.events.to_pylist()]


@pytest.fixture
def months(lake: Lake) -> Months:
    return Months(lake)


NUMBER = "2850308105123" + nir_key("2850308105123")


def test_the_same_partition_again_keeps_every_id_and_writes_nothing(months: Months) -> None:
    first = months.told({"a": "1", "b": "1", "c": "2"})
    assert first["a"] == first["b"] != first["c"]
    generation = months.register.generation
    assert months.told({"c": "y", "b": "x", "a": "x"}) == first
    assert months.register.generation == generation
    assert [event for event, _, _ in months.events()] == ["create", "create"]


def test_a_new_record_takes_the_id_of_its_person(months: Months) -> None:
    first = months.told({"a": "1", "c": "2"})
    then = months.told({"a": "1", "b": "1", "c": "2"})
    assert then == {**first, "b": first["a"]}


def test_persons_that_become_one_keep_the_id_of_most_records_and_the_other_leads_to_it(months: Months) -> None:
    first = months.told({"a": "1", "b": "1", "c": "2"})
    merged = months.told(dict.fromkeys("abc", "1"))
    assert set(merged.values()) == {first["a"]}
    assert months.events()[-1] == ("merge", first["c"], first["a"])
    assert months.register.current(first["c"]) == first["a"]
    assert months.register.current("p-nobody") is None


def test_the_trusted_number_wins_over_the_majority(months: Months) -> None:
    numbers = {"c": NUMBER}
    first = months.told({"a": "1", "b": "1", "c": "2"}, numbers)
    assert set(months.told(dict.fromkeys("abc", "1"), numbers).values()) == {first["c"]}
    assert months.register.events.to_pylist()[-1]["reason"] == "the other id has the trusted number"


def test_a_correction_that_parts_a_wrong_merge_gives_both_former_ids_back(months: Months) -> None:
    first = months.told({"a": "1", "b": "1", "c": "2", "d": "2", "e": "2"})
    months.told(dict.fromkeys("abcde", "1"))
    grown = months.told(dict.fromkeys("abcdef", "1"))
    assert set(grown.values()) == {first["c"]}
    parted = months.told({"a": "1", "b": "1", "c": "2", "d": "2", "e": "2", "f": "2"})
    assert {record: parted[record] for record in "abcde"} == first
    assert months.events()[-1] == ("split", first["a"], first["c"])
    assert months.register.current(first["a"]) == first["a"]


def test_a_person_that_was_never_two_keeps_its_id_for_the_greater_part(months: Months) -> None:
    together = months.told(dict.fromkeys("abc", "1"))
    parted = months.told({"a": "1", "b": "2", "c": "2"})
    assert parted["b"] == parted["c"] == together["b"]
    assert parted["a"] != together["a"]
    assert [event for event, _, _ in months.events()] == ["create", "split"]


def test_a_record_that_changes_persons_is_one_event(months: Months) -> None:
    first = months.told({"a": "1", "b": "1", "c": "1", "d": "2", "e": "2"})
    then = months.told({"a": "1", "b": "1", "c": "2", "d": "2", "e": "2"})
    assert then["c"] == first["d"]
    assert months.events()[-1] == ("move", first["a"], first["d"])


def test_somebody_who_comes_back_after_a_year_or_under_another_record_is_known_again(months: Months) -> None:
    first = months.told({"a": "1", "b": "2"}, {"b": NUMBER})
    months.told({"a": "1"})
    assert months.told({"a": "1", "z": "2"}, {"z": NUMBER})["z"] == first["b"]
    assert months.told({"b": "1"})["b"] == first["b"]


def test_a_retired_id_is_never_given_to_anybody_else(months: Months) -> None:
    first = months.told({"a": "1", "b": "2"})
    months.told({"a": "1", "b": "1"})
    retired = months.register.current(first["b"]) != first["b"]
    assert retired
    later = months.told({"c": "3", "d": "4"})
    assert not set(later.values()) & set(first.values())


def test_whom_the_register_forgot_is_unknown_to_it(months: Months) -> None:
    first = months.told({"a": "1", "b": "2"}, {"b": NUMBER})
    months.register = months.register.forget(["b"], [first["b"]])
    assert first["b"] not in str([months.register.members, months.register.ids, months.register.events])
    assert months.told({"a": "1"}) == {"a": first["a"]}


def partition_of(ids: Mapping[str, str]) -> set[frozenset[str]]:
    persons: dict[str, set[str]] = {}
    for record, person in ids.items():
        persons.setdefault(person, set()).add(record)
    return {frozenset(records) for records in persons.values()}


def test_deliveries_in_parts_and_in_any_order_end_as_the_same_persons(tmp_path: Path) -> None:
    records, _ = person_records(300, 5)
    fr = records.filter(pa.compute.equal(records["person_space"], "fr"))
    order = list(range(len(fr)))
    ends = []
    for seed in range(2):
        lake = Lake.open(tmp_path / f"home{seed}")
        register = Register.opened(lake, "fr")
        random.Random(seed).shuffle(order)
        cuts = [len(order) // 2, len(order)] if seed else [len(order)]
        earlier: dict[str, str] = {}
        for cut in cuts:
            known = fr.take(pa.array(order[:cut]))
            named, register = name_persons(register, link(known, lake), known, model="test")
            ids = dict(zip(named["record_id"].to_pylist(), named["person_id"].to_pylist(), strict=True))
            kept = Counter(ids[record] == person for record, person in earlier.items())
            assert kept[False] <= 0.02 * len(earlier), "ids stay while their persons do"
            assert all(register.current(person) is not None for person in earlier.values())
            earlier = ids
        ends.append(partition_of(earlier))
    assert ends[0] == ends[1]
