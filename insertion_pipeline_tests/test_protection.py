"""The data protection file says what the contracts declare: all of it, and nothing else."""

from __future__ import annotations

import pytest

from insertion_pipeline.contracts.protection import documents
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.conftest import REPOSITORY


@pytest.fixture(scope="module")
def written(registry: Registry) -> dict[str, str]:
    return dict(documents(registry))


def section(text: str, title: str) -> str:
    return text.partition(f"## {title}\n")[2].partition("\n## ")[0]


def test_every_source_is_in_the_register_the_agreement_and_the_notice(
    written: dict[str, str], registry: Registry
) -> None:
    for source in registry.sources.values():
        assert source.insertion.legal_basis in section(written["registre.md"], source.title)
        assert f"| {source.insertion.controller} | {source.title} |" in written["accord.md"]
        assert f"- {source.title} ({source.insertion.controller})" in written["information.md"]


def test_the_register_lists_the_columns_that_are_kept_by_what_they_are_for(written: dict[str, str]) -> None:
    cnaf = section(written["registre.md"], "Flux bénéficiaires RSA de la CNAF")
    rows = dict(line.strip("| ").split(" | ") for line in cnaf.splitlines() if line.startswith("| "))
    assert "NIR" in rows["reconnaître la personne, sous scellés"].split(", ")
    assert "Commune de résidence" in rows["reconnaître la personne, puis compter"].split(", ")
    assert "État du dossier RSA" in rows["compter, sous pseudonyme"].split(", ")
    assert "NIR" not in rows["compter, sous pseudonyme"].split(", ")


def test_how_long_is_said_source_by_source(written: dict[str, str]) -> None:
    ale = section(written["registre.md"], "Activité d'une ALE")
    assert "fichiers reçus 13 mois, identité 24 mois après la dernière apparition" in ale
    assert "Au plus 60 mois" in written["information.md"]


def test_what_only_the_operator_knows_is_a_marked_blank(written: dict[str, str]) -> None:
    assert all("**[à compléter]**" in written[name] for name in ("aipd.md", "accord.md", "information.md"))


def test_the_documents_of_the_repository_are_those_of_its_contracts(written: dict[str, str]) -> None:
    folder = REPOSITORY / "docs" / "data_protection"
    assert {path.name: path.read_text() for path in folder.iterdir()} == written, "insertion protection writes them"
