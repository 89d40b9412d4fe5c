"""A coverage-guided search for bytes that break a reader: a crash, or a line that is nowhere.

`python -m insertion_pipeline_tests.fuzzing.readers [--seconds 300] [--corpus FOLDER]`

The first byte chooses the contract, the second how much text is read at a time, the rest is the file. A reader may
refuse a file (`UnreadableDelivery`); anything else that it raises is a defect, and so is an account that does not
balance, a row without its line, or two lines in the wrong order. The search begins with the samples of `data_sources`
and with small files of every envelope. What it finds is left in the corpus folder, as `crash-…`.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import io
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["insertion_pipeline.ingestion", "zipfile", "tarfile", "gzip", "csv"]):
    from insertion_pipeline.ingestion import (
        cutting,
        decoding,
        delimited,
        envelopes,
        fluxiae,
        headers,
        json_elements,
        spreadsheet,
        xml,
    )

import numpy as np

from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.cutting import Task
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import Batch, Extract, UnreadableDelivery
from insertion_pipeline.month import Month
from insertion_pipeline.registry import load_registry

REPOSITORY = Path(__file__).resolve().parents[2]
MONTH = Month.parse("2026-09")
SOURCES = ("department_list", "fluxiae", "cnaf_vrsb0801", "fiche_salarie", "siae_monthly", "ft_spie")
INSTRUMENTED = (cutting, decoding, delimited, envelopes, fluxiae, headers, json_elements, spreadsheet, xml)

_LARGEST = 64 << 10
_SAMPLE_BYTES = 4_000


def check(content: bytes) -> None:
    """Read one input. Raises whatever a reader must not raise."""
    if len(content) < 2:
        return
    source = _REGISTRY.source(SOURCES[content[0] % len(SOURCES)])
    limits = Limits(unpacked_bytes=1 << 20, line_bytes=8 << 10, block_bytes=16 << (content[1] % 8))
    with tempfile.TemporaryDirectory(dir=_MEMORY) as name:
        path = Path(name) / "file"
        path.write_bytes(content[2:])
        with contextlib.suppress(UnreadableDelivery):
            _follow(Task((path,), Path(name), limits), source.name)


def _follow(task: Task, source: str) -> None:
    last = accepted = rejected = 0
    total = Account()
    for piece in cutting.cut(task, _REGISTRY.source(source), MONTH):
        if isinstance(piece, Batch):
            lines = piece.rows["_line"].to_numpy()
            assert bool((np.diff(lines) > 0).all()), "lines out of order"
            assert not len(lines) or lines[0] > last, "a line twice"
            last = int(lines[-1]) if len(lines) else last
            accepted += int(piece.rows["_units"].to_numpy().sum())
            rejected += int(piece.unreadable["_units"].to_numpy().sum()) if piece.unreadable.num_rows else 0
        elif isinstance(piece, Extract):
            assert (piece.account.accepted, piece.account.rejected) == (accepted, rejected), "rows and account differ"
            total, last, accepted, rejected = total + piece.account, 0, 0, 0
    total.checked()


def seeds() -> Iterator[bytes]:
    """Small files of every envelope, each with the two bytes that choose how it is read."""
    for path in sorted((REPOSITORY / "data_sources").glob("*/samples/**/*")):
        if path.is_file() and path.stat().st_size < _LARGEST:
            for number in range(len(SOURCES)):
                if SOURCES[number] in path.name or number == 0:
                    yield bytes((number, 3)) + path.read_bytes()[:_SAMPLE_BYTES]
    text = 'Nom;Prénom;"Date de naissance"\r\nMODELE;"Cam""ille\n";21/11/1980\r"";;\n'
    for content in (text.encode(), text.encode("cp1252"), text.encode("utf-16"), text.replace(";", "\t").encode()):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w") as archive:
            archive.writestr("a", content)
        yield from (b"\0\1" + one for one in (content, gzip.compress(content), packed.getvalue()))
    yield b"\1\1DEBSalarie01092026_101010||\nsalarie_id|salarie_nir|salarie_prenom\n1|2\n|3\nFIN1\n"
    yield b"\2\1<Racine><InfosFoyerRSA><Personne><NOM>A</NOM></Personne></InfosFoyerRSA></Racine>"
    yield b'\3\1{"lignesTelechargement": [{"numLigne": 1}, {"numLigne": 2}]}'


_REGISTRY = load_registry(REPOSITORY / "data_sources")
_MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=300)
    parser.add_argument("--corpus", type=Path)
    chosen = parser.parse_args()
    folder = chosen.corpus or Path(tempfile.mkdtemp(prefix="fuzzing-"))
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()):
        (folder / f"seed-{number:03d}").write_bytes(seed)
    options = [f"-max_total_time={chosen.seconds}", f"-max_len={_LARGEST}", "-timeout=20", "-rss_limit_mb=2048"]
    atheris.Setup([sys.argv[0], *options, f"-artifact_prefix={folder}/", str(folder)], check)
    try:
        atheris.Fuzz()
    finally:
        if chosen.corpus is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
