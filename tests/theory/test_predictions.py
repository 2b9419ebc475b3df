"""Predictions 1 to 7 of the theory, each in a form that can fail; where a theorem is tested, see there.

4 (path against clock): also test_mean_field. 5 (same rates, different fate): also
tests/verigap/test_simulate. 6 (correlated errors): also test_bandit. 7 (corrections): test_corrections.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.special import gammaln

import theory
from theory import flow
from theory.bandit import Training, population, simulate
from theory.estimators import PRESETS
from theory.structures import GroupCorrelated, Independent, Rollouts, Triggered

CLEAN, FP, FN = (theory.VerifierChannel(*r) for r in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3)])
EXACT = theory.Estimator("group", "group", ddof=1, eps=0.0)


def poisson_ratio(mean: float) -> float:
    """h(lambda) = E sqrt(Poisson(lambda)) / sqrt(lambda)."""
    k = np.arange(400)
    return float(
        (np.sqrt(k) * np.exp(k * np.log(mean) - mean - gammaln(k + 1.0))).sum() / mean**0.5
    )


# 1. The expected step saturates in G at 1/q, not the signal-to-noise ratio.


@pytest.mark.parametrize(("mean", "digits"), [(1, 0.773193), (2, 0.897218), (4, 0.961038)])
def test_1_the_gain_of_rare_rewards_follows_the_poisson_law(mean: float, digits: float) -> None:
    assert poisson_ratio(mean) == pytest.approx(digits, abs=5e-7)
    q = mean / 20_000
    scaled = theory.gain(q, 20_000, estimator=EXACT) * np.sqrt(q * (1 - q))
    assert scaled == pytest.approx(poisson_ratio(mean), rel=2e-4)


@pytest.mark.parametrize(("group", "ratio"), [(2, 0.9), (8, 0.7949), (32, 0.5340), (256, 0.3088)])
def test_1_extra_rollouts_favour_the_clean_verifier(group: int, ratio: float) -> None:
    noisy = theory.drift(0.01, theory.VerifierChannel(0.1, 0.0), group).drift
    assert noisy / theory.drift(0.01, CLEAN, group).drift == pytest.approx(ratio, abs=5e-5)


def test_1_the_step_saturates_at_one_over_q_and_the_signal_to_noise_ratio_does_not() -> None:
    sizes = [4, 16, 64, 256, 1024, 4096]
    for channel, a in [(CLEAN, 0.01), (theory.VerifierChannel(0.1, 0.0), 0.01)]:
        moments = [theory.drift(a, channel, size, estimator=EXACT) for size in sizes]
        steps = np.array([m.drift / m.mean_field_drift for m in moments])
        q = channel.observed_rate(a)
        reached = np.interp(1.0 / q, sizes, steps)
        assert 0.6 < reached < 0.8  # h(1) = .77 less a chord's sag: the bend is at G = 1/q
        assert steps[-1] > 0.98
        snr = np.array([float(m.snr) for m in moments])
        assert snr[-1] / snr[-2] == pytest.approx(2.0, abs=0.1)


# 2. The FP/FN asymmetry is a matter of accuracy.


@pytest.mark.parametrize("group", [2, 3, 4, 8, 64])
def test_2_false_positives_cost_hard_prompts_more_and_easy_ones_less(group: int) -> None:
    below, above = np.linspace(0.02, 0.48, 12), np.linspace(0.52, 0.98, 12)
    for a, side in [(below, -1), (above, 1)]:
        gap = theory.drift(a, FP, group).drift - theory.drift(a, FN, group).drift
        if group < 4:
            np.testing.assert_allclose(gap, 0.0, atol=1e-13)
        else:
            assert np.all(side * gap > 0)


@pytest.mark.parametrize(
    ("difficulties", "ceiling", "crossing"),
    [
        (flow.normal_difficulties(20_000, spread=2.0), 1.0, 0.5),
        (flow.exponential_difficulties(20_000, scale=2.0), 1.0, 0.418390),
        (flow.normal_difficulties(20_000, spread=2.0), 0.8, 0.593972),
    ],
)
def test_2_where_a_population_crosses_depends_on_its_difficulties(
    difficulties: np.ndarray, ceiling: float, crossing: float
) -> None:
    model = flow.PopulationFlow(difficulties, ceiling=ceiling)

    def gap(theta: float) -> float:
        return float(model.velocity(theta, FP) - model.velocity(theta, FN))

    # The tails of the midpoint rule weigh on the fourth digit.
    at = brentq(gap, -4.0, 6.0)
    assert model.pass_rates(at).mean() == pytest.approx(crossing, abs=2e-4)


# 3. dr_grpo removes the asymmetry of the expected gradient; Adam brings it back.


def test_3_dr_grpo_has_no_asymmetry_of_the_expected_gradient() -> None:
    a = np.linspace(0.02, 0.98, 25)
    moments = [theory.drift(a, c, 8, estimator=theory.DR_GRPO) for c in (FP, FN)]
    np.testing.assert_allclose(moments[0].drift, moments[1].drift, rtol=1e-12)


@pytest.mark.parametrize(
    ("group", "name", "fp", "fn"),
    [(8, "grpo", 0.9618, 0.8696), (8, "dr_grpo", 0.9710, 0.8251), (32, "grpo", 2.0447, 2.3850)],
)
def test_3_signal_to_noise_along_ability_orders_them_by_group_size(
    group: int, name: str, fp: float, fn: float
) -> None:
    for channel, digits in [(FP, fp), (FN, fn)]:
        moments = theory.drift(0.1, channel, group, estimator=PRESETS[name])
        assert moments.snr == pytest.approx(digits, abs=6e-5)


@pytest.mark.parametrize(
    ("name", "channel", "law"),
    [("grpo", FP, 0.4477), ("grpo", FN, 0.5761), ("dr_grpo", FP, 0.4495), ("dr_grpo", FN, 0.5794)],
)
def test_3_simulated_adam_steps_follow_the_law(
    name: str, channel: theory.VerifierChannel, law: float
) -> None:
    """233 steps of a coordinate with u = .3 along theta plus unit score noise; G = B = 8, a = .2."""
    rng = np.random.default_rng(3)
    coordinates, steps, a = 600, 233, 0.2
    first, second = np.zeros(coordinates), np.zeros(coordinates)
    moved, rate_sum = np.zeros(coordinates), 0.0
    for t in range(1, steps + 1):
        right = rng.random((coordinates, 8, 8)) < a
        advantages = theory.advantages(channel.judge(right, rng.random(right.shape)), PRESETS[name])
        score = 0.3 * (right - a) + rng.standard_normal(right.shape)
        g = (advantages * score).mean(axis=(1, 2))
        first, second = 0.9 * first + 0.1 * g, 0.999 * second + 0.001 * g**2
        rate = min(1.0, 0.1 + 0.9 * t / 50)
        step = first / (1 - 0.9**t) / (np.sqrt(second / (1 - 0.999**t)) + 1e-8)
        moved += rate * step
        rate_sum += rate
    # The law is stationary and the run is short: 1 % is what it claims, three standard errors are ours.
    error = moved.std() / rate_sum / np.sqrt(coordinates)
    assert moved.mean() / rate_sum == pytest.approx(law, abs=0.01 * law + 3 * error)


# 4. Independent noise changes only the clock.


def test_4_a_noisy_run_takes_the_clean_path() -> None:
    start = population([0.12], right_modes=3, wrong_modes=4, mode_spread=0.8, seed=2)
    training = Training(steps=250, group_size=50_000)
    paths = [
        simulate(start, training, Independent(c), seed=1, evaluate_every=2) for c in (CLEAN, FP, FN)
    ]
    at = np.linspace(0.15, 0.9, 16)
    clean, *noisy = (np.interp(at, path.accuracy, path.entropy) for path in paths)
    for entropy in noisy:
        np.testing.assert_allclose(entropy, clean, atol=0.02)
    late = [float(np.interp(0.9, path.accuracy, path.step)) for path in paths]
    assert min(late[1:]) > 1.3 * late[0]  # and at another pace


# 5. Errors tied to something the policy can learn.


def test_5_equal_rates_part_when_errors_can_be_learned() -> None:
    start = population(np.full(200, 0.3), feature_share=0.3)
    training = Training(steps=400, learning_rate=1.0)
    channel = theory.VerifierChannel(0.3, 0.2)
    trigger = Triggered(theory.VerifierChannel(1.0, 0.2), theory.VerifierChannel(0.0, 0.2))
    random, learned = (
        simulate(start, training, s, seed=1, evaluate_every=50)
        for s in (Independent(channel), trigger)
    )
    for path in (random, learned):
        assert path.marginal_fpr[0] == pytest.approx(0.3, abs=1e-12)
        assert path.marginal_fnr[0] == pytest.approx(0.2, abs=1e-12)
    assert random.accuracy[-1] > 0.95
    assert learned.accuracy[-1] < 0.15
    assert learned.observed_reward[-1] > 0.9  # and the optimiser is pleased with both


# 6. Errors correlated within a group: the gain is convex where it matters.


def test_6_correlated_errors_leave_linear_estimators_and_raise_grpo() -> None:
    """E over Beta rates of J_g A D_G(q_g), by quadrature: a=.1, x=.2, d=0, G=8."""
    from scipy.stats import beta

    u = (np.arange(20_000) + 0.5) / 20_000
    a, x = 0.1, 0.2
    for correlation, digits in [(1e-9, 0.133736), (0.3, 0.143853), (1 - 1e-9, 0.156730)]:
        k = 1 / correlation - 1
        rates = beta(x * k, (1 - x) * k).ppf(u) if 1e-6 < correlation < 0.99 else None
        if rates is None:
            rates = np.full(u.size, x) if correlation < 0.5 else (u < x).astype(float)
        q = rates + (1 - rates) * a
        drift = ((1 - rates) * a * (1 - a) * theory.gain(q, 8)).mean()
        assert drift == pytest.approx(digits, abs=2e-6)
        linear = ((1 - rates) * a * (1 - a) * theory.gain(q, 8, estimator=theory.RLOO)).mean()
        assert linear == pytest.approx((1 - x) * a * (1 - a), rel=1e-6)


@pytest.mark.parametrize("size", [4, 8, 32])
def test_6_errors_of_a_whole_group_raise_grpo_s_step_on_hard_prompts_only(size: int) -> None:
    """False positives that pay all wrong rollouts of a group or none (correlation 1) teach J times the clean
    step, independent ones J A D_G(q), and D_G grows with the distance from 1/2: more iff |a - 1/2| > |q - 1/2|.
    """
    a = np.linspace(0.05, 0.95, 19)[:, np.newaxis]
    x = np.array([0.05, 0.2, 0.4, 0.6])
    alone = np.array([theory.drift(a[:, 0], theory.VerifierChannel(r, 0.0), size).drift for r in x])
    together = (1.0 - x) * theory.drift(a, theory.VerifierChannel(0.0, 0.0), size).drift
    nearer = np.abs(a - 0.5) - np.abs(x + (1.0 - x) * a - 0.5)
    apart = np.abs(nearer) > 1e-9
    np.testing.assert_array_equal((together > alone.T)[apart], (nearer > 0.0)[apart])
    assert 0.2 < (nearer > 0.0).mean() < 0.8


def test_6_the_effective_group_size_is_the_variance_of_the_mean_flip_and_nothing_else() -> None:
    """G/(1 + (G - 1)c) rollouts judged independently flip as much in the mean, and teach less."""
    x, correlation, size, groups = 0.2, 0.3, 8, 40_000
    place = np.arange(groups * size)
    judged = GroupCorrelated(theory.VerifierChannel(x, 0.0), correlation).judge(
        Rollouts(
            right=np.zeros(place.size, dtype=bool),
            prompt=np.zeros_like(place),
            index=place,
            group=place // size,
        ),
        seed=5,
        step=0,
    )
    effective = size / (1 + (size - 1) * correlation)
    mean_flip = judged.reshape(groups, size).mean(axis=1)
    expected = x * (1 - x) / effective
    # Four standard errors of a variance whose flips have a kurtosis below 3 + 3.
    assert mean_flip.var() == pytest.approx(expected, rel=4 * np.sqrt(5 / groups))
    # Drift is another matter: correlation raises grpo's, a group of the effective size (2.6) lowers it.
    alone, smaller = (
        float(theory.drift(0.1, theory.VerifierChannel(x, 0.0), g).drift) for g in (size, 3)
    )
    assert effective < 3
    assert smaller < alone < 0.143853


# 7. Corrections: forward is a no-op, backward is a sign (test_corrections); and in a whole run:


def test_7_corrections_change_nothing_in_a_run_of_grpo() -> None:
    from theory import corrections

    channel = theory.VerifierChannel(0.2, 0.25)
    start = population(np.linspace(0.1, 0.6, 40), wrong_modes=2)
    # Backward divides the sd by J, so that an eps beside it would count for more: a no-op up to eps.
    ends = [
        simulate(
            start,
            Training(steps=60, rewards=rewards, estimator=EXACT),
            Independent(channel),
            seed=4,
        ).pass_rates
        for rewards in (
            corrections.NONE,
            corrections.forward(channel),
            corrections.backward(channel),
        )
    ]
    np.testing.assert_allclose(ends[1], ends[0], rtol=1e-9)
    np.testing.assert_allclose(ends[2], ends[0], rtol=1e-9)
