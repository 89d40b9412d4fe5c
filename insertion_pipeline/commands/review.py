"""`insertion review list | show | decide | sample | thresholds`: pairs of records that a person looks at.

Belongs here: arguments, exit codes, the tables on screen. Does not belong here: the queue and its order
(`identity.reviewing`).
"""

from __future__ import annotations

import getpass
import os
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from insertion_pipeline.commands.session import ExitCode, Held, Refused, WrongUsage, say, session_of

if TYPE_CHECKING:
    from insertion_pipeline.identity.reviewing import ReviewedPair

commands = typer.Typer(no_args_is_help=True, help="Les paires de fiches à regarder : file, décision, échantillon.")

SpaceOption = Annotated[Literal["fr", "be"], typer.Option(help="Espace de personnes.")]
PairArgument = Annotated[str, typer.Argument(help="Paire, comme la liste la nomme.", show_default=False)]
ByOption = Annotated[str | None, typer.Option(help="Qui regarde et décide (le journal le garde).")]


@commands.command("list")
def review_list(
    ctx: typer.Context,
    space: SpaceOption = "fr",
    limit: Annotated[int, typer.Option(min=1, help="Nombre de paires.")] = 30,
    state: Annotated[str | None, typer.Option(help="grey, guarded, vetoed ou refused.")] = None,
    sample: Annotated[bool, typer.Option("--sample", help="Les paires de l'échantillon à étiqueter.")] = False,
) -> ExitCode:
    """Les paires qui attendent un regard, les plus utiles d'abord ; aucune valeur, des niveaux."""
    from insertion_pipeline.identity import reviewing

    session = session_of(ctx)
    if state is not None and state not in reviewing.STATES:
        raise WrongUsage(f"État inconnu : {state} (grey, guarded, vetoed ou refused).")
    if sample:
        pairs = reviewing.sample(session.lake, space)[:limit]
    else:
        pairs = reviewing.queue(session.lake, space, limit=limit, state=state)
    if session.as_json:
        say([pair.to_json() for pair in pairs])
    else:
        _show(pairs)
    return ExitCode.DONE


@commands.command("show")
def review_show(ctx: typer.Context, pair: PairArgument, space: SpaceOption = "fr", by: ByOption = None) -> ExitCode:
    """Les valeurs des deux fiches d'une paire ; ce regard est inscrit au journal."""
    from rich.table import Table

    from insertion_pipeline.identity import reviewing
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    try:
        left, right = reviewing.look(session.lake, space, pair, by=by or getpass.getuser())
    except reviewing.UnknownPair:
        raise WrongUsage(f"Paire inconnue : {pair}") from None
    if session.as_json:
        say([left, right])
        return ExitCode.DONE
    table = Table("", "fiche 1", "fiche 2", box=None, header_style="bold")
    for name, value in left.items():
        if name != "record_id" and (value or right[name]):
            table.add_row(name, value or "—", right[name] or "—", style="" if value == right[name] else "yellow")
    console.print(table)
    return ExitCode.DONE


@commands.command("decide")
def review_decide(
    ctx: typer.Context,
    pair: PairArgument,
    verdict: Annotated[Literal["same", "different", "unsure"], typer.Argument(help="Même personne ?")],
    space: SpaceOption = "fr",
    by: ByOption = None,
) -> ExitCode:
    """Dire si deux fiches sont d'une même personne : tout rapprochement ultérieur s'y tient."""
    from insertion_pipeline.identity import reviewing
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    lake = session.lake
    try:
        with lake.writer_lock(wait=session.waits, holder=f"insertion review, processus {os.getpid()}"):
            decided = reviewing.decide(lake, space, pair, verdict, by=by or getpass.getuser())
    except reviewing.UnknownPair:
        raise WrongUsage(f"Paire inconnue : {pair}") from None
    if session.as_json:
        say(decided.to_json())
        return ExitCode.HELD if decided.is_waiting else ExitCode.DONE
    if decided.is_waiting:
        raise Held("Deux numéros de confiance diffèrent : un second relecteur doit dire de même.")
    console.print("Noté. Le prochain « insertion run » s'y tiendra.")
    return ExitCode.DONE


@commands.command("sample")
def review_sample(
    ctx: typer.Context,
    size: Annotated[int, typer.Option(min=1, help="Nombre de paires à étiqueter.")] = 200,
    seed: Annotated[int, typer.Option(help="Graine du tirage.")] = 1,
    space: SpaceOption = "fr",
) -> ExitCode:
    """Tirer au hasard des paires à étiqueter, autant dans chaque tranche de poids."""
    from insertion_pipeline.identity import reviewing
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    lake = session.lake
    with lake.writer_lock(wait=session.waits, holder=f"insertion review, processus {os.getpid()}"):
        drawn = reviewing.draw_sample(lake, session.registry, space, size, seed=seed)
    if session.as_json:
        say({"space": space, "drawn": drawn})
    else:
        console.print(f"{drawn} paires tirées : « insertion review list --sample » les montre.")
    return ExitCode.DONE


@commands.command("thresholds")
def review_thresholds(
    ctx: typer.Context,
    space: SpaceOption = "fr",
    precision: Annotated[float, typer.Option(min=0.5, max=1, help="Précision voulue des réunions.")] = 0.999,
    adopt: Annotated[bool, typer.Option("--adopt", help="Les mettre en vigueur dès le prochain traitement.")] = False,
    by: ByOption = None,
) -> ExitCode:
    """Ce que les étiquettes de l'échantillon disent des seuils, à côté de ceux en vigueur."""
    from rich.table import Table

    from insertion_pipeline.identity import reviewing
    from insertion_pipeline.screen import console

    session = session_of(ctx)
    lake = session.lake
    try:
        if adopt:
            with lake.writer_lock(wait=session.waits, holder=f"insertion review, processus {os.getpid()}"):
                told = reviewing.adopt(lake, space, precision=precision, by=by or getpass.getuser())
        else:
            told = reviewing.thresholds(lake, space, precision=precision)
    except reviewing.TooFewLabels:
        raise Refused("Les étiquettes ne donnent pas cette précision : en poser d'autres, ou demander moins.") from None
    if session.as_json:
        say(told.to_json())
        return ExitCode.DONE
    table = Table("état", "poids dès", "étiquettes", "paires", "même personne", box=None, header_style="bold")
    for band in told.bands:
        share = f"{100 * band['share_same']:.1f} %".replace(".", ",")
        table.add_row(
            reviewing.STATES[band["state"]], f"{band['from']:g}", str(band["labels"]), str(band["pairs"]), share
        )
    console.print(table)
    console.print(
        f"Réunir dès {_weight(told.join_from)} (en vigueur : {told.join_from_in_force:g}), regarder dès "
        f"{_weight(told.review_from)} (en vigueur : {told.review_from_in_force:g}), {told.labels} étiquettes."
    )
    return ExitCode.DONE


def _weight(weight: float | None) -> str:
    return "— (étiquettes insuffisantes)" if weight is None else f"{weight:g}"


def _show(pairs: list[ReviewedPair]) -> None:
    from rich.table import Table

    from insertion_pipeline.identity import reviewing
    from insertion_pipeline.screen import console

    if not pairs:
        console.print("Aucune paire n'attend.")
        return
    table = Table("paire", "état", "poids", "utilité", "partenaires", "ce qui concorde", "ce qui diffère", box=None)
    for pair in pairs:
        told = {reviewing.COMPARISONS.get(name, name): level for name, level in pair.levels.items() if level != "null"}
        agreeing = ", ".join(f"{name} ({level})" for name, level in told.items() if level != "else")
        differing = ", ".join(name for name, level in told.items() if level == "else")
        state = reviewing.STATES[pair.state] + (" · 2e avis" if pair.is_waiting else "")
        weight = "" if pair.weight is None else f"{pair.weight:.1f}"
        table.add_row(
            pair.pair, state, weight, f"{pair.usefulness:.2f}", " / ".join(pair.partners), agreeing, differing
        )
    console.print(table)
