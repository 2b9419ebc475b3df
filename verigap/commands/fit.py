"""`verigap fit`: one law per curve, with intervals, identifiability and a held-out forecast."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail, progress, write_json
from verigap.options import (
    Address,
    Backend,
    BackendOption,
    Figure,
    Loss,
    Reading,
    each_on,
    reads_runs,
    save_figure,
    say_what_was_read,
    started,
)

if TYPE_CHECKING:
    from rich.console import Console

    from fits.report import FitReport


@reads_runs
def fit(
    read: Reading,
    *,
    group: Annotated[
        str | None,
        typer.Option(help="Columns that make a curve, comma-separated (default: the condition)."),
    ] = None,
    x: Annotated[str, typer.Option(help="The compute column.")] = "rollouts",
    y: Annotated[str, typer.Option(help="The column fitted.")] = "accuracy",
    law: Annotated[
        str,
        typer.Option(help="auto, sigmoid, power, exponential, log, margin-logit or quadratic."),
    ] = "auto",
    loss: Loss = "auto",
    figure: Figure = None,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON document here.")] = None,
    backend: BackendOption = Backend.local,
    address: Address = None,
    json: Json = False,
) -> None:
    """Fit a scaling law to each curve of accuracy against compute, or a joint law over error rates."""
    from fits.joint import JOINT_LAWS
    from verigap.face import runs

    read.check_outputs(figure, out)
    if law in JOINT_LAWS and backend is Backend.ray:
        fail(f"--backend ray is for one law per curve; the {law} law is one fit of all rows")
    table = read.load()
    with started(backend, address), progress(quiet=json) as bar:
        each = each_on(backend, bar, "curves")
        fits = runs.fit(table, group=group, x=x, y=y, law=law, loss=loss, each=each)
        if figure is not None:
            save_figure(figure, lambda: fits.plot(each=each_on(backend, bar, "bands")))
    if out is not None:
        write_json(out, fits)
    say_what_was_read(table)
    show = _show_joint if law in JOINT_LAWS else _show_curves
    emit(fits, as_json=json, show=lambda console: show(fits, console))
    refused = [one for one in fits.curves if one.aliased]
    if refused and len(refused) == len(fits.curves):
        fail(f"{read.runs}: --law {law} is refused: {refused[0].reason}")


def _show_curves(fits: FitReport, console: Console) -> None:
    from rich.table import Table

    console.print(f"{fits.y} against {fits.x}", style="bold", highlight=False)
    view = Table()
    for heading in ("curve", "law", "asymptote", "95 % interval", "x_max/mid", "forecast RMSE"):
        view.add_column(heading, overflow="fold")
    for one in fits.curves:
        asymptote, interval = one.params.get("asymptote"), one.ci.get("asymptote")
        ratio, rmse = one.x_max_over_midpoint, one.forecast_rmse
        view.add_row(
            one.group,
            one.law,
            f"{asymptote:.4f}" if one.identified and asymptote is not None else "unidentified",
            f"[{interval[0]:.4f}, {interval[1]:.4f}]"
            if one.identified and interval is not None
            else "–",
            "–" if ratio is None else f"{ratio:.2f}",
            "–" if rmse is None else f"{rmse:.4f}",
        )
    console.print(view)
    for one in fits.curves:
        if not one.identified:
            console.print(f"{one.group}: {one.reason}.", highlight=False)
    for basis in dict.fromkeys(one.ci_basis for one in fits.curves):
        console.print(f"Intervals: {basis}.", style="dim", highlight=False)
    console.print(f"Loss: {fits.loss}.", style="dim", highlight=False)


def _show_joint(fits: FitReport, console: Console) -> None:
    from rich.table import Table

    for one in fits.curves:
        console.print(f"{one.group}: {one.formula}", style="bold", highlight=False)
        if one.aliased:
            console.print(f"Refused: {one.reason}.", highlight=False)
            continue
        view = Table()
        for heading in ("coefficient", "estimate", "95 % interval"):
            view.add_column(heading, overflow="fold")
        for name, value in one.params.items():
            interval = one.ci[name]
            spoken = "–" if interval is None else f"[{interval[0]:+.4f}, {interval[1]:+.4f}]"
            view.add_row(name, f"{value:+.4f}", spoken)
        console.print(view)
        left_out = "–" if one.forecast_rmse is None else f"{one.forecast_rmse:.4f}"
        console.print(
            f"RMSE {one.rmse:.4f}; leaving one condition out {left_out}. Intervals:"
            f" {one.ci_basis}. Loss: {one.loss}.",
            highlight=False,
        )
        for note in one.notes:
            console.print(note, style="dim", highlight=False)
