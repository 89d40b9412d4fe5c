"""Messages to partners: receipts, corrections to make, and reminders around a deadline.

Belongs here: who is told what, once. Does not belong here: sending (`mail`), what is expected (`board`).

A message has a key, written before it leaves and marked when it has left: running again sends what did not leave and
nothing else. Reminders go out five days and one day before a deadline, one day and five days after; a contact gets at
most two a month (domain rule 28), so that the second contact takes over where the first has had them, or is away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import sqlalchemy as sql

from insertion_pipeline.ingestion import deadlines
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.month import Month
from insertion_pipeline.portal import accounts, board, store
from insertion_pipeline.portal.accounts import Account
from insertion_pipeline.portal.board import Cell
from insertion_pipeline.portal.context import Portal
from insertion_pipeline.portal.languages import french_day
from insertion_pipeline.portal.store import written
from insertion_pipeline.registry import Partner

#: Days from the deadline.
REMINDER_DAYS = (-5, -1, 1, 5)
MOST_REMINDERS = 2


def remind_everyone(portal: Portal) -> int:
    """Send the reminders of the day. How many left; the second call of a day sends none."""
    ledger, sent = portal.ledger(), 0
    for partner in portal.registry.partners.values():
        day = deadlines.today(partner, portal.now)
        for month in (deadlines.collected_month(day), Month.of(day)):
            cells = [one for one in board.expected(portal.registry, ledger, [partner], month, day) if one.is_open]
            due = [
                cell for cell in cells if (day - cell.deadline).days in REMINDER_DAYS and cell.state != "corrections"
            ]
            if due:
                offset = (day - due[0].deadline).days
                sent += _remind(portal, partner, month, due, f"D{offset:+d} {due[0].deadline}", day)
    return sent + send_waiting(portal)


def remind_now(portal: Portal, partner: Partner, cells: Sequence[Cell], day: date) -> int:
    """A reminder that an animator asks for, at most one a day; none leaves when the contacts have had theirs."""
    return _remind(portal, partner, cells[0].month, cells, f"by hand {day}", day) if cells else 0


def tell_of_deposit(portal: Portal, receipt: Receipt, depositor: Account) -> None:
    """The receipt, by mail; with what remains to be done."""
    source = portal.registry.sources.get(receipt.source)
    title = source.title if source is not None else "fichier non reconnu"
    month = receipt.month.in_french if receipt.month is not None else "mois non reconnu"
    what = {
        "applied": "Votre dépôt est reçu.",
        "held": "Votre dépôt attend votre confirmation : rien n'est encore pris en compte.",
        "refused": "Votre dépôt est refusé : rien n'en est gardé.",
        "nothing": "Votre déclaration « néant » est reçue.",
    }[receipt.status]
    left = receipt.account.rejected
    if receipt.status == "applied" and left:
        what += f" {left} ligne{'s' if left > 1 else ''} {'sont' if left > 1 else 'est'} à corriger."
    text = (
        f"{what}\n\n{title}, {month}.\nRécépissé n° {receipt.sequence}, reçu le {receipt.received_at}.\n"
        f"Empreinte SHA-256 : {receipt.sha256}\n\nLe détail est dans le portail : "
        f"{portal.settings.public_url}/depots/{receipt.sequence}\n"
    )
    subject = f"{'Récépissé' if receipt.status != 'refused' else 'Refus'} n° {receipt.sequence} : {title}, {month}"
    _queue(portal, f"receipt {receipt.sequence} {depositor.number}", depositor, str(receipt.month), subject, text)


def send_link(portal: Portal, account: Account, kind: str, secret: str) -> None:
    """An invitation, or a new password."""
    path = {"invitation": "invitation", "reset": "mot-de-passe"}[kind]
    hours = accounts.LINK_HOURS[kind]
    delay = f"{hours // 24} jours" if hours >= 48 else "une heure"
    told = {
        "invitation": ("Votre accès au portail de dépôt", "Un accès au portail de dépôt vous est ouvert."),
        "reset": ("Nouveau mot de passe", "Un nouveau mot de passe a été demandé pour votre compte."),
    }[kind]
    text = (
        f"{told[1]}\n\nChoisissez votre mot de passe ici, dans les {delay} :\n"
        f"{portal.settings.public_url}/{path}/{secret}\n\nSi vous n'attendiez pas ce message, ignorez-le.\n"
    )
    portal.mail.send(f"{kind} {store.digest_of(secret)}", account.email, told[0], text)


def reminders_left(portal: Portal, account: Account, month: Month) -> int:
    """How many reminders this contact may still get for a month."""
    with portal.store.reading() as connection:
        had = connection.execute(
            sql.select(sql.func.count())
            .select_from(store.notices)
            .where(
                (store.notices.c.account_id == account.number)
                & (store.notices.c.month == str(month))
                & store.notices.c.is_reminder
            )
        ).scalar_one()
    return max(0, MOST_REMINDERS - had)


def _remind(portal: Portal, partner: Partner, month: Month, cells: Sequence[Cell], occasion: str, day: date) -> int:
    """One message to the first contact who is there and may still be reminded."""
    key = f"reminder {partner.code} {month} {occasion}"
    if _is_known(portal, key):
        return 0
    for contact in accounts.contacts(portal.store, partner.code):
        if contact.is_absent(day) or not reminders_left(portal, contact, month):
            continue
        files = "\n".join(
            f"- {cell.source.title} : attendu au plus tard le {french_day(cell.deadline)}" for cell in cells
        )
        text = (
            f"Pour {month.in_french}, il reste à déposer :\n\n{files}\n\n"
            f"Déposez ici : {portal.settings.public_url}/attendu?partenaire={partner.code}&mois={month}\n"
            "Rien à déclarer ce mois-ci ? Dites-le sur la même page : « Néant ».\n"
        )
        subject = f"{'En retard' if any(cell.is_late for cell in cells) else 'À déposer'} : {month.in_french}"
        return _queue(portal, key, contact, str(month), subject, text, is_reminder=True)
    return 0


def _is_known(portal: Portal, key: str) -> bool:
    with portal.store.reading() as connection:
        query = sql.select(store.notices.c.key).where(store.notices.c.key == key)
        return connection.execute(query).first() is not None


def _queue(
    portal: Portal, key: str, to: Account, month: str, subject: str, text: str, *, is_reminder: bool = False
) -> int:
    """Write a message down, then let it leave; of two who write the same, one does."""
    with portal.store.writing_alone() as connection:
        if connection.execute(sql.select(store.notices.c.key).where(store.notices.c.key == key)).first() is not None:
            return 0
        connection.execute(
            sql.insert(store.notices).values(
                key=key, account_id=to.number, month=month, is_reminder=is_reminder, subject=subject, text=text,
                created_at=written(portal.now),
            )
        )  # fmt: skip
    return send_waiting(portal)


def send_waiting(portal: Portal) -> int:
    """Let the messages leave that have not yet. One that does not leave waits for the next time."""
    with portal.store.reading() as connection:
        waiting = connection.execute(
            sql.select(store.notices, store.accounts.c.email)
            .join(store.accounts, store.accounts.c.id == store.notices.c.account_id)
            .where(store.notices.c.sent_at.is_(None))
            .order_by(store.notices.c.created_at, store.notices.c.key)
        ).all()
    left = 0
    for notice in waiting:
        try:
            portal.mail.send(notice.key, notice.email, notice.subject, notice.text)
        except OSError:
            continue
        with portal.store.writing() as connection:
            connection.execute(
                sql.update(store.notices)
                .where(store.notices.c.key == notice.key)
                .values(sent_at=written(portal.now), text="")
            )
        left += 1
    return left
