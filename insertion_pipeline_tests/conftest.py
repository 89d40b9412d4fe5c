"""Fixtures that every room uses. What one room alone needs stands in its own test file."""

from __future__ import annotations

import functools
import gc
import os
import shutil
from pathlib import Path

import pytest
import typer.testing

from insertion_pipeline.doctoring import FREE_SPACE_GB
from insertion_pipeline.lake import Lake
from insertion_pipeline.registry import Registry, load_registry
from insertion_pipeline.settings import silence_telemetry

silence_telemetry()

#: Whatever is imported stays: as in a run, it is not walked through every 700 new objects.
gc.set_threshold(100_000)

#: A command that is called makes all the others too: once for all the calls of a process will do (56 ms each).
typer.testing._get_command = functools.cache(typer.testing._get_command)

#: Fixtures that several files of tests share, but not all.
pytest_plugins = [
    "insertion_pipeline_tests.department_home",
    "insertion_pipeline_tests.indicator_rows",
    "insertion_pipeline_tests.reviewed_home",
]

REPOSITORY = Path(__file__).resolve().parent.parent

#: No test outlives a power cut: where the machine has memory for what they write, none waits for a disk.
_MEMORY = Path("/dev/shm")
if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > 1.1e9 * FREE_SPACE_GB:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(_MEMORY))


def required(resource: str) -> bool:
    """Whether `INSERTION_REQUIRE` turns the absence of `resource` (browser, java, shared …) into a failure."""
    return resource in os.environ.get("INSERTION_REQUIRE", "").split(",")


def absent(resource: str, reason: str) -> None:
    """Skip visibly, or fail where the resource is required."""
    if required(resource):
        pytest.fail(f"{reason}, and INSERTION_REQUIRE names {resource!r}")
    pytest.skip(reason)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The file that takes longest begins, so that no worker is left alone with it at the end."""
    items.sort(key=lambda item: item.path.stem != "test_main_job")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real samples and references beside the repository."""
    folder = REPOSITORY.parent / "shared"
    if not folder.is_dir():
        absent("shared", "../shared is absent")
    return folder


@pytest.fixture(scope="session")
def real_samples(shared: Path) -> Path:
    """Small real files of the real systems."""
    return shared / "real_samples"


@pytest.fixture(scope="session")
def registry() -> Registry:
    """`data_sources/` of this repository."""
    return load_registry(REPOSITORY / "data_sources")


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    """A fresh home."""
    return Lake.open(tmp_path / "home")
