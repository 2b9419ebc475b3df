"""The training chain beside what a user would use instead: Monte Carlo at equal error, and scipy's sparse
matrices one verifier at a time.

Error: the larger of the errors of the mean and of the standard deviation of final accuracy, against a
chain on 5,003 points. For chains that is convergence of the grid: what they converge to is held to the
mean and the standard deviation of all paths drawn. Monte Carlo's error falls as paths^(-1/2), which is
measured here and then carried to the paths that an error of 1e-4 takes; its time per path is measured too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import special
from scipy.sparse import csr_array

import theory
from tests.benchmarks.conftest import Record, on_one_thread
from tests.benchmarks.laws import exponent, in_words
from theory.bandit import Training, population, simulate
from theory.estimators import advantage_table
from theory.structures import Independent
from theory.training_chain import evolve, step_law, training_chain

FloatArray = NDArray[np.float64]

ERROR, EXACT, PATHS = 1e-4, 5003, 20_000
SIZES, ROUNDS = (1000, 4000, 16_000), 8
POINTS = (121, 241, 481, 961)
TABLE, GRIDS = (
    "Training chain and Monte Carlo at equal error",
    "Training chains of a grid of verifiers",
)


@dataclass(frozen=True)
class Setting:
    """One prompt's training."""

    fpr: float
    fnr: float
    group_size: int
    start: float
    learning_rate: float
    steps: int

    def __str__(self) -> str:
        return (
            f"fpr {self.fpr:g}, fnr {self.fnr:g}, G {self.group_size}, from {self.start:g},"
            f" rate {self.learning_rate:g}, {self.steps} steps"
        )


SETTINGS = (
    Setting(0.1, 0.2, 8, 0.1, 0.4, 30),
    Setting(0.0, 0.3, 4, 0.3, 1.0, 40),
    Setting(0.6, 0.5, 8, 0.6, 0.5, 60),
)


def by_chain(setting: Setting, points: int) -> FloatArray:
    """(mean, sd) of final accuracy."""
    chain = training_chain(
        setting.fpr,
        setting.fnr,
        setting.group_size,
        learning_rate=setting.learning_rate,
        points=points,
    )
    path = evolve(chain, setting.start, setting.steps)
    return np.array([path.mean[-1], path.sd[-1]])


def by_simulator(setting: Setting, paths: int, *, seed: int = 0) -> FloatArray:
    """Final accuracies, [paths], by our own simulator of populations."""
    # Two softmax logits, each moving by +-X, make the log-odds move by 2 X: half the learning rate.
    training = Training(
        steps=setting.steps,
        group_size=setting.group_size,
        learning_rate=setting.learning_rate / 2,
    )
    return simulate(
        population(np.full(paths, setting.start)),
        training,
        Independent(theory.VerifierChannel(setting.fpr, setting.fnr)),
        seed=seed,
        evaluate_every=setting.steps,
    ).pass_rates


def by_numpy(setting: Setting, paths: int) -> FloatArray:
    """Final accuracies, [paths], by NumPy's multinomial on all paths at once."""
    rng = np.random.default_rng(0)
    x, d, size = setting.fpr, setting.fnr, setting.group_size
    unpaid, paid = advantage_table(size)
    logit = np.full(paths, special.logit(setting.start))
    for _ in range(setting.steps):
        a = special.expit(logit)
        chances = np.stack([a * (1 - d), a * d, (1 - a) * x, (1 - a) * (1 - x)], axis=1)
        right_paid, right_unpaid, wrong_paid, _ = rng.multinomial(size, chances).T
        s = right_paid + wrong_paid
        push = paid[s] * (right_paid - a * s) + unpaid[s] * (right_unpaid - a * (size - s))
        logit += setting.learning_rate * push / size
    return special.expit(logit)


def standard_errors(drawn: FloatArray) -> FloatArray:
    """Those of the mean and of the standard deviation of independent draws."""
    off = drawn - drawn.mean()
    variance, fourth = (off**2).mean(), (off**4).mean()
    return np.sqrt([variance, (fourth - variance**2) / (4 * variance)]) / np.sqrt(len(drawn))


@pytest.mark.parametrize("setting", SETTINGS, ids=str)
def test_monte_carlo_at_equal_error(record: Record, setting: Setting) -> None:
    exact = by_chain(setting, EXACT)
    errors = {points: np.abs(by_chain(setting, points) - exact) for points in POINTS}
    enough = min(points for points in POINTS if errors[points].max() <= ERROR)

    drawn = by_simulator(setting, 4 * ROUNDS * max(SIZES), seed=17)
    apart = np.array([drawn.mean(), drawn.std()]) - exact
    apart_se = np.abs(apart) / standard_errors(drawn)
    errors_of = {}
    for n in SIZES:
        groups = drawn.reshape(
            ROUNDS, -1, n
        )  # in each round as many groups of n paths as there are
        moments = np.stack([groups.mean(axis=2), groups.std(axis=2)], axis=2)
        errors_of[n] = np.sqrt(((moments - exact) ** 2).mean(axis=1)).max(axis=1)
    slope, interval = exponent({n: rounds.tolist() for n, rounds in errors_of.items()})
    paths = float(np.mean([n * errors_of[n] ** 2 for n in SIZES])) / ERROR**2

    took = record.compare(
        lambda: by_chain(setting, enough),
        {
            "simulator": lambda: by_simulator(setting, PATHS),
            "numpy": lambda: by_numpy(setting, PATHS),
            **{f"{points}": lambda points=points: by_chain(setting, points) for points in POINTS},
        },
    )
    for points in POINTS:
        record.row(
            TABLE,
            {
                "setting": str(setting),
                "by": f"chain, {points} points",
                "s": took.median(f"{points}"),
                "error of the mean": errors[points][0],
                "error of the sd": errors[points][1],
            },
            note=f"Final accuracy of one prompt; errors against a chain on {EXACT:,} points, which for chains is convergence of their"
            f" grid. What they converge to is held to the mean and sd of all paths drawn, in standard errors. Monte Carlo: seconds of {PATHS:,}"
            f" paths times the paths that bring its error to {ERROR:g}; the exponent of its error in the paths, fitted to"
            f" samples of {SIZES[0]:,} to {SIZES[-1]:,} paths by `fits`, should be -0.5.",
        )
    for by, what in (("simulator", "our simulator"), ("numpy", "NumPy's multinomial")):
        record.row(
            TABLE,
            {
                "setting": str(setting),
                "by": f"Monte Carlo, {what}",
                "s": took.median(by) / PATHS * paths,
                "error of the mean": ERROR,
                "error of the sd": ERROR,
                "paths": round(paths),
                "exponent of the error": f"{slope:.2f} {in_words(interval)}",
                f"over the chain at {ERROR:g}": took.ratio(by) / PATHS * paths,
            },
        )
    record.row(
        TABLE,
        {
            "setting": str(setting),
            "by": "all paths drawn",
            "error of the mean": abs(apart[0]),
            "error of the sd": abs(apart[1]),
            "paths": len(drawn),
            "mean, standard errors": apart_se[0],
            "sd, standard errors": apart_se[1],
        },
    )
    record.need(
        f"chain from the paths drawn, mean and sd: standard errors, {setting}",
        apart_se.max(),
        at_most=4.0,
    )
    assert interval is not None
    record.need(
        f"Monte Carlo's error falls as a square root: exponent, {setting}",
        slope,
        at_least=-0.6,
        at_most=-0.4,
    )
    times = took.ratio("simulator") / PATHS * paths
    record.need(f"chain: times our simulator at error {ERROR:g}, {setting}", times, at_least=10.0)


def by_scipy(setting: Setting, fnr: float, points: int) -> FloatArray:
    """(mean, sd) by a scipy sparse matrix of the same law and the same interpolation."""
    grid = np.linspace(-12.0, 12.0, points)
    channel = theory.VerifierChannel(setting.fpr, fnr)
    a = special.expit(grid)
    values, chances = step_law(a, channel, setting.group_size)
    moves = setting.learning_rate * values / (grid[1] - grid[0])
    place = np.clip(np.arange(points)[:, None] + moves, 0, points - 1)
    near = np.clip(np.rint(place), 1, points - 2).astype(np.int64)
    f = place - near
    weights = np.stack([(f * f - f) / 2, 1 - f * f, (f * f + f) / 2], axis=-1)
    columns = near[..., None] + np.arange(-1, 2)
    rows = np.broadcast_to(np.arange(points)[:, None, None], columns.shape)
    mass = weights * chances[..., None]
    mass[[0, -1]] = 0.0
    entries = (mass.ravel(), (columns.ravel(), rows.ravel()))
    forward = csr_array(entries, shape=(points, points))
    p = np.zeros(points)
    p[np.argmin(np.abs(a - setting.start))] = 1.0
    for _ in range(setting.steps):
        p = forward @ p
    mean = p @ a
    return np.array([mean, np.sqrt(p @ a**2 - mean**2)])


@pytest.mark.parametrize("points", [241, 961])
def test_a_grid_of_verifiers(record: Record, points: int) -> None:
    setting, cells, some = SETTINGS[0], 21, 3
    rates = np.linspace(0.0, 0.45, cells)
    chain = training_chain(
        rates[:, None],
        rates,
        setting.group_size,
        learning_rate=setting.learning_rate,
        points=points,
    )

    def ours() -> None:
        evolve(chain, setting.start, setting.steps)

    took = record.compare(
        ours,
        {
            "one thread": on_one_thread(ours),
            "scipy": lambda: [by_scipy(setting, fnr, points) for fnr in rates[:some]],
        },
    )
    scale = cells**2 / some
    ratio = took.ratio("scipy") * scale
    record.row(
        GRIDS,
        {
            "verifiers": cells**2,
            "points": points,
            "ours, s": took.median(),
            "ours on one thread, s": took.median("one thread"),
            "scipy.sparse one by one, s": took.median("scipy") * scale,
            "scipy over ours": ratio,
            "over ours on one thread": took.ratio("scipy", "one thread") * scale,
        },
        note=f"{setting}, over (fpr, fnr); scipy's time is that of {some} verifiers, scaled.",
    )
    record.need(f"chains of a grid, {points} points: times scipy.sparse", ratio, at_least=20.0)
