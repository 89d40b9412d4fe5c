"""Deposits, a run and a reader at once, for minutes: no error, nothing lost, one writer."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import duckdb
import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home

MINUTES = float(os.environ.get("REHEARSAL_MINUTES", "10"))
SAMPLES = REPOSITORY / "data_sources" / "siae" / "samples"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    made = Home(tmp_path_factory.mktemp("side by side") / "home")
    assert made.run("demo")[0] in (0, 1)
    return made


def test_deposits_runs_and_readers_do_not_disturb_each_other(home: Home, tmp_path: Path) -> None:
    until = time.monotonic() + 60 * MINUTES
    wrong: list[str] = []
    made = len(home.receipts())
    counts = {"deposits": 0, "runs": 0, "reads": 0}
    sample = next((SAMPLES / "2026-10" / "siae-10").iterdir())
    header, *rows = sample.read_bytes().splitlines()

    def deposit() -> None:
        while time.monotonic() < until:
            number = counts["deposits"]
            path = tmp_path / "deposits" / sample.name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(b"\n".join([header, *rows[number % 5 :], b""]) + b"\n" * number)
            told = ("--partner", "siae-10", "--source", "siae_monthly", "--month", "2026-10")
            code, answer = home.run("deliver", str(path), *told)
            counts["deposits"] += 1
            if code not in (0, 1, 6):
                wrong.append(f"deposit {code}: {answer}")

    def run() -> None:
        while time.monotonic() < until:
            code, answer = home.run("run")
            counts["runs"] += 1
            if code not in (0, 1):
                wrong.append(f"run {code}: {answer}")

    def read() -> None:
        while time.monotonic() < until:
            for database in sorted((home.folder / "releases").glob("*/insertion.duckdb")):
                with duckdb.connect(str(database), read_only=True) as connection:
                    (found,) = connection.execute("SELECT count(*) FROM indicator_values").fetchall()
                counts["reads"] += 1
                if found[0] < 500:
                    wrong.append(f"{database}: {found[0]} rows")
            time.sleep(0.5)

    threads = [threading.Thread(target=work) for work in (deposit, run, read)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert all(counts.values())
    assert len(home.receipts()) == made + counts["deposits"]
    assert home.run("run")[0] in (0, 1)
    print(counts)  # noqa: T201


def test_a_second_run_ends_at_once_and_names_the_first(home: Home) -> None:
    first = home.start("run", "--month", "2026-09", "--json")
    lock = home.folder / "run.lock"
    while first.poll() is None and not lock.read_text().strip():
        time.sleep(0.01)
    second = home.start("run")
    _, errors = second.communicate(timeout=60)
    first.communicate()
    assert second.returncode == 7
    assert f"processus {first.pid}" in errors
