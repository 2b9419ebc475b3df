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

__all__ = [
    "Sample",
    "completions_table",
    "distinct_prompts",
    "evaluate",
    "generate",
    "generate_ids",
    "generate_tokens",
    "torch_seed",
    "until_end",
]


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
    share: bool = False,
) -> list[tuple[str, int]]:
    """Completions of `prompts` and their lengths in tokens; temperature 0 is greedy.

    model, tokenizer: as transformers has them. prompts: texts, or lists of chat messages. share: see
    `generate_tokens`.
    """
    return [
        (tokenizer.decode(completion, skip_special_tokens=True), len(completion))
        for _, completion in generate_ids(
            model,
            tokenizer,
            prompts,
            max_new_tokens=max_new_tokens,
            temperature=temperature,
            share=share,
        )
    ]


def generate_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    *,
    max_new_tokens: int,
    temperature: float,
    share: bool = False,
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
    output = generate_tokens(
        model, inputs["input_ids"], inputs["attention_mask"], config, share=share
    )
    width = inputs["input_ids"].shape[1]
    sequences: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    for row, mask in zip(output.tolist(), inputs["attention_mask"].tolist(), strict=True):
        prompt = (token for token, kept in zip(row[:width], mask, strict=True) if kept)
        sequences.append((tuple(prompt), until_end(row[width:], [tokenizer.eos_token_id])))
    return sequences


def until_end(ids: Sequence[int], ends: Sequence[int]) -> tuple[int, ...]:
    """A completion's tokens up to its first end, that one included."""
    end = next((i for i, token in enumerate(ids) if token in ends), len(ids))
    return tuple(ids[: end + 1])


def generate_tokens(
    model: Any,
    ids_BP: torch.Tensor,
    mask_BP: torch.Tensor,
    config: GenerationConfig,
    *,
    share: bool,
) -> torch.Tensor:
    """Prompts and their completions as `model.generate` returns them, shape (B, P + new tokens).

    ids, mask: left-padded prompts. share: run prompts that are equal once; the draws are the same unless
    rounding moves one across a boundary.
    """
    cache: dict[str, Any] = {}
    with torch.no_grad():
        if share and ids_BP.shape[1] > 1:
            ids_UP, mask_UP, of_B = distinct_prompts(ids_BP, mask_BP)
            # All but the last token, which `generate` runs for the first logits.
            mask_UP = mask_UP[:, :-1]
            filled = model(
                input_ids=ids_UP[:, :-1],
                attention_mask=mask_UP,
                # As `generate` counts them: padding has no place.
                position_ids=(mask_UP.cumsum(dim=1) - 1).clamp(min=0),
                use_cache=True,
                logits_to_keep=1,
            ).past_key_values
            filled.batch_select_indices(of_B)
            cache["past_key_values"] = filled
        return model.generate(
            input_ids=ids_BP, attention_mask=mask_BP, generation_config=config, **cache
        )


def distinct_prompts(
    ids_BP: torch.Tensor, mask_BP: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Distinct prompts, their masks, and which of them each row is, shape (B,)."""
    both, of_B = torch.unique(torch.cat((ids_BP, mask_BP), dim=1), dim=0, return_inverse=True)
    width = ids_BP.shape[1]
    return both[:, :width], both[:, width:], of_B


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
    share: bool = False,
    part: int = 0,
    parts: int = 1,
) -> list[Sample]:
    """Judged completions of `samples` problems, taken in order and again from the first when short.

    prompts: what the model is given for each of `problems`. share: run equal prompts once. part, parts: this
    process's share of the batches. The model's mode and torch's generators are left as they were.
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
                    share=share,
                )
                judged += [
                    Sample(problems[i], text, verifier(text, problems[i].gold), tokens)
                    for i, (text, tokens) in zip(chosen, completions, strict=True)
                ]
    finally:
        model.train(was_training)
    return judged
