"""Log lines are JSON, and hold what is listed: no value of a file, whoever says it."""

from __future__ import annotations

import json
import logging
import sys

import pytest
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.logs import JsonLines


def line(name: str, message: str, *arguments: object, **extra: object) -> dict[str, object]:
    """What is written of a record."""
    record = logging.getLogger(name).makeRecord(
        name, logging.ERROR, "/usr/lib/thing.py", 12, message, arguments, None, extra=extra
    )
    told: dict[str, object] = json.loads(JsonLines().format(record))
    return told


def test_our_own_words_are_there_with_the_fields_that_are_listed() -> None:
    told = line("insertion.portal", "failed: %s", "KeyError", seconds=1.5, birth_name="MARTIN")
    assert (told["event"], told["seconds"], told["level"]) == ("failed: KeyError", 1.5, "error")
    assert "MARTIN" not in json.dumps(told)


def test_what_a_library_says_is_where_it_said_it() -> None:
    told = line("some.library", f"could not convert {'MARTIN'!r} to INT32")
    assert {name: told[name] for name in told if name != "time"} == {
        "level": "error", "logger": "some.library", "place": "thing.py:12",
    }  # fmt: skip


def test_an_exception_is_its_type() -> None:
    try:
        raise ValueError("MARTIN Zoe")
    except ValueError:
        record = logging.getLogger("insertion.portal").makeRecord(
            "insertion.portal", logging.ERROR, "a.py", 1, "failed", (), sys.exc_info()
        )
    told = json.loads(JsonLines().format(record))
    assert told["exception"] == "ValueError"
    assert "MARTIN" not in json.dumps(told)


def test_a_command_says_how_it_ended_and_nothing_of_what_it_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSERTION_LOGS", "json")
    before = logging.root.handlers[:], logging.root.level
    try:
        result = CliRunner().invoke(app, ["check", "MARTIN-Zoe.csv", "--partner", "siae-10"])
    finally:
        logging.root.handlers[:], level = before
        logging.root.setLevel(level)
    lines = [json.loads(one) for one in result.stderr.splitlines() if one.startswith("{")]
    (ended,) = (one for one in lines if one["logger"] == "insertion.command")
    assert (ended["event"], ended["command"], ended["exit_code"]) == ("ended", "check", 4)
    assert ended["seconds"] >= 0
    assert "MARTIN" not in json.dumps(lines)
