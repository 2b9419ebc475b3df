"""`make bench`: a need that is missed is in the file, and in the exit code; what measured nothing leaves the file."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.builders import ROOT


def alone() -> dict[str, str]:
    """This environment as a shell would have it: benchmarks do not run below a worker of pytest-xdist."""
    return {name: value for name, value in os.environ.items() if "XDIST" not in name}


BENCHMARK = """
def test_one(record):
    took = record.compare(lambda: sum(range(10)), {"other": lambda: sum(range(100_000))})
    record.row("Sums", {"what": "short", "times": took.ratio("other"), "n": 12345}, note="Of integers.")
    record.need("times the other", took.ratio("other"), at_least=LIMIT)
    record.row("Sums", {"what": "after the need", "s": None})
"""


@pytest.mark.parametrize(("limit", "code"), [(1.0, 0), (1e9, 1)])
def test_every_row_is_written_and_a_missed_need_fails(
    tmp_path: Path, limit: float, code: int
) -> None:
    file = tmp_path / "test_sums.py"
    file.write_text(BENCHMARK.replace("LIMIT", str(limit)))
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.results", "-p", "tests.benchmarks.conftest", file],
        cwd=ROOT,
        env=alone(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout
    text = done.stdout[done.stdout.index("# Benchmarks") :]
    assert "## Sums\n\nOf integers.\n\n| what | times | n | s |\n|---|---:|---:|---:|\n" in text
    assert "| 12,345 |" in text
    assert "| after the need |  |  |  |" in text
    assert f"| {'yes' if code == 0 else '**no**'} |" in text
    assert ("failed:" in text) == (code == 1)


@pytest.mark.parametrize(
    ("test", "code"),
    [
        ("def test_one(record):\n    record.need('n', 1, at_least=2)\n    record.once(dict)\n", 1),
        ("import nowhere_at_all\n", 2),
        ("def test_one(record):\n    record.once(dict)\n    raise KeyboardInterrupt\n", 2),
        ("", 5),
    ],
    ids=["a need missed", "not collected", "interrupted", "no benchmark"],
)
def test_the_file_is_written_only_where_every_benchmark_ran(
    tmp_path: Path, test: str, code: int
) -> None:
    (tmp_path / "conftest.py").write_text("from tests.benchmarks.conftest import record\n")
    (tmp_path / "test_one.py").write_text(test)
    file = tmp_path / "RESULTS.md"
    file.write_text("measured before")
    there = f"results.FILE = pathlib.Path({str(file)!r})"  # whose folder holds the benchmarks
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import pathlib; from tests.benchmarks import results; {there}; raise SystemExit(results.main())",
        ],
        cwd=ROOT,
        env=alone(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == code, done.stdout + done.stderr
    kept = file.read_text() == "measured before"
    assert kept == (code != 1)
    assert done.stderr.count("RESULTS.md is left as it was") == kept
