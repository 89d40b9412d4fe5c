"""The published tables: every column, said once.

Belongs here: names, types, order and French descriptions of columns, from which the Arrow and DuckDB types, the
comments, `datapackage.json` and the dictionary of workbook and report are rendered. Does not belong here: rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import pyarrow as pa
import pyarrow.compute as pc

ColumnType = Literal["string", "integer", "number", "boolean"]
_ARROW: Final = {"string": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_()}


@dataclass(frozen=True)
class Column:
    """One column, as its readers are told about it."""

    name: str
    type: ColumnType
    description: str


@dataclass(frozen=True)
class PublishedTable:
    """One table of a release. Rows are sorted by `key`, which is unique."""

    name: str
    title: str
    description: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(column.name, _ARROW[column.type]) for column in self.columns])

    def conform(self, table: pa.Table) -> pa.Table:
        """`table` with these columns, types and order of rows."""
        ordered = table.select(self.schema.names).cast(self.schema)
        return ordered.sort_by([(name, "ascending") for name in self.key]).combine_chunks()

    def united(self, parts: Sequence[pa.Table]) -> pa.Table:
        """The rows of several tables as one; of rows with the same key, the first part's."""
        every = pa.concat_tables(parts)
        others = [name for name in self.schema.names if name not in self.key]
        first = every.group_by(list(self.key), use_threads=False).aggregate(
            [(name, "first", pc.ScalarAggregateOptions(skip_nulls=False)) for name in others]
        )
        return self.conform(first.rename_columns({f"{name}_first": name for name in others}))


_STATUS_WORDS: Final = (
    "published : publié ; suppressed : secret statistique ; PS : peu significatif ; NR : non reçu ; "
    "NC : dénominateur nul ; ND : indisponible."
)


def _columns(*declared: tuple[str, ColumnType, str]) -> tuple[Column, ...]:
    return tuple(Column(*one) for one in declared)


INDICATOR_VALUES: Final = PublishedTable(
    "indicator_values",
    "Valeurs des indicateurs",
    "Une ligne par mois, territoire, indicateur et modalité.",
    ("month", "indicator_code", "breakdown", "modality", "country", "territory_level", "territory_code"),
    _columns(
        ("month", "string", "Mois de référence, AAAA-MM."),
        ("country", "string", "Pays : FR ou BE. Les deux pays ne s'additionnent jamais."),
        ("territory_level", "string", "Niveau du territoire : commune, epci, department, region, country…"),
        ("territory_code", "string", "Code du territoire, précédé de son pays : FR-DEP-52, BE-COM-92094."),
        ("axis", "string", "Ce qui rattache au territoire : residence, structure, paying_council ou deposit."),
        ("indicator_code", "string", "Code de l'indicateur, voir la table indicators."),
        ("breakdown", "string", "Ventilation, voir la table breakdowns ; total quand il n'y en a pas."),
        ("modality", "string", "Modalité de la ventilation ; TOTAL quand il n'y en a pas."),
        ("numerator", "number", "Numérateur. Vide quand le statut dit que rien ne peut être montré."),
        (
            "denominator",
            "number",
            "Dénominateur. Vide pour un dénombrement ou une somme, ou si masqué.",
        ),
        ("value", "number", "Valeur dans l'unité indiquée, une décimale. Vide sauf statut published."),
        ("unit", "string", "Unité de la valeur : %, persons, hours, etp, eur, days, count."),
        ("counted_unit", "string", "Ce que comptent les termes : persons, structures, hours, etp, euros, days."),
        ("kind", "string", "Nature : count (dénombrement), sum (somme), ratio (rapport), quantile."),
        ("status", "string", _STATUS_WORDS),
        ("coverage", "number", "Part de la population des unités attendues dont les fichiers sont reçus, de 0 à 1."),
        ("n_units_expected", "integer", "Unités déclarantes attendues."),
        ("n_units_received", "integer", "Unités déclarantes reçues."),
        ("n_partners_expected", "integer", "Partenaires déposants attendus."),
        ("n_partners_received", "integer", "Partenaires déposants reçus."),
        ("as_of", "string", "Dernier mois connu quand la valeur a été calculée."),
        ("maturity", "string", "Maturité : provisoire, semi-définitif, définitif."),
        ("release_id", "string", "Publication dont la valeur fait partie."),
    ),
)

INDICATORS: Final = PublishedTable(
    "indicators",
    "Dictionnaire des indicateurs",
    "Une ligne par indicateur du catalogue.",
    ("code",),
    _columns(
        ("code", "string", "Code de l'indicateur, stable."),
        ("label", "string", "Libellé."),
        ("definition", "string", "Définition."),
        ("numerator", "string", "Ce que compte le numérateur."),
        ("denominator", "string", "Ce que compte le dénominateur."),
        ("unit", "string", "Unité de la valeur."),
        ("kind", "string", "Nature : count, sum, ratio, quantile."),
        ("axis", "string", "Ce qui rattache au territoire."),
        ("reference_period", "string", "end_of_month : situation en fin de mois ; during_month : au cours du mois."),
        ("source", "string", "Types de fichiers dont l'indicateur est tiré."),
        ("exclusions", "string", "Ce qui n'est pas compté."),
        ("reference", "string", "Texte ou système dont vient la définition."),
        ("purposes", "string", "Finalités pour lesquelles les données sont traitées."),
        ("valid_from", "string", "Premier mois où l'indicateur existe."),
        ("family", "string", "Famille du catalogue."),
        ("counted_unit", "string", "Ce que comptent les termes."),
        ("threshold", "number", "Plus petit effectif qui peut être montré."),
        ("minimum_denominator", "integer", "Dénominateur en dessous duquel un rapport est peu significatif (PS)."),
        ("adds_up_over_territories", "boolean", "Un territoire est-il la somme de ses parties ?"),
        ("numerator_quantity", "string", "Nom de la grandeur du numérateur : même nom, mêmes nombres."),
        ("denominator_quantity", "string", "Nom de la grandeur du dénominateur : même nom, mêmes nombres."),
        (
            "parts",
            "string",
            "Indicateurs dont les numérateurs s'additionnent au sien ; code[ventilation=modalité] : une part.",
        ),
        (
            "balance",
            "string",
            "Sa somme au fil des mois : -code retranché, code@1 du mois précédent, code@year de l'année jusque-là.",
        ),
        ("aliases", "string", "Anciens codes, conservés un an."),
        ("parameters", "string", "Paramètres de la définition : nom = valeur, et leur statut."),
        (
            "status_of_definition",
            "string",
            "Origine : found (texte lu), practice (systèmes existants), to_be_confirmed (à confirmer).",
        ),
        ("series_breaks", "string", "Ruptures de série : AAAA-MM : ce qui a changé. Aucune évolution ne les franchit."),
    ),
)

BREAKDOWNS: Final = PublishedTable(
    "breakdowns",
    "Ventilations et modalités",
    "Une ligne par ventilation et modalité.",
    ("breakdown", "modality"),
    _columns(
        ("breakdown", "string", "Code de la ventilation."),
        ("modality", "string", "Code de la modalité."),
        ("label", "string", "Libellé de la ventilation."),
        ("modality_label", "string", "Libellé de la modalité."),
        ("adds_up", "boolean", "Les modalités s'additionnent-elles au total ?"),
        ("threshold", "number", "Seuil propre à la ventilation quand elle est sensible ; 0 sinon."),
    ),
)

TERRITORIES: Final = PublishedTable(
    "territories",
    "Territoires",
    "Une ligne par territoire cité dans la publication.",
    ("territory_code",),
    _columns(
        ("territory_code", "string", "Code du territoire, précédé de son pays."),
        ("country", "string", "Pays : FR ou BE."),
        ("territory_level", "string", "Niveau."),
        ("label", "string", "Nom."),
        ("parent_code", "string", "Territoire immédiatement au-dessus, là où les niveaux s'emboîtent."),
        ("population", "integer", "Habitants (communes)."),
    ),
)

TERRITORY_LINKS: Final = PublishedTable(
    "territory_links",
    "Emboîtement des territoires",
    "Une ligne par territoire et territoire plus grand qui le contient, pour une suite de mois.",
    ("part", "whole", "first_month"),
    _columns(
        ("part", "string", "Territoire contenu."),
        ("part_level", "string", "Son niveau."),
        ("whole", "string", "Territoire qui le contient."),
        ("whole_level", "string", "Son niveau."),
        ("first_month", "string", "Premier mois de la publication où il en est ainsi."),
        ("last_month", "string", "Dernier mois de la publication où il en est ainsi."),
    ),
)

TERRITORY_PIECES: Final = PublishedTable(
    "territory_pieces",
    "Morceaux de territoires",
    "Une ligne par morceau que des territoires qui se croisent ont en commun et par territoire dont il est une part,"
    " pour une suite de mois. Un morceau n'a pas de valeur publiée.",
    ("levels", "piece", "whole", "first_month"),
    _columns(
        ("levels", "string", "Niveaux montrés, sans le pays, auxquels ces morceaux s'appliquent : epci+department…"),
        ("piece", "string", "Morceau : ses territoires joints par + ; le code d'un territoire s'il en est le tout."),
        ("whole", "string", "Territoire dont le morceau est une part."),
        ("whole_level", "string", "Son niveau."),
        ("first_month", "string", "Premier mois de la publication où il en est ainsi."),
        ("last_month", "string", "Dernier mois de la publication où il en est ainsi."),
    ),
)

OPEN_SUMS: Final = PublishedTable(
    "open_sums",
    "Totaux ouverts",
    "Une ligne par total qui n'est pas la somme des parties publiées (partie non reçue ou non publiée).",
    ("quantity", "month", "territory_code", "breakdown", "modality", "along"),
    _columns(
        ("quantity", "string", "Grandeur, voir numerator_quantity et denominator_quantity de la table indicators."),
        ("month", "string", "Mois."),
        ("territory_code", "string", "Territoire du total."),
        ("breakdown", "string", "Ventilation du total."),
        ("modality", "string", "Modalité du total."),
        ("along", "string", "Selon quoi : niveau(x) des parties<niveau du total, ou ventilation."),
    ),
)

COVERAGE: Final = PublishedTable(
    "coverage",
    "Couverture",
    "Une ligne par unité déclarante, type de fichier, organisme payeur et mois attendus.",
    ("month", "unit", "source", "partner", "payer"),
    _columns(
        ("month", "string", "Mois."),
        ("country", "string", "Pays."),
        ("unit", "string", "Unité déclarante : sur qui porte le fichier."),
        ("unit_label", "string", "Son nom."),
        ("family", "string", "Famille : ale, siae, department, employment_service."),
        ("source", "string", "Type de fichier attendu."),
        ("partner", "string", "Partenaire qui le dépose."),
        ("territory_code", "string", "Territoire dont l'unité répond."),
        ("is_received", "boolean", "Le fichier est-il reçu, avec des personnes de cet organisme payeur ?"),
        ("payer", "string", "Organisme payeur (CAF, MSA) dont des personnes sont connues depuis un an ; vide sinon."),
        (
            "population_share",
            "number",
            "Part de la population de l'unité que l'organisme payeur représente : paramètre, voir payers.csv.",
        ),
    ),
)

REVISIONS: Final = PublishedTable(
    "revisions",
    "Révisions",
    "Une ligne par valeur qui diffère de la publication précédente. Vide pour une première publication.",
    ("month", "indicator_code", "breakdown", "modality", "territory_code"),
    _columns(
        ("month", "string", "Mois."),
        ("territory_code", "string", "Territoire."),
        ("indicator_code", "string", "Indicateur."),
        ("breakdown", "string", "Ventilation."),
        ("modality", "string", "Modalité."),
        ("previous_release_id", "string", "Publication précédente."),
        ("previous_status", "string", "Statut dans la publication précédente."),
        ("status", "string", "Statut dans celle-ci."),
        (
            "previous_value",
            "number",
            "Valeur de la publication précédente ; vide si elle est masquée dans celle-ci.",
        ),
        ("value", "number", "Valeur publiée dans celle-ci."),
        ("cause", "string", "Pourquoi, en mots : dépôt tardif, correction, définition, rapprochement des personnes."),
    ),
)

TRENDS: Final = PublishedTable(
    "trends",
    "Évolutions à champ constant",
    "Une ligne par mois, territoire (communes exceptées), indicateur et écart en mois. Données brutes, calculées des"
    " seules valeurs publiées, sur les territoires publiés aux deux mois.",
    ("month", "territory_code", "indicator_code", "lag_months"),
    _columns(
        ("month", "string", "Mois."),
        ("territory_code", "string", "Territoire."),
        ("indicator_code", "string", "Indicateur."),
        ("lag_months", "integer", "Écart en mois : 1 (mois précédent) ou 12 (même mois de l'année précédente)."),
        ("earlier_month", "string", "Mois auquel on compare."),
        ("value_then", "number", "Valeur au mois auquel on compare, sur le champ constant, une décimale."),
        ("value_now", "number", "Valeur au mois, sur le champ constant, une décimale."),
        ("unit", "string", "Unité des deux valeurs."),
        (
            "n_territories",
            "integer",
            "Sur combien de territoires : 1 pour le territoire lui-même, sinon ses parties publiées aux deux mois.",
        ),
    ),
)

TABLES: Final = (
    INDICATOR_VALUES, INDICATORS, BREAKDOWNS, TERRITORIES, TERRITORY_LINKS, TERRITORY_PIECES, OPEN_SUMS, COVERAGE,
    REVISIONS, TRENDS,
)  # fmt: skip
