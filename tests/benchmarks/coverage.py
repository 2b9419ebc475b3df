"""Do the intervals cover, and do the verdicts err as rarely as they say? Measured, not assumed.

    python -m tests.benchmarks.coverage --replications 5000     writes COVERAGE.md beside this file

World: every run has its own asymptote (spread .02 over seeds, of which a matched pair of arms shares
all but .005), residuals of a run are AR(1) (spread .01, lag-one correlation .5), every evaluation is
binomial with 500 samples, 21 evaluations a run, sigmoid of slope 1.5 from .1 to .8. Truth: the mean run.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fits import SIGMOID, fit_curve
from fits.gap import floor_between, verdict_of

FloatArray = NDArray[np.float64]

TABLE = Path(__file__).with_name("COVERAGE.md")
MIDPOINT, SLOPE, START, ASYMPTOTE = 1e4, 1.5, 0.1, 0.8
EVALUATIONS, SAMPLES = 21, 500
RUN_SPREAD, ARM_SPREAD = 0.02, 0.005
RESIDUAL_SPREAD, RESIDUAL_CORRELATION = 0.01, 0.5
SEEDS = (3, 5, 8)
REACHES = (4.0, 10.0)
DELTA = 0.01
FLOORS = (0.0, DELTA / 2, DELTA, 3 * DELTA)


def runs(
    rng: np.random.Generator, asymptotes_S: FloatArray, *, reach: float, clock: float = 1.0
) -> tuple[FloatArray, FloatArray, NDArray[np.int64]]:
    """x, accuracy and run of S runs with these asymptotes, evaluated up to `reach` clean midpoints."""
    S = len(asymptotes_S)
    x_T = np.linspace(0.0, reach * MIDPOINT, EVALUATIONS)
    theta = np.array([[START, 0.0, np.log(MIDPOINT * clock), np.log(SLOPE)]] * S)
    theta[:, 1] = asymptotes_S
    level_ST = SIGMOID.predict(x_T[None], theta)
    residual_ST = np.empty_like(level_ST)
    residual_ST[:, 0] = rng.normal(0.0, RESIDUAL_SPREAD, S)
    fresh = RESIDUAL_SPREAD * (1.0 - RESIDUAL_CORRELATION**2) ** 0.5
    for t in range(1, EVALUATIONS):
        residual_ST[:, t] = RESIDUAL_CORRELATION * residual_ST[:, t - 1] + rng.normal(0.0, fresh, S)
    right = rng.binomial(SAMPLES, np.clip(level_ST + residual_ST, 0.0, 1.0))
    return np.tile(x_T, S), right.ravel() / SAMPLES, np.repeat(np.arange(S), EVALUATIONS)


def coverage(seeds: int, reach: float, replications: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Per parameter (covered, intervals) where the fit says identified; and how often it does."""
    truth = dict(zip(SIGMOID.names, (START, ASYMPTOTE, MIDPOINT, SLOPE), strict=True))
    counts = dict.fromkeys(SIGMOID.names, (0, 0))
    identified = 0
    for r in range(replications):
        rng = np.random.default_rng([1, seeds, round(10 * reach), r])
        x, y, run = runs(rng, rng.normal(ASYMPTOTE, RUN_SPREAD, seeds), reach=reach)
        fit = fit_curve(x, y, run=run, law=SIGMOID, forecast=False)
        if not fit.identified:
            continue
        identified += 1
        for name, (covered, made) in counts.items():
            interval = fit.ci[name]
            if interval is not None:
                inside = interval[0] <= truth[name] <= interval[1]
                counts[name] = (covered + inside, made + 1)
    return counts, identified


def verdicts(seeds: int, floor: float, replications: int) -> dict[str, int]:
    """How often each verdict falls, and how often the floor's interval covers, at a true floor."""
    counts = {"closes": 0, "persists": 0, "undetermined": 0, "covered": 0, "identified": 0}
    for r in range(replications):
        rng = np.random.default_rng([2, seeds, round(1e4 * floor), r])
        tops = rng.normal(ASYMPTOTE, RUN_SPREAD, seeds)
        clean, noisy = (
            fit_curve(x, y, run=run, law=SIGMOID, forecast=False)
            for x, y, run in (
                runs(rng, tops - lost + rng.normal(0.0, ARM_SPREAD, seeds), reach=10.0, clock=clock)
                for lost, clock in ((0.0, 1.0), (floor, 1.4))
            )
        )
        if not (clean.identified and noisy.identified):
            continue
        counts["identified"] += 1
        ci = floor_between(clean, noisy).ci
        counts[verdict_of(ci, DELTA)] += 1
        counts["covered"] += ci is not None and ci[0] <= floor <= ci[1]
    return counts


def holm_outside(cells: list[tuple[int, int]]) -> list[float]:
    """Holm-adjusted p-values that a cell's true coverage lies outside [.93, .97], one-sided per edge."""
    from scipy.stats import binom

    raw = [
        min(
            1.0,
            2.0 * min(float(binom.cdf(hit, n, 0.93)), float(binom.sf(hit - 1, n, 0.97))),
        )
        for hit, n in cells
    ]
    adjusted = [1.0] * len(raw)
    running = 0.0
    for rank, i in enumerate(sorted(range(len(raw)), key=lambda i: raw[i])):
        running = max(running, min(1.0, (len(raw) - rank) * raw[i]))
        adjusted[i] = running
    return adjusted


def table(replications: int) -> Iterator[str]:
    """The lines of COVERAGE.md."""
    began = time.perf_counter()
    rows: list[tuple[int, float, str, int, int]] = []
    named: dict[tuple[int, float], int] = {}
    for reach in REACHES:
        for seeds in SEEDS:
            counts, named[seeds, reach] = coverage(seeds, reach, replications)
            rows += [(seeds, reach, name, hit, n) for name, (hit, n) in counts.items()]
            sys.stderr.write(f"coverage: {seeds} seeds, {reach:g} midpoints: {counts}\n")
    floors = {(s, f): verdicts(s, f, replications) for s in SEEDS for f in FLOORS}
    cells = [(hit, n) for *_, hit, n in rows]
    cells += [(counts["covered"], counts["identified"]) for counts in floors.values()]
    outside = holm_outside(cells)
    yield "# Coverage of the intervals, error rates of the verdicts\n"
    yield (
        f"Generated by `python -m tests.benchmarks.coverage --replications {replications}`; the world is"
        " described in that module. Nominal coverage 95 %; intervals are made where the fit calls the"
        " asymptote identified. `p` is the Holm-adjusted probability, over all cells of both tables, of a"
        " count so far out if the true coverage lay within 93–97 %.\n"
    )
    yield "| seeds | midpoints reached | identified | parameter | covered | p |"
    yield "|---|---|---|---|---|---|"
    for (seeds, reach, name, hit, n), p in zip(rows, outside, strict=False):
        share = named[seeds, reach] / replications
        yield f"| {seeds} | {reach:g} | {share:.3f} | {name} | {hit / max(n, 1):.4f} | {p:.2g} |"
    yield f"\nVerdicts at delta = {DELTA:g}, ten midpoints, a noisy arm 1.4 times slower:\n"
    yield "| seeds | true floor | closes | persists | undetermined | floor covered | p |"
    yield "|---|---|---|---|---|---|---|"
    for ((seeds, floor), counts), p in zip(floors.items(), outside[len(rows) :], strict=True):
        n = max(counts["identified"], 1)
        yield (
            f"| {seeds} | {floor:g} | {counts['closes'] / n:.4f} | {counts['persists'] / n:.4f} |"
            f" {counts['undetermined'] / n:.4f} | {counts['covered'] / n:.4f} | {p:.2g} |"
        )
    worst = min(outside)
    yield (
        f"\n{replications} replications a cell; least p {worst:.2g}:"
        f" {'every cell is consistent with 93–97 %' if worst > 0.05 else 'some cells lie outside 93–97 %'}."
    )
    sys.stderr.write(f"took {time.perf_counter() - began:.0f} s\n")


def main() -> None:
    """Write COVERAGE.md."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--replications", type=int, default=5000)
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    arguments.out.write_text("\n".join(table(arguments.replications)) + "\n")


if __name__ == "__main__":
    main()
