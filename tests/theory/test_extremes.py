"""Extreme legal values: every rate at and beside its ends, groups of two and of a million; finite, and no warning."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import theory
from theory import Estimator, VerifierChannel

RATES = (0.0, 1e-300, 1e-16, 0.5, 1.0 - 1e-16, 1.0)
CHANNELS = [VerifierChannel(*rates) for rates in itertools.product(RATES, RATES)]
ESTIMATORS = (
    *(theory.GRPO, theory.DR_GRPO, theory.RLOO),
    *(theory.GRPO_LOO, theory.NEMO_LOO, theory.REINFORCE),
)


@pytest.mark.parametrize("group_size", [2, 3, 64, 10**4, 10**6])
@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_gain_is_finite(estimator: Estimator, group_size: int) -> None:
    assert np.isfinite(theory.gain(np.array(RATES), group_size, estimator=estimator)).all()


@pytest.mark.parametrize("group_size", [2, 64, 10**6])
def test_what_rollouts_are_worth_is_finite_or_infinite_and_never_nothing(group_size: int) -> None:
    rates = np.array(RATES)
    for channel in CHANNELS:
        phi2 = theory.phi2(rates, channel)
        assert ((phi2 >= 0.0) & (phi2 <= 1.0)).all()
        worth = theory.effective_rollouts(rates, channel, group_size)
        assert ((worth >= 1.0) & (worth <= group_size)).all()
        # A verifier that tells nothing is matched by no number of rollouts.
        assert not np.isnan(theory.matching_rollouts(rates, channel, group_size)).any()


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_the_moments_are_finite(estimator: Estimator) -> None:
    for channel, group_size in itertools.product(CHANNELS[::5], (2, 64, 4096)):
        found = theory.drift(np.array(RATES), channel, group_size, estimator=estimator)
        for name in ("observed_rate", "gain", "drift", "variance", "effective_rollouts"):
            assert np.isfinite(getattr(found, name)).all(), (name, channel, group_size)
        assert (found.variance >= 0.0).all()
