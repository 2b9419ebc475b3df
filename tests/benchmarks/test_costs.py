"""How time and peak memory grow with the size of the problem: power laws fitted by `fits`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pytest

import theory
from empirical.simulate import run_spec
from tests.benchmarks.conftest import Record, peak_memory
from tests.benchmarks.laws import exponent, in_words
from tests.benchmarks.workloads import batched, curves, sweep
from theory.bandit import Training, population, simulate
from theory.phase import phase_diagram
from theory.structures import Independent
from theory.training_chain import evolve, training_chain


def bandit(
    *, prompts: int = 1000, arms: int = 8, group_size: int = 16, steps: int = 50
) -> Callable[[], object]:
    start = population(np.full(prompts, 0.3), right_modes=arms // 2, wrong_modes=arms // 2)
    training = Training(steps=steps, group_size=group_size)
    noise = Independent(theory.VerifierChannel(0.1, 0.2))
    return lambda: simulate(start, training, noise, seed=0, evaluate_every=steps, threads=1)


def chains(*, verifiers: int = 256, points: int = 481, steps: int = 200) -> Callable[[], object]:
    rates = np.linspace(0.0, 0.45, verifiers)
    chain = training_chain(rates, 0.1, 8, learning_rate=0.4, points=points)
    return lambda: evolve(chain, 0.1, steps)


def diagram(cells: int) -> Callable[[], object]:
    side = np.linspace(0.0, 0.9, round(cells**0.5))
    return lambda: phase_diagram(side, side, (8, 64))


def refits(count: int) -> Callable[[], object]:
    x, y = curves(count)
    return lambda: batched(x, y)


@dataclass(frozen=True)
class Curve:
    """What grows, how it is made, and the sizes it is made in."""

    what: str
    against: str
    make: Callable[[int], Callable[[], object]]
    sizes: Sequence[int]


CURVES = (
    Curve("bandit", "prompts", lambda n: bandit(prompts=n), (1000, 2000, 4000, 8000, 16_000)),
    Curve("bandit", "arms", lambda n: bandit(arms=n), (4, 8, 16, 32, 64)),
    Curve("bandit", "G, counted", lambda n: bandit(group_size=n), (16, 32, 64, 128, 256)),
    Curve("bandit", "G, drawn", lambda n: bandit(group_size=n), (1024, 2048, 4096, 8192, 16_384)),
    Curve("bandit", "steps", lambda n: bandit(steps=n), (50, 100, 200, 400, 800)),
    Curve(
        "sweep",
        "cells",
        lambda n: lambda: run_spec(sweep(20, runs=n), workers=1),
        (2, 4, 8, 16, 32),
    ),
    Curve("chain", "verifiers", lambda n: chains(verifiers=n), (64, 128, 256, 512, 1024)),
    Curve("chain", "steps", lambda n: chains(steps=n), (200, 400, 800, 1600, 3200)),
    Curve("phase", "cells", diagram, (625, 1225, 2500, 5041, 10_201)),
    Curve("fits", "refits", refits, (625, 1250, 2500, 5000, 10_000)),
)
LINEAR = 1.1  # an exponent estimated above this is above linear


@pytest.mark.parametrize("curve", CURVES, ids=lambda curve: f"{curve.what}, {curve.against}")
def test_cost_is_linear_or_better(record: Record, curve: Curve) -> None:
    works = {size: curve.make(size) for size in curve.sizes}
    small, *larger = curve.sizes
    took = record.compare(works[small], {f"{size}": works[size] for size in larger})
    seconds = {small: took.seconds["ours"]} | {size: took.seconds[f"{size}"] for size in larger}
    megabytes = {size: [peak_memory(work)] for size, work in works.items()}
    time_power, time_ci = exponent(seconds)
    memory_power, memory_ci = exponent(megabytes)
    first, last = curve.sizes[0], curve.sizes[-1]
    record.row(
        "How cost grows",
        {
            "what": curve.what,
            "against": curve.against,
            "sizes": f"{first:,} to {last:,}",
            "s": f"{np.median(seconds[first]):.2g} to {np.median(seconds[last]):.2g}",
            "time, exponent": f"{time_power:.2f} {in_words(time_ci)}",
            "peak memory, MB": f"{megabytes[first][0]:.2g} to {megabytes[last][0]:.2g}",
            "memory, exponent": f"{memory_power:.2f} {in_words(memory_ci)}",
        },
        note="Power laws fitted by `fits` (its log-linear law on log cost), with 95 % intervals: of time by Student's t over"
        f" {len(seconds[first])} rounds; of memory, which repeats exactly, by profile likelihood over the five sizes. The bandit"
        " runs on one thread. Memory is what Python and NumPy allocate beyond what is given (not what compiled loops do: a band of a few MB a thread"
        " for chains).",
    )
    for cost, power in (("time", time_power), ("memory", memory_power)):
        what = f"{curve.what} against {curve.against}: exponent of {cost}"
        record.need(what, power, at_most=LINEAR)
