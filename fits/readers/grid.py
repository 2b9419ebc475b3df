"""The seed paper's grid: one row per (fpr, fnr) cell, in the names its authors gave the columns.

What the table does not say follows from the setup (arXiv 2605.25252): one epoch of GSM8K is 233 steps of
32 prompts, 256 test problems, one seed, Qwen2.5 base, here called by the size in the run's name (none: 1.5B).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import pandas as pd

from fits.errors import InputError
from fits.readers.history import Ask, Raw

__all__ = ["is_grid", "read_grid"]

_COLUMNS: Final = {
    "run_id": "run_name",
    "fpr": "false_positive_rate",
    "fnr": "false_negative_rate",
    "group_size": "num_rollouts",
}
_STEPS, _PROMPTS, _SAMPLES = 233, 32, 256


def is_grid(names: Sequence[str]) -> bool:
    """Whether columns are those of the grid."""
    return {*_COLUMNS.values(), "final_validation_accuracy"} <= set(names)


def read_grid(frame: pd.DataFrame, *, source: str, ask: Ask) -> Raw:
    """The grid's cells as raw run-table rows, its own columns kept beside them.

    The accuracy is final_validation_accuracy where `ask` names no metric.
    """
    chosen = ask.metric or "final_validation_accuracy"
    if chosen not in frame.columns:
        raise InputError(f"{source}: no column {chosen!r} for --metric")
    model = [_size(str(name)) for name in frame["run_name"]]
    frame = frame.assign(
        **{column: frame[name] for column, name in _COLUMNS.items()},
        accuracy=frame[chosen],
        model=model,
        seed="0",
        prompts_per_step=str(_PROMPTS),
        step=str(_STEPS),
        n_eval=str(_SAMPLES),
    )
    if "final_train_accuracy" in frame.columns and "observed_reward" not in frame.columns:
        frame = frame.assign(observed_reward=frame["final_train_accuracy"])
    note = (
        f"accuracy is {chosen!r}; step {_STEPS}, prompts_per_step {_PROMPTS}, n_eval {_SAMPLES}, seed 0 from"
        " the paper's setup; model, its size, from the run's name (none: 1.5B)"
    )
    return Raw(frame, (note,), chosen)


def _size(run_name: str) -> str:
    match = re.search(r"(\d+(?:\.\d+)?)B", run_name)
    return f"{match.group(1)}B" if match else "1.5B"
