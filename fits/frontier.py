"""The best rollouts a prompt at each budget, for the clean and every noisy arm, and the gap along that frontier.

Law. At one budget of compute a larger group takes fewer steps. Each arm is read at every group size it was trained at,
between its own evaluations (a line within each seed) and never beyond them; its best size has the highest mean over
seeds. The gap is that of the best against the best, paired within seeds, its interval Student's t. That the best
differ is shown by what the noisy arm gains from its own best over the clean arm's, paired likewise.
Fails first where sizes are nearly as good as each other: the best of several is then chosen by noise, in both arms
alike, and the gain's interval says so.
Source: arXiv 2603.12151 (optimal rollouts a prompt rise with the budget and saturate).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from fits.arms import difference
from fits.errors import InputError
from fits.fit import group_rows
from fits.inference import Interval, least_gap_variance
from fits.laws import FloatArray
from fits.table import SETTING, need_columns, varying

__all__ = ["FrontierArm", "FrontierPoint", "frontier_of"]

SIZE: Final = "group_size"


@dataclass(frozen=True)
class FrontierPoint:
    """Both arms at their best rollouts a prompt for one budget x.

    gap: accuracy lost, clean at clean_group_size minus noisy at group_size. gain: accuracy of the noisy arm at its own
    best size minus that at the clean arm's, 0 where they agree, None where it was not trained there as far. Intervals:
    95 %, t over seeds, None with one seed, or where the two are one.
    """

    x: float
    clean_group_size: int
    group_size: int
    gap: float
    gap_ci: Interval | None
    differs: bool
    gain: float | None
    gain_ci: Interval | None
    seeds: int


@dataclass(frozen=True)
class FrontierArm:
    """One noisy arm along the frontier. differs: where the best sizes differ at the largest budget of both."""

    arm: str
    differs: bool
    points: tuple[FrontierPoint, ...]


@dataclass(frozen=True)
class _Runs:
    """The runs of one arm at one group size: budgets and accuracies by seed, and the fewest samples behind one."""

    x_T: Mapping[str, FloatArray]
    y_T: Mapping[str, FloatArray]
    samples: float | None

    def at(self, x: float) -> dict[str, float]:
        """Accuracy at budget x of every seed that was evaluated before and after."""
        return {
            seed: float(np.interp(x, x_T, self.y_T[seed]))
            for seed, x_T in self.x_T.items()
            if x_T[0] <= x <= x_T[-1]
        }


def frontier_of(
    clean: pd.DataFrame, noisy: pd.DataFrame, x: str, *, source: str
) -> tuple[FrontierArm, ...]:
    """The frontier of every noisy arm; rows with `_unit`, what is paired.

    Budgets are those above 0 at which the clean arm was evaluated, at any size, and that two sizes of it reached.
    Raises InputError where the clean runs have one group size only.
    """
    need_columns(noisy, SIZE, purpose="--frontier", source=source)
    if not varying(clean, [SIZE]):
        raise InputError(f"{source}: --frontier needs clean runs of two values of {SIZE} or more")
    others = [name for name in varying(pd.concat([clean, noisy]), SETTING) if name != SIZE]
    arms: list[FrontierArm] = []
    for label, rows in group_rows(noisy.drop(columns=SIZE), None, apart=others, source=source):
        rows = noisy.loc[rows.index]
        alike = np.ones(len(clean), dtype=np.bool_)
        for name in others:
            alike &= (clean[name].astype(str) == str(rows[name].iloc[0])).to_numpy()
        ours, theirs = _by_size(clean[alike], x), _by_size(rows, x)
        budgets = np.unique(clean.loc[alike, x].to_numpy(np.float64))
        points = [_point(at, ours, theirs) for at in budgets[budgets > 0.0].tolist()]
        found = tuple(point for point in points if point is not None)
        if found:
            arms.append(FrontierArm(label, found[-1].differs, found))
    return tuple(arms)


def _by_size(rows: pd.DataFrame, x: str) -> dict[int, _Runs]:
    found: dict[int, _Runs] = {}
    for size in np.unique(rows[SIZE].to_numpy(np.int64)).tolist():
        of_size = rows[rows[SIZE] == size]
        units = of_size["_unit"].to_numpy().astype(str)
        x_N, y_N = (of_size[name].to_numpy(np.float64) for name in (x, "accuracy"))
        told = "n_eval" in of_size.columns and bool(of_size["n_eval"].notna().all())
        runs: dict[str, tuple[FloatArray, FloatArray]] = {}
        for unit in np.unique(units).tolist():
            at_T, place_N = np.unique(x_N[units == unit], return_inverse=True)
            mean_T = np.bincount(place_N, weights=y_N[units == unit]) / np.bincount(place_N)
            runs[unit] = at_T, mean_T.astype(np.float64)
        found[size] = _Runs(
            {unit: run[0] for unit, run in runs.items()},
            {unit: run[1] for unit, run in runs.items()},
            float(of_size["n_eval"].min()) if told else None,
        )
    return found


def _best(arm: Mapping[int, _Runs], x: float) -> tuple[int, int] | None:
    """The group size of the highest mean at x, and how many sizes reached it."""
    means = {
        size: float(np.mean(list(at.values()))) for size, runs in arm.items() if (at := runs.at(x))
    }
    return (max(means, key=lambda size: means[size]), len(means)) if means else None


def _point(
    x: float, ours: Mapping[int, _Runs], theirs: Mapping[int, _Runs]
) -> FrontierPoint | None:
    clean, noisy = _best(ours, x), _best(theirs, x)
    if clean is None or noisy is None or clean[1] < 2 or noisy[1] < 2:
        return None
    first, second = ours[clean[0]], theirs[noisy[0]]
    gap, gap_ci, seeds = _paired(first, second, x)
    differs = clean[0] != noisy[0]
    gain: float | None = None if differs else 0.0
    gain_ci: Interval | None = None
    if differs and clean[0] in theirs and theirs[clean[0]].at(x):
        gain, gain_ci, _ = _paired(second, theirs[clean[0]], x)
    return FrontierPoint(x, clean[0], noisy[0], gap, gap_ci, differs, gain, gain_ci, seeds)


def _paired(first: _Runs, second: _Runs, x: float) -> tuple[float, Interval | None, int]:
    ours, theirs = first.at(x), second.at(x)
    shared = [seed for seed in ours if seed in theirs]
    least = 0.0
    if first.samples is not None and second.samples is not None and shared:
        gaps = np.array([ours[seed] - theirs[seed] for seed in shared])
        fewer = np.full(len(shared), min(first.samples, second.samples))
        least = float(least_gap_variance(gaps, fewer).mean())
    between = difference(ours, theirs, paired=True, least=least)
    return between.estimate, between.ci, between.count
