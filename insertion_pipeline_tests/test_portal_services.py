"""What the portal does beside its pages: deadlines, reminders, antivirus, identity provider, folder, PostgreSQL."""

from __future__ import annotations

import email
import email.message
import email.policy
import json
import os
import smtplib
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey

from insertion_pipeline.ingestion import deadlines
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.portal import accounts, audit, board, dropping, reminding
from insertion_pipeline.portal.accounts import Grant
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.mail import Mail
from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.mail_server import Office
from insertion_pipeline_tests.mail_server import office as office
from insertion_pipeline_tests.portal_server import StillClock, serving
from insertion_pipeline_tests.test_portal_depositing import OCTOBER, person, rows


@pytest.fixture
def portal(tmp_path: Path, registry: Registry) -> Portal:
    return Portal.opened(Lake.open(tmp_path / "home", clock=StillClock()), registry, PortalSettings())


def contact(portal: Portal, address: str, partner: str = "siae-07") -> accounts.Account:
    account, _ = accounts.invite(portal.store, portal.now, address, address, [Grant("depositor", partner)])
    return account


def mails(portal: Portal) -> list[Message]:
    folder = portal.lake.home / "outbox"
    found = [email.message_from_bytes(one.read_bytes()) for one in sorted(folder.glob("*.eml"))]
    return sorted(found, key=lambda one: str(one["To"]))


def on(portal: Portal, day: date) -> int:
    clock = portal.lake.clock
    assert isinstance(clock, StillClock)
    clock.moment = datetime(day.year, day.month, day.day, 9, 0, tzinfo=UTC)
    return reminding.remind_everyone(portal)


# -- deadlines --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("year", "easter_monday"), [(2024, date(2024, 4, 1)), (2026, date(2026, 4, 6)), (2038, date(2038, 4, 26))]
)
def test_holidays_follow_easter(year: int, easter_monday: date) -> None:
    assert easter_monday in deadlines.holidays(year, "fr")
    assert easter_monday + timedelta(days=38) in deadlines.holidays(year, "be")


def test_a_deadline_on_a_day_off_moves_to_the_next_working_day_of_the_country(registry: Registry) -> None:
    siae = registry.source("siae_monthly")  # due on the tenth
    assert deadlines.deadline(siae, Month(2026, 9), "fr") == date(2026, 10, 12)  # the tenth is a Saturday
    assert deadlines.deadline(siae, Month(2026, 10), "fr") == date(2026, 11, 10)
    assert not deadlines.is_working_day(date(2026, 7, 14), "fr")
    assert deadlines.is_working_day(date(2026, 7, 14), "be")
    assert not deadlines.is_working_day(date(2026, 7, 21), "be")


def test_today_is_the_partners(registry: Registry) -> None:
    late_evening = datetime(2026, 11, 9, 23, 30, tzinfo=UTC)
    assert deadlines.today(registry.partner("siae-07"), late_evening) == date(2026, 11, 10)


def test_an_animator_has_the_partners_of_the_territories_below(registry: Registry) -> None:
    month = Month(2026, 10)
    codes = {one.code for one in board.partners_within(registry, ["FR-REG-44"], month)}
    assert {"dep-08", "dep-52", "dep-54", "siae-09"} <= codes
    assert "dep-59" not in codes
    assert {one.space for one in board.partners_within(registry, ["BE"], month)} == {"be"}
    assert board.partners_within(registry, [], month) == []


# -- reminders --------------------------------------------------------------------------------------------------------


def test_reminders_leave_around_the_deadline_once_and_at_most_two_to_a_contact(portal: Portal) -> None:
    first, second = contact(portal, "a@exemple.fr"), contact(portal, "b@exemple.fr")
    due = deadlines.deadline(portal.registry.source("siae_monthly"), Month(2026, 10), "fr")
    sent = {offset: on(portal, due + timedelta(days=offset)) for offset in range(-7, 9)}
    assert {offset for offset, count in sent.items() if count} == {-5, -1, 1, 5}
    assert on(portal, due + timedelta(days=5)) == 0  # once more the same day
    assert [str(one["To"]) for one in mails(portal)] == [first.email, first.email, second.email, second.email]
    assert reminding.reminders_left(portal, first, Month(2026, 10)) == 0


def test_a_reminder_goes_to_the_second_contact_when_the_first_is_away(portal: Portal) -> None:
    first, second = contact(portal, "a@exemple.fr"), contact(portal, "b@exemple.fr")
    accounts.set_absence(portal.store, first.number, date(2026, 11, 1), date(2026, 11, 30))
    assert on(portal, date(2026, 11, 9)) == 1
    assert [str(one["To"]) for one in mails(portal)] == [second.email]


def test_whoever_has_delivered_is_left_in_peace_and_a_message_names_nobody(portal: Portal, tmp_path: Path) -> None:
    from insertion_pipeline.ingestion.landing import deliver

    contact(portal, "a@exemple.fr")
    deliver(OCTOBER, "siae-07", None, None, portal.registry, portal.lake)
    assert on(portal, date(2026, 11, 9)) == 0
    reminding.tell_of_deposit(portal, receipts(portal.lake)[-1], accounts.contacts(portal.store, "siae-07")[0])
    text = mails(portal)[0].get_payload(decode=True).decode()
    names = {cell for line in OCTOBER.read_text("utf-8-sig").splitlines()[1:] for cell in line.split(";")[3:6] if cell}
    assert names
    assert not [name for name in names if name in text]
    assert "/depots/1" in text


def test_a_message_that_does_not_leave_waits_for_the_next_time(portal: Portal, monkeypatch: pytest.MonkeyPatch) -> None:
    contact(portal, "a@exemple.fr")

    def broken(*_: object) -> None:
        raise ConnectionRefusedError

    with monkeypatch.context() as patch:
        patch.setattr(type(portal.mail), "send", broken)
        assert on(portal, date(2026, 11, 9)) == 0
    assert reminding.remind_everyone(portal) == 1
    assert len(mails(portal)) == 1


def posting(office: Office, tmp_path: Path, **settings: object) -> Mail:
    chosen = {"smtp_host": "127.0.0.1", "smtp_port": office.server_address[1], "smtp_starttls": False} | settings
    return Mail.of(PortalSettings(**chosen), tmp_path / "outbox")


def test_a_message_leaves_by_smtp_as_it_was_written(office: Office, tmp_path: Path) -> None:
    mail = posting(office, tmp_path, smtp_user="portail", smtp_password="secret", mail_from="depots@region.example")
    mail.send("clef", "marie@exemple.fr", "Récépissé n° 1", "Reçu. Empreinte : à garder.\n.\nFin.")
    (kept,) = office.kept
    assert (kept["From"], kept["To"]) == ("depots@region.example", "marie@exemple.fr")
    assert kept["Subject"] == "Récépissé n° 1"
    assert kept["Auto-Submitted"] == "auto-generated"
    assert kept.get_content().replace("\r\n", "\n") == "Reçu. Empreinte : à garder.\n.\nFin.\n"
    assert "rcpt to:<marie@exemple.fr>" in [line.lower() for line in office.heard]
    assert not mail.outbox.exists()
    mail.send("clef", "marie@exemple.fr", "Récépissé n° 1", "Encore.")
    assert kept["Message-ID"] == office.kept[1]["Message-ID"]  # whoever gets both knows them for one


def test_a_wrong_password_or_a_server_without_encryption_sends_nothing(office: Office, tmp_path: Path) -> None:
    for settings in ({"smtp_user": "portail", "smtp_password": "faux"}, {"smtp_starttls": True}):
        with pytest.raises(smtplib.SMTPException, match=r"no|STARTTLS"):
            posting(office, tmp_path, **settings).send("clef", "marie@exemple.fr", "Rappel", "Texte")
    assert office.kept == []


def test_one_mail_server_is_set_once_for_alerts_and_the_portal(monkeypatch: pytest.MonkeyPatch) -> None:
    assert PortalSettings().mail_server is None
    for name, value in {"HOST": "smtp.exemple.fr", "PORT": "25", "STARTTLS": "false", "USER": "tous"}.items():
        monkeypatch.setenv(f"INSERTION_SMTP_{name}", value)
    monkeypatch.setenv("INSERTION_PORTAL_SMTP_USER", "portail")
    server = PortalSettings().mail_server
    assert server is not None
    assert (server.host, server.port, server.starttls, server.user) == ("smtp.exemple.fr", 25, False, "portail")


def test_a_subject_carries_no_header_of_its_own(office: Office, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Header values"):
        posting(office, tmp_path).send("clef", "marie@exemple.fr", "Rappel\r\nBcc: autre@exemple.fr", "Texte")
    assert office.kept == []


def test_the_receipt_says_what_it_is_about_and_is_told_once(portal: Portal) -> None:
    from insertion_pipeline.ingestion.landing import declare_nothing

    account = contact(portal, "a@exemple.fr")
    receipt = declare_nothing("siae-07", "siae_monthly", Month(2026, 10), portal.registry, portal.lake)
    for _ in range(2):
        reminding.tell_of_deposit(portal, receipt, account)
    assert [str(email.header.make_header(email.header.decode_header(one["Subject"]))) for one in mails(portal)] == [
        "Récépissé n° 1 : Suivi mensuel d'une structure d'insertion, octobre 2026"
    ]


# -- the antivirus ----------------------------------------------------------------------------------------------------


@contextmanager
def clamd(verdict: Callable[[bytes], bytes]) -> Iterator[str]:
    """Something that speaks clamd's INSTREAM."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection, connection.makefile("rb") as stream:
                assert stream.read(10) == b"zINSTREAM\0"
                content = b""
                while size := int.from_bytes(stream.read(4), "big"):
                    content += stream.read(size)
                connection.sendall(verdict(content))

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"tcp:127.0.0.1:{server.getsockname()[1]}"
    finally:
        server.close()


def test_an_infected_file_is_refused_before_it_is_judged(tmp_path: Path, registry: Registry) -> None:
    def verdict(content: bytes) -> bytes:
        return b"stream: Eicar-Signature FOUND\0" if b"EICAR" in content else b"stream: OK\0"

    bad, good = tmp_path / "bad.csv", tmp_path / "good.csv"
    bad.write_text("EICAR")
    good.write_text(rows(person(1)))
    with clamd(verdict) as address, serving(tmp_path / "home", registry, clamd=address) as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"))
        browser = portal.signed_in("a@exemple.fr")
        refused = browser.deposit(bad, partenaire="siae-07", mois="2026-10")
        assert refused.status_code == 422
        assert "antivirus refuse ce fichier" in refused.text
        assert receipts(portal.portal.lake) == ()
        assert "Dépôt reçu" in browser.deposit(good, partenaire="siae-07", mois="2026-10").text


def test_nothing_is_accepted_while_the_antivirus_is_silent(tmp_path: Path, registry: Registry) -> None:
    with serving(tmp_path / "home", registry, clamd=f"unix:{tmp_path}/nobody.sock") as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"))
        answer = portal.signed_in("a@exemple.fr").deposit(OCTOBER, partenaire="siae-07", mois="2026-10")
        assert answer.status_code == 503
        assert receipts(portal.portal.lake) == ()


# -- the identity provider --------------------------------------------------------------------------------------------


@contextmanager
def issuer(**said: object) -> Iterator[tuple[str, dict[str, object]]]:
    """An OpenID provider on loopback: its address, and what it says of whoever comes."""
    key, claims, asked = RSAKey.generate_key(2048, private=True), dict(said), {}

    class Provider(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if path == "/.well-known/openid-configuration":
                named = ("authorization_endpoint", "token_endpoint", "userinfo_endpoint", "jwks_uri")
                self._json({"issuer": address} | {name: f"{address}/{name}" for name in named})
            elif path == "/authorization_endpoint":
                asked.update({name: values[0] for name, values in query.items()})
                self.send_response(303)
                self.send_header("Location", f"{asked['redirect_uri']}?code=c0de&state={asked['state']}")
                self.end_headers()
            elif path == "/jwks_uri":
                self._json({"keys": [key.as_dict(private=False) | {"kid": "k", "use": "sig", "alg": "RS256"}]})
            else:  # user information, signed as ProConnect signs it
                signed = jwt.encode({"alg": "RS256", "kid": "k"}, {"sub": claims["sub"], "email": claims["mail"]}, key)
                self._send(signed.encode(), "application/jwt")

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            assert form["code_verifier"][0]
            now = int(time.time())
            token = {"iss": address, "aud": asked["client_id"], "sub": claims["sub"], "iat": now, "exp": now + 60}
            token |= {"nonce": claims.get("nonce", asked["nonce"])}
            signed = jwt.encode({"alg": "RS256", "kid": "k"}, token, claims.get("key", key))
            self._json({"access_token": "a", "token_type": "Bearer", "id_token": signed})

        def _json(self, value: object) -> None:
            self._send(json.dumps(value).encode(), "application/json")

        def _send(self, body: bytes, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    address = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield address, claims
    finally:
        server.shutdown()
        server.server_close()


def test_an_identity_provider_opens_the_account_that_was_invited_and_no_other(
    tmp_path: Path, registry: Registry
) -> None:
    with (
        issuer(sub="42", mail="Marie@exemple.fr") as (address, claims),
        serving(tmp_path / "home", registry, oidc_issuer=address, oidc_client_id="portail") as portal,
    ):
        accounts.invite(
            portal.portal.store, portal.portal.now, "marie@exemple.fr", "Marie", [Grant("depositor", "siae-07")]
        )
        browser = portal.browser()
        assert "Se connecter avec ProConnect" in browser.get("/connexion").text
        before = browser.client.cookies["session"]
        assert browser.get("/connexion/oidc?suite=/depots").url.path == "/depots"
        assert browser.client.cookies["session"] != before
        claims["mail"] = "autre@exemple.fr"  # the person is known by the subject from now on
        assert portal.browser().get("/connexion/oidc").url.path == "/attendu"
        claims["sub"] = "43"
        stranger = portal.browser().get("/connexion/oidc")
        assert stranger.status_code == 403
        assert "Aucun accès n" in stranger.text


@pytest.mark.parametrize("broken", ["nonce", "key", "state"])
def test_an_answer_that_is_not_for_this_browser_is_refused(tmp_path: Path, registry: Registry, broken: str) -> None:
    forged = {"nonce": {"nonce": "another"}, "key": {"key": RSAKey.generate_key(2048)}, "state": {}}[broken]
    with (
        issuer(sub="42", mail="marie@exemple.fr", **forged) as (address, _),
        serving(tmp_path / "home", registry, oidc_issuer=address, oidc_client_id="portail") as portal,
    ):
        accounts.invite(
            portal.portal.store, portal.portal.now, "marie@exemple.fr", "Marie", [Grant("depositor", "siae-07")]
        )
        browser = portal.browser()
        browser.get("/connexion")
        path = "/connexion/oidc/retour?code=c0de&state=another" if broken == "state" else "/connexion/oidc"
        assert browser.get(path).status_code == 403
        assert browser.get("/depots").url.path == "/connexion"


# -- a shared folder --------------------------------------------------------------------------------------------------


def test_a_file_in_the_shared_folder_becomes_the_same_delivery(portal: Portal, tmp_path: Path) -> None:
    drop = tmp_path / "drop" / "siae-07" / "siae_monthly" / "2026-10"
    drop.mkdir(parents=True)
    file = drop / "fichier.csv"
    file.write_bytes(OCTOBER.read_bytes())
    (drop / "en-cours.csv.part").write_text("x")
    (tmp_path / "drop" / "inconnu").mkdir()
    (tmp_path / "drop" / "inconnu" / "a.csv").write_text("x")
    (drop / "lien.csv").symlink_to("/etc/passwd")
    now = portal.now.timestamp()
    os.utime(file, (now, now))
    assert dropping.collect(portal, tmp_path / "drop") == []  # it may still be arriving
    os.utime(file, (now - 60, now - 60))
    (collected,) = dropping.collect(portal, tmp_path / "drop")
    assert (collected.partner, collected.sequence, collected.status) == ("siae-07", 1, "applied")
    answers = tmp_path / "drop" / "siae-07" / "reponses"
    assert json.loads((answers / "recepisse-00000001.json").read_text()) == receipts(portal.lake)[0].to_json()
    assert not file.exists()
    assert (drop / "en-cours.csv.part").exists()
    file.write_bytes(OCTOBER.read_bytes())  # a crash before it went: taken again, the same receipt
    os.utime(file, (now - 60, now - 60))
    assert [one.sequence for one in dropping.collect(portal, tmp_path / "drop")] == [1]
    assert len(receipts(portal.lake)) == 1


# -- PostgreSQL -------------------------------------------------------------------------------------------------------


@pytest.fixture
def postgresql() -> Iterator[str]:
    """The address of a real PostgreSQL. Started by root it runs as a user of its own, who must reach its folder."""
    pgserver = pytest.importorskip("pgserver")
    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        database = pgserver.get_server(Path(folder) / "pg", cleanup_mode="stop")
        try:
            yield database.get_uri().replace("postgresql://", "postgresql+psycopg://")
        finally:
            database.cleanup()


def test_the_portal_remembers_in_postgresql_as_in_sqlite(tmp_path: Path, registry: Registry, postgresql: str) -> None:
    with serving(tmp_path / "home", registry, database_url=postgresql) as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"))
        browser = portal.browser()
        assert browser.sign_in("a@exemple.fr").url.path == "/attendu"
        assert browser.deposit(OCTOBER, partenaire="siae-07", mois="2026-10").url.path == "/depots/1"
        threads = [
            threading.Thread(target=portal.portal.note, args=("portal", "act", str(number))) for number in range(10)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert list(audit.altered(portal.portal.store)) == []
        assert len(audit.lines(portal.portal.store)) >= 12
        with pytest.raises(Exception, match="append only"), portal.portal.store.writing() as connection:
            connection.exec_driver_sql("UPDATE audit SET actor = 'x'")
    assert not (tmp_path / "home" / "portal").exists()


def test_requests_beyond_the_rate_are_told_to_wait(tmp_path: Path, registry: Registry) -> None:
    with serving(tmp_path / "home", registry, requests_per_minute=5) as portal:
        browser = portal.browser()
        answers = [browser.get("/connexion") for _ in range(8)]
    assert {answer.status_code for answer in answers} == {200, 429}
    assert int(answers[-1].headers["retry-after"]) > 0


def test_a_partner_has_a_daily_share(tmp_path: Path, registry: Registry) -> None:
    with serving(tmp_path / "home", registry, daily_deposits=1) as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"))
        browser = portal.signed_in("a@exemple.fr")
        assert browser.deposit(OCTOBER, partenaire="siae-07", mois="2026-10").status_code == 200
        assert browser.deposit(OCTOBER, partenaire="siae-07", mois="2026-10").status_code == 429
