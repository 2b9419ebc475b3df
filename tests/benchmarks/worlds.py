"""Seven simulated worlds that the forecasting model must hold: calibrated on the clean arm, scored on six noisy ones.

    python -m tests.benchmarks.worlds [--truths 8] [--told] [--only WORLD ...]

prints for each world the RMSE beside that of the clean clock slowed by J, the coverage of the 90 % intervals and their
mean width over the RMSE, pooled over random truths (start, ceiling, difficulties, group size, signal). The worlds are
integrated step by step here, with 64 prompts and other difficulties than the model's own. --told: the optimiser is.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from empirical.validate.forecast import validate_forecast
from fits import parse_selection
from theory.estimators import GRPO, REINFORCE, Estimator, advantage_table, binomial_pmf

FloatArray = NDArray[np.float64]

WORLDS: Final = (
    "adam, shared",
    "adam, half per prompt",
    "sgd, per prompt",
    "sgd, shared",
    "sgd, half shared",
    "reinforce",
    "sigmoid",
)
ARMS: Final = {
    "clean": (0.0, 0.0),
    "fpr0.2": (0.2, 0.0),
    "fpr0.4": (0.4, 0.0),
    "fnr0.2": (0.0, 0.2),
    "fnr0.4": (0.0, 0.4),
    "both0.2": (0.2, 0.2),
    "both0.35": (0.35, 0.35),
}
STEPS: Final = 200
EVERY: Final = 10
SAMPLES: Final = 1000
PROMPTS: Final = 64


@dataclass(frozen=True)
class Truth:
    """One random truth.

    pass_rates: of its prompts at the start. curve(fpr, fnr, group size, steps): accuracies, every EVERY steps.
    """

    group_size: int
    prompts_per_step: int
    pass_rates: FloatArray
    curve: Callable[[float, float, int, int], FloatArray]


def truth(name: str, rng: np.random.Generator) -> Truth:
    """A random truth of a world."""
    group, prompts = int(rng.choice([4, 8, 16])), int(rng.choice([8, 32]))
    start, ceiling, spread = rng.uniform(0.05, 0.4), rng.uniform(0.7, 1.0), rng.uniform(0.5, 2.5)
    normal = rng.random() < 0.6
    hard = rng.normal(size=PROMPTS) * spread if normal else rng.exponential(spread, PROMPTS)
    signal = 0.4 * float(np.exp(1.2 * rng.normal()))
    target = rng.uniform(0.75, 0.97) * ceiling
    own = {"adam, half per prompt": 0.5, "sgd, per prompt": 1.0, "sgd, half shared": 0.5}.get(
        name, float(rng.integers(2)) if name == "reinforce" else 0.0
    )
    theta = _found(lambda t: float((ceiling / (1 + np.exp(hard - t))).mean()), start, -20.0, 20.0)
    if name == "sigmoid":
        middle, width = rng.uniform(0.2, 0.6) * STEPS, rng.uniform(0.1, 0.3) * STEPS
        lost = rng.uniform(0.0, 0.15)

        def sigmoid(x: float, d: float, size: int, steps: int) -> FloatArray:
            at = np.arange(0, steps + 1, EVERY)
            first = 1 / (1 + np.exp(middle / width))
            share = (1 / (1 + np.exp((middle - at * (1 - x - d)) / width)) - first) / (1 - first)
            return start + (ceiling * (1 - lost * (x + d)) - start) * share

        curve = sigmoid
    else:

        def trained(x: float, d: float, size: int, steps: int, rate: float) -> FloatArray:
            return _trained(
                x, d, rate, theta=theta, hard=hard, ceiling=ceiling, own=own, signal=signal,
                table=_table(size, REINFORCE if name == "reinforce" else GRPO), steps=steps,
                scale=np.sqrt(size * prompts) if name.startswith("adam") else 0.0,
            )  # fmt: skip

        found = _found(
            lambda r: trained(0.0, 0.0, group, STEPS, float(np.exp(r)))[-1], target, -9.2, 2.3
        )
        rate = float(np.exp(found))

        def curve(x: float, d: float, size: int, steps: int) -> FloatArray:
            return trained(x, d, size, steps, rate)

    rates = ceiling / (1 + np.exp(hard - theta))
    return Truth(group, prompts, rates, curve)


def measured(true: Truth, arm: str, rng: np.random.Generator) -> pd.DataFrame:
    """A run table of one arm, one run."""
    x, d = ARMS[arm]
    accuracy = true.curve(x, d, true.group_size, STEPS)
    return pd.DataFrame(
        {
            "run_id": arm,
            "arm": arm,
            "fpr": x,
            "fnr": d,
            "step": np.arange(0, STEPS + 1, EVERY),
            "accuracy": rng.binomial(SAMPLES, np.clip(accuracy, 0.0, 1.0)) / SAMPLES,
            "group_size": true.group_size,
            "prompts_per_step": true.prompts_per_step,
            "n_eval": SAMPLES,
        }
    )


def world(name: str, seed: int) -> pd.DataFrame:
    """A run table of one random truth of a world, one run an arm."""
    rng = np.random.default_rng([seed, WORLDS.index(name)])
    true = truth(name, rng)
    return pd.concat([measured(true, arm, rng) for arm in ARMS], ignore_index=True)


def _found(function: Callable[[float], float], target: float, low: float, high: float) -> float:
    """Where a rising function reaches `target`."""
    for _ in range(24):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if function(middle) < target else (low, middle)
    return 0.5 * (low + high)


@functools.cache
def _table(group: int, estimator: Estimator) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Observed rates, gain and mean squared advantage there."""
    q = np.sin(np.linspace(0.0, np.pi / 2.0, 513)) ** 2
    others = binomial_pmf(group - 1, q)
    unpaid, paid = advantage_table(group, estimator)
    square = q * (others @ paid[1:] ** 2) + (1 - q) * (others @ unpaid[:-1] ** 2)
    return q, others @ (paid[1:] - unpaid[:-1]), square


def _trained(
    x: float,
    d: float,
    rate: float,
    *,
    theta: float,
    hard: FloatArray,
    ceiling: float,
    own: float,
    table: tuple[FloatArray, FloatArray, FloatArray],
    signal: float,
    scale: float,
    steps: int,
) -> FloatArray:
    """Accuracies every EVERY steps; scale: sqrt(G B) under Adam, 0 under SGD."""
    ability, memory = np.full(hard.size, theta), 0.0
    found: list[float] = []
    for step in range(steps + 1):
        solved = 1 / (1 + np.exp(hard - ability))
        if step % EVERY == 0:
            found.append(float(ceiling * solved.mean()))
        q = x + (1 - x - d) * ceiling * solved
        pull = (1 - x - d) * ceiling * solved * (1 - solved) * np.interp(q, table[0], table[1])
        move = own * pull + (1 - own) * pull.mean()
        if scale > 0.0:
            noise = float(np.interp(q, table[0], table[2]).mean()) / scale**2
            memory = 0.999 * memory + 0.001 * ((signal * pull.mean()) ** 2 + noise)
            move = signal * move / np.sqrt(memory / (1 - 0.999 ** (step + 1)))
        ability = ability + rate * move
    return np.array(found)


def main(arguments: Sequence[str]) -> int:
    """Score every world."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.worlds")
    parser.add_argument("--truths", type=int, default=8)
    parser.add_argument("--told", action="store_true")
    parser.add_argument("--only", nargs="+", choices=WORLDS, default=WORLDS, metavar="WORLD")
    options = parser.parse_args(arguments)
    chosen = parse_selection(["arm=clean"])
    for name in options.only:
        rows: list[pd.DataFrame] = []
        for seed in range(options.truths):
            frame = world(name, seed)
            if options.told:
                frame["optimiser"] = "sgd" if name.startswith(("sgd", "reinforce")) else "adam"
                frame["estimator"] = "reinforce" if name == "reinforce" else "grpo"
            rows.append(validate_forecast(frame, calibrate_on=chosen).forecasts)
        pooled = pd.concat(rows, ignore_index=True)
        seen = pooled["accuracy"]
        ours, theirs = (
            float(np.sqrt(((pooled[by] - seen) ** 2).mean()))
            for by in ("forecast", "time-scaled-by-J")
        )
        held = ((seen >= pooled["low90"]) & (seen <= pooled["high90"])).mean()
        width = (pooled["high90"] - pooled["low90"]).mean()
        sys.stdout.write(
            f"{name:22s} RMSE {ours:.4f}, J-clock {theirs:.4f} (x {ours / theirs:.2f}); intervals hold"
            f" {held:.0%}, {width / ours:.2f} RMSE wide\n"
        )
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
