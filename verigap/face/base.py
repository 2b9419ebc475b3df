"""What every verb shares: results that can be shown, and the command line's words as the objects behind them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import numbers
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import pandas as pd

import theory
from empirical.errors import StudyError
from fits import InputError, RunTable, parse_selection
from fits import read_runs as read_table
from fits.each import Each
from fits.plain import plain
from fits.selection import Selection, select, values_there
from fits.table import IN_MEMORY, derive_columns, validate_runs
from theory.estimators import PRESETS
from verigap.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Shown")

MOST_ROWS: Final = 40

RunsLike = RunTable | pd.DataFrame | str | Path
Words = str | Sequence[str] | None


class Shown:
    """A result that can be shown: mixed into the frozen results of the verbs."""

    def plain(self) -> dict[str, Any]:
        """What `--json` prints."""
        return plain(self)

    def to_frame(self) -> pd.DataFrame:
        """The result as a table."""
        raise NotImplementedError

    def headline(self) -> str:
        """What it is, in a line."""
        return type(self).__name__

    def remarks(self) -> Sequence[str]:
        """What a reader must know beside the table, a line each."""
        return ()

    def __repr__(self) -> str:
        table = _readable(self.to_frame()).to_string(
            index=False, max_rows=MOST_ROWS, na_rep="–", float_format="{:.4g}".format
        )
        return "\n".join([self.headline(), table, *self.remarks()])

    def _repr_html_(self) -> str:
        from html import escape

        told = "".join(f"<p>{escape(line)}</p>" for line in self.remarks())
        table = _readable(self.to_frame()).to_html(
            index=False, max_rows=MOST_ROWS, border=0, na_rep="–", float_format="{:.4g}".format
        )
        return f"<h4>{escape(self.headline())}</h4>{table}{told}"


def _readable(frame: pd.DataFrame) -> pd.DataFrame:
    """`frame` for a reader: an interval in one column, a dash for what is not there, no column of nothing else."""
    if len(frame) > MOST_ROWS:
        return frame

    def interval(low: Any, high: Any) -> str:
        ends = ["–" if pd.isna(end) else f"{end:.4g}" for end in (low, high)]
        return "–" if ends == ["–", "–"] else f"[{', '.join(ends)}]"

    shown: dict[str, Any] = {}
    for name in map(str, frame.columns):
        stem, low = name.removesuffix("low"), frame[name]
        if name.endswith("_low") and f"{stem}high" in frame.columns:
            pairs = zip(low, frame[f"{stem}high"], strict=True)
            shown[stem.rstrip("_")] = [interval(*ends) for ends in pairs]
        elif not (name.endswith("_high") and f"{name.removesuffix('high')}low" in frame.columns):
            shown[name] = ["–" if pd.isna(cell) else cell for cell in low]
    empty = {"–", ""}
    return pd.DataFrame(
        {name: cells for name, cells in shown.items() if not cells or set(map(str, cells)) - empty}
    )


def as_shown(cls: type[S], result: Any, **more: Any) -> S:
    """`result`, a frozen dataclass, as its shown subclass."""
    kept = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.init}
    return cls(**kept, **more)


def frame_of(items: Iterable[Any]) -> pd.DataFrame:
    """A row per dataclass: its numbers and words, an interval as two columns, nothing that is nested deeper."""
    rows: list[dict[str, Any]] = []
    for item in items:
        row: dict[str, Any] = {}
        for name, value in plain(item).items():
            if name.endswith("_ci") or name == "ci":
                low, high = value or (None, None)
                row |= {f"{name}_low": low, f"{name}_high": high}
            elif isinstance(value, str | float | int | None):
                row[name] = value
        rows.append(row)
    return pd.DataFrame(rows)


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with every mistake of the user's raised as UserError, in the command line's sentence.

    Arguments are held to their annotation first; any number that Python or NumPy knows is taken.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise UserError(f"{function.__name__}: {error}") from None
        hints = get_type_hints(function)
        for name, value in given.arguments.items():
            given.arguments[name] = _held(name, value, hints[name])
        try:
            return function(*given.args, **given.kwargs)
        except (InputError, StudyError, theory.ArgumentError) as error:
            raise UserError(str(error)) from error

    return wrapped


KINDS: Final[Mapping[Any, tuple[Any, str]]] = {
    str: (str, "text"),
    Path: (Path, "a path"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (bool, "true or false"),
    Sequence[str]: (Sequence, "a list of text"),
    RunTable: (RunTable, "a run table"),
    pd.DataFrame: (pd.DataFrame, "a data frame"),
    type(None): (type(None), "None"),
    theory.Estimator: (theory.Estimator, "an Estimator"),
    Each: (Callable, "a function"),
}


def _kind(hint: Any) -> tuple[Any, str] | None:
    """What a value of this annotation is an instance of, and its name; None where that is not plain."""
    if hint in KINDS:
        return KINDS[hint]
    if get_origin(hint) is Callable:
        return KINDS[Each]
    return (hint, f"a {hint.__name__}") if isinstance(hint, type) else None


def _held(name: str, value: Any, hint: Any) -> Any:
    """`value`, a number as Python's own; refused where it is of another kind than its annotation.

    What has no plain kind among its annotations is the verb's own to check.
    """
    allowed = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    kinds = [kind for one in allowed if (kind := _kind(one)) is not None]
    if len(kinds) < len(allowed):
        return value
    if isinstance(value, str) and not value and Path in allowed:
        raise UserError(f"{name} is empty: a path was expected")
    for one, (kind, _) in zip(allowed, kinds, strict=True):
        if not isinstance(value, kind) or (kind is not bool and isinstance(value, bool)):
            continue
        if one in (int, float):
            return one(value)
        items: Any = value if one == Sequence[str] else ()
        if all(isinstance(item, str) for item in items):
            return value
    *rest, last = (spoken for kind, spoken in kinds if kind is not type(None))
    words = f"{', '.join(rest)} or {last}" if rest else last
    raise UserError(f"{name} must be {words}, got {in_short(value)}")


def in_short(value: object) -> str:
    """`value` in a few words of one line."""
    text = repr(value)
    return text if len(text) <= 60 and "\n" not in text else f"a {type(value).__name__}"


def listed(words: Words) -> list[str]:
    """Words as the list of flags they stand for."""
    return [words] if isinstance(words, str) else list(words or ())


def selection_of(name: str, words: Words | Selection) -> Selection:
    """A selection from the command line's words, at least one of which must be there."""
    if isinstance(words, Selection):
        return words
    if not listed(words):
        raise UserError(f"{name} selects nothing: name rows, such as 'arm=clean'")
    return parse_selection(listed(words))


def table_of(runs: RunsLike, where: Words) -> RunTable:
    """The checked run table that `runs` stands for, its rows that satisfy `where`."""
    wanted = listed(where)
    if isinstance(runs, str | Path):
        return read_table(Path(runs), where=wanted)
    if isinstance(runs, pd.DataFrame):
        checked, notes = validate_runs(runs, source="the data frame")
        frame, derived = derive_columns(checked)
        runs = RunTable(frame, "the data frame", IN_MEMORY, (*notes, *derived))
    if not wanted:
        return runs
    selection = parse_selection(wanted)
    kept = select(runs.frame, selection, source=runs.source)
    if not kept.any():
        there = values_there(runs.frame, selection)
        raise UserError(f"{runs.source}: no row satisfies --where {selection.text}: {there}")
    return dataclasses.replace(runs, frame=runs.frame[kept].reset_index(drop=True))


def estimator_of(name: str | theory.Estimator) -> theory.Estimator:
    """An estimator by its name."""
    return name if isinstance(name, theory.Estimator) else theory.estimator_named(name)


def estimator_in_words(chosen: str | theory.Estimator) -> str:
    """The name of an estimator, or of one without a name what it is made of."""
    if isinstance(chosen, str):
        return chosen
    return next((name for name, one in PRESETS.items() if one == chosen), repr(chosen))


MOST_POINTS: Final = 1000  # of a range of rates


def grid(name: str, given: str | Sequence[float] | float) -> list[float]:
    """Numbers as they are, or those of "0,0.1,0.4" or of "low:high:count"."""
    try:
        if not isinstance(given, str):
            listed = [given] if isinstance(given, int | float | numbers.Real) else list(given)
            if not listed:
                raise ValueError
            return [float(one) for one in listed]
        if ":" not in given:
            return [float(part) for part in given.split(",")]
        low, high, count = given.split(":")
        steps, width = int(count), float(high) - float(low)
    except (TypeError, ValueError):
        raise UserError(f"{name} {given}: must be numbers, 0,0.1,0.4 or low:high:count") from None
    if not 2 <= steps <= MOST_POINTS:
        raise UserError(f"{name} {given}: a range needs at least 2 points, at most {MOST_POINTS:,}")
    return [float(low) + width * i / (steps - 1) for i in range(steps)]
