"""Training one prompt as Markov chains, one per verifier: the whole distribution of accuracy, without sampling error.

Law. With the ability coordinate l = logit a, one step moves l by learning_rate * X, where X has the exact
law of the group's 2 x 2 table (right or wrong, paid or not): S paid, K right among them, U right among
the unpaid,
    X = (1/G) [A_1(S)(K - a S) + A_0(S)(U - a(G - S))],
a mixture of (G + 1)(G + 2)(G + 3)/6 atoms (165 at G = 8). The chain lives on a grid of l; each atom lands
on the three grid points nearest to it with the weights of quadratic interpolation, which keep the mass,
the mean and the second moment of every step exactly. (Linear interpolation adds f(1 - f) h^2 of variance
a step, which adds up: it triples the spread.) Weights may be slightly negative where the grid is finer
than the law is smooth; the error falls about as the cube of the spacing, as measured in the tests.
A step leads a bounded way, so the operator of a verifier is a band. It is made and applied row by row for
LANES verifiers at a time (`theory.chain_kernel`) and then forgotten: a grid of verifiers costs the memory
of its results.
Fails first when several prompts share the ability: then the chain's state is a population.
Source: docs/theory.md#the-chain-of-training; the interpolation is Lax & Wendroff 1960.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from theory import chain_kernel as kernel
from theory.chain_kernel import LANES, Scheme
from theory.channel import FloatArray, VerifierChannel, check_rate, check_rates
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantage_table, check_group_size

__all__ = [
    "ChainPath",
    "HittingTime",
    "TrainingChain",
    "evolve",
    "hitting_time",
    "operators",
    "step_law",
    "training_chain",
]

MOST_IN_LAW: Final = 128


def step_law(
    pass_rate: ArrayLike,
    channel: VerifierChannel,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
) -> tuple[FloatArray, FloatArray]:
    """(values, probabilities) of X, the gradient of one group along the ability coordinate.

    pass_rate: in [0, 1], any shape. Both results have that shape + [atoms]; atoms may coincide. Their number grows as
    group_size**3, so that this is for groups of up to MOST_IN_LAW rollouts.
    Raises ArgumentError naming the argument.
    """
    size = check_group_size(group_size)
    if size > MOST_IN_LAW:
        raise ArgumentError(f"group_size must be at most {MOST_IN_LAW} here, got {size}")
    a = check_rates("pass_rate", pass_rate)[..., np.newaxis]
    paid, right_paid, right_unpaid = (
        part.astype(np.float64)
        for part in np.array(
            [(s, k, u) for s in range(size + 1) for k in range(s + 1) for u in range(size - s + 1)]
        ).T
    )
    down, up = advantage_table(size, estimator)
    s = paid.astype(np.int64)
    values = (up[s] * (right_paid - a * paid) + down[s] * (right_unpaid - a * (size - paid))) / size
    cells = (
        (right_paid, a * (1.0 - channel.fnr)),
        (right_unpaid, a * channel.fnr),
        (paid - right_paid, (1.0 - a) * channel.fpr),
        (size - paid - right_unpaid, (1.0 - a) * (1.0 - channel.fpr)),
    )
    log_probability = special.gammaln(size + 1.0) + sum(
        special.xlogy(count, chance) - special.gammaln(count + 1.0) for count, chance in cells
    )
    return np.broadcast_to(values, log_probability.shape), np.exp(log_probability)


@dataclass(frozen=True)
class TrainingChain:
    """The chains of a grid of verifiers, on one grid of ability.

    fpr, fnr: the verifiers' error rates, one shape [...], which every result begins with.
    logits: the grid of logit a, ascending and even, shape [points]. The two ends absorb.
    group_size, learning_rate, estimator: the step.
    """

    fpr: FloatArray
    fnr: FloatArray
    logits: FloatArray
    group_size: int
    learning_rate: float
    estimator: Estimator

    def pass_rates(self) -> FloatArray:
        """a at the grid points, shape [points]."""
        return special.expit(self.logits)


def training_chain(
    fpr: ArrayLike,
    fnr: ArrayLike,
    group_size: int,
    *,
    learning_rate: float,
    estimator: Estimator = GRPO,
    lowest: float = -12.0,
    highest: float = 12.0,
    points: int = 961,
) -> TrainingChain:
    """The chains of SGD with a constant learning rate on one prompt's ability, one per verifier.

    fpr, fnr: error rates in [0, 1], of shapes that broadcast. lowest, highest: ends of the grid in
    logits; mass that reaches them stays. points: at least 5.
    Raises ArgumentError naming the argument.
    """
    size = check_group_size(group_size)
    x, d = np.broadcast_arrays(check_rates("fpr", fpr), check_rates("fnr", fnr))
    if not 0.0 < learning_rate < math.inf:
        raise ArgumentError(f"learning_rate must be above 0, got {learning_rate!r}")
    if points < 5:
        raise ArgumentError(f"points must be at least 5, got {points}")
    if not -math.inf < lowest < highest < math.inf:
        raise ArgumentError(f"lowest must be below highest, got {lowest!r} and {highest!r}")
    grid = np.linspace(lowest, highest, points)
    return TrainingChain(x, d, grid, size, learning_rate, estimator)


def _scheme(chain: TrainingChain) -> Scheme:
    a = chain.pass_rates()
    size = chain.group_size
    unpaid, paid = advantage_table(size, chain.estimator)
    stride = chain.learning_rate / (chain.logits[1] - chain.logits[0])
    # X is linear in K and in U, so the longest steps have all or none of each right.
    s = np.arange(size + 1.0)
    longest = 0.0
    for k in (0.0, 1.0):
        for u in (0.0, 1.0):
            push = paid * s * (k - a[:, np.newaxis]) + unpaid * (size - s) * (u - a[:, np.newaxis])
            longest = max(longest, float(np.abs(push).max()))
    reach = min(math.floor(stride * longest / size + 0.5), a.size - 1) + 1
    return Scheme(a, unpaid, paid, float(stride), reach)


def _blocks(rates: FloatArray) -> FloatArray:
    """Rates [...] as [blocks, LANES]; the last block is filled up with its last verifier."""
    flat = rates.ravel()
    padded = np.pad(flat, (0, -flat.size % LANES), mode="edge")
    return np.ascontiguousarray(padded.reshape(-1, LANES))


def _by_verifier(chain: TrainingChain, blocks: FloatArray) -> FloatArray:
    """[blocks, ..., LANES] as [verifiers' shape, ...]."""
    inner = blocks.shape[1:-1]
    lanes_first = np.moveaxis(blocks, -1, 1).reshape(-1, *inner)
    return lanes_first[: chain.fpr.size].reshape(*chain.fpr.shape, *inner)


def operators(chain: TrainingChain) -> FloatArray:
    """P(a step leads from grid point i to i + o - reach) as [..., i, o], with 2 reach + 1 places for o.

    Rows sum to one. The whole band of every verifier: 8 points (2 reach + 1) bytes each.
    """
    scheme = _scheme(chain)
    fpr, fnr = _blocks(chain.fpr), _blocks(chain.fnr)
    out = np.empty((len(fpr), chain.logits.size, 2 * scheme.reach + 1, LANES))
    for block in range(len(fpr)):
        kernel.band(fpr[block], fnr[block], scheme, out[block])
    return _by_verifier(chain, out)


@dataclass(frozen=True)
class ChainPath:
    """The distribution of accuracy over training, by verifier: [...] is the shape of the chain's rates.

    step: 0 … steps, shape [steps + 1]. mean, sd: of the pass rate at each step, [..., steps + 1].
    distribution: P(grid point) at the last step, [..., points]; sums to one.
    at_ends: P(the chain has left the grid at its lower end, at its upper one) at the last step, [..., 2].
    """

    step: NDArray[np.int64]
    mean: FloatArray
    sd: FloatArray
    distribution: FloatArray
    at_ends: FloatArray


def _start(chain: TrainingChain, pass_rate: float) -> FloatArray:
    rate = check_rate("pass_rate", pass_rate)
    low, high = chain.pass_rates()[[1, -2]]
    if not low < rate < high:
        raise ArgumentError(
            f"pass_rate must lie within the grid, ({low:.3g}, {high:.6g}), got {rate:g}"
        )
    place = (special.logit(rate) - chain.logits[0]) / (chain.logits[1] - chain.logits[0])
    near, *weights = kernel.shares(float(place), chain.logits.size - 1)
    distribution = np.zeros(chain.logits.size)
    distribution[near - 1 : near + 2] = weights
    return distribution


def _run(
    chain: TrainingChain, start: FloatArray, steps: int, *, kept: FloatArray, weights: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(sums of `weights` by step, final distribution), [..., steps + 1, quantities] and [..., points]."""
    if steps < 0:
        raise ArgumentError(f"steps must be at least 0, got {steps}")
    fpr, fnr = _blocks(chain.fpr), _blocks(chain.fnr)
    seen = np.empty((len(fpr), steps + 1, weights.shape[1], LANES))
    final = np.empty((len(fpr), chain.logits.size, LANES))
    given = _scheme(chain), start, kept, weights
    if len(fpr) == 1:  # waking the other threads takes longer than a block may
        kernel.evolve(fpr[0], fnr[0], *given, seen[0], final[0])
    else:
        kernel.evolve_on_all_cores(fpr, fnr, *given, seen, final)
    return _by_verifier(chain, seen), _by_verifier(chain, final)


def evolve(chain: TrainingChain, pass_rate: float, steps: int) -> ChainPath:
    """The distribution of accuracy after 0 … `steps` steps from `pass_rate`, for every verifier.

    Memory: what is returned, and one band per thread. Threads share the verifiers; no result depends on
    their number.
    """
    a = chain.pass_rates()
    moments, distribution = _run(
        chain,
        _start(chain, pass_rate),
        steps,
        kept=np.ones_like(a),
        weights=np.stack([a, a * a], axis=1),
    )
    mean, square = moments[..., 0], moments[..., 1]
    return ChainPath(
        step=np.arange(steps + 1),
        mean=mean,
        sd=np.sqrt(np.maximum(square - mean**2, 0.0)),
        distribution=distribution,
        at_ends=distribution[..., [0, -1]],
    )


@dataclass(frozen=True)
class HittingTime:
    """When the pass rate first reaches a target, by verifier.

    reached: P(reached by step t), t = 0 … steps, [..., steps + 1]. mean: expected step given that it is
    reached by then, [...]; inf where it never is.
    """

    reached: FloatArray
    mean: FloatArray


def hitting_time(chain: TrainingChain, pass_rate: float, target: float, steps: int) -> HittingTime:
    """First passage from `pass_rate` to at least (or, if it lies below, at most) `target`."""
    rates = chain.pass_rates()
    check_rate("target", target)
    inside = (rates < target if target > pass_rate else rates > target).astype(np.float64)
    left, _ = _run(
        chain,
        _start(chain, pass_rate) * inside,
        steps,
        kept=inside,
        weights=np.ascontiguousarray(inside[:, np.newaxis]),
    )
    reached = 1.0 - left[..., 0]
    arrivals = np.diff(reached)
    total = arrivals.sum(axis=-1)
    when = arrivals @ np.arange(1.0, steps + 1.0)
    mean = np.divide(when, total, out=np.full_like(when, np.inf), where=total > 1e-12)
    return HittingTime(reached, mean)
