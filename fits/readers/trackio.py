"""trackio: the project's local database, and the CSV and Parquet tables exported from it.

Law. The database (SQLite) has a table `metrics` of run_name, step and one JSON object a logging call, and a
table `configs` of each run's settings; an export has the same rows, one column a value. `step` counts logging
calls unless the trainer gave its own.
Fails first where a trainer logs no step of its own: calls are then counted, and that is said.
Source: trackio's sqlite_storage.py (schema only), versions 0.4 to 0.43.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic
from typing import Any, Final

import pandas as pd

from fits.errors import InputError
from fits.readers.axes import read_rows
from fits.readers.history import Ask, Logged, Raw, frame_of
from fits.readers.jsonl import parse_json
from fits.table import ORIGIN

__all__ = [
    "is_trackio",
    "is_trackio_database",
    "read_trackio",
    "read_trackio_database",
    "trackio_histories",
]

SECONDS_READ: Final = 60.0
LONGEST: Final = 16 << 20  # bytes of a row or text
_HELD_A_BYTE: Final = 4  # of the file: what is read of it at most, beside LONGEST
_MAGIC: Final = b"SQLite format 3\0"


def is_trackio(names: Sequence[str]) -> bool:
    """Whether columns are those of an export of trackio's."""
    table = {"run_id", "accuracy"} <= set(names) and "id" not in names
    return {"timestamp", "run_name", "step"} <= set(names) and not table


def is_trackio_database(path: Path) -> bool:
    """Whether `path` is a database; it is opened to see whose."""
    with path.open("rb") as file:
        return file.read(len(_MAGIC)) == _MAGIC


def read_trackio(
    frame: pd.DataFrame,
    *,
    source: str,
    ask: Ask,
    config: Mapping[str, Mapping[str, Any]] | None = None,
) -> Raw:
    """The rows of an export, or of the database, as raw run-table rows."""
    names = [str(name) for name in frame.columns]
    run_column = ask.columns.get("run_id", "run_name")
    if run_column not in names:
        raise InputError(f"{source}: --map run_id={run_column}: no column {run_column!r}")
    if "run_id" in names and run_column == "run_name":
        # Two runs may have one name; trackio tells them apart by an id of its own.
        ids = frame.groupby("run_name")["run_id"].transform("nunique")
        named = frame["run_name"].astype(str)
        frame = frame.assign(
            run_name=named.where(ids <= 1, named + " (" + frame["run_id"].astype(str) + ")")
        )
        frame = frame.drop(columns="run_id")
    raw = read_rows(
        frame,
        run_column=run_column,
        run_id="",
        calls="step",
        counter="step is trackio's step: it counts logging calls unless the trainer gave its own",
        ask=ask,
        source=source,
        config=config,
    )
    return Raw(raw.frame, raw.notes, raw.measured, raw.taken | ({"run_id"} & set(ask.columns)))


def read_trackio_database(path: Path, ask: Ask) -> Raw:
    """The evaluations in a project's database, as raw run-table rows.

    Raises InputError where it is no database of trackio's.
    """
    rows, config = _database(path)
    return read_trackio(frame_of(rows, source=str(path)), source=str(path), ask=ask, config=config)


def trackio_histories(path: Path) -> tuple[Logged, ...]:
    """All that each run of a project's database logged. Raises InputError where it is no database of trackio's."""
    rows, config = _database(path)
    by_run: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        name = str(row["run_name"])
        by_run.setdefault((name, str(row.get("run_id", name))), []).append(row)
    return tuple(
        Logged(name, tuple(own), config.get(name, {})) for (name, _), own in by_run.items()
    )


def _database(path: Path) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    """Rows and settings by run of a project's database."""
    try:
        # Read only, and whatever else is writing to it goes on.
        connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            # A column that is computed makes texts of any length of nothing.
            connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, LONGEST)
            # A view may compute for ever; so may a query over a damaged index.
            deadline = monotonic() + SECONDS_READ
            connection.set_progress_handler(lambda: monotonic() > deadline, 100_000)
            kind = connection.execute("SELECT type FROM sqlite_master WHERE name = 'metrics'")
            if any(row[0] != "table" for row in kind):
                raise InputError(f"{path}: its metrics are no table, so it is none of trackio's")
            have = {str(row[1]) for row in connection.execute("PRAGMA table_info(metrics)")}
            if not {"run_name", "step", "metrics"} <= have:
                raise InputError(f"{path}: is a database, but none of trackio's (no table metrics)")
            run_id = "run_id" if "run_id" in have else "run_name"
            logged = connection.execute(
                f"SELECT id, {run_id}, run_name, step, metrics FROM metrics ORDER BY id"
            )
            logged = _within(logged, path)
            configs: list[tuple[str, str]] = []
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'configs'").fetchone():
                asked = connection.execute("SELECT run_name, config FROM configs")
                configs = _within(asked, path)
        finally:
            connection.close()
    except (sqlite3.Error, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is no readable database ({error})") from None
    if not logged:
        raise InputError(f"{path}: nothing was logged")
    rows: list[dict[str, Any]] = []
    for number, run, name, step, text in logged:
        if isinstance(name, bytes) or isinstance(run, bytes) or isinstance(step, bytes):
            raise InputError(f"{path}, metrics row {number}: its run or step is no text or number")
        values = _object(text, source=f"{path}, metrics row {number}")
        own = {"run_name": name, "step": step, ORIGIN: f"metrics row {number}"}
        rows.append({**values, **own, **({"run_id": run} if run_id == "run_id" else {})})
    config = {name: _object(text, source=f"{path}, config of {name}") for name, text in configs}
    return rows, config


def _within(rows: Iterable[tuple[Any, ...]], path: Path) -> list[tuple[Any, ...]]:
    """The rows of a query. Raises InputError where they hold far more than the file does: they were computed."""
    left = 4 * LONGEST + _HELD_A_BYTE * path.stat().st_size
    held: list[tuple[Any, ...]] = []
    for row in rows:
        left -= 64 + sum(len(cell) for cell in row if isinstance(cell, str | bytes))
        if left < 0:
            raise InputError(f"{path}: its rows hold far more than the file: not read")
        held.append(row)
    return held


def _object(text: object, *, source: str) -> dict[str, Any]:
    spoken = text.decode("utf-8", "replace") if isinstance(text, bytes) else text
    if not isinstance(spoken, str):
        raise InputError(f"{source}: holds no text of a JSON object")
    value = parse_json(spoken, source=source)
    if not isinstance(value, dict):
        raise InputError(f"{source}: is no JSON object")
    return value
