"""Help about formats: a contract's columns for a page, and its file to fill in.

Belongs here: the renderings that pages and the API share. Does not belong here: the contract's own renderings
(`contracts.templates`, `contracts.pages`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from insertion_pipeline.contracts.messages import expected_form
from insertion_pipeline.contracts.rules import TableRules, table_rules
from insertion_pipeline.contracts.templates import csv_template, workbook_template
from insertion_pipeline.month import Month
from insertion_pipeline.portal import filling
from insertion_pipeline.registry import ContractField, Registry, Source


class NoTemplate(Exception):
    """The file comes out of a program, or has several tables where one was asked for."""


class Described(NamedTuple):
    """One table of a format: its columns with the form that is expected, its rules."""

    rules: TableRules
    columns: Sequence[tuple[ContractField, str]]
    discarded: Sequence[str]


def described(source: Source, registry: Registry, month: Month) -> list[Described]:
    """The tables of a source as its contract stands in `month`."""
    return [
        Described(
            rules,
            [(cell.field, expected_form(cell).replace("`", "")) for cell in rules.cells],
            [field.label for field in rules.table.fields if field.insertion.use == "none"],
        )
        for rules in (table_rules(table, registry, month) for table in source.version_for(month).resources)
    ]


def template_of(
    source: Source, registry: Registry, month: Month, kind: str, rows: Mapping[str, Sequence[Mapping[str, str]]]
) -> bytes:
    """The file to fill in, `xlsx` or `csv`; a source of several tables has no CSV. Raises `NoTemplate`."""
    if not filling.can_be_filled(source):
        raise NoTemplate
    if kind == "xlsx":
        return workbook_template(source, registry, month, rows)
    tables = source.version_for(month).resources
    if len(tables) > 1:
        raise NoTemplate
    return csv_template(tables[0])
