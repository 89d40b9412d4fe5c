"""Dagster over the core: the location loads, lineage is right, conditions fire when they should and only then."""

from __future__ import annotations

import dagster as dg
import pytest

from insertion_pipeline.orchestration.automation import whenever_delivered

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
