"""Group-relative advantages of a noisy verifier, and what a paid rollout is worth over an unpaid one.

Law. With binary rewards, rollout i's advantage depends only on its own reward and on S, the number of
paid rollouts in its group: A_i = A_1(S) if paid, A_0(S) if not. Given a rollout's own reward the others' paid
are Binomial(G - 1, q), so that every moment of an advantage is a finite sum (`gain`; `theory.moments`).
Fails first when the rollouts of a group are not judged independently (see `theory.structures`).
Source: docs/theory.md#theorem-1-the-finite-group-gradient; the limit G -> infinity is
arXiv 2601.04411. The estimators are those of TRL (`grpo`), arXiv 2503.20783 (`dr_grpo`),
arXiv 2402.14740 (`rloo`) and NeMo-RL (`nemo_loo`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from theory.channel import FloatArray, check_rates
from theory.errors import ArgumentError

Baseline = Literal["none", "group", "others"]
Scale = Literal["none", "group", "others"]

__all__ = [
    "DR_GRPO",
    "GRPO",
    "GRPO_LOO",
    "NEMO_LOO",
    "PRESETS",
    "REINFORCE",
    "RLOO",
    "Estimator",
    "advantage_table",
    "advantages",
    "binomial_means",
    "binomial_pmf",
    "check_group_size",
    "estimator_named",
    "gain",
    "mean_field_gain",
    "quotient",
    "zero_advantage_probability",
]


@dataclass(frozen=True)
class Estimator:
    """How a group's rewards become advantages: (r - baseline) / (scale + eps).

    baseline: "none"; "group", the mean of the whole group; "others", the mean of the other rollouts.
    scale: "none"; "group", the standard deviation of the whole group; "others", that of the other
        rollouts, and 1 where it is 0.
    ddof: degrees of freedom taken off in that standard deviation, 0 or 1.
    eps: added to the standard deviation; unused where scale is "none" or where "others" agree.
    """

    baseline: Baseline
    scale: Scale
    ddof: int = 1
    eps: float = 0.0

    def __post_init__(self) -> None:
        if self.baseline not in get_args(Baseline):
            raise ArgumentError(f"baseline must be none, group or others, got {self.baseline!r}")
        if self.scale not in get_args(Scale):
            raise ArgumentError(f"scale must be none, group or others, got {self.scale!r}")
        if self.ddof not in (0, 1):
            raise ArgumentError(f"ddof must be 0 or 1, got {self.ddof!r}")
        if not (math.isfinite(self.eps) and self.eps >= 0.0):
            raise ArgumentError(f"eps must be a finite number of at least 0, got {self.eps!r}")


GRPO: Final = Estimator("group", "group", ddof=1, eps=1e-4)
DR_GRPO: Final = Estimator("group", "none")
RLOO: Final = Estimator("others", "none")
GRPO_LOO: Final = Estimator("others", "group", ddof=1, eps=1e-4)
NEMO_LOO: Final = Estimator("others", "others", ddof=1, eps=1e-6)
REINFORCE: Final = Estimator("none", "none")

PRESETS: Final = {
    "grpo": GRPO,
    "dr_grpo": DR_GRPO,
    "rloo": RLOO,
    "grpo_loo": GRPO_LOO,
    "nemo_loo": NEMO_LOO,
    "reinforce": REINFORCE,
}


def estimator_named(name: str) -> Estimator:
    """The preset called `name` (grpo, dr_grpo, rloo, grpo_loo, nemo_loo, reinforce).

    Raises ArgumentError that lists the names.
    """
    try:
        return PRESETS[name]
    except KeyError:
        raise ArgumentError(
            f"estimator must be one of {', '.join(PRESETS)}, got {name!r}"
        ) from None


# Every sum over a group has as many terms as it has rollouts; beyond, take the infinite group.
MOST_ROLLOUTS: Final = 1_000_000
MOST_REWARD: Final = 1e150


def check_group_size(group_size: int) -> int:
    """Return `group_size` if it is an integer in [2, MOST_ROLLOUTS]; raise ArgumentError otherwise."""
    if isinstance(group_size, bool) or not isinstance(group_size, int | np.integer):
        raise ArgumentError(f"group_size must be an integer, got {group_size!r}")
    if group_size < 2:
        raise ArgumentError(f"group_size must be at least 2, got {group_size}")
    if group_size > MOST_ROLLOUTS:
        raise ArgumentError(f"group_size must be at most {MOST_ROLLOUTS:,}")
    return int(group_size)


def advantages(rewards_G: ArrayLike, estimator: Estimator = GRPO) -> FloatArray:
    """Advantages of actual groups, any real rewards.

    rewards_G: shape [..., G], one group along the last axis, G >= 2. Returns the same shape.
    Raises ArgumentError for a group of fewer than two rollouts, or a reward that is not finite or, where they are
    scaled, above MOST_REWARD.
    """
    rewards = np.asarray(rewards_G, dtype=np.float64)
    if rewards.ndim == 0:
        raise ArgumentError("rewards must be an array of shape [..., group_size]")
    size = check_group_size(rewards.shape[-1])
    if not np.all(np.isfinite(rewards)):
        raise ArgumentError("rewards must be finite; leave unscorable rollouts out of their group")
    if estimator.scale != "none" and np.abs(rewards).max(initial=0.0) > MOST_REWARD:
        raise ArgumentError(
            f"rewards must be at most {MOST_REWARD:g} in size: their squares are summed"
        )
    if estimator.baseline == "none":
        centred = rewards
    elif estimator.baseline == "group":
        centred = rewards - rewards.mean(axis=-1, keepdims=True)
    else:
        centred = rewards - _mean_of_others(rewards)
    if estimator.scale == "none":
        return centred
    if estimator.scale == "group":
        # Two passes: the mean of squares minus the squared mean would leave a rounding where all
        # rewards are equal, and eps is small enough to blow it up.
        spread = rewards.std(axis=-1, ddof=estimator.ddof, keepdims=True)
        return quotient(centred, spread + estimator.eps)
    others = size - 1
    if others <= estimator.ddof:
        return centred
    # Leave-one-out squares from deviations from the group's mean, where nothing cancels.
    deviations = rewards - rewards.mean(axis=-1, keepdims=True)
    squares = (deviations**2).sum(axis=-1, keepdims=True) - deviations**2 * (size / others)
    spread = np.sqrt(np.maximum(squares, 0.0) / (others - estimator.ddof))
    # Others that agree exactly must give exactly 0, not the rounding of a difference.
    spread[_others_agree(rewards)] = 0.0
    return np.where(spread > 0.0, quotient(centred, spread + estimator.eps), centred)


def _mean_of_others(rewards: FloatArray) -> FloatArray:
    return (rewards.sum(axis=-1, keepdims=True) - rewards) / (rewards.shape[-1] - 1)


def quotient(numerator: FloatArray, denominator: FloatArray) -> FloatArray:
    """numerator / denominator, and 0 where both are 0 (a group whose rewards agree, eps = 0)."""
    denominator = np.broadcast_to(denominator, numerator.shape)
    return np.divide(numerator, denominator, out=np.zeros_like(numerator), where=denominator > 0.0)


def _others_agree(rewards: FloatArray) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    """Whether all rewards but this one are equal, per rollout."""
    ordered = np.sort(rewards, axis=-1)
    low, high = ordered[..., :1], ordered[..., -1:]
    second_low, second_high = ordered[..., 1:2], ordered[..., -2:-1]
    lowest_odd = (rewards == low) & (second_low == high)
    highest_odd = (rewards == high) & (low == second_high)
    return lowest_odd | highest_odd


def advantage_table(
    group_size: int, estimator: Estimator = GRPO, *, rewards: tuple[float, float] = (0.0, 1.0)
) -> tuple[FloatArray, FloatArray]:
    """(A_0, A_1): the advantage of an unpaid and of a paid rollout, by the number paid in its group.

    rewards: what an unpaid and a paid rollout are worth, once corrected.
    Two arrays of shape [G + 1], indexed by S. A_0(G) and A_1(0) belong to no rollout and are 0.
    """
    size = check_group_size(group_size)
    paid = np.arange(size + 1, dtype=np.float64)
    worth = rewards[1] - rewards[0]
    table: list[FloatArray] = []
    for own in (0.0, 1.0):
        others_paid = np.clip(paid - own, 0.0, size - 1.0)
        share = paid / size
        if estimator.baseline == "none":
            centred = np.full(size + 1, rewards[int(own)])
        elif estimator.baseline == "group":
            centred = worth * (own - share)
        else:
            centred = worth * (own - others_paid / (size - 1))
        if estimator.scale == "group":
            spread = abs(worth) * np.sqrt(share * (1.0 - share) * size / (size - estimator.ddof))
            values = quotient(centred, spread + estimator.eps)
        elif estimator.scale == "others" and size - 1 > estimator.ddof:
            other = others_paid / (size - 1)
            spread = np.sqrt(other * (1.0 - other) * (size - 1) / (size - 1 - estimator.ddof))
            spread = abs(worth) * spread
            values = np.where(spread > 0.0, quotient(centred, spread + estimator.eps), centred)
        else:
            values = centred.copy()
        values[0 if own else size] = 0.0
        table.append(values)
    return table[0], table[1]


def binomial_pmf(trials: int, rate: FloatArray) -> FloatArray:
    """P(S = s) for s = 0 … trials along a new last axis; rates in [0, 1], the ends included."""
    s = np.arange(trials + 1, dtype=np.float64)
    # Log factorials by summation, not scipy.special: importing that takes longer than all else here.
    log_factorial = np.cumsum(np.log(np.maximum(s, 1.0)))
    log_choose = log_factorial[-1] - log_factorial - log_factorial[::-1]
    # -800 instead of log 0: exp(-800) is exactly 0, and 0 * -800, unlike 0 * -inf, is 0 where s = 0.
    rate = rate[..., np.newaxis]
    hit = np.log(rate, out=np.full_like(rate, -800.0), where=rate > 0.0)
    miss = np.log1p(-rate, out=np.full_like(rate, -800.0), where=rate < 1.0)
    return np.exp(log_choose + s * hit + (trials - s) * miss)


# Outcomes times rates that are laid out at once: 64 MiB.
MOST_CELLS: Final = 1 << 23


def binomial_means(trials: int, rate: FloatArray, *values: FloatArray) -> tuple[FloatArray, ...]:
    """E[value(S)], S ~ Binomial(trials, rate), of each of `values`, arrays over s = 0 … trials; each of rate's shape.

    Where the outcomes of all rates are too many to lay out, rate by rate over those whose chance is not 0.
    """
    if (trials + 1) * rate.size <= MOST_CELLS:
        pmf = binomial_pmf(trials, rate)
        return tuple(pmf @ value for value in values)
    log_factorial = np.cumsum(np.log(np.maximum(np.arange(trials + 1, dtype=np.float64), 1.0)))
    means = np.empty((len(values), rate.size))
    for place, q in enumerate(rate.flat):
        # At 39 standard deviations, or 400 outcomes where few are expected, exp gives exactly 0.
        width = 40.0 * math.sqrt(trials * q * (1.0 - q)) + 400.0
        low = max(0, math.floor(trials * q - width))
        some = slice(low, min(trials, math.ceil(trials * q + width)) + 1)
        s = np.arange(some.start, some.stop, dtype=np.float64)
        log_choose = log_factorial[-1] - log_factorial[some] - log_factorial[::-1][some]
        hit = math.log(q) if q > 0.0 else -800.0
        miss = math.log1p(-q) if q < 1.0 else -800.0
        pmf = np.exp(log_choose + s * hit + (trials - s) * miss)
        for mean, value in zip(means, values, strict=True):
            mean[place] = pmf @ value[some]
    return tuple(mean.reshape(rate.shape) for mean in means)


def gain(
    observed_rate: ArrayLike,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
    rewards: tuple[float, float] = (0.0, 1.0),
) -> FloatArray:
    """Expected advantage of a paid over an unpaid rollout, D_G(q).

    observed_rate: probability that a rollout is paid, in [0, 1], any shape.
    rewards: what an unpaid and a paid rollout are worth (`theory.corrections`).
    Returns the same shape; at q = 0 and 1 the limit, (G - 1)/sqrt(G) for GRPO with eps = 0.
    Raises ArgumentError if group_size < 2 or a rate lies outside [0, 1].
    """
    size = check_group_size(group_size)
    rate = check_rates("observed_rate", observed_rate)
    unpaid, paid = advantage_table(size, estimator, rewards=rewards)
    # Given its own reward, the others' S' is Binomial(G - 1, q): no division by q(1 - q) anywhere.
    return binomial_means(size - 1, rate, paid[1:] - unpaid[:-1])[0]


def mean_field_gain(observed_rate: ArrayLike, *, estimator: Estimator = GRPO) -> FloatArray:
    """The limit of `gain` as G -> infinity with eps = 0: 1/sqrt(q(1 - q)) if scaled, else 1.

    Infinite at q = 0 and 1 for a scaled estimator.
    """
    rate = check_rates("observed_rate", observed_rate)
    if estimator.scale == "none":
        return np.ones_like(rate)
    spread = np.sqrt(rate * (1.0 - rate))
    return np.divide(1.0, spread, out=np.full_like(rate, np.inf), where=spread > 0.0)


def zero_advantage_probability(
    observed_rate: ArrayLike,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
    rewards: tuple[float, float] = (0.0, 1.0),
) -> FloatArray:
    """P(every advantage of a group is 0): q^G + (1 - q)^G, all rewards equal.

    rewards: what an unpaid and a paid rollout are worth (`theory.corrections`). Without a baseline
        (`reinforce`) a group whose rewards agree still pushes unless they are 0: (1 - q)^G as a rule.
    """
    size = check_group_size(group_size)
    rate = check_rates("observed_rate", observed_rate)
    none_paid = (1.0 - rate) ** size
    if estimator.baseline == "none":
        return none_paid * (rewards[0] == 0.0) + rate**size * (rewards[1] == 0.0)
    return none_paid + rate**size
