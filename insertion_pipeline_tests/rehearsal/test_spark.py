"""The whole way on Spark: the same deliveries, through the same command, give the same release on both engines."""

from __future__ import annotations

from pathlib import Path

import pytest

from insertion_pipeline_tests.conftest import REPOSITORY
from insertion_pipeline_tests.rehearsal.command import Home
from insertion_pipeline_tests.small_spark import QUICK, need_spark

#: An agency's month: every fact is computed, most of them empty.
DELIVERED = REPOSITORY / "data_sources" / "ale" / "samples" / "2026-10" / "ale-namur" / "ALE_namur_2026-10.xlsx"


def test_both_engines_make_the_same_release(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need_spark()
    (tmp_path / "spark-defaults.conf").write_text("".join(f"{name} {value}\n" for name, value in QUICK.items()))
    monkeypatch.setenv("SPARK_CONF_DIR", str(tmp_path))
    made = []
    for engine in ("duckdb", "spark"):
        home = Home(tmp_path / engine)
        assert home.run("deliver", str(DELIVERED), "--partner", "ale-namur", "--month", "2026-10")[0] in (0, 1)
        code, answer = home.run("run", "--engine", engine)
        assert code == 0, answer
        made.append(home.releases())
    assert made[0] == made[1]
    assert len(made[0]) == 1
