"""A portal that is killed, or whose disk is full: the old state or the new one, never a mix.

One point each here; `benchmarks.portal` kills at twenty.
"""

from __future__ import annotations

from pathlib import Path

from insertion_pipeline_tests.benchmarks import portal as benchmark


def test_a_portal_that_is_killed_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    benchmark.kills(tmp_path, points=1, count=1_000)


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    benchmark.full_disk(tmp_path)
