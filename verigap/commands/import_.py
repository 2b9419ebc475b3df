"""`verigap import`: any log that a reader knows, as one run table."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from verigap.console import Json, emit
from verigap.options import (
    Reading,
    reads_runs,
    say_what_was_read,
)

if TYPE_CHECKING:
    from rich.console import Console


@reads_runs
def import_(
    read: Reading,
    *,
    out: Annotated[Path, typer.Option(help="The table to write: .csv or .parquet.")],
    json: Json = False,
) -> None:
    """Read a log, a table or run folders and write the checked run table."""
    from fits import write_runs
    from fits.plain import counted

    read.check_outputs(None, out)
    table = read.load()
    write_runs(table.frame, out)
    document = {"out": out, **table.plain()}

    def show(console: Console) -> None:
        console.print(
            f"{out}: {counted(len(table.frame), 'row')} of {counted(table.frame['run_id'].nunique(), 'run')}, columns"
            f" {', '.join(str(name) for name in table.frame.columns)}",
            highlight=False,
            soft_wrap=True,
        )

    say_what_was_read(table)
    emit(document, as_json=json, show=show)
