"""The population of `theory.flow` under Adam as it is run, or under plain SGD: one law for every forecast.

Law. Prompt i is solved with probability a_i = ceiling * s_i, logit s_i = theta_i - d_i, d_i normal with
standard deviation `spread`. Its pull on its own ability is g_i = J (da_i/d theta_i) D_G(q_i); what moves it is
    h_i = own g_i + (1 - own) mean_k g_k,      own = 0: one ability for all, own = 1: each prompt its own.
SGD:   d theta_i/dt = rate * lr(t) * h_i,      lr rising linearly from `warmup_from` to 1.
Adam:  d theta_i/dt = rate * lr(t) * signal * h_i / sqrt(v_hat). Of a weight's gradient, in units of its score
noise, the mean per step is u = signal * mean_i g_i and the variance
    v = mean_i E[A^2]/(G B) + between * signal^2 * mean_i g_i^2 / B:
the second term is that prompts pull differently on a weight, which no rollouts of the same prompts average
out. v_hat is the bias-corrected average of u^2 + v over the last 1/(1 - beta2) steps. `rate` is what theta
moves in one step whose gradient is all signal. At beta2 = 0 and between = 0 this is the Adam of `theory.flow`
with orthogonal noise. With beta2 = .999 a run of hundreds of steps divides by the average of all it has seen:
when a clean verifier leaves few groups with a gradient, Adam slows down, where the law without memory would not.
SGD under `reinforce` is the clean curve at J times the clock.
The part of an Adam step that is noise keeps the weights off the bottom of the valley. It costs every prompt the
same share of its accuracy: the ceiling in force is ceiling * exp(-jitter * w), with w the average of
    lr(t)^2 v / v_hat      (the noise share of a step's square)
over the last RELAXATION steps, and 0 at step 0. A clean verifier's strong early signal stays in v_hat and
keeps later steps small; a noisy one's is weaker, so that its weights are shaken more and its arm ends lower.
Where J > 0 an accuracy once reached is kept: that noise outgrows the signal late in a run is where the law of
w is least known, and no curve of ours fell for it.
Fails first when gradients are clipped, which forgets the past; beta1 is left out. That what noise costs
is a share of accuracy, and forgotten within RELAXATION steps, is read off curves, not derived.
Source: docs/theory.md#adam-with-a-stationary-signal; Kingma & Ba 2015, algorithm 1; noise floors of a
constant step size: Robbins & Monro 1951, Mandt, Hoffman & Blei 2017; noise scale: arXiv 1812.06162; forms
tried: LOG.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

import numba as nb
import numpy as np
from numpy.typing import ArrayLike

from theory.channel import FloatArray, VerifierChannel, check_rate
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantage_table, binomial_means, check_group_size
from theory.flow import normal_difficulties

FlowOptimiser = Literal["adam", "sgd"]

__all__ = ["RELAXATION", "AdamFlow", "Condition", "accuracy_curves"]

_PROMPTS: Final = 16  # midpoint quantiles of the difficulties
_KNOTS: Final = 1024  # of the tables over the observed rate, evenly spaced in arcsin sqrt q
# Steps that are each a point of the kept curve; later points lie a share 1/_DENSE apart.
_DENSE: Final = 72
_STRIDE: Final = 0.25  # logits that one step of the integration may move
_LEAST: Final = {"theta": -math.inf, "spread": 0.0, "jitter": 0.0, "between": 0.0}
MOST_PACE: Final = 1e6  # each step of a run is integrated, as many times over
RELAXATION: Final = 40.0  # steps; curves cannot tell 10 from 40 (LOG.md)


@dataclass(frozen=True)
class AdamFlow:
    """What a run depends on besides its condition.

    theta: ability at step 0, logits. rate: logits per step of pure signal, above 0. signal: gradient of
    theta per unit of score noise, above 0. ceiling: the accuracy no ability exceeds, in (0, 1].
    spread: standard deviation of difficulties, logits, at least 0. jitter: minus the log of the share of
    accuracy kept when steps are all noise, at least 0. between: squared scatter of prompts' pulls on a weight,
    over their squared mean, at least 0. own: the share of its own pull that moves a prompt, in [0, 1].
    """

    theta: float
    rate: float
    signal: float
    ceiling: float = 1.0
    spread: float = 0.0
    jitter: float = 0.0
    between: float = 0.0
    own: float = 0.0

    def __post_init__(self) -> None:
        for name in ("theta", "rate", "signal", "spread", "jitter", "between"):
            value = getattr(self, name)
            least = _LEAST.get(name, 5e-324)
            if not (math.isfinite(value) and value >= least):
                raise ArgumentError(f"{name} must be finite and in its range, got {value!r}")
        check_rate("own", self.own)
        if check_rate("ceiling", self.ceiling) == 0.0:
            raise ArgumentError("ceiling must be above 0")


@dataclass(frozen=True)
class Condition:
    """How a run is trained.

    channel: its verifier. group_size, prompts_per_step: G and B. warmup_steps, warmup_from: the learning
    rate rises linearly from warmup_from times itself, 0 steps for none. beta2: Adam's, in [0, 1); 0
    forgets at once. optimiser: "adam" or "sgd". pace: of the clock, in [0, MOST_PACE]: 0 stands
    still.
    """

    channel: VerifierChannel
    group_size: int = 8
    prompts_per_step: int = 32
    estimator: Estimator = GRPO
    warmup_steps: float = 0.0
    warmup_from: float = 0.1
    beta2: float = 0.999
    optimiser: FlowOptimiser = "adam"
    pace: float = 1.0

    def __post_init__(self) -> None:
        check_group_size(self.group_size)
        check_rate("warmup_from", self.warmup_from)
        if not 0.0 <= self.beta2 < 1.0:
            raise ArgumentError(f"beta2 must be at least 0 and below 1, got {self.beta2!r}")
        if self.optimiser not in get_args(FlowOptimiser):
            raise ArgumentError(f"optimiser must be adam or sgd, got {self.optimiser!r}")
        if not 0.0 <= self.pace <= MOST_PACE:
            raise ArgumentError(f"pace must lie in [0, {MOST_PACE:g}], got {self.pace!r}")
        if self.prompts_per_step < 1:
            raise ArgumentError(f"prompts_per_step must be at least 1, got {self.prompts_per_step}")
        if not 0.0 <= self.warmup_steps < math.inf:
            raise ArgumentError(f"warmup_steps must be at least 0, got {self.warmup_steps!r}")


def accuracy_curves(
    flows: Sequence[AdamFlow], conditions: Sequence[Condition], steps: ArrayLike
) -> FloatArray:
    """Mean pass rates, shape [flows, conditions, steps], in [0, 1].

    steps: [steps], any order, finite and at least 0.
    Raises ArgumentError if a step is out of range.
    """
    at = np.asarray(steps, dtype=np.float64)
    if at.ndim != 1 or not np.all(np.isfinite(at)) or np.any(at < 0.0):
        raise ArgumentError("steps must be finite and at least 0, in one dimension")
    shape = len(flows), len(conditions), at.size
    if 0 in shape:
        return np.empty(shape)
    grid = _grid(float(at.max()))
    laws = sorted({(c.group_size, c.estimator) for c in conditions}, key=str)
    tables = np.stack([_gradient_table(size, estimator) for size, estimator in laws])
    table_C = np.array([laws.index((c.group_size, c.estimator)) for c in conditions])
    numbers = [
        (
            c.channel.fpr,
            c.channel.fnr,
            float(c.group_size),
            float(c.prompts_per_step),
            float(c.warmup_steps),
            c.warmup_from,
            -math.log(c.beta2) if c.beta2 > 0.0 else math.inf,
            float(c.optimiser == "adam"),
            c.pace,
        )
        for c in conditions
    ]
    parameters = np.array(
        [
            (f.theta, f.rate, f.signal, f.ceiling, f.spread, f.jitter, f.between, f.own)
            for f in flows
        ]
    )
    curves = np.empty((*shape[:2], grid.size))
    _integrate(
        parameters,
        np.array(numbers),
        table_C,
        tables,
        normal_difficulties(_PROMPTS, spread=1.0),
        grid,
        curves,
    )
    for c, condition in enumerate(conditions):
        if condition.channel.youden > 0.0:
            np.maximum.accumulate(curves[:, c], axis=-1, out=curves[:, c])
    return np.array([[np.interp(at, grid, curve) for curve in some] for some in curves])


def _grid(last: float) -> FloatArray:
    """Times of the kept curve up to `last` at least: the same ones however long the run, so that answers agree."""
    later = max(math.ceil(math.log(max(last, _DENSE) / _DENSE) / math.log1p(1.0 / _DENSE)), 0)
    steps = np.arange(min(max(math.ceil(last), 1), _DENSE) + 1, dtype=np.float64)
    beyond = np.arange(1, later + 1, dtype=np.float64)
    return np.concatenate([steps, _DENSE * np.exp(beyond * math.log1p(1.0 / _DENSE))])


@functools.lru_cache(maxsize=64)
def _gradient_table(group_size: int, estimator: Estimator) -> FloatArray:
    """D_G, E[A^2 | paid] and E[A^2 | unpaid] at q = sin^2 of evenly spaced angles, [knots + 1, 3].

    Kept, since a calibration asks for the same few tables hundreds of times: not to be written to.
    """
    q = np.sin(np.linspace(0.0, np.pi / 2.0, _KNOTS + 1)) ** 2
    unpaid, paid = advantage_table(group_size, estimator)
    values = paid[1:] - unpaid[:-1], paid[1:] ** 2, unpaid[:-1] ** 2
    return np.stack(binomial_means(group_size - 1, q, *values), axis=1)


@nb.njit(inline="always", cache=True)
def _warmed(step: Any, warmup: Any, start: Any) -> Any:
    if step >= warmup:
        return 1.0
    return start + (1.0 - start) * step / warmup


@nb.njit(cache=True)
def _moments(
    theta_P: Any,
    shaken: Any,
    parameters: Any,
    numbers: Any,
    table: Any,
    quantiles_P: Any,
    pull_P: Any,
) -> Any:
    """(mean pull, v, mean pass rate) at abilities theta_P and average noise share `shaken`; fills pull_P."""
    signal, spread, between = parameters[2], parameters[4], parameters[6]
    ceiling = parameters[3] * math.exp(-parameters[5] * shaken)
    fpr, fnr, group, prompts = numbers[0], numbers[1], numbers[2], numbers[3]
    youden = 1.0 - fpr - fnr
    mean, apart, square, accuracy = 0.0, 0.0, 0.0, 0.0
    knots = table.shape[0] - 1
    for i in range(quantiles_P.size):
        solved = 1.0 / (1.0 + math.exp(spread * quantiles_P[i] - theta_P[i]))
        a = ceiling * solved
        q = min(max(fpr + youden * a, 0.0), 1.0)
        place = math.asin(math.sqrt(q)) * (2.0 / math.pi) * knots
        left = min(int(place), knots - 1)
        share = place - left
        gain = (1.0 - share) * table[left, 0] + share * table[left + 1, 0]
        paid = (1.0 - share) * table[left, 1] + share * table[left + 1, 1]
        unpaid = (1.0 - share) * table[left, 2] + share * table[left + 1, 2]
        pull_P[i] = youden * a * (1.0 - solved) * gain
        mean += pull_P[i]
        apart += pull_P[i] ** 2
        square += q * paid + (1.0 - q) * unpaid
        accuracy += a
    count = quantiles_P.size
    v = (square / group + between * signal**2 * apart) / (count * prompts)
    return mean / count, v, accuracy / count


@nb.njit(cache=True)
def _integrate(
    parameters_D: Any,
    numbers_C: Any,
    table_C: Any,
    tables: Any,
    quantiles_P: Any,
    grid: Any,
    curves_DCT: Any,
) -> None:
    """Explicit midpoint rule in theta; averages are exact for a value constant over a step."""
    count = quantiles_P.size
    theta_P, ahead_P = np.empty(count), np.empty(count)
    pull_P, further_P = np.empty(count), np.empty(count)
    for i in range(parameters_D.shape[0]):
        rate, signal, own = parameters_D[i, 1], parameters_D[i, 2], parameters_D[i, 7]
        for c in range(numbers_C.shape[0]):
            numbers = numbers_C[c]
            warmup, start, forgetting = numbers[4], numbers[5], numbers[6]
            adam, pace = numbers[7] > 0.0, numbers[8]
            table = tables[table_C[c]]
            theta_P[:] = parameters_D[i, 0]
            average, shaken = 0.0, 0.0
            for k in range(grid.size):
                mean, v, curves_DCT[i, c, k] = _moments(
                    theta_P, shaken, parameters_D[i], numbers, table, quantiles_P, pull_P
                )
                if k == grid.size - 1:
                    break
                t, end = grid[k] * pace, grid[k + 1] * pace
                while t < end:
                    lr = _warmed(t, warmup, start)
                    width = end - t
                    scale = rate * lr
                    v_hat = 1.0
                    if adam:
                        u2v = (signal * mean) ** 2 + v
                        v_hat = average / -math.expm1(-forgetting * t) if t > 0.0 else u2v
                        v_hat = max(v_hat, 0.0)
                        if not v_hat > 0.0:
                            v_hat = u2v
                        scale = scale * signal / math.sqrt(v_hat) if v_hat > 0.0 else 0.0
                    fastest = 0.0
                    for p in range(count):
                        speed = abs(own * pull_P[p] + (1.0 - own) * mean)
                        fastest = max(fastest, speed)
                    if fastest * scale * width > _STRIDE:
                        width = max(
                            _STRIDE / (fastest * scale), (grid[k + 1] - grid[k]) * pace / 4096.0
                        )
                        width = min(width, end - t)
                    kept = math.exp(-0.5 * forgetting * width)
                    held = math.exp(-0.5 * width / RELAXATION)
                    factor, shaking = scale, shaken
                    if adam:
                        u2v = (signal * mean) ** 2 + v
                        v_hat = (kept * average + (1.0 - kept) * u2v) / -math.expm1(
                            -forgetting * (t + 0.5 * width)
                        )
                        factor = 0.0
                        if v_hat > 0.0:
                            factor = rate * lr * signal / math.sqrt(v_hat)
                            shaking = held * shaken + (1.0 - held) * lr * lr * v / v_hat
                    for p in range(count):
                        step = own * pull_P[p] + (1.0 - own) * mean
                        ahead_P[p] = theta_P[p] + 0.5 * width * factor * step
                    mean, v, _ = _moments(
                        ahead_P, shaking, parameters_D[i], numbers, table, quantiles_P, further_P
                    )
                    lr = _warmed(t + 0.5 * width, warmup, start)
                    factor = rate * lr
                    if adam:
                        kept *= kept
                        held *= held
                        average = kept * average + (1.0 - kept) * ((signal * mean) ** 2 + v)
                        v_hat = average / -math.expm1(-forgetting * (t + width))
                        factor = 0.0
                        if v_hat > 0.0:
                            factor = rate * lr * signal / math.sqrt(v_hat)
                            shaken = held * shaken + (1.0 - held) * lr * lr * v / v_hat
                    for p in range(count):
                        step = own * further_P[p] + (1.0 - own) * mean
                        theta_P[p] = min(max(theta_P[p] + width * factor * step, -700.0), 700.0)
                    t += width
                    if t < end:
                        mean, v, _ = _moments(
                            theta_P, shaken, parameters_D[i], numbers, table, quantiles_P, pull_P
                        )
