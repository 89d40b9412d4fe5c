"""From the bytes of a delivery to tables of text: nothing lost, every line numbered.

Belongs here: what a reading is, opening a delivery with the reader that its contract names, recognising a source from
its content. Does not belong here: how one envelope is cut (`envelopes`, `delimited`, `spreadsheet`, `xml`,
`fluxiae`), what a value means (`conforming`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.ingestion.accounts import Account
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Source

#: One row per record that could not be cut into cells: rejected, kept verbatim beside its reason.
UNREADABLE_SCHEMA = pa.schema(
    [
        ("_member", pa.int32()),
        ("_line", pa.int64()),
        ("_units", pa.int32()),
        ("raw", pa.string()),
        ("code", pa.string()),
        ("message", pa.string()),
    ]
)


class UnreadableDelivery(Exception):
    """The delivery is refused whole; `finding` says why, for the partner. The exception's own text holds the code alone."""

    def __init__(self, finding: Finding) -> None:
        super().__init__(finding.code)
        self.finding = finding


@dataclass(frozen=True, slots=True)
class Member:
    """One physical file (or sheet) inside the delivery.

    `table` is null for a member that the contract has no table for. `account.accepted` counts the units of data that
    nobody has judged yet.
    """

    rank: int
    table: str | None
    account: Account


@dataclass(frozen=True)
class Reading:
    """A delivery as text.

    `tables`: one per contract table found, all `string` columns named as the contract's fields (those that the file
    holds and that may be kept: `use` is not `none`; an empty cell is the empty string, never null), then `_line`
    int64 (1-based physical line, sheet row or rank of the `Personne`), `_units` int32 (physical lines that the record
    spans) and `_member` int32. A contract table that no member holds is absent.
    `unreadable`: rows of `UNREADABLE_SCHEMA`; their findings are not among `findings` nor `oddities`.
    `findings`: about files and headers; one that is blocking and has no line refuses the delivery.
    `oddities`: findings about cells that never refuse anything (`suspicious-text`), as `FINDINGS_SCHEMA`.
    `stated_month`, `stated_territory`: only what the envelope itself states (CNAF: DTREF, IDEPARTE).
    """

    source: str
    tables: Mapping[str, pa.Table]
    unreadable: pa.Table
    members: tuple[Member, ...]
    findings: tuple[Finding, ...]
    oddities: pa.Table
    stated_month: Month | None = None
    stated_territory: str | None = None

    @property
    def account(self) -> Account:
        """The sum over the members; `accepted` is data that nobody has judged yet."""
        return sum((member.account for member in self.members), Account()).checked()


def read(
    delivery: Path | Sequence[Path], source: Source, *, month: Month | None = None, archive_password: str | None = None
) -> Reading:
    """The delivery (one file, or the files of a bundle) read under the contract of `source` in force in `month`.

    Raises `UnreadableDelivery` when it is refused whole.
    """
    raise NotImplementedError


def recognise(
    delivery: Path | Sequence[Path], candidates: Sequence[Source], *, archive_password: str | None = None
) -> Source | None:
    """The one among `candidates` whose contract the content fits; null when none or several do."""
    raise NotImplementedError
