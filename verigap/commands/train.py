"""`verigap train`: matched GRPO runs of a study, or what they would cost."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail, progress
from verigap.options import Address, Backend, BackendOption, started

if TYPE_CHECKING:
    from rich.console import Console

    from empirical.studies import RunSpec, Study
    from empirical.training.accounting import Cost
    from empirical.training.launch import Launch, RunState


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
    list_: Annotated[
        bool, typer.Option("--list", help="Show every run, where it stands and what is left.")
    ] = False,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="Change the study: seeds=0-4, training.steps=100 (repeatable)."),
    ] = None,
    price: Annotated[
        float | None, typer.Option(min=0.0, help="Money for an hour of one device.")
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
    """Train the matched runs of a study, skipping complete ones and resuming interrupted ones.

    Exit code 3: interrupted, and the same command goes on.
    """
    from empirical.collect import TABLE, merged, read_committed, run_table
    from empirical.studies import read_study, unpinned
    from empirical.training.accounting import estimate
    from empirical.training.launch import launch, launch_on_ray, refuse_changed, selected, states
    from fits.table import write_runs

    wanted = read_study(study, changes=set_ or [])
    runs = selected(wanted, only=only or [], shard=_shard(shard))
    if not runs:
        sys.stderr.write(f"--shard {shard}: no run falls to this part\n")
    sys.stderr.writelines(f"{line}\n" for line in unpinned([r.model for r in runs], wanted.task))
    folder = out or Path("runs") / wanted.name
    committed = read_committed(wanted, study)
    if dry_run or list_:
        refuse_changed(runs, folder)
        now = states(runs, folder, committed=committed.complete(runs))
        _tell(estimate(wanted, runs), now, wanted, runs, price, listed=list_, json=json)
        return

    import pandas as pd

    carry_out = launch_on_ray if backend is Backend.ray else launch
    here = processes or wanted.running.processes  # a Ray of this machine's own takes no more
    with started(backend, address, workers=here), progress() as bar:
        task = bar.add_task(f"{len(runs)} runs, steps", total=sum(r.training.steps for r in runs))

        told: set[str] = set()

        def report(state: Launch) -> None:
            bar.update(task, completed=sum(state.steps.values()))
            if state.doing is not None and state.doing not in told:
                told.add(state.doing)
                bar.console.print(f"{state.doing} …", highlight=False)

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
    left_out: list[str] = []
    fresh = run_table(folder, say=left_out.append)
    sys.stderr.writelines(f"{line}\n" for line in left_out)
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
    if outcome.interrupted:
        again = shlex.join(["verigap", *sys.argv[1:]])
        left = f"{len(outcome.interrupted)} of {len(runs)} runs are left"
        sys.stderr.write(f"interrupted: {left}; to go on: {again}\n")
        raise typer.Exit(3)


def _tell(
    cost: Cost,
    now: list[RunState],
    study: Study,
    runs: list[RunSpec],
    price: float | None,
    *,
    listed: bool,
    json: bool,
) -> None:
    """What a study would cost, and where its runs stand."""
    from empirical.errors import StudyError
    from empirical.power import power
    from empirical.training.launch import refuse_unless_able
    from fits.plain import plain
    from verigap.commands.power import show_power

    chance = power(study)
    refused: str | None = None
    try:
        refuse_unless_able(runs, study.running)
    except StudyError as error:
        refused = str(error)
    hours = {cell.run_id: cell.device_hours for cell in cost.cells}
    left = sum(hours[run.run_id] * (1.0 - run.step / run.steps) for run in now)
    complete = [run.run_id for run in now if run.state == "complete"]
    document = {
        **plain(cost),
        "arms": list(dict.fromkeys(run.arm for run in now)),
        "states": [
            plain(run) | {"device_hours_left": hours[run.run_id] * (1.0 - run.step / run.steps)}
            for run in now
        ],
        "complete": complete,
        "device_hours_left": left,
        "price": price,
        "money": None if price is None else price * cost.device_hours,
        "money_left": None if price is None else price * left,
        "refused_here": refused,
        "power": plain(chance),
    }

    def show(console: Console) -> None:
        from rich.table import Table

        if not listed:
            console.print(cost.table())
            show_power(console, chance)
        view = Table(title=f"{study.name}: {len(complete)} of {len(now)} runs complete")
        for column in ("run", "state", "step", "hours left"):
            # A run's id is what --only takes: on a narrow terminal it may fold, never lose its end.
            view.add_column(column, justify="left" if column in ("run", "state") else "right")
        for run in now:
            rest = hours[run.run_id] * (1.0 - run.step / run.steps)
            view.add_row(run.run_id, run.state, f"{run.step}/{run.steps}", f"{rest:,.2f}")
        console.print(view)
        money = "" if price is None else f", {price * left:,.2f} at {price:g} an hour"
        console.print(f"left: {left:,.2f} device-hours{money}", highlight=False, soft_wrap=True)
        if refused is not None:
            console.print(f"this machine would refuse: {refused}", highlight=False, soft_wrap=True)

    emit(document, as_json=json, show=show)


def _shard(text: str | None) -> tuple[int, int] | None:
    if text is None:
        return None
    part, _, parts = text.partition("/")
    if not all(n.isascii() and n.isdecimal() for n in (part, parts)):
        fail(f"--shard {text}: must be i/n, two whole numbers")
    return int(part), int(parts)
