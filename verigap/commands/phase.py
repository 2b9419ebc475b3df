"""`verigap phase`: the phase diagram over (fpr, fnr), as a table and a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit
from verigap.options import Force, check_absent

if TYPE_CHECKING:
    from rich.console import Console


def _spread(count: int) -> list[int]:
    """Up to five of the places 0 … count - 1, both ends among them."""
    shown = min(count, 5)
    return [round(i * (count - 1) / max(shown - 1, 1)) for i in range(shown)]


def phase(
    *,
    out: Annotated[Path, typer.Option(help="Folder for phase.csv and phase.png.")],
    fpr_grid: Annotated[str, typer.Option(help="0,0.1,… or low:high:count.")] = "0:0.9:46",
    fnr_grid: Annotated[str, typer.Option(help="0,0.1,… or low:high:count.")] = "0:0.9:46",
    group_size: Annotated[str, typer.Option(help="Rollouts per prompt: 8 or 4,16,64.")] = "4,16,64",
    pass_rate: Annotated[float, typer.Option(help="Where the drift is taken.")] = 0.2,
    start: Annotated[float, typer.Option(help="Pass rate the clock starts at.")] = 0.05,
    target: Annotated[float, typer.Option(help="Pass rate the clock stops at.")] = 0.8,
    estimator: Annotated[
        str, typer.Option(help="grpo, dr_grpo, rloo, grpo_loo, nemo_loo or reinforce.")
    ] = "grpo",
    force: Force = False,
    json: Json = False,
) -> None:
    """Which way training goes, and by how much noise slows it, over all pairs of error rates."""
    from fits.drawing import write_figure
    from fits.table import write_runs
    from verigap.face import exact

    path, picture = out / "phase.csv", out / "phase.png"
    check_absent(path, picture, force=force)
    diagram = exact.phase(
        fpr_grid=fpr_grid,
        fnr_grid=fnr_grid,
        group_size=group_size,
        pass_rate=pass_rate,
        start=start,
        target=target,
        estimator=estimator,
    )
    table = diagram.to_frame()
    write_runs(table, path)
    write_figure(diagram.plot(), picture)
    document = {"cells": len(table), "out": out, "table": path, "figure": picture}

    def show(console: Console) -> None:
        from rich.table import Table

        view = Table(title=diagram.headline())
        rows, columns = _spread(len(diagram.fpr)), _spread(len(diagram.fnr))
        view.add_column("rollouts", justify="right")
        view.add_column("fpr", justify="right")
        for column in columns:
            view.add_column(f"fnr {diagram.fnr[column]:.3g}", justify="right")
        for size, slowdown in zip(diagram.group_size, diagram.slowdown, strict=True):
            for row in rows:
                cells = slowdown[row, columns]
                view.add_row(
                    str(size),
                    f"{diagram.fpr[row]:.3g}",
                    *(f"{value:.2f}" if math.isfinite(value) else "never" for value in cells),
                    end_section=row == rows[-1],
                )
        console.print(view)
        console.print(f"{len(table)} cells in {path}, figure in {picture}")

    emit(document, as_json=json, show=show)
