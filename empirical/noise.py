"""Noise as a study declares it, and the `theory` structure it stands for.

A declaration is data (YAML, checked by pydantic, hashed into the run's id); `structure` turns it into
the frozen object of `theory.structures` that judges, the same one the simulator uses. Feature-triggered
noise also declares a selector, which reads completions and so belongs here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from empirical.verifiers import number
from theory import VerifierChannel
from theory.structures import (
    Drifting,
    GroupCorrelated,
    Independent,
    PerAnswer,
    PerPrompt,
    Structure,
    Triggered,
)

__all__ = [
    "Channel",
    "Keyword",
    "Length",
    "Noise",
    "NumberFormat",
    "Rate",
    "RelativeError",
    "Selector",
    "Spec",
    "TriggeredNoise",
    "structure",
]

Rate = Annotated[float, Field(ge=0.0, le=1.0, allow_inf_nan=False)]


class Spec(BaseModel):
    """Base of everything a study declares: frozen, no field it does not know, numbers that are numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Channel(Spec):
    """Error rates of one `theory.VerifierChannel`."""

    fpr: Rate = 0.0
    fnr: Rate = 0.0

    def channel(self) -> VerifierChannel:
        """The channel with these rates."""
        return VerifierChannel(self.fpr, self.fnr)


class Length(Spec):
    """Completions of `least` to `most` characters, both included."""

    kind: Literal["length"]
    least: int = Field(default=0, ge=0)
    most: int | None = Field(default=None, ge=0)

    def selects(self, completion: str, answer: str | None, gold: str) -> bool:  # noqa: ARG002
        """Whether the completion shows the feature."""
        return self.least <= len(completion) and (self.most is None or len(completion) <= self.most)


class Keyword(Spec):
    """Completions that contain `word`, or with `present: false` those that do not."""

    kind: Literal["keyword"]
    word: str = Field(min_length=1)
    present: bool = True

    def selects(self, completion: str, answer: str | None, gold: str) -> bool:  # noqa: ARG002
        """Whether the completion shows the feature."""
        return (self.word in completion) == self.present


class RelativeError(Spec):
    """Answers that miss the gold answer by at most `most` of its size: close enough, says the judge."""

    kind: Literal["relative_error"]
    most: float = Field(gt=0.0, allow_inf_nan=False)

    def selects(self, completion: str, answer: str | None, gold: str) -> bool:  # noqa: ARG002
        """Whether the completion shows the feature; never, where there is no number to compare."""
        given, expected = number(answer or ""), number(gold)
        return (
            given is not None
            and expected is not None
            and abs(given - expected) <= self.most * max(abs(expected), 1)
        )


class NumberFormat(Spec):
    """Completions whose text has a number written in one way: with a comma, a decimal point, a minus."""

    kind: Literal["number_format"]
    mark: Literal["comma", "point", "minus"]

    def selects(self, completion: str, answer: str | None, gold: str) -> bool:  # noqa: ARG002
        """Whether the completion shows the feature in what follows its last `####`, or anywhere."""
        text = completion.rpartition("####")[2]
        return {"comma": ",", "point": ".", "minus": "-"}[self.mark] in text.strip().rstrip(".")


Selector = Annotated[Length | Keyword | RelativeError | NumberFormat, Field(discriminator="kind")]


class IndependentNoise(Spec):
    """A fresh flip for every rollout."""

    kind: Literal["independent"] = "independent"


class PerPromptNoise(Spec):
    """One flip per prompt, for ever."""

    kind: Literal["per_prompt"]


class PerAnswerNoise(Spec):
    """One flip per (prompt, answer), for ever."""

    kind: Literal["per_answer"]


class GroupNoise(Spec):
    """Beta-distributed rates per group, with this intraclass correlation of the flips."""

    kind: Literal["group"]
    correlation: Rate


class TriggeredNoise(Spec):
    """Errors tied to a feature: these rates where `selector` selects, `otherwise` elsewhere.

    The arm's own fpr and fnr are then the nominal marginals, true of the initial policy at best; what
    the optimiser met is logged step by step.
    """

    kind: Literal["triggered"]
    selector: Selector
    selected: Channel
    otherwise: Channel = Channel()


class DriftingNoise(Spec):
    """Rates that start at the arm's and move linearly to `end` over `steps`."""

    kind: Literal["drifting"]
    end: Channel
    steps: int = Field(ge=1)


def _kind(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


Noise = Annotated[
    Annotated[
        IndependentNoise
        | PerPromptNoise
        | PerAnswerNoise
        | GroupNoise
        | TriggeredNoise
        | DriftingNoise,
        Field(discriminator="kind"),
    ],
    BeforeValidator(_kind),
]


class Arm(Channel):
    """What distinguishes one arm: the injected rates, their structure and the estimator.

    estimator: `grpo` divides by the group's standard deviation, `dr_grpo` does not; they differ in
    nothing else.
    """

    noise: Noise = IndependentNoise()
    estimator: Literal["grpo", "dr_grpo"] = "grpo"

    @model_validator(mode="before")
    @classmethod
    def _empty_is_clean(cls, value: Any) -> Any:
        return {} if value is None else value


def structure(arm: Arm) -> Structure:
    """The object of `theory.structures` that an arm declares."""
    match arm.noise:
        case IndependentNoise():
            return Independent(arm.channel())
        case PerPromptNoise():
            return PerPrompt(arm.channel())
        case PerAnswerNoise():
            return PerAnswer(arm.channel())
        case GroupNoise(correlation=correlation):
            return GroupCorrelated(arm.channel(), correlation)
        case TriggeredNoise(selected=selected, otherwise=otherwise):
            return Triggered(selected.channel(), otherwise.channel())
        case DriftingNoise(end=end, steps=steps):
            return Drifting(arm.channel(), end.channel(), steps)
