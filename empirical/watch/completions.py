"""The completions that TRL saves (`log_completions=True`): a log of what was paid, and labels by a reference verifier.

Law. One file a logged step holds the rollouts of its last batch of generations: prompt, completion, what each reward
function paid, and what was logged by `log_extra`. Labels are drawn from (seed, step), spread over prompts, as the
callback draws them.
Fails first where TRL evaluates: it writes the evaluation's completions over those of the step.
Source: TRL 1.16 (`GRPOTrainer.log`); docs/how-to/watch.md.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from empirical.watch.labels import Label, Unit, choose, right_of, units_of
from fits.errors import InputError
from fits.files import file_bytes
from fits.readers.text import read_parquet
from fits.table import ORIGIN

__all__ = ["FOLDER", "PAID_ABOVE", "Paid", "Reference", "completion_files", "paid_in"]

FOLDER: Final = "completions"  # in TRL's output folder
PAID_ABOVE: Final = 0.5
_NAME: Final = re.compile(r"completions_(\d+)\.parquet")
_OF_TRL: Final = ("step", "prompt", "completion", "advantage", "image", ORIGIN)


@dataclass(frozen=True)
class Paid:
    """The rollouts of one saved step that were scored: places in the table, prompts, and whether each was paid."""

    places: tuple[int, ...]
    prompts: tuple[str, ...]
    paid: tuple[bool, ...]


def completion_files(folder: Path) -> dict[int, Path]:
    """The saved files of a run by step, ascending, if any. folder: TRL's output folder, or FOLDER in it."""
    inner = folder / FOLDER if (folder / FOLDER).is_dir() else folder
    if not inner.is_dir():
        return {}
    found = {
        int(match[1]): file for file in inner.iterdir() if (match := _NAME.fullmatch(file.name))
    }
    return dict(sorted(found.items()))


def paid_in(
    files: Mapping[int, Path], reward: str | None, gold: str
) -> tuple[dict[int, Paid], list[str]]:
    """What was paid at each saved step, and what is to be said. reward, gold: as for `Reference`.

    Raises InputError where a file but the newest, which may be being written, is no table of TRL's completions.
    """
    steps: dict[int, Paid] = {}
    notes: list[str] = []
    for step, file in files.items():
        frame = _table(file, newest=step == max(files))
        if frame is None:
            notes.append(f"{file.name}: is being written")
            continue
        steps[step] = _paid(frame, _reward_of(frame, reward, gold, file))
    return steps, notes


@dataclass
class Reference:
    """A reference verifier over saved completions; what it has judged it keeps.

    name: a verifier of ours or module:function. gold, reward: columns of the right answer and of what the verifier that
    trains paid (None: the only one there may be). labels: a step. seed: of their draw.
    Raises InputError or StudyError where the verifier cannot be had.
    """

    name: str
    gold: str = "gold"
    reward: str | None = None
    labels: int = 8
    seed: int = 0
    _judge: Callable[[str, str], Any] = field(init=False)
    _units: dict[int, tuple[Unit, ...]] = field(init=False, default_factory=dict[int, Any])

    def __post_init__(self) -> None:
        from empirical.audit.judged import judge_of

        self._judge = judge_of(self.name)

    def label(self, folder: Path) -> dict[int, tuple[Unit, ...]]:
        """Labels of all saved steps. Raises InputError naming what a file lacks."""
        files = completion_files(folder)
        if not files:
            raise InputError(
                f"{folder}: --reference judges completions that TRL saved (GRPOConfig(log_completions=True)), and there is"
                f" no {FOLDER}/completions_*.parquet"
            )
        for step, file in files.items():
            if step in self._units:
                continue
            frame = _table(file, newest=step == max(files))
            if frame is not None:
                self._units[step] = tuple(units_of(self._labels_of(frame, step, file)))
        return dict(self._units)

    def _labels_of(self, frame: pd.DataFrame, step: int, file: Path) -> list[Label]:
        from empirical.errors import StudyError
        from empirical.training.rewards import gold_text

        if self.gold not in frame.columns:
            raise InputError(
                f"{file}: no column {self.gold!r} with the right answer (--gold); there are: {_there(frame)}. TRL saves"
                f" none by itself: a reward function does, by log_extra({self.gold!r}, {self.gold})"
            )
        paid = _paid(frame, _reward_of(frame, self.reward, self.gold, file))
        rng = np.random.Generator(np.random.Philox(key=[self.seed, step]))
        labels: list[Label] = []
        for at in choose(paid.prompts, self.labels, rng):
            place = paid.places[at]
            try:
                gold = gold_text(frame[self.gold].iloc[place])
                right = right_of(self._judge(_last(frame["completion"].iloc[place]), gold))
            except (StudyError, InputError) as error:
                raise InputError(f"{file}, row {place + 1}: {error}") from None
            if right is not None:
                labels.append(Label(paid.paid[at], right, paid.prompts[at]))
        return labels


def _table(file: Path, *, newest: bool) -> pd.DataFrame | None:
    """A saved table; None where it is the newest and not whole yet."""
    try:
        whole = file_bytes(file).endswith(b"PAR1")
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    if newest and not whole:
        return None
    frame, _ = read_parquet(file, lists=("prompt", "completion"))
    for name in ("prompt", "completion"):
        if name not in frame.columns:
            raise InputError(
                f"{file}: is no table of TRL's completions: no column {name}; there are: {_there(frame)}"
            )
    return frame


def _reward_of(frame: pd.DataFrame, reward: str | None, gold: str, file: Path) -> str:
    """The column of what the verifier paid. Raises InputError where it is not there, or several may be it."""
    numeric = [
        str(name)
        for name in frame.columns
        if name not in (*_OF_TRL, gold) and pd.api.types.is_numeric_dtype(frame[name])
    ]
    if reward is not None:
        if reward not in numeric:
            raise InputError(
                f"{file}: no column of rewards is called {reward!r} (--reward); there are: {', '.join(numeric) or 'none'}"
            )
        return reward
    # What was logged by log_extra comes after the reward functions: a right answer may be a number too.
    if len(numeric) == 1:
        return numeric[0]
    other = (
        ""
        if gold in frame.columns
        else f", or the right answer's with --gold (there is no {gold!r})"
    )
    raise InputError(
        f"{file}: which column holds what the verifier paid is not clear: name it with --reward{other}: "
        f"{', '.join(numeric) or 'none is numeric'}"
    )


def _paid(frame: pd.DataFrame, reward: str) -> Paid:
    rewards = frame[reward].to_numpy(np.float64)
    kept = [place for place, value in enumerate(rewards) if np.isfinite(value)]
    return Paid(
        places=tuple(kept),
        prompts=tuple(_key(frame["prompt"].iloc[place]) for place in kept),
        paid=tuple(bool(rewards[place] > PAID_ABOVE) for place in kept),
    )


def _key(prompt: Any) -> str:
    return prompt if isinstance(prompt, str) else repr([dict(message) for message in prompt])


def _last(completion: Any) -> str:
    """Plain text, or the last message of a chat."""
    return completion if isinstance(completion, str) else str(completion[-1]["content"])


def _there(frame: pd.DataFrame) -> str:
    return ", ".join(str(name) for name in frame.columns if name != ORIGIN)
