"""People and what they are allowed: local accounts, roles, passwords, second factors, one-time links.

Belongs here: creating and finding accounts, verifying what they type. Does not belong here: sessions (`sessions`),
which route asks for which role (`access`), the identity provider (`oidc`).
"""

from __future__ import annotations

import base64
import hmac
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal

import argon2
import pyotp
import sqlalchemy as sql
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy.engine import Connection, RowMapping

from insertion_pipeline.portal import store
from insertion_pipeline.portal.languages import Sentence
from insertion_pipeline.portal.store import Store, digest_of, new_secret, written
from insertion_pipeline.sealing import Keyring

Role = Literal["depositor", "animator", "reviewer", "analyst", "administrator"]
ROLES: tuple[Role, ...] = ("depositor", "animator", "reviewer", "analyst", "administrator")

#: A passphrase of this length needs no further rule (NIST SP 800-63B, ANSSI).
SHORTEST_PASSWORD, LONGEST_PASSWORD = 12, 256
#: Given with a second factor, for the day when the telephone is lost.
RECOVERY_CODES = 8
LINK_HOURS = {"invitation": 7 * 24, "reset": 1}

_HASHER = argon2.PasswordHasher()  # argon2id, the library's parameters (RFC 9106, low memory)
#: What the password of nobody is compared with, so that an unknown address takes as long as a known one.
_NOBODY = _HASHER.hash(secrets.token_urlsafe(16))


class PasswordRefused(ValueError):
    """The new password is too short or too long. `sentence` tells its owner."""

    def __init__(self, sentence: Sentence) -> None:
        super().__init__(str(sentence))
        self.sentence = sentence


@dataclass(frozen=True)
class Grant:
    """A role, and what it holds for: a partner's code for a depositor, a territory's for an animator."""

    role: Role
    scope: str


@dataclass(frozen=True)
class Account:
    """A person who may sign in."""

    number: int
    email: str
    name: str
    grants: tuple[Grant, ...]
    has_password: bool
    has_second_factor: bool
    is_disabled: bool
    absent_from: date | None = None
    absent_until: date | None = None

    @property
    def actor(self) -> str:
        """What the journal calls this person."""
        return f"account:{self.number}"

    @property
    def partners(self) -> tuple[str, ...]:
        """The partners that this person deposits for."""
        return tuple(grant.scope for grant in self.grants if grant.role == "depositor")

    def has(self, role: str) -> bool:
        return any(grant.role == role for grant in self.grants)

    def scopes(self, role: str) -> tuple[str, ...]:
        return tuple(grant.scope for grant in self.grants if grant.role == role)

    def is_absent(self, day: date) -> bool:
        return (
            self.absent_from is not None
            and self.absent_from <= day
            and (self.absent_until is None or day <= self.absent_until)
        )


def normalised(email: str) -> str:
    """An address as it is compared."""
    return email.strip().casefold()


# -- finding ----------------------------------------------------------------------------------------------------------


def by_number(database: Store, number: int) -> Account | None:
    """The account that the journal calls by this number."""
    return _found(database, store.accounts.c.id == number)


def by_email(database: Store, email: str) -> Account | None:
    """The account of an address."""
    return _found(database, store.accounts.c.email == normalised(email))


def by_subject(database: Store, issuer: str, subject: str) -> Account | None:
    """Who the identity provider says it is."""
    return _found(database, (store.accounts.c.oidc_issuer == issuer) & (store.accounts.c.oidc_subject == subject))


def everyone(database: Store) -> list[Account]:
    """All accounts, oldest first."""
    return _all(database, sql.true())


def contacts(database: Store, partner: str) -> list[Account]:
    """Who deposits for a partner: the first contact, then the others."""
    deposits = sql.select(store.grants.c.account_id).where(
        (store.grants.c.role == "depositor") & (store.grants.c.scope == partner)
    )
    return _all(database, store.accounts.c.id.in_(deposits) & store.accounts.c.disabled_at.is_(None))


def _found(database: Store, condition: sql.ColumnElement[bool]) -> Account | None:
    return next(iter(_all(database, condition)), None)


def _all(database: Store, condition: sql.ColumnElement[bool]) -> list[Account]:
    """The accounts that fit, oldest first, with what each was granted, in the order of granting."""
    granted: dict[int, list[Grant]] = {}
    with database.reading() as connection:
        rows = connection.execute(sql.select(store.accounts).where(condition).order_by(store.accounts.c.id)).mappings()
        found = rows.all()
        fitting = sql.select(store.accounts.c.id).where(condition)
        for grant in connection.execute(
            sql.select(store.grants).where(store.grants.c.account_id.in_(fitting)).order_by(store.grants.c.id)
        ):
            granted.setdefault(grant.account_id, []).append(Grant(grant.role, grant.scope))
    return [_account(row, granted.get(row["id"], ())) for row in found]


def _account(row: RowMapping, granted: Sequence[Grant]) -> Account:
    return Account(
        row["id"],
        row["email"],
        row["name"],
        tuple(granted),
        row["password_hash"] is not None,
        row["totp_secret"] is not None,
        row["disabled_at"] is not None,
        date.fromisoformat(row["absent_from"]) if row["absent_from"] else None,
        date.fromisoformat(row["absent_until"]) if row["absent_until"] else None,
    )


# -- making -----------------------------------------------------------------------------------------------------------


def invite(database: Store, now: datetime, email: str, name: str, grants: Iterable[Grant]) -> tuple[Account, str]:
    """The account of an address, with these roles besides those it had, and the secret of its invitation."""
    address = normalised(email)
    with database.writing() as connection:
        number = connection.execute(
            sql.select(store.accounts.c.id).where(store.accounts.c.email == address)
        ).scalar_one_or_none()
        if number is None:
            number = connection.execute(
                sql.insert(store.accounts)
                .values(email=address, name=name.strip(), created_at=written(now))
                .returning(store.accounts.c.id)
            ).scalar_one()
        held = set(
            connection.execute(
                sql.select(store.grants.c.role, store.grants.c.scope).where(store.grants.c.account_id == number)
            ).all()
        )
        for grant in grants:
            if (grant.role, grant.scope) not in {tuple(one) for one in held}:
                connection.execute(
                    sql.insert(store.grants).values(account_id=number, role=grant.role, scope=grant.scope)
                )
        secret = _link(connection, now, number, "invitation")
    account = by_number(database, number)
    assert account is not None  # noqa: S101 (it was just written)
    return account, secret


def set_disabled(database: Store, now: datetime, number: int, *, disabled: bool) -> None:
    """Close an account, and end its sessions and tokens; or open it again."""
    with database.writing() as connection:
        connection.execute(
            sql.update(store.accounts)
            .where(store.accounts.c.id == number)
            .values(disabled_at=written(now) if disabled else None)
        )
        if disabled:
            connection.execute(sql.delete(store.sessions).where(store.sessions.c.account_id == number))
            connection.execute(
                sql.update(store.tokens)
                .where((store.tokens.c.account_id == number) & store.tokens.c.revoked_at.is_(None))
                .values(revoked_at=written(now))
            )


def withdraw(database: Store, number: int, role: str, scope: str) -> None:
    """Take a role away."""
    with database.writing() as connection:
        connection.execute(
            sql.delete(store.grants).where(
                (store.grants.c.account_id == number) & (store.grants.c.role == role) & (store.grants.c.scope == scope)
            )
        )


def set_absence(database: Store, number: int, begins: date | None, ends: date | None) -> None:
    """When somebody is away: reminders go to the next contact."""
    with database.writing() as connection:
        connection.execute(
            sql.update(store.accounts)
            .where(store.accounts.c.id == number)
            .values(absent_from=begins.isoformat() if begins else None, absent_until=ends.isoformat() if ends else None)
        )


def attach_subject(database: Store, number: int, issuer: str, subject: str) -> bool:
    """Remember who the identity provider says this account is. False when it already is somebody else."""
    with database.writing() as connection:
        attached = connection.execute(
            sql.update(store.accounts)
            .where((store.accounts.c.id == number) & store.accounts.c.oidc_subject.is_(None))
            .values(oidc_issuer=issuer, oidc_subject=subject)
        )
        return bool(attached.rowcount)


# -- passwords --------------------------------------------------------------------------------------------------------


def verify_password(database: Store, email: str, password: str) -> Account | None:
    """The account whose address and password these are. Nobody's password takes as long to refuse as somebody's."""
    with database.reading() as connection:
        stored = connection.execute(
            sql.select(store.accounts.c.password_hash).where(store.accounts.c.email == normalised(email))
        ).scalar_one_or_none()
    try:
        _HASHER.verify(stored or _NOBODY, password[:LONGEST_PASSWORD])
    except argon2.exceptions.VerificationError:
        return None
    account = by_email(database, email)
    return account if account is not None and not account.is_disabled and stored is not None else None


def check_password(password: str) -> None:
    """Raises `PasswordRefused`."""
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PasswordRefused(
            Sentence(
                "Choisissez un mot de passe d'au moins %(count)s caractères : une phrase convient très bien.",
                {"count": SHORTEST_PASSWORD},
            )
        )


def set_password(database: Store, number: int, password: str) -> None:
    """Give an account a password, and end its sessions. Raises `PasswordRefused`."""
    check_password(password)
    with database.writing() as connection:
        connection.execute(
            sql.update(store.accounts).where(store.accounts.c.id == number).values(password_hash=_HASHER.hash(password))
        )
        connection.execute(sql.delete(store.sessions).where(store.sessions.c.account_id == number))


# -- one-time links ---------------------------------------------------------------------------------------------------


def new_link(database: Store, now: datetime, number: int, kind: Literal["invitation", "reset"]) -> str:
    """The secret of a link that works once, for a while; earlier links of its kind stop working."""
    with database.writing() as connection:
        return _link(connection, now, number, kind)


def holder_of_link(database: Store, now: datetime, secret: str, kind: str) -> Account | None:
    """Whose link this is, while it works."""
    with database.reading() as connection:
        number = connection.execute(
            sql.select(store.links.c.account_id).where(
                (store.links.c.digest == digest_of(secret))
                & (store.links.c.kind == kind)
                & store.links.c.used_at.is_(None)
                & (store.links.c.expires_at > written(now))
            )
        ).scalar_one_or_none()
    account = by_number(database, number) if number is not None else None
    return None if account is None or account.is_disabled else account


def use_link(database: Store, now: datetime, secret: str) -> bool:
    """Spend a link. False when another request was faster."""
    with database.writing() as connection:
        spent = connection.execute(
            sql.update(store.links)
            .where((store.links.c.digest == digest_of(secret)) & store.links.c.used_at.is_(None))
            .values(used_at=written(now))
        )
        return bool(spent.rowcount)


def _link(connection: Connection, now: datetime, number: int, kind: str) -> str:
    connection.execute(
        sql.update(store.links)
        .where((store.links.c.account_id == number) & (store.links.c.kind == kind) & store.links.c.used_at.is_(None))
        .values(used_at=written(now))
    )
    secret = new_secret()
    expires = now + timedelta(hours=LINK_HOURS[kind])
    connection.execute(
        sql.insert(store.links).values(
            digest=digest_of(secret), account_id=number, kind=kind, expires_at=written(expires)
        )
    )
    return secret


# -- second factor ----------------------------------------------------------------------------------------------------


def new_totp_secret() -> str:
    """A secret to show once, as text and as a QR code."""
    return pyotp.random_base32()


def totp_address(secret: str, email: str) -> str:
    """What the QR code says to an authenticator."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name="Portail insertion")


def fits(secret: str, code: str, now: datetime) -> int | None:
    """The time step of a six-digit code that fits, within 30 seconds; null for another code."""
    step = int(now.timestamp()) // 30
    totp = pyotp.TOTP(secret)
    for candidate in (step - 1, step, step + 1):
        if hmac.compare_digest(totp.at(candidate * 30).encode(), code.replace(" ", "").encode()):
            return candidate
    return None


def set_totp(database: Store, keyring: Keyring, number: int, secret: str) -> list[str]:
    """Keep a second factor under seal. Returns its recovery codes, which are never shown again."""
    codes = [_recovery_code() for _ in range(RECOVERY_CODES)]
    with database.writing() as connection:
        _replace_second_factor(connection, number, _sealed(keyring, number, secret))
        for code in codes:
            connection.execute(sql.insert(store.recovery_codes).values(digest=_digest_of(code), account_id=number))
    return codes


def remove_totp(database: Store, number: int) -> None:
    """Remove a second factor, and the recovery codes with it."""
    with database.writing() as connection:
        _replace_second_factor(connection, number, None)


def _replace_second_factor(connection: Connection, number: int, sealed: bytes | None) -> None:
    connection.execute(
        sql.update(store.accounts).where(store.accounts.c.id == number).values(totp_secret=sealed, totp_last_step=0)
    )
    connection.execute(sql.delete(store.recovery_codes).where(store.recovery_codes.c.account_id == number))


def _recovery_code() -> str:
    """120 random bits, so that one round of a digest is enough to store them (ASVS 5.0, 6.5.2): `ABCDEF-GHIJKL-…`."""
    letters = base64.b32encode(secrets.token_bytes(15)).decode()
    return "-".join(letters[first : first + 6] for first in range(0, len(letters), 6))


def _digest_of(code: str) -> str:
    """The digest of a recovery code, however its owner has copied it."""
    return digest_of("".join(mark for mark in code.upper() if mark.isalnum()))


def use_recovery_code(database: Store, now: datetime, number: int, code: str) -> bool:
    """Spend a recovery code. False for one that is not this account's, or has served."""
    with database.writing() as connection:
        spent = connection.execute(
            sql.update(store.recovery_codes)
            .where(
                (store.recovery_codes.c.digest == _digest_of(code))
                & (store.recovery_codes.c.account_id == number)
                & store.recovery_codes.c.used_at.is_(None)
            )
            .values(used_at=written(now))
        )
        return bool(spent.rowcount)


def recovery_codes_left(database: Store, number: int) -> int:
    """How many recovery codes an account still has."""
    with database.reading() as connection:
        return connection.execute(
            sql.select(sql.func.count())
            .select_from(store.recovery_codes)
            .where((store.recovery_codes.c.account_id == number) & store.recovery_codes.c.used_at.is_(None))
        ).scalar_one()


def verify_totp(database: Store, keyring: Keyring, now: datetime, number: int, code: str) -> bool:
    """Whether the code is right; a code works once."""
    with database.writing() as connection:
        row = connection.execute(
            sql.select(store.accounts.c.totp_secret, store.accounts.c.totp_last_step).where(
                store.accounts.c.id == number
            )
        ).one()
        if row.totp_secret is None:
            return False
        step = fits(_opened(keyring, number, row.totp_secret), code, now)
        if step is None or step <= row.totp_last_step:
            return False
        connection.execute(sql.update(store.accounts).where(store.accounts.c.id == number).values(totp_last_step=step))
        return True


def _sealed(keyring: Keyring, number: int, secret: str) -> bytes:
    nonce = secrets.token_bytes(12)
    return nonce + AESGCM(keyring.purpose_key("portal")).encrypt(nonce, secret.encode(), str(number).encode())


def _opened(keyring: Keyring, number: int, sealed: bytes) -> str:
    cipher = AESGCM(keyring.purpose_key("portal"))
    return cipher.decrypt(sealed[:12], sealed[12:], str(number).encode()).decode()
