"""What France Travail hands over beside its SPIE extract: registration files, actions and trainings, the diagnosis.

Belongs here: the files `ft_registrations`, `ft_actions` and `ft_diagnosis`. Does not belong here: the extract itself
(`employment`), who is registered (`situations`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.blemishes import Blemish, blemished
from insertion_pipeline.simulation.canonical import france_travail_number
from insertion_pipeline.simulation.delivering import Columns, Delivery, Deposit, delimited, write, zipped_many
from insertion_pipeline.simulation.department import of_department
from insertion_pipeline.simulation.employment import job_seeker_id
from insertion_pipeline.simulation.observing import observe
from insertion_pipeline.simulation.population import CHILD, Population
from insertion_pipeline.simulation.randomness import Integers
from insertion_pipeline.simulation.situations import Situations, day_number

_FRENCH, _STAMP = "%d/%m/%Y", "%Y-%m-%d 00:00:00.0"

# -- registrations -----------------------------------------------------------------------------------------------

_CEASED = (("71", "ENTREE EN STAGE"), ("20", "REPRISE D'EMPLOI DECLAREE"), ("92", "ABSENCE AU CONTROLE"))
_STRUCK_OFF = (("01", "NON REPONSE A CONVOCATION"), ("04", "INSUFFISANCE DE RECHERCHE D'EMPLOI"))
_REGISTRATION_BLEMISHES = {
    "nir2": (Blemish("1790308409002", 0.006),),
    "dtnai": (Blemish("00/00/1980", 0.006),),
    "code": (Blemish("9", 0.006),),
}


def ft_registrations(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The four files that a department receives of those on minimum income: stock, registered, ceased, struck off."""
    month, draws = deposit.month, population.draws
    start, end = day_number(month, last=False), day_number(month, last=True)
    search, income = situations.job_search, situations.income
    own = of_department(population, deposit.partner.territory_code) & income.has_file & (population.role != CHILD)
    known = own & search.is_known & (search.registered <= end)
    ceased = known & (search.ceased >= start) & (search.ceased <= end)
    is_struck_off = draws.chance("registration: struck off", population.rows, 0.3)
    files: dict[str, Integers] = {
        "inscriptions": np.flatnonzero(known & (search.registered >= start)),
        "cessations": np.flatnonzero(ceased & ~is_struck_off),
        "radiations": np.flatnonzero(ceased & is_struck_off),
        "stock": np.flatnonzero(known & ((search.ceased == spelling.UNKNOWN_DAY) | (search.ceased > end))),
    }
    members = [
        (f"FT_{name}_{month.year}{month.month:02d}.csv", _registration_file(population, situations, deposit, name, who))
        for name, who in files.items()
    ]
    path = zipped_many(deposit.folder / f"croisement_rsa_ft_{month}.zip", members)
    made = [deposit.made(path, population, who, table=name) for name, who in files.items()]
    return Delivery(path, deposit.source.name, deposit.partner.code, month, pa.concat_tables(m.truth for m in made))


def _registration_file(
    population: Population, situations: Situations, deposit: Deposit, name: str, persons: Integers
) -> bytes:
    draws, places = population.draws, population.gazetteer
    seen = observe(population, persons, "employment_service", key=persons + (1 << 42), factor=deposit.factor)
    towns = pa.array(seen.home.town)
    number = pc.utf8_slice_codeunits(seen.nir, 0, 13)
    reasons = _STRUCK_OFF if name == "radiations" else _CEASED
    reason = draws.below("registration: reason", persons, len(reasons))
    leaves = name in ("cessations", "radiations")
    day = situations.job_search.ceased[persons] if leaves else situations.job_search.registered[persons]
    category = draws.choose("registration: category", persons, np.array([0.6, 0.14, 0.1, 0.06, 0.06, 0.02, 0.01, 0.01]))
    columns: dict[str, pa.Array | str | None] = {
        "nir": number,
        "identifiantpe": _eleven(france_travail_number(population, persons), seen.home.town),
        "nom": spelling.capitals(seen.used_name),
        "prenom": spelling.capitals(seen.given_name),
        "dtnai": spelling.day_text(seen.birth_day, _FRENCH),
        "date": spelling.day_text(day, _FRENCH),
        "code": spelling.picked(tuple(code for code, _ in reasons), reason) if leaves else spelling.text(category + 1),
    }
    if leaves:
        columns["motif"] = spelling.picked(tuple(label for _, label in reasons), reason)
    columns |= {
        "nir2": number,
        "codeinsee": places.codes.take(towns),
        "localite": spelling.capitals(places.names.take(towns)),
        "adresse": spelling.joined(
            spelling.text(seen.home.number), " ", seen.home.street_type, " ", seen.home.street_name
        ),
        "ale": spelling.joined(spelling.picked(places.departments, seen.home.town), "010"),
    }
    spoilt = {one: wrong for one, wrong in _REGISTRATION_BLEMISHES.items() if not (leaves and one == "code")}
    written = blemished(
        Columns.of(columns, len(persons)), draws, f"ft_registrations {name}", deposit.key(persons), spoilt
    )
    return b"".join(delimited(written, end_of_line="\n"))


def _eleven(numbers: pa.Array, towns: Integers) -> pa.Array:
    """These files write eleven characters: an id of eight is completed by the number of its region."""
    suffix = spelling.digits_text(spelling.digits(towns % 1000, 3))
    is_short = np.asarray(pc.equal(pc.utf8_length(numbers), 8))
    return spelling.joined(numbers, spelling.where(is_short, suffix, ""))


# -- actions -----------------------------------------------------------------------------------------------------

_ACTIONS = (
    ("A23", "ATELIER TECHNIQUES DE RECHERCHE D'EMPLOI"), ("P01", "PRESTATION ACTIV'EMPLOI"),
    ("F12", "FORMATION DANS LE DOMAINE SUIVANT"), ("I05", "IMMERSION PROFESSIONNELLE"), ("S08", "AIDE A LA MOBILITE"),
)  # fmt: skip
_TRAININGS = (
    ("22054", "Peintre en bâtiment", "Certification"), ("31816", "Préparateur de commandes", "Professionnalisation"),
    ("15041", "Remise à niveau", "Préqualification"), ("42084", "Agent de propreté", "Certification"),
)  # fmt: skip
_FUNDERS, _OUTCOMES = ("Région", "France Travail", "OPCO", "CPF"), ("Terminée", "Certifiée", "Abandonnée")


def ft_actions(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """Actions prescribed to persons of the month's extract, and their trainings: two tables of one archive."""
    draws, end = population.draws, day_number(deposit.month, last=True)
    registered = np.flatnonzero(situations.job_search.in_month(deposit.month))
    acting = registered[draws.chance("action: has one", registered, 0.12)]
    begun = situations.job_search.registered[acting]
    prescribed = np.minimum(begun + 20 + draws.below("action: prescribed", acting, 200), end)
    started = prescribed + 10 + draws.below("action: waits", acting, 40)
    kind = draws.below("action: kind", acting, len(_ACTIONS))
    is_done = (started <= end) & draws.chance("action: done", acting, 0.8)
    finished = np.where(is_done, started + 5, spelling.UNKNOWN_DAY)
    is_odd = draws.chance("action: done before", acting, 0.02)
    actions = Columns.of(
        {
            "identifiant_unique_de": job_seeker_id(draws, acting),
            "codeaction": spelling.picked(tuple(code for code, _ in _ACTIONS), kind),
            "lblaction": spelling.picked(tuple(label for _, label in _ACTIONS), kind),
            "objectif_formation": spelling.where(kind == 2, "Certification", None),
            "date_prescription": spelling.day_text(prescribed, _STAMP),
            "date_realisation_action": spelling.day_text(np.where(is_odd, prescribed - 30, finished), _STAMP),
            "date_prev_debut": spelling.day_text(started, _STAMP),
            "date_debut": spelling.day_text(np.where(started <= end, started, spelling.UNKNOWN_DAY), _STAMP),
            "date_fin": spelling.day_text(finished, _STAMP),
            "formation": spelling.where(kind == 2, "BATIMENT SECOND OEUVRE", None),
            "adr.dc_commune_id": population.gazetteer.codes.take(pa.array(population.home.town[acting])),
        },
        len(acting),
    )
    trained = registered[draws.chance("training: has one", registered, 0.05)]
    members = [
        ("actions.csv", b"".join(delimited(actions, end_of_line="\n", null="NULL"))),
        ("formations.csv", b"".join(delimited(_trainings(population, trained, end), end_of_line="\n"))),
    ]
    path = zipped_many(deposit.folder / f"ft_actions_{deposit.month}.zip", members)
    made = [
        deposit.made(path, population, who, table=table, local_key=job_seeker_id(draws, who))
        for table, who in (("actions", acting), ("formations", trained))
    ]
    truth = pa.concat_tables(one.truth for one in made)
    return Delivery(path, deposit.source.name, deposit.partner.code, deposit.month, truth)


def _trainings(population: Population, persons: Integers, end: int) -> Columns:
    draws = population.draws
    entered = end - draws.below("training: entered", persons, 420)
    days = 20 + draws.below("training: lasts", persons, 100)
    left = np.where(entered + days <= end, entered + days, spelling.UNKNOWN_DAY)
    has_left = left > spelling.UNKNOWN_DAY
    kind = draws.below("training: kind", persons, len(_TRAININGS))
    outcome = draws.choose("training: outcome", persons, np.array([0.45, 0.4, 0.15]))
    is_seen = has_left & (left < end - 183)
    return Columns.of(
        {
            "identifiant_unique_de": job_seeker_id(draws, persons),
            "Formacode": spelling.picked(tuple(code for code, *_ in _TRAININGS), kind),
            "Intitulé": spelling.picked(tuple(title for _, title, _ in _TRAININGS), kind),
            "Objectif": spelling.picked(tuple(aim for *_, aim in _TRAININGS), kind),
            "Financeur": spelling.picked(_FUNDERS, draws.below("training: funder", persons, len(_FUNDERS))),
            "Date d'entrée": spelling.day_text(entered, _FRENCH),
            "Date de sortie": spelling.day_text(left, _FRENCH),
            "Heures": spelling.joined(spelling.text(days * 5), ",5"),
            "Issue": spelling.where(has_left, spelling.picked(_OUTCOMES, outcome), "En cours"),
            "En emploi à six mois": spelling.where(
                is_seen, spelling.where(draws.chance("training: in work", persons, 0.5), "oui", "non"), None
            ),
        },
        len(persons),
    )


# -- diagnosis ---------------------------------------------------------------------------------------------------

#: The two columns of a constraint are not named alike: the count, then the impact.
_CONSTRAINTS: Mapping[str, tuple[str, float]] = {
    "numerique": ("numeriq", 0.12), "mobilite": ("mobilite", 0.31), "familiale": ("famille", 0.15),
    "sante": ("sante", 0.14), "savoir": ("savoir", 0.08), "logement": ("logement", 0.12),
    "financiere": ("finance", 0.22), "admin_jurid": ("adminjur", 0.09),
}  # fmt: skip
_IMPACTS = ("FAIBLE", "MOYEN", "FORT", "NON_RENSEIGNE")
_AGES = ("Moins de 25 ans", "25-49 ans", "50 ans et plus")


def ft_diagnosis(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The aggregated file of the month: job seekers per local committee, category, RSA, sex, age and constraint."""
    draws, places = population.draws, population.gazetteer
    end = day_number(deposit.month, last=True)
    persons = np.flatnonzero(situations.job_search.in_month(deposit.month))
    state = situations.income.state(population, deposit.month)[persons]
    town = population.home.town[persons]
    age = (end - population.birth_day[persons]) // 365
    band = np.where(age < 25, 0, np.where(age < 50, 1, 2))
    category = draws.choose("diagnosis: category", persons, np.array([0.7, 0.14, 0.16]))
    # one constraint at most per person here, so that crossings stay few; every impact goes with its constraint
    share = np.array([1.0 - sum(rate for _, rate in _CONSTRAINTS.values()) / 1.6,
                      *(rate / 1.6 for _, rate in _CONSTRAINTS.values())])  # fmt: skip
    constraint = draws.choose("diagnosis: constraint", persons, share) - 1
    cells = pa.table(
        {
            "clpe": places.committees.take(pa.array(town)),
            "department": spelling.picked(places.departments, town),
            "category": spelling.picked(("A", "B", "C"), category),
            "rsa": spelling.where(situations.income.is_open(state), "O", "N"),
            "sex": spelling.picked(("M", "F"), population.sex[persons] - 1),
            "age": spelling.picked(_AGES, band),
            "constraint": pa.array(constraint),
        }
    )
    keys = cells.column_names
    counted = cells.group_by(keys).aggregate([("clpe", "count")]).sort_by([(key, "ascending") for key in keys])
    columns = blemished(
        _diagnosis_columns(counted, deposit), draws, "ft_diagnosis", deposit.key(np.arange(counted.num_rows)),
        {"n_nbcontraintesactives": (Blemish("1.0", 0.01),), "categorie_statistique": (Blemish("Z", 0.003),)},
    )  # fmt: skip
    path = deposit.folder / f"ft_diag_{deposit.month.year}{deposit.month.month:02d}.csv"
    return deposit.made_without_persons(write(path, delimited(columns, end_of_line="\n")))


def _diagnosis_columns(cells: pa.Table, deposit: Deposit) -> Columns:
    constraint = np.asarray(cells["constraint"])
    count = spelling.column(cells["clpe_count"].cast(pa.string()))
    has_one = constraint >= 0
    columns: dict[str, pa.Array | str | None] = {
        "mois_statistique": f"{deposit.month.year}{deposit.month.month:02d}",
        "c_territoire_id": spelling.column(cells["clpe"]),
        "c_lblterritoire": None,
        "dptres": spelling.column(cells["department"]),
        "regres": None,
        "categorie_statistique": spelling.column(cells["category"]),
        "tranche_anciennete": "YYYY",
        "top_qpv": "N",
        "top_zrr": "N",
        "top_boe": "N",
        "top_rsa": spelling.column(cells["rsa"]),
        "tranche_age": spelling.column(cells["age"]),
        "niveau_de_formation": "YYYY",
        "sexe": spelling.column(cells["sex"]),
        "situation_de_famille": "YYYY",
        "nombre_enfants_a_charge": None,
        "structure_accompagnement": None,
        "parcours_accompagnement": "SUIVI",
        "defm": count,
        "diag": "O",
        "n_nbcontraintesactives": spelling.where(has_one, "1", "0"),
    }
    for rank, (name, (impact, _)) in enumerate(_CONSTRAINTS.items()):
        holds = constraint == rank
        columns[f"contrainte_{name}"] = spelling.where(holds, count, "0")
        columns[f"c_impactcontrainte_{impact}_id"] = spelling.where(holds, _IMPACTS[rank % len(_IMPACTS)], "YYYY")
    return Columns.of(columns, cells.num_rows)
