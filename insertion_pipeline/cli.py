"""The command line: `insertion check | deliver | run | release | …`.

Belongs here: arguments, exit codes, which core function a command calls. Does not belong here: what a command prints
(`screen`), anything that decides.

Heavy imports stand inside the commands: `insertion --help` answers in half a second, and `check` loads neither Dagster
nor the libraries of the night.
"""

from __future__ import annotations

import atexit
import csv
import json
import logging
import os
import shutil
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from insertion_pipeline.commands import (
    copies,
    drifting,
    keys,
    portal,
    protection,
    releases,
    review,
    rights,
    runs,
    suppressing,
)
from insertion_pipeline.commands.session import ExitCode, Held, Refused, Session, WrongUsage, say, say_written
from insertion_pipeline.commands.session import session_of as _session
from insertion_pipeline.disk import is_full

if TYPE_CHECKING:
    import pyarrow as pa

    from insertion_pipeline.identity.scoring import Weighing
    from insertion_pipeline.ingestion.judging import Judgement
    from insertion_pipeline.ingestion.landing import Answer
    from insertion_pipeline.ingestion.receipts import Receipt
    from insertion_pipeline.ingestion.replaying import Page
    from insertion_pipeline.ingestion.reporting import About
    from insertion_pipeline.lake import Lake
    from insertion_pipeline.month import Month, Span
    from insertion_pipeline.orchestration.outcomes import CheckOutcome, ComputedValues, RunOutcome
    from insertion_pipeline.orchestration.planning import Plan
    from insertion_pipeline.registry import Partner, Registry, Source


_LOG = logging.getLogger("insertion.command")


# -- the frame: global options anywhere, one meaning per exit code ---------------------------------------------------

_GLOBAL_FLAGS = frozenset({"--json", "--wait"})
_GLOBAL_VALUES = frozenset({"--home", "--data-sources", "--lang"})


def hoisted(arguments: Sequence[str]) -> list[str]:
    """`arguments` with the global options in front, wherever they were written: before or after the subcommand."""
    leading: list[str] = []
    others: list[str] = []
    remaining = iter(arguments)
    for argument in remaining:
        if argument == "--":
            others += [argument, *remaining]
        elif argument in _GLOBAL_FLAGS or (argument.partition("=")[0] in _GLOBAL_VALUES and "=" in argument):
            leading.append(argument)
        elif argument in _GLOBAL_VALUES:
            leading += [argument, *(value for value in [next(remaining, None)] if value is not None)]
        else:
            others.append(argument)
    return leading + others


class _Doors(TyperGroup):
    """The top of the command tree: hoists the global options and gives every ending its exit code."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, hoisted(args))

    def main(self, args: Sequence[str] | None = None, *further: Any, **options: Any) -> Any:
        words, began = (sys.argv[1:] if args is None else args), time.monotonic()
        try:
            code = super().main(args, *further, **(options | {"standalone_mode": False}))
        except Exception as error:  # noqa: BLE001 (every ending has an exit code)
            code, message = _ending(error)
            _say_ending(code, message, as_json="--json" in words)
        ending = int(code or ExitCode.DONE)
        command, seconds = next((word for word in words if word in self.commands), ""), time.monotonic() - began
        _LOG.info("ended", extra={"command": command, "exit_code": ending, "seconds": round(seconds, 3)})
        sys.exit(ending)


def _ending(error: Exception) -> tuple[ExitCode, str]:
    """The exit code and the French sentence for an exception: no value of a file, no traceback."""
    if isinstance(error, typer.TyperException):
        return ExitCode.USAGE, _in_french(error.format_message())
    if isinstance(error, typer.Abort):
        return ExitCode.USAGE, "Commande interrompue."
    if isinstance(error, Refused):
        return ExitCode.REFUSED, str(error)
    if isinstance(error, Held):
        return ExitCode.HELD, str(error)
    name = type(error).__name__
    if name in _WRONG_USAGE:
        return ExitCode.USAGE, _WRONG_USAGE[name].format(error)
    if name == "AnotherRunHoldsTheLock":
        return ExitCode.LOCKED, f"Un autre traitement est en cours ({error}). Attendez sa fin, ou ajoutez --wait."
    if name == "Overtaken":
        return ExitCode.LOCKED, "Une autre machine a écrit entre-temps : rien n'a été changé. Relancez la commande."
    if name == "DeclarationsChanged":
        return ExitCode.INTERNAL, f"Déclarations modifiées entre-temps, rien n'a été publié ({error}). Relancez."
    if name in ("RunFailed", "StepFailed", "OtherInputs"):
        return ExitCode.INTERNAL, f"Traitement arrêté, rien n'a été publié : {error}."
    if is_full(error):
        return ExitCode.INTERNAL, "Le disque est plein, rien n'a été modifié. Libérez de la place, puis recommencez."
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if "insertion_pipeline" in frame.filename]
    where = f"{Path(own[-1].filename).name}:{own[-1].lineno}" if own else "hors du programme"
    return ExitCode.INTERNAL, f"Erreur interne ({name}, {where}). Rien n'a été modifié."


#: Exceptions that tell the operator what to mend, by name: importing their modules would cost half a second.
_WRONG_USAGE = {
    "WrongUsage": "{}",
    "InvalidMonth": "Mois illisible : écrivez-le AAAA-MM, comme 2026-09 (une suite de mois : 2026-09..2026-10).",
    "InvalidDataSources": "Déclarations refusées. {}",
    "KeysMissing": "Clés absentes en production : {}. Remettez leur copie, ou « insertion keys create » (base neuve).",
    "HomeTooNew": "Cette base a été écrite par une version plus récente du programme ({}).",
    "HomeNeedsMigration": "Cette base est à migrer : lancez « insertion migrate » ({}).",
    "FileNotFoundError": "Fichier absent : {0.filename}",
    "IsADirectoryError": "C'est un dossier, un fichier est attendu : {0.filename}",
    "PermissionError": "Accès refusé : {0.filename}",
    "SettingsError": "Réglage refusé : {}",
    "StoreNotInstalled": "Accès au stockage d'objets absent : {}",
}

_FRENCH = {
    "Missing option": "Option manquante :",
    "Missing argument": "Argument manquant :",
    "No such option": "Option inconnue",
    "No such command": "Commande inconnue :",
    "Invalid value for": "Valeur refusée pour",
    "Invalid value": "Valeur refusée",
    "Got unexpected extra argument": "Argument en trop",
    "requires an argument": "attend une valeur",
    "Missing command": "Commande manquante",
    "Did you mean": "Vouliez-vous dire",
    "does not exist": "n'existe pas",
}


def _in_french(message: str) -> str:
    for english, french in _FRENCH.items():
        message = message.replace(english, french)
    return message


def _say_ending(code: ExitCode, message: str, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps({"exit_code": int(code), "error": message}, ensure_ascii=False))
    print(message, file=sys.stderr)


app = typer.Typer(
    cls=_Doors,
    name="insertion",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Des fichiers mensuels des partenaires de l'insertion aux tables d'indicateurs partagées.",
    epilog="Les options globales s'écrivent avant ou après la commande.",
)
app.add_typer(releases.commands, name="release")
app.command()(copies.backup)
app.command()(copies.restore)
app.command()(copies.migrate)
app.command()(protection.protection)
app.add_typer(portal.commands, name="portal")
app.add_typer(rights.commands)
app.add_typer(drifting.commands)
app.add_typer(runs.commands)
app.add_typer(suppressing.commands)
app.add_typer(review.commands, name="review")
app.add_typer(keys.commands, name="keys")
app.command()(keys.retention)


@app.callback()
def globally(
    ctx: typer.Context,
    home: Annotated[Path | None, typer.Option(help="Dossier de travail (./var, ou INSERTION_HOME).")] = None,
    data_sources: Annotated[
        Path | None, typer.Option(help="Dossier des déclarations (ou INSERTION_DATA_SOURCES).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Répondre en JSON.")] = False,
    lang: Annotated[str, typer.Option(help="Langue des messages.")] = "fr",
    wait: Annotated[bool, typer.Option("--wait", help="Attendre la fin d'un autre traitement.")] = False,
) -> None:
    """Read the global options."""
    if os.environ.get("INSERTION_LOGS") == "json":
        from insertion_pipeline.logs import speak_json

        speak_json()
    if lang != "fr":
        raise WrongUsage(f"Langue {lang!r} non disponible : seule « fr » l'est.")
    ctx.obj = Session(home, data_sources, as_json, wait)


FilesArgument = Annotated[
    list[Path], typer.Argument(help="Fichiers, comme le partenaire les envoie.", show_default=False)
]
PartnerOption = Annotated[str, typer.Option(help="Code du partenaire (data_sources/partners.csv).", show_default=False)]
SourceOption = Annotated[str | None, typer.Option(help="Type de fichier ; reconnu au contenu s'il n'est pas donné.")]
MonthOption = Annotated[str | None, typer.Option(help="Mois concerné, AAAA-MM.")]
EngineOption = Annotated[str, typer.Option(help="Ce qui calcule faits et indicateurs : duckdb ou spark.")]


def _month(text: str | None) -> Month | None:
    from insertion_pipeline.month import Month

    return Month.parse(text) if text else None


def _require_files(files: Iterable[Path]) -> None:
    for path in files:
        if not path.is_file():
            raise WrongUsage(f"Fichier absent : {path}")


# -- deliveries --------------------------------------------------------------------------------------------------------


@app.command()
def check(
    ctx: typer.Context,
    files: FilesArgument,
    partner: PartnerOption,
    source: SourceOption = None,
    month: MonthOption = None,
    report: Annotated[
        Path | None, typer.Option(help="Rapport à écrire : .xlsx (votre fichier annoté), .csv ou .json.")
    ] = None,
) -> ExitCode:
    """Dire ce que vaut un fichier, sans rien garder."""
    from insertion_pipeline.ingestion.nursery import NURSERY

    NURSERY.start()  # it imports what reading needs while this process imports what judging needs
    from insertion_pipeline import screen
    from insertion_pipeline.ingestion.judging import judge, together

    session = _session(ctx)
    _require_files(files)
    targets = _reports(report, files)
    lake, registry = session.lake, session.contracts
    deliveries = together(files, partner, source, registry, lake)
    judgements = [judge(paths, partner, source, _month(month), registry, lake) for paths in deliveries]
    answers = [judgement.to_json() for judgement in judgements]
    written = [
        _write_report(session, target, paths, judgement)
        for target, paths, judgement in zip(targets(len(deliveries)), deliveries, judgements, strict=False)
    ]
    if session.as_json:
        say(answers[0] if len(answers) == 1 else answers)
    else:
        for paths, answer in zip(deliveries, answers, strict=True):
            screen.show_verdict(answer, _about(session, answer["source"], partner, paths))
        screen.show_written(written)
    return ExitCode.of_verdict(max(answer["verdict"] for answer in answers))


def _reports(report: Path | None, files: Sequence[Path]) -> Callable[[int], list[Path]]:
    """Where the reports go: one file, or one with a number per delivery. Refused before anything is read."""
    from insertion_pipeline.ingestion.reporting import EXTENSIONS

    if report is None:
        return lambda deliveries: []
    if report.suffix.lower() not in EXTENSIONS:
        raise WrongUsage(
            f"Rapport {report.name} : l'extension doit être {', '.join(EXTENSIONS[:-1])} ou {EXTENSIONS[-1]}."
        )
    if not report.absolute().parent.is_dir():
        raise WrongUsage(f"Dossier absent : {report.absolute().parent}")
    if any(report.resolve() == path.resolve() for path in files):
        raise WrongUsage(f"Le rapport écraserait le fichier contrôlé : {report}")
    return lambda deliveries: (
        [report]
        if deliveries == 1
        else [report.with_stem(f"{report.stem}-{number}") for number in range(1, deliveries + 1)]
    )


def _write_report(session: Session, target: Path, paths: Sequence[Path], judgement: Judgement) -> Path:
    from insertion_pipeline.ingestion.replaying import pages
    from insertion_pipeline.ingestion.reporting import write_report

    who = session.contracts.partners.get(judgement.partner)
    replayed: Iterable[Page] = ()
    if who is not None and judgement.source is not None:
        replayed = pages(paths, session.contracts.source_of(who, judgement.source), judgement.month, session.lake)
    about = _about(session, judgement.source, judgement.partner, paths)
    write_report(target, judgement.to_json(), about, session.lake, replayed)
    return target


def _about(session: Session, source: str | None, partner: str, paths: Sequence[Path]) -> About:
    from insertion_pipeline.ingestion.reporting import About

    return About.of(source, partner, paths, session.contracts)


@app.command()
def deliver(
    ctx: typer.Context,
    files: Annotated[list[Path] | None, typer.Argument(help="Fichiers à déposer.", show_default=False)] = None,
    partner: Annotated[str | None, typer.Option(help="Code du partenaire.")] = None,
    source: SourceOption = None,
    month: MonthOption = None,
    nothing_to_declare: Annotated[bool, typer.Option("--nothing-to-declare", help="Néant ce mois-ci.")] = False,
    confirm: Annotated[str | None, typer.Option(help="SHA-256 d'un dépôt retenu, à appliquer.")] = None,
    listing: Annotated[Path | None, typer.Option("--from", help="Liste path,source,partner,month à déposer.")] = None,
) -> ExitCode:
    """Déposer des fichiers, et recevoir leur récépissé."""
    session = _session(ctx)
    if listing is not None:
        if files or partner or nothing_to_declare or confirm:
            raise WrongUsage("--from se suffit à lui-même : la liste dit les fichiers, les partenaires et les mois.")
        return _answered(session, list(_deposits(session, [listing])))
    if partner is None:
        raise WrongUsage("Option manquante : --partner")
    if nothing_to_declare:
        return _answered(session, [_nothing(session, partner, source, _month(month))])
    if confirm is not None and not files:
        return _answered(session, [_confirmed(session, partner, confirm)])
    if not files:
        raise WrongUsage("Aucun fichier à déposer.")
    _require_files(files)
    from insertion_pipeline.ingestion.judging import together
    from insertion_pipeline.ingestion.landing import deliver as delivered

    deliveries = together(files, partner, source, session.registry, session.lake)
    answers = [
        delivered(paths, partner, source, _month(month), session.registry, session.lake, confirm=confirm)
        for paths in deliveries
    ]
    return _answered(session, answers, partner, deliveries)


def _nothing(session: Session, partner: str, source: str | None, month: Month | None) -> Answer:
    from insertion_pipeline.ingestion.landing import Answer, declare_nothing

    who = session.registry.partners.get(partner)
    if who is None:
        raise Refused(f"Partenaire inconnu : {partner}")
    if month is None:
        raise WrongUsage("Option manquante : --month")
    if source is None and len(who.sources) != 1:
        raise WrongUsage(f"Option manquante : --source ({', '.join(who.sources) or 'ce partenaire ne dépose rien'})")
    what = source or who.sources[0]
    if not who.expects(what, month):
        raise Refused(f"{partner} ne dépose pas {what} pour {month}")
    return Answer(declare_nothing(partner, what, month, session.registry, session.lake))


def _confirmed(session: Session, partner: str, sha256: str) -> Answer:
    from insertion_pipeline.ingestion.landing import Answer, NothingToConfirm, confirm

    if partner not in session.registry.partners:
        raise Refused(f"Partenaire inconnu : {partner}")
    try:
        return Answer(confirm(sha256, partner, session.registry, session.lake))
    except NothingToConfirm:
        raise WrongUsage(f"Aucun dépôt {sha256[:12]}… de {partner} n'attend de confirmation.") from None


def _deposits(session: Session, listings: Sequence[Path]) -> Iterator[Answer]:
    """Deposit what the listings name, in their order. Paths are relative to the listing."""
    from insertion_pipeline.ingestion.nursery import NURSERY

    NURSERY.start()  # it imports what reading needs while this process imports what judging needs
    from insertion_pipeline import screen
    from insertion_pipeline.ingestion.landing import Deposit, deliver_many

    deposits = [
        Deposit(listing.parent / row["path"], row["partner"], row["source"] or None, _month(row["month"]))
        for listing in listings
        for row in _rows_of(listing)
    ]
    _require_files(deposit.delivery for deposit in deposits if isinstance(deposit.delivery, Path))
    return screen.tracked(
        deliver_many(deposits, session.registry, session.lake), len(deposits), "Dépôts", silent=session.as_json
    )


def _rows_of(listing: Path) -> list[dict[str, str]]:
    _require_files([listing])
    with listing.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file)
        if missing := {"path", "source", "partner", "month"} - set(reader.fieldnames or ()):
            raise WrongUsage(f"{listing} : colonnes absentes : {', '.join(sorted(missing))}")
        return list(reader)


def _answered(
    session: Session, answers: Sequence[Answer], partner: str = "", deliveries: Sequence[Sequence[Path]] = ()
) -> ExitCode:
    """Show the receipts; the code is a refusal's before that of a deposit held, before that of findings."""
    from insertion_pipeline import screen

    receipts = [answer.receipt for answer in answers]
    if session.as_json:
        shown = [answer.to_json(_findings_kept(session, answer)) for answer in answers]
        say(shown[0] if len(shown) == 1 else shown)
    else:
        about = [
            _about(session, receipt.source, partner, paths)
            for receipt, paths in zip(receipts, deliveries, strict=False)
        ]
        screen.show_receipts(answers, about)
    codes = {_code_of(receipt) for receipt in receipts}
    return next((code for code in (ExitCode.REFUSED, ExitCode.HELD, ExitCode.FINDINGS) if code in codes), ExitCode.DONE)


def _findings_kept(session: Session, answer: Answer) -> pa.Table | None:
    """The findings of a delivery that had been accepted before: the depositor hears them again."""
    from insertion_pipeline.ingestion import content, deliveries

    if answer.findings is not None or not answer.is_repeated or answer.receipt.status not in ("applied", "held"):
        return None
    try:
        return deliveries.findings_of(session.lake, session.registry, answer.receipt)
    except (content.ContentErased, deliveries.CannotRebuild):
        return None


def _code_of(receipt: Receipt) -> ExitCode:
    return ExitCode.HELD if receipt.status == "held" else ExitCode.of_verdict(receipt.verdict)


# -- runs --------------------------------------------------------------------------------------------------------------


@app.command()
def run(
    ctx: typer.Context,
    month: Annotated[str | None, typer.Option(help="Mois à traiter, AAAA-MM (sinon tous les mois déposés).")] = None,
    months: Annotated[str | None, typer.Option(help="Suite de mois, AAAA-MM..AAAA-MM.")] = None,
    engine: EngineOption = "duckdb",
    until: Annotated[
        str, typer.Option(help="Où s'arrêter : release, ou values (avant protection ; rien n'est publié).")
    ] = "release",
) -> ExitCode:
    """Faire tout ce que les dépôts de ces mois demandent, jusqu'à la publication."""
    from insertion_pipeline import screen

    if month and months:
        raise WrongUsage("--month ou --months, pas les deux.")
    if until not in ("release", "values"):
        raise WrongUsage(f"--until {until!r} inconnu : release ou values.")
    _require_engine(engine)
    session = _session(ctx)
    if until == "values":
        computed = _compute_values(session, _span(month, months), engine)
        if session.as_json:
            say(computed.to_json())
        else:
            screen.show_computed(computed)
        return ExitCode.DONE
    ran = _run(session, _span(month, months), engine)
    if session.as_json:
        say(ran.to_json())
    else:
        screen.show_run(ran)
    return ExitCode.DONE


def _require_engine(engine: str) -> None:
    """Refuse an unknown engine, or say what Spark lacks, before anything is made."""
    from importlib.util import find_spec

    if engine not in ("duckdb", "spark"):
        raise WrongUsage(f"Moteur {engine!r} inconnu : duckdb ou spark.")
    if engine == "duckdb":
        return
    if find_spec("pyspark") is None:
        raise WrongUsage("Le moteur spark n'est pas installé ici : make spark, ou relancez sans --engine.")
    java_home = os.environ.get("JAVA_HOME")
    if shutil.which("java") is None and not (java_home and (Path(java_home) / "bin" / "java").exists()):
        raise WrongUsage("Spark demande Java 17 : installez-le, ou relancez sans --engine.")


def _span(month: str | None, months: str | None) -> Span | None:
    from insertion_pipeline.month import Span

    text = month or months
    return Span.parse(text) if text else None


def _run(session: Session, asked: Span | None, engine: str = "duckdb") -> RunOutcome:
    """Make the release that ends with the months asked for, unless its inputs have already made it.

    Dagster is loaded when there is work only. The lock is held from the plan to the release.
    """
    from insertion_pipeline.orchestration.outcomes import RunOutcome
    from insertion_pipeline.publication import releasing

    with _planned(session, asked) as (lake, planned):
        inputs = releasing.inputs_of(lake, session.registry, planned.published, read=planned.read)
        existing = releasing.find(lake, inputs.release_id)
        if existing is not None:
            return RunOutcome(existing)
        run_id, checks = _run_job(session, lake, planned, engine, publishes=True)
    return RunOutcome(releasing.chosen(lake, inputs.release_id), run_id, checks)


def _compute_values(session: Session, asked: Span | None, engine: str) -> ComputedValues:
    """Do all that comes before protection, for whoever measures or looks into it."""
    from insertion_pipeline.orchestration.outcomes import ComputedValues

    with _planned(session, asked) as (lake, planned):
        run_id, checks = _run_job(session, lake, planned, engine, publishes=False)
    return ComputedValues(run_id, tuple(str(month) for month in planned.published), checks)


@contextmanager
def _planned(session: Session, asked: Span | None) -> Iterator[tuple[Lake, Plan]]:
    """The lock held, the lake as of now, and what is to be made of it. Raises `WrongUsage` where that is nothing."""
    from insertion_pipeline.ingestion.receipts import as_of_now
    from insertion_pipeline.orchestration.planning import NothingDelivered, plan

    with session.lake.writer_lock(wait=session.waits, holder=f"insertion run, processus {os.getpid()}"):
        lake = as_of_now(session.lake)
        try:
            planned = plan(lake, asked.last if asked else None)
        except NothingDelivered as nothing:
            raise WrongUsage(f"Rien à traiter : {nothing}.") from None
        if asked is not None and planned.last not in asked:
            raise WrongUsage(f"Rien à traiter : aucun dépôt pour {asked}.")
        yield lake, planned


def _run_job(
    session: Session, lake: Lake, planned: Plan, engine: str, *, publishes: bool
) -> tuple[str, tuple[CheckOutcome, ...]]:
    """Play the monthly job, the steps on the screen; its id, and what its checks said."""
    from insertion_pipeline import screen
    from insertion_pipeline.indicators.catalogue import compile_catalogue
    from insertion_pipeline.orchestration.warming import warm_up

    warm_up().join()
    compile_catalogue(session.registry)  # refused before anything is made, not an hour later
    lake.empty_spill()
    from insertion_pipeline.orchestration.running import run_months

    with screen.steps("Traitement", silent=session.as_json) as advance:
        return run_months(
            lake, session.registry, session.settings, planned.span, engine=engine, publishes=publishes,
            on_progress=lambda progress: advance(progress.done, progress.total, progress.step),
        )  # fmt: skip


@app.command()
def demo(ctx: typer.Context) -> ExitCode:
    """Déposer tous les exemples, traiter leurs mois, publier, et montrer ce que cela donne."""
    from insertion_pipeline import screen
    from insertion_pipeline.ingestion.receipts import receipts
    from insertion_pipeline.orchestration.side_process import side_process
    from insertion_pipeline.orchestration.warming import warm_up

    session = _session(ctx)
    if not receipts(session.lake):  # there will be something to compute: it takes seconds to be ready
        side_process().start()
    answers = []
    for answer in _deposits(session, _samples(session.registry)):
        answers.append(answer)
        if not answer.is_repeated:
            warm_up()
    ran = _run(session, None)
    if session.as_json:
        say({"receipts": [answer.receipt.to_json() for answer in answers], **ran.to_json()})
    else:
        screen.show_demo(answers, ran, session.registry)
    return ExitCode.DONE


# -- tools -------------------------------------------------------------------------------------------------------------


@app.command()
def simulate(
    ctx: typer.Context,
    persons: Annotated[int, typer.Option(min=1, help="Nombre de personnes.", show_default=False)],
    months: Annotated[str, typer.Option(help="Mois, AAAA-MM ou AAAA-MM..AAAA-MM.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Dossier à remplir.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Graine : la même donne les mêmes octets.")] = 1,
    country: Annotated[bool, typer.Option("--country", help="Les partenaires d'un pays entier.")] = False,
) -> ExitCode:
    """Écrire les fichiers de partenaires d'une population fictive, et la vérité."""
    from insertion_pipeline import screen
    from insertion_pipeline.month import Span
    from insertion_pipeline.simulation.simulating import simulate as simulated

    session = _session(ctx)
    with screen.working("Simulation", silent=session.as_json):
        written = simulated(persons, Span.parse(months), seed, out, session.registry, country=country)
    if session.as_json:
        say(
            {
                "persons": written.persons,
                "folder": str(written.folder),
                "data_sources": str(written.data_sources),
                "deliveries": written.deliveries,
                "truth_rows": written.truth_rows,
                "bytes": written.bytes_written,
                "rows_by_source": dict(written.rows_by_source),
            }
        )
    else:
        screen.show_simulation(written)
    return ExitCode.DONE


@app.command()
def link(
    ctx: typer.Context,
    records: Annotated[Path, typer.Argument(help="Fiches personnes canoniques, Parquet.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Parquet à écrire : une ligne par fiche.", show_default=False)],
    train: Annotated[bool, typer.Option("--train", help="Apprendre le modèle sur ces fiches d'abord.")] = False,
    evaluate: Annotated[
        Path | None, typer.Option(help="Vérité (record_id, person_id) à laquelle comparer, Parquet.")
    ] = None,
    register: Annotated[
        Path | None, typer.Option(help="Registre des personnes à tenir : chacune garde son identifiant.")
    ] = None,
    store: Annotated[
        bool, typer.Option("--store", help="Garder la mesure de --evaluate avec le modèle du programme.")
    ] = False,
    engine: Annotated[str, typer.Option(help="Ce qui pèse les paires : duckdb ou spark.")] = "duckdb",
) -> ExitCode:
    """Rapprocher des fiches : lesquelles parlent de la même personne."""
    from concurrent.futures import ThreadPoolExecutor

    import pyarrow.parquet as pq

    from insertion_pipeline.identity.normalising import REPEATED_COLUMNS

    _require_engine(engine)
    session = _session(ctx)
    _require_files([records] if evaluate is None else [records, evaluate])
    if store and (evaluate is None or train):
        raise WrongUsage("--store garde ce que --evaluate mesure du modèle du programme, sans --train.")

    def given() -> pa.Table:
        """Read whenever it is asked for: nobody holds a country's records while they are linked."""
        return pq.read_table(records)

    with ThreadPoolExecutor(1) as pool:  # the rest of the program arrives while the records do
        coming = [pool.submit(pq.read_table, records, read_dictionary=list(REPEATED_COLUMNS))]
        from insertion_pipeline import screen
        from insertion_pipeline.identity import evaluating, linkage
        from insertion_pipeline.identity.quality import measure
        from insertion_pipeline.identity.register import name_all
        from insertion_pipeline.identity.scoring import frozen_model
    try:
        with screen.working("Rapprochement", silent=session.as_json):
            with _weighing(session, engine) as weighing:
                table = linkage.link(coming.pop().result(), session.lake, train=train, weighing=weighing)
            if register is not None:
                version = "trained" if train else frozen_model().version
                table = name_all(session.lake, register, table, linkage.canonical(given()), model=version)
        truth = None if evaluate is None else pq.read_table(evaluate)
        measured = None if truth is None else evaluating.evaluate(table, truth)
        if store and truth is not None:
            measure(table, truth, linkage.canonical(given()), model=frozen_model().version).save()
    except linkage.UnusableRecords as error:
        raise WrongUsage(f"{records} n'est pas une table de fiches personnes : {error}") from None
    except evaluating.TruthDoesNotFit as error:
        raise WrongUsage(f"{evaluate} n'est pas la vérité de ces fiches : {error}") from None
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(session.lake.write_parquet, out.resolve(), table)
        persons = linkage.persons_in(table)
        writing.result()
    answer = {
        "records": table.num_rows,
        "persons": persons,
        "needs_review": table.filter(table["needs_review"]).num_rows,
        "out": str(out),
        "evaluation": None if measured is None else measured.as_dict(),
    }
    if session.as_json:
        say(answer)
    else:
        screen.show_link(answer)
    return ExitCode.DONE


@contextmanager
def _weighing(session: Session, engine: str) -> Iterator[Weighing]:
    """What weighs pairs on the engine asked for."""
    from insertion_pipeline.identity.scoring import weigh_here

    if engine == "duckdb":
        yield weigh_here
        return
    from insertion_pipeline.identity.spark_weighing import SparkWeighing, session_settings
    from insertion_pipeline.indicators.engines.spark import spark_session

    master = session.settings.spark_master
    with spark_session(session.lake, master, session_settings(), is_sealed=True) as spark:
        yield SparkWeighing(spark)


# -- formats -----------------------------------------------------------------------------------------------------------


@app.command()
def template(
    ctx: typer.Context,
    source: Annotated[str, typer.Option(help="Type de fichier.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Modèle à écrire : .xlsx ou .csv.", show_default=False)],
    month: Annotated[str | None, typer.Option(help="Mois, AAAA-MM : le format en vigueur ce mois-là.")] = None,
    partner: Annotated[str | None, typer.Option(help="Partenaire dont les fichiers ont leurs propres titres.")] = None,
) -> ExitCode:
    """Écrire le modèle à remplir d'un type de fichier, avec ses listes de valeurs."""
    from insertion_pipeline.contracts.templates import csv_template, workbook_template
    from insertion_pipeline.lake import write_atomically

    session = _session(ctx)
    what, when = _source_in_force(session.registry, source, month, partner)
    if what.insertion.envelope not in ("tabular", "delimited"):
        raise WrongUsage(f"« {what.title} » sort d'un logiciel : il n'y a pas de modèle à remplir.")
    if out.suffix.lower() not in (".xlsx", ".csv"):
        raise WrongUsage(f"Modèle {out.name} : l'extension doit être .xlsx ou .csv.")
    if not out.absolute().parent.is_dir():
        raise WrongUsage(f"Dossier absent : {out.absolute().parent}")
    tables = what.version_for(when).resources
    if out.suffix.lower() == ".xlsx":
        contents = {out: workbook_template(what, session.registry, when)}
    elif len(tables) == 1:
        contents = {out: csv_template(tables[0])}
    else:
        contents = {out.with_stem(f"{out.stem}-{table.name}"): csv_template(table) for table in tables}
    for path, content in contents.items():
        write_atomically(path, content)
    return say_written(session, list(contents))


@app.command()
def formats(
    ctx: typer.Context,
    out: Annotated[Path, typer.Option(help="Dossier à remplir.", show_default=False)],
    month: Annotated[str | None, typer.Option(help="Mois, AAAA-MM : les formats en vigueur ce mois-là.")] = None,
    partner: Annotated[str | None, typer.Option(help="Les seuls formats de ce partenaire, sous ses titres.")] = None,
) -> ExitCode:
    """Écrire la page qui explique chaque type de fichier."""
    from insertion_pipeline.contracts.pages import format_page
    from insertion_pipeline.lake import write_atomically

    session = _session(ctx)
    written = []
    for name in sorted(session.registry.sources if partner is None else _known(session.registry, partner).sources):
        source, when = _source_in_force(session.registry, name, month, partner)
        written.append(out / f"{name}.md")
        write_atomically(written[-1], format_page(source, session.registry, when).encode())
    return say_written(session, written)


def _known(registry: Registry, partner: str) -> Partner:
    if partner not in registry.partners:
        raise WrongUsage(f"Partenaire inconnu : {partner}")
    return registry.partners[partner]


def _source_in_force(
    registry: Registry, name: str, month: str | None, partner: str | None = None
) -> tuple[Source, Month]:
    """A source, as a partner's files have it, and the month for which it is shown: this month when none is asked."""
    from insertion_pipeline.lake import SystemClock
    from insertion_pipeline.month import Month

    source = registry.sources.get(name)
    if source is None:
        raise WrongUsage(f"Type de fichier inconnu : {name}. Connus : {', '.join(sorted(registry.sources))}.")
    if partner is not None:
        source = registry.source_of(_known(registry, partner), name)
    when = _month(month) or max(Month.of(SystemClock().now().date()), source.latest_month)
    if when < source.first_month:
        raise WrongUsage(
            f"« {source.title} » n'a pas de format pour {when} : le premier vaut depuis {source.first_month}."
        )
    return source, when


# -- the installation --------------------------------------------------------------------------------------------------


@app.command()
def validate(ctx: typer.Context) -> ExitCode:
    """Vérifier les déclarations de data_sources/ et passer chaque exemple au contrôle."""
    import tempfile

    from insertion_pipeline import screen
    from insertion_pipeline.indicators.catalogue import compile_catalogue
    from insertion_pipeline.indicators.rehearsing import refuse_what_cannot_be_computed
    from insertion_pipeline.ingestion.judging import judge
    from insertion_pipeline.ingestion.statements import Statements
    from insertion_pipeline.lake import Lake, SystemClock
    from insertion_pipeline.month import Month

    session = _session(ctx)
    registry = session.registry
    indicators = compile_catalogue(registry)
    refuse_what_cannot_be_computed(registry, Month.of(SystemClock().now().date()))
    deposits = [(listing.parent, row) for listing in _samples(registry) for row in _rows_of(listing)]
    refused = []
    with tempfile.TemporaryDirectory() as elsewhere:  # judging spills; it is not a reason to make a home
        lake = Lake.open(Path(elsewhere))
        with Statements.opened(lake) as statements:
            for folder, row in screen.tracked(deposits, len(deposits), "Exemples", silent=session.as_json):
                path, month = folder / row["path"], _month(row["month"])
                told = judge(path, row["partner"], row["source"], month, registry, lake, statements=statements)
                if told.is_refused:
                    refused.append(row["path"])
    answer = {
        "partners": len(registry.partners),
        "sources": len(registry.sources),
        "indicators": len(indicators),
        "samples": len(deposits),
        "refused_samples": refused,
    }
    if session.as_json:
        say(answer)
    else:
        screen.show_validation(answer)
    return ExitCode.REFUSED if refused else ExitCode.DONE


def _samples(registry: Registry) -> list[Path]:
    from insertion_pipeline.registry import FAMILIES

    listings = [registry.folder / family / "samples" / "deliveries.csv" for family in FAMILIES]
    return [listing for listing in listings if listing.is_file()]


@app.command()
def doctor(ctx: typer.Context) -> ExitCode:
    """Vérifier l'installation, et dire quoi faire."""
    from insertion_pipeline import doctoring, screen

    session = _session(ctx)
    findings = doctoring.examine(session.settings)
    if session.as_json:
        say([finding.to_json() for finding in findings])
    else:
        screen.show_examination(findings)
    return ExitCode.DONE if all(finding.is_well for finding in findings) else ExitCode.FINDINGS


@app.command()
def dev(ctx: typer.Context, port: Annotated[int, typer.Option(help="Port du serveur web.")] = 3000) -> None:
    """Ouvrir Dagster sur cette base : serveur web et démon."""
    from insertion_pipeline.orchestration.running import dagster_home
    from insertion_pipeline.settings import REPOSITORY

    session = _session(ctx)
    environment = os.environ | {
        "DAGSTER_HOME": str(dagster_home(session.lake)),
        "INSERTION_HOME": str(session.lake.home),
        "INSERTION_DATA_SOURCES": str(session.settings.data_sources.resolve()),
    }
    command = [sys.executable, "-m", "dagster", "dev", "-w", str(REPOSITORY / "workspace.yaml"), "-p", str(port)]
    # in the place of this process: whoever ends it ends Dagster, which takes its own processes with it
    os.execve(sys.executable, command, environment)  # noqa: S606 (our own interpreter, our own arguments)


def main() -> None:
    """The entry point of the program.

    Taking apart all that was imported takes Python a second; the system does it at once. The first to register is the
    last to be called: whoever tidies up at the end has done so.
    """
    code: str | int | None = ExitCode.INTERNAL

    def leave() -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code if isinstance(code, int) else int(ExitCode.DONE if code is None else ExitCode.INTERNAL))

    atexit.register(leave)
    if sys.argv[1:2] == ["check"]:
        from insertion_pipeline.ingestion.nursery import do_without_pandas

        do_without_pandas()
    try:
        app(prog_name="insertion")
    except SystemExit as ending:
        code = ending.code
        raise


if __name__ == "__main__":
    main()
