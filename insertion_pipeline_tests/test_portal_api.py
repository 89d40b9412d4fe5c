"""The REST API: what a program is answered, that its description is true, and many deposits at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.portal_server import Served, serving
from insertion_pipeline_tests.test_portal_depositing import OCTOBER, person, rows

#: In the suite; `benchmarks.portal` sends two hundred.
AT_ONCE = 24


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Iterator[Served]:
    with serving(tmp_path_factory.mktemp("api") / "home", registry) as portal:
        portal.person("a@exemple.fr", ("depositor", "siae-07"), ("depositor", "siae-09"), ("depositor", "siae-10"))
        yield portal


@pytest.fixture
def api(served: Served) -> httpx.Client:
    return served.api("a@exemple.fr", "siae-07")


def sent(api: httpx.Client, content: bytes, **fields: str) -> httpx.Response:
    headers = {"Idempotency-Key": fields.pop("key")} if "key" in fields else {}
    return api.post("/deliveries", files={"file": ("f.csv", content)}, data=fields, headers=headers)


def test_a_deposit_is_answered_201_then_200_with_the_same_receipt(api: httpx.Client) -> None:
    first = sent(api, OCTOBER.read_bytes(), month="2026-10")
    again = sent(api, OCTOBER.read_bytes(), month="2026-10")
    assert (first.status_code, again.status_code) == (201, 200)
    assert first.json()["receipt"] == again.json()["receipt"]
    receipt = first.json()["receipt"]
    assert receipt["lines"] == sum(receipt[name] for name in ("accepted", "rejected", "blank", "header_footer"))
    assert api.get(f"/deliveries/{receipt['sequence']}").json() == first.json()
    assert receipt in api.get("/deliveries").json()
    assert api.get("/deliveries", params={"after": receipt["sequence"]}).json() == []
    (cell,) = api.get("/expected", params={"month": "2026-10"}).json()
    assert cell["receipt"] == receipt["sequence"]


def test_an_idempotency_key_stands_for_its_bytes(api: httpx.Client) -> None:
    content = rows(*(person(n) for n in range(60))).encode()
    first = sent(api, content, month="2026-10", key="lot-1")
    assert sent(api, content, month="2026-10", key="lot-1").json()["receipt"] == first.json()["receipt"]
    assert sent(api, OCTOBER.read_bytes(), month="2026-10", key="lot-1").status_code == 409


def test_a_refusal_says_so_with_its_findings_and_keeps_nothing(served: Served, api: httpx.Client) -> None:
    refused = sent(api, b"a;b\n1;2\n", source="siae_monthly", month="2026-10")
    assert refused.status_code == 200  # judged, and nothing created
    assert refused.json()["receipt"]["status"] == "refused"
    assert [one["code"] for one in refused.json()["findings"]] == ["wrong-source"]
    assert refused.json()["findings"][0]["remedy"]


def test_a_held_delivery_is_202_until_it_is_confirmed(served: Served) -> None:
    api = served.api("a@exemple.fr", "siae-10")
    for month, count, status in (("2026-08", 60, 201), ("2026-09", 20, 202)):
        content = rows(*(person(n, siret="10010010600010") for n in range(count))).replace("2026-10", month)
        answer = sent(api, content.encode(), month=month)
        assert answer.status_code == status
    number = answer.json()["receipt"]["sequence"]
    assert answer.json()["receipt"]["held_for"] == ["thin-file"]
    confirmed = api.post(f"/deliveries/{number}/confirmation")
    assert (confirmed.status_code, confirmed.json()["confirms"]) == (200, number)
    assert api.post(f"/deliveries/{number}/confirmation").json() == confirmed.json()


def test_a_check_is_the_verdict_of_the_command_line_and_stores_nothing(served: Served, api: httpx.Client) -> None:
    before = receipts(served.portal.lake)
    answer = api.post("/checks", files={"file": ("f.csv", OCTOBER.read_bytes())}, data={"month": "2026-10"})
    assert answer.status_code == 200
    assert set(answer.json()) >= {"verdict", "source", "period", "lines", "accepted", "rejected", "findings"}
    assert receipts(served.portal.lake) == before


def test_nothing_is_declared_for_what_is_expected_alone(api: httpx.Client) -> None:
    said = api.post("/deliveries/nothing", json={"source": "siae_monthly", "month": "2026-07"})
    assert (said.status_code, said.json()["status"]) == (201, "nothing")
    assert api.post("/deliveries/nothing", json={"source": "ft_spie", "month": "2026-07"}).status_code == 404


def test_many_deposits_at_once_are_neither_lost_nor_doubled(served: Served) -> None:
    api, before = served.api("a@exemple.fr", "siae-09"), len(receipts(served.portal.lake))
    contents = [rows(*(person(n) for n in range(number, number + 12))).encode() for number in range(AT_ONCE // 2)]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        answers = list(pool.map(lambda one: sent(api, one, source="siae_monthly", month="2026-10"), contents * 2))
    assert {answer.status_code for answer in answers} <= {200, 201}
    told = Counter(answer.json()["receipt"]["sha256"] for answer in answers)
    assert set(told.values()) == {2}
    kept = [one for one in receipts(served.portal.lake)[before:] if one.partner == "siae-09"]
    assert {one.sha256 for one in kept} == set(told)
    # A repeated delivery is the newest again only when another came between: what counts is one of them, whole.
    assert len({one.sequence for one in kept}) == len(kept)


def test_the_description_lists_the_api_alone_and_holds_under_any_request(served: Served) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    from hypothesis import HealthCheck, Phase, given, settings

    document = httpx.get(f"{served.address}/openapi.json").json()
    assert all(path.startswith("/api/v1/") for path in document["paths"])
    schema = schemathesis.openapi.from_url(f"{served.address}/openapi.json")
    token = served.api("a@exemple.fr", "siae-07").headers["authorization"]
    operations = list(schema.get_all_operations())
    assert len(operations) >= 8

    for found in operations:
        operation = found.ok()

        @settings(
            max_examples=6, deadline=None, derandomize=True, database=None, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        @given(case=operation.as_strategy())
        def holds(case: Any) -> None:
            response = case.call(headers={"Authorization": token})
            case.validate_response(response)

        holds()
