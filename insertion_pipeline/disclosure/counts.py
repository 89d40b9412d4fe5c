"""Disclosure control of any table of counts: from its cells and a specification to a safe table and its certificate.

Belongs here: the specification, which cells are sensitive, the steps from end to end, the certificate. Does not belong
here: the cells' equations (`cubes`), the search (`suppression`), the audit (`cube_attacker`); the pipeline's own
indicators have a door of their own (`protecting`).
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pv
import pyarrow.parquet as pq
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from insertion_pipeline.disclosure import cube_attacker
from insertion_pipeline.disclosure.covering import Impossible
from insertion_pipeline.disclosure.cube_attacker import Hierarchy, Inferred
from insertion_pipeline.disclosure.cubes import ROOT, Cube, Dimension, cube, full_cells, system_of
from insertion_pipeline.disclosure.inference import Betrayals
from insertion_pipeline.disclosure.insiders import INSIDER_WIDTH
from insertion_pipeline.disclosure.solving import Booleans, Numbers
from insertion_pipeline.disclosure.suppression import LARGE, PATIENT, THOROUGH, Suppression, paid_for, suppress
from insertion_pipeline.disclosure.system import System
from insertion_pipeline.disclosure.thresholds import PUBLISHED, SUPPRESSED
from insertion_pipeline.lake import in_memory

#: How wide the interval of a value must be that few contribute to, or one dominates, as a share of the value.
_SUM_WIDTH_SHARE: Final = 0.10
#: Tables with more sensitive cells than this are searched with less patience, …
_SMALL_TABLE: Final = 60
#: … with more than this, with less again.
_LARGE_TABLE: Final = 250
#: Cells on which an attacker who knows that counts are whole numbers is tried.
_WHOLE_SAMPLE: Final = 25
_SLIGHTLY: Final = 1e-6


class BadSpecification(Exception):
    """The specification, or the table that it describes, cannot be used. The message is French."""


class CannotProtectTable(Exception):
    """Everything that may be hidden is hidden and a cell still shows. The message names it, in French."""


class DimensionSpecification(BaseModel):
    """One dimension: no hierarchy (its codes sum to `TOTAL`), one, or several over the same codes."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    hierarchy: Path | tuple[Path, ...] = ()


class Specification(BaseModel):
    """What `insertion protect` is told of a table of counts. Paths are relative to the specification."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    value: str = "value"
    threshold: float = Field(default=5, gt=0)
    zeros_published: bool = True
    dimensions: Mapping[str, DimensionSpecification | None]
    territory: str = "territory"
    contributors: str = "contributors"
    largest_share: str = "largest_share"
    min_contributors: int | None = Field(default=None, ge=1)
    max_share: float | None = Field(default=None, gt=0, le=1)
    group_disclosure: Literal["allow", "protect"] = "allow"


@dataclass(frozen=True)
class SafeCounts:
    """The cells with `status` `published` or `suppressed`, values only where published; and the certificate.

    `paid` for what is hidden beside the sensitive cells, and the proven `bound` of it, are for whoever holds the table:
    they are made of hidden numbers.
    """

    table: pa.Table
    certificate: Mapping[str, Any]
    paid: float
    bound: float


def read_specification(path: Path) -> Specification:
    """Raises `BadSpecification`, `FileNotFoundError`."""
    try:
        return Specification.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except (ValidationError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadSpecification(f"{path.name} : {_first_error(error)}") from error


def read_cells(path: Path, specification: Specification) -> pa.Table:
    """The cells of a CSV or Parquet file, dimensions as text. Raises `BadSpecification`, `FileNotFoundError`."""
    texts = {name: pa.string() for name in specification.dimensions}
    if path.suffix.lower() == ".csv":
        with path.open(encoding="utf-8-sig") as file:
            header = file.readline()
        delimiter = ";" if header.count(";") >= header.count(",") and ";" in header else ","
        options = pv.ConvertOptions(column_types=texts, strings_can_be_null=False)
        try:
            table = pv.read_csv(path, parse_options=pv.ParseOptions(delimiter=delimiter), convert_options=options)
        except pa.ArrowInvalid as error:
            raise BadSpecification(f"{path.name} : fichier illisible ({error})") from error
    else:
        try:
            table = pq.read_table(path)
        except pa.ArrowInvalid as error:
            raise BadSpecification(f"{path.name} : fichier illisible ({error})") from error
    for name in (*specification.dimensions, specification.value):
        if name not in table.column_names:
            raise BadSpecification(f"{path.name} : colonne « {name} » absente")
    for name in specification.dimensions:
        table = table.set_column(table.column_names.index(name), name, table[name].cast(pa.string()))
    return table


def protect_counts(cells: pa.Table, specification: Specification, folder: Path) -> SafeCounts:
    """Protect a table of counts, one row per cell. `folder`: where the hierarchies lie.

    Raises `BadSpecification`, `BadCube`, `CannotProtectTable`.
    """
    dimensions = [_dimension(name, one, cells, folder) for name, one in specification.dimensions.items()]
    codes = [cells[dimension.name].to_pylist() for dimension in dimensions]
    values = _numbers(cells, specification.value)
    built = cube(dimensions, codes, values)
    widths = _widths(cells, values, built, specification)
    alone = _alone(cells, values, widths, specification)
    system = system_of(built, widths, alone, zeros_published=specification.zeros_published)
    sensitive = int((widths > 0).sum())
    effort = PATIENT if sensitive <= _SMALL_TABLE else THOROUGH if sensitive <= _LARGE_TABLE else LARGE
    unknown = np.isnan(values)  # a cell without a value shows nothing, and is not counted among what was hidden
    try:
        suppression = suppress(system, unknown | (widths > 0), effort)
    except Impossible as error:
        raise CannotProtectTable(_named(codes, error.cells[0])) from error
    hidden = _less_what_is_known(cells, dimensions, values, widths, suppression.hidden, specification)
    inferred = _attack(cells, dimensions, values, hidden, widths, specification)
    narrow = _narrow(inferred, widths)
    if narrow.any():
        raise CannotProtectTable(_named(codes, int(inferred.rows[narrow][0])))
    betrayals = _betrayals(inferred, system, suppression)
    if len(betrayals.unknown):
        everything = unknown | (values != 0) | (not specification.zeros_published)
        utmost = _attack(cells, dimensions, values, everything, np.zeros(len(values)), specification)
        betrayals = _avoidable(betrayals, inferred, utmost, system)
    if len(betrayals.unknown):
        raise CannotProtectTable(_named(codes, int(betrayals.unknown.min())))
    table = _published(cells, values, hidden, specification)
    paid = float(system.costs[hidden & ~(widths > 0) & ~unknown].sum())
    certificate = _certificate(specification, values, widths, hidden, suppression, inferred, betrayals, paid)
    return SafeCounts(table, certificate, paid, suppression.bound)


def _dimension(name: str, given: DimensionSpecification | None, cells: pa.Table, folder: Path) -> Dimension:
    paths = given.hierarchy if given else ()
    paths = paths if isinstance(paths, tuple) else (paths,)
    if not paths:
        return Dimension(name, (dict.fromkeys(sorted(set(cells[name].to_pylist()) - {ROOT}), ROOT),))
    return Dimension(name, tuple(_tree(name, folder / path) for path in paths))


def _tree(name: str, path: Path) -> dict[str, str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        delimiter = ";" if ";" in file.readline() else ","
        file.seek(0)
        rows = list(csv.DictReader(file, delimiter=delimiter))
    if not rows or not {"code", "parent"} <= rows[0].keys():
        raise BadSpecification(f"{path.name} : colonnes « code » et « parent » attendues")
    tree = {row["code"]: row["parent"] or ROOT for row in rows if row["code"] != ROOT}
    if len(tree) != sum(row["code"] != ROOT for row in rows):
        raise BadSpecification(
            f"{path.name} : un code de la dimension {name} y a deux parents ; donnez deux hiérarchies"
        )
    return tree


def _numbers(cells: pa.Table, name: str) -> Numbers:
    try:
        column = cells[name].cast(pa.float64())
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadSpecification(f"colonne « {name} » : des nombres sont attendus") from error
    return np.asarray(column.to_numpy(zero_copy_only=False), dtype=np.float64)


def _widths(cells: pa.Table, values: Numbers, built: Cube, specification: Specification) -> Numbers:
    """How wide the interval of each cell must be; 0 where it is not sensitive."""
    threshold = specification.threshold
    with np.errstate(invalid="ignore"):
        small = (values > 0) & (values < threshold)
        widths = np.where(small, threshold, 0.0)
        behind = np.zeros(len(values), dtype=bool)
        if specification.min_contributors is not None:
            contributors = _numbers(cells, specification.contributors)
            behind |= (values > 0) & ~(contributors >= specification.min_contributors)
        if specification.max_share is not None:
            behind |= (values > 0) & ~(_numbers(cells, specification.largest_share) <= specification.max_share)
    widths = np.where(behind, np.maximum(threshold, _SUM_WIDTH_SHARE * np.nan_to_num(values)), widths)
    if specification.group_disclosure == "protect":
        cuts = [rank for rank, one in enumerate(built.dimensions) if one.name != specification.territory]
        full = full_cells(built, cuts)
        widths[full] = np.maximum(widths[full], threshold)
    return widths


def _alone(cells: pa.Table, values: Numbers, widths: Numbers, specification: Specification) -> Booleans:
    """Behind which sensitive cells somebody stands alone: they count 1, or have one contributor where that is told."""
    of_one = values == 1
    if specification.contributors in cells.column_names:
        of_one |= _numbers(cells, specification.contributors) == 1
    return np.asarray((widths > 0) & of_one, dtype=bool)


def _less_what_is_known(
    cells: pa.Table,
    dimensions: list[Dimension],
    values: Numbers,
    widths: Numbers,
    hidden: Booleans,
    specification: Specification,
) -> Booleans:
    """`hidden` less the cells that the attacker finds anyhow: showing them tells nobody anything."""
    inferred = _attack(cells, dimensions, values, hidden, widths, specification)
    found = (widths[inferred.rows] == 0) & (inferred.intervals.high - inferred.intervals.low < _SLIGHTLY)
    less = hidden.copy()
    less[inferred.rows[found & ~np.isnan(values[inferred.rows])]] = False
    return less


def _attack(
    cells: pa.Table,
    dimensions: list[Dimension],
    values: Numbers,
    hidden: Booleans,
    widths: Numbers,
    specification: Specification,
) -> Inferred:
    shown = pa.array(np.where(hidden, np.nan, values), from_pandas=True)
    columns = {dimension.name: f"d{number}" for number, dimension in enumerate(dimensions)}  # whatever they are called
    names = [*columns.values()]
    published = cells.select([*columns]).rename_columns(names).append_column("value", shown)
    hierarchies = [
        Hierarchy(
            columns[dimension.name],
            pa.table({"code": pa.array(tree.keys(), pa.string()), "parent": pa.array(tree.values(), pa.string())}),
        )
        for dimension in dimensions
        for tree in dimension.hierarchies
    ]
    whole = not np.any(np.mod(np.nan_to_num(values), 1.0))
    with in_memory() as connection:
        return cube_attacker.attack(
            connection,
            published,
            names,
            hierarchies,
            zeros_known=specification.zeros_published and whole and not np.isnan(values).any(),
            need=0.0,
            needs=pa.array(np.maximum(widths, 0.01)),
        )


def _insiders(inferred: Inferred, system: System) -> cube_attacker.Insiders:
    """What the attacker is told of who stands alone; whose numbers are one it finds by itself."""
    who = np.where(system.alone, inferred.persons(system.values), -1)
    return cube_attacker.Insiders(who, system.values, np.minimum(system.widths, INSIDER_WIDTH))


def _betrayals(inferred: Inferred, system: System, suppression: Suppression) -> Betrayals:
    """What insiders find, who are told solutions that were seen on the way to put to the test."""
    return inferred.betrayals(_insiders(inferred, system), *suppression.claims(system, inferred.rows))


def _avoidable(betrayals: Betrayals, inferred: Inferred, utmost: Inferred, system: System) -> Betrayals:
    """The betrayals less those that stay where the `utmost` is hidden: what must be shown (zeros) tells them."""
    pairs = list(zip(betrayals.insider.tolist(), betrayals.unknown.tolist(), strict=True))
    left = sorted(set(pairs) - utmost.still_betrayed(pairs, _insiders(inferred, system)))
    insider, unknown = np.array(left, dtype=np.int64).reshape(-1, 2).T
    return replace(betrayals, insider=insider, unknown=unknown)


def _narrow(inferred: Inferred, widths: Numbers) -> Booleans:
    width = inferred.intervals.high - inferred.intervals.low
    return np.asarray((widths[inferred.rows] > 0) & (width < widths[inferred.rows] - _SLIGHTLY), dtype=bool)


def _published(cells: pa.Table, values: Numbers, hidden: Booleans, specification: Specification) -> pa.Table:
    """The cells in their order, nothing of a hidden one but its codes."""
    mask = pa.array(hidden | np.isnan(values))
    table = cells
    for name in (specification.value, specification.contributors, specification.largest_share):
        if name in table.column_names:
            column = table[name]
            shown = pc.if_else(mask, pa.scalar(None, column.type), column)
            table = table.set_column(table.column_names.index(name), name, shown)
    status = pc.if_else(mask, SUPPRESSED, PUBLISHED)
    if "status" in table.column_names:
        table = table.drop_columns(["status"])
    return table.append_column("status", status)


def _certificate(
    specification: Specification,
    values: Numbers,
    widths: Numbers,
    hidden: Booleans,
    suppression: Suppression,
    inferred: Inferred,
    betrayals: Betrayals,
    paid: float,
) -> dict[str, Any]:
    """What was hidden and what was checked, in words and numbers that give nothing away."""
    primary = widths > 0
    secondary = hidden & ~primary & ~np.isnan(values)
    return {
        "parameters": specification.model_dump(mode="json", exclude={"dimensions"})
        | {"dimensions": sorted(specification.dimensions)},
        "not_claimed": [
            "insiders are considered one by one: each knows what he stands alone behind and what sums make equal to it",
            "what must be shown (zeros) may tell an insider a number: nothing is hidden for it",
            "sums that no hierarchy of the specification declares",
            "whole numbers, beyond the sensitive cells that were sampled",
            "what other tables show of the same persons",
        ],
        "cells": len(values),
        "primary": int(primary.sum()),
        "secondary": int(secondary.sum()),
        "published": int((~hidden & ~np.isnan(values)).sum()),
        "cost": paid_for(paid, suppression.bound, int(secondary.sum())),
        "attacker": {
            "equations_with_unknowns": inferred.equations,
            "hidden_cells": len(inferred.rows),
            "exactly_known": int((inferred.intervals.high - inferred.intervals.low < _SLIGHTLY).sum()),
            "sensitive_cells_bounded": int(primary.sum()),
            "sensitive_cells_under_width": int(_narrow(inferred, widths).sum()),
            "insiders": {  # how many there are would tell how many hidden numbers are 1
                "cells_found_where_hiding_helps": len(np.unique(betrayals.unknown)),
                "not_decided": betrayals.undecided,
            },
            "whole_numbers": _whole_numbers(inferred, values, widths),
        },
    }


def _whole_numbers(inferred: Inferred, values: Numbers, widths: Numbers) -> dict[str, int]:
    """The attacker who knows that counts are whole numbers, on evenly chosen sensitive cells."""
    sensitive = np.flatnonzero(widths[inferred.rows] > 0)
    if np.any(np.mod(np.nan_to_num(values), 1.0)) or not len(sensitive):
        return {"sampled": 0, "under_width": 0}
    step = max(len(sensitive) // _WHOLE_SAMPLE, 1)
    sample = sensitive[::step][:_WHOLE_SAMPLE]
    narrow = 0
    for one in sample.tolist():
        low, high = inferred.unknowns.whole_interval(int(inferred.position[one]))
        narrow += high - low < widths[inferred.rows[one]] - _SLIGHTLY
    return {"sampled": len(sample), "under_width": int(narrow)}


def _named(codes: list[list[str]], cell: int) -> str:
    return "cellule impossible à protéger : " + ", ".join(column[cell] for column in codes)


def _first_error(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        return f"{'.'.join(str(step) for step in first['loc'])} : {first['msg']}"
    return str(error)
