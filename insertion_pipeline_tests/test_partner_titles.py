"""A partner's own titles of columns: declared beside the partner, applied by the reader, shown back to the partner."""

from __future__ import annotations

import dataclasses
import io
import shutil
import zipfile
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from insertion_pipeline.contracts.pages import format_page
from insertion_pipeline.contracts.templates import csv_template, workbook_template
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.ingestion.judging import Judgement, judge
from insertion_pipeline.ingestion.replaying import pages
from insertion_pipeline.ingestion.reporting import About, write_report
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import InvalidDataSources, Partner, PartnerOwn, Registry, glance, load_registry
from insertion_pipeline_tests.portal_server import serving

SEPTEMBER = Month(2026, 9)
#: « Nom » is the contract's title of the used name: in this department's files it is the name at birth.
HEADERS = {
    "department_list": {
        "beneficiaires": {
            "birth_name": ("Nom",),
            "last_name": ("Nom marital",),
            "first_name": ("Prénom de l'allocataire", "Prenom alloc."),
            "birth_date": ("DDN",),
            "department_internal_id": ("N° dossier GENESIS",),
        }
    }
}
FILE = "N° dossier GENESIS;Nom;Nom marital;PRENOM ALLOC;Ddn\nG-1;MODELE;EXEMPLE;Camille;21/11/1980\n"
DECLARED = """headers:
  department_list:
    beneficiaires:
      birth_name: [Nom]
      birth_date: [DDN, "Date\\nde naiss."]
"""


@pytest.fixture(scope="module")
def called(registry: Registry) -> Registry:
    """The declarations, and titles that the department of the Ardennes has of its own."""
    who = registry.partner("dep-08").model_copy(update={"own": PartnerOwn(headers=HEADERS)})
    return dataclasses.replace(registry, partners={**registry.partners, "dep-08": who})


@pytest.fixture
def copy(tmp_path: Path, registry: Registry) -> Path:
    """A copy of the declarations, with a place for what partners have of their own."""
    folder = tmp_path / "data_sources"
    shutil.copytree(registry.folder, folder, ignore=shutil.ignore_patterns("samples"))
    (folder / "partners").mkdir(exist_ok=True)
    return folder


def declare(folder: Path, text: str = DECLARED, partner: str = "dep-08") -> Registry:
    (folder / "partners" / f"{partner}.yaml").write_text(text, encoding="utf-8")
    return load_registry(folder)


def listed(folder: Path, text: str = FILE) -> Path:
    path = folder / "liste.csv"
    path.write_text(text, encoding="utf-8")
    return path


def only_row(judgement: Judgement) -> dict[str, object]:
    assert judgement.conformed is not None, judgement.findings.to_pylist()
    (row,) = judgement.conformed.accepted["beneficiaires"].to_pylist()
    return row


# -- declared ----------------------------------------------------------------------------------------------------------


def test_a_partner_declares_its_titles_in_a_file_of_its_own(copy: Path) -> None:
    before = load_registry(copy)
    declared = declare(copy)
    table = declared.source_of(declared.partner("dep-08"), "department_list").table("beneficiaires", SEPTEMBER)
    assert table.field("birth_date").label == "DDN"
    assert declared.source_of(declared.partner("dep-59"), "department_list") is declared.source("department_list")
    assert declared.digest != before.digest, "a release says what it was made from"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("titles: {}", r"dep-08\.yaml, line 1: titles: "),
        ("headers: {department_lists: {}}", r"dep-08\.yaml: headers\.department_lists: dep-08 does not deliver it"),
        ("headers: {department_list: {personnes: {}}}", r"headers\.department_list\.personnes: .* no table"),
        (
            "headers: {department_list: {beneficiaires: {birthdate: [DDN]}}}",
            r"dep-08\.yaml: headers\.department_list\.beneficiaires\.birthdate: .* no field 'birthdate'",
        ),
        (
            "headers: {department_list: {beneficiaires: {birth_date: [DDN], created_on: [' ddn ']}}}",
            r"beneficiaires\.created_on\.0: ' ddn ' is also a title of 'birth_date'",
        ),
        ("headers: {department_list: {beneficiaires: {birth_date: ['°']}}}", r"birth_date\.0: '°' has neither"),
        ("headers: {department_list: {beneficiaires: {birth_date: []}}}", r"birth_date: it gives no title"),
        ("headers: {cnaf_vrsb0801: {personnes: {nom: [Nom]}}}", r"headers\.cnaf_vrsb0801\.: .* no titles of columns"),
        ("headers: {department_list: {beneficiaires: {birth_date: DDN}}}", r"beneficiaires\.birth_date: "),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_refused_with_file_and_path(copy: Path, text: str, said: str) -> None:
    with pytest.raises(InvalidDataSources, match=said):
        declare(copy, text)


def test_titles_of_nobody_are_refused(copy: Path) -> None:
    with pytest.raises(InvalidDataSources, match=r"dep-99\.yaml: no partner .* 'dep-99'"):
        declare(copy, DECLARED, "dep-99")


def test_a_file_is_not_judged_by_titles_that_do_not_fit(copy: Path, lake: Lake, tmp_path: Path) -> None:
    """What judging one file reads is checked then: the same refusal, without reading every contract first."""
    wrong = copy / "partners" / "dep-08.yaml"
    wrong.write_text("headers: {department_list: {beneficiaires: {birthdate: [DDN]}}}", encoding="utf-8")
    with pytest.raises(InvalidDataSources, match=r"dep-08\.yaml: headers\.department_list\.beneficiaires\.birthdate"):
        judge(listed(tmp_path), "dep-08", "department_list", SEPTEMBER, glance(copy), lake)


def test_a_contract_declares_no_partners_titles(copy: Path) -> None:
    contract = copy / "department" / "department_list.yaml"
    text = contract.read_text(encoding="utf-8")
    contract.write_text(
        text.replace("aliases: [CP]", "aliases: [CP]\n                headers: [X]", 1), encoding="utf-8"
    )
    with pytest.raises(InvalidDataSources, match=r"department_list\.yaml: .*postal_code\.insertion\.headers"):
        load_registry(copy)


# -- applied -----------------------------------------------------------------------------------------------------------


def test_a_title_means_what_its_partner_says(called: Registry, lake: Lake, tmp_path: Path) -> None:
    judgement = judge(listed(tmp_path), "dep-08", None, SEPTEMBER, called, lake)
    row = only_row(judgement)
    assert (judgement.source, judgement.verdict) == ("department_list", 0), judgement.findings.to_pylist()
    assert (row["birth_name"], row["last_name"], row["first_name"]) == ("MODELE", "EXEMPLE", "Camille")
    assert (row["department_internal_id"], str(row["birth_date"])) == ("G-1", "1980-11-21")


def test_the_same_file_of_another_partner_is_read_by_the_contract_alone(
    called: Registry, lake: Lake, tmp_path: Path
) -> None:
    judgement = judge(listed(tmp_path), "dep-59", "department_list", SEPTEMBER, called, lake)
    assert judgement.is_refused
    assert judgement.findings["code"].to_pylist() == ["wrong-source"], "« Nom » alone makes no list"


def test_the_contracts_own_titles_are_still_understood(called: Registry, lake: Lake, tmp_path: Path) -> None:
    text = (
        "Identifiant dans le SI;Nom de naissance;Nom bénéficiaire;Prénom;Date de naissance\n8;MODELE;B;C;02/03/1979\n"
    )
    row = only_row(judge(listed(tmp_path, text), "dep-08", None, SEPTEMBER, called, lake))
    assert (row["birth_name"], row["last_name"], row["department_internal_id"]) == ("MODELE", "B", "8")


def test_a_workbook_is_read_and_marked_under_the_same_titles(called: Registry, lake: Lake, tmp_path: Path) -> None:
    import xlsxwriter

    path, target = tmp_path / "liste.xlsx", tmp_path / "rapport.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Feuille")
        for number, line in enumerate(FILE.replace("21/11/1980", "31/02/1980").splitlines()):
            sheet.write_row(number, 0, line.split(";"))
    judgement = judge(path, "dep-08", None, SEPTEMBER, called, lake)
    (finding,) = judgement.findings.to_pylist()
    assert (finding["field"], finding["line"], finding["value"]) == ("birth_date", 2, "31/02/1980")
    assert finding["message"].startswith("« DDN »")
    source = called.source_of(called.partner("dep-08"), "department_list")
    about = About.of("department_list", "dep-08", [path], called)
    write_report(target, judgement.to_json(), about, lake, pages(path, source, SEPTEMBER, lake))
    with zipfile.ZipFile(target) as archive:
        comments = "".join(archive.read(name).decode() for name in archive.namelist() if "comments" in name)
    assert 'ref="E2"' in comments or 'ref="F2"' in comments, "the cell under « Ddn » is marked"
    verdict = CalamineWorkbook.from_path(str(target)).get_sheet_by_name("Verdict").to_python()
    told = {str(row[0]): str(row[1]) for row in verdict}
    assert "« DDN » est lu comme « Date de naissance »" in told["Vos titres"]


def test_rows_kept_before_the_titles_changed_are_judged_again(called: Registry, registry: Registry) -> None:
    source, digest = registry.source("department_list"), deliveries.contract_digest
    before = digest(registry, source, registry.partner("dep-08"))
    assert digest(called, source, called.partner("dep-08")) != before
    assert digest(called, source, called.partner("dep-59")) == digest(registry, source, registry.partner("dep-59"))


# -- shown -------------------------------------------------------------------------------------------------------------


def test_the_verdict_says_which_titles_were_the_partners(called: Registry, lake: Lake, tmp_path: Path) -> None:
    answer = judge(listed(tmp_path), "dep-08", None, SEPTEMBER, called, lake).to_json()
    assert [(one["field"], one["title"], one["contract_title"]) for one in answer["own_titles"]] == [
        ("department_internal_id", "N° dossier GENESIS", "Identifiant interne au département"),
        ("birth_name", "Nom", "Nom de naissance"),
        ("last_name", "Nom marital", "Nom bénéficiaire"),
        ("first_name", "Prénom de l'allocataire", "Prénom"),
        ("birth_date", "DDN", "Date de naissance"),
    ]


def test_a_missing_column_is_called_as_its_partner_calls_it(called: Registry, lake: Lake, tmp_path: Path) -> None:
    judgement = judge(
        listed(tmp_path, FILE.replace("Nom marital", "?")), "dep-08", "department_list", SEPTEMBER, called, lake
    )
    missing = [row["message"] for row in judgement.findings.to_pylist() if row["code"] == "missing-header"]
    assert missing == ["La colonne « Nom marital » manque."]


def test_templates_and_pages_carry_the_partners_titles(called: Registry) -> None:
    source = called.source_of(called.partner("dep-08"), "department_list")
    table = source.table("beneficiaires", SEPTEMBER)
    header = csv_template(table).decode("utf-8-sig").strip().split(";")
    assert {"N° dossier GENESIS", "Nom", "Nom marital", "Prénom de l'allocataire", "DDN"} <= set(header)
    assert len(set(header)) == len(header), "no title for two columns"
    sheet = CalamineWorkbook.from_filelike(io.BytesIO(workbook_template(source, called, SEPTEMBER))).get_sheet_by_index(
        0
    )
    assert sheet.to_python()[0] == header
    page = format_page(source, called, SEPTEMBER)
    assert "| DDN | non |" in page
    assert "Date de naissance · birth_date" in page


def test_a_template_with_the_partners_titles_is_read_back(called: Registry, lake: Lake, tmp_path: Path) -> None:
    source = called.source_of(called.partner("dep-08"), "department_list")
    row = {"last_name": "EXEMPLE", "birth_name": "MODELE", "first_name": "Camille", "birth_date": "21/11/1980"}
    path = tmp_path / "modele.xlsx"
    path.write_bytes(workbook_template(source, called, SEPTEMBER, {"beneficiaires": [row]}))
    read = only_row(judge(path, "dep-08", "department_list", SEPTEMBER, called, lake))
    assert (read["last_name"], read["birth_name"], read["first_name"]) == ("EXEMPLE", "MODELE", "Camille")


def test_the_portal_speaks_the_partners_titles(called: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "home", called) as served:
        served.person("agnes@exemple.fr", ("depositor", "dep-08"))
        served.person("paul@exemple.fr", ("depositor", "dep-59"))
        agnes, paul = served.signed_in("agnes@exemple.fr"), served.signed_in("paul@exemple.fr")
        assert "N° dossier GENESIS" in agnes.get("/formats/department_list").text
        assert "N° dossier GENESIS" not in paul.get("/formats/department_list").text
        model = agnes.get("/modeles/department_list.csv?mois=2026-09&partenaire=dep-08").text
        assert "DDN" in model.split(";")
        form = {"partenaire": "dep-08", "source": "department_list", "mois": "2026-09"}
        verdict = agnes.deposit(listed(tmp_path), **form, action="tester")
        assert "« DDN » est lu comme « Date de naissance »" in verdict.text.replace("\u00a0", " ")
        assert "Dépôt reçu" in agnes.deposit(listed(tmp_path), **form, action="deposer").text


def test_a_partner_without_a_file_of_its_own_has_nothing_of_its_own(registry: Registry) -> None:
    assert Partner.model_validate(registry.partner("dep-59").model_dump()).own == PartnerOwn()
