"""The noisy verifier: a reward function that holds the simulator's own noise structure.

Law. The base verifier reads a completion; the structure of `theory.structures` then decides whether the
rollout is paid, from uniforms keyed by (seed, step, prompt, place in the global batch). Nothing here
draws from torch's, NumPy's or Python's generators, so arms that share a seed share all but the flips.
Fails first if two processes believe they hold the same part of the batch: the offset comes from RANK.
Source of the calling convention: TRL's `GRPOTrainer._calculate_rewards`.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol

import numpy as np

from empirical.noise import Selector
from empirical.verifiers import Judgement, Verdict, Verifier
from theory.channel import BoolArray
from theory.structures import Rollouts, Structure

__all__ = ["METRIC_PREFIX", "Judged", "NoisyVerifier"]

METRIC_PREFIX: Final = "verifier/"


class TrainerState(Protocol):
    """The part of transformers' TrainerState that is read: optimiser steps done so far."""

    global_step: int


@dataclass(frozen=True)
class Judged:
    """What a step's rollouts got; arrays of shape (n,).

    right: by the reference verifier, which counts as the truth.
    base: paid by the base verifier, before noise.
    paid: paid after noise.
    unscorable: the base verifier found no answer to judge.
    base_seconds, noise_seconds: time spent judging, and on the noise alone.
    """

    right: BoolArray
    base: BoolArray
    paid: BoolArray
    unscorable: BoolArray
    base_seconds: float
    noise_seconds: float


@dataclass(frozen=True)
class NoisyVerifier:
    """A verifier with injected noise, callable as TRL calls a reward function.

    structure: the noise, shared with the simulator. base: what judges before noise is injected.
    reference: what counts as the truth; None takes the base verifier, whose own rates are then 0.
    seed: of the noise, in [0, 2**32). group_size: rollouts per prompt, contiguous in the batch.
    selector: the feature that feature-triggered noise looks at.
    drop_unscorable: reward None (left out of the group) instead of treating unscorable as wrong.
    """

    structure: Structure
    base: Verifier
    seed: int
    group_size: int
    reference: Verifier | None = None
    selector: Selector | None = None
    drop_unscorable: bool = False

    @property
    def __name__(self) -> str:
        return "noisy_verifier"

    def judge(
        self,
        completions: Sequence[str],
        *,
        gold: Sequence[str],
        prompt_id: Sequence[int],
        step: int,
        offset: int = 0,
    ) -> Judged:
        """Judge n rollouts of one step.

        gold, prompt_id: of each rollout. offset: place of the first in the step's global batch.
        """
        started = perf_counter()
        judgements = [self.base(c, g) for c, g in zip(completions, gold, strict=True)]
        base = np.array([j.verdict is Verdict.RIGHT for j in judgements], dtype=np.bool_)
        right = base
        if self.reference is not None and self.reference is not self.base:
            right = np.array(
                [
                    self.reference(c, g).verdict is Verdict.RIGHT
                    for c, g in zip(completions, gold, strict=True)
                ],
                dtype=np.bool_,
            )
        judged = perf_counter()
        index = offset + np.arange(len(completions), dtype=np.int64)
        selected = None
        if self.selector is not None:
            selected = np.array(
                [
                    self.selector.selects(c, j.answer, g)
                    for c, j, g in zip(completions, judgements, gold, strict=True)
                ],
                dtype=np.bool_,
            )
        paid = self.structure.judge(
            Rollouts(
                right=base,
                prompt=np.asarray(prompt_id, dtype=np.int64),
                index=index,
                group=index // self.group_size,
                answer=np.array([_answer_id(j) for j in judgements], dtype=np.int64),
                selected=selected,
            ),
            seed=self.seed,
            step=step,
        )
        return Judged(
            right=right,
            base=base,
            paid=paid,
            unscorable=np.array(
                [j.verdict is Verdict.UNSCORABLE for j in judgements], dtype=np.bool_
            ),
            base_seconds=judged - started,
            noise_seconds=perf_counter() - judged,
        )

    def __call__(
        self,
        *,
        completions: Sequence[str] | Sequence[Sequence[dict[str, str]]],
        prompt_id: Sequence[int],
        gold: Sequence[str],
        trainer_state: TrainerState,
        log_metric: Callable[[str, float], None],
        **_: Any,  # TRL also passes prompts, token ids and every column of the data set
    ) -> list[float | None]:
        """Rewards of one step's rollouts on this process, 0.0 or 1.0, or None where unscorable."""
        texts = [c if isinstance(c, str) else c[-1]["content"] for c in completions]
        judged = self.judge(
            texts,
            gold=gold,
            prompt_id=prompt_id,
            step=trainer_state.global_step,
            offset=int(os.environ.get("RANK", "0")) * len(texts),
        )
        for name, value in _counts(judged, self.group_size).items():
            log_metric(METRIC_PREFIX + name, value)
        dropped = judged.unscorable & self.drop_unscorable
        return [
            None if drop else float(paid)
            for drop, paid in zip(dropped.tolist(), judged.paid.tolist(), strict=True)
        ]


def _answer_id(judgement: Judgement) -> int:
    return zlib.crc32((judgement.answer or "").encode())


def _counts(judged: Judged, group_size: int) -> dict[str, float]:
    """What to log of a step, as counts: their means over processes still give exact ratios.

    injected_*: flips of the base verdict. base_*: disagreements of base and reference.
    groups_right_k: groups with k truly right rollouts.
    """
    right, base, paid = judged.right, judged.base, judged.paid
    counts = {
        "rollouts": right.size,
        "right": right.sum(),
        "paid": paid.sum(),
        "paid_wrong": (paid & ~right).sum(),
        "unpaid_right": (~paid & right).sum(),
        "base_paid": base.sum(),
        "injected_false_positives": (paid & ~base).sum(),
        "injected_false_negatives": (~paid & base).sum(),
        "base_false_positives": (base & ~right).sum(),
        "base_false_negatives": (~base & right).sum(),
        "unscorable": judged.unscorable.sum(),
    }
    right_per_group = right.reshape(-1, group_size).sum(axis=1)
    paid_per_group = paid.reshape(-1, group_size).sum(axis=1)
    groups = np.bincount(right_per_group, minlength=group_size + 1)
    counts |= {f"groups_right_{k}": n for k, n in enumerate(groups)}
    counts["groups_paid_alike"] = ((paid_per_group == 0) | (paid_per_group == group_size)).sum()
    counts["base_seconds"] = judged.base_seconds
    counts["noise_seconds"] = judged.noise_seconds
    return {name: float(value) for name, value in counts.items()}
