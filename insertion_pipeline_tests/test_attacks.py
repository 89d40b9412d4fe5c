"""What hostile bytes cost: the reader is a process with limits, and the refusal says what to do.

Memory and time are those that the system counted for the reader, whatever else the machine does.
"""

from __future__ import annotations

import csv
import datetime as dt
import gzip
import io
import os
import pickle
import random
import struct
import tarfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
import pyzipper
import xlsxwriter
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.ingestion import allowance, confining, content, delimited, deliveries, spreadsheet
from insertion_pipeline.ingestion.extracts import UnreadableDelivery
from insertion_pipeline.ingestion.nursery import NURSERY
from insertion_pipeline.ingestion.reading import pieces, read
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.ingestion.replaying import pages
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry, Source, load_registry

MONTH = Month.parse("2026-09")
MOST_BYTES = 512 << 20
MOST_SECONDS = 5.0
HEADER = b"nom;prenom;date_naissance\n"


def zip_with(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression, compresslevel=1) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def zip_bomb(path: Path) -> None:
    zip_with(path, {"a.csv": bytes(200 << 20)})


def zip_of_overlapping_members(path: Path) -> None:
    """Many entries of the directory for one compressed member (« a better zip bomb »)."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a", HEADER + b"a;b;c\n" * 200_000)
    content = whole.getvalue()
    begin = content.index(b"PK\x01\x02")
    entry, end = content[begin : content.index(b"PK\x05\x06")], content.index(b"PK\x05\x06")
    count = 900
    ending = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(entry) * count, begin, 0)
    path.write_bytes(content[:begin] + entry * count + ending)
    assert len(content) > end


def gzip_bomb(path: Path) -> None:
    path.write_bytes(gzip.compress(HEADER + b"a;b;c\n" * (30 << 20), 1))


def zips_within_zips(path: Path) -> None:
    content = HEADER + b"a;b;c\n"
    for _ in range(6):
        inner = io.BytesIO()
        with zipfile.ZipFile(inner, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("again.zip", content)
        content = inner.getvalue()
    path.write_bytes(content)


def tar_with_links(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            entry = tarfile.TarInfo("a.csv")
            entry.type, entry.linkname = kind, "/etc/passwd"
            archive.addfile(entry)


def tar_with_a_device(path: Path) -> None:
    with tarfile.open(path, "w") as archive:
        entry = tarfile.TarInfo("a.csv")
        entry.type, entry.devmajor, entry.devminor = tarfile.CHRTYPE, 1, 5
        archive.addfile(entry)


def one_line(path: Path) -> None:
    with path.open("wb") as file:
        file.write(HEADER)
        for _ in range(16):
            file.write(b"a" * (16 << 20))


def one_cell(path: Path) -> None:
    path.write_bytes(HEADER + b'"' + b"ab\n" * (17 << 20) + b'";b;c\n')


def quotes_everywhere(path: Path) -> None:
    path.write_bytes(HEADER + b'"a"b;c;d\n' * (1 << 20))


def many_columns(path: Path) -> None:
    path.write_bytes(b";".join(b"c%d" % number for number in range(100_000)) + b"\n" + b";" * 99_999 + b"\n")


def null_bytes(path: Path) -> None:
    path.write_bytes(HEADER + b"a;b;\x00\n" * 1000)


def picture_and_archive(path: Path) -> None:
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("a.csv", HEADER)
    path.write_bytes(b"GIF89a" + bytes(64) + inner.getvalue())


def archive_and_script(path: Path) -> None:
    zip_with(path, {"a.csv": HEADER + b"MODELE;Camille;21/11/1980\n"})
    path.write_bytes(path.read_bytes() + b"<script>alert(1)</script>")


def workbook_and_archive(path: Path) -> None:
    workbook_with(path)
    path.write_bytes(path.read_bytes() + gzip.compress(HEADER))


def header_after_header(path: Path) -> None:
    path.write_bytes((HEADER + b"MODELE;Camille;21/11/1980\n") * 300_000)


def pickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"nom": os.getcwd}, 4))


def truncated_gzip(path: Path) -> None:
    path.write_bytes(gzip.compress(HEADER + os.urandom(1 << 20))[: 1 << 19])


def empty_archive(path: Path) -> None:
    zip_with(path, {})


def entities(path: Path) -> None:
    inner = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    path.write_text(f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "ah">{inner}]><Racine>&a9;</Racine>')


def entities_far_down(path: Path) -> None:
    inner = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9))
    comment = f"<!--{'x' * (1 << 17)}-->"
    path.write_text(f'<?xml version="1.0"?>{comment}<!DOCTYPE x [<!ENTITY a0 "ah">{inner}]><Racine>&a9;</Racine>')


def deep_elements(path: Path) -> None:
    path.write_bytes(b"<Racine>" + b"<a>" * 2_000_000)


def deep_json(path: Path) -> None:
    path.write_bytes(b'{"lignesTelechargement": ' + b"[" * 5_000_000)


SHEET = b"""<?xml version="1.0"?><worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">
<dimension ref="A1:XFD1048576"/><sheetData>%s</sheetData></worksheet>"""


def workbook_with(path: Path, **parts: bytes) -> None:
    """A workbook of xlsxwriter with some of its parts replaced."""
    content = io.BytesIO()
    with xlsxwriter.Workbook(content, {"in_memory": True}) as book:
        book.add_worksheet().write_row(0, 0, ["nom", "prenom", "date_naissance"])
    changed = {"xl/worksheets/sheet1.xml": parts.get("sheet"), "xl/sharedStrings.xml": parts.get("strings")}
    with zipfile.ZipFile(content) as old, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as new:
        for name in old.namelist():
            replaced = changed.get(name)
            new.writestr(name, old.read(name) if replaced is None else replaced)


def workbook_of_shared_strings(path: Path) -> None:
    chance = random.Random(1)
    texts = b"".join(b"<si><t>%d</t></si>" % chance.getrandbits(60) for _ in range(400_000))
    many = b'<sst xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">%s</sst>' % (texts * 12)
    workbook_with(path, strings=many)


def workbook_with_entities(path: Path) -> None:
    inner = "".join(f'<!ENTITY a{n + 1} "{f"&a{n};" * 10}">' for n in range(9)).encode()
    workbook_with(path, strings=b'<!DOCTYPE x [<!ENTITY a0 "ah">' + inner + b"]><sst><si><t>&a9;</t></si></sst>")


def workbook_with_a_far_cell(path: Path) -> None:
    far = b'<row r="1048576"><c r="XFD1048576" t="n"><v>1</v></c></row>'
    workbook_with(path, sheet=SHEET % (b'<row r="1"><c r="A1"><v>1</v></c></row>' + far))


def workbook_with_a_huge_cell(path: Path) -> None:
    text = random.Random(1).randbytes(25 << 20).hex().encode()
    row = b'<row r="1"><c r="A1" t="inlineStr"><is><t>nom</t></is></c></row>'
    workbook_with(path, sheet=SHEET % (row + b'<row r="2"><c r="A2" t="inlineStr"><is><t>%s</t></is></c></row>' % text))


ODS = """<?xml version="1.0"?><office:document-content
 xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0"
 xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0"
 xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>
 <table:table table:name="a"><table:table-row table:number-rows-repeated="1048576"><table:table-cell
 table:number-columns-repeated="16384" office:value-type="string"><text:p>x</text:p></table:table-cell>
 </table:table-row></table:table></office:spreadsheet></office:body></office:document-content>"""


def ods_that_repeats(path: Path) -> None:
    kind = b"application/vnd.oasis.opendocument.spreadsheet"
    zip_with(path, {"mimetype": kind, "content.xml": ODS.encode(), "META-INF/manifest.xml": b"<manifest/>"})


def damaged_xls(path: Path) -> None:
    head = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + random.Random(1).randbytes(4000) + "Workbook".encode("utf-16-le")
    path.write_bytes(head + random.Random(2).randbytes(60_000))


def zip_that_points_before_itself(path: Path) -> None:
    """Found by the fuzzer: the member's offset, corrected by what precedes the archive, is negative."""
    zip_with(path, {"a": b'Nom;"Date de naissance"\n'})
    content = bytearray(path.read_bytes())
    content[-6:-2] = struct.pack("<I", struct.unpack("<I", content[-6:-2])[0] + 20)
    path.write_bytes(content)


def unencrypted_directory(path: Path) -> None:
    path.write_bytes(b"PK\x03\x04" + random.Random(3).randbytes(5_000))


def findings_of(path: Path, source: Source) -> tuple[Finding, ...]:
    """What is said of a file as a whole: the one reason why it cannot be read, or what its header lacks."""
    try:
        return read(path, source, month=MONTH).findings
    except UnreadableDelivery as refused:
        return (refused.finding,)


@pytest.mark.parametrize(
    ("make", "source", "codes"),
    [
        (zip_bomb, "department_list", {"limit-exceeded"}),
        (zip_of_overlapping_members, "department_list", {"limit-exceeded", "unreadable-archive"}),
        (gzip_bomb, "department_list", {"limit-exceeded"}),
        (zips_within_zips, "department_list", {"unreadable-archive"}),
        (tar_with_links, "department_list", {"unreadable-archive"}),
        (tar_with_a_device, "department_list", {"unreadable-archive"}),
        (one_line, "department_list", {"limit-exceeded"}),
        (one_cell, "department_list", None),
        (quotes_everywhere, "department_list", None),
        (many_columns, "department_list", {"limit-exceeded"}),
        (null_bytes, "department_list", {"encoding-error"}),
        (picture_and_archive, "department_list", {"encoding-error", "unsupported-format"}),
        (archive_and_script, "department_list", {"unreadable-archive"}),
        (workbook_and_archive, "department_list", {"unreadable-archive"}),
        (header_after_header, "department_list", {"limit-exceeded"}),
        (pickled, "department_list", {"unsupported-format"}),
        (truncated_gzip, "department_list", {"truncated-file"}),
        (empty_archive, "department_list", {"empty-file"}),
        (zip_that_points_before_itself, "department_list", {"unreadable-archive"}),
        (unencrypted_directory, "department_list", {"unreadable-archive"}),
        (entities, "cnaf_vrsb0801", {"unsupported-format"}),
        (entities_far_down, "cnaf_vrsb0801", {"unsupported-format", "wrong-source"}),
        (deep_elements, "cnaf_vrsb0801", {"unsupported-format", "truncated-file", "limit-exceeded"}),
        (deep_json, "fiche_salarie", {"limit-exceeded", "unsupported-format", "truncated-file"}),
        (workbook_of_shared_strings, "department_list", {"limit-exceeded"}),
        (workbook_with_entities, "department_list", None),
        (workbook_with_a_far_cell, "department_list", {"limit-exceeded"}),
        (workbook_with_a_huge_cell, "department_list", {"limit-exceeded"}),
        (ods_that_repeats, "department_list", {"limit-exceeded", "unreadable-archive"}),
        (damaged_xls, "department_list", {"unreadable-archive", "unsupported-format"}),
    ],
)
def test_an_attack_costs_little_and_is_refused_with_a_sentence(
    registry: Registry, tmp_path: Path, make: Callable[[Path], None], source: str, codes: set[str] | None
) -> None:
    """Without codes: a file that is read as what it says, and refused for its content by whoever judges it."""
    path = tmp_path / "file"
    make(path)
    found = findings_of(path, registry.source(source))
    blocking = [one for one in found if one.severity == "blocking"]
    assert blocking
    assert codes is None or blocking[0].code in codes
    assert all(one.message.endswith(".") for one in blocking)
    usage = confining.last_usage
    assert usage is not None
    assert usage.peak_bytes <= MOST_BYTES
    assert usage.cpu_seconds <= MOST_SECONDS
    assert [left.name for left in tmp_path.iterdir()] == ["file"]


def test_an_encrypted_archive_opens_with_the_password_of_the_settings(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "fluxIAE_EtatMensuelIndiv.csv.gz"
    source = registry.source("department_list")
    with pyzipper.AESZipFile(path, "w", encryption=pyzipper.WZ_AES) as archive:
        archive.setpassword(b"un secret")
        archive.writestr("liste.csv", HEADER + b"MODELE;Camille;21/11/1980\n")
    for password in (None, "un autre"):
        with pytest.raises(UnreadableDelivery) as refused:
            read(path, source, month=MONTH, archive_password=password)
        assert refused.value.finding.code == "archive-password"
    assert read(path, source, month=MONTH, archive_password="un secret").account.accepted == 1


def test_a_reader_that_works_without_reading_is_stopped(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = os.fork()
    if pid == 0:
        allowance.start(1)
        while True:
            pass
    _, status, usage = os.wait4(pid, 0)
    assert os.WIFSIGNALED(status)
    assert usage.ru_utime + usage.ru_stime < 3


def test_a_nursery_that_died_is_replaced(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(HEADER + b"MODELE;Camille;21/11/1980\n")
    source = registry.source("department_list")
    before = read(path, source, month=MONTH)
    process = NURSERY._process
    assert process is not None
    process.kill()
    process.wait()
    assert read(path, source, month=MONTH).account == before.account


def test_threads_read_side_by_side(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    source = registry.source("department_list")
    found: dict[int, int] = {}

    def work(number: int) -> None:
        path = tmp_path / f"file-{number}"
        path.write_bytes(HEADER + b"MODELE;Camille;21/11/1980\n" * number)
        found[number] = read(path, source, month=MONTH).account.accepted

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {number: number for number in range(1, 7)}


def test_whoever_stops_taking_pieces_stops_the_reader(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(HEADER + b"MODELE;Camille;21/11/1980\n" * 400_000)
    stream = iter(pieces(path, registry.source("department_list"), month=MONTH))
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert read(path, registry.source("department_list"), month=MONTH).account.accepted == 400_000


def test_the_copy_of_a_file_is_cut_in_the_confined_process(
    registry: Registry, lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What hands a file back reads the same unknown bytes: they are not parsed beside the keys either."""
    rows = [("Notice", ""), ("Nom", "Inconnue"), ("MODELE", 12.5), ("ESSAI", dt.datetime(2026, 9, 3))]
    path = tmp_path / "file"
    with xlsxwriter.Workbook(path, {"default_date_format": "dd/mm/yyyy"}) as book:
        sheet = book.add_worksheet()
        for number, row in enumerate(rows):
            sheet.write_row(number, 0, ("Prénom", "Date de naissance", *row) if number == 1 else ("", "", *row))
    text = tmp_path / "text"
    text.write_bytes(HEADER + b'MODELE;"a;b";21/11/1980\n\n;;x\n')
    NURSERY.start()
    for reader in (spreadsheet.sheets_of, delimited.find_header):
        monkeypatch.setattr(f"{reader.__module__}.{reader.__name__}", lambda *_: pytest.fail("parsed in the parent"))
    source = registry.source("department_list")
    ((header, columns, found),) = [
        (one.header, one.columns, list(one.rows)) for one in pages(path, source, MONTH, lake)
    ]
    assert (header, columns["last_name"]) == (2, 2)
    assert [(line, cells[2:]) for line, cells in found] == [
        (1, ["Notice", ""]), (2, ["Nom", "Inconnue"]), (3, ["MODELE", 12.5]), (4, ["ESSAI", dt.date(2026, 9, 3)]),
    ]  # fmt: skip
    passed_over = [(page.file[0], page.header) for page in pages([text, path], source, MONTH, lake)]
    assert passed_over == [("1", 1), ("2", 2)]
    (found,) = [list(page.rows) for page in pages(text, source, MONTH, lake)]
    assert found[1:] == [(2, ["MODELE", "a;b", "21/11/1980"]), (4, ["", "", "x"])]
    bomb = tmp_path / "bomb"
    zip_bomb(bomb)
    assert list(pages(bomb, source, MONTH, lake)) == []


#: What would do harm where texts are pasted into SQL, into a log line, into a terminal or into a page.
INJECTIONS = (
    "'); DROP TABLE accepted; --",
    "\"; COPY (SELECT 1) TO 'PLANTED.csv'; --",
    "' OR 1=1 UNION SELECT * FROM read_csv('/etc/passwd') --",
    "$$ || current_setting('home_directory') || $$",
    "%s%n{0}{password}${jndi:ldap://PLANTED}",
    "\x1b[2J\x1b[31mPLANTED",
    "<script>PLANTED</script>",
)


@pytest.mark.parametrize("text", INJECTIONS)
def test_what_is_planted_in_names_values_and_headers_is_text_and_nothing_else(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Cells, column titles, the names of a file, of a partner and of a source: kept as they are, run nowhere."""
    monkeypatch.chdir(tmp_path)
    caplog.set_level(0)
    header = ["Mois", "Code de l'ALE", "Nom", "Prénom", "Date de naissance", "Commune de résidence", "Statut",
              "Heures du mois", text]  # fmt: skip
    path = tmp_path / (text.replace("/", "_") + "\nINFO dépôt accepté.csv")
    with path.open("w", encoding="utf-8", newline="") as file:
        rows = [["2026-09", "ALE-52011", text, f"Léa{n}", "01/02/1980", "52011", "DEDA", "12,5", text] for n in (1, 2)]
        csv.writer(file, delimiter=";", quoting=csv.QUOTE_ALL).writerows([header, *rows])
    home = tmp_path / "home"
    command = ["--home", str(home), "deliver", str(path), "--partner"]
    shown = CliRunner().invoke(app, [*command, "ale-namur"])
    assert shown.exit_code == 1, shown.output
    assert "\x1b" not in shown.output
    assert "INFO dépôt accepté" not in [line.strip() for line in shown.output.splitlines()]
    lake = Lake.open(home)
    (receipt,) = receipts(lake)
    assert (receipt.status, receipt.account.accepted, receipt.account.rejected) == ("applied", 2, 0)
    registry = load_registry(Path(__file__).parents[1] / "data_sources")
    key = content.existing_data_key(lake, registry.partner("ale-namur"), receipt.sha256)
    kept = lake.read_parquet(ParquetFile(deliveries.ensure(lake, registry, receipt) / "prestations.parquet", key))
    assert kept["nom"].to_pylist() == [text, text]
    assert not list(tmp_path.rglob("PLANTED*"))
    assert "PLANTED" not in caplog.text
    for refused in (["ale-namur", "--source", text], [text]):
        answer = CliRunner().invoke(app, [*command, *refused])
        assert answer.exit_code == 3
        assert "\x1b" not in answer.output
    told = [one.read_bytes() for one in home.rglob("*") if one.is_file() and "sealed" not in one.parts]
    assert not any(text.encode() in one for one in told), "no clear text of a delivery outside the sealed area"
