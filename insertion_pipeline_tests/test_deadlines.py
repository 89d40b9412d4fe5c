"""Who is late: whoever was expected and has nothing that counts, from the day after the deadline on."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from insertion_pipeline.ingestion import deadlines
from insertion_pipeline.ingestion.receipts import Receipt, Status
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import Registry

SEPTEMBER = Month(2026, 9)
#: The tenth of October 2026 is a Saturday: the monthly file of a SIAE is due on Monday the twelfth.
EVENING, NEXT_MORNING = datetime(2026, 10, 12, 21, tzinfo=UTC), datetime(2026, 10, 12, 22, tzinfo=UTC)


def received(partner: str, status: Status = "applied") -> Receipt:
    at = "2026-10-01T00:00:00+00:00"
    return Receipt(1, "0" * 64, partner, "siae_monthly", SEPTEMBER, Span.single(SEPTEMBER), 1, at, status, 0)


def late(registry: Registry, *everything: Receipt, now: datetime = NEXT_MORNING) -> dict[str, int]:
    found = deadlines.late(registry, everything, SEPTEMBER, now)
    return {one.partner.code: one.days for one in found if one.source.name == "siae_monthly"}


def test_a_partner_is_late_from_midnight_where_it_is(registry: Registry) -> None:
    assert late(registry, now=EVENING) == {}
    assert late(registry)["siae-10"] == 1


def test_a_partner_that_has_delivered_is_not_late(registry: Registry) -> None:
    others = set(late(registry)) - {"siae-10"}
    assert others
    assert set(late(registry, received("siae-10"))) == others
    assert set(late(registry, received("siae-10", "nothing"))) == others, "nothing to declare is an answer"


@pytest.mark.parametrize("status", ["held", "refused"])
def test_a_file_that_does_not_count_leaves_its_partner_late(registry: Registry, status: Status) -> None:
    assert "siae-10" in late(registry, received("siae-10", status))


def test_nobody_is_late_with_what_it_does_not_owe(registry: Registry) -> None:
    closed = registry.partner("siae-10").model_copy(update={"until": Month(2026, 8)})
    assert "siae-10" not in late(replace(registry, partners={**registry.partners, "siae-10": closed}))
    assert set(late(registry)) <= {code for code, one in registry.partners.items() if "siae_monthly" in one.sources}
