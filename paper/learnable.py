"""learnable-errors: what told, before or early in training, how much a verifier of a given static rate would harm.

Law. An arm's harm is the clean arm's accuracy less its own, paired within seeds, mean over the evaluations of the last
third of training. Five numbers are held against it, arm by arm: static Youden's J and the probe's exploit rate, growth
of the fpr and relative speed, known before training, and the early rise, the batch's realised fpr at the end of the
first 15 % of steps less the static one. The fpr is P(wrong and paid)/P(wrong), so that the probe's rates of both give
its growth by a step; a coin's is 0, whereas its exploit rate is below 0, for wrong answers become fewer. Each is
asked twice: does it order harm (Spearman's rank correlation), and does a threshold on it tell harmful arms from
others, the threshold chosen without the arm that is judged.
Fails first with few harmful arms: one of them left out, there may be nothing left to learn the threshold from.
Source: the early rise is verifier-dynamics' (docs/references.md); interval of a rank correlation, Fieller, Hartley &
Pearson 1957.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.stats import spearmanr

from empirical.collect import TABLE
from empirical.errors import StudyError
from empirical.probe import Probe, read_probe
from empirical.static_rates import INITIAL, StaticRates, static_rates
from empirical.studies import Study
from fits.hypotheses import LEAST_UNITS, Estimate, Hypothesis, estimate, holm, support
from fits.inference import Interval
from theory.channel import BoolArray, FloatArray

__all__ = [
    "COIN",
    "EARLY",
    "HARM",
    "LARGE",
    "SETTLED",
    "ArmHarm",
    "Confusion",
    "Learnable",
    "Told",
    "learnable",
    "told",
]

HARM: Final = 0.05  # accuracy: an arm that loses more is harmful
LARGE: Final = 0.2  # what at least one design must cost
EARLY: Final = 0.15  # of training
SETTLED: Final = 2 / 3  # of training, after which harm is measured
CLEAN: Final = "clean"
COIN: Final = "coin"  # whose static fpr the rules share


@dataclass(frozen=True)
class ArmHarm:
    """One arm beside clean.

    harm: an estimate over seeds, of accuracy. early_fpr: realised over the last third of the first 15 % of steps, mean
    over seeds; early_rise: less the static fpr. late_fpr: realised over the last third of training.
    exploit_rate, relative_speed: the probe's, before training; fpr_growth: by one step, from it.
    """

    static: StaticRates
    noise: str
    harm: Estimate
    early_fpr: float
    early_rise: float
    late_fpr: float
    exploit_rate: float
    exploit_rate_ci: tuple[float | None, float | None]
    fpr_growth: float
    relative_speed: float | None


@dataclass(frozen=True)
class Confusion:
    """Arms by what was said of them and what they were. threshold: chosen with every arm in view."""

    hits: int
    misses: int
    false_alarms: int
    quiet: int
    threshold: float
    wrong: tuple[str, ...]


@dataclass(frozen=True)
class Told:
    """How well one number tells harm, over all noisy arms.

    rank: Spearman's correlation with harm, 1 being the right order, with a 95 % interval; None where nothing varies.
    """

    name: str
    when: str
    rank: float | None
    rank_ci: Interval | None
    confusion: Confusion


@dataclass(frozen=True)
class Learnable:
    """Everything learnable-errors says.

    told: empty while all arms are harmful, or none is. coin_fpr: static. missing: runs of the study that are not in its
    table. large: p of "no arm costs more than LARGE", Holm's over all arms; None while fewer than three seeds can say.
    """

    arms: tuple[ArmHarm, ...]
    told: tuple[Told, ...]
    large: float | None
    coin_fpr: float
    runs: int
    missing: int
    steps: int
    samples: int
    completions: int
    pass_rate: float


def learnable(study: Study, results: Path) -> Learnable:
    """Hold the runs in `results` against what was known before and early.

    Raises StudyError if the probe, the initial completions or the clean runs are absent.
    """
    runs = pd.read_parquet(results / TABLE)
    completions = pd.read_parquet(results / INITIAL)
    probe = read_probe(results / "probe.json")
    steps = study.training.steps
    complete: Any = runs.groupby("run_id")["step"].max() == steps
    runs = runs[runs["run_id"].isin(complete[complete].index)]
    logs = pd.concat(
        [pd.read_parquet(path) for path in sorted((results / "steps").glob("*.parquet"))]
    ).merge(runs[["run_id", "arm", "seed"]].drop_duplicates(), on="run_id")
    late = runs[runs["step"] >= SETTLED * steps]
    settled = late.groupby(["arm", "seed"])["accuracy"].mean().unstack("seed")
    if CLEAN not in settled.index:
        raise StudyError(f"{results}: holds no complete run of the arm {CLEAN}")
    arms: list[ArmHarm] = []
    statics = static_rates(study, completions)
    for static in statics:
        if static.arm == CLEAN or static.arm not in settled.index:
            continue
        paired = (settled.loc[CLEAN] - settled.loc[static.arm]).dropna()
        if paired.empty:
            continue
        own = logs[(logs["arm"] == static.arm) & logs["seed"].isin(paired.index)]
        window = EARLY * steps
        early = _realised(own, 2 / 3 * window, window)
        arms.append(
            ArmHarm(
                static=static,
                noise=study.arms[static.arm].noise.kind,
                harm=estimate(static.arm, paired.to_numpy(dtype=np.float64)),
                early_fpr=early,
                early_rise=early - static.fpr,
                late_fpr=_realised(own, SETTLED * steps, steps),
                **_probed(probe, static.arm),
            )
        )
    if not arms:
        raise StudyError(f"{results}: holds no noisy arm with a seed of clean")
    return Learnable(
        arms=tuple(arms),
        told=_all_told(arms),
        large=_large([arm.harm for arm in arms]),
        coin_fpr=next(one.fpr for one in statics if one.arm == COIN),
        runs=int(runs["run_id"].nunique()),
        missing=len(study.runs()) - int(runs["run_id"].nunique()),
        steps=steps,
        samples=int(runs["n_eval"].median()),
        completions=len(completions),
        pass_rate=float((completions["verdict"] == "right").mean()),
    )


def _large(harms: Sequence[Estimate]) -> float | None:
    claim = Hypothesis("above", LARGE)
    adjusted = holm([support(one, claim) for one in harms if one.units >= LEAST_UNITS])
    return min((p for p in adjusted if p is not None), default=None)


def _realised(logs: pd.DataFrame, after: float, until: float) -> float:
    """The realised fpr over the steps in (after, until], mean over seeds of pooled rates."""
    window = logs[(logs["step"] > after) & (logs["step"] <= until)]
    sums = window.groupby("seed")[["paid_wrong", "wrong"]].sum()
    return float((sums["paid_wrong"] / sums["wrong"]).mean())


def _probed(probe: Probe, arm: str) -> dict[str, Any]:
    wrong = 1.0 - probe.pass_rate
    for one in probe.arms:
        if one.arm == arm:
            return {
                "exploit_rate": one.exploit_rate,
                "exploit_rate_ci": one.exploit_rate_ci,
                "fpr_growth": (one.exploit_rate + one.paid_wrong_rate * one.right_rate / wrong)
                / wrong,
                "relative_speed": one.relative_speed,
            }
    raise StudyError(f"the probe has no arm {arm}")


def _all_told(arms: Sequence[ArmHarm]) -> tuple[Told, ...]:
    before, early = "before training", f"after {EARLY:.0%} of it"
    harm = np.array([arm.harm.value for arm in arms])
    if len(set(harm > HARM)) < 2:
        return ()
    names = [arm.static.arm for arm in arms]
    asked = [
        ("1 − J", before, [1.0 - arm.static.youden for arm in arms]),
        ("exploit rate", before, [arm.exploit_rate for arm in arms]),
        ("growth of fpr", before, [arm.fpr_growth for arm in arms]),
        ("1 − relative speed", before, [1.0 - (arm.relative_speed or 0.0) for arm in arms]),
        ("early rise", early, [arm.early_rise for arm in arms]),
    ]
    return tuple(told(name, when, np.array(score), harm, names) for name, when, score in asked)


def told(
    name: str, when: str, score_A: FloatArray, harm_A: FloatArray, names: Sequence[str]
) -> Told:
    """How well a score, high where harm is expected, tells it: arms are harmful above HARM."""
    harmful = harm_A > HARM
    said = np.array(
        [
            score_A[i] > _threshold(np.delete(score_A, i), np.delete(harmful, i))
            for i in range(len(score_A))
        ]
    )
    rank, ci = None, None
    if np.ptp(score_A) > 0.0 and np.ptp(harm_A) > 0.0:
        found: Any = spearmanr(score_A, harm_A)
        rank = float(found.statistic)
    if rank is not None and len(score_A) > 3 and abs(rank) < 1.0 - 1e-9:
        half = 1.959964 * 1.03 / math.sqrt(len(score_A) - 3)
        ci = (math.tanh(math.atanh(rank) - half), math.tanh(math.atanh(rank) + half))
    return Told(
        name,
        when,
        rank,
        ci,
        Confusion(
            hits=int((said & harmful).sum()),
            misses=int((~said & harmful).sum()),
            false_alarms=int((said & ~harmful).sum()),
            quiet=int((~said & ~harmful).sum()),
            threshold=_threshold(score_A, harmful),
            wrong=tuple(
                one for one, right in zip(names, said == harmful, strict=True) if not right
            ),
        ),
    )


def _threshold(score_A: FloatArray, harmful_A: BoolArray) -> float:
    """Above which harm is expected: of the midpoints between scores (and none at all) the one that errs least.

    Among equals the middle one, so that a wide gap is cut where it is.
    """
    values = np.unique(score_A)
    cuts = np.concatenate([[-np.inf], (values[:-1] + values[1:]) / 2, [np.inf]])
    errors = np.array([((score_A > cut) != harmful_A).sum() for cut in cuts])
    best = np.flatnonzero(errors == errors.min())
    return float(cuts[best[len(best) // 2]])
