"""`insertion erase | object | subject`: the rights of persons.

Belongs here: reading a request without leaving it in the shell's history where that can be helped, exit codes. Does
not belong here: what a right means (`identity.rights`).
"""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from insertion_pipeline.commands.session import ExitCode, Held, Session, WrongUsage, say, session_of

if TYPE_CHECKING:
    from insertion_pipeline.identity.rights import Removal, Request

SpaceOption = Annotated[str, typer.Option(help="Espace de personnes : fr ou be.")]
RequestOption = Annotated[
    Path | None,
    typer.Option(
        help="Demande en JSON (nir, niss, name, first_name, birth_date), « - » pour l'entrée standard : "
        "rien n'en reste dans l'historique du terminal."
    ),
]
NirOption = Annotated[str | None, typer.Option(help="NIR de la personne.")]
NissOption = Annotated[str | None, typer.Option(help="NISS de la personne.")]
NameOption = Annotated[str | None, typer.Option(help="Nom de naissance ou d'usage.")]
FirstNameOption = Annotated[str | None, typer.Option(help="Prénom.")]
BirthDateOption = Annotated[str | None, typer.Option(help="Date de naissance, AAAA-MM-JJ.")]
PersonOption = Annotated[
    str | None, typer.Option(help="Identifiant de la personne, quand la demande en vise plusieurs.")
]
ByOption = Annotated[str | None, typer.Option(help="Qui traite la demande (le journal le garde).")]

commands = typer.Typer()

_FIELDS = ("nir", "niss", "name", "first_name", "birth_date")


@commands.command("erase")
def erase(
    ctx: typer.Context,
    space: SpaceOption = "fr",
    request: RequestOption = None,
    nir: NirOption = None,
    niss: NissOption = None,
    name: NameOption = None,
    first_name: FirstNameOption = None,
    birth_date: BirthDateOption = None,
    person: PersonOption = None,
    by: ByOption = None,
) -> ExitCode:
    """Effacer une personne partout, pour toujours ; les publications n'en contiennent aucune."""
    from insertion_pipeline.identity import rights

    asked = _request(space, request, (nir, niss, name, first_name, birth_date), person)
    return _leave(session_of(ctx), rights.erase, asked, by, "effacement")


@commands.command("object")
def object_to(
    ctx: typer.Context,
    space: SpaceOption = "fr",
    request: RequestOption = None,
    nir: NirOption = None,
    niss: NissOption = None,
    name: NameOption = None,
    first_name: FirstNameOption = None,
    birth_date: BirthDateOption = None,
    person: PersonOption = None,
    by: ByOption = None,
) -> ExitCode:
    """Retirer une personne qui s'oppose des sources où l'opposition est de droit."""
    from insertion_pipeline.identity import rights

    asked = _request(space, request, (nir, niss, name, first_name, birth_date), person)
    return _leave(session_of(ctx), rights.object_to, asked, by, "opposition")


@commands.command("subject")
def subject(
    ctx: typer.Context,
    action: Annotated[Literal["export"], typer.Argument(help="Ce qui est demandé.")] = "export",
    space: SpaceOption = "fr",
    request: RequestOption = None,
    nir: NirOption = None,
    niss: NissOption = None,
    name: NameOption = None,
    first_name: FirstNameOption = None,
    birth_date: BirthDateOption = None,
    person: PersonOption = None,
    by: ByOption = None,
    out: Annotated[Path | None, typer.Option(help="Fichier JSON à écrire, lisible de vous seul.")] = None,
) -> ExitCode:
    """Répondre à une demande d'accès : tout ce qui est tenu sur une personne, à l'écran ou dans un fichier."""
    from insertion_pipeline.identity import rights
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    asked = _request(space, request, (nir, niss, name, first_name, birth_date), person)
    told = _answered(lambda: rights.held_on(session.lake, session.registry, asked, by=by or getpass.getuser()))
    text = json.dumps(told, ensure_ascii=False, indent=1, default=str)
    if out is None:
        say(json.loads(text))
        return ExitCode.DONE
    if out.exists():
        raise WrongUsage(f"Le fichier existe déjà : {out}")
    descriptor = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text + "\n")
    if session.as_json:
        say({"out": str(out), "records": len(told["records"]), "rows": len(told["rows"])})
    else:
        console.print(f"Écrit, pour vous seul : {out} ({len(told['rows'])} lignes de fichiers).")
    return ExitCode.DONE


def _leave(session: Session, act: Callable[..., Removal], asked: Request, by: str | None, named: str) -> ExitCode:
    from insertion_pipeline.screen import console

    lake, registry = session.lake, session.registry
    with lake.writer_lock(wait=session.waits, holder=f"insertion {named}, processus {os.getpid()}"):
        removal = _answered(lambda: act(lake, registry, asked, by=by or getpass.getuser()))
    if session.as_json:
        say(removal.to_json())
    else:
        console.print(
            f"Fait ({named} n° {removal.tombstone}) : {removal.records} fiches retirées, {removal.deliveries} dépôts "
            f"récrits, {removal.tables} tables reprises. Les indicateurs seront refaits au prochain « insertion run »."
        )
    return ExitCode.DONE


def _answered(act: Callable[[], Any]) -> Any:
    from insertion_pipeline.identity.rights import SeveralPersons, UnclearRequest

    try:
        return act()
    except UnclearRequest:
        raise WrongUsage(
            "Demande trop imprécise : un numéro valable, ou un nom, un prénom et une date de naissance."
        ) from None
    except SeveralPersons as several:
        raise Held(
            "La demande correspond à plusieurs personnes : précisez le numéro, ou choisissez avec --person "
            + ", ".join(several.persons)
        ) from None


def _request(space: str, path: Path | None, told: tuple[str | None, ...], person: str | None) -> Request:
    from insertion_pipeline.identity.rights import Request

    if space not in ("fr", "be"):
        raise WrongUsage(f"Espace inconnu : {space} (fr ou be).")
    given = dict(zip(_FIELDS, told, strict=True))
    if path is not None:
        if any(given.values()):
            raise WrongUsage("--request se suffit à lui-même.")
        try:
            content = json.loads(sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8"))
            given = {field: str(content[field]) if content.get(field) else None for field in _FIELDS}
        except (ValueError, AttributeError):
            raise WrongUsage("La demande n'est pas un objet JSON.") from None
    return Request(space, **given, person_id=person)  # type: ignore[arg-type]
