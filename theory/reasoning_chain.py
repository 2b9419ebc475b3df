"""Reasoning as a Markov chain: L steps on or off track, then a verdict, and the gradient it gives.

Law. From on track a step stays on with probability expit(stay), from off track it recovers with
expit(recover). An answer is right with probability right_on or right_off by where the chain ends, and is
paid through the channel. The gradient is *defined* as D_G(q) grad q, with grad q by forward-backward:
    dq/d stay = sum_t P(on at t) s'(stay) [b(on) - b(off)],  b = P(paid | state after step t).
Advantages are not linear in rewards, so this is no gradient of E[A]; it is that of the integral of D_G dq
(at G = infinity, of 2 arcsin sqrt q).
Fails first for rewards that are not binary, rollouts that are not independent, or token-level means.
Source: docs/theory.md#the-chain-of-reasoning.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special

from theory.channel import FloatArray, VerifierChannel, check_rate
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantages, check_group_size, gain

__all__ = ["ReasoningChain", "ReasoningGradient", "reasoning_gradient", "sample_gradients"]


@dataclass(frozen=True)
class ReasoningChain:
    """A chain of thought.

    steps: L, at least 1. stay, recover: logits of staying on, and of getting back on, track.
    start_on: P(on track at the start). right_on, right_off: P(right | ends on, off track).
    """

    steps: int
    stay: float
    recover: float
    start_on: float = 1.0
    right_on: float = 1.0
    right_off: float = 0.0

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ArgumentError(f"steps must be at least 1, got {self.steps}")
        for name in ("start_on", "right_on", "right_off"):
            check_rate(name, getattr(self, name))
        for name in ("stay", "recover"):
            if not np.isfinite(getattr(self, name)):
                raise ArgumentError(f"{name} must be finite, got {getattr(self, name)!r}")

    def transition(self) -> FloatArray:
        """P(to | from), [from, to], order off, on."""
        on = special.expit(np.array([self.recover, self.stay]))
        return np.stack([1.0 - on, on], axis=1)


@dataclass(frozen=True)
class ReasoningGradient:
    """observed_rate: q. rate_gradient: (dq/d stay, dq/d recover). gain: D_G(q). gradient: their product.

    pass_rate: P(right).
    """

    pass_rate: float
    observed_rate: float
    rate_gradient: FloatArray
    gain: float
    gradient: FloatArray


def reasoning_gradient(
    chain: ReasoningChain,
    channel: VerifierChannel,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
) -> ReasoningGradient:
    """The expected group-relative gradient of (stay, recover), exactly."""
    matrix = chain.transition()
    right = np.array([chain.right_off, chain.right_on])
    paid = channel.observed_rate(right)
    forward = np.empty((chain.steps, 2))
    forward[0] = 1.0 - chain.start_on, chain.start_on
    for t in range(1, chain.steps):
        forward[t] = forward[t - 1] @ matrix
    backward = paid
    slopes = matrix[:, 1] * matrix[:, 0]  # d P(on)/d logit, from off and from on
    towards = np.zeros(2)
    for t in reversed(range(chain.steps)):
        towards += forward[t] * slopes * (backward[1] - backward[0])
        backward = matrix @ backward
    last = forward[-1] @ matrix
    q = float(last @ paid)
    strength = float(gain(q, group_size, estimator=estimator))
    rate_gradient = towards[::-1].copy()
    return ReasoningGradient(
        float(last @ right), q, rate_gradient, strength, strength * rate_gradient
    )


def sample_gradients(
    chain: ReasoningChain,
    channel: VerifierChannel,
    group_size: int,
    groups: int,
    *,
    rng: np.random.Generator,
    estimator: Estimator = GRPO,
) -> FloatArray:
    """Gradients of simulated groups, shape [groups, 2]: what `reasoning_gradient` is the mean of."""
    size = check_group_size(group_size)
    shape = (groups, size)
    on: NDArray[np.bool_] = rng.random(shape) < chain.start_on
    chances = special.expit(np.array([chain.recover, chain.stay]))
    scores = np.zeros((*shape, 2))
    for _ in range(chain.steps):
        chance = np.where(on, chances[1], chances[0])
        after = rng.random(shape) < chance
        surprise = after - chance  # d log P/d logit of a Bernoulli
        scores[..., 0] += np.where(on, surprise, 0.0)
        scores[..., 1] += np.where(on, 0.0, surprise)
        on = after
    right = rng.random(shape) < np.where(on, chain.right_on, chain.right_off)
    rewards = channel.judge(right, rng.random(shape)).astype(np.float64)
    return (advantages(rewards, estimator)[..., np.newaxis] * scores).mean(axis=1)
