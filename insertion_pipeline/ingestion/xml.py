"""The CNAF and MSA beneficiary flow (VRSB0801) to a table of persons.

Belongs here: streaming the XML household by household, the paths of a contract's fields, control totals of the flow and
of each household, the month and the territory that the flow states. Does not belong here: what a code means, which
state prevails (`conforming`, facts).

A path starts at `Personne`; `../` starts at its household (`InfosFoyerRSA`), `/` at the root. A step may choose among
repeated elements: `Prestations[NATPREST=RSA]` by the text of a descendant (`=1|01`: either), `Activite[!DFACT]` by its
absence, `Activite[last]` the last one instead of the first. Texts are stripped: codes arrive padded.

Nothing is expanded and nothing is fetched: a flow with a document type is refused. One household is in memory
at a time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import pyarrow as pa
from lxml import etree

from insertion_pipeline.contracts.findings import Finding, findings_table
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.extracts import (
    ORIGIN_FIELDS,
    Batch,
    Extract,
    Opening,
    Piece,
    UnreadableDelivery,
    encoded,
    label,
    oddities_of,
    refusal,
)
from insertion_pipeline.month import InvalidMonth, Month
from insertion_pipeline.registry import ContractTable, Total

_HOUSEHOLD, _PERSON, _FLOW, _TOTALS = "InfosFoyerRSA", "Personne", "IdentificationFlux", "TransmissionFlux"
_PERIOD, _TERRITORY, _ANNOUNCED = "DTREF", ("IdentificationRSA", "Partenaire", "IDEPARTE"), "NBTOTDOSRSATRANSM"
_ANNOUNCED_ANOMALIES, _ANOMALY = "NBTOTDOSRSATRANSMANO", "Anomalie"
#: What each person's amount may be rounded by.
_CENT = Decimal("0.01")
_BATCH_PERSONS = 50_000
_MOST_PERSONS_PER_HOUSEHOLD = 1_000
_HEAD_BYTES = 1 << 16

_TAG = re.compile(r"[A-Za-z_][\w.-]*")
_STEP = re.compile(rf"(?P<tag>{_TAG.pattern})(?P<predicates>(?:\[[^\]]+\])*)")
_PREDICATE = re.compile(r"\[([^\]]+)\]")

_ENCODING_ERRORS = frozenset(
    getattr(etree.ErrorTypes, name)
    for name in ("ERR_INVALID_CHAR", "ERR_INVALID_ENCODING", "I18N_CONV_FAILED", "ERR_UNKNOWN_ENCODING")
)
_END_ERRORS = frozenset(
    getattr(etree.ErrorTypes, name)
    for name in ("ERR_DOCUMENT_END", "ERR_TAG_NOT_FINISHED", "ERR_GT_REQUIRED", "ERR_DOCUMENT_EMPTY", "ERR_LT_REQUIRED")
)

Element = Any  # lxml's own element type; its stubs type a path's result too widely to help here


class InvalidPath(ValueError):
    """A contract's `path` is not written in the language of this module."""


# -- the path language -------------------------------------------------------------------------------------------------


#: What stands at the paths of a table's fields, then of what totals are stated and held by; empty where nothing is.
Row = list[str]


@dataclass(slots=True)
class _Node:
    """A step shared by all the paths that begin with it. `places`: of those that end here, in a row."""

    places: list[int] = field(default_factory=list)
    children: dict[str, list[tuple[_Step, _Node]]] = field(default_factory=dict)

    def add(self, path: str, place: int) -> None:
        """Let what stands at `path` from here go to `place`."""
        node = self
        for text in _steps(path):
            step = _parse_step(text)
            branches = node.children.setdefault(step.tag, [])
            known = next((child for other, child in branches if other == step), None)
            if known is None:
                known = _Node()
                branches.append((step, known))
            node = known
        node.places.append(place)


@dataclass(frozen=True, slots=True)
class _Step:
    """An element by its name, and by what filters say of its descendants."""

    tag: str
    present: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = ()
    absent: tuple[tuple[str, ...], ...] = ()
    takes_last: bool = False
    filters: bool = False

    def accepts(self, element: Element) -> bool:
        if any(_text_at(element, tags) for tags in self.absent):
            return False
        return all(_text_at(element, tags) in values for tags, values in self.present)


def _text_at(element: Element, tags: Sequence[str]) -> str:
    """The text of the first descendant at `tags`, one below the other; empty where there is none."""
    found = _first(element, tags)
    return "" if found is None else (found.text or "").strip()


def _first(element: Element, tags: Sequence[str]) -> Element | None:
    """The first descendant at `tags`, in the order of the document; what `find` gives, without its language."""
    for child in element.iterchildren(tags[0]):
        if len(tags) == 1:
            return child
        if (found := _first(child, tags[1:])) is not None:
            return found
    return None


def _parse_step(text: str) -> _Step:
    match = _STEP.fullmatch(text)
    if match is None:
        raise InvalidPath(f"{text!r} is not a step of a path")
    present, absent, takes_last = [], [], False
    for predicate in _PREDICATE.findall(match["predicates"]):
        name, equals, values = predicate.partition("=")
        if equals:
            present.append((_tags(name), tuple(value.strip() for value in values.split("|"))))
        elif predicate == "last":
            takes_last = True
        elif predicate.startswith("!"):
            absent.append(_tags(predicate[1:]))
        else:
            raise InvalidPath(f"{predicate!r} is not a filter of a path")
    return _Step(match["tag"], tuple(present), tuple(absent), takes_last, bool(present or absent))


def _tags(path: str) -> tuple[str, ...]:
    """The names that the path of a filter goes through."""
    tags = tuple(path.strip().split("/"))
    for tag in tags:
        if not _TAG.fullmatch(tag):
            raise InvalidPath(f"{tag!r} is not the name of an element")
    return tags


def _steps(path: str) -> Iterator[str]:
    """The steps of a path; a `/` inside a filter does not separate."""
    return iter(re.findall(r"(?:[^/\[]|\[[^\]]*\])+", path))


@dataclass(frozen=True)
class _Paths:
    """The fields of a table and the totals of its households, by where their path starts. `width`: of a row."""

    width: int
    person: _Node
    household: _Node
    root: _Node


def _compiled(table: ContractTable, totals: Sequence[Total]) -> _Paths:
    first = len(table.stored_fields)
    paths = _Paths(first + 2 * len(totals), _Node(), _Node(), _Node())
    for place, one in enumerate(table.stored_fields):
        path = (one.insertion.path or one.name.upper()).strip()
        if path.startswith("../"):
            node, path = paths.household, path[3:]
        elif path.startswith("/"):
            node, path = paths.root, path[1:]
        else:
            node = paths.person
        node.add(path, place)
    for place, total in enumerate(totals, start=first):
        paths.household.add(total.stated, place)
        paths.person.add(total.over, place + len(totals))
    return paths


def _collect(element: Element, node: _Node, row: Row, *, replace: bool = False) -> None:
    """Put what `element` holds for the paths of `node` into `row`; the first of repeated elements counts."""
    branches_of = node.children.get
    for child in element:
        for step, following in branches_of(child.tag, ()):
            if step.filters and not step.accepts(child):
                continue
            last = replace or step.takes_last
            if following.places and (text := (child.text or "").strip()):
                for place in following.places:
                    if last or not row[place]:
                        row[place] = text
            if following.children:
                _collect(child, following, row, replace=last)


# -- the flow ----------------------------------------------------------------------------------------------------------


@dataclass
class _Flow:
    """What has been seen of the flow so far."""

    persons: int = 0
    households: int = 0
    households_without_persons: int = 0
    households_with_anomalies: int = 0
    envelopes: int = 0
    announced: int | None = None
    announced_anomalies: int = 0
    misstated: list[Finding] = field(default_factory=list)
    month_text: str = ""
    territories: set[str] = field(default_factory=set)
    root: Row = field(default_factory=list)


def read_flow(path: Path, tables: Sequence[ContractTable], rank: int, totals: Sequence[Total] = ()) -> Iterator[Piece]:
    """The persons of a flow. Raises `UnreadableDelivery` when it is not whole, not well formed, or not this flow.

    `totals`: what its households state of their persons; those that are wrong are said beside the household's first.
    """
    table = tables[0]
    file = label(rank, table)
    _refuse_document_type(path, file)
    names = tuple(one.name for one in table.stored_fields)
    paths = _compiled(table, totals)
    flow = _Flow(root=[""] * paths.width)
    yield Opening(rank, table.name, names)
    persons = _persons(path, paths, _Totals(totals, file, table), flow, file)
    while waiting := list(itertools.islice(persons, _BATCH_PERSONS)):
        columns = itertools.islice(zip(*waiting, strict=True), len(names))
        rows = pa.table([pa.array(texts, pa.string()) for texts in columns], names=list(names))
        lines = range(flow.persons - len(waiting) + 1, flow.persons + 1)
        origins = (lines, [1] * len(waiting), [rank] * len(waiting))
        for (name, kind), values in zip(ORIGIN_FIELDS, origins, strict=True):
            rows = rows.append_column(pa.field(name, kind), pa.array(values, kind))
        odd = pa.concat_tables([oddities_of(rows, names, file=file, table=table.name), findings_table(flow.misstated)])
        flow.misstated.clear()
        yield Batch(rank, table.name, encoded(rows), oddities=odd)
    account = Account(lines=flow.persons + flow.envelopes, header_footer=flow.envelopes, accepted=flow.persons)
    yield Extract(
        rank,
        table.name,
        account.checked(),
        tuple(_control(flow, file, table)),
        _stated_month(flow.month_text),
        _stated_territory(flow.territories, file),
    )


def root_of(path: Path) -> str:
    """The name of the root element; empty when the beginning of the file is not XML."""
    try:
        for _, element in _events(path, ("start",)):
            return str(element.tag)
    except etree.XMLSyntaxError:
        return ""
    return ""


def _events(path: Path, events: tuple[str, ...], tags: Sequence[str] | None = None) -> Iterator[tuple[str, Element]]:
    yield from etree.iterparse(
        str(path),
        events=events,
        tag=tags,
        resolve_entities=False,
        load_dtd=False,
        no_network=True,
        huge_tree=False,
        recover=False,
        remove_comments=True,
        remove_pis=True,
    )


def _persons(path: Path, paths: _Paths, totals: _Totals, flow: _Flow, file: str) -> Iterator[Row]:
    """The values of each `Personne`, its household's and the flow's with it."""
    in_household = 0
    try:
        for _, element in _events(path, ("end",), (_HOUSEHOLD, _PERSON, _FLOW, _TOTALS)):
            if element.tag == _PERSON:
                in_household += 1
                if (parent := element.getparent()) is None or parent.tag != _HOUSEHOLD:
                    raise refusal(
                        "unsupported-format",
                        "Une personne se trouve en dehors d'un foyer.",
                        file=file,
                        line=element.sourceline,
                    )
                if in_household > _MOST_PERSONS_PER_HOUSEHOLD:
                    raise refusal(
                        "limit-exceeded", "Un foyer compte plus de mille personnes.", file=file, line=element.sourceline
                    )
                continue
            if element.tag == _HOUSEHOLD:
                in_household = 0
                yield from _household(element, paths, totals, flow)
            elif element.tag == _FLOW:
                _flow_identification(element, paths, flow)
            else:
                flow.announced = _whole_number(element.findtext(_ANNOUNCED))
                flow.announced_anomalies = _whole_number(element.findtext(_ANNOUNCED_ANOMALIES)) or 0
            flow.envelopes += 1
            _forget(element)
    except etree.XMLSyntaxError as error:
        raise _malformed(error, file) from None
    if not flow.envelopes:
        raise refusal(
            "wrong-source",
            "Le fichier XML n'est pas un flux bénéficiaires VRSB0801.",
            file=file,
            remedy="Déposez le flux mensuel reçu de la CAF ou de la MSA.",
        )


def _household(element: Element, paths: _Paths, totals: _Totals, flow: _Flow) -> Iterator[Row]:
    flow.households += 1
    flow.households_with_anomalies += next(element.iterdescendants(_ANOMALY), None) is not None
    if territory := _text_at(element, _TERRITORY):
        flow.territories.add(territory)
    shared = flow.root.copy()
    _collect(element, paths.household, shared)
    rows = []
    for person in element.iterchildren(_PERSON):
        row = shared.copy()
        _collect(person, paths.person, row)
        rows.append(row)
    flow.households_without_persons += not rows
    flow.misstated.extend(totals.misstated(rows, flow.persons + 1))
    for row in rows:
        flow.persons += 1
        yield row


def _flow_identification(element: Element, paths: _Paths, flow: _Flow) -> None:
    flow.month_text = (element.findtext(_PERIOD) or "").strip()
    for step, node in paths.root.children.get(_FLOW, ()):
        if step.accepts(element):
            _collect(element, node, flow.root)


def _forget(element: Element) -> None:
    """Free what has been read: the element, and what stood before it."""
    element.clear()
    while element.getprevious() is not None:
        del element.getparent()[0]


# -- what a household says of its persons ------------------------------------------------------------------------------


class _Totals:
    """What households state of their persons, and what of it is wrong. What is added up is kept nowhere."""

    def __init__(self, totals: Sequence[Total], file: str, table: ContractTable) -> None:
        self._totals, self._file, self._table = totals, file, table.name
        self._stated = len(table.stored_fields)
        self._held = self._stated + len(totals)

    def misstated(self, persons: Sequence[Row], line: int) -> Iterator[Finding]:
        """A warning for each total that the persons of a household contradict, at the line of the first of them.

        Nothing is said of a total that is not stated, nor of a sum over persons who state nothing.
        """
        for place, total in enumerate(self._totals):
            if not persons or not (stated := persons[0][self._stated + place]):
                continue
            held = [one for person in persons if (one := person[self._held + place])]
            announced, numbers = _number(stated), [_number(one) for one in held]
            if announced is None or (total.how == "sum" and (not held or None in numbers)):
                continue
            found = sum((one for one in numbers if one), Decimal()) if total.how == "sum" else Decimal(len(held))
            if abs(announced - found) > (_CENT * len(held) if total.how == "sum" else 0):
                yield self._finding(total, f"foyer : {announced} ; personnes : {found}".replace(".", ","), line)

    def _finding(self, total: Total, value: str, line: int) -> Finding:
        return Finding(
            "control-total", "warning", total.message, total.expected, total.remedy, self._file, self._table,
            line=line, field=total.field, rule=total.code, value=value,
        )  # fmt: skip


# -- what the flow says of itself --------------------------------------------------------------------------------------


def _refuse_document_type(path: Path, file: str) -> None:
    with path.open("rb") as stream:
        head = stream.read(_HEAD_BYTES).replace(b"\0", b"").upper()
    if b"<!DOCTYPE" in head or b"<!ENTITY" in head:
        raise refusal(
            "unsupported-format",
            "Le fichier XML déclare un type de document ou des entités.",
            expected="un flux VRSB0801 sans déclaration DOCTYPE",
            remedy="Déposez le flux tel que la CAF ou la MSA l'a transmis.",
            file=file,
        )


def _malformed(error: etree.XMLSyntaxError, file: str) -> UnreadableDelivery:
    """The refusal for a flow that is not well formed. The parser's own sentence may quote the file: it is not kept."""
    line = error.lineno or None
    code = getattr(error, "code", None)
    if code in _ENCODING_ERRORS:
        return refusal(
            "encoding-error",
            "Un caractère ne se lit pas dans l'encodage que le fichier déclare.",
            expected="un fichier windows-1252 ou UTF-8, comme sa première ligne le dit",
            file=file,
            line=line,
        )
    if code in _END_ERRORS:
        return refusal(
            "truncated-file",
            "Le fichier XML est incomplet : sa fin manque.",
            file=file,
            line=line,
            remedy="Refaites l'export ou le transfert, puis déposez le fichier entier.",
        )
    return refusal(
        "unsupported-format",
        "Le fichier XML est mal formé.",
        file=file,
        line=line,
        remedy="Déposez le flux tel que la CAF ou la MSA l'a transmis, sans le modifier.",
    )


def _control(flow: _Flow, file: str, table: ContractTable) -> Iterator[Finding]:
    """Fewer households than announced: some are missing, the flow is refused. More: the total is wrong, it is said."""
    if flow.announced is None:
        yield Finding(
            "control-total",
            "warning",
            "Le flux n'annonce pas le nombre de dossiers transmis.",
            file=file,
            table=table.name,
            expected="un élément TransmissionFlux à la fin du flux",
            remedy="Vérifiez que le flux est entier.",
        )
    elif flow.households not in (flow.announced, flow.announced - flow.announced_anomalies):
        # the total may count the files that are in the flow of anomalies, sent apart
        yield Finding(
            "control-total",
            "blocking" if flow.households < flow.announced - flow.announced_anomalies else "warning",
            f"Le flux annonce {flow.announced} dossiers et en contient {flow.households}.",
            expected=f"{flow.announced} dossiers",
            remedy="Vérifiez que le flux est entier, sinon redemandez-le à la CAF ou à la MSA.",
            file=file,
            table=table.name,
        )
    if flow.announced_anomalies != flow.households_with_anomalies:
        yield Finding(
            "control-total",
            "warning",
            f"Le flux annonce {flow.announced_anomalies} dossiers en anomalie et en contient "
            f"{flow.households_with_anomalies}.",
            expected="autant de dossiers en anomalie que le flux en annonce",
            remedy="Demandez à la CAF ou à la MSA le flux des anomalies : les personnes de ces dossiers manquent ici.",
            file=file,
            table=table.name,
        )
    if flow.households_without_persons:
        yield Finding(
            "control-total",
            "warning",
            "Des foyers du flux ne contiennent aucune personne.",
            expected="au moins une personne par foyer",
            remedy="Signalez l'anomalie à la CAF ou à la MSA.",
            file=file,
            table=table.name,
            count=flow.households_without_persons,
        )


def _stated_month(text: str) -> Month | None:
    try:
        return Month.parse(text[:7])
    except InvalidMonth:
        return None


def _stated_territory(codes: set[str], file: str) -> str | None:
    if len(codes) > 1:
        raise refusal(
            "wrong-partner",
            "Le flux contient les dossiers de plusieurs départements.",
            file=file,
            expected="les dossiers d'un seul département",
            remedy="Déposez un flux par département.",
        )
    code = next(iter(codes), "")
    if len(code) == 3 and code.startswith("0"):
        code = code[1:]
    return f"FR-DEP-{code}" if re.fullmatch(r"[0-9][0-9AB][0-9]?", code) else None


def _number(text: str | None) -> Decimal | None:
    try:
        number = Decimal((text or "").replace(",", "."))
    except InvalidOperation:
        return None
    return number if number.is_finite() else None


def _whole_number(text: str | None) -> int | None:
    text = (text or "").strip()
    return int(text) if re.fullmatch(r"[0-9]{1,12}", text) else None
