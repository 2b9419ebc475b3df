"""A run folder of ours, read alike by whoever analyses it and by whoever trains into it.

    spec.json      the run's constant columns; under "spec" all that was asked for; "sha256" of these
    metrics.jsonl  one JSON object a line: "kind" is "train" (one per optimiser step) or "eval" (the run table's rows)
    DONE           written last

Law. Nothing is believed for being there. What follows the log's last newline was being written when the run was
killed, and is no row. DONE counts if every evaluation that the spec asks for has its row; a spec edited since, or a
row of another run, is refused by name. An evaluation that comes again replaces the earlier one, and one that comes
after later ones ends their branch.
Fails first where spec.json is not there: what DONE is to be held to is then unknown, and it is believed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.files import file_bytes
from fits.plain import counted
from fits.readers.jsonl import TornJsonError, parse_json, read_json

__all__ = [
    "DONE",
    "METRICS",
    "SPEC",
    "SPEC_COLUMNS",
    "Row",
    "RunLog",
    "is_ours",
    "read_run_log",
    "read_spec",
    "sealed",
]

SPEC: Final = "spec.json"
METRICS: Final = "metrics.jsonl"
DONE: Final = "DONE"
SPEC_COLUMNS: Final = (
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
_SEAL: Final = "sha256"

Row = dict[str, Any]


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """What goes into spec.json, with the hash that `read_spec` holds it to."""
    return {**content, _SEAL: _hash(content)}


def _hash(content: Mapping[str, Any]) -> str:
    text = json.dumps({k: v for k, v in content.items() if k != _SEAL}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def read_spec(folder: Path) -> dict[str, Any]:
    """The content of spec.json.

    Raises InputError where it is no JSON object, or not what was written; OSError where it cannot be read.
    """
    path = folder / SPEC
    content = read_json(path)
    if _SEAL in content and content[_SEAL] != _hash(content):
        raise InputError(f"{path}: is not what was written: edited after the run began")
    return content


@dataclass(frozen=True)
class RunLog:
    """What a run folder holds. rows: (line number, row). torn: the line that was being written, None where none was."""

    folder: Path
    spec: dict[str, Any]
    rows: tuple[tuple[int, Row], ...]
    torn: int | None
    says_done: bool
    altered: bool  # whether the log is another than DONE says

    def missing(self) -> list[int]:
        """Steps of the evaluations that the spec asks for and that have no row."""
        there = {row["step"] for _, row in self.rows if row["kind"] == "eval"}
        return [step for step in _asked(self.spec) if step not in there]

    @property
    def done(self) -> bool:
        """Whether the run finished. Raises InputError where DONE says so and an evaluation has no row."""
        if self.says_done and (missing := self.missing()):
            raise InputError(
                f"{self.folder}: says DONE, but the evaluation at step {missing[0]} has no row in {METRICS}:"
                " damaged; remove the folder to make the run anew"
            )
        if self.altered:
            raise InputError(
                f"{self.folder / METRICS}: is not what was written: damaged; remove the folder to make the run anew"
            )
        return self.says_done

    def evaluations(self) -> tuple[list[tuple[int, Row]], tuple[str, ...]]:
        """(line number, row) of each evaluation that holds, in order, and notes on those that do not."""
        by_step: dict[int, tuple[int, Row]] = {}
        replaced, last = 0, -1
        notes: list[str] = []
        for number, row in self.rows:
            if row["kind"] != "eval":
                continue
            step = row["step"]
            if step in by_step and step < last:
                # Resumed from a checkpoint: what came after it is another branch.
                lost = [later for later in by_step if later > step]
                notes.append(
                    f"resumed at step {step}: {counted(len(lost), 'later evaluation')} dropped"
                )
                for later in lost:
                    del by_step[later]
            replaced += step in by_step
            by_step[step] = number, row
            last = step
        if replaced:
            notes.append(
                f"{counted(replaced, 'evaluation')} logged again after a resume: the last one holds"
            )
        return list(by_step.values()), tuple(notes)


def _asked(spec: Mapping[str, Any]) -> list[int]:
    """Steps of the evaluations that a run was asked for; none where its spec does not say."""
    place: Any = spec
    for name in ("spec", "evaluation", "steps"):
        place = place.get(name) if isinstance(place, dict) else None
    return [step for step in place if type(step) is int] if isinstance(place, list) else []


def is_ours(folder: Path) -> bool:
    """Whether a folder is a run of ours: a spec with a log or DONE beside it, or a log with a line of a kind."""
    log = (folder / METRICS).is_file()
    if (folder / SPEC).is_file():
        return log or (folder / DONE).exists()
    return log and b'"kind"' in file_bytes(folder / METRICS)


def read_run_log(folder: Path) -> RunLog:
    """All rows of a run folder that were written whole, and what is said beside them.

    Raises InputError naming the line that is no row of ours, or a row of another run; OSError where a file cannot be
    read.
    """
    path = folder / METRICS
    spec = read_spec(folder) if (folder / SPEC).exists() else {}
    raw = file_bytes(path) if path.exists() else b""
    *lines, rest = raw.split(b"\n")
    rows: list[tuple[int, Row]] = []
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            row = parse_json(line.decode("utf-8"), source=where)
        except TornJsonError:
            raise InputError(f"{where}: is no JSON") from None
        except UnicodeDecodeError:
            raise InputError(f"{where}: is not UTF-8 text") from None
        if not isinstance(row, dict) or "kind" not in row:
            raise InputError(f"{where}: is no row of a run (no kind)")
        if type(row.get("step")) is not int:
            raise InputError(f"{where}, step: {str(row.get('step'))[:40]} is no number of steps")
        # A training row's learning rate is its step's: under a warm-up not the run's.
        for name in SPEC_COLUMNS if spec and row["kind"] == "eval" else ():
            if name in spec and name in row and row[name] != spec[name]:
                raise InputError(
                    f"{where}: {name} is {row[name]!r}, and {SPEC} says {spec[name]!r}: a row of another run, or a"
                    " file edited since"
                )
        rows.append((number, row))
    torn = len(lines) + 1 if rest else None
    done = _read_done(folder)
    said = None if done is None else done.get(METRICS)
    altered = said is not None and said != hashlib.sha256(raw[: len(raw) - len(rest)]).hexdigest()
    return RunLog(folder, spec, tuple(rows), torn, done is not None, altered)


def _read_done(folder: Path) -> dict[str, Any] | None:
    """What DONE says; None where it is not there whole: what a full disk or a crash left of it says nothing."""
    try:
        content = read_json(folder / DONE)
    except (InputError, OSError):
        return None
    return content if _SEAL not in content or content[_SEAL] == _hash(content) else None
