"""A release from candidate to public: who signs it, who may have it, and the databases that it is put in."""

from __future__ import annotations

import json
import shutil
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from insertion_pipeline import program
from insertion_pipeline.cli import app
from insertion_pipeline.disclosure import SafeTable, protect
from insertion_pipeline.identity.quality import MEASURED_PATH
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month
from insertion_pipeline.publication import approving, explaining, postgres, releasing, revising, signing, verifying
from insertion_pipeline.publication.releasing import Inputs, Release, release
from insertion_pipeline.publication.tables import INDICATOR_VALUES, TABLES
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.protected_values import population, small_registry, value, values_of

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


@dataclass
class Clock:
    time: datetime = NOON

    def now(self) -> datetime:
        return self.time


def inputs(delivery: str = "first", last: str = "2026-09", **others: Any) -> Inputs:
    return Inputs((Month.parse(last),), {last: [delivery]}, "a digest", **others)


@pytest.fixture(scope="module")
def safe() -> SafeTable:
    return protect(population(500, spread=10), small_registry())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, safe: SafeTable) -> Lake:
    lake = Lake.open(tmp_path_factory.mktemp("home"))
    release(lake, small_registry(), inputs(), safe)
    return lake


@pytest.fixture
def home(made: Lake, tmp_path: Path) -> Lake:
    """A home of its own with one candidate, at noon."""
    shutil.copytree(made.home, tmp_path / "home")
    return Lake.open(tmp_path / "home", clock=Clock())


def candidate(lake: Lake) -> Release:
    return releasing.chosen(lake)


def signed(lake: Lake, found: Release, **how: Any) -> approving.Approval:
    return approving.sign(lake, found.folder, found.manifest, name="Camille Martin", role="statisticienne", **how)


# -- stages ------------------------------------------------------------------------------------------------------------


def test_a_new_release_is_a_candidate_and_nobody_may_have_it(home: Lake) -> None:
    found = candidate(home)
    assert found.stage(NOON) == "candidate"
    with pytest.raises(approving.NotReadable, match="non signée"):
        approving.admit(home, found.folder, found.manifest, "Camille Martin")


def test_a_signed_release_is_public_at_its_hour_and_read_early_by_those_named(home: Lake) -> None:
    found, hour = candidate(home), NOON + timedelta(days=2)
    approval = signed(home, found, note="relu", public_at=hour, early_readers=["Préfecture"])
    assert set(approval.checklist) == {"intact", "certificate", "coverage", "revisions"}
    assert (found.stage(NOON), found.stage(hour)) == ("signed", "public")
    with pytest.raises(approving.NotReadable, match="embargo jusqu'au 24/11/2026 à 13h00"):
        approving.admit(home, found.folder, found.manifest, "Presse")
    approving.admit(home, found.folder, found.manifest, "Préfecture")
    later = replace(home, clock=Clock(hour))
    approving.admit(later, found.folder, found.manifest)
    noted = [json.loads(line) for line in (home.home / approving.ACCESS_LOG).read_text().splitlines()]
    assert noted == [{"time": NOON.isoformat(), "release_id": found.release_id, "reader": "Préfecture"}]


def test_signing_changes_no_file_of_the_release(home: Lake) -> None:
    found = candidate(home)
    before = {path.name: path.read_bytes() for path in found.folder.rglob("*") if path.is_file()}
    signed(home, found)
    after = {path.name: path.read_bytes() for path in found.folder.rglob("*") if path.is_file()}
    assert set(after) - set(before) == {approving.APPROVAL}
    assert all(after[name] == content for name, content in before.items())
    verification = verifying.verify(home, found)
    assert (verification.state, verification.stage) == ("intact", "public")


def test_a_forged_approval_counts_for_nothing_and_is_named(home: Lake) -> None:
    found = candidate(home)
    signed(home, found, public_at=NOON + timedelta(days=9))
    path = found.folder / approving.APPROVAL
    content = json.loads(path.read_bytes())
    path.write_text(json.dumps(content | {"public_at": NOON.isoformat()}))
    assert found.stage(NOON) == "candidate"
    assert [one.file for one in verifying.verify(home, found).problems] == [approving.APPROVAL]


def test_an_hour_without_zone_is_that_of_paris() -> None:
    assert approving.local_hour("2026-11-30T09:00") == datetime(2026, 11, 30, 8, tzinfo=UTC)
    assert approving.local_hour("2026-07-01T09:00+00:00") == datetime(2026, 7, 1, 9, tzinfo=UTC)
    with pytest.raises(ValueError):
        approving.local_hour("demain")


# -- revisions ---------------------------------------------------------------------------------------------------------


def shown(month: str, known: float, *, level: str = "department", breakdown: str = "total", modality: str = "TOTAL"):  # type: ignore[no-untyped-def]
    return value("known", "FR-DEP-52", level, known, month=month, breakdown=breakdown, modality=modality)


def as_published(rows: list[dict[str, Any]], name: str) -> pa.Table:
    return INDICATOR_VALUES.conform(values_of(rows).append_column("release_id", pa.array([name] * len(rows))))


def late(moved: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
    return dict.fromkeys(moved, "dépôt tardif")


def reasons(before: list[dict[str, Any]], now: list[dict[str, Any]]) -> tuple[str, ...]:
    values = as_published(now, "now")
    moved = revising.revisions(values, as_published(before, "before"), late)
    return revising.reasons_to_hold(values, moved, Month.parse("2026-09"))


def test_a_value_that_is_hidden_now_is_not_said_again_as_a_revision() -> None:
    before, now = shown("2026-09", 7), shown("2026-09", 3) | {"status": "suppressed", "numerator": None, "value": None}
    (row,) = revising.revisions(as_published([now], "now"), as_published([before], "before"), late).to_pylist()
    assert (row["previous_status"], row["status"]) == ("published", "suppressed")
    assert (row["previous_value"], row["value"]) == (None, None)


def test_an_ordinary_revision_holds_nothing() -> None:
    assert reasons([shown("2026-09", 1000)], [shown("2026-09", 1050)]) == ()
    assert reasons([shown("2026-09", 20)], [shown("2026-09", 29)]) == ()
    assert (
        reasons(
            [shown("2026-09", 1000, breakdown="sex", modality="F")],
            [shown("2026-09", 5, breakdown="sex", modality="F")],
        )
        == ()
    )
    assert reasons([shown("2026-09", 1000, level="commune")], [shown("2026-09", 5, level="commune")]) == ()


def test_a_revision_beyond_the_threshold_and_a_closed_month_hold_the_release() -> None:
    assert reasons([shown("2026-09", 1000)], [shown("2026-09", 1200)]) == (
        "known : un chiffre au-delà du seuil de révision",
    )
    assert reasons([shown("2026-04", 1000)], [shown("2026-04", 1001)]) == ()
    assert reasons([shown("2026-03", 1000)], [shown("2026-03", 1001)]) == (
        "known : un chiffre d'un mois fermé aux révisions",
    )


def test_a_held_release_is_signed_only_once_confirmed(home: Lake) -> None:
    larger = release(home, small_registry(), inputs("second"), protect(population(900, spread=10), small_registry()))
    assert larger.stage(NOON) == "held"
    assert any(reason.startswith("known : ") for reason in larger.manifest["held"])
    with pytest.raises(approving.HeldForConfirmation):
        signed(home, larger)
    approving.confirm(home, larger.folder, name="Camille Martin", note="fichier complet reçu")
    assert larger.stage(NOON) == "candidate"
    signed(home, larger)
    assert larger.stage(NOON) == "public"


# -- identity ----------------------------------------------------------------------------------------------------------


def test_candidates_leave_no_trace_in_a_name_signed_releases_do(home: Lake, tmp_path: Path) -> None:
    other = Lake.open(tmp_path / "other")
    registry = small_registry()
    month = [Month.parse("2026-10")]
    assert releasing.inputs_of(home, registry, month) == releasing.inputs_of(other, registry, month)
    signed(home, candidate(home))
    followed = releasing.inputs_of(home, registry, month)
    assert followed.follows == candidate(home).release_id
    assert followed.release_id != releasing.inputs_of(other, registry, month).release_id


def test_a_signed_release_made_again_keeps_its_name(home: Lake, safe: SafeTable) -> None:
    registry = small_registry()
    found = release(home, registry, releasing.inputs_of(home, registry, [Month.parse("2026-09")]), safe)
    signed(home, found)
    assert releasing.inputs_of(home, registry, [Month.parse("2026-09")]).release_id == found.release_id


def test_a_release_is_protected_together_with_the_signed_ones_of_its_months(home: Lake, safe: SafeTable) -> None:
    first, registry = candidate(home), small_registry()
    second = release(home, registry, inputs("second"), safe)  # made before the first was signed
    assert releasing.signed_since(home, second) == ()
    signed(home, first)
    assert [one.release_id for one in releasing.signed_since(home, second)] == [first.release_id]
    code, _ = answer(home, "sign", second.release_id, "--name", "Camille Martin", "--role", "statisticienne")
    assert (code, second.stage(NOON)) == (3, "candidate")
    following = inputs("third", follows=first.release_id)
    assert [one.release_id for one in releasing.published_before(home, following)] == [first.release_id]
    third = Release("third", home.releases / "third", {"inputs": following.to_json()})
    assert releasing.signed_since(home, third) == ()
    later = inputs("fourth", last="2026-10", follows=first.release_id)
    assert releasing.published_before(home, later) == ()  # no month in common


# -- commands ----------------------------------------------------------------------------------------------------------


def answer(lake: Lake, *arguments: str) -> tuple[int, Any]:
    result = CliRunner().invoke(app, ["release", *arguments, "--home", str(lake.home), "--json"])
    text = result.stdout
    return result.exit_code, json.loads(text) if text.strip() else None


def test_only_a_published_value_is_explained(home: Lake, registry: Registry) -> None:
    found = candidate(home)
    with pytest.raises(explaining.NotPublished, match=r"ne publie pas siae_salaries pour FR-DEP-08 en 2026-10 : rien"):
        explaining.explain(found, registry, "siae_salaries", "FR-DEP-08", "2026-10")
    with pytest.raises(explaining.NotPublished, match=r"en 2019-12 : l'indicateur commence en 2020-01"):
        explaining.explain(found, registry, "siae_salaries", "FR-DEP-08", "2019-12")
    with pytest.raises(explaining.NotPublished, match=r"le catalogue n'a pas cet indicateur"):
        explaining.explain(found, registry, "horoscopes", "FR", "2026-10")


def test_the_commands_sign_export_and_refuse_as_they_say(home: Lake, tmp_path: Path) -> None:
    name = candidate(home).release_id
    assert answer(home, "export", name, "--to", str(tmp_path / "out"))[0] == 3
    assert answer(home, "publish", name, "--to", "postgresql://x@127.0.0.1:1/y")[0] == 3
    assert answer(home, "sign", name)[0] == 4
    who = ["--name", "Camille Martin", "--role", "statisticienne"]
    assert answer(home, "sign", name, *who, "--public-at", "bientôt")[0] == 4
    code, told = answer(home, "sign", name, *who, "--public-at", "2099-01-01T09:00", "--reader", "Préfecture")
    assert (code, told[0]["stage"] if isinstance(told, list) else told["stage"]) == (0, "signed")
    assert answer(home, "export", name, "--to", str(tmp_path / "out"))[0] == 3
    assert answer(home, "export", name, "--to", str(tmp_path / "out"), "--reader", "Préfecture")[0] == 0
    assert answer(home, "sign", name, *who)[1]["stage"] == "public"
    assert answer(home, "export", name, "--to", str(tmp_path / "out"))[0] == 4  # never replaced
    assert answer(home, "export", name, "--to", str(tmp_path / "out.zip"))[0] == 0
    with zipfile.ZipFile(tmp_path / "out.zip") as archive:
        assert f"{name}/MANIFEST.json" in archive.namelist()
    copied = releasing.opened(tmp_path / "out" / name)
    assert copied is not None
    assert verifying.verify(home, copied).state == "intact"
    assert answer(home, "publish", name, "--to", "postgresql://x:secret@127.0.0.1/y")[0] == 4
    assert answer(home, "publish", name, "--to", "postgresql://x@127.0.0.1:1/y")[0] == 4
    assert answer(home, "confirm", name, "--name", "x", "--note", "y")[0] == 4


def test_two_countries_meet_in_signed_releases_only(home: Lake, tmp_path: Path) -> None:
    registry = small_registry()
    walloon = Lake.open(tmp_path / "walloon", clock=Clock())
    rows = [value("known", "BE", "country", 60), value("known", "BE-REG-03000", "region", 60)]
    other = release(walloon, registry, inputs("be"), protect(values_of(rows), registry))
    french = candidate(home)
    with pytest.raises(releasing.CannotCombine, match="pas signée"):
        releasing.combine(home, registry, [french, other])
    signed(home, french)
    signed(walloon, other)
    combined = releasing.combine(home, registry, [french, other])
    values = combined.table("indicator_values")
    assert set(values["country"].to_pylist()) == {"FR", "BE"}
    assert set(values["release_id"].to_pylist()) == {french.release_id, other.release_id}
    assert len(values) == len(french.table("indicator_values")) + 2
    assert verifying.verify(home, combined).state == "intact"
    assert answer(home, "combine", french.release_id, str(other.folder))[0] == 3  # a key that nobody vouched for
    own = signing.public_key(walloon.keyring)
    assert answer(home, "combine", french.release_id, str(other.folder), "--key", str(own))[0] == 0
    with pytest.raises(releasing.CannotCombine, match="même pays"):
        releasing.combine(home, registry, [french, french])


# -- PostgreSQL --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    """A real PostgreSQL. Started by root it runs as a user of its own, who may not enter pytest's folders."""
    import pgserver

    with tempfile.TemporaryDirectory(prefix="postgres-") as folder:
        Path(folder).chmod(0o755)
        server = pgserver.get_server(Path(folder) / "data")
        yield server.get_uri()
        server.cleanup()


def test_a_release_replaces_the_one_before_in_postgresql_at_once(made: Lake, database: str) -> None:
    found = candidate(made)
    rows = postgres.publish(found, database)
    assert rows == {table.name: found.manifest["tables"][table.name]["rows"] for table in TABLES}
    with psycopg.connect(database) as reader:
        for declared in TABLES:
            names = ", ".join(f'"{column.name}"' for column in declared.columns)
            told = reader.execute(f'SELECT {names} FROM insertion."{declared.name}"').fetchall()
            expected = [tuple(row.values()) for row in found.table(declared.name).to_pylist()]
            assert sorted(told, key=str) == sorted(expected, key=str)
        uncommented = reader.execute(
            "SELECT relname, attname FROM pg_attribute JOIN pg_class c ON c.oid = attrelid"
            " WHERE relnamespace = 'insertion'::regnamespace AND relkind = 'r' AND attnum > 0"
            " AND col_description(c.oid, attnum) IS NULL"
        ).fetchall()
        assert uncommented == []
    with psycopg.connect(database) as reader:
        reader.execute("SET ROLE insertion_reader")
        assert reader.execute("SELECT count(*) FROM insertion.indicator_values").fetchone() == (
            rows["indicator_values"],
        )
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM insertion.indicator_values")
    postgres.publish(found, database)
    with psycopg.connect(database) as reader:
        names = {name for (name,) in reader.execute("SELECT nspname FROM pg_namespace").fetchall()}
    assert {"insertion", "insertion_previous"} <= names
    assert "insertion_coming" not in names


def test_a_publication_that_breaks_leaves_the_release_before(
    made: Lake, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    postgres.publish(candidate(made), database)

    def broken(*_: object) -> None:
        raise RuntimeError("power cut")

    monkeypatch.setattr(postgres, "_let_read", broken)
    with pytest.raises(RuntimeError):
        postgres.publish(candidate(made), database)
    with psycopg.connect(database) as reader:
        assert reader.execute("SELECT count(*) FROM insertion.indicators").fetchone() == (3,)
        assert reader.execute("SELECT count(*) FROM pg_namespace WHERE nspname = 'insertion_coming'").fetchone() == (0,)


def test_what_linkage_was_measured_at_is_part_of_a_releases_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = Path(releasing.__file__).parents[1]
    measured = tmp_path / MEASURED_PATH.relative_to(package)  # error lines depend on it
    measured.parent.mkdir(parents=True)
    measured.write_bytes(MEASURED_PATH.read_bytes())
    monkeypatch.setattr(program, "_PACKAGE", tmp_path)
    before = program.code_version.__wrapped__()
    measured.write_bytes(MEASURED_PATH.read_bytes() + b" ")
    assert program.code_version.__wrapped__() != before
