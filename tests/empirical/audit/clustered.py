"""Labelled verdicts with known rates and clustering, and how often an audit's intervals hold them.

`python -m tests.empirical.audit.clustered` prints the table of LOG.md, smaller cases than are promised included.
"""

from __future__ import annotations

import sys

import numpy as np
from numpy.typing import NDArray

from empirical.audit.clusters import clustered_rate, combined
from empirical.audit.verdicts import phi

FloatArray = NDArray[np.float64]

__all__ = ["beta_rates", "coverage"]


def beta_rates(rng: np.random.Generator, mean: float, icc: float, count: int) -> FloatArray:
    """Rates of `count` prompts with this mean, whose errors have this intraclass correlation."""
    if icc == 0.0:
        return np.full(count, mean)
    return rng.beta(mean * (1 / icc - 1), (1 - mean) * (1 / icc - 1), count)


def coverage(
    rng: np.random.Generator,
    *,
    fpr: float,
    fnr: float,
    pass_rate: float,
    icc: float,
    prompts: int,
    each: int,
    trials: int,
    spread: float = 0.0,
) -> dict[str, float]:
    """Share of trials whose intervals hold the truth, by quantity. spread: ICC of being right."""
    held: dict[str, list[bool]] = {}
    truth = {"fpr": fpr, "fnr": fnr, "youden": 1 - fpr - fnr, "phi2": phi(fpr, fnr, pass_rate) ** 2}
    for _ in range(trials):
        right = rng.binomial(each, beta_rates(rng, pass_rate, spread, prompts)).astype(float)
        wrong = each - right
        x = clustered_rate(
            rng.binomial(wrong.astype(int), beta_rates(rng, fpr, icc, prompts)).astype(float), wrong
        )
        d = clustered_rate(
            rng.binomial(right.astype(int), beta_rates(rng, fnr, icc, prompts)).astype(float), right
        )
        a = clustered_rate(right, np.full(prompts, float(each)))
        assert x is not None
        assert d is not None
        assert a is not None
        low, high = combined(phi, (x, d, a))[1]
        found = {
            "fpr": x.ci,
            "fnr": d.ci,
            "youden": combined(lambda one, other: 1 - one - other, (x, d))[1],
            "phi2": (
                0.0 if low < 0 < high else min(low * low, high * high),
                max(low * low, high * high),
            ),
        }
        for name, (least, most) in found.items():
            held.setdefault(name, []).append(least <= truth[name] <= most)
        naive = 1.96 * np.sqrt(d.value * (1 - d.value) / d.n)
        held.setdefault("naive fnr", []).append(abs(d.value - fnr) <= naive)
    return {name: float(np.mean(one)) for name, one in held.items()}


CASES = ((100, 0.05), (100, 0.2), (60, 0.05), (60, 0.2), (30, 0.05), (30, 0.2), (15, 0.1))


def main() -> None:
    """Print coverage by prompts and rate: ICC .5, 16 rollouts a prompt, half of them right."""
    names = ("fpr", "fnr", "youden", "phi2", "naive fnr")
    sys.stdout.write(f"| prompts | rates | {' | '.join(names)} |\n|{'---|' * (len(names) + 2)}\n")
    for prompts, rate in CASES:
        held = coverage(
            np.random.default_rng(9), fpr=rate, fnr=rate, pass_rate=0.5, icc=0.5,
            prompts=prompts, each=16, trials=1000,
        )  # fmt: skip
        shares = " | ".join(f"{held[name]:.3f}" for name in names)
        sys.stdout.write(f"| {prompts} | {rate:g} | {shares} |\n")


if __name__ == "__main__":
    main()
