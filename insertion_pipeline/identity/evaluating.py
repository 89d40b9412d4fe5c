"""How good a linkage is, where the truth is known: pairs, whole persons, and B³.

Belongs here: the measures and their definitions. Does not belong here: the truth itself (the simulation's, or a
clerically labelled sample), what is done with the figures (the model's record, the monthly report).

- *Pairs* of records: precision is the share of the pairs put together that belong together; recall the share of the
  pairs that belong together that were put together. Big persons weigh more than their number.
- *Clusters*: a person counts when all of its records are together and no other is with them, persons of one record
  included. The severest of the three, and the one that counts of persons depend on.
- *B³*: the same shares seen from each record, then averaged over records.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa

from insertion_pipeline.lake import in_memory


class TruthDoesNotFit(Exception):
    """The truth does not name every record of the linkage exactly once."""


@dataclass(frozen=True, slots=True)
class Agreement:
    """Precision and recall in [0, 1], one where there was nothing to find or nothing was found."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        both = self.precision + self.recall
        return 2 * self.precision * self.recall / both if both else 0.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A linkage beside the truth: sizes and the three agreements."""

    records: int
    persons_found: int
    persons: int
    pairs: Agreement
    clusters: Agreement
    b_cubed: Agreement

    def as_dict(self) -> dict[str, int | float]:
        """Flat figures for JSON, in the order in which people read them."""
        figures: dict[str, int | float] = {
            "records": self.records, "persons_found": self.persons_found, "persons": self.persons,
        }  # fmt: skip
        for name, measured in (("pair", self.pairs), ("cluster", self.clusters), ("b3", self.b_cubed)):
            figures[f"{name}_precision"] = round(measured.precision, 6)
            figures[f"{name}_recall"] = round(measured.recall, 6)
            figures[f"{name}_f1"] = round(measured.f1, 6)
        return figures


_FIGURES = """
WITH cells AS (
    SELECT found.person_id AS found, truth.person_id AS real, count(*) AS n
    FROM found JOIN truth USING (record_id) GROUP BY ALL
), sized AS (
    SELECT *, sum(n) OVER (PARTITION BY found) AS in_found, sum(n) OVER (PARTITION BY real) AS in_real FROM cells
)
SELECT sum(n), count(DISTINCT found), count(DISTINCT real),
    sum(n * (n - 1)), sum(n * (in_found - 1)), sum(n * (in_real - 1)),
    count(*) FILTER (n = in_found AND n = in_real),
    sum(n * n / in_found::DOUBLE), sum(n * n / in_real::DOUBLE)
FROM sized
"""


def evaluate(linked: pa.Table, truth: pa.Table) -> Evaluation:
    """Measure `linked` (`record_id, person_id`, one row per record) against `truth` (the same columns).

    The truth may hold more records than were linked; those are left out. Raises `TruthDoesNotFit` when it holds fewer,
    or one twice.
    """
    with in_memory() as connection:
        connection.register("found", linked.select(["record_id", "person_id"]))
        connection.register("truth", truth.select(["record_id", "person_id"]))
        (unknown, repeated) = connection.execute(
            "SELECT (SELECT count(*) FROM found ANTI JOIN truth USING (record_id)),"
            " (SELECT count(*) FROM (SELECT record_id FROM truth GROUP BY record_id HAVING count(*) > 1))"
        ).fetchall()[0]
        if unknown or repeated:
            raise TruthDoesNotFit(f"the truth misses {unknown} records and names {repeated} more than once")
        row = connection.execute(_FIGURES).fetchall()[0]
    records, found, real, both, pairs_found, pairs_real, exact, precise, complete = (value or 0 for value in row)
    return Evaluation(
        records=int(records),
        persons_found=int(found),
        persons=int(real),
        pairs=Agreement(_share(both, pairs_found), _share(both, pairs_real)),
        clusters=Agreement(_share(exact, found), _share(exact, real)),
        b_cubed=Agreement(_share(precise, records), _share(complete, records)),
    )


def _share(part: float, whole: float) -> float:
    return float(part) / float(whole) if whole else 1.0
