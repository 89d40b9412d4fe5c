"""The portal under load: five depositors with 10 000 rows each, two hundred small deposits at once, kills, a full disk.

Run it with `python -m insertion_pipeline_tests.benchmarks.portal`; figures go to docs/benchmarks.md. `make rehearsal`
plays the accidents. Asserts no time: asserts that nothing is lost, doubled or mixed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.registry import load_registry
from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.portal_server import PASSWORD, Browser, serving
from insertion_pipeline_tests.test_portal_depositing import person, rows

REGISTRY = load_registry(REPOSITORY / "data_sources")
PARTNERS = [code for code, one in REGISTRY.partners.items() if "siae_monthly" in one.sources]


def content(number: int, count: int) -> bytes:
    """`count` rows that no other number gives, one in a hundred with something wrong."""
    lines = (person(number * 100_000 + row, hours="beaucoup" if row % 100 == 0 else "12,5") for row in range(count))
    return rows(*lines).encode()


def depositors(folder: Path, at_once: int = 5, rounds: int = 4, count: int = 10_000) -> None:
    """Seconds from the click to the whole verdict page, and to the workbook with its marked cells."""
    with serving(folder / "depositors", REGISTRY) as portal:
        portal.person("a@exemple.fr", *(("depositor", code) for code in PARTNERS))
        browsers = [portal.signed_in("a@exemple.fr") for _ in range(at_once)]

        def deposit(task: tuple[int, Browser]) -> tuple[float, str]:
            number, browser = task
            token, body = browser.token("/deposer"), content(number, count)
            fields = {"jeton": token, "partenaire": PARTNERS[number % len(PARTNERS)], "source": "siae_monthly"}
            fields |= {"mois": "2026-10", "action": "deposer"}
            began = time.perf_counter()
            answer = browser.client.post("/deposer", data=fields, files={"fichier": ("f.csv", body)}, timeout=300)
            assert "Dépôt reçu" in answer.text, answer.text[:2000]
            return time.perf_counter() - began, answer.url.path

        def workbook(task: tuple[str, Browser]) -> float:
            path, browser = task
            began = time.perf_counter()
            assert browser.client.get(f"{path}/rapport.xlsx", timeout=300).status_code == 200
            return time.perf_counter() - began

        deposit((999, browsers[0]))  # what every server does once
        turns = [[(turn * at_once + seat, browsers[seat]) for seat in range(at_once)] for turn in range(rounds)]
        with ThreadPoolExecutor(at_once) as pool:
            before = time.process_time()
            deposited = [one for turn in turns for one in pool.map(deposit, turn)]
            between = time.process_time()
            paths = [path for _, path in deposited]
            tasks = [
                list(zip(paths[first : first + at_once], browsers, strict=True))
                for first in range(0, len(paths), at_once)
            ]
            made = [one for turn in tasks for one in pool.map(workbook, turn)]
            after = time.process_time()
        for name, seconds, used in (
            ("verdict", [one for one, _ in deposited], between - before),
            ("marked workbook", made, after - between),
        ):
            p95 = statistics.quantiles(seconds, n=20)[-1]
            print(  # noqa: T201 (what a benchmark says)
                f"{at_once} depositors × {rounds}, {count} rows, {name}: median {statistics.median(seconds):.2f} s, "
                f"p95 {p95:.2f} s, processor {used / len(seconds):.2f} s each, load {os.getloadavg()[0]:.1f}"
            )


def many_at_once(folder: Path, count: int = 200) -> None:
    """Small deposits that all arrive together: none lost, none doubled."""
    with serving(folder / "many", REGISTRY) as portal:
        portal.person("a@exemple.fr", *(("depositor", code) for code in PARTNERS))
        clients = [portal.api("a@exemple.fr", code) for code in PARTNERS]

        def deposit(number: int) -> tuple[int, str]:
            client = clients[number % len(clients)]
            fields = {"source": "siae_monthly", "month": "2026-10"}
            answer = client.post(
                "/deliveries", data=fields, files={"file": ("f.csv", content(number, 12))}, timeout=600
            )
            return answer.status_code, answer.json()["receipt"]["sha256"]

        began = time.perf_counter()
        with ThreadPoolExecutor(count) as pool:
            answers = list(pool.map(deposit, range(count)))
        took = time.perf_counter() - began
        kept = receipts(portal.portal.lake)
        assert Counter(status for status, _ in answers) == {201: count}
        assert Counter(one.sha256 for one in kept) == Counter(digest for _, digest in answers)
        assert [one.sequence for one in kept] == list(range(1, count + 1))
        print(f"{count} deposits at once: {took:.1f} s, {len(kept)} receipts, none lost, none doubled")  # noqa: T201


# -- kills and full disks ---------------------------------------------------------------------------------------------


def started(home: Path, address: str, *, file_bytes: int | None = None) -> subprocess.Popen[bytes]:
    """`insertion portal` over a home; `file_bytes`: no file may grow beyond, as on a disk that is full."""

    def limited() -> None:
        if file_bytes is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (file_bytes, file_bytes))
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    environment = os.environ | {"INSERTION_PORTAL_PUBLIC_URL": address, "PYTHONPATH": str(REPOSITORY)}
    server = subprocess.Popen(
        [sys.executable, "-c", "from insertion_pipeline.cli import main; main()", "portal", "--home", str(home),
         "--port", address.rsplit(":", 1)[1]],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, preexec_fn=limited,
    )  # fmt: skip
    while True:
        try:
            httpx.get(f"{address}/connexion", timeout=5)
            return server
        except httpx.TransportError:
            assert server.poll() is None, "the portal did not start"
            time.sleep(0.1)


def is_whole(home: Path) -> int:
    """How many receipts stand; each applied one has its bytes and its rows, and no receipt lacks either."""
    lake = Lake.open(home)
    for receipt in receipts(lake):
        if receipt.status == "applied":
            assert deliveries.stored_rows(lake, REGISTRY, receipt) == receipt.rows
    return len(receipts(lake))


def kills(folder: Path, points: int, count: int = 4_000) -> None:
    """`kill -9` spread over the real duration of a deposit: the old state or the new one, never a mix.

    Every deposit is sent to a portal that has just judged another one, so that what is killed is the deposit and not
    the first imports; how long one takes is measured on the same home before the first kill. The receipt is the commit
    point, so that what a kill leaves is told by it, and some kills come after the answer.
    """
    home = folder / "kills"
    with serving(home, REGISTRY) as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"))
    bodies = itertools.count()

    def post(browser: Browser, token: str) -> str:
        fields = {"jeton": token, "partenaire": "siae-07", "source": "siae_monthly", "mois": "2026-10"}
        files = {"fichier": ("f.csv", content(next(bodies), count))}
        answer = browser.client.post("/deposer", data=fields | {"action": "deposer"}, files=files)
        assert answer.url.path.startswith("/depots/"), answer.url.path
        return answer.url.path

    def ready() -> tuple[subprocess.Popen[bytes], Browser, str]:
        address = free_address()
        server = started(home, address)
        browser = Browser(httpx.Client(base_url=address, follow_redirects=True, timeout=120))
        browser.sign_in("a@exemple.fr", PASSWORD)
        token = browser.token("/deposer")
        post(browser, token)
        return server, browser, token

    server, browser, token = ready()
    durations = []
    for _ in range(5):
        began = time.perf_counter()
        post(browser, token)
        durations.append(time.perf_counter() - began)
    server.kill()
    server.wait()
    typical, outcomes = statistics.median(durations), Counter[str]()
    for point in range(points):
        server, browser, token = ready()
        before = is_whole(home)
        with ThreadPoolExecutor(1) as pool:
            sending = pool.submit(post, browser, token)
            time.sleep(typical * 1.25 * (point + 0.5) / points)
            server.send_signal(signal.SIGKILL)
            server.wait()
            was_answered = sending.exception() is None
        after = is_whole(home)
        assert after - before in (0, 1)
        assert after > before or not was_answered, "an answer without a receipt"
        outcomes["answered" if was_answered else "new" if after > before else "old"] += 1
    print(  # noqa: T201
        f"kill -9 at {points} points over {typical * 1.25:.2f} s, a deposit of {count} rows taking {typical:.2f} s: "
        f"{outcomes['old']} times the old state, {outcomes['new']} the new one before it was said, "
        f"{outcomes['answered']} after the answer; never a mix"
    )


def free_address() -> str:
    """A place on loopback where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{probe.getsockname()[1]}"


def full_disk(folder: Path) -> None:
    """A disk that takes no more than a few kilobytes a file: nothing changes, and the page says so."""
    home = folder / "full"
    with serving(home, REGISTRY) as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"))
    address = free_address()
    server = started(home, address, file_bytes=1 << 20)
    try:
        browser = Browser(httpx.Client(base_url=address, follow_redirects=True, timeout=60))
        browser.sign_in("a@exemple.fr", PASSWORD)
        path = folder / "f.csv"
        path.write_bytes(content(1, 30_000))
        answer = browser.deposit(path, partenaire="siae-07", source="siae_monthly", mois="2026-10")
        assert answer.status_code == 500, answer.status_code
        assert is_whole(home) == 0
        print(f"full disk: {answer.status_code}, no receipt, nothing half written that counts")  # noqa: T201
    finally:
        server.kill()
        server.wait()


def main() -> None:
    """All of it, in a folder that goes afterwards."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--kills", type=int, default=20)
    arguments.add_argument("--only", choices=("depositors", "many", "kills", "full"))
    chosen = arguments.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if chosen.only in (None, "depositors"):
            depositors(folder)
        if chosen.only in (None, "many"):
            many_at_once(folder)
        if chosen.only in (None, "kills"):
            kills(folder, chosen.kills)
        if chosen.only in (None, "full"):
            full_disk(folder)


if __name__ == "__main__":
    main()
