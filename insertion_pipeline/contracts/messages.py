"""What is wrong, what was expected, what to do: the French sentences of findings about cells and rows.

Belongs here: sentences in Validata's manner (what is wrong — « la forme attendue est … »), and masking. Does not
belong here: sentences about files, headers and lines (the readers know those), a contract's own rules (its YAML file).

A sentence never holds a value of the file: it is the same for every row, and may be logged.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.registry import ContractField, Rule, Source

if TYPE_CHECKING:
    from insertion_pipeline.contracts.cells import Cell, Flaw

_TYPES = {
    "integer": "un nombre entier, comme `12`",
    "number": "un nombre, comme `12,5`",
    "boolean": "oui ou non",
    "yearmonth": "`aaaa-mm`, comme `2026-09`",
}
_REPAIRS = {
    "excel-serial": (
        "un nombre de tableur a été lu comme une date",
        "Mettez la colonne au format Date dans le tableur.",
    ),
    "scientific": (
        "une notation scientifique a été lue comme un numéro",
        "Mettez la colonne au format Texte avant de saisir les numéros.",
    ),
    "trailing-zero": (
        "des décimales nulles ont été retirées d'un numéro",
        "Mettez la colonne au format Texte avant de saisir les numéros.",
    ),
    "leading-zeros": (
        "des zéros perdus au début ont été rétablis",
        "Mettez la colonne au format Texte pour que les zéros du début restent.",
    ),
    "date-forms": ("une date d'une autre forme a été comprise", "Écrivez les dates sous la forme attendue."),
    "first-of-month": ("une date a été lue comme son mois", "Écrivez le mois seul, dans une colonne au format Texte."),
}
#: How many codes an expected form names before it says where the list is.
_NAMED_CODES = 12


@dataclass(frozen=True, slots=True)
class Wording:
    """The three sentences of a finding."""

    message: str
    expected: str
    remedy: str


def wording_of_flaw(cell: Cell, flaw: Flaw) -> Wording:
    """The sentences for one flaw of one field."""
    label, expected = f"« {cell.field.label} »", expected_form(cell)
    remedy = cell.field.insertion.remedy
    if flaw.is_repair:
        done, advice = _REPAIRS[flaw.repair]
        return Wording(f"{label} : {done}.", expected, advice)
    number = {"nir": "NIR", "niss": "NISS"}.get(cell.field.insertion.identifier or "", "")
    other = "NISS, numéro belge" if number == "NIR" else "NIR, numéro français"
    message, advice = {
        "required-value": (f"{label} est obligatoire et manque.", "Complétez la cellule."),
        "type-error": (
            f"{label} : {_kind(cell.field)} — la forme attendue est {expected}.",
            "Corrigez la valeur.",
        ),
        "pattern-error": (f"{label} n'a pas la forme attendue — {expected}.", "Corrigez la valeur."),
        "code-error": (f"{label} : code inconnu — attendu : {expected}.", "Choisissez un code de la liste."),
        "length-error": (f"{label} n'a pas la longueur attendue : {expected}.", "Corrigez la valeur."),
        "range-error": (f"{label} est hors des bornes : {expected}.", "Vérifiez la valeur."),
        "number-checksum": (
            f"{label} : la clé de contrôle ne correspond pas, le numéro est ignoré.",
            f"Recopiez le {number} d'un document officiel, ou laissez la cellule vide.",
        ),
        "foreign-number": (
            f"{label} : la valeur est un {other}, elle est ignorée.",
            f"Laissez la cellule vide si la personne n'a pas de {number}.",
        ),
    }[flaw.finding_code]
    return Wording(message, expected, remedy or _with_meaning(cell.field, flaw, advice))


def _with_meaning(field: ContractField, flaw: Flaw, advice: str) -> str:
    """The advice, and what the column holds: a form alone does not tell a secretary what to look for."""
    says_form = flaw.finding_code in ("type-error", "pattern-error", "length-error", "range-error", "required-value")
    return f"{advice} La colonne attend : {field.description}" if says_form and field.description else advice


def wording_of_rule(rule: Rule) -> Wording:
    """The sentences of a contract's own rule."""
    return Wording(rule.message, rule.expected, rule.remedy)


def expected_form(cell: Cell) -> str:
    """What a good value looks like, in one short phrase."""
    field, constraints = cell.field, cell.field.constraints
    if field.insertion.identifier is not None:
        return "treize ou quinze caractères" if field.insertion.identifier == "nir" else "onze chiffres"
    if cell.codes is not None:
        named = [f"`{code}`" for code in cell.codes[:_NAMED_CODES]]
        rest = f" … ({len(cell.codes)} codes, voir le modèle)" if len(cell.codes) > _NAMED_CODES else ""
        return ", ".join(named) + rest
    if field.type in ("date", "datetime"):
        return f"`{written_date_form(field.format)}`" + (f", comme `{field.example}`" if field.example else "")
    parts = []
    if field.type in _TYPES:
        parts.append(_TYPES[field.type])
    elif constraints.pattern is not None:
        parts.append(f"une valeur comme `{field.example}`" if field.example else f"de la forme `{constraints.pattern}`")
    elif constraints.minLength is not None or constraints.maxLength is not None:
        least, most = constraints.minLength or 0, constraints.maxLength
        parts.append(f"au plus {most} caractères" if least == 0 else f"de {least} à {most or '…'} caractères")
    if constraints.minimum is not None or constraints.maximum is not None:
        parts.append(_between(constraints.minimum, constraints.maximum))
    return ", ".join(parts) or (f"une valeur, comme `{field.example}`" if field.example else "une valeur")


def written_date_form(form: str) -> str:
    """A strptime form as the French write it: `jj/mm/aaaa`."""
    written = form if form != "default" else "%Y-%m-%d"
    for directive, letters in (
        ("%d", "jj"), ("%m", "mm"), ("%Y", "aaaa"), ("%H", "hh"), ("%M", "mm"), ("%S", "ss"), ("%f", "0"),
    ):  # fmt: skip
        written = written.replace(directive, letters)
    return written


def masked(finding: Finding, source: Source) -> Finding:
    """The finding as anybody but the depositor may see it: without a value that speaks of a person.

    A value stays when the contract has its field and says that it is not personal. Unknown header texts count as
    personal: they stand in `value` without a field.
    """
    if finding.value is None or _is_harmless(finding, source):
        return finding
    return replace(finding, value="•••")


def _is_harmless(finding: Finding, source: Source) -> bool:
    fields = [
        field
        for version in source.versions
        for table in version.resources
        if table.name == finding.table
        for field in table.fields
        if field.name == finding.field
    ]
    return bool(fields) and all(field.insertion.use == "fact" and not field.insertion.personal for field in fields)


def _kind(field: ContractField) -> str:
    return {
        "date": "format de date incorrect",
        "datetime": "format de date et d'heure incorrect",
        "yearmonth": "format de mois incorrect",
        "boolean": "ni oui ni non",
        "integer": "ce n'est pas un nombre entier",
        "number": "ce n'est pas un nombre",
    }.get(field.type, "type de valeur incorrect")


def _between(low: str | float | None, high: str | float | None) -> str:
    if low is None:
        return f"au plus {_number(high)}"
    return f"au moins {_number(low)}" if high is None else f"entre {_number(low)} et {_number(high)}"


def _number(value: str | float | None) -> str:
    return re.sub(r"\.0$", "", str(value)).replace(".", ",") if isinstance(value, float) else str(value)
