"""A verdict to hand back: what was taken, what was not, why, what to do; as JSON, as CSV, as a workbook.

Belongs here: grouping findings, the sentences about a verdict, the plain files. Does not belong here: judging
(`judging`), the workbook (`report_workbook`), the terminal (`screen`, which says the same sentences).

Everything is drawn from one answer, that of `insertion check --json`, so that all outputs agree on every count. What is
written shows values: a report is for the depositor alone.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from insertion_pipeline.contracts.findings import TITLES
from insertion_pipeline.lake import Lake, replacing, write_atomically

if TYPE_CHECKING:
    from insertion_pipeline.ingestion.replaying import Page
    from insertion_pipeline.registry import Registry

Answer = Mapping[str, Any]
Row = Mapping[str, Any]

VERDICTS: Mapping[int, str] = {
    0: "Conforme",
    1: "Accepté avec avertissements",
    2: "Accepté en partie",
    3: "Refusé",
}
SEVERITIES: Mapping[str, str] = {"blocking": "bloquant", "warning": "avertissement"}
EXTENSIONS = (".xlsx", ".csv", ".json")


# -- the same things said together -------------------------------------------------------------------------------------


def title_of(finding: Row) -> str:
    """The French title of a finding's code."""
    return TITLES.get(finding["code"], str(finding["code"]))


@dataclass
class Group:
    """Findings that say the same of the same column: `lines` in order, `values` by how often they come."""

    first: Row
    count: int = 0
    lines: list[int] = field(default_factory=list)
    values: dict[str, int] = field(default_factory=dict)

    @property
    def is_blocking(self) -> bool:
        return bool(self.first["severity"] == "blocking")

    @property
    def title(self) -> str:
        return title_of(self.first)

    @property
    def expected(self) -> str:
        """What is expected, where the message does not say it already."""
        expected = str(self.first["expected"])
        return "" if expected in self.first["message"] else expected

    def add(self, finding: Row) -> None:
        self.count += finding["count"]
        if finding["line"] is not None:
            self.lines.append(finding["line"])
        if finding["value"] not in (None, ""):
            self.values[finding["value"]] = self.values.get(finding["value"], 0) + finding["count"]

    def where(self, most: int = 8) -> str:
        """The lines concerned: `lignes 4, 9, 12 et 30 autres`; empty for a finding about the file."""
        numbers = list(dict.fromkeys(self.lines))
        if not numbers:
            return ""
        shown, rest = ", ".join(map(str, numbers[:most])), len(numbers) - most
        if rest > 0:
            return f"lignes {shown} et {spelled(rest)} autre{'s' if rest > 1 else ''}"
        return f"ligne{'s' if len(numbers) > 1 else ''} {shown}"

    def examples(self, most: int = 4, longest: int = 40) -> str:
        """The values concerned, the most frequent first: `« 31/02/1990 » (3 fois), « hier »…`."""
        ordered = sorted(self.values.items(), key=lambda item: -item[1])
        shown = [
            f"« {shortened(value, longest)} »" + (f" ({spelled(times)} fois)" if times > 1 else "")
            for value, times in ordered[:most]
        ]
        return ", ".join(shown) + (" …" if len(ordered) > most else "")


def grouped(findings: Iterable[Row]) -> list[Group]:
    """Findings that differ by their line and value alone, together: those that refuse first, then the most frequent."""
    groups: dict[tuple[object, ...], Group] = {}
    for finding in findings:
        key = tuple(finding[name] for name in _ALIKE)
        groups.setdefault(key, Group(finding)).add(finding)
    return sorted(groups.values(), key=lambda group: (not group.is_blocking, bool(group.lines), -group.count))


_ALIKE = ("code", "severity", "file", "table", "field", "rule", "message", "expected")


@dataclass(frozen=True)
class Outcome:
    """A verdict in four sentences."""

    taken: str
    left: str
    why: str
    to_do: str


def outcome(answer: Answer, *, is_deposit: bool = False) -> Outcome:
    """What was taken, what was not, why, what to do. `is_deposit`: the file was deposited, not only looked at."""
    accepted, rejected, verdict = answer["accepted"], answer["rejected"], answer["verdict"]
    data = accepted + rejected
    warnings = sum(one["count"] for one in answer["findings"] if one["severity"] != "blocking")
    again = "déposez-le de nouveau en entier : il remplacera le précédent" if is_deposit else "contrôlez-le de nouveau"
    done = "Le fichier est déposé" if is_deposit else "Le fichier peut être déposé"
    noted = f" {several(warnings, 'avertissement')} en plus." if warnings and verdict > 1 else ""
    if verdict == 0:
        return Outcome(f"{_all_lines(data)}.", "Rien.", "Aucun constat.", f"{done} : rien à corriger.")
    if verdict == 1:
        return Outcome(
            f"{_all_lines(data)}.",
            "Aucune ligne. Une valeur douteuse est laissée vide, le reste de sa ligne est pris.",
            f"{several(warnings, 'avertissement')}.",
            f"{done} tel quel. Corrigez ce qui est signalé si vous le pouvez : les valeurs laissées vides manqueront"
            " aux indicateurs.",
        )
    if verdict == 2:
        return Outcome(
            f"{several(accepted, 'ligne')} sur {spelled(data)}.",
            f"{several(rejected, 'ligne')} : {'elles manqueront' if rejected > 1 else 'elle manquera'} aux indicateurs"
            " tant que ce n'est pas corrigé.",
            f"{_rejecting(answer)}.{noted}",
            f"Corrigez {'ces lignes' if rejected > 1 else 'cette ligne'} dans votre fichier, puis {again}.",
        )
    whole_size = f", {several(data, 'ligne')}" if data else ""
    return Outcome(
        "Rien : le fichier est refusé, rien n'en est gardé.",
        f"Tout le fichier{whole_size}.",
        f"{_refusing(answer)}{noted}",
        _mending(answer, again.replace(" : il remplacera le précédent", "")),
    )


def _mending(answer: Answer, again: str) -> str:
    """What to do about a refused file: what its own findings say, or else to correct its lines."""
    blocking = [one for one in answer["findings"] if one["severity"] == "blocking"]
    whole = [one["remedy"] for one in blocking if one["line"] is None or not answer["accepted"] + answer["rejected"]]
    remedies = list(dict.fromkeys(remedy for remedy in whole if remedy))[:_MOST_REMEDIES]
    return " ".join([*(remedies or ["Corrigez les lignes rejetées dans votre fichier."]), f"Puis {again}."])


#: Remedies that a sentence can hold; the findings give each its own.
_MOST_REMEDIES = 3


def _all_lines(data: int) -> str:
    return "La seule ligne du fichier" if data == 1 else f"Toutes les lignes : {spelled(data)}"


def _rejecting(answer: Answer) -> str:
    """What rejects lines, most frequent first."""
    names: dict[str, int] = {}
    for group in grouped(answer["findings"]):
        if group.is_blocking:
            names[group.title] = names.get(group.title, 0) + group.count
    return " ; ".join(f"{name} : {spelled(count)}" for name, count in sorted(names.items(), key=lambda one: -one[1]))


def _refusing(answer: Answer) -> str:
    """What refuses the file: what is said of it as a whole, or the share of its lines that are rejected."""
    whole = [one["message"] for one in answer["findings"] if one["severity"] == "blocking" and one["line"] is None]
    if whole:
        return " ".join(dict.fromkeys(whole))
    refused = [one["message"] for one in answer["findings"] if one["severity"] == "blocking"]
    data = answer["accepted"] + answer["rejected"]
    if not data:
        return " ".join(dict.fromkeys(refused))
    share = f"{100 * answer['rejected'] / data:.0f}\u00a0%"
    return (
        f"{spelled(answer['rejected'])} lignes sur {spelled(data)} ({share}) sont rejetées : plus que ce type de"
        f" fichier n'en admet. {_rejecting(answer)}."
    )


def several(count: int, noun: str) -> str:
    """`1 ligne`, `12 lignes`."""
    return f"{spelled(count)} {noun}{'s' if count > 1 else ''}"


def spelled(count: int) -> str:
    """A whole number as French readers write it: `12 345`."""
    return f"{count:,}".replace(",", "\u202f")


def own_titles_of(answer: Answer) -> str:
    """The columns that were read under the partner's own titles: `« N° dossier » est lu comme « Identifiant »`."""
    titles = answer.get("own_titles", ())
    return " ; ".join(f"« {one['title']} » est lu comme « {one['contract_title']} »" for one in titles)


def typeset(text: str) -> str:
    """The text with French spaces that do not break: a line never begins with `»` or `:`."""
    return re.sub(r"(?<=«) | (?=[»:;!?%])", "\u00a0", text)


def shortened(text: str, longest: int) -> str:
    """The text on one line, cut with an ellipsis; what does not show, or would command a terminal, by its number."""
    line = visible(" ".join(text.split()))
    return line if len(line) <= longest else line[: longest - 1] + "…"


def visible(text: str) -> str:
    """The text with `‹U+202E›` for each character that does not show: control, direction, private use."""
    if text.isprintable():
        return text
    return "".join(mark if mark.isprintable() or mark.isspace() else f"‹U+{ord(mark):04X}›" for mark in text)


def account_of(counts: Row) -> str:
    """`200 lignes : 188 acceptées, 12 rejetées, 1 de titres ou de fin`; nothing is said of what there is none of."""
    parts = [
        _agreeing(counts["accepted"], "acceptée"), _agreeing(counts["rejected"], "rejetée"),
        _agreeing(counts["blank"], "vide"), f"{spelled(counts['header_footer'])} de titres ou de fin",
    ]  # fmt: skip
    numbers = [counts[name] for name in ("accepted", "rejected", "blank", "header_footer")]
    told = [part for part, number in zip(parts, numbers, strict=True) if number]
    if not counts["lines"]:
        return "aucune ligne lue"
    return f"{several(counts['lines'], 'ligne')} : {', '.join(told)}"


def _agreeing(count: int, word: str) -> str:
    return f"{spelled(count)} {word}{'s' if count > 1 else ''}"


# -- the three files ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class About:
    """What a report says beside the answer: names that its depositor knows, none of which leaves the report."""

    files: Sequence[str]
    partner: str
    source: str
    labels: Mapping[tuple[str, str], str]

    @classmethod
    def of(cls, source: str | None, partner: str, files: Sequence[Path], registry: Registry) -> About:
        """The names that the declarations give to a source, its columns and a partner."""
        who, what = registry.partners.get(partner), registry.sources.get(source or "")
        if who is not None and what is not None:
            what = registry.source_of(who, what.name)
        tables = [table for version in what.versions for table in version.resources] if what is not None else []
        return cls(
            [visible(path.name) for path in files],
            f"{who.name} ({partner})" if who is not None else partner,
            f"{what.title} ({what.name})" if what is not None else "non reconnu",
            {(table.name, one.name): one.label for table in tables for one in table.fields},
        )

    def column(self, finding: Row, most: int = 99) -> str:
        """The columns that a finding is about, as their titles in the contract; empty for more of them than `most`."""
        names = finding["field"].split(", ") if finding["field"] else []
        return "" if len(names) > most else ", ".join(self.labels.get((finding["table"], name), name) for name in names)


def write_report(target: Path, answer: Answer, about: About, lake: Lake, pages: Iterable[Page] = ()) -> None:
    """Write the answer in the format that the extension of `target` names. Raises `ValueError` for another one.

    `pages`: the partner's own file, for a workbook; whatever must lie on disk meanwhile lies in the sealed area.
    """
    kind = target.suffix.lower()
    if kind == ".json":
        write_atomically(target, json.dumps(answer, ensure_ascii=False, indent=1).encode() + b"\n")
    elif kind == ".csv":
        write_atomically(target, csv_of(answer, about))
    elif kind == ".xlsx":
        from insertion_pipeline.ingestion.report_workbook import write_workbook

        with replacing(target) as partial, lake.sealed_spill() as spill:
            write_workbook(partial, answer, about, pages, spill)
    else:
        raise ValueError(f"unknown extension {kind!r}")


COLUMNS = (
    ("Gravité", 14), ("Constat", 26), ("Fichier", 16), ("Ligne", 9), ("Colonne", 24), ("Valeur", 24),
    ("Ce qui ne va pas", 60), ("Attendu", 34), ("Que faire", 50), ("Nombre", 9), ("Code", 18), ("Règle", 20),
)  # fmt: skip


def told(finding: Row, about: About) -> tuple[str | int | None, ...]:
    """A finding in the order of `COLUMNS`."""
    return (
        SEVERITIES[finding["severity"]], title_of(finding), finding["file"], finding["line"],
        about.column(finding), finding["value"], finding["message"], finding["expected"], finding["remedy"],
        finding["count"], finding["code"], finding["rule"],
    )  # fmt: skip


def csv_of(answer: Answer, about: About) -> bytes:
    """Every finding, one line each: UTF-8 with BOM, `;`, no cell that a spreadsheet would take for a formula."""
    import csv

    text = io.StringIO()
    writer = csv.writer(text, delimiter=";", lineterminator="\r\n")
    writer.writerow([name for name, _ in COLUMNS])
    for finding in answer["findings"]:
        cells = told(finding, about)
        writer.writerow([neutralised(cell) if isinstance(cell, str) else cell for cell in cells])
    return b"\xef\xbb\xbf" + text.getvalue().encode("utf-8", errors="replace")


_FORMULA = re.compile(r"\s*[=+\-@\uFF1D\uFF0B\uFF0D\uFF20]|[\t\r\n]")
_PLAIN_NUMBER = re.compile(r"[+-]?[0-9]+([.,][0-9]+)?")


def neutralised(text: str) -> str:
    """The text with an apostrophe before it when a spreadsheet would run it; a number stays a number."""
    return f"'{text}" if _FORMULA.match(text) and not _PLAIN_NUMBER.fullmatch(text) else text
