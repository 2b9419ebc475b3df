"""Run folders: ours (`spec.json`, `metrics.jsonl`, `DONE`) and TRL's (`trainer_state.json`).

A run folder of ours holds one JSON object a line in `metrics.jsonl`; lines of kind "eval" carry
columns of the run table, lines of kind "train" the trainer's own logs. `spec.json` names the run and
its condition. TRL's `trainer_state.json` holds the same as one `log_history`, in its own names.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.readers.history import KNOWN, Raw, check_step, evaluations, frame_of
from fits.readers.text import read_text
from fits.table import ORIGIN

__all__ = [
    "TornJsonError",
    "is_run_folder",
    "parse_json",
    "read_json_lines",
    "read_run_folder",
    "read_trainer_state",
]

_SPEC_COLUMNS: Final = (
    "run_id",
    "arm",
    "model",
    "fpr",
    "fnr",
    "noise",
    "seed",
    "group_size",
    "prompts_per_step",
)


def is_run_folder(path: Path) -> bool:
    """Whether `path` is one run: ours, or one that TRL's trainer wrote."""
    return (
        (path / "metrics.jsonl").is_file()
        or (path / "trainer_state.json").is_file()
        or bool(_checkpoints(path))
    )


def _checkpoints(path: Path) -> list[Path]:
    """trainer_state.json files of the run's checkpoints, the latest last."""
    if not path.is_dir():
        return []
    states = [
        (int(match.group(1)), child / "trainer_state.json")
        for child in path.iterdir()
        if (match := re.fullmatch(r"checkpoint-(\d+)", child.name))
        and (child / "trainer_state.json").is_file()
    ]
    return [state for _, state in sorted(states)]


class TornJsonError(InputError):
    """Text that is no JSON, as a line cut short is not."""


def parse_json(text: str, *, source: str) -> Any:
    """The JSON value in `text`.

    Raises InputError naming `source`: TornJsonError where it is no JSON, the plain one where it is JSON
    of a size that Python declines to hold.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        line = f", line {error.lineno}" if "\n" in text.strip() else ""
        raise TornJsonError(f"{source}{line}: is no JSON ({error.msg})") from None
    except ValueError as error:
        raise InputError(f"{source}: {str(error).partition(';')[0]}") from None
    except RecursionError:
        raise InputError(f"{source}: is nested too deeply") from None


def read_json_lines(path: Path) -> tuple[list[tuple[int, dict[str, Any]]], tuple[str, ...]]:
    """(line number, object) for each line; a torn last line is dropped and said in the notes.

    Raises InputError naming any other line that is not a JSON object.
    """
    rows: list[tuple[int, dict[str, Any]]] = []
    lines = [
        (i, line) for i, line in enumerate(read_text(path).splitlines(), start=1) if line.strip()
    ]
    for place, (number, line) in enumerate(lines):
        try:
            row = parse_json(line, source=f"{path}, line {number}")
        except TornJsonError:
            if place < len(lines) - 1:
                raise
            return rows, (f"{path.name}, line {number}: last line cut short, dropped",)
        if not isinstance(row, dict):
            raise InputError(f"{path}, line {number}: is no JSON object: {line[:40]}")
        rows.append((number, row))
    return rows, ()


def _read_json(path: Path) -> dict[str, Any]:
    value = parse_json(read_text(path), source=str(path))
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object")
    return value


def read_run_folder(path: Path, *, metric: str | None = None) -> Raw:
    """The evaluations of one run folder, ours or TRL's, as raw run-table rows.

    metric: which logged value is the accuracy, where a TRL log holds several.
    Raises InputError naming file and line; a folder with no evaluation is refused.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    if (path / "metrics.jsonl").is_file():
        if metric is not None:
            raise InputError(
                f"{path}: a run folder of ours holds one accuracy; drop --metric {metric}"
            )
        return _read_ours(path)
    states = [path / "trainer_state.json"] if (path / "trainer_state.json").is_file() else []
    states = states or _checkpoints(path)[-1:]
    if not states:
        raise InputError(f"{path}: holds neither metrics.jsonl nor trainer_state.json")
    return read_trainer_state(states[-1], run_id=path.name, metric=metric)


def _read_ours(path: Path) -> Raw:
    spec = _read_json(path / "spec.json") if (path / "spec.json").is_file() else {}
    lines, torn = read_json_lines(path / "metrics.jsonl")
    notes = [f"{path.name}: {note}" for note in torn]
    fixed = {name: spec[name] for name in _SPEC_COLUMNS if spec.get(name) is not None}
    fixed.setdefault("run_id", path.name)
    by_step: dict[object, dict[str, Any]] = {}
    replaced = 0
    for number, line in lines:
        if line.get("kind") != "eval":
            continue
        row = {**fixed, **{k: v for k, v in line.items() if k in KNOWN and v is not None}}
        row[ORIGIN] = f"{path.name}/metrics.jsonl line {number}"
        step = check_step(line.get("step"), source=f"{path / 'metrics.jsonl'}, line {number}")
        # A run resumed after an interruption logs its last evaluations again: the later line holds.
        replaced += step in by_step
        by_step[step] = row
    if replaced:
        notes.append(
            f"{path.name}: {replaced} evaluations logged again after a resume: the last one holds"
        )
    if not by_step:
        raise InputError(
            f"{path / 'metrics.jsonl'}: no line of kind 'eval': nothing was evaluated yet"
        )
    if not (path / "DONE").exists():
        notes.append(f"{path.name}: not finished (no DONE)")
    return frame_of(list(by_step.values())), tuple(notes)


_TRL_NOT_METRICS: Final = frozenset({"step", "epoch"})


def read_trainer_state(path: Path, *, run_id: str | None = None, metric: str | None = None) -> Raw:
    """The evaluations in TRL's `trainer_state.json` as raw run-table rows.

    run_id: the folder's name where not given. `reward` becomes observed_reward and `num_tokens`
    tokens where the same step logged them.
    """
    history = _read_json(path).get("log_history")
    if not isinstance(history, list):
        raise InputError(f"{path}: has no log_history: not a trainer state of transformers or TRL")
    entries = [
        (f"log_history entry {i + 1}", entry)
        for i, entry in enumerate(history)
        if isinstance(entry, dict) and "step" in entry
    ]
    return evaluations(
        [
            (
                place,
                check_step(entry["step"], source=f"{path}, {place}"),
                {k: v for k, v in entry.items() if k not in _TRL_NOT_METRICS},
            )
            for place, entry in entries
        ],
        run_id=run_id or path.parent.name,
        metric=metric,
        source=str(path),
    )
