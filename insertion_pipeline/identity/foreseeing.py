"""Which candidate pairs cannot weigh enough to count, told before their texts are read.

Belongs here: the most that a pair can weigh, by what its nodes say in codes, numbers and short texts. Does not belong
here: which pairs are candidates (`blocking`), what they do weigh (`scoring`).

Namesakes grow with the square of a population, persons do not: of five million records' candidates one in seven weighs
as much as a pair that nobody weighed. The comparisons are those of `scoring`, read on outlines: a name is the code of
its spelling, which tells equality but no likeness. A level that only letters tell is taken as reached where nothing
excludes it. What is dropped would have been dropped after weighing: nothing that linkage says depends on it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import duckdb

from insertion_pipeline.identity.scoring import (
    BY_RARITY,
    COMPARISONS,
    RAREST,
    RARITIES,
    Model,
    prior_weight,
    rarity_base,
)

#: What two outlines say of levels that only letters tell: the level is out of reach where this is false.
_MAY_BE_SWAPPED = (
    "coalesce(given_start_l = surname_start_r OR given_start_l = used_start_r"
    " OR given_start_r = surname_start_l OR given_start_r = used_start_l, true)"
)
_REACHABLE = {
    ("surname", "swapped"): _MAY_BE_SWAPPED,
    ("surname", "part"): "true",
    ("surname", "close"): "true",
    ("surname", "near"): "true",
    ("given", "swapped"): _MAY_BE_SWAPPED,
    ("given", "other"): "true",
    ("given", "close"): "true",
    ("given", "near"): "true",
    ("given", "in_email"): "coalesce(email_l, email_r) IS NOT NULL",
    ("birth_place", "close"): "true",
    ("residence", "close"): "true",
    ("address", "close"): "true",
    ("address", "some"): "true",
    ("email", "spelt"): "email_l = email_r",
}
#: Outlines cost what weighing this many pairs per node does: where there are fewer, all are weighed.
_PAIRS_PER_NODE = 0.5
#: Comparing two numbers letter by letter costs more than all the rest: it comes last, where it matters.
_LAST = "number"

# A name of one letter begins like any other: its start is unknown.
_OUTLINES = """
CREATE OR REPLACE TEMP TABLE outlines AS
WITH starts AS (
    SELECT code, CASE WHEN length(text) > 1 THEN left(text, 2) END AS start FROM spellings
), located AS (
    SELECT code, hash(words) AS address_words FROM addresses
)
SELECT node, surname, used_surname, given, given_first, birth_of.start AS surname_start, used_of.start AS used_start,
    given_of.start AS given_start, sex, year, month, day, is_approximate, birth_place_code, birth_place_name,
    residence_code, postal_code, address, address_words, email, phone, number_sex, number_is_checked,
    number_is_definitive, number_as_written, france_travail_id, caf_matricule, {rarities}
FROM (
    SELECT *, 10_000 * year::INTEGER + 100 * month + day AS birth_day FROM nodes
    WHERE node IN (SELECT unnest([join_key_l, join_key_r]) FROM candidates)
) AS compared
LEFT JOIN starts AS birth_of ON birth_of.code = surname
LEFT JOIN starts AS used_of ON used_of.code = used_surname
LEFT JOIN starts AS given_of ON given_of.code = given
LEFT JOIN located ON located.code = address_written
{counted}
"""

_FORESEEN = """
CREATE OR REPLACE TEMP TABLE foreseen AS
WITH paired AS (
    SELECT {columns} FROM candidates
    JOIN outlines AS l ON l.node = join_key_l JOIN outlines AS r ON r.node = join_key_r
), summed AS MATERIALIZED (
    SELECT join_key_l, join_key_r, {last}, {most} AS most FROM paired
)
SELECT '0' AS match_key, join_key_l, join_key_r FROM summed WHERE most + {most_of_last} >= $above
"""


def forget_the_light(connection: duckdb.DuckDBPyConnection, model: Model, *, above: float) -> None:
    """Take those pairs out of `candidates` of which it is sure that they weigh less than `above`, if there are many.

    Reads `nodes`, `spellings`, `addresses` and the tables `frequency_of_…`.
    """
    [(pairs, nodes)] = connection.execute("SELECT (SELECT count(*) FROM candidates), count(*) FROM nodes").fetchall()
    if pairs < _PAIRS_PER_NODE * nodes:
        return
    connection.execute(
        _OUTLINES.format(
            rarities=", ".join(
                f"coalesce(-log2(greatest(of_{trait}.frequency, {RAREST})), {-math.log2(RAREST)})::FLOAT"
                f" AS rarity_of_{trait}"
                for trait in RARITIES
            ),
            counted=" ".join(
                f"LEFT JOIN frequency_of_{trait} AS of_{trait} ON of_{trait}.value = compared.{trait}"
                for trait in RARITIES
            ),
        )
    )
    outlined = [name for name, *_ in connection.execute("DESCRIBE outlines").fetchall() if name != "node"]
    compared = [comparison for comparison in COMPARISONS if comparison in model.parameters]
    connection.execute(
        _FORESEEN.format(
            columns=", ".join(
                ["join_key_l", "join_key_r", *(f"{side}.{name} AS {name}_{side}" for name in outlined for side in "lr")]
            ),
            last=", ".join(f"{name}_{side}" for name in outlined if name.startswith(_LAST) for side in "lr"),
            most=" + ".join(_most(model, comparison) for comparison in compared if comparison != _LAST),
            most_of_last=_most_of_last(model) if _LAST in compared else "0",
        ),
        # a hundredth of a bit for what is rounded on the way
        {"above": above - prior_weight(connection) - 0.01},
    )
    connection.execute("DROP TABLE outlines; DROP TABLE candidates; ALTER TABLE foreseen RENAME TO candidates")


def _weight(model: Model, comparison: str, level: str) -> float:
    m, u = model.parameters[comparison][level]
    return math.log2(m / u)


def _most(model: Model, comparison: str) -> str:
    """The SQL of the most that two outlines can weigh in a comparison."""
    return f"(CASE {' '.join(_cases(model, comparison))} END)"


def _cases(model: Model, comparison: str) -> Iterator[str]:
    conditions = COMPARISONS[comparison]
    levels = [level for level in (*conditions, "else") if level != "null"]
    yield f"WHEN {conditions['null']} THEN 0"
    within_reach: list[float] = []  # levels that came before and nothing told of
    for rank, level in enumerate(levels):
        weight, hint = _weight(model, comparison, level), _REACHABLE.get((comparison, level))
        if level == "else":
            yield f"ELSE {max([weight, *within_reach])}"
        elif hint == "true":
            within_reach.append(weight)
        elif hint is not None:
            later = (_weight(model, comparison, other) for other in levels[rank:])
            yield f"WHEN {hint} THEN {max([*later, *within_reach])}"
        elif (trait := BY_RARITY.get((comparison, level))) is not None:
            common = weight + math.log2(rarity_base(model, comparison, level))
            rare = f"{common} + least(rarity_of_{trait}_l, rarity_of_{trait}_r)"
            yield f"WHEN {conditions[level]} THEN greatest({', '.join([rare, *map(str, within_reach)])})"
        else:
            yield f"WHEN {conditions[level]} THEN {max([weight, *within_reach])}"


def _most_of_last(model: Model) -> str:
    """The same of the last comparison: read letter by letter where that decides."""
    conditions = COMPARISONS[_LAST]
    exact, close, other = (_weight(model, _LAST, level) for level in ("exact", "close", "else"))
    return (
        f"CASE WHEN {conditions['null']} THEN 0 WHEN {conditions['exact']} THEN {exact}"
        f" WHEN most + {other} >= $above OR most + {close} < $above THEN {other}"
        f" WHEN {conditions['close']} THEN {close} ELSE {other} END"
    )
