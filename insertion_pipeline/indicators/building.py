"""Facts from pseudonymised rows: each is one query, run in the order in which they read each other.

Belongs here: laying the pseudonymised tables out for the fact queries, what every fact may read beside them, where
facts are kept. Does not belong here: what a fact counts (`facts/*.sql`), values (`computing`).

Facts of a month read pseudonymised rows up to that month. Those that follow persons over the months (`histories`) read
facts of earlier months instead, which are smaller: they are built once every month's own facts are there.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import Any

import duckdb
import pyarrow as pa

from insertion_pipeline import making
from insertion_pipeline.indicators.catalogue import (
    EARLIER,
    MONTHS_BACK,
    MONTHS_FOLLOWED,
    Fact,
    facts,
    with_dependencies,
)
from insertion_pipeline.ingestion import deliveries
from insertion_pipeline.lake import Lake, ParquetFile, remembered_sha256_of
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable, Indicator, Registry

#: A fact of more rows is read again from its file: the connection keeps no copy.
_ROWS_KEPT_IN_MEMORY = 200_000

#: How far a definition is established, as readers are told.
STATUSES: Mapping[str, str] = {
    "found": "texte trouvé", "practice": "pratique observée", "to_be_confirmed": "à confirmer",
}  # fmt: skip

#: What every row about a person is completed with.
PERSON_BANDS = """
    CASE person_sex WHEN '1' THEN 'M' WHEN '2' THEN 'F' END AS sex,
    CASE WHEN person_age < 26 THEN 'Y_LT26' WHEN person_age < 50 THEN 'Y26T49' WHEN person_age >= 50 THEN 'Y_GE50' END
        AS age_band"""


def compute_facts(lake: Lake, registry: Registry, month: Month) -> Mapping[str, int]:
    """Have `lake/facts/<fact>/<month>.parquet` for every fact of one month; returns their numbers of rows.

    One whose query and rows are those that it was made of stays (`making`). Facts that follow persons over the months
    are left to `compute_histories`.
    """
    tables = {rows.name: rows for rows in pseudonymised_rows(lake, registry, month)}
    accounts = delivered_accounts(lake, registry, month)

    def lay_out(connection: duckdb.DuckDBPyConnection) -> None:
        open_pseudonymised(connection, lake, registry, month)
        connection.register("delivered_accounts", accounts)

    read = {name: _digests(rows.files) for name, rows in tables.items()}
    read["delivered_accounts"] = accounts.to_pylist()
    return _have(lake, registry, month, {one for one in facts().values() if not one.is_history}, read, lay_out)


def compute_histories(lake: Lake, registry: Registry, month: Month) -> Mapping[str, int]:
    """Have the facts that follow persons over the months up to `month`, from the facts of those months."""
    followed = facts_followed(lake, month)

    def lay_out(connection: duckdb.DuckDBPyConnection) -> None:
        for name, files in followed.items():
            is_there = bool(files)
            # without any earlier month, the fact's columns still come from the month's own file
            rows = lake.scan(connection, files or [fact_path(lake, name.removesuffix(EARLIER), month)])
            connection.execute(f"CREATE VIEW {name} AS SELECT * FROM {rows} WHERE {str(is_there).lower()}")

    read = {name: _digests(files) for name, files in followed.items()}
    return _have(lake, registry, month, {one for one in facts().values() if one.is_history}, read, lay_out)


def facts_followed(lake: Lake, month: Month) -> Mapping[str, Sequence[ParquetFile]]:
    """What facts that follow persons read: facts of the month, and `<fact>__earlier` of the months before."""
    followed: dict[str, Sequence[ParquetFile]] = {}
    for name in sorted({table for one in facts().values() if one.is_history for table in one.reads}):
        known = facts().get(name.removesuffix(EARLIER))
        if known is not None and not known.is_history:
            followed[name] = (
                earlier_files(lake, known.name, month) if name.endswith(EARLIER) else [fact_path(lake, name, month)]
            )
    return followed


def earlier_files(lake: Lake, fact: str, month: Month) -> Sequence[ParquetFile]:
    """The rows of a fact in the `MONTHS_FOLLOWED` months before `month`, of those that are there."""
    files = [fact_path(lake, fact, month.plus(-back)) for back in range(1, MONTHS_FOLLOWED + 1)]
    return [file for file in files if file.path.exists()]


def _have(
    lake: Lake,
    registry: Registry,
    month: Month,
    wanted: Iterable[Fact],
    read: Mapping[str, Any],
    lay_out: Callable[[duckdb.DuckDBPyConnection], None],
) -> Mapping[str, int]:
    """Build in order those facts whose inputs have changed, each to its file.

    `read`: the digests of what facts read, by name; `lay_out` makes it readable, when there is something to build. A
    fact that is large, or was there already, is read from its file by those that come after.
    """
    known, rows = dict(read), dict[str, int]()
    with ExitStack() as at_work:
        connection: duckdb.DuckDBPyConnection | None = None
        for fact in in_order(wanted):
            path, name = fact_path(lake, fact.name, month), f"facts/{fact.name}/{month}"
            inputs = {table: known.get(table) for table in sorted(fact.reads)}
            made_of = making.digest_of(fact.sql, str(month), registry.digest, inputs)
            made = making.recall(lake, name, made_of)
            if made is None:
                if connection is None:
                    connection = at_work.enter_context(_connected(lake))
                    lay_out(connection)
                    register_context(connection, registry, month)
                    for earlier in rows:
                        _read_again(connection, lake, earlier, month)
                counted = lake.write_query(connection, fact.sql, path.path)
                made = making.remember(lake, name, made_of, [path.path], {"rows": counted})
                _read_again(connection, lake, fact.name, month, is_kept=counted <= _ROWS_KEPT_IN_MEMORY)
            elif connection is not None:
                _read_again(connection, lake, fact.name, month)
            rows[fact.name] = int(made.counted["rows"])
            known[fact.name] = list(made.files.values())
    return rows


def _read_again(
    connection: duckdb.DuckDBPyConnection, lake: Lake, fact: str, month: Month, *, is_kept: bool = False
) -> None:
    """Make a fact readable by its name from its file; one that is kept, from memory."""
    kind = "TEMP TABLE" if is_kept else "VIEW"
    rows = lake.scan(connection, [fact_path(lake, fact, month)])
    connection.execute(f"CREATE {kind} {fact} AS SELECT * FROM {rows}")


def _digests(files: Iterable[ParquetFile]) -> list[str]:
    """What files hold: their names, which tell their months, and their digests."""
    return [f"{file.path.name} {remembered_sha256_of(file.path)}" for file in files]


@contextmanager
def _connected(lake: Lake) -> Iterator[duckdb.DuckDBPyConnection]:
    with lake.connect() as connection:
        connection.execute("SET preserve_insertion_order = false")
        yield connection


def fact_path(lake: Lake, fact: str, month: Month) -> ParquetFile:
    """Where the rows of a fact for a month are."""
    return ParquetFile(lake.open_area / "facts" / fact / f"{month}.parquet")


def in_order(wanted: Iterable[Fact]) -> Iterator[Fact]:
    """The facts, each after those that it reads."""
    chosen = {fact.name: fact for fact in wanted}
    dependencies = {name: sorted(fact.reads & chosen.keys()) for name, fact in sorted(chosen.items())}
    yield from (chosen[name] for name in TopologicalSorter(dependencies).static_order())


def build_facts(
    connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month, names: Iterable[str] | None = None
) -> None:
    """Create one temporary table per fact (all of them, or `names` and what they read) from the open views."""
    register_context(connection, registry, month)
    known = facts()
    for fact in in_order(known[name] for name in (known if names is None else with_dependencies(names))):
        connection.execute(f"CREATE TEMP TABLE {fact.name} AS {fact.sql}")


_PARAMETER = re.compile(r"\bparameters\.([a-z_]+)")


def parameters_told(registry: Registry, indicator: Indicator, month: Month) -> str:
    """The parameters of an indicator and of its fact, as readers are told them in French: name = value unit (status).

    A parameter of the fact has a status of its own, one of the indicator that of its definition: none is presented as
    official.
    """
    read = {
        name
        for fact in with_dependencies({indicator.fact} & facts().keys())
        for name in _PARAMETER.findall(facts()[fact].sql)
    }
    of_fact = [
        f"{row['label']} = {_quantity(row['value'], row['unit'])} ({STATUSES[row['status']]})"
        for row in registry.nomenclature("indicator_parameters").records(month)
        if row["code"] in read
    ]
    status = STATUSES[indicator.status_of_definition]
    own = [
        f"{PARAMETER_NAMES.get(name, name)} = {_quantity(str(value), '')} ({status})"
        for name, value in sorted(indicator.parameters.items())
    ]
    return " ; ".join([*own, *of_fact])


def _quantity(value: str, unit: str) -> str:
    """A number and its unit as French writes them: a decimal comma, one unit below two."""
    told = _SINGULAR.get(unit, unit) if abs(float(value)) < 2 else unit
    return f"{value.replace('.', ',')} {told}".rstrip()


#: Units of parameters of which there are fewer than two; a share has none.
_SINGULAR: Mapping[str, str] = {"heures": "heure", "part": ""}

#: How readers are told the parameters that indicators name in their formulas.
PARAMETER_NAMES: Mapping[str, str] = {
    "limit_days": "Délai limite, en jours",
    "linkage_miss_share": "Part de rapprochements manqués",
    "minimum_followed": "Personnes suivies par référent, au moins",
    "minimum_referents": "Référents, au moins",
    "most_followed": "Personnes suivies par référent, au plus",
}


# -- what facts read ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PseudonymisedRows:
    """What facts of a month read of one table: `<source>__<table>`, its contract's, and the files that there are."""

    name: str
    table: ContractTable
    files: Sequence[ParquetFile]


def pseudonymised_rows(lake: Lake, registry: Registry, month: Month) -> Iterator[PseudonymisedRows]:
    """Every pseudonymised table that facts of `month` read.

    One that facts read over the months has `MONTHS_BACK` of them up to `month`; any other, the month alone.
    """
    read = {table for fact in facts().values() for table in fact.reads}
    over_months = {table for fact in facts().values() for table in fact.reads_over_months}
    for source in registry.sources.values():
        if month < source.first_month:
            continue
        for table in source.version_for(month).resources:
            name = f"{source.name}__{table.name}"
            if name not in read:
                continue
            folder = lake.open_area / "pseudonymised" / source.name / table.name
            back = range(MONTHS_BACK if name in over_months else 1)
            files = [ParquetFile(folder / f"{month.plus(-lag)}.parquet") for lag in back]
            yield PseudonymisedRows(name, table, [file for file in files if file.path.exists()])


def open_pseudonymised(connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, month: Month) -> None:
    """Create the views `<source>__<table>`: every pseudonymised row of the months up to `month` that facts look at.

    A view has every column of its contract's pseudonymised schema; a table that nobody delivered is an empty view.
    """
    for rows in pseudonymised_rows(lake, registry, month):
        create_view(connection, rows.name, rows.table, lake.scan(connection, rows.files) if rows.files else "")


def create_view(connection: duckdb.DuckDBPyConnection, name: str, table: ContractTable, rows: str) -> None:
    """Create the view `name` over the relation `rows` (SQL; empty for no row), completed to its contract's columns.

    Two columns are added, `sex` (M, F) and `age_band` at the last day of the row's month: < 26, 26–49, >= 50.
    """
    from insertion_pipeline.identity import pseudonymising

    connection.register(f"{name}__columns", pseudonymising.schema(table).empty_table())
    union = f" UNION ALL BY NAME SELECT * FROM {rows}" if rows else ""
    connection.execute(f"CREATE VIEW {name} AS SELECT *, {PERSON_BANDS} FROM (SELECT * FROM {name}__columns{union})")


def register_context(connection: duckdb.DuckDBPyConnection, registry: Registry, month: Month) -> None:
    """The small relations that every fact may read: `period`, `parameters`, `reporting_units`, code lists."""
    for name, table in context(registry, month).items():
        connection.register(name, table)


def context(registry: Registry, month: Month) -> Mapping[str, pa.Table]:
    """The small relations that every fact may read, by name."""
    parameters = {
        row["code"]: [float(row["value"])] for row in registry.nomenclature("indicator_parameters").records(month)
    }
    partners = list(registry.partners.values())
    return {
        "period": pa.table(
            {
                "month": [str(month)],
                "previous_month": [str(month.plus(-1))],
                "first_day": [month.first_day],
                "last_day": [month.last_day],
                "rolling_year_start": [month.plus(-11).first_day],
            }
        ),
        "parameters": pa.table(parameters),
        **{name: _dated(registry, name, month) for name in _CODE_LISTS},
        "reporting_units": pa.table(
            {
                "unit": pa.array([one.code for one in partners], pa.string()),
                "family": pa.array([one.family for one in partners], pa.string()),
                "siret": pa.array([one.siret for one in partners], pa.string()),
                "territory_code": pa.array([one.territory_code for one in partners], pa.string()),
            }
        ),
    }


#: The dated code lists that facts read.
_CODE_LISTS = ("etp_reference_hours", "orientation_bodies", "siae_networks")


def _dated(registry: Registry, name: str, month: Month) -> pa.Table:
    nomenclature = registry.nomenclature(name)
    rows = list(nomenclature.records(month))
    return pa.table({column: pa.array([row[column] for row in rows], pa.string()) for column in nomenclature.columns})


ACCOUNTS_SCHEMA = pa.schema(
    [
        ("space", pa.string()),
        ("partner", pa.string()),
        ("source", pa.string()),
        ("lines", pa.int64()),
        ("accepted", pa.int64()),
        ("rejected", pa.int64()),
        ("records", pa.int64()),
        ("uncertain_records", pa.int64()),
    ]
)


def delivered_accounts(lake: Lake, registry: Registry, month: Month) -> pa.Table:
    """The relation `delivered_accounts`: where the lines of the deliveries made for the month went.

    `records`, `uncertain_records`: of the partner, source and month, those whose person is known, and among them those
    that a pair to review keeps uncertain; null where no record speaks of a person.
    """
    everything = deliveries.received(lake)
    doubts = _doubts(lake, month)
    rows = [
        {
            "space": registry.partners[receipt.partner].space,
            "partner": receipt.partner,
            "source": source.name,
            "lines": receipt.account.lines,
            "accepted": receipt.account.accepted,
            "rejected": receipt.account.rejected,
        }
        # of several deliveries of one partner and source, one carries the records of all
        | doubts.pop((receipt.partner, source.name), {})
        for source in registry.sources.values()
        for receipt in deliveries.effective(everything.of_source(source.name), source, month)
        if receipt.month == month and receipt.partner in registry.partners
    ]
    return pa.Table.from_pylist(rows, schema=ACCOUNTS_SCHEMA)


def _doubts(lake: Lake, month: Month) -> dict[tuple[str, str], dict[str, int]]:
    """By partner and source: records of the month, and uncertain ones; empty before anybody was linked."""
    from insertion_pipeline.identity.quality import doubts_file  # drags the linkage in

    file = doubts_file(lake)
    if not file.path.exists():
        return {}
    rows = lake.read_parquet(file).to_pylist()
    return {
        (row["partner"], row["source"]): {name: row[name] for name in ("records", "uncertain_records")}
        for row in rows
        if row["month"] == str(month)
    }
