"""The reviewer's path: pairs of records that the machine leaves to a person.

Belongs here: the pages of whoever decides. Does not belong here: the queue, its order and its rules
(`identity.reviewing`).

A reviewer first sees how two records compare; the values on demand, and every such look is noted (domain rule 6).
"""

from __future__ import annotations

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from insertion_pipeline.identity import reviewing
from insertion_pipeline.lake import AnotherRunHoldsTheLock
from insertion_pipeline.portal.access import Form, NotFound, account_of, form_of, open_to, portal_of
from insertion_pipeline.portal.rendering import page
from insertion_pipeline.registry import Space

router = APIRouter(include_in_schema=False)

_SPACES: tuple[Space, ...] = ("fr", "be")
_PAIRS_SHOWN = 20

#: How two records compare in one trait: a word for every level of the model.
LEVELS = {
    "exact": "identique", "else": "différent", "null": "absent d'un côté", "swapped": "inversé", "crossed": "croisé",
    "close": "très proche", "near": "proche", "part": "en partie", "first": "premier seul", "other": "autre prénom",
    "year": "année seule", "in_email": "lisible dans l'adresse électronique", "two_of_three": "deux sur trois",
    "department": "même département", "words": "mêmes mots", "some": "des mots en commun",
    "spelt": "identique, et faite du nom",
}  # fmt: skip
#: What is compared, as a reviewer calls it.
COMPARISONS = {
    "surname": "Nom", "given": "Prénom", "birth": "Naissance", "sex": "Sexe", "birth_place": "Lieu de naissance",
    "residence": "Résidence", "address": "Adresse", "email": "Adresse électronique", "phone": "Téléphone",
    "number": "Numéro", "france_travail_id": "Identifiant France Travail", "household": "Foyer",
}  # fmt: skip
#: Why a pair is left to a person.
REASONS = {
    "grey": "Le modèle hésite.", "guarded": "Un garde-fou retient cette réunion.",
    "vetoed": "Les deux fiches ont des numéros différents.", "refused": "Cette réunion contredirait d'autres fiches.",
    "linked": "Réunie par le modèle, à contrôler.",
}  # fmt: skip
#: The values that a look shows, in this order.
TRAITS = {
    "nir": "NIR", "niss": "NISS", "birth_name": "Nom de naissance", "used_name": "Nom d'usage",
    "first_names": "Prénoms", "sex": "Sexe", "birth_date": "Date de naissance", "birth_place_name": "Lieu de naissance",
    "residence_code": "Commune", "address": "Adresse", "postal_code": "Code postal", "email": "Adresse électronique",
    "phone": "Téléphone", "partner": "Partenaire",
}  # fmt: skip


@router.get("/revue")
@open_to("reviewer")
def queue_page(request: Request, espace: str = "fr") -> Response:
    """The pairs that wait, the most useful first."""
    portal, space = portal_of(request), _space(espace)
    return page(
        request, "review.html",
        space=space, spaces=_SPACES, backlog=reviewing.backlog(portal.lake, space), reasons=REASONS,
        pairs=reviewing.queue(portal.lake, space, limit=_PAIRS_SHOWN),
    )  # fmt: skip


@router.get("/revue/{space}/{pair}")
@open_to("reviewer")
def pair_page(request: Request, space: str, pair: str, occupe: int = 0) -> Response:
    """One pair, level by level."""
    return _pair(request, space, pair, occupied=bool(occupe))


@router.post("/revue/{space}/{pair}/valeurs")
@open_to("reviewer")
def values(request: Request, space: str, pair: str) -> Response:
    """The two records with their values; the look is noted."""
    portal, account = portal_of(request), account_of(request)
    try:
        sides = reviewing.look(portal.lake, _space(space), pair, by=account.actor)
    except reviewing.UnknownPair:
        raise NotFound from None
    portal.note(account.actor, "pair looked at", f"pair:{pair}", space=space)
    return _pair(request, space, pair, sides=sides)


@router.post("/revue/{space}/{pair}/decision")
@open_to("reviewer")
def decide(request: Request, space: str, pair: str, form: Form = Depends(form_of)) -> Response:
    """Keep a verdict; while a run is at work, nothing is written."""
    portal, account = portal_of(request), account_of(request)
    verdict = next((one for one in reviewing.VERDICTS if one == form.text("verdict")), None)
    if verdict is None:
        raise NotFound
    try:
        with portal.lake.writer_lock(holder="portail, revue"):
            reviewing.decide(portal.lake, _space(space), pair, verdict, by=account.actor)
    except reviewing.UnknownPair:
        raise NotFound from None
    except AnotherRunHoldsTheLock:
        return RedirectResponse(f"/revue/{space}/{pair}?occupe=1", status_code=303)
    portal.note(account.actor, "pair decided", f"pair:{pair}", space=space, verdict=verdict)
    return RedirectResponse(f"/revue?espace={space}", status_code=303)


def _pair(
    request: Request, space: str, pair: str, *, sides: list[dict[str, str | None]] | None = None, occupied: bool = False
) -> Response:
    try:
        shown = reviewing.shown(portal_of(request).lake, _space(space), pair)
    except reviewing.UnknownPair:
        raise NotFound from None
    return page(
        request, "pair.html",
        shown=shown, sides=sides, reasons=REASONS, comparisons=COMPARISONS, levels=LEVELS,
        traits=TRAITS, occupied=occupied,
    )  # fmt: skip


def _space(text: str) -> Space:
    space = next((one for one in _SPACES if one == text), None)
    if space is None:
        raise NotFound
    return space
