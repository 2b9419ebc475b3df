"""The run table: one row per evaluation of one run, checked once so that nothing downstream has to.

Law. `run_id` and `accuracy` are required, and `step` unless every run has one row; a (run_id, step)
names one row. Accuracies and rates are fractions in [0, 1]; other known columns have the units below.
Fails first when a table mixes fractions and per cent in ways no rule can tell apart: that is refused.
Source: docs/contract.md#the-run-table.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.errors import InputError
from fits.files import replacing, write_csv
from fits.plain import visible

__all__ = [
    "COLUMNS",
    "IN_MEMORY",
    "ORIGIN",
    "SETTING",
    "VERIFIER",
    "Column",
    "RunTable",
    "alike",
    "check_numbers",
    "derive_columns",
    "fill_columns",
    "map_columns",
    "need_columns",
    "validate_runs",
    "write_runs",
]

FloatArray = NDArray[np.float64]

IN_MEMORY: Final = "a data frame"  # the format of a run table that no file holds
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
    Column("estimator", "text", meaning="how rewards become advantages: grpo, dr_grpo, …"),
    Column("seed", "integer", meaning="runs of one seed are matched across arms"),
    Column("group_size", "integer", 1, meaning="rollouts per prompt"),
    Column("prompts_per_step", "integer", 1, meaning="prompts per optimiser step"),
    Column("parameters", "real", 1.0, meaning="weights of the model"),
    Column("learning_rate", "real", 0.0, meaning="of the optimiser"),
    Column("steps", "integer", 1, meaning="optimiser steps asked for"),
    Column("settings", "text", meaning="a hash of what a run shares with others of its study"),
    Column("step", "integer", 0, meaning="optimiser steps done"),
    Column("rollouts", "real", 0.0, meaning="cumulative completions"),
    Column("tokens", "real", 0.0, meaning="cumulative tokens"),
    Column("flops", "real", 0.0, meaning="cumulative floating-point operations"),
    Column("gpu_hours", "real", 0.0, meaning="cumulative accelerator hours"),
    Column("accuracy", "real", 0.0, 1.0, "by the clean verifier"),
    Column("n_eval", "integer", 1, meaning="samples behind accuracy"),
    Column("observed_reward", "real", meaning="mean reward the optimiser saw"),
)
# What the verifier does, and what a run is otherwise: an arm is held against clean runs of its own setting.
VERIFIER: Final = ("fpr", "fnr", "noise")
SETTING: Final = ("model", "parameters", "estimator", "group_size", "prompts_per_step")
# What holds for a whole run: a run that changes it halfway is two runs under one name.
CONDITION: Final = ("arm", *VERIFIER, *SETTING, "seed", "settings", "learning_rate", "steps")
# Counted from the start of a run.
CUMULATIVE: Final = ("rollouts", "tokens", "flops", "gpu_hours")
# Names of what is logged beside accuracies and is none, whatever its range.
NO_ACCURACY: Final = re.compile(
    r"reward|return|loss|length|token|entropy|(?:^|[/_])(?:kl|lr|std|steps?|epochs?|seconds?|time)(?:$|[/_])",
    re.IGNORECASE,
)
MOST_OF_A_REWARD: Final = 10.0  # a largest value up to here may be that of a reward
# How a run was made: what the arm does not change and runs that are compared should share.
PROVENANCE: Final = ("settings", "learning_rate", "steps")
ROUNDING: Final = 1e-6  # a fraction may exceed 1 by this much: rounding, no unit
LARGEST_INTEGER: Final = 2**53  # past it, floats skip integers
_BY_NAME: Final = {column.name: column for column in COLUMNS}


@dataclass(frozen=True)
class RunTable:
    """A checked run table and how it was come by.

    frame: one row per evaluation, sorted by run_id and step, columns typed as in COLUMNS.
    source: the file or folder. format: what it was recognised as; IN_MEMORY where it was no file.
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
            "flops": "it follows from tokens and parameters, which --set parameters=1.5e9 can give",
            "seed": "--set seed=0 says that there is one",
        }
        hint = next((f" ({hints[name]})" for name in missing if name in hints), "")
        plural = "s" if len(missing) > 1 else ""
        have = ", ".join(str(name) for name in frame.columns if not str(name).startswith("_"))
        raise InputError(
            f"{source}: {purpose} needs the column{plural} {', '.join(missing)}{hint}; there are: {have}"
        )


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
    flops = 8 * parameters * tokens: for each token trained on, 2 a weight to generate it and 6 to learn
    from it (Kaplan et al. 2020, arXiv 2001.08361, section 2.1), neither attention nor a reference policy.
    """
    formulas = {
        "rollouts": (("step", "prompts_per_step", "group_size"), 1.0, ""),
        "flops": (
            ("parameters", "tokens"),
            8.0,
            " (a token costs 2 a weight to generate and 6 to learn from)",
        ),
    }
    notes: list[str] = []
    for name, (factors, scale, why) in formulas.items():
        if name in frame.columns or not set(factors) <= set(frame.columns):
            continue
        product = frame[list(factors)].astype(np.float64).prod(axis=1, skipna=False) * scale
        if product.isna().any():
            continue
        frame = frame.assign(**{name: product})
        spoken = " * ".join(factors)
        notes.append(f"{name} derived as {f'{scale:g} * ' if scale != 1.0 else ''}{spoken}{why}")
    return frame, tuple(notes)


def validate_runs(
    frame: pd.DataFrame,
    *,
    source: str = "table",
    measured: str = "accuracy",
    scale: float | None = None,
    whole: pd.DataFrame | None = None,
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Check and type a raw table; returns the run table and notes on what was repaired.

    frame: any cells (strings from a CSV or typed values); a column `_origin` may name each row's
    place. An empty accuracy cell (empty string, None, NA) means "not evaluated": the row is left out
    and counted. Rows that repeat another exactly are dropped; accuracies in per cent become
    fractions; what is counted from the start of a run is 0 at step 0. All are noted. Rows come back sorted by
    run_id and step, index 0..n-1.
    measured: what the accuracy was called where it was logged. scale: what to divide it by; None: 1, or 100
    where it plainly is in per cent. whole: the table that `frame` was selected from, which has one unit.
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
                + (", --set run_id=NAME says that all is one run" if name == "run_id" else "")
            )
    if not len(frame):
        raise InputError(f"{source}: no rows")
    origin = (
        frame[ORIGIN] if ORIGIN in frame.columns else pd.Series(np.arange(1, len(frame) + 1))
    ).reset_index(drop=True)
    frame = frame.drop(columns=ORIGIN, errors="ignore").reset_index(drop=True)
    notes: list[str] = []

    empty = _is_empty(frame["accuracy"])
    if empty.all():
        raise InputError(f"{source}: every accuracy cell is empty: nothing was evaluated")
    if empty.any():
        notes.append(
            f"{int(empty.sum())} of {len(frame)} rows have no accuracy: not evaluated, left out"
        )
        frame, origin = frame[~empty].reset_index(drop=True), origin[~empty].reset_index(drop=True)

    for name in ("accuracy", "fpr", "fnr"):
        if name in frame.columns:
            cells = _without_signs(frame[name], name, origin, source, scale)
            if cells is not None:
                frame = frame.assign(**{name: cells})
                notes.append(f"{name} is written in per cent (%): divided by 100")
                scale = 1.0 if name == "accuracy" else scale
    typed: dict[str, Any] = {}
    for name in list(frame.columns):
        column = _BY_NAME.get(str(name))
        if column is None:
            typed[str(name)] = _guess(frame[name])
        elif column.kind == "text":
            typed[column.name] = _text(frame[name], column, origin, source)
        else:
            typed[column.name] = _numbers(frame[name], column, origin, source)
    table = pd.DataFrame(typed, copy=False)
    del typed, frame
    table["accuracy"], scale_note = _fractions(
        table, origin, source, measured=measured, scale=scale, whole=whole
    )
    if scale_note:
        notes.append(scale_note)
    notes.extend(_nothing_at_the_start(table))
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
            write_csv(frame, part)
        else:
            frame.to_parquet(part, index=False)


def _is_empty(cells: pd.Series[Any]) -> NDArray[np.bool_]:
    """Cells that hold nothing: empty text, None, NA. A float NaN is a value, not an absence."""
    if cells.dtype == np.float64:
        return np.zeros(len(cells), dtype=np.bool_)
    if isinstance(cells.dtype, pd.StringDtype):
        return (cells.isna() | (cells.str.strip() == "")).to_numpy(np.bool_)
    return np.array(
        [
            cell is None or cell is pd.NA or (isinstance(cell, str) and not cell.strip())
            for cell in cells.tolist()
        ],
        dtype=np.bool_,
    )


def _without_signs(
    cells: pd.Series[Any], name: str, origin: pd.Series[Any], source: str, scale: float | None
) -> pd.Series[Any] | None:
    """Fractions of cells that are written in per cent, "31 %"; None where none is.

    Raises InputError where another cell of the column has no sign, or one is no number.
    """
    if pd.api.types.is_numeric_dtype(cells):
        return None
    spoken = [cell.strip() if isinstance(cell, str) else cell for cell in cells.tolist()]
    signed = [isinstance(cell, str) and cell.endswith("%") for cell in spoken]
    if not any(signed):
        return None
    empty = _is_empty(cells)
    bare = [i for i, sign in enumerate(signed) if not sign and not empty[i]]
    if bare:
        first = signed.index(True)
        raise _bad(
            source,
            f"{_place(origin, bare[0])} and {_place(origin, first)}",
            name,
            f"{spoken[bare[0]]} has no per cent sign, {spoken[first]} has one: one unit a column",
        )
    if name == "accuracy" and scale not in (None, 100.0):
        raise InputError(
            f"{source}, column accuracy: is written in per cent, not in --scale {scale:g}"
        )
    values: list[float | None] = []
    for row, cell in enumerate(spoken):
        value = None if empty[row] else _float(str(cell)[:-1])
        if value is not None and not np.isfinite(value):
            raise _bad(source, _place(origin, row), name, f"{str(cell)[:60]!r} is not a number")
        if value is not None and not 0.0 <= value <= 100.0:
            raise _bad(source, _place(origin, row), name, f"{cell} lies outside 0 % to 100 %")
        values.append(None if value is None else round(value / 100.0, 15))
    return pd.Series(values, dtype=object)


def _place(origin: pd.Series[Any], row: int) -> str:
    """Where a row came from, in words."""
    place = origin.iloc[row]
    return place if isinstance(place, str) else f"row {place}"


def _bad(source: str, origin: str, column: str, problem: str) -> InputError:
    return InputError(f"{source}, {origin}, column {column}: {problem}")


def _text(
    cells: pd.Series[Any], column: Column, origin: pd.Series[Any], source: str
) -> pd.Series[Any]:
    codes, values = _distinct(cells)
    spoken = [
        None
        if cell is None or cell is pd.NA or cell != cell or not str(cell).strip()
        else visible(str(cell).strip())
        for cell in values
    ]
    missing = np.array([text is None for text in spoken], dtype=np.bool_)[codes]
    if column.name == "run_id" and missing.any():
        raise _bad(source, _place(origin, int(missing.argmax())), "run_id", "empty")
    return pd.Series(spoken, dtype="str").take(codes).reset_index(drop=True)


def _distinct(cells: pd.Series[Any]) -> tuple[NDArray[np.int64], list[Any]]:
    """Each cell's place among the distinct ones, and those; cells that cannot be compared stay apart."""
    try:
        codes, values = pd.factorize(cells, use_na_sentinel=False)
    except TypeError:
        return np.arange(len(cells)), cells.tolist()
    return codes.astype(np.int64), list(values)


def _parsed(cells: pd.Series[Any], empty: NDArray[np.bool_]) -> FloatArray:
    """Cells as numbers, shape (n,); NaN where one is empty or none."""
    if isinstance(cells.dtype, pd.StringDtype):
        import pyarrow as pa
        import pyarrow.compute as pc

        try:
            text = pa.array(cells.where(~empty, None) if empty.any() else cells, pa.string())
            return pc.cast(text, pa.float64()).to_numpy(zero_copy_only=False)
        except pa.ArrowInvalid:
            pass  # a cell that is no number, or one with blanks around it
    return pd.to_numeric(cells.where(~empty, None), errors="coerce").to_numpy(
        np.float64, na_value=np.nan
    )


def _numbers(
    cells: pd.Series[Any], column: Column, origin: pd.Series[Any], source: str
) -> pd.Series[Any]:
    """One numeric column, or the first cell that is not one, out of range, or a literal NaN."""
    empty = _is_empty(cells)
    truths = _truths(cells)
    if truths.any():
        row = int(truths.argmax())
        raise _bad(source, _place(origin, row), column.name, f"{cells.iloc[row]} is not a number")
    try:
        values = _parsed(cells, empty)
    except OverflowError:
        values = np.array([_float(cell) for cell in cells.tolist()])
    if column.name != "accuracy" and cells.dtype == np.float64:
        # In a typed optional column NaN is how "not known" is stored.
        empty = np.isnan(values)
    broken = ~empty & ~np.isfinite(values)
    if broken.any():
        row = int(broken.argmax())
        cell = cells.iloc[row]
        what = "is not finite" if _is_not_finite(cell) else "is not a number"
        raise _bad(source, _place(origin, row), column.name, f"{str(cell)[:60]!r} {what}")
    # The unit of an accuracy is settled for the whole column.
    high = np.inf if column.name == "accuracy" else column.high
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
            source,
            _place(origin, row),
            column.name,
            f"{values[row]:g} lies outside {spoken}{either}",
        )
    if column.kind == "integer":
        vast = ~empty & (np.abs(values) > LARGEST_INTEGER)
        if vast.any():
            row = int(vast.argmax())
            cell = str(cells.iloc[row])
            raise _bad(source, _place(origin, row), column.name, f"{cell[:40]} is above 2^53")
        ragged = ~empty & (values != np.round(values))
        if ragged.any():
            row = int(ragged.argmax())
            raise _bad(
                source, _place(origin, row), column.name, f"{values[row]:g} is not a whole number"
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


def _truths(cells: pd.Series[Any]) -> NDArray[np.bool_]:
    """Cells that are true or false, which Python counts among the numbers."""
    if cells.dtype == np.bool_ or isinstance(cells.dtype, pd.BooleanDtype):
        return cells.notna().to_numpy(np.bool_)
    if cells.dtype != object:
        return np.zeros(len(cells), dtype=np.bool_)
    return np.array([isinstance(cell, bool | np.bool_) for cell in cells.tolist()], dtype=np.bool_)


def _float(cell: object) -> float:
    try:
        return float(cell)  # pyright: ignore[reportArgumentType]
    except OverflowError:
        return np.inf
    except (TypeError, ValueError):
        return np.nan


def _guess(cells: pd.Series[Any]) -> pd.Series[Any]:
    """A column we do not know: numbers if every cell that is not empty reads as one, else as it is."""
    if pd.api.types.is_numeric_dtype(cells) or _truths(cells).any():
        return cells
    empty = _is_empty(cells)
    try:
        values = _parsed(cells, empty)
    except (OverflowError, TypeError):
        return cells
    # A NaN that is spelled out is a number; anything else that is none leaves the column as it is.
    broken = ~empty & np.isnan(values)
    if broken.any() and not all(_is_not_finite(cell) for cell in cells[broken].tolist()):
        return cells
    return pd.Series(values)


def _fractions(
    table: pd.DataFrame,
    origin: pd.Series[Any],
    source: str,
    *,
    measured: str,
    scale: float | None,
    whole: pd.DataFrame | None,
) -> tuple[pd.Series[Any], str]:
    """Accuracies as fractions: divided by `scale`, or by 100 where they plainly are in per cent.

    They plainly are where the column's largest value lies in (MOST_OF_A_REWARD, 100] and its name is not that of
    something else; it is refused where rows of it evidently are not, see `_two_units`: a collapsed arm at .4
    per cent is not evidence, a run at a hundredth of its own replicates is.
    """
    values = table["accuracy"].to_numpy(np.float64)
    if scale is not None:
        scaled = values / scale
        outside = scaled > 1.0 + ROUNDING
        if outside.any():
            row = int(np.argmax(scaled))
            raise _bad(
                source,
                _place(origin, row),
                "accuracy",
                f"{values[row]:g} / {scale:g} (--scale) lies above 1",
            )
        note = "" if scale == 1.0 else f"accuracy divided by {scale:g} (--scale)"
        return pd.Series(np.minimum(scaled, 1.0)), note
    above = values > 1.0 + ROUNDING
    if not above.any():
        if whole is not None and len(whole) > len(table) and "accuracy" in whole.columns:
            _one_unit(whole, source)
        return pd.Series(np.minimum(values, 1.0)), ""
    row = int(np.argmax(values))
    largest = f"{values[row]:g}"
    remedy = "--scale N divides by the value of a right answer, by 100 where it is per cent"
    if values[row] > 100.0:
        raise _bad(
            source,
            _place(origin, row),
            "accuracy",
            f"{largest} lies outside [0, 1] (a fraction) and [0, 100] (per cent); {remedy}",
        )
    if NO_ACCURACY.search(measured) or values[row] <= MOST_OF_A_REWARD:
        what = (
            f"{measured!r} is no name of an accuracy"
            if NO_ACCURACY.search(measured)
            else ("too little to be taken for per cent")
        )
        raise _bad(
            source,
            _place(origin, row),
            "accuracy",
            f"the largest value is {largest}, no fraction in [0, 1], and {what}; {remedy}",
        )
    evidence = _two_units(table)
    if evidence is not None:
        small, large, why = evidence
        raise _bad(
            source,
            f"{_place(origin, small)} and {_place(origin, large)}",
            "accuracy",
            f"{values[small]:g} reads as a fraction, {values[large]:g} as per cent ({why}): one unit a column",
        )
    note = (
        f"accuracy read as per cent (all in [0, 100], {int(above.sum())} of {len(values)} above 1):"
        " divided by 100"
    )
    return pd.Series(values / 100.0), note


def _one_unit(whole: pd.DataFrame, source: str) -> None:
    """Refuse rows that look like fractions, selected from a column that does not."""
    cells = whole["accuracy"]
    try:
        values = _parsed(cells, _is_empty(cells))
    except (OverflowError, TypeError):
        return
    largest = np.nanmax(values, initial=0.0)
    if 1.0 + ROUNDING < largest <= 100.0:
        raise InputError(
            f"{source}, column accuracy: at most 1 in the rows selected, up to {largest:g} in the others:"
            " --scale 100 if it is per cent, --scale 1 if not"
        )


def _nothing_at_the_start(table: pd.DataFrame) -> list[str]:
    """Fill what is counted from the start of a run with 0 at step 0, in place; returns notes."""
    if "step" not in table.columns:
        return []
    start = (table["step"] == 0).to_numpy(np.bool_)
    notes: list[str] = []
    for name in CUMULATIVE:
        if name not in table.columns:
            continue
        filled = start & table[name].isna().to_numpy(np.bool_)
        if filled.any() and table[name].notna().any():
            table[name] = table[name].mask(filled, 0.0)
            notes.append(f"{name} is 0 at step 0, where it was not logged")
    return notes


def _two_units(table: pd.DataFrame) -> tuple[int, int, str] | None:
    """Rows (at most 1, above 1) that are one quantity in two units, and why; None without evidence.

    Evidence is a factor of about 100 (50 to 200) where training makes none: an evaluation against both
    its neighbours in its run; or a row at step 0 against the other runs there, where all runs of a model
    are alike; or a run that never exceeds 1 against runs that do, in at least two rows of its own condition
    at the same steps.
    """
    keys = [name for name in CONDITION if name in table.columns and name not in ("seed", "arm")]
    rows = table[["run_id", "accuracy", *keys]].assign(
        step=table["step"] if "step" in table.columns else -1, row=np.arange(len(table))
    )
    ordered = rows.sort_values(["run_id", "step"], kind="stable")
    runs = ordered.groupby("run_id", sort=False)
    value = ordered["accuracy"]
    beside = pd.DataFrame(
        {"before": runs["accuracy"].shift(1), "after": runs["accuracy"].shift(-1)}
    )
    for small, large in ((value, beside.min(axis=1)), (beside.max(axis=1), value)):
        # min and max skip what is missing: both neighbours must be there.
        odd = _hundredfold(small, large) & beside.notna().all(axis=1)
        spread = beside.max(axis=1) <= 4.0 * beside.min(axis=1)
        found = np.flatnonzero((odd & spread).to_numpy())
        if found.size:
            k = int(found[0])
            pair = [int(ordered["row"].iloc[k]), int(ordered["row"].iloc[k - 1])]
            pair.sort(key=lambda i: float(table["accuracy"].iloc[i]))
            return pair[0], pair[1], "neighbours in one run"
    most = runs["accuracy"].transform("max")
    below, above = ordered[(most <= 1.0) & (most > 0.0)], ordered[most > 1.0]
    start = [name for name in ("model", "parameters") if name in keys]
    for on, least, why in (
        (["step", *start], 1, "both before training"),
        (["step", *keys], 2, "one condition at one step"),
    ):
        # Before training a single row tells, be its run above 1 later or not.
        ours = ordered[(ordered["step"] == 0) & (value <= 1.0)] if least == 1 else below
        pairs = ours.merge(above, on=on, suffixes=("", "_above"))
        if least == 1:
            pairs = pairs[pairs["run_id"] != pairs["run_id_above"]]
        pairs = pairs[pairs["accuracy"] > 0.0]
        fold = _hundredfold(pairs["accuracy"], pairs["accuracy_above"])
        for _, own in pairs.assign(fold=fold).groupby("run_id", sort=False):
            if len(own) >= least and bool(own["fold"].all()):
                return int(own["row"].iloc[0]), int(own["row_above"].iloc[0]), why
    return None


def _hundredfold(small: pd.Series[Any], large: pd.Series[Any]) -> pd.Series[Any]:
    """Whether small is at most 1, large above it, and their ratio that of two units."""
    return (small <= 1.0) & (large > 1.0) & (large >= 50.0 * small) & (large <= 200.0 * small)


def _one_condition_per_run(table: pd.DataFrame, origin: pd.Series[Any], source: str) -> None:
    """Refuse a run whose condition changes, be it from a value to none."""
    runs = pd.factorize(table["run_id"])[0]
    begins = np.unique(runs, return_index=True)[1][runs]  # the row in which each row's run begins
    for name in varying(table, CONDITION):
        codes = pd.factorize(table[name], use_na_sentinel=False)[0]
        other = codes != codes[begins]
        if other.any():
            row = int(other.argmax())
            run = table["run_id"].iloc[row]
            now, was = (
                "empty"
                if pd.isna(value)
                else f"{value:g}"
                if isinstance(value, float)
                else repr(value.item() if isinstance(value, np.generic) else value)
                for value in (table[name].iloc[row], table[name].iloc[int(begins[row])])
            )
            raise _bad(
                source, _place(origin, row), name, f"{now}, but run {run!r} began with {was}"
            )


def _one_row_per_key(
    table: pd.DataFrame, origin: pd.Series[Any], source: str
) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Sort by run and step, drop exact repeats, refuse two different rows under one key."""
    notes: list[str] = []
    stepped = "step" in table.columns
    if stepped and table["step"].isna().any():
        raise _bad(
            source, _place(origin, int(table["step"].isna().to_numpy().argmax())), "step", "empty"
        )
    key = ["run_id", "step"] if stepped else ["run_id"]
    shared = table.duplicated(key, keep=False).to_numpy()
    if stepped and shared.any():
        # Cells of columns we do not know may be lists or objects: compared as text.
        unknown = {name: str for name in table.columns if name not in _BY_NAME}
        again = table[shared].astype(unknown).duplicated().to_numpy()
        if again.any():
            notes.append(f"{int(again.sum())} rows repeat another exactly: dropped")
            kept = np.ones(len(table), dtype=np.bool_)
            kept[np.flatnonzero(shared)[again]] = False
            table = table[kept].reset_index(drop=True)
            origin = origin[kept].reset_index(drop=True)
    clash = table.duplicated(key).to_numpy()
    if clash.any():
        row = int(clash.argmax())
        run = table["run_id"].iloc[row]
        if not stepped:
            raise InputError(
                f"{source}, {_place(origin, row)}: run_id {run!r} has several rows and there is no"
                " column step"
            )
        step = table["step"].iloc[row]
        first = int(((table["run_id"] == run) & (table["step"] == step)).to_numpy().argmax())
        raise InputError(
            f"{source}, {_place(origin, row)}: run_id {run!r} has step {step} twice with"
            f" different values (first at {_place(origin, first)})"
        )
    if stepped:
        # Runs may come in any order; steps of one run out of order mean the file was shuffled.
        runs = pd.factorize(table["run_id"])[0]
        order = np.argsort(runs, kind="stable")
        steps = table["step"].to_numpy()[order]
        if bool(((np.diff(runs[order]) == 0) & (np.diff(steps) < 0)).any()):
            notes.append("rows were out of order within a run: sorted by step")
    # Sorted by the runs' ranks: comparing names a million times over is slow.
    codes, names = pd.factorize(table["run_id"])
    ranks = pd.Series(names).rank(method="first").to_numpy(np.int64)[codes]
    order = np.lexsort((table["step"].to_numpy(), ranks)) if stepped else np.argsort(ranks)
    if bool((np.diff(order) != 1).any()):
        table = table.take(order).reset_index(drop=True)
    return table, tuple(notes)


def alike(table: pd.DataFrame) -> tuple[str, ...]:
    """What is to be said of runs that are compared and were not made alike; nothing where all were.

    Two runs of one arm, setting and seed are named, with what differs between them; and so is what differs
    between the runs of one setting, be they of one arm or of two.
    """
    if "arm" not in table.columns:
        return ()
    keys = [name for name in (*SETTING, *VERIFIER, "arm", "seed") if name in table.columns]
    runs = table.drop_duplicates("run_id")
    made = [name for name in PROVENANCE if name in runs.columns]
    notes: list[str] = []
    if "seed" in keys and runs["seed"].notna().all():
        for _, cell in runs.groupby(keys, dropna=False, sort=False):
            if len(cell) < 2:
                continue
            differ = varying(cell, made)
            spoken = "; ".join(
                f"{name} {' and '.join(dict.fromkeys(str(value) for value in cell[name]))}"
                for name in differ
            )
            first, second = cell["run_id"].tolist()[:2]
            notes.append(
                f"arm {cell['arm'].iloc[0]!r}, seed {cell['seed'].iloc[0]}: {len(cell)} runs ({first}, {second}"
                f"{', …' if len(cell) > 2 else ''}), which differ in "
                + (spoken or "nothing that the table says")
            )
    if notes:
        kept = notes[:3]
        return (
            *kept,
            *(
                [f"and {len(notes) - 3} more arms and seeds of several runs"]
                if len(notes) > 3
                else []
            ),
        )
    settings = [name for name in SETTING if name in runs.columns]
    groups = runs.groupby(settings, dropna=False, sort=False) if settings else [((), runs)]
    for _, cell in groups:
        known = cell.dropna(subset=made) if made else cell
        for name in varying(known, made):
            values = list(dict.fromkeys(str(value) for value in known[name]))
            notes.append(
                f"runs that are compared differ in {name}: {', '.join(values[:4])}"
                f"{', …' if len(values) > 4 else ''}; --where {name}=… keeps those made alike"
            )
    return tuple(dict.fromkeys(notes))


def varying(frame: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """Those of `names` that are columns of `frame` with more than one value."""
    return [
        name for name in names if name in frame.columns and frame[name].nunique(dropna=False) > 1
    ]
