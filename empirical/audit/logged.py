"""Audit a verifier from training logs alone: the reward that was paid against the accuracy that was measured.

Law. Reward = fpr + J accuracy, of the rollouts between two evaluations; accuracy there is the mean of the
curve through the evaluations. Both have errors (evaluation samples, rollouts), so the line is York's, with
each point's two standard deviations, and intervals are widened by what the points scatter beyond them
(prompts shared by a group, prompts that differ between training and evaluation). Its ends are fpr, at accuracy
0, and 1 - fnr, at 1. A bend is evidence that the errors move with training.
Fails first where training and evaluation prompts differ in difficulty: a shift of accuracy by s reads as
errors of that size; and where the rates move in proportion to accuracy, which is a line again.
Source: York et al. 2004, "Unified equations for the slope, intercept, and standard errors of the best line".
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from scipy.interpolate import PchipInterpolator

from empirical.audit.clusters import Interval
from empirical.audit.verdicts import phi
from fits.plain import counted
from fits.table import need_columns

FloatArray = NDArray[np.float64]

__all__ = ["LoggedAudit", "audit_runs"]

LEAST: Final = 5  # points of a line
BEND: Final = 0.01  # p below which errors are said to move
DRAWS: Final = 4000
GROUP: Final = ("arm", "model", "estimator", "group_size", "noise", "fpr", "fnr")


@dataclass(frozen=True)
class LoggedAudit:
    """What the logs of one kind of run say; 95 % intervals; None where `reason` says why.

    n: windows between evaluations; runs: that they come from. pass_rate: mean accuracy of the windows, at
    which phi2 is. scatter: variance of the points about the line over what sampling explains. p_bend: of a
    straight line; errors_move: whether it is below .01.
    """

    group: str
    fpr: float | None
    fpr_ci: Interval | None
    fnr: float | None
    fnr_ci: Interval | None
    youden: float | None
    youden_ci: Interval | None
    phi2: float | None
    phi2_ci: Interval | None
    effective_rollouts: float | None
    effective_rollouts_ci: Interval | None
    group_size: int
    pass_rate: float
    n: int
    runs: int
    scatter: float | None
    p_bend: float | None
    errors_move: bool
    reason: str
    warnings: tuple[str, ...]


def audit_runs(
    frame: pd.DataFrame,
    *,
    group: Sequence[str] | None = None,
    group_size: int | None = None,
    source: str = "the table",
) -> tuple[LoggedAudit, ...]:
    """Audit the verifier of each kind of run: rows that share `group` (default: the columns of `GROUP`).

    frame: a run table with step, observed_reward and rollouts, and n_eval where known (else 1,000 is taken).
    group_size: where the table does not say. Raises fits.InputError naming a column that is missing.
    """
    need_columns(frame, "step", "observed_reward", "rollouts", purpose="--runs", source=source)
    names = [name for name in (group or GROUP) if name in frame.columns]
    if group:
        need_columns(frame, *group, purpose="--group", source=source)
    found: list[LoggedAudit] = []
    for key, rows in frame.groupby(names, sort=False, dropna=False) if names else [((), frame)]:
        keys: tuple[Any, ...] = key if isinstance(key, tuple) else (key,)
        spoken = ", ".join(f"{name}={value}" for name, value in zip(names, keys, strict=True))
        size = int(rows["group_size"].iloc[0]) if "group_size" in rows.columns else group_size or 8
        found.append(_one(rows, spoken or "all runs", size))
    return tuple(found)


@dataclass(frozen=True)
class _Points:
    """Windows: accuracy and reward, and their sampling standard deviations, [windows]."""

    accuracy: FloatArray
    accuracy_sd: FloatArray
    reward: FloatArray
    reward_sd: FloatArray


def _points(rows: pd.DataFrame) -> _Points:
    found: list[tuple[float, float, float, float]] = []
    for _, run in rows.groupby("run_id"):
        run = run.sort_values("step")
        run = run[run["accuracy"].notna()]
        step, accuracy, rollouts, reward = (
            run[name].to_numpy(np.float64)
            for name in ("step", "accuracy", "rollouts", "observed_reward")
        )
        if len(step) < 2:
            continue
        samples = (
            run["n_eval"].to_numpy(np.float64)
            if "n_eval" in run.columns and run["n_eval"].notna().all()
            else np.full(len(step), 1000.0)
        )
        area = PchipInterpolator(step, accuracy).antiderivative()
        noise = (accuracy * (1.0 - accuracy) + 1.0 / samples) / samples
        for k in range(1, len(step)):
            count = rollouts[k] - rollouts[k - 1]
            if not math.isfinite(reward[k]) or count <= 0.0:
                continue
            mean = float(area(step[k]) - area(step[k - 1])) / (step[k] - step[k - 1])
            spread = max(reward[k] * (1.0 - reward[k]), 1.0 / count)
            found.append(
                (
                    mean,
                    math.sqrt(noise[k] + noise[k - 1]) / 2.0,
                    reward[k],
                    math.sqrt(spread / count),
                )
            )
    return _Points(*np.array(found, dtype=np.float64).reshape(len(found), 4).T)


def _one(rows: pd.DataFrame, spoken: str, size: int) -> LoggedAudit:
    points = _points(rows)
    n, runs = len(points.accuracy), int(rows["run_id"].nunique())
    mean = float(points.accuracy.mean()) if n else float(rows["accuracy"].mean())

    blank = LoggedAudit(
        group=spoken,
        fpr=None,
        fpr_ci=None,
        fnr=None,
        fnr_ci=None,
        youden=None,
        youden_ci=None,
        phi2=None,
        phi2_ci=None,
        effective_rollouts=None,
        effective_rollouts_ci=None,
        group_size=size,
        pass_rate=mean,
        n=n,
        runs=runs,
        scatter=None,
        p_bend=None,
        errors_move=False,
        reason="",
        warnings=(),
    )
    if n < LEAST:
        why = f"unidentified: {counted(n, 'window')} between evaluations, a line needs {LEAST}"
        return replace(blank, reason=why)
    low, high = float(points.accuracy.min()), float(points.accuracy.max())
    moved_from = f"accuracy, which moved from {low:.3f} to {high:.3f}"
    observed = float(points.accuracy.var(ddof=1))
    if observed < 4.0 * float(np.mean(points.accuracy_sd**2)):
        # A line through one point: a quarter of the spread or more is the noise of evaluating.
        return replace(blank, reason=f"unidentified by {moved_from}: that is evaluation noise")
    line = _york(points)
    degrees = n - 2
    t = float(stats.t.ppf(0.975, degrees))
    scatter = line.chi2 / degrees
    widen = max(scatter, 1.0)
    half = [t * math.sqrt(widen * variance) for variance in (line.at_0, line.at_1, line.of_slope)]
    j_ci = (max(line.slope - half[2], -1.0), min(line.slope + half[2], 1.0))
    p_bend = _bend(points, line, n)
    moved = p_bend is not None and p_bend < BEND
    warnings = [
        f"training and evaluation prompts are taken to be equally hard: a difference of .01 in accuracy"
        f" reads as {abs(line.slope):.2f} x .01 in both rates"
    ]
    if moved:
        warnings.append("reward bends against accuracy: the error rates move with training")
    known = replace(
        blank,
        youden=min(max(line.slope, -1.0), 1.0),
        youden_ci=j_ci,
        scatter=scatter,
        p_bend=p_bend,
        errors_move=moved,
        warnings=tuple(warnings),
    )
    if j_ci[0] <= 0.0 <= j_ci[1]:
        return replace(
            known,
            reason=f"unidentified: reward does not follow {moved_from}; label rollouts of these runs",
        )
    x, d = line.intercept, 1.0 - line.intercept - line.slope
    rng = np.random.default_rng(0)
    covariance = widen * np.array([[line.at_0, line.both], [line.both, line.of_slope]])
    drawn = rng.multivariate_normal([line.intercept, line.slope], covariance, DRAWS)
    squares = np.array(
        [
            phi(min(max(one, 0.0), 1.0), min(max(1.0 - one - slope, 0.0), 1.0), mean) ** 2
            for one, slope in drawn
        ]
    )
    x, d = min(max(x, 0.0), 1.0), min(max(d, 0.0), 1.0)
    phi2 = phi(x, d, mean) ** 2
    low, high = (float(q) for q in np.quantile(squares, (0.025, 0.975)))
    low, high = min(low, phi2), max(high, phi2)
    return replace(
        known,
        fpr=x,
        fpr_ci=_clipped(line.intercept, half[0]),
        fnr=d,
        fnr_ci=_clipped(1.0 - line.intercept - line.slope, half[1]),
        phi2=phi2,
        phi2_ci=(low, high),
        effective_rollouts=1.0 + phi2 * (size - 1),
        effective_rollouts_ci=(1.0 + low * (size - 1), 1.0 + high * (size - 1)),
    )


def _clipped(value: float, half: float) -> Interval:
    return min(max(value - half, 0.0), 1.0), min(max(value + half, 0.0), 1.0)


@dataclass(frozen=True)
class _Line:
    """intercept, slope; at_0, at_1: variances of the line's ends; of_slope; both: covariance of the two.

    weights: of the points, by both errors; fitted: their accuracies adjusted onto the line.
    """

    intercept: float
    slope: float
    at_0: float
    at_1: float
    of_slope: float
    both: float
    chi2: float
    weights: FloatArray
    fitted: FloatArray


def _york(points: _Points) -> _Line:
    x, y = points.accuracy, points.reward
    vx, vy = points.accuracy_sd**2, points.reward_sd**2
    slope = float(np.polyfit(x, y, 1)[0])
    for _ in range(100):
        weights = 1.0 / (vy + slope**2 * vx)
        u = x - np.average(x, weights=weights)
        v = y - np.average(y, weights=weights)
        beta = weights * (u * vy + slope * v * vx)
        below = float((weights * beta * u).sum())
        fresh = float((weights * beta * v).sum()) / below if below != 0.0 else slope
        done = abs(fresh - slope) < 1e-12
        slope = fresh
        if done:
            break
    weights = 1.0 / (vy + slope**2 * vx)
    centre = float(np.average(x, weights=weights))
    intercept = float(np.average(y, weights=weights)) - slope * centre
    fitted = centre + weights * (
        (x - centre) * vy + slope * (y - float(np.average(y, weights=weights))) * vx
    )
    middle = float(np.average(fitted, weights=weights))
    of_slope = 1.0 / float((weights * (fitted - middle) ** 2).sum())
    at_middle = 1.0 / float(weights.sum())
    residual = y - intercept - slope * x
    return _Line(
        intercept=intercept,
        slope=slope,
        at_0=at_middle + middle**2 * of_slope,
        at_1=at_middle + (1.0 - middle) ** 2 * of_slope,
        of_slope=of_slope,
        both=-middle * of_slope,
        chi2=float((weights * residual**2).sum()),
        weights=weights,
        fitted=fitted,
    )


def _bend(points: _Points, line: _Line, n: int) -> float | None:
    """P of a straight line against a cubic, by F; None with too few points for one."""
    if n < LEAST + 1:
        return None
    centred = (line.fitted - line.fitted.mean()) / line.fitted.std()
    root = np.sqrt(line.weights)

    def squares(degree: int) -> float:
        design = np.vander(centred, degree + 1) * root[:, None]
        coefficients, *_ = np.linalg.lstsq(design, points.reward * root, rcond=None)
        return float(((points.reward * root - design @ coefficients) ** 2).sum())

    bent = squares(3)
    widen = max(bent / (n - 4), 1.0)
    return float(stats.f.sf((squares(1) - bent) / 2.0 / widen, 2, n - 4))
