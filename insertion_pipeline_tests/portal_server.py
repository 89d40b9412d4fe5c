"""A real portal for tests: uvicorn on loopback, a clock that stands still, people who can sign in.

Belongs here: what several test files of the portal share. Does not belong here: any assertion.
"""

from __future__ import annotations

import contextlib
import re
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import argon2
import httpx
import uvicorn

from insertion_pipeline.lake import Lake
from insertion_pipeline.portal import accounts, tokens
from insertion_pipeline.portal.accounts import Grant
from insertion_pipeline.portal.app import create_app
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.registry import Registry

#: Loopback without TLS: a client of its own for each person need not read the world's certificates each time.
_NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
PASSWORD = "une phrase facile à retenir"

# argon2id as in production, but cheap: a test signs in fifty times
accounts._HASHER = argon2.PasswordHasher(time_cost=1, memory_cost=256, parallelism=1)
accounts._NOBODY = accounts._HASHER.hash("personne")


@dataclass
class StillClock:
    """It is what it is told to be."""

    moment: datetime = datetime(2026, 11, 9, 9, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.moment


@dataclass
class Served:
    """A portal at work, and ways to call it."""

    address: str
    portal: Portal
    clock: StillClock

    def person(self, email: str, *grants: tuple[str, str]) -> accounts.Account:
        """Somebody who may sign in with `PASSWORD`."""
        account, _ = accounts.invite(
            self.portal.store, self.portal.now, email, email.split("@")[0].title(), [Grant(*one) for one in grants]
        )
        accounts.set_password(self.portal.store, account.number, PASSWORD)
        return account

    def browser(self) -> Browser:
        return Browser(httpx.Client(base_url=self.address, follow_redirects=True, timeout=60, verify=_NO_TLS))

    def signed_in(self, email: str) -> Browser:
        """A browser of somebody, without the cost of a password."""
        from insertion_pipeline.portal import sessions

        account = accounts.by_email(self.portal.store, email)
        assert account is not None
        secret = sessions.begin(self.portal.store, self.portal.now, account, is_complete=True)
        browser = self.browser()
        browser.client.cookies.set("session", secret, domain="127.0.0.1")
        return browser

    def api(self, email: str, partner: str, scopes: str = "check deliver read") -> httpx.Client:
        """A program of somebody, for a partner."""
        account = accounts.by_email(self.portal.store, email)
        assert account is not None
        secret = tokens.make(
            self.portal.store, self.portal.now, account.number, partner, "tests", frozenset(scopes.split()), 30
        )
        return self.bearing(secret)

    def bearing(self, secret: str) -> httpx.Client:
        """A program with this token."""
        headers = {"Authorization": f"Bearer {secret}"}
        return httpx.Client(base_url=f"{self.address}/api/v1", headers=headers, timeout=120, verify=_NO_TLS)


@dataclass
class Browser:
    """What a browser without JavaScript does: pages, forms with their token, files."""

    client: httpx.Client

    def get(self, path: str) -> httpx.Response:
        return self.client.get(path)

    def token(self, path: str) -> str:
        found = re.search(r'name="jeton" value="([0-9a-f]+)"', self.client.get(path).text)
        assert found is not None, f"no form at {path}"
        return found[1]

    def post(self, path: str, page: str, fields: dict[str, str] | None = None, **files: object) -> httpx.Response:
        """Fill in the form of `page` and send it to `path`."""
        return self.client.post(path, data={"jeton": self.token(page), **(fields or {})}, files=files or None)

    def sign_in(self, email: str, password: str = PASSWORD) -> httpx.Response:
        return self.post("/connexion", "/connexion", {"email": email, "mot_de_passe": password})

    def deposit(self, path: Path, **fields: str) -> httpx.Response:
        with path.open("rb") as file:
            return self.post("/deposer", "/deposer", {"action": "deposer", **fields}, fichier=(path.name, file))


@contextlib.contextmanager
def serving(home: Path, registry: Registry, clock: StillClock | None = None, **settings: object) -> Iterator[Served]:
    """A portal over `home`, on a port of its own, until the block ends."""
    clock = clock or StillClock()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"http://127.0.0.1:{port}"
    lake = Lake.open(home, clock=clock)
    chosen = PortalSettings(**({"public_url": address, "second_factor_roles": ()} | settings))
    app = create_app(lake, registry, chosen)
    server = uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        yield Served(address, app.state.portal, clock)
    finally:
        server.should_exit = True
        thread.join(timeout=30)
