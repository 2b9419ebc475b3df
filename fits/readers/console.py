"""What trainers print: verl's step lines and file logger, and the dictionaries of TRL and its kin.

Law. verl prints `step:N - name:value - …` and its file logger writes {"step": N, "data": {…}}; several lines
of one step are one step. The trainers of Hugging Face print each log as a Python dictionary, whose step is in
it, or in the progress bar beside it, or nowhere: then the lines are counted, and that is said.
A value may be a NumPy scalar or a tensor as Python prints it (`np.float64(0.3)`).
Fails first where a log is printed by several processes at once: lines are then torn within themselves.
"""

from __future__ import annotations

import ast
import math
import re
from bisect import bisect_right
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from fits.errors import InputError
from fits.readers.history import Ask, History, Raw, evaluations, is_number, settings_of, step_of
from fits.readers.jsonl import parse_json, read_json_lines
from fits.readers.text import lines_of, read_text

__all__ = ["looks_like_dicts", "looks_like_verl", "read_dicts", "read_verl", "read_verl_file"]

_ANSI: Final = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
_STEP: Final = re.compile(r"(?<![\w/.])step:(\d{1,400}) - (\S.*)$")
# Written so that digits match in one way only: a run of them that fails costs its length, not its square.
_NUMBER: Final = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?(?![\d.])|[-+]?(?:nan|inf|infinity)"
# A number alone, or in the words of NumPy or torch: np.float64(0.3), tensor(0.3, device='cuda:0').
_WRAPPED: Final = rf"(?:(?:np|numpy)\.\w+|array|tensor)\(\s*(?P<within>{_NUMBER})\s*(?:,[^()]*)?\)"
_VALUE: Final = re.compile(rf"(?:{_WRAPPED}|(?P<bare>{_NUMBER}))", re.IGNORECASE)
_WRAPS: Final = re.compile(r":(?=(?:tensor|array)\()")
_UNWRAP: Final = re.compile(_WRAPPED, re.IGNORECASE)
_SETTING: Final = re.compile(r"(?:^|\s)'?\+*([\w.]+)=([^\s']+)")


# --- verl ------------------------------------------------------------------------------------------


def looks_like_verl(text: str) -> bool:
    """Whether a text holds step lines of verl's console logger."""
    return any(_STEP.search(line) for line in lines_of(text))


def read_verl(path: Path, ask: Ask) -> Raw:
    """The evaluations in a console log of verl, as raw run-table rows.

    The command line that the log opens with gives group size, prompts per step and model; tokens and
    accelerator hours are summed over steps, so they are given only where no step is missing.
    Raises InputError where there is no step line, or several accuracies to choose from.
    """
    text = _ANSI.sub("", read_text(path))
    torn = not text.endswith(("\n", "\r"))
    lines = lines_of(text)
    settings: dict[str, str] = {}
    history: list[tuple[str, int, dict[str, Any]]] = []
    notes: list[str] = []
    for number, line in enumerate(lines, start=1):
        match = _STEP.search(line)
        if match is None:
            # The shell echoes the command once; Ray prints no setting in this form.
            if "verl.trainer" in line or "main_ppo" in line:
                settings.update(_SETTING.findall(line))
            continue
        pairs = match.group(2).split(" - ")
        if torn and number == len(lines):
            notes.append(f"line {number}: last line cut short, its last value dropped")
            pairs = pairs[:-1]
        history.append((f"line {number}", int(match.group(1)), dict(_pairs(pairs))))
    if not history:
        raise InputError(
            f"{path}: no line of the form 'step:N - name:value - …': no console log of verl"
        )
    raw = _verl_rows(
        history,
        run_id=settings.get("trainer.experiment_name", path.stem),
        settings=settings,
        ask=ask,
        source=str(path),
    )
    return Raw(raw.frame, (*notes, *raw.notes), raw.measured, raw.taken)


def _pairs(texts: list[str]) -> Iterator[tuple[str, Any]]:
    """(name, value) of each "name:value"; a value that is no number stays text."""
    for text in texts:
        name, colon, value = text.strip().partition(":")
        if not colon:
            continue
        # A name may hold colons, a value only within tensor(…).
        if ":" in value and not value.startswith(("tensor(", "array(")):
            wrapped = _WRAPS.search(value)
            at = value.rindex(":") if wrapped is None else wrapped.start()
            name, value = f"{name}:{value[:at]}", value[at + 1 :]
        match = _VALUE.fullmatch(value)
        yield name, value if match is None else float(match["within"] or match["bare"])


def read_verl_file(path: Path, ask: Ask) -> Raw:
    """The evaluations in the JSON lines of verl's file logger, as raw run-table rows."""
    lines, torn = read_json_lines(path)
    history: list[tuple[str, Any, dict[str, Any]]] = []
    for number, line in lines:
        if not isinstance(line.get("data"), dict) or "step" not in line:
            raise InputError(f"{path}, line {number}: has no step and data: no file log of verl")
        history.append((f"line {number}", line["step"], line["data"]))
    raw = _verl_rows(history, run_id=path.stem, settings={}, ask=ask, source=str(path))
    return Raw(raw.frame, (*torn, *raw.notes), raw.measured, raw.taken)


def _verl_rows(
    history: History, *, run_id: str, settings: Mapping[str, str], ask: Ask, source: str
) -> Raw:
    raw = evaluations(history, run_id=run_id, ask=ask, source=source, fixed=settings_of(settings))
    steps: dict[int, dict[str, Any]] = {}
    for place, cell, values in history:
        step = step_of(cell, source=f"{source}, {place}")
        if step is not None:
            steps.setdefault(step, {}).update(values)
    sums, notes = _cumulative(steps, settings)
    frame = raw.frame.assign(
        **{
            column: pd.Series([by_step.get(step) for step in raw.frame["step"]], dtype=object)
            for column, by_step in sums.items()
            if column not in raw.taken
        }
    )
    return Raw(frame, (*raw.notes, *notes), raw.measured, raw.taken)


def _cumulative(
    steps: Mapping[int, Mapping[str, Any]], settings: Mapping[str, str]
) -> tuple[dict[str, dict[int, float]], tuple[str, ...]]:
    """tokens and gpu_hours up to each step, where every step from 1 on was logged."""
    trained = {step for step in steps if step > 0}
    if len(trained) != max(steps):
        return {}, ("steps are missing from the log: no cumulative tokens and hours",)
    counts = [settings.get(f"trainer.{name}", "0") for name in ("nnodes", "n_gpus_per_node")]
    # The shell may have left $NNODES as it stands.
    devices = math.prod(
        int(count) if count.isdecimal() and len(count) < 10 else 0 for count in counts
    )
    sources = {
        "tokens": ("perf/total_num_tokens", 1.0, "tokens: running sum of perf/total_num_tokens"),
        "gpu_hours": (
            "timing_s/step",
            devices / 3600.0,
            "gpu_hours: running sum of timing_s/step times nnodes * n_gpus_per_node",
        ),
    }
    sums: dict[str, dict[int, float]] = {}
    notes: list[str] = []
    for column, (name, scale, formula) in sources.items():
        if scale == 0.0 or not trained or any(not is_number(steps[s].get(name)) for s in trained):
            continue
        total = 0.0
        sums[column] = {}
        for step in sorted(steps):
            total += scale * float(steps[step].get(name) or 0.0)
            sums[column][step] = total
        notes.append(formula)
    return sums, tuple(notes)


# --- dictionaries ----------------------------------------------------------------------------------

_LONGEST_DICT: Final = 1 << 16  # characters; parsing takes a thousand times a dictionary's size
_DICT: Final = re.compile(r"\{\s*['\"][^{}]*\}")
_LOGGED_BY: Final = re.compile(
    r"['\"](?:loss|reward|eval_\w+|rewards/[^'\"]+|train_runtime|epoch)['\"]"
)
# A bar with a name before it counts something else: files loaded, rows mapped.
_BAR: Final = re.compile(r"(?:^|[\r\n])[ \t]*\d+%\|[^|\r\n]*\|\s*(\d{1,18})/(\d{1,18}) \[")
_ANY_BAR: Final = re.compile(r"\d+%\|[^\r\n]*")
_BARE: Final = re.compile(r"(?<=[:\s,])([-+]?)(nan|inf)\b")


def looks_like_dicts(text: str) -> bool:
    """Whether a text holds logs printed as dictionaries, one a line."""
    return any(_LOGGED_BY.search(match.group()) for match in _DICT.finditer(text))


def read_dicts(path: Path, ask: Ask) -> Raw:
    """The evaluations in dictionaries that a trainer printed, as raw run-table rows.

    Raises InputError where there is none, or several accuracies to choose from.
    """
    text = _ANSI.sub("", read_text(path))
    logs: list[_Log] = []
    bars = [
        (match.start(), int(match.group(1)), int(match.group(2))) for match in _BAR.finditer(text)
    ]
    starts = [0, *(match.end() for match in re.finditer(r"\n", text))]
    line = 0
    for match in _DICT.finditer(text):
        while line + 1 < len(starts) and starts[line + 1] <= match.start():
            line += 1
        values = _dict(match.group())
        if values is not None and _LOGGED_BY.search(match.group()):
            logs.append((f"line {line + 1}", match.span(), values))
    if not logs:
        raise InputError(f"{path}: no log is printed in it as a dictionary, {{'loss': …}}")
    logs = [log for log in logs if "train_runtime" not in log[2]] or logs
    steps, note = _steps_of(logs, bars, text, source=str(path))
    history = [
        (place, step, {name: value for name, value in values.items() if name not in _TIMES})
        for (place, _, values), step in zip(logs, steps, strict=True)
    ]
    raw = evaluations(history, run_id=path.stem, ask=ask, source=str(path))
    return Raw(raw.frame, (*raw.notes, *note), raw.measured, raw.taken)


_Log = tuple[str, tuple[int, int], dict[str, Any]]  # place, where it begins and ends, values
_TIMES: Final = frozenset(
    {"step", "global_step", "epoch", "percentage", "elapsed_time", "remaining_time"}
)


def _dict(text: str) -> dict[str, Any] | None:
    """A dictionary as Python or JSON prints one; None where it is neither."""
    if len(text) > _LONGEST_DICT:
        return None
    plain = _UNWRAP.sub(lambda match: match["within"], text)
    try:
        values = ast.literal_eval(_BARE.sub(r"'\1\2'", plain))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        try:
            values = parse_json(plain, source="")
        except InputError:
            return None
    if not isinstance(values, dict):
        return None
    return {str(name): _finite(value) for name, value in values.items() if isinstance(name, str)}


def _finite(value: object) -> object:
    """A whole number past every float as the infinity it would be."""
    return math.inf if isinstance(value, int) and value.bit_length() > 1023 else value


def _steps_of(
    logs: list[_Log], bars: list[tuple[int, int, int]], text: str, *, source: str
) -> tuple[list[int | str], tuple[str, ...]]:
    """The step of each log, and how it was come by.

    Raises InputError where logs have to be counted and are not of one run from its start.
    """
    for name in ("step", "global_step", "train/global_step", "global_step/max_steps"):
        if all(name in values for _, _, values in logs):
            return [str(values[name]).partition("/")[0] for _, _, values in logs], ()
    misplaced = False
    if bars:
        steps = _steps_beside(logs, bars, text)
        misplaced = _misplaced(steps, logs)
        if not misplaced:
            return steps, (f"step is read off the progress bar (of {bars[0][2]}) beside each log",)
    _one_telling(logs, source)
    count = 0
    counted: list[int | str] = []
    for _, _, values in logs:
        count += not all(name.startswith(("eval_", "epoch")) for name in values)
        counted.append(count)
    why = "the progress bar does not stand beside the logs" if misplaced else "no step is printed"
    return counted, (
        f"{why}: step counts the training logs, one every logging_steps optimiser steps",
    )


def _steps_beside(logs: list[_Log], bars: list[tuple[int, int, int]], text: str) -> list[int | str]:
    """The step of each log by the trainer's bar, the first of all, before or after it.

    A log is written over the bar, which is drawn again at once: what stands between is neither text nor log.
    One printed past the bar is of the step drawn before it. Where the next step's bar follows such a log at once,
    its epoch tells, being in proportion to the step.
    """
    train = [(at, n) for at, n, total in bars if total == bars[0][2]]
    offsets = [at for at, _ in train]
    before: list[int | str] = []
    after: list[int | str] = []
    for _, (begin, end), _ in logs:
        place = bisect_right(offsets, begin)
        redrawn = place < len(train) and not _ANY_BAR.sub("", text[end : offsets[place]]).strip()
        before.append(train[max(place - 1, 0)][1])
        after.append(train[place][1] if redrawn else before[-1])
    return before if _off_line(before, logs) < _off_line(after, logs) else after


def _one_telling(logs: list[_Log], source: str) -> None:
    """Refuse to count logs whose epoch goes back: those after it are another run's, or of a run resumed."""
    last = -math.inf
    for place, _, values in logs:
        if not is_number(values.get("epoch")):
            continue
        epoch = float(values["epoch"])
        if epoch < last:
            raise InputError(
                f"{source}, {place}: the epoch goes back from {last:g} to {epoch:g}, and no step is logged: two"
                " runs in one log, or one resumed? One run a file, or its trainer_state.json"
            )
        last = epoch


def _off_line(steps: list[int | str], logs: list[_Log]) -> float:
    """By how much steps are not in proportion to epochs: the residual sum of squares."""
    told = np.array(
        [
            (float(values["epoch"]), float(step))
            for step, (_, _, values) in zip(steps, logs, strict=True)
            if is_number(values.get("epoch"))
        ]
    ).reshape(-1, 2)
    epochs, along = told[:, 0], told[:, 1]
    with np.errstate(all="ignore"):  # epochs of any size may be printed
        square = float(epochs @ epochs)
        slope = float(epochs @ along) / square if square > 0.0 else 0.0
        return float(((along - slope * epochs) ** 2).sum())


def _misplaced(steps: list[int | str], logs: list[_Log]) -> bool:
    """Whether logs of one kind and different epochs stand at one step, as where a pipe held the logs back."""
    epochs: dict[tuple[int | str, bool], set[str]] = {}
    for step, (_, _, values) in zip(steps, logs, strict=True):
        if "epoch" in values:
            evaluated = any(name.startswith("eval_") for name in values)
            epochs.setdefault((step, evaluated), set()).add(str(values["epoch"]))
    return any(len(told) > 1 for told in epochs.values())
