"""Speeds and signals from sums over blocks: recovery, unbiasedness, coverage, symmetries."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import erf

from empirical.probe.statistics import FORMS, Chunk, signals, speeds, start_step
from fits.hypotheses import jackknife_error

BLOCKS, PER_BLOCK, WEIGHTS, BATCH = 16, 12, 400, 8
N = BLOCKS * PER_BLOCK
CLEAN, NOISY, FLIPPED = 0, 1, 2
BASE = np.zeros(3, dtype=np.int64)
PROMPTS = np.full(BLOCKS, PER_BLOCK)


def gradients(
    rng: np.random.Generator, mean_P: NDArray[np.float64], scale: float = 1.0
) -> NDArray[np.float64]:
    """Of N prompts: accuracy's gradient, and the same prompts' clean, noisy and flipped group gradients.

    The noise of accuracy's gradient is in the others too, as where all come from the same rollouts.
    Shape (4, N, P); the noisy verifier has .6 of the clean mean, the flipped one all of it, negative.
    """
    shared, own = rng.normal(size=(2, N, len(mean_P))) * scale
    noisy = 0.6 * (mean_P + shared) + 0.8 * own
    return np.stack([mean_P + shared, mean_P + shared, noisy, -(mean_P + shared)])


def chunks(g: NDArray[np.float64], part: NDArray[np.int64] | slice = slice(None)):
    def read(start: int, stop: int) -> Chunk:
        # [quantity, block, prompt, weight]
        kept = g[:, :, part][:, :, start:stop].reshape(4, BLOCKS, PER_BLOCK, -1)
        sums = kept.sum(axis=2)
        return Chunk(
            accuracy_KP=sums[0],
            exploit_KVP=np.moveaxis(sums[1:], 0, 1),
            mean_KVGP=np.moveaxis(sums[1:], 0, 1)[:, :, np.newaxis],
            square_KVGP=np.moveaxis((kept[1:] ** 2).sum(axis=2), 0, 1)[:, :, np.newaxis],
        )

    return read


def measured(g: NDArray[np.float64], part: NDArray[np.int64] | slice = slice(None), size=WEIGHTS):
    return speeds(
        chunks(g, part),
        prompts_K=PROMPTS,
        size=size,
        total=WEIGHTS,
        prompts_per_step=BATCH,
        baseline_V=BASE,
        reference_size=0,
        betas=(0.9, 0.999),
    )


def truth(mean_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Relative speed of the noisy verifier in each form, from the laws themselves."""
    rho = mean_P * np.sqrt(BATCH)
    grid, value = start_step(0.9, 0.999)
    steps = [
        lambda r: r / np.sqrt(1.0 + r**2),
        lambda r: erf(r / np.sqrt(2.0)),
        lambda r: np.sign(r) * np.interp(np.abs(r), grid, value),
        lambda r: r,
    ]
    return np.array([(mean_P * f(0.6 * rho)).sum() / (mean_P * f(rho)).sum() for f in steps])


def test_the_truth_is_recovered_and_the_intervals_hold_it() -> None:
    mean_P = np.random.default_rng(0).normal(size=WEIGHTS) * 0.3
    expected = truth(mean_P)
    errors, held = [], []
    for seed in range(40):
        result = measured(gradients(np.random.default_rng([1, seed]), mean_P))
        error = result.relative[:, NOISY, 0] - expected
        errors.append(error)
        held.append(np.abs(error) <= 2.13 * result.relative_se[:, NOISY, 0])  # t of 15, 95 %
    bias = np.mean(errors, axis=0)
    # Second-order bias is O(1/N): below a tenth of the noisy verifier's loss.
    assert np.abs(bias).max() < 0.03
    # 160 intervals in four groups of 40 that share their data; .95 less three standard errors of 40.
    assert np.mean(held, axis=0).min() >= 0.95 - 3 * np.sqrt(0.95 * 0.05 / 40)


def test_noise_that_accuracy_and_step_share_is_no_speed() -> None:
    """Where no gradient has a mean, the cross-fitted speed is 0 on average; the plug-in is not."""
    growth = []
    for seed in range(30):
        g = gradients(np.random.default_rng([2, seed]), np.zeros(WEIGHTS))
        growth.append(measured(g).right[:, CLEAN, 0])
    growth = np.array(growth)
    error = growth.std(axis=0, ddof=1) / np.sqrt(len(growth))
    assert (np.abs(growth.mean(axis=0)) < 4 * error).all()
    naive = (g[0].mean(axis=0) * g[1].mean(axis=0)).sum()
    assert naive > 10 * np.abs(growth.mean(axis=0)[FORMS.index("sgd")])


def test_two_halves_of_the_weights_make_the_whole() -> None:
    """Growth is a sum over weights: a random half, doubled, is right on average over halves, exactly."""
    rng = np.random.default_rng(3)
    g = gradients(rng, rng.normal(size=WEIGHTS) * 0.3)
    order = rng.permutation(WEIGHTS)
    halves = [measured(g, half, WEIGHTS // 2) for half in (order[:200], order[200:])]
    whole = measured(g)
    np.testing.assert_allclose(sum(h.right for h in halves), whole.right, rtol=1e-10)
    np.testing.assert_allclose(sum(h.exploit for h in halves), whole.exploit, rtol=1e-10)


def test_a_random_half_of_the_weights_is_unbiased_and_its_error_known() -> None:
    rng = np.random.default_rng(4)
    g = gradients(rng, rng.standard_t(4, size=WEIGHTS) * 0.3)
    whole = measured(g)
    half, error = [], []
    for seed in range(60):
        part = np.random.default_rng([5, seed]).permutation(WEIGHTS)[: WEIGHTS // 2]
        result = measured(g, np.sort(part), WEIGHTS // 2)
        half.append(result.relative[0, NOISY, 0])
        error.append(result.relative_se[0, NOISY, 0])
    apart = np.array(half) - whole.relative[0, NOISY, 0]
    assert abs(apart.mean()) < 4 * apart.std(ddof=1) / np.sqrt(len(apart))
    # Groups and weights together err by more than weights alone.
    assert apart.std(ddof=1) < np.mean(error)
    assert whole.relative_se[0, NOISY, 0] < np.mean(error)


def test_the_opposite_gradient_is_the_opposite_speed() -> None:
    rng = np.random.default_rng(6)
    result = measured(gradients(rng, rng.normal(size=WEIGHTS) * 0.3))
    np.testing.assert_allclose(result.relative[:, FLIPPED], -1.0, atol=1e-12)
    np.testing.assert_allclose(result.relative[:, CLEAN], 1.0, atol=1e-12)
    np.testing.assert_allclose(result.relative_se[:, CLEAN], 0.0, atol=1e-12)


def test_a_weight_without_gradients_takes_no_step() -> None:
    rng = np.random.default_rng(7)
    g = gradients(rng, np.r_[rng.normal(size=WEIGHTS - 50) * 0.3, np.zeros(50)])
    g[:, :, -50:] = 0.0
    result = measured(g)
    assert np.isfinite(result.relative).all()
    np.testing.assert_allclose(
        result.right, measured(g, np.arange(WEIGHTS - 50), WEIGHTS - 50).right
    )


def test_parts_of_the_noise_are_recovered() -> None:
    """Noise between prompts 4, within a group 9 per weight, two groups a prompt, |mean|^2 1 per weight."""
    rng = np.random.default_rng(8)
    found = []
    for _ in range(20):
        prompt = 1.0 + 2.0 * rng.normal(size=(N, 1, WEIGHTS))
        groups = prompt + 3.0 * rng.normal(size=(N, 2, WEIGHTS))
        mean = groups.mean(axis=1)
        mean_KVGP = mean.reshape(BLOCKS, PER_BLOCK, 1, 1, WEIGHTS).sum(axis=1)
        square = (groups**2).mean(axis=1).sum(axis=-1).reshape(BLOCKS, -1).sum(axis=1)
        pair = (groups[:, 0] * groups[:, 1]).sum(axis=-1).reshape(BLOCKS, -1).sum(axis=1)
        result = signals(
            lambda start, stop, kept=mean_KVGP: Chunk(
                kept[:, 0, 0, start:stop],
                kept[:, :, 0, start:stop],
                kept[..., start:stop],
                kept[..., start:stop] ** 2,
            ),
            prompts_K=PROMPTS,
            size=WEIGHTS,
            baseline_V=np.zeros(1, dtype=np.int64),
            square_KVG=square.reshape(BLOCKS, 1, 1),
            pair_KVG=pair.reshape(BLOCKS, 1, 1),
        )
        found.append([result.signal[0, 0], result.between[0, 0], result.noise[0, 0]])
        # Leaving blocks out is unbiased too, and averages to what all of them say.
        np.testing.assert_allclose(result.signal_K.mean(), result.signal.item(), rtol=0.02)
    found = np.array(found) / WEIGHTS
    error = found.std(axis=0, ddof=1) / np.sqrt(len(found))
    assert (np.abs(found.mean(axis=0) - [1.0, 4.0, 13.0]) < 4 * error).all()


def test_the_first_step_of_adam_is_a_sign() -> None:
    rho, step = start_step(0.9, 0.999, 1)
    # 8,000 paths of a variable within [-1, 1].
    np.testing.assert_allclose(step, erf(rho / np.sqrt(2.0)), atol=4 / np.sqrt(8000))
    assert step[0] == 0.0


@pytest.mark.parametrize("steps", [1, 20])
def test_adam_from_rest_rises_to_one(steps: int) -> None:
    step = start_step(0.9, 0.999, steps)[1]
    assert (np.diff(step) > -1e-3).all()
    assert step[-1] == pytest.approx(1.0, abs=1e-3)


def test_the_jackknife_of_a_mean_is_its_standard_error() -> None:
    x = np.random.default_rng(9).normal(size=25)
    deleted = (x.sum() - x) / 24
    assert jackknife_error(deleted) == pytest.approx(x.std(ddof=1) / 5.0)
