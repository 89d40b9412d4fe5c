"""No side door past the certificate: whatever is shown anywhere was in the table that the attacker had.

Two releases of the real catalogue, the second a revision of the first. Every number that disclosure hides in them is
unlike any other, so that it is recognised wherever it stands, however it is written.
"""

from __future__ import annotations

import html
import io
import itertools
import json
import re
import struct
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

import insertion_pipeline
from insertion_pipeline.cli import app
from insertion_pipeline.disclosure import protect
from insertion_pipeline.indicators.trends import trends
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.publication import approving, releasing
from insertion_pipeline.publication.releasing import Inputs, Release, release
from insertion_pipeline.publication.report import words
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.protected_values import values_of

MONTH, BEFORE = "2026-10", "2026-09"
KNOWN, HOURS, SHARE = "reseau_personnes_connues", "siae_heures_formation", "reseau_part_accompagnees"
#: (indicator, level, territory, numerator, denominator, contributors), before and after the revision.
FIRST = (
    (KNOWN, "department", "FR-DEP-08", 3, None, 3), (KNOWN, "department", "FR-DEP-52", 71_933, None, 71_933),
    (KNOWN, "department", "FR-DEP-54", 86_027, None, 86_027),
    (KNOWN, "region", "FR-REG-44", 157_963, None, 157_963), (KNOWN, "country", "FR", 157_963, None, 157_963),
    (HOURS, "department", "FR-DEP-08", 8_641.5, None, 3), (HOURS, "department", "FR-DEP-52", 64_807.5, None, 900),
    (HOURS, "region", "FR-REG-44", 73_449.0, None, 903), (HOURS, "country", "FR", 73_449.0, None, 903),
    (SHARE, "department", "FR-DEP-54", 31_159, 86_027, 86_027), (SHARE, "country", "FR", 57_731, 157_963, 157_963),
)  # fmt: skip
#: The month before, when a department of the region had not delivered: what may be compared is not the whole.
EARLIER = (
    (KNOWN, "department", "FR-DEP-08", 4, None, 4), (KNOWN, "department", "FR-DEP-52", 70_121, None, 70_121),
    (KNOWN, "department", "FR-DEP-54", 85_009, None, 85_009),
    (KNOWN, "region", "FR-REG-44", 155_134, None, 155_134), (KNOWN, "country", "FR", 155_134, None, 155_134),
)  # fmt: skip
REVISED = {
    (KNOWN, "FR-DEP-54"): 86_113, (KNOWN, "FR-REG-44"): 158_049, (KNOWN, "FR"): 158_049, (SHARE, "FR-DEP-54"): 31_223,
    (SHARE, "FR"): 57_795,
}  # fmt: skip
HIDDEN = (71_933.0, 8_641.5, 64_807.5, 70_121.0)


def rows(registry: Registry, revised: Mapping[tuple[str, str], float]) -> Iterator[dict[str, Any]]:
    given = [(MONTH, 1.0, *one) for one in FIRST] + [(BEFORE, 0.9, *one) for one in EARLIER]
    for month, coverage, code, level, territory, numerator, denominator, contributors in given:
        one = registry.indicators[code]
        over = float(revised.get((code, territory), numerator) if month == MONTH else numerator)
        under = None if denominator is None else float(revised.get((KNOWN, territory), denominator))
        yield {
            "month": month, "country": "FR", "territory_level": level, "territory_code": territory, "axis": one.axis,
            "indicator_code": code, "breakdown": "total", "modality": "TOTAL", "numerator": over, "denominator": under,
            "value": over if under is None else 100 * over / under, "unit": one.unit, "counted_unit": one.counted_unit,
            "kind": one.kind, "status": "published", "coverage": coverage, "n_units_expected": 4, "n_units_received": 4,
            "n_partners_expected": 2, "n_partners_received": 2, "as_of": MONTH, "maturity": "provisoire",
            "contributors": contributors,
        }  # fmt: skip


@pytest.fixture(scope="module")
def lake(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def published(lake: Lake, registry: Registry) -> tuple[Release, Release]:
    made: list[Release] = []
    for digest, revised in (("a" * 64, {}), ("b" * 64, REVISED)):
        earlier = [one.table("indicator_values") for one in made]
        inputs = Inputs(
            (Month.parse(BEFORE), Month.parse(MONTH)),
            {MONTH: [f"department_list dep-08 {MONTH} {digest}"]},
            registry.digest,
            follows=made[-1].release_id if made else None,
        )
        safe = protect(values_of(rows(registry, revised)), registry, earlier)
        made.append(release(lake, registry, inputs, safe))
        approving.sign(lake, made[-1].folder, made[-1].manifest, name="C. Martin", role="statisticienne")
    return made[0], made[1]


@pytest.fixture(scope="module")
def known(published: tuple[Release, Release]) -> set[float]:
    """Every number of the tables that the attacker had."""
    tables = [one.table("indicator_values") for one in published]
    columns = [table[name] for table in tables for name in ("numerator", "denominator", "value")]
    return {number for column in columns for number in column.drop_null().to_pylist()}


def written(number: float) -> set[str]:
    """The ways in which a number is written: by a program, by a page, in percent."""
    return (
        {f"{number:.0f}"} | {repr(number)} if number == int(number) else {repr(number), str(number).replace(".", ",")}
    )


def texts_of(release_folder: Path) -> Iterator[tuple[str, str]]:
    """Every file of a release as text, workbooks and databases opened."""
    for path in sorted(release_folder.rglob("*")):
        name = path.relative_to(release_folder).as_posix()
        if path.suffix == ".xlsx":
            with zipfile.ZipFile(path) as book:
                for member in book.namelist():
                    yield f"{name}/{member}", book.read(member).decode("utf-8", "replace")
        elif path.is_file() and path.suffix in {".html", ".json", ".jsonld", ".csv", ".js", ".css"}:
            yield name, path.read_text(encoding="utf-8")


def plain(text: str) -> str:
    """Text with numbers as a program writes them: no thousands separators."""
    return re.sub(r"(?<=\d)[\u202f\u00a0 ](?=\d{3}\b)", "", html.unescape(text))


def test_what_is_hidden_is_what_the_other_tests_look_for(published: tuple[Release, Release]) -> None:
    for one in published:
        table = one.table("indicator_values").to_pylist()
        shown = {row["numerator"] for row in table if row["status"] == "published"}
        assert not shown & {3.0, *HIDDEN}
        assert sum(row["status"] == "suppressed" for row in table) == 6
    assert len(published[1].table("revisions")) == len(REVISED)


def test_a_certificate_is_the_same_whatever_the_hidden_numbers_are(registry: Registry) -> None:
    """Two tables that show the same: what their certificates said apart would be told of what is hidden."""
    other = {
        (KNOWN, "FR-DEP-08"): 1, (KNOWN, "FR-DEP-52"): 71_935, (HOURS, "FR-DEP-08"): 8_639.5,
        (HOURS, "FR-DEP-52"): 64_809.5,
    }  # fmt: skip
    one, another = (protect(values_of(rows(registry, revised)), registry) for revised in ({}, other))
    assert one.table.equals(another.table)
    assert one.certificate == another.certificate
    assert one.certificate["secondary_rows"] == 3


def test_no_file_of_a_release_holds_a_hidden_number(published: tuple[Release, Release]) -> None:
    forms = re.compile(rf"(?<![\d.,])({'|'.join(re.escape(form) for one in HIDDEN for form in written(one))})(?![\d])")
    read = 0
    for one in published:
        for name, text in texts_of(one.folder):
            assert not forms.search(plain(text)), name
            read += 1
        for table in (one.table(name) for name in one.manifest["tables"]):
            numbers = [column for column in table.columns if pa.types.is_floating(column.type)]
            assert not {number for column in numbers for number in column.to_pylist()} & set(HIDDEN)
    assert read > 40
    assert forms.search(plain("soit 71\u202f933 personnes"))  # the search would find it


def test_no_statistics_and_no_free_block_of_a_binary_file_hold_a_hidden_number(
    published: tuple[Release, Release],
) -> None:
    """Parquet tells the least and the greatest number of a column; a database keeps pages that no table shows."""
    told: set[object] = set()
    for one in published:
        for path in (one.folder / "parquet").glob("*.parquet"):
            metadata = pq.read_metadata(path)
            for group, column in itertools.product(range(metadata.num_row_groups), range(metadata.num_columns)):
                statistics = metadata.row_group(group).column(column).statistics
                if statistics is not None and statistics.has_min_max:
                    told |= {statistics.min, statistics.max}
        for path in [one.folder / releasing.DATABASE, *(one.folder / "parquet").glob("*.parquet")]:
            content = path.read_bytes()
            for number in HIDDEN:
                forms = [struct.pack("<d", number), struct.pack("<q", int(number))]
                forms += [form.encode() for form in written(number)]
                assert not any(form in content for form in forms), (path.name, number)
    assert not told & set(HIDDEN)
    assert 158_049.0 in told  # what is shown is found there


_FIGURE = re.compile(r'<(?:td class="number(?: value)?"|span class="figure")>([^<]+)<')
_DRAWN = re.compile(r'data-(?:bars|lines|layers)="([^"]+)"')


def figures(page: str) -> set[str]:
    """The figures of a page of the report, as written: in tables, on cards, and what charts and maps are drawn of."""
    found = {plain(text).strip() for text in _FIGURE.findall(page)}
    for drawn in _DRAWN.findall(page):
        found |= {words.number(number) for number in _numbers(json.loads(html.unescape(drawn)))}
    return {plain(text) for text in found if re.search(r"\d", text)}


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, Mapping):
        for name, inner in content.items():
            if name == "value" or isinstance(inner, list):
                yield from _numbers(inner)
    elif isinstance(content, list):
        for inner in content:
            yield from _numbers(inner)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield float(content)


def test_every_figure_of_the_report_is_one_that_the_attacker_had(
    published: tuple[Release, Release], known: set[float]
) -> None:
    allowed = {plain(form) for one in known for form in (words.number(one), words.number(one, "%"))}
    allowed |= {words.share(1.0), "100\u00a0%"}  # coverage
    pages = [path for path in (published[1].folder / "report").rglob("*.html") if path.parent.name == "territoires"]
    pages += [published[1].folder / "report" / name for name in ("index.html", "carte.html")]
    seen: set[str] = set()
    for path in pages:
        told = figures(path.read_text(encoding="utf-8"))
        assert told <= {plain(one) for one in allowed}, path.name
        seen |= told
    assert {"158049", "36,6"} <= seen
    assert figures('<td class="number">1\u202f234</td>') == {"1234"}  # and the page would be blamed for another one
    assert "1234" not in allowed


def test_trends_are_what_anybody_computes_from_the_numbers_shown(
    published: tuple[Release, Release], known: set[float]
) -> None:
    now = published[1]
    found = {(row["territory_code"], row["indicator_code"]): row for row in now.table("trends").to_pylist()}
    assert {place: (row["value_then"], row["value_now"], row["n_territories"]) for place, row in found.items()} == {
        ("FR-DEP-54", KNOWN): (85_009, 86_113, 1), ("FR-REG-44", KNOWN): (85_009, 86_113, 1),
        ("FR", KNOWN): (85_009, 86_113, 1),
    }  # fmt: skip
    assert {row[name] for row in found.values() for name in ("value_then", "value_now")} <= known
    again = trends(*(now.table(name) for name in ("indicator_values", "territory_links", "indicators")))
    assert again.to_pylist() == [
        {name: row[name] for name in again.column_names} for row in now.table("trends").to_pylist()
    ]


def test_the_revisions_tell_numbers_of_both_releases_only(published: tuple[Release, Release]) -> None:
    before, now = ({row["value"] for row in one.table("indicator_values").to_pylist()} for one in published)
    for row in published[1].table("revisions").to_pylist():
        assert row["previous_value"] in before
        assert row["value"] in now


def test_commands_tell_only_what_the_release_shows(
    published: tuple[Release, Release], lake: Lake, known: set[float]
) -> None:
    said = io.StringIO()
    shown = (
        "show",
        "list",
        "verify",
        f"show --explain {KNOWN} FR {MONTH}",
        f"show --explain {KNOWN} FR-DEP-52 {MONTH}",
    )
    for command in (one + form for one in shown for form in ("", " --json")):
        arguments = command.split()
        result = CliRunner().invoke(app, ["release", *arguments, "--home", str(lake.home)])
        said.write(result.output)
    text = plain(said.getvalue())
    for one in HIDDEN:
        assert not any(re.search(rf"(?<![\d.,]){re.escape(form)}(?!\d)", text) for form in written(one))
    assert "158049" in text
    assert f"{KNOWN} pour FR-DEP-52 en {MONTH} : secret statistique." in " ".join(said.getvalue().split())
    assert {one.value for one in releasing.headlines(published[1])} <= known | {None}


#: Who may read values before they are protected, beside `indicators`, which makes them and checks that they add up:
#: those who run that, and protect them.
READERS = {"orchestration/assets.py", "orchestration/spark_job.py", "publication/releasing.py"}


def test_nothing_that_shows_numbers_can_read_unprotected_ones() -> None:
    package = Path(insertion_pipeline.__file__).parent
    doors = re.compile(r"\b(values_path|values_to_publish|compute_values)\b")
    readers = {
        path.relative_to(package).as_posix()
        for path in package.rglob("*.py")
        if doors.search(path.read_text(encoding="utf-8"))
    }
    assert {name for name in readers if not name.startswith("indicators/")} == READERS
