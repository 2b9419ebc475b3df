"""Readers: whatever a trainer left behind, as one run table.

`read_runs` recognises the format, lets the reader of that format deliver raw rows, then does the same
for all of them: manifest, `--map`, `--set`, derived columns, `--where`, validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from fits.errors import InputError
from fits.files import load_yaml
from fits.readers.formats import FORMATS as FORMATS_OF_ONE
from fits.readers.formats import Reader, format_of_file, format_of_folder
from fits.readers.history import Ask, Raw
from fits.readers.many import read_folder, runs_below
from fits.readers.names import columns_from_names
from fits.readers.text import head_of, read_text
from fits.selection import parse_selection, select, values_there
from fits.table import (
    COLUMNS,
    RunTable,
    alike,
    derive_columns,
    fill_columns,
    map_columns,
    validate_runs,
)

__all__ = ["FORMATS", "read_runs", "recognise", "table_in"]

FORMATS: Final[Mapping[str, tuple[str, Reader]]] = {
    **FORMATS_OF_ONE,
    "runs": ("a folder of runs", read_folder),
}


def table_in(folder: Path) -> Path | None:
    """The run table a folder without runs stands for: runs.parquet or runs.csv; None where there is none."""
    tables = [folder / f"runs.{suffix}" for suffix in ("parquet", "csv")]
    found = next((table for table in tables if table.is_file()), None)
    if found is None or format_of_folder(folder) is not None:
        return None
    return None if any(not run.is_table for run in runs_below(folder)[0]) else found


def recognise(path: Path) -> str:
    """The format of `path`, one of FORMATS.

    Raises InputError where there is nothing, nothing recognisable, or a folder without runs.
    """
    if path.is_dir():
        kind = format_of_folder(path)
        if kind is not None:
            return kind
        found, unknown = runs_below(path)
        if found:
            return "runs"
        seen = f"; no log recognised in {', '.join(unknown[:4])}" if unknown else ""
        raise InputError(
            f"{path}: a folder with no runs in it (name a table inside it, or a run folder){seen}"
        )
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    format = format_of_file(path)
    if format is None and path.suffix == ".json" and head_of(path).lstrip().startswith("["):
        raise InputError(
            f"{path}: is one JSON list; write its objects one a line, to a .jsonl file"
        )
    if format is None:
        raise InputError(
            f"{path}: no format recognised; name one with --format: {', '.join(FORMATS)}"
        )
    return format


def read_runs(
    path: Path,
    *,
    format: str = "auto",
    metric: str | None = None,
    manifest: Path | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, object] | None = None,
    where: Sequence[str] = (),
    runs_from: str | None = None,
    scale: float | None = None,
) -> RunTable:
    """Read `path` as a checked run table.

    path: a table, a log, a run folder or a folder of runs; a folder without any whose table is
    called runs.parquet or runs.csv stands for that table. format: one of FORMATS, or "auto".
    metric: which logged value is the accuracy, where a log holds several.
    runs_from: a pattern that reads columns from the names of the runs, `{arm}-seed{seed}`.
    manifest: a YAML file, run -> columns, for logs that do not carry their condition.
    columns: {new: existing} copies. constants: {column: value}. where: selections, any of which may
    hold. They apply in this order; then the rows that are left are checked.
    scale: what accuracies are divided by: 100 for per cent, 2 for a reward of 2 for a right answer; None:
    per cent is recognised where it is plain.
    Raises InputError, one line naming file, row or column, and the value.
    """
    if scale is not None and not (np.isfinite(scale) and scale > 0.0):
        raise InputError(f"--scale {scale:g}: accuracies are divided by a number above 0")
    ask = Ask(metric, columns or {})
    try:
        path, chosen, raw = _read_raw(path, format, ask)
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read ({error.strerror})") from None
    source = str(path)
    frame, notes = raw.frame, raw.notes
    if runs_from is not None and "run_id" in frame.columns:
        frame, said = columns_from_names(frame, runs_from)
        notes = (*notes, *said)
    if manifest is not None:
        frame, said = _apply_manifest(frame, manifest)
        notes = (*notes, *said)
    named = "run_id" in frame.columns
    measured = raw.measured
    left = {new: old for new, old in ask.columns.items() if new not in raw.taken}
    frame = map_columns(frame, left, source=source)
    if runs_from is not None and not named:
        frame, said = columns_from_names(frame, runs_from)
        notes = (*notes, *said)
    frame = fill_columns(frame, constants or {})
    whole = None
    del raw
    if where:
        selection = parse_selection(where)
        rows = select(frame, selection, source=source)
        if not rows.any():
            raise InputError(
                f"{source}: no row satisfies --where {selection.text}:"
                f" {values_there(frame, selection)}"
            )
        whole = frame[["accuracy"]] if "accuracy" in frame.columns else None
        frame = frame[rows].reset_index(drop=True)
    table, checked = validate_runs(
        frame, source=source, measured=measured, scale=scale, whole=whole
    )
    table, derived = derive_columns(table)
    return RunTable(table, source, chosen, (*notes, *checked, *derived, *alike(table)))


def _read_raw(path: Path, format: str, ask: Ask) -> tuple[Path, str, Raw]:
    """What was read, its format, and its raw rows."""
    if path.is_dir() and (table_file := table_in(path)) is not None:
        path = table_file
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_file() and not path.is_dir():
        # It is read once to be recognised and once for its rows.
        raise InputError(f"{path}: is a stream, which can be read only once: save it to a file")
    chosen = recognise(path) if format == "auto" else format
    if chosen not in FORMATS:
        raise InputError(f"format {chosen!r} is none of: auto, {', '.join(FORMATS)}")
    return path, chosen, FORMATS[chosen][1](path, ask)


def _apply_manifest(frame: pd.DataFrame, manifest: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Columns from a manifest, {run_id or path: {column: value}}, onto the runs it names."""
    entries: Any = load_yaml(read_text(manifest), source=str(manifest))
    if not isinstance(entries, dict) or not all(isinstance(v, dict) for v in entries.values()):
        raise InputError(f"{manifest}: expected run: {{column: value, …}} for each run")
    known = {column.name for column in COLUMNS}
    if "run_id" not in frame.columns:
        raise InputError(f"{manifest}: the log names no runs to attach the manifest to")
    runs = frame["run_id"].astype(str)
    fills: dict[str, dict[str, Any]] = {}
    for name, values in entries.items():
        strange = [key for key in values if key not in known]
        if strange:
            raise InputError(f"{manifest}, {name}: {strange[0]!r} is no column of the run table")
        matches = {run for run in runs.unique() if run == str(name) or run == Path(str(name)).name}
        if not matches:
            raise InputError(
                f"{manifest}: {name!r} names no run; there are: {', '.join(runs.unique()[:8])}"
            )
        for run in matches:
            fills.setdefault(run, {}).update(values)
    absent = [run for run in runs.unique() if run not in fills]
    out = frame.copy()
    for column in dict.fromkeys(key for values in fills.values() for key in values):
        old = (
            frame[column] if column in frame.columns else pd.Series([""] * len(frame), dtype=object)
        )
        out[column] = [
            fills.get(run, {}).get(column, before) for run, before in zip(runs, old, strict=True)
        ]
    said = (f"not in the manifest: {', '.join(absent)}",) if absent else ()
    return out, said
