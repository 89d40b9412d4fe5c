"""`insertion release list | show | verify | …`: the publications of a home."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from insertion_pipeline.commands.session import ExitCode, Session, WrongUsage, say, session_of

if TYPE_CHECKING:
    from insertion_pipeline.publication.releasing import Release

commands = typer.Typer(no_args_is_help=True, help="Les publications : liste, contenu, vérification.")

ReleaseArgument = Annotated[str | None, typer.Argument(help="Publication, ou le début de son nom (la dernière sinon).")]


@commands.command("list")
def release_list(ctx: typer.Context) -> ExitCode:
    """Les publications de cette base."""
    from insertion_pipeline import screen
    from insertion_pipeline.publication import releasing

    session = session_of(ctx)
    every = [one.to_json() for one in releasing.releases(session.lake)]
    if session.as_json:
        say(every)
    else:
        screen.show_releases(every)
    return ExitCode.DONE


@commands.command("show")
def release_show(ctx: typer.Context, release: ReleaseArgument = None) -> ExitCode:
    """Ce que contient une publication."""
    from insertion_pipeline import screen

    session = session_of(ctx)
    chosen = _chosen(session, release)
    if session.as_json:
        say({**chosen.to_json(), "manifest": dict(chosen.manifest)})
    else:
        screen.show_release(chosen, session.registry)
    return ExitCode.DONE


@commands.command("verify")
def release_verify(ctx: typer.Context, release: ReleaseArgument = None) -> ExitCode:
    """Refaire les empreintes, les totaux et l'audit d'une publication."""
    from insertion_pipeline import screen
    from insertion_pipeline.publication.verifying import verify

    session = session_of(ctx)
    with screen.working("Vérification", silent=session.as_json):
        verification = verify(session.lake, _chosen(session, release))
    if session.as_json:
        say(verification.to_json())
    else:
        screen.show_verification(verification)
    return {"intact": ExitCode.DONE, "unsigned": ExitCode.FINDINGS, "altered": ExitCode.REFUSED}[verification.state]


def _chosen(session: Session, release: str | None) -> Release:
    from insertion_pipeline.publication import releasing

    try:
        return releasing.chosen(session.lake, release)
    except releasing.UnknownRelease:
        raise WrongUsage(f"Publication inconnue : {release}" if release else "Aucune publication encore.") from None
