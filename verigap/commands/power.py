"""`verigap power`: the chance that a study settles its verdicts, before it is run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit
from verigap.options import Delta

if TYPE_CHECKING:
    from rich.console import Console

    from empirical.power import Power


def power(
    study: Annotated[Path, typer.Argument(help="Study file (YAML).", metavar="STUDY.yaml")],
    *,
    gap: Delta = 0.01,
    pilot: Annotated[
        Path | None, typer.Option(help="RUNS of a pilot: their gaps and their scatter over seeds.")
    ] = None,
    scatter: Annotated[
        float | None, typer.Option(help="Standard deviation of runs of one arm at the end.")
    ] = None,
    true_gap: Annotated[
        list[str] | None, typer.Option(help="arm=gap: the true gap, taken as known (repeatable).")
    ] = None,
    accuracy: Annotated[float | None, typer.Option(help="Of the clean arm at the end.")] = None,
    json: Json = False,
) -> None:
    """The chance of a verdict for each arm, and the seeds and evaluation samples it takes."""
    from verigap.face import decisions

    found = decisions.power(
        study, gap=gap, pilot=pilot, scatter=scatter, true_gap=true_gap, accuracy=accuracy
    )
    emit(found, as_json=json, show=lambda console: show_power(console, found))


def show_power(console: Console, found: Power) -> None:
    """The chances as a table, what they rest on below it."""
    from rich.table import Table

    view = Table(
        title=f"{found.study}: chance of a verdict, smallest gap of interest {found.delta:g}"
    )
    for heading in (
        "arm",
        "rollouts",
        "seeds",
        "chance",
        "closes",
        "persists",
        "seeds for .8",
        "samples for .8",
    ):
        view.add_column(heading, justify="left" if heading == "arm" else "right")
    for cell in found.arms:
        view.add_row(
            cell.arm,
            str(cell.group_size),
            str(cell.seeds),
            *("–" if p is None else f"{p:.2f}" for p in (cell.power, cell.closes, cell.persists)),
            "> 64" if cell.seeds_needed is None else str(cell.seeds_needed),
            "–" if cell.samples_needed is None else f"{cell.samples_needed:,}",
        )
    console.print(view)
    for reason in dict.fromkeys(filter(None, [*(c.reason for c in found.arms), found.reason])):
        console.print(f"{reason}.", highlight=False)
    for text in found.assumptions:
        console.print(f"Assumed: {text}.", style="dim", highlight=False)
