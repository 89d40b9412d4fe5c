"""The real command on a home of its own, started and killed as an operator's machine would.

A release is named after the program that made it: while a rehearsal plays, leave the code alone.

Belongs here: processes and what they left. Does not belong here: an assertion.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from insertion_pipeline_tests.conftest import REPOSITORY


@dataclass(frozen=True)
class Home:
    """A home and the command at its door."""

    folder: Path

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """The command in a process group of its own, so that whatever it starts dies with it."""
        environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "INSERTION_HOME": str(self.folder)}
        environment.pop("DAGSTER_HOME", None)
        program = str(Path(sys.executable).with_name("insertion"))
        return subprocess.Popen(
            [program, *arguments],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(self, *arguments: str) -> tuple[int, Any]:
        """How the command ended, and its JSON."""
        process = self.start(*arguments, "--json")
        output, errors = process.communicate(timeout=1800)
        return process.returncode, json.loads(output) if output.strip() else errors

    def killed(self, seconds: float, *arguments: str, once_there: str = "") -> bool:
        """Start, and kill -9 the whole group after `seconds`; whether it was still at work.

        `once_there`: count them from the moment when the home holds something new of that pattern.
        """
        before = set(self.folder.glob(once_there)) if once_there else set()
        process = self.start(*arguments)
        while once_there and process.poll() is None and not set(self.folder.glob(once_there)) - before:
            time.sleep(0.005)
        try:
            process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            return True
        return False

    def releases(self) -> dict[str, dict[str, str]]:
        """Per release, the digest of each table: what is promised identical."""
        manifests = sorted((self.folder / "releases").glob("*/MANIFEST.json"))
        read = {path.parent.name: json.loads(path.read_bytes()) for path in manifests}
        return {
            name: {table: noted["sha256"] for table, noted in manifest["tables"].items()}
            for name, manifest in read.items()
        }

    def receipts(self) -> list[str]:
        """The numbers of the receipts, in order."""
        return sorted(path.stem for path in (self.folder / "landing" / "receipts").glob("*.json"))
