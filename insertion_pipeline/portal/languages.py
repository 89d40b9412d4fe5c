"""The languages of the pages: their catalogues, their months and days, and which one a browser gets.

Belongs here: choosing a language, translating a sentence, writing a date. Does not belong here: the pages
(`rendering`), gathering words for translators (`messages`), the sentences of verdicts, contracts and mails, which are
French.

French is what templates and routes say, and the key of each message; another language is a catalogue in `locale/`.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

from babel.dates import format_date
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations

from insertion_pipeline.month import Month

LOCALE = Path(__file__).parent / "locale"
#: What each language calls itself.
NAMES: Mapping[str, str] = {"fr": "Français", "nl": "Nederlands", "de": "Deutsch"}
#: Where a browser keeps the language that its owner chose.
COOKIE = "langue"

_MOMENTS = {"fr": "%d/%m/%Y à %H:%M", "nl": "%d/%m/%Y, %H:%M", "de": "%d.%m.%Y, %H:%M"}
_DAYS = {"nl": "EEEE d MMMM y", "de": "EEEE, d. MMMM y"}


@dataclass(frozen=True)
class Sentence:
    """A French sentence of a route, with values to put in: its page translates it, the API says it as it is."""

    text: str
    values: Mapping[str, object] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.text % self.values if self.values else self.text

    def within(self, catalogue: NullTranslations) -> str:
        """The sentence in another language."""
        told: str = catalogue.gettext(self.text)
        return told % self.values if self.values else told


def marked(text: str) -> str:
    """The text itself; `make messages` gathers what stands in this call."""
    return text


@functools.cache
def translations(language: str) -> NullTranslations:
    """The catalogue of a language; French is what the templates say."""
    path = LOCALE / f"{language}.po"
    if language == "fr" or not path.is_file():
        return NullTranslations()
    binary = io.BytesIO()
    with path.open("rb") as file:
        write_mo(binary, read_po(file, locale=language))
    binary.seek(0)
    return Translations(binary)


def chosen(cookie: str, accepted: str, offered: tuple[str, ...]) -> str:
    """The language of a page: the one its reader chose, else the first that the browser asks for, else the portal's.

    `accepted` is the header `Accept-Language`; `offered` begins with the portal's own language.
    """
    return next((one for one in (cookie, *_asked_for(accepted)) if one in offered), offered[0])


def _asked_for(header: str) -> list[str]:
    """The languages of `Accept-Language`, the most wanted first, without their countries."""
    weighed = []
    for rank, part in enumerate(header.split(",")):
        tag, _, quality = part.strip().partition(";q=")
        try:
            weight = float(quality or 1)
        except ValueError:
            continue
        if weight > 0:
            weighed.append((-weight, rank, tag.strip().partition("-")[0].lower()))
    return [tag for _, _, tag in sorted(weighed)]


# -- dates ------------------------------------------------------------------------------------------------------------


def french_day(day: date) -> str:
    """`lundi 16 novembre 2026`."""
    return f"{_WEEKDAYS[day.weekday()]} {'1er' if day.day == 1 else day.day} {Month.of(day).in_french}"


_WEEKDAYS = ("lundi", "mardi", "mercredi", "jeudi", "vendredi", "samedi", "dimanche")


def month_name(month: Month, language: str) -> str:
    """`octobre 2026`, `oktober 2026`, `Oktober 2026`."""
    if language == "fr":
        return month.in_french
    return str(format_date(date(month.year, month.month, 1), "LLLL y", locale=language))


def day_name(day: date, language: str) -> str:
    """`lundi 16 novembre 2026`, `maandag 16 november 2026`, `Montag, 16. November 2026`."""
    return french_day(day) if language == "fr" else str(format_date(day, _DAYS[language], locale=language))


def moment_name(text: str, language: str, zone: str = "Europe/Paris") -> str:
    """A stored time as a partner reads it: `22/11/2026 à 11:32`."""
    return datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).strftime(_MOMENTS[language])
