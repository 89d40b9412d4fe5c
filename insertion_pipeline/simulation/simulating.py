"""A whole network: a population, its partners' exports in order of deposit, and the truth. The public door.

Belongs here: which partner delivers what in which month, the list of deliveries, the truth, the committed samples.
Does not belong here: the content of any file (one module per family).
"""

from __future__ import annotations

import csv
import io
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import FAMILIES, Partner, Registry, load_registry
from insertion_pipeline.simulation.ale import ale_activity
from insertion_pipeline.simulation.delivering import TRUTH_SCHEMA, Delivery, Deposit
from insertion_pipeline.simulation.department import cnaf_flow, department_contacts, department_list
from insertion_pipeline.simulation.emplois import emplois_applications, fiche_salarie
from insertion_pipeline.simulation.employment import forem_jobseekers, ft_spie
from insertion_pipeline.simulation.france_travail import ft_actions, ft_diagnosis, ft_registrations
from insertion_pipeline.simulation.outcomes import dsn_outcomes
from insertion_pipeline.simulation.pathways import department_appointments, department_pathways
from insertion_pipeline.simulation.places import gazetteer
from insertion_pipeline.simulation.population import Population, populate
from insertion_pipeline.simulation.randomness import Draws
from insertion_pipeline.simulation.siae import fluxiae, siae_monthly
from insertion_pipeline.simulation.situations import Shares, Situations, Structure, measure_of, unfold
from insertion_pipeline.simulation.truth import measures_of, persons_by_family

#: What writes each source: all of them.
WRITERS: Mapping[str, Callable[[Population, Situations, Deposit], Delivery | tuple[Delivery, ...]]] = {
    "ale_activity": ale_activity,
    "cnaf_vrsb0801": cnaf_flow,
    "department_appointments": department_appointments,
    "department_contacts": department_contacts,
    "department_list": department_list,
    "department_pathways": department_pathways,
    "dsn_outcomes": dsn_outcomes,
    "emplois_applications": emplois_applications,
    "fiche_salarie": fiche_salarie,
    "fluxiae": fluxiae,
    "forem_jobseekers": forem_jobseekers,
    "ft_actions": ft_actions,
    "ft_diagnosis": ft_diagnosis,
    "ft_registrations": ft_registrations,
    "ft_spie": ft_spie,
    "siae_monthly": siae_monthly,
}

#: Beyond this many persons, the partners of `partners.csv` are too few: a whole country's are made.
LARGEST_WITH_OWN_PARTNERS = 100_000

#: The committed samples: two months of a small network, dense enough for its tables to be publishable.
SAMPLE_PERSONS = 3600
SAMPLE_SEED = 2026
SAMPLE_SPAN = Span(Month(2026, 9), Month(2026, 10))
SAMPLE_SETTLEMENT = {"concentration": 2.2, "balance": 0.2}
SAMPLE_SHARES = Shares(
    minimum_income=0.44, siae=0.30, siae_with_minimum_income=0.46, job_search=0.45, forem=0.85, ale=0.62
)
_SETTLEMENT = {"concentration": 1.25, "balance": 0.5}


@dataclass(frozen=True)
class SimulationReport:
    """What was written, and where."""

    persons: int
    folder: Path
    data_sources: Path
    deliveries: int
    truth_rows: int
    bytes_written: int
    rows_by_source: Mapping[str, int]


def simulate(
    persons: int,
    months: Span,
    seed: int,
    out: Path,
    registry: Registry,
    *,
    country: bool = False,
    error_factor: float = 1.0,
    names: str = "default",
) -> SimulationReport:
    """Write a population's exports under `out`, with `deliveries.csv`, `truth.parquet` (who stands on which line) and
    `truth_measures.parquet` (what the indicators should find).

    Uses the partners of the registry up to `LARGEST_WITH_OWN_PARTNERS` persons; beyond, or with `country`, writes
    `out/data_sources` with a country's partners first. The same arguments give the same bytes.

    Raises `ValueError` for a population without persons or months without deliveries, `KeyError` for an unknown mix
    of names.
    """
    if persons < 1:
        raise ValueError("a population has at least one person")
    out.mkdir(parents=True, exist_ok=True)
    if country or persons > LARGEST_WITH_OWN_PARTNERS:
        from insertion_pipeline.simulation.country import write_country

        registry = load_registry(write_country(registry, out / "data_sources", months.first))
    population, situations = _world(persons, months, seed, registry, names, Shares(), _SETTLEMENT)
    deliveries = list(_deliveries(population, situations, registry, months, out, error_factor, _by_month(out)))
    if not deliveries:
        raise ValueError(f"no partner of {registry.folder / 'partners.csv'} delivers anything for {months}")
    _write_deliveries(out / "deliveries.csv", out, deliveries)
    truth_rows = _write_truth(out / "truth.parquet", deliveries)
    families = {source: declared.family for source, declared in registry.sources.items()}
    measures = [measures_of(population, situations, month) for month in months]
    measures.append(persons_by_family(pa.concat_tables(one.truth for one in deliveries), families))
    pq.write_table(pa.concat_tables(measures), out / "truth_measures.parquet", compression="zstd")
    rows: dict[str, int] = {}
    for delivery in deliveries:
        rows[delivery.source] = rows.get(delivery.source, 0) + delivery.truth.num_rows
    return SimulationReport(
        persons=persons,
        folder=out,
        data_sources=registry.folder,
        deliveries=len(deliveries),
        truth_rows=truth_rows,
        bytes_written=sum(delivery.path.stat().st_size for delivery in deliveries),
        rows_by_source=rows,
    )


def write_samples(registry: Registry, folder: Path | None = None) -> list[Path]:
    """Write the committed samples again: `<family>/samples/<month>/<partner>/…` and one `deliveries.csv` per family.

    `folder` is `data_sources/` by default. Returns the files written, `deliveries.csv` included.
    """
    root = folder if folder is not None else registry.folder
    population, situations = _world(
        SAMPLE_PERSONS, SAMPLE_SPAN, SAMPLE_SEED, registry, "default", SAMPLE_SHARES, SAMPLE_SETTLEMENT
    )
    for family in FAMILIES:
        shutil.rmtree(root / family / "samples", ignore_errors=True)

    def place(partner: Partner, month: Month) -> Path:
        return root / partner.family / "samples" / str(month) / partner.code

    written = []
    deliveries = list(_deliveries(population, situations, registry, SAMPLE_SPAN, root, 1.0, place))
    for family in FAMILIES:
        of_family = [one for one in deliveries if registry.partner(one.partner).family == family]
        listing = root / family / "samples" / "deliveries.csv"
        _write_deliveries(listing, listing.parent, of_family)
        written += [listing, *(one.path for one in of_family)]
    return written


# -- the world ---------------------------------------------------------------------------------------------------


def _world(
    persons: int,
    months: Span,
    seed: int,
    registry: Registry,
    names: str,
    shares: Shares,
    settlement: Mapping[str, float],
) -> tuple[Population, Situations]:
    draws, places = Draws(seed), gazetteer(registry)
    partners = [one for one in registry.partners.values() if _is_active(one, months)]
    departments = [one.territory_code for one in partners if one.family == "department"]
    agencies = [(one.code, one.territory_code) for one in partners if one.family == "ale"]
    towns = places.weights(sorted(set(departments)) or ["FR"], **settlement)
    towns = towns + places.weights(sorted({territory for _, territory in agencies}), **settlement)
    regions = [one.territory_code for one in partners if one.space == "be" and one.family == "employment_service"]
    towns = towns + 0.15 * places.weights(regions, **settlement)
    belgian = 0.0 if not (agencies or regions) else 0.25 if departments else 1.0
    population = populate(
        persons,
        draws,
        places,
        names=names,
        reference=months.last.last_day,
        towns=towns,
        belgian_share=belgian,
    )
    structures = [
        Structure(one.code, one.name, one.siret or "", one.territory_code, measure_of(rank))
        for rank, one in enumerate(one for one in partners if one.family == "siae" and one.siret)
    ]
    return population, unfold(population, months, structures, agencies, shares)


def _is_active(partner: Partner, months: Span) -> bool:
    return partner.since <= months.last and (partner.until is None or months.first <= partner.until)


# -- the files ---------------------------------------------------------------------------------------------------


def _by_month(out: Path) -> Callable[[Partner, Month], Path]:
    def place(partner: Partner, month: Month) -> Path:
        return out / str(month) / partner.code

    return place


def _deliveries(
    population: Population, situations: Situations, registry: Registry, months: Span, root: Path, factor: float,
    place: Callable[[Partner, Month], Path],
) -> Iterator[Delivery]:  # fmt: skip
    """The deliveries of a network in order of deposit: month after month, partner after partner."""
    for month in months:
        for partner in registry.partners.values():
            for source in partner.sources:
                if partner.expects(source, month) and source in WRITERS:
                    folder = place(partner, month)
                    deposit = Deposit(registry, partner, registry.source(source), month, folder, root, factor)
                    made = WRITERS[source](population, situations, deposit)
                    yield from (made,) if isinstance(made, Delivery) else made


def _write_deliveries(path: Path, base: Path, deliveries: Iterable[Delivery]) -> None:
    """`path,source,partner,month`, in order of deposit; paths relative to the list."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "source", "partner", "month"))
    for delivery in deliveries:
        relative = delivery.path.relative_to(base).as_posix()
        writer.writerow((relative, delivery.source, delivery.partner, str(delivery.month)))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text.getvalue(), encoding="utf-8")


def _write_truth(path: Path, deliveries: Iterable[Delivery]) -> int:
    rows = 0
    with pq.ParquetWriter(path, TRUTH_SCHEMA, compression="zstd") as writer:
        for delivery in deliveries:
            writer.write_table(delivery.truth)
            rows += delivery.truth.num_rows
    return rows


__all__ = ["LARGEST_WITH_OWN_PARTNERS", "SimulationReport", "simulate", "write_samples"]
