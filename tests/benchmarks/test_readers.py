"""A million rows read as a checked run table, beside what pandas takes to read them and check nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from fits import read_runs
from tests.benchmarks.conftest import Record

ROWS, RUNS = 1_000_000, 1000
MOST_MIB = 1024.0
# Seconds and memory asked for on an idle core; the ratios hold on a busy one as well.
MOST_SECONDS = {"three columns": 3.0, "all columns": 8.0}
MOST_TIMES_PANDAS = {
    ("three columns", "csv"): 20.0,
    ("three columns", "jsonl"): 2.0,
    ("all columns", "csv"): 10.0,
    ("all columns", "jsonl"): 1.0,
}
# ru_maxrss would begin at the peak of the process that started this one: VmHWM is of its own memory alone.
PEAK = """
import sys
from pathlib import Path
from fits import read_runs
assert len(read_runs(Path(sys.argv[1])).frame) == int(sys.argv[2])
status = Path("/proc/self/status").read_text()
print(int(status.split("VmHWM:")[1].split()[0]) / 1024)
"""


def table(columns: str) -> pd.DataFrame:
    per_run = ROWS // RUNS
    step = np.tile(np.arange(per_run), RUNS)
    run = np.repeat(np.arange(RUNS), per_run)
    accuracy = np.random.default_rng(0).random(ROWS)
    frame = pd.DataFrame({"run_id": [f"run{k}" for k in run], "step": step, "accuracy": accuracy})
    if columns == "three columns":
        return frame
    clean = run % 2 == 0
    return frame.assign(
        arm=np.where(clean, "clean", "fp"),
        model="Qwen/Qwen2.5-1.5B",
        fpr=np.where(clean, 0.0, 0.1),
        fnr=0.0,
        noise="per_rollout",
        estimator="grpo",
        seed=run // 2,
        group_size=8,
        prompts_per_step=32,
        parameters=1.5e9,
        rollouts=step * 256.0,
        tokens=step * 1000.5,
        flops=step * 1e12,
        gpu_hours=step / 100.0,
        n_eval=1319,
        observed_reward=accuracy[::-1],
    )


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
@pytest.mark.parametrize("columns", ["three columns", "all columns"])
def test_a_million_rows(record: Record, tmp_path: Path, columns: str, suffix: str) -> None:
    path = tmp_path / f"runs.{suffix}"
    frame = table(columns)
    if suffix == "csv":
        frame.to_csv(path, index=False)
    else:
        frame.to_json(path, orient="records", lines=True)
    del frame

    def pandas() -> object:
        return pd.read_csv(path) if suffix == "csv" else pd.read_json(path, lines=True)

    took = record.compare(lambda: read_runs(path), {"pandas": pandas})
    peak = subprocess.run(
        [sys.executable, "-c", PEAK, str(path), str(ROWS)],
        check=True,
        capture_output=True,
        text=True,
    )
    mib = float(peak.stdout)
    times = took.median() / took.median("pandas")
    record.row(
        "A million rows as a run table",
        {
            "file": f"{columns}, {suffix}",
            "read, checked, s": took.median(),
            "pandas alone, s": took.median("pandas"),
            "times pandas": times,
            "peak, MiB": mib,
        },
        note="Medians of 5, in turn in one process; the peak is that of a process of its own.",
    )
    what = f"a million rows, {columns}, {suffix}"
    record.need(f"{what}: s", took.median(), at_most=MOST_SECONDS[columns])
    record.need(f"{what}: times pandas", times, at_most=MOST_TIMES_PANDAS[columns, suffix])
    record.need(f"{what}: peak, MiB", mib, at_most=MOST_MIB)
