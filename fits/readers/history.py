"""What every log of a training run comes down to: values by name and step, one of them the accuracy."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import pandas as pd

from fits.errors import InputError
from fits.table import COLUMNS, ORIGIN

__all__ = ["KNOWN", "History", "Raw", "check_step", "choose_metric", "evaluations", "frame_of"]

# Raw rows (cells of any type, each with its place) and what was repaired or recognised.
Raw = tuple[pd.DataFrame, tuple[str, ...]]
# (place in the file, step, values logged there), in the order they were logged.
History = Sequence[tuple[str, int, Mapping[str, Any]]]

KNOWN: Final = frozenset(column.name for column in COLUMNS)

# Names under which trainers log what the run table calls something else.
_COMPANIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "observed_reward": ("reward", "train/reward", "critic/rewards/mean", "train_reward"),
    "tokens": ("num_tokens", "train/num_tokens"),
}


def frame_of(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Raw rows as a frame of untyped cells; what a row does not say is None, never NaN."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    )


def check_step(step: Any, *, source: str) -> Any:
    """`step` as it was logged, if it can name an evaluation; the run table checks its value.

    Raises InputError where it is a list or an object.
    """
    if isinstance(step, list | dict):
        raise InputError(f"{source}, step: {str(step)[:40]} is no number")
    return step


def choose_metric(names: Sequence[str], *, metric: str | None, source: str) -> str:
    """Which of the logged `names` is the accuracy: `metric`, an evaluation's, or the only one.

    Raises InputError listing the candidates where there is none or more than one.
    """
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    if metric is not None:
        if metric in names:
            return metric
        raise InputError(
            f"{source}: nothing is logged as {metric!r}; there are: {listed or 'no values'}"
        )
    # Evaluation before training: a trainer's plain "accuracy" is that of the rollouts it learns from.
    for exact in ("eval_accuracy", "eval/accuracy", "accuracy"):
        if exact in names:
            return exact
    candidates = [
        name
        for name in names
        if re.search(r"(^|[/_@-])(acc|accuracy)($|[/_@-])", name) or name.startswith("val-core/")
    ]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InputError(
            f"{source}: several accuracies are logged, choose with --metric: {', '.join(candidates)}"
        )
    raise InputError(
        f"{source}: no accuracy is logged; name one with --metric: {listed or 'nothing is logged'}"
    )


def evaluations(
    history: History,
    *,
    run_id: str,
    metric: str | None,
    source: str,
    fixed: Mapping[str, Any] | None = None,
) -> Raw:
    """The rows of a run table in a log: the steps at which the accuracy was logged.

    fixed: columns that hold for the whole run. Reward and tokens logged at the same step come along,
    the reward only from training. A step logged twice (a resumed run) counts once, the later entry.
    Raises InputError where no, or no single, accuracy is logged.
    """
    names = sorted({name for _, _, values in history for name in values})
    chosen = choose_metric(names, metric=metric, source=source)
    notes = [] if chosen == "accuracy" else [f"accuracy is {chosen!r} of the log"]
    companions: dict[int, dict[str, Any]] = {}
    for _, step, values in history:
        for column, spellings in _COMPANIONS.items():
            for name in spellings:
                if _is_number(values.get(name)) and name != chosen:
                    companions.setdefault(step, {})[column] = values[name]
    rows: dict[int, dict[str, Any]] = {}
    again = 0
    for place, step, values in history:
        if values.get(chosen) is None:
            continue
        again += step in rows
        rows[step] = {
            "run_id": run_id,
            **(fixed or {}),
            "step": step,
            "accuracy": values[chosen],
            **companions.get(step, {}),
            ORIGIN: place,
        }
    if again:
        notes.append(f"{run_id}: {again} steps were logged twice: the later entry holds")
    return frame_of(list(rows.values())), tuple(notes)


def _is_number(value: object) -> bool:
    """Whether a logged value is a finite number; logs write "nan" and null where there was none."""
    try:
        return math.isfinite(float(value))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return False
