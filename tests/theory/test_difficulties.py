"""Difficulties are recovered from pass counts, or said to be out of reach."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import special

import theory
from theory.difficulties import fit_difficulties


@pytest.mark.parametrize(("location", "spread", "ceiling"), [(-1.0, 1.5, 1.0), (0.5, 0.6, 0.85)])
def test_difficulties_are_recovered_within_their_errors(
    location: float, spread: float, ceiling: float
) -> None:
    found = []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        rates = ceiling * special.expit(location + spread * rng.standard_normal(800))
        fit = fit_difficulties(rng.binomial(8, rates), 8, ceiling=ceiling)
        assert fit.status == "converged"
        assert fit.location_se is not None
        assert fit.spread_se is not None
        found.append(
            [(fit.location - location) / fit.location_se, (fit.spread - spread) / fit.spread_se]
        )
    scores = np.array(found)
    # Standard normal, if the errors are right: 20 of them.
    assert np.all(np.abs(scores.mean(axis=0)) < 3.5 / np.sqrt(20))
    assert np.all((scores.std(axis=0) > 0.6) & (scores.std(axis=0) < 1.5))


def test_quantiles_reproduce_the_mean_pass_rate() -> None:
    rng = np.random.default_rng(1)
    rates = special.expit(-1.0 + 1.5 * rng.standard_normal(3000))
    counts = rng.binomial(16, rates)
    fit = fit_difficulties(counts, 16)
    assert special.expit(-fit.quantiles(400)).mean() == pytest.approx(counts.mean() / 16, abs=0.005)


def test_one_trial_per_prompt_does_not_identify_the_spread() -> None:
    fit = fit_difficulties(np.array([1, 0, 0, 1, 0, 0, 0, 1]), 1)
    assert fit.status == "unidentified"
    assert fit.spread_se is None
    assert "one trial per prompt" in fit.message


@pytest.mark.parametrize(
    ("passes", "trials", "named"),
    [
        ([3], [2], "0 <= passes <= trials"),
        ([0, 0], [4, 4], "all trials ended alike"),
        ([0.5], [1], "must be integers"),
    ],
)
def test_bad_counts_are_named(passes: list[float], trials: list[int], named: str) -> None:
    with pytest.raises(theory.ArgumentError, match=named):
        fit_difficulties(passes, trials)
