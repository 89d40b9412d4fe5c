"""Any table of counts cut along dimensions with hierarchies: its cells and equations, as a system to protect.

Belongs here: codes and their trees, which cells sum to which, the cells that a table leaves out. Does not belong here:
hiding (`suppression`), indicators and their terms (`equations`), files (`counts`).

A whole is the sum of its children along one hierarchy of one dimension, the codes of the others being the same. Cells
of the cross that the table does not publish are unknowns like hidden ones, only that nobody has to hide them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from insertion_pipeline.disclosure.solving import Booleans, Entries, Integers, LinearProgram, Numbers, Unsolved
from insertion_pipeline.disclosure.system import System

#: The code of the root of every hierarchy.
ROOT: Final = "TOTAL"
#: Crosses with more cells than this are not filled up: what a table leaves out is then unknown line by line.
LARGEST_CROSS: Final = 3_000_000
_TOLERANCE: Final = 1e-6


class BadCube(Exception):
    """The table is no table of counts along its hierarchies. The message is for the person who wrote it, in French."""


@dataclass(frozen=True)
class Dimension:
    """Codes of one dimension and the hierarchies over them: per hierarchy, code → parent, `ROOT` having none."""

    name: str
    hierarchies: tuple[Mapping[str, str], ...]

    @property
    def codes(self) -> tuple[str, ...]:
        """Every code, the root first, parents before their children, in the order of the hierarchies."""
        return tuple(dict.fromkeys([ROOT, *(code for hierarchy in self.hierarchies for code in _downwards(hierarchy))]))


@dataclass(frozen=True)
class Cube:
    """The cells of a table, and the lines between them.

    The first `published` cells are the rows of the table in their order; the others are never published.
    """

    dimensions: tuple[Dimension, ...]
    values: Numbers
    published: int
    line: Integers
    line_cell: Integers
    line_sign: Numbers
    line_dimension: Integers  # one per line: the dimension that it sums over


def cube(dimensions: Sequence[Dimension], codes: Sequence[Sequence[str]], values: Numbers) -> Cube:
    """The cube of a table, one entry of `codes[dimension]` and of `values` per row (NaN: a cell without a value).

    Raises `BadCube`: a code outside its hierarchies, a cell twice, a negative count, a total not made by its parts.
    """
    positions = [_positions(dimension, column) for dimension, column in zip(dimensions, codes, strict=True)]
    sizes = [len(dimension.codes) for dimension in dimensions]
    keys = np.ravel_multi_index(positions, sizes).astype(np.int64) if positions else np.zeros(len(values), np.int64)
    _refuse_bad_cells(keys, values, codes)
    missing = np.zeros(0, dtype=np.int64)
    if np.prod([float(size) for size in sizes]) <= LARGEST_CROSS:
        missing = np.setdiff1d(np.arange(int(np.prod(sizes)), dtype=np.int64), keys)
    every = np.concatenate([keys, missing])
    line, cell, sign, along, remainders = _lines(dimensions, every, sizes)
    every = np.concatenate([every, every[remainders]])
    known = np.concatenate([values, np.full(len(every) - len(values), np.nan)])
    known, broken = _settled(known, line, cell, sign)
    if len(broken):
        whole = np.unravel_index(every[broken[0]], sizes)
        names = (dimension.codes[int(at)] for dimension, at in zip(dimensions, whole, strict=True))
        raise BadCube(f"un total n'est pas la somme de ses parties : {', '.join(names)}")
    return Cube(tuple(dimensions), known, len(keys), line, cell, sign, along)


def system_of(cube: Cube, widths: Numbers, alone: Booleans, *, zeros_published: bool) -> System:
    """The system of a cube: one row per published cell.

    `widths`: what each published cell needs, 0 = not sensitive. `alone`: behind which of them somebody stands alone.
    """
    count = len(cube.values)
    hideable = np.arange(count) < cube.published
    floors = np.where(hideable & zeros_published, np.minimum(1.0, cube.values), 0.0)
    published = np.arange(cube.published, dtype=np.int64)
    values = cube.values[: cube.published]
    return System(
        values=cube.values,
        floors=floors,
        widths=np.concatenate([widths, np.zeros(count - cube.published)]),
        derived_from=np.full((count, 2), -1, dtype=np.int64),
        alone=np.concatenate([alone, np.zeros(count - cube.published, dtype=bool)]),
        known=np.zeros(count, dtype=bool),
        costs=np.sqrt(np.maximum(values, 0.25)),
        must_show=(values == 0) & zeros_published,
        shown_row=published,
        shown_cell=published,
        line=cube.line,
        line_cell=cube.line_cell,
        line_sign=cube.line_sign,
        implied=np.zeros(int(cube.line[-1]) + 1 if len(cube.line) else 0, dtype=bool),
    )


def full_cells(cube: Cube, dimensions: Sequence[int]) -> Integers:
    """Published cells that hold their whole by themselves along one of `dimensions`: everyone there is of one kind."""
    count = len(cube.line_dimension)
    part = (cube.line_sign > 0) & np.isin(cube.line_dimension, dimensions)[cube.line]
    parts = np.bincount(cube.line[part], minlength=count)
    filled = np.bincount(cube.line[part & (cube.values[cube.line_cell] > 0)], minlength=count)
    full = part & ((parts > 1) & (filled == 1))[cube.line] & (cube.values[cube.line_cell] > 0)
    cells = np.unique(cube.line_cell[full])
    return cells[cells < cube.published].astype(np.int64)


def _downwards(hierarchy: Mapping[str, str]) -> list[str]:
    depth: dict[str, int] = {ROOT: 0}

    def deep(code: str, seen: int = 0) -> int:
        if seen > len(hierarchy):
            raise BadCube(f"hiérarchie circulaire autour du code « {code} »")
        if code not in depth:
            depth[code] = 1 + deep(hierarchy[code], seen + 1)
        return depth[code]

    for code, parent in hierarchy.items():
        if code != ROOT and parent != ROOT and parent not in hierarchy:
            raise BadCube(f"hiérarchie : le parent « {parent} » du code « {code} » n'y est pas")
    return sorted((code for code in hierarchy if code != ROOT), key=deep)


def _positions(dimension: Dimension, column: Sequence[str]) -> Integers:
    at = {code: position for position, code in enumerate(dimension.codes)}
    unknown = sorted({code for code in column if code not in at})
    if unknown:
        raise BadCube(f"dimension {dimension.name} : code « {unknown[0]} » absent de la hiérarchie")
    return np.array([at[code] for code in column], dtype=np.int64)


def _refuse_bad_cells(keys: Integers, values: Numbers, codes: Sequence[Sequence[str]]) -> None:
    _, first, count = np.unique(keys, return_index=True, return_counts=True)
    if (count > 1).any():
        row = int(first[count > 1][0])
        raise BadCube(f"cellule présente deux fois : {', '.join(column[row] for column in codes)}")
    if (values < 0).any():
        row = int(np.flatnonzero(values < 0)[0])
        raise BadCube(f"un effectif est négatif : {', '.join(column[row] for column in codes)}")


def _lines(
    dimensions: Sequence[Dimension], keys: Integers, sizes: Sequence[int]
) -> tuple[Integers, Integers, Numbers, Integers, Integers]:
    """Every sum between cells of `keys`: entries (line, cell, sign) sorted by line, the whole with sign -1.

    Then the dimension of each line. A line that lacks parts gets one more cell for what they hold together, numbered
    after `keys`; the last array gives the whole that each of these is a remainder of.
    """
    order = np.argsort(keys)
    ordered = keys[order]

    def find(wanted: Integers) -> Integers:
        at = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        return np.where(ordered[at] == wanted, order[at], -1)

    lines: list[Integers] = []
    cells: list[Integers] = []
    signs: list[Numbers] = []
    remainders: list[Integers] = []
    along: list[Integers] = []
    count, cell_count = 0, len(keys)
    strides = [int(np.prod(sizes[rank + 1 :], dtype=np.int64)) for rank in range(len(sizes))]
    for rank, (dimension, size, stride) in enumerate(zip(dimensions, sizes, strides, strict=True)):
        at = {code: position for position, code in enumerate(dimension.codes)}
        position = (keys // stride) % size
        for hierarchy in dimension.hierarchies:
            parent = np.full(size, -1, dtype=np.int64)
            for code, above in hierarchy.items():
                if code != ROOT:
                    parent[at[code]] = at[above]
            children = np.bincount(parent[parent >= 0], minlength=size)
            part = np.flatnonzero(parent[position] >= 0)
            whole = find(keys[part] + (parent[position[part]] - position[part]) * stride)
            part, whole = part[whole >= 0], whole[whole >= 0]
            wholes, line, present = np.unique(whole, return_inverse=True, return_counts=True)
            lacking = np.flatnonzero(present < children[position[wholes]])
            number = np.arange(len(wholes), dtype=np.int64) + count
            lines += [line + count, number[lacking], number]
            cells += [part, np.arange(len(lacking), dtype=np.int64) + cell_count, wholes]
            signs += [np.ones(len(part) + len(lacking)), -np.ones(len(wholes))]
            remainders.append(wholes[lacking])
            along.append(np.full(len(wholes), rank, dtype=np.int64))
            count, cell_count = count + len(wholes), cell_count + len(lacking)
    nothing = np.zeros(0, np.int64)
    line, cell = (np.concatenate([nothing, *column]).astype(np.int64) for column in (lines, cells))
    sign = np.concatenate([np.zeros(0), *signs])
    order = np.lexsort((cell, line))
    dimension_of_line, missing = (np.concatenate([nothing, *column]).astype(np.int64) for column in (along, remainders))
    return line[order], cell[order], sign[order], dimension_of_line, missing


def _settled(values: Numbers, line: Integers, cell: Integers, sign: Numbers) -> tuple[Numbers, Integers]:
    """Values for the cells that have none, some that fulfil the lines; and the wholes that no values could make.

    First what follows (nothing is left for the parts that are missing; only one is missing), then any solution.
    """
    count = int(line[-1]) + 1 if len(line) else 0
    values = values.copy()
    while True:
        unknown = np.isnan(values)[cell]
        unknowns = np.bincount(line[unknown], minlength=count)
        unknown_whole = np.bincount(line[unknown & (sign < 0)], minlength=count) > 0
        sums = np.bincount(line, weights=np.where(unknown, 0.0, sign * values[cell]), minlength=count)
        tolerance = _TOLERANCE * np.maximum(1.0, np.abs(sums))
        broken = np.where(unknowns == 0, np.abs(sums) > tolerance, ~unknown_whole & (sums > tolerance))
        if broken.any():
            return values, cell[(sign < 0) & broken[line]]
        nothing_left = ~unknown_whole & (unknowns > 0) & (np.abs(sums) <= tolerance)
        entries = unknown & (nothing_left | (unknowns == 1))[line]
        if not entries.any():
            return _completed(values, line, cell, sign), np.zeros(0, dtype=np.int64)
        found = np.where(nothing_left[line[entries]], 0.0, -sums[line[entries]] * sign[entries])
        values[cell[entries]] = np.maximum(found, 0.0)


def _completed(values: Numbers, line: Integers, cell: Integers, sign: Numbers) -> Numbers:
    missing = np.flatnonzero(np.isnan(values))
    if not len(missing):
        return values
    column = np.full(len(values), -1, dtype=np.int64)
    column[missing] = np.arange(len(missing))
    entry = column[cell] >= 0
    lines, row = np.unique(line[entry], return_inverse=True)
    known = ~entry
    sums = np.bincount(line[known], weights=(sign * np.nan_to_num(values[cell]))[known], minlength=int(line[-1]) + 1)[
        lines
    ].astype(np.float64)
    matrix = Entries(row.astype(np.int64), column[cell[entry]], sign[entry], len(lines), len(missing))
    program = LinearProgram(matrix, -sums, -sums, np.zeros(len(missing)), np.full(len(missing), np.inf))
    try:
        found = program.maximise(np.zeros(len(missing))).point
    except Unsolved as error:
        raise BadCube("les totaux publiés se contredisent : aucune répartition ne les donne tous") from error
    completed = values.copy()
    completed[missing] = np.maximum(found, 0.0)
    return completed
