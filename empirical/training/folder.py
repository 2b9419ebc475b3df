"""A run's folder: what was asked, what happened row by row, on what machine, and whether it is done.

    spec.json      the run's constant columns and its full specification
    metrics.jsonl  one JSON object a line, flushed as it is written: "kind" is "train" (one per optimiser
                   step) or "eval" (the run table's rows)
    env.json       versions, hardware, git commit
    completions/   judged completions of evaluations
    checkpoints/   what a killed run resumes from
    DONE           written last

Law. A kill at any moment loses at most the row being written: readers drop a torn last line, and a
resumed run drops the rows after its checkpoint and makes them anew, equal but for timings.
Fails first if two processes write one folder; `lock` makes the second one leave.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from empirical.errors import StudyError
from empirical.studies import RunSpec
from fits.files import write_text

__all__ = [
    "BUSY",
    "CHECKPOINTS",
    "COMPLETIONS",
    "RESUMABLE",
    "TIMINGS",
    "Row",
    "RunFolder",
    "eval_rows",
    "signal_tree",
]

RESUMABLE: Final = 75  # exit status of a run that stopped before its end and can go on: EX_TEMPFAIL
BUSY: Final = 73  # exit status where another process holds the run's folder
CHECKPOINTS: Final = "checkpoints"
COMPLETIONS: Final = "completions"
# Columns that differ between two runs that are otherwise equal bit for bit.
TIMINGS: Final = ("seconds", "gpu_hours", "step_seconds", "base_seconds", "noise_seconds")
_COMPLETE: Final = "COMPLETE"

Row = dict[str, Any]


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def metrics(self) -> Path:
        """The log of rows."""
        return self.path / "metrics.jsonl"

    @property
    def done(self) -> bool:
        """Whether the run finished."""
        return (self.path / "DONE").exists()

    def create(self, spec: RunSpec, *, study: str) -> None:
        """Write spec.json, unless it is there.

        Raises StudyError if the folder holds another run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / "spec.json"
        if path.exists():
            if self.spec().run_id != spec.run_id:
                raise StudyError(f"{path}: holds another run than {spec.run_id}")
            return
        content = {"study": study, **spec.columns, "spec": spec.model_dump(mode="json")}
        write_text(path, json.dumps(content, indent=1) + "\n")

    def spec(self) -> RunSpec:
        """The run's specification.

        Raises StudyError if spec.json is absent or not one of ours.
        """
        path = self.path / "spec.json"
        try:
            return RunSpec.model_validate(json.loads(path.read_text(encoding="utf-8"))["spec"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{path}: not a run's specification ({error})") from None

    def rows(self) -> list[Row]:
        """All rows written whole."""
        if not self.metrics.exists():
            return []
        lines = self.metrics.read_bytes().split(b"\n")
        # What follows the last newline is a row that was being written when the run was killed.
        return [json.loads(line) for line in lines[:-1]]

    def last_step(self) -> int:
        """Step of the last row written whole, 0 if none; reads only the end of the log."""
        if not self.metrics.exists():
            return 0
        with self.metrics.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 8192))
            lines = file.read().split(b"\n")
        return int(json.loads(lines[-2])["step"]) if len(lines) > 1 else 0

    def append(self, row: Row) -> None:
        """Add one row and flush it; a torn last line, which would spoil it, is dropped."""
        with self.metrics.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            if end:
                file.seek(end - 1)
                if file.read() != b"\n":
                    file.seek(0)
                    file.truncate(file.read().rfind(b"\n") + 1)
            file.write(json.dumps(row, allow_nan=False).encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())

    def rewind(self, step: int | None) -> list[Row]:
        """Drop the rows after `step` (None: all of them) and return those that stay."""
        kept = [] if step is None else [row for row in self.rows() if row["step"] <= step]
        write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in kept))
        return kept

    def checkpoint(self) -> tuple[int, Path] | None:
        """Step and folder of the newest checkpoint that was written whole."""
        found = [
            (int(path.name.rpartition("-")[2]), path)
            for path in (self.path / CHECKPOINTS).glob("checkpoint-*")
            if (path / _COMPLETE).exists()
        ]
        return max(found, default=None)

    def mark_checkpoint(self, step: int) -> None:
        """Say that the checkpoint of `step` is written whole."""
        (self.path / CHECKPOINTS / f"checkpoint-{step}" / _COMPLETE).touch()

    def finish(self, result: Row) -> None:
        """Write DONE."""
        write_text(self.path / "DONE", json.dumps(result, indent=1) + "\n")

    @contextlib.contextmanager
    def lock(self) -> Generator[bool]:
        """Hold the folder while the block runs; yields False where another process holds it.

        The system lets go of the lock when the process dies, however it dies. A holder whose launcher
        died while it was paused would stay stopped for ever, so it is told to go on; a launcher that
        lives pauses it again. On another machine its process id means nothing.
        """
        try:
            import fcntl
        except ImportError:  # Windows has no flock; there one launcher at a time is the user's care
            yield True
            return
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder, _, machine = file.read().partition(" ")
                # Empty while the holder is about to write it.
                if holder and machine == socket.gethostname():
                    signal_tree(int(holder), signal.SIGCONT)
                yield False
                return
            file.truncate(0)
            # Under torchrun the run is all of its children, of which the caller is one.
            root = os.getppid() if "RANK" in os.environ else os.getpid()
            file.write(f"{root} {socket.gethostname()}")
            file.flush()
            yield True

    def held(self) -> bool:
        """Whether a process holds the folder; asked without touching it."""
        try:
            import fcntl

            with (self.path / ".lock").open("rb") as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (ImportError, FileNotFoundError):
            return False
        except OSError:
            return True
        return False

    def free(self) -> bool:
        """Whether no process holds the folder."""
        with self.lock() as held:
            return held


def signal_tree(pid: int, number: int) -> None:
    """Send a signal to a process and all below it; none where it is gone or not ours.

    torchrun gives its workers sessions of their own, so no process group holds a run.
    """
    import psutil  # with accelerate; nothing else here needs it

    with contextlib.suppress(psutil.Error):
        root = psutil.Process(pid)
        for process in (root, *root.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                process.send_signal(number)


def eval_rows(rows: Sequence[Row]) -> list[Row]:
    """The run table's rows, without their kind."""
    return [
        {key: value for key, value in row.items() if key != "kind"}
        for row in rows
        if row["kind"] == "eval"
    ]
