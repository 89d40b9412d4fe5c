"""Each indicator of the newer sources against a count made by hand on a few readable rows."""

from __future__ import annotations

from datetime import date

import pytest

from insertion_pipeline_tests.indicator_rows import (
    ARDENNES,
    COUNCIL,
    GRAND_EST,
    NAMUR,
    Compute,
    Row,
    amendment,
    day,
    exits,
    flow,
    listed,
    siae,
    statement,
    work,
)

# -- local employment agencies -----------------------------------------------------------------------------------


def test_the_referred_who_worked_are_a_mature_cohort_over_all_agencies(compute: Compute) -> None:
    july = {"date_adressage": day(7, 10), "adresse_par": "FOREM", "_month": "2026-07"}
    network = compute(
        "ale_part_adresses_travaillent", "ale_adressages",
        ale_activity__prestations=[
            work("anne", 0, **july), work("anne", 5, _month="2026-09", _partner="ale-dinant"),  # in another agency
            work("bill", 0, **july), work("bill", 0.5, _month="2026-10"),  # half an hour is not work
            work("carl", 0, **july | {"adresse_par": "CPAS"}), work("carl", 8, _month="2026-10"),
            work("dora", 0, **july), work("dora", 9, _month="2026-06"),  # before she was referred
            work("emil", 0, date_adressage=day(10, 3), adresse_par="FOREM"),  # not mature
        ],
    )  # fmt: skip
    assert network.terms("ale_part_adresses_travaillent", "BE") == (2, 4)
    assert network.terms("ale_part_adresses_travaillent", "BE", "CPAS") == (1, 1)
    assert network.count("ale_adressages", "BE") == 1


def test_absence_from_a_list_is_never_employment(compute: Compute) -> None:
    july = [work(name, 10, _month="2026-07") for name in ("anne", "bill", "carl", "dora", "emil", "fay")]
    network = compute(
        "ale_devenir_3_mois", "ale_part_tremplin_3_mois",
        ale_activity__prestations=[
            *july,
            work("anne", 12),
            work("bill", 0, _month="2026-09", date_sortie=day(9, 2), motif_sortie="Engagé sous CDI"),
            work("emil", 0, _month="2026-09", date_sortie=day(9, 2), motif_sortie="Refus d'emploi"),
            work("gus", 0, _month="2026-07"),  # did not work then
        ],
        forem_jobseekers__demandeurs=[
            {"person": "carl", "date_cessation": day(9, 1), "motif_cessation": "Mise à l'emploi", "_month": "2026-09"},
            {"person": "dora", "categorie": "DEDA"},
        ],
    )  # fmt: skip
    code = "ale_devenir_3_mois"
    situations = ("TOUJOURS_ALE", "EMPLOI_OBSERVE", "INSCRIT", "AUTRE_SORTIE", "INCONNU")
    assert [network.count(code, "BE", one) for one in situations] == [1, 2, 1, 1, 1]  # fay is nowhere: unknown
    assert network.terms("ale_part_tremplin_3_mois", "BE") == (2, 6)
    cell = network.cell(code, "BE")
    assert cell is not None
    assert cell["error"] == pytest.approx(0.036)


def test_what_becomes_of_workers_is_told_after_six_and_twelve_months_too(compute: Compute) -> None:
    codes = (
        "ale_devenir_6_mois", "ale_part_tremplin_6_mois", "ale_devenir_12_mois", "ale_part_tremplin_12_mois",
    )  # fmt: skip
    network = compute(
        *codes,
        ale_activity__prestations=[
            work("anne", 10, _month="2026-04"), work("bill", 10, _month="2026-04"), work("carl", 9, _month="2026-04"),
            work("dora", 10, _month="2026-05"),  # five months ago: in neither
            work("emil", 10, _month="2025-10"), work("fay", 10, _month="2025-10"), work("fay", 10),
        ],
        forem_jobseekers__demandeurs=[
            {"person": "anne", "date_cessation": day(6, 1), "motif_cessation": "Mise à l'emploi", "_month": "2026-06"},
            {"person": "bill", "date_cessation": day(6, 1), "motif_cessation": "Formation", "_month": "2026-06"},
            {"person": "emil", "categorie": "DEDA"},
        ],
    )  # fmt: skip
    six = [network.count("ale_devenir_6_mois", "BE", one) for one in ("EMPLOI_OBSERVE", "FORMATION", "INCONNU")]
    assert six == [1, 1, 1]  # nobody says anything of carl: unknown, not employed
    assert network.terms("ale_part_tremplin_6_mois", "BE") == (2, 3)
    twelve = [network.count("ale_devenir_12_mois", "BE", one) for one in ("INSCRIT", "TOUJOURS_ALE", "EMPLOI_OBSERVE")]
    assert twelve == [1, 1, 0]
    assert network.terms("ale_part_tremplin_12_mois", "BE") == (0, 2)


def test_an_exit_is_four_months_without_hours_holidays_aside(compute: Compute) -> None:
    network = compute(
        "ale_sorties",
        ale_activity__prestations=[
            work("anne", 10, _month="2026-04"), work("anne", 0),  # May, June, September, October: four months
            work("bill", 10, _month="2026-07"), work("bill", 0),  # worked in July: two months since
            work("carl", 10, _month="2026-03"),  # known as an exit since September
            work("dora", 3, date_sortie=day(10, 9), motif_sortie="Déménagement"),
        ],
    )  # fmt: skip
    assert network.count("ale_sorties", "BE", "QUATRE_MOIS_SANS_HEURE") == 1
    assert network.count("ale_sorties", "BE", "DECLAREE") == 1


def test_hours_asked_and_served_stand_beside_their_share(compute: Compute) -> None:
    asked: Row = {"_partner": "ale-namur", "heures_demandees": 40.0, "heures_prestees": 25.0}
    network = compute(
        "ale_heures_demandees", "ale_heures_servies",
        ale_activity__demandes=[asked | {"type_utilisateur": one} for one in ("particulier", "agriculture")],
    )  # fmt: skip
    assert network.count("ale_heures_demandees", "BE-PRV-90000") == 80
    assert network.count("ale_heures_servies", "BE", "particulier") == 25
    assert NAMUR.startswith("BE-COM")


# -- employment service ------------------------------------------------------------------------------------------


def test_leaving_the_list_is_not_a_job(compute: Compute) -> None:
    def left(person: str, reason: str, **given: object) -> Row:
        return {"person": person, "date": day(10, 5), "motif": reason} | given

    network = compute(
        "emploi_sorties_listes_fr", "emploi_sorties_emploi_declare", "emploi_sorties_listes_be",
        ft_registrations__cessations=[
            left("anne", "Reprise d'emploi déclarée"), left("bill", "Absence d'actualisation"),
            left("carl", "Entrée en formation"), left("dora", "Changement de domicile"),
            left("emil", "Reprise d'emploi", date=day(9, 30)),  # in September
            left("fay", "Absence d'actualisation", date=day(10, 2)), left("fay", "Reprise d'emploi"),  # the last one
        ],
        ft_registrations__radiations=[left("gus", "Refus d'une offre d'emploi")],
        forem_jobseekers__demandeurs=[
            {"person": "hal", "date_cessation": day(10, 7), "motif_cessation": "Reprise du travail"}
        ],
    )  # fmt: skip
    code = "emploi_sorties_listes_fr"
    reasons = ("EMPLOI_DECLARE", "DEFAUT_ACTUALISATION", "FORMATION", "AUTRE", "RADIATION")
    assert [network.count(code, ARDENNES, reason) for reason in reasons] == [2, 1, 1, 1, 1]
    assert network.count("emploi_sorties_emploi_declare", ARDENNES) == 2
    assert network.count("emploi_sorties_listes_be", "BE", "EMPLOI_DECLARE") == 1


def test_trainings_are_told_by_objective_and_funder(compute: Compute) -> None:
    def training(person: str, begun: date, **given: object) -> Row:
        return {"person": person, "date_entree": begun, "formation_code": "F1", "financeur": "REGION"} | given

    ended = {"date_sortie": day(4, 15), "issue": "TERMINEE"}
    network = compute(
        "emploi_entrees_formation", "emploi_taux_abandon_formation", "emploi_acces_apres_formation_6_mois",
        ft_spie__demandeurs=[{"person": "anne"}],
        ft_actions__formations=[
            training("anne", day(10, 1), objectif_formation="CERTIFICATION"),
            training("anne", day(10, 1), objectif_formation="CERTIFICATION"),  # the same line twice
            training("bill", day(10, 9), financeur="CPF"),
            training("carl", day(11, 2)),  # not begun
            training("dora", day(1, 5), emploi_6_mois=True, **ended), training("emil", day(1, 5), **ended),
            training("fay", day(1, 5), emploi_6_mois=False, **ended | {"issue": "ABANDON"}),
        ],
    )  # fmt: skip
    code = "emploi_entrees_formation"
    assert network.count(code, "FR") == 2
    assert [network.count(code, "FR", one) for one in ("REGION", "CPF", "CERTIFICATION")] == [1, 1, 1]
    assert network.terms("emploi_taux_abandon_formation", "FR") == (1, 3)
    assert network.terms("emploi_acces_apres_formation_6_mois", "FR") == (1, 2)  # emil is not observed
    cell = network.cell("emploi_acces_apres_formation_6_mois", "FR")
    assert cell is not None
    assert cell["status"] == "PS"  # under sixty leavers


def test_a_barrier_is_lifted_only_for_who_is_still_there(compute: Compute) -> None:
    def registered(person: str, month: str, **given: object) -> Row:
        return {"person": person, "_month": month, "inscription": day(1, 2)} | given

    network = compute(
        "emploi_freins_declares_suivis", "emploi_part_freins_leves", "emploi_part_freins_traites",
        ft_spie__demandeurs=[
            registered("anne", "2026-07", dif_transport=True, dif_logement=True),
            registered("anne", "2026-10", dif_logement=True),
            registered("bill", "2026-07", dif_transport=True),  # gone since: nobody knows
            registered("carl", "2026-07", dif_financiere=True), registered("carl", "2026-10", dif_financiere=True),
        ],
        ft_actions__actions=[{"person": "carl", "date_prescription": day(9, 1)}],
    )  # fmt: skip
    assert network.count("emploi_freins_declares_suivis", ARDENNES) == 3
    assert network.terms("emploi_part_freins_leves", ARDENNES) == (1, 3)
    assert network.terms("emploi_part_freins_leves", ARDENNES, "MOBILITE") == (1, 1)
    assert network.terms("emploi_part_freins_traites", ARDENNES) == (1, 3)


def test_counts_of_cells_are_added_and_their_properties_are_not(compute: Compute) -> None:
    cell = {"c_territoire_id": "CLPE08001", "categorie_statistique": "A", "defm": 40, "diag": True, "sexe": "2"}
    network = compute(
        "emploi_inscrits_categories", "emploi_part_diagnostiques", "emploi_part_frein_diagnostic",
        ft_diagnosis__diagnostics=[
            cell | {"n_nbcontraintesactives": 3, "contrainte_mobilite": 40},
            cell | {"diag": False, "defm": 50, "n_nbcontraintesactives": 0},
            cell | {"categorie_statistique": "G", "defm": 10, "n_nbcontraintesactives": 0},
        ],
    )  # fmt: skip
    assert network.count("emploi_inscrits_categories", "FR") == 100
    assert network.count("emploi_inscrits_categories", "FR", "CATEGORIE_G") == 10
    assert network.terms("emploi_part_diagnostiques", "FR") == (50, 100)
    assert network.terms("emploi_part_frein_diagnostic", "FR") == (40, 50)  # forty persons, not three


def test_identifiable_for_insertion_structures_is_on_the_criteria_at_hand(compute: Compute) -> None:
    rows = siae(statements=[statement("fay", 30, emi_pph_id=6, emi_ctr_id=6)])
    network = compute(
        "emploi_reperables_iae",
        **rows,
        ft_spie__demandeurs=[
            {"person": "anne", "brsa": True}, {"person": "bill", "inscription": day(9, 1, 2024)},
            {"person": "carl", "inscription": day(9, 1, 2025), "person_age": 52, "dif_transport": True},  # three of 2
            {"person": "dora", "inscription": day(9, 1, 2025), "person_age": 52},
            {"person": "emil"}, {"person": "fay", "brsa": True},  # already works in one
        ],
    )  # fmt: skip
    assert network.count("emploi_reperables_iae", ARDENNES) == 3


# -- departments -------------------------------------------------------------------------------------------------


def pathway(person: str, **given: object) -> Row:
    row = {"person": person, "_partner": "dep-08", "orientation_status": "DECIDE", "orientation_body": "CD"}
    return row | {"rsa_application_date": day(5, 1), "rights_opening_date": day(5, 1)} | given


def test_a_contract_that_ended_is_not_in_force(compute: Compute) -> None:
    oriented = {"orientation_date": day(6, 1)}
    network = compute(
        "rsa_contrats_en_cours", "rsa_part_contrats_valides", "rsa_contrats_a_renouveler", "rsa_contrats_echus",
        "rsa_orientes_decides",
        department_pathways__parcours=[
            pathway("anne", cer_signed_on=day(6, 5), cer_start_date=day(6, 5), cer_end_date=day(10, 31), **oriented),
            pathway("bill", cer_signed_on=day(6, 5), cer_start_date=day(6, 5), cer_end_date=day(10, 30), **oriented),
            pathway("carl", cer_signed_on=day(6, 5), cer_start_date=day(6, 5), cer_end_date=day(12, 4), **oriented),
            pathway("dora", cer_signed_on=day(9, 5), orientation_body="FT", **oriented),  # no term
            pathway("emil", orientation_date=day(6, 1), orientation_status="PRECONISE"),
        ],
    )  # fmt: skip
    assert network.count("rsa_contrats_en_cours", COUNCIL) == 3
    assert network.count("rsa_contrats_en_cours", COUNCIL, "M_LT6") == 1  # 5 June to 31 October
    assert network.count("rsa_contrats_en_cours", COUNCIL, "INCONNU") == 1
    assert network.terms("rsa_part_contrats_valides", COUNCIL) == (2, 3)  # outside the employment service
    assert network.count("rsa_contrats_a_renouveler", COUNCIL) == 1
    assert network.count("rsa_contrats_echus", COUNCIL) == 1
    assert network.count("rsa_orientes_decides", COUNCIL, "CD") == 3


def test_the_contract_clock_starts_at_the_notification_and_again_with_a_new_orientation(compute: Compute) -> None:
    september = {"orientation_date": day(9, 1), "orientation_notified_on": day(9, 10)}
    august = {"orientation_date": day(8, 1), "orientation_notified_on": day(8, 10)}
    network = compute(
        "rsa_part_contrat_mois_notification", "rsa_part_contrat_deux_mois",
        department_pathways__parcours=[
            pathway("anne", cer_signed_on=day(10, 10), **september),  # one month, from date to date
            pathway("bill", cer_signed_on=day(10, 11), **september),
            pathway("carl", orientation_date=day(3, 1), cer_signed_on=day(3, 9)), pathway("carl", **september),
            pathway("dora", **september),
            pathway("emil", cer_signed_on=day(10, 9), **august), pathway("fay", cer_signed_on=day(10, 10), **august),
            pathway("gus", **august),
        ],
    )  # fmt: skip
    assert network.terms("rsa_part_contrat_mois_notification", COUNCIL) == (1, 4)
    assert network.terms("rsa_part_contrat_deux_mois", COUNCIL) == (1, 3)  # two months exactly are not « moins de »


def test_only_changes_across_the_employment_service_are_reorientations(compute: Compute) -> None:
    moved = {"orientation_date": day(10, 6), "reorientation_date": day(10, 6)}
    network = compute(
        "rsa_reorientations",
        department_pathways__parcours=[
            pathway("anne", previous_orientation_body="FT", **moved),  # to the department
            pathway("bill", orientation_body="ML", previous_orientation_body="CCAS", **moved),
            pathway("carl", orientation_body="ML", previous_orientation_body="FT", **moved),  # inside it
            pathway("dora", previous_orientation_body="FT", **moved | {"reorientation_date": day(9, 6)}),
        ],
    )  # fmt: skip
    assert network.count("rsa_reorientations", COUNCIL) == 2
    assert network.count("rsa_reorientations", COUNCIL, "SPE_VERS_HORS_SPE") == 1


def test_the_mean_delay_starts_at_the_application_and_takes_the_first_orientation(compute: Compute) -> None:
    network = compute(
        "rsa_delai_moyen_orientation_demande",
        department_pathways__parcours=[
            pathway("anne", rsa_application_date=day(9, 1), orientation_date=day(10, 1)),
            pathway("bill", rsa_application_date=day(9, 11), orientation_date=day(10, 1)),
            pathway("carl", orientation_date=day(6, 1)), pathway("carl", orientation_date=day(10, 1)),  # not the first
        ],
    )  # fmt: skip
    assert network.terms("rsa_delai_moyen_orientation_demande", COUNCIL) == (50, 2)


def test_a_median_with_those_who_wait_is_kaplan_and_meiers(compute: Compute) -> None:
    april = day(4, 1)

    def entered(person: str, waited: int | None) -> Row:
        return listed(
            person, rights_opening_date=april, orientation_date=None if waited is None else date.fromordinal(
                april.toordinal() + waited
            ),
        )  # fmt: skip

    rows = [entered(f"p{rank}", rank) for rank in range(1, 16)] + [entered(f"w{rank}", None) for rank in range(9)]
    network = compute("rsa_delai_median_orientation", department_list__beneficiaires=rows)
    cell = network.cell("rsa_delai_median_orientation", COUNCIL)
    assert cell is not None
    # 24 entered, the twelfth was oriented on day 12; the mean of the oriented, 8 days, forgets the nine who wait
    assert (cell["value"], cell["status"], cell["contributors"]) == (12, "published", 24)


def test_the_median_to_a_contract_starts_at_the_orientation(compute: Compute) -> None:
    oriented = {"rights_opening_date": day(1, 5), "orientation_date": day(4, 1)}
    rows = [listed(f"p{rank}", cer_signed_on=day(4, 1 + rank), **oriented) for rank in range(1, 13)]  # 1 to 12 days
    rows += [listed(f"w{rank}", **oriented) for rank in range(10)]
    rows += [listed("early", cer_signed_on=day(3, 1), **oriented)]  # an earlier contract: still waits
    rows += [listed("late", orientation_date=day(5, 1), cer_signed_on=day(5, 2))]  # another cohort
    cell = compute("rsa_delai_median_contrat", department_list__beneficiaires=rows).cell(
        "rsa_delai_median_contrat", COUNCIL
    )
    assert cell is not None
    assert (cell["value"], cell["status"], cell["contributors"]) == (
        12,
        "published",
        23,
    )  # 12 of 23 have signed by then


def test_a_median_that_most_still_wait_for_is_not_available(compute: Compute) -> None:
    rows = [listed(f"p{rank}", rights_opening_date=day(4, 1)) for rank in range(15)]
    rows += [listed(f"o{rank}", rights_opening_date=day(4, 1), orientation_date=day(5, 1)) for rank in range(14)]
    cell = compute("rsa_delai_median_orientation", department_list__beneficiaires=rows).cell(
        "rsa_delai_median_orientation", COUNCIL
    )
    assert cell is not None
    assert (cell["value"], cell["status"]) == (None, "ND")


def test_dropping_out_is_told_by_the_delay_of_orientation(compute: Compute) -> None:
    entered = {"rights_opening_date": day(4, 1)}
    seen = {"last_appointment_status": "seen", "last_appointment_date": day(9, 1)}
    network = compute(
        "rsa_part_decrochage", "rsa_entrants_en_attente",
        department_list__beneficiaires=[
            listed("anne", orientation_date=day(4, 20), **entered, **seen),
            listed("bill", orientation_date=day(4, 20), **entered),
            listed("carl", orientation_date=day(8, 20), **entered, **seen | {"last_appointment_status": "noshow"}),
            listed("dora", orientation_date=day(4, 20), support_end_date=day(9, 9), **entered),  # ended, not lost
            listed("emil", **entered), listed("fay", rights_opening_date=day(9, 1)),
        ],
    )  # fmt: skip
    assert network.terms("rsa_part_decrochage", COUNCIL) == (2, 3)
    assert network.terms("rsa_part_decrochage", COUNCIL, "D0T29") == (1, 2)
    assert network.terms("rsa_part_decrochage", COUNCIL, "D_GE90") == (1, 1)
    assert network.count("rsa_entrants_en_attente", COUNCIL) == 1  # fay; emil entered six months ago


def appointment(person: str, held: date, status: str = "seen", **given: object) -> Row:
    row = {"person": person, "_partner": "dep-08", "appointment_date": held, "appointment_status": status}
    return row | {"appointment_reason": "RSA orientation", "created_on": day(8, 3)} | given


def test_autonomy_counts_the_invited_once_whatever_their_appointments(compute: Compute) -> None:
    invited = {"first_invitation_date": day(9, 1)}
    network = compute(
        "rsa_taux_autonomie", "rsa_delai_moyen_prise_rdv", "rsa_part_venus_orientation",
        department_appointments__rendez_vous=[
            appointment("anne", day(9, 20), is_self_booked=True, booked_on=day(9, 11), **invited),
            appointment("anne", day(10, 20), is_self_booked=True, booked_on=day(10, 1), **invited),
            appointment("bill", day(9, 20), "noshow", booked_on=day(9, 21), **invited),
            appointment("carl", day(9, 20), is_self_booked=True),  # convoked, never invited
        ],
    )  # fmt: skip
    assert network.terms("rsa_taux_autonomie", COUNCIL) == (1, 2)
    assert network.terms("rsa_delai_moyen_prise_rdv", COUNCIL) == (30, 2)  # 10 days and 20 days
    assert network.terms("rsa_part_venus_orientation", COUNCIL) == (1, 2)


def test_supported_in_thirty_days_keeps_those_who_never_came(compute: Compute) -> None:
    support = {"appointment_reason": "RSA accompagnement"}
    network = compute(
        "rsa_part_accompagnes_30j", "rsa_part_rdv_orientation_45j",
        department_appointments__rendez_vous=[
            appointment("anne", day(8, 10)), appointment("anne", day(9, 8), **support),  # 29 days
            appointment("bill", day(8, 10)), appointment("bill", day(9, 9), **support),  # 30 days: excluded
            appointment("carl", day(8, 10)), appointment("carl", day(9, 1), "noshow", **support),
            appointment("dora", day(8, 10)), appointment("dora", day(8, 4), **support),  # before: no success
            appointment("emil", day(10, 10)), appointment("emil", day(10, 11), **support),  # not mature
        ],
    )  # fmt: skip
    assert network.terms("rsa_part_accompagnes_30j", COUNCIL) == (1, 4)
    assert network.terms("rsa_part_rdv_orientation_45j", COUNCIL) == (4, 5)


def test_both_terms_are_counted_only_where_both_files_came(compute: Compute) -> None:
    here, there = {"person_residence": "FR-COM-52121", "_partner": "dep-52"}, {}
    network = compute(
        "rsa_part_orientes", missing=[("dep-52", "department_list")],
        cnaf_vrsb0801__personnes=[flow("anne", **here), flow("bill", **here), flow("carl", **there), flow("dora")],
        department_list__beneficiaires=[listed("carl", orientation_type="pro", orientation_date=day(5, 1))],
    )  # fmt: skip
    # two beneficiaries of a department whose list is missing would look like two who wait
    assert network.terms("rsa_part_orientes", GRAND_EST) == (1, 2)
    region, department = network.cell("rsa_part_orientes", GRAND_EST), network.cell("rsa_part_orientes", "FR-DEP-52")
    assert region is not None
    assert department is not None
    assert department["status"] == "NR"
    assert region["coverage"] < 1


def test_beneficiaries_are_told_by_payer(compute: Compute) -> None:
    network = compute(
        "rsa_beneficiaires", cnaf_vrsb0801__personnes=[flow("anne"), flow("bill"), flow("carl", fonorg="MSA")]
    )
    assert [network.count("rsa_beneficiaires", ARDENNES, payer) for payer in ("CAF", "MSA")] == [2, 1]


# -- insertion structures ----------------------------------------------------------------------------------------


def test_a_structure_of_two_networks_counts_once_in_all_and_once_in_each(compute: Compute) -> None:
    network = compute(
        "siae_structures", "siae_etp_conventionnes", "siae_etp_non_utilises", "siae_etp_realises_reseaux",
        **siae([statement("anne", 182)], amendments=[amendment(), amendment(2, kind="AI_DC", posts=1.0)]),
    )  # fmt: skip
    assert network.count("siae_structures", ARDENNES) == 1  # two annexes, one structure
    assert network.count("siae_structures", GRAND_EST, "emmaus") == 1
    assert network.count("siae_structures", GRAND_EST, "federation_entreprises_insertion") == 1
    assert network.count("siae_etp_conventionnes", GRAND_EST, "emmaus") == 5
    assert network.count("siae_etp_realises_reseaux", GRAND_EST) == pytest.approx(1.2)
    both = [
        network.count("siae_etp_realises_reseaux", GRAND_EST, one)
        for one in ("emmaus", "federation_entreprises_insertion", "coorace")
    ]
    assert both == [pytest.approx(1.2), pytest.approx(1.2), 0]  # in each network, once in all
    assert network.count("siae_etp_non_utilises", ARDENNES) == pytest.approx(3.8)  # 4 - 1.2, and 1 unused


def test_the_aid_of_a_month_is_shared_between_state_and_council(compute: Compute) -> None:
    annex = amendment(
        af_montant_unitaire_annuel_id=13, af_montant_total_annuel=96000.0, af_mt_cofinance=24000.0
    )  # fmt: skip
    rows = siae(statements=[statement("anne", 10)], amendments=[annex])
    rows["fluxiae__ref_montant_iae"] = [*rows["fluxiae__ref_montant_iae"], {"rmi_id": 13, "rmi_valeur": 24000.0}]
    network = compute("siae_aide_etat", "siae_aide_conseils", **rows)
    assert network.count("siae_aide_etat", ARDENNES) == 6000  # 4 posts x 24 000 / 12 = 8 000, three quarters of it
    assert network.count("siae_aide_conseils", ARDENNES) == 2000


def test_receipts_are_those_of_the_row_created_last_of_each_annex_in_force(compute: Compute) -> None:
    network = compute(
        "siae_recettes",
        **siae(amendments=[
            amendment(), amendment(version=1),  # an amendment does not bring receipts twice
            amendment(2, kind="AI_DC"), amendment(3, af_date_fin_effet=day(9, 30)),
        ]),
        fluxiae__marches_publics=[
            {"mpu_af_id": 1, "mpu_date_creation": day(2, 1), "mpu_sct_mt_recet_btp": 90_000.0},  # replaced, whole
            {"mpu_af_id": 1, "mpu_date_creation": day(6, 1), "mpu_sct_mt_recet_agri": 1000.5,
             "mpu_sct_mt_recet_autres": 200.0},
            {"mpu_af_id": 2, "mpu_date_creation": day(6, 1), "mpu_sct_mt_recet_agri": 40.0},
            {"mpu_af_id": 3, "mpu_date_creation": day(6, 1), "mpu_sct_mt_recet_agri": 7.0},  # ended in September
        ],
    )  # fmt: skip
    assert network.count("siae_recettes", ARDENNES) == 1240.5
    assert [network.count("siae_recettes", ARDENNES, one) for one in ("AGRI", "AUTRES", "BTP")] == [1040.5, 200, 0]
    assert network.count("siae_recettes", GRAND_EST, "AI") == 40
    cell = network.cell("siae_recettes", ARDENNES)
    assert cell is not None
    assert cell["contributors"] == 1  # one structure stands behind both annexes


def test_who_is_helped_with_a_barrier_is_concerned_even_when_fewer_are_declared(compute: Compute) -> None:
    def support(number: int, barrier: str, concerned: int, *helped: int, changed: date = date(2026, 9, 30)) -> Row:
        names = ("int", "ext", "int_ext")
        counts = {f"acc_dif_nb_sal_{how}_{barrier}": some for how, some in zip(names, helped, strict=False)}
        row = {"acc_id": number, "acc_afi_id": 1, "acc_date_modification": changed}
        return row | {f"acc_dif_nb_sal_conc_{barrier}": concerned} | counts

    latest = support(2, "mobilite", 40, 10, 5, 1) | support(2, "heberg", 2, 3, 4) | support(2, "sante", 9, 9)
    network = compute(
        "siae_part_freins_accompagnes",
        **siae(amendments=[amendment(), amendment(version=1)]),
        fluxiae__accompagnement=[support(1, "mobilite", 90, 80, changed=day(3, 1)), latest],
    )
    code = "siae_part_freins_accompagnes"
    assert network.terms(code, ARDENNES, "MOBILITE") == (16, 40)
    assert network.terms(code, ARDENNES, "HEBERGEMENT") == (7, 7)  # two declared, seven helped
    assert network.cell(code, ARDENNES, "HEBERGEMENT")["status"] == "PS"  # type: ignore[index]
    assert network.terms(code, ARDENNES) == (23, 47)  # health is not conformed to an indicator
    assert network.cell(code, ARDENNES)["value"] == 48.9  # type: ignore[index]


def test_a_recruitment_is_the_first_contract_of_a_chain_with_hours(compute: Compute) -> None:
    def contract(person: str, number: int, hired: date, rank: int = 0) -> Row:
        return {
            "person": person, "contrat_id_structure": 1, "contrat_mesure_disp_code": "ACI_DC", "contrat_id_pph": number,
            "contrat_id_ctr": 10 * number + rank, "contrat_date_embauche": hired, "contrat_type_contrat": rank,
        }  # fmt: skip

    network = compute("siae_recrutements", **siae(
        statements=[
            statement("anne", 20, emi_ctr_id=10), statement("bill", 20, emi_pph_id=2, emi_ctr_id=21),
            statement("carl", 0, emi_pph_id=3, emi_ctr_id=30),
        ],
        contracts=[
            contract("anne", 1, day(10, 5)), contract("bill", 2, day(4, 5)), contract("bill", 2, day(10, 5), 1),
            contract("carl", 3, day(10, 5)),
        ],
    ))  # fmt: skip
    assert network.count("siae_recrutements", ARDENNES) == 1  # bill's is a renewal, carl never worked


def test_the_year_so_far_is_hours_over_a_full_year(compute: Compute) -> None:
    rows = siae(statements=[statement("anne", 91, f"2026-{month:02d}") for month in (1, 5, 10)] +
                [statement("anne", 91, "2025-12")])  # fmt: skip
    rows["fluxiae__etat_mensuel_indiv"] = [
        *rows["fluxiae__etat_mensuel_indiv"],
        statement("bill", 0.5, "2026-02", emi_pph_id=2, emi_ctr_id=2),  # half an hour is not work
        statement("carl", 91, "2025-11", emi_pph_id=3, emi_ctr_id=3),  # last year
        statement("dora", 91, "2026-03", emi_pph_id=4, emi_ctr_id=4),
        statement("dora", 0, "2026-04", emi_pph_id=5, emi_ctr_id=5),
    ]
    network = compute("siae_etp_realises_cumul", "siae_salaries_annee", **rows)
    assert network.count("siae_etp_realises_cumul", ARDENNES) == pytest.approx(
        0.200275
    )  # 364.5 hours of 1 820, row by row
    assert network.count("siae_salaries_annee", ARDENNES) == 2  # anne in three months is one person, and dora


def test_the_profile_is_the_contracts_and_education_is_joined_by_its_own_code(compute: Compute) -> None:
    contract = {
        "contrat_id_ctr": 1, "contrat_id_pph": 1, "contrat_salarie_pe_duree_code": "04", "contrat_salarie_rqth": True,
        "contrat_niveau_de_formation_code": "50", "contrat_niveau_de_formation_id": 40,  # the id is not a level
    }  # fmt: skip
    network = compute("siae_salaries", "siae_salaries_rqth", **siae(
        statements=[statement("anne", 80)], contracts=[contract],
    ), fluxiae__salarie=[{"salarie_id": 1, "salarie_adr_qpv_type": "QP"}])  # fmt: skip
    assert [network.count("siae_salaries", "FR", one) for one in ("DETLD", "QPV", "CAP_BEP")] == [1, 1, 1]
    assert network.cell("siae_salaries", ARDENNES, "DETLD") is None  # from the region up
    assert network.count("siae_salaries_rqth", GRAND_EST) == 1
    assert network.cell("siae_salaries_rqth", ARDENNES) is None


def test_an_objective_is_reached_by_an_annex_on_its_own_exits(compute: Compute) -> None:
    january, september = day(1, 5), day(9, 25)
    rows = exits(
        ("anne", "ACI", 100, 101, january, september), ("bill", "ACI", 100, 104, january, september),
        ("carl", "AI", 200, 101, january, september),
    )  # fmt: skip
    codes = ("siae_part_objectif_atteint", "siae_taux_sorties_dynamiques_avec_objectif", "siae_part_passages_siae")
    network = compute(*codes, **rows)
    assert network.terms("siae_part_objectif_atteint", ARDENNES) == (1, 2)  # ACI 50 % under 60 %; AI 100 %
    assert network.terms("siae_taux_sorties_dynamiques_avec_objectif", ARDENNES) == (2, 3)
    assert network.terms("siae_part_passages_siae", ARDENNES) == (0, 3)


def test_the_network_counts_the_last_exit_of_a_person_and_passages_apart(compute: Compute) -> None:
    codes = ("siae_sorties_observees", "siae_taux_sorties_dynamiques", "siae_sorties_reseau",
             "siae_taux_sorties_dynamiques_reseau", "siae_part_passages_siae")  # fmt: skip
    rows = exits(
        ("anne", "ACI", 100, 101, day(1, 5), day(6, 30)), ("anne", "AI", 200, 104, day(7, 1), day(9, 25)),
        ("bill", "ACI", 100, 101, day(1, 5), day(6, 30)), ("bill", "AI", 20, 101, day(7, 1), day(9, 25)),  # 20 hours
        ("carl", "ACI", 100, 102, day(1, 5), day(9, 25)),
        ("dora", "ACI", 100, 103, day(1, 5), day(9, 25)),  # works in another structure in October
    )  # fmt: skip
    rows["siae_monthly__salaries"] = [
        {"person": "dora", "siret": "10009009100016", "annexe_numero": "ACI008260019A0M0", "heures_travaillees": 90.0}
    ]
    network = compute(*codes, **rows)
    # one exit per person and annex: anne twice, bill once (his 20 hours do not count), carl, dora
    assert network.terms("siae_taux_sorties_dynamiques", ARDENNES) == (4, 5)
    # one exit per person, the last that counts: anne's is not dynamic, bill's is that of June; dora has not left
    assert network.count("siae_sorties_reseau", ARDENNES) == 3
    assert network.count("siae_sorties_reseau", ARDENNES, "EMPLOI_DURABLE") == 1
    assert network.terms("siae_taux_sorties_dynamiques_reseau", ARDENNES) == (2, 3)
    assert network.terms("siae_part_passages_siae", ARDENNES) == (1, 4)


def test_trainings_and_immersions_are_what_structures_say(compute: Compute) -> None:
    row = {"siret": "10009009100016", "annexe_numero": "ACI008260019A0M0", "_partner": "siae-09"}
    network = compute(
        "siae_heures_formation", "siae_salaries_pmsmp", "siae_jours_pmsmp",
        siae_monthly__salaries=[
            row | {"person": "anne", "formation_heures": 7.5, "pmsmp_jours": 3.0},
            row | {"person": "bill", "formation_heures": 14.0},
        ],
    )  # fmt: skip
    assert network.count("siae_heures_formation", ARDENNES) == 21.5
    assert network.count("siae_salaries_pmsmp", ARDENNES) == 1
    assert network.count("siae_jours_pmsmp", ARDENNES) == 3


def application(number: int, person: str, applied: date, state: str = "new", **given: object) -> Row:
    row = {"candidature_id": str(number), "person": person, "date_candidature": applied, "etat": state}
    shape = {"type_structure": "ACI", "code_commune_structure": "08362", "siret_structure": "10003003000017"}
    return row | shape | {"origine": "prescripteur_habilite", "type_prescripteur": "FT"} | given


def test_the_delay_to_a_hire_starts_at_the_first_application_of_the_person(compute: Compute) -> None:
    hired = {"date_reponse": day(10, 2), "date_embauche": day(10, 5)}
    network = compute(
        "siae_part_embauche_30j", "siae_delai_candidature_embauche", "siae_taux_auto_prescription",
        emplois_applications__candidatures=[
            application(1, "anne", day(6, 1), "refused", date_reponse=day(6, 20)),
            application(2, "anne", day(9, 25), "accepted", **hired),  # 126 days since the first, not 10
            application(3, "bill", day(9, 10), "accepted", siret_auteur_diagnostic="10003003000017", **hired),
            application(4, "carl", day(9, 5), "accepted", **hired),  # day 30: excluded
            application(5, "dora", day(9, 25), "accepted", envoyee_par_employeur=True, **hired),
            application(6, "emil", day(9, 25), "accepted", reprise_ai=True, **hired),
        ],
    )  # fmt: skip
    assert network.terms("siae_part_embauche_30j", ARDENNES) == (1, 3)
    assert network.count("siae_delai_candidature_embauche", ARDENNES) == 30
    assert network.terms("siae_taux_auto_prescription", ARDENNES) == (1, 4)


def test_an_automatic_refusal_is_not_a_structures_refusal(compute: Compute) -> None:
    network = compute(
        "siae_taux_refus", "siae_taux_refus_automatique", "siae_prescriptions", "siae_candidatures",
        "siae_candidats_sans_solution", "siae_part_reponse_30j",
        emplois_applications__candidatures=[
            application(1, "anne", day(8, 1), "refused", date_reponse=day(8, 20), motif_refus="no_position"),
            application(2, "bill", day(8, 1), "refused", date_reponse=day(10, 1), refus_automatique=True),
            application(3, "carl", day(8, 9)), application(4, "carl", day(10, 9), origine="candidat"),
            application(5, "dora", day(10, 9)),
        ],
    )  # fmt: skip
    assert network.terms("siae_taux_refus", ARDENNES) == (1, 5)
    assert network.terms("siae_taux_refus_automatique", ARDENNES) == (1, 5)
    assert network.count("siae_candidatures", ARDENNES) == 2
    assert network.count("siae_prescriptions", "FR", "FT") == 1
    assert network.count("siae_candidats_sans_solution", ARDENNES) == 1  # dora has waited 22 days
    assert network.terms("siae_part_reponse_30j", ARDENNES) == (1, 3)


def test_passes_and_posts_are_those_of_the_end_of_the_month(compute: Compute) -> None:
    held = {"nature": "PASS", "code_commune_structure": "08362", "date_debut": day(1, 1), "date_fin": day(12, 31)}
    post = {"type_structure": "ACI", "code_commune_structure": "08362", "recrutement_ouvert": True}
    network = compute(
        "siae_pass_valides", "siae_pass_suspendus", "siae_postes_ouverts_30j",
        emplois_applications__pass_iae=[
            held | {"person": "anne"}, held | {"person": "bill", "suspendu": True},
            held | {"person": "carl", "date_fin": day(10, 30)}, held | {"person": "dora", "nature": "AGREMENT"},
        ],
        emplois_applications__postes=[
            post | {"poste_id": "1", "ouvert_depuis": day(9, 30), "postes_ouverts": 3},  # 31 days
            post | {"poste_id": "2", "ouvert_depuis": day(10, 1)},  # 30 days
            post | {"poste_id": "3", "ouvert_depuis": day(5, 1), "recrutements": 1},
            post | {"poste_id": "4", "ouvert_depuis": day(5, 1), "ferme_le": day(10, 10)},
        ],
    )  # fmt: skip
    assert network.count("siae_pass_valides", ARDENNES) == 2
    assert network.count("siae_pass_suspendus", ARDENNES) == 1
    assert network.count("siae_postes_ouverts_30j", ARDENNES) == 3


def test_employment_after_an_exit_is_the_newest_quarter_old_enough(compute: Compute) -> None:
    cell = {"type_siae": "ACI", "zone_emploi": "4401", "sexe": "2", "mois_apres_sortie": 6}
    network = compute(
        "siae_part_emploi_3_mois", "siae_part_emploi_6_mois", "siae_part_emploi_12_mois",
        dsn_outcomes__sorties=[
            cell | {"trimestre_sortie": "2026-T1", "personnes_en_emploi": 45, "personnes_sans_emploi": 55},
            cell | {"trimestre_sortie": "2025-T4", "personnes_en_emploi": 90, "personnes_sans_emploi": 10},
            cell | {"trimestre_sortie": "2026-T2", "personnes_en_emploi": 9, "personnes_sans_emploi": 1},  # too recent
            cell | {"trimestre_sortie": "2026-T2", "mois_apres_sortie": 3, "personnes_en_emploi": 30,
                    "personnes_sans_emploi": 50},
            cell | {"trimestre_sortie": "2025-T3", "mois_apres_sortie": 12, "personnes_en_emploi": 52,
                    "personnes_sans_emploi": 28},
            cell | {"trimestre_sortie": "2025-T4", "mois_apres_sortie": 12, "personnes_en_emploi": 70,
                    "personnes_sans_emploi": 1},  # twelve months end in December
        ],
    )  # fmt: skip
    assert network.terms("siae_part_emploi_3_mois", "FR") == (30, 80)
    assert network.terms("siae_part_emploi_12_mois", "FR") == (52, 80)
    assert network.terms("siae_part_emploi_6_mois", "FR") == (45, 100)
    assert network.terms("siae_part_emploi_6_mois", "FR-ZE-4401") == (45, 100)


# -- the network -------------------------------------------------------------------------------------------------


def followed(person: str, month: str, contact: date, **given: object) -> Row:
    return {"person": person, "_month": month, "struct_principale": "SEDAN", "der_entretien": contact} | given


RUPTURES: list[Row] = [
    followed("anne", "2026-07", day(7, 5)),  # nobody since, nobody says why
    followed("bill", "2026-07", day(7, 5)), followed("bill", "2026-09", day(9, 5)),
    followed("carl", "2026-07", day(7, 5)), followed("carl", "2026-10", day(10, 5)),  # followed again
    followed("dora", "2026-07", day(7, 5)),  # left for a stated reason
]  # fmt: skip


def test_a_rupture_has_no_reason_and_nobody_for_three_months(compute: Compute) -> None:
    network = compute(
        "reseau_ruptures", "reseau_part_ruptures", "reseau_reprises",
        ft_spie__demandeurs=RUPTURES,
        ft_registrations__cessations=[
            {"person": "dora", "date": day(9, 9), "motif": "Reprise d'emploi", "_month": "2026-09"}
        ],
    )  # fmt: skip
    assert network.count("reseau_ruptures", ARDENNES) == 1
    assert network.terms("reseau_part_ruptures", ARDENNES) == (1, 4)
    assert network.count("reseau_reprises", ARDENNES) == 1


def test_a_rupture_is_said_only_where_every_file_of_the_months_is_in(compute: Compute) -> None:
    network = compute(
        "reseau_ruptures", missing=[("dep-08", "department_list")],
        ft_spie__demandeurs=[*RUPTURES, followed("zoe", "2026-07", day(7, 5), person_residence="FR-COM-52121")],
    )  # fmt: skip
    assert network.count("reseau_ruptures", ARDENNES) == 0
    assert network.count("reseau_ruptures", GRAND_EST) == 1  # zoe, in a department whose files are all in


def test_a_passage_goes_from_the_last_family_to_the_one_that_begins(compute: Compute) -> None:
    seen = {"orientation_type": "pro", "last_appointment_status": "seen"}
    network = compute(
        "reseau_passages", "reseau_delai_median_passages",
        department_list__beneficiaires=[
            listed("anne", _month="2026-06", last_appointment_date=day(6, 1), **seen),
            listed("bill", _month="2026-09", last_appointment_date=day(9, 1), **seen),
        ],
        ft_spie__demandeurs=[
            followed("anne", "2026-10", day(10, 1)),
            followed("bill", "2026-09", day(9, 1)), followed("bill", "2026-10", day(9, 1)),  # already followed
            followed("carl", "2026-10", day(10, 1)),  # for the first time
        ],
    )  # fmt: skip
    assert network.count("reseau_passages", ARDENNES) == 1
    assert network.count("reseau_passages", "FR", "department>employment_service") == 1
    delay = network.cell("reseau_delai_median_passages", "FR")
    assert delay is not None
    assert delay["numerator"] == 120  # four months, from June to October


def test_a_caseload_is_a_distribution_over_referents_of_a_council(compute: Compute) -> None:
    def followed(referent: str, count: int, **given: object) -> list[Row]:
        return [
            listed(f"{referent}{number}", referent_pseudonym=referent, orientation_date=day(3, 1)) | given
            for number in range(count)
        ]

    decided = {"orientation_status": "DECIDE", "orientation_date": day(3, 1)}
    moved = [
        listed("a0", referent_pseudonym="b", **decided),  # the list says a, the pathway b
        listed("f0", referent_pseudonym="e", **decided | {"orientation_status": "PRECONISE"}),  # not decided
        listed("f1", referent_pseudonym="e", **decided, pathway_end_date=day(9, 1)),  # ended
    ]
    network = compute(
        "reseau_charge_mediane_departement", "reseau_part_referents_charges_departement",
        department_pathways__parcours=moved,
        department_list__beneficiaires=[
            *followed("a", 3), *followed("b", 1), *followed("c", 51), *followed("d", 50), *followed("e", 9),
            *followed("a", 1),  # the same person again
            *followed("g", 4, support_end_date=day(9, 30)),  # followed no more
            *followed("h", 4, referent_pseudonym=None),
            *followed("z", 7, _partner="dep-52"),  # the only referent of another council
        ],
    )  # fmt: skip
    # a follows 2, b 2, c 51, d 50, e 9
    assert network.terms("reseau_charge_mediane_departement", COUNCIL) == (9, None)
    assert network.terms("reseau_part_referents_charges_departement", COUNCIL) == (1, 5)
    alone = network.cell("reseau_charge_mediane_departement", "FR-CON-52")
    assert alone is not None
    assert (alone["status"], alone["numerator"]) == ("PS", None)
    assert network.cell("reseau_part_referents_charges_departement", "FR-CON-52")["status"] == "PS"  # type: ignore[index]


def test_advisers_of_two_countries_stand_side_by_side(compute: Compute) -> None:
    network = compute(
        "reseau_charge_mediane_service_emploi",
        "reseau_part_conseillers_charges_service_emploi",
        ft_spie__demandeurs=[
            {"person": f"{adviser}{number}", "referent_pseudonym": adviser, "categorie_inscription": "1"}
            for adviser, count in (("a", 4), ("b", 5), ("c", 6), ("d", 50), ("e", 51))
            for number in range(count)
        ],
        forem_jobseekers__demandeurs=[
            {"person": f"w{number}", "referent_pseudonym": "w", "categorie": "DEDA"} for number in range(60)
        ],
    )
    assert network.terms("reseau_charge_mediane_service_emploi", "FR") == (6, None)
    assert network.terms("reseau_charge_mediane_service_emploi", "BE") == (None, None)  # one adviser is no distribution
    # fifty are not more than fifty; the adviser of the other country is in neither term
    assert network.terms("reseau_part_conseillers_charges_service_emploi", "FR") == (1, 5)
    assert network.terms("reseau_part_conseillers_charges_service_emploi", "BE") == (1, 1)


def test_an_earlier_registration_is_told_apart_from_none(compute: Compute) -> None:
    network = compute(
        "rsa_situation_service_emploi",
        cnaf_vrsb0801__personnes=[flow("anne"), flow("bill"), flow("carl"), flow("dora", "5")],
        ft_spie__demandeurs=[{"person": "anne"}, {"person": "bill", "_month": "2026-05"}],
    )
    statuses = ("INSCRIT", "INSCRIT_ANTERIEUREMENT", "JAMAIS_TROUVE")
    assert [network.count("rsa_situation_service_emploi", ARDENNES, one) for one in statuses] == [1, 1, 1]


def test_rejected_lines_are_a_share_of_the_lines_that_speak(compute: Compute) -> None:
    account = {"space": "fr", "partner": "dep-08", "source": "department_list", "lines": 103}
    account |= {"accepted": 98, "rejected": 2}
    flow_of_payers = account | {"source": "cnaf_vrsb0801", "accepted": 300, "rejected": 0}
    network = compute(
        "reseau_part_lignes_rejetees", "reseau_part_identites_incertaines",
        accounts=[
            account | {"records": 95, "uncertain_records": 3},
            account | {"lines": 10, "accepted": 10, "rejected": 0},  # a second file: its records are told once
            flow_of_payers | {"records": 250, "uncertain_records": 9},
            flow_of_payers | {"source": "fluxiae"},  # no record of a person
        ],
    )  # fmt: skip
    assert network.terms("reseau_part_lignes_rejetees", "FR") == (2, 710)
    assert network.terms("reseau_part_identites_incertaines", "FR") == (12, 345)
