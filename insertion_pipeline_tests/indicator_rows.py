"""Few readable rows, and the network computed from them: what the tests of indicators share.

Belongs here: makers of pseudonymised rows, the fixture that computes October 2026 from them. Does not belong here: any
expected value.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import date
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from insertion_pipeline.identity import pseudonymising
from insertion_pipeline.indicators import building, computing, coverage, territories
from insertion_pipeline.indicators.additivity import refuse_what_does_not_add_up
from insertion_pipeline.indicators.catalogue import (
    EARLIER,
    MONTHS_FOLLOWED,
    CompiledIndicator,
    compile_catalogue,
    facts,
    with_dependencies,
)
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry

OCTOBER = Month(2026, 10)
RETHEL, SEDAN, CHAUMONT, NAMUR = "FR-COM-08362", "FR-COM-08409", "FR-COM-52121", "BE-COM-92094"
ARDENNES, HAUTE_MARNE, GRAND_EST = "FR-DEP-08", "FR-DEP-52", "FR-REG-44"
COUNCIL = "FR-CON-08"

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Network:
    """What was computed from a few rows."""

    connection: duckdb.DuckDBPyConnection
    values: pa.Table
    catalogue: Sequence[CompiledIndicator]

    def cell(self, code: str, territory: str, modality: str = "TOTAL", breakdown: str | None = None) -> Row | None:
        for row in self._rows(code):
            is_cut = breakdown is None or row["breakdown"] == breakdown
            if row["territory_code"] == territory and row["modality"] == modality and is_cut:
                return row
        return None

    def terms(self, code: str, territory: str, modality: str = "TOTAL") -> tuple[float, float | None] | None:
        cell = self.cell(code, territory, modality)
        return None if cell is None else (cell["numerator"], cell["denominator"])

    def count(self, code: str, territory: str, modality: str = "TOTAL") -> float:
        cell = self.cell(code, territory, modality)
        return 0 if cell is None else cell["numerator"]

    def _rows(self, code: str) -> list[Row]:
        import pyarrow.compute as pc

        return self.values.filter(pc.equal(self.values["indicator_code"], code)).to_pylist()


Compute = Callable[..., Network]


def day(month: int, number: int, year: int = 2026) -> date:
    return date(year, month, number)


@pytest.fixture(scope="session")
def catalogue(registry: Registry) -> Sequence[CompiledIndicator]:
    return compile_catalogue(registry)


@pytest.fixture(scope="session")
def places(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> pa.Table:
    """The real roll-up of four departments and a province: enough, and quick."""
    with Lake.open(tmp_path_factory.mktemp("places")).connect() as connection:
        connection.register("everywhere", territories.rollup(connection, registry, OCTOBER))
        return connection.sql("""
            SELECT * FROM everywhere
            WHERE leaf NOT LIKE '%-COM-%' OR leaf LIKE '%-INCONNU' OR leaf LIKE '%-HORS' OR leaf IN (
                SELECT leaf FROM everywhere
                WHERE territory IN ('FR-DEP-08', 'FR-DEP-51', 'FR-DEP-52', 'FR-DEP-54', 'BE-PRV-90000')
            )
        """).to_arrow_table()


@pytest.fixture
def compute(
    registry: Registry, lake: Lake, catalogue: Sequence[CompiledIndicator], places: pa.Table
) -> Iterator[Compute]:
    """Compute `month` (October 2026) from rows given by table. Every expected file is in, but those of `missing`.

    Facts of earlier months are made from the same rows, for indicators that follow persons over the months.
    """
    with contextlib.ExitStack() as open_connections:

        def connected() -> duckdb.DuckDBPyConnection:
            return open_connections.enter_context(lake.connect())

        def run(
            *codes: str, missing: Sequence[tuple[str, str]] = (), month: Month = OCTOBER, **tables: Sequence[Row]
        ) -> Network:
            wanted = [one for one in catalogue if one.indicator.code in codes]
            assert len(wanted) == len(codes)
            connection = connected()
            names = {one.indicator.fact for one in wanted}
            told = {table for name in with_dependencies(names) for table in facts()[name].reads}
            _open_rows(connection, registry, tables, told, month)
            for fact in sorted({name.removesuffix(EARLIER) for name in told if name.endswith(EARLIER)}):
                earlier = connected()
                needed = {table for name in with_dependencies({fact}) for table in facts()[name].reads}
                _open_rows(earlier, registry, tables, needed, month)
                first = min((row["_month"] for rows in tables.values() for row in rows if "_month" in row), default="")
                connection.register(f"{fact}{EARLIER}", _earlier(earlier, registry, fact, first, month))
            building.build_facts(connection, registry, month, names)
            grids = [grid_of(registry, missing, month.plus(-back)) for back in range(3)]
            values = computing.values_of(
                connection, registry, wanted, month, grids[0], places=places, earlier_grids=grids[1:]
            )
            refuse_what_does_not_add_up(connection, values, wanted)
            return Network(connection, values, wanted)

        yield run


def _open_rows(
    connection: duckdb.DuckDBPyConnection,
    registry: Registry,
    tables: Mapping[str, Sequence[Row]],
    read: Set[str],
    month: Month,
) -> None:
    given = dict(tables)
    for source in registry.sources.values():
        for table in source.version_for(month).resources:
            name = f"{source.name}__{table.name}"
            rows = [completed(row, source.insertion.spaces[0], month) for row in given.pop(name, ())]
            if name not in read:
                continue
            connection.register(f"{name}__rows", pa.Table.from_pylist(rows, schema=pseudonymising.schema(table)))
            building.create_view(connection, name, table, f"{name}__rows")
    connection.register("delivered_accounts", pa.Table.from_pylist(given.pop("accounts", []), building.ACCOUNTS_SCHEMA))
    assert not given, f"unknown tables: {sorted(given)}"


def _earlier(
    connection: duckdb.DuckDBPyConnection, registry: Registry, fact: str, first: str, month: Month
) -> pa.Table:
    """The rows of a fact in the months before `month`, those that it reads made and dropped month by month.

    No fact has a row before `first`, the month of the first row given: `month` alone when nothing says more.
    """
    back_to = month.months_since(Month.parse(first)) if first else 0
    made = []
    for back in range(1, max(min(back_to, MONTHS_FOLLOWED), 1) + 1):
        building.build_facts(connection, registry, month.plus(-back), {fact})
        made.append(connection.sql(f"SELECT * FROM {fact}").to_arrow_table())
        for name in with_dependencies({fact}):
            connection.execute(f"DROP TABLE {name}")
    return pa.concat_tables(made)


def completed(row: Row, space: str, month: Month = OCTOBER) -> Row:
    person = row.get("person")
    given = {"_space": space, "_month": str(month), "_delivery": "d", "_partner": "p", "person_residence": RETHEL}
    return given | {"person_sex": "2", "person_age": 30} | dict(row) | {"person": person}


def grid_of(registry: Registry, missing: Sequence[tuple[str, str]], month: Month = OCTOBER) -> pa.Table:
    rows = [
        coverage.expected_row(registry, month, partner, source, unit)
        | {"is_received": (unit.code, source) not in missing}
        for partner, source, unit in coverage.expected_units(registry, month)
    ]
    return pa.Table.from_pylist(rows, schema=coverage.GRID_SCHEMA)


def siae(
    statements: Sequence[Row] = (), contracts: Sequence[Row] = (), amendments: Sequence[Row] | None = None
) -> dict[str, Sequence[Row]]:
    """A structure in Rethel with one ACI annex (1820 h, 4 posts), its referentials, and what is given."""
    if amendments is None:
        amendments = [amendment()]
    return {
        "fluxiae__structure": [
            {
                "structure_id_siae": 1,
                "structure_siret_actualise": "10003003000017",
                "structure_adresse_admin_code_insee": "08362",
            }
        ],
        "fluxiae__annexe_financiere": amendments,
        "fluxiae__ref_montant_iae": [{"rmi_id": 11, "rmi_valeur": 1820.0}, {"rmi_id": 12, "rmi_valeur": 1607.0}],
        "fluxiae__ref_motif_sort": [
            {"rms_id": 101, "rms_code": "1", "rcs_id": 201},
            {"rms_id": 102, "rms_code": "2", "rcs_id": 202},
            {"rms_id": 103, "rms_code": "3", "rcs_id": 203},
            {"rms_id": 104, "rms_code": "4", "rcs_id": 204},
            {"rms_id": 105, "rms_code": "1", "rcs_id": 205},  # the same code as 101, under another id
        ],
        "fluxiae__ref_categorie_sort": [
            {"rcs_id": 201, "rcs_code": "1", "rcs_libelle": "Emploi durable"},
            {"rcs_id": 202, "rcs_code": "2", "rcs_libelle": "Emploi de transition"},
            {"rcs_id": 203, "rcs_code": "3", "rcs_libelle": "Sorties positives"},
            {"rcs_id": 204, "rcs_code": "4", "rcs_libelle": "Autres sorties"},
            {"rcs_id": 205, "rcs_code": "5", "rcs_libelle": "Retrait des sorties constatées"},
        ],
        "fluxiae__etat_mensuel_indiv": statements,
        "fluxiae__contrat_mission": contracts,
    }


def amendment(annex: int = 1, version: int = 0, state: str = "VALIDE", posts: float = 4.0, **given: Any) -> Row:
    kind = given.pop("kind", "ACI_DC")
    return {
        "af_id_structure": 1,
        "af_id_annexe_financiere": annex,
        "af_numero_annexe_financiere": f"{kind.split('_')[0]}00826000{annex}",
        "af_mesure_dispositif_code": kind,
        "af_numero_avenant_renouvellement": 0,
        "af_numero_avenant_modification": version,
        "af_id_avenant_modification": 100 * annex + version,
        "af_etat_annexe_financiere_code": state,
        "af_date_debut_effet": date(2026, 1, 1),
        "af_date_fin_effet": date(2026, 12, 31),
        "af_etp_postes_insertion": posts,
        "af_duree_heure_annuel_etp_id": 12 if kind == "AI_DC" else 11,
        "af_taux_prev_sorties_dynamiques": 60.0,
    } | given


def statement(person: str, hours: float, month: str = "2026-10", **given: Any) -> Row:
    return {
        "person": person,
        "emi_pph_id": 1,
        "emi_afi_id": 1,
        "emi_ctr_id": 1,
        "emi_sme_annee": int(month[:4]),
        "emi_sme_mois": int(month[5:]),
        "emi_sme_version": 1,
        "emi_nb_heures_travail": hours,
        "_month": month,
    } | given


def exits(*leavers: tuple[str, str, float, int, date, date], **given: Any) -> dict[str, Sequence[Row]]:
    """Contracts of (person, kind of annex, hours of September, reason id, hired on, left on)."""
    annexes = {"ACI": 1, "AI": 2}
    statements, contracts = [], []
    for number, (person, kind, hours, reason, hired, left) in enumerate(leavers, start=1):
        statements.append(
            statement(person, hours, "2026-09", emi_pph_id=number, emi_ctr_id=number, emi_afi_id=annexes[kind])
        )
        contracts.append(
            {
                "person": person,
                "contrat_id_structure": 1,
                "contrat_mesure_disp_code": f"{kind}_DC",
                "contrat_id_pph": number,
                "contrat_id_ctr": number,
                "contrat_date_embauche": hired,
                "contrat_date_sortie_definitive": left,
                "contrat_motif_sortie_id": reason,
            }
        )
    return siae(statements, contracts, [amendment(), amendment(2, kind="AI_DC")]) | given


def flow(person: str, state: str = "2", duties: bool = True, **given: Any) -> Row:
    row = {"person": person, "etatdosrsa": state, "toppersdrodevorsa": duties, "rolepers": "DEM", "_partner": "dep-08"}
    return row | {"dtdemrsa": date(2026, 3, 1), "fonorg": "CAF"} | given


def listed(person: str, **given: Any) -> Row:
    return {"person": person, "_partner": "dep-08"} | given


def work(person: str, hours: float, **given: Any) -> Row:
    row = {"person": person, "heures": hours, "person_residence": NAMUR, "_partner": "ale-namur"}
    return row | {"type_utilisateur": "association", "activite": "Classement", "statut": "DEDA"} | given
