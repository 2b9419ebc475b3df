"""Probes made while training: growth of accuracy over the next steps, as probed and as the campaign's runs had it.

Law. A probe at an arm's own weights gives the first-order growth of accuracy by one step under the arm's verifier
(`right_rate`). Measured: accuracy at the end of a window less that at its start, over its steps, paired within seeds,
mean over the campaign's seeds, between evaluations linear. The weights probed are seed 0's; the windows follow them.
Fails first in long windows: growth falls within them, and first order is then above what is measured. So the slope
around the probe's step is taken too, between the evaluations before and after it, where that cancels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.errors import StudyError
from empirical.probe import ArmProbe, Probe
from fits.hypotheses import Estimate, estimate, jackknife
from paper.paces import by_seed
from theory.channel import FloatArray

__all__ = ["AROUND", "WINDOWS", "Equal", "InTraining", "Row", "equal_steps", "in_training"]

WINDOWS: Final = {0: 20, 50: 100, 150: 200}  # the next steps, by where the probe was made
AROUND: Final = {50: (40, 60), 150: (100, 200)}  # evaluations as far before it as after
LOGGED: Final = {0: (1, 20), 50: (41, 60), 150: (131, 150)}  # steps about the probe's
COUNTS: Final = ("wrong", "right", "paid_wrong", "unpaid_right")


@dataclass(frozen=True)
class Row:
    """One probe: growth of accuracy by one step, as probed and over the window.

    around: the slope around the step, None at the start. same: the arm's speed over clean's, both at these weights, as
    probed.
    """

    arm: str
    group_size: int
    step: int
    until: int
    probed: float
    probed_ci: tuple[float, float]
    measured: Estimate
    around: Estimate | None
    same: float | None
    same_ci: tuple[float | None, float | None] | None

    @property
    def z(self) -> float | None:
        """Probed less measured, in standard errors of both."""
        if self.measured.error is None:
            return None
        error = (self.probed_ci[1] - self.probed_ci[0]) / (2 * 1.96)
        return (self.probed - self.measured.value) / float(np.hypot(error, self.measured.error))


@dataclass(frozen=True)
class Equal:
    """Steps of these runs whose counts are those of the campaign's own, of all compared; runs alike throughout."""

    steps: int
    of: int
    runs: int
    of_runs: int


@dataclass(frozen=True)
class Noise:
    """A batch's squared signal-to-noise ratio by a trainer's log, over the steps of a window, and by a probe.

    logged: of sums over steps, jackknife over them.
    """

    arm: str
    step: int
    window: tuple[int, int]
    logged: Estimate
    probed: float
    probed_ci: tuple[float | None, float | None]

    @property
    def z(self) -> float:
        """Logged less probed, in standard errors of both."""
        low, high = (float(end or 0.0) for end in self.probed_ci)
        error = np.hypot(self.logged.error or 0.0, (high - low) / (2 * 1.96))
        return (self.logged.value - self.probed) / float(error)


@dataclass(frozen=True)
class InTraining:
    """All probes. noise: of the gradient, as logged beside as probed, at one group size.

    ratio, ratio_around: geometric mean of probed over measured by step, where both are above 0.
    """

    rows: tuple[Row, ...]
    rank: float
    rmse: float
    ratio: Mapping[int, float]
    ratio_around: Mapping[int, float]
    within: int
    equal: Equal | None
    noise: tuple[Noise, ...]


def in_training(
    probes: Mapping[tuple[str, int, int], Probe],
    campaign: pd.DataFrame,
    equal: Equal | None,
    log: pd.DataFrame | None = None,
) -> InTraining:
    """Hold probes, by arm, group size and step, against the campaign's curves.

    log: a row a step of runs that logged the gradient's signal and noise, with arm and group_size; None: none did.

    Raises StudyError where none of them has a curve.
    """
    from scipy.stats import spearmanr

    rows: list[Row] = []
    for (arm, size, step), probe in sorted(
        probes.items(), key=lambda one: (one[0][2], *one[0][:2])
    ):
        own = campaign[(campaign["arm"] == arm) & (campaign["group_size"] == size)]
        if own.empty:
            continue
        table = own.pivot_table(index=["arm", "seed"], columns="step", values="accuracy")
        curves = by_seed(table, arm)
        label = f"{arm}, {size}, {step}"
        found = _arm(probe, size, arm)
        low, high = found.right_rate_ci
        assert low is not None
        assert high is not None
        rows.append(
            Row(
                arm=arm,
                group_size=size,
                step=step,
                until=WINDOWS[step],
                probed=found.right_rate,
                probed_ci=(low, high),
                measured=estimate(label, _slopes(curves, (step, WINDOWS[step]))),
                around=estimate(label, _slopes(curves, AROUND[step])) if step in AROUND else None,
                same=found.relative_speed,
                same_ci=found.ci,
            )
        )
    if not rows:
        raise StudyError("no probe made in training has a curve of the campaign")
    probed = np.array([row.probed for row in rows])
    measured = np.array([row.measured.value for row in rows])
    ranks: Any = spearmanr(probed, measured)
    return InTraining(
        rows=tuple(rows),
        rank=float(ranks.statistic),
        rmse=float(np.sqrt(np.mean((probed - measured) ** 2))),
        ratio=_ratios([(row.step, row.probed, row.measured.value) for row in rows]),
        ratio_around=_ratios(
            [(row.step, row.probed, row.around.value) for row in rows if row.around is not None]
        ),
        within=sum(abs(z) < 1.96 for row in rows if (z := row.z) is not None),
        equal=equal,
        noise=() if log is None else tuple(_noise(probes, log)),
    )


def _noise(probes: Mapping[tuple[str, int, int], Probe], log: pd.DataFrame) -> list[Noise]:
    found: list[Noise] = []
    key: Any
    for key, own in log.groupby(["arm", "group_size"], sort=False):
        arm, size = str(key[0]), int(key[1])
        for step, window in LOGGED.items():
            if (arm, size, step) not in probes:
                continue
            rows: Any = own[own["step"].between(*window)]
            signal = rows["gradient_signal"].to_numpy(np.float64)
            noise = rows["gradient_noise"].to_numpy(np.float64)
            whole = float(signal.sum() / noise.sum())
            without = (signal.sum() - signal) / (noise.sum() - noise)
            told = _arm(probes[arm, size, step], size, arm)
            found.append(
                Noise(
                    arm,
                    step,
                    window,
                    jackknife(f"{arm}, {step}", whole, without, "steps"),
                    told.snr2,
                    told.snr2_ci,
                )
            )
    return found


def _slopes(curves: Mapping[int, pd.Series], window: tuple[int, int]) -> FloatArray:
    """Growth of accuracy by one step over a window, of each seed, shape (seeds,)."""
    return np.array(
        [
            float(np.diff(np.interp(window, curve.index.to_numpy(float), curve))[0])
            / (window[1] - window[0])
            for curve in curves.values()
        ]
    )


def _ratios(rows: Sequence[tuple[int, float, float]]) -> dict[int, float]:
    """Geometric mean of probed over measured by step; rows: (step, probed, measured)."""
    logs: dict[int, list[float]] = {}
    for step, probed, measured in rows:
        if probed > 0.0 and measured > 0.0:
            logs.setdefault(step, []).append(float(np.log(probed / measured)))
    return {step: float(np.exp(np.mean(of))) for step, of in logs.items()}


def _arm(probe: Probe, size: int, arm: str) -> ArmProbe:
    for one in probe.at(size).arms:
        if one.arm == arm:
            return one
    raise StudyError(f"a probe of {probe.study} says nothing of the arm {arm}")


def equal_steps(own: pd.DataFrame, campaign: pd.DataFrame) -> Equal:
    """Compare step logs of runs with the campaign's of the same arm, group size and seed.

    Both: a row a step with arm, group_size, seed, step and COUNTS.
    """
    keys = ["arm", "group_size", "seed", "step"]
    both = own[[*keys, *COUNTS]].merge(campaign[[*keys, *COUNTS]], on=keys, suffixes=("", "_was"))
    alike: Any = np.logical_and.reduce([both[name] == both[f"{name}_was"] for name in COUNTS])
    by_run: Any = pd.Series(alike).groupby([both[key] for key in keys[:3]]).all()
    return Equal(int(alike.sum()), len(both), int(by_run.sum()), len(by_run))
