"""Dagster over the core: the location loads, lineage is right, conditions fire when they should and only then."""

from __future__ import annotations

import errno
import json
import shutil
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast, get_args

import dagster as dg
import pytest
from dagster import AssetCheckEvaluation
from pydantic import SecretStr

from insertion_pipeline.definitions import build_defs
from insertion_pipeline.indicators import catalogue
from insertion_pipeline.ingestion import drift, landing
from insertion_pipeline.ingestion.counterchecking import Countercheck
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake, SystemClock
from insertion_pipeline.month import Month, Span
from insertion_pipeline.orchestration import assets, automation, checks, patience, running, spark_job
from insertion_pipeline.orchestration.alerting import AlertNotSent, failure_sensor
from insertion_pipeline.orchestration.assets import SPAN_IN_ONE_RUN, months_of
from insertion_pipeline.orchestration.automation import whenever_delivered
from insertion_pipeline.orchestration.discretion import StepFailed, without_values
from insertion_pipeline.orchestration.patience import trying_again
from insertion_pipeline.orchestration.planning import LAST_MONTH_TAG, NothingDelivered, plan, span_tags
from insertion_pipeline.orchestration.resources import Home, Writer, work_with
from insertion_pipeline.orchestration.side_process import SideProcess
from insertion_pipeline.orchestration.stages import OtherInputs, Stage, stage
from insertion_pipeline.registry import DeclarationsChanged, Registry, load_registry
from insertion_pipeline.settings import Settings
from insertion_pipeline_tests.mail_server import Office
from insertion_pipeline_tests.mail_server import office as office
from insertion_pipeline_tests.portal_server import serving

MONTHS = dg.MonthlyPartitionsDefinition(start_date="2026-01", fmt="%Y-%m", end_date="2026-12")
DELIVERIES, CONFORMED, FACTS = (dg.AssetKey([name, "siae_monthly"]) for name in ("deliveries", "conformed", "facts"))


class Chain:
    """Deliveries, a conformed source with a blocking check, and a fact that looks two months back."""

    def __init__(self, *, accounts_balance: bool) -> None:
        grid = dg.AssetSpec(
            DELIVERIES,
            partitions_def=dg.MultiPartitionsDefinition(
                {"partner": dg.StaticPartitionsDefinition(["siae-01", "siae-02"]), "month": MONTHS}
            ),
        )

        @dg.asset(key=CONFORMED, deps=[DELIVERIES], partitions_def=MONTHS, automation_condition=whenever_delivered())
        def conformed() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult()

        @dg.asset_check(asset=CONFORMED, blocking=True)
        def accounts() -> dg.AssetCheckResult:
            return dg.AssetCheckResult(passed=accounts_balance)

        looking_back = dg.TimeWindowPartitionMapping(start_offset=-2)

        @dg.asset(
            key=FACTS,
            deps=[dg.AssetDep(CONFORMED, partition_mapping=looking_back)],
            partitions_def=MONTHS,
            automation_condition=whenever_delivered(),
        )
        def facts() -> dg.MaterializeResult[None]:
            return dg.MaterializeResult()

        self.definitions = dg.Definitions(
            assets=[grid, conformed, facts],
            asset_checks=[accounts],
            jobs=[dg.define_asset_job("conforming", selection=[CONFORMED.to_user_string()])],
        )

    def conform(self, instance: dg.DagsterInstance, month: str) -> None:
        job = self.definitions.resolve_job_def("conforming")
        job.execute_in_process(instance=instance, partition_key=month, raise_on_error=False)


class Daemon:
    """Evaluates the conditions tick after tick, as Dagster's daemon does."""

    def __init__(self, chain: Chain, instance: dg.DagsterInstance) -> None:
        self.chain, self.instance = chain, instance
        self.cursor = dg.evaluate_automation_conditions(defs=chain.definitions, instance=instance).cursor

    def requested(self) -> dict[str, list[str]]:
        tick = dg.evaluate_automation_conditions(
            defs=self.chain.definitions, instance=self.instance, cursor=self.cursor
        )
        self.cursor = tick.cursor
        found = {key.path[0]: sorted(tick.get_requested_partitions(key) or ()) for key in (CONFORMED, FACTS)}
        return {name: partitions for name, partitions in found.items() if partitions}


def test_a_killed_run_is_taken_for_failed_and_its_place_in_the_pool_for_free(tmp_path: Path) -> None:
    """Killed while it published, it would make every later run wait for a place that nobody gives back."""
    limits = {"concurrency": {"pools": {"default_limit": 1}}}
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=limits) as instance:
        for run_id, tags in {"killed": {running.LOCK_TAG: "true"}, "of-the-daemon": {}}.items():
            instance.add_run(dg.DagsterRun("monthly", run_id, status=dg.DagsterRunStatus.STARTED, tags=tags))
        pool = instance.event_log_storage
        pool.initialize_concurrency_limit_to_default("publishing")
        assert pool.claim_concurrency_slot("publishing", "killed", "release").is_claimed
        assert not pool.claim_concurrency_slot("publishing", "next", "release").is_claimed
        running.close_what_was_killed(instance)
        assert pool.claim_concurrency_slot("publishing", "next", "release").is_claimed
        found = {run.run_id: run.status for run in instance.get_runs()}
    assert found == {"killed": dg.DagsterRunStatus.FAILURE, "of-the-daemon": dg.DagsterRunStatus.STARTED}


def deposit(instance: dg.DagsterInstance, partner: str, month: str) -> None:
    cell = dg.MultiPartitionKey({"partner": partner, "month": month})
    instance.report_runless_asset_event(dg.AssetMaterialization(DELIVERIES, partition=cell))


@pytest.fixture
def instance() -> dg.DagsterInstance:
    return dg.DagsterInstance.ephemeral()


def test_one_partner_s_delivery_of_an_old_month_is_enough_to_run_that_month(instance: dg.DagsterInstance) -> None:
    daemon = Daemon(Chain(accounts_balance=True), instance)
    deposit(instance, "siae-01", "2026-03")
    assert daemon.requested() == {"conformed": ["2026-03"]}
    assert daemon.requested() == {}


def test_a_second_delivery_of_the_same_month_runs_it_again(instance: dg.DagsterInstance) -> None:
    chain = Chain(accounts_balance=True)
    daemon = Daemon(chain, instance)
    deposit(instance, "siae-01", "2026-03")
    daemon.requested()
    chain.conform(instance, "2026-03")
    daemon.requested()
    deposit(instance, "siae-02", "2026-03")
    assert daemon.requested()["conformed"] == ["2026-03"]


def test_months_that_look_back_at_a_corrected_one_run_again(instance: dg.DagsterInstance) -> None:
    chain = Chain(accounts_balance=True)
    daemon = Daemon(chain, instance)
    deposit(instance, "siae-01", "2026-03")
    daemon.requested()
    chain.conform(instance, "2026-03")
    assert daemon.requested() == {"facts": ["2026-03", "2026-04", "2026-05"]}


def test_a_blocking_check_that_failed_in_another_run_stops_what_follows(instance: dg.DagsterInstance) -> None:
    failing = Chain(accounts_balance=False)
    daemon = Daemon(failing, instance)
    deposit(instance, "siae-01", "2026-03")
    daemon.requested()
    failing.conform(instance, "2026-03")
    assert daemon.requested() == {}
    Chain(accounts_balance=True).conform(instance, "2026-03")
    assert daemon.requested() == {"facts": ["2026-03", "2026-04", "2026-05"]}


# -- the code location -------------------------------------------------------------------------------------------------

SEPTEMBER = Month(2026, 9)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home where one structure has delivered September."""
    settings = Settings().model_copy(update={"home": tmp_path_factory.mktemp("orchestration") / "home"})
    registry = load_registry(settings.data_sources)
    (path,) = (registry.folder / "siae" / "samples" / "2026-09" / "siae-10").iterdir()
    deliver(path, "siae-10", "siae_monthly", SEPTEMBER, registry, Lake.open(settings.home))
    return settings


@pytest.fixture(scope="module")
def location(settings: Settings) -> dg.Definitions:
    return build_defs(settings, through=Month(2026, 10))


def lineage_of(location: dg.Definitions) -> dict[str, list[str]]:
    graph = location.resolve_asset_graph()
    return {
        key.to_user_string(): sorted(parent.to_user_string() for parent in graph.get(key).parent_keys)
        for key in graph.get_all_asset_keys()
    }


def test_loading_the_location_computes_and_writes_nothing(tmp_path: Path) -> None:
    home = tmp_path / "home"
    build_defs(Settings().model_copy(update={"home": home}))
    assert not home.exists()


def test_a_run_may_stop_at_the_values_with_every_check_before(location: dg.Definitions) -> None:
    whole, part = (running.monthly_job(location, publishes=publishes).asset_layer for publishes in (True, False))
    assert set(whole.selected_asset_keys) - set(part.selected_asset_keys) == {assets.RELEASE}
    left_out = set(whole.asset_graph.asset_check_keys) - set(part.asset_graph.asset_check_keys)
    assert {key.asset_key for key in left_out} == {assets.RELEASE}


def test_a_code_server_loads_the_location_whole(location: dg.Definitions) -> None:
    """What a web server and a daemon ask of it first: every job built, every name standing for one thing."""
    repository = location.get_repository_def()
    repository.load_all_definitions()
    assert {job.name for job in repository.get_all_jobs()} == {"__ASSET_JOB", "monthly", "deadlines"}


@pytest.mark.parametrize("asset", ["conformed/siae_monthly", "indicator_values", "release"])
def test_what_a_condition_asks_for_by_itself_is_a_job_with_its_own_checks(location: dg.Definitions, asset: str) -> None:
    key = dg.AssetKey.from_user_string(asset)
    alone = location.get_repository_def().get_maybe_subset_job_def("__ASSET_JOB", asset_selection={key})
    checks_of_it = {one for one in location.resolve_asset_graph().asset_check_keys if one.asset_key == key}
    assert alone.asset_layer.selected_asset_keys == {key}
    assert alone.asset_layer.asset_graph.asset_check_keys == checks_of_it


def test_a_source_flows_from_its_deliveries_to_the_release(location: dg.Definitions) -> None:
    lineage = lineage_of(location)
    assert lineage["deliveries/cnaf_vrsb0801"] == []
    assert lineage["conformed/cnaf_vrsb0801"] == ["deliveries/cnaf_vrsb0801"]
    assert "conformed/cnaf_vrsb0801" in lineage["persons"]
    assert lineage["pseudonymised/cnaf_vrsb0801"] == ["conformed/cnaf_vrsb0801", "persons"]
    assert "pseudonymised/cnaf_vrsb0801" in lineage["facts/rsa_person_months"]
    assert "facts/rsa_person_months" in lineage["indicator_values"]
    assert lineage["release"] == ["indicator_values"]


def test_every_delivered_source_and_every_fact_is_there(location: dg.Definitions, registry: Registry) -> None:
    delivered = {name for partner in registry.partners.values() for name in partner.sources}
    lineage = lineage_of(location)
    for room in ("deliveries", "conformed", "pseudonymised"):
        assert {key.split("/")[1] for key in lineage if key.startswith(f"{room}/")} == delivered
    assert {key.split("/")[1] for key in lineage if key.startswith("facts/")} == set(catalogue.facts())


def test_the_grid_crosses_partners_and_months_and_is_external(location: dg.Definitions) -> None:
    node = location.resolve_asset_graph().get(dg.AssetKey(["deliveries", "department_list"]))
    assert not node.is_materializable
    cells = node.partitions_def.get_partition_keys()
    assert {"2026-09|dep-08", "2026-10|dep-59"} <= set(cells)
    assert not any("siae" in cell for cell in cells)


def test_months_run_through_the_one_asked_for_whatever_the_clock(settings: Settings) -> None:
    later = build_defs(settings, through=Month(2031, 5))
    months = later.resolve_asset_graph().get(dg.AssetKey(["indicator_values"])).partitions_def.get_partition_keys()
    assert months[-1] == "2031-05"


def test_what_runs_make_is_owned_automated_and_backfilled_in_one_run(location: dg.Definitions) -> None:
    graph = location.resolve_asset_graph()
    for key in graph.materializable_asset_keys:
        node = graph.get(key)
        assert list(node.owners) == ["team:data"]
        assert node.automation_condition is not None
        assert node.automation_condition.get_label() == "whenever_delivered"
        if node.partitions_def is not None:
            assert node.backfill_policy == dg.BackfillPolicy.single_run()


def test_blocking_checks_are_those_that_a_release_depends_on(location: dg.Definitions) -> None:
    graph = location.resolve_asset_graph()
    blocking = {(key.asset_key.path[0], key.name): graph.get_check_spec(key).blocking for key in graph.asset_check_keys}
    assert {name for name, is_blocking in blocking.items() if is_blocking} == {
        ("conformed", "accounts_balance"), ("conformed", "contract_holds"), ("indicator_values", "totals_hold"),
        ("release", "no_small_cell"), ("release", "intact"),
    }  # fmt: skip
    assert {name for name, is_blocking in blocking.items() if not is_blocking} == {
        ("conformed", "month_is_ordinary"), ("indicator_values", "units_have_delivered"),
        ("deliveries", "nobody_is_late"), ("release", "is_fresh"),
    }  # fmt: skip


def test_the_columns_of_a_contract_are_shown(location: dg.Definitions, registry: Registry) -> None:
    node = location.resolve_asset_graph().get(dg.AssetKey(["conformed", "siae_monthly"]))
    shown = [column.name for column in node.metadata["dagster/column_schema"].columns]
    (table,) = registry.source("siae_monthly").versions[0].resources
    assert shown == [field.name for field in table.stored_fields]


def test_every_asset_says_what_it_is_made_of_and_whether_it_is_sealed(location: dg.Definitions) -> None:
    graph = location.resolve_asset_graph()
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        assert node.kinds, key
        assert node.is_external or node.tags["sealed"] == (
            "true" if key.path[0] in ("conformed", "persons") else "false"
        )
    assert set(graph.get(dg.AssetKey("release")).pools or ()) == {"publishing"}


def test_the_columns_of_facts_are_shown_with_their_meaning(location: dg.Definitions) -> None:
    graph = location.resolve_asset_graph()
    for name, fact in catalogue.facts().items():
        shown = graph.get(dg.AssetKey(["facts", name])).metadata["dagster/column_schema"].columns
        assert [column.name for column in shown] == list(fact.columns)
        assert all(column.description for column in shown)


# -- the grid fills ----------------------------------------------------------------------------------------------------


def tick(
    location: dg.Definitions, instance: dg.DagsterInstance, cursor: str | None, home: Home | None = None
) -> dg.SensorResult | dg.SkipReason:
    """One look of the sensor at the home of the location, or at another."""
    resources = {"home": home or location.resources["home"]}
    context = dg.build_sensor_context(instance=instance, cursor=cursor, resources=resources)
    return location.resolve_sensor_def("deliveries")(context)


def test_the_sensor_reports_each_receipt_once(location: dg.Definitions, instance: dg.DagsterInstance) -> None:
    result = tick(location, instance, None)
    assert isinstance(result, dg.SensorResult)
    (event,) = result.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert (event.asset_key.path, str(event.partition)) == (["deliveries", "siae_monthly"], "2026-09|siae-10")
    assert result.cursor == "1"
    assert isinstance(tick(location, instance, result.cursor), dg.SkipReason)


def test_a_deposit_in_the_portal_fills_its_cell_and_asks_for_its_month_alone(
    location: dg.Definitions, tmp_path: Path, registry: Registry, instance: dg.DagsterInstance
) -> None:
    home = Home.of(Settings(home=tmp_path / "home"))
    before = dg.evaluate_automation_conditions(defs=location, instance=instance)
    (sample,) = (registry.folder / "siae" / "samples" / "2026-09" / "siae-10").iterdir()
    with serving(tmp_path / "home", registry) as portal:
        portal.person("marie@exemple.fr", ("depositor", "siae-10"))
        deposited = portal.signed_in("marie@exemple.fr").deposit(sample, partenaire="siae-10", mois="2026-09")
        assert "Dépôt reçu" in deposited.text
    found = tick(location, instance, None, home)
    assert isinstance(found, dg.SensorResult)
    (event,) = found.asset_events
    assert isinstance(event, dg.AssetMaterialization)
    assert (event.asset_key, str(event.partition)) == (DELIVERIES, "2026-09|siae-10")
    (receipt,) = receipts(home.lake())
    assert event.metadata["sha256"].value == receipt.sha256
    instance.report_runless_asset_event(event)  # what the daemon does with the events of a sensor
    after = dg.evaluate_automation_conditions(defs=location, instance=instance, cursor=before.cursor)
    keys = location.resolve_asset_graph().get_all_asset_keys()
    asked = {key: months for key in keys if (months := after.get_requested_partitions(key))}
    assert asked == {CONFORMED: {"2026-09"}}


def test_a_tick_reports_no_more_than_it_has_time_for(
    tmp_path: Path, registry: Registry, instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake = Lake.open(tmp_path / "home")
    for month in (7, 8, 9):
        landing.declare_nothing("siae-10", "siae_monthly", Month(2026, month), registry, lake)
    monkeypatch.setattr(automation, "RECEIPTS_PER_TICK", 2)
    location = build_defs(Settings().model_copy(update={"home": lake.home}))
    first = tick(location, instance, None)
    assert isinstance(first, dg.SensorResult)
    assert ([str(event.partition) for event in first.asset_events], first.cursor) == (
        ["2026-07|siae-10", "2026-08|siae-10"], "2",
    )  # fmt: skip
    second = tick(location, instance, first.cursor)
    assert isinstance(second, dg.SensorResult)
    assert ([str(event.partition) for event in second.asset_events], second.cursor) == (["2026-09|siae-10"], "3")


def test_a_run_knows_the_deliveries_that_were_there_when_it_began(tmp_path: Path, registry: Registry) -> None:
    lake = Lake.open(tmp_path / "home")
    landing.declare_nothing("siae-10", "siae_monthly", Month(2026, 9), registry, lake)
    writer = Writer(home=Home.of(Settings(home=lake.home)))
    with writer.yield_for_execution(dg.build_init_resource_context()) as at_work:
        landing.declare_nothing("siae-10", "siae_monthly", Month(2026, 10), registry, lake)
        assert plan(at_work.lake()).last == Month(2026, 9)
        assert [one.sequence for one in receipts(at_work.lake().shared_by(2))] == [1]
    with writer.yield_for_execution(dg.build_init_resource_context()) as at_work:
        assert plan(at_work.lake()).last == Month(2026, 10)


def test_a_release_is_made_of_no_values_that_know_nothing_of_a_later_deposit(
    tmp_path: Path, registry: Registry
) -> None:
    """A run that is tried again from the step that failed begins with the deposits of its own time."""
    lake = Lake.open(tmp_path / "home")

    def begun(name: Stage, declared: Registry = registry) -> None:
        with stage(name, lake, declared, plan(lake)):
            pass

    landing.declare_nothing("siae-10", "siae_monthly", Month(2026, 9), registry, lake)
    with pytest.raises(OtherInputs, match="persons"):
        begun("facts")
    for name in get_args(Stage):
        begun(name)
    begun("release")
    landing.declare_nothing("siae-09", "siae_monthly", Month(2026, 9), registry, lake)
    for name in ("facts", "values", "release"):
        with pytest.raises(OtherInputs, match="dépôts, décisions ou déclarations"):
            begun(cast("Stage", name))
    begun("persons")
    with pytest.raises(OtherInputs, match="facts"):
        begun("values")
    begun("facts")
    with pytest.raises(OtherInputs):
        begun("values", replace(registry, digest="of other declarations"))
    begun("values")
    begun("release")


def test_every_step_of_a_run_has_the_declarations_that_it_began_with(tmp_path: Path, registry: Registry) -> None:
    folder = tmp_path / "data_sources"
    shutil.copytree(registry.folder, folder, ignore=shutil.ignore_patterns("samples"))
    home = Home(folder=str(tmp_path / "home"), data_sources=str(folder))
    began = work_with(load_registry(folder))
    partners = folder / "partners.csv"
    partners.write_text(partners.read_text(encoding="utf-8").replace("Haute-Marne", "Haute Marne"), encoding="utf-8")
    assert home.registry() is began
    assert Writer(home=home).registry().partner("dep-52").name == registry.partner("dep-52").name
    asked = {"data_sources": str(folder), "declared": began.digest, "home": home.folder, "newest_receipt": 0}
    limits = {"months": [], "as_of": "2026-09", "memory_limit_mb": 512, "threads": 1, "store": "", "master": "local"}
    with pytest.raises(DeclarationsChanged, match="since the run began"):
        next(iter(spark_job.compute({**asked, **limits, "work": "facts"})))
    with pytest.raises(DeclarationsChanged, match="since it was read"):
        work_with(began)
    assert work_with(load_registry(folder)).digest != began.digest


def test_every_morning_says_who_is_late_and_no_run_of_the_months_waits_for_it(
    location: dg.Definitions, instance: dg.DagsterInstance, registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SystemClock, "now", lambda _: datetime(2026, 10, 13, 5, tzinfo=UTC))
    quiet = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}
    result = location.resolve_job_def("deadlines").execute_in_process(instance=instance, run_config=quiet)
    told = {(one.asset_key.path[-1], one.check_name): one for one in result.get_asset_check_evaluations()}
    late = told["siae_monthly", "nobody_is_late"]
    (table,) = (one.value for one in late.metadata.values())
    expected = {one.name for one in registry.partners.values() if one.expects("siae_monthly", Month(2026, 9))}
    assert {record.data["partner"] for record in table.records} == expected - {registry.partner("siae-10").name}
    assert {(record.data["due"], record.data["days"]) for record in table.records} == {("2026-10-12", 1)}
    assert not late.passed
    assert told["department_list", "nobody_is_late"].passed, "due on the fifteenth"
    assert told["release", "is_fresh"].description == "déposé jusqu'à 2026-09, publié jusqu'à —"
    assert "deadlines_of_the_month" in location.resolve_job_def("deadlines").graph.node_dict
    assert "deadlines_of_the_month" not in location.resolve_job_def("monthly").graph.node_dict


# -- what runs by itself -----------------------------------------------------------------------------------------------


def test_conditions_are_evaluated_from_the_first_start_of_the_daemon(location: dg.Definitions) -> None:
    sensor = location.resolve_sensor_def("whenever_delivered")
    assert isinstance(sensor, dg.AutomationConditionSensorDefinition)
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING


@pytest.mark.parametrize(
    ("day", "last"), [(datetime(2026, 10, 16, 6), "2026-09"), (datetime(2027, 1, 16, 6), "2026-09")]
)
def test_the_monthly_schedule_publishes_the_months_that_are_due(
    location: dg.Definitions, day: datetime, last: str
) -> None:
    schedule = location.resolve_schedule_def("monthly_release")
    context = dg.build_schedule_context(scheduled_execution_time=day, resources={"home": location.resources["home"]})
    (request,) = schedule.evaluate_tick(context).run_requests
    assert request.tags | {LAST_MONTH_TAG: "2026-09", "dagster/asset_partition_range_end": "2026-09"} == request.tags


def test_the_monthly_schedule_waits_for_a_first_delivery(location: dg.Definitions) -> None:
    context = dg.build_schedule_context(
        scheduled_execution_time=datetime(2026, 9, 16, 6), resources={"home": location.resources["home"]}
    )
    evaluated = location.resolve_schedule_def("monthly_release").evaluate_tick(context)
    assert (evaluated.run_requests, evaluated.skip_message) == ([], "aucun dépôt jusqu'à 2026-08")


class Webhook(BaseHTTPRequestHandler):
    """Keeps what it is told."""

    told: ClassVar[list[dict[str, str]]] = []
    answer = 204

    def do_POST(self) -> None:
        self.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(self.answer)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on the screen."""


@pytest.fixture(scope="module")
def failed_run() -> Iterator[dg.RunFailureSensorContext]:
    """What the sensor is given when a run failed that quotes a person."""

    @dg.op
    def quoting_a_cell() -> None:
        raise ValueError("MARTIN Zoe")

    @dg.job
    def failing() -> None:
        quoting_a_cell()

    with dg.DagsterInstance.ephemeral() as instance:
        result = failing.execute_in_process(instance=instance, raise_on_error=False)
        (failure,) = [event for event in result.all_events if event.event_type_value == "PIPELINE_FAILURE"]
        context = dg.build_run_status_sensor_context("failed_runs", failure, instance, result.dagster_run)
        yield context.for_run_failure()


@pytest.fixture
def webhook() -> Iterator[str]:
    Webhook.told.clear()
    with HTTPServer(("127.0.0.1", 0), Webhook) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def alerting_by(**settings: Any) -> dg.SensorDefinition:
    """The sensor under these settings, which waits for nothing."""
    chosen = {"dagster_url": "https://d.test/", "smtp_host": "127.0.0.1", "smtp_starttls": False} | settings
    return failure_sensor(Settings().model_copy(update=chosen), wait=lambda _: None)


def test_a_failed_run_is_told_by_its_number_and_a_link_only(
    failed_run: dg.RunFailureSensorContext, webhook: str, office: Office
) -> None:
    sensor = alerting_by(
        alert_webhook=SecretStr(webhook),
        alert_mail="astreinte@exemple.fr, chef@exemple.fr",
        mail_from="insertion@exemple.fr",
        smtp_port=office.server_address[1],
        smtp_user="portail",
        smtp_password=SecretStr("secret"),
    )
    assert sensor.default_status == dg.DefaultSensorStatus.RUNNING
    sensor(failed_run)
    run_id = failed_run.dagster_run.run_id
    link = f"https://d.test/runs/{run_id}"
    assert Webhook.told == [{"text": f"Run en échec : {link}", "run_id": run_id, "job": "failing", "url": link}]
    (letter,) = office.kept
    assert (letter["From"], letter["To"]) == ("insertion@exemple.fr", "astreinte@exemple.fr, chef@exemple.fr")
    assert letter["Subject"] == f"Run en échec : {run_id[:8]}"
    assert letter.get_content().strip() == f"Run en échec : {link}"
    assert {line.lower() for line in office.heard if line.lower().startswith("rcpt")} == {
        "rcpt to:<astreinte@exemple.fr>", "rcpt to:<chef@exemple.fr>"
    }  # fmt: skip


def test_a_way_that_is_closed_does_not_close_the_other_and_is_named_without_its_address(
    failed_run: dg.RunFailureSensorContext, webhook: str
) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # and nobody listens
        sensor = alerting_by(
            alert_webhook=SecretStr(webhook), alert_mail="astreinte@exemple.fr", smtp_port=closed.getsockname()[1]
        )
        with pytest.raises(AlertNotSent) as told:
            sensor(failed_run)
    assert len(Webhook.told) == 1
    assert str(told.value) == "mail (ConnectionRefusedError)"


def test_a_server_that_comes_back_is_told_after_all(
    failed_run: dg.RunFailureSensorContext, webhook: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([503, 503, 204])
    monkeypatch.setattr(Webhook, "answer", property(lambda _: next(answers)))
    alerting_by(alert_webhook=SecretStr(webhook))(failed_run)
    assert len(Webhook.told) == 3


@pytest.mark.parametrize("name", ["ALERT_WEBHOOK", "ALERT_MAIL", "SMTP_HOST"])
def test_nobody_is_told_where_nothing_is_set_or_half_of_it(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A compose file sets every variable, most of them to nothing."""
    monkeypatch.setenv("INSERTION_ALERT_WEBHOOK", "")
    monkeypatch.setenv(f"INSERTION_{name}", "" if name == "ALERT_WEBHOOK" else "exemple.fr")
    assert failure_sensor(Settings()).default_status == dg.DefaultSensorStatus.STOPPED


# -- checks ------------------------------------------------------------------------------------------------------------


def verdict(settings: Settings, check: str, source: str = "siae_monthly") -> AssetCheckEvaluation:
    """Run one check of a conformed source by itself, as somebody does from Dagster's page."""
    location = build_defs(settings)
    key = dg.AssetCheckKey(dg.AssetKey(["conformed", source]), check)
    alone = dg.Definitions.merge(
        location, dg.Definitions(jobs=[dg.define_asset_job("alone", dg.AssetSelection.checks(key))])
    )
    with dg.DagsterInstance.ephemeral() as instance:
        result = alone.resolve_job_def("alone").execute_in_process(instance=instance, raise_on_error=False)
    (evaluation,) = result.get_asset_check_evaluations()
    return evaluation


def test_checks_pass_on_an_honest_home(settings: Settings) -> None:
    assert verdict(settings, "accounts_balance").passed
    assert verdict(settings, "contract_holds").passed


def test_an_account_out_of_balance_fails_its_check(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    (receipt,) = checks.receipts(Lake.open(settings.home))
    lost = replace(receipt, account=replace(receipt.account, lines=receipt.account.lines + 1))
    monkeypatch.setattr(checks, "receipts", lambda lake: (lost,))
    failed = verdict(settings, "accounts_balance")
    assert not failed.passed
    assert failed.metadata["receipts out of balance"].value == [1]


class Answering(SideProcess):
    """Says to every question what it was told to say."""

    def __init__(self, answer: object) -> None:
        super().__init__()
        self.said = answer

    def ask_ahead(self, *_: object) -> None:
        """Nothing to prepare."""

    def answer(self, *_: object) -> object:
        return self.said


def test_rows_that_pandera_refuses_fail_their_check(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    flaw = ("salaries", "heures_travaillees", "less_than_or_equal_to(400)")
    said = Answering(Countercheck(46, Counter({flaw: 2})))
    monkeypatch.setattr(checks, "side_process", lambda: said)
    failed = verdict(settings, "contract_holds")
    assert not failed.passed
    assert failed.metadata["failures"].records[0].data["cells"] == 2


def test_a_strange_month_warns_and_names_the_field(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    strange = drift.Drift("salaries", "rsa", "code_share_shift", "une autre répartition des codes")
    report = drift.DriftReport("siae_monthly", SEPTEMBER, 46, 6, (strange,))
    monkeypatch.setattr(checks, "side_process", lambda: Answering((report,)))
    warned = verdict(settings, "month_is_ordinary")
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert warned.metadata["drifts"].records[0].data["field"] == "rsa"


# -- discretion --------------------------------------------------------------------------------------------------------


def test_a_failing_step_says_where_and_never_with_what() -> None:
    with pytest.raises(StepFailed) as raised, without_values():
        raise ValueError("Could not convert string 'MARTIN Zoé' to INT32")
    assert "ValueError" in str(raised.value)
    assert "MARTIN" not in str(raised.value)
    assert raised.value.__suppress_context__


def test_our_own_exceptions_pass_as_they_are() -> None:
    with pytest.raises(NothingDelivered, match="aucun dépôt"), without_values():
        raise NothingDelivered("aucun dépôt")


def test_thirty_six_months_are_one_call_of_one_run(instance: dg.DagsterInstance) -> None:
    calls: list[list[Month]] = []
    years = dg.MonthlyPartitionsDefinition(start_date="2023-01", fmt="%Y-%m", end_date="2027-01")

    @dg.asset(partitions_def=years, backfill_policy=SPAN_IN_ONE_RUN)
    def told(context) -> None:  # Dagster reads annotations, and these are texts
        calls.append(months_of(context))

    span = Span(Month(2023, 11), Month(2026, 10))
    assert dg.materialize([told], instance=instance, tags=span_tags(span)).success
    assert calls == [list(span)]
    assert (len(calls[0]), len(instance.get_runs())) == (36, 1)
    assert len(instance.get_materialized_partitions(dg.AssetKey("told"))) == 36


# -- patience ----------------------------------------------------------------------------------------------------------


def attempts(error: Exception, instance: dg.DagsterInstance) -> tuple[int, list[str]]:
    """How often a step that fails like this at first is tried, and how the first attempt ended."""
    tried: list[int] = []

    @dg.asset
    def fetched(context) -> None:  # Dagster reads annotations, and these are texts
        with trying_again(context):
            tried.append(context.op_execution_context.retry_number)
            if len(tried) == 1:
                raise error

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(patience, "_FIRST_WAIT_SECONDS", 0)
        ran = dg.materialize([fetched], instance=instance, raise_on_error=False)
    told = [event for event in ran.all_events if event.event_type_value in ("STEP_UP_FOR_RETRY", "STEP_FAILURE")]
    return len(tried), [event.event_type_value for event in told]


def test_a_store_that_does_not_answer_is_asked_again(instance: dg.DagsterInstance) -> None:
    assert attempts(ConnectionResetError("MARTIN"), instance) == (2, ["STEP_UP_FOR_RETRY"])
    assert attempts(OSError(errno.ESTALE, "stale handle"), instance) == (2, ["STEP_UP_FOR_RETRY"])


def test_what_a_second_attempt_would_only_repeat_is_not_tried_again(instance: dg.DagsterInstance) -> None:
    assert attempts(ValueError("MARTIN"), instance) == (1, ["STEP_FAILURE"])
    assert attempts(OSError(errno.ENOSPC, "no space left"), instance) == (1, ["STEP_FAILURE"])


def test_the_wait_doubles_and_the_last_attempt_says_where() -> None:
    for number, waited in ((0, 15), (1, 30), (2, 60)):
        with pytest.raises(dg.RetryRequested) as raised, trying_again(at_attempt(number)):
            raise TimeoutError("MARTIN")
        assert (raised.value.max_retries, raised.value.seconds_to_wait) == (3, waited)
        assert raised.value.__suppress_context__
    with pytest.raises(StepFailed, match="TimeoutError"), trying_again(at_attempt(3)):
        raise TimeoutError("MARTIN")


def at_attempt(number: int) -> dg.AssetExecutionContext:
    return cast("dg.AssetExecutionContext", SimpleNamespace(op_execution_context=SimpleNamespace(retry_number=number)))


# -- planning ----------------------------------------------------------------------------------------------------------


def test_a_plan_is_made_of_delivered_months(settings: Settings) -> None:
    lake = Lake.open(settings.home)
    assert plan(lake).published == (SEPTEMBER,)
    assert plan(lake, Month(2026, 12)).last == SEPTEMBER
    with pytest.raises(NothingDelivered):
        plan(lake, Month(2026, 8))
