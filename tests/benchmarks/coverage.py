"""Do the intervals cover, and do the verdicts err as rarely as they say? Measured, not assumed.

    python -m tests.benchmarks.coverage --replications 5000     writes COVERAGE.md beside this file
    python -m tests.benchmarks.coverage --laws                  rewrites only its tables of unknown laws

World: every run has its own asymptote (spread .02 over seeds, of which a matched pair of arms shares
all but .005), residuals of a run are AR(1) (spread .01, lag-one correlation .5), every evaluation is
binomial with 500 samples, 21 evaluations a run from .1 to .8 by midpoint 1e4. Truth: the mean run.
First the course is a sigmoid of slope 1.5 and a sigmoid is fitted. Then the course is also one that the
laws fitted hold only at a limit or not at all, and `auto` chooses among them, as it does for a user.
Replications are fitted by `fits.batch`, which tests/fits/test_batch.py holds to `fits.fit_curve`.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fits import EXPONENTIAL, POWER, SIGMOID, Law, find_turn, fit_curve
from fits.batch import BatchFit, fit_batch
from fits.files import write_text
from fits.fit import MIDPOINTS_NEEDED, SUPPORTED
from fits.gap import verdict_of
from fits.hypotheses import holm
from fits.inference import DECISIVE_WALD, student_interval
from tests.benchmarks.verdicts import MARKER, TABLE

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

MIDPOINT, SLOPE, START, ASYMPTOTE = 1e4, 1.5, 0.1, 0.8
EVALUATIONS, SAMPLES = 21, 500
RUN_SPREAD, ARM_SPREAD = 0.02, 0.005
RESIDUAL_SPREAD, RESIDUAL_CORRELATION = 0.01, 0.5
SEEDS = (3, 5, 8)
REACHES = (4.0, 10.0)
DELTA = 0.01
FLOORS = (0.0, DELTA / 2, DELTA, 3 * DELTA)


LAWS = (SIGMOID, POWER, EXPONENTIAL)
LAWS_HEADING = "## Where the law is not known"
SPARE = 1000  # replications of the second half, at most: SE .007 at nominal coverage

Course = Callable[[FloatArray], FloatArray]


def sigmoid_course(x: FloatArray) -> FloatArray:
    """Share of the rise done at x midpoints."""
    return x**SLOPE / (1.0 + x**SLOPE)


def power_course(power: float) -> Course:
    """A power law to its asymptote: of exponent 1/2 it has a quarter of its rise left at five midpoints."""
    return lambda x: 1.0 - (1.0 + (2.0 ** (1.0 / power) - 1.0) * x) ** -power


def two_speeds_course(x: FloatArray) -> FloatArray:
    """Two populations of prompts, 30 % of the rise eight times slower than the rest: none of the laws."""
    scale = 0.92646  # the rise is half done at x = 1
    return 1.0 - 0.7 * np.exp(-x / scale) - 0.3 * np.exp(-x / (8.0 * scale))


COURSES: dict[str, Course] = {
    "sigmoid": sigmoid_course,
    "power law, exponent 2": power_course(2.0),
    "power law, exponent 1/2": power_course(0.5),
    "two speeds": two_speeds_course,
}


def experiments(
    rng: np.random.Generator,
    asymptotes_RS: FloatArray,
    *,
    reach: float,
    clock: float = 1.0,
    course: Course = sigmoid_course,
) -> tuple[FloatArray, FloatArray]:
    """x_T and accuracies (R, S, T) of runs with these asymptotes, up to `reach` clean midpoints."""
    R, S = asymptotes_RS.shape
    x_T = np.linspace(0.0, reach * MIDPOINT, EVALUATIONS)
    level = START + (asymptotes_RS[..., None] - START) * course(x_T / (MIDPOINT * clock))
    residual = np.empty((R, S, EVALUATIONS))
    residual[..., 0] = rng.normal(0.0, RESIDUAL_SPREAD, (R, S))
    fresh = RESIDUAL_SPREAD * (1.0 - RESIDUAL_CORRELATION**2) ** 0.5
    for t in range(1, EVALUATIONS):
        residual[..., t] = RESIDUAL_CORRELATION * residual[..., t - 1] + rng.normal(
            0.0, fresh, (R, S)
        )
    return x_T, rng.binomial(SAMPLES, np.clip(level + residual, 0.0, 1.0)) / SAMPLES


def identified(
    law: Law, fits: BatchFit, x_T: FloatArray, y_RST: FloatArray, wanted_R: BoolArray | None = None
) -> BoolArray:
    """Where `fit_curve` says identified: at once if its Wald test decides, else by asking it.

    wanted_R: the replicates to ask about; the others are False.
    """
    assert law.midpoint is not None
    midpoint_R = np.array([law.midpoint(theta_P) for theta_P in fits.theta_RP])
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
        if wanted_R is not None and not wanted_R[r]:
            continue
        if sure_R[r]:
            found_R[r] = find_turn(x_N, y_RST[r].ravel()) is None
        else:
            fit = fit_curve(x_N, y_RST[r].ravel(), run=run_N, law=law, forecast=False)
            found_R[r] = fit.identified
    return found_R


def coverage(seeds: int, reach: float, replications: int) -> tuple[dict[str, tuple[int, int]], int]:
    """Per parameter (covered, intervals) where the fit says identified; and how often it does."""
    rng = np.random.default_rng([1, seeds, round(10 * reach)])
    x_T, y_RST = experiments(
        rng, rng.normal(ASYMPTOTE, RUN_SPREAD, (replications, seeds)), reach=reach
    )
    fits = fit_batch(SIGMOID, x_T, y_RST)
    known_R = identified(SIGMOID, fits, x_T, y_RST)
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
        known_R &= identified(SIGMOID, fits, x_T, y_RST)
        pseudo.append(fits.theta_RP[:, None, 1] + fits.influence_RSP[:, :, 1])
    counts = {"closes": 0, "persists": 0, "undetermined": 0, "covered": 0}
    for gap_S in (pseudo[0] - pseudo[1])[known_R]:
        _, ci = student_interval(gap_S)
        counts[verdict_of(ci, DELTA)] += 1
        counts["covered"] += ci is not None and ci[0] <= floor <= ci[1]
    return {**counts, "identified": int(known_R.sum())}


@dataclass(frozen=True)
class Doubtful:
    """The asymptote where the law is not given: shares of R replications, coverage of those identified.

    sigmoid_*: the same data fitted by a sigmoid without asking which law. auto_*: by all laws, intervals
    and identification as `fits.fit.allow_for_laws` has them. best_*: by the law of least AIC, believed.
    """

    sigmoid_identified: float
    sigmoid_covered: float
    best_identified: float
    best_covered: float
    auto_identified: float
    auto_covered: float
    auto_half: float


def doubtful(course: str, seeds: int, reach: float, replications: int) -> Doubtful:
    """Coverage of the asymptote's interval where the law is not known, see Doubtful."""
    rng = np.random.default_rng([3, seeds, round(10 * reach), list(COURSES).index(course)])
    x_T, y_RST = experiments(
        rng,
        rng.normal(ASYMPTOTE, RUN_SPREAD, (replications, seeds)),
        reach=reach,
        course=COURSES[course],
    )
    fits = [fit_batch(law, x_T, y_RST) for law in LAWS]
    aic_LR = np.stack([fit.aic_R for fit in fits])
    supported_LR = aic_LR - aic_LR.min(axis=0) <= SUPPORTED
    asked_LR = supported_LR.copy()
    asked_LR[0] = True
    known_LR = np.stack(
        [
            identified(law, fit, x_T, y_RST, asked_R)
            for law, fit, asked_R in zip(LAWS, fits, asked_LR, strict=True)
        ]
    )
    low_LR = np.stack([fit.low_RP[:, 1] for fit in fits])
    high_LR = np.stack([fit.high_RP[:, 1] for fit in fits])
    inside_LR = (low_LR <= ASYMPTOTE) & (high_LR >= ASYMPTOTE)
    best_R, rows_R = aic_LR.argmin(axis=0), np.arange(replications)
    best_known_R = known_LR[best_R, rows_R]
    all_known_R = (known_LR | ~supported_LR).all(axis=0)
    hull_low_R = np.where(supported_LR, low_LR, np.inf).min(axis=0)
    hull_high_R = np.where(supported_LR, high_LR, -np.inf).max(axis=0)
    # A level is a fraction, and so are the ends that `fit` prints.
    hull_low_R, hull_high_R = (np.clip(ends_R, 0.0, 1.0) for ends_R in (hull_low_R, hull_high_R))
    hull_inside_R = (hull_low_R <= ASYMPTOTE) & (hull_high_R >= ASYMPTOTE)

    def share(hit_R: BoolArray, known_R: BoolArray) -> float:
        return float(hit_R[known_R].mean()) if known_R.any() else float("nan")

    halves_R = 0.5 * (hull_high_R - hull_low_R)[all_known_R]
    return Doubtful(
        sigmoid_identified=float(known_LR[0].mean()),
        sigmoid_covered=share(inside_LR[0], known_LR[0]),
        best_identified=float(best_known_R.mean()),
        best_covered=share(inside_LR[best_R, rows_R], best_known_R),
        auto_identified=float(all_known_R.mean()),
        auto_covered=share(hull_inside_R, all_known_R),
        auto_half=float(np.median(halves_R)) if halves_R.size else float("nan"),
    )


def holm_outside(cells: list[tuple[int, int]]) -> list[float]:
    """Holm-adjusted p-values that a cell's true coverage lies outside [.93, .97], one-sided per edge."""
    from scipy.stats import binom

    raw = [
        min(1.0, 2.0 * min(float(binom.cdf(hit, n, 0.93)), float(binom.sf(hit - 1, n, 0.97))))
        for hit, n in cells
    ]
    return [1.0 if p is None else p for p in holm(raw)]


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
    yield (
        f"\nThe floor by the difference of asymptotes alone, the law known, and what that interval would say at delta ="
        f" {DELTA:g} (`gap` itself anchors it at the measured gap: below); ten midpoints, a noisy arm 1.4 times slower:\n"
    )
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
    yield from doubtful_tables(min(replications, SPARE))
    sys.stderr.write(f"took {time.perf_counter() - began:.0f} s\n")


def doubtful_tables(replications: int) -> Iterator[str]:
    """The second half of COVERAGE.md: what happens where the law fitted is not the truth."""
    yield f"\n{LAWS_HEADING}\n"
    yield (
        "Share of curves whose asymptote is called identified, and how often its interval then covers, on the same"
        " data: by a sigmoid that nobody doubts (`--law sigmoid`); by the law of least AIC, believed; and by `auto`,"
        " whose interval is the hull over all laws within 10 of the least AIC, and which calls an asymptote identified"
        " only if each of those does. A power law of exponent 1 is a sigmoid of slope 1.\n"
    )
    yield (
        "| truth | midpoints | seeds | sigmoid: identified | covered | least AIC: identified | covered"
        " | auto: identified | covered | half-width |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for course in COURSES:
        for reach in REACHES:
            for seeds in SEEDS:
                d = doubtful(course, seeds, reach, replications)
                sys.stderr.write(f"doubtful: {course}, {reach:g}, {seeds} seeds: {d}\n")
                yield (
                    f"| {course} | {reach:g} | {seeds} | {d.sigmoid_identified:.2f} |"
                    f" {_spoken(d.sigmoid_covered)} | {d.best_identified:.2f} |"
                    f" {_spoken(d.best_covered)} | {d.auto_identified:.2f} |"
                    f" {_spoken(d.auto_covered)} | {_spoken(d.auto_half)} |"
                )
    error = f"{(0.95 * 0.05 / replications) ** 0.5:.3f}".lstrip("0")
    yield f"\n{replications} replications a cell (standard error {error} at 95 %)."


def _spoken(share: float) -> str:
    return "–" if np.isnan(share) else f"{share:.3f}"


def main() -> None:
    """Write COVERAGE.md."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--replications", type=int, default=5000)
    parser.add_argument("--laws", action="store_true")
    parser.add_argument("--out", type=Path, default=TABLE)
    arguments = parser.parse_args()
    page = arguments.out.read_text() if arguments.out.exists() else ""
    ours, marker, verdicts_half = page.partition(MARKER)
    if arguments.laws:
        first = ours.partition(LAWS_HEADING)[0].rstrip("\n")
        lines = [first, *doubtful_tables(min(arguments.replications, SPARE))]
    else:
        lines = list(table(arguments.replications))
    rest = f"\n{marker}{verdicts_half}" if marker else ""
    write_text(arguments.out, "\n".join(lines) + "\n" + rest)


if __name__ == "__main__":
    main()
