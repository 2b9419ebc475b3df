"""Scores: the gradient of each rollout's log-probability, on a fixed random subset of a model's weights.

Law. A policy gradient of a group is sum_i A_i w_i score_i / G, whatever the verdicts, so scores taken once
serve every verifier, estimator and group size: judging anew costs a matrix product, not a backward pass.
A uniform subset of the weights leaves every sum over weights unbiased after scaling, and every ratio of such
sums consistent. Completions that a prompt's rollouts share are read once.
Fails first where a completion's log-probability depends on the rest of the batch (batch norm, routing with a
capacity): here each is read alone, behind its own prompt.
Memory: the gradient of one tensor at a time, beside the weights and one sequence's activations, since a
tensor's gradient is dropped as soon as the chosen weights are read from it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from empirical.training.evaluation import generate_ids, torch_seed
from theory.rng import Purpose

__all__ = ["Subset", "combined", "gram", "sample_ids", "scores", "squared", "subset"]


@dataclass(frozen=True)
class Subset:
    """Weights chosen at random, uniformly and without replacement, from all that are trained.

    places: for each parameter that has any, its name and the places in its flattened tensor.
    size, total: how many are chosen, and from how many.
    """

    places: tuple[tuple[str, NDArray[np.int64]], ...]
    size: int
    total: int


def subset(model: torch.nn.Module, wanted: int, *, seed: int) -> Subset:
    """`wanted` of the weights that `model` trains (all where it has fewer); the same for a seed."""
    trained = [(name, p.numel()) for name, p in model.named_parameters() if p.requires_grad]
    total = sum(size for _, size in trained)
    if wanted >= total:
        chosen = np.arange(total)
    else:
        rng = np.random.Generator(np.random.Philox(seed))
        chosen = np.sort(rng.choice(total, size=wanted, replace=False, shuffle=False))
    places: list[tuple[str, NDArray[np.int64]]] = []
    start = 0
    for name, size in trained:
        low, high = np.searchsorted(chosen, (start, start + size))
        if high > low:
            places.append((name, chosen[low:high] - start))
        start += size
    return Subset(tuple(places), len(chosen), total)


def sample_ids(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Any],
    *,
    max_new_tokens: int,
    temperature: float,
    batch_size: int,
    seed: int,
    part: int,
    share: bool = False,
) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """Token ids of each prompt and of one completion of it, the end of sequence included.

    prompts: texts, or lists of chat messages. part: the draws' place among those of this seed, in
    [0, 2**32). share: run equal prompts once. Torch's own generators are left as they were.
    """
    sampled: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    devices = [model.device] if model.device.type == "cuda" else []
    was_training = model.training
    model.eval()
    try:
        with torch.random.fork_rng(devices=devices):
            for batch, first in enumerate(range(0, len(prompts), batch_size)):
                torch.manual_seed(torch_seed(seed, Purpose.PROBE, step=part, part=batch))
                sampled += generate_ids(
                    model,
                    tokenizer,
                    prompts[first : first + batch_size],
                    max_new_tokens=max_new_tokens,
                    temperature=temperature,
                    share=share,
                )
    finally:
        model.train(was_training)
    return sampled


def scores(
    model: Any,
    chosen: Subset,
    prompt: Sequence[int],
    completions: Sequence[Sequence[int]],
    *,
    temperature: float,
) -> torch.Tensor:
    """Gradient of each completion's log-probability, shape (completions, chosen.size), in fp32.

    prompt, completions: token ids; a completion's probability is that of all its tokens, at `temperature`.
    The model's mode, gradients and what it trains are left as they were.
    """
    matrix = torch.zeros((len(completions), chosen.size), dtype=torch.float32, device=model.device)
    row = torch.zeros(chosen.size, dtype=torch.float32, device=model.device)
    places = {name: torch.from_numpy(where).to(model.device) for name, where in chosen.places}
    kept = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    was_training = model.training
    handles: list[Any] = []
    try:
        model.eval()
        start = 0
        for name, parameter in model.named_parameters():
            parameter.grad = None
            parameter.requires_grad_(name in places)
            if name in places:
                end = start + len(places[name])
                read = partial(_read, row[start:end], places[name])
                handles.append(parameter.register_post_accumulate_grad_hook(read))
                start = end
        for i, completion in enumerate(completions):
            row.zero_()
            _log_probability(model, prompt, completion, temperature).backward()
            matrix[i] = row
    finally:
        for handle in handles:
            handle.remove()
        for parameter, wanted, gradient in kept:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
        model.train(was_training)
    return matrix


def _read(into: torch.Tensor, places: torch.Tensor, parameter: torch.Tensor) -> None:
    assert parameter.grad is not None
    into.copy_(parameter.grad.reshape(-1)[places])
    parameter.grad = None


def _log_probability(
    model: Any, prompt: Sequence[int], completion: Sequence[int], temperature: float
) -> torch.Tensor:
    ids = torch.tensor([[*prompt, *completion]], device=model.device)
    # Position t predicts token t + 1; logits in fp32, as TRL takes them.
    logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    log_probabilities = torch.log_softmax(logits.float() / temperature, dim=-1)
    return log_probabilities.gather(-1, ids[0, len(prompt) :, None]).sum()


def combined(scores_UP: torch.Tensor, weights_NU: NDArray[np.float64]) -> NDArray[np.float32]:
    """weights @ scores, shape (N, P)."""
    return (_like(scores_UP, weights_NU) @ scores_UP).cpu().numpy()


def squared(scores_UP: torch.Tensor, forms_NUU: NDArray[np.float64]) -> NDArray[np.float32]:
    """score_j' M score_j of each weight j and each positive semidefinite M, shape (N, P).

    With M the mean of w w' over rows w of advantages, that is the mean squared gradient, however many rows.
    """
    rows = [((_like(scores_UP, form) @ scores_UP) * scores_UP).sum(dim=0) for form in forms_NUU]
    # A square that rounding took below 0.
    return torch.stack(rows).clamp_(min=0.0).cpu().numpy()


def gram(scores_UP: torch.Tensor) -> NDArray[np.float64]:
    """Inner products of scores over the chosen weights, shape (U, U)."""
    return (scores_UP @ scores_UP.T).cpu().numpy().astype(np.float64)


def _like(scores_UP: torch.Tensor, array: NDArray[np.float64]) -> torch.Tensor:
    return torch.from_numpy(array).to(dtype=scores_UP.dtype, device=scores_UP.device)
