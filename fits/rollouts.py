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
    units = sorted(noisy[unit].unique())
    noisy, clean = (frame[frame["step"].isin(steps)] for frame in (noisy, clean))
    own, levels = _tally(noisy, unit, units, steps), _by_size(clean, sizes, unit, units, steps)
    at = _nearest(own, levels, sizes)
    if not np.log(sizes[0]) < at < np.log(sizes[-1]):
        side = "fewer than" if at <= np.log(sizes[0]) else "more than"
        end = sizes[0] if at <= np.log(sizes[0]) else sizes[-1]
        reason = f"{side} {end}, the clean group sizes' end"
        return MeasuredRollouts(None, None, reason, len(steps), len(units))
    value = float(np.exp(at))
    if len(units) < 2:
        return MeasuredRollouts(value, None, "one seed: no interval", len(steps), len(units))
    count = len(units)
    left_out = [_nearest(own, levels, sizes, without=u) for u in range(count)]
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


def _tally(
    rows: pd.DataFrame, unit: str, units: Sequence[object], steps: Sequence[float]
) -> FloatArray:
    """Sums and counts of accuracy, (2, U + 1, T): by replicate, those that are none of `units` last."""
    place = {one: at for at, one in enumerate(units)}
    u_N = np.array([place.get(one, len(units)) for one in rows[unit].tolist()], dtype=np.intp)
    t_N = np.searchsorted(steps, rows["step"].to_numpy(np.float64))
    tally = np.zeros((2, len(units) + 1, len(steps)))
    np.add.at(tally[0], (u_N, t_N), rows["accuracy"].to_numpy(np.float64))
    np.add.at(tally[1], (u_N, t_N), 1.0)
    return tally


def _by_size(
    clean: pd.DataFrame,
    sizes: Sequence[int],
    unit: str,
    units: Sequence[object],
    steps: Sequence[float],
) -> FloatArray:
    """The same of the clean runs by group size, (G, 2, U + 1, T)."""
    of_size = [clean[clean["group_size"] == size] for size in sizes]
    return np.stack([_tally(rows, unit, units, steps) for rows in of_size])


def _mean(tally: FloatArray, without: int | None) -> FloatArray:
    """Mean accuracy at each step, (..., T), without one replicate or with all; NaN where nothing is left."""
    total, count = np.moveaxis(tally, -3, 0)
    kept = [u for u in range(total.shape[-2]) if u != without]
    left = count[..., kept, :].sum(axis=-2)
    return np.where(left > 0.0, total[..., kept, :].sum(axis=-2) / np.maximum(left, 1.0), np.nan)


def _nearest(
    own: FloatArray, levels: FloatArray, sizes: list[int], *, without: int | None = None
) -> float:
    """log m of the clean curve nearest the noisy one; an end of the sizes where it lies beyond.

    A replicate is left out of the clean runs too where some of every group size are left at every step.
    """
    curves = _mean(levels, without)
    if np.isnan(curves).any():
        curves = _mean(levels, None)
    target = _mean(own, without)
    at = np.log(np.array(sizes, dtype=np.float64))
    # Between two sizes the curve is a line in log m, so the nearest point of each stretch is known exactly.
    rise = np.diff(curves, axis=0)
    steep = np.maximum(np.nansum(rise**2, axis=1), np.finfo(np.float64).tiny)
    off = target - curves[:-1]
    share = np.clip(np.nansum(off * rise, axis=1) / steep, 0.0, 1.0)
    best = int(np.nansum((off - share[:, None] * rise) ** 2, axis=1).argmin())
    return float(at[best] + share[best] * (at[best + 1] - at[best]))
