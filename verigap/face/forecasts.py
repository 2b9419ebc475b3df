"""Forecasts: the simulator calibrated, scored, asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from empirical.validate.clock import read_clock
from empirical.validate.forecast import Validation, validate_forecast
from empirical.validate.predict import Prediction, predict_rows
from fits.plain import plain
from fits.selection import Selection
from verigap.errors import UserError
from verigap.face.base import (
    RunsLike,
    Shown,
    Words,
    as_shown,
    grid,
    in_short,
    selection_of,
    table_of,
    verb,
)

if TYPE_CHECKING:
    from fits.drawing import Axes, Drawing


@dataclass(frozen=True, repr=False)
class Validated(Shown, Validation):
    """How the calibrated simulator forecast the rows it was not shown; see `empirical.validate`."""

    def plain(self) -> dict[str, Any]:  # noqa: D102
        return plain(self.report)

    def to_frame(self) -> pd.DataFrame:
        """A row per forecast: verigap and every baseline."""
        ours = {"forecast by": "verigap", "rmse": self.report.rmse, "status": self.report.status}
        theirs = [
            {
                "forecast by": name,
                "rmse": one.rmse,
                "status": one.status,
                "verigap minus": one.difference,
            }
            for name, one in self.report.baselines.items()
        ]
        return pd.DataFrame([ours, *theirs])

    def headline(self) -> str:  # noqa: D102
        report = self.report
        return (
            f"{report.forecast_rows} rows forecast from {report.calibration_rows}"
            f" ({report.calibrated_on}); 90 % intervals hold {report.coverage90:.0%}"
        )

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return self.report.notes

    def plot(self, ax: Axes | None = None) -> Drawing:
        """Forecasts beside measurements; `empirical.figures.draw_validation`. ax: an axes whose place it takes."""
        from empirical.figures import draw_validation
        from fits.drawing import in_place_of

        with in_place_of(ax):
            return draw_validation(self)


@verb
def validate(
    runs: RunsLike,
    *,
    calibrate_on: Words | Selection,
    group: str | None = None,
    warmup_steps: float | None = None,
    n_eval: int | None = None,
    optimiser: str | None = None,
    probe: str | Path | None = None,
    where: Words = None,
) -> Validated:
    """Calibrate the simulator on the selected rows only, forecast every other row, score it beside baselines.

    runs: a run table, a data frame of one, or a path. calibrate_on: "arm=clean,step<=100"; a list: any may hold.
    group: columns that make a group. warmup_steps, n_eval: where the table does not say (steps over which the
    learning rate rose, samples behind an accuracy). optimiser: "adam" or "sgd", where the table does not say
    (else adam). probe: what `verigap probe` wrote of the initial weights. where: rows to keep.
    Returns RMSE, coverage of 90 % intervals, baselines and parameters.
    Raises UserError for missing columns, a selection of nothing or of everything, several models.
    Source: docs/theory.md#shared-parameters-and-the-optimiser.
    """
    selection = selection_of("calibrate_on", calibrate_on)
    table = table_of(runs, where)
    said = {"warmup_steps": warmup_steps, "n_eval": n_eval, "optimiser": optimiser}
    frame = table.frame.assign(**{name: v for name, v in said.items() if v is not None})
    done = validate_forecast(
        frame,
        calibrate_on=selection,
        group=group,
        clock=None if probe is None else read_clock(Path(probe)),
        source=table.source,
    )
    return as_shown(Validated, done)


@dataclass(frozen=True, repr=False)
class Predicted(Shown, Prediction):
    """The forecast of one verifier and budget; see `empirical.validate.predict.Prediction`."""

    def to_frame(self) -> pd.DataFrame:
        """One row: what was asked, the accuracy and what a clean verifier would add, with 90 % intervals."""
        return pd.DataFrame([_row(self)])

    def headline(self) -> str:  # noqa: D102
        return (
            f"Accuracy {self.accuracy:.4f}, 90 % interval [{self.ci90[0]:.4f}, {self.ci90[1]:.4f}]"
        )

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return self.warnings


@dataclass(frozen=True, repr=False)
class Predictions(Shown):
    """Forecasts of several verifiers and budgets, in the order asked: every verifier, at every size and length."""

    forecasts: tuple[Prediction, ...]

    def plain(self) -> dict[str, Any]:
        """The main columns as lists, and every forecast by itself."""
        columns = ("fpr", "fnr", "group_size", "steps", "accuracy", "ci90", "gap", "gap_ci90")
        lists = {name: [getattr(one, name) for one in self.forecasts] for name in columns}
        return {**plain(lists), "forecasts": plain(self.forecasts)}

    def to_frame(self) -> pd.DataFrame:
        """A row per forecast: what was asked, the accuracy and what a clean verifier would add, with intervals."""
        return pd.DataFrame([_row(one) for one in self.forecasts])

    def headline(self) -> str:  # noqa: D102
        one = self.forecasts[0]
        return f"{len(self.forecasts)} forecasts, calibrated on {one.calibrated_on} of {one.source}"

    def remarks(self) -> Sequence[str]:  # noqa: D102
        return list(dict.fromkeys(said for one in self.forecasts for said in one.warnings))


def _row(one: Prediction) -> dict[str, Any]:
    """What was asked, the accuracy and what a clean verifier would add, with 90 % intervals."""
    asked = {name: getattr(one, name) for name in ("fpr", "fnr", "group_size", "steps")}
    low, high = one.ci90
    gap_low, gap_high = one.gap_ci90
    found = {"accuracy": one.accuracy, "low90": low, "high90": high}
    return {**asked, **found, "gap": one.gap, "gap_low90": gap_low, "gap_high90": gap_high}


@verb
def predict(
    calibration: str | Path,
    *,
    fpr: float | Sequence[float],
    fnr: float | Sequence[float],
    group_size: int | Sequence[int],
    steps: float | Sequence[float] | None = None,
    n_eval: int | None = None,
) -> Predicted | Predictions:
    """Forecast the measured accuracy under a verifier and a budget, with its 90 % interval; or under several.

    calibration: what `verigap validate --out` wrote. fpr, fnr: in [0, 1]. group_size: rollouts a prompt, at least
    2. steps: optimiser steps, at least 0 (default: as the longest calibrated run). n_eval: samples of the
    evaluation that the interval is for (default: as calibrated). A list of any of them forecasts every verifier (fpr
    and fnr pair by pair, one of them may be single) at every group size and length.
    Returns accuracy and interval, in [0, 1], the gap to a clean verifier with its own, and warnings where the inputs
    lie outside what was calibrated (`Predicted`; of lists `Predictions`, in that order); more than ten times the
    calibrated length is refused.
    Raises UserError naming what is out of range, or a file that is no calibration.
    Source: docs/theory.md#shared-parameters-and-the-optimiser.
    """
    sizes = grid("group_size", group_size)
    if any(not size.is_integer() for size in sizes):
        raise UserError(f"group_size must be whole numbers, got {in_short(group_size)}")
    found = predict_rows(
        Path(calibration),
        fpr=grid("fpr", fpr),
        fnr=grid("fnr", fnr),
        group_size=[int(size) for size in sizes],
        steps=None if steps is None else grid("steps", steps),
        n_eval=n_eval,
    )
    single = all(one is None or isinstance(one, Real) for one in (fpr, fnr, group_size, steps))
    return as_shown(Predicted, found[0]) if single else Predictions(found)
