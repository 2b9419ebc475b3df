"""A run's folder: what was asked, what happened row by row, on what machine, and whether it is done.

    spec.json, metrics.jsonl, DONE: see fits.readers.run_folder, which reads them; a row is flushed as it is written
    env.json       versions, hardware, git commit
    completions/   judged completions of evaluations
    checkpoints/   what a killed run resumes from; COMPLETE in each lists its files with their SHA-256

Law. A kill at any moment loses at most the row being written: readers drop a torn last line, and a
resumed run drops the rows after its checkpoint and makes them anew, equal but for timings. Nothing is believed
for being there: a checkpoint is resumed from if every file, and the log so far, is what COMPLETE says, spec.json if its
content has the run id it bears.
Fails first if two processes write one folder; `lock` makes the second one leave.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from empirical.errors import StudyError
from empirical.studies import RunSpec
from fits.errors import InputError
from fits.files import file_bytes, write_text
from fits.readers.jsonl import parse_json, read_json
from fits.readers.run_folder import (
    DONE,
    METRICS,
    SPEC,
    Row,
    RunLog,
    read_run_log,
    read_spec,
    sealed,
)

__all__ = [
    "BUSY",
    "CHECKPOINTS",
    "COMPLETIONS",
    "RESUMABLE",
    "TIMINGS",
    "WEIGHTS",
    "Row",
    "RunFolder",
    "signal_tree",
]

RESUMABLE: Final = 75  # exit status of a run that stopped before its end and can go on: EX_TEMPFAIL
BUSY: Final = 73  # exit status where another process holds the run's folder
WEIGHTS: Final = "weights"
CHECKPOINTS: Final = "checkpoints"
COMPLETIONS: Final = "completions"
# Columns that differ between two runs that are otherwise equal bit for bit.
TIMINGS: Final = ("seconds", "gpu_hours", "step_seconds", "base_seconds", "noise_seconds")
_COMPLETE: Final = "COMPLETE"


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def metrics(self) -> Path:
        """The log of rows."""
        return self.path / METRICS

    def log(self) -> RunLog:
        """What the folder holds, rows written whole. Raises StudyError naming what is damaged."""
        try:
            return read_run_log(self.path)
        except InputError as error:
            raise StudyError(str(error)) from None
        except OSError as error:
            raise StudyError(f"{error.filename}: cannot be read ({error.strerror})") from None

    @property
    def done(self) -> bool:
        """Whether the run finished: DONE is there, and a row for every evaluation it asks for."""
        try:
            return self.refuse_damaged().done
        except StudyError:
            return False

    def refuse_damaged(self) -> RunLog:
        """What the folder holds. Raises StudyError, naming the file, where that is what no run of ours leaves."""
        self.spec()
        log = self.log()
        try:
            if log.done:
                self._refuse_altered()
        except InputError as error:
            raise StudyError(str(error)) from None
        return log

    def create(self, spec: RunSpec, *, study: str) -> None:
        """Write spec.json, unless it is there.

        Raises StudyError if the folder holds another run.
        """
        self.path.mkdir(parents=True, exist_ok=True)
        path = self.path / SPEC
        if path.exists():
            if self.spec().run_id != spec.run_id:
                raise StudyError(f"{path}: holds another run than {spec.run_id}")
            return
        content = sealed({"study": study, **spec.columns, "spec": spec.model_dump(mode="json")})
        write_text(path, json.dumps(content, indent=1) + "\n")

    def spec(self) -> RunSpec:
        """The run's specification.

        Raises StudyError if spec.json is absent or not one of ours.
        """
        path = self.path / SPEC
        try:
            content = read_spec(self.path)
            spec, named = RunSpec.model_validate(content["spec"]), content["run_id"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StudyError(f"{path}: not a run's specification ({error})") from None
        if named != spec.run_id:
            raise StudyError(
                f"{path}: says it is {named}, but what it specifies is {spec.run_id}: edited after the run began"
            )
        return spec

    def rows(self) -> list[Row]:
        """All rows written whole. Raises StudyError naming a line that is no row of ours."""
        return [row for _, row in self.log().rows]

    def evaluations(self) -> list[Row]:
        """The run table's rows, without their kind. Raises StudyError as `rows`."""
        found, _ = self.log().evaluations()
        return [{key: value for key, value in row.items() if key != "kind"} for _, row in found]

    def last_step(self) -> int:
        """Step of the last row written whole, 0 if there is none or it is damaged; reads the end of the log.

        However long that row is: it grows with the group size.
        """
        if not self.metrics.exists():
            return 0
        with self.metrics.open("rb") as file:
            size, window = file.seek(0, os.SEEK_END), 8192
            while True:
                file.seek(max(0, size - window))
                lines = file.read(window).split(b"\n")
                if len(lines) > 2 or window >= size:
                    break
                window *= 2
        try:
            return int(json.loads(lines[-2])["step"]) if len(lines) > 1 else 0
        except (ValueError, KeyError, TypeError, RecursionError):
            return 0

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
        """Drop the rows after `step` (None: all of them) and return those that stay.

        Raises StudyError where a row up to `step`, on which the checkpoint of that step rests, is missing or altered.
        """
        kept = [] if step is None else [row for row in self.rows() if row["step"] <= step]
        if step is not None:
            wanted = {("train", one) for one in range(1, step + 1)}
            wanted |= {("eval", one) for one in self.spec().evaluation.steps if one <= step}
            lost = sorted(wanted - {(row["kind"], row["step"]) for row in kept}, key=str)
            if lost:
                kind, one = lost[0]
                raise StudyError(
                    f"{self.metrics}: has a checkpoint of step {step} and no {kind} row of step {one}: damaged;"
                    " remove the folder to make the run anew"
                )
        text = _text(kept)
        if step is not None:
            # A checkpoint of an older release says nothing of rows.
            complete = self._checkpoint(step) / _COMPLETE
            said = read_json(complete).get(METRICS) if complete.exists() else None
            if said not in (None, _hash_of(text)):
                raise StudyError(
                    f"{self.metrics}: the rows up to step {step} are not what was written: damaged; remove the folder"
                    " to make the run anew"
                )
        write_text(self.metrics, text)
        return kept

    def _checkpoint(self, step: int) -> Path:
        return self.path / CHECKPOINTS / f"checkpoint-{step}"

    def _checkpoints(self) -> list[tuple[int, Path]]:
        """Step and folder of every checkpoint, whole or not, the newest first: by step, whatever the clock said."""
        return sorted(
            (
                (int(step), path)
                for path in (self.path / CHECKPOINTS).glob("checkpoint-*")
                if (step := path.name.rpartition("-")[2]).isdecimal() and len(step) < 19
            ),
            reverse=True,
        )

    def checkpoint(self, *, say: Callable[[str], None] = lambda _: None) -> tuple[int, Path] | None:
        """Step and folder of the newest checkpoint whose every file is as it was written.

        say: is told of each newer one that is not. Raises StudyError where one is another run's.
        """
        for step, path in self._checkpoints():
            problem = self._spoiled(path)
            if problem is None:
                return step, path
            say(f"{path}: {problem}: not resumed from")
        return None

    def resumable(self) -> bool:
        """Whether some checkpoint is usable."""
        try:
            return self.checkpoint() is not None
        except StudyError:
            return False

    def _spoiled(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, None where every file is what COMPLETE says."""
        try:
            content = parse_json(file_bytes(path / _COMPLETE).decode("utf-8"), source=_COMPLETE)
            files, owner = dict(content["files"]), content["run_id"]
        except FileNotFoundError:
            return "was not written whole"
        except (OSError, ValueError, KeyError, TypeError):
            return f"{_COMPLETE} is damaged"
        if owner != self.spec().run_id:
            raise StudyError(f"{path}: is a checkpoint of another run, {owner}")
        for name, digest in files.items():
            try:
                if _sha256(path / name) != digest:
                    return f"{name} is not what was written"
            except OSError:
                return f"{name} is missing"
        return None

    def mark_checkpoint(self, step: int) -> None:
        """Say that the checkpoint of `step` is written whole, and what is in it."""
        path = self._checkpoint(step)
        files = {
            str(file.relative_to(path)): _sha256(file)
            for file in sorted(path.rglob("*"))
            if file.is_file() and file.name != _COMPLETE
        }
        # Evaluations up to it are not made again: what they left belongs to it.
        for file in sorted((self.path / COMPLETIONS).glob("*")):
            files[f"../../{COMPLETIONS}/{file.name}"] = _sha256(file)
        log = _text([row for row in self.rows() if row["step"] <= step])
        content = {"run_id": self.spec().run_id, "files": files, METRICS: _hash_of(log)}
        write_text(path / _COMPLETE, json.dumps(content, indent=1) + "\n")

    def keep_checkpoints(self, *, up_to: int | None, newest: int) -> None:
        """Remove all checkpoints but the `newest` ones of steps up to `up_to` (None: no step)."""
        usable = [path for step, path in self._checkpoints() if up_to is not None and step <= up_to]
        for _, path in self._checkpoints():
            if path not in usable[:newest]:
                # First what says that it is whole, so that a kill halfway leaves nothing that seems so.
                (path / _COMPLETE).unlink(missing_ok=True)
                shutil.rmtree(path, ignore_errors=True)

    def finish(self, result: Row) -> None:
        """Write DONE. Raises StudyError where an evaluation has no row."""
        if missing := self.log().missing():
            raise StudyError(f"{self.metrics}: lacks the evaluation of step {missing[0]}: not done")
        kept = sorted((self.path / COMPLETIONS).glob("*"))
        files = {file.name: _sha256(file) for file in kept}
        content = sealed({**result, METRICS: _sha256(self.metrics), COMPLETIONS: files})
        write_text(self.path / DONE, json.dumps(content, indent=1) + "\n")

    def _refuse_altered(self) -> None:
        """Raise StudyError where completions of a run that is done are not what DONE says."""
        for name, digest in read_json(self.path / DONE).get(COMPLETIONS, {}).items():
            file = self.path / COMPLETIONS / name
            if not file.is_file() or _sha256(file) != digest:
                raise StudyError(
                    f"{file}: is not what was written: damaged; remove the folder to make the run anew"
                )

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
                if holder and machine == _machine():
                    signal_tree(int(holder), signal.SIGCONT)
                yield False
                return
            file.truncate(0)
            # Under torchrun the run is all of its children, of which the caller is one.
            root = os.getppid() if "RANK" in os.environ else os.getpid()
            file.write(f"{root} {_machine()}")
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


def _machine() -> str:
    """A name for this machine that says nothing of it: folders are shared and published."""
    return hashlib.blake2b(socket.gethostname().encode(), digest_size=8).hexdigest()


def _text(rows: Sequence[Row]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _hash_of(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


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
