"""Who errs with whom: the structures a verifier's errors can have, one object for simulator and trainer.

Law. A rollout is paid iff right XOR (u < fnr if right else u < fpr), u its uniform draw and (fpr, fnr)
the rates that apply to it. Structures differ only in the counter u is drawn from and in those rates:
    Independent      a fresh u per rollout (step, prompt, place in the global batch)
    PerPrompt        one u per prompt, for ever: its wrong answers are all paid or none is
    PerAnswer        one u per (prompt, answer), for ever
    GroupCorrelated  fresh u; a group's rates are Beta with mean fpr (fnr), alpha + beta = 1/c - 1
    Triggered        fresh u; one channel where a completion shows a feature, another elsewhere
    Drifting         fresh u; rates that move linearly over training
Fails first when a judge errs by what it has read elsewhere in the batch: no structure looks across
prompts.
Source: docs/theory.md#noise-structures; the Beta-binomial's intraclass correlation is c = 1/(alpha + beta + 1).

The same (seed, step, prompt, index) flips alike in every arm, and in every structure the flips at a
lower rate are a subset of those at a higher one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from theory.channel import BoolArray, FloatArray, VerifierChannel, check_rate
from theory.errors import ArgumentError
from theory.rng import Purpose, uniforms

IntArray = NDArray[np.int64]

__all__ = [
    "Drifting",
    "GroupCorrelated",
    "Independent",
    "PerAnswer",
    "PerPrompt",
    "Rollouts",
    "Structure",
    "Triggered",
]

# Blocks keep apart the draws that one (seed, purpose, step, prompt, index) would otherwise share.
_PROMPT_BLOCK: Final = 0
_ANSWER_BLOCK: Final = 1
_FPR_BLOCK: Final = 0
_FNR_BLOCK: Final = 1


@dataclass(frozen=True)
class Rollouts:
    """What a structure may know of the rollouts it judges; arrays of one shape (n,).

    right: is the answer right.
    prompt: the prompt's id, in [0, 2**32).
    index: the rollout's place in the step's global batch, in [0, 2**32).
    group: the group's place in the step's global batch; read by GroupCorrelated only.
    answer: an id of the answer given, in [0, 2**32); read by PerAnswer only.
    selected: does the completion show the feature; read by Triggered only.
    """

    right: BoolArray
    prompt: IntArray
    index: IntArray
    group: IntArray | None = None
    answer: IntArray | None = None
    selected: BoolArray | None = None


class Structure(Protocol):
    """What judges rollouts, in the simulator and in the trainer."""

    def judge(self, rollouts: Rollouts, *, seed: int, step: int) -> BoolArray:
        """Return which rollouts are paid, shape (n,)."""
        ...


def _fresh(rollouts: Rollouts, seed: int, step: int) -> FloatArray:
    return uniforms(seed, Purpose.VERIFIER, step=step, prompt=rollouts.prompt, index=rollouts.index)


def _required(name: str, value: NDArray[np.generic] | None, structure: str) -> NDArray[np.generic]:
    if value is None:
        raise ArgumentError(f"{structure} noise needs rollouts.{name}")
    return value


@dataclass(frozen=True)
class Independent:
    """A fresh flip for every rollout."""

    channel: VerifierChannel

    def judge(self, rollouts: Rollouts, *, seed: int, step: int) -> BoolArray:
        """Return which rollouts are paid, shape (n,)."""
        return self.channel.judge(rollouts.right, _fresh(rollouts, seed, step))


@dataclass(frozen=True)
class PerPrompt:
    """One flip per prompt, the same at every visit: the verifier misreads the *question*."""

    channel: VerifierChannel

    def judge(self, rollouts: Rollouts, *, seed: int, step: int) -> BoolArray:  # noqa: ARG002
        """Return which rollouts are paid, shape (n,); `step` plays no part."""
        u = uniforms(
            seed, Purpose.PERSISTENT, step=0, prompt=rollouts.prompt, index=0, block=_PROMPT_BLOCK
        )
        return self.channel.judge(rollouts.right, u)


@dataclass(frozen=True)
class PerAnswer:
    """One flip per (prompt, answer), the same at every visit: the verifier misreads that *answer*."""

    channel: VerifierChannel

    def judge(self, rollouts: Rollouts, *, seed: int, step: int) -> BoolArray:  # noqa: ARG002
        """Return which rollouts are paid, shape (n,); `step` plays no part.

        Raises ArgumentError if `rollouts.answer` is absent.
        """
        u = uniforms(
            seed,
            Purpose.PERSISTENT,
            step=0,
            prompt=rollouts.prompt,
            index=_required("answer", rollouts.answer, "per-answer"),
            block=_ANSWER_BLOCK,
        )
        return self.channel.judge(rollouts.right, u)


@dataclass(frozen=True)
class GroupCorrelated:
    """Error rates that vary from group to group, so that a group's flips are correlated.

    channel: the mean rates.
    correlation: intraclass correlation c of the flips within a group, in [0, 1]; 0 is `Independent`,
    1 flips a group's wrong (right) rollouts all together or not at all.
    """

    channel: VerifierChannel
    correlation: float

    def __post_init__(self) -> None:
        object.__setattr__(self, "correlation", check_rate("correlation", self.correlation))

    def rates(
        self, prompt: IntArray, group: IntArray, *, seed: int, step: int
    ) -> tuple[FloatArray, FloatArray]:
        """(fpr, fnr) of each group, in [0, 1], shape of `group`."""
        fpr, fnr = (
            _beta_quantile(
                mean,
                self.correlation,
                uniforms(seed, Purpose.GROUP, step=step, prompt=prompt, index=group, block=block),
            )
            for mean, block in (
                (self.channel.fpr, _FPR_BLOCK),
                (self.channel.fnr, _FNR_BLOCK),
            )
        )
        return fpr, fnr

    def judge(self, rollouts: Rollouts, *, seed: int, step: int) -> BoolArray:
        """Return which rollouts are paid, shape (n,).

        Raises ArgumentError if `rollouts.group` is absent.
        """
        group = _required("group", rollouts.group, "group-correlated").astype(np.int64)
        # Once per group, not per rollout: a Beta quantile is a thousand times dearer than a draw.
        groups, first, place = np.unique(group, return_index=True, return_inverse=True)
        fpr, fnr = self.rates(rollouts.prompt[first], groups, seed=seed, step=step)
        flips = _fresh(rollouts, seed, step) < np.where(rollouts.right, fnr[place], fpr[place])
        return rollouts.right ^ flips


def _beta_quantile(mean: float, correlation: float, u: FloatArray) -> FloatArray:
    """Rates ~ Beta(mean k, (1 - mean) k), k = 1/correlation - 1, at the upper quantile u.

    The *upper* quantile, so that rates, like flips, are large where u is small.
    """
    # Below 1e-12 the Beta is its mean to every digit, and its parameters leave the floats.
    if correlation < 1e-12 or mean in (0.0, 1.0):
        return np.full(u.shape, mean)
    if correlation == 1.0:
        return (u < mean).astype(np.float64)
    from scipy.special import betainccinv

    k = 1.0 / correlation - 1.0
    return betainccinv(mean * k, (1.0 - mean) * k, u)


@dataclass(frozen=True)
class Triggered:
    """Errors tied to a feature of the completion, which the policy can learn to show or to avoid.

    selected: the channel of rollouts that show the feature.
    otherwise: the channel of all others.
    """

    selected: VerifierChannel
    otherwise: VerifierChannel

    def judge(self, rollouts: Rollouts, *, seed: int, step: int) -> BoolArray:
        """Return which rollouts are paid, shape (n,).

        Raises ArgumentError if `rollouts.selected` is absent.
        """
        u = _fresh(rollouts, seed, step)
        return np.where(
            _required("selected", rollouts.selected, "triggered"),
            self.selected.judge(rollouts.right, u),
            self.otherwise.judge(rollouts.right, u),
        )


@dataclass(frozen=True)
class Drifting:
    """Rates that move linearly from `start` at step 0 to `end` at step `steps`, and stay there."""

    start: VerifierChannel
    end: VerifierChannel
    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ArgumentError(f"steps must be at least 1, got {self.steps}")

    def at(self, step: int) -> VerifierChannel:
        """The channel in force at `step` >= 0."""
        share = min(step / self.steps, 1.0)
        return VerifierChannel(
            fpr=(1.0 - share) * self.start.fpr + share * self.end.fpr,
            fnr=(1.0 - share) * self.start.fnr + share * self.end.fnr,
        )

    def judge(self, rollouts: Rollouts, *, seed: int, step: int) -> BoolArray:
        """Return which rollouts are paid, shape (n,)."""
        return self.at(step).judge(rollouts.right, _fresh(rollouts, seed, step))
