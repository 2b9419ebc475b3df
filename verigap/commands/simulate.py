"""`verigap simulate`: a simulated study, from a spec file to a run table."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail, progress
from verigap.options import Address, Backend, BackendOption, Force, check_absent, started

if TYPE_CHECKING:
    from rich.console import Console


def simulate(
    spec: Annotated[
        Path | None, typer.Argument(metavar="SPEC.yaml", help="The study to simulate.")
    ] = None,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the run table and the complete spec.")],
    preset: Annotated[
        str | None, typer.Option(help="A study that comes with verigap, instead of SPEC.yaml.")
    ] = None,
    backend: BackendOption = Backend.local,
    address: Address = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time. [default: one per core]")
    ] = None,
    force: Force = False,
    json: Json = False,
) -> None:
    """Simulate a population of prompts under noisy verifiers: a run table, as real runs give."""
    from empirical.simulated_studies import preset_names, preset_spec
    from fits.plain import counted
    from verigap.face import sweeps

    if (spec is None) == (preset is None):
        fail(
            "give a SPEC.yaml or one --preset, of " + ", ".join(preset_names())
            if spec is None
            else "give either a SPEC.yaml or a --preset, not both"
        )
    names = ("runs.csv", "figure.png", "spec.yaml")
    # The study itself may stand in its own folder: it is written there complete.
    own = None if spec is None else os.path.realpath(spec)
    written = [out / name for name in names if os.path.realpath(out / name) != own]
    check_absent(*written, force=force)
    with started(backend, address, workers=workers), progress(quiet=json) as bar:
        task = bar.add_task("steps", total=None)
        simulated = sweeps.simulate(
            spec if spec is not None else preset_spec(preset or ""),
            out=out,
            on_ray=backend is Backend.ray,
            workers=workers,
            report=lambda done, total: bar.update(task, completed=done, total=total),
        )
    study, table, figure = simulated.spec, simulated.table, simulated.figure

    def show(console: Console) -> None:
        from rich.table import Table

        last = simulated.frame.groupby("run_id", sort=False).tail(1)
        first = simulated.frame.groupby("run_id", sort=False).head(1)
        view = Table(title=f"{counted(simulated.runs, 'run')}, {simulated.rollouts:,} rollouts")
        for heading in (
            "arm",
            "noise",
            "fpr",
            "fnr",
            "accuracy at start",
            "at the end",
            "sd of seeds",
        ):
            view.add_column(heading, justify="left" if heading in ("arm", "noise") else "right")
        for name, arm in study.arms.items():
            ends = last.loc[last["arm"] == name, "accuracy"]
            begins = first[first["arm"] == name]
            view.add_row(
                name,
                arm.noise.kind,
                f"{begins['fpr'].mean():.3g}",
                f"{begins['fnr'].mean():.3g}",
                f"{begins['accuracy'].mean():.3f}",
                f"{ends.mean():.3f}",
                f"{ends.std(ddof=1):.3f}" if len(ends) > 1 else "-",
            )
        console.print(view)
        if study.about:
            console.print(study.about)
        for note in simulated.notes:
            console.print(note)
        if figure is not None:
            console.print(f"figure in {figure}")
        console.print(f"{simulated.rows} rows in {table}, {simulated.seconds:.1f} s")

    emit(simulated, as_json=json, show=show)
