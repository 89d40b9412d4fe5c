"""Signing in with an identity provider: OpenID Connect, authorisation code with a proof key, any issuer.

Belongs here: the address to leave for, what the provider's answer says, whose account that is. Does not belong here:
sessions and pages (`pages.entering`).

State, nonce and proof key are drawn from the browser's own cookie: nothing is stored for a login that never comes back,
and an answer meant for another browser does not fit. Providers differ in how they give the claims: the ID token, plain
user information, or signed user information (ProConnect).
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from insertion_pipeline.portal import accounts
from insertion_pipeline.portal.accounts import Account
from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.portal.store import Store

if TYPE_CHECKING:
    from authlib.integrations.httpx_client import OAuth2Client

_SECONDS = 10
_ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA"]
#: Clocks of two machines differ.
_LEEWAY_SECONDS = 60


class LoginRefused(Exception):
    """The provider's answer is not genuine, or names nobody who was invited."""


@dataclass(frozen=True)
class Identity:
    """Who the provider says it is. `email` only where the provider has verified it, or manages it itself."""

    issuer: str
    subject: str
    email: str


def address(settings: PortalSettings, secret: str) -> str:
    """Where the browser of `secret` leaves for."""
    provider = _provider(settings)
    with _client(settings) as client:
        url, _ = client.create_authorization_url(
            provider["authorization_endpoint"],
            state=_drawn(secret, "state"),
            nonce=_drawn(secret, "nonce"),
            code_verifier=_drawn(secret, "verifier"),
        )
    return str(url)


def identify(settings: PortalSettings, secret: str, code: str, state: str) -> Identity:
    """Who came back. Raises `LoginRefused`."""
    from authlib.common.errors import AuthlibBaseError

    if not code or not hmac.compare_digest(state, _drawn(secret, "state")):
        raise LoginRefused("the answer is not for this browser")
    provider = _provider(settings)
    try:
        with _client(settings) as client:
            answer = client.fetch_token(provider["token_endpoint"], code=code, code_verifier=_drawn(secret, "verifier"))
            keys = KeySet.import_key_set(_published(provider["jwks_uri"]))
            claims = dict(_verified(answer.get("id_token", ""), keys))
            _check(claims, settings, provider, nonce=_drawn(secret, "nonce"))
            if "email" not in claims and "userinfo_endpoint" in provider:
                claims |= _further(client, provider, keys, settings, str(claims["sub"]))
    except (httpx.HTTPError, AuthlibBaseError, JoseError, KeyError, ValueError) as error:
        raise LoginRefused(type(error).__name__) from None
    is_verified = claims.get("email_verified", True) in (True, "true")
    return Identity(str(claims["iss"]), str(claims["sub"]), str(claims.get("email", "")) if is_verified else "")


def account_of(database: Store, identity: Identity) -> Account:
    """The account that this identity was linked to, or else the invited one of its address. Raises `LoginRefused`."""
    account = accounts.by_subject(database, identity.issuer, identity.subject)
    if account is None and identity.email:
        account = accounts.by_email(database, identity.email)
        if account is not None and not accounts.attach_subject(
            database, account.number, identity.issuer, identity.subject
        ):
            account = None
    if account is None or account.is_disabled:
        raise LoginRefused("nobody was invited by that name")
    return account


def _provider(settings: PortalSettings) -> dict[str, Any]:
    """What the issuer publishes of itself. Raises `LoginRefused` when it speaks for another issuer, or not at all."""
    issuer = str(settings.oidc_issuer).rstrip("/")
    try:
        described: dict[str, Any] = _published(f"{issuer}/.well-known/openid-configuration")
    except (httpx.HTTPError, ValueError) as error:
        raise LoginRefused(type(error).__name__) from None
    if str(described.get("issuer", "")).rstrip("/") != issuer:
        raise LoginRefused("the configuration is another issuer's")
    return described


def _published(address: str) -> Any:
    """A JSON document that anybody may read."""
    return httpx.get(address, timeout=_SECONDS, follow_redirects=False).raise_for_status().json()


def _client(settings: PortalSettings) -> OAuth2Client:
    import warnings

    with warnings.catch_warnings():  # authlib announces its next HTTP library to whoever imports it
        warnings.simplefilter("ignore")
        from authlib.integrations.httpx_client import OAuth2Client

    return OAuth2Client(
        settings.oidc_client_id,
        settings.oidc_client_secret.get_secret_value(),
        scope=settings.oidc_scopes,
        redirect_uri=f"{settings.public_url}/connexion/oidc/retour",
        code_challenge_method="S256",
        timeout=_SECONDS,
    )


def _verified(token: str, keys: KeySet) -> Mapping[str, Any]:
    return jwt.decode(token, keys, algorithms=_ALGORITHMS).claims


def _check(claims: Mapping[str, Any], settings: PortalSettings, provider: Mapping[str, Any], nonce: str) -> None:
    """Issuer, audience, times and nonce of an ID token. Raises `JoseError` or `ValueError`."""
    jwt.JWTClaimsRegistry(
        leeway=_LEEWAY_SECONDS,
        iss={"essential": True, "value": provider["issuer"]},
        aud={"essential": True, "value": settings.oidc_client_id},
        exp={"essential": True},
        sub={"essential": True},
        nonce={"essential": True, "value": nonce},
    ).validate(dict(claims))


def _further(
    client: OAuth2Client, provider: Mapping[str, Any], keys: KeySet, settings: PortalSettings, subject: str
) -> dict[str, Any]:
    """The claims of the user information, plain or signed, when they are about the same person."""
    answer = client.get(provider["userinfo_endpoint"]).raise_for_status()
    is_signed = answer.headers.get("content-type", "").startswith("application/jwt")
    claims = dict(_verified(answer.text, keys)) if is_signed else dict(answer.json())
    if claims.get("sub") != subject:
        raise ValueError("the user information is about somebody else")
    return {name: claims[name] for name in ("email", "email_verified") if name in claims}


def _drawn(secret: str, purpose: str) -> str:
    digest = hmac.new(secret.encode(), f"oidc {purpose}".encode(), hashlib.sha256).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
