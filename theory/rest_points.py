"""Where training with a KL penalty comes to rest: all of it, with stability and attracting boundary.

Law. With l = logit a, A = a(1 - a) and D = D_G(q), training moves l in the direction of
    objective   J D - beta (l - l_ref)            E[advantage] - beta KL(pi || ref), same logits
    rlver       J A D F - beta (l - l_ref)        as printed in arXiv 2601.04411, F held fixed
    k3          J A D - beta (a - a_ref)          the k3 estimator in the loss, on-policy: what trainers do
and rests where it is 0, stably where it falls through 0.
Fails first when F, the concentration of the modes, moves: rlver holds it fixed (2: one mode each).
Source: docs/theory.md#rest-points. The uniqueness that arXiv 2601.04411 claims is false (three roots, see
the tests).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from scipy import special

from theory.channel import FloatArray, VerifierChannel, check_rate
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, check_group_size
from theory.mean_field import gain_at_logit

Form = Literal["objective", "rlver", "k3"]

__all__ = ["Form", "RestPoint", "RestPoints", "mroueh_iteration", "rest_points"]


@dataclass(frozen=True)
class RestPoint:
    """An interior rest point. logit: of pass_rate, which keeps its digits near 1."""

    pass_rate: float
    stable: bool
    logit: float


@dataclass(frozen=True)
class RestPoints:
    """All interior rest points, ascending, and the ends of [0, 1] that attract from inside."""

    points: tuple[RestPoint, ...]
    attracting_boundaries: tuple[float, ...]


def rest_points(
    channel: VerifierChannel,
    *,
    beta: float,
    reference_pass_rate: float,
    form: Form = "objective",
    group_size: int | None = None,
    concentration: float = 2.0,
    estimator: Estimator = GRPO,
) -> RestPoints:
    """All rest points of training against `channel` with KL weight beta.

    beta: finite, at least 0. reference_pass_rate: in (0, 1). group_size: None is an infinite group.
    concentration: F of the form "rlver", in (0, 2].
    Raises ArgumentError naming the argument; also if J = 0 and beta = 0, where every point rests.
    """
    reference = check_rate("reference_pass_rate", reference_pass_rate)
    if reference in (0.0, 1.0):
        raise ArgumentError(
            f"reference_pass_rate must lie strictly inside (0, 1), got {reference:g}"
        )
    if not (math.isfinite(beta) and beta >= 0.0):
        raise ArgumentError(f"beta must be finite and at least 0, got {beta!r}")
    if form not in get_args(Form):
        raise ArgumentError(f"form must be objective, rlver or k3, got {form!r}")
    if not 0.0 < concentration <= 2.0:
        raise ArgumentError(f"concentration must lie in (0, 2], got {concentration!r}")
    if group_size is not None:
        check_group_size(group_size)
    j = channel.youden
    if j == 0.0 and beta == 0.0:
        raise ArgumentError("J = 0 and beta = 0: nothing moves, every pass rate is a rest point")
    ref = float(special.logit(reference))

    def push(ell: FloatArray) -> FloatArray:
        gains = gain_at_logit(ell, channel, group_size=group_size, estimator=estimator)
        a, p = special.expit(ell), special.expit(-ell)
        if beta == 0.0:
            return j * gains
        # J = 0 beside an infinite gain is no push.
        signal = np.multiply(j, gains, out=np.zeros_like(gains), where=j != 0.0)
        # Nor is an infinite one at an end, whose pull goes as a root.
        pull = np.multiply(signal, a * p, out=np.zeros_like(signal), where=a * p > 0.0)
        match form:
            case "objective":
                return signal - beta * (ell - ref)
            case "rlver":
                return pull * concentration - beta * (ell - ref)
            case "k3":
                # a - a_ref as a product that keeps its digits on both sides of 1/2.
                apart = a * p * 0.0 + np.where(ell > 0.0, special.expit(-ref) - p, a - reference)
                return pull - beta * apart

    return _all_roots(push, ref, reach=_reach(j, beta, ref, channel, group_size, form))


def _reach(
    j: float,
    beta: float,
    ref: float,
    channel: VerifierChannel,
    group_size: int | None,
    form: Form,
) -> float:
    """Logits beyond which the push can no longer change sign."""
    if beta == 0.0:
        return abs(ref) + 50.0
    largest = math.sqrt(group_size) if group_size is not None else 0.0
    if group_size is None and form == "objective":
        # An end's gain stays finite, and so may hold a far root, where errors keep q off 0 or 1.
        low, high = gain_at_logit([-600.0, 600.0], channel)
        bounded = ((low, channel.fpr), (high, channel.fnr))
        largest = max((float(end) for end, rate in bounded if 0.0 < rate < 1.0), default=0.0)
    # Where the gain diverges its exponential beats any logit within 600 for any beta above e^-290.
    wide = abs(ref) + abs(j) * largest / beta + 50.0
    return min(max(wide, 600.0), 1e9)


def _all_roots(push: Callable[[FloatArray], FloatArray], ref: float, *, reach: float) -> RestPoints:
    from scipy.optimize import brentq, minimize_scalar

    def at(ell: float) -> float:
        return float(push(np.array([ell]))[0])

    # Steps of .02 around the reference and the bend of the sigmoid, growing geometrically outwards.
    near = np.arange(-60.0, 60.0, 0.02)
    far = np.geomspace(60.0, max(reach, 61.0), 400)
    grid = np.unique(np.concatenate([-far, near, far, ref + np.arange(-5.0, 5.0, 0.005)]))
    values = push(grid)
    brackets = [(i, i + 1) for i in np.flatnonzero(np.sign(values[:-1]) * np.sign(values[1:]) < 0)]
    edges: list[tuple[float, float]] = [(float(grid[i]), float(grid[k])) for i, k in brackets]
    # A pair of roots between two points of the grid shows as a dip towards 0 on one side.
    size = np.abs(values)
    same = np.sign(values[:-2]) * np.sign(values[2:]) > 0
    dips = np.flatnonzero((size[1:-1] < size[:-2]) & (size[1:-1] < size[2:]) & same) + 1
    for i in dips:
        side = float(np.sign(values[i]))
        low, high = float(grid[i - 1]), float(grid[i + 1])
        best = minimize_scalar(
            lambda ell, side=side: side * at(ell),
            bounds=(low, high),
            method="bounded",
            options={"xatol": 1e-13},
        )
        if best.fun < 0.0:
            edges += [(low, float(best.x)), (float(best.x), high)]
    zeros = [float(grid[i]) for i in np.flatnonzero(values == 0.0)]
    roots = sorted(
        [float(brentq(at, low, high, xtol=1e-14, rtol=1e-14)) for low, high in edges] + zeros
    )
    points = tuple(_classified(at, root) for root in roots)
    ends = [0.0] if values[0] < 0.0 else []
    ends += [1.0] if values[-1] > 0.0 else []
    return RestPoints(points, tuple(ends))


def _classified(at: Callable[[float], float], root: float) -> RestPoint:
    width = 1e-6 * max(1.0, abs(root))
    return RestPoint(
        pass_rate=float(special.expit(root)),
        stable=at(root - width) > 0.0 > at(root + width),
        logit=root,
    )


def mroueh_iteration(
    pass_rate: float,
    channel: VerifierChannel,
    *,
    beta: float,
    reference_pass_rate: float,
    steps: int,
) -> FloatArray:
    """Pass rates of arXiv 2503.06639's iteration, odds <- odds_ref exp(J/(beta sigma)), [steps + 1].

    Its fixed points are the rest points of "objective" at infinite group size; their stability is not.
    """
    if beta <= 0.0:
        raise ArgumentError(f"beta must be above 0, got {beta!r}")
    ref = float(special.logit(check_rate("reference_pass_rate", reference_pass_rate)))
    logits = [float(special.logit(check_rate("pass_rate", pass_rate)))]
    for _ in range(steps):
        push = channel.youden * float(gain_at_logit(logits[-1], channel))
        logits.append(ref + push / beta if channel.youden != 0.0 else ref)
    return special.expit(np.array(logits))
