"""What a developer types: `dg dev` and `insertion dev` open the location, and materialise an asset.

Each is the real command with its web server and its daemon, asked through the API that its pages use.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home
from insertion_pipeline_tests.rehearsal.test_start import SECONDS, answers, free_ports, members, until

BIN = Path(sys.executable).parent
COMMANDS = {
    "dg": (str(BIN / "dg"), "dev"),
    "insertion": (str(BIN / "insertion"), "dev"),
}
ASSET = ["conformed", "siae_monthly"]
MATERIALISED = """query($key: AssetKeyInput!) { assetOrError(assetKey: $key) { ... on Asset {
    assetMaterializations(limit: 1) { partition } } } }"""
LAUNCH = """mutation($execution: ExecutionParams!) { launchPipelineExecution(executionParams: $execution) { __typename
    ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
    ... on InvalidSubsetError { message } } }"""
STATUS = "query($run: ID!) { runOrError(runId: $run) { ... on Run { status } } }"


@dataclass(frozen=True)
class Opened:
    """What was started, where it answers, its home."""

    process: subprocess.Popen[bytes]
    web: str
    home: Home

    def ask(self, query: str, **variables: object) -> Any:
        """The answer of the web server's own API."""
        asked = {"query": query, "variables": variables}
        answer = httpx.post(f"{self.web}/graphql", json=asked, timeout=SECONDS).json()
        assert "errors" not in answer, answer
        return answer["data"]


@pytest.fixture(params=COMMANDS)
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Opened]:
    home = Home(tmp_path / "home")
    (sample,) = (REPOSITORY / "data_sources" / "siae" / "samples" / "2026-09" / "siae-10").iterdir()
    deposited = home.run("deliver", str(sample), "--partner", "siae-10", "--month", "2026-09")
    assert deposited[0] in (0, 1)
    (port,) = free_ports(1)
    dagster_home = home.folder / "dagster"
    dagster_home.mkdir()
    shutil.copy(REPOSITORY / "dagster.yaml", dagster_home)
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "INSERTION_HOME": str(home.folder),
        "DAGSTER_HOME": str(dagster_home),
        "DAGSTER_TELEMETRY_DISABLED": "1",
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [*COMMANDS[request.param], "--port", str(port)],
            cwd=REPOSITORY,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        yield Opened(process, f"http://127.0.0.1:{port}", home)
        if members(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_it_opens_materialises_an_asset_and_ends_when_it_is_told(opened: Opened) -> None:
    until(lambda: answers(f"{opened.web}/server_info"), opened.process, "the web server answers")
    place = {"repositoryLocationName": "insertion", "repositoryName": "__repository__"}
    selected = place | {"pipelineName": "__ASSET_JOB", "assetSelection": [{"path": ASSET}], "assetCheckSelection": []}
    partition = [{"key": "dagster/partition", "value": "2026-09"}]
    execution = {"selector": selected, "mode": "default", "executionMetadata": {"tags": partition}}
    launched = opened.ask(LAUNCH, execution=execution)["launchPipelineExecution"]
    assert launched["__typename"] == "LaunchRunSuccess", launched
    run = launched["run"]["runId"]

    def is_over() -> bool:
        status = opened.ask(STATUS, run=run)["runOrError"]["status"]
        assert status not in ("FAILURE", "CANCELED")
        return bool(status == "SUCCESS")

    until(is_over, opened.process, "the asset is materialised")
    told = opened.ask(MATERIALISED, key={"path": ASSET})["assetOrError"]["assetMaterializations"]
    assert [one["partition"] for one in told] == ["2026-09"]
    os.killpg(opened.process.pid, signal.SIGINT)  # what Ctrl-C is
    opened.process.wait(timeout=SECONDS)
    end = time.monotonic() + SECONDS
    while members(opened.process.pid) and time.monotonic() < end:  # what loses its heartbeat ends too
        time.sleep(0.5)
    assert members(opened.process.pid) == []
