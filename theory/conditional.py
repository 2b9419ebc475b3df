"""A group whose number of right rollouts is known: exact law of what it is paid and of what it teaches.

Law. Of R right rollouts K ~ Binomial(R, 1 - fnr) are paid, of the G - R wrong ones F ~ Binomial(G - R, fpr),
independently. With S = K + F paid, c = R/G and the advantages A_1(S), A_0(S) of a paid and an unpaid rollout,
    X = (1/G) sum_i A_i (1{right_i} - c) = (1/G) [A_1(S)(K - c S) + A_0(S)(R - K - c(G - S))],
which is (K - c S)/(G(std + eps)) for grpo. Nothing is assumed of pass rates or of how rollouts come to be
right, so measured groups are held against this law and not against q^G + (1 - q)^G, whose q differs from
prompt to prompt. Averaged over R ~ Binomial(G, a) it is `theory.moments.drift`, wherever advantages sum
to zero in every group (grpo, dr_grpo, rloo, grpo_loo).
Fails first when a group's errors hang together given R: tied to what was answered, or to the prompt.
Source: docs/theory.md#the-state-of-a-step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike

from theory.channel import FloatArray, VerifierChannel
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantage_table, binomial_pmf, check_group_size

__all__ = ["GivenRight", "given_right"]

MOST_OUTCOMES: Final = 1 << 24  # paid right times paid wrong, of one number of right rollouts


@dataclass(frozen=True)
class GivenRight:
    """Moments of a group given R; each field has the shape of `right`.

    paid, paid_variance: of S, the number of paid rollouts.
    zero_advantage: P(every advantage is 0).
    reward_variance, reward_variance_variance: mean and variance of the group's sample variance of rewards,
        s(1 - s) G/(G - 1) with s = S/G (ddof 1).
    gradient, gradient_variance: of X, the group's gradient along the ability.
    """

    paid: FloatArray
    paid_variance: FloatArray
    zero_advantage: FloatArray
    reward_variance: FloatArray
    reward_variance_variance: FloatArray
    gradient: FloatArray
    gradient_variance: FloatArray


def given_right(
    right: ArrayLike, channel: VerifierChannel, group_size: int, *, estimator: Estimator = GRPO
) -> GivenRight:
    """Exact moments of groups with these numbers of right rollouts.

    right: integers in [0, group_size], any shape. Time and memory grow with the (right + 1)(group_size - right + 1)
    outcomes of each distinct one, of which there may be MOST_OUTCOMES.
    Raises ArgumentError naming the argument that is out of range.
    """
    size = check_group_size(group_size)
    counts = np.asarray(right)
    if not (np.issubdtype(counts.dtype, np.integer) or np.all(counts == np.rint(counts))):
        raise ArgumentError("right must be whole numbers of rollouts")
    outside = counts[(counts < 0) | (counts > size)]
    if outside.size:
        raise ArgumentError(f"right must lie in [0, {size}], got {outside.flat[0]:g}")
    distinct, place = np.unique(counts, return_inverse=True)
    most = max(((int(r) + 1) * (size - int(r) + 1) for r in distinct), default=0)
    if most > MOST_OUTCOMES:
        raise ArgumentError(
            f"group_size {size} has {most:,} outcomes, and at most {MOST_OUTCOMES:,} are summed: a smaller one"
        )
    table = np.array([_moments(int(r), channel, size, estimator) for r in distinct])
    return GivenRight(*(column[place].reshape(counts.shape) for column in table.reshape(-1, 7).T))


def _moments(right: int, channel: VerifierChannel, size: int, estimator: Estimator) -> list[float]:
    """The fields of `GivenRight` for one R, over the (R + 1)(G - R + 1) outcomes (K, F)."""
    right_paid = np.arange(right + 1)[:, np.newaxis]
    paid = right_paid + np.arange(size - right + 1)
    rates = np.array([1.0 - channel.fnr, channel.fpr])
    chance = binomial_pmf(right, rates[:1]).T * binomial_pmf(size - right, rates[1:])
    down, up = advantage_table(size, estimator)
    unpaid, own = size - paid, right / size
    gradient = up[paid] * (right_paid - own * paid)
    gradient += down[paid] * (right - right_paid - own * unpaid)
    moments: list[float] = []
    for value in (paid, paid * unpaid / (size * (size - 1.0)), gradient / size):
        mean = float((chance * value).sum())
        moments += [mean, float((chance * (value - mean) ** 2).sum())]
    silent = (up == 0.0) & (down == 0.0)
    moments.insert(2, float(chance[silent[paid]].sum()))
    return moments
