"""What the platform « les emplois de l'inclusion » hands over: applications, posts, PASS, and employee records.

Belongs here: the files `emplois_applications` and `fiche_salarie`. Does not belong here: who works where
(`situations`), what the ASP makes of employee records (`siae`).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.blemishes import Blemish, blemished
from insertion_pipeline.simulation.canonical import france_travail_number, uuids
from insertion_pipeline.simulation.delivering import (
    Columns,
    Delivery,
    Deposit,
    Sheet,
    delimited,
    write,
    write_archive,
    write_workbook,
)
from insertion_pipeline.simulation.observing import Observed, observe
from insertion_pipeline.simulation.population import CHILD, Population
from insertion_pipeline.simulation.randomness import Booleans, Integers
from insertion_pipeline.simulation.siae import pass_number, person_number, structure_town
from insertion_pipeline.simulation.situations import MEASURES, Situations, day_number

_FRENCH = "%d/%m/%Y"
#: A snapshot speaks of the applications of this many months, and of the PASS of those who were hired.
HISTORY_MONTHS = 4
#: An application without an answer is refused automatically after two months.
_AUTOMATIC_REFUSAL_DAYS = 60
#: Beyond this many applications, tables of text instead of a workbook.
_LARGEST_WORKBOOK = 20_000
#: A batch holds at most so many lines, and two batches never bear the same second.
_LARGEST_BATCH = 700

_STATES = ("Candidature acceptée", "Candidature déclinée", "Candidature à l'étude", "Nouvelle candidature")
_ORIGINS = ("Prescripteur habilité", "Orienteur", "Candidat", "Employeur")
_PRESCRIBERS = ("FT", "ML", "DEPT", "CAP_EMPLOI", "PLIE", "CCAS")
_REFUSALS = ("no_position", "did_not_come", "unavailable", "lacking_skills", "incompatible", "not_mobile", "other")
_JOBS = ("K2204", "A1203", "N1103", "F1704", "N1105")
_BLEMISHES = {
    "état": (Blemish("Rêvée", 0.004),),
    "date_candidature": (Blemish("31/06/2026", 0.004),),
    "date_début_contrat": (Blemish(None, 0.01),),
}


@dataclass(frozen=True)
class _Applications:
    """Applications as they stand at the end of a month, one row each; -1 and UNKNOWN_DAY for what did not happen."""

    person: Integers
    structure: Integers
    spell: Integers  # the contract that came of it
    applied: Integers
    studied: Integers
    answered: Integers
    hired: Integers
    state: Integers  # rank in _STATES
    origin: Integers
    is_automatic: Booleans
    number: Integers

    def __len__(self) -> int:
        return len(self.person)


def emplois_applications(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The snapshot of a month: a workbook of three sheets, or an archive of three tables of text when it is large."""
    made = _applications(population, situations, deposit)
    seen = observe(population, made.person, "siae", key=made.person + (1 << 41), factor=deposit.factor)
    applications = blemished(
        _application_columns(population, situations, made, seen), population.draws, "emplois_applications",
        deposit.key(made.number), _BLEMISHES,
    )  # fmt: skip
    tables = {
        "Candidatures": applications,
        "Postes": _posts(population, situations, deposit, made),
        "PASS": _passes(population, situations, deposit, made),
    }
    stem = f"emplois_candidatures_{deposit.month}"
    if len(made) <= _LARGEST_WORKBOOK:
        sheets = [Sheet(name, columns, frozenset({"SIRET"})) for name, columns in tables.items()]
        path = write_workbook(deposit.folder / f"{stem}.xlsx", sheets)
    else:
        members = ((f"{name.lower()}.csv", b"".join(delimited(columns))) for name, columns in tables.items())
        path = write_archive(deposit.folder / f"{stem}.zip", members)
    return deposit.made(path, population, made.person, table="candidatures", local_key=_candidate(made.person))


def _candidate(persons: Integers) -> pa.Array:
    return spelling.text(persons * 3 + 100_000)


def _applications(population: Population, situations: Situations, deposit: Deposit) -> _Applications:
    """Those that led to a contract, then those of job seekers that did not, or not yet."""
    draws, spells = population.draws, situations.employment
    end = day_number(deposit.month, last=True)
    begin = day_number(deposit.month.plus(-HISTORY_MONTHS), last=False)
    hired = np.flatnonzero((spells.hired >= begin) & (spells.hired <= end))
    wait = 4 + np.floor(70 * draws.uniform("application: wait", hired) ** 1.4).astype(np.int64)
    seeks = situations.job_search.is_known & ~population.is_belgian & (population.role != CHILD)
    others = np.flatnonzero(seeks & draws.chance("application: in vain", population.rows, 0.10))
    others = others[np.full(len(others), len(situations.structures) > 0)]
    asked = end - draws.below("application: day", deposit.key(others), (end - begin) // 2)
    age = end - asked
    is_automatic = (age > _AUTOMATIC_REFUSAL_DAYS) & draws.chance("application: no answer", others, 0.2)
    refused = is_automatic | ((age > 15) & draws.chance("application: refused", others, 0.6))
    pending = np.where(age > 10, 2, 3)
    reply = np.where(is_automatic, asked + _AUTOMATIC_REFUSAL_DAYS, asked + 12)

    def both(first: Integers, second: Integers) -> Integers:
        return np.concatenate([first, second])

    unknown = np.full(len(others), spelling.UNKNOWN_DAY, dtype=np.int64)
    number = both(hired * 2, others * 2 + 1)
    origins = np.array([0.52, 0.12, 0.2, 0.16])
    return _Applications(
        person=both(spells.person[hired], others),
        structure=both(
            spells.structure[hired], draws.below("application: structure", others, max(len(situations.structures), 1))
        ),
        spell=both(hired, np.full(len(others), -1, dtype=np.int64)),
        applied=both(spells.hired[hired] - wait, asked),
        studied=both(spells.hired[hired] - wait + 3, np.where((age > 10) & ~is_automatic, asked + 4, unknown)),
        answered=both(spells.hired[hired] - wait // 4, np.where(refused, reply, unknown)),
        hired=both(spells.hired[hired], unknown),
        state=both(np.zeros(len(hired), dtype=np.int64), np.where(refused, 1, pending)),
        origin=draws.choose("application: origin", number, origins),
        is_automatic=np.concatenate([np.zeros(len(hired), dtype=bool), is_automatic]),
        number=number,
    )


def _kinds(situations: Situations) -> tuple[str, ...]:
    return tuple(MEASURES[one.measure][0] for one in situations.structures)


def _sirets(situations: Situations) -> tuple[str, ...]:
    return tuple(one.siret for one in situations.structures)


def _communes(population: Population, situations: Situations) -> tuple[str, ...]:
    places = population.gazetteer
    return tuple(str(places.codes[structure_town(places, one, rank)]) for rank, one in enumerate(situations.structures))


def _application_columns(
    population: Population, situations: Situations, made: _Applications, seen: Observed
) -> Columns:
    draws, persons, number = population.draws, made.person, made.number
    places, towns = population.gazetteer, pa.array(seen.home.town)
    is_refused, by_employer, by_authorised = made.state == 1, made.origin == 3, made.origin == 0
    says_wrong = draws.chance("application: sender mistaken", number, 0.01)
    refusal = draws.choose("application: refused because", number, np.array([0.3, 0.18, 0.12, 0.14, 0.1, 0.08, 0.08]))
    by_prescriber = by_authorised & draws.chance("application: diagnosed by the prescriber", number, 0.9)
    prescriber = draws.choose("application: prescriber", number, np.array([0.4, 0.18, 0.2, 0.08, 0.08, 0.06]))
    sirets = _sirets(situations)
    reason = spelling.where(made.is_automatic, "auto", spelling.picked(_REFUSALS, refusal))
    return Columns.of(
        {
            "id": uuids(draws, "application", number),
            "id_candidat": _candidate(persons),
            "NIR": seen.nir,
            "Nom": seen.used_name,
            "Nom de naissance": seen.birth_name,
            "Prénom": seen.given_name,
            "Date de naissance": spelling.day_text(seen.birth_day, _FRENCH),
            "Civilité": spelling.picked(("M", "MME"), seen.sex - 1),
            "Commune de résidence": places.codes.take(towns),
            "Code postal": places.postal_codes.take(towns),
            "Identifiant France Travail": spelling.where(
                situations.job_search.is_known[persons] & draws.chance("IDE known", persons, 0.8),
                france_travail_number(population, persons),
                None,
            ),
            "SIRET": spelling.picked(sirets, made.structure),
            "type_structure": spelling.picked(_kinds(situations), made.structure),
            "Commune de la structure": spelling.picked(_communes(population, situations), made.structure),
            "date_candidature": spelling.day_text(made.applied, _FRENCH),
            "Date de prise en compte": spelling.day_text(made.studied, _FRENCH),
            "Date de réponse": spelling.day_text(made.answered, _FRENCH),
            "date_début_contrat": spelling.day_text(made.hired, _FRENCH),
            "état": spelling.picked(_STATES, made.state),
            "origine": spelling.picked(_ORIGINS, made.origin),
            "Envoyée par l'employeur": spelling.where(by_employer ^ says_wrong, "oui", "non"),
            "Type d'organisation prescripteur": spelling.picked(_PRESCRIBERS, np.where(by_authorised, prescriber, -1)),
            "motif_de_refus": spelling.where(is_refused, reason, None),
            "candidature_refusée_automatiquement": spelling.where(made.is_automatic, "oui", "non"),
            "ROME": spelling.picked(_JOBS, draws.below("application: job", number, len(_JOBS))),
            "Critères niveau 1": spelling.text(draws.below("application: first criteria", number, 3)),
            "Critères niveau 2": spelling.text(draws.below("application: second criteria", number, 4)),
            "type_auteur_diagnostic": spelling.where(by_prescriber, "Prescripteur", "Structure"),
            "SIRET auteur diagnostic": spelling.where(by_prescriber, None, spelling.picked(sirets, made.structure)),
        },
        len(made),
    )  # fmt: skip


def _posts(population: Population, situations: Situations, deposit: Deposit, made: _Applications) -> Columns:
    """Two posts per structure, most of them open: how long, how many applied, how many were hired in thirty days."""
    draws = population.draws
    post = np.arange(len(situations.structures) * 2)
    structure = post // 2
    end = day_number(deposit.month, last=True)
    is_open = draws.chance("post: open", deposit.key(post), 0.75)
    since = end - 15 - draws.below("post: open for", post, 220)
    recent = made.structure[(made.hired > end - 30) & (made.hired <= end)]
    hires = np.bincount(recent, minlength=max(len(situations.structures), 1))[structure]
    asked = np.bincount(made.structure[made.applied > end - 30], minlength=max(len(situations.structures), 1))
    is_first = post % 2 == 0
    return Columns.of(
        {
            "ID poste": spelling.text(4500 + post),
            "SIRET": spelling.picked(_sirets(situations), structure),
            "Type employeur": spelling.picked(_kinds(situations), structure),
            "Code INSEE de la structure": spelling.picked(_communes(population, situations), structure),
            "ROME": spelling.picked(_JOBS, post % len(_JOBS)),
            "Recrutement ouvert": spelling.where(is_open, "oui", "non"),
            "Ouvert depuis": spelling.day_text(since, _FRENCH),
            "Fermé le": spelling.day_text(np.where(is_open, spelling.UNKNOWN_DAY, end - 5), _FRENCH),
            "Postes à pourvoir": spelling.text(draws.between("post: places", post, 1, 3)),
            "Recrutements": spelling.text(np.where(is_first, hires, 0)),
            "Candidatures": spelling.text(np.where(is_first, asked[structure], draws.below("post: asked", post, 4))),
        },
        len(post),
    )


def _passes(population: Population, situations: Situations, deposit: Deposit, made: _Applications) -> Columns:
    """The PASS of those whom an application brought into a structure: two years, at times suspended or prolonged."""
    draws, spells = population.draws, situations.employment
    end = day_number(deposit.month, last=True)
    spell = made.spell[made.spell >= 0]
    persons, structure, begun = spells.person[spell], spells.structure[spell], spells.hired[spell]
    is_suspended = draws.chance("PASS: suspended", deposit.key(spell), 0.06) & (begun < end - 40)
    is_prolonged = draws.chance("PASS: to be prolonged", spell, 0.05) & (begun < end - 30)
    asked = np.where(is_prolonged, end - 20, spelling.UNKNOWN_DAY)
    is_done = is_prolonged & draws.chance("PASS: decided", spell, 0.7)
    return Columns.of(
        {
            "Numéro": pass_number(draws, person_number(spells, spell) * 2),
            "id_candidat": _candidate(persons),
            "Nature": "PASS IAE",
            "SIRET": spelling.picked(_sirets(situations), structure),
            "date_début": spelling.day_text(begun, _FRENCH),
            "Date de fin": spelling.day_text(begun + 730, _FRENCH),
            "Suspendu": spelling.where(is_suspended, "oui", "non"),
            "Suspendu depuis": spelling.day_text(np.where(is_suspended, end - 25, spelling.UNKNOWN_DAY), _FRENCH),
            "Prolongations": spelling.text(is_done.astype(np.int64)),
            "Prolongation demandée le": spelling.day_text(asked, _FRENCH),
            "Prolongation traitée le": spelling.day_text(np.where(is_done, asked + 12, spelling.UNKNOWN_DAY), _FRENCH),
            "Issue de la demande": spelling.where(
                is_prolonged, spelling.where(is_done, "Acceptée", "En attente"), None
            ),
        },
        len(spell),
    )


# -- employee records --------------------------------------------------------------------------------------------

_STATIC_ADDRESS = {"voie": "DE BLIDA", "commune": "57463", "postal": "57000"}
#: What the ASP answered: accepted; a duplicate, which is a success too; refused.
_RETURNS = (
    ("0000", "La ligne de la fiche salarié a été enregistrée avec succès."),
    ("3436", "Un PASS IAE doit être unique pour un même SIRET."),
    ("3330", "Le champ Prénom contient des caractères interdits."),
)


def fiche_salarie(population: Population, situations: Situations, deposit: Deposit) -> tuple[Delivery, ...]:
    """The return files of the month's batches: a line for each person hired, and for a few whose record changed.

    An update carries the address of a France Travail office, sent to pass the ASP's checks: it places nobody.
    """
    draws, spells = population.draws, situations.employment
    start, end = day_number(deposit.month, last=False), day_number(deposit.month, last=True)
    is_hired = (spells.hired >= start) & (spells.hired <= end)
    changes = spells.in_month(deposit.month) & draws.chance(
        "employee record: update", deposit.key(np.arange(len(spells))), 0.03
    )
    index = np.flatnonzero(is_hired | changes)
    made = []
    for rank, first in enumerate(range(0, len(index), _LARGEST_BATCH)):
        batch = index[first : first + _LARGEST_BATCH]
        lines = _lines(population, situations, deposit, batch, is_hired[batch])
        content = {"msgInformatif": "Fichier traité", "telId": None, "lignesTelechargement": lines}
        stamp = f"{deposit.month.plus(1).first_day:%Y%m}05{9 + rank // 3600:02d}{rank // 60 % 60:02d}{rank % 60:02d}"
        path = deposit.folder / f"RIAE_FS_{stamp}_FichierRetour.json"
        write(path, (json.dumps(content, ensure_ascii=False, indent=1).encode(),))
        known_as = pa.array([line["personnePhysique"]["idItou"] for line in lines], pa.string())
        made.append(
            deposit.made(path, population, spells.person[batch], table="lignes", first_line=1, local_key=known_as)
        )
    return tuple(made)


def _lines(
    population: Population, situations: Situations, deposit: Deposit, index: Integers, is_new: Booleans
) -> list[dict[str, Any]]:
    """The lines of one batch: nested objects, as the ASP's layout has them."""
    draws, spells, places = population.draws, situations.employment, population.gazetteer
    persons = spells.person[index]
    seen = observe(population, persons, "siae", key=person_number(spells, index), factor=deposit.factor)
    towns = pa.array(seen.home.town)
    income = situations.income
    on_income = income.has_file[persons] & (income.applied[persons] <= spells.hired[index])
    columns = Columns.of(
        {
            "pass": pass_number(draws, person_number(spells, index) * 2),
            "itou": pc.utf8_slice_codeunits(pc.replace_substring(uuids(draws, "candidate", persons), "-", ""), 0, 30),
            "civilite": spelling.picked(("M", "MME"), seen.sex - 1),
            "usage": spelling.capitals(seen.used_name),
            "prenom": pc.utf8_slice_codeunits(spelling.capitals(seen.given_name), 0, 30),
            "naissance": spelling.day_text(seen.birth_day, _FRENCH),
            "lieu": spelling.where(population.is_foreign_born[persons], None, seen.birth_place_code),
            "debut": spelling.day_text(spells.hired[index], _FRENCH),
            "fin": spelling.day_text(spells.hired[index] + 730, _FRENCH),
            "nir": seen.nir,
            "numero": spelling.text(seen.home.number),
            "type_voie": spelling.capitals(seen.home.street_type),
            "voie": spelling.where(is_new, spelling.capitals(seen.home.street_name), _STATIC_ADDRESS["voie"]),
            "commune": spelling.where(is_new, places.codes.take(towns), _STATIC_ADDRESS["commune"]),
            "postal": spelling.where(is_new, places.postal_codes.take(towns), _STATIC_ADDRESS["postal"]),
            "orienteur": spelling.picked(("03", "01", "05", "04", "07"), draws.below("record: referrer", index, 5)),
            "niveau": spelling.picked(("00", "40", "50", "51", "70"), draws.below("record: degree", persons, 5)),
            "depuis": spelling.picked(("01", "02", "03", "04"), draws.below("record: without work", persons, 4)),
            "ide": spelling.where(
                situations.job_search.is_known[persons], france_travail_number(population, persons), None
            ),
            "rsa": spelling.where(on_income, "OUI-NM", "NON"),
            "retour": spelling.text(draws.choose("record: return", index, np.array([0.95, 0.03, 0.02]))),
            "mesure": spelling.picked(
                tuple(MEASURES[one.measure][1] for one in situations.structures), spells.structure[index]
            ),
            "siret": spelling.picked(_sirets(situations), spells.structure[index]),
        },
        len(index),
    )
    rows = pa.table(list(columns.values), names=list(columns.headers)).to_pylist()
    return [_line(number, row, is_new=bool(new)) for number, (row, new) in enumerate(zip(rows, is_new, strict=True), 1)]


def _line(number: int, row: dict[str, Any], *, is_new: bool) -> dict[str, Any]:
    code, label = _RETURNS[int(row["retour"])]
    is_registered = row["ide"] is not None
    return {
        "numLigne": number,
        "typeMouvement": "C" if is_new else "M",
        "mesure": row["mesure"],
        "siret": row["siret"],
        "personnePhysique": {
            "passIae": row["pass"], "sufPassIae": None, "idItou": row["itou"], "civilite": row["civilite"],
            "nomUsage": row["usage"], "nomNaissance": None, "prenom": row["prenom"], "dateNaissance": row["naissance"],
            "codeComInsee": {"codeComInsee": row["lieu"], "codeDpt": (row["lieu"] or "99")[:2].rjust(3, "0")},
            "codeInseePays": "100" if row["lieu"] else None, "codeGroupePays": "1" if row["lieu"] else "3",
            "passDateDeb": row["debut"], "passDateFin": row["fin"], "salarieNIR": row["nir"],
        },
        "adresse": {
            "adrTelephone": None, "adrMail": None, "adrNumeroVoie": row["numero"], "codeextensionvoie": None,
            "codetypevoie": row["type_voie"], "adrLibelleVoie": row["voie"], "adrCpltDistribution": None,
            "codeinseecom": row["commune"], "codepostalcedex": row["postal"],
        },
        "situationSalarie": {
            "orienteur": row["orienteur"], "niveauFormation": row["niveau"], "salarieEnEmploi": False,
            "salarieSansEmploiDepuis": row["depuis"], "salarieSansRessource": False,
            "inscritPoleEmploi": is_registered, "inscritPoleEmploiDepuis": row["depuis"] if is_registered else None,
            "numeroIDE": row["ide"], "salarieBenefRSA": row["rsa"],
            "salarieBenefRSADepuis": "03" if row["rsa"] != "NON" else None, "salarieBenefASS": False,
            "salarieParentIsole": False,
        },
        "codeTraitement": code,
        "libelleTraitement": label,
    }  # fmt: skip
