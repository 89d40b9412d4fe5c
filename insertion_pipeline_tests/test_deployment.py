"""What is deployed starts: the shared instance on a real PostgreSQL, commands that exist, settings that are read."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml

from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.settings import Settings
from insertion_pipeline_tests.conftest import REPOSITORY

DEPLOY = REPOSITORY / "deploy"
BIN = Path(sys.executable).parent


def read(name: str) -> Any:
    return yaml.safe_load((DEPLOY / name).read_text())


@pytest.fixture(scope="module")
def postgresql() -> Iterator[str]:
    """The address of a real PostgreSQL. Started by root it runs as a user of its own, who must reach its folder."""
    import pgserver

    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        server = pgserver.get_server(Path(folder) / "data")
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg2://", 1)
        server.cleanup()


def test_the_shared_instance_keeps_its_events_in_postgresql(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", postgresql)
    (tmp_path / "dagster.yaml").write_bytes((DEPLOY / "dagster.yaml").read_bytes())
    for _ in range(2):
        with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
            instance.report_runless_asset_event(dg.AssetMaterialization("deliveries", partition="2026-09"))
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert len(instance.fetch_materializations(dg.AssetKey("deliveries"), limit=10).records) == 2
        assert not instance.telemetry_enabled
    assert not list(tmp_path.rglob("*.db"))


def test_both_instances_run_things_alike() -> None:
    laptop, shared = yaml.safe_load((REPOSITORY / "dagster.yaml").read_text()), read("dagster.yaml")
    assert {name: value for name, value in shared.items() if name != "storage"} == laptop


def test_the_chart_is_told_what_the_other_instances_are_told() -> None:
    """The chart writes its own dagster.yaml from its values, in its own words."""
    shared, chart = read("dagster.yaml"), read("helm-values.yaml")
    daemon, runs = chart["dagsterDaemon"], shared["concurrency"]["runs"]
    assert chart["telemetry"] == shared["telemetry"]
    assert chart["computeLogManager"]["type"] == shared["compute_logs"]["class"]
    assert chart["concurrency"]["runs"]["maxConcurrentRuns"] == runs["max_concurrent_runs"]
    assert chart["concurrency"]["pools"] == {"granularity": "op", "defaultLimit": 1}
    assert shared["concurrency"]["pools"] == {"granularity": "op", "default_limit": 1}
    assert daemon["runMonitoring"]["startTimeoutSeconds"] == shared["run_monitoring"]["start_timeout_seconds"]
    assert daemon["runRetries"] == {"enabled": True, "maxRetries": shared["run_retries"]["max_retries"]}
    for kind in ("schedule", "sensor"):
        assert chart["retention"][kind]["purgeAfterDays"] == shared["retention"][kind]["purge_after_days"]


def test_every_process_is_a_command_that_exists() -> None:
    commands = [
        shlex.split(service["command"]) for service in read("compose.yaml")["services"].values() if "command" in service
    ]
    assert [command[0] for command in commands] == ["dagster", "dagster-webserver", "dagster-daemon", "insertion"]
    assert all((BIN / command[0]).is_file() for command in commands)


def test_every_setting_named_is_one_that_is_read() -> None:
    known = {
        settings.model_config["env_prefix"] + name.upper()
        for settings in (Settings, PortalSettings)
        for name in settings.model_fields
    } | {"INSERTION_CODE_HOST", "INSERTION_BIN"}
    for path in DEPLOY.iterdir():
        assert set(re.findall(r"\bINSERTION_[A-Z_]+\b", path.read_text())) <= known, path.name


def test_the_image_is_made_of_files_that_exist() -> None:
    copies = re.findall(r"^COPY (?!--from)(.+) \S+$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    assert copies
    assert all((REPOSITORY / name).exists() for line in copies for name in line.split())


def test_no_secret_is_written_down() -> None:
    environment = read("compose.yaml")["services"]["postgres"]["environment"]
    assert environment["POSTGRES_PASSWORD"] == "${POSTGRES_PASSWORD:?}"
    assert not re.search(r"://\w+:[^$@{]+@", "".join(path.read_text() for path in DEPLOY.iterdir()))


def test_the_script_that_starts_everything_is_sound() -> None:
    checked = subprocess.run(["bash", "-n", DEPLOY / "start"], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    nothing = {"PATH": "/usr/bin:/bin", "INSERTION_BIN": "/nowhere", "INSERTION_HOME": "/nowhere"}
    refused = subprocess.run([DEPLOY / "start"], capture_output=True, text=True, env=nothing, check=False)
    assert refused.returncode == 4
    assert "make setup" in refused.stderr
