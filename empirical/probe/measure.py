"""Sums over the prompts of one block: every rollout judged by every verifier, its score weighted by what it is paid."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from empirical.noise import BySegment, Shown, TriggeredNoise, selected, structure
from empirical.probe.spec import ProbeSpec
from empirical.studies import PretrainedSpec
from empirical.training.rewards import answer_id
from empirical.verifiers import Judgement, Verdict, Verifier
from fits.files import replacing, write_text
from theory.channel import BoolArray, FloatArray
from theory.estimators import Estimator, advantages, estimator_named
from theory.structures import IntArray, Rollouts, Structure

if TYPE_CHECKING:
    import torch

    from empirical.training.scores import Subset
    from empirical.training.tasks import Problem


__all__ = ["BlockSums", "Prober", "group_weights"]


@dataclass(frozen=True)
class _Read:
    """What verifiers read of a prompt's rollouts; arrays of shape (R,)."""

    right: BoolArray
    base: BoolArray
    unscorable: BoolArray
    answer: IntArray
    selected: dict[str, BoolArray]  # by the arm whose noise looks at it
    segment: dict[str, BoolArray]  # by the arm whose correction looks at it


class BlockSums:
    """Sums over the prompts of one block.

    sums: rows of one number per chosen weight: the accuracy's gradient, then for each verifier that of
    P(wrong and paid), then for each verifier and group size the prompt's mean group gradient, then its mean
    squared one.
    """

    def __init__(self, spec: ProbeSpec, weights: int) -> None:
        self.spec = spec
        v, g = len(spec.judges), len(spec.group_sizes)
        self.sums = np.zeros((1 + v + 2 * v * g, weights), dtype=np.float32)
        self.square, self.pair = np.zeros((v, g)), np.zeros((v, g))
        self.paid, self.paid_wrong, self.norms = np.zeros(v), np.zeros(v), np.zeros(2)
        self.right: list[int] = []
        self.tokens = 0

    def add(
        self,
        score_UP: torch.Tensor,
        which_R: IntArray,
        *,
        lengths_U: FloatArray,
        right_R: BoolArray,
        dropped_R: BoolArray | None,
        paid_VGDR: BoolArray,
        worth_VGDR: FloatArray,
    ) -> None:
        """Add one prompt: R rollouts that said U things, judged by V verifiers in groups of G sizes, D times.

        which_R: what each rollout said. lengths_U: in tokens. dropped_R: left out of their groups. worth_VGDR: what
        the trainer makes of each verdict.
        """
        from empirical.training.scores import combined, gram, squared

        products = gram(score_UP)
        # TRL's "grpo" loss divides each rollout by its length; the others by one number for all.
        by_length = self.spec.training.loss == "grpo"
        share_U = 1.0 / lengths_U if by_length else np.ones_like(lengths_U)
        norm_R = products.diagonal()[which_R]
        self.norms += [norm_R[~right_R].sum(), norm_R[right_R].sum()]
        self.right.append(int(right_R.sum()))
        self.tokens += int(lengths_U[which_R].sum())

        n = len(which_R)
        to_U = np.zeros((n, len(lengths_U)))
        to_U[np.arange(n), which_R] = 1.0
        rows = [_centred(right_R.astype(np.float64)) @ to_U / n]
        means: list[FloatArray] = []
        forms: list[FloatArray] = []
        for v, (_, arm) in enumerate(self.spec.judges):
            paid_R = paid_VGDR[v, -1].mean(axis=0)
            wrong_R = paid_R * ~right_R
            self.paid[v] += paid_R.sum()
            self.paid_wrong[v] += wrong_R.sum()
            rows.append(_centred(wrong_R) @ to_U / n)
            for g, size in enumerate(self.spec.group_sizes):
                weight_DNU = group_weights(
                    worth_VGDR[v, g],
                    size,
                    estimator_named(arm.estimator),
                    dropped_R,
                    which_R,
                    share_U,
                )
                flat = weight_DNU.reshape(-1, len(lengths_U))
                form = flat.T @ flat / len(flat)
                means.append(flat.mean(axis=0))
                forms.append(form)
                self.square[v, g] += (form * products).sum()
                self.pair[v, g] += _mean_pair(weight_DNU.mean(axis=0), products)
        one, two = len(rows), len(rows) + len(means)
        self.sums[:one] += combined(score_UP, np.stack(rows))
        self.sums[one:two] += combined(score_UP, np.stack(means))
        self.sums[two:] += squared(score_UP, np.stack(forms))

    def facts(self) -> dict[str, Any]:
        """What is not one number per weight."""
        return {
            "right": self.right,
            "paid": self.paid.tolist(),
            "paid_wrong": self.paid_wrong.tolist(),
            "norms": self.norms.tolist(),
            "square": self.square.tolist(),
            "pair": self.pair.tolist(),
            "tokens": self.tokens,
        }


@dataclass
class Prober:
    """One process's model and task, ready to measure blocks."""

    spec: ProbeSpec
    weights: Path | None
    problems: list[Problem] = field(init=False)
    prompts: list[Any] = field(init=False)
    verifier: Verifier = field(init=False)
    reference: Verifier = field(init=False)
    model: Any = field(init=False)
    tokenizer: Any = field(init=False)
    chosen: Subset = field(init=False)
    weights_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        import torch

        from empirical.training.models import load_policy, with_adapters
        from empirical.training.scores import subset
        from empirical.training.tasks import load_task, prompts_of

        spec = self.spec
        task = load_task(spec.task, verifier=spec.verifier, reference=spec.reference_verifier)
        order = np.random.Generator(np.random.Philox(spec.seed)).permutation(len(task.train))
        # More prompts than problems: problems are visited again.
        self.problems = [task.train[int(order[i % len(order)])] for i in range(spec.prompts)]
        self.prompts = prompts_of(spec.model, self.problems)
        self.verifier, self.reference = task.verifier, task.reference
        policy = load_policy(spec.model, tiny=self.weights, stop=task.stop)
        self.weights_sha256 = policy.weights_sha256
        self.tokenizer = policy.tokenizer
        model: Any = policy.model
        if isinstance(spec.model, PretrainedSpec) and spec.model.lora is not None:
            model = with_adapters(model, spec.model.lora, seed=spec.seed)
        self.model = model.to("cuda" if torch.cuda.is_available() else "cpu")
        self.chosen = subset(self.model, spec.weights, seed=spec.seed)

    def measure(self, block: int, folder: Path) -> None:
        """Write the sums of a block to `folder`."""
        from empirical.training.scores import sample_ids, scores

        spec = self.spec
        each, per_prompt = spec.prompts // spec.blocks, spec.rollouts_per_prompt
        places = range(block * each, (block + 1) * each)
        sampled = sample_ids(
            self.model,
            self.tokenizer,
            [self.prompts[p] for p in places for _ in range(per_prompt)],
            max_new_tokens=spec.training.max_completion_length,
            temperature=spec.training.temperature,
            batch_size=spec.batch_size,
            seed=spec.seed,
            part=block,
            share=spec.training.share_prompts,
        )
        noises = [structure(arm) for _, arm in spec.judges]
        sums = BlockSums(spec, self.chosen.size)
        for i, place in enumerate(places):
            rollouts = sampled[i * per_prompt : (i + 1) * per_prompt]
            said = list(dict.fromkeys(ids for _, ids in rollouts))
            which = np.array([said.index(ids) for _, ids in rollouts])
            texts = [self.tokenizer.decode(ids, skip_special_tokens=True) for ids in said]
            read = self._read(texts, which, self.problems[place])
            paid = np.stack(
                [
                    self._paid(read, name, noise, place)
                    for (name, _), noise in zip(spec.judges, noises, strict=True)
                ]
            )
            sums.add(
                scores(
                    self.model,
                    self.chosen,
                    rollouts[0][0],
                    said,
                    temperature=spec.training.temperature,
                ),
                which,
                lengths_U=np.array([len(ids) for ids in said], dtype=np.float64),
                right_R=read.right,
                dropped_R=read.unscorable if spec.training.unscorable == "drop" else None,
                paid_VGDR=paid,
                worth_VGDR=self._worth(read, paid),
            )
        with replacing(folder / f"block-{block:03d}.npy") as part:
            np.save(part, sums.sums)
        facts = {
            "weights_sha256": self.weights_sha256,
            "weights": self.chosen.size,
            "weights_total": self.chosen.total,
            **sums.facts(),
        }
        # Last, so that a block with facts is whole.
        write_text(folder / f"block-{block:03d}.json", json.dumps(facts) + "\n")

    def _read(self, texts: Sequence[str], which: IntArray, problem: Problem) -> _Read:
        gold = problem.gold
        base = [self.verifier(text, gold) for text in texts]
        right = base
        if self.reference is not self.verifier:
            right = [self.reference(text, gold) for text in texts]
        shown = [
            Shown(text, judged.answer, gold, problem.prompt)
            for text, judged in zip(texts, base, strict=True)
        ]
        featured: dict[str, BoolArray] = {}
        segment: dict[str, BoolArray] = {}
        for name, arm in self.spec.judges:
            if isinstance(arm.noise, TriggeredNoise) and arm.noise.selector is not None:
                featured[name] = selected(arm.noise.selector, shown)[which]
            if isinstance(arm.correction, BySegment):
                segment[name] = selected(arm.correction.selector, shown)[which]

        def where(judgements: Sequence[Judgement], verdict: Verdict) -> BoolArray:
            return np.array([j.verdict is verdict for j in judgements], dtype=np.bool_)[which]

        answers = np.array([answer_id(j) for j in base], dtype=np.int64)
        return _Read(
            right=where(right, Verdict.RIGHT),
            base=where(base, Verdict.RIGHT),
            unscorable=where(base, Verdict.UNSCORABLE),
            answer=answers[which],
            selected=featured,
            segment=segment,
        )

    def _worth(self, read: _Read, paid_VGDR: BoolArray) -> FloatArray:
        """What each arm's trainer makes of its verdicts, of the same shape."""
        worth = paid_VGDR.astype(np.float64)
        rollout = np.arange(paid_VGDR.shape[-1], dtype=np.int64)
        for v, (name, arm) in enumerate(self.spec.judges):
            if arm.correction is None:
                continue
            for g, size in enumerate(self.spec.group_sizes):
                for d, paid in enumerate(paid_VGDR[v, g]):
                    worth[v, g, d] = arm.correction.worth(
                        paid, group=rollout // size, segment=read.segment.get(name)
                    )
        return worth

    def _paid(self, read: _Read, name: str, noise: Structure, place: int) -> BoolArray:
        """Verdicts by group size and draw, shape (sizes, draws, R).

        Draws differ in the noise's seed, since persistent noise knows no step; uniforms are the same for
        every verifier and group size.
        """
        n = self.spec.rollouts_per_prompt
        index = place * n + np.arange(n, dtype=np.int64)
        prompt = np.full(n, self.problems[place].id, dtype=np.int64)
        return np.stack(
            [
                np.stack(
                    [
                        noise.judge(
                            Rollouts(
                                right=read.base,
                                prompt=prompt,
                                index=index,
                                group=index // size,
                                answer=read.answer,
                                selected=read.selected.get(name),
                            ),
                            seed=(self.spec.seed + draw) % 2**32,
                            step=0,
                        )
                        for draw in range(self.spec.noise_draws)
                    ]
                )
                for size in self.spec.group_sizes
            ]
        )


def _centred(values_R: FloatArray) -> FloatArray:
    """Each value minus the mean of the others: what makes sum_i v_i score_i / R an unbiased gradient."""
    n = len(values_R)
    return values_R - (values_R.sum() - values_R) / (n - 1)


def group_weights(
    worth_DR: FloatArray | BoolArray,
    size: int,
    estimator: Estimator,
    dropped_R: BoolArray | None,
    which: IntArray,
    share_U: FloatArray,
) -> FloatArray:
    """Weight of each thing said in each group's gradient, shape (draws, groups, U).

    worth_DR: rewards. dropped_R: rollouts left out of their group, as TRL does with a reward of None.
    """
    worth = worth_DR.reshape(len(worth_DR), -1, size).astype(np.float64)
    if dropped_R is None or not dropped_R.any():
        advantage = advantages(worth, estimator)
    else:
        advantage = np.zeros_like(worth)
        for group, kept in enumerate(~dropped_R.reshape(-1, size)):
            if kept.sum() >= 2:
                advantage[:, group, kept] = advantages(worth[:, group, kept], estimator)
    weights = np.zeros((*advantage.shape[:2], len(share_U)))
    said = which.reshape(-1, size)
    group = np.arange(len(said))[:, np.newaxis]
    for draw in range(len(weights)):
        np.add.at(weights[draw], (group, said), advantage[draw])
    return weights * share_U / size


def _mean_pair(group_NU: FloatArray, products_UU: FloatArray) -> float:
    """Mean inner product of the gradients of two different groups of a prompt."""
    total = group_NU.sum(axis=0)
    own = ((group_NU @ products_UU) * group_NU).sum()
    n = len(group_NU)
    return float((total @ products_UU @ total - own) / (n * (n - 1)))
