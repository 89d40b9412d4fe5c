"""`insertion protect`: disclosure control of any table of counts.

Belongs here: the command and its files. Does not belong here: the protection (`disclosure.counts`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from insertion_pipeline.commands.session import ExitCode, Refused, WrongUsage, say, session_of

if TYPE_CHECKING:
    import pyarrow as pa

commands = typer.Typer()

#: Where the certificate is written, in the folder of the table.
CERTIFICATE = "certificate.json"


@commands.command("protect")
def protect(
    ctx: typer.Context,
    cells: Annotated[Path, typer.Argument(help="Table d'effectifs (Parquet ou CSV), une ligne par cellule.")],
    spec: Annotated[Path, typer.Option(help="Dimensions, hiérarchies et seuils (YAML).", show_default=False)],
    out: Annotated[Path, typer.Option(help="Table protégée (Parquet ou CSV).", show_default=False)],
) -> ExitCode:
    """Masquer dans une table d'effectifs ce qui permettrait de reconnaître quelqu'un, et le prouver."""
    from insertion_pipeline import screen
    from insertion_pipeline.disclosure import counts
    from insertion_pipeline.disclosure.cubes import BadCube
    from insertion_pipeline.lake import write_atomically, write_json

    session = session_of(ctx)
    try:
        with screen.working("Protection", silent=session.as_json):
            specification = counts.read_specification(spec)
            table = counts.read_cells(cells, specification)
            safe = counts.protect_counts(table, specification, spec.parent)
    except counts.CannotProtectTable as error:
        raise Refused(f"Table refusée, rien n'est écrit. {error}.") from error
    except (counts.BadSpecification, BadCube) as error:
        raise WrongUsage(f"Table ou spécification refusée. {error}.") from error
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(out, _written(safe.table, out))
    write_json(out.parent / CERTIFICATE, safe.certificate)
    if session.as_json:
        say({"out": str(out), "certificate": dict(safe.certificate)})
    else:
        screen.show_protection(safe.certificate, out)
    return ExitCode.DONE


def _written(table: pa.Table, path: Path) -> bytes:
    import pyarrow as pa
    import pyarrow.csv as pv
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    write = pv.write_csv if path.suffix.lower() == ".csv" else pq.write_table
    write(table, buffer)
    written: bytes = buffer.getvalue().to_pybytes()
    return written
