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
    assert "fichiers reçus 13 mois, identité 24 mois et données pseudonymisées 60 mois" in written["aipd.md"]


def test_what_only_the_operator_knows_is_a_marked_blank(written: dict[str, str]) -> None:
    assert all("**[à compléter]**" in page for page in written.values())


def test_the_assessment_weighs_the_three_events_of_the_method_and_leaves_their_weight_to_the_operator(
    written: dict[str, str],
) -> None:
    risks = [line.strip("| ").split(" | ") for line in section(written["aipd.md"], "Risques et mesures").splitlines()]
    events = [row for row in risks if len(row) == 4 and row[3] == "**[à compléter]**"]
    assert {row[0] for row in events} == {"Accès illégitime", "Modification non désirée", "Disparition"}
    assert len({row[1] for row in events}) == len(events) == 13


def test_what_is_counted_of_sensitive_matters_is_named(written: dict[str, str], registry: Registry) -> None:
    sensitive = [one.label for one in registry.indicators.values() if one.sensitivity == "sensitive"]
    assert sensitive
    assert all(label in section(written["aipd.md"], "Le traitement") for label in sensitive)


def test_the_notice_gives_each_legal_basis_and_who_answers(written: dict[str, str], registry: Registry) -> None:
    why = section(written["information.md"], "Pourquoi vos données sont-elles utilisées ?")
    for source in registry.sources.values():
        rule, *laws = source.insertion.legal_basis.split(" ; ")
        assert rule.startswith("RGPD art. 6.1.e")
        assert laws
        assert all(f"- {law}" in why for law in laws)
    assert "Délégué à la protection des données : **[à compléter]**" in why


def test_the_documents_of_the_repository_are_those_of_its_contracts(written: dict[str, str]) -> None:
    folder = REPOSITORY / "docs" / "data_protection"
    assert {path.name: path.read_text() for path in folder.iterdir()} == written, "insertion protection writes them"
