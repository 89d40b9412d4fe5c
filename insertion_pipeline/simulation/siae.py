"""What speaks of SIAE: the national fluxIAE bundle of the ASP, and the monthly file of a structure.

Belongs here: the files `fluxiae` and `siae_monthly`. Does not belong here: who works where (`situations`).

The bundle's columns are those of the contract, in its order: a view is rendered by naming its columns, and those that
no simulation fills are empty, as most are in reality.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.month import Month
from insertion_pipeline.registry import ContractTable
from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.blemishes import Blemish, blemished
from insertion_pipeline.simulation.canonical import france_travail_number
from insertion_pipeline.simulation.delivering import (
    Columns,
    Delivery,
    Deposit,
    Sheet,
    delimited,
    gzipped,
    write,
    write_archive,
    write_workbook,
    zipped,
)
from insertion_pipeline.simulation.observing import Observed, observe
from insertion_pipeline.simulation.places import Gazetteer
from insertion_pipeline.simulation.population import Population
from insertion_pipeline.simulation.randomness import Draws, Integers
from insertion_pipeline.simulation.situations import (
    EXIT_CATEGORIES,
    EXIT_REASONS,
    MEASURES,
    Employment,
    Situations,
    Structure,
    day_number,
)

#: A bundle holds the months of this year before its first month, so that yearly and rolling counts have their past.
HISTORY_MONTHS = 12

_FRENCH = "%d/%m/%Y"
_CATEGORY_LABELS = (
    "Emploi durable", "Emploi de transition", "Sorties positives", "Autres sorties", "Retrait des sorties constatées",
)  # fmt: skip
#: Levels of education, by code of the ASP.
_LEVELS = (
    ("00", "Qualification non certifiante"), ("01", "Jamais scolarisé"),
    ("10", "Troisième cycle ou école d'ingénieur"), ("20", "Niveau licence"), ("30", "Niveau BTS ou DUT"),
    ("40", "Niveau bac"), ("41", "Brevet de technicien ou bac professionnel"), ("50", "Niveau CAP ou BEP"),
    ("51", "CAP ou BEP obtenu"), ("60", "Formation courte d'une durée d'un an"),
    ("70", "Pas de formation au-delà de la scolarité obligatoire"),
)  # fmt: skip
_CONTRACT_DAYS = 182
_LONGEST = 7
_MONTHLY_BLEMISHES = {
    "heures_travaillees": (Blemish("beaucoup", 0.004), Blemish("410", 0.004)),
    "date_debut_contrat": (Blemish("bientôt", 0.004),),
    "mois": (Blemish(None, 0.003),),
    "motif_sortie_categorie": (Blemish("DYNAMIQUE", 0.004),),
}


# -- structures and annexes --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Annex:
    """A financial annex of a structure for one year, and its amendments."""

    structure: int
    identifier: int
    number: str
    year: int
    contracted: float
    amendments: int


def structure_number(rank: int) -> int:
    """The ASP's identifier of the n-th structure."""
    return 4001 + rank * 3


def structure_town(places: Gazetteer, structure: Structure, rank: int) -> int:
    """The commune of the n-th structure: one of the three largest of its territory."""
    towns = places.inside(structure.territory)
    largest = towns[np.argsort(-places.population[towns], kind="stable")]
    return int(largest[rank % min(3, len(largest))])


def annex_number(structure: Structure, rank: int, year: int) -> str:
    """Type, department on three characters, year, order: `ACI054260019`. The renewal is not part of it."""
    department = structure.territory.rsplit("-", 1)[-1].rjust(3, "0")[:3]
    return f"{MEASURES[structure.measure][0]}{department}{year % 100:02d}{rank + 1:04d}"


def _annex_identifier(rank: Integers | int, year: Integers | int) -> Integers | int:
    return 30_000 + rank * 16 + year % 16


def _annexes(draws: Draws, situations: Situations, years: Sequence[int]) -> list[_Annex]:
    """The annexes of each year; the contracted ETP follow the people that the structure really employs."""
    spells = situations.employment
    found = []
    employed = np.bincount(spells.structure, spells.monthly_hours, minlength=len(situations.structures))
    for rank, structure in enumerate(situations.structures):
        monthly = MEASURES[structure.measure][3] / 12
        usual = max(float(employed[rank]) * 0.45 / monthly, 1.0)
        for year in years:
            key = np.array([rank * 10_000 + year])
            contracted = round(usual * (0.85 + 0.35 * float(draws.uniform("contracted", key)[0])), 2)
            amendments = 1 + int(draws.below("amendments", key, 3)[0])
            number = annex_number(structure, rank, year)
            found.append(_Annex(rank, int(_annex_identifier(rank, year)), number, year, contracted, amendments))
    return found


def _structure_view(population: Population, situations: Situations) -> tuple[dict[str, pa.Array], int]:
    places = population.gazetteer
    rows: dict[str, list[str | None]] = {}
    for rank, structure in enumerate(situations.structures):
        town = structure_town(places, structure, rank)
        name = structure.name.upper()
        row = {
            "structure_date_creation": "01/02/2010 00:00:00",
            "structure_date_modification": "30/11/2024 00:00:00",
            "structure_id_siae": str(structure_number(rank)),
            "structure_siret_signature": structure.siret,
            "structure_siret_actualise": structure.siret,
            "structure_denomination": name,
            "structure_categorie_juridique_code": "9220",
            "structure_code_naf": "8899B",
            "structure_adresse_admin_numero": str(3 + rank),
            "structure_adresse_admin_type_voie": "RUE",
            "structure_adresse_admin_nom_voie": "DES ATELIERS",
            "structure_adresse_admin_cplt_adresse": 'BATIMENT "B' if rank % 5 == 2 else None,
            "structure_adresse_admin_cp": places.postal_codes[town].as_py(),
            "structure_adresse_admin_commune": places.names[town].as_py().upper(),
            "structure_adresse_admin_code_insee": places.codes[town].as_py(),
            "structure_adresse_admin_telephone": f"3535{rank:05d}",
            "structure_adresse_gestion_cp": places.postal_codes[town].as_py(),
            "structure_adresse_gestion_commune": places.names[town].as_py().upper(),
            "structure_adresse_gestion_code_insee": places.codes[town].as_py(),
            "structure_adresse_mail_corresp_technique": "contact@structure.example",
        }
        for column, value in row.items():
            rows.setdefault(column, []).append(value)
    return _arrays(rows), len(situations.structures)


def _annex_view(draws: Draws, situations: Situations, annexes: Sequence[_Annex]) -> tuple[dict[str, pa.Array], int]:
    """One row per amendment: the history of the contracted ETP, the last state being the one in force."""
    rows: dict[str, list[str | None]] = {}
    count = 0
    for annex in annexes:
        structure = situations.structures[annex.structure]
        kind, code, identifier, yearly, _, _ = MEASURES[structure.measure]
        department = structure.territory.rsplit("-", 1)[-1].rjust(3, "0")
        for amendment in range(annex.amendments):
            is_last = amendment == annex.amendments - 1
            contracted = annex.contracted if is_last else round(annex.contracted * (0.9 + 0.06 * amendment), 2)
            unit = 21_900.0 if kind == "ACI" else 12_000.0
            row = {
                "af_id_structure": str(structure_number(annex.structure)),
                "af_numero_convention": f"{department} 0101{annex.year % 100:02d} {kind} {annex.structure + 1:05d}",
                "af_mesure_dispositif_id": str(identifier),
                "af_mesure_dispositif_code": code,
                "af_numero_annexe_financiere": annex.number,
                "af_numero_avenant_renouvellement": "0",
                "af_numero_avenant_modification": str(amendment),
                "af_id_annexe_financiere": str(annex.identifier),
                "af_id_avenant_modification": str(annex.identifier * 4 + amendment),
                "af_etat_annexe_financiere_code": "VALIDE" if is_last else "HISTORISE",
                "af_indicateur_suspension": "false",
                "af_indicateur_derogation": "false",
                "af_date_debut_effet": f"01/01/{annex.year}",
                "af_date_fin_effet": f"31/12/{annex.year}",
                "af_etp_postes_insertion": f"{contracted:.2f}",
                "af_duree_heure_annuel_etp_id": str(_hours_row(structure.measure)),
                "af_duree_heure_annuel_etp_code": "DUR_AN_ETP",
                "af_duree_heure_annuel_etp_valeur": f"{yearly:.2f}",
                "af_montant_unitaire_annuel_id": str(_amount_row(structure.measure)),
                "af_montant_unitaire_annuel_code": "MT_AN_ETP",
                "af_montant_unitaire_annuel_valeur": f"{unit:.2f}",
                "af_montant_total_annuel": f"{contracted * unit:.2f}",
                "af_indic_cofinancement": "false",
                "af_nb_prev_sorties": str(max(int(annex.contracted), 1)),
                "af_taux_prev_sorties_dynamiques": "60.00",
                "af_taux_prev_sorties_durable": "25.00",
                "af_taux_prev_sorties_trans": "20.00",
                "af_taux_prev_sorties_positives": "15.00",
                "af_date_etat_valide": f"{10 + amendment}/0{1 + amendment * 2}/{annex.year}",
                "af_date_signature": f"{5 + amendment:02d}/0{1 + amendment * 2}/{annex.year}",
            }
            copies = 1
            if is_last and draws.chance("rejected twice", np.array([annex.identifier]), 0.06)[0]:
                copies = 2  # the rejection reason alone tells the two rows of one amendment apart
            for copy in range(copies):
                count += 1
                motive = ("", "") if copies == 1 else (("3", "CP_BANC_KO"), ("4", "TIT_RIB_KO"))[copy]
                whole = row | {"af_motif_rejet_id": motive[0], "af_motif_rejet_code": motive[1]}
                for column, value in whole.items():
                    rows.setdefault(column, []).append(value)
    return _arrays(rows), count


def _arrays(rows: Mapping[str, list[str | None]]) -> dict[str, pa.Array]:
    return {column: pa.array(values, pa.string()) for column, values in rows.items()}


# -- contracts, monthly states, persons --------------------------------------------------------------------------


def person_number(spells: Employment, index: Integers) -> Integers:
    """One number per person and structure: the n-th structure of a person gets a number of its own."""
    is_second = np.r_[False, spells.person[1:] == spells.person[:-1]]
    number: Integers = 500_000 + spells.person[index] * 2 + is_second[index]
    return number


def pass_number(draws: Draws, index: Integers) -> pa.Array:
    """PASS IAE: twelve figures; a person's second one in a structure has an index of its own."""
    return spelling.joined("99999", spelling.digits_text(spelling.digits(draws.below("PASS", index, 10_000_000), 7)))


def _contract_number(spells: Employment, index: Integers, rank: Integers) -> Integers:
    number: Integers = 800_000 + (person_number(spells, index) - 500_000) * (_LONGEST + 1) + rank
    return number


def _contract_rank(spells: Employment, index: Integers, day: Integers | int) -> Integers:
    """The rank of the contract in force on a day: contracts are renewed every six months."""
    last = np.clip((spells.planned_end[index] - spells.hired[index]) // _CONTRACT_DAYS, 0, _LONGEST)
    return np.clip((day - spells.hired[index]) // _CONTRACT_DAYS, 0, last)


def _known(situations: Situations, month: Month) -> Integers:
    """The spells that a bundle of this month speaks of."""
    spells = situations.employment
    begin = day_number(situations.span.first.plus(-HISTORY_MONTHS), last=False)
    end = day_number(month, last=True)
    return np.flatnonzero((spells.hired <= end) & ((spells.left == spelling.UNKNOWN_DAY) | (spells.left >= begin)))


def _left_by(spells: Employment, index: Integers, day: int) -> Integers:
    left = spells.left[index]
    return np.where((left != spelling.UNKNOWN_DAY) & (left <= day), left, spelling.UNKNOWN_DAY)


def _contract_view(
    population: Population, situations: Situations, month: Month
) -> tuple[dict[str, pa.Array | str | None], int]:
    draws, spells = population.draws, situations.employment
    known = _known(situations, month)
    end = day_number(month, last=True)
    left = _left_by(spells, known, end)
    until = np.where(left == spelling.UNKNOWN_DAY, end, left)
    renewals = _contract_rank(spells, known, until)
    index = np.repeat(known, renewals + 1)
    rank = np.arange(len(index)) - np.repeat(np.cumsum(renewals + 1) - renewals - 1, renewals + 1)
    is_last = rank == np.repeat(renewals, renewals + 1)
    persons, start = spells.person[index], spells.hired[index] + rank * _CONTRACT_DAYS
    finish = np.minimum(start + _CONTRACT_DAYS - 1, spells.planned_end[index])
    left = np.where(is_last, np.repeat(left, renewals + 1), spelling.UNKNOWN_DAY)
    has_left = left != spelling.UNKNOWN_DAY
    measure = _measures(situations)[spells.structure[index]]
    income = situations.income
    at_hire = income.has_file[persons] & (income.applied[persons] <= start)
    length = draws.choose("unemployed for", persons, np.array([0.12, 0.18, 0.32, 0.38])) + 1
    degree = draws.choose("degree", persons, np.array([3, 4, 1, 2, 3, 8, 8, 22, 22, 5, 22.0]))
    referrers = ("03", "01", "05", "04", "07", "02", "11", "06")
    referrer = draws.choose("referrer", index, np.array([0.34, 0.13, 0.16, 0.07, 0.14, 0.04, 0.05, 0.07]))
    on_income = spelling.where(draws.chance("increased RSA", persons, 0.08), "OUI-M", "OUI-NM")
    columns: dict[str, pa.Array | str | None] = {
        "contrat_date_creation": spelling.day_text(start - 5, "%d/%m/%Y 00:00:00"),
        "contrat_date_modification": spelling.day_text(start, "%d/%m/%Y 00:00:00"),
        "contrat_id_structure": spelling.text(_structure_numbers(spells.structure[index])),
        "contrat_mesure_disp_id": spelling.text(_measure_ids()[measure]),
        "contrat_mesure_disp_code": spelling.picked(tuple(one[1] for one in MEASURES), measure),
        "contrat_id_pph": spelling.text(person_number(spells, index)),
        "contrat_id_ctr": spelling.text(_contract_number(spells, index, rank)),
        "contrat_duree_contrat": spelling.text(np.maximum((finish - start + 15) // 30, 1)),
        "contrat_type_contrat": spelling.text(rank),
        "contrat_format_contrat_code": "CDDI",
        "contrat_code_rome": spelling.picked(("K2204", "A1203", "N1103", "F1704"), draws.below("job held", index, 4)),
        "contrat_duree_hebdo_travail": spelling.where(draws.chance("odd hours", index, 0.02), "2600", "26:00"),
        "contrat_date_embauche": spelling.day_text(start, _FRENCH),
        "contrat_date_fin_contrat": spelling.day_text(finish, _FRENCH),
        "contrat_date_sortie_definitive": spelling.day_text(left, _FRENCH),
        "contrat_motif_sortie_id": _reason_ids(spells.reason[index], measure, has_left),
        "contrat_motif_sortie_code": spelling.picked(
            tuple(code for code, *_ in EXIT_REASONS), np.where(has_left, spells.reason[index], -1)
        ),
        "contrat_orienteur_code": spelling.picked(referrers, referrer),
        "contrat_niveau_de_formation_id": spelling.text(_level_ids(_measure_ids()[measure], degree)),
        "contrat_niveau_de_formation_code": spelling.picked(tuple(code for code, _ in _LEVELS), degree),
        "contrat_emploi_depuis_code": spelling.picked(("00", "01", "02", "03", "04"), length),
        "contrat_sans_ressource": spelling.where(draws.chance("no income", persons, 0.05), "true", "false"),
        "contrat_inscrit_pole_emploi": spelling.where(situations.job_search.is_known[persons], "true", "false"),
        "contrat_numero_ide": spelling.where(
            situations.job_search.is_known[persons] & draws.chance("IDE known", persons, 0.8),
            france_travail_number(population, persons),
            None,
        ),
        "contrat_salarie_pe_duree_code": spelling.picked(("00", "01", "02", "03", "04"), length),
        "contrat_salarie_rsa": spelling.where(at_hire, on_income, "NON"),
        "contrat_salarie_rsa_duree_code": spelling.where(
            at_hire, spelling.picked(("01", "02", "03", "04"), length - 1), "00"
        ),
        "contrat_salarie_ass": spelling.where(draws.chance("ASS", persons, 0.06), "true", "false"),
        "contrat_salarie_parent_isole": spelling.where(draws.chance("lone parent", persons, 0.12), "true", "false"),
    }
    return columns, len(index)


def _state_view(
    population: Population, situations: Situations, month: Month
) -> tuple[dict[str, pa.Array | str | None], int]:
    """The monthly states known at the end of `month`: some come late, some are restated a month later."""
    parts = [
        _states_of(population, situations, worked, month)
        for worked in _months(situations.span.first.plus(-HISTORY_MONTHS), month)
    ]
    columns = {name: pa.concat_arrays([part[name] for part in parts]) for name in parts[0]}
    return dict(columns), len(columns["emi_pph_id"])


def _months(first: Month, last: Month) -> list[Month]:
    return [first.plus(step) for step in range(last.months_since(first) + 1)]


def _states_of(population: Population, situations: Situations, worked: Month, known: Month) -> dict[str, pa.Array]:
    draws, spells = population.draws, situations.employment
    end = day_number(worked, last=True)
    index = np.flatnonzero(spells.in_month(worked))
    key = index * 1000 + (worked.year * 12 + worked.month) % 1000
    is_fresh = worked == known
    entered = ~(is_fresh & draws.chance("entered late", key, 0.03))
    index, key = index[entered], key[entered]
    restated = draws.chance("restated", key, 0.05)
    hours = spells.hours(population, worked)[index]
    hours = np.where(restated & is_fresh, hours * 9 // 10, hours)
    version = np.where(restated & ~np.array(is_fresh), 1, 0)
    left = _left_by(spells, index, end)
    has_left = left != spelling.UNKNOWN_DAY
    day = np.where(has_left, left, end)
    measure = _measures(situations)[spells.structure[index]]
    monthly = np.array([one[3] / 12 for one in MEASURES])[measure]
    share = np.char.mod("%.2f", hours / monthly)
    entry = day_number(worked.plus(1), last=False) + draws.below("day of entry", key, 12)
    billed = np.isin(measure, (2, 3))
    return {
        "emi_date_creation": spelling.day_text(entry, "%d/%m/%Y 00:00:00"),
        "emi_date_modification": spelling.day_text(entry, "%d/%m/%Y 00:00:00"),
        "emi_pph_id": spelling.text(person_number(spells, index)),
        "emi_afi_id": spelling.text(
            np.asarray(_annex_identifier(spells.structure[index], worked.year), dtype=np.int64)
        ),
        "emi_sme_mois": _same(str(worked.month), len(index)),
        "emi_sme_annee": _same(str(worked.year), len(index)),
        "emi_esm_etat_id": spelling.where(restated & is_fresh, "2", "3"),
        "emi_esm_etat_code": spelling.where(restated & is_fresh, "SAISI", "VALIDE"),
        "emi_sme_version": spelling.text(version),
        "emi_ctr_id": spelling.text(_contract_number(spells, index, _contract_rank(spells, index, day))),
        "emi_nb_heures_travail": spelling.text(hours),
        "emi_nb_heures_facturees": spelling.where(billed, spelling.text(hours), None),
        "emi_nb_mission": spelling.where(billed, "1", None),
        "emi_mt_salaire_brut": spelling.joined(spelling.text(hours * 12), ".00"),
        "emi_part_etp": pa.array(share.tolist(), pa.string()),
        "emi_date_fin_reelle": spelling.day_text(left, _FRENCH),
        "emi_date_validation": spelling.day_text(entry + 2, _FRENCH),
        "emi_motif_sortie_id": _reason_ids(spells.reason[index], measure, has_left),
        "emi_motif_sortie_code": spelling.picked(
            tuple(code for code, *_ in EXIT_REASONS), np.where(has_left, spells.reason[index], -1)
        ),
        "emi_salarie_tjs_accomp": spelling.where(has_left, "false", "true"),
        "emi_dsm_id": spelling.text(key),
    }


def _same(value: str, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, pa.string()), count)


def _person_view(
    population: Population, situations: Situations, month: Month, factor: float
) -> tuple[dict[str, pa.Array | str | None], Integers, Integers]:
    """Columns, the spell and the local number of each row; a person with two PASS stands twice."""
    draws, spells = population.draws, situations.employment
    known = _known(situations, month)
    twice = draws.chance("two PASS", known, 0.02)
    index = np.repeat(known, 1 + twice)
    is_second = np.r_[False, index[1:] == index[:-1]] if len(index) else np.array([], dtype=bool)
    persons = spells.person[index]
    number = person_number(spells, index)
    seen = observe(population, persons, "siae", key=number, factor=factor)
    towns = pa.array(seen.home.town)
    places = population.gazetteer
    departments = spelling.picked(places.departments, seen.home.town)
    columns: dict[str, pa.Array | str | None] = {
        "salarie_id": spelling.text(number),
        "salarie_nir": seen.nir,
        "salarie_agrement": pass_number(draws, number * 2 + is_second),
        "salarie_rci_libelle": spelling.picked(("M.", "MME"), seen.sex - 1),
        "salarie_prenom": spelling.capitals(seen.given_name),
        "salarie_nom_usage": spelling.capitals(seen.used_name),
        "salarie_nom_naissance": spelling.capitals(seen.birth_name),
        "salarie_date_naissance": spelling.day_text(seen.birth_day, _FRENCH),
        "salarie_adr_numero_voie": spelling.text(seen.home.number),
        "salarie_codetypevoie": seen.home.street_type,
        "salarie_adr_libelle_voie": spelling.joined(seen.home.street_type, " ", seen.home.street_name),
        "salarie_adr_qpv_type": spelling.where(draws.chance("QPV", persons, 0.24), "QP", "NQP"),
        "salarie_adr_is_zrr": spelling.where(draws.chance("ZRR", persons, 0.2), "true", "false"),
        "salarie_codeinseecom": places.codes.take(towns),
        "salarie_codepostalcedex": places.postal_codes.take(towns),
        "salarie_commune": spelling.capitals(places.names.take(towns)),
        "salarie_code_dpt": pc.utf8_lpad(departments, 3, "0"),
        "salarie_date_modification": spelling.day_text(spells.hired[index], "%d/%m/%Y 00:00:00"),
    }
    return columns, persons, number


def _measures(situations: Situations) -> Integers:
    return np.array([one.measure for one in situations.structures], dtype=np.int64)


def _measure_ids() -> Integers:
    return np.array([one[2] for one in MEASURES], dtype=np.int64)


def _structure_numbers(rank: Integers) -> Integers:
    number: Integers = structure_number(0) + rank * (structure_number(1) - structure_number(0))
    return number


# -- support and training ----------------------------------------------------------------------------------------

#: Difficulties of the Accompagnement view, and the share of employees whom each one concerns.
_DIFFICULTIES = {
    "illetrisme": 0.12, "demarch": 0.22, "heberg": 0.14, "mobilite": 0.34, "sante": 0.18, "surendet": 0.09,
    "manque_dispo": 0.08, "justice": 0.05,
}  # fmt: skip


def _support_view(
    draws: Draws, situations: Situations, annexes: Sequence[_Annex], month: Month
) -> tuple[dict[str, pa.Array | str | None], int]:
    """One row per annex of the year, and an older one beside a few of them: the latest counts."""
    spells = situations.employment
    current = [annex for annex in annexes if annex.year == month.year]
    present = np.bincount(spells.structure[spells.in_month(month)], minlength=max(len(situations.structures), 1))
    key = np.array([annex.identifier for annex in current], dtype=np.int64)
    twice = draws.chance("support: entered twice", key, 0.4)
    row = np.repeat(np.arange(len(current)), 1 + twice)
    is_older = np.r_[row[1:] == row[:-1], False] if len(row) else np.array([], dtype=bool)
    employed = present[[annex.structure for annex in current]][row] if current else row
    created = day_number(Month(month.year, 1), last=False) + 40 - 20 * is_older
    changed = np.where(is_older, created, day_number(month, last=True) - 3)
    columns: dict[str, pa.Array | str | None] = {
        "acc_id": spelling.text(key[row] * 2 + is_older),
        "acc_afi_id": spelling.text(key[row]),
        "acc_date_creation": spelling.day_text(created, "%d/%m/%Y 00:00:00"),
        "acc_date_modification": spelling.day_text(changed, "%d/%m/%Y 00:00:00"),
    }
    for name, share in _DIFFICULTIES.items():
        concerned = np.floor(employed * share * (0.7 + 0.6 * draws.uniform(f"support: {name}", key[row]))).astype(int)
        inside, outside = concerned // 2, concerned // 4
        for how, number in (("conc", concerned), ("int", inside), ("ext", outside), ("int_ext", outside // 2)):
            columns[f"acc_dif_nb_sal_{how}_{name}"] = spelling.text(number)
    return columns, len(row)


#: Where the receipts of a kind of structure come from.
_SECTORS = ("agri", "btp", "nettoyage", "recycl", "serv_pers", "transp", "autres")


def _receipts_view(
    draws: Draws, situations: Situations, annexes: Sequence[_Annex], month: Month
) -> tuple[dict[str, pa.Array | str | None], int]:
    """One row per annex of the year, and an older, smaller one beside a few of them: the latest counts."""
    current = [annex for annex in annexes if annex.year == month.year]
    key = np.array([annex.identifier for annex in current], dtype=np.int64)
    row = np.repeat(np.arange(len(current)), 1 + draws.chance("receipts: entered twice", key, 0.2))
    is_older = np.r_[row[1:] == row[:-1], False] if len(row) else np.array([], dtype=bool)
    posts = np.array([annex.contracted for annex in current])[row] if current else row
    columns: dict[str, pa.Array | str | None] = {
        "mpu_af_id": spelling.text(key[row]),
        "mpu_date_creation": spelling.day_text(
            day_number(Month(month.year, 1), last=False) + 45 - 20 * is_older, "%d/%m/%Y 00:00:00"
        ),
    }
    for name in _SECTORS:
        share = draws.uniform(f"receipts: {name}", key[row])
        euros = np.where(share > 0.6, np.floor(posts * 20_000 * share * (1 - 0.5 * is_older)), 0).astype(int)
        columns[f"mpu_sct_mt_recet_{name}"] = spelling.text(euros)
    return columns, len(row)


def _training_view(
    population: Population, situations: Situations, month: Month
) -> tuple[dict[str, pa.Array | str | None], int]:
    """Trainings of those present in the month: one employee in ten."""
    draws, spells = population.draws, situations.employment
    index = np.flatnonzero(spells.in_month(month) & draws.chance("training in a SIAE", np.arange(len(spells)), 0.1))
    start = np.maximum(spells.hired[index] + 20, day_number(month.plus(-6), last=False))
    known = start <= day_number(month, last=True)
    index, start = index[known], start[known]
    days = 2 + draws.below("training in a SIAE: days", index, 12)
    is_odd = draws.chance("training in a SIAE: dates reversed", index, 0.02)
    contract = _contract_number(spells, index, _contract_rank(spells, index, start))
    return {
        "formation_id_for": spelling.text(70_000 + index),
        "formation_id_ctr": spelling.text(contract),
        "formation_date_debut": spelling.day_text(start, _FRENCH),
        "formation_date_fin": spelling.day_text(np.where(is_odd, start - 30, start + days), _FRENCH),
        "formation_duree_jours": spelling.text(days),
        "formation_duree_heures": spelling.text(days * 7),
        "formation_objectif_code": spelling.text(1 + index % 4),
        "formation_type_code": spelling.text(1 + index % 3),
    }, len(index)


# -- referentials ------------------------------------------------------------------------------------------------


def _reason_ids(reason: Integers, measure: Integers, has_left: Integers) -> pa.Array:
    """Every referential repeats its codes once per measure under another id: the id alone joins."""
    number = spelling.text(_measure_ids()[measure] * 100 + np.maximum(reason, 0))
    return spelling.where(has_left.astype(bool), number, None)


def _hours_row(measure: int) -> int:
    return 11 + measure


def _amount_row(measure: int) -> int:
    return 103 + measure


def _reasons_view() -> dict[str, pa.Array]:
    rows: dict[str, list[str | None]] = {}
    for _, _, identifier, *_ in MEASURES:
        for rank, (code, label, category, _) in enumerate(EXIT_REASONS):
            row = {
                "rms_id": str(identifier * 100 + rank),
                "rms_code": code,
                "rms_libelle": label,
                "rcs_id": str(category),
                "rme_id": str(identifier),
            }
            for column, value in row.items():
                rows.setdefault(column, []).append(value)
    return _arrays(rows)


def _level_ids(measure: Integers | int, level: Integers) -> Integers:
    """One row of the referential per level and measure."""
    number: Integers = measure * 20 + level
    return number


def _levels_view() -> tuple[dict[str, pa.Array], int]:
    measure = np.repeat(_measure_ids(), len(_LEVELS))
    level = np.tile(np.arange(len(_LEVELS)), len(MEASURES))
    return {
        "rnf_id": spelling.text(_level_ids(measure, level)),
        "rnf_code": spelling.picked(tuple(code for code, _ in _LEVELS), level),
        "rnf_libelle": spelling.picked(tuple(label for _, label in _LEVELS), level),
        "rme_id": spelling.text(measure),
    }, len(level)


def _categories_view() -> dict[str, pa.Array]:
    return _arrays(
        {
            "rcs_id": [str(rank) for rank in range(1, 6)],
            "rcs_code": [str(rank) for rank in range(1, 6)],
            "rcs_libelle": list(_CATEGORY_LABELS),
        }
    )


def _amounts_view() -> dict[str, pa.Array]:
    rows: dict[str, list[str | None]] = {}
    for measure, (kind, _, identifier, yearly, _, _) in enumerate(MEASURES):
        amount = 21_900.0 if kind == "ACI" else 12_000.0
        for number, code, label, value in (
            (
                _hours_row(measure),
                "DUR_AN_ETP",
                "Nombre d'heures annuelles théoriques pour un salarié à taux plein",
                yearly,
            ),
            (_amount_row(measure), "MT_AN_ETP", "Montant annuel de l'aide pour un ETP", amount),
        ):
            row = {
                "rmi_id": str(number),
                "rmi_code": code,
                "rmi_libelle": label,
                "rmi_valeur": f"{value:.2f}",
                "rmi_date_debut_effet": "01/01/2024",
                "rmi_date_fin_effet": None,
                "rme_id": str(identifier),
                "code_dpt": None,
            }
            for column, cell in row.items():
                rows.setdefault(column, []).append(cell)
    return _arrays(rows)


# -- the bundle --------------------------------------------------------------------------------------------------

#: Headers that the ASP writes otherwise than the name of the column.
_LEAKED_HEADERS = {"af_nb_banques": "af_nb_banques numeric"}
#: How each member of the bundle is packed, and whether its first and last lines stand: exports differ.
_PACKING = {"Structure": "zip", "AnnexeFinanciere": "gzip", "RefMotifSort": "plain"}
_WITHOUT_LAST_LINE = frozenset({"AnnexeFinanciere"})
_WITHOUT_FIRST_LINE = frozenset({"RefCategorieSort"})


def fluxiae(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The bundle of the last weekly drop of a month: a ZIP named `.tar.gz`, one member per view."""
    source, month = deposit.source, deposit.month
    draws = population.draws
    stamp_day = month.plus(1).first_day.replace(day=12)
    stamp = stamp_day.strftime("%d%m%Y") + "_063004"
    first, last = situations.span.first.plus(-HISTORY_MONTHS), situations.span.last
    annexes = _annexes(draws, situations, range(first.year, last.year + 1))
    annexes = [annex for annex in annexes if annex.year <= month.year]
    people, persons, number = _person_view(population, situations, month, deposit.factor)
    views: dict[str, tuple[Mapping[str, pa.Array | str | None], int]] = {
        "structure": _structure_view(population, situations),
        "annexe_financiere": _annex_view(draws, situations, annexes),
        "contrat_mission": _contract_view(population, situations, month),
        "etat_mensuel_indiv": _state_view(population, situations, month),
        "salarie": (people, len(persons)),
        "ref_motif_sort": (_reasons_view(), len(MEASURES) * len(EXIT_REASONS)),
        "ref_categorie_sort": (_categories_view(), 5),
        "ref_montant_iae": (_amounts_view(), 2 * len(MEASURES)),
        "accompagnement": _support_view(draws, situations, annexes, month),
        "marches_publics": _receipts_view(draws, situations, annexes, month),
        "formations": _training_view(population, situations, month),
        "ref_niveau_formation": _levels_view(),
    }
    members = []
    for table in source.version_for(month).resources:
        columns, count = views[table.name]
        view = table.insertion.member or table.name
        name = f"fluxIAE_{view}_{stamp}.csv.gz"
        members.append((name, _packed(view, name, _member(table, view, columns, count, stamp))))
    path = write_archive(deposit.folder / f"fluxIAE_ITOU_{stamp_day:%Y%m%d}_063004.tar.gz", members)
    return deposit.made(path, population, persons, table="salarie", first_line=3, local_key=spelling.text(number))


def _member(
    table: ContractTable, view: str, columns: Mapping[str, pa.Array | str | None], count: int, stamp: str
) -> bytes:
    """A view as text: `|`, no quotes, a line DEB before the header and a line FIN after the last row, or not."""
    headers = [field.name for field in table.fields]
    written = Columns.of({_LEAKED_HEADERS.get(name, name): columns.get(name) for name in headers}, count)
    pipes = "|" * (len(headers) - 1)
    first = b"" if view in _WITHOUT_FIRST_LINE else f"DEB{view}{stamp}{pipes}\n".encode()
    last = b"" if view in _WITHOUT_LAST_LINE else f"FIN{count}{pipes}\n".encode()
    return first + b"".join(delimited(written, separator="|", end_of_line="\n", quoted=False)) + last


def _packed(view: str, name: str, content: bytes) -> bytes:
    packing = _PACKING.get(view, "gzip")
    if packing == "plain":
        return content
    return zipped(name, content) if packing == "zip" else gzipped(content)


# -- the structure's own file ------------------------------------------------------------------------------------


def siae_monthly(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The monthly file of one structure: a workbook with the contract's titles for some, a CSV for the others."""
    source, month = deposit.source, deposit.month
    rank = [one.code for one in situations.structures].index(deposit.partner.code)
    structure = situations.structures[rank]
    spells, draws = situations.employment, population.draws
    index = np.flatnonzero(spells.in_month(month) & (spells.structure == rank))
    persons = spells.person[index]
    seen = observe(population, persons, "siae", key=person_number(spells, index), factor=deposit.factor)
    columns = _monthly_columns(population, situations, structure, rank, index, seen, month)
    columns = blemished(columns, draws, "siae_monthly", deposit.key(index), _MONTHLY_BLEMISHES)
    if rank % 3 == 2:
        titles = {field.name: field.title for field in source.version_for(month).resources[0].fields}
        shown = Columns(tuple(titles[name] for name in columns.headers), columns.values)
        path = write_workbook(deposit.folder / f"siae_{month}.xlsx", [Sheet("Salariés", shown)])
    else:
        path = write(deposit.folder / f"siae_{month}.csv", (b"\xef\xbb\xbf", *delimited(columns)))
    return deposit.made(path, population, persons, table="salaries")


def _monthly_columns(
    population: Population, situations: Situations, structure: Structure, rank: int, index: Integers, seen: Observed,
    month: Month,
) -> Columns:  # fmt: skip
    draws, spells = population.draws, situations.employment
    persons = spells.person[index]
    left = _left_by(spells, index, day_number(month, last=True))
    has_left = left != spelling.UNKNOWN_DAY
    reason = np.where(has_left, spells.reason[index], -1)
    category = np.array([one[2] - 1 for one in EXIT_REASONS])[np.maximum(reason, 0)]
    has_income = situations.income.is_open(situations.income.state(population, month))[persons]
    trained = draws.chance("trained", index * 13 + month.month, 0.1)
    immersed = draws.chance("immersed", index * 17 + month.month, 0.05)
    referrer = draws.choose("referrer", index, np.array([0.34, 0.13, 0.16, 0.07, 0.14, 0.04, 0.05, 0.07]))
    return Columns.of(
        {
            "mois": str(month),
            "siret": structure.siret,
            "annexe_numero": annex_number(structure, rank, month.year),
            "nir": seen.nir,
            "nom_naissance": seen.birth_name,
            "nom_usage": seen.used_name,
            "prenom": seen.given_name,
            "date_naissance": spelling.day_text(seen.birth_day, _FRENCH),
            "sexe": spelling.picked(("M", "F"), seen.sex - 1),
            "code_commune": population.gazetteer.codes.take(pa.array(seen.home.town)),
            "date_debut_contrat": spelling.day_text(spells.hired[index], _FRENCH),
            "date_fin_contrat": spelling.day_text(spells.planned_end[index], _FRENCH),
            "heures_travaillees": spelling.text(spells.hours(population, month)[index]),
            "toujours_accompagne": spelling.where(has_left, "non", "oui"),
            "prescripteur_code": spelling.picked(("03", "01", "05", "04", "07", "02", "11", "06"), referrer),
            "rsa": spelling.where(has_income, "OUI-NM", "NON"),
            "date_sortie": spelling.day_text(left, _FRENCH),
            "motif_sortie_categorie": spelling.picked(EXIT_CATEGORIES, np.where(has_left, category, -1)),
            "motif_sortie": spelling.picked(tuple(label for _, label, *_ in EXIT_REASONS), reason),
            "formation_heures": spelling.where(trained, "14", None),
            "pmsmp_jours": spelling.where(immersed, "5", None),
        },
        len(index),
    )
