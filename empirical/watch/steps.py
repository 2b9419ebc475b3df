"""The steps of one run as its log tells them, whoever wrote the log.

Law. A step is told once: where a log tells it again (a resumed run), what was told first stands, for its labels must
not count twice. Labels are, in this order of trust: a person's file, what the callback of verigap audited, counts of
right and paid that the reward function logged (`verifier/…`). Of counts, labels are a random draw, since which prompt a
count belongs to is not logged. Completions that TRL saved hold none: a reference verifier makes them.
Fails first where the log is one of two runs written into one file: the callback's own begins anew and is told apart,
others are taken for one run.
Source: docs/contract.md#verigap-watch.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from empirical.watch.alarms import Declared
from empirical.watch.completions import completion_files, paid_in
from empirical.watch.labels import Label, Unit, groups_paid, units_of
from fits.errors import InputError
from fits.files import file_bytes
from fits.readers.folders import trainer_states
from fits.readers.history import is_number, settings_of
from fits.readers.jsonl import TornJsonError, json_table, parse_json, read_json
from fits.readers.run_folder import METRICS, is_ours, read_run_log
from fits.readers.text import read_csv, read_parquet
from fits.readers.trackio import is_trackio_database, trackio_histories
from fits.readers.wandb_offline import offline_file, offline_history
from fits.table import ORIGIN

__all__ = ["LOG", "STOP", "Run", "Step", "read_labels", "read_run", "refuse_impossible"]

LOG: Final = "_watch.jsonl"  # what the callback writes beside the run
STOP: Final = "STOP"  # whose presence stops a run of ours, or one with the callback, after its step


@dataclass(frozen=True)
class Step:
    """One optimiser step. All shares in [0, 1], None where the log does not say.

    paid: how many of all rollouts were; None of a trainer's history, whose counts are TRL's means over processes.
    reward: share of rollouts paid. accuracy: share right, by a reference over all rollouts. groups: shares of the
    groups with no, some and all rollouts paid. units: the audited rollouts. seconds: that the step took. signal, noise:
    squared norms of the mean gradient and of its noise.
    """

    step: int
    rollouts: int | None = None
    paid: int | None = None
    reward: float | None = None
    accuracy: float | None = None
    groups: tuple[float, float, float] | None = None
    zero_advantage: float | None = None
    units: tuple[Unit, ...] = ()
    seconds: float | None = None
    signal: float | None = None
    noise: float | None = None


@dataclass(frozen=True)
class Run:
    """One run as its log tells it. evaluations: (step, accuracy), ascending. labels_by: what judged, "" of nothing.

    identity: two readings of one run have the same. folder: where a file STOP would stop it. total: steps asked for.
    done: whether it says that it ended. saved: where completions of TRL's would lie, None where `path` says.
    """

    name: str
    identity: str
    format: str
    steps: tuple[Step, ...]
    evaluations: tuple[tuple[int, float], ...] = ()
    total: int | None = None
    group_size: int | None = None
    declared: Declared = field(default_factory=Declared)
    done: bool = False
    labels_by: str = ""
    notes: tuple[str, ...] = ()
    folder: Path | None = None
    saved: Path | None = None


def read_run(
    path: Path,
    *,
    run: str | None = None,
    labels: int = 8,
    seed: int = 0,
    reward: str | None = None,
    gold: str = "gold",
) -> Run:
    """The run whose log lies in `path`, a file or a folder.

    run: which of several, by name. labels, seed: how many labels a step are drawn from counts, and how. reward, gold:
    columns of TRL's completions (`empirical.watch.completions.Reference`).
    Raises InputError where nothing there is the log of a run, or several are.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    found = list(_runs_in(path))
    if not found and path.is_dir():
        for child in sorted(path.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                found += _runs_in(child)
    if run is not None:
        named = [one for one in found if run in (one.name, one.path.name)]
        if not named:
            there = ", ".join(one.name for one in found[:8]) or "none"
            raise InputError(f"{path}: no run is called {run!r}; there are: {there}")
        found = named
    if not found:
        raise InputError(
            f"{path}: no log of a run to watch: a run folder of ours, a folder that VerigapCallback writes to, an"
            " offline run of W&B, a database of trackio's, completions that TRL saved, or a trainer_state.json"
        )
    if len(found) > 1:
        there = ", ".join(one.name for one in found[:8])
        raise InputError(
            f"{path}: holds {len(found)} runs; one is watched: name it with --run: {there}"
        )
    try:
        return found[0].read(labels, seed, reward, gold)
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read ({error.strerror})") from None


@dataclass(frozen=True)
class _Found:
    format: str
    path: Path
    name: str

    def read(self, labels: int, seed: int, reward: str | None, gold: str) -> Run:
        if self.format == "completions":
            return _completions(self, reward, gold)
        if self.format == "run":
            return _ours(self.path, labels, seed)
        if self.format == "callback":
            return _callback(self.path)
        if self.format == "wandb":
            logged = offline_history(self.path)
            return _history(self, logged.rows, logged.config, logged.notes, labels, seed)
        if self.format == "trackio":
            one = next(h for h in trackio_histories(self.path) if h.name == self.name)
            return _history(self, one.rows, one.config, one.notes, labels, seed)
        return _trainer_state(self, labels, seed)


def _runs_in(path: Path) -> Iterator[_Found]:
    """Runs whose log is `path`, or lies right in it."""
    name = path.resolve().name
    if path.is_dir():
        if is_ours(path):
            yield _Found("run", path, name)
        elif (path / LOG).is_file():
            yield _Found("callback", path / LOG, name)
        elif offline_file(path) is not None:
            yield _Found("wandb", path, name)
        elif completion_files(path):
            yield _Found("completions", path, name)
        elif states := trainer_states(path):
            yield _Found("trl", states[-1], name)
        else:
            for file in sorted(path.iterdir()):
                if file.is_file() and file.suffix in (".wandb", ".db"):
                    yield from _runs_in(file)
        return
    if path.name == LOG:
        yield _Found("callback", path, path.resolve().parent.name)
    elif path.name == METRICS and is_ours(path.parent):
        yield _Found("run", path.parent, path.resolve().parent.name)
    elif path.suffix == ".wandb":
        yield _Found("wandb", path, path.stem)
    elif path.name == "trainer_state.json":
        yield _Found("trl", path, path.resolve().parent.name)
    elif path.stat().st_size and is_trackio_database(path):
        for one in trackio_histories(path):
            yield _Found("trackio", path, one.name)


# --- ours --------------------------------------------------------------------------------------------


def _ours(folder: Path, labels: int, seed: int) -> Run:
    log = read_run_log(folder)
    spec = log.spec
    size = _whole(spec.get("group_size"))
    rows = [row for _, row in log.rows if row["kind"] == "train"]
    steps = [_of_ours(row, labels, seed) for row in rows]
    notes = [] if log.torn is None else [f"{METRICS}, line {log.torn}: is being written"]
    evaluations, said = log.evaluations()
    return Run(
        name=str(spec.get("run_id", folder.resolve().name)),
        identity=str(spec.get("sha256") or spec.get("run_id") or folder.resolve()),
        format="run",
        steps=_once(steps),
        evaluations=tuple(
            (row["step"], float(row["accuracy"]))
            for _, row in evaluations
            if is_number(row.get("accuracy"))
        ),
        total=_whole(spec.get("steps")) or _asked_steps(spec),
        group_size=size,
        declared=Declared(_rate(spec.get("fpr")), _rate(spec.get("fnr"))),
        done=log.says_done,
        labels_by="the run's reference verifier" if any(step.units for step in steps) else "",
        notes=(*notes, *said),
        folder=folder,
    )


def _asked_steps(spec: Mapping[str, Any]) -> int | None:
    inner = spec.get("spec")
    training = inner.get("training") if isinstance(inner, dict) else None
    return _whole(training.get("steps")) if isinstance(training, dict) else None


def _of_ours(row: Mapping[str, Any], labels: int, seed: int) -> Step:
    step = row["step"]
    counts = {name: row.get(name) for name in ("wrong", "right", "paid_wrong", "unpaid_right")}
    paid = row.get("groups_by_paid")
    groups = None
    if isinstance(paid, list) and len(paid) > 1 and (total := sum(paid)) > 0:
        groups = (paid[0] / total, sum(paid[1:-1]) / total, paid[-1] / total)
    n = (counts["wrong"] or 0) + (counts["right"] or 0)
    reward = _rate(row.get("observed_reward"))
    return Step(
        step=step,
        rollouts=int(n) or None,
        paid=_share_of(reward, n),
        reward=reward,
        accuracy=_rate(row.get("true_accuracy")),
        groups=groups,
        zero_advantage=_rate(row.get("zero_advantage_fraction")),
        units=_drawn(counts, labels, step=step, seed=seed),
        seconds=_number(row.get("step_seconds")),
        signal=_number(row.get("gradient_signal")),
        noise=_number(row.get("gradient_noise")),
    )


def _drawn(counts: Mapping[str, Any], labels: int, *, step: int, seed: int) -> tuple[Unit, ...]:
    """Labels drawn without replacement from a step's counts; none where a count is missing."""
    if not all(is_number(count) for count in counts.values()) or labels < 1:
        return ()
    wrong, right = round(counts["wrong"]), round(counts["right"])
    paid_wrong, unpaid_right = round(counts["paid_wrong"]), round(counts["unpaid_right"])
    kinds = [paid_wrong, wrong - paid_wrong, right - unpaid_right, unpaid_right]
    if min(kinds) < 0 or not sum(kinds):
        return ()
    rng = np.random.Generator(np.random.Philox(key=[seed, step]))
    drawn = rng.multivariate_hypergeometric(kinds, min(labels, sum(kinds)))
    units = (Unit(1, 1, 0, 1), Unit(0, 1, 0, 1), Unit(0, 0, 0, 1), Unit(0, 0, 1, 1))
    return tuple(unit for unit, count in zip(units, drawn, strict=True) for _ in range(count))


# --- the callback's ------------------------------------------------------------------------------------


def _callback(path: Path) -> Run:
    *lines, rest = file_bytes(path).split(b"\n")
    begun: dict[str, Any] = {}
    steps: list[Step] = []
    evaluations: list[tuple[int, float]] = []
    before, done = 0, False
    for number, line in enumerate(lines, start=1):
        where = f"{path}, line {number}"
        try:
            row = parse_json(line.decode("utf-8"), source=where)
            kind = row["kind"]
            if kind == "begin":
                if not row["resumed"]:
                    before += bool(steps)
                    steps, evaluations = [], []
                begun, done = row, False
            elif kind == "step":
                steps.append(_of_callback(row))
            elif kind == "eval":
                evaluations.append((int(row["step"]), float(row["accuracy"])))
            elif kind == "end":
                done = True
        except (TornJsonError, KeyError, TypeError, ValueError, AttributeError):
            raise InputError(f"{where}: is no line of VerigapCallback's") from None
    if not begun:
        raise InputError(f"{path}: nothing was written yet")
    notes = [f"{before} earlier runs in this file are set aside"] if before else []
    if rest:
        notes.append(f"{path.name}, line {len(lines) + 1}: is being written")
    declared = begun.get("declared") or {}
    return Run(
        name=path.resolve().parent.name,
        identity=str(begun.get("run")),
        format="callback",
        steps=_once(steps),
        evaluations=tuple(evaluations),
        total=_whole(begun.get("steps")),
        group_size=_whole(begun.get("group_size")),
        declared=Declared(_rate(declared.get("fpr")), _rate(declared.get("fnr"))),
        done=done,
        labels_by=str(begun.get("labels_by") or ""),
        notes=tuple(notes),
        folder=path.parent,
        saved=path.parent,
    )


def _of_callback(row: Mapping[str, Any]) -> Step:
    groups = row.get("groups")
    rollouts, reward = _whole(row.get("rollouts")), _rate(row.get("reward"))
    return Step(
        step=int(row["step"]),
        rollouts=rollouts,
        paid=_share_of(reward, rollouts),
        reward=reward,
        groups=None if groups is None else (groups[0], groups[1], groups[2]),
        zero_advantage=_rate(row.get("zero_advantage")),
        units=tuple(units_of(Label(bool(p), bool(r), prompt) for prompt, p, r in row["labels"])),
        seconds=_number(row.get("seconds")),
    )


# --- TRL's -------------------------------------------------------------------------------------------


def _trainer_state(found: _Found, labels: int, seed: int) -> Run:
    state = read_json(found.path)
    rows = [row for row in state.get("log_history", ()) if isinstance(row, dict)]
    run = _history(found, rows, {}, (), labels, seed)
    return replace(run, total=_asked_for(state.get("max_steps")))


def _completions(found: _Found, reward: str | None, gold: str) -> Run:
    """Completions that TRL saved; evaluations and what was asked for are its newest checkpoint's."""
    saved, notes = paid_in(completion_files(found.path), reward, gold)
    states = trainer_states(found.path)
    told = _trainer_state(_Found("trl", states[-1], found.name), 0, 0) if states else None
    sizes = Counter(
        size for step in saved.values() for size in Counter(step.prompts).values()
    ).most_common(1)
    steps = [
        Step(
            step=number,
            rollouts=len(step.paid) or None,
            paid=sum(step.paid) if step.paid else None,
            reward=sum(step.paid) / len(step.paid) if step.paid else None,
            groups=(groups := groups_paid(step.prompts, step.paid)),
            zero_advantage=None if groups is None else groups[0] + groups[2],
        )
        for number, step in saved.items()
    ]
    return Run(
        name=found.name,
        identity=str(found.path.resolve()),
        format="completions",
        steps=tuple(steps),
        evaluations=() if told is None else told.evaluations,
        total=None if told is None else told.total,
        group_size=sizes[0][0] if sizes else None,
        notes=tuple(notes),
        saved=found.path,
    )


# --- everybody's ---------------------------------------------------------------------------------------

_STEP_NAMES: Final = ("global_step", "step", "_step")
_REWARD: Final = ("reward", "observed_reward", "critic/score/mean", "critic/rewards/mean")
_ZERO: Final = ("frac_reward_zero_std", "zero_advantage_fraction")
_SECONDS: Final = ("step_time", "step_seconds", "timing_s/step")
_ACCURACY: Final = re.compile(r"^(eval|val|test)[/_.-].*(accuracy|acc|pass@?1)", re.IGNORECASE)


def _history(
    found: _Found,
    rows: Sequence[Mapping[str, Any]],
    config: Mapping[str, Any],
    notes: tuple[str, ...],
    labels: int,
    seed: int,
) -> Run:
    settings = settings_of(config)
    by_step: dict[int, dict[str, Any]] = {}
    evaluations: dict[int, float] = {}
    for row in rows:
        values = {_plain(str(name)): value for name, value in row.items() if name != ORIGIN}
        step = next((values[name] for name in _STEP_NAMES if is_number(values.get(name))), None)
        if step is None or float(step) != int(step) or int(step) < 0:
            continue
        for name, value in values.items():
            if _ACCURACY.match(name) and (rate := _rate(value)) is not None:
                evaluations.setdefault(int(step), rate)
        told = by_step.setdefault(int(step), {})
        for name, value in values.items():
            told.setdefault(name, value)
    steps: list[Step] = []
    said: list[str] = []
    for step, values in sorted(by_step.items()):
        reward = next((values[name] for name in _REWARD if is_number(values.get(name))), None)
        if reward is None and not any(is_number(values.get(name)) for name in _ZERO):
            continue
        if reward is not None and _rate(reward) is None and not said:
            said.append(
                f"reward {float(reward):g} at step {step} is no share of rollouts paid: left out"
            )
        counted = {
            name: values.get(f"verifier/{name}")
            for name in ("right", "rollouts", "paid_wrong", "unpaid_right")
        }
        wrong = None
        if is_number(counted["rollouts"]) and is_number(counted["right"]):
            wrong = float(counted["rollouts"]) - float(counted["right"])  # pyright: ignore[reportArgumentType]
        own = {name: counted[name] for name in ("right", "paid_wrong", "unpaid_right")}
        steps.append(
            Step(
                step=step,
                rollouts=_whole(counted["rollouts"]),
                reward=_rate(reward),
                zero_advantage=next(
                    (rate for name in _ZERO if (rate := _rate(values.get(name))) is not None), None
                ),
                units=_drawn({"wrong": wrong, **own}, labels, step=step, seed=seed),
                seconds=next(
                    (
                        taken
                        for name in _SECONDS
                        if (taken := _number(values.get(name))) is not None
                    ),
                    None,
                ),
            )
        )
    return Run(
        name=found.name,
        identity=f"{found.path.resolve()}:{found.name}",
        format=found.format,
        steps=tuple(steps),
        evaluations=tuple(sorted(evaluations.items())),
        total=_asked_for(config.get("max_steps")),
        group_size=_whole(settings.get("group_size")),
        declared=Declared(_rate(settings.get("fpr")), _rate(settings.get("fnr"))),
        labels_by="counts that the reward function logged" if any(s.units for s in steps) else "",
        notes=(*notes, *said),
    )


def _plain(name: str) -> str:
    """A logged name without the trainer's `train/` before it."""
    return re.sub(r"^(train|trainer|training)[/.]", "", name)


def _once(steps: Iterable[Step]) -> tuple[Step, ...]:
    """Steps in order, each as it was told first."""
    told: dict[int, Step] = {}
    for step in steps:
        told.setdefault(step.step, step)
    return tuple(told[number] for number in sorted(told))


# --- a person's labels -------------------------------------------------------------------------------------

_COLUMNS: Final = {"paid": ("paid", "verdict", "reward"), "right": ("right", "truth", "label")}
_YES: Final = {"1": True, "1.0": True, "true": True, "yes": True}
_NO: Final = {"0": False, "0.0": False, "false": False, "no": False}


def read_labels(path: Path) -> tuple[dict[int, tuple[Unit, ...]], tuple[str, ...]]:
    """A person's labels by step, and what was repaired: of a table (.csv, .tsv, .jsonl, .parquet) with a row a rollout.

    Columns: `step`; `paid` (or verdict, reward) and `right` (or truth, label), 1 or 0, true or false; `prompt` where
    several rollouts of one prompt are labelled. A row whose `right` is empty is not labelled yet.
    Raises InputError naming the row.
    """
    try:
        if path.suffix == ".parquet":
            frame, notes = read_parquet(path)
        else:
            frame, notes = json_table(path) if path.suffix == ".jsonl" else read_csv(path)
    except OSError as error:
        raise InputError(f"{error.filename or path}: cannot be read ({error.strerror})") from None
    names = [str(name) for name in frame.columns]
    of: dict[str, str] = {}
    for wanted, spellings in {"step": ("step",), **_COLUMNS}.items():
        have = next((name for name in spellings if name in names), None)
        if have is None:
            there = ", ".join(name for name in names if name != ORIGIN)
            raise InputError(
                f"{path}: labels need a column {' or '.join(spellings)}; there are: {there}"
            )
        of[wanted] = have
    by_step: dict[int, list[Label]] = {}
    for row in frame.to_dict("records"):
        place = f"{path}, {row.get(ORIGIN, 'a row')}"
        if str(row[of["right"]]).strip().lower() in ("", "nan", "none", "<na>"):
            continue
        step = row[of["step"]]
        if not is_number(step) or float(step) != int(float(step)):
            raise InputError(f"{place}, step: {str(step)[:40]!r} is no step")
        label = Label(
            _yes(row[of["paid"]], f"{place}, {of['paid']}"),
            _yes(row[of["right"]], f"{place}, {of['right']}"),
            row.get("prompt"),
        )
        by_step.setdefault(int(float(step)), []).append(label)
    return {step: tuple(units_of(labels)) for step, labels in by_step.items()}, notes


def refuse_impossible(labels: Mapping[int, Sequence[Unit]], run: Run, *, source: Path) -> None:
    """Raise InputError naming the first step of which more is labelled than the run's log counts there.

    More rollouts, or more paid or unpaid ones, are rows pasted twice: evidence would count each.
    """
    for step in run.steps:
        units = labels.get(step.step)
        if not units or step.rollouts is None or step.paid is None:
            continue
        labelled, paid = sum(unit.labels for unit in units), sum(unit.paid for unit in units)
        for kind, count, most in (
            ("rollouts", labelled, step.rollouts),
            ("paid rollouts", paid, step.paid),
            ("unpaid rollouts", labelled - paid, step.rollouts - step.paid),
        ):
            if count > most:
                raise InputError(
                    f"{source}: {count:,} {kind} are labelled at step {step.step}, and the run's log has {most:,}: a row"
                    " a rollout, each once"
                )


def _yes(cell: object, place: str) -> bool:
    spoken = str(cell).strip().lower()
    if spoken in _YES or spoken in _NO:
        return spoken in _YES
    raise InputError(f"{place}: {spoken[:40]!r} is neither 1 nor 0")


# --- cells -------------------------------------------------------------------------------------------------


def _number(value: object) -> float | None:
    return float(value) if is_number(value) else None  # pyright: ignore[reportArgumentType]


def _rate(value: object) -> float | None:
    number = _number(value)
    return number if number is not None and 0.0 <= number <= 1.0 else None


def _share_of(share: float | None, of: float | None) -> int | None:
    """The count whose share it is."""
    return None if share is None or not of else round(share * of)


def _whole(value: object) -> int | None:
    number = _number(value)
    return int(number) if number is not None and number == int(number) else None


def _asked_for(max_steps: object) -> int | None:
    """Steps asked for; transformers writes -1 where epochs decide."""
    steps = _whole(max_steps)
    return steps if steps is not None and steps > 0 else None


_JSON: Final = json.JSONEncoder(allow_nan=False)  # `json.dumps` would make one a line


def line_of(row: Mapping[str, Any]) -> bytes:
    """A line of the callback's log."""
    return _JSON.encode(row).encode() + b"\n"
