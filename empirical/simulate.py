"""A simulated study: the spec file, the arms and seeds it asks for, and the run table they give.

A spec is YAML: one population, one way of training, the arms (each a noise structure, and whatever it
changes of the population or the training), the seeds. Every arm runs with every seed, and the same seed
means the same prompts and the same random numbers in every arm, so the arms are matched.
"""

from __future__ import annotations

import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from empirical.errors import StudyError
from fits.files import load_yaml, write_text
from theory import VerifierChannel, bandit, corrections, estimator_named
from theory.errors import ArgumentError
from theory.flow import exponential_difficulties, normal_difficulties
from theory.rng import Purpose, uniforms
from theory.structures import (
    Drifting,
    GroupCorrelated,
    Independent,
    PerAnswer,
    PerPrompt,
    Structure,
    Triggered,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Simulated",
    "Spec",
    "load_spec",
    "preset_names",
    "preset_spec",
    "run_spec",
    "write_study",
]

Rate = Annotated[float, Field(ge=0.0, le=1.0)]
# Far beyond any study, and short of what memory or an integer holds.
Count = Annotated[int, Field(ge=1, le=10_000_000)]
PRESETS: Final = resources.files("empirical") / "studies" / "simulated"
MOST_LOGITS: Final = 100_000_000

# The columns of one run, by name: arrays by row, or what holds for all rows.
Columns = dict[str, Any]


class _Strict(BaseModel):
    # strict: YAML knows numbers from words, and `fpr: yes` is not the rate 1.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, strict=True)


class Difficulty(_Strict):
    """Initial logits of being right: location, less a spread of the family named.

    normal: sd `scale`. exponential: mean `scale` below location. uniform: location +- scale. point.
    """

    family: Literal["normal", "exponential", "uniform", "point"] = "normal"
    location: float = -1.5
    scale: float = Field(default=1.5, ge=0.0)

    def logits(self, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
        """Midpoint quantiles, shape [count]."""
        middle = (np.arange(count) + 0.5) / count
        match self.family:
            case "normal":
                return self.location + normal_difficulties(count, spread=self.scale)
            case "exponential":
                return self.location - exponential_difficulties(count, scale=self.scale)
            case "uniform":
                return self.location + self.scale * (2.0 * middle - 1.0)
            case "point":
                return np.full(count, self.location)


class PopulationSpec(_Strict):
    """The prompts and the arms a rollout can take; see `theory.bandit.population`."""

    prompts: int = Field(default=512, ge=1, le=10_000_000)
    difficulty: Difficulty = Difficulty()
    right_modes: int = Field(default=1, ge=1, le=10_000)
    wrong_modes: int = Field(default=1, ge=1, le=10_000)
    mode_spread: float = Field(default=0.0, ge=0.0)
    feature_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    ceiling: float = Field(default=1.0, gt=0.0, le=1.0)

    @model_validator(mode="after")
    def _holds(self) -> PopulationSpec:
        modes = self.right_modes + self.wrong_modes
        if self.prompts * modes > MOST_LOGITS:
            raise ValueError(f"prompts times modes must be at most {MOST_LOGITS:,}")
        rates = self.pass_rates()
        if rates.min() <= 0.0 or rates.max() >= self.ceiling:
            worst = rates[(rates <= 0.0) | (rates >= self.ceiling)][0]
            raise ValueError(
                f"difficulty puts a pass rate at {worst:g}, which no training can move: rates must lie"
                f" strictly between 0 and the ceiling, {self.ceiling:g}"
            )
        return self

    def pass_rates(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """P(right) of each prompt before training, shape [prompts]."""
        # An exponential that overflows means a rate of 0, which is refused in words.
        with np.errstate(over="ignore"):
            reached = 1.0 / (1.0 + np.exp(-self.difficulty.logits(self.prompts)))
        return self.ceiling * reached

    def build(self, seed: int) -> bandit.Population:
        """The population itself."""
        return bandit.population(
            self.pass_rates(),
            right_modes=self.right_modes,
            wrong_modes=self.wrong_modes,
            mode_spread=self.mode_spread,
            feature_share=self.feature_share,
            ceiling=self.ceiling,
            seed=seed,
        )


class TrainingSpec(_Strict):
    """How it is trained; see `theory.bandit.Training`."""

    steps: Count = 200
    group_size: int = Field(default=8, ge=2, le=1_000_000)
    prompts_per_step: Count | None = None
    estimator: str = "grpo"
    optimiser: Literal["sgd", "adam"] = "sgd"
    learning_rate: float = Field(default=0.1, gt=0.0)
    coupling: Rate = 0.0
    warmup_steps: int = Field(default=0, ge=0, le=10_000_000)
    warmup_from: Rate = 0.1
    decay: Literal["constant", "linear"] = "constant"
    momentum: Rate = 0.0
    beta1: float = Field(default=0.9, ge=0.0, lt=1.0)
    beta2: float = Field(default=0.999, ge=0.0, lt=1.0)
    adam_eps: float = Field(default=1e-8, gt=0.0)
    inner_epochs: int = Field(default=1, ge=1, le=1_000)
    clip: float = Field(default=0.2, ge=0.0)
    beta: float = Field(default=0.0, ge=0.0)
    kl: Literal["k3", "objective"] = "k3"
    drop_silent: bool = False

    def build(self) -> bandit.Training:
        """The training itself."""
        fields: dict[str, Any] = self.model_dump()
        fields["estimator"] = estimator_named(self.estimator)
        return bandit.Training(**fields)


class Rates(_Strict):
    """A pair of error rates."""

    fpr: Rate = 0.0
    fnr: Rate = 0.0

    def channel(self) -> VerifierChannel:
        """The channel of these rates."""
        return VerifierChannel(self.fpr, self.fnr)


class Arm(_Strict):
    """One condition: its noise, and what it changes of the population or the training.

    noise "trigger": `selected` holds where the feature shows, fpr and fnr elsewhere. "drift": from fpr
    and fnr to `end` over `over` steps. "group": fpr and fnr are means, `correlation` within a group.
    base: the verifier's own errors, which come before the injected ones.
    correction: of the reward, "backward" or "forward", as if the rates in force at step 0 were known.
    votes: an odd number of independent judgements whose majority decides; independent noise only.
    series: the curve this arm is a point of, where a figure draws results against what arms differ in.
    colour, dash: in figures, arms that share one of these labels share their colour or line style.
    """

    name: str = Field(min_length=1)
    noise: Literal["independent", "prompt", "answer", "group", "trigger", "drift"] = "independent"
    fpr: Rate = 0.0
    fnr: Rate = 0.0
    correlation: Rate | None = None
    selected: Rates | None = None
    end: Rates | None = None
    over: Count | None = None
    base: Rates = Rates()
    correction: Literal["none", "backward", "forward"] = "none"
    votes: int = Field(default=1, ge=1, le=10_000)
    series: str | None = None
    colour: str | None = None
    dash: str | None = None
    population: dict[str, Any] = {}
    training: dict[str, Any] = {}

    @model_validator(mode="after")
    def _complete(self) -> Arm:
        needs = {"group": ("correlation",), "trigger": ("selected",), "drift": ("end", "over")}
        mine = needs.get(self.noise, ())
        for name in ("correlation", "selected", "end", "over"):
            if (getattr(self, name) is not None) != (name in mine):
                verb = "needs" if name in mine else "has no"
                raise ValueError(f"noise {self.noise!r} {verb} {name!r}")
        if self.votes > 1 and self.noise != "independent":
            raise ValueError(
                f"noise {self.noise!r} has no 'votes': its judgements of one rollout are not independent"
            )
        return self

    def channel(self) -> VerifierChannel:
        """The channel in force at step 0 where no feature shows: base, injected, then the majority."""
        both = self.base.channel().compose(VerifierChannel(self.fpr, self.fnr))
        return corrections.majority(both, self.votes)

    def rewards(self) -> tuple[float, float]:
        """What an unpaid and a paid rollout are worth."""
        match self.correction:
            case "none":
                return corrections.NONE
            case "backward":
                return corrections.backward(self.channel())
            case "forward":
                return corrections.forward(self.channel())

    def structure(self) -> Structure:
        """The verifier of this arm."""

        def after_base(rates: Rates) -> VerifierChannel:
            return self.base.channel().compose(VerifierChannel(rates.fpr, rates.fnr))

        channel = self.channel()
        match self.noise:
            case "independent":
                return Independent(channel)
            case "prompt":
                return PerPrompt(channel)
            case "answer":
                return PerAnswer(channel)
            case "group":
                return GroupCorrelated(channel, self.correlation or 0.0)
            case "trigger":
                return Triggered(after_base(self.selected or Rates()), channel)
            case "drift":
                return Drifting(channel, after_base(self.end or Rates()), self.over or 1)


class Panel(_Strict):
    """One panel of the study's figure: column y against column x.

    at: "all" evaluations as a curve per arm; the "first" after step 0, or the "last", one point per arm,
    joined within a series. arms: those to draw as curves; all by default.
    root_guide: a line that grows like the square root of x. mark_y: a level to draw across.
    """

    x: str = "step"
    y: str = "accuracy"
    at: Literal["all", "first", "last"] = "all"
    log_x: bool = False
    log_y: bool = False
    root_guide: bool = False
    mark_y: float | None = None
    title: str = ""
    arms: list[str] | None = None


class Spec(_Strict):
    """A simulated study. about: one sentence on what it shows. panels: of its figure, none by default."""

    about: str = ""

    population: PopulationSpec = PopulationSpec()
    training: TrainingSpec = TrainingSpec()
    arms: list[Arm] = Field(min_length=1)
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0, 1, 2], min_length=1)
    evaluate_every: Count = 10
    pass_at: int = Field(default=8, ge=1, le=1_000_000)
    n_eval: Count | None = None
    panels: list[Panel] = []

    @model_validator(mode="after")
    def _distinct(self) -> Spec:
        for what, values in (("arms", [arm.name for arm in self.arms]), ("seeds", self.seeds)):
            if len(set(values)) < len(values):
                raise ValueError(f"{what} must be distinct")
        return self

    def population_of(self, arm: Arm) -> PopulationSpec:
        """The population with what the arm changes of it."""
        return PopulationSpec.model_validate(_merged(self.population.model_dump(), arm.population))

    def notes(self) -> list[str]:
        """What each arm's correction does, in a sentence."""
        found: list[str] = []
        for arm in self.arms:
            estimator = estimator_named(self.training_of(arm).estimator)
            asked = [arm.correction] if arm.correction != "none" else []
            asked += ["majority"] if arm.votes > 1 else []
            channel = arm.channel()
            found += [
                f"{arm.name}: {name}: {corrections.explain(name, channel, estimator)}"
                for name in asked
            ]
        return found

    def training_of(self, arm: Arm) -> TrainingSpec:
        """The training with what the arm changes of it."""
        return TrainingSpec.model_validate(_merged(self.training.model_dump(), arm.training))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with `changes`, at every level: a group of fields keeps those it is not told to change."""
    both = base | changes
    for key in base.keys() & changes.keys():
        if isinstance(base[key], dict) and isinstance(changes[key], dict):
            both[key] = _merged(base[key], changes[key])
    return both


def preset_names() -> list[str]:
    """The names `--preset` takes, sorted."""
    folder = PRESETS
    return sorted(
        entry.name.removesuffix(".yaml")
        for entry in folder.iterdir()
        if entry.name.endswith(".yaml")
    )


def preset_spec(name: str) -> Spec:
    """The preset called `name`. Raises StudyError that lists the names."""
    if name not in preset_names():
        raise StudyError(f"there is no preset {name!r}; there are {', '.join(preset_names())}")
    text = (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    return _parse(text, f"preset {name}")


def load_spec(path: Path) -> Spec:
    """Read a spec file. Raises StudyError, one line naming the file and the field or line."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise StudyError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise StudyError(f"{path}: is a folder; a spec is a YAML file") from None
    except UnicodeDecodeError:
        raise StudyError(f"{path}: is not text; a spec is a YAML file") from None
    except OSError as error:
        raise StudyError(f"{path}: {error.strerror}") from None
    return _parse(text, str(path))


def _parse(text: str, source: str) -> Spec:
    fields = load_yaml(text, source=source)
    if not isinstance(fields, dict):
        raise StudyError(f"{source}: must hold fields such as population, training and arms")
    try:
        spec = Spec.model_validate(fields)
    except ValidationError as error:
        raise StudyError(f"{source}: {_first(error)}") from None
    for arm in spec.arms:
        try:
            spec.training_of(arm).build()
            arm.rewards()
            arm.structure()
            population = spec.population_of(arm)
            size = population.prompts
            batch = spec.training_of(arm).prompts_per_step
        except ValidationError as error:
            raise StudyError(f"{source}: arms: {arm.name}: {_first(error)}") from None
        except ArgumentError as error:
            raise StudyError(f"{source}: arms: {arm.name}: {error}") from None
        if arm.noise == "trigger" and population.feature_share == 0.0:
            raise StudyError(
                f"{source}: arms: {arm.name}: noise 'trigger' needs a population whose feature_share is"
                " above 0: no completion shows the feature"
            )
        columns = {
            "step",
            "rollouts",
            "accuracy",
            "observed_reward",
            "entropy",
            "snr",
            "group_size",
        }
        columns |= {"fpr", "fnr", "zero_advantage_fraction", "marginal_fpr", "marginal_fnr"}
        columns.add(f"pass_at_{spec.pass_at}")
        for panel in spec.panels:
            for name in set(panel.arms or []) - {other.name for other in spec.arms}:
                raise StudyError(f"{source}: panels: there is no arm {name!r}")
            for name in {panel.x, panel.y} - columns:
                raise StudyError(
                    f"{source}: panels: there is no column {name!r}; there are "
                    + ", ".join(sorted(columns))
                )
        if batch is not None and batch > size:
            raise StudyError(
                f"{source}: arms: {arm.name}: prompts_per_step {batch} is above prompts {size}"
            )
    return spec


def _first(error: ValidationError) -> str:
    """The first thing wrong: field, what it must be, what it is; and how much else there is."""
    problems = error.errors(include_url=False)
    problem = problems[0]
    field = ".".join(str(part) for part in problem["loc"])
    value = problem["input"]
    message = "there is no such field" if problem["type"] == "extra_forbidden" else problem["msg"]
    shown = f", got {repr(value)[:60]}" if isinstance(value, str | int | float | None) else ""
    rest = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{field + ': ' if field else ''}{message}{shown}{rest}"


@dataclass(frozen=True)
class Simulated:
    """A simulated study: its run table, and the runs, rollouts and seconds of wall-clock it took."""

    table: pd.DataFrame
    runs: int
    rollouts: int
    seconds: float


def run_spec(
    spec: Spec,
    *,
    on_ray: bool = False,
    workers: int | None = None,
    report: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Run every arm with every seed.

    on_ray: on the Ray that `empirical.cluster.connected` holds, else in threads of this process.
    workers: runs at a time; all cores, or all the cluster has room for, if None.
    report: called with (steps done, steps in all) as runs advance (on Ray: as they end), from any thread.
    Results depend on none of these, to the bit.
    Raises StudyError if a run diverges; StudyError as `empirical.cluster.completed`.
    """
    began = time.perf_counter()
    # What every cell shares, without the lists that grow with their number: a cell may travel.
    shared = spec.model_copy(update={"arms": [], "seeds": [], "panels": []})
    cells = [(shared, arm, seed) for arm in spec.arms for seed in spec.seeds]
    steps_of = {arm.name: spec.training_of(arm).steps for arm in spec.arms}
    steps = [steps_of[arm.name] for _, arm, _ in cells]
    whole, lock = sum(steps), threading.Lock()
    reached, advances = 0, [0] * len(cells)

    def advanced(cell: int, step: int) -> None:
        nonlocal reached
        with lock:  # runs call from threads of their own
            reached += step - advances[cell]
            advances[cell] = step
            if report is not None:
                report(reached, whole)

    if on_ray:
        from empirical.cluster import completed

        parts: dict[int, Columns] = {}
        for cell, part in completed(_cell, cells, workers=workers, short=True):
            parts[cell] = part
            advanced(cell, steps[cell])
    else:
        parts = dict(_in_threads(cells, workers or os.cpu_count() or 1, advanced))
    table = _table([parts[cell] for cell in range(len(cells))])
    if any(arm.series for arm in spec.arms):
        table["series"] = table["arm"].map({arm.name: arm.series or arm.name for arm in spec.arms})
    rollouts = int(table.groupby("run_id", sort=False)["rollouts"].max().sum())
    return Simulated(table, len(cells), rollouts, time.perf_counter() - began)


def _table(parts: Sequence[Columns]) -> pd.DataFrame:
    """The rows of all runs, in their order: one table at once, since a million small ones take minutes."""
    import pandas as pd

    rows = [len(part["step"]) for part in parts]

    def column(name: str) -> NDArray[Any]:
        values = [part[name] for part in parts]
        if isinstance(values[0], np.ndarray):
            return np.concatenate(values)
        kind = object if isinstance(values[0], str) else None
        return np.repeat(np.array(values, dtype=kind), rows)

    return pd.DataFrame({name: column(name) for name in parts[0]})


def _cell(cell: tuple[Spec, Arm, int]) -> Columns:
    """One run, on one thread: a task for Ray."""
    return _run(*cell, 1, lambda _: None)


def _in_threads(
    cells: Sequence[tuple[Spec, Arm, int]], workers: int, advanced: Callable[[int, int], None]
) -> Iterator[tuple[int, Columns]]:
    """(place, columns) of every cell, as they end."""
    # Runs share the cores out among themselves; a run alone takes them all.
    threads = 1 if len(cells) > 1 else None

    def one(cell: int) -> Columns:
        return _run(*cells[cell], threads, lambda step: advanced(cell, step))

    # All may start at once: numba compiles under a lock of its own, so that the first compiles for all.
    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        futures = {pool.submit(one, cell): cell for cell in range(len(cells))}
        for future in as_completed(futures):
            yield futures[future], future.result()
    finally:  # a run that diverged ends the sweep: what has not begun never does
        pool.shutdown(cancel_futures=True)


def _run(
    spec: Spec,
    arm: Arm,
    seed: int,
    threads: int | None,
    report: Callable[[int], None],
) -> Columns:
    start = spec.population_of(arm).build(seed)
    training = dataclasses.replace(spec.training_of(arm).build(), rewards=arm.rewards())
    path = bandit.simulate(
        start,
        training,
        arm.structure(),
        seed=seed,
        evaluate_every=spec.evaluate_every,
        k=spec.pass_at,
        threads=threads,
        report=report,
    )
    lost = ~np.isfinite(path.accuracy)
    if lost.any():
        raise StudyError(
            f"arms: {arm.name}: seed {seed}: training diverged by step {path.step[lost.argmax()]} (an accuracy"
            " that is no number): a smaller learning_rate or beta may hold it"
        )
    accuracy = path.accuracy
    if spec.n_eval is not None:
        # Arms share their evaluation samples, as matched runs do, so that pairing cancels them.
        index = np.arange(spec.n_eval)
        accuracy = np.array(
            [
                (uniforms(seed, Purpose.EVALUATION, step=step, prompt=0, index=index) < rate).mean()
                for step, rate in zip(path.step, path.accuracy, strict=True)
            ]
        )
    columns: Columns = {
        "run_id": f"{arm.name}-seed{seed}",
        "arm": arm.name,
        "model": "bandit",
        # Where errors depend on the arm, the injected rates are those the initial policy meets.
        "fpr": float(path.marginal_fpr[0]) if arm.noise == "trigger" else arm.fpr,
        "fnr": float(path.marginal_fnr[0]) if arm.noise == "trigger" else arm.fnr,
        "noise": arm.noise,
        "seed": seed,
        "group_size": training.group_size,
        "prompts_per_step": training.prompts_per_step or len(start.logits),
        "step": path.step,
        "rollouts": path.rollouts,
        "accuracy": accuracy,
    }
    if spec.n_eval is not None:
        columns["n_eval"] = spec.n_eval
    columns |= {
        "observed_reward": path.observed_reward,
        f"pass_at_{path.k}": path.pass_at_k,
        "entropy": path.entropy,
        "zero_advantage_fraction": path.zero_advantage_fraction,
        "snr": path.snr,
        "marginal_fpr": path.marginal_fpr,
        "marginal_fnr": path.marginal_fnr,
    }
    return columns


def write_study(spec: Spec, simulated: Simulated, out: Path) -> Path:
    """Write runs.csv and the complete spec.yaml into `out`; returns the path of the table.

    Raises fits.InputError if `out` is a file or cannot be written.
    """
    from fits.table import write_runs

    table = out / "runs.csv"
    write_runs(simulated.table, table)
    write_text(out / "spec.yaml", yaml.safe_dump(spec.model_dump(mode="json"), sort_keys=False))
    return table
