"""Settings, typed, from the environment (prefix ``INSERTION_``), and the silence of every dependency.

Belongs here: where things are, which environment this is, which limits apply. Does not belong here: key material
(`keyring`), anything read from `data_sources/` (`registry`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

REPOSITORY = Path(__file__).resolve().parent.parent

#: Telemetry switches of the dependencies we ship with: nothing connects outwards at run time.
_SILENCED_TELEMETRY = {
    "DAGSTER_TELEMETRY_DISABLED": "1",
    "DO_NOT_TRACK": "1",
    "GX_ANALYTICS_ENABLED": "False",
    "DISABLE_PANDERA_IMPORT_WARNING": "True",
    "PANDERA_TELEMETRY_DISABLED": "1",
}


class Settings(BaseSettings):
    """What an operator may set. Every value has a default that works on a laptop without configuration."""

    model_config = SettingsConfigDict(env_prefix="INSERTION_", extra="ignore", frozen=True, env_ignore_empty=True)

    home: Path = Path("var")
    data_sources: Path = REPOSITORY / "data_sources"
    env: Literal["development", "production"] = "development"
    lang: Literal["fr"] = "fr"
    logs: Literal["text", "json"] = Field(default="text", description="What watching machines read: JSON lines.")
    memory_limit_mb: int = Field(default=4096, ge=256, description="What one DuckDB connection may hold in memory.")
    threads: int = Field(default=2, ge=1, description="Threads of one DuckDB connection.")
    spark_master: str = Field(default="local[*]", description="Where `--engine spark` runs, as Spark writes it.")
    archive_password: SecretStr | None = Field(default=None, description="Password of encrypted partner archives.")
    store: str | None = Field(
        default=None, description="Object store that has what cannot be made again: s3://bucket/folder."
    )
    alert_webhook: SecretStr | None = Field(default=None, description="Address that is told of failed runs.")
    alert_mail: str = Field(default="", description="Who is written to when a run failed, addresses by commas.")
    mail_from: str = Field(default="insertion@insertion.invalid", description="Who writes.")
    smtp_host: str | None = Field(default=None, description="The mail server of alerts, and of the portal.")
    smtp_port: int = 587
    smtp_starttls: bool = True
    smtp_user: str | None = None
    smtp_password: SecretStr = SecretStr("")
    dagster_url: str = Field(default="http://127.0.0.1:3000", description="Where people open Dagster, for links to it.")

    @property
    def archive_password_text(self) -> str | None:
        """The password in the clear, for whoever opens archives."""
        return self.archive_password.get_secret_value() if self.archive_password is not None else None

    @property
    def is_production(self) -> bool:
        return self.env == "production"


def silence_telemetry() -> None:
    """Switch off the telemetry of every dependency, before it is imported. Called by each door of the program."""
    for name, value in _SILENCED_TELEMETRY.items():
        os.environ.setdefault(name, value)
