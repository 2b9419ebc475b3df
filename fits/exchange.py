"""The exchange rate: compute that buys back a point of fpr or fnr, from iso-accuracy contours.

Law. The multiplier of an arm at accuracy a is x_noisy(a) / x_clean(a) on the fitted curves; a point's is the slope
of its logarithm against points of the rate, through the origin. Intervals are quantiles over draws of both fits'
errors, multivariate t over seeds from their influences; draws in which the noisy curve ends below a count as "no
finite amount".
Fails first where a lies beyond what the noisy arm reached: the multiplier is then an extrapolation, and says so.
Source: docs/theory.md#rate-or-fate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

from fits.arms import Arm, usable
from fits.fit import CurveFit
from fits.laws import FloatArray, Law

__all__ = [
    "ExchangeAt",
    "ExchangeRate",
    "Multiplier",
    "PerPoint",
    "exchange_rate_of",
]

DRAWS: Final = 2000


@dataclass(frozen=True)
class Multiplier:
    """Compute a noisy arm needs, over what the clean arm needs, to reach one accuracy.

    target: that accuracy, None where a curve is missing. multiplier: None where no finite amount does.
    ci: 95 %, an upper end of None is unbounded. p_no_finite_amount: probability, over seeds, that no
    amount of compute reaches it.
    """

    arm: str
    target: float | None
    multiplier: float | None
    ci: tuple[float, float | None] | None
    p_no_finite_amount: float | None
    reason: str


@dataclass(frozen=True)
class PerPoint:
    """Compute multiplier per percentage point of one error rate, from the arms with that error only."""

    rate: Literal["fpr", "fnr"]
    multiplier: float | None
    ci: tuple[float, float | None] | None
    p_no_finite_amount: float | None
    reason: str


@dataclass(frozen=True)
class ExchangeAt:
    """What a point of fpr or fnr costs in compute, at one level of accuracy."""

    fpr: PerPoint
    fnr: PerPoint
    arms: tuple[Multiplier, ...]


@dataclass(frozen=True)
class ExchangeRate:
    """What a point of fpr or fnr costs in compute, at the accuracy the clean arm ends with.

    halfway: the same where the clean arm has done half of the rise it shows, which no arm need
    extrapolate to.
    """

    fpr: PerPoint
    fnr: PerPoint
    arms: tuple[Multiplier, ...]
    halfway: ExchangeAt


def exchange_rate_of(pairs: Sequence[tuple[Arm, Arm]], rng: np.random.Generator) -> ExchangeRate:
    """Iso-accuracy contours: compute of the noisy over the clean arm, at two levels of accuracy."""
    final = _at_level(pairs, 1.0, rng)
    return ExchangeRate(*final, halfway=ExchangeAt(*_at_level(pairs, 0.5, rng)))


def _at_level(
    pairs: Sequence[tuple[Arm, Arm]], share: float, rng: np.random.Generator
) -> tuple[PerPoint, PerPoint, tuple[Multiplier, ...]]:
    """Multipliers where the clean arm has done `share` of the rise it shows, per arm and per point."""
    multipliers: list[Multiplier] = []
    draws: dict[str, list[tuple[float, float, FloatArray | None]]] = {"fpr": [], "fnr": []}
    for clean, noisy in pairs:
        multiplier, drawn, log_multiplier = _multiplier(clean, noisy, share, rng)
        multipliers.append(multiplier)
        fpr, fnr = noisy.rate("fpr"), noisy.rate("fnr")
        if fpr is None or fnr is None or log_multiplier is None:
            continue
        if fpr > 0.0 and fnr == 0.0:
            draws["fpr"].append((100.0 * fpr, log_multiplier, drawn))
        if fnr > 0.0 and fpr == 0.0:
            draws["fnr"].append((100.0 * fnr, log_multiplier, drawn))
    return (
        _per_point("fpr", draws["fpr"]),
        _per_point("fnr", draws["fnr"]),
        tuple(multipliers),
    )


def _multiplier(
    clean: Arm, noisy: Arm, share: float, rng: np.random.Generator
) -> tuple[Multiplier, FloatArray | None, float | None]:
    """The multiplier at one level, draws of its logarithm over seeds, and its logarithm."""
    for arm in (clean, noisy):
        if not usable(arm.fit):
            which = "clean" if arm is clean else "noisy"
            why = f"the {which} arm has no fitted curve ({arm.fit.reason or arm.fit.status})"
            return Multiplier(noisy.label, None, None, None, None, why), None, None
    at = min(clean.fit.x_max, noisy.fit.x_max)
    target_1, point_1 = _log_multiplier(
        clean.fit, clean.fit.theta_P[None], noisy.fit, noisy.fit.theta_P[None], at, share
    )
    target, point = float(target_1[0]), float(point_1[0])
    if float(noisy.fit.predict(1e-6 * at)) >= target - 1e-9:
        reason = f"the arm is at {target:.4f} before any compute is spent: nothing to make up for"
        return Multiplier(noisy.label, target, None, None, None, reason), None, None
    finite = bool(np.isfinite(point))
    reasons: list[str] = []
    if not finite:
        reasons.append(
            f"no finite amount of compute takes the arm to {target:.4f}: its limit is below"
        )
    elif point > np.log(3.0) and share == 1.0:
        reasons.append("extrapolated past three times the largest budget")
    estimate = float(np.exp(point)) if finite else None
    shared = [unit for unit in clean.fit.runs if unit in noisy.fit.runs]
    if len(shared) < 2:
        reasons.append("no interval: one matched seed")
        return (
            Multiplier(noisy.label, target, estimate, None, None, "; ".join(reasons)),
            None,
            point,
        )
    picked = [
        fit.influence_SP[[fit.runs.index(unit) for unit in shared]]
        for fit in (clean.fit, noisy.fit)
    ]
    errors = _student_draws(np.concatenate(picked, axis=1), rng)
    P = len(clean.fit.theta_P)
    low, high = clean.fit.law.bounds(np.array([[at]]))
    ours = np.clip(clean.fit.theta_P + errors[:, :P], low, high)
    theirs = np.clip(noisy.fit.theta_P + errors[:, P:], low, high)
    _, drawn = _log_multiplier(clean.fit, ours, noisy.fit, theirs, at, share)
    return (
        Multiplier(
            noisy.label,
            target,
            estimate,
            _quantiles(drawn),
            float(np.mean(~np.isfinite(drawn))),
            "; ".join(reasons),
        ),
        drawn,
        point,
    )


def _log_multiplier(
    clean: CurveFit,
    ours_RP: FloatArray,
    noisy: CurveFit,
    theirs_RP: FloatArray,
    at: float,
    share: float,
) -> tuple[FloatArray, FloatArray]:
    """Targets and log multipliers, (R,): +inf where the noisy curve never gets there."""
    ends = clean.law.predict(np.array([[1e-6 * at, at]]), ours_RP)
    target_R = ends[:, 0] + share * (ends[:, 1] - ends[:, 0])
    log_theirs = _log_reach(noisy, theirs_RP, target_R, at)
    if share == 1.0:
        return target_R, log_theirs - np.log(at)
    log_ours = _log_reach(clean, ours_RP, target_R, at)
    # A clean curve that falls (a draw may) has no halfway up: no amount of compute compares with it.
    rises = np.isfinite(log_ours)
    return target_R, np.where(rises, log_theirs - np.where(rises, log_ours, 0.0), np.inf)


def _student_draws(influence_SQ: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Draws of the estimate's error, (DRAWS, Q): multivariate t over S seeds, from their influences."""
    S = len(influence_SQ)
    centred = influence_SQ - influence_SQ.mean(axis=0)
    normal = rng.standard_normal((DRAWS, S)) @ centred / (S * (S - 1)) ** 0.5
    return normal * np.sqrt((S - 1) / rng.chisquare(S - 1, size=(DRAWS, 1)))


def _log_reach(fit: CurveFit, theta_RP: FloatArray, target_R: FloatArray, at: float) -> FloatArray:
    """log x at which each curve reaches its target, +inf where it never does; (R,), by bisection."""
    low = np.full(len(theta_RP), np.log(at) - 30.0)
    high = np.full(len(theta_RP), np.log(at) + 30.0)

    def level(log_x: FloatArray) -> FloatArray:
        return _diagonal(fit.law, np.exp(log_x), theta_RP)

    never = level(high) < target_R
    for _ in range(60):
        middle = 0.5 * (low + high)
        above = level(middle) >= target_R
        high, low = np.where(above, middle, high), np.where(above, low, middle)
    return np.where(never, np.inf, high)


def _diagonal(law: Law, x_R: FloatArray, theta_RP: FloatArray) -> FloatArray:
    """f(x_r; theta_r), (R,): laws broadcast an (R, 1) row of x against (R, P) parameters."""
    return law.predict(x_R[None, :, None], theta_RP)[:, 0]


def _quantiles(log_multiplier_R: FloatArray) -> tuple[float, float | None]:
    ordered = np.sort(log_multiplier_R)
    low, high = ordered[int(0.025 * len(ordered))], ordered[int(0.975 * len(ordered))]
    return float(np.exp(low)), float(np.exp(high)) if np.isfinite(high) else None


def _per_point(
    rate: Literal["fpr", "fnr"], arms: Sequence[tuple[float, float, FloatArray | None]]
) -> PerPoint:
    """Slope of log multiplier against points of the rate, through the origin: no noise, no cost."""
    if not arms:
        return PerPoint(rate, None, None, None, f"no arm with {rate} alone has a multiplier")
    points = np.array([p for p, _, _ in arms])
    logs = np.array([value for _, value, _ in arms])
    point = float((points * logs).sum() / (points**2).sum()) if np.isfinite(logs).all() else np.inf
    finite = bool(np.isfinite(point))
    reason = "" if finite else "no finite amount of compute makes up for it"
    drawn = [d for _, _, d in arms if d is not None]
    if len(drawn) < len(arms):
        text = "; ".join(part for part in (reason, "no interval: one matched seed") if part)
        return PerPoint(rate, float(np.exp(point)) if finite else None, None, None, text)
    slope_R = (points[:, None] * np.stack(drawn)).sum(axis=0) / (points**2).sum()
    return PerPoint(
        rate,
        float(np.exp(point)) if finite else None,
        _quantiles(slope_R),
        float(np.mean(~np.isfinite(slope_R))),
        reason,
    )
