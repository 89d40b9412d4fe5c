"""Who may do what: sign-in, second factor, sessions, forms, roles, other people's things, the journal."""

from __future__ import annotations

import re
import socket
import statistics
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import argon2
import httpx
import pyotp
import pytest
import sqlalchemy as sql
from fastapi.routing import APIRoute

from insertion_pipeline.portal import accounts, audit, sessions, store, throttling, tokens
from insertion_pipeline.portal.access import EVERYONE, MACHINES
from insertion_pipeline.portal.app import POLICY, create_app
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.portal_server import PASSWORD, Served, serving
from insertion_pipeline_tests.test_portal_depositing import OCTOBER

RECOVERY_CODE = r"[A-Z2-7]{6}(?:-[A-Z2-7]{6}){3}"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("access") / "home", registry) as portal:
        portal.person("marie@exemple.fr", ("depositor", "siae-07"))
        portal.person("paul@exemple.fr", ("depositor", "dep-08"))
        portal.person("anne@exemple.fr", ("animator", "FR-DEP-08"), ("animator", "FR-DEP-59"))
        portal.person("zoe@exemple.fr", ("administrator", ""))
        portal.person("luc@exemple.fr", ("analyst", ""))
        portal.person("lea@exemple.fr", ("reviewer", ""))
        portal.signed_in("marie@exemple.fr").deposit(OCTOBER, partenaire="siae-07", mois="2026-10")
        yield portal


def every_route(served: Served) -> list[APIRoute]:
    from insertion_pipeline.portal import api
    from insertion_pipeline.portal.pages import administrator, analyst, animator, depositor, entering, filling, reviewer

    rooms = (entering, depositor, filling, animator, reviewer, analyst, administrator, api)
    return [route for room in rooms for route in room.router.routes if isinstance(route, APIRoute)]


def filled(path: str) -> str:
    """A route's path with things in it that exist."""
    known = {"sequence": "1", "number": "1", "kind": "csv", "code": "siae-07", "source": "siae_monthly", "secret": "x"}
    return re.sub(r"\{(\w+)(:\w+)?\}", lambda found: known.get(found[1], "x"), path)


# -- signing in -------------------------------------------------------------------------------------------------------


def test_the_session_gets_another_secret_when_somebody_signs_in(served: Served) -> None:
    browser = served.browser()
    browser.get("/connexion")
    before = browser.client.cookies["session"]
    browser.sign_in("marie@exemple.fr")
    after = browser.client.cookies["session"]
    assert before != after
    assert sessions.find(served.portal.store, served.portal.now, before, served.portal.settings) is None


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(
    served: Served, registry: Registry, tmp_path: Path
) -> None:
    answer = served.browser().get("/connexion")
    assert re.search(r"HttpOnly.*SameSite=lax|SameSite=lax.*HttpOnly", answer.headers["set-cookie"], re.IGNORECASE)
    with serving(tmp_path / "https", registry, public_url="https://depots.exemple.fr") as behind_proxy:
        cookie = behind_proxy.browser().get("/connexion").headers
    assert cookie["set-cookie"].startswith("__Host-session=")
    assert "Secure" in cookie["set-cookie"]
    assert cookie["strict-transport-security"].startswith("max-age=")


def test_five_failures_in_a_quarter_of_an_hour_close_the_door_for_a_while(registry: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "home", registry) as portal:
        portal.person("marie@exemple.fr", ("depositor", "siae-07"))
        browser = portal.browser()
        for _ in range(throttling.FAILURES):
            assert browser.sign_in("Marie@exemple.fr ", "faux").status_code == 401
        assert browser.sign_in("marie@exemple.fr").status_code == 429
        portal.clock.moment += timedelta(minutes=throttling.FAILURE_MINUTES + 1)
        assert browser.sign_in("marie@exemple.fr").url.path == "/attendu"


def test_an_unknown_address_takes_as_long_as_a_known_one(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = argon2.PasswordHasher(time_cost=1)  # with the memory of production: a cheap one would hide in the noise
    monkeypatch.setattr(accounts, "_HASHER", hasher)
    monkeypatch.setattr(accounts, "_NOBODY", hasher.hash("personne"))
    served.person("prod@exemple.fr", ("analyst", ""))

    def seconds(email: str) -> float:
        began = time.thread_time()
        assert accounts.verify_password(served.portal.store, email, "faux") is None
        return time.thread_time() - began

    known = statistics.median(seconds("prod@exemple.fr") for _ in range(3))
    unknown = statistics.median(seconds("personne@exemple.fr") for _ in range(3))
    assert 0.5 < known / unknown < 2
    texts = {served.browser().sign_in(email, "faux").text.replace(email, "") for email in ("luc@exemple.fr", "x@y.fr")}
    assert len({re.sub(r'value="[0-9a-f]{64}"', "", text) for text in texts}) == 1


def test_a_password_is_kept_as_argon2id_and_a_short_one_is_refused(served: Served) -> None:
    with served.portal.store.reading() as connection:
        kept = connection.execute(sql.select(store.accounts.c.password_hash)).scalars().all()
    assert all(one.startswith("$argon2id$") for one in kept)
    with pytest.raises(accounts.PasswordRefused):
        accounts.set_password(served.portal.store, 1, "court")


def test_a_session_ends_when_it_is_idle_or_old(served: Served) -> None:
    browser, began = served.signed_in("luc@exemple.fr"), served.clock.moment
    try:
        served.clock.moment += timedelta(minutes=served.portal.settings.idle_minutes - 1)
        assert browser.get("/compte").url.path == "/compte"
        served.clock.moment += timedelta(minutes=served.portal.settings.idle_minutes + 1)
        assert browser.get("/compte").url.path == "/connexion"
    finally:
        served.clock.moment = began


def test_signing_out_ends_the_session_on_the_server(served: Served) -> None:
    browser = served.signed_in("luc@exemple.fr")
    secret = browser.client.cookies["session"]
    browser.post("/deconnexion", "/compte")
    again = served.browser()
    again.client.cookies.set("session", secret, domain="127.0.0.1")
    assert again.get("/compte").url.path == "/connexion"


def test_after_signing_in_nobody_is_sent_elsewhere(served: Served) -> None:
    for target in ("https://mechant.fr", "//mechant.fr", "/\\mechant.fr", "javascript:alert(1)"):
        page = served.browser().get(f"/connexion?suite={target}").text
        assert 'name="suite" value=""' in page


def test_an_invitation_works_once_and_a_forgotten_password_can_be_replaced(registry: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "home", registry) as portal:
        portal.person("zoe@exemple.fr", ("administrator", ""))
        admin = portal.signed_in("zoe@exemple.fr")
        fields = {"email": "Neuf@exemple.fr", "nom": "Neuf", "role": "depositor", "portee": "siae-09"}
        admin.post("/comptes", "/comptes", fields)
        link = _link_in_mail(portal, "invitation")
        new = portal.browser()
        choice = {"lien": link, "nature": "invitation", "mot_de_passe": PASSWORD, "confirmation": PASSWORD}
        assert new.post("/nouveau-mot-de-passe", f"/invitation/{link}", choice).url.path == "/attendu"
        assert new.get(f"/invitation/{link}").status_code == 404
        other = portal.browser()
        other.post("/mot-de-passe-oublie", "/mot-de-passe-oublie", {"email": "neuf@exemple.fr"})
        link = _link_in_mail(portal, "mot-de-passe")
        choice |= {"lien": link, "nature": "reset", "mot_de_passe": PASSWORD + "!", "confirmation": PASSWORD + "!"}
        other.post("/nouveau-mot-de-passe", f"/mot-de-passe/{link}", choice)
        assert new.get("/compte").url.path == "/connexion"  # the sessions before ended with the old password
        assert portal.browser().sign_in("neuf@exemple.fr", PASSWORD + "!").url.path == "/attendu"
        expired = accounts.new_link(portal.portal.store, portal.portal.now, 2, "reset")
        portal.clock.moment += timedelta(hours=2)
        assert portal.browser().get(f"/mot-de-passe/{expired}").status_code == 404


def test_a_forgotten_password_is_answered_alike_whoever_asks_and_whatever_the_mail_server_does(
    registry: Registry, tmp_path: Path
) -> None:
    with socket.socket() as silent:  # it takes the connection and never says a word
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        port = silent.getsockname()[1]
        with serving(tmp_path / "home", registry, smtp_host="127.0.0.1", smtp_port=port) as portal:
            portal.person("zoe@exemple.fr", ("depositor", "siae-09"))
            told = []
            for email in ("zoe@exemple.fr", "personne@exemple.fr"):
                browser = portal.browser()
                browser.client.timeout = httpx.Timeout(15)  # mail waits for twenty seconds
                answer = browser.post("/mot-de-passe-oublie", "/mot-de-passe-oublie", {"email": email})
                told.append((answer.status_code, re.sub(r'value="\w+"', "", answer.text)))
            silent.close()  # whoever waits for it is told at once
    assert told[0] == told[1]
    assert told[0][0] == 200


def test_an_invitation_that_does_not_leave_is_told(registry: Registry, tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        port = closed.getsockname()[1]
        with serving(tmp_path / "home", registry, smtp_host="127.0.0.1", smtp_port=port) as portal:
            portal.person("zoe@exemple.fr", ("administrator", ""))
            fields = {"email": "neuf@exemple.fr", "role": "analyst"}
            answer = portal.signed_in("zoe@exemple.fr").post("/comptes", "/comptes", fields)
    assert answer.status_code == 503
    assert "neuf@exemple.fr" in answer.text
    assert "est pas partie" in answer.text


def _link_in_mail(portal: Served, path: str) -> str:
    mails = sorted((portal.portal.lake.home / "outbox").iterdir(), key=lambda one: one.stat().st_mtime_ns)
    text = mails[-1].read_text().replace("=\n", "")
    found = re.search(rf"/{path}/([\w-]+)", text)
    assert found is not None
    return found[1]


def test_a_second_factor_is_asked_for_and_a_code_works_once(registry: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "home", registry, second_factor_roles=("administrator",)) as portal:
        portal.person("zoe@exemple.fr", ("administrator", ""))
        browser = portal.browser()
        assert browser.sign_in("zoe@exemple.fr").url.path == "/compte/second-facteur"  # nothing else opens before
        assert browser.get("/comptes").url.path == "/compte/second-facteur"
        page = browser.get("/compte/second-facteur").text
        found = re.search(r"<code class=\"wrap\">([A-Z2-7]+)</code>", page)
        assert found is not None
        totp = pyotp.TOTP(found[1])
        code = totp.at(portal.clock.moment)
        done = browser.post("/compte/second-facteur", "/compte/second-facteur", {"code": code})
        assert len(re.findall(RECOVERY_CODE, done.text)) == accounts.RECOVERY_CODES
        assert browser.get("/").url.path == "/comptes"
        with portal.portal.store.reading() as connection:
            kept = connection.execute(sql.select(store.accounts.c.totp_secret)).scalar_one()
        assert found[1].encode() not in kept
        portal.clock.moment += timedelta(minutes=2)
        other = portal.browser()
        assert other.sign_in("zoe@exemple.fr").url.path == "/connexion/code"
        assert other.get("/comptes").url.path == "/connexion"  # half a session opens nothing
        assert other.post("/connexion/code", "/connexion/code", {"code": "000000"}).status_code == 401
        code = totp.at(portal.clock.moment)
        assert other.post("/connexion/code", "/connexion/code", {"code": code}).url.path == "/comptes"
        third = portal.browser()
        third.sign_in("zoe@exemple.fr")
        assert third.post("/connexion/code", "/connexion/code", {"code": code}).status_code == 401


def test_a_recovery_code_stands_for_a_lost_telephone_once(registry: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "home", registry) as portal:
        account = portal.person("zoe@exemple.fr", ("administrator", ""))
        portal.person("luc@exemple.fr", ("analyst", ""))
        keyring, database = portal.portal.lake.keyring, portal.portal.store
        first, second, *others = accounts.set_totp(database, keyring, account.number, pyotp.random_base32())
        assert re.fullmatch(RECOVERY_CODE, first)
        assert len({first, second, *others}) == accounts.RECOVERY_CODES
        with database.reading() as connection:
            kept = connection.execute(sql.select(store.recovery_codes)).all()
        assert not [row for row in kept for code in (first, first.replace("-", "")) if code in str(row)]

        def answered(code: str) -> tuple[int, str]:
            browser = portal.browser()
            browser.sign_in("zoe@exemple.fr")
            answer = browser.post("/connexion/code", "/connexion/code", {"code": code})
            return answer.status_code, answer.url.path

        assert answered(first) == (200, "/comptes")
        assert answered(first) == answered("é") == (401, "/connexion/code")
        assert answered(second.replace("-", " ").lower()) == (200, "/comptes")
        assert accounts.recovery_codes_left(database, account.number) == accounts.RECOVERY_CODES - 2
        luc = accounts.by_email(database, "luc@exemple.fr")
        assert luc is not None
        assert not accounts.use_recovery_code(database, portal.portal.now, luc.number, others[0])
        assert [line.action for line in audit.lines(database)].count("recovery code used") == 2
        accounts.remove_totp(database, account.number)
        assert accounts.recovery_codes_left(database, account.number) == 0


# -- routes -----------------------------------------------------------------------------------------------------------


def test_every_route_says_who_may_use_it(served: Served) -> None:
    routes = every_route(served)
    assert len(routes) > 50
    assert [route.path for route in routes if not getattr(route.endpoint, "__access__", (frozenset(),))[0]] == []


def test_a_route_without_a_mark_answers_nobody(tmp_path: Path, registry: Registry) -> None:
    from fastapi.testclient import TestClient

    from insertion_pipeline.lake import Lake

    app = create_app(Lake.open(tmp_path / "home"), registry)
    app.add_api_route("/oubliee", lambda: "secret")
    assert TestClient(app).get("/oubliee").status_code == 404


def test_a_role_opens_its_own_routes_and_no_other(served: Served) -> None:
    people = {"depositor": "marie", "animator": "anne", "reviewer": "lea", "analyst": "luc", "administrator": "zoe"}
    assert people.keys() == set(accounts.ROLES)
    denied, opened = 0, []
    for role, name in people.items():
        browser = served.signed_in(f"{name}@exemple.fr")
        form = {"jeton": browser.token("/compte")}
        for route in every_route(served):
            roles = route.endpoint.__access__[0] & people.keys()
            if not roles or role in roles:
                continue
            denied += 1
            method = "POST" if "POST" in route.methods else "GET"
            answer = browser.client.request(method, filled(route.path), data=form if method == "POST" else None)
            if answer.status_code != 404:
                opened.append((role, method, route.path, answer.status_code))
    assert opened == []
    assert denied > 100


def test_pages_lead_to_the_sign_in_and_the_api_answers_401(served: Served) -> None:
    client = served.browser().client
    client.follow_redirects = False
    for route in every_route(served):
        roles, _ = route.endpoint.__access__
        if EVERYONE in roles:
            continue
        for method in route.methods:
            answer = client.request(method, filled(route.path))
            if MACHINES in roles:
                assert answer.status_code == 401, route.path
                assert answer.headers["content-type"] == "application/json"
            else:
                assert (answer.status_code, answer.headers["location"][:10]) == (303, "/connexion"), route.path


def test_no_form_is_taken_without_its_token(served: Served) -> None:
    for route in every_route(served):
        roles, _ = route.endpoint.__access__
        if "POST" not in route.methods or MACHINES in roles:
            continue
        who = next((one for one in ("marie", "anne", "zoe", "lea") if _may(served, f"{one}@exemple.fr", roles)), "luc")
        browser = served.signed_in(f"{who}@exemple.fr")
        assert browser.client.post(filled(route.path), data={}).status_code == 403, route.path
        assert browser.client.post(filled(route.path), data={"jeton": "0" * 64}).status_code == 403, route.path


def _may(served: Served, email: str, roles: frozenset[str]) -> bool:
    account = accounts.by_email(served.portal.store, email)
    assert account is not None
    return any(account.has(role) for role in roles)


def test_a_form_from_another_site_is_not_taken(served: Served) -> None:
    browser = served.signed_in("marie@exemple.fr")
    token = browser.token("/compte")
    for headers in ({"Origin": "https://mechant.fr"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        answer = browser.client.post("/compte/absence", data={"jeton": token}, headers=headers)
        assert answer.status_code == 403


def test_what_belongs_to_another_partner_does_not_exist(served: Served, tmp_path: Path) -> None:
    paul = served.signed_in("paul@exemple.fr")
    told = [
        "/attendu?partenaire=siae-07", "/deposer?partenaire=siae-07", "/depots?partenaire=siae-07", "/depots/1",
        "/chiffres?partenaire=siae-07", "/depots/1/rapport.csv", "/depots/1/rapport.xlsx", "/depots/1/corriger",
        "/depots/1/recepisse.pdf", "/saisir?partenaire=siae-07&source=siae_monthly&mois=2026-10",
        "/neant?partenaire=siae-07&source=siae_monthly&mois=2026-10", "/tableau/siae-07", "/comptes", "/journal",
        "/modeles/siae_monthly.xlsx?partenaire=siae-07", "/depots/999999",
    ]  # fmt: skip
    assert {path: paul.get(path).status_code for path in told} == dict.fromkeys(told, 404)
    for path, fields in (
        ("/deposer", {"partenaire": "siae-07", "action": "deposer"}),
        ("/deposer", {"partenaire": "siae-07", "action": "tester"}),
        ("/neant", {"partenaire": "siae-07", "source": "siae_monthly", "mois": "2026-10"}),
        ("/saisir", {"partenaire": "siae-07", "source": "siae_monthly", "mois": "2026-10"}),
        ("/depots/1/confirmer", {}),
        ("/compte/jetons", {"partenaire": "siae-07", "nom": "x", "jours": "1", "droits": "read"}),
    ):
        assert paul.post(path, "/compte", fields).status_code == 404, path
    api = served.api("paul@exemple.fr", "dep-08")
    assert api.get("/deliveries/1").status_code == 404
    assert api.post("/deliveries/1/confirmation").status_code == 404
    assert api.get("/deliveries").json() == []


def test_an_animator_reminds_within_the_territory_and_sees_no_cell(served: Served) -> None:
    anne = served.signed_in("anne@exemple.fr")
    assert anne.get("/tableau/siae-07").status_code == 200
    assert anne.get("/tableau/dep-52").status_code == 404
    assert anne.get("/depots/1").status_code == 404
    page = anne.get("/tableau/siae-07?mois=2026-10").text
    deposited = OCTOBER.read_text("utf-8-sig").splitlines()
    values = {cell for line in deposited[1:] for cell in line.split(";")[3:7] if len(cell) > 5}
    assert values
    assert not [value for value in values if value in page]


# -- tokens -----------------------------------------------------------------------------------------------------------


def test_a_token_is_stored_as_its_digest_is_scoped_expires_and_can_be_revoked(served: Served) -> None:
    marie = served.signed_in("marie@exemple.fr")
    fields = {"partenaire": "siae-07", "nom": "lot", "jours": "10", "droits": "read"}
    shown = re.search(r"(insertion_[\w-]{43})", marie.post("/compte/jetons", "/compte", fields).text)
    assert shown is not None
    assert shown[1] not in marie.get("/compte").text
    database = served.portal.lake.home / "portal" / "portal.sqlite"
    assert shown[1].encode() not in database.read_bytes()
    api = served.bearing(shown[1])
    assert api.get("/deliveries").status_code == 200
    assert api.post("/deliveries", files={"file": b"x"}).status_code == 403
    began = served.clock.moment
    served.clock.moment += timedelta(days=11)
    assert api.get("/deliveries").status_code == 401
    served.clock.moment = began
    token = tokens.of_account(served.portal.store, 1)[0]
    marie.post(f"/compte/jetons/{token.number}/revoquer", "/compte")
    assert api.get("/deliveries").status_code == 401


def test_a_closed_account_has_neither_session_nor_token(registry: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "home", registry) as portal:
        portal.person("zoe@exemple.fr", ("administrator", ""))
        marie = portal.person("marie@exemple.fr", ("depositor", "siae-07"))
        browser, api = portal.signed_in("marie@exemple.fr"), portal.api("marie@exemple.fr", "siae-07")
        zoe = portal.signed_in("zoe@exemple.fr")
        zoe.post(f"/comptes/{marie.number}/etat", "/comptes", {"action": "fermer"})
        assert browser.get("/attendu").url.path == "/connexion"
        assert api.get("/deliveries").status_code == 401
        assert portal.browser().sign_in("marie@exemple.fr").status_code == 401


# -- answers ----------------------------------------------------------------------------------------------------------


def test_every_answer_has_its_headers(served: Served) -> None:
    browser = served.signed_in("marie@exemple.fr")
    for path in ("/attendu", "/nulle-part", "/static/portal.css", "/openapi.json", "/api/v1/deliveries"):
        headers = browser.get(path).headers
        assert headers["content-security-policy"] == POLICY
        assert headers["x-content-type-options"] == "nosniff"
    assert "unsafe-inline" not in POLICY
    assert browser.get("/attendu").headers["cache-control"] == "no-store"


@pytest.mark.parametrize("month", ["1900-01", "2999-12", "2026-13", "\u0662\u0660\u0662\u0666-01", "x" * 3000])
def test_a_month_that_nobody_means_breaks_no_page(served: Served, month: str) -> None:
    browser = served.signed_in("marie@exemple.fr")
    animator = served.signed_in("anne@exemple.fr")
    asked = {"mois": month, "source": "siae_monthly"}
    pages = ("/attendu", "/deposer", "/saisir", "/neant", "/formats/siae_monthly")
    told = {path: browser.client.get(path, params=asked).status_code for path in pages}
    boards = ("/tableau", "/tableau/siae-07")
    told |= {path: animator.client.get(path, params={"mois": month}).status_code for path in boards}
    assert {path: status for path, status in told.items() if status not in (200, 404)} == {}


def test_a_failure_of_ours_says_nothing_of_its_cause(
    tmp_path: Path, registry: Registry, caplog: pytest.LogCaptureFixture
) -> None:
    from fastapi.testclient import TestClient

    from insertion_pipeline.lake import Lake
    from insertion_pipeline.portal.access import open_to

    def fails() -> None:
        raise ValueError("MARTIN Jeanne")

    app = create_app(Lake.open(tmp_path / "home"), registry)
    app.add_api_route("/panne", open_to(EVERYONE)(fails))
    answer = TestClient(app).get("/panne")
    assert answer.status_code == 500
    assert "référence" in answer.text
    assert "MARTIN" not in answer.text + caplog.text
    assert answer.headers["content-security-policy"] == POLICY


# -- the journal ------------------------------------------------------------------------------------------------------


def test_one_altered_line_of_the_journal_is_found_and_the_database_refuses_to_alter_one(served: Served) -> None:
    database = served.portal.store
    assert list(audit.altered(database)) == []
    lines = audit.lines(database)
    assert len(lines) > 5
    for statement in (
        sql.update(store.audit).where(store.audit.c.sequence == 3).values(actor="account:99"),
        sql.delete(store.audit).where(store.audit.c.sequence == 3),
    ):
        with pytest.raises(sql.exc.DBAPIError), database.writing() as connection:
            connection.execute(statement)
    with database.engine.connect() as connection, connection.begin() as attempt:  # somebody with the file in hand
        connection.execute(sql.text("DROP TRIGGER audit_never_changes"))
        connection.execute(sql.update(store.audit).where(store.audit.c.sequence == 3).values(actor="account:99"))
        attempt.commit()
    assert list(audit.altered(database)) == [3]


def test_the_journal_names_nobody(served: Served) -> None:
    text = " ".join(str(line) for line in audit.lines(served.portal.store))
    assert "exemple.fr" not in text
    assert "siae_2026" not in text


def test_old_lines_go_and_the_chain_goes_on(registry: Registry, tmp_path: Path) -> None:
    with serving(tmp_path / "home", registry) as portal:
        for number in range(5):
            portal.portal.note("portal", "act", str(number))
        portal.clock.moment += timedelta(days=audit.KEPT_DAYS + 1)
        assert audit.drop_old(portal.portal.store, portal.portal.now) == 5
        portal.portal.note("portal", "act", "6")
        assert list(audit.altered(portal.portal.store)) == []
        assert [line.sequence for line in audit.lines(portal.portal.store)] == [6]
