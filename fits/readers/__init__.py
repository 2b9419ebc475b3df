"""Readers: whatever a trainer left behind, as one run table.

`read_runs` recognises the format, lets the reader of that format deliver raw rows, then does the same
for all of them: manifest, `--map`, `--set`, derived columns, `--where`, validation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from fits.errors import InputError
from fits.files import load_yaml
from fits.readers.folders import (
    is_run_folder,
    read_json_lines,
    read_run_folder,
    read_trainer_state,
)
from fits.readers.grid import is_grid, read_grid
from fits.readers.history import Raw, frame_of
from fits.readers.tensorboard import event_files, read_events
from fits.readers.text import csv_header, read_csv, read_parquet, read_text
from fits.readers.verl import looks_like_verl, read_verl
from fits.readers.wandb import (
    is_chart_export,
    is_history,
    offline_file,
    read_history,
    read_offline_run,
)
from fits.selection import parse_selection, select, values_there
from fits.table import (
    COLUMNS,
    ORIGIN,
    RunTable,
    derive_columns,
    fill_columns,
    map_columns,
    validate_runs,
)

__all__ = ["FORMATS", "read_runs", "recognise", "table_in"]

Reader = Callable[[Path, str | None], Raw]


def _no_choice(path: Path, metric: str | None) -> None:
    """Refuse --metric where columns have names already, rather than ignore it."""
    if metric is not None:
        raise InputError(
            f"{path}: --metric chooses among the values of a log, and this is a table with columns; to take"
            f" one as the accuracy, --map accuracy={metric}"
        )


def _csv(path: Path, metric: str | None) -> Raw:
    _no_choice(path, metric)
    return read_csv(path)


def _parquet(path: Path, metric: str | None) -> Raw:
    _no_choice(path, metric)
    return read_parquet(path)


def _json_lines(path: Path) -> Raw:
    lines, torn = read_json_lines(path)
    return frame_of([{**row, ORIGIN: f"line {number}"} for number, row in lines]), torn


def _jsonl(path: Path, metric: str | None) -> Raw:
    _no_choice(path, metric)
    return _json_lines(path)


def _trainer_state(path: Path, metric: str | None) -> Raw:
    return read_trainer_state(path, metric=metric)


def _run_folder(path: Path, metric: str | None) -> Raw:
    return read_run_folder(path, metric=metric)


def _grid(path: Path, metric: str | None) -> Raw:
    frame, notes = read_csv(path)
    if not is_grid(list(frame.columns)):
        raise InputError(f"{path}: lacks the columns of the seed paper's grid")
    frame, said = read_grid(frame, source=str(path), metric=metric)
    return frame, (*notes, *said)


def _tensorboard(path: Path, metric: str | None) -> Raw:
    return read_events(path, metric=metric)


def _verl(path: Path, metric: str | None) -> Raw:
    return read_verl(path, metric=metric)


def _wandb(path: Path, metric: str | None) -> Raw:
    if offline_file(path) is not None or path.is_dir():
        return read_offline_run(path, metric=metric)
    frame, notes = _json_lines(path) if path.suffix == ".jsonl" else read_csv(path)
    names = [str(name) for name in frame.columns if name != ORIGIN]
    if not (is_history(names) or is_chart_export(names)):
        raise InputError(f"{path}: is no W&B history: no column _step, no columns 'run - metric'")
    frame, said = read_history(frame, source=str(path), metric=metric)
    return frame, (*notes, *said)


def _kind_of_folder(path: Path) -> str | None:
    """What one run left in a folder of its own; None where it is no such folder."""
    if is_run_folder(path):
        return "run"
    if offline_file(path) is not None:
        return "wandb"
    if any(child.is_file() and "tfevents" in child.name for child in path.iterdir()):
        return "tensorboard"
    return None


def _runs_below(path: Path) -> list[tuple[str, Path]]:
    """(format, folder) of every run in and below `path`, in order of name."""
    kind = _kind_of_folder(path)
    if kind is not None:
        return [(kind, path)]
    found: list[tuple[str, Path]] = []
    for child in sorted(path.iterdir()):
        if child.is_dir() and not child.is_symlink() and not child.name.startswith("."):
            found.extend(_runs_below(child))
    return found


def _folder_of_runs(path: Path, metric: str | None) -> Raw:
    folders = _runs_below(path) if path.is_dir() else []
    if not folders:
        raise InputError(f"{path}: a folder with no runs in it")
    rows: list[dict[str, Any]] = []
    notes: list[str] = []
    for kind, folder in folders:
        frame, said = FORMATS[kind][1](folder, metric)
        rows.extend({str(k): v for k, v in row.items()} for row in frame.to_dict("records"))
        notes.extend(said)
    return frame_of(rows), tuple(dict.fromkeys(notes))


FORMATS: Final[Mapping[str, tuple[str, Reader]]] = {
    "csv": ("a CSV table", _csv),
    "jsonl": ("a table in JSON lines", _jsonl),
    "parquet": ("a Parquet table", _parquet),
    "trl": ("a trainer_state.json of TRL", _trainer_state),
    "run": ("a run folder", _run_folder),
    "runs": ("a folder of run folders", _folder_of_runs),
    "tensorboard": ("TensorBoard event files", _tensorboard),
    "wandb": ("a W&B history", _wandb),
    "verl": ("a console log of verl", _verl),
    "grid": ("the seed paper's grid", _grid),
}


def table_in(folder: Path) -> Path | None:
    """The run table a folder without runs stands for: runs.parquet or runs.csv; None where there is none."""
    tables = [folder / f"runs.{suffix}" for suffix in ("parquet", "csv")]
    found = next((table for table in tables if table.is_file()), None)
    return None if found is None or _runs_below(folder) else found


def recognise(path: Path) -> str:
    """The format of `path`, one of FORMATS.

    Raises InputError where there is nothing, nothing recognisable, or a folder without runs.
    """
    if path.is_dir():
        kind = _kind_of_folder(path)
        if kind is not None:
            return kind
        if _runs_below(path):
            return "runs"
        raise InputError(
            f"{path}: a folder with no runs in it (name a table inside it, or a run folder)"
        )
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if path.suffix == ".parquet":
        return "parquet"
    if event_files(path):
        return "tensorboard"
    if path.suffix == ".wandb":
        return "wandb"
    text = read_text(path)
    if path.name == "trainer_state.json" or (path.suffix == ".json" and '"log_history"' in text):
        return "trl"
    if path.suffix == ".jsonl":
        return "wandb" if '"_step"' in text else "jsonl"
    if path.suffix in (".csv", ".tsv"):
        names = csv_header(path, text)
        if is_grid(names):
            return "grid"
        return "wandb" if is_history(names) or is_chart_export(names) else "csv"
    if looks_like_verl(text):
        return "verl"
    if path.suffix in (".txt", "") and "," in text.partition("\n")[0]:
        return "csv"
    raise InputError(f"{path}: no format recognised; name one with --format: {', '.join(FORMATS)}")


def read_runs(
    path: Path,
    *,
    format: str = "auto",
    metric: str | None = None,
    manifest: Path | None = None,
    columns: Mapping[str, str] | None = None,
    constants: Mapping[str, object] | None = None,
    where: Sequence[str] = (),
) -> RunTable:
    """Read `path` as a checked run table.

    path: a table, a log, a run folder or a folder of run folders; a folder without any whose table is
    called runs.parquet or runs.csv stands for that table. format: one of FORMATS, or "auto".
    metric: which logged value is the accuracy, where a log holds several.
    manifest: a YAML file, run -> columns, for logs that do not carry their condition.
    columns: {new: existing} copies. constants: {column: value}. where: selections, any of which may
    hold. They apply in this order; then the rows that are left are checked.
    Raises InputError, one line naming file, row or column, and the value.
    """
    try:
        path, chosen, (frame, notes) = _read_raw(path, format, metric)
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read ({error.strerror})") from None
    source = str(path)
    if manifest is not None:
        frame, said = _apply_manifest(frame, manifest)
        notes = (*notes, *said)
    frame = map_columns(frame, columns or {}, source=source)
    frame = fill_columns(frame, constants or {})
    if where:
        selection = parse_selection(where)
        rows = select(frame, selection, source=source)
        if not rows.any():
            raise InputError(
                f"{source}: no row satisfies --where {selection.text}:"
                f" {values_there(frame, selection)}"
            )
        frame = frame[rows].reset_index(drop=True)
    table, checked = validate_runs(frame, source=source)
    table, derived = derive_columns(table)
    return RunTable(table, source, chosen, (*notes, *checked, *derived))


def _read_raw(path: Path, format: str, metric: str | None) -> tuple[Path, str, Raw]:
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
    return path, chosen, FORMATS[chosen][1](path, metric)


def _apply_manifest(frame: pd.DataFrame, manifest: Path) -> Raw:
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
