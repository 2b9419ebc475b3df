"""`--backend` and `--address`: where the runs of a command are executed."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator
from enum import StrEnum
from typing import Annotated

import typer

from verigap.console import fail

__all__ = ["Address", "Backend", "BackendOption", "started"]


class Backend(StrEnum):
    """Where runs are executed."""

    local = "local"
    ray = "ray"


BackendOption = Annotated[
    Backend, typer.Option("--backend", help="Where runs are executed; the results are the same.")
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
