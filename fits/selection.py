"""Selections of rows: plain comparisons on columns, never evaluated as code.

Law. `fpr=0,fnr=0` is a conjunction; several texts are alternatives: `fpr=0`, `fnr=0` is "either".
Numbers compare as numbers (equality within 1e-9, so that .1 + .2 is .3), anything else as text.
Source: docs/contract.md#runs-and-selections.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.errors import InputError

__all__ = [
    "Condition",
    "Selection",
    "parse_assignments",
    "parse_selection",
    "select",
    "values_there",
]

MOST_LISTED: Final = 8
_CONDITION: Final = re.compile(r"^\s*([^\s=!<>,]+)\s*(!=|<=|>=|==|=|<|>)\s*([^=!<>\s].*?|)\s*$")
_ORDER: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


@dataclass(frozen=True)
class Condition:
    """One comparison: column, one of = != < <= > >=, and the value as it was written."""

    column: str
    comparison: str
    value: str


@dataclass(frozen=True)
class Selection:
    """Alternatives of conjunctions; no alternative at all selects every row."""

    alternatives: tuple[tuple[Condition, ...], ...] = ()

    @property
    def text(self) -> str:
        """The selection as a person would read it."""
        return " or ".join(
            ",".join(f"{c.column}{c.comparison}{c.value}" for c in conjunction)
            for conjunction in self.alternatives
        )


def parse_selection(texts: Sequence[str]) -> Selection:
    """Parse selections, e.g. ["fpr=0,fnr=0", "arm=clean"]: commas AND, list items OR.

    Raises InputError showing the part that is no comparison.
    """
    alternatives: list[tuple[Condition, ...]] = []
    for text in texts:
        conjunction: list[Condition] = []
        for part in text.split(","):
            match = _CONDITION.match(part)
            if match is None:
                raise InputError(
                    f"selection {text!r}: {part.strip()!r} is no comparison such as fpr=0 or step>=100"
                )
            column, comparison, value = match.groups()
            conjunction.append(Condition(column, "=" if comparison == "==" else comparison, value))
        alternatives.append(tuple(conjunction))
    return Selection(tuple(alternatives))


def parse_assignments(texts: Sequence[str], *, option: str) -> dict[str, str]:
    """Parse `--map`/`--set` texts, "column=value,column=value", into a dict.

    Raises InputError showing the part that is no assignment.
    """
    pairs: dict[str, str] = {}
    for text in texts:
        for part in text.split(","):
            name, equals, value = (piece.strip() for piece in part.partition("="))
            if not (name and equals and value):
                raise InputError(f"{option} {text!r}: {part.strip()!r} is not column=value")
            pairs[name] = value
    return pairs


def select(
    frame: pd.DataFrame, selection: Selection, *, source: str = "the table"
) -> NDArray[np.bool_]:
    """Which rows of `frame` the selection takes, shape (n,).

    Raises InputError naming a column that is not there, or an order comparison with no number.
    """
    if not selection.alternatives:
        return np.ones(len(frame), dtype=np.bool_)
    taken = np.zeros(len(frame), dtype=np.bool_)
    for conjunction in selection.alternatives:
        rows = np.ones(len(frame), dtype=np.bool_)
        for condition in conjunction:
            rows &= _holds(frame, condition, source)
        taken |= rows
    return taken


def values_there(frame: pd.DataFrame, selection: Selection) -> str:
    """What the columns of a selection hold, for a message about a selection that takes no row."""
    columns = dict.fromkeys(c.column for conjunction in selection.alternatives for c in conjunction)
    return "; ".join(f"{name} is {_listed(frame[name])}" for name in columns)


def _listed(cells: pd.Series[Any]) -> str:
    """The values of a column: all where they are few, else their range or the first of them."""
    numbers = pd.to_numeric(cells, errors="coerce")
    if numbers.notna().all():
        values = np.unique(numbers.to_numpy(np.float64))
        if len(values) > MOST_LISTED:
            return f"from {values[0]:g} to {values[-1]:g}"
        return " or ".join(f"{value:g}" for value in values)
    names = list(dict.fromkeys("empty" if pd.isna(c) else str(c).strip() or "empty" for c in cells))
    return " or ".join(names[:MOST_LISTED]) + (" or …" if len(names) > MOST_LISTED else "")


def _holds(frame: pd.DataFrame, condition: Condition, source: str) -> NDArray[np.bool_]:
    spoken = f"{condition.column}{condition.comparison}{condition.value}"
    if condition.column not in frame.columns:
        have = ", ".join(str(name) for name in frame.columns if not str(name).startswith("_"))
        raise InputError(
            f"{source}: selection {spoken!r}: no column {condition.column!r}; there are: {have}"
        )
    cells = frame[condition.column]
    numbers = pd.to_numeric(cells, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    try:
        wanted = float(condition.value)
    except ValueError:
        wanted = None
    if condition.comparison in ("=", "!="):
        text = np.array([str(cell).strip() for cell in cells], dtype=object)
        equal = np.asarray(text == condition.value, dtype=np.bool_)
        if wanted is not None:
            equal |= np.abs(numbers - wanted) <= 1e-9 * max(1.0, abs(wanted))
        return equal if condition.comparison == "=" else ~equal
    if wanted is None:
        raise InputError(f"selection {spoken!r}: {condition.value!r} is not a number")
    return np.asarray(_ORDER[condition.comparison](numbers, wanted), dtype=np.bool_)
