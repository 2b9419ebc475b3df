"""The flow under Adam with memory, and its calibration: limits, recovery, and real curves."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import theory
from tests.shared_data import shared_data
from theory import VerifierChannel, flow
from theory.adam_flow import RELAXATION, AdamFlow, Condition, accuracy_curves
from theory.forecast import Fit, Measured, calibrate, forecast

CLEAN, FP, FN = VerifierChannel(0.0, 0.0), VerifierChannel(0.4, 0.0), VerifierChannel(0.0, 0.4)
STEPS = np.array([0.0, 10, 20, 40, 60, 80, 100, 150, 200, 300])
TRUTH = AdamFlow(theta=-0.6, rate=0.035, signal=1.4, ceiling=0.85, spread=1.8)
SHAKEN = replace(TRUTH, jitter=0.1)


@pytest.mark.parametrize("channel", [CLEAN, FP, FN, VerifierChannel(0.7, 0.5)])
def test_without_memory_it_is_the_population_flow(channel: VerifierChannel) -> None:
    reference = flow.PopulationFlow(
        flow.normal_difficulties(16, spread=TRUTH.spread),
        theta=TRUTH.theta,
        ceiling=TRUTH.ceiling,
        rate=TRUTH.rate,
        signal=TRUTH.signal,
        optimiser="adam",
        group_size=8,
        prompts_per_step=8,
        warmup_steps=50,
    )
    condition = Condition(channel, 8, 8, warmup_steps=50, beta2=0.0)
    ours = accuracy_curves([TRUTH], [condition], STEPS)[0, 0]
    assert ours == pytest.approx(flow.accuracy(reference, channel, STEPS), abs=2e-5)


def test_memory_slows_adam_where_the_gradient_dies() -> None:
    with_memory, without = (
        accuracy_curves([TRUTH], [Condition(CLEAN, 8, 8, beta2=beta2)], STEPS)[0, 0]
        for beta2 in (0.999, 0.0)
    )
    assert with_memory[-1] < without[-1] - 0.005


def test_a_coin_moves_nothing() -> None:
    coin = Condition(VerifierChannel(0.5, 0.5), 8, 8)
    curve = accuracy_curves([TRUTH], [coin], STEPS)[0, 0]
    assert curve == pytest.approx(np.full(STEPS.size, curve[0]), abs=1e-12)


def test_a_coin_shakes_off_a_share_of_accuracy_and_no_more() -> None:
    # All of a coin's step is noise, so the ceiling relaxes to exp(-jitter) of itself.
    shaken = replace(TRUTH, jitter=0.2)
    coin = Condition(VerifierChannel(0.5, 0.5), 8, 8)
    steps = STEPS[
        STEPS <= 60
    ]  # every one of them is a point of the curve; later ones are interpolated
    curve = accuracy_curves([shaken], [coin], steps)[0, 0]
    kept = np.exp(-0.2 * (1.0 - np.exp(-steps / RELAXATION)))
    assert curve == pytest.approx(curve[0] * kept, rel=1e-9)


@pytest.mark.parametrize("channel", [FP, FN])
def test_jitter_leaves_a_gap_between_arms_that_have_learnt_all(channel: VerifierChannel) -> None:
    # From an untrained model to a plateau: the clean arm's strong early signal lingers in v_hat.
    conditions = [Condition(c, 32, 32) for c in (CLEAN, channel)]

    def gap(jitter: float) -> float:
        flow_ = AdamFlow(-5.0, rate=0.2, signal=0.4, ceiling=0.8, spread=1.8, jitter=jitter)
        clean, noisy = accuracy_curves([flow_], conditions, [160.0])[0, :, 0]
        return clean - noisy

    assert abs(gap(0.0)) < 0.003
    assert gap(0.2) > gap(0.1) > gap(0.0) + 0.003


def rows(conditions: list[Condition], *, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Condition, step and accuracy of 2,000 samples per evaluation of the truth."""
    curves = accuracy_curves([SHAKEN], conditions, STEPS)[0]
    measured = np.random.default_rng(seed).binomial(2000, curves) / 2000
    return (
        np.repeat(np.arange(len(conditions)), STEPS.size),
        np.tile(STEPS, len(conditions)),
        measured.ravel(),
    )


def test_arms_with_noise_identify_what_a_clean_arm_leaves_to_the_prior() -> None:
    noisy = (VerifierChannel(0.4, 0.4), VerifierChannel(0.5, 0.5), VerifierChannel(0.7, 0.5))
    conditions = [Condition(c, 8, 8) for c in (CLEAN, *noisy)]
    fit = calibrate(conditions, *rows(conditions, seed=1), n_eval=np.full(40, 2000))
    assert fit.status == "converged"
    clean = calibrate(conditions[:1], *rows(conditions[:1], seed=1))
    for name in ("signal", "jitter"):
        low, high = fit.interval(name)
        assert low < getattr(SHAKEN, name) < high
        assert name not in fit.aliased()
        assert name in clean.aliased()


def test_a_clean_arm_and_a_measured_signal_forecast_arms_not_seen() -> None:
    shown, unseen = (
        [Condition(CLEAN, 8, 8)],
        [Condition(c, g, 8) for c in (FP, FN) for g in (4, 32)],
    )
    inside = []
    for seed in range(3):
        fit = calibrate(
            shown,
            *rows(shown, seed=seed),
            n_eval=np.full(10, 2000),
            measured=Measured(signal=SHAKEN.signal, between=0.05),
        )
        place, step, measured = rows(unseen, seed=100 + seed)
        found = forecast(fit, unseen, place, step, n_eval=np.full(40, 2000))
        assert np.sqrt(np.mean((found.accuracy - measured) ** 2)) < 0.02
        inside.append(np.mean((found.low <= measured) & (measured <= found.high)))
    assert np.mean(inside) > 0.85


@pytest.mark.parametrize("signal", [0.08, 0.4, 2.0])
def test_without_one_the_interval_is_as_wide_as_tasks_differ(signal: float) -> None:
    # The same clean curve, near enough, at any signal: only the noisy arms differ.
    truth = replace(SHAKEN, signal=signal, rate=0.035 * np.sqrt(1 + (0.5 / signal) ** 2))
    conditions = [Condition(c, 8, 8) for c in (CLEAN, FP, VerifierChannel(0.3, 0.3))]
    curves = accuracy_curves([truth], conditions, STEPS)[0]
    measured = np.random.default_rng(3).binomial(2000, curves) / 2000
    fit = calibrate(conditions[:1], np.zeros(10, int), STEPS, measured[0], n_eval=np.full(10, 2000))
    place, step = np.repeat([0, 1], 10), np.tile(STEPS, 2)
    found = forecast(fit, conditions[1:], place, step, n_eval=np.full(20, 2000))
    inside = (found.low <= measured[1:].ravel()) & (measured[1:].ravel() <= found.high)
    assert inside.mean() >= 0.8
    assert "signal" in fit.aliased()


def test_more_rows_of_one_condition_are_not_more_conditions() -> None:
    # What no flow follows stays in doubt, however often it is measured: width falls to a floor and not to 0.
    condition = [Condition(CLEAN, 8, 8)]
    place, step, measured = rows(condition, seed=1)
    widths = []
    for times in (5, 50):
        fit = calibrate(condition, *(np.tile(v, times) for v in (place, step, measured)))
        found = forecast(fit, condition, place, step)
        widths.append(float(np.mean(found.high - found.low)))
    assert widths[1] > 0.6 * widths[0]
    assert widths[1] > 0.02


@pytest.fixture(scope="module")
def clean_fit() -> Fit:
    condition = [Condition(CLEAN, 8, 8)]
    return calibrate(condition, *rows(condition, seed=2), n_eval=np.full(10, 2000))


def test_a_clean_forecast_never_falls(clean_fit: Fit) -> None:
    step = np.array([0.0, 1, 5, 20, 77, 150, 299, 300, 301, 500, 900, 2000, 3000])
    for condition in (Condition(CLEAN, 8, 8), Condition(CLEAN, 32, 8), Condition(FP, 8, 8)):
        found = forecast(clean_fit, [condition], np.zeros(step.size, int), step)
        assert np.all(np.diff(found.accuracy) >= -1e-6)
        assert np.all((found.low <= found.accuracy) & (found.accuracy <= found.high))
        assert np.all((found.gap_low <= found.gap) & (found.gap <= found.gap_high))


@pytest.mark.parametrize("channel", [CLEAN, FP, VerifierChannel(0.3, 0.3)])
def test_intervals_do_not_narrow_outside_support(clean_fit: Fit, channel: VerifierChannel) -> None:
    longer = np.array([300.0, 400, 600, 1200, 3000])
    found = forecast(clean_fit, [Condition(channel, 8, 8)], np.zeros(5, int), longer)
    assert np.all(np.diff(found.high - found.low) >= -1e-9)
    sizes = [Condition(channel, g, 8) for g in (8, 16, 64)]
    found = forecast(clean_fit, sizes, np.arange(3), np.full(3, 300.0))
    assert np.all((found.high - found.low)[1:] >= (found.high - found.low)[0] - 1e-9)


@given(
    fpr=st.floats(0.0, 1.0),
    fnr=st.floats(0.0, 1.0),
    group_size=st.sampled_from([2, 8, 32]),
    step=st.sampled_from([0.0, 40.0, 300.0, 900.0]),
)
@settings(max_examples=12, deadline=None)
def test_intervals_are_no_narrower_than_at_the_nearest_calibrated_rates(
    clean_fit: Fit, fpr: float, fnr: float, group_size: int, step: float
) -> None:
    conditions = [Condition(VerifierChannel(fpr, fnr), group_size, 8), Condition(CLEAN, 8, 8)]
    found = forecast(clean_fit, conditions, [0, 1], [step, min(step, 300.0)])
    width = found.high - found.low
    # An interval that has reached both ends of [0, 1] is as wide as they come.
    assert width[0] >= min(width[1], 1.0) - 1e-9
    assert (found.gap_high - found.gap_low)[0] >= (found.gap_high - found.gap_low)[1] - 1e-9


def test_a_row_is_forecast_alike_alone_and_among_others(clean_fit: Fit) -> None:
    conditions = [Condition(FP, 8, 8), Condition(FN, 32, 8)]
    together = forecast(clean_fit, conditions, [0, 1, 0], [100.0, 700.0, 300.0])
    alone = forecast(clean_fit, conditions[1:], [0], [700.0])
    for name in ("accuracy", "low", "high", "gap_low", "gap_high"):
        assert getattr(together, name)[1] == pytest.approx(getattr(alone, name)[0], abs=1e-12)


def test_what_several_rows_ask_is_integrated_once(
    clean_fit: Fit, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A group size outside support asks for the nearest one within, which may be asked for already."""
    integrated: list[Condition] = []

    def counted(flows: Any, conditions: Any, steps: Any) -> Any:
        integrated.extend(conditions)
        return accuracy_curves(flows, conditions, steps)

    monkeypatch.setattr("theory.forecast.accuracy_curves", counted)
    fp = [Condition(FP, size, 8) for size in (8, 64)]
    forecast(clean_fit, fp[:1], [0], [100.0])
    before = integrated.count(fp[0])
    assert before > 0
    integrated.clear()
    forecast(clean_fit, fp, [0, 1], [100.0, 100.0])
    assert integrated.count(fp[0]) == before


def test_told_sgd_is_not_forecast_as_adam() -> None:
    conditions = [Condition(c, 8, 8, optimiser="sgd") for c in (CLEAN, VerifierChannel(0.3, 0.3))]
    truth = AdamFlow(theta=-1.5, rate=0.15, signal=1.0, ceiling=0.9, spread=1.5)
    curves = accuracy_curves([truth], conditions, STEPS)[0]
    place = np.zeros(10, int)
    errors = {}
    for optimiser in ("adam", "sgd"):
        fit = calibrate(conditions[:1], place, STEPS, curves[0], optimiser=optimiser)
        found = forecast(fit, conditions[1:], place, STEPS)
        errors[optimiser] = float(np.sqrt(np.mean((found.accuracy - curves[1]) ** 2)))
    assert errors["sgd"] < 0.02
    assert errors["sgd"] < 0.7 * errors["adam"]


def test_a_probed_arm_follows_the_clean_curve_at_its_pace(clean_fit: Fit) -> None:
    conditions = [Condition(CLEAN, 8, 8), Condition(FP, 8, 8)]
    clean = forecast(clean_fit, conditions[:1], [0, 0], [60.0, 120.0])
    paced = forecast(
        clean_fit, conditions, [1, 1], [100.0, 200.0], pace=[np.nan, 0.6], pace_se=[0.0, 0.0]
    )
    free = forecast(clean_fit, conditions, [1, 1], [100.0, 200.0])
    assert np.abs(paced.accuracy - clean.accuracy).max() < 0.025
    assert np.all(paced.high - paced.low < free.high - free.low)


def test_the_clean_arm_of_real_curves_forecasts_the_noisy_ones() -> None:
    with shared_data("math_trajectories/mL4.csv").open(encoding="utf-8", newline="") as file:
        table = list(csv.DictReader(file))
    arms = sorted({(float(r["fpr"]), float(r["fnr"])) for r in table})
    conditions = [Condition(VerifierChannel(*arm), 32, 32) for arm in arms]
    place = np.array([arms.index((float(r["fpr"]), float(r["fnr"]))) for r in table])
    step = np.array([float(r["step"]) for r in table])
    measured = np.array([float(r["accuracy_mean_of_5_seeds"]) for r in table])
    clean = place == arms.index((0.0, 0.0))
    fit = calibrate([Condition(CLEAN, 32, 32)], place[clean] * 0, step[clean], measured[clean])
    found = forecast(fit, conditions, place[~clean], step[~clean])
    assert np.sqrt(np.mean((found.accuracy - measured[~clean]) ** 2)) <= 0.025


def test_bad_input_is_named() -> None:
    with pytest.raises(theory.ArgumentError, match="beta2 must be at least 0 and below 1"):
        Condition(CLEAN, beta2=1.0)
    with pytest.raises(theory.ArgumentError, match="rate must be finite"):
        AdamFlow(theta=0.0, rate=0.0, signal=1.0)
    with pytest.raises(theory.ArgumentError, match="rows of one length"):
        calibrate([Condition(CLEAN)], [], [], [])
    with pytest.raises(theory.ArgumentError, match="n_eval must be at least 1"):
        calibrate([Condition(CLEAN)], [0], [0.0], [0.1], n_eval=[0])
    with pytest.raises(theory.ArgumentError, match="condition must be below 1"):
        calibrate([Condition(CLEAN)], [1], [0.0], [0.1])
