"""A small seeded population as noisy canonical person records, with the truth: fuel for the tests of identity.

Four partner families see the same people: missing and mistyped numbers, numbers of relatives, provisional numbers,
birth and used names, compound, transliterated and swapped names, wrong and approximate birth dates, twins, fathers and
sons, movers. Error rates are those that `identity` was asked to withstand; `noise` multiplies them.
"""

from __future__ import annotations

import itertools
import random
from datetime import date, timedelta

import pyarrow as pa

from insertion_pipeline.identity.identifiers import nir_key, niss_keys

SURNAMES = (
    "Martin Bernard Thomas Petit Robert Richard Durand Dubois Moreau Laurent Simon Michel Lefebvre Leroy Roux David "
    "Bertrand Morel Fournier Girard Bonnet Dupont Lambert Fontaine Rousseau Vincent Muller Faure Andre Mercier Blanc "
    "Guerin Boyer Garnier Chevalier Francois Legrand Gauthier Garcia Perrin Robin Clement Morin Nicolas Henry Roussel "
    "Mathieu Gautier Masson Marchand Duval Denis Dumont Marie Lemaire Noel Meyer Dufour Meunier Brun Blanchard Giraud "
    "Joly Riviere Lucas Brunet Gaillard Barbier Arnaud Martinez Gerard Roche Renard Schmitt Roy Leroux Colin Vidal Caron"
).split()
ARABIC_SURNAMES = "Ben Ali|El Amrani|Benali|Haddad|Bouzid|Traore|Diallo|Diop|Mansouri|Cherif|Yilmaz|Nguyen|Sow|Keita".split("|")
MEN = (
    "Jean Pierre Michel Philippe Alain Nicolas Christophe Daniel Patrick Laurent Julien Frédéric Sébastien Éric David "
    "Stéphane Olivier Thierry Thomas Alexandre Kevin Maxime Antoine Romain François Jérôme Vincent Guillaume Hugo Lucas "
    "Jean-Luc Jean-Pierre Camille Dominique Théo Mathis Enzo Rayan Yanis Loïc Gaël Cédric Rémi Benoît"
).split()
WOMEN = (
    "Marie Nathalie Isabelle Sylvie Catherine Françoise Valérie Stéphanie Christine Sandrine Céline Véronique Aurélie "
    "Émilie Julie Sophie Laura Camille Manon Léa Chloé Sarah Inès Océane Marie-Claire Anne-Sophie Dominique Audrey "
    "Virginie Hélène Caroline Élodie Mélanie Pauline Charlotte Claire Lucie Justine Morgane Zoé Noémie Agnès Maëlys"
).split()
FOREIGN_MEN = (("Mohamed", "Mohammed", "Muhammad"), ("Ahmed", "Ahmad"), ("Youssef", "Yusuf", "Youcef"), ("Ibrahima", "Ibrahim"))
FOREIGN_WOMEN = (("Fatima", "Fatma", "Fatimah"), ("Khadija", "Khadidja", "Hadija"), ("Aïcha", "Aicha", "Aisha"), ("Mariam", "Maryam"))
SYLLABLES = "ba be bo bri ca cha co cra da del do du fa fe for gar ge gi gra ja jo la le lin lo ma mer mi mo na ni pa pel pi ra re ro sa ser so ta ter ti tou va ver vil".split()
ENDINGS = "rd t n nd ux au y er in on ard eau et ier lle ot as es ic".split()

COLUMNS = (
    "record_id person_space partner_family partner nir niss france_travail_id caf_matricule caf_role department_person_id "
    "birth_name used_name first_names sex birth_date birth_place_code birth_place_name address postal_code residence_code "
    "email phone"
).split()
#: partner, share of the persons that it knows, numbers missing, identifiers it carries
PARTNERS = {
    "fr": (("france-travail", "employment_service", 0.75, 0.08), ("dep-08", "department", 0.55, 0.12),
           ("siae-01", "siae", 0.25, 0.15), ("dep-52", "department", 0.20, 0.12)),
    "be": (("forem", "employment_service", 0.8, 0.08), ("ale-namur", "ale", 0.45, 0.40), ("ale-liege", "ale", 0.2, 0.40)),
}


class Population:
    """Persons and their noisy records, all from one seed."""

    def __init__(self, persons: int, *, seed: int = 1, noise: float = 1.0, space: str = "fr") -> None:
        self.random = random.Random(seed)
        self.noise, self.space = noise, space
        rare = [self._surname() for _ in range(max(400, min(persons // 4, 20_000)))]
        self.surnames = [*SURNAMES, *rare]
        self.weights = list(itertools.accumulate(1 / (rank + 8) for rank in range(len(self.surnames))))
        self.persons: list[dict[str, object]] = []
        while len(self.persons) < persons:
            self._household()
        self.rows: list[dict[str, object]] = []
        self.truth: list[tuple[str, int]] = []
        for identity, person in enumerate(self.persons):
            self._records(identity, person)

    def table(self) -> pa.Table:
        return pa.Table.from_pylist(self.rows, schema=pa.schema([(name, pa.string()) for name in COLUMNS]))

    def _happens(self, rate: float) -> bool:
        return self.random.random() < rate * self.noise

    def _surname(self) -> str:
        pick = self.random.choice
        return "".join(pick(SYLLABLES) for _ in range(self.random.randint(1, 3))).capitalize() + pick(ENDINGS)

    def _given(self, sex: str, foreign: bool) -> tuple[str, tuple[str, ...]]:
        if foreign and self.random.random() < 0.6:
            variants = self.random.choice(FOREIGN_MEN if sex == "1" else FOREIGN_WOMEN)
            return variants[0], variants
        pool = MEN if sex == "1" else WOMEN
        name = pool[min(int(self.random.expovariate(1 / 14)), len(pool) - 1)]
        return name, (name,)

    def _person(self, surname: str, sex: str, born: date, *, foreign: bool, commune: str, household: int) -> dict[str, object]:
        pick = self.random
        given, variants = self._given(sex, foreign)
        second = self._given(sex, foreign)[0]
        department = "99" if foreign else f"{pick.randint(1, 95):02d}"
        if department == "20":
            department = pick.choice(("2A", "2B"))
        place = f"{pick.randint(1, 700):03d}"
        if self.space == "fr":
            number = f"{sex}{born.year % 100:02d}{born.month:02d}{department}{place}{pick.randint(1, 600):03d}"
            number += nir_key(number)
            provisional = f"{int(sex) + 6}{number[1:13]}"
            provisional += nir_key(provisional)
        else:
            counter = pick.randrange(1, 498) * 2 + (1 if sex == "1" else 0)
            nine = f"{born:%y%m%d}{counter:03d}"
            number = nine + niss_keys(nine)[born.year >= 2000]
            bis = f"{born:%y}{born.month + 40:02d}{born:%d}{counter:03d}"
            provisional = bis + niss_keys(bis)[born.year >= 2000]
        used = surname
        if sex == "2" and pick.random() < 0.45:
            used = pick.choices(self.surnames, cum_weights=self.weights)[0]
            if pick.random() < 0.1:
                used = f"{surname}-{used}"
        return {
            "surname": surname, "used": used, "given": given, "variants": variants, "second": second, "sex": sex,
            "born": born, "foreign": foreign, "number": number, "provisional": provisional, "place": department + place,
            "commune": commune, "household": household, "ft": f"{pick.randrange(10**7):07d}{pick.choice('ABCDEFGH0123')}",
            "email": f"{given}.{surname}{pick.randint(1, 99)}@exemple.fr".lower().replace(" ", ""),
            "phone": f"06{pick.randrange(10**8):08d}", "has_contact": pick.random() < 0.4,
            "approximate": foreign and pick.random() < 0.12,
        }

    def _household(self) -> None:
        pick = self.random
        foreign = pick.random() < 0.15
        surname = pick.choice(ARABIC_SURNAMES) if foreign and pick.random() < 0.5 else pick.choices(self.surnames, cum_weights=self.weights)[0]
        if pick.random() < 0.04:
            surname += "-" + pick.choices(self.surnames, cum_weights=self.weights)[0]
        commune = f"{pick.choice(('08', '52', '54', '59'))}{pick.randint(1, 300):03d}"
        household = pick.randrange(10**7)
        born = date(1960, 1, 1) + timedelta(days=pick.randrange(46 * 365))
        if foreign and pick.random() < 0.1:
            born = born.replace(month=1, day=1)
        sex = pick.choice("12")
        person = self._person(surname, sex, born, foreign=foreign, commune=commune, household=household)
        self.persons.append(person)
        draw = pick.random()
        if draw < 0.012:  # twins
            twin = self._person(surname, pick.choice((sex, sex, "1", "2")), born, foreign=foreign, commune=commune, household=household)
            if twin["given"] != person["given"]:
                self.persons.append({**twin, "place": person["place"], "email": person["email"], "phone": person["phone"]})
        elif draw < 0.03 and sex == "1":  # father and son of the same name
            son = self._person(surname, "1", born + timedelta(days=8000 + pick.randrange(5000)), foreign=foreign, commune=commune, household=household)
            self.persons.append({**son, "given": person["given"] if pick.random() < 0.3 else son["given"]})
        elif draw < 0.15:  # spouses share household, e-mail and telephone
            other = "2" if sex == "1" else "1"
            spouse = self._person(pick.choices(self.surnames, cum_weights=self.weights)[0], other, born + timedelta(days=pick.randint(-2500, 2500)), foreign=foreign, commune=commune, household=household)
            if other == "2":
                spouse["used"] = surname
            self.persons.append({**spouse, "email": person["email"], "phone": person["phone"]})

    def _typo(self, text: str) -> str:
        if len(text) < 3:
            return text
        at, kind = self.random.randrange(1, len(text) - 1), self.random.randrange(4)
        letter = self.random.choice("abcdefghilmnoprstuv")
        return (
            text[:at] + letter + text[at + 1:] if kind == 0 else text[:at] + text[at + 1:] if kind == 1
            else text[:at] + letter + text[at:] if kind == 2 else text[:at] + text[at + 1] + text[at] + text[at + 2:]
        )

    def _wrong_digit(self, number: str) -> str:
        at = self.random.randrange(1, 13 if self.space == "fr" else 9)
        return number[:at] + str((int(number[at], 16) + self.random.randint(1, 8)) % 10) + number[at + 1:]

    def _records(self, identity: int, person: dict[str, object]) -> None:
        for partner, family, share, missing in PARTNERS[self.space]:
            if self.random.random() < share:
                for _ in range(2 if self.random.random() < 0.1 else 1):
                    self._record(identity, person, partner, family, missing)

    def _record(self, identity: int, person: dict[str, object], partner: str, family: str, missing: float) -> None:
        pick, happens = self.random, self._happens
        number: str | None = str(person["number"])
        if happens(missing):
            number = None
        elif person["foreign"] and happens(0.10):
            number = str(person["provisional"])
        elif happens(0.0015):
            number = str(self.persons[max(0, identity - 1)]["number"])
        if number is not None and self.space == "fr" and family == "department" and pick.random() < 0.2:
            number = number[:13]
        if number is not None and happens(0.01):
            number = self._wrong_digit(number)
        birth_name, used_name = str(person["surname"]), str(person["used"])
        given = str(person["given"])
        if person["foreign"] and happens(0.25):
            given = pick.choice(person["variants"])  # type: ignore[call-overload]
        if happens(0.02):
            given = str(person["second"])
        elif pick.random() < 0.3:
            given = f"{given} {person['second']}"
        if birth_name != used_name and happens(0.08):
            birth_name = used_name
        if happens(0.012):
            birth_name = self._typo(birth_name)
        if happens(0.012):
            used_name = self._typo(used_name)
        if happens(0.012):
            given = self._typo(given)
        if pick.random() < 0.5:
            birth_name, used_name, given = birth_name.upper(), used_name.upper(), given.upper().replace("É", "E")
        if happens(0.006):
            birth_name, used_name, given = given, given, birth_name
        born: date = person["born"]  # type: ignore[assignment]
        birth_date: str | None = born.isoformat()
        if person["approximate"] and pick.random() < 0.5:
            birth_date = f"{born.year}-01-01"
        elif happens(0.004):
            birth_date = None
        elif happens(0.015):
            kind = pick.randrange(4)
            if kind == 0 and born.day <= 12:
                birth_date = f"{born.year}-{born.day:02d}-{born.month:02d}"
            elif kind == 1:
                birth_date = f"{born.year + pick.choice((-10, -1, 1, 10))}-{born:%m-%d}"
            elif kind == 2:
                birth_date = f"{born:%Y-%m}-{pick.randint(1, 28):02d}"
            else:
                birth_date = f"{born.year}-{pick.randint(1, 12):02d}-{min(born.day, 28):02d}"
        sex: str | None = str(person["sex"])
        if happens(0.003):
            sex = "2" if sex == "1" else "1"
        commune = str(person["commune"])
        if happens(0.12):
            commune = f"{pick.choice(('08', '52', '54', '59'))}{pick.randint(1, 300):03d}"
        contact = person["has_contact"] and pick.random() < 0.6
        place: str | None = str(person["place"]) if family != "ale" and pick.random() < 0.7 else None
        if place is not None and happens(0.05):  # renamed communes, or the department alone
            place = f"{place[:2]}{pick.randint(1, 700):03d}" if pick.random() < 0.6 else f"{pick.randint(10, 95)}001"
        household = f"{pick.randrange(10**7) if happens(0.08) else person['household']:07d}"
        registration = f"{pick.randrange(10**7):07d}A" if happens(0.10) else person["ft"]
        email = f"{given}{pick.randint(1, 999)}@exemple.fr".lower().replace(" ", "") if happens(0.15) else person["email"]
        phone = f"07{pick.randrange(10**8):08d}" if happens(0.2) else person["phone"]
        record_id = f"r{pick.randrange(16**10):010x}{len(self.rows):07d}"
        self.truth.append((record_id, identity))
        self.rows.append({
            "record_id": record_id, "person_space": self.space, "partner_family": family, "partner": partner,
            "nir": number if self.space == "fr" else None, "niss": number if self.space == "be" else None,
            "france_travail_id": registration if family == "employment_service" or pick.random() < 0.15 else None,
            "caf_matricule": household if family == "department" else None,
            "caf_role": "DEM" if family == "department" else None, "department_person_id": None,
            "birth_name": birth_name if family != "ale" else None, "used_name": used_name, "first_names": given, "sex": sex,
            "birth_date": birth_date, "birth_place_code": place,
            "birth_place_name": None, "address": None, "postal_code": commune[:4] + "0", "residence_code": commune,
            "email": email if contact else None, "phone": phone if contact else None,
        })


def cluster_f1(truth: list[tuple[str, int]], persons: dict[str, str]) -> tuple[float, float, float]:
    """Precision, recall and F1 over clusters of two records or more... counted exactly: a cluster is right or wrong."""
    real: dict[int, set[str]] = {}
    found: dict[str, set[str]] = {}
    for record, identity in truth:
        real.setdefault(identity, set()).add(record)
        found.setdefault(persons[record], set()).add(record)
    right = len({frozenset(one) for one in real.values()} & {frozenset(one) for one in found.values()})
    precision, recall = right / len(found), right / len(real)
    return precision, recall, 2 * precision * recall / (precision + recall)


def pair_f1(truth: list[tuple[str, int]], persons: dict[str, str]) -> tuple[float, float, float]:
    """Precision, recall and F1 over pairs of records."""
    cells: dict[tuple[int, str], int] = {}
    real: dict[int, int] = {}
    found: dict[str, int] = {}
    for record, identity in truth:
        person = persons[record]
        cells[identity, person] = cells.get((identity, person), 0) + 1
        real[identity] = real.get(identity, 0) + 1
        found[person] = found.get(person, 0) + 1
    both = sum(size * (size - 1) for size in cells.values())
    precision = both / max(1, sum(size * (size - 1) for size in found.values()))
    recall = both / max(1, sum(size * (size - 1) for size in real.values()))
    return precision, recall, 2 * precision * recall / max(1e-12, precision + recall)
