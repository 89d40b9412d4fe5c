"""What must hold of each asset, and what is only worth asking about.

Belongs here: calls into the core's own checks, and their results as Dagster shows them. Does not belong here: a rule
of any kind; what the calendar says (`lateness`). A blocking check stops the assets below it, in this run and, through
`whenever_delivered`, in others.
"""

from collections.abc import Sequence

import dagster as dg
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure import small_cells
from insertion_pipeline.indicators.additivity import totals_that_fail
from insertion_pipeline.indicators.computing import coverage_path
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.orchestration import order, questions
from insertion_pipeline.orchestration.assets import (
    INDICATOR_VALUES,
    RELEASE,
    account_metadata,
    conformed_key,
    months_of,
)
from insertion_pipeline.orchestration.discretion import without_values
from insertion_pipeline.orchestration.planning import plan
from insertion_pipeline.orchestration.resources import Home
from insertion_pipeline.orchestration.side_process import side_process
from insertion_pipeline.publication import releasing
from insertion_pipeline.publication.verifying import verify
from insertion_pipeline.registry import Source

_WARN = dg.AssetCheckSeverity.WARN


def source_checks(source: Source) -> list[dg.AssetChecksDefinition]:
    """The three checks of a conformed source: accounts balance, the contract holds, the month is an ordinary one."""
    return [_accounts_balance(source), _contract_holds(source), _month_is_ordinary(source)]


def _accounts_balance(source: Source) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name="accounts_balance",
        asset=conformed_key(source.name),
        blocking=True,
        op_tags=order.SECOND,
        description="Pour chaque dépôt, lignes = vides + en-têtes et pieds + acceptées + rejetées : rien n'est perdu.",
    )
    def accounts_balance(context: dg.AssetCheckExecutionContext, home: Home) -> dg.AssetCheckResult:
        with without_values():
            lake, registry = home.lake(), home.registry()
            months = _months(context, lake)
            received = _received(lake, source, months)
            counting = questions.counting(lake, registry, source.name, months)
            unbalanced = [one.sequence for one in received if not one.account.is_balanced]
            altered = [one.sequence for one in counting if deliveries.stored_rows(lake, registry, one) != one.rows]
        total = sum((receipt.account for receipt in received), Account())
        return dg.AssetCheckResult(
            passed=not unbalanced and not altered,
            description=f"{len(received)} dépôts, {total.lines} lignes",
            metadata={
                **account_metadata(total),
                "receipts out of balance": unbalanced,
                "receipts whose rows are not all there": altered,
            },
        )

    return accounts_balance


def _contract_holds(source: Source) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name="contract_holds",
        asset=conformed_key(source.name),
        blocking=True,
        op_tags=order.THIRD,
        description="Les lignes acceptées passent aussi le schéma pandera du contrat (par sondage dès 100 000).",
    )
    def contract_holds(context: dg.AssetCheckExecutionContext, home: Home) -> dg.AssetCheckResult:
        with without_values():
            lake, registry = home.lake(), home.registry()
            asked = lake, registry, source.name, tuple(_months(context, lake))
            side_process().ask_ahead(context.run.run_id, questions.month_is_ordinary, *asked)
            answer = side_process().answer(context.run.run_id, questions.contract_holds, *asked)
        failures = answer.failures
        records = [
            dg.TableRecord({"table": table, "field": field, "check": check, "cells": cells})
            for (table, field, check), cells in failures.most_common()
        ]
        return dg.AssetCheckResult(
            passed=not failures,
            description=f"{answer.rows} lignes vérifiées",
            metadata={"failures": dg.MetadataValue.table(records)} if records else {},
        )

    return contract_holds


def _month_is_ordinary(source: Source) -> dg.AssetChecksDefinition:
    @dg.asset_check(
        name="month_is_ordinary",
        asset=conformed_key(source.name),
        op_tags=order.LAST,
        description="Volumes, cellules vides et répartition des codes, à côté du mois précédent (great-expectations).",
    )
    def month_is_ordinary(context: dg.AssetCheckExecutionContext, home: Home) -> dg.AssetCheckResult:
        with without_values():
            lake, registry = home.lake(), home.registry()
            asked = lake, registry, source.name, tuple(_months(context, lake))
            reports = side_process().answer(context.run.run_id, questions.month_is_ordinary, *asked)
        drifts = [(report.month, one) for report in reports for one in report.drifts]
        rows = [
            dg.TableRecord({"month": str(month), "table": one.table, "field": one.field, "what": one.message})
            for month, one in drifts
        ]
        return dg.AssetCheckResult(
            passed=not drifts,
            severity=_WARN,
            description=f"{len(drifts)} écarts au mois précédent" if drifts else "des mois ordinaires",
            metadata={
                "expectations": sum(report.expectations for report in reports),
                "rows": {str(report.month): report.rows for report in reports},
                **({"drifts": dg.MetadataValue.table(rows)} if rows else {}),
            },
        )

    return month_is_ordinary


def _months(context: dg.AssetCheckExecutionContext, lake: Lake) -> tuple[Month, ...]:
    """The months of this run; those of the next release where a check is run by itself, which has no partition."""
    if context.has_partition_key or context.has_partition_key_range:
        return tuple(months_of(context))
    return tuple(plan(lake).published)


def _received(lake: Lake, source: Source, months: Sequence[Month]) -> list[Receipt]:
    """The deliveries accepted for these months, replaced ones included."""
    accepted = (one for one in receipts(lake) if one.source == source.name and one.status == "applied")
    return [one for one in accepted if one.month in months]


def value_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of the values before protection: they add up, and enough units have delivered."""

    @dg.asset_check(
        name="totals_hold",
        asset=INDICATOR_VALUES,
        blocking=True,
        description="Les parts additives font le tout, les territoires font leur pays.",
    )
    def totals_hold(context: dg.AssetCheckExecutionContext, home: Home) -> dg.AssetCheckResult:
        with without_values():
            lake, registry = home.lake(), home.registry()
            failing = {str(month): totals_that_fail(lake, registry, month) for month in _months(context, lake)}
        return dg.AssetCheckResult(
            passed=not any(failing.values()),
            metadata={month: dg.MetadataValue.json(places) for month, places in failing.items()},
        )

    @dg.asset_check(
        name="units_have_delivered",
        asset=INDICATOR_VALUES,
        description="Les unités attendues ont déposé : celles qui manquent, par source et par mois.",
    )
    def units_have_delivered(context: dg.AssetCheckExecutionContext, home: Home) -> dg.AssetCheckResult:
        with without_values():
            lake = home.lake()
            months = _months(context, lake)
            grid = pa.concat_tables([lake.read_parquet(coverage_path(lake, month)) for month in months])
        missing = grid.filter(pc.invert(grid["is_received"])).to_pylist()
        records = [
            dg.TableRecord({"month": one["month"], "unit": one["unit"], "source": one["source"]}) for one in missing
        ]
        return dg.AssetCheckResult(
            passed=not missing,
            severity=_WARN,
            description=f"{grid.num_rows - len(missing)} reçues sur {grid.num_rows} attendues",
            metadata={"missing": dg.MetadataValue.table(records)} if records else {},
        )

    return [totals_hold, units_have_delivered]


def release_checks() -> list[dg.AssetChecksDefinition]:
    """The checks of the release, on what a reader sees."""

    @dg.asset_check(
        name="no_small_cell",
        asset=RELEASE,
        blocking=True,
        description="Aucun nombre publié ne porte sur moins de personnes que le seuil.",
    )
    def no_small_cell(home: Home) -> dg.AssetCheckResult:
        with without_values():
            published = releasing.chosen(home.lake())
            small = small_cells(published.table("indicator_values"), home.registry())
        return dg.AssetCheckResult(
            passed=small.num_rows == 0,
            description=published.release_id,
            metadata={"rows": published.table("indicator_values").num_rows, "small cells": small.num_rows},
        )

    @dg.asset_check(
        name="intact",
        asset=RELEASE,
        blocking=True,
        description="Empreintes, formats, totaux et audit : la publication est ce que dit son manifeste.",
    )
    def intact(home: Home) -> dg.AssetCheckResult:
        with without_values():
            verification = verify(home.lake(), releasing.chosen(home.lake()))
        return dg.AssetCheckResult(
            passed=not verification.problems,
            description=f"{verification.release_id} : {verification.state}",
            metadata={
                "problems": dg.MetadataValue.json([f"{one.file}: {one.message}" for one in verification.problems])
            },
        )

    return [no_small_cell, intact]
