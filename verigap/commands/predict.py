"""`verigap predict`: the forecast of one verifier and budget by a stored calibration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit

if TYPE_CHECKING:
    from rich.console import Console


def predict(
    calibration: Annotated[
        Path,
        typer.Argument(metavar="CALIBRATION", help="What `verigap validate --out` wrote (JSON)."),
    ],
    *,
    fpr: Annotated[float, typer.Option(help="P(reward 1 | wrong), in [0, 1].")],
    fnr: Annotated[float, typer.Option(help="P(reward 0 | right), in [0, 1].")],
    group_size: Annotated[int, typer.Option(help="Rollouts per prompt, at least 2.")],
    steps: Annotated[
        int | None,
        typer.Option(
            help="Optimiser steps done, at least 0 (default: as the longest calibrated run)."
        ),
    ] = None,
    n_eval: Annotated[
        int | None,
        typer.Option(
            help="Samples of the evaluation the interval is for (default: as calibrated)."
        ),
    ] = None,
    json: Json = False,
) -> None:
    """Forecast the measured accuracy under a verifier and a budget, with its 90 % interval."""
    from verigap.face import forecasts

    forecast = forecasts.predict(
        calibration, fpr=fpr, fnr=fnr, group_size=group_size, steps=steps, n_eval=n_eval
    )

    def show(console: Console) -> None:
        low, high = forecast.ci90
        console.print(
            f"Accuracy {forecast.accuracy:.4f}, 90 % interval of the measured one"
            f" [{low:.4f}, {high:.4f}]",
            style="bold",
            highlight=False,
        )
        length = "" if forecast.steps is None else f", {forecast.steps:g} steps"
        console.print(
            f"fpr {fpr:g}, fnr {fnr:g}, {group_size} rollouts a prompt{length}; calibrated on"
            f" {forecast.calibrated_on} of {forecast.source} ({forecast.calibration_rows} rows)."
            f" Assumed: {forecast.estimator}, {forecast.prompts_per_step} prompts a step.",
            highlight=False,
        )

    for warning in forecast.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    emit(forecast, as_json=json, show=show)
