"""How fast a national file goes from bytes to conformed Parquet and findings, beside two loaders of other kinds.

`python -m insertion_pipeline_tests.benchmarks.reading --lines 6000000 [--file clean|hard] [--loaders ours,pandas]`
`python -m insertion_pipeline_tests.benchmarks.reading --lines 1000000 --rules`
`python -m insertion_pipeline_tests.benchmarks.reading --lines 6000000 --everything` (clean, hard, and the rules alone)

`clean`: the monthly statements of fluxIAE (EtatMensuelIndiv), 31 columns all filled, UTF-8, with DEB and FIN lines.
`hard`: a table of 30 columns of every type in windows-1252, every cell quoted, one cell in a hundred wrong.
`--rules`: the 30 columns of `hard`, a third of the cells under repair, with 25 rules over rows besides those of the
cells, judged alone: the rows lie in memory as the reader hands them over.

Ours reads in a confined process, judges every cell, looks for duplicates, and writes accepted rows, rejected rows and
findings under seal: what `insertion deliver` does. pandas does what loaders do: `read_csv` as text, numbers and dates
converted, one Parquet file, nothing checked. frictionless (what Validata runs) validates the file by the same table
schema and writes nothing; give it fewer lines. Each runs in a process of its own; memory is the peak of the process and
of its reader together.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

REPOSITORY = Path(__file__).resolve().parents[2]
MONTH = "2026-09"
HARD = "banc_dur"

_CHUNK = 100_000
_DATES = ("emi_date_fin_reelle", "emi_date_validation")
_NUMBERS = ("emi_nb_heures_travail", "emi_part_etp", "emi_pph_id", "emi_afi_id", "emi_sme_mois", "emi_sme_annee")
_BAD_SHARE = 0.01


# -- the files ---------------------------------------------------------------------------------------------------------


def write_clean(path: Path, lines: int) -> None:
    """A view of `lines` rows, every column filled. The same at each run."""
    from insertion_pipeline.registry import load_registry

    source = load_registry(REPOSITORY / "data_sources").source("fluxiae")
    table = next(one for one in source.versions[-1].resources if one.name == "etat_mensuel_indiv")
    names = [field.name for field in table.fields]
    chance = np.random.default_rng(20260901)
    with path.open("w", encoding="utf-8") as file:
        file.write("DEBEtatMensuelIndiv20261012_063004\n")
        file.write("|".join(names) + "\n")
        for first in range(0, lines, _CHUNK):
            file.writelines(_clean_rows(names, first, min(_CHUNK, lines - first), chance))
        file.write(f"FIN{lines}\n")


def _clean_rows(names: list[str], first: int, count: int, chance: np.random.Generator) -> Iterator[str]:
    hours, days, months = chance.integers(0, 152, count), chance.integers(1, 29, count), chance.integers(1, 10, count)
    amounts = chance.integers(30_000, 190_000, count)
    for row in range(count):
        person, day, hour = first + row, days[row], hours[row]
        values = {
            "emi_date_creation": f"{day:02d}/09/2026 10:{day:02d}:07",
            "emi_date_modification": f"{day:02d}/09/2026 11:{day:02d}:07",
            "emi_pph_id": str(1_000_000 + person // 3),
            "emi_afi_id": str(5_000 + person % 4_000),
            "emi_sme_mois": str(months[row]),
            "emi_sme_annee": "2026",
            "emi_esm_etat_code": ("VALIDE", "SAISI", "VALIDE")[person % 3],
            "emi_ctr_id": str(2_000_000 + person),
            "emi_nb_heures_travail": str(hour),
            "emi_nb_heures_facturees": str(hour),
            "emi_mt_salaire_brut": f"{amounts[row] / 100:.2f}",
            "emi_part_etp": f"{hour / 152:.4f}",
            "emi_date_fin_reelle": f"{day:02d}/09/2026",
            "emi_date_validation": f"{day:02d}/10/2026 08:00:00",
            "emi_motif_sortie_code": ("FIN_CDD", "ED_CDI", "RUPTURE")[day % 3],
            "emi_salarie_tjs_accomp": ("true", "false")[day % 2],
            "emi_dsm_id": str(3_000_000 + person),
            "emi_dsm_acre": "false",
        }
        yield "|".join(values.get(name, str(1 + day % 7)) for name in names) + "\n"


def write_contract(folder: Path) -> None:
    """Declarations of one source: 30 columns of every type, 25 rules over rows."""
    texts = [_field(f"texte_{n}", "string", maxLength=40) for n in range(8)]
    codes = [_field(f"code_{n}", "string", enum=["A", "B", "C", "D"]) for n in range(6)]
    dates = [_field(f"date_{n}", "date", format="%d/%m/%Y") for n in range(6)]
    numbers = [_field(f"nombre_{n}", "number", decimalChar=",", minimum=0) for n in range(6)]
    integers = [_field(f"entier_{n}", "integer", minimum=0) for n in range(3)]
    identifier = _field("identifiant", "integer", minimum=0, required=True)
    rules = [
        *({"expression": f"date_{n} <= date_{n + 1}", "fields": [f"date_{n}", f"date_{n + 1}"]} for n in range(5)),
        *({"expression": f"nombre_{n} <= nombre_{n + 1} + 100000", "fields": [f"nombre_{n}"]} for n in range(5)),
        *({"expression": f"code_{n} <> 'D' OR date_{n} IS NOT NULL", "fields": [f"code_{n}"]} for n in range(6)),
        *({"expression": f"entier_{n} <= 1000", "fields": [f"entier_{n}"]} for n in range(3)),
        *({"expression": f"length(texte_{n}) >= 1", "fields": [f"texte_{n}"]} for n in range(6)),
    ]
    described = [
        {"code": f"regle-{n}", "severity": "warning", "message": "Incohérence.", "expected": "x", "remedy": "y", **rule}
        for n, rule in enumerate(rules)
    ]
    table = {
        "name": "lignes",
        "title": "Lignes",
        "description": "Banc d'essai.",
        "insertion": {"rules": described},
        "schema": {"primaryKey": ["identifiant"], "fields": [identifier, *texts, *codes, *dates, *numbers, *integers]},
    }
    import yaml

    from insertion_pipeline.registry import load_registry

    model = yaml.safe_load((REPOSITORY / "data_sources" / "siae" / "siae_monthly.yaml").read_text(encoding="utf-8"))
    model["name"] = HARD
    model["title"] = "Banc d'essai"
    model["versions"] = [model["versions"][0] | {"resources": [table]}]
    model["insertion"] |= {"period": {"stated_by": "manifest"}, "extent": "month", "max_rejected_share": 1.0}
    (folder / "siae").mkdir(parents=True)
    (folder / "siae" / f"{HARD}.yaml").write_text(yaml.safe_dump(model, allow_unicode=True), encoding="utf-8")
    header = "code,name,family,space,territory_code,sources,since\n"
    (folder / "partners.csv").write_text(header + f"banc,Banc,siae,fr,FR-DEP-52,{HARD},2026-01\n", encoding="utf-8")
    load_registry(folder)


def _field(name: str, kind: str, **more: Any) -> dict[str, Any]:
    shape = {key: more.pop(key) for key in ("format", "decimalChar") if key in more}
    return {
        "name": name, "type": kind, "title": name.replace("_", " "), "description": "Banc d'essai.", **shape,
        "constraints": more, "insertion": {"use": "fact"},
    }  # fmt: skip


def write_hard(path: Path, lines: int) -> None:
    """The 30 columns in windows-1252, every cell quoted, one cell in a hundred wrong."""
    chance = np.random.default_rng(20260902)
    names = [
        "identifiant", *(f"texte_{n}" for n in range(8)), *(f"code_{n}" for n in range(6)),
        *(f"date_{n}" for n in range(6)), *(f"nombre_{n}" for n in range(6)), *(f"entier_{n}" for n in range(3)),
    ]  # fmt: skip
    words = np.array(["Évreux", "Chaumont", "l’œuvre", "Saint-Dizier; centre", "Joinville", "été 2026", "Noël", "ok"])
    dates = np.array([f"{day:02d}/{month:02d}/2026" for month in range(1, 13) for day in range(1, 29)])
    with path.open("w", encoding="cp1252", newline="") as file:
        file.write(";".join(f'"{name}"' for name in names) + "\r\n")
        for first in range(0, lines, _CHUNK):
            count = min(_CHUNK, lines - first)
            columns = [np.arange(first, first + count).astype(str)]
            columns += [words[chance.integers(0, len(words), count)] for _ in range(8)]
            columns += [np.array(["A", "B", "C", "D"])[chance.integers(0, 4, count)] for _ in range(6)]
            begins = chance.integers(0, len(dates) - 6, count)
            columns += [dates[begins + later] for later in range(6)]
            columns += [np.char.mod("%d,5", chance.integers(0, 5_000, count)) for _ in range(6)]
            columns += [chance.integers(0, 500, count).astype(str) for _ in range(3)]
            for column in range(9, 30):  # a bad text is none that the type could take
                columns[column] = np.where(chance.random(count) < _BAD_SHARE * 30 / 21, "??", columns[column])
            text = columns[0].astype(object)
            for column in columns[1:]:
                text = text + '";"' + column.astype(object)
            file.write("".join(f'"{line}"\r\n' for line in text))


# -- the loaders -------------------------------------------------------------------------------------------------------


def ours(path: Path, folder: Path, kind: str) -> dict[str, Any]:
    """What `deliver` does between the bytes and the receipt."""
    from insertion_pipeline.ingestion import confining, deliveries
    from insertion_pipeline.ingestion.conforming import Conformed, conform
    from insertion_pipeline.ingestion.gathering import Store
    from insertion_pipeline.ingestion.nursery import NURSERY
    from insertion_pipeline.ingestion.reading import pieces
    from insertion_pipeline.ingestion.tombstones import Remaining, Tombstones
    from insertion_pipeline.lake import Lake
    from insertion_pipeline.month import Month
    from insertion_pipeline.registry import load_registry

    registry = load_registry(path.parent / "declared" if kind == "hard" else REPOSITORY / "data_sources")
    source, month = registry.source(HARD if kind == "hard" else "fluxiae"), Month.parse(MONTH)
    lake = Lake.open(folder / "home")
    key, _ = lake.keyring.new_data_key("fr")
    NURSERY.start()
    began, used = time.perf_counter(), time.process_time()
    with Store.opened(lake, key) as store:
        conformed = conform(pieces(path, source, month=month), source, month, registry, lake, store=store)
        assert isinstance(conformed, Conformed)
        judged = time.perf_counter() - began
        kept = Remaining(conformed, {}, is_whole=True)
        deliveries.write_conformed(folder / "conformed", lake, kept, key, "benchmark", Tombstones())
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    reader = confining.last_usage
    assert reader is not None
    account = conformed.account
    return {
        "wall": wall, "judged_after": judged, "cpu": cpu + reader.cpu_seconds, "reader_cpu": reader.cpu_seconds,
        "reader_peak_mb": reader.peak_bytes >> 20, "lines": account.lines, "accepted": account.accepted,
        "rejected": account.rejected, "findings": conformed.findings.num_rows,
    }  # fmt: skip


def plain_pandas(path: Path, folder: Path, kind: str) -> dict[str, Any]:
    """The loader that one would write in an afternoon."""
    import pandas as pd

    began, used = time.perf_counter(), time.process_time()
    if kind == "hard":
        frame = pd.read_csv(path, sep=";", dtype=str, encoding="cp1252", keep_default_na=False)
        numbers = [name for name in frame if name.startswith(("nombre", "entier"))]
        dates = [name for name in frame if name.startswith("date")]
    else:
        frame = pd.read_csv(path, sep="|", dtype=str, skiprows=1, keep_default_na=False)
        frame = frame[~frame.iloc[:, 0].str.startswith("FIN")]
        numbers, dates = list(_NUMBERS), list(_DATES)
    for name in numbers:
        frame[name] = pd.to_numeric(frame[name].str.replace(",", "."), errors="coerce")
    for name in dates:
        frame[name] = pd.to_datetime(frame[name], format="%d/%m/%Y", errors="coerce")
    frame.to_parquet(folder / "plain.parquet", compression="zstd")
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    return {"wall": wall, "cpu": cpu, "lines": len(frame), "accepted": len(frame)}


def frictionless(path: Path, folder: Path, kind: str) -> dict[str, Any]:
    """The validation that Validata runs, by the table schema of the same contract."""
    import frictionless as library

    from insertion_pipeline.contracts.pages import frictionless_resource
    from insertion_pipeline.registry import load_registry

    if kind != "hard":
        raise SystemExit(
            "frictionless is measured on the hard file: fluxIAE's DEB and FIN lines are none of its business"
        )
    registry = load_registry(path.parent / "declared")
    declared = registry.source(HARD).versions[-1].resources[0]
    schema = library.Schema.from_descriptor(frictionless_resource(declared)["schema"])
    dialect = library.Dialect(controls=[library.formats.CsvControl(delimiter=";")])
    copy = folder / "file.csv"
    copy.symlink_to(path)
    began, used = time.perf_counter(), time.process_time()
    with library.system.use_context(trusted=True):
        resource_ = library.Resource(path=str(copy), schema=schema, dialect=dialect, encoding="cp1252")
        report = resource_.validate(limit_errors=10**9)
    wall, cpu = time.perf_counter() - began, time.process_time() - used
    return {"wall": wall, "cpu": cpu, "lines": report.tasks[0].stats.get("rows"), "findings": report.stats["errors"]}


LOADERS: dict[str, Callable[[Path, Path, str], dict[str, Any]]] = {
    "ours": ours,
    "pandas": plain_pandas,
    "frictionless": frictionless,
}


def rules_alone(path: Path, folder: Path, kind: str) -> dict[str, Any]:
    """The rows of the hard file, read beforehand, judged by its cells and its 25 rules."""
    from insertion_pipeline.contracts.rules import table_rules
    from insertion_pipeline.ingestion.extracts import Batch
    from insertion_pipeline.ingestion.reading import pieces
    from insertion_pipeline.ingestion.sifting import Sieve
    from insertion_pipeline.ingestion.statements import Statements
    from insertion_pipeline.lake import Lake
    from insertion_pipeline.month import Month
    from insertion_pipeline.registry import load_registry

    registry = load_registry(path.parent / "declared")
    source, month = registry.source(HARD), Month.parse(MONTH)
    lake = Lake.open(folder / "home")
    rules = table_rules(source.versions[-1].resources[0], registry, month)
    wall = cpu = 0.0
    rows = flaws = 0
    with Statements.opened(lake) as statements:
        sieve = Sieve(rules, month, None, statements)
        for piece in pieces(path, source, month=month):
            if isinstance(piece, Batch):
                began, used = time.perf_counter(), time.process_time()
                sifted = sieve.sift(piece.rows)
                wall, cpu = wall + time.perf_counter() - began, cpu + time.process_time() - used
                rows, flaws = rows + piece.rows.num_rows, flaws + sum(len(one.rows) for one in sifted.flaws)
    return {"wall": wall, "cpu": cpu, "lines": rows, "findings": flaws, "rules": len(rules.rules)}


# -- measuring ---------------------------------------------------------------------------------------------------------


class _Peak(threading.Thread):
    """The most that this process and its children held at once, looked at ten times a second."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.bytes = 0

    def run(self) -> None:
        while True:
            self.bytes = max(self.bytes, _held(os.getpid()))
            time.sleep(0.1)


def _held(process: int) -> int:
    """Resident bytes of a process and of its descendants; what they share counts for each."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        children = Path(f"/proc/{process}/task/{process}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * resource.getpagesize() + sum(_held(int(child)) for child in children)


def measure(loader: str, path: Path, kind: str) -> dict[str, Any]:
    """What `loader` says of itself from a fresh process."""
    command = [sys.executable, "-m", __spec__.name, "--loader", loader, "--path", str(path), "--file", kind]
    with tempfile.TemporaryDirectory() as folder:
        answer = subprocess.run([*command, "--folder", folder], check=True, capture_output=True, cwd=REPOSITORY)
    told: dict[str, Any] = json.loads(answer.stdout)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--file", choices=["clean", "hard"], default="clean")
    parser.add_argument("--loaders", default="ours,pandas")
    parser.add_argument("--rules", action="store_true")
    parser.add_argument("--everything", action="store_true")
    parser.add_argument("--loader", choices=[*LOADERS, "rules"])
    parser.add_argument("--path", type=Path)
    parser.add_argument("--folder", type=Path)
    chosen = parser.parse_args()
    if chosen.loader:
        peak = _Peak()
        peak.start()
        work = rules_alone if chosen.loader == "rules" else LOADERS[chosen.loader]
        told = work(chosen.path, chosen.folder, chosen.file)
        json.dump(told | {"peak_mb": max(peak.bytes, _held(os.getpid())) >> 20}, sys.stdout)
        return
    loaders = chosen.loaders.split(",")
    if chosen.everything:
        compare("clean", chosen.lines, loaders)
        compare("hard", chosen.lines, [*loaders, "rules"])
    else:
        compare("hard" if chosen.rules else chosen.file, chosen.lines, ["rules"] if chosen.rules else loaders)


def compare(kind: str, lines: int, loaders: Sequence[str]) -> None:
    """Write a file of so many lines, and print what each loader makes of it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "file"
        write_contract(Path(name) / "declared")
        (write_hard if kind == "hard" else write_clean)(path, lines)
        size, load = path.stat().st_size >> 20, os.getloadavg()[0]
        print(f"{kind}: {lines:,} lines, {size} MiB, load {load:.1f}", flush=True)  # noqa: T201
        for loader in loaders:
            told = measure(loader, path, kind)
            rate, by_cpu = lines / told["wall"], lines / told["cpu"]
            shown = {key: round(value, 1) if isinstance(value, float) else value for key, value in told.items()}
            print(f"{loader:12} {rate:10,.0f} lines/s, {by_cpu:10,.0f} per cpu second  {shown}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
