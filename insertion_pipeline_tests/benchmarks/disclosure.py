"""What it costs to protect tables of counts, against the bound that any protection costs at least.

    python -m insertion_pipeline_tests.benchmarks.disclosure [--seeds 6] [--shape communes --shape square …]

Shapes: `communes` (eight in two groups, by age and sex), `square` (10 × 10), `box` (4 × 5 × 6), `linked` (twelve
communes in two hierarchies that do not nest, by sex and status), `trees` (two hierarchical dimensions), and, only where
asked for, `department` (every cross of 667 communes in 19 groups, nine ages and two sexes: 20 610 cells), `menu` (the
same, communes by age or by sex alone) and `four` (every cross of twenty communes and three more dimensions). Counts are
as uneven as those of real communes.

Beside each, in the same run and on the same table: the patterns of Gaussian elimination, the method of R's
GaussSuppression (Langsrud, 2024) in words of our own, judged by the same attacker. R's package itself is not in Debian.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from insertion_pipeline.disclosure import cube_attacker
from insertion_pipeline.disclosure.counts import Specification, protect_counts
from insertion_pipeline.disclosure.cube_attacker import Hierarchy
from insertion_pipeline.disclosure.cubes import ROOT
from insertion_pipeline.lake import in_memory

Tree = Mapping[str, str]
Integers = NDArray[np.int64]

_THRESHOLD = 5
_PRIME = (1 << 31) - 1
#: Gaussian elimination of every cell against every cell: not beyond so many.
_LARGEST_FOR_ELIMINATION = 2_000
#: Played only where they are asked for.
_ON_DEMAND = ("department", "menu", "four")


@dataclass(frozen=True)
class Shape:
    """Dimensions, each with its hierarchies over the same codes (code → parent), and the mean of an inner cell.

    `menu`: by how many of the other dimensions the codes of the first are cut at most, at each depth of its hierarchy.
    """

    dimensions: Mapping[str, tuple[Tree, ...]]
    mean: float
    menu: tuple[int, ...] | None = None

    @property
    def leaves(self) -> list[list[str]]:
        """The codes of each dimension that nothing is a part of."""
        return [sorted(trees[0].keys() - trees[0].values()) for trees in self.dimensions.values()]

    def members(self) -> list[dict[str, list[int]]]:
        """Per dimension, the leaves that each code sums."""
        found = []
        for leaves, trees in zip(self.leaves, self.dimensions.values(), strict=True):
            below: dict[str, list[int]] = {ROOT: list(range(len(leaves)))}
            for at, leaf in enumerate(leaves):
                for code in dict.fromkeys(one for tree in trees for one in _upwards(tree, leaf)):
                    below.setdefault(code, []).append(at)
            found.append(below)
        return found

    def is_on_the_menu(self, codes: tuple[str, ...]) -> bool:
        """Whether the cell of these codes is published."""
        if self.menu is None:
            return True
        depth = len(list(_upwards(next(iter(self.dimensions.values()))[0], codes[0])))
        return sum(code != ROOT for code in codes[1:]) <= self.menu[depth]


def _upwards(tree: Tree, code: str) -> Iterator[str]:
    while code != ROOT:
        yield code
        code = tree[code]


def _flat(name: str, count: int) -> tuple[Tree, ...]:
    return ({f"{name}{at:03d}": ROOT for at in range(count)},)


def _grouped(name: str, count: int, groups: int, *, shift: int = 0, label: str = "") -> Tree:
    """`count` codes in `groups` groups of neighbours, the first of which starts `shift` codes later."""
    group = {f"{name}{at:03d}": f"{label or name}g{(at + shift) * groups // count % groups:02d}" for at in range(count)}
    return group | dict.fromkeys(group.values(), ROOT)


SHAPES: Mapping[str, Shape] = {
    "communes": Shape(
        {"territory": (_grouped("c", 8, 2),), "age": _flat("a", 3), "sex": _flat("s", 2)}, mean=9.6
    ),
    "square": Shape({"x": _flat("x", 10), "y": _flat("y", 10)}, mean=12.0),
    "box": Shape({"x": _flat("x", 4), "y": _flat("y", 5), "z": _flat("z", 6)}, mean=12.0),
    "linked": Shape(
        {
            "territory": (_grouped("c", 12, 3), _grouped("c", 12, 4, shift=2, label="z")),
            "sex": _flat("s", 2),
            "status": _flat("t", 3),
        },
        mean=12.0,
    ),
    "trees": Shape({"territory": (_grouped("c", 9, 3),), "activity": (_grouped("k", 8, 3),)}, mean=12.0),
    "department": Shape(
        {"territory": (_grouped("c", 667, 19),), "age": _flat("a", 9), "sex": _flat("s", 2)}, mean=1.6
    ),
    "menu": Shape(
        {"territory": (_grouped("c", 667, 19),), "age": _flat("a", 9), "sex": _flat("s", 2)}, mean=1.6, menu=(2, 2, 1)
    ),
    "four": Shape(
        {
            "territory": (_grouped("c", 20, 2),),
            "age": _flat("a", 4),
            "sex": _flat("s", 2),
            "status": _flat("t", 3),
        },
        mean=2.0,
    ),
}  # fmt: skip


def table(shape: Shape, seed: int) -> pa.Table:
    """One row per cell of a table, totals included."""
    chance = np.random.default_rng(seed)
    sizes = [len(leaves) for leaves in shape.leaves]
    size = chance.pareto(1.2, sizes[0]) + 0.3
    mean = np.full(sizes, shape.mean) * (size / size.mean()).reshape(-1, *[1] * (len(sizes) - 1))
    for rank, length in enumerate(sizes[1:], start=1):
        shares = chance.dirichlet(np.full(length, 3.0), sizes[0]) * length
        mean = mean * shares.reshape(-1, *(length if rank == other else 1 for other in range(1, len(sizes))))
    counts = chance.poisson(mean)
    members = shape.members()
    rows = [
        (*codes, int(counts[np.ix_(*(below[code] for below, code in zip(members, codes, strict=True)))].sum()))
        for codes in filter(shape.is_on_the_menu, product(*members))
    ]
    return pa.table(
        dict(zip((*shape.dimensions, "value"), map(pa.array, zip(*rows, strict=True)), strict=True))
    )  # fmt: skip


def specification(shape: Shape, folder: Path) -> Specification:
    """What `protect_counts` is told; writes the hierarchies to `folder`."""
    dimensions = {}
    for name, trees in shape.dimensions.items():
        paths = [f"{name}_{number}.csv" for number in range(len(trees))]
        for path, tree in zip(paths, trees, strict=True):
            lines = ["code,parent", *(f"{code},{parent}" for code, parent in tree.items())]
            (folder / path).write_text("\n".join(lines) + "\n", encoding="utf-8")
        dimensions[name] = {"hierarchy": paths}
    return Specification.model_validate({"dimensions": dimensions, "threshold": _THRESHOLD})


@dataclass(frozen=True)
class Judged:
    """A pattern of hidden cells, as the attacker sees it who knows that what is hidden is 1 at least."""

    secondary: int
    cost: float
    exact: int
    narrow: int


def eliminated(shape: Shape, cells: pa.Table) -> Judged:
    """The pattern of Gaussian elimination: cells are shown in falling order as long as no small one can be solved."""
    values = cells["value"].to_numpy()
    members = shape.members()
    sizes = [len(leaves) for leaves in shape.leaves]
    of_cell = np.zeros((len(values), int(np.prod(sizes))), dtype=np.int64)
    for row, codes in enumerate(zip(*(cells[name].to_pylist() for name in shape.dimensions), strict=True)):
        places = np.ix_(*(below[code] for below, code in zip(members, codes, strict=True)))
        of_cell[row, np.ravel_multi_index(places, sizes).ravel()] = 1
    is_inner = of_cell.sum(axis=1) == 1
    of_cell[:, of_cell[is_inner & (values == 0)].any(axis=0)] = 0  # zeros are shown
    primary = (values > 0) & (values < _THRESHOLD)
    hidden = primary.copy()
    candidates = np.flatnonzero(~primary & (values > 0))
    for cell in candidates[np.lexsort((candidates, -values[candidates]))].tolist():
        pivots = np.flatnonzero(of_cell[cell])
        if not len(pivots):
            continue  # it follows from what is shown already
        pivot = int(pivots[0])
        scaled = of_cell[cell] * pow(int(of_cell[cell, pivot]), -1, _PRIME) % _PRIME
        rest = (of_cell - of_cell[:, [pivot]] * scaled) % _PRIME
        if (primary & of_cell.any(axis=1) & ~rest.any(axis=1)).any():
            hidden[cell] = True
        else:
            of_cell = rest
    return judged(shape, cells, hidden)


def judged(shape: Shape, cells: pa.Table, hidden: NDArray[np.bool_]) -> Judged:
    """What `hidden` costs, and how many small cells it leaves known too closely."""
    values = cells["value"].to_numpy().astype(np.float64)
    primary = (values > 0) & (values < _THRESHOLD)
    shown = cells.select([*shape.dimensions]).append_column(
        "value", pa.array(np.where(hidden, np.nan, values), from_pandas=True)
    )
    trees = [
        Hierarchy(name, pa.table({"code": list(tree.keys()), "parent": list(tree.values())}))
        for name, hierarchies in shape.dimensions.items()
        for tree in hierarchies
    ]
    with in_memory() as connection:
        found = cube_attacker.attack(
            connection, shown, [*shape.dimensions], trees, zeros_known=True, need=0.0,
            needs=pa.array(np.where(primary, _THRESHOLD, 0.0)),
        )  # fmt: skip
    width = (found.intervals.high - found.intervals.low)[primary[found.rows]]
    secondary = hidden & ~primary
    return Judged(
        int(secondary.sum()), float(np.sqrt(values[secondary]).sum()), int((width < 1e-6).sum()),
        int((width < _THRESHOLD - 1e-6).sum()),
    )  # fmt: skip


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def measure(name: str, seeds: int) -> None:
    """Protect tables of one shape, one per seed."""
    shape, paid, bound = SHAPES[name], 0.0, 0.0
    with tempfile.TemporaryDirectory() as folder:
        asked = specification(shape, Path(folder))
        for seed in range(seeds):
            cells = table(shape, seed)
            began = time.process_time()
            safe = protect_counts(cells, asked, Path(folder))
            seconds, certificate = time.process_time() - began, safe.certificate
            paid, bound = paid + safe.paid, bound + safe.bound
            peer = eliminated(shape, cells) if len(cells) <= _LARGEST_FOR_ELIMINATION else None
            _say(
                f"{name} {seed}: {certificate['cells']} cells, {certificate['primary']} small,"
                f" {certificate['secondary']} hidden beside them, cost {safe.paid:.1f},"
                f" {safe.paid / max(safe.bound, 1e-9):.4f} x the bound, {seconds:.1f} s of processor"
                + (
                    f"; elimination: {peer.secondary} hidden, cost {peer.cost:.1f}, {peer.exact} small cells exact,"
                    f" {peer.narrow} within less than {_THRESHOLD}"
                    if peer
                    else ""
                )
            )
    _say(f"{name}, all: {paid / max(bound, 1e-9):.4f} x the bound")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=6)
    parser.add_argument("--shape", choices=SHAPES, action="append")
    options = parser.parse_args()
    for name in options.shape or [name for name in SHAPES if name not in _ON_DEMAND]:
        measure(name, options.seeds)


if __name__ == "__main__":
    main()
