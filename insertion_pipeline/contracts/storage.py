"""How a contract's types are stored: Arrow, DuckDB, and the column descriptions that catalogues show.

Belongs here: the one mapping from contract type to stored type. Does not belong here: how text becomes a value
(`cells`), where a table lies (`lake`).
"""

from __future__ import annotations

from collections.abc import Mapping

import pyarrow as pa

from insertion_pipeline.registry import ContractField, ContractTable, FieldType

_ARROW: Mapping[FieldType, pa.DataType] = {
    "string": pa.string(),
    "integer": pa.int64(),
    "number": pa.float64(),
    "boolean": pa.bool_(),
    "date": pa.date32(),
    "datetime": pa.timestamp("us"),
    "yearmonth": pa.string(),
    "any": pa.string(),
}
_SQL: Mapping[FieldType, str] = {
    "string": "VARCHAR",
    "integer": "BIGINT",
    "number": "DOUBLE",
    "boolean": "BOOLEAN",
    "date": "DATE",
    "datetime": "TIMESTAMP",
    "yearmonth": "VARCHAR",
    "any": "VARCHAR",
}

#: What every accepted row carries beside its values: physical line, bundle member, month as `YYYY-MM` (or null).
ORIGIN_COLUMNS = pa.schema([("_line", pa.int64()), ("_member", pa.int32()), ("_month", pa.string())])


def arrow_type(field: ContractField) -> pa.DataType:
    """The Arrow type of the field's values."""
    return _ARROW[field.type]


def sql_type(field: ContractField) -> str:
    """The DuckDB type of the field's values."""
    return _SQL[field.type]


def arrow_schema(table: ContractTable) -> pa.Schema:
    """The typed columns of the fields that may be kept, in the contract's order, without `ORIGIN_COLUMNS`."""
    return pa.schema([(field.name, arrow_type(field)) for field in table.stored_fields])


def accepted_schema(table: ContractTable) -> pa.Schema:
    """The columns of the table's accepted rows: `arrow_schema`, then `ORIGIN_COLUMNS`."""
    return pa.schema([*arrow_schema(table), *ORIGIN_COLUMNS])


def column_descriptions(table: ContractTable) -> tuple[tuple[str, str, str], ...]:
    """(name, stored type, French description) of each stored column, for any catalogue that wants them."""
    return tuple(
        (field.name, sql_type(field), f"{field.label} — {field.description}" if field.description else field.label)
        for field in table.stored_fields
    )
