"""Accounts: one's own, and for an administrator those of the others; the journal.

Belongs here: inviting, roles, closing an account, second factor, tokens, absences. Does not belong here: signing in.
"""

from __future__ import annotations

import io

import segno
from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from insertion_pipeline.portal import accounts, audit, reminding, tokens
from insertion_pipeline.portal.access import (
    SIGNED_IN,
    Form,
    NotFound,
    account_of,
    form_of,
    open_to,
    portal_of,
    visitor_of,
)
from insertion_pipeline.portal.accounts import ROLES, Grant
from insertion_pipeline.portal.languages import marked
from insertion_pipeline.portal.rendering import page, parsed_day
from insertion_pipeline.portal.sessions import verdict_key

router = APIRouter(include_in_schema=False)

_LINES_SHOWN = 200


# -- one's own --------------------------------------------------------------------------------------------------------


@router.get("/compte")
@open_to(SIGNED_IN)
def account_page(request: Request) -> Response:
    """Absence, second factor, tokens."""
    return _account(request)


def _account(request: Request, *, secret: str = "", problem: str = "", status: int = 200) -> Response:
    portal, account = portal_of(request), account_of(request)
    return page(
        request, "account.html", status,
        me=account, tokens=tokens.of_account(portal.store, account.number), scopes=tokens.SCOPES, secret=secret,
        problem=problem, now=portal.now.isoformat(),
        recovery_left=accounts.recovery_codes_left(portal.store, account.number),
    )  # fmt: skip


@router.post("/compte/absence")
@open_to(SIGNED_IN)
def set_absence(request: Request, form: Form = Depends(form_of)) -> Response:
    """Say when one is away."""
    begins, ends = parsed_day(form.text("du")), parsed_day(form.text("au"))
    if begins is not None and ends is not None and ends < begins:
        return _account(request, problem=marked("L'absence finit avant de commencer."), status=422)
    accounts.set_absence(portal_of(request).store, account_of(request).number, begins, ends)
    return RedirectResponse("/compte", status_code=303)


@router.post("/compte/jetons")
@open_to("depositor")
def make_token(request: Request, form: Form = Depends(form_of)) -> Response:
    """A token for a machine, shown once."""
    portal, account = portal_of(request), account_of(request)
    partner, chosen = form.text("partenaire"), frozenset(form.texts("droits")) & tokens.SCOPES.keys()
    label, days = form.text("nom", 80), form.text("jours", 3)
    if partner not in account.partners:
        raise NotFound
    if not label or not chosen or not days.isdecimal():
        return _account(request, problem=marked("Donnez un nom au jeton, une durée, et au moins un droit."), status=422)
    secret = tokens.make(portal.store, portal.now, account.number, partner, label, chosen, int(days))
    portal.note(account.actor, "token made", partner, scopes=sorted(chosen))
    return _account(request, secret=secret)


@router.post("/compte/jetons/{number}/revoquer")
@open_to("depositor")
def revoke_token(request: Request, number: int) -> Response:
    """End a token."""
    portal, account = portal_of(request), account_of(request)
    if not tokens.revoke(portal.store, portal.now, account.number, number):
        raise NotFound
    portal.note(account.actor, "token revoked", f"token:{number}")
    return RedirectResponse("/compte", status_code=303)


@router.get("/compte/second-facteur")
@open_to(SIGNED_IN)
def second_factor_page(request: Request) -> Response:
    """A QR code to scan, and a first code to type."""
    return _second_factor(request)


def _second_factor(request: Request, problem: str = "", status: int = 200) -> Response:
    secret = _offered_secret(request)
    return page(request, "second_factor_setup.html", status, secret=secret, problem=problem)


@router.get("/compte/second-facteur.svg")
@open_to(SIGNED_IN)
def second_factor_image(request: Request) -> Response:
    """The QR code."""
    account, image = account_of(request), io.BytesIO()
    segno.make(accounts.totp_address(_offered_secret(request), account.email)).save(
        image, kind="svg", scale=5, xmldecl=False
    )
    return Response(image.getvalue(), media_type="image/svg+xml", headers={"Cache-Control": "no-store"})


@router.post("/compte/second-facteur")
@open_to(SIGNED_IN)
def set_second_factor(request: Request, form: Form = Depends(form_of)) -> Response:
    """Keep the second factor once a first code fits, and show its recovery codes, this once."""
    portal, account, secret = portal_of(request), account_of(request), _offered_secret(request)
    if accounts.fits(secret, form.text("code", 12), portal.now) is None:
        return _second_factor(request, marked("Ce code ne convient pas. Attendez le suivant, puis recopiez-le."), 422)
    codes = accounts.set_totp(portal.store, portal.lake.keyring, account.number, secret)
    portal.note(account.actor, "second factor set")
    return page(request, "recovery_codes.html", codes=codes)


def _offered_secret(request: Request) -> str:
    """The secret offered to this session, drawn from its cookie: nothing is stored until a code fits."""
    import base64

    return base64.b32encode(verdict_key(visitor_of(request).secret, "second factor")[:20]).decode()


# -- those of the others ----------------------------------------------------------------------------------------------


@router.get("/comptes")
@open_to("administrator")
def accounts_page(request: Request) -> Response:
    """Who may do what."""
    return _accounts(request)


def _accounts(request: Request, *, problem: str = "", status: int = 200) -> Response:
    portal = portal_of(request)
    partners = sorted(portal.registry.partners.values(), key=lambda one: one.name)
    territories = [
        (row["code"], row["label"])
        for row in portal.registry.nomenclature("territories").records()
        if row["level"] in ("country", "region", "department", "province")
    ]
    return page(
        request, "accounts.html", status,
        everyone=accounts.everyone(portal.store), partners=partners, territories=territories, roles=ROLES,
        problem=problem,
    )  # fmt: skip


@router.post("/comptes")
@open_to("administrator")
def invite(request: Request, form: Form = Depends(form_of)) -> Response:
    """Open an access: a role, where it holds, and a link by mail."""
    portal = portal_of(request)
    email, role, scope = form.text("email", 320), form.text("role"), form.text("portee")
    grant = next((Grant(one, _scope_of(one, scope, request)) for one in ROLES if one == role), None)
    if "@" not in email or grant is None or grant.scope == "?":
        told = marked("Donnez une adresse, un rôle, et pour un dépôt le partenaire, pour l'animation le territoire.")
        return _accounts(request, problem=told, status=422)
    account, secret = accounts.invite(portal.store, portal.now, email, form.text("nom", 120) or email, [grant])
    portal.note(account_of(request).actor, "invitation", account.actor, role=role, scope=grant.scope)
    try:
        reminding.send_link(portal, account, "invitation", secret)
    except OSError:
        told = marked(
            "L'accès est ouvert, mais l'invitation n'est pas partie : la messagerie ne répond pas. Renvoyez-la."
        )
        return _accounts(request, problem=told, status=503)
    return RedirectResponse("/comptes", status_code=303)


def _scope_of(role: str, scope: str, request: Request) -> str:
    """The scope that a role takes; `?` for one that it cannot have."""
    registry = portal_of(request).registry
    if role == "depositor":
        return scope if scope in registry.partners else "?"
    if role == "animator":
        return scope if scope in registry.nomenclature("territories").codes() else "?"
    return ""


@router.post("/comptes/{number}/retirer")
@open_to("administrator")
def withdraw(request: Request, number: int, form: Form = Depends(form_of)) -> Response:
    """Take a role away."""
    portal, role, scope = portal_of(request), form.text("role"), form.text("portee")
    accounts.withdraw(portal.store, number, role, scope)
    portal.note(account_of(request).actor, "role withdrawn", f"account:{number}", role=role, scope=scope)
    return RedirectResponse("/comptes", status_code=303)


@router.post("/comptes/{number}/etat")
@open_to("administrator")
def set_state(request: Request, number: int, form: Form = Depends(form_of)) -> Response:
    """Close an account, open it again, or remove a lost second factor."""
    portal, me, action = portal_of(request), account_of(request), form.text("action")
    if accounts.by_number(portal.store, number) is None or number == me.number:
        raise NotFound
    if action == "second-facteur":
        accounts.remove_totp(portal.store, number)
    else:
        accounts.set_disabled(portal.store, portal.now, number, disabled=action == "fermer")
    portal.note(me.actor, "account state", f"account:{number}", state=action)
    return RedirectResponse("/comptes", status_code=303)


@router.get("/journal")
@open_to("administrator")
def journal(request: Request) -> Response:
    """The last lines of the journal, and whether all of it is as it was written."""
    portal = portal_of(request)
    return page(
        request, "journal.html",
        lines=audit.lines(portal.store, newest=_LINES_SHOWN), altered=list(audit.altered(portal.store)),
        shown=_LINES_SHOWN,
    )  # fmt: skip
