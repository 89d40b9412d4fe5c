"""Places and the territories that count them: two countries, levels that do not nest, changes over time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import duckdb
import pyarrow as pa
import pytest

from insertion_pipeline.indicators import territories
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

AFTER_THE_MERGER, BEFORE_THE_MERGER = Month(2026, 10), Month(2024, 11)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[duckdb.DuckDBPyConnection]:
    with Lake.open(tmp_path_factory.mktemp("home")).connect() as connection:
        yield connection


@pytest.fixture(scope="module")
def rollup(connection: duckdb.DuckDBPyConnection, registry: Registry) -> pa.Table:
    table = territories.rollup(connection, registry, AFTER_THE_MERGER)
    connection.register("rollup", table)
    return table


def above(rollup: pa.Table, leaf: str) -> Mapping[str, str]:
    import pyarrow.compute as pc

    rows = rollup.filter(pc.equal(rollup["leaf"], leaf)).to_pylist()
    return {row["level"]: row["territory"] for row in rows}


def test_a_french_commune_is_counted_along_every_hierarchy(rollup: pa.Table) -> None:
    assert above(rollup, "FR-COM-08362") == {
        "commune": "FR-COM-08362",
        "epci": "FR-EPCI-200043156",
        "clpe": "FR-CLPE-08002",
        "employment_zone": "FR-ZE-4413",
        "department": "FR-DEP-08",
        "council": "FR-CON-08",
        "region": "FR-REG-44",
        "country": "FR",
    }


def test_a_walloon_commune_goes_through_arrondissement_and_province(rollup: pa.Table) -> None:
    assert above(rollup, "BE-COM-92094") == {
        "commune": "BE-COM-92094",
        "arrondissement": "BE-ARR-92000",
        "province": "BE-PRV-90000",
        "region": "BE-REG-03000",
        "country": "BE",
    }


def test_the_same_five_digits_are_two_communes(rollup: pa.Table) -> None:
    assert above(rollup, "FR-COM-25005")["country"] == "FR"
    assert above(rollup, "BE-COM-25005")["country"] == "BE"


@pytest.mark.parametrize(
    ("arrondissement", "city"),
    [("FR-COM-75101", "FR-COM-75056"), ("FR-COM-69381", "FR-COM-69123"), ("FR-COM-13216", "FR-COM-13055")],
)
def test_municipal_arrondissements_roll_up(rollup: pa.Table, arrondissement: str, city: str) -> None:
    assert above(rollup, arrondissement) == above(rollup, city)


def test_a_former_commune_counts_for_the_one_it_became(rollup: pa.Table) -> None:
    assert above(rollup, "FR-COM-01340")["commune"] == "FR-COM-01015"


@pytest.mark.parametrize(
    ("commune", "council"),
    [("69123", "69M"), ("69264", "69"), ("67482", "6AE"), ("68066", "6AE"), ("2A004", "20R"), ("97411", "974")],
)
def test_the_paying_council_is_not_always_the_department(rollup: pa.Table, commune: str, council: str) -> None:
    assert above(rollup, f"FR-COM-{commune}")["council"] == f"FR-CON-{council}"


def test_a_row_may_carry_a_larger_place(rollup: pa.Table) -> None:
    ardennes = above(rollup, "FR-DEP-08")
    assert (ardennes["council"], ardennes["region"], ardennes["commune"]) == (
        "FR-CON-08", "FR-REG-44", "FR-COM-INCONNU",
    )  # fmt: skip
    assert above(rollup, "FR-DEP-69")["council"] == "FR-CON-INCONNU"  # the department has two councils
    assert above(rollup, "FR-CON-6AE")["department"] == "FR-DEP-INCONNU"  # the council has two departments
    assert above(rollup, "FR-CON-6AE")["region"] == "FR-REG-44"


@pytest.mark.parametrize("member", ["INCONNU", "HORS"])
@pytest.mark.parametrize("country", ["FR", "BE"])
def test_unknown_and_outside_are_members_of_every_level(rollup: pa.Table, country: str, member: str) -> None:
    places = above(rollup, f"{country}-COM-{member}")
    assert set(places) == set(territories.LEVELS[country])
    assert places.pop("country") == country
    assert all(place.startswith(f"{country}-") and place.endswith(f"-{member}") for place in places.values())


def test_every_place_has_exactly_one_territory_per_level(rollup: pa.Table) -> None:
    levels: Counter[str] = Counter(rollup["leaf"].to_pylist())
    assert {levels[leaf] for leaf in levels if leaf.startswith("FR")} == {8}
    assert {levels[leaf] for leaf in levels if leaf.startswith("BE")} == {5}


def test_bastogne_and_bertogne_became_one_commune_in_december_2024(
    connection: duckdb.DuckDBPyConnection, registry: Registry, rollup: pa.Table
) -> None:
    before = territories.rollup(connection, registry, BEFORE_THE_MERGER)
    assert above(before, "BE-COM-82005")["commune"] == "BE-COM-82005"
    assert above(rollup, "BE-COM-82005")["commune"] == "BE-COM-82039"
    assert above(rollup, "BE-COM-82005")["arrondissement"] == "BE-ARR-82000"


@pytest.mark.parametrize(("month", "communes"), [(BEFORE_THE_MERGER, 262), (Month(2024, 12), 261)])
def test_wallonia_has_262_communes_then_261(
    connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month, communes: int
) -> None:
    rows = territories.territories_table(connection, registry, month).to_pylist()
    walloon = [row for row in rows if row["country"] == "BE" and row["territory_level"] == "commune"]
    counted = [row for row in walloon if row["population"] is not None]
    assert len(counted) == communes
    assert sum(row["population"] for row in counted) == 3_645_243


def test_every_territory_has_its_parent(connection: duckdb.DuckDBPyConnection, registry: Registry) -> None:
    rows = territories.territories_table(connection, registry, AFTER_THE_MERGER).to_pylist()
    codes = {row["territory_code"] for row in rows}
    assert len(codes) == len(rows)
    assert {row["parent_code"] for row in rows if row["parent_code"]} <= codes
    levels = Counter(row["territory_level"] for row in rows if row["country"] == "FR")
    assert levels["department"] == 104 + 2  # 101 departments, three collectivities, unknown and outside
    assert levels["clpe"] == 363 + 2


@pytest.mark.parametrize(
    ("place", "space", "leaf"),
    [
        ("FR-COM-08362", "fr", "FR-COM-08362"),
        (None, "fr", "FR-COM-INCONNU"),
        ("FR-COM-99131", "fr", "FR-COM-HORS"),  # abroad
        ("FR-COM-98735", "fr", "FR-COM-HORS"),  # Polynesia: the RSA is not paid there
        ("FR-COM-00000", "fr", "FR-COM-INCONNU"),
        ("BE-COM-92094", "fr", "FR-COM-HORS"),  # lives in Wallonia, known to a French partner
        ("BE-COM-92094", "be", "BE-COM-92094"),
        ("BE-COM-21004", "be", "BE-COM-HORS"),  # Brussels
        ("BE-COM-92999", "be", "BE-COM-INCONNU"),
        ("FR-COM-08362", "be", "BE-COM-HORS"),
    ],
)
def test_an_address_that_no_territory_counts_is_outside_or_unknown(
    connection: duckdb.DuckDBPyConnection, rollup: pa.Table, place: str | None, space: str, leaf: str
) -> None:
    sql = territories.leaf_sql("place", "space", "leaves.leaf")
    found = connection.execute(
        f"SELECT {sql} FROM (SELECT $place AS place, $space AS space) "
        "LEFT JOIN (SELECT DISTINCT leaf FROM rollup) AS leaves ON leaves.leaf = place",
        {"place": place, "space": space},
    ).fetchone()
    assert found == (leaf,)


def test_the_walloon_list_is_that_of_the_reference(real_samples: object, registry: Registry) -> None:
    from pathlib import Path

    path = Path(str(real_samples)) / "geography" / "be_wallonia_municipalities_2020.csv"
    reference = {line.split(",")[0] for line in path.read_text(encoding="utf-8").splitlines()[1:]}
    records = registry.nomenclature("communes").records(BEFORE_THE_MERGER)
    assert {row["code"] for row in records if row["country"] == "BE"} == reference
