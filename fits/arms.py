"""One condition of a run table with its fitted curves, and what two of them differ by over seeds.

Law. Arms are matched: runs of one seed see the same prompts, so a difference is taken within seeds and its
interval is Student's t over seeds; arms that share no seed are independent samples (Welch). Where both arms were
evaluated the level is the evaluation, not a law's; no spread over seeds is smaller than evaluation noise leaves it.
Fails first when seeds do not match arms (another prompt order): pairing then costs power, not truth.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fits.fit import CurveFit, allow_for_laws, curve_of, fit_laws, least_aic
from fits.inference import (
    Interval,
    evaluation_variance,
    least_gap_variance,
    spread_of,
    student_interval,
    with_width,
)
from fits.laws import FloatArray, Law
from fits.losses import Loss

__all__ = [
    "Arm",
    "Difference",
    "Matched",
    "common_end",
    "difference",
    "difference_at",
    "fit_arms",
    "floor_between",
    "inside",
    "level_at",
    "matched",
    "usable",
]


@dataclass(frozen=True)
class Grid:
    """A column of a run table by budget x_T (ascending) and unit: value_TU, NaN where a unit has no row."""

    x_T: FloatArray
    units: tuple[str, ...]
    value_TU: FloatArray

    def at(self, x: float) -> dict[str, float]:
        """The values at one budget, of the units that have one; {} where no row is there."""
        place = np.flatnonzero(self.x_T == x)
        if not place.size:
            return {}
        row_U = self.value_TU[place[0]].tolist()
        return {u: value for u, value in zip(self.units, row_U, strict=True) if np.isfinite(value)}

    def of(self, x_T: FloatArray, units: Sequence[str]) -> FloatArray:
        """The values at these budgets of these units, all of which it has, (T, U)."""
        rows = np.searchsorted(self.x_T, x_T)
        return self.value_TU[rows][:, [self.units.index(unit) for unit in units]]

    def mean(self) -> FloatArray:
        """The mean over the units that have one, (T,)."""
        return np.nanmean(self.value_TU, axis=1)


def _by_budget(rows: pd.DataFrame, x: str, column: str) -> Grid:
    """Means of a column by budget and unit."""
    budget, row_N = np.unique(rows[x].to_numpy(np.float64), return_inverse=True)
    unit, column_N = np.unique(rows["_unit"].to_numpy().astype(str), return_inverse=True)
    place_N = row_N * len(unit) + column_N
    cells = len(budget) * len(unit)
    count = np.bincount(place_N, minlength=cells).astype(np.float64)
    total = np.bincount(place_N, weights=rows[column].to_numpy(np.float64), minlength=cells)
    mean = np.divide(total, count, out=np.full(cells, np.nan), where=count > 0)
    return Grid(budget, tuple(str(name) for name in unit), mean.reshape(len(budget), len(unit)))


@dataclass(frozen=True)
class Arm:
    """One condition with its fits, which may be unusable.

    rows: of the run table, with `_unit`, what is replicated (a seed, or a run). axis: the compute column. own: what
    `fits.fit_groups` says of it, the law of its own with the doubt about laws. tried: all laws. fit: of these the law
    that all arms have in common, for what compares curves where there are no evaluations. evaluations: accuracy by
    budget and unit. samples: behind them, None where not every row says.
    """

    label: str
    rows: pd.DataFrame
    own: CurveFit
    tried: tuple[CurveFit, ...]
    fit: CurveFit
    loss: Loss
    axis: str
    evaluations: Grid
    samples: Grid | None

    def rate(self, name: str) -> float | None:
        """The arm's fpr or fnr; None where the table does not say."""
        if name not in self.rows.columns:
            return None
        value = float(self.rows[name].iloc[0])
        return value if np.isfinite(value) else None

    @property
    def noise(self) -> str | None:
        """The kind of the arm's errors; None where the table does not say, or says several."""
        kinds = set(self.rows["noise"]) if "noise" in self.rows.columns else set()
        return str(kinds.pop()) if len(kinds) == 1 else None


def fit_arms(
    held: Sequence[tuple[str, pd.DataFrame, bool]], x: str, laws: Sequence[Law], loss: str
) -> list[Arm]:
    """Arms (label, rows, whether all rows are one unit) with every law fitted, and one law common to all.

    The common law has the least total AIC over the arms that can hold all laws with an asymptote: a curve too short
    for one of them has no say between them.
    """
    fitted: list[tuple[str, pd.DataFrame, tuple[CurveFit, ...], Loss]] = []
    for label, rows, single in held:
        unit = np.full(len(rows), "only") if single else rows["_unit"].to_numpy()
        x_N, y_N, n_eval = curve_of(rows, x)
        tried, one_loss = fit_laws(x_N, y_N, run=unit, n_eval=n_eval, laws=laws, loss=loss)
        fitted.append((label, rows.assign(_unit=unit), tried, one_loss))
    names = [law.name for law in laws if law.has_asymptote] or [laws[0].name]
    totals = dict.fromkeys(names, 0.0)
    for *_, tried, _ in fitted:
        scores = {fit.law.name: fit.aic for fit in tried if fit.law.name in totals}
        if all(score is not None for score in scores.values()) and len(scores) == len(totals):
            totals = {name: total + (scores[name] or 0.0) for name, total in totals.items()}
    common = min(totals, key=lambda name: totals[name])
    arms: list[Arm] = []
    for label, rows, tried, one_loss in fitted:
        best = least_aic(tried)
        own = allow_for_laws(best, [fit for fit in tried if fit is not best])
        shared = next((fit for fit in tried if fit.law.name == common), best)
        told = "n_eval" in rows.columns and bool(rows["n_eval"].notna().all())
        samples = _by_budget(rows, x, "n_eval") if told else None
        accuracy = _by_budget(rows, x, "accuracy")
        arms.append(Arm(label, rows, own, tried, shared, one_loss, x, accuracy, samples))
    return arms


def usable(fit: CurveFit) -> bool:
    """Whether the fitted curve describes the data where they are."""
    return fit.status in ("converged", "at bound") and fit.n > len(fit.law.parameters)


def level_at(arm: Arm, at: float) -> tuple[dict[str, float], str]:
    """Accuracy of every unit at compute `at`, and how it is known, "" for evaluations there.

    Else the fit's pseudo-values, else the line between the evaluations on both sides.
    """
    measured = arm.evaluations.at(at)
    if measured:
        return measured, ""
    if usable(arm.fit):
        levels = dict(zip(arm.fit.runs, arm.fit.pseudo_predict(at).tolist(), strict=True))
        return levels, f"{arm.label} by the {arm.fit.law.name} law"
    x_T, level_TU = arm.evaluations.x_T, arm.evaluations.value_TU
    lines: dict[str, float] = {}
    for unit, level_T in zip(arm.evaluations.units, level_TU.T, strict=True):
        seen = np.isfinite(level_T)
        lines[unit] = float(np.interp(at, x_T[seen], level_T[seen]))
    return lines, f"{arm.label} between its evaluations"


@dataclass(frozen=True)
class Difference:
    """A difference over replicates: estimate, 95 % interval, spread of one difference, their number.

    least: the variance that one paired difference was given at least, 0 where evaluation noise is not known.
    """

    estimate: float
    ci: Interval | None
    spread: float
    count: int
    least: float = 0.0


@dataclass(frozen=True)
class Matched:
    """Evaluations that two arms share: budgets x_T, units, accuracies (S, T) of both, samples where known.

    paired: the units of both are the same seeds.
    """

    x_T: FloatArray
    units: tuple[str, ...]
    second_units: tuple[str, ...]
    first_ST: FloatArray
    second_ST: FloatArray
    samples_ST: FloatArray | None
    paired: bool

    @property
    def gap_T(self) -> FloatArray:
        """Mean gap at every budget, (T,)."""
        return self.first_ST.mean(axis=0) - self.second_ST.mean(axis=0)

    def error(self) -> tuple[float, int]:
        """Standard error of one mean gap from the scatter over units, pooled over budgets, and its freedom."""
        T = len(self.x_T)
        if self.paired:
            gap_ST = self.first_ST - self.second_ST
            count = len(gap_ST)
            variance = float(np.square(gap_ST - gap_ST.mean(axis=0)).sum()) / max(
                T * (count - 1), 1
            )
            if self.samples_ST is not None:
                least = float(least_gap_variance(gap_ST, self.samples_ST).mean())
                variance = max(variance, least)
            return (variance / count) ** 0.5, T * (count - 1)
        total, freedom = 0.0, 0
        for level_ST in (self.first_ST, self.second_ST):
            S = len(level_ST)
            squares = float(np.square(level_ST - level_ST.mean(axis=0)).sum())
            total += squares / max(T * (S - 1), 1) / S
            freedom += T * (S - 1)
        return total**0.5, freedom


def matched(first: Arm, second: Arm, *, paired: bool, end: float | None = None) -> Matched | None:
    """What both arms were evaluated at, up to `end`, by all the units that both have there; None where nothing."""
    x_T = np.intersect1d(first.evaluations.x_T, second.evaluations.x_T)
    if end is not None:
        x_T = x_T[x_T <= end]
    both = [u for u in first.evaluations.units if u in second.evaluations.units]
    pair = paired and bool(both)
    names = (both, both) if pair else (first.evaluations.units, second.evaluations.units)
    if not x_T.size:
        return None
    ours_TU, theirs_TU = (
        arm.evaluations.of(x_T, units) for arm, units in zip((first, second), names, strict=True)
    )
    if pair:
        last_U = np.isfinite(ours_TU[-1]) & np.isfinite(theirs_TU[-1])
        ours_TU, theirs_TU = ours_TU[:, last_U], theirs_TU[:, last_U]
        full_T = np.isfinite(ours_TU).all(axis=1) & np.isfinite(theirs_TU).all(axis=1)
        ours_TU, theirs_TU, x_T = ours_TU[full_T], theirs_TU[full_T], x_T[full_T]
        kept = [[u for u, has in zip(both, last_U.tolist(), strict=True) if has]] * 2
    else:
        whole = [np.asarray(np.isfinite(level_TU).all(axis=0)) for level_TU in (ours_TU, theirs_TU)]
        ours_TU, theirs_TU = ours_TU[:, whole[0]], theirs_TU[:, whole[1]]
        kept = [
            [u for u, has in zip(units, full.tolist(), strict=True) if has]
            for units, full in zip(names, whole, strict=True)
        ]
    if not ours_TU.size or not theirs_TU.size:
        return None
    samples_ST = None
    if pair and first.samples is not None and second.samples is not None:
        samples_ST = np.minimum(first.samples.of(x_T, kept[0]), second.samples.of(x_T, kept[1])).T
    return Matched(
        x_T, tuple(kept[0]), tuple(kept[1]), ours_TU.T, theirs_TU.T, samples_ST, paired=pair
    )


def common_end(first: Arm, second: Arm, *, paired: bool) -> float:
    """The largest common budget: the largest that both arms were evaluated at, by as many seeds as any later half.

    Seeds that stopped short of half the way do not hold the others back; those that stopped later do. Where the arms
    share no budget, the least of their largest.
    """
    x_T = np.intersect1d(first.evaluations.x_T, second.evaluations.x_T)
    least = min(float(first.evaluations.x_T[-1]), float(second.evaluations.x_T[-1]))
    both = [u for u in first.evaluations.units if u in second.evaluations.units]
    if paired and both:
        has_TU = np.isfinite(first.evaluations.of(x_T, both) + second.evaluations.of(x_T, both))
        count_T = has_TU.sum(axis=1)
    else:
        count_T = np.minimum(
            *(
                np.isfinite(arm.evaluations.of(x_T, arm.evaluations.units)).sum(axis=1)
                for arm in (first, second)
            )
        )
    x_T, count_T = x_T[count_T > 0], count_T[count_T > 0]
    if not x_T.size:
        return least
    late_T = x_T >= 0.5 * x_T[-1]
    return float(x_T[late_T & (count_T == count_T[late_T].max())][-1])


def difference_at(
    first: Arm, second: Arm, at: float, *, paired: bool
) -> tuple[Difference, dict[str, float], str]:
    """first - second at compute `at`: the difference, per unit where paired, and how it is known ("": measured).

    Evaluation noise is a floor under the spread over seeds wherever n_eval is known.
    """
    levels = [level_at(arm, at) for arm in (first, second)]
    said = "; ".join(how for _, how in levels if how)
    samples = [arm.samples for arm in (first, second)]
    n_eval = [{} if table is None else table.at(at) for table in samples]
    (ours, _), (theirs, _) = levels
    shared = [unit for unit in ours if unit in theirs]
    per_unit = {unit: ours[unit] - theirs[unit] for unit in shared} if paired else {}
    least = 0.0
    if per_unit and all(unit in n for unit in shared for n in n_eval):
        fewer = np.array([min(n[unit] for n in n_eval) for unit in shared])
        least = float(least_gap_variance(np.array(list(per_unit.values())), fewer).mean())
    each = tuple(
        float(evaluation_variance(np.array(list(level.values())), _along(n, level)).mean())
        if level and all(unit in n for unit in level)
        else 0.0
        for (level, _), n in zip(levels, n_eval, strict=True)
    )
    return (
        difference(ours, theirs, paired=paired, least=least, least_each=(each[0], each[1])),
        per_unit,
        said,
    )


def _along(values: Mapping[str, float], order: Mapping[str, float]) -> FloatArray:
    return np.array([values[unit] for unit in order])


def floor_between(clean: CurveFit, noisy: CurveFit, *, paired: bool = True) -> Difference:
    """The difference of two curves' asymptotes, clean minus noisy, over their runs.

    paired: runs of the same name are one seed; else the two sets of runs are independent.
    """
    first, second = (
        dict(zip(fit.runs, fit.pseudo("asymptote").tolist(), strict=True)) for fit in (clean, noisy)
    )
    return difference(first, second, paired=paired)


def difference(
    first: Mapping[str, float],
    second: Mapping[str, float],
    *,
    paired: bool,
    least: float = 0.0,
    least_each: tuple[float, float] = (0.0, 0.0),
) -> Difference:
    """first - second, each a value per replicate, a fraction: the interval stays within [-1, 1].

    Paired by unit where units are shared, else Welch's interval for independent runs. least: variance that one paired
    difference has at least; least_each: that one value of either has.
    """
    shared = [unit for unit in first if unit in second]
    if paired and shared:
        values = np.array([first[unit] - second[unit] for unit in shared])
        mean, ci = student_interval(values, least=least)
        spread = float("nan") if ci is None else spread_of(ci, len(values))
        return Difference(mean, inside(ci), spread, len(values), least)
    from scipy.special import ndtri, stdtrit

    a, b = np.array(list(first.values())), np.array(list(second.values()))
    mean = float(a.mean() - b.mean())
    fewer = min(len(a), len(b))
    if fewer < 2:
        return Difference(mean, None, float("nan"), fewer)
    va, vb = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    known = least_each[0] / len(a) + least_each[1] / len(b)
    if va + vb + known < 1e-24:
        return Difference(mean, None, 0.0, fewer)
    half = float(ndtri(0.975)) * known**0.5
    if va + vb >= 1e-24:
        freedom = (va + vb) ** 2 / (va**2 / (len(a) - 1) + vb**2 / (len(b) - 1))
        half = max(half, float(stdtrit(freedom, 0.975)) * (va + vb) ** 0.5)
    ci = (mean - half, mean + half)
    return Difference(mean, inside(ci), spread_of(ci, fewer), fewer)


def inside(ci: Interval | None) -> Interval | None:
    """An interval of a gap, cut to [-1, 1]; None where it has no width."""
    seen = with_width(ci)
    return None if seen is None else (max(seen[0], -1.0), min(seen[1], 1.0))
