"""The workbooks of a release: the same values for readers of spreadsheets, in French.

Belongs here: sheets, columns, filters, panes, which rows go to which workbook. Does not belong here: any number that is
not in the published tables. No cell is ever a formula.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.publication import cataloguing
from insertion_pipeline.publication.worksheets import Book, SheetColumn
from insertion_pipeline.registry import Registry

MAIN_WORKBOOK: Final = "indicateurs.xlsx"
COMMUNE_FOLDER: Final = "communes"
LEVEL_LABELS: Final = {
    "commune": "Commune",
    "epci": "EPCI",
    "clpe": "Comité local pour l'emploi",
    "employment_zone": "Zone d'emploi",
    "department": "Département",
    "council": "Conseil payeur du RSA",
    "region": "Région",
    "arrondissement": "Arrondissement",
    "province": "Province",
    "country": "Pays",
}
STATUS_LABELS: Final = {
    "published": "publié",
    "suppressed": "secret statistique",
    "PS": "peu significatif",
    "NR": "non reçu",
    "NC": "dénominateur nul",
    "ND": "indisponible",
}
UNIT_LABELS: Final = {
    "%": "%",
    "persons": "personnes",
    "hours": "heures",
    "etp": "ETP",
    "eur": "€",
    "days": "jours",
    "count": "nombre",
}
_SECRECY: Final = (
    "Une valeur qui reposerait sur trop peu de personnes est masquée, et avec elle celles qui permettraient de la"
    " retrouver. Les zéros sont publiés."
)
_NOTES: Final[Mapping[str, str]] = {
    "Secret statistique": _SECRECY,
    "Statuts": " ; ".join(f"{code} : {label}" for code, label in STATUS_LABELS.items()),
    "Pays": "Les indicateurs de France et de Belgique se lisent côte à côte et ne s'additionnent jamais.",
    "Personnes": "Une personne suivie plusieurs mois, ou par plusieurs acteurs, compte une fois dans chaque total :"
    " ne pas additionner des mois, des ventilations ni des acteurs.",
    "Couverture": "Part de la population des unités attendues dont les fichiers sont reçus. En dessous de 80 %, aucune"
    " tendance ne peut être tirée.",
    "Peu significatif": "Un rapport sur un dénominateur trop petit n'est pas affiché ; le dictionnaire donne le"
    " minimum de chacun.",
    "Données brutes": "Ni corrigées des variations saisonnières, ni redressées de la couverture. La maturité dit si"
    " une valeur peut encore changer.",
    "Évolutions": "Chaque mois comparé au précédent et au même mois de l'année précédente, sur les seuls territoires"
    " publiés aux deux mois, jamais à travers une rupture de série.",
    "Définitions": "Feuilles « Dictionnaire », « Ventilations » et « Colonnes ».",
}
_VALUE_COLUMNS: Final = (
    SheetColumn("Mois", 9), SheetColumn("Niveau", 14), SheetColumn("Code du territoire", 18),
    SheetColumn("Territoire", 30), SheetColumn("Code de l'indicateur", 32), SheetColumn("Indicateur", 48),
    SheetColumn("Ventilation", 26), SheetColumn("Modalité", 26), SheetColumn("Numérateur", 12, "number"),
    SheetColumn("Dénominateur", 13, "number"), SheetColumn("Valeur", 10, "decimal"), SheetColumn("Unité", 11),
    SheetColumn("Statut", 18), SheetColumn("Couverture", 11, "share"), SheetColumn("Maturité", 13),
)  # fmt: skip
_TREND_COLUMNS: Final = (
    SheetColumn("Mois", 9), SheetColumn("Comparé à", 10), SheetColumn("Code du territoire", 18),
    SheetColumn("Territoire", 30), SheetColumn("Code de l'indicateur", 32), SheetColumn("Indicateur", 48),
    SheetColumn("Valeur d'alors", 13, "decimal"), SheetColumn("Valeur", 13, "decimal"), SheetColumn("Unité", 11),
    SheetColumn("Territoires comparés", 19, "number"),
)  # fmt: skip


@dataclass(frozen=True)
class Labels:
    """The French names of codes."""

    territories: Mapping[str, str]
    indicators: Mapping[str, str]
    modalities: Mapping[tuple[str, str], tuple[str, str]]

    @classmethod
    def of(cls, tables: Mapping[str, pa.Table]) -> Labels:
        """The names that the published tables give."""
        return cls(
            {row["territory_code"]: row["label"] for row in tables["territories"].to_pylist()},
            {row["code"]: row["label"] for row in tables["indicators"].to_pylist()},
            {
                (row["breakdown"], row["modality"]): (row["label"], row["modality_label"])
                for row in tables["breakdowns"].to_pylist()
            },
        )

    def modality_of(self, values: pa.Table) -> tuple[pa.ChunkedArray, pa.ChunkedArray]:
        """The label of each row's breakdown, and of its modality."""
        pairs = pc.binary_join_element_wise(values["breakdown"], values["modality"], "\0")
        both = {"\0".join(codes): labels for codes, labels in self.modalities.items()}
        return (
            labelled(pairs, {code: labels[0] for code, labels in both.items()}),
            labelled(pairs, {code: labels[1] for code, labels in both.items()}),
        )


def labelled(codes: pa.ChunkedArray, labels: Mapping[str, str]) -> pa.ChunkedArray:
    """The label of each code; the code itself where it has none."""
    encoded = codes.combine_chunks().dictionary_encode()
    named = pa.array([labels.get(code, code) for code in encoded.dictionary.to_pylist()], pa.string())
    return pa.chunked_array([named.take(encoded.indices)])


def write_workbooks(
    folder: Path, release_id: str, tables: Mapping[str, pa.Table], registry: Registry
) -> dict[str, str]:
    """Write every workbook of a release; returns what each holds, by path.

    `indicateurs.xlsx` holds every level from EPCI upward. Communes are in one workbook per department or province.
    """
    labels = Labels.of(tables)
    values = tables["indicator_values"]
    is_commune = pc.equal(values["territory_level"], "commune")
    above = values.filter(pc.invert(is_commune))
    written = {MAIN_WORKBOOK: f"tous les niveaux sauf la commune : {len(above)} lignes, toutes"}
    _write(folder / MAIN_WORKBOOK, release_id, "Tous les niveaux sauf la commune", above, tables, registry, labels)
    communes = values.filter(is_commune)
    if len(communes):
        (folder / COMMUNE_FOLDER).mkdir()
    elsewhere = {code: code[:2] + "-AUTRES" for code in cataloguing.distinct(communes, "territory_code")}
    home = labelled(communes["territory_code"], elsewhere | _homes(tables["territory_links"]))
    for code in sorted(pc.unique(home).to_pylist()):
        rows = communes.filter(pc.equal(home, code))
        path = f"{COMMUNE_FOLDER}/indicateurs-{code}.xlsx"
        title = f"Communes : {labels.territories.get(code, code)}"
        _write(folder / path, release_id, title, rows, tables, registry, labels)
        written[path] = f"communes, {labels.territories.get(code, code)} : {len(rows)} lignes, toutes"
    return written


def _homes(links: pa.Table) -> dict[str, str]:
    """Each commune's department or province."""
    wanted = pc.and_(
        pc.equal(links["part_level"], "commune"), pc.is_in(links["whole_level"], pa.array(["department", "province"]))
    )
    found = links.filter(wanted)
    return dict(zip(found["part"].to_pylist(), found["whole"].to_pylist(), strict=True))


def _write(
    path: Path,
    release_id: str,
    title: str,
    values: pa.Table,
    tables: Mapping[str, pa.Table],
    registry: Registry,
    labels: Labels,
) -> None:
    book = Book(path, f"Indicateurs de l'insertion, {release_id}")
    _cover(book, release_id, title, cataloguing.distinct(values, "month"))
    rows = _rows(values, labels)
    sheets = [(family.title, [one.code for one in family.indicators]) for family in registry.indicator_families]
    for name, codes in sheets:
        of_family = pc.is_in(values["indicator_code"], pa.array(codes, pa.string()))
        if (found := rows.filter(of_family)).num_rows:
            book.add_table(name, _VALUE_COLUMNS, found)
    known = pc.is_in(values["indicator_code"], pa.array(list(registry.indicators), pa.string()))
    if (others := rows.filter(pc.invert(known))).num_rows:
        book.add_table("Autres", _VALUE_COLUMNS, others)
    if path.name == MAIN_WORKBOOK:
        book.add_table("Évolutions", _TREND_COLUMNS, _trends(tables["trends"], labels))
    _add_plain(book, "Couverture", tables["coverage"], (9, 8, 20, 36, 20, 20, 20, 18, 10))
    _add_plain(book, "Dictionnaire", tables["indicators"], (34, 48, 80, 40, 40, 10, 10, 12, 16, 30))
    _add_plain(book, "Ventilations", tables["breakdowns"], (24, 24, 40, 40, 12, 10))
    _add_plain(book, "Colonnes", cataloguing.dictionary(), (20, 28, 10, 100))
    book.close()


def _cover(book: Book, release_id: str, title: str, months: Sequence[str]) -> None:
    sheet = book.xlsx.add_worksheet("Lisez-moi")
    wrapped = book.xlsx.add_format({"text_wrap": True, "valign": "top"})
    sheet.hide_gridlines(2)
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 100, wrapped)
    large = book.xlsx.add_format({"bold": True, "font_size": 16})
    sheet.write_string(0, 0, "Indicateurs partagés du réseau de l'insertion professionnelle", large)
    lines = [
        ("Contenu", title),
        ("Publication", release_id),
        ("Mois", f"de {months[0]} à {months[-1]}" if months else "aucun"),
        *_NOTES.items(),
    ]
    for row, (name, text) in enumerate(lines, start=2):
        sheet.write_string(row, 0, name, wrapped)
        sheet.write_string(row, 1, text, wrapped)


def _rows(values: pa.Table, labels: Labels) -> pa.Table:
    """The values as the sheets show them: one row per value, in the order of `_VALUE_COLUMNS`."""
    breakdown, modality = labels.modality_of(values)
    columns = [
        values["month"],
        labelled(values["territory_level"], LEVEL_LABELS),
        values["territory_code"],
        labelled(values["territory_code"], labels.territories),
        values["indicator_code"],
        labelled(values["indicator_code"], labels.indicators),
        breakdown,
        modality,
        values["numerator"],
        values["denominator"],
        values["value"],
        labelled(values["unit"], UNIT_LABELS),
        labelled(values["status"], STATUS_LABELS),
        values["coverage"],
        values["maturity"],
    ]
    return pa.table(columns, names=[column.heading for column in _VALUE_COLUMNS])


def _trends(compared: pa.Table, labels: Labels) -> pa.Table:
    """The trends as their sheet shows them, in the order of `_TREND_COLUMNS`."""
    columns = [
        compared["month"],
        compared["earlier_month"],
        compared["territory_code"],
        labelled(compared["territory_code"], labels.territories),
        compared["indicator_code"],
        labelled(compared["indicator_code"], labels.indicators),
        compared["value_then"],
        compared["value_now"],
        labelled(compared["unit"], UNIT_LABELS),
        compared["n_territories"].cast(pa.float64()),
    ]
    return pa.table(columns, names=[column.heading for column in _TREND_COLUMNS])


def _add_plain(book: Book, name: str, table: pa.Table, widths: Sequence[int]) -> None:
    """A table as it is, under the names of its columns."""
    every = [*widths, *([16] * (len(table.column_names) - len(widths)))]
    columns = [SheetColumn(heading, width) for heading, width in zip(table.column_names, every, strict=True)]
    book.add_table(name, columns, table)
