"""`verigap validate`: calibrate on some rows, forecast all others, score beside named baselines."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, write_json
from verigap.options import (
    Figure,
    Reading,
    reads_runs,
    save_figure,
    say_what_was_read,
)

if TYPE_CHECKING:
    from rich.console import Console

    from empirical.validate.score import Report


@reads_runs
def validate(
    read: Reading,
    *,
    calibrate_on: Annotated[
        list[str],
        typer.Option(help="Rows to calibrate on: arm=clean,step<=100; repeated flags OR."),
    ],
    group: Annotated[
        str | None,
        typer.Option(help="Columns that make a group, comma-separated (default: the condition)."),
    ] = None,
    warmup_steps: Annotated[
        float | None,
        typer.Option(
            min=0, help="Steps over which the learning rate rose: for the baseline that asks."
        ),
    ] = None,
    n_eval: Annotated[
        int | None, typer.Option(min=1, help="Samples behind every accuracy, where RUNS lack it.")
    ] = None,
    optimiser: Annotated[
        str | None,
        typer.Option(help="What trained the runs, adam or sgd, where RUNS do not say (else adam)."),
    ] = None,
    probe: Annotated[
        Path | None,
        typer.Option(help="What `verigap probe` measured at the initial weights (JSON)."),
    ] = None,
    figure: Figure = None,
    out: Annotated[
        Path | None, typer.Option(help="Write the calibration here, for `verigap predict`.")
    ] = None,
    json: Json = False,
) -> None:
    """Calibrate the simulator on the selected rows only, forecast every other row, score it beside baselines."""
    from empirical.validate.predict import stored
    from fits import parse_selection
    from verigap.face import forecasts

    read.check_outputs(figure, out)
    selection = parse_selection(calibrate_on)
    table = read.load(warmup_steps=warmup_steps, n_eval=n_eval, optimiser=optimiser)
    validation = forecasts.validate(table, calibrate_on=selection, group=group, probe=probe)
    if figure is not None:
        save_figure(figure, validation.plot)
    if out is not None:
        write_json(out, stored(validation, source=table.source))
    say_what_was_read(table)
    emit(validation, as_json=json, show=lambda console: _show(validation.report, console))


def _show(report: Report, console: Console) -> None:
    from rich.table import Table

    def say(line: str, style: str = "") -> None:
        console.print(line, style=style, highlight=False)

    say(
        f"{report.kind.capitalize()}: {report.forecast_rows} rows forecast from"
        f" {report.calibration_rows} ({report.calibrated_on})",
        "bold",
    )
    view = Table()
    view.add_column("forecast by", overflow="fold")
    view.add_column("RMSE", justify="right")
    view.add_column("verigap minus", justify="right")
    view.add_column("95 % interval", overflow="fold")
    view.add_row("verigap", f"{report.rmse:.4f}", "", "")
    for name, one in report.baselines.items():
        if one.rmse is None:
            view.add_row(name, "unidentified", "–", "–")
        else:
            view.add_row(
                name, f"{one.rmse:.4f}", _number(one.difference, "+.4f"), _span(one.difference_ci)
            )
    view.add_row("noise floor", _number(report.noise_floor, ".4f"), "", "")
    console.print(view)
    low, high = report.coverage90_ci
    say(
        f"The 90 % intervals hold {report.coverage90:.1%} of the rows [{low:.1%}, {high:.1%}];"
        f" forecast minus measured is {report.bias:+.4f} on average, and the intervals {report.width90:.3f} wide."
    )
    shares = ", ".join(f"{name} {share:.0%}" for name, share in report.laws.items() if share > 0.0)
    say(f"Optimiser: {report.optimiser}, {report.optimiser_basis}. Laws averaged over: {shares}.")
    say(f"Signal of the gradient: {report.signal_basis}.")
    groups = Table()
    for heading in ("group", "rows", "RMSE", "bias", "in 90 %", "best baseline"):
        groups.add_column(
            heading, overflow="fold", justify="left" if heading == "group" else "right"
        )
    best = report.best_baseline
    for label, score in report.by_group.items():
        theirs = "–" if best is None else f"{report.baselines[best].by_group[label].rmse:.4f}"
        groups.add_row(
            label,
            str(score.rows),
            f"{score.rmse:.4f}",
            f"{score.bias:+.4f}",
            f"{score.coverage90:.0%}",
            theirs,
        )
    console.print(groups)
    if best is not None:
        say(
            f"Best baseline: {best}. Intervals of differences: {report.baselines[best].difference_basis}."
        )
    for name, one in report.baselines.items():
        if one.rmse is None:
            say(f"{name}: {one.reason}.")
    parameters = Table()
    for heading in ("parameter", "value", "95 % interval"):
        parameters.add_column(heading, overflow="fold")
    for name, parameter in report.parameters.items():
        if parameter.status == "identified":
            parameters.add_row(name, _number(parameter.value, ".4g"), _span(parameter.ci95, ".4g"))
        else:
            parameters.add_row(name, "unidentified", parameter.reason)
    console.print(parameters)
    say(f"Noise floor: {report.noise_floor_basis}.", "dim")
    say(f"Warm-up of {report.warmup_steps:g} steps: {report.warmup_basis}.", "dim")
    for note in report.notes:
        say(f"{note}.", "dim")


def _number(value: float | None, spec: str) -> str:
    return "–" if value is None else format(value, spec)


def _span(interval: tuple[float, float] | None, spec: str = "+.4f") -> str:
    return (
        "–" if interval is None else f"[{format(interval[0], spec)}, {format(interval[1], spec)}]"
    )
