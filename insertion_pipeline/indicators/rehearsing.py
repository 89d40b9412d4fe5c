"""The catalogue computed over no row: what no reading of its text can see.

Belongs here: whether the engine takes every formula, whether every breakdown has the shape that it declares. Does not
belong here: what is refused at load (`catalogue`), any value (`computing`).
"""

from __future__ import annotations

from collections.abc import Iterable

import duckdb

from insertion_pipeline.indicators import building
from insertion_pipeline.indicators.catalogue import EARLIER, CompiledIndicator, compile_catalogue, facts, refusal
from insertion_pipeline.indicators.computing import AGGREGATE_MACROS
from insertion_pipeline.indicators.coverage import known_column
from insertion_pipeline.indicators.provenance import lineage
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry


def refuse_what_cannot_be_computed(registry: Registry, month: Month) -> None:
    """Raise `InvalidDataSources`, with file and line, for the first indicator that the engine would not take."""
    catalogue = compile_catalogue(registry)
    with in_memory() as connection:
        _make_empty_facts(connection, registry, month, {one.indicator.fact for one in catalogue})
        for statement in AGGREGATE_MACROS:
            connection.execute(statement)
        shapes = {name: _shapes(connection, name) for name in sorted({one.indicator.fact for one in catalogue})}
        for one in catalogue:
            for name, cut in one.breakdowns.items():
                is_list = shapes[one.indicator.fact][cut.column].endswith("[]")
                if is_list != cut.multivalued:
                    told = "a list: multivalued: true" if is_list else "no list: multivalued: false"
                    raise refusal(registry, one.indicator, f"breakdown {name!r}: {cut.column!r} is {told}")
            try:
                connection.execute(_terms(one))
            except duckdb.Error as error:
                reason = str(error).splitlines()[0].removeprefix("Binder Error: ")
                raise refusal(registry, one.indicator, reason) from None


def _make_empty_facts(
    connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month, names: Iterable[str]
) -> None:
    made_of = [facts()[name] for name in sorted({name for fact in names for name in lineage(fact)[0]})]
    for source in registry.sources.values():
        for table in source.versions[-1].resources:
            building.create_view(connection, f"{source.name}__{table.name}", table, "")
    connection.register("delivered_accounts", building.ACCOUNTS_SCHEMA.empty_table())
    building.register_context(connection, registry, month)
    for is_history in (False, True):  # those that follow persons read the others of earlier months
        for fact in building.in_order(one for one in made_of if one.is_history == is_history):
            connection.execute(f"CREATE TEMP TABLE {fact.name} AS {fact.sql}")
            connection.execute(f"CREATE TEMP VIEW {fact.name}{EARLIER} AS SELECT * FROM {fact.name}")


def _shapes(connection: duckdb.DuckDBPyConnection, fact: str) -> dict[str, str]:
    described = connection.sql(f"SELECT * FROM {fact}")
    return dict(zip(described.columns, map(str, described.types), strict=True))


def _terms(one: CompiledIndicator) -> str:
    """The terms of an indicator over its whole fact, as `computing` keeps them."""
    calls = ", ".join(f"{aggregate.sql} AS {aggregate.column}" for aggregate in one.aggregates)
    terms = [one.numerator, one.denominator, one.error]
    amounts = [f"CAST({term} AS DECIMAL(24, 6))" for term in terms if term is not None]
    known = known_column(one.indicator)
    rows = f"(SELECT *{f', true AS {known}' if known else ''} FROM {one.indicator.fact})"
    return f"SELECT {', '.join([*amounts, f'CAST({one.contributors} AS BIGINT)'])} FROM (SELECT {calls} FROM {rows})"
