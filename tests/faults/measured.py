"""Commands run one after another in one process, each measured: exit code, what it printed, seconds, memory.

Run as `python -m tests.faults.measured`: reads a JSON list of argument lists on stdin, prints a JSON list.
Each command runs in a fork of a process that did nothing but imports, so that none inherits what an earlier
one left in memory. Seconds are of the fork's CPU, so that a busy machine changes no verdict; memory is the
fork's peak, imports included, as a user's own process would show.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import multiprocessing
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

# Not from tests.builders, whose imports would count as every command's memory.
ROOT: Final = Path(__file__).parents[2]


@dataclass(frozen=True)
class Measured:
    """What one command did; error: of a traceback, its last line."""

    code: int
    out: str
    err: str
    error: str
    seconds: float
    mebibytes: float


def measure(commands: Sequence[Sequence[str]], *, limit: float = 240.0) -> list[Measured]:
    """Run the commands in a process of their own. Raises TimeoutExpired where they hang."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.measured"],
        input=json.dumps([list(command) for command in commands]),
        capture_output=True,
        text=True,
        check=True,
        timeout=limit,
        cwd=ROOT,
    )
    return [Measured(**one) for one in json.loads(done.stdout)]


def _peak() -> float:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    return 0.0


def _one(arguments: Sequence[str]) -> Measured:
    from verigap.cli import main

    out, err, error, code = io.StringIO(), io.StringIO(), "", 0
    sys.argv = ["verigap", *arguments]
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    began = time.process_time()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
        except SystemExit as left:
            code = left.code if isinstance(left.code, int) else 1
        except BaseException as raised:  # what a user would see as a traceback
            error, code = f"{type(raised).__name__}: {raised}", 1
    taken = time.process_time() - began
    return Measured(code, out.getvalue(), err.getvalue(), error, taken, _peak())


# What every fork finds ready, loaded once.
READY: Final = ("verigap.cli", "fits.readers", "verigap.face.runs", "verigap.face.forecasts")


def main() -> None:
    """Measure what stdin lists."""
    for module in READY:
        importlib.import_module(module)
    commands = json.load(sys.stdin)
    json.dump([asdict(forked(command)) for command in commands], sys.stdout)


def forked(arguments: Sequence[str]) -> Measured:
    """What a command does in a fork of its own, which may end by a signal: of a pool, such a task is never over."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(_one(arguments)))
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        process.join()
        return Measured(1, "", "", f"ended by signal {-(process.exitcode or 0)}", 0.0, 0.0)
    finally:
        process.join()


if __name__ == "__main__":
    main()
