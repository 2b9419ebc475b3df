"""Simulated studies carried out by `theory.bandit`: every arm with every seed, and the run table they give.

The same seed means the same prompts and the same random numbers in every arm, so the arms are matched.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import yaml
from numpy.typing import NDArray

from empirical.errors import StudyError
from empirical.noise import TriggeredNoise
from empirical.simulated_studies import Arm, SimulatedStudy
from fits.files import write_text
from theory import bandit
from theory.rng import Purpose, uniforms

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Simulated", "run_spec", "write_study"]

# The columns of one run, by name: arrays by row, or what holds for all rows.
Columns = dict[str, Any]
# One run: what all share of the spec, the arm's name, the arm, the seed.
Cell = tuple[SimulatedStudy, str, Arm, int]


@dataclass(frozen=True)
class Simulated:
    """A simulated study: its run table, and the runs, rollouts and seconds of wall-clock it took."""

    table: pd.DataFrame
    runs: int
    rollouts: int
    seconds: float


def run_spec(
    spec: SimulatedStudy,
    *,
    on_ray: bool = False,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Run every arm with every seed.

    on_ray: on the Ray that `empirical.cluster.connected` holds, else in threads of this process.
    workers: runs at a time; all cores, or all the cluster has room for, if None.
    report: called with (steps done, steps in all) as runs advance (on Ray: as they end), from any thread.
    Results depend on none of these, to the bit.
    Raises StudyError if a run diverges; StudyError as `empirical.cluster.completed`.
    """
    began = time.perf_counter()
    # What every cell shares, without the lists that grow with their number: a cell may travel.
    shared = spec.model_copy(update={"arms": {}, "seeds": [], "panels": []})
    cells = [(shared, name, arm, seed) for name, arm in spec.arms.items() for seed in spec.seeds]
    steps_of = {name: spec.training_of(arm).steps for name, arm in spec.arms.items()}
    steps = [steps_of[name] for _, name, _, _ in cells]
    whole, lock = sum(steps), threading.Lock()
    reached, advances = 0, [0] * len(cells)

    def advanced(cell: int, step: int) -> None:
        nonlocal reached
        with lock:  # runs call from threads of their own
            reached += step - advances[cell]
            advances[cell] = step
            if report is not None:
                report(reached, whole)

    if on_ray:
        from empirical.cluster import completed

        parts: dict[int, Columns] = {}
        for cell, part in completed(_cell, cells, workers=workers, short=True):
            parts[cell] = part
            advanced(cell, steps[cell])
    else:
        parts = dict(_in_threads(cells, workers or os.cpu_count() or 1, advanced))
    table = _table([parts[cell] for cell in range(len(cells))])
    if any(arm.series for arm in spec.arms.values()):
        series = {name: arm.series or name for name, arm in spec.arms.items()}
        table["series"] = table["arm"].map(series)
    rollouts = int(table.groupby("run_id", sort=False)["rollouts"].max().sum())
    return Simulated(table, len(cells), rollouts, time.perf_counter() - began)


def _table(parts: Sequence[Columns]) -> pd.DataFrame:
    """The rows of all runs, in their order: one table at once, since a million small ones take minutes."""
    import pandas as pd

    rows = [len(part["step"]) for part in parts]

    def column(name: str) -> NDArray[Any]:
        values = [part[name] for part in parts]
        if isinstance(values[0], np.ndarray):
            return np.concatenate(values)
        kind = object if isinstance(values[0], str) else None
        return np.repeat(np.array(values, dtype=kind), rows)

    return pd.DataFrame({name: column(name) for name in parts[0]})


def _cell(cell: Cell) -> Columns:
    """One run, on one thread: a task for Ray."""
    return _run(cell, 1, lambda _: None)


def _in_threads(
    cells: Sequence[Cell], workers: int, advanced: Callable[[int, int], None]
) -> Iterator[tuple[int, Columns]]:
    """(place, columns) of every cell, as they end."""
    # Runs share the cores out among themselves; a run alone takes them all.
    threads = 1 if len(cells) > 1 else None

    def one(cell: int) -> Columns:
        return _run(cells[cell], threads, lambda step: advanced(cell, step))

    # All may start at once: numba compiles under a lock of its own, so that the first compiles for all.
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        futures = {pool.submit(one, cell): cell for cell in range(len(cells))}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:  # a run that diverged ends the sweep: what has not begun never does
        pool.shutdown(cancel_futures=True)


def _run(cell: Cell, threads: int | None, report: Callable[[int], None]) -> Columns:
    spec, name, arm, seed = cell
    start = spec.population_of(arm).build(seed)
    training = dataclasses.replace(spec.training_of(arm).build(), rewards=arm.rewards())
    path = bandit.simulate(
        start,
        training,
        arm.structure(),
        seed=seed,
        evaluate_every=spec.evaluate_every,
        k=spec.pass_at,
        threads=threads,
        report=report,
    )
    lost = ~np.isfinite(path.accuracy)
    if lost.any():
        raise StudyError(
            f"arms: {name}: seed {seed}: training diverged by step {path.step[lost.argmax()]} (an accuracy"
            " that is no number): a smaller learning_rate or beta may hold it"
        )
    accuracy, triggered = path.accuracy, isinstance(arm.noise, TriggeredNoise)
    if spec.n_eval is not None:
        # Arms share their evaluation samples, as matched runs do, so that pairing cancels them.
        index = np.arange(spec.n_eval)
        accuracy = np.array(
            [
                (uniforms(seed, Purpose.EVALUATION, step=step, prompt=0, index=index) < rate).mean()
                for step, rate in zip(path.step, path.accuracy, strict=True)
            ]
        )
    columns: Columns = {
        "run_id": f"{name}-seed{seed}",
        "arm": name,
        "model": "bandit",
        # Where errors depend on the arm, the injected rates are those the initial policy meets.
        "fpr": float(path.marginal_fpr[0]) if triggered else arm.fpr,
        "fnr": float(path.marginal_fnr[0]) if triggered else arm.fnr,
        "noise": arm.noise.kind,
        "seed": seed,
        "group_size": training.group_size,
        "prompts_per_step": training.prompts_per_step or len(start.logits),
        **spec.training_of(arm).settings(),
        "step": path.step,
        "rollouts": path.rollouts,
        "accuracy": accuracy,
    }
    if spec.n_eval is not None:
        columns["n_eval"] = spec.n_eval
    columns |= {
        "observed_reward": path.observed_reward,
        f"pass_at_{path.k}": path.pass_at_k,
        "entropy": path.entropy,
        "zero_advantage_fraction": path.zero_advantage_fraction,
        "snr": path.snr,
        "marginal_fpr": path.marginal_fpr,
        "marginal_fnr": path.marginal_fnr,
    }
    return columns


def write_study(spec: SimulatedStudy, simulated: Simulated, out: Path) -> Path:
    """Write runs.csv and the complete spec.yaml into `out`; returns the path of the table.

    Raises fits.InputError if `out` is a file or cannot be written.
    """
    from fits.table import write_runs

    table = out / "runs.csv"
    write_runs(simulated.table, table)
    write_text(out / "spec.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
    return table
