"""Reading: every envelope, every line accounted for, every attack refused whole."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import itertools
import pickle
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from xml.sax.saxutils import escape

import pyarrow as pa
import pytest
import pyzipper
import xlsxwriter
from hypothesis import given, settings
from hypothesis import strategies as st

from insertion_pipeline.ingestion import delimited, headers
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.reading import Reading, UnreadableDelivery, read, recognise
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Registry, Source

MONTH = Month(2026, 9)


def source_of(tables: dict[str, list[object]], *, envelope: str = "tabular", **table_options: object) -> Source:
    """A contract with the given tables: field names, or whole field descriptors."""
    resources = [
        {
            "name": name,
            "insertion": {"member": name.title(), **table_options},
            "schema": {"fields": [{"name": field} if isinstance(field, str) else field for field in fields]},
        }
        for name, fields in tables.items()
    ]
    return Source.model_validate(
        {
            "name": "invented",
            "title": "Fichier inventé",
            "insertion": {
                "family": "ale",
                "spaces": ["be"],
                "envelope": envelope,
                "extent": "month",
                "controller": "personne",
                "legal_basis": "aucune",
                "purposes": ["test"],
            },
            "versions": [{"valid_from": "2020-01", "resources": resources}],
        }
    )


PEOPLE = source_of({"people": ["nom", "ville", "note"]})
HEADER = ("nom", "ville", "note")
ROWS = [
    ("Élodie", "Liège", "100 € l’été"),
    ("Zoë", "Écaussinnes; près de tout", 'dit "Zo"'),
    ("Œdipe", "Thèbes, Béotie | Grèce\tantique", ""),
    ("", "", "seule cette note"),
]


def written(path: Path, rows: Sequence[Sequence[str]], *, separator: str = ";", encoding: str = "utf-8") -> Path:
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=separator, lineterminator="\n").writerows(rows)
    path.write_bytes(text.getvalue().encode(encoding))
    return path


def cells(reading: Reading, table: str = "people") -> list[tuple[object, ...]]:
    rows = reading.tables[table]
    names = [name for name in rows.column_names if not name.startswith("_")]
    return [tuple(row[name] for name in names) for row in rows.to_pylist()]


def read_text(tmp_path: Path, text: str | bytes, source: Source = PEOPLE) -> Reading:
    path = tmp_path / "deposit"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read(path, source, month=MONTH)


def refusal_of(path: Path, source: Source = PEOPLE, **options: object) -> str:
    with pytest.raises(UnreadableDelivery) as refused:
        read(path, source, month=MONTH, **options)  # type: ignore[arg-type]
    assert refused.value.finding.severity == "blocking"
    assert str(refused.value) == refused.value.finding.code
    return refused.value.finding.code


def gzipped(path: Path, content: bytes) -> Path:
    path.write_bytes(gzip.compress(content))
    return path


def zipped(path: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


class TestTheSameTable:
    """One table, however it is written, gives the same rows."""

    @pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "cp1252"])
    @pytest.mark.parametrize("separator", [";", ",", "\t", "|"])
    def test_in_any_encoding_separator_and_wrapping(self, tmp_path: Path, encoding: str, separator: str) -> None:
        plain = written(tmp_path / "plain", [HEADER, *ROWS], separator=separator, encoding=encoding)
        content = plain.read_bytes()
        for path in (plain, gzipped(tmp_path / "a.csv", content), zipped(tmp_path / "b.tar.gz", member=content)):
            reading = read(path, PEOPLE, month=MONTH)
            assert cells(reading) == ROWS
            assert reading.tables["people"]["_line"].to_pylist() == [2, 3, 4, 5]
            assert reading.account == Account(lines=5, header_footer=1, accepted=4)
            assert reading.findings == ()

    @pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
    def test_with_any_line_end(self, tmp_path: Path, end: str) -> None:
        reading = read_text(tmp_path, end.join(["nom;ville;note", "a;b;c", "", "d;e;f", ""]))
        assert cells(reading) == [("a", "b", "c"), ("d", "e", "f")]
        assert reading.tables["people"]["_line"].to_pylist() == [2, 4]
        assert reading.account == Account(lines=4, blank=1, header_footer=1, accepted=2)

    def test_with_mixed_line_ends_and_no_last_one(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "nom;ville;note\r\na;b;c\nd;e;f\rg;h;i")
        assert cells(reading) == [("a", "b", "c"), ("d", "e", "f"), ("g", "h", "i")]
        assert reading.account == Account(lines=4, header_footer=1, accepted=3)

    def test_across_blocks(self, tmp_path: Path) -> None:
        rows = [(f"n{number}", 'deux\nlignes "citées"' if number % 3 else "été", "x") for number in range(50)]
        path = written(tmp_path / "file", [HEADER, *rows], encoding="cp1252")
        expected = read(path, PEOPLE, month=MONTH)
        assert cells(expected) == rows
        for size in (17, 64, 101, 500):
            again = read(path, PEOPLE, month=MONTH, limits=Limits(block_bytes=size))
            assert again.tables["people"].equals(expected.tables["people"])
            assert again.account == expected.account

    def test_in_a_workbook(self, tmp_path: Path) -> None:
        path = tmp_path / "people.csv"
        with xlsxwriter.Workbook(path) as workbook:
            sheet = workbook.add_worksheet("Élodie Durand")
            for number, row in enumerate([("Liste du mois", "", ""), HEADER, *ROWS, ("", " ", "")]):
                sheet.write_row(number, 0, row)
        reading = read(path, PEOPLE, month=MONTH)
        assert cells(reading) == ROWS
        assert reading.tables["people"]["_line"].to_pylist() == [3, 4, 5, 6]
        assert reading.account == Account(lines=7, blank=1, header_footer=2, accepted=4)

    def test_in_a_workbook_of_the_time_before_xml(self, registry: Registry) -> None:
        """A BIFF8 file as xlwt writes it: a notice, then texts, a date, numbers where the others have text."""
        path = Path(__file__).parent / "samples" / "liste.xls"
        reading = read(path, registry.source("department_list"), month=MONTH)
        table = reading.tables["beneficiaires"].select(["nir", "last_name", "first_name", "birth_date", "postal_code"])
        assert [tuple(row.values()) for row in table.to_pylist()] == [
            ("180117512345612", "MODELE", "Élise", "17/01/1980", "52000"),
            ("280117512345672", "L’ŒUVRE", "Noël", "17/01/1980", "52100"),
            ("", "ESSAI", "Zoé", "21/11/1990", "01000"),
        ]
        assert reading.account == Account(lines=5, header_footer=2, accepted=3)
        assert [finding.code for finding in reading.findings] == ["extra-table"]

    def test_in_an_opendocument_sheet(self, tmp_path: Path) -> None:
        cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
        lines = ("".join(cell.format(escape(text)) for text in row) for row in [HEADER, *ROWS])
        content = "".join(f"<table:table-row>{line}</table:table-row>" for line in lines)
        names = "".join(
            f' xmlns:{short}="urn:oasis:names:tc:opendocument:xmlns:{long}:1.0"'
            for short, long in (("office", "office"), ("table", "table"), ("text", "text"))
        )
        sheet = (
            f'<?xml version="1.0"?><office:document-content{names}><office:body><office:spreadsheet>'
            f'<table:table table:name="a">{content}</table:table></office:spreadsheet></office:body>'
            "</office:document-content>"
        )
        kind = b"application/vnd.oasis.opendocument.spreadsheet"
        members = {"mimetype": kind, "content.xml": sheet.encode(), "META-INF/manifest.xml": b"<manifest/>"}
        reading = read(zipped(tmp_path / "people.csv", **members), PEOPLE, month=MONTH)
        assert cells(reading) == ROWS

    def test_in_nested_and_encrypted_archives(self, tmp_path: Path) -> None:
        content = written(tmp_path / "plain", [HEADER, *ROWS]).read_bytes()
        inner = zipped(tmp_path / "inner", file=content).read_bytes()
        nested = gzipped(tmp_path / "nested", inner)
        locked = tmp_path / "locked"
        with pyzipper.AESZipFile(locked, "w", encryption=pyzipper.WZ_AES) as archive:
            archive.setpassword(b"secret")
            archive.writestr("people.csv.gz", content)
        bundle = tmp_path / "bundle"
        with tarfile.open(bundle, "w:gz") as tar:
            entry = tarfile.TarInfo("people")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        assert cells(read(nested, PEOPLE, month=MONTH)) == ROWS
        assert cells(read(bundle, PEOPLE, month=MONTH)) == ROWS
        assert cells(read(locked, PEOPLE, month=MONTH, archive_password="secret")) == ROWS
        assert refusal_of(locked) == "archive-password"
        assert refusal_of(locked, archive_password="wrong") == "archive-password"


#: A cell of several lines, one of which is by itself a whole record, is the one thing that cannot be told apart.
CELLS = st.one_of(
    st.text(alphabet='ab;"é= ', min_size=1, max_size=6), st.text(alphabet='ab"\né= ', min_size=1, max_size=6)
)


class TestLinesThatAreNotClean:
    def test_a_stray_quote_costs_its_own_line_alone(self, tmp_path: Path) -> None:
        good = "\n".join(f"n{number};v;x" for number in range(1500))
        reading = read_text(tmp_path, f'nom;ville;note\na;"jamais refermé;c\n{good}\n"b";"c";"d"\n')
        assert reading.account == Account(lines=1503, header_footer=1, accepted=1501, rejected=1)
        assert reading.unreadable.to_pylist() == [
            {
                "_member": 1,
                "_line": 2,
                "_units": 1,
                "raw": 'a;"jamais refermé;c',
                "code": "unbalanced-quote",
                "message": "Un guillemet n'est pas refermé, ou se referme au milieu d'une cellule.",
            }
        ]

    def test_a_record_over_several_lines_is_one_row_and_counts_its_lines(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, 'nom;ville;note\na;"un\n\ndeux";c\nd;e;f\n')
        assert cells(reading) == [("a", "un\n\ndeux", "c"), ("d", "e", "f")]
        assert reading.tables["people"].select(["_line", "_units"]).to_pylist() == [
            {"_line": 2, "_units": 3},
            {"_line": 5, "_units": 1},
        ]
        assert reading.account == Account(lines=5, header_footer=1, accepted=4)

    def test_a_quote_inside_a_cell_is_a_character(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, 'nom;ville;note\na;tuyau de 12" neuf;c\n')
        assert cells(reading) == [("a", 'tuyau de 12" neuf', "c")]

    def test_missing_and_extra_cells_are_rejected_with_their_line(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "nom;ville;note\na;b\nd;e;f;g\nh;i;j\n")
        found = [(row["_line"], row["code"], row["raw"]) for row in reading.unreadable.to_pylist()]
        assert found == [(2, "missing-cell", "a;b"), (3, "extra-cell", "d;e;f;g")]
        assert reading.account == Account(lines=4, header_footer=1, accepted=1, rejected=2)

    def test_empty_cells_too_few_or_too_many_at_the_end_are_said_and_kept(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "nom;ville;note\na;\nd;e;f;\n")
        assert cells(reading) == [("a", "", ""), ("d", "e", "f")]
        found = [(row["line"], row["code"], row["severity"]) for row in reading.oddities.to_pylist()]
        assert found == [(2, "missing-cell", "warning"), (3, "extra-cell", "warning")]

    def test_rows_of_empty_cells_are_blank(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, 'nom;ville;note\na;b;c\n;;\n"";" ";\n\n')
        assert reading.account == Account(lines=5, blank=3, header_footer=1, accepted=1)

    @pytest.mark.parametrize("ending", ["\x1a", "\x0c\n", "\t\x0b\n"])
    def test_what_does_not_show_at_the_end_is_blank(self, tmp_path: Path, ending: str) -> None:
        reading = read_text(tmp_path, f"nom;ville;note\na;b;c\n{ending}")
        assert reading.account == Account(lines=3, blank=1, header_footer=1, accepted=1)

    def test_files_put_end_to_end_have_one_header(self, tmp_path: Path) -> None:
        one = "\ufeffnom;ville;note\r\na;b;c\r\n"
        reading = read_text(tmp_path, one + one.replace("a;", "d;") + one.replace("a;", "g;"))
        assert cells(reading) == [("a", "b", "c"), ("d", "b", "c"), ("g", "b", "c")]
        assert reading.tables["people"]["_line"].to_pylist() == [2, 4, 6]
        assert reading.account == Account(lines=6, header_footer=3, accepted=3)
        found = [(row["line"], row["code"], row["severity"]) for row in reading.oddities.to_pylist()]
        assert found == [(3, "repeated-header", "warning"), (5, "repeated-header", "warning")]

    def test_a_header_in_the_middle_ends_an_open_record(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, 'nom;ville;note\na;"b;c\nnom;ville;note\nd;"e";f\n')
        assert cells(reading) == [("d", "e", "f")]
        assert reading.account == Account(lines=4, header_footer=2, accepted=1, rejected=1)
        assert [row["_line"] for row in reading.unreadable.to_pylist()] == [2]

    def test_a_header_in_the_middle_of_a_sheet_is_no_row(self, tmp_path: Path) -> None:
        path = tmp_path / "x.xlsx"
        with xlsxwriter.Workbook(path) as book:
            sheet = book.add_worksheet()
            for number, row in enumerate((HEADER, ("a", "b", "c"), HEADER, (), ("d", "e", "f"))):
                sheet.write_row(number, 0, row)
        reading = read(path, PEOPLE, month=MONTH)
        assert cells(reading) == [("a", "b", "c"), ("d", "e", "f")]
        assert reading.account == Account(lines=5, blank=1, header_footer=2, accepted=2)
        assert [(one.code, one.line) for one in reading.findings] == [("repeated-header", 3)]

    @settings(max_examples=60, deadline=None)
    @given(st.text(alphabet='ab;"\n\ré ', max_size=80))
    def test_the_account_balances_whatever_the_text(self, text: str) -> None:
        block = ("nom;ville;note\n" + text).replace("\r\n", "\n").replace("\r", "\n")
        block = block if block.endswith("\n") else block + "\n"
        header = delimited.find_header(block.encode(), list(_tables(PEOPLE)), [delimited.Dialect(";")])
        assert header is not None
        pieces = delimited.read_table(iter([block.encode()]), header, 1, Limits(), delimited.settle_quoted)
        reading = Reading("people", tuple(pieces))
        assert reading.account.is_balanced
        assert reading.account.lines == block.count("\n")
        rows = reading.tables.get("people", pa.table({"_units": pa.array([], pa.int32())}))
        assert reading.account.accepted == sum(rows["_units"].to_pylist())

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.tuples(CELLS, CELLS, CELLS), min_size=1, max_size=6))
    def test_what_a_csv_library_writes_is_read_back(self, rows: list[tuple[str, str, str]]) -> None:
        rows = [row for row in rows if any(cell.strip() for cell in row)]
        text = io.StringIO(newline="")
        csv.writer(text, delimiter=";", lineterminator="\n", quoting=csv.QUOTE_ALL).writerows([HEADER, *rows])
        block = text.getvalue().encode()
        header = delimited.find_header(block, list(_tables(PEOPLE)), [delimited.Dialect(";")])
        assert header is not None
        pieces = delimited.read_table(iter([block]), header, 1, Limits(), delimited.settle_quoted)
        found = Reading("people", tuple(pieces)).tables["people"].to_pylist()
        assert [tuple(row[name] for name in HEADER) for row in found] == rows


class TestHeaders:
    @pytest.mark.parametrize(
        ("written_as", "meant"),
        [("N° CAF", "numero caf"), ("Date de\nNaissance ", "date de naissance"), ("Prénom*", "prenom"),
         ("\ufeffNOM", "nom"), ("mrech.axe", "mrech axe"), ("Nº\tTéléphone(s)", "numero telephone s")],
    )  # fmt: skip
    def test_are_compared_without_accents_case_or_punctuation(self, written_as: str, meant: str) -> None:
        assert headers.comparable(written_as) == meant

    def test_columns_are_found_by_name_in_any_order(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "NOTE ;Nom*;VILLE\nc;a;b\n")
        assert reading.tables["people"].select(["nom", "ville", "note"]).to_pylist() == [
            {"nom": "a", "ville": "b", "note": "c"}
        ]

    def test_a_missing_column_refuses_the_file_and_an_unknown_one_is_left_aside(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "nom;ville;Dossier de Mme Untel\na;b;c\n")
        assert [(one.code, one.severity, one.field, one.value) for one in reading.findings] == [
            ("extra-header", "warning", "", "Dossier de Mme Untel"),
            ("missing-header", "blocking", "note", None),
        ]
        assert reading.findings[0].message.startswith("La colonne 3 ")
        assert "c" not in str(reading.tables["people"].to_pylist())

    def test_the_same_column_twice_refuses_the_file(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "nom;ville;note;Ville\na;b;c;d\n")
        found = [(one.code, one.severity, one.line, one.field) for one in reading.findings]
        assert found == [("duplicate-header", "blocking", None, "ville")]

    def test_a_column_that_may_not_be_kept_is_discarded_at_reading(self, tmp_path: Path) -> None:
        source = source_of({"people": ["nom", {"name": "note", "insertion": {"use": "none"}}]})
        reading = read_text(tmp_path, "nom;note\na;secret\n", source)
        assert reading.tables["people"].column_names == ["nom", "_line", "_units", "_member"]

    def test_no_planted_name_leaves_but_as_a_value_for_the_depositor(self, tmp_path: Path) -> None:
        planted = "Durand-Planté"
        workbook = tmp_path / f"{planted}.xlsx"
        with xlsxwriter.Workbook(workbook) as book:
            book.add_worksheet(planted).write_row(0, 0, [*HEADER, planted])
            book.worksheets()[0].write_row(1, 0, ["a", "b", "c", "d"])
            book.add_worksheet("autre").write_row(0, 0, [planted])
        archive = zipped(tmp_path / planted, **{planted: workbook.read_bytes()})
        reading = read(archive, PEOPLE, month=MONTH)
        assert [one.value for one in reading.findings if one.value] == [planted]
        shown = [(one.message, one.expected, one.remedy, one.file, one.field) for one in reading.findings]
        assert planted not in str((shown, reading.members, reading.tables, reading.oddities.to_pylist()))


class TestCells:
    def test_oddities_are_kept_and_reported_but_for_signed_numbers(self, tmp_path: Path) -> None:
        hidden = ["ab\u202ecd", "bell\x07", "so\u00adft", "next\u2028line", "tag\U000e0041"]
        odd = ["=1+1", "@import", "+33 6 01 02 03 04", "-12,5", "- sans objet", *hidden, "-"]
        reading = read_text(tmp_path, "nom;ville;note\n" + "".join(f"n;v;{cell}\n" for cell in odd))
        assert [row[2] for row in cells(reading)] == odd
        found = {row["value"]: (row["code"], row["severity"], row["line"]) for row in reading.oddities.to_pylist()}
        expected = ["=1+1", "@import", "- sans objet", *hidden]
        assert found == {cell: ("suspicious-text", "warning", odd.index(cell) + 2) for cell in expected}

    def test_a_workbook_keeps_numbers_and_dates_exact(self, tmp_path: Path) -> None:
        source = source_of(
            {
                "people": [
                    "siret",
                    {"name": "jour", "type": "date"},
                    {"name": "heures", "type": "number", "decimalChar": ","},
                    {"name": "mois", "type": "yearmonth"},
                ]
            }
        )
        path = tmp_path / "book"
        with xlsxwriter.Workbook(path) as book:
            sheet = book.add_worksheet()
            day = book.add_format({"num_format": "dd/mm/yyyy"})
            sheet.write_row(0, 0, ["siret", "jour", "heures", "mois"])
            sheet.write_row(1, 0, [10001001600010])
            sheet.write_datetime(1, 1, date(2026, 9, 30), day)
            sheet.write(1, 2, 12.1 + 0.2)
            sheet.write_datetime(1, 3, date(2026, 9, 1), day)
        reading = read(path, source, month=MONTH)
        assert cells(reading) == [("10001001600010", "2026-09-30", "12,3", "2026-09")]

    def test_a_cell_in_error_is_empty_and_not_without_a_word(self, tmp_path: Path) -> None:
        path = tmp_path / "x.xlsx"
        with xlsxwriter.Workbook(path) as book:
            sheet = book.add_worksheet()
            sheet.write_row(0, 0, HEADER)
            sheet.write_formula(1, 0, "=NA()", value="#N/A")
            sheet.write_row(1, 1, ("b", "c"))
            sheet.write_formula(2, 0, '="a"', value="a")
            sheet.write_formula(2, 2, "=1/0", value="#DIV/0!")
        reading = read(path, PEOPLE, month=MONTH)
        assert cells(reading) == [("", "b", "c"), ("a", "", "")]
        assert [(one.code, one.severity, one.count) for one in reading.findings] == [("error-cell", "warning", 2)]

    def test_the_null_character_refuses_the_file(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(b"nom;ville;note\na;b\0;c\n")
        assert refusal_of(path) == "encoding-error"


class TestEncodings:
    @pytest.mark.parametrize("other", ["cp1252", "utf-8"])
    def test_a_mixture_is_refused_with_the_line_that_contradicts_the_others(self, tmp_path: Path, other: str) -> None:
        most = "utf-8" if other == "cp1252" else "cp1252"
        lines = [f"né{number};à;là".encode(most) for number in range(10)]
        lines[6] = "élève;à;là".encode(other)
        path = tmp_path / "file"
        path.write_bytes(b"\n".join([b"nom;ville;note", *lines]))
        with pytest.raises(UnreadableDelivery) as refused:
            read(path, PEOPLE, month=MONTH)
        assert (refused.value.finding.code, refused.value.finding.line) == ("encoding-error", 8)

    def test_windows_1252_with_quotes_after_capitals_is_not_a_mixture(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "nom;ville;note\n«\u00a0CAFÉ»;été;c\n".encode("cp1252"))
        assert cells(reading) == [("«\u00a0CAFÉ»", "été", "c")]

    def test_utf_16_without_a_mark_is_recognised(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "nom;ville;note\né;b;c\n".encode("utf-16-be"))
        assert cells(reading) == [("é", "b", "c")]

    def test_a_mark_that_lies_is_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(codecs.BOM_UTF8 + "nom;ville;note\né;b;c\n".encode("cp1252"))
        assert refusal_of(path) == "encoding-error"


FLUX = source_of({"structure": ["id", "nom", "note"], "salarie": ["sid", "nir", "mission"]}, envelope="fluxiae")


class TestFluxIae:
    def test_the_last_row_is_read_with_and_without_the_lines_around(self, tmp_path: Path) -> None:
        bare = 'id|nom|note\n1|a"b|c\n2|d|e\n'
        framed = f"DEBStructure07022022_085817||\n{bare}FIN2||\n\n"
        assert cells(read_text(tmp_path, bare, FLUX), "structure") == [("1", 'a"b', "c"), ("2", "d", "e")]
        reading = read_text(tmp_path, framed, FLUX)
        assert cells(reading, "structure") == [("1", 'a"b', "c"), ("2", "d", "e")]
        assert reading.account == Account(lines=6, blank=1, header_footer=3, accepted=2)
        assert reading.findings == ()

    def test_a_wrong_total_refuses_the_view(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "id|nom|note\n1|a|b\nFIN2||\n", FLUX)
        assert [(one.code, one.severity) for one in reading.findings] == [("control-total", "blocking")]

    def test_a_record_broken_by_a_newline_is_joined_where_that_is_exact(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "id|nom|note\n1|deux\nlignes|b\n2|d|e\nFIN2||\n", FLUX)
        assert cells(reading, "structure") == [("1", "deux\nlignes", "b"), ("2", "d", "e")]
        assert reading.account == Account(lines=5, header_footer=2, accepted=3)
        assert [(row["code"], row["line"]) for row in reading.oddities.to_pylist()] == [("line-structure", 2)]

    def test_a_piece_that_could_belong_to_two_records_is_rejected(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, "id|nom|note\n1|deux\nlignes|b\nreste\n2|d|e\n", FLUX)
        assert cells(reading, "structure") == [("2", "d", "e")]
        assert reading.account == Account(lines=5, header_footer=1, accepted=1, rejected=3)

    def test_a_bundle_holds_each_view_once_and_passes_over_views_without_a_table(self, tmp_path: Path) -> None:
        structure, salarie = b"id|nom|note\n1|a|b\n", b"sid|nir|mission\n5|1|x\n"
        other = b"DEBFormations07022022_085817|||\nformation_id_for|x|y|z\n1|2|3|4\n"
        whole = read(zipped(tmp_path / "whole", s=structure, e=salarie, f=other), FLUX, month=MONTH)
        assert {name: rows.num_rows for name, rows in whole.tables.items()} == {"structure": 1, "salarie": 1}
        assert whole.findings == ()
        assert whole.account.is_balanced
        twice = read(zipped(tmp_path / "twice", s=structure, e=salarie, t=structure), FLUX, month=MONTH)
        assert [one.code for one in twice.findings] == ["duplicate-table"]
        lacking = read(zipped(tmp_path / "lacking", s=structure, f=other), FLUX, month=MONTH)
        assert [(one.code, one.table) for one in lacking.findings] == [("missing-table", "salarie")]


CNAF = """<?xml version="1.0" encoding="windows-1252"?>
<Racine><IdentificationFlux><TYPEFLUX>M</TYPEFLUX><DTREF>2026-09-30</DTREF></IdentificationFlux>
{households}<TransmissionFlux><NBTOTDOSRSATRANSM>{total:08d}</NBTOTDOSRSATRANSM></TransmissionFlux></Racine>"""
HOUSEHOLD = """<InfosFoyerRSA><IdentificationRSA><Organisme><MATRICULE>{number}</MATRICULE></Organisme>
<Partenaire><IDEPARTE>{department}</IDEPARTE></Partenaire></IdentificationRSA>
<Personne><Identification><NOM>LÉA{number} </NOM></Identification>
<Prestations><NATPREST>PFA</NATPREST><ROLEPERS>ENF</ROLEPERS></Prestations>
<Prestations><NATPREST>RSA</NATPREST><ROLEPERS>DEM</ROLEPERS></Prestations>
<Activite><ACT>SAL</ACT><DFACT>2026-01-01</DFACT></Activite><Activite><ACT>CHO</ACT></Activite></Personne>
<Personne><Identification><NOM>PAUL{number}</NOM></Identification></Personne>
<Adresse><RGADR>02</RGADR><NUMCOM>1</NUMCOM></Adresse><Adresse><RGADR>01</RGADR><NUMCOM>2</NUMCOM></Adresse>
</InfosFoyerRSA>"""
FLOW = source_of(
    {
        "personnes": [
            {"name": name, "insertion": {"path": path}}
            for name, path in {
                "nom": "Identification/NOM",
                "role": "Prestations[NATPREST=RSA]/ROLEPERS",
                "matricule": "../IdentificationRSA/Organisme/MATRICULE",
                "commune": "../Adresse[RGADR=1|01]/NUMCOM",
                "activite": "Activite[!DFACT]/ACT",
                "derniere": "Activite[last]/ACT",
                "dtref": "/IdentificationFlux/DTREF",
            }.items()
        ]
    },
    envelope="cnaf_xml",
)


def flow(households: int, total: int | None = None, department: str = "052") -> bytes:
    body = "".join(HOUSEHOLD.format(number=number, department=department) for number in range(households))
    return CNAF.format(households=body, total=households if total is None else total).encode("cp1252")


class TestCnafFlow:
    def test_persons_carry_what_their_household_and_the_flow_say(self, tmp_path: Path) -> None:
        reading = read_text(tmp_path, flow(2), FLOW)
        assert cells(reading, "personnes") == [
            ("LÉA0", "DEM", "0", "2", "CHO", "CHO", "2026-09-30"),
            ("PAUL0", "", "0", "2", "", "", "2026-09-30"),
            ("LÉA1", "DEM", "1", "2", "CHO", "CHO", "2026-09-30"),
            ("PAUL1", "", "1", "2", "", "", "2026-09-30"),
        ]
        assert reading.account == Account(lines=8, header_footer=4, accepted=4)
        assert (reading.stated_month, reading.stated_territory) == (MONTH, "FR-DEP-52")

    @pytest.mark.parametrize(("total", "severity"), [(3, "blocking"), (1, "warning")])
    def test_fewer_households_than_announced_refuse_the_flow(self, tmp_path: Path, total: int, severity: str) -> None:
        reading = read_text(tmp_path, flow(2, total), FLOW)
        assert [(one.code, one.severity) for one in reading.findings] == [("control-total", severity)]

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (flow(3)[:-60], "truncated-file"),
            (flow(1).replace(b"</NOM>", b"</NAM>", 1), "unsupported-format"),
            (flow(1).replace(b"windows-1252", b"utf-8"), "encoding-error"),
            (flow(1).replace(b"<Racine>", b'<!DOCTYPE r [<!ENTITY a "b">]><Racine>'), "unsupported-format"),
            (b"<Racine><Autre/></Racine>", "wrong-source"),
            (flow(1).replace(b"<Racine>", b"<Racine><Personne/>"), "unsupported-format"),
        ],
    )
    def test_what_is_not_a_whole_flow_is_refused(self, tmp_path: Path, content: bytes, code: str) -> None:
        path = tmp_path / "file"
        path.write_bytes(content)
        assert refusal_of(path, FLOW) == code

    def test_the_households_of_two_departments_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "file"
        path.write_bytes(flow(2).replace(b"052", b"008", 1))
        assert refusal_of(path, FLOW) == "wrong-partner"


def zip_of_zeros(path: Path) -> Path:
    return zipped(path, bomb=b"0" * (60 << 20))


def one_long_line(path: Path) -> Path:
    path.write_bytes(b"nom;ville;note\n" + b"a" * (3 << 20))
    return path


def many_columns(path: Path) -> Path:
    path.write_bytes(b"nom;ville;note;" + b";".join(b"c%d" % number for number in range(1000)) + b"\n")
    return path


def traversal(path: Path) -> Path:
    return zipped(path, **{"../../etc/passwd": b"nom;ville;note\na;b;c\n"})


def link(path: Path) -> Path:
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("link")
        entry.type, entry.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(entry)
    return path


def far_cell(path: Path) -> Path:
    with xlsxwriter.Workbook(path) as book:
        sheet = book.add_worksheet()
        sheet.write_row(0, 0, HEADER)
        sheet.write(1_048_575, 16_383, "loin")
    return path


def bytes_of(content: bytes) -> Callable[[Path], Path]:
    def write(path: Path) -> Path:
        path.write_bytes(content)
        return path

    return write


class TestAttacks:
    """On the container, the encoding, the size or the structure: refused whole."""

    @pytest.mark.parametrize(
        ("make", "code"),
        [
            (zip_of_zeros, "limit-exceeded"),
            (one_long_line, "limit-exceeded"),
            (many_columns, "limit-exceeded"),
            (far_cell, "limit-exceeded"),
            (traversal, "unreadable-archive"),
            (link, "unreadable-archive"),
            (bytes_of(gzip.compress(b"nom;ville;note\n" * 9999)[:-20]), "truncated-file"),
            (lambda path: zipped(path), "empty-file"),
            (bytes_of(b"PK\x03\x04 and nothing of a zip"), "unreadable-archive"),
            (bytes_of(b""), "empty-file"),
            (bytes_of(pickle.dumps({"nom": "a"})), "unsupported-format"),
            (bytes_of(b"%PDF-1.7 nom;ville;note"), "unsupported-format"),
            (bytes_of(b"<html><table><tr><td>nom</td></tr></table></html>"), "unsupported-format"),
            (
                bytes_of(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + "EncryptedPackage".encode("utf-16-le")),
                "archive-password",
            ),
            (bytes_of(b"nom;ville;note\na;b;\x00\n" * 10), "encoding-error"),
            (bytes_of(b"7z\xbc\xaf\x27\x1c..."), "unsupported-format"),
        ],
    )
    def test_are_refused_whole(self, tmp_path: Path, make: Callable[[Path], Path], code: str) -> None:
        assert refusal_of(make(tmp_path / "file")) == code
        assert [path.name for path in tmp_path.iterdir()] == ["file"]

    def test_an_archive_nested_without_end_is_refused(self, tmp_path: Path) -> None:
        content = b"nom;ville;note\na;b;c\n"
        for _ in range(5):
            content = gzip.compress(content)
        assert refusal_of(bytes_of(content)(tmp_path / "file")) == "unreadable-archive"

    def test_a_file_above_the_limit_is_refused_before_it_is_opened(self, tmp_path: Path) -> None:
        path = bytes_of(b"\x1f\x8b" + bytes(100))(tmp_path / "file")
        assert refusal_of(path, limits=Limits(file_bytes=50)) == "limit-exceeded"

    def test_nothing_is_left_in_the_spill_folder(self, tmp_path: Path) -> None:
        spill = tmp_path / "spill"
        read(zipped(tmp_path / "file", a=b"nom;ville;note\na;b;c\n"), PEOPLE, month=MONTH, spill=spill)
        assert refusal_of(zip_of_zeros(tmp_path / "bomb"), spill=spill) == "limit-exceeded"
        assert list(spill.iterdir()) == []


STAMP = "22022022_112211"
ALL_DATES = "import_beneficiaires_with_all_date_formats"
SPIE = "i03300c.j.extract_spie_carnet_spie_carnet_de_bord_principal"


class TestRealSamples:
    """The files of the real systems go through, unmodified."""

    @pytest.mark.parametrize(
        ("path", "source", "table", "account"),
        [
            (f"siae_fluxiae/fluxIAE_Structure_{STAMP}.csv.gz", "fluxiae", "structure", (9, 0, 3, 6, 0)),
            (
                f"siae_fluxiae/fluxIAE_AnnexeFinanciere_{STAMP}.csv.gz",
                "fluxiae",
                "annexe_financiere",
                (87, 0, 2, 85, 0),
            ),
            ("cnaf_vrsb0801/RSABEM.xml", "cnaf_vrsb0801", "personnes", (7, 0, 4, 3, 0)),
            ("department_lists/fichier_contact_test.csv", "department_contacts", "contacts", (2, 0, 1, 1, 0)),
            ("department_lists/fichier_usager_test.xlsx", "department_list", "beneficiaires", (2, 0, 1, 1, 0)),
            ("department_lists/import_beneficiaires.csv", "department_list", "beneficiaires", (5, 0, 1, 4, 0)),
            (f"department_lists/{ALL_DATES}.csv", "department_list", "beneficiaires", (5, 0, 1, 4, 0)),
            (f"france_travail/{SPIE}.csv", "ft_spie", "demandeurs", (5, 0, 1, 4, 0)),
        ],
    )
    def test_are_recognised_and_read(
        self, real_samples: Path, registry: Registry, path: str, source: str, table: str, account: tuple[int, ...]
    ) -> None:
        sample = real_samples / path
        recognised = recognise(sample, list(registry.sources.values()))
        assert recognised is not None
        assert recognised.name == source
        reading = read(sample, recognised, month=MONTH)
        assert reading.account == Account(*account)
        assert list(reading.tables) == [table]
        assert [one.code for one in reading.findings if one.severity == "blocking"] == []

    def test_numbers_of_a_workbook_stay_whole(self, real_samples: Path, registry: Registry) -> None:
        path = real_samples / "department_lists/fichier_usager_test.xlsx"
        row = read(path, registry.source("department_list"), month=MONTH).tables["beneficiaires"].to_pylist()[0]
        assert (row["nir"], row["phone_number"], row["department_internal_id"]) == (
            "1803331476872",
            "620022002",
            "8383",
        )
        assert row["birth_date"] in ("1980-11-21", "21/11/1980")

    def test_a_view_reads_the_same_cut_in_two_or_whole(
        self, real_samples: Path, registry: Registry, tmp_path: Path
    ) -> None:
        fluxiae = registry.source("fluxiae")
        name = f"siae_fluxiae/fluxIAE_AnnexeFinanciere_{STAMP}.csv.gz"
        whole = read(real_samples / name, fluxiae, month=MONTH).tables["annexe_financiere"]
        lines = gzip.decompress((real_samples / name).read_bytes()).splitlines(keepends=True)
        bare = bytes_of(b"".join(lines[1:]) + b"\nFIN85|\n")(tmp_path / "bare")
        again = read(bare, fluxiae, month=MONTH).tables["annexe_financiere"]
        assert again.drop_columns(["_line"]).equals(whole.drop_columns(["_line"]))
        assert isinstance(whole, pa.Table)


def _tables(source: Source) -> tuple[ContractTable, ...]:
    return tuple(itertools.chain.from_iterable(version.resources for version in source.versions))
