"""The exact moments against enumeration, Monte Carlo, known digits, symmetries and real groups."""

from __future__ import annotations

import csv
import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

import theory
from tests.shared_data import shared_data
from theory.estimators import (
    PRESETS,
    advantage_table,
    binomial_means,
    binomial_pmf,
    mean_field_gain,
)
from theory.training_chain import step_law

NAMES = tuple(PRESETS)
POINTS = [(0.3, 0.1, 0.2), (0.6, 0.25, 0.05), (0.2, 0.7, 0.6), (0.05, 0.0, 0.3), (0.9, 0.4, 0.0)]


def channel(fpr: float, fnr: float) -> theory.VerifierChannel:
    return theory.VerifierChannel(fpr, fnr)


def enumerated(a: float, x: float, d: float, group: int, name: str) -> tuple[float, float]:
    """Mean and variance of X over all 4^G tables of (right, paid), by the advantages of real groups."""
    cells = [(1, 1, a * (1 - d)), (1, 0, a * d), (0, 1, (1 - a) * x), (0, 0, (1 - a) * (1 - x))]
    outcomes = list(itertools.product(cells, repeat=group))
    right = np.array([[cell[0] for cell in outcome] for outcome in outcomes], dtype=float)
    paid = np.array([[cell[1] for cell in outcome] for outcome in outcomes], dtype=float)
    weight = np.array([np.prod([cell[2] for cell in outcome]) for outcome in outcomes])
    step = (theory.advantages(paid, PRESETS[name]) * (right - a)).mean(axis=1)
    mean = float(weight @ step)
    return mean, float(weight @ (step - mean) ** 2)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group", [2, 3, 4])
@pytest.mark.parametrize("point", POINTS)
def test_moments_equal_the_enumeration_of_every_outcome(
    name: str, group: int, point: tuple[float, float, float]
) -> None:
    a, x, d = point
    moments = theory.drift(a, channel(x, d), group, estimator=PRESETS[name])
    mean, variance = enumerated(a, x, d, group, name)
    assert moments.drift == pytest.approx(mean, abs=1e-13)
    assert moments.variance == pytest.approx(variance, abs=1e-13)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rewards", [(0.0, 1.0), (-0.5, 0.5), (-1.0, 0.0)])
def test_silent_groups_are_those_whose_advantages_are_all_zero(
    name: str, rewards: tuple[float, float]
) -> None:
    q, group = 0.55, 3
    paid = np.array(list(itertools.product([0, 1], repeat=group)))
    weight = np.prod(np.where(paid == 1, q, 1 - q), axis=1)
    silent = (theory.advantages(np.take(rewards, paid), PRESETS[name]) == 0.0).all(axis=1)
    moments = theory.drift(0.3, channel(0.4, 0.1), group, estimator=PRESETS[name], rewards=rewards)
    assert moments.zero_advantage_fraction == pytest.approx(weight[silent].sum(), abs=1e-14)


@pytest.mark.parametrize("name", NAMES)
def test_moments_equal_monte_carlo_at_eight_rollouts(name: str) -> None:
    a, x, d, group, count = 0.3, 0.1, 0.2, 8, 400_000
    rng = np.random.default_rng(20261122)
    right = rng.random((count, group)) < a
    paid = channel(x, d).judge(right, rng.random((count, group)))
    step = (theory.advantages(paid, PRESETS[name]) * (right - a)).mean(axis=1)
    moments = theory.drift(a, channel(x, d), group, estimator=PRESETS[name])
    assert abs(step.mean() - moments.drift) < 4 * step.std() / np.sqrt(count)
    squares = (step - step.mean()) ** 2
    assert abs(squares.mean() - moments.variance) < 4 * squares.std() / np.sqrt(count)


@pytest.mark.parametrize(
    ("point", "group", "name", "drift", "variance"),
    [
        ((0.3, 0.1, 0.2), 8, "grpo", 0.268350, 0.0201980),
        ((0.3, 0.1, 0.2), 8, "dr_grpo", 0.128625, 0.0052788),
        ((0.3, 0.1, 0.2), 8, "rloo", 0.147000, 0.00689475),
        ((0.3, 0.1, 0.2), 8, "grpo_loo", 0.306686, 0.0263811),
        ((0.3, 0.1, 0.2), 8, "nemo_loo", 0.301645, 0.0321613),
        ((0.3, 0.1, 0.2), 8, "reinforce", 0.147000, 0.0127864),
        ((0.6, 0.25, 0.05), 4, "grpo", 0.237026, 0.0304247),
        ((0.6, 0.25, 0.05), 4, "dr_grpo", 0.126000, 0.0089100),
        ((0.6, 0.25, 0.05), 4, "rloo", 0.168000, 0.0158400),
        ((0.2, 0.7, 0.6), 8, "grpo", -0.085616, 0.0194895),
    ],
)
def test_printed_digits(
    point: tuple[float, float, float], group: int, name: str, drift: float, variance: float
) -> None:
    a, x, d = point
    moments = theory.drift(a, channel(x, d), group, estimator=PRESETS[name])
    assert moments.drift == pytest.approx(drift, abs=6e-7)
    assert moments.variance == pytest.approx(variance, rel=5e-5)


def test_printed_digits_of_the_main_example() -> None:
    moments = theory.drift(0.3, channel(0.1, 0.2), 8)
    assert moments.gain == pytest.approx(1.825509, abs=5e-7)
    assert moments.snr == pytest.approx(1.888196, abs=5e-7)
    assert moments.zero_advantage_fraction == pytest.approx(0.0514651, abs=5e-8)
    assert moments.mean_field_drift == pytest.approx(0.317842, abs=5e-7)


@pytest.mark.parametrize("group", [2, 3, 5, 8, 32])
def test_closed_forms_of_the_unscaled_estimators(group: int) -> None:
    a, x, d = np.array([0.02, 0.3, 0.5, 0.85]), 0.15, 0.25
    big_a, j = a * (1 - a), 1 - x - d
    q = x + j * a
    mu22 = a * (1 - a) ** 2 * ((1 - d) * (1 - q) ** 2 + d * q**2) + (1 - a) * a**2 * (
        x * (1 - q) ** 2 + (1 - x) * q**2
    )
    rloo = (
        mu22 / group
        - (group - 2) * (j * big_a) ** 2 / (group * (group - 1))
        + q * (1 - q) * big_a / (group * (group - 1))
    )
    reinforce = (a * (1 - a) ** 2 * (1 - d) + (1 - a) * a**2 * x - (j * big_a) ** 2) / group
    for estimator, gain, variance in [
        (theory.RLOO, 1.0, rloo),
        (theory.DR_GRPO, (group - 1) / group, ((group - 1) / group) ** 2 * rloo),
        (theory.REINFORCE, 1.0, reinforce),
    ]:
        moments = theory.drift(a, channel(x, d), group, estimator=estimator)
        np.testing.assert_allclose(moments.gain, gain, rtol=1e-12)
        np.testing.assert_allclose(moments.drift, j * big_a * gain, rtol=1e-12)
        np.testing.assert_allclose(moments.variance, variance, rtol=1e-11)


def test_leave_one_out_mean_only_rescales() -> None:
    a, group = np.linspace(0.01, 0.99, 25), 8
    whole = theory.drift(a, channel(0.1, 0.3), group)
    others = theory.drift(a, channel(0.1, 0.3), group, estimator=theory.GRPO_LOO)
    np.testing.assert_allclose(others.drift, group / (group - 1) * whole.drift, rtol=1e-12)
    np.testing.assert_allclose(others.snr, whole.snr, rtol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group", [2, 4, 8, 17])
def test_swapping_right_and_wrong_leaves_the_law_of_the_step(name: str, group: int) -> None:
    """The whole law of X, atom by atom; of reinforce only the mean is symmetric."""
    a, x, d = np.array([0.04, 0.3, 0.5, 0.85]), 0.3, 0.05
    frequency = np.linspace(0.0, 40.0, 81)

    def transform(
        rate: NDArray[np.float64], judge: theory.VerifierChannel
    ) -> NDArray[np.complex128]:
        """E exp(i f X): equal for equal laws, however the atoms are ordered or split; [rates, f]."""
        values, weights = step_law(rate, judge, group, estimator=PRESETS[name])
        return np.array([(weights * np.exp(1j * f * values)).sum(axis=-1) for f in frequency]).T

    apart = np.abs(transform(a, channel(x, d)) - transform(1 - a, channel(d, x))).max(axis=1)
    if name == "reinforce":
        assert np.all(apart > 0.05)
    else:
        np.testing.assert_allclose(apart, 0.0, atol=1e-10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group", [2, 4, 8, 33])
def test_swapping_right_and_wrong_leaves_the_moments_of_the_step(name: str, group: int) -> None:
    a, x, d = np.linspace(0.01, 0.99, 21), 0.3, 0.05
    here = theory.drift(a, channel(x, d), group, estimator=PRESETS[name])
    there = theory.drift(1 - a, channel(d, x), group, estimator=PRESETS[name])
    np.testing.assert_allclose(here.drift, there.drift, rtol=1e-11)
    if name == "reinforce":  # only its mean is symmetric
        assert not np.allclose(here.variance, there.variance, rtol=1e-2)
    else:
        np.testing.assert_allclose(here.variance, there.variance, rtol=1e-9)
        np.testing.assert_allclose(
            here.zero_advantage_fraction, there.zero_advantage_fraction, rtol=1e-10
        )


@pytest.mark.parametrize("name", NAMES)
def test_inverting_the_verifier_reverses_the_drift(name: str) -> None:
    a, x, d = np.linspace(0.01, 0.99, 21), 0.3, 0.05
    here = theory.drift(a, channel(x, d), 8, estimator=PRESETS[name])
    inverted = theory.drift(a, channel(1 - x, 1 - d), 8, estimator=PRESETS[name])
    np.testing.assert_allclose(inverted.drift, -here.drift, rtol=1e-11)
    if (
        name == "reinforce"
    ):  # without a baseline, paying the wrong ones is not minus paying the right
        assert not np.allclose(inverted.variance, here.variance, rtol=1e-2)
    else:
        np.testing.assert_allclose(inverted.variance, here.variance, rtol=1e-9)


@pytest.mark.parametrize("name", NAMES)
def test_edges_are_finite_and_carry_no_gradient(name: str) -> None:
    for x, d in [(0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.3, 0.7), (0.2, 0.4)]:
        moments = theory.drift([0.0, 1.0], channel(x, d), 8, estimator=PRESETS[name])
        for field in ("gain", "drift", "variance", "mean_field_drift", "snr"):
            assert np.all(np.isfinite(getattr(moments, field))), field
        np.testing.assert_array_equal(moments.drift, 0.0)
        np.testing.assert_allclose(moments.variance, 0.0, atol=1e-30)


@pytest.mark.parametrize("group", [2, 8, 64])
def test_gain_at_the_ends_is_its_limit(group: int) -> None:
    limit = (group - 1) / (np.sqrt(group) * (1 + 1e-4 * np.sqrt(group)))
    np.testing.assert_allclose(theory.gain([0.0, 1.0], group), limit, rtol=1e-12)
    assert theory.gain(1e-9, group) == pytest.approx(limit, rel=1e-6)


def test_gain_is_bounded_by_the_mean_field() -> None:
    q = np.linspace(0.001, 0.999, 500)
    for group in (2, 4, 16, 256):
        bound = (group - 1) / (group * np.sqrt(q * (1 - q)))
        assert np.all(theory.gain(q, group) <= bound)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "rloo" and name != "reinforce"])
def test_drift_nears_the_mean_field_like_one_over_the_group_size(name: str) -> None:
    # eps = 0, since with eps > 0 the limit is 1/(sigma + eps); the order is measured, not assumed.
    preset = PRESETS[name]
    exact = theory.Estimator(preset.baseline, preset.scale, ddof=preset.ddof, eps=0.0)
    limit = mean_field_gain(0.31, estimator=exact)
    errors = [float(abs(theory.gain(0.31, size, estimator=exact) - limit)) for size in (512, 1024)]
    assert np.log2(errors[0] / errors[1]) == pytest.approx(1.0, abs=0.02)


def test_small_groups_have_a_constant_gain() -> None:
    q = np.linspace(0, 1, 11)
    np.testing.assert_allclose(theory.gain(q, 2), 0.707007, atol=5e-7)
    np.testing.assert_allclose(theory.gain(q, 3), 1.154501, atol=5e-7)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("group", [2, 3, 8])
def test_the_table_holds_the_advantages_of_real_groups(name: str, group: int) -> None:
    unpaid, paid = advantage_table(group, PRESETS[name])
    for count in range(group + 1):
        rewards = np.array([1.0] * count + [0.0] * (group - count))
        expected = np.where(rewards == 1.0, paid[count], unpaid[count])
        np.testing.assert_allclose(theory.advantages(rewards, PRESETS[name]), expected, atol=1e-14)


def test_advantages_of_nemo_rl_leave_the_rollout_itself_out() -> None:
    rewards = np.array([0.3, 1.2, -0.7, 0.1, 0.4])
    for i, advantage in enumerate(theory.advantages(rewards, theory.NEMO_LOO)):
        others = np.delete(rewards, i)
        expected = (rewards[i] - others.mean()) / (others.std(ddof=1) + 1e-6)
        assert advantage == pytest.approx(expected, abs=1e-12)
    lone = theory.advantages([0.1, 0.1, 0.1, 1.0], theory.NEMO_LOO)
    assert lone[3] == pytest.approx(0.9, abs=1e-12)


def real_groups() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    path = shared_data("ethsri_rollouts/olmo3_7b_base_rollouts_slim.csv")
    groups: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            pair = float(row["reward"]), float(row["advantage"])
            groups.setdefault((row["step"], row["prompt_id"]), []).append(pair)
    table = np.array(list(groups.values()))
    return table[..., 0], table[..., 1]


def test_trl_advantages_of_real_groups() -> None:
    rewards, logged = real_groups()
    assert rewards.shape == (640, 16)
    np.testing.assert_allclose(theory.advantages(rewards, theory.GRPO), logged, rtol=0, atol=1e-6)
    population = theory.Estimator("group", "group", ddof=0, eps=1e-4)
    worst = np.abs(theory.advantages(rewards, population) - logged).max()
    assert worst == pytest.approx(0.12, abs=0.005)  # ddof = 0 is visibly another estimator


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"pass_rate": 1.2}, "pass_rate must lie in \\[0, 1\\], got 1.2"),
        ({"pass_rate": float("nan")}, "pass_rate must lie in"),
        ({"group_size": 1}, "group_size must be at least 2, got 1"),
        ({"group_size": 2.5}, "group_size must be an integer, got 2.5"),
    ],
)
def test_bad_arguments_are_named(arguments: dict[str, float], message: str) -> None:
    good: dict[str, float] = {"pass_rate": 0.3, "group_size": 8}
    with pytest.raises(theory.ArgumentError, match=message):
        theory.drift(**(good | arguments), channel=channel(0.1, 0.2))  # pyright: ignore[reportArgumentType]


def test_bad_estimators_and_rewards_are_named() -> None:
    with pytest.raises(theory.ArgumentError, match="got 'gpro'"):
        theory.estimator_named("gpro")
    with pytest.raises(theory.ArgumentError, match="eps must be"):
        theory.Estimator("group", "group", eps=float("nan"))
    with pytest.raises(theory.ArgumentError, match="finite"):
        theory.advantages([1.0, float("nan")])


def test_means_over_many_outcomes_are_those_of_all_outcomes_laid_out() -> None:
    rates = np.array([0.0, 1e-300, 1e-6, 0.3, 0.999, 1.0])
    trials = 2_000_000
    counts = np.arange(trials + 1.0)
    mean, square = binomial_means(trials, rates, counts, counts**2)
    np.testing.assert_allclose(mean, trials * rates, rtol=1e-6)
    expected = trials * rates * (1.0 - rates) + (trials * rates) ** 2
    np.testing.assert_allclose(square, expected, rtol=1e-6)
    few = binomial_means(1000, rates, counts[:1001])[0]
    np.testing.assert_allclose(few, binomial_pmf(1000, rates) @ counts[:1001])
