"""The training chain: exact moments per step, against a million paths, order measured in the grid."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import theory
from theory.bandit import Training, population, simulate
from theory.estimators import PRESETS
from theory.structures import Independent
from theory.training_chain import evolve, hitting_time, step_law, training_chain

CHANNEL = theory.VerifierChannel(0.1, 0.2)


@pytest.mark.parametrize("name", list(PRESETS))
def test_the_law_of_a_step_has_its_exact_moments(name: str) -> None:
    a = np.array([0.0, 0.1, 0.5, 0.97])
    values, chances = step_law(a, CHANNEL, 8, estimator=PRESETS[name])
    assert values.shape == (4, 165)
    exact = theory.drift(a, CHANNEL, 8, estimator=PRESETS[name])
    np.testing.assert_allclose(chances.sum(axis=1), 1.0, rtol=1e-13)
    mean = (values * chances).sum(axis=1)
    np.testing.assert_allclose(mean, exact.drift, atol=1e-14)
    variance = (values**2 * chances).sum(axis=1) - mean**2
    np.testing.assert_allclose(variance, exact.variance, atol=1e-14)


def test_a_step_is_decided_by_the_table_and_not_by_its_margins() -> None:
    """THEORY section 1: G = 4, S = R = 2, a = .5 gives X = +-.432938 or 0."""
    values, _ = step_law(0.5, CHANNEL, 4)
    atoms = [(s, k, u) for s in range(5) for k in range(s + 1) for u in range(5 - s)]
    at_two = sorted(
        round(float(x), 6)
        for x, (s, k, u) in zip(values, atoms, strict=True)
        if s == 2 and k + u == 2
    )
    assert at_two == [-0.432938, 0.0, 0.432938]


def test_every_step_on_the_grid_keeps_mean_and_second_moment() -> None:
    chain = training_chain(CHANNEL, 8, learning_rate=0.3, points=241)
    inner = slice(20, -20)
    exact = theory.drift(chain.pass_rates(), CHANNEL, 8)
    offset = chain.logits[np.newaxis, :] - chain.logits[:, np.newaxis]
    matrix = chain.transition.toarray()
    np.testing.assert_allclose(matrix.sum(axis=1), 1.0, rtol=1e-14)
    mean = (matrix * offset).sum(axis=1)
    np.testing.assert_allclose(mean[inner], 0.3 * exact.drift[inner], atol=1e-13)
    square = (matrix * offset**2).sum(axis=1)
    expected = 0.09 * (exact.variance + exact.drift**2)
    np.testing.assert_allclose(square[inner], expected[inner], atol=1e-13)


@pytest.mark.parametrize(
    ("channel", "group", "start", "rate", "steps"),
    [
        (CHANNEL, 8, 0.1, 0.4, 60),
        (theory.VerifierChannel(0.0, 0.3), 4, 0.3, 1.0, 40),
        (theory.VerifierChannel(0.6, 0.5), 8, 0.6, 0.5, 60),
    ],
)
def test_a_million_paths(
    channel: theory.VerifierChannel, group: int, start: float, rate: float, steps: int
) -> None:
    chain = training_chain(channel, group, learning_rate=rate)
    path = evolve(chain, start, steps)
    # Two softmax logits, each moving by +-X, make the log-odds move by 2 X: half the learning rate.
    training = Training(steps=steps, group_size=group, learning_rate=rate / 2)
    paths = simulate(
        population(np.full(1_000_000, start)),
        training,
        Independent(channel),
        seed=17,
        evaluate_every=steps,
    ).pass_rates
    assert path.mean[-1] == pytest.approx(paths.mean(), abs=5e-4)
    assert path.sd[-1] == pytest.approx(paths.std(), rel=0.02)
    below = [(paths < level).mean() for level in (0.2, 0.5, 0.8)]
    cumulative = np.cumsum(path.distribution)
    at = np.interp(special.logit([0.2, 0.5, 0.8]), chain.logits, cumulative)
    np.testing.assert_allclose(at, below, atol=0.01)


@pytest.mark.parametrize(
    ("channel", "group", "start", "rate", "steps"),
    [
        (CHANNEL, 8, 0.1, 0.4, 60),
        (theory.VerifierChannel(0.0, 0.3), 4, 0.3, 1.0, 40),
        (theory.VerifierChannel(0.6, 0.5), 8, 0.6, 0.5, 60),
    ],
)
def test_the_order_of_convergence_in_the_spacing(
    channel: theory.VerifierChannel, group: int, start: float, rate: float, steps: int
) -> None:
    """Each atom's third moment is off by O(h^3), of either sign: the error falls about as h^3."""
    # Sizes without a common spacing: where atoms fall on grid points a grid is better than its order.
    sizes = np.array([83, 107, 139, 181, 233, 307, 401, 521, 677, 881, 1151, 1499])

    def final(points: int) -> np.ndarray:
        chain = training_chain(channel, group, learning_rate=rate, points=points)
        path = evolve(chain, start, steps)
        return np.array([path.mean[-1], path.sd[-1]])

    reference = final(5003)
    errors = np.array([np.abs(final(int(points)) - reference) for points in sizes])
    for moment in range(2):
        order = -np.polyfit(np.log(sizes), np.log(errors[:, moment]), 1)[0]
        assert order == pytest.approx(3.0, abs=0.6), order
    assert errors[-1].max() < 2e-6


def test_linear_interpolation_would_inflate_the_spread() -> None:
    """What the quadratic weights are for: small steps on a coarse grid."""
    chain = training_chain(CHANNEL, 8, learning_rate=0.02, points=961)
    spacing = chain.logits[1] - chain.logits[0]
    steps = 400
    exact = evolve(chain, 0.3, steps)
    values, chances = step_law(chain.pass_rates(), CHANNEL, 8)
    landing = np.clip(np.arange(961)[:, None] + 0.02 * values / spacing, 0, 960)
    low = np.minimum(np.floor(landing).astype(int), 959)
    linear = np.zeros((961, 961))
    rows = np.broadcast_to(np.arange(961)[:, None], low.shape)
    np.add.at(linear, (rows, low), chances * (1 - (landing - low)))
    np.add.at(linear, (rows, low + 1), chances * (landing - low))
    p = np.zeros(961)
    p[np.argmin(np.abs(chain.logits - special.logit(0.3)))] = 1.0
    for _ in range(steps):
        p = p @ linear
    rates = chain.pass_rates()
    spread = np.sqrt(p @ rates**2 - (p @ rates) ** 2)
    assert spread > 2 * exact.sd[-1]


def test_probabilities_sum_to_one_after_1e5_steps() -> None:
    chain = training_chain(CHANNEL, 4, learning_rate=0.5, lowest=-8, highest=8, points=161)
    path = evolve(chain, 0.2, 100_000)
    assert path.distribution.sum() == pytest.approx(1.0, abs=1e-9)
    assert path.mean[-1] > 0.99


def test_hitting_times() -> None:
    chain = training_chain(CHANNEL, 8, learning_rate=0.4)
    hit = hitting_time(chain, 0.1, 0.8, 400)
    assert hit.reached[0] == pytest.approx(0.0, abs=1e-12)
    assert np.all(np.diff(hit.reached) > -1e-6)
    assert hit.reached[-1] > 0.999
    steps = np.arange(401)
    # E[T] = sum of P(T > t).
    assert hit.mean == pytest.approx(float((1 - hit.reached)[steps].sum()), rel=2e-3)
    never = hitting_time(chain, 0.3, 0.9, 0)
    assert never.mean is None
    fall = hitting_time(
        training_chain(theory.VerifierChannel(0.7, 0.6), 8, learning_rate=0.4), 0.6, 0.2, 400
    )
    assert fall.reached[-1] > 0.99


def test_hitting_times_of_simulated_paths() -> None:
    chain = training_chain(CHANNEL, 8, learning_rate=0.4)
    hit = hitting_time(chain, 0.2, 0.5, 30)
    rng = np.random.default_rng(6)
    logit = np.full(20_000, special.logit(0.2))
    first = np.full(logit.size, 31)
    for t in range(1, 31):
        a = special.expit(logit)
        right = rng.random((logit.size, 8)) < a[:, None]
        paid = CHANNEL.judge(right, rng.random(right.shape))
        logit += 0.4 * (theory.advantages(paid) * (right - a[:, None])).mean(axis=1)
        first = np.where((logit >= 0.0) & (first == 31), t, first)
    for t in (5, 10, 20, 30):
        assert hit.reached[t] == pytest.approx((first <= t).mean(), abs=0.02)


def test_bad_arguments_are_named() -> None:
    chain = training_chain(CHANNEL, 4, learning_rate=0.5, points=101)
    with pytest.raises(theory.ArgumentError, match="pass_rate must lie within the grid"):
        evolve(chain, 1.0, 3)
    with pytest.raises(theory.ArgumentError, match="learning_rate must be above 0"):
        training_chain(CHANNEL, 4, learning_rate=0.0)
    with pytest.raises(theory.ArgumentError, match="points must be at least 5"):
        training_chain(CHANNEL, 4, learning_rate=0.1, points=3)
