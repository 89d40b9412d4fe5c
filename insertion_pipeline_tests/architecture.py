"""The picture of the house in `docs/architecture.md`, drawn from the code's own imports.

`python -m insertion_pipeline_tests.architecture` draws it again; a test says when it must be.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from pathlib import Path

import grimp

from insertion_pipeline_tests.conftest import REPOSITORY

PAGE = REPOSITORY / "docs" / "architecture.md"
PACKAGE = "insertion_pipeline"
#: What every module may import: drawn, they would hide everything else.
_GROUND = {"month", "settings", "lake", "instances", "registry", "sealing", "remote", "expressions", "logs"}
_BEGIN, _END = "<!-- drawn from the imports -->\n", "<!-- end -->\n"


def imports() -> Mapping[str, Set[str]]:
    """What each package or module of the first level imports of the others, the ground apart."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None, exclude_type_checking_imports=True)
    rooms = graph.find_children(PACKAGE) - {f"{PACKAGE}.__main__"}  # another name of the command line
    for room in rooms:
        graph.squash_module(room)
    named = {room: room.removeprefix(f"{PACKAGE}.") for room in rooms}
    return {
        name: {named[other] for other in graph.find_modules_directly_imported_by(room) if other in named}
        - _GROUND
        - {name}
        for room, name in named.items()
        if name not in _GROUND
    }


def without_detours(edges: Mapping[str, Set[str]]) -> Mapping[str, Set[str]]:
    """The edges that no longer path says already."""

    def reached(room: str) -> set[str]:
        return {further for other in edges[room] for further in ({other} | reached(other))}

    return {room: others - {far for other in others for far in reached(other)} for room, others in edges.items()}


def drawing() -> str:
    """A Mermaid diagram, the doors at the top."""
    edges = without_detours(imports())
    lines = [f"    {room} --> {other}" for room in sorted(edges) for other in sorted(edges[room])]
    return "\n".join(["```mermaid", "flowchart TD", *lines, "```"]) + "\n"


def drawn_into(page: str) -> str:
    """The page with its picture drawn again."""
    before, _, rest = page.partition(_BEGIN)
    return before + _BEGIN + drawing() + _END + rest.partition(_END)[2]


def main(path: Path = PAGE) -> None:
    """Draw the picture again."""
    path.write_text(drawn_into(path.read_text()))


if __name__ == "__main__":
    main()
