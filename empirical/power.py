"""The chance that a study settles its verdicts, before it is run.

Law. A cell's verdict is read off the 95 % t interval of its seeds' paired gaps to clean at the last
evaluation: it closes below delta, persists above, and is undetermined where it holds delta. Given the true
gap g and the standard deviation s of a pair's difference, the chance of a verdict is that of a t interval
missing delta. s^2 is what evaluation leaves, 2 a(1 - a)/n_eval, and twice the variance of runs of one arm about
their mean. Whatever is not known is averaged over: with a pilot, its estimates' own uncertainty; without, the
scatter of runs, .015 within a factor of 2, and the gap, s ln(1/phi^2) with s exponential of mean .04 (accuracy
that grows with the logarithm of effective rollouts), at pass rate a.
Fails first where differences of seeds are far from normal (a run that collapses), and where a pilot was run at
another budget than the study.
Source: docs/contract.md, verigap gap; docs/theory.md, effective rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from empirical.studies import Study
from fits.errors import InputError
from fits.table import need_columns
from theory import VerifierChannel
from theory.effective_rollouts import phi2

FloatArray = NDArray[np.float64]

__all__ = ["CellPower", "Pilot", "Power", "power", "read_pilot", "settled_share"]

DRAWS: Final = 4000
SCATTER: Final = 0.015
SCATTER_DOUBT: Final = math.log(2.0)
SLOPE: Final = 0.04
MOST_GAP: Final = 0.6
ENOUGH: Final = 0.8
MOST_SEEDS: Final = 64
MOST_SAMPLES: Final = 1_000_000


@dataclass(frozen=True)
class Pilot:
    """What pilot runs say. gaps: by arm, mean paired gap and its standard error (by the pooled scatter).

    pair_sd, degrees: of a pair's difference, pooled over arms. n_eval: samples of a pilot's evaluation.
    accuracy: clean's.
    """

    gaps: Mapping[str, tuple[float, float]]
    pair_sd: float
    degrees: int
    n_eval: float
    accuracy: float


@dataclass(frozen=True)
class CellPower:
    """One arm at one group size. power: chance that its verdict is settled; closes, persists: of either.

    seeds: of the study. seeds_needed: fewest for a chance of .8, all else equal; samples_needed: fewest
    evaluation samples, with the study's seeds; None: not within 64 seeds, or a million samples. gap: mean of what
    was averaged over.
    """

    arm: str
    model: str
    group_size: int
    seeds: int
    power: float | None
    closes: float | None
    persists: float | None
    seeds_needed: int | None
    samples_needed: int | None
    gap: float
    reason: str


@dataclass(frozen=True)
class Power:
    """All cells; seeds_needed: of the cell that needs most, None where one cannot be settled."""

    study: str
    delta: float
    arms: tuple[CellPower, ...]
    seeds_needed: int | None
    reason: str
    assumptions: tuple[str, ...]


def read_pilot(frame: pd.DataFrame, *, source: str = "the pilot") -> Pilot:
    """Paired gaps at each run's last evaluation: noisy arms against fpr = fnr = 0 of the same seed and setting.

    Raises InputError where columns are missing, or no two seeds of an arm can be paired.
    """
    need_columns(frame, "arm", "fpr", "fnr", "seed", purpose="--pilot", source=source)
    last = frame.sort_values("step").drop_duplicates("run_id", keep="last")
    setting = [name for name in ("model", "estimator", "group_size") if name in last.columns]
    clean = last[(last["fpr"] == 0.0) & (last["fnr"] == 0.0)]
    noisy = last[(last["fpr"] > 0.0) | (last["fnr"] > 0.0)]
    pairs = noisy.merge(clean, on=[*setting, "seed"], suffixes=("", "_clean"))
    pairs["gap"] = pairs["accuracy_clean"] - pairs["accuracy"]
    groups = pairs.groupby(["arm", *setting])["gap"]
    counts = groups.transform("count")
    degrees = int(len(pairs) - groups.ngroups)
    if degrees < 1:
        raise InputError(f"{source}: no arm has two seeds that can be paired with clean ones")
    residual = (pairs["gap"] - groups.transform("mean"))[counts > 1]
    sd = math.sqrt(float((residual**2).sum()) / degrees)
    samples = float(last["n_eval"].mean()) if "n_eval" in last.columns else math.inf
    by_arm = pairs.groupby("arm")["gap"]
    return Pilot(
        gaps={str(arm): (float(gaps.mean()), sd / math.sqrt(len(gaps))) for arm, gaps in by_arm},
        pair_sd=sd,
        degrees=degrees,
        n_eval=samples,
        accuracy=float(clean["accuracy"].mean()),
    )


def settled_share(
    gap_D: FloatArray, sd_D: FloatArray, seeds: int, delta: float, rng: np.random.Generator
) -> tuple[float, float]:
    """Shares of draws whose t interval lies below delta, and above it. gap_D, sd_D: [draws]; seeds at least 2."""
    mean_D = gap_D + sd_D * rng.standard_normal(gap_D.shape) / math.sqrt(seeds)
    found_D = sd_D * np.sqrt(rng.chisquare(seeds - 1, gap_D.shape) / (seeds - 1))
    half_D = float(special.stdtrit(seeds - 1, 0.975)) * found_D / math.sqrt(seeds)
    return float(np.mean(mean_D + half_D < delta)), float(np.mean(mean_D - half_D > delta))


def power(
    study: Study,
    *,
    delta: float = 0.01,
    pilot: Pilot | None = None,
    scatter: float | None = None,
    gaps: Mapping[str, float] | None = None,
    accuracy: float | None = None,
    seed: int = 0,
) -> Power:
    """The chance that each cell of `study` is settled.

    delta: the smallest gap of interest. scatter: standard deviation of a run's true final accuracy about its
    arm's mean, taken as known. gaps: true gaps by arm, taken as known. accuracy: of the clean arm at the end;
    None: the pilot's, else one half, where evaluation is noisiest.
    Raises InputError naming an arm that is none of the study's, or a number out of range.
    """
    for name in gaps or {}:
        if name not in study.arms:
            raise InputError(f"no arm {name!r} in the study; it has {', '.join(study.arms)}")
    if scatter is not None and not 0.0 <= scatter < 1.0:
        raise InputError(f"scatter must lie in [0, 1), got {scatter:g}")
    if not 0.0 <= delta < 1.0:
        raise InputError(f"the gap of interest must lie in [0, 1), got {delta:g}")
    rng = np.random.default_rng(seed)
    a = accuracy if accuracy is not None else 0.5 if pilot is None else pilot.accuracy
    normal_D, slope_D = rng.standard_normal(DRAWS), rng.exponential(SLOPE, DRAWS)
    if scatter is not None:
        run_D = np.full(DRAWS, 2.0 * scatter**2)
    elif pilot is not None:
        # What a pilot's pairs scatter, less what its evaluations do.
        drawn = pilot.pair_sd**2 * pilot.degrees / rng.chisquare(pilot.degrees, DRAWS)
        run_D = np.maximum(drawn - 2.0 * a * (1.0 - a) / pilot.n_eval, 0.0)
    else:
        run_D = 2.0 * (SCATTER * np.exp(SCATTER_DOUBT * normal_D)) ** 2
    cells: list[CellPower] = []
    for (arm, model, size), count in _cells(study).items():
        noise = study.arms[arm]
        if gaps is not None and arm in gaps:
            gap_D = np.full(DRAWS, gaps[arm])
        elif pilot is not None and arm in pilot.gaps:
            mean, se = pilot.gaps[arm]
            gap_D = mean + se * rng.standard_t(pilot.degrees, DRAWS)
        else:
            lost = float(phi2(a, VerifierChannel(noise.fpr, noise.fnr)))
            lost = lost if noise.channel().youden > 0.0 else 0.0
            gap_D = np.minimum(slope_D * math.log(1.0 / max(lost, 1e-9)), MOST_GAP)
        cells.append(_cell(study, arm, model, size, count, gap_D, run_D, a, delta, seed))
    needed = [cell.seeds_needed for cell in cells]
    hopeless = [cell.arm for cell in cells if cell.seeds_needed is None]
    return Power(
        study=study.name,
        delta=delta,
        arms=tuple(cells),
        seeds_needed=None if hopeless else max((n for n in needed if n is not None), default=None),
        reason=f"no number of seeds up to {MOST_SEEDS} gives {', '.join(dict.fromkeys(hopeless))} a chance"
        f" of {ENOUGH:g}: the gap may lie too close to {delta:g}"
        if hopeless
        else "",
        assumptions=_assumptions(study, pilot, scatter, gaps, accuracy, a),
    )


def _cells(study: Study) -> dict[tuple[str, str, int], int]:
    """Seeds of each (noisy arm, model, group size) that a clean run of the same setting shares."""
    clean: set[tuple[str, str, int, int]] = set()
    noisy: dict[tuple[str, str, int, str], set[int]] = {}
    for run in study.runs():
        if run.noise.fpr == run.noise.fnr == 0.0 and run.noise.label == "independent":
            clean.add((run.noise.estimator, run.model.name, run.group_size, run.seed))
        else:
            key = (run.arm, run.model.name, run.group_size, run.noise.estimator)
            noisy.setdefault(key, set()).add(run.seed)
    return {
        (arm, model, size): sum((estimator, model, size, seed) in clean for seed in seeds)
        for (arm, model, size, estimator), seeds in noisy.items()
    }


def _cell(
    study: Study,
    arm: str,
    model: str,
    size: int,
    seeds: int,
    gap_D: FloatArray,
    run_D: FloatArray,
    a: float,
    delta: float,
    seed: int,
) -> CellPower:
    def chance(count: int, samples: int) -> tuple[float, float]:
        # The same draws whatever the count, so that the chance moves with the count alone.
        below = a - np.clip(gap_D, a - 1.0, a)
        evaluation_D = (a * (1.0 - a) + below * (1.0 - below)) / samples
        rng = np.random.default_rng(seed + 1)
        return settled_share(gap_D, np.sqrt(run_D + evaluation_D), count, delta, rng)

    here = study.evaluation.samples
    needed = next((n for n in range(2, MOST_SEEDS + 1) if sum(chance(n, here)) >= ENOUGH), None)
    mean = float(gap_D.mean())
    if seeds < 2:
        why = (
            "one seed has no interval over seeds: no verdict"
            if seeds
            else "no clean run to be paired with"
        )
        return CellPower(arm, model, size, seeds, None, None, None, needed, None, mean, why)
    closes, persists = chance(seeds, here)
    samples = here
    while sum(chance(seeds, samples)) < ENOUGH and samples < MOST_SAMPLES:
        samples *= 2
    enough = samples if samples < MOST_SAMPLES else None
    return CellPower(
        arm, model, size, seeds, closes + persists, closes, persists, needed, enough, mean, ""
    )


def _assumptions(
    study: Study,
    pilot: Pilot | None,
    scatter: float | None,
    gaps: Mapping[str, float] | None,
    accuracy: float | None,
    a: float,
) -> tuple[str, ...]:
    said = [
        f"verdicts at the last evaluation (step {study.evaluation.steps[-1]}), {study.evaluation.samples}"
        f" samples each, clean at {a:.2f}"
        + (
            ""
            if accuracy is not None or pilot is not None
            else " (assumed: evaluation is noisiest there)"
        ),
        "seeds of a pair share nothing but what the pilot shows"
        if pilot is not None
        else "a pair's runs scatter independently: pairing helps nothing until a pilot shows that it does",
    ]
    if scatter is not None:
        said.append(f"runs of one arm scatter by {scatter:g}, as stated")
    elif pilot is not None:
        said.append(
            f"a pair's difference scatters by {pilot.pair_sd:.4f} in the pilot ({pilot.degrees} degrees of"
            " freedom), of which its own evaluations are taken out"
        )
    else:
        said.append(
            f"runs of one arm scatter by {SCATTER:g}, within a factor of 2: a pilot measures it"
        )
    if gaps:
        said.append(f"true gaps as stated: {', '.join(f'{k} {v:g}' for k, v in gaps.items())}")
    if pilot is None and not (gaps and set(gaps) >= set(study.arms)):
        said.append(
            f"gaps not stated: {SLOPE:g} ln(1/phi^2) on average, exponential about it: a pilot measures them"
        )
    return tuple(said)
