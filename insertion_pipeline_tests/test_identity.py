"""Who is who: linkage on hand-made and simulated records, resolution and pseudonymisation of conformed rows."""

from __future__ import annotations

import hmac
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import ClassVar

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from insertion_pipeline.contracts.storage import accepted_schema
from insertion_pipeline.identity import blocking, linkage, pseudonymising, pseudonyms, remembering, resolving
from insertion_pipeline.identity.clustering import Edge, cluster
from insertion_pipeline.identity.constraints import DECISIONS_SCHEMA, UnusableDecisions
from insertion_pipeline.identity.evaluating import TruthDoesNotFit, evaluate
from insertion_pipeline.identity.identifiers import nir_key
from insertion_pipeline.identity.linkage import LINK_SCHEMA, Linkage, UnusableRecords, canonical, link, link_space
from insertion_pipeline.identity.normalising import CODES, PERSON_SCHEMA, REPEATED_COLUMNS, Remembered
from insertion_pipeline.ingestion import landing
from insertion_pipeline.lake import Lake, ParquetFile
from insertion_pipeline.month import Month
from insertion_pipeline.registry import Registry
from insertion_pipeline.simulation.canonical import person_records

SEPTEMBER, OCTOBER = Month(2026, 9), Month(2026, 10)


def nir(thirteen: str) -> str:
    return thirteen + nir_key(thirteen)


def people(*rows: Mapping[str, str | None]) -> pa.Table:
    """Canonical records: what a row does not say is null, its id is its rank."""
    defaults = {"person_space": "fr", "partner_family": "department", "partner": "dep-08"}
    filled = [{"record_id": f"r{rank:05d}", **defaults, **row} for rank, row in enumerate(rows)]
    return pa.Table.from_pylist(filled, schema=PERSON_SCHEMA)


def persons_of(linked: pa.Table) -> list[str]:
    return linked["person_id"].to_pylist()


CLAIRE = {"birth_name": "MARTIN", "first_names": "CLAIRE", "birth_date": "1985-03-07", "sex": "2"}


class TestNumbers:
    def test_a_number_written_as_a_float_or_with_thirteen_or_fifteen_characters_gives_one_person(
        self, lake: Lake
    ) -> None:
        number = "2850308105123"
        written = [number, nir(number), "2.850308105123E12", "2 85 03 08 105 123 " + nir_key(number), f"{number}.0"]
        linked = link(
            people(*({**CLAIRE, "nir": one, "partner": f"dep-{rank}"} for rank, one in enumerate(written))), lake
        )
        assert len(set(persons_of(linked))) == 1
        assert set(linked["match_method"].to_pylist()) == {"number"}

    def test_spouses_who_share_a_number_stay_two_persons_and_the_one_it_does_not_fit_is_reviewed(
        self, lake: Lake
    ) -> None:
        husband = {"birth_name": "MARTIN", "first_names": "PAUL", "birth_date": "1979-11-20", "sex": "1"}
        linked = link(
            people(
                {**CLAIRE, "nir": nir("2850308105123")}, {**husband, "nir": nir("2850308105123"), "partner": "dep-52"}
            ),
            lake,
        )
        assert len(set(persons_of(linked))) == 2
        assert linked["needs_review"].to_pylist() == [False, True]

    def test_two_trusted_numbers_never_meet_however_alike_the_rest(self, lake: Lake) -> None:
        twins = [
            {**CLAIRE, "nir": nir("2850308105123"), "email": "claire@exemple.fr", "residence_code": "08362"},
            {**CLAIRE, "nir": nir("2850308105124"), "email": "claire@exemple.fr", "residence_code": "08362"},
            {**CLAIRE, "email": "claire@exemple.fr", "residence_code": "08362", "partner": "france-travail"},
        ]
        linked = link(people(*twins), lake)
        assert persons_of(linked)[0] != persons_of(linked)[1]

    def test_twins_stay_two_when_one_bears_the_number_of_the_other_by_mistake(self, lake: Lake) -> None:
        home = {"birth_date": "1997-03-02", "sex": "1", "email": "famille.unterthal@exemple.fr", "postal_code": "77230"}
        first = {**home, "birth_name": "UNTERTHAL", "first_names": "LUCAS", "france_travail_id": "04509813411"}
        second = {**home, "birth_name": "UNTERTHAL", "first_names": "THIERRY", "partner": "siae-508"}
        linked = link(
            people(
                {**first, "nir": nir("1970377153389")},
                {**first, "nir": nir("1970377153390"), "partner": "france-travail"},
                {**second, "nir": "1970377153390", "birth_name": "THIERRY", "first_names": "UNTERTHAL ROMAIN"},
                {**second, "partner": "siae-543"},
            ),
            lake,
        )
        one, mistaken, swapped, other = persons_of(linked)
        assert one == mistaken != swapped == other

    def test_a_number_of_the_other_space_is_no_evidence(self, lake: Lake) -> None:
        linked = link(
            people(
                {"birth_name": "LAMBERT", "first_names": "LUC", "birth_date": "1970-01-15", "niss": "70011500181"},
                {"birth_name": "SIMON", "first_names": "LUC", "birth_date": "1970-01-15", "niss": "70011500181"},
            ),
            lake,
        )
        assert len(set(persons_of(linked))) == 2

    @pytest.mark.parametrize("bis", ["85230710480", "85430710426"])
    def test_who_was_first_known_by_a_bis_number_is_one_person_under_every_name_with_the_later_niss(
        self, lake: Lake, bis: str
    ) -> None:
        ilse = {"person_space": "be", "first_names": "Ilse", "birth_date": "1985-03-07", "sex": "2"}
        known = (("VANDERMEULEN", bis), ("VANDERMEULEN", "85030710833"), ("DUBOIS", bis), ("LAMBERT", "85030710833"))
        rows = [{**ilse, "birth_name": name, "niss": number, "partner": name + number} for name, number in known]
        assert len(set(persons_of(link(people(*rows), lake)))) == 1


class TestTraits:
    def test_the_person_without_a_number_is_found_by_name_and_birth_date(self, lake: Lake) -> None:
        rare = {"birth_name": "VALBRUNOT", "first_names": "ODILE", "birth_date": "1982-02-11", "sex": "2"}
        linked = link(
            people(
                {**rare, "nir": "2820251108030", "residence_code": "52121", "birth_place_name": "CHALONS"},
                {
                    "used_name": "Valbrunot", "first_names": "Odile", "birth_date": "1982-02-11", "sex": "2",
                    "postal_code": "08300", "partner": "france-travail", "birth_place_name": "RETHEL",
                },
            ),
            lake,
        )  # fmt: skip
        assert len(set(persons_of(linked))) == 1

    @pytest.mark.parametrize(
        ("name", "other"),
        [
            ({"first_names": "Chloé", "sex": "2"}, {"first_names": "Manon", "sex": "2"}),
            ({"first_names": "Pierre", "sex": "1"}, {"first_names": "Pierre", "sex": "1", "birth_date": "1958-03-07"}),
            ({"first_names": "Camille", "sex": "1"}, {"first_names": "Camille", "sex": "2"}),
        ],
        ids=["twins", "father and son", "sexes"],
    )
    def test_relatives_are_not_merged_without_a_number(
        self, lake: Lake, name: Mapping[str, str], other: Mapping[str, str]
    ) -> None:
        shared = {
            "birth_name": "Garmontet",
            "birth_date": "1985-03-07",
            "residence_code": "08362",
            "phone": "0612345678",
        }
        linked = link(people({**shared, **name}, {**shared, **other, "partner": "france-travail"}), lake)
        assert len(set(persons_of(linked))) == 2

    def test_scripts_accents_ligatures_and_married_names_are_read(self, lake: Lake) -> None:
        base = {"birth_date": "1990-06-21", "sex": "2", "residence_code": "54395"}
        linked = link(
            people(
                {**base, "birth_name": "Lebœuf", "used_name": "Strauß", "first_names": "Anne-Sophie"},
                {**base, "used_name": "STRAUSS", "first_names": "ANNE SOPHIE", "partner": "france-travail"},
                {**base, "birth_name": "LEBOEUF", "first_names": "Anne-Sophie Marie", "partner": "siae-05"},
            ),
            lake,
        )
        assert len(set(persons_of(linked))) == 1


def _numbered(rank: int) -> dict[str, str]:
    """Somebody with a name, a birth date and a number of their own."""
    syllables = ("BA", "RO", "MI", "TE", "LU", "KO", "SA", "VI")
    surname, given = ("".join(syllables[rank * step // 8**place % 8] for place in range(4)) for step in (37, 101))
    birth = date(1950 + rank % 45, 1 + rank // 7 % 12, 1 + rank // 3 % 28)
    number = nir(f"1{birth:%y%m}75{rank // 999 % 999:03d}{1 + rank % 998:03d}")
    return {"birth_name": surname, "first_names": given, "birth_date": str(birth), "sex": "1", "nir": number}


class TestFillers:
    """What thousands of records share is nobody's: no pair is made of it, and it is named without its value."""

    FILLER: ClassVar = {"birth_name": "GENERIQUE", "first_names": "USAGER", "birth_date": "2000-06-01"}

    @pytest.fixture(scope="class")
    def linkage(self, tmp_path_factory: pytest.TempPathFactory) -> Linkage:
        ranks = range(500)
        rows = [
            *({**self.FILLER, "postal_code": f"{rank % 97:05d}", "email": f"u{rank}@x.fr"} for rank in range(10_000)),
            *(self.FILLER for _ in ranks),
            *({**_numbered(rank), "birth_name": "ACCUEIL", "birth_date": "1990-01-01"} for rank in ranks),
            *({**_numbered(rank), **self.FILLER, "address": "1 rue du CCAS"} for rank in ranks),
            *({**_numbered(1000 + rank), "nir": nir("1850375056123")} for rank in ranks),
            *({**_numbered(2000 + rank), "nir": None, "phone": "0612345678"} for rank in ranks),
            *({**_numbered(3000 + rank), "nir": None, "email": "accueil@ccas.fr"} for rank in ranks),
            CLAIRE,
            {**CLAIRE, "partner": "siae-03"},
        ]
        lake = Lake.open(tmp_path_factory.mktemp("fillers"))
        return link_space(canonical(people(*rows)), "fr", lake)

    def test_the_pairs_stay_few_and_nobody_is_put_together(self, linkage: Linkage) -> None:
        assert linkage.counts["candidate_pairs"] < 1_000_000
        persons = persons_of(linkage.persons)
        fillers = persons[:-2]
        assert len(set(fillers)) == len(fillers)

    def test_everybody_else_is_found(self, linkage: Linkage) -> None:
        persons = persons_of(linkage.persons)
        assert persons[-1] == persons[-2]

    def test_each_filler_is_named_by_what_it_fills_and_never_by_its_value(self, linkage: Linkage) -> None:
        named = {one.rule: one.nodes for one in reversed(linkage.crowded)}
        assert named["surname and birth date"] >= 10_500
        assert (named["number in many hands"], named["telephone"], named["e-mail"]) == (500, 500, 500)
        assert not any(value in repr(linkage.crowded) for value in ("GENERIQUE", "612345678", "CCAS", "1850375"))


def test_records_without_an_id_of_their_own_are_refused(lake: Lake) -> None:
    table = people(CLAIRE, CLAIRE)
    twice = table.set_column(0, "record_id", pa.array(["same", "same"]))
    with pytest.raises(UnusableRecords):
        link(twice, lake)
    with pytest.raises(UnusableRecords):
        link(table.drop(["person_space"]), lake)


def test_no_record_gives_no_person(lake: Lake) -> None:
    assert link(PERSON_SCHEMA.empty_table(), lake).schema == LINK_SCHEMA


class TestClustering:
    def test_a_chain_of_good_pairs_is_not_one_person(self) -> None:
        chain = [Edge(12.0, one, one + 1) for one in range(1, 40)]
        clusters, refused = cluster(chain, {}, threshold=9.0, unscored=-1.0)
        assert max(len(members) for members in clusters.members.values()) == 2
        assert refused

    def test_the_order_of_pairs_does_not_matter(self) -> None:
        generator = random.Random(3)
        edges = [Edge(float(generator.randint(9, 14)), *sorted(generator.sample(range(60), 2))) for _ in range(150)]
        edges = list({(edge.left, edge.right): edge for edge in edges}.values())
        partitions = set()
        for _ in range(10):
            generator.shuffle(edges)
            clusters, _ = cluster(edges, {}, threshold=9.0, unscored=-1.0)
            partitions.add(tuple(clusters.cluster(group) for group in range(60)))
        assert len(partitions) == 1

    def test_a_group_between_two_trusted_numbers_joins_one_of_them_only(self) -> None:
        clusters, refused = cluster(
            [Edge(20.0, 1, 2), Edge(19.0, 2, 3)], {1: frozenset({1}), 3: frozenset({3})}, threshold=9.0, unscored=-1.0
        )
        assert clusters.cluster(2) == 1
        assert clusters.cluster(3) == 3
        assert refused == [Edge(19.0, 2, 3)]

    def test_two_holders_of_a_disputed_number_meet_only_where_no_other_number_is(self) -> None:
        disputed = {2: frozenset({2}), 3: frozenset({2})}
        alone, _ = cluster([Edge(20.0, 2, 3)], {}, threshold=9.0, unscored=-1.0, disputed=disputed)
        assert alone.cluster(3) == 2
        triangle = [Edge(20.0, 1, 2), Edge(19.0, 2, 3), Edge(18.0, 1, 3)]
        for edges, parted in ((triangle, 3), ([edge._replace(weight=38.0 - edge.weight) for edge in triangle], 2)):
            clusters, _ = cluster(edges, {1: frozenset({1})}, threshold=9.0, unscored=-1.0, disputed=disputed)
            assert [group for group in (1, 2, 3) if clusters.cluster(group) == group] == [1, parted]


# -- quality on a simulated population ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Quality:
    """Precision and recall over pairs of records."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        return 2 * self.precision * self.recall / (self.precision + self.recall)


def quality(linked: pa.Table, truth: pa.Table, lake: Lake) -> Quality:
    with lake.connect() as connection:
        connection.register("linked", linked)
        connection.register("truth", truth)
        both, found, real = connection.execute(
            """
            WITH cells AS (
                SELECT linked.person_id AS found, truth.person_id AS real, count(*) AS n
                FROM linked JOIN truth USING (record_id) GROUP BY ALL
            )
            SELECT (SELECT sum(n * (n - 1)) FROM cells),
                (SELECT sum(n * (n - 1)) FROM (SELECT sum(n) AS n FROM cells GROUP BY found)),
                (SELECT sum(n * (n - 1)) FROM (SELECT sum(n) AS n FROM cells GROUP BY real))
            """
        ).fetchall()[0]
        return Quality(both / found, both / real)


class TestSimulatedPopulation:
    @pytest.fixture(scope="class")
    def home(self, tmp_path_factory: pytest.TempPathFactory) -> Lake:
        return Lake.open(tmp_path_factory.mktemp("home"))

    @pytest.fixture(scope="class")
    def population(self) -> tuple[pa.Table, pa.Table]:
        return person_records(5_000, 11)

    @pytest.fixture(scope="class")
    def linked(self, population: tuple[pa.Table, pa.Table], home: Lake) -> pa.Table:
        return link(population[0], home)

    def test_nearly_every_person_is_put_together_and_no_other(
        self, linked: pa.Table, population: tuple[pa.Table, pa.Table], home: Lake
    ) -> None:
        measured = quality(linked, population[1], home)
        assert measured.precision >= 0.997
        assert measured.recall >= 0.99

    def test_other_names_and_more_errors_than_the_model_was_trained_on(self, home: Lake) -> None:
        records, truth = person_records(4_000, 12, 1.7, "alternative")
        assert quality(link(records, home), truth, home).f1 >= 0.985

    def test_neither_row_order_nor_other_columns_nor_text_stored_as_codes_change_anything(
        self, linked: pa.Table, population: tuple[pa.Table, pa.Table], home: Lake, tmp_path: Path
    ) -> None:
        order = list(range(len(population[0])))
        random.Random(5).shuffle(order)
        shuffled = population[0].take(pa.array(order)).append_column("comment", pa.nulls(len(order)))
        pq.write_table(shuffled, tmp_path / "records.parquet", row_group_size=2_000)
        coded = pq.read_table(tmp_path / "records.parquet", read_dictionary=list(REPEATED_COLUMNS))
        assert {coded[name].type for name in REPEATED_COLUMNS} == {CODES}
        assert link(coded, home).equals(linked)

    def test_nobody_of_one_space_is_linked_to_the_other(
        self, linked: pa.Table, population: tuple[pa.Table, pa.Table]
    ) -> None:
        joined = linked.join(population[0].select(["record_id", "person_space"]), "record_id")
        spaces = joined.group_by("person_id").aggregate([("person_space", "count_distinct")])
        assert set(spaces["person_space_count_distinct"].to_pylist()) == {1}


# -- from conformed rows to pseudonymised tables -----------------------------------------------------------------


class Delivered:
    """Conformed rows by hand: stands where the landing stands in production."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.tables: dict[tuple[str, str], list[dict[str, object]]] = {}

    def add(self, source: str, table: str, month: Month, partner: str, *rows: Mapping[str, object]) -> None:
        kept = self.tables.setdefault((source, table), [])
        space = self.registry.partner(partner).space
        for line, row in enumerate(rows, start=1):
            kept.append(
                {
                    **row, "_line": line, "_member": 1, "_month": str(month), "_partner": partner, "_space": space,
                    "_delivery": f"{partner}-{source}-{month}", "_sequence": 1,
                }
            )  # fmt: skip

    def __call__(
        self,
        lake: Lake,
        connection: duckdb.DuckDBPyConnection,
        registry: Registry,
        source: str,
        table: str,
        months: Sequence[Month],
    ) -> str:
        typed = accepted_schema(registry.source(source).table(table, max(months)))
        for name in ("_partner", "_space", "_delivery"):
            typed = typed.append(pa.field(name, pa.string()))
        typed = typed.append(pa.field("_sequence", pa.int64()))
        chosen = [row for row in self.tables.get((source, table), []) if row["_month"] in {str(one) for one in months}]
        name = f"delivered_{source}_{table}"
        connection.register(name, pa.Table.from_pylist(chosen, schema=typed))
        return f"(SELECT * EXCLUDE _month, [_month] AS _months FROM {name})"


@pytest.fixture(scope="module")
def delivered(registry: Registry) -> Delivered:
    given = Delivered(registry)
    for month in (SEPTEMBER, OCTOBER):
        given.add(
            "cnaf_vrsb0801", "personnes", month, "dep-08",
            {
                "matricule": "205599000000000", "nom": "VALBRUNOT", "nomnai": "VALBRUNOT", "prenom": "ODILE",
                "dtnai": date(1982, 2, 11), "nir": "2820251108030", "sexe": "2", "rolepers": "CJT", "numcom": "08362",
                "etatdosrsa": "2",
            },
        )  # fmt: skip
        given.add(
            "ft_spie", "demandeurs", month, "france-travail",
            {
                "identifiant_unique_de": "uuid-1", "civilite": "MME", "nom": "VALBRUNOT", "prenom": "SOPHIE ODILE",
                "date_naissance": date(1982, 2, 11), "adresse_ligne6": "08300 RETHEL", "referent_nom": "ÉTOURNEAU",
                "referent_prenom": "Lou",
            },
            {
                "identifiant_unique_de": "uuid-2", "civilite": "M.", "nom": "DORSET", "prenom": "HENDRIC",
                "referent_nom": "lou etourneau",
                "date_naissance": date(1976, 12, 18), "adresse_ligne6": "08200 SEDAN",
            },
        )  # fmt: skip
    given.add(
        "fluxiae", "salarie", OCTOBER, "asp",
        {
            "salarie_id": 71, "salarie_nir": nir("2820251108030"), "salarie_rci_libelle": "MME",
            "salarie_prenom": "Odile", "salarie_nom_usage": "Martin", "salarie_nom_naissance": "Valbrunot",
            "salarie_date_naissance": date(1982, 2, 11),
        },
    )  # fmt: skip
    given.add(
        "fluxiae", "etat_mensuel_indiv", OCTOBER, "asp", {"emi_pph_id": 71}, {"emi_pph_id": 99}, {"emi_pph_id": 99}
    )
    return given


def pseudonymised(lake: Lake, source: str, table: str, month: Month) -> list[dict[str, object]]:
    return lake.read_parquet(pseudonymising.pseudonymised_file(lake, source, table, month)).to_pylist()


class TestResolution:
    @pytest.fixture(scope="class")
    def lake(self, tmp_path_factory: pytest.TempPathFactory) -> Lake:
        return Lake.open(tmp_path_factory.mktemp("home"))

    @pytest.fixture(scope="class")
    def resolution(self, lake: Lake, registry: Registry, delivered: Delivered) -> resolving.Resolution:
        resolution = resolving.resolve(lake, registry, (SEPTEMBER, OCTOBER), rows=delivered)
        for source in registry.sources:
            pseudonymising.pseudonymise_months(lake, registry, resolution, source, (SEPTEMBER, OCTOBER), rows=delivered)
        return resolution

    def test_one_person_known_to_four_files_has_one_pseudonym(
        self, lake: Lake, resolution: resolving.Resolution
    ) -> None:
        assert resolution.persons == 2
        assert resolution.records == 4
        (beneficiary,) = pseudonymised(lake, "cnaf_vrsb0801", "personnes", OCTOBER)
        jobseekers = pseudonymised(lake, "ft_spie", "demandeurs", SEPTEMBER)
        (employee,) = pseudonymised(lake, "fluxiae", "salarie", OCTOBER)
        states = pseudonymised(lake, "fluxiae", "etat_mensuel_indiv", OCTOBER)
        assert beneficiary["person"] == jobseekers[0]["person"] == employee["person"] == states[0]["person"]
        assert len(str(beneficiary["person"])) == 12
        assert states[1]["person"] == states[2]["person"] != states[0]["person"]
        assert states[1]["person_sex"] is None

    def test_sex_age_and_commune_go_along(self, lake: Lake, resolution: resolving.Resolution) -> None:
        (beneficiary,) = pseudonymised(lake, "cnaf_vrsb0801", "personnes", OCTOBER)
        assert (beneficiary["person_sex"], beneficiary["person_age"]) == ("2", 44)
        assert beneficiary["person_residence"] == "FR-COM-08362"
        assert beneficiary["etatdosrsa"] == "2"
        jobseekers = pseudonymised(lake, "ft_spie", "demandeurs", SEPTEMBER)
        assert [row["person_age"] for row in jobseekers] == [44, 49]
        assert jobseekers[0]["person_residence"] == "FR-COM-08362"

    def test_who_follows_a_person_is_a_pseudonym_of_another_key(
        self, lake: Lake, resolution: resolving.Resolution
    ) -> None:
        one, same = (row["referent_pseudonym"] for row in pseudonymised(lake, "ft_spie", "demandeurs", SEPTEMBER))
        assert one == same  # the name in two columns or in one, in any order, accents and case aside
        of_a_person = hmac.digest(lake.keyring.purpose_key("facts"), b"france-travail\x1fetourneau lou", "sha256").hex()
        assert len(str(one)) == 64
        assert one != of_a_person

    def test_two_persons_with_one_pseudonym_are_refused(self) -> None:
        assert pseudonyms.each_of(b"key", ["fr-1", "fr-2"]).to_pylist() == [
            pseudonyms.of(b"key", "fr-1"), pseudonyms.of(b"key", "fr-2"),
        ]  # fmt: skip
        with pytest.raises(pseudonyms.SharedPseudonym, match="rotate pseudonyms"):
            pseudonyms.each_of(b"key", ["fr-1", "fr-1"])

    def test_no_direct_identifier_leaves_the_sealed_area(self, lake: Lake, resolution: resolving.Resolution) -> None:
        planted = [b"VALBRUNOT", b"2820251108030", b"ODILE", b"uuid-1", b"DORSET", b"205599", b"TOURNEAU", b"tourneau"]
        for path in lake.home.rglob("*"):
            if path.is_file():
                content = path.read_bytes()
                if path.suffix == ".parquet" and lake.open_area in path.parents:
                    content += repr(lake.read_parquet(ParquetFile(path)).to_pylist()).encode()
                assert not any(value in content for value in planted), path.relative_to(lake.home)

    def test_every_table_of_every_contract_has_its_declared_columns(
        self, lake: Lake, registry: Registry, resolution: resolving.Resolution
    ) -> None:
        for source in registry.sources.values():
            for table in source.version_for(OCTOBER).resources:
                content = lake.read_parquet(pseudonymising.pseudonymised_file(lake, source.name, table.name, OCTOBER))
                assert content.schema.equals(pseudonymising.schema(table)), f"{source.name} {table.name}"

    def test_resolving_again_writes_the_same_identities(
        self, lake: Lake, registry: Registry, delivered: Delivered, resolution: resolving.Resolution
    ) -> None:
        before = lake.read_parquet(resolving.persons_file(lake, "fr"))
        again = resolving.resolve(lake, registry, (OCTOBER, SEPTEMBER), rows=delivered)
        assert again == resolution
        assert lake.read_parquet(resolving.persons_file(lake, "fr")).equals(before)

    def test_a_month_that_was_not_resolved_is_not_pseudonymised(
        self, lake: Lake, registry: Registry, delivered: Delivered, resolution: resolving.Resolution
    ) -> None:
        with pytest.raises(ValueError, match="2026-11"):
            pseudonymising.pseudonymise(lake, registry, resolution, "ft_spie", Month(2026, 11), rows=delivered)


def test_a_sealed_table_of_many_pages_can_be_filtered_and_joined(lake: Lake) -> None:
    rows = pa.table({"name": [f"n{rank:06d}" for rank in range(50_000)], "rank": list(range(50_000))})
    key = lake.keyring.space_key("fr")
    path = lake.sealed / "identity" / "fr" / "many.parquet"
    lake.write_parquet(path, rows, key=key)
    with lake.connect() as connection:
        scan = lake.scan(connection, [ParquetFile(path, key)])
        assert connection.execute(f"SELECT rank FROM {scan} WHERE name = 'n049999'").fetchall() == [(49_999,)]
        assert connection.execute(f"SELECT name FROM {scan} ORDER BY name DESC LIMIT 1").fetchall() == [("n049999",)]


def test_the_same_person_in_the_real_cnaf_flow_and_in_the_real_spie_extract_is_one_person(
    lake: Lake, registry: Registry, real_samples: Path
) -> None:
    february = Month(2022, 2)
    (spie,) = (real_samples / "france_travail").glob("*.csv")
    for path, partner, source in (
        (real_samples / "cnaf_vrsb0801" / "RSABEM.xml", "dep-52", "cnaf_vrsb0801"),
        (spie, "france-travail", "ft_spie"),
    ):
        assert landing.deliver(path, partner, source, february, registry, lake).receipt.status == "applied"
    resolution = resolving.resolve(lake, registry, [february])
    assert (resolution.records, resolution.persons) == (7, 6)
    for source in ("cnaf_vrsb0801", "ft_spie"):
        pseudonymising.pseudonymise(lake, registry, resolution, source, february)
    beneficiaries = pseudonymised(lake, "cnaf_vrsb0801", "personnes", february)
    jobseekers = pseudonymised(lake, "ft_spie", "demandeurs", february)
    assert beneficiaries[0]["person"] == jobseekers[0]["person"]
    assert len({row["person"] for row in (*beneficiaries, *jobseekers)}) == 6


# -- measuring ---------------------------------------------------------------------------------------------------


def test_quality_counts_pairs_whole_persons_and_what_each_record_sees() -> None:
    truth = pa.table({"record_id": ["a", "b", "c", "d"], "person_id": ["1", "1", "1", "2"]})
    linked = pa.table({"record_id": ["a", "b", "c", "d"], "person_id": ["x", "x", "y", "z"]})
    measured = evaluate(linked, truth)
    assert (measured.pairs.precision, measured.pairs.recall) == (1.0, pytest.approx(1 / 3))
    assert (measured.clusters.precision, measured.clusters.recall) == (pytest.approx(1 / 3), 0.5)
    assert (measured.b_cubed.precision, measured.b_cubed.recall) == (
        1.0,
        pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1) / 4),
    )


def test_a_truth_that_misses_a_record_is_refused() -> None:
    linked = pa.table({"record_id": ["a", "b"], "person_id": ["x", "x"]})
    with pytest.raises(TruthDoesNotFit):
        evaluate(linked, linked.slice(0, 1))


def test_names_swapped_with_further_given_names_are_one_person(lake: Lake) -> None:
    base = {"birth_date": "1979-04-03", "sex": "2", "residence_code": "62765", "phone": "0708646667"}
    linked = link(
        people(
            {**base, "birth_name": "CARVALHO MACHADO", "first_names": "SONIA"},
            {**base, "birth_name": "SONIA", "first_names": "CARVALHO MACHADO PAULA", "partner": "siae-05"},
        ),
        lake,
    )
    assert len(set(persons_of(linked))) == 1


class TestDecisions:
    """What people decided about two records is obeyed, whatever the traits say."""

    ELSEWHERE: ClassVar = {"partner": "siae-05", "email": "claire@exemple.fr"}

    @staticmethod
    def decided(*pairs: tuple[int, int, str]) -> pa.Table:
        return pa.Table.from_pylist(
            [
                {"record_id_l": f"r{left:05d}", "record_id_r": f"r{right:05d}", "decision": decision}
                for left, right, decision in pairs
            ],
            schema=DECISIONS_SCHEMA,
        )

    def test_two_records_that_nothing_joins_are_one_person_when_somebody_says_so(self, lake: Lake) -> None:
        other = {"birth_name": "VALBRUNOT", "first_names": "ODILE", "birth_date": "1982-02-11", "sex": "2"}
        linked = link(people(CLAIRE, other, {}), lake, decisions=self.decided((1, 0, "same")))
        assert [one == persons_of(linked)[0] for one in persons_of(linked)] == [True, True, False]
        assert linked["match_method"].to_pylist() == ["decision", "decision", "alone"]

    def test_a_person_with_two_trusted_numbers_is_made_by_people_only(self, lake: Lake) -> None:
        numbered = [{**CLAIRE, "nir": nir("2850308105123")}, {**CLAIRE, "nir": nir("2850308105124")}]
        third = {**CLAIRE, "nir": nir("2850308105123"), "partner": "siae-05"}
        linked = link(people(*numbered, third), lake, decisions=self.decided((0, 1, "same")))
        assert len(set(persons_of(linked))) == 1

    @pytest.mark.parametrize("number", [None, nir("2850308105123")], ids=["identical traits", "one number"])
    def test_two_records_that_all_joins_are_two_persons_when_somebody_says_so(
        self, lake: Lake, number: str | None
    ) -> None:
        rows = [{**CLAIRE, "nir": number, **self.ELSEWHERE} for _ in range(3)]
        space = link_space(canonical(people(*rows)), "fr", lake, decisions=self.decided((0, 1, "different")))
        first, second, third = persons_of(space.persons)
        assert first != second
        assert third in (first, second)
        assert ("refused", "decision") in zip(
            space.pairs["state"].to_pylist(), space.pairs["reason"].to_pylist(), strict=True
        )

    def test_different_holds_where_decisions_contradict_each_other(self, lake: Lake) -> None:
        rows = [{"birth_name": name, "first_names": "LOU"} for name in ("ARDUIN", "BELIN", "CORBET")]
        chain = self.decided((0, 1, "same"), (1, 2, "same"), (0, 2, "different"), (0, 77, "same"))
        linked = link(people(*rows), lake, decisions=chain)
        assert persons_of(linked)[0] != persons_of(linked)[2]

    def test_a_table_that_says_maybe_is_refused(self, lake: Lake) -> None:
        with pytest.raises(UnusableDecisions):
            link(people(CLAIRE, CLAIRE), lake, decisions=self.decided((0, 1, "maybe")))


class TestEvidenceAgainstAGuard:
    """A guard gives way to what relatives do not share."""

    LAURA: ClassVar = {
        "birth_name": "Boisgnoneau", "birth_date": "1982-04-05", "sex": "2", "residence_code": "92050",
        "address": "103 impasse de Verdun", "birth_place_name": "Bossey",
    }  # fmt: skip

    def test_a_second_given_name_beside_an_e_mail_made_of_the_first_is_one_person(self, lake: Lake) -> None:
        rows = [
            {**self.LAURA, "first_names": "Sophie", "email": "laura.boisgnoneau33@boite.example"},
            {**self.LAURA, "first_names": "Laura", "partner": "siae-05"},
        ]
        assert len(set(persons_of(link(people(*rows), lake)))) == 1

    def test_a_common_telephone_is_not_enough_where_nothing_tells_how_twins_share_it(self, lake: Lake) -> None:
        rows = [
            {**self.LAURA, "first_names": name, "partner": partner, "phone": "0706146769"}
            for name, partner in (("Sophie", "siae-05"), ("Laura", "dep-92"))
        ]
        space = link_space(canonical(people(*rows)), "fr", lake)
        assert space.pairs["state"].to_pylist() == ["guarded"]

    def test_where_trusted_numbers_tell_that_one_telephone_is_one_person_it_is_enough(self, lake: Lake) -> None:
        known = [
            {
                **self.LAURA, "birth_name": f"{chr(65 + rank)}urvallon", "birth_date": f"1982-04-{rank + 6:02d}",
                "address": f"{rank + 2} rue neuve", "birth_place_name": f"Commune {chr(65 + rank)}",
                "phone": f"07061467{rank:02d}", "nir": nir(f"28204741400{rank:02d}"), "first_names": name,
                "partner": partner,
            }
            for rank in range(20)
            for name, partner in (("Sophie", "siae-05"), ("Laura", "dep-92"))
        ]  # fmt: skip
        unknown = [
            {**self.LAURA, "first_names": name, "partner": partner, "phone": "0706146769"}
            for name, partner in (("Sophie", "siae-05"), ("Laura", "dep-92"))
        ]
        linked = persons_of(link(people(*known, *unknown), lake))
        assert len(set(linked)) == 21
        assert linked[-1] == linked[-2]

    def test_a_father_and_a_son_of_one_name_and_one_e_mail_stay_two(self, lake: Lake) -> None:
        shared = {**self.LAURA, "first_names": "Jean", "sex": "1", "email": "jean.henbois@lettre.example"}
        rows = [{**shared, "birth_date": "1961-10-11"}, {**shared, "birth_date": "1986-09-30", "partner": "siae-05"}]
        assert len(set(persons_of(link(people(*rows), lake)))) == 2


def test_each_weighed_pair_says_what_became_of_it_and_why(lake: Lake) -> None:
    twin = {"birth_name": "Garmontet", "birth_date": "1985-03-07", "sex": "2", "residence_code": "08362"}
    rows = [{**twin, "first_names": "Chloé"}, {**twin, "first_names": "Manon", "partner": "siae-05"}]
    space = link_space(canonical(people(*rows)), "fr", lake)
    assert (space.pairs["state"].to_pylist(), space.pairs["reason"].to_pylist()) == (["guarded"], ["given_name"])
    assert space.review.equals(space.pairs)


@pytest.mark.parametrize(("namesakes", "pairs"), [(5, 10), (6, 1)])
def test_what_only_a_key_in_many_hands_finds_is_no_pair_where_records_are_many(
    namesakes: int, pairs: int, lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocking, "_FEW_NODES", 0)
    monkeypatch.setattr(linkage, "forget_the_light", lambda *_, **__: None)
    shared = {"birth_name": "Garmontet", "first_names": "Chloé", "sex": "2"}
    homes = ["08362", "08362", "13055", "29019", "31555", "44109"]  # the first two live in one place
    rows = [
        {**shared, "birth_date": f"1985-{rank + 1:02}-{rank + 11}", "residence_code": homes[rank]}
        for rank in range(namesakes)
    ]
    assert link_space(canonical(people(*rows)), "fr", lake).counts["candidate_pairs"] == pairs


def test_pairs_that_are_forgotten_before_they_are_weighed_would_have_counted_for_nothing(
    lake: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    records, _ = person_records(2_000, 13, 3.0, "alternative", belgian_share=0.0)
    foreseen = link_space(canonical(records), "fr", lake)
    with monkeypatch.context() as patched:
        patched.setattr(linkage, "forget_the_light", lambda *_, **__: None)
        weighed = link_space(canonical(records), "fr", lake)
    assert foreseen.persons.equals(weighed.persons)
    assert foreseen.pairs.equals(weighed.pairs)
    assert foreseen.counts["candidate_pairs"] < 0.7 * weighed.counts["candidate_pairs"]


class TestMemory:
    """What was standardised is remembered by the hash of the record version."""

    @pytest.fixture(scope="class")
    @staticmethod
    def records() -> pa.Table:
        records, _ = person_records(300, 11, belgian_share=0.0)
        return canonical(records)

    @staticmethod
    def remembering_run(records: pa.Table, lake: Lake) -> Linkage:
        """A first run, whose memory went through the sealed files."""
        run = link_space(records, "fr", lake, remembered=Remembered())
        assert run.remembered is not None
        remembering.keep(lake, "fr", run.remembered)
        return run

    def test_a_second_run_standardises_nothing_and_says_the_same(self, records: pa.Table, lake: Lake) -> None:
        first = self.remembering_run(records, lake)
        recalled = remembering.recall(lake, "fr")
        again = link_space(records, "fr", lake, remembered=recalled)
        assert (first.counts["standardised"], again.counts["standardised"]) == (len(records), 0)
        assert again.remembered is recalled  # nothing to write
        assert again.persons.equals(first.persons)
        assert again.pairs.equals(first.pairs)

    def test_only_new_and_corrected_records_are_standardised_and_those_that_left_are_forgotten(
        self, records: pa.Table, lake: Lake
    ) -> None:
        self.remembering_run(records.slice(0, len(records) - 20), lake)
        rows = records.slice(10).to_pylist()
        rows[5]["birth_name"], rows[6]["phone"], rows[7]["first_names"] = (
            "Zürnhœft",
            "0612345678",
            rows[8]["birth_name"],
        )
        later = pa.Table.from_pylist(rows, schema=PERSON_SCHEMA)
        run = link_space(later, "fr", lake, remembered=remembering.recall(lake, "fr"))
        fresh = link_space(later, "fr", lake)
        assert run.counts["standardised"] == 20 + 3
        assert run.persons.equals(fresh.persons)
        assert run.pairs.equals(fresh.pairs)
        assert run.remembered is not None
        assert run.remembered.records is not None
        assert run.remembered.names is not None
        assert run.remembered.records["record_id"].to_pylist() == sorted(row["record_id"] for row in rows)
        said = {row[name] for row in rows for name in ("birth_name", "used_name", "first_names")} - {None}
        assert set(run.remembered.names["written"].to_pylist()) == said

    def test_what_other_rules_made_or_another_key_sealed_is_made_again(
        self, records: pa.Table, lake: Lake, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.remembering_run(records, lake)
        with monkeypatch.context() as patched:
            patched.setattr(remembering, "rules", lambda: "others")
            assert remembering.recall(lake, "fr") == Remembered()
        assert remembering.recall(lake, "fr") != Remembered()
        (lake.landing / "identity" / "fr.key").unlink()
        assert remembering.recall(lake, "fr") == Remembered()
