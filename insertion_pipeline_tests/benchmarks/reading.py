"""How fast a view of fluxIAE goes from bytes to conformed Parquet, beside a plain pandas loader.

`python -m insertion_pipeline_tests.benchmarks.reading --lines 1000000 [--flawed 0.02] [--threads 2]`

The file has the 31 columns of the monthly statements (EtatMensuelIndiv), with its DEB and FIN lines. Ours reads it,
judges every cell, finds duplicates, and writes accepted rows, rejected rows and findings under seal. The pandas loader
does what such loaders do: `read_csv` as text, the numbers and dates converted, one Parquet file, nothing checked. Each
runs in a process of its own, whose memory is its peak.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
MONTH = "2026-09"
T = TypeVar("T")

#: Stage → wall and processor seconds.
Seconds = dict[str, tuple[float, float]]

_CHUNK = 100_000
_DATES = ("emi_date_fin_reelle", "emi_date_validation")
_NUMBERS = ("emi_nb_heures_travail", "emi_part_etp", "emi_pph_id", "emi_afi_id", "emi_sme_mois", "emi_sme_annee")


def write_view(path: Path, lines: int, flawed: float) -> None:
    """A view of `lines` rows; a share `flawed` of them has a month that does not exist. The same at each run."""
    from insertion_pipeline.registry import load_registry

    source = load_registry(REPOSITORY / "data_sources").source("fluxiae")
    table = next(one for one in source.versions[-1].resources if one.name == "etat_mensuel_indiv")
    random = np.random.default_rng(20260901)
    with path.open("w", encoding="utf-8") as file:
        file.write("DEBEtatMensuelIndiv20261012_063004\n")
        file.write("|".join(field.name for field in table.fields) + "\n")
        for first in range(0, lines, _CHUNK):
            count = min(_CHUNK, lines - first)
            file.writelines(_rows([field.name for field in table.fields], first, count, flawed, random))
        file.write(f"FIN{lines}\n")


def _rows(names: list[str], first: int, count: int, flawed: float, random: np.random.Generator) -> Iterator[str]:
    hours, days, states = random.integers(0, 152, count), random.integers(1, 29, count), random.integers(0, 3, count)
    wrong = random.random(count) < flawed
    for row in range(count):
        person, ended = first + row, states[row] == 0
        values = {
            "emi_date_creation": f"{days[row]:02d}/09/2026",
            "emi_date_modification": f"{days[row]:02d}/09/2026",
            "emi_pph_id": str(1_000_000 + person),
            "emi_afi_id": str(5_000 + person % 4_000),
            "emi_sme_mois": "13" if wrong[row] else "9",
            "emi_sme_annee": "2026",
            "emi_esm_etat_id": "3",
            "emi_esm_etat_code": "VALIDE",
            "emi_sme_version": "1",
            "emi_ctr_id": str(2_000_000 + person),
            "emi_nb_heures_travail": f"{hours[row]}.5",
            "emi_nb_heures_facturees": f"{hours[row]}",
            "emi_nb_mission": "2",
            "emi_mt_salaire_brut": f"{hours[row] * 12}.75",
            "emi_part_etp": f"0.{hours[row]:03d}",
            "emi_date_fin_reelle": f"{days[row]:02d}/09/2026" if ended else "",
            "emi_date_validation": f"{days[row]:02d}/10/2026",
            "emi_motif_sortie_id": "12" if ended else "",
            "emi_motif_sortie_code": "FIN_CDD" if ended else "",
            "emi_dsm_id": str(3_000_000 + person),
        }
        yield "|".join(values.get(name, "") for name in names) + "\n"


def ours(path: Path, folder: Path, threads: int) -> dict[str, Any]:
    """Bytes to sealed Parquet: seconds per stage, and the account."""
    from insertion_pipeline.contracts.findings import FINDINGS_SCHEMA
    from insertion_pipeline.ingestion.conforming import conform
    from insertion_pipeline.ingestion.deliveries import write_conformed
    from insertion_pipeline.ingestion.reading import read
    from insertion_pipeline.lake import Lake
    from insertion_pipeline.month import Month
    from insertion_pipeline.registry import load_registry

    registry = load_registry(REPOSITORY / "data_sources")
    lake = Lake.open(folder / "home", threads=threads, memory_limit_mb=1024)
    source, month = registry.source("fluxiae"), Month.parse(MONTH)
    seconds: Seconds = {}
    reading = _timed(seconds, "read", lambda: read(path, source, month=month))
    conformed = _timed(seconds, "conform", lambda: conform(reading, source, month, registry, lake))
    key, _ = lake.keyring.new_data_key("fr")
    _timed(seconds, "write", lambda: write_conformed(folder / "conformed", lake, conformed, key, "benchmark"))
    assert conformed.findings.schema == FINDINGS_SCHEMA
    account = conformed.account
    return {
        "seconds": seconds,
        "lines": account.lines,
        "accepted": account.accepted,
        "rejected": account.rejected,
        "findings": conformed.findings.num_rows,
    }


def plain_pandas(path: Path, folder: Path, threads: int) -> dict[str, Any]:
    """The loader that one would write in an afternoon."""
    import pandas as pd

    seconds: Seconds = {}
    frame = _timed(
        seconds,
        "read",
        lambda: pd.read_csv(path, sep="|", dtype=str, skiprows=1, keep_default_na=False),
    )
    frame = frame[~frame.iloc[:, 0].str.startswith("FIN")]

    def convert() -> None:
        for name in _NUMBERS:
            frame[name] = pd.to_numeric(frame[name], errors="coerce")
        for name in _DATES:
            frame[name] = pd.to_datetime(frame[name], format="%d/%m/%Y", errors="coerce")

    _timed(seconds, "conform", convert)
    _timed(seconds, "write", lambda: frame.to_parquet(folder / "plain.parquet", compression="zstd"))
    return {"seconds": seconds, "lines": len(frame) + 2, "accepted": len(frame), "rejected": 0, "findings": 0}


def _timed(seconds: Seconds, stage: str, work: Callable[[], T]) -> T:
    begin, processor = time.perf_counter(), time.process_time()
    result = work()
    seconds[stage] = (round(time.perf_counter() - begin, 2), round(time.process_time() - processor, 2))
    return result


LOADERS = {"ours": ours, "pandas": plain_pandas}


def measure(loader: str, path: Path, threads: int) -> dict[str, Any]:
    """What `loader` says of itself from a fresh process, with its peak memory and processor time."""
    command = [sys.executable, "-m", __spec__.name, "--loader", loader, "--file", str(path), "--threads", str(threads)]
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run([*command, "--folder", folder], check=True, capture_output=True, cwd=REPOSITORY)
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--flawed", type=float, default=0.0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--loader", choices=LOADERS)
    parser.add_argument("--file", type=Path)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    if chosen.loader:
        told = LOADERS[chosen.loader](chosen.file, chosen.folder, chosen.threads)
        usage = resource.getrusage(resource.RUSAGE_SELF)
        told |= {"peak_mb": usage.ru_maxrss // 1024, "cpu": round(usage.ru_utime + usage.ru_stime, 1)}
        json.dump(told, sys.stdout)
        return
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "view"
        write_view(path, chosen.lines, chosen.flawed)
        print(f"{chosen.lines:,} lines, {path.stat().st_size >> 20} MiB, load {os.getloadavg()[0]:.1f}")  # noqa: T201
        for loader in LOADERS:
            told = measure(loader, path, chosen.threads)
            wall, processor = (sum(both) for both in zip(*told["seconds"].values(), strict=True))
            rate = f"{chosen.lines / wall:10,.0f} lines/s, {chosen.lines / processor:10,.0f} per cpu second"
            print(f"{loader:7} {rate}  {told}")  # noqa: T201


if __name__ == "__main__":
    main()
