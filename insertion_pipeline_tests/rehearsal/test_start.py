"""`deploy/start` from one end to the other: a partner deposits in the portal, and PostgreSQL has the figures.

Nothing is there before but what `make setup` installs: PostgreSQL is the one that the script starts. Nobody starts a
run: the sensor sees the receipt, the condition runs what follows, the release appears by itself.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pgserver
import psycopg
import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.portal_server import PASSWORD, Browser
from insertion_pipeline_tests.rehearsal.command import Home

#: How long anything may take on a machine that does other things too.
SECONDS = float(os.environ.get("REHEARSAL_PATIENCE", "900"))


@dataclass(frozen=True)
class Started:
    """What `deploy/start` runs, and where it answers."""

    process: subprocess.Popen[bytes]
    home: Home
    web: str
    portal: str

    @property
    def database(self) -> str:
        """The PostgreSQL that the script started, which is left as it is."""
        return str(pgserver.get_server(self.home.folder / "postgresql", cleanup_mode=None).get_uri())


def free_ports(count: int) -> list[int]:
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()


def until(holds: Callable[[], bool], started: subprocess.Popen[bytes], what: str) -> None:
    """Wait until it holds, as long as what was started is there."""
    end = time.monotonic() + SECONDS
    while not holds():
        assert started.poll() is None, f"ended with {started.returncode} before: {what}"
        assert time.monotonic() < end, f"not within {SECONDS:.0f} s: {what}"
        time.sleep(1)


def answers(address: str) -> bool:
    try:
        return httpx.get(address, timeout=5, follow_redirects=True).status_code == 200
    except httpx.TransportError:
        return False


def members(group: int) -> list[str]:
    """The command lines of a group that still run."""
    listed = subprocess.run(["ps", "-eo", "pgid=,stat=,args="], capture_output=True, text=True, check=True).stdout
    rows = [line.split(None, 2) for line in listed.splitlines()]
    return [row[2] for row in rows if row[0] == str(group) and not row[1].startswith("Z")]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("start")
    code, web, portal = free_ports(3)
    environment = os.environ | {
        "PYTHONPATH": str(REPOSITORY),
        "INSERTION_HOME": str(folder / "home"),
        "INSERTION_BIN": str(Path(sys.executable).parent),
        "INSERTION_PORTAL_SECOND_FACTOR_ROLES": "[]",
        "INSERTION_PORTAL_PUBLIC_URL": f"http://127.0.0.1:{portal}",
        "CODE_PORT": str(code),
        "WEB_PORT": str(web),
        "PORTAL_PORT": str(portal),
    }
    for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL"):
        environment.pop(name, None)
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [REPOSITORY / "deploy" / "start"], env=environment, stdout=log, stderr=log, start_new_session=True
        )
        yield Started(process, Home(folder / "home"), f"http://127.0.0.1:{web}", f"http://127.0.0.1:{portal}")
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def test_everything_answers(started: Started) -> None:
    until(lambda: answers(f"{started.web}/server_info"), started.process, "the web server answers")
    until(lambda: answers(started.portal), started.process, "the portal answers")


def test_a_deposit_in_the_portal_becomes_a_release_that_nobody_started(started: Started) -> None:
    partner = ("--role", "depositor", "--scope", "siae-10")
    code, invited = started.home.run("portal", "invite", "depot@exemple.fr", *partner)
    assert code == 0
    browser = Browser(httpx.Client(base_url=started.portal, follow_redirects=True, timeout=120))
    secret = invited["link"].rpartition("/")[2]
    choice = {"lien": secret, "nature": "invitation", "mot_de_passe": PASSWORD, "confirmation": PASSWORD}
    assert browser.post("/nouveau-mot-de-passe", f"/invitation/{secret}", choice).url.path == "/attendu"
    (sample,) = (REPOSITORY / "data_sources" / "siae" / "samples" / "2026-09" / "siae-10").iterdir()
    deposited = browser.deposit(sample, partenaire="siae-10", source="siae_monthly", mois="2026-09")
    assert "Dépôt reçu" in deposited.text
    assert started.home.receipts() == ["00000001"]
    until(lambda: bool(started.home.releases()), started.process, "a release appears")
    code, listed = started.home.run("release", "list")
    assert (code, [one["last_month"] for one in listed]) == (0, ["2026-09"])
    assert started.home.run("release", "verify")[0] == 0


def test_the_release_is_signed_and_read_in_postgresql(started: Started) -> None:
    (release,) = started.home.releases()
    signature = ("--name", "Une statisticienne", "--role", "responsable", "--note", "répétition")
    assert started.home.run("release", "sign", release, *signature)[0] == 0
    code, published = started.home.run("release", "publish", release, "--to", started.database)
    assert code == 0, published
    with psycopg.connect(started.database) as connection:
        (found,) = connection.execute("SELECT count(*), min(release_id) FROM insertion.indicator_values").fetchall()
    assert found[0] > 500
    assert found[1] == release


def test_the_run_is_in_the_shared_instance(started: Started) -> None:
    query = {"query": "{ runsOrError { ... on Runs { results { status } } } }"}
    told = httpx.post(f"{started.web}/graphql", json=query, timeout=60).json()
    statuses = {run["status"] for run in told["data"]["runsOrError"]["results"]}
    assert "SUCCESS" in statuses
    assert "FAILURE" not in statuses
    sqlite = [path.name for path in (started.home.folder / "dagster").rglob("*.db")]
    assert sqlite == [], f"events of a shared instance lie in PostgreSQL alone: {sqlite}"


def test_what_runs_started_ends_with_them(started: Started) -> None:
    """What stays is what `deploy/start` started; a run's process used to wait for ever for the one beside it."""
    until(lambda: len(spawned(started.process.pid)) <= 1, started.process, "the processes of runs are gone")


def spawned(group: int) -> list[str]:
    return [one for one in members(group) if "spawn_main" in one]


def test_it_ends_when_it_is_told_and_leaves_nothing_behind(started: Started) -> None:
    started.process.send_signal(signal.SIGTERM)
    assert started.process.wait(timeout=SECONDS) == 0
    end = time.monotonic() + 30
    while members(started.process.pid) and time.monotonic() < end:  # what a killed process leaves sees it and ends
        time.sleep(0.5)
    assert members(started.process.pid) == []
