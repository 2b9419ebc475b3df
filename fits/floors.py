"""The floor of a gap, with the doubt about the law in its interval.

Law. The floor is the difference of the arms' asymptotes. Each arm may follow any law that its curve does not rule out,
so every pair of such laws has its say, of which those within PAIRS of the least total AIC take part. A pair's interval
is Student's t over seeds of
    asymptote(clean) - asymptote(noisy) + mean over the last quarter of (measured gap - the pair's gap),
that is, of the measured gap late in training plus what the laws still leave either arm to rise: what a law gets
wrong about the levels reached cancels. A pair is thrown out whose curves leave the measured gap (F test of the mean
gap against the scatter over seeds), or whose floor lies wholly below 0 while the measured gap does not. The
floor's interval is the hull of what is left, widened to the floors that a change of pace alone explains
(`fits.pace`).
Fails first where a part of the prompts is too slow to show within the data: no law, and no pace, knows of them.
Source: Burnham & Anderson 2002, section 2.6, for the support; measured by tests/benchmarks/verdicts.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from fits.arms import Arm, Difference, Matched, difference, floor_between, inside, matched
from fits.fit import SUPPORTED, CurveFit
from fits.inference import least_gap_variance, spread_of
from fits.laws import FloatArray
from fits.pace import LACK, pace_explains

__all__ = ["Floor", "floor_under_laws"]

# Total AIC of two curves, less the least of all pairs. Simulated truths chose it (LOG.md): at 10 the power
# to call a floor of .03 at ten evaluations is .69, at 6 .79; wrong verdicts are as rare at either.
PAIRS: Final = 6.0
LATE: Final = 0.75


@dataclass(frozen=True)
class Floor:
    """The floor under every pair of laws that takes part: estimate and hull, the laws by name, and what was said.

    pair: the fits that the estimate is of, None where no pair is left and then so is `gap`.
    """

    gap: Difference | None
    laws: tuple[str, ...]
    said: tuple[str, ...]
    pair: tuple[CurveFit, CurveFit] | None = None


def floor_under_laws(
    clean: Arm, noisy: Arm, end: Difference, *, at: float, delta: float, paired: bool
) -> Floor:
    """The floor of two arms whose asymptotes are identified; end: the measured gap at `at`, the largest budget."""
    shared = matched(clean, noisy, paired=paired, end=at)
    if shared is not None and min(len(shared.first_ST), len(shared.second_ST)) < 2:
        shared = None
    candidates = [(a, b) for a in _supported(clean) for b in _supported(noisy)]
    totals = [(a.aic or 0.0) + (b.aic or 0.0) for a, b in candidates]
    left: list[tuple[float, tuple[CurveFit, CurveFit], Difference]] = []
    misfits: list[str] = []
    below: list[str] = []
    for total, (ours, theirs) in zip(totals, candidates, strict=True):
        if total - min(totals) > PAIRS:
            continue
        if shared is not None and _leaves_the_gap(shared, ours, theirs):
            misfits.append(_named(ours, theirs))
            continue
        floor = _anchored(shared, ours, theirs, paired=paired)
        if floor.ci is not None and floor.ci[1] < 0.0 and (end.ci is None or end.ci[1] >= 0.0):
            below.append(_named(ours, theirs))
            continue
        left.append((total, (ours, theirs), floor))
    said: list[str] = []
    if misfits:
        said.append(f"ruled out, since the measured gap leaves their curves: {', '.join(misfits)}")
    if below:
        said.append(f"ruled out, since noise would help for ever: {', '.join(below)}")
    if not left:
        return Floor(None, (), tuple(said))
    pair = _spokesman(left, clean, noisy)
    estimate = floor_between(*pair, paired=paired)
    laws = tuple(dict.fromkeys(fit.law.name for _, fits, _ in left for fit in fits))
    intervals = [floor.ci for *_, floor in left]
    known = [ci for ci in intervals if ci is not None]
    if len(known) < len(intervals):
        return Floor(
            Difference(estimate.estimate, None, float("nan"), estimate.count),
            laws,
            tuple(said),
            pair,
        )
    low = min(min(ci[0] for ci in known), estimate.estimate)
    high = max(max(ci[1] for ci in known), estimate.estimate)
    if shared is not None and low > delta:
        error, freedom = shared.error()
        for floor in (0.0, delta):
            # The curves that the clean arm may follow, each by its own law.
            curves = {fits[0].law.name: fits[0] for _, fits, _ in left}.values()
            if any(
                pace_explains(one, shared.x_T, shared.gap_T, error, freedom, floor)
                for one in curves
            ):
                low = min(low, floor)
                said.append(
                    f"a pace that moves with accuracy explains the gap with a floor of {floor:g}"
                )
                break
    count = estimate.count
    return Floor(
        Difference(estimate.estimate, inside((low, high)), spread_of((low, high), count), count),
        laws,
        tuple(said),
        pair,
    )


def _supported(arm: Arm) -> list[CurveFit]:
    """The fits that the arm's own curve does not rule out."""
    least = arm.own.aic or 0.0
    return [
        fit
        for fit in arm.tried
        if fit.law.has_asymptote and fit.aic is not None and fit.aic - least <= SUPPORTED
    ]


def _named(ours: CurveFit, theirs: CurveFit) -> str:
    if ours.law is theirs.law:
        return ours.law.name
    return f"{ours.law.name} against {theirs.law.name}"


def _spokesman(
    left: list[tuple[float, tuple[CurveFit, CurveFit], Difference]], clean: Arm, noisy: Arm
) -> tuple[CurveFit, CurveFit]:
    """The pair that the estimate is of: the arms' own laws, as `fit` has them, if they are left; else the best."""
    own = (clean.own.law.name, noisy.own.law.name)
    for _, pair, _ in left:
        if tuple(fit.law.name for fit in pair) == own:
            return pair
    return min(left, key=lambda one: one[0])[1]


def _anchored(
    shared: Matched | None, ours: CurveFit, theirs: CurveFit, *, paired: bool
) -> Difference:
    """The floor under one pair of laws, moved by what they miss of the measured gap late in training."""
    if shared is None:
        return floor_between(ours, theirs, paired=paired)
    late_T = shared.x_T >= LATE * shared.x_T[-1]
    x_L = shared.x_T[late_T]
    first = _rest(ours, shared.units, x_L) + shared.first_ST[:, late_T].mean(axis=1)
    second = _rest(theirs, shared.second_units, x_L) + shared.second_ST[:, late_T].mean(axis=1)
    least = 0.0
    if shared.samples_ST is not None:
        gap_SL = (shared.first_ST - shared.second_ST)[:, late_T]
        least = float(least_gap_variance(gap_SL, shared.samples_ST[:, late_T]).mean()) / len(x_L)
    return difference(
        dict(zip(shared.units, first.tolist(), strict=True)),
        dict(zip(shared.second_units, second.tolist(), strict=True)),
        paired=shared.paired,
        least=least,
    )


def _rest(fit: CurveFit, units: tuple[str, ...], x_L: FloatArray) -> FloatArray:
    """What the law leaves each unit to rise from its mean over x to its asymptote, (S,)."""
    rows = [fit.runs.index(unit) for unit in units]
    level = np.mean([fit.pseudo_predict(float(at)) for at in x_L], axis=0)
    return (fit.pseudo("asymptote") - level)[rows]


def _leaves_the_gap(shared: Matched, ours: CurveFit, theirs: CurveFit) -> bool:
    """Whether the measured mean gap leaves the difference of the two curves by more than its scatter."""
    from scipy.special import fdtrc

    error, freedom = shared.error()
    free = len(shared.x_T) - max(len(ours.theta_P), len(theirs.theta_P))
    if free < 1 or freedom < 1 or error < 1e-12:
        return False
    misfit_T = shared.gap_T - ours.predict(shared.x_T) + theirs.predict(shared.x_T)
    ratio = float(np.square(misfit_T).sum()) / free / error**2
    return float(fdtrc(free, freedom, ratio)) < LACK
