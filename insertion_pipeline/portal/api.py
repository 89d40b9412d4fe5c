"""The REST API: what a depositor's program does, with a token, as the pages do it.

Belongs here: `/api/v1/…`, its models, `/openapi.json`. Does not belong here: pages, judging.

A deposit may be sent again without harm: the same bytes for the same month give the same receipt, and an
`Idempotency-Key` that comes back with other bytes is refused.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Annotated, Any, Literal

from fastapi import APIRouter, File, Form, Header, HTTPException, Path, Query, Request, Response, UploadFile
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from insertion_pipeline.ingestion import deadlines, landing
from insertion_pipeline.ingestion.landing import NothingToConfirm
from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.month import InvalidMonth, Month
from insertion_pipeline.portal import accounts, board, depositing, filling, publishing, reminding, tokens
from insertion_pipeline.portal.access import EVERYONE, MACHINES, open_to, portal_of, token_of
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.depositing import Upload, UploadRefused
from insertion_pipeline.portal.formats import NoTemplate, template_of

_MONTH = r"^(19|2[0-8])[0-9]{2}-(0[1-9]|1[0-2])$"
#: A field of a form that may be left empty: forms know no null.
_OPTIONAL = "^({0})?$"
_SOURCE = r"^[a-z][a-z0-9_]{0,60}$"


class Problem(BaseModel):
    """Why something was not done."""

    detail: str


_PROBLEMS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "Demande illisible"},
    401: {"model": Problem, "description": "Jeton absent, échu ou révoqué"},
    403: {"model": Problem, "description": "Le jeton ne permet pas cette opération"},
    404: {"model": Problem, "description": "N'existe pas pour ce jeton"},
    409: {"model": Problem, "description": "Fichiers qui ne vont pas ensemble, ou clé d'idempotence déjà prise"},
    413: {"model": Problem, "description": "Envoi trop volumineux"},
    422: {"model": Problem, "description": "Demande mal formée"},
    429: {"model": Problem, "description": "Trop de demandes"},
    503: {"model": Problem, "description": "Antivirus indisponible : rien n'est accepté sans lui"},
}
router = APIRouter(prefix="/api/v1", responses=_PROBLEMS)
description = APIRouter(include_in_schema=False)


class Finding(BaseModel):
    """One thing wrong with a delivery."""

    model_config = ConfigDict(extra="allow")
    code: str
    severity: Literal["blocking", "warning"]
    file: str
    line: int | None
    field: str
    value: str | None
    rule: str
    expected: str
    message: str
    remedy: str
    count: int


class CheckAnswer(BaseModel):
    """The verdict: 0 nothing found, 1 warnings, 2 some rows rejected, 3 refused. The four counts sum to `lines`."""

    model_config = ConfigDict(extra="allow")
    verdict: int = Field(ge=0, le=3)
    source: str | None
    period: str | None
    lines: int
    accepted: int
    rejected: int
    blank: int
    header_footer: int
    findings: list[Finding]


class ReceiptAnswer(BaseModel):
    """The answer to a deposit."""

    model_config = ConfigDict(extra="allow")
    sequence: int
    sha256: str
    partner: str
    source: str
    month: str | None
    received_at: str
    status: Literal["applied", "held", "refused", "nothing"]
    verdict: int
    lines: int
    accepted: int
    rejected: int
    blank: int
    header_footer: int
    held_for: list[str]


class DeliveryAnswer(BaseModel):
    """A receipt with its findings; null where they were given with the first receipt of these bytes."""

    receipt: ReceiptAnswer
    findings: list[Finding] | None


class Expected(BaseModel):
    """One file expected of the partner."""

    source: str
    title: str
    month: str
    deadline: date
    state: Literal["awaited", "late", "refused", "held", "corrections", "warnings", "received", "nothing"]
    is_late: bool
    receipt: int | None


class Declaration(BaseModel):
    """« Néant » for a source and a month."""

    model_config = ConfigDict(extra="forbid")
    source: str = Field(pattern=_SOURCE)
    month: str = Field(pattern=_MONTH)


class ReleaseAnswer(BaseModel):
    """A public release. `files`: SHA-256 by name."""

    release_id: str
    first_month: str
    last_month: str
    files: dict[str, str]


Files = Annotated[
    list[UploadFile], File(min_length=1, max_length=60, description="Un fichier, ou toutes les vues d'un lot.")
]
SourceField = Annotated[
    str, Form(pattern=_OPTIONAL.format(_SOURCE[1:-1]), description="Reconnu au contenu s'il n'est pas donné.")
]
MonthField = Annotated[str, Form(pattern=_OPTIONAL.format(_MONTH[1:-1]), description="AAAA-MM")]
Sequence = Annotated[int, Path(ge=1, le=10**9)]


# -- checking and delivering ------------------------------------------------------------------------------------------


@router.post("/checks", response_model=CheckAnswer)
@open_to(MACHINES, scope="check")
def check(request: Request, file: Files, source: SourceField = "", month: MonthField = "") -> Any:
    """Contrôler sans déposer : rien n'est gardé."""
    portal, token = portal_of(request), token_of(request)
    with _received(portal, file) as upload:
        judgement = depositing.check(portal, upload, token.partner, source or None, _month(month))
    portal.note(token.actor, "test", token.partner, verdict=judgement.verdict)
    return judgement.to_json()


@router.post(
    "/deliveries",
    status_code=201,
    response_model=DeliveryAnswer,
    responses={
        200: {"model": DeliveryAnswer, "description": "Déjà reçu, le même récépissé ; ou refusé, rien n'en est gardé"},
        202: {"model": DeliveryAnswer, "description": "Retenu, attend une confirmation"},
    },
)
@open_to(MACHINES, scope="deliver")
def deliver(
    request: Request,
    file: Files,
    source: SourceField = "",
    month: MonthField = "",
    idempotency_key: Annotated[str | None, Header(max_length=200)] = None,
) -> Response:
    """Déposer : les mêmes octets pour le même mois donnent le même récépissé."""
    portal, token = portal_of(request), token_of(request)
    with _received(portal, file) as upload:
        if idempotency_key is not None:
            digest = _digest(upload, source, month)
            if not tokens.key_fits(portal.store, portal.now, token.number, idempotency_key, digest):
                raise HTTPException(409, "Cette clé d'idempotence a servi pour d'autres octets.")
        try:
            answer = depositing.deposit(portal, upload, token.partner, source or None, _month(month))
        except UploadRefused as refused:
            raise _unprocessable(refused) from None
    receipt = answer.receipt
    if not answer.is_repeated:
        portal.note(token.actor, "deposit", f"receipt:{receipt.sequence}", status=receipt.status, sha256=receipt.sha256)
        owner = accounts.by_number(portal.store, token.account)
        if owner is not None:
            reminding.tell_of_deposit(portal, receipt, owner)
    findings = answer.findings.to_pylist() if answer.findings is not None else None
    status = {"held": 202, "refused": 200}.get(receipt.status, 200 if answer.is_repeated else 201)
    return JSONResponse({"receipt": receipt.to_json(), "findings": findings}, status_code=status)


@router.post("/deliveries/nothing", status_code=201, response_model=ReceiptAnswer)
@open_to(MACHINES, scope="deliver")
def declare_nothing(request: Request, declaration: Declaration) -> Any:
    """Déclarer « néant »."""
    portal, token = portal_of(request), token_of(request)
    month = _month(declaration.month)
    partner = portal.registry.partner(token.partner)
    if month is None or not partner.expects(declaration.source, month):
        raise HTTPException(404)
    receipt = landing.declare_nothing(partner.code, declaration.source, month, portal.registry, portal.lake)
    portal.note(token.actor, "nothing", f"receipt:{receipt.sequence}")
    return receipt.to_json()


@router.post("/deliveries/{sequence}/confirmation", response_model=ReceiptAnswer)
@open_to(MACHINES, scope="deliver")
def confirm(request: Request, sequence: Sequence) -> Any:
    """Confirmer un dépôt retenu."""
    portal, receipt = portal_of(request), _own_receipt(request, sequence)
    try:
        applied = landing.confirm(receipt.sha256, receipt.partner, portal.registry, portal.lake)
    except NothingToConfirm:
        raise HTTPException(404) from None
    portal.note(token_of(request).actor, "confirm", f"receipt:{applied.sequence}", confirms=sequence)
    return applied.to_json()


# -- reading ----------------------------------------------------------------------------------------------------------


@router.get("/expected", response_model=list[Expected])
@open_to(MACHINES, scope="read")
def expected(request: Request, month: Annotated[str | None, Query(pattern=_MONTH)] = None) -> Any:
    """Ce qui est attendu pour un mois, celui qui vient de finir par défaut."""
    portal = portal_of(request)
    partner = portal.registry.partner(token_of(request).partner)
    day = deadlines.today(partner, portal.now)
    when = _month(month) or deadlines.collected_month(day)
    return [
        Expected(
            source=cell.source.name,
            title=cell.source.title,
            month=str(cell.month),
            deadline=cell.deadline,
            state=cell.state,
            is_late=cell.is_late,
            receipt=cell.receipt.sequence if cell.receipt is not None else None,
        )
        for cell in board.expected(portal.registry, portal.ledger(), [partner], when, day)
    ]


@router.get("/deliveries", response_model=list[ReceiptAnswer])
@open_to(MACHINES, scope="read")
def deliveries(
    request: Request,
    after: Annotated[int, Query(ge=0, le=10**9, description="Après ce numéro de récépissé.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Any:
    """Les récépissés du partenaire, dans l'ordre."""
    partner = token_of(request).partner
    own = [
        one.to_json() for one in receipts(portal_of(request).lake) if one.partner == partner and one.sequence > after
    ]
    return own[:limit]


@router.get("/deliveries/{sequence}", response_model=DeliveryAnswer)
@open_to(MACHINES, scope="read")
def delivery(request: Request, sequence: Sequence) -> Any:
    """Un récépissé et ses constats."""
    portal, receipt = portal_of(request), _own_receipt(request, sequence)
    try:
        findings = depositing.answer_of(portal, receipt)["findings"]
    except depositing.GONE:
        findings = depositing.answer_of(portal, receipt, is_erased=True)["findings"]
    return {"receipt": receipt.to_json(), "findings": findings}


@router.get(
    "/sources/{source}/template.xlsx",
    response_class=Response,
    responses={200: {"content": {"application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": {}}}},
)
@open_to(MACHINES, scope="read")
def template(
    request: Request,
    source: Annotated[str, Path(pattern=_SOURCE)],
    month: Annotated[str | None, Query(pattern=_MONTH)] = None,
) -> Response:
    """Le modèle à remplir d'un type de fichier."""
    portal = portal_of(request)
    what = portal.registry.sources.get(source)
    if what is None or not filling.can_be_filled(what):
        raise HTTPException(404)
    when = max(_month(month) or Month.of(portal.now.date()).plus(-1), what.first_month)
    try:
        body = template_of(what, portal.registry, when, "xlsx", {})
    except NoTemplate:
        raise HTTPException(404) from None
    return Response(body, media_type="application/vnd.openxmlformats-officedocument.spreadsheetml.sheet")


@router.get("/releases", response_model=list[ReleaseAnswer])
@open_to(MACHINES, scope="read")
def releases(request: Request) -> Any:
    """Les publications."""
    return [
        ReleaseAnswer(
            release_id=one.release_id,
            first_month=one.months[0],
            last_month=one.months[-1],
            files=dict(one.manifest["files"]),
        )
        for one in publishing.public(portal_of(request))
    ]


# -- the description --------------------------------------------------------------------------------------------------


@description.get("/openapi.json")
@open_to(EVERYONE)
def openapi(request: Request) -> JSONResponse:
    """The API's own description, and nothing of the pages."""
    return JSONResponse(_described(request.app))


@functools.lru_cache(maxsize=4)
def _described(app: Any) -> dict[str, Any]:
    document = get_openapi(
        title=app.title, version=app.version, summary=app.summary, routes=router.routes, openapi_version="3.1.0"
    )
    document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
    document["security"] = [{"token": []}]
    return document


# -- pieces -----------------------------------------------------------------------------------------------------------


@contextmanager
def _received(portal: Portal, files: list[UploadFile]) -> Iterator[Upload]:
    try:
        with depositing.received(portal, [(one.filename or "", one.file) for one in files]) as upload:
            yield upload
    except UploadRefused as refused:
        raise _unprocessable(refused) from None


def _unprocessable(refused: UploadRefused) -> HTTPException:
    return HTTPException({"too-large": 413, "several-deliveries": 409}.get(refused.code, 422), str(refused))


def _month(text: str | None) -> Month | None:
    if not text:
        return None
    try:
        return Month.parse(text)
    except InvalidMonth:
        raise HTTPException(422, "Mois illisible.") from None


def _own_receipt(request: Request, sequence: int) -> Receipt:
    receipt, token = portal_of(request).receipt(sequence), token_of(request)
    if receipt is None or receipt.partner != token.partner:
        raise HTTPException(404)
    return receipt


def _digest(upload: Upload, source: str, month: str) -> str:
    """What an idempotency key stands for."""
    digest = hashlib.sha256(f"{source} {month}".encode())
    for path in upload.paths:
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
