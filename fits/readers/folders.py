"""Run folders: ours (`spec.json`, `metrics.jsonl`, `DONE`) and TRL's (`trainer_state.json`).

What a folder of ours holds is read by `fits.readers.run_folder`, as it is by the launcher. TRL's `trainer_state.json`
holds the same as one `log_history`, in its own names.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.readers.axes import read_rows
from fits.readers.history import KNOWN, Ask, Raw, evaluations, frame_of
from fits.readers.jsonl import read_json, read_json_lines
from fits.readers.run_folder import DONE, METRICS, SPEC_COLUMNS, is_ours, read_run_log
from fits.table import ORIGIN

__all__ = [
    "is_run_folder",
    "read_run_folder",
    "read_trainer_state",
    "trainer_states",
]


def is_run_folder(path: Path) -> bool:
    """Whether `path` is one run: ours, or one that TRL's trainer wrote."""
    return (path / METRICS).is_file() or is_ours(path) or bool(trainer_states(path))


def trainer_states(path: Path) -> list[Path]:
    """TRL's trainer_state.json of the run in a folder: its own, else those of its checkpoints, the latest last."""
    if (path / "trainer_state.json").is_file():
        return [path / "trainer_state.json"]
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
    if (path / METRICS).is_file() or is_ours(path):
        return _read_ours(path, ask)
    states = trainer_states(path)
    if not states:
        raise InputError(f"{path}: holds neither metrics.jsonl nor trainer_state.json")
    return read_trainer_state(states[-1], ask, run_id=path.name)


def _read_ours(path: Path, ask: Ask) -> Raw:
    file = path / METRICS
    if not is_ours(path):
        return _read_metrics(file, *read_json_lines(file), ask)
    if ask.metric is not None:
        raise InputError(
            f"{path}: a run folder of ours holds one accuracy; drop --metric {ask.metric}"
        )
    log = read_run_log(path)
    notes = (
        [] if log.torn is None else [f"{METRICS}, line {log.torn}: last line cut short, dropped"]
    )
    fixed = {name: log.spec[name] for name in SPEC_COLUMNS if log.spec.get(name) is not None}
    fixed.setdefault("run_id", path.name)
    done = log.done
    found, said = log.evaluations()
    if not found:
        raise InputError(f"{file}: no line of kind 'eval': nothing was evaluated yet")
    rows: list[dict[str, Any]] = []
    for number, line in found:
        own = {k: v for k, v in line.items() if k in KNOWN and v is not None}
        rows.append({**fixed, **own, ORIGIN: f"{path.name}/{METRICS} line {number}"})
    notes += said
    if not done:
        notes.append(f"not finished (no {DONE})")
    return Raw(frame_of(rows, source=str(path)), tuple(f"{path.name}: {note}" for note in notes))


def _read_metrics(
    file: Path, lines: list[tuple[int, dict[str, Any]]], torn: tuple[str, ...], ask: Ask
) -> Raw:
    """A metrics.jsonl of somebody else's: one object a logging call, its step among its values."""
    if not any("step" in line for _, line in lines):
        raise InputError(f"{file}: neither a kind nor a step in its lines")
    raw = read_rows(
        frame_of([{**line, ORIGIN: f"line {number}"} for number, line in lines], source=str(file)),
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
