"""What analysts, reviewers and translators find: releases, early readers, « Mes chiffres », pairs, words."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from babel.messages.pofile import read_po

from insertion_pipeline.identity import reviewing, scoring
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import sha256_of, write_json
from insertion_pipeline.portal import audit, languages, messages
from insertion_pipeline.portal.pages import reviewer
from insertion_pipeline.publication import approving, releasing
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.portal_server import Served, serving
from insertion_pipeline_tests.reviewed_home import Home
from insertion_pipeline_tests.test_portal_depositing import OCTOBER

EARLY, PUBLIC, CANDIDATE = "2026-10-aaaaaaaaaaaa", "2026-10-bbbbbbbbbbbb", "2026-10-cccccccccccc"


def release(served: Served, name: str) -> releasing.Release:
    """A release of two months, as far as the portal looks at one."""
    folder = served.portal.lake.releases / name
    (folder / "parquet").mkdir(parents=True)
    (folder / "report").mkdir()
    (folder / "report" / "index.html").write_text("<!doctype html><title>Rapport</title><h1>Rapport</h1>")
    names = ("month", "territory_code", "indicator_code", "breakdown", "value", "unit", "status")
    rows = [
        ("2026-10", "FR-DEP-59", "siae_salaries", "total", 412.0, "persons", "published"),
        ("2026-10", "FR-DEP-08", "siae_salaries", "total", 77.0, "persons", "published"),
        ("2026-10", "FR-DEP-59", "siae_salaries", "sex", 205.0, "persons", "published"),
    ]
    table = pa.table({name: [row[rank] for row in rows] for rank, name in enumerate(names)})
    pq.write_table(table, folder / "parquet" / "indicator_values.parquet")
    (receipt,) = receipts(served.portal.lake)
    told = f"{receipt.source} {receipt.partner} {receipt.month} {receipt.sha256}"
    files = {
        path.relative_to(folder).as_posix(): sha256_of(path) for path in sorted(folder.rglob("*")) if path.is_file()
    }
    manifest = {
        "release_id": name,
        "inputs": {"months": ["2026-09", "2026-10"], "deliveries": {"2026-10": [told]}},
        "files": files,
    }
    write_json(folder / "MANIFEST.json", manifest)
    (folder / "secret.txt").write_text("not in the manifest")
    return releasing.Release(name, folder, manifest)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("publications") / "home", registry) as portal:
        lake = portal.portal.lake
        deliver(OCTOBER, "siae-07", None, None, registry, lake)
        portal.person("marie@exemple.fr", ("depositor", "siae-07"))
        portal.person("luc@exemple.fr", ("analyst", ""))
        portal.person("tot@exemple.fr", ("analyst", ""))
        names = {"name": "A. Martin", "role": "responsable"}
        for name, options in (
            (PUBLIC, {}),
            (EARLY, {"public_at": portal.clock.now() + timedelta(days=2), "early_readers": ["Tot@exemple.fr"]}),
            (CANDIDATE, None),
        ):
            made = release(portal, name)
            releasing._remember(lake, name)
            if options is not None:
                approving.sign(lake, made.folder, made.manifest, **names, **options)
        yield portal


def test_an_analyst_reads_what_is_public_and_nothing_else(served: Served) -> None:
    luc = served.signed_in("luc@exemple.fr")
    page = luc.get("/publications").text
    assert PUBLIC in page
    assert EARLY not in page
    assert CANDIDATE not in page
    assert luc.get(f"/publications/{EARLY}").status_code == 404
    assert luc.get(f"/publications/{CANDIDATE}/rapport").status_code == 404
    file = luc.get(f"/publications/{PUBLIC}/fichiers/parquet/indicator_values.parquet")
    assert file.content[:4] == b"PAR1"
    assert f'filename="{PUBLIC}-indicator_values.parquet"' in file.headers["content-disposition"]


@pytest.mark.parametrize("name", ["secret.txt", "../../VERSION", "%2e%2e/%2e%2e/VERSION", "parquet", "", "/etc/passwd"])
def test_only_files_that_the_manifest_names_are_given(served: Served, name: str) -> None:
    answer = served.signed_in("luc@exemple.fr").client.get(f"/publications/{PUBLIC}/fichiers/{name}")
    assert answer.status_code == 404


def test_a_named_reader_reads_before_the_embargo_and_each_reading_is_noted(served: Served) -> None:
    early = served.signed_in("tot@exemple.fr")
    assert "Avant l'embargo" in early.get("/publications").text.replace("&#39;", "'")
    before = len(audit.lines(served.portal.store))
    assert early.get(f"/publications/{EARLY}/rapport").status_code == 200
    (line,) = audit.lines(served.portal.store)[before:]
    assert (line.action, line.object, line.actor) == ("early reading", EARLY, "account:3")
    noted = (served.portal.lake.home / approving.ACCESS_LOG).read_text().splitlines()
    assert json.loads(noted[-1])["release_id"] == EARLY


def test_after_its_hour_a_release_is_everybodys(served: Served) -> None:
    began = served.clock.moment
    served.clock.moment += timedelta(days=3)
    try:
        assert EARLY in served.signed_in("luc@exemple.fr").get("/publications").text
    finally:
        served.clock.moment = began


def test_the_report_may_do_nothing_but_show_itself(served: Served) -> None:
    answer = served.signed_in("luc@exemple.fr").get(f"/publications/{PUBLIC}/rapport")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "sandbox" in policy
    assert "allow-same-origin" not in policy


def test_own_figures_stand_beside_the_published_ones_and_name_the_release_that_used_the_file(served: Served) -> None:
    (receipt,) = receipts(served.portal.lake)
    page = served.signed_in("marie@exemple.fr").get("/chiffres").text
    assert f'<a href="/publications/{PUBLIC}">' in page
    assert f">{receipt.account.accepted}<" in page
    territory = served.portal.registry.partner("siae-07").territory_code
    shown = {"FR-DEP-59": "412", "FR-DEP-08": "77"}
    assert f">{shown.pop(territory)}<" in page
    assert not [value for value in shown.values() if f">{value}<" in page]


# -- pairs to review --------------------------------------------------------------------------------------------------


def test_a_reviewer_sees_levels_first_values_on_demand_and_decides(
    tmp_path: Path, registry: Registry, resolved: Home
) -> None:
    home = Home.copy_of(resolved, tmp_path)
    with serving(home.lake.home, registry) as portal:
        portal.person("lea@exemple.fr", ("reviewer", ""))
        portal.person("luc@exemple.fr", ("analyst", ""))
        pair = home.waiting()["guarded"].pair
        lea, path = portal.signed_in("lea@exemple.fr"), f"/revue/fr/{pair}"
        assert "2 paires attendent" in lea.get("/revue").text
        shown = lea.get(path).text
        assert "Différent" not in shown
        assert "<td>différent</td>" in shown
        assert "GARMONTET" not in shown.upper()
        looked = lea.post(f"{path}/valeurs", path).text
        assert "GARMONTET" in looked.upper()
        assert [line.action for line in audit.lines(portal.portal.store)][-1] == "pair looked at"
        lea.post(f"{path}/decision", path, {"verdict": "different"})
        assert pair not in {one.pair for one in reviewing.queue(portal.portal.lake, "fr")}
        other = f"/revue/fr/{home.waiting()['vetoed'].pair}"
        with portal.portal.lake.writer_lock(holder="a run"):
            assert "rien n'a été enregistré" in lea.post(f"{other}/decision", other, {"verdict": "same"}).text.replace(
                "&#39;", "'"
            )
        assert "second avis" in lea.post(f"{other}/decision", other, {"verdict": "same"}).text
        assert portal.signed_in("luc@exemple.fr").get(path).status_code == 404
        assert lea.get("/revue/fr/nobody").status_code == 404


def test_reviewers_have_a_word_for_every_comparison_and_level_of_the_model() -> None:
    levels = {level for one in scoring.COMPARISONS.values() for level in one}
    assert set(reviewer.LEVELS) == levels | {"else"}
    assert set(reviewer.COMPARISONS) == set(scoring.COMPARISONS)
    assert set(reviewer.REASONS) == set(reviewing.STATES)


# -- words ------------------------------------------------------------------------------------------------------------


def test_the_catalogue_of_words_is_up_to_date() -> None:
    assert messages.TEMPLATE.read_bytes() == messages.gathered(), "run `make messages`"


@pytest.mark.parametrize("language", ["nl", "de"])
def test_a_catalogue_says_everything_that_the_template_says(language: str) -> None:
    wanted = {one.id: one for one in read_po(io.BytesIO(messages.gathered())) if one.id}
    catalogue = read_po(io.BytesIO((languages.LOCALE / f"{language}.po").read_bytes()), locale=language)
    said = {one.id: one for one in catalogue if one.id}
    assert said.keys() == wanted.keys(), "add to the catalogue what `make messages` has added to the template"
    for key, one in said.items():
        sentences = [one.string] if isinstance(one.string, str) else list(one.string)
        assert all(sentences), key
        assert not one.fuzzy, key
        for sentence in sentences:  # the plural may leave no value out; the singular may say "one"
            names = set(re.findall(r"%\((\w+)\)s", sentence))
            assert names <= {*re.findall(r"%\((\w+)\)s", f"{key}"), "num"}, key
        assert set(re.findall(r"%\((\w+)\)s", sentences[-1])) == set(re.findall(r"%\((\w+)\)s", f"{key}")), key


def test_a_reader_is_answered_in_a_language_that_the_portal_offers(tmp_path: Path, registry: Registry) -> None:
    with serving(tmp_path / "home", registry, languages=("nl", "de")) as portal:
        portal.person("marie@exemple.fr", ("depositor", "ale-charleroi"))
        marie = portal.signed_in("marie@exemple.fr")
        assert '<html lang="fr">' in marie.get("/attendu?mois=2026-10").text
        marie.client.headers["accept-language"] = "en, de-BE;q=0.9, fr;q=0.5"
        german = marie.get("/attendu?mois=2026-10").text
        assert '<html lang="de">' in german
        assert "Oktober 2026" in german
        assert "Dienstag, 10. November 2026" in german
        dutch = marie.get("/langue/nl?suite=/attendu?mois=2026-10")
        assert (dutch.url.path, '<html lang="nl">' in dutch.text) == ("/attendu", True)
        assert "oktober 2026" in dutch.text
        assert "Pagina niet gevonden" in marie.get("/nulle-part").text
        assert marie.get("/langue/nl?suite=//ailleurs.fr").url.path == "/attendu"
        assert marie.get("/langue/en").status_code == 404


def test_a_portal_in_one_language_speaks_it_to_everybody(tmp_path: Path, registry: Registry) -> None:
    with serving(tmp_path / "home", registry, language="nl") as portal:
        page = portal.browser().client.get("/connexion", headers={"accept-language": "fr"}).text
    assert '<html lang="nl">' in page
    assert "/langue/" not in page
