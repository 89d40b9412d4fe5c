"""The animator's path: who has delivered, who is late, who has corrections to make; a word to remind them.

Belongs here: the board and a partner's last verdicts, as counts, rule codes and fields. Does not belong here: any cell,
any line, any name that came with a file: an animator never sees one (domain rule 6).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from insertion_pipeline.contracts.findings import TITLES
from insertion_pipeline.ingestion import deadlines
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.month import Month
from insertion_pipeline.portal import accounts, board, depositing, reminding
from insertion_pipeline.portal.access import Form, NotFound, account_of, form_of, open_to, portal_of
from insertion_pipeline.portal.board import Cell
from insertion_pipeline.portal.pages.depositor import month_of
from insertion_pipeline.portal.rendering import page
from insertion_pipeline.registry import Partner

router = APIRouter(include_in_schema=False)

_MONTHS_SHOWN = 6
#: From what asks for attention to what does not.
_URGENCY = ("late", "refused", "held", "corrections", "awaited", "warnings", "received", "nothing")


@router.get("/tableau")
@open_to("animator")
def board_page(request: Request, mois: str = "", etat: str = "", famille: str = "") -> Response:
    """Partners down, months across; and how many stand where in the month that is being collected."""
    portal = portal_of(request)
    ledger, today = portal.ledger(), portal.now.date()
    last = month_of(mois) or deadlines.collected_month(today)
    months = [last.plus(-back) for back in range(_MONTHS_SHOWN)]
    rows, counted = [], Counter[str]()
    for partner in _own(request, last):
        day = deadlines.today(partner, portal.now)
        by_month = {month: board.expected(portal.registry, ledger, [partner], month, day) for month in months}
        counted.update(cell.state for cell in by_month[last])
        if (not etat or etat in {cell.state for cell in by_month[last]}) and famille in ("", partner.family):
            rows.append((partner, {month: _by_urgency(cells) for month, cells in by_month.items()}))
    rows.sort(key=lambda row: _URGENCY.index(row[1][last][0][0]) if row[1][last] else len(_URGENCY))
    return page(
        request, "board.html",
        rows=rows, months=months, last=last, counted=counted, chosen={"etat": etat, "famille": famille},
        urgency=_URGENCY, offered=[Month.of(today).plus(-n) for n in range(13)],
    )  # fmt: skip


def _by_urgency(cells: Sequence[Cell]) -> list[tuple[str, list[str]]]:
    """The states of a partner's month, the most pressing first, each with the files that stand there."""
    return [
        (state, titles)
        for state in _URGENCY
        if (titles := [cell.source.title for cell in cells if cell.state == state])
    ]


@router.get("/tableau/{code}")
@open_to("animator")
def partner_page(request: Request, code: str, mois: str = "", rappel: str = "") -> Response:
    """One partner: what is open, and what the last verdicts said, without any cell."""
    portal, partner = portal_of(request), _one(request, code)
    day = deadlines.today(partner, portal.now)
    month = month_of(mois) or deadlines.collected_month(day)
    cells = board.expected(portal.registry, portal.ledger(), [partner], month, day)
    contacts = [
        (rank, contact.is_absent(day), reminding.reminders_left(portal, contact, month))
        for rank, contact in enumerate(accounts.contacts(portal.store, partner.code), start=1)
    ]
    portal.note(account_of(request).actor, "partner viewed", partner.code, month=str(month))
    return page(
        request, "partner.html",
        partner=partner, month=month, cells=cells, contacts=contacts, reminded=rappel,
        verdicts={cell.receipt.sequence: _without_cells(request, cell.receipt) for cell in cells if cell.receipt},
        can_remind=any(cell.is_open for cell in cells) and any(left and not away for _, away, left in contacts),
    )  # fmt: skip


@router.post("/tableau/{code}/relancer")
@open_to("animator")
def remind(request: Request, code: str, form: Form = Depends(form_of)) -> Response:
    """Send a reminder about what is open."""
    portal, partner, month = portal_of(request), _one(request, code), month_of(form.text("mois"))
    if month is None:
        raise NotFound
    day = deadlines.today(partner, portal.now)
    cells = [one for one in board.expected(portal.registry, portal.ledger(), [partner], month, day) if one.is_open]
    sent = reminding.remind_now(portal, partner, cells, day)
    portal.note(account_of(request).actor, "reminder", partner.code, month=str(month), sent=sent)
    return RedirectResponse(f"/tableau/{code}?mois={month}&rappel={'envoye' if sent else 'aucun'}", status_code=303)


def _own(request: Request, month: Month) -> list[Partner]:
    return board.partners_within(portal_of(request).registry, account_of(request).scopes("animator"), month)


def _one(request: Request, code: str) -> Partner:
    """A partner of one's own territories. Raises `NotFound`."""
    month = Month.of(portal_of(request).now.date()).plus(-1)
    for partner in _own(request, month):
        if partner.code == code:
            return partner
    raise NotFound


def _without_cells(request: Request, receipt: Receipt) -> list[Mapping[str, Any]]:
    """What a verdict said, by rule code and field of the contract: counts, and nothing that a partner wrote."""
    portal = portal_of(request)
    source = portal.registry.sources.get(receipt.source)
    known = {
        field.name: field.label
        for version in (source.versions if source is not None else ())
        for table in version.resources
        for field in table.fields
    }
    found: Counter[tuple[str, str, str]] = Counter()
    try:
        findings = depositing.answer_of(portal, receipt)["findings"]
    except depositing.GONE:
        findings = depositing.answer_of(portal, receipt, is_erased=True)["findings"]
    for one in findings:
        fields = ", ".join(known[name] for name in one["field"].split(", ") if name in known)
        found[one["code"], one["severity"], fields] += one["count"]
    return [
        {"code": code, "title": TITLES.get(code, code), "severity": severity, "fields": fields, "count": count}
        for (code, severity, fields), count in found.most_common()
    ]
