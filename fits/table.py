"""The run table: one row per evaluation of one run, checked once so that nothing downstream has to.

Law. `run_id` and `accuracy` are required, and `step` unless every run has one row; a (run_id, step)
names one row. Accuracies and rates are fractions in [0, 1]; other known columns have the units below.
Fails first when a table mixes fractions and per cent in ways no rule can tell apart: that is refused.
Source: DESIGN section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.errors import InputError
from fits.files import replacing

__all__ = [
    "COLUMNS",
    "ORIGIN",
    "Column",
    "RunTable",
    "check_numbers",
    "derive_columns",
    "fill_columns",
    "map_columns",
    "need_columns",
    "validate_runs",
    "write_runs",
]

FloatArray = NDArray[np.float64]

# Where each row came from ("row 3 (line 4)"), carried by the readers until the table is checked.
ORIGIN: Final = "_origin"


@dataclass(frozen=True)
class Column:
    """A column this package knows: its kind, its range, its meaning."""

    name: str
    kind: Literal["text", "integer", "real"]
    low: float = -np.inf
    high: float = np.inf
    meaning: str = ""


COLUMNS: Final = (
    Column("run_id", "text", meaning="names one training run"),
    Column("arm", "text", meaning="names one condition"),
    Column("model", "text", meaning="the trained model"),
    Column("fpr", "real", 0.0, 1.0, "injected P(reward 1 | wrong)"),
    Column("fnr", "real", 0.0, 1.0, "injected P(reward 0 | right)"),
    Column("noise", "text", meaning="structure of the injected noise"),
    Column("seed", "integer", meaning="runs of one seed are matched across arms"),
    Column("group_size", "integer", 1, meaning="rollouts per prompt"),
    Column("prompts_per_step", "integer", 1, meaning="prompts per optimiser step"),
    Column("step", "integer", 0, meaning="optimiser steps done"),
    Column("rollouts", "real", 0.0, meaning="cumulative completions"),
    Column("tokens", "real", 0.0, meaning="cumulative tokens"),
    Column("flops", "real", 0.0, meaning="cumulative floating-point operations"),
    Column("gpu_hours", "real", 0.0, meaning="cumulative accelerator hours"),
    Column("accuracy", "real", 0.0, 1.0, "by the clean verifier"),
    Column("n_eval", "integer", 1, meaning="samples behind accuracy"),
    Column("observed_reward", "real", meaning="mean reward the optimiser saw"),
)
# What holds for a whole run: a run that changes it halfway is two runs under one name.
CONDITION: Final = (
    "arm",
    "model",
    "fpr",
    "fnr",
    "noise",
    "seed",
    "group_size",
    "prompts_per_step",
)
LARGEST_INTEGER: Final = 2**53  # past it, floats skip integers
_BY_NAME: Final = {column.name: column for column in COLUMNS}


@dataclass(frozen=True)
class RunTable:
    """A checked run table and how it was come by.

    frame: one row per evaluation, sorted by run_id and step, columns typed as in COLUMNS.
    source: the file or folder. format: what it was recognised as.
    notes: what was repaired, derived or left out, one line each.
    """

    frame: pd.DataFrame
    source: str
    format: str
    notes: tuple[str, ...] = ()

    def noting(self, *notes: str) -> RunTable:
        """The same table with further notes."""
        return replace(self, notes=(*self.notes, *notes))


def need_columns(frame: pd.DataFrame, *names: str, purpose: str, source: str = "the table") -> None:
    """Raise InputError naming the columns of `names` that `frame` lacks and what they are needed for."""
    missing = [name for name in names if name not in frame.columns]
    if missing:
        hints = {
            "rollouts": "it follows from step, group_size and prompts_per_step, which --set can give;"
            " or choose another axis with --x",
            "seed": "--set seed=0 says that there is one",
        }
        hint = next((f" ({hints[name]})" for name in missing if name in hints), "")
        plural = "s" if len(missing) > 1 else ""
        raise InputError(f"{source}: {purpose} needs the column{plural} {', '.join(missing)}{hint}")


def check_numbers(
    frame: pd.DataFrame, name: str, *, high: float = np.inf, source: str = "the table"
) -> FloatArray:
    """The column `name` of a run table as numbers in [0, high], shape (n,).

    Raises InputError naming run, step and cell where one is empty, no number, or out of range: a run
    table is sorted, so that its row numbers are no longer those of the file.
    """
    values = pd.to_numeric(frame[name], errors="coerce").to_numpy(np.float64, na_value=np.nan)
    bad = ~(np.isfinite(values) & (values >= 0.0) & (values <= high))
    if bad.any():
        row = frame.iloc[int(bad.argmax())]
        cell = row[name]
        step = f", step {row['step']}" if "step" in frame.columns else ""
        if pd.isna(cell) or not str(cell).strip():
            problem = "empty"
        elif np.isfinite(values[bad.argmax()]):
            spoken = "[0, inf)" if np.isinf(high) else f"[0, {high:g}]"
            problem = f"{values[bad.argmax()]:g} lies outside {spoken}"
        else:
            problem = f"{str(cell)!r} is not a finite number"
        raise InputError(f"{source}, run {row['run_id']!r}{step}, column {name}: {problem}")
    return values


def map_columns(frame: pd.DataFrame, columns: Mapping[str, str], *, source: str) -> pd.DataFrame:
    """Copy columns: {new: existing}. Raises InputError naming a source column that is not there."""
    copies: dict[str, Any] = {}
    for new, old in columns.items():
        if old not in frame.columns:
            have = ", ".join(str(name) for name in frame.columns if name != ORIGIN)
            raise InputError(f"{source}: --map {new}={old}: no column {old!r}; there are: {have}")
        copies[new] = frame[old]
    return frame.assign(**copies)


def fill_columns(frame: pd.DataFrame, constants: Mapping[str, object]) -> pd.DataFrame:
    """Fill columns with constants: {column: value}."""
    return frame.assign(
        **{name: np.full(len(frame), value, dtype=object) for name, value in constants.items()}
    )


def derive_columns(frame: pd.DataFrame) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Add the compute columns that follow from the others; returns the frame and the formulas used.

    rollouts = step * prompts_per_step * group_size, as every optimiser step consumes fresh rollouts.
    """
    factors = ("step", "prompts_per_step", "group_size")
    if "rollouts" in frame.columns or not set(factors) <= set(frame.columns):
        return frame, ()
    product = frame["step"] * frame["prompts_per_step"] * frame["group_size"]
    if product.isna().any():
        return frame, ()
    note = "rollouts derived as step * prompts_per_step * group_size"
    return frame.assign(rollouts=product.astype(np.float64)), (note,)


def validate_runs(
    frame: pd.DataFrame, *, source: str = "table"
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Check and type a raw table; returns the run table and notes on what was repaired.

    frame: any cells (strings from a CSV or typed values); a column `_origin` may name each row's
    place. An empty accuracy cell (empty string, None, NA) means "not evaluated": the row is left out
    and counted. Rows that repeat another exactly are dropped; accuracies in per cent become
    fractions. Both are noted. Rows come back sorted by run_id and step, index 0..n-1.
    Raises InputError, naming file, row, column and value, for anything else.
    """
    if frame.columns.has_duplicates:
        name = frame.columns[frame.columns.duplicated()][0]
        raise InputError(f"{source}: two columns are called {name!r}")
    for name in ("run_id", "accuracy"):
        if name not in frame.columns:
            have = ", ".join(str(column) for column in frame.columns if column != ORIGIN) or "none"
            raise InputError(
                f"{source}: no column {name!r} (columns: {have}); --map {name}=COLUMN names it"
            )
    if not len(frame):
        raise InputError(f"{source}: no rows")
    origin = (
        frame[ORIGIN].astype(str).to_numpy()
        if ORIGIN in frame.columns
        else np.array([f"row {i + 1}" for i in range(len(frame))], dtype=object)
    )
    frame = frame.drop(columns=ORIGIN, errors="ignore").reset_index(drop=True)
    notes: list[str] = []

    empty = _is_empty(frame["accuracy"])
    if empty.all():
        raise InputError(f"{source}: every accuracy cell is empty: nothing was evaluated")
    if empty.any():
        notes.append(
            f"{int(empty.sum())} of {len(frame)} rows have no accuracy: not evaluated, left out"
        )
        frame, origin = frame[~empty].reset_index(drop=True), origin[~empty]

    typed: dict[str, Any] = {}
    for name in frame.columns:
        column = _BY_NAME.get(str(name))
        if column is None:
            typed[str(name)] = _guess(frame[name])
        elif column.kind == "text":
            typed[column.name] = _text(frame[name], column, origin, source)
        else:
            typed[column.name] = _numbers(frame[name], column, origin, source)
    accuracy, percent_note = _fractions(typed["accuracy"], typed["run_id"], origin, source)
    typed["accuracy"] = accuracy
    if percent_note:
        notes.append(percent_note)
    table = pd.DataFrame(typed)
    for name in ("fpr", "fnr"):
        if name in table.columns:
            # One spelling of a rate, so that .1 + .2 and .3 are one arm.
            table[name] = table[name].round(12)
    _one_condition_per_run(table, origin, source)
    table, keyed_notes = _one_row_per_key(table, origin, source)
    return table, (*notes, *keyed_notes)


def write_runs(frame: pd.DataFrame, path: Path) -> None:
    """Write the run table to CSV or Parquet, by suffix; a reader sees the old file or the new one whole.

    Raises InputError for any other suffix, and where the file system refuses.
    """
    if path.suffix not in (".csv", ".parquet"):
        raise InputError(f"{path}: write the run table to a .csv or .parquet file")
    with replacing(path) as part:
        if path.suffix == ".csv":
            frame.to_csv(part, index=False)
        else:
            frame.to_parquet(part, index=False)


def _is_empty(cells: pd.Series[Any]) -> NDArray[np.bool_]:
    """Cells that hold nothing: empty text, None, NA. A float NaN is a value, not an absence."""
    if cells.dtype == np.float64:
        return np.zeros(len(cells), dtype=np.bool_)
    return np.array(
        [
            cell is None or cell is pd.NA or (isinstance(cell, str) and not cell.strip())
            for cell in cells.tolist()
        ],
        dtype=np.bool_,
    )


def _bad(source: str, origin: str, column: str, problem: str) -> InputError:
    return InputError(f"{source}, {origin}, column {column}: {problem}")


def _text(
    cells: pd.Series[Any], column: Column, origin: NDArray[Any], source: str
) -> pd.Series[Any]:
    missing = np.array(
        [cell is None or cell is pd.NA or cell != cell or not str(cell).strip() for cell in cells],
        dtype=np.bool_,
    )
    if column.name == "run_id" and missing.any():
        raise _bad(source, str(origin[missing.argmax()]), "run_id", "empty")
    text = [None if gone else str(cell).strip() for cell, gone in zip(cells, missing, strict=True)]
    return pd.Series(text, dtype="str")


def _numbers(
    cells: pd.Series[Any], column: Column, origin: NDArray[Any], source: str
) -> pd.Series[Any]:
    """One numeric column, or the first cell that is not one, out of range, or a literal NaN."""
    empty = _is_empty(cells)
    values = pd.to_numeric(cells.where(~empty, None), errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )
    if column.name != "accuracy" and cells.dtype == np.float64:
        # In a typed optional column NaN is how "not known" is stored.
        empty = np.isnan(values)
    broken = ~empty & ~np.isfinite(values)
    if broken.any():
        row = int(broken.argmax())
        cell = cells.iloc[row]
        what = "is not finite" if _is_not_finite(cell) else "is not a number"
        raise _bad(source, str(origin[row]), column.name, f"{str(cell)!r} {what}")
    high = 100.0 if column.name == "accuracy" else column.high
    outside = ~empty & ((values < column.low) | (values > high))
    if outside.any():
        row = int(outside.argmax())
        spoken = (
            f"[{column.low:g}, {column.high:g}]"
            if np.isfinite(column.high)
            else f"[{column.low:g}, inf)"
        )
        either = " (a fraction) or [0, 100] (per cent)" if column.name == "accuracy" else ""
        raise _bad(
            source, str(origin[row]), column.name, f"{values[row]:g} lies outside {spoken}{either}"
        )
    if column.kind == "integer":
        vast = ~empty & (np.abs(values) > LARGEST_INTEGER)
        if vast.any():
            row = int(vast.argmax())
            cell = str(cells.iloc[row])
            raise _bad(source, str(origin[row]), column.name, f"{cell[:40]} is above 2^53")
        ragged = ~empty & (values != np.round(values))
        if ragged.any():
            row = int(ragged.argmax())
            raise _bad(
                source, str(origin[row]), column.name, f"{values[row]:g} is not a whole number"
            )
        if not empty.any():
            return pd.Series(values.astype(np.int64))
    return pd.Series(values)


def _is_not_finite(cell: object) -> bool:
    """Whether the cell spells NaN or an infinity (1_0, which Python reads as 10, does not)."""
    try:
        return not np.isfinite(float(str(cell)))
    except ValueError:
        return False


def _guess(cells: pd.Series[Any]) -> pd.Series[Any]:
    """A column we do not know: numbers if every cell that is not empty reads as one, else as it is."""
    if pd.api.types.is_numeric_dtype(cells):
        return cells
    empty = _is_empty(cells)
    try:
        numbers = pd.to_numeric(cells.where(~empty, None), errors="raise")
    except (ValueError, TypeError):
        return cells
    return pd.Series(numbers.to_numpy(np.float64, na_value=np.nan))


def _fractions(
    accuracy: pd.Series[Any], run_id: pd.Series[Any], origin: NDArray[Any], source: str
) -> tuple[pd.Series[Any], str]:
    """Accuracies as fractions: per cent is told by values above 1, and refused where it cannot be.

    A column of per cents lies in [0, 100] with most values above 1. One stray 1.2 among fractions is
    a mistake, not a unit; a run that stays in (0, 1] beside runs that do not is another unit.
    """
    values = accuracy.to_numpy(np.float64)
    above = values > 1.0
    if not above.any():
        return accuracy, ""
    row = int(above.argmax())
    if 2 * int(above.sum()) <= int((values > 0.0).sum()):
        raise _bad(
            source,
            str(origin[row]),
            "accuracy",
            f"{values[row]:g} lies outside [0, 1], and most of the column does not look like per cent",
        )
    by_run = pd.DataFrame({"run": run_id, "value": values}).groupby("run", sort=False)["value"]
    largest, count = by_run.max(), by_run.size()
    fraction_runs = largest.index[(largest <= 1.0) & (largest > 0.05) & (count >= 3)]
    if len(fraction_runs):
        raise _bad(
            source,
            str(origin[row]),
            "accuracy",
            f"{values[row]:g} reads as per cent, but run {fraction_runs[0]!r} as fractions",
        )
    return pd.Series(
        values / 100.0
    ), "accuracy read as per cent (all in [0, 100], most above 1): divided by 100"


def _one_condition_per_run(table: pd.DataFrame, origin: NDArray[Any], source: str) -> None:
    """Refuse a run whose condition changes, be it from a value to none."""
    for name in varying(table, CONDITION):
        codes = pd.Series(pd.factorize(table[name], use_na_sentinel=False)[0])
        first = codes.groupby(table["run_id"]).transform("first")
        other = (codes != first).to_numpy()
        if other.any():
            row = int(other.argmax())
            run = table["run_id"].iloc[row]
            before = table[name].iloc[int((table["run_id"] == run).to_numpy().argmax())]
            now, was = (
                "empty"
                if pd.isna(value)
                else f"{value:g}"
                if isinstance(value, float)
                else repr(value)
                for value in (table[name].iloc[row], before)
            )
            raise _bad(source, str(origin[row]), name, f"{now}, but run {run!r} began with {was}")


def _one_row_per_key(
    table: pd.DataFrame, origin: NDArray[Any], source: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Sort by run and step, drop exact repeats, refuse two different rows under one key."""
    notes: list[str] = []
    table = table.assign(**{ORIGIN: origin})
    # Cells of columns we do not know may be lists or objects: compared as text.
    unknown = {name: str for name in table.columns if name not in _BY_NAME}
    repeats = table.astype(unknown).drop(columns=ORIGIN).duplicated().to_numpy()
    if "step" in table.columns and repeats.any():
        notes.append(f"{int(repeats.sum())} rows repeat another exactly: dropped")
        table = table[~repeats]
    key = ["run_id", "step"] if "step" in table.columns else ["run_id"]
    if "step" in table.columns and table["step"].isna().any():
        row = table[ORIGIN].iloc[int(table["step"].isna().to_numpy().argmax())]
        raise _bad(source, str(row), "step", "empty")
    clash = table.duplicated(key).to_numpy()
    if clash.any():
        row = table.iloc[int(clash.argmax())]
        first = table[(table[key] == row[key]).all(axis=1)].iloc[0]
        if key == ["run_id"]:
            raise InputError(
                f"{source}, {row[ORIGIN]}: run_id {row['run_id']!r} has several rows and there is no"
                " column step"
            )
        raise InputError(
            f"{source}, {row[ORIGIN]}: run_id {row['run_id']!r} has step {row['step']} twice with"
            f" different values (first at {first[ORIGIN]})"
        )
    ordered = table.sort_values(key, kind="stable")
    if "step" in table.columns:
        # Runs may come in any order; steps of one run out of order mean the file was shuffled.
        steps = table.groupby("run_id", sort=False)["step"]
        if not bool(steps.apply(lambda run: run.is_monotonic_increasing).all()):
            notes.append("rows were out of order within a run: sorted by step")
    return ordered.drop(columns=ORIGIN).reset_index(drop=True), tuple(notes)


def varying(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of `names` that are columns of `frame` with more than one value."""
    return [
        name for name in names if name in frame.columns and frame[name].nunique(dropna=False) > 1
    ]
