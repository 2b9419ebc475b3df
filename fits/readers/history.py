"""What every log of a training run comes down to: values by name and step, one of them the accuracy.

Law. Entries come in the order in which they were logged. Entries of one step are one, name by name. A step
that comes again after a later one, with a name it had before, is a run resumed from there: what the first
try logged after that step is dropped, and said. From its very first step on it is another run, unless it says
the same again: refused, for two runs in one file are no curve.
NaN, null and nothing are one thing in a log: not logged.
Fails first where a resumed run never logs a step again: its entries then are merely out of order, and said.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right, insort
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fits.errors import InputError
from fits.files import DEEPEST
from fits.plain import counted
from fits.readers.text import refuse_wide
from fits.table import COLUMNS, LARGEST_INTEGER, ORIGIN

__all__ = [
    "COMPANIONS",
    "KNOWN",
    "SETTINGS",
    "Ask",
    "History",
    "Logged",
    "Raw",
    "choose_metric",
    "evaluations",
    "frame_of",
    "is_logged",
    "is_number",
    "logged_cells",
    "settings_of",
    "step_of",
]


@dataclass(frozen=True)
class Ask:
    """What the user says of a log: the value that is the accuracy, and columns by their names in it (--map)."""

    metric: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def accuracy(self) -> str | None:
        """The name of the accuracy in the log, where the user gave one."""
        return self.metric or self.columns.get("accuracy")


@dataclass(frozen=True)
class Raw:
    """What a reader delivers: rows, what it repaired or recognised, and what the accuracy was called.

    frame: cells of any type, each row with its place. notes: one line each. measured: the name of the
    accuracy in the log. taken: columns of `Ask.columns` that are in the frame already.
    """

    frame: pd.DataFrame
    notes: tuple[str, ...] = ()
    measured: str = "accuracy"
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Logged:
    """All that one run logged: its name, a mapping a logging call in their order, its settings, what was repaired."""

    name: str
    rows: tuple[Mapping[str, Any], ...]
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()


# (place in the file, step, values logged there), in the order they were logged.
History = Sequence[tuple[str, Any, Mapping[str, Any]]]

KNOWN: Final = frozenset(column.name for column in COLUMNS)

# Names under which trainers log what the run table calls something else.
COMPANIONS: Final[Mapping[str, tuple[str, ...]]] = {
    "observed_reward": (
        "reward",
        "train/reward",
        "train.reward",
        "critic/rewards/mean",
        "train_reward",
    ),
    "tokens": ("num_tokens", "train/num_tokens"),
}
# Names under which trainers' settings give a run's condition: TRL, verl, OpenRLHF, NeMo-RL.
SETTINGS: Final[Mapping[str, tuple[str, ...]]] = {
    "group_size": (
        "num_generations",
        "actor_rollout_ref.rollout.n",
        "n_samples_per_prompt",
        "num_generations_per_prompt",
        "grpo.num_generations_per_prompt",
        "rollout_n",
        "rollout.n",
    ),
    "prompts_per_step": (
        "data.train_batch_size",
        "num_prompts_per_step",
        "grpo.num_prompts_per_step",
    ),
    "model": (
        "model_name_or_path",
        "actor_rollout_ref.model.path",
        "_name_or_path",
        "pretrain",
        "policy.model_name",
    ),
}
# Columns of the run table that are another number at every evaluation.
_PER_ROW: Final = ("rollouts", "tokens", "flops", "gpu_hours", "n_eval", "observed_reward")
_NOTHING: Final = frozenset({"", "nan", "none", "null", "-nan"})


def frame_of(rows: Sequence[Mapping[str, Any]], *, source: str) -> pd.DataFrame:
    """Raw rows as a frame of untyped cells; what a row does not say is None, never NaN.

    Raises InputError naming `source` where that would be more empty cells than are laid out.
    """
    names = dict.fromkeys(name for row in rows for name in row)
    refuse_wide(len(names), rows=len(rows), values=sum(map(len, rows)), source=source)
    return pd.DataFrame(
        {name: pd.Series([row.get(name) for row in rows], dtype=object) for name in names}
    )


def is_logged(value: object) -> bool:
    """Whether a cell of a log holds anything: NaN, null, their spellings and empty text do not."""
    if value is None or value is pd.NA:
        return False
    if isinstance(value, str):
        return value.strip().lower() not in _NOTHING
    return not (isinstance(value, float) and math.isnan(value))


def logged_cells(cells: pd.Series[Any]) -> NDArray[np.bool_]:
    """`is_logged` of every cell of a column."""
    if pd.api.types.is_numeric_dtype(cells):
        return cells.notna().to_numpy(np.bool_)
    if isinstance(cells.dtype, pd.StringDtype):
        spoken = cells.str.strip().str.lower()
        return (cells.notna() & ~spoken.isin(list(_NOTHING))).to_numpy(np.bool_)
    return np.array([is_logged(cell) for cell in cells.tolist()], dtype=np.bool_)


def is_number(value: object) -> bool:
    """Whether a logged value is a finite number."""
    if isinstance(value, bool):
        return False
    try:
        return math.isfinite(float(value))  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, OverflowError):
        return False


def step_of(value: Any, *, source: str) -> int | None:
    """The optimiser step that a cell names; None where it names none (nothing, NaN, an infinity).

    Raises InputError where it is a list, no number, or no whole number.
    """
    if isinstance(value, list | dict | bool):
        raise InputError(f"{source}, step: {str(value)[:40]} is no number")
    if not is_logged(value):
        return None
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    except (TypeError, ValueError):
        raise InputError(f"{source}, step: {str(value)[:40]!r} is no number") from None
    if math.isinf(number) and isinstance(value, str | float):
        return None
    if abs(number) > LARGEST_INTEGER:
        raise InputError(f"{source}, column step: {str(value)[:40]} is above 2^53")
    if number != round(number):
        raise InputError(f"{source}, column step: {number:g} is not a whole number")
    return int(number)


def settings_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """A run's condition in the settings of its trainer, nested or dotted: its seed, group size, model, …

    A column of the run table by its own name comes before any other spelling of it.
    """
    flat = dict(_flat(config, DEEPEST))
    found: dict[str, Any] = {}
    for column in COLUMNS:
        if column.name in ("run_id", "step", "accuracy"):
            continue
        for name in (column.name, *SETTINGS.get(column.name, ())):
            value = flat.get(name)
            if is_logged(value) and isinstance(value, str | int | float):
                found[column.name] = _model(str(value)) if column.name == "model" else value
                break
    return found


def _flat(config: Mapping[str, Any], levels: int, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in config.items():
        # W&B wraps every setting as {"value": …, "desc": …}.
        wrapped = (
            isinstance(value, Mapping) and "value" in value and set(value) <= {"value", "desc"}
        )
        inner = value["value"] if wrapped else value
        if isinstance(inner, Mapping):
            if levels:
                yield from _flat(inner, levels - 1, f"{prefix}{name}.")
        else:
            yield prefix + name, inner


def _model(path: str) -> str:
    """A model's name: of a hub's cache or a local path, its last part; else as it is (owner/name)."""
    cached = re.search(r"models--([^/]+)--([^/]+)", path)
    if cached:
        return f"{cached.group(1)}/{cached.group(2)}"
    return path.rstrip("/").rpartition("/")[2] if path.count("/") > 1 else path


def choose_metric(names: Sequence[str], *, metric: str | None, source: str) -> str:
    """Which of the logged `names` is the accuracy: `metric`, an evaluation's, or the only one.

    Raises InputError listing the candidates where there is none or more than one.
    """
    listed = ", ".join(names[:12]) + (", …" if len(names) > 12 else "")
    if metric is not None:
        if metric in names:
            return metric
        raise InputError(
            f"{source}: nothing is logged as {metric!r}; there are: {listed or 'no values'}"
        )
    # Evaluation before training: a trainer's plain "accuracy" is that of the rollouts it learns from.
    for exact in ("eval_accuracy", "eval/accuracy", "accuracy"):
        if exact in names:
            return exact
    candidates = [
        name
        for name in names
        if re.search(r"(^|[/._@-])(acc|accuracy)($|[/._@-])", name) or name.startswith("val-core/")
    ]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise InputError(
            f"{source}: several accuracies are logged, choose with --metric: {', '.join(candidates)}"
        )
    raise InputError(
        f"{source}: no accuracy is logged; name one with --metric: {listed or 'nothing is logged'}"
    )


def evaluations(
    history: History,
    *,
    run_id: str,
    ask: Ask,
    source: str,
    fixed: Mapping[str, Any] | None = None,
) -> Raw:
    """The rows of a run table in a log: the steps at which the accuracy was logged.

    fixed: columns that hold for the whole run. Reward, tokens and what `ask` names, logged at the same
    step, come along; the reward only from training.
    Raises InputError where no, or no single, accuracy is logged, or two runs are in one history.
    """
    names = sorted({name for _, _, values in history for name in values})
    chosen = choose_metric(names, metric=ask.accuracy, source=source)
    notes = [] if chosen == "accuracy" else [f"accuracy is {chosen!r} of the log"]
    broken = sum(
        1
        for _, _, values in history
        if (value := values.get(chosen)) is not None and value != "" and not is_logged(value)
    )
    if broken:
        notes.append(f"{run_id}: {counted(broken, 'NaN')} in {chosen!r}: not logged")
    by_step, said = _one_run(history, run_id=run_id, source=source)
    notes.extend(said)
    mapped = {column: column for column in _PER_ROW if column in names and column != chosen}
    mapped |= {
        column: name
        for column, name in ask.columns.items()
        if name in names and column not in ("run_id", "step", "accuracy")
    }
    rows: list[dict[str, Any]] = []
    for step in sorted(by_step):
        values = by_step[step]
        if chosen not in values:
            continue
        row = {"run_id": run_id, **(fixed or {}), "step": step, "accuracy": values[chosen][0]}
        for column, spellings in COMPANIONS.items():
            for name in spellings:
                if name in values and name != chosen and is_number(values[name][0]):
                    row[column] = values[name][0]
        row.update({column: values[name][0] for column, name in mapped.items() if name in values})
        rows.append({**row, ORIGIN: values[chosen][1]})
    if not rows:
        raise InputError(f"{source}: {chosen!r} never has a value: nothing was evaluated")
    taken = {"accuracy", *mapped} & set(ask.columns)
    return Raw(frame_of(rows, source=source), tuple(notes), chosen, frozenset(taken))


_Logged = dict[str, tuple[Any, str]]  # name -> (value, place)


def _one_run(
    history: History, *, run_id: str, source: str
) -> tuple[dict[int, _Logged], tuple[str, ...]]:
    """What was logged at each step, name by name, and notes on what was repeated, dropped or sorted.

    Raises InputError where the history begins again with other values: two runs in one file.
    """
    kept: dict[int, _Logged] = {}
    before: dict[int, _Logged] = {}  # an earlier telling of the run, to be held against this one
    first: dict[str, int] = {}  # the least step at which each name was logged
    order: list[int] = []  # the steps of `kept`, sorted
    repeats: list[int] = []
    notes: list[str] = []
    restart = ""
    last: int | None = None
    unsorted = False
    for place, cell, values in history:
        step = step_of(cell, source=f"{source}, {place}")
        logged = {name: (value, place) for name, value in values.items() if is_logged(value)}
        if step is None or not logged:
            continue
        here = kept.get(step, {})
        again = [name for name in logged if name in here]
        if last is not None and step < last:
            if any(step == first[name] for name in again):
                _same_again(kept, before, run_id=run_id, source=source, place=restart)
                before, kept, order, restart = kept, {}, [], place
            elif again:
                lost = order[bisect_right(order, step) :]
                notes.append(
                    f"{run_id}: resumed at step {step} ({place}): what the abandoned branch logged at"
                    f" {counted(len(lost), 'later step')}, up to {lost[-1]}, is dropped"
                )
                for later in lost:
                    del kept[later]
                del order[len(order) - len(lost) :]
            else:
                unsorted = True
        if again or step in before:
            repeats.append(step)
        if step not in kept:
            insort(order, step)
        kept.setdefault(step, {}).update(logged)
        for name in logged:
            first[name] = min(step, first.get(name, step))
        last = step
    _same_again(kept, before, run_id=run_id, source=source, place=restart)
    for step, values in before.items():
        kept[step] = {**values, **kept.get(step, {})}
    if repeats:
        notes.append(
            f"{run_id}: step {repeats[0]} was logged twice: the later line holds"
            if len(repeats) == 1
            else f"{run_id}: {len(repeats)} lines repeat a step logged before (first: step"
            f" {repeats[0]}): the later line holds"
        )
    if unsorted:
        notes.append(f"{run_id}: steps were out of order: sorted by step")
    return kept, tuple(notes)


def _same_again(
    kept: Mapping[int, _Logged],
    before: Mapping[int, _Logged],
    *,
    run_id: str,
    source: str,
    place: str,
) -> None:
    """Refuse a second telling of a run that differs from the first."""
    for step, values in kept.items():
        for name, (value, where) in values.items():
            old = before.get(step, {}).get(name)
            if old is not None and not _equal(old[0], value):
                raise InputError(
                    f"{source}, {place}: run {run_id!r} begins again, and {name} at step {step} is"
                    f" {value} ({where}), {old[0]} before ({old[1]}): two runs in one file? One run a file,"
                    " or a column that names them, --map run_id=COLUMN"
                )


def _equal(one: object, other: object) -> bool:
    if one == other:
        return True
    if not (is_number(one) and is_number(other)):
        return False
    return math.isclose(float(str(one)), float(str(other)), rel_tol=1e-9, abs_tol=1e-12)
