"""Corrections of a noisy reward, and what is left of them after a group-relative baseline.

Law. Backward r^ = (r - fpr)/J is unbiased for being right; forward weights, fnr for a paid and fnr - 1
for an unpaid rollout, are r - (1 - fnr). Both are affine in r. A baseline removes the constant, a scale
removes |slope|: what survives is the slope of backward without a scale (a learning rate times 1/J), its
sign for J < 0 with one, and variance without a baseline. Majority of k judgements changes the channel.
Fails first when judgements of one rollout repeat each other: then a majority of k is one judgement.
Source: docs/theory.md#prediction-7-corrections; the corrections are those of arXiv 2510.00915.
"""

from __future__ import annotations

from typing import Final

from theory.channel import VerifierChannel
from theory.errors import ArgumentError
from theory.estimators import Estimator

NONE: Final = (0.0, 1.0)

__all__ = ["NONE", "backward", "explain", "forward", "majority"]


def backward(channel: VerifierChannel) -> tuple[float, float]:
    """What an unpaid and a paid rollout are worth under the backward correction.

    Raises ArgumentError if J = 0: verdicts that say nothing cannot be corrected.
    """
    if channel.youden == 0.0:
        raise ArgumentError("the backward correction divides by J = 1 - fpr - fnr, which is 0")
    return -channel.fpr / channel.youden, (1.0 - channel.fpr) / channel.youden


def forward(channel: VerifierChannel) -> tuple[float, float]:
    """What an unpaid and a paid rollout are worth under the forward correction."""
    return channel.fnr - 1.0, channel.fnr


def majority(channel: VerifierChannel, votes: int) -> VerifierChannel:
    """The channel of the majority of `votes` independent judgements, an odd number of them.

    Raises ArgumentError for an even or non-positive number.
    """
    if votes < 1 or votes % 2 == 0:
        raise ArgumentError(f"votes must be an odd number of at least 1, got {votes}")

    from scipy import special  # importing it takes longer than all else here

    # The binomial's upper tail; summed, its terms overflow from a thousand votes on.
    need = votes // 2 + 1

    def most(rate: float) -> float:
        return float(special.betainc(need, votes - need + 1, rate))

    return VerifierChannel(most(channel.fpr), most(channel.fnr))


def explain(name: str, channel: VerifierChannel, estimator: Estimator) -> str:
    """What the correction called `name` does to this estimator, in one sentence.

    name: "backward", "forward" or "majority". Raises ArgumentError for another.
    """
    j = channel.youden
    match name:
        case "forward" if estimator.baseline != "none":
            return (
                "nothing: forward weights are the reward less the constant 1 - fnr, and the baseline "
                "takes any constant away"
            )
        case "forward":
            return (
                "the expected gradient stays; without a baseline the constant changes its variance"
            )
        case "backward" if j == 0.0:
            return "undefined: it divides by J = 0"
        case "backward" if estimator.scale == "group" and estimator.baseline != "none":
            rest = "nothing but rescaling eps: the group's own scale takes the slope 1/J away"
            return rest if j > 0.0 else "it turns the gradient round, rightly, since J < 0; " + rest
        case "backward" if estimator.scale == "others":
            turned = "" if j > 0.0 else "it turns the gradient round, rightly, since J < 0; "
            return (
                turned + "only rollouts whose peers all agree, which no scale reaches, are pushed "
                f"{abs(1.0 / j):.3g} times as hard"
            )
        case "backward":
            return f"the gradient, and its noise, times 1/J = {1.0 / j:.3g}: a learning rate"
        case "majority" if j == 0.0 and channel.fpr == 0.5:
            return "nothing: the majority of fair coins is a fair coin"
        case "majority":
            return (
                "error rates below one half fall and those above rise, if judgements of one rollout "
                "are independent; persistent errors stay as they are"
            )
        case _:
            raise ArgumentError(f"correction must be backward, forward or majority, got {name!r}")
