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
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

MODEL_PATH = Path(__file__).parent / "model" / "persons.json"

#: What an engine calls the functions that the conditions need.
_FUNCTIONS = {
    "duckdb": {"jw": "jaro_winkler_similarity", "overlap": "list_has_any"},
    "spark": {"jw": "jaro_winkler", "overlap": "arrays_overlap"},
}

# Given and surname in each other's place, to the letter on one side at least; further given names may follow.
_SWAPPED = (
    "({overlap}(given_starts_l, surnames_r) AND {jw}(given_first_r, used_surname_l) >= 0.85)"
    " OR ({overlap}(given_starts_r, surnames_l) AND {jw}(given_first_l, used_surname_r) >= 0.85)"
)

# The first level that holds is the pair's. Each condition is symmetric in _l and _r. « else » is what remains.
_COMPARISONS: dict[str, dict[str, str]] = {
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
        "close": "given_skeleton_l = given_skeleton_r OR {jw}(given_l, given_r) >= 0.92"
                 " OR {jw}(given_first_l, given_first_r) >= 0.90",
        "near": "{jw}(given_first_l, given_first_r) >= 0.80",
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
        "department": "substr(birth_place_code_l, 1, 2) = substr(birth_place_code_r, 1, 2)",
    },
    "residence": {
        "null": "(residence_code_l IS NULL OR residence_code_r IS NULL)"
                " AND (postal_code_l IS NULL OR postal_code_r IS NULL)",
        "exact": "residence_code_l = residence_code_r OR postal_code_l = postal_code_r",
        "department": "substr(coalesce(residence_code_l, postal_code_l), 1, 2)"
                      " = substr(coalesce(residence_code_r, postal_code_r), 1, 2)",
    },
    "address": {
        "null": "address_l IS NULL OR address_r IS NULL",
        "exact": "address_l = address_r",
        "close": "{jw}(address_l, address_r) >= 0.88",
    },
    "contact": {
        "null": "(email_l IS NULL OR email_r IS NULL) AND (phone_l IS NULL OR phone_r IS NULL)",
        "email": "email_l = email_r",
        "phone": "phone_l = phone_r",
    },
    "number": {
        "null": "number_as_written_l IS NULL OR number_as_written_r IS NULL",
        "exact": "number_as_written_l = number_as_written_r",
        "close": "damerau_levenshtein(number_as_written_l, number_as_written_r) <= 2",
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
_BY_RARITY = {
    ("surname", "exact"): "surname",
    ("surname", "crossed"): "surname",
    ("given", "exact"): "given_first",
    ("given", "first"): "given_first",
}
#: A level never seen in training is rare, not impossible.
_RAREST_M, _RAREST_U = 2e-4, 2e-6
#: How often true pairs disagree at least, whatever the training population did: people move, register again, change
#: household and telephone; birth places are written in the names and borders of several decades.
_DISAGREEMENT = {
    ("birth_place", "department"): 0.03,
    ("birth_place", "else"): 0.10,
    ("residence", "department"): 0.08,
    ("residence", "else"): 0.12,
    ("contact", "else"): 0.30,
    ("number", "else"): 0.03,
    ("france_travail_id", "else"): 0.25,
    ("household", "else"): 0.25,
    ("birth", "close"): 0.001,
    ("birth", "else"): 0.002,
}
#: How many persons the prior frequency of a name weighs against those counted in the data at hand.
_PRIOR_PERSONS = 3000
#: Two persons at random bear the same name this often, where the data at hand are too few to tell.
_PRIOR_FREQUENCY = {"surname": 0.0007, "given_first": 0.004}
#: A handful of records still comes from a population: two at random are the same person once in this many, at most.
_SMALLEST_POPULATION = 5_000


@dataclass(frozen=True)
class Model:
    """What training learns: m and u of each level of each comparison."""

    version: str
    parameters: Mapping[str, Mapping[str, tuple[float, float]]]

    @classmethod
    def load(cls, path: Path = MODEL_PATH) -> Model:
        content = json.loads(path.read_text(encoding="utf-8"))
        return cls(
            content["version"],
            {
                comparison: {level: (one["m"], one["u"]) for level, one in levels.items()}
                for comparison, levels in content["comparisons"].items()
            },
        )

    def save(self, path: Path, *, trained_on: str) -> None:
        comparisons = {
            comparison: {level: {"m": float(f"{m:.6g}"), "u": float(f"{u:.6g}")} for level, (m, u) in levels.items()}
            for comparison, levels in self.parameters.items()
        }
        content = {"version": self.version, "trained_on": trained_on, "comparisons": comparisons}
        path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


@functools.lru_cache(maxsize=4)
def frozen_model() -> Model:
    """The model of this version of the program."""
    return Model.load()


def levels_sql() -> dict[str, str]:
    """Comparison to the SQL of the level that a pair reaches, over the columns of two `faces`, `…_l` and `…_r`."""
    return {
        comparison: "CASE "
        + " ".join(f"WHEN {text.format(**_FUNCTIONS['duckdb'])} THEN '{level}'" for level, text in conditions.items())
        + " ELSE 'else' END"
        for comparison, conditions in _COMPARISONS.items()
    }


def settings_of(model: Model | None, nodes: int, dialect: str = "duckdb") -> dict[str, Any]:
    """Splink settings: the comparisons above in an engine's words, with the parameters of `model` when there is one.

    The prior odds follow the number of nodes: the more persons, the less likely that two of them are one.
    """
    comparisons = []
    for comparison, conditions in _COMPARISONS.items():
        if model is not None and comparison not in model.parameters:
            continue  # learnt before this comparison was: the frozen model does without addresses
        levels: list[dict[str, Any]] = []
        for level, condition in [*conditions.items(), ("else", "ELSE")]:
            written = {"sql_condition": condition.format(**_FUNCTIONS[dialect]), "label_for_charts": level}
            described: dict[str, Any] = dict(written)
            if level == "null":
                described["is_null_level"] = True
            elif model is not None:
                described["m_probability"], described["u_probability"] = model.parameters[comparison][level]
            if (comparison, level) in _BY_RARITY:
                described["tf_adjustment_column"] = _BY_RARITY[comparison, level]
                described["tf_minimum_u_value"] = 1e-6
            levels.append(described)
        comparisons.append({"output_column_name": f"c_{comparison}", "comparison_levels": levels})
    return {
        "link_type": "dedupe_only",
        "unique_id_column_name": "node",
        "probability_two_random_records_match": 1 / max(_SMALLEST_POPULATION, nodes),
        "blocking_rules_to_generate_predictions": ["l.surname = r.surname AND l.given_first = r.given_first"],
        "comparisons": comparisons,
        "retain_matching_columns": False,
        "retain_intermediate_calculation_columns": False,
        "linker_uid": "persons",
    }


def score(connection: duckdb.DuckDBPyConnection, model: Model, *, above: float) -> None:
    """Weigh the pairs of the temporary table `candidates` (join_key_l, join_key_r, match_key) of rows of `faces`.

    Makes the temporary table `scored` (node_l, node_r, weight in log2 odds), those of at least `above`.
    """
    linker = _linker(connection, model)
    api = linker._db_api
    linker.table_management.register_blocked_pairs_for_predict(api.register("candidates"))
    predicted = linker.inference.predict(threshold_match_weight=above, warning_mode="never")
    connection.execute(
        "CREATE OR REPLACE TEMP TABLE scored AS SELECT node_l, node_r, round(match_weight, 6) AS weight"
        f" FROM {predicted.physical_name}"
    )
    predicted.drop_table_from_database_and_remove_from_cache()


def train(connection: duckdb.DuckDBPyConnection, *, labels: str | None = None, version: str = "trained") -> Model:
    """Learn the parameters from the table `faces`: u from random pairs, m from `labels` (a column of `faces` that says
    who is who) or else by expectation maximisation. Not reproducible to the bit: freeze what it returns.
    """
    from splink import block_on

    linker = _linker(connection, None)
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
                m, u = _learnt(level.m_probability), _learnt(level.u_probability)
                name = level.label_for_charts
                levels[name] = (max(m, _DISAGREEMENT.get((compared, name), _RAREST_M)), max(u, _RAREST_U))
        learnt[compared] = levels
    return Model(version, learnt)


def _learnt(probability: object) -> float:
    return float(probability) if isinstance(probability, int | float) else 0.0


def _linker(connection: duckdb.DuckDBPyConnection, model: Model | None) -> Any:
    from splink import Linker
    from splink.internals.duckdb.database_api import DuckDBAPI

    logging.getLogger("splink").setLevel(logging.ERROR)
    api = DuckDBAPI(connection)
    nodes = int(connection.execute("SELECT count(*) FROM nodes").fetchall()[0][0])
    linker = Linker(api.register("faces"), settings_of(model, nodes), log_level=None, validate_settings=False)
    for column in sorted(set(_BY_RARITY.values())):
        connection.execute(_frequency_sql(column), {"prior": _PRIOR_FREQUENCY[column], "persons": _PRIOR_PERSONS})
        linker.table_management.register_term_frequency_lookup(api.register(f"frequency_of_{column}"), column)
    return linker


def _frequency_sql(column: str) -> str:
    """How often a name occurs: counted in the data at hand, drawn towards a prior where they are few."""
    return f"""
        CREATE OR REPLACE TEMP TABLE frequency_of_{column} AS
        WITH counted AS (SELECT {column} AS code, count(*) AS bearers FROM nodes WHERE code IS NOT NULL GROUP BY code)
        SELECT text AS {column},
            (bearers + $persons * $prior) / ((SELECT sum(bearers) FROM counted) + $persons) AS tf_{column}
        FROM counted JOIN spellings USING (code)
    """
