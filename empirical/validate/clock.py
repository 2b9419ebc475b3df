"""The clock of a noisy arm: what a probe says of it, and the baselines that read the clean curve by it.

Law. A verifier's noise slows the clean curve: accuracy(arm, t) = clean(pace t). A probe at the initial weights
measures the pace without training, relative speed at the arm's group size times the clean verifier's there, over
the clean verifier's at the calibrated group size. Beside it, with nothing measured:
    phi-clock                 a = clean(u), du/dt = phi(clean(u)), phi the verifier's Matthews correlation
    effective-rollouts        a = the clean arm at 1 + phi^2 (G - 1) rollouts and equal steps, phi at its pass rate
    youden-rollouts           a = the clean arm at J^2 G rollouts
The last two are read linearly in log2 of the rollouts between the clean arms calibrated on, two at least.
Fails first where the pace changes as the policy does: it is measured once, at the start.
Source: docs/theory.md#probe; docs/theory.md#effective-rollouts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.baselines import BaselineForecast
from fits.errors import InputError
from fits.readers.jsonl import parse_json
from fits.readers.text import read_text
from theory import VerifierChannel, estimator_named, gain, phi2
from theory.flow import mean_square_advantage
from theory.forecast import Measured

FloatArray = NDArray[np.float64]

__all__ = ["ArmClock", "Clock", "clock_baselines", "read_clock"]

PACE: Final = "probe_pace"  # columns of rows whose pace a probe measured; NaN where it did not
PACE_SE: Final = "probe_pace_se"


@dataclass(frozen=True)
class ArmClock:
    """One arm's speed at one group size, over the clean verifier's at the probe's own group size.

    speed, se: with its standard error. fpr, fnr, noise, estimator: what it is matched by where names differ.
    """

    arm: str
    fpr: float
    fnr: float
    noise: str
    estimator: str
    group_size: int
    speed: float
    se: float


@dataclass(frozen=True)
class Clock:
    """What a probe file says to a forecast.

    arms: at every group size. clean: by group size, the clean verifier's speed over that at the probe's own.
    measured: the task's signal. form: of the optimiser, as the probe calls it. source: the file.
    """

    arms: tuple[ArmClock, ...]
    clean: Mapping[int, float]
    measured: Measured | None
    form: str
    source: str

    def paced(self, rows: pd.DataFrame, *, reference: int) -> pd.DataFrame:
        """The rows with PACE and PACE_SE: their clock over the clean arm's at `reference` rollouts.

        Raises InputError where the probe did not measure the clean verifier at that group size.
        """
        self.check(reference)
        pace_N, se_N = np.full((2, len(rows)), np.nan)
        for place, row in enumerate(rows.to_dict("records")):
            found = self._match(row)
            if found is not None:
                pace_N[place] = found.speed / self.clean[reference]
                se_N[place] = found.se / self.clean[reference]
        return rows.assign(**{PACE: pace_N, PACE_SE: se_N})

    def check(self, reference: int) -> None:
        """Raise InputError where the probe did not measure the clean verifier at `reference` rollouts."""
        if reference not in self.clean:
            raise InputError(
                f"{self.source}: measured {', '.join(map(str, sorted(self.clean)))} rollouts, but the clean arm"
                f" calibrated on has {reference}; probe it with --group-size {reference}"
            )

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Clock:
        """What `asdict` made of a clock, again one; KeyError, TypeError or ValueError where it did not."""
        measured = document["measured"]
        return cls(
            arms=tuple(ArmClock(**one) for one in document["arms"]),
            clean={int(size): float(speed) for size, speed in document["clean"].items()},
            measured=None if measured is None else Measured(**measured),
            form=str(document["form"]),
            source=str(document["source"]),
        )

    def _match(self, row: Mapping[Any, Any]) -> ArmClock | None:
        same = [one for one in self.arms if one.group_size == row["group_size"]]
        rated = [
            one
            for one in same
            if math.isclose(one.fpr, row["fpr"], abs_tol=1e-6)
            and math.isclose(one.fnr, row["fnr"], abs_tol=1e-6)
            and row.get("noise", one.noise) == one.noise
            and row.get("estimator", one.estimator) == one.estimator
        ]
        # A name may mean something else in another study: it decides only between arms of equal rates.
        named = [one for one in rated if one.arm == row.get("arm")]
        return (named or rated or [None])[0]


def read_clock(path: Path) -> Clock:
    """Read what `verigap probe` wrote.

    Raises InputError where `path` cannot be read, or is no probe.
    """
    document = parse_json(read_text(path), source=str(path))
    if not isinstance(document, dict) or document.get("kind") != "probe":
        raise InputError(f"{path}: is no probe; `verigap probe STUDY.yaml --out` writes one")
    if document.get("version") != 1:
        raise InputError(
            f"{path}: a probe of version {document.get('version')!r}, but this verigap reads version 1"
        )
    try:
        arms: list[ArmClock] = []
        clean: dict[int, float] = {}
        for one in document["by_group_size"]:
            size, speed = int(one["group_size"]), float(one["clean_speed"])
            clean[size] = speed
            own_se = float(one.get("clean_speed_se") or 0.0)
            for arm in one["arms"]:
                relative, se = arm["relative_speed"], arm.get("se") or 0.0
                if relative is None:
                    continue
                arms.append(
                    ArmClock(
                        arm=str(arm["arm"]),
                        fpr=float(arm["fpr"]),
                        fnr=float(arm["fnr"]),
                        noise=str(arm.get("noise", "independent")),
                        estimator=str(arm.get("estimator", document.get("estimator", "grpo"))),
                        group_size=size,
                        speed=float(relative) * speed,
                        se=math.hypot(float(se) * speed, float(relative) * own_se),
                    )
                )
        measured = _measured(document)
        form = str(document.get("optimiser", "adam"))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: a damaged probe ({error!r})") from None
    return Clock(tuple(arms), clean, measured, form, str(path))


def _measured(document: Mapping[str, Any]) -> Measured | None:
    """The signal and the scatter between prompts that give the probe's noise scale; None where it lacks its parts."""
    size = int(document["group_size"])
    headline = next(
        (one for one in document["by_group_size"] if int(one["group_size"]) == size), None
    )
    if headline is None:
        return None
    within, between = headline.get("noise_within"), headline.get("noise_between")
    rates = np.asarray(document.get("pass_rates") or [document["pass_rate"]], dtype=np.float64)
    if within is None or between is None or not within > 0.0:
        return None
    estimator = estimator_named(str(document.get("estimator", "grpo")))
    pull = rates * (1.0 - rates) * gain(rates, size, estimator=estimator)
    mean, square = float(pull.mean()), float((pull**2).mean())
    if not mean > 0.0:
        return None
    noise = float(mean_square_advantage(rates, size, estimator=estimator).mean()) / size
    return Measured(
        signal=math.sqrt(noise / float(within)) / mean,
        between=max(float(between), 0.02) * mean**2 / square,
    )


def clock_baselines(known: pd.DataFrame, asked: pd.DataFrame) -> tuple[BaselineForecast, ...]:
    """The module's baselines, calibrated on `known` and forecasting `asked`, rows of one run table.

    `probe-clock` is among them where `asked` has the column PACE.
    """
    curves = _clean_curves(known)
    timed = "step" in known.columns and known["step"].nunique() > 1
    found: list[BaselineForecast] = []
    if PACE in asked.columns:
        found.append(_probe_clock(known, asked, curves, timed))
    found += [_phi_clock(asked, curves, timed), *_rollouts(asked, curves)]
    return tuple(found)


Curves = Mapping[int, tuple[FloatArray, FloatArray]]


def _clean_curves(known: pd.DataFrame) -> Curves:
    """By group size: steps and mean accuracies of the calibration rows of least noise."""
    youden = 1.0 - known["fpr"] - known["fnr"]
    rows = known[youden >= youden.max() - 1e-9]
    if "step" not in rows.columns:
        rows = rows.assign(step=0.0)
    curves: dict[int, tuple[FloatArray, FloatArray]] = {}
    for size, mine in rows.groupby("group_size", sort=True):
        level: Any = mine.groupby("step", sort=True)["accuracy"].mean()
        curves[int(size)] = level.index.to_numpy(np.float64), level.to_numpy(np.float64)  # type: ignore[arg-type]
    return curves


def _steps(rows: pd.DataFrame) -> FloatArray:
    return rows["step"].to_numpy(np.float64) if "step" in rows.columns else np.zeros(len(rows))


def _nearest(curves: Curves, size: float) -> int:
    return min(curves, key=lambda one: abs(math.log2(one / size)))


def _probe_clock(
    known: pd.DataFrame, asked: pd.DataFrame, curves: Curves, timed: bool
) -> BaselineForecast:
    name, formula = "probe-clock", "a = clean(R t), R the pace that the probe measured"
    if not timed:
        return _refused(
            name, formula, "one step in every calibration row: no curve to read at another time"
        )
    pace_N = asked[PACE].to_numpy(np.float64)
    missing = int(np.isnan(pace_N).sum())
    if missing:
        return _refused(
            name,
            formula,
            f"the probe did not measure the arm of {missing} of the {len(asked)} rows to forecast",
        )
    size = _nearest(curves, float(np.median(known["group_size"])))
    steps, level = curves[size]
    return BaselineForecast(
        name,
        formula,
        "identified",
        accuracy_N=np.interp(np.maximum(pace_N, 0.0) * _steps(asked), steps, level),
    )


def _phi_clock(asked: pd.DataFrame, curves: Curves, timed: bool) -> BaselineForecast:
    name, formula = "phi-clock", "a = clean(u), du/dt = phi at clean(u)"
    if not timed:
        return _refused(
            name, formula, "one step in every calibration row: no curve to read at another time"
        )
    accuracy_N = np.empty(len(asked))
    step_N = _steps(asked)
    where: Any = asked.groupby(["fpr", "fnr", "group_size"], sort=False, dropna=False).indices
    for (fpr, fnr, size), rows in where.items():
        steps, level = curves[_nearest(curves, float(size))]
        channel = VerifierChannel(float(fpr), float(fnr))
        fine = np.linspace(float(steps[0]), float(steps[-1]), 1025)
        curve = np.clip(np.interp(fine, steps, level), 0.0, 1.0)
        phi = np.sqrt(phi2(curve, channel)) if channel.youden > 0.0 else np.zeros_like(curve)
        # The time at which the arm is where the clean one is at u: the integral of du/phi.
        slow = np.divide(1.0, phi, out=np.full_like(phi, 1e9), where=phi > 1e-9)
        arrives = np.concatenate([[0.0], np.cumsum(0.5 * (slow[1:] + slow[:-1]) * np.diff(fine))])
        reached = np.interp(step_N[rows], arrives + float(steps[0]), fine)
        accuracy_N[rows] = np.interp(reached, steps, level)
    return BaselineForecast(name, formula, "identified", accuracy_N=accuracy_N)


def _rollouts(asked: pd.DataFrame, curves: Curves) -> list[BaselineForecast]:
    """The clean arm at fewer rollouts."""
    named = (
        ("effective-rollouts", "a = clean at 1 + phi^2 (G - 1) rollouts, equal steps"),
        ("youden-rollouts", "a = clean at J^2 G rollouts, equal steps"),
    )
    if len(curves) < 2:
        only = f"group_size = {next(iter(curves))} in every clean calibration row"
        return [_refused(name, formula, only) for name, formula in named]
    sizes = np.array(sorted(curves))
    step_N = _steps(asked)
    level_SN = np.stack([np.interp(step_N, *curves[int(size)]) for size in sizes])
    size_N = asked["group_size"].to_numpy(np.float64)
    fpr_N, fnr_N = (asked[name].to_numpy(np.float64) for name in ("fpr", "fnr"))
    own_N = np.clip(_between(sizes, level_SN, size_N), 0.0, 1.0)
    worth_N = np.array(
        [
            float(phi2(a, VerifierChannel(x, d))) if x + d < 1.0 else 0.0
            for a, x, d in zip(own_N, fpr_N, fnr_N, strict=True)
        ]
    )
    youden_N = np.maximum(1.0 - fpr_N - fnr_N, 0.0)
    rollouts = (1.0 + worth_N * (size_N - 1.0), np.maximum(youden_N**2 * size_N, 1.0))
    return [
        BaselineForecast(
            name,
            formula,
            "identified",
            accuracy_N=np.clip(_between(sizes, level_SN, some), 0.0, 1.0),
        )
        for (name, formula), some in zip(named, rollouts, strict=True)
    ]


def _between(sizes: NDArray[np.int64], level_SN: FloatArray, asked_N: FloatArray) -> FloatArray:
    """Levels linear in log2 of the rollouts, the end pieces prolonged; (N,)."""
    at, x = np.log2(sizes), np.log2(asked_N)
    left = np.clip(np.searchsorted(at, x) - 1, 0, len(at) - 2)
    share = (x - at[left]) / (at[left + 1] - at[left])
    rows = np.arange(x.size)
    return (1.0 - share) * level_SN[left, rows] + share * level_SN[left + 1, rows]


def _refused(name: str, formula: str, reason: str) -> BaselineForecast:
    return BaselineForecast(name, formula, "unidentified", reason, (reason,))
