"""The model that weighs a pair of nodes: its comparisons, its frozen parameters, Splink at work.

Belongs here: what agrees in a pair and how much, in log2 odds; training; the file of parameters. Does not belong here:
which pairs are weighed (`blocking`), what is made of the weights (`clustering`).

The parameters stand in `model/persons.json`, without a word of SQL, so that one model serves every engine: a level is a
name, the share of true pairs that reach it (m) and of unrelated pairs (u). The conditions stand below, once.
"""

from __future__ import annotations

import functools
import json
import logging
import math
import threading
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb

MODEL_PATH = Path(__file__).parent / "model" / "persons.json"

#: What an engine calls the functions that the conditions need.
_FUNCTIONS = {
    "duckdb": {"jw": "jaro_winkler_similarity", "overlap": "list_has_any", "common": "list_intersect", "size": "len"},
    "spark": {"jw": "jaro_winkler", "overlap": "arrays_overlap", "common": "array_intersect", "size": "size"},
}

# Given and surname in each other's place, to the letter on one side at least; further given names may follow.
_SWAPPED = (
    "({overlap}(given_starts_l, surnames_r) AND {jw}(given_first_r, used_surname_l) >= 0.85)"
    " OR ({overlap}(given_starts_r, surnames_l) AND {jw}(given_first_l, used_surname_r) >= 0.85)"
)

# A number that waits for the real one says nothing by being another.
_PROVISIONAL = (
    "number_as_written_l <> number_as_written_r"
    " AND NOT (coalesce(number_is_definitive_l, true) AND coalesce(number_is_definitive_r, true))"
)
# Two numbers that are each without a mistake, or may be: those of twins differ in the order of birth alone.
_NEIGHBOURING = (
    "number_sex_l IS NOT NULL AND number_sex_r IS NOT NULL AND ((number_is_checked_l AND number_is_checked_r)"
    " OR substr(number_as_written_l, 1, 10) = substr(number_as_written_r, 1, 10))"
)

#: The first level that holds is the pair's. Each condition is symmetric in _l and _r. « else » is what remains.
COMPARISONS: dict[str, dict[str, str]] = {
    "surname": {
        "null": "surname_l IS NULL OR surname_r IS NULL",
        "exact": "surname_l = surname_r",
        "crossed": "used_surname_l = used_surname_r OR surname_l = used_surname_r OR used_surname_l = surname_r",
        "swapped": _SWAPPED,
        "part": "{overlap}(surname_parts_l, surname_parts_r)",
        "close": "{jw}(surname_l, surname_r) >= 0.92 OR {jw}(used_surname_l, used_surname_r) >= 0.92",
        "near": "{jw}(surname_l, surname_r) >= 0.86 OR {jw}(used_surname_l, used_surname_r) >= 0.86",
    },
    "given": {
        "null": "given_l IS NULL OR given_r IS NULL",
        "exact": "given_l = given_r",
        "first": "given_first_l = given_first_r",
        "swapped": _SWAPPED,
        "other": "{overlap}(given_tokens_l, given_tokens_r)",
        "close": "{overlap}(given_skeletons_l, given_skeletons_r) OR {jw}(given_l, given_r) >= 0.92"
                 " OR {jw}(given_first_l, given_first_r) >= 0.90",
        "near": "{jw}(given_first_l, given_first_r) >= 0.80",
        "in_email": "({overlap}(email_names_l, given_starts_r) AND NOT {overlap}(email_names_l, given_starts_l))"
                    " OR ({overlap}(email_names_r, given_starts_l) AND NOT {overlap}(email_names_r, given_starts_r))",
    },
    "birth": {
        "null": "year_l IS NULL OR year_r IS NULL",
        "exact": "year_l = year_r AND month_l = month_r AND day_l = day_r"
                 " AND NOT is_approximate_l AND NOT is_approximate_r",
        "year": "year_l = year_r AND (is_approximate_l OR is_approximate_r)",
        "swapped": "year_l = year_r AND month_l = day_r AND day_l = month_r",
        "two_of_three": "(year_l = year_r AND (month_l = month_r OR day_l = day_r))"
                        " OR (month_l = month_r AND day_l = day_r AND abs(year_l - year_r) < 12)",
        "close": "abs(year_l - year_r) <= 1",
    },
    "sex": {"null": "sex_l IS NULL OR sex_r IS NULL", "exact": "sex_l = sex_r"},
    "birth_place": {
        "null": "(birth_place_code_l IS NULL OR birth_place_code_r IS NULL)"
                " AND (birth_place_name_l IS NULL OR birth_place_name_r IS NULL)",
        "exact": "birth_place_code_l = birth_place_code_r OR birth_place_name_l = birth_place_name_r",
        "close": "{jw}(birth_place_name_l, birth_place_name_r) >= 0.88",
        "department": "substr(birth_place_code_l, 1, 2) = substr(birth_place_code_r, 1, 2)",
    },
    "residence": {
        "null": "(residence_code_l IS NULL OR residence_code_r IS NULL)"
                " AND (postal_code_l IS NULL OR postal_code_r IS NULL)",
        "exact": "residence_code_l = residence_code_r OR postal_code_l = postal_code_r",
        "close": "damerau_levenshtein(postal_code_l, postal_code_r) <= 1",
        "department": "substr(coalesce(residence_code_l, postal_code_l), 1, 2)"
                      " = substr(coalesce(residence_code_r, postal_code_r), 1, 2)",
    },
    "address": {
        "null": "address_l IS NULL OR address_r IS NULL",
        "exact": "address_l = address_r",
        "words": "address_words_l = address_words_r",
        "close": "{jw}(address_l, address_r) >= 0.88",
        "some": "2 * {size}({common}(address_words_l, address_words_r)) > {size}(address_words_l)"
                " AND 2 * {size}({common}(address_words_l, address_words_r)) > {size}(address_words_r)",
    },
    "email": {
        "null": "email_l IS NULL OR email_r IS NULL",
        "spelt": "email_l = email_r AND email_spells_names_l AND email_spells_names_r",
        "exact": "email_l = email_r",
    },
    "phone": {"null": "phone_l IS NULL OR phone_r IS NULL", "exact": "phone_l = phone_r"},
    "number": {
        "null": f"number_as_written_l IS NULL OR number_as_written_r IS NULL OR ({_PROVISIONAL})",
        "exact": "number_as_written_l = number_as_written_r",
        "close": f"damerau_levenshtein(number_as_written_l, number_as_written_r) <= 2 AND NOT ({_NEIGHBOURING})",
    },
    "france_travail_id": {
        "null": "france_travail_id_l IS NULL OR france_travail_id_r IS NULL",
        "exact": "france_travail_id_l = france_travail_id_r",
    },
    "household": {
        "null": "caf_matricule_l IS NULL OR caf_matricule_r IS NULL",
        "exact": "caf_matricule_l = caf_matricule_r",
    },
}  # fmt: skip

#: Levels whose weight follows the rarity of the value they agree on.
BY_RARITY = {
    ("surname", "exact"): "surname",
    ("surname", "crossed"): "surname",
    ("given", "exact"): "given_first",
    ("given", "first"): "given_first",
    ("birth", "exact"): "birth_day",
    ("birth_place", "exact"): "birth_place_name",
    ("residence", "exact"): "postal_code",
}
#: The traits whose rarity weighs.
RARITIES = tuple(sorted(set(BY_RARITY.values())))
#: No value is believed to be rarer.
RAREST = 1e-6
#: A level never seen in training is rare, not impossible.
_RAREST_M, _RAREST_U = 2e-4, 2e-6
#: How often true pairs disagree at least, whatever the training population did: people move, register again, change
#: household and telephone; birth places are written in the names and borders of several decades, addresses in several
#: ways.
_DISAGREEMENT = {
    ("birth_place", "department"): 0.03,
    ("birth_place", "else"): 0.10,
    ("residence", "department"): 0.08,
    ("residence", "else"): 0.12,
    ("address", "else"): 0.35,
    ("email", "else"): 0.10,
    ("phone", "else"): 0.20,
    ("number", "else"): 0.03,
    ("france_travail_id", "else"): 0.25,
    ("household", "else"): 0.25,
    ("birth", "close"): 0.001,
    ("birth", "else"): 0.002,
}
#: What agreement says of a comparison that the training population never makes: one file alone knows households there.
_ASSUMED = {"household": {"exact": (0.75, 2e-5), "else": (0.25, 0.99998)}}
#: An address that only spells the names says little beyond them: namesakes have the like.
_COINCIDENCE = {("email", "spelt"): 0.05}
#: Two persons at random share the value this often where the data at hand are too few to tell, and how many persons
#: that weighs against those counted: the more values there are, the more persons it takes to count them.
_PRIOR_FREQUENCY = {
    "surname": (0.0007, 3_000), "given_first": (0.004, 3_000), "birth_day": (0.00006, 50_000),
    "birth_place_name": (0.004, 3_000), "postal_code": (0.003, 3_000),
}  # fmt: skip
#: Values that stand in nodes as codes of a spelling.
_CODED = ("surname", "given_first")
_COMPILING = threading.Lock()
#: A handful of records still comes from a population: two at random are the same person once in this many, at most.
_SMALLEST_POPULATION = 5_000


@dataclass(frozen=True)
class Thresholds:
    """What a weight (log2 odds) decides. Chosen on clusters, not on pairs.

    From `join` on, a pair joins two groups, if the mean of all pairs between them reaches `neighbours`. A pair that
    weighs less than `unscored`, or that no rule found worth weighing, counts that much in the mean. From `review` on, a
    pair that is not joined goes to review.
    """

    join: float
    neighbours: float
    review: float
    unscored: float


#: For a model learnt elsewhere, on whose population the data at hand need not resemble.
FROZEN_THRESHOLDS = Thresholds(join=7.0, neighbours=7.0, review=3.0, unscored=-1.0)
#: For a model learnt from the very data: its odds are theirs.
LEARNT_THRESHOLDS = Thresholds(join=1.0, neighbours=2.0, review=-1.0, unscored=-6.0)


@dataclass(frozen=True)
class Model:
    """What training learns: m and u of each level of each comparison; and what its weights decide."""

    version: str
    parameters: Mapping[str, Mapping[str, tuple[float, float]]]
    thresholds: Thresholds = FROZEN_THRESHOLDS

    @property
    def number_reliability(self) -> float:
        """How often the numbers of one person are the same, where they are not merely alike."""
        same, other = (self.parameters["number"][level][0] for level in ("exact", "else"))
        return same / (same + other)

    @classmethod
    def load(cls, path: Path = MODEL_PATH) -> Model:
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            content["version"],
            {
                comparison: {level: (one["m"], one["u"]) for level, one in levels.items()}
                for comparison, levels in content["comparisons"].items()
            },
            Thresholds(**content["thresholds"]),
        )

    def save(self, path: Path, *, trained_on: str) -> None:
        comparisons = {
            comparison: {level: {"m": float(f"{m:.6g}"), "u": float(f"{u:.6g}")} for level, (m, u) in levels.items()}
            for comparison, levels in self.parameters.items()
        }
        content = {
            "version": self.version,
            "trained_on": trained_on,
            "thresholds": asdict(self.thresholds),
            "comparisons": comparisons,
        }
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@functools.lru_cache(maxsize=4)
def frozen_model() -> Model:
    """The model of this version of the program."""
    return Model.load()


def rarity_base(model: Model, comparison: str, level: str) -> float:
    """The share of unrelated pairs from which Splink adjusts a level to the rarity of its value: that of the level
    which is nothing but the equality of a coded name, else its own."""
    column = BY_RARITY[comparison, level]
    bare = (name for name, written in COMPARISONS[comparison].items() if written == f"{column}_l = {column}_r")
    return model.parameters[comparison][next(bare, level) if column in _CODED else level][1]


def levels_sql() -> dict[str, str]:
    """Comparison to the SQL of the level that a pair reaches, over the columns of two `faces`, `…_l` and `…_r`."""
    return {
        comparison: "CASE "
        + " ".join(f"WHEN {text.format(**_FUNCTIONS['duckdb'])} THEN '{level}'" for level, text in conditions.items())
        + " ELSE 'else' END"
        for comparison, conditions in COMPARISONS.items()
    }


def settings_of(model: Model | None, dialect: str = "duckdb") -> dict[str, Any]:
    """Splink settings: the comparisons above in an engine's words, with the parameters of `model` when there is one.

    The odds that two nodes are one before anything is compared are even here: `score` adds those of the data.
    """
    comparisons = []
    for comparison, conditions in COMPARISONS.items():
        if model is not None and comparison not in model.parameters:
            continue  # learnt before this comparison was
        levels: list[dict[str, Any]] = []
        for level, condition in [*conditions.items(), ("else", "ELSE")]:
            written = {"sql_condition": condition.format(**_FUNCTIONS[dialect]), "label_for_charts": level}
            described: dict[str, Any] = dict(written)
            if level == "null":
                described["is_null_level"] = True
            elif model is not None:
                described["m_probability"], described["u_probability"] = model.parameters[comparison][level]
            if (column := BY_RARITY.get((comparison, level))) is not None:
                described["tf_adjustment_column"] = column
                described["tf_minimum_u_value"] = RAREST
                # what is adjusted is this level's own u: none of the conditions is a bare equality of the column
                described["disable_tf_exact_match_detection"] = column not in _CODED
            levels.append(described)
        comparisons.append({"output_column_name": f"c_{comparison}", "comparison_levels": levels})
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "node",
        "probability_two_random_records_match": 0.5,
        "blocking_rules_to_generate_predictions": ["l.surname = r.surname AND l.given_first = r.given_first"],
        "comparisons": comparisons,
        "retain_matching_columns": False,
        "retain_intermediate_calculation_columns": False,
        "linker_uid": "persons",
    }


@functools.lru_cache(maxsize=4)
def _compiled(settings: str, dialect: str) -> str:
    """Splink's own SQL for these settings (JSON): one row per pair of `candidates`, with its match weight.

    What Splink does to a model before it weighs takes longer than small months take to weigh, and is the same for all
    of them. The SQL reads `candidates` and two tables `faces` with their frequencies.
    """
    import sqlglot
    from splink import SettingsCreator
    from splink.internals.comparison_vector_values import compute_comparison_vector_values_from_id_pairs_sqls
    from splink.internals.predict import predict_from_comparison_vectors_sqls_using_settings

    creator = SettingsCreator.from_path_or_dict(json.loads(settings))
    compiled = creator.get_settings(dialect)
    steps = [
        {"output_table_name": "__splink__blocked_id_pairs", "sql": "SELECT * FROM candidates"},
        *compute_comparison_vector_values_from_id_pairs_sqls(
            compiled._columns_to_select_for_blocking,
            compiled._columns_to_select_for_comparison_vector_values,
            input_tablename_l="faces",
            input_tablename_r="faces",
            source_dataset_input_column=compiled.column_info_settings.source_dataset_input_column,
            unique_id_input_column=compiled.column_info_settings.unique_id_input_column,
            link_type=compiled._link_type,
            sql_dialect_str=dialect,
        ),
        *predict_from_comparison_vectors_sqls_using_settings(compiled),
    ]
    written = ", ".join(f"{step['output_table_name']} AS ({step['sql']})" for step in steps)
    query = f"WITH {written} SELECT node_l, node_r, match_weight FROM {steps[-1]['output_table_name']}"
    # Splink writes types that Spark has under another name, and translates them on the way to it
    return query if dialect == "duckdb" else sqlglot.transpile(query, read=dialect, write=dialect)[0]


def weighing_sql(model: Model, dialect: str = "duckdb") -> str:
    """The SQL by which an engine weighs `candidates` of `faces`: `node_l, node_r, match_weight`, at even prior odds."""
    with _COMPILING:  # both spaces want it at once
        return _compiled(json.dumps(settings_of(model, dialect)), dialect)


#: Weighs the pairs of `candidates` by a model; gives the SQL of the relation (node_l, node_r, match_weight).
Weighing = Callable[[duckdb.DuckDBPyConnection, Model], str]


def weigh_here(connection: duckdb.DuckDBPyConnection, model: Model) -> str:
    """In DuckDB, on this machine."""
    return f"({weighing_sql(model)})"


def score(
    connection: duckdb.DuckDBPyConnection, model: Model, *, above: float, weighing: Weighing = weigh_here
) -> None:
    """Weigh the pairs of the temporary table `candidates` (join_key_l, join_key_r, match_key) of rows of `faces`.

    Makes the temporary table `scored` (node_l, node_r, weight in log2 odds), those of at least `above`.
    """
    connection.execute(
        f"""
        CREATE OR REPLACE TEMP TABLE scored AS
        SELECT node_l, node_r, round(match_weight + $prior, 6) AS weight FROM {weighing(connection, model)} AS weighed
        WHERE match_weight + $prior >= $above
        """,
        {"prior": prior_weight(connection), "above": above},
    )


def prior_weight(connection: duckdb.DuckDBPyConnection) -> float:
    """The log2 odds that two nodes at random are one person: the more persons, the less likely."""
    nodes = int(connection.execute("SELECT count(*) FROM nodes").fetchall()[0][0])
    return -math.log2(max(_SMALLEST_POPULATION, nodes) - 1)


def train(connection: duckdb.DuckDBPyConnection, *, labels: str | None = None, version: str = "trained") -> Model:
    """Learn the parameters from the table `faces`: u from random pairs, m from `labels` (a column of `faces` that says
    who is who) or else by expectation maximisation. Not reproducible to the bit: freeze what it returns.
    """
    from splink import block_on

    linker = _linker(connection)
    linker.training.estimate_u_using_random_sampling(max_pairs=1e6, seed=1, num_chunks=1, min_count_per_level=None)
    if labels is not None:
        linker.training.estimate_m_from_label_column(labels)
    else:
        for rule in (
            block_on("surname", "given_first"),
            block_on("year", "month", "day"),
            block_on("postal_code", "year", "given_first"),
        ):
            linker.training.estimate_parameters_using_expectation_maximisation(rule)
    learnt: dict[str, dict[str, tuple[float, float]]] = {}
    for comparison in linker._settings_obj.core_model_settings.comparisons:
        levels, compared = {}, comparison.output_column_name.removeprefix("c_")
        for level in comparison.comparison_levels:
            if not level.is_null_level:
                m = level.m_probability if level._has_estimated_m_values else 0.0
                u = level.u_probability if level._has_estimated_u_values else 0.0
                name = level.label_for_charts
                levels[name] = (
                    max(m, _DISAGREEMENT.get((compared, name), _RAREST_M)),
                    max(u, _COINCIDENCE.get((compared, name), _RAREST_U)),
                )
        has_learnt = any(level._has_estimated_m_values for level in comparison.comparison_levels[1:])
        learnt[compared] = levels if has_learnt else _ASSUMED.get(compared, levels)
    return Model(version, learnt, LEARNT_THRESHOLDS if labels is None else FROZEN_THRESHOLDS)


def _linker(connection: duckdb.DuckDBPyConnection) -> Any:
    """Splink over the table `faces`, without parameters yet."""
    from splink import Linker
    from splink.internals.duckdb.database_api import DuckDBAPI

    logging.getLogger("splink").setLevel(logging.ERROR)
    nodes = int(connection.execute("SELECT count(*) FROM nodes").fetchall()[0][0])
    api = DuckDBAPI(connection)
    settings = {
        **settings_of(None),
        "probability_two_random_records_match": 1 / max(_SMALLEST_POPULATION, nodes),
    }
    linker = Linker(api.register("faces"), settings, log_level=None, validate_settings=False)
    for column in RARITIES:
        named = f"rarity_of_{column}"
        connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {named} AS SELECT {column}, any_value(tf_{column}) AS tf_{column} FROM faces"
            f" WHERE {column} IS NOT NULL GROUP BY {column}"
        )
        linker.table_management.register_term_frequency_lookup(api.register(named), column)
    return linker


def count_frequencies(connection: duckdb.DuckDBPyConnection) -> None:
    """Make the temporary tables `frequency_of_…` (value, frequency) of the traits whose rarity weighs.

    Counted in the data at hand, drawn towards a prior where they are few. Reads `nodes`.
    """
    for column in RARITIES:
        prior, persons = _PRIOR_FREQUENCY[column]
        value = "10_000 * year::INTEGER + 100 * month + day" if column == "birth_day" else column
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE frequency_of_{column} AS
            WITH counted AS (
                SELECT {value} AS value, count(*) AS bearers FROM nodes WHERE value IS NOT NULL GROUP BY value
            )
            SELECT value, (bearers + $persons * $prior) / ((SELECT sum(bearers) FROM counted) + $persons) AS frequency
            FROM counted
            """,
            {"prior": prior, "persons": persons},
        )
