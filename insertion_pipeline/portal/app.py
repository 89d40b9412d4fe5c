"""The portal as a web application: routes together, headers on every answer, errors as pages or as JSON.

Belongs here: putting the pieces together, what holds for every request. Does not belong here: any one route.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import tempfile
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from insertion_pipeline.lake import Lake
from insertion_pipeline.portal import api, audit, reminding, sessions, verdicts
from insertion_pipeline.portal.access import (
    Forbidden,
    MustEnrol,
    MustSignIn,
    NotFound,
    ScopeMissing,
    Unauthorised,
    admitted,
    recognised,
)
from insertion_pipeline.portal.antivirus import AntivirusAbsent
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.languages import Sentence, marked
from insertion_pipeline.portal.pages import administrator, analyst, animator, depositor, entering, filling, reviewer
from insertion_pipeline.portal.rendering import page
from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.portal.throttling import TooMany
from insertion_pipeline.registry import Registry

_LOG = logging.getLogger("insertion.portal")

#: Nothing but our own files, no inline script or style, no frame, no form to elsewhere.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}
_HSTS = "max-age=63072000; includeSubDomains"
#: What a form weighs beside its files.
_FORM_BYTES = 2 << 20
#: How often the portal looks after itself: reminders of the day, verdicts and sessions that are over.
_HOUSEKEEPING_SECONDS = 300


def create_app(lake: Lake, registry: Registry, settings: PortalSettings | None = None) -> FastAPI:
    """The application over a home. Uploads are spooled inside the sealed area, never in a shared folder."""
    portal = Portal.opened(lake, registry, settings or PortalSettings())
    app = FastAPI(
        title="Portail insertion",
        summary="Dépôt des fichiers mensuels, par programme.",
        version="1",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        lifespan=_living,
        dependencies=[Depends(admitted)],
    )
    app.state.portal = portal
    app.mount("/static", StaticFiles(directory=Path(__file__).parent / "static"), name="static")
    for router in (
        entering.router, depositor.router, filling.router, animator.router, reviewer.router, analyst.router,
        administrator.router, api.router, api.description,
    ):  # fmt: skip
        app.include_router(router)
    _answer_errors(app)
    app.add_middleware(_Guarded, portal=portal)
    return app


@contextlib.asynccontextmanager
async def _living(app: FastAPI) -> AsyncIterator[None]:
    portal: Portal = app.state.portal
    portal.lake.empty_spill()
    threading.Thread(target=portal.seats.prepare, daemon=True, name="preparing").start()
    stopping = threading.Event()
    keeper = threading.Thread(target=_keep_house, args=(portal, stopping), daemon=True, name="housekeeping")
    keeper.start()
    with portal.lake.sealed_spill() as spill:
        former, tempfile.tempdir = tempfile.tempdir, str(spill)
        try:
            yield
        finally:
            tempfile.tempdir = former
            stopping.set()
            keeper.join(timeout=5)
            portal.seats.close()
            portal.store.close()


def _keep_house(portal: Portal, stopping: threading.Event) -> None:
    while True:
        try:
            verdicts.remove_old(portal.lake, portal.now, portal.settings.verdict_minutes)
            sessions.forget_old(portal.store, portal.now, portal.settings)
            reminding.remind_everyone(portal)
            audit.drop_old(portal.store, portal.now)
        except Exception as error:  # noqa: BLE001 (the next round may go better; the reason names no value)
            _LOG.error("housekeeping failed: %s", type(error).__name__)
        if stopping.wait(_HOUSEKEEPING_SECONDS):
            return


# -- every request ----------------------------------------------------------------------------------------------------


class _Guarded:
    """Headers on every answer, a limit on every body, a rate for every address."""

    def __init__(self, app: ASGIApp, portal: Portal) -> None:
        self._app = app
        self._portal = portal
        self._headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
        if portal.settings.is_https:
            self._headers.append((b"strict-transport-security", _HSTS.encode()))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        most = self._portal.settings.upload_bytes + _FORM_BYTES
        length = dict(scope["headers"]).get(b"content-length", b"0")
        started = False

        async def guarded_send(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                names = {name for name, _ in message["headers"]}
                message["headers"] = [*message["headers"], *(one for one in self._headers if one[0] not in names)]
            await send(message)

        taken = 0

        async def measured_receive() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > most:
                raise _TooLarge
            return message

        request = Request(scope)
        try:
            if not length.isdigit() or int(length) > most:
                raise _TooLarge
            self._portal.rate.take(f"from {request.client.host if request.client else ''}")
            await self._app(scope, measured_receive, guarded_send)
        except Exception as error:
            if started:
                raise
            await _last_answer(request, error)(scope, receive, guarded_send)


class _TooLarge(HTTPException):
    """A body that is larger than anything the portal takes."""

    def __init__(self) -> None:
        super().__init__(413)


def _last_answer(request: Request, error: Exception) -> Response:
    """What no handler has answered: too much, too often, or a failure of ours, told by its kind and a reference."""
    if isinstance(error, TooMany):
        return _refusal(request, error)
    if isinstance(error, _TooLarge):
        return _answer(request, 413, *_HTTP[413])
    reference = secrets.token_hex(4)
    where = traceback.extract_tb(error.__traceback__)[-1]
    _LOG.error("failed: %s at %s:%s (%s)", type(error).__name__, Path(where.filename).name, where.lineno, reference)
    told = Sentence("Réessayez. Si cela dure, citez la référence %(reference)s.", {"reference": reference})
    return _answer(request, 500, marked("Erreur de notre côté"), told)


def _refusal(request: Request, refused: TooMany) -> Response:
    minutes = -(-refused.seconds // 60)
    told = Sentence("Attendez %(minutes)s min, puis recommencez.", {"minutes": minutes})
    return _answer(request, 429, marked("Trop de demandes"), told, {"Retry-After": str(refused.seconds)})


# -- errors -----------------------------------------------------------------------------------------------------------


def _answer(
    request: Request, status: int, title: str, message: str | Sentence, headers: dict[str, str] | None = None
) -> Response:
    """JSON under `/api`, a page elsewhere."""
    if request.url.path.startswith("/api/"):
        return JSONResponse({"detail": f"{title}. {message}"}, status_code=status, headers=headers)
    if not hasattr(request.state, "visitor"):  # no route, no gate
        request.state.visitor = recognised(request, request.app.state.portal)
    return page(request, "error.html", status=status, headers=headers, title=title, message=message)


def _answer_errors(app: FastAPI) -> None:
    """One answer per exception that routes and the gate raise."""
    told: dict[type[Exception], tuple[int, str, str]] = {
        NotFound: (404, *_HTTP[404]),
        verdicts.NoSuchVerdict: (
            404,
            marked("Verdict effacé"),
            marked("Un test n'est gardé qu'une demi-heure. Recommencez-le."),
        ),
        Forbidden: (
            403,
            marked("Formulaire périmé"),
            marked("Revenez en arrière, rechargez la page, puis recommencez : rien n'a été enregistré."),
        ),
        ScopeMissing: (403, marked("Jeton insuffisant"), marked("Ce jeton ne permet pas cette opération.")),
        AntivirusAbsent: (
            503,
            marked("Antivirus indisponible"),
            marked("Rien n'est accepté sans lui. Réessayez dans quelques minutes."),
        ),
    }
    for kind, (status, title, message) in told.items():
        app.add_exception_handler(kind, _told(status, title, message))

    async def unauthorised(_request: Request, _error: Exception) -> Response:
        return JSONResponse({"detail": "Jeton absent, échu ou révoqué."}, 401, {"WWW-Authenticate": "Bearer"})

    async def must_sign_in(request: Request, _error: Exception) -> Response:
        return RedirectResponse(f"/connexion{_way_back(request)}", status_code=303)

    async def must_enrol(_request: Request, _error: Exception) -> Response:
        return RedirectResponse("/compte/second-facteur", status_code=303)

    async def too_many(request: Request, error: Any) -> Response:
        return _refusal(request, error)

    async def http(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        told = error.detail if isinstance(error, HTTPException) and status in _TOLD_BY_ROUTES else ""
        title, message = _HTTP.get(status, _REFUSED)
        headers = dict(error.headers or {}) if isinstance(error, HTTPException) else {}
        return _answer(request, status, title, told or message, headers)

    async def invalid(request: Request, error: Exception) -> Response:
        where = (
            [".".join(map(str, one["loc"])) for one in error.errors()]
            if isinstance(error, RequestValidationError)
            else []
        )
        told = Sentence("Vérifiez : %(fields)s.", {"fields": ", ".join(where)})
        return _answer(request, 422, _HTTP[400][0], told)

    app.add_exception_handler(Unauthorised, unauthorised)
    app.add_exception_handler(MustSignIn, must_sign_in)
    app.add_exception_handler(MustEnrol, must_enrol)
    app.add_exception_handler(TooMany, too_many)
    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(RequestValidationError, invalid)


#: Statuses that a route gives with a sentence of its own.
_TOLD_BY_ROUTES = frozenset({409, 422})
_HTTP = {
    400: (marked("Demande mal formée"), marked("Rechargez la page, puis recommencez.")),
    404: (marked("Page introuvable"), marked("Elle n'existe pas, ou votre compte n'y donne pas accès.")),
    405: (marked("Page introuvable"), marked("Cette adresse ne s'utilise pas ainsi.")),
    413: (
        marked("Envoi trop volumineux"),
        marked("Rien n'a été déposé. Compressez le fichier (zip) ou déposez-le en plusieurs fois."),
    ),
}
_REFUSED = (marked("Demande refusée"), marked("Revenez à l'accueil et recommencez."))


def _told(status: int, title: str, message: str) -> Callable[[Request, Any], Awaitable[Response]]:
    async def answer(request: Request, _error: Any) -> Response:
        return _answer(request, status, title, message)

    return answer


def _way_back(request: Request) -> str:
    """Where to return after signing in: only to a page of ours that was being read."""
    from urllib.parse import quote

    if request.method != "GET" or request.url.path == "/":
        return ""
    query = f"?{request.url.query}" if request.url.query else ""
    return f"?suite={quote(request.url.path + query)}"
