"""Measured effective rollouts: the clean rollouts that reach a noisy arm's accuracy at equal steps.

Law. Between clean runs of several group sizes, accuracy at a step is linear in the logarithm of the rollouts. The
measured effective rollouts m of an arm are those whose clean curve is nearest its own, least squares over the steps
at which both were evaluated and the clean sizes differ. The interval is Student's t over seeds, on delete-one
pseudo-values of log m, a seed left out of all arms at once.
Fails first where rollouts hardly matter (curves of all sizes together, as late in a run): m is then anything. An m
outside the clean sizes is a bound and not a number.
Source: Miller 1974 (jackknife); docs/theory.md#effective-rollouts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.inference import Interval, student_interval
from fits.laws import FloatArray

__all__ = ["MeasuredRollouts", "clean_alike", "measured_rollouts"]

POINTS = 513  # of the grid of log rollouts, on which the nearest curve is looked for


@dataclass(frozen=True)
class MeasuredRollouts:
    """Clean rollouts that reach an arm's accuracy at equal steps.

    value: in [least, most clean group size]; None where `reason` says why. ci: 95 %, over seeds; None likewise.
    steps, seeds: what it rests on.
    """

    value: float | None
    ci: Interval | None
    reason: str
    steps: int
    seeds: int


def measured_rollouts(noisy: pd.DataFrame, clean: pd.DataFrame) -> MeasuredRollouts:
    """The effective rollouts of one arm of one group size, from clean runs of several.

    noisy, clean: rows of a run table with step, accuracy, group_size, and seed (or else run_id) as what replicates.
    """
    sizes = sorted(int(size) for size in clean["group_size"].unique())
    if len(sizes) < 2:
        only = sizes[0] if sizes else "none"
        return MeasuredRollouts(None, None, f"clean runs of one group size only ({only})", 0, 0)
    shared = set(noisy["step"])
    for _, rows in clean.groupby("group_size"):
        shared &= set(rows["step"])
    steps = sorted(step for step in shared if step > 0)
    if not steps:
        return MeasuredRollouts(None, None, "no step past 0 that every arm was evaluated at", 0, 0)
    unit = "seed" if "seed" in noisy.columns and noisy["seed"].notna().all() else "run_id"
    noisy, clean = (frame[frame["step"].isin(steps)] for frame in (noisy, clean))
    at = _nearest(noisy, clean, sizes, steps)
    units = sorted(noisy[unit].unique())
    if not np.log(sizes[0]) < at < np.log(sizes[-1]):
        side = "fewer than" if at <= np.log(sizes[0]) else "more than"
        end = sizes[0] if at <= np.log(sizes[0]) else sizes[-1]
        reason = f"{side} {end}, the clean group sizes' end"
        return MeasuredRollouts(None, None, reason, len(steps), len(units))
    value = float(np.exp(at))
    if len(units) < 2:
        return MeasuredRollouts(value, None, "one seed: no interval", len(steps), len(units))
    count = len(units)
    left_out = [
        _nearest(noisy[noisy[unit] != one], _without(clean, unit, one), sizes, steps)
        for one in units
    ]
    _, ci = student_interval(count * at - (count - 1) * np.array(left_out))
    assert ci is not None
    half = (ci[1] - ci[0]) / 2.0
    low, high = (float(np.exp(at + side * half)) for side in (-1.0, 1.0))
    return MeasuredRollouts(value, (low, high), "", len(steps), count)


def clean_alike(rows: pd.DataFrame, clean: pd.DataFrame, matched: Sequence[str]) -> pd.DataFrame:
    """The clean rows that share `matched` columns with an arm, whatever their group size."""
    alike = np.ones(len(clean), dtype=np.bool_)
    for name in matched:
        if name != "group_size":
            alike &= (clean[name].astype(str) == str(rows[name].iloc[0])).to_numpy()
    return clean[alike]


def _without(clean: pd.DataFrame, unit: str, one: object) -> pd.DataFrame:
    """The clean rows without a replicate, where some of every group size are left."""
    left = clean[clean[unit] != one]
    return left if left["group_size"].nunique() == clean["group_size"].nunique() else clean


def _nearest(
    noisy: pd.DataFrame, clean: pd.DataFrame, sizes: list[int], steps: list[float]
) -> float:
    """log m of the clean curve nearest the noisy one; an end of the sizes where it lies beyond."""
    level = clean.groupby(["group_size", "step"])["accuracy"].mean()
    curves = np.array([[float(level[(size, step)]) for step in steps] for size in sizes])
    own = noisy.groupby("step")["accuracy"].mean()
    target = np.array([float(own[step]) for step in steps])
    at = np.log(np.array(sizes, dtype=np.float64))
    grid = np.linspace(at[0], at[-1], POINTS)
    read: FloatArray = np.stack([np.interp(grid, at, curve) for curve in curves.T], axis=1)
    return float(grid[((read - target) ** 2).sum(axis=1).argmin()])
