"""The compiled loops of `theory.bandit`: rollouts, gradients and optimiser steps of a population.

A step's rollouts and gradients are computed LANES prompts at a time, in arrays laid out [arm, lane], so
that the compiler vectorises over prompts; nothing is allocated in these loops. Where prompts share no
parameters, a block of LANES prompts takes all its steps before the next block begins: what it works on
stays in the nearest cache, and threads need not wait for one another. The law and the random scheme
are those of `theory.bandit`. Changing the arithmetic changes committed numbers.
"""

from __future__ import annotations

import math
from typing import Any, Final, NamedTuple

import numba as nb
import numpy as np

from theory.kernels import exp, log, log_relative_mass, philox, proposed_binomial, unit

COUNTED_GROUP: Final = 256  # up to here counting every rollout is faster than drawing binomials
LANES: Final = 128  # prompts a vector loop handles at once; results depend on it by rounding only
_INVERTED_MEAN: Final = 10.0  # binomials of smaller means are drawn by inversion, else by rejection
ROWS: Final = 11
_TOP, _SUM = 0 * LANES, 1 * LANES  # of policies
_UP, _DOWN, _PULL = 0 * LANES, 1 * LANES, 2 * LANES  # of gradients
_MASS, _LEFT, _RATE, _DRAW = 0 * LANES, 1 * LANES, 2 * LANES, 3 * LANES  # of binomials
_U, _V, _U_UNPAID, _V_UNPAID = 4 * LANES, 5 * LANES, 6 * LANES, 7 * LANES
_TERM, _BELOW, _ODDS = 8 * LANES, 9 * LANES, 10 * LANES  # of those by inversion
_MODE, _HEIGHT = 8 * LANES, 9 * LANES  # of those by rejection
_OWNED: Final = 65535.0  # values of a half-word that categories may own, of 65536

__all__ = [
    "COUNTED_GROUP",
    "LANES",
    "Block",
    "Learning",
    "Noise",
    "Parameters",
    "Results",
    "Stretch",
    "advance_alone",
    "advance_together",
    "evaluate",
    "gradients",
    "move_own",
    "move_shared",
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
    log_factorials: Any  # [G + 1] where counts are drawn, else empty
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


class Block(NamedTuple):
    """Room to work in for LANES prompts, [rows, LANES]; with a first axis of blocks, for all of them."""

    ids: Any  # prompts, no rows
    own: Any  # own parameters by arm
    accept: Any  # P(paid | arm)
    policy: Any  # by arm
    sampled: Any  # by arm, the policy that drew the rollouts
    gradient: Any  # by arm
    rows: Any  # [ROWS * LANES], one after the other: the compiler sees that they do not overlap
    words: Any  # 8, random half-words
    ends: Any  # by category (arm 0 paid, arm 0 unpaid, arm 1 paid, …), where its half-words end
    below: Any  # by category, rollouts below its end
    counts: Any  # by category, rollouts
    total: Any  # no rows, rollouts paid
    partial: Any  # [arms + 1], sums of gradients; groups that had one


class Stretch(NamedTuple):
    """Steps [begin, stop) of a run; row t - offset of `visits` is step t, one row serves all steps."""

    begin: Any
    stop: Any
    offset: Any
    key: Any
    visits: Any  # [steps, per_step]
    parameters: Any
    noise: Any
    learning: Any
    results: Any
    blocks: Any  # Block, of all


@nb.njit(cache=True, error_model="numpy")
def _policies(lift: Any, shared: Any, block: Any) -> None:
    """Softmax policies by lane."""
    own, policy, rows = block.own, block.policy, block.rows
    for b in range(LANES):
        rows[_TOP + b], rows[_SUM + b] = -np.inf, 0.0
    for a in range(own.shape[0]):
        lifted = lift * shared[a]
        for b in range(LANES):
            policy[a, b] = own[a, b] + lifted
            rows[_TOP + b] = max(rows[_TOP + b], policy[a, b])
    for a in range(own.shape[0]):
        for b in range(LANES):
            policy[a, b] = exp(policy[a, b] - rows[_TOP + b])
            rows[_SUM + b] += policy[a, b]
    for b in range(LANES):
        rows[_SUM + b] = 1.0 / rows[_SUM + b]
    for a in range(own.shape[0]):
        for b in range(LANES):
            policy[a, b] *= rows[_SUM + b]


@nb.njit(cache=True, error_model="numpy")
def _block(blocks: Any, i: Any) -> Any:
    """The i-th block. Made once for many steps: what it costs is seen in a step of 64 prompts."""
    return Block(
        blocks.ids[i],
        blocks.own[i],
        blocks.accept[i],
        blocks.policy[i],
        blocks.sampled[i],
        blocks.gradient[i],
        blocks.rows[i],
        blocks.words[i],
        blocks.ends[i],
        blocks.below[i],
        blocks.counts[i],
        blocks.total[i],
        blocks.partial[i],
    )


@nb.njit(cache=True, error_model="numpy")
def reference_policy(own: Any, blocks: Any, out: Any) -> None:
    """The policies of these logits, to the bit as the loops compute them, into out [prompts, arms].

    A policy that has not moved must be at zero KL exactly: Adam would blow a rounding up to a step.
    """
    nothing, block = np.zeros(own.shape[1]), _block(blocks, 0)
    for first in range(0, own.shape[0], LANES):
        used = min(LANES, own.shape[0] - first)
        for b in range(LANES):
            block.ids[b] = first + min(b, used - 1)
        _load(block.ids, own, block.own)
        _policies(0.0, nothing, block)
        for b in range(used):
            for a in range(own.shape[1]):
                out[first + b, a] = block.policy[a, b]


@nb.njit(cache=True, error_model="numpy")
def _load(ids: Any, rows: Any, lanes: Any) -> None:
    for b in range(LANES):
        for a in range(lanes.shape[0]):
            lanes[a, b] = rows[ids[b], a]


@nb.njit(cache=True, error_model="numpy")
def _store(ids: Any, used: Any, lanes: Any, rows: Any) -> None:
    for b in range(used):
        for a in range(lanes.shape[0]):
            rows[ids[b], a] = lanes[a, b]


@nb.njit(cache=True, error_model="numpy")
def _acceptances(first: Any, t: Any, begin: Any, noise: Any, ids: Any, accept: Any) -> None:
    """P(paid | arm) by lane."""
    rates, correct, weight = noise.rates, noise.correct, noise.weight[t]
    for b in range(LANES):
        if rates.shape[0] > 0:
            place = min(first + b, rates.shape[1] - 1)
            fpr, fnr = rates[t - begin, place, 0], rates[t - begin, place, 1]
            for a in range(accept.shape[0]):
                accept[a, b] = correct[a] * (1.0 - fnr) + (1.0 - correct[a]) * fpr
        else:
            p = ids[b]
            for a in range(accept.shape[0]):
                before, after = noise.accept[0, p, a], noise.accept[1, p, a]
                accept[a, b] = (1.0 - weight) * before + weight * after


@nb.njit(cache=True, error_model="numpy")
def _count_rollouts(key: Any, step: Any, size: Any, block: Any) -> None:
    """Counts by category, every rollout drawn: a half-word each, LANES groups at once."""
    ids, policy, accept = block.ids, block.policy, block.accept
    words, ends, below = block.words, block.ends, block.below
    rows, counts = block.rows, block.counts
    k0, k1 = key
    levels = counts.shape[0]
    for b in range(LANES):
        rows[_SUM + b] = 0.0
    for j in range(levels):
        for b in range(LANES):
            paid = policy[j // 2, b] * accept[j // 2, b]
            chance = policy[j // 2, b] - paid if j % 2 else paid
            rows[_SUM + b] += np.floor(chance * _OWNED)
            ends[j, b] = np.uint16(np.int32(rows[_SUM + b]))
        for b in range(LANES):
            below[j, b] = 0
    for i in range((size + 7) // 8):
        for b in range(LANES):
            w0, w1, w2, w3 = philox(k0, k1, step, np.uint64(ids[b]), np.uint64(i), np.uint64(0))
            words[0, b], words[1, b] = np.uint16(w0), np.uint16(w0 >> np.uint64(16))
            words[2, b], words[3, b] = np.uint16(w1), np.uint16(w1 >> np.uint64(16))
            words[4, b], words[5, b] = np.uint16(w2), np.uint16(w2 >> np.uint64(16))
            words[6, b], words[7, b] = np.uint16(w3), np.uint16(w3 >> np.uint64(16))
        here = min(8, size - 8 * i)
        for w in range(here, 8):  # rollouts the group does not have are below no end
            for b in range(LANES):
                words[w, b] = 65535
        for w in range(0, here, 4):
            for j in range(levels):
                for b in range(LANES):
                    end = ends[j, b]
                    below[j, b] += (
                        np.uint16(words[w, b] < end)
                        + np.uint16(words[w + 1, b] < end)
                        + np.uint16(words[w + 2, b] < end)
                        + np.uint16(words[w + 3, b] < end)
                    )
    for b in range(LANES):
        counts[0, b] = below[0, b]
    for j in range(1, levels):
        for b in range(LANES):
            counts[j, b] = np.float64(below[j, b]) - np.float64(below[j - 1, b])
    for b in range(LANES):
        for i in range(size - np.int64(below[levels - 1, b])):
            quad = philox(k0, k1, step, np.uint64(ids[b]), np.uint64(i // 4), np.uint64(1))
            counts[_left_over(b, unit(quad[i % 4]), policy, accept, ends), b] += 1


@nb.njit(cache=True, error_model="numpy")
def _left_over(b: Any, u: Any, policy: Any, accept: Any, ends: Any) -> Any:
    """The category of a rollout in lane b whose half-word nobody owns, from a second draw u."""
    last = ends.shape[0] - 1
    u *= _OWNED + 1.0 - ends[last, b]
    start = 0.0
    for j in range(last):
        paid = policy[j // 2, b] * accept[j // 2, b]
        chance = paid if j % 2 == 0 else policy[j // 2, b] - paid
        u -= (_OWNED + 1.0) * chance - (ends[j, b] - start)
        if u < 0.0:
            return j
        start = np.float64(ends[j, b])
    return last


@nb.njit(cache=True, error_model="numpy")
def _draw_counts(key: Any, step: Any, size: Any, log_factorials: Any, block: Any) -> None:
    """Counts by category, each a binomial given those before it."""
    policy, accept, rows, counts = block.policy, block.accept, block.rows, block.counts
    k0, k1 = key
    last = counts.shape[0] - 1
    for b in range(LANES):
        rows[_MASS + b], rows[_LEFT + b] = 1.0, size  # not yet drawn
    for j in range(last):
        a, unpaid = j // 2, j % 2
        if unpaid:
            for b in range(LANES):
                rows[_U + b], rows[_V + b] = rows[_U_UNPAID + b], rows[_V_UNPAID + b]
        else:
            for b in range(LANES):
                p = np.uint64(block.ids[b])
                w0, w1, w2, w3 = philox(k0, k1, step, p, np.uint64(a), np.uint64(0))
                rows[_U + b], rows[_V + b] = unit(w0), unit(w1)
                rows[_U_UNPAID + b], rows[_V_UNPAID + b] = unit(w2), unit(w3)
        for b in range(LANES):
            paid = policy[a, b] * accept[a, b]
            chance = policy[a, b] - paid if unpaid else paid
            share = chance / rows[_MASS + b]
            rows[_MASS + b] -= chance
            # Where no mass is left, or less by a rounding, the share is no number or negative.
            rows[_RATE + b] = share if 0.0 <= share < 1.0 else 1.0
        _draw_binomials(j, key, step, log_factorials, block)
        for b in range(LANES):
            counts[j, b] = rows[_DRAW + b]
            rows[_LEFT + b] -= rows[_DRAW + b]
    for b in range(LANES):
        counts[last, b] = rows[_LEFT + b]


@nb.njit(cache=True, error_model="numpy")
def _draw_binomials(j: Any, key: Any, step: Any, log_factorials: Any, block: Any) -> None:
    """Draws of _LEFT trials at the rates in _RATE, for category j, into _DRAW.

    Small means are drawn by inversion, all lanes at once: a draw is how many values of the distribution
    function lie below u. Others by rejection.
    """
    rows = block.rows
    more, rejection = False, False
    for b in range(LANES):
        p = min(rows[_RATE + b], 1.0 - rows[_RATE + b])
        inverted = rows[_LEFT + b] * p < _INVERTED_MEAN
        rows[_ODDS + b] = p / (1.0 - p)
        mass = exp(rows[_LEFT + b] * log(1.0 - p)) if inverted else 1.0
        rows[_TERM + b] = rows[_BELOW + b] = mass
        rows[_DRAW + b] = 1.0 if rows[_U + b] > mass else 0.0
        more |= rows[_U + b] > mass
        rejection |= not inverted
    count = 0
    while more:
        count += 1
        more = False
        inverse = 1.0 / count
        for b in range(LANES):
            rows[_TERM + b] *= rows[_ODDS + b] * ((rows[_LEFT + b] + 1.0) * inverse - 1.0)
            rows[_BELOW + b] += rows[_TERM + b]
            rows[_DRAW + b] += 1.0 if rows[_U + b] > rows[_BELOW + b] else 0.0
            more |= rows[_U + b] > rows[_BELOW + b]
    if rejection:
        _reject_binomials(j, key, step, log_factorials, block)
    for b in range(LANES):
        if rows[_RATE + b] > 0.5:
            rows[_DRAW + b] = rows[_LEFT + b] - rows[_DRAW + b]


@nb.njit(cache=True, error_model="numpy")
def _reject_binomials(j: Any, key: Any, step: Any, log_factorials: Any, block: Any) -> None:
    """Those of `_draw_binomials` with large means."""
    rows = block.rows
    for b in range(LANES):
        p, n = min(rows[_RATE + b], 1.0 - rows[_RATE + b]), rows[_LEFT + b]
        draw, mode, height = proposed_binomial(n, p, rows[_U + b], rows[_V + b])
        inverted = n * p < _INVERTED_MEAN
        rows[_DRAW + b] = rows[_DRAW + b] if inverted else draw
        rows[_MODE + b] = mode
        rows[_HEIGHT + b] = -np.inf if inverted else height
    for b in range(LANES):
        n, draw, mode = rows[_LEFT + b], rows[_DRAW + b], rows[_MODE + b]
        height, retry = rows[_HEIGHT + b], np.uint64(0)
        while height > log_relative_mass(n, draw, mode, log_factorials):
            retry += np.uint64(1)
            p = np.uint64(block.ids[b])
            w0, w1, _, _ = philox(key[0], key[1], step, p, np.uint64(j), retry)
            rate = min(rows[_RATE + b], 1.0 - rows[_RATE + b])
            draw, mode, height = proposed_binomial(n, rate, unit(w0), unit(w1))
        rows[_DRAW + b] = draw


@nb.njit(cache=True, error_model="numpy")
def _sample(i: Any, t: Any, stretch: Any, block: Any) -> None:
    """Draw the rollouts of the i-th LANES prompts, and count them by arm and verdict."""
    visits, noise, learning = stretch.visits, stretch.noise, stretch.learning
    ids, policy, rows = block.ids, block.policy, block.rows
    counts, total = block.counts, block.total
    moved = t == stretch.begin or visits.shape[0] > 1
    if moved:
        row = (t - stretch.offset) % visits.shape[0]
        for b in range(LANES):  # lanes to spare hold the last prompt again, and nobody reads them
            ids[b] = visits[row, min(i * LANES + b, visits.shape[1] - 1)]
    if moved or not learning.plain:
        _load(ids, stretch.parameters.own, block.own)
    if moved or noise.rates.shape[0] > 0 or noise.weight[t] != noise.weight[t - 1]:
        _acceptances(i * LANES, t, stretch.begin, noise, ids, block.accept)
    _policies(math.sqrt(learning.coupling), stretch.parameters.shared, block)
    if learning.size <= COUNTED_GROUP:
        _count_rollouts(stretch.key, np.uint64(t), learning.size, block)
    else:
        _draw_counts(stretch.key, np.uint64(t), learning.size, learning.log_factorials, block)
    for b in range(LANES):
        rows[_SUM + b] = 0.0
    for a in range(policy.shape[0]):
        for b in range(LANES):
            rows[_SUM + b] += counts[2 * a, b]
    for b in range(LANES):  # a policy of NaN, of a run that diverged, draws anything
        total[b] = np.int32(min(max(rows[_SUM + b], 0.0), learning.size))
    if learning.inner_epochs > 1:
        for a in range(policy.shape[0]):
            for b in range(LANES):
                block.sampled[a, b] = policy[a, b]


@nb.njit(cache=True, error_model="numpy")
def _learn(i: Any, t: Any, epoch: Any, stretch: Any, block: Any) -> None:
    """The gradient of LANES prompts on their rollouts and, under plain SGD, their own parameters' step.

    From the second epoch on the policy has moved away from the one that drew the rollouts: advantages
    carry the ratio of the two, and one whose ratio has left the clip range on its own side is dropped.
    """
    learning = stretch.learning
    ids, own, policy, gradient = block.ids, block.own, block.policy, block.gradient
    rows, counts, total = block.rows, block.counts, block.total
    arms, beta, per_rollout = own.shape[0], learning.beta, 1.0 / learning.size
    used = min(LANES, stretch.visits.shape[1] - i * LANES)
    if epoch > 0:
        if not learning.plain:
            _load(ids, stretch.parameters.own, own)
        _policies(math.sqrt(learning.coupling), stretch.parameters.shared, block)
    for b in range(LANES):
        rows[_UP + b] = learning.paid[total[b]]
        rows[_DOWN + b] = learning.unpaid[total[b]]
        rows[_PULL + b] = 0.0
    for a in range(arms):
        if epoch == 0:
            for b in range(LANES):
                paid, unpaid = counts[2 * a, b], counts[2 * a + 1, b]
                gradient[a, b] = rows[_UP + b] * paid + rows[_DOWN + b] * unpaid
        else:
            for b in range(LANES):
                before = block.sampled[a, b]
                ratio = policy[a, b] / before if before > 0.0 else 1.0
                paid = counts[2 * a, b] * _clipped(rows[_UP + b], ratio, learning)
                unpaid = counts[2 * a + 1, b] * _clipped(rows[_DOWN + b], ratio, learning)
                gradient[a, b] = paid + unpaid
        if beta > 0.0 and learning.k3:
            for b in range(LANES):
                taken = counts[2 * a, b] + counts[2 * a + 1, b]
                if taken > 0:
                    # Gradient of k3 = ref/pi - log(ref/pi) - 1 along log pi of a rollout: 1 - ref/pi.
                    reference = stretch.parameters.reference[ids[b], a]
                    gradient[a, b] -= beta * taken * (1.0 - reference / policy[a, b])
        for b in range(LANES):
            rows[_PULL + b] += gradient[a, b]
    for a in range(arms):
        for b in range(LANES):
            gradient[a, b] = (gradient[a, b] - policy[a, b] * rows[_PULL + b]) * per_rollout
    if beta > 0.0 and not learning.k3:
        _pull_back(ids, policy, stretch.parameters.reference, beta, gradient)
    if learning.coupling > 0.0:
        _sum_lanes(used, gradient, total, learning.size, block.partial)
    if epoch == 0 and t == stretch.stop - 1:
        for b in range(used):
            stretch.results.paid[i * LANES + b] = total[b]
            for a in range(arms):
                stretch.results.gradient[i * LANES + b, a] = gradient[a, b]
    if learning.plain:
        rate = learning.learning_rates[t] * (1.0 - learning.coupling)
        for a in range(arms):
            for b in range(LANES):
                own[a, b] += rate * gradient[a, b]
        if t == stretch.stop - 1 or stretch.visits.shape[0] > 1:
            _store(ids, used, own, stretch.parameters.own)
    else:
        _store(ids, used, gradient, stretch.results.dense)


@nb.njit(cache=True, error_model="numpy")
def _clipped(advantage: Any, ratio: Any, learning: Any) -> Any:
    """The weight of a rollout's score in PPO's clipped objective."""
    if advantage > 0.0 and ratio > 1.0 + learning.clip:
        return 0.0
    if advantage < 0.0 and ratio < 1.0 - learning.clip:
        return 0.0
    return advantage * ratio


@nb.njit(cache=True, error_model="numpy")
def _pull_back(ids: Any, policy: Any, reference: Any, beta: Any, gradient: Any) -> None:
    """Add the exact gradient of KL to the reference policy, by lane."""
    arms = policy.shape[0]
    for b in range(LANES):
        p, divergence = ids[b], 0.0
        for a in range(arms):
            if policy[a, b] > 0.0:
                divergence += policy[a, b] * math.log(policy[a, b] / reference[p, a])
        for a in range(arms):
            if policy[a, b] > 0.0:
                log_ratio = math.log(policy[a, b] / reference[p, a])
                gradient[a, b] -= beta * policy[a, b] * (log_ratio - divergence)


@nb.njit(cache=True, error_model="numpy")
def _sum_lanes(used: Any, gradient: Any, total: Any, size: Any, partial: Any) -> None:
    """A block's part of the shared gradient, and how many of its groups had one."""
    arms = gradient.shape[0]
    for a in range(arms + 1):
        partial[a] = 0.0
    for a in range(arms):
        for b in range(used):
            partial[a] += gradient[a, b]
    for b in range(used):
        if 0 < total[b] < size:
            partial[arms] += 1.0


@nb.njit(cache=True, error_model="numpy")
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


@nb.njit(cache=True, error_model="numpy")
def _move_own(p: Any, t: Any, epoch: Any, stretch: Any) -> None:
    """The own parameters' step of prompt p, visited or not: momentum and Adam do not wait."""
    parameters, learning = stretch.parameters, stretch.learning
    scale = math.sqrt(1.0 - learning.coupling)
    _move(
        parameters.own[p],
        stretch.results.dense[p],
        scale,
        scale,
        parameters.first_moment[p],
        parameters.second_moment[p],
        learning.learning_rates[t],
        t * learning.inner_epochs + epoch + 1,
        learning,
    )
    for a in range(parameters.own.shape[1]):
        stretch.results.dense[p, a] = 0.0


@nb.njit(nogil=True, cache=True, error_model="numpy")
def advance_alone(stretch: Any, part: Any) -> None:
    """All steps of the blocks [part[0], part[1]), whose prompts nothing else moves."""
    learning = stretch.learning
    for i in range(part[0], part[1]):
        block = _block(stretch.blocks, i)
        used = min(LANES, stretch.visits.shape[1] - i * LANES)
        for t in range(stretch.begin, stretch.stop):
            _sample(i, t, stretch, block)
            for epoch in range(learning.inner_epochs):
                _learn(i, t, epoch, stretch, block)
                if not learning.plain:
                    for b in range(used):
                        _move_own(block.ids[b], t, epoch, stretch)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def gradients(t: Any, epoch: Any, stretch: Any, part: Any) -> None:
    """In its first epoch the rollouts, and the gradients, of step t and the blocks [part[0], part[1])."""
    for i in range(part[0], part[1]):
        block = _block(stretch.blocks, i)
        if epoch == 0:
            _sample(i, t, stretch, block)
        _learn(i, t, epoch, stretch, block)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def move_own(t: Any, epoch: Any, stretch: Any, part: Any) -> None:
    """The own parameters' step of the prompts [part[0], part[1]), unless `gradients` took it."""
    if not stretch.learning.plain and stretch.learning.coupling < 1.0:
        for p in range(part[0], part[1]):
            _move_own(p, t, epoch, stretch)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def move_shared(t: Any, epoch: Any, stretch: Any) -> None:
    """The shared parameters' step: partial sums are added in the order of blocks, whoever made them."""
    parameters, learning, partial = stretch.parameters, stretch.learning, stretch.blocks.partial
    if learning.coupling == 0.0:
        return
    arms = parameters.shared.shape[0]
    for a in range(arms + 1):
        total = 0.0
        for block in range(partial.shape[0]):
            total += partial[block, a]
        partial[0, a] = total
    groups = max(partial[0, arms], 1.0) if learning.drop_silent else stretch.visits.shape[1]
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
        t * learning.inner_epochs + epoch + 1,
        learning,
    )


@nb.njit(nogil=True, cache=True, error_model="numpy")
def advance_together(stretch: Any) -> None:
    """All steps of all prompts on one thread, step by step."""
    for t in range(stretch.begin, stretch.stop):
        for epoch in range(stretch.learning.inner_epochs):
            gradients(t, epoch, stretch, (0, stretch.blocks.partial.shape[0]))
            move_own(t, epoch, stretch, (0, stretch.parameters.own.shape[0]))
            move_shared(t, epoch, stretch)


@nb.njit(nogil=True, cache=True, error_model="numpy")
def evaluate(logits: Any, correct: Any, rates: Any, weight: Any, k: Any) -> Any:
    """Mean P(right), pass at k and entropy of policies; P(paid | wrong), P(not paid | right) over them.

    rates: [2, 2, prompts, arms], (fpr, fnr) at the start and at the end of a drift, `weight` of the way
    to which it is. Not a number where a logit is none: a run that diverged must show.
    """
    prompts, arms = logits.shape
    accuracy, pass_at_k, entropy = 0.0, 0.0, 0.0
    wrong, wrong_paid, right, right_unpaid = 0.0, 0.0, 0.0, 0.0
    policy = np.empty(arms)
    for p in range(prompts):
        top = logits[p].max()
        total, spread, hit = 0.0, 0.0, 0.0
        for a in range(arms):
            policy[a] = math.exp(logits[p, a] - top)
            total += policy[a]
            if policy[a] > 0.0:
                spread += policy[a] * (top - logits[p, a])
        for a in range(arms):
            share = policy[a] / total
            fpr = (1.0 - weight) * rates[0, 0, p, a] + weight * rates[1, 0, p, a]
            fnr = (1.0 - weight) * rates[0, 1, p, a] + weight * rates[1, 1, p, a]
            hit += share * correct[a]
            wrong += share * (1.0 - correct[a])
            wrong_paid += share * (1.0 - correct[a]) * fpr
            right += share * correct[a]
            right_unpaid += share * correct[a] * fnr
        if hit > 1.0:  # by rounding
            hit = 1.0
        accuracy += hit
        pass_at_k += 1.0 - (1.0 - hit) ** k
        entropy += math.log(total) + spread / total
    return (
        accuracy / prompts,
        pass_at_k / prompts,
        entropy / prompts,
        wrong_paid / max(wrong, 1e-300),
        right_unpaid / max(right, 1e-300),
    )
