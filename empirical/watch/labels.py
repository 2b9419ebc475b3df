"""Audited rollouts of a step: what the training verifier paid, and what a reference or a person says is right.

Law. Labels of one prompt hang together, labels of two prompts do not, given the policy: a unit is the mean over one
prompt's labels of a step. A label whose prompt is not named is a unit of its own.
Fails first where several unnamed labels are of one prompt.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from empirical.errors import StudyError
from empirical.verifiers import Judgement, Verdict

__all__ = ["Label", "Unit", "choose", "groups_paid", "right_of", "units_of"]


@dataclass(frozen=True)
class Label:
    """One audited rollout. prompt: what names its prompt among the step's; None where unknown."""

    paid: bool
    right: bool
    prompt: Hashable = None


@dataclass(frozen=True)
class Unit:
    """Labels of one prompt at one step: how many are wrong and paid, wrong, right and unpaid, and in all."""

    paid_wrong: int
    wrong: int
    unpaid_right: int
    labels: int

    @property
    def paid(self) -> int:
        """How many of them were paid."""
        return self.paid_wrong + self.labels - self.wrong - self.unpaid_right

    @property
    def shares(self) -> tuple[float, float, float]:
        """The first three over the fourth."""
        n = self.labels
        return self.paid_wrong / n, self.wrong / n, self.unpaid_right / n


def units_of(labels: Iterable[Label]) -> list[Unit]:
    """The units of one step's labels."""
    tallies: dict[Hashable, list[int]] = {}
    for number, label in enumerate(labels):
        key = ("", number) if label.prompt is None else label.prompt
        own = tallies.setdefault(key, [0, 0, 0, 0])
        own[0] += label.paid and not label.right
        own[1] += not label.right
        own[2] += label.right and not label.paid
        own[3] += 1
    return [Unit(*own) for own in tallies.values()]


def choose(prompts: Sequence[Hashable], count: int, rng: np.random.Generator) -> list[int]:
    """Places of at most `count` rollouts to audit, spread over prompts: of each as many as of any other, or one more.

    prompts: of each rollout. Within a prompt every rollout is as likely as any other.
    """
    own: dict[Hashable, list[int]] = {}
    for place in rng.permutation(len(prompts)).tolist():
        own.setdefault(prompts[place], []).append(place)
    groups = list(own.values())
    chosen: list[int] = []
    while len(chosen) < min(count, len(prompts)):
        for group in rng.permutation(len(groups)).tolist():
            if groups[group] and len(chosen) < count:
                chosen.append(groups[group].pop())
    return chosen


def groups_paid(
    prompts: Sequence[Hashable], paid: Sequence[bool]
) -> tuple[float, float, float] | None:
    """The shares of prompts with no, some and all of their rollouts paid; None without rollouts."""
    own: dict[Hashable, list[bool]] = {}
    for prompt, one in zip(prompts, paid, strict=True):
        own.setdefault(prompt, []).append(one)
    if not own:
        return None
    none = sum(not any(group) for group in own.values()) / len(own)
    every = sum(all(group) for group in own.values()) / len(own)
    return none, 1.0 - none - every, every


def right_of(answer: Any) -> bool | None:
    """What a reference's answer means: right, not right (an unscorable completion is not), or None, cannot tell.

    Raises StudyError where it is none of these.
    """
    if isinstance(answer, Judgement):
        return None if answer.timed_out else answer.verdict is Verdict.RIGHT
    if isinstance(answer, Verdict):
        return answer is Verdict.RIGHT
    if answer is None:
        return None
    try:
        value = float(answer)
    except (TypeError, ValueError):
        value = -1.0
    if value not in (0.0, 1.0):
        raise StudyError(f"the reference returned {answer!r:.60}: want True, False or None")
    return value == 1.0
