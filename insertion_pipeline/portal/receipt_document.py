"""The receipt as a PDF, for a partner's own files.

Belongs here: the page. Does not belong here: the receipt (`ingestion.receipts`), who may have it (the route).
"""

from __future__ import annotations

import io

from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.ingestion.reporting import VERDICTS, account_of
from insertion_pipeline.registry import Registry

_STATUS = {
    "applied": "Reçu et pris en compte",
    "held": "Reçu, en attente de confirmation",
    "refused": "Refusé, rien n'en est gardé",
    "nothing": "Néant : rien à déclarer",
}


def pdf_of(receipt: Receipt, registry: Registry) -> bytes:
    """One A4 page. The same receipt gives the same bytes."""
    from reportlab.lib.pagesizes import A4
    from reportlab.pdfgen.canvas import Canvas

    content = io.BytesIO()
    page = Canvas(content, pagesize=A4, invariant=1, lang="fr")
    page.setTitle(f"Récépissé n° {receipt.sequence}")
    page.setFont("Helvetica-Bold", 18)
    page.drawString(56, 770, f"Récépissé de dépôt n° {receipt.sequence}")
    height = 730
    for label, text in _lines(receipt, registry):
        page.setFont("Helvetica", 9)
        page.drawString(56, height, label)
        page.setFont("Courier" if label.startswith("Empreinte") else "Helvetica-Bold", 10)
        page.drawString(56, height - 14, text)
        height -= 38
    page.setFont("Helvetica", 9)
    page.drawString(
        56, height - 10, "Ce document prouve la réception de ces octets à cette heure, et rien de leur contenu."
    )
    page.showPage()
    page.save()
    return content.getvalue()


def _lines(receipt: Receipt, registry: Registry) -> list[tuple[str, str]]:
    partner, source = registry.partners.get(receipt.partner), registry.sources.get(receipt.source)
    lines = [
        ("Partenaire", f"{partner.name} ({partner.code})" if partner is not None else "non reconnu"),
        ("Fichier", source.title if source is not None else "non reconnu"),
        ("Mois", receipt.month.in_french if receipt.month is not None else "non reconnu"),
        ("Reçu le (UTC)", receipt.received_at),
        ("Suite donnée", _STATUS[receipt.status]),
    ]
    if receipt.status != "nothing":
        account = receipt.to_json()
        lines += [
            ("Verdict", VERDICTS[receipt.verdict]),
            ("Lignes", account_of(account).replace("\u202f", " ")),
            ("Taille", f"{receipt.size} octets"),
        ]
    if receipt.replaces is not None:
        lines.append(("Remplace", f"le récépissé n° {receipt.replaces}"))
    return [*lines, ("Empreinte SHA-256", receipt.sha256)]
