"""What the names of runs say of them, by a pattern: `{arm}-seed{seed}`.

Law. The pattern is matched against the whole name, or its last part where the pattern has no slash; braces hold
columns of the run table, `{_}` anything. A run that does not match is an error, not a gap.
"""

from __future__ import annotations

import re
from typing import Any, Final

import pandas as pd

from fits.errors import InputError
from fits.table import COLUMNS

__all__ = ["columns_from_names"]

_NUMBER: Final = {
    "real": r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?",
    "integer": r"\d+",
    "text": r".+?",
}


def columns_from_names(frame: pd.DataFrame, pattern: str) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Fill columns from the run names by `pattern`; returns the frame and what was overruled.

    Raises InputError naming a column that is none, or the first run that does not match.
    """
    if "run_id" not in frame.columns:
        raise InputError(f"--runs-from {pattern!r}: the log names no runs")
    compiled, names = _compiled(pattern)
    found: dict[str, dict[str, str]] = {}
    for run in dict.fromkeys(frame["run_id"].astype(str)):
        match = compiled.fullmatch(run)
        if match is None and "/" not in pattern:
            match = compiled.fullmatch(run.rpartition("/")[2])
        if match is None:
            raise InputError(f"--runs-from {pattern!r}: the run {run!r} has no such name")
        found[run] = match.groupdict()
    runs = frame["run_id"].astype(str)
    overruled = [name for name in names if name in frame.columns]
    filled: dict[str, Any] = {
        name: pd.Series([found[run][name] for run in runs], index=frame.index, dtype=object)
        for name in names
    }
    said = (f"{', '.join(names)} read from the names of the runs",) + (
        (f"the log's own {', '.join(overruled)} overruled by them",) if overruled else ()
    )
    return frame.assign(**filled), said


def _compiled(pattern: str) -> tuple[re.Pattern[str], list[str]]:
    kinds = {column.name: column.kind for column in COLUMNS}
    kinds = {
        name: kind for name, kind in kinds.items() if name not in ("run_id", "step", "accuracy")
    }
    parts = re.split(r"\{(\w+)\}", pattern)
    names = [name for name in parts[1::2] if name != "_"]
    if not names or "{" in "".join(parts[::2]) or "}" in "".join(parts[::2]):
        raise InputError(f"--runs-from {pattern!r}: is no pattern such as {{arm}}-seed{{seed}}")
    for place, name in enumerate(names):
        if name not in kinds:
            raise InputError(
                f"--runs-from {pattern!r}: {name!r} is none of the columns {', '.join(kinds)}"
            )
        if name in names[:place]:
            raise InputError(f"--runs-from {pattern!r}: {name!r} is in it twice")
    text = "".join(
        re.escape(part)
        if place % 2 == 0
        else ".*?"
        if part == "_"
        else f"(?P<{part}>{_NUMBER[kinds[part]]})"
        for place, part in enumerate(parts)
    )
    return re.compile(text, re.IGNORECASE), names
