"""What the employment services deposit: France Travail's SPIE extract, the FOREm's declared list of job seekers.

Belongs here: the files `ft_spie` and `forem_jobseekers`. Does not belong here: who is registered (`situations`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from insertion_pipeline.month import Month
from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.blemishes import Blemish, blemished
from insertion_pipeline.simulation.canonical import uuids
from insertion_pipeline.simulation.delivering import Columns, Delivery, Deposit, delimited, write
from insertion_pipeline.simulation.observing import observe
from insertion_pipeline.simulation.population import Population
from insertion_pipeline.simulation.randomness import Draws, Integers
from insertion_pipeline.simulation.situations import Situations, day_number

_STAMP = "%Y-%m-%d 00:00:00.0"
_JOBS = (
    ("K1304", "Aide ménager / ménagère à domicile"),
    ("K2204", "Agent / Agente de nettoyage en collectivité"),
    ("N1103", "Préparateur / Préparatrice de commandes"),
    ("N1105", "Manutentionnaire"),
    ("A1203", "Ouvrier / Ouvrière d'entretien des espaces verts"),
    ("F1704", "Maçon / Maçonne"),
    ("G1602", "Commis / Commise de cuisine"),
    ("D1507", "Employé / Employée de libre-service"),
    ("K1302", "Assistant / Assistante de vie"),
    ("H2102", "Opérateur / Opératrice de production alimentaire"),
)
_REASONS = (
    ("14", "FIN DE CDD OU DE CONTRAT AIDE"),
    ("15", "FIN DE MISSION D'INTERIM"),
    ("19", "AUTRE MOTIF INSCRIPTION"),
    ("11", "LICENCIEMENT"),
    ("17", "PREMIERE RECHERCHE D'EMPLOI"),
)
_AXES = ("ELABORAT. PROJET PRO.", "TECHNIQ. RECH. EMPL.", "ADAPT MARCHE TRAVAIL", "RETOUR DIRECT EMPLOI", "FORMATION")
_MODES = ("GUIDE", "RENFORCE", "SUIVI")
_ADVISERS = (("Mme", "FICTIF", "Anne"), ("M.", "MODELE", "Paul"), ("Mme", "EXEMPLE", "Lina"), ("M.", "ESSAI", "Marc"))
_SPIE_BLEMISHES = {
    "nom": (Blemish(None, 0.001),),
    "date_naissance": (Blemish("0002-08-06", 0.002),),
    "rome_1": (Blemish("FAKE", 0.01),),
    "categorie_inscription": (Blemish("9", 0.003),),
    "code_lieu_naissance": (Blemish("5439", 0.003),),
}
_FOREM_BLEMISHES = {
    "mois": (Blemish(None, 0.001),),
    "categorie": (Blemish("DEI", 0.004),),
    "commune_ins": (Blemish("inconnue", 0.004),),
    "date_naissance": (Blemish("31/02/1987", 0.002),),
}


def ft_spie(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The extract of one month: `;`, literal `NULL`, no NIR."""
    month = deposit.month
    persons = np.flatnonzero(situations.job_search.in_month(month))
    columns = _spie(population, situations, persons, month, deposit.factor)
    columns = blemished(columns, population.draws, "ft_spie", deposit.key(persons), _SPIE_BLEMISHES)
    name = f"i03300c.j.extract_spie_carnet_spie_carnet_de_bord_principal_{month.year}{month.month:02d}.csv"
    path = write(deposit.folder / name, delimited(columns, end_of_line="\n", null="NULL", quoted=False))
    number = job_seeker_id(population.draws, persons)
    return deposit.made(path, population, persons, table="demandeurs", local_key=number)


def job_seeker_id(draws: Draws, persons: Integers) -> pa.Array:
    """France Travail's own identifier of each person, which its extracts share."""
    return uuids(draws, "uuid", persons)


def _spie(population: Population, situations: Situations, persons: Integers, month: Month, factor: float) -> Columns:
    draws, places = population.draws, population.gazetteer
    seen = observe(population, persons, "employment_service", factor=factor)
    towns = seen.home.town
    town_names = spelling.capitals(places.names.take(pa.array(towns)))
    end = day_number(month, last=True)
    registered = situations.job_search.registered[persons]
    key = persons * 1000 + (month.year * 12 + month.month) % 1000
    interview = np.maximum(end - draws.below("last interview", key, 120), registered)
    job = draws.below("job sought", persons, len(_JOBS))
    second_job = draws.below("second job sought", persons, len(_JOBS))
    reason = draws.choose("reason of registration", persons, np.array([0.34, 0.14, 0.3, 0.12, 0.1]))
    category = draws.choose(
        "category", persons * 1000 + (month.year * 4 + (month.month - 1) // 3) % 1000,
        np.array([0.58, 0.14, 0.1, 0.06, 0.06, 0.03, 0.02, 0.01]),
    ) + 1  # fmt: skip
    adviser = draws.below("adviser", persons, len(_ADVISERS))
    followed = draws.chance("followed by another", persons, 0.25)
    has_income = situations.income.is_open(situations.income.state(population, month))[persons]
    brsa = has_income ^ draws.chance("RSA flag wrong", persons, 0.04)
    departments = spelling.picked(places.departments, towns)

    def difficulty(name: str, share: float) -> pa.Array:
        return spelling.where(draws.chance(f"difficulty: {name}", persons, share), "O", None)

    return Columns.of(
        {
            "identifiant_unique_de": job_seeker_id(draws, persons),
            "civilite": spelling.picked(("M.", "MME"), seen.sex - 1),
            "nom": spelling.capitals(seen.used_name),
            "prenom": spelling.capitals(seen.given_name),
            "lieu_naissance": spelling.capitals(seen.birth_place_name),
            "code_lieu_naissance": seen.birth_place_code,
            "date_naissance": spelling.day_text(seen.birth_day, _STAMP),
            "adresse_ligne2": None,
            "adresse_ligne3": None,
            "adresse_ligne4": spelling.joined(
                spelling.text(seen.home.number), " ", seen.home.street_type, " ", seen.home.street_name
            ),
            "adresse_ligne5": None,
            "adresse_ligne6": spelling.joined(places.postal_codes.take(pa.array(towns)), " ", town_names),
            "departement": departments,
            "dr": spelling.joined("0", departments),
            "rome_1": spelling.picked(tuple(code for code, _ in _JOBS), job),
            "appelation_rome_1": spelling.picked(tuple(label for _, label in _JOBS), job),
            "rome_2": spelling.picked(tuple(code for code, _ in _JOBS), second_job),
            "appelation_rome_2": spelling.picked(tuple(label for _, label in _JOBS), second_job),
            "mrech.axetravailprincipal": spelling.picked(_AXES, draws.below("axis", persons, len(_AXES))),
            "mrech.axetravailsecondaire": None,
            "der_entretien_ppae": spelling.day_text(np.minimum(registered + 20, end), _STAMP),
            "der_entretien": spelling.day_text(interview, _STAMP),
            "inscription": spelling.day_text(registered, _STAMP),
            "code_motif_inscription": spelling.picked(tuple(code for code, _ in _REASONS), reason),
            "motif_inscription": spelling.picked(tuple(label for _, label in _REASONS), reason),
            "categorie_inscription": spelling.text(category),
            "struct_principale": town_names,
            "referent_civilite": spelling.picked(tuple(one[0] for one in _ADVISERS), adviser),
            "referent_nom": spelling.picked(tuple(one[1] for one in _ADVISERS), adviser),
            "referent_prenom": spelling.picked(tuple(one[2] for one in _ADVISERS), adviser),
            "referent_mail": "conseiller@service.example",
            "code_safir": spelling.joined(departments, "015"),
            "modalite_accompagnement": spelling.picked(_MODES, draws.below("mode", persons, len(_MODES))),
            "struct_suivi": spelling.where(followed, town_names, None),
            "suivi_debut": spelling.day_text(np.where(followed, registered + 30, spelling.UNKNOWN_DAY), _STAMP),
            "suivi_fin_prev": spelling.day_text(np.where(followed, registered + 395, spelling.UNKNOWN_DAY), _STAMP),
            "dif_financiere": difficulty("money", 0.22),
            "dif_admin_jur": difficulty("papers", 0.09),
            "dif_sante": difficulty("health", 0.14),
            "dif_logement": difficulty("housing", 0.12),
            "dif_transport": difficulty("transport", 0.31),
            "dif_inser_com": difficulty("communication", 0.1),
            "dif_familiale": difficulty("family", 0.15),
            "brsa": spelling.where(brsa, "O", "N"),
        },
        len(persons),
    )  # fmt: skip


# -- FOREm -------------------------------------------------------------------------------------------------------

_CATEGORIES = ("DEDA", "SIP", "OBL", "LIB")
_LEVELS = ("PRIMAIRE", "SECONDAIRE INFERIEUR", "SECONDAIRE SUPERIEUR", "SUPERIEUR", "APPRENTISSAGE")


def forem_jobseekers(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The declared list of one month: `;`, UTF-8 with BOM, dates DD/MM/YYYY."""
    month = deposit.month
    persons = np.flatnonzero(situations.forem.in_month(month))
    draws = population.draws
    seen = observe(population, persons, "forem", factor=deposit.factor)
    towns = pa.array(seen.home.town)
    end = day_number(month, last=True)
    registered = situations.forem.registered[persons]
    ceased = situations.forem.ceased[persons]
    has_ceased = (ceased != spelling.UNKNOWN_DAY) & (ceased <= end)
    key = deposit.key(persons)
    category = draws.choose("FOREm: category", persons, np.array([0.46, 0.15, 0.11, 0.28]))
    reason = draws.choose("FOREm: reason", persons, np.array([0.45, 0.2, 0.2, 0.15]))
    number = spelling.joined("F", spelling.digits_text(spelling.digits(persons * 7919 % 100_000_000, 8)))
    columns = Columns.of(
        {
            "mois": str(month),
            "niss": seen.niss,
            "numero_forem": number,
            "nom": seen.birth_name,
            "prenom": seen.given_name,
            "date_naissance": spelling.day_text(seen.birth_day, "%d/%m/%Y"),
            "sexe": spelling.picked(("M", "F"), seen.sex - 1),
            "code_postal": population.gazetteer.postal_codes.take(towns),
            "commune_ins": population.gazetteer.codes.take(towns),
            "categorie": spelling.picked(_CATEGORIES, category),
            "cpas": spelling.where(draws.chance("FOREm: CPAS", persons, 0.16), "O", "N"),
            "date_inscription": spelling.day_text(registered, "%d/%m/%Y"),
            "date_dernier_contact": spelling.day_text(
                np.maximum(end - draws.below("FOREm: contact", key, 100), registered), "%d/%m/%Y"
            ),
            "code_referent": spelling.joined("R", spelling.text(draws.between("FOREm: adviser", persons, 100, 140))),
            "duree_inoccupation_mois": spelling.text((end - registered) // 30),
            "niveau_etudes": spelling.picked(_LEVELS, draws.below("FOREm: level", persons, len(_LEVELS))),
            "date_cessation": spelling.day_text(np.where(has_ceased, ceased, spelling.UNKNOWN_DAY), "%d/%m/%Y"),
            "motif_cessation": spelling.where(
                has_ceased, spelling.picked(("EMPLOI", "FORMATION", "MALADIE", "RADIATION"), reason), None
            ),
        },
        len(persons),
    )
    columns = blemished(columns, draws, "forem_jobseekers", key, _FOREM_BLEMISHES)
    path = write(deposit.folder / f"forem_demandeurs_{month}.csv", (b"\xef\xbb\xbf", *delimited(columns)))
    return deposit.made(path, population, persons, table="demandeurs", local_key=number)
