"""The reasoning chain: printed digits, finite differences, and Monte Carlo over a grid of settings."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest

import theory
from theory.estimators import PRESETS
from theory.reasoning_chain import ReasoningChain, reasoning_gradient, sample_gradients

CHANNEL = theory.VerifierChannel(0.2, 0.1)
CHAIN = ReasoningChain(steps=3, stay=0.4, recover=-1.0, right_off=0.3)


def test_printed_digits() -> None:
    found = reasoning_gradient(CHAIN, CHANNEL, 6)
    assert found.observed_rate == pytest.approx(0.617133, abs=5e-7)
    assert found.gain == pytest.approx(1.653691, abs=5e-7)
    np.testing.assert_allclose(found.rate_gradient, [0.0909452, 0.0641599], atol=5e-8)
    np.testing.assert_allclose(found.gradient, [0.150395, 0.106101], atol=5e-7)


@pytest.mark.parametrize("steps", [1, 2, 12])
def test_forward_backward_is_the_derivative(steps: int) -> None:
    chain = dataclasses.replace(CHAIN, steps=steps, start_on=0.7)
    found = reasoning_gradient(chain, CHANNEL, 6).rate_gradient
    for i, name in enumerate(("stay", "recover")):
        ends = [
            reasoning_gradient(
                dataclasses.replace(chain, **{name: getattr(chain, name) + h}), CHANNEL, 6
            ).observed_rate
            for h in (-1e-5, 1e-5)
        ]
        assert found[i] == pytest.approx((ends[1] - ends[0]) / 2e-5, abs=1e-9)


@pytest.mark.parametrize(
    ("steps", "rates", "name"),
    list(
        itertools.product(
            [1, 4],
            [(0.2, 0.1), (0.0, 0.4), (0.7, 0.6)],
            ["grpo", "dr_grpo", "nemo_loo", "reinforce"],
        )
    ),
)
def test_monte_carlo(steps: int, rates: tuple[float, float], name: str) -> None:
    chain = ReasoningChain(steps=steps, stay=1.0, recover=-0.5, start_on=0.8, right_off=0.2)
    channel, estimator = theory.VerifierChannel(*rates), PRESETS[name]
    exact = reasoning_gradient(chain, channel, 6, estimator=estimator)
    rng = np.random.default_rng([steps, *name.encode()])
    sampled = sample_gradients(chain, channel, 6, 60_000, rng=rng, estimator=estimator)
    error = sampled.std(axis=0) / np.sqrt(len(sampled))
    assert np.all(np.abs(sampled.mean(axis=0) - exact.gradient) < 4 * error)


def test_inverting_the_verifier_reverses_the_gradient() -> None:
    here = reasoning_gradient(CHAIN, CHANNEL, 6).gradient
    there = reasoning_gradient(CHAIN, theory.VerifierChannel(0.8, 0.9), 6).gradient
    np.testing.assert_allclose(there, -here, rtol=1e-12)


def test_bad_arguments_are_named() -> None:
    with pytest.raises(theory.ArgumentError, match="steps must be at least 1, got 0"):
        dataclasses.replace(CHAIN, steps=0)
    with pytest.raises(theory.ArgumentError, match="right_off must lie in"):
        dataclasses.replace(CHAIN, right_off=1.2)
