"""A JSON batch (fiches salarié) to a table of text: one row per element of its array.

Belongs here: finding the array that the contract names (`options: {elements: …}`), cutting it element by element, the
values that a field's `path` leads to. Does not belong here: what a value means (`conforming`).

A path is a list of keys joined by `/`, from the element. Numbers keep the text that they are written with. A key that
the contract does not know may be a person's name: it stands in `Finding.value` alone. The text is held whole and its
elements one at a time; the exchange itself allows 700 of them and 2 MB.
"""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.ingestion import decoding
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.envelopes import Limits
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
    unreadable_table,
)
from insertion_pipeline.registry import ContractTable

_MOST_BYTES = 32 << 20
_MOST_ELEMENTS = 500_000
_BLANK = re.compile(r"[ \t\r\n]*")


class _Object(dict[str, Any]):
    """A JSON object that remembers that a key stood in it twice, where plain JSON keeps the last value silently."""

    @classmethod
    def of(cls, pairs: list[tuple[str, Any]]) -> _Object:
        found = cls(pairs)
        found.is_ambiguous = len(found) != len(pairs)
        return found

    is_ambiguous: bool = False


class _Misshapen(ValueError):
    """An element that has not the shape of the contract; the text is a sentence for the partner, without a value."""


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


_DECODER = json.JSONDecoder(
    object_pairs_hook=_Object.of, parse_int=str, parse_float=str, parse_constant=_refuse_constant, strict=True
)


# -- reading -----------------------------------------------------------------------------------------------------------


def is_json(path: Path) -> bool:
    """Whether a text begins as a JSON object does."""
    with path.open("rb") as stream:
        return stream.read(64).lstrip(b"\xef\xbb\xbf\xff\xfe\0 \t\r\n").startswith(b"{")


def read_elements(
    path: Path, tables: Sequence[ContractTable], array: str, rank: int, limits: Limits
) -> Iterator[Piece]:
    """The elements of a batch. Raises `UnreadableDelivery` when it is not whole, not JSON, or has no such array."""
    table = tables[0]
    file = label(rank, table)
    harvest = _Harvest(table)
    count = 0
    for count, (raw, element) in enumerate(_elements(_text(path, limits, file), array, file), start=1):
        if count > _MOST_ELEMENTS:
            raise refusal(
                "limit-exceeded",
                f"Le lot compte plus de {_MOST_ELEMENTS} fiches.",
                expected=f"au plus {_MOST_ELEMENTS} fiches",
                file=file,
            )
        harvest.take(count, raw, element)
        if len(harvest.unknown) > limits.columns:
            raise refusal("limit-exceeded", f"Les fiches ont plus de {limits.columns} champs inconnus.", file=file)
    rows = harvest.rows(rank)
    broken = [(rank, line, 1, raw, "line-structure", message) for line, raw, message in harvest.broken]
    account = Account(lines=count, accepted=rows.num_rows, rejected=len(broken)).checked()
    oddities = oddities_of(rows, list(harvest.values), file=file, table=table.name)
    yield Opening(rank, table.name, tuple(harvest.values), tuple(harvest.findings(file)))
    if count:
        yield Batch(rank, table.name, encoded(rows), unreadable_table(broken), oddities)
    yield Extract(rank, table.name, account)


def fit(path: Path, tables: Sequence[ContractTable], array: str, limits: Limits) -> tuple[float, int]:
    """How well a file fits: the share of the required fields in its first element, then how many fields it has."""
    try:
        for _, element in _elements(_text(path, limits, ""), array, ""):
            harvest = _Harvest(tables[0])
            harvest.take(1, "", element)
            required = [one.name for one in tables[0].fields if not one.insertion.header_optional]
            return (sum(name in harvest.seen for name in required) / max(len(required), 1), len(harvest.seen))
    except UnreadableDelivery:
        pass
    return (0.0, 0)


def _text(path: Path, limits: Limits, file: str) -> str:
    most = min(_MOST_BYTES, limits.unpacked_bytes)
    if path.stat().st_size > most:
        raise refusal(
            "limit-exceeded",
            f"Le lot dépasse {most >> 20} Mo.",
            expected=f"au plus {most >> 20} Mo par lot",
            remedy="Déposez les lots tels qu'ils ont été échangés avec l'ASP, un par un.",
            file=file,
        )
    encoding = decoding.encoding_of(path, file=file)
    try:
        return path.read_bytes().decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise refusal(
            "encoding-error",
            "Un caractère ne se lit pas dans l'encodage du fichier.",
            expected="un fichier JSON en UTF-8",
            file=file,
        ) from None


# -- cutting -----------------------------------------------------------------------------------------------------------


def _elements(text: str, array: str, file: str) -> Iterator[tuple[str, Any]]:
    """The elements of the top-level array, each with the text that it was written with."""
    try:
        found = yield from _walk(text, array)
    except (json.JSONDecodeError, ValueError, RecursionError) as error:
        raise _malformed(text, error, file) from None
    if not found:
        raise refusal(
            "wrong-source",
            "Le fichier JSON n'est pas un lot de fiches salarié.",
            file=file,
            expected=f"un objet qui contient le tableau « {array} »",
            remedy="Déposez le lot (ou son fichier retour) tel qu'il a été échangé avec l'ASP.",
        )


def _walk(text: str, array: str) -> Generator[tuple[str, Any], None, bool]:
    """Walks the top-level object; true when the array was there. Whatever else it holds is its envelope."""
    position, found = _expect(text, 0, "{"), False
    if _at(text, position) != "}":
        while True:
            key, position = _DECODER.raw_decode(text, _skip(text, position))
            if not isinstance(key, str):
                raise json.JSONDecodeError("Expecting a key", text, position)
            position = _expect(text, position, ":")
            if key == array and not found and _at(text, position) == "[":
                found = True
                position = yield from _walk_array(text, position)
            else:
                _, position = _DECODER.raw_decode(text, _skip(text, position))
            if _at(text, position) != ",":
                break
            position = _expect(text, position, ",")
    if _skip(text, _expect(text, position, "}")) != len(text):
        raise json.JSONDecodeError("Extra data", text, position)
    return found


def _walk_array(text: str, position: int) -> Generator[tuple[str, Any], None, int]:
    """The elements of the array that begins at `position`; returns where it ends."""
    position = _expect(text, position, "[")
    if _at(text, position) != "]":
        while True:
            begin = _skip(text, position)
            element, position = _DECODER.raw_decode(text, begin)
            yield text[begin:position], element
            if _at(text, position) != ",":
                break
            position = _expect(text, position, ",")
    return _expect(text, position, "]")


def _skip(text: str, position: int) -> int:
    match = _BLANK.match(text, position)
    return match.end() if match is not None else position


def _at(text: str, position: int) -> str:
    position = _skip(text, position)
    return text[position : position + 1]


def _expect(text: str, position: int, character: str) -> int:
    position = _skip(text, position)
    if text[position : position + 1] != character:
        raise json.JSONDecodeError(f"Expecting {character!r}", text, position)
    return position + 1


def _malformed(text: str, error: Exception, file: str) -> UnreadableDelivery:
    """The refusal of what is not JSON. The parser's own sentence is not kept."""
    if isinstance(error, json.JSONDecodeError):
        line = text.count("\n", 0, error.pos) + 1
        if error.pos >= len(text.rstrip()) or error.msg.startswith("Unterminated string"):
            return refusal(
                "truncated-file",
                "Le fichier JSON est incomplet : sa fin manque.",
                file=file,
                line=line,
                remedy="Refaites l'export ou le transfert, puis déposez le fichier entier.",
            )
        return refusal(
            "unsupported-format",
            "Le fichier JSON est mal formé.",
            file=file,
            line=line,
            remedy="Déposez le lot tel qu'il a été échangé avec l'ASP, sans le modifier.",
        )
    if isinstance(error, RecursionError):
        return refusal("limit-exceeded", "Le fichier JSON imbrique trop de niveaux.", file=file)
    return refusal(
        "unsupported-format",
        "Le fichier JSON contient une valeur que le format n'admet pas.",
        file=file,
        expected="du JSON sans NaN ni Infinity",
    )


# -- harvesting --------------------------------------------------------------------------------------------------------


@dataclass
class _Harvest:
    """The values of a batch's elements, column by column."""

    table: ContractTable
    values: dict[str, list[str]] = field(init=False)
    lines: list[int] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)
    unknown: dict[str, int] = field(default_factory=dict)
    broken: list[tuple[int, str, str]] = field(default_factory=list)
    _paths: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        self.values = {one.name: [] for one in self.table.stored_fields}
        self._paths = _paths(self.table)

    def take(self, line: int, raw: str, element: Any) -> None:
        """One element: a row, or a broken one kept as it was written."""
        found: dict[str, str] = {}
        try:
            self._collect(element, self._paths, "", line, found)
        except _Misshapen as error:
            self.broken.append((line, _without_surrogates(raw), str(error)))
            return
        self.lines.append(line)
        for name, column in self.values.items():
            column.append(found.get(name, ""))

    def _collect(self, value: Any, paths: Mapping[str, Any], within: str, line: int, found: dict[str, str]) -> None:
        if value is None and within:
            return
        if not isinstance(value, _Object):
            raise _Misshapen("La fiche n'a pas la forme prévue : un objet y est attendu là où se trouve autre chose.")
        if value.is_ambiguous:
            raise _Misshapen("Un même champ est écrit deux fois dans la fiche : on ne sait quelle valeur vaut.")
        for key, inner in value.items():
            leaf = paths.get(key)
            if leaf is None:
                self.unknown.setdefault(f"{within}{key}", line)
            elif isinstance(leaf, str):
                self.seen.add(leaf)
                if leaf in self.values:
                    found[leaf] = self._scalar(inner, leaf)
            else:
                self._collect(inner, leaf, f"{within}{key}/", line, found)

    def _scalar(self, value: Any, name: str) -> str:
        if value is None:
            return ""
        if isinstance(value, bool):
            return "true" if value else "false"
        if isinstance(value, str):
            return _without_surrogates(value)
        raise _Misshapen(f"« {self.table.field(name).label} » contient plusieurs valeurs au lieu d'une.")

    def rows(self, rank: int) -> pa.Table:
        """The table of text, with where each row comes from."""
        rows = pa.table({name: pa.array(column, pa.string()) for name, column in self.values.items()})
        origins: tuple[list[int], ...] = (self.lines, [1] * len(self.lines), [rank] * len(self.lines))
        for (name, kind), column in zip(ORIGIN_FIELDS, origins, strict=True):
            rows = rows.append_column(pa.field(name, kind), pa.array(column, kind))
        return rows

    def findings(self, file: str) -> Iterator[Finding]:
        """Fields that no element has, and those that the contract does not know."""
        if self.lines:
            for one in self.table.fields:
                if one.name not in self.seen and not one.insertion.header_optional:
                    yield Finding(
                        "missing-header",
                        "blocking",
                        f"Le champ « {one.label} » manque dans toutes les fiches.",
                        expected=f"un champ « {one.insertion.path or one.name} »",
                        remedy="Refaites l'extraction avec ce champ, même vide.",
                        file=file,
                        table=self.table.name,
                        field=one.name,
                    )
        for path, line in self.unknown.items():
            yield Finding(
                "extra-header",
                "warning",
                "Un champ n'est pas prévu ; il n'est ni lu ni gardé.",
                expected="un champ du format",
                remedy="Corrigez son nom s'il désigne un champ du format, sinon ne faites rien.",
                file=file,
                table=self.table.name,
                line=line,
                value=_without_surrogates(path),
            )


def _paths(table: ContractTable) -> Mapping[str, Any]:
    """The fields as a tree of keys; a leaf is the field's name, kept or not."""
    tree: dict[str, Any] = {}
    for one in table.fields:
        *branches, leaf = (one.insertion.path or one.name).split("/")
        node = tree
        for key in branches:
            node = node.setdefault(key, {})
        node[leaf] = one.name
    return tree


def _without_surrogates(text: str) -> str:
    """`"\\ud800"` alone is no character: it becomes the replacement character, which is reported as unusual."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text
