"""The header of a file set against the columns of a contract.

Belongs here: the comparable form of a header, choosing the contract table that a header fits, which column feeds which
field, findings about headers. Does not belong here: finding the header's line in a file (the readers do).

A header that the contract does not know may hold anything, a person's name included: it stands in `Finding.value`,
which only the depositor sees, and the message calls it « colonne 7 ».
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.headings import comparable
from insertion_pipeline.registry import ContractTable


@dataclass(frozen=True)
class Columns:
    """Which column of a file feeds which field of a contract table. Positions are 0-based.

    `own`: the fields that were found by a title which the partner declared as its own.
    """

    table: ContractTable
    count: int
    fields: Mapping[int, str]
    findings: tuple[Finding, ...]
    own: tuple[str, ...] = ()

    @property
    def stored(self) -> dict[int, str]:
        """The columns that may be kept: those of fields that are not `use: none`."""
        kept = {field.name for field in self.table.stored_fields}
        return {position: name for position, name in self.fields.items() if name in kept}


#: The rank of a title that the partner declared as its own.
_OWN = -1


def _names(table: ContractTable) -> dict[str, tuple[int, str]]:
    """Comparable header → (rank, field). What the partner calls its columns comes before all that the contract says.

    Then a field's own name comes first, then its aliases; titles of all come last.
    """
    known: dict[str, tuple[int, str]] = {}
    for field in table.fields:
        known |= {comparable(title): (_OWN, field.name) for title in field.insertion.headers}
    aliases = {field.name: (field.name, *field.insertion.aliases) for field in table.fields}
    last = max((len(names) for names in aliases.values()), default=0)
    for rank in range(last):
        for name, names in aliases.items():
            if rank < len(names) and (key := comparable(names[rank])):
                known.setdefault(key, (rank, name))
    for field in table.fields:
        if key := comparable(field.title):
            known.setdefault(key, (last, field.name))
    return known


def fields_named(header: Sequence[str], table: ContractTable) -> frozenset[str]:
    """The table's fields that the header names."""
    known = _names_of(table)
    return frozenset(known[key][1] for cell in header if (key := comparable(cell)) in known)


def field_of(title: str, table: ContractTable) -> str | None:
    """The table's field that a title names; null for a title that it does not know."""
    found = _names_of(table).get(comparable(title))
    return found[1] if found is not None else None


def best_table(header: Sequence[str], tables: Sequence[ContractTable]) -> tuple[ContractTable, int] | None:
    """The table whose fields the header names best, and how many; null when it names none of any."""
    ranked = [(len(fields_named(header, table)), -len(table.fields), table) for table in tables]
    found, _, table = max(ranked, key=lambda entry: entry[:2], default=(0, 0, None))
    return (table, found) if table is not None and found else None


def told_apart(tables: Sequence[ContractTable], name: str) -> tuple[ContractTable, ...]:
    """The tables without those whose twin the name of a file or sheet tells.

    Twins have the same header (France Travail's four registration files): nothing in the content tells them apart.
    """
    words = f" {comparable(re.sub('[_.0-9]+', ' ', name))}"
    told = [table for table in tables if f" {comparable(table.insertion.member or table.name).rstrip('s')}" in words]
    return tuple(table for table in tables if table in told or not any(are_twins(table, other) for other in told))


def are_twins(table: ContractTable, other: ContractTable) -> bool:
    """Whether two tables have the same columns, so that no header tells them apart."""
    return table is not other and {one.name for one in table.fields} == {one.name for one in other.fields}


def guess(table: ContractTable | None, tables: Sequence[ContractTable], file: str) -> tuple[Finding, ...]:
    """A warning when nothing told `table` from its twins among `tables`."""
    twins = [other.title for other in tables if table is not None and are_twins(table, other)]
    if table is None or not twins:
        return ()
    return (
        Finding(
            "unnamed-table",
            "warning",
            f"Le nom du fichier ne dit pas ce qu'il contient : il est lu comme « {table.title} ».",
            expected=f"un nom qui contient {', '.join(name.lower() for name in [table.title, *twins[:-1]])} "
            f"ou {twins[-1].lower()}",
            remedy="Renommez le fichier (ou la feuille) d'après son contenu, puis déposez-le de nouveau.",
            file=file,
            table=table.name,
        ),
    )


def columns_of(header: Sequence[str], table: ContractTable, *, file: str, line: int) -> Columns:
    """Set a header against a table. Duplicates and missing columns are blocking, unknown ones are left aside."""
    known = _names_of(table)
    first_position: dict[str, int] = {}
    chosen: dict[str, tuple[int, int]] = {}  # field → (rank of the alias, position)
    findings: list[Finding] = []
    for position, cell in enumerate(header):
        key = comparable(cell)
        if key and key in first_position:
            findings.append(_duplicate(table, cell, position, first_position[key], known.get(key), file, line))
            continue
        first_position.setdefault(key, position)
        if key not in known:
            findings.append(_unknown(table, cell, position, file, line))
            continue
        rank, name = known[key]
        if name in chosen:
            loser = max((rank, position), chosen[name])
            findings.append(_second_name(table, header[loser[1]], loser[1], name, file, line))
            chosen[name] = min((rank, position), chosen[name])
        else:
            chosen[name] = (rank, position)
    findings.extend(
        _missing(table, field.name, field.label, file)
        for field in table.fields
        if field.name not in chosen and not field.insertion.header_optional
    )
    ordered = sorted(chosen.items(), key=lambda item: item[1][1])
    fields = {position: name for name, (_, position) in ordered}
    own = tuple(name for name, (rank, _) in ordered if rank == _OWN)
    return Columns(table, len(header), fields, tuple(findings), own)


_CACHE: dict[int, tuple[ContractTable, dict[str, tuple[int, str]]]] = {}


def _names_of(table: ContractTable) -> dict[str, tuple[int, str]]:
    cached = _CACHE.get(id(table))
    if cached is None or cached[0] is not table:
        cached = _CACHE[id(table)] = (table, _names(table))
    return cached[1]


def repeated(table: ContractTable, line: int, file: str) -> Finding:
    """The warning for a line in the middle of a file that is its header once more, as where two files were joined."""
    return Finding(
        "repeated-header",
        "warning",
        "La ligne répète les titres des colonnes ; elle n'est pas lue comme une donnée.",
        expected="les titres une seule fois, au début",
        remedy="Vérifiez que le fichier n'est pas fait de plusieurs exports mis bout à bout.",
        file=file,
        table=table.name,
        line=line,
    )


def _duplicate(
    table: ContractTable, cell: str, position: int, first: int, known: tuple[int, str] | None, file: str, line: int
) -> Finding:
    return Finding(
        "duplicate-header",
        "blocking" if known else "warning",
        f"Les colonnes {first + 1} et {position + 1} portent le même titre.",
        expected="un titre par colonne",
        remedy="Gardez la bonne colonne, supprimez ou renommez l'autre.",
        file=file,
        table=table.name,
        line=None if known else line,
        field=known[1] if known else "",
        value=cell,
    )


def _second_name(table: ContractTable, cell: str, position: int, field: str, file: str, line: int) -> Finding:
    return Finding(
        "duplicate-header",
        "warning",
        f"La colonne {position + 1} donne une deuxième fois « {table.field(field).label} » ; elle n'est pas lue.",
        expected=f"une seule colonne pour « {table.field(field).label} »",
        remedy="Supprimez l'une des deux colonnes.",
        file=file,
        table=table.name,
        line=line,
        field=field,
        value=cell,
    )


def _unknown(table: ContractTable, cell: str, position: int, file: str, line: int) -> Finding:
    return Finding(
        "extra-header",
        "warning",
        f"La colonne {position + 1} n'est pas prévue ; elle n'est ni lue ni gardée.",
        expected="une colonne du modèle",
        remedy="Corrigez le titre s'il désigne une colonne du modèle, sinon ne faites rien.",
        file=file,
        table=table.name,
        line=line,
        value=cell,
    )


def _missing(table: ContractTable, name: str, title: str, file: str) -> Finding:
    return Finding(
        "missing-header",
        "blocking",
        f"La colonne « {title} » manque.",
        expected=f"une colonne « {title} »",
        remedy="Ajoutez la colonne, même vide, ou corrigez son titre.",
        file=file,
        table=table.name,
        field=name,
    )
