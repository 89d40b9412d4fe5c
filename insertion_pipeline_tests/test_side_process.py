"""A second process answers: what was asked, once, in order, without a value, and never longer than the first lives."""

from __future__ import annotations

import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from insertion_pipeline.lake import Lake
from insertion_pipeline.orchestration.discretion import StepFailed
from insertion_pipeline.orchestration.side_process import SideProcess
from insertion_pipeline.registry import Registry


def who(lake: Lake, registry: Registry, folder: str) -> tuple[int, str, int]:
    """The process that answers, and what it knows."""
    with (Path(folder) / "asked").open("a") as asked:
        asked.write("x")
    return os.getpid(), str(lake.home), len(registry.sources)


def what_is_loaded(lake: Lake, registry: Registry) -> tuple[bool, bool, float]:
    """Whether Spark is kept out, whether scipy's statistics wait, and that they work when they are asked."""
    is_waiting = "norm" not in object.__getattribute__(sys.modules["scipy.stats"], "__dict__")
    return sys.modules["pyspark"] is None, is_waiting, float(importlib.import_module("scipy").stats.norm.cdf(0.0))


def fail_quoting_a_cell(lake: Lake, registry: Registry) -> None:
    raise ValueError("Could not convert string 'MARTIN Zoe' to INT32")


def die(lake: Lake, registry: Registry) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.fixture(scope="module")
def aside() -> Iterator[SideProcess]:
    process = SideProcess()
    yield process
    process.stop()


def test_another_process_answers_with_the_same_lake_and_declarations(
    aside: SideProcess, lake: Lake, registry: Registry, tmp_path: Path
) -> None:
    answering, home, sources = aside.answer("run", who, lake, registry, str(tmp_path))
    assert answering != os.getpid()
    assert (home, sources) == (str(lake.home), len(registry.sources))


def test_what_no_check_uses_is_not_loaded_until_it_is_used(aside: SideProcess, lake: Lake, registry: Registry) -> None:
    assert aside.answer("run", what_is_loaded, lake, registry) == (True, True, 0.5)


def test_what_was_asked_ahead_is_worked_out_once(
    aside: SideProcess, lake: Lake, registry: Registry, tmp_path: Path
) -> None:
    aside.ask_ahead("run", who, lake, registry, str(tmp_path))
    aside.answer("run", who, lake, registry, str(tmp_path))
    assert (tmp_path / "asked").read_text() == "x"


def test_another_run_is_answered_afresh(aside: SideProcess, lake: Lake, registry: Registry, tmp_path: Path) -> None:
    aside.ask_ahead("a run that failed", who, lake, registry, str(tmp_path))
    aside.answer("the next one", who, lake, registry, str(tmp_path))
    aside.forget("a run that failed")
    aside.answer("a run that failed", who, lake, registry, str(tmp_path))
    assert (tmp_path / "asked").read_text() == "xxx"


def test_an_error_comes_back_without_the_value_it_quotes(aside: SideProcess, lake: Lake, registry: Registry) -> None:
    with pytest.raises(StepFailed, match="ValueError") as raised:
        aside.answer("run", fail_quoting_a_cell, lake, registry)
    assert "MARTIN" not in str(raised.value)


def test_a_process_that_died_is_replaced(aside: SideProcess, lake: Lake, registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(Exception, match="abruptly"):
        aside.answer("run", die, lake, registry)
    assert aside.answer("run", who, lake, registry, str(tmp_path))[0] != os.getpid()


def test_it_ends_with_the_process_that_started_it(tmp_path: Path) -> None:
    program = tmp_path / "parent.py"
    program.write_text(
        "import os, time\n"
        "from insertion_pipeline.orchestration.side_process import SideProcess\n"
        "if __name__ == '__main__':\n"
        "    print(SideProcess().start().submit(os.getpid).result(), flush=True)\n"
        "    time.sleep(60)\n"
    )
    parent = subprocess.Popen([sys.executable, program], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{child}").exists() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not Path(f"/proc/{child}").exists()


def test_a_process_started_for_a_run_ends_when_the_run_does(tmp_path: Path) -> None:
    program = tmp_path / "code_server.py"
    program.write_text(
        "import multiprocessing, os\n"
        "from insertion_pipeline.orchestration import side_process\n"
        "def run():\n"
        "    side_process._LIBRARIES = ()\n"
        "    side_process.side_process().start().submit(os.getpid).result()\n"
        "if __name__ == '__main__':\n"
        "    worker = multiprocessing.get_context('spawn').Process(target=run)\n"
        "    worker.start()\n"
        "    worker.join(60)\n"
        "    print(worker.exitcode, flush=True)\n"
        "    worker.kill()\n"
    )
    told = subprocess.run([sys.executable, program], capture_output=True, text=True, check=False, timeout=120)
    assert told.stdout.strip() == "0", told.stderr
