"""Clean evaluation: sample, judge by the reference verifier, leave the training stream alone.

Law. Accuracy at a step is the share of right answers in `samples` completions, one after another over
the held-out problems. The sampling randomness is keyed by (seed, step), so arms that share a seed are
evaluated with common random numbers, and torch's own generator is put back as it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from transformers import GenerationConfig

from empirical.training.tasks import Problem
from empirical.verifiers import Judgement, Verdict, Verifier
from theory.rng import Purpose, philox_words

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sample", "completions_table", "evaluate", "generate", "generate_ids", "torch_seed"]


@dataclass(frozen=True)
class Sample:
    """One judged completion; tokens counts what was generated, the end included."""

    problem: Problem
    completion: str
    judgement: Judgement
    tokens: int

    @property
    def right(self) -> bool:
        """Whether the verifier said right."""
        return self.judgement.verdict is Verdict.RIGHT


def completions_table(samples: Sequence[Sample]) -> pd.DataFrame:
    """What a completions file holds, a row per sample."""
    import pandas as pd

    return pd.DataFrame(
        {
            "problem_id": [s.problem.id for s in samples],
            "prompt": [s.problem.prompt for s in samples],
            "gold": [s.problem.gold for s in samples],
            "completion": [s.completion for s in samples],
            "verdict": [s.judgement.verdict.value for s in samples],
        }
    )


def torch_seed(seed: int, purpose: Purpose, *, step: int, part: int) -> int:
    """A seed for torch, in [0, 2**63), keyed like every other draw; part: process or batch."""
    high, low, _, _ = philox_words((seed, int(purpose)), (step, part, 0, 0))
    return (int(high) << 31) ^ int(low)


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    *,
    max_new_tokens: int,
    temperature: float,
) -> list[tuple[str, int]]:
    """Completions of `prompts` and their lengths in tokens; temperature 0 is greedy.

    model, tokenizer: as transformers has them. prompts: texts, or lists of chat messages.
    """
    return [
        (tokenizer.decode(completion, skip_special_tokens=True), len(completion))
        for _, completion in generate_ids(
            model, tokenizer, prompts, max_new_tokens=max_new_tokens, temperature=temperature
        )
    ]


def generate_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    *,
    max_new_tokens: int,
    temperature: float,
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Token ids of each prompt and of its completion, the end of sequence included; padding is neither's."""
    if prompts and not isinstance(prompts[0], str):
        encoded = tokenizer.apply_chat_template(
            list(prompts),
            add_generation_prompt=True,
            padding=True,
            return_tensors="pt",
            return_dict=True,
        )
    else:
        encoded = tokenizer(list(prompts), return_tensors="pt", padding=True, padding_side="left")
    inputs = {key: encoded[key].to(model.device) for key in ("input_ids", "attention_mask")}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0.0,
        temperature=temperature if temperature > 0.0 else None,
        top_k=0 if temperature > 0.0 else None,
        top_p=1.0 if temperature > 0.0 else None,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    with torch.no_grad():
        output = model.generate(**inputs, generation_config=config)
    width = inputs["input_ids"].shape[1]
    sequences: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for row, mask in zip(output.tolist(), inputs["attention_mask"].tolist(), strict=True):
        prompt = (token for token, kept in zip(row[:width], mask, strict=True) if kept)
        said = row[width:]
        if tokenizer.eos_token_id in said:
            said = said[: said.index(tokenizer.eos_token_id) + 1]
        sequences.append((tuple(prompt), tuple(said)))
    return sequences


def evaluate(
    model: Any,
    tokenizer: Any,
    problems: Sequence[Problem],
    prompts: Sequence[Any],
    *,
    verifier: Verifier,
    samples: int,
    seed: int,
    step: int,
    max_new_tokens: int,
    batch_size: int,
    temperature: float,
    part: int = 0,
    parts: int = 1,
) -> list[Sample]:
    """Judged completions of `samples` problems, taken in order and again from the first when short.

    prompts: what the model is given for each of `problems`. part, parts: this process's share of the
    batches. The model's mode and torch's generators are left as they were.
    """
    was_training = model.training
    model.eval()
    judged: list[Sample] = []
    devices = [model.device] if model.device.type == "cuda" else []
    try:
        with torch.random.fork_rng(devices=devices):
            for batch in range(part, -(-samples // batch_size), parts):
                torch.manual_seed(torch_seed(seed, Purpose.EVALUATION, step=step, part=batch))
                wanted = range(batch * batch_size, min((batch + 1) * batch_size, samples))
                chosen = [i % len(problems) for i in wanted]
                completions = generate(
                    model,
                    tokenizer,
                    [prompts[i] for i in chosen],
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                )
                judged += [
                    Sample(problems[i], text, verifier(text, problems[i].gold), tokens)
                    for i, (text, tokens) in zip(chosen, completions, strict=True)
                ]
    finally:
        model.train(was_training)
    return judged
