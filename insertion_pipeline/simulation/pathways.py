"""What departments write of a pathway: orientation, contracts, reorientation; and of the appointments on the way.

Belongs here: the files `department_pathways` and `department_appointments`. Does not belong here: the lists of
beneficiaries (`department`), who was oriented when (`situations`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.blemishes import Blemish, blemished
from insertion_pipeline.simulation.canonical import address_line, caf_matricule, france_travail_number
from insertion_pipeline.simulation.delivering import Columns, Delivery, Deposit, delimited, write
from insertion_pipeline.simulation.department import APPOINTMENT_STATUSES, Listed, first_appointments, listed_persons
from insertion_pipeline.simulation.population import HEAD, ROLES, Population
from insertion_pipeline.simulation.randomness import Booleans, Integers
from insertion_pipeline.simulation.situations import Situations, day_number

_FRENCH = "%d/%m/%Y"
_BOM = b"\xef\xbb\xbf"
#: Professional, socio-professional, social: as each system says it.
_NATURES = ("Professionnelle", "Socio-professionnelle", "Sociale")
_WEBRSA_NATURES = ("Emploi", "Socioprofessionnelle", "Social")
_CODES = ("PED", "PSP", "PSO")
#: One sender of webrsa writes PSP for social and PSO for socio-professional.
_INVERTED_CODES = ("PED", "PSO", "PSP")
_BODIES = (("France Travail", "Mission locale"), ("PLIE", "Département"), ("Département", "CCAS"))
_REORIENTATION_REASONS = ("Évolution de la situation", "Accord de l'équipe pluridisciplinaire", "Demande du référent")
_END_REASONS = ("Emploi durable", "Fin de droit au RSA", "Déménagement")
_CONTRACT_DAYS = 182
_PATHWAY_BLEMISHES = {
    "Date d'orientation": (Blemish("31/02/2026", 0.006),),
    "Nature de l'orientation": (Blemish("à voir", 0.006),),
    "Fin du contrat": (Blemish("01/01/2020", 0.006),),
}
_APPOINTMENT_BLEMISHES = {
    "Statut du rdv": (Blemish("à rappeler", 0.01),),
    "Heure du RDV": (Blemish("25h00", 0.01),),
}


def department_pathways(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The pathways of one department: the declared file, or webrsa's Orientation export for every other department."""
    listed = listed_persons(population, situations, deposit)
    departments = [one.code for one in deposit.registry.partners.values() if one.family == "department"]
    if departments.index(deposit.partner.code) % 2:
        return _declared(population, situations, deposit, listed)
    return _webrsa(population, deposit, listed)


# -- the declared file -------------------------------------------------------------------------------------------


def _declared(population: Population, situations: Situations, deposit: Deposit, listed: Listed) -> Delivery:
    """One row per person and orientation, with the contract in force: the first orientation, then where it led."""
    draws, persons = population.draws, listed.persons
    end = day_number(deposit.month, last=True)
    is_oriented = listed.oriented > spelling.UNKNOWN_DAY
    moved = listed.oriented + 60 + draws.below("pathway: stays", persons, 240)
    is_reoriented = is_oriented & (moved <= end) & draws.chance("pathway: reoriented", persons, 0.12)
    row = np.repeat(np.arange(len(persons)), 1 + is_reoriented)
    is_second = np.r_[False, row[1:] == row[:-1]] if len(row) else np.array([], dtype=bool)
    columns = _pathway_columns(population, situations, deposit, listed, row, is_second, moved)
    columns = blemished(
        columns, draws, "department_pathways", deposit.key(persons[row] * 2 + is_second), _PATHWAY_BLEMISHES
    )
    path = write(deposit.folder / f"parcours_rsa_{deposit.month}.csv", (_BOM, *delimited(columns)))
    known_as = listed.internal_id.take(pa.array(row))
    return deposit.made(path, population, persons[row], table="parcours", local_key=known_as)


def _pathway_columns(
    population: Population, situations: Situations, deposit: Deposit, listed: Listed, row: Integers,
    is_second: Booleans, moved: Integers,
) -> Columns:  # fmt: skip
    draws, persons, index = population.draws, listed.persons[row], pa.array(row)
    end = day_number(deposit.month, last=True)
    is_oriented = listed.oriented[row] > spelling.UNKNOWN_DAY
    has_moved_on = np.r_[row[1:] == row[:-1], False] if len(row) else is_second
    first = listed.orientation[row]
    nature = np.where(is_second, (first + 1) % 3, first)
    start = np.where(is_second, moved[row], listed.oriented[row])
    closed = np.where(listed.support_end[row] > start, listed.support_end[row], spelling.UNKNOWN_DAY)
    left = np.where(has_moved_on, moved[row], np.where(is_oriented, closed, spelling.UNKNOWN_DAY))
    is_inverted = draws.chance("pathway: codes inverted", persons, 0.015)
    signed = np.where(has_moved_on, spelling.UNKNOWN_DAY, listed.signed[row])
    has_contract = signed > spelling.UNKNOWN_DAY
    contract = np.where(has_contract, (end - signed) // _CONTRACT_DAYS, 0)
    begins = np.where(has_contract, signed + contract * _CONTRACT_DAYS, spelling.UNKNOWN_DAY)
    ends = np.where(has_contract, begins + _CONTRACT_DAYS - 1, spelling.UNKNOWN_DAY)
    with_public_service = nature == 0
    seen, places = listed.seen, population.gazetteer
    towns = listed.towns.take(index)

    def day(days: Integers, known: Booleans) -> pa.Array:
        return spelling.day_text(np.where(known, days, spelling.UNKNOWN_DAY), _FRENCH)

    return Columns.of(
        {
            "Identifiant interne au département": listed.internal_id.take(index),
            "Civilité": spelling.picked(("M.", "Mme"), seen.sex[row] - 1),
            "Nom": seen.used_name.take(index),
            "Nom de naissance": seen.birth_name.take(index),
            "Prénom": seen.given_name.take(index),
            "Date de naissance": spelling.day_text(seen.birth_day[row], _FRENCH),
            "NIR": seen.nir.take(index),
            "Numéro allocataire CAF/MSA": caf_matricule(population, persons),
            "Rôle dans le foyer": spelling.picked(ROLES, population.role[persons]),
            "Code postal": places.postal_codes.take(towns),
            "Ville": places.names.take(towns),
            "Commune de résidence": places.codes.take(towns),
            "Demande de RSA": spelling.day_text(listed.applied[row], _FRENCH),
            "Ouverture des droits": spelling.day_text(listed.applied[row] + 10, _FRENCH),
            "Entrée connue du département": spelling.day_text(listed.applied[row] + 12, _FRENCH),
            "Soumis aux droits et devoirs": spelling.where(situations.income.is_subject[persons], "oui", "non"),
            "État du dossier RSA": spelling.text(listed.state[row]),
            "Nature de l'orientation": spelling.picked(_NATURES, nature),
            "Code du parcours": spelling.where(
                is_inverted, spelling.picked(_INVERTED_CODES, nature), spelling.picked(_CODES, nature)
            ),
            "Date d'orientation": day(start, is_oriented),
            "Orientation notifiée le": day(start + 3, is_oriented),
            "Statut de l'orientation": spelling.where(is_oriented, "Décidée", None),
            "Rang de l'orientation": spelling.where(is_oriented, spelling.text(1 + is_second.astype(np.int64)), None),
            "Organisme référent": _body(population, persons, nature),
            "Structure référente": spelling.where(is_second, None, listed.structure.take(index)),
            "Référent": listed.referent.take(index),
            "Entrée dans le parcours": day(start + 5, is_oriented),
            "Sortie du parcours": day(left, left > spelling.UNKNOWN_DAY),
            "Motif de sortie du parcours": spelling.where(
                has_moved_on,
                "Réorientation",
                spelling.picked(
                    _END_REASONS,
                    np.where(left > spelling.UNKNOWN_DAY, draws.below("pathway: end", persons, len(_END_REASONS)), -1),
                ),
            ),
            "Date de réorientation": day(start, is_second),
            "Nature précédente": spelling.picked(_NATURES, np.where(is_second, first, -1)),
            "Organisme précédent": spelling.where(is_second, _body(population, persons, first), None),
            "Motif de réorientation": spelling.picked(
                _REORIENTATION_REASONS, np.where(is_second, draws.below("pathway: reoriented because", persons, 3), -1)
            ),
            "Type de contrat": spelling.where(
                has_contract, spelling.where(with_public_service, "Contrat d'engagement", "CER"), None
            ),
            "Signature du contrat": day(begins, has_contract),
            "Début du contrat": day(begins, has_contract),
            "Fin du contrat": day(ends, has_contract),
            "Rang du contrat": spelling.where(has_contract, spelling.text(contract + 1), None),
            "Heures hebdomadaires": spelling.where(
                has_contract, spelling.text(5 * draws.between("pathway: hours", persons, 1, 3)), None
            ),
        },
        len(row),
    )  # fmt: skip


def _body(population: Population, persons: Integers, nature: Integers) -> pa.Array:
    """Who is in charge: the public employment service, the department, or another body; nobody before orientation."""
    rank = nature * 2 + population.draws.chance("pathway: other body", persons, 0.3)
    bodies = tuple(body for of_nature in _BODIES for body in of_nature)
    return spelling.picked(bodies, np.where(nature < 0, -1, rank))


# -- webrsa ------------------------------------------------------------------------------------------------------


def _webrsa(population: Population, deposit: Deposit, listed: Listed) -> Delivery:
    """webrsa's Orientation export: one person per household, the spouse's is lost; no SIRET; CIBLE is always O."""
    kept = np.flatnonzero((listed.oriented > spelling.UNKNOWN_DAY) & (population.role[listed.persons] == HEAD))
    persons, index, seen = listed.persons[kept], pa.array(kept), listed.seen
    names = pc.split_pattern(listed.referent.take(index), " ")
    columns = Columns.of(
        {
            "MATRICULE": pc.utf8_ltrim(caf_matricule(population, persons), "0"),
            "CIVILITE": spelling.picked(("MR", "MME"), seen.sex[kept] - 1),
            "NOM": spelling.capitals(seen.used_name.take(index)),
            "NOMNAI": spelling.capitals(seen.birth_name.take(index)),
            "PRENOM": spelling.capitals(seen.given_name.take(index)),
            "DTNAI": spelling.day_text(seen.birth_day[kept]),
            "ORGANISME_ORIENTATION_REFERENT": _body(population, persons, listed.orientation[kept]),
            "ORGANISME_ORIENTATION_SIRET": "",
            "NATURE_ORIENTATION": spelling.picked(_WEBRSA_NATURES, listed.orientation[kept]),
            "NOM_REFERENT": pc.list_element(names, 1),
            "PRENOM_REFERENT": pc.list_element(names, 0),
            "DATE_DEBUT_ORIENTATION": spelling.day_text(listed.oriented[kept]),
            "CIBLE": "O",
            "EMAIL": seen.email.take(index),
            "TELEPHONE_FIXE": None,
            "TELEPHONE_PORTABLE": seen.phone.take(index),
            "ID_CD": listed.internal_id.take(index),
        },
        len(persons),
    )
    path = write(deposit.folder / "Orientation.csv", delimited(columns, end_of_line="\n"))
    known_as = listed.internal_id.take(index)
    return deposit.made(path, population, persons, table="parcours", local_key=known_as)


# -- appointments ------------------------------------------------------------------------------------------------


def department_appointments(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The export of the appointment software: one row per participation of the month. No NIR."""
    draws, listed = population.draws, listed_persons(population, situations, deposit)
    start, end = day_number(deposit.month, last=False), day_number(deposit.month, last=True)
    key = deposit.key(listed.persons)
    first = first_appointments(listed)
    is_first = (first >= start) & (first <= end)
    is_followed = (listed.oriented > spelling.UNKNOWN_DAY) & draws.chance("appointment: follow-up", key, 0.42)
    row = np.concatenate([np.flatnonzero(is_first), np.flatnonzero(is_followed)])
    opens = np.arange(len(row)) < np.count_nonzero(is_first)
    order = np.lexsort((~opens, row))
    row, opens = row[order], opens[order]
    persons = listed.persons[row]
    day = np.where(opens, first[row], start + draws.below("appointment: day", key[row], end - start + 1))
    status = np.where(
        opens,
        np.maximum(listed.status[row], 0),
        draws.choose("appointment: outcome", key[row], np.array([0.7, 0.16, 0.06, 0.05, 0.03])),
    )
    columns = _appointment_columns(population, listed, row, opens, day, status)
    columns = blemished(columns, draws, "department_appointments", key[row] * 2 + opens, _APPOINTMENT_BLEMISHES)
    path = deposit.folder / f"Export_rdvs_departement_{deposit.partner.code}.csv"
    known_as = listed.internal_id.take(pa.array(row))
    made = write(path, (_BOM, *delimited(columns)))
    return deposit.made(made, population, persons, table="rendez_vous", local_key=known_as)


def _appointment_columns(
    population: Population, listed: Listed, row: Integers, opens: Booleans, day: Integers, status: Integers
) -> Columns:
    draws, persons, index, seen = population.draws, listed.persons[row], pa.array(row), listed.seen
    towns = listed.towns.take(index)
    town_names = population.gazetteer.names.take(towns)
    minutes = draws.below("appointment: hour", persons * 2 + opens, 36) * 15 + 8 * 60 + 30
    return Columns.of(
        {
            "Date du RDV": spelling.day_text(day, _FRENCH),
            "Heure du RDV": spelling.joined(
                pc.utf8_lpad(spelling.text(minutes // 60), 2, " "), "h",
                pc.utf8_lpad(spelling.text(minutes % 60), 2, "0"),
            ),
            "Motif du RDV": spelling.where(opens, "RSA orientation", "RSA accompagnement"),
            "Nature du RDV": spelling.where(draws.chance("appointment: in a group", persons, 0.1), "collectif",
                                            "individuel"),
            "RDV pris en autonomie ?": spelling.where(draws.chance("by oneself", persons, 0.4), "Oui", "Non"),
            "RDV pris le": spelling.day_text(day - 2 - draws.below("appointment: booked", persons, 12), _FRENCH),
            "Statut du rdv": spelling.picked(APPOINTMENT_STATUSES, status),
            "Référent(s)": listed.referent.take(index),
            "Organisation du rendez-vous": spelling.joined("Maison des solidarités de ", town_names),
            "Civilité": spelling.picked(("monsieur", "madame"), seen.sex[row] - 1),
            "Nom": seen.used_name.take(index),
            "Prénom": seen.given_name.take(index),
            "Numéro CAF": caf_matricule(population, persons),
            "ID interne au département": listed.internal_id.take(index),
            "ID France Travail": spelling.where(
                draws.chance("list: employment service number", persons, 0.4),
                france_travail_number(population, persons),
                None,
            ),
            "Email": seen.email.take(index),
            "Adresse": address_line(seen).take(index),
            "CP": population.gazetteer.postal_codes.take(towns),
            "Ville": town_names,
            "Téléphone": seen.phone.take(index),
            "Date de naissance": spelling.day_text(seen.birth_day[row], _FRENCH),
            "Date de création": spelling.day_text(listed.applied[row] + 5, _FRENCH),
            "Date d'entrée flux": spelling.day_text(listed.applied[row], _FRENCH),
            "Rôle": spelling.picked(("demandeur", "conjoint"), population.role[persons] % 2),
            "Rendez-vous prescrit ? (interne)": "Non",
            "Prénom du prescripteur": None,
            "Nom du prescripteur": None,
            "Mail du prescripteur": None,
            "Tags": None,
        },
        len(row),
    )  # fmt: skip
