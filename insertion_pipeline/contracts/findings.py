"""What can be wrong with a delivery, said so that the person who must mend it can.

Belongs here: the finding, its table, its stable codes with their French titles. Does not belong here: finding
anything (`ingestion`), the sentences of one contract's own rules (its YAML file).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields

import pyarrow as pa

from insertion_pipeline.registry import Severity

#: Stable codes and their French titles. A code never changes meaning; new ones are added.
TITLES: dict[str, str] = {
    # the file as a whole
    "unknown-partner": "Partenaire inconnu",
    "wrong-source": "Type de fichier inattendu",
    "wrong-partner": "Le fichier concerne un autre territoire",
    "period-mismatch": "Le fichier concerne une autre période",
    "period-missing": "Mois à préciser",
    "month-outside-contract": "Mois non couvert par le format",
    "empty-file": "Fichier vide",
    "unreadable-archive": "Archive illisible",
    "archive-password": "Archive protégée par un mot de passe",
    "unsupported-format": "Format de fichier non pris en charge",
    "limit-exceeded": "Fichier hors limites",
    "encoding-error": "Encodage illisible",
    "missing-table": "Fichier manquant dans le lot",
    "duplicate-table": "Fichier en double dans le lot",
    "extra-table": "Fichier du lot non prévu",
    "missing-header": "Colonne manquante",
    "extra-header": "Colonne inconnue",
    "duplicate-header": "Colonne en double",
    "error-cell": "Cellules en erreur dans le classeur",
    "repeated-header": "Titres répétés",
    "unnamed-table": "Fichier dont le nom ne dit pas le contenu",
    "control-total": "Total de contrôle différent",
    "truncated-file": "Fichier tronqué",
    # a line
    "line-structure": "Ligne mal formée",
    "missing-cell": "Cellule manquante",
    "extra-cell": "Cellule en trop",
    "unbalanced-quote": "Guillemet non refermé",
    # a cell
    "required-value": "Valeur obligatoire absente",
    "type-error": "Type de valeur incorrect",
    "pattern-error": "Forme de valeur incorrecte",
    "code-error": "Code inconnu",
    "range-error": "Valeur hors bornes",
    "length-error": "Longueur incorrecte",
    "number-checksum": "Numéro invalide",
    "foreign-number": "Numéro d'un autre pays",
    "repaired-value": "Valeur réparée",
    "suspicious-text": "Caractères inhabituels",
    # rows together
    "duplicate-key": "Ligne en double",
    "reference-error": "Référence introuvable",
    "rule-error": "Incohérence",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing wrong with a delivery. `value` is shown to the depositor alone and masked everywhere else."""

    code: str
    severity: Severity
    message: str
    expected: str = ""
    remedy: str = ""
    file: str = ""
    table: str = ""
    line: int | None = None
    field: str = ""
    value: str | None = None
    rule: str = ""
    count: int = 1

    @property
    def title(self) -> str:
        return TITLES[self.code]


#: One row per finding. `file` is the bundle member's rank and view name, never a name that the depositor chose.
FINDINGS_SCHEMA = pa.schema(
    [
        ("code", pa.string()),
        ("severity", pa.string()),
        ("message", pa.string()),
        ("expected", pa.string()),
        ("remedy", pa.string()),
        ("file", pa.string()),
        ("table", pa.string()),
        ("line", pa.int64()),
        ("field", pa.string()),
        ("value", pa.string()),
        ("rule", pa.string()),
        ("count", pa.int64()),
    ]
)


def findings_table(findings: Iterable[Finding]) -> pa.Table:
    """The findings as a table of `FINDINGS_SCHEMA`, in the order given."""
    rows = [asdict(finding) for finding in findings]
    return pa.Table.from_pylist(rows, schema=FINDINGS_SCHEMA)


def findings_of(table: pa.Table) -> list[Finding]:
    """The rows of a table of `FINDINGS_SCHEMA` as findings."""
    names = [field.name for field in fields(Finding)]
    return [Finding(**row) for row in table.select(names).to_pylist()]
