"""Who the people really are: households, names, births, numbers, homes. The truth that partners only see in part.

Belongs here: everything about a person that does not change from month to month, and the move of those who moved.
Does not belong here: situations (`situations`), what partners write down (`observing`).

One row per person. Households come whole: couples and their children, lone parents, a father and his grown son of the
same name, twins. Ages are those of the reference day.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from insertion_pipeline.simulation import spelling
from insertion_pipeline.simulation.names import MIXES, STREET_NAMES, STREET_TYPES, Lexicon
from insertion_pipeline.simulation.places import Gazetteer
from insertion_pipeline.simulation.randomness import Booleans, Draws, Floats, Integers, zipf_weights

#: Place of a person in the household, with the role that the family benefits give it.
HEAD, PARTNER, CHILD = 0, 1, 2
ROLES = ("DEM", "CJT", "ENF")

#: The kinds of household: share, and the place of each member. The last two are adults on files of their own.
_HOUSEHOLDS: tuple[tuple[str, float, tuple[int, ...]], ...] = (
    ("alone", 0.52, (HEAD,)),
    ("couple", 0.17, (HEAD, PARTNER)),
    ("couple, one child", 0.07, (HEAD, PARTNER, CHILD)),
    ("couple, two children", 0.05, (HEAD, PARTNER, CHILD, CHILD)),
    ("lone parent, one child", 0.08, (HEAD, CHILD)),
    ("lone parent, two children", 0.05, (HEAD, CHILD, CHILD)),
    ("father and son", 0.045, (HEAD, HEAD)),
    ("twins", 0.015, (HEAD, HEAD)),
)
_FATHER_AND_SON, _TWINS = 6, 7

#: Shares seen in French and Belgian social files, to be roughly right: no source is claimed for them.
_MARRIED_NAME_SHARE = 0.62
_DIVORCED_NAME_SHARE = 0.12
_MOVED_SHARE = 0.12
_BORN_WHERE_LIVING_SHARE = 0.5
_SHARED_MAIL_SHARE = 0.12
_SHARED_PHONE_SHARE = 0.30


@dataclass(frozen=True)
class Home:
    """Addresses: one row per person."""

    town: Integers
    number: Integers
    street_type: pa.Array
    street_name: pa.Array

    def take(self, rows: Integers) -> Home:
        """The addresses of these rows."""
        index = pa.array(rows)
        return Home(self.town[rows], self.number[rows], self.street_type.take(index), self.street_name.take(index))


@dataclass(frozen=True)
class Population:
    """The truth, one row per person."""

    draws: Draws
    lexicon: Lexicon
    gazetteer: Gazetteer
    reference: date
    is_belgian: Booleans  # of the person space `be`
    household: Integers
    file: Integers  # the benefit file: the household's, or one's own for grown twins and sons
    role: Integers
    spouse: Integers  # row of the spouse, -1 for none
    relative: Integers  # row of another member of the household, -1 for none
    sex: Integers
    birth_day: Integers
    is_foreign_born: Booleans
    birth_place_code: pa.Array
    birth_place_name: pa.Array
    birth_name: pa.Array
    used_name: pa.Array
    given: tuple[Integers, Integers, Integers]  # rows of the lexicon's given names
    nir: spelling.Digits  # 15 characters; meaningless for the Belgian space
    niss: spelling.Digits  # 11 characters; meaningless for the French space
    home: Home
    former_home: Home
    has_moved: Booleans
    email: pa.Array
    phone: pa.Array

    def __len__(self) -> int:
        return len(self.sex)

    @property
    def rows(self) -> Integers:
        return np.arange(len(self), dtype=np.int64)

    @property
    def age(self) -> Integers:
        """Age in whole years on the reference day."""
        years, months, days = spelling.parts_of_day(self.birth_day)
        before = (months > self.reference.month) | ((months == self.reference.month) & (days > self.reference.day))
        age: Integers = self.reference.year - years - before
        return age

    @property
    def adult_since(self) -> Integers:
        """The day of the eighteenth birthday, or the one after."""
        since: Integers = self.birth_day + 6575
        return since

    @property
    def is_adult(self) -> Booleans:
        adult: Booleans = self.role != CHILD
        return adult

    def given_name(self, rank: int) -> pa.Array:
        return spelling.picked(self.lexicon.given_names, self.given[rank])

    def person_ids(self, persons: Integers) -> pa.Array:
        """The truth's names for these persons."""
        return spelling.joined(self.spaces(persons), "-", spelling.text(persons))

    def spaces(self, persons: Integers) -> pa.Array:
        """The person space of each of these persons: `fr` or `be`."""
        return spelling.where(self.is_belgian[persons], "be", "fr")


def populate(
    persons: int,
    draws: Draws,
    places: Gazetteer,
    *,
    names: str = "default",
    reference: date,
    towns: Floats | None = None,
    belgian_share: float = 0.25,
) -> Population:
    """`persons` people, living in communes drawn by the weights `towns` (by default, all of both countries).

    Raises `KeyError` for an unknown mix of names.
    """
    if towns is None:
        towns = places.weights(("FR", "BE"))
    lexicon = MIXES[names]
    head = _Households.draw(persons, draws, belgian_share)
    person = np.arange(persons, dtype=np.int64)
    house = head.of_person

    sex = _sexes(draws, person, head)
    birth_day = _births(draws, person, head, reference)
    origin = _origins(draws, person, head, lexicon)
    foreign = _foreign_births(draws, person, head, origin, lexicon)
    birth_day = _unknown_birthdays(draws, person, birth_day, foreign)
    birth_name, used_name = _surnames(draws, person, head, sex, origin, lexicon)
    given = _given_names(draws, person, head, sex, birth_day, origin, lexicon, reference)

    home = _homes(draws, np.arange(head.count), head.is_belgian, places, towns, "home").take(house)
    former = _homes(draws, np.arange(head.count), head.is_belgian, places, towns, "former home").take(house)
    code, name = _birth_places(draws, person, origin, foreign, head.is_belgian[house], home.town, places, lexicon)
    email, phone = _contacts(draws, person, head, birth_name, spelling.picked(lexicon.given_names, given[0]))
    return Population(
        draws=draws,
        lexicon=lexicon,
        gazetteer=places,
        reference=reference,
        is_belgian=head.is_belgian[house],
        household=house,
        file=head.file,
        role=head.role,
        spouse=head.spouse,
        relative=head.relative,
        sex=sex,
        birth_day=birth_day,
        is_foreign_born=foreign,
        birth_place_code=code,
        birth_place_name=name,
        birth_name=birth_name,
        used_name=used_name,
        given=given,
        nir=_nirs(draws, sex, birth_day, code),
        niss=_nisses(draws, person, sex, birth_day, foreign),
        home=home,
        former_home=former,
        has_moved=draws.chance("moved", house, _MOVED_SHARE),
        email=email,
        phone=phone,
    )


# -- households --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Households:
    """How persons stand in households."""

    count: int
    kind: Integers  # per household
    is_belgian: Booleans  # per household
    of_person: Integers
    rank: Integers  # of the person in the household
    role: Integers
    spouse: Integers
    relative: Integers
    file: Integers

    @classmethod
    def draw(cls, persons: int, draws: Draws, belgian_share: float) -> _Households:
        house = np.arange(persons, dtype=np.int64)
        shares = np.array([share for _, share, _ in _HOUSEHOLDS])
        kind = draws.choose("household", house, shares)
        sizes = np.array([len(members) for _, _, members in _HOUSEHOLDS])[kind]
        ends = np.cumsum(sizes)
        count = int(np.searchsorted(ends, persons)) + 1
        kind, sizes, ends = kind[:count], sizes[:count], ends[:count]
        of_person = np.repeat(house[:count], sizes)[:persons]
        rank = np.arange(persons, dtype=np.int64) - (ends - sizes)[of_person]
        widest = max(len(members) for _, _, members in _HOUSEHOLDS)
        table = np.array([[*members, *[-1] * (widest - len(members))] for _, _, members in _HOUSEHOLDS])
        role = table[kind[of_person], rank]
        row = np.arange(persons, dtype=np.int64)
        size = np.minimum(ends, persons)[of_person] - (ends - sizes)[of_person]
        relative = np.where(size > 1, np.where(rank == 0, row + 1, row - rank), -1)
        first = row - rank
        has_partner = table[kind, 1] == PARTNER
        spouse = np.where(has_partner[of_person] & (rank == 0) & (size > 1), row + 1, -1)
        spouse = np.where(role == PARTNER, first, spouse)
        separate = (kind[of_person] >= _FATHER_AND_SON) & (rank > 0)
        return cls(
            count, kind, draws.chance("country", house[:count], belgian_share), of_person, rank, role, spouse, relative,
            file=np.where(separate, row, first),
        )  # fmt: skip

    @property
    def kind_of_person(self) -> Integers:
        return self.kind[self.of_person]


def _sexes(draws: Draws, person: Integers, head: _Households) -> Integers:
    sex = draws.between("sex", person, 1, 2)
    kind, house = head.kind_of_person, head.of_person
    first = draws.between("sex of the head", house, 1, 2)
    is_lone_parent = np.isin(kind, (4, 5))
    first = np.where(is_lone_parent & draws.chance("lone mother", house, 0.85), 2, first)
    first = np.where(kind == _FATHER_AND_SON, 1, first)
    sex = np.where(head.rank == 0, first, sex)
    same_sex = draws.chance("same-sex couple", house, 0.03)
    sex = np.where(head.role == PARTNER, np.where(same_sex, first, 3 - first), sex)
    sex = np.where((kind == _FATHER_AND_SON) & (head.rank == 1), 1, sex)
    same = draws.chance("twins of one sex", house, 0.65)
    return np.where((kind == _TWINS) & (head.rank == 1), np.where(same, first, 3 - first), sex)


def _births(draws: Draws, person: Integers, head: _Households, reference: date) -> Integers:
    """Adults are 18 to 65, children under 18, younger than the head by a generation."""
    today = int(np.datetime64(reference, "D").astype(np.int64))
    house, kind = head.of_person, head.kind_of_person
    span = draws.uniform("age of the head", house)
    head_age = 18.5 + 46.5 * span**1.15
    has_children = np.isin(kind, (2, 3, 4, 5))
    head_age = np.where(has_children, 20.0 + 30.0 * span, head_age)
    head_age = np.where(kind == _FATHER_AND_SON, 40.0 + 25.0 * span, head_age)
    own = draws.uniform("age", person)
    partner_age = np.clip(head_age - 4.0 + 9.0 * own, 18.5, 65.0)
    child_age = np.minimum(head_age - 18.5, 17.5) * own
    son_age = np.clip(head_age - 20.0 - 8.0 * own, 18.5, 40.0)
    age = np.where(head.role == PARTNER, partner_age, np.where(head.role == CHILD, child_age, head_age))
    age = np.where((kind == _FATHER_AND_SON) & (head.rank == 1), son_age, age)
    return today - np.floor(age * 365.25).astype(np.int64)


def _unknown_birthdays(draws: Draws, person: Integers, birth_day: Integers, foreign: Booleans) -> Integers:
    """Some people born abroad are given the first of January as their birthday."""
    years, _, _ = spelling.parts_of_day(birth_day)
    january = spelling.days_of(years, np.ones_like(years), np.ones_like(years))
    return np.where(foreign & draws.chance("first of January", person, 0.08), january, birth_day)


# -- names -------------------------------------------------------------------------------------------------------


def _line(head: _Households) -> Integers:
    """The family line of a person: two per household, children in the head's."""
    line: Integers = head.of_person * 2 + (head.role == PARTNER)
    return line


def _origins(draws: Draws, person: Integers, head: _Households, lexicon: Lexicon) -> Integers:
    """The rank of the person's origin in the mix of the country; spouses share theirs four times in five."""
    lines = np.arange(head.count * 2, dtype=np.int64)
    mixed = draws.chance("mixed couple", lines, 0.2)
    source = np.where(mixed, lines, lines // 2 * 2)
    origin = np.zeros(len(lines), dtype=np.int64)
    for country, is_belgian in (("fr", False), ("be", True)):
        shares = np.array([one.share for one in lexicon.mixes[country].origins])
        origin = np.where(head.is_belgian[lines // 2] == is_belgian, draws.choose("origin", source, shares), origin)
    return origin[_line(head)]


def _per_origin(lexicon: Lexicon, is_belgian: Booleans, origin: Integers) -> list[tuple[str, int, Booleans]]:
    return [
        (country, rank, (is_belgian == (country == "be")) & (origin == rank))
        for country, mix in lexicon.mixes.items()
        for rank in range(len(mix.origins))
    ]


def _foreign_births(draws: Draws, person: Integers, head: _Households, origin: Integers, lexicon: Lexicon) -> Booleans:
    share: Floats = np.zeros(len(person))
    for country, rank, mask in _per_origin(lexicon, head.is_belgian[head.of_person], origin):
        share[mask] = lexicon.mixes[country].origins[rank].foreign_born
    share = np.where(head.role == CHILD, share * 0.15, share)
    key = np.where(head.kind_of_person == _TWINS, head.of_person, person + (1 << 40))
    return draws.chance("born abroad", key, share)


def _surnames(
    draws: Draws, person: Integers, head: _Households, sex: Integers, origin: Integers, lexicon: Lexicon
) -> tuple[pa.Array, pa.Array]:
    """Birth name and used name of each person."""
    line = _line(head)
    position = {name: row for row, name in enumerate(lexicon.surnames)}
    first = np.zeros(len(person), dtype=np.int64)
    second = np.full(len(person), -1, dtype=np.int64)
    other = np.zeros(len(person), dtype=np.int64)
    for country, rank, mask in _per_origin(lexicon, head.is_belgian[head.of_person], origin):
        one = lexicon.mixes[country].origins[rank]
        rows = np.array([position[name] for name in one.surnames])
        first[mask] = rows[draws.choose("surname", line[mask], one.surname_weights)]
        other[mask] = rows[draws.choose("surname by marriage", line[mask], one.surname_weights)]
        added = rows[draws.choose("second surname", line[mask], one.surname_weights)]
        second[mask] = np.where(draws.chance("double surname", line[mask], one.compound_surnames), added, -1)
    birth = spelling.picked(lexicon.surnames, first)
    doubled = spelling.joined(birth, "-", spelling.picked(lexicon.surnames, second))
    birth = spelling.where((second >= 0) & (second != first), doubled, birth)

    spouse_name = birth.take(pa.array(np.maximum(head.spouse, 0)))
    draw = draws.uniform("used name", person)
    takes = (head.spouse >= 0) & (sex == 2) & (draw < _MARRIED_NAME_SHARE)
    keeps_both = (head.spouse >= 0) & (sex == 2) & ~takes & (draw < _MARRIED_NAME_SHARE + 0.12)
    divorced = (head.spouse < 0) & (sex == 2) & (head.role == HEAD) & (draw < _DIVORCED_NAME_SHARE)
    used = spelling.where(takes, spouse_name, birth)
    used = spelling.where(keeps_both, spelling.joined(birth, "-", spouse_name), used)
    used = spelling.where(divorced, spelling.picked(lexicon.surnames, other), used)
    return birth, used


def _given_names(
    draws: Draws, person: Integers, head: _Households, sex: Integers, birth_day: Integers, origin: Integers,
    lexicon: Lexicon, reference: date,
) -> tuple[Integers, Integers, Integers]:  # fmt: skip
    position = {name: row for row, name in enumerate(lexicon.given_names)}
    names = [np.zeros(len(person), dtype=np.int64) for _ in range(3)]
    today = int(np.datetime64(reference, "D").astype(np.int64))
    youth = np.clip(1.0 - (today - birth_day) / (66 * 365.25), 0.0, 1.0)
    kind = head.kind_of_person
    namesake = (kind == _FATHER_AND_SON) & draws.chance("named after the father", head.of_person, 0.35)
    key = np.where(namesake, person - head.rank, person)
    for country, rank, mask in _per_origin(lexicon, head.is_belgian[head.of_person], origin):
        for side in (1, 2):
            chosen = mask & (sex == side)
            rows = np.array([position[name] for name in lexicon.mixes[country].origins[rank].given[side - 1]])
            weights = zipf_weights(len(rows), flatness=4.0)
            fashion = np.floor(youth[chosen] * 0.6 * len(rows)).astype(np.int64)
            fashion = np.where(namesake[chosen], 0, fashion)
            for nth in range(3):
                drawn = draws.choose(f"given name {nth}", key[chosen], weights)
                names[nth][chosen] = rows[(drawn + fashion + nth) % len(rows)]
    is_second_twin = (kind == _TWINS) & (head.rank == 1)
    twin = np.maximum(person - 1, 0)
    clash = is_second_twin & (names[0] == names[0][twin])
    names[0] = np.where(clash, names[1], names[0])
    return names[0], names[1], names[2]


# -- places ------------------------------------------------------------------------------------------------------


def _homes(draws: Draws, house: Integers, is_belgian: Booleans, places: Gazetteer, towns: Floats, purpose: str) -> Home:
    town = np.zeros(len(house), dtype=np.int64)
    countries = np.array(places.countries)
    for country in ("fr", "be"):
        rows = np.flatnonzero((countries == country) & (towns > 0))
        if len(rows):
            mask = is_belgian == (country == "be")
            town[mask] = rows[draws.choose(f"{purpose}: town", house[mask], towns[rows])]
    return Home(
        town,
        draws.between(f"{purpose}: number", house, 1, 160),
        spelling.picked(STREET_TYPES, draws.below(f"{purpose}: type", house, len(STREET_TYPES))),
        spelling.picked(STREET_NAMES, draws.below(f"{purpose}: street", house, len(STREET_NAMES))),
    )


def _birth_places(
    draws: Draws, person: Integers, origin: Integers, foreign: Booleans, is_belgian: Booleans, town: Integers,
    places: Gazetteer, lexicon: Lexicon,
) -> tuple[pa.Array, pa.Array]:  # fmt: skip
    """Code and name of the birth place: a commune, or a country and one of its towns."""
    row = town.copy()
    local = draws.chance("born where living", person, _BORN_WHERE_LIVING_SHARE)
    for country in ("fr", "be"):
        every = np.array([index for index, one in enumerate(places.countries) if one == country], dtype=np.int64)
        mask = ~local & (is_belgian == (country == "be"))
        if len(every):
            row[mask] = every[draws.choose("birth place", person[mask], places.population[every])]
    abroad_codes: list[str] = []
    abroad_names: list[str] = []
    abroad = np.zeros(len(person), dtype=np.int64)
    for country, rank, mask in _per_origin(lexicon, is_belgian, origin):
        towns = lexicon.mixes[country].origins[rank].birth_countries or (("99109", "Berlin"),)
        chosen = mask & foreign
        abroad[chosen] = len(abroad_codes) + draws.below("birth country", person[chosen], len(towns))
        abroad_codes += [code for code, _ in towns]
        abroad_names += [name for _, name in towns]
    code = spelling.where(foreign, spelling.picked(abroad_codes, abroad), places.codes.take(pa.array(row)))
    name = spelling.where(foreign, spelling.picked(abroad_names, abroad), places.names.take(pa.array(row)))
    return code, name


# -- numbers -----------------------------------------------------------------------------------------------------


def rank_within(keys: Integers) -> Integers:
    """The rank of each row among those with the same key, in row order."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    starts = np.r_[True, ordered[1:] != ordered[:-1]]
    first = np.maximum.accumulate(np.where(starts, np.arange(len(keys)), 0))
    rank = np.empty(len(keys), dtype=np.int64)
    rank[order] = np.arange(len(keys)) - first
    return rank


def with_nir_key(stem: spelling.Digits) -> spelling.Digits:
    """The 13 characters of each NIR followed by their key: 97 - n mod 97, with 2A read as 19 and 2B as 18."""
    figures = stem.copy()
    for letter, second in ((ord("A"), ord("9")), (ord("B"), ord("8"))):
        corsican = stem[:, 6] == letter
        figures[corsican, 5] = ord("1")
        figures[corsican, 6] = second
    powers = 10 ** np.arange(12, -1, -1, dtype=np.int64)
    number = ((figures.astype(np.int64) - ord("0")) * powers).sum(axis=1)
    return np.concatenate([stem, spelling.digits(97 - number % 97, 2)], axis=1)


def _nirs(draws: Draws, sex: Integers, birth_day: Integers, place_code: pa.Array) -> spelling.Digits:
    """Sex, year, month, place, order among those born there that month, key."""
    years, months, _ = spelling.parts_of_day(birth_day)
    places = np.array(pc.index_in(place_code, pc.unique(place_code)), dtype=np.int64)
    month = (sex * 100 + years % 100) * 100 + months
    group = month * 100_000 + places
    order = (draws.below("first order number", group, 400) + rank_within(group)) % 999 + 1
    return with_nir_key(
        np.concatenate(
            [spelling.digits(month, 5), spelling.characters(place_code, 5), spelling.digits(order, 3)], axis=1
        )
    )


def _nisses(draws: Draws, person: Integers, sex: Integers, birth_day: Integers, foreign: Booleans) -> spelling.Digits:
    """Birth date, counter (odd for men), key; one person born abroad in ten has a bis number (month + 40)."""
    years, months, days = spelling.parts_of_day(birth_day)
    months = np.where(foreign & draws.chance("bis number", person, 0.10), months + 40, months)
    date_part = (years % 100 * 100 + months) * 100 + days
    counter = rank_within(date_part * 2 + sex - 1) % 498 * 2 + sex
    stem = date_part * 1000 + counter
    key = 97 - np.where(years >= 2000, stem + 2_000_000_000, stem) % 97
    return np.concatenate([spelling.digits(stem, 9), spelling.digits(key, 2)], axis=1)


# -- contacts ----------------------------------------------------------------------------------------------------


def _contacts(
    draws: Draws, person: Integers, head: _Households, birth_name: pa.Array, given: pa.Array
) -> tuple[pa.Array, pa.Array]:
    """E-mail and telephone; spouses share them at times. Domains and numbers are of the kinds that nobody holds."""
    shares_mail = (head.role == PARTNER) & draws.chance("shared e-mail", head.of_person, _SHARED_MAIL_SHARE)
    shares_phone = (head.role == PARTNER) & draws.chance("shared telephone", head.of_person, _SHARED_PHONE_SHARE)
    domain = spelling.picked(("courriel.example", "boite.example", "lettre.example"), draws.below("domain", person, 3))
    suffix = spelling.where(
        draws.chance("figures in the e-mail", person, 0.6), spelling.text(draws.below("figures", person, 1000)), ""
    )
    email = spelling.joined(spelling.slug(given), ".", spelling.slug(birth_name), suffix, "@", domain)
    email = spelling.where(shares_mail, email.take(pa.array(np.maximum(head.spouse, 0))), email)
    has_mail = draws.chance("has an e-mail", person, 0.78) & (head.role != CHILD)
    belgian = head.is_belgian[head.of_person]
    number = draws.below("telephone", np.where(shares_phone, np.maximum(head.spouse, 0), person), 10_000_000)
    digits = spelling.digits_text(spelling.digits(number, 7))
    phone = spelling.joined(spelling.where(belgian, "040", "070"), digits)
    has_phone = draws.chance("has a telephone", person, 0.88) & (head.role != CHILD)
    return pc.if_else(pa.array(has_mail), email, None), pc.if_else(pa.array(has_phone), phone, None)
