"""Each distinct prompt run once, its cache shared by its group: the same numbers to rounding, sooner.

Law. A completion's tokens attend to its prompt's keys and values, which depend on the prompt alone. Where
prompts are longer than completions, most of a step's arithmetic is the same prompt run once per rollout.
Fails first for a model whose cache is not one of keys and values (a recurrent one), and under gradient
checkpointing, which keeps no cache.
Source: TRL 1.16's `GRPOTrainer`, whose two methods this overrides, and whose numbers its test compares.
"""

from __future__ import annotations

from typing import Any

import torch
from trl.trainer.utils import selective_log_softmax_and_entropy

from empirical.training.evaluation import distinct_prompts, generate_tokens, until_end
from empirical.training.gradient_noise import WholeGroups

__all__ = ["SharedPrompts"]


class SharedPrompts(WholeGroups):
    """A trainer that runs each prompt once per group, in sampling and in learning; text only."""

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        *_: Any,
        **__: Any,
    ) -> tuple[list[list[int]], None]:
        device = self.accelerator.device
        width = max(len(ids) for ids in prompt_ids)
        pad = self._tokenizer.pad_token_id
        ids_BP = torch.tensor([[pad] * (width - len(ids)) + list(ids) for ids in prompt_ids])
        mask_BP = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in prompt_ids])
        said = generate_tokens(
            self.accelerator.unwrap_model(self.model_wrapped),
            ids_BP.to(device),
            mask_BP.to(device),
            self.generation_config,
            share=True,
        )[:, width:].tolist()
        ends: Any = self.eos_token_ids
        return [list(until_end(row, ends)) for row in said], None

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,  # noqa: ARG002 - prompts are shared across all rows
        compute_entropy: bool = False,
        **_: Any,
    ) -> tuple[torch.Tensor, torch.Tensor | None, None]:
        width = input_ids.shape[1] - logits_to_keep
        ids_UP, mask_UP, of_B = distinct_prompts(input_ids[:, :width], attention_mask[:, :width])
        said_BC, mask_BC = input_ids[:, width:], attention_mask[:, width:]
        with self.accelerator.autocast():
            # The prompt's last position predicts the first token, each token the next.
            prompt = model(
                input_ids=ids_UP, attention_mask=mask_UP, use_cache=True, logits_to_keep=1
            )
            logits = prompt.logits[of_B]
            if logits_to_keep > 1:
                prompt.past_key_values.batch_select_indices(of_B)
                rest = model(
                    input_ids=said_BC[:, :-1],
                    attention_mask=attention_mask[:, :-1],
                    past_key_values=prompt.past_key_values,
                    use_cache=True,
                )
                logits = torch.cat((logits, rest.logits), dim=1)
        logps, entropies = selective_log_softmax_and_entropy(
            logits,
            said_BC,
            entropy_requires_grad=False,
            temperature=self.temperature,
            row_mask=mask_BC,
        )
        return logps, entropies if compute_entropy else None, None
