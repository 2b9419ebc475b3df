"""Scores: the gradient of each rollout's log-probability, on a fixed random subset of a model's weights.

Law. A policy gradient of a group is sum_i A_i w_i score_i / G, whatever the verdicts, so scores taken once
serve every verifier, estimator and group size: judging anew costs a matrix product, not a backward pass.
A uniform subset of the weights leaves every sum over weights unbiased after scaling, and every ratio of such
sums consistent. Completions that a prompt's rollouts share are read once.
A layer's gradient at a weight is a sum of products of what went in and what came back, so that a prompt's completions
take one pass together and no weight's gradient is ever made. Where a chosen weight is of a layer that is not known
here (all but nn.Linear, the input embedding and Llama's RMSNorm), each completion takes a pass of its own.
Fails first where a completion's log-probability depends on the rest of the batch (batch norm, routing with a
capacity).
Memory: beside the weights the activations of some 1,024 tokens, or of one sequence; where each takes a pass of its own
the gradient of one tensor at a time too, dropped as soon as the chosen weights are read from it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from empirical.training.evaluation import generate_ids, torch_seed
from theory.rng import Purpose

__all__ = ["Subset", "combined", "gram", "sample_ids", "scores", "squared", "subset"]

_TOKENS: Final = 1024  # at a time, so that activations and logits of long completions fit
_PIECE: Final = 65_536  # weights at a time


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
    kept = [(p, p.requires_grad, p.grad) for p in model.parameters()]
    was_training = model.training
    try:
        model.eval()
        for parameter in model.parameters():
            parameter.grad = None
            parameter.requires_grad_(False)
        taps = _taps(model, chosen)
        if taps is None or not _together(model, taps, prompt, completions, temperature, matrix):
            _one_by_one(model, chosen, prompt, completions, temperature, matrix.zero_())
    finally:
        for parameter, wanted, gradient in kept:
            parameter.requires_grad_(wanted)
            parameter.grad = gradient
        model.train(was_training)
    return matrix


# (input, gradient of the output, places) to the gradient at these places of each sequence:
# (B, T, in), (B, T, out), (K,) to (B, K).
_Law = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
_Taps = dict[torch.nn.Module, list[tuple[_Law, int, torch.Tensor]]]


def _taps(model: Any, chosen: Subset) -> _Taps | None:
    """By layer: the law of each of its weights, the first of its columns, its places; None where one is not known."""
    named = dict(model.named_parameters())
    # A tied weight has one name and several layers, whose gradients add up.
    owners: dict[int, list[tuple[torch.nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            owners.setdefault(id(parameter), []).append((module, name))
    embedding = model.get_input_embeddings()
    if type(embedding) is not torch.nn.Embedding:
        return None
    taps: _Taps = {embedding: []}
    start = 0
    for name, where in chosen.places:
        places = torch.from_numpy(where).to(model.device)
        for module, own in owners[id(named[name])]:
            law = _law(module, own, embedding)
            if law is None:
                return None
            taps.setdefault(module, []).append((law, start, places))
        start += len(where)
    return taps


def _law(module: torch.nn.Module, name: str, embedding: torch.nn.Module) -> _Law | None:
    if type(module) is torch.nn.Linear:
        if name == "bias":
            return lambda _, back, places: back[..., places].float().sum(dim=1)
        wide = module.in_features
        return lambda into, back, places: (
            back[..., places // wide].float() * into[..., places % wide].float()
        ).sum(dim=1)
    if module is embedding:
        wide = int(embedding.embedding_dim)  # pyright: ignore[reportArgumentType]
        return lambda ids, back, places: (
            back[..., places % wide].float() * (ids[..., None] == places // wide)
        ).sum(dim=1)
    if type(module).__name__.endswith("RMSNorm") and hasattr(module, "variance_epsilon"):
        small = float(module.variance_epsilon)  # pyright: ignore[reportArgumentType]

        def norm(into: torch.Tensor, back: torch.Tensor, places: torch.Tensor) -> torch.Tensor:
            wide = into.float()
            unit = wide * torch.rsqrt(wide.square().mean(dim=-1, keepdim=True) + small)
            return (back[..., places].float() * unit[..., places]).sum(dim=1)

        return norm
    return None


def _together(
    model: Any,
    taps: _Taps,
    prompt: Sequence[int],
    completions: Sequence[Sequence[int]],
    temperature: float,
    matrix: torch.Tensor,
) -> bool:
    """Add every completion's score to `matrix`; False where a layer was given other than sequences, as experts are."""
    rows = range(0)
    sequences = True

    def tap(module: torch.nn.Module, given: tuple[Any, ...], output: torch.Tensor) -> Any:
        nonlocal sequences
        into = given[0]
        if into.shape[:2] != output.shape[:2] or len(into) != len(rows):
            sequences = False
            return output
        if type(module) is torch.nn.Embedding:
            output = output.detach().requires_grad_()  # where the graph begins
        output.register_hook(lambda back: read(module, into.detach(), back))
        return output

    def read(module: torch.nn.Module, into: torch.Tensor, back: torch.Tensor) -> None:
        for law, start, places in taps[module]:
            for first in range(0, len(places), _PIECE):
                piece = places[first : first + _PIECE]
                columns = slice(start + first, start + first + len(piece))
                matrix[rows.start : rows.stop, columns] += law(into, back, piece)

    handles = [module.register_forward_hook(tap) for module in taps]
    try:
        longest = len(prompt) + max(map(len, completions))
        each = max(1, _TOKENS // longest)
        for first in range(0, len(completions), each):
            some = completions[first : first + each]
            rows = range(first, first + len(some))
            total = _log_probability(model, prompt, some, temperature)
            if not sequences:
                return False
            total.backward()
    finally:
        for handle in handles:
            handle.remove()
    return True


def _one_by_one(
    model: Any,
    chosen: Subset,
    prompt: Sequence[int],
    completions: Sequence[Sequence[int]],
    temperature: float,
    matrix: torch.Tensor,
) -> None:
    """Set `matrix` to the scores, each by a backward pass to the weights."""
    row = torch.zeros(chosen.size, dtype=torch.float32, device=model.device)
    places = {name: torch.from_numpy(where).to(model.device) for name, where in chosen.places}
    handles: list[Any] = []
    try:
        start = 0
        for name, parameter in model.named_parameters():
            if name in places:
                parameter.requires_grad_(True)
                end = start + len(places[name])
                read = partial(_read, row[start:end], places[name])
                handles.append(parameter.register_post_accumulate_grad_hook(read))
                start = end
        for i, completion in enumerate(completions):
            row.zero_()
            _log_probability(model, prompt, [completion], temperature).backward()
            matrix[i] = row
    finally:
        for handle in handles:
            handle.remove()


def _read(into: torch.Tensor, places: torch.Tensor, parameter: torch.Tensor) -> None:
    assert parameter.grad is not None
    into.copy_(parameter.grad.reshape(-1)[places])
    parameter.grad = None


def _log_probability(
    model: Any, prompt: Sequence[int], completions: Sequence[Sequence[int]], temperature: float
) -> torch.Tensor:
    """The sum over completions. A causal model's tokens do not see the padding, which stands behind them."""
    most = max(map(len, completions))
    said = torch.zeros((len(completions), most), dtype=torch.int64)
    kept = torch.zeros((len(completions), most), dtype=torch.bool)
    for i, completion in enumerate(completions):
        said[i, : len(completion)] = torch.tensor(list(completion))
        kept[i, : len(completion)] = True
    said, kept = said.to(model.device), kept.to(model.device)
    before = torch.tensor([list(prompt)] * len(completions), device=model.device)
    forward = getattr(model, "get_base_model", lambda: model)().forward
    # Position t predicts token t + 1; logits in fp32, as TRL takes them.
    few = (
        {"logits_to_keep": most + 1}
        if "logits_to_keep" in inspect.signature(forward).parameters
        else {}
    )
    logits = model(input_ids=torch.cat([before, said], dim=1), use_cache=False, **few).logits
    logits = logits[:, -most - 1 : -1]
    log_probabilities = torch.log_softmax(logits.float() / temperature, dim=-1)
    return (log_probabilities.gather(-1, said[..., None])[..., 0] * kept).sum()


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
