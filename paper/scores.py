"""Scores of `verigap validate`'s forecasts: against every baseline, by group size, by arm."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from empirical.validate.forecast import Validation, validate_forecast
from fits import parse_selection
from fits.inference import Interval

__all__ = ["Against", "Part", "Score", "score", "score_of"]


@dataclass(frozen=True)
class Against:
    """A baseline on the same rows: rmse None where unidentified, `reason` then says why.

    difference: our RMSE minus theirs, and its 95 % interval over groups.
    """

    rmse: float | None
    difference: float | None
    ci: Interval | None
    reason: str


@dataclass(frozen=True)
class Part:
    """Some of the forecast rows. baseline: RMSE of the best baseline (of all rows) there."""

    rows: int
    rmse: float
    bias: float
    coverage90: float
    baseline: float | None


@dataclass(frozen=True)
class Score:
    """A forecast held against measurements; see `empirical.validate.score.Report`.

    basis: what the intervals of differences rest on. parts: by column, then value.
    """

    source: str
    calibrated_on: str
    calibration_rows: int
    rows: int
    rmse: float
    bias: float
    coverage90: float
    coverage90_ci: Interval
    noise_floor: float | None
    noise_floor_basis: str
    basis: str
    best_baseline: str | None
    baselines: Mapping[str, Against]
    parts: Mapping[str, Mapping[str, Part]]


def score(
    frame: pd.DataFrame, *, calibrate_on: Sequence[str], source: str, group: str | None = None
) -> Score:
    """Calibrate on the selected rows, forecast the others, score; parts by arm where there are arms."""
    selection = parse_selection(calibrate_on)
    done = validate_forecast(frame, calibrate_on=selection, group=group, source=source)
    return score_of(done, source=source, by=("arm",) if "arm" in frame.columns else ())


def score_of(done: Validation, *, source: str, by: Sequence[str]) -> Score:
    """The scores of a validation, with those of the rows of each value of the columns `by`."""
    report, rows = done.report, done.forecasts
    best = report.best_baseline

    def part(own: pd.DataFrame) -> Part:
        measured = own["accuracy"].to_numpy(np.float64)
        error = own["forecast"].to_numpy(np.float64) - measured
        inside = (own["low90"] <= measured) & (measured <= own["high90"])
        theirs = None if best is None else own[best].to_numpy(np.float64) - measured
        return Part(
            rows=len(own),
            rmse=float(np.sqrt(np.mean(error**2))),
            bias=float(error.mean()),
            coverage90=float(inside.mean()),
            baseline=None if theirs is None else float(np.sqrt(np.mean(theirs**2))),
        )

    return Score(
        source=source,
        calibrated_on=report.calibrated_on,
        calibration_rows=report.calibration_rows,
        rows=report.forecast_rows,
        rmse=report.rmse,
        bias=report.bias,
        coverage90=report.coverage90,
        coverage90_ci=report.coverage90_ci,
        noise_floor=report.noise_floor,
        noise_floor_basis=report.noise_floor_basis,
        basis="" if best is None else report.baselines[best].difference_basis,
        best_baseline=best,
        baselines={
            name: Against(one.rmse, one.difference, one.difference_ci, one.reason)
            for name, one in report.baselines.items()
        },
        parts={
            column: {str(value): part(own) for value, own in rows.groupby(column)} for column in by
        },
    )
