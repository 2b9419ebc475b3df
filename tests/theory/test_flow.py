"""The population flow against a fine integrator, its symmetries, and Adam's law."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import solve_ivp

import theory
from theory import flow
from theory.estimators import PRESETS

CLEAN, FP, FN = (theory.VerifierChannel(*rates) for rates in [(0.0, 0.0), (0.3, 0.0), (0.0, 0.3)])
DIFFICULTIES = flow.normal_difficulties(24, spread=2.0)


def population(**options: object) -> flow.PopulationFlow:
    return flow.PopulationFlow(
        **({"difficulties": DIFFICULTIES, "theta": -1.5, "ceiling": 0.8, "rate": 0.15} | options)  # pyright: ignore[reportArgumentType]
    )


@pytest.mark.parametrize("optimiser", ["sgd", "adam"])
@pytest.mark.parametrize("channel", [CLEAN, FP, FN, theory.VerifierChannel(0.7, 0.6)])
def test_the_clock_solves_the_equation(optimiser: str, channel: theory.VerifierChannel) -> None:
    model = population(optimiser=optimiser, warmup_steps=30, rate=0.1)
    steps = np.array([0, 3, 30, 100, 233])

    def right_hand_side(_: float, theta: np.ndarray) -> np.ndarray:
        return model.velocity(theta, channel)

    reference = [
        float(solve_ivp(right_hand_side, (0, tau), [model.theta], rtol=1e-10, atol=1e-12).y[0, -1])
        for tau in model.progress(steps)
    ]
    np.testing.assert_allclose(flow.ability(model, channel, steps), reference, atol=5e-6)


def test_steps_may_come_in_any_order_and_shape() -> None:
    model = population()
    whole = flow.accuracy(model, FP, [[200, 0], [50, 50]])
    assert whole.shape == (2, 2)
    for steps, value in [(200, whole[0, 0]), (0, whole[0, 1]), (50, whole[1, 0])]:
        assert flow.accuracy(model, FP, steps) == pytest.approx(value, abs=1e-9)


def test_no_information_no_motion_and_inverted_information_reverses() -> None:
    model = population()
    steps = np.arange(0, 200, 20)
    np.testing.assert_array_equal(
        flow.ability(model, theory.VerifierChannel(0.4, 0.6), steps), model.theta
    )
    assert np.all(np.diff(flow.accuracy(model, FP, steps)) > 0)
    assert np.all(np.diff(flow.accuracy(model, theory.VerifierChannel(0.8, 0.6), steps)) < 0)


def test_warm_up_delays_by_what_it_withholds() -> None:
    plain, warm = population(), population(warmup_steps=50, warmup_from=0.1)
    lost = 50 * (1 - 0.1) / 2
    late = flow.accuracy(warm, FN, 150.0)
    assert late == pytest.approx(float(flow.accuracy(plain, FN, 150.0 - lost)), abs=1e-9)


def test_the_ceiling_bounds_the_accuracy_and_sgd_nears_it() -> None:
    model = population(difficulties=np.zeros(1), rate=1.0)
    accuracy = flow.accuracy(model, CLEAN, [1e3, 1e5, 1e6])
    assert np.all(accuracy < 0.8)
    assert accuracy[-1] > 0.799


@pytest.mark.parametrize(
    "name", [name for name in PRESETS if name not in ("nemo_loo", "reinforce")]
)
def test_mean_square_advantage_in_closed_form(name: str) -> None:
    estimator, group = PRESETS[name], 8
    q = np.linspace(0, 1, 21)
    if estimator.scale == "none":
        expected = (group - 1) / group * q * (1 - q)
        rtol = 1e-12
    else:
        expected = (group - 1) / group * (1 - q**group - (1 - q) ** group)
        rtol = 7e-4  # eps = 1e-4 beside a standard deviation of at least .35
    if estimator.baseline == "others":
        expected = expected * (group / (group - 1)) ** 2
    values = flow.mean_square_advantage(q, group, estimator=estimator)
    np.testing.assert_allclose(values, expected, rtol=rtol, atol=1e-15)


@pytest.mark.parametrize(
    ("name", "channel", "fraction"),
    [("grpo", FP, 0.4477), ("grpo", FN, 0.5761), ("dr_grpo", FP, 0.4495), ("dr_grpo", FN, 0.5794)],
)
def test_adam_steps_a_fraction_set_by_the_signal(
    name: str, channel: theory.VerifierChannel, fraction: float
) -> None:
    """Prediction 3: dr_grpo does not remove the FP/FN asymmetry under Adam."""
    one = flow.PopulationFlow(
        difficulties=flow.difficulties_of([0.2]),
        group_size=8,
        prompts_per_step=8,
        optimiser="adam",
        rate=1.0,
        signal=0.3,
        noise="both",
        estimator=PRESETS[name],
    )
    # The printed digits leave eps out of E[A^2] for grpo, which moves the fourth digit.
    assert one.velocity(0.0, channel) == pytest.approx(fraction, abs=1.5e-4)


def test_noise_along_theta_is_the_limit_of_no_score_noise() -> None:
    """With noise "both", score noise vanishes as the signal grows; "along" is its limit."""
    settings = {"optimiser": "adam", "difficulties": flow.difficulties_of([0.1, 0.4, 0.7])}
    along = flow.PopulationFlow(**settings, noise="along")
    error = [
        abs(
            flow.PopulationFlow(**settings, noise="both", signal=s).velocity(0.0, FP)
            / along.velocity(0.0, FP)
            - 1
        )
        for s in (10.0, 100.0)
    ]
    assert error[1] < 1e-4
    assert error[0] / error[1] == pytest.approx(100.0, rel=0.05)


@pytest.mark.parametrize("ceiling", [1.0, 0.7])
@pytest.mark.parametrize("name", list(PRESETS))
def test_sgd_follows_the_slope_of_the_pass_rates(name: str, ceiling: float) -> None:
    """The velocity is rate times mean_i J da_i/dtheta D_G(q_i), da/dtheta by differences."""
    model = population(ceiling=ceiling, estimator=PRESETS[name], rate=1.0)
    h, theta = 1e-5, 0.4
    slope = (model.pass_rates(theta + h) - model.pass_rates(theta - h)) / (2 * h)
    gain = theory.gain(FN.observed_rate(model.pass_rates(theta)), 8, estimator=PRESETS[name])
    expected = (FN.youden * slope * gain).mean()
    assert model.velocity(theta, FN) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize("noise", ["along", "both"])
@pytest.mark.parametrize("name", ["grpo", "dr_grpo"])
def test_signal_to_noise_of_simulated_minibatches(noise: flow.FlowNoise, name: str) -> None:
    """rho = mean/sd of a minibatch's gradient: rollouts, prompts drawn anew and score noise together."""
    batches, per_step, group, ceiling, signal = 40_000, 4, 8, 0.8, 1.5
    channel = theory.VerifierChannel(0.1, 0.2)
    model = flow.PopulationFlow(
        difficulties=np.array([-2.0, -0.5, 1.0, 4.0]),
        ceiling=ceiling,
        group_size=group,
        prompts_per_step=per_step,
        optimiser="adam",
        rate=1.0,
        signal=signal,
        noise=noise,
        estimator=PRESETS[name],
    )
    rng = np.random.default_rng(11)
    drawn = rng.integers(4, size=(batches, per_step, 1))
    solved = 1 / (1 + np.exp(model.difficulties[drawn]))
    shape = (batches, per_step, group)
    tried = rng.random(shape) < solved  # the branch that is right, but for the ceiling
    right = tried & (rng.random(shape) < ceiling)
    advantages = theory.advantages(channel.judge(right, rng.random(shape)), PRESETS[name])
    score = signal * (tried - solved)
    if noise == "both":
        score = score + rng.standard_normal(shape)
    gradient = (advantages * score).mean(axis=(1, 2))
    rho = gradient.mean() / gradient.std()
    # Standard error of a ratio of mean to sd, normal to leading order.
    error = np.sqrt((1 + rho**2 / 2) / batches)
    fraction = float(model.velocity(0.0, channel))
    assert fraction / np.sqrt(1 - fraction**2) == pytest.approx(rho, abs=4 * error)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(theory.ArgumentError, match="ceiling must lie in"):
        population(ceiling=1.5)
    with pytest.raises(theory.ArgumentError, match="optimiser must be sgd or adam"):
        population(optimiser="lion")
    with pytest.raises(theory.ArgumentError, match="steps must be finite"):
        flow.accuracy(population(), CLEAN, [-1])
