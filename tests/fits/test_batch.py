"""Batched fits are the single fits; the bootstrap is what it says."""

from __future__ import annotations

import numpy as np
import pytest

from fits import SIGMOID, InputError, fit_curve
from fits import solve as solver
from fits.batch import bootstrap_curve, fit_batch
from fits.gap import floor_between
from fits.inference import student_interval
from tests.benchmarks.coverage import coverage, experiments, verdicts


def test_a_batch_is_its_single_fits() -> None:
    rng = np.random.default_rng(0)
    x, y = experiments(rng, rng.normal(0.8, 0.02, (12, 4)), reach=8.0)
    batch = fit_batch(SIGMOID, x, y)
    for r in range(12):
        fit = fit_curve(
            np.tile(x, 4),
            y[r].ravel(),
            run=np.repeat(range(4), len(x)),
            law=SIGMOID,
            forecast=False,
        )
        np.testing.assert_allclose(batch.theta_RP[r], fit.theta_P, atol=2e-5)
        np.testing.assert_allclose(batch.influence_RSP[r], fit.influence_SP, atol=2e-4)
        ci = fit.ci["asymptote"]
        assert ci is not None
        np.testing.assert_allclose([batch.low_RP[r, 1], batch.high_RP[r, 1]], ci, atol=2e-5)
        assert batch.aic_R[r] == pytest.approx(fit.aic, abs=1e-3)
        assert fit.identified


@pytest.mark.parametrize("weighted", [False, True])
def test_replicates_in_blocks_are_the_replicates(
    monkeypatch: pytest.MonkeyPatch, weighted: bool
) -> None:
    rng = np.random.default_rng(3)
    x, y = experiments(rng, rng.normal(0.8, 0.02, (25, 1)), reach=8.0)
    y_RN, weights = y[:, 0], rng.uniform(0.5, 1.5, y[:, 0].shape) if weighted else None
    starts = np.repeat([[0.1, 0.7, np.log(8e3), 0.2]], 25, axis=0)
    held = np.zeros((25, 4), dtype=np.bool_)
    held[::3, 0] = True
    given = {"weights_RN": weights, "fixed_RP": held}
    whole = solver.solve(SIGMOID, x[None], y_RN, starts, **given)
    monkeypatch.setattr(solver, "BLOCK", 4 * len(x))
    parts = solver.solve(SIGMOID, x[None], y_RN, starts, **given)
    np.testing.assert_array_equal(parts.theta_RP, whole.theta_RP)
    np.testing.assert_array_equal(parts.loss_R, whole.loss_R)
    assert parts.converged_R.all()
    assert parts.iterations == whole.iterations


def test_a_floor_from_a_batch_is_the_floor_from_two_fits() -> None:
    rng = np.random.default_rng(1)
    tops = rng.normal(0.8, 0.02, (1, 5))
    fits = []
    pseudo = []
    for lost in (0.0, 0.03):
        x, y = experiments(rng, tops - lost, reach=10.0)
        batch = fit_batch(SIGMOID, x, y)
        pseudo.append(batch.theta_RP[0, 1] + batch.influence_RSP[0, :, 1])
        fits.append(
            fit_curve(np.tile(x, 5), y[0].ravel(), run=np.repeat(range(5), len(x)), law=SIGMOID)
        )
    between = floor_between(*fits)
    mean, ci = student_interval(pseudo[0] - pseudo[1])
    assert between.estimate == pytest.approx(mean, abs=1e-5)
    assert between.ci == pytest.approx(ci, abs=1e-5)


def test_intervals_cover_and_verdicts_err_rarely() -> None:
    """A small copy of tests/benchmarks/COVERAGE.md, wide enough for 300 replications (SE .013)."""
    counts, identified = coverage(5, 10.0, 300)
    assert identified > 290
    for covered, made in counts.values():
        assert 0.90 < covered / made < 0.99
    at_delta = verdicts(5, 0.01, 300)
    assert at_delta["closes"] / at_delta["identified"] < 0.06
    assert at_delta["persists"] / at_delta["identified"] < 0.06


def test_the_bootstrap_spread_is_that_of_the_runs() -> None:
    rng = np.random.default_rng(2)
    S = 40
    x, y = experiments(rng, rng.normal(0.8, 0.03, (1, S)), reach=10.0)
    rows = {"x": np.tile(x, S), "y": y[0].ravel(), "run": np.repeat(range(S), len(x))}
    fit = fit_curve(**rows, law=SIGMOID, forecast=False)
    boot = bootstrap_curve(
        SIGMOID, **rows, theta_P=fit.theta_P, rng=np.random.default_rng(3), replicates=500
    )
    spread = boot.theta_BP[:, 1].std()
    expected = fit.influence_SP[:, 1].std(ddof=1) / S**0.5
    assert spread == pytest.approx(expected, rel=0.2)
    again = bootstrap_curve(
        SIGMOID, **rows, theta_P=fit.theta_P, rng=np.random.default_rng(3), replicates=500
    )
    np.testing.assert_array_equal(boot.theta_BP, again.theta_BP)
    low, high = boot.band(x)
    assert (low <= fit.predict(x)).mean() > 0.95
    assert (high >= fit.predict(x)).mean() > 0.95


def test_shapes_are_checked() -> None:
    with pytest.raises(InputError, match="runs >= 2"):
        fit_batch(SIGMOID, [1.0, 2.0], np.zeros((3, 1, 2)))
    with pytest.raises(InputError, match="equally long"):
        bootstrap_curve(
            SIGMOID,
            [1.0],
            [1.0, 2.0],
            run=[0, 0],
            theta_P=np.zeros(4),
            rng=np.random.default_rng(0),
        )
