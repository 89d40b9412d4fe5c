"""Indicators on inputs that are rare and valid: short months, turns of the year, a person in two places at once."""

from __future__ import annotations

from datetime import date

from insertion_pipeline.month import Month
from insertion_pipeline_tests.indicator_rows import (
    ARDENNES,
    COUNCIL,
    GRAND_EST,
    HAUTE_MARNE,
    RETHEL,
    Compute,
    Row,
    day,
    exits,
    flow,
    listed,
    siae,
    statement,
    work,
)


def test_three_months_are_three_calendar_months_even_when_the_last_one_is_short(compute: Compute) -> None:
    before, within = date(2025, 11, 30), date(2025, 12, 1)  # 28 February less three months is 28 November
    seen = {"orientation_type": "pro", "last_appointment_status": "seen"}
    network = compute(
        "reseau_personnes_accompagnees", "reseau_personnes_connues",
        month=Month(2026, 2),
        department_list__beneficiaires=[
            listed("anne", last_appointment_date=before, **seen), listed("bill", last_appointment_date=within, **seen),
            listed("carl", orientation_type="pro", cer_signed_on=before),
        ],
        ft_spie__demandeurs=[
            {"person": "dora", "struct_principale": "SEDAN", "der_entretien": before},
            {"person": "emil", "struct_principale": "SEDAN", "der_entretien": within},
        ],
    )  # fmt: skip
    assert network.count("reseau_personnes_connues", ARDENNES) == 5
    assert network.count("reseau_personnes_accompagnees", ARDENNES) == 2


def test_two_months_to_come_end_with_the_second_of_them(compute: Compute) -> None:
    oriented = {"_partner": "dep-08", "orientation_status": "DECIDE", "orientation_date": date(2025, 9, 1)}
    contract = oriented | {"cer_signed_on": date(2025, 9, 1)}
    network = compute(
        "rsa_contrats_a_renouveler",
        month=Month(2026, 2),
        department_pathways__parcours=[
            contract | {"person": "anne", "cer_end_date": date(2026, 4, 30)},  # 28 February and two months: 28 April
            contract | {"person": "bill", "cer_end_date": date(2026, 5, 1)},
            contract | {"person": "carl", "cer_end_date": date(2026, 2, 28)},  # ends with the month: nothing to come
        ],
    )
    assert network.count("rsa_contrats_a_renouveler", COUNCIL) == 1


def test_who_stands_in_the_list_without_any_orientation_waits_as_who_does_not_stand_there(compute: Compute) -> None:
    network = compute(
        "rsa_sdd_versable", "rsa_orientes", "rsa_en_attente_orientation",
        cnaf_vrsb0801__personnes=[flow(name) for name in ("anne", "bill", "carl", "dora")],
        department_list__beneficiaires=[
            listed("anne", orientation_type="pro", orientation_date=date(2026, 5, 1)),
            listed("bill"),  # known to the department, which has told nothing of her yet
            listed("carl", cer_signed_on=date(2026, 5, 1)),
        ],
    )  # fmt: skip
    assert network.count("rsa_sdd_versable", ARDENNES) == 4
    assert network.count("rsa_orientes", ARDENNES) == 1
    assert network.count("rsa_en_attente_orientation", ARDENNES) == 3


def test_whom_two_councils_pay_counts_once_where_she_lives_and_in_each_of_them(compute: Compute) -> None:
    moved = {"person_residence": RETHEL}
    network = compute(
        "rsa_beneficiaires", "rsa_beneficiaires_conseil", "rsa_sdd_versable",
        "reseau_part_beneficiaires_rsa_non_trouves",
        cnaf_vrsb0801__personnes=[
            flow("anne", "2", **moved), flow("anne", "4", _partner="dep-52", dtdemrsa=day(9, 1), **moved),
            flow("bill", "5", **moved), flow("bill", "3", _partner="dep-52", **moved),  # closed here, open there
            flow("carl"),
        ],
    )  # fmt: skip
    assert network.count("rsa_beneficiaires", ARDENNES) == 3
    assert network.count("rsa_beneficiaires", ARDENNES, "3") == 1
    assert network.count("rsa_sdd_versable", "FR") == 2  # anne's right is payable in one of the two
    assert [network.count("rsa_beneficiaires_conseil", council) for council in (COUNCIL, "FR-CON-52")] == [2, 2]
    assert network.terms("reseau_part_beneficiaires_rsa_non_trouves", ARDENNES) == (3, 3)
    assert network.count("rsa_beneficiaires", HAUTE_MARNE) == 0


def test_an_application_that_waits_for_its_decision_closes_no_right(compute: Compute) -> None:
    network = compute(
        "rsa_beneficiaires", "rsa_sdd_versable",
        cnaf_vrsb0801__personnes=[
            flow("anne", "2"), flow("anne", "0", dtdemrsa=day(10, 20)),
            flow("bill", "4"), flow("bill", "5", dtdemrsa=day(9, 20)),
            flow("carl", "5"), flow("carl", "1", dtdemrsa=day(10, 20)),
        ],
    )  # fmt: skip
    assert network.count("rsa_beneficiaires", ARDENNES) == 2
    assert network.count("rsa_sdd_versable", ARDENNES) == 1


def test_an_exit_in_january_is_judged_by_the_year_worked_before_it(compute: Compute) -> None:
    hired = day(3, 3, 2025)
    rows = exits(("anne", "AI", 10, 101, hired, day(1, 5)), ("bill", "AI", 10, 101, hired, day(1, 5)))
    rows["fluxiae__etat_mensuel_indiv"] = [
        statement(person, hours, month, emi_pph_id=number, emi_ctr_id=number, emi_afi_id=2)
        for number, person, worked in (
            (1, "anne", (("2025-12", 160), ("2026-01", 10))),
            (2, "bill", (("2025-12", 100), ("2026-01", 100))),  # two hundred hours, in no single year 150
        )
        for month, hours in worked
    ]
    network = compute("siae_sorties_observees", month=Month(2026, 1), **rows)
    assert network.count("siae_sorties_observees", ARDENNES) == 1


def test_nobody_begins_where_the_file_of_the_month_before_is_missing(compute: Compute) -> None:
    seen = {"orientation_type": "pro", "last_appointment_status": "seen", "last_appointment_date": day(8, 3)}
    tables = {
        "department_list__beneficiaires": [listed("anne", _month="2026-08", **seen), listed("anne", **seen)],
        "ft_spie__demandeurs": [
            {"person": "anne", "_month": month, "struct_principale": "SEDAN", "der_entretien": day(9, 1)}
            for month in ("2026-09", "2026-10")
        ],
    }
    told = compute("reseau_passages", **tables)
    assert told.count("reseau_passages", ARDENNES) == 1  # the list came without her in September
    untold = compute("reseau_passages", "reseau_ruptures", missing=[("dep-08", "department_list")], **tables)
    for code in ("reseau_passages", "reseau_ruptures"):
        assert untold.count(code, ARDENNES) == 0
        assert untold.cell(code, ARDENNES)["status"] == "NR"  # type: ignore[index]  # nothing was counted: no zero


def test_a_contract_is_awaited_in_the_cohort_of_its_notification(compute: Compute) -> None:
    def decided(person: str, notified: date | None, signed: date | None = None) -> Row:
        return {
            "person": person, "_partner": "dep-08", "orientation_status": "DECIDE", "orientation_date": day(9, 20),
            "orientation_notified_on": notified, "cer_signed_on": signed,
        }  # fmt: skip

    network = compute(
        "rsa_part_contrat_mois_notification",
        department_pathways__parcours=[
            decided("anne", day(9, 25), day(10, 25)),
            decided("bill", day(10, 15)),  # has until 15 November: nobody may say yet that it failed
            decided("carl", None, day(10, 21)),  # one day too late after the orientation
        ],
    )
    assert network.terms("rsa_part_contrat_mois_notification", COUNCIL) == (1, 2)


def test_the_first_orientation_is_the_first_since_the_last_application(compute: Compute) -> None:
    back = {"person": "anne", "_partner": "dep-08", "rsa_application_date": day(9, 1), "orientation_status": "DECIDE"}
    network = compute(
        "rsa_delai_moyen_orientation_demande",
        department_pathways__parcours=[
            back | {"orientation_date": day(3, 1, 2024), "rsa_application_date": day(2, 1, 2024)},  # of an earlier stay
            back | {"orientation_date": day(10, 1)},
        ],
    )
    assert network.terms("rsa_delai_moyen_orientation_demande", COUNCIL) == (30, 1)


def test_an_application_is_told_in_the_state_that_it_had_at_the_end_of_the_month(compute: Compute) -> None:
    def applied(number: int, state: str, **given: object) -> Row:
        return {
            "person": f"p{number}", "candidature_id": f"c{number}", "date_candidature": day(10, 2), "etat": state,
            "siret_structure": "10003003000017", "type_structure": "ACI", "code_commune_structure": "08362",
        } | given  # fmt: skip

    code = "siae_candidatures"
    network = compute(
        code, "siae_taux_refus_automatique", "siae_candidats_sans_solution",
        emplois_applications__candidatures=[
            applied(1, "processing"),
            applied(2, "refused", date_reponse=day(11, 2), date_prise_en_compte=day(10, 9), motif_refus="auto"),
            applied(3, "accepted", date_reponse=day(10, 20)),
            applied(4, "new", date_candidature=day(9, 1)),
            applied(5, "accepted", date_candidature=day(8, 1), date_reponse=day(11, 3)),  # not accepted yet in October
            applied(6, "new", date_candidature=day(9, 1)),
            applied(7, "accepted", person="p6", date_candidature=day(12, 1, 2025), date_reponse=day(1, 5)),  # long ago
            applied(8, "new", date_candidature=day(9, 1)),
            applied(9, "accepted", person="p8", date_candidature=day(9, 3), date_reponse=day(9, 30)),  # since
        ],
    )  # fmt: skip
    assert [network.count(code, GRAND_EST, state) for state in ("processing", "accepted", "new", "refused")] == [
        2, 1, 0, 0,
    ]  # fmt: skip
    assert network.terms("siae_taux_refus_automatique", ARDENNES) == (0, 9)
    assert network.count("siae_candidats_sans_solution", ARDENNES) == 3  # p4, p5, p6


def test_an_employee_of_the_year_has_an_hour_over_all_her_annexes_and_months(compute: Compute) -> None:
    rows = siae(
        statements=[
            statement("anne", 0.5, "2026-02"), statement("anne", 0.5, "2026-03"),
            statement("bill", 0.5, "2026-02", emi_pph_id=2, emi_ctr_id=2),
            statement("bill", 0.5, "2025-12", emi_pph_id=2, emi_ctr_id=2),  # the year before
            statement("carl", 8, "2026-04", emi_pph_id=3, emi_ctr_id=3),
            statement("carl", -8, "2026-05", emi_pph_id=3, emi_ctr_id=3),  # taken back a month later
        ]
    )  # fmt: skip
    assert compute("siae_salaries_annee", **rows).count("siae_salaries_annee", ARDENNES) == 1


def test_a_new_initial_contract_is_a_new_recruitment_and_a_new_stay(compute: Compute) -> None:
    rows = exits(
        ("anne", "ACI", 100, 101, day(1, 5, 2025), day(6, 30, 2025)),
        ("anne", "ACI", 100, 101, day(8, 3), day(9, 25)),  # back after a year, for fifty-three days
        ("bill", "ACI", 100, 101, day(1, 5), day(5, 31)),
        ("bill", "ACI", 100, 101, day(6, 1), day(9, 25)),
    )
    ranks = (0, 0, 0, 1)  # bill's second contract renews the first
    rows["fluxiae__contrat_mission"] = [
        contract | {"contrat_type_contrat": rank}
        for contract, rank in zip(rows["fluxiae__contrat_mission"], ranks, strict=True)
    ]
    network = compute("siae_sorties_observees", **rows)
    assert network.count("siae_sorties_observees", ARDENNES) == 1  # fifty-three days are under the minimum stay
    stays = network.connection.execute("SELECT stay_days FROM siae_exits ORDER BY ALL").fetchall()
    assert stays == [(53,), (263,)]
    again = compute("siae_recrutements", month=Month(2026, 8), **rows | {
        "fluxiae__etat_mensuel_indiv": [statement("anne", 100, "2026-08", emi_ctr_id=2)]
    })  # fmt: skip
    assert again.count("siae_recrutements", ARDENNES) == 1


def test_an_exit_that_the_asp_states_is_not_told_again_by_a_later_file_of_the_structure(compute: Compute) -> None:
    rows = exits(("anne", "ACI", 100, 101, day(1, 5), day(9, 25)))
    again = {
        "person": "anne", "siret": "10003003000017", "annexe_numero": "ACI008260001A0M0", "heures_travaillees": 0.0,
        "date_debut_contrat": day(1, 5), "date_sortie": day(9, 25), "motif_sortie_categorie": "EMPLOI_DURABLE",
    }  # fmt: skip
    network = compute("siae_sorties_observees", **rows, siae_monthly__salaries=[again])
    assert network.count("siae_sorties_observees", ARDENNES) == 1


def test_who_left_an_agency_by_its_word_does_not_leave_again_by_silence(compute: Compute) -> None:
    network = compute(
        "ale_sorties",
        month=Month(2026, 6),
        ale_activity__prestations=[
            work("anne", 10, _month="2026-02", date_sortie=day(2, 20), motif_sortie="CDI"),
            work("bill", 10, _month="2026-02"),
            work("carl", 10, _month="2026-02", date_sortie=day(12, 20, 2025)),  # came back since
            work("dora", 0, date_sortie=day(6, 12)),
        ],
    )
    assert network.count("ale_sorties", "BE") == 3
    assert network.count("ale_sorties", "BE", "QUATRE_MOIS_SANS_HEURE") == 2


def test_a_duration_of_registration_of_zero_is_no_registration(compute: Compute) -> None:
    durations = [("00", None), ("00", False), ("01", True), (None, False), ("00", True), ("03", None)]
    rows = siae(
        statements=[
            statement(f"p{rank}", 10, emi_pph_id=rank, emi_ctr_id=rank) for rank in range(len(durations))
        ],
        contracts=[
            {"contrat_id_ctr": rank, "contrat_salarie_pe_duree_code": code, "contrat_inscrit_pole_emploi": registered}
            for rank, (code, registered) in enumerate(durations)
        ],
    )  # fmt: skip
    network = compute("siae_salaries", **rows)
    bands = ("NON_INSCRIT", "MOINS_12_MOIS", "DELD", "INCONNU")
    cells = [network.cell("siae_salaries", GRAND_EST, band, "unemployment_before") for band in bands]
    assert [None if cell is None else cell["numerator"] for cell in cells] == [3, 1, 1, 1]


def test_whoever_has_no_known_commune_counts_where_two_files_are_needed(compute: Compute) -> None:
    network = compute(
        "reseau_beneficiaires_rsa_non_trouves",
        cnaf_vrsb0801__personnes=[
            flow("anne"), flow("bill", person_residence=None), flow("carl", person_residence="FR-COM-99999"),
            flow("dora", person_residence="BE-COM-92094"),
        ],
    )  # fmt: skip
    counted = {place: network.count("reseau_beneficiaires_rsa_non_trouves", place) for place in ("FR", ARDENNES)}
    assert counted == {"FR": 4, ARDENNES: 1}
