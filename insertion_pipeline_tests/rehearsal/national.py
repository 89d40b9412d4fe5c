"""A country's months, from the partners' files to the release: what each stage takes. Never a test.

    python -m insertion_pipeline_tests.rehearsal.national --persons 5500000 --months 2026-10 --folder DIR

5.5 million persons stand on 8 million lines a month, in the files of 104 departments and overseas territories, 4 500
structures, 244 ALE and the employment services. `--months 2025-11..2026-10` makes twelve months one after the other.
After the last, one department corrects its oldest list: what a correction costs, of what it says of somebody, then of
who is on it. A simulation that stands in the folder is used again. `--until values` leaves protection and release out;
`--partners declared` simulates the partners of the repository, for history rather than size.

Prints one line per stage: seconds of wall and of processor, the most memory that the command and the processes that it
started held at once (shared pages counted in each), what the home takes on the disk and, of a run, the seconds of its
longest steps. `insertion runs --home DIR/home` tells the same of all steps of each run.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from operator import itemgetter
from pathlib import Path

from insertion_pipeline.month import Span
from insertion_pipeline.orchestration.metering import resident_bytes
from insertion_pipeline.orchestration.metrics import read_all

PROGRAM = Path(sys.executable).with_name("insertion")
_EVERY_SECONDS = 0.5
_MEGABYTE = 1 << 20
_STEPS_TOLD = 6

#: A file that a structure without a soul has left empty is refused (3); another exit code ends the rehearsal.
_EXPECTED = {"simulate": {0}, "deliver": {0, 1, 3}, "run": {0, 1}, "release": {0}}


@dataclass(frozen=True)
class Stage:
    """One command, and what it took."""

    stage: str
    exit_code: int
    seconds: float
    processor_seconds: float
    peak_memory_mb: int
    home_mb: int
    load: float
    steps: Mapping[str, float]


@dataclass(frozen=True)
class Country:
    """The folder of a rehearsal: the simulated files in `files/`, the home of the pipeline in `home/`.

    `until`: where runs stop, `release` or `values`.
    """

    folder: Path
    until: str = "release"

    @property
    def files(self) -> Path:
        return self.folder / "files"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def rehearse(self, persons: int, months: Span, seed: int, *, is_country: bool) -> None:
        """Simulate, then deliver and run month after month, then corrections. Raises `SystemExit` where one fails."""
        if not (self.files / "deliveries.csv").exists():
            told = ("--persons", persons, "--months", months, "--seed", seed, "--out", self.files)
            self.stage("simulate", "simulate", *told, *(["--country"] if is_country else []))
        with (self.files / "deliveries.csv").open(encoding="utf-8", newline="") as file:
            rows = [row | {"path": str(self.files / row["path"])} for row in csv.DictReader(file)]
        for month, delivered in groupby(rows, itemgetter("month")):
            self.month(f"{month}", list(delivered))
        for what, correct in (("what it says", _says_less), ("who is on it", _lists_one_less)):
            self.month(f"{months.first}, a list corrected in {what}", [self.correction(rows, correct)])

    def month(self, name: str, deliveries: Sequence[Mapping[str, str]]) -> None:
        """Deposit, run, and verify the release."""
        listing = self.folder / "deposits.csv"
        with listing.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, ("path", "source", "partner", "month"))
            writer.writeheader()
            writer.writerows(deliveries)
        self.stage(f"{name}: {len(deliveries)} deposits", "deliver", "--from", listing)
        self.stage(f"{name}: run", "run", "--until", self.until)
        if self.until == "release":
            self.stage(f"{name}: verify", "release", "verify")

    def correction(
        self, rows: Iterable[Mapping[str, str]], correct: Callable[[list[bytes]], list[bytes]]
    ) -> Mapping[str, str]:
        """The oldest list of the first department whose list is a text, corrected."""
        lists = [row for row in rows if row["source"] == "department_list" and row["path"].endswith(".csv")]
        oldest = min(lists, key=itemgetter("month"))
        corrected = self.folder / "correction" / Path(oldest["path"]).name
        corrected.parent.mkdir(exist_ok=True)
        corrected.write_bytes(b"".join(correct(Path(oldest["path"]).read_bytes().splitlines(keepends=True))))
        return {**oldest, "path": str(corrected)}

    def stage(self, name: str, command: str, *arguments: object) -> None:
        """Play one command, and say what it took."""
        own = self.files / "data_sources"
        declared = ("--data-sources", own) if command != "simulate" and own.exists() else ()
        words = [str(PROGRAM), command, *map(str, (*arguments, "--home", self.home, *declared)), "--json"]
        with (self.folder / "output.json").open("wb") as output:
            began = time.monotonic()
            process = subprocess.Popen(words, stdout=output)
            code, processor, peak = _followed(process)
        stage = Stage(
            name, code, round(time.monotonic() - began, 1), round(processor, 1), peak // _MEGABYTE,
            _size(self.home) // _MEGABYTE, round(os.getloadavg()[0], 1), self.steps() if command == "run" else {},
        )  # fmt: skip
        sys.stdout.write(json.dumps(asdict(stage), ensure_ascii=False) + "\n")
        sys.stdout.flush()
        if code not in _EXPECTED[command]:
            raise SystemExit(f"{name} ended with {code}: {(self.folder / 'output.json').read_text()[-400:]}")

    def steps(self) -> Mapping[str, float]:
        """The seconds of the longest steps of the newest run."""
        told = {step.step: step.seconds for run in read_all(self.home / "runs")[:1] for step in run.steps}
        return dict(sorted(told.items(), key=itemgetter(1), reverse=True)[:_STEPS_TOLD])


def _says_less(lines: list[bytes]) -> list[bytes]:
    """A list without what the last column says of the last person of whom it says anything."""
    last = max(rank for rank, line in enumerate(lines) if not line.rstrip().endswith(b";"))
    return [*lines[:last], lines[last].rpartition(b";")[0] + b";\r\n", *lines[last + 1 :]]


def _lists_one_less(lines: list[bytes]) -> list[bytes]:
    """A list without its last person."""
    return lines[:-1]


def _followed(process: subprocess.Popen[bytes]) -> tuple[int, float, int]:
    """Wait for a command: its exit code, the processor seconds of its whole tree, the most memory that this held."""
    peak = 0
    while True:
        peak = max(peak, resident_bytes(str(process.pid)))
        pid, status, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, used.ru_utime + used.ru_stime, peak
        time.sleep(_EVERY_SECONDS)


def _size(folder: Path) -> int:
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=5_500_000)
    parser.add_argument("--months", type=Span.parse, default=Span.parse("2026-10"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--until", choices=("release", "values"), default="release")
    parser.add_argument("--partners", choices=("country", "declared"), default="country")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    country = Country(options.folder.resolve(), options.until)
    country.rehearse(options.persons, options.months, options.seed, is_country=options.partners == "country")


if __name__ == "__main__":
    main()
