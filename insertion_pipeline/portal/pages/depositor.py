"""The depositor's path: what is expected, deposit, verdict, receipt, history, and help about formats.

Belongs here: the pages of whoever deposits for a partner. Does not belong here: filling in on the page (`filling`),
judging and receiving (`depositing` calls the functions of the command line).

Another partner's delivery is not refused, it does not exist: 404.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import RedirectResponse

from insertion_pipeline.ingestion import content, deadlines, landing
from insertion_pipeline.ingestion.landing import NothingToConfirm
from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.ingestion.replaying import pages
from insertion_pipeline.ingestion.reporting import About, Group, grouped, outcome, told, write_report
from insertion_pipeline.month import InvalidMonth, Month
from insertion_pipeline.portal import board, depositing, figures, filling, publishing, reminding, verdicts
from insertion_pipeline.portal.access import (
    SIGNED_IN,
    Form,
    NotFound,
    account_of,
    form_of,
    open_to,
    own_partner,
    portal_of,
    visitor_of,
)
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.depositing import Upload, UploadRefused
from insertion_pipeline.portal.formats import NoTemplate, described, template_of
from insertion_pipeline.portal.languages import Sentence
from insertion_pipeline.portal.receipt_document import pdf_of
from insertion_pipeline.portal.rendering import page
from insertion_pipeline.registry import Partner, Source

router = APIRouter(include_in_schema=False)

_FINDINGS_PER_PAGE = 100
_HISTORY_PER_PAGE = 50
_MONTHS_OFFERED = 13
_XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MEDIA_TYPES = {"xlsx": _XLSX, "csv": "text/csv; charset=utf-8", "json": "application/json"}


# -- what is expected -------------------------------------------------------------------------------------------------


@router.get("/attendu")
@open_to("depositor")
def expected_page(request: Request, partenaire: str = "", mois: str = "") -> Response:
    """What this partner has to do for a month, and what is done."""
    portal, partner = portal_of(request), own_partner(request, partenaire)
    day = deadlines.today(partner, portal.now)
    month = month_of(mois) or deadlines.collected_month(day)
    cells = board.expected(portal.registry, portal.ledger(), [partner], month, day)
    cells.sort(key=lambda cell: (not cell.is_open, cell.deadline, cell.source.title))
    return page(
        request, "expected.html",
        partner=partner, partners=_own_partners(request), month=month, months=_months(day), cells=cells, day=day,
        can_be_filled=filling.can_be_filled,
    )  # fmt: skip


def _own_partners(request: Request) -> list[Partner]:
    known = portal_of(request).registry.partners
    return [known[code] for code in account_of(request).partners if code in known]


def _months(day: Any) -> list[Month]:
    """The months that may be chosen, newest first: a snapshot may come before its month ends."""
    return [Month.of(day).plus(-back) for back in range(_MONTHS_OFFERED)]


def month_of(text: str) -> Month | None:
    """A month from an address or a form; null when it is none, or has no year before and after it."""
    try:
        month = Month.parse(text)
        month.plus(-12), month.plus(12)
    except InvalidMonth:
        return None
    return month


# -- deposit ----------------------------------------------------------------------------------------------------------


@router.get("/deposer")
@open_to("depositor")
def deposit_page(request: Request, partenaire: str = "", source: str = "", mois: str = "") -> Response:
    """Choose a file."""
    return _deposit_form(request, own_partner(request, partenaire), source, mois)


def _deposit_form(
    request: Request, partner: Partner, source: str, month: str, problem: str | Sentence = "", status: int = 200
) -> Response:
    portal = portal_of(request)
    sources = [portal.registry.sources[name] for name in partner.sources]
    chosen = next((one for one in sources if one.name == source), None)
    day = deadlines.today(partner, portal.now)
    when = month_of(month) or deadlines.collected_month(day)
    return page(
        request, "deposit.html", status,
        partner=partner, sources=sources, chosen=chosen, month=when, months=_months(day), problem=problem,
        limit=depositing.megabytes(portal.settings.upload_bytes), can_be_filled=filling.can_be_filled,
        takes_several=any(one.insertion.envelope == "fluxiae" for one in sources),
    )  # fmt: skip


@router.post("/deposer")
@open_to("depositor")
def deposit(request: Request, form: Form = Depends(form_of)) -> Response:
    """Judge the file; receive it unless it is a test; show what it is worth."""
    portal, partner = portal_of(request), own_partner(request, form.text("partenaire"))
    source, month = form.text("source"), form.text("mois")
    try:
        with depositing.received(portal, [(one.filename or "", one.file) for one in form.files("fichier")]) as upload:
            asked = Asked(partner, source or None, month_of(month), is_test=form.text("action") == "tester")
            return RedirectResponse(judged(request, upload, asked), status_code=303)
    except UploadRefused as refused:
        portal.note(account_of(request).actor, "upload refused", partner.code, code=refused.code)
        return _deposit_form(request, partner, source, month, refused.sentence, 422)


@dataclass(frozen=True)
class Asked:
    """What somebody wants done with an upload."""

    partner: Partner
    source: str | None
    month: Month | None
    is_test: bool


def judged(request: Request, upload: Upload, asked: Asked) -> str:
    """Where the verdict of an upload can be read. Raises `UploadRefused`, `TooMany`, `AntivirusAbsent`."""
    portal, account, partner = portal_of(request), account_of(request), asked.partner
    if asked.source is not None and asked.source not in partner.sources:
        raise NotFound
    if asked.is_test:
        judgement = depositing.check(portal, upload, partner.code, asked.source, asked.month)
        portal.note(account.actor, "test", partner.code, verdict=judgement.verdict)
        return f"/verdicts/{_kept(request, upload, asked, 'test', judgement.to_json())}"
    answer = depositing.deposit(portal, upload, partner.code, asked.source, asked.month)
    receipt = answer.receipt
    if not answer.is_repeated:
        portal.note(
            account.actor, "deposit", f"receipt:{receipt.sequence}", status=receipt.status, sha256=receipt.sha256
        )
        reminding.tell_of_deposit(portal, receipt, account)
    if receipt.status == "refused":
        if answer.findings is None:  # the same bytes, refused before: their findings are made again, and not kept
            verdict = depositing.check(portal, upload, partner.code, asked.source, asked.month).to_json()
        else:
            verdict = depositing.answer_of(portal, receipt) | {"findings": answer.findings.to_pylist()}
        return f"/verdicts/{_kept(request, upload, asked, 'refused', verdict, receipt.sequence)}"
    return f"/depots/{receipt.sequence}{'?deja=1' if answer.is_repeated else ''}"


def _kept(
    request: Request, upload: Upload, asked: Asked, kind: str, answer: dict[str, Any], sequence: int | None = None
) -> str:
    return verdicts.keep(
        portal_of(request).lake,
        visitor_of(request).secret,
        upload.paths,
        kind=kind,
        answer=answer,
        partner=asked.partner.code,
        source=answer["source"],
        month=answer["period"],
        names=upload.names,
        sequence=sequence,
    )


@router.get("/neant")
@open_to("depositor")
def nothing_page(request: Request, source: str, mois: str, partenaire: str = "") -> Response:
    """Say « néant », once more before it counts."""
    partner, what, month = _expected_of(request, partenaire, source, mois)
    return page(request, "nothing.html", partner=partner, source=what, month=month)


@router.post("/neant")
@open_to("depositor")
def declare_nothing(request: Request, form: Form = Depends(form_of)) -> Response:
    """Receive « néant »."""
    portal = portal_of(request)
    partner, source, month = _expected_of(request, form.text("partenaire"), form.text("source"), form.text("mois"))
    receipt = landing.declare_nothing(partner.code, source.name, month, portal.registry, portal.lake)
    portal.note(account_of(request).actor, "nothing", f"receipt:{receipt.sequence}")
    reminding.tell_of_deposit(portal, receipt, account_of(request))
    return RedirectResponse(f"/depots/{receipt.sequence}", status_code=303)


def _expected_of(request: Request, code: str, source: str, month: str) -> tuple[Partner, Source, Month]:
    """A file that the partner is expected to deliver. Raises `NotFound`."""
    partner, when = own_partner(request, code), month_of(month)
    if when is None or not partner.expects(source, when):
        raise NotFound
    return partner, portal_of(request).registry.source_of(partner, source), when


# -- verdicts ---------------------------------------------------------------------------------------------------------


@router.get("/verdicts/{name}")
@open_to("depositor")
def verdict_page(request: Request, name: str) -> Response:
    """The verdict of a test, or of a refusal."""
    verdict = _own_verdict(request, name)
    source = portal_of(request).registry.sources.get(verdict.source or "")
    can_correct = is_small(verdict.answer, source) and verdict.month is not None
    return _verdict(
        request, verdict.answer, _about(request, verdict.source, verdict.partner, verdict.names),
        partner=portal_of(request).registry.partner(verdict.partner), source=source,
        month=month_of(verdict.month or ""),
        base=f"/verdicts/{name}", kind=verdict.kind, receipt=None,
        minutes=portal_of(request).settings.verdict_minutes, can_correct=can_correct,
    )  # fmt: skip


@router.post("/verdicts/{name}/deposer")
@open_to("depositor")
def deposit_tested(request: Request, name: str) -> Response:
    """Receive the file that was tested, as it was tested."""
    portal, secret, verdict = portal_of(request), visitor_of(request).secret, _own_verdict(request, name)
    asked = Asked(
        portal.registry.partner(verdict.partner), verdict.source, month_of(verdict.month or ""), is_test=False
    )
    names = [depositing.safe_name(one) for one in verdict.names]
    with verdicts.opened(portal.lake, secret, verdict, names) as paths:
        upload = Upload(tuple(paths), verdict.names, sum(path.stat().st_size for path in paths))
        return RedirectResponse(judged(request, upload, asked), status_code=303)


@router.get("/verdicts/{name}/rapport.{kind}")
@open_to("depositor")
def verdict_report(request: Request, name: str, kind: str) -> Response:
    """The report of a test, or of a refusal; the workbook holds the depositor's own file, its cells marked."""
    portal, verdict = portal_of(request), _own_verdict(request, name)
    names = [depositing.safe_name(one) for one in verdict.names]
    with verdicts.opened(portal.lake, visitor_of(request).secret, verdict, names) as paths:
        about = _about(request, verdict.source, verdict.partner, verdict.names)
        what = _read_as(portal, verdict.partner, verdict.source)
        return _report(portal, kind, verdict.answer, about, paths, what, month_of(verdict.month or ""))


def _own_verdict(request: Request, name: str) -> verdicts.Verdict:
    """Raises `NoSuchVerdict` for another browser's, `NotFound` for a partner that is no longer one's own."""
    verdict = verdicts.find(portal_of(request).lake, visitor_of(request).secret, name)
    own_partner(request, verdict.partner)
    return verdict


@router.get("/depots/{sequence}")
@open_to("depositor")
def deposit_shown(request: Request, sequence: int, deja: int = 0) -> Response:
    """The verdict and the receipt of a delivery."""
    portal, receipt = portal_of(request), own_receipt(request, sequence)
    source = portal.registry.sources.get(receipt.source)
    answer = _answer_of(portal, receipt)
    return _verdict(
        request, answer, _about(request, receipt.source, receipt.partner, ()),
        partner=portal.registry.partner(receipt.partner), source=source, month=receipt.month,
        base=f"/depots/{sequence}", kind=receipt.status, receipt=receipt, is_repeated=bool(deja),
        can_correct=receipt.status != "refused" and receipt.status != "nothing" and is_small(answer, source),
        **_standing(portal, receipt, source),
    )  # fmt: skip


def _answer_of(portal: Portal, receipt: Receipt) -> dict[str, Any]:
    try:
        return depositing.answer_of(portal, receipt)
    except depositing.GONE:
        return depositing.answer_of(portal, receipt, is_erased=True)


def _standing(portal: Portal, receipt: Receipt, source: Source | None) -> dict[str, Any]:
    """What became of a delivery since: confirmed, replaced; and the figures that a confirmation needs."""
    own = [one for one in receipts(portal.lake) if one.partner == receipt.partner and one.source == receipt.source]
    confirmed = next((one for one in own if one.confirms == receipt.sequence), None)
    later = next((one for one in own if one.replaces == receipt.sequence and one is not confirmed), None)
    earlier = [one for one in own if one.counts and one.sequence < receipt.sequence]
    comparison = landing.compared(receipt, earlier, source) if source is not None else None
    before = next((one for one in reversed(earlier) if set(one.rows) & set(receipt.rows) and one.months), None)
    dropped = [month for month in before.months if month not in receipt.months] if before is not None else []
    return {"confirmed": confirmed, "replaced_by": later, "comparison": comparison, "dropped": dropped}


@router.post("/depots/{sequence}/confirmer")
@open_to("depositor")
def confirm(request: Request, sequence: int) -> Response:
    """Apply a delivery that was held."""
    portal, receipt = portal_of(request), own_receipt(request, sequence)
    try:
        applied = landing.confirm(receipt.sha256, receipt.partner, portal.registry, portal.lake)
    except NothingToConfirm:
        raise NotFound from None
    portal.note(account_of(request).actor, "confirm", f"receipt:{applied.sequence}", confirms=sequence)
    reminding.tell_of_deposit(portal, applied, account_of(request))
    return RedirectResponse(f"/depots/{applied.sequence}", status_code=303)


@router.get("/depots/{sequence}/rapport.{kind}")
@open_to("depositor")
def deposit_report(request: Request, sequence: int, kind: str) -> Response:
    """The report of a delivery, made when it is asked for."""
    portal, receipt = portal_of(request), own_receipt(request, sequence)
    answer, about = _answer_of(portal, receipt), _about(request, receipt.source, receipt.partner, ())
    portal.note(account_of(request).actor, "report", f"receipt:{sequence}", kind=kind)
    if kind != "xlsx" or receipt.status not in ("applied", "held"):
        return _report(portal, kind, answer, about, (), None, receipt.month)
    try:
        with content.opened(portal.lake, portal.registry.partner(receipt.partner), receipt.sha256) as path:
            what = _read_as(portal, receipt.partner, receipt.source)
            return _report(portal, kind, answer, about, [path], what, receipt.month)
    except content.ContentErased:
        return _report(portal, kind, answer, about, (), None, receipt.month)


@router.get("/depots/{sequence}/recepisse.pdf")
@open_to("depositor")
def receipt_document(request: Request, sequence: int) -> Response:
    """The receipt, to keep."""
    receipt = own_receipt(request, sequence)
    return attachment(
        pdf_of(receipt, portal_of(request).registry), f"recepisse-{receipt.sequence}.pdf", "application/pdf"
    )


def own_receipt(request: Request, sequence: int) -> Receipt:
    """A receipt of a partner that this person deposits for. Raises `NotFound`."""
    receipt = portal_of(request).receipt(sequence)
    if receipt is None or receipt.partner not in account_of(request).partners:
        raise NotFound
    return receipt


def _verdict(request: Request, answer: dict[str, Any], about: About, **values: Any) -> Response:
    """The page of a verdict: four sentences, what is alike together, then every finding."""
    query = request.query_params
    chosen = {name: query.get(name, "") for name in ("gravite", "colonne", "constat")}
    every = answer["findings"]
    shown = [one for one in every if _is_chosen(one, about, chosen)]
    number = max(1, int(query["page"])) if query.get("page", "").isdecimal() and len(query["page"]) < 7 else 1
    first = (number - 1) * _FINDINGS_PER_PAGE
    template = "findings.html" if request.headers.get("hx-target") == "constats" else "verdict.html"
    defaults: dict[str, Any] = {
        "is_repeated": False, "confirmed": None, "replaced_by": None, "comparison": None, "dropped": [], "minutes": 0,
    }  # fmt: skip
    return page(
        request, template, **(defaults | values),
        answer=answer, about=about, chosen=chosen, number=number, first=first, shown_count=len(shown),
        groups=_groups(shown), rows=[told(one, about) for one in shown[first : first + _FINDINGS_PER_PAGE]],
        pages=-(-len(shown) // _FINDINGS_PER_PAGE), total=sum(one["count"] for one in every),
        severities=sorted({one["severity"] for one in every}), titles=sorted({told(one, about)[1] for one in every}),
        columns=sorted({str(about.column(one)) for one in every} - {""}),
        outcome=outcome(answer, is_deposit=values["kind"] != "test"),
    )  # fmt: skip


def _is_chosen(finding: dict[str, Any], about: About, chosen: dict[str, str]) -> bool:
    return (
        chosen["gravite"] in ("", finding["severity"])
        and chosen["colonne"] in ("", about.column(finding))
        and chosen["constat"] in ("", told(finding, about)[1])
    )


def _groups(findings: Sequence[dict[str, Any]]) -> list[Group]:
    return grouped(findings)


def was_read(answer: dict[str, Any]) -> bool:
    """Whether the limited process of the judgement came to the end of the file: nothing else is opened again here."""
    return bool(answer["lines"] > 0 and all(one["code"] != "limit-exceeded" for one in answer["findings"]))


def is_small(answer: dict[str, Any], source: Source | None) -> bool:
    """Whether the rows can be corrected on the page."""
    rows = answer["accepted"] + answer["rejected"]
    return was_read(answer) and source is not None and filling.can_be_filled(source) and 0 < rows <= filling.MOST_ROWS


def _about(request: Request, source: str | None, partner: str, names: Sequence[str]) -> About:
    return About.of(
        source, partner, [Path(name.replace("/", "-") or "fichier") for name in names], portal_of(request).registry
    )


def _read_as(portal: Portal, partner: str, source: str | None) -> Source | None:
    """The contract by which a file of this partner was read."""
    if source is None or source not in portal.registry.sources:
        return None
    return portal.registry.source_of(portal.registry.partner(partner), source)


def _report(
    portal: Portal, kind: str, answer: dict[str, Any], about: About, paths: Sequence[Path], what: Source | None,
    month: Month | None,
) -> Response:  # fmt: skip
    if kind not in MEDIA_TYPES:
        raise NotFound
    is_replayed = kind == "xlsx" and was_read(answer)
    replayed = pages(paths, what, month, portal.lake) if what is not None and paths and is_replayed else ()
    with portal.lake.sealed_spill() as spill:
        target = spill / f"rapport.{kind}"
        write_report(target, answer, about, portal.lake, replayed)
        return attachment(target.read_bytes(), f"rapport-{answer['period'] or 'depot'}.{kind}", MEDIA_TYPES[kind])


def attachment(body: bytes, name: str, media_type: str) -> Response:
    """A file to download, under a name of ours."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(body, media_type=media_type, headers=headers)


# -- history, formats, figures ----------------------------------------------------------------------------------------


@router.get("/depots")
@open_to("depositor")
def history(request: Request, partenaire: str = "") -> Response:
    """Everything that was deposited, newest first."""
    portal, partner = portal_of(request), own_partner(request, partenaire)
    own = [one for one in reversed(receipts(portal.lake)) if one.partner == partner.code]
    asked = request.query_params.get("page", "1")
    number = int(asked) if asked.isdecimal() and int(asked[:6]) > 0 else 1
    first = (number - 1) * _HISTORY_PER_PAGE
    return page(
        request, "history.html",
        partner=partner, partners=_own_partners(request), receipts=own[first : first + _HISTORY_PER_PAGE],
        count=len(own), number=number, pages=-(-len(own) // _HISTORY_PER_PAGE), sources=portal.registry.sources,
    )  # fmt: skip


@router.get("/formats")
@open_to(SIGNED_IN)
def formats(request: Request) -> Response:
    """The kinds of file, the person's own first."""
    portal = portal_of(request)
    own = {name for one in _own_partners(request) for name in one.sources}
    every = sorted(portal.registry.sources.values(), key=lambda one: (one.name not in own, one.title))
    return page(request, "formats.html", sources=every, own=own)


@router.get("/formats/{source}")
@open_to(SIGNED_IN)
def one_format(request: Request, source: str, mois: str = "", partenaire: str = "") -> Response:
    """What a kind of file is made of, column by column; with a partner of one's own, under the titles of its files."""
    portal = portal_of(request)
    what = portal.registry.sources.get(source)
    if what is None:
        raise NotFound
    partner = own_partner(request, partenaire) if partenaire else _titling(request, source)
    if partner is not None and source not in partner.own.headers:
        partner = None
    if partner is not None:
        what = portal.registry.source_of(partner, source)
    month = month_of(mois) or Month.of(portal.now.date()).plus(-1)
    month = max(month, what.first_month)
    return page(
        request, "format.html",
        source=what, month=month, tables=described(what, portal.registry, month),
        can_be_filled=filling.can_be_filled(what), partner=partner,
    )  # fmt: skip


def _titling(request: Request, source: str) -> Partner | None:
    """The one of the person's partners whose files give this source titles of their own."""
    return next((one for one in _own_partners(request) if source in one.own.headers), None)


@router.get("/modeles/{source}.{kind}")
@open_to(SIGNED_IN)
def template(request: Request, source: str, kind: str, mois: str = "", partenaire: str = "") -> Response:
    """The file to fill in; with a partner of one's own, last month's rows already there, hours left empty."""
    portal = portal_of(request)
    what, month = portal.registry.sources.get(source), month_of(mois)
    if what is None or kind not in ("xlsx", "csv"):
        raise NotFound
    month = max(month or Month.of(portal.now.date()).plus(-1), what.first_month)
    rows = {}
    if partenaire:
        partner = own_partner(request, partenaire)
        what = portal.registry.source_of(partner, source)
        flow = portal.ledger().by_flow.get((partner.code, what.name), ())
        rows = filling.rows_to_carry_over(portal.lake, portal.registry, flow, partner, what, month)
    try:
        body = template_of(what, portal.registry, month, kind, rows)
    except NoTemplate:
        raise NotFound from None
    return attachment(body, f"modele-{what.name}-{month}.{kind}", MEDIA_TYPES[kind])


@router.get("/chiffres")
@open_to("depositor")
def own_figures(request: Request, partenaire: str = "") -> Response:
    """« Mes chiffres »."""
    portal, partner = portal_of(request), own_partner(request, partenaire)
    flow = [one for one in receipts(portal.lake) if one.partner == partner.code]
    public = publishing.public(portal)
    last = max((one.month for one in flow if one.month is not None), default=Month.of(portal.now.date()))
    return page(
        request, "figures.html",
        partner=partner, partners=_own_partners(request),
        months=figures.own_months(partner, portal.registry, flow, public, last),
        release=public[-1] if public else None,
        series=figures.territory_series(partner, portal.registry, public[-1]) if public else [],
    )  # fmt: skip
