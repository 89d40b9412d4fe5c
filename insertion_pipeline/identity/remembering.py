"""What standardisation remembers from one run to the next, under the seal of its person space.

Belongs here: the files, when they are believed, when they go. Does not belong here: what is remembered, and what is
standardised again (`normalising`).

Under `sealed/identity/<space>/standard/`: `records.parquet`, one row per record of the last run; `names.parquet` and
`addresses.parquet`, one row per distinct text of these records. Each run leaves what it worked on and nothing else, so
that a record past its retention leaves with the run that no longer reads it. Whoever is erased takes the whole folder
along: a name in it may have been theirs alone. The files are sealed by the key of the identity tables, which rotation
wraps again; no backup has them. What was made by other rules than today's, or cannot be opened, is made again.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa

from insertion_pipeline.identity.normalising import Remembered, rules
from insertion_pipeline.lake import Lake, ParquetFile

_RULES = b"rules"


def recall(lake: Lake, space: str) -> Remembered:
    """What the last run standardised, by the rules of today; nothing where there is none."""
    return Remembered(*(_read(lake, space, name) for name in ("records", "names", "addresses")))


def keep(lake: Lake, space: str, remembered: Remembered) -> None:
    """Put what a run standardised in the place of what is remembered."""
    for name in ("records", "names", "addresses"):
        table: pa.Table | None = getattr(remembered, name)
        if table is not None:
            sealed = table.replace_schema_metadata({_RULES: rules().encode()})
            lake.write_parquet(_folder(lake, space) / f"{name}.parquet", sealed, key=lake.identity_key(space))


def forget(lake: Lake, space: str) -> None:
    """Remember nothing of a person space."""
    shutil.rmtree(_folder(lake, space), ignore_errors=True)


def _folder(lake: Lake, space: str) -> Path:
    return lake.sealed / "identity" / space / "standard"


def _read(lake: Lake, space: str, name: str) -> pa.Table | None:
    path = _folder(lake, space) / f"{name}.parquet"
    if not path.exists():
        return None
    try:
        table = lake.read_parquet(ParquetFile(path, lake.identity_key(space))).combine_chunks()
    except (OSError, pa.ArrowException):  # cut short, or sealed by a key that is no more: it is made again
        return None
    if (table.schema.metadata or {}).get(_RULES) != rules().encode():
        return None
    return table.replace_schema_metadata(None)
