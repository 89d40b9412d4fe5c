"""The data protection file of an installation, rendered from what the contracts declare.

Belongs here: the register entry, the draft impact assessment, the draft agreement between joint controllers, the notice
to persons (GDPR art. 30, 35, 26, 14), in French. Does not belong here: a legal opinion. What an operator alone knows
(who the controllers appoint, where the machines stand) is a marked blank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

from insertion_pipeline.registry import Breakdown, ContractField, Indicator, Registry, Source

_BLANK = "**[à compléter]**"
_PURPOSES: Mapping[str, str] = {
    "network_steering": "piloter l'action commune du réseau pour l'emploi (tableaux d'indicateurs partagés)",
    "public_statistics": "établir des statistiques publiques",
}
_FAMILIES: Mapping[str, str] = {
    "siae": "salariés en insertion par l'activité économique",
    "department": "bénéficiaires du revenu de solidarité active et membres de leur foyer",
    "employment_service": "demandeurs d'emploi",
    "ale": "travailleurs des agences locales pour l'emploi",
}
_USES: Mapping[str, str] = {
    "link": "reconnaître la personne, sous scellés",
    "both": "reconnaître la personne, puis compter",
    "fact": "compter, sous pseudonyme",
}


_Area = Literal["raw", "identifiers", "facts"]
_AREAS: Mapping[_Area, str] = {
    "raw": "fichiers reçus",
    "identifiers": "identité",
    "facts": "données pseudonymisées",
}
#: Art. 32, as this program does it whatever an operator sets.
_SECURITY = (
    "Chiffrement : chaque dépôt sous une clé qui n'est qu'à lui (AES-256-GCM), scellée par celle de l'espace du pays",
    "Cloisonnement : les noms et numéros restent sous scellés ; les calculs se font sous pseudonyme (HMAC-SHA-256)",
    "Accès : rien n'est ouvert sans un rôle ; second facteur au choix ; journal chaîné des accès et des actes",
    "Intégrité : empreinte de chaque dépôt et de chaque table, publications signées",
    "Disponibilité : copies sans clés, vérifiées à la restauration ; clés gardées ailleurs",
)


def documents(registry: Registry) -> Mapping[str, str]:
    """The four documents by file name, Markdown. They depend on the declarations alone."""
    sources = [registry.sources[name] for name in sorted(registry.sources)]
    return {
        "registre.md": _page("Registre des traitements", _register(sources)),
        "aipd.md": _page("Analyse d'impact (projet)", _assessment(sources, registry)),
        "accord.md": _page("Accord entre responsables conjoints (projet)", _agreement(sources)),
        "information.md": _page("Information des personnes", _notice(sources)),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", *lines]).rstrip() + "\n"


# -- register (art. 30) ------------------------------------------------------------------------------------------------


def _register(sources: Iterable[Source]) -> Iterator[str]:
    yield from (
        "Établi d'après les contrats de `data_sources/` : ce qui n'y est pas déclaré n'est ni lu ni gardé.",
        "",
        f"- Opérateur de la base commune, et ses coordonnées : {_BLANK}",
        f"- Délégué à la protection des données : {_BLANK}",
        f"- Sous-traitants (hébergement, messagerie) : {_BLANK}",
        *(f"- {measure}" for measure in _SECURITY),
    )
    for source in sources:
        declared = source.insertion
        yield from (
            "",
            f"## {source.title}",
            "",
            f"- Source : `{source.name}`",
            f"- Responsable du fichier d'origine : {declared.controller}",
            f"- Base légale : {declared.legal_basis}",
            f"- Finalités : {_listed(_PURPOSES.get(purpose, purpose) for purpose in declared.purposes)}",
            f"- Personnes concernées : {_FAMILIES[declared.family]}",
            f"- Conservation : {_retention(source)}",
            f"- Opposition : {_objection(source)}",
            "- Destinataires : aucun pour les lignes ; les tableaux publiés ne contiennent aucune personne",
            "- Transferts hors de l'Union européenne : aucun",
            "",
            *_columns(source),
        )


def _columns(source: Source) -> Iterator[str]:
    by_use: dict[str, list[str]] = defaultdict(list)
    for field in _kept(source):
        by_use[field.insertion.use].append(field.title or field.name)
    yield "| Usage | Colonnes gardées |"
    yield "|---|---|"
    for use, meaning in _USES.items():
        if by_use[use]:
            yield f"| {meaning} | {', '.join(dict.fromkeys(by_use[use]))} |"


def _kept(source: Source) -> Iterator[ContractField]:
    newest = max(source.versions, key=lambda version: version.valid_from)
    return (field for table in newest.resources for field in table.stored_fields)


def _retention(source: Source) -> str:
    months = source.insertion.retention_months
    return (
        f"fichiers reçus {months['raw']} mois, identité {months['identifiers']} mois après la dernière apparition, "
        f"données pseudonymisées {months['facts']} mois"
    )


def _objection(source: Source) -> str:
    declared = source.insertion
    if declared.objection == "honoured":
        return "prise en compte"
    return f"exception statistique ({declared.objection_reference or _BLANK})"


# -- impact assessment (art. 35) ---------------------------------------------------------------------------------------


def _assessment(sources: Iterable[Source], registry: Registry) -> Iterator[str]:
    """What art. 35.7 asks for, the risks by the three events of the CNIL's method."""
    listed = list(sources)
    kept = [field for source in listed for field in _kept(source)]
    personal = sum(field.insertion.use in ("link", "both") for field in kept)
    longest = (f"{name} {_longest(listed, area)} mois" for area, name in _AREAS.items())
    declared: tuple[Indicator | Breakdown, ...] = (*registry.indicators.values(), *registry.breakdowns.values())
    sensitive = sorted({one.label for one in declared if one.sensitivity == "sensitive"})
    yield from (
        "Un croisement à grande échelle de données de personnes vulnérables : l'analyse est requise (art. 35.3).",
        "",
        "## Le traitement",
        "",
        f"{len(listed)} types de fichiers, {personal} colonnes qui servent à reconnaître une personne.",
        "Les fichiers sont lus, les personnes rapprochées puis comptées : seuls des tableaux sortent.",
        "",
        f"- Personnes : {_listed(dict.fromkeys(_FAMILIES[source.insertion.family] for source in listed))}",
        f"- Finalités : {_listed(_purposes(listed))}",
        f"- Conservation, au plus : {_listed(longest)}",
        "- Destinataires : le public et le réseau, pour des tableaux protégés ; personne pour des lignes",
        f"- Comptages sensibles, au pays et à la région seulement : {', '.join(sensitive) if sensitive else 'aucun'}",
        f"- Supports et hébergement : {_BLANK}",
        "",
        "## Nécessité et proportionnalité",
        "",
        "| Exigence | Comment elle est tenue |",
        "|---|---|",
        "| Licéité (art. 6) | une base légale par fichier : registre et accord les donnent |",
        "| Finalité (art. 5.1.b) | un indicateur a une finalité que tous ses fichiers permettent, ou est refusé |",
        "| Minimisation (art. 5.1.c) | chaque colonne porte son usage ; les autres sont écartées à la lecture |",
        "| Exactitude (art. 5.1.d) | un verdict à chaque dépôt ; un fichier corrigé remplace ses mois |",
        "| Durée (art. 5.1.e) | par fichier, appliquée par la commande `insertion retention` |",
        "| Information (art. 14) | une page aux personnes, établie d'après les mêmes déclarations |",
        "| Accès, effacement, opposition (art. 15, 17, 21) | une commande pour chacun, la preuve gardée |",
        "| Décision automatisée (art. 22) | aucune ; rien ne rend une liste de personnes par situation |",
        "| Transferts (art. 44) | aucun ; chaque pays est un espace que rien ne rapproche de l'autre |",
        "",
        "## Risques et mesures",
        "",
        "| Événement redouté | Ce qui pourrait le causer | Mesure | Gravité, vraisemblance |",
        "|---|---|---|---|",
        *(f"| {event} | {cause} | {measure} | {_BLANK} |" for event, cause, measure in _RISKS),
        "",
        "## Avis et validation",
        "",
        f"Avis du délégué à la protection des données : {_BLANK}",
        "",
        f"Avis des personnes ou de leurs représentants (art. 35.9) : {_BLANK}",
        "",
        f"Risque résiduel, validé par : {_BLANK}",
    )


_RISKS = (
    (
        "Accès illégitime",
        "vol des fichiers reçus",
        "chiffrement par dépôt (AES-256-GCM), clé scellée par celle de l'espace",
    ),
    ("Accès illégitime", "vol des identités", "zone scellée ; au-dessus, des pseudonymes, une clé par finalité"),
    ("Accès illégitime", "vol d'une copie", "les copies ne contiennent aucune clé"),
    ("Accès illégitime", "ré-identification dans un tableau", "seuils, masquage, attaque rejouée à chaque publication"),
    (
        "Accès illégitime",
        "fuite par les journaux",
        "aucune valeur de cellule dans un journal, une erreur ou une mesure",
    ),
    ("Accès illégitime", "abus d'un relecteur", "niveaux de ressemblance d'abord, chaque consultation notée"),
    ("Accès illégitime", "compte de partenaire volé", "second facteur, limites par compte, accès à ses seuls dépôts"),
    ("Modification non désirée", "confusion de deux personnes", "numéros vérifiés, relecture humaine, qualité publiée"),
    ("Modification non désirée", "altération d'une table", "empreintes : elle est refaite depuis le dépôt"),
    ("Modification non désirée", "altération d'une publication", "manifeste signé, que chacun peut vérifier"),
    ("Modification non désirée", "retour d'une personne effacée", "marque à clé appliquée à tout dépôt et toute copie"),
    ("Disparition", "panne, disque plein, arrêt brutal", "la publication précédente reste, le traitement reprend"),
    ("Disparition", "perte de la machine", "copies vérifiées, stockage d'objets ; clés gardées ailleurs"),
)


def _purposes(sources: Iterable[Source]) -> Iterator[str]:
    named = dict.fromkeys(purpose for source in sources for purpose in source.insertion.purposes)
    return (_PURPOSES.get(purpose, purpose) for purpose in named)


def _longest(sources: Iterable[Source], what: _Area) -> int:
    return max(source.insertion.retention_months[what] for source in sources)


# -- agreement (art. 26) -----------------------------------------------------------------------------------------------


def _agreement(sources: Iterable[Source]) -> Iterator[str]:
    yield from (
        f"Entre les responsables ci-dessous et l'opérateur de la base commune, {_BLANK}.",
        "",
        "| Responsable | Ce qu'il dépose | Base légale |",
        "|---|---|---|",
    )
    for source in sorted(sources, key=lambda source: (source.insertion.controller, source.title)):
        yield f"| {source.insertion.controller} | {source.title} | {source.insertion.legal_basis} |"
    yield from (
        "",
        "## Qui fait quoi",
        "",
        "- Chaque responsable informe les personnes de ses propres fichiers et répond de leur exactitude.",
        "- L'opérateur tient les clés, rapproche, compte, protège, publie, et garde la preuve de chaque effacement.",
        f"- Point de contact des personnes : {_BLANK}. Chacun lui transmet les demandes sous trois jours ouvrés.",
        "- Une violation de données est signalée aux autres responsables sous 24 heures.",
        "- Nul ne reçoit les lignes d'un autre : les échanges se limitent aux tableaux publiés.",
        "",
        f"Fait à {_BLANK}, le {_BLANK}.",
    )


# -- notice (art. 14) --------------------------------------------------------------------------------------------------


def _notice(sources: Iterable[Source]) -> Iterator[str]:
    listed = list(sources)
    people = dict.fromkeys(_FAMILIES[source.insertion.family] for source in listed)
    bases = dict.fromkeys(base for source in listed for base in source.insertion.legal_basis.split(" ; ")[1:])
    exceptions = [source.title for source in listed if source.insertion.objection != "honoured"]
    yield from (
        f"Cette page s'adresse aux {_listed(people)}.",
        "",
        "## Pourquoi vos données sont-elles utilisées ?",
        "",
        f"Pour {_listed(_purposes(listed))}. Aucune décision vous concernant",
        "n'est prise à partir de cette base, et personne ne peut y chercher votre situation.",
        "",
        "Ces organismes le font dans leur mission d'intérêt public (RGPD, art. 6.1.e), que fixent :",
        "",
        *(f"- {base}" for base in bases),
        "",
        f"Qui répond de cette base : {_BLANK}. Délégué à la protection des données : {_BLANK}.",
        "",
        "## Quelles données, et d'où viennent-elles ?",
        "",
        *(f"- {source.title} ({source.insertion.controller})" for source in listed),
        "",
        "Votre nom, votre date de naissance et vos numéros servent seulement à ne pas vous compter deux fois.",
        "Ils restent chiffrés ; les calculs se font sous un pseudonyme.",
        "",
        "## Combien de temps ?",
        "",
        f"Au plus {_longest(listed, 'facts')} mois, selon la nature des données. Les tableaux publiés ne contiennent",
        "aucune personne ; vos données ne sont remises à personne d'autre et ne quittent pas l'Union européenne.",
        "",
        "## Vos droits",
        "",
        "Vous pouvez demander ce qui est gardé sur vous, le faire rectifier auprès de l'organisme qui l'a transmis, le",
        "faire effacer, ou vous y opposer."
        + (f" L'opposition ne vaut pas pour : {_listed(exceptions)}." if exceptions else ""),
        "",
        f"Écrire à : {_BLANK}. Réclamation : CNIL (France), Autorité de protection des données (Belgique).",
    )


def _listed(words: Iterable[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} et {last}" if first else last
