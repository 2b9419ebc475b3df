"""Laws: their limits, their Jacobians, and that the solver finds what made the data."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from scipy.optimize import least_squares

from fits import CURVE_LAWS, EXPONENTIAL, LOG, POWER, SIGMOID, InputError, Law, curve_law
from fits.solve import best_of, solve

TRUTH = {
    "sigmoid": [0.1, 0.8, np.log(1e4), np.log(1.3)],
    "power": [0.1, 0.8, np.log(1e4), np.log(1.3)],
    "exponential": [0.1, 0.8, np.log(2e4)],
    "log": [0.1, 0.05],
}


def points(law: Law, count: int = 40) -> np.ndarray:
    return np.linspace(2500.0 if law.needs_positive_x else 0.0, 1e5, count)[None]


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_jacobians_are_the_derivatives(law: Law) -> None:
    inputs, theta, h = points(law), np.array([TRUTH[law.name]]), 1e-6
    jacobian = law.jacobian(inputs, theta)
    for p in range(theta.shape[1]):
        bump = np.zeros_like(theta)
        bump[0, p] = h
        measured = (law.predict(inputs, theta + bump) - law.predict(inputs, theta - bump)) / (2 * h)
        np.testing.assert_allclose(jacobian[:, p], measured, atol=1e-8)


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_a_law_travels_to_another_process(law: Law) -> None:
    assert pickle.loads(pickle.dumps(law)) == law


@pytest.mark.parametrize("law", [SIGMOID, POWER, EXPONENTIAL], ids=lambda law: law.name)
def test_saturating_laws_start_end_and_halve_where_they_say(law: Law) -> None:
    theta = np.array(TRUTH[law.name])
    assert law.midpoint is not None
    middle = law.midpoint(theta)
    values = law.predict(np.array([[0.0, middle, 1e30]]), theta[None])[0]
    np.testing.assert_allclose(values, [0.1, 0.45, 0.8], atol=1e-9)


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_a_curve_is_at_its_level_where_it_reaches_it(law: Law) -> None:
    assert law.reach is not None
    theta = np.tile(TRUTH[law.name], (9, 1))
    level = np.linspace(0.15, 0.75, 9)
    at = np.exp(law.reach(level, theta))
    np.testing.assert_allclose(np.diagonal(law.predict(at[None], theta)), level, rtol=1e-12)


@pytest.mark.parametrize("law", [SIGMOID, POWER, EXPONENTIAL], ids=lambda law: law.name)
@pytest.mark.parametrize(
    ("start", "end", "level", "expected"),
    [
        (0.1, 0.8, 0.8, np.inf),  # its asymptote, and above
        (0.1, 0.8, 0.9, np.inf),
        (0.1, 0.8, 0.1, -np.inf),  # its start, and below
        (0.1, 0.8, 0.0, -np.inf),
        (0.8, 0.1, 0.5, np.inf),  # a curve that falls ends below, or above at once
        (0.8, 0.1, 0.05, -np.inf),
        (0.5, 0.5, 0.6, np.inf),
    ],
)
def test_a_level_outside_the_rise_is_reached_at_once_or_never(
    law: Law, start: float, end: float, level: float, expected: float
) -> None:
    assert law.reach is not None
    theta = np.array([[start, end, *TRUTH[law.name][2:]]])
    assert law.reach(np.array([level]), theta) == expected


def test_the_power_law_with_a_large_power_is_the_exponential() -> None:
    # (1 + x/(c k))^-k -> exp(-x/c) as k grows, with error O(1/k).
    x = points(EXPONENTIAL)
    target = EXPONENTIAL.predict(x, np.array([[0.1, 0.8, np.log(2e4)]]))
    gaps = [
        np.abs(POWER.predict(x, np.array([[0.1, 0.8, np.log(2e4 * k), np.log(k)]])) - target).max()
        for k in (100.0, 200.0)
    ]
    assert gaps[1] < 1e-3
    np.testing.assert_allclose(gaps[0] / gaps[1], 2.0, rtol=0.05)


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_the_solver_recovers_the_truth_from_exact_data(law: Law) -> None:
    inputs = points(law)
    y = law.predict(inputs, np.array([TRUTH[law.name]]))
    solution = solve(law, inputs, y, law.starts(inputs, y[0]))
    assert solution.converged_R.all()
    np.testing.assert_allclose(solution.theta_RP[best_of(solution)], TRUTH[law.name], rtol=1e-5)


def by_scipy(law: Law, inputs: np.ndarray, y: np.ndarray, starts: np.ndarray) -> float:
    low, high = law.bounds(inputs)
    return min(
        least_squares(
            lambda theta: law.predict(inputs, theta[None])[0] - y,
            np.clip(start, low + 1e-9, high - 1e-9),
            jac=lambda theta: law.jacobian(inputs, theta[None])[0].T,
            bounds=(low, high),
            x_scale="jac",
            max_nfev=500,
        ).cost
        for start in starts
    )


@pytest.mark.parametrize("law", CURVE_LAWS, ids=lambda law: law.name)
def test_the_solver_is_no_worse_than_scipy_from_the_same_starts(law: Law) -> None:
    rng = np.random.default_rng(1)
    inputs = points(law)
    for _ in range(10):
        y = law.predict(inputs, np.array([TRUTH[law.name]])) + rng.normal(0, 0.03, inputs.shape)
        starts = np.clip(law.starts(inputs, y[0]), *law.bounds(inputs))
        ours = solve(law, inputs, y, starts).loss_R.min()
        assert ours <= by_scipy(law, inputs, y[0], starts) * (1 + 1e-6)


def hard_curve(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Few points, any part of the curve, made by any law: fits that end on bounds and in long valleys."""
    count = int(rng.choice([6, 10, 21, 40]))
    x = np.linspace(0.0, 1e5, count) if rng.random() < 0.5 else np.geomspace(1e3, 1e5, count)
    level = [rng.uniform(0.0, 0.4), rng.uniform(0.1, 1.0)]
    theta = [*level, np.log(10) * rng.uniform(3.0, 5.3), rng.uniform(-0.7, 1.5)]
    truth = (SIGMOID, POWER, EXPONENTIAL)[int(rng.integers(3))]
    y = truth.predict(x[None], np.array([theta])[:, : len(truth.parameters)])[0]
    return x[None], np.clip(y + rng.normal(0.0, rng.choice([0.003, 0.01, 0.03]), count), 0.0, 1.0)


@pytest.mark.parametrize("law", [SIGMOID, POWER, EXPONENTIAL], ids=lambda law: law.name)
def test_nor_is_it_on_bounds_and_in_valleys(law: Law) -> None:
    """Steps cut off at a bound once passed for convergence: 30 % of such power-law fits stopped early."""
    rng = np.random.default_rng(7)
    excess = []
    for _ in range(60):
        inputs, y = hard_curve(rng)
        starts = np.clip(law.starts(inputs, y), *law.bounds(inputs))
        ours = solve(law, inputs, y[None], starts)
        excess.append(ours.loss_R.min() / by_scipy(law, inputs, y, starts) - 1.0)
    assert np.mean(np.array(excess) > 1e-4) <= 0.02
    assert max(excess) < 0.01


@pytest.mark.parametrize("law", [SIGMOID, POWER, EXPONENTIAL], ids=lambda law: law.name)
def test_two_starts_find_the_basin_that_a_dense_grid_finds(law: Law) -> None:
    rng = np.random.default_rng(8)
    low, high = np.log(1e2), np.log(1e6)
    shapes = np.array([[s, e] for s in np.linspace(low, high, 12) for e in (-1.0, 0.0, 1.0, 2.0)])
    missed = []
    for _ in range(40):
        inputs, y = hard_curve(rng)
        levels = np.tile([y[0], y[-1]], (len(shapes), 1))
        dense = np.concatenate([levels, shapes], axis=1)[:, : len(law.parameters)]
        ours = solve(law, inputs, y[None], law.starts(inputs, y)).loss_R.min()
        missed.append(ours > 1.01 * solve(law, inputs, y[None], dense).loss_R.min())
    assert np.mean(missed) <= 0.05


def test_the_solver_stays_in_the_box_and_fixes_what_it_is_told() -> None:
    inputs = points(SIGMOID)
    y = SIGMOID.predict(inputs, np.array([[0.1, 1.3, np.log(1e4), 0.0]]))
    starts = SIGMOID.starts(inputs, np.clip(y[0], 0, 1))
    fixed = np.zeros_like(starts, dtype=bool)
    fixed[:, 2] = True
    solution = solve(SIGMOID, inputs, y, starts, fixed_RP=fixed)
    low, high = SIGMOID.bounds(inputs)
    assert (solution.theta_RP >= low).all()
    assert (solution.theta_RP <= high).all()
    assert solution.theta_RP[0, 1] == 1.0
    np.testing.assert_array_equal(solution.theta_RP[:, 2], starts[:, 2])


def test_replicates_do_not_influence_each_other() -> None:
    rng = np.random.default_rng(2)
    inputs = points(SIGMOID)
    y = SIGMOID.predict(inputs, np.array([TRUTH["sigmoid"]])) + rng.normal(0, 0.02, (30, 40))
    start = np.array([TRUTH["sigmoid"]])
    together = solve(SIGMOID, inputs, y, np.repeat(start, 30, axis=0)).theta_RP
    alone = np.concatenate([solve(SIGMOID, inputs, row[None], start).theta_RP for row in y])
    np.testing.assert_allclose(together, alone, rtol=1e-9)


def test_weights_count_rows() -> None:
    rng = np.random.default_rng(3)
    inputs = points(EXPONENTIAL)
    y = EXPONENTIAL.predict(inputs, np.array([TRUTH["exponential"]])) + rng.normal(0, 0.02, (1, 40))
    counts = rng.integers(0, 4, 40)
    start = np.array([TRUTH["exponential"]])
    weighted = solve(EXPONENTIAL, inputs, y, start, weights_RN=counts[None].astype(float))
    repeated = solve(
        EXPONENTIAL, np.repeat(inputs, counts, axis=1), np.repeat(y, counts, axis=1), start
    )
    np.testing.assert_allclose(weighted.theta_RP, repeated.theta_RP, rtol=1e-7)


def test_laws_are_found_by_name() -> None:
    assert curve_law("log") is LOG
    with pytest.raises(InputError, match="'cubic' is none of: auto, sigmoid"):
        curve_law("cubic")
