"""How well a forecast did, beside baselines that saw the same rows.

Law. RMSE is over all forecast rows with equal weight. The difference of two RMSEs has a t interval over
groups (arms, cells), by the delete-one jackknife: rows of one group share what the model gets wrong.
The noise floor is what a perfect forecast would score: sqrt(mean a(1 - a)/n_eval), or, where n_eval is
unknown, the roughness of the curves, from each evaluation's distance to the line between its neighbours.
Fails first with few groups (two leave one degree of freedom), and where roughness is read off curves
that bend between evaluations: the floor is then too high.
Source: Wilson 1927 (coverage); Miller 1974 (jackknife); Gasser, Sroka & Jennen-Steinmetz 1986
(roughness).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from empirical.validate.calibrate import Parameter
from fits.baselines import BaselineForecast
from fits.hypotheses import jackknife
from fits.inference import Interval
from fits.laws import FloatArray

__all__ = [
    "BaselineScore",
    "GroupScore",
    "Report",
    "noise_floor",
    "rmse_difference",
    "root_mean_square",
    "score_baseline",
]


@dataclass(frozen=True)
class GroupScore:
    """The forecast of one group of rows. bias: mean of forecast minus measured. coverage90: share of rows."""

    rmse: float
    bias: float
    rows: int
    coverage90: float


@dataclass(frozen=True)
class GroupRmse:
    """A baseline's RMSE in one group."""

    rmse: float


@dataclass(frozen=True)
class BaselineScore:
    """One baseline on the same rows.

    status: "identified" or "unidentified", then with `reason` and the `aliased` terms, and no scores.
    difference: the model's RMSE minus the baseline's, below 0 where the model is better; its 95 %
    interval over groups, None where `difference_basis` says why.
    """

    status: Literal["identified", "unidentified"]
    reason: str
    aliased: tuple[str, ...]
    formula: str
    params: Mapping[str, float]
    rmse: float | None
    by_group: Mapping[str, GroupRmse]
    difference: float | None
    difference_ci: Interval | None
    difference_basis: str


@dataclass(frozen=True)
class Report:
    """How well the calibrated model forecast the rows it was not shown.

    rmse, bias, coverage90 (share of rows inside their 90 % intervals): over all forecast rows.
    coverage90_ci: Wilson, 95 %, as if rows were independent. noise_floor: None where
    `noise_floor_basis` says why. by_group: in order of appearance. baselines: on the same rows.
    parameters, status, message: of the model. kind: "curves", or "final accuracies" where there is
    one step. warmup_steps: assumed by the warm-up-aware baseline, from `warmup_basis`. width90: mean width of
    the 90 % intervals. optimiser: "adam" or "sgd", from `optimiser_basis`. signal_basis: where the signal of the
    gradient is from. laws: the share of the forecast that each law of noise has. noisy_calibrated: whether the
    calibration rows have verifiers of different quality.
    """

    rmse: float
    bias: float
    coverage90: float
    coverage90_ci: Interval
    noise_floor: float | None
    noise_floor_basis: str
    by_group: Mapping[str, GroupScore]
    baselines: Mapping[str, BaselineScore]
    parameters: Mapping[str, Parameter]
    status: str
    message: str
    kind: Literal["curves", "final accuracies"]
    calibrated_on: str
    calibration_rows: int
    forecast_rows: int
    warmup_steps: float
    warmup_basis: str
    notes: tuple[str, ...]
    width90: float
    optimiser: str
    optimiser_basis: str
    signal_basis: str
    laws: Mapping[str, float]
    noisy_calibrated: bool

    @property
    def best_baseline(self) -> str | None:
        """The name of the identified baseline with the least RMSE."""
        scored = {name: one.rmse for name, one in self.baselines.items() if one.rmse is not None}
        return min(scored, key=scored.__getitem__) if scored else None


def root_mean_square(values_N: FloatArray) -> float:
    """Root of the mean square of `values_N`, (N,)."""
    return float(np.sqrt(np.mean(values_N**2)))


def score_baseline(
    one: BaselineForecast, error_N: FloatArray, measured_N: FloatArray, group_N: np.ndarray
) -> BaselineScore:
    """One baseline beside a model whose errors are `error_N`, (N,), by groups `group_N`."""
    if one.accuracy_N is None:
        return BaselineScore(
            one.status, one.reason, one.aliased, one.formula, {}, None, {}, None, None, one.reason
        )
    theirs_N = one.accuracy_N - measured_N
    difference, interval, basis = rmse_difference(error_N, theirs_N, group_N)
    return BaselineScore(
        status=one.status,
        reason="",
        aliased=(),
        formula=one.formula,
        params=one.params,
        rmse=root_mean_square(theirs_N),
        by_group={
            str(label): GroupRmse(root_mean_square(theirs_N[group_N == label]))
            for label in dict.fromkeys(group_N)
        },
        difference=difference,
        difference_ci=interval,
        difference_basis=basis,
    )


def rmse_difference(
    ours_N: FloatArray, theirs_N: FloatArray, group_N: np.ndarray
) -> tuple[float, Interval | None, str]:
    """RMSE of errors `ours_N` minus that of `theirs_N`, its 95 % interval over groups, and what it rests on.

    ours_N, theirs_N: errors of two forecasts of the same rows, (N,). group_N: the group of each row.
    The interval is Student's t over delete-one pseudo-values; None for a single group.
    """

    def difference(ours: FloatArray, theirs: FloatArray) -> float:
        return root_mean_square(ours) - root_mean_square(theirs)

    whole = difference(ours_N, theirs_N)
    groups = list(dict.fromkeys(group_N))
    C = len(groups)
    if C < 2:
        return whole, None, "no interval: one group"
    without_C = np.array(
        [difference(ours_N[group_N != one], theirs_N[group_N != one]) for one in groups]
    )
    few = "; two leave one degree of freedom" if C == 2 else ""
    ci = jackknife("RMSE", whole, without_C, "groups").ci
    return whole, ci, f"jackknife t over {C} groups{few}"


def noise_floor(rows: pd.DataFrame) -> tuple[float | None, str]:
    """RMSE of a perfect forecast of `rows`, and what that rests on; None with the reason.

    rows: a run table with accuracy; n_eval where known, else step and run_id.
    """
    accuracy_N = rows["accuracy"].to_numpy(np.float64)
    if "n_eval" in rows.columns and rows["n_eval"].notna().all():
        variance_N = accuracy_N * (1.0 - accuracy_N) / rows["n_eval"].to_numpy(np.float64)
        return float(np.sqrt(variance_N.mean())), "binomial, from n_eval"
    hint = "n_eval is not known; --n-eval N says it"
    if "step" not in rows.columns:
        return None, hint
    squares = [
        _roughness(run["step"].to_numpy(np.float64), run["accuracy"].to_numpy(np.float64))
        for _, run in rows.groupby("run_id", sort=False)
    ]
    found = np.concatenate(squares)
    if not found.size:
        return None, f"{hint}, and no run has the three evaluations that roughness needs"
    return (
        float(np.sqrt(found.mean())),
        "estimated from the roughness of the curves, since n_eval is not known",
    )


def _roughness(step_N: FloatArray, accuracy_N: FloatArray) -> FloatArray:
    """Unbiased for the noise variance where the curve is straight between neighbours; (N - 2,)."""
    order = np.argsort(step_N, kind="stable")
    t_N, a_N = step_N[order], accuracy_N[order]
    share = (t_N[2:] - t_N[1:-1]) / (t_N[2:] - t_N[:-2])
    off = a_N[1:-1] - share * a_N[:-2] - (1.0 - share) * a_N[2:]
    return np.asarray(off**2 / (1.0 + share**2 + (1.0 - share) ** 2), dtype=np.float64)
