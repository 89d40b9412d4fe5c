"""What the pages say exists: their links and anchors, the commands and options they show, the targets of `make`."""

from __future__ import annotations

import itertools
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import typer
from markdown_it import MarkdownIt
from markdown_it.token import Token

from insertion_pipeline.cli import app, hoisted
from insertion_pipeline_tests.conftest import REPOSITORY

PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
NAMES = [str(page.relative_to(REPOSITORY)) for page in PAGES]


@cache
def tokens(page: Path) -> tuple[Token, ...]:
    """The page's tokens, those inside paragraphs and cells included."""
    parsed = MarkdownIt("commonmark").enable("table").parse(page.read_text(encoding="utf-8"))
    return tuple(one for token in parsed for one in (token, *(token.children or ())))


def links(page: Path) -> Iterator[str]:
    for token in tokens(page):
        target = token.attrGet("href" if token.type == "link_open" else "src")
        if token.type in ("link_open", "image") and target:
            yield str(target)


@cache
def anchors(page: Path) -> frozenset[str]:
    """The anchors that a forge gives to headings: lower case, words joined, a number where one comes again."""
    given: dict[str, int] = {}
    parsed = tokens(page)
    for opening, content in itertools.pairwise(parsed):
        if opening.type == "heading_open":
            slug = re.sub(r"[^\w\- ]", "", content.content.lower()).replace(" ", "-")
            given[slug] = given.get(slug, 0) + 1
    return frozenset(
        slug if number == 0 else f"{slug}-{number}" for slug, times in given.items() for number in range(times)
    )


def code(page: Path) -> Iterator[str]:
    """Each line of code on the page, and each span of code in a sentence."""
    for token in tokens(page):
        if token.type in ("fence", "code_block"):
            yield from token.content.replace("\\\n", " ").splitlines()
        elif token.type == "code_inline":
            yield token.content


def broken(page: Path, target: str) -> str | None:
    """Why a link leads nowhere, or nothing. What lies on other servers is not asked for."""
    parts = urlsplit(target)
    if parts.scheme or parts.netloc:
        return None
    place = (page.parent / unquote(parts.path)).resolve() if parts.path else page
    if not place.is_relative_to(REPOSITORY) or not place.exists():
        return f"{target}: no such file"
    if parts.fragment and (place.suffix != ".md" or parts.fragment not in anchors(place)):
        return f"{target}: no such heading"
    return None


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [why for target in links(page) if (why := broken(page, target))] == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    page = REPOSITORY / "docs" / "operating.md"
    assert broken(page, "security.md") is None
    assert broken(page, "#a-month") is None
    assert broken(page, "../README.md#two-commands") is None
    assert broken(page, "absent.md") == "absent.md: no such file"
    assert broken(page, "../../outside.md") == "../../outside.md: no such file"
    assert broken(page, "security.md#absent") == "security.md#absent: no such heading"


# -- the site ----------------------------------------------------------------------------------------------------------


def built(folder: Path, **changed: str) -> subprocess.CompletedProcess[str]:
    """How building the site ended, in a folder of its own, with some pages changed."""
    shutil.copytree(REPOSITORY / "docs", folder / "docs")
    shutil.copy(REPOSITORY / "zensical.toml", folder)
    for page, content in changed.items():
        (folder / "docs" / f"{page}.md").write_text(content, encoding="utf-8")
    command = [Path(sys.executable).with_name("zensical"), "build", "--strict"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    ended = built(folder)
    assert (ended.returncode, "No issues found" in ended.stderr) == (0, True), ended.stderr
    return folder / "var" / "site"


def listed(entries: Any) -> Iterator[str]:
    """The pages in a menu, whatever they are listed under."""
    for entry in entries if isinstance(entries, list) else entries.values():
        yield from [entry] if isinstance(entry, str) else listed(entry)


def test_every_page_is_in_the_menu_of_the_site(site: Path) -> None:
    menu = list(listed(tomllib.loads((REPOSITORY / "zensical.toml").read_text())["project"]["nav"]))
    pages = {path.relative_to(REPOSITORY / "docs") for path in (REPOSITORY / "docs").rglob("*.md")}
    assert sorted(menu) == sorted(map(str, pages))
    for page in pages:
        assert (site / page.with_suffix("" if page.stem != "index" else ".html")).exists()


def test_nothing_of_the_site_is_asked_of_another_server(site: Path) -> None:
    pages, styles = list(site.rglob("*.html")), list(site.rglob("*.css"))
    assert len(pages) > 15
    assert styles
    asked = re.compile(r"""<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=["']?(?:https?:)?//""")
    assert [page.name for page in pages if asked.search(page.read_text())] == []
    fetched = r"""class=["']?[^"'>]*\b(?:mermaid|glightbox|pyodide)\b"""  # the theme gets a program from afar for these
    assert [page.parent.name for page in pages if re.search(fetched, page.read_text())] == []
    assert [style.name for style in styles if re.search(r"(?:@import|url\()\s*[\"']?https?:", style.read_text())] == []


def test_a_site_with_links_that_lead_nowhere_is_not_built(tmp_path: Path) -> None:
    ended = built(tmp_path, scaling="# A page\n\n[no page](absent.md), [no heading](operating.md#absent)\n")
    assert ended.returncode != 0
    assert "2 issues found" in ended.stderr


# -- commands ----------------------------------------------------------------------------------------------------------

PROGRAM = re.compile(r"^(?:\$ )?(?:\S*/bin/)?insertion (.+)$")


def command_lines(page: Path) -> Iterator[str]:
    for line in code(page):
        if shown := PROGRAM.match(line.strip()):
            yield shown.group(1).partition(" #")[0]


@cache
def program() -> Any:
    return typer.main.get_command(app)


def unknown(line: str) -> str | None:
    """The first command or option of a line that the program does not have, or nothing. `a|b` names both."""
    command = program()
    options = options_of(command)
    words = iter(hoisted(shlex.split(line)))
    for word in words:
        if word.startswith("--"):
            name, given, _ = word.partition("=")
            if name not in options:
                return name
            if options[name] and not given:
                next(words, None)
        elif subcommands := getattr(command, "commands", None):
            named = word.split("|")
            if absent := set(named) - set(subcommands):
                return min(absent)
            command = subcommands[named[0]]
            options |= options_of(command)
    return None


def options_of(command: Any) -> dict[str, bool]:
    """The options of a command, and whether each one takes a value."""
    named = {
        name: not option.is_flag for option in command.params if hasattr(option, "is_flag") for name in option.opts
    }
    return {**named, "--help": False}


@pytest.mark.parametrize("page", PAGES, ids=NAMES)
def test_every_command_shown_is_one_that_the_program_has(page: Path) -> None:
    assert {line: why for line in command_lines(page) if (why := unknown(line))} == {}


def test_the_readme_shows_commands() -> None:
    assert len(list(command_lines(REPOSITORY / "README.md"))) >= 6


@pytest.mark.parametrize(("line", "word"), [("chek FILE", "chek"), ("run --months-of X", "--months-of")])
def test_a_command_that_does_not_exist_is_seen(line: str, word: str) -> None:
    assert unknown(line) == word


def test_make_has_every_target_that_is_named() -> None:
    written = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", written, re.MULTILINE))
    (phony,) = re.findall(r"^\.PHONY: (.+)$", written, re.MULTILINE)
    named = {word for page in PAGES for line in code(page) for word in re.findall(r"^make ([a-z-]+)", line.strip())}
    assert set(phony.split()) == targets
    assert named <= targets
    assert {"demo", "test"} <= named


def test_every_promise_of_security_names_a_test_that_exists() -> None:
    named = set(re.findall(r"`(test_\w+)`", (REPOSITORY / "docs" / "security.md").read_text()))
    files = (REPOSITORY / "insertion_pipeline_tests").rglob("test_*.py")
    defined = {name for file in files for name in re.findall(r"^def (test_\w+)\(", file.read_text(), re.MULTILINE)}
    assert len(named) > 40
    assert named - defined == set()
