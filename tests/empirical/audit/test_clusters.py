from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from empirical.audit.clusters import (
    clustered_rate,
    combined,
    intraclass_correlation,
)
from empirical.audit.verdicts import phi
from tests.empirical.audit.clustered import beta_rates, coverage
from theory import VerifierChannel


@pytest.mark.parametrize(
    ("fpr", "fnr"),
    [(0.05, 0.2), (0.1, 0.05), (0.3, 0.3)],
)
def test_intervals_cover_with_clustered_errors_where_naive_ones_do_not(
    fpr: float, fnr: float
) -> None:
    """ICC .5, 8 wrong and 8 right a prompt, 100 prompts: the naive interval holds .61 to .67 of truths."""
    held = coverage(
        np.random.default_rng(7),
        fpr=fpr,
        fnr=fnr,
        pass_rate=0.5,
        icc=0.5,
        prompts=100,
        each=16,
        trials=600,
    )
    assert held.pop("naive fnr") < 0.72
    for name, share in held.items():
        # .93 to .97, and three standard errors of 600 trials.
        assert abs(share - 0.95) < 0.02 + 3 * np.sqrt(0.95 * 0.05 / 600), (name, share)


def test_one_rollout_a_prompt_is_a_binomial() -> None:
    rng = np.random.default_rng(0)
    errors = (rng.random(4000) < 0.2).astype(float)
    rate = clustered_rate(errors, np.ones(4000))
    assert rate is not None
    p = errors.mean()
    assert rate.n_effective == pytest.approx(4000, rel=1e-3)
    assert rate.icc is None
    se = np.sqrt(p * (1 - p) / 4000)
    assert rate.ci[1] - rate.ci[0] == pytest.approx(2 * 1.96 * se, rel=5e-3)


def test_rollouts_that_err_together_are_worth_one() -> None:
    """Every prompt answered eight times alike: as many observations as prompts, and an ICC of 1."""
    rng = np.random.default_rng(1)
    errors = 8.0 * (rng.random(300) < 0.3)
    rate = clustered_rate(errors, np.full(300, 8.0))
    assert rate is not None
    assert rate.icc == 1.0
    assert rate.n_effective == pytest.approx(300, rel=0.01)


@pytest.mark.parametrize("icc", [0.0, 0.2, 0.5])
def test_the_intraclass_correlation_is_recovered(icc: float) -> None:
    rng = np.random.default_rng(2)
    sizes = rng.integers(1, 12, 4000)
    errors = rng.binomial(sizes, beta_rates(rng, 0.25, icc, 4000))
    found = intraclass_correlation(errors.astype(float), sizes.astype(float))
    assert found is not None
    assert abs(found - icc) < 0.02


def test_an_estimate_lies_in_its_interval_and_rates_in_the_unit() -> None:
    rng = np.random.default_rng(3)
    for _ in range(300):
        sizes = rng.integers(0, 9, 12).astype(float)
        errors = rng.binomial(sizes.astype(int), rng.choice([0.0, 0.02, 0.5, 1.0])).astype(float)
        rate = clustered_rate(errors, sizes)
        if rate is not None:
            assert 0.0 <= rate.ci[0] <= rate.value <= rate.ci[1] <= 1.0


def test_no_error_seen_is_no_proof_of_none() -> None:
    """Upper limit without an error: between those of as many independent rollouts, and of prompts."""
    rate = clustered_rate(np.zeros(40), np.full(40, 5.0))
    assert rate is not None
    assert rate.ci[0] == 0.0
    independent = 1 - 0.025 ** (1 / 200)
    assert independent < rate.ci[1] < 1 - 0.025 ** (1 / 38)


def test_more_prompts_of_one_kind_shorten_every_interval() -> None:
    errors, sizes = np.array([0.0, 1.0, 3.0, 0.0, 2.0]), np.full(5, 4.0)
    lengths = []
    for times in (10, 20, 40):
        rate = clustered_rate(np.tile(errors, times), np.tile(sizes, times))
        assert rate is not None
        lengths.append(rate.ci[1] - rate.ci[0])
    assert lengths[0] > lengths[1] > lengths[2]
    assert lengths[0] / lengths[2] == pytest.approx(2.0, rel=0.05)


def test_combined_limits_of_a_difference_agree_with_the_normal_theory() -> None:
    """Two large independent rates: the interval of J is the textbook one."""
    rng = np.random.default_rng(4)
    zeros = np.zeros(30000)
    ones = np.ones(30000)
    first, second = (rng.random((2, 30000)) < 0.2).astype(float)
    x = clustered_rate(np.concatenate([first, zeros]), np.concatenate([ones, zeros]))
    d = clustered_rate(np.concatenate([zeros, second]), np.concatenate([zeros, ones]))
    assert x is not None
    assert d is not None
    value, (low, high) = combined(lambda one, other: 1 - one - other, (x, d))
    se = np.sqrt(sum(r.value * (1 - r.value) / 30000 for r in (x, d)))
    z = stats.norm.ppf(0.975)
    assert value == pytest.approx(1 - first.mean() - second.mean())
    assert low == pytest.approx(value - z * se, abs=5e-4)
    assert high == pytest.approx(value + z * se, abs=5e-4)


@pytest.mark.parametrize(
    ("pass_rate", "fpr", "fnr", "squared"),
    [(0.3, 0.1, 0.2, 0.481066), (0.5, 0.4, 0.0, 0.428571), (0.05, 0.1, 0.0, 0.310345)],
)
def test_phi_is_matthews_correlation(
    pass_rate: float, fpr: float, fnr: float, squared: float
) -> None:
    """THEORY section 8's digits, and the definition, cell by cell."""
    assert phi(fpr, fnr, pass_rate) ** 2 == pytest.approx(squared, abs=1e-6)
    q = float(VerifierChannel(fpr, fnr).observed_rate(pass_rate))
    covariance = pass_rate * (1 - fnr) - pass_rate * q
    assert phi(fpr, fnr, pass_rate) == pytest.approx(
        covariance / np.sqrt(pass_rate * (1 - pass_rate) * q * (1 - q))
    )
