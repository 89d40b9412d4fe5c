"""A catalogue that cannot be computed is refused before anything runs, with file and line."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from insertion_pipeline.expressions import ForbiddenExpression
from insertion_pipeline.indicators import formulas
from insertion_pipeline.indicators.catalogue import compile_catalogue
from insertion_pipeline.indicators.rehearsing import refuse_what_cannot_be_computed
from insertion_pipeline.registry import InvalidDataSources, Registry, load_registry
from insertion_pipeline_tests.indicator_rows import OCTOBER

# -- what a formula may say --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "divisor",
    [
        "0", "0.0", "-0", "(1 - 1)", "0 * count(*)", "count(*) * 0", "(count(*) - count(*))", ":nothing", "NULL",
        "nullif(0, 0)", "nullif(count(*), count(*))", "CAST(0 AS DOUBLE)", "TRY_CAST(0 AS INTEGER)", "coalesce(0, 1)",
        "coalesce(NULL, 0)", "abs(0)", "round(0.0)", "sum(0)", "sum(1 - 1)", "sum(NULL)", "avg(0)", "max(0)",
        "count(NULL)", "count(DISTINCT NULL)", "count_if(false)", "count(*) FILTER (WHERE false)",
        "sum(hours) FILTER (WHERE 1 = 0)", "sum(CASE WHEN is_worker THEN 0 ELSE 0 END)",
        "sum(CASE WHEN is_worker THEN 0 END)", "(0 / 7)", "(2 - 1 - 1)", "(0 % 3)",
    ],
)  # fmt: skip
def test_a_divisor_that_is_always_nothing_is_refused(divisor: str) -> None:
    for division in ("/", "//", "%"):
        with pytest.raises(ForbiddenExpression, match="divides by a constant zero"):
            formulas.formula(f"sum(hours) {division} ({divisor})", {"nothing": 0})


@pytest.mark.parametrize(
    "text",
    [
        "count(*)", "count(DISTINCT person) FILTER (WHERE hours > 0)", "sum(hours) / nullif(count(*), 0)",
        "sum(hours) / :month", "coalesce(sum(hours), 0)", "sum(CASE WHEN is_worker THEN hours ELSE 0 END) * 2",
        "quantile_disc(hours, 0.5)", "median(hours)", "max(hours) - min(hours)", "avg(hours / 2)",
        "count_if(hours >= 1)",
        "kaplan_meier_median(days, is_over)", "sum(hours) / (2 - 1)", "count(*) / count_if(hours > 0)",
        "count(*) FILTER (WHERE kind IN ('ACI', 'EI') AND NOT is_worker)", "sum(hours - hours_paid) / sum(1)",
    ],
)  # fmt: skip
def test_a_formula_is_aggregates_and_arithmetic(text: str) -> None:
    tree = formulas.formula(text, {"month": 12})
    assert list(formulas.aggregate_calls(tree))
    assert not formulas.is_nothing(tree)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("hours", "no aggregate"), ("42", "no aggregate"), ("count(*) + hours", "columns outside an aggregate"),
        ("(SELECT count(*) FROM period)", "a query"), ("FROM period", "a query"), ("SELECT 1", "a query"),
        ("count(*) FILTER (WHERE person IN (SELECT person FROM others))", "a query"),
        ("count(*) FILTER (WHERE EXISTS (SELECT 1))", "a query"), ("sum(count(*)) OVER ()", "a window"),
        ("row_number() OVER ()", "a window"), ("sum(count(*))", "other rows"), ("count(colour.person)", "qualified"),
        ("count(*); DROP TABLE terms", "not one expression"), ("count(*); count(*)", "not one expression"),
        ("DROP TABLE terms", "no aggregate"), ("", "not one expression"), ("count((", "not a SQL expression"),
        ("count(read_text('/etc/passwd'))", "READ_TEXT may not be called"), ("max(getenv('HOME'))", "GETENV"),
        ("count(read_csv('/etc/passwd'))", "READ_CSV"), ("count(*) + length(read_blob('/x'))", "READ_BLOB"),
        ("sum(random())", "RAND"), ("sum(year(now()))", "NOW"), ("count(DISTINCT uuid())", "UUID"),
        ("max(current_setting('temp_directory'))", "CURRENT_SETTING"), ("sum(horoscope(hours))", "HOROSCOPE"),
        ("first(hours)", "none of count"), ("any_value(hours)", "none of count"), ("list(person)", "none of count"),
        ("string_agg(person)", "none of count"), ("count(*) / :absent", "no parameter 'absent'"),
        ("kaplan_meier_median(days)", "the days waited"), ("sum(*)", "not a column"),
    ],
)  # fmt: skip
def test_a_formula_says_nothing_else(text: str, reason: str) -> None:
    with pytest.raises(ForbiddenExpression, match=reason):
        formulas.formula(text, {})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("count(*) > 1", "a condition on one row"), ("person IN (SELECT 1)", "a condition on one row"),
        ("'yes'", "neither true nor false"), ("hours + 1", "neither true nor false"), ("1 = 0", "no row ever"),
        ("false AND is_worker", "no row ever"), ("getenv('HOME') = '/root'", "GETENV"), ("hours / 0 > 1", "divides"),
        ("unnest([true, false])", "may not be called"), ("current_date > begun_on", "CURRENT_DATE"),
        ("read_text('/etc/passwd') IS NOT NULL", "READ_TEXT"), ("is_worker; is_worker", "not one expression"),
    ],
)  # fmt: skip
def test_a_condition_is_about_one_row(text: str, reason: str) -> None:
    with pytest.raises(ForbiddenExpression, match=reason):
        formulas.condition(text, {})


# -- what an indicator may declare -------------------------------------------------------------------------------


def with_one(registry: Registry, code: str, changes: Mapping[str, Any]) -> Registry:
    """The catalogue with one indicator alone, changed."""
    changed = registry.indicators[code].model_copy(update=dict(changes))
    families = tuple(
        family.model_copy(
            update={"indicators": (changed,) if any(one.code == code for one in family.indicators) else ()}
        )
        for family in registry.indicator_families
    )
    return dataclasses.replace(registry, indicator_families=families, digest=f"{code} {changes}")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"numerator": "count(colour)"}, "no column 'colour'"), ({"where": "colour = 'red'"}, "no column 'colour'"),
        ({"contributors": "sum(colour)"}, "no column 'colour'"), ({"error": "sum(colour)"}, "no column 'colour'"),
        ({"numerator": "count(*) / 0"}, "divides by a constant zero"),
        ({"denominator": "sum(0)"}, "the denominator is always zero"),
        ({"denominator": "count(*) FILTER (WHERE false)"}, "the denominator is always zero"),
        ({"denominator": None}, "a ratio has a denominator"), ({"kind": "count"}, "a count has no denominator"),
        ({"fact": "horoscopes"}, "unknown fact 'horoscopes'"), ({"label": " "}, "no label"),
        ({"axis": "structure"}, "no column 'structure_territory'"), ({"purposes": ("marketing",)}, "does not allow"),
        ({"purposes": ()}, "purposes: none is named"), ({"sources": ()}, "sources: none is named"),
        ({"countries": ()}, "countries: none is named"), ({"levels": ()}, "levels: none is named"),
        ({"levels": ("country", "country")}, "levels: one is named twice"),
        ({"countries": ("BE",)}, "level 'clpe' is not one of BE"),
        ({"breakdowns": ("shoe_size",)}, "unknown breakdown 'shoe_size'"),
        ({"breakdowns": ("sex", "sex")}, "breakdowns: one is named twice"),
        ({"breakdowns": ("kind",)}, "has no column 'kind'"), ({"sources": ("horoscopes",)}, "unknown source"),
        ({"exhaustive_sources": ("ft_spye",)}, "unknown source 'ft_spye'"),
        ({"error_between": ("ft_spie", "ft_spie"), "error": "count(*)"}, "error_between names two sources"),
        ({"minimum_families": 5}, "minimum_families: 5 of 4 families"), ({"parameters": {"ghost": 3}}, "in no formula"),
        ({"parts": ("nobody",)}, "parts: 'nobody'"), ({"balance": ("nobody@1",)}, "balance: 'nobody@1'"),
        ({"kind": "count", "denominator": None, "balance": ("reseau_part_accompagnees.denominator",)},
         "a denominator that is not there"),
        ({"parts": ("reseau_part_accompagnees[sex=Z]",)}, "neither an indicator nor a modality"),
        ({"complete_months": 40}, "fact 'network_person_months' looks at 24 at most"),
        ({"numerator": "max(person)"}, "'person' stands for one person"),
        ({"denominator": "median(person)"}, "'person' stands for one person"),
        ({"contributors": "count(DISTINCT upper(person))"}, "'person' stands for one person"),
        ({"numerator": "sum(CASE WHEN sex = 'F' THEN person END)"}, "'person' stands for one person"),
        ({"numerator": "count(CASE WHEN person > 'a' THEN 1 END)"}, "'person' stands for one person"),
        ({"where": "person = 'someone'"}, "'person' stands for one person"),
        ({"sensitivity": "sensitive"}, "a sensitive indicator stops at the region"),
    ],
)  # fmt: skip
def test_what_an_indicator_declares_must_hold(registry: Registry, changes: Mapping[str, Any], reason: str) -> None:
    code = "reseau_part_accompagnees"
    with pytest.raises(InvalidDataSources, match=rf"network\.yaml, line \d+: indicator '{code}': .*{reason}"):
        compile_catalogue(with_one(registry, code, changes))


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"sensitivity": "forbidden"}, "breakdown 'sex' is forbidden"),
        ({"sensitivity": "sensitive"}, "its levels are region and country"),  # no level said is every level
        ({"sensitivity": "sensitive", "levels": ("department",)}, "its levels are region and country"),
        ({"multivalued": True}, "does not add up"),
        ({"column": "person"}, "'person' stands for one person"),
    ],
)
def test_a_breakdown_must_be_allowed(registry: Registry, given: Mapping[str, Any], reason: str) -> None:
    families = tuple(
        family.model_copy(update={"breakdowns": {
            name: cut.model_copy(update=dict(given) if name == "sex" else {})
            for name, cut in family.breakdowns.items()
        }})
        for family in registry.indicator_families
    )  # fmt: skip
    with pytest.raises(InvalidDataSources, match=rf"\.yaml, line \d+: .*{reason}"):
        compile_catalogue(dataclasses.replace(registry, indicator_families=families, digest=f"sex {given}"))


def test_a_formula_of_the_wrong_type_is_refused_by_the_rehearsal(registry: Registry) -> None:
    code = "reseau_part_accompagnees"
    with pytest.raises(InvalidDataSources, match=rf"network\.yaml, line \d+: indicator '{code}': .*VARCHAR"):
        refuse_what_cannot_be_computed(with_one(registry, code, {"numerator": "sum(sex)"}), OCTOBER)


def test_the_engine_takes_every_indicator_of_the_catalogue(registry: Registry) -> None:
    refuse_what_cannot_be_computed(registry, OCTOBER)


def test_a_breakdown_over_a_list_says_so(registry: Registry) -> None:
    one = with_one(registry, "siae_structures", {})
    families = tuple(
        family.model_copy(update={"breakdowns": {
            name: cut.model_copy(update={"multivalued": False}) for name, cut in family.breakdowns.items()
        }})
        for family in one.indicator_families
    )  # fmt: skip
    with pytest.raises(InvalidDataSources, match=r"siae\.yaml, line \d+: .*'network': 'networks' is a list"):
        refuse_what_cannot_be_computed(dataclasses.replace(one, indicator_families=families, digest="list"), OCTOBER)


# -- what the file says ------------------------------------------------------------------------------------------


@pytest.fixture
def altered(tmp_path: Path, registry: Registry) -> Callable[[str, str], Registry]:
    """The registry with one text of the network's catalogue replaced by another."""

    def load(old: str, new: str) -> Registry:
        folder = tmp_path / "data_sources"
        shutil.copytree(registry.folder, folder, ignore=shutil.ignore_patterns("samples"))
        path = folder / "indicators" / "network.yaml"
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new, 1), encoding="utf-8")
        return load_registry(folder)

    return load


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("levels: [country]", "levels: [galaxy]", r"indicators\.\d+\.levels\.0: Input should be"),
        ("unit: persons\n", "unit: persons\n    colour: red\n", r"indicators\.0\.colour: Extra inputs"),
        ("unit: persons\n", "unit: persons\n    unit: persons\n", "key 'unit' written twice"),
        ("unit: persons\n", "unit: [persons\n", "expected"),
        ("sources: *all_sources", "sources: *nowhere", "undefined alias"),
        ("denominator: count(*)\n", "denominator: 0\n", r"denominator: Input should be a valid string"),
        ('valid_from: "2020-01"', 'valid_from: "2020-13"', "'2020-13' is not a month"),
        ("code: reseau_personnes_connues", "code: Réseau 1", "should match pattern"),
        ("{linkage_miss_share: 0.006}", '{linkage_miss_share: "1) --"}', "parameters.linkage_miss_share"),
        ("{linkage_miss_share: 0.006}", "{linkage_miss_share: true}", "parameters.linkage_miss_share"),
        ("{linkage_miss_share: 0.006}", "{linkage_miss_share: .inf}", "parameters.linkage_miss_share"),
        ("F: Femmes", "\"F' --\": Femmes", "should match pattern"),
        ("\n  sex:\n", "\n  \"s' OR 1\":\n", "should match pattern"),
    ],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_refused_at_its_line(
    altered: Callable[[str, str], Registry], registry: Registry, old: str, new: str, reason: str
) -> None:
    text = (registry.folder / "indicators" / "network.yaml").read_text(encoding="utf-8")
    first = text[: text.index(old)].count("\n") + 1
    with pytest.raises(InvalidDataSources, match=rf"network\.yaml, line \d+: .*{reason}") as refused:
        altered(old, new)
    line = int(str(refused.value).split(", line ")[1].split(":")[0])
    assert first <= line <= first + new.count("\n") + 1


def test_an_indicator_that_cannot_be_computed_is_refused_with_its_line(
    altered: Callable[[str, str], Registry],
) -> None:
    registry = altered("numerator: count(*)\n", "numerator: count(colour)\n")
    (line,) = [
        number
        for number, text in enumerate((registry.folder / "indicators" / "network.yaml").read_text().splitlines(), 1)
        if text.endswith("code: reseau_personnes_connues")
    ]
    with pytest.raises(InvalidDataSources, match=rf"network\.yaml, line {line}: indicator .*no column 'colour'"):
        compile_catalogue(registry)


def test_a_code_declared_twice_is_refused_with_both_lines(altered: Callable[[str, str], Registry]) -> None:
    with pytest.raises(
        InvalidDataSources, match=r"\.yaml, line \d+: 'siae_salaries' is already declared in .*line \d+"
    ):
        altered("code: reseau_personnes_connues", "code: siae_salaries")


@pytest.mark.parametrize(
    ("text", "is_a_sum"),
    [
        ("sum(hours)", True), ("sum(hours) * 12 / 1820", True), ("count(*) - count_if(hours > 0)", True),
        ("coalesce(sum(hours), 0)", True), ("-sum(hours)", True), ("sum(hours) / count(*)", False),
        ("sum(hours) + 1", False), ("round(sum(hours))", False), ("greatest(sum(hours), 1)", False),
        ("sum(hours) * count(*)", False),
    ],
)  # fmt: skip
def test_only_sums_of_sums_are_sums_of_their_parts(text: str, is_a_sum: bool) -> None:
    assert formulas.is_linear(formulas.formula(text, {})) is is_a_sum
