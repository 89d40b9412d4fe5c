"""What is observed in employers' social declarations of those who left a SIAE: aggregated counts, three times a year.

Belongs here: the file `dsn_outcomes`. Does not belong here: who left (`situations`): the declarations reach further
back than any span that is simulated, and their counts are drawn for themselves.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.month import Month
from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.delivering import Columns, Delivery, Deposit, HeaderGroup, Sheet, write_workbook
from insertion_pipeline.simulation.population import Population
from insertion_pipeline.simulation.situations import Situations

_KINDS = ("ACI", "EI", "AI", "ETTI")
_SEXES = ("Hommes", "Femmes")
_DELAYS = ("3 mois", "6 mois", "12 mois")
_QUARTERS = 2
#: Fewer persons than that are never told (the rule of the exchange): such cohorts are regrouped.
_SMALLEST_COHORT = 5


def dsn_outcomes(population: Population, situations: Situations, deposit: Deposit) -> Delivery:
    """The workbook of the quarters whose twelve months have passed: two header rows, the upper one merged."""
    draws, places = population.draws, population.gazetteer
    zone_of = {code: zone for code, zone in zip(places.departments, places.employment_zones, strict=True) if zone}
    hiring = {one.territory.rpartition("-")[2] for one in situations.structures if "DEP" in one.territory}
    zones = sorted({zone_of[code] for code in hiring & zone_of.keys()})  # the northern islands have none
    zones = zones or sorted(set(zone_of.values()))[:1]
    quarters = _quarters(deposit.month)
    axes = np.meshgrid(*(np.arange(n) for n in (len(quarters), 3, len(_KINDS), len(zones), 2)), indexing="ij")
    quarter, delay, kind, zone, sex = (axis.ravel() for axis in axes)
    cohort = (
        (np.array([int(one[:4]) * 4 + int(one[-1]) for one in quarters])[quarter] * 8 + kind) * 64 + zone
    ) * 2 + sex
    size = 3 + draws.below("outcome: cohort", cohort, 60)
    is_small = size < _SMALLEST_COHORT
    share = 0.36 + 0.04 * delay + 0.1 * draws.uniform("outcome: employed", cohort * 4 + delay)
    employed = np.floor(size * share).astype(np.int64)
    rate = np.char.mod("%.1f", 100.0 * employed / size)
    columns = Columns.of(
        {
            "Sortie en IAE": spelling.picked(tuple(quarters), quarter),
            "Sorties en emploi": spelling.picked(_DELAYS, delay),
            "Type de SIAE": spelling.where(is_small, "SIAE_NEUTRE", spelling.picked(_KINDS, kind)),
            "Zone d'emploi": spelling.where(is_small, "ZE_NEUTRE", spelling.picked(tuple(zones), zone)),
            "Sexe": spelling.picked(_SEXES, sex),
            "Nbre personne en emploi": spelling.text(employed),
            "Nbre personne sans emploi": spelling.text(size - employed),
            "Taux personnes en emploi": pc.replace_substring(pa.array(rate.tolist(), pa.string()), ".", ","),
            "Nbre de jours médian travaillés": spelling.text(
                20 + draws.below("outcome: days", cohort, 40) * (delay + 1)
            ),
            "Nbre contrats médian": spelling.text(1 + delay),
        },
        len(quarter),
    )
    told = columns.take(np.flatnonzero(~is_small))
    groups = (HeaderGroup("Cohorte", 5), HeaderGroup("Personnes", 3), HeaderGroup("Médianes", 2))
    path = deposit.folder / f"sorties_en_emploi_{quarters[-1]}.xlsx"
    return deposit.made_without_persons(write_workbook(path, [Sheet("Sorties", told, groups=groups)]))


def _quarters(month: Month) -> tuple[str, ...]:
    """The last quarters whose exits had happened twelve months before the beginning of the month."""
    last = (month.year - 1) * 4 + (month.month - 1) // 3 - 1
    return tuple(f"{one // 4}-T{one % 4 + 1}" for one in range(last - _QUARTERS + 1, last + 1))
