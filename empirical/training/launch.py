"""Carrying out a study: one process per run, a few at a time, here or on Ray, resumable at any moment.

Complete runs are skipped (their folder says DONE, or a committed table holds their last evaluation),
interrupted ones resume from their last checkpoint. SIGTERM, SIGUSR1 or Ctrl-C to the launcher, or the
end of `max_minutes`, ask every run to checkpoint and leave. While a file called PAUSE lies in the output
folder, running processes are stopped (SIGSTOP) and none is started; removing it lets them go on.
On Ray a run is a task that launches it on its node: requests to stop reach it as a SIGINT, the rest
through the output folder, which all nodes share.
Needs torch only in the processes it starts.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Final, Literal

from empirical import cluster, extras
from empirical.errors import StudyError
from empirical.machine import gpus
from empirical.studies import ModelSpec, PretrainedSpec, Running, RunSpec, Study, TinyQwen2Spec
from empirical.training.folder import BUSY, RESUMABLE, RunFolder, signal_tree

__all__ = [
    "Launch",
    "Outcome",
    "RunState",
    "initial_weights",
    "launch",
    "launch_on_ray",
    "refuse_changed",
    "refuse_unless_able",
    "selected",
    "states",
]

POLL_SECONDS: Final = 0.5
GRACE_SECONDS: Final = 120.0  # for a stopping run to finish its step and write its checkpoint


@dataclass(frozen=True)
class Outcome:
    """What became of a study's runs, by run id.

    done: complete, now or before. interrupted: resumable. busy: another launcher's process is at it.
    failed: run id to the reason.
    """

    done: tuple[str, ...] = ()
    interrupted: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()
    failed: dict[str, str] = field(default_factory=dict[str, str])


def selected(
    study: Study, *, only: Sequence[str] = (), shard: tuple[int, int] | None = None
) -> list[RunSpec]:
    """The runs asked for, in the study's order.

    only: run ids; all when empty. shard: (i, n) takes the i-th of n equal parts, counted from 1.
    Raises StudyError if an id is unknown or the shard is not one.
    """
    runs = study.runs()
    if only:
        known = {run.run_id: run for run in runs}
        for run_id in only:
            if run_id not in known:
                raise StudyError(f"--only {run_id}: no such run in study {study.name}")
        runs = [known[run_id] for run_id in dict.fromkeys(only)]
    if shard is not None:
        part, parts = shard
        if not 1 <= part <= parts:
            raise StudyError(f"--shard {part}/{parts}: must be i/n with 1 <= i <= n")
        runs = runs[part - 1 :: parts]
    return runs


@dataclass(frozen=True)
class RunState:
    """Where a run of a study stands: complete, running, interrupted (resumable) or waiting."""

    run_id: str
    arm: str
    model: str
    group_size: int
    seed: int
    state: Literal["complete", "running", "interrupted", "waiting"]
    step: int
    steps: int


def states(
    runs: Sequence[RunSpec], out: Path, *, committed: frozenset[str] = frozenset()
) -> list[RunState]:
    """Where each of `runs` stands in the folders below `out`; nothing is touched."""
    found: list[RunState] = []
    for run in runs:
        folder = RunFolder(out / run.run_id)
        complete = run.run_id in committed or folder.done
        step = run.training.steps if complete else folder.last_step()
        found.append(
            RunState(
                run.run_id,
                run.arm,
                run.model.name,
                run.group_size,
                run.seed,
                "complete"
                if complete
                else "running"
                if folder.held()
                else "interrupted"
                if step
                else "waiting",
                step,
                run.training.steps,
            )
        )
    return found


def refuse_unless_able(runs: Sequence[RunSpec], running: Running) -> None:
    """Raise StudyError if this machine lacks what a run asks for: vLLM, peft, GPUs, a reporter."""
    found = gpus()
    for run in runs:
        if run.training.vllm is not None:
            extras.require("vllm", extra=None)
            if not found:
                raise StudyError("training.vllm: vLLM needs a GPU, and none is here; leave it out")
        if isinstance(run.model, PretrainedSpec):
            if run.model.lora is not None:
                extras.require("peft")
            if run.model.dtype == "bfloat16" and not found:
                raise StudyError(
                    f"model {run.model.name}: bfloat16 needs a GPU, and none is here;"
                    " dtype: float32 works on a CPU"
                )
            if run.model.gguf_file is not None:
                extras.require("gguf", extra=None)
    if running.gpus_per_run > max(1, len(found)):
        raise StudyError(
            f"running.gpus_per_run: asks for {running.gpus_per_run} GPUs, {len(found)} are here"
        )
    for reporter in running.report_to:
        extras.require(reporter, extra=None)


@dataclass
class Launch:
    """The state of a launch while it goes on: what `report` is given."""

    total_steps: int
    steps: dict[str, int] = field(default_factory=dict[str, int])
    running: dict[str, subprocess.Popen[bytes]] = field(
        default_factory=dict[str, "subprocess.Popen[bytes]"]
    )
    done: list[str] = field(default_factory=list[str])
    interrupted: list[str] = field(default_factory=list[str])
    busy: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])
    stopping: bool = False
    doing: str | None = None  # what goes on before a run, where that takes time

    def add(self, outcome: Outcome) -> None:
        """Note what became of runs launched elsewhere."""
        self.done += outcome.done
        self.interrupted += outcome.interrupted
        self.busy += outcome.busy
        self.failed |= outcome.failed

    def outcome(self) -> Outcome:
        """What became of the runs."""
        return Outcome(
            tuple(self.done), tuple(self.interrupted), tuple(self.busy), dict(self.failed)
        )


def launch(
    study: Study,
    runs: Sequence[RunSpec],
    out: Path,
    *,
    committed: frozenset[str] = frozenset(),
    models: Path | None = None,
    processes: int | None = None,
    max_minutes: float | None = None,
    report: Callable[[Launch], None] = lambda _: None,
) -> Outcome:
    """Carry out `runs` in folders below `out` and return what became of them.

    committed: ids of runs that a committed table already holds. models: folder of committed initial
    weights, used where it has them. processes: at a time; the study's own number if None.
    Raises StudyError if the train extra is absent, or `out` cannot be a folder.
    """
    extras.require(*extras.TRAIN)
    refuse_unless_able(runs, study.running)
    state, waiting = _prepared(study, runs, out, committed)
    due = _due(state, max_minutes)
    weights: dict[str, Path | None] = {}  # by model, made when its first run starts
    paused = False
    with _stop_signals(state), _none_left_behind(state):
        while waiting or state.running:
            if due():
                state.stopping = True
            before, paused = paused, (out / "PAUSE").exists() and not state.stopping
            if paused or before:
                _pause(state.running.values(), paused)
            if state.stopping:
                state.interrupted += [run.run_id for run in waiting]
                waiting.clear()
                _stop(state)
            while (
                waiting
                and not paused
                and len(state.running) < (processes or study.running.processes)
            ):
                run = waiting.pop(0)
                if run.model.name not in weights:
                    if _has_to_be_made(study, run.model, out, models):
                        state.doing = f"warm start of {run.model.name}"
                        report(state)
                    weights[run.model.name] = initial_weights(
                        study, run.model, out, models, stop=due
                    )
                    state.doing = None
                if due():
                    waiting.insert(0, run)
                    break
                if RunFolder(out / run.run_id).done:  # by another launcher, since we looked
                    state.done.append(run.run_id)
                    state.steps[run.run_id] = run.training.steps
                    continue
                state.running[run.run_id] = _start(study, run, out, weights[run.model.name])
            _collect(state, out)
            report(state)
            if waiting or state.running:
                time.sleep(POLL_SECONDS)
    return state.outcome()


@contextlib.contextmanager
def _none_left_behind(state: Launch) -> Generator[None]:
    """Stop the runs where the launcher itself fails: a full disk, a bug, a report that raises."""
    try:
        yield
    except BaseException:
        _pause(state.running.values(), False)
        _stop(state)
        raise


def refuse_changed(runs: Sequence[RunSpec], out: Path) -> None:
    """Raise StudyError where `out` holds a run of the same cell that was asked for differently.

    Two runs of one arm and seed that differ in more than the arm says would end in one table.
    """
    wanted = {_cell(run): run for run in runs}
    for path in sorted(out.glob("*/spec.json")):
        try:
            there = RunFolder(path.parent).spec()
        except StudyError:
            continue  # not one of ours to judge
        run = wanted.get(_cell(there))
        if run is None or run.run_id == there.run_id:
            continue
        old, new = _flat(there.model_dump(mode="json")), _flat(run.model_dump(mode="json"))
        changed = sorted(name for name in old | new if old.get(name) != new.get(name))
        name = changed[0]
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise StudyError(
            f"{out}: holds {there.run_id}, made with {name} = {old.get(name)}, which is {new.get(name)}"
            f" now{more}: name another folder with --out"
        )


def _cell(run: RunSpec) -> tuple[str, str, int, int]:
    return run.arm, run.model.name, run.group_size, run.seed


def _flat(content: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for name, value in content.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = value
    return flat


def _prepared(
    study: Study, runs: Sequence[RunSpec], out: Path, committed: frozenset[str]
) -> tuple[Launch, list[RunSpec]]:
    """The state at the start, with complete runs done, and the others, their folders made."""
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StudyError(f"{out}: cannot be made a folder ({error.strerror})") from None
    refuse_changed(runs, out)
    state = Launch(total_steps=sum(run.training.steps for run in runs))
    waiting: list[RunSpec] = []
    for run in runs:
        folder = RunFolder(out / run.run_id)
        if run.run_id in committed or folder.done:
            state.done.append(run.run_id)
            state.steps[run.run_id] = run.training.steps
            continue
        try:
            folder.create(run, study=study.name)
            if folder.path.is_dir():
                folder.refuse_damaged()
        except StudyError as error:  # one damaged folder fails alone
            state.failed[run.run_id] = str(error)
            continue
        waiting.append(run)
    return state, waiting


def _due(state: Launch, max_minutes: float | None) -> Callable[[], bool]:
    """Whether it is time to stop."""
    deadline = None if max_minutes is None else time.monotonic() + 60.0 * max_minutes
    return lambda: state.stopping or (deadline is not None and time.monotonic() > deadline)


@dataclass(frozen=True)
class _Job:
    """A run as it travels to a node; paths are absolute."""

    study: Study
    run: RunSpec
    out: Path
    models: Path | None
    directory: Path  # where the launcher was started: relative paths in a study start there

    def enter(self) -> None:
        """Go where the launcher was started. Raises StudyError where the folders are not shared."""
        if self.directory.is_dir():
            os.chdir(self.directory)
        if not (self.out / self.run.run_id).is_dir():
            raise StudyError(
                f"{self.out}: is not there on node {socket.gethostname()}; --backend ray needs an"
                " output folder that all nodes share"
            )


def launch_on_ray(
    study: Study,
    runs: Sequence[RunSpec],
    out: Path,
    *,
    committed: frozenset[str] = frozenset(),
    models: Path | None = None,
    processes: int | None = None,
    max_minutes: float | None = None,
    report: Callable[[Launch], None] = lambda _: None,
) -> Outcome:
    """`launch`, with every run on a node of the Ray that `cluster.connected` holds.

    out: shared by all nodes. processes: at a time; as many as the cluster has room for if None, a run
    taking one CPU, and `running.gpus_per_run` GPUs where the study's hardware has any.
    A run whose worker or node is lost goes on from its last checkpoint, elsewhere if need be.
    Raises StudyError as `launch` does on a node, and as `cluster.completed`.
    """
    state, waiting = _prepared(study, runs, out, committed)
    due = _due(state, max_minutes)
    where = out.resolve(), models.resolve() if models else None, Path.cwd()
    jobs = [_Job(study, run, *where) for run in waiting]
    # One task per warm start, before the runs that would all make it at once.
    warm = {job.run.model.name: job for job in jobs if isinstance(job.run.model, TinyQwen2Spec)}

    def poll() -> None:
        for job in jobs:
            state.steps[job.run.run_id] = RunFolder(job.out / job.run.run_id).last_step()
        report(state)

    each = study.running.gpus_per_run
    if not study.hardware.gpus and each == 1:
        each = 0  # a study for CPUs
    ended: set[str] = set()
    with _stop_signals(state):
        for _ in cluster.completed(_weights_of, list(warm.values()), poll=poll, stop=due):
            pass
        for place, outcome in cluster.completed(
            _run_of, jobs, workers=processes, gpus=each, poll=poll, stop=due
        ):
            state.add(outcome)
            ended.add(jobs[place].run.run_id)
        poll()
    for job in jobs:
        if job.run.run_id not in ended:  # stopped before it began, or before it could say so
            folder = RunFolder(job.out / job.run.run_id)
            (state.done if folder.done else state.interrupted).append(job.run.run_id)
    return state.outcome()


def _weights_of(job: _Job) -> None:
    """Make the initial weights of a run's model, on a node."""
    job.enter()
    extras.require(*extras.TRAIN)
    state = Launch(total_steps=0)
    with _stop_signals(state):
        initial_weights(job.study, job.run.model, job.out, job.models, stop=lambda: state.stopping)


def _run_of(job: _Job) -> Outcome:
    """Launch a run, on a node."""
    job.enter()
    folder = RunFolder(job.out / job.run.run_id)
    state = Launch(total_steps=0)
    with _stop_signals(state):
        # The process of a lost worker may have outlived it; it holds the folder until it ends.
        while not folder.free() and not state.stopping:
            time.sleep(POLL_SECONDS)
    if state.stopping:
        return Outcome(interrupted=(job.run.run_id,))
    return launch(job.study, [job.run], job.out, models=job.models, processes=1)


def initial_weights(
    study: Study,
    model: ModelSpec,
    out: Path,
    models: Path | None,
    *,
    stop: Callable[[], bool] = lambda: False,
) -> Path | None:
    """Folder of a tiny model's warm-started weights, made now if nobody has; None for other models.

    Where `stop` comes true while they are made, the folder is not there yet.
    """
    if not isinstance(model, TinyQwen2Spec):
        return None
    name = model.folder_name(study.task)
    if models is not None and (models / name).exists():
        return models / name
    folder = out / "models" / name
    if not folder.exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        _python(
            "empirical.training.models",
            str(folder),
            model.model_dump_json(),
            study.model_dump_json(),
            stop=stop,
        )
    return folder


def _has_to_be_made(study: Study, model: ModelSpec, out: Path, models: Path | None) -> bool:
    if not isinstance(model, TinyQwen2Spec):
        return False
    name = model.folder_name(study.task)
    return not any((folder / name).exists() for folder in (models, out / "models") if folder)


def _environment() -> dict[str, str]:
    """The environment of a run: one thread, since two processes share two cores."""
    environment = dict(os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        environment.setdefault(name, "1")
    environment.setdefault("TOKENIZERS_PARALLELISM", "false")
    return environment


def _python(module: str, *arguments: str, stop: Callable[[], bool]) -> None:
    """Run a module to its end, or until `stop`."""
    with subprocess.Popen(
        [sys.executable, "-m", module, *arguments],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,  # Ctrl-C in the terminal is for the launcher, which asks `stop`
    ) as process:
        while True:
            try:
                _, errors = process.communicate(timeout=POLL_SECONDS)
            except subprocess.TimeoutExpired:
                if stop():
                    process.kill()
                continue
            if process.returncode and not stop():
                raise StudyError(f"{module} failed: {_last_line(errors)}")
            return


def _start(study: Study, run: RunSpec, out: Path, weights: Path | None) -> subprocess.Popen[bytes]:
    folder = out / run.run_id
    command = [sys.executable, "-m"]
    if study.running.gpus_per_run > 1:
        n = str(study.running.gpus_per_run)
        command += ["accelerate.commands.launch", "--num_processes", n, "-m"]
    command += ["empirical.training.run", str(folder)]
    command += ["--running", study.running.model_dump_json()]
    if weights is not None:
        command += ["--model", str(weights)]
    with (folder / "log.txt").open("ab") as log:
        # A group of its own, so that Ctrl-C in the terminal reaches the launcher alone.
        return subprocess.Popen(
            command,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _collect(state: Launch, out: Path) -> None:
    """Note how far runs have come and which have ended, and how."""
    for run_id, process in list(state.running.items()):
        folder = RunFolder(out / run_id)
        code = process.poll()
        state.steps[run_id] = folder.last_step()
        if code is None:
            continue
        del state.running[run_id]
        if code == 0 and folder.done:
            state.done.append(run_id)
        elif code == RESUMABLE or (
            # torchrun makes 1 of its workers' exit status, so the checkpoint is asked too.
            state.stopping and (code < 0 or folder.resumable())
        ):
            state.interrupted.append(run_id)
        elif code == BUSY:
            state.busy.append(run_id)
        else:
            log = (folder.path / "log.txt").read_text(encoding="utf-8", errors="replace")
            state.failed[run_id] = f"exit status {code}: {_last_line(log)}"


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no output"


def _pause(processes: Iterable[subprocess.Popen[bytes]], paused: bool) -> None:
    """Stop every run where it is, or let it go on: all of its processes, where it has several."""
    if not hasattr(signal, "SIGSTOP"):
        return
    for process in processes:
        if process.poll() is None:
            signal_tree(process.pid, signal.SIGSTOP if paused else signal.SIGCONT)


def _stop(state: Launch) -> None:
    """Ask every run to checkpoint and leave; after a grace period, insist."""
    for process in state.running.values():
        process.terminate()
    limit = time.monotonic() + GRACE_SECONDS
    for process in state.running.values():
        try:
            process.wait(max(0.1, limit - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextlib.contextmanager
def _stop_signals(state: Launch) -> Generator[None]:
    """Turn SIGTERM, SIGUSR1 and Ctrl-C into a request to stop, while the block runs."""

    def stop(signal_number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        state.stopping = True

    names = [name for name in ("SIGTERM", "SIGUSR1", "SIGINT") if hasattr(signal, name)]
    previous: dict[str, Any] = {name: signal.signal(getattr(signal, name), stop) for name in names}
    try:
        yield
    finally:
        for name, handler in previous.items():
            signal.signal(getattr(signal, name), handler)
