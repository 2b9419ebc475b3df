"""A simulated study as declared: its spec file, and the arms, population and training it asks for.

A spec is YAML: one population, one way of training, the arms (each the errors of a verifier as
`empirical.noise` declares them, and whatever it changes of the population or the training), the seeds.
Every arm runs with every seed. Needs no torch; `empirical.simulate` runs it.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from pydantic import Field, ValidationError, model_validator

from empirical.errors import StudyError
from empirical.fields import Rate, Spec, first_complaint, parse_fields, read_fields
from empirical.noise import Arms, Channel, Errors, IndependentNoise, TriggeredNoise, structure
from theory import VerifierChannel, bandit, corrections, estimator_named
from theory.errors import ArgumentError
from theory.flow import exponential_difficulties, normal_difficulties
from theory.structures import Structure

__all__ = [
    "PRESETS",
    "Arm",
    "Panel",
    "SimulatedStudy",
    "load_spec",
    "preset_names",
    "preset_spec",
]

# Far beyond any study, and short of what memory or an integer holds.
Count = Annotated[int, Field(ge=1, le=10_000_000)]
PRESETS: Final = resources.files("empirical") / "studies" / "simulated"
MOST_RUNS: Final = 100_000
MOST_LOGITS: Final = 100_000_000
# What a panel can draw, beside pass_at_k.
COLUMNS: Final = (
    *("step", "rollouts", "accuracy", "observed_reward", "entropy", "snr", "group_size"),
    *("fpr", "fnr", "zero_advantage_fraction", "marginal_fpr", "marginal_fnr"),
)


class Difficulty(Spec):
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


class PopulationSpec(Spec):
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


# Of the bandit's logits; a real run's rate is another quantity.
LEARNING_RATES: Final = {"adam": 0.03, "sgd": 0.1}


class TrainingSpec(Spec):
    """How it is trained; see `theory.bandit.Training`.

    optimiser: by default Adam, which TRL trains with. coupling: by default half of every step is shared by all
    prompts. learning_rate: by default .03 for adam, .1 for sgd, neither measured on anything.
    """

    steps: Count = 200
    group_size: int = Field(default=8, ge=2, le=1_000_000)
    prompts_per_step: Count | None = None
    estimator: str = "grpo"
    optimiser: Literal["sgd", "adam"] = "adam"
    learning_rate: float | None = Field(default=None, gt=0.0)
    coupling: Rate = 0.5
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
        fields["learning_rate"] = self.rate
        return bandit.Training(**fields)

    @property
    def rate(self) -> float:
        """The learning rate, the study's own or the optimiser's default."""
        return self.learning_rate or LEARNING_RATES[self.optimiser]

    def settings(self) -> dict[str, str | float]:
        """What a verdict of a simulation hangs on, as columns of its table, and where each value comes from."""
        given = self.model_fields_set
        own = "learning_rate" in given and self.learning_rate is not None
        return {
            "optimiser": self.optimiser,
            "coupling": self.coupling,
            "learning_rate": self.rate,
            "learning_rate_from": "the study" if own else f"the default of {self.optimiser}",
        }


class Arm(Errors):
    """One condition: its verifier's errors, and what it changes of the population or the training.

    base: the verifier's own errors, which come before the injected ones.
    correction: of the reward, "backward" or "forward", as if the rates in force at step 0 were known.
    votes: an odd number of independent judgements whose majority decides; independent noise only.
    series: the curve this arm is a point of, where a figure draws results against what arms differ in.
    colour, dash: in figures, arms that share one of these labels share their colour or line style.
    """

    base: Channel = Channel()
    correction: Literal["none", "backward", "forward"] = "none"
    votes: int = Field(default=1, ge=1, le=100_000)
    series: str | None = None
    colour: str | None = None
    dash: str | None = None
    population: dict[str, Any] = Field(default_factory=dict[str, Any])
    training: dict[str, Any] = Field(default_factory=dict[str, Any])

    @model_validator(mode="after")
    def _holds(self) -> Arm:
        if isinstance(self.noise, TriggeredNoise):
            if self.noise.selector is not None:
                raise ValueError(
                    "noise 'triggered' has no 'selector' where it is simulated: the population's"
                    " feature_share says how many wrong answers show the feature"
                )
            if self.fpr or self.fnr:
                raise ValueError(
                    "noise 'triggered' has no 'fpr' or 'fnr' beside it where it is simulated, since what the"
                    " initial policy meets is known: write the rates elsewhere as its 'otherwise'"
                )
        if self.votes > 1 and not isinstance(self.noise, IndependentNoise):
            raise ValueError(
                f"noise {self.noise.kind!r} has no 'votes': its judgements of one rollout are not independent"
            )
        return self

    def after_base(self, injected: VerifierChannel) -> VerifierChannel:
        """The channel that is met: base, injected, then the majority."""
        return corrections.majority(self.base.channel().compose(injected), self.votes)

    def known(self) -> VerifierChannel:
        """The channel in force at step 0 where no feature shows."""
        noise = self.noise
        injected = noise.otherwise if isinstance(noise, TriggeredNoise) else self
        return self.after_base(injected.channel())

    def rewards(self) -> tuple[float, float]:
        """What an unpaid and a paid rollout are worth."""
        match self.correction:
            case "none":
                return corrections.NONE
            case "backward":
                return corrections.backward(self.known())
            case "forward":
                return corrections.forward(self.known())

    def structure(self) -> Structure:
        """The verifier of this arm."""
        return structure(self, after=self.after_base)


class Panel(Spec):
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


class SimulatedStudy(Spec):
    """A simulated study. about: one sentence on what it shows. panels: of its figure, none by default."""

    about: str = ""

    population: PopulationSpec = PopulationSpec()
    training: TrainingSpec = TrainingSpec()
    arms: Arms[Annotated[str, Field(min_length=1)], Arm]
    seeds: list[Annotated[int, Field(ge=0, lt=2**32)]] = Field(default=[0, 1, 2], min_length=1)
    evaluate_every: Count = 10
    pass_at: int = Field(default=8, ge=1, le=1_000_000)
    n_eval: Count | None = None
    panels: list[Panel] = Field(default_factory=list[Panel])

    @model_validator(mode="after")
    def _consistent(self) -> SimulatedStudy:
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds must be distinct")
        runs = len(self.seeds) * len(self.arms)
        if runs > MOST_RUNS:
            raise ValueError(f"asks for {runs:,} runs; a study has at most {MOST_RUNS:,}")
        columns = {*COLUMNS, f"pass_at_{self.pass_at}"}
        for panel in self.panels:
            for name in set(panel.arms or []) - set(self.arms):
                raise ValueError(f"panels: there is no arm {name!r}")
            for name in {panel.x, panel.y} - columns:
                known = ", ".join(sorted(columns))
                raise ValueError(f"panels: there is no column {name!r}; there are {known}")
        return self

    def population_of(self, arm: Arm) -> PopulationSpec:
        """The population with what the arm changes of it."""
        return PopulationSpec.model_validate(_merged(self.population.model_dump(), arm.population))

    def notes(self) -> list[str]:
        """What the runs assume that nobody measured, and what each arm's correction does, a sentence each."""
        found: list[str] = []
        settings = {label: self.training_of(arm).settings() for label, arm in self.arms.items()}
        for one in {tuple(each.items()): each for each in settings.values()}.values():
            arms = [label for label, each in settings.items() if each == one]
            whose = (
                ""
                if len(arms) == len(settings)
                else f" ({', '.join(arms[:4])}{', …' if len(arms) > 4 else ''})"
            )
            found.append(
                f"assumed{whose}: {one['optimiser']}, learning rate {one['learning_rate']:g} from"
                f" {one['learning_rate_from']}, coupling {one['coupling']:g} of every step shared by all prompts;"
                " whether a gap closes can hang on each"
            )
        for label, arm in self.arms.items():
            estimator = estimator_named(self.training_of(arm).estimator)
            asked = [arm.correction] if arm.correction != "none" else []
            asked += ["majority"] if arm.votes > 1 else []
            channel = arm.known()
            found += [
                f"{label}: {name}: {corrections.explain(name, channel, estimator)}"
                for name in asked
            ]
        return found

    def training_of(self, arm: Arm) -> TrainingSpec:
        """The training with what the arm changes of it."""
        return TrainingSpec.model_validate(
            _merged(self.training.model_dump(exclude_unset=True), arm.training)
        )


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


def preset_spec(name: str) -> SimulatedStudy:
    """The preset called `name`. Raises StudyError that lists the names."""
    if name not in preset_names():
        raise StudyError(f"there is no preset {name!r}; there are {', '.join(preset_names())}")
    source, text = f"preset {name}", (PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    return _checked(parse_fields(text, source, SimulatedStudy), source)


def load_spec(path: Path) -> SimulatedStudy:
    """Read a spec file. Raises StudyError, one line naming the file and the field or line."""
    return _checked(read_fields(path, SimulatedStudy), str(path))


def _checked(spec: SimulatedStudy, source: str) -> SimulatedStudy:
    """The spec, once every arm's own population, training and verifier have been made on trial."""
    for name, arm in spec.arms.items():
        where = f"{source}: arms: {name}"
        try:
            training, population = spec.training_of(arm), spec.population_of(arm)
            training.build()
            arm.rewards()
            arm.structure()
        except ValidationError as error:
            raise StudyError(f"{where}: {first_complaint(error)}") from None
        except ArgumentError as error:
            raise StudyError(f"{where}: {error}") from None
        if isinstance(arm.noise, TriggeredNoise) and population.feature_share == 0.0:
            raise StudyError(
                f"{where}: noise 'triggered' needs a population whose feature_share is above 0: no"
                " completion shows the feature"
            )
        batch, size = training.prompts_per_step, population.prompts
        if batch is not None and batch > size:
            raise StudyError(f"{where}: prompts_per_step {batch} is above prompts {size}")
    return spec
