"""The formats: what each is called, what recognises it, what reads it.

Law. A file is recognised by what is in it, its suffix only saying where to look.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.readers.console import (
    looks_like_dicts,
    looks_like_verl,
    read_dicts,
    read_verl,
    read_verl_file,
)
from fits.readers.folders import is_run_folder, read_run_folder, read_trainer_state
from fits.readers.grid import is_grid, read_grid
from fits.readers.history import Ask, Raw
from fits.readers.jsonl import json_table, parse_json
from fits.readers.tensorboard import (
    event_files,
    is_scalar_download,
    read_events,
    read_scalar_download,
)
from fits.readers.text import (
    csv_header,
    head_of,
    lines_of,
    parquet_names,
    read_csv,
    read_parquet,
    read_text,
)
from fits.readers.trackio import (
    is_trackio,
    is_trackio_database,
    read_trackio,
    read_trackio_database,
)
from fits.readers.wandb import is_wandb, read_wandb
from fits.readers.wandb_offline import offline_file, read_offline_run
from fits.table import ORIGIN

__all__ = ["FORMATS", "TABLES", "Reader", "columns_of", "format_of_file", "format_of_folder"]

Reader = Callable[[Path, Ask], Raw]


def _table(path: Path, ask: Ask, read: Callable[[Path], Any]) -> Raw:
    """A table with columns; --metric is refused there rather than ignored."""
    if ask.metric is not None:
        raise InputError(
            f"{path}: --metric chooses among the values of a log, and this is a table with columns; to take"
            f" one as the accuracy, --map accuracy={ask.metric}"
        )
    frame, notes = read(path)
    return Raw(frame, notes, ask.columns.get("accuracy", "accuracy"))


def _csv(path: Path, ask: Ask) -> Raw:
    return _table(path, ask, read_csv)


def _parquet(path: Path, ask: Ask) -> Raw:
    return _table(path, ask, read_parquet)


def _jsonl(path: Path, ask: Ask) -> Raw:
    return _table(path, ask, json_table)


def _cells(path: Path) -> tuple[Any, tuple[str, ...]]:
    """The rows of a file of cells, by its suffix."""
    if path.suffix == ".parquet":
        return read_parquet(path)
    return json_table(path) if path.suffix == ".jsonl" else read_csv(path)


def _grid(path: Path, ask: Ask) -> Raw:
    frame, notes = read_csv(path)
    if not is_grid(list(frame.columns)):
        raise InputError(f"{path}: lacks the columns of the seed paper's grid")
    raw = read_grid(frame, source=str(path), ask=ask)
    return Raw(raw.frame, (*notes, *raw.notes), raw.measured)


def _wandb(path: Path, ask: Ask) -> Raw:
    if offline_file(path) is not None or path.is_dir():
        return read_offline_run(path, ask)
    frame, notes = _cells(path)
    raw = read_wandb(frame, source=str(path), ask=ask)
    return Raw(raw.frame, (*notes, *raw.notes), raw.measured, raw.taken)


def _trackio(path: Path, ask: Ask) -> Raw:
    if path.is_file() and is_trackio_database(path):
        return read_trackio_database(path, ask)
    frame, notes = _cells(path)
    if not is_trackio([str(name) for name in frame.columns]):
        raise InputError(f"{path}: lacks trackio's columns timestamp, run_name and step")
    raw = read_trackio(frame, source=str(path), ask=ask)
    return Raw(raw.frame, (*notes, *raw.notes), raw.measured, raw.taken)


def _verl(path: Path, ask: Ask) -> Raw:
    return read_verl_file(path, ask) if path.suffix == ".jsonl" else read_verl(path, ask)


def _tensorboard(path: Path, ask: Ask) -> Raw:
    if path.suffix in (".csv", ".tsv"):
        frame, notes = read_csv(path)
        if not is_scalar_download([str(name) for name in frame.columns if name != ORIGIN]):
            raise InputError(
                f"{path}: lacks the columns of TensorBoard's download: Wall time, Step, Value"
            )
        raw = read_scalar_download(frame, path=path, ask=ask)
        return Raw(raw.frame, (*notes, *raw.notes), raw.measured, raw.taken)
    return read_events(path, ask)


def _trl(path: Path, ask: Ask) -> Raw:
    return read_trainer_state(path, ask)


FORMATS: Final[Mapping[str, tuple[str, Reader]]] = {
    "csv": ("a CSV table", _csv),
    "jsonl": ("a table in JSON lines", _jsonl),
    "parquet": ("a Parquet table", _parquet),
    "trl": ("a trainer_state.json of TRL", _trl),
    "trl-console": ("logs printed as dictionaries, as TRL prints them", read_dicts),
    "run": ("a run folder", read_run_folder),
    "tensorboard": ("TensorBoard event files, or a scalar downloaded", _tensorboard),
    "wandb": ("a W&B history, chart, table of runs or offline run", _wandb),
    "trackio": ("a database or table of trackio", _trackio),
    "verl": ("a log of verl", _verl),
    "grid": ("the seed paper's grid", _grid),
}
TABLES: Final = frozenset({"csv", "jsonl", "parquet", "grid"})


def format_of_folder(path: Path) -> str | None:
    """What one run left in a folder of its own; None where it is no such folder."""
    if is_run_folder(path):
        return "run"
    if offline_file(path) is not None:
        return "wandb"
    if any(child.is_file() and "tfevents" in child.name for child in path.iterdir()):
        return "tensorboard"
    return None


def format_of_file(path: Path) -> str | None:
    """The format of a file; None where none is recognised.

    Raises InputError where it cannot be read as what its suffix says it is.
    """
    if event_files(path):
        return "tensorboard"
    if path.suffix == ".wandb":
        return "wandb"
    if path.suffix in (".db", ".sqlite", ".sqlite3"):
        return "trackio" if is_trackio_database(path) else None
    if path.suffix == ".parquet":
        return "trackio" if is_trackio(parquet_names(path)) else "parquet"
    if path.suffix == ".jsonl":
        return _format_of_lines(head_of(path))
    if path.suffix in (".csv", ".tsv"):
        return _format_of_columns(csv_header(path, head_of(path)))
    text = read_text(path)
    if path.name == "trainer_state.json" or (path.suffix == ".json" and '"log_history"' in text):
        return "trl"
    if path.suffix == ".json":
        return None  # one document (a spec, an environment), however its lines look: no log
    if looks_like_verl(text):
        return "verl"
    if looks_like_dicts(text):
        return "trl-console"
    if path.suffix in (".txt", "") and len(names := csv_header(path, text)) > 1:
        return _format_of_columns(names)
    return None


def _format_of_columns(names: list[str]) -> str:
    if is_grid(names):
        return "grid"
    if is_trackio(names):
        return "trackio"
    if is_scalar_download(names):
        return "tensorboard"
    return "wandb" if is_wandb(names) else "csv"


def _format_of_lines(text: str) -> str:
    """The format of JSON lines, by the names in the first of them."""
    names = _names_in_lines(text)
    if {"step", "data"} <= set(names) and '"data": {' in text.replace('"data":{', '"data": {'):
        return "verl"
    if is_trackio(list(names)):
        return "trackio"
    return "wandb" if "_step" in names else "jsonl"


def _names_in_lines(text: str) -> dict[str, None]:
    names: dict[str, None] = {}
    for line in lines_of(text)[:200]:
        try:
            row = parse_json(line, source="")
        except InputError:
            continue  # cut off, or for the reader to complain of
        if isinstance(row, dict):
            names |= dict.fromkeys(str(name) for name in row)
    return names


def columns_of(path: Path, format: str) -> list[str]:
    """The columns of a table, of any of TABLES; of JSON lines, those in the first of them."""
    if format == "parquet":
        return parquet_names(path)
    if format == "jsonl":
        return list(_names_in_lines(head_of(path)))
    return csv_header(path, head_of(path))
