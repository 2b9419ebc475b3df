"""Measured effective rollouts beside predicted ones, on runs that obey the prediction exactly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import theory
from empirical.rollouts import RolloutsWorth, log_error, rollouts_worth
from fits import gap_report, parse_selection

STEPS = np.arange(0, 301, 30)
FPR = 0.3


def accuracy(rollouts: float) -> np.ndarray:
    """A clean curve that is linear in the logarithm of the rollouts at every step."""
    return 0.2 + 0.0012 * STEPS * (0.6 + 0.2 * np.log2(rollouts))


def runs(worth: float, *, noise: str = "independent") -> pd.DataFrame:
    arms = [("clean", 0.0, g, float(g)) for g in (4, 8, 16)] + [("fp", FPR, 16, worth)]
    return pd.DataFrame(
        [
            {
                "run_id": f"{arm}-{size}-{seed}",
                "arm": arm,
                "fpr": fpr,
                "fnr": 0.0,
                "noise": noise if arm == "fp" else "independent",
                "group_size": size,
                "seed": seed,
                "step": int(step),
                "rollouts": int(step) * size,
                "accuracy": a,
            }
            for arm, fpr, size, m in arms
            for seed in range(3)
            for step, a in zip(STEPS, accuracy(m) + 0.001 * seed, strict=True)
        ]
    )


def joined(frame: pd.DataFrame) -> RolloutsWorth | None:
    report = gap_report(frame, clean=parse_selection(["fpr=0"]))
    (arm,) = [one for one in report.arms if one.fpr == FPR]
    return rollouts_worth(arm, 16, name="fp")


def test_runs_that_are_worth_what_theory_says_are_found_to_be() -> None:
    # The worth sets the accuracy at which theory prices it: a fixed point.
    worth, channel = 8.0, theory.VerifierChannel(FPR, 0.0)
    for _ in range(50):
        worth = float(theory.effective_rollouts(accuracy(worth)[1:].mean() + 0.001, channel, 16))
    found = joined(runs(worth))
    assert found is not None
    assert found.predicted == pytest.approx(worth, rel=1e-6)
    assert found.measured == pytest.approx(worth, rel=0.01)
    assert found.probed is None


def test_runs_that_are_worth_more_are_told_apart() -> None:
    found = joined(runs(14.0))
    assert found is not None
    assert found.measured == pytest.approx(14.0, rel=0.01)
    assert found.predicted < 12.0
    assert found.inside is False


def test_errors_that_the_policy_can_learn_have_no_price() -> None:
    assert joined(runs(8.0, noise="triggered")) is None


def test_the_error_is_of_what_is_beyond_the_first_rollout() -> None:
    assert log_error([(3.0, 2.0), (2.0, 3.0)]) == pytest.approx(np.log(2.0))
    assert np.isnan(log_error([]))
