"""The licences of what is locked: found in what was installed, refused when unknown."""

from __future__ import annotations

from importlib import metadata
from pathlib import Path

import pytest

from insertion_pipeline_tests import licences
from insertion_pipeline_tests.licences import ALLOWED, READ, changed_files, is_allowed, licence_of, locked, refused


def installed(folder: Path, headers: str, files: dict[str, bytes], *, hashes: dict[str, str] | None = None) -> Path:
    """A distribution `thing` laid out as pip does."""
    place = folder / "thing-1.0.dist-info"
    place.mkdir()
    (place / "METADATA").write_text(f"Metadata-Version: 2.4\nName: thing\nVersion: 1.0\n{headers}\n")
    record = ["thing-1.0.dist-info/METADATA,,"] + [f"{name},{(hashes or {}).get(name, '')}," for name in files]
    (place / "RECORD").write_text("\n".join(record) + "\n")
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return place


@pytest.mark.parametrize(
    ("headers", "licence"),
    [
        ("License-Expression: MIT OR GPL-3.0-only", "MIT OR GPL-3.0-only"),
        ("License: Apache License 2.0", "Apache-2.0"),
        ("License: BSD 3-Clause OR Apache-2.0", "BSD-3-Clause OR Apache-2.0"),
        ("Classifier: License :: OSI Approved :: Mozilla Public License 2.0 (MPL 2.0)", "MPL-2.0"),
        ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", None),
        ("License: whatever we like", None),
        ("", None),
    ],
)
def test_a_licence_is_what_the_distribution_states(tmp_path: Path, headers: str, licence: str | None) -> None:
    assert licence_of(metadata.Distribution.at(installed(tmp_path, headers, {}))) == licence


def test_a_licence_that_is_not_stated_is_read_in_its_file(tmp_path: Path) -> None:
    text = b"MIT License\n\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy"
    place = installed(tmp_path, "", {"thing-1.0.dist-info/licenses/LICENSE": text})
    assert licence_of(metadata.Distribution.at(place)) == "MIT"


@pytest.mark.parametrize(
    ("expression", "answer"),
    [
        ("MIT", True),
        ("MIT OR GPL-3.0-only", True),
        ("MIT AND GPL-3.0-only", False),
        ("AGPL-3.0-only", False),
        ("(MIT OR GPL-2.0-only) AND PSF-2.0", True),
        ("LGPL-3.0-only", False),
    ],
)
def test_one_side_of_an_or_is_enough_and_both_of_an_and_are_needed(expression: str, answer: bool) -> None:
    assert is_allowed(expression, ALLOWED) is answer


def test_a_distribution_that_was_changed_is_seen(tmp_path: Path) -> None:
    published = {"thing/a.py": "sha256=47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU"}  # of no bytes
    place = installed(tmp_path, "License-Expression: LGPL-3.0-only", {"thing/a.py": b""}, hashes=published)
    assert changed_files(metadata.Distribution.at(place)) == []
    (tmp_path / "thing/a.py").write_bytes(b"patched")
    assert changed_files(metadata.Distribution.at(place)) == ["thing/a.py"]


def test_what_is_locked_and_not_installed_is_refused() -> None:
    (one,) = refused({"no-such-thing-at-all": "1"})
    assert one.reason == "locked, and not installed here"


def test_what_was_read_elsewhere_answers_for_its_version_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(licences, "READ", {("somewhere-else", "1.0"): "MIT", ("a-strict-one", "1.0"): "GPL-3.0-only"})
    assert list(refused({"somewhere-else": "1.0"})) == []
    assert [one.name for one in refused({"somewhere-else": "1.1", "a-strict-one": "1.0"})] == [
        "somewhere-else", "a-strict-one"
    ]  # fmt: skip


def test_every_lock_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.lock").write_text('duckdb==2.0.0 \\\n    --hash=sha256:00\nnever==1 ; python_version < "3"\n')
    assert locked([tmp_path / "a.lock"]) == {"duckdb": "2.0.0"}
    assert {"duckdb", "pytest", "pyspark"} <= set(locked())
    assert set(READ) <= set(locked().items()), "what is not locked any more need not be remembered"
