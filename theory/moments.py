"""Exact moments of one prompt's gradient at finite group size, and what its rollouts are worth.

Law. With binary rewards, rollout i's advantage depends only on its own reward and on S, the number of
paid rollouts in its group; given S, the right ones among the paid are Binomial(S, pi_1) and among the unpaid
Binomial(G - S, pi_0), independently, with pi_1 = a(1 - fnr)/q and pi_0 = a fnr/(1 - q). So the moments of
    X = (1/G) sum_i A_i (1{right_i} - a)
are sums over S ~ Binomial(G, q), q = fpr + J a, for every estimator at once, and
    E[X] = J a(1 - a) D_G(q),   D_G = E[A_1 | r_1 = 1] - E[A_1 | r_1 = 0]  (`theory.gain`).
Fails first when the rollouts of a group are not judged independently (see `theory.structures`).
Source: docs/theory.md#theorem-1-the-finite-group-gradient; the limit G -> infinity is arXiv 2601.04411.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from theory.channel import FloatArray, VerifierChannel, check_rates
from theory.effective_rollouts import effective_rollouts, phi2, snr2_weight
from theory.estimators import (
    GRPO,
    MOST_CELLS,
    Estimator,
    advantage_table,
    binomial_pmf,
    check_group_size,
    gain,
    quotient,
    zero_advantage_probability,
)

__all__ = ["Drift", "drift"]


@dataclass(frozen=True)
class Drift:
    """Moments of one prompt's gradient along its ability; each field has the shape of `pass_rate`.

    youden: J, in [-1, 1].
    observed_rate: q, the probability that a rollout is paid.
    gain: D_G(q) = drift/(J a(1 - a)), also where that is 0/0 (its limit).
    drift, variance: mean and variance of X = (1/G) sum_i A_i (1{right_i} - a), per group.
    mean_field_drift: the drift at G = infinity and eps = 0, of rewards 0 and 1.
    snr: drift/sqrt(variance), per group; 0 where the gradient is 0 in every group.
    zero_advantage_fraction: P(every advantage of a group is 0).
    phi2, effective_rollouts: the verifier's squared Matthews correlation, and 1 + phi2 (G - 1), whatever the
        estimator; see `theory.effective_rollouts`, which says for which of them that is exact.
    snr2_weight: (J a(1 - a) D_G)^2 G/E[A_i^2], squared signal-to-noise per group and unit of signal of a
        weight whose score noise is independent of being right.
    """

    youden: float
    observed_rate: FloatArray
    gain: FloatArray
    drift: FloatArray
    variance: FloatArray
    mean_field_drift: FloatArray
    snr: FloatArray
    zero_advantage_fraction: FloatArray
    phi2: FloatArray
    effective_rollouts: FloatArray
    snr2_weight: FloatArray


def drift(
    pass_rate: ArrayLike,
    channel: VerifierChannel,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
    rewards: tuple[float, float] = (0.0, 1.0),
) -> Drift:
    """Exact finite-group moments of the gradient of prompts with these pass rates.

    pass_rate: P(right) per prompt, in [0, 1], any shape. group_size: rollouts per prompt, >= 2.
    rewards: what an unpaid and a paid rollout are worth (`theory.corrections`).
    Returns a `Drift` of arrays of that shape.
    Raises ArgumentError naming the argument that is out of range.
    """
    size = check_group_size(group_size)
    a = check_rates("pass_rate", pass_rate)
    q = channel.observed_rate(a)
    unpaid = a * channel.fnr + (1.0 - a) * (
        1.0 - channel.fpr
    )  # 1 - q, whose digits q near 1 has lost
    signal = channel.youden * a * (1.0 - a)
    gains = gain(q, size, estimator=estimator, rewards=rewards)

    expected = channel.youden * a * (1.0 - a) * gains
    table = advantage_table(size, estimator, rewards=rewards)
    if (size + 1) * a.size <= MOST_CELLS:
        variance = _variance(a, q, expected, channel, *table)
    else:  # rate by rate, since the outcomes of all are too many to lay out
        parts = [
            _variance(np.asarray(one), np.asarray(paid), np.asarray(mean), channel, *table)
            for one, paid, mean in zip(a.flat, q.flat, expected.flat, strict=True)
        ]
        variance = np.array(parts).reshape(a.shape)

    # At the ends J a(1 - a)/sigma tends to 0 with sigma.
    scaled = estimator.scale != "none"
    mean_field = quotient(signal, np.sqrt(q * unpaid)) if scaled else signal
    return Drift(
        youden=channel.youden,
        observed_rate=q,
        gain=gains,
        drift=expected,
        variance=variance,
        mean_field_drift=mean_field,
        snr=quotient(expected, np.sqrt(variance)),
        zero_advantage_fraction=zero_advantage_probability(
            q, size, estimator=estimator, rewards=rewards
        ),
        phi2=phi2(a, channel),
        effective_rollouts=effective_rollouts(a, channel, size),
        snr2_weight=snr2_weight(a, channel, size, estimator=estimator, rewards=rewards),
    )


def _variance(
    a: FloatArray,
    q: FloatArray,
    expected: FloatArray,
    channel: VerifierChannel,
    unpaid: FloatArray,
    paid: FloatArray,
) -> FloatArray:
    """Variance of X at pass rates `a`, from the advantages by the number paid."""
    size = len(paid) - 1
    # Where q is 0 or 1 one of the two conditionals is of an event that never happens: any value does.
    right_if_paid = quotient(a * (1.0 - channel.fnr), q)
    right_if_unpaid = quotient(a * channel.fnr, 1.0 - q)
    s = np.arange(size + 1, dtype=np.float64)
    pull_paid, pull_unpaid = paid * s, unpaid * (size - s)
    pmf = binomial_pmf(size, q)
    given_s = (
        (right_if_paid - a)[..., np.newaxis] * pull_paid
        + (right_if_unpaid - a)[..., np.newaxis] * pull_unpaid
    ) / size
    between = (pmf * (given_s - expected[..., np.newaxis]) ** 2).sum(axis=-1)
    within = (
        (right_if_paid * (1.0 - right_if_paid)) * (pmf @ (paid * pull_paid))
        + (right_if_unpaid * (1.0 - right_if_unpaid)) * (pmf @ (unpaid * pull_unpaid))
    ) / size**2
    return between + within
