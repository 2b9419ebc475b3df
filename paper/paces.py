"""How fast each arm learnt beside clean, against what a probe of the same initial weights said.

Law. An arm's pace R is that of its clock: the R in [-.5, 1.5] for which clean(R t), linear between evaluations and
paired within a seed, lies closest to its own curve over all evaluations after the start; before the start clean is
mirrored in it. A seed gives one R, and their mean Student's t interval. Beside the probe's R stand others that are said
of an arm (`paper.probe.speeds_said`), each a clock for clean. Arms with J < 0 unlearn, for which there is no clock, and
are left out.
Fails first where clean is flat: many R are then as good as another, and seeds scatter; and past clean's last
evaluation, which nothing is read beyond.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.errors import StudyError
from empirical.probe import ArmProbe, Probe
from empirical.studies import Study
from fits.hypotheses import Estimate, estimate
from paper.probe import PROBE, rms, speeds_said
from theory.channel import FloatArray

__all__ = [
    "CLEAN",
    "Held",
    "Moved",
    "Paced",
    "Paces",
    "Point",
    "by_seed",
    "held",
    "moved",
    "pace",
    "paces",
]

CLEAN: Final = "clean"
GRID: Final = np.linspace(-0.5, 1.5, 801)
UNMOVED: Final = 0.05  # of pace


@dataclass(frozen=True)
class Point:
    """An arm's accuracy at a step, mean over seeds.

    by: clean(R t) for each R that is said of the arm. missed: arm less that of the probe's, paired within seeds.
    """

    arm: str
    step: int
    accuracy: float
    by: Mapping[str, float]
    missed: Estimate


@dataclass(frozen=True)
class Paced:
    """One arm: its pace as probed and as run. harm: clean less the arm, mean over evaluations after the start.

    said: the probe's R and the others'. worth: clean rollouts that a group is worth at the initial weights, as probed,
    and by 1 + phi^2 (G - 1) over the population.
    """

    arm: str
    youden: float
    said: Mapping[str, float]
    probe: float
    probe_ci: tuple[float | None, float | None]
    probe_se: float
    pace: Estimate
    harm: Estimate
    worth: float | None
    worth_ci: tuple[float | None, float | None]
    worth_by_law: float

    @property
    def z(self) -> float | None:
        """Probe less run, in standard errors of both; None of a single seed."""
        if self.pace.error is None:
            return None
        return (self.probe - self.pace.value) / float(np.hypot(self.probe_se, self.pace.error))


@dataclass(frozen=True)
class Paces:
    """One model at one group size. probed: rollouts of the probe.

    rmse: of means over seeds by clean's clock at each R that is said, clean not among them.
    """

    model: str
    group_size: int
    seeds: int
    arms: tuple[Paced, ...]
    points: tuple[Point, ...]
    rmse: Mapping[str, float]
    start: float
    clean_end: float
    parameters: int
    probed: int

    @property
    def rmse_of_pace(self) -> dict[str, float]:
        """Of each R that is said, beside the pace of the runs, over arms."""
        return {
            name: rms([arm.said[name] - arm.pace.value for arm in self.arms]) for name in self.rmse
        }


@dataclass(frozen=True)
class Held:
    """A committed forecast beside the runs.

    made: its date. inside, rows: measured runs and steps within the 90 % interval, of all. rmse: of means over seeds.
    gap_*: the same of the accuracy lost to clean, means over seeds, whose measuring noise no interval holds. worst: the
    gap that is furthest outside its interval, in words.
    """

    made: str
    groups: int
    problems: int
    samples: int
    steps: int
    runs: int
    planned: int
    inside: int
    rows: int
    rmse: float
    gap_inside: int
    gap_rows: int
    gap_rmse: float
    worst: str


@dataclass(frozen=True)
class Moved:
    """An arm's pace at one size less that at the reference's. ci: 95 %, Welch's."""

    model: str
    arm: str
    difference: float
    ci: tuple[float, float]

    @property
    def verdict(self) -> str:
        """Unmoved where the interval lies within +- UNMOVED, moved where it leaves out 0."""
        low, high = self.ci
        if low > -UNMOVED and high < UNMOVED:
            return "unmoved"
        return "undetermined" if low <= 0.0 <= high else "moved"


def paces(probe: Probe, runs: pd.DataFrame) -> Paces:
    """Hold a probe against complete runs of one model and of one of its group sizes, all from its weights.

    Raises StudyError where the runs are of several, or clean is not among them.
    """
    sizes, models = runs["group_size"].unique(), runs["model"].unique()
    if len(sizes) != 1 or len(models) != 1:
        raise StudyError(f"runs of one model and group size are needed, got {models} and {sizes}")
    size = int(sizes[0])
    table = runs.pivot_table(index=["arm", "seed"], columns="step", values="accuracy")
    known = set(table.index.get_level_values("arm"))
    if CLEAN not in known:
        raise StudyError("no complete run of the arm clean")
    clean = by_seed(table, CLEAN)
    arms: list[Paced] = []
    points: list[Point] = []
    for arm in probe.at(size).arms:
        if arm.arm == CLEAN or arm.arm not in known or arm.youden < 0.0:
            continue
        if arm.relative_speed is None:
            continue
        own = by_seed(table, arm.arm)
        if seeds := sorted(set(own) & set(clean)):
            paced = _paced(arm, size, speeds_said(probe, size, arm), clean, own, seeds)
            arms.append(paced)
            points += _points(paced, clean, own, seeds)
    if not arms:
        raise StudyError("no noisy arm has a complete run with a seed of clean")
    mean = _mean(clean, sorted(clean))
    return Paces(
        model=str(models[0]),
        group_size=size,
        seeds=len(clean),
        arms=tuple(arms),
        points=tuple(points),
        rmse={
            name: rms([point.accuracy - point.by[name] for point in points])
            for name in arms[0].said
        },
        start=float(mean.iloc[0]),
        clean_end=float(mean.iloc[-1]),
        parameters=probe.weights_total,
        probed=probe.rollouts,
    )


def by_seed(table: pd.DataFrame, arm: str) -> dict[int, pd.Series]:
    """An arm's curves: accuracy by step, ascending, of each seed. table: rows (arm, seed), columns steps."""
    part: Any = table.loc[arm]
    return {int(seed): row.dropna() for seed, row in part.iterrows()}


def _mean(curves: Mapping[int, pd.Series], seeds: Sequence[int]) -> pd.Series:
    both: Any = pd.concat([curves[seed] for seed in seeds], axis=1).mean(axis=1)
    return both.sort_index()


def at(curve: pd.Series, time: FloatArray) -> FloatArray:
    """Before the start mirrored in it; past the last evaluation unknown."""
    steps, values = curve.index.to_numpy(dtype=float), curve.to_numpy()
    gained = np.interp(np.abs(time), steps, values, right=np.nan) - values[0]
    return values[0] + np.sign(time) * gained


def pace(clean: pd.Series, own: pd.Series) -> float:
    """The R of the law above, of one seed's curves."""
    steps = np.array([step for step in own.index if step > 0], dtype=float)
    measured = own.loc[steps].to_numpy()
    missed = np.array([at(clean, rate * steps) - measured for rate in GRID])
    # Evaluations that a fast clock takes past clean's end count for nothing; half of them at least must not.
    enough = np.isfinite(missed).sum(axis=1) >= (len(steps) + 1) // 2
    scores = np.where(
        enough, np.nanmean(np.where(enough[:, None], missed, 0.0) ** 2, axis=1), np.inf
    )
    best = np.flatnonzero(scores <= scores.min() + 1e-15)
    return float(GRID[best].mean())


def _paced(
    arm: ArmProbe,
    size: int,
    said: Mapping[str, float],
    clean: Mapping[int, pd.Series],
    own: Mapping[int, pd.Series],
    seeds: Sequence[int],
) -> Paced:
    harm = np.array([float((clean[s] - own[s]).drop(index=0).mean()) for s in seeds])
    return Paced(
        arm=arm.arm,
        youden=arm.youden,
        said=said,
        probe=said[PROBE],
        probe_ci=arm.ci or (None, None),
        probe_se=arm.se or 0.0,
        pace=estimate(arm.arm, np.array([pace(clean[s], own[s]) for s in seeds])),
        harm=estimate(arm.arm, harm),
        worth=arm.effective_rollouts,
        worth_ci=arm.effective_rollouts_ci or (None, None),
        worth_by_law=1.0 + said["φ"] ** 2 * (size - 1),
    )


def _points(
    arm: Paced,
    clean: Mapping[int, pd.Series],
    own: Mapping[int, pd.Series],
    seeds: Sequence[int],
) -> list[Point]:
    mean = _mean(own, seeds)
    steps = np.array([step for step in mean.index if step > 0], dtype=float)
    by = {
        name: np.array([at(clean[seed], rate * steps) for seed in seeds])
        for name, rate in arm.said.items()
    }
    runs = np.array([own[seed].loc[steps].to_numpy() for seed in seeds])
    return [
        Point(
            arm=arm.arm,
            step=int(step),
            accuracy=float(runs[:, i].mean()),
            by={name: float(values[:, i].mean()) for name, values in by.items()},
            missed=estimate(f"{arm.arm}, step {step:g}", runs[:, i] - by[PROBE][:, i]),
        )
        for i, step in enumerate(steps)
        if all(np.isfinite(values[:, i]).all() for values in by.values())
    ]


def held(forecast: Mapping[str, Any], runs: pd.DataFrame, study: Study, probe: Probe) -> Held:
    """A committed forecast's rows against complete runs, arm by arm and step by step."""
    rows = pd.DataFrame(forecast["forecasts"])
    after = runs[runs["step"] > 0]
    both = after.merge(rows, on=["arm", "step"], suffixes=("", "_said"))
    means = both.groupby(["arm", "step"])[["accuracy", "accuracy_said"]].mean()
    clean = after[after["arm"] == CLEAN][["seed", "step", "accuracy"]]
    paired = both[both["arm"] != CLEAN].merge(clean, on=["seed", "step"], suffixes=("", "_clean"))
    paired = paired.assign(lost=paired["accuracy_clean"] - paired["accuracy"])
    lost = paired.groupby(["arm", "step"])[["lost", "gap", "gap_low90", "gap_high90"]].mean()
    out = pd.concat([lost["lost"] - lost["gap_high90"], lost["gap_low90"] - lost["lost"]], axis=1)
    furthest: Any = out.max(axis=1).idxmax()
    bad: Any = lost.loc[furthest]
    inside = both["accuracy"].between(both["low90"], both["high90"])
    return Held(
        made=str(forecast["made"]),
        groups=probe.groups,
        problems=getattr(study.task, "eval_problems", 0) or 0,
        samples=study.evaluation.samples,
        steps=study.training.steps,
        runs=int(runs["run_id"].nunique()),
        planned=len(study.runs()),
        inside=int(inside.sum()),
        rows=len(inside),
        rmse=rms((means["accuracy"] - means["accuracy_said"]).tolist()),
        gap_inside=int(lost["lost"].between(lost["gap_low90"], lost["gap_high90"]).sum()),
        gap_rows=len(lost),
        gap_rmse=rms((lost["lost"] - lost["gap"]).tolist()),
        worst=(
            f"{furthest[0]} at step {furthest[1]:g}, of which {bad['gap']:.3f} [{bad['gap_low90']:.3f},"
            f" {bad['gap_high90']:.3f}] was said and {bad['lost']:.3f} came"
        ),
    )


def moved(reference: Paces, others: Sequence[Paces]) -> tuple[Moved, ...]:
    """Every arm's pace at other sizes less the reference's; arms with a single seed somewhere are left out."""
    from scipy.special import stdtrit

    found: list[Moved] = []
    by_arm = {arm.arm: arm.pace for arm in reference.arms}
    for one in others:
        for arm in one.arms:
            base = by_arm.get(arm.arm)
            if base is None or base.error is None or arm.pace.error is None:
                continue
            mine, theirs = arm.pace.error**2, base.error**2
            freedom = (mine + theirs) ** 2 / (
                mine**2 / (arm.pace.units - 1) + theirs**2 / (base.units - 1)
            )
            half = float(stdtrit(freedom, 0.975)) * (mine + theirs) ** 0.5
            difference = arm.pace.value - base.value
            found.append(
                Moved(one.model, arm.arm, difference, (difference - half, difference + half))
            )
    return tuple(found)
