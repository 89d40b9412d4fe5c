"""The state of an installation, point by point, with what to do where something is wrong.

Belongs here: looking. Does not belong here: mending, and anything about one delivery or one person.
"""

from __future__ import annotations

import os
import platform
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

from insertion_pipeline.identity import ledger
from insertion_pipeline.lake import HOME_VERSION, HomeTooNew, SystemClock, holder_of, version_of
from insertion_pipeline.migrating import pending
from insertion_pipeline.orchestration.metrics import read_all
from insertion_pipeline.registry import InvalidDataSources, load_registry
from insertion_pipeline.remote import Remote, StoreNotInstalled
from insertion_pipeline.sealing import Keyring
from insertion_pipeline.settings import Settings

#: What a year of a national network takes in a home, in gigabytes.
FREE_SPACE_GB = 10
#: What the clocks of two machines that write to one home may differ by.
CLOCK_TOLERANCE_SECONDS = 300


@dataclass(frozen=True)
class Examined:
    """One point looked at. `remedy` is empty where all is well."""

    point: str
    is_well: bool
    state: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        """One point of `doctor --json`."""
        return asdict(self)


def examine(settings: Settings) -> list[Examined]:
    """Every point, in the order in which a newcomer meets them."""
    return [
        *_programs(),
        *_declarations(settings),
        *_home(settings),
        *_store(settings),
        *_clock(settings),
        *_writer(settings),
        *_keys(settings),
        *_ledger(settings),
        *_runs(settings),
        *_dagster(settings),
        *_portal(settings),
        *_alerts(settings),
        *_space(settings),
    ]


def _programs() -> Iterator[Examined]:
    is_recent = sys.version_info >= (3, 11)
    remedy = "" if is_recent else "Installez Python 3.11 ou plus récent, puis refaites « make setup »."
    yield Examined("Python", is_recent, platform.python_version(), remedy)
    yield Examined("DuckDB", True, duckdb.__version__)


def _declarations(settings: Settings) -> Iterator[Examined]:
    """The declarations, and how long each source's persons are kept."""
    try:
        registry = load_registry(settings.data_sources)
    except InvalidDataSources as error:
        yield Examined("Déclarations", False, str(error), "Corrigez le fichier nommé, puis « insertion validate ».")
        return
    counts = (len(registry.partners), len(registry.sources), len(registry.indicators))
    yield Examined("Déclarations", True, "{} partenaires, {} sources, {} indicateurs".format(*counts))
    for source in registry.sources.values():
        kept = source.insertion.retention_months
        state = f"octets {kept['raw']} mois, identifiants {kept['identifiers']} mois, faits {kept['facts']} mois"
        yield Examined(f"Conservation de {source.name}", True, state)


def _home(settings: Settings) -> Iterator[Examined]:
    found = version_of(settings.home)
    if found is None:
        yield Examined("Base", True, f"{settings.home} : encore vide, créée au premier dépôt")
        return
    yield Examined("Base", found == HOME_VERSION, f"{settings.home}, version {found}", _remedy(settings.home))
    left = [path for area in ("spill", "sealed/spill") for path in (settings.home / area).glob("*")]
    yield Examined("Fichiers temporaires", True, f"{len(left)}, vidés au prochain traitement")


def _remedy(home: Path) -> str:
    """What to do about the version of a home."""
    try:
        steps = pending(home)
    except HomeTooNew:
        return "Installez la version du programme qui l'a écrite, ou une plus récente."
    return f"Lancez « insertion migrate » : {' ; '.join(step.what for step in steps)}." if steps else ""


def _store(settings: Settings) -> Iterator[Examined]:
    """Whether the object store answers, where there is one. What it says is not repeated: it may name an account."""
    if settings.store is None:
        return
    try:
        is_empty = next(Remote(settings.store).names(""), None) is None
    except StoreNotInstalled as error:
        yield Examined("Stockage d'objets", False, "programme d'accès absent", f"Lancez {error}.")
    except Exception as error:  # noqa: BLE001 (each kind of store has its own)
        remedy = "Vérifiez l'adresse (INSERTION_STORE), le serveur et les identifiants (AWS_…)."
        yield Examined("Stockage d'objets", False, f"{settings.store} ne répond pas ({type(error).__name__})", remedy)
    else:
        yield Examined("Stockage d'objets", True, f"{settings.store}{', encore vide' if is_empty else ''}")


def _clock(settings: Settings) -> Iterator[Examined]:
    """Whether the clock is before what was written by it. The order of deposits does not depend on it, deadlines do."""
    written = [path.stat().st_mtime for path in (settings.home / "landing" / "receipts").glob("*.json")]
    now = SystemClock().now()
    ahead = max(written, default=0.0) - now.timestamp()
    is_well = ahead < CLOCK_TOLERANCE_SECONDS
    state = f"{now:%Y-%m-%d %H:%M} UTC" + ("" if is_well else f", {ahead / 60:.0f} minutes avant le dernier dépôt")
    remedy = "" if is_well else "Mettez la machine à l'heure : les échéances en vivent."
    yield Examined("Horloge", is_well, state, remedy)


def _writer(settings: Settings) -> Iterator[Examined]:
    """Who is at work on the home."""
    holder = holder_of(settings.home)
    yield Examined("Traitement en cours", True, holder or "aucun")


def _keys(settings: Settings) -> Iterator[Examined]:
    """Whether the keys are there, all of them, and for nobody else."""
    keyring = Keyring(settings.home / "secrets")
    if keyring.is_empty and not settings.is_production:
        yield Examined("Clés", True, "aucune encore")
        return
    if keyring.lost or (keyring.missing and settings.is_production):
        remedy = "Remettez leur copie ; « insertion keys create » pour une base neuve : la production n'en crée jamais."
        yield Examined("Clés", False, f"absentes : {', '.join(keyring.missing)}", remedy)
        return
    keys = sorted(keyring.folder.glob("*.key"))
    exposed = [path.name for path in keys if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)]
    remedy = f"chmod 600 {keyring.folder}/*.key" if exposed else ""
    yield Examined("Clés", not exposed, f"{len(keys)}, {'lisibles par d’autres' if exposed else 'à vous seul'}", remedy)


def _ledger(settings: Settings) -> Iterator[Examined]:
    """Whether what was done with persons is told without a gap."""
    broken = ledger.first_break(settings.home)
    remedy = (
        "" if broken is None else "Comparez avec la dernière copie, et dites-le au délégué à la protection des données."
    )
    state = "suivi, sans rupture" if broken is None else f"rompu à la ligne {broken}"
    yield Examined("Journal des personnes", broken is None, state, remedy)


def _runs(settings: Settings) -> Iterator[Examined]:
    """How the last run that ended went."""
    runs = read_all(settings.home / "runs")
    if not runs:
        yield Examined("Dernier run", True, "aucun encore")
        return
    newest = runs[0]
    is_well = newest.outcome == "success"
    state = f"{newest.began[:16].replace('T', ' ')} UTC, {newest.seconds:.0f} s, {newest.peak_memory_mb or '?'} Mo"
    remedy = "" if is_well else f"« insertion runs {newest.run_id[:8]} » dit quelle étape, Dagster dit pourquoi."
    yield Examined("Dernier run", is_well, state if is_well else f"en échec, {state}", remedy)


def _dagster(settings: Settings) -> Iterator[Examined]:
    """Whether Dagster's databases are those of the Dagster that is installed. What they say is not repeated."""
    from insertion_pipeline.orchestration.schema import outdated_databases  # loads Dagster: a second

    point, folder = "Bases de Dagster", Path(os.environ.get("DAGSTER_HOME") or settings.home / "dagster")
    try:
        outdated = outdated_databases(folder)
    except Exception as error:  # noqa: BLE001 (each database has its own)
        remedy = f"Vérifiez le serveur que nomme {folder / 'dagster.yaml'}."
        yield Examined(point, False, f"ne répondent pas ({type(error).__name__})", remedy)
        return
    if outdated is None:
        yield Examined(point, True, "aucune encore")
        return
    state = f"d'une version antérieure : {', '.join(outdated)}" if outdated else "à jour"
    remedy = f"Arrêtez Dagster, puis « DAGSTER_HOME={folder} dagster instance migrate »." if outdated else ""
    yield Examined(point, not outdated, state, remedy)


def _portal(settings: Settings) -> Iterator[Examined]:
    """Whether the portal's database has what this program writes there. Its address has a secret: it is not told."""
    from sqlalchemy.exc import SQLAlchemyError

    from insertion_pipeline.portal.settings import PortalSettings
    from insertion_pipeline.portal.store import missing_columns, path_beside

    point, declared, beside = "Base du portail", PortalSettings().database_url, path_beside(settings.home)
    if declared is None and not beside.exists():
        yield Examined(point, True, "aucune encore")
        return
    kind = "SQLite" if declared is None else "PostgreSQL"
    try:
        missing = missing_columns(f"sqlite:///{beside}" if declared is None else declared.get_secret_value())
    except SQLAlchemyError as error:
        remedy = "Vérifiez le serveur et INSERTION_PORTAL_DATABASE_URL." if declared else "Remettez-en une copie."
        yield Examined(point, False, f"{kind} ne répond pas ({type(error).__name__})", remedy)
        return
    earlier = "Une version antérieure l'a faite : lancez celle-là, ou remettez une copie de cette version."
    state = f"il manque {', '.join(missing)}" if missing else "à jour"
    yield Examined(point, not missing, f"{kind}, {state}", earlier if missing else "")


def _alerts(settings: Settings) -> Iterator[Examined]:
    """Who is told of a failed run."""
    if settings.alert_mail and settings.smtp_host is None:
        remedy = "Donnez le serveur de messagerie : INSERTION_SMTP_HOST."
        yield Examined("Alertes", False, "un courriel est demandé, aucun serveur ne l'envoie", remedy)
        return
    ways = {"courriel": bool(settings.alert_mail), "webhook": settings.alert_webhook is not None}
    yield Examined("Alertes", True, " et ".join(way for way, is_set in ways.items() if is_set) or "aucune")


def _space(settings: Settings) -> Iterator[Examined]:
    existing = next(path for path in (settings.home.resolve(), *settings.home.resolve().parents) if path.exists())
    free = shutil.disk_usage(existing).free / 1e9
    is_enough = free >= FREE_SPACE_GB
    remedy = "" if is_enough else f"Libérez de la place : {FREE_SPACE_GB} Go suffisent à un an d'un réseau national."
    yield Examined("Espace libre", is_enough, f"{free:.0f} Go", remedy)
