"""Who is at the other end of a browser: sessions, and the proof that a form comes from our own page.

Belongs here: beginning, finding and ending sessions, the token of a form. Does not belong here: checking a password
(`accounts`), which role a route asks for (`access`).

A cookie holds 256 random bits; the database holds their digest. The secret changes at every step of signing in. The
token of a form is drawn from the cookie, so that a page before sign-in has one too and nothing need be stored for it.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sql
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from insertion_pipeline.portal import accounts, store
from insertion_pipeline.portal.accounts import Account
from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.portal.store import Store, digest_of, new_secret, written

#: How often a session's last use is written down: not at every request.
_SEEN_SECONDS = 60


@dataclass(frozen=True)
class Session:
    """A signed-in browser. `is_complete`: the second factor was given where one is needed."""

    account: Account
    is_complete: bool


def cookie_name(settings: PortalSettings) -> str:
    """`__Host-` binds the cookie to our host over HTTPS; browsers refuse that name over plain HTTP."""
    return "__Host-session" if settings.is_https else "session"


def begin(database: Store, now: datetime, account: Account, *, is_complete: bool, former: str | None = None) -> str:
    """A new session, with a secret of its own; the one before it ends."""
    secret = new_secret()
    with database.writing() as connection:
        if former is not None:
            connection.execute(sql.delete(store.sessions).where(store.sessions.c.digest == digest_of(former)))
        connection.execute(
            sql.insert(store.sessions).values(
                digest=digest_of(secret), account_id=account.number, is_complete=is_complete,
                created_at=written(now), seen_at=written(now),
            )
        )  # fmt: skip
    return secret


def find(database: Store, now: datetime, secret: str, settings: PortalSettings) -> Session | None:
    """The session of a cookie, unless it was idle too long or is too old."""
    with database.reading() as connection:
        row = connection.execute(sql.select(store.sessions).where(store.sessions.c.digest == digest_of(secret))).first()
    if row is None:
        return None
    idle_since, began = datetime.fromisoformat(row.seen_at), datetime.fromisoformat(row.created_at)
    is_over = now - idle_since > timedelta(minutes=settings.idle_minutes)
    if is_over or now - began > timedelta(hours=settings.session_hours):
        end(database, secret)
        return None
    account = accounts.by_number(database, row.account_id)
    if account is None or account.is_disabled:
        return None
    if now - idle_since > timedelta(seconds=_SEEN_SECONDS):
        with database.writing() as connection:
            connection.execute(
                sql.update(store.sessions)
                .where(store.sessions.c.digest == digest_of(secret))
                .values(seen_at=written(now))
            )
    return Session(account, row.is_complete)


def end(database: Store, secret: str) -> None:
    """Sign out."""
    with database.writing() as connection:
        connection.execute(sql.delete(store.sessions).where(store.sessions.c.digest == digest_of(secret)))


def forget_old(database: Store, now: datetime, settings: PortalSettings) -> None:
    """Remove the sessions that have ended by themselves."""
    before = written(now - timedelta(hours=settings.session_hours))
    with database.writing() as connection:
        connection.execute(sql.delete(store.sessions).where(store.sessions.c.created_at < before))


def form_token(secret: str) -> str:
    """What every form of this browser carries."""
    return hmac.new(secret.encode(), b"form", hashlib.sha256).hexdigest()


def is_ours(secret: str, token: str) -> bool:
    """Whether a form was shown to this browser by us."""
    return hmac.compare_digest(form_token(secret), token)


def verdict_key(secret: str, name: str) -> bytes:
    """The key of what is kept for this browser alone: the server cannot make it without the cookie."""
    return HKDF(SHA256(), 32, salt=None, info=b"verdict " + name.encode()).derive(secret.encode())
