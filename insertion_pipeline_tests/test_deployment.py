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
import kubernetes_validate
import pytest
import sqlalchemy
import yaml

from insertion_pipeline.doctoring import examine
from insertion_pipeline.orchestration.schema import outdated_databases
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


def test_the_doctor_sees_what_an_earlier_version_made_in_postgresql_and_makes_nothing_there(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = sqlalchemy.create_engine(postgresql, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text("CREATE DATABASE doctored"))
    engine.dispose()
    address = postgresql.replace("/postgres?", "/doctored?")
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", address)
    (tmp_path / "dagster.yaml").write_bytes((DEPLOY / "dagster.yaml").read_bytes())
    doctored = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
    assert outdated_databases(tmp_path) is None
    assert sqlalchemy.inspect(doctored).get_table_names() == []
    with dg.DagsterInstance.from_config(str(tmp_path)):
        assert outdated_databases(tmp_path) == []
    with doctored.begin() as connection:
        connection.execute(sqlalchemy.text("UPDATE alembic_version SET version_num = '567bc23fd1ac'"))
    assert outdated_databases(tmp_path) == ["runs", "event log", "schedules"]
    monkeypatch.setenv("DAGSTER_POSTGRES_URL", "postgresql+psycopg2://dagster@127.0.0.1:1/dagster")
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    (point,) = [one for one in examine(Settings(home=tmp_path / "home")) if one.point == "Bases de Dagster"]
    assert (point.is_well, point.state) == (False, "ne répondent pas (OperationalError)")
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


def follows_compose(path: Path) -> bool:
    """Whether a file is what the compose specification says."""
    command = [BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", path]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_the_compose_file_follows_the_specification(tmp_path: Path) -> None:
    assert follows_compose(DEPLOY / "compose.yaml")
    mistyped = tmp_path / "compose.yaml"
    mistyped.write_text((DEPLOY / "compose.yaml").read_text().replace("healthcheck:", "health_check:"))
    assert not follows_compose(mistyped)


# -- Kubernetes --------------------------------------------------------------------------------------------------------


def objects() -> dict[str, Any]:
    return {one["kind"]: one for one in yaml.safe_load_all((DEPLOY / "portal.yaml").read_text())}


def require_kubernetes(one: dict[str, Any]) -> None:
    """Raise `ValidationError` unless it is an object of Kubernetes as its own schema has it, nothing unknown in it."""
    kubernetes_validate.validate(one, "1.34", strict=True)


def test_the_portal_is_made_of_objects_of_kubernetes() -> None:
    portal = objects()
    assert set(portal) == {"PersistentVolumeClaim", "Service", "Deployment"}
    for one in portal.values():
        require_kubernetes(one)
    portal["Deployment"]["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        require_kubernetes(portal["Deployment"])


def test_what_the_chart_passes_on_is_what_kubernetes_takes() -> None:
    """The chart copies these values into the pods of the code server and of runs as they stand."""
    chart = read("helm-values.yaml")
    (code,) = chart["dagster-user-deployments"]["deployments"]
    run = chart["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]
    shared = {"image": "insertion-pipeline", "volumeMounts": code["volumeMounts"]}
    for container, pod in (
        ({"name": "code", "resources": code["resources"]}, {"securityContext": code["podSecurityContext"]}),
        ({"name": "run", **run["containerConfig"]}, run["podSpecConfig"]),
    ):
        spec = {"containers": [shared | container], "volumes": code["volumes"], **pod}
        require_kubernetes({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec})


def test_the_portal_shares_image_home_and_keys_with_the_chart() -> None:
    (code,) = read("helm-values.yaml")["dagster-user-deployments"]["deployments"]
    spec = objects()["Deployment"]["spec"]["template"]["spec"]
    (portal,) = spec["containers"]
    image = code["image"]
    assert portal["image"] == f"{image['repository']}:{image['tag']}"
    assert [one for one in spec["volumes"] if "emptyDir" not in one] == code["volumes"]
    assert [one for one in portal["volumeMounts"] if one["mountPath"] != "/tmp"] == code["volumeMounts"]
    assert objects()["PersistentVolumeClaim"]["metadata"]["name"] == "insertion-home"
    assert {"secretRef": code["envSecrets"][0]} in portal["envFrom"]
    assert (BIN / portal["command"][0]).is_file()


def test_nobody_runs_as_root_and_everybody_reads_the_keys() -> None:
    """A secret's files belong to root and to the group `fsGroup`: without it the image's user could not read them."""
    chart = read("helm-values.yaml")
    (code,) = chart["dagster-user-deployments"]["deployments"]
    run = chart["runLauncher"]["config"]["k8sRunLauncher"]["runK8sConfig"]["podSpecConfig"]
    portal = objects()["Deployment"]["spec"]["template"]["spec"]
    (user,) = re.findall(r"useradd --uid (\d+)", (DEPLOY / "Dockerfile").read_text())
    expected = {"runAsNonRoot": True, "runAsUser": int(user), "fsGroup": int(user)}
    for context in (code["podSecurityContext"], run["securityContext"], portal["securityContext"]):
        assert expected.items() <= context.items()


# -- the image ---------------------------------------------------------------------------------------------------------


def instructions() -> list[tuple[str, str]]:
    """What the Dockerfile says, one instruction after the other."""
    written = re.sub(r"\\\n\s*", " ", (DEPLOY / "Dockerfile").read_text())
    lines = (line.strip() for line in written.splitlines())
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines if line and line[0] != "#")]


def test_the_image_says_nothing_that_a_dockerfile_does_not_know() -> None:
    said = instructions()
    assert {word for word, _ in said} <= {"FROM", "WORKDIR", "RUN", "COPY", "ENV", "USER"}
    bases = [rest.split()[0] for word, rest in said if word == "FROM"]
    assert all(re.fullmatch(r"[a-z]+:\d[\w.-]+", base) for base in bases), "a version of each, not the latest"
    assert {rest for word, rest in said if word == "USER"} == {"10001"}, "by its number: hosts know no names"
    assert [word for word, _ in said].index("USER") > [word for word, _ in said].index("ENV")
    for word, rest in said:
        if word == "RUN":
            checked = subprocess.run(["sh", "-n", "-c", rest], capture_output=True, text=True, check=False)
            assert checked.stderr == "", rest
        if word == "RUN" and "pip install" in rest:
            assert "--no-deps" in rest
            assert "--require-hashes" in rest or rest.endswith(" .")


def test_the_image_is_made_of_files_that_exist() -> None:
    copies = [rest.split()[:-1] for word, rest in instructions() if word == "COPY" and not rest.startswith("--from")]
    assert len(copies) > 3
    assert all((REPOSITORY / name).exists() for names in copies for name in names)


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
