"""What every verb shares: results that can be shown, and the command line's words as the objects behind them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import numbers
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar, Union, get_args, get_origin, get_type_hints

import pandas as pd

import theory
from empirical.errors import StudyError
from fits import InputError, RunTable, parse_selection
from fits import read_runs as read_table
from fits.plain import plain
from fits.selection import Selection, select, values_there
from fits.table import derive_columns, validate_runs
from verigap.errors import UserError

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S", bound="Shown")

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
        table = self.to_frame().to_string(index=False, max_rows=40, float_format="{:.4g}".format)
        return "\n".join([self.headline(), table, *self.remarks()])

    def _repr_html_(self) -> str:
        from html import escape

        told = "".join(f"<p>{escape(line)}</p>" for line in self.remarks())
        table = self.to_frame().to_html(index=False, max_rows=40, border=0)
        return f"<h4>{escape(self.headline())}</h4>{table}{told}"


def as_shown(cls: type[S], result: Any, **more: Any) -> S:
    """`result`, a frozen dataclass, as its shown subclass."""
    kept = {f.name: getattr(result, f.name) for f in dataclasses.fields(result) if f.init}
    return cls(**kept, **more)


def verb(function: Callable[P, R]) -> Callable[P, R]:
    """`function` with every mistake of the user's raised as UserError, in the command line's sentence.

    Arguments of a plain kind (text, numbers, paths, lists of text) are held to their annotation first.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            given = signature.bind(*args, **kwargs).arguments
        except TypeError as error:
            raise UserError(f"{function.__name__}: {error}") from None
        hints = get_type_hints(function)
        for name, value in given.items():
            _check(name, value, hints[name])
        try:
            return function(*args, **kwargs)
        except (InputError, StudyError, theory.ArgumentError) as error:
            raise UserError(str(error)) from error

    return wrapped


KINDS: Final[Mapping[Any, tuple[type, str]]] = {
    str: (str, "text"),
    Path: (Path, "a path"),
    int: (numbers.Integral, "a whole number"),
    float: (numbers.Real, "a number"),
    bool: (bool, "true or false"),
    type(None): (type(None), "None"),
    Sequence[str]: (Sequence, "a list of text"),
}


def _check(name: str, value: object, hint: Any) -> None:
    """Refuse a value of another kind than its annotation; what is no plain kind is the verb's own to check."""
    allowed = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    if not all(kind in KINDS for kind in allowed):
        return
    for kind in allowed:
        if not isinstance(value, KINDS[kind][0]) or (kind is not bool and isinstance(value, bool)):
            continue
        if not isinstance(value, Sequence) or all(isinstance(one, str) for one in value):
            return
    words = " or ".join(KINDS[kind][1] for kind in allowed if kind is not type(None))
    raise UserError(f"{name} must be {words}, got {value!r}")


def listed(words: Words) -> list[str]:
    """Words as the list of flags they stand for."""
    return [words] if isinstance(words, str) else list(words or ())


def selection_of(words: Words | Selection) -> Selection:
    """A selection from the command line's words."""
    return words if isinstance(words, Selection) else parse_selection(listed(words))


def table_of(runs: RunsLike, where: Words) -> RunTable:
    """The checked run table that `runs` stands for, its rows that satisfy `where`."""
    wanted = listed(where)
    if isinstance(runs, str | Path):
        return read_table(Path(runs), where=wanted)
    if isinstance(runs, pd.DataFrame):
        checked, notes = validate_runs(runs, source="the data frame")
        frame, derived = derive_columns(checked)
        runs = RunTable(frame, "the data frame", "csv", (*notes, *derived))
    elif not isinstance(runs, RunTable):
        raise UserError(
            f"runs must be a run table, a data frame or a path, got {type(runs).__name__}"
        )
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
