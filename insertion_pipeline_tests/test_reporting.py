"""Reports: two hundred planted errors are all found, and every output says the same of them."""

from __future__ import annotations

import csv
import datetime as dt
import io
import json
import random
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import pytest
import xlsxwriter
from python_calamine import CalamineWorkbook
from typer.testing import CliRunner, Result

from insertion_pipeline import screen
from insertion_pipeline.cli import app
from insertion_pipeline.contracts.cells import Flaw
from insertion_pipeline.contracts.dataframes import flaw_of
from insertion_pipeline.contracts.rules import table_rules
from insertion_pipeline.contracts.templates import choices
from insertion_pipeline.ingestion.quick_rows import QuickSheet
from insertion_pipeline.ingestion.reporting import grouped, neutralised, outcome
from insertion_pipeline.lake import Lake
from insertion_pipeline.registry import Registry

COLUMNS = {
    "mois": "Mois", "siret": "SIRET", "annexe_numero": "Numéro d'annexe financière", "nir": "NIR",
    "nom_naissance": "Nom de naissance", "nom_usage": "Nom d'usage", "prenom": "Prénom",
    "date_naissance": "Date de naissance", "sexe": "Sexe", "code_commune": "Commune de résidence",
    "date_debut_contrat": "Début du contrat", "date_fin_contrat": "Fin prévue du contrat",
    "heures_travaillees": "Heures du mois", "toujours_accompagne": "Toujours accompagné",
    "prescripteur_code": "Prescripteur", "rsa": "Bénéficiaire du RSA", "date_sortie": "Date de sortie",
    "motif_sortie_categorie": "Catégorie de sortie", "motif_sortie": "Motif de sortie",
    "formation_heures": "Heures de formation", "pmsmp_jours": "Jours de PMSMP",
}  # fmt: skip
KEY = "mois, siret, annexe_numero, nir, nom_naissance, nom_usage, prenom, date_naissance, date_debut_contrat"
WHO = "nir, nom_naissance, nom_usage, prenom, date_naissance"
Fields = dict[str, str]
SEPTEMBER = ("--month", "2026-09")


def good_row(number: int) -> Fields:
    return dict.fromkeys(COLUMNS, "") | {
        "mois": "2026-09", "siret": "10009009100016", "annexe_numero": "ACI008260019A0M0",
        "nom_naissance": f"MODELE{chr(65 + number // 26)}{chr(65 + number % 26)}", "prenom": "Camille",
        "date_naissance": f"{1 + number % 28:02d}/11/1980", "sexe": "F", "code_commune": "08409",
        "date_debut_contrat": "01/03/2026", "date_fin_contrat": "31/10/2026", "heures_travaillees": "110,5",
        "toujours_accompagne": "oui", "prescripteur_code": "03", "rsa": "OUI-NM", "formation_heures": "14",
        "pmsmp_jours": "3",
    }  # fmt: skip


def niss(serial: int) -> str:
    nine = f"800101{serial:03d}"
    return f"{nine}{97 - int(nine) % 97:02d}"


def nir(serial: int, *, shift: int = 0) -> str:
    thirteen = f"2801108409{serial:03d}"
    return f"{thirteen}{(97 - int(thirteen) % 97 + shift - 1) % 97 + 1:02d}"


#: kind → (what is planted in a row, the code and the field of the finding that it must give)
CELLS: Mapping[str, tuple[Fields, str, str]] = {
    "no month": ({"mois": ""}, "required-value", "mois"),
    "month in words": ({"mois": "sept. 26"}, "type-error", "mois"),
    "another month": ({"mois": "2026-08"}, "period-mismatch", "mois"),
    "day for a month": ({"mois": "01/09/2026"}, "repaired-value", "mois"),
    "no siret": ({"siret": "-"}, "required-value", "siret"),
    "letter in a siret": ({"siret": "1000900910001X"}, "pattern-error", "siret"),
    "siret in scientific notation": ({"siret": "1.0009009100016E+13"}, "repaired-value", "siret"),
    "siret with decimals": ({"siret": "10009009100016,0"}, "repaired-value", "siret"),
    "siret without its zero": ({"siret": "9009100016007"}, "repaired-value", "siret"),
    "no annex number": ({"annexe_numero": "annexe n° 12"}, "pattern-error", "annexe_numero"),
    "wrong key of a nir": ({"nir": nir(123, shift=1)}, "number-checksum", "nir"),
    "niss for a nir": ({"nir": niss(123)}, "foreign-number", "nir"),
    "too short a nir": ({"nir": "12345"}, "pattern-error", "nir"),
    "30 February": ({"date_naissance": "30/02/1990"}, "type-error", "date_naissance"),
    "text for a date": ({"date_naissance": "inconnue"}, "type-error", "date_naissance"),
    "serial date": ({"date_naissance": "29546"}, "repaired-value", "date_naissance"),
    "dots in a date": ({"date_naissance": "21.11.1980"}, "repaired-value", "date_naissance"),
    "year 2": ({"date_naissance": "06/08/0002"}, "range-error", "date_naissance"),
    "born next year": ({"date_naissance": "01/01/2027"}, "rule-error", "date_naissance"),
    "no such sex": ({"sexe": "X"}, "code-error", "sexe"),
    "commune without its zero": ({"code_commune": "8409"}, "repaired-value", "code_commune"),
    "name of a commune": ({"code_commune": "Sedan"}, "pattern-error", "code_commune"),
    "two-figure year": ({"date_debut_contrat": "01/03/26"}, "type-error", "date_debut_contrat"),
    "contract backwards": (
        {"date_fin_contrat": "28/02/2026", "heures_travaillees": "0"}, "rule-error",
        "date_debut_contrat, date_fin_contrat",
    ),
    "hours below zero": ({"heures_travaillees": "-7,5"}, "range-error", "heures_travaillees"),
    "too many hours": ({"heures_travaillees": "1 105"}, "range-error", "heures_travaillees"),
    "hours in words": ({"heures_travaillees": "temps plein"}, "type-error", "heures_travaillees"),
    "hours and minutes": ({"heures_travaillees": "110:30"}, "type-error", "heures_travaillees"),
    "neither yes nor no": ({"toujours_accompagne": "peut-être"}, "type-error", "toujours_accompagne"),
    "no such referrer": ({"prescripteur_code": "77"}, "code-error", "prescripteur_code"),
    "no such benefit": ({"rsa": "en attente"}, "code-error", "rsa"),
    "32 September": (
        {"date_sortie": "32/09/2026", "motif_sortie_categorie": "AUTRE"}, "type-error", "date_sortie",
    ),
    "exit without reason": ({"date_sortie": "15/09/2026"}, "rule-error", "date_sortie, motif_sortie_categorie"),
    "exit before hire": (
        {"date_sortie": "15/02/2026", "motif_sortie_categorie": "AUTRE", "heures_travaillees": "0"}, "rule-error",
        "date_debut_contrat, date_sortie",
    ),
    "no such reason": ({"motif_sortie_categorie": "Retraite"}, "code-error", "motif_sortie_categorie"),
    "hours of training": ({"formation_heures": "401"}, "range-error", "formation_heures"),
    "days in words": ({"pmsmp_jours": "trois"}, "type-error", "pmsmp_jours"),
    "too many days": ({"pmsmp_jours": "32"}, "range-error", "pmsmp_jours"),
    "formula": ({"motif_sortie": "=HYPERLINK(\"http://exemple.fr\")"}, "suspicious-text", "motif_sortie"),
    "invisible letters": ({"prenom": "Cam\u202eille"}, "suspicious-text", "prenom"),
    "nobody": (
        {"nom_naissance": "", "prenom": "", "date_naissance": ""}, "rule-error", WHO,
    ),
}  # fmt: skip
#: kind → (what is done to the text of a line, the code of the finding)
LINES: Mapping[str, tuple[Callable[[str], str], str]] = {
    "cells missing": (lambda line: line[: line.rindex(";", 0, -8)].rstrip(";")[:60], "missing-cell"),
    "a cell too many": (lambda line: f"{line};de trop", "extra-cell"),
    "a quote left open": (lambda line: line.replace(";Camille;", ';"Camille;'), "unbalanced-quote"),
}
#: Without a birth date that can be read, and without a NIR, nobody can tell of whom a row speaks: that is said too.
UNKNOWN = ("30 February", "text for a date", "year 2")
OF_EACH, ROWS = 5, 640
Planted = list[tuple[int, str, str]]  # line, field, code


def rows_with_errors(*, with_lines: bool) -> tuple[list[Fields], Planted, dict[int, Callable[[str], str]]]:
    """A month of a SIAE with errors in random rows; where and what they are; what is to be done to raw lines."""
    chance = random.Random(20260930)
    rows = [good_row(number) for number in range(ROWS)]
    free = chance.sample(range(ROWS), ROWS)
    planted: Planted = []
    for kind, (change, code, field) in CELLS.items():
        for _ in range(OF_EACH):
            number = free.pop()
            rows[number] |= change
            planted.append((number + 2, field, code))
            if kind in UNKNOWN:
                planted.append((number + 2, WHO, "rule-error"))
    for _ in range(OF_EACH):
        first, second = sorted((free.pop(), free.pop()))
        rows[second] = dict(rows[first])
        planted.append((second + 2, KEY, "duplicate-key"))
    breaks: dict[int, Callable[[str], str]] = {}
    for change_line, code in LINES.values() if with_lines else ():
        for _ in range(OF_EACH):
            number = free.pop()
            breaks[number] = change_line
            planted.append((number + 2, "", code))
    return rows, planted, breaks


def as_text(path: Path) -> Planted:
    rows, planted, breaks = rows_with_errors(with_lines=True)
    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\n", quotechar='"')
    writer.writerow(COLUMNS.values())
    for number, row in enumerate(rows):
        line = io.StringIO()
        csv.writer(line, delimiter=";", lineterminator="").writerow(row.values())
        text.write(breaks.get(number, str)(line.getvalue()) + "\n")
    path.write_text(text.getvalue(), encoding="utf-8")
    return planted


def as_workbook(path: Path) -> Planted:
    rows, planted, _ = rows_with_errors(with_lines=False)
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet("Salariés")
        for number, row in enumerate([COLUMNS, *rows]):
            for column, cell in enumerate(row.values()):
                sheet.write_string(number, column, cell)
    return planted


@pytest.fixture
def home(tmp_path: Path, registry: Registry, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("insertion_pipeline.registry.load_registry", lambda folder: registry)
    folder = tmp_path / "home"
    lake = Lake.open(folder)
    for space in ("fr", "be"):
        lake.keyring.space_key(space)
    return folder


def checked(home: Path, path: Path | Sequence[Path], *arguments: str | Path, partner: str = "siae-09") -> Result:
    files = [path] if isinstance(path, Path) else path
    given = ["--home", str(home), "check", *files, "--partner", partner, *arguments]
    return CliRunner().invoke(app, [str(argument) for argument in given])


def answer_of(home: Path, path: Path | Sequence[Path], *arguments: str, partner: str = "siae-09") -> dict[str, object]:
    answer: dict[str, object] = json.loads(checked(home, path, *arguments, "--json", partner=partner).stdout)
    return answer


# -- all are found -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [as_text, as_workbook])
def test_two_hundred_errors_of_forty_kinds_are_all_found_on_their_line_and_field(
    make: Callable[[Path], Planted], tmp_path: Path, home: Path
) -> None:
    planted = make(tmp_path / "siae")
    answer = answer_of(home, tmp_path / "siae", *SEPTEMBER)
    found = [(one["line"], one["field"], one["code"]) for one in answer["findings"]]
    assert len(planted) >= 200
    assert len(CELLS) + 1 >= 40
    assert Counter(planted) - Counter(found) == Counter(), "not found"
    assert Counter(found) - Counter(planted) == Counter(), "found where nothing is wrong"
    assert all(one["message"] and one["remedy"] for one in answer["findings"])
    rejected = {one["line"] for one in answer["findings"] if one["severity"] == "blocking"}
    assert (answer["verdict"], answer["rejected"]) == (2, len(rejected))


# -- all outputs agree -------------------------------------------------------------------------------------------------


def comments_of(book: zipfile.ZipFile) -> dict[str, str]:
    """Cell → text of its comment, of the only sheet that has any."""
    space = {"x": "http://schemas.openxmlformats.org/spreadsheetml/2006/main"}
    tree = ElementTree.fromstring(book.read("xl/comments1.xml"))
    return {
        one.attrib["ref"]: "".join(text.text or "" for text in one.iterfind(".//x:t", space))
        for one in tree.iterfind(".//x:comment", space)
    }


def cell_name(line: int, column: int) -> str:
    return f"{chr(65 + column)}{line}"


def test_the_four_outputs_agree_on_every_count(tmp_path: Path, home: Path) -> None:
    path = tmp_path / "siae.csv"
    as_text(path)
    answer = answer_of(home, path, *SEPTEMBER)
    total = sum(one["count"] for one in answer["findings"])
    of_code = Counter(one["code"] for one in answer["findings"])

    said = checked(home, path, *SEPTEMBER, "--report", tmp_path / "rapport.csv").stdout
    shown = re.search(r"(\d+) constats : (\d+) bloquants, (\d+) avertissements", said.replace("\u00a0", " "))
    assert shown is not None
    blocking = sum(one["count"] for one in answer["findings"] if one["severity"] == "blocking")
    assert [int(number) for number in shown.groups()] == [total, blocking, total - blocking]

    with (tmp_path / "rapport.csv").open(encoding="utf-8-sig", newline="") as file:
        listed = list(csv.DictReader(file, delimiter=";"))
    assert sum(int(row["Nombre"]) for row in listed) == total
    assert Counter(row["Code"] for row in listed) == of_code
    assert [row["Ligne"] for row in listed] == [str(one["line"]) for one in answer["findings"]]

    assert checked(home, path, *SEPTEMBER, "--report", tmp_path / "rapport.json").exit_code == 1
    assert json.loads((tmp_path / "rapport.json").read_text()) == answer

    assert checked(home, path, *SEPTEMBER, "--report", tmp_path / "rapport.xlsx").exit_code == 1
    book = CalamineWorkbook.from_path(tmp_path / "rapport.xlsx")
    assert book.sheet_names == ["Verdict", "Constats", "Salariés"]
    verdict = book.get_sheet_by_name("Verdict").to_python()
    assert verdict[2][0] == "Accepté en partie"
    begin = next(number for number, row in enumerate(verdict) if row[0] == "Gravité")
    assert sum(row[3] for row in verdict[begin + 1 :]) == total
    assert len(verdict[begin + 1 :]) == len(grouped(answer["findings"]))
    heads, *rows = book.get_sheet_by_name("Constats").to_python()[2:]
    assert sum(row[heads.index("Nombre")] for row in rows) == total
    assert Counter(row[heads.index("Code")] for row in rows) == of_code
    assert [row[heads.index("Ligne")] for row in rows] == [one["line"] for one in answer["findings"]]


def test_the_file_comes_back_with_its_cells_marked(tmp_path: Path, home: Path) -> None:
    path, report = tmp_path / "siae.csv", tmp_path / "rapport.xlsx"
    planted = as_text(path)
    checked(home, path, *SEPTEMBER, "--report", report)
    copy = CalamineWorkbook.from_path(report).get_sheet_by_name("Salariés").to_python(skip_empty_area=False)
    assert copy[0][: len(COLUMNS)] == list(COLUMNS.values())
    names, book = list(COLUMNS), zipfile.ZipFile(report)
    comments = comments_of(book)
    for line, field, code in planted:
        fields = [name for name in field.split(", ") if name]
        on_cells = len(fields) in (1, 2, 3)
        marked = cell_name(line, names.index(fields[0]) if on_cells else 0)
        assert "→" in comments[marked], (line, field, code)
    assert len(comments) == len({*planted}) + sum(1 for _, field, _ in planted if field.count(", ") in (1, 2))
    text = [line.split(";") for line in path.read_text(encoding="utf-8").splitlines()]
    broken = {
        line for line, _, code in planted if code == "unbalanced-quote" or "HYPERLINK" in ";".join(text[line - 1])
    }
    for line, cells in enumerate(text[1:], start=2):
        if line not in broken:
            hours = names.index("heures_travaillees")
            back = ["" if cell is None else cell for cell in copy[line - 1]][: len(cells)]
            same = [position for position in range(len(cells)) if position < hours]
            assert [back[position] for position in same] == [cells[position] for position in same]
    assert copy[1][names.index("siret")] == "10009009100016", "a number that names something stays text"
    assert copy[1][names.index("heures_travaillees")] in (110.5, "temps plein", 1105.0, "1 105"), (
        "a quantity is a number"
    )


def test_no_cell_of_a_report_is_ever_a_formula(tmp_path: Path, home: Path) -> None:
    attacks = [
        "=1+1", "+cmd|' /C calc'!A0", "-2+3+cmd", "@SUM(A1)", "\t=1+1", "<r><f>1+1</f></r>",
        "<r></r></is></c><c r=\"A1\"><f>1+1</f></c><c><is><r></r>", "http://exemple.fr", "{=A1}", "x" * 40_000,
        "+33 6 01 02 03 04", "-12,5", "\u202e=1+1",
    ]  # fmt: skip
    rows = [good_row(number) | {"motif_sortie": attack, "nom_usage": attack} for number, attack in enumerate(attacks)]
    path = tmp_path / "siae.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=";")
        writer.writerow([*COLUMNS.values(), '=HYPERLINK("http://exemple.fr")'])
        writer.writerows([*row.values(), attack] for row, attack in zip(rows, attacks, strict=True))
    for name in ("rapport.xlsx", "rapport.csv"):
        assert checked(home, path, "--report", tmp_path / name).exit_code == 1
    book = zipfile.ZipFile(tmp_path / "rapport.xlsx")
    sheets = [name for name in book.namelist() if name.startswith("xl/worksheets/sheet")]
    assert len(sheets) == 3
    for name in sheets:
        tree = ElementTree.fromstring(book.read(name))
        assert not [node for node in tree.iter() if node.tag.endswith("}f")]
    assert "http://exemple.fr" not in "".join(book.read(one).decode() for one in book.namelist() if ".rels" in one)
    copy = CalamineWorkbook.from_path(tmp_path / "rapport.xlsx").get_sheet_by_name("Salariés").to_python()
    column = list(COLUMNS).index("motif_sortie")
    assert [str(row[column]).strip() for row in copy[1:10]] == [attack.strip() for attack in attacks[:9]]
    with (tmp_path / "rapport.csv").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.reader(file, delimiter=";"):
            assert all(cell == neutralised(cell) for cell in row)


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"), ("@x", "'@x"), ("+cmd", "'+cmd"), ("-cmd", "'-cmd"), ("\tx", "'\tx"), ("\rx", "'\rx"),
        ("  =1", "'  =1"), ("＝1", "'＝1"), ("-12,5", "-12,5"), ("+33601020304", "+33601020304"),
        ("-1+1", "'-1+1"), ("texte", "texte"), ("", ""), ("a=1", "a=1"),
    ],
)  # fmt: skip
def test_text_that_a_spreadsheet_would_run_is_neutralised_and_a_number_stays_one(text: str, written: str) -> None:
    assert neutralised(text) == written


def test_a_row_written_in_one_piece_is_what_xlsxwriter_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [
        "",
        "texte",
        "R&D <b>",
        "=1+1",
        " bord",
        "bord\u00a0",
        "a\nb",
        "\ttab",
        "a\x0bb",
        "_x0041_",
        "\ufffe",
        "é" * 40_000,
    ]
    others = [None, 0, -3, 12.5, 1e300, True, dt.date(2026, 9, 1), dt.datetime(2026, 9, 1, 8, 30), "<r><t>x</t></r>"]
    cells = [*texts, *others]
    grid = [
        [cells[(row * step + column) % len(cells)] for column in range(4)] for step in (1, 5, 8) for row in range(21)
    ]
    plain = [[f"n{row}", row, "", None] for row in range(50)]

    def written(path: Path) -> list[bytes]:
        with xlsxwriter.Workbook(path, {"constant_memory": True, "strings_to_formulas": False}) as book:
            book.set_properties({"created": dt.datetime(2000, 1, 1)})
            look, sheet = book.add_format({"bold": True}), book.add_worksheet(worksheet_class=QuickSheet)
            for row, values in enumerate([*grid, *plain]):
                if row % 7 == 0:
                    sheet.set_row(row, 30)
                sheet.write_cells(row, values, [look if (row + column) % 3 == 0 else None for column in range(4)])
                if row % 9 == 0:
                    sheet.write_comment(row, 1, "vu")
        with zipfile.ZipFile(path) as archive:
            return [archive.read(name) for name in archive.namelist()]

    quick = written(tmp_path / "quick.xlsx")
    monkeypatch.setattr(QuickSheet, "write_cells", QuickSheet._write_one_by_one)
    assert quick == written(tmp_path / "slow.xlsx")


def test_a_corrected_report_is_delivered_as_it_is(tmp_path: Path, home: Path) -> None:
    path, report = tmp_path / "siae.csv", tmp_path / "rapport.xlsx"
    rows = [good_row(number) for number in range(20)]
    rows[3]["sexe"] = "X"
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, delimiter=";").writerows([COLUMNS.values(), *(row.values() for row in rows)])
    assert checked(home, path, "--report", report).exit_code == 1
    again = answer_of(home, report)
    assert [(one["code"], one["line"], one["field"]) for one in again["findings"]] == [("code-error", 5, "sexe")]
    assert again["accepted"] == 20


def test_a_workbook_keeps_its_numbers_and_dates(tmp_path: Path, home: Path) -> None:
    path, report = tmp_path / "siae.xlsx", tmp_path / "rapport.xlsx"
    with xlsxwriter.Workbook(path) as book:
        sheet, day = book.add_worksheet("Salariés"), book.add_format({"num_format": "dd/mm/yyyy"})
        sheet.write_row(0, 0, ["Suivi du mois"])
        sheet.write_row(2, 0, list(COLUMNS.values()))
        for number in range(3, 6):
            sheet.write_row(number, 0, list(good_row(number).values()))
            sheet.write_datetime(number, 7, dt.datetime(1980, 11, 21), day)
            sheet.write_number(number, 12, 110.5)
        sheet.write_string(4, 8, "X")
    assert checked(home, path, "--report", report).exit_code == 1
    copy = CalamineWorkbook.from_path(report).get_sheet_by_name("Salariés").to_python(skip_empty_area=False)
    assert copy[0][0] == "Suivi du mois"
    assert copy[2] == list(COLUMNS.values())
    assert (copy[3][7], copy[3][12]) == (dt.date(1980, 11, 21), 110.5)
    assert list(comments_of(zipfile.ZipFile(report))) == ["I5"]


def test_a_long_file_comes_back_as_its_marked_lines_and_says_so(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("insertion_pipeline.ingestion.report_workbook._WHOLE_PAGE_LINES", 100)
    path, report = tmp_path / "siae.csv", tmp_path / "rapport.xlsx"
    planted = as_text(path)
    checked(home, path, *SEPTEMBER, "--report", report)
    book = CalamineWorkbook.from_path(report)
    copy = book.get_sheet_by_name("Salariés").to_python(skip_empty_area=False)
    assert copy[0][:2] == ["Ligne", "Mois"]
    assert [row[0] for row in copy[1:]] == sorted({line for line, _, _ in planted})
    assert "seules les lignes signalées" in str(book.get_sheet_by_name("Verdict").to_python())
    heads, *rows = book.get_sheet_by_name("Constats").to_python()[2:]
    assert len(rows) == len(planted)
    for row in rows:
        place = re.fullmatch("([A-Z]+)([0-9]+)", row[heads.index("Voir")])
        assert place is not None
        assert copy[int(place[2]) - 1][0] == row[heads.index("Ligne")], "the link leads to the line"


def test_a_flow_comes_back_as_a_table(tmp_path: Path, home: Path, registry: Registry) -> None:
    samples = registry.folder / "department" / "samples" / "2026-10" / "dep-08"
    report = tmp_path / "rapport.xlsx"
    assert checked(home, samples / "RSABEM008_202610.xml", "--report", report, partner="dep-08").exit_code in (0, 1)
    copy = CalamineWorkbook.from_path(report).get_sheet_by_index(2).to_python()
    answer = answer_of(home, samples / "RSABEM008_202610.xml", partner="dep-08")
    assert len(copy) - 1 == answer["accepted"] + answer["rejected"]
    assert copy[0][0] == "Ligne"


# -- sentences ---------------------------------------------------------------------------------------------------------


def test_the_screen_stays_within_its_width_and_breaks_no_word(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "siae.csv"
    as_text(path)
    for width in (80, 120):
        monkeypatch.setattr(screen.console, "_width", width)
        lines = checked(home, path, *SEPTEMBER).stdout.splitlines()
        assert max(map(len, lines)) <= width
        assert "Cam‹U+202E›ille" in "".join(lines), "what does not show is shown by its number"
        assert not [line for line in lines if line.strip().startswith(("»", ":", ";"))]
        assert not [line for line in lines if line.rstrip().endswith("«")]


def test_each_verdict_says_what_was_taken_what_was_not_why_and_what_to_do() -> None:
    finding = {"code": "required-value", "severity": "blocking", "line": 2, "count": 1, "table": "t", "field": "mois",
               "rule": "", "message": "« Mois » est obligatoire et manque.", "expected": "", "value": None,
               "file": "1", "remedy": "Complétez la cellule."}  # fmt: skip
    counts = {"accepted": 9, "rejected": 1, "lines": 11, "blank": 0, "header_footer": 1}
    for verdict in range(4):
        said = outcome({"verdict": verdict, "findings": [finding], **counts})
        assert all((said.taken, said.left, said.why, said.to_do))
    partly = outcome({"verdict": 2, "findings": [finding], **counts}, is_deposit=True)
    assert partly.taken == "9 lignes sur 10."
    assert "remplacera le précédent" in partly.to_do
    refused = outcome({"verdict": 3, "findings": [finding], **counts | {"accepted": 1, "rejected": 9}})
    assert "9 lignes sur 10 (90\u00a0%) sont rejetées" in refused.why


# -- several files -----------------------------------------------------------------------------------------------------


def views(folder: Path) -> list[Path]:
    contents = {
        "Structure": "structure_id_siae|structure_siret_actualise|structure_denomination\n1|10009009100016|Essai\n",
        "RefMotifSort": "rms_id|rms_code|rms_libelle|rcs_id\n2|CDD|CDD dans une autre structure|1\n",
        "RefCategorieSort": "rcs_id|rcs_code|rcs_libelle\n1|1|Emploi durable\n",
    }
    paths = []
    for name, content in contents.items():
        paths.append(folder / f"fluxIAE_{name}_01102026_063004.csv")
        paths[-1].write_text(content)
    return paths


def test_views_given_as_separate_files_are_one_delivery(tmp_path: Path, home: Path) -> None:
    for arguments in ((), ("--source", "fluxiae")):
        answer = answer_of(home, views(tmp_path), "--month", "2026-09", *arguments, partner="asp")
        assert isinstance(answer, dict), "one delivery, one answer"
        assert [member["table"] for member in answer["members"]] == [
            "structure",
            "ref_motif_sort",
            "ref_categorie_sort",
        ]
        for key in ("lines", "accepted", "rejected", "blank", "header_footer"):
            assert answer[key] == sum(member[key] for member in answer["members"])
        assert {one["file"] for one in answer["findings"] if one["line"]} <= {one["file"] for one in answer["members"]}


def test_views_delivered_together_have_one_receipt(tmp_path: Path, home: Path) -> None:
    given = ["--home", str(home), "deliver", *map(str, views(tmp_path)), "--partner", "asp", "--month", "2026-09"]
    receipt = json.loads(CliRunner().invoke(app, [*given, "--json"]).stdout)
    again = json.loads(CliRunner().invoke(app, [*given[:3], *reversed(given[3:6]), *given[6:], "--json"]).stdout)
    assert isinstance(receipt, dict), "one delivery, one receipt"
    assert receipt["sequence"] == again["sequence"] == 1, "the order in which files are named does not matter"
    assert sorted(receipt["members"]) == ["ref_categorie_sort", "ref_motif_sort", "structure"]


def test_other_files_are_judged_each_by_itself(tmp_path: Path, home: Path) -> None:
    paths = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for number, path in enumerate(paths):
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter=";").writerows([COLUMNS.values(), good_row(number).values()])
    answers = answer_of(home, paths)
    assert [answer["accepted"] for answer in answers] == [1, 1]
    checked(home, paths, "--report", tmp_path / "rapport.json")
    written = [json.loads((tmp_path / f"rapport-{number}.json").read_text()) for number in (1, 2)]
    assert written == answers


# -- formats -----------------------------------------------------------------------------------------------------------


def test_a_template_that_was_written_reads_back_as_its_source(tmp_path: Path, home: Path) -> None:
    for name in ("modele.xlsx", "modele.csv"):
        given = ["--home", str(home), "template", "--source", "siae_monthly", "--out", str(tmp_path / name)]
        assert CliRunner().invoke(app, given).exit_code == 0
        answer = answer_of(home, tmp_path / name)
        assert (answer["source"], [one["code"] for one in answer["findings"]]) == ("siae_monthly", ["empty-file"])


def test_a_template_offers_words_that_the_contract_reads(registry: Registry) -> None:
    words: dict[str, tuple[str, ...]] = {}
    for source in registry.sources.values():
        for table in source.version_for(source.latest_month).resources:
            for cell in table_rules(table, registry, source.latest_month).cells:
                offered = choices(cell)
                words[f"{source.name}.{cell.field.name}"] = offered
                assert {flaw_of(cell, choice) for choice in offered} <= {Flaw.NONE}, (source.name, cell.field.name)
                assert len(set(offered)) == len(offered)
    assert words["department_pathways.orientation_type"] == ("Professionnelle", "Socio-professionnelle", "Sociale")
    assert words["department_pathways.title"] == ("HOMME", "FEMME")
    assert words["department_pathways.is_subject_to_rights_and_duties"] == ("oui", "non")
    assert "France Travail" in words["department_pathways.orientation_body"]


def test_every_source_has_its_page(tmp_path: Path, home: Path, registry: Registry) -> None:
    given = ["--home", str(home), "formats", "--out", str(tmp_path / "formats"), "--json"]
    written = json.loads(CliRunner().invoke(app, given).stdout)["written"]
    assert [Path(path).stem for path in written] == sorted(registry.sources)
    for path in written:
        assert Path(path).read_text().startswith(f"# {registry.sources[Path(path).stem].title}")
