"""`insertion runs`: what each run of a home took, on the screen and as a page.

Belongs here: the command. Does not belong here: the figures (`orchestration.metrics`), the page
(`orchestration.metrics_page`).
"""

from __future__ import annotations

import webbrowser
from typing import Annotated

import typer

from insertion_pipeline.commands.session import ExitCode, WrongUsage, say, session_of

commands = typer.Typer()


@commands.command("runs")
def runs(
    ctx: typer.Context,
    run: Annotated[str | None, typer.Argument(help="Numéro d'un run, ou son début.", show_default=False)] = None,
    opened: Annotated[bool, typer.Option("--open", help="Ouvrir la page dans un navigateur.")] = False,
) -> ExitCode:
    """Dire ce que chaque run a pris : durées, lignes, constats, mémoire, étape par étape."""
    from insertion_pipeline import screen
    from insertion_pipeline.orchestration import metrics, metrics_page

    session = session_of(ctx)
    known = metrics.read_all(session.lake.runs)
    chosen = [one for one in known if one.run_id.startswith(run or "")]
    if run is not None and len(chosen) != 1:
        raise WrongUsage(f"{len(chosen)} runs dont le numéro commence par {run} : « insertion runs » les donne tous.")
    page = metrics_page.write_page(session.lake.runs)
    if session.as_json:
        say({"page": str(page), "runs": [one.to_json() for one in chosen]})
    elif run is not None:
        screen.show_run_steps(chosen[0])
    else:
        screen.show_runs(known, page)
    if opened:
        webbrowser.open(page.as_uri())
    return ExitCode.DONE
