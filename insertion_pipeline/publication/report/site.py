"""The pages of the report: which there are, what stands on each, in which order.

Belongs here: choosing rows and giving them their words. Does not belong here: HTML (`templates`), looks and behaviour
(`static`), the ten views (`views`).
"""

from __future__ import annotations

import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.disclosure.equations import UNCUT
from insertion_pipeline.month import Month
from insertion_pipeline.publication.report import maps, views, words
from insertion_pipeline.publication.revising import REOPENED_MONTHS
from insertion_pipeline.publication.tables import TABLES
from insertion_pipeline.registry import Registry

_HERE: Final = Path(__file__).parent
_STATIC: Final = ("report.css", "report.js", "echarts.common.min.js", "echarts.LICENSE", "echarts.NOTICE")
#: Levels whose territories have a page; the others are in the files.
_LEVELS: Final = ("country", "region", "province", "department")
#: Below this coverage a figure carries no trend (domain rule 21).
_TREND_COVERAGE: Final = 0.8
#: The figures of each family shown first.
_CARDS: Final = {"network": 4}
_OTHER_CARDS: Final = 2
#: What the map can show: figures of every department, shares before counts.
_ON_MAP: Final = 12

Row = Mapping[str, Any]


def write_report(
    folder: Path,
    release_id: str,
    tables: Mapping[str, pa.Table],
    certificate: Mapping[str, Any],
    registry: Registry,
    workbooks: Mapping[str, str],
) -> None:
    """Write the site: `index.html`, a page per territory, and the pages about the release as a whole."""
    site = _Site(release_id, tables, certificate, registry, workbooks)
    for name, text in site.pages():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (folder / "static").mkdir()
    for name in _STATIC:
        shutil.copyfile(_HERE / "static" / name, folder / "static" / name)


class _Site:
    """The report of one release."""

    def __init__(
        self,
        release_id: str,
        tables: Mapping[str, pa.Table],
        certificate: Mapping[str, Any],
        registry: Registry,
        workbooks: Mapping[str, str],
    ) -> None:
        self._release_id, self._tables, self._certificate = release_id, tables, certificate
        self._registry, self._workbooks = registry, workbooks
        values = tables["indicator_values"]
        self._months = sorted(pc.unique(values["month"]).to_pylist())
        self._last = self._months[-1] if self._months else ""
        self._territories = {row["territory_code"]: row for row in tables["territories"].to_pylist()}
        self._views = views.load(registry)
        self._trends = {
            (row["territory_code"], row["indicator_code"], row["lag_months"]): row
            for row in tables["trends"].filter(pc.equal(tables["trends"]["month"], self._last)).to_pylist()
        }
        self._index(values)

    def _index(self, values: pa.Table) -> None:
        """Rows by territory, indicator and month where uncut; by territory and cut for the last month."""
        on_page = pc.is_in(values["territory_level"], pa.array(_LEVELS))
        uncut = pc.equal(values["breakdown"], UNCUT)
        self._uncut: dict[str, dict[str, dict[str, Row]]] = defaultdict(lambda: defaultdict(dict))
        for row in values.filter(pc.and_(on_page, uncut)).to_pylist():
            self._uncut[row["territory_code"]][row["indicator_code"]][row["month"]] = row
        cuts = {(one.indicator, one.breakdown) for view in self._views for one in view.charts}
        drawn = pc.and_(
            pc.is_in(values["indicator_code"], pa.array([one for one, _ in cuts], pa.string())),
            pc.is_in(values["breakdown"], pa.array([one for _, one in cuts], pa.string())),
        )
        recent = pc.and_(pc.equal(values["month"], self._last), drawn)
        self._cut: dict[tuple[str, str, str], dict[str, Row]] = defaultdict(dict)
        for row in values.filter(pc.and_(on_page, recent)).to_pylist():
            self._cut[row["territory_code"], row["indicator_code"], row["breakdown"]][row["modality"]] = row

    # -- pages -----------------------------------------------------------------------------------------------------

    def pages(self) -> Iterator[tuple[str, str]]:
        """Every page: its path in the report, its text."""
        for code in self._with_page:
            yield self._path_of(code), self._rendered("territory.html", self._path_of(code), **self._territory(code))
        if not self._with_page:
            yield "index.html", self._rendered("empty.html", "index.html")
        yield "carte.html", self._rendered("map.html", "carte.html", **self._map())
        yield "couverture.html", self._rendered("coverage.html", "couverture.html", **self._coverage())
        yield "revisions.html", self._rendered("revisions.html", "revisions.html", **self._revisions())
        yield "dictionnaire.html", self._rendered("dictionary.html", "dictionnaire.html", **self._dictionary())
        yield "qualite.html", self._rendered("quality.html", "qualite.html", **self._quality())
        yield "fichiers.html", self._rendered("files.html", "fichiers.html", **self._files())

    @cached_property
    def _environment(self) -> Any:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined

        environment = Environment(
            loader=FileSystemLoader(_HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        environment.filters |= {
            "number": words.number, "share": words.share, "month": words.month_of, "status": words.status,
            "capital": lambda text: text[:1].upper() + text[1:], "json": _json,
        }  # fmt: skip
        return environment

    def _rendered(self, template: str, path: str, **content: Any) -> str:
        root = "../" * path.count("/")
        text: str = self._environment.get_template(template).render(
            root=root, here=path, release_id=self._release_id, last=self._last, menu=self._menu, **content
        )
        return text

    @cached_property
    def _menu(self) -> list[dict[str, Any]]:
        """The territories to choose from: country, then region, then department or province."""
        children: dict[str, list[str]] = defaultdict(list)
        for code in self._with_page:
            children[self._parent(code)].append(code)

        def under(parent: str) -> list[dict[str, Any]]:
            return [
                {"name": self._name(code), "path": self._path_of(code), "under": under(code)}
                for code in children.get(parent, [])
            ]

        return under("")

    @cached_property
    def _with_page(self) -> list[str]:
        """The territories that have something to say in the last month, France first, large ones first."""
        told = [
            code
            for code, indicators in self._uncut.items()
            if any(
                months[self._last]["status"] == "published" for months in indicators.values() if self._last in months
            )
        ]
        order = {level: rank for rank, level in enumerate(_LEVELS)}
        return sorted(
            told, key=lambda code: (code[:2] != "FR", order[self._territories[code]["territory_level"]], code)
        )

    def _parent(self, code: str) -> str:
        parent = self._territories[code]["parent_code"]
        while parent and parent not in self._with_page:
            parent = self._territories[parent]["parent_code"] if parent in self._territories else None
        return parent or ""

    def _path_of(self, code: str) -> str:
        return "index.html" if code == self._with_page[0] else f"territoires/{code}.html"

    def _name(self, code: str) -> str:
        return words.COUNTRIES.get(code) or str(self._territories.get(code, {}).get("label", code))

    # -- a territory -----------------------------------------------------------------------------------------------

    def _territory(self, code: str) -> dict[str, Any]:
        lineage = []
        above = self._parent(code)
        while above:
            lineage.append({"name": self._name(above), "path": self._path_of(above)})
            above = self._parent(above)
        return {
            "code": code,
            "name": self._name(code),
            "level": words.level(self._territories[code]["territory_level"]),
            "lineage": lineage[::-1],
            "cards": list(self._cards(code)),
            "has_year": str(Month.parse(self._last).plus(-12)) in self._months,
            "views": [self._view(code, view) for view in self._views],
        }

    def _cards(self, code: str) -> Iterator[dict[str, Any]]:
        """The first published figures of each family, the network's first."""
        families = sorted(self._registry.indicator_families, key=lambda family: family.family != "network")
        for family in families:
            shown = (self._line(code, one.code) for one in family.indicators if one.code in self._uncut[code])
            published = [line for line in shown if line["status"] == "published"]
            yield from published[: _CARDS.get(family.family, _OTHER_CARDS)]

    def _view(self, code: str, view: views.View) -> dict[str, Any]:
        lines = [self._line(code, indicator) for indicator in view.of(self._uncut[code])]
        return {
            "view": view,
            "lines": lines,
            "missing": [
                self._label(indicator)
                for indicator in view.of(self._registry.indicators)
                if indicator not in self._uncut[code] and code[:2] in self._registry.indicators[indicator].countries
            ],
            "series": self._series(view, lines),
            "cuts": [cut for one in view.charts if (cut := self._cut_of(code, one))],
            "absent": self._absent(code) if "coverage" in view.shows else None,
            "revised": self._revised(code) if "revisions" in view.shows else None,
        }

    def _line(self, code: str, indicator: str) -> dict[str, Any]:
        """An indicator of a territory in the last month, beside the month and the year before if comparable."""
        months = self._uncut[code][indicator]
        row = months.get(self._last)
        if row is None:
            return {"code": indicator, "label": self._label(indicator), "status": "ND", "value": None, "coverage": None,
                    "numerator": None, "denominator": None, "unit": "", "before": None, "year": None, "maturity": "",
                    "months": {}}  # fmt: skip
        return {
            "code": indicator,
            "label": self._label(indicator),
            "status": row["status"],
            "value": row["value"],
            "unit": words.unit(row["unit"]),
            "numerator": row["numerator"] if row["denominator"] is not None else None,
            "denominator": row["denominator"],
            "coverage": row["coverage"],
            "maturity": row["maturity"],
            "before": self._compared(code, indicator, 1),
            "year": self._compared(code, indicator, 12),
            "months": months,
        }

    def _compared(self, code: str, indicator: str, lag: int) -> dict[str, Any] | None:
        """The earlier value at constant scope; with it the value over that scope, where it is not the whole."""
        trend = self._trends.get((code, indicator, lag))
        if trend is None:
            return None
        return {"then": trend["value_then"], "now": trend["value_now"] if trend["n_territories"] > 1 else None}

    def _series(self, view: views.View, lines: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """One chart per unit: the view's indicators since their last break, gaps where nothing may be compared."""
        if len(self._months) < 2:
            return []
        by_unit: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for line in lines:
            begins = max(self._registry.indicators[line["code"]].series_breaks, default="")
            points = [_point(line["months"].get(month)) if month >= begins else None for month in self._months]
            if sum(point is not None for point in points) >= 2:
                by_unit[line["unit"]].append({"name": line["label"], "values": points})
        months = [words.month_of(month) for month in self._months]
        return [
            {"title": f"{view.title}, {unit or 'nombre'}", "months": months, "unit": unit, "lines": lines_of_unit[:6]}
            for unit, lines_of_unit in by_unit.items()
        ]

    def _cut_of(self, code: str, cut: views.Cut) -> dict[str, Any] | None:
        rows = self._cut.get((code, cut.indicator, cut.breakdown))
        if not rows or not any(row["status"] == "published" for row in rows.values()):
            return None
        declared = self._registry.breakdowns[cut.breakdown]
        order = [one for one in declared.modalities if one in rows] + sorted(set(rows) - set(declared.modalities))
        return {
            "title": f"{self._label(cut.indicator)}, par {declared.label[:1].lower()}{declared.label[1:]}",
            "unit": words.unit(next(iter(rows.values()))["unit"]),
            "bars": [
                {
                    "name": declared.modalities.get(one, one),
                    "value": rows[one]["value"],
                    "status": rows[one]["status"],
                }
                for one in order
            ],
        }

    def _absent(self, code: str) -> list[str]:
        """Who was expected in the last month for this territory, or for a country, and has not delivered."""
        within = self._within(code)
        return sorted(
            f"{row['unit_label']} ({self._due_title(row['source'], row['payer'])})"
            for row in self._grid
            if not row["is_received"] and row["territory_code"] in within
        )

    def _within(self, code: str) -> set[str]:
        return {code} | {part for part, whole in self._links if whole == code}

    @cached_property
    def _links(self) -> set[tuple[str, str]]:
        links = self._tables["territory_links"]
        return set(zip(links["part"].to_pylist(), links["whole"].to_pylist(), strict=True))

    @cached_property
    def _grid(self) -> list[Row]:
        return [row for row in self._tables["coverage"].to_pylist() if row["month"] == self._last]

    def _revised(self, code: str) -> list[dict[str, Any]]:
        return [row for row in self._moved if row["territory_code"] == code]

    @cached_property
    def _moved(self) -> list[dict[str, Any]]:
        """The uncut values published on both sides that changed, newest month first."""
        moved = self._tables["revisions"]
        uncut = moved.filter(pc.equal(moved["breakdown"], UNCUT)).to_pylist()
        shown = [row for row in uncut if row["value"] is not None and row["previous_value"] is not None]
        units = {one: self._registry.indicators[one].unit for one in self._registry.indicators}
        return [
            {
                **row,
                "label": self._label(row["indicator_code"]),
                "name": self._name(row["territory_code"]),
                "unit": words.unit(units.get(row["indicator_code"], "count")),
            }
            for row in sorted(shown, key=lambda row: (row["month"], row["indicator_code"]), reverse=True)
        ]

    # -- the release as a whole ------------------------------------------------------------------------------------

    def _map(self) -> dict[str, Any]:
        outlines = maps.Outlines.read(self._registry)
        rows: dict[str, dict[str, Row]] = defaultdict(dict)
        for territory, indicators in self._uncut.items():
            if self._territories[territory]["territory_level"] in ("department", "province"):
                for code, months in indicators.items():
                    if self._last in months:
                        rows[code][territory] = months[self._last]
        layers = [self._layer(code, rows[code]) for code in self._mapped(rows)]
        return {
            "outlines": outlines,
            "layers": layers,
            "names": {one.code: self._name(one.code) for one in outlines.territories},
            "paths": {one.code: self._path_of(one.code) for one in outlines.territories if one.code in self._with_page},
        }

    def _mapped(self, rows: Mapping[str, Mapping[str, Row]]) -> list[str]:
        """The indicators worth a map: published in two places at least, shares first, in the order of the views."""
        shown = {code for code, places in rows.items() if sum(r["status"] == "published" for r in places.values()) >= 2}
        ordered = list(dict.fromkeys(code for view in self._views for code in view.of(self._registry.indicators)))
        return sorted(
            (code for code in ordered if code in shown), key=lambda code: self._registry.indicators[code].unit != "%"
        )[:_ON_MAP]

    def _layer(self, code: str, rows: Mapping[str, Row]) -> dict[str, Any]:
        published = {place: row["value"] for place, row in rows.items() if row["status"] == "published"}
        found = maps.classes(list(published.values()))
        return {
            "code": code,
            "label": self._label(code),
            "unit": words.unit(self._registry.indicators[code].unit),
            "classes": found,
            "places": [
                {
                    "code": place,
                    "name": self._name(place),
                    "value": published.get(place),
                    "status": row["status"],
                    "class": f"q{maps.class_of(published[place], found)}" if place in published else "hidden",
                    "coverage": row["coverage"],
                }
                for place, row in sorted(rows.items(), key=lambda one: (one[0][:2] != "FR", one[0]))
            ],
        }

    def _coverage(self) -> dict[str, Any]:
        expected = Counter(_due(row) for row in self._grid)
        received = Counter(_due(row) for row in self._grid if row["is_received"])
        return {
            "sources": [
                {
                    "country": words.COUNTRIES.get(country, country),
                    "family": words.FAMILIES.get(family, family),
                    "source": self._due_title(source, payer),
                    "received": received[country, family, source, payer],
                    "expected": count,
                }
                for (country, family, source, payer), count in sorted(expected.items())
            ],
            "absent": sorted(
                f"{row['unit_label']} ({self._due_title(row['source'], row['payer'])})"
                for row in self._grid
                if not row["is_received"]
            ),
        }

    def _revisions(self) -> dict[str, Any]:
        open_from = str(Month.parse(self._last).plus(1 - REOPENED_MONTHS)) if self._last else ""
        counts = Counter(self._tables["revisions"]["month"].to_pylist())
        return {
            "months": [
                {
                    "month": month,
                    "count": counts[month],
                    "is_open": month >= open_from,
                    "until": str(Month.parse(month).plus(REOPENED_MONTHS - 1)),
                }
                for month in reversed(self._months)
            ],
            "moved": [row for row in self._moved if row["territory_code"] in self._with_page],
            "reopened": REOPENED_MONTHS,
        }

    def _dictionary(self) -> dict[str, Any]:
        known = {row["code"]: row for row in self._tables["indicators"].to_pylist()}
        return {
            "families": [
                {
                    "title": family.title,
                    "entries": [
                        {
                            **known[one.code],
                            "sources": ", ".join(self._source_title(source) for source in one.sources),
                            "axis_label": words.AXES.get(one.axis, one.axis),
                            "period": words.PERIODS.get(one.reference_period, one.reference_period),
                            "since": one.valid_from.in_french,
                            "unit_label": words.unit(one.unit) or "nombre",
                        }
                        for one in family.indicators
                        if one.code in known
                    ],
                }
                for family in self._registry.indicator_families
            ],
            "tables": TABLES,
        }

    def _quality(self) -> dict[str, Any]:
        statuses = self._certificate["statuses"]
        maturities: dict[str, Counter[str]] = defaultdict(Counter)
        values = self._tables["indicator_values"]
        for row in values.group_by(["month", "maturity"]).aggregate([([], "count_all")]).to_pylist():
            maturities[row["month"]][row["maturity"]] += row["count_all"]
        return {
            "statuses": [
                {"code": code, "label": words.status(code), "count": statuses.get(code, 0)}
                for code in ("published", "suppressed", "PS", "NR", "NC", "ND")
            ],
            "withheld": len(self._certificate["withheld"]),
            "too_many": len(self._certificate.get("withheld_as_too_many", ())),
            "as_before": len(self._certificate.get("withheld_as_before", ())),
            "maturities": [
                {"month": month, "kinds": sorted(maturities[month].items())} for month in reversed(self._months)
            ],
        }

    def _files(self) -> dict[str, Any]:
        return {
            "tables": [{"table": table, "rows": len(self._tables[table.name])} for table in TABLES],
            "workbooks": sorted(self._workbooks.items()),
            "attributions": list(self._registry.nomenclature("attributions").records()),
        }

    # -- words -----------------------------------------------------------------------------------------------------

    def _label(self, code: str) -> str:
        declared = self._registry.indicators.get(code)
        return declared.label if declared else code

    def _due_title(self, source: str, payer: str) -> str:
        """What is expected: a kind of file, of one payer where payers are told apart."""
        return self._source_title(source) + (f", {payer}" if payer else "")

    def _source_title(self, source: str) -> str:
        declared = self._registry.sources.get(source)
        return declared.title if declared else source


def _due(row: Row) -> tuple[str, str, str, str]:
    return row["country"], row["family"], row["source"], row["payer"]


def _point(row: Row | None) -> float | None:
    """A value that a trend may pass through: published, and covered."""
    if row is None or row["status"] != "published" or (row["coverage"] or 0.0) < _TREND_COVERAGE:
        return None
    value: float = row["value"]
    return value


def _json(value: Any) -> str:
    """For an attribute of the page, which the template escapes."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
