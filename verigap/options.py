"""Options that several commands share: what reads RUNS, what draws, where the work is done."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from verigap.console import fail

if TYPE_CHECKING:
    from rich.progress import Progress

    from fits import RunTable
    from fits.each import Each
    from fits.figures import Drawing

__all__ = [
    "Address",
    "Backend",
    "BackendOption",
    "Figure",
    "Format",
    "Loss",
    "Manifest",
    "Map",
    "Metric",
    "Runs",
    "Set",
    "Where",
    "check_outputs",
    "each_on",
    "load_runs",
    "save_figure",
    "say_what_was_read",
    "started",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

Runs = Annotated[
    Path,
    typer.Argument(metavar="RUNS", help="A table, a log, a run folder or a folder of run folders."),
]
Format = Annotated[
    str, typer.Option("--format", help="What RUNS is; auto recognises it and says so on stderr.")
]
Metric = Annotated[
    str | None, typer.Option("--metric", help="The logged value that is the accuracy, of several.")
]
Manifest = Annotated[
    Path | None,
    typer.Option("--manifest", help="YAML, run: {arm, fpr, fnr, seed, …}, for logs without them."),
]
Map = Annotated[
    list[str] | None, typer.Option("--map", help="Copy columns: column=source,… (repeatable).")
]
Set = Annotated[
    list[str] | None, typer.Option("--set", help="Fill columns: column=value,… (repeatable).")
]
Figure = Annotated[
    Path | None,
    typer.Option("--figure", help="Draw to .pdf, .svg or .png; its data go to .csv beside."),
]
Loss = Annotated[
    str,
    typer.Option(
        "--loss",
        help="least-squares, huber, binomial or beta-binomial (these two need n_eval); auto: binomial"
        " where n_eval is known and differs between rows, else least-squares.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help="Keep rows: fpr=0,step>=50; commas AND, repeated flags OR."),
]


def load_runs(
    runs: Path,
    *,
    format: str = "auto",
    metric: str | None = None,
    manifest: Path | None = None,
    map: list[str] | None = None,
    set: list[str] | None = None,
    where: list[str] | None = None,
) -> RunTable:
    """Read RUNS as the options say; `say_what_was_read` tells the user about it.

    Raises fits.InputError for anything the user must mend.
    """
    from fits import parse_assignments, read_runs

    return read_runs(
        runs,
        format=format,
        metric=metric,
        manifest=manifest,
        columns=parse_assignments(map or [], option="--map"),
        constants=parse_assignments(set or [], option="--set"),
        where=where or [],
    )


def say_what_was_read(table: RunTable) -> None:
    """What was recognised, repaired and derived, on stderr.

    Called once the command has succeeded: a mistake's one line is to stand alone.
    """
    from fits import FORMATS

    count = table.frame["run_id"].nunique()
    said = f"{table.source}: {FORMATS[table.format][0]}, {len(table.frame)} rows of {count} runs"
    for line in (said, *table.notes):
        sys.stderr.write(line + "\n")


def check_outputs(
    figure: Path | None, out: Path | None, *, runs: Path, manifest: Path | None
) -> None:
    """Refuse before the work what could not be written after it, or would overwrite what is read."""
    from fits.files import check_target
    from fits.readers import table_in

    outputs = [] if out is None else [out]
    if figure is not None:
        from fits import figures

        figures.check_figure(figure)
        outputs += [figure, figure.with_suffix(".csv")]
    table = table_in(runs) if runs.is_dir() else runs
    read = {path.resolve() for path in (table, manifest) if path is not None}
    for output in outputs:
        check_target(output)
        if output.resolve() in read:
            fail(f"{output}: is read by this command; write its output elsewhere")
        if sum(other.resolve() == output.resolve() for other in outputs) > 1:
            fail(f"{output}: both --out and --figure would write it")


def save_figure(figure: Path, draw: Callable[[], Drawing]) -> None:
    """Draw, write the figure and its data, and say where on stderr."""
    from fits.figures import save

    beside = save(draw(), figure)
    sys.stderr.write(f"figure: {figure}, its data: {beside}\n")


class Backend(StrEnum):
    """Where the work is done."""

    local = "local"
    ray = "ray"


BackendOption = Annotated[
    Backend, typer.Option("--backend", help="Where the work is done; the results are the same.")
]
Address = Annotated[
    str | None,
    typer.Option(
        help="With --backend ray: a cluster's host:port, or auto for one on this machine."
        " [default: RAY_ADDRESS, else Ray on this machine alone]"
    ),
]


@contextlib.contextmanager
def started(
    backend: Backend, address: str | None, *, workers: int | None = None
) -> Generator[None]:
    """The backend, ready while the block runs; raises UserError or StudyError where it is refused."""
    if backend is Backend.local:
        if address is not None:
            fail("--address is for --backend ray")
        yield
        return
    from empirical.cluster import connected

    # Ray prints what it has to say of lost workers and nodes on stdout, which is the document's.
    with contextlib.redirect_stdout(sys.stderr), connected(address, workers=workers):
        yield


def each_on(backend: Backend, bar: Progress, description: str) -> Each:
    """What calls a function on every item on a backend that is `started`; a step of the bar for each."""

    def each(function: Callable[[Item], Result], items: Sequence[Item], /) -> list[Result]:
        task = bar.add_task(description, total=len(items))
        if backend is Backend.ray:
            from empirical.cluster import completed

            ended = completed(function, items, short=True)
        else:
            ended = ((place, function(item)) for place, item in enumerate(items))
        results: dict[int, Result] = {}
        for place, result in ended:
            results[place] = result
            bar.advance(task)
        return [results[place] for place in range(len(items))]

    return each
