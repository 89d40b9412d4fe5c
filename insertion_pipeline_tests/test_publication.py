from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq
import pytest
from python_calamine import CalamineWorkbook

from insertion_pipeline.disclosure import SafeTable, protect
from insertion_pipeline.lake import PUBLISHED_STORAGE_VERSION, Lake, in_memory, reading_database, sha256_of
from insertion_pipeline.month import Month
from insertion_pipeline.publication import releasing, verifying, writing
from insertion_pipeline.publication.releasing import Inputs, Release, release
from insertion_pipeline.publication.tables import TABLES
from insertion_pipeline_tests.conftest import absent
from insertion_pipeline_tests.protected_values import population, small_registry

OLDER_DUCKDB = "1.1.3"
MONTHS = ("2026-09", "2026-10")
GRID = pa.table(
    {
        "month": ["2026-10"],
        "country": ["FR"],
        "unit": ["dep-08"],
        "family": ["department"],
        "source": ["department_list"],
        "partner": ["dep-08"],
        "territory_code": ["FR-DEP-08"],
        "is_received": [True],
        "payer": [""],
        "population_share": [1.0],
    }
)


def inputs(delivery: str = "department_list dep-08 2026-10 ab12", months: tuple[str, ...] = MONTHS) -> Inputs:
    return Inputs(tuple(Month.parse(month) for month in months), {"2026-10": [delivery]}, "a digest")


@pytest.fixture(scope="module")
def safe() -> SafeTable:
    return protect(population(500, months=MONTHS), small_registry())


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Lake:
    return Lake.open(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def published(home: Lake, safe: SafeTable) -> Release:
    return release(home, small_registry(), inputs(), safe, coverage=GRID)


@pytest.fixture
def copied(published: Release, home: Lake, tmp_path: Path) -> tuple[Lake, Release]:
    """The release in a home of its own with the same keys, to be tampered with."""
    import shutil

    shutil.copytree(home.home, tmp_path / "home")
    lake = Lake.open(tmp_path / "home")
    for path in (tmp_path / "home" / "releases").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    found = releasing.find(lake, published.release_id)
    assert found is not None
    return lake, found


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_a_release_holds_what_the_interface_promises(published: Release) -> None:
    names = {path.name for path in published.folder.iterdir()}
    assert names >= {
        "insertion.duckdb",
        "parquet",
        "csv",
        "indicateurs.xlsx",
        "datapackage.json",
        "report",
        "MANIFEST.json",
    }
    assert list(published.table("indicator_values").column_names) == [
        "month", "country", "territory_level", "territory_code", "axis", "indicator_code", "breakdown", "modality",
        "numerator", "denominator", "value", "unit", "counted_unit", "kind", "status", "coverage", "n_units_expected",
        "n_units_received", "n_partners_expected", "n_partners_received", "as_of", "maturity", "release_id",
    ]  # fmt: skip
    assert published.table("indicators").column_names[:14] == [
        "code", "label", "definition", "numerator", "denominator", "unit", "kind", "axis", "reference_period", "source",
        "exclusions", "reference", "purposes", "valid_from",
    ]  # fmt: skip
    assert published.months == MONTHS


def test_the_manifest_has_the_digest_of_every_file(published: Release) -> None:
    files = published.manifest["files"]
    there = {path.relative_to(published.folder).as_posix() for path in published.folder.rglob("*") if path.is_file()}
    assert set(files) == there - {"MANIFEST.json", "MANIFEST.sig"}
    assert all(sha256_of(published.folder / name) == digest for name, digest in files.items())
    assert published.manifest["inputs"]["deliveries"] == {"2026-10": ["department_list dep-08 2026-10 ab12"]}
    assert published.manifest["certificate"] == json.loads((published.folder / "certificate.json").read_bytes())


def test_every_format_holds_the_same_rows(published: Release) -> None:
    for declared in TABLES:
        parquet = published.table(declared.name)
        assert parquet.schema.equals(declared.schema)
        with in_memory() as connection, reading_database(connection, published.folder / "insertion.duckdb"):
            duck = connection.sql(f'FROM published."{declared.name}"').to_arrow_table()
        assert writing.digest_of(duck) == writing.digest_of(parquet)
        rows = list(csv.reader(io.StringIO(text_of(published, declared.name)), delimiter=";"))
        assert rows[0] == parquet.column_names
        assert len(rows) - 1 == len(parquet)


def text_of(published: Release, name: str) -> str:
    content = (published.folder / "csv" / f"{name}.csv").read_bytes()
    assert content.startswith(b"\xef\xbb\xbf")
    return content.decode("utf-8-sig")


def test_csv_numbers_have_a_decimal_point_and_text_is_never_a_formula(published: Release) -> None:
    assert re.search(r";(37|112|187|262)\.5;", text_of(published, "indicator_values"))
    assert ';"\'=Heures";' in text_of(published, "indicators")


def test_the_workbooks_together_hold_every_row_and_no_formula(published: Release) -> None:
    values = published.table("indicator_values").to_pylist()
    found: dict[tuple[object, ...], object] = {}
    books = [published.folder / "indicateurs.xlsx", *sorted((published.folder / "communes").glob("*.xlsx"))]
    assert len(books) == 3
    for book in books:
        sheets = CalamineWorkbook.from_path(str(book))
        assert sheets.sheet_names[:2] == ["Lisez-moi", "Réseau"]
        for row in sheets.get_sheet_by_name("Réseau").to_python()[1:]:
            found[row[0], row[2], row[4], row[6], row[7]] = (*row[8:11], row[13])
        with zipfile.ZipFile(book) as archive:
            assert not any(b"<f>" in archive.read(name) for name in archive.namelist() if "worksheets" in name)
            assert b"pane" in archive.read("xl/worksheets/sheet2.xml")
            assert b"autoFilter" in archive.read("xl/worksheets/sheet2.xml")
    assert len(found) == len(values)
    words = {"sex": "Sexe", "age": "Âge", "total": "Ensemble"}
    modalities = {"F": "Femmes", "M": "Hommes", "TOTAL": "Ensemble"}
    for row in values:
        key = (
            row["month"], row["territory_code"], row["indicator_code"], words[row["breakdown"]],
            modalities.get(row["modality"], row["modality"]),
        )  # fmt: skip
        shown = (row["numerator"], row["denominator"], row["value"], row["coverage"])
        assert found[key] == tuple("" if number is None else number for number in shown)


def test_the_workbook_explains_itself_and_describes_every_column(published: Release) -> None:
    book = CalamineWorkbook.from_path(str(published.folder / "indicateurs.xlsx"))
    assert book.sheet_names == [
        "Lisez-moi", "Réseau", "Évolutions", "Couverture", "Dictionnaire", "Ventilations", "Colonnes",
    ]  # fmt: skip
    cover = {row[0]: row[1] for row in book.get_sheet_by_name("Lisez-moi").to_python() if len(row) > 1}
    assert cover["Publication"] == published.release_id
    assert {"Secret statistique", "Statuts", "Couverture", "Peu significatif", "Données brutes"} <= set(cover)
    described = {(row[0], row[1]) for row in book.get_sheet_by_name("Colonnes").to_python()[1:] if row[3]}
    assert described == {(table.name, column.name) for table in TABLES for column in table.columns}


def test_the_data_package_declares_every_file_and_column(published: Release) -> None:
    package = json.loads((published.folder / "datapackage.json").read_bytes())
    resources = {resource["path"]: resource for resource in package["resources"]}
    files = {name for name in published.manifest["files"] if not name.startswith("report/")}
    about = {"datapackage.json", "certificate.json", "dcat.jsonld", "bom.cdx.json"}
    assert set(resources) == files - about | {"report/index.html"}
    assert all(resource["holds"] for resource in resources.values())
    assert package["licenses"][0]["name"] == "etalab-2.0"
    assert {source["license"] for source in package["sources"]} == {"etalab-2.0", "CC-BY-4.0", "CC-PDDC"}
    for declared in TABLES:
        resource = resources[f"csv/{declared.name}.csv"]
        assert [field["name"] for field in resource["schema"]["fields"]] == published.table(declared.name).column_names
        assert resource["dialect"]["delimiter"] == ";"
        assert all(field["description"] for field in resource["schema"]["fields"])
    assert "tous les niveaux sauf la commune" in resources["indicateurs.xlsx"]["holds"]


def test_the_sdmx_file_holds_every_value_under_its_structure(published: Release) -> None:
    content = (published.folder / "sdmx" / "indicator_values.csv").read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(content)))
    values = published.table("indicator_values").to_pylist()
    assert len(rows) == len(values)
    told = {
        (row["TIME_PERIOD"], row["REF_AREA"], row["INDICATOR"], row["BREAKDOWN"], row["MODALITY"]): row for row in rows
    }
    words = {"published": "A", "suppressed": "Q", "PS": "N", "NC": "M"}
    for row in values:
        one = told[row["month"], row["territory_code"], row["indicator_code"], row["breakdown"], row["modality"]]
        assert one["OBS_VALUE"] == ("" if row["value"] is None else one["OBS_VALUE"])
        assert row["value"] is None or float(one["OBS_VALUE"]) == row["value"]
        assert (one["STATUS"], one["OBS_STATUS"]) == (row["status"], words[row["status"]])
    structure = json.loads((published.folder / "sdmx" / "structure.json").read_bytes())["data"]
    components = structure["dataStructures"][0]["dataStructureComponents"]
    declared = [
        *(one["id"] for one in components["dimensionList"]["dimensions"]), "TIME_PERIOD",
        *(one["id"] for one in components["measureList"]["measures"]),
        *(one["id"] for one in components["attributeList"]["attributes"]),
    ]  # fmt: skip
    assert list(rows[0]) == ["STRUCTURE", "STRUCTURE_ID", "ACTION", *declared]
    assert rows[0]["STRUCTURE_ID"] in structure["dataflows"][0]["structure"]
    lists = {one["id"]: {code["id"] for code in one["codes"]} for one in structure["codelists"]}
    for name in ("REF_AREA", "INDICATOR", "BREAKDOWN", "OBS_STATUS", "FREQ"):
        assert {row[name] for row in rows} <= lists[f"CL_{name}"]


def test_the_dcat_record_is_a_catalogue_with_what_dcat_ap_requires(published: Release) -> None:
    from rdflib import DCAT, DCTERMS, FOAF, RDF, Graph, URIRef

    base = "https://example.org/release/"
    graph = Graph().parse(published.folder / "dcat.jsonld", format="json-ld", publicID=base)
    catalogue, dataset = (graph.value(None, RDF.type, kind) for kind in (DCAT.Catalog, DCAT.Dataset))
    assert (catalogue, DCAT.dataset, dataset) in graph
    for subject in (catalogue, dataset):
        assert graph.value(subject, DCTERMS.title)
        assert graph.value(subject, DCTERMS.description)
        assert graph.value(graph.value(subject, DCTERMS.publisher), FOAF.name)
    addresses = set()
    for one in graph.objects(dataset, DCAT.distribution):
        assert (one, RDF.type, DCAT.Distribution) in graph
        assert graph.value(one, DCTERMS.license) == URIRef("https://spdx.org/licenses/etalab-2.0")
        addresses.add(str(graph.value(one, DCAT.accessURL)).removeprefix(base))
    assert "csv/indicator_values.csv" in addresses
    assert all((published.folder / address).is_file() for address in addresses)


def test_the_bill_of_materials_is_valid_and_names_what_the_lock_names(published: Release) -> None:
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    text = (published.folder / "bom.cdx.json").read_text(encoding="utf-8")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    named = {one["name"]: one["version"] for one in json.loads(text)["components"]}
    lock = (Path(__file__).parent.parent / "requirements.lock").read_text(encoding="utf-8")
    assert re.search(rf"^duckdb=={re.escape(named['duckdb'])} ", lock, re.MULTILINE)
    assert {"pyarrow", "xlsxwriter", "echarts"} <= set(named)


def test_the_database_opens_in_an_older_duckdb(published: Release, tmp_path: Path) -> None:
    assert PUBLISHED_STORAGE_VERSION == "v1.0.0"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--disable-pip-version-check"]
    try:
        command = [*pip, "--target", str(tmp_path / "old"), f"duckdb=={OLDER_DUCKDB}"]
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (subprocess.SubprocessError, OSError):
        absent("older-duckdb", f"duckdb {OLDER_DUCKDB} cannot be installed here")
    program = (
        "import duckdb, sys; c = duckdb.connect(sys.argv[1], read_only=True);"
        "print(duckdb.__version__, c.sql('SELECT count(*) FROM indicator_values').fetchone()[0])"
    )
    answer = subprocess.run(
        [sys.executable, "-c", program, str(published.folder / "insertion.duckdb")],
        check=True, capture_output=True, text=True, env={"PYTHONPATH": str(tmp_path / "old")},
    )  # fmt: skip
    assert answer.stdout.split() == [OLDER_DUCKDB, str(len(published.table("indicator_values")))]


# -- identity ----------------------------------------------------------------------------------------------------------


def test_the_same_inputs_give_the_same_bytes_under_another_key(
    published: Release, safe: SafeTable, tmp_path: Path
) -> None:
    again = release(Lake.open(tmp_path / "other"), small_registry(), inputs(), safe, coverage=GRID)
    assert again.release_id == published.release_id
    for path in sorted(published.folder.rglob("*")):
        if path.is_file() and path.name != "MANIFEST.sig":
            assert path.read_bytes() == (again.folder / path.relative_to(published.folder)).read_bytes(), path.name


def test_the_name_says_the_last_month_and_changes_with_any_input(published: Release) -> None:
    assert re.fullmatch(r"2026-10-[0-9a-f]{12}", published.release_id)
    assert inputs("another delivery").release_id != published.release_id
    assert Inputs(inputs().months, inputs().deliveries, "other data_sources").release_id != published.release_id
    assert inputs().release_id == published.release_id


def test_publishing_twice_changes_nothing(published: Release, home: Lake, safe: SafeTable) -> None:
    before = {path: path.stat().st_mtime_ns for path in published.folder.rglob("*")}
    assert release(home, small_registry(), inputs(), safe).folder == published.folder
    assert {path: path.stat().st_mtime_ns for path in published.folder.rglob("*")} == before


def test_publication_accepts_nothing_but_a_protected_table(home: Lake) -> None:
    with pytest.raises(TypeError, match=r"disclosure\.protect"):
        release(home, small_registry(), inputs("x"), population(10))  # type: ignore[arg-type]


def test_a_publication_that_fails_leaves_nothing(
    safe: SafeTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise OSError("disk full")

    lake = Lake.open(tmp_path / "home")
    monkeypatch.setattr(releasing.report, "write_report", broken)
    with pytest.raises(OSError, match="disk full"):
        release(lake, small_registry(), inputs(), safe)
    assert list(lake.releases.iterdir()) == []
    assert releasing.releases(lake) == ()


def test_revisions_say_what_moved_since_the_previous_release(safe: SafeTable, tmp_path: Path) -> None:
    lake = Lake.open(tmp_path / "home")
    first = release(lake, small_registry(), inputs(months=("2026-09",)), protect(population(500), small_registry()))
    second = release(lake, small_registry(), inputs("later"), protect(population(520, months=MONTHS), small_registry()))
    assert len(first.table("revisions")) == 0
    moved = {
        (row["month"], row["territory_code"], row["indicator_code"]): (row["previous_value"], row["value"])
        for row in second.table("revisions").to_pylist()
        if row["breakdown"] == "total"
    }
    assert moved["2026-09", "FR", "known"] == (500.0, 520.0)
    assert {month for month, _, _ in moved} == {"2026-09"}
    assert second.manifest["compared_with"] == first.release_id
    assert [one.release_id for one in releasing.releases(lake)] == [first.release_id, second.release_id]
    assert releasing.chosen(lake).release_id == second.release_id
    assert releasing.chosen(lake, "2026-09").release_id == first.release_id
    with pytest.raises(releasing.UnknownRelease):
        releasing.chosen(lake, "2020-01")


def test_headlines_are_the_country_s_figures_of_the_last_month(published: Release) -> None:
    figures = {one.indicator_code: one for one in releasing.headlines(published)}
    assert (figures["known"].value, figures["known"].label) == (500.0, "Personnes connues")
    assert figures["share"].unit == "%"


# -- verification --------------------------------------------------------------------------------------------------


def problems(lake: Lake, found: Release) -> dict[str, str]:
    again = releasing.find(lake, found.release_id)
    assert again is not None
    verification = verifying.verify(lake, again)
    assert (verification.state == "altered") == bool(verification.problems)
    return {problem.file: problem.message for problem in verification.problems}


def test_an_untouched_release_is_intact(published: Release, home: Lake) -> None:
    assert verifying.verify(home, published).to_json() == {
        "release_id": published.release_id,
        "state": "intact",
        "stage": "candidate",
        "problems": [],
    }


def test_a_release_without_signature_is_unsigned(copied: tuple[Lake, Release]) -> None:
    lake, found = copied
    (found.folder / "MANIFEST.sig").unlink()
    assert verifying.verify(lake, found).state == "unsigned"


def edited(found: Release, name: str, content: bytes) -> None:
    """Change a file, and its digest in the manifest."""
    (found.folder / name).write_bytes(content)
    manifest = json.loads((found.folder / "MANIFEST.json").read_bytes())
    manifest["files"][name] = sha256_of(found.folder / name)
    (found.folder / "MANIFEST.json").write_text(json.dumps(manifest, ensure_ascii=False))


@pytest.mark.parametrize(
    "name", ["csv/indicator_values.csv", "report/index.html", "indicateurs.xlsx", "insertion.duckdb"]
)
def test_a_hand_edited_file_is_named_even_when_its_digest_was_edited_too(
    copied: tuple[Lake, Release], name: str
) -> None:
    lake, found = copied
    edited(found, name, (found.folder / name).read_bytes() + b" ")
    assert {name, "MANIFEST.json"} <= set(problems(lake, found))


def test_a_csv_edited_without_any_signature_still_disagrees_with_the_others(copied: tuple[Lake, Release]) -> None:
    lake, found = copied
    name = "csv/indicator_values.csv"
    content = (found.folder / name).read_bytes()
    edited(found, name, content.replace(b'"suppressed"', b'"published"', 1))
    (found.folder / "MANIFEST.sig").unlink()
    assert problems(lake, found) == {name: "contenu différent du Parquet"}


def test_sdmx_edited_without_any_signature_still_disagrees_with_the_others(copied: tuple[Lake, Release]) -> None:
    lake, found = copied
    name = "sdmx/indicator_values.csv"
    edited(found, name, (found.folder / name).read_bytes().replace(b",500,", b",501,", 1))
    (found.folder / "MANIFEST.sig").unlink()
    assert problems(lake, found) == {name: "contenu différent du Parquet"}


def test_a_small_cell_put_back_is_seen(copied: tuple[Lake, Release]) -> None:
    lake, found = copied
    name = "parquet/indicator_values.parquet"
    rows = pq.read_table(found.folder / name).to_pylist()
    row = next(row for row in rows if row["status"] == "suppressed" and row["indicator_code"] == "known")
    row |= {"status": "published", "numerator": 2.0, "value": 2.0}
    pq.write_table(pa.Table.from_pylist(rows, schema=TABLES[0].schema), found.folder / name)
    again = releasing.find(lake, found.release_id)
    assert again is not None
    messages = {problem.message for problem in verifying.verify(lake, again).problems if problem.file == name}
    assert "effectif sous le seuil visible" in messages
    assert "totaux différents de ceux du manifeste" in messages


def test_added_and_missing_files_are_named(copied: tuple[Lake, Release]) -> None:
    lake, found = copied
    (found.folder / "csv" / "more.csv").write_text("x")
    (found.folder / "csv" / "coverage.csv").unlink()
    assert problems(lake, found)["csv/more.csv"] == "fichier ajouté après la publication"
    assert "csv/coverage.csv" in problems(lake, found)


def test_a_file_added_to_the_manifest_too_and_one_taken_out_of_it_are_named(copied: tuple[Lake, Release]) -> None:
    lake, found = copied
    edited(found, "csv/more.csv", b"x")
    manifest = json.loads((found.folder / "MANIFEST.json").read_bytes())
    del manifest["files"]["csv/coverage.csv"]
    (found.folder / "csv" / "coverage.csv").unlink()
    (found.folder / "MANIFEST.json").write_text(json.dumps(manifest))
    (found.folder / "bom.cdx.json").rename(found.folder / "bom.json")
    assert set(problems(lake, found)) == {
        "csv/more.csv", "csv/coverage.csv", "bom.cdx.json", "bom.json", "MANIFEST.json",
    }  # fmt: skip


def test_whoever_edits_every_list_of_digests_is_betrayed_by_the_tables(copied: tuple[Lake, Release]) -> None:
    """Manifest and signature say what the edited files are: they are made again from the tables, and differ."""
    lake, found = copied
    names = ("indicateurs.xlsx", "report/couverture.html", "dcat.jsonld")
    for name in names:
        edited(found, name, (found.folder / name).read_bytes() + b" ")
    signature = json.loads((found.folder / "MANIFEST.sig").read_bytes())
    for name in (*names, "MANIFEST.json"):
        signature["sha256"][name] = sha256_of(found.folder / name)
    (found.folder / "MANIFEST.sig").write_text(json.dumps(signature))
    again = releasing.find(lake, found.release_id)
    assert again is not None
    registry = replace(small_registry(), digest=again.manifest["inputs"]["data_sources"])
    told = verifying.verify(lake, again, registry=registry).problems
    assert {one.file for one in told} == {*names, "MANIFEST.sig"}
    (found.folder / "MANIFEST.sig").unlink()
    assert {one.file for one in verifying.verify(lake, again, registry=registry).problems} == set(names)


def rewritten(found: Release, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the manifest, write its certificate beside it, and every digest; nobody signs it."""
    manifest = json.loads((found.folder / "MANIFEST.json").read_bytes())
    change(manifest)
    if "certificate.json" in manifest["files"]:
        (found.folder / "certificate.json").write_text(json.dumps(manifest["certificate"]))
        manifest["files"]["certificate.json"] = sha256_of(found.folder / "certificate.json")
    (found.folder / "MANIFEST.json").write_text(json.dumps(manifest))
    (found.folder / "MANIFEST.sig").unlink()


def without_certificate(manifest: dict[str, Any]) -> None:
    manifest["certificate"] = {}
    del manifest["files"]["certificate.json"]


@pytest.mark.parametrize(
    ("change", "file", "message"),
    [
        (lambda one: one["certificate"]["statuses"].update(suppressed=0), "certificate.json", "nombre de valeurs"),
        (lambda one: one["certificate"].update(rows=7), "certificate.json", "nombre de valeurs"),
        (
            lambda one: one["certificate"]["audit"]["insiders"].update(cells_found_where_hiding_helps=1),
            "certificate.json",
            "l'attaque a trouvé",
        ),
        (
            lambda one: one["certificate"]["audit"].update(recomputable_cells=3),
            "certificate.json",
            "l'attaque a trouvé",
        ),
        (lambda one: one["certificate"]["parameters"].update(threshold=2), "certificate.json", "paramètres différents"),
        (without_certificate, "certificate.json", "certificat absent"),
        (lambda one: one["inputs"]["deliveries"].clear(), "MANIFEST.json", "le nom de la publication"),
        (lambda one: one["inputs"]["parameters"].update(threshold=2), "MANIFEST.json", "le nom de la publication"),
    ],
)
def test_a_certificate_or_manifest_edited_with_all_its_digests_contradicts_the_release(
    copied: tuple[Lake, Release], change: Callable[[dict[str, Any]], None], file: str, message: str
) -> None:
    lake, found = copied
    rewritten(found, change)
    assert problems(lake, found)[file].startswith(message)


def test_a_file_less_or_more_in_every_list_and_what_is_to_confirm_are_seen_without_any_signature(
    copied: tuple[Lake, Release],
) -> None:
    lake, found = copied

    def change(manifest: dict[str, Any]) -> None:
        del manifest["files"]["indicateurs.xlsx"]
        manifest["files"]["more.csv"] = sha256_of(found.folder / "more.csv")
        manifest["held"] = ["rien"]

    (found.folder / "indicateurs.xlsx").unlink()
    (found.folder / "more.csv").write_text("x")
    rewritten(found, change)
    again = releasing.find(lake, found.release_id)
    assert again is not None
    registry = replace(small_registry(), digest=again.manifest["inputs"]["data_sources"])
    told = {one.file for one in verifying.verify(lake, again, registry=registry).problems}
    assert {"indicateurs.xlsx", "more.csv", "MANIFEST.json"} <= told <= {
        "indicateurs.xlsx", "more.csv", "MANIFEST.json", "certificate.json",
    }  # fmt: skip


def test_a_manifest_that_nobody_can_read_is_what_is_named(copied: tuple[Lake, Release]) -> None:
    lake, found = copied
    (found.folder / "MANIFEST.json").write_text("{")
    assert set(problems(lake, found)) == {"MANIFEST.json"}
    assert releasing.releases(lake) == ()


def test_a_release_is_held_to_what_its_own_manifest_declares(copied: tuple[Lake, Release]) -> None:
    """One made before a table existed is intact without it; one that no longer declares another is not."""
    lake, found = copied
    manifest = json.loads((found.folder / "MANIFEST.json").read_bytes())
    for name in ("trends", "territory_pieces"):
        del manifest["tables"][name]
        for file in (f"csv/{name}.csv", f"parquet/{name}.parquet"):
            del manifest["files"][file]
            (found.folder / file).unlink()
    (found.folder / "MANIFEST.json").write_text(json.dumps(manifest))
    releasing.signing.sign(
        found.folder, {**manifest["files"], "MANIFEST.json": sha256_of(found.folder / "MANIFEST.json")}, lake.keyring
    )
    assert problems(lake, found) == {}
    again = releasing.find(lake, found.release_id)
    assert again is not None
    assert len(again.table("trends")) == 0
    del manifest["tables"]["coverage"]
    (found.folder / "MANIFEST.json").write_text(json.dumps(manifest))
    assert "MANIFEST.json" in problems(lake, found)


def test_a_signature_of_another_key_is_not_ours(copied: tuple[Lake, Release], tmp_path: Path) -> None:
    lake, found = copied
    stranger = Lake.open(tmp_path / "stranger")
    digests = {**found.manifest["files"], "MANIFEST.json": sha256_of(found.folder / "MANIFEST.json")}
    releasing.signing.sign(found.folder, digests, stranger.keyring)
    assert list(problems(lake, found)) == ["MANIFEST.sig"]


def test_a_csv_reads_back_as_the_same_table(published: Release) -> None:
    path = published.folder / "csv" / "territories.csv"
    read = pv.read_csv(path, parse_options=pv.ParseOptions(delimiter=";"))
    assert read["territory_code"].to_pylist() == published.table("territories")["territory_code"].to_pylist()
