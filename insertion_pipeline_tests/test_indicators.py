"""Each indicator against a count made by hand on a few readable rows, with the traps of existing systems."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from datetime import date
from typing import Any

import pyarrow as pa
import pytest

from insertion_pipeline.identity import pseudonymising
from insertion_pipeline.indicators import building, computing, coverage
from insertion_pipeline.indicators.additivity import ValuesDoNotAddUp, refuse_what_does_not_add_up
from insertion_pipeline.indicators.catalogue import facts
from insertion_pipeline.indicators.engines.spark import fact_schemas
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.indicator_rows import (
    ARDENNES,
    GRAND_EST,
    HAUTE_MARNE,
    NAMUR,
    OCTOBER,
    RETHEL,
    SEDAN,
    Compute,
    amendment,
    completed,
    exits,
    flow,
    grid_of,
    listed,
    siae,
    statement,
    work,
)

# -- SIAE --------------------------------------------------------------------------------------------------------


def test_contracted_posts_are_counted_once_per_annex_whatever_its_amendments(compute: Compute) -> None:
    rows = siae(
        amendments=[
            amendment(version=0, state="HISTORISE", posts=39.19),
            amendment(version=1, posts=40.19),
            amendment(version=2, posts=30.0),
            amendment(version=3, state="REJETE", posts=99.0),
            amendment(2, posts=2.5),
            amendment(2, posts=2.5, af_motif_rejet_id=7),  # the same amendment twice, for its reason of rejection
            amendment(3, kind="FDI_DC", posts=10.0),
            amendment(4, posts=8.0, af_date_fin_effet=date(2026, 9, 30)),
        ]
    )
    network = compute("siae_etp_conventionnes", **rows)
    assert network.terms("siae_etp_conventionnes", ARDENNES) == (32.5, None)
    assert network.terms("siae_etp_conventionnes", GRAND_EST) == (32.5, None)


def test_realised_posts_are_hours_times_twelve_over_the_annex_own_hours(compute: Compute) -> None:
    rows = siae(
        statements=[
            statement("anne", 140, emi_pph_id=1, emi_ctr_id=1),
            statement("anne", 151, emi_pph_id=1, emi_ctr_id=1, emi_sme_version=2),  # the last version wins
            statement("bill", 154, emi_pph_id=2, emi_ctr_id=2),
            statement("carl", 100, emi_pph_id=3, emi_ctr_id=3, emi_afi_id=2),
            statement("anne", 100, "2026-09", emi_pph_id=1, emi_ctr_id=1),
        ],
        amendments=[amendment(version=0), amendment(version=1), amendment(2, kind="AI_DC", posts=1)],
    )
    network = compute("siae_etp_realises", "siae_taux_realisation", "siae_taux_realisation_plafonne", **rows)
    # ACI (151 + 154) x 12 / 1820 = 1.995604 + 1.015385 ... row by row; AI 100 x 12 / 1607
    aci, ai = round(151 * 12 / 1820, 6) + round(154 * 12 / 1820, 6), round(100 * 12 / 1607, 6)
    cell = network.cell("siae_etp_realises", ARDENNES)
    assert cell is not None
    assert cell["numerator"] == pytest.approx(aci + ai)
    assert (cell["value"], cell["contributors"], cell["unit"]) == (2.8, 3, "etp")
    assert network.count("siae_etp_realises", ARDENNES, "AI") == pytest.approx(ai)
    rate = network.cell("siae_taux_realisation", ARDENNES)
    assert rate is not None
    assert (rate["value"], rate["denominator"]) == (55.2, 5.0)  # 2.757747 / 5
    assert network.count("siae_taux_realisation_plafonne", ARDENNES) == pytest.approx(aci + ai)


def test_the_asp_flow_wins_over_a_structure_own_file_and_the_two_are_never_added(compute: Compute) -> None:
    own = {"siret": "10003003000017", "annexe_numero": "ACI008260001A0M0", "mois": "2026-10"}
    other = {"siret": "10009009100016", "annexe_numero": "ACI008260019A0M0", "mois": "2026-10"}
    rows = siae(statements=[statement("anne", 100)]) | {
        "siae_monthly__salaries": [
            own | {"person": "anne", "heures_travaillees": 120.0},
            other | {"person": "dora", "heures_travaillees": 91.0},
        ]
    }
    network = compute("siae_salaries", "siae_etp_realises", **rows)
    assert network.count("siae_salaries", ARDENNES) == 2
    assert network.count("siae_etp_realises", ARDENNES) == pytest.approx(round(100 * 12 / 1820, 6) + 0.6)


def test_an_employee_is_one_person_with_an_hour_in_the_month_over_all_annexes(compute: Compute) -> None:
    rows = siae(
        statements=[
            statement("anne", 80, emi_pph_id=1, emi_ctr_id=1, person_age=25),
            statement("anne", 40, emi_pph_id=9, emi_ctr_id=9, emi_afi_id=2, person_age=25),
            statement("bill", 0, emi_pph_id=2, emi_ctr_id=2, emi_salarie_tjs_accomp=True, person_age=50),
            statement("carl", 0, emi_pph_id=3, emi_ctr_id=3),
            statement("dora", 60, emi_pph_id=4, emi_ctr_id=4, person_sex="1", person_age=49),
        ],
        contracts=[{"contrat_id_ctr": 1, "contrat_salarie_rsa": "OUI-NM"}, {"contrat_id_ctr": 4}],
        amendments=[amendment(), amendment(2, kind="AI_DC")],
    )
    network = compute("siae_salaries", "siae_salaries_residence", "siae_personnes_accompagnees", **rows)
    assert network.count("siae_salaries", ARDENNES) == 2
    assert network.count("siae_salaries", ARDENNES, "Y_LT26") == 1
    assert network.count("siae_salaries", ARDENNES, "Y26T49") == 1
    assert [network.count("siae_salaries", ARDENNES, kind) for kind in ("ACI", "AI")] == [2, 1]  # anne is in both
    assert network.count("siae_personnes_accompagnees", ARDENNES) == 3  # bill is still followed
    assert network.count("siae_salaries_residence", RETHEL) == 2
    assert network.count("siae_salaries", ARDENNES, "RSA") == 1


JANUARY, SEPTEMBER = date(2026, 1, 5), date(2026, 9, 25)


def test_dynamic_exits_leave_withdrawn_exits_out_of_both_terms(compute: Compute) -> None:
    codes = ("siae_sorties_observees", "siae_taux_sorties_dynamiques", "siae_taux_sorties_emploi_durable")
    more = ("siae_taux_sorties_emploi_transition", "siae_taux_sorties_positives", "siae_objectif_sorties_dynamiques")
    network = compute(
        *codes,
        *more,
        **exits(
            ("anne", "ACI", 100, 101, JANUARY, SEPTEMBER),
            ("bill", "ACI", 100, 102, JANUARY, SEPTEMBER),
            ("carl", "ACI", 100, 103, JANUARY, SEPTEMBER),
            ("dora", "ACI", 100, 104, JANUARY, SEPTEMBER),
            ("emil", "ACI", 100, 105, JANUARY, SEPTEMBER),  # withdrawn; its code is that of a lasting job elsewhere
            ("fay", "ACI", 100, 101, date(2026, 7, 15), SEPTEMBER),  # 72 days: under the minimum stay
            ("gus", "ACI", 100, 101, date(2024, 1, 5), date(2025, 10, 31)),  # before the rolling year
        ),
    )
    assert network.count("siae_sorties_observees", ARDENNES) == 4
    assert network.terms("siae_taux_sorties_dynamiques", ARDENNES) == (3, 4)
    assert network.terms("siae_taux_sorties_emploi_durable", ARDENNES) == (1, 4)
    assert network.terms("siae_taux_sorties_emploi_transition", ARDENNES) == (1, 4)
    assert network.terms("siae_taux_sorties_positives", ARDENNES) == (1, 4)
    assert network.terms("siae_objectif_sorties_dynamiques", ARDENNES) == (pytest.approx(2.4), 4)
    assert network.count("siae_sorties_observees", ARDENNES, "AUTRE") == 1
    cell = network.cell("siae_taux_sorties_dynamiques", ARDENNES)
    assert cell is not None
    assert (cell["status"], cell["value"]) == ("PS", None)  # four exits say nothing as a rate


def test_150_hours_are_counted_per_person_and_annex_not_per_mission(compute: Compute) -> None:
    rows = exits(
        ("anne", "AI", 80, 101, JANUARY, date(2026, 3, 31)),
        ("anne", "AI", 80, 102, JANUARY, SEPTEMBER),  # another mission of the same person: 160 hours together
        ("bill", "AI", 149, 101, JANUARY, SEPTEMBER),
        ("carl", "AI", 150, 104, JANUARY, SEPTEMBER),
    )
    rows["fluxiae__etat_mensuel_indiv"] = [
        *rows["fluxiae__etat_mensuel_indiv"],
        statement("bill", 90, "2025-12", emi_pph_id=3, emi_ctr_id=3, emi_afi_id=2),  # another calendar year
    ]
    network = compute("siae_sorties_observees", "siae_taux_sorties_dynamiques", **rows)
    assert network.count("siae_sorties_observees", ARDENNES) == 2
    assert network.terms("siae_taux_sorties_dynamiques", ARDENNES) == (1, 2)


def test_the_statement_reason_comes_before_the_contract_reason(compute: Compute) -> None:
    rows = exits(("anne", "ACI", 100, 104, JANUARY, SEPTEMBER))
    rows["fluxiae__etat_mensuel_indiv"] = [statement("anne", 100, "2026-09", emi_motif_sortie_id=101)]
    network = compute("siae_sorties_observees", **rows)
    assert network.count("siae_sorties_observees", ARDENNES, "EMPLOI_DURABLE") == 1
    conflicts = network.connection.execute("SELECT count(*) FROM siae_exits WHERE has_conflicting_reasons").fetchone()
    assert conflicts == (1,)


def test_a_person_hired_again_by_the_structure_has_not_left(compute: Compute) -> None:
    rows = exits(("anne", "ACI", 100, 101, JANUARY, date(2026, 6, 30)))
    rows["fluxiae__contrat_mission"] = [
        *rows["fluxiae__contrat_mission"],
        {
            "person": "anne",
            "contrat_id_structure": 1,
            "contrat_mesure_disp_code": "ACI_DC",
            "contrat_id_ctr": 77,
            "contrat_date_embauche": date(2026, 7, 1),
        },
    ]
    assert compute("siae_sorties_observees", **rows).count("siae_sorties_observees", ARDENNES) == 0


def test_a_structure_own_file_reports_its_exits(compute: Compute) -> None:
    row = {
        "person": "anne",
        "siret": "10009009100016",
        "annexe_numero": "ACI008260019A0M0",
        "heures_travaillees": 90.0,
        "date_debut_contrat": JANUARY,
        "date_sortie": date(2026, 10, 20),
        "motif_sortie_categorie": "SORTIE_POSITIVE",
    }
    network = compute(
        "siae_taux_sorties_dynamiques", "siae_duree_parcours_moyenne", "siae_duree_parcours_mediane",
        siae_monthly__salaries=[row],
    )  # fmt: skip
    assert network.terms("siae_taux_sorties_dynamiques", ARDENNES) == (1, 1)
    assert network.terms("siae_duree_parcours_moyenne", ARDENNES) == (288, 1)
    median = network.cell("siae_duree_parcours_mediane", ARDENNES)
    assert median is not None
    assert (median["numerator"], median["status"]) == (288, "PS")  # under twenty leavers


def test_an_annex_without_statement_is_said_so(compute: Compute) -> None:
    rows = siae(statements=[statement("anne", 10)], amendments=[amendment(), amendment(2), amendment(3)])
    network = compute("siae_part_structures_sans_saisie", **rows)
    cell = network.cell("siae_part_structures_sans_saisie", ARDENNES)
    assert cell is not None
    assert (cell["numerator"], cell["denominator"], cell["value"]) == (2, 3, 66.7)


def test_an_entry_is_late_after_two_months_counted_from_the_month_observed(compute: Compute) -> None:
    begun = {2: date(2026, 1, 1), 3: date(2026, 1, 1), 4: date(2026, 8, 1), 5: date(2026, 9, 1)}
    amendments = [amendment(), *(amendment(annex, af_date_debut_effet=day) for annex, day in begun.items())]
    statements = [
        statement("anne", 10),
        statement("bill", 10, "2026-08", emi_afi_id=2),  # the second month before: not late yet
        statement("carl", 10, "2026-07", emi_afi_id=3),
    ]  # nothing ever of annexes 4 and 5: the first has had three months
    network = compute("siae_part_annexes_saisie_en_retard", **siae(statements=statements, amendments=amendments))
    assert network.terms("siae_part_annexes_saisie_en_retard", ARDENNES) == (2, 5)


def test_posts_of_rsa_beneficiaries_follow_the_contract(compute: Compute) -> None:
    rows = siae(
        statements=[statement("anne", 91, emi_ctr_id=1), statement("bill", 91, emi_pph_id=2, emi_ctr_id=2)],
        contracts=[
            {"person": "anne", "contrat_id_ctr": 1, "contrat_salarie_rsa": "OUI-M"},
            {"person": "bill", "contrat_id_ctr": 2, "contrat_salarie_rsa": "NON"},
        ],
    )
    network = compute("siae_etp_realises_rsa", **rows)
    assert network.count("siae_etp_realises_rsa", ARDENNES) == pytest.approx(0.6)


# -- departments -------------------------------------------------------------------------------------------------


def test_the_two_populations_under_rights_and_duties_stand_side_by_side(compute: Compute) -> None:
    network = compute(
        "rsa_beneficiaires", "rsa_sdd_versable", "rsa_sdd_ouvert", "rsa_beneficiaires_conseil",
        cnaf_vrsb0801__personnes=[
            flow("anne"), flow("bill", "3"), flow("carl", "4"), flow("dora", duties=False),
            flow("emil", "5"), flow("fay", "0"), flow("kid", rolepers="ENF"),
            flow("gus", "5", dtdemrsa=date(2024, 1, 1)), flow("gus", "2"),  # two applications: the latest
        ],
    )  # fmt: skip
    assert network.count("rsa_beneficiaires", ARDENNES) == 5
    assert network.count("rsa_sdd_versable", ARDENNES) == 2
    assert network.count("rsa_sdd_ouvert", ARDENNES) == 4
    assert network.count("rsa_beneficiaires", ARDENNES, "3") == 1
    assert network.count("rsa_beneficiaires_conseil", "FR-CON-08") == 5
    assert network.count("rsa_beneficiaires", "FR-EPCI-200043156") == 5


def test_oriented_means_a_referent_body_that_still_stands(compute: Compute) -> None:
    network = compute(
        "rsa_part_orientes", "rsa_orientes", "rsa_en_attente_orientation", "rsa_part_contrat_signe",
        cnaf_vrsb0801__personnes=[flow(name) for name in ("anne", "bill", "carl", "dora", "emil")],
        department_list__beneficiaires=[
            listed("anne", orientation_type="pro", orientation_date=date(2026, 5, 1), cer_signed_on=date(2026, 6, 1)),
            listed("bill", structure="CCAS"),
            listed("carl", orientation_type="social", orientation_date=date(2026, 11, 3)),  # not yet, in October
            listed("dora", orientation_date=date(2025, 5, 1), support_end_date=date(2026, 9, 1)),
            listed("zoe", orientation_type="pro", orientation_date=date(2026, 5, 1)),  # not in the payer's flow
        ],
    )  # fmt: skip
    assert network.terms("rsa_part_orientes", ARDENNES) == (2, 5)
    assert network.count("rsa_orientes", ARDENNES, "pro") == 1
    assert network.count("rsa_en_attente_orientation", ARDENNES) == 3
    assert network.terms("rsa_part_contrat_signe", ARDENNES) == (1, 2)


def test_a_delay_is_a_cohort_where_those_who_wait_still_count(compute: Compute) -> None:
    entry = date(2026, 8, 10)
    network = compute(
        "rsa_part_orientes_42j", "rsa_part_orientes_45j", "rsa_delai_moyen_orientation_orientes", "rsa_entrees",
        department_list__beneficiaires=[
            listed("anne", rights_opening_date=entry, orientation_date=date(2026, 8, 20)),
            listed("bill", rights_opening_date=entry, orientation_date=date(2026, 9, 21)),  # day 42, included
            listed("carl", rights_opening_date=entry, orientation_date=date(2026, 9, 24)),  # day 45, excluded
            listed("dora", rights_opening_date=entry),
            listed("emil", rights_opening_date=entry, orientation_date=date(2026, 7, 1)),  # before entry: no success
            listed("fay", rights_opening_date=date(2026, 9, 10), orientation_date=date(2026, 10, 10)),  # not mature
            listed("gus", rights_opening_date=date(2026, 10, 2)),
        ],
    )  # fmt: skip
    assert network.terms("rsa_part_orientes_42j", "FR-CON-08") == (2, 5)
    assert network.terms("rsa_part_orientes_45j", "FR-CON-08") == (2, 5)
    assert network.terms("rsa_delai_moyen_orientation_orientes", "FR-CON-08") == (30, 1)
    assert network.count("rsa_entrees", "FR-CON-08") == 1


def test_delay_bands_hold_the_whole_cohort(compute: Compute) -> None:
    entry = date(2026, 7, 1)
    network = compute(
        "rsa_entrees_delai_orientation",
        department_list__beneficiaires=[
            listed("anne", rights_opening_date=entry, orientation_date=date(2026, 7, 30)),  # 29 days
            listed("bill", rights_opening_date=entry, orientation_date=date(2026, 7, 31)),  # 30 days
            listed("carl", rights_opening_date=entry, orientation_date=date(2026, 9, 29)),  # 90 days
            listed("dora", rights_opening_date=entry, orientation_date=date(2026, 11, 2)),  # after the month
        ],
    )
    code = "rsa_entrees_delai_orientation"
    bands = [network.count(code, "FR-CON-08", band) for band in ("D0T29", "D30T59", "D60T89", "D_GE90", "EN_ATTENTE")]
    assert bands == [1, 1, 0, 1, 1]


def test_a_contract_is_due_one_month_after_the_orientation_from_date_to_date(compute: Compute) -> None:
    network = compute(
        "rsa_part_contrat_un_mois",
        department_list__beneficiaires=[
            listed("anne", orientation_date=date(2026, 9, 30), cer_signed_on=date(2026, 10, 30)),
            listed("bill", orientation_date=date(2026, 9, 30), cer_signed_on=date(2026, 10, 31)),
            listed("carl", orientation_date=date(2026, 9, 2)),
            listed("dora", orientation_date=date(2026, 9, 2), cer_signed_on=date(2026, 8, 1)),  # an earlier contract
        ],
    )
    assert network.terms("rsa_part_contrat_un_mois", "FR-CON-08") == (1, 4)


def test_absence_has_two_denominators_and_unknown_statuses_are_in_none(compute: Compute) -> None:
    statuses = ["seen", "seen", "noshow", "excused", "revoked", "unknown", None]
    rows = [
        listed(f"p{rank}", last_appointment_date=date(2026, 10, 7), last_appointment_status=status)
        for rank, status in enumerate(statuses)
    ]
    rows.append(listed("past", last_appointment_date=date(2026, 9, 7), last_appointment_status="noshow"))
    network = compute(
        "rsa_taux_absence_rdv", "rsa_taux_absence_rdv_hors_annulations_service", "rsa_rendez_vous",
        department_list__beneficiaires=rows,
    )  # fmt: skip
    assert network.terms("rsa_taux_absence_rdv", "FR-CON-08") == (1, 5)
    assert network.terms("rsa_taux_absence_rdv_hors_annulations_service", "FR-CON-08") == (1, 4)
    assert network.count("rsa_rendez_vous", "FR-CON-08") == 7
    assert network.count("rsa_rendez_vous", "FR-CON-08", "INCONNU") == 2


# -- the employment services -------------------------------------------------------------------------------------


def test_french_categories_and_walloon_classes_are_never_added(compute: Compute) -> None:
    network = compute(
        "emploi_inscrits_fr", "emploi_dei_be",
        ft_spie__demandeurs=[
            {"person": "anne", "categorie_inscription": "1", "inscription": date(2026, 1, 1)},
            {"person": "bill", "categorie_inscription": "2", "inscription": date(2024, 1, 1)},
            {"person": "bill", "categorie_inscription": "1", "inscription": date(2026, 2, 1)},  # the latest one
        ],
        forem_jobseekers__demandeurs=[
            {"person": "marc", "categorie": "DEDA", "person_residence": NAMUR},
            {"person": "nora", "categorie": "SIP", "person_residence": NAMUR, "date_cessation": date(2026, 10, 12)},
            {"person": "otto", "categorie": "LIB", "person_residence": "BE-COM-21004"},  # Brussels
        ],
    )  # fmt: skip
    assert network.count("emploi_inscrits_fr", "FR") == 2
    assert network.count("emploi_inscrits_fr", ARDENNES, "CAT_1") == 2
    assert network.count("emploi_dei_be", "BE") == 2
    assert network.count("emploi_dei_be", NAMUR, "DEDA") == 1
    assert network.count("emploi_dei_be", "BE-COM-HORS") == 1
    assert network.cell("emploi_inscrits_fr", "BE") is None
    assert network.cell("emploi_dei_be", "FR") is None


def test_barriers_are_shares_of_jobseekers_and_types_are_not_added(compute: Compute) -> None:
    network = compute(
        "emploi_part_frein", "emploi_part_frein_mobilite", "emploi_part_frein_logement", "emploi_part_frein_financier",
        "emploi_part_frein_administratif", "emploi_part_frein_familial", "emploi_part_frein_social",
        "emploi_part_rsa", "emploi_part_longue_duree_fr", "emploi_nouveaux_inscrits_fr",
        ft_spie__demandeurs=[
            {"person": "anne", "dif_transport": True, "dif_logement": True, "brsa": True,
             "inscription": date(2024, 10, 1)},
            {"person": "bill", "dif_financiere": True, "dif_familiale": True, "brsa": False,
             "inscription": date(2026, 10, 15)},
            {"person": "carl", "dif_admin_jur": True, "dif_inser_com": True},
            {"person": "dora"},
        ],
    )  # fmt: skip
    assert network.terms("emploi_part_frein", ARDENNES) == (3, 4)
    for kind in ("mobilite", "logement", "financier", "administratif", "familial", "social"):
        assert network.terms(f"emploi_part_frein_{kind}", ARDENNES) == (1, 4)
    assert network.terms("emploi_part_rsa", ARDENNES) == (1, 2)  # unsaid is not « non »
    assert network.terms("emploi_part_longue_duree_fr", ARDENNES) == (1, 2)
    assert network.count("emploi_nouveaux_inscrits_fr", ARDENNES) == 1


def test_walloon_jobseekers_have_the_same_questions_apart(compute: Compute) -> None:
    network = compute(
        "emploi_part_longue_duree_be", "emploi_nouveaux_inscrits_be",
        forem_jobseekers__demandeurs=[
            {"person": "marc", "categorie": "DEDA", "person_residence": NAMUR, "date_inscription": date(2024, 1, 1)},
            {"person": "nora", "categorie": "SIP", "person_residence": NAMUR, "date_inscription": date(2026, 10, 1)},
        ],
    )  # fmt: skip
    assert network.terms("emploi_part_longue_duree_be", "BE-PRV-90000") == (1, 2)
    assert network.count("emploi_nouveaux_inscrits_be", NAMUR) == 1


# -- ALE ---------------------------------------------------------------------------------------------------------


def test_caps_hold_per_person_over_all_agencies(compute: Compute) -> None:
    caps = ["ale_depassements_45h", "ale_depassements_70h", "ale_depassements_150h", "ale_depassements_630h"]
    network = compute(
        *caps, "ale_proches_630h",
        ale_activity__prestations=[
            work("anne", 30), work("anne", 16, _partner="ale-dinant"),  # 46 over two agencies
            work("bill", 60, type_utilisateur="particulier", activite="Petit jardinage"),  # under the extended cap
            work("carl", 71, type_utilisateur="enseignement", activite="Surveillance"),
            work("dora", 149, type_utilisateur="agriculture", activite="Récolte"),
            work("emil", 151, type_utilisateur="agriculture", activite="Récolte"),
            work("fay", 40), *(work("fay", 66, _month=f"2026-0{month}") for month in range(1, 10)),  # 634
            work("gus", 40), work("gus", 600, _month="2025-12"),  # last year's hours do not count
            work("hal", 45),
        ],
    )  # fmt: skip
    assert [network.count(code, "BE-REG-03000") for code in caps] == [1, 1, 1, 1]
    assert network.count("ale_proches_630h", "BE-REG-03000") == 1


def test_hours_are_told_by_user_and_activity_where_the_agency_is(compute: Compute) -> None:
    network = compute(
        "ale_heures_utilisateur_activite", "ale_travailleurs_actifs", "ale_personnes_inscrites",
        "ale_heures_prestees", "ale_heures_moyennes", "ale_part_heures_servies",
        ale_activity__prestations=[
            work("anne", 20.5, type_utilisateur="particulier", activite="Petit jardinage"),
            work("anne", 10, _partner="ale-dinant"),
            work("bill", 0.5),
            work("carl", 0),
            work("dora", 12.25, person_residence="BE-COM-91034"),
        ],
        ale_activity__demandes=[
            {"_partner": "ale-namur", "type_utilisateur": "particulier", "activite": "Jardinage",
             "heures_demandees": 40.0, "heures_prestees": 25.0},
        ],
    )  # fmt: skip
    code = "ale_heures_utilisateur_activite"
    assert network.count(code, NAMUR) == pytest.approx(33.25)
    assert network.count(code, "BE-COM-91034") == 10
    assert network.count(code, NAMUR, "particulier") == 20.5
    assert network.count(code, NAMUR, "JARDINAGE") == 20.5
    assert network.count("ale_personnes_inscrites", "BE") == 4
    assert network.count("ale_travailleurs_actifs", "BE") == 2  # under one hour is not active
    assert network.count("ale_heures_prestees", NAMUR) == 31
    assert network.terms("ale_heures_moyennes", "BE") == (42.75, 2)
    assert network.terms("ale_part_heures_servies", "BE-PRV-90000") == (25, 40)


# -- the network -------------------------------------------------------------------------------------------------

TOGETHER = {
    "cnaf_vrsb0801__personnes": [flow("anne"), flow("bill"), flow("carl"), flow("kid", rolepers="ENF")],
    "department_list__beneficiaires": [
        listed(
            "anne", orientation_type="social", last_appointment_date=date(2026, 9, 2), last_appointment_status="seen"
        ),
        listed("bill", orientation_type="pro", last_appointment_date=date(2026, 5, 2), last_appointment_status="seen"),
        listed(
            "dora", orientation_type="pro", last_appointment_date=date(2026, 10, 2), last_appointment_status="noshow"
        ),
    ],
    "ft_spie__demandeurs": [
        {"person": "anne", "struct_principale": "SEDAN", "der_entretien": date(2026, 10, 1)},
        {"person": "bill", "struct_principale": "SEDAN", "der_entretien": date(2026, 1, 1)},
        {"person": "emil", "struct_principale": "SEDAN", "der_entretien": date(2026, 8, 15), "person_residence": SEDAN},
        {"person": "carl", "struct_principale": "SEDAN", "der_entretien": None, "_month": "2026-09"},
    ],
}


def test_known_and_followed_are_two_numbers(compute: Compute) -> None:
    network = compute(
        "reseau_personnes_connues", "reseau_personnes_accompagnees", "reseau_part_accompagnees", **TOGETHER
    )
    assert network.count("reseau_personnes_connues", ARDENNES) == 5
    assert network.count("reseau_personnes_accompagnees", ARDENNES) == 2  # anne, emil: bill's contacts are too old
    assert network.terms("reseau_part_accompagnees", ARDENNES) == (2, 5)
    assert network.count("reseau_personnes_connues", ARDENNES, "department") == 2
    assert network.count("reseau_personnes_connues", ARDENNES, "department+employment_service") == 2
    assert network.count("reseau_personnes_connues", SEDAN) == 1


def test_followed_by_two_families_is_not_known_by_two(compute: Compute) -> None:
    network = compute("reseau_part_deux_familles", "reseau_part_connues_deux_familles", **TOGETHER)
    assert network.terms("reseau_part_deux_familles", ARDENNES) == (1, 2)
    assert network.terms("reseau_part_connues_deux_familles", ARDENNES) == (2, 5)


def test_two_families_is_not_received_where_one_family_came(compute: Compute) -> None:
    missing = [("dep-08", "cnaf_vrsb0801"), ("dep-08", "department_list"), ("siae-03", "fluxiae"),
               ("siae-04", "fluxiae"), ("siae-09", "siae_monthly")]  # fmt: skip
    network = compute("reseau_part_deux_familles", "reseau_personnes_connues", missing=missing, **TOGETHER)
    share, known = (
        network.cell("reseau_part_deux_familles", ARDENNES),
        network.cell("reseau_personnes_connues", ARDENNES),
    )
    assert share is not None
    assert known is not None
    assert (share["status"], share["value"]) == ("NR", None)
    assert (known["status"], known["n_units_expected"], known["n_units_received"]) == ("published", 5, 1)
    assert known["coverage"] == pytest.approx(0.2)


def test_a_beneficiary_not_found_was_never_there_or_is_there_no_more(compute: Compute) -> None:
    code, share = "reseau_beneficiaires_rsa_non_trouves", "reseau_part_beneficiaires_rsa_non_trouves"
    network = compute(code, share, "rsa_situation_service_emploi", **TOGETHER)
    assert network.count(code, ARDENNES) == 1
    assert network.terms(share, ARDENNES) == (1, 3)
    split = [
        network.count("rsa_situation_service_emploi", ARDENNES, status)
        for status in ("INSCRIT", "INSCRIT_ANTERIEUREMENT", "JAMAIS_TROUVE")
    ]
    assert split == [2, 1, 0]
    cell = network.cell(code, ARDENNES)
    assert cell is not None
    assert cell["error"] == pytest.approx(0.006 * 3)
    assert cell["status"] == "published"


def test_not_found_is_unavailable_when_its_error_exceeds_a_third(compute: Compute) -> None:
    registered = [{"person": f"p{rank}"} for rank in range(99)]
    network = compute(
        "reseau_beneficiaires_rsa_non_trouves",
        cnaf_vrsb0801__personnes=[flow(f"p{rank}") for rank in range(100)],
        ft_spie__demandeurs=registered,
    )
    cell = network.cell("reseau_beneficiaires_rsa_non_trouves", ARDENNES)
    assert cell is not None
    assert (cell["numerator"], cell["status"], cell["value"]) == (1, "ND", None)  # 0.6 false ones among 100


def test_not_found_needs_both_files_of_the_month(compute: Compute) -> None:
    network = compute("reseau_beneficiaires_rsa_non_trouves", missing=[("france-travail", "ft_spie")], **TOGETHER)
    cell = network.cell("reseau_beneficiaires_rsa_non_trouves", ARDENNES)
    assert cell is not None
    assert cell["status"] == "NR"


# -- statuses, rounding, coverage --------------------------------------------------------------------------------


def test_a_value_rounds_half_to_even_exactly(compute: Compute) -> None:
    def share(numerator: int, denominator: int) -> float:
        rows = [{"person": f"p{rank}", "brsa": rank < numerator} for rank in range(denominator)]
        cell = compute("emploi_part_rsa", ft_spie__demandeurs=rows).cell("emploi_part_rsa", ARDENNES)
        assert cell is not None
        return float(cell["value"])

    assert share(9, 80) == 11.2  # 11.25 exactly


def test_a_higher_half_rounds_to_the_even_tenth_too(compute: Compute) -> None:
    rows = [{"person": f"p{rank}", "brsa": rank < 11} for rank in range(80)]
    cell = compute("emploi_part_rsa", ft_spie__demandeurs=rows).cell("emploi_part_rsa", ARDENNES)
    assert cell is not None
    assert cell["value"] == 13.8  # 13.75 exactly


def test_a_department_that_did_not_deliver_is_said_so_even_without_a_row(compute: Compute) -> None:
    network = compute(
        "rsa_beneficiaires", missing=[("dep-52", "cnaf_vrsb0801")],
        cnaf_vrsb0801__personnes=[flow(f"p{rank}") for rank in range(40)],
    )  # fmt: skip
    absent, region = network.cell("rsa_beneficiaires", HAUTE_MARNE), network.cell("rsa_beneficiaires", GRAND_EST)
    assert absent is not None
    assert region is not None
    assert (absent["status"], absent["coverage"], absent["n_units_expected"]) == ("NR", 0.0, 1)
    assert (region["status"], region["n_units_expected"], region["n_units_received"]) == ("published", 3, 2)
    assert 0.8 < region["coverage"] < 1


def test_a_payer_that_did_not_come_lowers_the_coverage_of_its_department(
    compute: Compute, registry: Registry, places: pa.Table
) -> None:
    network = compute("rsa_beneficiaires", cnaf_vrsb0801__personnes=[flow("anne")])
    rows = grid_of(registry, []).to_pylist()
    paid = [row for row in rows if row["source"] == "cnaf_vrsb0801"]
    (ardennes,) = (row for row in paid if row["unit"] == "dep-08")
    for row in paid:
        row |= {"payer": "CAF", "population_share": 0.95}
    rows.append(ardennes | {"payer": "MSA", "population_share": 0.05, "is_received": False})
    grid = pa.Table.from_pylist(rows, schema=coverage.GRID_SCHEMA)
    values = computing.values_of(network.connection, registry, network.catalogue, OCTOBER, grid, places=places)
    here = {row["territory_code"]: row for row in values.to_pylist() if row["breakdown"] == "total"}
    assert (here[ARDENNES]["status"], here[ARDENNES]["coverage"]) == ("published", 0.95)
    assert (here[ARDENNES]["n_units_expected"], here[ARDENNES]["n_units_received"]) == (1, 1)
    assert 0.95 < here[GRAND_EST]["coverage"] < 1


def test_a_payer_is_expected_where_its_persons_were_known_in_the_year_before(lake: Lake) -> None:
    def written(month: Month, *pairs: tuple[str, str | None]) -> None:
        councils, payers = zip(*pairs, strict=True)
        rows = pa.table({"paying_council": pa.array(councils), "payer": pa.array(payers, pa.string())})
        path = building.fact_path(lake, "rsa_person_months", month).path
        with lake.parquet_writer(path, rows.schema) as writer:
            for batch in rows.to_batches(max_chunksize=1):  # as many parts as rows, as a large fact has
                writer.write_batch(batch)

    written(Month(2025, 9), (ARDENNES, "CAF"), (HAUTE_MARNE, "MSA"))  # thirteen months before: forgotten
    written(Month(2025, 10), (ARDENNES, "MSA"), (ARDENNES, "MSA"))
    written(OCTOBER, (ARDENNES, "CAF"), (HAUTE_MARNE, "CAF"), (HAUTE_MARNE, None))
    known = coverage.payers_known(lake, OCTOBER)
    assert known == {(ARDENNES, "CAF"): True, (ARDENNES, "MSA"): False, (HAUTE_MARNE, "CAF"): True}


def test_a_department_without_partner_is_unavailable(compute: Compute) -> None:
    network = compute("rsa_beneficiaires", cnaf_vrsb0801__personnes=[flow("anne", person_residence="FR-COM-51454")])
    cell = network.cell("rsa_beneficiaires", "FR-DEP-51")
    assert cell is not None
    assert (cell["status"], cell["value"]) == ("ND", None)


def test_a_rate_without_denominator_is_not_computable_and_never_zero(compute: Compute) -> None:
    rows = siae(statements=[statement("anne", 10)], amendments=[amendment(posts=0)])
    cell = compute("siae_taux_realisation", **rows).cell("siae_taux_realisation", ARDENNES)
    assert cell is not None
    assert (cell["status"], cell["value"]) == ("NC", None)


#: What a fault does to the rows of one indicator, and where the check says so.
FAULTS: list[tuple[str, Callable[[dict[str, Any]], dict[str, Any] | None], str]] = [
    ("reseau_personnes_connues", lambda row: row | less(row, 1) if is_cut(row, "sex") else row, "by sex at FR-DEP-08"),
    ("reseau_personnes_connues", lambda row: None if is_cut(row, "sex") else row, "by sex at FR-DEP-08"),
    ("reseau_personnes_connues", lambda row: None if is_total(row, ARDENNES) else row, "by sex at FR-DEP-08"),
    ("reseau_personnes_connues", lambda row: row | less(row, 1) if is_total(row, SEDAN) else row, "of commune at FR"),
    ("reseau_personnes_connues", lambda row: row | less(row, -1) if is_total(row, SEDAN) else row, "of commune at"),
    ("reseau_personnes_connues", lambda row: None if row["territory_level"] == "epci" else row, "of epci at FR"),
    ("reseau_personnes_connues", lambda row: None if is_total(row, GRAND_EST) else row, "of department at FR-REG-44"),
    ("reseau_part_accompagnees", lambda row: row | under(row, 1) if is_cut(row, "sex") else row, "by sex at FR-DEP-08"),
    ("siae_salaries", lambda row: row | less(row, 2) if is_total(row, ARDENNES) else row, "by kind at FR-DEP-08"),
    (
        "siae_salaries",
        lambda row: row | less(row, -3) if row["territory_code"] == ARDENNES else row,
        "of department at",
    ),
    ("siae_salaries", lambda row: row | less(row, -9) if row["territory_code"] == "FR" else row, "of department at FR"),
    ("siae_salaries", lambda row: None if is_cut(row, "kind") else row, "by kind at FR-DEP-08"),
]


def is_total(row: Mapping[str, Any], territory: str) -> bool:
    return bool(row["breakdown"] == "total" and row["territory_code"] == territory)


def is_cut(row: Mapping[str, Any], breakdown: str) -> bool:
    return bool(row["breakdown"] == breakdown and row["territory_code"] == ARDENNES)


def less(row: Mapping[str, Any], taken: int) -> dict[str, Any]:
    return {"numerator": row["numerator"] - taken}


def under(row: Mapping[str, Any], taken: int) -> dict[str, Any]:
    return {"denominator": row["denominator"] - taken}


def test_a_fault_in_parts_or_wholes_is_caught_where_it_stands(compute: Compute) -> None:
    employees = siae(
        statements=[
            statement("anne", 80), statement("anne", 40, emi_pph_id=9, emi_ctr_id=9, emi_afi_id=2),
            statement("bill", 30, emi_pph_id=2, emi_ctr_id=2),
        ],
        amendments=[amendment(), amendment(2, kind="AI_DC")],
    )  # fmt: skip
    network = compute("reseau_personnes_connues", "reseau_part_accompagnees", "siae_salaries", **TOGETHER, **employees)
    rows = network.values.to_pylist()
    for code, fault, place in FAULTS:
        faulty = [fault(row) if row["indicator_code"] == code else row for row in rows]
        altered = pa.Table.from_pylist([row for row in faulty if row is not None], schema=network.values.schema)
        assert altered != network.values
        with pytest.raises(ValuesDoNotAddUp, match=f"{code} {place}"):
            refuse_what_does_not_add_up(network.connection, altered, network.catalogue)


def test_values_do_not_depend_on_the_order_of_rows(compute: Compute, registry: Registry, places: pa.Table) -> None:
    network = compute("reseau_personnes_connues", "reseau_part_deux_familles", **TOGETHER)
    connection = network.connection
    shuffled = "SELECT * FROM network_person_months ORDER BY hash(person)"
    connection.execute(f"CREATE OR REPLACE TEMP TABLE network_person_months AS {shuffled}")
    again = computing.values_of(connection, registry, network.catalogue, OCTOBER, grid_of(registry, ()), places=places)
    assert again.equals(network.values)


def test_values_mature_as_months_pass(registry: Registry) -> None:
    def words(*sources: str) -> list[str]:
        return [computing.maturity(registry, sources, OCTOBER, OCTOBER.plus(months)) for months in (0, 1, 2, 5, 6)]

    assert words("cnaf_vrsb0801") == ["provisoire", "provisoire", "semi-définitif", "semi-définitif", "définitif"]
    # as settled as the slowest source: entries in training are published at four months
    assert words("cnaf_vrsb0801", "ft_actions") == ["provisoire"] * 3 + ["semi-définitif", "définitif"]


# -- through the lake --------------------------------------------------------------------------------------------


def test_a_month_computed_twice_gives_the_same_bytes(lake: Lake, registry: Registry) -> None:
    of_employment_services = [one for one in registry.indicator_families if one.family == "employment_service"]
    registry = dataclasses.replace(registry, indicator_families=tuple(of_employment_services))
    table = registry.source("ft_spie").table("demandeurs", OCTOBER)
    rows = [completed({"person": name, "categorie_inscription": "1"}, "fr") for name in ("anne", "bill", "carl")]
    pseudonymised = pseudonymising.pseudonymised_file(lake, "ft_spie", "demandeurs", OCTOBER)
    lake.write_parquet(pseudonymised.path, pa.Table.from_pylist(rows, schema=pseudonymising.schema(table)))

    def bytes_of_a_run() -> bytes:
        assert building.compute_facts(lake, registry, OCTOBER)["jobseeker_months"] == 3
        building.compute_histories(lake, registry, OCTOBER)
        computing.compute_values(lake, registry, OCTOBER)
        return computing.values_path(lake, OCTOBER).path.read_bytes()

    assert bytes_of_a_run() == bytes_of_a_run()
    values = lake.read_parquet(computing.values_path(lake, OCTOBER))
    assert values.schema.equals(computing.VALUES_SCHEMA)
    (country,) = (
        row
        for row in values.to_pylist()
        if (row["indicator_code"], row["territory_code"], row["breakdown"]) == ("emploi_inscrits_fr", "FR", "total")
    )
    assert (country["numerator"], country["status"], country["value"]) == (3, "NR", None)  # nobody's receipt is there


def test_every_family_has_four_indicators_and_the_network_too(registry: Registry) -> None:
    sizes = {family.family: len(family.indicators) for family in registry.indicator_families}
    assert set(sizes) == {"network", "ale", "siae", "department", "employment_service"}
    assert min(sizes.values()) >= 4


def test_no_fact_has_integers_wider_than_a_parquet_file_keeps(lake: Lake, registry: Registry) -> None:
    schemas = fact_schemas(lake, registry, OCTOBER)
    assert set(schemas) == set(facts())
    assert [field for schema in schemas.values() for field in schema if field.type == pa.decimal128(38, 0)] == []


def test_every_fact_has_one_row_per_grain(compute: Compute) -> None:
    network = compute("reseau_personnes_connues", "siae_sorties_observees", "ale_depassements_45h", "rsa_part_orientes",
                      "rsa_entrees", "rsa_rendez_vous", **TOGETHER)  # fmt: skip
    created = {name for (name,) in network.connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
    for name, fact in facts().items():
        if name in created:
            grain = ", ".join(fact.grain)
            repeated = f"SELECT {grain} FROM {name} GROUP BY {grain} HAVING count(*) > 1"
            assert network.connection.execute(repeated).fetchall() == []
