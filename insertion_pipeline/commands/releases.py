"""`insertion release …`: the publications of a home, from the candidate to its readers."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insertion_pipeline.commands.session import ExitCode, Held, Refused, Session, WrongUsage, say, session_of

if TYPE_CHECKING:
    from insertion_pipeline.publication.releasing import Release

commands = typer.Typer(
    no_args_is_help=True, help="Les publications : liste, contenu, vérification, signature, diffusion."
)

ReleaseArgument = Annotated[str | None, typer.Argument(help="Publication, ou le début de son nom (la dernière sinon).")]
NameOption = Annotated[str, typer.Option(help="Qui : prénom et nom.", show_default=False)]
NoteOption = Annotated[str, typer.Option(help="Note, gardée avec la publication.")]
ReaderOption = Annotated[str | None, typer.Option(help="Lecteur nommé à la signature, avant l'heure de publication.")]


@commands.command("list")
def list_releases(ctx: typer.Context) -> ExitCode:
    """Les publications de cette base."""
    from insertion_pipeline import screen
    from insertion_pipeline.publication import releasing

    session = session_of(ctx)
    every = [one.to_json(session.lake.clock.now()) for one in releasing.releases(session.lake)]
    if session.as_json:
        say(every)
    else:
        screen.show_releases(every)
    return ExitCode.DONE


@commands.command("show")
def show(
    ctx: typer.Context,
    release: ReleaseArgument = None,
    explain: Annotated[
        tuple[str, str, str] | None,
        typer.Option(metavar="CODE TERRITOIRE MOIS", help="D'où vient cette valeur : règles et dépôts."),
    ] = None,
) -> ExitCode:
    """Ce que contient une publication, ou d'où vient une de ses valeurs."""
    from insertion_pipeline import screen

    session = session_of(ctx)
    chosen = _chosen(session, release)
    if explain is not None:
        return _explain(session, chosen, *explain)
    if session.as_json:
        say({**chosen.to_json(session.lake.clock.now()), "manifest": dict(chosen.manifest)})
    else:
        screen.show_release(chosen, session.registry)
    return ExitCode.DONE


@commands.command("verify")
def verify(
    ctx: typer.Context,
    release: ReleaseArgument = None,
    key: Annotated[list[str] | None, typer.Option(help="Clé publique acceptée, en plus de celle de la base.")] = None,
) -> ExitCode:
    """Refaire les empreintes, les totaux et l'audit d'une publication : de cette base, ou d'un dossier reçu."""
    from insertion_pipeline import screen
    from insertion_pipeline.publication.verifying import verify

    session = session_of(ctx)
    with screen.working("Vérification", silent=session.as_json):
        verification = verify(session.lake, _named(session, release), registry=session.registry, trusted=key or ())
    if session.as_json:
        say(verification.to_json())
    else:
        screen.show_verification(verification)
    return {"intact": ExitCode.DONE, "unsigned": ExitCode.FINDINGS, "altered": ExitCode.REFUSED}[verification.state]


@commands.command("confirm")
def confirm(ctx: typer.Context, release: ReleaseArgument = None, *, name: NameOption, note: NoteOption) -> ExitCode:
    """Confirmer les révisions d'une publication retenue."""
    from insertion_pipeline.publication import approving

    session = session_of(ctx)
    chosen = _chosen(session, release)
    if not approving.held_because(chosen.folder, chosen.manifest):
        raise WrongUsage(f"{chosen.release_id} n'attend aucune confirmation.")
    approving.confirm(session.lake, chosen.folder, name=name, note=note)
    return _stands(session, chosen)


@commands.command("sign")
def sign(
    ctx: typer.Context,
    release: ReleaseArgument = None,
    *,
    name: NameOption,
    role: Annotated[str, typer.Option(help="Fonction de qui signe.", show_default=False)],
    note: NoteOption = "",
    public_at: Annotated[
        str | None,
        typer.Option(help="Heure de Paris, AAAA-MM-JJTHH:MM (tout de suite sinon)."),
    ] = None,
    reader: Annotated[list[str] | None, typer.Option(help="Lecteur nommé avant cette heure ; à répéter.")] = None,
) -> ExitCode:
    """Signer une publication : elle devient publique à son heure."""
    from insertion_pipeline import screen
    from insertion_pipeline.publication import approving, releasing
    from insertion_pipeline.publication.verifying import verify

    session = session_of(ctx)
    chosen = _chosen(session, release)
    hour = _hour(public_at)
    with screen.working("Vérification", silent=session.as_json):
        verification = verify(session.lake, chosen)
    if verification.problems:
        first = verification.problems[0]
        raise Refused(f"Publication altérée, elle ne peut être signée : {first.file}, {first.message}.")
    if others := releasing.signed_since(session.lake, chosen):
        raise Refused(
            f"{others[-1].release_id} a été signée depuis et montre les mêmes mois : « insertion run » refait la "
            "publication, protégée avec elle."
        )
    try:
        approving.sign(
            session.lake, chosen.folder, chosen.manifest,
            name=name, role=role, note=note, public_at=hour, early_readers=reader or (),
        )  # fmt: skip
    except approving.HeldForConfirmation as held:
        raise Held(str(held)) from None
    return _stands(session, chosen)


@commands.command("export")
def export(
    ctx: typer.Context,
    release: ReleaseArgument = None,
    *,
    to: Annotated[Path, typer.Option(help="Dossier, ou archive .zip, où la copier.", show_default=False)],
    reader: ReaderOption = None,
) -> ExitCode:
    """Copier une publication publique, ou la remettre à un lecteur nommé avant son heure."""
    from insertion_pipeline import screen
    from insertion_pipeline.publication import exporting

    session = session_of(ctx)
    chosen = _chosen(session, release)
    _admit(session, chosen, reader)
    try:
        place = exporting.export(chosen.folder, to)
    except exporting.TargetExists as exists:
        raise WrongUsage(f"Existe déjà, rien n'est remplacé : {exists}") from None
    if session.as_json:
        say({"release_id": chosen.release_id, "out": str(place)})
    else:
        screen.show_written([place])
    return ExitCode.DONE


@commands.command("publish")
def publish(
    ctx: typer.Context,
    release: ReleaseArgument = None,
    *,
    to: Annotated[str, typer.Option(help="postgresql://… sans mot de passe.", show_default=False)],
) -> ExitCode:
    """Mettre une publication publique dans une base PostgreSQL, d'un seul coup."""
    from insertion_pipeline import screen
    from insertion_pipeline.publication import postgres

    if not to.startswith(("postgresql://", "postgres://")):
        raise WrongUsage("Adresse attendue : postgresql://utilisateur@serveur/base.")
    session = session_of(ctx)
    chosen = _chosen(session, release)
    _admit(session, chosen, None)
    try:
        rows = postgres.publish(chosen, to)
    except postgres.PasswordInAddress:
        raise WrongUsage("Pas de mot de passe dans l'adresse : variable PGPASSWORD, ou fichier ~/.pgpass.") from None
    except postgres.NoDriver as missing:
        raise WrongUsage(f"PostgreSQL demande un module de plus : {missing}") from None
    except postgres.Unreachable as error:
        raise WrongUsage(f"La base ne répond pas, ou refuse : {error}") from None
    if session.as_json:
        say({"release_id": chosen.release_id, "schema": postgres.SCHEMA, "rows": rows})
    else:
        screen.show_published(chosen.release_id, postgres.SCHEMA, rows)
    return ExitCode.DONE


@commands.command("combine")
def combine(
    ctx: typer.Context,
    releases: Annotated[list[str], typer.Argument(help="Publications signées, ou dossiers.", show_default=False)],
    key: Annotated[list[str] | None, typer.Option(help="Clé publique acceptée, en plus de celle de la base.")] = None,
) -> ExitCode:
    """Réunir des publications signées de pays différents en une seule."""
    from insertion_pipeline.publication import releasing
    from insertion_pipeline.publication.verifying import verify

    session = session_of(ctx)
    parts = [_chosen(session, one) for one in releases]
    for part in parts:
        if (verification := verify(session.lake, part, trusted=key or ())).state != "intact":
            first = verification.problems[0] if verification.problems else None
            why = f"{first.file}, {first.message}" if first else "aucune signature"
            raise Refused(f"{part.release_id} : {why}.")
    try:
        combined = releasing.combine(session.lake, session.registry, parts)
    except releasing.CannotCombine as error:
        raise Refused(str(error)) from None
    return _stands(session, combined)


def _explain(session: Session, release: Release, code: str, territory: str, month: str) -> ExitCode:
    """The published value, its rules, and the deliveries that could bear on it; never what each contributed."""
    from dataclasses import asdict

    from insertion_pipeline import screen
    from insertion_pipeline.publication import explaining

    try:
        explained = explaining.explain(release, session.registry, code, territory, month)
    except explaining.NotPublished as error:
        raise WrongUsage(str(error)) from None
    if session.as_json:
        say(asdict(explained))
    else:
        screen.show_provenance(explained)
    return ExitCode.DONE


def _chosen(session: Session, release: str | None) -> Release:
    """The release of that name in the home, or the one in a folder; the latest by default."""
    found = _named(session, release)
    if not found.manifest:
        raise Refused(f"{found.release_id} : manifeste illisible, voyez « insertion release verify ».")
    return found


def _named(session: Session, release: str | None) -> Release:
    """The same, whether or not its manifest can be read."""
    from insertion_pipeline.publication import releasing

    if release and ("/" in release or Path(release).is_dir()):
        found = releasing.opened(Path(release).resolve())
        if found is None:
            raise WrongUsage(f"Aucune publication dans ce dossier : {release}")
        return found
    try:
        return releasing.chosen(session.lake, release)
    except releasing.UnknownRelease:
        raise WrongUsage(f"Publication inconnue : {release}" if release else "Aucune publication encore.") from None


def _hour(text: str | None) -> datetime | None:
    from insertion_pipeline.publication import approving

    try:
        return approving.local_hour(text) if text else None
    except ValueError:
        raise WrongUsage(f"Heure illisible : {text!r} ; écrivez-la AAAA-MM-JJTHH:MM.") from None


def _admit(session: Session, release: Release, reader: str | None) -> None:
    from insertion_pipeline.publication import approving

    try:
        approving.admit(session.lake, release.folder, release.manifest, reader)
    except approving.HeldForConfirmation as held:
        raise Held(str(held)) from None
    except approving.NotReadable as refused:
        raise Refused(str(refused)) from None


def _stands(session: Session, release: Release) -> ExitCode:
    """Say where a release stands now."""
    from insertion_pipeline import screen

    answer = release.to_json(session.lake.clock.now())
    if session.as_json:
        say(answer)
    else:
        screen.show_releases([answer])
    return ExitCode.DONE
