"""The population of `theory.flow` under Adam as it is run: the second moment remembers.

Law. Prompt i is solved with probability a_i = ceiling * s_i, logit s_i = theta - d_i, d_i normal with
standard deviation `spread`. Of a weight's gradient, in units of its score noise, the mean per step is
    u = signal * mean_i J (da_i/d theta) D_G(q_i),   variance v = mean_i E[A^2] / (G B),
and with v_hat the bias-corrected average of u^2 + v over the last 1/(1 - beta2) steps
    d theta/dt = rate * lr(t) * u / sqrt(v_hat),     lr rising linearly from `warmup_from` to 1.
`rate` is what theta moves in one step whose gradient is all signal. At beta2 = 0 this is the Adam of
`theory.flow` with orthogonal noise. With beta2 = .999 a run of hundreds of steps divides by the average
of all it has seen: when a clean verifier leaves few groups with a gradient, Adam slows down, where the
law without memory would not.
The part of a step that is noise keeps the weights off the bottom of the valley. It costs every prompt the
same share of its accuracy: the ceiling in force is ceiling * exp(-jitter * w), with w the average of
    lr(t)^2 v / v_hat      (the noise share of a step's square)
over the last RELAXATION steps, and 0 at step 0. A clean verifier's strong early signal stays in v_hat and
keeps later steps small; a noisy one's is weaker, so that its weights are shaken more and its arm ends lower.
Fails first when gradients are clipped, which forgets the past; beta1 is left out. That what noise costs
is a share of accuracy, and forgotten within RELAXATION steps, is read off curves, not derived.
Source: docs/theory.md#adam-with-a-stationary-signal; Kingma & Ba 2015, algorithm 1; noise floors of a
constant step size: Robbins & Monro 1951, Mandt, Hoffman & Blei 2017; forms tried: LOG.md.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numba as nb
import numpy as np
from numpy.typing import ArrayLike

from theory.channel import FloatArray, VerifierChannel, check_rate
from theory.errors import ArgumentError
from theory.estimators import GRPO, Estimator, advantage_table, binomial_pmf, check_group_size
from theory.flow import normal_difficulties

__all__ = ["RELAXATION", "AdamFlow", "Condition", "accuracy_curves"]

_PROMPTS: Final = 16  # midpoint quantiles of the difficulties
_KNOTS: Final = 1024  # of the tables over the observed rate, evenly spaced in arcsin sqrt q
_SEGMENTS: Final = 400  # at most; a step of training is the least
RELAXATION: Final = 40.0  # steps; curves cannot tell 10 from 40 (LOG.md)


@dataclass(frozen=True)
class AdamFlow:
    """What a run depends on besides its condition.

    theta: ability at step 0, logits. rate: logits per step of pure signal, above 0. signal: gradient of
    theta per unit of score noise, above 0. ceiling: the accuracy no ability exceeds, in (0, 1].
    spread: standard deviation of difficulties, logits, at least 0. jitter: minus the log of the share of
    accuracy kept when steps are all noise, at least 0.
    """

    theta: float
    rate: float
    signal: float
    ceiling: float = 1.0
    spread: float = 0.0
    jitter: float = 0.0

    def __post_init__(self) -> None:
        for name in ("theta", "rate", "signal", "spread", "jitter"):
            value = getattr(self, name)
            least = {"theta": -math.inf, "spread": 0.0, "jitter": 0.0}.get(name, 5e-324)
            if not (math.isfinite(value) and value >= least):
                raise ArgumentError(f"{name} must be finite and in its range, got {value!r}")
        if check_rate("ceiling", self.ceiling) == 0.0:
            raise ArgumentError("ceiling must be above 0")


@dataclass(frozen=True)
class Condition:
    """How a run is trained.

    channel: its verifier. group_size, prompts_per_step: G and B. warmup_steps, warmup_from: the learning
    rate rises linearly from warmup_from times itself, 0 steps for none. beta2: Adam's, in [0, 1); 0
    forgets at once.
    """

    channel: VerifierChannel
    group_size: int = 8
    prompts_per_step: int = 32
    estimator: Estimator = GRPO
    warmup_steps: float = 0.0
    warmup_from: float = 0.1
    beta2: float = 0.999

    def __post_init__(self) -> None:
        check_group_size(self.group_size)
        check_rate("warmup_from", self.warmup_from)
        if not 0.0 <= self.beta2 < 1.0:
            raise ArgumentError(f"beta2 must be at least 0 and below 1, got {self.beta2!r}")
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
    last = max(float(at.max()), 1.0)  # a step at least, for averages over no time are 0/0
    grid = np.linspace(0.0, last, 1 + max(1, min(math.ceil(last), _SEGMENTS)))
    laws = sorted({(c.group_size, c.estimator) for c in conditions}, key=str)
    tables = np.stack([_gradient_table(size, estimator) for size, estimator in laws])
    table_C = np.array([laws.index((c.group_size, c.estimator)) for c in conditions])
    numbers = [
        (
            c.channel.fpr,
            c.channel.fnr,
            float(c.group_size * c.prompts_per_step),
            float(c.warmup_steps),
            c.warmup_from,
            -math.log(c.beta2) if c.beta2 > 0.0 else math.inf,
        )
        for c in conditions
    ]
    parameters = np.array(
        [(f.theta, f.rate, f.signal, f.ceiling, f.spread, f.jitter) for f in flows]
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
    return np.array([[np.interp(at, grid, curve) for curve in some] for some in curves])


@functools.lru_cache(maxsize=64)
def _gradient_table(group_size: int, estimator: Estimator) -> FloatArray:
    """D_G, E[A^2 | paid] and E[A^2 | unpaid] at q = sin^2 of evenly spaced angles, [knots + 1, 3].

    Kept, since a calibration asks for the same few tables hundreds of times: not to be written to.
    """
    q = np.sin(np.linspace(0.0, np.pi / 2.0, _KNOTS + 1)) ** 2
    others = binomial_pmf(group_size - 1, q)
    unpaid, paid = advantage_table(group_size, estimator)
    return np.stack(
        [others @ (paid[1:] - unpaid[:-1]), others @ paid[1:] ** 2, others @ unpaid[:-1] ** 2],
        axis=1,
    )


@nb.njit(inline="always", cache=True)
def _warmed(step: Any, warmup: Any, start: Any) -> Any:
    if step >= warmup:
        return 1.0
    return start + (1.0 - start) * step / warmup


@nb.njit(cache=True)
def _moments(
    theta: Any,
    shaken: Any,
    parameters: Any,
    fpr: Any,
    fnr: Any,
    rollouts: Any,
    table: Any,
    quantiles: Any,
) -> Any:
    """(u, v) of the law at ability theta and average noise share `shaken`, and the mean pass rate."""
    signal, spread = parameters[2], parameters[4]
    ceiling = parameters[3] * math.exp(-parameters[5] * shaken)
    youden = 1.0 - fpr - fnr
    mean, square, accuracy = 0.0, 0.0, 0.0
    knots = table.shape[0] - 1
    for quantile in quantiles:
        solved = 1.0 / (1.0 + math.exp(spread * quantile - theta))
        a = ceiling * solved
        q = min(max(fpr + youden * a, 0.0), 1.0)
        place = math.asin(math.sqrt(q)) * (2.0 / math.pi) * knots
        left = min(int(place), knots - 1)
        share = place - left
        gain = (1.0 - share) * table[left, 0] + share * table[left + 1, 0]
        paid = (1.0 - share) * table[left, 1] + share * table[left + 1, 1]
        unpaid = (1.0 - share) * table[left, 2] + share * table[left + 1, 2]
        mean += youden * a * (1.0 - solved) * gain
        square += q * paid + (1.0 - q) * unpaid
        accuracy += a
    count = quantiles.size
    return signal * mean / count, square / (count * rollouts), accuracy / count


@nb.njit(cache=True)
def _integrate(
    parameters_D: Any,
    numbers_C: Any,
    table_C: Any,
    tables: Any,
    quantiles: Any,
    grid: Any,
    curves_DCT: Any,
) -> None:
    """Explicit midpoint rule in theta; averages are exact for a value constant over a segment."""
    for i in range(parameters_D.shape[0]):
        rate = parameters_D[i, 1]
        for c in range(numbers_C.shape[0]):
            fpr, fnr, rollouts, warmup, start, forgetting = numbers_C[c]
            table = tables[table_C[c]]
            theta, average, shaken = parameters_D[i, 0], 0.0, 0.0
            for k in range(grid.size):
                u, v, curves_DCT[i, c, k] = _moments(
                    theta, shaken, parameters_D[i], fpr, fnr, rollouts, table, quantiles
                )
                if k == grid.size - 1:
                    break
                t, width = grid[k], grid[k + 1] - grid[k]
                kept = math.exp(-0.5 * forgetting * width)
                held = math.exp(-0.5 * width / RELAXATION)
                v_hat = (kept * average + (1.0 - kept) * (u * u + v)) / -math.expm1(
                    -forgetting * (t + 0.5 * width)
                )
                ahead, shaking = theta, shaken
                if v_hat > 0.0:
                    lr = _warmed(t, warmup, start)
                    ahead += 0.5 * width * rate * lr * u / math.sqrt(v_hat)
                    shaking = held * shaken + (1.0 - held) * lr * lr * v / v_hat
                u, v, _ = _moments(
                    ahead, shaking, parameters_D[i], fpr, fnr, rollouts, table, quantiles
                )
                kept *= kept
                held *= held
                average = kept * average + (1.0 - kept) * (u * u + v)
                v_hat = average / -math.expm1(-forgetting * (t + width))
                if v_hat > 0.0:
                    lr = _warmed(t + 0.5 * width, warmup, start)
                    theta += width * rate * lr * u / math.sqrt(v_hat)
                    shaken = held * shaken + (1.0 - held) * lr * lr * v / v_hat
                theta = min(max(theta, -700.0), 700.0)
