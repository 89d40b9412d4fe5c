"""The simulated network: real envelopes, known truth, the same bytes for the same seed."""

from __future__ import annotations

import csv
import functools
import gzip
import hashlib
import io
import json
import re
import zipfile
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
from lxml import etree
from python_calamine import CalamineWorkbook
from stdnum.be import bis, nn
from stdnum.fr import nir

from insertion_pipeline.ingestion.judging import judge
from insertion_pipeline.lake import Lake
from insertion_pipeline.month import Month, Span
from insertion_pipeline.registry import FAMILIES, Registry, load_registry
from insertion_pipeline.simulation.canonical import PERSON_RECORD_COLUMNS, person_records
from insertion_pipeline.simulation.country import LOCAL_AGENCIES, write_country
from insertion_pipeline.simulation.delivering import Deposit
from insertion_pipeline.simulation.names import MIXES
from insertion_pipeline.simulation.observing import RATES, observe
from insertion_pipeline.simulation.outcomes import dsn_outcomes
from insertion_pipeline.simulation.places import gazetteer
from insertion_pipeline.simulation.population import CHILD, Population, populate
from insertion_pipeline.simulation.randomness import Draws
from insertion_pipeline.simulation.simulating import SAMPLE_SPAN, SimulationReport, simulate, write_samples
from insertion_pipeline.simulation.situations import Shares, Structure, unfold

BOM = b"\xef\xbb\xbf"


@functools.cache
def people(persons: int = 20_000, seed: int = 5, names: str = "default") -> Population:
    return populate(persons, Draws(seed), gazetteer(), names=names, reference=date(2026, 9, 30))


@pytest.fixture(scope="module")
def world(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> SimulationReport:
    """A small network, simulated once for the tests of this file."""
    return simulate(1500, SAMPLE_SPAN, 11, tmp_path_factory.mktemp("world"), registry)


def deliveries(folder: Path) -> list[dict[str, str]]:
    with (folder / "deliveries.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def one(world: SimulationReport, source: str, partner: str, month: str = "2026-09") -> Path:
    (row,) = (
        row
        for row in deliveries(world.folder)
        if (row["source"], row["partner"], row["month"]) == (source, partner, month)
    )
    return world.folder / row["path"]


def truth(world: SimulationReport, source: str, partner: str, month: str = "2026-09") -> list[dict[str, object]]:
    table = pq.read_table(world.folder / "truth.parquet")
    chosen = (pc.field("source") == source) & (pc.field("partner") == partner) & (pc.field("month") == month)
    return table.filter(chosen).to_pylist()


def digests(folder: Path) -> dict[str, str]:
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def view(bundle: Path, name: str) -> tuple[str, list[str]]:
    """The name of a member and its lines, whatever its packing."""
    with zipfile.ZipFile(bundle) as outer:
        (member,) = (entry for entry in outer.namelist() if entry.startswith(f"fluxIAE_{name}_"))
        content = outer.read(member)
    if content.startswith(b"PK"):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            content = inner.read(inner.namelist()[0])
    elif content.startswith(b"\x1f\x8b"):
        content = gzip.decompress(content)
    return member, content.decode("utf-8").removesuffix("\n").split("\n")


def rows_of(bundle: Path, name: str) -> list[dict[str, str]]:
    _, lines = view(bundle, name)
    lines = [line for line in lines if not re.match(r"(DEB[A-Z]|FIN[0-9])", line)]
    header = lines[0].split("|")
    return [dict(zip(header, line.split("|"), strict=True)) for line in lines[1:]]


# -- determinism -------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_other_ones(registry: Registry, tmp_path: Path) -> None:
    span = Span.single(Month(2026, 9))
    for name, seed in (("first", 3), ("again", 3), ("other", 4)):
        simulate(250, span, seed, tmp_path / name, registry)
    assert digests(tmp_path / "first") == digests(tmp_path / "again")
    assert digests(tmp_path / "first") != digests(tmp_path / "other")


def test_the_committed_samples_are_what_the_program_writes(registry: Registry, tmp_path: Path) -> None:
    write_samples(registry, tmp_path)
    for family in FAMILIES:
        assert digests(tmp_path / family / "samples") == digests(registry.folder / family / "samples"), (
            f"the samples of {family} are stale: write_samples(registry) writes them again"
        )


def test_a_person_does_not_depend_on_how_many_others_are_drawn() -> None:
    few, many = people(2_000), people(20_000)
    whole = few.household < few.household[-1]  # the last household may be cut
    assert few.person_ids(few.rows[whole]) == many.person_ids(many.rows[: whole.sum()])
    assert (few.birth_day[whole] == many.birth_day[: whole.sum()]).all()
    assert few.birth_name.filter(pa.array(whole)) == many.birth_name.slice(0, int(whole.sum()))


# -- the population ----------------------------------------------------------------------------------------------


def test_every_number_is_valid_and_nobody_shares_it() -> None:
    population = people()
    french = population.nir[~population.is_belgian]
    belgian = population.niss[population.is_belgian]
    numbers = [bytes(row).decode() for row in french]
    assert all(nir.is_valid(number) for number in numbers)
    assert len(set(numbers)) == len(numbers)
    assert all(
        nn.is_valid(number) or bis.is_valid(number) for number in (bytes(row).decode() for row in belgian[:3000])
    )
    assert len({bytes(row) for row in belgian}) == len(belgian)


def test_corsican_births_keep_their_letter() -> None:
    population = people()
    code = population.birth_place_code.to_pylist()
    corsican = [
        row for row, one_code in enumerate(code) if one_code.startswith("2A") and not population.is_belgian[row]
    ]
    assert corsican
    for row in corsican:
        number = bytes(population.nir[row]).decode()
        assert number[5:10] == code[row]
        assert nir.is_valid(number)


def test_households_hold_twins_namesakes_and_spouses_who_share_contacts() -> None:
    population = people()
    first = np.flatnonzero((population.household[:-1] == population.household[1:]) & population.is_adult[:-1])
    second = first + 1
    both_adults = population.is_adult[second]
    first, second = first[both_adults], second[both_adults]
    birth_name = np.array(population.birth_name.to_pylist())
    same_name = birth_name[first] == birth_name[second]
    same_day = population.birth_day[first] == population.birth_day[second]
    assert (same_name & same_day).sum() > 50  # twins
    same_given = population.given[0][first] == population.given[0][second]
    generation = population.birth_day[second] - population.birth_day[first] > 18 * 365
    assert (same_name & same_given & generation & (population.sex[first] == 1)).sum() > 50  # father and son
    spouses = population.spouse[first] == second
    email = population.email.to_pylist()
    shared = [left for left, right in zip(first[spouses], second[spouses], strict=True) if email[left] == email[right]]
    assert 0.03 < len([row for row in shared if email[row]]) / spouses.sum() < 0.2


def test_about_one_adult_in_seven_was_born_abroad() -> None:
    population = people()
    assert 0.11 < population.is_foreign_born[population.is_adult].mean() < 0.19


def test_the_other_mix_of_names_shares_few_of_them() -> None:
    default, alternative = (set(people(names=mix).birth_name.to_pylist()) for mix in ("default", "alternative"))
    french = {name for name in default if name in set(MIXES["default"].mixes["fr"].origins[0].surnames)}
    assert len(french & alternative) / len(french) < 0.05


# -- mistakes ----------------------------------------------------------------------------------------------------


def test_error_rates_are_at_least_those_of_the_reference() -> None:
    population = people()
    adults = np.flatnonzero(population.is_adult & ~population.is_belgian)
    clean = {name: observe(population, adults, name, factor=0.0) for name in ("department", "siae")}
    seen = {name: observe(population, adults, name) for name in ("department", "siae", "employment_service")}
    assert abs(seen["department"].nir.null_count / len(adults) - 0.12) < 0.01
    assert abs(seen["siae"].nir.null_count / len(adults) - 0.15) < 0.01
    assert abs(seen["employment_service"].nir.null_count / len(adults) - 0.08) < 0.01
    assert clean["siae"].nir.null_count == 0
    assert clean["siae"].nir.to_pylist() == [bytes(row).decode() for row in population.nir[adults]]
    lengths = pc.utf8_length(seen["department"].nir.drop_null()).to_numpy()
    assert abs((lengths == 13).mean() - 0.20) < 0.02
    women = population.sex[adults] == 2
    differs = np.asarray(pc.not_equal(seen["siae"].birth_name, clean["siae"].birth_name))
    assert differs[women].mean() > 0.08
    assert differs[~women].mean() > 0.012
    wrong_day = seen["siae"].birth_day != clean["siae"].birth_day
    assert 0.015 < wrong_day.mean() < 0.023
    assert (seen["siae"].sex != population.sex[adults]).mean() > 0.002
    moved = seen["siae"].home.town != population.home.town[adults]
    assert 0.03 < moved.mean() < 0.08


def test_provisional_and_mistyped_numbers_do_not_pass_for_the_true_one() -> None:
    population = people()
    adults = np.flatnonzero(population.is_adult & ~population.is_belgian)
    seen = observe(population, adults, "siae")
    true = [bytes(row).decode() for row in population.nir[adults]]
    numbers = seen.nir.to_pylist()
    wrong = [number for number, own in zip(numbers, true, strict=True) if number is not None and number != own]
    provisional = [number for number in wrong if number[0] in "78"]
    foreign = population.is_foreign_born[adults].sum()
    assert 0.06 < len(provisional) / foreign < 0.12
    mistyped = [number for number in wrong if number[0] not in "78" and not nir.is_valid(number)]
    assert 0.005 < len(mistyped) / len(adults) < 0.012
    of_relatives = [number for number in wrong if number in set(true)]
    assert 0.0003 < len(of_relatives) / len(adults) < 0.004


@pytest.mark.parametrize("factor", [0.5, 1.7, 3.0])
def test_the_factor_scales_every_rate(factor: float) -> None:
    population = people()
    adults = np.flatnonzero(population.is_adult & ~population.is_belgian)
    missing = observe(population, adults, "department", factor=factor).nir.null_count / len(adults)
    assert abs(missing - 0.12 * factor) < 0.015
    assert RATES["ale"].times(3.0).number_missing == 0.95


# -- canonical records -------------------------------------------------------------------------------------------


def test_canonical_records_have_the_schema_and_one_truth_each() -> None:
    records, known = person_records(3000, seed=1)
    assert tuple(records.column_names) == PERSON_RECORD_COLUMNS
    assert records["record_id"].to_pylist() == known["record_id"].to_pylist()
    assert len(set(known["record_id"].to_pylist())) == len(records) > 3000
    assert set(records["partner_family"].to_pylist()) == set(FAMILIES)
    spaces = {}
    for person, space in zip(known["person_id"].to_pylist(), records["person_space"].to_pylist(), strict=True):
        assert spaces.setdefault(person, space) == space
    seen = Counter(known["person_id"].to_pylist())
    assert max(seen.values()) == 3
    assert sum(1 for times in seen.values() if times > 1) > 800
    assert person_records(3000, seed=1)[0].equals(records)


def test_canonical_dates_and_codes_are_well_formed() -> None:
    records, _ = person_records(2000, seed=2, error_factor=3.0, names="alternative")
    for value in records["birth_date"].drop_null().to_pylist():
        date.fromisoformat(value)
    assert set(records["sex"].to_pylist()) == {"1", "2"}
    french = records.filter(pc.field("person_space") == "fr")
    assert all(re.fullmatch(r"[0-9AB]{5}", code) for code in french["residence_code"].to_pylist())
    assert french["niss"].null_count == len(french)


# -- the network -------------------------------------------------------------------------------------------------


def test_every_source_of_every_partner_is_delivered_each_month(world: SimulationReport, registry: Registry) -> None:
    expected = [
        (str(month), partner.code, source)
        for month in SAMPLE_SPAN
        for partner in registry.partners.values()
        for source in partner.sources
    ]
    assert {source for _, _, source in expected} == set(registry.sources), "no contract without a file to show it"
    listed = [(row["month"], row["partner"], row["source"]) for row in deliveries(world.folder)]
    assert listed == expected
    assert world.deliveries == len(expected)
    assert all((world.folder / row["path"]).is_file() for row in deliveries(world.folder))


def test_the_truth_speaks_of_the_lines_of_the_files(world: SimulationReport) -> None:
    with one(world, "forem_jobseekers", "forem").open(encoding="utf-8-sig", newline="") as file:
        lines = dict(enumerate(csv.DictReader(file, delimiter=";"), start=2))
    known = truth(world, "forem_jobseekers", "forem")
    assert [row["line"] for row in known] == list(lines)
    assert [row["local_key"] for row in known] == [row["numero_forem"] for row in lines.values()]
    assert {row["person_space"] for row in known} == {"be"}


def test_the_same_people_are_seen_by_several_partners(world: SimulationReport) -> None:
    table = pq.read_table(world.folder / "truth.parquet")
    sources: dict[str, set[str]] = {}
    for person, source in zip(table["true_person_id"].to_pylist(), table["source"].to_pylist(), strict=True):
        sources.setdefault(person, set()).add(source)
    assert sum(1 for seen in sources.values() if {"fluxiae", "ft_spie", "cnaf_vrsb0801"} <= seen) > 20
    assert sum(1 for seen in sources.values() if {"ale_activity", "forem_jobseekers"} <= seen) > 20


def test_every_file_is_readable_and_none_is_refused(world: SimulationReport, registry: Registry, lake: Lake) -> None:
    chosen = (
        ("fluxiae", "asp"), ("siae_monthly", "siae-07"), ("siae_monthly", "siae-09"), ("department_list", "dep-08"),
        ("department_list", "dep-52"), ("department_list", "dep-54"), ("department_contacts", "dep-52"),
        ("cnaf_vrsb0801", "dep-08"), ("ft_spie", "france-travail"), ("forem_jobseekers", "forem"),
        ("ale_activity", "ale-dinant"), ("ale_activity", "ale-liege"),
    )  # fmt: skip
    for source, partner in chosen:
        judgement = judge(one(world, source, partner), partner, None, Month(2026, 9), registry, lake)
        assert judgement.source == source
        assert judgement.verdict <= 2, (source, partner)
        assert judgement.account.is_balanced
        codes = set(judgement.findings["code"].to_pylist())
        assert not codes & {"missing-header", "extra-header", "encoding-error", "control-total", "truncated-file"}
        expected = len(list(truth(world, source, partner)))
        tables = judgement.conformed.accepted if judgement.conformed else {}
        rejected = judgement.conformed.rejected if judgement.conformed else {}
        of_persons = max(tables, key=lambda name: name in ("salarie", "prestations"))
        assert tables[of_persons].num_rows + rejected[of_persons].num_rows == expected


def test_the_true_measures_are_those_of_the_files(world: SimulationReport) -> None:
    table = pq.read_table(world.folder / "truth_measures.parquet").to_pylist()
    measures = {(row["month"], row["measure"], row["unit"]): row["value"] for row in table}
    assert measures["2026-09", "jobseekers", "be"] == len(truth(world, "forem_jobseekers", "forem"))
    states = rows_of(one(world, "fluxiae", "asp", "2026-10"), "EtatMensuelIndiv")
    structures = {row["contrat_id_ctr"]: row["contrat_id_structure"] for row in rows_of(
        one(world, "fluxiae", "asp", "2026-10"), "ContratMission")}  # fmt: skip
    hours: Counter[str] = Counter()
    for row in states:
        if (row["emi_sme_annee"], row["emi_sme_mois"]) == ("2026", "9"):
            hours[structures[row["emi_ctr_id"]]] += int(row["emi_nb_heures_travail"])
    true = {
        unit: value
        for (month, measure, unit), value in measures.items()
        if (month, measure) == ("2026-09", "siae_hours")
    }
    assert sorted(true.values()) == sorted(hours[str(4001 + rank * 3)] for rank in range(10))
    known = {row["true_person_id"] for row in pq.read_table(world.folder / "truth.parquet").to_pylist()
             if row["month"] == "2026-10" and row["person_space"] == "fr"}  # fmt: skip
    assert measures["2026-10", "persons", "fr"] == len(known) > measures["2026-10", "persons_in_two_families", "fr"] > 0


# -- fluxIAE -----------------------------------------------------------------------------------------------------


def test_the_bundle_is_a_zip_whose_names_lie(world: SimulationReport) -> None:
    bundle = one(world, "fluxiae", "asp")
    assert re.fullmatch(r"fluxIAE_ITOU_[0-9]{8}_[0-9]{6}\.tar\.gz", bundle.name)
    assert zipfile.is_zipfile(bundle)
    with zipfile.ZipFile(bundle) as outer:
        first = {name.split("_")[1]: outer.read(name)[:2] for name in outer.namelist()}
        assert all(re.fullmatch(r"fluxIAE_[A-Za-z]+_[0-9]{8}_[0-9]{6}\.csv\.gz", name) for name in outer.namelist())
    assert first["Structure"] == b"PK"
    assert first["AnnexeFinanciere"] == b"\x1f\x8b"
    assert first["RefMotifSort"] == b"DE"


def test_first_and_last_lines_stand_or_not_as_the_asp_has_it(world: SimulationReport) -> None:
    bundle = one(world, "fluxiae", "asp")
    _, structure = view(bundle, "Structure")
    assert structure[0].startswith("DEBStructure")
    assert structure[0].count("|") == structure[1].count("|") == structure[-1].count("|") == 36
    assert structure[-1].startswith(f"FIN{len(structure) - 3}|")
    assert any('"' in line for line in structure)
    assert any(line.count('"') % 2 for line in structure)  # no quoting: a lone quote swallows nothing
    _, annexes = view(bundle, "AnnexeFinanciere")
    assert annexes[0].startswith("DEBAnnexeFinanciere")
    assert not any(line.startswith("FIN") for line in annexes)
    assert annexes[1].count("|") == 127
    _, categories = view(bundle, "RefCategorieSort")
    assert categories[0].startswith("rcs_id|")
    assert categories[-1].startswith("FIN5|")


def test_an_annex_stands_once_per_amendment_and_one_state_is_in_force(world: SimulationReport) -> None:
    annexes = rows_of(one(world, "fluxiae", "asp"), "AnnexeFinanciere")
    per_annex = Counter(row["af_id_annexe_financiere"] for row in annexes)
    assert max(per_annex.values()) > 1
    in_force = {
        (row["af_id_annexe_financiere"], row["af_id_avenant_modification"])
        for row in annexes
        if row["af_etat_annexe_financiere_code"] == "VALIDE"
    }
    assert len(in_force) == len(per_annex)
    shapes = {re.sub(r"[0-9]+$", "", row["af_numero_annexe_financiere"]) for row in annexes}
    assert shapes <= {"ACI", "EI", "AI", "ETTI"}
    for row in annexes:
        parts = [float(row[f"af_taux_prev_sorties_{part}"]) for part in ("durable", "trans", "positives")]
        assert float(row["af_taux_prev_sorties_dynamiques"]) == sum(parts)


def test_the_views_join_on_their_keys(world: SimulationReport) -> None:
    bundle = one(world, "fluxiae", "asp", "2026-10")
    states, contracts = rows_of(bundle, "EtatMensuelIndiv"), rows_of(bundle, "ContratMission")
    persons, reasons = rows_of(bundle, "Salarie"), rows_of(bundle, "RefMotifSort")
    annexes = {row["af_id_annexe_financiere"] for row in rows_of(bundle, "AnnexeFinanciere")}
    numbers = {row["contrat_id_ctr"] for row in contracts}
    assert len(numbers) == len(contracts)
    assert {row["emi_ctr_id"] for row in states} <= numbers
    assert {row["emi_afi_id"] for row in states} <= annexes
    assert {row["emi_pph_id"] for row in states} <= {row["salarie_id"] for row in persons}
    left = {row["emi_motif_sortie_id"] for row in states} - {""}
    assert left
    assert left <= {row["rms_id"] for row in reasons}
    codes = Counter(row["rms_code"] for row in reasons)
    assert set(codes.values()) == {4}  # every code once per measure: the id alone joins


def test_a_later_bundle_restates_earlier_months(world: SimulationReport) -> None:
    september, october = (
        {
            row["emi_dsm_id"]: (row["emi_nb_heures_travail"], row["emi_sme_version"])
            for row in rows_of(one(world, "fluxiae", "asp", month), "EtatMensuelIndiv")
            if (row["emi_sme_annee"], row["emi_sme_mois"]) == ("2026", "9")
        }
        for month in ("2026-09", "2026-10")
    )
    assert set(september) < set(october)  # some were entered late
    changed = {key for key, value in september.items() if october[key] != value}
    assert 0 < len(changed) < 0.15 * len(september)
    assert {october[key][1] for key in changed} == {"1"}


# -- departments -------------------------------------------------------------------------------------------------


def test_the_flow_of_the_cnaf_keeps_its_control_totals(world: SimulationReport) -> None:
    path = one(world, "cnaf_vrsb0801", "dep-52")
    assert path.read_bytes().startswith(b'<?xml version="1.0" encoding="windows-1252"?>')
    root = etree.parse(path).getroot()
    assert root.findtext("IdentificationFlux/DTREF") == "2026-09-30"
    assert root.findtext("IdentificationFlux/DTCREAFLUX") == "2026-10-05"
    households = root.findall("InfosFoyerRSA")
    assert root.findtext("TransmissionFlux/NBTOTDOSRSATRANSM") == str(len(households))
    assert {house.findtext("IdentificationRSA/Partenaire/TYPEPARTE") for house in households} == {"CG "}
    assert {house.findtext("IdentificationRSA/Partenaire/IDEPARTE") for house in households} == {"052"}
    matricules = [house.findtext("IdentificationRSA/Organisme/MATRICULE") for house in households]
    assert all(re.fullmatch(r"[0-9]{15}", matricule or "") for matricule in matricules)
    numbers = [person.findtext("Identification/NIR") for person in root.iter("Personne")]
    assert {len(number) for number in numbers if number} == {13}
    assert None in numbers
    assert len(numbers) == len(truth(world, "cnaf_vrsb0801", "dep-52"))


def test_the_flow_of_the_cnaf_follows_its_schema(registry: Registry, real_samples: Path) -> None:
    schema = etree.XMLSchema(etree.parse(real_samples / "cnaf_vrsb0801" / "vrsb0801.xsd"))
    flows = sorted((registry.folder / "department" / "samples").rglob("*.xml"))
    assert len(flows) == 8
    for flow in flows:
        assert schema.validate(etree.parse(flow)), str(schema.error_log.last_error)


def test_the_carnet_de_bord_template_has_its_shape(world: SimulationReport) -> None:
    content = one(world, "department_list", "dep-08").read_bytes()
    assert content.startswith(BOM)
    assert content.count(b"\r\n") == content.count(b"\n")
    rows = list(csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=";"))
    assert len(rows[0]) == 25
    assert rows[0][:4] == ["Identifiant dans le SI*", "Prénom*", "Nom*", "Date de naissance*"]
    assert all(len(row) == 25 for row in rows)
    assert b'"Lieu-dit ""Le Moulin"" ; b' in content


def test_the_uploaded_workbook_has_what_excel_does_to_lists(world: SimulationReport) -> None:
    sheet = CalamineWorkbook.from_path(str(one(world, "department_list", "dep-52"))).get_sheet_by_index(0)
    rows = sheet.to_python(skip_empty_area=False)
    header = rows[0]
    assert {"Date de\nNaissance", "N°\nTéléphones", "ID IODAS\t"} <= set(header)
    people_rows = rows[1 : 1 + len(truth(world, "department_list", "dep-52"))]
    serials = [row[header.index("Date de\nNaissance")] for row in people_rows]
    assert all(isinstance(value, float) and 14_000 < value < 45_000 for value in serials if value != "")
    numbers = [row[header.index("NIR")] for row in people_rows]
    assert any(isinstance(number, float) for number in numbers)
    assert [str(cell).strip() for row in rows[len(people_rows) + 1 :] for cell in row if str(cell).strip()] == []
    assert len(rows) > len(people_rows) + 1  # blank rows at the end


def test_the_users_export_has_no_nir(world: SimulationReport) -> None:
    content = one(world, "department_list", "dep-54").read_bytes()
    assert content.startswith(BOM)
    header = next(csv.reader(io.StringIO(content.decode("utf-8-sig")), delimiter=";"))
    assert header[:5] == ["Civilité", "Nom", "Prénom", "Numéro CAF", "ID interne au département"]
    assert "NIR" not in header
    assert "Rendez-vous d'orientation (RSA) honoré en - moins de 30 jours?" in header


# -- employment services, ALE, structures ------------------------------------------------------------------------


def test_the_extract_of_france_travail_has_its_shape(world: SimulationReport, real_samples: Path) -> None:
    content = one(world, "ft_spie", "france-travail").read_text(encoding="utf-8")
    (real,) = (real_samples / "france_travail").glob("*.csv")
    assert content.splitlines()[0] == real.read_text(encoding="utf-8").splitlines()[0]
    assert ";NULL;" in content
    assert ";;" not in content
    assert re.search(r";19[0-9]{2}-[0-9]{2}-[0-9]{2} 00:00:00\.0;", content)


def test_two_agencies_in_five_deposit_a_workbook_with_their_requests(world: SimulationReport) -> None:
    paths = {code: one(world, "ale_activity", code) for code in ("ale-charleroi", "ale-dinant", "ale-namur")}
    assert {code: path.suffix for code, path in paths.items()} == {
        "ale-charleroi": ".csv",
        "ale-dinant": ".xlsx",
        "ale-namur": ".xlsx",
    }
    workbook = CalamineWorkbook.from_path(str(paths["ale-dinant"]))
    assert workbook.sheet_names == ["Prestations", "Demandes"]
    header, *rows = workbook.get_sheet_by_name("Demandes").to_python()
    served, asked = (header.index(name) for name in ("heures_prestees", "heures_demandees"))
    assert all(float(row[served]) <= float(row[asked]) for row in rows)


def test_nobody_is_registered_before_coming_of_age(world: SimulationReport) -> None:
    with one(world, "forem_jobseekers", "forem").open(encoding="utf-8-sig", newline="") as file:
        for row in csv.DictReader(file, delimiter=";"):
            born, registered = row["date_naissance"], row["date_inscription"]
            if born and registered and not born.startswith("31/02"):
                assert int(registered[-4:]) - int(born[-4:]) >= 17  # a year mistyped apart


def test_a_reoriented_person_stands_twice_and_says_where_from(world: SimulationReport) -> None:
    with one(world, "department_pathways", "dep-52").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    second = [row for row in rows if row["Rang de l'orientation"] == "2"]
    assert second
    who = "Identifiant interne au département"
    for row in second:
        before = next(one for one in rows if one[who] == row[who] and not one["Date de réorientation"])
        assert row["Nature précédente"] == before["Nature de l'orientation"]
        assert row["Date de réorientation"] == before["Sortie du parcours"] == row["Date d'orientation"]


def test_the_orientation_export_of_webrsa_loses_the_spouse(world: SimulationReport) -> None:
    with one(world, "department_pathways", "dep-08").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert len({row["MATRICULE"] for row in rows}) == len(rows) > 20
    assert {row["CIBLE"] for row in rows} == {"O"}
    assert {row["ORGANISME_ORIENTATION_SIRET"] for row in rows} == {""}


def test_appointments_are_those_of_the_month(world: SimulationReport) -> None:
    with one(world, "department_appointments", "dep-54").open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert {row["Date du RDV"][3:] for row in rows} == {"09/2026"}
    assert {row["Motif du RDV"] for row in rows} == {"RSA orientation", "RSA accompagnement"}
    assert any(row["Heure du RDV"].startswith(" ") for row in rows), "hours are padded with a space"


def test_a_hire_has_an_application_before_it_and_a_record_after_it(world: SimulationReport) -> None:
    book = CalamineWorkbook.from_path(one(world, "emplois_applications", "les-emplois"))
    header, *rows = book.get_sheet_by_name("Candidatures").to_python()
    applications = [dict(zip(header, row, strict=True)) for row in rows]
    hired = {row["id_candidat"] for row in applications if str(row["date_début_contrat"] or "").endswith("/09/2026")}
    assert hired
    passes = {row[1] for row in book.get_sheet_by_name("PASS").to_python()[1:]}
    assert hired <= passes
    batch = json.loads(one(world, "fiche_salarie", "les-emplois").read_text(encoding="utf-8"))
    created = [line for line in batch["lignesTelechargement"] if line["typeMouvement"] == "C"]
    assert {line["personnePhysique"]["passDateDeb"][3:] for line in created} == {"09/2026"}
    updated = [line for line in batch["lignesTelechargement"] if line["typeMouvement"] == "M"]
    assert {line["adresse"]["adrLibelleVoie"] for line in updated} <= {"DE BLIDA"}


def test_registrations_come_as_four_files_that_send_the_number_twice(world: SimulationReport) -> None:
    with zipfile.ZipFile(one(world, "ft_registrations", "france-travail-52")) as archive:
        names = archive.namelist()
        stock = archive.read(next(name for name in names if "stock" in name)).decode().splitlines()
    assert [name.split("_")[1] for name in names] == ["inscriptions", "cessations", "radiations", "stock"]
    rows = list(csv.DictReader(stock, delimiter=";"))
    same = [row["nir"] == row["nir2"] for row in rows]
    assert sum(same) >= 0.97 * len(rows)
    assert {len(row["identifiantpe"]) for row in rows} == {11}


def test_actions_name_the_persons_of_the_extract(world: SimulationReport) -> None:
    extract = truth(world, "ft_spie", "france-travail")
    known = {row["local_key"]: row["true_person_id"] for row in extract}
    actions = truth(world, "ft_actions", "france-travail")
    assert len(actions) > 20
    assert all(known[row["local_key"]] == row["true_person_id"] for row in actions)


def test_the_diagnosis_counts_every_job_seeker_once(world: SimulationReport) -> None:
    with one(world, "ft_diagnosis", "france-travail").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    assert sum(int(row["defm"]) for row in rows) == len(truth(world, "ft_spie", "france-travail"))
    assert {row["mois_statistique"] for row in rows} == {"202609"}


def test_outcomes_stand_under_two_header_rows_and_tell_no_small_cohort(world: SimulationReport) -> None:
    sheet = CalamineWorkbook.from_path(one(world, "dsn_outcomes", "gip-mds")).get_sheet_by_name("Sorties")
    groups, header, *rows = sheet.to_python()
    assert [cell for cell in groups if cell] == ["Cohorte", "Personnes", "Médianes"]
    assert header[0] == "Sortie en IAE"
    assert len(sheet.merged_cell_ranges or ()) == 3
    assert min(int(row[5]) + int(row[6]) for row in rows) >= 5


# -- scale -------------------------------------------------------------------------------------------------------


def test_a_country_has_every_department_and_244_agencies(registry: Registry, tmp_path: Path) -> None:
    country = load_registry(write_country(registry, tmp_path / "data_sources", Month(2026, 9)))
    families = Counter(partner.family for partner in country.partners.values())
    assert families["ale"] == LOCAL_AGENCIES == 244
    assert families["department"] >= 100
    assert families["siae"] > 3500
    assert country.sources == registry.sources
    assert "department_contacts" in country.partner("dep-52").sources
    assert {source for partner in country.partners.values() for source in partner.sources} == set(registry.sources)
    sirets = [partner.siret for partner in country.partners.values() if partner.siret]
    assert len(set(sirets)) == len(sirets)


def test_outcomes_are_told_where_some_structures_stand_in_no_employment_zone(
    registry: Registry, tmp_path: Path
) -> None:
    country = load_registry(write_country(registry, tmp_path / "data_sources", Month(2026, 9)))
    everywhere = [Structure(one.code, one.name, one.siret or "", one.territory_code, 0)
                  for one in country.partners.values() if one.family == "siae" and one.siret]  # fmt: skip
    span = Span(Month(2026, 9), Month(2026, 9))
    situations = unfold(people(), span, everywhere, [], Shares())
    partner = country.partner("gip-mds")
    deposit = Deposit(country, partner, country.source("dsn_outcomes"), span.first, tmp_path, tmp_path, 1.0)
    sheet = CalamineWorkbook.from_path(dsn_outcomes(people(), situations, deposit).path).get_sheet_by_name("Sorties")
    told = {row[3] for row in sheet.to_python()[2:]} - {"ZE_NEUTRE"}
    places = gazetteer(registry)
    located = {code for code, zone in zip(places.departments, places.employment_zones, strict=True) if zone}
    assert {one.territory.rpartition("-")[2] for one in everywhere} - located == {"975", "977", "978"}
    assert told < set(places.employment_zones)
    assert len(told) > 90


def test_an_empty_population_is_refused(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one person"):
        simulate(0, SAMPLE_SPAN, 1, tmp_path, registry)
    with pytest.raises(KeyError):
        simulate(10, SAMPLE_SPAN, 1, tmp_path, registry, names="martian")


# -- the samples -------------------------------------------------------------------------------------------------


def test_the_samples_are_small_complete_and_listed_in_order(registry: Registry) -> None:
    total = 0
    partners: Counter[str] = Counter()
    for family in FAMILIES:
        folder = registry.folder / family / "samples"
        listed = deliveries(folder)
        assert [row["month"] for row in listed] == sorted(row["month"] for row in listed)
        files = {path for path in folder.rglob("*") if path.is_file() and path.name != "deliveries.csv"}
        assert files == {folder / row["path"] for row in listed}
        total += sum(path.stat().st_size for path in files)
        partners.update({family: len({row["partner"] for row in listed})})
    assert total <= 7_000_000
    assert partners["department"] == 4
    assert partners["ale"] == 5
    assert partners["employment_service"] == 4
    assert {row["source"] for family in FAMILIES for row in deliveries(registry.folder / family / "samples")} == set(
        registry.sources
    )


def test_children_stand_in_the_flow_of_the_cnaf_only(world: SimulationReport) -> None:
    root = etree.parse(one(world, "cnaf_vrsb0801", "dep-59")).getroot()
    roles = Counter(
        prestation.findtext("ROLEPERS")
        for prestation in root.iter("Prestations")
        if prestation.findtext("NATPREST") == "RSA"
    )
    assert roles["ENF"] > 10
    assert set(people().role) == {0, 1, CHILD}
