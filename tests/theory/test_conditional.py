"""A group given its right ones: full enumeration, the unconditional law as its average, closed forms."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy import stats

import theory
from theory.conditional import GivenRight, given_right
from theory.estimators import PRESETS

CHANNELS = [(0.1, 0.2), (0.7, 0.6), (0.4, 0.0), (0.0, 0.3), (0.0, 0.0), (1.0, 1.0)]
FIELDS = tuple(GivenRight.__dataclass_fields__)


def enumerated(right: int, fpr: float, fnr: float, size: int, name: str) -> dict[str, float]:
    """Every one of the 2^G verdicts, with advantages computed from the rewards themselves."""
    is_right = np.arange(size) < right
    verdicts = np.array(list(itertools.product([0.0, 1.0], repeat=size)))
    paid_rate = np.where(is_right, 1.0 - fnr, fpr)
    weights = np.where(verdicts == 1.0, paid_rate, 1.0 - paid_rate).prod(axis=1)
    advantages = theory.advantages(verdicts, PRESETS[name])
    values = {
        "paid": verdicts.sum(axis=1),
        "reward_variance": verdicts.var(axis=1, ddof=1),
        "gradient": (advantages * (is_right - right / size)).mean(axis=1),
    }
    found = {"zero_advantage": float(weights[(advantages == 0.0).all(axis=1)].sum())}
    for key, value in values.items():
        mean = float(weights @ value)
        found |= {key: mean, f"{key}_variance": float(weights @ (value - mean) ** 2)}
    return found


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize(("fpr", "fnr"), CHANNELS)
def test_moments_are_those_of_full_enumeration(fpr: float, fnr: float, name: str) -> None:
    size = 5
    channel = theory.VerifierChannel(fpr, fnr)
    exact = given_right(np.arange(size + 1), channel, size, estimator=PRESETS[name])
    for right in range(size + 1):
        for field, value in enumerated(right, fpr, fnr, size, name).items():
            assert getattr(exact, field)[right] == pytest.approx(value, abs=1e-13), (field, right)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "rloo", "grpo_loo"])
@pytest.mark.parametrize(("fpr", "fnr"), CHANNELS)
@pytest.mark.parametrize("size", [2, 8, 16])
def test_averaged_over_the_right_ones_it_is_the_drift(
    size: int, fpr: float, fnr: float, name: str
) -> None:
    """Total expectation and total variance, R ~ Binomial(G, a)."""
    a, channel, estimator = 0.3, theory.VerifierChannel(fpr, fnr), PRESETS[name]
    weights = stats.binom.pmf(np.arange(size + 1), size, a)
    exact = given_right(np.arange(size + 1), channel, size, estimator=estimator)
    whole = theory.drift(a, channel, size, estimator=estimator)
    mean = weights @ exact.gradient
    spread = weights @ (exact.gradient_variance + (exact.gradient - mean) ** 2)
    assert mean == pytest.approx(whole.drift, abs=1e-13)
    assert spread == pytest.approx(whole.variance, abs=1e-13)
    assert weights @ exact.zero_advantage == pytest.approx(whole.zero_advantage_fraction, abs=1e-13)
    q = whole.observed_rate
    assert weights @ exact.reward_variance == pytest.approx(q * (1.0 - q), abs=1e-13)


@pytest.mark.parametrize(("fpr", "fnr"), CHANNELS)
def test_closed_forms_at_a_size_beyond_enumeration(fpr: float, fnr: float) -> None:
    """E[S], Var(S), E[s(1 - s)] from them, and dr_grpo's step, which is J c(1 - c) exactly."""
    size, right = 64, np.arange(65)
    channel = theory.VerifierChannel(fpr, fnr)
    exact = given_right(right, channel, size, estimator=theory.DR_GRPO)
    paid = right * (1.0 - fnr) + (size - right) * fpr
    spread = right * fnr * (1.0 - fnr) + (size - right) * fpr * (1.0 - fpr)
    share, c = paid / size, right / size
    np.testing.assert_allclose(exact.paid, paid, atol=1e-11)
    np.testing.assert_allclose(exact.paid_variance, spread, atol=1e-10)
    variance = (share * (1.0 - share) - spread / size**2) * size / (size - 1)
    np.testing.assert_allclose(exact.reward_variance, variance, atol=1e-12)
    np.testing.assert_allclose(exact.gradient, channel.youden * c * (1.0 - c), atol=1e-12)
    alike = (1 - fnr) ** right * fpr ** (size - right) + fnr**right * (1 - fpr) ** (size - right)
    np.testing.assert_allclose(exact.zero_advantage, alike, atol=1e-13)


@pytest.mark.parametrize("name", ["grpo", "dr_grpo", "nemo_loo"])
def test_right_and_wrong_change_places(name: str) -> None:
    """(R, fpr, fnr) -> (G - R, fnr, fpr) mirrors every reward, so X keeps its law."""
    size, right, estimator = 9, np.arange(10), PRESETS[name]
    here = given_right(right, theory.VerifierChannel(0.1, 0.35), size, estimator=estimator)
    there = given_right(size - right, theory.VerifierChannel(0.35, 0.1), size, estimator=estimator)
    for field in FIELDS[1:]:
        np.testing.assert_allclose(getattr(here, field), getattr(there, field), atol=1e-13)
    np.testing.assert_allclose(here.paid, size - there.paid, atol=1e-12)


def test_a_clean_verifier_leaves_nothing_to_chance() -> None:
    right = np.array([[0, 3], [8, 3]])
    exact = given_right(right, theory.VerifierChannel(0.0, 0.0), 8)
    np.testing.assert_array_equal(exact.paid, right)
    np.testing.assert_array_equal(exact.zero_advantage, [[1.0, 0.0], [1.0, 0.0]])
    for field in ("paid_variance", "reward_variance_variance", "gradient_variance"):
        np.testing.assert_array_equal(getattr(exact, field), np.zeros((2, 2)))


def test_no_group_at_all_has_no_moments() -> None:
    empty = given_right(np.zeros(0, dtype=int), theory.VerifierChannel(0.1, 0.2), 8)
    assert all(getattr(empty, field).shape == (0,) for field in FIELDS)


@pytest.mark.parametrize(
    ("right", "message"),
    [(9, r"right must lie in \[0, 8\], got 9"), (-1, "got -1"), (2.5, "whole numbers")],
)
def test_impossible_counts_are_named(right: float, message: str) -> None:
    with pytest.raises(theory.ArgumentError, match=message):
        given_right(right, theory.VerifierChannel(0.1, 0.2), 8)
