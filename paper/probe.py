"""The probe held against the campaign: predicted speeds beside measured ones, forms of Adam, the clock.

Law. A measured relative speed at step t is the accuracy an arm gained by then over what clean gained, both from
the initial weights that all seeds share. Its error has a paired part (arm less clean, seed by seed, pooled over
arms) and a part of clean's own gain, which the arm shares but for 1 - R of it.
Fails first late in a run, where the gain is no longer in proportion to the speed: there the clock is asked, clean's
accuracy at R t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.special import expit, logit
from scipy.stats import spearmanr

from empirical.errors import StudyError
from empirical.probe import ArmProbe, Probe
from empirical.probe.statistics import FORMS
from theory import VerifierChannel
from theory.channel import FloatArray
from theory.effective_rollouts import population_phi2, population_snr2_weight
from theory.estimators import DR_GRPO

__all__ = [
    "PROBE",
    "Checked",
    "Compared",
    "FormScore",
    "ProbeCheck",
    "Worth",
    "check",
    "climb_by_law",
    "law_pace",
    "law_speed",
    "rms",
    "speeds_said",
]

STEPS: Final = (10, 20)
WINDOWS: Final = (10, 50, 150, 300)
REFERENCE: Final = 8
PROBE: Final = "probe"


@dataclass(frozen=True)
class Compared:
    """One arm at one group size and step: relative speed as probed and as measured, with standard errors."""

    arm: str
    group_size: int
    step: int
    seeds: int
    probe: float
    probe_se: float
    measured: float
    measured_se: float

    @property
    def z(self) -> float:
        """Probe less measured, in standard errors of both."""
        return (self.probe - self.measured) / float(np.hypot(self.probe_se, self.measured_se))


@dataclass(frozen=True)
class Checked:
    """All of them, of independent-noise arms with 0 < J < 1. within: share of |z| below 1.96."""

    rows: int
    rmse: float
    bias: float
    rank_correlation: float
    within: float
    measured_se: float


@dataclass(frozen=True)
class FormScore:
    """RMSE of accuracy by clean's clock of the same size at R t, with the R of this form, up to a step."""

    form: str
    until: int
    rows: int
    rmse: float
    bias: float


@dataclass(frozen=True)
class Worth:
    """Effective rollouts of an arm: measured by the probe, by phi^2, and by phi^2 with v0 and v1."""

    arm: str
    group_size: int
    measured: float
    low: float
    high: float
    phi2: float
    with_norms: float


@dataclass(frozen=True)
class ProbeCheck:
    """Everything `python -m paper probe` says.

    clock_rmse: of means over seeds; clock_rmse_of_runs: of single runs, whose evaluation noise is in it.
    growth: clean's gain by step as (size, step, probed, measured).
    """

    probe: Probe
    compared: tuple[Compared, ...]
    others: tuple[Compared, ...]
    checked: Checked
    by_size: dict[int, Checked]
    forms: tuple[FormScore, ...]
    clock_by_arm: dict[str, float]
    clock_rows: int
    clock_rmse: float
    clock_rmse_of_runs: float
    growth: tuple[tuple[int, int, float, float], ...]
    worth: tuple[Worth, ...]


def check(probe: Probe, runs: pd.DataFrame) -> ProbeCheck:
    """Hold `probe` against the runs of its study, which must start from its weights.

    Raises StudyError if the table lacks a step or an arm that is asked for.
    """
    table = runs.pivot_table(index=["group_size", "arm", "seed"], columns="step", values="accuracy")
    if missing := sorted({0, *STEPS} - set(table.columns)):
        raise StudyError(f"the run table has no evaluation at steps {missing}")
    n_eval = float(runs["n_eval"].median())
    compared, others = _compared(probe, table, n_eval)
    sizes = sorted({one.group_size for one in compared})
    clock = _clock(probe, table)
    return ProbeCheck(
        probe=probe,
        compared=tuple(compared),
        others=tuple(others),
        checked=_checked(compared),
        by_size={size: _checked([c for c in compared if c.group_size == size]) for size in sizes},
        forms=tuple(_forms(probe, table)),
        clock_by_arm={str(arm): rms(part["error"]) for arm, part in clock.groupby("arm")},
        clock_rows=len(clock),
        clock_rmse=rms(clock["error"]),
        clock_rmse_of_runs=float(np.sqrt(clock["squared"].mean())),
        growth=tuple(_growth(probe, table)),
        worth=tuple(_worth(probe)),
    )


def law_pace(
    probe: Probe, size: FloatArray | float, prompts: float, worth: FloatArray | float
) -> FloatArray:
    """The manuscript's proposition "between-prompts": speed over clean's at REFERENCE rollouts and the probe's prompts.

    size, prompts: rollouts of a group, at least 2, and groups of a step. worth: of a rollout in clean ones. From the
    noise scales that the probe measured: 1/SNR^2 of a batch has a part between prompts, and score noise, which falls
    with the clean rollouts that a group is worth.
    """
    one = probe.at(REFERENCE)
    within, between = one.noise_within or 0.0, one.noise_between or 0.0
    noise = within * (REFERENCE - 1) / (np.asarray(size) - 1.0)
    clean = 1.0 + (between + within) / probe.prompts_per_step
    worth = np.asarray(worth)
    return np.sqrt(clean * worth / ((1.0 + between / prompts) * worth + noise / prompts))


def law_speed(probe: Probe, size: FloatArray | float, worth: FloatArray | float) -> FloatArray:
    """`law_pace` over a clean verifier's at this group size, with the probe's prompts."""
    prompts = probe.prompts_per_step
    return law_pace(probe, size, prompts, worth) / law_pace(probe, size, prompts, 1.0)


def speeds_said(probe: Probe, size: int, arm: ArmProbe) -> dict[str, float]:
    """An arm's speed over clean's by the probe, weight by weight, and by what it has to beat; errors are independent.

    Of the others only "noise scales", the closed form `law_speed`, asks anything of gradients.
    """
    worth = population_phi2(np.array(probe.pass_rates), VerifierChannel(arm.fpr, arm.fnr))
    assert arm.relative_speed is not None
    return {
        "no slowing": 1.0,
        "J": arm.youden,
        "φ": float(np.sqrt(worth)),
        "noise scales": float(law_speed(probe, size, worth)),
        PROBE: arm.relative_speed,
    }


def climb_by_law(
    probe: Probe, size: int, low: float | None, high: float, rates: Sequence[float]
) -> float:
    """log(steps under fpr / steps under fnr) that `law_speed` says of a climb from accuracy `low` (None: the start).

    Mean over rates. The probe's pass rates move together in logits; noise scales stay those of the initial weights,
    and clean's speed the same all the way.
    """
    counts = np.array(probe.pass_rates) * probe.rollouts_per_prompt
    ability = logit((counts + 0.5) / (probe.rollouts_per_prompt + 1.0))

    def at(accuracy: float) -> FloatArray:
        shift = brentq(lambda by: float(expit(ability + by).mean()) - accuracy, -20.0, 20.0)
        return expit(ability + shift)

    path = [at(a) for a in np.linspace(low or float(expit(ability).mean()), high, 9)]

    def steps(channel: VerifierChannel) -> float:
        worth = np.array([population_phi2(a, channel) for a in path])
        return float(np.mean(1.0 / law_speed(probe, size, worth)))

    return float(
        np.mean(
            [
                np.log(steps(VerifierChannel(rate, 0.0)) / steps(VerifierChannel(0.0, rate)))
                for rate in rates
            ]
        )
    )


def _clean_of(arm: ArmProbe, arms: tuple[ArmProbe, ...]) -> str:
    return next(
        other.arm
        for other in arms
        if other.estimator == arm.estimator and other.fpr == other.fnr == 0.0
    )


def _fair(arm: ArmProbe) -> bool:
    """Independent noise with 0 < J < 1."""
    return arm.noise == "independent" and 0.0 < arm.youden < 1.0


def _cell(table: pd.DataFrame, group_size: int, arm: str) -> Any:
    """Accuracy by seed and step, a frame."""
    return table.loc[(group_size, arm)]


def _start(table: pd.DataFrame) -> tuple[float, int]:
    """Accuracy of the initial weights, and how many evaluations say so: one per seed, whatever the arm."""
    by_seed: Any = table[0].groupby(level="seed").first()
    return float(by_seed.mean()), len(by_seed)


def _compared(
    probe: Probe, table: pd.DataFrame, n_eval: float
) -> tuple[list[Compared], list[Compared]]:
    start, starts = _start(table)
    fair: list[Compared] = []
    others: list[Compared] = []
    for one in probe.by_group_size:
        known = {(int(g), str(arm)) for g, arm, _ in table.index.to_list()}
        arms = [a for a in one.arms if (one.group_size, a.arm) in known]
        for step in STEPS:
            gaps: dict[str, FloatArray] = {}
            gains: dict[str, FloatArray] = {}
            for arm in arms:
                own = _cell(table, one.group_size, arm.arm)[step]
                clean = _cell(table, one.group_size, _clean_of(arm, one.arms))[step]
                both: Any = pd.concat([own, clean], axis=1, keys=["own", "clean"]).dropna()
                gaps[arm.arm] = (both["own"] - both["clean"]).to_numpy()
                gains[arm.arm] = both["clean"].to_numpy() - start
            noisy = [arm for arm in arms if arm.youden < 1.0]
            # Three to five seeds say little of each arm's variance, so arms of a kind share one.
            variances = {
                kind: _pooled([gaps[a.arm] for a in noisy if _fair(a) == kind])
                for kind in (True, False)
            }
            for arm in noisy:
                n, gain = len(gaps[arm.arm]), float(gains[arm.arm].mean())
                ratio = 1.0 + float(gaps[arm.arm].mean()) / gain
                at = start + gain
                # Of clean's gain: evaluations at the step, shared by pairing, and at the start.
                own = at * (1 - at) / (n * n_eval) + start * (1 - start) / (starts * n_eval)
                if arm.relative_speed is None or arm.se is None:
                    continue
                (fair if _fair(arm) else others).append(
                    Compared(
                        arm=arm.arm,
                        group_size=one.group_size,
                        step=step,
                        seeds=n,
                        probe=arm.relative_speed,
                        probe_se=arm.se,
                        measured=ratio,
                        measured_se=float(
                            np.sqrt(variances[_fair(arm)] / n + (1 - ratio) ** 2 * own)
                        )
                        / gain,
                    )
                )
    return fair, others


def _pooled(samples: list[FloatArray]) -> float:
    """Their common variance, each about its own mean."""
    squares = sum(float(((x - x.mean()) ** 2).sum()) for x in samples)
    return squares / max(1, sum(len(x) - 1 for x in samples))


def rms(values: Any) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(values))))


def _checked(rows: list[Compared]) -> Checked:
    probe = np.array([row.probe for row in rows])
    measured = np.array([row.measured for row in rows])
    ranked: Any = spearmanr(probe, measured)
    return Checked(
        rows=len(rows),
        rmse=rms(probe - measured),
        bias=float((probe - measured).mean()),
        rank_correlation=float(ranked.statistic),
        within=float(np.mean([abs(row.z) < 1.96 for row in rows])),
        measured_se=rms(np.array([row.measured_se for row in rows])),
    )


def _curve(table: pd.DataFrame, size: int, arm: str) -> Any:
    """Mean accuracy over seeds by step, from the shared start: a series."""
    curve = _cell(table, size, arm).mean(axis=0).dropna()
    curve[0] = _start(table)[0]
    return curve


def _at(curve: Any, time: FloatArray) -> FloatArray:
    """Accuracy at `time`, linear between evaluations; before the start, and so for R < 0, the start's."""
    return np.interp(time, curve.index.to_numpy(dtype=float), curve.to_numpy())


def _forms(probe: Probe, table: pd.DataFrame) -> list[FormScore]:
    errors: dict[str, list[tuple[float, float]]] = {form: [] for form in FORMS}
    for one in probe.by_group_size:
        for arm in one.arms:
            if not _fair(arm):
                continue
            clean = _curve(table, one.group_size, _clean_of(arm, one.arms))
            own = _curve(table, one.group_size, arm.arm)
            steps = np.array([step for step in own.index if step > 0], dtype=float)
            for form in FORMS:
                speed = arm.forms[form].relative_speed
                if speed is not None:
                    error = _at(clean, speed * steps) - own[steps].to_numpy()
                    errors[form] += list(zip(steps, error, strict=True))
    return [
        FormScore(form, until, len(kept), rms(np.array(kept)), float(np.mean(kept)))
        for until in WINDOWS
        for form in FORMS
        if (kept := [error for step, error in errors[form] if step <= until])
    ]


def _clock(probe: Probe, table: pd.DataFrame) -> pd.DataFrame:
    """Errors of clean at REFERENCE rollouts, at R times clean's speed there, for J >= 0 and every size."""
    clean = _curve(table, REFERENCE, next(a.arm for a in probe.arms if a.fpr == a.fnr == 0.0))
    base = probe.at(REFERENCE).clean_speed or 1.0
    rows: list[dict[str, Any]] = []
    for one in probe.by_group_size:
        for arm in one.arms:
            if arm.noise != "independent" or arm.youden < 0.0 or arm.relative_speed is None:
                continue
            if one.clean_speed is None or (one.group_size == REFERENCE and arm.youden == 1.0):
                continue
            own = _curve(table, one.group_size, arm.arm)
            speed = max(arm.relative_speed, 0.0) * one.clean_speed / base
            # Past the clean arm's last evaluation it forecasts nothing.
            known = [step for step in own.index if step > 0 and speed * step <= clean.index.max()]
            steps = np.array(known, dtype=float)
            forecast = _at(clean, speed * steps)
            runs = _cell(table, one.group_size, arm.arm)[steps].to_numpy()
            rows += [
                {"arm": arm.arm, "error": f - m, "squared": float(np.nanmean((f - each) ** 2))}
                for f, m, each in zip(forecast, own[steps].to_numpy(), runs.T, strict=True)
            ]
    return pd.DataFrame(rows)


def _growth(probe: Probe, table: pd.DataFrame) -> list[tuple[int, int, float, float]]:
    start, _ = _start(table)
    found: list[tuple[int, int, float, float]] = []
    for one in probe.by_group_size:
        clean = one.arms[0]
        gains = _cell(table, one.group_size, clean.arm).mean(axis=0) - start
        found += [
            (one.group_size, step, step * clean.right_rate, float(gains[step])) for step in STEPS
        ]
    return found


def _worth(probe: Probe) -> list[Worth]:
    a = np.array(probe.pass_rates)
    found: list[Worth] = []

    def snr2(channel: VerifierChannel, size: int) -> float:
        """Of score noise alone under dr_grpo, wrong over right completions' as probed."""
        return population_snr2_weight(
            a, channel, size, estimator=DR_GRPO, wrong_over_right=probe.v0_over_v1 or 1.0
        )

    # No gradient at one rollout; unequal noise can make a verifier worth a few more than it takes.
    sizes = np.arange(1, 2 * max(probe.group_sizes) + 1)
    clean = np.array([0.0, *(snr2(VerifierChannel(0.0, 0.0), int(size)) for size in sizes[1:])])
    for one in probe.by_group_size:
        for arm in one.arms:
            if not _fair(arm) or arm.effective_rollouts is None:
                continue
            low, high = arm.effective_rollouts_ci or (None, None)
            channel = VerifierChannel(arm.fpr, arm.fnr)
            found.append(
                Worth(
                    arm=arm.arm,
                    group_size=one.group_size,
                    measured=arm.effective_rollouts,
                    low=float("nan") if low is None else low,
                    high=float("nan") if high is None else high,
                    phi2=1.0 + (one.group_size - 1) * population_phi2(a, channel),
                    with_norms=float(np.interp(snr2(channel, one.group_size), clean, sizes)),
                )
            )
    return found
