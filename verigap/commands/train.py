"""`verigap train`: matched GRPO runs of a study, or what they would cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail, progress
from verigap.options import Address, Backend, BackendOption, started

if TYPE_CHECKING:
    from rich.console import Console

    from empirical.training.launch import Launch


COLUMNS = ["step", "rollouts", "tokens", "flops", "gpu_hours", "seconds", "accuracy", "n_eval"]


def train(
    study: Annotated[Path, typer.Argument(help="Study file (YAML).", metavar="STUDY.yaml")],
    *,
    out: Annotated[
        Path | None, typer.Option(help="Folder of run folders. [default: runs/<study's name>]")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what the study costs and run nothing.")
    ] = False,
    only: Annotated[list[str] | None, typer.Option(help="Run id; repeatable.")] = None,
    shard: Annotated[
        str | None, typer.Option(help="i/n: the i-th of n parts of the study.")
    ] = None,
    max_minutes: Annotated[
        float | None, typer.Option(min=0.0, help="Checkpoint and leave after this long.")
    ] = None,
    processes: Annotated[
        int | None,
        typer.Option(min=1, help="Runs at a time. [default: the study's; a cluster's room]"),
    ] = None,
    backend: BackendOption = Backend.local,
    address: Address = None,
    json: Json = False,
) -> None:
    """Train the matched runs of a study, skipping complete ones and resuming interrupted ones."""
    from empirical.collect import TABLE, merged, read_committed, run_table
    from empirical.studies import read_study
    from empirical.training.accounting import estimate
    from empirical.training.launch import launch, launch_on_ray, selected
    from fits.table import write_runs

    wanted = read_study(study)
    runs = selected(wanted, only=only or [], shard=_shard(shard))
    if not runs:
        sys.stderr.write(f"--shard {shard}: no run falls to this part\n")
    if dry_run:
        cost = estimate(wanted, runs)
        emit(cost, as_json=json, show=lambda console: console.print(cost.table()))
        return

    import pandas as pd

    folder = out or Path("runs") / wanted.name
    committed = read_committed(wanted, study)
    carry_out = launch_on_ray if backend is Backend.ray else launch
    here = processes or wanted.running.processes  # a Ray of this machine's own takes no more
    with started(backend, address, workers=here), progress() as bar:
        task = bar.add_task(f"{len(runs)} runs, steps", total=sum(r.training.steps for r in runs))

        def report(state: Launch) -> None:
            bar.update(task, completed=sum(state.steps.values()))

        outcome = carry_out(
            wanted,
            runs,
            folder,
            committed=committed.complete(runs),
            models=committed.models,
            processes=processes,
            max_minutes=max_minutes,
            report=report,
        )
    fresh = run_table(folder)
    known = None if committed.table is None else pd.read_parquet(committed.table)
    frame = merged(known, fresh)
    if not frame.empty:
        write_runs(frame, folder / TABLE)
    for run_id in outcome.busy:
        sys.stderr.write(f"{run_id}: another process is at it; left alone\n")
    for run_id, reason in outcome.failed.items():
        sys.stderr.write(f"{run_id}: {reason}\n")
    if outcome.failed:
        fail(f"{len(outcome.failed)} of {len(runs)} runs failed; their logs are in {folder}")
    last = frame.reindex(columns=["run_id", *COLUMNS])
    last = last[last["run_id"].isin([run.run_id for run in runs])]
    last = last.sort_values("step").drop_duplicates("run_id", keep="last").sort_index()
    document = {
        "study": wanted.name,
        "runs": len(runs),
        "done": len(outcome.done),
        "interrupted": len(outcome.interrupted),
        "busy": len(outcome.busy),
        "total_rollouts": int(last["rollouts"].sum()),
        "total_tokens": int(last["tokens"].sum()),
        "total_flops": float(last["flops"].sum()),
        "gpu_hours": float(last["gpu_hours"].sum()),
        "train_hours": float(last["seconds"].sum()) / 3600.0,
        "table": None if frame.empty else str(folder / TABLE),
        "out": str(folder),
        "accuracy": {str(row["run_id"]): float(row["accuracy"]) for _, row in last.iterrows()},
    }

    def show(console: Console) -> None:
        from rich.table import Table

        view = Table(title=f"{wanted.name}: {len(outcome.done)} of {len(runs)} runs complete")
        for column in ("run", "step", "rollouts", "accuracy", "n_eval"):
            view.add_column(column, justify="left" if column == "run" else "right")
        for _, row in last.iterrows():
            view.add_row(
                str(row["run_id"]),
                str(row["step"]),
                f"{row['rollouts']:,}",
                f"{row['accuracy']:.4f}",
                str(row["n_eval"]),
            )
        console.print(view)
        console.print(f"run table: {folder / TABLE}", highlight=False)

    emit(document, as_json=json, show=show)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    part, _, parts = text.partition("/")
    if not all(n.isascii() and n.isdecimal() for n in (part, parts)):
        fail(f"--shard {text}: must be i/n, two whole numbers")
    return int(part), int(parts)
