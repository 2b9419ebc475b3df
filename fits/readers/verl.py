"""verl's console log: one line a step, `step:N - key:value - key:value …`, amid everything else.

The command line that the log opens with gives group size, prompts per step and model; tokens and
accelerator hours are summed over steps, so they are given only where no step is missing.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from fits.errors import InputError
from fits.readers.history import Raw, evaluations
from fits.readers.text import read_text

__all__ = ["looks_like_verl", "read_verl"]

_ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")
_STEP: Final = re.compile(r"\bstep:(\d+) - (\S.*)$")
_PAIR: Final = re.compile(r"^(\S+):(-?(?:\d+\.?\d*(?:[eE][+-]?\d+)?|nan|inf))$")
_SETTING: Final = re.compile(r"(?:^|\s)'?([\w.]+)=([^\s']+)")


def looks_like_verl(text: str) -> bool:
    """Whether a text holds step lines of verl's console logger."""
    return any(_STEP.search(line) for line in text.splitlines())


def read_verl(path: Path, *, metric: str | None = None) -> Raw:
    """The evaluations in a console log of verl, as raw run-table rows.

    metric: which logged value is the accuracy; a log with one `val-core/…` value needs none.
    Raises InputError where there is no step line, or several accuracies to choose from.
    """
    text = _ANSI.sub("", read_text(path))
    torn = not text.endswith("\n")
    lines = text.splitlines()
    settings: dict[str, str] = {}
    steps: dict[int, dict[str, float]] = {}
    places: dict[int, str] = {}
    notes: list[str] = []
    again: list[int] = []
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
        step = int(match.group(1))
        again += [step] if step in steps else []
        steps[step] = {
            found.group(1): float(found.group(2))
            for pair in pairs
            if (found := _PAIR.match(pair.strip()))
        }
        places[step] = f"line {number}"
    if not steps:
        raise InputError(
            f"{path}: no line of the form 'step:N - name:value - …': no console log of verl"
        )
    if again:
        notes.append(
            f"step {again[0]} was logged twice: the later line holds"
            if len(again) == 1
            else f"{len(again)} lines repeat a step logged before (first: step {again[0]}):"
            " the later line holds"
        )
    if sorted(steps) != list(steps):
        notes.append("step lines were out of order: sorted by step")
    history = [(places[step], step, dict(steps[step])) for step in sorted(steps)]
    frame, said = evaluations(
        history,
        run_id=settings.get("trainer.experiment_name", path.stem),
        metric=metric,
        source=str(path),
        fixed=_condition(settings),
    )
    sums, summed = _cumulative(steps, settings)
    for column, by_step in sums.items():
        frame[column] = [by_step.get(step) for step in frame["step"]]
    return frame, (*dict.fromkeys(notes), *said, *summed)


def _condition(settings: Mapping[str, str]) -> dict[str, Any]:
    names = {
        "group_size": "actor_rollout_ref.rollout.n",
        "prompts_per_step": "data.train_batch_size",
    }
    fixed: dict[str, Any] = {
        column: settings[name] for column, name in names.items() if name in settings
    }
    model = settings.get("actor_rollout_ref.model.path")
    if model is not None:
        cached = re.search(r"models--([^/]+)--([^/]+)", model)
        fixed["model"] = f"{cached.group(1)}/{cached.group(2)}" if cached else Path(model).name
    return fixed


def _cumulative(
    steps: Mapping[int, Mapping[str, float]], settings: Mapping[str, str]
) -> tuple[dict[str, dict[int, float]], tuple[str, ...]]:
    """tokens and gpu_hours up to each step, where every step from 1 on was logged."""
    if sorted(step for step in steps if step > 0) != list(range(1, max(steps) + 1)):
        return {}, ("steps are missing from the log: no cumulative tokens and hours",)
    devices = math.prod(
        int(settings.get(f"trainer.{name}", 0)) for name in ("nnodes", "n_gpus_per_node")
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
        if scale == 0.0 or any(name not in steps[step] for step in steps if step > 0):
            continue
        total = 0.0
        sums[column] = {}
        for step in sorted(steps):
            total += scale * steps[step].get(name, 0.0)
            sums[column][step] = total
        notes.append(formula)
    return sums, tuple(notes)
