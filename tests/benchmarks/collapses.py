"""How often noise about a rising curve is called a collapse, and how often a collapse is found.

World: a curve rises by .6, by .15 or not at all, as a sigmoid, exponentially, log-linearly or to a plateau within a
tenth of the budget; every evaluation has its own normal noise. Alone, or as one of five seeds; n_eval unknown, 2,048 or
20,000. A cell is one length, noise and course; a false alarm is any turn. A cell whose share looks doubtful is counted
again, on fresh curves and more of them, so that the worst cell is not the unluckiest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from fits.collapse import find_turn, may_have_turned

FloatArray = NDArray[np.float64]

__all__ = ["FALLS", "LENGTHS", "MONOTONE", "NOISES", "Alarms", "alarms", "counted", "found"]

LENGTHS: Final = (6, 7, 8, 9, 10, 12, 15, 20, 30, 40, 60)
NOISES: Final = (0.005, 0.01, 0.02, 0.03)
SEEDS: Final = 5
DOUBTFUL: Final = 0.004  # share of false alarms from which a cell is counted again
AGAIN: Final = 8  # times the curves


def _exponential(pace: float) -> Callable[[FloatArray], FloatArray]:
    return lambda x: 1.0 - 0.5 ** (pace * x)


COURSES: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = {
    "sigmoid": lambda x: (4.5 * x) ** 1.5 / (1.0 + (4.5 * x) ** 1.5),
    "exponential": _exponential(4.5),
    "log-linear": lambda x: np.log1p(19.0 * x) / np.log(20.0),
    "plateau": _exponential(60.0),
}


def monotone() -> dict[str, Callable[[FloatArray], FloatArray]]:
    """Courses by name: every form at both rises, and no rise."""

    def raised(
        form: Callable[[FloatArray], FloatArray], rise: float
    ) -> Callable[[FloatArray], FloatArray]:
        return lambda x: 0.2 + rise * form(x)

    made = {
        f"{name}, rise {rise:g}": raised(form, rise)
        for name, form in COURSES.items()
        for rise in (0.6, 0.15)
    }
    return {**made, "level": lambda x: np.full_like(x, 0.3)}


MONOTONE: Final = monotone()


def alarms(
    course: str,
    T: int,
    noise: float,
    replications: int,
    *,
    seeds: int,
    n_eval: int | None,
    fresh: bool = False,
) -> float:
    """Share of the replications of a monotone course in which a turn is found; fresh: of other replications."""
    rng = np.random.default_rng(
        [15, T, round(1e4 * noise), seeds, n_eval or 0, list(MONOTONE).index(course), *[1] * fresh]
    )
    x_T = np.linspace(0.0, 1.0, T)
    called = 0
    for start in range(0, replications, 1000):
        count = min(1000, replications - start)
        y_RST = MONOTONE[course](x_T) + rng.normal(0.0, noise, (count, seeds, T))
        y_RST = np.clip(y_RST, 0.0, 1.0)
        asked_R = may_have_turned(y_RST.reshape(-1, T), n_eval).reshape(count, seeds).any(axis=1)
        asked_R |= may_have_turned(y_RST.mean(axis=1), n_eval)
        called += sum(turned(x_T, y_ST, n_eval) for y_ST in y_RST[asked_R])
    return called / replications


@dataclass(frozen=True)
class Alarms:
    """False alarms over all courses and noises at one length.

    The mean cell, the worst, and how many curves that had.
    """

    mean: float
    worst: float
    course: str
    noise: float
    curves: int


def counted(T: int, replications: int, *, seeds: int, n_eval: int | None) -> Alarms:
    """Count every cell of one length, the doubtful ones again."""
    first: list[float] = []
    cells: list[tuple[float, str, float, int]] = []
    for course in MONOTONE:
        for noise in NOISES:
            curves = replications
            share = alarms(course, T, noise, curves, seeds=seeds, n_eval=n_eval)
            first.append(share)
            if share >= DOUBTFUL:
                curves = AGAIN * replications
                share = alarms(course, T, noise, curves, seeds=seeds, n_eval=n_eval, fresh=True)
            cells.append((share, course, noise, curves))
    worst, course, noise, curves = max(cells)
    return Alarms(float(np.mean(first)), worst, course, noise, curves)


def turned(x_T: FloatArray, y_ST: FloatArray, n_eval: int | None) -> bool:
    """Whether `find_turn` finds one in these runs."""
    S, T = y_ST.shape
    run_N = np.repeat(np.arange(S), T)
    n_N = None if n_eval is None else np.full(S * T, float(n_eval))
    return find_turn(np.tile(x_T, S), y_ST.ravel(), run=run_N, n_eval=n_N) is not None


def _learned(x_T: FloatArray) -> FloatArray:
    return 0.1 + 0.6 * _exponential(8.0)(x_T)


def _lost_at_once(x_T: FloatArray) -> FloatArray:
    return np.concatenate([[0.156, 0.408], np.zeros(len(x_T) - 2)])


FALLS: Final[Mapping[str, Callable[[FloatArray], FloatArray]]] = {
    ".156, .408, 0, 0, ...": _lost_at_once,
    "early": lambda x: np.where(x > 0.3, 0.02, _learned(x)),
    "late, the last two evaluations": lambda x: np.where(x >= x[-2], 0.1, _learned(x)),
    "gradual from the half on, to .25": lambda x: _learned(x) - 0.9 * np.maximum(x - 0.5, 0.0),
    "two fifths lost, then regained": lambda x: np.where((x > 0.3) & (x < 0.7), 0.05, _learned(x)),
}


def found(fall: str, T: int, noise: float, replications: int, *, of_five: bool) -> float:
    """Share of the replications in which a collapse is found; of_five: in one seed of five, four of which rise."""
    rng = np.random.default_rng([16, T, round(1e4 * noise), of_five, list(FALLS).index(fall)])
    x_T = np.linspace(0.0, 1.0, T)
    seeds = SEEDS if of_five else 1
    means_ST = np.tile(_learned(x_T), (seeds, 1))
    means_ST[0] = FALLS[fall](x_T)
    y_RST = np.clip(means_ST + rng.normal(0.0, noise, (replications, seeds, T)), 0.0, 1.0)
    return sum(turned(x_T, y_ST, None) for y_ST in y_RST) / replications
