"""The launcher and the lock of a run's folder, with stand-ins for the runs' processes."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from empirical import extras
from empirical.errors import StudyError
from empirical.studies import Study
from empirical.training import folder as runs
from empirical.training import launch
from empirical.training.folder import BUSY, CHECKPOINTS, RunFolder
from tests.builders import minimal

HOLD = """
import sys
import time
from pathlib import Path
from empirical.training.folder import RunFolder
with RunFolder(Path(sys.argv[1])).lock() as held:
    print(held, flush=True)
    sys.stdin.readline()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_paused_process_without_its_launcher_is_told_to_go_on(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for _ in range(2):  # the second time over the first one's lock file
        with subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "True\n"
            holder.send_signal(signal.SIGSTOP)
            assert os.WIFSTOPPED(os.waitpid(holder.pid, os.WUNTRACED)[1])
            try:
                with folder.lock() as held:
                    assert not held
                assert os.waitpid(holder.pid, os.WCONTINUED | os.WNOHANG)[0] == holder.pid
            finally:
                holder.send_signal(signal.SIGCONT)
                holder.communicate("\n")


FAMILY = """
import subprocess, sys
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
print(child.pid, flush=True)
child.wait()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="needs SIGSTOP")
def test_a_pause_stops_every_process_of_a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    """As under torchrun, whose workers have sessions of their own."""
    study = Study.model_validate(minimal())
    run = study.runs()[0]
    family: list[psutil.Process] = []

    def start(*_: object) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(
            [sys.executable, "-c", FAMILY], stdout=subprocess.PIPE, start_new_session=True
        )
        assert process.stdout is not None
        with process.stdout as told:
            family.extend(psutil.Process(pid) for pid in (process.pid, int(told.readline())))
        return process

    pause, seen = tmp_path / "PAUSE", list[bool]()

    def stopped(as_told: bool) -> bool:
        """Whether all are, or none is; a signal takes its moment."""
        limit = time.monotonic() + 10.0
        while time.monotonic() < limit:
            if {p.status() == psutil.STATUS_STOPPED for p in family} == {as_told}:
                return as_told
            time.sleep(0.01)
        raise AssertionError([p.status() for p in family])

    def report(state: launch.Launch) -> None:
        if state.stopping or state.doing:
            return
        seen.append(stopped(pause.exists()))
        if len(seen) == 1:
            pause.touch()
        elif pause.exists():
            pause.unlink()
        else:
            for process in family:
                process.kill()
            state.stopping = True

    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "initial_weights", lambda *_, **__: None)
    launch.launch(study, [run], tmp_path, report=report)
    assert seen == [False, True, False]


def test_a_holder_on_another_machine_is_not_signalled(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Its process id is some other process's here."""
    folder = RunFolder(tmp_path)
    signalled: list[int] = []
    monkeypatch.setattr(runs, "signal_tree", lambda pid, number: signalled.append(pid))
    with folder.lock() as held:
        assert held
        assert not folder.free()
        monkeypatch.setattr(socket, "gethostname", lambda: "another")
        assert not folder.free()
    assert signalled == [os.getpid()]
    assert folder.free()


def test_a_run_another_process_is_at_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def start(*_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", f"raise SystemExit({BUSY})"])

    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "initial_weights", lambda *_, **__: None)
    study = Study.model_validate(minimal())
    run = study.runs()[0]
    outcome = launch.launch(study, [run], tmp_path)
    assert outcome.busy == (run.run_id,)
    assert outcome.failed == {}


def test_a_stopped_run_with_a_checkpoint_is_resumable_whatever_its_exit_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """As under torchrun, which exits with 1 where a worker exits with anything else."""
    code = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))\n"
        "print('ready', flush=True)\n"
        "time.sleep(60)"
    )
    study = Study.model_validate(minimal())
    run = study.runs()[0]

    def start(*_: object) -> subprocess.Popen[bytes]:
        folder = RunFolder(tmp_path / run.run_id)
        (folder.path / CHECKPOINTS / "checkpoint-5").mkdir(parents=True)
        folder.mark_checkpoint(5)
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        with process.stdout as ready:
            ready.readline()
        return process

    def stop(state: launch.Launch) -> None:
        state.stopping = True

    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "initial_weights", lambda *_, **__: None)
    outcome = launch.launch(study, [run], tmp_path, report=stop)
    assert outcome.failed == {}
    assert outcome.interrupted == (run.run_id,)


@pytest.mark.skipif(os.name == "nt", reason="needs a shell")
def test_max_minutes_covers_the_warm_start(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    slow = tmp_path / "python"
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(sys, "executable", str(slow))
    study = Study.model_validate(minimal())
    two = study.runs()[:2]
    started = time.monotonic()
    outcome = launch.launch(study, two, tmp_path / "out", max_minutes=0.01)
    assert time.monotonic() - started < 30.0
    assert outcome.interrupted == tuple(run.run_id for run in two)


def made(out: Path, *, evaluations: list[int], steps: int = 10) -> RunFolder:
    """A run's folder as training leaves it, without DONE."""
    run = Study.model_validate(minimal()).runs()[0]
    folder = RunFolder(out / run.run_id)
    folder.create(run, study="s")
    for step in range(steps + 1):
        if step:
            folder.append({"kind": "train", "step": step, "seconds": 1.0})
        if step in evaluations:
            folder.append({"kind": "eval", "step": step, "accuracy": 0.5})
    return folder


def checkpointed(folder: RunFolder, step: int, text: str = "weights") -> Path:
    path = folder.path / CHECKPOINTS / f"checkpoint-{step}"
    path.mkdir(parents=True)
    (path / "model.bin").write_text(text)
    folder.mark_checkpoint(step)
    return path


def test_done_is_written_and_believed_only_with_every_evaluation(tmp_path: Path):
    folder = made(tmp_path, evaluations=[0])
    with pytest.raises(StudyError, match="step 10"):
        folder.finish({})
    (folder.path / "DONE").write_text("{}")
    assert not folder.done
    with pytest.raises(StudyError, match=r"says DONE.*step 10"):
        folder.refuse_damaged()
    folder.append({"kind": "eval", "step": 10, "accuracy": 0.5})
    assert folder.done
    folder.refuse_damaged()


@pytest.mark.parametrize("harm", ["altered", "removed", "unmarked", "cut", "emptied"])
def test_a_spoiled_checkpoint_is_said_and_the_older_one_used(harm: str, tmp_path: Path):
    folder = made(tmp_path, evaluations=[0])
    checkpointed(folder, 5)
    newest = checkpointed(folder, 10)
    assert folder.checkpoint() == (10, newest)
    if harm == "altered":
        (newest / "model.bin").write_text("Weights")
    elif harm == "removed":
        (newest / "model.bin").unlink()
    elif harm == "unmarked":
        (newest / "COMPLETE").unlink()
    else:
        marked = (newest / "COMPLETE").read_text()
        (newest / "COMPLETE").write_text("" if harm == "emptied" else marked[:-10])
    told: list[str] = []
    found = folder.checkpoint(say=told.append)
    assert found is not None
    assert found[0] == 5
    assert len(told) == 1
    assert "checkpoint-10" in told[0]


def test_a_checkpoint_of_another_run_is_refused_by_name(tmp_path: Path):
    folder = made(tmp_path, evaluations=[0])
    marked = checkpointed(folder, 5) / "COMPLETE"
    marked.write_text(marked.read_text().replace(folder.spec().run_id, "another"))
    with pytest.raises(StudyError, match=r"checkpoint-5.*another run, another"):
        folder.checkpoint()


def test_checkpoints_are_let_go_by_step_whatever_the_clock_said(tmp_path: Path):
    folder = made(tmp_path, evaluations=[0])
    for step in (2, 4, 6):
        os.utime(checkpointed(folder, step), (1e9 - step, 1e9 - step))  # set back ever further
    folder.keep_checkpoints(up_to=6, newest=2)
    assert sorted(p.name for p in (folder.path / CHECKPOINTS).iterdir()) == [
        "checkpoint-4",
        "checkpoint-6",
    ]
    folder.keep_checkpoints(up_to=4, newest=2)
    found = folder.checkpoint()
    assert found is not None
    assert found[0] == 4


def test_an_edited_spec_and_a_missing_row_are_refused_by_name(tmp_path: Path):
    folder = made(tmp_path, evaluations=[0, 10])
    spec = folder.path / "spec.json"
    whole = spec.read_text()
    spec.write_text(whole.replace('"learning_rate": 1e-05', '"learning_rate": 2e-05'))
    with pytest.raises(StudyError, match=r"spec\.json.*edited"):
        folder.spec()
    spec.write_text(whole)
    lines = folder.metrics.read_text().splitlines(keepends=True)
    folder.metrics.write_text("".join(line for line in lines if '"step": 3,' not in line))
    with pytest.raises(StudyError, match=r"metrics\.jsonl.*no train row of step 3"):
        folder.rewind(5)
    folder.metrics.write_text("".join([*lines[:2], "{damaged\n", *lines[2:]]))
    with pytest.raises(StudyError, match=r"metrics\.jsonl, line 3"):
        folder.rows()


def test_a_row_altered_before_a_checkpoint_is_refused_by_name(tmp_path: Path):
    folder = made(tmp_path, evaluations=[0, 5, 10])
    checkpointed(folder, 6)
    whole = folder.metrics.read_text()
    assert len(folder.rewind(6)) == 8
    folder.metrics.write_text(whole.replace('"accuracy": 0.5', '"accuracy": 0.4', 1))
    with pytest.raises(StudyError, match=r"metrics\.jsonl: the rows up to step 6 are not what"):
        folder.rewind(6)
    folder.metrics.write_text(
        whole.replace('"step": 10, "accuracy": 0.5', '"step": 10, "accuracy": 0.4')
    )
    assert len(folder.rewind(6)) == 8  # what comes after it is made anew


def test_the_last_step_is_found_however_long_its_row_is(tmp_path: Path):
    folder = RunFolder(tmp_path)
    for step in (1, 2):
        folder.append({"kind": "train", "step": step, "groups_by_right": [0.0] * 20_000})
        assert folder.last_step() == step


def test_the_lock_does_not_say_which_machine(tmp_path: Path):
    with RunFolder(tmp_path).lock() as held:
        assert held
        assert socket.gethostname() not in (tmp_path / ".lock").read_text()


def test_a_run_done_by_another_launcher_since_the_first_look_is_not_started(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    study = Study.model_validate(minimal())
    first, second = study.runs()[:2]
    started: list[str] = []

    def start(_study: Study, run: object, *_: object) -> subprocess.Popen[bytes]:
        started.append(run.run_id)  # pyright: ignore[reportAttributeAccessIssue]
        for one in (first, second):  # the other launcher is quicker
            folder = RunFolder(tmp_path / one.run_id)
            for step in one.evaluation.steps:
                folder.append({"kind": "eval", "step": step, "accuracy": 0.5})
            folder.finish({})
        return subprocess.Popen([sys.executable, "-c", ""])

    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "initial_weights", lambda *_, **__: None)
    outcome = launch.launch(study, [first, second], tmp_path, processes=1)
    assert started == [first.run_id]
    assert set(outcome.done) == {first.run_id, second.run_id}


def test_a_launcher_that_fails_leaves_no_run_behind(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    study = Study.model_validate(minimal())
    processes: list[subprocess.Popen[bytes]] = []

    def start(*_: object) -> subprocess.Popen[bytes]:
        processes.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]))
        return processes[-1]

    def fails(state: launch.Launch) -> None:
        if state.running:
            raise RuntimeError("a full disk")

    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "initial_weights", lambda *_, **__: None)
    with pytest.raises(RuntimeError, match="full disk"):
        launch.launch(study, study.runs()[:1], tmp_path, report=fails)
    assert [process.poll() for process in processes] == [-signal.SIGTERM]


def test_one_damaged_folder_fails_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    study = Study.model_validate(minimal())
    first, second = study.runs()[:2]
    folder = RunFolder(tmp_path / first.run_id)
    folder.create(first, study="s")
    folder.metrics.write_text("{damaged\n")
    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(
        launch, "_start", lambda *_: subprocess.Popen([sys.executable, "-c", f"exit({BUSY})"])
    )
    monkeypatch.setattr(launch, "initial_weights", lambda *_, **__: None)
    outcome = launch.launch(study, [first, second], tmp_path)
    assert set(outcome.failed) == {first.run_id}
    assert "metrics.jsonl, line 1" in outcome.failed[first.run_id]
    assert outcome.busy == (second.run_id,)


def test_a_row_is_on_the_disk_before_training_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """What the system is asked to keep is the whole row, not what is left in a buffer."""
    folder = RunFolder(tmp_path)
    kept: list[bytes] = []
    monkeypatch.setattr(os, "fsync", lambda _: kept.append(folder.metrics.read_bytes()))
    for step in (1, 2):
        folder.append({"kind": "train", "step": step})
    assert [text.count(b"\n") for text in kept] == [1, 2]
