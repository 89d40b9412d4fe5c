"""Pages as HTML: Jinja, French typography, the words of states.

Belongs here: the template environment, its filters. Does not belong here: what a page shows, in which language
(`languages`).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from datetime import date
from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from fastapi.responses import HTMLResponse
from markupsafe import Markup

from insertion_pipeline.ingestion.reporting import VERDICTS, account_of, own_titles_of, spelled, typeset, visible
from insertion_pipeline.month import Month
from insertion_pipeline.portal import accounts, languages, sessions
from insertion_pipeline.portal.access import Visitor, portal_of
from insertion_pipeline.portal.languages import Sentence

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
    language = language_of(request)
    html = (
        environment(language)
        .get_template(name)
        .render(
            request=request,
            account=visitor.account,
            form_token=sessions.form_token(secret) if secret else "",
            language=language,
            here=_here(request),
            settings=portal.settings,
            **values,
        )
    )
    return HTMLResponse(html, status_code=status, headers=dict(headers or {}) | {"Cache-Control": "no-store"})


def language_of(request: Request) -> str:
    """The language that whoever asks reads."""
    cookie, accepted = request.cookies.get(languages.COOKIE, ""), request.headers.get("accept-language", "")
    return languages.chosen(cookie, accepted, portal_of(request).settings.offered_languages)


def _here(request: Request) -> str:
    """Where to come back to: the page being read, or the first one after a form."""
    if request.method != "GET":
        return "/"
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path


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
    catalogue = languages.translations(language)
    made.install_gettext_translations(catalogue, newstyle=True)  # type: ignore[attr-defined]
    made.filters |= {
        "month": lambda month: languages.month_name(Month.parse(str(month)), language),
        "day": functools.partial(languages.day_name, language=language),
        "moment": lambda text, zone="Europe/Paris": languages.moment_name(text, language, zone),
        "told": lambda said: (said if isinstance(said, Sentence) else Sentence(said)).within(catalogue),
        "spelled": spelled,
        "typeset": _typeset,
        "visible": visible,
        "account": account_of,
        "own_titles": own_titles_of,
        "size": file_size,
        "quantity": quantity,
    }
    made.globals |= {
        "STATES": STATES, "STATUSES": STATUSES, "VERDICTS": VERDICTS, "ROLES": ROLES, "LANGUAGES": languages.NAMES,
        "SHORTEST_PASSWORD": accounts.SHORTEST_PASSWORD,
        "in_french": "" if language == "fr" else Markup(' lang="fr"'),
    }  # fmt: skip
    return made


def _typeset(text: str) -> str:
    """The text of a contract or of a finding with French spaces, and without the marks of its Markdown."""
    plain = typeset(str(text)).replace("`", "")
    return Markup(plain) if isinstance(text, Markup) else plain  # noqa: S704 (it was escaped before, or is escaped next)


def file_size(size: int) -> str:
    """`12 ko`."""
    for unit, least in (("Go", 1 << 30), ("Mo", 1 << 20), ("ko", 1 << 10)):
        if size >= least:
            return f"{size / least:.0f}\u00a0{unit}"
    return f"{size}\u00a0octets"


#: What follows a published value; a share's sign stands close to it too.
_UNITS = {"%": "%", "hours": "h", "days": "j", "etp": "ETP", "eur": "€"}


def quantity(value: float, unit: str) -> str:
    """`1 234,5 h`."""
    whole, _, tenth = f"{value:.1f}".partition(".")
    number = spelled(int(whole)) + (f",{tenth}" if tenth != "0" else "")
    return f"{number}\u00a0{_UNITS[unit]}" if unit in _UNITS else number


def parsed_day(text: str) -> date | None:
    """A day as a date field sends it; null for anything else."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None
