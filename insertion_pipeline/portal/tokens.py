"""Tokens for machines: made by a person, for one partner, for some acts, for a while.

Belongs here: making, finding, revoking; which key was used for which file. Does not belong here: what a token is asked
for (`api`). The token is shown once; its digest is stored.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sql

from insertion_pipeline.portal import accounts, store
from insertion_pipeline.portal.store import Store, digest_of, new_secret, written

#: What a token may be allowed to do.
SCOPES = {
    "check": "contrôler un fichier",
    "deliver": "déposer un fichier",
    "read": "lire les récépissés, les formats et les publications",
}
LONGEST_DAYS = 366
_PREFIX = "insertion_"


@dataclass(frozen=True)
class Token:
    """A token, without its secret."""

    number: int
    account: int
    partner: str
    label: str
    scopes: frozenset[str]
    expires_at: str
    used_at: str | None
    revoked_at: str | None

    @property
    def actor(self) -> str:
        return f"token:{self.number}"


def make(
    database: Store, now: datetime, account: int, partner: str, label: str, scopes: frozenset[str], days: int
) -> str:
    """A new token's secret, shown once."""
    secret = _PREFIX + new_secret()
    with database.writing() as connection:
        connection.execute(
            sql.insert(store.tokens).values(
                digest=digest_of(secret), account_id=account, partner=partner, label=label,
                scopes=" ".join(sorted(scopes & SCOPES.keys())), created_at=written(now),
                expires_at=written(now + timedelta(days=min(max(days, 1), LONGEST_DAYS))),
            )
        )  # fmt: skip
    return secret


def find(database: Store, now: datetime, secret: str) -> Token | None:
    """The token of a secret, while it is valid and its owner still deposits for the partner."""
    with database.writing() as connection:
        row = connection.execute(sql.select(store.tokens).where(store.tokens.c.digest == digest_of(secret))).first()
        if row is None or row.revoked_at is not None or row.expires_at <= written(now):
            return None
        if row.used_at is None or row.used_at[:13] != written(now)[:13]:  # once an hour is precise enough
            connection.execute(sql.update(store.tokens).where(store.tokens.c.id == row.id).values(used_at=written(now)))
    owner = accounts.by_number(database, row.account_id)
    if owner is None or owner.is_disabled or row.partner not in owner.partners:
        return None
    return _token(row)


def of_account(database: Store, account: int) -> list[Token]:
    """The tokens of a person, newest first."""
    with database.reading() as connection:
        rows = connection.execute(
            sql.select(store.tokens).where(store.tokens.c.account_id == account).order_by(store.tokens.c.id.desc())
        )
        return [_token(row) for row in rows]


def revoke(database: Store, now: datetime, account: int, number: int) -> bool:
    """End a token of one's own."""
    with database.writing() as connection:
        ended = connection.execute(
            sql.update(store.tokens)
            .where(
                (store.tokens.c.id == number)
                & (store.tokens.c.account_id == account)
                & store.tokens.c.revoked_at.is_(None)
            )
            .values(revoked_at=written(now))
        )
        return bool(ended.rowcount)


def key_fits(database: Store, now: datetime, token: int, key: str, digest: str) -> bool:
    """Whether an `Idempotency-Key` was not used for another request. The first request with a key keeps it a day."""
    with database.writing_alone() as connection:
        since = written(now - timedelta(days=1))
        connection.execute(sql.delete(store.repeatable).where(store.repeatable.c.at < since))
        known = connection.execute(
            sql.select(store.repeatable.c.digest).where(
                (store.repeatable.c.token_id == token) & (store.repeatable.c.key == digest_of(key))
            )
        ).scalar_one_or_none()
        if known is None:
            connection.execute(
                sql.insert(store.repeatable).values(token_id=token, key=digest_of(key), digest=digest, at=written(now))
            )
        return known is None or known == digest


def _token(row: sql.Row[tuple[object, ...]]) -> Token:
    return Token(
        row.id, row.account_id, row.partner, row.label, frozenset(row.scopes.split()), row.expires_at, row.used_at,
        row.revoked_at,
    )  # fmt: skip
