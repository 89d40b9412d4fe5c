"""Indicators on inputs that are rare and valid: short months, turns of the year, a person in two places at once."""

from __future__ import annotations

from datetime import date

from insertion_pipeline.month import Month
from insertion_pipeline_tests.indicator_rows import ARDENNES, Compute, flow, listed

COUNCIL = "FR-CON-08"


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
