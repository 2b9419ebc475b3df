"""What our reward function costs a training step.

One trainer, whose steps alternate between the noisy verifier and the bare base verifier; ten pairs of ten
steps each, a paired t interval on the difference of their medians.
"""

from __future__ import annotations

import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empirical.training.folder import RunFolder
from empirical.training.rewards import NoisyVerifier
from empirical.verifiers import Verdict, strict
from tests.benchmarks.conftest import Record
from tests.builders import tiny_study as study
from theory import VerifierChannel
from theory.structures import Independent

PAIRS, STEPS = 10, 10


class Alternating:
    """The noisy verifier at even steps, the base verifier alone at odd ones."""

    __name__ = "alternating"

    def __init__(self, noisy: NoisyVerifier) -> None:
        self.noisy = noisy

    def __call__(self, **given: Any) -> list[float | None]:
        if given["trainer_state"].global_step % 2 == 0:
            return self.noisy(**given)
        judged = zip(given["completions"], given["gold"], strict=True)
        return [float(strict(c, g).verdict is Verdict.RIGHT) for c, g in judged]


@pytest.mark.train
@pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra")
@pytest.mark.filterwarnings("ignore")
def test_step_time_with_and_without_the_wrapper(record: Record, tmp_path: Path) -> None:
    import torch
    from datasets import Dataset
    from scipy.stats import t as student
    from transformers import TrainerCallback
    from trl.trainer.grpo_trainer import GRPOTrainer

    from empirical.training.models import load_policy, prepare_tiny
    from empirical.training.run import trainer_config
    from empirical.training.tasks import load_task

    torch.set_num_threads(1)
    steps = 2 * PAIRS * STEPS + 2
    chosen = study(
        group_sizes=[8],
        training={"steps": steps, "prompts_per_step": 8, "learning_rate": 1e-6},
        task={"kind": "two_step_arithmetic", "train_problems": 4096, "eval_problems": 8},
        models=[{"kind": "tiny_qwen2", "name": "t", "warm_start": {"steps": 200}}],
        evaluation={"steps": [steps], "samples": 8},
        running={"checkpoint_every": 10 * steps},
    )
    spec = chosen.runs()[0]
    task = load_task(spec.task, verifier=spec.verifier, reference=spec.verifier)
    prepare_tiny(tmp_path / "model", spec.model, task)
    policy = load_policy(spec.model, tiny=tmp_path / "model")
    noisy = NoisyVerifier(Independent(VerifierChannel(0.2, 0.2)), strict, 0, 8)
    seconds: list[float] = []

    class Clock(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.began = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            seconds.append(time.perf_counter() - self.began)

    trainer = GRPOTrainer(
        model=policy.model,
        reward_funcs=Alternating(noisy),
        args=trainer_config(spec, RunFolder(tmp_path), chosen.running),
        train_dataset=Dataset.from_dict(
            {
                "prompt": [p.prompt for p in task.train],
                "prompt_id": [p.id for p in task.train],
                "gold": [p.gold for p in task.train],
            }
        ),
        processing_class=policy.tokenizer,
        callbacks=[Clock()],
    )
    record.once(trainer.train)
    pairs = np.array(seconds[2:]).reshape(PAIRS, STEPS, 2)
    with_, without = np.median(pairs[:, :, 0], axis=1), np.median(pairs[:, :, 1], axis=1)
    difference = (with_ - without) / without
    half = student.ppf(0.975, PAIRS - 1) * difference.std(ddof=1) / np.sqrt(PAIRS)
    low, high = float(difference.mean() - half), float(difference.mean() + half)
    record.row(
        "The reward call in a training step",
        {
            "noisy verifier, ms a step": 1e3 * float(np.median(with_)),
            "base verifier alone, ms a step": 1e3 * float(np.median(without)),
            "overhead, %": 1e2 * float(difference.mean()),
            "95 % interval": f"[{1e2 * low:.1f}, {1e2 * high:.1f}]",
        },
        note=f"The tiny model, 8 prompts of 8 rollouts; {PAIRS} interleaved pairs of {STEPS} steps each.",
    )
    record.need("noisy verifier, overhead of a step: lower 95 % limit, %", 1e2 * low, at_most=2.0)
