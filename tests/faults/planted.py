"""Take away one safeguard at a time, and see that a test notices.

Each entry is a line of the project, what stands there without the safeguard, and the tests that must fail. The
suite itself checks only that every line is still there (tests/faults/test_planted.py); `make faults` runs them.
"""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from typing import Final

from tests.builders import ROOT

__all__ = ["PLANTED", "Planted", "noticed_by"]


@dataclass(frozen=True)
class Planted:
    """A safeguard, the file and line that hold it, the line without it, and the tests that know it."""

    safeguard: str
    file: str
    old: str
    new: str
    tests: str


SECONDS: Final = 60  # of the CPU, that the tests of one safeguard may take
_LAUNCH: Final = "tests/empirical/training/test_launch.py"
_VERIFIERS: Final = "tests/empirical/test_verifiers.py"
_INPUTS: Final = "tests/faults/test_inputs.py"
_FOLDER: Final = "empirical/training/folder.py"
_RUN_FOLDER: Final = "fits/readers/run_folder.py"

PLANTED: Final = (
    Planted(
        "the flush of a row",
        _FOLDER,
        "            file.flush()\n            os.fsync(file.fileno())",
        "            os.fsync(file.fileno())",
        f"{_LAUNCH}::test_a_row_is_on_the_disk_before_training_goes_on",
    ),
    Planted(
        "the rename of an output",
        "fits/files.py",
        "            part.replace(path)",
        "            path.write_bytes(part.read_bytes()[:1])",
        "tests/fits/test_files.py",
    ),
    Planted(
        "the lock of a folder",
        _FOLDER,
        "fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)",
        "pass",
        _LAUNCH,
    ),
    Planted(
        "the second look at DONE",
        "empirical/training/launch.py",
        "if RunFolder(out / run.run_id).done:",
        "if False:",
        _LAUNCH,
    ),
    Planted(
        "the rows behind DONE",
        _RUN_FOLDER,
        "if self.says_done and (missing := self.missing()):",
        "if (missing := self.missing()) and False:",
        _LAUNCH,
    ),
    Planted(
        "the seal of a spec",
        _RUN_FOLDER,
        "if _SEAL in content and content[_SEAL] != _hash(content):",
        "if False:",
        "tests/fits/test_run_folder.py",
    ),
    Planted(
        "a row of another run",
        _RUN_FOLDER,
        "if name in spec and name in row and row[name] != spec[name]:",
        "if False:",
        "tests/fits/test_run_folder.py",
    ),
    Planted(
        "a row that was being written",
        _RUN_FOLDER,
        '*lines, rest = raw.split(b"\\n")',
        'lines, rest = raw.split(b"\\n"), b""',
        "tests/fits/test_run_folder.py",
    ),
    Planted(
        "the hash of a checkpoint's file",
        _FOLDER,
        "if _sha256(path / name) != digest:",
        "if not (path / name).exists():",
        _LAUNCH,
    ),
    Planted(
        "the hash of the rows a checkpoint rests on",
        _FOLDER,
        "if said not in (None, _hash_of(text)):",
        "if False:",
        _LAUNCH,
    ),
    Planted(
        "the run a checkpoint is of",
        _FOLDER,
        "if owner != self.spec().run_id:",
        "if False:",
        _LAUNCH,
    ),
    Planted(
        "the id of a spec",
        _FOLDER,
        "if named != spec.run_id:",
        "if False:",
        "tests/fits/test_run_folder.py",
    ),
    Planted(
        "workers stopped with their launcher",
        "empirical/training/launch.py",
        "        _stop(state)\n        raise",
        "        raise",
        _LAUNCH,
    ),
    Planted(
        "rotation by step",
        _FOLDER,
        "path not in usable[:newest]",
        "path not in usable[-newest:]",
        f"{_LAUNCH}::test_checkpoints_are_let_go_by_step_whatever_the_clock_said",
    ),
    Planted(
        "the cap on a number's exponent",
        "empirical/verifiers.py",
        'len(power.lstrip("+-0")) > 3 or abs(int(power)) > MOST_EXPONENT',
        "bool()",
        f"{_VERIFIERS}::test_no_answer_takes_long_or_raises",
    ),
    Planted(
        "words taken whole",
        "empirical/verifiers.py",
        "\\u00ff']++[.]?",
        "\\u00ff']+[.]?",
        f"{_VERIFIERS}::test_no_answer_takes_long_or_raises",
    ),
    Planted(
        "the cap on what math-verify parses",
        "empirical/verifiers.py",
        "if too_much(text) or too_much(gold)",
        "if False and too_much(gold)",
        f"{_VERIFIERS}::test_what_asks_for_too_much_is_not_parsed",
    ),
    Planted(
        "the budget of a batch",
        "empirical/math_worker.py",
        "min(self.seconds_each, self.left)",
        "self.seconds_each",
        f"{_VERIFIERS}::test_a_batch_has_a_budget_and_what_is_over_it_is_unscorable_and_said",
    ),
    Planted(
        "the budget of YAML's aliases",
        "fits/files.py",
        "        if size > MOST_NODES:",
        "        if size < 0:",
        f"{_INPUTS}::test_yaml_that_expands_or_is_of_no_plain_type_is_refused_before_it_is_built",
    ),
    Planted(
        "TensorBoard's checksums",
        "fits/readers/tensorboard.py",
        "if _masked(data[start : start + length]) != check:",
        "if False:",
        f"{_INPUTS}::test_every_flipped_bit_of_an_event_file_is_an_error_and_never_another_accuracy",
    ),
    Planted(
        "W&B's checksums",
        "fits/readers/wandb_offline.py",
        "if checksum and zlib",
        "if False and zlib",
        f"{_INPUTS}::test_a_flipped_bit_of_an_offline_run_is_an_error_or_changes_nothing",
    ),
    Planted(
        "the mark on a formula",
        "fits/files.py",
        'return f"\'{cell}"',
        "return cell",
        f"{_INPUTS}::test_a_table_for_spreadsheets_keeps_its_numbers",
    ),
)


def noticed_by(planted: Planted) -> str | None:
    """The first test that fails without the safeguard; None where all pass."""
    with tempfile.TemporaryDirectory() as folder:
        for name in ("theory", "fits", "empirical", "verigap", "tests"):
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(ROOT / name, f"{folder}/{name}", ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        path = f"{folder}/{planted.file}"
        with open(path, encoding="utf-8") as file:
            text = file.read()
        with open(path, "w", encoding="utf-8") as file:
            file.write(text.replace(planted.old, planted.new, 1))
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-x",
            "--no-header",
            "-p",
            "no:cacheprovider",
        ]
        done = subprocess.run(
            [*command, planted.tests],
            cwd=folder,
            env=os.environ | {"PYTHONPATH": folder, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
            # Of the CPU, so that a busy machine makes nothing hang.
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS)),
        )
    if done.returncode == -signal.SIGXCPU or done.returncode == -signal.SIGKILL:
        return f"hangs: not over after {SECONDS} s"
    failures = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
    if done.returncode == 0:
        return None
    if done.returncode in (4, 5):  # pytest's: no such test, none run
        raise ValueError(f"{planted.tests}: no such test")
    return failures[0].split("::")[-1].split(" - ")[0] if failures else f"exit {done.returncode}"
