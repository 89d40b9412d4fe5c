"""`insertion portal`: start the partner portal, and look after it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from insertion_pipeline.commands.session import ExitCode, WrongUsage, say, session_of

if TYPE_CHECKING:
    from insertion_pipeline.portal.context import Portal
    from insertion_pipeline.portal.settings import PortalSettings

commands = typer.Typer(help="Le portail des partenaires : déposer, savoir, corriger.")


@commands.callback(invoke_without_command=True)
def start(
    ctx: typer.Context,
    host: Annotated[str, typer.Option(help="Adresse d'écoute.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port d'écoute.")] = 8000,
) -> None:
    """Ouvrir le portail des partenaires."""
    if ctx.invoked_subcommand is not None:
        return
    import uvicorn

    from insertion_pipeline.portal import accounts
    from insertion_pipeline.portal.app import create_app

    session, settings = session_of(ctx), _settings(host, port)
    app = create_app(session.lake, session.registry, settings)
    opened: Portal = app.state.portal
    typer.echo(f"Portail : {settings.public_url}")
    if not accounts.everyone(opened.store):
        typer.echo("Aucun compte encore : « insertion portal invite ADRESSE --role administrator » ouvre le premier.")
    uvicorn.run(
        app, host=host, port=port, log_level="warning", access_log=False, server_header=False, date_header=False,
        proxy_headers=bool(settings.trusted_proxies), forwarded_allow_ips=settings.trusted_proxies or None,
    )  # fmt: skip


@commands.command()
def invite(
    ctx: typer.Context,
    email: Annotated[str, typer.Argument(help="Adresse électronique.", show_default=False)],
    role: Annotated[str, typer.Option(help="depositor, animator, reviewer, analyst ou administrator.")],
    scope: Annotated[
        str, typer.Option(help="Partenaire (depositor) ou territoire (animator), comme FR ou FR-REG-44.")
    ] = "",
    name: Annotated[str, typer.Option(help="Nom affiché.")] = "",
) -> None:
    """Ouvrir un accès : le lien d'invitation est envoyé, et affiché ici."""
    from insertion_pipeline.portal import accounts, reminding
    from insertion_pipeline.portal.accounts import ROLES, Grant

    opened = _opened(ctx)
    known = next((one for one in ROLES if one == role), None)
    if known is None:
        raise WrongUsage(f"rôle inconnu : {role}. Connus : {', '.join(ROLES)}.")
    if known == "depositor" and scope not in opened.registry.partners:
        raise WrongUsage("--scope doit être le code d'un partenaire.")
    if known == "animator" and scope not in opened.registry.nomenclature("territories").codes():
        raise WrongUsage("--scope doit être un territoire, comme FR, FR-REG-44 ou BE.")
    grant = Grant(known, scope if known in ("depositor", "animator") else "")
    account, secret = accounts.invite(opened.store, opened.now, email, name or email, [grant])
    opened.note("command line", "invitation", account.actor, role=role, scope=grant.scope)
    reminding.send_link(opened, account, "invitation", secret)
    link = f"{opened.settings.public_url}/invitation/{secret}"
    _say(ctx, {"account": account.number, "link": link}, f"Invitation de {account.email} : {link}")


@commands.command()
def remind(ctx: typer.Context) -> None:
    """Envoyer les rappels du jour ; une seconde fois le même jour n'envoie rien de plus."""
    from insertion_pipeline.portal import reminding

    sent = reminding.remind_everyone(_opened(ctx))
    _say(ctx, {"sent": sent}, f"{sent} message{'s' if sent > 1 else ''} envoyé{'s' if sent > 1 else ''}.")


@commands.command()
def collect(
    ctx: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Dossier de dépôt : FOLDER/<partenaire>/…", show_default=False)],
    once: Annotated[bool, typer.Option("--once", help="Relever une fois, puis s'arrêter.")] = False,
    every: Annotated[int, typer.Option(min=1, help="Secondes entre deux relevés.")] = 30,
) -> None:
    """Relever un dossier partagé ou SFTP : chaque fichier devient un dépôt, sa réponse est écrite à côté."""
    import time

    from insertion_pipeline.portal import dropping

    if not folder.is_dir():
        raise WrongUsage(f"dossier absent : {folder}")
    opened = _opened(ctx)
    while True:
        collected = dropping.collect(opened, folder)
        if once or collected:
            told = [one.to_json() for one in collected]
            _say(ctx, told, f"{len(told)} fichier{'s' if len(told) > 1 else ''} relevé{'s' if len(told) > 1 else ''}.")
        if once:
            return
        time.sleep(every)


@commands.command()
def journal(ctx: typer.Context) -> ExitCode:
    """Vérifier que le journal est entier ; code 1 si une ligne a été altérée."""
    from insertion_pipeline.portal import audit

    opened = _opened(ctx)
    altered = list(audit.altered(opened.store))
    told = f"Journal altéré, ligne {altered[0]}." if altered else "Journal entier."
    _say(ctx, {"lines": len(audit.lines(opened.store)), "altered": altered}, told)
    return ExitCode.FINDINGS if altered else ExitCode.DONE


def _opened(ctx: typer.Context) -> Portal:
    from insertion_pipeline.portal.context import Portal
    from insertion_pipeline.portal.settings import PortalSettings

    session = session_of(ctx)
    return Portal.opened(session.lake, session.registry, PortalSettings())


def _settings(host: str, port: int) -> PortalSettings:
    """The settings, with the address of this server where none was set."""
    from insertion_pipeline.portal.settings import PortalSettings

    settings = PortalSettings()
    if "public_url" in settings.model_fields_set:
        return settings
    return settings.model_copy(update={"public_url": f"http://{host}:{port}"})


def _say(ctx: typer.Context, value: Any, text: str) -> None:
    if session_of(ctx).as_json:
        say(value)
    else:
        typer.echo(text)
