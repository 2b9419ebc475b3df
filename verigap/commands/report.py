"""`verigap report`: a page of one's own runs, and of the results beside them."""

from __future__ import annotations

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit, fail
from verigap.options import (
    Clean,
    Delta,
    Group,
    Law,
    Loss,
    Reading,
    reads_runs,
    say,
    say_what_was_read,
)

if TYPE_CHECKING:
    from rich.console import Console


@reads_runs
def report(
    read: Reading,
    *,
    clean: Clean = None,
    delta: Delta = 0.01,
    x: Annotated[
        str | None, typer.Option(help="The compute column. [default: rollouts, else what there is]")
    ] = None,
    group: Group = None,
    law: Law = "auto",
    loss: Loss = "auto",
    calibrate_on: Annotated[
        list[str] | None,
        typer.Option(help="Also forecast all other rows from these: arm=clean,group_size=8."),
    ] = None,
    warmup_steps: Annotated[
        float | None,
        typer.Option(min=0, help="Steps over which the learning rate rose, for the forecast."),
    ] = None,
    explorer: Annotated[
        bool,
        typer.Option("--explorer", help="Add sliders over forecasts for any verifier and budget."),
    ] = False,
    beside: Annotated[
        list[Path] | None,
        typer.Option(
            "--with",
            help="JSON of audit, plan, probe or validate (repeatable); those beside RUNS are found.",
        ),
    ] = None,
    title: Annotated[str | None, typer.Option(help="Of the page.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="The page: .html, .md or .pdf. [default: report.html, .md, .pdf]"),
    ] = None,
    json: Json = False,
) -> None:
    """A page of RUNS, and of audit, plan, probe and validate results (JSON) in the same folder.

    --format html, md or pdf is the form of the page (pdf needs Chromium); any other, what RUNS is.
    """
    from fits.readers import FORMATS as READABLE
    from verigap.face.reports import format_of
    from verigap.face.reports import report as made_of
    from verigap.pages.beside import documents_beside
    from verigap.pages.layout import FORMATS, refuse_unless_able

    if read.format not in ("auto", *FORMATS, *READABLE):
        fail(
            f"format {read.format!r} is none of: {', '.join(FORMATS)} (the page's form), auto, {', '.join(READABLE)} (what"
            " RUNS is)"
        )
    said = read.format if read.format in FORMATS else None
    page = out or Path(f"report.{said or 'html'}")
    form = format_of(page, said)
    if said is not None:
        read = dataclasses.replace(read, format="auto")
    read.check_outputs(None, page)
    refuse_unless_able(form)
    # A folder of results alone is a report too.
    results, lost = documents_beside(read.runs)
    alone = bool(results) and read.runs.is_dir() and not _has_runs(read.runs)
    table = None if alone else read.load()
    done = made_of(
        table,
        clean=clean,
        delta=delta,
        x=x,
        group=group,
        law=law,
        loss=loss,
        calibrate_on=calibrate_on,
        warmup_steps=warmup_steps,
        explorer=explorer,
        beside=[*results, *(beside or ())],
        notes=lost,
        title=title,
        words=_words(read),
        command=shlex.join(["verigap", *sys.argv[1:]]),
    )
    done.write(page, format=form)

    def show(console: Console) -> None:
        for one in done.answers:
            console.print(f"{one.question} {one.answer}", style="bold", highlight=False)
            for line in one.because:
                console.print(f"  {line}", highlight=False)
        console.print(f"Report: {page}", soft_wrap=True, highlight=False)

    if done.table is not None:
        say_what_was_read(done.table)
    else:
        say(done.notes)
    emit({**done.plain(), "report": page}, as_json=json, show=show)


def _has_runs(folder: Path) -> bool:
    """Whether a reader finds runs in a folder."""
    from fits.errors import InputError
    from fits.readers import recognise, table_in

    try:
        return table_in(folder) is not None or bool(recognise(folder))
    except InputError:
        return False


def _words(read: Reading) -> str:
    """RUNS and how it is read, as a command of the page names them."""
    said = [str(read.runs)]
    if read.format != "auto":
        said += ["--format", read.format]
    for name in ("metric", "manifest", "runs_from", "scale"):
        value = getattr(read, name)
        if value is not None:
            said += [f"--{name.replace('_', '-')}", str(value)]
    for name in ("map", "set", "where"):
        for value in getattr(read, name) or ():
            said += [f"--{name}", value]
    return shlex.join(said)
