"""Findings about rows, as they come, and in the order of the file at the end.

Belongs here: holding millions of findings in little memory, putting them in order. Does not belong here: finding
anything (`conforming`, the readers), what a finding is (`contracts.findings`).

A finding that a million rows share is held once; each row then takes its line, its value and a number.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.contracts.findings import FINDINGS_SCHEMA, Finding, findings_table

Lines = npt.NDArray[np.int64]

_OWN = ("line", "value")


class Notes:
    """Findings about rows of the members of one delivery."""

    def __init__(self) -> None:
        self.count = 0
        self._numbers: dict[Finding, int] = {}
        self._parts: list[tuple[int, int, Lines, pa.Array]] = []

    def note(self, finding: Finding, member: int, lines: Lines, values: pa.Array | None = None) -> None:
        """The same finding for each of `lines` of a member, each with its value if there are any."""
        if not len(lines):
            return
        number = self._numbers.setdefault(finding, len(self._numbers))
        texts = pa.nulls(len(lines), pa.string()) if values is None else values.cast(pa.string())
        self._parts.append((number, member, lines, texts))
        self.count += len(lines)

    def note_rows(self, findings: pa.Table, member: int) -> None:
        """Rows of `FINDINGS_SCHEMA`, each about one line of a member."""
        if not findings.num_rows:
            return
        said = [name for name in FINDINGS_SCHEMA.names if name not in _OWN]
        kinds = findings.select(said).group_by(said).aggregate([])
        for kind in kinds.to_pylist():
            rows = findings
            for name in said if kinds.num_rows > 1 else ():
                rows = rows.filter(pc.equal(rows[name], kind[name]))
            self.note(Finding(**kind), member, rows["line"].to_numpy(), rows["value"].combine_chunks())

    def table(self) -> pa.Table:
        """All of them, rows of `FINDINGS_SCHEMA`, by member, line, field: as a person goes through the file."""
        if not self._parts:
            return FINDINGS_SCHEMA.empty_table()
        kinds = list(self._numbers)
        sizes = [len(lines) for _, _, lines, _ in self._parts]
        numbers = np.repeat([number for number, _, _, _ in self._parts], sizes)
        members = np.repeat([member for _, member, _, _ in self._parts], sizes)
        lines = np.concatenate([lines for _, _, lines, _ in self._parts])
        order = np.lexsort((_ranks(kinds)[numbers], lines, members))
        values = pa.chunked_array([values for _, _, _, values in self._parts]).take(pa.array(order))
        said = findings_table(kinds).take(pa.array(numbers[order]))
        said = said.set_column(FINDINGS_SCHEMA.get_field_index("line"), "line", pa.array(lines[order]))
        said = said.set_column(FINDINGS_SCHEMA.get_field_index("value"), "value", values)
        return said.cast(FINDINGS_SCHEMA)


def _ranks(kinds: Sequence[Finding]) -> npt.NDArray[np.int64]:
    """Where each kind comes among those about the same line."""
    order = sorted(range(len(kinds)), key=lambda one: _sorting(kinds[one]))
    ranks = np.empty(len(kinds), np.int64)
    ranks[order] = np.arange(len(kinds))
    return ranks


def _sorting(kind: Finding) -> tuple[str, ...]:
    return (kind.file, kind.table, kind.field, kind.code, kind.rule, kind.message)
