"""The verifier as a noisy binary channel: the object that judges simulated and real rollouts alike.

Law. A rollout is right or wrong; the verifier pays it with probability 1 - fnr when it is right and
fpr when it is wrong, so a prompt with pass rate a is paid at rate q = fpr + J a, J = 1 - fpr - fnr.
Fails first when errors depend on something the policy can learn: then no pair of rates describes the
verifier, and equal rates lead to different fates.
Source: docs/theory.md#notation; a binary asymmetric channel, J its index of Youden 1950.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.errors import ArgumentError

FloatArray = NDArray[np.float64]
BoolArray = NDArray[np.bool_]

__all__ = [
    "BoolArray",
    "FloatArray",
    "VerifierChannel",
    "check_rate",
    "check_rates",
    "youden_index",
]


def check_rate(name: str, value: float) -> float:
    """Return `value` as a float if it is a finite probability, else raise naming `name`.

    Raises ArgumentError (a ValueError) for a value outside [0, 1], NaN, infinities and non-numbers.
    """
    try:
        rate = float(value)
    except (TypeError, ValueError):
        raise ArgumentError(f"{name} must be a number in [0, 1], got {value!r}") from None
    if not (math.isfinite(rate) and 0.0 <= rate <= 1.0):
        raise ArgumentError(f"{name} must lie in [0, 1], got {rate:g}")
    return rate


def check_rates(name: str, values: ArrayLike) -> FloatArray:
    """Return `values` as a float64 array of finite probabilities, any shape, else raise naming `name`.

    Raises ArgumentError (a ValueError) that shows the first offending value.
    """
    rates = np.asarray(values, dtype=np.float64)
    bad = ~((rates >= 0.0) & (rates <= 1.0))
    if np.any(bad):
        raise ArgumentError(f"{name} must lie in [0, 1], got {rates[bad].flat[0]:g}")
    return rates


def youden_index(fpr: ArrayLike, fnr: ArrayLike) -> FloatArray:
    """J = 1 - fpr - fnr of rates in [0, 1], broadcast.

    Exactly 0 where it is 0 but for rounding (1 - .7 - .3 is not 0 in binary): whether a verifier
    teaches at all must not hang on a last digit.
    """
    j = 1.0 - np.asarray(fpr, dtype=np.float64) - np.asarray(fnr, dtype=np.float64)
    return np.where(np.abs(j) < 1e-15, 0.0, j)


@dataclass(frozen=True)
class VerifierChannel:
    """A verifier's error rates, independent of everything but whether the rollout is right.

    fpr: P(reward 1 | wrong), in [0, 1].
    fnr: P(reward 0 | right), in [0, 1].
    Raises ArgumentError (a ValueError) naming the argument and the value.
    """

    fpr: float
    fnr: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "fpr", check_rate("fpr", self.fpr))
        object.__setattr__(self, "fnr", check_rate("fnr", self.fnr))

    @property
    def youden(self) -> float:
        """J = 1 - fpr - fnr, in [-1, 1]: what the verifier's verdict tells about being right."""
        return float(youden_index(self.fpr, self.fnr))

    def observed_rate(self, pass_rate: ArrayLike) -> FloatArray:
        """q = fpr + J * pass_rate: the probability that a rollout is paid; same shape as pass_rate."""
        rates = check_rates("pass_rate", pass_rate)
        # The convex combination stays inside [0, 1] exactly; fpr + J a may leave it by a rounding.
        return rates * (1.0 - self.fnr) + (1.0 - rates) * self.fpr

    def compose(self, injected: VerifierChannel) -> VerifierChannel:
        """The channel of `injected` flips applied, independently, to this channel's own verdicts.

        A base verifier's errors come first, the injected ones second; J multiplies.
        """
        paid_if_wrong, paid_if_right = injected.observed_rate([self.fpr, 1.0 - self.fnr])
        return VerifierChannel(fpr=float(paid_if_wrong), fnr=float(1.0 - paid_if_right))

    def judge(self, right: ArrayLike, uniforms: ArrayLike) -> BoolArray:
        """Verdicts (paid or not) on rollouts, one uniform draw in [0, 1) each; shapes broadcast.

        A verdict is flipped iff its uniform lies below the rate that applies, so the same uniforms
        flip alike in every arm, and the flips at a lower rate are a subset of those at a higher one.
        """
        right = np.asarray(right, dtype=np.bool_)
        flips = np.asarray(uniforms, dtype=np.float64) < np.where(right, self.fnr, self.fpr)
        return right ^ flips
