"""Weights & Biases: histories as CSV or JSON lines, chart exports, tables of runs.

Law. A history has one row per logging call, `_step` among its columns and counting them; so one run has a
`_step` once. A chart export has the chart's x axis first, then "run - metric" columns; a table of runs has one
row a run, with the last values. Offline runs are in `wandb_offline`.
Fails first where the trainer's step is not logged: `_step` then counts logging calls, not steps.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from fits.errors import InputError
from fits.readers.axes import TRAINER_STEPS, is_step_name, joined, read_rows
from fits.readers.history import (
    Ask,
    Raw,
    choose_metric,
    evaluations,
    frame_of,
    is_logged,
    is_number,
    logged_cells,
    settings_of,
)
from fits.table import ORIGIN

__all__ = ["COUNTER", "is_wandb", "read_wandb"]

CALLS: Final = "_step"
COUNTER: Final = "step is W&B's _step: it counts logging calls"
_RUN_NAMES: Final = (
    *("run_id", "run", "run_name", "Name", "name", "_run", "display_name", "run.name"),
    *(
        "run_path",
        "ID",
        "id",
        "run.id",
        "wandb_run_id",
        "experiment_name",
        "exp_name",
        "experiment",
    ),
)
_BOUND: Final = re.compile(r"__(MIN|MAX)$")
_TIME: Final = {
    "Relative Time (Process)": "relative_time_process",
    "Relative Time (Wall)": "relative_time_wall",
    "Wall Time": "wall_time",
    "_runtime": "relative_time_process",
    "_timestamp": "wall_time",
}
# What W&B's table of runs says of every run beside its settings and last values.
_TABLE: Final = frozenset(
    {
        "Name",
        "State",
        "Notes",
        "User",
        "Tags",
        "Created",
        "Runtime",
        "Sweep",
        "ID",
        "GitHub",
        "Hostname",
    }
)


def is_wandb(names: Sequence[str]) -> bool:
    """Whether columns are those of a history, a chart export or a table of runs."""
    return CALLS in names or _is_chart(names) or _is_table(names)


def _is_chart(names: Sequence[str]) -> bool:
    rest = list(names[1:])
    return (
        bool(rest)
        and " - " not in names[0]
        and all(" - " in name for name in rest)
        and (
            is_step_name(names[0])
            or names[0] in _TIME
            or any(_BOUND.search(name) or name.endswith(f" - {CALLS}") for name in rest)
        )
    )


def _is_table(names: Sequence[str]) -> bool:
    return "Name" in names and len({"State", "Created", "Runtime", "User"} & set(names)) > 1


def read_wandb(frame: pd.DataFrame, *, source: str, ask: Ask) -> Raw:
    """A history, a chart export or a table of runs, as cells, to raw run-table rows.

    frame: cells as text or values, with each row's place.
    Raises InputError where the accuracy is not clear, or one name stands for several runs.
    """
    names = [str(name) for name in frame.columns if name != ORIGIN]
    if _is_chart(names):
        return _read_chart(frame, names, source=source, ask=ask)
    if _is_table(names):
        return _read_table(frame, names, source=source, ask=ask)
    if CALLS not in names:
        raise InputError(
            f"{source}: is no W&B history (no column {CALLS}), no chart export (no columns 'run - metric'"
            " after the x axis) and no table of runs (no columns Name, State)"
        )
    return _read_history(frame, names, source=source, ask=ask)


# --- histories -------------------------------------------------------------------------------------


def _read_history(frame: pd.DataFrame, names: Sequence[str], *, source: str, ask: Ask) -> Raw:
    run_column, repeated = _run_column(frame, names, source=source, ask=ask)
    notes: tuple[str, ...] = ()
    if repeated.any():
        frame = frame[~repeated]
        notes = (f"{int(repeated.sum())} rows repeat another exactly: dropped",)
    raw = read_rows(
        _in_order(frame, run_column),
        run_column=run_column,
        run_id=Path(source).stem,
        calls=CALLS,
        counter=COUNTER,
        ask=ask,
        source=source,
    )
    return Raw(
        raw.frame, (*notes, *raw.notes), raw.measured, raw.taken | ({"run_id"} & set(ask.columns))
    )


def _in_order(frame: pd.DataFrame, run_column: str | None) -> pd.DataFrame:
    """Rows in the order in which they were logged, which their counter tells."""
    counts = pd.to_numeric(frame[CALLS], errors="coerce")
    keys = {"run": frame[run_column].astype(str) if run_column else "", "count": counts}
    order = pd.DataFrame(keys, index=frame.index)
    if run_column is None and counts.is_monotonic_increasing:
        return frame.reset_index(drop=True)
    # Runs stay where they first appear.
    order["run"] = pd.factorize(order["run"])[0]
    return frame.loc[order.sort_values(["run", "count"], kind="stable").index].reset_index(
        drop=True
    )


def _run_column(
    frame: pd.DataFrame, names: Sequence[str], *, source: str, ask: Ask
) -> tuple[str | None, Any]:
    """The column that names the run, None for one run, and which rows repeat another exactly.

    Raises InputError where a run would have a `_step` twice with different values: those are two runs.
    """
    wanted = ask.columns.get("run_id")
    if wanted is not None and wanted not in names:
        raise InputError(
            f"{source}: --map run_id={wanted}: no column {wanted!r}; there are: {', '.join(names)}"
        )
    candidates = [wanted] if wanted else [name for name in _RUN_NAMES if name in names] or [None]
    cells = frame.drop(columns=ORIGIN)
    odd = {name: str for name in cells.columns if cells[name].dtype == object}
    repeated = np.zeros(len(frame), dtype=np.bool_)
    clash = None
    for column in candidates:
        key = [CALLS] if column is None else [column, CALLS]
        if column is not None and not logged_cells(frame[column]).all():
            continue
        numbered = cells[logged_cells(cells[CALLS])]
        twice = numbered.duplicated(key, keep=False)
        if not twice.any():
            return column, repeated
        again = numbered[twice].astype(odd).duplicated()
        if not numbered[twice][~again].duplicated(key).any():
            repeated[
                np.flatnonzero(logged_cells(cells[CALLS]))[twice.to_numpy()][again.to_numpy()]
            ] = True
            return column, repeated
        clash = clash or (column, int(np.flatnonzero(numbered.duplicated(key).to_numpy())[0]), key)
    if clash is None:
        raise InputError(f"{source}: column {candidates[0]}, which names the run, has empty cells")
    column, row, key = clash
    step = frame[CALLS].iloc[row]
    one = "one history" if column is None else f"the run {frame[column].iloc[row]!r}"
    raise InputError(
        f"{source}, {frame[ORIGIN].iloc[row]}: {CALLS} {step} comes again in {one} with other values:"
        " several runs? --map run_id=COLUMN names the column that tells them apart; without one, one run a file"
    )


# --- chart exports ---------------------------------------------------------------------------------


def _read_chart(frame: pd.DataFrame, names: Sequence[str], *, source: str, ask: Ask) -> Raw:
    """A chart export: steps are those of the chart's x axis, or of `_step` where the axis is no step."""
    x = names[0]
    columns: dict[str, dict[str, str]] = {}  # run -> what -> column
    for name in names[1:]:
        run, _, what = name.rpartition(" - ")
        columns.setdefault(run, {})[what] = name
    metrics = {what for by in columns.values() for what in by if not _BOUND.search(what)} - {CALLS}
    chosen = choose_metric(sorted(metrics), metric=ask.accuracy, source=source)
    axis, notes = (x, ()) if is_step_name(x) else (CALLS, (COUNTER,))
    own = _TIME.get(x, x)
    if axis == x:
        if x in ("Step", CALLS):
            notes = (COUNTER,)
        elif x not in TRAINER_STEPS:
            notes = (f"step is {x!r}, the chart's x axis",)
    else:
        if not all(CALLS in by for by in columns.values()):
            raise InputError(
                f"{source}: the chart's x axis is {x!r}, which is no step, and no 'run - {CALLS}' stands"
                " beside it: export the chart over Step or the trainer's step"
            )
        notes = (*notes, f"the chart's x axis {x!r} is column {own}")
    parts: list[Raw] = []
    for run, by in columns.items():
        if chosen not in by:
            continue
        rows = frame[logged_cells(frame[by[chosen]])]
        if rows.empty:
            parts_note = f"{run}: no {chosen!r} in the chart: left out"
            notes = (*notes, parts_note)
            continue
        low, high = by.get(f"{chosen}__MIN"), by.get(f"{chosen}__MAX")
        if low and high and bool((rows[low].astype(str) != rows[high].astype(str)).any()):
            notes = (
                *notes,
                f"{run}: MIN and MAX differ: each value stands for several points or runs",
            )
        kept = {
            what: name for what, name in by.items() if not _BOUND.search(what) and what != CALLS
        }
        history = [
            (
                str(row[ORIGIN]),
                row[x] if axis == x else row[by[CALLS]],
                {
                    **{what: row[name] for what, name in kept.items()},
                    **({} if axis == x else {own: row[x]}),
                },
            )
            for row in rows.to_dict("records")
        ]
        asked = Ask(chosen, {**ask.columns, **({} if axis == x else {own: own})})
        raw = evaluations(history, run_id=run, ask=asked, source=source)
        parts.append(Raw(raw.frame, raw.notes, chosen, raw.taken & set(ask.columns)))
    whole = joined(parts, source=source, chosen=chosen)
    said = tuple(dict.fromkeys((*whole.notes, *notes)))
    return Raw(whole.frame, said, chosen, whole.taken)


# --- tables of runs --------------------------------------------------------------------------------


def _read_table(frame: pd.DataFrame, names: Sequence[str], *, source: str, ask: Ask) -> Raw:
    """A table of runs: each run's settings and the last values it logged."""
    steps = [name for name in (*TRAINER_STEPS, CALLS) if name in names]
    steps = [ask.columns["step"]] if ask.columns.get("step") in names else steps
    numbers = [
        name
        for name in names
        if name not in _TABLE
        and not is_step_name(name)
        and any(is_number(cell) for cell in frame[name])
    ]
    chosen = choose_metric(sorted(numbers), metric=ask.accuracy, source=source)
    run_column = ask.columns.get("run_id", "Name")
    if run_column not in names:
        raise InputError(f"{source}: --map run_id={run_column}: no such column")
    runs = frame[run_column].astype(str)
    rows: list[dict[str, Any]] = []
    notes = ["a table of runs: one row a run, the last value it logged"]
    unfinished: list[str] = []
    without: list[str] = []
    twice = set(runs[runs.duplicated(keep=False)])
    if twice and "ID" not in names:
        raise InputError(
            f"{source}: several runs are called {min(twice)!r}; export the column ID with them"
        )
    for run, row in zip(runs, frame.to_dict("records"), strict=True):
        run_id = f"{run} ({row['ID']})" if run in twice else run
        cells = {str(name): cell for name, cell in row.items() if is_logged(cell)}
        if chosen not in cells:
            without.append(run_id)
            continue
        if str(row.get("State", "finished")) != "finished":
            unfinished.append(f"{run_id} ({row['State']})")
        own = {column: cells[name] for column, name in ask.columns.items() if name in cells}
        step = next((cells[name] for name in steps if name in cells), None)
        rows.append(
            {
                **settings_of({k: v for k, v in cells.items() if k != chosen}),
                **own,
                "run_id": run_id,
                **({} if step is None else {"step": step}),
                "accuracy": cells[chosen],
                ORIGIN: row[ORIGIN],
            }
        )
    if not rows:
        raise InputError(f"{source}: {chosen!r} never has a value: nothing was evaluated")
    if chosen != "accuracy":
        notes.append(f"accuracy is {chosen!r} of the table")
    if steps == [CALLS]:
        notes.append(COUNTER)
    if without:
        notes.append(f"no {chosen!r}: left out: {', '.join(without[:8])}")
    if unfinished:
        notes.append(f"not finished, their last values stand: {', '.join(unfinished[:8])}")
    table = frame_of(rows, source=source)
    return Raw(table, tuple(notes), chosen, frozenset(set(ask.columns) & set(table.columns)))
