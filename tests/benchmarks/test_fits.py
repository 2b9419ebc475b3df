"""How fast fits are, beside what a user would write instead. `pytest tests/benchmarks/test_fits.py
--benchmark-only`; the ratios are in FITS.md (`python -m tests.benchmarks.test_fits`).

Measured in one process, on one thread, from the same starts, on the same noisy curves.
"""

from __future__ import annotations

import time
import tracemalloc
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.optimize import OptimizeWarning, curve_fit

from fits import SIGMOID, fit_curve
from fits.batch import bootstrap_curve
from fits.solve import solve

FloatArray = NDArray[np.float64]

TRUTH = np.array([0.1, 0.8, np.log(1e4), np.log(1.5)])
POINTS, REFITS, SLICE, MANY = 40, 2000, 100, 10_000


def curves(count: int, *, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    rng = np.random.default_rng(seed)
    x = np.linspace(0.0, 1e5, POINTS)
    return x, SIGMOID.predict(x[None], TRUTH[None]) + rng.normal(0.0, 0.02, (count, POINTS))


def law(x: FloatArray, *theta: float) -> FloatArray:
    return SIGMOID.predict(x[None], np.array([theta]))[0]


def by_scipy(x: FloatArray, y: FloatArray, *, bounded: bool) -> FloatArray:
    """A loop of curve_fit from the truth, as the refits below; returns half the sums of squares."""
    low, high = SIGMOID.bounds(x[None])
    losses = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        for row in y:
            options: dict[str, Any] = {"bounds": (low, high)} if bounded else {"maxfev": 5000}
            theta, _ = curve_fit(law, x, row, p0=TRUTH, **options)
            losses.append(0.5 * float(np.sum((row - law(x, *theta)) ** 2)))
    return np.array(losses)


def batched(x: FloatArray, y: FloatArray) -> FloatArray:
    return solve(SIGMOID, x[None], y, np.repeat(TRUTH[None], len(y), axis=0)).loss_R


def test_one_law_one_curve(benchmark: Callable[..., Any]) -> None:
    x, y = curves(1)
    starts = SIGMOID.starts(x[None], y[0])
    benchmark(lambda: solve(SIGMOID, x[None], y, starts))


def test_one_curve_with_intervals(benchmark: Callable[..., Any]) -> None:
    x, y = curves(5)
    run = np.repeat(np.arange(5), POINTS)
    benchmark(lambda: fit_curve(np.tile(x, 5), y.ravel(), run=run, law=SIGMOID, forecast=False))


def test_two_thousand_refits(benchmark: Callable[..., Any]) -> None:
    x, y = curves(REFITS)
    benchmark(lambda: batched(x, y))


def test_two_thousand_bootstrap_refits(benchmark: Callable[..., Any]) -> None:
    x, y = curves(5)
    rows: dict[str, Any] = {
        "x": np.tile(x, 5),
        "y": y.ravel(),
        "run": np.repeat(np.arange(5), POINTS),
    }
    benchmark(
        lambda: bootstrap_curve(
            SIGMOID, **rows, theta_P=TRUTH, rng=np.random.default_rng(0), replicates=REFITS
        )
    )


def test_ten_thousand_refits(benchmark: Callable[..., Any]) -> None:
    x, y = curves(MANY)
    benchmark(lambda: batched(x, y))


def test_the_residual_is_no_worse_than_scipys() -> None:
    x, y = curves(SLICE)
    for bounded in (True, False):
        assert (batched(x, y) <= by_scipy(x, y, bounded=bounded) * (1.0 + 1e-8)).all()


@pytest.mark.parametrize("bounded", [True, False])
def test_a_loop_of_scipy(benchmark: Callable[..., Any], bounded: bool) -> None:
    x, y = curves(SLICE)
    benchmark.pedantic(lambda: by_scipy(x, y, bounded=bounded), rounds=3)  # pyright: ignore[reportFunctionMemberAccess]


def clock(work: Callable[[], Any], rounds: int) -> float:
    """Median CPU seconds of `rounds` calls: what else the machine does is not ours."""
    took = []
    for _ in range(rounds):
        began = time.process_time()
        work()
        took.append(time.process_time() - began)
    return float(np.median(took))


def peak_memory(work: Callable[[], Any]) -> float:
    """MB that `work` holds at most beyond what was there before; NumPy reports its arrays."""
    tracemalloc.start()
    work()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 1e6


def report() -> str:
    """The table of FITS.md."""
    x, y = curves(MANY)
    one, starts = y[:1], SIGMOID.starts(x[None], y[0])
    run, five = np.repeat(np.arange(5), POINTS), y[:5].ravel()
    started = clock(lambda: SIGMOID.starts(x[None], y[0]), 51)
    single = clock(lambda: solve(SIGMOID, x[None], one, starts), 51)
    full = clock(lambda: fit_curve(np.tile(x, 5), five, run=run, law=SIGMOID, forecast=False), 21)
    refits = {
        count: clock(lambda count=count: batched(x, y[:count]), 7) for count in (REFITS, MANY)
    }

    def bootstrap(count: int) -> Any:
        return bootstrap_curve(
            SIGMOID,
            np.tile(x, 5),
            five,
            run=run,
            theta_P=TRUTH,
            rng=np.random.default_rng(0),
            replicates=count,
        )

    resampled = {count: clock(lambda count=count: bootstrap(count), 5) for count in (REFITS, MANY)}
    loops = {
        bounded: clock(lambda bounded=bounded: by_scipy(x, y[:SLICE], bounded=bounded), 5) / SLICE
        for bounded in (True, False)
    }
    memory = peak_memory(lambda: batched(x, y)), peak_memory(lambda: bootstrap(MANY))
    ours = batched(x, y[:SLICE])
    worse = max(
        float(np.max(ours / by_scipy(x, y[:SLICE], bounded=bounded))) - 1.0 for bounded in loops
    )
    rows = "".join(
        f"| {count:,} refits, batched | {refits[count]:.3f} s | 1 |\n"
        f"| {count:,} hierarchical bootstrap refits (5 runs) | {resampled[count]:.3f} s | |\n"
        f"| {count:,} bounded `curve_fit` in a loop | {count * loops[True]:.1f} s |"
        f" {count * loops[True] / refits[count]:.0f} |\n"
        f"| {count:,} unbounded `curve_fit` in a loop | {count * loops[False]:.1f} s |"
        f" {count * loops[False] / refits[count]:.0f} |\n"
        for count in (REFITS, MANY)
    )
    return f"""# Fits: time beside a loop of scipy

Generated by `python -m tests.benchmarks.test_fits`. CPU seconds on one thread, medians of at least 5
rounds in one process; a sigmoid of 4 parameters on {POINTS} points. The scipy loops take {SLICE} curves,
scaled.

| what | CPU time | ratio to the batch |
|---|---|---|
| choosing {len(starts)} starts of one fit | {1e3 * started:.2f} ms | |
| one law on one curve from them | {1e3 * single:.2f} ms | |
| the same with starts, t intervals, identifiability (5 runs) | {1e3 * full:.2f} ms | |
{rows}
Peak memory of {MANY:,} refits: {memory[0]:.0f} MB, of as many bootstrap refits {memory[1]:.0f} MB (the data are
{y.nbytes / 1e6:.0f} MB). Largest excess of our sum of squares over scipy's, relative: {worse:.1e}; on curves that end on
bounds or in long valleys see tests/fits/test_laws.py.
"""


if __name__ == "__main__":
    Path(__file__).with_name("FITS.md").write_text(report())
