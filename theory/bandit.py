"""The stochastic population: prompts x arms, softmax policies, group-relative policy gradients.

Law. Prompt p takes arm k with probability softmax(z_p)_k, z_p = own_p + sqrt(coupling) shared; an arm is
right with probability correct_k and is paid at the rate the verifier's structure gives it. A step draws
G rollouts of each visited prompt, forms the estimator's advantages, and moves
    own_p  along sqrt(1 - coupling) g_p      and      shared  along sqrt(coupling) mean_p g_p,
g_p = (1/G) sum_i A_i grad log pi(arm_i): a gradient on prompt p moves the logits of p by 1 - coupling
and those of every prompt by coupling (as a share of the batch). Own parameters take the whole step of
their prompt, so coupling 0 is many independent runs of one prompt.
Fails first where prompts help each other unequally: one coupling stands for a whole tangent kernel.
Source: THEORY section 4; the softmax bandit of arXiv 2601.04411 at finite G.

Random scheme (part of the results; do not change): rollouts 4i … 4i + 3 of a group are the four words
of the counter (step, prompt, i, 0) under Purpose.ROLLOUT, each compared with the cumulative
probabilities of (arm 0 paid, arm 0 unpaid, arm 1 paid, …) in units of 2**-32. Above `COUNTED_GROUP`
rollouts the group's counts are drawn as conditional binomials instead, category j from the counters
(step, prompt, j, 0 …).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numba as nb
import numpy as np
from numpy.typing import ArrayLike, NDArray

from theory.channel import BoolArray, FloatArray, check_rate, check_rates
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantage_table, check_group_size
from theory.kernels import binomial, philox
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

COUNTED_GROUP: Final = 512  # up to here counting every rollout is faster than drawing binomials
LANES: Final = 16  # prompts a vector loop handles at once; any value gives the same results
_LOG2E: Final = 1.4426950408889634
_LN2_HIGH: Final = 0.6931471803691238  # its last 32 bits are 0, so n * _LN2_HIGH is exact
_LN2_LOW: Final = 1.9082149292705877e-10
_MAGIC: Final = 6755399441055744.0  # 1.5 * 2**52: adding it rounds to an integer, in the low bits
PARALLEL_WORK: Final = (
    16_384  # rollouts a step below which a second thread costs more than it brings
)

__all__ = [
    "COUNTED_GROUP",
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
        for name in ("coupling", "warmup_from", "momentum", "beta1", "beta2"):
            check_rate(name, getattr(self, name))

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
        reward; the share of groups that are paid throughout or not at all; the mean over groups of the
        gradient along being right, over its standard deviation over groups (0 where nothing varied).
        NaN at step 0, where nothing has been observed yet.
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
    pass_rates: FloatArray


def _log_softmax(logits: FloatArray) -> FloatArray:
    shifted = logits - logits.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def _softmax(logits: FloatArray) -> FloatArray:
    return np.exp(_log_softmax(logits))


def _rates(structure: Structure, start: Population, *, seed: int, end: bool) -> FloatArray:
    """P(paid | prompt, arm) under `structure`, shape [prompts, arms]."""
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
    return start.correct * (1.0 - fnr) + (1.0 - start.correct) * fpr


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
    threads: numba threads; None: as many as numba would take if the work is worth it.
    report: called with the number of steps done at every evaluation.
    Raises ArgumentError naming the argument and the value.
    """
    check_seed(seed)
    if evaluate_every < 1:
        raise ArgumentError(f"evaluate_every must be at least 1, got {evaluate_every}")
    if k < 1:
        raise ArgumentError(f"k must be at least 1, got {k}")
    prompts = len(start.logits)
    per_step = training.prompts_per_step or prompts
    if per_step > prompts:
        raise ArgumentError(
            f"prompts_per_step must be at most the {prompts} prompts there are, got {per_step}"
        )
    state = _State.fresh(start, training, structure, per_step=per_step, seed=seed)
    parallel = threads != 1 and per_step * training.group_size >= PARALLEL_WORK
    advance = _advance_on_all_cores if parallel else _advance
    previous = nb.get_num_threads()
    evaluations = [_evaluate(start, state, 0, k)]
    try:
        if parallel and threads is not None:
            nb.set_num_threads(min(threads, previous))
        for first, last, visits in _visits(prompts, per_step, training.steps, seed):
            for begin, stop in _between_evaluations(first, last, evaluate_every, training.steps):
                state.run(advance, structure, visits, first, begin, stop)
                if stop % evaluate_every == 0 or stop == training.steps:
                    evaluations.append(_evaluate(start, state, stop, k))
                    if report is not None:
                        report(stop)
    finally:
        if parallel:
            nb.set_num_threads(previous)
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
        pass_rates=_softmax(state.logits()) @ start.correct,
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


def _evaluate(start: Population, state: _State, step: int, k: int) -> list[float]:
    log_policy = _log_softmax(state.logits())
    policy = np.exp(log_policy)
    pass_rate = np.clip(policy @ start.correct, 0.0, 1.0)
    entropy = -(policy * np.where(policy > 0.0, log_policy, 0.0)).sum(axis=1)
    measured = [math.nan] * 3
    if step > 0:
        towards_right = state.gradient @ start.correct
        spread = towards_right.std(ddof=1) if towards_right.size > 1 else 0.0
        paid = state.paid
        groups = paid / state.group_size
        measured = [
            float(groups.mean()),
            float(((paid == 0) | (paid == state.group_size)).mean()),
            float(towards_right.mean() / spread) if spread > 0.0 else 0.0,
        ]
    return [
        float(step),
        float(pass_rate.mean()),
        float((1.0 - (1.0 - pass_rate) ** k).mean()),
        float(entropy.mean()),
        *measured,
    ]


@dataclass(frozen=True)
class _State:
    """The arrays a run works in, allocated once."""

    seed: int
    group_size: int
    coupling: float
    own: FloatArray  # [prompts, arms]
    shared: FloatArray  # [arms]
    first_moment: FloatArray  # [prompts + 1, arms], the last row of the shared parameters
    second_moment: FloatArray
    accept: FloatArray  # [2, prompts, arms], at the start and at the end of a drift
    correct: FloatArray  # [arms]
    weight: FloatArray  # [steps], 0 at the start of a drift to 1 at its end
    learning_rates: FloatArray  # [steps]
    optimiser: FloatArray  # adam?, momentum or beta1, beta2, eps
    unpaid: FloatArray  # [G + 1], advantages
    paid_advantage: FloatArray
    gradient: FloatArray  # [per_step, arms], of the latest step
    paid: NDArray[np.int32]  # [per_step], of the latest step
    dense: FloatArray  # [prompts, arms], gradients by prompt
    scratch: tuple[Any, ...]

    @staticmethod
    def fresh(
        start: Population, training: Training, structure: Structure, *, per_step: int, seed: int
    ) -> _State:
        prompts, arms = start.logits.shape
        blocks = -(-per_step // LANES)
        unpaid, paid = advantage_table(training.group_size, training.estimator)
        weight = np.zeros(training.steps)
        if isinstance(structure, Drifting):
            weight = np.minimum(np.arange(training.steps) / structure.steps, 1.0)
        adam = training.optimiser == "adam"
        policy = np.zeros((blocks, arms, LANES))
        chances = np.zeros((blocks, 2 * arms, LANES))
        return _State(
            seed=seed,
            group_size=training.group_size,
            coupling=training.coupling,
            own=start.logits.astype(np.float64, copy=True),
            shared=np.zeros(arms),
            first_moment=np.zeros((prompts + 1, arms)),
            second_moment=np.zeros((prompts + 1, arms)),
            accept=np.stack(
                [_rates(structure, start, seed=seed, end=end) for end in (False, True)]
            ),
            correct=start.correct.astype(np.float64),
            weight=weight,
            learning_rates=training.learning_rates(),
            optimiser=np.array(
                [
                    float(adam),
                    training.beta1 if adam else training.momentum,
                    training.beta2,
                    training.adam_eps,
                ]
            ),
            unpaid=unpaid,
            paid_advantage=paid,
            gradient=np.zeros((per_step, arms)),
            paid=np.zeros(per_step, dtype=np.int32),
            dense=np.zeros((prompts, arms)),
            scratch=(
                policy,
                policy.view(np.int64),
                np.zeros((blocks, arms + 2, LANES)),
                chances,  # of (arm, paid), (arm, unpaid)
                chances.view(np.int64),
                np.zeros(
                    (blocks, 2 * arms, LANES), dtype=np.int32
                ),  # cumulative counts of the same
                np.zeros(
                    (blocks, 2 * arms + 4, LANES), dtype=np.uint32
                ),  # random words, thresholds
                np.zeros((blocks, LANES), dtype=np.uint32),  # prompt ids
                np.zeros((blocks, arms)),  # partial sums of the shared gradient
            ),
        )

    def logits(self) -> FloatArray:
        return self.own + math.sqrt(self.coupling) * self.shared

    def run(
        self,
        advance: Callable[..., None],
        structure: Structure,
        visits: NDArray[np.uint32],
        offset: int,
        begin: int,
        stop: int,
    ) -> None:
        """Steps [begin, stop); row t - offset of `visits` is step t, one row serves all steps."""
        rates = np.zeros((0, 0, 2))
        if isinstance(structure, GroupCorrelated):
            rates = np.stack(
                [
                    np.stack(
                        structure.rates(
                            visits[(t - offset) % len(visits)].astype(np.int64),
                            np.arange(visits.shape[1], dtype=np.int64),
                            seed=self.seed,
                            step=t,
                        ),
                        axis=-1,
                    )
                    for t in range(begin, stop)
                ]
            )
        plain = self.optimiser[0] == 0.0 and self.optimiser[1] == 0.0
        advance(
            stop,
            (offset, begin),
            (np.uint64(self.seed), np.uint64(Purpose.ROLLOUT)),
            visits,
            (self.own, self.shared),
            (self.first_moment, self.second_moment),
            (self.accept, self.correct, rates, self.weight),
            (
                self.group_size,
                self.coupling,
                self.learning_rates,
                plain,
                self.unpaid,
                self.paid_advantage,
            ),
            self.optimiser,
            (self.gradient, self.paid, self.dense),
            self.scratch,
        )


# The compiled part. A step's rollouts and gradients are computed LANES prompts at a time, arrays laid
# out [arm, lane], so that the compiler vectorises over prompts; nothing is allocated in these loops.


@nb.njit(cache=True)
def _policies(
    ids: Any, own: Any, lift: Any, shared: Any, policy: Any, bits: Any, rest: Any
) -> None:
    """Softmax policies by lane; `bits` is `policy` seen as int64, `rest` scratch of its shape + 2 rows.

    The exponential is written out (2**n times a Taylor polynomial of degree 12 on |r| <= log(2)/2, error
    2 ulp): it vectorises, and it gives the same bits on every platform, which libm does not.
    """
    arms = own.shape[1]
    top, total = rest.shape[0] - 2, rest.shape[0] - 1
    for b in range(LANES):
        rest[top, b] = -np.inf
        rest[total, b] = 0.0
    for a in range(arms):
        for b in range(LANES):
            policy[a, b] = own[ids[b], a] + lift * shared[a]
        for b in range(LANES):
            rest[top, b] = max(rest[top, b], policy[a, b])
    for a in range(arms):
        for b in range(LANES):
            z = max(policy[a, b] - rest[top, b], -700.0)
            shifted = z * _LOG2E + _MAGIC
            n = shifted - _MAGIC
            rest[a, b] = (z - n * _LN2_HIGH) - n * _LN2_LOW
            policy[a, b] = shifted
        for b in range(LANES):
            bits[a, b] = (bits[a, b] << 52) + 4607182418800017408  # 2**n, by its exponent field
        for b in range(LANES):
            r = rest[a, b]
            e = 1.0 / 479001600.0
            e = e * r + 1.0 / 39916800.0
            e = e * r + 1.0 / 3628800.0
            e = e * r + 1.0 / 362880.0
            e = e * r + 1.0 / 40320.0
            e = e * r + 1.0 / 5040.0
            e = e * r + 1.0 / 720.0
            e = e * r + 1.0 / 120.0
            e = e * r + 1.0 / 24.0
            e = e * r + 1.0 / 6.0
            e = e * r + 0.5
            e = e * r + 1.0
            e = e * r + 1.0
            policy[a, b] *= e
        for b in range(LANES):
            rest[total, b] += policy[a, b]
    for a in range(arms):
        for b in range(LANES):
            policy[a, b] /= rest[total, b]


@nb.njit(cache=True)
def _chances(
    ids: Any,
    first: Any,
    step: Any,
    accept: Any,
    correct: Any,
    rates: Any,
    weight: Any,
    policy: Any,
    chances: Any,
) -> None:
    """The probability of each (arm, paid) and (arm, unpaid), by lane."""
    arms = policy.shape[0]
    if rates.shape[0] > 0:
        for b in range(LANES):
            place = min(first + b, rates.shape[1] - 1)
            fpr, fnr = rates[step, place, 0], rates[step, place, 1]
            for a in range(arms):
                paid = correct[a] * (1.0 - fnr) + (1.0 - correct[a]) * fpr
                chances[2 * a, b] = policy[a, b] * paid
                chances[2 * a + 1, b] = policy[a, b] * (1.0 - paid)
    else:
        for a in range(arms):
            for b in range(LANES):
                p = ids[b]
                paid = (1.0 - weight) * accept[0, p, a] + weight * accept[1, p, a]
                chances[2 * a, b] = policy[a, b] * paid
                chances[2 * a + 1, b] = policy[a, b] * (1.0 - paid)


@nb.njit(cache=True)
def _count_rollouts(
    k0: Any,
    k1: Any,
    step: Any,
    ids: Any,
    size: Any,
    chances: Any,
    bits: Any,
    counts: Any,
    words: Any,
) -> None:
    """Cumulative counts over categories, every rollout drawn: one word each, LANES groups at once.

    `bits` is `chances` seen as int64. Adding 2**52 to a threshold below 2**32 leaves it, rounded, in
    the low word: a conversion the vector units have.
    """
    levels = counts.shape[0] - 1
    for b in range(LANES):
        chances[levels, b] = 0.0
    for j in range(levels):
        for b in range(LANES):
            chances[levels, b] += chances[j, b]
            counts[j, b] = 0
        for b in range(LANES):
            chances[j, b] = (
                min(chances[levels, b] * 4294967296.0, 4294967295.0) + 4503599627370496.0
            )
        for b in range(LANES):
            words[4 + j, b] = np.uint32(bits[j, b] & 0xFFFFFFFF)
    for i in range((size + 3) // 4):
        for b in range(LANES):
            w0, w1, w2, w3 = philox(k0, k1, step, np.uint64(ids[b]), np.uint64(i), np.uint64(0))
            words[0, b] = np.uint32(w0)
            words[1, b] = np.uint32(w1)
            words[2, b] = np.uint32(w2)
            words[3, b] = np.uint32(w3)
        for w in range(min(4, size - 4 * i), 4):  # rollouts the group does not have: never below
            for b in range(LANES):
                words[w, b] = np.uint32(0xFFFFFFFF)
        for j in range(levels):
            for b in range(LANES):
                limit = words[4 + j, b]
                counts[j, b] += (
                    np.int32(words[0, b] < limit)
                    + np.int32(words[1, b] < limit)
                    + np.int32(words[2, b] < limit)
                    + np.int32(words[3, b] < limit)
                )


@nb.njit(cache=True)
def _draw_counts(
    k0: Any, k1: Any, step: Any, ids: Any, size: Any, chances: Any, counts: Any, words: Any
) -> None:
    """Cumulative counts over categories, each a binomial given those before it."""
    levels = counts.shape[0] - 1
    # chances[levels] becomes the mass not yet drawn, counts[levels] the rollouts already drawn.
    for b in range(LANES):
        chances[levels, b] = 1.0
        counts[levels, b] = 0
    for j in range(levels):
        for b in range(LANES):
            w0, w1, w2, w3 = philox(k0, k1, step, np.uint64(ids[b]), np.uint64(j), np.uint64(0))
            words[0, b] = np.uint32(w0)
            words[1, b] = np.uint32(w1)
            words[2, b] = np.uint32(w2)
            words[3, b] = np.uint32(w3)
        for b in range(LANES):
            rest = chances[levels, b]
            rate = min(chances[j, b] / rest, 1.0) if rest > 0.0 else 1.0
            drawn = binomial(
                size - counts[levels, b],
                rate,
                (
                    np.uint64(words[0, b]),
                    np.uint64(words[1, b]),
                    np.uint64(words[2, b]),
                    np.uint64(words[3, b]),
                ),
                k0,
                k1,
                step,
                np.uint64(ids[b]),
                np.uint64(j),
            )
            chances[levels, b] = rest - chances[j, b]
            counts[levels, b] += drawn
            counts[j, b] = counts[levels, b]


@nb.njit(cache=True)
def _visit(
    block: Any,
    t: Any,
    when: Any,
    key: Any,
    visits: Any,
    parameters: Any,
    noise: Any,
    learning: Any,
    results: Any,
    scratch: Any,
) -> None:
    """One step of LANES prompts: rollouts, gradient and, under plain SGD, their own parameters."""
    offset, begin = when
    own, shared = parameters
    accept, correct, rates, weight = noise
    size, coupling, learning_rates, plain, unpaid_advantage, paid_advantage = learning
    gradient, paid, dense = results
    policy, chances, counts = scratch[0][block], scratch[3][block], scratch[5][block]
    ids, partial = scratch[7][block], scratch[8][block]
    arms = own.shape[1]
    row = (t - offset) % visits.shape[0]
    first = block * LANES
    used = min(LANES, visits.shape[1] - first)
    for b in range(LANES):
        ids[b] = visits[row, first + min(b, used - 1)]
    _policies(ids, own, math.sqrt(coupling), shared, policy, scratch[1][block], scratch[2][block])
    _chances(ids, first, t - begin, accept, correct, rates, weight[t], policy, chances)
    k0, k1 = key
    if size <= COUNTED_GROUP:
        _count_rollouts(
            k0, k1, np.uint64(t), ids, size, chances, scratch[4][block], counts, scratch[6][block]
        )
    else:
        _draw_counts(k0, k1, np.uint64(t), ids, size, chances, counts, scratch[6][block])
    last = 2 * arms - 1
    for a in range(arms):
        partial[a] = 0.0
    own_rate = learning_rates[t] * (1.0 - coupling)
    for b in range(used):
        counts[last, b] = size
        total = counts[0, b]
        for a in range(1, arms):
            total += counts[2 * a, b] - counts[2 * a - 1, b]
        up, down = paid_advantage[total], unpaid_advantage[total]
        drift = (up * total + down * (size - total)) / size
        paid[first + b] = total
        before = 0
        p = ids[b]
        for a in range(arms):
            middle, after = counts[2 * a, b], counts[2 * a + 1, b]
            g = (up * (middle - before) + down * (after - middle)) / size - policy[a, b] * drift
            before = after
            gradient[first + b, a] = g
            partial[a] += g
            if plain:
                own[p, a] += own_rate * g
            else:
                dense[p, a] = g


@nb.njit(cache=True)
def _move(
    parameters: Any,
    gradient: Any,
    inner: Any,
    outer: Any,
    m: Any,
    v: Any,
    rate: Any,
    t: Any,
    settings: Any,
) -> None:
    """One optimiser step of a row of parameters that sees inner * gradient and is seen outer times."""
    beta1, beta2, eps = settings[1], settings[2], settings[3]
    if settings[0] > 0.0:
        fix1, fix2 = 1.0 - beta1 ** (t + 1), 1.0 - beta2 ** (t + 1)
        for a in range(parameters.shape[0]):
            g = inner * gradient[a]
            m[a] = beta1 * m[a] + (1.0 - beta1) * g
            v[a] = beta2 * v[a] + (1.0 - beta2) * g * g
            parameters[a] += outer * rate * (m[a] / fix1) / (math.sqrt(v[a] / fix2) + eps)
    else:
        for a in range(parameters.shape[0]):
            m[a] = beta1 * m[a] + inner * gradient[a]
            parameters[a] += outer * rate * m[a]


@nb.njit(cache=True)
def _move_shared(
    shared: Any,
    coupling: Any,
    per_step: Any,
    moments: Any,
    rate: Any,
    t: Any,
    settings: Any,
    partial: Any,
) -> None:
    """The shared parameters' step: partial sums are added in the order of blocks, whoever made them."""
    m, v = moments
    for a in range(shared.shape[0]):
        total = 0.0
        for block in range(partial.shape[0]):
            total += partial[block, a]
        partial[0, a] = total / per_step
    last = m.shape[0] - 1
    _move(shared, partial[0], math.sqrt(coupling), 1.0, m[last], v[last], rate, t, settings)


@nb.njit(nogil=True, cache=True)
def _advance(
    stop: Any,
    when: Any,
    key: Any,
    visits: Any,
    parameters: Any,
    moments: Any,
    noise: Any,
    learning: Any,
    settings: Any,
    results: Any,
    scratch: Any,
) -> None:
    """Steps [when[1], stop) on one core."""
    own, shared = parameters
    coupling, learning_rates, plain = learning[1], learning[2], learning[3]
    own_scale = math.sqrt(1.0 - coupling)
    dense = results[2]
    for t in range(when[1], stop):
        for block in range(scratch[0].shape[0]):
            _visit(block, t, when, key, visits, parameters, noise, learning, results, scratch)
        if not plain and coupling < 1.0:
            for p in range(own.shape[0]):
                _move(
                    own[p],
                    dense[p],
                    own_scale,
                    own_scale,
                    moments[0][p],
                    moments[1][p],
                    learning_rates[t],
                    t,
                    settings,
                )
                for a in range(own.shape[1]):
                    dense[p, a] = 0.0
        if coupling > 0.0:
            _move_shared(
                shared,
                coupling,
                visits.shape[1],
                moments,
                learning_rates[t],
                t,
                settings,
                scratch[8],
            )


@nb.njit(parallel=True, nogil=True, cache=True)
def _advance_on_all_cores(
    stop: Any,
    when: Any,
    key: Any,
    visits: Any,
    parameters: Any,
    moments: Any,
    noise: Any,
    learning: Any,
    settings: Any,
    results: Any,
    scratch: Any,
) -> None:
    """Steps [when[1], stop), blocks of prompts shared out among threads."""
    own, shared = parameters
    coupling, learning_rates, plain = learning[1], learning[2], learning[3]
    own_scale = math.sqrt(1.0 - coupling)
    dense = results[2]
    for t in range(when[1], stop):
        for block in nb.prange(scratch[0].shape[0]):
            _visit(block, t, when, key, visits, parameters, noise, learning, results, scratch)
        if not plain and coupling < 1.0:
            for p in nb.prange(own.shape[0]):
                _move(
                    own[p],
                    dense[p],
                    own_scale,
                    own_scale,
                    moments[0][p],
                    moments[1][p],
                    learning_rates[t],
                    t,
                    settings,
                )
                for a in range(own.shape[1]):
                    dense[p, a] = 0.0
        if coupling > 0.0:
            _move_shared(
                shared,
                coupling,
                visits.shape[1],
                moments,
                learning_rates[t],
                t,
                settings,
                scratch[8],
            )
