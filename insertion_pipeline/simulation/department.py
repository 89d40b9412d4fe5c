"""What departments deposit: their lists of beneficiaries in three profiles, the contacts, the CNAF monthly flow.

Belongs here: the files `department_list`, `department_contacts` and `cnaf_vrsb0801`. Does not belong here: who has a
right to the RSA, who was oriented when (`situations`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.month import Month
from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.blemishes import Blemish, blemished
from insertion_pipeline.simulation.canonical import address_line, caf_matricule, france_travail_number
from insertion_pipeline.simulation.delivering import (
    Columns,
    Delivery,
    Deposit,
    Sheet,
    delimited,
    text_bytes,
    write,
    write_workbook,
)
from insertion_pipeline.simulation.observing import Observed, observe
from insertion_pipeline.simulation.population import CHILD, HEAD, PARTNER, ROLES, Population
from insertion_pipeline.simulation.randomness import Booleans, Integers
from insertion_pipeline.simulation.situations import (
    CLOSED,
    CLOSED_EARLIER,
    NOT_ON_FILE,
    PAYMENT_SUSPENDED,
    PENDING,
    RIGHT_SUSPENDED,
    Situations,
    day_number,
)

#: Statuses of appointments, as the appointment software exports them.
APPOINTMENT_STATUSES = (
    "Rendez-vous honoré",
    "Absence non excusée",
    "Annulé (excusé)",
    "Annulé (par le service)",
    "Statut du RDV à préciser",
)
_ORIENTATIONS = ("Professionnelle", "Socio-professionnelle", "Sociale")
_ORIENTED_TO = ("France Travail", "Mission locale", "Service social du département")
_REFERENTS = ("Claire EXEMPLE", "Youssef MODELE", "Inès FICTIVE", "Paul ESSAI", "Maud SPECIMEN", "Luc TEMOIN")
_SITUATIONS = ("recherche_emploi", "formation", "iae", "sans_emploi", "activite_reduite")
_LEVELS = ("AFS", "C12", "C3A", "CFG", "CP4", "NV5", "NV4", "NV3", "NV2")
_RIGHTS = {
    PENDING: "rsa_demande_en_attente",
    2: "rsa_droit_ouvert_versable",
    RIGHT_SUSPENDED: "rsa_droit_ouvert_et_suspendu",
    PAYMENT_SUSPENDED: "rsa_droit_ouvert_versement_suspendu",
    CLOSED: "rsa_clos",
    CLOSED_EARLIER: "rsa_clos_anterieur",
}
_LIST_BLEMISHES: Mapping[str, tuple[Blemish, ...]] = {
    "Date de naissance*": (Blemish("31/02/1980", 0.002),),
    "Date de naissance": (Blemish("00/00/1980", 0.002),),
    "NIR": (Blemish("269054958815780", 0.002), Blemish("non communiqué", 0.002)),
    "Droits RSA": (Blemish("oui", 0.004),),
    "Code postal": (Blemish("8000", 0.004),),
    "CP": (Blemish("5400", 0.004),),
    "Rôle": (Blemish("voisin", 0.003),),
    "Statut du rdv": (Blemish("à rappeler", 0.003),),
}


@dataclass(frozen=True)
class Listed:
    """The persons of a department's list in a month, and what the department knows of them."""

    persons: Integers
    seen: Observed
    state: Integers
    internal_id: pa.Array
    towns: pa.Array
    applied: Integers
    invited: Integers
    oriented: Integers
    signed: Integers
    orientation: Integers
    status: Integers
    structure: pa.Array
    referent: pa.Array
    support_end: Integers


def of_department(population: Population, territory: str) -> Booleans:
    """Who lives in the department today."""
    is_inside = np.zeros(len(population.gazetteer.countries), dtype=bool)
    is_inside[population.gazetteer.inside(territory)] = True
    return is_inside[population.home.town]


def department_list(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The list of one department for one month, in the profile of its rank among the departments."""
    partner, month, folder = deposit.partner, deposit.month, deposit.folder
    departments = [one.code for one in deposit.registry.partners.values() if one.family == "department"]
    rank = departments.index(partner.code)
    listed = listed_persons(population, situations, deposit)
    profile = _PROFILES[rank % len(_PROFILES)]
    if profile == "upload" and len(listed.persons) > _LARGEST_WORKBOOK:
        profile = "carnet-de-bord"
    if profile == "upload":
        path = folder / f"BRSA_orientation_{month}.xlsx"
        columns = _blemished(_upload_list(population, listed), population, listed, month)
        numeric = frozenset({"Date de\nNaissance", "NIR", "Date CER", "N°\nTéléphones"})
        write_workbook(path, [Sheet("ENTRETIENS PHYSIQUES", _only_numbers(columns, numeric), numeric, blank_rows=3)])
    elif profile == "export":
        path = folder / f"Export_usagers_departement_{partner.code}.csv"
        columns = _blemished(_users_export(population, listed, month), population, listed, month)
        write(path, (b"\xef\xbb\xbf", *delimited(columns)))
    else:
        path = folder / f"import_beneficiaires_{month}.csv"
        form = "%Y-%m-%d" if profile == "carnet-de-bord" else "%d/%m/%Y"
        columns = _blemished(_carnet_de_bord(population, listed, form), population, listed, month)
        write(path, (b"\xef\xbb\xbf", *delimited(columns)))
    return deposit.made(path, population, listed.persons, table="beneficiaires", local_key=listed.internal_id)


#: Template of carnet-de-bord, list prepared in Excel for upload, export of the appointment software; then the template
#: with French dates.
_PROFILES = ("carnet-de-bord", "upload", "export", "export", "carnet-de-bord, French dates", "export")
#: Departments with more beneficiaries do not keep them in a workbook.
_LARGEST_WORKBOOK = 20_000


def _blemished(columns: Columns, population: Population, listed: Listed, month: Month) -> Columns:
    key = listed.persons * 1000 + (month.year * 12 + month.month) % 1000
    return blemished(columns, population.draws, "department_list", key, _LIST_BLEMISHES)


def listed_persons(population: Population, situations: Situations, deposit: Deposit) -> Listed:
    """Whom a department follows in a month, and what it knows of them."""
    partner, month = deposit.partner, deposit.month
    income, draws = situations.income, population.draws
    state = income.state(population, month)
    end = day_number(month, last=True)
    here = of_department(population, partner.territory_code)
    is_listed = here & income.is_subject & (state != NOT_ON_FILE) & (state != CLOSED_EARLIER) & (state != PENDING)
    # a list lags behind: a few entrants of the month are not in it yet
    late = (income.applied > end - 25) & draws.chance("department list: late", population.rows, 0.3)
    persons = np.flatnonzero(is_listed & ~late)
    seen = observe(population, persons, "department", factor=deposit.factor)

    def known(days: Integers) -> Integers:
        return np.where((days[persons] > spelling.UNKNOWN_DAY) & (days[persons] <= end), days[persons],
                        spelling.UNKNOWN_DAY)  # fmt: skip

    orientation = income.orientation[persons]
    town_names = population.gazetteer.names.take(pa.array(population.home.town[persons]))
    structure = spelling.joined(spelling.picked(_ORIENTED_TO, orientation), " - ", town_names)
    oriented = known(income.oriented)
    return Listed(
        persons,
        seen,
        state[persons],
        spelling.joined(
            partner.territory_code.rsplit("-", 1)[-1], "-",
            spelling.text(draws.below("department id", persons, 90_000_000) + 10_000_000),
        ),
        pa.array(seen.home.town),
        income.applied[persons],
        known(income.invited),
        oriented,
        known(income.contract_signed),
        np.where(oriented == spelling.UNKNOWN_DAY, -1, orientation),
        np.where(known(income.invited) == spelling.UNKNOWN_DAY, -1, income.appointment_status[persons]),
        spelling.where(oriented == spelling.UNKNOWN_DAY, None, structure),
        spelling.where(
            oriented == spelling.UNKNOWN_DAY,
            None,
            spelling.picked(_REFERENTS, draws.below("referent", persons, len(_REFERENTS))),
        ),
        known(income.closed),
    )  # fmt: skip


def _carnet_de_bord(population: Population, listed: Listed, form: str) -> Columns:
    """The import template: 25 columns, `;`, UTF-8 with BOM, CRLF."""
    draws, persons, seen = population.draws, listed.persons, listed.seen
    knows_number = draws.chance("list: employment service number", persons, 0.4)
    two_phones = draws.chance("list: two telephones", persons, 0.05)
    job = draws.below("job sought", persons, 3)
    return Columns.of(
        {
            "Identifiant dans le SI*": listed.internal_id,
            "Prénom*": seen.given_name,
            "Nom*": seen.used_name,
            "Date de naissance*": spelling.day_text(seen.birth_day, form),
            "NIR": seen.nir,
            "Lieu de naissance": seen.birth_place_name,
            "Téléphone": spelling.where(two_phones, spelling.joined(seen.phone, ", 0700000000"), seen.phone),
            "Email": seen.email,
            "Adresse": spelling.joined(spelling.text(seen.home.number), " ", _street(seen)),
            "Adresse (complément)": spelling.where(
                draws.chance("list: complement", persons, 0.06), 'Lieu-dit "Le Moulin" ; bâtiment B', None
            ),
            "Code postal": population.gazetteer.postal_codes.take(listed.towns),
            "Ville": population.gazetteer.names.take(listed.towns),
            "Situation": spelling.picked(_SITUATIONS, draws.below("situation", persons, len(_SITUATIONS))),
            "Numéro allocataire CAF/MSA": caf_matricule(population, persons),
            "Identifiant Pôle emploi": spelling.where(knows_number, france_travail_number(population, persons), None),
            "Droits RSA": spelling.picked(
                tuple(_RIGHTS.values()), np.searchsorted(np.array(list(_RIGHTS)), listed.state)
            ),
            "Droits ARE": spelling.where(draws.chance("ARE", persons, 0.08), "Oui", "Non"),
            "Droits ASS": spelling.where(draws.chance("ASS", persons, 0.06), "Oui", "Non"),
            "Prime d'activité": spelling.where(draws.chance("activity bonus", persons, 0.2), "Oui", "Non"),
            "RQTH": "Non",
            "Zone de mobilité": spelling.text(draws.between("mobility", persons, 1, 6) * 10),
            "Emploi recherché (code ROME)": spelling.picked(
                ("Agent / Agente de nettoyage (K2204)", "Préparateur / Préparatrice de commandes (N1103)", None), job
            ),
            "Niveau de formation": spelling.picked(_LEVELS, _levels(population, persons)),
            "Structure": listed.structure,
            "Accompagnateurs": spelling.where(
                listed.oriented == spelling.UNKNOWN_DAY, None, "accompagnement@departement.example"
            ),
        },
        len(persons),
    )


def _levels(population: Population, persons: Integers) -> Integers:
    weights = np.array([0.06, 0.1, 0.1, 0.06, 0.12, 0.3, 0.15, 0.06, 0.05])
    return population.draws.choose("education", persons, weights)


def _street(seen: Observed) -> pa.Array:
    return pc.utf8_lower(spelling.joined(seen.home.street_type, " ", seen.home.street_name))


def _upload_list(population: Population, listed: Listed) -> Columns:
    """A list prepared in Excel: newlines in headers, serial dates, numbers that lost their zeros, blank rows."""
    draws, persons, seen = population.draws, listed.persons, listed.seen
    title = spelling.picked(("Monsieur", "Madame"), seen.sex - 1)
    role = np.where(population.role[persons] == PARTNER, draws.between("role text", persons, 3, 5),
                    draws.between("role text", persons, 0, 2))  # fmt: skip
    roles = ("dem", "DEM", "Demandeur", "cjt", "CONJOINT/CONCUBIN/PACSE", "CONJOINT(E)")
    towns = population.gazetteer
    has_two_names = pc.not_equal(seen.birth_name, seen.used_name)
    return Columns.of(
        {
            "N° Allocataire": caf_matricule(population, persons),
            "Civilité": title,
            "Nom bénéficiaire": seen.used_name,
            "Nom JF": pc.if_else(has_two_names, seen.birth_name, pa.scalar(None, pa.string())),
            "Prénom bénéficiaire": seen.given_name,
            "Date de\nNaissance": _excel_serial(seen.birth_day),
            "Adresse": address_line(seen),
            "CP Ville": spelling.joined(
                towns.postal_codes.take(listed.towns), " ", spelling.capitals(towns.names.take(listed.towns)), " "
            ),
            "Complément adresse": None,
            "Rôle": spelling.picked(roles, role),
            "ID IODAS\t": listed.internal_id,
            "PA": None,
            "NIR": seen.nir,
            "ID pôle Emploi": spelling.where(
                draws.chance("list: employment service number", persons, 0.4),
                france_travail_number(population, persons),
                None,
            ),
            "Adresses\nMails": seen.email,
            "N°\nTéléphones": pc.utf8_ltrim(seen.phone, "0"),
            "Structure": listed.structure,
            "Date ouverture droits": spelling.day_text(listed.applied, "%d/%m/%Y"),
            "DECISION ORIENTATION": spelling.picked(_ORIENTATIONS, listed.orientation),
            "Date d'orientation": spelling.day_text(listed.oriented, "%d/%m/%Y"),
            "Date envoie du courrier": spelling.day_text(listed.invited, "%d/%m/%Y"),
            "Reçu en entretien le :": spelling.day_text(first_appointments(listed), "%d/%m/%Y"),
            "Date CER": _excel_serial(listed.signed),
            "Tags": spelling.where(draws.chance("tag", persons, 0.1), "Prioritaire", None),
        },
        len(persons),
    )


def _only_numbers(columns: Columns, numeric: frozenset[str]) -> Columns:
    """Cells of numeric columns that hold no number are left empty: Excel would show them as text."""
    empty = pa.scalar(None, pa.string())
    return Columns(
        columns.headers,
        tuple(
            pc.if_else(pc.match_substring_regex(value, "^[0-9]+$"), value, empty) if header in numeric else value
            for header, value in zip(columns.headers, columns.values, strict=True)
        ),
    )


def _excel_serial(days: Integers) -> pa.Array:
    """Days since 30 December 1899, as Excel counts."""
    known = days > spelling.UNKNOWN_DAY
    return pc.if_else(pa.array(known), spelling.text(np.where(known, days + 25_569, 0)), pa.scalar(None, pa.string()))


def first_appointments(listed: Listed) -> Integers:
    """The last appointment stands at the orientation, or eight days after the invitation."""
    waiting = np.where(listed.invited == spelling.UNKNOWN_DAY, spelling.UNKNOWN_DAY, listed.invited + 8)
    return np.where(listed.oriented == spelling.UNKNOWN_DAY, waiting, listed.oriented - 4)


def _users_export(population: Population, listed: Listed, month: Month) -> Columns:
    """The export of the appointment software: no NIR, French dates."""
    draws, persons, seen = population.draws, listed.persons, listed.seen
    french = "%d/%m/%Y"
    appointment = np.minimum(first_appointments(listed), day_number(month, last=True) + 20)
    delay = np.where(listed.oriented == spelling.UNKNOWN_DAY, 999, listed.oriented - listed.applied)
    honoured = listed.status == 0
    nobody = listed.oriented == spelling.UNKNOWN_DAY
    return Columns.of(
        {
            "Civilité": spelling.picked(("monsieur", "madame"), seen.sex - 1),
            "Nom": seen.used_name,
            "Prénom": seen.given_name,
            "Numéro CAF": caf_matricule(population, persons),
            "ID interne au département": listed.internal_id,
            "ID France Travail": spelling.where(
                draws.chance("list: employment service number", persons, 0.4),
                france_travail_number(population, persons),
                None,
            ),
            "Email": seen.email,
            "Adresse": address_line(seen),
            "CP": population.gazetteer.postal_codes.take(listed.towns),
            "Ville": population.gazetteer.names.take(listed.towns),
            "Téléphone": seen.phone,
            "Date de naissance": spelling.day_text(seen.birth_day, french),
            "Date de création": spelling.day_text(listed.applied + 5, french),
            "Date d'entrée flux": spelling.day_text(listed.applied, french),
            "Rôle": spelling.picked(("demandeur", "conjoint"), population.role[persons] % 2),
            "Première invitation envoyée le": spelling.day_text(listed.invited, french),
            "Dernière invitation envoyée le": spelling.day_text(listed.invited, french),
            "Dernière convocation envoyée le": None,
            "Date du dernier RDV": spelling.day_text(appointment, french),
            "Heure du dernier RDV": spelling.where(listed.status < 0, None, " 9h05"),
            "Motif du dernier RDV": spelling.where(listed.status < 0, None, "RSA orientation"),
            "Nature du dernier RDV": spelling.where(listed.status < 0, None, "Individuel"),
            "Dernier RDV pris en autonomie ?": spelling.where(draws.chance("by oneself", persons, 0.4), "Oui", "Non"),
            "Dernier RDV pris le": spelling.day_text(listed.invited, french),
            "Statut du rdv": spelling.picked(APPOINTMENT_STATUSES, listed.status),
            "Statut de la catégorie de motifs": spelling.where(nobody, "Invitation en attente", "Dossier traité"),
            "Rendez-vous d'orientation (RSA) honoré en - moins de 30 jours?": spelling.where(
                honoured & (delay < 30), "Oui", "Non"
            ),
            "Rendez-vous d'orientation (RSA) honoré en - moins de 15 jours?": spelling.where(
                honoured & (delay < 15), "Oui", "Non"
            ),
            "Date d'orientation": spelling.day_text(listed.oriented, french),
            "Type d'orientation": spelling.picked(_ORIENTATIONS, listed.orientation),
            "Date de début d'accompagnement": spelling.day_text(listed.oriented, french),
            "Date de fin d'accompagnement": spelling.day_text(
                np.where(nobody, spelling.UNKNOWN_DAY, np.maximum(listed.support_end, spelling.UNKNOWN_DAY)), french
            ),
            "Structure d'orientation": listed.structure,
            "Référent(s)": listed.referent,
            "Nombre d'organisations": "1",
            "Nom des organisations": listed.structure,
            "Tags": None,
        },
        len(persons),
    )


# -- contacts ----------------------------------------------------------------------------------------------------


def department_contacts(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The contact file of the CNAF: one line per head of file."""
    listed = listed_persons(population, situations, deposit)
    listed_heads = np.flatnonzero(population.role[listed.persons] == HEAD)
    persons = listed.persons[listed_heads]
    seen = observe(population, persons, "department", factor=deposit.factor)
    applied = situations.income.applied[persons]
    columns = Columns.of(
        {
            "MATRICULE": caf_matricule(population, persons),
            "NIR": pc.utf8_slice_codeunits(seen.nir, 0, 13),
            "NUMERO DEMANDE RSA": _request_number(population, persons),
            "DATE DEMANDE RSA": spelling.day_text(applied, "%d/%m/%Y"),
            "DATE DEBUT DROITS - DEVOIRS": spelling.day_text(applied + 30, "%d/%m/%Y"),
            "NOM RESPONSABLE DOSSIER": spelling.capitals(seen.used_name),
            "PRENOM RESPONSABLE DOSSIER": spelling.capitals(seen.given_name),
            "ROLE PERSONNE": "DEMANDEUR",
            "TYPE PERSONNE": spelling.picked(("MONSIEUR", "MADAME"), seen.sex - 1),
            "NUMERO TELEPHONE DOSSIER": pc.utf8_ltrim(seen.phone, "0"),
            "NUMERO TELEPHONE 2 DOSSIER": None,
            "ADRESSE ELECTRONIQUE DOSSIER": seen.email,
        },
        len(persons),
    )
    path = write(deposit.folder / f"fichier_contact_{deposit.month}.csv", delimited(columns, end_of_line="\n"))
    return deposit.made(path, population, persons, table="contacts")


def _request_number(population: Population, persons: Integers) -> pa.Array:
    """The eleven digits of the household's application."""
    number = population.draws.below("application", population.file[persons], 10_000_000)
    return spelling.joined("0102", spelling.digits_text(spelling.digits(number, 7)))


# -- CNAF --------------------------------------------------------------------------------------------------------

_FAMILY_ALONE = ("CEL", "DIV", "SEF", "ISO", "VEU")
_FAMILY_COUPLE = ("MAR", "VIM", "PAC")
_CLOSING_REASONS = ("RFD", "ECH", "RAU", "MUT", "RGD", "PCG")
_SUSPENDED_RIGHT, _SUSPENDED_PAYMENT = "DD", "02"


def cnaf_flow(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The monthly flow VRSB0801: windows-1252 XML, households of one or more `Personne`, control totals at the end."""
    partner, month = deposit.partner, deposit.month
    income, draws = situations.income, population.draws
    state = income.state(population, month)
    here = of_department(population, partner.territory_code)
    is_born = population.birth_day <= day_number(month, last=True)
    persons = np.flatnonzero(here & is_born & (state != NOT_ON_FILE))
    persons = persons[np.argsort(population.file[persons], kind="stable")]
    files = population.file[persons]
    is_first = np.r_[True, files[1:] != files[:-1]] if len(files) else np.array([], dtype=bool)
    is_last = np.r_[files[1:] != files[:-1], True] if len(files) else is_first
    seen = observe(population, persons, "department", key=persons + (1 << 40), factor=deposit.factor)
    department = partner.territory_code.rsplit("-", 1)[-1]

    opening = _household_opening(population, situations, persons, department)
    body = _person(population, situations, persons, seen, state[persons], month)
    closing = _household_closing(population, situations, persons, state[persons], month)
    text = spelling.joined(spelling.where(is_first, opening, ""), body, spelling.where(is_last, closing, ""))
    anomalies = int(np.count_nonzero(is_first & draws.chance("anomaly", files, 0.0)))
    households = int(np.count_nonzero(is_first))
    name = f"RSABEM{department.rjust(3, '0')}_{month.year}{month.month:02d}.xml"
    path = write(deposit.folder / name, _flow(text, month, households, anomalies))
    role = spelling.picked(ROLES, population.role[persons])
    known_as = spelling.joined(caf_matricule(population, persons), "/", role)
    return deposit.made(path, population, persons, table="personnes", first_line=1, local_key=known_as)


def _flow(persons: pa.Array, month: Month, households: int, anomalies: int) -> Iterable[bytes]:
    created = month.plus(1)
    head = (
        '<?xml version="1.0" encoding="windows-1252"?>\n'
        '<Racine xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\n'
        "<IdentificationFlux><APPLIEME>CRI</APPLIEME><NUMVERSIONAPPLIEME>6200</NUMVERSIONAPPLIEME><TYPEFLUX>M</TYPEFLUX>"
        f"<NATFLUX>D</NATFLUX><DTCREAFLUX>{created}-05</DTCREAFLUX><HEUCREAFLUX>01:18:36.0000</HEUCREAFLUX>"
        f"<DTREF>{month.last_day}</DTREF></IdentificationFlux>\n"
    )
    yield head.encode("cp1252")
    step = 100_000
    for start in range(0, len(persons), step):
        yield text_bytes(persons.slice(start, step), "\n").decode().encode("cp1252", errors="xmlcharrefreplace")
    tail = (
        f"<TransmissionFlux><NBTOTDOSRSATRANSM>{households}</NBTOTDOSRSATRANSM>"
        f"<NBTOTDOSRSATRANSMANO>{anomalies}</NBTOTDOSRSATRANSMANO></TransmissionFlux>\n</Racine>\n"
    )
    yield tail.encode("cp1252")


def _escaped(values: pa.Array) -> pa.Array:
    for mark, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
        values = pc.replace_substring(values, mark, entity)
    return values


def _element(name: str, value: pa.Array | str) -> pa.Array:
    """An element, or nothing where the value is null."""
    if isinstance(value, str):
        return pa.scalar(f"<{name}>{value}</{name}>", pa.string())
    return pc.fill_null(
        pc.binary_join_element_wise(f"<{name}>", _escaped(value), f"</{name}>", "", null_handling="emit_null"), ""
    )


def _household_opening(population: Population, situations: Situations, persons: Integers, department: str) -> pa.Array:
    draws = population.draws
    file = population.file[persons]
    is_farmer = draws.chance("MSA", file, 0.05)
    return spelling.joined(
        "<InfosFoyerRSA><IdentificationRSA><Organisme>",
        _element("FONORG", spelling.where(is_farmer, "MSA", "CAF")),
        _element("NUMORG", department + "1"),
        _element("MATRICULE", spelling.joined(caf_matricule(population, persons), "00000000")),
        "</Organisme><Partenaire><TYPEPARTE>CG </TYPEPARTE>",
        _element("IDEPARTE", department.rjust(3, "0")),
        "</Partenaire><DemandeRSA>",
        _element("DTDEMRSA", spelling.day_text(situations.income.applied[persons])),
        _element("NUMDEMRSA", _request_number(population, persons)),
        "</DemandeRSA></IdentificationRSA>\n",
    )


def _person(
    population: Population, situations: Situations, persons: Integers, seen: Observed, state: Integers, month: Month
) -> pa.Array:
    draws = population.draws
    role = spelling.picked(ROLES, population.role[persons])
    is_adult = population.role[persons] != CHILD
    birth_day = np.where(seen.birth_day == spelling.UNKNOWN_DAY, population.birth_day[persons], seen.birth_day)
    second, third = seen.other_given_names
    has_second = draws.chance("second given name known", persons, 0.6)
    searches = situations.job_search.is_known[persons] & draws.chance("IDASSEDIC known", persons, 0.3)
    idassedic = pc.utf8_slice_codeunits(france_travail_number(population, persons), 0, 8)
    subject = situations.income.is_subject[persons] & ~np.isin(
        state, (PENDING, RIGHT_SUSPENDED, CLOSED, CLOSED_EARLIER)
    )
    entered = subject & (situations.income.applied[persons] >= day_number(month, last=False))
    return spelling.joined(
        "<Personne><Identification>",
        _element("QUAL", spelling.where(is_adult, spelling.picked(("MR", "MME"), seen.sex - 1), None)),
        _element("NOM", _cut(seen.used_name, 28)),
        _element("NOMNAI", _cut(seen.birth_name, 28)),
        _element("PRENOM", _cut(seen.given_name, 32)),
        _element("PRENOM2", spelling.where(has_second, _cut(second, 15), None)),
        _element("PRENOM3", spelling.where(has_second, _cut(third, 15), None)),
        _element("NOMCOMNAI", _cut(seen.birth_place_name, 26)),
        _element("DTNAI", spelling.day_text(birth_day)),
        _element("TYPEDTNAI", "N"),
        _element("NIR", spelling.where(is_adult, pc.utf8_slice_codeunits(seen.nir, 0, 13), None)),
        _element("TOPVALIEC", spelling.where(draws.chance("certified", persons, 0.93), "1", "0")),
        _element("SEXE", spelling.text(seen.sex)),
        "</Identification><DossierCAF>",
        _element("TOPRESPDOS", spelling.where(population.role[persons] == HEAD, "1", "0")),
        _element("DDRATDOS", spelling.day_text(situations.income.applied[persons] - 400)),
        "</DossierCAF><Prestations><NATPREST>PFA</NATPREST>",
        _element("ROLEPERS", role),
        "<TOPCHAPERS>0</TOPCHAPERS></Prestations><Prestations><NATPREST>RSA</NATPREST>",
        _element("ROLEPERS", role),
        _element("TOPCHAPERS", spelling.where(is_adult, "0", "1")),
        "</Prestations>",
        spelling.where(
            searches & is_adult,
            spelling.joined("<DossierPoleEmploi>", _element("IDASSEDIC", idassedic), "</DossierPoleEmploi>"),
            "",
        ),
        spelling.where(
            is_adult,
            spelling.joined(
                "<MontantCalculDroitRSAPersonne>",
                _element("TOPPERSDRODEVORSA", spelling.where(subject, "1", "0")),
                _element("TOPPERSENTDRODEVORSA", spelling.where(entered, "1", "0")),
                "</MontantCalculDroitRSAPersonne>",
            ),
            "",
        ),
        "</Personne>",
    )  # fmt: skip


def _cut(values: pa.Array, width: int) -> pa.Array:
    return pc.utf8_slice_codeunits(spelling.capitals(values), 0, width)


def _household_closing(
    population: Population, situations: Situations, persons: Integers, state: Integers, month: Month
) -> pa.Array:
    draws, places = population.draws, population.gazetteer
    file = population.file[persons]
    is_couple = population.spouse[persons] >= 0
    family = spelling.where(
        is_couple,
        spelling.picked(_FAMILY_COUPLE, draws.choose("couple", file, np.array([0.45, 0.4, 0.15]))),
        spelling.picked(_FAMILY_ALONE, draws.choose("alone", file, np.array([0.6, 0.15, 0.1, 0.12, 0.03]))),
    )
    towns = pa.array(population.home.town[persons])
    applied = situations.income.applied[persons]
    closed = situations.income.closed[persons]
    # the household's closing elements stand on its last Personne: the children of the file are those before it
    children = _children(population, persons)
    reason = spelling.picked(
        _CLOSING_REASONS, draws.choose("closing", file, np.array([0.4, 0.3, 0.08, 0.12, 0.06, 0.04]))
    )
    suspended = np.maximum(applied, day_number(month, last=False) - 20)
    since = spelling.day_text(suspended)
    pays = np.isin(state, (2, PAYMENT_SUSPENDED))
    return spelling.joined(
        "\n<DonneesAdministratives><SituationFamille>",
        _element("SITFAM", family),
        _element("DDSITFAM", spelling.day_text(applied - 900)),
        "</SituationFamille><Adresse><TroncCommunAdresse><RGADR>01</RGADR>",
        _element("DTEMM", spelling.day_text(applied - 200)),
        "<PAYS>FRA</PAYS><TYPEADR>D</TYPEADR><ETATADR>CO</ETATADR></TroncCommunAdresse><AdresseDetailleeFrance>"
        "<COMPLIDEADR/><COMPLADR/>",
        _element("NUMVOIE", spelling.text(population.home.number[persons])),
        _element("LIBTYPEVOIE", population.home.street_type.take(pa.array(persons))),
        _element("NOMVOIE", population.home.street_name.take(pa.array(persons))),
        "<LIEUDIST/>",
        _element("NUMCOM", places.codes.take(towns)),
        _element("CODEPOS", places.postal_codes.take(towns)),
        _element("NOMCOM", spelling.capitals(places.names.take(towns))),
        "</AdresseDetailleeFrance></Adresse></DonneesAdministratives><PrestationRSA><SituationDossierRSA><EtatDossierRSA>",
        _element("ETATDOSRSA", spelling.text(state)),
        "</EtatDossierRSA>",
        spelling.where(
            state == RIGHT_SUSPENDED,
            spelling.joined(f"<SuspensionDroit><MOTISUSDRORSA>{_SUSPENDED_RIGHT}</MOTISUSDRORSA>",
                            _element("DDSUSDRORSA", since), "</SuspensionDroit>"),
            "",
        ),
        spelling.where(
            state == PAYMENT_SUSPENDED,
            spelling.joined(f"<SuspensionVersement><MOTISUSVERSRSA>{_SUSPENDED_PAYMENT}</MOTISUSVERSRSA>",
                            _element("DDSUSVERSRSA", since), "</SuspensionVersement>"),
            "",
        ),
        _closing_element("FinDroit", state == CLOSED, reason, closed),
        _closing_element("FinDroitMoisAnterieur", state == CLOSED_EARLIER, reason, closed),
        "</SituationDossierRSA><DetailDroitRSA><TroncCommunDroitRSA>",
        _element("TOPSANSDOMFIXE", spelling.where(draws.chance("homeless", file, 0.02), "1", "0")),
        _element("NBENFAUTCHA", spelling.text(children)),
        "<ORIDEMRSA>DEM</ORIDEMRSA>",
        _element("DTORIDEMRSA", spelling.day_text(applied)),
        _element("TOPFOYDRODEVORSA", spelling.where(pays, "1", "0")),
        "</TroncCommunDroitRSA>",
        spelling.where(
            pays,
            spelling.joined(
                "<DetailCalculDroitRSA>",
                _element("NATPF", spelling.where(draws.chance("increased", file, 0.08), "RSI", "RSD")),
                "<SOUSNATPF>RSDN1</SOUSNATPF>",
                _element("DDNATDRO", spelling.day_text(applied)),
                "</DetailCalculDroitRSA>",
            ),
            "",
        ),
        "</DetailDroitRSA></PrestationRSA></InfosFoyerRSA>",
    )  # fmt: skip


def _children(population: Population, persons: Integers) -> Integers:
    """The number of children in the file of each person."""
    count = np.zeros(len(population), dtype=np.int64)
    np.add.at(count, population.file[population.role == CHILD], 1)
    return count[population.file[persons]]


def _closing_element(name: str, applies: Booleans, reason: pa.Array, closed: Integers) -> pa.Array:
    inside = spelling.joined(
        f"<{name}>", _element("MOTICLORSA", reason), _element("DTCLORSA", spelling.day_text(closed)), f"</{name}>"
    )
    return spelling.where(applies, inside, "")
