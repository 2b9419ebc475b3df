"""Numbers from data that are not part of the project: remade where the data are, kept where they are not.

Each carries the sha256 of its source and the command that made it. The sources are the seed paper's grid, the
MATH curves and the real groups of rollouts described in docs/references.md#data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from fits import gap_report, parse_selection, read_runs
from fits.hypotheses import Estimate, estimate, jackknife
from fits.laws import FloatArray
from paper.scores import Score, score
from theory import VerifierChannel, advantages, corrections
from theory.conditional import given_right
from theory.estimators import GRPO, RLOO, Estimator

__all__ = ["SOURCES", "Derived", "real_groups", "remake"]

SOURCES: Final = {
    "seed grid": "seed_grid/batch32_r8_metrics.csv",
    "MATH curves": "math_trajectories/mL4.csv",
    "real groups": "ethsri_rollouts/olmo3_7b_base_rollouts_slim.csv",
}
COMMAND: Final = "make results"
HARD_AT_MOST: Final = (
    1  # right rollouts of the first half of a group that make its prompt a hard one
)
HARD_FPR: Final = 0.1
SIZES: Final = (2, 4, 8)
CORRELATED: Final = (0.2, 0.3)  # mean fpr and correlation of the errors of a group
QUADRATURE: Final = 64
CORRECTED: Final = VerifierChannel(0.2, 0.3)
INVERTED: Final = VerifierChannel(0.7, 0.5)


@dataclass(frozen=True)
class Derived:
    """Numbers derived from one source. estimates: by name. score: of a forecast of it, where one is made.

    numbers: what is neither.
    """

    source: str
    sha256: str
    command: str
    estimates: Mapping[str, Estimate]
    numbers: Mapping[str, float]
    score: Score | None = None


def remake(folder: Path, kept: Mapping[str, Derived]) -> dict[str, Derived]:
    """Every source that is there, derived anew; what was kept of the others.

    folder: holds SOURCES. Raises InputError for a source that is not what it was.
    """
    makers = {"seed grid": _seed_grid, "MATH curves": _math_curves, "real groups": _real_groups}
    found: dict[str, Derived] = {}
    for name, make in makers.items():
        path = folder / SOURCES[name]
        if path.exists():
            estimates, numbers, scored = make(path)
            sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
            found[name] = Derived(SOURCES[name], sha256, COMMAND, estimates, numbers, scored)
        elif name in kept:
            found[name] = kept[name]
    return found


Made = tuple[dict[str, Estimate], dict[str, float], Score | None]


def _seed_grid(path: Path) -> Made:
    """Mirrored cells of the larger model, one seed a cell, and a forecast of the cells with both errors."""
    frame = read_runs(path, where=["model=1.5B"]).frame
    report = gap_report(frame, clean=parse_selection(["fpr=0,fnr=0"]), source=str(path))
    pairs = report.asymmetry.pairs
    values = np.array([pair.difference for pair in pairs])
    mirrored = estimate("seed grid, 1.5B, one seed a cell", values, "mirror pairs")
    scored = score(frame, calibrate_on=["fpr=0", "fnr=0"], source=SOURCES["seed grid"])
    return {"mirrored": mirrored}, {"cells": float(len(frame))}, scored


def _math_curves(path: Path) -> Made:
    """A forecast of the two noisy arms from the clean one."""
    columns = {"accuracy": "accuracy_mean_of_5_seeds", "run_id": "arm"}
    frame = read_runs(path, columns=columns).frame
    scored = score(frame, calibrate_on=["arm=clean"], group="arm", source=SOURCES["MATH curves"])
    return {}, {}, scored


def _real_groups(path: Path) -> Made:
    """The expected step on real groups under injected noise: exact over the noise, measured over the groups."""
    frame = pd.read_csv(path, usecols=["step", "prompt_id", "reward"])
    groups = frame.sort_values(["step", "prompt_id"], kind="stable").groupby(["step", "prompt_id"])
    right_NG = np.stack([rows["reward"].to_numpy() == 1 for _, rows in groups])
    return real_groups(right_NG)


def real_groups(right_NG: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> Made:
    """Predictions 1, 6 and 7 on groups with these right rollouts, (groups, G).

    Prediction 1 chooses hard prompts by the first half of a group and measures them on the second, so that
    chance in the choice does not reach the measurement.
    """
    G = right_NG.shape[1]
    half = G // 2
    hard = right_NG[:, :half].sum(axis=1) <= HARD_AT_MOST
    second_N = right_NG[hard, half:].sum(axis=1)
    clean, noisy = VerifierChannel(0.0, 0.0), VerifierChannel(HARD_FPR, 0.0)
    sizes = [size for size in SIZES if size <= half]
    steps = {
        (size, channel): _subgroup_step(size, half, channel)[second_N]
        for size in sizes
        for channel in (clean, noisy)
    }

    def ratio(size: int) -> float:
        return float(steps[size, noisy].mean() / steps[size, clean].mean())

    def ratio_without(size: int) -> FloatArray:
        return _leave_one_out(steps[size, noisy]) / _leave_one_out(steps[size, clean])

    small, large = sizes[0], sizes[-1]
    without = ratio_without(large) - ratio_without(small)
    estimates = {
        "saturation": jackknife(
            f"ratio at {large} rollouts minus at {small}",
            ratio(large) - ratio(small),
            without,
            "prompts",
        )
    }
    numbers = {f"ratio at {size}": ratio(size) for size in sizes}
    numbers |= {"hard prompts": float(hard.sum()), "groups": float(len(right_NG))}

    right_N = right_NG.sum(axis=1)
    fpr, correlation = CORRELATED
    for estimator, name in ((GRPO, "grpo"), (RLOO, "rloo")):
        alike = _correlated_step(G, fpr, 0.0, estimator)[right_N]
        together = _correlated_step(G, fpr, correlation, estimator)[right_N]
        estimates[f"correlated {name}"] = jackknife(
            f"{name}, {G} rollouts",
            float(together.mean() / alike.mean()) - 1.0,
            _leave_one_out(together) / _leave_one_out(alike) - 1.0,
            "prompts",
        )
    numbers |= _corrections(right_NG)
    return estimates, numbers, None


def _leave_one_out(values_N: FloatArray) -> FloatArray:
    """Means with one value left out each, (N,)."""
    return (values_N.sum() - values_N) / (len(values_N) - 1)


def _subgroup_step(size: int, whole: int, channel: VerifierChannel) -> FloatArray:
    """Expected step of a group of `size` drawn from `whole` rollouts of which R = 0..whole are right; (whole + 1,)."""
    from scipy.stats import hypergeom

    given = given_right(np.arange(size + 1), channel, size).gradient
    return np.array(
        [
            float(hypergeom.pmf(np.arange(size + 1), whole, right, size) @ given)
            for right in range(whole + 1)
        ]
    )


def _correlated_step(size: int, fpr: float, correlation: float, estimator: Estimator) -> FloatArray:
    """Expected step of R = 0..G right ones, a group's fpr drawn from a Beta of that mean and correlation; (G + 1,)."""

    def step(rate: float) -> FloatArray:
        channel = VerifierChannel(rate, 0.0)
        return given_right(np.arange(size + 1), channel, size, estimator=estimator).gradient

    if correlation == 0.0:
        return step(fpr)
    from scipy.stats import beta

    strength = 1.0 / correlation - 1.0
    at = (np.arange(QUADRATURE) + 0.5) / QUADRATURE
    rates = beta.ppf(at, fpr * strength, (1.0 - fpr) * strength)
    # The midpoints of equal shares miss the mean slightly; the linear estimators would show it.
    rates *= fpr / rates.mean()
    return np.mean([step(float(rate)) for rate in rates], axis=0)


def _corrections(right_NG: np.ndarray[tuple[int, int], np.dtype[np.bool_]]) -> dict[str, float]:
    """Largest change that a correction makes to any advantage of grpo, over all groups."""
    rng = np.random.default_rng(0)
    u_NG = rng.random(right_NG.shape)

    def paid(channel: VerifierChannel) -> FloatArray:
        pays_NG = np.where(right_NG, 1.0 - channel.fnr, channel.fpr)
        return (u_NG < pays_NG).astype(np.float64)

    def worth(rewards_NG: FloatArray, values: tuple[float, float]) -> FloatArray:
        return values[0] + (values[1] - values[0]) * rewards_NG

    plain = paid(CORRECTED)
    turned = paid(INVERTED)
    usual, usual_turned = advantages(plain, GRPO), advantages(turned, GRPO)
    backward = advantages(worth(plain, corrections.backward(CORRECTED)), GRPO)
    forward = advantages(worth(plain, corrections.forward(CORRECTED)), GRPO)
    inverted = advantages(worth(turned, corrections.backward(INVERTED)), GRPO)
    return {
        "largest advantage": float(np.abs(usual).max()),
        "backward, J > 0": float(np.abs(backward - usual).max()),
        "forward": float(np.abs(forward - usual).max()),
        "backward, J < 0, against the sign turned": float(np.abs(inverted + usual_turned).max()),
    }
