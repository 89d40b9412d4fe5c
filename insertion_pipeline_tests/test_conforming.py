"""Judging readings: every unit is somewhere, every flaw is said, and what is accepted is typed."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from insertion_pipeline.contracts.findings import Finding
from insertion_pipeline.contracts.storage import accepted_schema
from insertion_pipeline.ingestion.accounts import Account, AccountsDoNotBalance
from insertion_pipeline.ingestion.conforming import Conformed, Unjudged, conform, verdict_of
from insertion_pipeline.ingestion.extracts import UNREADABLE_SCHEMA, Batch, Closing, Extract, Opening, Piece
from insertion_pipeline.ingestion.reading import read
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import Registry

SEPTEMBER = Month.parse("2026-09")
GOOD = {
    "mois": "2026-09",
    "siret": "10009009100016",
    "nom_naissance": "MODELE",
    "prenom": "Camille",
    "date_naissance": "21/11/1980",
    "heures_travaillees": "110,5",
}


def reading_of(source: str, tables: dict[str, list[dict[str, str]]], *, units: int = 1) -> tuple[Piece | Closing, ...]:
    """The pieces of one member per table, one header line each, as a reader would cut them."""
    pieces: list[Piece | Closing] = []
    for rank, (name, rows) in enumerate(tables.items(), start=1):
        fields = list(dict.fromkeys(field for row in rows for field in row))
        text = {field: pa.array([row.get(field, "") for row in rows], pa.string()) for field in fields}
        origin = {
            "_line": pa.array([2 + units * number for number in range(len(rows))], pa.int64()),
            "_units": pa.array([units] * len(rows), pa.int32()),
            "_member": pa.array([rank] * len(rows), pa.int32()),
        }
        data = units * len(rows)
        account = Account(lines=1 + data, header_footer=1, accepted=data)
        pieces += [Opening(rank, name, tuple(fields)), Batch(rank, name, pa.table(text | origin))]
        pieces += [Extract(rank, name, account)]
    return (*pieces, Closing())


def judged(*arguments: Any) -> Conformed:
    """What `conform` makes of pieces that have a table to judge."""
    conformed = conform(*arguments)
    assert isinstance(conformed, Conformed)
    return conformed


def codes(conformed: Conformed) -> list[tuple[str, int | None, str]]:
    rows = conformed.findings.select(["code", "line", "field"]).to_pylist()
    return [(row["code"], row["line"], row["field"]) for row in rows]


@pytest.fixture
def siae(registry: Registry, lake: Lake):
    """The rows given, completed from a good one, judged as a structure's file of September."""

    def of(*changes: dict[str, str], month: Month | None = SEPTEMBER) -> tuple[Conformed, int]:
        source = registry.source("siae_monthly")
        reading = reading_of("siae_monthly", {"salaries": [GOOD | change for change in changes]})
        conformed = judged(reading, source, month, registry, lake)
        return conformed, verdict_of(conformed, source)

    return of


def test_a_good_file_has_verdict_0_and_typed_rows(siae, registry: Registry) -> None:
    conformed, verdict = siae({}, {"prenom": "Dominique"})
    assert verdict == 0
    assert conformed.findings.num_rows == 0
    rows = conformed.accepted["salaries"]
    assert rows.schema == accepted_schema(registry.source("siae_monthly").table("salaries", SEPTEMBER))
    assert rows["heures_travaillees"].to_pylist() == [110.5, 110.5]
    assert [str(day) for day in rows["date_naissance"].to_pylist()] == ["1980-11-21"] * 2
    assert rows["_line"].to_pylist() == [2, 3]
    assert rows["_month"].to_pylist() == ["2026-09"] * 2
    assert conformed.account == Account(lines=3, header_footer=1, accepted=2)
    assert conformed.span == Span.single(SEPTEMBER)


def test_a_cell_that_warns_loses_its_value_and_keeps_its_row(siae) -> None:
    conformed, verdict = siae({"heures_travaillees": "beaucoup", "rsa": "PEUT-ETRE"}, {"prenom": "Dominique"})
    assert verdict == 1
    assert codes(conformed) == [("type-error", 2, "heures_travaillees"), ("code-error", 2, "rsa")]
    assert conformed.findings["value"].to_pylist() == ["beaucoup", "PEUT-ETRE"]
    assert conformed.findings["file"].to_pylist() == ["1 salaries"] * 2
    assert conformed.accepted["salaries"]["heures_travaillees"].to_pylist() == [None, 110.5]


def test_a_row_that_nobody_can_place_is_rejected_as_it_was_read(siae) -> None:
    conformed, verdict = siae({"siret": "?? "}, *({"prenom": f"Prénom{number}"} for number in range(9)))
    assert verdict == 2
    assert conformed.account == Account(lines=11, header_footer=1, accepted=9, rejected=1)
    kept = conformed.rejected["salaries"].select([*GOOD, "_line", "_member"]).to_pylist()
    assert kept == [{**GOOD, "siret": "?? ", "_line": 2, "_member": 1}]
    assert codes(conformed) == [("pattern-error", 2, "siret")]
    assert conformed.findings["severity"].to_pylist() == ["blocking"]


def test_more_rejected_rows_than_allowed_refuse_the_file(siae) -> None:
    conformed, verdict = siae({"siret": ""}, {"prenom": "Dominique"}, {"prenom": "Claude"})
    assert (conformed.account.rejected, verdict) == (1, 3)


def test_a_row_about_nobody_is_rejected_and_a_nir_is_enough(siae) -> None:
    nameless = {"nom_naissance": "", "prenom": "", "date_naissance": ""}
    conformed, _ = siae(nameless, nameless | {"nir": "1801152123450"})
    assert codes(conformed) == [("rule-error", 2, "nir, nom_naissance, nom_usage, prenom, date_naissance")]
    assert conformed.findings["rule"].to_pylist() == ["person-unidentified"]
    assert conformed.accepted["salaries"]["nir"].to_pylist() == ["1801152123450"]


def test_a_repaired_value_is_used_and_said(siae) -> None:
    conformed, verdict = siae({"siret": "1.0009009100016E13", "date_naissance": "29546"})
    assert verdict == 1
    assert codes(conformed) == [("repaired-value", 2, "date_naissance"), ("repaired-value", 2, "siret")]
    assert conformed.findings["rule"].to_pylist() == ["excel-serial", "scientific"]
    row = conformed.accepted["salaries"].to_pylist()[0]
    assert (row["siret"], str(row["date_naissance"])) == ("10009009100016", "1980-11-21")


def test_the_content_states_the_month_when_the_depositor_does_not(siae) -> None:
    conformed, verdict = siae({}, month=None)
    assert (conformed.month, verdict) == (SEPTEMBER, 0)
    conformed, verdict = siae({}, {"mois": "2026-08"}, month=None)
    assert (conformed.month, verdict) == (None, 3)
    assert codes(conformed)[0] == ("period-missing", None, "")


def test_a_file_of_another_month_is_refused_by_one_finding(siae) -> None:
    conformed, verdict = siae({}, {"prenom": "Dominique"}, month=Month.parse("2026-10"))
    assert verdict == 3
    assert codes(conformed) == [("period-mismatch", None, "mois")]
    assert conformed.findings["count"].to_pylist() == [2]
    assert conformed.account.accepted == 0


def test_one_row_of_another_month_is_rejected_alone(siae) -> None:
    conformed, verdict = siae({"mois": "2026-08"}, *({"prenom": f"Prénom{number}"} for number in range(9)))
    assert verdict == 2
    assert codes(conformed) == [("period-mismatch", 2, "mois")]
    assert conformed.findings["value"].to_pylist() == ["2026-08"]


def test_which_of_two_rows_with_one_key_is_named_does_not_depend_on_their_order(registry: Registry, lake: Lake) -> None:
    source = registry.source("siae_monthly")
    rows = [GOOD, GOOD | {"heures_travaillees": "12"}, GOOD | {"prenom": "Dominique"}]
    named = []
    for order in (rows, rows[::-1]):
        conformed = judged(reading_of("siae_monthly", {"salaries": order}), source, SEPTEMBER, registry, lake)
        assert [code for code, _, _ in codes(conformed)] == ["duplicate-key"]
        named.append(order[conformed.findings["line"].to_pylist()[0] - 2])
    assert named == [GOOD, GOOD]


def test_a_record_over_several_lines_counts_its_lines(registry: Registry, lake: Lake) -> None:
    source = registry.source("siae_monthly")
    reading = reading_of("siae_monthly", {"salaries": [GOOD, GOOD | {"siret": ""}]}, units=3)
    conformed = judged(reading, source, SEPTEMBER, registry, lake)
    assert conformed.account == Account(lines=7, header_footer=1, accepted=3, rejected=3)


def test_a_reading_whose_account_is_wrong_is_a_defect(registry: Registry, lake: Lake) -> None:
    *pieces, _, closing = reading_of("siae_monthly", {"salaries": [GOOD]})
    wrong = (*pieces, Extract(1, "salaries", Account(lines=3, header_footer=1, accepted=2)), closing)
    with pytest.raises(AccountsDoNotBalance):
        conform(wrong, registry.source("siae_monthly"), SEPTEMBER, registry, lake)


def test_lines_that_could_not_be_cut_are_findings_and_stay_rejected(registry: Registry, lake: Lake) -> None:
    rows = [GOOD] * 1 + [GOOD | {"prenom": f"P{n}"} for n in range(9)]
    opening, batch, _, closing = reading_of("siae_monthly", {"salaries": rows})
    assert isinstance(batch, Batch)
    lost = pa.table(
        [[1], [12], [2], ['2026-09;"Cami'], ["unbalanced-quote"], ["Un guillemet n'est pas refermé."]],
        schema=UNREADABLE_SCHEMA,
    )
    account = Account(lines=13, header_footer=1, accepted=10, rejected=2)
    reading = (opening, replace(batch, unreadable=lost), Extract(1, "salaries", account), closing)
    source = registry.source("siae_monthly")
    conformed = judged(reading, source, SEPTEMBER, registry, lake)
    assert codes(conformed) == [("unbalanced-quote", 12, "")]
    assert conformed.account == account
    assert verdict_of(conformed, source) == 2


def test_a_finding_about_the_file_refuses_it(registry: Registry, lake: Lake) -> None:
    total = Finding("control-total", "blocking", "La ligne FIN annonce 2 lignes de données, il y en a 1.")
    *pieces, extract, closing = reading_of("siae_monthly", {"salaries": [GOOD]})
    assert isinstance(extract, Extract)
    source = registry.source("siae_monthly")
    conformed = judged((*pieces, replace(extract, findings=(total,)), closing), source, SEPTEMBER, registry, lake)
    assert (verdict_of(conformed, source), conformed.account.accepted) == (3, 1)


def test_without_a_required_column_no_row_is_judged(registry: Registry, lake: Lake) -> None:
    missing = Finding("missing-header", "blocking", "La colonne « SIRET » manque.", table="salaries", field="siret")
    opening, *pieces = reading_of("siae_monthly", {"salaries": [GOOD | {"heures_travaillees": "douze"}]})
    assert isinstance(opening, Opening)
    reading = (replace(opening, findings=(missing,)), *pieces)
    unjudged = conform(reading, registry.source("siae_monthly"), SEPTEMBER, registry, lake)
    assert isinstance(unjudged, Unjudged)
    assert unjudged.findings["code"].to_pylist() == ["missing-header"]
    assert unjudged.account == Account(lines=2, header_footer=1, accepted=1)


def test_a_bundle_is_checked_across_its_views(registry: Registry, lake: Lake) -> None:
    source = registry.source("fluxiae")
    person = {"salarie_id": "1", "salarie_nom_naissance": "MODELE", "salarie_prenom": "Camille"}
    worked = {"emi_pph_id": "1", "emi_afi_id": "7", "emi_sme_annee": "2026", "emi_nb_heures_travail": "110"}
    reading = reading_of(
        "fluxiae",
        {
            "salarie": [person],
            "etat_mensuel_indiv": [
                worked | {"emi_sme_mois": "7"},
                worked | {"emi_sme_mois": "9"},
                worked | {"emi_sme_mois": "9", "emi_pph_id": "2"},
                worked | {"emi_sme_mois": "9", "emi_sme_annee": "2062"},
                worked | {"emi_sme_mois": "13"},
            ],
        },
    )
    conformed = judged(reading, source, SEPTEMBER, registry, lake)
    assert codes(conformed) == [
        ("reference-error", 4, "emi_pph_id"),
        ("period-mismatch", 5, "emi_sme_annee, emi_sme_mois"),
        ("range-error", 6, "emi_sme_mois"),
    ]
    assert conformed.accepted["etat_mensuel_indiv"]["_month"].to_pylist() == ["2026-07", "2026-09", "2026-09"]
    assert conformed.accepted["salarie"]["_month"].to_pylist() == [None]
    assert conformed.span == Span.parse("2026-07..2026-09")


def test_a_flow_says_which_department_it_is_for(registry: Registry, lake: Lake) -> None:
    person = {"dtref": "2026-09-30", "typeflux": "M", "matricule": "205599000000000", "ideparte": "052"}
    rows = [person | {"nomnai": "MODELE"}, person | {"nomnai": "AUTRE", "ideparte": "971"}]
    conformed = judged(
        reading_of("cnaf_vrsb0801", {"personnes": rows}), registry.source("cnaf_vrsb0801"), None, registry, lake
    )
    assert conformed.month == SEPTEMBER
    assert conformed.territories == {"FR-DEP-52", "FR-DEP-971"}


def test_findings_and_rows_keep_the_order_of_a_large_file(registry: Registry, lake: Lake) -> None:
    """Threads hand in runs of rows out of order (seen with DuckDB 2.0 from 131 072 rows on)."""
    source, count = registry.source("ale_activity"), 300_000
    chance = random.Random(1)
    bad = sorted(chance.sample(range(count), 50))
    hours = ["12"] * count
    for place in bad:
        hours[place] = "douze"
    number = pa.array(range(count), pa.int64())
    text = {"mois": "2026-09", "ale_code": "ALE-52011", "prenom": "Camille", "date_naissance": "21/11/1980"}
    rows = pa.table(
        {name: pa.array([value] * count, pa.string()) for name, value in text.items()}
        | {"nom": number.cast(pa.string()), "heures": pa.array(hours, pa.string())}
        | {"_line": pa.array(range(2, count + 2), pa.int64()), "_units": pa.array([1] * count, pa.int32())}
        | {"_member": pa.array([1] * count, pa.int32())}
    )
    account = Account(lines=count + 1, header_footer=1, accepted=count)
    reading = (
        Opening(1, "prestations", tuple(rows.column_names[:-3])),
        Batch(1, "prestations", rows),
        Extract(1, "prestations", account),
        Closing(),
    )
    conformed = judged(reading, source, SEPTEMBER, registry, lake)
    assert conformed.findings["line"].to_pylist() == [place + 2 for place in bad]
    assert conformed.accepted["prestations"]["_line"].equals(rows["_line"])
    assert conformed.accepted["prestations"]["nom"].equals(rows["nom"])
    assert verdict_of(conformed, source) == 1


@pytest.mark.parametrize(
    ("path", "source", "month", "verdict", "accepted"),
    [
        ("siae_fluxiae/fluxIAE_Structure_22022022_112211.csv.gz", "fluxiae", "2022-02", 0, 6),
        ("siae_fluxiae/fluxIAE_AnnexeFinanciere_22022022_112211.csv.gz", "fluxiae", "2022-02", 0, 85),
        ("department_lists/import_beneficiaires.csv", "department_list", "2026-09", 1, 4),
        ("department_lists/import_beneficiaires_with_all_date_formats.csv", "department_list", "2026-09", 1, 4),
        ("department_lists/fichier_usager_test.xlsx", "department_list", "2026-09", 0, 1),
        ("department_lists/fichier_contact_test.csv", "department_contacts", "2026-09", 0, 1),
        ("cnaf_vrsb0801/RSABEM.xml", "cnaf_vrsb0801", "2022-02", 1, 3),
        (
            "france_travail/i03300c.j.extract_spie_carnet_spie_carnet_de_bord_principal.csv",
            "ft_spie",
            "2022-02",
            0,
            4,
        ),
    ],
)
def test_the_real_files_go_through_unmodified(
    real_samples: Path,
    registry: Registry,
    lake: Lake,
    path: str,
    source: str,
    month: str,
    verdict: int,
    accepted: int,
) -> None:
    contract = registry.source(source)
    reading = read(real_samples / path, contract, month=Month.parse(month))
    conformed = judged(reading.pieces, contract, Month.parse(month), registry, lake)
    assert (verdict_of(conformed, contract), conformed.account.accepted) == (verdict, accepted)
    assert conformed.account.rejected == 0
    assert conformed.findings.filter(pc.equal(conformed.findings["code"], "extra-header")).num_rows == 0
