"""`insertion protection`: the data protection file, from the contracts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from insertion_pipeline.commands.session import ExitCode, say_written, session_of


def protection(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Dossier à remplir.", show_default=False)],
) -> ExitCode:
    """Écrire le dossier de protection des données : registre, analyse d'impact, accord, information des personnes."""
    from insertion_pipeline.contracts.protection import documents
    from insertion_pipeline.lake import write_atomically

    session = session_of(ctx)
    written = {out / name: text for name, text in documents(session.registry).items()}
    for path, text in written.items():
        write_atomically(path, text.encode())
    return say_written(session, list(written))
