"""What every command shares: a JSON document or a human view on stdout, the rest on stderr."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from verigap.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Json", "UserError", "emit", "fail", "progress", "write_json"]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
]

SECONDS_A_LINE = 60.0


def fail(message: str) -> NoReturn:
    """Raise UserError with `message`, which names what was wrong and where."""
    raise UserError(message)


def _text(document: Any) -> str:
    """A document, or a result that says itself what it is, as every command prints it."""
    from fits.plain import json_text

    own = getattr(document, "plain", None)
    return json_text(document if own is None else own())


def emit(document: Any, *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print `document` as JSON, or let `show` write the human view to a rich console on stdout."""
    if as_json:
        sys.stdout.write(_text(document))
        return
    from rich.console import Console

    # Names and paths are the user's: "[/b]" and ":key:" in them are text, not markup.
    show(Console(file=sys.stdout, markup=False, emoji=False))


@contextlib.contextmanager
def progress(*, quiet: bool = False) -> Generator[Progress]:
    """A progress bar on stderr while a person waits; a line a minute where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    off_terminal = not quiet and not console.is_terminal
    with (
        Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            disable=quiet or not console.is_terminal,
        ) as bar,
        _a_line_a_minute(bar) if off_terminal else contextlib.nullcontext(),
    ):
        yield bar


@contextlib.contextmanager
def _a_line_a_minute(bar: Progress) -> Generator[None]:
    """Where stderr is a file or a pipe, how far the work is, once a minute: a job's log shows that it lives."""
    ended = threading.Event()

    def tell() -> None:
        while not ended.wait(SECONDS_A_LINE):
            for task in bar.tasks:
                if not task.finished and task.total:
                    share = f"{task.completed:,.0f}/{task.total:,.0f}"
                    sys.stderr.write(f"{task.description}: {share}\n")
                    sys.stderr.flush()

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def write_json(path: Path, document: Any) -> None:
    """Write `document` to `path` as `emit` prints it; raises fits.InputError where that is refused."""
    from fits.files import write_text

    write_text(path, _text(document))
