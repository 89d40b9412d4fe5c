"""What a run took is kept beside it, and shown on the screen and on a page."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.doctoring import examine
from insertion_pipeline.lake import Lake
from insertion_pipeline.orchestration import metering
from insertion_pipeline.orchestration.metering import MemoryWatch
from insertion_pipeline.orchestration.metrics import RunMetrics, StepMetrics, keep, read_all
from insertion_pipeline.orchestration.metrics_page import page
from insertion_pipeline.orchestration.resources import Home, Writer
from insertion_pipeline.settings import Settings

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2026-01", fmt="%Y-%m", end_date="2026-12")
SPAN = {"dagster/asset_partition_range_start": "2026-02", "dagster/asset_partition_range_end": "2026-03"}


@dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
def conformed(context: dg.AssetExecutionContext, writer: Writer) -> dg.MaterializeResult[None]:
    for month, rows in (("2026-02", 40), ("2026-03", 2)):
        found = {"dagster/partition_row_count": rows, "findings": {"empty": 3, "late": 1}}
        context.add_asset_metadata(found, partition_key=month)
    return dg.MaterializeResult()


@dg.asset_check(asset=conformed, blocking=True)
def accounts_balance() -> dg.AssetCheckResult:
    return dg.AssetCheckResult(passed=False)


@dg.asset(partitions_def=MONTHS, backfill_policy=dg.BackfillPolicy.single_run())
def persons() -> dg.MaterializeResult[None]:
    return dg.MaterializeResult(metadata={"dagster/row_count": 7})


@dg.asset
def release(writer: Writer) -> None:
    raise OSError("no space left")


def ran(home: Path, *assets: Any, **options: Any) -> tuple[RunMetrics, ...]:
    """The figures of a home in which these assets were made by one run."""
    location = dg.Definitions(
        assets=[one for one in assets if not isinstance(one, dg.AssetChecksDefinition)],
        asset_checks=[one for one in assets if isinstance(one, dg.AssetChecksDefinition)],
        resources={"writer": Writer(home=Home.of(Settings(home=home)))},
        jobs=[dg.define_asset_job("making", selection="*")],
        executor=dg.in_process_executor,
    )
    with dg.DagsterInstance.ephemeral() as instance:
        location.resolve_job_def("making").execute_in_process(instance=instance, raise_on_error=False, **options)
    return tuple(read_all(home / "runs"))


def test_each_step_says_how_long_it_took_and_what_it_made(tmp_path: Path) -> None:
    (run,) = ran(tmp_path, conformed, persons, tags=SPAN)
    assert (run.outcome, run.months, run.engine, run.findings) == ("success", ("2026-02", "2026-03"), "duckdb", 8)
    told = {step.step: step for step in run.steps}
    assert (told["conformed"].rows, told["conformed"].findings) == (42, 8)
    assert (told["persons"].rows, told["persons"].findings) == (7, None)
    assert all(0 <= step.seconds <= run.seconds for step in run.steps)
    assert (run.peak_memory_mb or 0) >= max(step.peak_memory_mb or 0 for step in run.steps) > 0


def test_a_run_that_fails_leaves_its_figures_too(tmp_path: Path) -> None:
    (run,) = ran(tmp_path, release)
    (step,) = run.steps
    assert (run.outcome, step.step, step.outcome) == ("failure", "release", "failure")
    assert "space" not in json.dumps(run.to_json())


def test_a_blocking_check_that_fails_is_named(tmp_path: Path) -> None:
    (run,) = ran(tmp_path, conformed, accounts_balance, tags=SPAN)
    assert (run.outcome, run.failed_checks) == ("failure", ("conformed: accounts_balance",))


def test_figures_that_cannot_be_written_undo_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_space(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr(metering, "keep", no_space)
    made: list[int] = []

    @dg.asset
    def table(writer: Writer) -> None:
        made.append(1)

    assert (ran(tmp_path, table), made) == ((), [1])


def test_memory_is_that_of_the_moment() -> None:
    watch = MemoryWatch(samples=[(1.0, 100 << 20), (2.0, 900 << 20), (3.0, 200 << 20)])
    assert (watch.peak_mb(0.5, 1.5), watch.peak_mb(2.5, 3.5), watch.peak_mb(3.1, 3.2)) == (100, 900, 200)
    assert watch.peak_mb(0.1, 0.2) is None


def test_a_clock_that_is_set_back_gives_no_negative_duration() -> None:
    watch = MemoryWatch()
    watch.began, watch.ended = 12.0, 13.0
    told = metering._Step("release", began=10.0, ended=4.0).metrics(watch)
    assert (told.began_after_seconds, told.seconds, told.peak_memory_mb) == (0.0, 0.0, None)


# -- shown -------------------------------------------------------------------------------------------------------------


def told(run_id: str, began: str, outcome: str = "success") -> RunMetrics:
    steps = (
        StepMetrics("conformed__ft_spie", "success", 0.5, 20.0, 70_000, 12, 900),
        StepMetrics("release", outcome, 20.5, 9.5, None, None, 1_200),
    )
    failed = () if outcome == "success" else ("release: intact",)
    return RunMetrics(run_id, began, ("2026-10", "2026-10"), "duckdb", outcome, 30.0, 1_200, failed, steps)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with two runs, the older of which failed."""
    lake = Lake.open(tmp_path / "home")
    keep(lake.runs, told("bbbb-2", "2026-11-16T06:00:00+00:00", "failure"))
    keep(lake.runs, told("aaaa-1", "2026-11-17T06:00:00+00:00"))
    return lake.home


def insertion(home: Path, *arguments: str) -> Any:
    result = CliRunner().invoke(app, ["--home", str(home), "--json", *arguments])
    return result.exit_code, json.loads(result.stdout)


def test_runs_are_listed_newest_first_and_chosen_by_their_number(home: Path) -> None:
    code, answer = insertion(home, "runs")
    assert (code, [run["run_id"] for run in answer["runs"]]) == (0, ["aaaa-1", "bbbb-2"])
    assert Path(answer["page"]).read_text().startswith("<!doctype html>")
    code, answer = insertion(home, "runs", "bbbb")
    assert [step["rows"] for step in answer["runs"][0]["steps"]] == [70_000, None]
    assert insertion(home, "runs", "cccc")[0] == 4


def test_people_see_runs_and_steps(home: Path) -> None:
    listed = CliRunner().invoke(app, ["--home", str(home), "runs"]).stdout
    assert "aaaa-1" in listed
    assert "en échec" in listed
    steps = CliRunner().invoke(app, ["--home", str(home), "runs", "bbbb"]).stdout
    assert "conformed__ft_spie" in steps
    assert "release: intact" in steps


def test_the_doctor_tells_of_a_last_run_that_failed(home: Path) -> None:
    settings = Settings(home=home)
    (last,) = (one for one in examine(settings) if one.point == "Dernier run")
    assert (last.is_well, last.state) == (True, "2026-11-17 06:00 UTC, 30 s, 1200 Mo")
    keep(home / "runs", told("cccc-3", "2026-11-18T06:00:00+00:00", "failure"))
    (last,) = (one for one in examine(settings) if one.point == "Dernier run")
    assert not last.is_well
    assert "insertion runs cccc-3" in last.remedy


class _Page(HTMLParser):
    """The elements of a page, and what they point to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))


def test_the_page_links_each_run_to_its_steps_and_needs_nothing_from_outside() -> None:
    text = page([told("aaaa-1", "2026-11-17T06:00:00+00:00"), told("bbbb-2", "2026-11-16T06:00:00+00:00", "failure")])
    elements = _Page(text).elements
    links = [attributes["href"] for tag, attributes in elements if tag == "a"]
    anchors = [f"#{attributes['id']}" for _, attributes in elements if "id" in attributes]
    assert links == anchors == ["#aaaa-1", "#bbbb-2"]
    assert not {tag for tag, _ in elements} & {"script", "link", "img", "iframe"}
    assert re.findall(r"release: \w+", text) == ["release: intact"]
    assert "70,000" in text
