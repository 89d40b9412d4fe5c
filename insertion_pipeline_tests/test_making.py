"""What is derived is made again where what it was made of has changed, and nowhere else."""

from __future__ import annotations

import shutil
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from insertion_pipeline import making
from insertion_pipeline.identity import decisions, pseudonymising, quality, resolving, thresholds
from insertion_pipeline.identity.normalising import PERSON_SCHEMA
from insertion_pipeline.identity.register import Register
from insertion_pipeline.identity.resolving import Resolution
from insertion_pipeline.indicators import building, computing
from insertion_pipeline.indicators.additivity import totals_that_fail
from insertion_pipeline.ingestion import counterchecking, tombstones
from insertion_pipeline.ingestion.counterchecking import countercheck
from insertion_pipeline.ingestion.receipts import receipts
from insertion_pipeline.lake import Lake, ParquetFile, sha256_of
from insertion_pipeline.registry import Registry
from insertion_pipeline_tests.department_home import HER_ROWS, HERS, OCTOBER, OTHER_ROWS, SEPTEMBER, Home, listing

MONTHS = (SEPTEMBER, OCTOBER)
HER_CORRECTED_ROW = HER_ROWS[0].replace("rsa_clos", "rsa_droit_ouvert_versable")


def make(home: Home, resolution: Resolution) -> None:
    """What a run makes of the list of a department once its persons are known, up to the facts."""
    pseudonymising.have_pseudonymised(home.lake, home.registry, resolution, "department_list", MONTHS)
    for compute in (building.compute_facts, building.compute_histories):
        for month in MONTHS:
            compute(home.lake, home.registry, month)


def tables(home: Home) -> dict[str, Path]:
    """Every derived table of a home, by its path."""
    folders = (home.lake.open_area / area for area in ("pseudonymised", "facts"))
    found = (path for folder in folders for path in sorted(folder.rglob("*.parquet")))
    return {path.relative_to(home.lake.open_area).as_posix(): path for path in found}


def written_since(home: Home, before: dict[str, int]) -> set[str]:
    return {name for name, path in tables(home).items() if before.get(name) != path.stat().st_mtime_ns}


def times(home: Home) -> dict[str, int]:
    return {name: path.stat().st_mtime_ns for name, path in tables(home).items()}


def identity(lake: Lake) -> dict[str, Path]:
    """Every file that says who is who in the French space, by its name."""
    return {path.name: path for path in sorted((lake.sealed / "identity" / "fr").glob("*.*"))}


def identity_times(lake: Lake) -> dict[str, int]:
    return {name: path.stat().st_mtime_ns for name, path in identity(lake).items()}


def identity_rows(lake: Lake) -> dict[str, list[str]]:
    key = lake.identity_key("fr")
    tables = {name: path for name, path in identity(lake).items() if path.suffix == ".parquet"}
    return {name: rows_of(lake, ParquetFile(path, key)) for name, path in tables.items()}


def forget_all_notes(home: Home) -> None:
    shutil.rmtree(home.lake.open_area / "made")


@dataclass(frozen=True)
class Corrected:
    """A home of two months after a correction of the second, which says nothing new of who anybody is; what a run wrote
    that had nothing new, and that one; the identity tables at first, before the correction and after it.
    """

    home: Home
    resolution: Resolution
    written_idly: set[str]
    written: set[str]
    linked: tuple[dict[str, int], dict[str, int], dict[str, int]]


@pytest.fixture(scope="module")
def corrected(three_persons: Path, tmp_path_factory: pytest.TempPathFactory, registry: Registry) -> Corrected:
    folder = tmp_path_factory.mktemp("corrected")
    home = Home(Path(shutil.copytree(three_persons / "home", folder / "home")), registry)
    of_october = identity_times(home.lake)
    home.deliver(listing(folder / "september.csv", *OTHER_ROWS, *HER_ROWS), SEPTEMBER)  # not the bytes of October
    resolution = resolving.resolve(home.lake, home.registry, MONTHS)
    make(home, resolution)
    before = times(home)
    make(home, resolution)
    idle, before, linked = written_since(home, before), times(home), identity_times(home.lake)
    home.deliver(listing(folder / "october.csv", HER_CORRECTED_ROW, *OTHER_ROWS), OCTOBER)
    resolution = resolving.resolve(home.lake, home.registry, MONTHS)
    make(home, resolution)
    return Corrected(
        home, resolution, idle, written_since(home, before), (of_october, linked, identity_times(home.lake))
    )


def test_a_run_with_nothing_new_writes_no_table(corrected: Corrected) -> None:
    assert corrected.written_idly == set()


def test_a_correction_makes_again_only_what_reads_it(corrected: Corrected) -> None:
    home, written = corrected.home, corrected.written
    assert written & {name for name in tables(home) if "2026-09" in name} == set()  # nothing looks ahead
    assert "pseudonymised/department_list/beneficiaires/2026-10.parquet" in written
    reading = {name for name, fact in building.facts().items() if "department_list__beneficiaires" in fact.reads}
    made = {name.split("/")[1] for name in written if name.startswith("facts/")}
    assert reading <= made
    assert "ale_person_months" not in made


def test_a_correction_that_says_the_same_of_who_everybody_is_links_nobody_again(corrected: Corrected) -> None:
    of_october, before, after = corrected.linked
    assert not of_october.items() & before.items()  # another month speaks of them
    assert after == before
    assert set(before) == {
        "persons.parquet", "residences.parquet", "review.parquet", "review_records.parquet", "pairs.parquet",
        "quality.json",
    }  # fmt: skip


def test_linking_is_done_again_whenever_it_is_given_something_else(lake: Lake, registry: Registry) -> None:
    """Of nobody, by one source, which costs nothing: what linkage answers has tests of its own."""
    of_one_source = replace(registry, sources={"department_list": registry.source("department_list")})

    def is_linked_again() -> bool:
        before = identity_times(lake)
        resolving.resolve(lake, of_one_source, [OCTOBER])
        return not before.items() & identity_times(lake).items()

    assert [is_linked_again(), is_linked_again()] == [True, False]
    thresholds.adopt(lake, "fr", join=9.0, review=2.0)
    assert [is_linked_again(), is_linked_again()] == [True, False]
    register = Register.opened(lake, "fr")
    register.write(register.members, register.ids, register.events)
    assert [is_linked_again(), is_linked_again()] == [True, False]
    sides = pa.Table.from_pylist([{"record_id": one} for one in "ab"], schema=PERSON_SCHEMA)
    decisions.add(lake, "fr", "pair", sides, "same", by="somebody", state="grey", weight=1.0)
    assert [is_linked_again(), is_linked_again()] == [True, False]
    quality.doubts_file(lake).path.unlink()
    assert [is_linked_again(), is_linked_again()] == [True, False]


def test_what_stayed_and_what_was_made_is_what_a_rebuild_makes(corrected: Corrected) -> None:
    home = corrected.home
    kept = {name: rows_of(home.lake, ParquetFile(path)) for name, path in tables(home).items()}
    linked = identity_rows(home.lake)
    forget_all_notes(home)
    before, linked_before = times(home), identity_times(home.lake)
    assert resolving.resolve(home.lake, home.registry, MONTHS) == corrected.resolution
    make(home, corrected.resolution)
    assert set(dict(identity_times(home.lake).items() - linked_before.items())) == set(linked_before)
    assert identity_rows(home.lake) == linked
    assert written_since(home, before) == set(kept)
    assert {name: rows_of(home.lake, ParquetFile(path)) for name, path in tables(home).items()} == kept


def rows_of(lake: Lake, file: ParquetFile) -> list[str]:
    return sorted(str(row) for row in lake.read_parquet(file).to_pylist())


def test_who_was_erased_elsewhere_is_in_no_table_that_is_recalled(department: Home) -> None:
    """Her tombstone stands, and nobody went through this home's tables: it was put up by another machine."""
    resolution = resolving.resolve(department.lake, department.registry, [OCTOBER])
    told = (department.lake, department.registry, resolution, "department_list", [OCTOBER])
    pseudonymising.have_pseudonymised(*told)
    assert department.pseudonymised() == 3
    hers = {"nir": HERS, "birth_name": "VALBRUNOT", "first_names": "Zéphirine", "birth_date": "1980-04-05"}
    tombstones.write(department.lake, "fr", "erasure", pa.Table.from_pylist([hers]))
    pseudonymising.have_pseudonymised(*told)
    assert department.pseudonymised() == 2


def test_a_table_that_was_altered_or_is_gone_is_made_again(lake: Lake) -> None:
    path = lake.open_area / "facts" / "some.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"rows")
    made = making.remember(lake, "facts/some", "all that went in", [path], {"rows": 4})
    assert making.recall(lake, "facts/some", "all that went in") == made
    assert (made.counted, made.files) == ({"rows": 4}, {"lake/facts/some.parquet": sha256_of(path)})
    assert making.recall(lake, "facts/some", "something else") is None
    path.write_bytes(b"rots")
    assert making.recall(lake, "facts/some", "all that went in") is None
    path.unlink()
    assert making.recall(lake, "facts/some", "all that went in") is None


def test_what_a_later_month_knows_changes_the_words_and_not_the_numbers(
    corrected: Corrected,
) -> None:
    home = corrected.home
    told = computing.compute_values(home.lake, home.registry, OCTOBER)
    settled = computing.compute_values(home.lake, home.registry, OCTOBER, as_of=OCTOBER.plus(12))
    forget_all_notes(home)
    assert settled.equals(computing.compute_values(home.lake, home.registry, OCTOBER, as_of=OCTOBER.plus(12)))
    assert set(settled["as_of"].to_pylist()) == {"2027-10"}
    assert told.drop(["as_of", "maturity"]).equals(settled.drop(["as_of", "maturity"]))


def test_totals_are_looked_at_again_where_the_values_are_others(corrected: Corrected) -> None:
    home = corrected.home
    values = computing.compute_values(home.lake, home.registry, OCTOBER)
    assert [totals_that_fail(home.lake, home.registry, OCTOBER) for _ in range(2)] == [[], []]
    is_country = pc.equal(values["territory_level"], "country")
    inflated = pc.add(values["numerator"], pc.cast(pc.multiply(pc.cast(is_country, pa.int64()), 1000), pa.float64()))
    at = values.schema.get_field_index("numerator")
    home.lake.write_parquet(
        computing.values_path(home.lake, OCTOBER).path, values.set_column(at, "numerator", inflated)
    )
    assert totals_that_fail(home.lake, home.registry, OCTOBER) != []


def test_a_delivery_that_passed_the_second_engine_is_not_shown_to_it_again(
    department: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[int] = []

    def failures(schema: object, rows: pa.Table) -> Counter[tuple[str, str]]:
        shown.append(rows.num_rows)
        return Counter({("rsa_right", "isin"): 1} if len(shown) == 1 else {})

    def asked() -> tuple[int, int]:
        source = department.registry.source("department_list")
        told = countercheck(department.lake, department.registry, source, receipts(department.lake))
        return told.rows, told.failures.total()

    monkeypatch.setattr(counterchecking, "_failures", failures)
    assert [asked(), asked(), asked()] == [(3, 1), (3, 0), (3, 0)]
    assert shown == [3, 3]  # what failed was looked at again, what passed was not
    department.deliver(listing(tmp_path / "september.csv", *HER_ROWS, *OTHER_ROWS), SEPTEMBER)
    assert (asked(), shown) == ((6, 0), [3, 3, 3])
