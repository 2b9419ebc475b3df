"""The training chain: exact moments per step, against a million paths, order measured in the grid."""

from __future__ import annotations

import numba
import numpy as np
import pytest
from scipy import special

import theory
from theory.bandit import Training, population, simulate
from theory.estimators import PRESETS
from theory.structures import Independent
from theory.training_chain import (
    TrainingChain,
    evolve,
    hitting_time,
    operators,
    step_law,
    training_chain,
)

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
    """docs/theory.md#the-state-of-a-step: G = 4, S = R = 2, a = .5 gives X = +-.432938 or 0."""
    values, _ = step_law(0.5, CHANNEL, 4)
    atoms = [(s, k, u) for s in range(5) for k in range(s + 1) for u in range(5 - s)]
    at_two = sorted(
        round(float(x), 6)
        for x, (s, k, u) in zip(values, atoms, strict=True)
        if s == 2 and k + u == 2
    )
    assert at_two == [-0.432938, 0.0, 0.432938]


def matrix(chain: TrainingChain) -> np.ndarray:
    """P(to | from) of one verifier's chain, dense, from its band."""
    (band,) = operators(chain).reshape(1, chain.logits.size, -1)
    points, reach = len(band), band.shape[1] // 2
    dense = np.zeros((points, points + 2 * reach))
    for i in range(points):
        dense[i, i : i + 2 * reach + 1] = band[i]
    assert not dense[:, :reach].any()
    assert not dense[:, points + reach :].any()
    return dense[:, reach : points + reach]


@pytest.mark.parametrize(("group", "points", "rate"), [(8, 241, 0.3), (64, 121, 2.0)])
def test_every_step_on_the_grid_keeps_mean_and_second_moment(
    group: int, points: int, rate: float
) -> None:
    chain = training_chain(CHANNEL.fpr, CHANNEL.fnr, group, learning_rate=rate, points=points)
    inner = slice(20, -20)
    exact = theory.drift(chain.pass_rates(), CHANNEL, group)
    offset = chain.logits[np.newaxis, :] - chain.logits[:, np.newaxis]
    moves = matrix(chain)
    np.testing.assert_allclose(moves.sum(axis=1), 1.0, rtol=1e-14)
    mean = (moves * offset).sum(axis=1)
    np.testing.assert_allclose(mean[inner], rate * exact.drift[inner], atol=1e-13)
    square = (moves * offset**2).sum(axis=1)
    expected = rate**2 * (exact.variance + exact.drift**2)
    np.testing.assert_allclose(square[inner], expected[inner], atol=1e-13)


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("rates", [(0.0, 0.0), (0.1, 0.2), (0.0, 1.0), (1.0, 0.0), (0.7, 0.6)])
def test_the_band_is_the_law_of_a_step_spread_on_the_grid(
    rates: tuple[float, float], name: str
) -> None:
    """Row by row against `step_law` and the weights of the module's docstring, ends included."""
    chain = training_chain(*rates, 5, learning_rate=0.7, estimator=PRESETS[name], points=61)
    spacing = chain.logits[1] - chain.logits[0]
    values, chances = step_law(
        chain.pass_rates(), theory.VerifierChannel(*rates), 5, estimator=PRESETS[name]
    )
    place = np.clip(np.arange(61)[:, None] + 0.7 * values / spacing, 0, 60)
    near = np.clip(np.rint(place), 1, 59).astype(int)
    f = place - near
    expected = np.zeros((61, 61))
    rows = np.broadcast_to(np.arange(61)[:, None], near.shape)
    for shift, weight in ((-1, (f * f - f) / 2), (0, 1 - f * f), (1, (f * f + f) / 2)):
        np.add.at(expected, (rows, near + shift), chances * weight)
    expected[[0, -1]] = 0.0
    expected[0, 0] = expected[-1, -1] = 1.0
    np.testing.assert_allclose(matrix(chain), expected, atol=2e-14)


def test_a_grid_of_verifiers_is_each_of_them_alone_on_any_number_of_threads() -> None:
    fpr, fnr = np.linspace(0.0, 0.8, 5)[:, np.newaxis], np.linspace(0.0, 0.6, 3)
    grid = training_chain(fpr, fnr, 4, learning_rate=0.5, points=161)
    path, hit = evolve(grid, 0.2, 30), hitting_time(grid, 0.2, 0.5, 30)
    assert path.mean.shape == (5, 3, 31)
    assert path.distribution.shape == (5, 3, 161)
    assert path.at_ends.shape == (5, 3, 2)
    assert hit.mean.shape == (5, 3)
    before = numba.get_num_threads()
    numba.set_num_threads(1)
    try:
        alone = evolve(grid, 0.2, 30)
    finally:
        numba.set_num_threads(before)
    np.testing.assert_array_equal(alone.distribution, path.distribution)
    for cell in np.ndindex(5, 3):
        one = training_chain(fpr[cell[0], 0], fnr[cell[1]], 4, learning_rate=0.5, points=161)
        np.testing.assert_array_equal(evolve(one, 0.2, 30).distribution, path.distribution[cell])
        np.testing.assert_array_equal(hitting_time(one, 0.2, 0.5, 30).reached, hit.reached[cell])


def test_dropping_what_is_negligible_changes_nothing() -> None:
    """The kernel works where mass is; the whole band applied everywhere gives the same digits."""
    chain = training_chain(0.1, 0.2, 8, learning_rate=0.1, points=481)
    path = evolve(chain, 0.3, 50)
    moves, p = matrix(chain), evolve(chain, 0.3, 0).distribution
    for _ in range(50):
        p = p @ moves
    np.testing.assert_allclose(path.distribution, p, atol=1e-15)
    assert np.count_nonzero(path.distribution) < 300


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
    chain = training_chain(channel.fpr, channel.fnr, group, learning_rate=rate)
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
        chain = training_chain(channel.fpr, channel.fnr, group, learning_rate=rate, points=points)
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
    chain = training_chain(CHANNEL.fpr, CHANNEL.fnr, 8, learning_rate=0.02, points=961)
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
    chain = training_chain(
        CHANNEL.fpr, CHANNEL.fnr, 4, learning_rate=0.5, lowest=-8, highest=8, points=161
    )
    path = evolve(chain, 0.2, 100_000)
    assert path.distribution.sum() == pytest.approx(1.0, abs=1e-9)
    assert path.mean[-1] > 0.99


def test_hitting_times() -> None:
    chain = training_chain(CHANNEL.fpr, CHANNEL.fnr, 8, learning_rate=0.4)
    hit = hitting_time(chain, 0.1, 0.8, 400)
    assert hit.reached[0] == pytest.approx(0.0, abs=1e-12)
    assert np.all(np.diff(hit.reached) > -1e-6)
    assert hit.reached[-1] > 0.999
    steps = np.arange(401)
    # E[T] = sum of P(T > t).
    assert hit.mean == pytest.approx(float((1 - hit.reached)[steps].sum()), rel=2e-3)
    never = hitting_time(chain, 0.3, 0.9, 0)
    assert np.isinf(never.mean)
    fall = hitting_time(training_chain(0.7, 0.6, 8, learning_rate=0.4), 0.6, 0.2, 400)
    assert fall.reached[-1] > 0.99


def test_hitting_times_of_simulated_paths() -> None:
    chain = training_chain(CHANNEL.fpr, CHANNEL.fnr, 8, learning_rate=0.4)
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
    chain = training_chain(CHANNEL.fpr, CHANNEL.fnr, 4, learning_rate=0.5, points=101)
    with pytest.raises(theory.ArgumentError, match="pass_rate must lie within the grid"):
        evolve(chain, 1.0, 3)
    with pytest.raises(theory.ArgumentError, match="learning_rate must be above 0"):
        training_chain(CHANNEL.fpr, CHANNEL.fnr, 4, learning_rate=0.0)
    with pytest.raises(theory.ArgumentError, match="fpr must lie in"):
        training_chain([0.1, 1.2], 0.2, 4, learning_rate=0.1)
    with pytest.raises(theory.ArgumentError, match="steps must be at least 0"):
        evolve(chain, 0.5, -1)
    with pytest.raises(theory.ArgumentError, match="points must be at least 5"):
        training_chain(CHANNEL.fpr, CHANNEL.fnr, 4, learning_rate=0.1, points=3)
