"""What people see: tables and sentences in French, drawn with rich.

Belongs here: the look of a command's answer. Does not belong here: computing an answer, reading the lake. A number
about persons comes from a release or is not shown; a value of a finding is shown because its depositor asked.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.console import Group as Paragraphs
from rich.padding import Padding
from rich.panel import Panel
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from insertion_pipeline.contracts.findings import TITLES
from insertion_pipeline.ingestion import reporting
from insertion_pipeline.ingestion.accounts import Account

if TYPE_CHECKING:
    from insertion_pipeline.doctoring import Examined
    from insertion_pipeline.ingestion.drift import Drift, DriftReport
    from insertion_pipeline.ingestion.landing import Answer
    from insertion_pipeline.ingestion.receipts import Receipt
    from insertion_pipeline.ingestion.reporting import About, Group
    from insertion_pipeline.migrating import Migration
    from insertion_pipeline.orchestration.metrics import RunMetrics
    from insertion_pipeline.orchestration.outcomes import CheckOutcome, ComputedValues, RunOutcome
    from insertion_pipeline.preserving import Backup
    from insertion_pipeline.publication.explaining import Explained
    from insertion_pipeline.publication.releasing import Headline, Release
    from insertion_pipeline.publication.verifying import Verification
    from insertion_pipeline.registry import Registry
    from insertion_pipeline.simulation.simulating import SimulationReport

T = TypeVar("T")

console = Console(highlight=False)
errors = Console(stderr=True, highlight=False)

COLOURS: Mapping[int, str] = {0: "green", 1: "green", 2: "yellow", 3: "red"}
STATUSES: Mapping[str, tuple[str, str]] = {
    "applied": ("pris en compte", "green"),
    "held": ("à confirmer", "yellow"),
    "refused": ("refusé", "red"),
    "nothing": ("néant", "dim"),
}
FAMILIES: Mapping[str, str] = {
    "siae": "Structures d'insertion (SIAE)",
    "department": "Départements",
    "employment_service": "Service public de l'emploi",
    "ale": "Agences locales pour l'emploi (ALE)",
}


def number(value: float | int | None, unit: str = "") -> str:
    """A number as French readers write it: `12 345`, `48,7 %`; an em dash for none."""
    if value is None:
        return "—"
    text = f"{value:,.1f}" if isinstance(value, float) and not float(value).is_integer() else f"{round(value):,}"
    return text.replace(",", "\u202f").replace(".", ",") + (f"\u00a0{unit}" if unit else "")


def plural(count: int, noun: str, several: str = "") -> str:
    """`1 ligne`, `12 lignes`."""
    return f"{number(count)} {noun if count < 2 else several or noun + 's'}"


def grid(*columns: str, title: str = "", numbers: Iterable[str] = ()) -> Table:
    """An empty table in the house style; the columns named in `numbers` are right-aligned."""
    table = Table(
        title=title or None, title_justify="left", title_style="bold", box=None, pad_edge=False, header_style="dim"
    )
    right = set(numbers)
    for column in columns:
        table.add_column(column, justify="right" if column in right else "left", overflow="fold")
    return table


# -- a file ------------------------------------------------------------------------------------------------------------


def show_verdict(answer: Mapping[str, Any], about: About, *, is_deposit: bool = False) -> None:
    """The verdict on one delivery: what was taken, what was not, why, what to do; then every kind of finding."""
    name, colour = reporting.VERDICTS[answer["verdict"]], COLOURS[answer["verdict"]]
    said = reporting.outcome(answer, is_deposit=is_deposit)
    told = Table.grid(padding=(0, 2))
    told.add_column(style="dim", no_wrap=True, width=9)
    told.add_column(overflow="fold")
    for title, text in (
        ("Fichier", ", ".join(about.files)), ("Type", about.source), ("Mois", answer["period"] or "non précisé"),
        ("Pris", said.taken), ("Non pris", said.left), ("Pourquoi", said.why), ("Que faire", said.to_do),
        ("Compte", reporting.account_of(answer)),
    ):  # fmt: skip
        told.add_row(title, _set(text, 15, style="bold" if title == "Que faire" else ""))
    if answer.get("own_titles"):
        told.add_row("Titres", _set(f"{reporting.own_titles_of(answer)}, comme le partenaire l'a déclaré.", 15))
    for member in answer["members"] if len(answer["members"]) > 1 else ():
        told.add_row("", Text(f"{member['file']} : {reporting.account_of(member)}", style="dim"))
    console.print(Panel(told, title=f"[bold {colour}]{name}[/]", title_align="left", border_style=colour))
    _show_findings(answer["findings"], about, is_bundle=len(answer["members"]) > 1)


def _show_findings(findings: Sequence[Mapping[str, Any]], about: About, *, is_bundle: bool) -> None:
    """One paragraph for each kind of finding, those that reject first: what, how often, where, values, what to do."""
    groups = reporting.grouped(findings)
    if not groups:
        return
    counts = {mark: sum(group.count for group in groups if group.is_blocking is mark) for mark in (True, False)}
    told = [reporting.several(counts[True], "bloquant"), reporting.several(counts[False], "avertissement")]
    total = reporting.several(sum(counts.values()), "constat")
    console.print(Text(f"{total} : {', '.join(told)}", style="bold"))
    for group in groups[:_SHOWN_GROUPS]:
        file = group.first["file"] if is_bundle else ""
        console.print(Padding(_paragraph(group, about, file), (0, 0, 0, 1)))
    if rest := groups[_SHOWN_GROUPS:]:
        count = sum(group.count for group in rest)
        kinds = plural(len(rest), "autre sorte", "autres sortes")
        console.print(f" … et {plural(count, 'constat')} de {kinds} : --report rapport.xlsx les donne tous.")


def _paragraph(group: Group, about: About, file: str) -> Table:
    mark = Text("✗", style="bold red") if group.is_blocking else Text("!", style="bold yellow")
    first, colour = group.first, "red" if group.is_blocking else "yellow"
    times = f"{number(group.count)} fois" if group.count > 1 else ""
    where = (file, group.title, about.column(first, most=3), times, group.where())
    lines = [_set(first["message"], 3), _set(" · ".join(filter(None, where)), 3, style="dim")]
    for title, text in (
        ("Attendu", group.expected),
        ("Valeurs" if len(group.values) > 1 else "Valeur", group.examples()),
    ):
        if text:
            lines.append(_set(f"{title} : {text}", 3))
            lines[-1].stylize("dim", 0, len(title) + 2)
    if first["remedy"]:
        lines.append(_set(f"→ {first['remedy']}", 3))
        lines[-1].stylize(colour, 0, 1)
    paragraph = Table.grid(padding=(0, 1))
    paragraph.add_row(mark, Paragraphs(*lines))
    return paragraph


def _set(text: str, margin: int, *, style: str = "") -> Text:
    """The text on lines that leave `margin` cells free. rich would break a line at a space that must not be broken."""
    width = max(20, console.width - margin)
    return Text(textwrap.fill(reporting.typeset(text), width, break_on_hyphens=False), style=style)


_SHOWN_GROUPS = 40


def show_written(paths: Sequence[Path]) -> None:
    """Where the files that were asked for are."""
    for path in paths:
        console.print(Text.assemble(("Écrit : ", "dim"), (str(path), "cyan")), soft_wrap=True)


# -- deposits ----------------------------------------------------------------------------------------------------------


def show_receipts(answers: Sequence[Answer], abouts: Sequence[About] = ()) -> None:
    """The receipts; before them, with what `abouts` knows of each deposit, the findings, which are its depositor's."""
    for answer, about in zip(answers, abouts, strict=False):
        if answer.findings is not None:
            receipt, account = answer.receipt, answer.receipt.account
            verdict = {
                "verdict": receipt.verdict, "source": receipt.source, "period": str(receipt.month or ""),
                "lines": account.lines, "accepted": account.accepted, "rejected": account.rejected,
                "blank": account.blank, "header_footer": account.header_footer, "members": (),
                "findings": answer.findings.to_pylist(),
            }  # fmt: skip
            show_verdict(verdict, about, is_deposit=True)
    if abouts:
        for answer in answers:
            name, colour = STATUSES[answer.receipt.status]
            again = " (déjà reçu : le même récépissé)" if answer.is_repeated else ""
            received = answer.receipt.received_at[:16].replace("T", " à ")
            told = Text(f"Récépissé n° {answer.receipt.sequence} : ", style="bold").append(name + again, style=colour)
            console.print(told.append(f", le {received} UTC", style="not bold"))
            console.print(Text(f"SHA-256 {answer.receipt.sha256}", style="dim"), soft_wrap=True)
    else:
        console.print(_receipts_table(answers))
    for answer in answers:
        if answer.receipt.status == "held":
            console.print(
                f"Dépôt n° {answer.receipt.sequence} retenu ({', '.join(answer.receipt.held_for)}). Pour l'appliquer :"
                f" insertion deliver --partner {answer.receipt.partner} --confirm {answer.receipt.sha256}",
                style="yellow",
            )


def _receipts_table(answers: Sequence[Answer]) -> Table:
    numbers = ("N°", "Lignes", "Acceptées", "Rejetées")
    table = grid("N°", "Partenaire", "Fichier", "Mois", "Lignes", "Acceptées", "Rejetées", "État", numbers=numbers)
    for answer in answers:
        receipt = answer.receipt
        name, colour = STATUSES[receipt.status]
        again = " (déjà reçu)" if answer.is_repeated else ""
        table.add_row(
            str(receipt.sequence), receipt.partner, receipt.source, str(receipt.month or "—"),
            number(receipt.account.lines), number(receipt.account.accepted), number(receipt.account.rejected),
            Text(name + again, style=colour),
        )  # fmt: skip
    return table


# -- long work ---------------------------------------------------------------------------------------------------------


def tracked(items: Iterable[T], total: int, what: str, *, silent: bool = False) -> Iterator[T]:
    """The items, with a progress bar while they come."""
    if silent:
        yield from items
        return
    with _progress() as progress:
        task = progress.add_task(what, total=total)
        for item in items:
            yield item
            progress.advance(task)


@contextlib.contextmanager
def steps(what: str, *, silent: bool = False) -> Iterator[Callable[[int, int, str], None]]:
    """A progress bar that is told how far the work is: done, total, what is at work now."""
    if silent:
        yield lambda done, total, step: None
        return
    with _progress() as progress:
        task = progress.add_task(what, total=None)
        yield lambda done, total, step: progress.update(
            task, completed=done, total=total, description=f"{what} · {step}"
        )


@contextlib.contextmanager
def working(what: str, *, silent: bool = False) -> Iterator[None]:
    """A sign of life while something without steps is at work."""
    if silent:
        yield
        return
    with errors.status(what):
        yield


def _progress() -> Progress:
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    return Progress(*columns, console=errors, transient=True)


def show_simulation(written: SimulationReport) -> None:
    """What a simulation wrote, and how to deposit it."""
    table = grid("Source", "Lignes", numbers=("Lignes",))
    for source, rows in sorted(written.rows_by_source.items()):
        table.add_row(source, number(rows))
    console.print(table)
    console.print(
        f"{plural(written.persons, 'personne')}, {plural(written.deliveries, 'fichier')},"
        f" {number(written.bytes_written / 1e6)} Mo dans {written.folder}"
    )
    console.print(f"Pour les déposer : insertion deliver --from {written.folder / 'deliveries.csv'}", style="dim")


# -- runs and releases -------------------------------------------------------------------------------------------------


def show_run(ran: RunOutcome) -> None:
    """What a run came to: its release, and the checks that ask a question."""
    release = ran.release
    if not ran.is_new:
        console.print(f"Rien de nouveau : la publication [bold]{release.release_id}[/] contient déjà tout.")
        return
    console.print(f"Publication [bold green]{release.release_id}[/] : {', '.join(release.months)}")
    console.print(Text(str(release.folder), style="dim"))
    _questions(ran.checks)


def show_computed(computed: ComputedValues) -> None:
    """What a run came to that stopped before protection, and the checks that ask a question."""
    console.print(f"Indicateurs calculés : {', '.join(computed.months)}. Rien n'est protégé, rien n'est publié.")
    _questions(computed.checks)


def _questions(checks: Iterable[CheckOutcome]) -> None:
    for one in checks:
        if not one.passed:
            console.print(f"[yellow]![/] {one.asset}, {one.check} : {one.description}")


def show_runs(runs: Sequence[RunMetrics], page: Path) -> None:
    """The runs of a home, newest first, and where their page is."""
    table = grid("Run", "Début (UTC)", "Mois", "Issue", "Durée", "Mémoire", "Étape la plus longue",
                 numbers=("Durée", "Mémoire"))  # fmt: skip
    for run in runs:
        slowest = f"{run.slowest.step}, {number(run.slowest.seconds, 's')}" if run.slowest else "—"
        table.add_row(
            run.run_id[:8], run.began[:16].replace("T", " "), "..".join(dict.fromkeys(run.months)),
            _issue(run.outcome), number(run.seconds, "s"), number(run.peak_memory_mb, "Mo"), slowest,
        )  # fmt: skip
    console.print(table if runs else "Aucun run terminé dans cette base.")
    console.print(Text(str(page), style="dim"))


def show_run_steps(run: RunMetrics) -> None:
    """One run, step by step, and the checks that did not pass."""
    table = grid("Étape", "Issue", "Durée", "Lignes", "Constats", "Mémoire",
                 numbers=("Durée", "Lignes", "Constats", "Mémoire"))  # fmt: skip
    for step in run.steps:
        table.add_row(
            step.step, _issue(step.outcome), number(step.seconds, "s"), number(step.rows), number(step.findings),
            number(step.peak_memory_mb, "Mo"),
        )  # fmt: skip
    console.print(table)
    for check in run.failed_checks:
        console.print(f"[yellow]![/] {check}")


def _issue(outcome: str) -> Text:
    return Text("terminée", style="green") if outcome == "success" else Text("en échec", style="red")


def show_demo(answers: Sequence[Answer], ran: RunOutcome, registry: Registry) -> None:
    """The tour: what came in, what was refused and why, how many persons, headline figures, where the tables are."""
    if not ran.is_new:
        console.print(Text("Rien de nouveau : tout était déjà déposé, traité et publié.", style="green"))
    console.rule("Ce qui est arrivé", align="left", style="dim")
    console.print(_came_in(answers, registry))
    console.rule("Ce qui a été refusé, et pourquoi", align="left", style="dim")
    console.print(_refusals(answers))
    console.rule("Ce que disent les indicateurs", align="left", style="dim")
    console.print(_headlines(ran.release, registry))
    console.rule("Où sont les tables", align="left", style="dim")
    _where(ran.release)


def _came_in(answers: Sequence[Answer], registry: Registry) -> Table:
    table = grid(
        "Famille",
        "Partenaires",
        "Fichiers",
        "Lignes",
        "Acceptées",
        "Rejetées",
        numbers=("Partenaires", "Fichiers", "Lignes", "Acceptées", "Rejetées"),
    )
    by_family: dict[str, list[Receipt]] = {}
    for answer in answers:
        by_family.setdefault(registry.partner(answer.receipt.partner).family, []).append(answer.receipt)
    for family, label in FAMILIES.items():
        receipts = by_family.get(family, [])
        account = sum((receipt.account for receipt in receipts), Account())
        table.add_row(
            label, number(len({receipt.partner for receipt in receipts})), number(len(receipts)),
            number(account.lines), number(account.accepted), number(account.rejected),
        )  # fmt: skip
    return table


def _refusals(answers: Sequence[Answer]) -> Table:
    """Files refused or with rejected rows, then what was found everywhere, by code: counts, never a value."""
    table = grid("", "Fois", "Fichiers", numbers=("Fois", "Fichiers"))
    times: Counter[str] = Counter()
    files: Counter[str] = Counter()
    for answer in answers:
        receipt = answer.receipt
        times.update(receipt.findings)
        files.update(receipt.findings.keys())
        where = f"{receipt.partner}, {receipt.source}, {receipt.month}"
        if receipt.status == "refused":
            table.add_row(f"[red]Fichier refusé[/] : {where}", "", "1")
        elif receipt.account.rejected:
            table.add_row(f"[yellow]Lignes rejetées[/] : {where}", number(receipt.account.rejected), "1")
    for code, count in times.most_common():
        table.add_row(f"Constat : {TITLES.get(code, code).lower()}", number(count), number(files[code]))
    return table


def _headlines(release: Release, registry: Registry) -> Table:
    """The first indicators of the network and of each family, as published for the last month."""
    from insertion_pipeline.publication import releasing

    by_code: dict[str, dict[str, Headline]] = {}
    for headline in releasing.headlines(release):
        by_code.setdefault(headline.indicator_code, {})[headline.country] = headline
    table = grid("", "", "France", "Wallonie", title=release.months[-1], numbers=("France", "Wallonie"))
    families = sorted(registry.indicator_families, key=lambda one: (one.family != "network", one.family))
    for family in families:
        codes = [indicator.code for indicator in family.indicators if indicator.code in by_code]
        if codes:
            table.add_row(Text(family.title, style="bold"))
        for code in codes[: _NETWORK_HEADLINES if family.family == "network" else _FAMILY_HEADLINES]:
            figures = (_figure(by_code[code].get(country)) for country in ("FR", "BE"))
            table.add_row(f"  {registry.indicators[code].label}", Text(code, style="dim"), *figures)
    return table


_NETWORK_HEADLINES, _FAMILY_HEADLINES = 7, 3
_UNITS = {"%": "%", "persons": "", "hours": "h", "etp": "ETP", "eur": "€", "days": "j", "count": ""}
_NOT_SHOWN = {
    "suppressed": "secret",
    "PS": "peu significatif",
    "NR": "non reçu",
    "NC": "sans objet",
    "ND": "indisponible",
}


def _figure(headline: Headline | None) -> Text:
    if headline is None:
        return Text("")
    if headline.value is None:
        return Text(_NOT_SHOWN.get(headline.status, headline.status), style="dim")
    return Text(number(headline.value, _UNITS[headline.unit]), style="bold")


def _where(release: Release) -> None:
    tables = release.manifest["tables"]
    console.print(
        f"Publication [bold]{release.release_id}[/] : {number(tables['indicator_values']['rows'])} valeurs,"
        f" {number(tables['indicators']['rows'])} indicateurs, {', '.join(release.months)}"
    )
    for name, what in (
        ("insertion.duckdb", "à interroger en SQL"), ("indicateurs.xlsx", "le classeur"), ("csv", "les tables"),
        ("parquet", "les mêmes"), ("sdmx", "SDMX-CSV"), ("report/index.html", "le rapport"),
    ):  # fmt: skip
        console.print(Text.assemble("  ", (str(release.folder / name), "cyan"), (f"  {what}", "dim")), soft_wrap=True)


def show_releases(every: Sequence[Mapping[str, Any]]) -> None:
    """The releases of a home, oldest first."""
    if not every:
        console.print("Aucune publication encore : lancez « insertion run ».")
        return
    table = grid("Publication", "Mois", "Valeurs", "Étape", "Signée par", numbers=("Valeurs",))
    for one in every:
        span = (
            one["first_month"]
            if one["first_month"] == one["last_month"]
            else f"{one['first_month']}..{one['last_month']}"
        )
        table.add_row(one["release_id"], span, number(one["rows"]), _stage(one), _signatory(one))
    console.print(table)
    for one in every:
        for reason in one["held_because"]:
            console.print(Text(f"  {one['release_id']} retenue : {reason}", style="yellow"))


_STAGES = {"held": "retenue", "candidate": "candidate", "signed": "signée", "public": "publique"}


def _stage(one: Mapping[str, Any]) -> str:
    if one["stage"] == "signed":
        return f"signée, publique le {one['approval']['public_at'][:16].replace('T', ' à ')} UTC"
    return _STAGES[one["stage"]]


def _signatory(one: Mapping[str, Any]) -> str:
    return f"{one['approval']['name']}, {one['approval']['role']}" if one["approval"] else ""


def show_published(release_id: str, schema: str, rows: Mapping[str, int]) -> None:
    """What a database now holds."""
    table = grid("Table", "Lignes", numbers=("Lignes",))
    for name, count in rows.items():
        table.add_row(f"{schema}.{name}", number(count))
    console.print(f"Publication [bold]{release_id}[/] en place dans le schéma [bold]{schema}[/]")
    console.print(table)


def show_release(release: Release, registry: Registry) -> None:
    """What a release holds: tables, statuses, where it is."""
    table = grid("Table", "Lignes", "SHA-256", numbers=("Lignes",))
    for name, noted in release.manifest["tables"].items():
        table.add_row(name, number(noted["rows"]), noted["sha256"][:16])
    console.print(table)
    console.print(_headlines(release, registry))
    _where(release)


def show_provenance(explained: Explained) -> None:
    """Where a published value comes from: its rules, then the deliveries that could bear on it."""
    told = explained.provenance
    console.print(f"[bold]{told.rules['label']}[/] · {told.territory_code} · {told.month}")
    console.print(
        f"{explained.value:n} {explained.unit}, {explained.maturity}, connu en {explained.as_of}, "
        f"couverture {explained.coverage or 0:.0%}"
    )
    words = {
        "definition": "Définition", "numerator": "Numérateur", "denominator": "Dénominateur",
        "exclusions": "Exclusions", "reference": "Référence", "status": "Définition établie par",
        "parameters": "Paramètres",
        "series_breaks": "Ruptures de série",
    }  # fmt: skip
    for name, word in words.items():
        if name in told.rules:
            console.print(Text(f"  {word} : {told.rules[name]}"))
    console.print(Text(f"  Faits : {', '.join(told.facts)}"))
    table = grid("Dépôt", "Partenaire", "Mois", "SHA-256")
    for one in told.deliveries:
        table.add_row(one.source, one.partner, one.month, one.sha256[:16])
    console.print(table)


def show_verification(verification: Verification) -> None:
    """The verdict on a release, and what is not as it was published."""
    words = {"intact": ("intacte", "green"), "unsigned": ("non signée", "yellow"), "altered": ("altérée", "red")}
    word, colour = words[verification.state]
    console.print(f"Publication {verification.release_id} : [bold {colour}]{word}[/]")
    for problem in verification.problems:
        console.print(Text(f"  {problem.file} : {problem.message}"))


def show_protection(certificate: Mapping[str, Any], out: Path) -> None:
    """What was hidden of a table of counts, and what an attacker still finds."""
    attacker, times = certificate["attacker"], certificate["cost"]["times_the_proven_lower_bound"]
    console.print(
        f"{plural(certificate['cells'], 'cellule')} : {number(certificate['primary'])} sensibles,"
        f" {number(certificate['secondary'])} masquées pour les protéger, {number(certificate['published'])} publiées."
    )
    console.print(
        f"Attaque : {number(attacker['exactly_known'])} retrouvées,"
        f" {number(attacker['sensitive_cells_under_width'])} connues de trop près."
        + (
            ""
            if times is None
            else f" Coût : {f'{times:.2f}'.replace('.', ',')} fois ce que toute protection coûte au moins."
        )
    )
    console.print(Text(f"Table : {out}"))


def show_link(answer: Mapping[str, Any]) -> None:
    """How many persons the records speak of, and how right that is where the truth is known."""
    console.print(
        f"{plural(answer['records'], 'fiche')}, {plural(answer['persons'], 'personne')},"
        f" {number(answer['needs_review'])} à revoir : {answer['out']}"
    )
    if answer["evaluation"] is not None:
        table = grid("Mesure", "Valeur", numbers=("Valeur",))
        for name, value in answer["evaluation"].items():
            table.add_row(name, f"{value:.4f}".replace(".", ",") if isinstance(value, float) else number(value))
        console.print(table)


def show_validation(answer: Mapping[str, Any]) -> None:
    """What was validated, and the samples that their contract refuses."""
    console.print(
        f"{plural(answer['partners'], 'partenaire')}, {plural(answer['sources'], 'source')},"
        f" {plural(answer['indicators'], 'indicateur')}, {plural(answer['samples'], 'exemple')}"
    )
    for path in answer["refused_samples"]:
        console.print(f"[red]✗[/] {path} : exemple refusé par son contrat")


def show_drifts(asked: Sequence[tuple[DriftReport, Drift]], written: Sequence[Path]) -> None:
    """What to ask partners about: which column moved, never what stands in it."""
    if not asked:
        console.print("Rien d'inhabituel : chaque dépôt ressemble à ceux d'avant.")
    else:
        table = grid("Mois", "Partenaire", "Fichier", "Table", "Champ", "Question")
        for report, one in asked:
            table.add_row(str(report.month), one.partner, report.source, one.table, one.field or "—", one.message)
        console.print(table)
    show_written(written)


def show_examination(points: Sequence[Examined]) -> None:
    """The state of the installation, and what to do."""
    table = grid("", "Point", "État", "Que faire")
    for one in points:
        mark = Text("✓", style="green") if one.is_well else Text("✗", style="red")
        table.add_row(mark, one.point, Text(one.state), Text(one.remedy))
    console.print(table)


def show_backup(made: Backup, archive: str, keys: Path) -> None:
    """Where a copy is, and what it does not hold."""
    console.print(
        f"Copie écrite : {archive} ({number(made.files)} fichiers, dépôts jusqu'au n° {made.newest_receipt})."
    )
    console.print(f"Les clés n'y sont pas : gardez ailleurs une copie de {keys}, sans elles rien ne s'ouvre.")


def show_migration(steps: Sequence[Migration], copy: Path, *, is_done: bool) -> None:
    """What was done to a home of an earlier version, or would be."""
    if not steps:
        console.print("La base a déjà la forme de cette version : rien à faire.")
    for step in steps:
        console.print(f"Version {step.version} : {step.what}.")
    if steps and is_done:
        console.print(f"Fait. La base telle qu'elle était est dans {copy}.")
    elif steps:
        console.print(f"Rien n'a été changé. « insertion migrate » le fera, après une copie dans {copy}.")


def show_restored(brought: Backup, home: Path) -> None:
    """What came back, and what to do next."""
    console.print(f"Remis en place dans {home} : {number(brought.files)} fichiers, chacun vérifié.")
    if not any((home / "secrets").glob("*.key")):
        console.print(f"[yellow]Remettez maintenant les clés dans {home / 'secrets'} : sans elles rien ne s'ouvre.[/]")
    console.print("Puis « insertion run » refait ce qui se recalcule.")
