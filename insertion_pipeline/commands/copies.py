"""`insertion backup`, `restore` and `migrate`: copies of a home, and its passage to this version."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from insertion_pipeline.commands.session import ExitCode, Refused, Session, WrongUsage, say, session_of


def backup(
    ctx: typer.Context,
    archive: Annotated[str, typer.Argument(help="Fichier à écrire (.tar), ici ou sous s3://….", show_default=False)],
) -> ExitCode:
    """Copier tout ce qui ne se recalcule pas, dans un seul fichier. Les clés n'y sont pas : copiez-les à part."""
    from insertion_pipeline import preserving, screen

    session = session_of(ctx)
    lake = session.lake
    with (
        lake.writer_lock(wait=session.waits, holder=f"insertion backup, processus {os.getpid()}"),
        screen.working("Copie", silent=session.as_json),
    ):
        try:
            preserving.gather(lake)
            made = preserving.back_up_to(lake.home, archive)
        except FileExistsError:
            raise WrongUsage(f"{archive} existe déjà : une copie n'en remplace jamais une autre.") from None
    if session.as_json:
        say(made.to_json())
    else:
        screen.show_backup(made, archive, lake.keyring.folder)
    return ExitCode.DONE


def restore(
    ctx: typer.Context,
    archive: Annotated[str, typer.Argument(help="Copie à remettre en place, d'ici ou de s3://….", show_default=False)],
) -> ExitCode:
    """Remettre une copie en place, après avoir vérifié chaque octet. Ce qui était là est mis de côté, jamais effacé."""
    from insertion_pipeline import preserving, screen

    session = session_of(ctx)
    home = session.settings.home
    with (
        _unused(home, session.waits),
        screen.working("Vérification et remise en place", silent=session.as_json),
    ):
        try:
            brought = preserving.restore_from(archive, home)
        except FileNotFoundError:
            raise WrongUsage(f"{archive} n'existe pas.") from None
        except preserving.DamagedBackup as damaged:
            raise Refused(f"Cette copie est abîmée ou n'en est pas une ({damaged}) : rien n'a changé.") from None
        _keep_erased_persons_away(session)
    if session.as_json:
        say(brought.to_json())
    else:
        screen.show_restored(brought, home)
    return ExitCode.DONE


def migrate(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Dire ce qui serait fait, sans rien changer.")] = False,
    archive: Annotated[
        Path | None, typer.Option("--backup", help="Copie à faire d'abord (sinon à côté de la base).")
    ] = None,
) -> ExitCode:
    """Mettre une base d'une version antérieure à la forme de celle-ci, après en avoir fait une copie."""
    from insertion_pipeline import migrating, preserving, screen
    from insertion_pipeline.lake import locked, version_of

    session = session_of(ctx)
    home = session.settings.home.resolve()
    version = version_of(home)
    if version is None:
        raise WrongUsage(f"{home} n'est pas une base : rien à migrer.")
    steps = migrating.pending(home)
    copy = archive or home.with_name(f"{home.name}.version-{version}.tar")
    if steps and not dry_run:
        with (
            locked(home, wait=session.waits, holder=f"insertion migrate, processus {os.getpid()}"),
            screen.working("Copie, puis passage à la nouvelle forme", silent=session.as_json),
        ):
            try:
                preserving.back_up(home, copy)
            except FileExistsError:
                raise WrongUsage(f"{copy} existe déjà : une copie n'en remplace jamais une autre.") from None
            steps = tuple(migrating.migrate(home))
    if session.as_json:
        say(
            {
                "from": version,
                "steps": [step.to_json() for step in steps],
                "done": not dry_run,
                "backup": str(copy) if steps and not dry_run else None,
            }
        )
    else:
        screen.show_migration(steps, copy, is_done=not dry_run)
    return ExitCode.DONE


def _keep_erased_persons_away(session: Session) -> None:
    """What the copy brought back of persons erased since goes at once, where the keys are there to find it."""
    from insertion_pipeline.ingestion import deliveries, tombstones
    from insertion_pipeline.lake import Lake

    settings = session.settings
    lake = Lake.open(
        settings.home, may_create_keys=False, archive_password=settings.archive_password_text, store=settings.store
    )
    if not lake.keyring.is_empty and not tombstones.load(lake).is_empty:
        deliveries.forget(lake, session.registry)


@contextlib.contextmanager
def _unused(home: Path, waits: bool) -> Iterator[None]:
    """Inside the block, no run works in the home that is about to be put aside."""
    from insertion_pipeline.lake import locked, version_of

    if version_of(home) is None:
        yield
        return
    with locked(home, wait=waits, holder=f"insertion restore, processus {os.getpid()}"):
        yield
