"""Do the intervals cover, and do the verdicts err as rarely as they say? Measured, not assumed.

    python -m tests.benchmarks.coverage --replications 5000     writes COVERAGE.md beside this file

World: every run has its own asymptote (spread .02 over seeds, of which a matched pair of arms shares
all but .005), residuals of a run are AR(1) (spread .01, lag-one correlation .5), every evaluation is
binomial with 500 samples, 21 evaluations a run, sigmoid of slope 1.5 from .1 to .8. Truth: the mean run.
Replications are fitted by `fits.batch`, which tests/fits/test_batch.py holds to `fits.fit_curve`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fits import SIGMOID, find_turn, fit_curve
from fits.batch import BatchFit, fit_batch
from fits.fit import MIDPOINTS_NEEDED
from fits.gap import verdict_of
from fits.inference import DECISIVE_WALD, student_interval

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

TABLE = Path(__file__).with_name("COVERAGE.md")
MIDPOINT, SLOPE, START, ASYMPTOTE = 1e4, 1.5, 0.1, 0.8
EVALUATIONS, SAMPLES = 21, 500
RUN_SPREAD, ARM_SPREAD = 0.02, 0.005
RESIDUAL_SPREAD, RESIDUAL_CORRELATION = 0.01, 0.5
SEEDS = (3, 5, 8)
REACHES = (4.0, 10.0)
DELTA = 0.01
FLOORS = (0.0, DELTA / 2, DELTA, 3 * DELTA)


def experiments(
    rng: np.random.Generator, asymptotes_RS: FloatArray, *, reach: float, clock: float = 1.0
) -> tuple[FloatArray, FloatArray]:
    """x_T and accuracies (R, S, T) of runs with these asymptotes, up to `reach` clean midpoints."""
    R, S = asymptotes_RS.shape
    x_T = np.linspace(0.0, reach * MIDPOINT, EVALUATIONS)
    theta = np.empty((R * S, 4))
    theta[:] = START, 0.0, np.log(MIDPOINT * clock), np.log(SLOPE)
    theta[:, 1] = asymptotes_RS.ravel()
    level = SIGMOID.predict(x_T[None], theta).reshape(R, S, EVALUATIONS)
    residual = np.empty_like(level)
    residual[..., 0] = rng.normal(0.0, RESIDUAL_SPREAD, (R, S))
    fresh = RESIDUAL_SPREAD * (1.0 - RESIDUAL_CORRELATION**2) ** 0.5
    for t in range(1, EVALUATIONS):
        residual[..., t] = RESIDUAL_CORRELATION * residual[..., t - 1] + rng.normal(
            0.0, fresh, (R, S)
        )
    return x_T, rng.binomial(SAMPLES, np.clip(level + residual, 0.0, 1.0)) / SAMPLES


def identified(fits: BatchFit, x_T: FloatArray, y_RST: FloatArray) -> BoolArray:
    """Where `fit_curve` says identified: at once if its Wald test decides, else by asking it."""
    midpoint_R = np.exp(fits.theta_RP[:, 2])
    sure_R = (
        fits.converged_R
        & ~fits.at_bound_RP.any(axis=1)
        & (x_T[-1] / midpoint_R >= MIDPOINTS_NEEDED)
        & (fits.wald_RP[:, 1] < DECISIVE_WALD)
    )
    S = y_RST.shape[1]
    x_N, run_N = np.tile(x_T, S), np.repeat(np.arange(S), len(x_T))
    found_R = np.zeros(len(y_RST), dtype=np.bool_)
    for r in range(len(y_RST)):
        if sure_R[r]:
            found_R[r] = find_turn(x_N, y_RST[r].ravel()) is None
        else:
            fit = fit_curve(x_N, y_RST[r].ravel(), run=run_N, law=SIGMOID, forecast=False)
            found_R[r] = fit.identified
    return found_R


def coverage(seeds: int, reach: float, replications: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Per parameter (covered, intervals) where the fit says identified; and how often it does."""
    rng = np.random.default_rng([1, seeds, round(10 * reach)])
    x_T, y_RST = experiments(
        rng, rng.normal(ASYMPTOTE, RUN_SPREAD, (replications, seeds)), reach=reach
    )
    fits = fit_batch(SIGMOID, x_T, y_RST)
    known_R = identified(fits, x_T, y_RST)
    truth_P = np.array([START, ASYMPTOTE, np.log(MIDPOINT), np.log(SLOPE)])
    inside_RP = (fits.low_RP <= truth_P) & (truth_P <= fits.high_RP)
    return {
        name: (int(inside_RP[known_R, p].sum()), int(known_R.sum()))
        for p, name in enumerate(SIGMOID.names)
    }, int(known_R.sum())


def verdicts(seeds: int, floor: float, replications: int) -> dict[str, int]:
    """How often each verdict falls, and how often the floor's interval covers, at a true floor."""
    rng = np.random.default_rng([2, seeds, round(1e4 * floor)])
    tops_RS = rng.normal(ASYMPTOTE, RUN_SPREAD, (replications, seeds))
    pseudo: list[FloatArray] = []
    known_R = np.ones(replications, dtype=np.bool_)
    for lost, clock in ((0.0, 1.0), (floor, 1.4)):
        own_RS = rng.normal(0.0, ARM_SPREAD, (replications, seeds))
        x_T, y_RST = experiments(rng, tops_RS - lost + own_RS, reach=10.0, clock=clock)
        fits = fit_batch(SIGMOID, x_T, y_RST)
        known_R &= identified(fits, x_T, y_RST)
        pseudo.append(fits.theta_RP[:, None, 1] + fits.influence_RSP[:, :, 1])
    counts = {"closes": 0, "persists": 0, "undetermined": 0, "covered": 0}
    for gap_S in (pseudo[0] - pseudo[1])[known_R]:
        _, ci = student_interval(gap_S)
        counts[verdict_of(ci, DELTA)] += 1
        counts["covered"] += ci is not None and ci[0] <= floor <= ci[1]
    return {**counts, "identified": int(known_R.sum())}


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
