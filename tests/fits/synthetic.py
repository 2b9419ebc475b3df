"""Run tables with a known truth: matched arms of sigmoids, seeds with their own asymptotes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

CLEAN = ("clean", 0.0, 0.0, 0.8, 1.0)
ARMS = (CLEAN, ("fp", 0.3, 0.0, 0.8, 1.4), ("fn", 0.0, 0.3, 0.7, 1.3))


def matched_runs(
    *,
    seeds: int = 3,
    arms: Sequence[tuple[str, float, float, float, float]] = ARMS,
    evaluations: int = 20,
    midpoints: float = 10.0,
    n_eval: int = 2000,
    spread: float = 0.01,
    slope: float = 1.5,
    seed: int = 0,
) -> pd.DataFrame:
    """Arms (name, fpr, fnr, asymptote, midpoint over the clean one's 10,240 rollouts)."""
    rng = np.random.default_rng(seed)
    rows: list[dict[str, object]] = []
    for s in range(seeds):
        shared = rng.normal(0.0, spread)
        for arm, fpr, fnr, asymptote, clock in arms:
            top = asymptote + shared + rng.normal(0.0, spread / 4)
            for t in range(evaluations + 1):
                step = round(midpoints * 160 * t / evaluations)
                share = 0.0 if step == 0 else 1.0 / (1.0 + (clock * 160 / step) ** slope)
                rows.append(
                    {
                        "run_id": f"{arm}-{s}",
                        "arm": arm,
                        "fpr": fpr,
                        "fnr": fnr,
                        "seed": s,
                        "group_size": 8,
                        "prompts_per_step": 8,
                        "step": step,
                        "rollouts": step * 64,
                        "accuracy": rng.binomial(n_eval, 0.1 + (top - 0.1) * share) / n_eval,
                        "n_eval": n_eval,
                    }
                )
    return pd.DataFrame(rows)
