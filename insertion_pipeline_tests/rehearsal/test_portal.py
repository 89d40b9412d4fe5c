"""The portal killed at twenty points, on a full disk, and with two hundred deposits at once."""

from __future__ import annotations

from pathlib import Path

from insertion_pipeline_tests.benchmarks import portal


def test_a_portal_that_is_killed_leaves_the_old_state_or_the_new_one(tmp_path: Path) -> None:
    portal.kills(tmp_path, points=20)


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    portal.full_disk(tmp_path)


def test_two_hundred_deposits_at_once_are_neither_lost_nor_doubled(tmp_path: Path) -> None:
    portal.many_at_once(tmp_path, 200)
