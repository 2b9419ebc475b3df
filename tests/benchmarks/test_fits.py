"""Fits beside what a user would write instead: a loop of scipy's `curve_fit`, from the same starts, on the same
noisy curves.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.optimize import OptimizeWarning, curve_fit

from fits import SIGMOID, fit_curve
from fits.batch import bootstrap_curve
from fits.solve import solve
from tests.benchmarks.conftest import Record, peak_memory
from tests.benchmarks.workloads import POINTS, TRUTH, FloatArray, batched, curves, law

SLICE = 100
ONE, MANY = "One fit", "Many fits"


def logarithms(x: FloatArray) -> FloatArray:
    """log x; at x = 0 that of a number which leaves the curve where it starts."""
    return np.log(np.maximum(x, 1e-12))


def by_scipy(x: FloatArray, y: FloatArray, *, bounded: bool) -> FloatArray:
    """A loop of curve_fit from the truth, as the refits below; returns half the sums of squares."""
    low, high = SIGMOID.bounds(x[None])
    log_x = logarithms(x)
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        for row in y:
            options: dict[str, Any] = {"bounds": (low, high)} if bounded else {"maxfev": 5000}
            theta, _ = curve_fit(law, log_x, row, p0=TRUTH, **options)
            losses.append(0.5 * float(np.sum((row - law(log_x, *theta)) ** 2)))
    return np.array(losses)


def bootstrapped(count: int) -> Callable[[], Any]:
    """A hierarchical bootstrap of one curve of five runs, refitted so often."""
    x, y = curves(5)
    rows: dict[str, Any] = {
        "x": np.tile(x, 5),
        "y": y.ravel(),
        "run": np.repeat(np.arange(5), POINTS),
    }
    return lambda: bootstrap_curve(
        SIGMOID, **rows, theta_P=TRUTH, rng=np.random.default_rng(0), replicates=count
    )


def test_one_law_one_curve(record: Record) -> None:
    x, y = curves(1)
    starts = SIGMOID.starts(x[None], y[0])
    five = np.repeat(np.arange(5), POINTS), curves(5)[1].ravel()
    low, high = SIGMOID.bounds(x[None])
    log_x = logarithms(x)
    took = record.compare(
        lambda: solve(SIGMOID, x[None], y, starts),
        {
            "starts": lambda: SIGMOID.starts(x[None], y[0]),
            "whole": lambda: fit_curve(
                np.tile(x, 5), five[1], run=five[0], law=SIGMOID, forecast=False
            ),
            "scipy": lambda: [
                curve_fit(law, log_x, y[0], p0=p0, bounds=(low, high)) for p0 in starts
            ],
        },
        rounds=31,
    )
    for what, key in (
        (f"choosing {len(starts)} starts", "starts"),
        ("one law on one curve from them", "ours"),
        ("the same by bounded `curve_fit`", "scipy"),
        ("`fit_curve` of 5 runs: starts, fit, t intervals, identifiability", "whole"),
    ):
        record.row(ONE, {"what": what, "ms": 1e3 * took.median(key), "over ours": took.ratio(key)})
    record.need("one law on one curve, ms", 1e3 * took.median(), at_most=2.0)


@pytest.mark.parametrize("count", [2000, 10_000])
def test_refits(record: Record, count: int) -> None:
    x, y = curves(count)
    took = record.compare(
        lambda: batched(x, y),
        {
            "bounded": lambda: by_scipy(x, y[:SLICE], bounded=True),
            "unbounded": lambda: by_scipy(x, y[:SLICE], bounded=False),
            "bootstrap": bootstrapped(count),
        },
        rounds=15,
    )
    memory = {
        "ours": peak_memory(lambda: batched(x, y)),
        "bootstrap": peak_memory(bootstrapped(count)),
    }
    for what, key, scale in (
        ("batched", "ours", 1.0),
        ("hierarchical bootstrap of 5 runs, batched", "bootstrap", 1.0),
        ("bounded `curve_fit` in a loop", "bounded", count / SLICE),
        ("unbounded `curve_fit` in a loop", "unbounded", count / SLICE),
    ):
        record.row(
            MANY,
            {
                "refits": count,
                "what": what,
                "s": took.median(key) * scale,
                "over ours": took.ratio(key) * scale,
                "peak memory, MB": memory.get(key),
            },
            note=f"A sigmoid of 4 parameters on {POINTS} points, all from the truth. The loops take {SLICE} curves,"
            " scaled. Memory: what NumPy holds beyond the data (3.2 MB for 10,000 curves).",
        )
    record.need(
        f"{count:,} refits: times bounded curve_fit",
        took.ratio("bounded") * count / SLICE,
        at_least=100.0,
    )
    record.need(
        f"{count:,} refits: times unbounded curve_fit",
        took.ratio("unbounded") * count / SLICE,
        at_least=20.0,
    )


def test_the_residual_is_no_worse_than_scipys(record: Record) -> None:
    x, y = curves(SLICE)
    ours = record.once(lambda: batched(x, y))
    for bounded in (True, False):
        excess = float(np.max(ours / by_scipy(x, y, bounded=bounded))) - 1.0
        record.need(
            f"excess of our sum of squares over scipy's, {'' if bounded else 'un'}bounded",
            excess,
            at_most=1e-8,
        )
