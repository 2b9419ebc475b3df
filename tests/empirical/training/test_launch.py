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
