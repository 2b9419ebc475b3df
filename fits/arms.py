"""One condition of a run table with its fitted curve, and what two of them differ by over seeds.

Law. Arms are matched: runs of one seed see the same prompts, so a difference is taken within seeds and its
interval is Student's t over seeds; arms that share no seed are independent samples (Welch).
Fails first when seeds do not match arms (another prompt order): pairing then costs power, not truth.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.fit import CurveFit, curve_of, fit_curve, loss_for
from fits.inference import Interval, student_interval
from fits.laws import Law
from fits.losses import Loss

__all__ = [
    "Arm",
    "Difference",
    "by_budget",
    "difference",
    "fit_arm",
    "floor_between",
    "level_at",
    "usable",
]


@dataclass(frozen=True)
class Arm:
    """One condition with its fit, which may be unusable.

    rows: of the run table, with `_unit`, what is replicated (a seed, or a run). axis: the compute column.
    """

    label: str
    rows: pd.DataFrame
    fit: CurveFit
    loss: Loss
    axis: str

    def rate(self, name: str) -> float | None:
        """The arm's fpr or fnr; None where the table does not say."""
        if name not in self.rows.columns:
            return None
        value = float(self.rows[name].iloc[0])
        return value if np.isfinite(value) else None


def fit_arm(label: str, rows: pd.DataFrame, x: str, law: Law, loss: str, *, single: bool) -> Arm:
    """Fit `law` to one condition's rows; single: all rows are one unit, whatever they are called."""
    unit = np.full(len(rows), "only") if single else rows["_unit"].to_numpy()
    x_N, y_N, n_eval = curve_of(rows, x)
    chosen = loss_for(loss, x_N, y_N, n_eval, law=law)
    fit = fit_curve(x_N, y_N, law=law, run=unit, n_eval=n_eval, loss=chosen, forecast=False)
    return Arm(label, rows.assign(_unit=unit), fit, chosen, x)


def usable(fit: CurveFit) -> bool:
    """Whether the fitted curve describes the data where they are."""
    return fit.status in ("converged", "at bound") and fit.n > len(fit.law.parameters)


def level_at(arm: Arm, x: str, at: float) -> dict[str, float]:
    """Accuracy of every unit at compute `at`: the fit's pseudo-values, or the evaluations themselves."""
    if usable(arm.fit):
        return dict(zip(arm.fit.runs, arm.fit.pseudo_predict(at).tolist(), strict=True))
    levels: dict[str, float] = {}
    for unit, rows in arm.rows.groupby("_unit"):
        mean = rows.groupby(x)["accuracy"].mean()
        levels[str(unit)] = float(
            np.interp(at, mean.index.to_numpy(np.float64), mean.to_numpy(np.float64))
        )
    return levels


def by_budget(arm: Arm, x: str) -> dict[float, dict[str, float]]:
    """Accuracy of every unit at every x, ascending: {x: {unit: accuracy}}."""
    at: dict[float, dict[str, float]] = {}
    means = arm.rows.groupby([x, "_unit"])["accuracy"].mean()
    for (budget, unit), value in zip(means.index.tolist(), means.tolist(), strict=True):
        at.setdefault(float(budget), {})[str(unit)] = float(value)
    return at


@dataclass(frozen=True)
class Difference:
    """A difference over replicates: estimate, 95 % interval, spread of one difference, their number."""

    estimate: float
    ci: Interval | None
    spread: float
    count: int


def floor_between(clean: CurveFit, noisy: CurveFit, *, paired: bool = True) -> Difference:
    """The difference of two curves' asymptotes, clean minus noisy, over their runs.

    paired: runs of the same name are one seed; else the two sets of runs are independent.
    """
    first, second = (
        dict(zip(fit.runs, fit.pseudo("asymptote").tolist(), strict=True)) for fit in (clean, noisy)
    )
    return difference(first, second, paired=paired)


def difference(
    first: Mapping[str, float], second: Mapping[str, float], *, paired: bool
) -> Difference:
    """first - second, each a value per replicate.

    Paired by unit where units are shared, else Welch's interval for independent runs.
    """
    shared = [unit for unit in first if unit in second]
    if paired and shared:
        values = np.array([first[unit] - second[unit] for unit in shared])
        mean, ci = student_interval(values)
        spread = float(values.std(ddof=1)) if len(values) > 1 else float("nan")
        return Difference(mean, ci, spread, len(values))
    from scipy.special import stdtrit

    a, b = np.array(list(first.values())), np.array(list(second.values()))
    mean = float(a.mean() - b.mean())
    fewer = min(len(a), len(b))
    if fewer < 2:
        return Difference(mean, None, float("nan"), fewer)
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    if va + vb == 0.0:
        return Difference(mean, (mean, mean), 0.0, fewer)
    freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
    half = float(stdtrit(freedom, 0.975)) * (va + vb) ** 0.5
    return Difference(mean, (mean - half, mean + half), ((va + vb) * fewer) ** 0.5, fewer)
