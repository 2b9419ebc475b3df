"""`verigap phase`: the phase diagram over (fpr, fnr), as a table and a figure."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail

if TYPE_CHECKING:
    from rich.console import Console


def _grid(name: str, text: str) -> list[float]:
    """The numbers of "0,0.1,0.4" or of "low:high:count"."""
    try:
        if ":" in text:
            low, high, count = text.split(":")
            steps = int(count)
            if steps < 2:
                fail(f"{name} {text}: a range needs at least 2 points")
            width = float(high) - float(low)
            return [float(low) + width * i / (steps - 1) for i in range(steps)]
        return [float(part) for part in text.split(",")]
    except ValueError:
        fail(f"{name} {text}: must be numbers, 0,0.1,0.4 or low:high:count")


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
    json: Json = False,
) -> None:
    """Which way training goes, and by how much noise slows it, over all pairs of error rates."""
    import numpy as np
    import pandas as pd

    import theory
    from empirical.simulation_figures import phase_figure, save_figure
    from fits.table import write_runs
    from theory.phase import phase_diagram

    chosen = theory.estimator_named(estimator)
    sizes = _grid("--group-size", group_size)
    if any(not math.isfinite(size) or size != int(size) for size in sizes):
        fail(f"--group-size {group_size}: must be whole numbers")
    diagram = phase_diagram(
        _grid("--fpr-grid", fpr_grid),
        _grid("--fnr-grid", fnr_grid),
        [int(size) for size in sizes],
        pass_rate=pass_rate,
        start=start,
        target=target,
        estimator=chosen,
    )
    place = np.meshgrid(diagram.group_size, diagram.fpr, diagram.fnr, indexing="ij")
    youden = np.broadcast_to(diagram.youden, diagram.time.shape)
    finite = np.isfinite(diagram.time)
    table = pd.DataFrame(
        {
            "group_size": place[0].ravel(),
            "fpr": place[1].ravel(),
            "fnr": place[2].ravel(),
            "youden": youden.ravel(),
            "fate": np.select(
                [youden > 0.0, youden < 0.0], ["learns", "unlearns"], "drifts"
            ).ravel(),
            "drift": diagram.drift.ravel(),
            "relative_drift": diagram.relative_drift.ravel(),
            # Empty, not infinite, where the target is never reached.
            "time": np.where(finite, diagram.time, np.nan).ravel(),
            "slowdown": np.where(finite, diagram.slowdown, np.nan).ravel(),
        }
    )
    path, picture = out / "phase.csv", out / "phase.png"
    write_runs(table, path)
    save_figure(phase_figure(diagram), picture)
    document = {"cells": len(table), "out": out, "table": path, "figure": picture}

    def show(console: Console) -> None:
        from rich.table import Table

        view = Table(title=f"Slowdown from {start:g} to {target:g} (clean verifier: 1)")
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
                    *(f"{value:.2f}" if np.isfinite(value) else "never" for value in cells),
                    end_section=row == rows[-1],
                )
        console.print(view)
        console.print(f"{len(table)} cells in {path}, figure in {picture}")

    emit(document, as_json=json, show=show)
