"""The drift watch: a month beside the partner's own earlier ones, judged by great-expectations, without any value."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import lxml.html
import pytest
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.ingestion import drift
from insertion_pipeline.ingestion.drift_pages import write_pages
from insertion_pipeline.ingestion.landing import declare_nothing, deliver
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.conftest import absent

CHROMIUM = Path("/usr/bin/chromium")
AUGUST, SEPTEMBER, OCTOBER = Month(2026, 8), Month(2026, 9), Month(2026, 10)
HEADER = "Identifiant dans le SI*;Prénom*;Nom*;Date de naissance*;NIR;Droits RSA;Niveau de formation;Email"


def listing(path: Path, rows: int, line: Callable[[int], str]) -> Path:
    path.write_text("\n".join([HEADER, *(line(number) for number in range(rows)), ""]), encoding="utf-8")
    return path


def ordinary(number: int) -> str:
    state = "rsa_clos" if number % 4 == 0 else "rsa_droit_ouvert_versable"
    return f"{number};Camille;MODELE{number};01/02/1980;;{state};NV5;camille{number}@exemple.fr"


@pytest.fixture
def send(tmp_path: Path, registry: Registry, lake: Lake) -> Callable[..., None]:
    def sent(month: Month, rows: int = 60, line: Callable[[int], str] = ordinary, partner: str = "dep-52") -> None:
        path = listing(tmp_path / f"{partner}-{month}.csv", rows, line)
        receipt = deliver(path, partner, "department_list", month, registry, lake).receipt
        assert receipt.status in ("applied", "held")

    return sent


def told(lake: Lake, registry: Registry, month: Month = OCTOBER) -> list[tuple[str, str, str]]:
    (report,) = drift.judge_drift(lake, registry, registry.source("department_list"), [month])
    assert report.passed == (not report.drifts)
    return [(one.partner, one.field, one.measure) for one in report.drifts]


def test_a_month_like_the_one_before_is_ordinary(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    send(SEPTEMBER)
    send(OCTOBER, rows=66)
    assert told(lake, registry) == []


def test_volumes_are_asked_about_both_ways(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    send(SEPTEMBER)
    send(OCTOBER, rows=130)
    assert told(lake, registry) == [("dep-52", "", "rows")]


def test_a_partner_is_compared_with_itself(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    """Together the two departments deliver as much as before: each of them is asked."""
    for partner, before, now in (("dep-52", 60, 150), ("dep-08", 150, 110)):
        send(SEPTEMBER, rows=before, partner=partner)
        send(OCTOBER, rows=now, partner=partner)
    assert told(lake, registry) == [("dep-52", "", "rows")]


def test_emptied_columns_moved_codes_and_new_codes_are_named_by_field(
    send: Callable[..., None], registry: Registry, lake: Lake
) -> None:
    send(AUGUST)
    send(SEPTEMBER)
    send(OCTOBER, line=lambda number: f"{number};Camille;MODELE{number};01/02/1980;;rsa_refuse;NV5;")
    assert sorted(told(lake, registry)) == [
        ("dep-52", "email", "empty_share_change"),
        ("dep-52", "rsa_rights", "code_share_shift"),
        ("dep-52", "rsa_rights", "new_code_share"),
    ]


def test_a_code_seen_months_ago_is_not_new(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    send(AUGUST, line=lambda number: ordinary(number).replace("rsa_clos", "rsa_refuse"))
    send(SEPTEMBER)
    send(OCTOBER, line=lambda number: ordinary(number).replace("rsa_clos", "rsa_refuse"))
    assert "new_code_share" not in {measure for _, _, measure in told(lake, registry)}


def test_few_rows_are_judged_by_their_number_alone(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    send(SEPTEMBER, rows=12)
    send(OCTOBER, rows=12, line=lambda number: f"{number};Camille;MODELE;;;rsa_refuse;;")
    assert told(lake, registry) == []


def test_nothing_to_declare_is_no_drift(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    send(SEPTEMBER)
    declare_nothing("dep-52", "department_list", OCTOBER, registry, lake)
    assert told(lake, registry) == []


def test_the_answer_follows_the_deliveries(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    send(SEPTEMBER)
    send(OCTOBER, rows=130)
    assert told(lake, registry) == [("dep-52", "", "rows")]
    send(OCTOBER, rows=62)
    assert told(lake, registry) == []


def test_great_expectations_sees_no_value(send: Callable[..., None], registry: Registry, lake: Lake) -> None:
    send(SEPTEMBER)
    send(OCTOBER)
    compared = drift.compare(lake, registry, [OCTOBER])
    assert {field.name for field in compared.schema if str(field.type) == "string"} == set(drift.PLACE)
    text = str(compared.to_pylist())
    assert "MODELE" not in text
    assert "rsa_clos" not in text


def test_profiles_lie_under_the_key_of_their_delivery(
    send: Callable[..., None], registry: Registry, lake: Lake
) -> None:
    send(SEPTEMBER)
    drift.compare(lake, registry, [SEPTEMBER])
    (path,) = (lake.sealed / "conformed").rglob("profile-*.parquet")
    assert b"rsa_clos" not in path.read_bytes()
    assert path.read_bytes()[:4] == b"PARE", "an encrypted footer"


# -- pages -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def pages(send: Callable[..., None], registry: Registry, lake: Lake, tmp_path: Path) -> Path:
    send(SEPTEMBER)
    send(OCTOBER, line=lambda number: f"{number};Camille;MODELE{number};01/02/1980;;rsa_refuse;NV5;")
    write_pages(lake, registry, [SEPTEMBER, OCTOBER], tmp_path / "pages")
    return tmp_path / "pages"


def test_the_pages_ask_nobody_for_anything_and_hold_no_value(pages: Path) -> None:
    assert {path.name for path in pages.iterdir()} == {"index.html", "2026-09.html", "2026-10.html"}
    for path in pages.iterdir():
        root = lxml.html.fromstring(path.read_bytes())
        assert root.get("lang") == "en"
        assert not root.xpath("//script | //link | //img | //iframe | //form | //@src | //@style | //@onclick")
        assert all("//" not in address for address in root.xpath("//@href"))
        assert "default-src 'none'" in root.xpath("//meta/@content")[0]
        for value in ("MODELE", "Camille", "rsa_refuse", "exemple.fr"):
            assert value not in root.text_content()
    october = lxml.html.fromstring((pages / "2026-10.html").read_bytes()).text_content()
    assert "code_share_shift" in october
    assert "does not hold" in october


def test_a_browser_opens_the_pages_without_a_request(pages: Path) -> None:
    if not CHROMIUM.exists():
        absent("browser", "Chromium is absent")
    from playwright.sync_api import sync_playwright

    asked: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=str(CHROMIUM), args=["--no-sandbox"])
        page = browser.new_page()
        page.on("request", lambda request: asked.append(request.url))
        page.on("console", lambda message: asked.append(message.text))
        page.goto((pages / "2026-10.html").as_uri())
        assert page.locator("h1, strong").first.is_visible()
        assert page.evaluate("document.styleSheets.length") == 1
        browser.close()
    assert asked == [(pages / "2026-10.html").as_uri()]


def test_the_command_names_fields_and_exits_with_findings(
    send: Callable[..., None], lake: Lake, tmp_path: Path
) -> None:
    send(SEPTEMBER)
    send(OCTOBER, rows=130)
    runner = CliRunner()
    done = runner.invoke(app, ["--home", str(lake.home), "--json", "drift", "--months", "2026-09..2026-10"])
    assert done.exit_code == 1, done.output
    (question,) = json.loads(done.stdout)["questions"]
    assert question == {"month": "2026-10", "source": "department_list", "partner": "dep-52", "table": "beneficiaires",
                        "field": "", "measure": "rows", "message": "plus de lignes"}  # fmt: skip
    assert runner.invoke(app, ["--home", str(lake.home), "drift", "--months", "octobre"]).exit_code == 4
