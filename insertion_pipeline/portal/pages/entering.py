"""Signing in and out: password, second factor, invitation, forgotten password, identity provider.

Belongs here: the pages before there is a person, and the cookie. Does not belong here: what a person may do then.
"""

from __future__ import annotations

from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse
from starlette.background import BackgroundTask

from insertion_pipeline.portal import accounts, languages, oidc, reminding, sessions, throttling
from insertion_pipeline.portal.access import (
    EVERYONE,
    SIGNED_IN,
    Form,
    MustSignIn,
    NotFound,
    Visitor,
    account_of,
    form_of,
    open_to,
    portal_of,
    visitor_of,
)
from insertion_pipeline.portal.accounts import Account, PasswordRefused
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.languages import Sentence, marked
from insertion_pipeline.portal.rendering import page
from insertion_pipeline.portal.store import new_secret
from insertion_pipeline.portal.throttling import TooMany

router = APIRouter(include_in_schema=False)

_HOMES = {
    "depositor": "/attendu", "animator": "/tableau", "reviewer": "/revue", "analyst": "/publications",
    "administrator": "/comptes",
}  # fmt: skip
#: How long a login with the provider may take.
_LOGIN_SECONDS = 600
_LANGUAGE_SECONDS = 365 * 24 * 3600


@router.get("/")
@open_to(EVERYONE)
def home(request: Request) -> Response:
    """Where each person's work begins."""
    account = visitor_of(request).account
    return RedirectResponse(_home_of(account) if account is not None else "/connexion", status_code=303)


@router.get("/connexion")
@open_to(EVERYONE)
def sign_in_page(request: Request, suite: str = "") -> Response:
    """Address and password, or the identity provider."""
    if visitor_of(request).account is not None:
        return RedirectResponse("/", status_code=303)
    return _with_form(request, "sign_in.html", suite=_ours(suite), email="", problem="")


@router.post("/connexion")
@open_to(EVERYONE)
def sign_in(request: Request, form: Form = Depends(form_of)) -> Response:
    """Begin a session, complete or waiting for the second factor."""
    portal, email, suite = portal_of(request), form.text("email", 320), _ours(form.text("suite"))
    try:
        account = _verified(request, portal, email, form.raw("mot_de_passe", 1024))
    except TooMany as refused:
        portal.note("portal", "sign-in throttled")
        told = marked("Trop d'essais. Patientez un quart d'heure, ou demandez un nouveau mot de passe.")
        headers = {"Retry-After": str(refused.seconds)}
        return _with_form(request, "sign_in.html", 429, headers, suite=suite, email=email, problem=told)
    if account is None:
        problem = marked("L'adresse ou le mot de passe ne convient pas.")
        return _with_form(request, "sign_in.html", 401, suite=suite, email=email, problem=problem)
    return _enter(request, account, suite, is_complete=not account.has_second_factor)


def _verified(request: Request, portal: Portal, email: str, password: str) -> Account | None:
    """The account, failures counted. Raises `TooMany`."""
    who, address = accounts.normalised(email), _address(request)
    throttling.refuse_after_failures(portal.store, portal.now, who, address)
    account = accounts.verify_password(portal.store, email, password)
    if account is None:
        throttling.count_failure(portal.store, portal.now, who, address)
        portal.note("portal", "sign-in failed")
    elif not account.has_second_factor:
        throttling.forgive(portal.store, who)
    return account


@router.get("/connexion/code")
@open_to(EVERYONE)
def second_factor_page(request: Request, suite: str = "") -> Response:
    """The six digits."""
    if visitor_of(request).pending is None:
        raise MustSignIn
    return page(request, "second_factor.html", suite=_ours(suite), problem="")


@router.post("/connexion/code")
@open_to(EVERYONE)
def second_factor(request: Request, form: Form = Depends(form_of)) -> Response:
    """Complete the session: it gets a new secret."""
    portal, account = portal_of(request), visitor_of(request).pending
    if account is None:
        raise MustSignIn
    who = f"code {account.number}"
    throttling.refuse_after_failures(portal.store, portal.now, who, _address(request))
    if not _second_factor_fits(portal, account, form.text("code", 40)):
        throttling.count_failure(portal.store, portal.now, who, _address(request))
        portal.note(account.actor, "second factor failed")
        told = marked("Ce code ne convient pas. Attendez le suivant, puis recopiez-le.")
        return page(request, "second_factor.html", 401, suite=_ours(form.text("suite")), problem=told)
    throttling.forgive(portal.store, who)
    throttling.forgive(portal.store, account.email)
    return _enter(request, account, _ours(form.text("suite")), is_complete=True)


def _second_factor_fits(portal: Portal, account: Account, code: str) -> bool:
    """Whether it is the code of the moment, or a recovery code that has not served."""
    if accounts.verify_totp(portal.store, portal.lake.keyring, portal.now, account.number, code):
        return True
    if not accounts.use_recovery_code(portal.store, portal.now, account.number, code):
        return False
    portal.note(account.actor, "recovery code used")
    return True


@router.get("/langue/{code}")
@open_to(EVERYONE)
def choose_language(request: Request, code: str, suite: str = "") -> Response:
    """Keep the language that a reader chose, and return to the page."""
    settings = portal_of(request).settings
    if code not in settings.offered_languages:
        raise NotFound
    answer = RedirectResponse(_ours(suite) or "/", status_code=303)
    answer.set_cookie(
        languages.COOKIE, code, max_age=_LANGUAGE_SECONDS, httponly=True, samesite="lax", path="/",
        secure=settings.is_https,
    )  # fmt: skip
    return answer


@router.post("/deconnexion")
@open_to(SIGNED_IN)
def sign_out(request: Request) -> Response:
    """End the session."""
    portal, visitor = portal_of(request), visitor_of(request)
    sessions.end(portal.store, visitor.secret)
    portal.note(account_of(request).actor, "sign-out")
    answer = RedirectResponse("/connexion", status_code=303)
    answer.delete_cookie(sessions.cookie_name(portal.settings), path="/", secure=portal.settings.is_https)
    return answer


# -- links by mail ----------------------------------------------------------------------------------------------------


@router.get("/mot-de-passe-oublie")
@open_to(EVERYONE)
def forgotten_page(request: Request) -> Response:
    """Ask for a link."""
    return _with_form(request, "forgotten.html", sent=False)


@router.post("/mot-de-passe-oublie")
@open_to(EVERYONE)
def forgotten(request: Request, form: Form = Depends(form_of)) -> Response:
    """Send the link, and say the same whether or not there is such an account."""
    portal, email = portal_of(request), form.text("email", 320)
    who = f"forgotten {accounts.normalised(email)}"
    throttling.refuse_after_failures(portal.store, portal.now, who, _address(request))
    throttling.count_failure(portal.store, portal.now, who, _address(request))
    answer = page(request, "forgotten.html", sent=True)
    if portal.settings.smtp_host is None:
        _send_reset(portal, email)
    else:  # a mail server takes its time, or is not there: the answer must not tell who has an account
        answer.background = BackgroundTask(_send_reset, portal, email)
    return answer


def _send_reset(portal: Portal, email: str) -> None:
    """Send the link to whom it belongs, if anybody."""
    account = accounts.by_email(portal.store, email)
    if account is None or account.is_disabled:
        return
    secret = accounts.new_link(portal.store, portal.now, account.number, "reset")
    try:
        reminding.send_link(portal, account, "reset", secret)
    except OSError as error:  # its owner asks again; the reason names nobody
        portal.note(account.actor, "password link not sent", reason=type(error).__name__)
    else:
        portal.note(account.actor, "password link sent")


@router.get("/invitation/{secret}")
@open_to(EVERYONE)
def invitation_page(request: Request, secret: str) -> Response:
    """Choose a password for the first time."""
    return _choose(request, "invitation", secret)


@router.get("/mot-de-passe/{secret}")
@open_to(EVERYONE)
def reset_page(request: Request, secret: str) -> Response:
    """Choose another password."""
    return _choose(request, "reset", secret)


def _choose(request: Request, kind: str, secret: str) -> Response:
    portal = portal_of(request)
    holder = accounts.holder_of_link(portal.store, portal.now, secret, kind)
    if holder is None:
        return page(
            request, "error.html", 404, title=marked("Lien périmé"),
            message=marked("Ce lien a déjà servi ou a expiré. Demandez-en un autre : « Mot de passe oublié »."),
        )  # fmt: skip
    return _with_form(request, "choose_password.html", holder=holder, kind=kind, secret=secret, problem="")


@router.post("/nouveau-mot-de-passe")
@open_to(EVERYONE)
def choose_password(request: Request, form: Form = Depends(form_of)) -> Response:
    """Set the password of a link, and sign in; an account with a second factor still gives it."""
    portal, secret, kind = portal_of(request), form.text("lien"), form.text("nature")
    holder = accounts.holder_of_link(portal.store, portal.now, secret, kind) if kind in accounts.LINK_HOURS else None
    if holder is None:
        raise NotFound
    password = form.raw("mot_de_passe", 1024)
    problem: str | Sentence = (
        "" if password == form.raw("confirmation", 1024) else marked("Les deux saisies diffèrent.")
    )
    if not problem:
        try:
            accounts.check_password(password)
        except PasswordRefused as refused:
            problem = refused.sentence
    if problem:
        return page(request, "choose_password.html", 422, holder=holder, kind=kind, secret=secret, problem=problem)
    if not accounts.use_link(portal.store, portal.now, secret):
        raise NotFound
    accounts.set_password(portal.store, holder.number, password)
    throttling.forgive(portal.store, holder.email)
    portal.note(holder.actor, "password set", kind=kind)
    return _enter(request, holder, "", is_complete=not holder.has_second_factor)


# -- the identity provider --------------------------------------------------------------------------------------------


@router.get("/connexion/oidc")
@open_to(EVERYONE)
def to_provider(request: Request, suite: str = "") -> Response:
    """Leave for the identity provider, with a state, a nonce and a proof key of this browser's own."""
    portal = portal_of(request)
    if portal.settings.oidc_issuer is None:
        raise NotFound
    secret = visitor_of(request).secret or new_secret()
    answer = RedirectResponse(oidc.address(portal.settings, secret), status_code=303)
    _give_cookie(portal, answer, secret)
    if target := _ours(suite):
        answer.set_cookie("suite", target, max_age=_LOGIN_SECONDS, httponly=True, samesite="lax", path="/connexion")
    return answer


@router.get("/connexion/oidc/retour")
@open_to(EVERYONE)
def from_provider(request: Request, code: str = "", state: str = "", error: str = "") -> Response:
    """Back from the identity provider: an account that it names, or no entry."""
    portal, secret = portal_of(request), visitor_of(request).secret
    if portal.settings.oidc_issuer is None:
        raise NotFound
    try:
        if error or not secret:
            raise oidc.LoginRefused("the provider refused")
        identity = oidc.identify(portal.settings, secret, code, state)
        account = oidc.account_of(portal.store, identity)
    except oidc.LoginRefused:
        portal.note("portal", "provider login refused")
        return page(
            request, "error.html", 403, title="Connexion refusée",
            message="Aucun accès n'est ouvert pour cette identité. Demandez une invitation à votre exploitant.",
        )  # fmt: skip
    return _enter(request, account, _ours(request.cookies.get("suite", "")), is_complete=True)


# -- pieces -----------------------------------------------------------------------------------------------------------


def _enter(request: Request, account: Account, suite: str, *, is_complete: bool) -> Response:
    """A session with a secret of its own, and the way to where the person was going."""
    portal, visitor = portal_of(request), visitor_of(request)
    secret = sessions.begin(portal.store, portal.now, account, is_complete=is_complete, former=visitor.secret or None)
    portal.note(account.actor, "sign-in" if is_complete else "password accepted")
    target = (suite or "/") if is_complete else f"/connexion/code?suite={quote(suite)}"
    answer = RedirectResponse(target, status_code=303)
    _give_cookie(portal, answer, secret)
    return answer


def _with_form(
    request: Request, name: str, status: int = 200, headers: dict[str, str] | None = None, **values: object
) -> Response:
    """A page with a form for somebody who may not have a cookie yet."""
    portal, visitor = portal_of(request), visitor_of(request)
    is_new = not visitor.secret
    if is_new:
        request.state.visitor = Visitor(new_secret())
    answer = page(request, name, status, headers, **values)
    if is_new:
        _give_cookie(portal, answer, request.state.visitor.secret)
    return answer


def _give_cookie(portal: Portal, answer: Response, secret: str) -> None:
    answer.set_cookie(
        sessions.cookie_name(portal.settings), secret, httponly=True, samesite="lax", path="/",
        secure=portal.settings.is_https,
    )  # fmt: skip


def _home_of(account: Account) -> str:
    return next((_HOMES[role] for role in _HOMES if account.has(role)), "/compte")


def _address(request: Request) -> str:
    return request.client.host if request.client is not None else ""


def _ours(target: str) -> str:
    """A path of this site, or nothing: no one is sent elsewhere after signing in."""
    parts = urlsplit(target)
    is_path = target.startswith("/") and not target.startswith("//") and not parts.netloc and not parts.scheme
    return target if is_path and "\\" not in target and target.isprintable() else ""
