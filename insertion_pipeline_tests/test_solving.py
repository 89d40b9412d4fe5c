"""Programs are solved, whichever way gets there."""

from __future__ import annotations

from typing import Any

import highspy
import numpy as np
import pytest

from insertion_pipeline.disclosure import solving
from insertion_pipeline.disclosure.solving import Entries, LinearProgram


class GivingUp:
    """HiGHS, whose interior points end without an answer: so they did on the values of a whole country."""

    def __init__(self, highs: Any) -> None:
        self._highs = highs

    def __getattr__(self, name: str) -> Any:
        return getattr(self._highs, name)

    def getModelStatus(self) -> Any:  # noqa: N802 (HiGHS's own name)
        _, solver = self._highs.getOptionValue("solver")
        return self._highs.getModelStatus() if solver == "simplex" else highspy.HighsModelStatus.kUnknown


def test_where_interior_points_give_up_the_simplex_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(solving, "_LARGE", 1)
    one_row = Entries(np.array([0, 0]), np.array([0, 1]), np.array([1.0, 1.0]), rows=1, columns=2)
    program = LinearProgram(one_row, np.array([7.0]), np.array([7.0]), np.zeros(2), np.array([5.0, 9.0]))
    monkeypatch.setattr(program, "_highs", GivingUp(program._highs))
    for objective, value in (([1.0, 0.0], 5.0), ([0.0, 1.0], 7.0)):
        assert program.maximise(np.array(objective)).value == pytest.approx(value)
