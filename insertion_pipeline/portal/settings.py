"""What an operator may set about the portal, from the environment (prefix ``INSERTION_PORTAL_``).

Belongs here: addresses, limits, the identity provider, mail. Does not belong here: where the home is (`settings` of the
package), anything that a page decides.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import AliasChoices, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from insertion_pipeline.mailing import MailServer

_MEBIBYTE = 1 << 20
_PREFIX = "INSERTION_PORTAL_"


def _shared(name: str, default: object) -> Any:
    """A setting of the portal that falls back on the one of the whole installation."""
    return Field(default=default, validation_alias=AliasChoices(_PREFIX + name.upper(), f"INSERTION_{name.upper()}"))


class PortalSettings(BaseSettings):
    """Every value has a default that works on a laptop without configuration."""

    model_config = SettingsConfigDict(
        env_prefix=_PREFIX, extra="ignore", frozen=True, populate_by_name=True, env_ignore_empty=True
    )

    public_url: str = Field(default="http://127.0.0.1:8000", description="The address that partners type.")
    database_url: SecretStr | None = Field(
        default=None, description="postgresql+psycopg://…; SQLite in the home if unset."
    )
    language: Literal["fr", "nl", "de"] = Field(default="fr", description="What the portal speaks.")
    languages: tuple[Literal["fr", "nl", "de"], ...] = Field(
        default=(), description="Languages that its pages offer besides, by a link and to browsers that ask for them."
    )

    trusted_proxies: str = Field(
        default="", description="Addresses of the reverse proxies whose X-Forwarded-For is believed, comma-separated."
    )

    # -- limits, checked before anything is unpacked
    upload_bytes: int = Field(default=20 * _MEBIBYTE, ge=1)
    unpacked_bytes: int = Field(default=200 * _MEBIBYTE, ge=1)
    ratio: int = Field(default=100, ge=1)
    files_at_once: int = Field(default=60, ge=1, description="A fluxIAE bundle has 46 views.")
    judging_at_once: int = Field(default=2, ge=1, description="Files judged at the same time, each in its own process.")
    daily_deposits: int = Field(default=2_000, ge=1, description="Files that one partner may send in 24 hours.")
    daily_bytes: int = Field(default=4096 * _MEBIBYTE, ge=1, description="Bytes that one partner may send in 24 hours.")
    requests_per_minute: int = Field(default=1_200, ge=1, description="Requests of one address or token.")

    # -- sessions
    idle_minutes: int = Field(default=30, ge=1)
    session_hours: int = Field(default=10, ge=1)
    verdict_minutes: int = Field(default=30, ge=1, description="How long a verdict on bytes that are not kept stays.")
    second_factor_roles: tuple[str, ...] = Field(
        default=("administrator", "reviewer"), description="Roles that sign in with a second factor."
    )

    # -- OpenID Connect
    oidc_issuer: str | None = Field(default=None, description="For example https://auth.agentconnect.gouv.fr/api/v2")
    oidc_client_id: str = ""
    oidc_client_secret: SecretStr = SecretStr("")
    oidc_scopes: str = "openid email"
    oidc_name: str = Field(default="ProConnect", description="What the button says.")

    # -- antivirus
    clamd: str | None = Field(default=None, description="unix:/run/clamav/clamd.ctl or tcp:host:3310")

    # -- mail: written to HOME/outbox unless a server is named; the server of the whole installation if this has none
    smtp_host: str | None = _shared("smtp_host", None)
    smtp_port: int = _shared("smtp_port", 587)
    smtp_starttls: bool = _shared("smtp_starttls", default=True)
    smtp_user: str | None = _shared("smtp_user", None)
    smtp_password: SecretStr = _shared("smtp_password", SecretStr(""))
    mail_from: str = "depots@insertion.invalid"

    @property
    def mail_server(self) -> MailServer | None:
        """The server that takes the portal's messages, or none."""
        if self.smtp_host is None:
            return None
        return MailServer(self.smtp_host, self.smtp_port, self.smtp_starttls, self.smtp_user, self.smtp_password)

    @property
    def is_https(self) -> bool:
        return self.public_url.startswith("https://")

    @property
    def offered_languages(self) -> tuple[str, ...]:
        """The portal's own language, then those offered besides."""
        return tuple(dict.fromkeys((self.language, *self.languages)))

    @property
    def origin(self) -> str:
        """Scheme, host and port of the public address."""
        return "/".join(self.public_url.split("/")[:3])
