"""The shape of one delivery: how many rows, filled cells, codes; never a value of a personal field.

Belongs here: counting, and keeping the counts beside the delivery's tables, under its key. Does not belong here: what
shape is an ordinary one (`drift`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.ingestion import content, deliveries
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.registry import ContractField, ContractTable, Registry

#: One row per table (`field` empty: its rows), per field (`code` empty: its filled cells) and per code of a field.
PROFILE_SCHEMA = pa.schema(
    [
        ("table", pa.string()),
        ("field", pa.string()),
        ("code", pa.string()),
        ("count", pa.int64()),
        ("median", pa.float64()),
    ]
)
#: Tables with more rows are read one column at a time.
_ROWS_AT_ONCE = 500_000


def profile(lake: Lake, registry: Registry, receipt: Receipt) -> pa.Table:
    """The profile of a kept delivery, rows of `PROFILE_SCHEMA`; counted once, then read.

    Raises `CannotRebuild` or `ContentErased` for a delivery whose tables are gone for ever.
    """
    folder = deliveries.ensure(lake, registry, receipt)
    key = content.existing_data_key(lake, registry.partner(receipt.partner), receipt.sha256)
    summary = json.loads((folder / "summary.json").read_bytes())
    named = hashlib.sha256(json.dumps(summary["files"], sort_keys=True).encode()).hexdigest()[:16]
    path = folder / f"profile-{named}.parquet"
    if path.exists():
        return lake.read_parquet(ParquetFile(path, key))
    source = registry.source(receipt.source)
    when = max(receipt.month or source.latest_month, source.first_month)
    rows = [
        row
        for table in source.version_for(when).resources
        if f"{table.name}.parquet" in summary["files"]
        for row in _counts(lake, ParquetFile(folder / f"{table.name}.parquet", key), table)
    ]
    counted = pa.Table.from_pylist(rows, schema=PROFILE_SCHEMA)
    lake.write_parquet(path, counted, key=key, durable=False)
    for older in folder.glob("profile-*.parquet"):
        if older != path:
            older.unlink()
    return counted


def is_coded(field: ContractField) -> bool:
    """Whether the codes of a field may be counted: a closed list, and nothing that says who somebody is."""
    return _is_open(field) and bool(field.insertion.code_list or field.constraints.enum)


def is_measured(field: ContractField) -> bool:
    """Whether the values of a field may be summed up by their median."""
    return _is_open(field) and field.type in ("integer", "number") and not is_coded(field)


def _is_open(field: ContractField) -> bool:
    return field.insertion.use == "fact" and not field.insertion.personal and field.insertion.person is None


def _counts(lake: Lake, file: ParquetFile, table: ContractTable) -> Iterator[Mapping[str, object]]:
    rows = lake.read_parquet(file, columns=[]).num_rows
    yield {"table": table.name, "field": "", "code": "", "count": rows}
    names = [field.name for field in table.stored_fields]
    together = lake.read_parquet(file, columns=names) if rows <= _ROWS_AT_ONCE else None
    for field in table.stored_fields:
        cells = (together if together is not None else lake.read_parquet(file, columns=[field.name]))[field.name]
        filled = len(cells) - cells.null_count
        told = {"table": table.name, "field": field.name}
        median = pc.approximate_median(cells).as_py() if filled and is_measured(field) else None
        yield {**told, "code": "", "count": filled, "median": median}
        if is_coded(field):
            for entry in pc.value_counts(cells.cast(pa.string()).drop_null()).to_pylist():
                yield {**told, "code": entry["values"], "count": entry["counts"]}
