"""When a file is due: the contract's day of the following month, or the next working day of the partner's country.

Belongs here: local dates, public holidays, deadlines, the month that is being collected, who has let one pass. Does not
belong here: what a partner is shown of it (`portal.board`), who is told (`portal.reminding`).
"""

from __future__ import annotations

import functools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from insertion_pipeline.ingestion.deliveries import effective
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Partner, Registry, Source

#: Holidays on a fixed day: code du travail, art. L. 3133-1; Belgian royal decree of 18 April 1974.
_FIXED = {
    "fr": ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)),
    "be": ((1, 1), (5, 1), (7, 21), (8, 15), (11, 1), (11, 11), (12, 25)),
}
#: Days after Easter: Monday, Ascension, Whit Monday; the same in both countries.
_AFTER_EASTER = (1, 39, 50)


@dataclass(frozen=True)
class Late:
    """Nothing counts for a partner, a source and a month, and the day on which it was due has passed."""

    partner: Partner
    source: Source
    month: Month
    due: date
    days: int


def late(registry: Registry, everything: Sequence[Receipt], month: Month, now: datetime) -> tuple[Late, ...]:
    """Who is late with `month` at `now`, by source, then partner. A file that is held or refused does not count yet."""
    own: dict[tuple[str, str], list[Receipt]] = defaultdict(list)
    for receipt in everything:
        own[receipt.source, receipt.partner].append(receipt)
    found = []
    for source in sorted(registry.sources.values(), key=lambda one: one.name):
        for partner in sorted(registry.partners.values(), key=lambda one: one.code):
            if not partner.expects(source.name, month) or month < source.first_month:
                continue
            due = deadline(source, month, partner.space)
            days = (today(partner, now) - due).days
            if days > 0 and not effective(own[source.name, partner.code], source, month):
                found.append(Late(partner, source, month, due, days))
    return tuple(found)


def today(partner: Partner, now: datetime) -> date:
    """The day it is where the partner is."""
    return now.astimezone(ZoneInfo(partner.timezone)).date()


def collected_month(day: date) -> Month:
    """The month that partners are delivering: the one that has just ended."""
    return Month.of(day).plus(-1)


def deadline(source: Source, month: Month, space: str) -> date:
    """The last day on which a file is on time."""
    following = month.plus(1)
    day = date(following.year, following.month, source.insertion.deadline_day)
    while not is_working_day(day, space):
        day += timedelta(days=1)
    return day


def is_working_day(day: date, space: str) -> bool:
    """Monday to Friday, public holidays excepted."""
    return day.weekday() < 5 and day not in holidays(day.year, space)


@functools.cache
def holidays(year: int, space: str) -> frozenset[date]:
    """The public holidays of a country (`fr`, `be`)."""
    easter = _easter(year)
    return frozenset(
        [date(year, month, day) for month, day in _FIXED[space]]
        + [easter + timedelta(days=days) for days in _AFTER_EASTER]
    )


def _easter(year: int) -> date:
    """Easter Sunday (the anonymous Gregorian algorithm, Meeus)."""
    a, b, c = year % 19, year // 100, year % 100
    d, e = b // 4, b % 4
    g = (b - (b + 8) // 25 + 1) // 3
    h = (19 * a + b - d - g + 15) % 30
    i, k = c // 4, c % 4
    weekday = (32 + 2 * e + 2 * i - h - k) % 7
    m = (a + 11 * h + 22 * weekday) // 451
    month, day = divmod(h + weekday - 7 * m + 114, 31)
    return date(year, month, day + 1)
