"""`insertion keys` and `insertion retention`: what an operator does to keys and to what is past its time.

Belongs here: arguments and exit codes. Does not belong here: how a key is replaced (`identity.rotating`), what is past
its time (`identity.retaining`).
"""

from __future__ import annotations

import getpass
import os
from typing import Annotated, Literal

import typer

from insertion_pipeline.commands.session import ExitCode, Refused, say, session_of

commands = typer.Typer(no_args_is_help=True, help="Les clés de la base.")

ByOption = Annotated[str | None, typer.Option(help="Qui le fait (le journal le garde).")]


@commands.callback()
def keys() -> None:
    """Les clés de la base."""


@commands.command("create")
def create(ctx: typer.Context) -> ExitCode:
    """Créer les clés d'une base neuve, avant sa mise en production ; celles qui y sont restent."""
    from insertion_pipeline.lake import Lake
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    lake = Lake.open(session.settings.home, store=session.settings.store)
    if lake.keyring.lost and lake.kept_below(lake.landing):
        raise Refused(
            f"Cette base est scellée par des clés qui n'y sont plus ({', '.join(lake.keyring.lost)}) : remettez leur "
            f"copie dans {lake.keyring.folder}. D'autres n'ouvriraient rien."
        )
    created = lake.keyring.create_missing()
    if session.as_json:
        say({"folder": str(lake.keyring.folder), "created": list(created)})
    elif created:
        console.print(f"Clés créées dans {lake.keyring.folder} : {', '.join(created)}.")
        console.print("Gardez-en une copie ailleurs : sans elles plus rien ne s'ouvre.")
    else:
        console.print(f"Toutes les clés sont dans {lake.keyring.folder} : rien à faire.")
    return ExitCode.DONE


@commands.command("rotate")
def rotate(
    ctx: typer.Context,
    which: Annotated[
        Literal["all", "fr", "be", "pseudonyms"],
        typer.Argument(help="La clé d'un espace de personnes, celle des pseudonymes, ou toutes."),
    ] = "all",
    by: ByOption = None,
) -> ExitCode:
    """Remplacer des clés ; une opération interrompue se reprend par la même commande."""
    from insertion_pipeline.identity import rotating
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    lake, who = session.lake, by or getpass.getuser()
    with lake.writer_lock(wait=session.waits, holder=f"insertion keys, processus {os.getpid()}"):
        done = [rotating.rotate_space(lake, space, by=who) for space in ("fr", "be") if which in ("all", space)]
        if which in ("all", "pseudonyms"):
            done.append(rotating.rotate_pseudonyms(lake, by=who))
    if session.as_json:
        say([{"key": one.key, "data_keys": one.data_keys} for one in done])
        return ExitCode.DONE
    for one in done:
        console.print(f"Clé remplacée : {one.key} ({one.data_keys} clés de dépôts scellées à nouveau).")
    console.print(f"Gardez une copie de {lake.keyring.folder} : les anciennes copies n'ouvrent plus cette base.")
    return ExitCode.DONE


def retention(
    ctx: typer.Context,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Dire ce qui partirait, sans rien retirer.")] = False,
    by: ByOption = None,
) -> ExitCode:
    """Retirer ce qui a passé sa durée de conservation, source par source."""
    from insertion_pipeline.identity import retaining
    from insertion_pipeline.month import Month
    from insertion_pipeline.orchestration.planning import NothingDelivered, plan
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    lake = session.lake
    now = Month.of(lake.clock.now().date())
    with lake.writer_lock(wait=session.waits, holder=f"insertion retention, processus {os.getpid()}"):
        try:
            still_read = plan(lake).read[0]
        except NothingDelivered:
            still_read = now
        retired = retaining.retain(
            lake, session.registry, now, still_read, by=by or getpass.getuser(), only_say=dry_run
        )
    if session.as_json:
        say(retired.to_json())
    else:
        verb = "partiraient" if dry_run else "retirés"
        console.print(
            f"Octets de {retired.bytes_of} dépôts, lignes de {retired.rows_of} dépôts, "
            f"{retired.tables} tables mensuelles : {verb}."
        )
    return ExitCode.DONE
