"""Two simulated regions whose figures were written down first: the pipeline finds them again, each its own.

Occitanie as published for a real year: 350 structures, 4 500 ETP, 10 800 employees, 55.76 % dynamic exits. The events
of every person are generated from numerators and denominators; the other region has its own, so that no figure can come
from anywhere else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import duckdb
import pyarrow as pa
import pytest

from insertion_pipeline.indicators import building, computing, coverage
from insertion_pipeline.indicators.additivity import refuse_what_does_not_add_up
from insertion_pipeline.indicators.catalogue import compile_catalogue
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

DECEMBER = Month(2025, 12)
CODES = (
    "siae_structures", "siae_etp_realises_cumul", "siae_salaries_annee", "siae_sorties_observees",
    "siae_taux_sorties_dynamiques", "siae_taux_sorties_emploi_durable",
)  # fmt: skip
FULL_YEAR = 1820


@dataclass(frozen=True)
class Region:
    """What a region must come out as, and where its structures are."""

    code: str
    communes: tuple[str, ...]
    structures: int
    etp: int
    employees: int
    lasting_exits: int
    dynamic_exits: int
    exits: int

    @property
    def hours(self) -> int:
        return self.etp * FULL_YEAR

    @property
    def rate(self) -> Fraction:
        return Fraction(100 * self.dynamic_exits, self.exits)


OCCITANIE = Region("FR-REG-76", ("31555", "34172", "65440"), 350, 4500, 10800, 1100, 2788, 5000)
GRAND_EST = Region("FR-REG-44", ("08362", "52121", "54395"), 60, 700, 1900, 90, 306, 500)


@pytest.fixture(scope="module")
def computed(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[pa.Table]:
    """The values of December 2025, from about 150 000 monthly statements of the two regions."""
    with Lake.open(tmp_path_factory.mktemp("regions")).connect() as connection:
        wanted = [one for one in compile_catalogue(registry) if one.indicator.code in CODES]
        events = _events(connection)
        for source in registry.sources.values():
            for table in source.version_for(DECEMBER).resources:
                name = f"{source.name}__{table.name}"
                building.create_view(connection, name, table, events.get(name, ""))
        building.build_facts(connection, registry, DECEMBER, {one.indicator.fact for one in wanted})
        deposit = {"month": str(DECEMBER), "country": "FR", "unit": "asp", "family": "siae", "source": "fluxiae"}
        deposit |= {"partner": "asp", "territory_code": "FR", "is_received": True}
        grid = pa.Table.from_pylist([deposit], schema=coverage.GRID_SCHEMA)
        values = computing.values_of(connection, registry, wanted, DECEMBER, grid)
        refuse_what_does_not_add_up(connection, values, wanted)
        yield values


def _events(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """The flow of the ASP: structures, annexes, contracts, monthly statements and exits of both regions, by view."""
    connection.execute("""
        CREATE TABLE regions (rank INTEGER, communes VARCHAR[], structures INTEGER, hours INTEGER, employees INTEGER,
            lasting INTEGER, dynamic INTEGER, exits INTEGER)
    """)
    for rank, one in enumerate((OCCITANIE, GRAND_EST)):
        connection.execute(
            "INSERT INTO regions VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            [rank, list(one.communes), one.structures, one.hours, one.employees, one.lasting_exits, one.dynamic_exits,
             one.exits],
        )  # fmt: skip
    connection.execute("""
        CREATE TABLE employees AS  -- hours are whole: what does not divide goes to the first ones, one hour each
        SELECT rank, number, rank * 100000 + number AS id, rank * 1000 + number % structures AS structure,
            hours // employees + CASE WHEN number < hours % employees THEN 1 ELSE 0 END AS hours,
            CASE WHEN number < lasting THEN 1 WHEN number < dynamic THEN 2 + number % 2 WHEN number < exits THEN 4 END
                AS exit_class
        FROM regions, unnest(generate_series(0, employees - 1)) AS numbers (number)
    """)
    connection.execute("""
        CREATE TABLE statements AS
        SELECT employees.*, month, hours // 12 + CASE WHEN month <= hours % 12 THEN 1 ELSE 0 END AS hours_of_month
        FROM employees, unnest(generate_series(1, 12)) AS months (month)
    """)
    row = "'fr' AS _space, '2025-12' AS _month, 'asp' AS _partner, 'd' AS _delivery"
    return {
        "fluxiae__structure": f"""(
            SELECT rank * 1000 + number AS structure_id_siae, communes[1 + number % 3] AS
                structure_adresse_admin_code_insee, printf('9%013d', rank * 1000 + number) AS structure_siret_actualise,
                {row}
            FROM regions, unnest(generate_series(0, structures - 1)) AS numbers (number))""",
        "fluxiae__annexe_financiere": f"""(
            SELECT rank * 1000 + number AS af_id_structure, rank * 1000 + number AS af_id_annexe_financiere,
                amendment AS af_numero_avenant_modification, 'VALIDE' AS af_etat_annexe_financiere_code,
                'ACI_DC' AS af_mesure_dispositif_code, 1 AS af_duree_heure_annuel_etp_id,
                DATE '2025-01-01' AS af_date_debut_effet, DATE '2025-12-31' AS af_date_fin_effet,
                13.0 AS af_etp_postes_insertion, {row}
            FROM regions, unnest(generate_series(0, structures - 1)) AS numbers (number),
                unnest([0, 1, 2]) AS amendments (amendment))""",
        "fluxiae__contrat_mission": f"""(
            SELECT 'person ' || id AS person, id AS contrat_id_pph, id AS contrat_id_ctr, structure AS
                contrat_id_structure, 'ACI_DC' AS contrat_mesure_disp_code, DATE '2025-01-02' AS contrat_date_embauche,
                CASE WHEN exit_class IS NOT NULL THEN DATE '2025-12-20' END AS contrat_date_sortie_definitive,
                100 + exit_class AS contrat_motif_sortie_id, {row}
            FROM employees)""",
        "fluxiae__etat_mensuel_indiv": f"""(
            SELECT 'person ' || id AS person, id AS emi_pph_id, id AS emi_ctr_id, structure AS emi_afi_id,
                2025 AS emi_sme_annee, month AS emi_sme_mois, 1 AS emi_sme_version,
                CAST(hours_of_month AS DOUBLE) AS emi_nb_heures_travail,
                {row.replace("'2025-12'", "printf('2025-%02d', month)")}
            FROM statements)""",
        "fluxiae__ref_montant_iae": f"(SELECT 1 AS rmi_id, {FULL_YEAR}.0 AS rmi_valeur, {row})",
        "fluxiae__ref_motif_sort": f"""(
            SELECT 100 + class AS rms_id, class AS rcs_id, {row} FROM unnest([1, 2, 3, 4]) AS classes (class))""",
        "fluxiae__ref_categorie_sort": f"""(
            SELECT class AS rcs_id, CAST(class AS VARCHAR) AS rcs_code, ['Emploi durable', 'Emploi de transition',
                'Sorties positives', 'Autres sorties'][class] AS rcs_libelle, {row}
            FROM unnest([1, 2, 3, 4]) AS classes (class))""",
    }  # fmt: skip


@pytest.mark.parametrize("region", [OCCITANIE, GRAND_EST], ids=lambda one: one.code)
def test_a_region_comes_out_with_its_own_figures(computed: pa.Table, region: Region) -> None:
    cells = {
        row["indicator_code"]: row
        for row in computed.to_pylist()
        if row["territory_code"] == region.code and row["breakdown"] == "total"
    }
    assert cells["siae_structures"]["value"] == region.structures
    assert cells["siae_etp_realises_cumul"]["value"] == region.etp
    assert cells["siae_salaries_annee"]["value"] == region.employees  # recounted over twelve months, not their sum
    assert cells["siae_sorties_observees"]["value"] == region.exits
    rate = cells["siae_taux_sorties_dynamiques"]
    assert (rate["numerator"], rate["denominator"]) == (region.dynamic_exits, region.exits)
    assert rate["value"] == pytest.approx(float(region.rate), abs=0.05)
    assert cells["siae_taux_sorties_emploi_durable"]["numerator"] == region.lasting_exits


def test_the_country_is_the_rate_of_its_terms_not_the_mean_of_its_rates(computed: pa.Table) -> None:
    (country,) = (
        row
        for row in computed.to_pylist()
        if row["indicator_code"] == "siae_taux_sorties_dynamiques" and row["territory_code"] == "FR"
        and row["breakdown"] == "total"
    )  # fmt: skip
    together = OCCITANIE.dynamic_exits + GRAND_EST.dynamic_exits, OCCITANIE.exits + GRAND_EST.exits
    assert (country["numerator"], country["denominator"]) == together
    assert country["value"] == 56.3  # the mean of the two rates would be 58.5
