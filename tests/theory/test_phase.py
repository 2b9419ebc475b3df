"""The phase diagram, cell by cell against the exact drift and the exact clock."""

from __future__ import annotations

import numpy as np
import pytest

import theory
from theory.mean_field import time_between
from theory.phase import phase_diagram

FPR, FNR, SIZES = [0.0, 0.1, 0.45, 0.8], [0.0, 0.3, 0.55], [2, 8, 64]


def test_every_cell_is_the_exact_drift_and_clock() -> None:
    phase = phase_diagram(FPR, FNR, SIZES, pass_rate=0.3, start=0.02, target=0.95)
    assert phase.time.shape == (3, 4, 3)
    for i, size in enumerate(SIZES):
        clean = time_between(0.02, 0.95, theory.VerifierChannel(0, 0), group_size=size)
        for k, x in enumerate(FPR):
            for m, d in enumerate(FNR):
                channel = theory.VerifierChannel(x, d)
                cell = i, k, m
                drift = theory.drift(0.3, channel, size).drift
                assert phase.drift[cell] == pytest.approx(drift, rel=1e-5, abs=1e-12)
                if channel.youden > 1e-9:
                    exact = time_between(0.02, 0.95, channel, group_size=size)
                    assert phase.time[cell] == pytest.approx(exact, rel=1e-5)
                    assert phase.slowdown[cell] == pytest.approx(exact / clean, rel=2e-5)
                else:
                    assert np.isinf(phase.time[cell]) or phase.time[cell] > 1e9


def test_the_diagram_is_antisymmetric_about_the_line_of_no_information() -> None:
    grid = np.linspace(0, 1, 11)
    phase = phase_diagram(grid, grid, 8)
    np.testing.assert_allclose(phase.drift[0], -phase.drift[0][::-1, ::-1], rtol=1e-9, atol=1e-12)
    assert phase.slowdown[0, 0, 0] == pytest.approx(1.0, rel=1e-12)


def test_errors_of_either_kind_slow_and_false_positives_slow_the_hard_prompt_more() -> None:
    grid = np.linspace(0, 0.5, 6)
    slow = phase_diagram(grid, grid, [8], start=0.01, target=0.3).slowdown[0]
    assert np.all(np.diff(slow, axis=0)[:, :-1] > 0)
    assert np.all(slow[1:, 0] > slow[0, 1:])


def test_bad_arguments_are_named() -> None:
    with pytest.raises(theory.ArgumentError, match="fpr must lie in"):
        phase_diagram([1.2], [0.0], 8)
    with pytest.raises(theory.ArgumentError, match="start must be below target"):
        phase_diagram([0.2], [0.0], 8, start=0.9, target=0.8)
    with pytest.raises(theory.ArgumentError, match="group_size must be at least 2, got 1"):
        phase_diagram([0.2], [0.0], 1)
