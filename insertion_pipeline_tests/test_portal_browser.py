"""A real browser on a real server: every page accessible, by keyboard, without JavaScript, and from nowhere else."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.conftest import absent
from insertion_pipeline_tests.portal_server import PASSWORD, Served, serving
from insertion_pipeline_tests.test_portal_depositing import person, rows

CHROMIUM = Path("/usr/bin/chromium")
WIDTHS = (1280, 390)
PATIENCE_MILLISECONDS = 300_000


@pytest.fixture(scope="module")
def chromium() -> Iterator[object]:
    if not CHROMIUM.exists():
        absent("browser", "no Chromium at /usr/bin/chromium")
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("browser") / "home", registry) as portal:
        portal.person("marie@exemple.fr", ("depositor", "siae-07"), ("analyst", ""))
        portal.person("anne@exemple.fr", ("animator", "FR"), ("administrator", ""), ("reviewer", ""))
        yield portal


@pytest.fixture(scope="module")
def octobre(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two dozen rows, some of them wrong."""
    path = tmp_path_factory.mktemp("files") / "octobre.csv"
    path.write_text(rows(*(person(n, hours="beaucoup" if n % 9 == 0 else "12,5") for n in range(24))))
    return path


def visiting(browser: object, served: Served, **options: object) -> object:
    """A context of its own, as patient as a machine that does other things too asks for."""
    context = browser.new_context(locale="fr-FR", base_url=served.address, **options)
    context.set_default_timeout(PATIENCE_MILLISECONDS)
    return context


def signed_in(browser: object, served: Served, email: str, **options: object) -> object:
    """A page of somebody."""
    context = visiting(browser, served, **options)
    secret = served.signed_in(email).client.cookies["session"]
    context.add_cookies([{"name": "session", "value": secret, "url": served.address}])
    return context.new_page()


def test_every_page_is_accessible_fits_both_widths_and_asks_for_nothing_outside(
    chromium: object, served: Served, octobre: Path
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    browser = served.signed_in("marie@exemple.fr")
    fields = {"partenaire": "siae-07", "source": "siae_monthly", "mois": "2026-10"}
    deposit = browser.deposit(octobre, **fields).url.path
    few = octobre.with_name("novembre.csv")
    few.write_text(rows(*(person(n) for n in range(10))).replace("2026-10", "2026-11"))
    held = browser.deposit(few, **(fields | {"mois": "2026-11"})).url.path
    page = signed_in(chromium, served, "marie@exemple.fr")
    outside: list[str] = []
    problems: list[str] = []
    page.on("request", lambda one: outside.append(one.url) if not one.url.startswith(served.address) else None)
    page.on("console", lambda one: problems.append(one.text) if "Content Security Policy" in one.text else None)
    anne = signed_in(chromium, served, "anne@exemple.fr")
    visitor = visiting(chromium, served).new_page()
    axe, found = Axe(), {}
    for who, paths in (
        (visitor, ("/connexion", "/mot-de-passe-oublie")),
        (page, (
            "/attendu", "/deposer?source=siae_monthly", deposit, held, f"{deposit}/corriger", "/depots", "/chiffres",
            "/neant?source=siae_monthly&mois=2026-09", "/saisir?source=siae_monthly&mois=2026-08", "/formats",
            "/formats/siae_monthly", "/publications", "/compte", "/compte/second-facteur", "/nulle-part",
        )),
        (anne, ("/tableau", "/tableau/siae-07?mois=2026-10", "/comptes", "/journal", "/revue")),
    ):  # fmt: skip
        for path in paths:
            who.set_viewport_size({"width": WIDTHS[0], "height": 900})
            who.goto(path)
            results = axe.run(who, options={"preload": False, "resultTypes": ["violations"]})
            if results.violations_count:
                found[path] = [one["id"] for one in results.response["violations"]]
            assert who.locator("h1").count() == 1, path
            for width in WIDTHS:
                who.set_viewport_size({"width": width, "height": 900})
                assert who.evaluate("document.documentElement.scrollWidth") <= width, (path, width)
    assert found == {}
    assert outside == []
    assert problems == []


def test_a_file_is_tested_then_deposited_with_the_keyboard_alone(
    chromium: object, served: Served, tmp_path: Path
) -> None:
    page = visiting(chromium, served).new_page()

    def press_until(selector: str) -> None:
        for _ in range(40):
            page.keyboard.press("Tab")
            if page.locator(f"{selector}:focus").count():
                return
        raise AssertionError(f"{selector} is out of reach of the keyboard")

    page.goto("/")
    press_until("#email")
    page.keyboard.type("marie@exemple.fr")
    press_until("#mot_de_passe")
    page.keyboard.type(PASSWORD)
    page.keyboard.press("Enter")
    page.wait_for_url("**/attendu")
    page.goto("/deposer?source=siae_monthly&mois=2026-07")
    path = tmp_path / "juillet.csv"
    path.write_text(rows(*(person(n) for n in range(30))).replace("2026-10", "2026-07"))
    press_until("#fichier")
    page.set_input_files("#fichier", str(path))  # the system's own dialog, which no test can see
    press_until("button[value=deposer]")
    page.keyboard.press("Enter")
    page.wait_for_url("**/depots/*")
    assert "Dépôt reçu" in page.locator("h1").inner_text()
    assert receipts(served.portal.lake)[-1].status in ("applied", "held")


def test_the_whole_path_works_without_javascript(chromium: object, served: Served, tmp_path: Path) -> None:
    page = signed_in(chromium, served, "marie@exemple.fr", java_script_enabled=False)
    path = tmp_path / "juin.csv"
    path.write_text(rows(*(person(n, hours="x" if n == 3 else "7") for n in range(12))).replace("2026-10", "2026-06"))
    page.goto("/deposer?source=siae_monthly&mois=2026-06")
    page.set_input_files("#fichier", str(path))
    page.click("button[value=tester]")
    assert "Test" in page.locator("h1").inner_text()
    page.click("text=Corriger à l'écran")
    headings = page.locator("thead th").all_inner_texts()
    assert headings[1].startswith("Heures du mois"), "what is marked comes first"
    cell = page.locator("[aria-describedby]").first
    assert cell.input_value() == "x"
    cell.fill("7,5")
    page.click("button[value=deposer]")
    assert "Dépôt reçu" in page.locator("h1").inner_text()
    receipt = receipts(served.portal.lake)[-1]
    assert (receipt.account.accepted, dict(receipt.findings)) == (12, {})


def test_rows_pasted_from_a_spreadsheet_are_an_ordinary_delivery(chromium: object, served: Served) -> None:
    page = signed_in(chromium, served, "marie@exemple.fr")
    page.goto("/saisir?source=siae_monthly&mois=2026-05")
    page.click("summary:has-text('Coller')")
    titles = "Mois\tSIRET\tNom de naissance\tPrénom\tDate de naissance\tHeures du mois"
    pasted = "2026-05\t10009009100016\tMODELE\tCamille\t21/11/1980\t12,5"
    page.locator("textarea").fill(f"{titles}\n{pasted}\n{pasted.replace('Camille', 'Dominique')}")
    page.click("text=Ajouter ces lignes")
    assert page.locator("input[value=Dominique]").count() == 1
    page.click("button[value=deposer]")
    page.wait_for_url("**/depots/*")
    assert receipts(served.portal.lake)[-1].rows == {"salaries": 2}
