"""A simulated sweep on Ray with one worker and with two, beside threads of one process, on one machine.

The sweep is sized, by timing a part of it, to keep one worker busy for more than a minute. Workers
are warm: Ray's start and the workers' imports are a row of their own.
"""

from __future__ import annotations

import math
import time
from importlib.util import find_spec
from typing import Any

import pytest

from empirical.cluster import connected
from tests.benchmarks.conftest import Record
from verigap.simulation import Simulated, Spec, run_spec

RUNS, SECONDS = 16, 80.0
TABLE = "Beyond one process: Ray"


def sweep(steps: int, *, runs: int = RUNS) -> Spec:
    """`runs` runs of 2,000 prompts at 8 arms a prompt, group size 16."""
    return Spec.model_validate(
        {
            "population": {"prompts": 2000, "right_modes": 4, "wrong_modes": 4},
            "training": {"steps": steps, "group_size": 16},
            "arms": [{"name": "clean"}, {"name": "fpr0.3", "fpr": 0.3}],
            "seeds": list(range(runs // 2)),
            "evaluate_every": 50,
        }
    )


def steps_for(seconds: float) -> int:
    """Steps that make the sweep last so long on one thread."""
    part = run_spec(sweep(100, runs=2), workers=1)
    return math.ceil(100 * seconds / (part.seconds * RUNS / 2) / 50) * 50


def rows() -> list[dict[str, Any]]:
    """What was timed, workers, seconds of wall-clock, and how many times faster than one Ray worker.

    Raises AssertionError if two backends disagree in a byte of the run table.
    """
    run_spec(sweep(10, runs=2))  # compiled, and both cores awake
    spec = sweep(steps_for(SECONDS))
    began = time.perf_counter()
    with connected("local", workers=2):
        run_spec(sweep(10), on_ray=True)  # imports and compiled code, on both workers
        start = time.perf_counter() - began
        by: dict[str, tuple[int, Simulated]] = {
            "ray, one worker": (1, run_spec(spec, on_ray=True, workers=1)),
            "ray, two workers": (2, run_spec(spec, on_ray=True, workers=2)),
        }
    by["threads of one process (--backend local)"] = (2, run_spec(spec, workers=2))
    one = by["ray, one worker"][1]
    for what, (_, simulated) in by.items():
        assert simulated.table.to_csv() == one.table.to_csv(), what
    start_row = {"what": "ray's start, with warm workers", "workers": 2, "seconds": start}
    return [start_row | {"speedup": None}] + [
        {
            "what": f"{RUNS} runs, {one.rollouts / RUNS:,.0f} rollouts each: {what}",
            "workers": workers,
            "seconds": simulated.seconds,
            "speedup": one.seconds / simulated.seconds,
        }
        for what, (workers, simulated) in by.items()
    ]


@pytest.mark.skipif(find_spec("ray") is None, reason="needs the cluster extra")
def test_two_workers_are_nearly_twice_one(record: Record) -> None:
    found: list[dict[str, Any]] = record.once(rows)
    for row in found:
        record.row(TABLE, row)
    _, one, two, _ = found
    record.need("Ray, one worker: seconds of the sweep", one["seconds"], at_least=60.0)
    record.need("Ray, two workers: times one", two["speedup"], at_least=1.7)
