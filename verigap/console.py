"""What every command shares: a JSON document or a human view on stdout, the rest on stderr."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

__all__ = ["Json", "UserError", "emit", "fail", "progress", "write_json"]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
]


class UserError(ValueError):
    """A mistake of the user's: printed as one line on stderr, exit code 2."""


def fail(message: str) -> NoReturn:
    """Raise UserError with `message`, which names what was wrong and where."""
    raise UserError(message)


def plain(value: Any) -> Any:
    """`value` as JSON holds it: dataclasses as objects, arrays as lists, non-finite numbers as null."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    listed = getattr(value, "tolist", None)  # NumPy arrays and scalars
    return value if listed is None else plain(listed())


def json_text(document: Any) -> str:
    """`document` as every command prints it."""
    return json.dumps(plain(document), indent=2, allow_nan=False) + "\n"


def emit(document: Any, *, as_json: bool, show: Callable[[Console], None]) -> None:
    """Print `document` as JSON, or let `show` write the human view to a rich console on stdout."""
    if as_json:
        sys.stdout.write(json_text(document))
        return
    from rich.console import Console

    # Names and paths are the user's: "[/b]" and ":key:" in them are text, not markup.
    show(Console(file=sys.stdout, markup=False, emoji=False))


@contextlib.contextmanager
def progress(*, quiet: bool = False) -> Generator[Progress]:
    """A progress bar on stderr while a person waits; silent where stderr is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    console = Console(stderr=True)
    with Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        disable=quiet or not console.is_terminal,
    ) as bar:
        yield bar


def write_json(path: Path, document: Any) -> None:
    """Write `document` to `path` as `emit` prints it; raises fits.InputError where that is refused."""
    from fits.files import write_text

    write_text(path, json_text(document))
