"""The problems that existing systems work around, and the defects of theirs that must not come back: each has a test.

Numbers are those of the reference on partner formats (§9 problems P1–P26, §10 defects D1–D15). What a test here does
not show is shown where it belongs:

| | what happens | test |
|---|---|---|
| P1 | the extension lies | `test_reading: test_in_nested_and_encrypted_archives`, `test_attacks: test_an_encrypted_archive_opens…` |
| P2 | the last row is lost where FIN is absent | `test_reading: test_the_last_row_is_read_with_and_without_the_lines_around` |
| P3 | a lone quote, a newline inside a field | `test_reading: test_a_stray_quote_costs_its_own_line_alone`, `…test_a_record_broken_by_a_newline_is_joined…` |
| P4 | a byte order mark in the middle | `test_reading: test_files_put_end_to_end_have_one_header` |
| P5 | types drift between chunks, null columns | `test_a_column_has_one_type_wherever_it_is_cut` |
| P6 | an added column shifts the others | `test_an_added_column_shifts_nothing` |
| P7 | an annex number stands on two annexes, in odd forms | `test_an_annex_number_is_no_key_and_has_odd_forms` |
| P8 | two structures share a SIRET, one id is two kinds | `test_two_structures_may_share_a_siret` |
| P9 | early in January annexes are not entered yet | `test_structures_without_an_annex_of_the_year_stay` |
| P10 | two addresses of a structure, one is garbage | `test_only_the_structures_commune_is_read_of_its_addresses` |
| P11 | structures and supports stand twice | `test_rows_that_stand_twice_are_said_and_kept` |
| P12 | one annex is several rows, a rejection reason doubles them | `test_amendments_are_history_and_no_duplicates`, `test_indicators: test_contracted_posts_are_counted_once_per_annex_whatever_its_amendments` |
| P13 | a person stands twice, with two PASS, NIR and NTT | `test_two_pass_of_a_person_are_two_rows`, `test_sources: test_a_batch_is_counted_by_its_elements` |
| P14 | contracts end before they start; dates of year 2 | `test_impossible_dates_are_said_and_forgotten` |
| P15, P16 | `034` and `34`, `TRUE` and `true` | `test_codes_and_booleans_mean_the_same_however_written` |
| P17 | department names in capitals | `test_a_department_is_known_by_its_code` |
| P18 | exports come late, old months are corrected | `test_delivery_semantics: TestMonths, TestSnapshots` |
| P19 | the same file name several times, ROME `FAKE` | `test_a_name_sent_twice_is_two_deliveries`, `test_sources: TestSpie` |
| P20 | a France Travail id is shared or changes | `test_a_shared_france_travail_id_is_no_duplicate` |
| P21 | merged header rows | `test_two_header_rows_are_one_header` |
| P22 | serial dates, scientific NIR, lost zeros, blank rows, newlines in headers | `test_reporting: test_two_hundred_errors…`, `test_sources: test_headers_are_compared_without_accents…`, `test_identifiers: test_a_spreadsheet_float…` |
| P23 | spouses share number, telephone, e-mail | `test_spouses_who_share_everything_are_two_rows`, `test_identity: test_spouses_who_share_a_number_stay_two_persons…` |
| P24 | daily and monthly CNAF flows overlap, codes are padded | `test_a_daily_flow_is_refused_beside_the_monthly_one`, `test_identifiers: test_a_matricule_is_the_same_padded_or_not` |
| P25 | an upload is truncated | `test_reading: test_what_is_not_a_whole_flow_is_refused`, `test_attacks: test_an_attack_costs_little…` (truncated gzip) |
| P26 | quality gates | `test_a_state_without_its_contract_is_said`, `test_rows_out_are_rows_in` |
| D1 | PSP and PSO swapped | `test_sources: test_psp_is_socio_professional_and_pso_is_social` |
| D2 | « sent » is not « received » | `test_sources: test_what_the_asp_refused_is_said_and_a_duplicate_is_a_success` |
| D3 | a code joined as an id | `test_levels_join_by_their_identifier` |
| D4–D8, D10, D11 | counting | `test_indicators` |
| D9, D14 | `bool("false")` is true | `test_codes_and_booleans_mean_the_same_however_written` |
| D12 | columns dropped because their name resembles another | `test_a_column_passes_because_it_is_listed` |
| D13 | a number read as a float is another person | `test_identifiers: test_a_spreadsheet_float_is_read_back_when_it_is_exact` |
| D15 | everybody is MME | `test_a_title_is_read_and_contradictions_are_said` |
"""  # noqa: E501 (a table)

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from insertion_pipeline.ingestion.envelopes import Limits
from insertion_pipeline.ingestion.judging import Judgement, judge
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.test_landing import rows as stored
from insertion_pipeline_tests.test_landing import view
from insertion_pipeline_tests.test_sources import (
    FLOW,
    NIR_15,
    batch,
    counts,
    delivering,
    employee_record,
    findings,
    judged,
    named,
    registered,
    rows,
    table_text,
    text,
    workbook,
)

SEPTEMBER = Month(2026, 9)


STRUCTURE = {"structure_id_siae": 1, "structure_siret_signature": "10002002300014", "structure_denomination": "ATELIER"}
ANNEX = {"af_id_annexe_financiere": 18990, "af_id_avenant_modification": 39139, "af_id_structure": 1,
         "af_numero_annexe_financiere": "ACI054180019", "af_etat_annexe_financiere_code": "VALIDE",
         "af_mesure_dispositif_code": "ACI_DC", "af_etp_postes_insertion": "39.19"}  # fmt: skip
CONTRACT = {"contrat_id_ctr": 5, "contrat_id_pph": 7, "contrat_id_structure": 1, "contrat_mesure_disp_code": "ACI_DC",
            "contrat_type_contrat": 0, "contrat_date_embauche": "01/09/2026"}  # fmt: skip
STATE = {"emi_pph_id": 7, "emi_ctr_id": 5, "emi_afi_id": 18990, "emi_sme_mois": 9, "emi_sme_annee": 2026,
         "emi_sme_version": 1, "emi_esm_etat_code": "VALIDE", "emi_nb_heures_travail": 100}  # fmt: skip
EMPLOYEE = {"salarie_id": 7, "salarie_agrement": "999990000001", "salarie_nom_usage": "EXEMPLE",
            "salarie_prenom": "CAMILLE", "salarie_date_naissance": "21/04/1980"}  # fmt: skip


BUNDLE: Mapping[str, Sequence[Mapping[str, object]]] = {
    "structure": [STRUCTURE], "annexe_financiere": [ANNEX], "contrat_mission": [CONTRACT],
    "etat_mensuel_indiv": [STATE], "salarie": [EMPLOYEE],
    "ref_motif_sort": [{"rms_id": 1, "rms_code": "1", "rms_libelle": "CDI", "rcs_id": 1}],
    "ref_categorie_sort": [{"rcs_id": 1, "rcs_code": "1", "rcs_libelle": "Emploi durable"}],
    "ref_montant_iae": [{"rmi_id": 11, "rmi_code": "DUR_AN_ETP", "rmi_valeur": "1820.00"}],
}  # fmt: skip


@pytest.fixture
def flux(registry: Registry, lake: Lake, tmp_path: Path) -> Any:
    """Judges views of a bundle, given as rows by table; several come with the others that a bundle must have."""

    def judged_views(**tables: Sequence[Mapping[str, object]]) -> Judgement:
        paths = []
        for name, values in (BUNDLE | tables if len(tables) > 1 else tables).items():
            contract = registry.source("fluxiae").table(name, SEPTEMBER)
            header = [field.name for field in contract.fields]
            lines = ["|".join(str(row.get(column, "")) for column in header) for row in values]
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            paths.append(view(folder, contract.insertion.member or name, "|".join(header), *lines))
        return judge(paths, "asp", "fluxiae", SEPTEMBER, registry, lake)

    return judged_views


# -- annexes and structures --------------------------------------------------------------------------------------------


def test_an_annex_number_is_no_key_and_has_odd_forms(flux: Any) -> None:
    numbers = ("ACI972190115", "ACI972190115", "ACI59VXX2010", "ACI02A180001")
    annexes = [
        ANNEX | {"af_numero_annexe_financiere": number, "af_id_annexe_financiere": rank,
                 "af_id_avenant_modification": rank}
        for rank, number in enumerate(numbers)
    ]  # fmt: skip
    judgement = flux(structure=[STRUCTURE], annexe_financiere=annexes)
    assert "duplicate-key" not in named(judgement)
    assert [row["af_numero_annexe_financiere"] for row in rows(judgement, "annexe_financiere")] == list(numbers)


def test_two_structures_may_share_a_siret(flux: Any) -> None:
    judgement = flux(structure=[STRUCTURE | {"structure_id_siae": number} for number in (2455, 4281)])
    assert "duplicate-key" not in named(judgement)
    assert len(rows(judgement, "structure")) == 2


def test_structures_without_an_annex_of_the_year_stay(flux: Any) -> None:
    judgement = flux(structure=[STRUCTURE], annexe_financiere=[ANNEX | {"af_date_fin_effet": "31/12/2025"}])
    assert (len(rows(judgement, "structure")), judgement.account.rejected) == (1, 0)
    assert "reference-error" not in named(judgement)


def test_rows_that_stand_twice_are_said_and_kept(flux: Any) -> None:
    support = {"acc_id": 1, "acc_afi_id": 18990, "acc_dif_nb_sal_conc_mobilite": 3}
    judgement = flux(structure=[STRUCTURE, STRUCTURE], annexe_financiere=[ANNEX], accompagnement=[support, support])
    twice = [(row["code"], row["table"]) for row in judgement.findings.to_pylist() if row["code"] == "duplicate-key"]
    assert sorted(twice) == [("duplicate-key", "accompagnement"), ("duplicate-key", "structure")]
    assert (len(rows(judgement, "structure")), len(rows(judgement, "accompagnement"))) == (2, 2)


def test_amendments_are_history_and_no_duplicates(flux: Any) -> None:
    history = [ANNEX | {"af_id_avenant_modification": 39100 + rank, "af_etp_postes_insertion": etp,
                        "af_etat_annexe_financiere_code": state}
               for rank, (etp, state) in enumerate((("39.19", "HISTORISE"), ("40.19", "HISTORISE")))]  # fmt: skip
    rejected = [ANNEX | {"af_motif_rejet_id": motive} for motive in (3, 4)]
    judgement = flux(structure=[STRUCTURE], annexe_financiere=[*history, *rejected])
    assert "duplicate-key" not in named(judgement)
    assert len(rows(judgement, "annexe_financiere")) == 4, "all of it is kept: what is counted is decided later"


def test_levels_join_by_their_identifier(flux: Any) -> None:
    levels = [{"rnf_id": 50, "rnf_code": "40", "rme_id": 2}, {"rnf_id": 57, "rnf_code": "50", "rme_id": 2}]
    contracts = [
        CONTRACT | {"contrat_niveau_de_formation_id": number, "contrat_niveau_de_formation_code": "50",
                    "contrat_id_ctr": number}
        for number in (57, 99)
    ]  # fmt: skip
    contracts.append(CONTRACT)
    judgement = flux(contrat_mission=contracts, ref_niveau_formation=levels)
    orphans = [row["value"] for row in judgement.findings.to_pylist() if row["code"] == "reference-error"]
    assert orphans == ["99"], "the code 50 is the id of another level: the id alone joins"


def test_an_added_column_shifts_nothing(flux: Any, registry: Registry, lake: Lake, tmp_path: Path) -> None:
    names = [field.name for field in reversed(registry.source("fluxiae").table("structure", SEPTEMBER).fields)]
    header = "|".join(["nouvelle_colonne", *names])
    line = "|".join(["17", *(str(STRUCTURE.get(name, "")) for name in names)])
    judgement = judge(view(tmp_path, "Structure", header, line), "asp", "fluxiae", SEPTEMBER, registry, lake)
    (found,), (usual,) = rows(judgement, "structure"), rows(flux(structure=[STRUCTURE]), "structure")
    assert {name: found[name] for name in STRUCTURE} == {name: usual[name] for name in STRUCTURE}
    assert ("extra-header", "nouvelle_colonne") in [
        (row["code"], row["value"]) for row in judgement.findings.to_pylist()
    ]


def test_only_the_structures_commune_is_read_of_its_addresses(flux: Any) -> None:
    parts = ("numero", "nom_voie", "cplt_adresse", "cp", "commune", "code_insee", "telephone")
    places = {f"structure_adresse_{kind}_{part}": "52121" for kind in ("admin", "gestion") for part in parts}
    (row,) = rows(flux(structure=[STRUCTURE | places]), "structure")
    kept = {name.removeprefix("structure_adresse_") for name in row if name.startswith("structure_adresse_")}
    assert {name.partition("_")[2] for name in kept} <= {"cp", "commune", "code_insee"}
    assert row["structure_adresse_admin_code_insee"] == "52121"


# -- persons and months ------------------------------------------------------------------------------------------------


def test_two_pass_of_a_person_are_two_rows(flux: Any) -> None:
    judgement = flux(salarie=[EMPLOYEE, EMPLOYEE | {"salarie_agrement": "999990000002"}])
    assert "duplicate-key" not in named(judgement)
    assert len(rows(judgement, "salarie")) == 2


def test_a_state_without_its_contract_is_said(flux: Any) -> None:
    states = [STATE, STATE | {"emi_ctr_id": 6, "emi_sme_version": 2}]
    judgement = flux(contrat_mission=[CONTRACT], etat_mensuel_indiv=states)
    orphans = [
        (row["field"], row["value"]) for row in judgement.findings.to_pylist() if row["code"] == "reference-error"
    ]
    assert ("emi_ctr_id", "6") in orphans
    assert len(rows(judgement, "etat_mensuel_indiv")) == 2, "the contract may come with a later bundle"


def test_rows_out_are_rows_in(flux: Any) -> None:
    judgement = flux(structure=[STRUCTURE], annexe_financiere=[ANNEX])
    account = judgement.account.checked()
    views = len(BUNDLE)
    assert (account.lines, account.header_footer) == (4 * views, 3 * views), "DEB, header, row and FIN each"
    assert (account.accepted, account.rejected) == (views, 0)


def test_impossible_dates_are_said_and_forgotten(flux: Any) -> None:
    contracts = [
        CONTRACT | {"contrat_date_fin_contrat": "01/08/2026"},
        CONTRACT | {"contrat_id_ctr": 6, "contrat_date_fin_contrat": "06/08/0002"},
    ]
    judgement = flux(contrat_mission=contracts)
    assert {"dates-reversed", "range-error"} <= named(judgement)
    assert [row["contrat_date_fin_contrat"] is None for row in rows(judgement, "contrat_mission")] == [False, True]


def test_codes_and_booleans_mean_the_same_however_written(flux: Any) -> None:
    written = [
        EMPLOYEE | {"salarie_agrement": str(rank), "salarie_code_dpt": code, "salarie_adr_is_zrr": flag}
        for rank, (code, flag) in enumerate((("034", "true"), ("34", "TRUE"), ("034", "false"), ("34", "FALSE")))
    ]
    judgement = flux(salarie=written)
    found = rows(judgement, "salarie")
    assert [row["salarie_adr_is_zrr"] for row in found] == [True, True, False, False]
    if "salarie_code_dpt" in found[0]:
        assert len({str(row["salarie_code_dpt"]).zfill(3) for row in found}) == 1


def test_spouses_who_share_everything_are_two_rows(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    header = ["Nom", "Prénom", "Date de naissance", "NIR", "Numéro CAF", "Rôle", "Email", "Téléphone"]
    shared = {
        "Nom": "EXEMPLE",
        "NIR": NIR_15,
        "Numéro CAF": "2055990",
        "Email": "c@exemple.fr",
        "Téléphone": "0601020304",
    }
    people = [
        shared | {"Prénom": "Camille", "Date de naissance": "21/04/1980", "Rôle": "DEM"},
        shared | {"Prénom": "Dominique", "Date de naissance": "02/03/1979", "Rôle": "CJT"},
    ]
    path = tmp_path / "x.csv"
    path.write_text(table_text(header, people), encoding="utf-8")
    judgement = judged(registry, lake, "department_list", path)
    assert counts(judgement)[1:] == (2, 0), findings(judgement)
    assert "duplicate-key" not in named(judgement)


def test_a_shared_france_travail_id_is_no_duplicate(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    header = "nir;identifiantpe;nom;prenom;dtnai;date;code;nir2;codeinsee;localite;adresse;ale"
    other = registered("", "").replace("CAMILLE", "DOMINIQUE")
    judgement = judged(registry, lake, "ft_registrations", text(tmp_path / "stock.csv", header, registered(), other))
    assert counts(judgement)[1:] == (2, 0), findings(judgement)
    assert "duplicate-key" not in named(judgement)


def test_a_title_is_read_and_contradictions_are_said(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    lines = [
        employee_record(),
        employee_record(numLigne=2, personnePhysique={"civilite": "M", "idItou": "f" * 30}),
        employee_record(
            numLigne=3, personnePhysique={"civilite": "M", "idItou": "e" * 30, "salarieNIR": "1" + NIR_15[1:]}
        ),
    ]
    judgement = judged(registry, lake, "fiche_salarie", batch(tmp_path / "x.json", *lines))
    assert [row["civilite"] for row in rows(judgement, "lignes")] == ["2", "1", "1"]
    assert [line for code, line, _ in findings(judgement) if code == "title-contradicts-number"] == [2]


def test_a_column_has_one_type_wherever_it_is_cut(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    """Numbers, then nothing, then letters: read in one piece or in many, it is the same text."""
    numbers = [*map(str, range(40)), *[""] * 40, *(f"A{number}" for number in range(40)), "007", "1e3"]
    lines = [f"{number};EXEMPLE{rank};Camille;21/11/1980" for rank, number in enumerate(numbers)]
    path = text(tmp_path / "x.csv", "ID interne;Nom;Prénom;Date de naissance", *lines)
    delivering_it = delivering(registry, "department_list")
    for block_bytes in (96, 1 << 20):
        limits = Limits(block_bytes=block_bytes)
        judgement = judge(path, "essai", "department_list", SEPTEMBER, delivering_it, lake, limits=limits)
        found = [row["department_internal_id"] for row in rows(judgement, "beneficiaires")]
        assert found == [number or None for number in numbers]


# -- deliveries --------------------------------------------------------------------------------------------------------


def test_a_name_sent_twice_is_two_deliveries(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    uuid = "00000000-0000-4000-8000-00000000000"
    receipts = []
    for rank, people in enumerate(("1", "12")):
        folder = tmp_path / str(rank)
        folder.mkdir()
        path = text(
            folder / "extract.csv",
            "identifiant_unique_de;civilite;nom;prenom;date_naissance;inscription;categorie_inscription;brsa",
            *(f"{uuid}{one};MME;EXEMPLE;CAMILLE;1980-04-21 00:00:00.0;2025-10-17 00:00:00.0;1;O" for one in people),
        )
        receipts.append(deliver(path, "france-travail", "ft_spie", SEPTEMBER, registry, lake).receipt)
    assert [(one.sequence, one.replaces) for one in receipts] == [(1, None), (2, 1)]
    assert len(stored(lake, registry, SEPTEMBER, source="ft_spie", table="demandeurs")) == 2


def test_a_daily_flow_is_refused_beside_the_monthly_one(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "RSABEI.xml"
    daily = FLOW.format(announced=1).replace("<TYPEFLUX>M</TYPEFLUX>", "<TYPEFLUX>J</TYPEFLUX>")
    path.write_bytes(daily.encode("cp1252"))
    judgement = judged(registry, lake, "cnaf_vrsb0801", path, month=None)
    assert judgement.verdict == 3
    assert judgement.account.accepted == 0


@pytest.mark.parametrize(("code", "verdict"), [("052", 0), ("52", 0), ("052 ", 0), ("008", 3)])
def test_a_department_is_known_by_its_code(
    registry: Registry, lake: Lake, tmp_path: Path, code: str, verdict: int
) -> None:
    """Never by its name, which systems write in capitals, without accents, or cut: no contract asks for one."""
    path = tmp_path / "RSABEM.xml"
    flow = FLOW.format(announced=1).replace("<IDEPARTE>052<", f"<IDEPARTE>{code}<")
    path.write_bytes(flow.encode("cp1252"))
    judgement = judged(registry, lake, "cnaf_vrsb0801", path, month=None, territory_code="FR-DEP-52")
    assert judgement.verdict == verdict, findings(judgement)


def test_two_header_rows_are_one_header(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    sheet = [
        ["Cohorte", "", "", "", "", "Personnes", ""],
        ["Sortie en IAE", "Sorties en emploi", "Type de SIAE", "Zone d'emploi", "Sexe", "Nbre personne en emploi",
         "Nbre personne sans emploi"],
        ["2025-T2", "6 mois", "ACI", "4404", "Femmes", 45, 55],
    ]  # fmt: skip
    judgement = judged(registry, lake, "dsn_outcomes", workbook(tmp_path / "x.xlsx", {"Sorties": sheet}))
    assert counts(judgement) == (0, 1, 0), findings(judgement)
    assert judgement.account.header_footer == 2


def test_a_column_passes_because_it_is_listed(registry: Registry, lake: Lake, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("Nom;Prénom;Date de naissance;Biceps;Titre de séjour\nEXEMPLE;Camille;21/04/1980;12;oui\n")
    judgement = judged(registry, lake, "department_list", path)
    (row,) = rows(judgement, "beneficiaires")
    assert not {"biceps", "titre_de_sejour"} & set(row)
    assert [code for code, _, _ in findings(judgement)].count("extra-header") == 2, "both are said, neither is kept"
