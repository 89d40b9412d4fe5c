"""Contracts as data: what they accept of a cell, in SQL and in pandera alike, and what they render."""

from __future__ import annotations

import io
import itertools
import random
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest
import python_calamine
from stdnum.fr import siret as stdnum_siret

from insertion_pipeline.contracts.cells import REPAIRS, Flaw
from insertion_pipeline.contracts.dataframes import flaws_of, typed_schema
from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.contracts.messages import masked
from insertion_pipeline.contracts.pages import format_page, frictionless_resource
from insertion_pipeline.contracts.rules import BROKEN, TableRules, table_rules
from insertion_pipeline.contracts.storage import accepted_schema, arrow_schema
from insertion_pipeline.contracts.templates import csv_template, workbook_template
from insertion_pipeline.ingestion.conforming import conform
from insertion_pipeline.ingestion.reading import read
from insertion_pipeline.ingestion.sifting import Sieve, Sifted
from insertion_pipeline.ingestion.statements import Statements
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, InvalidDataSources, Registry, load_registry

SEPTEMBER = Month.parse("2026-09")


@pytest.fixture(scope="module")
def statements(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Statements]:
    with Statements.opened(Lake.open(tmp_path_factory.mktemp("home"))) as opened:
        yield opened


def judge(statements: Statements, rules: TableRules, rows: pa.Table) -> Sifted:
    return Sieve(rules, SEPTEMBER, None, statements).sift(rows)


def found(sifted: Sifted) -> set[tuple[int, int, int]]:
    """(row, subject, flaw) of everything that is wrong."""
    return {(row, flaws.subject, flaws.flaw) for flaws in sifted.flaws for row in flaws.rows.tolist()}


def table_of(columns: dict[str, list[str]]) -> pa.Table:
    count = len(next(iter(columns.values())))
    origin = {"_line": pa.array(range(2, count + 2), pa.int64()), "_units": pa.array([1] * count, pa.int32())}
    text = {name: pa.array(values, pa.string()) for name, values in columns.items()}
    return pa.table(text | origin | {"_member": pa.array([1] * count, pa.int32())})


@pytest.fixture
def value_of(registry: Registry, statements: Statements):
    """The typed value and the flaw of one text under one field of a contract."""

    def one(source: str, table: str, field: str, text: str) -> tuple[object, Flaw]:
        contract = registry.source(source).table(table, SEPTEMBER)
        rules = table_rules(contract, registry, SEPTEMBER)
        cells = tuple(cell for cell in rules.cells if cell.field.name == field)
        sifted = judge(statements, TableRules(contract, cells, ()), table_of({field: [text]}))
        flaws = [flaw for _, _, flaw in found(sifted)]
        return sifted.values[field].to_pylist()[0], Flaw(flaws[0]) if flaws else Flaw.NONE

    return one


def test_every_contract_is_fully_documented(registry: Registry) -> None:
    for source in registry.sources.values():
        for table in itertools.chain.from_iterable(version.resources for version in source.versions):
            for field in table.fields:
                assert field.title, f"{source.name}.{table.name}.{field.name} has no title"
                assert set(field.insertion.repair) <= REPAIRS, f"{source.name}.{table.name}.{field.name}"
                if field.insertion.use != "none":
                    assert field.description, f"{source.name}.{table.name}.{field.name} has no description"
                    assert field.example is not None, f"{source.name}.{table.name}.{field.name} has no example"


def test_every_example_is_accepted_and_stored_as_its_type(registry: Registry, statements: Statements) -> None:
    for source in registry.sources.values():
        for table in source.version_for(SEPTEMBER).resources:
            rules = TableRules(table, table_rules(table, registry, SEPTEMBER).cells, ())
            examples = {cell.field.name: [cell.field.example or ""] for cell in rules.cells}
            judged = judge(statements, rules, table_of(examples))
            assert not judged.flaws, (source.name, table.name, judged.flaws, [cell.field.name for cell in rules.cells])
            assert judged.values.schema == accepted_schema(table)


def test_casts_are_never_kinder_than_the_contract(value_of) -> None:
    month = ("fluxiae", "etat_mensuel_indiv", "emi_sme_mois")
    for text in ("1.7", "1_0", "1e1", "०९", "９", " 9x", "0x9", "1 0"):
        assert value_of(*month, text) == (None, Flaw.TYPE), text
    assert value_of(*month, "9") == (9, Flaw.NONE)
    assert value_of(*month, " 9 ") == (9, Flaw.NONE)
    assert value_of(*month, "9.0") == (9, Flaw.TRAILING_ZERO)
    assert value_of(*month, "13") == (None, Flaw.RANGE)
    assert value_of(*month, "") == (None, Flaw.REQUIRED)


def test_a_date_has_four_digits_of_year_and_exists(value_of) -> None:
    birth = ("siae_monthly", "salaries", "date_naissance")
    assert str(value_of(*birth, "21/11/1980")[0]) == "1980-11-21"
    assert str(value_of(*birth, "1980-11-21")[0]) == "1980-11-21"
    assert value_of(*birth, "21/11/80") == (None, Flaw.TYPE)
    assert value_of(*birth, "31/02/1980") == (None, Flaw.TYPE)
    assert value_of(*birth, "0002-08-06") == (None, Flaw.RANGE)
    assert value_of(*birth, "21/11/1980\n")[1] is Flaw.NONE
    assert (str(value_of(*birth, "29546")[0]), value_of(*birth, "29546")[1]) == ("1980-11-21", Flaw.EXCEL_SERIAL)
    assert (str(value_of(*birth, "21.11.1980")[0]), value_of(*birth, "21.11.1980")[1]) == (
        "1980-11-21",
        Flaw.DATE_FORMS,
    )


def test_open_ends_written_as_far_dates_are_empty(value_of) -> None:
    for text in ("9999-12-31", "31/12/9999", "2040-01-01"):
        assert value_of("siae_monthly", "salaries", "date_fin_contrat", text) == (None, Flaw.NONE)
    assert value_of("ft_spie", "demandeurs", "suivi_fin_prev", "9999-12-31 00:00:00.0") == (None, Flaw.NONE)
    assert value_of("ft_spie", "demandeurs", "dif_logement", "NULL") == (None, Flaw.NONE)


def test_hours_read_with_a_comma_a_point_or_grouped_digits(value_of) -> None:
    hours = ("siae_monthly", "salaries", "heures_travaillees")
    assert value_of(*hours, "110,5") == (110.5, Flaw.NONE)
    assert value_of(*hours, "110.5") == (110.5, Flaw.NONE)
    assert value_of(*hours, "1.105e2") == (None, Flaw.TYPE)
    assert value_of(*hours, "-3") == (None, Flaw.RANGE)
    assert value_of(*hours, "nan") == (None, Flaw.TYPE)
    cheques = ("ale_activity", "demandes", "heures_demandees")
    assert value_of(*cheques, "1 250,5") == (1250.5, Flaw.NONE)


def test_numbers_that_a_spreadsheet_spoiled_are_mended_only_when_no_digit_was_lost(value_of) -> None:
    siret = ("siae_monthly", "salaries", "siret")
    assert value_of(*siret, "1.0009009100016E13") == ("10009009100016", Flaw.SCIENTIFIC)
    assert value_of(*siret, "1,00090E+13") == (None, Flaw.PATTERN)
    assert value_of(*siret, "10009009100016.0") == ("10009009100016", Flaw.TRAILING_ZERO)
    assert value_of(*siret, "100 090 091 00016") == ("10009009100016", Flaw.NONE)
    assert value_of(*siret, "5520135000012") == ("05520135000012", Flaw.LEADING_ZEROS)
    assert value_of("cnaf_vrsb0801", "personnes", "codepos", "8300") == ("08300", Flaw.LEADING_ZEROS)


def test_the_key_of_a_nir_and_of_a_niss_is_verified(value_of) -> None:
    nir, niss = ("siae_monthly", "salaries", "nir"), ("ale_activity", "prestations", "niss")
    good = f"180115212345{0}" + f"{97 - 1801152123450 % 97:02d}"
    assert value_of(*nir, good) == (good, Flaw.NONE)
    assert value_of(*nir, good[:13] + "00") == (None, Flaw.CHECKSUM)
    corsican = "280012A123456"
    assert value_of(*nir, corsican.lower()) == (corsican, Flaw.NONE)
    belgian = "850730033" + f"{97 - 850730033 % 97:02d}"
    assert value_of(*niss, belgian) == (belgian, Flaw.NONE)
    assert value_of(*niss, "85.07.30-033." + belgian[-2:]) == (belgian, Flaw.NONE)
    young = "010203004" + f"{97 - int('2010203004') % 97:02d}"
    assert value_of(*niss, young) == (young, Flaw.NONE)
    assert value_of(*niss, young[1:]) == (young, Flaw.LEADING_ZEROS)
    assert value_of(*niss, "85073003300") == (None, Flaw.CHECKSUM)
    assert value_of(*nir, belgian) == (None, Flaw.FOREIGN)
    assert value_of(*niss, good) == (None, Flaw.FOREIGN)
    assert value_of("fluxiae", "salarie", "salarie_nir", "1" + "0" * 9 + "AB12")[1] is Flaw.NONE  # an employer's number


def test_accepted_spellings_become_codes_without_a_word(value_of) -> None:
    assert value_of("department_list", "beneficiaires", "title", "Madame") == ("2", Flaw.NONE)
    assert value_of("department_list", "beneficiaires", "role", "CONJOINT(E)") == ("CJT", Flaw.NONE)
    status = ("department_list", "beneficiaires", "last_appointment_status")
    assert value_of(*status, "Rendez-vous honoré") == ("seen", Flaw.NONE)
    assert value_of("siae_monthly", "salaries", "motif_sortie_categorie", "emploi durable") == (
        "EMPLOI_DURABLE",
        Flaw.NONE,
    )
    assert value_of("siae_monthly", "salaries", "rsa", "oui-nm") == ("OUI-NM", Flaw.NONE)
    assert value_of("siae_monthly", "salaries", "rsa", "peut-être") == (None, Flaw.CODE)


def test_psp_is_socio_professional_and_pso_social(value_of) -> None:
    orientation = ("department_list", "beneficiaires", "orientation_type")
    assert value_of(*orientation, "PSP") == ("socio_pro", Flaw.NONE)
    assert value_of(*orientation, "PSO") == ("social", Flaw.NONE)


def test_a_month_written_as_a_date_is_its_month_only_on_the_first(value_of) -> None:
    month = ("ale_activity", "prestations", "mois")
    assert value_of(*month, "2026-09") == ("2026-09", Flaw.NONE)
    assert value_of(*month, "09/2026") == ("2026-09", Flaw.NONE)
    assert value_of(*month, "01/09/2026") == ("2026-09", Flaw.FIRST_OF_MONTH)
    assert value_of(*month, "15/09/2026") == (None, Flaw.TYPE)
    assert value_of(*month, "2026-13") == (None, Flaw.TYPE)


# -- SQL and pandera ---------------------------------------------------------------------------------------------------

_NOISE = (
    "", " ", "NULL", "null", "-", "0", "1", "12", "1.0", "1,0", "1e3", "1.7", "1_000", "24", "९", "1 250,5", "007",
    "abc", "oui", "NON", "O", "2026-09", "09/2026", "202609", "01/09/2026", "31/02/2026", "21/11/80", "21-11-1980",
    "1980-11-21", "1980-11-21 00:00:00.0", "1980-11-21 10:30:00", "19801121", "29546", "29546.0", "0002-08-06",
    "9999-12-31", "1.803331476872E12", "1,80333E+12", "1.8033314768E12", "1803331476872.0", "180331476872",
    "2820251108030", "282025110803000", "85073003328", "85.07.30-033.28", "280012A123456", "10009009100016",
    "5520135000012", "08300", "8300", "2A004", "1234567A", "MME", "M.", "madame", "CJT", "conjoint(e)", "ACI_DC",
    "aci_dc", "NV5", "DEDA", "Rendez-vous honoré", "x" * 50, "é", "\u00a012\u202f", "12\n", "\t2026-09\r", "-5", "+5",
    "1000000", "99999999999999999999",
)  # fmt: skip


def spoiled(field: ContractField, chance: random.Random) -> str:
    """A text for a field: its example, the example damaged, or noise."""
    example = field.example or ""
    match chance.randrange(4):
        case 0:
            return example
        case 1 if example:
            place = chance.randrange(len(example))
            return example[:place] + chance.choice("0 9.,/-aEé\u00a0") + example[place + chance.randrange(2) :]
        case _:
            return chance.choice(_NOISE)


@pytest.mark.parametrize(
    ("source", "table"),
    [
        ("siae_monthly", "salaries"), ("fluxiae", "contrat_mission"), ("fluxiae", "salarie"),
        ("fluxiae", "etat_mensuel_indiv"), ("department_list", "beneficiaires"), ("cnaf_vrsb0801", "personnes"),
        ("ft_spie", "demandeurs"), ("forem_jobseekers", "demandeurs"), ("ale_activity", "prestations"),
    ],
)  # fmt: skip
def test_sql_and_pandera_find_the_same_in_dirty_tables(
    registry: Registry, statements: Statements, source: str, table: str
) -> None:
    chance = random.Random(f"{source}.{table}")
    contract = registry.source(source).table(table, SEPTEMBER)
    rules = TableRules(contract, table_rules(contract, registry, SEPTEMBER).cells, ())
    rows = table_of({cell.field.name: [spoiled(cell.field, chance) for _ in range(150)] for cell in rules.cells})
    judged = judge(statements, rules, rows)
    by_sql = {(row, rules.cells[subject].field.name, Flaw(flaw)) for row, subject, flaw in found(judged)}
    names = [cell.field.name for cell in rules.cells]
    assert flaws_of(rules, rows.select(names).to_pandas()) == by_sql
    assert len({flaw for _, _, flaw in by_sql}) >= 5
    accepted = judged.values.filter(pa.array(~judged.is_rejected)).select(names)
    typed_schema(rules).validate(accepted.to_pandas(), lazy=True)


# -- rules, messages, refusals -----------------------------------------------------------------------------------------


def test_a_row_rule_that_is_null_holds(registry: Registry, statements: Statements) -> None:
    contract = registry.source("siae_monthly").table("salaries", SEPTEMBER)
    rules = table_rules(contract, registry, SEPTEMBER)
    rows = table_of(
        {
            "nom_naissance": ["MODELE", "MODELE", ""],
            "prenom": ["Camille", "Camille", "Camille"],
            "date_naissance": ["21/11/1980", "21/11/2027", "21/11/1980"],
            "date_debut_contrat": ["", "01/10/2026", ""],
            "date_fin_contrat": ["01/01/2026", "01/09/2026", ""],
        }
    )
    broken = {
        (row, rules.verdicts[subject, BROKEN].rule)
        for row, subject, _ in found(judge(statements, rules, rows))
        if subject >= len(rules.cells)
    }
    assert broken == {(1, "dates-reversed"), (1, "birth-after-month"), (2, "person-unidentified")}


def test_sentences_say_what_is_expected_and_what_to_do_without_a_value(registry: Registry) -> None:
    contract = registry.source("siae_monthly").table("salaries", SEPTEMBER)
    rules = table_rules(contract, registry, SEPTEMBER)
    verdicts = {(verdict.field, verdict.code): verdict for verdict in rules.verdicts.values()}
    wording = verdicts["date_naissance", "type-error"].wording
    assert wording.message == (
        "« Date de naissance » : format de date incorrect — la forme attendue est `jj/mm/aaaa`, comme `21/11/1980`."
    )
    for verdict in rules.verdicts.values():
        assert verdict.wording.message.endswith(".")
        assert verdict.wording.expected
        assert verdict.wording.remedy.endswith(".")


def test_only_values_that_speak_of_nobody_are_shown_to_others(registry: Registry) -> None:
    source = registry.source("siae_monthly")
    personal = Finding("type-error", "warning", "…", table="salaries", field="date_naissance", value="21/11/80")
    ordinary = Finding("type-error", "warning", "…", table="salaries", field="heures_travaillees", value="beaucoup")
    unknown = Finding("extra-header", "warning", "…", table="salaries", value="Suivi de Camille EXEMPLE")
    several = Finding("rule-error", "warning", "…", table="salaries", field="nom_naissance, prenom", value="x")
    assert masked(personal, source).value == "•••"
    assert masked(ordinary, source).value == "beaucoup"
    assert masked(unknown, source).value == "•••"
    assert masked(several, source).value == "•••"


@pytest.mark.parametrize(
    ("expression", "problem"),
    [
        ("nir IS NOT NULL OR EXISTS (SELECT 1 FROM read_text('/etc/passwd'))", "reads another table"),
        ("nir IN (SELECT nir FROM salaries)", "reads another table"),
        ("getenv('HOME') IS NOT NULL", "GETENV may not be called"),
        ("date_naissance < current_date", "may not be called"),
        ("sum(heures_travaillees) > 3", "other rows"),
        ("salaire > 3", "'salaire' is not a field that is kept"),
        ("nir IS NOT NULL; DROP TABLE x", "not one expression"),
        ("nir IS (", "not a SQL expression"),
    ],
)
def test_a_rule_that_reaches_beyond_its_row_is_refused_with_file_and_path(
    registry: Registry, tmp_path: Path, expression: str, problem: str
) -> None:
    text = (registry.folder / "siae" / "siae_monthly.yaml").read_text(encoding="utf-8")
    (tmp_path / "siae").mkdir()
    (tmp_path / "partners.csv").write_text("code,name,family,space,territory_code,sources,since\n", encoding="utf-8")
    harmless = "expression: date_debut_contrat <= date_fin_contrat"
    assert harmless in text
    spoilt = text.replace(harmless, f'expression: "{expression}"')
    (tmp_path / "siae" / "siae_monthly.yaml").write_text(spoilt, encoding="utf-8")
    with pytest.raises(InvalidDataSources) as refused:
        load_registry(tmp_path)
    assert problem in str(refused.value)
    assert "siae_monthly.yaml: versions.0.resources.0.insertion.rules.1.expression" in str(refused.value)


# -- templates and pages -----------------------------------------------------------------------------------------------


def test_a_template_filled_with_its_own_examples_is_read_back_without_a_finding(
    registry: Registry, lake: Lake, tmp_path: Path
) -> None:
    source = registry.source("siae_monthly")
    table = source.table("salaries", SEPTEMBER)
    header = csv_template(table).decode("utf-8-sig")
    row = ";".join(field.example or "" for field in table.stored_fields)
    path = tmp_path / "salaries.csv"
    path.write_text(header + row + "\r\n", encoding="utf-8", newline="")
    conformed = conform(read(path, source, month=SEPTEMBER), source, SEPTEMBER, registry, lake)
    assert conformed.findings.to_pylist() == []
    assert conformed.account.accepted == 1


def test_the_workbook_template_has_its_sheets_lists_and_the_same_bytes_twice(registry: Registry) -> None:
    source = registry.source("ale_activity")
    content = workbook_template(source, registry, SEPTEMBER)
    assert workbook_template(source, registry, SEPTEMBER) == content
    book = python_calamine.load_workbook(io.BytesIO(content))
    assert book.sheet_names == ["Prestations", "Demandes", "Listes du modèle", "Notice du modèle"]
    labels = [field.label for field in source.table("demandes", SEPTEMBER).stored_fields]
    assert book.get_sheet_by_name("Demandes").to_python()[0] == labels
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        sheet = archive.read("xl/worksheets/sheet1.xml").decode()
    assert "<dataValidation" in sheet
    assert "<f>" not in sheet


def test_a_filled_workbook_template_is_read_back_without_a_finding(
    registry: Registry, lake: Lake, tmp_path: Path
) -> None:
    source = registry.source("ale_activity")
    examples = {
        table.name: [{field.name: field.example or "" for field in table.stored_fields}]
        for table in source.version_for(SEPTEMBER).resources
    }
    path = tmp_path / "ale.xlsx"
    path.write_bytes(workbook_template(source, registry, SEPTEMBER, examples))
    conformed = conform(read(path, source, month=SEPTEMBER), source, SEPTEMBER, registry, lake)
    assert conformed.findings.to_pylist() == []
    assert {name: rows.num_rows for name, rows in conformed.accepted.items()} == {"prestations": 1, "demandes": 1}


def test_every_source_has_a_page_and_a_plain_descriptor(registry: Registry) -> None:
    for source in registry.sources.values():
        page = format_page(source, registry, SEPTEMBER)
        assert page.startswith(f"# {source.title}\n")
        for table in source.version_for(SEPTEMBER).resources:
            resource = frictionless_resource(table)
            assert [field["name"] for field in resource["schema"]["fields"]] == arrow_schema(table).names
            for field in table.stored_fields:
                assert f"| {field.label} |" in page


@pytest.mark.parametrize(
    ("siret", "holds"),
    [
        ("10001001600010", True), ("10001001600011", False), ("73282932000074", True), ("35600000000048", True),
        ("35600000049837", True), ("35600000049838", False), ("1000100160001", None), ("ABCDEFGHIJKLMN", None),
    ],
)  # fmt: skip
def test_a_siret_has_its_key_but_for_those_of_la_poste(statements: Statements, siret: str, holds: bool | None) -> None:
    assert statements.run(f"SELECT siret_holds('{siret}') AS holds")["holds"].to_pylist() == [holds]
    if holds is not None and not siret.startswith("356000000"):
        assert stdnum_siret.is_valid(siret) == holds
