"""What corrections leave of themselves, to the last bit where the claim is exact."""

from __future__ import annotations

import numpy as np
import pytest

import theory
from theory import corrections
from theory.bandit import Training, population, simulate
from theory.estimators import PRESETS
from theory.structures import Independent

CHANNEL = theory.VerifierChannel(0.15, 0.3)
A = np.linspace(0.05, 0.95, 13)


def moments(name: str, rewards: tuple[float, float], channel: theory.VerifierChannel = CHANNEL):
    return theory.drift(A, channel, 8, estimator=PRESETS[name], rewards=rewards)


@pytest.mark.parametrize("name", [name for name in PRESETS if name != "reinforce"])
def test_forward_is_exactly_nothing_under_a_baseline(name: str) -> None:
    plain = moments(name, corrections.NONE)
    corrected = moments(name, corrections.forward(CHANNEL))
    np.testing.assert_allclose(corrected.drift, plain.drift, rtol=1e-13)
    np.testing.assert_allclose(corrected.variance, plain.variance, rtol=1e-12)
    assert corrections.explain("forward", CHANNEL, PRESETS[name]).startswith("nothing")


def test_forward_changes_only_the_variance_without_a_baseline() -> None:
    plain = moments("reinforce", corrections.NONE)
    corrected = moments("reinforce", corrections.forward(CHANNEL))
    np.testing.assert_allclose(corrected.drift, plain.drift, rtol=1e-12)
    assert not np.allclose(corrected.variance, plain.variance, rtol=0.01)


@pytest.mark.parametrize("name", ["reinforce", "rloo"])
def test_backward_is_unbiased(name: str) -> None:
    corrected = moments(name, corrections.backward(CHANNEL))
    clean = moments(name, corrections.NONE, theory.VerifierChannel(0, 0))
    np.testing.assert_allclose(corrected.drift, clean.drift, rtol=1e-12)


@pytest.mark.parametrize("name", ["grpo", "grpo_loo"])
@pytest.mark.parametrize("channel", [CHANNEL, theory.VerifierChannel(0.7, 0.6)])
def test_backward_under_a_group_scale_is_a_sign(name: str, channel: theory.VerifierChannel) -> None:
    plain = moments(name, corrections.NONE, channel)
    corrected = moments(name, corrections.backward(channel), channel)
    sign = np.sign(channel.youden)
    # eps beside |1/J| times a standard deviation of at least .35: 3e-4 at most.
    np.testing.assert_allclose(corrected.drift, sign * plain.drift, rtol=3e-4)
    assert np.all(corrected.drift > 0)
    message = corrections.explain("backward", channel, PRESETS[name])
    assert ("turns the gradient round" in message) == (sign < 0)
    assert "nothing but rescaling eps" in message


def test_backward_is_a_learning_rate_without_a_scale() -> None:
    plain, corrected = (
        moments("dr_grpo", r) for r in (corrections.NONE, corrections.backward(CHANNEL))
    )
    np.testing.assert_allclose(corrected.drift, plain.drift / CHANNEL.youden, rtol=1e-12)
    np.testing.assert_allclose(corrected.snr, plain.snr, rtol=1e-12)


def test_the_simulator_takes_corrected_rewards() -> None:
    start = population(A)
    paths = [
        simulate(start, Training(steps=30, rewards=rewards), Independent(CHANNEL), seed=2)
        for rewards in (corrections.NONE, corrections.forward(CHANNEL))
    ]
    np.testing.assert_allclose(paths[0].pass_rates, paths[1].pass_rates, rtol=1e-9)


def test_majority_of_votes_enumerated() -> None:
    x, d = CHANNEL.fpr, CHANNEL.fnr
    three = corrections.majority(CHANNEL, 3)
    assert three.fpr == pytest.approx(3 * x**2 * (1 - x) + x**3, abs=1e-15)
    assert three.fnr == pytest.approx(3 * d**2 * (1 - d) + d**3, abs=1e-15)
    assert corrections.majority(CHANNEL, 1) == CHANNEL
    assert corrections.majority(CHANNEL, 101).youden > 0.999
    coin = theory.VerifierChannel(0.5, 0.5)
    assert corrections.majority(coin, 9).youden == pytest.approx(0.0, abs=1e-15)
    assert corrections.explain("majority", coin, theory.GRPO).startswith("nothing")


def test_mistakes_are_named() -> None:
    with pytest.raises(theory.ArgumentError, match="divides by J"):
        corrections.backward(theory.VerifierChannel(0.5, 0.5))
    with pytest.raises(theory.ArgumentError, match="odd number of at least 1, got 4"):
        corrections.majority(CHANNEL, 4)
    with pytest.raises(theory.ArgumentError, match="got 'sideways'"):
        corrections.explain("sideways", CHANNEL, theory.GRPO)
