"""Training one prompt as a Markov chain: the whole distribution of accuracy, without sampling error.

Law. With the ability coordinate l = logit a, one step moves l by learning_rate * X, where X has the exact
law of the group's 2 x 2 table (right or wrong, paid or not): S paid, K right among them, U right among
the unpaid,
    X = (1/G) [A_1(S)(K - a S) + A_0(S)(U - a(G - S))],
a mixture of (G + 1)(G + 2)(G + 3)/6 atoms (165 at G = 8). The chain lives on a grid of l; each atom lands
on the three grid points nearest to it with the weights of quadratic interpolation, which keep the mass,
the mean and the second moment of every step exactly. (Linear interpolation adds f(1 - f) h^2 of variance
a step, which adds up: it triples the spread.) Weights may be slightly negative where the grid is finer
than the law is smooth; the error falls about as the cube of the spacing, as measured in the tests.
Fails first when several prompts share the ability: then the chain's state is a population.
Source: THEORY sections 1 and 4; the interpolation is Lax and Wendroff's.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from theory.channel import FloatArray, VerifierChannel, check_rate, check_rates
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantage_table, check_group_size

if TYPE_CHECKING:
    from scipy.sparse import csr_array

__all__ = [
    "ChainPath",
    "HittingTime",
    "TrainingChain",
    "evolve",
    "hitting_time",
    "step_law",
    "training_chain",
]


def step_law(
    pass_rate: ArrayLike,
    channel: VerifierChannel,
    group_size: int,
    *,
    estimator: Estimator = GRPO,
) -> tuple[FloatArray, FloatArray]:
    """(values, probabilities) of X, the gradient of one group along the ability coordinate.

    pass_rate: in [0, 1], any shape. Both results have that shape + [atoms]; atoms may coincide.
    """
    size = check_group_size(group_size)
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
    """The chain on its grid.

    logits: the grid of logit a, ascending and even, shape [points].
    transition: P(to | from) as a sparse [from, to] matrix; rows sum to one. The two ends absorb.
    """

    logits: FloatArray
    transition: csr_array

    def pass_rates(self) -> FloatArray:
        """a at the grid points, shape [points]."""
        return special.expit(self.logits)


def training_chain(
    channel: VerifierChannel,
    group_size: int,
    *,
    learning_rate: float,
    estimator: Estimator = GRPO,
    lowest: float = -12.0,
    highest: float = 12.0,
    points: int = 961,
) -> TrainingChain:
    """Build the chain of SGD with a constant learning rate on one prompt's ability.

    lowest, highest: ends of the grid in logits; mass that reaches them stays. points: at least 5.
    Raises ArgumentError naming the argument.
    """
    from scipy.sparse import csr_array

    if not 0.0 < learning_rate < math.inf:
        raise ArgumentError(f"learning_rate must be above 0, got {learning_rate!r}")
    if points < 5:
        raise ArgumentError(f"points must be at least 5, got {points}")
    if not -math.inf < lowest < highest < math.inf:
        raise ArgumentError(f"lowest must be below highest, got {lowest!r} and {highest!r}")
    grid = np.linspace(lowest, highest, points)
    spacing = grid[1] - grid[0]
    values, chances = step_law(special.expit(grid), channel, group_size, estimator=estimator)
    # In units of the spacing; an atom beyond an end lands on it.
    landing = np.arange(points)[:, np.newaxis] + learning_rate * values / spacing
    columns, weights = _spread(np.clip(landing, 0.0, points - 1.0), points)
    rows = np.broadcast_to(np.arange(points)[:, np.newaxis, np.newaxis], columns.shape)
    mass = weights * chances[..., np.newaxis]
    # The ends absorb: a chain there has left the range the grid was made for.
    mass[[0, -1]] = 0.0
    entries = csr_array((mass.ravel(), (rows.ravel(), columns.ravel())), shape=(points, points))
    ends = csr_array(([1.0, 1.0], ([0, points - 1], [0, points - 1])), shape=(points, points))
    matrix = csr_array(entries + ends)
    # exp and log leave rows a few ulp off one; 10^5 steps would show it.
    return TrainingChain(grid, csr_array(matrix / matrix.sum(axis=1)[:, np.newaxis]))


def _spread(position: FloatArray, points: int) -> tuple[np.ndarray, FloatArray]:
    """Three grid points and weights per position, in a new last axis: moments 0, 1 and 2 are kept."""
    nearest = np.clip(np.rint(position), 1, points - 2).astype(np.int64)
    f = position - nearest
    weights = np.stack([(f * f - f) / 2.0, 1.0 - f * f, (f * f + f) / 2.0], axis=-1)
    return nearest[..., np.newaxis] + np.arange(-1, 2), weights


@dataclass(frozen=True)
class ChainPath:
    """The distribution of accuracy over training.

    step: 0 … steps, shape [steps + 1]. mean, sd: of the pass rate at each step.
    distribution: P(grid point) at the last step, shape [points]; sums to one.
    at_ends: P(the chain has left the grid at its lower end), and at its upper one, at the last step.
    """

    step: np.ndarray
    mean: FloatArray
    sd: FloatArray
    distribution: FloatArray
    at_ends: tuple[float, float]


def _start(chain: TrainingChain, pass_rate: float) -> FloatArray:
    rate = check_rate("pass_rate", pass_rate)
    low, high = chain.pass_rates()[[1, -2]]
    if not low < rate < high:
        raise ArgumentError(
            f"pass_rate must lie within the grid, ({low:.3g}, {high:.6g}), got {rate:g}"
        )
    place = (special.logit(rate) - chain.logits[0]) / (chain.logits[1] - chain.logits[0])
    columns, weights = _spread(np.asarray(place), chain.logits.size)
    distribution = np.zeros(chain.logits.size)
    distribution[columns] = weights
    return distribution


def evolve(chain: TrainingChain, pass_rate: float, steps: int) -> ChainPath:
    """The distribution of accuracy after 0 … `steps` steps from `pass_rate`."""
    if steps < 0:
        raise ArgumentError(f"steps must be at least 0, got {steps}")
    distribution = _start(chain, pass_rate)
    forward = chain.transition.T.tocsr()
    rates = chain.pass_rates()
    mean, square = np.empty(steps + 1), np.empty(steps + 1)
    for t in range(steps + 1):
        mean[t], square[t] = distribution @ rates, distribution @ rates**2
        if t < steps:
            distribution = forward @ distribution
    return ChainPath(
        step=np.arange(steps + 1),
        mean=mean,
        sd=np.sqrt(np.maximum(square - mean**2, 0.0)),
        distribution=distribution,
        at_ends=(float(distribution[0]), float(distribution[-1])),
    )


@dataclass(frozen=True)
class HittingTime:
    """When the pass rate first reaches a target.

    reached: P(reached by step t), t = 0 … steps. mean: expected step given that it is reached by then;
    None if it never is.
    """

    reached: FloatArray
    mean: float | None


def hitting_time(chain: TrainingChain, pass_rate: float, target: float, steps: int) -> HittingTime:
    """First passage from `pass_rate` to at least (or, if it lies below, at most) `target`."""
    from scipy.sparse import csr_array, diags_array

    rates = chain.pass_rates()
    check_rate("target", target)
    inside = rates < target if target > pass_rate else rates > target
    distribution = _start(chain, pass_rate) * inside
    kept = csr_array(diags_array(inside.astype(np.float64)) @ chain.transition.T)
    left = np.empty(steps + 1)
    for t in range(steps + 1):
        left[t] = distribution.sum()
        distribution = kept @ distribution
    reached = 1.0 - left
    arrivals = np.diff(reached)
    total = float(arrivals.sum())
    mean = float(arrivals @ np.arange(1, steps + 1)) / total if total > 1e-12 else None
    return HittingTime(reached, mean)
