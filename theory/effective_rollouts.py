"""Effective rollouts: what a noisy verifier's rollouts are worth in those of a clean one.

Law. Take a weight whose score (its part of grad log pi) has mean 0 and one variance v whatever a rollout's
(right, paid), rollouts independent, and a signal small beside that noise: one weight among millions. With
    phi = J sqrt(A / (q(1 - q))),  A = a(1 - a),  q = fpr + J a,
Matthews' correlation of being right and being paid at pass rate a, the squared signal-to-noise ratio of a
group's gradient under `dr_grpo` and `rloo`, at every G >= 2, is *exactly* that of a clean verifier with
    1 + phi^2 (G - 1)  rollouts:                      the effective rollouts.
Proof. Given the rewards the scores are independent, so that the gradient (1/G) sum_i A_i s_i has the
score-noise variance v E[A_i^2]/G, and its mean along ability is proportional to J A D_G(q): SNR^2 is
proportional to (J A D_G)^2 G / E[A_i^2] (`snr2_weight`). For both estimators D_G^2/E[A_i^2] is
((G - 1)/G)/(q(1 - q)), hence SNR^2 = phi^2 A (G - 1), and a clean verifier's is A (G' - 1). QED.
Over a population of prompts with equal rates both sides average: phi^2 = J^2 mean(A)/mean(q(1 - q)), for
every direction in which prompts pull alike or apart. With errors correlated in a group (rates that vary from
group to group) E[q(1 - q)] within groups replaces q(1 - q).
Score noise of unequal size, wrong over right v0/v1, changes E[A^2 v]: wrong completions are as a rule the
noisier, and then false positives cost more than phi^2 says, false negatives less.
Fails first there; then for `grpo`, whose scaled step differs between groups (off by at most 6 %); for noise
along ability itself; for errors that the policy can learn; for a step that is not limited by noise, as
where prompts differ more than their rollouts do: that part of the variance no verifier changes.
Source: docs/theory.md#effective-rollouts. Efficiency phi^2 of a mismeasured binary variable: Lagakos 1988.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from theory.channel import FloatArray, VerifierChannel, check_rate, check_rates
from theory.errors import ArgumentError
from theory.estimators import (
    GRPO,
    Estimator,
    advantage_table,
    binomial_means,
    check_group_size,
)

__all__ = [
    "effective_rollouts",
    "matching_rollouts",
    "phi2",
    "population_phi2",
    "population_snr2_weight",
    "snr2_weight",
]


def phi2(pass_rate: ArrayLike, channel: VerifierChannel, *, correlation: float = 0.0) -> FloatArray:
    """Squared Matthews correlation of right and paid on prompts of these pass rates, in [0, 1].

    pass_rate: P(right) per prompt, in [0, 1], any shape; the result has that shape.
    correlation: of the errors within a group, `GroupCorrelated`'s, in [0, 1].
    At pass rates 0 and 1 the limit, where being right does not vary: 0 unless the verifier never errs there.
    Raises ArgumentError naming what is out of range.
    """
    a = check_rates("pass_rate", pass_rate)
    numerator, within = _shares(a, channel, correlation)
    # A/(q(1 - q)) tends to 1/|J| at an end where the verifier never errs, where both are 0.
    ends = within <= 0.0
    at_end = abs(channel.youden)
    found = np.divide(numerator, within, out=np.full_like(a, at_end), where=~ends)
    return np.minimum(found, 1.0)


def effective_rollouts(
    pass_rate: ArrayLike,
    channel: VerifierChannel,
    group_size: int,
    *,
    correlation: float = 0.0,
) -> FloatArray:
    """1 + phi^2 (G - 1), in [1, G]: the clean rollouts with the same signal-to-noise ratio.

    pass_rate, correlation: as in `phi2`. group_size: at least 2. A verifier with J < 0 has the same number
    and pushes the other way.
    """
    size = check_group_size(group_size)
    return 1.0 + phi2(pass_rate, channel, correlation=correlation) * (size - 1.0)


def matching_rollouts(
    pass_rate: ArrayLike,
    channel: VerifierChannel,
    group_size: int,
    *,
    correlation: float = 0.0,
) -> FloatArray:
    """1 + (G - 1)/phi^2: the noisy rollouts that equal a clean verifier at G; infinite where phi is 0."""
    size = check_group_size(group_size)
    squared = phi2(pass_rate, channel, correlation=correlation)
    return 1.0 + np.divide(
        size - 1.0, squared, out=np.full_like(squared, np.inf), where=squared > 0.0
    )


def population_phi2(
    pass_rates: ArrayLike, channel: VerifierChannel, *, correlation: float = 0.0
) -> float:
    """J^2 mean(A)/mean(q(1 - q)) over prompts of one verifier, in [0, 1]; 0 where no prompt varies.

    pass_rates: [prompts], each of equal weight. Exact for `dr_grpo` and `rloo` in every direction.
    Raises ArgumentError naming what is out of range, or if there are no prompts.
    """
    a = _prompts(pass_rates)
    numerator, within = _shares(a, channel, correlation)
    below = float(within.mean())
    return min(float(numerator.mean()) / below, 1.0) if below > 0.0 else 0.0


def snr2_weight(
    pass_rate: ArrayLike,
    channel: VerifierChannel,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
    wrong_over_right: float = 1.0,
    rewards: tuple[float, float] = (0.0, 1.0),
) -> FloatArray:
    """(J A D_G)^2 G / E[A_i^2 v]: squared signal-to-noise of one weight, per group and unit of signal.

    pass_rate: in [0, 1], any shape; the result has that shape. group_size: at least 2.
    wrong_over_right: v0/v1, the score noise (a variance) of wrong completions over that of right ones,
    above 0; v1 is 1. At 1 this is the law of the module's head.
    rewards: what an unpaid and a paid rollout are worth (`theory.corrections`).
    0 where the gradient is 0 in every group. Compare it over verifiers and group sizes; the unit of signal
    (a weight's pull along ability, squared, over v1) is the task's.
    Raises ArgumentError naming what is out of range.
    """
    a = check_rates("pass_rate", pass_rate)
    pull, noise = _pull_and_noise(a, channel, group_size, estimator, wrong_over_right, rewards)
    return np.divide(pull**2 * group_size, noise, out=np.zeros_like(a), where=noise > 0.0)


def population_snr2_weight(
    pass_rates: ArrayLike,
    channel: VerifierChannel,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
    wrong_over_right: float = 1.0,
    direction: ArrayLike = 1.0,
) -> float:
    """`snr2_weight` of a weight that prompts share: means over prompts of the pull and of the noise.

    pass_rates: [prompts]. direction: how each prompt's ability moves with the weight, [prompts] or a number.
    The variance between prompts is left out: it is small where the signal is.
    """
    a = _prompts(pass_rates)
    pull, noise = _pull_and_noise(a, channel, group_size, estimator, wrong_over_right)
    mean, square = float(np.mean(np.asarray(direction) * pull)), float(noise.mean())
    return mean**2 * group_size / square if square > 0.0 else 0.0


def _prompts(pass_rates: ArrayLike) -> FloatArray:
    a = check_rates("pass_rates", pass_rates)
    if a.ndim != 1 or a.size == 0:
        raise ArgumentError("pass_rates must have shape [prompts], with at least one")
    return a


def _shares(
    a: FloatArray, channel: VerifierChannel, correlation: float
) -> tuple[FloatArray, FloatArray]:
    """J^2 A, and the mean over groups of q(1 - q) in a group, of one prompt each."""
    shared = check_rate("correlation", correlation)
    variance = a * (1.0 - a)
    # q(1 - q) by its parts, so that nothing cancels at the ends: errors among right and wrong rollouts, and
    # what tells them apart. Of the errors' part, rates shared in a group leave the share 1 - c.
    x, d = channel.fpr, channel.fnr
    wrong, right = (1.0 - a) * x * (1.0 - x), a * d * (1.0 - d)
    signal = channel.youden**2 * variance
    between = shared * ((1.0 - a) * wrong + a * right)
    return signal, np.maximum(signal + wrong + right - between, 0.0)


def _pull_and_noise(
    a: FloatArray,
    channel: VerifierChannel,
    group_size: int,
    estimator: Estimator,
    wrong_over_right: float,
    rewards: tuple[float, float] = (0.0, 1.0),
) -> tuple[FloatArray, FloatArray]:
    """J A D_G and E[A_i^2 v] of prompts, from the law of the G - 1 other rollouts' rewards."""
    size = check_group_size(group_size)
    if not (math.isfinite(wrong_over_right) and wrong_over_right > 0.0):
        raise ArgumentError(f"wrong_over_right must be above 0, got {wrong_over_right!r}")
    unpaid, paid = advantage_table(size, estimator, rewards=rewards)
    gains, if_paid, if_unpaid = binomial_means(
        size - 1, channel.observed_rate(a), paid[1:] - unpaid[:-1], paid[1:] ** 2, unpaid[:-1] ** 2
    )
    pull = channel.youden * a * (1.0 - a) * gains
    right = a * ((1.0 - channel.fnr) * if_paid + channel.fnr * if_unpaid)
    wrong = (1.0 - a) * (channel.fpr * if_paid + (1.0 - channel.fpr) * if_unpaid)
    return pull, right + wrong_over_right * wrong
