"""What happens to people, month by month: minimum income, registration, contracts, hours, orientation, exits.

Belongs here: the true spells and the state of each month, as columns over persons or over spells. Does not belong
here: files, what partners get wrong.

Days count from 1970-01-01; `spelling.UNKNOWN_DAY` stands for what did not happen. Shares are chosen to be of the
right order for the sector (DREES 2023: 86 % of those subject to rights and duties oriented, a CER for half of them
outside France Travail; ASP: half of the exits dynamic), not to reproduce any territory.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from insertion_pipeline.month import Month, Span
from insertion_pipeline.simulation.population import CHILD, Population
from insertion_pipeline.simulation.randomness import Booleans, Floats, Integers
from insertion_pipeline.simulation.spelling import UNKNOWN_DAY


def day_number(month: Month, *, last: bool) -> int:
    """The first or last day of a month, counted from 1970-01-01."""
    return int(np.datetime64(month.last_day if last else month.first_day, "D").astype(np.int64))


# -- minimum income ----------------------------------------------------------------------------------------------

#: ETATDOSRSA: 0 pending, 2 open and payable, 3 right suspended, 4 payment suspended, 5 closed, 6 closed earlier.
PENDING, OPEN, RIGHT_SUSPENDED, PAYMENT_SUSPENDED, CLOSED, CLOSED_EARLIER = 0, 2, 3, 4, 5, 6
NOT_ON_FILE = -1


@dataclass(frozen=True)
class MinimumIncome:
    """The RSA of each person's benefit file, and the person's own duties and orientation. One row per person."""

    has_file: Booleans
    applied: Integers
    closed: Integers
    is_subject: Booleans  # to rights and duties
    invited: Integers
    oriented: Integers
    orientation: Integers  # 0 professional, 1 socio-professional, 2 social
    contract_signed: Integers  # the CER
    appointment_status: Integers  # rank in department.APPOINTMENT_STATUSES
    _states: dict[Month, Integers] = field(default_factory=dict, repr=False, compare=False)

    def state(self, population: Population, month: Month) -> Integers:
        """ETATDOSRSA at the end of the month, `NOT_ON_FILE` for persons outside the month's flow."""
        if month not in self._states:
            self._states[month] = self._state(population, month)
        return self._states[month]

    def _state(self, population: Population, month: Month) -> Integers:
        draws = population.draws
        start, end = day_number(month, last=False), day_number(month, last=True)
        key = population.file * 1000 + (month.year * 12 + month.month) % 1000
        weights = np.array([0.88, 0.03, 0.09])
        state = np.array([OPEN, RIGHT_SUSPENDED, PAYMENT_SUSPENDED])[draws.choose("state of the file", key, weights)]
        pending = (self.applied >= start) & draws.chance("pending", population.file, 0.45)
        state = np.where(pending, PENDING, state)
        has_closed = self.closed > UNKNOWN_DAY
        state = np.where(has_closed & (self.closed <= end), CLOSED, state)
        state = np.where(has_closed & (self.closed < start), CLOSED_EARLIER, state)
        previous = day_number(month.plus(-1), last=False)
        gone = has_closed & (self.closed < previous)
        return np.where(self.has_file & (self.applied <= end) & ~gone, state, NOT_ON_FILE)

    def is_open(self, state: Integers) -> Booleans:
        """Whether a file in this state gives a right, payable or suspended."""
        return np.isin(state, (OPEN, RIGHT_SUSPENDED, PAYMENT_SUSPENDED))


def minimum_income(population: Population, span: Span, share: float) -> MinimumIncome:
    """The RSA of the files that chance `share` designates, and what follows for each of their adults."""
    draws, file, person = population.draws, population.file, population.rows
    start, end = day_number(span.first, last=False), day_number(span.last, last=True)
    has_file = ~population.is_belgian & draws.chance("minimum income", file, share)
    applied = end - np.floor(1900 * draws.uniform("applied", file) ** 1.7).astype(np.int64) - 3
    applied = np.maximum(applied, population.adult_since[file])  # a file bears the row of its head
    closes = draws.chance("closes", file, 0.14)
    closing = draws.between("closing day", file, start - 45, end)
    closed = np.where(closes & (closing > applied + 90), closing, UNKNOWN_DAY)
    is_subject = (population.role != CHILD) & draws.chance("rights and duties", person, 0.86)

    delay = 12 + np.floor(190 * draws.uniform("delay of orientation", person) ** 2.0).astype(np.int64)
    is_oriented = is_subject & draws.chance("oriented", person, 0.92)
    oriented = np.where(is_oriented, applied + delay, UNKNOWN_DAY)
    kind = draws.choose("orientation", person, np.array([0.42, 0.25, 0.33]))
    signs = is_oriented & draws.chance("contract", person, np.array([0.35, 0.62, 0.62])[kind])
    wait = 8 + np.floor(110 * draws.uniform("delay of the contract", person) ** 1.6).astype(np.int64)
    return MinimumIncome(
        has_file,
        applied,
        closed,
        is_subject,
        invited=np.where(is_subject, applied + np.minimum(delay - 5, 7 + delay // 3), UNKNOWN_DAY),
        oriented=oriented,
        orientation=kind,
        contract_signed=np.where(signs, oriented + wait, UNKNOWN_DAY),
        appointment_status=draws.choose("appointment", person, np.array([0.66, 0.17, 0.07, 0.05, 0.05])),
    )


# -- job search --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Registration:
    """Registration at an employment service, one row per person."""

    is_known: Booleans
    registered: Integers
    ceased: Integers

    def in_month(self, month: Month) -> Booleans:
        """Registered on at least one day of the month."""
        start, end = day_number(month, last=False), day_number(month, last=True)
        present: Booleans = (
            self.is_known & (self.registered <= end) & ((self.ceased == UNKNOWN_DAY) | (self.ceased >= start))
        )
        return present


def registration(population: Population, span: Span, share: Floats, purpose: str) -> Registration:
    """Registrations of those whom chance `share` designates."""
    draws, person = population.draws, population.rows
    start, end = day_number(span.first, last=False), day_number(span.last, last=True)
    known = (population.role != CHILD) & draws.chance(f"{purpose}: known", person, share)
    registered = end - 2 - np.floor(1500 * draws.uniform(f"{purpose}: registered", person) ** 1.5).astype(np.int64)
    registered = np.maximum(registered, population.adult_since)
    ceases = draws.chance(f"{purpose}: ceases", person, 0.12)
    ceasing = draws.between(f"{purpose}: ceasing day", person, start - 20, end)
    ceased = np.where(ceases & (ceasing > registered + 30), ceasing, UNKNOWN_DAY)
    return Registration(known, registered, ceased)


# -- work in a SIAE ----------------------------------------------------------------------------------------------

#: Kind of structure: measure code and id of the ASP, yearly hours of one ETP, usual hours a month (low, high).
MEASURES: tuple[tuple[str, str, int, float, int, int], ...] = (
    ("ACI", "ACI_DC", 2, 1820.0, 86, 118),
    ("EI", "EI_DC", 3, 1505.0, 104, 152),
    ("ETTI", "ETTI_DC", 4, 1607.0, 42, 150),
    ("AI", "AI_DC", 1, 1607.0, 12, 92),
)
_MEASURE_CYCLE = (0, 1, 0, 2, 0, 3, 1, 0, 0, 1)

#: Exit reasons: code, label, category (1 durable, 2 transition, 3 positive, 4 other, 5 withdrawn), share.
EXIT_REASONS: tuple[tuple[str, str, int, float], ...] = (
    ("1", "CDI non aidé dans une autre structure", 1, 0.10),
    ("3", "CDD de plus de 6 mois", 1, 0.08),
    ("4", "Création d'entreprise", 1, 0.01),
    ("96", "CDI inclusion", 1, 0.01),
    ("5", "CDD de moins de 6 mois", 2, 0.11),
    ("6", "Contrat aidé chez un employeur de droit commun", 2, 0.04),
    ("7", "Mission de travail temporaire de moins de 6 mois", 2, 0.04),
    ("2", "CDD dans une autre SIAE", 3, 0.08),
    ("8", "Entrée en formation qualifiante", 3, 0.09),
    ("9", "Prise des droits à la retraite", 3, 0.01),
    ("10", "Au chômage", 4, 0.22),
    ("11", "Sans nouvelle", 4, 0.06),
    ("12", "Inactif", 4, 0.05),
    ("13", "Rupture de la période d'essai", 5, 0.05),
    ("14", "Arrêt de longue durée pour raison de santé", 5, 0.03),
    ("15", "Congé de maternité", 5, 0.02),
)
EXIT_CATEGORIES = ("EMPLOI_DURABLE", "EMPLOI_TRANSITION", "SORTIE_POSITIVE", "AUTRE", "RETRAIT")
OTHER_SIAE_REASON = 7


@dataclass(frozen=True)
class Structure:
    """A SIAE: who it is and where it stands."""

    code: str
    name: str
    siret: str
    territory: str
    measure: int  # rank in MEASURES


@dataclass(frozen=True)
class Employment:
    """Spells in SIAE, one row per spell, ordered by person then date."""

    person: Integers
    structure: Integers  # rank in the list of structures
    hired: Integers
    planned_end: Integers
    left: Integers  # UNKNOWN_DAY while present
    reason: Integers  # rank in EXIT_REASONS, -1 while present
    monthly_hours: Integers

    def __len__(self) -> int:
        return len(self.person)

    def hours(self, population: Population, month: Month) -> Integers:
        """Whole hours of the month for each spell: the usual hours, in proportion to the days, with some absences."""
        start, end = day_number(month, last=False), day_number(month, last=True)
        until = np.where(self.left == UNKNOWN_DAY, end, np.minimum(self.left, end))
        days = np.clip(until - np.maximum(self.hired, start) + 1, 0, None)
        key = (self.person * 4 + np.arange(len(self)) % 4) * 1000 + (month.year * 12 + month.month) % 1000
        presence = 0.72 + 0.33 * population.draws.uniform("presence", key)
        presence = np.where(population.draws.chance("absent", key, 0.03), 0.0, presence)
        worked = np.floor(self.monthly_hours * presence * days / (end - start + 1))
        return np.asarray(worked, dtype=np.int64)

    def in_month(self, month: Month) -> Booleans:
        """Under contract on at least one day of the month."""
        start, end = day_number(month, last=False), day_number(month, last=True)
        present: Booleans = (self.hired <= end) & ((self.left == UNKNOWN_DAY) | (self.left >= start))
        return present


def measure_of(rank: int) -> int:
    """The measure of the n-th structure: half of them ACI, as in the country."""
    return _MEASURE_CYCLE[rank % len(_MEASURE_CYCLE)]


def employment(
    population: Population, span: Span, structures: Sequence[Structure], territory_of: Sequence[Integers], share: Floats
) -> Employment:
    """Spells of those whom chance `share` designates, in a structure of their own territory.

    `territory_of[n]` holds the communes whose people the n-th structure may hire.
    """
    draws, person = population.draws, population.rows
    end = day_number(span.last, last=True)
    chosen = np.full(len(population), -1, dtype=np.int64)
    other = np.full(len(population), -1, dtype=np.int64)
    hiring = _Hiring.of(len(population.gazetteer.countries), territory_of)
    group = hiring.group_of_town[population.home.town]
    can = group >= 0
    pick = draws.below("structure", person[can], hiring.count[group[can]])
    chosen[can] = hiring.ranks[hiring.start[group[can]] + pick]
    other[can] = hiring.ranks[hiring.start[group[can]] + (pick + 1) % hiring.count[group[can]]]
    works = ~population.is_belgian & (population.role != CHILD) & (chosen >= 0)
    works &= draws.chance("works in a SIAE", person, share)
    hired = end - 10 - np.floor(640 * draws.uniform("hired", person)).astype(np.int64)
    hired = np.maximum(hired, population.adult_since)
    length = 100 + np.floor(600 * draws.uniform("length of the path", person) ** 1.3).astype(np.int64)
    planned = hired + length
    early = draws.chance("leaves early", person, 0.3)
    left: Integers = np.where(
        early, hired + (length * draws.uniform("leaves after", person)).astype(np.int64) + 5, planned
    )
    has_left = left <= end
    reason = draws.choose("exit reason", person, np.array([share for *_, share in EXIT_REASONS]))
    passes = works & has_left & (left < end - 40) & (reason == OTHER_SIAE_REASON) & (other != chosen)

    again = left + draws.between("gap between structures", person, 5, 35)
    rows = np.concatenate([person[works], person[passes]])
    first = np.arange(len(rows)) < works.sum()
    order = np.lexsort((~first, rows))
    structure = np.where(first, chosen[rows], other[rows])
    low = np.array([measure[4] for measure in MEASURES])
    high = np.array([measure[5] for measure in MEASURES])
    measure = np.array([one.measure for one in structures], dtype=np.int64)
    measure = measure[structure] if len(structures) else structure
    departed = has_left[rows] & first
    spell = Employment(
        person=rows,
        structure=structure,
        hired=np.where(first, hired[rows], again[rows]),
        planned_end=np.where(first, planned[rows], again[rows] + 180),
        left=np.where(departed, left[rows], UNKNOWN_DAY),
        reason=np.where(departed, reason[rows], -1),
        monthly_hours=draws.between("usual hours", rows * 4 + ~first, low[measure], high[measure]),
    )
    return Employment(*(getattr(spell, name)[order] for name in Employment.__dataclass_fields__))


@dataclass(frozen=True)
class _Hiring:
    """Which structures hire in which communes: communes of one group share their structures."""

    group_of_town: Integers  # -1 where nobody hires
    start: Integers
    count: Integers
    ranks: Integers

    @classmethod
    def of(cls, towns: int, territory_of: Sequence[Integers]) -> _Hiring:
        groups: dict[bytes, list[int]] = {}
        for rank, rows in enumerate(territory_of):
            groups.setdefault(rows.tobytes(), []).append(rank)
        group_of_town = np.full(towns, -1, dtype=np.int64)
        for group, ranks in enumerate(groups.values()):
            group_of_town[territory_of[ranks[0]]] = group
        count = np.array([len(ranks) for ranks in groups.values()], dtype=np.int64)
        flat = np.array([rank for ranks in groups.values() for rank in ranks], dtype=np.int64)
        return cls(group_of_town, np.cumsum(count) - count, count, flat)


# -- ALE ---------------------------------------------------------------------------------------------------------

USER_TYPES = ("particulier", "association", "autorite_locale", "enseignement", "agriculture")
ACTIVITIES = (
    ("aide ménagère", "petits travaux de jardinage", "garde d'enfants", "accompagnement de personnes"),
    ("aide administrative", "aide aux activités", "entretien des locaux"),
    ("entretien des espaces verts", "surveillance", "aide aux manifestations"),
    ("garderie scolaire", "surveillance des repas", "accompagnement du car scolaire"),
    ("récolte", "plantations", "entretien des cultures"),
)


@dataclass(frozen=True)
class LocalWork:
    """Registrations at an ALE, one row per (person, ALE); a person may be registered at two."""

    person: Integers
    agency: Integers  # rank in the list of agencies
    registered: Integers
    left: Integers
    usual_hours: Integers

    def __len__(self) -> int:
        return len(self.person)

    def in_month(self, month: Month) -> Booleans:
        start, end = day_number(month, last=False), day_number(month, last=True)
        present: Booleans = (self.registered <= end) & ((self.left == UNKNOWN_DAY) | (self.left >= start))
        return present


def local_work(population: Population, span: Span, towns_of: Sequence[Integers], share: float) -> LocalWork:
    """Who is registered at which ALE: that of the commune of residence, at times another too."""
    draws, person = population.draws, population.rows
    start, end = day_number(span.first, last=False), day_number(span.last, last=True)
    agency_of_town = np.full(len(population.gazetteer.countries), -1, dtype=np.int64)
    for rank, towns in enumerate(towns_of):
        agency_of_town[towns] = rank
    agency = agency_of_town[population.home.town]
    works = population.is_belgian & (population.role != CHILD) & (agency >= 0) & draws.chance("ALE", person, share)
    twice = works & draws.chance("second ALE", person, 0.05) & (len(towns_of) > 1)
    rows = np.concatenate([person[works], person[twice]])
    first = np.arange(len(rows)) < works.sum()
    order = np.lexsort((~first, rows))
    key = rows * 2 + ~first
    registered = end - 5 - np.floor(2500 * draws.uniform("ALE: registered", key) ** 1.4).astype(np.int64)
    registered = np.maximum(registered, population.adult_since[rows])
    leaves = draws.chance("ALE: leaves", key, 0.08)
    leaving = draws.between("ALE: leaving day", key, start, end)
    columns = (
        rows,
        np.where(first, agency[rows], (agency[rows] + 1) % max(len(towns_of), 1)),
        registered,
        np.where(leaves & (leaving > registered + 60), leaving, UNKNOWN_DAY),
        np.floor(6 + 38 * draws.uniform("ALE: usual hours", key) ** 1.3).astype(np.int64),
    )
    return LocalWork(*(column[order] for column in columns))


# -- everything --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Shares:
    """How much of the population each situation concerns."""

    minimum_income: float = 0.50
    siae: float = 0.15
    siae_with_minimum_income: float = 0.26
    job_search: float = 0.48
    job_search_with_minimum_income: float = 0.74
    forem: float = 0.74
    ale: float = 0.42


@dataclass(frozen=True)
class Situations:
    """All that happens to a population over a span of months."""

    span: Span
    income: MinimumIncome
    job_search: Registration
    forem: Registration
    structures: tuple[Structure, ...]
    employment: Employment
    agencies: tuple[str, ...]
    local_work: LocalWork


def unfold(
    population: Population,
    span: Span,
    structures: Sequence[Structure],
    agencies: Sequence[tuple[str, str]],
    shares: Shares,
) -> Situations:
    """The situations of a population, given the structures and the (code, territory) of the ALE that may serve it."""
    places = population.gazetteer
    income = minimum_income(population, span, shares.minimum_income)
    siae_share = np.where(income.has_file, shares.siae_with_minimum_income, shares.siae)
    search = np.where(income.has_file, shares.job_search_with_minimum_income, shares.job_search)
    return Situations(
        span=span,
        income=income,
        job_search=registration(population, span, np.where(population.is_belgian, 0.0, search), "job search"),
        forem=registration(population, span, np.where(population.is_belgian, shares.forem, 0.0), "forem"),
        structures=tuple(structures),
        employment=employment(
            population, span, structures, [places.inside(one.territory) for one in structures], siae_share
        ),
        agencies=tuple(code for code, _ in agencies),
        local_work=local_work(population, span, [places.inside(territory) for _, territory in agencies], shares.ale),
    )
