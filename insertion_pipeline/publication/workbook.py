"""The workbooks of a release: the same values for readers of spreadsheets, in French.

Belongs here: sheets, columns, filters, panes, which rows go to which workbook. Does not belong here: any number that is
not in the published tables. No cell is ever a formula.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc
import xlsxwriter

from insertion_pipeline.publication import cataloguing
from insertion_pipeline.registry import Registry

MAIN_WORKBOOK: Final = "indicateurs.xlsx"
COMMUNE_FOLDER: Final = "communes"
#: What a worksheet can hold; more rows go on to a second sheet, none is cut.
_SHEET_ROWS: Final = 1_048_575
#: Below this a workbook is made in memory, where each text is stored once: half the time and the size.
_ROWS_IN_MEMORY: Final = 200_000
_CREATED: Final = datetime(2000, 1, 1)  # noqa: DTZ001 (the format has no time zone; a workbook has no date of its own)
_LEVEL_LABELS: Final = {
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
_COLUMNS: Final = (
    ("Mois", 9), ("Niveau", 14), ("Code du territoire", 18), ("Territoire", 30), ("Code de l'indicateur", 32),
    ("Indicateur", 48), ("Ventilation", 26), ("Modalité", 26), ("Numérateur", 12), ("Dénominateur", 13),
    ("Valeur", 10), ("Unité", 11), ("Statut", 18), ("Couverture", 11), ("Maturité", 13),
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
    homes = _homes(tables["territory_links"])
    communes = values.filter(is_commune)
    home = pa.array(
        [homes.get(code, code[:2] + "-AUTRES") for code in communes["territory_code"].to_pylist()], pa.string()
    )
    if len(communes):
        (folder / COMMUNE_FOLDER).mkdir()
    for code in sorted(set(home.to_pylist())):
        rows = communes.filter(pc.equal(home, code))
        path = f"{COMMUNE_FOLDER}/indicateurs-{code}.xlsx"
        title = f"Communes : {labels.territories.get(code, code)}"
        _write(folder / path, release_id, title, rows, tables, registry, labels)
        written[path] = f"communes de {labels.territories.get(code, code)} : {len(rows)} lignes, toutes"
    return written


def _homes(links: pa.Table) -> dict[str, str]:
    """Each commune's department or province."""
    return {
        row["part"]: row["whole"]
        for row in links.to_pylist()
        if row["part_level"] == "commune" and row["whole_level"] in ("department", "province")
    }


def _write(
    path: Path,
    release_id: str,
    title: str,
    values: pa.Table,
    tables: Mapping[str, pa.Table],
    registry: Registry,
    labels: Labels,
) -> None:
    options = {
        "constant_memory": len(values) > _ROWS_IN_MEMORY,
        "strings_to_formulas": False,
        "strings_to_urls": False,
    }
    with xlsxwriter.Workbook(path, options) as book:
        book.set_properties({"title": f"Indicateurs de l'insertion, {release_id}", "created": _CREATED})
        formats = _Formats.of(book)
        _cover(book, formats, release_id, title, cataloguing.distinct(values, "month"))
        for family in registry.indicator_families:
            codes = pa.array([one.code for one in family.indicators], pa.string())
            rows = values.filter(pc.is_in(values["indicator_code"], codes))
            _values_sheets(book, formats, family.title, rows, labels)
        known = pa.array(list(registry.indicators), pa.string())
        _values_sheets(
            book, formats, "Autres", values.filter(pc.invert(pc.is_in(values["indicator_code"], known))), labels
        )
        _plain_sheet(book, formats, "Couverture", tables["coverage"], (9, 8, 20, 36, 20, 20, 20, 18, 10))
        _plain_sheet(book, formats, "Dictionnaire", tables["indicators"], (34, 48, 80, 40, 40, 10, 10, 12, 16, 30))
        _plain_sheet(book, formats, "Ventilations", tables["breakdowns"], (24, 24, 40, 40, 12, 10))
        _plain_sheet(book, formats, "Colonnes", cataloguing.dictionary(), (20, 28, 10, 100))


@dataclass(frozen=True)
class _Formats:
    title: Any
    header: Any
    wrapped: Any
    whole: Any
    decimal: Any
    share: Any

    @classmethod
    def of(cls, book: xlsxwriter.Workbook) -> _Formats:
        return cls(
            title=book.add_format({"bold": True, "font_size": 16}),
            header=book.add_format({"bold": True, "bg_color": "#1B3A57", "font_color": "#FFFFFF", "text_wrap": True}),
            wrapped=book.add_format({"text_wrap": True, "valign": "top"}),
            whole=book.add_format({"num_format": "#,##0.##"}),
            decimal=book.add_format({"num_format": "#,##0.0"}),
            share=book.add_format({"num_format": "0%"}),
        )


def _cover(book: xlsxwriter.Workbook, formats: _Formats, release_id: str, title: str, months: Sequence[str]) -> None:
    sheet = book.add_worksheet("Lisez-moi")
    sheet.hide_gridlines(2)
    sheet.set_column(0, 0, 26)
    sheet.set_column(1, 1, 100, formats.wrapped)
    sheet.write_string(0, 0, "Indicateurs partagés du réseau de l'insertion professionnelle", formats.title)
    lines = [
        ("Contenu", title),
        ("Publication", release_id),
        ("Mois", f"de {months[0]} à {months[-1]}" if months else "aucun"),
        ("Secret statistique", _SECRECY),
        ("Statuts", " ; ".join(f"{code} : {label}" for code, label in STATUS_LABELS.items())),
        ("Pays", "Les indicateurs de France et de Belgique se lisent côte à côte et ne s'additionnent jamais."),
        ("Définitions", "Feuilles « Dictionnaire », « Ventilations » et « Colonnes »."),
    ]  # fmt: skip
    for row, (name, text) in enumerate(lines, start=2):
        sheet.write_string(row, 0, name, formats.wrapped)
        sheet.write_string(row, 1, text, formats.wrapped)


def _values_sheets(book: xlsxwriter.Workbook, formats: _Formats, title: str, values: pa.Table, labels: Labels) -> None:
    for number, start in enumerate(range(0, len(values), _SHEET_ROWS), start=1):
        name = _sheet_name(title if number == 1 else f"{title} ({number})")
        sheet = book.add_worksheet(name)
        _head(sheet, formats, [column for column, _ in _COLUMNS], [width for _, width in _COLUMNS])
        part = values.slice(start, _SHEET_ROWS)
        for row, cells in enumerate(_cells(part, labels), start=1):
            for column, cell in enumerate(cells):
                if isinstance(cell, str):
                    sheet.write_string(row, column, cell)
                elif cell is not None:
                    style = {10: formats.decimal, 13: formats.share}.get(column, formats.whole)
                    sheet.write_number(row, column, cell, style)
        sheet.autofilter(0, 0, len(part), len(_COLUMNS) - 1)


def _cells(values: pa.Table, labels: Labels) -> Iterator[tuple[str | float | None, ...]]:
    for row in values.to_pylist():
        cut = labels.modalities.get((row["breakdown"], row["modality"]), (row["breakdown"], row["modality"]))
        yield (
            row["month"],
            _LEVEL_LABELS.get(row["territory_level"], row["territory_level"]),
            row["territory_code"],
            labels.territories.get(row["territory_code"], row["territory_code"]),
            row["indicator_code"],
            labels.indicators.get(row["indicator_code"], row["indicator_code"]),
            cut[0],
            cut[1],
            row["numerator"],
            row["denominator"],
            row["value"],
            UNIT_LABELS.get(row["unit"], row["unit"]),
            STATUS_LABELS[row["status"]],
            row["coverage"],
            row["maturity"],
        )


def _plain_sheet(
    book: xlsxwriter.Workbook, formats: _Formats, name: str, table: pa.Table, widths: Sequence[int]
) -> None:
    sheet = book.add_worksheet(name)
    _head(sheet, formats, table.column_names, [*widths, *([16] * (len(table.column_names) - len(widths)))])
    for row, record in enumerate(table.to_pylist(), start=1):
        for column, cell in enumerate(record.values()):
            if isinstance(cell, bool):
                sheet.write_string(row, column, "oui" if cell else "non")
            elif isinstance(cell, (int, float)):
                sheet.write_number(row, column, cell)
            elif cell is not None:
                sheet.write_string(row, column, cell)
    sheet.autofilter(0, 0, len(table), len(table.column_names) - 1)


def _head(sheet: Any, formats: _Formats, names: Sequence[str], widths: Sequence[int]) -> None:
    for column, width in enumerate(widths):
        sheet.set_column(column, column, width)
    sheet.freeze_panes(1, 0)
    for column, name in enumerate(names):
        sheet.write_string(0, column, name, formats.header)


def _sheet_name(title: str) -> str:
    """A title that a spreadsheet accepts: 31 characters, none of ``[]:*?/\\``."""
    return "".join("-" if character in "[]:*?/\\" else character for character in title)[:31]
