"""`verigap`: the command line. Commands live in `verigap.commands`; this file assembles them.

An exception class that one of our four packages defines is a message for the user: one line on
stderr, exit code 2, and so is what the operating system refuses (a full disk, a lost permission). Any
other exception is a bug and keeps its traceback.
"""

from __future__ import annotations

import io
import os
import sys
from typing import Annotated

import typer

from verigap import __version__
from verigap.commands.audit import audit
from verigap.commands.demo import demo
from verigap.commands.doctor import doctor
from verigap.commands.drift import drift
from verigap.commands.fit import fit
from verigap.commands.gap import gap
from verigap.commands.import_ import import_
from verigap.commands.phase import phase
from verigap.commands.plan import plan
from verigap.commands.power import power
from verigap.commands.predict import predict
from verigap.commands.probe import probe
from verigap.commands.report import report
from verigap.commands.rest_points import rest_points
from verigap.commands.simulate import simulate
from verigap.commands.train import train
from verigap.commands.validate import validate
from verigap.commands.watch import watch

__all__ = ["app", "main"]

OURS = ("theory", "fits", "empirical", "verigap")
MOST_SAID = 900  # characters of a refusal, which may list what a hostile file named

# typer carries its own copy of click from 0.26 on; the base of its usage errors is the one in use.
_UsageError: type[Exception] = next(
    cls for cls in typer.BadParameter.__mro__ if cls.__name__ == "ClickException"
)

app = typer.Typer(
    name="verigap",
    help="What a noisy verifier costs in RLVR, whether more compute buys it back, what to fix first.",
    invoke_without_command=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


def _print_version(value: bool) -> None:
    if value:
        sys.stdout.write(f"verigap {__version__}\n")
        raise typer.Exit


@app.callback()
def _options(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and exit."
        ),
    ] = False,
) -> None:
    if context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


app.command()(audit)
app.command()(demo)
app.command()(doctor)
app.command()(drift)
app.command()(fit)
app.command()(gap)
app.command(name="import")(import_)
app.command()(phase)
app.command()(plan)
app.command()(power)
app.command()(predict)
app.command()(probe)
app.command()(report)
app.command(name="rest-points")(rest_points)
app.command()(simulate)
app.command()(train)
app.command()(validate)
app.command()(watch)


def main() -> None:
    """Run the command line and exit: 0 on success, 2 with one line on a user's mistake."""
    _spell_what_the_terminal_lacks()
    try:
        result = app(standalone_mode=False)
        sys.stdout.flush()
        code = result if isinstance(result, int) else 0
    except (typer.Abort, KeyboardInterrupt):
        sys.stderr.write("verigap: interrupted\n")
        code = 130
    except BrokenPipeError:
        # The reader (head, a closed pager) has gone.
        _drop_stdout()
        code = 141
    except OSError as error:
        # Readers and writers name what they were at; here is what the machine itself refuses.
        sys.stderr.write(f"verigap: {error.filename or 'output'}: {error.strerror or error}\n")
        _drop_stdout()
        code = 2
    except Exception as error:
        message = _for_the_user(error)
        if message is None:
            raise
        from fits.plain import visible

        line = visible(" ".join(message.split()))
        if len(line) > MOST_SAID:
            line = f"{line[:MOST_SAID]}… ({len(line) - MOST_SAID:,} more characters)"
        sys.stderr.write(f"verigap: {line}\n")
        code = 2
    raise SystemExit(code)


def _spell_what_the_terminal_lacks() -> None:
    """Where a locale has no such character, print its escape instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _drop_stdout() -> None:
    """Where stdout takes nothing more, keep the interpreter's last flush of it quiet."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _for_the_user(error: Exception) -> str | None:
    """The line a user's mistake deserves, or None where the error is a bug of ours."""
    if isinstance(error, _UsageError):
        text: str = error.format_message()  # pyright: ignore[reportAttributeAccessIssue]
        return text
    if type(error).__module__.partition(".")[0] in OURS:
        return str(error)
    return None


if __name__ == "__main__":
    main()
