"""One view of the ASP's fluxIAE bundle to a table of text.

Belongs here: the DEB and FIN lines, the control total of FIN, records broken by a newline inside a cell. Does not
belong here: the bundle (`reading` opens it), cutting clean lines (`delimited`).

Views are separated by `|` and never quoted. The DEB line, the FIN line and the order of the columns are what they are
in each export: nothing is assumed from a position (the `lines - 3` of others loses a row when there is no FIN line).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.ingestion import decoding, delimited
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.ingestion.delimited import Broken, Dialect, Footer, Record, RunOutcome
from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.extracts import Batch, Extract, Piece, label
from insertion_pipeline.registry import ContractTable

DIALECT = Dialect("|", quoting=False)
_BEGIN = re.compile(rb"\A\s*DEB([A-Za-z]+?)[0-9]{8}_[0-9]{6}\|*\s*\n")
_END = re.compile(rb"FIN([0-9]{1,12})[|\s\x1a]*\Z")
_LONGEST_RECORD_LINES = 256

#: The views of the bundle (ASP extranet IAE 2.0). Those that a contract has no table for are passed over in silence.
VIEWS = frozenset(
    {
        "Accompagnement",
        "AnnexeFinanciere",
        "AnnexeFinanciereACI",
        "Convention",
        "ContratMission",
        "Encadrement",
        "EtatMensuelAgregat",
        "EtatMensuelIndiv",
        "Financement",
        "Formations",
        "MarchesPublics",
        "Missions",
        "MissionsEtatMensuelIndiv",
        "PMSMP",
        "Salarie",
        "Structure",
        "RefCategorieJuridique",
        "RefCategorieSort",
        "RefCotisationEiti",
        "RefDepartement",
        "RefDispositif",
        "RefDureeAllocationEmploi",
        "RefDureePoleEmploi",
        "RefEtatAvenant",
        "RefEtatSuiviMensuel",
        "RefFinanceur",
        "RefFormeContrat",
        "RefGroupePaysPmsmp",
        "RefIdcc",
        "RefMesure",
        "RefMontantIae",
        "RefMotifRejet",
        "RefMotifSort",
        "RefNatureAction",
        "RefNiveauFormation",
        "RefObjectifFormation",
        "RefObjetEcheance",
        "RefObjPrincipalPmsmp",
        "RefOrienteur",
        "RefSecteurActivite",
        "RefTypeAide",
        "RefTypeElementPaiement",
        "RefTypeEmployeur",
        "RefTypeFormation",
        "RefTypeOperation",
        "RefTypeVersement",
    }
)


def view_of(block: bytes) -> str | None:
    """The view that a DEB line names; null without one."""
    match = _BEGIN.match(block)
    return match[1].decode() if match else None


def read_view(path: Path, tables: Sequence[ContractTable], rank: int, limits: Limits) -> Iterator[Piece]:
    """One view under the contract table that its header, or else its DEB line, names."""
    encoding = decoding.encoding_of(path, file=str(rank))
    blocks = decoding.blocks(path, encoding, limits, file=str(rank))
    first = delimited.beginning(blocks)
    view = view_of(first)
    named = [table for table in tables if view is not None and table.insertion.member == view]
    if view in VIEWS and not named:
        lines = first.count(b"\n") + sum(block.count(b"\n") for block in blocks)
        yield Extract(rank, None, Account(lines=lines, header_footer=lines))
        return
    header = delimited.find_header(first, named or tables, [DIALECT])
    if header is None:
        lines = first.count(b"\n") + sum(block.count(b"\n") for block in blocks)
        yield Extract(rank, None, Account(lines=lines, blank=lines))
        return
    ending, found, broken = _Ending(), 0, 0
    body = ending.without_footer(first, blocks)
    for piece in delimited.read_table(body, header, rank, limits, settle_broken, ending):
        if isinstance(piece, Batch):
            found, broken = found + piece.rows.num_rows, broken + piece.unreadable.num_rows
        if isinstance(piece, Extract) and header.table is not None and ending.announced is not None:
            yield _controlled(piece, ending.announced, found, broken, label(rank, header.table))
        else:
            yield piece


@dataclass
class _Ending(Footer):
    """Takes the FIN line off the end of a view."""

    announced: int | None = None

    def without_footer(self, first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
        held = first
        for block in rest:
            if block.strip(b"|\n\r\t \x1a"):
                yield held
                held = block
            else:
                held += block
        begin = max(held.rfind(b"FIN"), 0)
        match = _END.match(held, begin) if begin == 0 or held[begin - 1 : begin] == b"\n" else None
        if match is None:
            yield held
            return
        self.announced = int(match[1])
        footer = held[begin:]
        self.lines = footer.count(b"\n")
        self.blank = self.lines - 1
        yield held[:begin]


def _controlled(extract: Extract, announced: int, found: int, broken: int, file: str) -> Extract:
    """The extract with a blocking finding when FIN announces another number of rows than there are."""
    rejected = extract.account.rejected
    if found <= announced <= found + rejected and (rejected == 0 or announced > found):
        return extract
    finding = Finding(
        "control-total",
        "blocking",
        f"La ligne FIN annonce {announced} lignes de données, il y en a {found + broken}.",
        expected=f"{announced} lignes de données",
        remedy="Le fichier est sans doute tronqué : refaites l'export ou le transfert.",
        file=file,
        table=extract.table or "",
    )
    return replace(extract, findings=(*extract.findings, finding))


def settle_broken(lines: Sequence[bytes], first_line: int, expected: int, dialect: Dialect) -> RunOutcome:
    """Settle a run of lines that do not have as many cells as the header: join a record broken by newlines.

    Lines are joined when they have together exactly the cells of one record, and what follows is not a bare piece of
    text that might be its end. Anything else is rejected line by line.
    """
    outcome = RunOutcome()
    separator = dialect.separator.encode()
    counts = [line.count(separator) for line in lines]
    index = 0
    while index < len(lines):
        if not lines[index].strip(b"| \t"):
            outcome.blank += 1
            index += 1
            continue
        last = _end_of_record(counts, index, expected - 1)
        if last is None:
            code, message = delimited.cell_count_problem(counts[index] + 1, expected)
            outcome.broken.append(Broken(first_line + index, 1, lines[index].decode(), code, message))
            index += 1
            continue
        text = b"\n".join(lines[index : last + 1]).decode()
        units = last - index + 1
        remark = ("line-structure", f"L'enregistrement était coupé sur {units} lignes ; il a été recollé.")
        outcome.records.append(Record(first_line + index, units, text.split(dialect.separator), remark))
        index = last + 1
    return outcome


def _end_of_record(counts: Sequence[int], first: int, separators: int) -> int | None:
    total = 0
    for last in range(first, min(len(counts), first + _LONGEST_RECORD_LINES)):
        total += counts[last]
        if total > separators:
            return None
        if total == separators:
            may_go_on = last + 1 < len(counts) and counts[last + 1] == 0
            return None if may_go_on or last == first else last
    return None
