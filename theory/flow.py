"""The deterministic population: one ability shared by prompts of many difficulties.

Law. Prompt i is solved with probability a_i = ceiling * s_i, logit s_i = theta - d_i. The mean gradient
of theta is m = mean_i J (da_i/dtheta) D_G(q_i), da_i/dtheta = ceiling s_i(1 - s_i), and per step
    sgd:  d theta/dt = rate * m
    adam: d theta/dt = rate * rho / sqrt(1 + rho^2),  rho = signal * m / sqrt(E[A^2] / (G B)),
rho being the mean of a minibatch coordinate's gradient over its standard deviation; E[A^2] is the mean
squared advantage. That is score noise orthogonal to theta: independent of being right, of variance
1/signal^2 per rollout, as of one weight among millions. noise="along" takes the exact variance along
theta instead, as of a policy whose only parameter is theta; noise="both" adds the two.
Fails first where gradients are sparse or die during the run: Adam's second moment remembers longer than
a short run lasts. Calibrated to one arm, the truth lies between the two laws.
Source: docs/theory.md#shared-parameters-and-the-optimiser.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from theory.channel import FloatArray, VerifierChannel, check_rate, check_rates
from theory.errors import ArgumentError
from theory.estimators import (
    GRPO,
    Estimator,
    advantage_table,
    binomial_means,
    check_group_size,
    gain,
)
from theory.moments import drift

FlowOptimiser = Literal["sgd", "adam"]
FlowNoise = Literal["orthogonal", "along", "both"]

__all__ = [
    "FlowNoise",
    "FlowOptimiser",
    "PopulationFlow",
    "ability",
    "accuracy",
    "difficulties_of",
    "exponential_difficulties",
    "mean_square_advantage",
    "normal_difficulties",
]


def normal_difficulties(count: int, *, spread: float) -> FloatArray:
    """Midpoint quantiles of a normal with mean 0 and standard deviation `spread` (logits), [count]."""
    _check_quadrature(count, spread)
    return spread * special.ndtri((np.arange(count) + 0.5) / count)


def exponential_difficulties(count: int, *, scale: float) -> FloatArray:
    """Midpoint quantiles of an exponential with mean `scale` (logits), shape [count]."""
    _check_quadrature(count, scale)
    return -scale * np.log1p(-(np.arange(count) + 0.5) / count)


def _check_quadrature(count: int, width: float) -> None:
    if count < 1:
        raise ArgumentError(f"count must be at least 1, got {count}")
    if not 0.0 <= width < math.inf:
        raise ArgumentError(f"a difficulty's spread must be finite and at least 0, got {width!r}")


def difficulties_of(pass_rates: ArrayLike, *, ceiling: float = 1.0) -> FloatArray:
    """Difficulties d_i = -logit(a_i/ceiling) of prompts with these pass rates at theta = 0."""
    rates = check_rates("pass_rates", pass_rates) / check_rate("ceiling", ceiling)
    if rates.size == 0 or rates.min() <= 0.0 or rates.max() >= 1.0:
        raise ArgumentError("pass_rates must lie strictly between 0 and the ceiling")
    return -special.logit(rates)


@dataclass(frozen=True)
class PopulationFlow:
    """A population and how it is trained.

    difficulties: d_i in logits, shape [prompts]; each prompt has equal weight.
    theta: ability at step 0. ceiling: the accuracy no ability exceeds, in (0, 1].
    group_size, prompts_per_step: G and B. rate: theta per step at full learning rate (sgd: times m).
    signal: gradient of theta per unit of score noise; read by "adam" only, like
    noise: "orthogonal", score noise alone; "along", the exact variance of the drift itself alone (its
        rollouts' and, prompts being drawn anew each step, that between prompts), where `signal`
        cancels; or "both".
    warmup_steps, warmup_from: the rate rises linearly from warmup_from times itself.
    """

    difficulties: FloatArray
    theta: float = 0.0
    ceiling: float = 1.0
    group_size: int = 8
    prompts_per_step: int = 32
    optimiser: FlowOptimiser = "sgd"
    rate: float = 0.1
    signal: float = 1.0
    noise: FlowNoise = "orthogonal"
    warmup_steps: int = 0
    warmup_from: float = 0.1
    estimator: Estimator = GRPO

    def __post_init__(self) -> None:
        check_group_size(self.group_size)
        if check_rate("ceiling", self.ceiling) == 0.0:
            raise ArgumentError("ceiling must be above 0")
        check_rate("warmup_from", self.warmup_from)
        if self.optimiser not in get_args(FlowOptimiser):
            raise ArgumentError(f"optimiser must be sgd or adam, got {self.optimiser!r}")
        if self.noise not in get_args(FlowNoise):
            raise ArgumentError(f"noise must be orthogonal, along or both, got {self.noise!r}")
        for name in ("theta", "rate", "signal"):
            if not math.isfinite(getattr(self, name)):
                raise ArgumentError(f"{name} must be finite, got {getattr(self, name)!r}")

    def pass_rates(self, theta: ArrayLike) -> FloatArray:
        """P(right) per ability and prompt, shape theta.shape + [prompts]."""
        ability = np.asarray(theta, dtype=np.float64)[..., np.newaxis]
        return self.ceiling * special.expit(ability - self.difficulties)

    def progress(self, steps: ArrayLike) -> FloatArray:
        """Steps at full learning rate that `steps` are worth, after warm-up; same shape."""
        t = np.asarray(steps, dtype=np.float64)
        if self.warmup_steps <= 0:
            return t
        ramp = np.minimum(t, self.warmup_steps)
        ramped = ramp * (
            self.warmup_from + (1.0 - self.warmup_from) * ramp / (2.0 * self.warmup_steps)
        )
        return ramped + (t - ramp)

    def velocity(self, theta: ArrayLike, channel: VerifierChannel) -> FloatArray:
        """d theta/dt at full learning rate, shape of `theta`."""
        ability = np.asarray(theta, dtype=np.float64)
        solved = special.expit(ability[..., np.newaxis] - self.difficulties)
        q = channel.observed_rate(self.ceiling * solved)
        slope = self.ceiling * solved * (1.0 - solved)
        drifts = channel.youden * slope * gain(q, self.group_size, estimator=self.estimator)
        mean = drifts.mean(axis=-1)
        if self.optimiser == "sgd":
            return self.rate * mean
        noise = np.zeros_like(mean)
        if self.noise != "along":
            square = mean_square_advantage(q, self.group_size, estimator=self.estimator)
            noise = square.mean(axis=-1) / (self.group_size * self.prompts_per_step)
        if self.noise != "orthogonal":
            # A right branch is right with probability `ceiling`: another channel behind the ability.
            reached = VerifierChannel(0.0, 1.0 - self.ceiling).compose(channel)
            own = drift(solved, reached, self.group_size, estimator=self.estimator).variance
            total = own.mean(axis=-1) + drifts.var(axis=-1)
            noise = noise + self.signal**2 * total / self.prompts_per_step
        signal = self.signal * mean
        # rho/sqrt(1 + rho^2), without dividing by a noise that may be 0.
        size = np.sqrt(signal**2 + noise)
        return self.rate * np.divide(signal, size, out=np.zeros_like(signal), where=size > 0.0)


def mean_square_advantage(
    observed_rate: ArrayLike, group_size: int, *, estimator: Estimator = GRPO
) -> FloatArray:
    """E[A_i^2] of one rollout, same shape; GRPO with eps = 0: ((G - 1)/G)(1 - q^G - (1 - q)^G)."""
    size = check_group_size(group_size)
    q = check_rates("observed_rate", observed_rate)
    unpaid, paid = advantage_table(size, estimator)
    # From the law of the G - 1 other rollouts' rewards.
    if_paid, if_unpaid = binomial_means(size - 1, q, paid[1:] ** 2, unpaid[:-1] ** 2)
    return q * if_paid + (1.0 - q) * if_unpaid


def ability(flow: PopulationFlow, channel: VerifierChannel, steps: ArrayLike) -> FloatArray:
    """theta after `steps` optimiser steps (any order, at least 0), same shape.

    The law is autonomous in theta, so its solution is the inverse of the clock
    tau(theta) = integral of d theta / velocity: Gauss-Legendre on segments of theta, then a cubic
    through theta and its exact slope. Smooth in every parameter.
    Raises ArgumentError if a step is negative or not finite.
    """
    t = np.asarray(steps, dtype=np.float64)
    if not np.all(np.isfinite(t)) or np.any(t < 0.0):
        raise ArgumentError("steps must be finite and at least 0")
    clock = flow.progress(t)
    start = float(flow.velocity(flow.theta, channel))
    if abs(start) <= _STILL or t.size == 0:
        return np.full_like(clock, flow.theta)
    horizon = float(clock.max())
    way = math.copysign(_SEGMENT, start)
    nodes, weights = _gauss_legendre()
    edges, times = [np.array([flow.theta])], [np.array([0.0])]
    while times[-1][-1] < horizon:
        ends = edges[-1][-1] + way * np.arange(_SEGMENTS_AT_ONCE + 1)
        inside = ends[:-1, np.newaxis] + way * nodes
        speed = flow.velocity(inside, channel) / math.copysign(1.0, start)
        # Where the gradient has underflowed, or nearly, the clock stands still for good.
        lasts = (
            np.divide(_SEGMENT, speed, out=np.full_like(speed, np.inf), where=speed > _STILL)
            @ weights
        )
        edges.append(ends[1:])
        times.append(times[-1][-1] + np.cumsum(lasts))
    theta, tau = np.concatenate(edges), np.concatenate(times)
    keep = np.isfinite(tau)
    theta, tau = theta[keep], tau[keep]
    slope = flow.velocity(theta, channel)
    return _hermite(np.minimum(clock, tau[-1]), tau, theta, slope)


def accuracy(flow: PopulationFlow, channel: VerifierChannel, steps: ArrayLike) -> FloatArray:
    """Mean pass rate after `steps` optimiser steps (at least 0), in [0, 1], same shape.

    Raises ArgumentError if a step is negative or not finite.
    """
    return flow.pass_rates(ability(flow, channel, steps)).mean(axis=-1)


_SEGMENT = 0.125
_STILL = 1e-300  # a speed whose inverse no float holds
_SEGMENTS_AT_ONCE = 8


def _gauss_legendre() -> tuple[FloatArray, FloatArray]:
    """Nodes and weights of order 6 on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(3)
    return (nodes + 1.0) / 2.0, weights / 2.0


def _hermite(
    x: FloatArray, knots: FloatArray, values: FloatArray, slopes: FloatArray
) -> FloatArray:
    """The cubic through values and slopes at increasing knots, at x within them."""
    if knots.size == 1:
        return np.full_like(x, values[0])
    i = np.clip(np.searchsorted(knots, x, side="right") - 1, 0, knots.size - 2)
    width = knots[i + 1] - knots[i]
    s = (x - knots[i]) / width
    return (
        (1.0 + 2.0 * s) * (1.0 - s) ** 2 * values[i]
        + s * (1.0 - s) ** 2 * width * slopes[i]
        + s**2 * (3.0 - 2.0 * s) * values[i + 1]
        - s**2 * (1.0 - s) * width * slopes[i + 1]
    )
