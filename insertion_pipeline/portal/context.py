"""What every route works with: the home, the declarations, the database, the way out for messages.

Belongs here: the `Portal` and opening it. Does not belong here: requests, pages.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from insertion_pipeline.ingestion.receipts import Receipt, receipts
from insertion_pipeline.ingestion.seats import Seats
from insertion_pipeline.lake import Lake
from insertion_pipeline.portal import audit
from insertion_pipeline.portal.board import Ledger
from insertion_pipeline.portal.mail import Mail
from insertion_pipeline.portal.settings import PortalSettings
from insertion_pipeline.portal.store import Store
from insertion_pipeline.portal.throttling import RequestRate
from insertion_pipeline.registry import Registry


@dataclass(frozen=True)
class Portal:
    """One portal over one home. `seats`: as many files are judged at once as there are."""

    lake: Lake
    registry: Registry
    settings: PortalSettings
    store: Store
    mail: Mail
    rate: RequestRate
    seats: Seats

    @classmethod
    def opened(cls, lake: Lake, registry: Registry, settings: PortalSettings) -> Portal:
        """The portal of a home, with its database."""
        url = settings.database_url
        database = Store.opened(url.get_secret_value()) if url is not None else Store.beside(lake.home)
        return cls(
            lake,
            registry,
            settings,
            database,
            Mail.of(settings, lake.home / "outbox"),
            RequestRate(settings.requests_per_minute),
            Seats(lake, settings.judging_at_once),
        )

    @property
    def now(self) -> datetime:
        """The injected clock's."""
        return self.lake.clock.now()

    def ledger(self) -> Ledger:
        """All receipts, by partner and source."""
        return Ledger.of(receipts(self.lake))

    def receipt(self, sequence: int) -> Receipt | None:
        """One receipt, by its number."""
        return next((one for one in receipts(self.lake) if one.sequence == sequence), None)

    def note(self, actor: str, action: str, what: str = "", **detail: object) -> None:
        """Add a line to the journal."""
        audit.record(self.store, self.now, actor, action, what, **detail)
