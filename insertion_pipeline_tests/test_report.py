"""The report as a browser shows it, and as somebody without script, without mouse or without eyes reads it."""

from __future__ import annotations

import functools
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from insertion_pipeline.disclosure import protect
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.publication.releasing import Inputs, Release, release
from insertion_pipeline.publication.report import maps, views, words
from insertion_pipeline.registry import Indicator, Registry
from insertion_pipeline_tests.conftest import absent
from insertion_pipeline_tests.protected_values import values_of

MONTHS = ("2025-10", "2026-09", "2026-10")
PLACES = {
    "FR": {"FR-REG-44": {"FR-DEP-08": 600, "FR-DEP-52": 400}},
    "BE": {"BE-REG-03000": {"BE-PRV-50000": 300, "BE-PRV-90000": 200}},
}
PAGES = ("index.html", "carte.html", "couverture.html", "revisions.html", "qualite.html", "dictionnaire.html",
         "fichiers.html", "territoires/FR-DEP-52.html", "territoires/BE.html")  # fmt: skip
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def places(country: str) -> Iterator[tuple[str, str, int]]:
    """Every place of a country: code, level, number of persons. Each is the sum of those inside it."""
    for region, inside in PLACES[country].items():
        whole = sum(inside.values())
        yield country, "country", whole
        yield region, "region", whole
        for code, persons in inside.items():
            yield code, "department" if country == "FR" else "province", persons


def rows_of(one: Indicator, rank: int) -> Iterator[dict[str, Any]]:
    for country in one.countries:
        for code, level, persons in places(country):
            if level not in one.levels:
                continue
            for step, month in enumerate(MONTHS):
                whole = float(persons * (20 + step + rank % 7))
                is_ratio = one.kind == "ratio"
                numerator = whole / (2, 4, 5)[rank % 3] if is_ratio else whole
                part = numerator / whole * (100 if one.unit == "%" else 1) if is_ratio else numerator
                yield {
                    "month": month, "country": country, "territory_level": level, "territory_code": code,
                    "axis": one.axis, "indicator_code": one.code, "breakdown": "total", "modality": "TOTAL",
                    "numerator": numerator, "denominator": whole if is_ratio else None, "value": part,
                    "unit": one.unit, "counted_unit": one.counted_unit, "kind": one.kind, "status": "published",
                    "coverage": 1.0, "n_units_expected": 4, "n_units_received": 4, "n_partners_expected": 2,
                    "n_partners_received": 2, "as_of": MONTHS[-1], "maturity": "provisoire",
                    "contributors": int(whole),
                }  # fmt: skip


@pytest.fixture(scope="module")
def published(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Release:
    """Every count and rate of persons of the real catalogue, and one of them by families of actors."""
    chosen = [
        one for one in registry.indicators.values()
        if one.kind in ("count", "ratio") and one.counted_unit == "persons" and one.unit in ("persons", "%")
        and one.code.startswith(("reseau_p", "rsa_b", "ale_tr", "emploi_part"))
    ]  # fmt: skip
    rows = [row for rank, one in enumerate(chosen) for row in rows_of(one, rank)]
    cut = registry.breakdowns["families_accompanying"].modalities
    for row in [row for row in rows if row["indicator_code"] == "reseau_personnes_accompagnees"]:
        counts = [row["numerator"] - 4 * 50.0, 50.0, 50.0, 50.0, 50.0]
        for modality, count in zip(cut, counts, strict=False):
            rows.append(row | {"breakdown": "families_accompanying", "modality": modality, "numerator": count,
                               "value": count, "contributors": int(count)})  # fmt: skip
    inputs = Inputs(tuple(map(Month.parse, MONTHS)), {"2026-10": ["one"]}, "a digest")
    lake = Lake.open(tmp_path_factory.mktemp("home"))
    return release(lake, registry, inputs, protect(values_of(rows), registry))


@pytest.fixture(scope="module")
def report(published: Release) -> Path:
    return published.folder / "report"


# -- without a browser -------------------------------------------------------------------------------------------------


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.links: list[str] = []
        self.identifiers: list[str] = []
        self.headings: list[str] = []
        self.styled: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.headings += [tag] if tag in ("h1", "main") else []
        for name, text in attrs:
            if name in ("href", "src") and text:
                self.links.append(text)
            if name == "id" and text:
                self.identifiers.append(text)
            if name == "style" or name.startswith("on"):
                self.styled.append(f"{tag} {name}")


@functools.cache
def read(path: Path) -> _Reader:
    page = _Reader()
    page.feed(path.read_text(encoding="utf-8"))
    return page


def test_the_calendar_says_until_which_publication_each_month_may_be_revised(report: Path) -> None:
    page = (report / "revisions.html").read_text(encoding="utf-8")
    for month, until in (
        ("Octobre 2026", "ouvertes jusqu'à la publication de mars 2027"),
        ("Septembre 2026", "ouvertes jusqu'à la publication de février 2027"),
        ("Octobre 2025", "closes, sauf correction annoncée"),
    ):
        assert f'<th scope="row">{month}</th><td>{until}</td>' in page


def test_every_page_needs_nothing_from_outside_and_its_links_lead_somewhere(report: Path) -> None:
    every = sorted(report.rglob("*.html"))
    assert {path.relative_to(report).as_posix() for path in every} >= set(PAGES)
    for path in every:
        page = read(path)
        assert page.headings == ["main", "h1"], path.name
        assert len(page.identifiers) == len(set(page.identifiers))
        assert page.styled == []
        for link in page.links:
            assert not link.startswith(("http", "//"))
            place, _, anchor = link.partition("#")
            if not link.startswith("data:"):
                target = (path.parent / place).resolve() if place else path
                assert target.is_file(), link
                assert not anchor or anchor in read(target).identifiers, link


def test_a_territory_opens_on_the_ten_views_with_terms_coverage_and_what_may_be_concluded(
    report: Path, registry: Registry
) -> None:
    text = (report / "territoires" / "FR-DEP-52.html").read_text(encoding="utf-8")
    found = views.load(registry)
    assert [one.code for one in found] == [
        "acteurs", "attente", "sans_accompagnement", "ruptures", "passages", "vivier", "apres", "freins", "ale",
        "fiabilite",
    ]  # fmt: skip
    for one in found:
        section = text[text.index(f'aria-labelledby="{one.code}"') :].partition("</section>")[0]
        assert all(words_said in section for words_said in ("On peut", "On ne peut pas", "Erreur possible"))
    first = text[text.index('aria-labelledby="acteurs"') :].partition("</section>")[0]
    assert re.search(r"Part des personnes connues qui sont accompagnées</a></th>\s*<td[^>]*>(50|25|20),0", first)
    assert "Un an avant" in first


def test_every_code_of_a_view_is_in_the_catalogue_or_a_pattern(registry: Registry) -> None:
    for view in views.load(registry):
        exact = [code for code in view.indicators if "*" not in code]
        assert [code for code in exact if code not in registry.indicators] == [], view.code
        for cut in view.charts:
            assert cut.breakdown in registry.indicators[cut.indicator].breakdowns, cut


def numbers_in(text: str) -> set[float]:
    """The numbers that a page shows in figures, tables, legends and charts."""
    body = re.sub(r"<(script|style)[^>]*>.*?</\1>", "", text, flags=re.DOTALL)
    cells = re.findall(r'<(?:td class="number[^"]*"|span class="figure")>(.*?)</(?:td|span)>', body, re.DOTALL)
    cells += re.findall(r'<span class="swatch q\d"></span>(.*?)</li>', body)
    plain = [re.sub(r"<[^>]+>", " ", cell) for cell in cells]
    shown = {
        float(one.replace("\u202f", "").replace(",", "."))
        for cell in plain
        for one in re.findall(r"\d[\d\u202f]*(?:,\d+)?", cell)
    }
    for attribute in ("bars", "lines", "layers"):
        for found in re.findall(rf'data-{attribute}="([^"]*)"', body):
            shown |= set(_numbers(json.loads(found.replace("&#34;", '"').replace("&#39;", "'").replace("&amp;", "&"))))
    return shown


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        yield from (number for one in value.values() for number in _numbers(one))
    elif isinstance(value, list):
        yield from (number for one in value for number in _numbers(one))
    elif isinstance(value, (int, float)):
        yield float(value)


def test_no_page_shows_a_number_that_is_not_in_the_release(published: Release, report: Path) -> None:
    known: set[float] = {0.0, 1.0, 100.0}  # nothing, and full coverage
    for row in published.table("indicator_values").to_pylist():
        known |= {round(row[name], 1) for name in ("numerator", "denominator", "value") if row[name] is not None}
    known |= {float(count) for count in published.manifest["certificate"]["statuses"].values()}
    known |= {float(table["rows"]) for table in published.manifest["tables"].values()}
    by_maturity = published.table("indicator_values").group_by(["month", "maturity"]).aggregate([([], "count_all")])
    known |= set(map(float, by_maturity["count_all"].to_pylist()))
    for path in sorted(report.rglob("*.html")):
        shown = numbers_in(path.read_text(encoding="utf-8"))
        assert {round(one, 1) for one in shown} <= known, path.name
    assert len(numbers_in((report / "index.html").read_text(encoding="utf-8"))) > 15


def test_classes_of_the_map_are_bounded_by_values_of_the_release() -> None:
    found = maps.classes([5.0, 1.0, 3.0, 2.0, 4.0, 9.0, 7.0])
    assert {limit for one in found for limit in one} <= {1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 9.0}
    assert [maps.class_of(value, found) for value in (1.0, 9.0)] == [0, len(found) - 1]
    assert all(
        found[maps.class_of(value, found)][0] <= value <= found[maps.class_of(value, found)][1]
        for value in (2.0, 4.0, 7.0)
    )
    assert maps.classes([]) == []


def test_the_map_has_every_department_and_walloon_province(registry: Registry) -> None:
    drawn = {one.code for one in maps.Outlines.read(registry).territories}
    wanted = {
        row["code"] for row in registry.nomenclature("territories").records()
        if row["level"] in ("department", "province") and not row["code"].endswith(("INCONNU", "HORS"))
    }  # fmt: skip
    assert wanted - drawn <= {"FR-DEP-975", "FR-DEP-977", "FR-DEP-978"}
    assert drawn <= wanted


def test_numbers_are_written_as_french_readers_write_them() -> None:
    assert (words.number(12345.0), words.number(72.0, "%"), words.number(None)) == ("12\u202f345", "72,0", "")
    assert words.month_of("2026-08") == "août 2026"


# -- in a browser ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        absent("browser", "no Chromium on this machine")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.mark.parametrize(("width", "names"), [(1280, PAGES), (390, PAGES[:2])])
def test_pages_render_without_error_request_overflow_or_accessibility_fault(
    report: Path, browser: Any, width: int, names: tuple[str, ...]
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = browser.new_page(viewport={"width": width, "height": 900})
    said: list[str] = []
    asked: list[str] = []
    page.on("console", lambda message: said.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    for name in names:
        page.goto((report / name).as_uri())
        page.evaluate("scrollTo(0, document.documentElement.scrollHeight)")
        assert page.evaluate("document.documentElement.scrollWidth") <= width, name
        faults = Axe().run(page, options={"preload": False, "resultTypes": ["violations"]}).response["violations"]
        assert [(fault["id"], fault["nodes"][0]["html"]) for fault in faults] == [], name
    page.close()
    assert said == []
    assert [url for url in asked if not url.startswith(("file:", "data:"))] == []


def test_charts_are_drawn_the_map_follows_its_choice_and_the_dictionary_is_searched_by_keyboard(
    report: Path, browser: Any
) -> None:
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.goto((report / "index.html").as_uri())
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.locator(".plot").first.scroll_into_view_if_needed()
    page.locator(".plot canvas").first.wait_for()
    page.goto((report / "carte.html").as_uri())
    before = page.inner_text("#layer-values")
    page.select_option("#layer", index=1)
    assert page.inner_text("#layer-title").startswith(page.locator("#layer option").nth(1).inner_text())
    assert page.inner_text("#layer-values") != before
    page.goto((report / "dictionnaire.html").as_uri())
    page.focus("#search")
    page.keyboard.type("beneficiaires RSA non trouves")
    visible = page.locator(".entry:visible summary").all_inner_texts()
    assert "Bénéficiaires du RSA non trouvés au service public de l'emploi" in visible
    assert len(visible) <= 6
    page.close()


def test_every_value_can_be_read_without_script(report: Path, browser: Any) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto((report / "index.html").as_uri())
    assert page.locator(".plot:visible").count() == 0
    page.locator("summary", has_text="Les valeurs").first.click()
    assert page.locator(".chart details[open] td.number").first.is_visible()
    context.close()
