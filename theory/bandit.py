"""The stochastic population: prompts x arms, softmax policies, group-relative policy gradients.

Law. Prompt p takes arm k with probability softmax(z_p)_k, z_p = own_p + sqrt(coupling) shared; an arm is
right with probability correct_k and is paid at the rate the verifier's structure gives it. A step draws
G rollouts of each visited prompt, forms the estimator's advantages, and moves
    own_p  along sqrt(1 - coupling) g_p      and      shared  along sqrt(coupling) mean_p g_p,
g_p = (1/G) sum_i A_i grad log pi(arm_i): a gradient on prompt p moves the logits of p by 1 - coupling
and those of every prompt by coupling (as a share of the batch). Own parameters take the whole step of
their prompt, so coupling 0 is many independent runs of one prompt.
Fails first where prompts help each other unequally: one coupling stands for a whole tangent kernel.
Source: docs/theory.md#the-bandit; the softmax bandit of arXiv 2601.04411 at finite G.

Random scheme (part of the results; do not change). Categories are (arm 0 paid), (arm 0 unpaid), (arm 1
paid), …, of probabilities p_j. Rollouts 8i … 8i + 7 of a group are the low and high halves of the four
words of the counter (step, prompt, i, 0) under Purpose.ROLLOUT. Of the 65,536 values of a half-word
category j owns the floor(65535 p_j) that follow those of category j - 1; the r-th rollout whose
half-word nobody owns takes word r % 4 of the counter (step, prompt, r // 4, 1), compared with the
cumulative 65536 p_j - floor(65535 p_j), so that its chance of each category is p_j after all. Above
`COUNTED_GROUP` rollouts the group's counts are drawn as conditional binomials instead: category j takes
words 0 and 1 (paid) or 2 and 3 (unpaid) of (step, prompt, arm, 0), the second to accept the first by,
and as long as that rejects it words 0 and 1 of (step, prompt, j, 1 …).
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory import bandit_kernel as kernel
from theory.bandit_kernel import COUNTED_GROUP, LANES
from theory.channel import BoolArray, FloatArray, check_rate, check_rates
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantage_table, check_group_size
from theory.rng import Purpose, check_seed, uniforms
from theory.structures import (
    Drifting,
    GroupCorrelated,
    Independent,
    PerAnswer,
    PerPrompt,
    Rollouts,
    Structure,
    Triggered,
)

Optimiser = Literal["sgd", "adam"]

_PROMPT_WORK: Final = 70  # what a prompt's step costs besides its rollouts, in rollouts
_PARALLEL_WORK: Final = 600_000  # rollouts below which sharing them out costs more than it brings

__all__ = [
    "Population",
    "Training",
    "Trajectory",
    "population",
    "simulate",
]


@dataclass(frozen=True)
class Population:
    """Prompts and the arms a rollout can take, before training.

    logits: shape [prompts, arms].
    correct: P(right | arm), shape [arms], in [0, 1].
    shows_feature: does a rollout on the arm show the feature `Triggered` noise looks for, shape [arms].
    """

    logits: FloatArray
    correct: FloatArray
    shows_feature: BoolArray

    def pass_rates(self) -> FloatArray:
        """P(right) per prompt before training, shape [prompts]."""
        return _softmax(self.logits) @ self.correct


def population(
    pass_rates: ArrayLike,
    *,
    right_modes: int = 1,
    wrong_modes: int = 1,
    mode_spread: float = 0.0,
    feature_share: float = 0.0,
    ceiling: float = 1.0,
    seed: int = 0,
) -> Population:
    """Prompts of given difficulty, with so many right and wrong modes.

    pass_rates: initial P(right) per prompt, shape [prompts], in (0, ceiling).
    right_modes, wrong_modes: arms of each kind, at least 1.
    mode_spread: standard deviation of the modes' logits around each other, at least 0.
    feature_share: share of the wrong mass on one further wrong arm that shows the feature, in [0, 1).
    ceiling: P(right) on a right arm, in (0, 1]: what is left is beyond the policy's reach.
    Raises ArgumentError naming the argument and the value.
    """
    rates = check_rates("pass_rates", pass_rates)
    if rates.ndim != 1 or rates.size == 0:
        raise ArgumentError(f"pass_rates must have shape [prompts], got {list(rates.shape)}")
    if check_rate("ceiling", ceiling) == 0.0:
        raise ArgumentError("ceiling must be above 0")
    if rates.min() <= 0.0 or rates.max() >= ceiling:
        worst = rates[(rates <= 0.0) | (rates >= ceiling)][0]
        raise ArgumentError(
            f"pass_rates must lie strictly between 0 and the ceiling, got {worst:g}"
        )
    if right_modes < 1 or wrong_modes < 1:
        raise ArgumentError("right_modes and wrong_modes must be at least 1")
    if not 0.0 <= mode_spread < math.inf:
        raise ArgumentError(f"mode_spread must be finite and at least 0, got {mode_spread!r}")
    if check_rate("feature_share", feature_share) == 1.0:
        raise ArgumentError("feature_share must be below 1")
    arms = right_modes + wrong_modes
    jitter = np.zeros((rates.size, arms))
    if mode_spread > 0.0:
        from scipy.special import ndtri

        draws = uniforms(
            seed,
            Purpose.PARAMETERS,
            step=0,
            prompt=np.arange(rates.size)[:, np.newaxis],
            index=np.arange(arms)[np.newaxis, :],
        )
        jitter = mode_spread * ndtri(np.clip(draws, 2.0**-54, None))
    on_right = (rates / ceiling)[:, np.newaxis]
    parts = [
        np.log(on_right) + _log_softmax(jitter[:, :right_modes]),
        np.log1p(-on_right) + math.log1p(-feature_share) + _log_softmax(jitter[:, right_modes:]),
    ]
    if feature_share > 0.0:
        parts.append(np.log1p(-on_right) + math.log(feature_share))
    logits = np.concatenate(parts, axis=1)
    correct = np.zeros(logits.shape[1])
    correct[:right_modes] = ceiling
    shows = np.zeros(logits.shape[1], dtype=np.bool_)
    shows[arms:] = True
    return Population(logits=logits, correct=correct, shows_feature=shows)


@dataclass(frozen=True)
class Training:
    """How a population is trained.

    steps: optimiser steps. group_size: rollouts per prompt, at least 2.
    prompts_per_step: prompts visited per step, without repeats within an epoch; None: all of them. What
        an epoch leaves over is dropped.
    learning_rate: step along the gradient (sgd) or along its normalised mean (adam).
    coupling: 0, every prompt learns alone, to 1, all logits move alike.
    warmup_steps, warmup_from: the rate rises linearly from warmup_from times itself.
    decay: "constant", or "linear" to 0 at the last step.
    momentum, beta1, beta2, adam_eps: of SGD and of Adam.
    inner_epochs: optimiser steps on each step's rollouts; from the second on the ratio of policies is
        clipped to 1 - clip … 1 + clip, as in PPO.
    beta: weight of the KL to the initial policy; kl: "k3", its estimator on the rollouts, what trainers
        put in the loss, or "objective", its exact gradient.
    drop_silent: average the shared gradient over the groups that have one, as dynamic sampling does; a
        prompt's own parameters never see another group.
    rewards: what an unpaid and a paid rollout are worth (`theory.corrections`).
    """

    steps: int
    group_size: int = 8
    prompts_per_step: int | None = None
    estimator: Estimator = GRPO
    optimiser: Optimiser = "sgd"
    learning_rate: float = 0.1
    coupling: float = 0.0
    warmup_steps: int = 0
    warmup_from: float = 0.1
    decay: Literal["constant", "linear"] = "constant"
    momentum: float = 0.0
    beta1: float = 0.9
    beta2: float = 0.999
    adam_eps: float = 1e-8
    inner_epochs: int = 1
    clip: float = 0.2
    beta: float = 0.0
    kl: Literal["k3", "objective"] = "k3"
    drop_silent: bool = False
    rewards: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        check_group_size(self.group_size)
        if self.steps < 1:
            raise ArgumentError(f"steps must be at least 1, got {self.steps}")
        if self.prompts_per_step is not None and self.prompts_per_step < 1:
            raise ArgumentError(f"prompts_per_step must be at least 1, got {self.prompts_per_step}")
        if self.optimiser not in get_args(Optimiser):
            raise ArgumentError(f"optimiser must be sgd or adam, got {self.optimiser!r}")
        if self.decay not in ("constant", "linear"):
            raise ArgumentError(f"decay must be constant or linear, got {self.decay!r}")
        if not 0.0 < self.learning_rate < math.inf:
            raise ArgumentError(f"learning_rate must be above 0, got {self.learning_rate!r}")
        if self.warmup_steps < 0:
            raise ArgumentError(f"warmup_steps must be at least 0, got {self.warmup_steps}")
        if self.inner_epochs < 1:
            raise ArgumentError(f"inner_epochs must be at least 1, got {self.inner_epochs}")
        if self.kl not in ("k3", "objective"):
            raise ArgumentError(f"kl must be k3 or objective, got {self.kl!r}")
        for name in ("clip", "beta"):
            if not 0.0 <= getattr(self, name) < math.inf:
                raise ArgumentError(f"{name} must be at least 0, got {getattr(self, name)!r}")
        for name in ("coupling", "warmup_from", "momentum", "beta1", "beta2"):
            check_rate(name, getattr(self, name))
        for name in ("beta1", "beta2"):
            if getattr(self, name) == 1.0:
                raise ArgumentError(f"{name} must be below 1: Adam divides by 1 - {name}")
        if not 0.0 < self.adam_eps < math.inf:
            raise ArgumentError(f"adam_eps must be above 0, got {self.adam_eps!r}")

    def learning_rates(self) -> FloatArray:
        """The learning rate of each step, shape [steps]."""
        step = np.arange(self.steps, dtype=np.float64)
        factor = np.ones(self.steps)
        if self.warmup_steps > 0:
            ramp = self.warmup_from + (1.0 - self.warmup_from) * step / self.warmup_steps
            factor = np.minimum(ramp, 1.0)
        if self.decay == "linear":
            factor = factor * (1.0 - step / self.steps)
        return self.learning_rate * factor


@dataclass(frozen=True)
class Trajectory:
    """What training did, at steps 0, evaluate_every, … and the last; arrays of shape [evaluations].

    accuracy: mean P(right) of the policy, in [0, 1]. pass_at_k: mean 1 - (1 - a)^k.
    entropy: mean entropy over arms, in nats.
    observed_reward, zero_advantage_fraction, snr: of the latest step before the evaluation: the mean
        reward; the share of groups all of whose advantages are 0; the mean over groups of the
        gradient along being right, over its standard deviation over groups (0 where nothing varied).
        NaN at step 0, where nothing has been observed yet.
    marginal_fpr, marginal_fnr: P(paid | wrong) and P(not paid | right) over the policy's rollouts, which
        move with the policy where errors depend on the arm.
    pass_rates: P(right) per prompt at the end, shape [prompts].
    """

    step: NDArray[np.int64]
    rollouts: NDArray[np.int64]
    accuracy: FloatArray
    pass_at_k: FloatArray
    k: int
    entropy: FloatArray
    observed_reward: FloatArray
    zero_advantage_fraction: FloatArray
    snr: FloatArray
    marginal_fpr: FloatArray
    marginal_fnr: FloatArray
    pass_rates: FloatArray


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _softmax(logits: FloatArray) -> FloatArray:
    return np.exp(_log_softmax(logits))


def _rates(
    structure: Structure, start: Population, *, seed: int, end: bool
) -> tuple[FloatArray, FloatArray]:
    """(fpr, fnr) by prompt and arm under `structure`, shapes [prompts, arms]."""
    prompts, arms = start.logits.shape
    fpr = np.zeros((prompts, arms))
    fnr = np.zeros((prompts, arms))
    match structure:
        case Independent(channel=channel) | GroupCorrelated(channel=channel):
            fpr += channel.fpr
            fnr += channel.fnr
        case Drifting():
            channel = structure.end if end else structure.start
            fpr += channel.fpr
            fnr += channel.fnr
        case Triggered(selected=selected, otherwise=otherwise):
            fpr += np.where(start.shows_feature, selected.fpr, otherwise.fpr)
            fnr += np.where(start.shows_feature, selected.fnr, otherwise.fnr)
        case PerPrompt() | PerAnswer():
            prompt = np.repeat(np.arange(prompts, dtype=np.int64), arms)
            answer = np.tile(np.arange(arms, dtype=np.int64), prompts)
            for right in (False, True):
                paid = structure.judge(
                    Rollouts(
                        right=np.full(prompt.size, right),
                        prompt=prompt,
                        index=np.zeros_like(prompt),
                        answer=answer,
                    ),
                    seed=seed,
                    step=0,
                ).reshape(prompts, arms)
                if right:
                    fnr += ~paid
                else:
                    fpr += paid
        case _:
            raise ArgumentError(f"the simulator does not know the structure {structure!r}")
    return fpr, fnr


def _visits(prompts: int, per_step: int, steps: int, seed: int) -> Iterator[tuple[int, int, Any]]:
    """(first step, last step + 1, prompt ids [steps, per_step]) of successive stretches of training."""
    if per_step == prompts:
        yield 0, steps, np.arange(prompts, dtype=np.uint32)[np.newaxis, :]
        return
    per_epoch = prompts // per_step
    for epoch, first in enumerate(range(0, steps, per_epoch)):
        key = uniforms(seed, Purpose.PROMPT, step=epoch, prompt=np.arange(prompts), index=0)
        order = np.argsort(key, kind="stable").astype(np.uint32)
        yield (
            first,
            min(first + per_epoch, steps),
            order[: per_epoch * per_step].reshape(per_epoch, per_step),
        )


def simulate(
    start: Population,
    training: Training,
    structure: Structure,
    *,
    seed: int,
    evaluate_every: int = 10,
    k: int = 8,
    threads: int | None = None,
    report: Callable[[int], None] | None = None,
) -> Trajectory:
    """Train a population against a noisy verifier.

    seed: in [0, 2**32); with the step, the prompt and the rollout it decides every draw, so results
        depend on neither `threads` nor the order of evaluation.
    evaluate_every: steps between evaluations, at least 1. k: of pass@k.
    threads: at least 1; None: as many as numba would take. Used where the work is worth it.
    report: called with the number of steps done at every evaluation.
    Raises ArgumentError naming the argument and the value.
    """
    check_seed(seed)
    if evaluate_every < 1:
        raise ArgumentError(f"evaluate_every must be at least 1, got {evaluate_every}")
    if k < 1:
        raise ArgumentError(f"k must be at least 1, got {k}")
    if threads is None:
        threads = nb.get_num_threads()
    if threads < 1:
        raise ArgumentError(f"threads must be at least 1, got {threads}")
    prompts = len(start.logits)
    per_step = training.prompts_per_step or prompts
    if per_step > prompts:
        raise ArgumentError(
            f"prompts_per_step must be at most the {prompts} prompts there are, got {per_step}"
        )
    state = State(start, training, structure, per_step=per_step, seed=seed)
    evaluations = [_evaluate(start, state, 0, k)]
    with ThreadPoolExecutor(threads) as pool:
        for first, last, visits in _visits(prompts, per_step, training.steps, seed):
            for begin, stop in _between_evaluations(first, last, evaluate_every, training.steps):
                state.advance(visits, first, begin, stop, threads=threads, pool=pool)
                if stop % evaluate_every == 0 or stop == training.steps:
                    evaluations.append(_evaluate(start, state, stop, k))
                    if report is not None:
                        report(stop)
    with np.errstate(invalid="ignore"):  # of a run that diverged, inf - inf
        pass_rates = _softmax(state.logits()) @ start.correct
    table = np.array(evaluations)
    step = table[:, 0].astype(np.int64)
    return Trajectory(
        step=step,
        rollouts=step * per_step * training.group_size,
        accuracy=table[:, 1],
        pass_at_k=table[:, 2],
        k=k,
        entropy=table[:, 3],
        observed_reward=table[:, 4],
        zero_advantage_fraction=table[:, 5],
        snr=table[:, 6],
        marginal_fpr=table[:, 7],
        marginal_fnr=table[:, 8],
        pass_rates=pass_rates,
    )


def _between_evaluations(
    first: int, last: int, every: int, steps: int
) -> Iterator[tuple[int, int]]:
    """[begin, stop) pieces of [first, last) that end where an evaluation is due, or after 64 steps."""
    begin = first
    while begin < last:
        stop = min(last, steps, begin + 64, (begin // every + 1) * every)
        yield begin, stop
        begin = stop


def _evaluate(start: Population, state: State, step: int, k: int) -> list[float]:
    accuracy, pass_at_k, entropy, fpr, fnr = kernel.evaluate(
        state.logits(),
        start.correct,
        state.rates,
        state.noise.weight[min(step, state.noise.weight.size - 1)],
        k,
    )
    measured = [math.nan] * 3
    if step > 0:
        towards_right = state.results.gradient @ start.correct
        spread = towards_right.std(ddof=1) if towards_right.size > 1 else 0.0
        paid = state.results.paid
        size = state.learning.size
        groups = paid / size
        measured = [
            float(groups.mean()),
            float(_silent(state.learning.unpaid, state.learning.paid)[paid].mean()),
            float(towards_right.mean() / spread) if spread > 0.0 else 0.0,
        ]
    return [
        float(step),
        accuracy,
        pass_at_k,
        entropy,
        *measured,
        fpr,
        fnr,
    ]


def _silent(unpaid: FloatArray, paid: FloatArray) -> BoolArray:
    """Whether a group pushes nothing, by the number paid in it, shape [G + 1]: both advantages are 0.

    `advantage_table` puts 0 where no rollout holds the advantage.
    """
    return (unpaid == 0.0) & (paid == 0.0)


def _log_factorials(group_size: int) -> FloatArray:
    """log k! for k = 0 … group_size, shape [group_size + 1]; none where every rollout is counted."""
    if group_size <= COUNTED_GROUP:
        return np.zeros(0)
    return np.cumsum(np.log(np.maximum(np.arange(group_size + 1.0), 1.0)))


class State:
    """The arrays a run works in, allocated once."""

    def __init__(
        self,
        start: Population,
        training: Training,
        structure: Structure,
        *,
        per_step: int,
        seed: int,
    ) -> None:
        prompts, arms = start.logits.shape
        blocks = -(-per_step // LANES)
        unpaid, paid = advantage_table(
            training.group_size, training.estimator, rewards=training.rewards
        )
        weight = np.zeros(training.steps)
        if isinstance(structure, Drifting):
            weight = np.minimum(np.arange(training.steps) / structure.steps, 1.0)
        adam = training.optimiser == "adam"
        self.seed = seed
        self.structure = structure
        self.parameters = kernel.Parameters(
            own=start.logits.astype(np.float64, copy=True),
            shared=np.zeros(arms),
            first_moment=np.zeros((prompts + 1, arms)),
            second_moment=np.zeros((prompts + 1, arms)),
            reference=np.zeros((prompts, arms)),
        )
        correct = start.correct.astype(np.float64)
        # [start and end of a drift, fpr and fnr, prompts, arms]
        self.rates = np.array(
            [_rates(structure, start, seed=seed, end=end) for end in (False, True)]
        )
        self.noise = kernel.Noise(
            accept=np.stack(
                [correct * (1.0 - fnr) + (1.0 - correct) * fpr for fpr, fnr in self.rates]
            ),
            correct=correct,
            rates=np.zeros((0, 0, 2)),
            weight=weight,
        )
        self.learning = kernel.Learning(
            size=training.group_size,
            coupling=training.coupling,
            learning_rates=training.learning_rates(),
            adam=adam,
            plain=not adam and training.momentum == 0.0,
            beta1=training.beta1 if adam else training.momentum,
            beta2=training.beta2,
            eps=training.adam_eps,
            unpaid=unpaid,
            paid=paid,
            log_factorials=_log_factorials(training.group_size),
            inner_epochs=training.inner_epochs,
            clip=training.clip,
            beta=training.beta,
            k3=training.kl == "k3",
            drop_silent=training.drop_silent,
        )
        self.results = kernel.Results(
            gradient=np.zeros((per_step, arms)),
            paid=np.zeros(per_step, dtype=np.int32),
            dense=np.zeros((prompts, arms)),
        )

        def room(rows: int, dtype: type = np.float64) -> NDArray[Any]:
            return np.zeros((blocks, rows, LANES), dtype=dtype)

        self.blocks = kernel.Block(
            ids=np.zeros((blocks, LANES), dtype=np.uint32),
            own=room(arms),
            accept=room(arms),
            policy=room(arms),
            sampled=room(arms),
            gradient=room(arms),
            rows=np.zeros((blocks, kernel.ROWS * LANES)),
            words=room(8, np.uint16),
            ends=room(2 * arms, np.uint16),
            below=room(2 * arms, np.uint16),
            counts=room(2 * arms),
            total=np.zeros((blocks, LANES), dtype=np.int32),
            partial=np.zeros((blocks, arms + 1)),
        )
        kernel.reference_policy(self.parameters.own, self.blocks, self.parameters.reference)

    def logits(self) -> FloatArray:
        return self.parameters.own + math.sqrt(self.learning.coupling) * self.parameters.shared

    def advance(
        self,
        visits: NDArray[np.uint32],
        offset: int,
        begin: int,
        stop: int,
        *,
        threads: int = 1,
        pool: Executor | None = None,
    ) -> None:
        """Take steps [begin, stop); row t - offset of `visits` is step t, one row serves all steps."""
        learning, prompts, blocks = self.learning, len(self.parameters.own), len(self.blocks.ids)
        stretch = kernel.Stretch(
            begin=begin,
            stop=stop,
            offset=offset,
            key=(np.uint64(self.seed), np.uint64(Purpose.ROLLOUT)),
            visits=visits,
            parameters=self.parameters,
            noise=self._noise(visits, offset, begin, stop),
            learning=learning,
            results=self.results,
            blocks=self.blocks,
        )
        alone = learning.coupling == 0.0 and (learning.plain or visits.shape[1] == prompts)
        rollouts = visits.shape[1] * (_PROMPT_WORK + min(learning.size, COUNTED_GROUP))
        if threads == 1 or rollouts * (stop - begin if alone else 1) < _PARALLEL_WORK:
            pool = None

        def share(work: Callable[[tuple[int, int]], None], count: int) -> None:
            parts = itertools.pairwise(count * i // threads for i in range(threads + 1))
            for _ in pool.map(work, parts) if pool else map(work, parts):
                pass

        if alone:
            share(functools.partial(kernel.advance_alone, stretch), blocks)
        elif pool is None:
            kernel.advance_together(stretch)
        else:
            for t, epoch in itertools.product(range(begin, stop), range(learning.inner_epochs)):
                share(functools.partial(kernel.gradients, t, epoch, stretch), blocks)
                if not learning.plain:
                    share(functools.partial(kernel.move_own, t, epoch, stretch), prompts)
                kernel.move_shared(t, epoch, stretch)

    def _noise(
        self, visits: NDArray[np.uint32], offset: int, begin: int, stop: int
    ) -> kernel.Noise:
        """The verifier in these steps."""
        if not isinstance(self.structure, GroupCorrelated):
            return self.noise
        places = np.arange(visits.shape[1], dtype=np.int64)
        by_step = [
            self.structure.rates(
                visits[(t - offset) % len(visits)].astype(np.int64), places, seed=self.seed, step=t
            )
            for t in range(begin, stop)
        ]
        return self.noise._replace(
            rates=np.ascontiguousarray(np.moveaxis(np.array(by_step), 1, -1))
        )
