"""Histories whose metrics have steps of their own: each is read at the step of its own prefix.

Law. `eval/accuracy` is logged at `eval/global_step` or `eval/step` where there is one, else at the trainer's
step, else at the counter of logging calls, which is said. A row without that step is placed where the counter
evidently is the trainer's step (they agree wherever both stand, or nothing was trained yet); else it is left out,
and said.
Fails first where two metrics count different things under one name of a step.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

import numpy as np
import pandas as pd

from fits.errors import InputError
from fits.readers.history import (
    COMPANIONS,
    KNOWN,
    SETTINGS,
    Ask,
    Raw,
    choose_metric,
    evaluations,
    frame_of,
    is_logged,
    logged_cells,
    settings_of,
    step_of,
)
from fits.table import CONDITION, ORIGIN

__all__ = ["TRAINER_STEPS", "is_step_name", "joined", "read_rows"]

# Where trainers log their own step, for all metrics.
TRAINER_STEPS: Final = (
    "train/global_step",
    "trainer/global_step",
    "training/global_step",
    "train.global_step",
    "trainer.global_step",
    "global_step",
)
_META: Final = frozenset({"_runtime", "_timestamp", "_wandb", "timestamp", "id", "log_id"})
_STEP_NAME: Final = re.compile(r"(?:^|[/_ ])steps?$", re.IGNORECASE)


def is_step_name(name: str) -> bool:
    """Whether a name says that its values are steps: `Step`, `_step`, `eval/global_step`, `train_step`."""
    return bool(_STEP_NAME.search(name))


def _axes_of(name: str, calls: str) -> Iterator[str]:
    """Names of the step at which `name` may be logged, the likeliest first."""
    # W&B spells what was logged nested with points: eval.accuracy, train.global_step.
    for mark in reversed(list(re.finditer(r"[/.]", name))):
        for step in ("global_step", "step", "_step", "train_step"):
            yield f"{name[: mark.end()]}{step}"
    yield from TRAINER_STEPS
    yield calls


def read_rows(
    frame: pd.DataFrame,
    *,
    run_column: str | None,
    run_id: str,
    calls: str,
    counter: str,
    ask: Ask,
    source: str,
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Raw:
    """The evaluations in rows of a history, one run or several.

    frame: cells, with each row's place, in the order in which they were logged. run_column: names each row's
    run; None: all are `run_id`. calls: the column that counts logging calls; counter: how it is spoken of.
    config: settings of each run.
    Raises InputError where the accuracy, or where its steps are, is not clear.
    """
    names = [str(name) for name in frame.columns if name != ORIGIN]
    axes = {name for name in names if is_step_name(name)} | {calls}
    wanted = ask.columns.get("step")
    if wanted is not None and wanted not in names:
        raise InputError(
            f"{source}: --map step={wanted}: nothing is logged as {wanted!r}; steps are:"
            f" {', '.join(sorted(axes & set(names)))}"
        )
    values = sorted(
        name
        for name in names
        if name not in axes | _META | {run_column}
        and (name in (ask.accuracy, *ask.columns.values()) or logged_cells(frame[name]).any())
    )
    chosen = choose_metric(values, metric=ask.accuracy, source=source)
    aliases = {spelling for spellings in SETTINGS.values() for spelling in spellings}
    settings = [name for name in values if name in aliases or name in CONDITION]
    along = {spelling for spellings in COMPANIONS.values() for spelling in spellings}
    along |= set(ask.columns.values()) | KNOWN
    logged = [
        name
        for name in values
        if name == chosen or (name in along and name not in settings) or name.endswith("/loss")
    ]
    kept = [*dict.fromkeys([*logged, *settings, *sorted(axes & set(names)), ORIGIN])]
    runs = frame[run_column].astype(str) if run_column else pd.Series([run_id] * len(frame))
    parts: list[Raw] = []
    for run, rows in frame[kept].groupby(runs.to_numpy(), sort=False):
        own: dict[str, Any] = dict((config or {}).get(str(run), {}))
        for name in settings:
            cells = rows[name][logged_cells(rows[name])]
            if cells.nunique() > 1:
                first, other = cells.drop_duplicates().tolist()[:2]
                raise InputError(
                    f"{source}: {name} of run {run!r} is {first} and {other}: several runs under one"
                    " name? --map run_id=COLUMN names the column that tells them apart"
                )
            if len(cells):
                own[name] = cells.iloc[0]
        parts.append(
            _one(
                rows,
                logged,
                chosen,
                wanted,
                run_id=str(run),
                calls=calls,
                counter=counter,
                ask=ask,
                source=source,
                fixed=settings_of(own),
            )
        )
    return joined([part for part in parts if len(part.frame)], source=source, chosen=chosen)


def joined(parts: Sequence[Raw], *, source: str, chosen: str) -> Raw:
    """The rows of several runs as one."""
    if not parts:
        raise InputError(f"{source}: {chosen!r} never has a value: nothing was evaluated")
    notes = dict.fromkeys(note for part in parts for note in part.notes)
    rows = [
        {str(name): cell for name, cell in row.items()}
        for part in parts
        for row in part.frame.to_dict("records")
    ]
    taken = frozenset[str]().union(*(part.taken for part in parts))
    return Raw(frame_of(rows, source=source), tuple(notes), parts[0].measured, taken)


def _one(
    rows: pd.DataFrame,
    logged: Sequence[str],
    chosen: str,
    wanted: str | None,
    *,
    run_id: str,
    calls: str,
    counter: str,
    ask: Ask,
    source: str,
    fixed: Mapping[str, Any],
) -> Raw:
    """The evaluations of one run; no rows where the accuracy was never logged in it."""
    at = {name: logged_cells(rows[name]) for name in rows.columns if name != ORIGIN}
    if not at[chosen].any():
        return Raw(pd.DataFrame(), (f"{run_id}: no {chosen!r} is logged: left out",), chosen)
    notes: list[str] = []
    axis = wanted or _axis(chosen, at, calls)
    if axis is None:
        raise InputError(
            f"{source}: no step is logged beside {chosen!r} in run {run_id!r}; --map step=COLUMN names one"
        )
    axis_of: dict[str, str] = {}
    for name in logged:
        own = axis if wanted or axis == calls else _axis(name, at, calls)
        if own is not None and (own != calls or axis == calls):
            axis_of[name] = own
    axis_of[chosen] = axis
    if axis == calls:
        notes.append(counter)
    elif axis not in TRAINER_STEPS:
        notes.append(f"step is {axis!r} of the log")
    written = np.array([cell is not None and cell != "" for cell in rows[chosen].tolist()])
    relevant = rows[np.logical_or.reduce([written, *(at[name] for name in axis_of)])]
    records = relevant.to_dict("records")
    calls_are_steps = axis != calls and calls in at and _agree(rows, axis, calls)
    history: list[tuple[str, Any, dict[str, Any]]] = []
    begun = False
    dropped = 0
    for row in records:
        place = str(row[ORIGIN])
        begun = begun or is_logged(row[axis])
        by_axis: dict[str, dict[str, Any]] = {}
        for name, own in axis_of.items():
            if row[name] is not None and row[name] != "":
                by_axis.setdefault(own, {})[name] = row[name]
        for own, values in by_axis.items():
            step = row[own]
            counted = calls_are_steps or (not begun and _is_zero(row.get(calls)))
            if not is_logged(step) and own == axis and counted:
                step = row[calls]
                note = f"{run_id}: where {axis} is not logged, step is {calls}"
                if chosen in values and note not in notes:
                    notes.append(note)
            if step_of(step, source=f"{source}, {place}") is None:
                dropped += is_logged(values.get(chosen))
                continue
            history.append((place, step, values))
    if dropped:
        count = int(at[chosen].sum())
        notes.append(
            f"{run_id}: {dropped} of {count} values of {chosen!r} have no {axis} beside them: left out"
            + (
                f" (--map step={calls} counts logging calls instead)"
                if calls in at and axis != calls
                else ""
            )
        )
    if not any(is_logged(values.get(chosen)) for _, _, values in history):
        raise InputError(f"{source}: run {run_id!r}: {notes[-1]}, and nothing else is left")
    raw = evaluations(history, run_id=run_id, ask=ask, source=source, fixed=fixed)
    return Raw(
        raw.frame, (*raw.notes, *notes), raw.measured, raw.taken | ({"step"} & set(ask.columns))
    )


def _axis(name: str, at: Mapping[Any, Any], calls: str) -> str | None:
    """The first likely step that is logged in a row with `name`."""
    return next(
        (axis for axis in _axes_of(name, calls) if axis in at and (at[axis] & at[name]).any()), None
    )


def _agree(rows: pd.DataFrame, axis: str, calls: str) -> bool:
    """Whether two steps are one wherever both stand, as where a trainer logs with its own step."""
    both = pd.DataFrame(
        {name: pd.to_numeric(rows[name], errors="coerce") for name in (axis, calls)}
    )
    both = both.dropna()
    return len(both) > 0 and bool((both[axis] == both[calls]).all())


def _is_zero(cell: object) -> bool:
    try:
        return float(cell) == 0.0  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        return False
