"""What people are called: surnames and given names by origin, with frequencies that fall as real ones do.

Belongs here: the lists of a mix of names, the compositions of the long tail, the other spellings of a transliterated
given name. Does not belong here: who bears which name (`population`), typing mistakes (`observing`).

The lists are the project's own: common names of public knowledge, and a composed tail. No list of real persons was
used. The mix `alternative` shares few surnames with `default`: a linkage model trained on one is measured on the other.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from insertion_pipeline.simulation.randomness import Floats, zipf_weights


@dataclass(frozen=True)
class Origin:
    """One origin inside a mix: its share, its names, and how often its members were born abroad."""

    name: str
    share: float
    surnames: tuple[str, ...]
    given: tuple[tuple[str, ...], tuple[str, ...]]  # men's, women's; the more frequent first, older names first
    foreign_born: float
    birth_countries: tuple[tuple[str, str], ...] = ()  # (code of the country, a town of it)
    compound_surnames: float = 0.03

    @property
    def surname_weights(self) -> Floats:
        """As frequent as in reality for long lists: the commonest surname of France is borne by 0.35 % of people."""
        return zipf_weights(len(self.surnames), flatness=60.0 if len(self.surnames) > 1000 else 15.0)


@dataclass(frozen=True)
class NameMix:
    """A country's mix of names."""

    origins: tuple[Origin, ...]


@dataclass(frozen=True)
class Lexicon:
    """The mixes of both countries and every name in them, once."""

    mixes: Mapping[str, NameMix]

    @functools.cached_property
    def given_names(self) -> tuple[str, ...]:
        return tuple(
            sorted({name for mix in self.mixes.values() for one in mix.origins for name in sum(one.given, ())})
        )

    @functools.cached_property
    def other_spellings(self) -> tuple[str, ...]:
        """Beside each of `given_names`, how another clerk writes it down by ear."""
        return tuple(respelled(name) for name in self.given_names)

    @functools.cached_property
    def surnames(self) -> tuple[str, ...]:
        return tuple(sorted({name for mix in self.mixes.values() for one in mix.origins for name in one.surnames}))


_SPELLINGS = {
    "Mohamed": "Mohammed", "Mohammed": "Mohamed", "Ahmed": "Ahmad", "Abdelkader": "Abdel Kader", "Youssef": "Yousef",
    "Rachid": "Rashid", "Karim": "Kareem", "Fatima": "Fatma", "Khadija": "Khadidja", "Aïcha": "Aysha",
    "Hassan": "Hacène", "Mustapha": "Mostafa", "Saïd": "Sayed", "Nadia": "Nadya", "Samira": "Samera",
    "Yamina": "Amina", "Zohra": "Zahra", "João": "Joao", "José": "Jose", "Mehmet": "Mehmed", "Ayşe": "Ayse",
    "Oumar": "Omar", "Aminata": "Aminatou", "Ousmane": "Usman", "Svetlana": "Swetlana", "Oleksandr": "Alexandre",
}  # fmt: skip

_BY_EAR = (
    ("ou", "u"), ("ch", "sh"), ("ss", "s"), ("mm", "m"), ("ll", "l"), ("dj", "j"), ("kh", "k"), ("ck", "k"),
    ("ph", "f"), ("y", "i"), ("é", "e"), ("ie", "y"), ("z", "s"), ("k", "q"),
)  # fmt: skip


def respelled(name: str) -> str:
    """Another way of writing a given name heard and not read."""
    if name in _SPELLINGS:
        return _SPELLINGS[name]
    for heard, written in _BY_EAR:
        if heard in name[1:]:
            return name[0] + name[1:].replace(heard, written, 1)
    return name + "e" if name[-1] in "nlrd" else name + "h"


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.replace("_", " ") for word in text.split())


def _composed(*parts: str, join: str = "") -> list[str]:
    """Every combination of one word from each part, in a fixed order that mixes them; `-` stands for nothing."""
    lists = [_words(part) for part in parts]
    total = math.prod(len(words) for words in lists)
    names = []
    for rank in range(total):
        remainder, chosen = rank, []
        for words in lists:
            chosen.append(words[(remainder + rank // 7) % len(words)].replace("-", ""))
            remainder //= len(words)
        names.append(_capitalised(re.sub(r"(.)\1\1", r"\1\1", join.join(word for word in chosen if word))))
    return names


def _capitalised(name: str) -> str:
    """A capital after each space, small particles kept small."""
    return " ".join(
        word if word in ("da", "dos", "den", "la", "de") else word[:1].upper() + word[1:] for word in name.split(" ")
    )


def _once(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


_FRENCH = _words(
    "Martin Bernard Thomas Petit Robert Richard Durand Dubois Moreau Laurent Simon Michel Lefebvre Leroy Roux David"
    " Bertrand Morel Fournier Girard Bonnet Dupont Lambert Fontaine Rousseau Vincent Muller Lefèvre Faure André Mercier"
    " Blanc Guérin Boyer Garnier Chevalier François Legrand Gauthier Garcia Perrin Robin Clément Morin Nicolas Henry"
    " Roussel Mathieu Gautier Masson Marchand Duval Denis Dumont Marie Lemaire Noël Meyer Dufour Meunier Brun Blanchard"
    " Giraud Joly Rivière Lucas Brunet Gaillard Barbier Arnaud Martinez Gérard Roche Renard Schmitt Roy Leroux Colin"
    " Vidal Caron Picard Roger Fabre Aubert Lemoine Renaud Dumas Lacroix Olivier Philippe Bourgeois Pierre Benoît Rey"
    " Leclerc Payet Rolland Leclercq Guillaume Lecomte Lopez Jean Dupuy Guillot Hubert Berger Carpentier Sanchez"
    " Dupuis Moulin Louis Deschamps Huet Vasseur Perez Boucher Fleury Royer Klein Jacquet Adam Paris Poirier Marty"
    " Aubry Guyot Carré Charles Renault Charpentier Ménard Maillard Baron Bertin Bailly Hervé Schneider Fernandez"
    " Le_Gall Collet Léger Bouvier Julien Prévost Millet Perrot Daniel Le_Roux Cousin Germain Breton Besson Langlois"
    " Rémy Le_Goff Pelletier Lévêque Perrier Leblanc Barré Lebrun Marchal Weber Mallet Hamon Boulanger Jacob Monnier"
    " Michaud Rodriguez Guichard Gillet Étienne Grondin Poulain Tessier Chevallier Collin Chauvin Da_Silva Bouchet Gay"
    " Lemaître Bénard Maréchal Humbert Reynaud Antoine Hoarau Perret Barthélemy Cordier Pichon Lejeune Gilbert Lamy"
    " Delaunay Pasquier Carlier Laporte De_la_Fontaine De_Lattre Du_Bois_de_la_Roche D'Hondt De_Backer L'Huillier"
)

_FRENCH_TAIL = _once(
    _composed(
        "Beau Mont Roche Ville Haute Clair Grand Bois Champ Font Pré Belle Vau Mal Val Long Rouge Noir Chante Pierre"
        " Courte Gros Franc Bonne Sainte Garde Mar Bar Gour Lau Chau Mer Bran Dela Des Du Le Vi Per Tour Cor Ber Car",
        "champ fort mont ville court val bois loup pré font land din gnon lier chet nier ton reau rault vier quet mel"
        " bert mard chard lain net sart zon teil deau pin rot vin tin doux taud guet lot",
        "- et ot on ier eau",
    )
)

_MEN = _words(
    "Jean Michel Philippe Alain Patrick Pierre Daniel Christian Bernard Gérard Jacques Éric Laurent Thierry Pascal"
    " Christophe Frédéric Stéphane Olivier David Sébastien Nicolas Julien Jérôme Franck Bruno Didier Hervé Denis"
    " Emmanuel Fabrice Sylvain Arnaud Guillaume Vincent Mathieu Romain Jonathan Kévin Anthony Alexandre Thomas Maxime"
    " Benjamin Florian Dylan Jordan Lucas Quentin Théo Hugo Jean-Pierre Jean-Luc Jean-Marie Jean-François Jean-Paul"
    " Jean-Claude Marc Yves Serge Ludovic Cédric Damien Grégory Mickaël Loïc Rémi Adrien Bastien Valentin Enzo"
    " Raphaël Clément Corentin Gaëtan Steeve"
)
_WOMEN = _words(
    "Marie Nathalie Isabelle Sylvie Catherine Martine Christine Françoise Valérie Sandrine Véronique Céline Chantal"
    " Patricia Brigitte Stéphanie Sophie Corinne Laurence Karine Delphine Virginie Aurélie Émilie Élodie Julie Laetitia"
    " Mélanie Jessica Vanessa Audrey Jennifer Laura Pauline Marion Manon Léa Camille Chloé Sarah Morgane Océane Anaïs"
    " Marie-Christine Marie-Claude Anne-Marie Marie-Thérèse Marie-Pierre Anne-Sophie Marie-Laure Florence Agnès Hélène"
    " Claire Cécile Carole Muriel Magali Ludivine Cindy Amandine Charlène Justine Mathilde Lucie Alexandra Angélique"
    " Séverine Béatrice Dominique Noémie Maëva Coralie Gwendoline Priscilla"
)

_MAGHREB_SURNAMES = _once(
    [
        *_words(
            "Benali Bouzid Saïdi Haddad Amrani Mansouri Khelifi Cherif Belkacem Boudjemaa Hamdi Brahimi Zerrouki Ziani"
            " El_Amrani El_Idrissi Ouali Slimani Messaoudi Bensaïd Rahmani Guerrab Toumi Daoudi Hamidi Kaci Meziane"
            " Bouazza El_Mansouri Ait_Ahmed Ben_Salah Ben_Youssef Abdallah Chaoui Lahlou Tazi Naciri Ghazali Yahiaoui"
        ),
        *_composed(
            "Ben Bou Bel El_ Ait_ Abdel Ould_ Kh Me Za Ha Cha Sa Tou Gue",
            "kader moussa hadi brahim lahcen zaïd amar tahar khalfa mansour rabah achour chérif malek naceur ziane"
            " hamou dani douma lila fadel azzi kaba riche zouz teb rouna sahli",
        ),
    ]
)
_MAGHREB_MEN = _words(
    "Mohamed Ahmed Ali Rachid Karim Abdelkader Youssef Mustapha Saïd Hassan Omar Brahim Khaled Nordine Farid Samir"
    " Mourad Kamel Abdallah Mohammed Abdel_Aziz Abderrahmane Bilal Mehdi Sofiane Yacine Ibrahim Hamza Nabil Amine Anis"
)
_MAGHREB_WOMEN = _words(
    "Fatima Khadija Aïcha Nadia Samira Malika Fatiha Yamina Zohra Rachida Naïma Souad Karima Latifa Hafida Leïla"
    " Fatma Zineb Houria Djamila Yasmina Sabrina Amel Meriem Ikram Salima Hanane Soumia Fatima-Zahra Assia"
)
_MAGHREB_TOWNS = (
    ("99352", "Oran"), ("99352", "Alger"), ("99352", "Constantine"), ("99350", "Casablanca"), ("99350", "Oujda"),
    ("99350", "Fès"), ("99351", "Tunis"), ("99351", "Sfax"),
)  # fmt: skip

_PORTUGUESE_SURNAMES = _once(
    [
        *_words("Da_Silva Ferreira Dos_Santos Pereira Rodrigues Gonçalves Fernandes De_Oliveira Gomes Da_Costa Alves"),
        *_composed(
            "Da_Silva Ferreira Dos_Santos Pereira Rodrigues Gonçalves Fernandes Lopes Marques Ribeiro Carvalho Pinto"
            " Teixeira Moreira Correia Mendes Nunes Soares Vieira Monteiro Cardoso Rocha Neves Coelho Cunha Pires",
            "Ramos Reis Simões Antunes Matos Fonseca Machado Araújo Barbosa Tavares Lourenço Castro Figueiredo Azevedo",
            join=" ",
        ),
    ]
)
_PORTUGUESE_MEN = _words("José Manuel António João Carlos Paulo Fernando Luís Jorge Rui Pedro Nuno Ricardo Tiago Vítor")
_PORTUGUESE_WOMEN = _words("Maria Ana Isabel Fernanda Teresa Rosa Paula Cristina Sandra Carla Sónia Susana Lúcia Elisa")
_PORTUGUESE_TOWNS = (("99139", "Porto"), ("99139", "Lisboa"), ("99139", "Braga"), ("99139", "Viseu"))

_AFRICAN_SURNAMES = _once(
    [
        *_words("Diallo Traoré Coulibaly Koné Diarra Touré Cissé Camara Keita Sow Bah Barry Ndiaye Diop Fofana"),
        *_composed(
            "Ma Mbo Ndo Ki Lu Ka Nza Ba Tshi Mu Ngo Ko Da Ou",
            "kanda longo tombo yembe lemba sala mbuyi ngoma bala kasa",
        ),
    ]
)
_AFRICAN_MEN = _words("Mamadou Ibrahima Oumar Ousmane Moussa Amadou Boubacar Abdoulaye Seydou Christian Patrice Cheick")
_AFRICAN_WOMEN = _words("Aminata Fatoumata Mariam Aïssatou Kadiatou Awa Hawa Oumou Rokia Bintou Grâce Divine Nadège")
_AFRICAN_TOWNS = (
    ("99335", "Bamako"), ("99330", "Conakry"), ("99341", "Dakar"), ("99326", "Abidjan"), ("99312", "Kinshasa"),
)  # fmt: skip

_WALLOON = _once(
    [
        *_words(
            "Dubois Lambert Dupont Martin Simon Dumont Leclercq Laurent Lejeune Renard Denis Lambrecht François Hubert"
            " Leroy Gérard Delvaux Collard Mathieu Noël Henry Charlier Thomas Evrard Wauters Massart Willems Peeters"
            " Janssens Maes Jacobs Mertens Claes Goossens De_Smet Van_Damme Vandenberghe Vermeulen Lemaire Piron"
            " Servais Gillet Rousseau Pirard Delhaye Defays Dethier Bastin Grégoire Hendrickx Marchal Thiry Nicaise"
        ),
        *_composed(
            "Del Van_den_ Vander De_ Lam Hen Ger Col Mar Ver Wil Mat Dew Has Rem Gof Bau Cor Del Dum Fla Lou",
            "bergh eynde straete moulin bois tour brouck aert ens art eux lez quin mont gnies haut kin oye ette champs",
        ),
    ]
)
_ITALIAN = _once(
    [
        *_words("Rossi Russo Ferrari Esposito Bianchi Romano Colombo Ricci Marino Greco Bruno Gallo Conti De_Luca"),
        *_composed("Ca Ma Lo Pa Di_ Ba Gra Si San Fe", "russo nello pardo ziano ttaro mele vino gnoli stasi rrara"),
    ]
)
_ITALIAN_MEN = _words("Giuseppe Antonio Salvatore Mario Franco Angelo Domenico Vincenzo Fabio Sandro Dino Michele")
_ITALIAN_WOMEN = _words("Maria Anna Giuseppina Rosa Angela Giovanna Carmela Concetta Lucia Rita Sabrina Laetitia")

_BRETON_ALSATIAN = _once(
    [
        *_words(
            "Le_Bihan Le_Guen Guégan Cadiou Kerbrat Quéméneur Riou Tanguy Corre Jaouen Cariou Kermarrec Kieffer Wagner"
            " Zimmermann Hoffmann Becker Fischer Schwartz Wolff Keller Bauer Kuntz Lang Heitz Walter Ehrhart Stoll"
        ),
        *_composed(
            "Ker Pen Le_ Tré Plou Lan Gui Schw Hei Bau Kra Ober Unter Stein Wein Gross Klein Hirsch Rosen Bruck",
            "gall meur venec marec dréan goff bihan maier mann berger bach brunner feld stein hauser hardt ler muth",
        ),
    ]
)
_TURKISH = _once(
    [
        *_words("Yılmaz Kaya Demir Şahin Çelik Yıldız Yıldırım Öztürk Aydın Özdemir Arslan Doğan Kılıç Aslan Çetin"),
        *_composed("Öz Kara Ak Ay Bal Er Gün Te Yal Tan Koç", "demir kaya taş oğlu türk han soy men can doğan kan"),
    ]
)
_SLAVIC = _once(
    [
        *_words(
            "Kowalski Nowak Wiśniewski Wójcik Kamiński Lewandowski Popescu Ionescu Radu Stan Petrov Ivanov Bondarenko"
        ),
        *_composed(
            "Kow Nov Wal Szy Pet Iv Koz Mar Bog Zie Pop Dumi", "alski enko owicz ański escu ovski iak czyk eanu ov"
        ),
    ]
)

_FR_DEFAULT = NameMix(
    (
        Origin("french", 0.735, _once([*_FRENCH, *_FRENCH_TAIL]), (_MEN, _WOMEN), 0.01),
        Origin("maghreb", 0.17, _MAGHREB_SURNAMES, (_MAGHREB_MEN, _MAGHREB_WOMEN), 0.55, _MAGHREB_TOWNS, 0.0),
        Origin("portuguese", 0.045, _PORTUGUESE_SURNAMES, (_PORTUGUESE_MEN, _PORTUGUESE_WOMEN), 0.4,
               _PORTUGUESE_TOWNS, 0.0),
        Origin("african", 0.05, _AFRICAN_SURNAMES, (_AFRICAN_MEN, _AFRICAN_WOMEN), 0.65, _AFRICAN_TOWNS, 0.02),
    )
)  # fmt: skip
_BE_DEFAULT = NameMix(
    (
        Origin("walloon", 0.68, _WALLOON, (_MEN, _WOMEN), 0.01),
        Origin("italian", 0.13, _ITALIAN, (_ITALIAN_MEN, _ITALIAN_WOMEN), 0.3, (("99127", "Palermo"),), 0.0),
        Origin("maghreb", 0.13, _MAGHREB_SURNAMES, (_MAGHREB_MEN, _MAGHREB_WOMEN), 0.55, _MAGHREB_TOWNS, 0.0),
        Origin("african", 0.06, _AFRICAN_SURNAMES, (_AFRICAN_MEN, _AFRICAN_WOMEN), 0.65, _AFRICAN_TOWNS, 0.0),
    )
)
_TURKISH_ORIGIN = Origin(
    "turkish", 0.1, _TURKISH,
    (_words("Mehmet Mustafa Ahmet Ali Hüseyin Hasan İbrahim Murat Emre Can"), _words("Ayşe Emine Zeynep Elif Hatice")),
    0.5, (("99208", "Ankara"), ("99208", "Kayseri")), 0.0,
)  # fmt: skip
_SLAVIC_ORIGIN = Origin(
    "slavic", 0.12, _SLAVIC,
    (_words("Piotr Andrzej Oleksandr Ion Mihai Dmitri Pavel"), _words("Svetlana Elena Katarzyna Oksana Natalia Ioana")),
    0.5, (("99122", "Kraków"), ("99114", "Iași"), ("99155", "Kyïv")), 0.02,
)  # fmt: skip
_ALTERNATIVE = NameMix(
    (
        Origin("breton_alsatian", 0.5, _BRETON_ALSATIAN, (_MEN[::-1], _WOMEN[::-1]), 0.01, compound_surnames=0.06),
        Origin("maghreb", 0.18, _MAGHREB_SURNAMES[::-1], (_MAGHREB_MEN, _MAGHREB_WOMEN), 0.6, _MAGHREB_TOWNS, 0.0),
        Origin("african", 0.1, _AFRICAN_SURNAMES[::-1], (_AFRICAN_MEN, _AFRICAN_WOMEN), 0.65, _AFRICAN_TOWNS, 0.02),
        _TURKISH_ORIGIN,
        _SLAVIC_ORIGIN,
    )
)

#: The mixes that `simulate` knows, by country.
MIXES = {
    "default": Lexicon({"fr": _FR_DEFAULT, "be": _BE_DEFAULT}),
    "alternative": Lexicon({"fr": _ALTERNATIVE, "be": _ALTERNATIVE}),
}

STREET_TYPES = _words("RUE RUE RUE RUE AVENUE PLACE IMPASSE CHEMIN BOULEVARD ALLEE QUAI")
STREET_NAMES = _words(
    "DE_LA_GARE DE_LA_REPUBLIQUE DU_MOULIN DES_ECOLES VICTOR_HUGO PASTEUR JEAN_JAURES DE_L'EGLISE DU_CHATEAU"
    " DES_TILLEULS DES_LILAS DU_STADE GAMBETTA DE_LA_MAIRIE DES_ACACIAS DU_COMMERCE DE_VERDUN DU_GENERAL_LECLERC"
    " DES_JARDINS EMILE_ZOLA DE_LA_PAIX CARNOT VOLTAIRE DU_8_MAI_1945 DES_ROSES DE_LA_LIBERATION DES_CHAMPS"
    " ALBERT_CAMUS DE_LA_MEUSE DU_CANAL DES_PRES DU_FAUBOURG DES_REMPARTS DE_LA_FORGE SAINT-MARTIN NEUVE HAUTE DU_PONT"
    " DES_MARRONNIERS DE_LORRAINE DU_PARC LOUIS_ARAGON MARIE_CURIE DES_VIGNES DE_L'ABBAYE DES_PEUPLIERS DU_MARCHE"
)
