"""What every command knows: the global options, what they open, how a command ends.

Belongs here: exit codes, the exceptions that stand for them, one invocation's settings, registry and home. Does not
belong here: any command.
"""

from __future__ import annotations

import enum
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

if TYPE_CHECKING:
    from insertion_pipeline.lake import Lake
    from insertion_pipeline.registry import Registry
    from insertion_pipeline.settings import Settings


class ExitCode(enum.IntEnum):
    """What a command answers to the shell. 2 is never used: shells and argument parsers use it for themselves."""

    DONE = 0
    FINDINGS = 1
    REFUSED = 3
    USAGE = 4
    INTERNAL = 5
    HELD = 6
    LOCKED = 7

    @classmethod
    def of_verdict(cls, verdict: int) -> ExitCode:
        return (cls.DONE, cls.FINDINGS, cls.FINDINGS, cls.REFUSED)[verdict]


class WrongUsage(Exception):
    """The command was asked for something that does not exist (exit code 4). The message is French."""


class Refused(Exception):
    """What was asked is refused (exit code 3). The message is French."""


class Held(Exception):
    """What was asked waits for a confirmation (exit code 6). The message is French."""


@dataclass(frozen=True)
class Session:
    """One invocation: the global options, and what they open, opened when first asked for."""

    home: Path | None
    data_sources: Path | None
    as_json: bool
    waits: bool

    @cached_property
    def settings(self) -> Settings:
        from insertion_pipeline.settings import Settings, silence_telemetry

        silence_telemetry()
        chosen = {"home": self.home, "data_sources": self.data_sources}
        try:
            return Settings().model_copy(update={name: value for name, value in chosen.items() if value is not None})
        except ValueError as error:
            raise WrongUsage(f"Réglage refusé : {error}") from error

    @cached_property
    def registry(self) -> Registry:
        from insertion_pipeline.registry import load_registry

        return load_registry(self.settings.data_sources)

    @cached_property
    def contracts(self) -> Registry:
        """The registry without its indicators, for who judges one file."""
        from insertion_pipeline.registry import glance

        return glance(self.settings.data_sources)

    @cached_property
    def lake(self) -> Lake:
        """The home, with its keys: created with one warning on a laptop, required in production."""
        from insertion_pipeline.lake import Lake
        from insertion_pipeline.sealing import KeysMissing

        settings = self.settings
        lake = Lake.open(
            settings.home,
            may_create_keys=not settings.is_production,
            memory_limit_mb=settings.memory_limit_mb,
            threads=settings.threads,
            archive_password=settings.archive_password_text,
            store=settings.store,
        )
        if lake.keyring.is_empty:
            if settings.is_production:
                raise KeysMissing(f"{lake.keyring.folder} en est vide")
            for space in ("fr", "be"):
                lake.keyring.space_key(space)
            print(
                f"Clés créées dans {lake.keyring.folder} : gardez-en une copie, sans elles plus rien ne s'ouvre.",
                file=sys.stderr,
            )
        return lake


def session_of(ctx: typer.Context) -> Session:
    """The invocation that a command is part of."""
    session: Session = ctx.obj
    return session


def say_written(session: Session, paths: Sequence[Path]) -> ExitCode:
    """Say which files a command wrote; how such a command ends."""
    from insertion_pipeline import screen

    if session.as_json:
        say({"written": [str(path) for path in paths]})
    else:
        screen.show_written(paths)
    return ExitCode.DONE


def say(value: Any) -> None:
    """Print `value` as JSON."""
    print(json.dumps(value, ensure_ascii=False, indent=1))
