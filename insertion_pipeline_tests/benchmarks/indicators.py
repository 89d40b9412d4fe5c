"""Facts and indicators of a national month, measured. Never a test.

    python -m insertion_pipeline_tests.benchmarks.indicators --persons 8000000 --months 1
    python -m insertion_pipeline_tests.benchmarks.indicators --persons 8000000 --months 36 --home X --inputs-only
    python -m insertion_pipeline_tests.benchmarks.indicators --persons 8000000 --months 36 --home X --together

Writes pseudonymised tables of a country straight into a lake (no file is read, nobody is linked: other benchmarks do
that), then computes each month's facts and values in a process of its own, so that its peak memory is its own; with
`--together` all months in one process, two at a time, as a backfill in a single run does. Inputs that are there stay:
`--inputs-only` writes them beforehand.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import duckdb

from insertion_pipeline.contracts.storage import sql_type
from insertion_pipeline.identity import pseudonymising
from insertion_pipeline.indicators import building, computing
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry, load_registry
from insertion_pipeline.settings import REPOSITORY
from insertion_pipeline.simulation.country import write_country

LAST = Month(2026, 10)
#: Months that are computed at the same time with `--together`.
_AT_ONCE = 2

#: The share of all persons who come to a file from one month to the next, and as many leave it.
TURNOVER = 0.01

#: Shares of the persons known to each file, as intervals of [0, 1): they overlap as the network's publics do.
PUBLICS: Mapping[str, tuple[float, float]] = {
    "ft_spie": (0.0, 0.76),
    "cnaf_vrsb0801": (0.62, 0.94),
    "department_list": (0.66, 0.92),
    "department_pathways": (0.66, 0.92),
    "department_appointments": (0.88, 0.92),
    "fluxiae": (0.61, 0.63),
    "siae_monthly": (0.63, 0.631),
    "emplois_applications": (0.60, 0.64),
    "ft_registrations": (0.0, 0.05),
    "ft_actions": (0.40, 0.44),
    "forem_jobseekers": (0.95, 0.98),
    "ale_activity": (0.979, 0.981),
}


def write_network(lake: Lake, registry: Registry, persons: int, months: int) -> None:
    """Have the pseudonymised tables of `months` months up to `LAST`, of about `persons` persons; those there stay.

    From one month to the next, the persons of each file are others by a share of `TURNOVER`: some arrive, some leave,
    some stand in other files than the month before.
    """

    def write_month(ahead: int) -> None:
        moved = ahead * TURNOVER
        with lake.shared_by(_AT_ONCE).connect() as connection:
            _open_communes(connection, registry)
            for name, (low, high) in PUBLICS.items():
                first, end = int((low + moved) * persons), int((high + moved) * persons)
                _write_source(connection, lake, registry, name, LAST.plus(1 + ahead - months), first, end)

    with ThreadPoolExecutor(_AT_ONCE) as pool:  # a range of persons is gone through by one thread
        list(pool.map(write_month, range(months)))


def _open_communes(connection: duckdb.DuckDBPyConnection, registry: Registry) -> None:
    connection.execute("SET preserve_insertion_order = false")
    for name, country in (("communes", "FR"), ("walloon", "BE")):
        connection.execute(
            f"CREATE TEMP TABLE {name} AS SELECT row_number() OVER (ORDER BY code) - 1 AS rank, code, department "
            "FROM read_csv(?, all_varchar = true) WHERE country = ? AND code = current_code",
            [str(registry.folder / "nomenclatures" / "communes.csv"), country],
        )


def _write_source(
    connection: duckdb.DuckDBPyConnection, lake: Lake, registry: Registry, name: str, month: Month, low: int, high: int
) -> None:
    source = registry.source(name)
    for table in source.version_for(month).resources:
        rows = _ROWS.get((name, table.name))
        path = pseudonymising.pseudonymised_file(lake, name, table.name, month).path
        if rows is None or path.exists():
            continue
        wanted = pseudonymising.schema(table)
        types = {field.name: sql_type(field) for field in pseudonymising.passing_fields(table)}
        bounds = {"low": low, "high": high, "month": str(month), "last": month.last_day.isoformat()}
        sizes = {name: _size(connection, table) for name, table in (("french", "communes"), ("walloon", "walloon"))}
        for asked, value in (bounds | sizes).items():
            rows = rows.replace(f"${asked}", f"'{value}'" if isinstance(value, str) else str(value))
        given = set(connection.sql(rows).columns)
        selected = ", ".join(
            f"CAST({column if column in given else 'NULL'} AS "
            f"{types.get(column, _PERSON_TYPES.get(column, 'VARCHAR'))}) AS {column}"
            for column in wanted.names
        )
        lake.write_query(connection, f"SELECT {selected} FROM ({rows}\n) AS rows", path)


def _size(connection: duckdb.DuckDBPyConnection, table: str) -> int:
    return len(connection.table(table))


_PERSON_TYPES = {"person_age": "INTEGER"}

_WHO = """
    left(to_base64(unhex(md5('person' || p))), 12) AS person,
    CASE WHEN p % 2 = 0 THEN '1' ELSE '2' END AS person_sex,
    16 + p * 7919 % 50 AS person_age,
    $month AS _month, 'd' AS _delivery
"""
_FRENCH = """
    FROM (SELECT range AS p, range * 48271 % $french AS rank FROM range($low, $high)) AS persons
    JOIN communes USING (rank)
"""
_WALLOON = """
    FROM (SELECT range AS p, range * 48271 % $walloon AS rank FROM range($low, $high)) AS persons
    JOIN walloon USING (rank)
"""
_AT_HOME = "'FR-COM-' || communes.code AS person_residence, 'fr' AS _space"
_IN_WALLONIA = "'BE-COM-' || walloon.code AS person_residence, 'be' AS _space"
_DEPARTMENT = "'dep-' || lower(communes.department) AS _partner"
_DAYS = "CAST($last AS DATE) - CAST(p * 31 % {most} AS INTEGER)"


def _days(most: int) -> str:
    return _DAYS.format(most=most)


_ROWS: Mapping[tuple[str, str], str] = {
    ("ft_spie", "demandeurs"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'france-travail' AS _partner,
            CAST(1 + p % 8 AS VARCHAR) AS categorie_inscription, {_days(1500)} AS inscription, p % 5 = 0 AS brsa,
            p % 3 = 0 AS dif_transport, p % 7 = 0 AS dif_logement, p % 6 = 0 AS dif_financiere, 'SUIVI' AS
            modalite_accompagnement, {_days(200)} AS der_entretien, 'A' AS struct_principale,
            'adviser-' || p % 40000 AS referent_pseudonym
        {_FRENCH}""",
    ("cnaf_vrsb0801", "personnes"): f"""
        SELECT {_WHO}, {_AT_HOME}, {_DEPARTMENT}, CASE WHEN p % 9 < 7 THEN 'DEM' ELSE 'CJT' END AS rolepers,
            CAST(2 + p % 4 AS VARCHAR) AS etatdosrsa, p % 10 < 9 AS toppersdrodevorsa, {_days(2500)} AS dtdemrsa,
            CASE WHEN p % 20 = 0 THEN 'MSA' ELSE 'CAF' END AS fonorg, '0' || communes.department AS ideparte
        {_FRENCH}""",
    ("department_list", "beneficiaires"): f"""
        SELECT {_WHO}, {_AT_HOME}, {_DEPARTMENT}, CASE p % 3 WHEN 0 THEN 'pro' WHEN 1 THEN 'social' END AS
            orientation_type, {_days(900)} AS orientation_date, {_days(1200)} AS rights_opening_date,
            CASE WHEN p % 2 = 0 THEN {_days(800)} END AS cer_signed_on, {_days(150)} AS last_appointment_date,
            CASE p % 4 WHEN 0 THEN 'noshow' ELSE 'seen' END AS last_appointment_status
        {_FRENCH}""",
    ("department_pathways", "parcours"): f"""
        SELECT {_WHO}, {_AT_HOME}, {_DEPARTMENT}, {_days(1200)} AS rsa_application_date,
            {_days(1100)} AS rights_opening_date, 'pro' AS orientation_type, {_days(900)} AS orientation_date,
            'DECIDE' AS orientation_status, CASE p % 3 WHEN 0 THEN 'FT' ELSE 'CD' END AS orientation_body,
            TRUE AS is_subject_to_rights_and_duties, '2' AS rsa_state, 'CE' AS cer_kind,
            'referent-' || p % 30000 AS referent_pseudonym,
            {_days(700)} AS cer_signed_on, {_days(700)} AS cer_start_date,
            CAST($last AS DATE) + CAST(p % 300 AS INTEGER) - 100 AS cer_end_date
        {_FRENCH}""",
    ("department_appointments", "rendez_vous"): f"""
        SELECT {_WHO}, {_AT_HOME}, {_DEPARTMENT}, {_days(60)} AS appointment_date, p % 3 = 0 AS is_self_booked,
            {_days(90)} AS booked_on, CASE p % 4 WHEN 0 THEN 'noshow' ELSE 'seen' END AS appointment_status,
            CASE p % 2 WHEN 0 THEN 'RSA orientation' ELSE 'RSA accompagnement' END AS appointment_reason
        {_FRENCH}""",
    ("fluxiae", "structure"): """
        SELECT range AS structure_id_siae, printf('9%013d', range) AS structure_siret_actualise,
            communes.code AS structure_adresse_admin_code_insee, 'fr' AS _space, 'asp' AS _partner, $month AS _month
        FROM range(4000) JOIN communes ON communes.rank = range * 7""",
    ("fluxiae", "annexe_financiere"): """
        SELECT range % 4000 AS af_id_structure, range AS af_id_annexe_financiere,
            'ACI0822600' || range AS af_numero_annexe_financiere,
            ['ACI_DC', 'AI_DC', 'EI_DC', 'ETTI_DC'][1 + range % 4] AS af_mesure_dispositif_code,
            0 AS af_numero_avenant_renouvellement, amendment AS af_numero_avenant_modification,
            range * 10 + amendment AS af_id_avenant_modification, 'VALIDE' AS af_etat_annexe_financiere_code,
            DATE '2025-01-01' AS af_date_debut_effet, DATE '2026-12-31' AS af_date_fin_effet,
            10.5 AS af_etp_postes_insertion, 1 AS af_duree_heure_annuel_etp_id, 1 AS af_montant_unitaire_annuel_id,
            1607.0 AS af_duree_heure_annuel_etp_valeur, 22000.0 AS af_montant_unitaire_annuel_valeur,
            231000.0 AS af_montant_total_annuel, 20000.0 AS af_mt_cofinance, 'fr' AS _space, 'asp' AS _partner,
            $month AS _month
        FROM range(14000), range(3) AS amendments (amendment)""",
    ("fluxiae", "contrat_mission"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'asp' AS _partner, p % 4000 AS contrat_id_structure, p AS contrat_id_pph,
            p * 3 + renewal AS contrat_id_ctr, renewal AS contrat_type_contrat,
            ['ACI_DC', 'AI_DC', 'EI_DC', 'ETTI_DC'][1 + p % 4] AS contrat_mesure_disp_code,
            CAST($last AS DATE) - CAST(700 - 200 * renewal AS INTEGER) AS contrat_date_embauche,
            CASE WHEN p % 3 = 0 THEN {_days(340)} END AS contrat_date_sortie_definitive,
            CASE WHEN p % 3 = 0 THEN 1 + p % 5 END AS contrat_motif_sortie_id, 'NON' AS contrat_salarie_rsa
        {_FRENCH} CROSS JOIN range(3) AS renewals (renewal)""",
    ("fluxiae", "etat_mensuel_indiv"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'asp' AS _partner, p AS emi_pph_id, p % 14000 AS emi_afi_id,
            p * 3 + 2 AS emi_ctr_id, CAST(substr($month, 1, 4) AS INTEGER) AS emi_sme_annee,
            CAST(substr($month, 6) AS INTEGER) AS emi_sme_mois, 1 AS emi_sme_version,
            CAST(p % 140 AS DOUBLE) AS emi_nb_heures_travail, 1 AS emi_dsm_id, TRUE AS emi_salarie_tjs_accomp
        {_FRENCH}""",
    ("fluxiae", "salarie"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'asp' AS _partner, p AS salarie_id, CASE p % 4 WHEN 0 THEN 'QP' ELSE 'NQP' END AS
            salarie_adr_qpv_type
        {_FRENCH}""",
    ("fluxiae", "ref_montant_iae"): """
        SELECT 1 AS rmi_id, 1607.0 AS rmi_valeur, 'fr' AS _space, $month AS _month
       """,
    ("fluxiae", "ref_motif_sort"): """
        SELECT range AS rms_id, CAST(range AS VARCHAR) AS rms_code, range AS rcs_id, 'fr' AS _space, $month AS _month
        FROM range(1, 6)""",
    ("fluxiae", "ref_categorie_sort"): """
        SELECT range AS rcs_id, CAST(range AS VARCHAR) AS rcs_code, 'fr' AS _space, $month AS _month,
            ['Emploi durable', 'Emploi de transition', 'Sorties positives', 'Autres sorties', 'Retrait'][range] AS
            rcs_libelle
        FROM range(1, 6)""",
    ("siae_monthly", "salaries"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'siae-0040' AS _partner, $month AS mois, printf('8%013d', p % 100) AS siret,
            'ACI082260001A0M0' AS annexe_numero, 90.0 AS heures_travaillees, {_days(300)} AS date_debut_contrat
        {_FRENCH}""",
    ("emplois_applications", "candidatures"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'emplois' AS _partner, CAST(p AS VARCHAR) AS candidature_id,
            printf('9%013d', p % 4000) AS siret_structure, 'ACI' AS type_structure,
            communes.code AS code_commune_structure, {_days(400)} AS date_candidature,
            CASE p % 3 WHEN 0 THEN 'accepted' WHEN 1 THEN 'refused' ELSE 'new' END AS etat,
            'prescripteur_habilite' AS origine, 'FT' AS type_prescripteur
        {_FRENCH}""",
    ("ft_registrations", "cessations"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'france-travail' AS _partner, {_days(30)} AS date, 'Reprise d''emploi' AS motif
        {_FRENCH}""",
    ("ft_actions", "formations"): f"""
        SELECT {_WHO}, {_AT_HOME}, 'france-travail' AS _partner, 'CERTIFICATION' AS objectif_formation,
            'REGION' AS financeur, {_days(200)} AS date_entree, 'TERMINEE' AS issue
        {_FRENCH}""",
    ("forem_jobseekers", "demandeurs"): f"""
        SELECT {_WHO}, {_IN_WALLONIA}, 'forem' AS _partner, ['DEDA', 'SIP', 'OBL', 'LIB'][1 + p % 4] AS categorie,
            {_days(1500)} AS date_inscription, {_days(200)} AS date_dernier_contact, FALSE AS cpas
        {_WALLOON}""",
    ("ale_activity", "prestations"): f"""
        SELECT {_WHO}, {_IN_WALLONIA}, 'ale-' || walloon.code AS _partner, 'particulier' AS type_utilisateur,
            'Jardinage' AS activite, CAST(p % 60 AS DOUBLE) AS heures, 'DEDA' AS statut
        {_WALLOON}""",
}  # fmt: skip


def compute_month(home: Path, data_sources: Path, month: Month, memory_limit_mb: int) -> None:
    """Facts then values of one month, in this process; prints what they cost as JSON."""
    lake = Lake.open(home, memory_limit_mb=memory_limit_mb)
    registry = load_registry(data_sources)
    began, cpu = time.perf_counter(), _cpu()
    rows = dict(building.compute_facts(lake, registry, month)) | dict(building.compute_histories(lake, registry, month))
    facts, cpu_facts = time.perf_counter() - began, _cpu() - cpu
    values = computing.compute_values(lake, registry, month)
    _tell({
        "month": str(month), "facts_s": round(facts, 1), "facts_cpu_s": round(cpu_facts, 1),
        "values_s": round(time.perf_counter() - began - facts, 1), "values_cpu_s": round(_cpu() - cpu - cpu_facts, 1),
        "rows": rows, "values": values.num_rows,
        "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "load": os.getloadavg()[0],
    })  # fmt: skip


def compute_together(home: Path, data_sources: Path, months: Sequence[Month], memory_limit_mb: int) -> None:
    """Facts of all months, then what follows persons over them, then values; prints what each cost as JSON.

    Two months at a time, each with a thread and half of the memory: what the assets of a run do.
    """
    lake = Lake.open(home, memory_limit_mb=memory_limit_mb).shared_by(_AT_ONCE)
    registry = load_registry(data_sources)

    def compute_values(lake: Lake, registry: Registry, month: Month) -> int:
        return computing.compute_values(lake, registry, month, as_of=months[-1]).num_rows

    for compute in (building.compute_facts, building.compute_histories, compute_values):
        began, cpu = time.perf_counter(), _cpu()
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for month, _ in zip(months, pool.map(partial(compute, lake, registry), months), strict=True):
                _tell({
                    "step": compute.__name__, "up_to": str(month), "s": round(time.perf_counter() - began, 1),
                    "cpu_s": round(_cpu() - cpu, 1),
                    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "load": os.getloadavg()[0],
                })  # fmt: skip


def _tell(figures: Mapping[str, object]) -> None:
    sys.stdout.write(json.dumps(figures) + "\n")
    sys.stdout.flush()


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--persons", type=int, default=1_000_000)
    parser.add_argument("--months", type=int, default=1)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--memory-mb", type=int, default=4096)
    parser.add_argument("--together", action="store_true", help="all months in one process, two at a time")
    parser.add_argument(
        "--inputs-only", action="store_true", help="write what is missing of the inputs, compute nothing"
    )
    parser.add_argument("--compute", metavar="MONTH", nargs="+")
    options = parser.parse_args()
    if options.compute:
        home, computed = options.home, [Month.parse(month) for month in options.compute]
        if options.together:
            compute_together(home, home / "data_sources", computed, options.memory_mb)
        else:
            for month in computed:
                compute_month(home, home / "data_sources", month, options.memory_mb)
        return
    home = options.home or Path(tempfile.mkdtemp(prefix="national-"))
    data_sources = home / "data_sources"
    if not data_sources.exists():
        write_country(load_registry(REPOSITORY / "data_sources"), data_sources, LAST.plus(-options.months))
    write_network(Lake.open(home), load_registry(data_sources), options.persons, options.months)
    if options.inputs_only:
        return
    months = [str(LAST.plus(-back)) for back in reversed(range(options.months))]
    for computed in [months] if options.together else [[month] for month in months]:
        command = [sys.executable, "-m", __spec__.name if __spec__ else __name__, "--home", str(home)]
        command += ["--memory-mb", str(options.memory_mb), *(["--together"] if options.together else [])]
        command += ["--compute", *computed]
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
