"""math-verify in a process of its own, which is killed when it takes too long.

Law. sympy may take for ever and for all memory over a few characters (9^9^9^9), and no signal reaches it outside the
main thread. So the text is bounded before it is parsed, judged in a worker that holds MOST_MEMORY at most, and
the worker is killed after SECONDS_EACH, or once a batch has used up SECONDS_A_BATCH. What was not judged is
unscorable and counted as timed out, never wrong.
Fails first on a machine so busy that an honest comparison takes SECONDS_EACH: it is counted then, too.

Run as `python -m empirical.math_worker`; `empirical.verifiers.math_verify` does.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import itertools
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Generator
from dataclasses import dataclass, field
from typing import IO, Any, Final

from empirical.errors import StudyError

__all__ = ["MathWorker", "batch", "this_worker", "too_much"]

SECONDS_EACH: Final = 5.0
SECONDS_A_BATCH: Final = 30.0
SECONDS_TO_START: Final = 120.0
MOST_MEMORY: Final = 2 << 30
LONGEST: Final = 20_000  # characters of a completion that are read, counted from its end
DEEPEST: Final = 50  # braces and brackets within one another
# A power with four digits or more has thousands of its own.
_POWER: Final = re.compile(r"(?:\^|\*\*)\s*[{(]*\s*[-+]?\d{4}|\d[eE][-+]?\d{4}|\d{2000}")


def too_much(text: str) -> bool:
    """Whether a text asks for more than is parsed: nesting beyond DEEPEST, powers of four digits."""
    if _POWER.search(text):
        return True
    depth = 0
    for mark in re.findall(r"[{}()\[\]]", text):
        depth = max(0, depth + (1 if mark in "{([" else -1))
        if depth > DEEPEST:
            return True
    return False


@dataclass
class MathWorker:
    """A worker and what is left of the batch's seconds; a lock holds one question at a time."""

    process: subprocess.Popen[bytes] | None = None
    left: float | None = None  # seconds; None outside a batch
    seconds_each: float = SECONDS_EACH
    lock: threading.RLock = field(default_factory=threading.RLock)

    def ask(self, completion: str, gold: str) -> tuple[str, str | None]:
        """("right" | "wrong" | "unscorable" | "timed out", the answer found).

        Raises StudyError where the worker cannot be started.
        """
        with self.lock:
            limit = self.seconds_each if self.left is None else min(self.seconds_each, self.left)
            if limit <= 0.0:
                return "timed out", None
            process = self._started()
            assert process.stdin is not None
            assert process.stdout is not None
            began = time.monotonic()
            line = b""
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(json.dumps([completion, gold]).encode() + b"\n")
                process.stdin.flush()
                line = _line(process.stdout, limit)
            if self.left is not None:
                self.left -= time.monotonic() - began
            if not line.endswith(b"\n"):  # out of time, or out of memory
                self.stop()
                return "timed out", None
            verdict, answer = json.loads(line)
            return verdict, answer

    def _started(self) -> subprocess.Popen[bytes]:
        if self.process is None or self.process.poll() is not None:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "empirical.math_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
            assert self.process.stdout is not None
            if _line(self.process.stdout, SECONDS_TO_START) != b"ready\n":
                self.stop()
                raise StudyError("math_verify: its worker process does not start")
        return self.process

    def stop(self) -> None:
        """Kill the worker; the next question starts another."""
        process, self.process = self.process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    pipe.close()


def _line(pipe: IO[bytes], limit: float) -> bytes:
    """The next line of a pipe; what there is of it where `limit` seconds pass or the other end closes."""
    deadline = time.monotonic() + limit
    line = b""
    while not line.endswith(b"\n"):
        if not select.select([pipe], [], [], max(0.0, deadline - time.monotonic()))[0]:
            break
        part = os.read(pipe.fileno(), 1 << 16)
        if not part:
            break
        line += part
    return line


@functools.cache
def _worker_of(_process: int) -> MathWorker:
    worker = MathWorker()
    atexit.register(worker.stop)
    return worker


def this_worker() -> MathWorker:
    """The worker of this process; a fork gets one of its own."""
    return _worker_of(os.getpid())


@contextlib.contextmanager
def batch(seconds: float = SECONDS_A_BATCH) -> Generator[None]:
    """Within the block, judging takes `seconds` in all; what is left over then is timed out."""
    worker = this_worker()
    outer, worker.left = worker.left, seconds
    try:
        yield
    finally:
        worker.left = outer


def _judged(completion: str, gold: str, limit: int) -> tuple[str, str | None]:
    """What math-verify says, within the worker."""
    from math_verify import parse, verify
    from math_verify.errors import TimeoutException

    found = parse(completion, parsing_timeout=limit)
    if not found:
        return "unscorable", None
    verdict = "wrong"
    # One pair at a time, as `verify` does, but a comparison that ran out of time is told from a
    # false one; any other failure to compare is a difference, as it is there.
    for expected, given in itertools.product(_parsed_gold(gold, limit), found):
        try:
            if verify(expected, given, timeout_seconds=limit, raise_on_error=True):
                return "right", str(found[0])
        except (TimeoutException, MemoryError):
            verdict = "timed out"
        except Exception:  # sympy has a zoo of its own
            continue
    return verdict, None if verdict == "timed out" else str(found[0])


@functools.lru_cache(maxsize=65536)
def _parsed_gold(gold: str, limit: int) -> Any:
    from math_verify import parse

    return parse(f"${gold}$", parsing_timeout=limit)


def main() -> None:
    """Answer [completion, gold] a line with [verdict, answer] a line, until stdin ends."""
    importlib.import_module("math_verify")  # "ready" says that this is done

    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        completion, gold = json.loads(line)
        try:
            # Its own limit ends what outlives the asker, who kills sooner.
            answer = _judged(completion, gold, round(2 * SECONDS_EACH))
        except MemoryError:
            answer = "timed out", None
        except Exception:  # an answer that math-verify cannot digest
            answer = "unscorable", None
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
