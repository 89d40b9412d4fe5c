"""The reference period. The month is the only notion of time that the pipeline reasons in.

Belongs here: parsing, ordering, arithmetic and ranges of months. Does not belong here: clocks, deadlines, time zones.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date

_FRENCH_NAMES = (
    "janvier", "février", "mars", "avril", "mai", "juin", "juillet", "août", "septembre", "octobre", "novembre",
    "décembre",
)  # fmt: skip
_PATTERN = re.compile(r"(?P<year>[0-9]{4})-(?P<month>0[1-9]|1[0-2])")


class InvalidMonth(ValueError):
    """The text is not a month written ``YYYY-MM``."""


@dataclass(frozen=True, order=True, slots=True)
class Month:
    """One calendar month. Orders chronologically and prints as ``YYYY-MM``."""

    year: int
    month: int

    def __post_init__(self) -> None:
        if not (1900 <= self.year <= 2999 and 1 <= self.month <= 12):
            raise InvalidMonth(f"{self.year}-{self.month} is not a month between 1900-01 and 2999-12")

    @classmethod
    def parse(cls, text: str) -> Month:
        """The month written ``YYYY-MM``. Raises `InvalidMonth` for anything else."""
        match = _PATTERN.fullmatch(text)
        if match is None:
            raise InvalidMonth(f"{text!r} is not a month: write it YYYY-MM, as in 2026-09")
        return cls(int(match["year"]), int(match["month"]))

    @classmethod
    def of(cls, day: date) -> Month:
        return cls(day.year, day.month)

    @property
    def first_day(self) -> date:
        return date(self.year, self.month, 1)

    @property
    def last_day(self) -> date:
        return date(self.year, self.month, calendar.monthrange(self.year, self.month)[1])

    def plus(self, months: int) -> Month:
        ordinal = self.year * 12 + (self.month - 1) + months
        return Month(ordinal // 12, ordinal % 12 + 1)

    def months_since(self, earlier: Month) -> int:
        return (self.year - earlier.year) * 12 + self.month - earlier.month

    @property
    def in_french(self) -> str:
        """`octobre 2026`."""
        return f"{_FRENCH_NAMES[self.month - 1]} {self.year}"

    def __str__(self) -> str:
        return f"{self.year:04d}-{self.month:02d}"


@dataclass(frozen=True, slots=True)
class Span:
    """An unbroken run of months, both ends included: what a delivery covers, what a command works on."""

    first: Month
    last: Month

    def __post_init__(self) -> None:
        if self.last < self.first:
            raise InvalidMonth(f"{self.first}..{self.last} ends before it begins")

    @classmethod
    def parse(cls, text: str) -> Span:
        """``2026-09`` or ``2026-01..2026-09``."""
        first, separator, last = text.partition("..")
        return cls(Month.parse(first), Month.parse(last if separator else first))

    @classmethod
    def single(cls, month: Month) -> Span:
        return cls(month, month)

    def __contains__(self, month: object) -> bool:
        return isinstance(month, Month) and self.first <= month <= self.last

    def __iter__(self) -> Iterator[Month]:
        month = self.first
        while month <= self.last:
            yield month
            month = month.plus(1)

    def __len__(self) -> int:
        return self.last.months_since(self.first) + 1

    def __str__(self) -> str:
        return str(self.first) if self.first == self.last else f"{self.first}..{self.last}"
