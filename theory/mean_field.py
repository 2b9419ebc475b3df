"""One prompt without fluctuations: how fast accuracy moves, and which modes take the mass.

Law. With A = a(1 - a), J = 1 - fpr - fnr and D = D_G(q) (`gain`; 1/sqrt(q(1 - q)) for an infinite group),
    ability coordinate   da/dt = J A^2 D
    softmax modes        da/dt = J A^2 D F,  F = |y|^2 + |z|^2,
                         dy/dt =  k y * (y - |y|^2),  dz/dt = -k z * (z - |z|^2),  k = J A D,
for shares y of right and z of wrong modes. Along tau, d tau = k dt, the modes' equations hold no noise at
all: independent errors with J > 0 change the clock, not the path (`mode_path` integrates that path once).
Fails first when errors depend on the mode: then y and z feel the verifier, and the fate can change.
Source: docs/theory.md#mean-field; the modes' equations are those of arXiv 2601.04411.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from theory.channel import FloatArray, VerifierChannel, check_rate, check_rates
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, binomial_pmf, check_group_size, gain

__all__ = [
    "ModePath",
    "gain_at_logit",
    "mode_path",
    "share_noise",
    "time_between",
    "time_to",
]


def gain_at_logit(
    logit: ArrayLike,
    channel: VerifierChannel,
    *,
    group_size: int | None = None,
    estimator: Estimator = GRPO,
) -> FloatArray:
    """D_G(q) at pass rates given by their logits, same shape; group_size None is an infinite group.

    Logits, because q(1 - q) at a = 1 - 1e-20 is lost in 1 - a.
    """
    ell = np.asarray(logit, dtype=np.float64)
    right, wrong = special.expit(ell), special.expit(-ell)
    q = right * (1.0 - channel.fnr) + wrong * channel.fpr
    if group_size is not None:
        return gain(np.clip(q, 0.0, 1.0), group_size, estimator=estimator)
    if estimator.scale == "none":
        return np.ones_like(ell)
    unpaid = right * channel.fnr + wrong * (1.0 - channel.fpr)
    spread = np.sqrt(q * unpaid)
    return np.divide(1.0, spread, out=np.full_like(spread, np.inf), where=spread > 0.0)


def _logit(name: str, pass_rate: float) -> float:
    rate = check_rate(name, pass_rate)
    if rate in (0.0, 1.0):
        raise ArgumentError(f"{name} must lie strictly between 0 and 1, got {rate:g}")
    return float(special.logit(rate))


def time_between(
    start: float,
    end: float,
    channel: VerifierChannel,
    *,
    group_size: int | None = None,
    estimator: Estimator = GRPO,
) -> float:
    """Time the ability coordinate takes from pass rate `start` to `end`, both in (0, 1).

    In units of 1/learning rate. Negative if the drift runs the other way; infinite for J = 0.
    """
    from scipy.integrate import quad

    first, last = _logit("start", start), _logit("end", end)
    if channel.youden == 0.0:
        return math.inf if first != last else 0.0

    def slowness(ell: float) -> float:
        a = float(special.expit(ell)) * float(special.expit(-ell))
        return 1.0 / (
            a * float(gain_at_logit(ell, channel, group_size=group_size, estimator=estimator))
        )

    value, _ = quad(slowness, first, last, epsabs=0.0, epsrel=1e-11, limit=500)
    return value / channel.youden


@dataclass(frozen=True)
class ModePath:
    """A prompt's modes along the path that every independent verifier shares.

    intrinsic: the path's own time, shape [times]. pass_rate: [times].
    right, wrong: shares of the right and wrong modes, [times, K] and [times, M]; rows sum to one.
    """

    intrinsic: FloatArray
    pass_rate: FloatArray
    right: FloatArray
    wrong: FloatArray

    def clock(
        self,
        channel: VerifierChannel,
        *,
        group_size: int | None = None,
        estimator: Estimator = GRPO,
    ) -> FloatArray:
        """Time at which training under this verifier passes each point, shape [times]; J > 0.

        Cumulative Simpson quadrature of d tau/(J A D): as exact as the path is finely given.
        """
        if channel.youden <= 0.0:
            raise ArgumentError(
                f"the path is run forwards for J > 0 only, got J = {channel.youden:g}"
            )
        from scipy.integrate import cumulative_simpson

        a = self.pass_rate
        gains = gain_at_logit(special.logit(a), channel, group_size=group_size, estimator=estimator)
        slowness = 1.0 / (channel.youden * a * (1.0 - a) * gains)
        return np.concatenate([[0.0], cumulative_simpson(slowness, x=self.intrinsic)])


def mode_path(
    right: ArrayLike, wrong: ArrayLike, *, until: float = 0.99, points: int = 2001
) -> ModePath:
    """Integrate the modes from these probabilities to pass rate `until`, or 1e6 units of path time.

    right, wrong: probabilities of the right and wrong modes, each at least 0, summing to one together.
    """
    from scipy.integrate import solve_ivp

    start = [check_rates(name, p) for name, p in (("right", right), ("wrong", wrong))]
    if (
        min(start[0].sum(), start[1].sum()) <= 0.0
        or abs(start[0].sum() + start[1].sum() - 1) > 1e-9
    ):
        raise ArgumentError("right and wrong must each hold some mass, and sum to one together")
    target = _logit("until", until)
    count = start[0].size
    first = float(special.logit(start[0].sum()))
    if target <= first:
        raise ArgumentError(f"until must exceed the initial pass rate, got {until:g}")

    def equations(_: float, state: FloatArray) -> FloatArray:
        y, z = state[1 : count + 1], state[count + 1 :]
        yy, zz = y @ y, z @ z
        # d logit a/d tau = F: the logit keeps its digits where a nears one.
        return np.concatenate([[yy + zz], y * (y - yy), -z * (z - zz)])

    def arrived(_: float, state: FloatArray) -> float:
        return state[0] - target

    arrived.terminal = True  # pyright: ignore[reportFunctionMemberAccess]
    state = np.concatenate([[first], start[0] / start[0].sum(), start[1] / start[1].sum()])
    solved = solve_ivp(
        equations,
        (0.0, 1e6),
        state,
        "DOP853",
        events=arrived,
        rtol=1e-12,
        atol=1e-14,
        dense_output=True,
    )
    tau = np.linspace(0.0, solved.t[-1], points)
    path = np.asarray(solved.sol(tau)) if solved.sol is not None else np.zeros((0, points))
    return ModePath(tau, special.expit(path[0]), path[1 : count + 1].T, path[count + 1 :].T)


def time_to(
    path: ModePath,
    channel: VerifierChannel,
    *,
    group_size: int | None = None,
    estimator: Estimator = GRPO,
) -> float:
    """Time at which training under this verifier reaches the end of the path; J > 0."""
    return float(path.clock(channel, group_size=group_size, estimator=estimator)[-1])


def share_noise(share: ArrayLike, pass_rate: float, group_size: int) -> FloatArray:
    """Variance per step of the share of one of two right modes, over learning rate squared.

    Clean verifier, GRPO with eps = 0, softmax logits. share: in [0, 1], any shape; returns that shape.
    [y(1 - y)]^2 {4 y(1 - y) C/G + (1 - 2y)^2 V}: not Wright-Fisher's y(1 - y)/N, which belongs to the
    natural gradient; a rare mode fluctuates far less here.
    """
    y, size = check_rates("share", share), check_group_size(group_size)
    s = np.arange(size + 1) / size
    pmf = binomial_pmf(size, np.asarray(check_rate("pass_rate", pass_rate)))
    between = (s > 0.0) & (s < 1.0)
    c = float((pmf * (1.0 - s) * between).sum()) * (size - 1) / size
    root = np.sqrt(s * (1.0 - s) * (size - 1) / size)
    v = float(pmf @ root**2 - (pmf @ root) ** 2)
    return (y * (1.0 - y)) ** 2 * (4.0 * y * (1.0 - y) * c / size + (1.0 - 2.0 * y) ** 2 * v)
