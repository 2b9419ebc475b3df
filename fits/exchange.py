"""The exchange rate: compute that buys back a point of fpr or fnr, from iso-accuracy contours.

Law. The multiplier of an arm at accuracy a is x_noisy(a) / x_clean(a) on the fitted curves, a at the end being the
clean arm's measured accuracy there. That of a rate r is (1 - r)^-b, its logarithm a line through the origin against
-log(1 - r): no noise, no cost, and no end of it as r nears 1. b is given only where the arms' own prices lie on such
a line by an F test against their joint error; the campaign's points of fpr do not. Intervals are quantiles over draws
of both fits' errors, multivariate t over seeds from their influences; draws in which the noisy curve ends below a count
as "no finite amount".
Fails first where a lies beyond what the noisy arm reached: the multiplier is then an extrapolation, and says so.
Source: docs/theory.md#rate-or-fate.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Literal
from zlib import crc32

import numpy as np
import pandas as pd

from fits.arms import Arm, level_at, usable
from fits.fit import CurveFit
from fits.laws import FloatArray

__all__ = [
    "ExchangeAt",
    "ExchangeRate",
    "Multiplier",
    "PerPoint",
    "Priced",
    "exchange_rate_of",
    "price",
]

DRAWS: Final = 2000
LACK: Final = 0.05
POINT: Final = -float(np.log(0.99))  # of the first percentage point, on the axis of rates
LEAST_PRICED: Final = 1e-9  # of a rate: below it the arm says nothing of what a point costs


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
    """Compute multiplier of the first percentage point of one error rate, from the arms with that error only.

    multiplier: .99^-b. exponent: b, of (1 - rate)^-b. p_lack_of_fit: of the arms' own prices on that line, None with
    fewer than two; below LACK the line is not given, `reason` says so, and the arms' own prices stand alone.
    """

    rate: Literal["fpr", "fnr"]
    multiplier: float | None
    ci: tuple[float, float | None] | None
    p_no_finite_amount: float | None
    reason: str
    exponent: float | None = None
    p_lack_of_fit: float | None = None


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


def exchange_rate_of(prices: Sequence[Priced]) -> ExchangeRate:
    """Iso-accuracy contours: compute of the noisy over the clean arm, at two levels of accuracy."""
    final = _at_level(prices, lambda one: one.final)
    return ExchangeRate(*final, halfway=ExchangeAt(*_at_level(prices, lambda one: one.halfway)))


@dataclass(frozen=True)
class _Level:
    """The multiplier at one level of accuracy, its logarithm, and draws of that over seeds, (DRAWS,)."""

    multiplier: Multiplier
    log: float | None = None
    drawn: FloatArray | None = None


@dataclass(frozen=True)
class Priced:
    """What one noisy arm costs at the end and halfway up, whatever other arms it is then compared with."""

    noisy: Arm
    seeds: int
    final: _Level
    halfway: _Level


def price(clean: Arm, noisy: Arm, seed: int) -> Priced:
    """The compute multipliers of an arm. seed: of their draws, in which a seed's runs err alike whatever the arm."""
    shared = [unit for unit in clean.fit.runs if unit in noisy.fit.runs]
    errors_RQ = None
    if len(shared) > 1 and usable(clean.fit) and usable(noisy.fit):
        picked = [
            fit.influence_SP[[fit.runs.index(unit) for unit in shared]]
            for fit in (clean.fit, noisy.fit)
        ]
        errors_RQ = _student_draws(np.concatenate(picked, axis=1), shared, seed)
    final, halfway = (_level(clean, noisy, share, errors_RQ) for share in (1.0, 0.5))
    return Priced(noisy, len(shared), final, halfway)


def _at_level(
    prices: Sequence[Priced], level: Callable[[Priced], _Level]
) -> tuple[PerPoint, PerPoint, tuple[Multiplier, ...]]:
    """Multipliers at one level, per point and per arm."""
    alone: dict[str, list[_Price]] = {"fpr": [], "fnr": []}
    for one in prices:
        fpr, fnr, at = one.noisy.rate("fpr"), one.noisy.rate("fnr"), level(one)
        if fpr is None or fnr is None or at.log is None:
            continue
        if 0.0 < fpr < 1.0 and fnr == 0.0:
            alone["fpr"].append(_Price(fpr, at.log, at.drawn, one.seeds))
        if 0.0 < fnr < 1.0 and fpr == 0.0:
            alone["fnr"].append(_Price(fnr, at.log, at.drawn, one.seeds))
    return (
        _per_point("fpr", alone["fpr"]),
        _per_point("fnr", alone["fnr"]),
        tuple(level(one).multiplier for one in prices),
    )


def _level(clean: Arm, noisy: Arm, share: float, errors_RQ: FloatArray | None) -> _Level:
    """The multiplier where the clean arm has done `share` of the rise it shows. errors_RQ: None with one seed."""
    for arm in (clean, noisy):
        if not usable(arm.fit):
            which = "clean" if arm is clean else "noisy"
            why = f"the {which} arm has no fitted curve ({arm.fit.reason or arm.fit.status})"
            return _Level(Multiplier(noisy.label, None, None, None, None, why))
    at = min(clean.fit.x_max, noisy.fit.x_max)
    measured, _ = level_at(clean, at)
    # The level at the end is the measured one, halfway counted from it.
    moved = share * (float(np.mean(list(measured.values()))) - float(clean.fit.predict(at)))
    target_1, point_1 = _log_multiplier(
        clean.fit, clean.fit.theta_P[None], noisy.fit, noisy.fit.theta_P[None], at, share, moved
    )
    target, point = float(target_1[0]), float(point_1[0])
    if float(noisy.fit.predict(1e-6 * at)) >= target - 1e-9:
        reason = f"the arm is at {target:.4f} before any compute is spent: nothing to make up for"
        return _Level(Multiplier(noisy.label, target, None, None, None, reason))
    early = _before_the_first(clean, noisy, target, at) if share < 1.0 else ""
    if early:
        return _Level(Multiplier(noisy.label, target, None, None, None, early))
    finite = bool(np.isfinite(point))
    reasons: list[str] = []
    if not finite:
        reasons.append(
            f"no finite amount of compute takes the arm to {target:.4f}: its limit is below"
        )
    elif point > np.log(3.0) and share == 1.0:
        reasons.append("extrapolated past three times the largest budget")
    estimate = float(np.exp(point)) if finite else None
    if errors_RQ is None:
        reasons.append("no interval: one matched seed")
        return _Level(
            Multiplier(noisy.label, target, estimate, None, None, "; ".join(reasons)), point
        )
    P = len(clean.fit.theta_P)
    low, high = clean.fit.law.bounds(np.array([[at]]))
    ours = np.clip(clean.fit.theta_P + errors_RQ[:, :P], low, high)
    theirs = np.clip(noisy.fit.theta_P + errors_RQ[:, P:], low, high)
    _, drawn = _log_multiplier(clean.fit, ours, noisy.fit, theirs, at, share, moved)
    never = float(np.mean(~np.isfinite(drawn)))
    made = Multiplier(
        noisy.label, target, estimate, _quantiles(drawn, point), never, "; ".join(reasons)
    )
    return _Level(made, point, drawn)


def _log_multiplier(
    clean: CurveFit,
    ours_RP: FloatArray,
    noisy: CurveFit,
    theirs_RP: FloatArray,
    at: float,
    share: float,
    moved: float,
) -> tuple[FloatArray, FloatArray]:
    """Targets and log multipliers, (R,): +inf where the noisy curve never gets there. moved: added to the target."""
    ends = clean.law.predict(np.array([[1e-6 * at, at]]), ours_RP)
    target_R = ends[:, 0] + share * (ends[:, 1] - ends[:, 0]) + moved
    log_theirs = _log_reach(noisy, theirs_RP, target_R, at)
    if share == 1.0:
        return target_R, log_theirs - np.log(at)
    log_ours = _log_reach(clean, ours_RP, target_R, at)
    # A clean curve that falls (a draw may) has no halfway up: no amount of compute compares with it.
    rises = np.isfinite(log_ours)
    return target_R, np.where(rises, log_theirs - np.where(rises, log_ours, 0.0), np.inf)


def _student_draws(influence_SQ: FloatArray, units: Sequence[str], seed: int) -> FloatArray:
    """Draws of the estimate's error, (DRAWS, Q): multivariate t over S units, from their influences.

    A unit is drawn alike for every arm, so that arms compared with the same clean runs share what those err by.
    """
    S = len(units)
    normal_RS = np.stack(
        [
            np.random.default_rng([seed, crc32(unit.encode())]).standard_normal(DRAWS)
            for unit in units
        ],
        axis=1,
    )
    spread_R = np.random.default_rng([seed, S]).chisquare(S - 1, size=(DRAWS, 1))
    centred = influence_SQ - influence_SQ.mean(axis=0)
    return normal_RS @ centred / (S * (S - 1)) ** 0.5 * np.sqrt((S - 1) / spread_R)


def _log_reach(fit: CurveFit, theta_RP: FloatArray, target_R: FloatArray, at: float) -> FloatArray:
    """log x at which each curve reaches its target, +inf where it never does; (R,), within 30 e-folds of `at`."""
    assert fit.law.reach is not None
    log_x_R, last = fit.law.reach(target_R, theta_RP), np.log(at) + 30.0
    return np.where(log_x_R > last, np.inf, np.maximum(log_x_R, last - 60.0))


def _before_the_first(clean: Arm, noisy: Arm, target: float, at: float) -> str:
    """Why halfway cannot be placed: an arm is past it at its first evaluation after the start; "" where it can."""
    for which, arm in (("clean", clean), ("noisy", noisy)):
        first = float(arm.evaluations.x_T[arm.evaluations.x_T > 0.0][0])
        if first < at and float(
            _log_reach(arm.fit, arm.fit.theta_P[None], np.array([target]), at)[0]
        ) < np.log(first):
            return (
                f"the {which} arm is halfway, at {target:.4f}, before its first evaluation"
                f" ({arm.axis} = {first:.4g}): evaluate earlier"
            )
    return ""


def _quantiles(log_multiplier_R: FloatArray, point: float) -> tuple[float, float | None]:
    """95 % interval of a multiplier from draws of its logarithm; the estimate lies in it."""
    ordered = np.sort(log_multiplier_R)
    low = min(ordered[int(0.025 * len(ordered))], point)
    high = max(ordered[int(0.975 * len(ordered))], point)
    # An estimate without end has no lower end beyond what the draws say.
    return float(np.exp(min(low, ordered[-1]))), float(np.exp(high)) if np.isfinite(high) else None


@dataclass(frozen=True)
class _Price:
    """What one rate costs: the log multiplier, its draws over seeds, and how many seeds they rest on."""

    rate: float
    log: float
    drawn: FloatArray | None
    seeds: int


def _per_point(rate: Literal["fpr", "fnr"], arms: Sequence[_Price]) -> PerPoint:
    """The exponent of (1 - rate) on which the arms' prices lie, if they do."""
    arms = [one for one in arms if one.rate >= LEAST_PRICED]
    if not arms:
        return PerPoint(rate, None, None, None, f"no arm with {rate} alone has a multiplier")
    axis_K = -np.log1p(-np.array([one.rate for one in arms]))
    logs_K = np.array([one.log for one in arms])
    exponent = float(axis_K @ logs_K / (axis_K @ axis_K)) if np.isfinite(logs_K).all() else np.inf
    finite = bool(np.isfinite(exponent))
    reason = "" if finite else "no finite amount of compute makes up for it"
    estimate = float(np.exp(POINT * exponent)) if finite else None
    drawn = [one.drawn for one in arms if one.drawn is not None]
    if len(drawn) < len(arms):
        text = "; ".join(part for part in (reason, "no interval: one matched seed") if part)
        return PerPoint(rate, estimate, None, None, text, exponent if finite else None)
    drawn_KR = np.stack(drawn)
    exponent_R = axis_K @ drawn_KR / (axis_K @ axis_K)
    never = float(np.mean(~np.isfinite(exponent_R)))
    p = _lack_of_fit(axis_K, logs_K, drawn_KR, min(one.seeds for one in arms)) if finite else None
    if p is not None and p < LACK:
        rates = ", ".join(f"{one.rate:g}" for one in arms)
        said = (
            f"points of {rate} have no one price: those of {rates} lie on no line of exponent"
            f" (lack of fit, p = {p:.2g}); see the arms' own multipliers"
        )
        return PerPoint(rate, None, None, never, said, None, p)
    return PerPoint(
        rate,
        estimate,
        _quantiles(POINT * exponent_R, POINT * exponent),
        never,
        reason,
        exponent if finite else None,
        p,
    )


def _lack_of_fit(
    axis_K: FloatArray, logs_K: FloatArray, drawn_KR: FloatArray, seeds: int
) -> float | None:
    """p value that the prices lie on a line through the origin, by their joint error over seeds; None with one price.

    Hotelling's T squared of what is left of the line, its covariance from the draws: spreads from their quartiles,
    since draws over few seeds have no variance, and ranks for correlations.
    """
    from scipy.special import fdtrc, stdtrit

    K = len(axis_K)
    kept_KR = drawn_KR[:, np.isfinite(drawn_KR).all(axis=0)]
    if K < 2 or seeds < 2 or kept_KR.shape[1] < DRAWS // 2:
        return None
    low_K, high_K = np.quantile(kept_KR, [0.25, 0.75], axis=1)
    spread_K = (high_K - low_K) / 2.0 / float(stdtrit(seeds - 1, 0.75))
    if (spread_K <= 1e-12).any():
        return None
    correlation_KK = pd.DataFrame(kept_KR.T).corr("spearman").to_numpy()
    if seeds <= K:
        # Too few seeds to know how the errors of so many prices go together.
        correlation_KK = np.eye(K)
    inverse_KK = np.linalg.pinv(correlation_KK * np.outer(spread_K, spread_K), hermitian=True)
    slope = float(axis_K @ inverse_KK @ logs_K / (axis_K @ inverse_KK @ axis_K))
    left_K = logs_K - slope * axis_K
    squared = float(left_K @ inverse_KK @ left_K)
    free = max(seeds - K + 1, 1) if seeds > K else seeds - 1
    ratio = squared / (K - 1) * (free / (seeds - 1) if seeds > K else 1.0)
    return float(fdtrc(K - 1, free, ratio))
