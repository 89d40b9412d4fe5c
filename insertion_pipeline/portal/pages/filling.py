"""Filling in a small file on the page, and correcting its marked cells.

Belongs here: the grid's page and its buttons. Does not belong here: the grid (`portal.filling`), a verdict's page.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from insertion_pipeline.ingestion import content
from insertion_pipeline.month import Month
from insertion_pipeline.portal import depositing, filling, verdicts
from insertion_pipeline.portal.access import Form, NotFound, form_of, open_to, own_partner, portal_of, visitor_of
from insertion_pipeline.portal.depositing import UploadRefused
from insertion_pipeline.portal.filling import Column, Grid, Sheet, TooManyRows
from insertion_pipeline.portal.languages import Sentence, marked
from insertion_pipeline.portal.pages.depositor import Asked, is_small, judged, month_of, own_receipt
from insertion_pipeline.portal.rendering import page
from insertion_pipeline.registry import Partner, Source

router = APIRouter(include_in_schema=False)

#: (table, row, column) → what is wrong there; a finding about a whole row has no column.
Marks = Mapping[tuple[str, int, str], list[dict[str, Any]]]


#: Deliveries whose bytes are there.
_KEPT = ("applied", "held")


@router.get("/saisir")
@open_to("depositor")
def filling_page(request: Request, source: str, mois: str, partenaire: str = "") -> Response:
    """The grid of a month: last month's rows, or empty ones."""
    portal = portal_of(request)
    partner, what, month = _filled_of(request, partenaire, source, mois)
    flow = portal.ledger().by_flow.get((partner.code, what.name), ())
    carried = filling.rows_to_carry_over(portal.lake, portal.registry, flow, partner, what, month)
    if any(carried.values()):
        grid = filling.carried_over_grid(what, month, portal.registry, carried)
    else:
        grid = filling.empty_grid(what, month, portal.registry)
    return _grid_page(request, partner, grid, carried_from=month.plus(-1) if any(carried.values()) else None)


@router.get("/depots/{sequence}/corriger")
@open_to("depositor")
def correct_deposit(request: Request, sequence: int) -> Response:
    """The rows of a delivery, its findings beside them."""
    portal, receipt = portal_of(request), own_receipt(request, sequence)
    if receipt.source not in portal.registry.sources or receipt.month is None or receipt.status not in _KEPT:
        raise NotFound
    partner = portal.registry.partner(receipt.partner)
    source = portal.registry.source_of(partner, receipt.source)
    try:
        answer = depositing.answer_of(portal, receipt)
        if not is_small(answer, source):
            raise NotFound
        with content.opened(portal.lake, partner, receipt.sha256) as path:
            grid = filling.grid_of_file([path], source, receipt.month, portal.registry, portal.lake)
    except (*depositing.GONE, TooManyRows):
        raise NotFound from None
    findings = answer["findings"]
    return _grid_page(request, partner, grid, _marks(grid, findings), judged_findings=findings)


@router.get("/verdicts/{name}/corriger")
@open_to("depositor")
def correct_verdict(request: Request, name: str) -> Response:
    """The rows of a file that was tested or refused, its findings beside them."""
    portal, secret = portal_of(request), visitor_of(request).secret
    verdict = verdicts.find(portal.lake, secret, name)
    partner = own_partner(request, verdict.partner)
    month, known = month_of(verdict.month or ""), verdict.source or ""
    if known not in portal.registry.sources or month is None:
        raise NotFound
    source = portal.registry.source_of(partner, known)
    if not is_small(verdict.answer, source):
        raise NotFound
    names = [depositing.safe_name(one) for one in verdict.names]
    try:
        with verdicts.opened(portal.lake, secret, verdict, names) as paths:
            grid = filling.grid_of_file(paths, source, month, portal.registry, portal.lake)
    except TooManyRows:
        raise NotFound from None
    findings = verdict.answer["findings"]
    return _grid_page(request, partner, grid, _marks(grid, findings), judged_findings=findings)


@router.post("/saisir")
@open_to("depositor")
def filled_in(request: Request, form: Form = Depends(form_of)) -> Response:
    """Add lines, paste, test, or deposit what was typed."""
    portal = portal_of(request)
    partner, source, month = _filled_of(request, form.text("partenaire"), form.text("source"), form.text("mois"))
    action, _, about = form.text("action").partition(":")
    try:
        grid = filling.typed_grid(source, month, portal.registry, form.items())
        if action == "coller" and about in {sheet.name for sheet in grid.sheets}:
            grid = filling.pasted_grid(source, month, portal.registry, about, form.raw(f"coller.{about}"), grid)
            return _grid_page(request, partner, grid)
        if action == "ajouter":
            return _grid_page(request, partner, grid, more=about)
    except TooManyRows:
        told = Sentence(
            "Une page tient %(most)s lignes. Au-delà, remplissez le modèle et déposez le fichier.",
            {"most": filling.MOST_ROWS},
        )
        grid = filling.empty_grid(source, month, portal.registry)
        return _grid_page(request, partner, grid, problem=told, status=422)
    if grid.is_empty:
        empty = marked("Aucune ligne n'est remplie. Rien à déclarer ? Choisissez « Néant ».")
        grid = filling.empty_grid(source, month, portal.registry)
        return _grid_page(request, partner, grid, problem=empty, status=422)
    name, body = f"saisie-{source.name}-{month}.xlsx", filling.file_of(grid, portal.registry)
    asked = Asked(partner, source.name, month, is_test=action == "tester")
    try:
        with depositing.received(portal, [(name, io.BytesIO(body))]) as upload:
            if not asked.is_test:
                return RedirectResponse(judged(request, upload, asked), status_code=303)
            answer = depositing.check(portal, upload, partner.code, source.name, month).to_json()
    except UploadRefused as refused:
        return _grid_page(request, partner, grid, problem=refused.sentence, status=422)
    findings = answer["findings"]
    return _grid_page(request, partner, grid, _marks(grid, findings), judged_findings=findings)


def _filled_of(request: Request, code: str, source: str, month: str) -> tuple[Partner, Source, Month]:
    """A source that the partner may fill in for the month. Raises `NotFound`."""
    partner, when = own_partner(request, code), month_of(month)
    if when is None or not partner.expects(source, when):
        raise NotFound
    what = portal_of(request).registry.source_of(partner, source)
    if not filling.can_be_filled(what) or when < what.first_month:
        raise NotFound
    return partner, what, when


def _marks(grid: Grid, findings: list[dict[str, Any]]) -> Marks:
    """Which cells to mark: a finding stands at its table, line and fields."""
    rows = {(sheet.name, line): rank for sheet in grid.sheets for rank, line in enumerate(sheet.lines)}
    marks: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for finding in findings:
        rank = rows.get((finding["table"], finding["line"]))
        if rank is not None:
            for column in finding["field"].split(", ") if finding["field"] else [""]:
                marks.setdefault((finding["table"], rank, column), []).append(finding)
    return marks


def _grid_page(
    request: Request,
    partner: Partner,
    grid: Grid,
    marks: Marks | None = None,
    *,
    carried_from: Month | None = None,
    judged_findings: list[dict[str, Any]] | None = None,
    more: str = "",
    problem: str | Sentence = "",
    status: int = 200,
) -> Response:
    general = [one for one in judged_findings or [] if one["line"] is None]
    found = marks or {}
    first_marked = next(
        (
            f"{sheet.name}.{rank}.{column.name}"
            for sheet in grid.sheets
            for rank in range(len(sheet.rows))
            for column in sheet.columns
            if (sheet.name, rank, column.name) in found
        ),
        "",
    )
    return page(
        request, "filling.html", status,
        partner=partner, grid=grid, marks=found, first_marked=first_marked,
        shown_columns=lambda sheet: _marked_first(sheet, found),
        carried_from=carried_from, general=general,
        is_judged=judged_findings is not None, more=more, problem=problem, most=filling.MOST_ROWS,
        total=sum(one["count"] for one in judged_findings or []),
    )  # fmt: skip


def _marked_first(sheet: Sheet, marks: Marks) -> list[Column]:
    """The columns with something to correct, then the others: nobody scrolls to find what is marked."""
    marked = {column for table, _, column in marks if table == sheet.name}
    return sorted(sheet.columns, key=lambda column: column.name not in marked)
