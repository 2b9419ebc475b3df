"""Beyond one process: sweeps and fits on Ray with two workers beside one, a worker killed, a million cells.

The sweep is sized, by timing a part of it, to keep one worker busy for a minute. Workers are warm:
Ray's start and the workers' imports are a row of their own.
"""

from __future__ import annotations

import math
import threading
import time
from functools import partial
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest

from empirical.cluster import TASKS_PER_CORE, completed, connected
from empirical.simulate import Simulated, run_spec
from empirical.simulated_studies import SimulatedStudy
from fits import fit_groups
from tests.benchmarks.conftest import Record, on_one_thread, peak_memory
from tests.benchmarks.workloads import SWEEP_RUNS as RUNS
from tests.benchmarks.workloads import sweep
from tests.builders import kill_one_worker, matched_runs
from theory.phase import phase_diagram
from theory.training_chain import evolve, training_chain

LEAST, SECONDS = 60.0, 66.0  # s of the sweep on one worker: needed, aimed at
PROBED = 4000  # steps of four runs that size it: 2.5 s
CURVES, TASKS, STEPS = 60, 2000, 300
ROWS = STEPS // 50 + 1  # of a run's table
TABLE = "Beyond one process: Ray on this machine"
CELLS, CORES = 1_000_000, 1000

pytestmark = pytest.mark.skipif(find_spec("ray") is None, reason="needs the cluster extra")


def steps_for(seconds: float) -> int:
    """Steps that make the sweep last so long on one of Ray's workers, which are warm."""
    part = run_spec(sweep(PROBED, runs=4), on_ray=True, workers=1)
    return math.ceil(PROBED * seconds / (part.seconds * RUNS / 4) / 50) * 50


def with_one_killed(spec: SimulatedStudy) -> tuple[Simulated, int]:
    """The sweep on two workers, one of which is killed in the middle of a run; how many were."""
    killed: list[int] = []
    over = threading.Event()
    killer = threading.Thread(target=kill_one_worker, args=(killed, over))
    killer.start()
    try:
        return run_spec(spec, on_ray=True, workers=2), len(killed)
    finally:
        over.set()
        killer.join()


def test_two_workers_are_nearly_twice_one(record: Record) -> None:
    tables: list[pd.DataFrame] = []

    def on(workers: int) -> None:
        tables.append(run_spec(spec, on_ray=True, workers=workers).table)

    began = time.perf_counter()
    with connected("local", workers=2):
        run_spec(sweep(10), on_ray=True)  # imports and compiled code, on both workers
        start = time.perf_counter() - began
        spec = sweep(steps_for(SECONDS))
        took = record.compare(partial(on, 2), {"one": partial(on, 1)}, warm=True)
        short = sweep(spec.training.steps // 4)
        whole = run_spec(short, on_ray=True, workers=2)
        wounded, killed = with_one_killed(short)
    local = run_spec(spec)
    what = f"{RUNS} runs of {local.rollouts / RUNS / 1e6:,.0f} million rollouts"
    one = took.median("one")
    for work, how, workers, seconds, rounds in (
        (what, "ray, one worker", 1, one, len(took.seconds["one"])),
        (what, "ray, two workers", 2, took.median(), len(took.seconds["ours"])),
        (what, "threads of one process (`--backend local`)", 2, local.seconds, 1),
        ("a quarter of their steps", "ray, two workers", 2, whole.seconds, 1),
        ("a quarter of their steps", "ray, one of two killed in mid-run", 2, wounded.seconds, 1),
        ("nothing", "ray's start, with warm workers", 2, start, 1),
    ):
        record.row(
            TABLE,
            {
                "what": work,
                "by": how,
                "workers": workers,
                "s": seconds,
                "rounds": rounds,
                "times one worker": one / seconds if work == what else None,
            },
            note="The sweep on one worker and on two was timed in turn, on warm workers, so that no round was thrown away; what has"
            " one round was timed once, before them (the start) or after them. Fits were timed in turn after a round that is not kept."
            " Run tables, and the fits' estimates, are compared with the local ones byte by byte.",
        )
    text = local.table.to_csv()
    differ = sum(table.to_csv() != text for table in tables)
    differ += wounded.table.to_csv() != run_spec(short).table.to_csv()
    record.need("Ray, one worker: s of the sweep", one, at_least=LEAST)
    record.need("Ray, two workers: times one", took.ratio("one"), at_least=1.7)
    record.need("Ray: workers killed in mid-run", killed, at_least=1)
    record.need("Ray: run tables that differ from the local one", differ, at_most=0)


def test_fits_on_two_workers(record: Record) -> None:
    arms = [(f"arm{i}", 0.1, 0.0, 0.8, 1.0 + i / CURVES) for i in range(CURVES)]
    table = matched_runs(seeds=5, arms=arms)

    def on_ray(function, tasks):
        ended = dict(completed(function, tasks, short=True))
        return [ended[place] for place in range(len(tasks))]

    with connected("local", workers=2):
        fit_groups(table.head(1000), group="arm", each=on_ray)
        took = record.compare(
            lambda: fit_groups(table, group="arm", each=on_ray),
            {"local": lambda: fit_groups(table, group="arm")},
        )
        there = fit_groups(table, group="arm", each=on_ray)
    here = fit_groups(table, group="arm")
    curves = f"fits of {len(here)} curves, every law"
    for how, workers, key in (("one process", 1, "local"), ("ray, two workers", 2, "ours")):
        record.row(
            TABLE,
            {
                "what": curves,
                "by": how,
                "workers": workers,
                "s": took.median(key),
                "rounds": len(took.seconds[key]),
                "times one worker": took.ratio("local", key),
            },
        )
    differ = sum(
        a.fit.theta_P.tobytes() != b.fit.theta_P.tobytes() for a, b in zip(here, there, strict=True)
    )
    record.need("Ray: fits that differ from the local ones", differ, at_most=0)


def nothing(_: int) -> None:
    """A task that costs what a task costs."""


def tiny(cells: int) -> SimulatedStudy:
    """A sweep of cells that compute next to nothing, and whose tables are those of `sweep(STEPS)`."""
    return SimulatedStudy.model_validate(
        {
            "population": {"prompts": 2},
            "training": {"steps": ROWS - 1, "prompts_per_step": 1, "group_size": 2},
            "arms": {"clean": {}},
            "seeds": list(range(cells)),
            "evaluate_every": 1,
        }
    )


def test_a_million_cells(record: Record) -> None:
    """What 10^6 cells would take on 1,000 cores, from what a cell costs here."""
    run = sweep(STEPS, runs=2)
    chain = training_chain(np.linspace(0.0, 0.45, 64), 0.1, 8, learning_rate=0.1, points=481)
    side = np.linspace(0.0, 0.9, 32)
    curves = matched_runs(seeds=5)
    fitted = len(fit_groups(curves))
    with connected("local", workers=2):
        list(completed(nothing, range(10)))
        began = time.perf_counter()
        list(completed(nothing, range(TASKS)))
        task = (time.perf_counter() - began) / TASKS
        run_spec(tiny(10), on_ray=True)
        began = time.process_time()
        table = run_spec(tiny(TASKS), on_ray=True).table
        head = (time.process_time() - began) / TASKS
        peak = peak_memory(lambda: run_spec(tiny(TASKS), on_ray=True)) / 1e3 / TASKS
    took = record.compare(
        lambda: run_spec(run, workers=1),
        {
            "chain": on_one_thread(lambda: evolve(chain, 0.1, STEPS)),
            "phase": lambda: phase_diagram(side, side, 8),
            "fit": lambda: fit_groups(curves),
        },
    )
    handing = head + task * TASKS_PER_CORE * CORES / CELLS
    for what, key, cells in (
        (f"simulated run: 2,000 prompts x 8 arms, G = 16, {STEPS} steps", "ours", 2),
        (f"training chain: 481 points, G = 8, {STEPS} steps", "chain", 64),
        ("cell of the phase diagram", "phase", side.size**2),
        ("fit of a curve of 5 runs, every law", "fit", fitted),
    ):
        seconds = took.median(key) / cells
        simulated = key == "ours"
        record.row(
            f"A million cells on {CORES:,} cores",
            {
                "cell": what,
                "core-ms a cell": 1e3 * seconds,
                "10^6 cells: core-hours": seconds * CELLS / 3600,
                f"computing on {CORES:,} cores, s": seconds * CELLS / CORES,
                "the one process that asks, s": handing * CELLS if simulated else None,
                "run table, GB": table.memory_usage(deep=True).sum() / TASKS * CELLS / 1e9
                if simulated
                else None,
                "peak of the one process that asks, GB": peak * CELLS if simulated else None,
            },
            note="Derived, not run. A cell's cost is measured here on one thread, in turn; what follows was measured once. The process that asks works beside the cores: a sweep of"
            f" {TASKS:,} cells of hardly any computation took it {1e3 * head:.2f} ms of CPU a cell (results received, one table made of them), and"
            f" Ray takes {1e3 * task:.2f} ms for a task, of which {TASKS_PER_CORE} a core are made whatever the cells. So a million cells take the"
            " larger of the two times. Its peak is what Python and NumPy allocate in that sweep, table and received columns together,"
            " scaled; Ray's own store is not in it. What a network adds, and nodes of unequal speed, is not in it.",
        )
