"""How long a command takes from a cold start: a new process each time, compiled code already cached."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.benchmarks.conftest import Record

DRIFT = ("drift", "--pass-rate", "0.3", "--fpr", "0.1", "--fnr", "0.2", "--group-size", "8")


@pytest.mark.parametrize(("command", "most"), [(("--help",), 0.5), (DRIFT, 1.0)])
def test_a_command_from_cold(record: Record, command: tuple[str, ...], most: float) -> None:
    def run(*arguments: str) -> None:
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)

    took = record.compare(
        lambda: run("-m", "verigap", *command),
        {"numpy": lambda: run("-c", "import numpy")},
        rounds=11,
    )
    spoken = " ".join(("verigap", *command))
    record.row(
        "Commands from a cold start",
        {
            "command": f"`{spoken}`",
            "s": took.median(),
            "`import numpy` alone, s": took.median("numpy"),
        },
        note="Medians of 11 new processes.",
    )
    record.need(f"{spoken}: s", took.median(), at_most=most)
