"""A contract for people and for other tools: the page that explains a format, the plain Frictionless descriptor.

Belongs here: renderings that are read, not run. Does not belong here: the file to fill in (`templates`), rules.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from insertion_pipeline.contracts.messages import expected_form
from insertion_pipeline.contracts.rules import TableRules, table_rules
from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractField, ContractTable, Registry, Source

_ENVELOPES = {
    "delimited": "fichier texte (CSV)",
    "tabular": "fichier texte (CSV) ou classeur (XLSX)",
    "fluxiae": "lot de vues séparées par « | »",
    "cnaf_xml": "flux XML",
    "json": "fichier JSON",
}
_SEVERITIES = {"blocking": "la ligne est rejetée", "warning": "avertissement"}


def format_page(source: Source, registry: Registry, month: Month) -> str:
    """The Markdown page of a source, as its contract stands in `month`: who, what, every column, every rule."""
    extension = source.insertion
    lines = [
        f"# {source.title}",
        "",
        source.description,
        "",
        f"- Code : `{source.name}`, contrat valable depuis {source.version_for(month).valid_from}",
        f"- Enveloppe : {_ENVELOPES[extension.envelope]}",
        f"- Responsable de traitement : {extension.controller}",
        f"- Base légale : {extension.legal_basis}",
        f"- Échéance : le {extension.deadline_day} du mois suivant",
        f"- Fichier refusé au-delà de {extension.max_rejected_share:.0%} de lignes rejetées".replace("%", " %"),
    ]
    for table in source.version_for(month).resources:
        lines += ["", *_about_table(table_rules(table, registry, month))]
    if extension.totals:
        lines += ["", "| Total contrôlé | Ce qui est signalé | Attendu |", "|---|---|---|"]
        lines += [f"| `{one.code}` | {_cell(one.message)} | {_cell(one.expected)} |" for one in extension.totals]
    return "\n".join(lines) + "\n"


def frictionless_resource(table: ContractTable) -> dict[str, Any]:
    """The table as a plain Frictionless resource, for tools that know nothing of our extension."""
    schema: dict[str, Any] = {
        "fields": [_frictionless_field(field) for field in table.stored_fields],
        "missingValues": list(table.schema_.missingValues),
    }
    if table.schema_.primaryKey:
        schema["primaryKey"] = list(table.schema_.primaryKey)
    if table.schema_.foreignKeys:
        schema["foreignKeys"] = [key.model_dump(mode="json") for key in table.schema_.foreignKeys]
    return {"name": table.name, "title": table.title, "description": table.description, "schema": schema}


def _about_table(rules: TableRules) -> Iterator[str]:
    table = rules.table
    yield f"## {table.title or table.name}"
    yield ""
    yield table.description
    yield ""
    yield "| Colonne | Obligatoire | Ce que c'est | Attendu | Exemple | Autres titres compris |"
    yield "|---|---|---|---|---|---|"
    for cell in rules.cells:
        field = cell.field
        cells = (
            field.label, "oui" if field.constraints.required else "non", field.description, expected_form(cell),
            f"`{field.example}`" if field.example else "", " · ".join(_other_titles(field)),
        )  # fmt: skip
        yield "| " + " | ".join(_cell(text) for text in cells) + " |"
    if discarded := [field.label for field in table.fields if field.insertion.use == "none"]:
        yield ""
        yield f"Colonnes reconnues et abandonnées dès la lecture : {', '.join(_cell(label) for label in discarded)}."
    if rules.rules:
        yield ""
        yield "| Règle | Ce qui est signalé | Attendu | Suite |"
        yield "|---|---|---|---|"
        for rule in rules.rules:
            told = (f"`{rule.code}`", rule.message, rule.expected, _SEVERITIES[rule.severity])
            yield "| " + " | ".join(_cell(text) for text in told) + " |"


def _other_titles(field: ContractField) -> Iterator[str]:
    """Further titles that name the column: a partner's own, the contract's where the partner has one, the aliases."""
    yield from field.insertion.headers[1:]
    if field.insertion.headers and field.title:
        yield field.title
    yield from (field.name, *field.insertion.aliases)


def _frictionless_field(field: ContractField) -> dict[str, Any]:
    descriptor: dict[str, Any] = {"name": field.name, "type": field.type, "title": field.label}
    if field.format != "default":
        descriptor["format"] = field.format
    if field.description:
        descriptor["description"] = field.description
    if field.example:
        descriptor["example"] = field.example
    if field.type == "boolean":
        descriptor |= {"trueValues": list(field.trueValues), "falseValues": list(field.falseValues)}
    if field.type == "number":
        descriptor["decimalChar"] = field.decimalChar
        if field.groupChar is not None:
            descriptor["groupChar"] = field.groupChar
    if constraints := field.constraints.model_dump(mode="json", exclude_defaults=True):
        descriptor["constraints"] = constraints
    return descriptor


def _cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())
