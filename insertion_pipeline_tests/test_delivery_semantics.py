"""What a delivery replaces: months, snapshots, deltas; late, corrected, contradictory, empty; contracts that change."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from insertion_pipeline.ingestion import deliveries, landing
from insertion_pipeline.ingestion.judging import judge
from insertion_pipeline.ingestion.landing import deliver
from insertion_pipeline.ingestion.receipts import Receipt
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.test_judging import listing
from insertion_pipeline_tests.test_landing import rows, view
from insertion_pipeline_tests.test_sources import batch, delivering, employee_record

JULY, AUGUST, SEPTEMBER, OCTOBER = Month(2026, 7), Month(2026, 8), Month(2026, 9), Month(2026, 10)


def named(lake: Lake, registry: Registry, month: Month) -> list[object]:
    return [row["last_name"] for row in rows(lake, registry, month)]


# -- months ------------------------------------------------------------------------------------------------------------


class TestMonths:
    def send(self, path: Path, registry: Registry, lake: Lake, month: Month, count: int, first: int = 0) -> Receipt:
        text = listing(path, rows=count).read_text(encoding="utf-8").replace("NOM", f"N{first}-")
        path.write_text(text, encoding="utf-8")
        return deliver(path, "dep-52", "department_list", month, registry, lake).receipt

    def test_a_late_month_stands_beside_the_later_one(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        self.send(tmp_path / "october", registry, lake, OCTOBER, 4, 10)
        late = self.send(tmp_path / "september", registry, lake, SEPTEMBER, 3, 9)
        assert (late.status, late.replaces) == ("applied", None)
        assert named(lake, registry, SEPTEMBER) == ["N9-0", "N9-1", "N9-2"]
        assert len(named(lake, registry, OCTOBER)) == 4

    def test_a_correction_of_an_old_month_changes_that_month_alone(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        for number, month in enumerate((AUGUST, SEPTEMBER, OCTOBER)):
            self.send(tmp_path / str(month), registry, lake, month, 3, number)
        before = {month: named(lake, registry, month) for month in (SEPTEMBER, OCTOBER)}
        corrected = self.send(tmp_path / "again", registry, lake, AUGUST, 2, 8)
        assert corrected.replaces == 1
        assert named(lake, registry, AUGUST) == ["N8-0", "N8-1"]
        assert {month: named(lake, registry, month) for month in (SEPTEMBER, OCTOBER)} == before

    def test_the_order_is_that_of_receipts_whatever_the_clock(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        first = self.send(tmp_path / "a", registry, lake, SEPTEMBER, 3, 1)
        second = self.send(tmp_path / "b", registry, lake, SEPTEMBER, 3, 2)
        backwards = dataclasses.replace(second, received_at="1999-01-01T00:00:00+00:00")
        counting = deliveries.effective([backwards, first], registry.source("department_list"), SEPTEMBER)
        assert [one.sequence for one in counting] == [2]

    def test_the_months_after_a_declared_closure_are_not_thin(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        self.send(tmp_path / "june", registry, lake, JULY, 100)
        closed = landing.declare_nothing("dep-52", "department_list", AUGUST, registry, lake)
        assert (closed.status, closed.verdict) == ("nothing", 0)
        assert named(lake, registry, AUGUST) == []
        assert self.send(tmp_path / "reopened", registry, lake, SEPTEMBER, 12).status == "applied"

    def test_a_month_that_the_content_contradicts_is_refused_and_changes_nothing(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        names = [field.name for field in registry.source("ale_activity").table("prestations", SEPTEMBER).fields]
        row = {"mois": "2026-09", "ale_code": "NAM", "nom": "MODELE", "prenom": "Camille", "heures": "4"}
        row["date_naissance"] = "01/02/1980"
        path = tmp_path / "x.csv"
        path.write_text(f"{';'.join(names)}\n{';'.join(row.get(name, '') for name in names)}\n")
        refused = deliver(path, "ale-namur", "ale_activity", OCTOBER, registry, lake).receipt
        assert (refused.status, "period-mismatch" in refused.findings) == ("refused", True)
        assert rows(lake, registry, OCTOBER, source="ale_activity", table="prestations") == []
        accepted = deliver(path, "ale-namur", "ale_activity", None, registry, lake).receipt
        assert (accepted.status, accepted.month) == ("applied", SEPTEMBER), "the content says the month"


# -- snapshots ---------------------------------------------------------------------------------------------------------


def state(month: Month, hours: int, person: int = 1) -> dict[str, object]:
    return {
        "emi_pph_id": person, "emi_ctr_id": person, "emi_afi_id": 4080, "emi_sme_version": 1,
        "emi_sme_annee": month.year, "emi_sme_mois": month.month, "emi_esm_etat_code": "VALIDE",
        "emi_nb_heures_travail": hours,
    }  # fmt: skip


class TestSnapshots:
    def send(self, folder: Path, registry: Registry, lake: Lake, month: Month, *states: dict[str, object]) -> Receipt:
        folder.mkdir(exist_ok=True)
        names = [field.name for field in registry.source("fluxiae").table("etat_mensuel_indiv", month).fields]
        lines = ["|".join(str(one.get(name, "")) for name in names) for one in states]
        path = view(folder, "EtatMensuelIndiv", "|".join(names), *lines)
        return deliver(path, "asp", "fluxiae", month, registry, lake).receipt

    def hours(self, lake: Lake, registry: Registry, *months: Month) -> list[tuple[object, object]]:
        found = rows(lake, registry, *months, source="fluxiae", table="etat_mensuel_indiv")
        return [(row["_month"], row["emi_nb_heures_travail"]) for row in found]

    def test_the_newest_restates_every_month_that_it_covers(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        self.send(tmp_path / "s", registry, lake, SEPTEMBER, state(AUGUST, 100), state(SEPTEMBER, 110))
        receipt = self.send(
            tmp_path / "o", registry, lake, OCTOBER, state(AUGUST, 101), state(SEPTEMBER, 111), state(OCTOBER, 120)
        )
        assert receipt.span == Span(AUGUST, OCTOBER)
        assert self.hours(lake, registry, AUGUST, SEPTEMBER, OCTOBER) == [
            ("2026-08", 101), ("2026-09", 111), ("2026-10", 120),
        ]  # fmt: skip

    def test_months_that_the_newest_no_longer_covers_keep_what_they_had(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        self.send(tmp_path / "s", registry, lake, SEPTEMBER, state(AUGUST, 100), state(SEPTEMBER, 110))
        held = self.send(tmp_path / "o", registry, lake, OCTOBER, state(SEPTEMBER, 111), state(OCTOBER, 120))
        assert (held.status, held.held_for) == ("held", ("drops-old-months",)), "an old month is gone: asked first"
        assert self.hours(lake, registry, AUGUST, SEPTEMBER) == [("2026-08", 100), ("2026-09", 110)]
        landing.confirm(held.sha256, "asp", registry, lake)
        assert self.hours(lake, registry, AUGUST, SEPTEMBER, OCTOBER) == [
            ("2026-08", 100), ("2026-09", 111), ("2026-10", 120),
        ]  # fmt: skip

    def test_an_older_snapshot_that_comes_late_waits_for_a_confirmation(
        self, tmp_path: Path, registry: Registry, lake: Lake
    ) -> None:
        self.send(tmp_path / "o", registry, lake, OCTOBER, state(SEPTEMBER, 111), state(OCTOBER, 120))
        late = self.send(tmp_path / "s", registry, lake, SEPTEMBER, state(AUGUST, 100), state(SEPTEMBER, 110))
        assert (late.status, late.held_for) == ("held", ("older-snapshot",))
        assert self.hours(lake, registry, AUGUST, SEPTEMBER, OCTOBER) == [("2026-09", 111), ("2026-10", 120)]
        landing.confirm(late.sha256, "asp", registry, lake)
        assert self.hours(lake, registry, AUGUST, SEPTEMBER, OCTOBER) == [
            ("2026-08", 100), ("2026-09", 110), ("2026-10", 120),
        ]  # fmt: skip
        alone = self.send(tmp_path / "a", registry, lake, AUGUST.plus(-1), state(AUGUST.plus(-1), 90))
        assert alone.status == "applied", "it says nothing of a month that a newer one speaks of"

    def test_rows_of_months_to_come_are_rejected_alone(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        receipt = self.send(
            tmp_path / "s", registry, lake, SEPTEMBER,
            *(state(SEPTEMBER, 100 + person, person) for person in range(8)), state(OCTOBER.plus(2), 90),
        )  # fmt: skip
        assert (receipt.status, dict(receipt.rows)) == ("applied", {"etat_mensuel_indiv": 8})
        assert receipt.findings["period-mismatch"] == 1


# -- deltas ------------------------------------------------------------------------------------------------------------


class TestDeltas:
    def send(self, path: Path, registry: Registry, lake: Lake, *records: Mapping[str, Any]) -> landing.Answer:
        return deliver(batch(path, *records), "essai", "fiche_salarie", SEPTEMBER, registry, lake)

    def records(self, lake: Lake, registry: Registry) -> list[object]:
        return [row["id_itou"] for row in rows(lake, registry, SEPTEMBER, source="fiche_salarie", table="lignes")]

    def test_batches_of_a_month_add_up(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        known = delivering(registry, "fiche_salarie")
        one, other = ({"idItou": letter * 30} for letter in "ab")
        self.send(tmp_path / "a.json", known, lake, employee_record(personnePhysique=one))
        added = self.send(tmp_path / "b.json", known, lake, employee_record(personnePhysique=other)).receipt
        assert added.status == "applied"
        assert self.records(lake, known) == ["a" * 30, "b" * 30]

    def test_the_same_batch_twice_counts_once(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        known = delivering(registry, "fiche_salarie")
        first = self.send(tmp_path / "a.json", known, lake, employee_record())
        again = self.send(tmp_path / "b.json", known, lake, employee_record())
        assert again.is_repeated
        assert again.receipt == first.receipt
        assert len(self.records(lake, known)) == 1

    def test_a_small_batch_after_a_large_one_is_not_thin(self, tmp_path: Path, registry: Registry, lake: Lake) -> None:
        known = delivering(registry, "fiche_salarie")
        many = [employee_record(numLigne=rank, personnePhysique={"idItou": f"{rank:030x}"}) for rank in range(1, 41)]
        deliver(batch(tmp_path / "a.json", *many), "essai", "fiche_salarie", AUGUST, known, lake)
        assert self.send(tmp_path / "b.json", known, lake, employee_record()).receipt.status == "applied"


# -- contracts that change ---------------------------------------------------------------------------------------------


@pytest.fixture
def changed(registry: Registry) -> Registry:
    """The FOREm's contract as it would be if a class were renamed and a column added from October on."""
    source = registry.source("forem_jobseekers")
    (version,) = source.versions
    (table,) = version.resources
    fields = []
    for field in table.fields:
        if field.name == "categorie":
            codes = field.constraints.model_copy(update={"enum": ("DEDA", "JEUNES", "OBL", "LIB")})
            extension = field.insertion.model_copy(update={"code_list": None})
            field = field.model_copy(update={"constraints": codes, "insertion": extension})
        fields.append(field)
    extra = table.field("code_referent")
    added = extra.insertion.model_copy(update={"header_optional": True, "aliases": ()})
    fields.append(extra.model_copy(update={"name": "equipe", "title": "Équipe", "insertion": added}))
    schema = table.schema_.model_copy(update={"fields": tuple(fields)})
    later = version.model_copy(
        update={"valid_from": OCTOBER, "resources": (table.model_copy(update={"schema_": schema}),)}
    )
    sources = {**registry.sources, source.name: source.model_copy(update={"versions": (version, later)})}
    return dataclasses.replace(registry, sources=sources)


def jobseekers(path: Path, month: Month, category: str, team: str | None = None) -> Path:
    header = "mois;niss;numero_forem;nom;prenom;date_naissance;sexe;commune_ins;categorie;date_inscription"
    row = f"{month};;F00000001;MODELE;Camille;01/02/1980;F;92094;{category};05/01/2026"
    if team is not None:
        header, row = f"{header};equipe", f"{row};{team}"
    path.write_text(f"{header}\n{row}\n", encoding="utf-8")
    return path


class TestContractsThatChange:
    def codes(self, path: Path, month: Month, registry: Registry, lake: Lake) -> list[str]:
        judgement = judge(path, "forem", "forem_jobseekers", month, registry, lake)
        return [row["code"] for row in judgement.findings.to_pylist() if row["field"] == "categorie"]

    def test_each_month_is_judged_by_the_version_of_its_time(
        self, tmp_path: Path, changed: Registry, lake: Lake
    ) -> None:
        for month, category, expected in (
            (SEPTEMBER, "SIP", []), (SEPTEMBER, "JEUNES", ["code-error"]),
            (OCTOBER, "SIP", ["code-error"]), (OCTOBER, "JEUNES", []),
        ):  # fmt: skip
            path = jobseekers(tmp_path / f"{month}-{category}.csv", month, category)
            assert self.codes(path, month, changed, lake) == expected, (month, category)

    def test_a_late_delivery_of_an_old_month_keeps_the_old_contract(
        self, tmp_path: Path, changed: Registry, lake: Lake
    ) -> None:
        for month, category, team in ((OCTOBER, "JEUNES", "B"), (SEPTEMBER, "SIP", None)):
            path = jobseekers(tmp_path / f"{month}.csv", month, category, team)
            assert deliver(path, "forem", "forem_jobseekers", month, changed, lake).receipt.status == "applied"
        found = rows(lake, changed, SEPTEMBER, OCTOBER, source="forem_jobseekers", table="demandeurs")
        assert [(row["_month"], row["categorie"], row["equipe"]) for row in found] == [
            ("2026-09", "SIP", None), ("2026-10", "JEUNES", "B"),
        ]  # fmt: skip

    def test_a_column_of_a_later_version_is_unknown_before(self, tmp_path: Path, changed: Registry, lake: Lake) -> None:
        path = jobseekers(tmp_path / "x.csv", SEPTEMBER, "SIP", "B")
        judgement = judge(path, "forem", "forem_jobseekers", SEPTEMBER, changed, lake)
        assert "extra-header" in judgement.findings["code"].to_pylist()
        assert judgement.conformed is not None
        assert "equipe" not in judgement.conformed.accepted["demandeurs"].schema.names
