"""The monthly page on linkage quality: one HTML file in French, charts drawn as SVG, nothing from outside.

Belongs here: the page. Does not belong here: any figure (`quality`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from insertion_pipeline.identity.quality import FEWEST_TOLD, MeasuredQuality, MonthlyQuality
from insertion_pipeline.lake import Lake, write_atomically

_STATES = {
    "linked": "réunies", "grey": "zone grise", "guarded": "retenues par une garde",
    "vetoed": "deux numéros de confiance", "refused": "refusées",
}  # fmt: skip
_METHODS = {
    "number": "par le numéro", "identifier": "par un autre identifiant", "scored": "par les traits",
    "identical": "fiches identiques", "decision": "par décision", "alone": "seules",
}  # fmt: skip
_MISSING = {
    "number": "numéro", "birth_date": "date de naissance", "given_name": "prénom", "sex": "sexe",
    "residence": "résidence", "contact": "contact", "nothing": "rien", "": "rien",
}  # fmt: skip
_CROWDED = {
    "surname and birth date": "nom et date de naissance",
    "given name, birth date and department": "prénom, date de naissance et département",
    "full name and birth year": "nom, prénom et année de naissance", "full name and birthday": "nom, prénom et jour",
    "full name and residence": "nom, prénom et résidence",
    "surname, birth year and residence": "nom, année de naissance et résidence", "swapped names": "noms inversés",
    "birth date, residence and initials": "date de naissance, résidence et initiales",
    "birth date, birth place and initials": "date et lieu de naissance, initiales",
    "address and birth year": "adresse et année de naissance", "address and given name": "adresse et prénom",
    "number as written": "numéro tel qu'écrit", "France Travail id": "identifiant France Travail",
    "household and given name": "matricule CAF et prénom", "e-mail": "adresse électronique", "telephone": "téléphone",
    "number in many hands": "numéro de sécurité sociale ou NISS", "ntt in many hands": "numéro technique temporaire",
    "france travail id in many hands": "identifiant France Travail", "local id in many hands": "identifiant local",
    "household in many hands": "matricule CAF", "surname and residence": "nom et résidence",
    "given name and residence": "prénom et résidence", "full name": "nom et prénom", "birth date": "date de naissance",
    "given name and birth date": "prénom et date de naissance",
    "given name and birth place": "prénom et lieu de naissance",
    "surname and birth place": "nom et lieu de naissance",
}  # fmt: skip
_SPACES = {"fr": "France", "be": "Wallonie"}
_PATTERNS = {"two": "numéro des deux côtés", "one": "numéro d'un seul côté", "none": "aucun numéro"}

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;color:#1b1b1f;background:#fff;margin:0 auto;max-width:60rem;padding:1rem 1.5rem}
h1{font-size:1.7rem}h2{font-size:1.25rem;margin-top:2.2rem;border-top:1px solid #d5d5dd;padding-top:1rem}
table{border-collapse:collapse;margin:.6rem 0;width:100%}
th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid #e4e4ea}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}
.k{display:flex;flex-wrap:wrap;gap:1rem;padding:0;list-style:none}
.k li{border:1px solid #d5d5dd;border-radius:.4rem;padding:.5rem .9rem}.k b{display:block;font-size:1.35rem}
p.note{color:#51515c;font-size:.92rem}svg{max-width:100%;height:auto}
"""


def write_page(lake: Lake, spaces: Sequence[MonthlyQuality], measured: MeasuredQuality) -> list[Path]:
    """Write `quality/<month>.html`, unless nobody is known; returns the file."""
    from insertion_pipeline.identity.quality import folder

    if not spaces:
        return []
    path = folder(lake) / f"{spaces[0].month}.html"
    write_atomically(path, page(spaces, measured).encode())
    return [path]


def page(spaces: Sequence[MonthlyQuality], measured: MeasuredQuality) -> str:
    """The page of a month."""
    month = spaces[0].month
    body = [
        f"<h1>Qualité du rapprochement des fiches, {escape(month)}</h1>",
        (
            "<p>Une personne connue de plusieurs partenaires doit être comptée une fois. Cette page dit ce que vaut ce "
            "rapprochement. Elle ne montre aucune personne, ni aucune part sur moins de onze fiches.</p>"
        ),
        _measured(measured),
        *(_space(one) for one in spaces),
    ]
    return (
        '<!doctype html><html lang="fr"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>Qualité du rapprochement, {escape(month)}</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(body)}</main></body></html>\n"
    )


def _measured(measured: MeasuredQuality) -> str:
    told = measured.evaluation
    rows = [
        (name, *(_percent(told[f"{key}_{which}"], 2) for which in ("precision", "recall", "f1")))
        for key, name in (
            ("cluster", "personnes entières"),
            ("b3", "B³, vu de chaque fiche"),
            ("pair", "paires de fiches"),
        )
    ]
    misses = [(_PATTERNS[pattern], _percent(share, 2)) for pattern, share in measured.misses.items()]
    missing = [
        (_traits(name), _number(records), _percent(recall, 2))
        for name, (records, recall) in measured.by_missing.items()
    ]
    return (
        "<h2>Mesuré sur une population simulée</h2>"
        f"<p>Modèle {escape(measured.model)}, {_number(told['records'])} fiches fictives dont la vérité est connue. "
        "Les vrais fichiers contiennent des erreurs que la simulation ne fait pas : ces chiffres sont un plafond.</p>"
        + _table(("", "précision", "rappel", "F1"), rows)
        + "<h3>Paires d'une même personne restées séparées</h3>"
        + _table(("", "part manquée"), misses)
        + "<h3>Rappel selon ce qui manque à la fiche</h3>"
        + _table(("il manque", "fiches", "rappel B³"), missing)
    )


def _space(one: MonthlyQuality) -> str:
    headline = [
        ("fiches", _number(one.records)),
        ("personnes", _number(one.persons)),
        ("fiches sans numéro", _percent(one.share_without_number)),
        ("paires à revoir", _number(sum(one.to_review.values()))),
        ("paires décidées", _number(one.decided)),
    ]
    if one.drift is not None:
        headline.append(("dérive des poids", f"{one.drift:.3f}".replace(".", ",")))
    misses = [
        (row["source_a"], row["source_b"], _count(row["persons_in_both"]), _percent(row["share"], 2))
        for row in one.misses
    ]
    return "".join(
        [
            f"<h2>{_SPACES[one.space]}</h2><ul class='k'>",
            *(f"<li><b>{value}</b>{escape(name)}</li>" for name, value in headline),
            "</ul><h3>Comment les fiches ont été réunies</h3>",
            _bars({_METHODS.get(name, name): count for name, count in one.by_method.items()}),
            "<h3>Fiches par personne</h3>",
            _bars(dict(one.by_size)),
            "<h3>Poids des paires comparées</h3>",
            *(
                f"<h4>{_STATES.get(state, state)}</h4>" + _bars({f"dès {band}": count for band, count in bands.items()})
                for state, bands in one.weights.items()
            ),
            (
                "<p class='note'>Dérive : indice de stabilité des poids des paires réunies face au mois précédent ; "
                "sous 0,1 rien n'a bougé, au-dessus de 0,25 quelque chose a changé dans les fichiers.</p>"
            ),
            *_crowded(one.crowded),
            "<h3>Avec et sans numéro</h3>",
            _shares(("", *_SHARES), ({**row, "name": _NUMBER[name]} for name, row in one.by_number.items())),
            "<h3>Par partenaire</h3>",
            _shares(("partenaire", *_SHARES), one.by_partner),
            "<h3>Selon ce qui manque à la fiche</h3>",
            _shares(("il manque", *_SHARES), ({**row, "name": _traits(row["name"])} for row in one.by_missing)),
            "<h3>Personnes manquées entre deux sources, estimation</h3>",
            _table(("source", "source", "personnes communes", "part manquée"), misses),
            (
                "<p class='note'>Estimée d'après la population simulée et la part de numéros de chaque source ; les "
                "indicateurs qui comptent les absents d'une source l'affichent à côté de leur valeur.</p>"
            ),
        ]
    )


def _crowded(crowded: Mapping[str, int]) -> list[str]:
    """What too many records share to be evidence; nothing where there is nothing."""
    if not crowded:
        return []
    rows = [(_CROWDED.get(rule, rule), _number(nodes)) for rule, nodes in crowded.items()]
    return [
        "<h3>Valeurs de remplissage écartées</h3>",
        _table(("partagé par trop de fiches", "fiches"), rows),
        (
            "<p class='note'>Trop de fiches portent la même valeur : elle ne rapproche personne. Souvent un nom ou une "
            "date par défaut, l'adresse ou le téléphone d'un accueil, un numéro d'essai.</p>"
        ),
    ]


_SHARES = ("fiches", "connues d'un autre partenaire", "à revoir", "sans numéro")
_NUMBER = {"with number": "avec numéro", "without number": "sans numéro"}


def _shares(header: Sequence[str], rows: Any) -> str:
    return _table(
        header,
        [
            (
                row["name"],
                _count(row["records"]),
                *(_percent(row[f"share_{name}"]) for name in ("known_elsewhere", "to_review", "without_number")),
            )
            for row in rows
        ],
    )


def _table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    def cell(tag: str, value: Any, rank: int) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        return f"<{tag}{scope}{' class=n' if rank and rank >= len(header) - 4 else ''}>{escape(str(value))}</{tag}>"

    head = "".join(cell("th", name, rank) for rank, name in enumerate(header))
    lines = ("<tr>" + "".join(cell("td", value, rank) for rank, value in enumerate(row)) + "</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"


def _bars(counts: Mapping[str, int]) -> str:
    """Horizontal bars, each with its label and number: the text says what the picture shows."""
    if not counts:
        return "<p class='note'>Rien à montrer.</p>"
    most, line = max(counts.values()) or 1, 26
    drawn = []
    for rank, (name, count) in enumerate(counts.items()):
        y, width = rank * line, max(1, round(420 * count / most))
        drawn.append(
            f'<text x="190" y="{y + 17}" text-anchor="end">{escape(str(name))}</text>'
            f'<rect x="200" y="{y + 4}" width="{width}" height="18" fill="#35527a"/>'
            f'<text x="{208 + width}" y="{y + 17}">{_count(count)}</text>'
        )
    label = ", ".join(f"{name} : {_count(count)}" for name, count in counts.items())
    return (
        f'<svg viewBox="0 0 720 {line * len(counts)}" width="720" height="{line * len(counts)}" role="img" '
        f'aria-label="{escape(label)}" font-size="14">{"".join(drawn)}</svg>'
    )


def _traits(names: str) -> str:
    return ", ".join(_MISSING.get(name, name) for name in names.split(", "))


def _number(value: float) -> str:
    return f"{value:,.0f}".replace(",", " ")


def _count(value: int) -> str:
    """A number of records or persons, one of a few as « moins de 5 »."""
    return f"moins de {FEWEST_TOLD}" if 0 < value < FEWEST_TOLD else _number(value)


def _percent(share: float | None, digits: int = 1) -> str:
    return "—" if share is None else f"{100 * share:.{digits}f} %".replace(".", ",")
