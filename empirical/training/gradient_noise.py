"""Signal and noise of a step's gradient, from the norms of its micro-batches: no further backward pass.

Law. A batch gradient G is the sum of K parts h_i, the micro-batches of all processes, each of the same number of
independent prompts. With m the mean gradient and V the trace of the batch gradient's variance,
    E|G|^2 = |m|^2 + V        E[K sum_i |h_i|^2] = |m|^2 + K V
so (K sum |h_i|^2 - |G|^2)/(K - 1) is unbiased for V, and |G|^2 less that for |m|^2. Signal-to-noise squared is
their ratio, and the noise scale in prompts is V/|m|^2 times the prompts of a step: average both over steps first.
Fails first where a group is spread over micro-batches, since its rollouts are not independent: `WholeGroups`
keeps them together, and where they do not fit the step says nothing.
Source: McCandlish et al., arXiv 1812.06162, appendix A; their small and big batch are ours, K = 2 or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from trl.trainer.grpo_trainer import GRPOTrainer

__all__ = ["GradientNoise", "PartNorms", "WholeGroups", "gradient_noise", "in_order"]


@dataclass(frozen=True)
class GradientNoise:
    """Unbiased for |mean|^2 and for the trace of the batch gradient's variance; one step's may be below 0."""

    signal: float
    noise: float


def gradient_noise(
    norm: float, part_squares: float, *, accumulation: int, processes: int
) -> GradientNoise | None:
    """What a step's norms say; None of a step in one part.

    norm: of the batch gradient, before clipping. part_squares: the sum over a process's micro-batches of
    their squared norms, as accumulated, meant over processes (which average their gradients).
    """
    parts = accumulation * processes
    if parts < 2:
        return None
    noise = (accumulation * part_squares - norm**2) / (parts - 1)
    return GradientNoise(signal=norm**2 - noise, noise=noise)


class PartNorms:
    """Adds up the squared norms of the gradients that backward passes add to `model`'s weights."""

    def __init__(self, model: torch.nn.Module) -> None:
        self._total: torch.Tensor | None = None
        # A hook on a leaf is given what is about to be added, once per backward pass.
        self._handles = [p.register_hook(self._add) for p in model.parameters() if p.requires_grad]

    def _add(self, gradient: torch.Tensor) -> None:
        square = gradient.detach().float().square().sum()
        self._total = square if self._total is None else self._total + square

    def take(self) -> torch.Tensor | None:
        """The sum since the last call, a scalar on the model's device; None where nothing was added."""
        total, self._total = self._total, None
        return total

    def close(self) -> None:
        """Leave the model as it was."""
        for handle in self._handles:
            handle.remove()


class WholeGroups(GRPOTrainer):
    """A trainer whose micro-batches hold whole groups, in the order they were sampled.

    TRL shuffles the rollouts of a batch before it cuts it up, which changes no gradient of the whole batch but
    for rounding (and, under loss "bnpo", the tokens that each micro-batch is divided by).
    """

    def _generate_and_score_completions(self, inputs: Any) -> dict[str, Any]:
        output = super()._generate_and_score_completions(inputs)
        ids = output["completion_ids"]
        output["place"] = torch.arange(len(ids), device=ids.device)
        return output

    def _prepare_inputs(self, generation_batch: Any) -> dict[str, Any]:
        before = self._buffered_inputs
        inputs = super()._prepare_inputs(generation_batch)
        if self._buffered_inputs is None or self._buffered_inputs is before:
            return inputs
        self._buffered_inputs = in_order(self._buffered_inputs)
        return self._buffered_inputs[self._step % len(self._buffered_inputs)]


def in_order(batches: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of `batches`, of equal size, sorted by their `place`; what is no row stays."""
    order = torch.cat([batch["place"] for batch in batches]).argsort()
    size = len(batches[0]["place"])
    sorted_: list[dict[str, Any]] = [dict(batch) for batch in batches]
    for key, first in batches[0].items():
        if isinstance(first, torch.Tensor) and first.ndim > 0:
            rows: Any = torch.cat([batch[key] for batch in batches])[order]
        elif isinstance(first, list):
            every = [row for batch in batches for row in batch[key]]
            rows = [every[i] for i in order.tolist()]
        else:
            continue
        for k, batch in enumerate(sorted_):
            batch[key] = rows[k * size : (k + 1) * size]
    return sorted_
