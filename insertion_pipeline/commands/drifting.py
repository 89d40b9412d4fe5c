"""`insertion drift`: what partners should be asked about their months, and the pages that show it.

Belongs here: the command. Does not belong here: the comparison and its suite (`ingestion.drift`), the pages
(`ingestion.drift_pages`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from insertion_pipeline.commands.session import ExitCode, WrongUsage, say, session_of
from insertion_pipeline.month import Month, Span

commands = typer.Typer()


@commands.command("drift")
def drift(
    ctx: typer.Context,
    months: Annotated[str, typer.Option(help="Mois ou suite de mois, AAAA-MM ou AAAA-MM..AAAA-MM.")],
    docs: Annotated[Path | None, typer.Option(help="Dossier des pages (Data Docs, hors ligne).")] = None,
) -> ExitCode:
    """Comparer les dépôts d'un mois à l'historique de chaque partenaire : volumes, cellules vides, codes."""
    from insertion_pipeline import screen
    from insertion_pipeline.ingestion import drift as watch

    session = session_of(ctx)
    try:
        first, _, last = months.partition("..")
        span = Span(Month.parse(first), Month.parse(last or first))
    except ValueError:
        raise WrongUsage(f"Mois illisible : {months!r} ; la forme attendue est AAAA-MM ou AAAA-MM..AAAA-MM.") from None
    with screen.working("Comparaison à l'historique", silent=session.as_json):
        reports = watch.judge_all(session.lake, session.registry, tuple(span))
        written = []
        if docs is not None:
            from insertion_pipeline.ingestion.drift_pages import write_pages

            written = write_pages(session.lake, session.registry, tuple(span), docs)
    asked = [(report, one) for report in reports for one in report.drifts]
    if session.as_json:
        say(
            {
                "months": [str(month) for month in span],
                "questions": [
                    {"month": str(report.month), "source": report.source, "partner": one.partner, "table": one.table,
                     "field": one.field, "measure": one.measure, "message": one.message}
                    for report, one in asked
                ],
                "docs": [str(path) for path in written],
            }
        )  # fmt: skip
    else:
        screen.show_drifts(asked, written)
    return ExitCode.FINDINGS if asked else ExitCode.DONE
