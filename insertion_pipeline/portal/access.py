"""Who may do what: everything is denied unless a route says who may.

Belongs here: the mark that a route carries, the gate that reads it, what a request knows of its author. Does not belong
here: signing in (`pages.entering`), whose delivery something is (each route asks, and answers 404).

The gate stands before every route of the application. A route without a mark answers 404 to everyone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from fastapi import Request
from starlette.datastructures import UploadFile

from insertion_pipeline.portal import sessions, tokens
from insertion_pipeline.portal.accounts import Account
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.tokens import Token
from insertion_pipeline.registry import Partner

EVERYONE, SIGNED_IN, MACHINES = "everyone", "signed in", "machines"
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
_MOST_FIELDS = 4_000
#: What somebody who still has to set a second factor may do.
_ENROLMENT = ("/compte/second-facteur", "/deconnexion")

_Route = TypeVar("_Route", bound=Callable[..., Any])


class MustSignIn(Exception):
    """Nobody is signed in: pages lead to the sign-in."""


class MustEnrol(Exception):
    """A role of this person asks for a second factor, and there is none yet."""


class NotFound(Exception):
    """There is no such thing for this person."""


class Forbidden(Exception):
    """The form was not ours: no token, another's token, another origin."""


class Unauthorised(Exception):
    """The API was called without a valid token."""


class ScopeMissing(Exception):
    """The token does not allow this."""


def open_to(*roles: str, scope: str | None = None) -> Callable[[_Route], _Route]:
    """Mark a route with who may use it: roles, `EVERYONE`, `SIGNED_IN`, or `MACHINES` whose token has `scope`."""

    def mark(route: _Route) -> _Route:
        route.__access__ = (frozenset(roles), scope)  # type: ignore[attr-defined]
        return route

    return mark


@dataclass(frozen=True)
class Visitor:
    """The author of a page request. `secret`: what the cookie holds, null before the first form."""

    secret: str
    account: Account | None = None
    pending: Account | None = None


async def admitted(request: Request) -> None:
    """The gate. Raises what the application answers as 303, 401, 403 or 404."""
    roles, scope = getattr(request.scope["route"].endpoint, "__access__", (frozenset(), None))
    if not roles:
        raise NotFound
    portal: Portal = request.app.state.portal
    if MACHINES in roles:
        request.state.token = _token_of(request, portal, scope)
        return
    visitor = recognised(request, portal)
    request.state.visitor = visitor
    if EVERYONE not in roles:
        if visitor.account is None:
            raise MustSignIn
        if _must_enrol(visitor.account, portal) and not request.url.path.startswith(_ENROLMENT):
            raise MustEnrol
        if SIGNED_IN not in roles and not any(visitor.account.has(role) for role in roles):
            raise NotFound
    if request.method not in _SAFE:
        await _refuse_foreign_form(request, portal, visitor)


def _must_enrol(account: Account, portal: Portal) -> bool:
    """Whether a second factor is missing: of an account with a password, the identity provider sees to its own."""
    asked = any(account.has(role) for role in portal.settings.second_factor_roles)
    return asked and account.has_password and not account.has_second_factor


def _token_of(request: Request, portal: Portal, scope: str | None) -> Token:
    kind, _, secret = request.headers.get("authorization", "").partition(" ")
    token = tokens.find(portal.store, portal.now, secret) if kind.lower() == "bearer" and secret else None
    if token is None:
        raise Unauthorised
    portal.rate.take(token.actor)
    if scope is not None and scope not in token.scopes:
        raise ScopeMissing(scope)
    return token


def recognised(request: Request, portal: Portal) -> Visitor:
    """Whose browser it is, from its cookie."""
    secret = request.cookies.get(sessions.cookie_name(portal.settings), "")
    if not secret:
        return Visitor("")
    session = sessions.find(portal.store, portal.now, secret, portal.settings)
    if session is None:
        return Visitor(secret)
    if not session.is_complete:
        return Visitor(secret, pending=session.account)
    return Visitor(secret, account=session.account)


async def _refuse_foreign_form(request: Request, portal: Portal, visitor: Visitor) -> None:
    """Raises `Forbidden` unless the form carries this browser's token and comes from our origin."""
    origin = request.headers.get("origin")
    if origin is not None and origin not in (portal.settings.origin, f"http://{request.headers.get('host', '')}"):
        raise Forbidden
    if request.headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
        raise Forbidden
    form = await request.form(max_fields=_MOST_FIELDS, max_files=portal.settings.files_at_once + 1)
    token = form.get("jeton")
    if not visitor.secret or not isinstance(token, str) or not sessions.is_ours(visitor.secret, token):
        raise Forbidden


# -- what routes ask --------------------------------------------------------------------------------------------------


def portal_of(request: Request) -> Portal:
    """The portal that the request came to."""
    portal: Portal = request.app.state.portal
    return portal


def visitor_of(request: Request) -> Visitor:
    """Whose browser it is."""
    visitor: Visitor = request.state.visitor
    return visitor


def account_of(request: Request) -> Account:
    """The person signed in: the gate has let nobody else in."""
    account = visitor_of(request).account
    if account is None:
        raise MustSignIn
    return account


def token_of(request: Request) -> Token:
    """The token of an API request."""
    token: Token = request.state.token
    return token


async def form_of(request: Request) -> Form:
    """The form that the gate has let in."""
    return Form(await request.form(max_fields=_MOST_FIELDS))


class Form:
    """Text and files of a form, one value each unless asked for several."""

    def __init__(self, fields: Any) -> None:
        self._fields = fields

    def text(self, name: str, longest: int = 10_000) -> str:
        value = self._fields.get(name)
        return value.strip()[:longest] if isinstance(value, str) else ""

    def raw(self, name: str, longest: int = 2_000_000) -> str:
        """The text as it was typed: a password, pasted lines."""
        value = self._fields.get(name)
        return value[:longest] if isinstance(value, str) else ""

    def texts(self, name: str) -> list[str]:
        return [value for value in self._fields.getlist(name) if isinstance(value, str)]

    def files(self, name: str) -> list[UploadFile]:
        return [one for one in self._fields.getlist(name) if isinstance(one, UploadFile) and one.filename]

    def items(self) -> list[tuple[str, str]]:
        return [(name, value) for name, value in self._fields.multi_items() if isinstance(value, str)]


def own_partner(request: Request, code: str | None) -> Partner:
    """One of the partners that this person deposits for: the first when none is named. Raises `NotFound`."""
    codes = [one for one in account_of(request).partners if one in portal_of(request).registry.partners]
    if not codes or (code and code not in codes):
        raise NotFound
    return portal_of(request).registry.partner(code or codes[0])
