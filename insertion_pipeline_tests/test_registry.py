"""`data_sources/` as types: what is understood, and what is refused with file and path."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from insertion_pipeline.ingestion.deliveries import contract_digest
from insertion_pipeline.month import Month
from insertion_pipeline.registry import DeclarationsChanged, InvalidDataSources, Registry, glance, load_registry


@pytest.fixture
def copy(tmp_path: Path, registry: Registry) -> Path:
    """A copy of the declarations to damage."""
    folder = tmp_path / "data_sources"
    shutil.copytree(registry.folder, folder, ignore=shutil.ignore_patterns("samples"))
    return folder


def test_the_four_families_have_partners_and_sources(registry: Registry) -> None:
    assert {partner.family for partner in registry.partners.values()} == {
        "ale", "siae", "department", "employment_service",
    }  # fmt: skip
    assert {
        "fluxiae", "siae_monthly", "department_list", "department_contacts", "cnaf_vrsb0801", "ft_spie",
        "forem_jobseekers", "ale_activity",
    } <= set(registry.sources)  # fmt: skip
    haute_marne = [partner for partner in registry.partners.values() if partner.territory_code == "FR-DEP-52"]
    delivered = {source for partner in haute_marne if partner.family == "department" for source in partner.sources}
    assert delivered == {name for name, source in registry.sources.items() if source.family == "department"}


def test_every_delivering_partner_can_deliver_its_sources(registry: Registry) -> None:
    for partner in registry.partners.values():
        for name in partner.sources:
            source = registry.source(name)
            assert source.family == partner.family, (partner.code, name)
            assert partner.space in source.insertion.spaces, (partner.code, name)
        for code in partner.delivers_for:
            assert code in registry.partners, (partner.code, code)


def test_an_unknown_key_is_refused_with_file_and_path(copy: Path) -> None:
    contract = copy / "department" / "department_list.yaml"
    text = contract.read_text(encoding="utf-8")
    contract.write_text(text.replace("  extent:", "  extend:", 1), encoding="utf-8")
    with pytest.raises(InvalidDataSources, match=r"department_list\.yaml, line \d+: insertion\.exten[dt]"):
        load_registry(copy)


def test_a_key_written_twice_is_refused(copy: Path) -> None:
    contract = copy / "department" / "department_list.yaml"
    contract.write_text(contract.read_text(encoding="utf-8") + "\ntitle: encore\n", encoding="utf-8")
    with pytest.raises(InvalidDataSources, match=r"department_list\.yaml, line \d+: key 'title' written twice"):
        load_registry(copy)


def test_a_partner_that_names_an_unknown_source_is_refused(copy: Path) -> None:
    partners = copy / "partners.csv"
    partners.write_text(partners.read_text(encoding="utf-8").replace("ft_spie", "ft_spy"), encoding="utf-8")
    with pytest.raises(InvalidDataSources, match=r"partners\.csv.*ft_spy"):
        load_registry(copy)


def test_a_partner_code_on_two_lines_is_refused(copy: Path) -> None:
    partners = copy / "partners.csv"
    lines = partners.read_text(encoding="utf-8").splitlines()
    partners.write_text("\n".join([*lines, lines[-1]]) + "\n", encoding="utf-8")
    with pytest.raises(InvalidDataSources, match=r"partners\.csv.*two lines"):
        load_registry(copy)


def test_a_month_before_the_first_contract_has_none(registry: Registry) -> None:
    source = registry.source("ale_activity")
    assert source.version_for(source.first_month).valid_from == source.first_month
    with pytest.raises(KeyError):
        source.version_for(source.first_month.plus(-1))


def test_the_digest_follows_the_declarations_and_not_the_samples(copy: Path) -> None:
    before = load_registry(copy).digest
    (copy / "ale" / "samples").mkdir(exist_ok=True)
    (copy / "ale" / "samples" / "note.csv").write_text("a;b\n")
    assert load_registry(copy).digest == before
    partners = copy / "partners.csv"
    partners.write_text(partners.read_text(encoding="utf-8").replace("Haute-Marne", "Haute Marne"), encoding="utf-8")
    assert load_registry(copy).digest != before


def test_a_partner_delivers_only_between_its_dates(registry: Registry) -> None:
    partner = registry.partner("dep-52").model_copy(update={"until": Month(2026, 9)})
    assert partner.expects("department_list", Month(2026, 9))
    assert not partner.expects("department_list", Month(2026, 10))
    assert not partner.expects("ale_activity", Month(2026, 9))


def test_a_contract_is_read_when_it_is_asked_for_and_checked_then(copy: Path, registry: Registry) -> None:
    (copy / "department" / "department_list.yaml").write_text("name: department_list\ntitel: x\n", encoding="utf-8")
    glanced = glance(copy)
    assert glanced.source("siae_monthly") == registry.source("siae_monthly")
    assert "department_list" in glanced.sources
    with pytest.raises(InvalidDataSources, match=r"department_list\.yaml"):
        glanced.source("department_list")


def test_a_contract_that_changes_under_the_same_name_is_read_again(copy: Path) -> None:
    before = load_registry(copy).source("department_list").title
    contract = copy / "department" / "department_list.yaml"
    contract.write_text(contract.read_text(encoding="utf-8").replace(before, "Autre titre"), encoding="utf-8")
    assert load_registry(copy).source("department_list").title == "Autre titre"


def test_two_contracts_of_one_name_are_refused(copy: Path) -> None:
    shutil.copy(copy / "department" / "department_list.yaml", copy / "siae" / "department_list.yaml")
    with pytest.raises(InvalidDataSources, match="has the same name"):
        load_registry(copy)


@pytest.mark.parametrize(
    "name", ["nomenclatures/ale_statuses.csv", "report/views.yaml", "geometry/departments_and_provinces.geojson"]
)
def test_a_run_refuses_what_it_reads_after_it_was_edited(copy: Path, name: str) -> None:
    """A contract that is read already stays as it was; a run never mixes two versions."""
    began, path = load_registry(copy).held(), copy / name
    before = path.read_bytes()
    path.write_bytes(before[:-2] + b"~" + before[-1:])
    assert load_registry(copy).digest != began.digest
    with pytest.raises(DeclarationsChanged, match=path.name):
        began.content(name)
    if path.parent.name == "nomenclatures":
        with pytest.raises(DeclarationsChanged, match=path.name):
            began.nomenclature(path.stem)
    assert began.nomenclature("communes").codes()
    path.write_bytes(before)
    assert began.content(name) == before


def test_what_was_edited_between_reading_and_running_is_refused(copy: Path) -> None:
    read, contract = load_registry(copy), copy / "department" / "department_list.yaml"
    contract.write_text(contract.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    with pytest.raises(DeclarationsChanged, match="since it was read"):
        read.held()


def test_a_nomenclature_that_is_edited_is_read_again(copy: Path) -> None:
    """A portal lives for weeks: the list that judges is the one that lies there, and kept rows know by which one."""
    declared, path = load_registry(copy), copy / "nomenclatures" / "ale_statuses.csv"
    before, text = declared.nomenclature("ale_statuses"), path.read_text(encoding="utf-8")
    ale, partner = declared.source("ale_activity"), declared.partner("ale-namur")
    digest = contract_digest(declared, ale, partner)
    assert declared.nomenclature("ale_statuses") is before, "read once while it stays as it is"
    written = path.stat().st_mtime_ns
    path.write_text(text.replace("DEDA", "DEDB"), encoding="utf-8")  # of the same size
    os.utime(path, ns=(written, written + 1))
    assert "DEDB" in declared.nomenclature("ale_statuses").codes()
    assert contract_digest(declared, ale, partner) != digest
    path.unlink()
    with pytest.raises(InvalidDataSources, match="no such nomenclature"):
        declared.nomenclature("ale_statuses")
