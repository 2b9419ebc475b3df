"""Rollouts of a real model, logged with their true reward, into which noise is injected afterwards.

Law. The rollouts stay as they are; `theory.structures` judges them anew, with draws keyed as in training by
(seed, step, prompt, place in the step's batch), so a replicate is a seed and a group's right ones never
change. What is measured of a group is what the trainer would have made of it.
Fails first where the logged reward is not the truth: a right answer the reference rejects counts as wrong.
Source of the format: github.com/eth-sri/llm-verifier-noise, scripts/rollouts, completions dropped.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from empirical.errors import StudyError
from theory.channel import BoolArray, FloatArray
from theory.estimators import GRPO, Estimator, advantages
from theory.structures import Rollouts, Structure

__all__ = ["Injected", "RealGroups", "inject", "read_groups"]


@dataclass(frozen=True)
class RealGroups:
    """Groups of G rollouts each, in the order they were made.

    steps: the rollouts of each training step, judged together; arrays of shape (groups * G,).
    advantages_NG: what the trainer made of the true rewards, shape (all groups, G).
    selected_share: share of wrong rollouts that show the feature marked `selected` (a boxed answer).
    """

    steps: tuple[tuple[int, Rollouts], ...]
    advantages_NG: FloatArray
    group_size: int
    selected_share: float

    @property
    def right_NG(self) -> BoolArray:
        """Which rollouts are right, shape (all groups, G)."""
        return np.concatenate([r.right for _, r in self.steps]).reshape(-1, self.group_size)


def read_groups(path: Path) -> RealGroups:
    """Read a CSV with step, prompt_id, reward, advantage, extracted_answer and has_boxed, a rollout a row.

    Raises StudyError where a column is missing, a reward is not 0 or 1, or groups are of unequal size.
    """
    import pandas as pd

    frame = pd.read_csv(path, dtype={"extracted_answer": str}, keep_default_na=False)
    wanted = {"step", "prompt_id", "reward", "advantage", "extracted_answer", "has_boxed"}
    if missing := sorted(wanted - set(frame.columns)):
        raise StudyError(f"{path}: lacks {', '.join(missing)}")
    if not frame["reward"].isin([0, 1]).all():
        raise StudyError(f"{path}: rewards must be 0 or 1")
    frame = frame.sort_values(["step", "prompt_id"], kind="stable", ignore_index=True)
    sizes = frame.groupby(["step", "prompt_id"]).size()
    group_size = int(sizes.iloc[0])
    prompts = int(frame["prompt_id"].max()) + 1
    if not (sizes == group_size).all():
        raise StudyError(f"{path}: groups are of unequal size")
    steps: list[tuple[int, Rollouts]] = []
    for step, rows in frame.groupby("step"):
        place = np.arange(len(rows), dtype=np.int64)
        number = int(str(step))
        rollouts = Rollouts(
            right=rows["reward"].to_numpy() == 1,
            # A prompt is new at every step: its id there is only its place.
            prompt=rows["prompt_id"].to_numpy(dtype=np.int64) + prompts * number,
            index=place,
            group=place // group_size,
            answer=np.array([zlib.crc32(answer.encode()) for answer in rows["extracted_answer"]]),
            selected=rows["has_boxed"].to_numpy() == 1,
        )
        steps.append((number, rollouts))
    wrong = frame[frame["reward"] == 0]
    return RealGroups(
        steps=tuple(steps),
        advantages_NG=frame["advantage"].to_numpy(dtype=np.float64).reshape(-1, group_size),
        group_size=group_size,
        selected_share=float((wrong["has_boxed"] == 1).mean()),
    )


@dataclass(frozen=True)
class Injected:
    """What the groups became, replicate by replicate; arrays of shape (seeds, groups).

    zero_advantage: 1 where every advantage is 0. reward_variance: with ddof 1. gradient: along the
    ability, (1/G) sum_i A_i (1{right_i} - R/G).
    """

    zero_advantage: FloatArray
    reward_variance: FloatArray
    gradient: FloatArray


def inject(
    groups: RealGroups, structure: Structure, *, seeds: Sequence[int], estimator: Estimator = GRPO
) -> Injected:
    """Judge every group anew with this noise, once per seed."""
    paid_RNG = np.array(
        [
            np.concatenate([structure.judge(r, seed=seed, step=step) for step, r in groups.steps])
            for seed in seeds
        ],
        dtype=np.float64,
    ).reshape(len(seeds), -1, groups.group_size)
    right_NG = groups.right_NG.astype(np.float64)
    advantages_RNG = advantages(paid_RNG, estimator)
    centred_NG = right_NG - right_NG.mean(axis=1, keepdims=True)
    return Injected(
        zero_advantage=(advantages_RNG == 0.0).all(axis=2).astype(np.float64),
        reward_variance=paid_RNG.var(axis=2, ddof=1),
        gradient=(advantages_RNG * centred_NG).mean(axis=2),
    )
