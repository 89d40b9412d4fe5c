"""Judging: the delivery as a whole, its partner, its source, its month, its territory."""

from __future__ import annotations

from pathlib import Path

import pytest

from insertion_pipeline.contracts.findings import FINDINGS_SCHEMA, TITLES
from insertion_pipeline.ingestion.judging import Judgement, judge
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Partner, Registry

SEPTEMBER = Month(2026, 9)
CONTACTS = (
    "MATRICULE;NIR;NUMERO DEMANDE RSA;NOM RESPONSABLE DOSSIER;PRENOM RESPONSABLE DOSSIER;NUMERO TELEPHONE DOSSIER"
)
LIST = "ID interne au département;Nom;Prénom;Date de naissance;NIR"


def listing(path: Path, rows: int = 3, header: str = LIST) -> Path:
    lines = [f"{number};NOM{number};Léa;0{1 + number % 9}/02/1990;" for number in range(rows)]
    path.write_text("\n".join([header, *lines]) + "\n", encoding="utf-8")
    return path


def codes(judgement: Judgement) -> list[str]:
    return sorted(set(judgement.findings["code"].to_pylist()))


def with_partner(registry: Registry, partner: str, **changes: object) -> Registry:
    partners = dict(registry.partners)
    partners[partner] = Partner.model_validate(partners[partner].model_dump() | changes)
    return Registry(registry.folder, partners, registry.sources, registry.indicator_families, registry.digest)


class TestAccepted:
    def test_a_good_list_is_recognised_and_has_verdict_0(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        judgement = judge(listing(tmp_path / "x"), "dep-52", None, SEPTEMBER, registry, lake)
        answer = judgement.to_json()
        assert answer["source"] == "department_list"
        assert answer["period"] == "2026-09"
        assert answer["verdict"] == 0, answer["findings"]
        assert (answer["lines"], answer["accepted"], answer["rejected"], answer["header_footer"]) == (4, 3, 0, 1)
        assert answer["lines"] == sum(answer[key] for key in ("accepted", "rejected", "blank", "header_footer"))

    def test_an_unknown_column_warns(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        judgement = judge(
            listing(tmp_path / "x", header=LIST.replace("NIR", "Signe")), "dep-52", None, SEPTEMBER, registry, lake
        )
        assert (judgement.verdict, codes(judgement)) == (1, ["extra-header"])

    def test_a_broken_line_among_many_gives_verdict_2(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        path = listing(tmp_path / "x", rows=20)
        path.write_text(path.read_text() + "une ligne de trop court\n")
        judgement = judge(path, "dep-52", None, SEPTEMBER, registry, lake)
        assert (judgement.verdict, codes(judgement)) == (2, ["missing-cell"])
        assert judgement.findings["line"].to_pylist() == [22]
        assert judgement.account.rejected == 1

    def test_the_month_of_a_flow_is_taken_from_its_content(
        self, real_samples: Path, registry: Registry, lake: Lake
    ) -> None:
        flow = real_samples / "cnaf_vrsb0801" / "RSABEM.xml"
        judgement = judge(flow, "dep-52", None, None, registry, lake)
        assert (judgement.source, judgement.month, judgement.verdict) == ("cnaf_vrsb0801", Month(2022, 2), 1)
        assert judgement.account.header_footer == 4

    def test_what_a_partner_may_not_send_is_dropped_before_anything_looks_at_it(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        path = tmp_path / "x"
        path.write_text(f"{LIST}\n1;NOM;Léa;01/02/1990;290025200112345\n", encoding="utf-8")
        forbidden = with_partner(registry, "dep-52", nir="forbidden")
        judgement = judge(path, "dep-52", None, SEPTEMBER, forbidden, lake)
        assert judgement.conformed is not None
        assert judgement.conformed.accepted["beneficiaires"]["nir"].to_pylist() == [None]
        assert "290025200112345" not in str((judgement.conformed.accepted, judgement.findings.to_pylist()))


class TestRefused:
    @pytest.mark.parametrize(
        ("partner", "source", "month", "code"),
        [
            ("personne", None, SEPTEMBER, "unknown-partner"),
            ("asp", None, SEPTEMBER, "wrong-source"),
            ("dep-52", "ale_activity", SEPTEMBER, "wrong-source"),
            ("dep-52", "cnaf_vrsb0801", SEPTEMBER, "wrong-source"),
            ("dep-52", "department_contacts", SEPTEMBER, "wrong-source"),
            ("dep-52", None, None, "period-missing"),
            ("dep-52", None, Month(1999, 1), "month-outside-contract"),
        ],
    )
    def test_for_its_partner_source_or_month(
        self,
        tmp_path: Path,
        registry: Registry,
        lake: Lake,
        partner: str,
        source: str | None,
        month: Month | None,
        code: str,
    ) -> None:
        judgement = judge(listing(tmp_path / "x"), partner, source, month, registry, lake)
        assert judgement.verdict == 3
        assert code in codes(judgement)
        assert judgement.account.is_balanced
        assert judgement.findings.schema.equals(FINDINGS_SCHEMA)

    def test_by_a_partner_that_no_longer_delivers(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        ended = with_partner(registry, "dep-52", until="2026-08")
        judgement = judge(listing(tmp_path / "x"), "dep-52", None, SEPTEMBER, ended, lake)
        assert (judgement.verdict, codes(judgement)) == (3, ["month-outside-contract"])

    def test_when_the_content_is_of_another_month_or_territory(
        self, real_samples: Path, registry: Registry, lake: Lake
    ) -> None:
        flow = real_samples / "cnaf_vrsb0801" / "RSABEM.xml"
        other_month = judge(flow, "dep-52", None, SEPTEMBER, registry, lake)
        assert (other_month.verdict, "period-mismatch" in codes(other_month)) == (3, True)
        other_department = judge(flow, "dep-08", None, Month(2022, 2), registry, lake)
        assert (other_department.verdict, "wrong-partner" in codes(other_department)) == (3, True)

    @pytest.mark.parametrize(
        ("content", "code"),
        [
            (b"", "empty-file"),
            (b"\n\n", "empty-file"),
            (LIST.encode() + b"\n", "empty-file"),
            (LIST.replace("Nom;", "").encode() + b"\n1;L\xc3\xa9a;01/02/1990;\n", "missing-header"),
            (LIST.encode() + b"\n1;Z\xe9;\xc3\xa9a;01/02/1990;\n2;\xc3\xa9;a;01/02/1990;\n", "encoding-error"),
        ],
    )
    def test_for_what_the_file_is(
        self, tmp_path: Path, registry: Registry, lake: Lake, content: bytes, code: str
    ) -> None:
        path = tmp_path / "x"
        path.write_bytes(content)
        judgement = judge(path, "dep-52", "department_list", SEPTEMBER, registry, lake)
        assert (judgement.verdict, code in codes(judgement)) == (3, True)
        assert judgement.account.accepted == 0
        assert judgement.account.is_balanced

    def test_every_code_has_a_title(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        judgement = judge(tmp_path / "x", "personne", None, None, registry, lake)
        assert TITLES[judgement.findings["code"].to_pylist()[0]] == "Partenaire inconnu"

    def test_nothing_is_stored_and_nothing_is_left(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        judge(listing(tmp_path / "x"), "dep-52", None, SEPTEMBER, registry, lake)
        assert not lake.landing.exists()
        assert [path for path in lake.sealed.rglob("*") if path.is_file()] == []
