"""Weights & Biases: histories as CSV or JSON lines, chart exports, and the file of an offline run.

Law. A history has one row per logging call, `_step` among its columns; a chart export has one column
"run - metric" per run; an offline run is a LevelDB-style log of protocol-buffer records (header
":W&B", 32 KiB blocks; record fields 2: history, 5: config, 17: run).
Fails first where the trainer's step is not logged: `_step` then counts logging calls, not steps.
Source: wandb/proto/wandb_internal.proto, wandb/sdk/internal/datastore.py (formats only).
"""

from __future__ import annotations

import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import pandas as pd

from fits.errors import InputError
from fits.readers.history import KNOWN, Raw, choose_metric, evaluations, frame_of
from fits.readers.wire import Field, fields_of
from fits.table import ORIGIN

__all__ = ["is_chart_export", "is_history", "offline_file", "read_history", "read_offline_run"]

# Where the trainer's own step is logged; `_step` counts logging calls.
_STEPS: Final = ("train/global_step", "trainer/global_step", "global_step", "_step")
_RUN_NAMES: Final = ("run_id", "run", "run_name", "Name", "name", "_run")
_BLOCK: Final = 32768
_RECORD: Final = struct.Struct("<IHB")  # crc, length, kind: 1 whole, 2 first, 3 middle, 4 last


def is_history(names: Sequence[str]) -> bool:
    """Whether columns are those of a run's history."""
    return "_step" in names


def is_chart_export(names: Sequence[str]) -> bool:
    """Whether columns are those of a chart exported from the web page."""
    return (
        bool(names) and names[0] in ("Step", *_STEPS) and any(" - " in name for name in names[1:])
    )


def read_history(frame: pd.DataFrame, *, source: str, metric: str | None = None) -> Raw:
    """A history or chart export, as cells, to raw run-table rows; one run or several.

    frame: cells as text or values, with each row's place.
    Raises InputError where the accuracy is not clear.
    """
    names = [str(name) for name in frame.columns if name != ORIGIN]
    if is_chart_export(names):
        frame, names = _unfold(frame, names)
    step_column = next(name for name in _STEPS if name in names)
    run_column = next((name for name in _RUN_NAMES if name in names), None)
    meta = {step_column, run_column, *_STEPS, "_runtime", "_timestamp", "_wandb"}
    values = [name for name in names if name not in meta]
    chosen = choose_metric(sorted(values), metric=metric, source=source)
    runs: dict[str, list[tuple[str, int, dict[str, Any]]]] = {}
    fixed: dict[str, dict[str, Any]] = {}
    default = Path(source).name.partition(".")[0]
    for row in frame.to_dict("records"):
        step = _step(row, source, step_column)
        if step is None:
            continue
        run = str(row[run_column]) if run_column else default
        logged = {str(k): v for k, v in row.items() if k in values and v is not None and v != ""}
        runs.setdefault(run, []).append((str(row[ORIGIN]), step, logged))
        fixed.setdefault(run, {}).update(
            {
                k: v
                for k, v in logged.items()
                if k in KNOWN and k not in ("step", "accuracy", chosen)
            }
        )
    frames: list[dict[str, Any]] = []
    notes: list[str] = []
    for run, history in runs.items():
        part, said = evaluations(
            history, run_id=run, metric=chosen, source=source, fixed=fixed[run]
        )
        frames.extend({str(k): v for k, v in row.items()} for row in part.to_dict("records"))
        notes.extend(said)
    if step_column == "_step":
        notes.append("step is W&B's _step: it counts logging calls")
    return frame_of(frames), tuple(dict.fromkeys(notes))


def _step(row: Mapping[Any, Any], source: str, column: str) -> int | None:
    cell = row[column]
    if cell is None or cell == "":
        return None
    try:
        return int(float(cell))
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{source}, {row[ORIGIN]}, column {column}: {cell!r} is no step") from None


def _unfold(frame: pd.DataFrame, names: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """One row per run and step from a chart export, whose columns are "run - metric"."""
    rows: list[dict[str, Any]] = []
    for row in frame.to_dict("records"):
        by_run: dict[str, dict[str, Any]] = {}
        for name in names[1:]:
            run, dash, what = name.rpartition(" - ")
            if dash and not re.search(r"__(MIN|MAX)$", what) and row[name] not in ("", None):
                by_run.setdefault(run, {})[what] = row[name]
        rows.extend(
            {"run_id": run, "_step": row[names[0]], **values, ORIGIN: row[ORIGIN]}
            for run, values in by_run.items()
        )
    unfolded = frame_of(rows)
    return unfolded, [str(name) for name in unfolded.columns if name != ORIGIN]


# --- offline runs --------------------------------------------------------------------------------


def offline_file(path: Path) -> Path | None:
    """The `.wandb` file of an offline run: `path` itself, or the one in the folder."""
    if path.is_file():
        return path if path.suffix == ".wandb" else None
    found = sorted(path.glob("*.wandb"))
    return found[0] if len(found) == 1 else None


def read_offline_run(path: Path, *, metric: str | None = None) -> Raw:
    """The evaluations of an offline run, from its folder or its `.wandb` file.

    Configuration entries named like columns of the run table (seed, fpr, …) fill them.
    Raises InputError where the file is no offline run or no single accuracy is logged.
    """
    file = offline_file(path)
    if file is None:
        raise InputError(f"{path}: holds no single .wandb file of an offline run")
    history: list[tuple[str, int, dict[str, Any]]] = []
    config: dict[str, Any] = {}
    name = file.stem.removeprefix("run-")
    records, notes = _records(file)
    for number, record in enumerate(records, start=1):
        try:
            for field in record:
                if field.number == 2:
                    values = _items(field.data)
                    step = next((values[key] for key in _STEPS if _is_step(values.get(key))), None)
                    if step is not None:
                        history.append((f"record {number}", int(step), values))
                elif field.number == 5:
                    config.update(_items(field.data))
                elif field.number == 17:
                    name = _run_name(field.data) or name
                    config.update(_run_config(field.data))
        except ValueError as error:
            raise InputError(f"{file}, record {number}: is no record ({error})") from None
    if not history:
        raise InputError(f"{file}: an offline run with no history")
    meta = {*_STEPS, "_runtime", "_timestamp", "_wandb"}
    logged = [
        (place, step, {k: v for k, v in values.items() if k not in meta})
        for place, step, values in history
    ]
    fixed = {
        key: value
        for key, value in config.items()
        if key in KNOWN - {"run_id", "step", "accuracy"} and isinstance(value, str | int | float)
    }
    frame, said = evaluations(logged, run_id=name, metric=metric, source=str(path), fixed=fixed)
    return frame, (*notes, *said)


def _is_step(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and value >= 0


def _items(message: bytes) -> dict[str, Any]:
    """{key: value} of a history or config record: items of (1: key, 2: nested key, 16: JSON)."""
    values: dict[str, Any] = {}
    for item in fields_of(message):
        if item.number != 1:
            continue
        key: list[str] = []
        text = "null"
        for field in fields_of(item.data):
            if field.number in (1, 2) and field.data:
                key.append(field.data.decode())
            elif field.number == 16:
                text = field.data.decode()
        values["/".join(key)] = json.loads(text)
    return values


def _run_name(message: bytes) -> str:
    """The run's display name (8), else its id (1)."""
    named = {f.number: f.data.decode() for f in fields_of(message) if f.number in (1, 8)}
    return named.get(8) or named.get(1, "")


def _run_config(message: bytes) -> dict[str, Any]:
    for field in fields_of(message):
        if field.number == 4:
            return _items(field.data)
    return {}


def _records(file: Path) -> tuple[list[list[Field]], tuple[str, ...]]:
    """The records of an offline run, and a note where the file ends in mid-record."""
    data = file.read_bytes()
    if data[:4] != b":W&B":
        raise InputError(f"{file}: is no W&B offline run")
    records: list[list[Field]] = []
    torn = ""
    for payload in _payloads(data):
        if payload is None:
            torn = f"{file.name}: cut short in mid-record, {len(records)} records read"
            break
        try:
            records.append(list(fields_of(payload)))
        except ValueError as error:
            raise InputError(f"{file}, record {len(records) + 1}: is no record ({error})") from None
    return records, (torn,) if torn else ()


def _payloads(data: bytes) -> Iterator[bytes | None]:
    """Payloads of the log, joined over blocks; None where the data end in mid-record."""
    at = 7
    parts: list[bytes] = []
    while at < len(data):
        left = _BLOCK - at % _BLOCK
        if left < _RECORD.size:
            at += left
            continue
        if at + _RECORD.size > len(data):
            yield None
            return
        _, length, kind = _RECORD.unpack_from(data, at)
        at += _RECORD.size
        if kind == 0 and length == 0:  # padding to the end of a preallocated block
            at += left - _RECORD.size
            continue
        if at + length > len(data):
            yield None
            return
        parts.append(data[at : at + length])
        at += length
        if kind in (1, 4):
            yield b"".join(parts)
            parts = []
    if parts:
        yield None
