"""Run folders: ours (`spec.json`, `metrics.jsonl`, `DONE`) and TRL's (`trainer_state.json`).

A run folder of ours holds one JSON object a line in `metrics.jsonl`; lines of kind "eval" carry
columns of the run table, lines of kind "train" the trainer's own logs. `spec.json` names the run and
its condition. TRL's `trainer_state.json` holds the same as one `log_history`, in its own names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.readers.axes import read_rows
from fits.readers.history import KNOWN, Ask, Raw, evaluations, frame_of, step_of
from fits.readers.jsonl import read_json, read_json_lines
from fits.table import ORIGIN

__all__ = [
    "is_run_folder",
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
    "learning_rate",
    "steps",
    "settings",
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


def read_run_folder(path: Path, ask: Ask) -> Raw:
    """The evaluations of one run folder, ours or TRL's, as raw run-table rows.

    Raises InputError naming file and line; a folder with no evaluation is refused.
    """
    if not path.is_dir():
        raise InputError(f"{path}: no such folder")
    if (path / "metrics.jsonl").is_file():
        return _read_ours(path, ask)
    states = [path / "trainer_state.json"] if (path / "trainer_state.json").is_file() else []
    states = states or _checkpoints(path)[-1:]
    if not states:
        raise InputError(f"{path}: holds neither metrics.jsonl nor trainer_state.json")
    return read_trainer_state(states[-1], ask, run_id=path.name)


def _read_ours(path: Path, ask: Ask) -> Raw:
    file = path / "metrics.jsonl"
    lines, torn = read_json_lines(file)
    if lines and not any("kind" in line for _, line in lines):
        return _read_metrics(file, lines, torn, ask)
    if ask.metric is not None:
        raise InputError(
            f"{path}: a run folder of ours holds one accuracy; drop --metric {ask.metric}"
        )
    spec = read_json(path / "spec.json") if (path / "spec.json").is_file() else {}
    notes = [f"{path.name}: {note}" for note in torn]
    fixed = {name: spec[name] for name in _SPEC_COLUMNS if spec.get(name) is not None}
    fixed.setdefault("run_id", path.name)
    by_step: dict[int | None, dict[str, Any]] = {}
    replaced = 0
    last = -1
    for number, line in lines:
        if line.get("kind") != "eval":
            continue
        row = {**fixed, **{k: v for k, v in line.items() if k in KNOWN and v is not None}}
        row[ORIGIN] = f"{path.name}/metrics.jsonl line {number}"
        step = step_of(line.get("step"), source=f"{file}, line {number}")
        if step is not None and step in by_step and step < last:
            # Resumed from a checkpoint: what came after it is another branch.
            lost = [later for later in by_step if later is not None and later > step]
            notes.append(
                f"{path.name}: resumed at step {step}: {len(lost)} later evaluations dropped"
            )
            for later in lost:
                del by_step[later]
        # A run resumed after an interruption logs its last evaluations again: the later line holds.
        replaced += step in by_step
        by_step[step] = row
        last = -1 if step is None else step
    if replaced:
        notes.append(
            f"{path.name}: {replaced} evaluations logged again after a resume: the last one holds"
        )
    if not by_step:
        raise InputError(f"{file}: no line of kind 'eval': nothing was evaluated yet")
    if not (path / "DONE").exists():
        notes.append(f"{path.name}: not finished (no DONE)")
    return Raw(frame_of(list(by_step.values())), tuple(notes))


def _read_metrics(
    file: Path, lines: list[tuple[int, dict[str, Any]]], torn: tuple[str, ...], ask: Ask
) -> Raw:
    """A metrics.jsonl of somebody else's: one object a logging call, its step among its values."""
    if not any("step" in line for _, line in lines):
        raise InputError(f"{file}: neither a kind nor a step in its lines")
    raw = read_rows(
        frame_of([{**line, ORIGIN: f"line {number}"} for number, line in lines]),
        run_column=None,
        run_id=file.parent.name,
        calls="step",
        counter="step is 'step' of the log",
        ask=ask,
        source=str(file),
    )
    return Raw(raw.frame, (*torn, *raw.notes), raw.measured, raw.taken)


_TRL_NOT_METRICS: Final = frozenset({"step", "epoch"})


def read_trainer_state(path: Path, ask: Ask, *, run_id: str | None = None) -> Raw:
    """The evaluations in TRL's `trainer_state.json` as raw run-table rows.

    run_id: the folder's name where not given. `reward` becomes observed_reward and `num_tokens`
    tokens where the same step logged them.
    """
    history = read_json(path).get("log_history")
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
                entry["step"],
                {k: v for k, v in entry.items() if k not in _TRL_NOT_METRICS},
            )
            for place, entry in entries
        ],
        run_id=run_id or path.parent.name,
        ask=ask,
        source=str(path),
    )
