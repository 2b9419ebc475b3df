"""The channel: composition, and verdicts matched between arms."""

from __future__ import annotations

import numpy as np
import pytest

from theory import ArgumentError, VerifierChannel
from theory.rng import Purpose, uniforms

PROMPTS, PLACES = np.meshgrid(np.arange(400), np.arange(64), indexing="ij")


def draws(step: int, seed: int = 11) -> np.ndarray:
    return uniforms(seed, Purpose.VERIFIER, step=step, prompt=PROMPTS, index=PLACES)


def test_observed_rate_is_affine_in_the_pass_rate() -> None:
    channel = VerifierChannel(0.1, 0.2)
    np.testing.assert_allclose(channel.observed_rate([0.0, 0.3, 1.0]), [0.1, 0.31, 0.8], rtol=1e-15)


@pytest.mark.parametrize("fpr", [0.1, 0.3, 0.5, 0.7, 0.9])
def test_a_verifier_that_says_nothing_says_exactly_nothing(fpr: float) -> None:
    """1 - .7 - .3 is 5.6e-17 in binary: J = 0 must not become learning."""
    assert VerifierChannel(fpr, round(1.0 - fpr, 1)).youden == 0.0
    assert VerifierChannel(fpr, round(1.0 - fpr, 1) - 1e-9).youden > 0.0


@pytest.mark.parametrize("second", [(0.0, 0.0), (0.3, 0.0), (0.2, 0.45), (0.9, 0.8)])
def test_composition_is_the_product_of_matrices(second: tuple[float, float]) -> None:
    first = (0.07, 0.15)

    def matrix(channel: VerifierChannel) -> np.ndarray:
        return np.array([[1 - channel.fpr, channel.fpr], [channel.fnr, 1 - channel.fnr]])

    both = VerifierChannel(*first).compose(VerifierChannel(*second))
    product = matrix(VerifierChannel(*first)) @ matrix(VerifierChannel(*second))
    np.testing.assert_allclose(matrix(both), product, atol=1e-15)
    expected = VerifierChannel(*first).youden * VerifierChannel(*second).youden
    assert both.youden == pytest.approx(expected, abs=1e-15)


def test_a_clean_verifier_says_what_is_right() -> None:
    right = np.random.default_rng(0).random(PROMPTS.shape) < 0.4
    np.testing.assert_array_equal(VerifierChannel(0, 0).judge(right, draws(1)), right)
    np.testing.assert_array_equal(VerifierChannel(1, 1).judge(right, draws(1)), ~right)


def test_the_same_key_flips_alike_in_every_arm_and_lower_rates_flip_a_subset() -> None:
    right = np.random.default_rng(0).random(PROMPTS.shape) < 0.4
    flips = {
        rate: VerifierChannel(rate, rate).judge(right, draws(5)) ^ right for rate in (0.1, 0.2, 0.5)
    }
    # An arm with one kind of error flips, among the rollouts that can, exactly those of the other arm.
    fp = VerifierChannel(0.2, 0.0).judge(right, draws(5)) ^ right
    np.testing.assert_array_equal(fp, flips[0.2] & ~right)
    assert np.all(flips[0.1] <= flips[0.2])
    assert np.all(flips[0.2] <= flips[0.5])
    assert flips[0.1].sum() < flips[0.2].sum()


@pytest.mark.parametrize(("fpr", "fnr"), [(0.1, 0.4), (0.02, 0.3)])
def test_realised_rates_are_within_binomial_error(fpr: float, fnr: float) -> None:
    right = np.random.default_rng(1).random(PROMPTS.shape) < 0.5
    paid = VerifierChannel(fpr, fnr).judge(right, draws(9))
    for rate, wrong in [(fpr, paid[~right]), (fnr, ~paid[right])]:
        error = np.sqrt(rate * (1 - rate) / wrong.size)
        assert abs(wrong.mean() - rate) < 4 * error


def test_a_repeated_prompt_gets_fresh_flips() -> None:
    wrong = np.zeros(PROMPTS.shape, dtype=bool)
    first, later = (VerifierChannel(0.3, 0).judge(wrong, draws(step)) for step in (2, 3))
    # Independent flips agree with probability .3**2 + .7**2 = .58.
    agree = (first == later).mean()
    assert abs(agree - 0.58) < 5 * np.sqrt(0.58 * 0.42 / first.size)


@pytest.mark.parametrize("value", [-0.1, 1.2, float("nan"), float("inf")])
@pytest.mark.parametrize("name", ["fpr", "fnr"])
def test_bad_rates_are_named(name: str, value: float) -> None:
    with pytest.raises(ArgumentError, match=f"{name} must lie in"):
        VerifierChannel(**({"fpr": 0.0, "fnr": 0.0} | {name: value}))


def test_a_rate_that_is_no_number_is_named() -> None:
    with pytest.raises(ArgumentError, match="fpr must be a number"):
        VerifierChannel("high", 0.0)  # pyright: ignore[reportArgumentType]
