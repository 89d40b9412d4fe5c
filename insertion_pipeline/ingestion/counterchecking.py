"""The accepted rows under the second engine: what SQL let through, pandera must let through too.

Belongs here: validating a delivery's typed rows with the pandera schemas of its contract, failures by field and check.
Does not belong here: deciding rows (`conforming` does, in SQL), the schemas (`contracts.dataframes`).

Files up to `ROWS_CHECKED` rows are checked whole, of larger ones every n-th row. Failures are counted, never quoted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from insertion_pipeline import making
from insertion_pipeline.contracts.dataframes import typed_schema
from insertion_pipeline.contracts.rules import TableRules, table_rules
from insertion_pipeline.contracts.storage import arrow_schema
from insertion_pipeline.ingestion import content, deliveries
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.registry import ContractTable, Registry, Source

if TYPE_CHECKING:
    import pandera.pandas as pandera

#: pandera checks 120 000 rows a second (measured); a national fluxIAE bundle has millions.
ROWS_CHECKED = 100_000


@dataclass(frozen=True)
class Countercheck:
    """What pandera says of deliveries: rows looked at, and how many cells failed by table, field and check."""

    rows: int
    failures: Counter[tuple[str, str, str]]


def countercheck(lake: Lake, registry: Registry, source: Source, receipts: Sequence[Receipt]) -> Countercheck:
    """Validate the accepted rows of applied deliveries of `source`. Imports pandas and pandera.

    Deliveries of months with the same rules are validated together: preparing a schema costs more than a month's rows.
    When nothing failed, none of them is validated again as long as its rows and the declarations stay.
    """
    rows, failures = 0, Counter[tuple[str, str, str]]()
    alike: dict[Hashable, tuple[TableRules, list[pa.Table]]] = {}
    passed: dict[str, tuple[str, int]] = {}
    for receipt in receipts:
        name = f"contract_holds/{receipt.sequence}"
        made_of = making.digest_of(registry.digest, source.name, dict(deliveries.tables_kept(lake, receipt)))
        known = making.recall(lake, name, made_of)
        if known is not None:
            rows += int(known.counted["rows"])
            continue
        looked_at = 0
        month = receipt.month or source.latest_month
        for table in source.version_for(month).resources:
            if receipt.rows.get(table.name):
                rules = table_rules(table, registry, month)
                key = (table.name, id(table), tuple(cell.codes for cell in rules.cells))
                accepted = _thinned(_accepted(lake, registry, receipt, table))
                looked_at += accepted.num_rows
                alike.setdefault(key, (rules, []))[1].append(accepted)
        passed[name] = made_of, looked_at
    for rules, together in alike.values():
        for (field, check), count in _failures(typed_schema(rules), pa.concat_tables(together)).items():
            failures[rules.table.name, field, check] += count
    rows += sum(looked_at for _, looked_at in passed.values())
    if not failures:
        for name, (made_of, looked_at) in passed.items():
            making.remember(lake, name, made_of, [], {"rows": looked_at})
    return Countercheck(rows, failures)


def _accepted(lake: Lake, registry: Registry, receipt: Receipt, table: ContractTable) -> pa.Table:
    key = content.existing_data_key(lake, registry.partner(receipt.partner), receipt.sha256)
    folder = deliveries.ensure(lake, registry, receipt)
    return lake.read_parquet(ParquetFile(folder / f"{table.name}.parquet", key), columns=arrow_schema(table).names)


def _thinned(rows: pa.Table) -> pa.Table:
    if rows.num_rows <= ROWS_CHECKED:
        return rows
    return rows.take(np.linspace(0, rows.num_rows - 1, ROWS_CHECKED, dtype=np.int64))


def _failures(schema: pandera.DataFrameSchema, rows: pa.Table) -> Counter[tuple[str, str]]:
    from pandera.errors import SchemaErrors

    try:
        schema.validate(rows.to_pandas(), lazy=True)
    except SchemaErrors as errors:
        cases = errors.failure_cases
        return Counter(zip(cases["column"].astype(str), cases["check"].astype(str), strict=True))
    return Counter()
