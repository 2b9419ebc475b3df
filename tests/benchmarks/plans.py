"""Does `plan` know what it says? Its intervals and its ranks, over simulated truths with known best levers.

    python -m tests.benchmarks.plans [--sums sums.json] [--truths 504] [--worlds 'adam, shared']

Each truth is one of `tests.benchmarks.worlds` (of which the clean arm calibrates) and a verifier, fpr and fnr in
[.05, .35], audited from 60 prompts of 8 labelled rollouts whose errors cluster (intraclass correlation .2). Prints for
each world: the share of 95 % intervals that hold what the lever truly buys, in effective rollouts and in accuracy; how
often the truly best lever was said to be worse than another (wrong), or was ranked above one at least; how many of the
ranked pairs were wrong; and how wide the accuracy intervals are. Goes on from the sums it is given.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from empirical.audit.clusters import clustered_rate, correlation
from empirical.plan import Plan, Rates, plan
from empirical.validate.calibrate import calibrate
from fits.files import write_text
from tests.benchmarks.worlds import STEPS, WORLDS, Truth, measured, truth
from tests.empirical.audit.clustered import beta_rates
from theory import VerifierChannel
from theory.effective_rollouts import population_phi2

VERIFIERS = 9  # of a truth: calibrating costs more than planning


@dataclass
class Score:
    """What was counted."""

    rollouts: list[bool] = field(default_factory=list)
    accuracy: list[bool] = field(default_factory=list)
    widths: list[float] = field(default_factory=list)
    ranked: int = 0
    ranked_wrong: int = 0
    best_wrong: int = 0
    best_ranked: int = 0
    truths: int = 0

    def add(self, other: Score) -> None:
        """Count it too."""
        for name, value in vars(other).items():
            setattr(self, name, getattr(self, name) + value)

    def __str__(self) -> str:
        """One line."""
        return (
            f"{self.truths} truths: intervals hold {np.mean(self.rollouts):.3f} of effective rollouts,"
            f" {np.mean(self.accuracy):.3f} of accuracy (mean width {np.mean(self.widths):.3f}); the best lever is"
            f" called worse than another in {self.best_wrong / self.truths:.3f}, above one in"
            f" {self.best_ranked / self.truths:.3f}; ranked pairs {self.ranked}, wrong"
            f" {self.ranked_wrong / max(self.ranked, 1):.3f}"
        )


def audited(rng: np.random.Generator, fpr: float, fnr: float, pass_rate: float) -> Rates:
    """Rates as an audit of 60 prompts x 8 rollouts with clustered errors finds them."""
    right = rng.binomial(8, beta_rates(rng, pass_rate, 0.2, 60)).astype(float)
    wrong = 8.0 - right
    paid = rng.binomial(wrong.astype(int), beta_rates(rng, fpr, 0.2, 60)).astype(float)
    missed = rng.binomial(right.astype(int), beta_rates(rng, fnr, 0.2, 60)).astype(float)
    x, d = clustered_rate(paid, wrong), clustered_rate(missed, right)
    assert x is not None
    assert d is not None
    return Rates(x.value, d.value, x.ci, d.ci, correlation=correlation(x, d))


def score(found: Plan, true: Truth, fpr: float, fnr: float, alike: float) -> Score:
    """One plan against its truth. alike: how alike repeated judgements err."""
    size = true.group_size

    def majority(p: float) -> float:
        return alike * p + (1.0 - alike) * (3.0 * p**2 - 2.0 * p**3)

    levers = {
        "as it is": (fpr, fnr, size, STEPS),
        "twice the rollouts": (fpr, fnr, 2 * size, STEPS),
        "twice the steps": (fpr, fnr, size, 2 * STEPS),
        "halve fpr": (fpr / 2.0, fnr, size, STEPS),
        "halve fnr": (fpr, fnr / 2.0, size, STEPS),
        "majority of 3 judgements": (majority(fpr), majority(fnr), size, STEPS),
    }
    ends = {name: float(true.curve(*lever)[-1]) for name, lever in levers.items()}
    worth = {
        name: 1.0 + population_phi2(true.pass_rates, VerifierChannel(x, d)) * (g - 1)
        for name, (x, d, g, _) in levers.items()
    }
    now = "as it is"
    counted = Score(truths=1)
    low, high = found.effective_rollouts_ci
    counted.rollouts.append(bool(low <= worth[now] <= high))
    for lever in found.levers:
        if lever.name not in levers:
            continue
        if lever.effective_rollouts_gain_ci is not None:
            low, high = lever.effective_rollouts_gain_ci
            counted.rollouts.append(bool(low <= worth[lever.name] - worth[now] <= high))
        assert lever.ci is not None
        low, high = lever.ci
        counted.accuracy.append(bool(low <= ends[lever.name] - ends[now] <= high))
        counted.widths.append(high - low)
    best = max(ends, key=lambda name: ends[name])
    pairs = [one for one in found.ranked if one.better in levers and one.worse in levers]
    counted.ranked = len(pairs)
    counted.ranked_wrong = sum(ends[one.better] < ends[one.worse] for one in pairs)
    counted.best_wrong = int(any(one.worse == best for one in pairs))
    counted.best_ranked = int(any(one.better == best for one in pairs))
    return counted


def run(name: str, seed: int) -> Score:
    """Score the plans of VERIFIERS verifiers in one random truth of a world."""
    rng = np.random.default_rng([seed, WORLDS.index(name), 15])
    true = truth(name, rng)
    calibration = calibrate(measured(true, "clean", rng))
    total = Score()
    for _ in range(VERIFIERS):
        fpr, fnr = (float(rate) for rate in rng.uniform(0.05, 0.35, 2))
        found = plan(
            audited(rng, fpr, fnr, float(true.pass_rates.mean())),
            group_size=true.group_size,
            steps=STEPS,
            pass_rates=[float(rate) for rate in true.pass_rates],
            prompts_per_step=true.prompts_per_step,
            calibration=calibration,
            seed=int(rng.integers(2**31)),
        )
        total.add(score(found, true, fpr, fnr, float(rng.random())))
    return total


def main(arguments: Sequence[str]) -> int:
    """Score every world."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.plans")
    parser.add_argument("--truths", type=int, default=504)
    parser.add_argument("--worlds", action="append", choices=WORLDS)
    parser.add_argument("--sums", type=Path)
    options = parser.parse_args(arguments)
    chosen = options.worlds or WORLDS
    held: dict[str, dict[str, Any]] = {}
    if options.sums is not None and options.sums.exists():
        held = json.loads(options.sums.read_text())
    scores = {name: Score() for name in chosen}
    for turn in range(max(round(options.truths / VERIFIERS), 1)):
        name, seed = chosen[turn % len(chosen)], turn // len(chosen)
        key = f"{name}: {seed}"
        if key not in held:
            held[key] = asdict(run(name, seed))
            if options.sums is not None:
                write_text(options.sums, json.dumps(held) + "\n")
        scores[name].add(Score(**held[key]))
        sys.stderr.write(f"{sum(one.truths for one in scores.values())} truths\n")
    total = Score()
    for name, own in scores.items():
        if own.truths:
            total.add(own)
            sys.stdout.write(f"{name:22s} {own}\n")
    sys.stdout.write(f"{'all':22s} {total}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
