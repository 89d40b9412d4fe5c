"""The reference period."""

from __future__ import annotations

from datetime import date

import pytest

from insertion_pipeline.month import InvalidMonth, Month, Span


@pytest.mark.parametrize("text", ["2026-13", "2026-00", "2026-9", "26-09", "2026/09", "2026-09-01", "", "٢٠٢٦-09"])
def test_what_is_not_a_month_is_refused(text: str) -> None:
    with pytest.raises(InvalidMonth):
        Month.parse(text)


def test_months_order_and_count_across_years() -> None:
    december = Month.parse("2025-12")
    assert december.plus(1) == Month(2026, 1)
    assert december.plus(-12) == Month(2024, 12)
    assert Month(2026, 10).months_since(december) == 10
    assert Month(2026, 2).last_day == date(2026, 2, 28)
    assert Month(2024, 2).last_day == date(2024, 2, 29)
    assert sorted([Month(2026, 2), Month(2025, 11)]) == [Month(2025, 11), Month(2026, 2)]


def test_a_span_holds_both_its_ends() -> None:
    span = Span.parse("2025-11..2026-02")
    assert [str(month) for month in span] == ["2025-11", "2025-12", "2026-01", "2026-02"]
    assert len(span) == 4
    assert Month(2026, 2) in span
    assert Month(2026, 3) not in span
    assert str(Span.parse("2026-09")) == "2026-09"


def test_a_span_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(InvalidMonth):
        Span.parse("2026-02..2026-01")
