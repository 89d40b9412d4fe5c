"""The data protection file of an installation, rendered from what the contracts declare.

Belongs here: the register entry, the draft impact assessment, the draft agreement between joint controllers, the notice
to persons (GDPR art. 30, 35, 26, 14), in French. Does not belong here: a legal opinion. What an operator alone knows
(who the controllers appoint, where the machines stand) is a marked blank.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from insertion_pipeline.registry import ContractField, Registry, Source

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


def documents(registry: Registry) -> Mapping[str, str]:
    """The four documents by file name, Markdown. They depend on the declarations alone."""
    sources = [registry.sources[name] for name in sorted(registry.sources)]
    return {
        "registre.md": _page("Registre des traitements", _register(sources)),
        "aipd.md": _page("Analyse d'impact (projet)", _assessment(sources)),
        "accord.md": _page("Accord entre responsables conjoints (projet)", _agreement(sources)),
        "information.md": _page("Information des personnes", _notice(sources)),
    }


def _page(title: str, lines: Iterable[str]) -> str:
    return "\n".join([f"# {title}", "", *lines]).rstrip() + "\n"


# -- register (art. 30) ------------------------------------------------------------------------------------------------


def _register(sources: Iterable[Source]) -> Iterator[str]:
    yield "Établi d'après les contrats de `data_sources/` : ce qui n'y est pas déclaré n'est ni lu ni gardé."
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


def _assessment(sources: Iterable[Source]) -> Iterator[str]:
    listed = list(sources)
    personal = sum(field.insertion.use in ("link", "both") for source in listed for field in _kept(source))
    yield from (
        "Un croisement à grande échelle de données de personnes vulnérables : l'analyse est requise (art. 35.3).",
        "",
        "## Le traitement",
        "",
        f"{len(listed)} types de fichiers, {personal} colonnes qui servent à reconnaître une personne.",
        "Les fichiers sont lus, les personnes rapprochées puis comptées : seuls des tableaux sortent.",
        "",
        "## Nécessité et proportionnalité",
        "",
        "Chaque colonne lue porte son usage ; les autres sont écartées à la lecture. Aucune page, aucune commande et",
        "aucun tableau ne rend une liste de personnes selon leur situation. Chaque pays est un espace séparé.",
        "",
        "## Risques et mesures",
        "",
        "| Risque | Mesure |",
        "|---|---|",
        "| Accès aux fichiers reçus | chiffrement par dépôt (AES-256-GCM), clé scellée par celle de l'espace |",
        "| Accès aux identités | zone scellée ; au-dessus, des pseudonymes (HMAC-SHA-256, une clé par finalité) |",
        "| Ré-identification dans un tableau | seuils, masquage complémentaire, attaque rejouée à chaque publication |",
        "| Confusion de deux personnes | numéros vérifiés, règles de refus, relecture humaine, qualité publiée |",
        "| Retour d'une personne effacée | empreinte à clé appliquée à tout dépôt, rejeu ou copie restaurée |",
        "| Fuite par les journaux | aucune valeur de cellule dans un journal, une erreur, un message ou une mesure |",
        "| Abus d'un relecteur | niveaux de ressemblance d'abord, valeurs à la demande, chaque consultation notée |",
        "",
        f"Avis du délégué à la protection des données : {_BLANK}",
        "",
        f"Risque résiduel, validé par : {_BLANK}",
    )


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
    purposes = dict.fromkeys(purpose for source in listed for purpose in source.insertion.purposes)
    longest = max(source.insertion.retention_months["facts"] for source in listed)
    exceptions = [source.title for source in listed if source.insertion.objection != "honoured"]
    yield from (
        f"Cette page s'adresse aux {_listed(people)}.",
        "",
        "## Pourquoi vos données sont-elles utilisées ?",
        "",
        f"Pour {_listed(_PURPOSES.get(purpose, purpose) for purpose in purposes)}. Aucune décision vous concernant",
        "n'est prise à partir de cette base, et personne ne peut y chercher votre situation.",
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
        f"Au plus {longest} mois, selon la nature des données. Les tableaux publiés ne contiennent aucune personne.",
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
