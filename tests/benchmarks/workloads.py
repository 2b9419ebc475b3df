"""What several benchmarks measure: curves to refit, a sweep to run."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from empirical.simulated_studies import SimulatedStudy
from fits import SIGMOID
from fits.solve import solve

FloatArray = NDArray[np.float64]

POINTS = 40
TRUTH = np.array([0.1, 0.8, np.log(1e4), np.log(1.5)])


def curves(count: int, *, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    """(x, (POINTS,)); `count` noisy sigmoids, (count, POINTS)."""
    rng = np.random.default_rng(seed)
    x = np.linspace(0.0, 1e5, POINTS)
    return x, SIGMOID.predict(x[None], TRUTH[None]) + rng.normal(0.0, 0.02, (count, POINTS))


def law(log_x: FloatArray, start: float, end: float, middle: float, slope: float) -> FloatArray:
    """The sigmoid as a user would write it, in the parameters of ours."""
    return start + (end - start) / (1.0 + np.exp(np.exp(slope) * (middle - log_x)))


def batched(x: FloatArray, y: FloatArray) -> FloatArray:
    return solve(SIGMOID, x[None], y, np.repeat(TRUTH[None], len(y), axis=0)).loss_R


SWEEP_RUNS = 16


def sweep(steps: int, *, runs: int = SWEEP_RUNS) -> SimulatedStudy:
    """`runs` runs of 2,000 prompts at 8 arms a prompt, group size 16."""
    return SimulatedStudy.model_validate(
        {
            "population": {"prompts": 2000, "right_modes": 4, "wrong_modes": 4},
            "training": {"steps": steps, "group_size": 16},
            "arms": {"clean": {}, "fpr0.3": {"fpr": 0.3}},
            "seeds": list(range(runs // 2)),
            "evaluate_every": 50,
        }
    )
