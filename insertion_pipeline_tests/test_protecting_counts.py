"""Disclosure control of any table of counts, attacked by a third hand: scipy on equations written down here."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy.optimize import linprog
from typer.testing import CliRunner

from insertion_pipeline.cli import app
from insertion_pipeline.disclosure import cube_attacker
from insertion_pipeline.disclosure.counts import CannotProtectTable, SafeCounts, Specification, protect_counts
from insertion_pipeline.disclosure.cubes import BadCube
from insertion_pipeline.lake import in_memory

TERRITORIES = {"D1": "TOTAL", "D2": "TOTAL"} | {f"C{n}": "D1" if n < 4 else "D2" for n in range(7)}
AGES = {"young": "TOTAL", "old": "TOTAL"}
SEXES = {"F": "TOTAL", "M": "TOTAL"}
TREES = {"territory": TERRITORIES, "age": AGES, "sex": SEXES}


def leaves(tree: dict[str, str]) -> list[str]:
    return [code for code in tree if code not in tree.values()]


def within(tree: dict[str, str], leaf: str) -> list[str]:
    chain = [leaf]
    while chain[-1] != "TOTAL":
        chain.append(tree[chain[-1]])
    return chain


def full_table(seed: int = 3, trees: dict[str, dict[str, str]] = TREES) -> pa.Table:
    """Every cross of every level, from random leaves: small communes, larger ones, some zeros."""
    chance = np.random.default_rng(seed)
    cells: dict[tuple[str, ...], int] = {}
    for number, leaf in enumerate(itertools.product(*(leaves(tree) for tree in trees.values()))):
        count = int(chance.poisson(1.5 + 9 * (number % 5 == 0)))
        for key in itertools.product(*(within(tree, code) for tree, code in zip(trees.values(), leaf, strict=True))):
            cells[key] = cells.get(key, 0) + count
    columns = {name: [key[at] for key in cells] for at, name in enumerate(trees)}
    return pa.table({**columns, "value": list(cells.values())})


def specification(folder: Path, trees: dict[str, dict[str, str]] = TREES, **others: Any) -> Specification:
    for name, tree in trees.items():
        lines = "".join(f"{code},{parent}\n" for code, parent in tree.items())
        (folder / f"{name}.csv").write_text("code,parent\nTOTAL,\n" + lines)
    return Specification.model_validate(
        {"dimensions": {name: {"hierarchy": f"{name}.csv"} for name in trees}, **others}
    )


def attacked(
    table: pa.Table,
    at_least: float,
    trees: dict[str, dict[str, str]] = TREES,
    told: Mapping[tuple[str, ...], float] = MappingProxyType({}),
) -> dict[tuple[str, ...], float]:
    """The width of the interval of each hidden cell, by linear programs over every sum of the published table.

    `told`: what the attacker has been told of hidden cells.
    """
    rows = table.to_pylist()
    keys = {tuple(row[name] for name in trees): number for number, row in enumerate(rows)}
    hidden = [number for number, row in enumerate(rows) if row["value"] is None]
    column = {number: at for at, number in enumerate(hidden)}
    lines, right = [], []
    for (key, whole), (axis, tree) in itertools.product(keys.items(), enumerate(trees.values())):
        children = [code for code, parent in tree.items() if parent == key[axis]]
        parts = [keys[(*key[:axis], code, *key[axis + 1 :])] for code in children]
        if not parts:
            continue
        line, known = np.zeros(len(hidden)), 0.0
        for number, sign in [*((part, 1.0) for part in parts), (whole, -1.0)]:
            if number in column:
                line[column[number]] += sign
            else:
                known -= sign * rows[number]["value"]
        lines.append(line)
        right.append(known)
    boxes = [
        (told[key], told[key]) if key in told else (at_least, 10_000)
        for key in (tuple(rows[number][name] for name in trees) for number in hidden)
    ]
    widths = {}
    for number in hidden:
        ends = []
        for direction in (1, -1):
            cost = np.zeros(len(hidden))
            cost[column[number]] = direction
            found = linprog(cost, A_eq=np.array(lines), b_eq=np.array(right), bounds=boxes)
            ends.append(found.fun)
        widths[tuple(rows[number][name] for name in trees)] = -ends[1] - ends[0]
    return widths


@pytest.fixture(scope="module")
def truth() -> pa.Table:
    return full_table()


@pytest.fixture(scope="module")
def safe(truth: pa.Table, tmp_path_factory: pytest.TempPathFactory) -> SafeCounts:
    folder = tmp_path_factory.mktemp("spec")
    return protect_counts(truth, specification(folder), folder)


@pytest.mark.parametrize("at_least", [1.0, 0.0])
def test_another_attacker_bounds_no_small_cell_closely(safe: SafeCounts, truth: pa.Table, at_least: float) -> None:
    widths = attacked(safe.table, at_least)
    small = [tuple(row[name] for name in TREES) for row in truth.to_pylist() if 0 < row["value"] < 5]
    assert len(small) > 20
    assert min(widths[key] for key in small) >= 5 - 1e-6
    assert min(widths.values()) > 1e-6


def test_what_is_published_is_true_and_zeros_are_published(safe: SafeCounts, truth: pa.Table) -> None:
    for before, after in zip(truth.to_pylist(), safe.table.to_pylist(), strict=True):
        assert after["value"] in (None, before["value"])
        assert (after["value"] is None) == (after["status"] == "suppressed")
        assert before["value"] != 0 or after["status"] == "published"


def test_who_is_alone_in_a_cell_finds_no_other_small_one(safe: SafeCounts, truth: pa.Table) -> None:
    """Each insider by himself: he knows his own cell, and those above it in which nobody else is counted either."""
    counts = {tuple(row[name] for name in TREES): row["value"] for row in truth.to_pylist()}
    alone = [key for key, count in counts.items() if count == 1]
    leaf_cells = set(itertools.product(*(leaves(tree) for tree in TREES.values())))
    insiders = leaf_cells & set(alone)
    for own in insiders:
        above = set(itertools.product(*(within(tree, code) for tree, code in zip(TREES.values(), own, strict=True))))
        his = above & set(alone)
        widths = attacked(safe.table, 1.0, told=dict.fromkeys(his, 1.0))
        others = [key for key, count in counts.items() if 0 < count < 5 and key not in his]
        assert min(widths[key] for key in others) >= 1 - 1e-6
    assert safe.certificate["attacker"]["insiders"] == {"cells_found_where_hiding_helps": 0, "not_decided": 0}
    assert len(insiders) == 4


@pytest.mark.parametrize(("contributors", "hidden"), [(2, ["A", "B"]), (1, ["A", "B", "C"])])
def test_who_is_the_only_contributor_needs_a_third_number_beside_his_own(
    contributors: int, hidden: list[str], tmp_path: Path
) -> None:
    """Two hidden sums protect each other, but not from somebody who knows one of them."""
    trees = {"territory": dict.fromkeys("ABCD", "TOTAL")}
    columns = {"value": [300, 310, 320, 330, 1260], "contributors": [contributors, 2, 9, 9, contributors + 20]}
    table = pa.table({"territory": [*"ABCD", "TOTAL"], **columns})
    safe = protect_counts(table, specification(tmp_path, trees, min_contributors=3), tmp_path)
    assert [row["territory"] for row in safe.table.to_pylist() if row["status"] == "suppressed"] == hidden
    assert (safe.paid > 0) == (contributors == 1)


def test_an_insider_finds_what_is_left_alone_beside_his_own(tmp_path: Path) -> None:
    """The fault: of three hidden sums one is shown after all, and who knows the first is told the second."""
    trees = {"territory": pa.table({"code": [*"ABCD"], "parent": ["TOTAL"] * 4})}
    hierarchies = [cube_attacker.Hierarchy(name, tree) for name, tree in trees.items()]
    found = {}
    for shown in (None, 320.0):
        table = pa.table({"territory": [*"ABCD", "TOTAL"], "value": [None, None, shown, 330.0, 1260.0]})
        with in_memory() as connection:
            seen = cube_attacker.attack(
                connection, table, ["territory"], hierarchies, zeros_known=True, need=0.0, needs=pa.array([31.0] * 5)
            )
        alone = cube_attacker.Insiders(np.array([0, -1, -1, -1, -1]), np.full(5, 300.0), np.ones(5))
        told = seen.betrayals(alone)
        assert (seen.intervals.high - seen.intervals.low >= 31.0).all()
        found[shown] = (told.insiders, told.unknown.tolist(), told.undecided)
    assert found == {None: (1, [], 0), 320.0: (1, [1], 0)}


def test_the_cost_stands_beside_a_proven_bound(safe: SafeCounts) -> None:
    assert 0 < safe.bound <= safe.paid <= 1.10 * safe.bound
    assert 1.0 <= safe.paid / safe.bound <= 1.10
    assert safe.certificate["attacker"]["sensitive_cells_under_width"] == 0
    assert safe.certificate["attacker"]["exactly_known"] == 0
    assert safe.certificate["attacker"]["whole_numbers"]["under_width"] == 0


@pytest.mark.parametrize(
    "leaves_by_row",
    [[[3, 8, 20], [11, 4, 6], [7, 30, 9]], [[2, 40, 6], [5, 3, 17], [12, 6, 4]], [[4, 5, 0], [6, 9, 2], [30, 8, 50]]],
)
def test_no_protection_costs_less_than_the_proven_bound(leaves_by_row: list[list[int]], tmp_path: Path) -> None:
    """Every way of hiding something, cheapest first, against the bound: the first that protects costs no less."""
    inner = np.array(leaves_by_row, dtype=np.float64)
    whole = np.vstack([np.hstack([inner, inner.sum(axis=1, keepdims=True)]), [*inner.sum(axis=0), inner.sum()]])
    values, number = whole.ravel(), np.arange(16).reshape(4, 4)
    codes = ["a", "b", "c", "TOTAL"]
    cells = pa.table({"x": np.repeat(codes, 4).tolist(), "y": codes * 4, "value": values.astype(np.int64)})
    asked = specification(tmp_path, {name: dict.fromkeys("abc", "TOTAL") for name in "xy"})
    found = protect_counts(cells, asked, tmp_path)
    lines = [*number.tolist(), *number.T.tolist()]
    sensitive = [cell for cell in range(16) if 0 < values[cell] < 5]
    free = [cell for cell in range(16) if values[cell] >= 5]
    patterns = (chosen for size in range(len(free) + 1) for chosen in itertools.combinations(free, size))
    dearer = sorted((float(np.sqrt(values[[*chosen]]).sum()), chosen) for chosen in patterns)
    cheapest = next(paid for paid, chosen in dearer if _protects({*sensitive, *chosen}, sensitive, lines, values))
    assert 0 < found.bound <= cheapest + 1e-6
    assert cheapest - 1e-6 <= found.paid <= 1.005 * cheapest


def _protects(hidden: set[int], sensitive: list[int], lines: list[list[int]], values: np.ndarray) -> bool:
    """Whether every sensitive cell has room of 5, hidden cells being at least 1."""
    at = sorted(hidden)
    if any(len(hidden.intersection(line)) == 1 for line in lines):
        return False  # of no use, or not enough
    equations = [[0.0 if cell not in line else -1.0 if cell == line[-1] else 1.0 for cell in at] for line in lines]
    right = np.array(equations) @ values[at]
    for cell in sensitive:
        direction = np.array([float(other == cell) for other in at])
        low, high = (
            found.fun if found.success else -np.inf
            for found in (linprog(sign * direction, A_eq=equations, b_eq=right, bounds=(1, None)) for sign in (1, -1))
        )
        if -high - low < 5 - 1e-6:
            return False
    return True


def test_a_menu_hides_what_the_missing_crosses_would_give_away(truth: pa.Table, tmp_path: Path) -> None:
    rows = [
        row for row in truth.to_pylist() if not row["territory"].startswith("C") or "TOTAL" in (row["age"], row["sex"])
    ]
    safe = protect_counts(pa.Table.from_pylist(rows), specification(tmp_path), tmp_path)
    assert safe.certificate["attacker"]["sensitive_cells_under_width"] == 0
    assert safe.certificate["primary"] == sum(0 < row["value"] < 5 for row in rows)


def test_cells_that_a_table_leaves_out_because_they_are_zero_are_known_to_be_zero(tmp_path: Path) -> None:
    trees = {"territory": {"A": "TOTAL", "B": "TOTAL", "C": "TOTAL"}, "sex": SEXES}
    counts = {("A", "F"): 3, ("B", "F"): 9, ("C", "F"): 20, ("C", "M"): 30}
    cells: dict[tuple[str, str], int] = {}
    for (place, sex), count in counts.items():
        for key in itertools.product((place, "TOTAL"), (sex, "TOTAL")):
            cells[key] = cells.get(key, 0) + count
    table = pa.table(
        {"territory": [key[0] for key in cells], "sex": [key[1] for key in cells], "value": list(cells.values())}
    )
    safe = protect_counts(table, specification(tmp_path, trees), tmp_path)
    hidden = {(row["territory"], row["sex"]) for row in safe.table.to_pylist() if row["status"] == "suppressed"}
    assert {("A", "F"), ("A", "TOTAL"), ("B", "F"), ("B", "TOTAL")} <= hidden  # nobody else is in A or B


def test_a_dimension_may_be_called_as_it_likes(tmp_path: Path) -> None:
    cells = [("a", "x", 3), ("a", "y", 9), ("b", "x", 20), ("b", "y", 30)]
    sums = {
        (one, other): sum(n for a, b, n in cells if one in (a, "TOTAL") and other in (b, "TOTAL"))
        for one, other in itertools.product(("a", "b", "TOTAL"), ("x", "y", "TOTAL"))
    }
    for one, other in itertools.permutations(("row", "cell", "need"), 2):
        table = pa.table({one: [key[0] for key in sums], other: [key[1] for key in sums], "value": [*sums.values()]})
        asked = Specification.model_validate({"dimensions": {one: None, other: None}})
        assert protect_counts(table, asked, tmp_path).table["status"].to_pylist().count("suppressed") == 4


def test_where_everyone_is_of_one_kind_the_full_cell_is_hidden_and_no_zero(tmp_path: Path) -> None:
    trees = {"territory": {"A": "TOTAL", "B": "TOTAL", "C": "TOTAL"}, "sex": SEXES}
    counts = {("A", "F"): 30, ("A", "M"): 0, ("B", "F"): 40, ("B", "M"): 50, ("C", "F"): 60, ("C", "M"): 70}
    cells: dict[tuple[str, str], int] = {}
    for (place, sex), count in counts.items():
        for key in itertools.product((place, "TOTAL"), (sex, "TOTAL")):
            cells[key] = cells.get(key, 0) + count
    table = pa.table(
        {"territory": [key[0] for key in cells], "sex": [key[1] for key in cells], "value": list(cells.values())}
    )
    allowed = protect_counts(table, specification(tmp_path, trees), tmp_path)
    assert allowed.certificate["primary"] == 0
    safe = protect_counts(table, specification(tmp_path, trees, group_disclosure="protect"), tmp_path)
    status = {(row["territory"], row["sex"]): row["status"] for row in safe.table.to_pylist()}
    assert status["A", "F"] == status["A", "TOTAL"] == "suppressed"
    assert status["A", "M"] == "published"


def test_few_contributors_and_a_large_share_are_hidden_too(tmp_path: Path) -> None:
    trees = {"territory": {"A": "TOTAL", "B": "TOTAL", "C": "TOTAL", "D": "TOTAL"}}
    table = pa.table(
        {
            "territory": ["A", "B", "C", "D", "TOTAL"],
            "value": [300, 310, 320, 330, 1260],
            "contributors": [2, 9, 9, 9, 29],
            "largest_share": [0.6, 0.9, 0.2, 0.2, 0.1],
        }
    )
    spec = specification(tmp_path, trees, min_contributors=3, max_share=0.85)
    safe = protect_counts(table, spec, tmp_path)
    assert [row["status"] for row in safe.table.to_pylist()][:2] == ["suppressed", "suppressed"]
    assert safe.table["contributors"].to_pylist()[0] is None


def test_a_table_that_cannot_be_protected_is_refused_and_the_cell_named(tmp_path: Path) -> None:
    table = pa.table({"territory": ["A", "B", "TOTAL"], "value": [3, 0, 3]})
    safe = protect_counts(table, specification(tmp_path, {"territory": {"A": "TOTAL", "B": "TOTAL"}}), tmp_path)
    assert [row["status"] for row in safe.table.to_pylist()] == ["suppressed", "published", "suppressed"]
    table = pa.table({"territory": ["A", "TOTAL"], "sex": ["TOTAL", "TOTAL"], "value": [0, 3]})
    with pytest.raises((CannotProtectTable, BadCube)):
        protect_counts(table, specification(tmp_path, {"territory": {"A": "TOTAL"}, "sex": SEXES}), tmp_path)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([("A", 3), ("B", 4), ("TOTAL", 8)], "pas la somme"),
        ([("A", 3), ("A", 3), ("TOTAL", 6)], "deux fois"),
        ([("A", -3), ("B", 6), ("TOTAL", 3)], "négatif"),
        ([("Z", 3), ("B", 6), ("TOTAL", 9)], "Z"),
    ],
)
def test_a_table_that_is_no_table_of_counts_is_refused(
    rows: list[tuple[str, int]], message: str, tmp_path: Path
) -> None:
    table = pa.table({"territory": [code for code, _ in rows], "value": [count for _, count in rows]})
    with pytest.raises(BadCube, match=message):
        protect_counts(table, specification(tmp_path, {"territory": {"A": "TOTAL", "B": "TOTAL"}}), tmp_path)


def test_the_command_writes_the_table_and_its_certificate_and_the_same_again(tmp_path: Path) -> None:
    trees = {"territory": TERRITORIES, "age": AGES}
    specification(tmp_path, trees)
    pq.write_table(full_table(trees=trees), tmp_path / "cells.parquet")
    (tmp_path / "spec.yaml").write_text(
        "value: value\nthreshold: 5\nzeros_published: true\ndimensions:\n"
        + "".join(f"  {name}: {{hierarchy: {name}.csv}}\n" for name in trees)
    )
    written = []
    for folder in ("one", "two"):
        out = tmp_path / folder / "safe.parquet"
        arguments = ["--json", "protect", str(tmp_path / "cells.parquet"), "--spec", str(tmp_path / "spec.yaml")]
        answer = CliRunner().invoke(app, [*arguments, "--out", str(out)])
        assert answer.exit_code == 0, answer.output
        written.append((out.read_bytes(), (out.parent / "certificate.json").read_bytes()))
    assert written[0] == written[1]
    assert json.loads(written[0][1])["attacker"]["exactly_known"] == 0


def test_the_command_refuses_a_specification_that_it_does_not_understand(truth: pa.Table, tmp_path: Path) -> None:
    pq.write_table(truth, tmp_path / "cells.parquet")
    (tmp_path / "spec.yaml").write_text("dimension: {}\n")
    arguments = ["protect", str(tmp_path / "cells.parquet"), "--spec", str(tmp_path / "spec.yaml")]
    answer = CliRunner().invoke(app, [*arguments, "--out", str(tmp_path / "out.parquet")])
    assert answer.exit_code == 4
    assert not (tmp_path / "out.parquet").exists()
