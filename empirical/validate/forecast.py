"""Calibrate on some rows of a run table and forecast all others, beside baselines calibrated on the same rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.validate.calibrate import Calibration, calibrate
from empirical.validate.clock import Clock, clock_baselines
from empirical.validate.score import (
    BaselineScore,
    GroupScore,
    Report,
    noise_floor,
    root_mean_square,
    score_baseline,
)
from fits.baselines import forecast_baselines
from fits.errors import InputError
from fits.fit import group_rows
from fits.inference import Interval, wilson
from fits.selection import Selection, select
from fits.table import check_numbers, need_columns, varying

__all__ = ["Validation", "split_rows", "validate_forecast"]

WARMUP_STEPS: Final = 50  # the seed paper's, and of everyone who builds on its trainer
# What a calibration knows a range of, and `predict` warns outside of.
RANGED: Final = ("fpr", "fnr", "group_size", "step")


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
    clock: Clock | None = None,
    source: str = "the table",
) -> Validation:
    """Calibrate the model and the baselines on the selected rows of a run table, forecast all others.

    clock: what a probe of the initial weights measured; then its baseline is shown too.
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
    calibration = calibrate(shown, clock=clock)
    targets = calibration.paced(targets)
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
        gap=forecast.gap,
        gap_low90=forecast.gap_low90,
        gap_high90=forecast.gap_high90,
    )
    measured_N = targets["accuracy"].to_numpy(np.float64)
    error_N = forecast.accuracy - measured_N
    inside_N = (measured_N >= forecast.low90) & (measured_N <= forecast.high90)
    group_N = labels.to_numpy()
    curves = bool(varying(frame, ["step"]))
    floor, floor_basis = noise_floor(targets)
    baselines: dict[str, BaselineScore] = {}
    plain = forecast_baselines(shown, targets, warmup_steps=warmup, source=source)
    for one in (*plain, *clock_baselines(shown, targets)):
        baselines[one.name] = score_baseline(one, error_N, measured_N, group_N)
        if one.accuracy_N is not None:
            forecasts = forecasts.assign(**{one.name: one.accuracy_N})
    report = Report(
        rmse=root_mean_square(error_N),
        bias=float(error_N.mean()),
        coverage90=float(inside_N.mean()),
        coverage90_ci=wilson(int(inside_N.sum()), len(inside_N)),
        noise_floor=floor,
        noise_floor_basis=floor_basis,
        by_group={
            str(label): GroupScore(
                root_mean_square(error_N[rows]),
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
        width90=float(np.mean(forecast.high90 - forecast.low90)),
        optimiser=calibration.optimiser,
        optimiser_basis=calibration.optimiser_basis,
        signal_basis=calibration.signal_basis,
        laws={str(law): share for law, share in calibration.fit.mass().items()},
        noisy_calibrated=bool(varying(shown, ["fpr", "fnr"])),
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
