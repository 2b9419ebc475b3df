"""Noise as an arm declares it, trained or simulated, and the `theory` structure it stands for.

A declaration is data (YAML, checked by pydantic, hashed into a trained run's id); `structure` turns it
into the frozen object of `theory.structures` that judges, one for simulator and trainer. Noise tied to a
feature also declares a selector, which reads completions; a simulated population has one feature and no
text, so there the selector is left out. Spellings of before are refused, with what to write instead.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final, Literal, TypeVar

import numpy as np
import yaml
from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from empirical.errors import StudyError
from empirical.fields import Rate, Spec
from empirical.verifiers import number
from theory import VerifierChannel
from theory.channel import BoolArray, FloatArray
from theory.structures import (
    Drifting,
    GroupCorrelated,
    Independent,
    IntArray,
    PerAnswer,
    PerPrompt,
    Structure,
    Triggered,
)

__all__ = [
    "Arm",
    "Arms",
    "BySegment",
    "Channel",
    "Correction",
    "Coverage",
    "DropGroups",
    "Errors",
    "Every",
    "Keyword",
    "Length",
    "Noise",
    "NumberFormat",
    "RelativeError",
    "Selector",
    "Shown",
    "Text",
    "TriggeredNoise",
    "Worth",
    "selected",
    "structure",
]

MOST_WORTH: Final = 1e6


def _compiles(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"is no regular expression ({error})") from None
    return pattern


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_compiles)]


class Channel(Spec):
    """Error rates of one `theory.VerifierChannel`."""

    fpr: Rate = 0.0
    fnr: Rate = 0.0

    def channel(self) -> VerifierChannel:
        """The channel with these rates."""
        return VerifierChannel(self.fpr, self.fnr)


@dataclass(frozen=True)
class Shown:
    """What a selector may look at: a completion, the answer the base verifier read in it, gold and prompt.

    answer: None where it read none. prompt: None where the trainer does not say it.
    """

    completion: str
    answer: str | None
    gold: str
    prompt: str | None = None


class Length(Spec):
    """Completions of `least` to `most` characters, both included."""

    kind: Literal["length"]
    least: int = Field(default=0, ge=0)
    most: int | None = Field(default=None, ge=0)

    def selects(self, shown: Shown) -> bool:
        """Whether the completion shows the feature."""
        length = len(shown.completion)
        return self.least <= length and (self.most is None or length <= self.most)


class Keyword(Spec):
    """Completions that contain `word`, or with `present: false` those that do not."""

    kind: Literal["keyword"]
    word: str = Field(min_length=1)
    present: bool = True

    def selects(self, shown: Shown) -> bool:
        """Whether the completion shows the feature."""
        return (self.word in shown.completion) == self.present


class RelativeError(Spec):
    """Answers that miss the gold answer by at most `most` of its size: close enough, says the judge."""

    kind: Literal["relative_error"]
    most: float = Field(gt=0.0)

    def selects(self, shown: Shown) -> bool:
        """Whether the completion shows the feature; never, where there is no number to compare."""
        given, expected = number(shown.answer or ""), number(shown.gold)
        return (
            given is not None
            and expected is not None
            and abs(given - expected) <= self.most * max(abs(expected), 1)
        )


class NumberFormat(Spec):
    """Completions whose text has a number written in one way: with a comma, a decimal point, a minus."""

    kind: Literal["number_format"]
    mark: Literal["comma", "point", "minus"]

    def selects(self, shown: Shown) -> bool:
        """Whether the completion shows the feature in what follows its last `####`, or anywhere."""
        text = shown.completion.rpartition("####")[2]
        return {"comma": ",", "point": ".", "minus": "-"}[self.mark] in text.strip().rstrip(".")


class Text(Spec):
    """Completions in whose text, answer (as the base verifier normalises it) or prompt `pattern` is found."""

    kind: Literal["text"]
    of: Literal["completion", "answer", "prompt"] = "completion"
    pattern: Pattern

    def selects(self, shown: Shown) -> bool:
        """Whether the completion shows the feature; never, where it has no answer to look at.

        Raises StudyError if the prompt is looked at and not known.
        """
        match self.of:
            case "completion":
                text = shown.completion
            case "answer":
                text = shown.answer
            case "prompt":
                text = _prompt(shown)
        return text is not None and re.search(self.pattern, text) is not None


class Coverage(Spec):
    """Completions of this share of the prompts, by a hash of their text: nothing in a prompt tells which."""

    kind: Literal["coverage"]
    share: Rate

    def selects(self, shown: Shown) -> bool:
        """Whether the completion shows the feature. Raises StudyError if the prompt is not known."""
        return zlib.crc32(_prompt(shown).encode()) < self.share * 2**32


def _prompt(shown: Shown) -> str:
    if shown.prompt is None:
        raise StudyError(
            "this trainer's rewards are not told the prompt, which a selector looks at"
        )
    return shown.prompt


_Feature = Length | Keyword | RelativeError | NumberFormat | Text | Coverage


class Every(Spec):
    """Completions that show every feature of `of`."""

    kind: Literal["every"]
    of: list[Annotated[_Feature, Field(discriminator="kind")]] = Field(min_length=1)

    def selects(self, shown: Shown) -> bool:
        """Whether the completion shows the features."""
        return all(feature.selects(shown) for feature in self.of)


Selector = Annotated[_Feature | Every, Field(discriminator="kind")]


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

    A trained arm's own fpr and fnr are then the nominal marginals, true of the initial policy at best; what
    the optimiser met is logged step by step. A simulated arm has none of its own: the initial policy's are known.
    selector: None where simulated, since the population's `feature_share` says who shows the feature.
    """

    kind: Literal["triggered"]
    selector: Selector | None = None
    selected: Channel
    otherwise: Channel = Channel()


class DriftingNoise(Spec):
    """Rates that start at the arm's and move linearly to `end` over `steps`."""

    kind: Literal["drifting"]
    end: Channel
    steps: int = Field(ge=1, le=10_000_000)


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


class Errors(Channel):
    """A verifier's errors as an arm declares them: the rates injected, and who errs with whom."""

    noise: Noise = IndependentNoise()

    @model_validator(mode="before")
    @classmethod
    def _one_dialect(cls, value: Any) -> Any:
        if value is None:  # `clean:` with nothing behind it
            return {}
        if isinstance(value, Mapping):
            new = _respelt(value)
            if new != value:
                raise ValueError(f"is spelt {_flow(new)} now")
        return value


def selected(selector: Selector, shown: Sequence[Shown]) -> BoolArray:
    """Which of n completions show the feature, shape (n,). Raises StudyError as the selector does."""
    return np.array([selector.selects(one) for one in shown], dtype=np.bool_)


class Worth(Spec):
    """What an unpaid and a paid rollout are worth to the trainer."""

    unpaid: float = Field(default=0.0, ge=-MOST_WORTH, le=MOST_WORTH)
    paid: float = Field(default=1.0, ge=-MOST_WORTH, le=MOST_WORTH)


class BySegment(Spec):
    """Verdicts are worth other rewards where `selector` selects, such as what an audit of that segment found.

    A group whose rollouts all lie in one segment feels nothing of it: its baseline and scale take an affine map away.
    """

    kind: Literal["by_segment"]
    selector: Selector
    selected: Worth
    otherwise: Worth = Worth()

    def worth(self, paid: BoolArray, *, group: IntArray, segment: BoolArray | None) -> FloatArray:
        """Rewards of n rollouts, shape (n,). segment: where the selector selects."""
        del group
        assert segment is not None
        inside, outside = (
            np.where(paid, worth.paid, worth.unpaid) for worth in (self.selected, self.otherwise)
        )
        return np.where(segment, inside, outside)


class DropGroups(Spec):
    """Groups with one of these numbers of paid rollouts teach nothing, as those do in which all are paid or none."""

    kind: Literal["drop_groups"]
    paid: list[Annotated[int, Field(ge=1)]] = Field(min_length=1)

    def worth(
        self, paid: BoolArray, *, group: IntArray, segment: BoolArray | None = None
    ) -> FloatArray:
        """Rewards of n rollouts, shape (n,): all of a dropped group are worth the same. group: of each."""
        del segment
        of_n = np.unique(group, return_inverse=True)[1]
        dropped = np.isin(np.bincount(of_n, weights=paid), self.paid)
        return np.where(dropped[of_n], 0.0, paid.astype(np.float64))


Correction = Annotated[BySegment | DropGroups, Field(discriminator="kind")]


class Arm(Errors):
    """What distinguishes one trained arm: the injected rates, their structure, a correction and the estimator.

    estimator: `grpo` divides by the group's standard deviation, `dr_grpo` does not; they differ in
    nothing else. correction: what the trainer makes of the verdicts; affine ones are left out, since they change
    nothing that lasts (docs/theory.md, prediction 7), and a majority of votes is an arm with the majority's rates.
    """

    estimator: Literal["grpo", "dr_grpo"] = "grpo"
    correction: Correction | None = None

    @property
    def label(self) -> str:
        """The structure of the noise, and the correction if there is one, as run tables name them."""
        kinds = [self.noise.kind] + ([] if self.correction is None else [self.correction.kind])
        return ", ".join(kinds)

    @model_validator(mode="after")
    def _selects(self) -> Arm:
        if isinstance(self.noise, TriggeredNoise) and self.noise.selector is None:
            raise ValueError(
                "noise 'triggered' needs a 'selector': what in a completion is paid by other rates"
            )
        return self


Label = TypeVar("Label")
Declared = TypeVar("Declared", bound=Errors)


def _by_name(value: Any) -> Any:
    """Arms as a mapping; of a list that is refused, the arm that shows most of what changed, spelt anew."""
    if not isinstance(value, list):
        return value
    shown: dict[str, Any] = {"clean": {}, "fp": {"fpr": 0.3}}
    named = [arm for arm in value if isinstance(arm, Mapping) and isinstance(arm.get("name"), str)]
    if named:
        rest = [{field: arm[field] for field in arm if field != "name"} for arm in named]
        respelt = [_respelt(arm) for arm in rest]
        changes = [(old != new, bool(new)) for old, new in zip(rest, respelt, strict=True)]
        place = changes.index(max(changes))
        shown = {named[place]["name"]: respelt[place]}
    raise ValueError(f"is a mapping from names to arms now, no list: write arms: {_flow(shown)}")


Arms = Annotated[dict[Label, Declared], Field(min_length=1), BeforeValidator(_by_name)]

# What simulated arms were declared with before they and trained ones shared this module.
_KINDS: Final = {
    "prompt": "per_prompt",
    "answer": "per_answer",
    "trigger": "triggered",
    "drift": "drifting",
}
_FIELDS: Final = {
    "correlation": ("group", "correlation"),
    "selected": ("triggered", "selected"),
    "end": ("drifting", "end"),
    "over": ("drifting", "steps"),
}


def _respelt(arm: Mapping[str, Any]) -> dict[str, Any]:
    """An arm's fields with every spelling of before turned into today's."""
    told = arm.get("noise")
    noise = dict(told) if isinstance(told, Mapping) else {} if told is None else {"kind": told}
    beside = [name for name in _FIELDS if name in arm]
    was = noise.pop("kind", None)
    kind = _KINDS.get(was, was) if isinstance(was, str) else was
    if told is None and beside:
        kind = _FIELDS[beside[0]][0]
    beside = [name for name in beside if _FIELDS[name][0] == kind]
    moved = {_FIELDS[name][1]: arm[name] for name in beside}
    if kind == "drifting" and "over" in noise:
        moved["steps"] = noise.pop("over")
    if kind == was and not moved:
        return dict(arm)
    gone = {"noise", *beside}
    if kind == "triggered" and not noise.keys() & {"otherwise", "selector"}:
        # A simulated arm's own rates were those where no feature shows; a trained one's are nominal.
        own = {name: arm[name] for name in ("fpr", "fnr") if name in arm}
        moved |= {"otherwise": own} if own else {}
        gone |= own.keys()
    fields = noise | moved
    kept = {name: value for name, value in arm.items() if name not in gone}
    return kept | {"noise": {"kind": kind, **fields} if fields else kind}


def _flow(fields: Mapping[str, Any]) -> str:
    """As one would write it on one line of YAML."""
    text = yaml.safe_dump(dict(fields), default_flow_style=True, sort_keys=False, width=10**6)
    return text.strip()


def structure(
    errors: Errors, *, after: Callable[[VerifierChannel], VerifierChannel] = lambda channel: channel
) -> Structure:
    """The object of `theory.structures` that is declared.

    after: what becomes of each channel injected, such as its composition with a verifier's own errors.
    """
    channel = after(errors.channel())
    match errors.noise:
        case IndependentNoise():
            return Independent(channel)
        case PerPromptNoise():
            return PerPrompt(channel)
        case PerAnswerNoise():
            return PerAnswer(channel)
        case GroupNoise(correlation=correlation):
            return GroupCorrelated(channel, correlation)
        case TriggeredNoise(selected=selected, otherwise=otherwise):
            return Triggered(after(selected.channel()), after(otherwise.channel()))
        case DriftingNoise(end=end, steps=steps):
            return Drifting(channel, after(end.channel()), steps)
