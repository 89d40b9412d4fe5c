"""What the program says to the machines that watch it: one JSON object per line, where `INSERTION_LOGS=json`.

Belongs here: the form of a line, and what may stand in one. Does not belong here: what people read (`screen`), what a
run measures of itself (`runs/<run_id>/`).

A line has what is listed, and nothing because nobody forbade it: our own words, numbers and names of commands. Of an
exception it has the type and the place; of what a library says, who said it and where: their sentences quote values.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

OWN = "insertion"
#: What our own loggers may add to a line (`extra`).
_FIELDS = ("command", "exit_code", "seconds", "run_id", "release_id")


class JsonLines(logging.Formatter):
    """A record as one line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        if record.name.split(".")[0] == OWN:
            line["event"] = record.getMessage()
            line |= {name: getattr(record, name) for name in _FIELDS if hasattr(record, name)}
        else:
            line["place"] = f"{Path(record.pathname).name}:{record.lineno}"
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = record.exc_info[0].__name__
        return json.dumps(line, ensure_ascii=False)


def speak_json(level: int = logging.INFO) -> None:
    """Let every logger of this process write JSON lines to its standard error, in the place of what it had."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level, handlers=[handler], force=True)
