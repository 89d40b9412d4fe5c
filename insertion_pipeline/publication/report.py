"""The report of a release: one page of French HTML that opens anywhere, without script and without network.

Belongs here: what the page says and in what order. Does not belong here: any number that is not in the published
tables, or in the certificate.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure.equations import UNCUT
from insertion_pipeline.publication.tables import TABLES
from insertion_pipeline.publication.workbook import STATUS_LABELS, UNIT_LABELS
from insertion_pipeline.registry import Registry

_STYLE: Final = Path(__file__).with_suffix(".css")
_COUNTRIES: Final = {"FR": "France", "BE": "Belgique (Wallonie)"}
_MONTH_NAMES: Final = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
    "décembre",
)  # fmt: skip
_FAMILY_LABELS: Final = {
    "ale": "Agences locales pour l'emploi",
    "siae": "Structures d'insertion",
    "department": "Départements",
    "employment_service": "Services publics de l'emploi",
}
_AXIS_LABELS: Final = {
    "residence": "la résidence de la personne",
    "structure": "le lieu de la structure",
    "paying_council": "la collectivité qui verse le RSA",
    "deposit": "le territoire du déposant",
}
_PERIOD_LABELS: Final = {"end_of_month": "en fin de mois", "during_month": "au cours du mois"}
#: Levels whose territories get a table of their own.
_DETAILED_LEVELS: Final = ("region", "department", "province")

Row = Mapping[str, Any]


def write_report(
    path: Path,
    release_id: str,
    tables: Mapping[str, pa.Table],
    certificate: Mapping[str, Any],
    registry: Registry,
    workbooks: Mapping[str, str],
) -> None:
    """Write the page. It names nothing outside the release and holds its own style."""
    months = sorted(set(tables["indicator_values"]["month"].to_pylist()))
    page = _Page(release_id, tables, certificate, registry, workbooks, months)
    path.write_text(page.html(), encoding="utf-8")


class _Page:
    """The page of one release."""

    def __init__(
        self,
        release_id: str,
        tables: Mapping[str, pa.Table],
        certificate: Mapping[str, Any],
        registry: Registry,
        workbooks: Mapping[str, str],
        months: Sequence[str],
    ) -> None:
        self._release_id, self._tables, self._certificate = release_id, tables, certificate
        self._registry, self._workbooks, self._months = registry, workbooks, months
        values = tables["indicator_values"]
        last = months[-1] if months else ""
        uncut = pc.and_(pc.equal(values["month"], last), pc.equal(values["breakdown"], UNCUT))
        rows = values.filter(uncut).to_pylist()
        self._current: dict[str, dict[str, Row]] = {}
        for row in rows:
            self._current.setdefault(row["territory_code"], {})[row["indicator_code"]] = row
        self._territories = {row["territory_code"]: row for row in tables["territories"].to_pylist()}

    def html(self) -> str:
        last = _month(self._months[-1]) if self._months else "aucun mois"
        sections = [
            ("chiffres", "Chiffres clés", self._headlines()),
            ("territoires", "Par territoire", self._by_territory()),
            ("couverture", "Couverture", self._coverage()),
            ("revisions", "Révisions", self._revisions()),
            ("secret", "Secret statistique", self._protection()),
            ("dictionnaire", "Dictionnaire", self._dictionary()),
            ("fichiers", "Fichiers", self._downloads()),
        ]
        links = "".join(f'<li><a href="#{name}">{escape(title)}</a></li>' for name, title, _ in sections)
        body = "".join(
            f'<section aria-labelledby="{name}"><h2 id="{name}">{escape(title)}</h2>{content}</section>'
            for name, title, content in sections
        )
        return (
            '<!DOCTYPE html>\n<html lang="fr">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline';"
            ' img-src data:">\n<link rel="icon" href="data:,">\n'
            f"<title>Indicateurs de l'insertion, {escape(last)}</title>\n"
            f"<style>\n{_STYLE.read_text(encoding='utf-8')}</style>\n</head>\n<body>\n"
            '<a class="skip" href="#contenu">Aller au contenu</a>\n'
            f"<header><h1>Indicateurs partagés de l'insertion professionnelle</h1><p>{escape(last.capitalize())} · "
            f"publication <code>{escape(self._release_id)}</code></p></header>\n"
            f'<nav aria-label="Sommaire"><ul>{links}</ul></nav>\n<main id="contenu">{body}</main>\n'
            "<footer>Données brutes. Les indicateurs de France et de Belgique se lisent côte à côte et ne"
            " s'additionnent jamais.</footer>\n</body>\n</html>\n"
        )

    # -- sections --------------------------------------------------------------------------------------------------

    def _headlines(self) -> str:
        parts = []
        for country, name in _COUNTRIES.items():
            rows = self._current.get(country)
            if not rows:
                continue
            shown = list(_first_of_each(self._ordered(rows)))
            cards = "".join(
                f'<li>{escape(self._label(row))}<span class="figure">{_number(row["value"])}'
                f'<span class="unit"> {escape(_unit(row))}</span></span>'
                f'<span class="note">couverture {_share(row["coverage"])}, {escape(str(row["maturity"]))}</span></li>'
                for row in shown
            )
            rest = self._table_of(rows, f"Tous les indicateurs, {name}")
            parts.append(
                f'<h3>{escape(name)}</h3><ul class="cards">{cards}</ul>'
                f"<details><summary>Tous les indicateurs, {escape(name)}</summary>{rest}</details>"
            )
        return "".join(parts) or "<p>Aucune valeur pour un pays entier.</p>"

    def _by_territory(self) -> str:
        parts = []
        codes = [
            code for code in self._current
            if self._territories.get(code, {}).get("territory_level") in _DETAILED_LEVELS
        ]  # fmt: skip
        order = {level: rank for rank, level in enumerate(_DETAILED_LEVELS)}
        codes.sort(key=lambda code: (code[:2] != "FR", order[self._territories[code]["territory_level"]], code))
        for code in codes:
            rows = self._current[code]
            if all(row["status"] in ("NR", "ND") for row in rows.values()):
                continue
            name = self._territories[code]["label"]
            parts.append(
                f"<details><summary>{escape(name)} <code>{escape(code)}</code></summary>"
                f"{self._table_of(rows, name)}</details>"
            )
        note = "<p>Communes, EPCI, zones d'emploi et ventilations : voir les fichiers.</p>"
        return "".join(parts) + note

    def _table_of(self, rows: Mapping[str, Row], caption: str) -> str:
        lines = []
        for family, row in self._ordered(rows):
            if row["status"] == "published":
                value = f"{_number(row['value'])} {escape(_unit(row))}"
                cell = f'<td class="number">{value}</td>'
            else:
                cell = f'<td class="absent">{escape(STATUS_LABELS[row["status"]])}</td>'
            lines.append(
                f'<tr><th scope="row">{escape(self._label(row))}</th><td>{escape(family)}</td>{cell}'
                f'<td class="number">{_number(row["numerator"])}</td>'
                f'<td class="number">{_number(row["denominator"])}</td>'
                f'<td class="number">{_share(row["coverage"])}</td></tr>'
            )
        return _table(
            caption,
            ("Indicateur", "Famille", "#Valeur", "#Numérateur", "#Dénominateur", "#Couverture"),
            lines,
        )

    def _coverage(self) -> str:
        grid = [
            row for row in self._tables["coverage"].to_pylist() if self._months and row["month"] == self._months[-1]
        ]
        if not grid:
            return "<p>Aucune unité attendue.</p>"
        expected = Counter((row["family"], row["source"]) for row in grid)
        received = Counter((row["family"], row["source"]) for row in grid if row["is_received"])
        lines = [
            f'<tr><th scope="row">{escape(_FAMILY_LABELS.get(family, family))}</th>'
            f'<td>{escape(self._source_title(source))}</td><td class="number">{received[family, source]}</td>'
            f'<td class="number">{expected[family, source]}</td></tr>'
            for family, source in sorted(expected)
        ]
        missing = sorted(
            f"{row['unit_label']} ({self._source_title(row['source'])})" for row in grid if not row["is_received"]
        )
        absent = "".join(f"<li>{escape(one)}</li>" for one in missing)
        table = _table("Unités déclarantes du dernier mois", ("Famille", "Fichier", "#Reçues", "#Attendues"), lines)
        return table + (
            f"<details><summary>{len(missing)} fichiers non reçus</summary><ul>{absent}</ul></details>"
            if missing
            else "<p>Tous les fichiers attendus sont reçus.</p>"
        )

    def _revisions(self) -> str:
        moved = self._tables["revisions"]
        if not len(moved):
            return "<p>Aucune valeur déjà publiée n'a changé.</p>"
        by_month = Counter(moved["month"].to_pylist())
        lines = [
            f'<tr><th scope="row">{escape(_month(month))}</th><td class="number">{count}</td></tr>'
            for month, count in sorted(by_month.items())
        ]
        return _table("Valeurs révisées depuis la publication précédente", ("Mois", "#Valeurs"), lines)

    def _protection(self) -> str:
        statuses = self._certificate["statuses"]
        lines = [
            f'<tr><th scope="row">{escape(STATUS_LABELS[code])}</th><td><code>{escape(code)}</code></td>'
            f'<td class="number">{_number(float(statuses.get(code, 0)))}</td></tr>'
            for code in STATUS_LABELS
        ]
        withheld = len(self._certificate["withheld"])
        sparse = (
            f"<p>{withheld} parties de la table (un indicateur, un niveau, une ventilation) ne sont pas publiées :"
            " plus de la moitié de leurs valeurs y seraient masquées.</p>"
            if withheld
            else ""
        )
        return (
            "<p>Une valeur qui reposerait sur trop peu de personnes est masquée, et avec elle celles qui permettraient"
            " de la retrouver par différence. Les zéros sont publiés. Un contrôle indépendant a cherché à recalculer"
            " chaque valeur masquée à partir de toutes les autres ; le détail est dans"
            ' <a href="../certificate.json">le certificat</a>.</p>' + sparse
        ) + _table("Valeurs par statut, tous mois", ("Statut", "Code", "#Valeurs"), lines)

    def _dictionary(self) -> str:
        parts = []
        known = {row["code"]: row for row in self._tables["indicators"].to_pylist()}
        for family in self._registry.indicator_families:
            parts.append(f"<h3>{escape(family.title)}</h3>")
            for one in family.indicators:
                row = known[one.code]
                sources = ", ".join(self._source_title(source) for source in one.sources)
                entries = [
                    ("Code", f"<code>{escape(row['code'])}</code>"),
                    ("Définition", escape(row["definition"])),
                    ("Numérateur", escape(row["numerator"])),
                    ("Dénominateur", escape(row["denominator"])),
                    ("Territoire selon", escape(_AXIS_LABELS.get(row["axis"], row["axis"]))),
                    ("Période", escape(_PERIOD_LABELS.get(row["reference_period"], row["reference_period"]))),
                    ("Sources", escape(sources)),
                    ("Exclusions", escape(row["exclusions"])),
                    ("Référence", escape(row["reference"])),
                    ("Depuis", escape(_month(row["valid_from"]))),
                ]
                terms = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in entries if text)
                parts.append(f"<details><summary>{escape(row['label'])}</summary><dl>{terms}</dl></details>")
        return "".join(parts) or "<p>Aucun indicateur.</p>"

    def _downloads(self) -> str:
        lines = [
            f'<tr><th scope="row">{escape(table.title)}</th><td><a href="../csv/{table.name}.csv">CSV</a></td>'
            f'<td><a href="../parquet/{table.name}.parquet">Parquet</a></td>'
            f'<td class="number">{_number(float(len(self._tables[table.name])))}</td></tr>'
            for table in TABLES
        ]
        books = "".join(
            f'<li><a href="../{escape(path)}">{escape(path)}</a> : {escape(holds)}</li>'
            for path, holds in sorted(self._workbooks.items())
        )
        return _table("Tables", ("Table", "CSV", "Parquet", "#Lignes"), lines) + (
            '<ul><li><a href="../insertion.duckdb">insertion.duckdb</a> : toutes les tables, base DuckDB</li>'
            f'{books}<li><a href="../datapackage.json">datapackage.json</a> : chaque fichier et colonne, décrits</li>'
            '<li><a href="../MANIFEST.json">MANIFEST.json</a> : empreintes, dépôts et paramètres</li></ul>'
        )

    # -- words -----------------------------------------------------------------------------------------------------

    def _ordered(self, rows: Mapping[str, Row]) -> Iterable[tuple[str, Row]]:
        """(family title, row) in the order of the catalogue, the network first."""
        families = sorted(self._registry.indicator_families, key=lambda family: family.family != "network")
        for family in families:
            for one in family.indicators:
                if one.code in rows:
                    yield family.title, rows[one.code]
        for code in sorted(set(rows) - set(self._registry.indicators)):
            yield "", rows[code]

    def _label(self, row: Row) -> str:
        declared = self._registry.indicators.get(row["indicator_code"])
        return declared.label if declared else str(row["indicator_code"])

    def _source_title(self, source: str) -> str:
        declared = self._registry.sources.get(source)
        return declared.title if declared else source


def _first_of_each(ordered: Iterable[tuple[str, Row]]) -> Iterable[Row]:
    """The first published rows of each family: six of the network, whose family comes first, two of the others."""
    taken: Counter[str] = Counter()
    for family, row in ordered:
        if row["status"] == "published" and taken[family] < (6 if len(taken) <= 1 else 2):
            taken[family] += 1
            yield row


def _table(caption: str, heads: Sequence[str], lines: Iterable[str]) -> str:
    """A table; a head that begins with `#` is a column of numbers."""
    cells = "".join(
        f'<th scope="col" class="number">{escape(head[1:])}</th>'
        if head.startswith("#")
        else f'<th scope="col">{escape(head)}</th>'
        for head in heads
    )
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{escape(caption)}</caption><thead><tr>{cells}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _unit(row: Row) -> str:
    unit = str(row["unit"])
    return "" if unit == "count" else UNIT_LABELS.get(unit, unit)


def _month(text: str) -> str:
    year, _, month = text.partition("-")
    return f"{_MONTH_NAMES[int(month) - 1]} {year}"


def _number(value: float | None) -> str:
    """A number as French readers write it: narrow space for thousands, comma for decimals."""
    if value is None:
        return ""
    text = f"{value:,.1f}".removesuffix(".0")
    return text.replace(",", "\u202f").replace(".", ",")


def _share(value: float | None) -> str:
    return "" if value is None else f"{_number(round(100 * value))}\u00a0%"
