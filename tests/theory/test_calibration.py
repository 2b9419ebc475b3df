"""Calibration recovers what made the data, says what it cannot, and forecasts real curves."""

from __future__ import annotations

import csv
import dataclasses

import numpy as np
import pytest
from scipy import special

import theory
from tests.shared_data import shared_data
from theory import flow
from theory.calibration import Curve, fit_difficulties, fit_flow

CLEAN, FP, FN = (theory.VerifierChannel(*r) for r in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3)])


@pytest.mark.parametrize(("location", "spread", "ceiling"), [(-1.0, 1.5, 1.0), (0.5, 0.6, 0.85)])
def test_difficulties_are_recovered_within_their_errors(
    location: float, spread: float, ceiling: float
) -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rates = ceiling * special.expit(location + spread * rng.standard_normal(800))
        fit = fit_difficulties(rng.binomial(8, rates), 8, ceiling=ceiling)
        assert fit.status == "converged"
        assert fit.location_se is not None
        assert fit.spread_se is not None
        found.append(
            [(fit.location - location) / fit.location_se, (fit.spread - spread) / fit.spread_se]
        )
    scores = np.array(found)
    # Standard normal, if the errors are right: 20 of them.
    assert np.all(np.abs(scores.mean(axis=0)) < 3.5 / np.sqrt(20))
    assert np.all((scores.std(axis=0) > 0.6) & (scores.std(axis=0) < 1.5))


def test_quantiles_reproduce_the_mean_pass_rate() -> None:
    rng = np.random.default_rng(1)
    rates = special.expit(-1.0 + 1.5 * rng.standard_normal(3000))
    counts = rng.binomial(16, rates)
    fit = fit_difficulties(counts, 16)
    assert special.expit(-fit.quantiles(400)).mean() == pytest.approx(counts.mean() / 16, abs=0.005)


def test_one_trial_per_prompt_does_not_identify_the_spread() -> None:
    fit = fit_difficulties(np.array([1, 0, 0, 1, 0, 0, 0, 1]), 1)
    assert fit.status == "unidentified"
    assert fit.spread_se is None
    assert "one trial per prompt" in fit.message


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
def test_a_flow_is_recovered_from_its_own_curves(optimiser: str) -> None:
    truth = flow.PopulationFlow(
        flow.normal_difficulties(24, spread=1.5),
        theta=-2.0,
        ceiling=0.75,
        rate=0.08,
        signal=0.5,
        optimiser=optimiser,  # pyright: ignore[reportArgumentType]
    )
    steps = np.arange(0, 240, 10)
    free = ("theta", "rate", "ceiling") + (("signal",) if optimiser == "adam" else ())
    curves = [Curve(steps, flow.accuracy(truth, c, steps), c) for c in (CLEAN, FP)]
    guess = dataclasses.replace(truth, theta=-1.0, ceiling=0.9, rate=0.03, signal=1.0)
    fit = fit_flow(guess, curves, free=free)  # pyright: ignore[reportArgumentType]
    assert fit.status == "converged"
    assert fit.rmse < 1e-4
    for name in free:
        assert getattr(fit.flow, name) == pytest.approx(getattr(truth, name), rel=0.01)


def test_a_curve_that_has_not_bent_does_not_identify_rate_and_ceiling() -> None:
    model = flow.PopulationFlow(flow.difficulties_of([0.3]), rate=1e-7)
    steps = np.arange(0, 50, 10)
    fit = fit_flow(model, [Curve(steps, np.full(5, 0.3), CLEAN)])
    assert fit.status == "unidentified"
    assert fit.errors == {}
    assert "do not tell apart" in fit.message


def math_arm(arm: str) -> tuple[np.ndarray, np.ndarray]:
    with shared_data("math_trajectories/mL4.csv").open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["arm"] == arm]
    steps, accuracy = ([float(r[c]) for r in rows] for c in ("step", "accuracy_mean_of_5_seeds"))
    return np.array(steps), np.array(accuracy)


def test_the_clean_arm_of_real_curves_forecasts_the_noisy_ones() -> None:
    """THEORY section 5: the SGD population flow calibrated on clean alone: FP .038, FN .034."""
    with shared_data("math_trajectories/mL4.csv").open(encoding="utf-8", newline="") as file:
        arms = {(float(r["fpr"]), float(r["fnr"])): r["arm"] for r in csv.DictReader(file)}
    template = flow.PopulationFlow(
        flow.normal_difficulties(32, spread=2.0),
        theta=-3.0,
        ceiling=0.6,
        rate=0.1,
        group_size=32,
        prompts_per_step=32,
        warmup_steps=50,
        warmup_from=0.0,
    )
    steps, accuracy = math_arm(arms[0.0, 0.0])
    fit = fit_flow(template, [Curve(steps, accuracy, CLEAN)])
    assert fit.status == "converged"
    for channel, limit in [(FP, 0.045), (FN, 0.045)]:
        steps, accuracy = math_arm(arms[channel.fpr, channel.fnr])
        forecast = flow.accuracy(fit.flow, channel, steps)
        assert np.sqrt(np.mean((forecast - accuracy) ** 2)) < limit


@pytest.mark.parametrize(
    ("passes", "trials", "named"),
    [
        ([3], [2], "0 <= passes <= trials"),
        ([0, 0], [4, 4], "all trials ended alike"),
        ([0.5], [1], "must be integers"),
    ],
)
def test_bad_counts_are_named(passes: list[float], trials: list[int], named: str) -> None:
    with pytest.raises(theory.ArgumentError, match=named):
        fit_difficulties(passes, trials)


def test_too_few_rows_are_named() -> None:
    model = flow.PopulationFlow(flow.difficulties_of([0.3]))
    with pytest.raises(theory.ArgumentError, match="3 free parameters need more than 2 rows"):
        fit_flow(model, [Curve([0, 1], [0.1, 0.2], CLEAN)])
    with pytest.raises(theory.ArgumentError, match="signal plays a part under adam only"):
        fit_flow(model, [Curve([0, 1], [0.1, 0.2], CLEAN)], free=("signal",))
