"""The noisy verifier: a reward function that holds the simulator's own noise structure.

Law. The base verifier reads a completion; the structure of `theory.structures` then decides whether the
rollout is paid, from uniforms keyed by (seed, step, prompt, place in the global batch). Nothing here
draws from torch's, NumPy's or Python's generators, so arms that share a seed share all but the flips.
Fails first if two processes believe they hold the same part of the batch: the offset comes from RANK.
Source of the calling convention: TRL's `GRPOTrainer._calculate_rewards`.
"""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import zlib
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from time import perf_counter
from typing import Any, Final, Protocol

import numpy as np

from empirical.errors import StudyError
from empirical.math_worker import batch
from empirical.noise import BySegment, Correction, Selector, Shown, selected
from empirical.verifiers import Judgement, Verdict, Verifier
from theory.channel import BoolArray, FloatArray
from theory.estimators import GRPO, Estimator, advantages
from theory.structures import IntArray, PerAnswer, PerPrompt, Rollouts, Structure

__all__ = [
    "METRIC_PREFIX",
    "Judged",
    "NoisyVerifier",
    "Text",
    "VerlReward",
    "answer_id",
    "gold_text",
    "last_text",
]

METRIC_PREFIX: Final = "verifier/"
Text = str | Sequence[dict[str, str]]  # plain, or a chat's messages


class TrainerState(Protocol):
    """The part of transformers' TrainerState that is read: optimiser steps done so far."""

    global_step: int


@dataclass(frozen=True)
class Judged:
    """What a step's rollouts got; arrays of shape (n,).

    right: by the reference verifier, which counts as the truth.
    base: paid by the base verifier, before noise.
    paid: paid after noise. worth: what the trainer is told, 0.0 or 1.0 unless an arm's correction says otherwise.
    selected: shows the feature that errors are tied to; None where they are tied to none.
    unscorable: the base verifier found no answer to judge. timed_out: of these, it had no time to.
    base_seconds, noise_seconds: time spent judging, and on the noise alone.
    """

    right: BoolArray
    base: BoolArray
    paid: BoolArray
    worth: FloatArray
    selected: BoolArray | None
    unscorable: BoolArray
    timed_out: BoolArray
    base_seconds: float
    noise_seconds: float


@dataclass(frozen=True)
class NoisyVerifier:
    """A verifier with injected noise, callable as TRL calls a reward function.

    structure: the noise, shared with the simulator. base: what judges before noise is injected.
    reference: what counts as the truth; None takes the base verifier, whose own rates are then 0.
    seed: of the noise, in [0, 2**32). group_size: rollouts per prompt, contiguous in the batch.
    selector: the feature that feature-triggered noise looks at. correction: what the trainer makes of verdicts.
    drop_unscorable: reward None (left out of the group) instead of treating unscorable as wrong.
    estimator: the trainer's; read only for what is logged of its gradient.
    """

    structure: Structure
    base: Verifier
    seed: int
    group_size: int
    reference: Verifier | None = None
    selector: Selector | None = None
    drop_unscorable: bool = False
    correction: Correction | None = None
    estimator: Estimator = GRPO

    @property
    def __name__(self) -> str:
        return "noisy_verifier"

    def judge(
        self,
        completions: Sequence[str],
        *,
        gold: Sequence[str | int | float],
        prompt_id: Sequence[Hashable],
        step: int,
        prompts: Sequence[str] | None = None,
        offset: int = 0,
        index: IntArray | None = None,
        group: IntArray | None = None,
    ) -> Judged:
        """Judge n rollouts of one step.

        gold, prompt_id: of each rollout; a gold answer is text or a number, an id anything hashable (equal
        ids are one prompt). prompts: their texts, for selectors that look at them. offset: place of the first
        in the step's global batch. index, group: places in the global batch, of rollouts and of groups, where
        the rollouts do not lie there one after another, group by group.
        """
        answers = [gold_text(answer) for answer in gold]
        keys = np.array([prompt_key(one) for one in prompt_id], dtype=np.int64)
        started = perf_counter()
        with batch():
            judgements = [self.base(c, g) for c, g in zip(completions, answers, strict=True)]
        base = np.array([j.verdict is Verdict.RIGHT for j in judgements], dtype=np.bool_)
        right = base
        if self.reference is not None and self.reference is not self.base:
            with batch():
                truths = [self.reference(c, g) for c, g in zip(completions, answers, strict=True)]
            right = np.array([j.verdict is Verdict.RIGHT for j in truths], dtype=np.bool_)
        judged = perf_counter()
        if index is None:
            index = offset + np.arange(len(completions), dtype=np.int64)
        if group is None:
            group = index // self.group_size

        shown: list[Shown] = []
        if self.selector is not None or isinstance(self.correction, BySegment):
            told = prompts or itertools.repeat(None, len(completions))
            shown = [
                Shown(c, j.answer, g, p)
                for c, j, g, p in zip(completions, judgements, answers, told, strict=True)
            ]
        featured = None if self.selector is None else selected(self.selector, shown)
        paid = self.structure.judge(
            Rollouts(
                right=base,
                prompt=_folded(keys),
                index=index,
                group=group,
                answer=np.array([answer_id(j) for j in judgements], dtype=np.int64),
                selected=featured,
            ),
            seed=self.seed,
            step=step,
        )
        worth = paid.astype(np.float64)
        if self.correction is not None:
            segment = None
            if isinstance(self.correction, BySegment):
                segment = selected(self.correction.selector, shown)
            worth = self.correction.worth(paid, group=group, segment=segment)
        return Judged(
            right=right,
            base=base,
            paid=paid,
            worth=worth,
            selected=featured,
            unscorable=np.array(
                [j.verdict is Verdict.UNSCORABLE for j in judgements], dtype=np.bool_
            ),
            timed_out=np.array([j.timed_out for j in judgements], dtype=np.bool_),
            base_seconds=judged - started,
            noise_seconds=perf_counter() - judged,
        )

    def __call__(
        self,
        *,
        completions: Sequence[Text],
        prompt_id: Sequence[Hashable],
        gold: Sequence[str | int | float],
        trainer_state: TrainerState,
        log_metric: Callable[[str, float], None],
        prompts: Sequence[Text] | None = None,
        **_: Any,  # TRL also passes token ids and every column of the data set
    ) -> list[float | None]:
        """Rewards of one step's rollouts on this process, what verdicts are worth, or None where unscorable."""
        texts = [last_text(c) for c in completions]
        judged = self.judge(
            texts,
            gold=gold,
            prompt_id=prompt_id,
            step=trainer_state.global_step,
            prompts=None if prompts is None else [last_text(p) for p in prompts],
            offset=int(os.environ.get("RANK", "0")) * len(texts),
        )
        for name, value in _counts(judged, self.group_size, self.estimator).items():
            log_metric(METRIC_PREFIX + name, value)
        dropped = judged.unscorable & self.drop_unscorable
        return [
            None if drop else worth
            for drop, worth in zip(dropped.tolist(), judged.worth.tolist(), strict=True)
        ]


@dataclass(frozen=True)
class VerlReward:
    """The noisy verifier under verl's reward signatures.

    `batch` is what verl's batch reward manager calls, once per training step with the whole batch;
    steps counts those calls (pass itertools.count(n) when resuming after n steps). `one` is what the
    naive manager calls, once per rollout: it knows neither step nor place, so extra_info must hold
    them, unless the noise is persistent. Either way extra_info["index"] is the prompt's id, which
    verl's own data preparation writes.
    Source: verl, `workers/reward_manager/batch.py` and `naive.py`.
    """

    verifier: NoisyVerifier
    steps: Iterator[int] = field(default_factory=itertools.count)

    def batch(
        self,
        data_sources: Sequence[str],  # noqa: ARG002 - verl passes it by name
        solution_strs: Sequence[str],
        ground_truths: Sequence[str],
        extra_infos: Sequence[Mapping[str, Any]],
        **_: Any,
    ) -> list[dict[str, float]]:
        """Scores of a whole batch, with what verl logs beside them.

        Raises StudyError if an extra_info lacks `index`.
        """
        prompt = np.array(
            [prompt_key(_required(info, "index")) for info in extra_infos], dtype=np.int64
        )
        # verl reorders a batch to balance lengths, so groups are told apart by prompt, not by place.
        judged = self.verifier.judge(
            solution_strs,
            gold=ground_truths,
            prompt_id=prompt.tolist(),
            step=next(self.steps),
            group=np.unique(prompt, return_inverse=True)[1].astype(np.int64),
        )
        return _verl_scores(judged)

    def one(
        self,
        data_source: str,  # noqa: ARG002 - verl passes it by name
        solution_str: str,
        ground_truth: str,
        extra_info: Mapping[str, Any] | None = None,
        **_: Any,
    ) -> dict[str, float]:
        """Score of one rollout, with what verl logs beside it.

        Raises StudyError if extra_info lacks `index`, or `step` and `rollout` where the noise needs them.
        """
        info = extra_info or {}
        persistent = isinstance(self.verifier.structure, PerPrompt | PerAnswer)
        prompt = prompt_key(_required(info, "index"))
        judged = self.verifier.judge(
            [solution_str],
            gold=[ground_truth],
            prompt_id=[prompt],
            step=0 if persistent else _count(info, "step"),
            index=np.array([0 if persistent else _count(info, "rollout")], dtype=np.int64),
            group=_folded(np.array([prompt], dtype=np.int64)),
        )
        return _verl_scores(judged)[0]


def last_text(text: Text) -> str:
    """Plain text, or the last message of a chat."""
    return text if isinstance(text, str) else text[-1]["content"]


def _required(info: Mapping[str, Any], key: str) -> Hashable:
    if key not in info:
        raise StudyError(
            f"verl's extra_info lacks {key!r}, which noise is keyed by; it has {sorted(info)}"
        )
    return info[key]


def _count(info: Mapping[str, Any], key: str) -> int:
    value = _required(info, key)
    try:
        return int(value)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError):
        raise StudyError(f"verl's extra_info: {key} {value!r} is no whole number") from None


def prompt_key(value: Hashable) -> int:
    """The 63-bit integer by which noise knows a prompt: an integer is itself, any other id its digest.

    Equal ids have one key in every process, which Python's own hash of a text does not.
    Raises StudyError where the id is none: None, NaN, or something that cannot be compared.
    """
    plain = value.item() if isinstance(value, np.generic) else value
    if isinstance(plain, float) and plain.is_integer():
        plain = int(plain)  # equal to its integer, so one id with it
    if isinstance(plain, int) and 0 <= plain < 2**63:
        return int(plain)
    spoken = repr(plain)
    nothing = plain is None or (isinstance(plain, float) and math.isnan(plain))
    # The default repr of an object is its address, which the next process does not share.
    if nothing or not isinstance(plain, Hashable) or " at 0x" in spoken:
        raise StudyError(f"a prompt's id is {spoken[:60]}, which tells it from no other")
    try:
        hash(plain)
    except TypeError:
        raise StudyError(f"a prompt's id is {spoken[:60]}, which cannot be compared") from None
    digest = hashlib.blake2b(f"{type(plain).__name__}:{spoken}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def _folded(keys: IntArray) -> IntArray:
    """Keys in the [0, 2**32) that noise is keyed by: small ones as they are, others mixed down to it."""
    return np.where(keys < 2**32, keys, (keys >> 32 ^ keys) & 0xFFFFFFFF)


def gold_text(answer: object) -> str:
    """A gold answer as text; numbers are common in data sets."""
    plain = answer.item() if isinstance(answer, np.generic) else answer
    if isinstance(plain, str):
        return plain
    if isinstance(plain, bool) or not isinstance(plain, int | float | Fraction | Decimal):
        raise StudyError(f"a gold answer is {plain!r:.60}, neither text nor a number")
    if isinstance(plain, float) and plain.is_integer():
        return str(int(plain))
    return str(plain)


def _verl_scores(judged: Judged) -> list[dict[str, float]]:
    return [
        {"score": float(worth), "right": float(right), "unscorable": float(unscorable)}
        for worth, right, unscorable in zip(
            judged.worth, judged.right, judged.unscorable, strict=True
        )
    ]


def answer_id(judgement: Judgement) -> int:
    """What noise knows of an answer, in [0, 2**32); that of no answer is that of an empty one."""
    return zlib.crc32((judgement.answer or "").encode())


def _counts(judged: Judged, group_size: int, estimator: Estimator) -> dict[str, float]:
    """What to log of a step, as counts on this process, which TRL averages over processes.

    injected_*: flips of the base verdict. base_*: disagreements of base and reference.
    groups_right_k, groups_paid_k: groups with k truly right, with k paid rollouts.
    ability_gradient: sum over groups of (1/G) sum_i A_i (1{right_i} - R/G), R the group's right ones
    (`theory.conditional`); an unscorable rollout counts as unpaid.
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
        "timed_out": judged.timed_out.sum(),
    }
    if judged.selected is not None:
        counts |= {
            "selected_wrong": (judged.selected & ~right).sum(),
            "selected_right": (judged.selected & right).sum(),
            "selected_paid_wrong": (judged.selected & paid & ~right).sum(),
            "selected_unpaid_right": (judged.selected & ~paid & right).sum(),
        }
    right_PG, paid_PG = right.reshape(-1, group_size), paid.reshape(-1, group_size)
    for name, marked_PG in (("right", right_PG), ("paid", paid_PG)):
        groups = np.bincount(marked_PG.sum(axis=1), minlength=group_size + 1)
        counts |= {f"groups_{name}_{k}": n for k, n in enumerate(groups)}
    centred_PG = right_PG - right_PG.mean(axis=1, keepdims=True)
    worth_PG = judged.worth.reshape(-1, group_size)
    counts["ability_gradient"] = (advantages(worth_PG, estimator) * centred_PG).mean(axis=1).sum()
    counts["base_seconds"] = judged.base_seconds
    counts["noise_seconds"] = judged.noise_seconds
    return {name: float(value) for name, value in counts.items()}
