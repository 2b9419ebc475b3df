"""The compiled loops of `theory.bandit`: rollouts, gradients and optimiser steps of a population.

A step's rollouts and gradients are computed LANES prompts at a time, in arrays laid out [arm, lane], so
that the compiler vectorises over prompts; nothing is allocated in these loops. The law and the random
scheme are those of `theory.bandit`. Changing the arithmetic changes committed numbers.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numba as nb
import numpy as np

from theory.kernels import binomial, philox

COUNTED_GROUP: Final = 512  # up to here counting every rollout is faster than drawing binomials
LANES: Final = 16  # prompts a vector loop handles at once; any value gives the same results
_LOG2E: Final = 1.4426950408889634
_LN2_HIGH: Final = 0.6931471803691238  # its last 32 bits are 0, so n * _LN2_HIGH is exact
_LN2_LOW: Final = 1.9082149292705877e-10
_MAGIC: Final = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits

__all__ = [
    "COUNTED_GROUP",
    "LANES",
    "Learning",
    "Noise",
    "Parameters",
    "Results",
    "Scratch",
    "advance",
    "advance_on_all_cores",
    "reference_policy",
]


class Parameters(NamedTuple):
    """What is learned, and the optimiser's memory of it."""

    own: Any  # [prompts, arms]
    shared: Any  # [arms]
    first_moment: Any  # [prompts + 1, arms], the last row of the shared parameters
    second_moment: Any
    reference: Any  # [prompts, arms], the policy that KL is measured from


class Noise(NamedTuple):
    """The verifier."""

    accept: Any  # [2, prompts, arms], P(paid | prompt, arm) at the start and at the end of a drift
    correct: Any  # [arms], P(right | arm)
    rates: Any  # [steps, per_step, 2], (fpr, fnr) by group; no steps where `accept` holds
    weight: Any  # [steps], 0 at the start of a drift to 1 at its end


class Learning(NamedTuple):
    """How to learn."""

    size: Any  # rollouts per group
    coupling: Any
    learning_rates: Any  # [steps]
    adam: Any
    plain: Any  # SGD without momentum
    beta1: Any  # of Adam, or momentum
    beta2: Any
    eps: Any
    unpaid: Any  # [G + 1], advantages by the number paid
    paid: Any
    inner_epochs: Any
    clip: Any
    beta: Any  # of KL
    k3: Any  # KL by the k3 estimator on the rollouts, else its exact gradient
    drop_silent: Any


class Results(NamedTuple):
    """What the latest step saw."""

    gradient: Any  # [per_step, arms], at the policy that drew the rollouts
    paid: Any  # [per_step]
    dense: Any  # [prompts, arms], gradients by prompt


class Scratch(NamedTuple):
    """Room to work in, by block of LANES prompts."""

    policy: Any  # [blocks, arms, LANES]
    policy_bits: Any  # the same as int64
    sampled: Any  # [blocks, arms, LANES], the policy that drew the rollouts
    rest: Any  # [blocks, arms + 2, LANES]
    chances: Any  # [blocks, 2 arms, LANES], of (arm, paid), (arm, unpaid)
    chance_bits: Any  # the same as int64
    counts: Any  # [blocks, 2 arms, LANES], cumulative
    words: Any  # [blocks, 2 arms + 4, LANES], random words, thresholds
    ids: Any  # [blocks, LANES], prompts
    partial: Any  # [blocks, arms + 1], sums of gradients; groups that had one


@nb.njit(cache=True)
def _policies(
    ids: Any, own: Any, lift: Any, shared: Any, policy: Any, bits: Any, rest: Any
) -> None:
    """Softmax policies by lane; `bits` is `policy` seen as int64, `rest` scratch of its shape + 2 rows.

    The exponential is written out (2**n times a Taylor polynomial of degree 12 on |r| <= log(2)/2, error
    2 ulp): it vectorises, and it gives the same bits on every platform, which libm does not.
    """
    arms = own.shape[1]
    top, total = rest.shape[0] - 2, rest.shape[0] - 1
    for b in range(LANES):
        rest[top, b] = -np.inf
        rest[total, b] = 0.0
    for a in range(arms):
        for b in range(LANES):
            policy[a, b] = own[ids[b], a] + lift * shared[a]
        for b in range(LANES):
            rest[top, b] = max(rest[top, b], policy[a, b])
    for a in range(arms):
        for b in range(LANES):
            z = max(policy[a, b] - rest[top, b], -700.0)
            shifted = z * _LOG2E + _MAGIC
            n = shifted - _MAGIC
            rest[a, b] = (z - n * _LN2_HIGH) - n * _LN2_LOW
            policy[a, b] = shifted
        for b in range(LANES):
            bits[a, b] = (bits[a, b] << 52) + 4607182418800017408  # 2**n, by its exponent field
        for b in range(LANES):
            r = rest[a, b]
            e = 1.0 / 479001600.0
            e = e * r + 1.0 / 39916800.0
            e = e * r + 1.0 / 3628800.0
            e = e * r + 1.0 / 362880.0
            e = e * r + 1.0 / 40320.0
            e = e * r + 1.0 / 5040.0
            e = e * r + 1.0 / 720.0
            e = e * r + 1.0 / 120.0
            e = e * r + 1.0 / 24.0
            e = e * r + 1.0 / 6.0
            e = e * r + 0.5
            e = e * r + 1.0
            e = e * r + 1.0
            policy[a, b] *= e
        for b in range(LANES):
            rest[total, b] += policy[a, b]
    for a in range(arms):
        for b in range(LANES):
            policy[a, b] /= rest[total, b]


@nb.njit(cache=True)
def reference_policy(own: Any, scratch: Any, out: Any) -> None:
    """The policies of these logits, to the bit as the loops compute them, into out [prompts, arms].

    A policy that has not moved must be at zero KL exactly: Adam would blow a rounding up to a step.
    """
    nothing = np.zeros(own.shape[1])
    policy, ids = scratch.policy[0], scratch.ids[0]
    for first in range(0, own.shape[0], LANES):
        used = min(LANES, own.shape[0] - first)
        for b in range(LANES):
            ids[b] = first + min(b, used - 1)
        _policies(ids, own, 0.0, nothing, policy, scratch.policy_bits[0], scratch.rest[0])
        for b in range(used):
            for a in range(own.shape[1]):
                out[first + b, a] = policy[a, b]


@nb.njit(cache=True)
def _chances(
    ids: Any,
    first: Any,
    step: Any,
    accept: Any,
    correct: Any,
    rates: Any,
    weight: Any,
    policy: Any,
    chances: Any,
) -> None:
    """The probability of each (arm, paid) and (arm, unpaid), by lane."""
    arms = policy.shape[0]
    if rates.shape[0] > 0:
        for b in range(LANES):
            place = min(first + b, rates.shape[1] - 1)
            fpr, fnr = rates[step, place, 0], rates[step, place, 1]
            for a in range(arms):
                paid = correct[a] * (1.0 - fnr) + (1.0 - correct[a]) * fpr
                chances[2 * a, b] = policy[a, b] * paid
                chances[2 * a + 1, b] = policy[a, b] * (1.0 - paid)
    else:
        for a in range(arms):
            for b in range(LANES):
                p = ids[b]
                paid = (1.0 - weight) * accept[0, p, a] + weight * accept[1, p, a]
                chances[2 * a, b] = policy[a, b] * paid
                chances[2 * a + 1, b] = policy[a, b] * (1.0 - paid)


@nb.njit(cache=True)
def _count_rollouts(
    k0: Any,
    k1: Any,
    step: Any,
    ids: Any,
    size: Any,
    chances: Any,
    bits: Any,
    counts: Any,
    words: Any,
) -> None:
    """Cumulative counts over categories, every rollout drawn: one word each, LANES groups at once.

    `bits` is `chances` seen as int64. Adding 2**52 to a threshold below 2**32 leaves it, rounded, in
    the low word: a conversion the vector units have.
    """
    levels = counts.shape[0] - 1
    for b in range(LANES):
        chances[levels, b] = 0.0
    for j in range(levels):
        for b in range(LANES):
            chances[levels, b] += chances[j, b]
            counts[j, b] = 0
        for b in range(LANES):
            chances[j, b] = (
                min(chances[levels, b] * 4294967296.0, 4294967295.0) + 4503599627370496.0
            )
        for b in range(LANES):
            words[4 + j, b] = np.uint32(bits[j, b] & 0xFFFFFFFF)
    for i in range((size + 3) // 4):
        for b in range(LANES):
            w0, w1, w2, w3 = philox(k0, k1, step, np.uint64(ids[b]), np.uint64(i), np.uint64(0))
            words[0, b] = np.uint32(w0)
            words[1, b] = np.uint32(w1)
            words[2, b] = np.uint32(w2)
            words[3, b] = np.uint32(w3)
        for w in range(min(4, size - 4 * i), 4):  # rollouts the group does not have: never below
            for b in range(LANES):
                words[w, b] = np.uint32(0xFFFFFFFF)
        for j in range(levels):
            for b in range(LANES):
                limit = words[4 + j, b]
                counts[j, b] += (
                    np.int32(words[0, b] < limit)
                    + np.int32(words[1, b] < limit)
                    + np.int32(words[2, b] < limit)
                    + np.int32(words[3, b] < limit)
                )


@nb.njit(cache=True)
def _draw_counts(
    k0: Any, k1: Any, step: Any, ids: Any, size: Any, chances: Any, counts: Any, words: Any
) -> None:
    """Cumulative counts over categories, each a binomial given those before it."""
    levels = counts.shape[0] - 1
    # chances[levels] becomes the mass not yet drawn, counts[levels] the rollouts already drawn.
    for b in range(LANES):
        chances[levels, b] = 1.0
        counts[levels, b] = 0
    for j in range(levels):
        for b in range(LANES):
            w0, w1, w2, w3 = philox(k0, k1, step, np.uint64(ids[b]), np.uint64(j), np.uint64(0))
            words[0, b] = np.uint32(w0)
            words[1, b] = np.uint32(w1)
            words[2, b] = np.uint32(w2)
            words[3, b] = np.uint32(w3)
        for b in range(LANES):
            rest = chances[levels, b]
            rate = min(chances[j, b] / rest, 1.0) if rest > 0.0 else 1.0
            drawn = binomial(
                size - counts[levels, b],
                rate,
                (
                    np.uint64(words[0, b]),
                    np.uint64(words[1, b]),
                    np.uint64(words[2, b]),
                    np.uint64(words[3, b]),
                ),
                k0,
                k1,
                step,
                np.uint64(ids[b]),
                np.uint64(j),
            )
            chances[levels, b] = rest - chances[j, b]
            counts[levels, b] += drawn
            counts[j, b] = counts[levels, b]


@nb.njit(cache=True)
def _sample(
    block: Any,
    t: Any,
    offset: Any,
    begin: Any,
    key: Any,
    visits: Any,
    parameters: Any,
    noise: Any,
    learning: Any,
    results: Any,
    scratch: Any,
) -> None:
    """Draw the rollouts of LANES prompts, and count them by arm and verdict."""
    policy, counts = scratch.policy[block], scratch.counts[block]
    chances, ids, sampled = scratch.chances[block], scratch.ids[block], scratch.sampled[block]
    arms = parameters.own.shape[1]
    row = (t - offset) % visits.shape[0]
    first = block * LANES
    used = min(LANES, visits.shape[1] - first)
    for b in range(LANES):
        ids[b] = visits[row, first + min(b, used - 1)]
    _policies(
        ids,
        parameters.own,
        math.sqrt(learning.coupling),
        parameters.shared,
        policy,
        scratch.policy_bits[block],
        scratch.rest[block],
    )
    _chances(
        ids,
        first,
        t - begin,
        noise.accept,
        noise.correct,
        noise.rates,
        noise.weight[t],
        policy,
        chances,
    )
    size = learning.size
    k0, k1 = key
    step = np.uint64(t)
    if size <= COUNTED_GROUP:
        _count_rollouts(
            k0,
            k1,
            step,
            ids,
            size,
            chances,
            scratch.chance_bits[block],
            counts,
            scratch.words[block],
        )
    else:
        _draw_counts(k0, k1, step, ids, size, chances, counts, scratch.words[block])
    last = 2 * arms - 1
    for b in range(LANES):
        counts[last, b] = size
    for b in range(used):
        total = counts[0, b]
        for a in range(1, arms):
            total += counts[2 * a, b] - counts[2 * a - 1, b]
        results.paid[first + b] = total
    if learning.inner_epochs > 1:
        for a in range(arms):
            for b in range(LANES):
                sampled[a, b] = policy[a, b]


@nb.njit(cache=True)
def _learn(
    block: Any,
    t: Any,
    epoch: Any,
    per_step: Any,
    parameters: Any,
    learning: Any,
    results: Any,
    scratch: Any,
) -> None:
    """The gradient of LANES prompts on their rollouts and, under plain SGD, their own parameters' step.

    From the second epoch on the policy has moved away from the one that drew the rollouts: advantages
    carry the ratio of the two, and one whose ratio has left the clip range on its own side is dropped.
    """
    own, beta, size = parameters.own, learning.beta, learning.size
    policy, counts, ids = scratch.policy[block], scratch.counts[block], scratch.ids[block]
    sampled, partial = scratch.sampled[block], scratch.partial[block]
    rest = scratch.rest[block]
    arms = own.shape[1]
    first = block * LANES
    used = min(LANES, per_step - first)
    if epoch > 0:
        _policies(
            ids,
            own,
            math.sqrt(learning.coupling),
            parameters.shared,
            policy,
            scratch.policy_bits[block],
            rest,
        )
    for a in range(arms + 1):
        partial[a] = 0.0
    own_rate = learning.learning_rates[t] * (1.0 - learning.coupling)
    for b in range(used):
        p = ids[b]
        total = results.paid[first + b]
        up, down = learning.paid[total], learning.unpaid[total]
        before, pull = 0, 0.0
        for a in range(arms):
            middle, after = counts[2 * a, b], counts[2 * a + 1, b]
            up_here, down_here = up, down
            if epoch > 0:
                ratio = policy[a, b] / sampled[a, b] if sampled[a, b] > 0.0 else 1.0
                up_here, down_here = _clipped(up, ratio, learning), _clipped(down, ratio, learning)
            c = up_here * (middle - before) + down_here * (after - middle)
            if beta > 0.0 and learning.k3 and after > before:
                # Gradient of k3 = ref/pi - log(ref/pi) - 1 along log pi of a rollout: 1 - ref/pi.
                c -= beta * (after - before) * (1.0 - parameters.reference[p, a] / policy[a, b])
            rest[a, b] = c / size
            pull += rest[a, b]
            before = after
        divergence = 0.0
        if beta > 0.0 and not learning.k3:
            for a in range(arms):
                if policy[a, b] > 0.0:
                    divergence += policy[a, b] * math.log(policy[a, b] / parameters.reference[p, a])
        if 0 < total < size:
            partial[arms] += 1.0
        for a in range(arms):
            g = rest[a, b] - policy[a, b] * pull
            if beta > 0.0 and not learning.k3 and policy[a, b] > 0.0:
                log_ratio = math.log(policy[a, b] / parameters.reference[p, a])
                g -= beta * policy[a, b] * (log_ratio - divergence)
            partial[a] += g
            if epoch == 0:
                results.gradient[first + b, a] = g
            if learning.plain:
                own[p, a] += own_rate * g
            else:
                results.dense[p, a] = g


@nb.njit(cache=True)
def _clipped(advantage: Any, ratio: Any, learning: Any) -> Any:
    """The weight of a rollout's score in PPO's clipped objective."""
    if advantage > 0.0 and ratio > 1.0 + learning.clip:
        return 0.0
    if advantage < 0.0 and ratio < 1.0 - learning.clip:
        return 0.0
    return advantage * ratio


@nb.njit(cache=True)
def _move(
    values: Any,
    gradient: Any,
    inner: Any,
    outer: Any,
    m: Any,
    v: Any,
    rate: Any,
    count: Any,
    learning: Any,
) -> None:
    """The count-th optimiser step of a row that sees inner * gradient and is seen outer times."""
    beta1, beta2 = learning.beta1, learning.beta2
    if learning.adam:
        fix1, fix2 = 1.0 - beta1**count, 1.0 - beta2**count
        for a in range(values.shape[0]):
            g = inner * gradient[a]
            m[a] = beta1 * m[a] + (1.0 - beta1) * g
            v[a] = beta2 * v[a] + (1.0 - beta2) * g * g
            values[a] += outer * rate * (m[a] / fix1) / (math.sqrt(v[a] / fix2) + learning.eps)
    else:
        for a in range(values.shape[0]):
            m[a] = beta1 * m[a] + inner * gradient[a]
            values[a] += outer * rate * m[a]


@nb.njit(cache=True)
def _move_own(p: Any, t: Any, count: Any, parameters: Any, learning: Any, results: Any) -> None:
    """The own parameters' step of prompt p, visited or not: momentum and Adam do not wait."""
    scale = math.sqrt(1.0 - learning.coupling)
    _move(
        parameters.own[p],
        results.dense[p],
        scale,
        scale,
        parameters.first_moment[p],
        parameters.second_moment[p],
        learning.learning_rates[t],
        count,
        learning,
    )
    for a in range(parameters.own.shape[1]):
        results.dense[p, a] = 0.0


@nb.njit(cache=True)
def _move_shared(
    t: Any, count: Any, per_step: Any, parameters: Any, learning: Any, scratch: Any
) -> None:
    """The shared parameters' step: partial sums are added in the order of blocks, whoever made them."""
    arms = parameters.shared.shape[0]
    partial = scratch.partial
    for a in range(arms + 1):
        total = 0.0
        for block in range(partial.shape[0]):
            total += partial[block, a]
        partial[0, a] = total
    groups = max(partial[0, arms], 1.0) if learning.drop_silent else float(per_step)
    for a in range(arms):
        partial[0, a] /= groups
    last = parameters.own.shape[0]
    _move(
        parameters.shared,
        partial[0],
        math.sqrt(learning.coupling),
        1.0,
        parameters.first_moment[last],
        parameters.second_moment[last],
        learning.learning_rates[t],
        count,
        learning,
    )


@nb.njit(nogil=True, cache=True)
def advance(
    begin: Any,
    stop: Any,
    offset: Any,
    key: Any,
    visits: Any,
    parameters: Any,
    noise: Any,
    learning: Any,
    results: Any,
    scratch: Any,
) -> None:
    """Steps [begin, stop) on one core; row t - offset of `visits` is step t, one row serves all."""
    per_step = visits.shape[1]
    for t in range(begin, stop):
        for block in range(scratch.policy.shape[0]):
            _sample(
                block, t, offset, begin, key, visits, parameters, noise, learning, results, scratch
            )
        for epoch in range(learning.inner_epochs):
            count = t * learning.inner_epochs + epoch + 1
            for block in range(scratch.policy.shape[0]):
                _learn(block, t, epoch, per_step, parameters, learning, results, scratch)
            if not learning.plain and learning.coupling < 1.0:
                for p in range(parameters.own.shape[0]):
                    _move_own(p, t, count, parameters, learning, results)
            if learning.coupling > 0.0:
                _move_shared(t, count, per_step, parameters, learning, scratch)


@nb.njit(parallel=True, nogil=True, cache=True)
def advance_on_all_cores(
    begin: Any,
    stop: Any,
    offset: Any,
    key: Any,
    visits: Any,
    parameters: Any,
    noise: Any,
    learning: Any,
    results: Any,
    scratch: Any,
) -> None:
    """As `advance`, blocks of prompts shared out among threads."""
    per_step = visits.shape[1]
    for t in range(begin, stop):
        for block in nb.prange(scratch.policy.shape[0]):
            _sample(
                block, t, offset, begin, key, visits, parameters, noise, learning, results, scratch
            )
        for epoch in range(learning.inner_epochs):
            count = t * learning.inner_epochs + epoch + 1
            for block in nb.prange(scratch.policy.shape[0]):
                _learn(block, t, epoch, per_step, parameters, learning, results, scratch)
            if not learning.plain and learning.coupling < 1.0:
                for p in nb.prange(parameters.own.shape[0]):
                    _move_own(p, t, count, parameters, learning, results)
            if learning.coupling > 0.0:
                _move_shared(t, count, per_step, parameters, learning, scratch)
