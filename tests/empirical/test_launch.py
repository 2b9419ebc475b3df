"""The launcher and the lock of a run's folder, with stand-ins for the runs' processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from empirical import extras, launch
from empirical.runs import BUSY, RunFolder
from empirical.studies import Study
from tests.empirical.test_studies import minimal

HOLD = """
import sys
from pathlib import Path
from empirical.runs import RunFolder
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


def test_a_run_another_process_is_at_has_not_failed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    def start(*_: object) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", f"raise SystemExit({BUSY})"])

    monkeypatch.setattr(extras, "find_spec", lambda name: object())
    monkeypatch.setattr(launch, "_start", start)
    monkeypatch.setattr(launch, "_initial_weights", lambda *_: None)
    study = Study.model_validate(minimal())
    run = study.runs()[0]
    outcome = launch.launch(study, [run], tmp_path)
    assert outcome.busy == (run.run_id,)
    assert outcome.failed == {}
