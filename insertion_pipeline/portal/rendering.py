"""Pages as HTML: Jinja, French typography, message catalogues.

Belongs here: the template environment, its filters, the words of states. Does not belong here: what a page shows.

Templates are written in French, which is also the key of each message; another language is a catalogue under `locale/`.
"""

from __future__ import annotations

import functools
import io
from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import jinja2
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.support import NullTranslations, Translations
from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from insertion_pipeline.ingestion.reporting import (
    VERDICTS,
    account_of,
    own_titles_of,
    several,
    spelled,
    typeset,
    visible,
)
from insertion_pipeline.portal import accounts, sessions
from insertion_pipeline.portal.access import Visitor, portal_of
from insertion_pipeline.portal.reminding import french_day, french_month

_HERE = Path(__file__).parent

#: State → (word, tone). A tone is never alone: the word says it too.
STATES: Mapping[str, tuple[str, str]] = {
    "awaited": ("À déposer", "neutral"),
    "late": ("En retard", "bad"),
    "refused": ("Refusé, à redéposer", "bad"),
    "held": ("À confirmer", "wait"),
    "corrections": ("Reçu, à corriger", "wait"),
    "warnings": ("Reçu, avec avertissements", "good"),
    "received": ("Reçu", "good"),
    "nothing": ("Néant", "good"),
}
STATUSES: Mapping[str, tuple[str, str]] = {
    "applied": ("Pris en compte", "good"),
    "held": ("En attente de confirmation", "wait"),
    "refused": ("Refusé", "bad"),
    "nothing": ("Néant", "good"),
}
ROLES: Mapping[str, str] = {
    "depositor": "Dépôt",
    "animator": "Animation",
    "reviewer": "Rapprochement des fiches",
    "analyst": "Analyse",
    "administrator": "Administration",
}


def page(
    request: Request, name: str, status: int = 200, headers: Mapping[str, str] | None = None, **values: Any
) -> HTMLResponse:
    """The page `name` for whoever asked for it."""
    portal = portal_of(request)
    visitor: Visitor = getattr(request.state, "visitor", Visitor(""))
    secret = visitor.secret
    template = environment(portal.settings.language).get_template(name)
    html = template.render(
        request=request,
        account=visitor.account,
        form_token=sessions.form_token(secret) if secret else "",
        language=portal.settings.language,
        settings=portal.settings,
        **values,
    )
    return HTMLResponse(html, status_code=status, headers=dict(headers or {}) | {"Cache-Control": "no-store"})


@functools.cache
def environment(language: str) -> jinja2.Environment:
    """The templates, with everything escaped and every undefined name an error."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        extensions=["jinja2.ext.i18n"],
    )
    made.install_gettext_translations(translations(language), newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {
        "month": french_month,
        "day": french_day,
        "short_day": lambda day: day.strftime("%d/%m/%Y"),
        "moment": french_moment,
        "spelled": spelled,
        "typeset": _typeset,
        "visible": visible,
        "account": account_of,
        "own_titles": own_titles_of,
        "size": file_size,
    }
    made.globals |= {
        "STATES": STATES, "STATUSES": STATUSES, "VERDICTS": VERDICTS, "ROLES": ROLES, "several": several,
        "SHORTEST_PASSWORD": accounts.SHORTEST_PASSWORD,
    }  # fmt: skip
    return made


def _typeset(text: str) -> str:
    """The text of a contract or of a finding with French spaces, and without the marks of its Markdown."""
    plain = typeset(str(text)).replace("`", "")
    return Markup(plain) if isinstance(text, Markup) else plain  # noqa: S704 (it was escaped before, or is escaped next)


def translations(language: str) -> NullTranslations:
    """The catalogue of a language; French is what the templates say."""
    path = _HERE / "locale" / f"{language}.po"
    if language == "fr" or not path.is_file():
        return NullTranslations()
    binary = io.BytesIO()
    with path.open("rb") as file:
        write_mo(binary, read_po(file, locale=language))
    binary.seek(0)
    return Translations(binary)


def french_moment(text: str, zone: str = "Europe/Paris") -> str:
    """A stored time as a partner reads it: `22/11/2026 à 11:32`."""
    return datetime.fromisoformat(text).astimezone(ZoneInfo(zone)).strftime("%d/%m/%Y à %H:%M")


def file_size(size: int) -> str:
    """`12 ko`."""
    for unit, least in (("Go", 1 << 30), ("Mo", 1 << 20), ("ko", 1 << 10)):
        if size >= least:
            return f"{size / least:.0f}\u00a0{unit}"
    return f"{size}\u00a0octets"


def parsed_day(text: str) -> date | None:
    """A day as a date field sends it; null for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
