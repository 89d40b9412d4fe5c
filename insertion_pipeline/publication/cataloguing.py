"""The dictionary of a release: what its numbers and codes mean.

Belongs here: the rows of `indicators`, `breakdowns`, `territories`, `territory_links`, `territory_pieces` and
`coverage`. Does not belong here: the values (`disclosure`), what moved (`revising`), files (`writing`).
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure import SafeTable
from insertion_pipeline.disclosure.equations import TOTAL, UNCUT, is_additive
from insertion_pipeline.disclosure.thresholds import SENSITIVE_BREAKDOWN_THRESHOLD
from insertion_pipeline.indicators import territories
from insertion_pipeline.indicators.building import parameters_told
from insertion_pipeline.lake import in_memory
from insertion_pipeline.month import Month
from insertion_pipeline.publication import tables
from insertion_pipeline.registry import Registry


def indicators(registry: Registry, safe: SafeTable, last: Month) -> pa.Table:
    """One row per indicator of the catalogue; quantities are null for one without a value in this release.

    Dated parameters are those of the `last` month.
    """
    known = {row["indicator_code"]: row for row in safe.knowledge.indicators.to_pylist()}
    rows = []
    for family in registry.indicator_families:
        for one in family.indicators:
            told = known.get(one.code, {})
            rows.append(
                {
                    "code": one.code,
                    "label": one.label,
                    "definition": one.definition.strip(),
                    "numerator": one.numerator_label,
                    "denominator": one.denominator_label,
                    "unit": one.unit,
                    "kind": one.kind,
                    "axis": one.axis,
                    "reference_period": one.reference_period,
                    "source": " ".join(one.sources),
                    "exclusions": one.exclusions.strip(),
                    "reference": one.reference.strip(),
                    "purposes": " ; ".join(one.purposes),
                    "valid_from": str(one.valid_from),
                    "family": family.family,
                    "counted_unit": one.counted_unit,
                    "threshold": told.get("threshold", float(one.threshold)),
                    "minimum_denominator": one.minimum_denominator,
                    "adds_up_over_territories": one.additive_over_territories,
                    "numerator_quantity": told.get("numerator_quantity"),
                    "denominator_quantity": told.get("denominator_quantity"),
                    "parts": " ".join(one.parts),
                    "balance": " ".join(one.balance),
                    "aliases": " ".join(one.aliases),
                    "parameters": parameters_told(registry, one, last),
                    "status_of_definition": one.status_of_definition,
                    "series_breaks": one.told_breaks,
                }
            )
    return tables.INDICATORS.conform(pa.Table.from_pylist(rows, schema=tables.INDICATORS.schema))


def breakdowns(registry: Registry, values: pa.Table) -> pa.Table:
    """One row per breakdown and modality that is declared, or that stands in the values."""
    seen = values.select(["breakdown", "modality"]).group_by(["breakdown", "modality"]).aggregate([]).to_pylist()
    pairs = {(row["breakdown"], row["modality"]) for row in seen} | {(UNCUT, TOTAL)}
    pairs |= {(name, code) for name, one in registry.breakdowns.items() for code in one.modalities}
    rows = []
    for name, code in sorted(pairs):
        declared = registry.breakdowns.get(name)
        is_sensitive = declared is not None and declared.sensitivity == "sensitive"
        rows.append(
            {
                "breakdown": name,
                "modality": code,
                "label": declared.label if declared else ("Ensemble" if name == UNCUT else name),
                "modality_label": declared.modalities.get(code, code) if declared else "Ensemble",
                "adds_up": is_additive(registry, name),
                "threshold": float(SENSITIVE_BREAKDOWN_THRESHOLD) if is_sensitive else 0.0,
            }
        )
    return tables.BREAKDOWNS.conform(pa.Table.from_pylist(rows, schema=tables.BREAKDOWNS.schema))


def territories_named(registry: Registry, last: Month, *naming: pa.Table) -> pa.Table:
    """The territories that `naming` tables name in `territory_code`, and those above them."""
    with in_memory() as connection:
        every = territories.territories_table(connection, registry, last)
        connection.register("every", every)
        codes = pa.concat_tables([table.select(["territory_code"]) for table in naming])
        connection.register("named", codes)
        found = connection.sql(
            """
            WITH RECURSIVE cited AS (
                SELECT territory_code FROM named
                UNION
                SELECT parent_code FROM every JOIN cited USING (territory_code) WHERE parent_code IS NOT NULL
            )
            SELECT territory_code, substr(territory_code, 1, 2) AS country, territory_level,
                coalesce(label, territory_code) AS label, parent_code, population
            FROM cited LEFT JOIN every USING (territory_code)
            """
        ).to_arrow_table()
    return tables.TERRITORIES.conform(found)


def territory_links(links: pa.Table) -> pa.Table:
    """The links of the protected table, months drawn together into runs."""
    return tables.TERRITORY_LINKS.conform(_runs(links))


def territory_pieces(pieces: pa.Table) -> pa.Table:
    """What territories that cross each other have in common, months drawn together into runs."""
    return tables.TERRITORY_PIECES.conform(_runs(pieces))


def _runs(monthly: pa.Table) -> pa.Table:
    others = [name for name in monthly.column_names if name != "month"]
    runs = monthly.group_by(others).aggregate([("month", "min"), ("month", "max")])
    return runs.rename_columns({"month_min": "first_month", "month_max": "last_month"})


def open_sums(safe: SafeTable) -> pa.Table:
    """The wholes that are not the sum of their published parts."""
    return tables.OPEN_SUMS.conform(safe.knowledge.open_sums)


def coverage(registry: Registry, grids: pa.Table | None) -> pa.Table:
    """The coverage grid (reporting unit × source × month) with the names of its units; empty when there is none."""
    if grids is None:
        return tables.COVERAGE.schema.empty_table()
    partners = registry.partners
    names = [partners[code].name if code in partners else code for code in grids["unit"].to_pylist()]
    return tables.COVERAGE.conform(grids.append_column("unit_label", pa.array(names, pa.string())))


def dictionary() -> pa.Table:
    """Every column of every published table: one row per (table, column)."""
    return pa.Table.from_pylist(
        [
            {"table": table.name, "column": column.name, "type": column.type, "description": column.description}
            for table in tables.TABLES
            for column in table.columns
        ]
    )


def distinct(table: pa.Table, name: str) -> list[str]:
    """The distinct texts of a column, in order."""
    return sorted(pc.unique(table[name]).to_pylist())
