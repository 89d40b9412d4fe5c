"""The assets: one call into the core each, and what is worth reading about its result.

Belongs here: asset definitions, their lineage, their metadata (counts and schemas). Does not belong here: any SQL,
any connection, any decision.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from functools import partial
from graphlib import TopologicalSorter
from typing import Any, TypeVar

import dagster as dg
import pyarrow as pa

from insertion_pipeline.disclosure import protect
from insertion_pipeline.identity import pseudonymising, resolving
from insertion_pipeline.identity.resolving import Resolution
from insertion_pipeline.indicators import building, catalogue, computing
from insertion_pipeline.indicators.catalogue import Fact
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.orchestration import order, piping, questions
from insertion_pipeline.orchestration.grid import delivery_key
from insertion_pipeline.orchestration.patience import trying_again
from insertion_pipeline.orchestration.planning import LAST_MONTH_TAG, Plan, plan
from insertion_pipeline.orchestration.resources import PublishingDatabase, Writer
from insertion_pipeline.orchestration.side_process import side_process
from insertion_pipeline.orchestration.stages import Stage, stage
from insertion_pipeline.publication import releasing
from insertion_pipeline.publication.releasing import Release
from insertion_pipeline.registry import ContractField, Registry, Source

T = TypeVar("T")
Part = TypeVar("Part")

PERSONS = dg.AssetKey("persons")
INDICATOR_VALUES = dg.AssetKey("indicator_values")
RELEASE = dg.AssetKey("release")

#: One run computes a span of months: 36 months backfilled as 36 runs would start 36 processes.
SPAN_IN_ONE_RUN = dg.BackfillPolicy.single_run()


def conformed_key(source: str) -> dg.AssetKey:
    """The accepted rows of a source."""
    return dg.AssetKey(["conformed", source])


def pseudonymised_key(source: str) -> dg.AssetKey:
    """The pseudonymised rows of a source."""
    return dg.AssetKey(["pseudonymised", source])


def fact_key(fact: str) -> dg.AssetKey:
    """The rows of a fact."""
    return dg.AssetKey(["facts", fact])


def conformed_asset(source: Source, months: dg.MonthlyPartitionsDefinition) -> dg.AssetsDefinition:
    """The accepted rows of one source, typed, under seal. Deliveries already conformed are only counted."""

    @dg.asset(
        key=conformed_key(source.name),
        deps=[delivery_key(source.name)],
        description=f"{source.title} : les lignes acceptées, typées, sous scellés.",
        group_name="conformed",
        kinds={"parquet", "duckdb"},
        tags={"family": source.family, "sealed": "true"},
        metadata=_contract_metadata(source),
        op_tags=order.FIRST,
        partitions_def=months,
        backfill_policy=SPAN_IN_ONE_RUN,
    )
    def conformed(context: dg.AssetExecutionContext, writer: Writer) -> dg.MaterializeResult[None]:
        with trying_again(context):
            lake, registry, chosen = writer.lake(), writer.registry(), tuple(months_of(context))
            for month in chosen:
                receipts = deliveries.ensure_conformed(lake, registry, source.name, month)
                context.add_asset_metadata(_receipts_metadata(receipts), partition_key=str(month))
            side_process().ask_ahead(context.run_id, questions.contract_holds, lake, registry, source.name, chosen)
        return dg.MaterializeResult()

    return conformed


def identity_assets(sources: Sequence[Source], months: dg.MonthlyPartitionsDefinition) -> dg.AssetsDefinition:
    """The persons, and every source with a pseudonym in the place of whoever it speaks of."""
    pseudonymised = [
        dg.AssetSpec(
            key=pseudonymised_key(source.name),
            deps=[PERSONS, conformed_key(source.name)],
            description=f"{source.title} : sans identité, un pseudonyme par personne.",
            group_name="identity",
            kinds={"parquet"},
            tags={"family": source.family, "sealed": "false"},
            partitions_def=months,
        )
        for source in sources
    ]
    persons = dg.AssetSpec(
        key=PERSONS,
        deps=[conformed_key(source.name) for source in sources if _speaks_of_persons(source)],
        description="Une ligne par personne rapprochée entre partenaires, sous scellés, par espace (fr, be).",
        group_name="identity",
        kinds={"parquet", "splink"},
        tags={"sealed": "true"},
        partitions_def=months,
    )

    @dg.multi_asset(
        name="identity",
        specs=[persons, *pseudonymised],
        backfill_policy=SPAN_IN_ONE_RUN,
    )
    def identity(context: dg.AssetExecutionContext, writer: Writer) -> Iterator[dg.MaterializeResult[None]]:
        lake, declarations, chosen = writer.lake(), writer.registry(), set(months_of(context))
        with _stage("persons", context, writer):
            with trying_again(context):
                drawn_on = plan_of(context, lake).read
                resolution = resolving.resolve(lake, declarations, drawn_on)
            yield dg.MaterializeResult(asset_key=PERSONS, metadata=_quality_metadata(resolution))
            with trying_again(context):

                def pseudonymise(lake: Lake, registry: Registry, source: Source) -> Mapping[Month, Mapping[str, int]]:
                    return _pseudonymise(lake, registry, resolution, source, drawn_on)

                for source, counts in _side_by_side(writer, sources, pseudonymise):
                    for month in chosen:
                        context.add_asset_metadata(
                            {"dagster/partition_row_count": sum(counts[month].values()), **counts[month]},
                            asset_key=pseudonymised_key(source.name),
                            partition_key=str(month),
                        )
            for source in sources:
                yield dg.MaterializeResult(asset_key=pseudonymised_key(source.name))

    return identity


def _pseudonymise(
    lake: Lake, registry: Registry, resolution: Resolution, source: Source, months: Sequence[Month]
) -> Mapping[Month, Mapping[str, int]]:
    """Have a source's pseudonymised tables, and take back those of months in which no delivery counts."""
    told = [month for month in months if deliveries.effective(lake, source, month)]
    for month in set(months) - set(told):
        pseudonymising.withdraw(lake, registry, source.name, month)
    written = pseudonymising.have_pseudonymised(lake, registry, resolution, source.name, told)
    return {month: written.get(month, {}) for month in months}


def _speaks_of_persons(source: Source) -> bool:
    return any(table.insertion.persons for version in source.versions for table in version.resources)


def fact_assets(sources: Sequence[Source], months: dg.MonthlyPartitionsDefinition) -> dg.AssetsDefinition:
    """The facts that indicators count, with the lineage that their SQL states, each after those that it reads."""
    lineage = {
        fact_key(fact.name): _read_by(fact, {source.name for source in sources}) for fact in catalogue.facts().values()
    }
    known = {fact_key(name): fact for name, fact in catalogue.facts().items()}
    specs = [
        dg.AssetSpec(
            key=key,
            deps=lineage[key],
            description=f"Une ligne par {', '.join(fact.grain)}.",
            group_name="indicators",
            kinds={"parquet", "duckdb", "sql"},
            tags={"sealed": "false"},
            metadata={
                "dagster/column_schema": dg.TableSchema(
                    [dg.TableColumn(name, description=catalogue.column_descriptions()[name]) for name in fact.columns]
                ),
                "query": dg.MetadataValue.md(f"```sql\n{fact.sql}\n```"),
            },
            partitions_def=months,
        )
        for key in TopologicalSorter(lineage).static_order()
        if (fact := known.get(key)) is not None
    ]

    @dg.multi_asset(name="facts", specs=specs, backfill_policy=SPAN_IN_ONE_RUN)
    def facts(context: dg.AssetExecutionContext, writer: Writer) -> Iterator[dg.MaterializeResult[None]]:
        chosen = set(months_of(context))
        with trying_again(context), _stage("facts", context, writer):
            for month, rows_by_fact in _facts_made(context, writer):
                if month not in chosen:
                    continue
                for name, rows in rows_by_fact.items():
                    context.add_asset_metadata(
                        {"dagster/partition_row_count": rows}, asset_key=fact_key(name), partition_key=str(month)
                    )
        for spec in specs:
            yield dg.MaterializeResult(asset_key=spec.key)

    return facts


def _facts_made(context: dg.AssetExecutionContext, writer: Writer) -> Iterator[tuple[Month, Mapping[str, int]]]:
    months = _months_to_have(context, writer)
    if piping.is_on_spark(context):
        yield from piping.on_spark(context, writer, "facts", months, months[-1])
        return
    for compute in (building.compute_facts, building.compute_histories):  # these read those of every month
        yield from _side_by_side(writer, months, compute)


def _side_by_side(
    writer: Writer, parts: Sequence[Part], compute: Callable[[Lake, Registry, Part], T]
) -> Iterator[tuple[Part, T]]:
    """Compute parts that do not depend on each other, one a thread: small ones leave cores idle."""
    lake, registry = writer.lake(), writer.registry()
    workers = min(lake.threads, len(parts))
    if workers < 2:
        yield from ((part, compute(lake, registry, part)) for part in parts)
        return
    with ThreadPoolExecutor(workers) as pool:
        yield from zip(parts, pool.map(partial(compute, lake.shared_by(workers), registry), parts), strict=True)


def _read_by(fact: Fact, sources: Set[str]) -> list[dg.AssetKey]:
    """What the query of a fact reads: pseudonymised tables are named `<source>__<table>`, facts by their name."""
    read = {name.partition("__")[0] for name in fact.reads if "__" in name}
    told = {name.removesuffix(catalogue.EARLIER) for name in fact.reads}
    return [
        *(pseudonymised_key(name) for name in sorted(read & sources)),
        *(fact_key(name) for name in sorted(told & catalogue.facts().keys() - {fact.name})),
    ]


def indicator_values_asset(months: dg.MonthlyPartitionsDefinition) -> dg.AssetsDefinition:
    """Every value of every indicator, before protection."""

    @dg.asset(
        key=INDICATOR_VALUES,
        deps=[fact_key(name) for name in catalogue.facts()],
        description="Une ligne par mois, territoire, indicateur et modalité, avant protection : rien n'en est montré.",
        group_name="indicators",
        kinds={"parquet", "duckdb"},
        tags={"sealed": "false"},
        partitions_def=months,
        backfill_policy=SPAN_IN_ONE_RUN,
    )
    def indicator_values(context: dg.AssetExecutionContext, writer: Writer) -> dg.MaterializeResult[None]:
        chosen = set(months_of(context))
        with trying_again(context), _stage("values", context, writer):
            for month, values in _values_made(context, writer):
                if month not in chosen:
                    continue
                context.add_asset_metadata(
                    {
                        "dagster/partition_row_count": values.num_rows,
                        "indicators": len(values["indicator_code"].unique()),
                        "territories": len(values["territory_code"].unique()),
                    },
                    partition_key=str(month),
                )
        return dg.MaterializeResult(metadata={"dagster/column_schema": _arrow_schema(computing.VALUES_SCHEMA)})

    return indicator_values


def _values_made(context: dg.AssetExecutionContext, writer: Writer) -> Iterator[tuple[Month, pa.Table]]:
    months, last = _months_to_have(context, writer), plan_of(context, writer.lake()).last
    if piping.is_on_spark(context):
        for month, _ in piping.on_spark(context, writer, "values", months, last):
            yield month, writer.lake().read_parquet(computing.values_path(writer.lake(), month))
        return

    def compute(lake: Lake, registry: Registry, month: Month) -> pa.Table:
        return computing.compute_values(lake, registry, month, as_of=max(last, month))

    yield from _side_by_side(writer, months, compute)


def release_asset() -> dg.AssetsDefinition:
    """The published, versioned set of tables: protection, then publication, all or nothing."""

    @dg.asset(
        key=RELEASE,
        deps=[INDICATOR_VALUES],
        description="Les tables publiées : chaque nombre est protégé, chaque fichier est au manifeste.",
        group_name="publication",
        kinds={"duckdb", "parquet", "csv"},
        tags={"sealed": "false"},
        pool="publishing",
    )
    def release(
        context: dg.AssetExecutionContext, writer: Writer, publishing: PublishingDatabase
    ) -> dg.MaterializeResult[None]:
        with trying_again(context):
            planned = plan_of(context, writer.lake())
            with _stage("release", context, writer):
                published = _publish(writer.lake(), writer.registry(), planned, publishing)
        return dg.MaterializeResult(
            metadata={
                "release_id": published.release_id,
                "months": ", ".join(published.months),
                "rows": {name: table["rows"] for name, table in published.manifest["tables"].items()},
                "statuses": dict(published.manifest["certificate"]["statuses"]),
                "folder": dg.MetadataValue.path(str(published.folder)),
                "report": dg.MetadataValue.url((published.folder / "report" / "index.html").as_uri()),
                "database": dg.MetadataValue.path(str(published.folder / releasing.DATABASE)),
            }
        )

    return release


def _publish(lake: Lake, registry: Registry, planned: Plan, publishing: PublishingDatabase) -> Release:
    inputs = releasing.inputs_of(lake, registry, planned.published, read=planned.read)
    if existing := releasing.find(lake, inputs.release_id):
        return existing
    earlier = [one.table("indicator_values") for one in releasing.published_before(lake, inputs)]
    safe = protect(releasing.values_to_publish(lake, planned.published), registry, earlier)
    with publishing.connected() as connection:
        return releasing.release(
            lake,
            registry,
            inputs,
            safe,
            coverage=releasing.coverage_to_publish(lake, planned.published),
            connection=connection,
        )


def _stage(name: Stage, context: dg.AssetExecutionContext, writer: Writer) -> AbstractContextManager[None]:
    lake = writer.lake()
    return stage(name, lake, writer.registry(), plan_of(context, lake))


def _months_to_have(context: dg.AssetExecutionContext, writer: Writer) -> list[Month]:
    """The months of this run and all those of its release: a correction of one may have changed who is who in others.

    What has not changed is only recalled.
    """
    return sorted({*months_of(context), *plan_of(context, writer.lake()).published})


def months_of(context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> list[Month]:
    """The months of this run, oldest first."""
    return [Month.parse(key) for key in sorted(context.partition_keys)]


def plan_of(context: dg.AssetExecutionContext, lake: Lake) -> Plan:
    """The months of the release that this run leads to: the one it was told, else the newest one delivered."""
    told = context.run.tags.get(LAST_MONTH_TAG)
    return plan(lake, Month.parse(told) if told else None)


def account_metadata(account: Account) -> dict[str, int]:
    """Where the units of a source's files went."""
    return {"lines": account.lines, "accepted": account.accepted, "rejected": account.rejected}


def _receipts_metadata(receipts: Iterable[Receipt]) -> dict[str, Any]:
    """Counts of what the deliveries hold. Findings appear by code: where and what is for the depositor alone."""
    received = list(receipts)
    account = sum((receipt.account for receipt in received), Account())
    findings: Counter[str] = Counter()
    for receipt in received:
        findings.update(receipt.findings)
    return {
        "dagster/partition_row_count": account.accepted,
        "deliveries": len(received),
        "partners": ", ".join(sorted({receipt.partner for receipt in received})),
        **account_metadata(account),
        "findings": dict(findings.most_common()),
    }


def _quality_metadata(resolution: Resolution) -> dict[str, Any]:
    """How much was linked, and how: sizes of the work, never of a group of persons."""
    return {
        "dagster/row_count": resolution.records,
        **resolution.watched,
        **{
            f"{space} {name}": value
            for space, quality in resolution.spaces.items()
            for name, value in (
                ("match methods", dict(quality.by_match_method)),
                ("pairs to review", dict(quality.pairs_to_review)),
                ("numbers set aside", quality.demoted_numbers),
                ("candidate pairs", quality.candidate_pairs),
            )
        },
    }


def _contract_metadata(source: Source) -> dict[str, Any]:
    """The contract as Dagster shows schemas: the first table's columns, and every table by name."""
    tables = max(source.versions, key=lambda version: version.valid_from).resources
    schemas = {table.name: dg.TableSchema([_column(field) for field in table.stored_fields]) for table in tables}
    first, *others = schemas
    return {
        "dagster/column_schema": schemas[first],
        **{f"schema of {name}": schemas[name] for name in others},
        "controller": source.insertion.controller,
        "legal_basis": source.insertion.legal_basis,
        "purposes": ", ".join(source.insertion.purposes),
        "contract": dg.MetadataValue.path(f"data_sources/{source.family}/{source.name}.yaml"),
    }


def _column(field: ContractField) -> dg.TableColumn:
    extension = field.insertion
    return dg.TableColumn(
        name=field.name,
        type=field.type,
        description=field.description or field.title or None,
        constraints=dg.TableColumnConstraints(nullable=not field.constraints.required, unique=field.constraints.unique),
        tags={"use": extension.use} | ({"personal": ""} if extension.personal else {}),
    )


def _arrow_schema(schema: pa.Schema) -> dg.TableSchema:
    return dg.TableSchema([dg.TableColumn(name=field.name, type=str(field.type)) for field in schema])
