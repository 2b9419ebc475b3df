"""Prompts run once per group: TRL's own log-probabilities, gradients and draws, to rounding."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tests.empirical.training.test_gsm8k import save_checkpoint

pytestmark = [
    pytest.mark.train,
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.skipif(find_spec("trl") is None, reason="needs the train extra"),
]

GROUPS, ROLLOUTS, TOKENS = 3, 4, 6
PROMPTS = ["12+7=19\n15-9=6\n8+6=", "1+1=", "3-2=1\n"]


@pytest.fixture
def trainers(tmp_path: Path) -> tuple[Any, Any]:
    """TRL's trainer and the one that shares prompts, of one model each with the same weights."""
    from datasets import Dataset
    from trl.trainer.grpo_config import GRPOConfig

    from empirical.studies import PretrainedSpec
    from empirical.training.gradient_noise import WholeGroups
    from empirical.training.models import load_policy
    from empirical.training.shared_prompts import SharedPrompts

    save_checkpoint(tmp_path / "model")
    spec = PretrainedSpec(kind="pretrained", name="m", path=str(tmp_path / "model"), parameters=3e4)
    made: list[Any] = []
    for kind in (WholeGroups, SharedPrompts):
        policy = load_policy(spec, tiny=None, stop="\n")
        made.append(
            kind(
                model=policy.model,
                reward_funcs=lambda completions, **_: [0.0] * len(completions),
                args=GRPOConfig(
                    output_dir=str(tmp_path / "out"),
                    per_device_train_batch_size=GROUPS * ROLLOUTS,
                    num_generations=ROLLOUTS,
                    max_completion_length=TOKENS,
                    temperature=0.7,
                    top_k=0,
                    use_cpu=True,
                    report_to="none",
                    bf16=False,
                    gradient_checkpointing=False,
                    disable_dropout=True,
                ),
                train_dataset=Dataset.from_dict({"prompt": PROMPTS}),
                processing_class=policy.tokenizer,
            )
        )
    return made[0], made[1]


def batch(trainer: Any) -> tuple[Any, Any]:
    """Left-padded prompts of every group, right-padded completions of unequal lengths, and their mask."""
    import torch

    tokenizer = trainer.processing_class
    prompts = [tokenizer.encode(p) for p in PROMPTS for _ in range(ROLLOUTS)]
    width = max(map(len, prompts))
    generator = torch.Generator().manual_seed(3)
    said = torch.randint(2, 200, (len(prompts), TOKENS), generator=generator)
    kept = torch.arange(TOKENS) <= torch.arange(len(prompts))[:, None] % TOKENS
    pad = torch.tensor([[0] * (width - len(p)) + p for p in prompts])
    mask = torch.tensor([[0] * (width - len(p)) + [1] * len(p) for p in prompts])
    return torch.cat((pad, said * kept), 1), torch.cat((mask, kept.int()), 1)


@pytest.mark.parametrize("order", ["in groups", "shuffled"])
def test_log_probabilities_entropies_and_gradients_are_trls(
    trainers: tuple[Any, Any], order: str
) -> None:
    import torch

    ids, mask = batch(trainers[0])
    if order == "shuffled":
        places = torch.randperm(len(ids), generator=torch.Generator().manual_seed(1))
        ids, mask = ids[places], mask[places]
    weights = torch.randn(len(ids), 1, generator=torch.Generator().manual_seed(2))
    found: list[Any] = []
    for trainer in trainers:
        logps, entropies, _ = trainer._get_per_token_logps_and_entropies(
            trainer.model, ids, mask, TOKENS, compute_entropy=True
        )
        kept = mask[:, -TOKENS:]
        (logps * kept * weights).sum().backward()
        gradient = torch.cat([p.grad.reshape(-1) for p in trainer.model.parameters()])
        found.append((logps * kept, entropies * kept, gradient))
    (trl, shared) = found
    assert trl[0].abs().sum() > 1.0
    for theirs, ours in zip(trl, shared, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-5)


def test_the_draws_are_trls(trainers: tuple[Any, Any]) -> None:
    import torch

    tokenizer = trainers[0].processing_class
    prompts = [tokenizer.encode(p) for p in PROMPTS for _ in range(ROLLOUTS)]
    said: list[list[list[int]]] = []
    for trainer in trainers:
        torch.manual_seed(11)
        said.append(trainer._generate_single_turn(prompts, None, {}, ROLLOUTS)[0])
    assert said[0] == said[1]
    assert len({tuple(ids) for ids in said[0]}) > GROUPS


def test_this_librarys_sampling_draws_the_same(trainers: tuple[Any, Any]) -> None:
    import torch

    from empirical.training.evaluation import generate_ids

    trainer = trainers[0]
    said: list[Any] = []
    for share in (False, True):
        torch.manual_seed(5)
        said.append(
            generate_ids(
                trainer.model,
                trainer.processing_class,
                [p for p in PROMPTS for _ in range(ROLLOUTS)],
                max_new_tokens=TOKENS,
                temperature=1.0,
                share=share,
            )
        )
    assert said[0] == said[1]


def test_a_completion_ends_with_its_line(trainers: tuple[Any, Any]) -> None:
    trainer = trainers[1]
    newline = trainer.processing_class.encode("\n")
    assert trainer.eos_token_ids == newline
    assert trainer.processing_class.eos_token_id == newline[0]
