"""What the ALE deposit: who worked how many hours for whom, and what users asked for.

Belongs here: the file `ale_activity`, as the network declares it. Does not belong here: who works where (`situations`).
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from insertion_pipeline.month import Month
from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.blemishes import Blemish, blemished
from insertion_pipeline.simulation.delivering import (
    Columns,
    Delivery,
    Deposit,
    Sheet,
    delimited,
    write,
    write_workbook,
)
from insertion_pipeline.simulation.observing import observe
from insertion_pipeline.simulation.population import Population
from insertion_pipeline.simulation.randomness import Draws, Integers
from insertion_pipeline.simulation.situations import ACTIVITIES, USER_TYPES, Situations, day_number

#: What a worker is paid for an hour, in euros, on top of benefits.
_EUROS_AN_HOUR = 4.10
_STATUSES = ("DEDA", "SIP", "OBL", "LIB", "RIS")
_BLEMISHES = {
    "mois": (Blemish(None, 0.002),),
    "heures": (Blemish("douze", 0.003), Blemish("162", 0.004)),
    "statut": (Blemish("CHOMEUR", 0.004),),
    "niss": (Blemish("00000000000", 0.003),),
    "commune_ins": (Blemish("5201", 0.003),),
}


def ale_activity(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The file of one ALE for one month: a workbook with its requests for two ALE in five, a CSV for the others."""
    agency, month, folder = situations.agencies.index(deposit.partner.code), deposit.month, deposit.folder
    name = deposit.partner.code.removeprefix("ale-")
    spells, hours, users = activity(population, situations, agency, month)
    persons = situations.local_work.person[spells]
    columns = _workers(population, situations, spells, hours, users, name, month, deposit.factor)
    if agency % 5 in (1, 3):
        path = write_workbook(
            folder / f"ALE_{name}_{month}.xlsx",
            [
                Sheet("Prestations", columns, frozenset()),
                Sheet("Demandes", _requests(population.draws, hours, users, name, agency, month)),
            ],
        )
    else:
        path = write(folder / f"activite_{name}_{month}.csv", delimited(columns))
    return deposit.made(path, population, persons, table="prestations")


def activity(
    population: Population, situations: Situations, agency: int, month: Month
) -> tuple[Integers, Integers, Integers]:
    """The spell, hours and user type (-1 for none) of each row: one or two users a month, or a row without hours."""
    work, draws = situations.local_work, population.draws
    spells = np.flatnonzero(work.in_month(month) & (work.agency == agency))
    key = work.person[spells] * 100 + (month.year * 12 + month.month) % 100
    idle = draws.chance("ALE: idle", key, 0.22)
    total = np.floor(work.usual_hours[spells] * (0.6 + 0.7 * draws.uniform("ALE: hours", key))).astype(np.int64)
    total = np.where(idle, 0, np.maximum(total, 1))
    two = ~idle & (total > 12) & draws.chance("ALE: two users", key, 0.3)
    rows = np.repeat(np.arange(len(spells)), 1 + two)
    second = np.r_[False, rows[1:] == rows[:-1]]
    half = total[rows] // 3
    hours = np.where(two[rows], np.where(second, half, total[rows] - half), total[rows])
    user = draws.choose("ALE: user", work.person[spells], np.array([0.58, 0.12, 0.14, 0.13, 0.03]))[rows]
    user = np.where(second, (user + 1) % len(USER_TYPES), user)
    return spells[rows], hours, np.where(idle[rows], -1, user)


def _activity_names(draws: Draws, spells: Integers, users: Integers) -> pa.Array:
    names = [name for of_user in ACTIVITIES for name in of_user]
    first = np.cumsum([0, *(len(of_user) for of_user in ACTIVITIES)])
    width = np.array([len(of_user) for of_user in ACTIVITIES])
    rank = first[users] + draws.below("ALE: activity", spells, width[users])
    return spelling.picked(tuple(names), np.where(users < 0, -1, rank))


def _workers(
    population: Population, situations: Situations, spells: Integers, hours: Integers, users: Integers, name: str,
    month: Month, factor: float,
) -> Columns:  # fmt: skip
    work, draws = situations.local_work, population.draws
    persons = work.person[spells]
    seen = observe(population, persons, "ale", key=persons * 2 + work.agency[spells] % 2, factor=factor)
    left = work.left[spells]
    has_left = (left != spelling.UNKNOWN_DAY) & (left <= day_number(month, last=True))
    euros = np.char.mod("%.2f", hours * _EUROS_AN_HOUR)
    referred = draws.choose("ALE: referred", persons, np.array([0.45, 0.2, 0.05, 0.3]))
    trained = draws.chance("ALE: trained", persons, 0.12)
    count = len(persons)
    columns = Columns.of(
        {
            "mois": str(month),
            "ale_code": name,
            "niss": seen.niss,
            "nom": seen.birth_name,
            "prenom": seen.given_name,
            "date_naissance": spelling.day_text(seen.birth_day, "%d/%m/%Y"),
            "sexe": spelling.picked(("M", "F"), seen.sex - 1),
            "commune_ins": population.gazetteer.codes.take(pa.array(seen.home.town)),
            "statut": spelling.picked(
                _STATUSES, draws.choose("ALE: status", persons, np.array([0.62, 0.02, 0.08, 0.08, 0.2]))
            ),
            "date_inscription_ale": spelling.day_text(work.registered[spells], "%d/%m/%Y"),
            "type_utilisateur": spelling.picked(USER_TYPES, users),
            "activite": _activity_names(draws, spells, users),
            "heures": spelling.text(hours),
            "montant_cheques": spelling.text(pa.array(euros.tolist(), pa.string())),
            "date_sortie": spelling.day_text(np.where(has_left, left, spelling.UNKNOWN_DAY), "%d/%m/%Y"),
            "motif_sortie": spelling.where(has_left, "fin d'inscription", None),
            "adresse_par": spelling.picked(("FOREM", "CPAS", "AUTRE", "SPONTANE"), referred),
            "date_adressage": spelling.day_text(
                np.where(referred < 3, work.registered[spells] - 12, spelling.UNKNOWN_DAY), "%d/%m/%Y"
            ),
            "issue_adressage": spelling.where(referred < 3, "INSCRIT", None),
            "formation_suivie": spelling.where(trained, "techniques de nettoyage", None),
            "competences_attestees": spelling.where(
                trained & draws.chance("ALE: attested", persons, 0.5), "aide ménagère", None
            ),
        },
        count,
    )
    key = spells * 2000 + (month.year * 12 + month.month) % 1000
    return blemished(columns, draws, "ale_activity", key, _BLEMISHES)


def _requests(draws: Draws, hours: Integers, users: Integers, name: str, agency: int, month: Month) -> Columns:
    """One row per user type and activity: hours asked and served."""
    rows = [(user, activity) for user, activities in enumerate(ACTIVITIES) for activity in activities]
    index = np.arange(len(rows)) + agency * 1000 + month.month * 100_000
    of_user = np.array([user for user, _ in rows])
    width = np.array([len(activities) for activities in ACTIVITIES])[of_user]
    served = np.array([int(hours[users == user].sum()) for user in range(len(USER_TYPES))])[of_user] // width
    asked = served + draws.below("ALE: hours not served", index, np.maximum(served // 2, 6))
    return Columns.of(
        {
            "mois": str(month),
            "ale_code": name,
            "type_utilisateur": spelling.picked(USER_TYPES, of_user),
            "activite": spelling.picked(tuple(activity for _, activity in rows), np.arange(len(rows))),
            "heures_demandees": spelling.text(asked),
            "heures_prestees": spelling.text(served),
        },
        len(rows),
    )
