"""The page about the house is true: its picture is that of the imports, its rooms exist."""

from __future__ import annotations

import re

from insertion_pipeline_tests.architecture import PACKAGE, PAGE, drawn_into, without_detours
from insertion_pipeline_tests.conftest import REPOSITORY


def test_the_picture_is_that_of_the_imports() -> None:
    page = PAGE.read_text()
    assert page == drawn_into(page), "python -m insertion_pipeline_tests.architecture draws it again"


def test_every_room_of_the_page_exists() -> None:
    rooms = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE)
    assert len(rooms) == 8
    assert all((REPOSITORY / PACKAGE / room / "__init__.py").is_file() for room in rooms)


def test_an_edge_that_a_longer_path_says_is_left_out() -> None:
    edges = {"a": {"b", "c"}, "b": {"c"}, "c": set[str]()}
    assert without_detours(edges) == {"a": {"b"}, "b": {"c"}, "c": set()}
