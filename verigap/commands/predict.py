"""`verigap predict`: the forecast of one verifier and budget by a stored calibration."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from verigap.console import Json, emit

if TYPE_CHECKING:
    from rich.console import Console

N = TypeVar("N", int, float)


def _numbers(name: str, text: str) -> list[float]:
    """0.1,0.2,… as numbers; a BadParameter that names the option where it is none."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise typer.BadParameter(
            f"{name}: {text!r} is no number, and no list of some: 0.1,0.2"
        ) from None


def _single(values: list[N]) -> N | list[N]:
    """A list of one as what it holds."""
    return values[0] if len(values) == 1 else values


def predict(
    calibration: Annotated[
        Path,
        typer.Argument(metavar="CALIBRATION", help="What `verigap validate --out` wrote (JSON)."),
    ],
    *,
    fpr: Annotated[str, typer.Option(help="P(reward 1 | wrong), in [0, 1]; a list: 0.1,0.2.")],
    fnr: Annotated[str, typer.Option(help="P(reward 0 | right), in [0, 1]; as many, or one.")],
    group_size: Annotated[str, typer.Option(help="Rollouts per prompt, at least 2; or a list.")],
    steps: Annotated[
        str | None,
        typer.Option(
            help="Optimiser steps done, at least 0, or a list (default: as the longest calibrated run)."
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
    """Forecast accuracy under a verifier and a budget, and what a clean one would add, with 90 % intervals."""
    from verigap.face import forecasts as face

    sizes = _numbers("--group-size", group_size)
    if any(not size.is_integer() for size in sizes):
        raise typer.BadParameter(f"--group-size: {group_size!r} holds a number that is no integer")
    found = face.predict(
        calibration,
        fpr=_single(_numbers("--fpr", fpr)),
        fnr=_single(_numbers("--fnr", fnr)),
        group_size=_single([int(size) for size in sizes]),
        steps=None if steps is None else _single(_numbers("--steps", steps)),
        n_eval=n_eval,
    )
    forecasts = found.forecasts if isinstance(found, face.Predictions) else (found,)

    def show(console: Console) -> None:
        for forecast in forecasts:
            low, high = forecast.ci90
            console.print(
                f"Accuracy {forecast.accuracy:.4f}, 90 % interval of the measured one"
                f" [{low:.4f}, {high:.4f}]",
                style="bold",
                highlight=False,
            )
            below, above = forecast.gap_ci90
            console.print(
                f"A clean verifier would reach {forecast.gap:+.4f} [{below:+.4f}, {above:+.4f}] beyond it.",
                highlight=False,
            )
            length = "" if forecast.steps is None else f", {forecast.steps:g} steps"
            speed = ", its speed as probed" if forecast.probed else ""
            console.print(
                f"fpr {forecast.fpr:g}, fnr {forecast.fnr:g}, {forecast.group_size} rollouts a"
                f" prompt{length}{speed}.",
                highlight=False,
            )
        one = forecasts[0]
        console.print(
            f"Calibrated on {one.calibrated_on} of {one.source} ({one.calibration_rows} rows)."
            f" Assumed: {one.estimator}, {one.prompts_per_step} prompts a step, {one.optimiser}. On"
            f" {one.found.rows} other rows `validate` found RMSE {one.found.rmse:.4f}, and"
            f" {one.found.coverage90:.0%} inside the 90 % intervals.",
            highlight=False,
        )

    for warning in found.remarks():
        sys.stderr.write(f"warning: {warning}\n")
    emit(found, as_json=json, show=show)
