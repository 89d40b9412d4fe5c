"""What is told of a value beside its number: where it comes from, why it moved, how it compares over time."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from insertion_pipeline.indicators import building, provenance, revisions, trends
from insertion_pipeline.indicators.catalogue import column_descriptions, compile_catalogue, facts
from insertion_pipeline.indicators.revisions import MadeFrom
from insertion_pipeline.lake import in_memory
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.indicator_rows import ARDENNES, GRAND_EST, HAUTE_MARNE, OCTOBER

A, B, C = ("a" * 64, "b" * 64, "c" * 64)
DELIVERIES: Mapping[str, Sequence[str]] = {
    "2026-10": [
        f"cnaf_vrsb0801 dep-08 2026-10 {A}",
        f"cnaf_vrsb0801 dep-52 2026-10 {B}",
        f"ft_spie france-travail 2026-10 {C}",
        f"fluxiae asp 2026-10 {A}",
    ],
    "2026-09": [f"ft_spie france-travail 2026-09 {B}", f"cnaf_vrsb0801 dep-08 2026-09 {C}"],
}


def deliveries_of(registry: Registry, code: str, territory: str) -> list[tuple[str, str, str]]:
    with in_memory() as connection:
        found = provenance.explain(connection, registry, DELIVERIES, code, territory, OCTOBER)
    return [(one.source, one.partner, one.month) for one in found.deliveries]


def test_a_value_is_walked_back_to_the_deliveries_of_its_territory(registry: Registry) -> None:
    assert deliveries_of(registry, "rsa_beneficiaires", ARDENNES) == [("cnaf_vrsb0801", "dep-08", "2026-10")]
    assert deliveries_of(registry, "rsa_beneficiaires", GRAND_EST) == [
        ("cnaf_vrsb0801", "dep-08", "2026-10"),
        ("cnaf_vrsb0801", "dep-52", "2026-10"),
    ]
    # a national depositor answers for every territory of its units
    assert ("fluxiae", "asp", "2026-10") in deliveries_of(registry, "siae_salaries", HAUTE_MARNE)


def test_an_indicator_that_follows_persons_names_the_earlier_deliveries(registry: Registry) -> None:
    named = deliveries_of(registry, "reseau_beneficiaires_rsa_non_trouves", ARDENNES)
    assert ("ft_spie", "france-travail", "2026-09") in named
    assert ("cnaf_vrsb0801", "dep-52", "2026-10") not in named


def test_an_explanation_says_rules_and_no_number(registry: Registry) -> None:
    with in_memory() as connection:
        found = provenance.explain(connection, registry, DELIVERIES, "siae_taux_sorties_dynamiques", ARDENNES, OCTOBER)
    assert found.rules["exclusions"].startswith("Retraits")
    told = found.rules["parameters"]
    assert "Durée de parcours au-delà de laquelle une sortie d'ACI ou d'EI est observée = 2,65 mois (pratique" in told
    assert "a travaillé = 1 heure (pratique observée)" in told
    assert found.rules["status"] == "pratique observée"
    assert {"siae_exits", "siae_hours", "siae_annexes"} <= set(found.facts)
    assert not any(isinstance(value, int | float) for value in vars(found).values())


def made_from(registry: Registry, deliveries: Mapping[str, Sequence[str]] = DELIVERIES) -> MadeFrom:
    return MadeFrom(deliveries, revisions.definitions(registry))


MOVED = ("rsa_beneficiaires", "2026-10")


@pytest.mark.parametrize(
    ("before", "cause"),
    [
        ({"2026-10": DELIVERIES["2026-10"][1:], "2026-09": DELIVERIES["2026-09"]}, "late_delivery"),
        ({"2026-10": [f"cnaf_vrsb0801 dep-08 2026-10 {C}", *DELIVERIES["2026-10"][1:]]}, "correction"),
        (DELIVERIES, "identity"),
    ],
)
def test_a_revision_has_the_cause_that_its_inputs_show(
    registry: Registry, before: Mapping[str, Sequence[str]], cause: str
) -> None:
    found = revisions.causes(registry, made_from(registry, before), made_from(registry), [MOVED])
    assert found == {MOVED: (cause,)}


def test_a_definition_that_changed_is_said_first(registry: Registry) -> None:
    old = made_from(registry)
    old = replace(old, definitions={**old.definitions, "rsa_beneficiaires": "another"})
    assert revisions.causes(registry, old, made_from(registry), [MOVED])[MOVED] == ("definition",)
    unknown = ("forgotten_indicator", "2026-10")
    assert revisions.causes(registry, old, made_from(registry), [unknown])[unknown] == ("definition",)


def test_a_better_sentence_is_not_a_revision(registry: Registry) -> None:
    family = registry.indicator_families[0]
    told = family.indicators[0].model_copy(update={"label": "Un autre libellé", "definition": "Mieux dit."})
    counted = family.indicators[0].model_copy(update={"minimum_denominator": 99})
    code = family.indicators[0].code

    def digest(indicator: Any) -> str:
        indicators = (indicator, *family.indicators[1:])
        families = (family.model_copy(update={"indicators": indicators}), *registry.indicator_families[1:])
        return revisions.definitions(replace(registry, indicator_families=families))[code]

    assert digest(told) == digest(family.indicators[0]) != digest(counted)


LINKS = pa.Table.from_pylist(
    [
        {"part": part, "part_level": "department", "whole": GRAND_EST, "whole_level": "region"}
        | {"first_month": "2024-01", "last_month": "2026-10"}
        for part in (ARDENNES, HAUTE_MARNE)
    ]
)
CATALOGUE = pa.table(
    {
        "code": ["rsa_part_orientes", "siae_salaries", "emploi_inscrits_fr"],
        "adds_up_over_territories": [True, False, True],
        "series_breaks": ["", "", "2025-01 : Inscription automatique"],
    }
)


def published(month: str, territory: str, over: float, under: float, **given: Any) -> dict[str, Any]:
    row = {"month": month, "territory_code": territory, "indicator_code": "rsa_part_orientes", "breakdown": "total"}
    row |= {"territory_level": "region" if territory == GRAND_EST else "department"}
    terms = {"numerator": over, "denominator": under, "kind": "ratio", "unit": "%", "status": "published"}
    return row | terms | {"coverage": 1.0} | given


def trends_of(*rows: dict[str, Any]) -> dict[tuple[str, str, str, int], tuple[float, float, int]]:
    table = trends.trends(pa.Table.from_pylist(list(rows)), LINKS, CATALOGUE)
    return {
        (row["month"], row["territory_code"], row["indicator_code"], row["lag_months"]):
        (row["value_then"], row["value_now"], row["n_territories"])
        for row in table.to_pylist()
    }  # fmt: skip


def test_a_trend_is_over_the_territories_known_in_both_months() -> None:
    found = trends_of(
        published("2026-09", GRAND_EST, 50, 100, coverage=0.85), published("2026-10", GRAND_EST, 110, 300),
        published("2026-09", ARDENNES, 50, 100), published("2026-10", ARDENNES, 60, 100),
        published("2026-10", HAUTE_MARNE, 50, 200),  # had not delivered in September
    )  # fmt: skip
    # 36.7 % after 50 % would be a fall; where both months are known it is a rise
    assert found == {
        ("2026-10", GRAND_EST, "rsa_part_orientes", 1): (50, 60, 1),
        ("2026-10", ARDENNES, "rsa_part_orientes", 1): (50, 60, 1),
    }


def test_a_territory_wholly_known_in_both_months_is_compared_by_itself_even_if_a_part_is_hidden() -> None:
    found = trends_of(
        published("2026-09", GRAND_EST, 50, 200), published("2026-10", GRAND_EST, 61, 183),
        published("2026-09", ARDENNES, 40, 100), published("2026-10", ARDENNES, 60, 100),
    )  # fmt: skip
    assert found["2026-10", GRAND_EST, "rsa_part_orientes", 1] == (25, 33.3, 1)


def test_persons_counted_once_per_territory_are_not_summed_over_territories_for_a_trend() -> None:
    persons = {"indicator_code": "siae_salaries", "kind": "count", "unit": "persons"}
    parts = [published(month, ARDENNES, 40, 0, **persons) for month in ("2025-10", "2026-10")]
    whole = [published(month, GRAND_EST, 70, 0, **persons, coverage=0.9) for month in ("2025-10", "2026-10")]
    assert set(trends_of(*parts, *whole)) == {("2026-10", ARDENNES, "siae_salaries", 12)}


def test_no_trend_over_a_poor_coverage_nor_across_a_break() -> None:
    poor = [published(month, ARDENNES, 50, 100, coverage=0.79) for month in ("2026-09", "2026-10")]
    across = [
        published(month, ARDENNES, 50, 100, indicator_code="emploi_inscrits_fr", kind="count", unit="persons")
        for month in ("2024-12", "2025-01", "2025-02")
    ]
    assert set(trends_of(*poor, *across)) == {("2025-02", ARDENNES, "emploi_inscrits_fr", 1)}


# -- the dictionary ----------------------------------------------------------------------------------------------


def test_every_column_of_every_fact_is_told_in_french() -> None:
    told = column_descriptions()
    columns = {column for fact in facts().values() for column in fact.columns}
    assert columns == told.keys()
    assert all(text.endswith(".") and len(text) > 3 for text in told.values())


def test_every_parameter_of_an_indicator_is_told_in_french(registry: Registry) -> None:
    assert {name for one in registry.indicators.values() for name in one.parameters} == building.PARAMETER_NAMES.keys()


def test_every_indicator_and_modality_is_told_in_french(registry: Registry) -> None:
    for one in compile_catalogue(registry):
        indicator = one.indicator
        assert indicator.label, indicator.code
        assert indicator.definition.strip().endswith("."), indicator.code
        assert indicator.reference.strip(), indicator.code
        assert indicator.numerator_label, indicator.code
        assert (indicator.denominator_label != "") == (indicator.kind == "ratio"), indicator.code
        for cut in one.breakdowns.values():
            assert cut.label and cut.modalities, indicator.code  # noqa: PT018


def test_every_indicator_has_a_count_made_by_hand(registry: Registry) -> None:
    """Each code stands in a test that computes it from rows given one by one, and asserts."""
    told: set[str] = set()
    for path in sorted(Path(__file__).parent.glob("test_indicator*.py")):
        for test in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(test, ast.FunctionDef) and "compute" in {one.arg for one in test.args.args}:
                parts = list(ast.walk(test))
                if any(isinstance(part, ast.Assert) for part in parts):
                    told |= {str(part.value) for part in parts if isinstance(part, ast.Constant)}
    assert registry.indicators.keys() - told == set()


def test_the_page_of_indicators_names_the_whole_catalogue_and_the_twenty_eight_items(registry: Registry) -> None:
    page = (Path(__file__).parent.parent / "docs" / "indicators.md").read_text(encoding="utf-8")
    told = set(re.findall(r"`((?:ale|emploi|reseau|rsa|siae)_[a-z0-9_]+)`", page))
    items = re.findall(r"^\| (\d+) \| .+ \| `.+` \|$", page, re.MULTILINE)
    assert items == [str(number) for number in range(1, 29)]
    assert told == registry.indicators.keys()
