"""`--backend` and `--address`: where the runs, or the fits, of a command are executed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

from verigap.console import fail

if TYPE_CHECKING:
    from rich.progress import Progress

    from fits.each import Each

__all__ = ["Address", "Backend", "BackendOption", "each_on", "started"]

Item = TypeVar("Item")
Result = TypeVar("Result")


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
