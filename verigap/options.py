"""Options that several commands share: what reads RUNS, what draws, where the work is done."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import inspect
import os
import sys
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, get_type_hints

import typer

from verigap.console import fail

if TYPE_CHECKING:
    from rich.progress import Progress

    from fits import RunTable
    from fits.drawing import Drawing
    from fits.each import Each
    from verigap.face.runs import Runs

__all__ = [
    "Address",
    "Backend",
    "BackendOption",
    "Figure",
    "Force",
    "Loss",
    "Reading",
    "check_absent",
    "each_on",
    "reads_runs",
    "save_figure",
    "say",
    "say_what_was_read",
    "started",
]

Item = TypeVar("Item")
Result = TypeVar("Result")

Figure = Annotated[
    Path | None,
    typer.Option("--figure", help="Draw to .pdf, .svg or .png; its data go to .csv beside."),
]
Clean = Annotated[
    list[str] | None,
    typer.Option(help="Which rows are the clean arm (default: fpr=0,fnr=0)."),
]
Delta = Annotated[float, typer.Option(help="The smallest gap of interest, accuracy.")]
Group = Annotated[
    str | None,
    typer.Option(help="Columns that make an arm, comma-separated (default: the condition)."),
]
Law = Annotated[str, typer.Option(help="auto, sigmoid, power, exponential or log.")]
Loss = Annotated[
    str,
    typer.Option(
        "--loss",
        help="least-squares, huber, binomial or beta-binomial (these two need n_eval); auto: binomial"
        " where n_eval is known and differs between rows, else least-squares.",
    ),
]


@dataclass(frozen=True)
class Reading:
    """RUNS and how to read it: the options that every command which reads runs shares, written once."""

    runs: Annotated[
        Path,
        typer.Argument(
            metavar="RUNS", help="A table, a log, a run folder or a folder of run folders."
        ),
    ]
    format: Annotated[
        str, typer.Option(help="What RUNS is; auto recognises it and says so on stderr.")
    ] = "auto"
    metric: Annotated[
        str | None, typer.Option(help="The logged value that is the accuracy, of several.")
    ] = None
    manifest: Annotated[
        Path | None,
        typer.Option(help="YAML, run: {arm, fpr, fnr, seed, …}, for logs without them."),
    ] = None
    map: Annotated[
        list[str] | None, typer.Option(help="Copy columns: column=source,… (repeatable).")
    ] = None
    set: Annotated[
        list[str] | None, typer.Option(help="Fill columns: column=value,… (repeatable).")
    ] = None
    where: Annotated[
        list[str] | None,
        typer.Option(help="Keep rows: fpr=0,step>=50; commas AND, repeated flags OR."),
    ] = None
    force: Annotated[
        bool, typer.Option("--force", help="Write --out and --figure over what is there.")
    ] = False
    runs_from: Annotated[
        str | None,
        typer.Option(help="Read columns from the runs' names: '{arm}-seed{seed}'."),
    ] = None
    scale: Annotated[
        float | None,
        typer.Option(help="Divide accuracies: by 100 (per cent), by 2 (a reward of 2), …"),
    ] = None

    def load(self, **constants: object) -> Runs:
        """The run table, columns of `constants` filled besides (None is left out).

        `say_what_was_read` tells the user about it. Raises UserError for anything the user must mend.
        """
        from verigap.face.runs import read_runs

        said = [f"{name}={value}" for name, value in constants.items() if value is not None]
        return read_runs(
            self.runs,
            format=self.format,
            metric=self.metric,
            manifest=self.manifest,
            map=self.map,
            set=[*(self.set or []), *said],
            where=self.where,
            runs_from=self.runs_from,
            scale=self.scale,
        )

    def check_outputs(self, figure: Path | None, out: Path | None) -> None:
        """Refuse before the work what could not be written after it, or would overwrite what is read."""
        from fits.files import check_target
        from fits.readers import table_in

        outputs = [] if out is None else [out]
        if figure is not None:
            from fits.drawing import check_figure

            check_figure(figure)
            outputs += [figure, figure.with_suffix(".csv")]
        table = table_in(self.runs) if self.runs.is_dir() else self.runs
        read = {os.path.realpath(path) for path in (table, self.manifest) if path is not None}
        for output in outputs:
            check_target(output)
            if os.path.realpath(output) in read:
                fail(f"{output}: is read by this command; write its output elsewhere")
            if sum(os.path.realpath(other) == os.path.realpath(output) for other in outputs) > 1:
                fail(f"{output}: both --out and --figure would write it")
            check_absent(output, force=self.force)


Force = Annotated[bool, typer.Option("--force", help="Write over what is there.")]


def check_absent(*outputs: Path, force: bool) -> None:
    """Refuse, before the work, to write over what is there. Raises UserError naming it, unless `force`."""
    for output in outputs:
        if output.exists() and not force:
            fail(f"{output}: is there already; --force writes over it")


def reads_runs(command: Callable[..., None]) -> Callable[..., None]:
    """`command`, whose first parameter is a `Reading`, with that parameter's fields as its options.

    They stand first (RUNS) and before --json in the help, as the command line's parser reads a signature.
    """
    own = list(inspect.signature(command).parameters.values())[1:]
    hints = get_type_hints(command, include_extras=True)
    fields = dataclasses.fields(Reading)
    types = get_type_hints(Reading, include_extras=True)

    @functools.wraps(command)
    def reading(runs: Path, **options: Any) -> None:
        taken = {f.name: options.pop(f.name) for f in fields[1:]}
        command(Reading(runs, **taken), **options)

    shared = [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=types[f.name]
        )
        for f in fields[1:]
    ]
    mine = [one.replace(annotation=hints[one.name]) for one in own]
    first = inspect.Parameter(
        "runs", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=types["runs"]
    )
    parameters = [first, *mine[:-1], *shared, *mine[-1:]]
    reading.__dict__["__signature__"] = inspect.Signature(parameters)
    reading.__annotations__ = {one.name: one.annotation for one in parameters}
    return reading


def say_what_was_read(table: RunTable) -> None:
    """What was recognised, repaired and derived, on stderr.

    Called once the command has succeeded: a mistake's one line is to stand alone.
    """
    from fits import FORMATS
    from fits.plain import counted

    count = table.frame["run_id"].nunique()
    said = f"{table.source}: {FORMATS[table.format][0]}, {counted(len(table.frame), 'row')} of {counted(count, 'run')}"
    say((said, *table.notes))


def say(lines: Iterable[str]) -> None:
    """Lines on stderr, whatever they name."""
    from fits.plain import visible

    for line in lines:
        sys.stderr.write(visible(line) + "\n")


def save_figure(figure: Path, draw: Callable[[], Drawing]) -> None:
    """Draw, write the figure and its data, and say where on stderr."""
    from fits.drawing import save

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
