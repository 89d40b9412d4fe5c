"""When a file is due: the contract's day of the following month, or the next working day of the partner's country.

Belongs here: local dates, public holidays, deadlines, the month that is being collected. Does not belong here: who is
late (`board`), who is told (`reminding`).
"""

from __future__ import annotations

import functools
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from insertion_pipeline.month import Month
from insertion_pipeline.registry import Partner, Source

#: Holidays on a fixed day: code du travail, art. L. 3133-1; Belgian royal decree of 18 April 1974.
_FIXED = {
    "fr": ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25)),
    "be": ((1, 1), (5, 1), (7, 21), (8, 15), (11, 1), (11, 11), (12, 25)),
}
#: Days after Easter: Monday, Ascension, Whit Monday; the same in both countries.
_AFTER_EASTER = (1, 39, 50)


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
