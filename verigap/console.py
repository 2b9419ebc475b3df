"""What every command shares: a JSON document or a human view on stdout, the rest on stderr."""

from __future__ import annotations

import contextlib
import re
import sys
import textwrap
import threading
from collections.abc import Callable, Generator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from verigap.errors import UserError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.text import Text

__all__ = ["Json", "UserError", "console_on", "emit", "fail", "progress", "write_json"]

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document on stdout and nothing else there.")
]

SECONDS_A_LINE = 60.0
_STYLED = re.compile(r"\x1b\[[0-9;]*m")


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
    show(console_on())


def console_on() -> Console:
    """A console on stdout that never splits a word or a number, however narrow the terminal is."""
    from rich.console import Console
    from rich.table import Table

    from fits.plain import visible

    class Whole(Console):
        def render_str(self, text: str, **options: Any) -> Text:
            """`text`, line by line, its control characters shown instead of sent."""
            return super().render_str("\n".join(map(visible, text.split("\n"))), **options)

        def print(self, *objects: Any, **options: Any) -> None:
            for item in objects:
                if isinstance(item, Table):
                    self._print_table(item)
                elif isinstance(item, str) and not options.get("soft_wrap"):
                    whole: dict[str, Any] = {**options, "soft_wrap": True}
                    super().print(_filled(item, self.width), **whole)
                else:
                    super().print(item, **options)

        def _print_table(self, table: Table) -> None:
            """The table, or where its columns do not fit side by side, row by row, a cell a line."""
            headings = [str(column.header) for column in table.columns]
            cells = [[str(cell) for cell in column.cells] for column in table.columns]
            texts = [*headings, *(cell for column in cells for cell in column)]
            words = {word for text in texts for word in text.split()}
            with self.capture() as drawn:
                super().print(table)
            text = _STYLED.sub("", drawn.get())  # a colour is no part of a word
            inside = {word for part in re.split(r"[\u2500-\u257f]", text) for word in part.split()}
            if words <= inside and max(map(len, text.splitlines()), default=0) <= self.width:
                super().print(table)
                return
            if table.title:
                super().print(_filled(str(table.title), self.width), style="italic", soft_wrap=True)
            for row in zip(*cells, strict=True):
                for place, (heading, cell) in enumerate(zip(headings, row, strict=True)):
                    line = ("  " if place else "") + (f"{heading}: " if heading else "") + cell
                    line = _filled(line, self.width)
                    super().print(line, style=None if place else "bold", soft_wrap=True)

    # Names and paths are the user's: "[/b]" and ":key:" in them are text, not markup.
    return Whole(file=sys.stdout, markup=False, emoji=False)


def _filled(text: str, width: int) -> str:
    """Lines broken at spaces alone: a word that is wider than the terminal stays whole."""
    return "\n".join(
        textwrap.fill(
            line,
            max(20, width),
            break_long_words=False,
            break_on_hyphens=False,
            replace_whitespace=False,
            subsequent_indent="    " if line.startswith("  ") else "",
        )
        if len(line) > width
        else line
        for line in text.split("\n")
    )


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
