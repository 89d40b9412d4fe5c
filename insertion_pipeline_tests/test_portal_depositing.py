"""The depositor's path, over a real server on loopback: what is expected, deposit, verdict, receipt, history."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from python_calamine import CalamineWorkbook

from insertion_pipeline.ingestion.judging import judge
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.ingestion.seats import Seats
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.portal_server import Browser, Served, serving

SAMPLES = REPOSITORY / "data_sources" / "siae" / "samples"
OCTOBER = SAMPLES / "2026-10" / "siae-07" / "siae_2026-10.csv"
TITLES = (
    "Mois;SIRET;Numéro d'annexe financière;Nom de naissance;Prénom;Date de naissance;Sexe;Commune de résidence;"
    "Début du contrat;Fin prévue du contrat;Heures du mois"
)


def rows(*lines: str) -> str:
    return "\r\n".join([TITLES, *lines]) + "\r\n"


def person(number: int, hours: str = "110,5", siret: str = "10009009100016") -> str:
    return f"2026-10;{siret};;MODELE{number};Camille;21/11/1980;2;08409;01/03/2026;;{hours}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("portal") / "home", registry) as portal:
        for number in range(1, 11):
            code = f"siae-{number:02d}"
            if code in registry.partners and "siae_monthly" in registry.partner(code).sources:
                portal.person(f"{code}@exemple.fr", ("depositor", code))
        yield portal


@pytest.fixture
def marie(served: Served) -> Browser:
    return served.signed_in("siae-07@exemple.fr")


def written(folder: Path, text: str, name: str = "fichier.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_the_whole_path_from_what_is_expected_to_the_receipt(served: Served, registry: Registry) -> None:
    browser = served.browser()
    assert browser.sign_in("siae-09@exemple.fr").url.path == "/attendu"
    page = browser.get("/attendu").text
    assert "À déposer pour octobre 2026" in page
    assert "mardi 10 novembre 2026" in page  # the tenth is the contract's day, and a Tuesday
    sample = next((SAMPLES / "2026-10" / "siae-09").iterdir())
    verdict = browser.deposit(sample, partenaire="siae-09", source="siae_monthly", mois="2026-10")
    assert verdict.url.path.startswith("/depots/")
    receipt = receipts(served.portal.lake)[-1]
    assert receipt.sha256 in verdict.text
    assert "Dépôt reçu" in verdict.text
    document = browser.get(f"/depots/{receipt.sequence}/recepisse.pdf")
    assert document.content.startswith(b"%PDF-")
    assert document.content == browser.get(f"/depots/{receipt.sequence}/recepisse.pdf").content
    assert f'href="/depots/{receipt.sequence}"' in browser.get("/depots").text
    state = "Reçu, à corriger" if receipt.account.rejected else "Reçu"
    assert state in browser.get("/attendu").text


def test_the_portal_says_what_the_command_line_says(served: Served, marie: Browser, registry: Registry) -> None:
    tested = marie.deposit(OCTOBER, partenaire="siae-07", source="siae_monthly", mois="2026-10", action="tester")
    told = marie.get(f"{tested.url.path}/rapport.json").json()
    judgement = judge(OCTOBER, "siae-07", "siae_monthly", Month(2026, 10), registry, served.portal.lake)
    assert told == json.loads(json.dumps(judgement.to_json()))


def test_a_test_deposits_nothing(served: Served, marie: Browser) -> None:
    before = receipts(served.portal.lake)
    tested = marie.deposit(OCTOBER, partenaire="siae-07", mois="2026-10", action="tester")
    assert "Rien n'a été déposé" in tested.text.replace("&#39;", "'")
    assert receipts(served.portal.lake) == before


def test_what_was_tested_is_deposited_in_one_click(served: Served, tmp_path: Path) -> None:
    browser = served.signed_in("siae-10@exemple.fr")
    path = written(tmp_path, rows(person(1, siret="10009009100016"), person(2)), "essai.csv")
    tested = browser.deposit(path, action="tester", partenaire="siae-10", source="siae_monthly", mois="2026-10")
    before = len(receipts(served.portal.lake))
    address = tested.url.path
    assert f'action="{address}/deposer"' in tested.text
    deposited = browser.post(f"{address}/deposer", address)
    (receipt,) = receipts(served.portal.lake)[before:]
    assert deposited.url.path == f"/depots/{receipt.sequence}"
    assert receipt.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert browser.post(f"{address}/deposer", address).url.query == b"deja=1"
    other = served.signed_in("siae-07@exemple.fr")
    assert other.post(f"{address}/deposer", "/deposer").status_code == 404


def test_the_page_that_corrects_counts_as_the_verdict_does(served: Served, marie: Browser, tmp_path: Path) -> None:
    lines = [person(n, hours="beaucoup" if n == 4 else "12,5") for n in range(12)]
    lines[7] = lines[7].replace("MODELE7", "")  # one finding, about five columns
    verdict = marie.deposit(
        written(tmp_path, rows(*lines)), action="tester", partenaire="siae-07", source="siae_monthly", mois="2026-10"
    )
    assert ">2 constats<" in verdict.text
    corrected = marie.get(f"{verdict.url.path}/corriger").text
    assert "2 constats : les cellules sont marquées" in corrected
    assert corrected.count('aria-invalid="true"') == 5


def test_the_same_bytes_twice_give_the_same_receipt(served: Served, marie: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, rows(*(person(n) for n in range(40))))
    first = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10")
    count = len(receipts(served.portal.lake))
    second = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10")
    assert second.url.path == first.url.path
    assert "le même récépissé" in second.text
    assert len(receipts(served.portal.lake)) == count


def test_counts_agree_on_the_page_in_the_csv_and_in_the_workbook(
    served: Served, marie: Browser, tmp_path: Path
) -> None:
    lines = [person(n, hours="beaucoup" if n % 2 else "12") for n in range(300)]
    path = written(tmp_path, rows(*lines))
    tested = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10", action="tester")
    listed = marie.get(f"{tested.url.path}/rapport.csv").content.decode("utf-8-sig").splitlines()[1:]
    assert len(listed) == 150
    assert "150 constats" in tested.text
    assert "Constats 1 à 100 sur 150" in tested.text  # a cut is announced
    assert "Constats 101 à 150 sur 150" in marie.get(f"{tested.url.path}?page=2").text
    book = CalamineWorkbook.from_filelike(io.BytesIO(marie.get(f"{tested.url.path}/rapport.xlsx").content))
    findings = book.get_sheet_by_index(1).to_python(skip_empty_area=True)
    assert sum("beaucoup" in map(str, row) for row in findings) == 150


def test_a_filter_keeps_what_it_says(marie: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, rows(person(1, hours="x"), person(2, siret=""), *(person(n) for n in range(3, 20))))
    tested = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10", action="tester")
    blocking = marie.get(f"{tested.url.path}?gravite=blocking").text
    assert "SIRET" in blocking
    assert "Tous les constats, un par un</summary>" not in blocking
    assert "(1)</summary>" in blocking


def test_a_refused_file_leaves_nothing_but_the_refusal(served: Served, marie: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, "Mois;SIRET;SIRET\r\n2026-10;VALEUR-SECRETE;1\r\n", "VALEUR-SECRETE.csv")
    refused = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10")
    assert "Dépôt refusé" in refused.text
    assert refused.url.path.startswith("/verdicts/")
    receipt = receipts(served.portal.lake)[-1]
    assert receipt.status == "refused"
    assert not list((served.portal.lake.landing / "content").rglob(f"{receipt.sha256}*"))
    kept = [one.read_bytes() for one in served.portal.lake.home.rglob("*") if one.is_file()]
    assert not any(b"VALEUR-SECRETE" in one for one in kept)
    assert "Colonne" in marie.get(f"/depots/{receipt.sequence}").text  # what remains: codes, places, counts


def test_a_verdict_on_bytes_that_are_not_kept_opens_in_no_other_browser(served: Served, marie: Browser) -> None:
    tested = marie.deposit(OCTOBER, partenaire="siae-07", mois="2026-10", action="tester")
    same_person = served.signed_in("siae-07@exemple.fr")
    assert same_person.get(tested.url.path).status_code == 404
    assert marie.get(tested.url.path).status_code == 200


def test_nothing_to_declare_is_said_and_a_file_replaces_it(served: Served, tmp_path: Path) -> None:
    browser = served.signed_in("siae-10@exemple.fr")
    page = "/neant?partenaire=siae-10&source=siae_monthly&mois=2026-10"
    fields = {"partenaire": "siae-10", "source": "siae_monthly", "mois": "2026-10"}
    said = browser.post("/neant", page, fields)
    receipt = receipts(served.portal.lake)[-1]
    assert receipt.status == "nothing"
    assert "Néant" in said.text
    assert "Néant" in browser.get("/attendu").text
    path = written(tmp_path, rows(person(1, siret="10010010600010")))
    browser.deposit(path, **fields)
    assert receipts(served.portal.lake)[-1].replaces == receipt.sequence


def test_an_empty_file_is_refused(served: Served, marie: Browser, tmp_path: Path) -> None:
    refused = marie.deposit(written(tmp_path, ""), partenaire="siae-07", source="siae_monthly", mois="2026-10")
    assert "Dépôt refusé" in refused.text
    assert receipts(served.portal.lake)[-1].findings == {"empty-file": 1}


def test_a_thin_file_waits_for_a_confirmation_with_its_figures(served: Served, tmp_path: Path) -> None:
    browser = served.signed_in("siae-10@exemple.fr")
    fields = {"partenaire": "siae-10", "source": "siae_monthly", "mois": "2026-08"}
    many = rows(*(person(n, siret="10010010600010") for n in range(60))).replace("2026-10", "2026-08")
    browser.deposit(written(tmp_path, many), **fields)
    few = rows(*(person(n, siret="10010010600010") for n in range(20))).replace("2026-10", "2026-09")
    held = browser.deposit(written(tmp_path, few), **(fields | {"mois": "2026-09"}))
    assert "attend votre confirmation" in held.text
    assert "Ce fichier a 20 lignes, contre 60 pour août 2026" in held.text
    number = int(held.url.path.rsplit("/", 1)[1])
    assert receipts(served.portal.lake)[-1].status == "held"
    confirmed = browser.post(f"/depots/{number}/confirmer", f"/depots/{number}")
    assert receipts(served.portal.lake)[-1].confirms == number
    assert "Pris en compte" in confirmed.text


def test_the_template_of_next_month_holds_last_months_rows_without_their_hours(served: Served) -> None:
    browser = served.signed_in("siae-09@exemple.fr")
    sample = next((SAMPLES / "2026-09" / "siae-09").iterdir())
    browser.deposit(sample, partenaire="siae-09", source="siae_monthly", mois="2026-09")
    body = browser.get("/modeles/siae_monthly.xlsx?partenaire=siae-09&mois=2026-10").content
    table = CalamineWorkbook.from_filelike(io.BytesIO(body)).get_sheet_by_name("Salariés").to_python()
    titles, filled = table[0], [row for row in table[1:] if any(row)]
    receipt = [one for one in receipts(served.portal.lake) if one.partner == "siae-09" and str(one.month) == "2026-09"]
    assert len(filled) == receipt[-1].rows["salaries"]
    assert {row[titles.index("Mois")] for row in filled} == {"2026-10"}
    assert {row[titles.index("Heures du mois")] for row in filled} == {""}
    assert all(row[titles.index("Nom de naissance")] for row in filled)
    assert browser.get("/modeles/siae_monthly.xlsx?partenaire=siae-07&mois=2026-10").status_code == 404


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path: Path, registry: Registry) -> None:
    with serving(tmp_path / "home", registry, upload_bytes=1000) as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"))
        browser = portal.signed_in("a@exemple.fr")
        answer = browser.deposit(written(tmp_path, "x" * 2000), partenaire="siae-07", mois="2026-10")
        assert answer.status_code == 422
        assert "Le dépôt dépasse" in answer.text
        enormous = browser.deposit(written(tmp_path, "x" * 3_200_000), partenaire="siae-07", mois="2026-10")
        assert enormous.status_code == 413
        assert "trop volumineux" in enormous.text
        assert receipts(portal.portal.lake) == ()


def test_an_archive_that_swells_is_refused_before_it_is_unpacked(marie: Browser, tmp_path: Path) -> None:
    path = tmp_path / "bombe.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.csv", b"0" * (60 << 20))
    refused = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10", action="tester")
    assert marie.get(f"{refused.url.path}/rapport.json").json()["findings"][0]["code"] == "limit-exceeded"


@pytest.mark.parametrize("name", ["../../etc/passwd", "..\\..\\x.csv", "a\0b.csv", "-rf.csv", "é" * 300 + ".csv", "."])
def test_a_name_never_becomes_a_path(served: Served, marie: Browser, name: str) -> None:
    fields = {"partenaire": "siae-07", "source": "siae_monthly", "mois": "2026-10", "action": "tester"}
    tested = marie.post("/deposer", "/deposer", fields, fichier=(name, rows(person(1)).encode()))
    assert tested.status_code == 200
    assert marie.get(f"{tested.url.path}/rapport.json").json()["accepted"] == 1
    outside = [one for one in served.portal.lake.home.parent.rglob("*") if "passwd" in one.name or "x.csv" in one.name]
    assert outside == []


def test_an_archive_with_a_link_or_a_path_out_of_it_is_refused(served: Served, marie: Browser, tmp_path: Path) -> None:
    link = zipfile.ZipInfo("lien.csv")
    link.external_attr = 0o120777 << 16
    for name, entry in (("lien.zip", link), ("dehors.zip", zipfile.ZipInfo("../../dehors.csv"))):
        path = tmp_path / name
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr(entry, rows(person(1)))
        fields = {"partenaire": "siae-07", "source": "siae_monthly", "mois": "2026-10", "action": "tester"}
        answer = marie.get(f"{marie.deposit(path, **fields).url.path}/rapport.json").json()
        assert answer["verdict"] == 3, name
    assert list(served.portal.lake.home.parent.rglob("dehors*")) == []


def test_nothing_that_was_uploaded_is_served(served: Served, marie: Browser) -> None:
    for path in ("/static/../portal/app.py", "/static/%2e%2e/app.py", "/landing/receipts/00000001.json", "/outbox/"):
        assert marie.get(path).status_code == 404, path


def test_a_download_has_a_name_of_ours(marie: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, rows(person(1, hours="x")), 'nom"; filename="mal.exe.csv')
    tested = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10", action="tester")
    for kind in ("csv", "xlsx", "json"):
        header = marie.get(f"{tested.url.path}/rapport.{kind}").headers["content-disposition"]
        assert header == f'attachment; filename="rapport-2026-10.{kind}"'
    assert marie.get(f"{tested.url.path}/rapport.exe").status_code == 404


def test_no_formula_comes_back_in_a_report(marie: Browser, tmp_path: Path) -> None:
    path = written(tmp_path, rows(person(1, hours="=1+1"), person(2, hours="-3"), person(3, hours="@x")))
    tested = marie.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10", action="tester")
    listed = marie.get(f"{tested.url.path}/rapport.csv").content.decode("utf-8-sig")
    assert ";'=1+1;" in listed
    assert ";-3;" in listed
    assert ";'@x;" in listed
    with zipfile.ZipFile(io.BytesIO(marie.get(f"{tested.url.path}/rapport.xlsx").content)) as book:
        assert not [name for name in book.namelist() if b"<f>" in book.read(name)]


def test_a_page_holds_fifty_rows_with_the_words_that_people_use(marie: Browser) -> None:
    address = "/saisir?partenaire=siae-07&source=siae_monthly&mois=2026-04"
    page = marie.get(address).text
    assert '<option value="HOMME">' in page
    fields = {"partenaire": "siae-07", "source": "siae_monthly", "mois": "2026-04", "action": "coller:salaries"}
    line = "2026-04\t10009009100016"
    pasted = marie.post("/saisir", address, fields | {"coller.salaries": "\n".join([line] * 50)})
    assert pasted.text.count('value="10009009100016"') == 50
    refused = marie.post("/saisir", address, fields | {"coller.salaries": "\n".join([line] * 51)})
    assert refused.status_code == 422
    assert "Une page tient 50 lignes" in refused.text


# -- seats ------------------------------------------------------------------------------------------------------------


def test_a_seat_is_used_again_unless_something_failed_in_it(tmp_path: Path) -> None:
    seats = Seats(Lake.open(tmp_path / "home"), count=1)
    with seats.taken() as first:
        pass
    with pytest.raises(ZeroDivisionError), seats.taken() as second:
        raise ZeroDivisionError
    with seats.taken() as third:
        assert third.run("SELECT 1 AS one").to_pylist() == [{"one": 1}]
    assert first is second
    assert third is not second
    seats.close()


def test_whoever_comes_next_waits_for_a_seat(tmp_path: Path) -> None:
    seats, order = Seats(Lake.open(tmp_path / "home"), count=1), []

    def sit() -> None:
        with seats.taken():
            order.append("second")

    with seats.taken():
        waiting = threading.Thread(target=sit)
        waiting.start()
        order.append("first")
    waiting.join()
    assert order == ["first", "second"]
    seats.close()
