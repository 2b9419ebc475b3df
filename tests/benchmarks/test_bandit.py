"""The bandit kernel beside the same simulation in vectorised NumPy: `make bench`, or
`python -m tests.benchmarks.results -k bandit`.

Opposite it is what a competent user would write: float64, all prompts at once, logits, policy and gradient in
place, one Generator; a step draws arms by `multinomial` and verdicts by `binomial`, or every rollout by itself.
Both train 2,000 prompts x 8 arms by plain SGD on GRPO's advantages and end with the pass rates.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

import theory
from tests.benchmarks.conftest import Record
from theory.bandit import Population, Training, population, simulate
from theory.channel import FloatArray
from theory.estimators import GRPO, advantage_table
from theory.structures import Independent

CHANNEL = theory.VerifierChannel(0.1, 0.2)
PROMPTS, STEPS, RATE = 2000, 200, 0.05
TIMES_NUMPY = {4: 7.0, 8: 7.0, 16: 7.0, 64: 5.0, 256: 3.3, 1024: 2.8}  # two threads, issue 7
TIMES_ROLLOUTS = 20.0  # at 64 rollouts
IntArray = NDArray[np.int64]
DrawCounts = Callable[[np.random.Generator, FloatArray, FloatArray, int], tuple[IntArray, IntArray]]


def prompts() -> Population:
    return population(
        np.linspace(0.05, 0.95, PROMPTS), right_modes=2, wrong_modes=6, mode_spread=1.0
    )


def by_counts(
    rng: np.random.Generator, policy: FloatArray, accept: FloatArray, size: int
) -> tuple[IntArray, IntArray]:
    """Rollouts by prompt and arm, paid and in all."""
    taken = rng.multinomial(size, policy)
    return rng.binomial(taken, accept), taken


def by_rollouts(
    rng: np.random.Generator, policy: FloatArray, accept: FloatArray, size: int
) -> tuple[IntArray, IntArray]:
    """The same, every rollout's arm and verdict drawn by itself."""
    rows, arms = policy.shape
    draws = rng.random((rows, size))
    arm = np.zeros((rows, size), dtype=np.int64)
    for end in policy.cumsum(axis=1).T[:-1]:
        arm += draws >= end[:, np.newaxis]
    paid = rng.random((rows, size)) < accept[arm]
    arm += arms * np.arange(rows)[:, np.newaxis]

    def count(places: IntArray) -> IntArray:
        return np.bincount(places, minlength=rows * arms).reshape(rows, arms)

    return count(arm[paid]), count(arm.ravel())


def in_numpy(
    start: Population, size: int, *, steps: int, seed: int, draw: DrawCounts
) -> FloatArray:
    """Final pass rates, shape [prompts]."""
    rng = np.random.default_rng(seed)
    logits = start.logits.copy()
    policy, gradient = np.empty_like(logits), np.empty_like(logits)
    accept = CHANNEL.observed_rate(start.correct)
    unpaid, paid = advantage_table(size, GRPO)
    more = paid - unpaid

    def softmax() -> None:
        np.subtract(logits, logits.max(axis=1, keepdims=True), out=policy)
        np.exp(policy, out=policy)
        np.divide(policy, policy.sum(axis=1, keepdims=True), out=policy)

    for _ in range(steps):
        softmax()
        rewarded, taken = draw(rng, policy, accept, size)
        total = rewarded.sum(axis=1)
        np.multiply(rewarded, more[total, np.newaxis], out=gradient)
        gradient += taken * unpaid[total, np.newaxis]
        gradient -= policy * gradient.sum(axis=1, keepdims=True)
        gradient *= RATE / size
        logits += gradient
    softmax()
    return policy @ start.correct


def ours(start: Population, size: int, *, steps: int, seed: int, threads: int) -> FloatArray:
    training = Training(steps=steps, group_size=size, learning_rate=RATE)
    return simulate(
        start, training, Independent(CHANNEL), seed=seed, evaluate_every=steps, threads=threads
    ).pass_rates


@pytest.mark.parametrize(
    ("size", "draw"), [(4, by_counts), (64, by_counts), (64, by_rollouts), (1024, by_counts)]
)
def test_both_are_the_same_simulation(size: int, draw: DrawCounts) -> None:
    """Pass rates and their squares differ by nothing but noise, independent over prompts."""
    start = prompts()
    a = ours(start, size, steps=60, seed=1, threads=1)
    b = in_numpy(start, size, steps=60, seed=1, draw=draw)
    for power in (1, 2):
        apart = a**power - b**power
        assert abs(apart.mean()) < 4 * apart.std() / np.sqrt(PROMPTS)
    assert a.mean() > start.pass_rates().mean() + 0.05


@pytest.mark.parametrize("size", list(TIMES_NUMPY))
def test_kernel(record: Record, size: int) -> None:
    start = prompts()
    others = {
        "numpy": lambda: in_numpy(start, size, steps=STEPS, seed=1, draw=by_counts),
        "one thread": lambda: ours(start, size, steps=STEPS, seed=1, threads=1),
    }
    if size == 64:
        others["rollouts"] = lambda: in_numpy(start, size, steps=STEPS, seed=1, draw=by_rollouts)
    took = record.compare(
        lambda: ours(start, size, steps=STEPS, seed=1, threads=2), others, rounds=15
    )
    cells: dict[str, str | float | None] = {
        "G": size,
        "two threads, s": took.median(),
        "one thread, s": took.median("one thread"),
        "NumPy, s": took.median("numpy"),
        "NumPy over ours": took.ratio("numpy"),
        "over one thread": took.ratio("numpy", to="one thread"),
    }
    if size == 64:
        cells |= {
            "every rollout in NumPy, s": took.median("rollouts"),
            "every rollout over ours": took.ratio("rollouts"),
            "every rollout over one thread": took.ratio("rollouts", to="one thread"),
        }
    record.row(
        "Bandit kernel",
        cells,
        note=f"{PROMPTS:,} prompts x 8 arms, {STEPS} steps of plain SGD, GRPO. Beside it vectorised NumPy: `multinomial` over arms,"
        " `binomial` over verdicts; at 64 also every rollout drawn by itself.",
    )
    record.need(f"bandit, G = {size}: times NumPy", took.ratio("numpy"), at_least=TIMES_NUMPY[size])
    if size == 64:
        record.need(
            "bandit, G = 64: times NumPy that draws every rollout",
            took.ratio("rollouts"),
            at_least=TIMES_ROLLOUTS,
        )
