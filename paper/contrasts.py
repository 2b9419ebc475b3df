"""Numbers a seed gives: contrasts of arms, reduced from curves, and how they are put to a hypothesis over group sizes.

Law. All contrasts are paired: runs of one seed share prompts, sampling and the uniforms behind the flips, so that a
seed gives one number and the rest (warm start, task, model) cancels. Arms are compared at equal steps and at
one group size; group sizes are compared within seeds.
Fails first beyond this model and task: seeds share one warm start, so no interval here speaks of another one.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import pandas as pd

from fits.hypotheses import LEAST_UNITS, Estimate, Hypothesis, Part, estimate
from fits.laws import FloatArray
from paper.public_data import Derived

__all__ = [
    "PATH_AT",
    "Asked",
    "Contrast",
    "Curves",
    "Evidence",
    "Gap",
    "ahead",
    "at_end",
    "at_largest",
    "between_sizes",
    "by_condition",
    "by_size",
    "climb",
    "gained",
    "gaps",
    "lost",
    "over_training",
    "path",
    "since",
    "steps_between",
    "with_noise_injected",
]

PATH_AT: Final = (0.45, 0.55, 0.65)  # accuracies at which policies are compared

Series = Mapping[str, float]
Reduction = Callable[[pd.DataFrame], Series]


@dataclass(frozen=True)
class Curves:
    """Accuracy of every arm and group size: {(arm, group size): seeds x steps}."""

    accuracy: Mapping[tuple[str, int], pd.DataFrame]

    @staticmethod
    def of(frame: pd.DataFrame) -> Curves:
        """From a run table with arm, group_size, seed, step and accuracy."""
        return Curves(by_condition(frame, "accuracy"))

    @property
    def group_sizes(self) -> list[int]:
        """Ascending."""
        return sorted({size for _, size in self.accuracy})

    def difference(self, plus: Sequence[str], minus: Sequence[str], size: int) -> pd.DataFrame:
        """Mean over pairs of arms of accuracy(plus) - accuracy(minus), seeds x steps.

        Only seeds that every arm has; empty where an arm is missing.
        """
        pairs = [(self.accuracy.get((p, size)), self.accuracy.get((m, size)))
                 for p, m in zip(plus, minus, strict=True)]  # fmt: skip
        total = pd.DataFrame()
        for place, (first, second) in enumerate(pairs):
            if first is None or second is None:
                return pd.DataFrame()
            one = (first - second).dropna(how="all").dropna(axis=1)
            total = one if place == 0 else (total + one).dropna(how="all").dropna(axis=1)
        return total / len(pairs)


@dataclass(frozen=True)
class Evidence:
    """What claims are asked of. entropy: of the policy (nats a token), {(arm, group size): seeds x steps}.

    derived: from data that are not part of the project; see `paper.public_data`.
    """

    curves: Curves
    entropy: Mapping[tuple[str, int], pd.DataFrame] = field(
        default_factory=dict[tuple[str, int], pd.DataFrame]
    )
    derived: Mapping[str, Derived] = field(default_factory=dict[str, Derived])

    @property
    def real_groups(self) -> Mapping[str, float]:
        """Numbers of the real groups into which noise is injected; none where they are not there."""
        found = self.derived.get("real groups")
        return {} if found is None else found.numbers


Contrast = Callable[[Evidence, int], Series]  # at a group size; empty where there are no such runs
Asked = Callable[[Evidence], list[Part]]  # one hypothesis; empty where it cannot be asked


@dataclass(frozen=True)
class Gap:
    """Accuracy lost by an arm against its clean arm: over training and at the last step."""

    arm: str
    group_size: int
    over_training: Estimate
    end: Estimate


def by_condition(frame: pd.DataFrame, column: str) -> dict[tuple[str, int], pd.DataFrame]:
    """A column of runs with arm, group_size, seed and step: {(arm, group size): seeds x steps}."""
    frame = frame.assign(seed=frame["seed"].astype(str))
    return {
        (str(arm), int(str(size))): rows.pivot_table(index="seed", columns="step", values=column)
        for (arm, size), rows in frame.groupby(["arm", "group_size"])
    }


def over_training(curve: pd.DataFrame) -> Series:
    """Time average from the first to the last step, trapezoidal; {seed: value}."""
    steps = curve.columns.to_numpy(np.float64)
    means = np.trapezoid(curve.to_numpy(np.float64), steps, axis=1) / (steps[-1] - steps[0])
    return dict(zip(curve.index.tolist(), means.tolist(), strict=True))


def at_end(curve: pd.DataFrame) -> Series:
    """The last step; {seed: value}."""
    return dict(zip(curve.index.tolist(), curve.iloc[:, -1].tolist(), strict=True))


def since(step: int) -> Reduction:
    """The last step minus `step`."""

    def change(curve: pd.DataFrame) -> Series:
        values = curve.iloc[:, -1] - curve[step]
        return dict(zip(curve.index.tolist(), values.tolist(), strict=True))

    return change


def steps_between(curve: pd.DataFrame, low: float | None, high: float) -> Series:
    """Steps a seed takes from accuracy `low` (None: from the start) to `high`; seeds that arrive only.

    Curves are made monotone by their running maximum and are straight between evaluations.
    """
    steps = curve.columns.to_numpy(np.float64)
    found: dict[str, float] = {}
    for seed, row in zip(curve.index.tolist(), curve.to_numpy(np.float64), strict=True):
        rising = np.maximum.accumulate(row)
        if rising[-1] < high or (low is not None and rising[0] > low):
            continue
        begin = float(steps[0]) if low is None else _arrival(steps, rising, low)
        found[seed] = _arrival(steps, rising, high) - begin
    return found


def _arrival(steps: FloatArray, rising: FloatArray, level: float) -> float:
    """The step at which a curve that never falls first reaches a level that it does reach."""
    k = int((rising >= level).argmax())
    if k == 0:
        return float(steps[0])
    share = (level - rising[k - 1]) / (rising[k] - rising[k - 1])
    return float(steps[k - 1] + share * (steps[k] - steps[k - 1]))


def _log_ratio(first: Series, second: Series) -> Series:
    return {
        seed: float(np.log(first[seed] / second[seed]))
        for seed in first
        if seed in second and first[seed] > 0.0 and second[seed] > 0.0
    }


def _mean_of(series: Sequence[Series]) -> Series:
    """Mean over the series, of the units that all of them have."""
    shared = set.intersection(*(set(one) for one in series)) if series else set()
    return {unit: float(np.mean([one[unit] for one in series])) for unit in sorted(shared)}


# ---- contrasts


def ahead(plus: Sequence[str], minus: Sequence[str], reduce: Reduction) -> Contrast:
    """Accuracy of the arms `plus` less that of `minus`, mean over pairs."""

    def values(evidence: Evidence, size: int) -> Series:
        curve = evidence.curves.difference(plus, minus, size)
        return {} if curve.empty else reduce(curve)

    return values


def lost(arms: Sequence[str], reduce: Reduction) -> Contrast:
    """Accuracy lost against the clean arm, mean of `arms`."""
    return ahead(["clean"] * len(arms), arms, reduce)


def gained(arm: str, begin: int | None = None) -> Contrast:
    """Accuracy gained by an arm from step `begin` (None: the first) to the last."""

    def values(evidence: Evidence, size: int) -> Series:
        curve = evidence.curves.accuracy.get((arm, size))
        if curve is None:
            return {}
        whole = curve.dropna(axis=1)
        return since(int(whole.columns[0]) if begin is None else begin)(whole)

    return values


def climb(fp: Sequence[str], fn: Sequence[str], low: float | None, high: float) -> Contrast:
    """log(steps of `fp` / steps of `fn`) from accuracy `low` (None: the start) to `high`, mean over pairs."""

    def values(evidence: Evidence, size: int) -> Series:
        found = evidence.curves.accuracy
        ratios = [
            _log_ratio(
                steps_between(found[p, size], low, high), steps_between(found[n, size], low, high)
            )
            for p, n in zip(fp, fn, strict=True)
            if (p, size) in found and (n, size) in found
        ]
        return _mean_of(ratios) if len(ratios) == len(fp) else {}

    return values


def path(arm: str) -> Contrast:
    """log(entropy / clean entropy) at equal accuracy, mean over PATH_AT."""

    def values(evidence: Evidence, size: int) -> Series:
        noisy, clean = (_entropies(evidence, name, size) for name in (arm, "clean"))
        return _mean_of([_log_ratio(*pair) for pair in zip(noisy, clean, strict=False)])

    return values


def _entropies(evidence: Evidence, arm: str, size: int) -> list[Series]:
    """Entropy, a running mean over 21 steps, where each accuracy of PATH_AT is reached; none without logs."""
    if (arm, size) not in evidence.curves.accuracy or (arm, size) not in evidence.entropy:
        return []
    smooth = evidence.entropy[arm, size].T.rolling(21, center=True, min_periods=5).mean().T
    at = smooth.columns.to_numpy(np.float64)
    return [
        {
            seed: float(np.interp(step, at, smooth.loc[seed].to_numpy(np.float64)))
            for seed, step in steps_between(
                evidence.curves.accuracy[arm, size], None, level
            ).items()
            if seed in smooth.index
        }
        for level in PATH_AT
    ]


def gaps(curves: Curves) -> tuple[Gap, ...]:
    """Every noisy arm against the clean arm of its estimator."""
    found: list[Gap] = []
    for size in curves.group_sizes:
        for arm in [arm for arm, own in curves.accuracy if own == size and "clean" not in arm]:
            clean = "drgrpo-clean" if arm.startswith("drgrpo-") else "clean"
            curve = curves.difference([clean], [arm], size)
            if not curve.empty:
                label = f"{arm}, {size} rollouts"
                found.append(
                    Gap(
                        arm,
                        size,
                        estimate(label, over_training(curve)),
                        estimate(label, at_end(curve)),
                    )
                )
    return tuple(found)


# ---- hypotheses about them


def by_size(contrast: Contrast, hypothesis: Hypothesis, name: str = "") -> Asked:
    """About each group size with any seed, and their average.

    The average is over the group sizes with seeds enough, within the seeds that they share: a seed gives
    one number, as everywhere.
    """
    head = f"{name}: " if name else ""

    def asked(evidence: Evidence) -> list[Part]:
        series = _series(evidence, contrast)
        each = [estimate(f"{head}{size} rollouts", found) for size, found in series.items()]
        if len(each) < 2:
            return [Part(hypothesis, one) for one in each]
        enough = {s: found for s, found in series.items() if len(found) >= LEAST_UNITS} or series
        pooled = _mean_of(list(enough.values()))
        if not pooled:
            return []
        sizes = ", ".join(str(size) for size in enough)
        average = estimate(f"{head}mean of {sizes} rollouts", pooled)
        return [Part(hypothesis, average, tuple(each))]

    return asked


def between_sizes(contrast: Contrast, hypothesis: Hypothesis) -> Asked:
    """About the largest minus the smallest group size with seeds enough, and each minus the one before."""

    def asked(evidence: Evidence) -> list[Part]:
        series = _series(evidence, contrast)
        enough = [size for size in series if len(series[size]) >= LEAST_UNITS]

        def between(small: int, large: int) -> Estimate:
            change = {
                s: v - series[small][s] for s, v in series[large].items() if s in series[small]
            }
            return estimate(f"{large} against {small} rollouts", change)

        if len(enough) < 2:
            return []
        whole = (enough[0], enough[-1])
        each = [between(*pair) for pair in itertools.pairwise(series) if pair != whole]
        return [Part(hypothesis, between(*whole), tuple(each))]

    return asked


def at_largest(contrast: Contrast, hypothesis: Hypothesis) -> Asked:
    """About the largest group size with seeds enough; nothing where only one size has them."""

    def asked(evidence: Evidence) -> list[Part]:
        series = _series(evidence, contrast)
        enough = [size for size in series if len(series[size]) >= LEAST_UNITS]
        if len(enough) < 2:
            return []
        return [Part(hypothesis, estimate(f"{enough[-1]} rollouts", series[enough[-1]]))]

    return asked


def with_noise_injected(name: str, hypothesis: Hypothesis) -> Asked:
    """About an estimate that `paper.public_data` makes of real groups of rollouts."""

    def asked(evidence: Evidence) -> list[Part]:
        found = evidence.derived.get("real groups")
        return [] if found is None else [Part(hypothesis, found.estimates[name])]

    return asked


def _series(evidence: Evidence, contrast: Contrast) -> dict[int, Series]:
    """The contrast at every group size that has it, ascending."""
    sizes = evidence.curves.group_sizes
    return {size: found for size in sizes if (found := contrast(evidence, size))}
