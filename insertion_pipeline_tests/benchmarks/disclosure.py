"""What it costs to protect small tables of counts, against the bound that any protection costs at least.

    python -m insertion_pipeline_tests.benchmarks.disclosure [--tables 6]

Each table has eight communes in two groups, three ages and two sexes, counts as uneven as those of real communes.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa

from insertion_pipeline.disclosure.counts import Specification, protect_counts

_GROUPS = {f"g{group}": [f"c{group}{commune}" for commune in range(4)] for group in range(2)}
_AGES, _SEXES = ("a0", "a1", "a2"), ("F", "M")
_MEAN = 12.0


def table(seed: int) -> pa.Table:
    """One row per cell of a table, totals included."""
    chance = np.random.default_rng(seed)
    communes = [commune for group in _GROUPS.values() for commune in group]
    size = chance.pareto(1.2, len(communes)) + 0.3
    ages = chance.dirichlet(np.full(len(_AGES), 3.0), len(communes)) * len(_AGES)
    mean = _MEAN * 0.8 * (size / size.mean())[:, None, None] * ages[:, :, None] * np.ones(len(_SEXES))
    counts = chance.poisson(mean)
    places = {**{name: [at] for at, name in enumerate(communes)}, "TOTAL": list(range(len(communes)))}
    places |= {group: [communes.index(one) for one in members] for group, members in _GROUPS.items()}
    cuts = [
        {**{code: [at] for at, code in enumerate(codes)}, "TOTAL": list(range(len(codes)))} for codes in (_AGES, _SEXES)
    ]
    rows = [
        (place, age, sex, int(counts[np.ix_(places[place], cuts[0][age], cuts[1][sex])].sum()))
        for place, age, sex in product(places, *cuts)
    ]
    return pa.table(
        dict(zip(("territory", "age", "sex", "value"), map(pa.array, zip(*rows, strict=True)), strict=True))
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", type=int, default=6)
    paid = bound = 0.0
    with tempfile.TemporaryDirectory() as folder:
        parents = [(group, "TOTAL") for group in _GROUPS] + [
            (one, group) for group in _GROUPS for one in _GROUPS[group]
        ]
        hierarchy = "\n".join(["code,parent", *(",".join(pair) for pair in parents)])
        (Path(folder) / "territory.csv").write_text(hierarchy + "\n", encoding="utf-8")
        dimensions = {"territory": {"hierarchy": "territory.csv"}, "age": None, "sex": None}
        specification = Specification.model_validate({"dimensions": dimensions})
        for seed in range(parser.parse_args().tables):
            began = time.process_time()
            certificate = protect_counts(table(seed), specification, Path(folder)).certificate
            cost = certificate["cost"]
            paid, bound = paid + cost["paid"], bound + cost["proven_lower_bound"]
            seconds = time.process_time() - began
            print(  # noqa: T201 (what a benchmark says)
                f"table {seed}: {certificate['cells']} cells, {certificate['primary']} sensitive,"
                f" {certificate['secondary']} hidden beside them, {cost['paid'] / cost['proven_lower_bound']:.4f} x the"
                f" bound, {seconds:.1f} s of processor"
            )
    print(f"all: {paid / bound:.4f} x the bound")  # noqa: T201


if __name__ == "__main__":
    main()
