"""Calibrate on some rows of a run table, forecast all others, and score the forecast beside baselines.

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
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from fits.baselines import BaselineForecast, forecast_baselines
from fits.errors import InputError
from fits.fit import group_rows
from fits.inference import Interval, student_interval
from fits.laws import FloatArray
from fits.readers.folders import parse_json
from fits.readers.text import read_text
from fits.selection import Selection, select
from fits.table import check_numbers, need_columns, varying
from theory import VerifierChannel
from theory.estimators import check_group_size
from verigap.forecasting import Calibration, Parameter, calibrate

__all__ = [
    "BaselineScore",
    "GroupScore",
    "Prediction",
    "Report",
    "Stored",
    "Validation",
    "noise_floor",
    "predict_row",
    "read_calibration",
    "rmse_difference",
    "split_rows",
    "stored",
    "validate_forecast",
]

WARMUP_STEPS: Final = 50  # the seed paper's, and of everyone who builds on its trainer
# What a calibration knows a range of, and `predict` warns outside of.
RANGED: Final = ("fpr", "fnr", "group_size", "step")


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
    one step. warmup_steps: assumed by the warm-up-aware baseline, from `warmup_basis`.
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

    @property
    def best_baseline(self) -> str | None:
        """The name of the identified baseline with the least RMSE."""
        scored = {name: one.rmse for name, one in self.baselines.items() if one.rmse is not None}
        return min(scored, key=scored.__getitem__) if scored else None


@dataclass(frozen=True)
class Validation:
    """The report, the calibration behind it, and the rows.

    forecasts: the target rows with `group`, `forecast`, `low90`, `high90`, and one column per
    identified baseline, by its name. shown: the calibration rows. calibrated: the range of each column
    in RANGED that the calibration rows have.
    """

    report: Report
    calibration: Calibration
    forecasts: pd.DataFrame
    shown: pd.DataFrame
    calibrated: Mapping[str, Interval]


@dataclass(frozen=True)
class Stored:
    """What `validate --out` writes and `predict` reads.

    calibrated_on, source, rows: which rows, of what. calibrated: see Validation.
    """

    calibration: Calibration
    calibrated: Mapping[str, Interval]
    calibrated_on: str
    source: str
    rows: int


def split_rows(
    frame: pd.DataFrame, selection: Selection, *, source: str = "the table"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The rows to calibrate on and the rows to forecast, which share none.

    Raises InputError where either would be empty.
    """
    taken = select(frame, selection, source=source)
    if not taken.any():
        raise InputError(f"{source}: no row satisfies --calibrate-on {selection.text}")
    if taken.all():
        raise InputError(
            f"{source}: every row satisfies --calibrate-on {selection.text}: none is left to forecast"
        )
    return frame[taken].reset_index(drop=True), frame[~taken].reset_index(drop=True)


def validate_forecast(
    frame: pd.DataFrame,
    *,
    calibrate_on: Selection,
    group: str | None = None,
    source: str = "the table",
) -> Validation:
    """Calibrate the model and the baselines on the selected rows of a run table, forecast all others.

    group: columns that make a group, comma-separated (default: the condition, see
    `fits.fit.group_rows`). A column warmup_steps says over how many steps the learning rate rose; without
    it the baseline that needs to know assumes WARMUP_STEPS. Rows at step 0 are forecast like all others.
    Raises InputError for missing columns, empty cells, a selection of nothing or everything, several
    models; whatever the model raises where the rows cannot calibrate it.
    """
    need_columns(frame, "fpr", "fnr", "group_size", purpose="a forecast", source=source)
    highest = {
        "fpr": 1.0,
        "fnr": 1.0,
        "group_size": np.inf,
        "prompts_per_step": np.inf,
        "beta2": 1.0,
    }
    for name, high in highest.items():
        if name in frame.columns:
            check_numbers(frame, name, high=high, source=source)
    if varying(frame, ["model"]):
        names = ", ".join(str(name) for name in frame["model"].unique()[:4])
        raise InputError(
            f"{source}: holds several models ({names}), which no calibration spans; choose one:"
            " --where model=NAME"
        )
    warmup, warmup_basis = _warmup(frame, source)
    shown, targets = split_rows(frame, calibrate_on, source=source)
    calibration = calibrate(shown)
    forecast = calibration.forecast(targets)
    if not np.isfinite([forecast.accuracy, forecast.low90, forecast.high90]).all():
        raise ValueError("the model forecast something that is no number")
    labels = pd.Series("", index=targets.index, dtype=object)
    for label, rows in group_rows(targets, group, source=source):
        labels.loc[rows.index] = label
    forecasts = targets.assign(
        group=labels,
        forecast=forecast.accuracy,
        low90=forecast.low90,
        high90=forecast.high90,
    )
    measured_N = targets["accuracy"].to_numpy(np.float64)
    error_N = forecast.accuracy - measured_N
    inside_N = (measured_N >= forecast.low90) & (measured_N <= forecast.high90)
    group_N = labels.to_numpy()
    curves = bool(varying(frame, ["step"]))
    floor, floor_basis = noise_floor(targets)
    baselines: dict[str, BaselineScore] = {}
    for one in forecast_baselines(shown, targets, warmup_steps=warmup, source=source):
        baselines[one.name] = _score(one, error_N, measured_N, group_N)
        if one.accuracy_N is not None:
            forecasts = forecasts.assign(**{one.name: one.accuracy_N})
    report = Report(
        rmse=_rms(error_N),
        bias=float(error_N.mean()),
        coverage90=float(inside_N.mean()),
        coverage90_ci=_wilson(int(inside_N.sum()), len(inside_N)),
        noise_floor=floor,
        noise_floor_basis=floor_basis,
        by_group={
            str(label): GroupScore(
                _rms(error_N[rows]),
                float(error_N[rows].mean()),
                int(rows.sum()),
                float(inside_N[rows].mean()),
            )
            for label in dict.fromkeys(group_N)
            for rows in [group_N == label]
        },
        baselines=baselines,
        parameters=calibration.parameters,
        status=calibration.status,
        message=calibration.message,
        kind="curves" if curves else "final accuracies",
        calibrated_on=calibrate_on.text,
        calibration_rows=len(shown),
        forecast_rows=len(targets),
        warmup_steps=warmup,
        warmup_basis=warmup_basis,
        notes=_notes(shown, targets, calibration.given),
    )
    calibrated = {
        name: (float(shown[name].min()), float(shown[name].max()))
        for name in RANGED
        if name in shown.columns
    }
    return Validation(report, calibration, forecasts, shown, calibrated)


def _warmup(frame: pd.DataFrame, source: str) -> tuple[float, str]:
    """The warm-up of the learning rate in steps, and where it is from."""
    if "warmup_steps" not in frame.columns:
        return float(WARMUP_STEPS), "assumed, since the run table does not say; --warmup-steps does"
    values = np.unique(check_numbers(frame, "warmup_steps", source=source))
    if len(values) > 1:
        raise InputError(
            f"{source}: warmup_steps has several values ({', '.join(f'{v:g}' for v in values[:4])});"
            " --where chooses runs of one"
        )
    return float(values[0]), "as the run table or --warmup-steps says"


def _notes(shown: pd.DataFrame, targets: pd.DataFrame, given: Mapping[str, Any]) -> tuple[str, ...]:
    """What a reader of the scores should know about the rows. given: see `Calibration`."""
    notes: list[str] = []
    if varying(pd.concat([shown, targets]), ["step"]) and (targets["step"] == 0).any():
        notes.append(
            f"{int((targets['step'] == 0).sum())} forecast rows are at step 0, before noise"
        )
    for name, assumed in given.items():
        if varying(shown, [name]):
            notes.append(
                f"the calibration rows differ in {name}: `verigap predict`, which is not told it, assumes that of the"
                f" first row, {assumed}"
            )
    if "seed" in shown.columns and set(shown["seed"]) & set(targets["seed"]):
        notes.append(
            "forecast runs share seeds with the calibration: where seeds are matched, part of their"
            " noise was seen, and an RMSE below the noise floor is possible"
        )
    return tuple(notes)


def _rms(values_N: FloatArray) -> float:
    return float(np.sqrt(np.mean(values_N**2)))


def _wilson(count: int, rows: int) -> Interval:
    from statsmodels.stats.proportion import proportion_confint

    interval: Any = proportion_confint(count, rows, alpha=0.05, method="wilson")
    return float(interval[0]), float(interval[1])


def _score(
    one: BaselineForecast, error_N: FloatArray, measured_N: FloatArray, group_N: np.ndarray
) -> BaselineScore:
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
        rmse=_rms(theirs_N),
        by_group={
            str(label): GroupRmse(_rms(theirs_N[group_N == label]))
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
        return _rms(ours) - _rms(theirs)

    whole = difference(ours_N, theirs_N)
    groups = list(dict.fromkeys(group_N))
    C = len(groups)
    if C < 2:
        return whole, None, "no interval: one group"
    without_C = np.array(
        [difference(ours_N[group_N != one], theirs_N[group_N != one]) for one in groups]
    )
    _, interval = student_interval(C * whole - (C - 1) * without_C)
    assert interval is not None
    # The jackknife's mean corrects the bias of the estimate it is centred on; its spread is what we want.
    half = (interval[1] - interval[0]) / 2.0
    few = "; two leave one degree of freedom" if C == 2 else ""
    return whole, (whole - half, whole + half), f"jackknife t over {C} groups{few}"


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


FORMAT: Final = "verigap calibration"
VERSION: Final = 1


def stored(validation: Validation, *, source: str) -> dict[str, Any]:
    """The JSON document of a calibration; `read_calibration` reads it back."""
    return {
        "format": FORMAT,
        "version": VERSION,
        "source": source,
        "calibrated_on": validation.report.calibrated_on,
        "rows": validation.report.calibration_rows,
        "calibrated": dict(validation.calibrated),
        "model": validation.calibration.to_json(),
    }


def read_calibration(path: Path) -> Stored:
    """Read what `validate --out` wrote.

    Raises InputError where `path` cannot be read, or holds something else or another version.
    """
    document = parse_json(read_text(path), source=str(path))
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InputError(f"{path}: is no calibration; `verigap validate --out` writes one")
    if document.get("version") != VERSION:
        raise InputError(
            f"{path}: a calibration of version {document.get('version')!r}, but this verigap reads"
            f" version {VERSION}; calibrate anew with `verigap validate --out`"
        )
    try:
        return Stored(
            calibration=Calibration.from_json(document["model"]),
            calibrated={
                name: (float(low), float(high))
                for name, (low, high) in document["calibrated"].items()
            },
            calibrated_on=str(document["calibrated_on"]),
            source=str(document["source"]),
            rows=int(document["rows"]),
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise InputError(f"{path}: a damaged calibration ({error!r})") from None


@dataclass(frozen=True)
class Prediction:
    """The forecast of one verifier and budget, and what it rests on.

    accuracy, ci90: in [0, 1]; the interval is for the measured accuracy. estimator, prompts_per_step: what was
    assumed, that of the first calibration row. warnings: which inputs lie
    outside what was calibrated. steps: None where the calibrated table knows no time. The rest: the
    inputs, and the rows that were calibrated on.
    """

    accuracy: float
    ci90: Interval
    fpr: float
    fnr: float
    group_size: int
    steps: float | None
    n_eval: int | None
    estimator: str
    prompts_per_step: int
    warnings: tuple[str, ...]
    calibrated_on: str
    source: str
    calibration_rows: int


def predict_row(
    path: Path,
    *,
    fpr: float,
    fnr: float,
    group_size: int,
    steps: float | None = None,
    n_eval: int | None = None,
) -> Prediction:
    """Forecast one run's accuracy from the calibration in `path`.

    fpr, fnr: in [0, 1]. group_size: at least 2. steps: at least 0; None: as long as the longest calibrated
    run; refused where the calibrated table had no step. n_eval: samples of the evaluation, at least 1;
    None: the interval is that of evaluations like the calibrated ones.
    Raises theory.ArgumentError or InputError naming what is out of range, or a file that is no calibration.
    """
    channel = VerifierChannel(fpr, fnr)
    check_group_size(group_size)
    if steps is not None and not 0.0 <= steps < np.inf:
        raise InputError(f"steps must be at least 0, got {steps:g}")
    if n_eval is not None and n_eval < 1:
        raise InputError(f"n_eval must be at least 1, got {n_eval}")
    kept = read_calibration(path)
    timed = "step" in kept.calibrated
    if steps is not None and not timed:
        raise InputError(
            f"{path}: its table had no step, so that nothing is known of other lengths of run: leave out"
            " the steps"
        )
    if steps is None and timed:
        steps = kept.calibration.step
    inputs = {"fpr": channel.fpr, "fnr": channel.fnr, "group_size": float(group_size)}
    if steps is not None:
        inputs["step"] = steps
    row = {**inputs, **({} if n_eval is None else {"n_eval": n_eval})}
    forecast = kept.calibration.forecast(pd.DataFrame([row]))
    warnings: list[str] = []
    for name, value in inputs.items():
        low, high = kept.calibrated.get(name, (-np.inf, np.inf))
        if not low <= value <= high:
            known = f"at {low:g} only" if low == high else f"in [{low:g}, {high:g}]"
            warnings.append(
                f"{name} {value:g} was not calibrated ({known}): the model extrapolates"
            )
    return Prediction(
        accuracy=float(forecast.accuracy[0]),
        ci90=(float(forecast.low90[0]), float(forecast.high90[0])),
        fpr=channel.fpr,
        fnr=channel.fnr,
        group_size=group_size,
        steps=steps,
        n_eval=n_eval,
        estimator=str(kept.calibration.given["estimator"]),
        prompts_per_step=int(kept.calibration.given["prompts_per_step"]),
        warnings=tuple(warnings),
        calibrated_on=kept.calibrated_on,
        source=kept.source,
        calibration_rows=kept.rows,
    )
